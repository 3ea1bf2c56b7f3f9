"""How fast data of ImageNet's shape are: `python -m experiments.benchmarks.imagenet`.

A folder of the shape of ImageNet is made of hard links to the JPEGs of any folder (`--photos`), or to mosaics of small
photographs, 500 x 375 pixels, which are as hard to decode as photographs. The teacher is so small that data are what
one waits for. Everything is measured in one process beside the plain way of doing the same: torchvision's
`ImageFolder`, a `DataLoader` with as many workers as cores, `RandomResizedCrop` and flip. Medians over interleaved
rounds; the ratio is plain / ours.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
import typer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from dametric import score
from dametric.base.environment import machine
from dametric.base.files import write_atomic
from dametric.data import ImageSet
from dametric.data.balanced_subset import balanced_subset_rows
from dametric.data.folder import listing
from dametric.data.request import ImageRequest
from dametric.training import Recipe, Teacher, Training, TrainingContext
from dametric.training.evaluate import evaluate
from dametric.training.trainer import advance_together
from experiments.benchmarks.reference import cutmix
from experiments.benchmarks.train import PlainStep

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, BATCH = 224, 64
WIDTH, HEIGHT, TILE = 500, 375, 64
IMAGENET = 1_281_167


class Comparison(NamedTuple):
    """Seconds of the plain way and of ours in each round, and the ratio that is aimed at."""

    plain: list[float]
    ours: list[float]
    aim: str

    @property
    def ratio(self) -> float:
        """Median over rounds of plain / ours."""
        return statistics.median(plain / ours for plain, ours in zip(self.plain, self.ours, strict=True))


def mosaics(folder: Path, source: Path, count: int) -> list[Path]:
    """JPEGs of 500 x 375 pixels, each of 48 small photographs side by side: detail at every scale, unlike enlargements.

    Parameters
    ----------
    folder : Path
        Where the JPEGs are written.
    source : Path
        An image set of 64 x 64 pixels.
    count : int
        Number of JPEGs.
    """
    images = ImageRequest(source=str(source), image_size=TILE, quiet=True).load("train").images
    assert isinstance(images, Tensor)
    columns, rows = -(-WIDTH // TILE), -(-HEIGHT // TILE)
    draw = torch.Generator().manual_seed(0)
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        chosen = images[torch.randint(0, len(images), (rows * columns,), generator=draw)]
        tiles = chosen.view(rows, columns, 3, TILE, TILE).permute(0, 3, 1, 4, 2).reshape(rows * TILE, columns * TILE, 3)
        picture = Image.fromarray(tiles[:HEIGHT, :WIDTH].numpy())
        picture = picture.transpose(Image.Transpose.ROTATE_90) if number % 4 == 3 else picture
        paths.append(folder / f"{number:05d}.JPEG")
        picture.save(paths[-1], quality=92)
    return paths


def make_shape(root: Path, photos: list[Path], files: int, evaluation: int, classes: int) -> None:
    """Make ``root/train`` and ``root/val`` of hard links to the photos, by turns; a folder that is there is kept."""
    for split, count in (("train", files), ("val", evaluation)):
        source = itertools.cycle(photos)
        for label in range(classes):
            folder = root / split / f"n{label:08d}"
            folder.mkdir(parents=True, exist_ok=True)
            there = set(os.listdir(folder))
            for number in range(label, count, classes):
                name, photo = f"{split}_{number:07d}.JPEG", next(source)
                if name not in there:
                    os.link(photo, folder / name)


def small_network(classes: int) -> nn.Module:
    """A network whose forward takes a tenth of the time that an image's decoding does."""
    layers = (nn.Conv2d(3, 16, 8, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes))
    return nn.Sequential(*layers)


