"""`dametric score`."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from dametric.base.files import check_writable, write_atomic
from dametric.base.guards import DESTROYED, KEPT
from dametric.cli.console import wide_console
from dametric.commands.inputs import (
    ACCURACY_IMAGES,
    OTHER_CLASSES,
    DataOptions,
    check_classes,
    chosen_device,
    chosen_dtype,
    describe,
    network_errors,
    read_checkpoint,
    report_accuracy,
    say,
    taken_by,
)
from dametric.data.checks import check_order
from dametric.errors import UsageError
from dametric.models import Checkpoint, LoadedNetwork
from dametric.models.reading import read_weights
from dametric.records.scores import Scores
from dametric.scoring import check_request, score
from dametric.scoring.ranks import own_device, under_torchrun

PICTURES = ("png", "svg", "pdf")
_ROUNDING = 1e-9  # of the largest value: an error below is none
_FEW = 10  # batches below which a standard error alone says too little


@dataclass(frozen=True)
class ScoreOptions:
    """Everything `dametric score` was asked."""

    augs: Sequence[str]
    teacher: str
    data: DataOptions
    arch: str | None = None
    student: str | None = None
    student_arch: str | None = None
    split: str = "train"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    accuracy: bool = True
    accuracy_images: int = ACCURACY_IMAGES
    device: str | None = None
    dtype: str | None = None
    output: str | None = None
    picture: str | None = None
    json: bool = False
    passed_on: dict[str, Any] | None = None  # arguments of dametric.score as they are
    weights: str | None = None
    student_weights: str | None = None


def run(options: ScoreOptions) -> Scores:
    """Score, print the table or the JSON document, write files; under torchrun together with the other ranks."""
    device = own_device(chosen_device(options.device))
    with under_torchrun(device) as ranks, ranks.unison():
        if ranks.first:
            _check_outputs(options)
        with network_errors():
            result = _score(replace(options, device=str(device)))
        if ranks.first:
            _deliver(result, options)
    return result


def _score(options: ScoreOptions) -> Scores:
    asked = options.passed_on or {}
    student_given = options.student is not None
    numbers = {name: asked[name] for name in ("protocol", "rel_se", "raw_weight", "temperature") if name in asked}
    check_request(options.augs, asked.get("metrics"), student_given, asked.get("per"), asked.get("base_aug"), **numbers)
    device = chosen_device(options.device)
    dtype = chosen_dtype(options.dtype, device)
    quiet = options.data.quiet
    # read before the data are, whose size it may know; built after them, since some networks are built by it
    file = read_weights(options.teacher, options.weights, "teacher")
    student_file = read_weights(options.student, options.student_weights, "student") if options.student else None
    data_options = options.data.of(file)
    found = data_options.find_in_turn(options.split)
    checkpoint = read_checkpoint(file, options.arch, found, options.data.image_size)
    if options.accuracy:
        check_classes(checkpoint, found, OTHER_CLASSES)
    learnt = None
    if student_file is not None:
        learnt = read_checkpoint(student_file, options.student_arch, found, options.data.image_size)
        _check_alike(checkpoint, learnt)
    data = data_options.load_in_turn(options.split, found)
    for note in data.notes:
        say(f"data: {note}", quiet)
    data_options = taken_by(checkpoint.model, "teacher", data_options, data.image_size)
    data = data.grey() if data_options.grey else data
    teacher = LoadedNetwork.of(checkpoint, data, options.mean, options.std)
    teacher.introduce("teacher", quiet)
    provenance: dict[str, Any] = {"teacher": describe(checkpoint, options.teacher)}
    student = None
    if learnt is not None and options.student is not None:
        # --mean is the teacher's: a student may know better
        student = LoadedNetwork.of(learnt, data, role="student", otherwise=teacher.normalisation)
        student.introduce("student", quiet)
        provenance["student"] = describe(learnt, options.student)
    elif "paper" in options.augs:
        say("cutmixpick:by=student_entropy is left out: it asks a student, give one with --student", quiet)
    if options.accuracy:
        most = options.accuracy_images
        accuracy = report_accuracy(checkpoint, teacher, data_options, device, dtype, data, most)
        provenance["teacher"]["clean"] = accuracy
    return score(
        teacher,
        data,
        list(options.augs),
        student=student,
        device=device,
        dtype=dtype,
        quiet=quiet,
        provenance=provenance,
        **(options.passed_on or {}),
    )


def _check_alike(teacher: Checkpoint, student: Checkpoint) -> None:
    """Refuse a student that knows other classes than the teacher."""
    if student.num_classes != teacher.num_classes:
        raise UsageError(f"the student has {student.num_classes} classes and the teacher {teacher.num_classes}")
    check_order("teacher", teacher.classes, "the student", student.classes)


def _check_outputs(options: ScoreOptions) -> None:
    """Refuse before the work what would fail after it."""
    for path in (options.output, options.picture):
        if path is not None:
            check_writable(Path(path))
    if options.picture is not None and _kind(options.picture) not in PICTURES:
        raise UsageError(f"--picture {options.picture}: the ending says the kind, one of .{', .'.join(PICTURES)}")


def _kind(path: str) -> str:
    return Path(path).suffix[1:].lower()


def _deliver(result: Scores, options: ScoreOptions) -> None:
    """Files first, since the reader of stdout may go; but what cannot be written is at least shown."""
    try:
        if options.output is not None:
            result.write(options.output)
        if options.picture is not None:
            from dametric.reports.figures import render, score_figure

            write_atomic(options.picture, render(score_figure(result), _kind(options.picture)))
    finally:
        if options.json:
            print(result.to_json())
        else:
            print_table(result, (options.passed_on or {}).get("metrics"))


def print_table(result: Scores, asked: Sequence[str] | None = None) -> None:
    """The table on stdout: value ± standard error, best first; all metrics that were asked for, or the main ones.

    Of those that nobody asked for, what does not fit into the terminal is left out.
    """
    _, *others = result.metrics
    shown = [name for name in others if asked or name in (KEPT, "t_entropy", "ce_mean", "ce_cov")]
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
    first, rows = result.metrics[0], result.scores
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("augmentation", no_wrap=True)
    open_ = rows[0]["metrics"][first]["direction"] == "open"
    for name in (first, "above the first" if open_ else "behind the best"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    columns = {name: aligned([_stated(row["metrics"][name]) for row in rows]) for name in (first, *shown)}
    direction = rows[0]["metrics"][first]["direction"]
    sign = -1 if direction == "higher" else 1
    gaps_of = [_stated(row["difference"], row["metrics"][first]["blocks"]) for row in rows[1:]]
    behind = [{**gap, "value": sign * gap["value"]} for gap in gaps_of]
    gaps = ["", *aligned(behind)]
    for place, row in enumerate(rows):
        mark = "best" if place == 0 else "= best" if row["tied_with_best"] else ""
        mark = "" if direction == "open" else mark  # nobody has said which values are good
        mark = "destroyed" if row.get("destroyed") else mark
        table.add_row(row["aug"], columns[first][place], gaps[place], mark, *(columns[name][place] for name in shown))
    return table


def _stated(number: dict[str, Any], blocks: int | None = None) -> dict[str, float]:
    """A number with the error that is printed: of few batches that of the interval, which knows how few they are."""
    if (number["blocks"] if blocks is None else blocks) >= _FEW:
        return {"value": number["value"], "se": number["se"]}
    return {"value": number["value"], "se": (number["high"] - number["low"]) / 2}


def _footer(result: Scores) -> list[str]:
    config, first = result.config, result.metrics[0]
    compiled, stated = config["compile_seconds"], "value ± standard error"
    if any(row["metrics"][first]["blocks"] < _FEW for row in result.scores):
        why = f"since fewer than {_FEW} batches hardly tell the error"
        stated = f"value ± half the width of the 95 % interval, {why}"
    lines = [
        f"{result.batches} batches of {config['b']} ({config['data']['name']} {config['data']['split']}), parameters "
        f"per {config['per']}, stated for n = {config['n']} images; {config['dtype']}, seed {config['seed']}, "
        f"{config['seconds']:.1f} s",
        *([] if compiled is None else [f"compiled in {compiled:.1f} s before that"]),
        f"{stated}; '= best': not distinguishable from the best (95 %)",
    ]
    images, passes = config["data"]["images"], config["epochs"]
    if passes > 1 and config["protocol"] != "reference":
        whose = "errors are those for other images of their kind"
        whose = (
            whose if images >= 2 * config["b"] else "errors are of these images only, other images would differ more"
        )
        lines.append(f"{passes:.3g} passes over {images} images: {whose}")
    lost = [row["aug"] for row in result.scores if row.get("destroyed")]
    if lost:
        lines.append(
            f"destroyed: less than {DESTROYED:g} of the information between raw images is left to the teacher under "
            f"{', '.join(lost)}: a low score does not speak for it"
        )
    if KEPT not in result.metrics and result.scores[0]["metrics"][first]["direction"] != "open":
        lines.append(f"not guarded against destroyed images: add --metric {KEPT}")
    if not config["rel_se_reached"]:
        way = "these images are too few for it" if config["epochs"] >= 2 else "raise --max-batches"
        lines.append(f"The precision asked for ({100 * config['rel_se']:g} %) was not reached: {way}.")
    if any(math.isnan(row["metrics"][name]["se"]) for row in result.scores for name in result.metrics):
        lines.append(
            "nan: too few batches; use at least 4, of 32 classes and more 16, of whose images these show too few."
        )
    return lines


def aligned(numbers: Sequence[dict[str, float]]) -> list[str]:
    """A column of values with standard errors, all to the second digit of the smallest error."""
    least = _ROUNDING * max((abs(number["value"]) for number in numbers if math.isfinite(number["value"])), default=0)
    errors = [number["se"] for number in numbers if math.isfinite(number["se"]) and number["se"] > least]
    digits = _digits(min(errors)) if errors else None

    def text(value: float, se: float) -> str:
        if digits is not None and se <= least and math.isfinite(value):  # known, but for rounding
            return f"{round(value, digits) + 0.0:.{digits}f}"
        return with_error(value, se, digits)

    return [text(number["value"], number["se"]) for number in numbers]


def with_error(value: float, se: float, digits: int | None = None) -> str:
    """A number with its standard error, both to the error's second digit: "0.01372 ± 0.00011"."""
    if not math.isfinite(value):
        return "nan"
    if not math.isfinite(se) or se <= 0:
        return f"{value:.6g}"
    digits = _digits(se) if digits is None else digits
    return f"{value:.{digits}f} ± {se:.{digits}f}"


def _digits(se: float) -> int:
    return min(max(0, 1 - math.floor(math.log10(se))), 12)
