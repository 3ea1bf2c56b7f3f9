"""A run that was stopped, by a word or by a kill, goes on to the very bytes of one that was not."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import random
import resource
import signal
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dametric.base.interrupts import until_interrupted
from dametric.data import ImageSet, load_data
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.models import build, load_checkpoint, load_state, save_checkpoint
from dametric.records.runs import BusyError, Run, load_runs, read_record
from dametric.training import (
    LABELS,
    Recipe,
    Teacher,
    Training,
    TrainingContext,
    TrainingRun,
    distill,
    train,
    trainer,
    watched,
)
from dametric.training.run import carry_out

CPU = torch.device("cpu")
MEAN, STD = (0.5, 0.45, 0.4), (0.25, 0.3, 0.2)
# The server has everything imported; what it forks starts at once.
PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["dametric.training", "dametric.training.run", "pytest", "pandas"])
KILLS = [(6, 14), pytest.param(20, 16, marks=pytest.mark.slow)]  # how many, and a seed
STEPS = 11  # of an epoch of the digits
PATIENCE = 120  # seconds after which a child is taken for stuck


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums are the same bits for the same number of threads only."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Order:
    """A run in a form that another process can be sent."""

    teacher: Path
    arrays: tuple[np.ndarray, ...]  # images and labels for training, and for testing
    recipe: Recipe

    def work(self, folder: Path) -> TrainingRun:
        x, y, x_test, y_test = (torch.from_numpy(array) for array in self.arrays)
        names = [str(number) for number in range(10)]
        options: dict[str, Any] = {"classes": names, "mean": MEAN, "std": STD, "name": "digits"}
        train_set = ImageSet.from_tensors(x, y, **options)
        test = ImageSet.from_tensors(x_test, y_test, split="test", **options)
        context = TrainingContext(train_set, test, CPU, Teacher.of(self.teacher, train_set))
        return context.work("resnet8", self.recipe, folder=folder)


def order(source: tuple[ImageSet, ImageSet], teacher: Path, recipe: Recipe) -> Order:
    arrays = [
        tensor.numpy() for split in source for tensor in (split.images, split.labels) if isinstance(tensor, Tensor)
    ]
    return Order(teacher, tuple(arrays), recipe)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """Six epochs on a sixth of the digits, with a pick that asks the student itself."""
    split = [load_data("digits", name, image_size=16, quiet=True) for name in ("train", "test")]
    train_set, test = (part.subset(range(0, len(part), 6)) for part in split)
    out = tmp_path_factory.mktemp("digits")
    options: dict[str, Any] = {"epochs": 2, "batch_size": 16, "quiet": True, "device": "cpu", "dtype": "float32"}
    teacher = train("resnet8", (train_set, test), out=out, **options).folder / "last.pt"
    recipe = Recipe(epochs=6, batch_size=21, aug="cutmixpick:by=student_entropy", schedule="cosine", seed=3)
    return order((train_set, test), teacher, recipe)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """Three epochs of four steps, a moment each."""
    draw = torch.Generator().manual_seed(0)
    splits = []
    for count in (34, 20):
        pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=draw)
        splits.append(ImageSet.from_tensors(pixels, torch.arange(count) % 10, mean=MEAN, std=STD))
    torch.manual_seed(1)
    teacher = tmp_path_factory.mktemp("small") / "t.pth"
    save_checkpoint(teacher, build("resnet8", 10, 8), arch="resnet8", image_size=8)
    return order((splits[0], splits[1]), teacher, Recipe(epochs=3, batch_size=8, aug="cutmix", nesterov=True, seed=2))


# What a folder must be at any time, and what two of them have in common


def whole(folder: Path) -> None:
    """No file under its own name is half of one."""
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue  # not under its own name yet
        if path.name == "record.json":
            assert read_record(path)["status"] in ("running", "interrupted", "finished")
        elif path.name == "history.csv":
            text = path.read_text()
            assert text.endswith("\n")
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
            assert not any(value is None for row in rows for value in row.values())
        else:
            assert path.name == "last.pt", f"a strange file is left: {path.name}"
            with zipfile.ZipFile(path) as file:
                assert file.testzip() is None
            assert {"model", "state"} <= set(torch.load(path, weights_only=True))


def outcome(folder: Path) -> dict[str, Any]:
    """All that must be equal, with the checkpoint to the byte."""
    record = json.loads((folder / "record.json").read_text())
    del record["timing"]
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return {"record": record, "history": rows, "last.pt": (folder / "last.pt").read_bytes()}


def assert_same(one: Path, other: Path) -> None:
    first, second = outcome(one), outcome(other)
    for part in first:
        assert first[part] == second[part], part  # not all at once: pytest would print the bytes
    assert first["record"]["status"] == "finished"


def leftovers(folder: Path) -> list[str]:
    """What a kill left behind, besides the lock."""
    return sorted(name for name in os.listdir(folder) if name.startswith(".") and name not in (".lock", ".lock-holder"))


@pytest.fixture(scope="module")
def smooth(small: Order, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run, undisturbed."""
    folder = tmp_path_factory.mktemp("smooth") / "run"
    carry_out(small.work(folder))
    return folder


