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

from dametric.commands.console import wide_console
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
)
from dametric.data.checks import check_order
from dametric.errors import UsageError
from dametric.files import check_writable, write_atomic
from dametric.models.network import normalisation
from dametric.results import Scores
from dametric.scoring import check_request, score
from dametric.scoring.ranks import own_device, under_torchrun

PICTURES = ("png", "svg", "pdf")


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
    # some networks are built by image size, which the data know and many checkpoints do not
    data = options.data.load_in_turn(options.split) if options.data.source else None
    size = options.data.image_size if data is None else data.image_size
    teacher = read_checkpoint(options.teacher, options.arch, size, "teacher", quiet)
    data_options = options.data.of(teacher)
    data = data_options.load_in_turn(options.split) if data is None else data
    for note in data.notes:
        say(f"data: {note}", quiet)
    mean, std = normalisation(
        options.mean or teacher.mean or data.mean, options.std or teacher.std or data.std, data.channels
    )
    provenance: dict[str, Any] = {"teacher": describe(teacher, options.teacher)}
    if options.accuracy:
        check_classes(teacher, data, OTHER_CLASSES)
        accuracy = report_accuracy(teacher, data_options, mean, std, device, dtype, data, options.accuracy_images)
        provenance["teacher"]["clean"] = accuracy
    student = None
    if options.student:
        student = read_checkpoint(options.student, options.student_arch, data.image_size, "student", quiet)
        if student.num_classes != teacher.num_classes:
            raise UsageError(f"the student has {student.num_classes} classes and the teacher {teacher.num_classes}")
        check_order("teacher", teacher.classes, "the student", student.classes)
        provenance["student"] = describe(student, options.student)
    elif "paper" in options.augs:
        say("cutmixpick:by=student_entropy is left out: it asks a student, give one with --student", quiet)
    return score(
        teacher.model,
        data,
        list(options.augs),
        student=None if student is None else student.model,
        mean=mean,
        std=std,
        student_mean=None if student is None else student.mean,  # --mean is the teacher's: a student may know better
        student_std=None if student is None else student.std,
        device=device,
        dtype=dtype,
        quiet=quiet,
        provenance=provenance,
        **(options.passed_on or {}),
    )


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
            from dametric.report.figures import render, score_figure

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
    shown = [name for name in others if asked or name in ("t_entropy", "ce_mean", "ce_cov")]
    console, table = wide_console(), _table(result, shown)
    while shown and not asked and sys.stdout.isatty() and console.measure(table).maximum > _terminal():
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
    columns = {name: aligned([row["metrics"][name] for row in rows]) for name in (first, *shown)}
    direction = rows[0]["metrics"][first]["direction"]
    sign = -1 if direction == "higher" else 1
    behind = [{**row["difference"], "value": sign * row["difference"]["value"]} for row in rows[1:]]
    gaps = ["", *aligned(behind)]
    for place, row in enumerate(rows):
        mark = "best" if place == 0 else "= best" if row["tied_with_best"] else ""
        mark = "" if direction == "open" else mark  # nobody has said which values are good
        table.add_row(row["aug"], columns[first][place], gaps[place], mark, *(columns[name][place] for name in shown))
    return table


def _footer(result: Scores) -> list[str]:
    config = result.config
    compiled = config["compile_seconds"]
    lines = [
        f"{result.batches} batches of {config['b']} ({config['data']['name']} {config['data']['split']}), parameters "
        f"per {config['per']}, stated for n = {config['n']} images; {config['dtype']}, seed {config['seed']}, "
        f"{config['seconds']:.1f} s",
        *([] if compiled is None else [f"compiled in {compiled:.1f} s before that"]),
        "value ± standard error; '= best': not told apart from the best at 95 %",
    ]
    if not config["rel_se_reached"]:
        lines.append(f"The precision asked for ({100 * config['rel_se']:g} %) was not reached: raise --max-batches.")
    if any(math.isnan(row["metrics"][name]["se"]) for row in result.scores for name in result.metrics):
        lines.append("nan: so few batches do not tell; raise --batches.")
    return lines


def aligned(numbers: Sequence[dict[str, float]]) -> list[str]:
    """A column of values with standard errors, all to the second digit of the smallest error."""
    errors = [number["se"] for number in numbers if math.isfinite(number["se"]) and number["se"] > 0]
    digits = _digits(min(errors)) if errors else None
    return [with_error(number["value"], number["se"], digits) for number in numbers]


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
