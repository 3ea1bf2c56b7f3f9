"""How fast scoring is: `python -m experiments.benchmarks.score`.

Four ratios, each of two things measured side by side in this process, medians over interleaved rounds:

(a) rows a second of scoring over rows a second of a bare forward loop, same teacher, dtype and chunk;
(b) the nine-augmentation table at equal numbers of images, against the published protocol written plainly;
(c) the same at an equal standard error of 1 %: seconds that each needs, from its measured error and speed;
(d) thirty augmentations under all metrics, on so many images (--images), over bare forwards of as many rows
    amid them, without and with a student: seconds of the CPU and of the wall.

The teacher for (c) matters, since the error depends on its outputs: give a real checkpoint and real images with
--teacher and --data; without, an untrained network and random images show (a) and (b) only.
"""

from __future__ import annotations

import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

from dametric.augment import PAPER
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.data import ImageSet
from dametric.data.request import ImageRequest
from dametric.metrics import METRICS, Design
from dametric.models import build, inference_copy, load_checkpoint, preferred_dtype
from dametric.models.network import Network
from dametric.records.scores import Scores
from dametric.scoring import score
from dametric.scoring.jackknife import Blocks, estimate
from experiments.benchmarks.reference import PlainReference

TARGET = 0.01
_BETWEEN, _BURST = 16_384, 2_048  # rows that are shown between two bursts of bare forwards, rows of a burst
THIRTY = (
    *("identity", "flip", "crop", "crop+flip", "rrc", "rotate", "translate", "shear", "scale", "perspective"),
    *("brightness", "contrast", "saturation", "hue", "jitter", "grayscale", "solarize", "posterize", "equalize"),
    *("autocontrast", "sharpness", "invert", "blur", "noise", "cutout", "erasing", "gridmask", "mixup", "cutmix"),
    "autoaugment",
)


def timed(device: torch.device, work: Callable[..., object], *arguments: object) -> float:
    """Seconds that ``work(*arguments)`` takes, the device's queue drained before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work(*arguments)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _clocked(work: Callable[[], object]) -> dict[str, float]:
    """Seconds of the CPU and of the wall that some work takes."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