# Stopped by a word


def until(steps: int, rows: int = 10**9) -> tuple[Callable[[], bool], dict[str, Callable[..., None]]]:
    """A ``stop`` that says so after so many steps, or rows of the history; and what counts them."""
    counts = {"steps": -1, "rows": 0}  # it is told once where it starts

    def advance(done: float = 1, note: str = "") -> None:
        counts["steps"] += done > 0 or counts["steps"] < 0

    def on_epoch(row: dict[str, float]) -> None:
        counts["rows"] += 1

    return lambda: counts["steps"] >= steps or counts["rows"] >= rows, {"advance": advance, "on_epoch": on_epoch}


@pytest.mark.parametrize("every", [1, 3])
def test_stopping_after_every_few_steps_changes_nothing(small: Order, smooth: Path, tmp_path: Path, every: int) -> None:
    folder, stops = tmp_path / "run", (12 - 1) // every
    for number in range(1, stops + 1):
        stop, told = until(every)
        with pytest.raises(Interrupted, match=f"epoch {number * every // 4 + 1} of 3"):
            carry_out(small.work(folder), stop=stop, **told)
        whole(folder)
        record = read_record(folder / "record.json")
        assert record["status"] == "interrupted"
        assert load_checkpoint(folder / "last.pt").extra["epoch"] == number * every // 4
        assert (record["last"] or {"epoch": 0})["epoch"] == number * every // 4
    carry_out(small.work(folder))
    assert_same(folder, smooth)
    record = read_record(folder / "record.json")
    assert record["timing"]["sessions"] == stops + 1
    assert set(record["timing"]) == set(read_record(smooth / "record.json")["timing"])
    assert leftovers(folder) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": LABELS, "base_aug": "mixup", "label_smoothing": 0.1},
        {"dtype": "float64", "schedule": "onecycle"},
        {"dtype": "bfloat16", "joint_batch": True},
        {"aug": "cutmixpick:by=kld", "momentum": 0.0, "nesterov": False},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_stopping_changes_nothing_with_other_recipes(small: Order, tmp_path: Path, changes: dict[str, Any]) -> None:
    changed = replace(small, recipe=replace(small.recipe, epochs=2, **changes))
    carry_out(changed.work(tmp_path / "smooth"))
    for steps in (2, 3):
        stop, told = until(steps)
        with pytest.raises(Interrupted):
            carry_out(changed.work(tmp_path / "run"), stop=stop, **told)
    carry_out(changed.work(tmp_path / "run"))
    assert_same(tmp_path / "run", tmp_path / "smooth")


