"""`dametric score`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dametric.base.option_groups import AccuracyOptions, ImageOptions, PrecisionOptions, ScoringOptions, TeacherOptions
from dametric.cli.options import Data, Device, Quiet, with_options

if TYPE_CHECKING:
    from rich.table import Table

    from dametric.records.score_rows import Cost, MetricValue, Resolution
    from dametric.records.scores import Scores

PICTURES = ("png", "svg", "pdf")
_FEW = 10  # batches below which a standard error alone says too little


@with_options(ScoringOptions, TeacherOptions, AccuracyOptions, ImageOptions, PrecisionOptions)
def score(
    chosen: dict[str, Any],
    context: typer.Context,
    aug: Annotated[
        list[str],
        typer.Option(
            "--aug", "-a", metavar="SPEC", help="Augmentation, set or range; repeat for several (see dametric ls augs)."
        ),
    ],
    teacher: Annotated[str, typer.Option("--teacher", "-t", metavar="FILE", help="Checkpoint of the teacher.")],
    data: Data = None,
    student: Annotated[
        str | None,
        typer.Option(metavar="FILE|NAME", help="Checkpoint of a student, or an architecture to distil shortly first."),
    ] = None,
    student_arch: Annotated[str | None, typer.Option(help="The student's architecture.")] = None,
    student_weights: Annotated[
        str | None, typer.Option(metavar="KEY", help="Which weights of the student's file, as --weights.")
    ] = None,
    student_epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Epochs the student is meant to train, for grad_align... [default: 240]"),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the scores as JSON.")
    ] = None,
    add: Annotated[
        str | None,
        typer.Option(
            metavar="SCORES.json",
            help="Score what this file does not have, as it was scored, and write all into it, or into --output.",
        ),
    ] = None,
    picture: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the table: .png, .svg or .pdf.")] = None,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write the table as CSV.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")] = False,
    split: Annotated[str, typer.Option(metavar="train|test", help="Which images are scored.")] = "train",
    accuracy: Annotated[
        bool, typer.Option("--accuracy/--no-accuracy", help="Measure the teacher's clean accuracy first.")
    ] = True,
    device: Device = None,
    quiet: Quiet = False,
) -> None:
    """Score augmentations for distilling from a teacher: value, standard error, best first.

    \b
    Examples:
      dametric score --aug cutmix --teacher teacher.pth
      dametric score --aug paper --teacher t.pth --arch wrn_40_2 --data cifar100 --data-root data -o scores.json
      dametric score --aug blur --teacher t.pth --add scores.json
    """
    from dametric.choosing.adding import score_and_add
    from dametric.choosing.warm_scores import scored_by_student
    from dametric.cli.console import say_written
    from dametric.models.computing import chosen_device
    from dametric.records.scores import Scores
    from dametric.scoring import score
    from dametric.scoring.ranks import own_device, under_torchrun

    place = own_device(chosen_device(device))
    options = {**chosen, "data": data, "student": student, "student_arch": student_arch}
    options |= {"student_weights": student_weights, "split": split, "accuracy": accuracy}
    if add is not None:
        options = {name: value for name, value in options.items() if _was_given(context, name)}
        options = {"accuracy": False, **options, "add": add}
        output = output or add
    with under_torchrun(place) as ranks, ranks.unison():
        if ranks.first:
            _check_outputs(output, picture, csv)
        asked = None
        if add is None:
            more: dict[str, Any] = {"student_epochs": student_epochs, "device": place, "quiet": quiet}
            more |= {name: value for name, value in options.items() if name != "accuracy"}
            asked = scored_by_student(teacher, augs=aug, **more)
            options |= {"student": asked.student, "metrics": asked.metrics}
        before = None if add is None else Scores.read(add)
        if before is not None and before.settings.warm_student is not None:
            more = {name: value for name, value in options.items() if name not in ("add", "accuracy")}
            scores = score_and_add(before, str(add), teacher, aug, device=place, quiet=quiet, **more)
        else:
            scores = score(teacher, augs=aug, device=str(place), quiet=quiet, **options)
        if ranks.first:
            scores = scores if asked is None else asked.added(scores)
            _deliver(scores, chosen["metrics"], output, picture, csv, json)
            say_written(output, csv, picture, quiet=quiet)


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether an option was typed, or stands in the file of defaults."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"


def _check_outputs(output: str | None, picture: str | None, csv: str | None) -> None:
    """Refuse before the work what would fail after it."""
    from pathlib import Path

    from dametric.base.files import check_writable
    from dametric.errors import UsageError

    for path in (output, picture, csv):
        if path is not None:
            check_writable(Path(path))
    if picture is not None and _kind(picture) not in PICTURES:
        raise UsageError(f"--picture {picture}: the ending says the kind, one of .{', .'.join(PICTURES)}")


def _kind(path: str) -> str:
    return path.rpartition(".")[2].lower()


def _deliver(
    scores: Scores, asked: Sequence[str] | None, output: str | None, picture: str | None, csv: str | None, json: bool
) -> None:
    """Files first, since the reader of stdout may go; but what cannot be written is at least shown."""
    try:
        if output is not None:
            scores.write(output)
        if csv is not None:
            from dametric.base.files import write_atomic
            from dametric.base.spreadsheet import csv_text
            from dametric.reports.score_tables import csv_table

            write_atomic(csv, csv_text(csv_table(scores)))
        if picture is not None:
            from dametric.base.files import write_atomic
            from dametric.reports.figures import render, score_figure

            write_atomic(picture, render(score_figure(scores), _kind(picture)))
    finally:
        if json:
            print(scores.to_json())
        else:
            print_table(scores, asked)


def print_table(result: Scores, asked: Sequence[str] | None = None) -> None:
    """The table on stdout: value ± standard error, best first; all metrics that were asked for, or the main ones.

    Of those that nobody asked for, what does not fit into the terminal is left out.
    """
    from dametric.base.guards import KEPT
    from dametric.cli.console import wide_console

    _, *others = result.metrics
    shown = [name for name in others if asked or name in (KEPT, "affinity_acc", "t_entropy", "ce_mean", "ce_cov")]
    console, table = wide_console(), _table(result, shown)
    while len(shown) > 1 and not asked and sys.stdout.isatty() and console.measure(table).maximum > _terminal():
        shown.pop()
        table = _table(result, shown)
    console.print(table, soft_wrap=False)
    for line in _footer(result):
        console.print(line)


def _terminal() -> int:
    return shutil.get_terminal_size().columns


def _table(result: Scores, shown: Sequence[str]) -> Table:
    from rich.table import Table

    from dametric.analysis.curves import table_lines
    from dametric.base.numbers import Number, aligned

    first, rows, direction = result.metrics[0], result.rows, result.direction
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("augmentation", no_wrap=True)
    for name in (first, "above the first" if direction == "open" else "difference to best"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    resolved = result.settings.resolution is not None
    if resolved:
        table.add_column("group", no_wrap=True)
    priced = any(row.cost is not None for row in rows)
    for name in ("images/s", "step") if priced else ():
        table.add_column(name, justify="right", no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    metrics = {name: [row.metrics[name] for row in rows] for name in (first, *shown)}
    columns = {name: aligned([Number(each.value, each.se) for each in values]) for name, values in metrics.items()}
    sign = -1 if direction == "higher" else 1
    gaps = ["", *aligned([Number(sign * row.difference.value, row.difference.se) for row in rows[1:]])]
    for line in table_lines(result):
        if line.place is None:
            table.add_row(line.name)
            continue
        place, row = line.place, rows[line.place]
        mark = "best" if place == 0 else "= best" if row.tied_with_best else line.mark
        mark = "" if direction == "open" else mark  # nobody has said which values are good
        mark = f"is {row.same_as}" if row.same_as and place else mark
        mark = "destroyed" if row.destroyed else mark
        about = [*([row.group or ""] if resolved else []), *(_price(row.cost) if priced else [])]
        table.add_row(
            line.name, columns[first][place], gaps[place], mark, *about, *(columns[name][place] for name in shown)
        )
    return table


def _price(cost: Cost | None) -> list[str]:
    """Images a second to three digits, and a training step in units of identity's."""
    import math

    if cost is None:
        return ["", ""]
    speed = cost.images_per_second
    rounded = "" if math.isnan(speed) else f"{round(speed, 2 - math.floor(math.log10(speed))):,.0f}"
    return [rounded, f"{cost.relative_step:.2f}"]


