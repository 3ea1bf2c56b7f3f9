"""How fast data of ImageNet's shape are: `python -m experiments.benchmarks.imagenet`.

A folder of the shape of ImageNet is made of hard links to the JPEGs of any folder (`--photos`), or to mosaics of small
photographs, 500 x 375 pixels, which are as hard to decode as photographs. The teacher is so small that data are what
one waits for. Everything is measured in one process beside the plain way of doing the same: torchvision's
`ImageFolder`, a `DataLoader` with as many workers as cores, `RandomResizedCrop` and flip. Medians over interleaved
rounds; the ratio is plain / ours, of seconds and of seconds of the CPU, worker processes included, which other work on
the machine moves less. Run it with `OMP_WAIT_POLICY=PASSIVE`, which dametric's commands set, for both ways alike.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
from dametric.data import ImageSet, decode, unpacked
from dametric.data.balanced_subset import balanced_subset_rows
from dametric.data.folder import listing
from dametric.data.request import ImageRequest
from dametric.data.rowgroups import RowGroups
from dametric.training import Recipe, Teacher, Training, TrainingContext
from dametric.training.evaluate import evaluate
from dametric.training.trainer import advance_together
from experiments.benchmarks.reference import cutmix
from experiments.benchmarks.train import PlainStep

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZE, BATCH = 224, 64
WIDTH, HEIGHT, TILE = 500, 375, 64
IMAGENET = 1_281_167


class Spent(NamedTuple):
    """Seconds of wall time, and of the CPU in this process and its children."""

    wall: float
    cpu: float


class Comparison(NamedTuple):
    """What the plain way and ours take in each round, and what is aimed at."""

    plain: list[Spent]
    ours: list[Spent]
    aim: str

    def ratio(self, what: str = "wall") -> float:
        """Median over rounds of plain / ours."""
        pairs = zip(self.plain, self.ours, strict=True)
        return float(statistics.median(getattr(plain, what) / max(getattr(ours, what), 1e-9) for plain, ours in pairs))


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
        data, BATCH, shuffle=True, drop_last=True, num_workers=workers, generator=draw, persistent_workers=True
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
        self.ahead = 2 * workers  # batches that the loader makes before they are asked for
        next(self.loader)  # its workers are started
        self.plain_step = PlainStep(small_network(classes), small_network(classes), self.device)

    def use_up(self) -> None:
        """Take what the loader made while something else was measured: what follows is made while it is measured."""
        for _ in itertools.islice(self.loader, self.ahead):
            pass

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
        setting = TrainingContext(self.data, self.data, self.device, teacher)
        recipe = Recipe(aug="cutmix", base_aug="rrc+flip", dtype="float32", epochs=10**6, batch_size=BATCH)
        network = setting.network(recipe.dtype, recipe.batch_size)
        training = Training(self.student, setting.on_device, recipe, self.device, teacher=network)

        def steps() -> None:
            until = min(training.number + self.batches, training.epoch_end)
            advance_together([training], until)

        return steps


def cpu_seconds() -> float:
    """Seconds of the CPU that this process and its running children have had."""
    ticks = 0
    for process in (os.getpid(), *(child.pid for child in multiprocessing.active_children())):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rest() -> None:
    """Wait until the loader's workers have nothing to do."""
    before = -1.0
    while (now := cpu_seconds()) - before > 0.02:
        before = now
        time.sleep(0.3)


def spent(work: Callable[[], object]) -> Spent:
    """Seconds that a call takes."""
    start, before = time.perf_counter(), cpu_seconds()
    work()
    return Spent(time.perf_counter() - start, cpu_seconds() - before)