class Noisy(nn.Module):
    """A network that draws random numbers as it is trained, and keeps a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(192, 12), nn.BatchNorm1d(12)
        self.drop, self.last = nn.Dropout(0.5), nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.drop(self.norm(self.first(images.flatten(1)))))


def test_a_network_that_draws_goes_on_with_the_same_draws(small: Order, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = Noisy()
    works = [replace(small.work(tmp_path / name), student=student) for name in ("smooth", "run", "run")]
    carry_out(works[0])
    stop, told = until(6)
    with pytest.raises(Interrupted):
        carry_out(works[1], stop=stop, **told)
    torch.manual_seed(99)
    carry_out(works[2])
    assert_same(tmp_path / "run", tmp_path / "smooth")


def test_stopping_between_two_epochs_keeps_the_epoch(small: Order, smooth: Path, tmp_path: Path) -> None:
    stop, told = until(10**9, rows=1)
    with pytest.raises(Interrupted, match="epoch 2 of 3"):
        carry_out(small.work(tmp_path / "run"), stop=stop, **told)
    assert len(Run(tmp_path / "run").history()) == 1
    seen: list[float] = []
    carry_out(small.work(tmp_path / "run"), on_epoch=lambda row: seen.append(row["epoch"]))
    assert seen == [2, 3]
    assert_same(tmp_path / "run", smooth)


def test_a_run_of_a_version_that_kept_no_term_of_the_users_own_goes_on(small: Order, tmp_path: Path) -> None:
    (tmp_path / "term.py").write_text("def norm(inputs):\n    return inputs.student.square().mean()\n")
    objective = replace(small.recipe.objective, term=f"{tmp_path / 'term.py'}:norm")
    first, again = (replace(small, recipe=replace(small.recipe, objective=objective)).work(tmp_path) for _ in range(2))
    first.training.run_epoch(stop=lambda: first.training.number == 2)
    state = first.training.state()
    again.training.restore({**state, "terms": state["terms"][:, :4]})
    for training in (first.training, again.training):
        training.run_epoch()
    whole, part = first.training.losses(), again.training.losses()
    assert list(whole) == ["loss", "ce", "kd_raw", "kd_aug", "term"]
    assert whole["term"] > 0
    assert math.isnan(part["term"])  # of the steps before nothing is known
    assert math.isfinite(part["loss"])


def test_progress_adds_up_to_the_epochs(small: Order, tmp_path: Path) -> None:
    told: list[float] = []
    folder = tmp_path / "run"
    stop, counters = until(6)

    def advance(steps: float = 1, note: str = "") -> None:
        told.append(steps)
        counters["advance"](steps)

    with pytest.raises(Interrupted):
        carry_out(small.work(folder), stop=stop, advance=advance)
    assert sum(told) == pytest.approx(1.5)
    told.clear()
    carry_out(small.work(folder), advance=advance)
    assert told[0] == pytest.approx(1.5)
    assert sum(told) == pytest.approx(3)


class Killed(BaseException):
    """In place of a kill, where nothing is cleaned up."""


@pytest.mark.parametrize("killed", [False, True])
def test_the_time_of_all_sessions_counts_once(
    small: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    """By a clock that goes on by one second a step."""
    clock = 100.0
    monkeypatch.setattr("dametric.training.run.time.monotonic", lambda: clock)
    folder = tmp_path / "run"

    def session(steps: int, kill: bool = False) -> None:
        nonlocal clock
        stop, told = until(steps)

        def advance(done: float = 1, note: str = "") -> None:
            nonlocal clock
            told["advance"](done, note)
            clock += 0 < done < 1 and not note
            if kill and stop():
                raise Killed

        with contextlib.suppress(Interrupted, Killed):
            carry_out(small.work(folder), stop=stop, advance=advance)
        clock += 1000  # nobody works

    session(1)
    session(1)
    session(5, kill=killed)  # in the second epoch
    session(1)
    session(99)
    record = read_record(folder / "record.json")
    assert [row["seconds"] for row in Run(folder).history()] == [4, 4, 4]
    assert record["timing"]["seconds"] == 12
    assert record["timing"]["sessions"] == 5


# Finished


def test_a_finished_run_is_not_trained_again(
    small: Order, smooth: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in smooth.iterdir()}

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Training, "__init__", never)
    monkeypatch.setattr("dametric.training.run.advance_together", never)
    record = carry_out(small.work(smooth), on_epoch=never).document()
    assert record == read_record(smooth / "record.json")
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in smooth.iterdir()} == before


def test_asking_for_the_same_again_trains_once(small: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = small.work(tmp_path).context
    splits = data.train, data.test
    options: dict[str, Any] = {"out": tmp_path, "epochs": 1, "batch_size": 8, "quiet": True, "device": "cpu"}
    epochs = []
    original = trainer.advance_together

    def counted(members: Sequence[Training], *args: Any, **kwargs: Any) -> trainer.Stretch:
        epochs.extend(member.epoch for member in members)
        return original(members, *args, **kwargs)

    monkeypatch.setattr("dametric.training.run.advance_together", counted)
    first = distill(small.teacher, "resnet8", splits, "cutmix", **options)
    again = distill(small.teacher, "resnet8", splits, "cutmix", **options)
    assert epochs == [0]
    assert again.folder == first.folder
    assert again.record["last"] == first.record["last"]
    distill(small.teacher, "resnet8", splits, "cutmix", seed=1, **options)
    train("resnet8", splits, **options)
    assert epochs == [0, 0, 0]


# Killed


@dataclass(frozen=True)
class Hurt:
    """What ends a process: its ``touch``-th touch of the folder, or more ``size`` in a file, from a step on."""

    touch: int | None = None
    size: int | None = None
    step: int = 0


def child(conn: Connection, order: Order, folder: Path, hurt: Hurt, wait: bool = False) -> None:
    """A process that trains and says where it is; with ``wait`` it begins when it is told to."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    torch.set_num_threads(1)
    work = order.work(folder)
    touched = steps_done = 0

    def touch(event: str, args: tuple[Any, ...]) -> None:
        nonlocal touched
        if event not in ("open", "os.mkdir", "os.rename", "os.remove", "os.chmod", "os.truncate"):
            return
        if not str(args[0]).startswith(str(folder)) or (event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        touched += 1
        if touched == hurt.touch:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(touch)

    def advance(steps: float = 1, note: str = "") -> None:
        nonlocal wait, steps_done
        conn.send(steps)
        if wait:
            wait = conn.recv()
        steps_done += 0 < steps < 1
        if hurt.size is not None and steps_done >= hurt.step:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hurt.size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    if hurt.size is not None and not hurt.step:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hurt.size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    carry_out(work, advance=advance)
    conn.send(("touched", touched))


@dataclass
class Ended:
    """How a child ended: where its training was, in epochs, and how often it had touched the folder."""

    killed: bool
    place: float
    touched: int | None


def run_child(
    order: Order, folder: Path, after: int | None = None, delay: float = 0, hurt: Hurt | None = None
) -> Ended:
    """Run a child to its end, or kill it so many seconds after so many steps."""
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=child, args=(theirs, order, folder, hurt or Hurt()))
    process.start()
    theirs.close()
    said: list[Any] = []
    try:
        while ours.poll(PATIENCE):
            said.append(ours.recv())
            if after is not None and sum(not isinstance(word, tuple) and word > 0 for word in said) > after:
                process.join(delay)
                process.kill()
                after = None
        raise AssertionError("the child is stuck")
    except EOFError:
        process.join(PATIENCE)
        assert process.exitcode in (0, -signal.SIGKILL, -signal.SIGXFSZ), "the child failed"
        touched = next((word[1] for word in said if isinstance(word, tuple)), None)
        place = sum(word for word in said if not isinstance(word, tuple))
        return Ended(process.exitcode != 0, place, touched)
    finally:
        process.kill()
        process.join(PATIENCE)
        process.close()
        ours.close()