class Interleaved:
    """Bare forwards amid the rows that networks are shown: what else the machine does weighs on both alike.

    Attributes
    ----------
    spent : dict of float
        Seconds of all bare forwards, of the CPU and of the wall.
    """

    def __init__(self) -> None:
        self.spent = {"cpu": 0.0, "wall": 0.0}
        self._shown: dict[nn.Module, int] = {}
        self._bare: dict[nn.Module, tuple[int, dict[str, float]]] = {}

    def __enter__(self) -> Interleaved:
        self._call = Network.__call__

        def call(network: Network, images: Tensor) -> Tensor:
            logits = self._call(network, images)
            self._see(network, images)
            return logits

        Network.__call__ = call  # type: ignore[method-assign, assignment]
        return self

    def __exit__(self, *_: object) -> None:
        Network.__call__ = self._call  # type: ignore[method-assign]

    def needed(self) -> dict[str, float]:
        """Seconds that bare forwards of all rows would have taken, at their mean pace."""
        total = dict.fromkeys(self.spent, 0.0)
        for module, shown in self._shown.items():
            rows, seconds = self._bare[module]
            total = {clock: total[clock] + seconds[clock] * shown / rows for clock in total}
        return total

    def _see(self, network: Network, images: Tensor) -> None:
        module = network.module
        before, after = self._shown.get(module, 0), self._shown.get(module, 0) + len(images)
        self._shown[module] = after
        if before // _BETWEEN < after // _BETWEEN or not before:
            shape = (network.chunk, *images.shape[1:])
            pixels = torch.randn(shape, dtype=network.dtype, device=images.device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            bursts = max(_BURST // network.chunk, 1)
            clocks = _clocked(partial(self._forward, module, pixels, bursts))
            rows, seconds = self._bare.get(module, (0, dict.fromkeys(clocks, 0.0)))
            self._bare[module] = rows + bursts * len(pixels), {key: seconds[key] + clocks[key] for key in clocks}
            self.spent = {clock: self.spent[clock] + clocks[clock] for clock in clocks}

    @staticmethod
    def _forward(module: nn.Module, pixels: Tensor, count: int) -> None:
        if pixels.is_cuda:
            torch.cuda.synchronize(pixels.device)
        with torch.inference_mode():
            for _ in range(count):
                module(pixels)
        if pixels.is_cuda:
            torch.cuda.synchronize(pixels.device)


class Bench:
    """The networks, images and settings that the ratios share."""

    def __init__(
        self, teacher: nn.Module, student: nn.Module, data: ImageSet, device: torch.device, chunk: int
    ) -> None:
        self.teacher, self.student = teacher.eval(), student.eval()
        self.data, self.device, self.chunk = data.to(device), device, chunk
        self.dtype = preferred_dtype(device)
        assert isinstance(self.data.images, Tensor)  # sets too large for memory are not what is measured here
        self.reference = PlainReference(
            copy.deepcopy(self.teacher).to(device),
            copy.deepcopy(self.student).to(device),
            self.data.images,
            data.mean,
            data.std,
        )

    def score(self, augs: Sequence[str], student: nn.Module, batches: int | None) -> Scores:
        return score(
            self.teacher,
            self.data,
            list(augs),
            student=student,
            metrics=["t_stddev"],
            batches=batches,
            rel_se=TARGET,
            device=self.device,
            chunk=self.chunk,
            quiet=True,
        )

    def overhead(self, batches: int, rounds: int) -> dict[str, float]:
        """Ratio (a) of every augmentation; the student that one of them asks is a copy of the teacher here."""
        module = inference_copy(self.teacher, dtype=self.dtype, device=self.device)
        pixels = torch.randn(self.chunk, *self.data.images.shape[1:], dtype=self.dtype, device=self.device)
        pixels = pixels.contiguous(memory_format=torch.channels_last)

        def bare(rows: int) -> None:
            with torch.inference_mode():
                for _ in range(rows // self.chunk):
                    module(pixels)

        ratios: dict[str, list[float]] = {name: [] for name in PAPER}
        for round_ in range(rounds + 1):
            for name in PAPER:
                config = self.score([name], self.teacher, batches).config
                rows = sum(config["rows_forwarded"].values())
                alone = timed(self.device, bare, rows) / (rows // self.chunk * self.chunk)
                if round_:  # the first round warms up
                    ratios[name].append(alone / (config["seconds"] / rows))
        return {name: statistics.median(values) for name, values in ratios.items()}

    def table(self, batches: int, rounds: int) -> tuple[float, float]:
        """Seconds that the published protocol and ours need for the nine at one batch of images each."""
        plain, ours = [], []
        for round_ in range(rounds + 1):
            plain.append(timed(self.device, lambda: [self.reference.step(name) for name in PAPER]))
            ours.append(self.score(PAPER, self.student, batches).config["seconds"] / batches)
            if not round_:  # the first round warms up
                plain, ours = [], []
        return statistics.median(plain), statistics.median(ours)

    def all_metrics(self, images: int, rounds: int, who: Sequence[str]) -> dict[str, dict[str, float]]:
        """Ratio (d): seconds of scoring over seconds of the bare forwards, without and with a student."""
        data = self.data
        if not data.num_classes:
            assert isinstance(data.images, Tensor)
            data = ImageSet.from_tensors(data.images, torch.arange(len(data)) % 100)
        ratios: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in who}
        for _ in range(rounds):
            for name in who:
                with Interleaved() as bare:
                    clocks = _clocked(partial(self._all_of, data, self.student if name == "student" else None, images))
                for clock, seconds in bare.needed().items():
                    ratios[name][clock].append((clocks[clock] - bare.spent[clock]) / seconds)
        return {name: {clock: statistics.median(each) for clock, each in both.items()} for name, both in ratios.items()}

    def _all_of(self, data: ImageSet, student: nn.Module | None, images: int) -> dict[str, Any]:
        return score(
            self.teacher,
            data,
            list(THIRTY),
            student=student,
            metrics="all",
            batches=images // 64,
            held_out=max(min(5_000, images // 10), 128),
            device=self.device,
            chunk=self.chunk,
            quiet=True,
        ).config

    def precision(self, draws: int, rounds: int) -> dict[str, dict[str, float]]:
        """Seconds to a standard error of 1 %: the published protocol's by its measured error, ours by doing it."""
        found: dict[str, dict[str, float]] = {}
        for name in PAPER:
            seconds, means = [], []
            for _ in range(draws):
                start = time.perf_counter()
                means.append(self.reference.draw(name).cpu())  # waits for the device
                seconds.append(time.perf_counter() - start)
            mean = torch.stack(means).double()
            ones = torch.ones(draws, dtype=torch.int64)
            blocks = Blocks({"mean": mean, "square": mean.square(), "count": ones.double()}, ones, 0 * ones)
            error = estimate(blocks, METRICS["t_stddev"], Design("units", 320, 320), plugin=True).relative_se
            needed = 1 + (draws - 1) * (error / TARGET) ** 2
            found[name] = {"error": error, "draws": needed, "seconds": needed * statistics.median(seconds)}
        runs = [self.score(PAPER, self.student, None).config for _ in range(rounds)]
        found["ours"] = {"seconds": statistics.median(config["seconds"] for config in runs)}
        return found


def main(
    teacher: Annotated[str | None, typer.Option(help="Checkpoint; without, an untrained resnet20.")] = None,
    student: Annotated[str, typer.Option(help="Architecture of the student, untrained.")] = "resnet8",
    data: Annotated[str | None, typer.Option(help="Image set; without, random pixels, 100 classes.")] = None,
    device: str = "cuda" if torch.cuda.is_available() else "cpu",
    chunk: Annotated[int | None, typer.Option(help="Rows of a forward; 1024 on a GPU, 128 on a CPU.")] = None,
    batches: Annotated[int, typer.Option(help="Batches of a measurement of (a) and (b).")] = 64,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved rounds.")] = 3,
    draws: Annotated[int, typer.Option(help="Draws by which the reference's error is measured in (c).")] = 12,
    images: Annotated[int, typer.Option(min=256, help="Images of (d).")] = 10_000,
    of: Annotated[
        str, typer.Option(help="Metrics of (d): teacher, student, or both between a comma.")
    ] = "teacher,student",
    parts: Annotated[str, typer.Option(help="Letters of the ratios to measure.")] = "abcd",
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write the numbers as JSON.")] = None,
) -> None:
    """Measure and print the ratios."""
    torch.manual_seed(0)
    checkpoint = None if teacher is None else load_checkpoint(teacher)
    classes = 100 if checkpoint is None else checkpoint.num_classes
    network = build("resnet20", classes) if checkpoint is None else checkpoint.model
    image_set = (
        ImageSet.from_tensors(torch.randint(0, 256, (4096, 3, 32, 32), dtype=torch.uint8), name="random pixels")
        if data is None
        else ImageRequest(source=data).load("train")
    )
    place = torch.device(device)
    bench = Bench(network, build(student, classes), image_set, place, chunk or (1024 if place.type == "cuda" else 128))
    arch = "untrained resnet20" if checkpoint is None else checkpoint.arch
    shown = Path(image_set.name).name
    print(f"{arch} (student {student}) on {shown}, {bench.dtype}, chunk {bench.chunk}, {machine(place)}")
    result: dict[str, Any] = {}
    if "a" in parts:
        shares = bench.overhead(batches, rounds)
        for name, share in shares.items():
            print(f"(a) {name:32s} {share:5.2f} of a bare forward's rows a second")
        mean = statistics.mean(shares.values())
        print(f"(a) mean over the nine               {mean:5.2f}   aim: at least 0.9")
        result |= {"a": shares, "a_mean": mean}
    if "b" in parts:
        plain, ours = bench.table(batches, rounds)
        ratio = plain / ours
        print(f"(b) nine augmentations, a batch each: plain {plain:.2f} s, ours {ours:.2f} s, {ratio:.1f}x   aim 8x")
        result["b"] = {"reference": plain, "ours": ours, "ratio": ratio}
    if "d" in parts:
        result["d"] = bench.all_metrics(images, rounds, of.split(","))
        for who, clocks in result["d"].items():
            print(
                f"(d) 30 augmentations, all metrics of the {who}, {images} images: {clocks['cpu']:.2f} of the bare "
                f"forwards' seconds of the CPU, {clocks['wall']:.2f} of the wall   aim: at most 1.25"
            )
    if checkpoint is not None and "c" in parts:
        found = bench.precision(draws, rounds)
        total, quick = sum(row["seconds"] for name, row in found.items() if name != "ours"), found["ours"]["seconds"]
        for name in PAPER:
            row = found[name]
            print(f"(c) {name:32s} reference: {row['draws']:6.0f} draws, {row['seconds']:7.1f} s to 1 %")
        print(f"(c) nine augmentations to 1 %: plain {total:.0f} s, ours {quick:.1f} s, {total / quick:.0f}x  aim 100x")
        result["c"] = {**found, "ratio": total / quick}
    if output is not None:
        setting: dict[str, Any] = {
            "teacher": arch,
            "student": student,
            "data": Path(image_set.name).name,
            "dtype": str(bench.dtype),
        }
        setting |= {"chunk": bench.chunk, "batches": batches, "rounds": rounds, "versions": machine(place)}
        write_atomic(
            output,
            json.dumps(
                {"command": " ".join(["python -m experiments.benchmarks.score", *sys.argv[1:]]), **setting, **result},
                indent=1,
            )
            + "\n",
        )


if __name__ == "__main__":
    typer.run(main)