def plain_loader(root: Path, workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised batches as everybody's training script has them."""
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    draw = torch.Generator().manual_seed(0)
    data = ImageFolder(str(root / "train"), transform)
    loader = DataLoader(
        data, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True, generator=draw
    )
    while True:
        yield from loader


class Bench:
    """The data, a small teacher and student, and the two ways of everything that is measured."""

    def __init__(self, root: Path, classes: int, batches: int, workers: int) -> None:
        torch.manual_seed(0)
        self.root, self.batches, self.device = root, batches, torch.device("cpu")
        self.teacher, self.student = small_network(classes).eval(), small_network(classes)
        self.data: ImageSet = ImageRequest(source=str(root), image_size=SIZE, lazy=True, quiet=True).load("train")
        self.loader = plain_loader(root, workers)
        next(self.loader)  # its workers are started
        self.plain_step = PlainStep(small_network(classes), small_network(classes), self.device)

    def plain_score(self) -> None:
        """The spread of the teacher's mean probability, raw and mixed rows, batch after batch."""
        means = []
        with torch.no_grad():  # inference tensors of the loader could not be learnt from
            for images, _ in itertools.islice(self.loader, self.batches):
                rows = torch.cat([self.teacher(images), self.teacher(cutmix(images))])
                means.append(rows.softmax(1).mean(0))
        torch.stack(means).std(0).mean()

    def score(self) -> None:
        """The same number of batches by dametric."""
        score(
            self.teacher,
            self.data,
            ["cutmix"],
            base_aug="rrc+flip",
            metrics=["t_stddev"],
            mean=MEAN,
            std=STD,
            batch_size=BATCH,
            batches=self.batches,
            quiet=True,
        )

    def plain_distill(self) -> None:
        """Steps of distillation as one writes them first."""
        for images, labels in itertools.islice(self.loader, self.batches):
            self.plain_step(images, labels, "cutmix")

    def distill(self) -> Callable[[], object]:
        """The same number of steps of dametric's trainer, each call going on with the epoch."""
        teacher = Teacher(self.teacher, MEAN, STD, "teacher", "")
        context = TrainingContext(self.data, self.data, self.device, teacher)
        recipe = Recipe(aug="cutmix", base_aug="rrc+flip", dtype="float32", epochs=10**6, batch_size=BATCH)
        network = context.network(recipe.dtype, recipe.batch_size)
        training = Training(self.student, context.on_device, recipe, self.device, teacher=network)

        def steps() -> None:
            until = min(training.number + self.batches, training.epoch_end)
            advance_together([training], until)

        return steps


def seconds(work: Callable[[], object]) -> float:
    """Seconds of wall time that a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compared(plain: Callable[[], object], ours: Callable[[], object], rounds: int, aim: str) -> Comparison:
    """Measure two ways of the same in turn, after one round that warms up."""
    plain(), ours()
    pairs = [(seconds(plain), seconds(ours)) for _ in range(rounds)]
    return Comparison([pair[0] for pair in pairs], [pair[1] for pair in pairs], aim)


def plain_evaluation(logits: Tensor, labels: Tensor) -> Tensor:
    """Top-1, top-5 and cross-entropy as one writes them first, in float32."""
    hits = (logits.topk(5).indices == labels[:, None]).double()
    return torch.stack([hits[:, 0].mean(), hits.sum(1).mean(), F.cross_entropy(logits, labels)])


def cpu_milliseconds(bench: Bench, images: int) -> dict[str, float]:
    """User and system milliseconds that an image costs until it is in a batch, of this process and its threads."""
    before, rows = resource.getrusage(resource.RUSAGE_SELF), torch.arange(images)
    for _ in bench.data.stream(rows.split(BATCH), bench.device):
        pass
    after = resource.getrusage(resource.RUSAGE_SELF)
    user, system = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
    return {"user_ms": 1000 * user / images, "system_ms": 1000 * system / images}


def small_parts(root: Path, rounds: int) -> dict[str, Comparison]:
    """Listing, the balanced subset of ImageNet's labels, and the evaluation of 50,000 rows of 1,000 classes."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 1000, (IMAGENET,), generator=draw)
    logits = torch.randn(50_000, 1000, generator=draw)
    truth = torch.randint(0, 1000, (50_000,), generator=draw)
    return {
        "listing": compared(
            lambda: ImageFolder(str(root / "train")), lambda: listing(root, "train"), rounds, "0.8: 0.4 s beside 0.32"
        ),
        "balanced subset of 1.28 million labels": compared(
            lambda: np.argsort(labels.numpy(), kind="stable"),
            lambda: balanced_subset_rows(labels, 1000, 100_000),
            rounds,
            "0.3 s",
        ),
        "evaluation of 50,000 x 1,000": compared(
            lambda: plain_evaluation(logits, truth), lambda: evaluate(logits, truth), rounds, "0.6 s"
        ),
    }


def growth(bench: Bench, batches: int = 200) -> float:
    """Megabytes by which memory in use grows over so many batches, after the first twenty."""
    rows = torch.arange(len(bench.data)).repeat(-(-batches * BATCH // len(bench.data)))[: batches * BATCH]
    used = []
    for _ in bench.data.stream(rows.split(BATCH), bench.device):
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return max(used[20:]) - used[20] if len(used) > 20 else 0.0


def first_batch(root: Path) -> float:
    """Seconds from a listed folder to its first batch."""
    request = ImageRequest(source=str(root), image_size=SIZE, lazy=True, quiet=True)
    available = request.find("train")
    start = time.perf_counter()
    images = request.load("train", available)
    next(iter(images.stream(torch.arange(BATCH).split(BATCH), torch.device("cpu"))))
    return time.perf_counter() - start


def main(
    folder: Annotated[Path | None, typer.Option(help="Where the shape is made and kept; a temporary one.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of JPEGs, on the same file system.")] = None,
    small: Annotated[Path, typer.Option(help="Without --photos: small photographs for mosaics.")] = Path(
        "../shared/data/tinyimagenet25"
    ),
    files: Annotated[int, typer.Option(min=1000, help="Training files.")] = 200_000,
    evaluation: Annotated[int, typer.Option(min=1000, help="Evaluation files.")] = 50_000,
    classes: Annotated[int, typer.Option(min=2, help="Class folders.")] = 1000,
    batches: Annotated[int, typer.Option(min=2, help="Batches of 64 in a measurement.")] = 40,
    rounds: Annotated[int, typer.Option(min=3, help="Interleaved rounds.")] = 5,
    workers: Annotated[int, typer.Option(min=1, help="Workers of the plain loader.")] = os.cpu_count() or 2,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the numbers as JSON.")] = None,
) -> None:
    """Make the shape of ImageNet, measure, and print the ratios."""
    with tempfile.TemporaryDirectory() as temporary:
        root = folder or Path(temporary) / "shape"
        sources = sorted(photos.rglob("*.JP*G")) + sorted(photos.rglob("*.jp*g")) if photos else []
        sources = sources or mosaics(root / "photos", small, 512)
        make_shape(root / "imagenet", sources, files, evaluation, classes)
        root /= "imagenet"
        print(f"{files:,} + {evaluation:,} files, {classes} classes, {machine(torch.device('cpu'))}", flush=True)
        compare = small_parts(root, rounds)
        bench = Bench(root, classes, batches, workers)
        compare["score, data-bound"] = compared(bench.plain_score, bench.score, rounds, ">= 1.5")
        compare["distill, data-bound"] = compared(bench.plain_distill, bench.distill(), rounds, ">= 1.2")
        numbers: dict[str, Any] = {"first batch after listing, s": first_batch(root), "growth, MB": growth(bench)}
        numbers["one image, evaluation view"] = cpu_milliseconds(bench, 20 * BATCH)
    for name, row in compare.items():
        plain, ours = statistics.median(row.plain), statistics.median(row.ours)
        print(f"{name:40s} plain {plain:7.3f} s, ours {ours:7.3f} s, ratio {row.ratio:5.2f}   aim {row.aim}")
    for name, value in numbers.items():
        print(f"{name:40s} {value}")
    if output is not None:
        command = " ".join(["python -m experiments.benchmarks.imagenet", *sys.argv[1:]])
        rows = {name: {**row._asdict(), "ratio": row.ratio} for name, row in compare.items()}
        document = {"command": command, "versions": machine(torch.device("cpu")), "compared": rows, **numbers}
        write_atomic(output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