def _of_few(numbers: Sequence[MetricValue]) -> str:
    """How far 95 % intervals reach where few batches hardly tell the error; nothing where there are enough."""
    import math

    few = [each for each in numbers if each.blocks < _FEW and each.se > 0 and math.isfinite(each.high - each.low)]
    if not few:
        return ""
    reach = max((each.high - each.low) / 2 / each.se for each in few)
    return f"{min(each.blocks for each in few)} batches hardly tell it: the 95 % interval reaches {reach:.1f} of it"


def _footer(result: Scores) -> list[str]:
    import math

    from dametric.analysis.curves import curves_of, sentences
    from dametric.base.guards import DESTROYED, KEPT

    config, first = result.settings, result.metrics[0]
    compiled, few = config.compile_seconds, _of_few([row.metrics[first] for row in result.rows])
    stated = f"value ± standard error{few and f' ({few})'}"
    lines = [
        f"{result.batches} batches of {config.b} ({config.data.name} {config.data.split}), parameters "
        f"per {config.per}, stated for n = {config.n} images; {config.dtype}, seed {config.seed}, "
        f"{config.seconds:.1f} s",
        *([] if compiled is None else [f"compiled in {compiled:.1f} s before that"]),
        f"{stated}; {_meaning(config.resolution)}",
    ]
    lines += sentences(curves_of(result))
    clocks = {row.cost.clock for row in result.rows if row.cost is not None}
    if clocks:
        whose = "the student" if config.student else "a student of the teacher's architecture"
        of = " and ".join("a second of the CPU" if clock == "cpu" else "a second" for clock in sorted(clocks))
        lines.append(f"images/s: in {of}, augmenting alone; step: of training {whose}, 1 under identity")
    if config.t_confidence is not None:
        lines.append(_confidence(config.t_confidence, config.data.split))
    images, passes = config.data.images or 0, config.epochs or 0
    if passes > 1 and config.protocol != "reference":
        whose = (
            "errors are of these images only, other images would differ more"
            if images < 2 * (config.b or 0)
            else "errors are those for other images of their kind"
        )
        lines.append(f"{passes:.3g} passes over {images} images: {whose}")
    lost = [row.aug for row in result.rows if row.destroyed]
    if lost:
        lines.append(
            f"destroyed: less than {DESTROYED:g} of the information between raw images is left to the teacher under "
            f"{', '.join(lost)}: a low score does not speak for it"
        )
    guarded, shown = (result.rows[0].metrics[name].blocks for name in (KEPT, first))
    if guarded < min(shown, _FEW):
        few = _of_few([row.metrics[KEPT] for row in result.rows])
        lines.append(f"{KEPT}: of the first {guarded} batches alone, ± standard error{few and f' ({few})'}")
    if not config.rel_se_reached:
        way = "these images are too few for it" if passes >= 2 else "raise --max-batches"
        lines.append(f"The precision asked for ({100 * (config.rel_se or 0):g} %) was not reached: {way}.")
    if any(math.isnan(row.metrics[name].se) for row in result.rows for name in result.metrics):
        lines.append(
            "nan: too few batches; use at least 4, of 32 classes and more 16, of whose images these show too few."
        )
    return lines + _read_with_student(result)


