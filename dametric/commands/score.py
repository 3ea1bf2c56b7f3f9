"""`dametric score`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from dametric.commands.inputs import DataOptions, check_classes, describe, read_checkpoint, report_accuracy, say
from dametric.errors import UsageError
from dametric.files import write_atomic
from dametric.models import preferred_dtype
from dametric.results import Scores
from dametric.scoring import check_request, score

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
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
    device: str | None = None
    dtype: str | None = None
    output: str | None = None
    picture: str | None = None
    json: bool = False
    passed_on: dict[str, Any] | None = None  # arguments of dametric.score as they are


def run(options: ScoreOptions) -> Scores:
    """Score, print the table or the JSON document, write files."""
    _check_outputs(options)
    check_request(list(options.augs), (options.passed_on or {}).get("metrics"), options.student is not None)
    device = _device(options.device)
    dtype = _dtype(options.dtype, device)
    quiet = options.data.quiet
    teacher = read_checkpoint(options.teacher, options.arch, options.data.image_size, "teacher", quiet)
    data_options = options.data.of(teacher)
    data = data_options.load(options.split)
    for note in data.notes:
        say(f"data: {note}", quiet)
    mean, std = options.mean or teacher.mean or data.mean, options.std or teacher.std or data.std
    provenance: dict[str, Any] = {"teacher": describe(teacher, options.teacher)}
    if options.accuracy:
        check_classes(teacher, data)
        accuracy = report_accuracy(teacher, data_options, mean, std, device, dtype, data)
        provenance["teacher"]["clean"] = accuracy
    student = None
    if options.student:
        student = read_checkpoint(options.student, options.student_arch, data.image_size, "student", quiet)
        if student.num_classes != teacher.num_classes:
            raise UsageError(f"the student has {student.num_classes} classes and the teacher {teacher.num_classes}")
        provenance["student"] = describe(student, options.student)
    elif "paper" in options.augs:
        say("cutmixpick:by=student_entropy is left out: it asks a student, give one with --student", quiet)
    result = score(
        teacher.model,
        data,
        list(options.augs),
        student=None if student is None else student.model,
        mean=mean,
        std=std,
        device=device,
        dtype=dtype,
        quiet=quiet,
        provenance=provenance,
        **(options.passed_on or {}),
    )
    _deliver(result, options)
    return result


def _device(name: str | None) -> torch.device:
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}': cpu, cuda or cuda:0") from None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name} is not supported: cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here: use --device cpu")
    return device


def _dtype(name: str | None, device: torch.device) -> torch.dtype:
    if name is None:
        return preferred_dtype(device)
    if name not in DTYPES:
        raise UsageError(f"unknown --dtype '{name}': one of {', '.join(DTYPES)}")
    return DTYPES[name]


def _check_outputs(options: ScoreOptions) -> None:
    """Refuse before the work what would fail after it."""
    for path in (options.output, options.picture):
        if path is not None and Path(path).is_dir():
            raise UsageError(f"{path} is a folder: give the name of a file")
        parent = None if path is None else Path(path).absolute().parent
        if parent is not None and parent.exists() and not _writable(parent):
            raise UsageError(f"cannot write into {parent}: choose another folder, or change its permissions")
    if options.picture is not None and Path(options.picture).suffix[1:] not in PICTURES:
        raise UsageError(f"--picture {options.picture}: the ending says the kind, one of .{', .'.join(PICTURES)}")


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _deliver(result: Scores, options: ScoreOptions) -> None:
    if options.output is not None:
        result.write(options.output)
    if options.picture is not None:
        from dametric.report.figures import render, score_figure

        write_atomic(options.picture, render(score_figure(result), Path(options.picture).suffix[1:]))
    if options.json:
        sys.stdout.write(result.to_json() + "\n")
    else:
        print_table(result)


def print_table(result: Scores) -> None:
    """The table on stdout: value ± standard error, best first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    first, *others = result.metrics
    table.add_column("augmentation", no_wrap=True)
    table.add_column(first, justify="right", no_wrap=True)
    table.add_column("behind the best", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = [name for name in others if name in ("t_entropy", "ce_mean", "ce_cov")]
    for name in shown:
        table.add_column(name, justify="right", no_wrap=True)
    for place, row in enumerate(result.scores):
        mark = "best" if place == 0 else "= best" if row["tied_with_best"] else ""
        gap = row["difference"]
        table.add_row(
            row["aug"],
            with_error(row["metrics"][first]["value"], row["metrics"][first]["se"]),
            "" if place == 0 else with_error(gap["value"], gap["se"]),
            mark,
            *(with_error(row["metrics"][name]["value"], row["metrics"][name]["se"]) for name in shown),
        )
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    config = result.config
    console.print(
        f"up to {config['batches']} batches of {config['b']} ({config['data']['name']} {config['data']['split']}), "
        f"parameters per {config['per']}, stated for n = {config['n']} images, {config['dtype']}, "
        f"seed {config['seed']}, {config['seconds']:.1f} s. "
        "value ± standard error; '= best': not told apart from the best at 95 %.",
        highlight=False,
        soft_wrap=True,
    )
    if not config["rel_se_reached"]:
        console.print(
            f"The precision asked for ({100 * config['rel_se']:g} %) was not reached: raise --max-batches.",
            soft_wrap=True,
        )


def with_error(value: float, se: float) -> str:
    """A number with its standard error, both to the error's second digit: "0.01372 ± 0.00011"."""
    if not math.isfinite(value):
        return "nan"
    if not math.isfinite(se) or se <= 0:
        return f"{value:.6g}"
    digits = min(max(0, 1 - math.floor(math.log10(se))), 12)
    return f"{value:.{digits}f} ± {se:.{digits}f}"
