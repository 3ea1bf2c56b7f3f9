"""How fast a distillation step is: `python -m experiments.benchmarks.train`.

Steps a second of the trainer against a plain step in the manner of the published code: float32, NCHW, batch norm
as it is, teacher and student each shown the raw and the mixed batch of 64 in forwards of their own, and for
cutmixpick the teacher shown the pool and then the picked images again. The plain step is handed its raw batches ready
made; ours makes its own. Both are measured in this process, medians over interleaved rounds. The share of our step
that is neither teacher nor student arithmetic is measured against bare forwards and backwards of the same rows.

`--lockstep N` measures N students of one teacher together against the same students one after the other instead.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.data import ImageSet
from dametric.models import build, inference_copy, preferred_dtype
from dametric.training import Recipe, Teacher, Training, TrainingContext
from dametric.training.trainer import advance_together
from experiments.benchmarks.reference import cutmix
from experiments.benchmarks.score import timed

PAIRS = (("resnet56", "resnet20"), ("wrn_40_2", "wrn_16_2"))
AIMS = {"cpu": {"cutmix": 1.8, "cutmixpick": 2.3}, "cuda": {"cutmix": 8.0, "cutmixpick": 8.0}}
LOCKSTEP_PAIRS = (("resnet20", "resnet8"), ("resnet56", "resnet8"), ("resnet20", "wrn_16_1"))
LOCKSTEP_AUGS = ("identity", "cutmix", "randaugment", "mixup", "cutout", "crop+flip", "autoaugment", "cutmixpick")
BATCH, CLASSES, T = 64, 100, 4.0


class PlainStep:
    """One step of distillation as one writes it first.

    Parameters
    ----------
    teacher, student : nn.Module
    device : torch.device
    """

    def __init__(self, teacher: nn.Module, student: nn.Module, device: torch.device) -> None:
        self.teacher, self.student = teacher.to(device).eval(), student.to(device).train()
        self.optimizer = torch.optim.SGD(self.student.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)

    def __call__(self, raw: Tensor, labels: Tensor, aug: str) -> Tensor:
        """Take one step on normalised raw images of shape (batch, 3, size, size); its loss."""
        with torch.no_grad():
            raw_target = self.teacher(raw)
            mixed = self._picked(raw) if aug == "cutmixpick" else cutmix(raw)
            mixed_target = self.teacher(mixed)
        logits, mixed_logits = self.student(raw), self.student(mixed)
        loss = 0.1 * F.cross_entropy(logits, labels)
        loss = loss + 0.9 * (_divergence(logits, raw_target) + _divergence(mixed_logits, mixed_target))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _picked(self, raw: Tensor) -> Tensor:
        pool = torch.cat([cutmix(raw), cutmix(raw)])
        probability = self.teacher(pool).softmax(1)
        entropy = -(probability * probability.clamp(min=1e-30).log()).sum(1)
        return pool[entropy.topk(len(raw)).indices]


def _divergence(student: Tensor, teacher: Tensor) -> Tensor:
    return F.kl_div((student / T).log_softmax(1), (teacher / T).softmax(1), reduction="batchmean") * T * T


class Bench:
    """A pair of untrained networks on random pixels: speed does not depend on what they know."""

    def __init__(
        self,
        teacher: str,
        student: str,
        device: torch.device,
        steps: int,
        compile: bool,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.device, self.steps, self.compile = device, steps, compile
        self.teacher, self.student = build(teacher, CLASSES), build(student, CLASSES)
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (BATCH * steps, 3, 32, 32), dtype=torch.uint8, generator=draw)
        self.data = ImageSet.from_tensors(images, torch.arange(len(images)) % CLASSES, name="random pixels")
        self.dtype = dtype or preferred_dtype(device)
        self.plain = PlainStep(copy.deepcopy(self.teacher), copy.deepcopy(self.student), device)
        self.raw = torch.randn(steps, BATCH, 3, 32, 32, device=device)
        self.labels = torch.arange(BATCH, device=device)
        self.shown = TrainingContext(
            self.data, self.data, self.device, Teacher(self.teacher, self.data.mean, self.data.std, "teacher", "")
        )

    def training(self, aug: str) -> Training:
        recipe = Recipe(aug=aug, dtype=str(self.dtype).removeprefix("torch."), epochs=10**6)
        student = copy.deepcopy(self.student)
        teacher = self.shown.network(recipe.dtype, recipe.batch_size)
        return Training(student, self.shown.on_device, recipe, self.device, teacher=teacher, compile=self.compile)

    def lockstep(self, count: int, rounds: int) -> dict[str, Any]:
        """Milliseconds of a step of all students together and one after the other, and the ratio."""
        augs = [LOCKSTEP_AUGS[number % len(LOCKSTEP_AUGS)] for number in range(count)]
        together, alone = ([self.training(aug) for aug in augs] for _ in range(2))
        work: dict[str, Callable[[], object]] = {
            "alone": lambda: [one.run_epoch() for one in alone],
            "lockstep": lambda: advance_together(together, together[0].epoch_end),
        }
        seconds, _ = self.interleaved(work, rounds)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        return {
            "augmentations": augs,
            **{f"{name}_ms": 1000 * value for name, value in median.items()},
            "ratio": statistics.median(a / b for a, b in zip(seconds["alone"], seconds["lockstep"], strict=True)),
        }

    def ratio(self, aug: str, rounds: int) -> dict[str, float]:
        """Milliseconds of the plain step and of ours, their ratio, and the share that is not arithmetic."""
        training = self.training(aug)
        bare = self.arithmetic(aug)
        work: dict[str, Callable[[], object]] = {
            "plain": lambda: [self.plain(raw, self.labels, aug) for raw in self.raw],
            "ours": training.run_epoch,
            "arithmetic": lambda: [bare() for _ in range(self.steps)],
        }
        seconds, warm = self.interleaved(work, rounds)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        return {
            **{f"{name}_ms": 1000 * value for name, value in median.items()},
            "ratio": statistics.median(p / o for p, o in zip(seconds["plain"], seconds["ours"], strict=True)),
            "overhead": 1 - median["arithmetic"] / median["ours"],
            "warm_up_s": warm,
        }

    def interleaved(self, work: dict[str, Callable[[], object]], rounds: int) -> tuple[dict[str, list[float]], float]:
        """Seconds of a step in every round, by name, and those of warming up."""
        start = time.perf_counter()
        for run in work.values():
            timed(self.device, run)  # compiles if asked to
        warm = time.perf_counter() - start
        seconds: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, run in work.items():
                seconds[name].append(timed(self.device, run) / self.steps)
        return seconds, warm

    def arithmetic(self, aug: str) -> Callable[[], Tensor]:
        """What no trainer can avoid: the teacher's forward, the student's forwards and backward, of the same rows."""
        module = inference_copy(self.teacher, dtype=self.dtype, device=self.device)
        rows = BATCH * (3 if aug == "cutmixpick" else 2)
        images = torch.randn(rows, 3, 32, 32, device=self.device).to(self.dtype, memory_format=torch.channels_last)
        view = torch.randn(BATCH, 3, 32, 32, device=self.device).contiguous(memory_format=torch.channels_last)
        student = copy.deepcopy(self.student).to(self.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        half = self.dtype == torch.bfloat16

        def step() -> Tensor:
            with torch.inference_mode():
                module(images)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                total: Tensor = student(view).float().sum() + student(view).float().sum()
            student.zero_grad(set_to_none=True)
            total.backward()
            return total.detach()

        return step


def main(
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    steps: Annotated[int | None, typer.Option(help="Steps of a round; 100 on a GPU, 6 on a CPU.")] = None,
    rounds: Annotated[int, typer.Option(min=3, help="Interleaved rounds.")] = 5,
    compile: Annotated[bool, typer.Option("--compile", help="Compile our step.")] = False,
    lockstep: Annotated[int | None, typer.Option(min=2, help="Measure so many students in lockstep.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Of the forward passes; the fastest by default.")] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure and print steps a second, ratios and overheads."""
    torch.manual_seed(0)
    place = torch.device(device)
    count = steps or (100 if place.type == "cuda" else 6)
    kind = preferred_dtype(place) if dtype is None else getattr(torch, dtype)
    print(f"batch {BATCH}, {str(kind).removeprefix('torch.')}, {machine(place)}")
    found: dict[str, Any] = {}
    for teacher, student in LOCKSTEP_PAIRS if lockstep is not None else ():
        row = Bench(teacher, student, place, count, compile, kind).lockstep(lockstep or 1, rounds)
        found[f"{teacher} -> {student}"] = row
        students = 1000 * (lockstep or 1)
        print(
            f"{teacher} -> {student}: {students / row['alone_ms']:.2f} student steps/s one after the other, "
            f"{students / row['lockstep_ms']:.2f} {lockstep} in lockstep: {row['ratio']:.2f}x",
            flush=True,
        )
    for teacher, student in PAIRS if lockstep is None else ():
        bench = Bench(teacher, student, place, count, compile, kind)
        for aug, aim in AIMS[place.type].items():
            row = bench.ratio(aug, rounds)
            found[f"{teacher} -> {student}, {aug}"] = {**row, "aim": aim}
            print(
                f"{teacher} -> {student} {aug:10s}: plain {1000 / row['plain_ms']:6.2f} steps/s, ours "
                f"{1000 / row['ours_ms']:6.2f}, {row['ratio']:.2f}x (aim {aim}x); "
                f"{100 * row['overhead']:.1f} % is neither teacher nor student (aim: below 10 %)",
                flush=True,
            )
    if output is not None:
        setting = {"rounds": rounds, "steps": count, "compile": compile, "versions": machine(place)}
        setting |= {"dtype": str(kind), "batch": BATCH}
        command = " ".join(["python -m experiments.benchmarks.train", *sys.argv[1:]])
        write_atomic(output, json.dumps({"command": command, **setting, "pairs": found}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
