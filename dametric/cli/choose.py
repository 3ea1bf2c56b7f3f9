"""`dametric choose`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dametric.base import limits
from dametric.base.option_groups import (
    ImageOptions,
    LossOptions,
    OptimizerOptions,
    PrecisionOptions,
    TeacherOptions,
    ViewOptions,
)
from dametric.cli.options import (
    CpusPerRun,
    Data,
    Device,
    GpusPerRun,
    HeldOut,
    Lockstep,
    OwnExecutor,
    Quiet,
    Ray,
    with_options,
)
from dametric.errors import UsageError

if TYPE_CHECKING:
    from dametric.records.choices import Choice


@with_options(OptimizerOptions, LossOptions, ViewOptions, TeacherOptions, ImageOptions, PrecisionOptions)
def choose(
    chosen: dict[str, Any],
    context: typer.Context,
    teacher: Annotated[
        str | None, typer.Option("--teacher", "-t", metavar="FILE", help="Checkpoint of the teacher.")
    ] = None,
    student: Annotated[
        str | None, typer.Option("--student", "-s", metavar="ARCH", help="Architecture of the student.")
    ] = None,
    data: Data = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidates", "-a", metavar="SPEC", help="Augmentation, range or set; repeat. [default: standard]"
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="DIR", help="A folder for all of it. [default: choice]")
    ] = None,
    budget: Annotated[
        str, typer.Option(metavar="30m", help="Time in all, over all calls; or 20000steps of students.")
    ] = "30m",
    epsilon: Annotated[
        float, typer.Option(metavar="NATS", help="Stop when the answer is within so much of the best (95 %).")
    ] = 0.01,
    fractions: Annotated[
        str, typer.Option(metavar="0.05,0.2,1", help="Runs are schedules compressed to these fractions.")
    ] = "0.05,0.2,1",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="Score to start from, by the teacher or a warm student; repeat to see more. [default: t_stddev]",
        ),
    ] = None,
    parameters: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="What is assumed of short runs. [default: what is shipped]"),
    ] = None,
    ledger: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Fit what is assumed to complete studies in there, if there are any; repeat."),
    ] = None,
    runner: Annotated[
        str | None,
        typer.Option(metavar="./FILE.py:NAME", help="Runs by your own trainer; see examples/runner.py."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=limits.PROCESSES, help="Runs side by side, sharing the cores.")
    ] = 1,
    lockstep: Lockstep = None,
    ray: Ray = None,
    executor: OwnExecutor = None,
    cpus_per_run: CpusPerRun = 1.0,
    gpus_per_run: GpusPerRun = 0.0,
    held_out: HeldOut = None,
    device: Device = None,
    status: Annotated[
        str | None, typer.Option("--status", metavar="DIR", help="Print the present answer in a folder, and end.")
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="What it would have done on the runs of a complete study; repeat."),
    ] = None,
    scores: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="With --replay: scores of the teachers. [default: DIR/scores/*.json]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Choose an augmentation: score all, settle by short students, say how sure that is. The same command goes on.

    \b
    Examples:
      dametric choose --teacher teacher.pth --student resnet8 --budget 30m -o choice
      dametric choose --status choice
      dametric choose --replay runs -o replay.html
    """
    from dametric.records.choices import read_choice

    if status is not None:
        _refuse_others(context, "--status prints the answer in a folder", _OF_STATUS)
        deliver(read_choice(status), json)
        return
    if scores and not replay:
        raise UsageError("--scores are read by --replay alone: a choice scores its candidates itself")
    if replay:
        from dametric.cli.replay import deliver_replay

        _refuse_others(context, "--replay reads finished runs alone", _OF_REPLAY)
        if metric and len(metric) > 1:
            raise UsageError(f"--replay compares one score with students, not {' and '.join(metric)}")
        deliver_replay(replay, scores or (), output, json, parameters, epsilon, (metric or ["t_stddev"])[0], quiet)
        return
    if teacher is None or (student is None and runner is None):
        missing = "--teacher" if teacher is None else "--student"
        raise UsageError(f"{missing} is missing: a choice is made for a teacher and a student (see --help)")
    from dametric.choosing.api import choose

    own: dict[str, Any] = {"output": output or "choice", "ledger": ledger or (), "budget": budget}
    own |= {"epsilon": epsilon, "fractions": _numbers(fractions), "metric": metric or "t_stddev"}
    own |= {"parameters": parameters, "runner": runner, "jobs": jobs, "held_out": held_out}
    own |= {"lockstep": lockstep or 1, "executor": executor, "ray": ray}
    own |= {"cpus_per_run": cpus_per_run, "gpus_per_run": gpus_per_run}
    states = choose(teacher, student or "", data, candidates or "standard", device=device, quiet=quiet, **own, **chosen)
    choice = None
    for choice in states:
        say_state(choice, quiet)
    assert choice is not None
    deliver(choice, json)


_OF_STATUS = {"status", "json", "quiet", "config_file"}
_OF_REPLAY = {"replay", "scores", "output", "json", "parameters", "epsilon", "metric", "quiet", "config_file"}


def _refuse_others(context: typer.Context, why: str, known: set[str]) -> None:
    """Refuse what was typed and is not read; a file of defaults may hold more."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE" and option.name not in known:
            raise UsageError(f"{why}, so {max(option.opts, key=len)} has no meaning there")


def say_state(choice: Choice, quiet: bool) -> None:
    """A line on stderr of what is known after a run."""
    from dametric.base.progress import say

    if choice.status == "running" and choice.runs:
        last = choice.looks[-1]
        say(
            f"{last.runs} runs, {last.steps:,} steps, {last.seconds:.0f} s: best {last.best} (P {last.p_best:.2f}; "
            f"within {choice.epsilon:g} nats {last.p_within:.2f}), expected regret {last.regret:.4f} nats",
            quiet,
        )


def deliver(choice: Choice, json: bool) -> None:
    """The answer on stdout: sentences and the table of candidates."""
    if json:
        import json as json_

        print(json_.dumps(choice.finite(), indent=1))
        return
    from rich.table import Table

    from dametric.cli.console import wide_console

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("augmentation", no_wrap=True)
    first = str(choice.config.get("metric", "score"))
    others = [name for name in (choice.arms[0].scores if choice.arms else ()) if name != first]
    scores = (first, *others) if others else ("score",)
    for name in ("P(best)", "loss over the best", "95 % interval", "runs", *scores):
        table.add_column(name, justify="right", no_wrap=True)
    for arm in choice.ranked:
        table.add_row(
            arm.aug,
            f"{arm.p_best:.2f}" if not arm.failed else "failed",
            f"{arm.over_best:.4f}" if not arm.failed else "",
            f"[{arm.low:.4f}, {arm.high:.4f}]" if not arm.failed and arm.aug != choice.best else "",
            str(arm.runs),
            *(_known(value) for value in (arm.score, *(arm.scores.get(name, math.nan) for name in others))),
        )
    console = wide_console()
    for sentence in choice.sentences:
        console.print(sentence, highlight=False)
    console.print()
    console.print(table)


def _known(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "-"


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--fractions are numbers such as 0.05,0.2,1, not '{text}'") from None