@pytest.fixture(scope="module")
def undisturbed(digits: Order, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The digits run, and the seconds of one of its epochs."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    ended = run_child(digits, folder)
    assert not ended.killed
    assert ended.place == pytest.approx(6)
    assert len(digits.arrays[0]) // digits.recipe.batch_size == STEPS
    seconds = [row["seconds"] for row in Run(folder).history()]
    return folder, sum(seconds) / len(seconds)


@pytest.mark.parametrize(("kills", "seed"), KILLS)
def test_kills_at_random_moments_change_nothing(
    digits: Order, undisturbed: tuple[Path, float], tmp_path: Path, kills: int, seed: int
) -> None:
    reference, epoch = undisturbed
    draw, folders = random.Random(seed), [tmp_path / "0"]
    places: list[float] = []
    while len(places) < kills:
        target, delay = draw.randint(1, STEPS + 3), draw.uniform(0, 2) * epoch / STEPS
        ended = run_child(digits, folders[-1], after=target, delay=delay)
        whole(folders[-1])
        if ended.killed:
            places.append(ended.place)
            assert len(leftovers(folders[-1])) <= len(places)
        else:  # it was done before: on with another
            folders.append(tmp_path / str(len(folders)))
    assert not run_child(digits, folders[-1]).killed
    for folder in folders:
        assert_same(folder, reference)
    sessions = sum(read_record(folder / "record.json")["timing"]["sessions"] for folder in folders)
    assert sessions == kills + len(folders)
    # that the kills were hard enough: inside of several epochs, at many places
    assert sum(0.01 < place % 1 < 0.99 for place in places) >= kills // 3
    assert len({int(place) for place in places}) >= 2
    assert len({round(place % 1, 2) for place in places}) >= kills // 3


@pytest.mark.parametrize(("epochs", "every"), [(1, 2), pytest.param(2, 1, marks=pytest.mark.slow)])
def test_kills_between_any_two_touches_of_the_folder_change_nothing(
    small: Order, tmp_path: Path, epochs: int, every: int
) -> None:
    short = replace(small, recipe=replace(small.recipe, epochs=epochs, batch_size=17))
    count = run_child(short, tmp_path / "smooth").touched
    assert count is not None
    assert count >= 12, "a record, a history and a checkpoint cannot be kept with less"
    for number in range(1, count + 1, every):
        folder = tmp_path / str(number)
        assert run_child(short, folder, hurt=Hurt(touch=number)).killed
        if folder.exists():
            whole(folder)
            assert len(leftovers(folder)) <= 1
            if (folder / "record.json").exists():
                assert load_runs(folder).loc[0, "status"] in ("interrupted", "finished")
        carry_out(short.work(folder))
        assert_same(folder, tmp_path / "smooth")


@pytest.mark.parametrize(
    ("name", "hurt"),
    [
        ("record.json", Hurt(size=1000)),
        ("history.csv", Hurt(size=100, step=1)),
        ("last.pt", Hurt(size=1000, step=1)),
        ("last.pt", Hurt(size=200_000, step=1)),
        ("history.csv", Hurt(size=400, step=5)),
        ("last.pt", Hurt(size=200_000, step=5)),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.size}-{value.step}",
)
def test_a_kill_in_the_midst_of_a_file_changes_nothing(
    small: Order, smooth: Path, tmp_path: Path, name: str, hurt: Hurt
) -> None:
    folder = tmp_path / "run"
    assert run_child(small, folder, hurt=hurt).killed
    whole(folder)
    assert [left[1:].startswith(name) for left in leftovers(folder)] == [True], "it was another file"
    assert (folder / leftovers(folder)[0]).stat().st_size <= (hurt.size or 0)
    carry_out(small.work(folder))
    assert_same(folder, smooth)


@pytest.mark.parametrize("size", [100, 1000, 200_000])
def test_a_full_disk_is_one_line_and_changes_nothing(small: Order, smooth: Path, begun: Path, size: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(UsageError, match="cannot write") as caught:
            carry_out(small.work(begun))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    whole(begun)
    assert leftovers(begun) == []
    carry_out(small.work(begun))
    assert_same(begun, smooth)


def test_what_kills_leave_behind_does_not_pile_up(small: Order, tmp_path: Path) -> None:
    """A machine that kills a run again and again, at its worst moments, must not fill its disk."""
    folder = tmp_path / "run"
    worst = 0
    for number in range(4, 12):
        assert run_child(small, folder, hurt=Hurt(touch=number)).killed
        worst = max(worst, len(leftovers(folder)))
    carry_out(small.work(folder))
    assert worst <= 3, "a record, a history and a checkpoint that were being written"
    assert leftovers(folder) == []


# Files that do not fit


@pytest.fixture
def begun(small: Order, tmp_path: Path) -> Path:
    """The small run, stopped in its second epoch."""
    stop, told = until(6)
    with pytest.raises(Interrupted):
        carry_out(small.work(tmp_path / "run"), stop=stop, **told)
    return tmp_path / "run"


def test_a_history_that_is_one_row_ahead_is_cut(small: Order, smooth: Path, begun: Path) -> None:
    """The process died after it wrote the history, and before the checkpoint."""
    text = (smooth / "history.csv").read_text().splitlines(keepends=True)
    (begun / "history.csv").write_text("".join(text[:3]))
    seen: list[float] = []
    carry_out(small.work(begun), on_epoch=lambda row: seen.append(row["epoch"]))
    assert seen == [2, 3]
    assert_same(begun, smooth)


def refuses(work: TrainingRun) -> str:
    """The one line with which a run is refused; its folder is left as it was."""
    folder = work.run.folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError) as caught:
        carry_out(work)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return str(caught.value)


@pytest.mark.parametrize("content", [None, "", "epoch,seconds\n", "epoch,seconds\n1\n", "epoch,seconds\nx,y\n", "\0"])
def test_a_history_that_does_not_fit_is_refused(small: Order, begun: Path, content: str | None) -> None:
    if content is None:
        (begun / "history.csv").unlink()
    else:
        (begun / "history.csv").write_text(content)
    line = refuses(small.work(begun))
    assert "history" in line
    assert str(begun) in line


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "almost": lambda data: data[:-1],
    "noise": lambda data: random.Random(0).randbytes(len(data)),
    "text": lambda data: b"not a checkpoint\n",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_refused(small: Order, begun: Path, how: str) -> None:
    path = begun / "last.pt"
    path.write_bytes(DAMAGE[how](path.read_bytes()))
    line = refuses(small.work(begun))
    assert "last.pt" in line
    assert "start over" in line


def test_a_checkpoint_that_is_a_folder_is_refused(small: Order, begun: Path) -> None:
    (begun / "last.pt").unlink()
    (begun / "last.pt").mkdir()
    with pytest.raises(UsageError, match=r"last\.pt"):
        carry_out(small.work(begun))


def _other_network(content: dict[str, Any]) -> Any:
    return {**content, "model": build("resnet14", 10, 8).state_dict()}


def _without(*names: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {key: value for key, value in content.items() if key not in names}


def _state(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: {**content, "state": {**content["state"], **changes}}


CONTENT: dict[str, Callable[[dict[str, Any]], Any]] = {
    "list": lambda content: [1, 2],
    "tensor": lambda content: torch.zeros(3),
    "another network": _other_network,
    "no weights": _without("model"),
    "no state": _without("state"),
    "weights alone": lambda content: content["model"],
    "empty state": lambda content: {**content, "state": {}},
    "state of another kind": lambda content: {**content, "state": 3},
    "epoch of another kind": _state(epoch="one"),
    "momentum of another shape": lambda content: _state(
        momentum={name: torch.zeros(3) for name in content["state"]["momentum"]}
    )(content),
    "too many terms": _state(terms=torch.zeros(9, 4)),
    "step behind the end": _state(step=77),
}


@pytest.mark.parametrize("what", CONTENT)
def test_a_checkpoint_that_does_not_fit_is_refused(small: Order, begun: Path, what: str) -> None:
    content = torch.load(begun / "last.pt", weights_only=True)
    torch.save(CONTENT[what](content), begun / "last.pt")
    line = refuses(small.work(begun))
    assert "last.pt" in line


class Code:
    """Unpickling this would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code_is_refused(small: Order, begun: Path, tmp_path: Path, zipped: bool) -> None:
    content = torch.load(begun / "last.pt", weights_only=True)
    content["state"]["momentum"] = Code(tmp_path / "ran")
    torch.save(content, begun / "last.pt", _use_new_zipfile_serialization=zipped)
    line = refuses(small.work(begun))
    assert "last.pt" in line
    assert not (tmp_path / "ran").exists()


def test_a_record_that_is_damaged_is_refused(small: Order, begun: Path) -> None:
    (begun / "record.json").write_text("{")
    assert "record.json" in refuses(small.work(begun))


def test_only_a_finished_record_speaks_of_the_end(small: Order, smooth: Path, begun: Path) -> None:
    """A run without its record goes on from its checkpoint."""
    (begun / "record.json").unlink()
    carry_out(small.work(begun))
    assert_same(begun, smooth)


def test_weights_and_state_come_back(small: Order, begun: Path) -> None:
    model = build("resnet8", 10, 8)
    state = load_state(begun / "last.pt", model)
    assert state is not None
    assert (state["epoch"], state["step"]) == (1, 2)
    assert set(state["momentum"]) == {name for name, _ in model.named_parameters()}
    kept = torch.load(begun / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(kept[name], weight) for name, weight in model.state_dict().items())


# Two at once


def test_a_run_that_is_worked_on_is_left_alone(small: Order, begun: Path, smooth: Path) -> None:
    before = {path.name: path.read_bytes() for path in begun.iterdir()}
    with small.work(begun).run.claimed(), pytest.raises(BusyError, match="another process is working on"):
        carry_out(small.work(begun))
    assert {path.name: path.read_bytes() for path in begun.iterdir()} == before
    carry_out(small.work(begun))
    assert_same(begun, smooth)


def test_a_second_process_is_refused_and_the_first_goes_on(small: Order, smooth: Path, tmp_path: Path) -> None:
    """And looking at the ledger disturbs neither."""
    folder = tmp_path / "run"
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=child, args=(theirs, small, folder, Hurt(), True))
    process.start()
    try:
        assert ours.poll(PATIENCE), "the first did not begin"
        assert load_runs(folder).loc[0, "status"] == "running"
        before = (folder / "record.json").read_bytes()
        with pytest.raises(BusyError):
            carry_out(small.work(folder))
        assert (folder / "record.json").read_bytes() == before
        ours.send(False)
        process.join(PATIENCE)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join(PATIENCE)
        ours.close()
    assert_same(folder, smooth)


# Failures


class Fails(nn.Module):
    """A network whose output is not finite the n-th time that it is trained."""

    def __init__(self, at: int, bad: float) -> None:
        super().__init__()
        self.last, self.at, self.bad, self.count = nn.Linear(192, 10), at, bad, 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += self.training
        return self.last(images.flatten(1)) * (self.bad if self.training and self.count == self.at else 1)


@pytest.mark.parametrize(
    ("at", "bad", "place"),
    [
        (1, float("nan"), "epoch 1, step 1 of 4"),
        (7, float("nan"), "epoch 2, step 3 of 4"),
        (7, float("inf"), "epoch 2, step 3 of 4"),
        (12, float("nan"), "epoch 3, step 4 of 4"),
    ],
)
def test_a_loss_that_is_not_finite_fails_with_its_place(
    small: Order, tmp_path: Path, at: int, bad: float, place: str
) -> None:
    torch.manual_seed(0)
    labels = replace(small, recipe=replace(small.recipe, objective=LABELS, base_aug="flip"))
    work = replace(labels.work(tmp_path / "run"), student=Fails(at, bad))
    with pytest.raises(RunFailed) as caught:
        carry_out(work)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)
    record = read_record(tmp_path / "run" / "record.json")
    assert (record["status"], record["error"]) == ("failed", str(caught.value))
    done = (at - 1) // 4
    assert len(Run(tmp_path / "run").history()) == done
    assert (record["last"] or {"epoch": 0})["epoch"] == done
    row = load_runs(tmp_path / "run").loc[0]
    assert (row["status"], row["epoch"]) == ("failed", done)
    # what can fail can also be well the next time: it goes on from the last epoch that was
    well = carry_out(replace(labels.work(tmp_path / "run"), student=Fails(-1, bad))).document()
    assert (well["status"], well["error"], well["last"]["epoch"]) == ("finished", None, 3)


def test_weights_that_the_last_step_ruins_fail_too(small: Order, tmp_path: Path) -> None:
    """The loss is taken before the step: a single step can end in a network of nothing but NaN."""
    ruined = replace(small, recipe=replace(small.recipe, epochs=1, batch_size=34, lr=1e30, base_aug="none"))
    with pytest.raises(RunFailed, match="finite"):
        carry_out(ruined.work(tmp_path / "run"))
    assert read_record(tmp_path / "run" / "record.json")["status"] == "failed"


# Ctrl-C


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_control_c_saves_and_says_how_to_go_on(
    small: Order, smooth: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "run"
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(Interrupted) as caught:
        watched(small.work(folder), quiet=True, on_epoch=lambda row: signal.raise_signal(number))
    assert str(caught.value) == "stopped in epoch 2 of 3; everything is saved, the same command goes on"
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert read_record(folder / "record.json")["status"] == "interrupted"
    watched(small.work(folder), quiet=True)
    assert_same(folder, smooth)


def test_a_second_control_c_does_not_wait(small: Order, smooth: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def twice(row: dict[str, float]) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as caught:
        watched(small.work(folder), quiet=True, on_epoch=twice)
    assert not isinstance(caught.value, Interrupted)
    whole(folder)
    carry_out(small.work(folder))
    assert_same(folder, smooth)


def test_a_thread_that_cannot_hear_signals_trains_all_the_same(small: Order, smooth: Path, tmp_path: Path) -> None:
    thread = threading.Thread(target=lambda: watched(small.work(tmp_path / "run"), quiet=True))
    thread.start()
    thread.join(PATIENCE)
    assert_same(tmp_path / "run", smooth)


def test_the_question_is_answered_once_asked() -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    answers = []

    def fails(stop: Callable[[], bool]) -> None:
        answers.append(stop())
        signal.raise_signal(signal.SIGINT)
        answers.append(stop())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), until_interrupted() as stop:
        fails(stop)
    assert answers == [False, True]
    with until_interrupted() as stop:
        assert not stop()
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_looking_at_the_ledger_never_gets_in_the_way(tmp_path: Path) -> None:
    """A look that has the lock at the moment a run wants it is waited for."""
    run = Run(tmp_path)
    with run.claimed():
        pass
    handle = os.open(tmp_path / ".lock", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    looked = threading.Timer(0.05, os.close, (handle,))
    looked.start()
    with run.claimed():
        assert looked.finished.is_set()
