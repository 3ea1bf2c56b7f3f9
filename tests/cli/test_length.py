"""`--steps`, `--eval-every`, `--held-out`, `--keep` and `--lockstep` as a user types them."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dametric import cli
from dametric.data import hold_out, load_data
from dametric.models import load_checkpoint
from dametric.models.network import Network
from dametric.records.runs import Run, load_runs, read_record
from dametric.training import Training

Said = Any
Command = Callable[..., Said]
Refused = Callable[..., str]
SMALL = ("--batch-size", 8, "--device", "cpu", "--dtype", "float32")  # 4 steps to an epoch of the tiny images
AUGS = "def broken(images):\n    return images.float() * float('nan')\n"
# As many threads as each of two runs side by side has: sums are the same bits for the same number only.
THREADS = max(1, (os.cpu_count() or 1) // 2)
FORKED = get_context("forkserver")
FORKED.set_forkserver_preload(["dametric.training", "dametric.training.run", "dametric.training.many", "pandas"])


@pytest.fixture(scope="module", autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 noisy patterns of four kinds, 8 x 8, and 24 to test on."""
    kinds, arrays = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)), {}
    for split, count in (("train", 32), ("test", 24)):
        labels = np.arange(count) % 4
        noisy = kinds[labels] + np.random.default_rng(count).normal(0, 40, (count, 8, 8, 3))
        arrays |= {f"x_{split}": np.clip(noisy, 0, 255).astype(np.uint8), f"y_{split}": labels}
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def taught(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher of the tiny images."""
    path = tmp_path_factory.mktemp("teacher") / "t.pth"
    options = ["--arch", "resnet8", "--data", tiny, "-o", path, "--aug", "identity", *SMALL, "--epochs", 8, "-q"]
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli._run(["train", *map(str, options)]) == 0
    return path


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes side by side start at once, from one that has everything imported."""
    monkeypatch.setattr("dametric.jobs.side_by_side.get_context", lambda name: FORKED, raising=False)


@pytest.fixture
def learn(run: Command, taught: Path) -> Command:
    """``dametric distill`` into ``runs``, with cutmix and for six steps unless said otherwise."""

    def learn(*arguments: object) -> Said:
        given = [str(argument) for argument in arguments]
        usual: list[object] = ["-t", taught, "-s", "resnet8", *SMALL]
        usual += [] if "-o" in given else ["-o", "runs"]
        usual += [] if "-a" in given else ["-a", "cutmix"]
        usual += [] if {"--steps", "--epochs"} & set(given) else ["--steps", 6]
        return run("distill", *usual, *given)

    return learn


@pytest.fixture
def teach(run: Command, tiny: Path) -> Command:
    """``dametric train`` into ``x.pth``."""
    return lambda *arguments: run("train", "--arch", "resnet8", "--data", tiny, "-o", "x.pth", *SMALL, *arguments)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, nothing can be trained."""

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(Training, "__init__", never)


@pytest.fixture
def no(refused: Refused) -> Refused:
    """The one line about what cannot be done; nothing is begun."""

    def no(*arguments: object, command: Command) -> str:
        line = refused(*arguments, "-q", command=command)
        assert not list(Path().rglob("record.json"))
        return line

    return no


def rows(folder: Path) -> list[dict[str, float]]:
    """The history as any reader has it; of a run that failed at once there is none."""
    if not (folder / "history.csv").exists():
        return []
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        return [{k: float(v or "nan") for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def folders(root: str | Path = "runs") -> list[Path]:
    """Of all runs, by augmentation and seed."""
    found = {path.parent: read_record(path)["config"]["recipe"] for path in Path(root).rglob("record.json")}
    return sorted(found, key=lambda folder: (found[folder]["aug"], found[folder]["seed"]))


def told(said: Said) -> list[list[str]]:
    """The table, without seconds."""
    return [line.split()[:-1] for line in said.out.splitlines()[1:]]


def outcome(folder: Path) -> dict[str, Any]:
    """All but times, and the code, which somebody may be editing while processes start."""
    written = read_record(folder / "record.json")
    record = {key: value for key, value in written.items() if key not in ("timing", "code")}
    history = [{k: None if math.isnan(v) else v for k, v in row.items()} for row in rows(folder)]
    kept = (folder / "last.pt").read_bytes() if (folder / "last.pt").exists() else None
    return {"record": record, "history": history, "last.pt": kept}


def assert_same(one: str, other: str) -> None:
    """Two ledgers hold the same runs, byte for byte."""
    assert [folder.name for folder in folders(one)] == [folder.name for folder in folders(other)]
    for first, second in zip(folders(one), folders(other), strict=True):
        ours, theirs = outcome(first), outcome(second)
        for part in ours:
            assert ours[part] == theirs[part], (first.name, part)


# Steps


def test_steps_are_what_a_run_lasts(learn: Command, teach: Command, run: Command, here: Path) -> None:
    assert teach("--steps", 6).code == 0
    said = learn("--json", "-q")
    assert said.code == 0, said.err
    (record,) = said.document
    for folder in (here / "x.run", *folders()):
        assert [(row["epoch"], row["step"]) for row in rows(folder)] == [(1, 4), (2, 6)]
        recipe = read_record(folder / "record.json")["config"]["recipe"]
        assert (recipe["steps"], recipe.get("epochs")) == (6, None)
    assert (record["last"]["epoch"], record["last"]["step"]) == (2, 6)
    said = run("runs", "runs", "--csv", "table.csv")
    assert (said.code, said.err) == (0, "")
    with open("table.csv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["steps"], row["epochs"], row["epoch"]) == ("6", "", "2")
    again = learn("-q", "--steps", 6)
    assert again.code == 0
    assert len(folders()) == 1
    assert learn("-q", "--steps", 5).code == learn("-q", "--epochs", 1).code == 0
    assert len(folders()) == 3


def test_a_file_s_length_gives_way_to_what_is_typed(learn: Command, here: Path) -> None:
    (here / "c.yaml").write_text("steps: 5\neval-every: last\nkeep: none\n")
    said = learn("-c", "c.yaml", "--steps", 3, "-q")
    assert said.code == 0, said.err
    (folder,) = folders()
    assert [row["step"] for row in rows(folder)] == [3]
    assert not (folder / "last.pt").exists()


def test_lengths_and_looks_that_cannot_be(no: Refused, learn: Command, teach: Command) -> None:
    for command in (learn, teach):
        line = no("--steps", 6, "--epochs", 2, command=command)
        assert "steps" in line
        assert "epochs" in line
        wrong = (
            *(("--steps", value) for value in (0, -1, "x", 1.5)),
            *(("--eval-every", value) for value in (0, -1, "x", 1.5, "first")),
            *(("--held-out", value) for value in (0, 3, 17, 33, -1)),  # of 32 images, half may be set aside
            *(("--keep", value) for value in ("best", "")),
        )
        for option, value in wrong:
            line = no(*(() if option == "--steps" else ("--steps", 6)), option, value, command=command)
            assert option.strip("-").replace("-", " ") in line.replace("-", " "), (option, value)
        assert "16" in no("--steps", 6, "--held-out", 17, command=command)
        no("--steps", 6, "--held-out", 16, "--train-images", 17, command=command)
    for value in (0, -1, "x"):
        assert "lockstep" in no("--lockstep", value, command=learn)


# How often it is looked at, and on what


def test_looking_once_changes_nothing_but_the_table(learn: Command, teach: Command, run: Command, here: Path) -> None:
    usual = ["--steps", 10, "-q"]
    for command in (learn, teach):
        assert command(*usual).code == 0
    every, taught = rows(folders()[0]), rows(here / "x.run")
    weights = (folders()[0] / "last.pt").read_bytes(), (here / "x.pth").read_bytes()
    for value, looked in (("last", {3}), (2, {2, 3}), (3, {3})):
        root = f"runs-{value}"
        said = learn(*usual, "-o", root, "--eval-every", value)
        assert said.code == 0, said.err
        assert said.out.splitlines()[1].split()[5:7] == run("runs", "runs").out.splitlines()[1].split()[5:7]
        said = teach(*usual, "--eval-every", value, "-o", f"{root}/x.pth")
        assert said.code == 0, said.err
        (folder,) = (path for path in folders(root) if path.name != "x.run")
        assert folder.name == folders()[0].name, "the id is the same"
        for found, whole in ((rows(folder), every), (rows(Path(root) / "x.run"), taught)):
            for row, expected in zip(found, whole, strict=True):
                for name, number in expected.items():
                    blank = name.startswith("test_") and row["epoch"] not in looked
                    assert math.isnan(row[name]) if blank else row[name] == number, (value, name)
        assert ((folder / "last.pt").read_bytes(), (Path(root) / "x.pth").read_bytes()) == weights
        record = read_record(folder / "record.json")
        assert (record["best"] == record["last"]) or value == 2
        assert load_runs(root)["test_top1"].notna().all()


def test_held_out_images_are_those_of_hold_out(learn: Command, teach: Command, tiny: Path, here: Path) -> None:
    """Neither trained on nor tested on, whatever else is trained on."""
    images = load_data(tiny, "train", quiet=True)
    hashes = set()
    for number, more in enumerate((("--held-out", 8), ("--held-out", 8, "--train-images", 16))):
        for folder, said in (
            (None, learn(*more, "-o", f"runs-{number}", "-q")),
            (here / f"x-{number}.run", teach("--steps", 6, "-q", *more, "-o", f"x-{number}.pth")),
        ):
            assert said.code == 0, said.err
            folder = folder or folders(f"runs-{number}")[0]
            record = read_record(folder / "record.json")
            training, held_out = hold_out(images, 8, 16 if number else None)
            assert record["config"]["data"]["train"] == training.fingerprint
            assert record["about"]["data"]["train"] == len(training) == (16 if number else 24)
            assert 0 < record["last"]["held_out_loss"] != record["last"]["test_loss"]
            assert {*held_out.labels.tolist()} == {0, 1, 2, 3}
            *before, last = rows(folder)
            assert last["held_out_loss"] == record["last"]["held_out_loss"]
            assert 0 <= last["held_out_top1"] <= 1
            assert all(math.isnan(row["held_out_loss"]) for row in before)
            hashes.add(held_out.fingerprint)
    assert len(hashes) == 1


# What is kept


def test_a_teacher_is_kept_and_its_run_is_not(
    teach: Command, learn: Command, here: Path, untrained: Callable[[], None]
) -> None:
    assert teach("--steps", 6, "-q", "-o", "kept.pth").code == 0
    command = ("--steps", 6, "--keep", "none", "-q")
    assert teach(*command).code == 0
    assert {path.name for path in (here / "x.run").iterdir()} - {".lock"} == {"record.json", "history.csv"}
    ours, theirs = load_checkpoint("x.pth"), load_checkpoint("kept.pth")
    assert ours.extra == theirs.extra
    assert all(torch.equal(w, theirs.model.state_dict()[name]) for name, w in ours.model.state_dict().items())
    assert read_record("x.run/record.json")["kept"] == "none"
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    untrained()
    said = teach("--steps", 6, "--keep", "none")
    assert said.code == 0, said.err
    assert "done before" in said.err
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == before


def test_a_teacher_that_was_removed_is_made_again(teach: Command, here: Path) -> None:
    """There are no weights in its run to make it of."""
    command = ("--steps", 6, "--keep", "none", "-q")
    assert teach(*command).code == 0
    before = (here / "x.pth").read_bytes()
    (here / "x.pth").unlink()
    said = teach(*command)
    assert said.code == 0, said.err
    assert (here / "x.pth").read_bytes() == before


@pytest.mark.usefixtures("workers")
def test_students_without_weights_are_done(
    learn: Command, run: Command, here: Path, untrained: Callable[[], None]
) -> None:
    options = ("-a", "identity", "-a", "cutmix", "--seeds", "0-1")
    assert learn(*options, "-q", "-o", "kept").code == 0
    said = learn(*options, "-q", "--keep", "none")
    assert said.code == 0, said.err
    assert [folder.name for folder in folders()] == [folder.name for folder in folders("kept")]
    for ours, theirs in zip(folders(), folders("kept"), strict=True):
        first, second = outcome(ours), outcome(theirs)
        assert first["last.pt"] is None
        assert (first["record"].pop("kept"), second["record"].pop("kept")) == ("none", "last")
        assert (first["record"], first["history"]) == (second["record"], second["history"])
    for more in ((), ("--jobs", 2)):
        (folders("kept")[1] / "last.pt").unlink()
        again = learn(*options, "-o", "kept", *more)
        assert again.err.count("done before") == (0 if more else 3), "one whose weights are gone is not"
        assert again.err.count("finished before, but its weights are gone: it is trained again") == 1
        assert (folders("kept")[1] / "last.pt").exists()
    untrained()
    for more in ((), ("--keep", "none"), ("--lockstep", 2), ("--eval-every", "last")):
        again = learn(*options, *more)
        assert again.code == 0, again.err
        assert again.err.count("done before") == 4
        assert again.out == said.out
    assert json.loads(json.dumps(run("runs", "runs", "--json").document))[0]["kept"] == "none"


# Lockstep


MANY = ("-a", "mixup", "-a", "cutmixpick:by=kld", "-a", "identity", "--seeds", "0-1", "-q")


@pytest.mark.usefixtures("workers")
def test_lockstep_is_the_same_as_one_by_one(learn: Command, untrained: Callable[[], None]) -> None:
    """In groups that are full and others that are not, of each seed; one after the other and side by side."""
    alone = learn(*MANY)
    assert alone.code == 0, alone.err
    for number, more in enumerate(((5,), (2, "--jobs", 2))):
        said = learn(*MANY, "--lockstep", *more, "-o", f"together-{number}")
        assert said.code == 0, said.err
        assert told(said) == told(alone)
        assert_same("runs", f"together-{number}")
    untrained()
    assert told(learn(*MANY, "--lockstep", 3)) == told(alone)


def test_a_group_asks_the_teacher_about_the_raw_images_once(learn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    call = Network.__call__

    def counted(self: Network, images: Tensor) -> Tensor:
        asked.append(len(images))
        return call(self, images)

    monkeypatch.setattr(Network, "__call__", counted)
    totals = []
    for more in ((), ("--lockstep", 3)):
        asked.clear()
        assert learn("-a", "cutmix", "-a", "mixup", "-a", "crop+flip", "-q", "-o", f"runs{len(more)}", *more).code == 0
        totals.append(sum(asked))
    assert totals[0] - totals[1] == 2 * 8 * 6, "a batch for two of three, in six steps"


def test_one_that_fails_or_is_held_does_not_stop_its_group(learn: Command, here: Path) -> None:
    (here / "augs.py").write_text(AUGS)
    options = ("-a", "./augs.py:broken", "-a", "cutmix", "-a", "identity", "-a", "mixup", "-q")
    assert learn(*options, "-o", "alone").code == 1
    for lockstep in (4, 2):
        root = f"together-{lockstep}"
        for _ in range(2):  # what failed is tried again
            said = learn(*options, "--lockstep", lockstep, "-o", root)
            assert said.code == 1
            assert "Traceback" not in said.err
            assert "epoch 1, step 1 of 4" in said.err
            last = said.err.splitlines()[-1]
            assert last.startswith("dametric: ")
            assert "./augs.py:broken, seed 0" in last
            assert "mixup" not in last
        assert_same("alone", root)
    folder = folders("alone")[1]  # of broken, cutmix, identity, mixup
    record = read_record(folder / "record.json")
    (folder / "record.json").write_text(json.dumps({**record, "status": "running"}))
    (folders("alone")[2] / "last.pt").unlink()
    with Run(folder).claimed():
        said = learn(*options[2:], "--lockstep", 3, "-o", "alone")
    assert said.code == 1
    assert "another process is working on" in said.err.splitlines()[-1]
    assert [read_record(path / "record.json")["status"] for path in folders("alone")] == [
        *("failed", "running", "finished", "finished")
    ]
    assert (folders("alone")[2] / "last.pt").exists()


def test_control_c_stops_a_group_and_the_same_command_goes_on(learn: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    options = (*MANY[2:], "--lockstep", 2, "--steps", 10)
    assert learn(*options, "-o", "smooth").code == 0
    write, written = Run.write_history, []

    def pressed(self: Run, history: Any) -> None:
        write(self, history)
        written.append(self.folder)
        if len(written) == 3:  # in the second epoch of a group
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_history", pressed)
        said = learn(*options)
    assert said.code == 130
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("dametric: stopped")
    assert "the same command goes on" in said.err
    table = load_runs("runs")
    assert set(table["status"]) == {"interrupted"}
    assert len(table) == 2
    assert learn(*options).code == 0
    assert_same("runs", "smooth")


def test_all_options_together(learn: Command) -> None:
    more = ("--held-out", 8, "--eval-every", "last", "--keep", "none", "--steps", 7)
    assert learn(*MANY, *more).code == 0
    said = learn(*MANY, *more, "--lockstep", 3, "-o", "together")
    assert said.code == 0, said.err
    assert_same("runs", "together")
    for folder in folders("together"):
        assert {path.name for path in folder.iterdir()} - {".lock"} == {"record.json", "history.csv"}
        record = read_record(folder / "record.json")
        assert record["best"] == record["last"]
        assert record["last"]["step"] == 7
        assert record["last"]["held_out_loss"] > 0


def test_one_augmentation_spelt_twice_is_one_run(learn: Command, untrained: Callable[[], None]) -> None:
    said = learn("-a", "cutmix:alpha=1", "-a", "cutmix", "-a", "mixup", "--lockstep", 3)
    assert said.code == 0, said.err
    assert "cutmix is cutmix:alpha=1: the same runs" in said.err
    assert len(folders()) == 2
    untrained()
    assert learn("-a", "cutmix").code == 0, "found under the name that it was given first"
    assert len(folders()) == 2


def test_a_folder_of_another_run_is_refused_in_words(teach: Command) -> None:
    assert teach("--steps", 2, "--train-images", 16, "--held-out", 8).code == 0
    said = teach("--steps", 2, "--train-images", 16)
    assert said.code == 2
    assert "(the held-out images were others)" in said.err
    assert "steps was 2, now 3" in teach("--steps", 3, "--train-images", 16, "--held-out", 8).err
