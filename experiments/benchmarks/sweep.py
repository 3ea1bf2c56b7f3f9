"""What a sweep costs beyond its runs, and what a second process gains: `python -m experiments.benchmarks.sweep`.

Runs per hour of the same grid on the bundled digits with 1 process and with 2, the teacher trained beforehand; and the
seconds that sweep, lock and ledger add to a run: runs through the whole command against the bare training loop and
evaluations of the same runs in this process, both with one thread, on so few images that what is added stands out from
the noise of the rest. Interleaved rounds, medians. What is added does not depend on how long a run is, but for 1/epochs
of it: after every epoch weights and history are written, here twice a run.
"""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
import yaml

from dametric import cli
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.sweeps import read_grid
from dametric.sweeps.options import RunEnvironment, student_task
from dametric.training.evaluate import evaluate, held_out_logits

AIM = 0.02  # of a run of a minute


def grid(folder: Path, epochs: int, seeds: int, images: int | None = None) -> Path:
    """A grid of ``2 seeds`` students of one pair."""
    few = {} if images is None else {"train_images": images}
    document = {
        "data": {"name": "digits", "source": "digits", "image_size": 16, **few},
        "teachers": {"resnet8": {"epochs": 1}},
        "pairs": ["resnet8 -> resnet8"],
        "augmentations": ["crop+flip", "cutmix"],
        "seeds": list(range(seeds)),
        "training": {"epochs": epochs, "schedule": "onecycle", "lr": 0.1},
    }
    return write_atomic(folder / "grid.yaml", yaml.safe_dump(document))


def command(*arguments: object) -> float:
    """Seconds of the command."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code = cli._run(["sweep", *map(str, arguments), "-q"])
    if code:
        raise SystemExit(f"the sweep failed with {code}")
    return time.perf_counter() - start


def fresh(folder: Path, name: str, teacher: Path) -> Path:
    """An output folder that holds nothing but the teacher."""
    root = folder / name
    for path in sorted(teacher.rglob("*")):
        if path.is_file():
            write_atomic(root / "teachers" / path.relative_to(teacher), path.read_bytes())
    return root


def bare(path: Path, root: Path) -> float:
    """Seconds of the same students without sweep, lock or ledger: build, train, evaluate after every epoch."""
    read = read_grid(str(path))
    start = time.perf_counter()
    for row in read.rows:
        work = student_task(read, row, RunEnvironment(root)).work()
        training = work.training
        while not training.over:
            training.run_epoch()
            logits = held_out_logits(
                training.model, work.context.test, training.device, training.exact,
                mean=work.context.train.mean, std=work.context.train.std,
            )  # fmt: skip
            evaluate(logits, work.context.test.labels, work.context.teacher_logits)
    return time.perf_counter() - start


def main(
    epochs: Annotated[int, typer.Option(help="Of a run in the scaling table.")] = 4,
    seeds: Annotated[int, typer.Option(help="Half of the runs.")] = 4,
    rounds: Annotated[int, typer.Option(min=3, help="Interleaved rounds of the overhead.")] = 5,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure and print runs per hour and the overhead of a run."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {"epochs": epochs, "runs": 2 * seeds}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = grid(folder, epochs, seeds)
        command(path, "-o", folder / "first", "-j", 1, "--only", "seed=0")
        teacher = folder / "first" / "teachers"
        print(f"{2 * seeds} runs of {epochs} epochs, {machine(torch.device('cpu'))}", flush=True)
        for jobs in (1, 2):
            seconds = command(path, "-o", fresh(folder, f"jobs{jobs}", teacher), "-j", jobs)
            rate = 3600 * 2 * seeds / seconds
            found[f"jobs {jobs}"] = {"seconds": seconds, "runs_per_hour": rate}
            print(f"{jobs} at a time: {seconds:6.1f} s, {rate:5.0f} runs an hour", flush=True)
        found |= overhead(folder / "short", rounds)
    more = found["overhead_seconds"]
    print(f"sweep, lock and ledger: {1000 * more:.0f} ms a run, {100 * more / 60:.2f} % of 60 s (aim: below 2 %)")
    if output is not None:
        said = " ".join(["python -m experiments.benchmarks.sweep", *sys.argv[1:]])
        document = {"command": said, **found, "aim": AIM, "versions": machine(torch.device("cpu"))}
        write_atomic(output, json.dumps(document, indent=1) + "\n")


def overhead(folder: Path, rounds: int) -> dict[str, Any]:
    """Seconds a run takes more through the command than bare: two epochs of a step each."""
    path = grid(folder, 2, 8, images=64)
    command(path, "-o", folder / "first", "-j", 1, "--only", "seed=0")
    teacher, count = folder / "first" / "teachers", len(read_grid(str(path)).rows)
    work: dict[str, Callable[[int], float]] = {
        "sweep": lambda n: command(path, "-o", fresh(folder, f"round{n}", teacher), "-j", 1),
        "bare": lambda n: bare(path, folder / "first"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds):
        for name, measured in work.items():
            seconds[name].append(measured(number) / count)
    gaps = [a - b for a, b in zip(seconds["sweep"], seconds["bare"], strict=True)]
    return {"overhead_seconds": statistics.median(gaps), "seconds_a_run": seconds, "rounds": rounds}


if __name__ == "__main__":
    typer.run(main)
