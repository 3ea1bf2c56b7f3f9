"""A grid in lockstep, by steps, with held-out images and without weights: the same numbers, nothing trained twice."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dametric.data import hold_out, load_data
from dametric.jobs.processes import ProcessExecutor
from dametric.models.network import Network
from dametric.records.runs import Run, load_runs, read_record
from dametric.training import Training
from tests.sweeps.conftest import FORKED, Said, outcomes, same

Command = Callable[..., Said]
Write = Callable[..., Path]
TEACHER: dict[str, Any] = {"epochs": 2, "batch_size": 16, "dtype": "float32", "schedule": "onecycle"}
TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 16, "dtype": "float32"}
BY_STEPS = {**{key: value for key, value in TRAINING.items() if key != "epochs"}, "steps": 8}
AUGS = ["identity", "cutmix", "mixup", "cutmixpick:by=kld", "randaugment"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, nothing can be trained."""

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(Training, "__init__", never)


def left(said: Said) -> list[list[str]]:
    """Of every line of a plan: runs, done, begun and left."""
    assert said.code == 0, said.err
    words = [line.split() for line in said.out.splitlines()[1:-1]]
    return [line[-5:-1] if line[-1] == "?" else line[-6:-2] for line in words]


def by_name(root: str | Path) -> dict[str, dict[str, Any]]:
    """Records and histories of all runs; their weights are another matter, and so is whether they were kept."""
    found = {}
    for path in sorted(Path(root).rglob("record.json")):
        record = dict(read_record(path), timing=None, kept=None)
        rows = [{k: None if math.isnan(v) else v for k, v in row.items()} for row in Run(path.parent).history()]
        for row in rows:
            row.pop("seconds")
        found[path.parent.relative_to(root).as_posix()] = {"record": record, "history": rows}
    return found


def test_a_grid_in_lockstep_is_the_same_as_one_by_one(run: Command, grid: Write, untrained: Callable[[], None]) -> None:
    """Two teachers, of which each has students of its own, and two lengths."""
    changes: dict[str, Any] = {
        "teachers": {"resnet8": TEACHER, "resnet14": {**TEACHER, "epochs": 1}},
        "pairs": ["resnet8 -> resnet8", "resnet14 -> resnet8"],
        "augmentations": AUGS[1:2],
        "include": [{"aug": "cutmixpick:by=kld", "epochs": 1}],
        "eval_every": "last",
    }
    path = grid(**changes)
    assert run("sweep", path, "-j", 1, "-q", "-o", "alone").code == 0
    assert len(load_runs("alone")) == 2 + 2 * 2 * 2
    said = run("sweep", path, "-j", 1, "-q", "-o", "together", "--lockstep", 2)
    assert said.code == 0, said.err
    same(Path("alone"), Path("together"))
    untrained()
    assert run("sweep", path, "-j", 1, "-q", "-o", "alone", "--lockstep", 3).code == 0