def compared(
    name: str,
    plain: Callable[[], object],
    ours: Callable[[], object],
    rounds: int,
    aim: str,
    before: Callable[[], object] = lambda: None,
    between: Callable[[], object] = lambda: None,
) -> Comparison:
    """Measure two ways of the same in turn, after one round that warms up, and print the medians."""
    plain(), ours()
    row = Comparison([], [], aim)
    for _ in range(rounds):
        before()
        row.plain.append(spent(plain))
        between()
        row.ours.append(spent(ours))
    walls = [statistics.median(each.wall for each in way) for way in (row.plain, row.ours)]
    cpus = [statistics.median(each.cpu for each in way) for way in (row.plain, row.ours)]
    print(
        f"{name:40s} plain {walls[0]:7.3f} s, ours {walls[1]:7.3f} s, ratio {row.ratio():5.2f}; of the CPU "
        f"{cpus[0]:7.2f} and {cpus[1]:7.2f} s, ratio {row.ratio('cpu'):5.2f}   aim {aim}",
        flush=True,
    )
    return row


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
    ways: dict[str, tuple[Callable[[], object], Callable[[], object], str]] = {
        "listing": (lambda: ImageFolder(str(root / "train")), lambda: listing(root, "train"), "0.4 s"),
        "listing, remembered": (
            lambda: ImageFolder(str(root / "train")),
            lambda: listing(root, "train", root.parent / "lists"),
            "0.4 s",
        ),
        "balanced subset of 1.28 million labels": (
            lambda: np.argsort(labels.numpy(), kind="stable"),
            lambda: balanced_subset_rows(labels, 1000, 100_000),
            "0.3 s",
        ),
        "evaluation of 50,000 x 1,000": (
            lambda: plain_evaluation(logits, truth),
            lambda: evaluate(logits, truth),
            "0.6 s",
        ),
    }
    return {name: compared(name, plain, ours, rounds, aim) for name, (plain, ours, aim) in ways.items()}


def by_threads(bench: Bench, images: int) -> dict[str, float]:
    """Evaluation views a second of wall time by some threads, and milliseconds of the CPU that each takes.

    Where threads got into each other's way, the latter would go up with their number, also beyond the cores at hand.
    """
    numbers, rows = {}, torch.arange(images).split(BATCH)
    for threads in (1, 2, 4, 8):
        with patch("dametric.data.lazy.workers", lambda count=threads: count):
            taken = spent(partial(deque, bench.data.stream(rows, bench.device), 0))
        numbers[f"{threads} threads, images a second"] = images / taken.wall
        numbers[f"{threads} threads, ms of the CPU an image"] = 1000 * taken.cpu / images
    return numbers


def under_the_lock(bench: Bench, images: int) -> dict[str, float]:
    """Milliseconds an image outside of native decoding and resizing, which one thread at a time can do at most.

    Reading of files is among them, though other threads run meanwhile: the number of images a second that it allows,
    with any number of cores, is a lower bound.
    """
    inside, rows = [0.0], torch.arange(images).split(BATCH)

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*given, **options)
            finally:
                inside[0] += time.thread_time() - start

        return call

    operator = decode._operator()
    with (
        patch("dametric.data.lazy.workers", lambda: 1),
        patch.object(decode, "_operator", lambda: timed(operator)),
        patch.object(F, "interpolate", timed(F.interpolate)),
    ):
        start = time.process_time()
        deque(bench.data.stream(rows, bench.device), 0)
        outside = time.process_time() - start - inside[0]
    return {"ms": 1000 * outside / images, "images a second at most": images / outside}