def _read_with_student(result: Scores) -> list[str]:
    """Of scores that were read with a warm student: whose they are, and what they cost."""
    student = result.settings.warm_student
    if student is None:
        return []
    learnt = f"distilled for {student.steps} steps on {len(student.candidates or ())} candidates"
    whose = f"{student.arch}, {learnt if student.steps else 'as it was given'}"
    costs = {name: metric.cost for name, metric in result.rows[0].metrics.items() if metric.cost is not None}
    if not costs:
        return [f"student: {whose}"]
    each = ", ".join(f"{name} {cost:.4g}" for name, cost in costs.items())
    return [
        f"student: {whose}; on 64 batches of 64 and {student.held_out} held-out images",
        f"cost of an augmentation in training steps of the student: {each}",
        f"{' and '.join(costs)}: no evidence yet that they order students",
    ]


def _meaning(resolution: Resolution | None) -> str:
    """What marks and letters say."""
    if resolution is None:
        return "'= best': not distinguishable from the best (95 %)"
    sure = f"{100 * (1 - resolution.level):g} % for all {resolution.pairs} pairs and {resolution.looks} looks together"
    return f"'= best': can still be the best; groups without a letter in common are told apart ({sure})"


def _confidence(kappa: MetricValue, split: str | None) -> str:
    """The teacher's confidence, and what it is good for."""
    whose = "its training images" if split == "train" else "images that it was not trained on"
    return (
        f"teacher's confidence kappa = {kappa.value:.3f} ± {kappa.se:.3f} on {whose} (1: one-hot); differences of "
        "T. stddev between teachers are not comparable. Hypothesis: the higher kappa, the more an augmentation is worth"
    )