@pytest.mark.slow
def test_groups_side_by_side_are_the_same(run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = grid(augmentations=AUGS[:3])
    assert run("sweep", path, "-j", 1, "-q", "-o", "alone").code == 0
    begin = ProcessExecutor.__init__  # with as many threads as alone
    monkeypatch.setattr(ProcessExecutor, "__init__", lambda self, jobs: begin(self, jobs, FORKED, threads=1))
    said = run("sweep", path, "-j", 2, "-q", "-o", "together", "--lockstep", 3)
    assert said.code == 0, said.err
    same(Path("alone"), Path("together"))


def test_a_group_asks_its_teacher_about_the_raw_images_once(
    run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Students that are told apart by architecture and length are of one group."""
    path = grid(
        pairs=["resnet8 -> resnet8", "resnet8 -> resnet14"],
        augmentations=AUGS[1:2],
        seeds=0,
        include=[{"aug": "mixup", "epochs": 1}],
    )
    asked: list[int] = []
    call = Network.__call__

    def counted(self: Network, images: Tensor) -> Tensor:
        asked.append(len(images))
        return call(self, images)

    monkeypatch.setattr(Network, "__call__", counted)
    totals = []
    for lockstep in (1, 4):
        asked.clear()
        assert run("sweep", path, "-j", 1, "-q", "-o", f"runs-{lockstep}", "--lockstep", lockstep).code == 0
        totals.append(sum(asked))
    same(Path("runs-1"), Path("runs-4"))
    assert totals[0] - totals[1] == 16 * (3 * 6 + 1 * 6), "three of four in the first epoch, one of two in the second"


def test_what_a_grid_says_and_what_is_typed(run: Command, grid: Write) -> None:
    """`eval_every`, `keep` and `lockstep` are no part of what a run is: ids and weights are as they were."""
    usual: dict[str, Any] = {"augmentations": AUGS[:3], "seeds": 0}
    assert run("sweep", grid(**usual), "-j", 1, "-q", "-o", "usual").code == 0
    told = grid(**usual, eval_every="last", keep="last", lockstep=3)
    assert run("sweep", told, "-j", 1, "-q", "-o", "told").code == 0
    for name, part in outcomes(Path("usual")).items():
        once = outcomes(Path("told"))[name]
        assert once["last.pt"] == part["last.pt"]
        assert once["record"]["last"] == part["record"]["last"] == once["record"]["best"]
        assert [row["train_loss"] for row in once["history"]] == [row["train_loss"] for row in part["history"]]
        assert [row["test_loss"] == "" for row in once["history"]] == [True, False]
    flags_win = ("--eval-every", 1, "--keep", "last", "--lockstep", 1)
    told = grid(**usual, eval_every="last", keep="none", lockstep=3)
    assert run("sweep", told, "-j", 1, "-q", "-o", "flags", *flags_win).code == 0
    same(Path("usual"), Path("flags"))


def test_a_grid_by_steps_with_held_out_images_and_no_weights(
    run: Command, grid: Write, pictures: Path, untrained: Callable[[], None]
) -> None:
    data: dict[str, Any] = {"name": "tiny", "source": str(pictures), "held_out": 12, "train_images": 48}
    teacher = {**{key: value for key, value in TEACHER.items() if key != "epochs"}, "steps": 10}
    usual: dict[str, Any] = {"data": data, "teachers": {"resnet8": teacher}, "training": BY_STEPS}
    usual |= {"augmentations": AUGS, "seeds": 0, "include": [{"steps": 4}], "score": {"batches": 3, "batch_size": 16}}
    path = grid(**usual, eval_every="last", keep="none", lockstep=3)
    said = run("sweep", path, "-j", 1)
    assert said.code == 0, said.err
    records = {path.parent: read_record(path) for path in _records()}
    images = load_data(pictures, "train", quiet=True)
    training, held_out = hold_out(images, 12, 48)
    assert len(records) == 1 + 2 * len(AUGS)
    for folder, record in records.items():
        recipe = record["config"]["recipe"]
        assert (recipe.get("epochs"), record["last"]["step"]) == (None, recipe["steps"])
        assert recipe["steps"] == 10 if record["config"]["kind"] == "train" else recipe["steps"] in (4, 8)
        assert record["last"]["epoch"] == -(-recipe["steps"] // 3)
        assert record["config"]["data"]["train"] == training.fingerprint
        assert 0 < record["last"]["held_out_loss"] != record["last"]["test_loss"]
        assert record["best"] == record["last"]
        assert record["kept"] == "none"
        assert {name.name for name in folder.iterdir()} - {".lock"} == {"record.json", "history.csv"}
    assert len(held_out) == 12
    assert Path("runs/grid/teachers/tiny-resnet8.pth").exists()
    table = load_runs("runs/grid")
    assert sorted(table["steps"]) == [4] * 5 + [8] * 5 + [10]

    plan = left(run("sweep", path, "--dry-run"))
    assert [int(row[0]) - int(row[1]) for row in plan] == [0] * len(plan)
    assert all(row[3] == "0" for row in plan)
    untrained()
    before = {name: name.stat().st_mtime_ns for name in Path("runs").rglob("*") if name.is_file()}
    again = run("sweep", path, "-j", 1)
    assert again.code == 0, again.err
    assert again.out == said.out
    assert {name: name.stat().st_mtime_ns for name in Path("runs").rglob("*") if name.is_file()} == before


def _records() -> list[Path]:
    return sorted(Path("runs/grid").rglob("record.json"))


def test_records_and_teachers_alone_are_done(run: Command, grid: Write, untrained: Callable[[], None]) -> None:
    """As they are committed: of a clone, on whatever chip, nothing is left to do."""
    path = grid(seeds=0, augmentations=AUGS[:2], keep="none")
    assert run("sweep", path, "-j", 1, "-q").code == 0
    for name in [name for name in Path("runs").rglob("*") if name.is_file()]:
        if name.name not in ("record.json", "history.csv") and name.suffix != ".pth":
            name.unlink()
    for name in _records():
        record = json.loads(name.read_text())
        record["versions"] = dict.fromkeys(record["versions"], "another")
        record["code"] = {"version": "0", "sha256": "0" * 64}
        name.write_text(json.dumps(record))
    untrained()
    for more in ((), ("--lockstep", 2), ("--keep", "last"), ("--eval-every", "last")):
        plan = left(run("sweep", path, "--dry-run", *more))
        assert [row[0] == row[1] for row in plan] == [True] * len(plan)
        assert run("sweep", path, "-j", 1, "-q", *more).code == 0


def test_a_student_whose_kept_weights_are_gone_is_trained_again(run: Command, grid: Write) -> None:
    path = grid(seeds=0, augmentations=AUGS[:3], lockstep=3)
    assert run("sweep", path, "-j", 1, "-q").code == 0
    before = outcomes(Path("runs/grid"))
    lost = next(Path("runs/grid").glob("resnet8-resnet8-cutmix-*"))
    (lost / "last.pt").unlink()
    *_, everything = left(run("sweep", path, "--dry-run"))
    assert (everything[:2], everything[3]) == (["4", "3"], "1")
    assert run("sweep", path, "-j", 1, "-q").code == 0
    after = outcomes(Path("runs/grid"))
    assert after.keys() == before.keys()
    assert all(after[name][part] == before[name][part] for name in before for part in before[name]), "to the byte"


def test_one_that_fails_or_is_held_does_not_stop_its_group(run: Command, grid: Write) -> None:
    usual: dict[str, Any] = {"seeds": 0, "augmentations": AUGS[:3]}
    assert run("sweep", grid(**usual), "-j", 1, "-q", "-o", "smooth").code == 0
    path = grid(**usual, include=[{"aug": "identity", "lr": 1e30}], lockstep=4)
    said = run("sweep", path, "-j", 1)
    assert said.code == 1
    assert "not finite" in said.err.splitlines()[-1]
    ours, theirs = by_name("runs/grid"), by_name("smooth")
    assert {name: part for name, part in ours.items() if part["record"]["status"] == "finished"} == theirs
    assert sum(part["record"]["status"] == "failed" for part in ours.values()) == 1

    held = next(Path("runs/grid").glob("resnet8-resnet8-cutmix-*"))
    for folder in Path("runs/grid").glob("resnet8-resnet8-*"):  # as if a kill had come at their beginning
        record = read_record(folder / "record.json")
        (folder / "record.json").write_text(json.dumps({**record, "status": "running", "last": None, "best": None}))
        for name in ("history.csv", "last.pt"):
            (folder / name).unlink()
    with Run(held).claimed():
        said = run("sweep", grid(**usual), "-j", 1, "--lockstep", 3)
    assert said.code == 3
    assert "another process is running it" in said.err
    assert len(load_runs("runs/grid").query("status == 'finished' and kind == 'distill'")) == 2
    assert run("sweep", grid(**usual), "-j", 1, "-q", "--lockstep", 3).code == 0
    assert {name: part for name, part in by_name("runs/grid").items() if name in theirs} == theirs


def test_control_c_in_a_group_and_the_same_command_goes_on(
    run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = grid(seeds=0, augmentations=AUGS[:4], lockstep=3)
    assert run("sweep", path, "-j", 1, "-q", "-o", "smooth").code == 0
    write, written = Run.write_history, []

    def pressed(self: Run, history: Any) -> None:
        write(self, history)
        written.append(self.folder)
        if len(written) == 3:  # two epochs of the teacher, and one of a student
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_history", pressed)
        said = run("sweep", path, "-j", 1, "-q")
    assert said.code == 130
    assert "Traceback" not in said.err
    table = load_runs("runs/grid").query("kind == 'distill'")
    assert table["status"].tolist() == ["interrupted"] * 3
    assert run("sweep", path, "-j", 1, "-q", "--lockstep", 2).code == 0, "in groups of another size"
    same(Path("runs/grid"), Path("smooth"))


def test_a_time_budget_holds_for_groups(run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock is ours: every step of an optimizer takes a second of it; a group of three takes 36."""
    clock = [0.0]
    step = torch.optim.SGD.step

    def slow(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        clock[0] += 1
        return step(self, *args, **kwargs)

    path, ends, code = grid(augmentations=AUGS[:3], lockstep=3), [], 3
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: clock[0])
        patch.setattr(torch.optim.SGD, "step", slow)
        while code == 3 and len(ends) < 12:
            clock[0] = 0.0
            said = run("sweep", path, "--time-budget", "50s", "-j", 1)
            code = said.code
            ends.append(clock[0])
            assert code == 0 or "the time budget is over" in said.err
    assert code == 0, said.err
    assert all(0 < end <= 50 for end in ends), ends
    assert sum(ends) == 12 + 6 * 12, "no step is made twice"
    assert run("sweep", path, "-o", "smooth", "-j", 1, "-q").code == 0
    same(Path("runs/grid"), Path("smooth"))


def test_nothing_is_begun_that_cannot_end_by_the_pace_of_this_very_sweep(
    run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step of an optimizer takes a second: the first student shows that a second one has no time."""
    clock = [0.0]
    step = torch.optim.SGD.step

    def slow(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        clock[0] += 1
        return step(self, *args, **kwargs)

    path = grid(augmentations=AUGS[:4], seeds=0, training={**TRAINING, "epochs": 8})
    steps = 8 * 6
    with monkeypatch.context() as patch:
        patch.setattr("time.monotonic", lambda: clock[0])
        patch.setattr(torch.optim.SGD, "step", slow)
        for finished in (1, 2, 3, 4):
            clock[0] = 0.0
            said = run("sweep", path, "--time-budget", f"{steps + 20}s", "--whole-runs", "-j", 1)
            assert said.code == (0 if finished == 4 else 3), said.err
            assert set(load_runs("runs/grid")["status"]) == {"finished"}, "none is cut"
            students = load_runs("runs/grid").query("kind == 'distill'")
            assert len(students) == finished


@pytest.mark.slow
def test_a_few_runs_at_a_time_come_to_the_same(run: Command, grid: Write) -> None:
    path = grid(augmentations=AUGS[1:3], lockstep=3)
    assert run("sweep", path, "-j", 1, "-q", "-o", "smooth").code == 0
    for code, students in ((3, 3), (0, 4)):
        assert run("sweep", path, "-j", 1, "-q", "--max-runs", 3).code == code
        assert len(load_runs("runs/grid").query("status == 'finished' and kind == 'distill'")) == students
    for which in (1, 2):
        assert run("sweep", path, "--shard", f"{which}/2", "-o", "shards", "-j", 1, "-q").code == 0
    for root in ("runs/grid", "shards"):
        same(Path(root), Path("smooth"))


def test_what_cannot_be_is_said_before_anything_is_trained(
    run: Command, grid: Write, here: Path, pictures: Path, untrained: Callable[[], None]
) -> None:
    untrained()
    (here / "tiny.npz").write_bytes(pictures.read_bytes())
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"eval_every": 0}, "eval"),
        ({"eval_every": "never"}, "last"),
        ({"keep": "best"}, "keep"),
        ({"lockstep": 0}, "lockstep"),
        ({"lockstep": "many"}, "lockstep"),
        ({"training": {**TRAINING, "steps": 8}}, "steps"),
        ({"training": {**BY_STEPS, "steps": 0}}, "steps"),
        ({"teachers": {"resnet8": {**TEACHER, "steps": 8}}}, "steps"),
        ({"data": {"source": "tiny.npz", "held_out": 3}}, "held-out"),
        ({"data": {"source": "tiny.npz", "held_out": 49}}, "48"),
        ({"data": {"source": "tiny.npz", "held_out": 48, "train_images": 49}}, "48"),
    ]
    for changes, words in wrong:
        said = run("sweep", grid(**changes), "-j", 1)
        assert said.code == 2, (changes, said.err)
        assert words in said.err
        assert said.err.count("\n") == 1, said.err
        assert {path.name for path in here.iterdir()} == {"grid.yaml", "tiny.npz"}, changes


def test_flags_that_cannot_be(run: Command, grid: Write) -> None:
    wrong = (("--eval-every", "0"), ("--eval-every", "x"), ("--keep", "best"), ("--lockstep", "0"), ("--lockstep", "x"))
    for option, value in wrong:
        said = run("sweep", grid(), option, value)
        assert said.code == 2
        assert option.strip("-") in said.err
        assert said.err.count("\n") == 1, said.err


def test_rows_that_are_spelt_otherwise_are_the_same_runs(run: Command, grid: Write) -> None:
    path = grid(augmentations=["cutmix", "cutmix:alpha=1", "randaugment", "randaugment:m=9:n=2"], seeds=0, lockstep=4)
    said = run("sweep", path, "-j", 1)
    assert said.code == 0, said.err
    assert "cutmix:alpha=1 is cutmix: the same runs" in said.err
    assert list(load_runs("runs/grid").query("kind == 'distill'")["aug"]) == ["cutmix", "randaugment"]


def test_quiet_is_silent_about_the_grid(run: Command, grid: Write) -> None:
    pick = "cutmixpick:by=student_entropy"
    path = grid(augmentations=["cutmix", "cutmix:alpha=1", pick], seeds=0, score={"batches": 4, "batch_size": 16})
    said = run("sweep", path, "-j", 1, "--dry-run")
    assert "the same runs" in said.err
    assert f"{pick} is not scored" in said.err
    said = run("sweep", path, "-j", 1, "-q")
    assert said.code == 0
    assert all(line.startswith("WARNING: ") for line in said.err.splitlines()), "the teacher is near chance"


def test_a_score_that_shows_a_student_needs_its_weights(run: Command, grid: Write) -> None:
    path = grid(score={"student": "cutmix", "batches": 4}, augmentations=["cutmix"], keep="none")
    said = run("sweep", path)
    assert said.code == 2
    assert "keep: none" in said.err
    assert len(said.err.splitlines()) == 1