def parquet(folder: Path, photos: list[Path], group: int, rounds: int, images: int = 4096) -> dict[str, float]:
    """Images drawn at random from Parquet, of which a quarter may be held, beside the same images in folders.

    Returns
    -------
    dict
        Bytes read for one byte of the images drawn; seconds that unpacking took, once; and the median ratios of seconds
        of wall time and of the CPU, Parquet / folders.
    """
    encoded = [photo.read_bytes() for photo in itertools.islice(itertools.cycle(photos), images)]
    labels = [number % 10 for number in range(images)]
    for number, (label, photo) in enumerate(zip(labels, itertools.cycle(photos), strict=False)):
        (folder / "folders" / "train" / str(label)).mkdir(parents=True, exist_ok=True)
        os.link(photo, folder / "folders" / "train" / str(label) / f"{number:05d}.JPEG")
    table = pa.table({"image": encoded, "label": labels})
    (folder / "table").mkdir()
    pq.write_table(table, folder / "table" / "train.parquet", row_group_size=group, compression="NONE")
    memory, cache = sum(map(len, encoded)) / 4e9, folder / "cache"
    settings: dict[str, Any] = {"image_size": SIZE, "lazy": True, "memory_limit": memory, "quiet": True}
    sets: list[ImageSet] = []
    taken: list[Spent] = []
    write = unpacked._write

    def timed(*given: Any) -> None:
        taken.append(spent(lambda: write(*given)))

    with patch.object(unpacked, "_write", timed):
        for kind in ("folders", "table"):
            request = ImageRequest(source=str(folder / kind), cache_dir=str(cache), **settings)
            sets.append(request.load("train"))
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    read, pread, load = [0], os.pread, RowGroups._load

    def counted_load(rows: RowGroups, number: int) -> Any:
        column = load(rows, number)
        read[0] += column.nbytes
        return column

    def counted_pread(file: int, size: int, at: int) -> bytes:
        read[0] += size
        return pread(file, size, at)

    with patch.object(RowGroups, "_load", counted_load), patch.object(os, "pread", counted_pread):
        deque(sets[1].stream(order[:640].split(BATCH), "cpu"), 0)
    numbers = {
        "bytes read for one drawn": read[0] / sum(len(encoded[row]) for row in order[:640].tolist()),
        "unpacking once, MB": sum(map(len, encoded)) / 1e6,
        "unpacking once, s": taken[0].wall,
        "unpacking once, s of the CPU": taken[0].cpu,
    }
    pairs = []
    for part in order.split(640)[:rounds]:
        pairs.append([spent(partial(deque, each.stream(part.split(BATCH), "cpu"), 0)) for each in sets])
    for what in ("wall", "cpu"):
        ratios = [getattr(table, what) / max(getattr(folders, what), 1e-9) for folders, table in pairs]
        numbers[f"{what}, Parquet / folders"] = statistics.median(ratios)
    return numbers


def growth(bench: Bench, batches: int = 200) -> float:
    """Megabytes by which memory in use grows from the first to the last fifty of so many batches, twenty apart.

    Medians are compared: of the four batches in waiting, as many pages are in use as were written, which goes up and
    down by their 39 MB.
    """
    rows = torch.arange(len(bench.data)).repeat(-(-batches * BATCH // len(bench.data)))[: batches * BATCH]
    used = []
    for _ in bench.data.stream(rows.split(BATCH), bench.device):
        used.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return statistics.median(used[-50:]) - statistics.median(used[20:70])


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
        score_ways, distill_ways = (bench.plain_score, bench.score), (bench.plain_distill, bench.distill())
        of: dict[str, Any] = {"rounds": rounds, "before": bench.use_up, "between": rest}
        for name, ways, aim in (("score", score_ways, ">= 1.5"), ("distill", distill_ways, ">= 1.2")):
            compare[f"{name}, data-bound"] = compared(f"{name}, data-bound", *ways, aim=aim, **of)
        rest()
        numbers: dict[str, Any] = {
            "first batch after listing, s": first_batch(root),
            "one image, evaluation view": cpu_milliseconds(bench, 20 * BATCH),
            "evaluation views by threads": by_threads(bench, 10 * BATCH),
            "outside of native code, an image": under_the_lock(bench, 10 * BATCH),
            "growth over 200 batches, MB": growth(bench),
            **{
                f"Parquet in row groups of {group}": parquet(root.parent / f"parquet-{group}", sources, group, rounds)
                for group in (100, 1000)
            },
        }
    for name, value in numbers.items():
        print(f"{name:40s} {value}")
    if output is not None:
        command = " ".join(["python -m experiments.benchmarks.imagenet", *sys.argv[1:]])
        setting = {"seed": 0, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"), "load": os.getloadavg()}
        rows = {
            name: {
                "plain": [each._asdict() for each in row.plain],
                "ours": [each._asdict() for each in row.ours],
                "ratio": row.ratio(),
                "ratio_cpu": row.ratio("cpu"),
                "aim": row.aim,
            }
            for name, row in compare.items()
        }
        document = {
            "command": command,
            "versions": machine(torch.device("cpu")),
            **setting,
            "compared": rows,
            **numbers,
        }
        write_atomic(output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
