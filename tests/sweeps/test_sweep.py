"""`dametric sweep` as a user types it: what it trains, skips, scores, refuses, and how it stops."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dametric.base import files
from dametric.records.runs import Run, load_runs, read_record
from dametric.records.scores import Scores
from dametric.training import trainer
from tests.sweeps.conftest import Said, outcomes, same

Command = Callable[..., Said]
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no step of training can happen."""

    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr("dametric.training.run.advance_together", never)


def students(folder: str | Path = "runs/grid") -> list[tuple[str, int]]:
    table = load_runs(folder)
    table = table[(table["kind"] == "distill") & (table["status"] == "finished")]
    return sorted(zip(table["aug"], table["seed"], strict=True))


EVERYTHING = [("cutmix", 0), ("cutmix", 1), ("identity", 0), ("identity", 1)]


def test_a_grid_is_carried_out_and_joined(run: Command, grid: Write, here: Path, untrained: Callable[[], None]) -> None:
    path = grid(score={"student": "identity", "batches": 4, "batch_size": 16})
    said = run("sweep", path, "-j", 1)
    assert said.code == 0, said.err
    assert students() == EVERYTHING
    assert (here / "runs/grid/teachers/tiny-resnet8.pth").exists()
    lines = [line for line in said.err.splitlines() if line.startswith("[")]
    assert [line.partition("]")[0] for line in lines] == [f"[{i}/6" for i in range(1, 7)]
    assert said.out.count("\n") == 1 + 5, "a heading, a teacher, four students"
    scores = Scores.read("runs/grid/scores/tiny-resnet8-resnet8.json")
    assert {row["aug"] for row in scores.scores} == {"identity", "cutmix"}
    assert "ce_cov" in scores.metrics, "a student was shown"
    (teacher,) = {
        record["config"]["teacher"]["sha256"] for record in map(read_record, here.glob("runs/grid/*/record.json"))
    }
    assert scores.config["teacher"]["sha256"] == teacher == files.sha256("runs/grid/teachers/tiny-resnet8.pth")
    said = run("correlate", *here.glob("runs/grid/scores/*.json"), "runs/grid")
    assert said.code == 0, said.err
    assert "t_stddev" in said.out

    untrained()
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    again = run("sweep", path, "-j", 1)
    assert again.code == 0, again.err
    assert [line.split()[2:4] for line in again.out.splitlines()[2:]] == [[aug, str(seed)] for aug, seed in EVERYTHING]
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == before


def test_runs_are_those_of_distill(run: Command, grid: Write, pictures: Path) -> None:
    """One ledger: what `distill` has done is not repeated, and the other way round."""
    assert run("sweep", grid(seeds=0), "-o", "one", "-j", 1, "-q").code == 0
    teacher = "one/teachers/tiny-resnet8.pth"
    options = ["--epochs", 2, "--batch-size", 16, "--dtype", "float32", "--data", pictures]
    for aug in ("identity", "cutmix"):
        assert run("distill", "-t", teacher, "-s", "resnet8", "-a", aug, "-o", "two", *options, "-q").code == 0
    one, two = outcomes(Path("one")), outcomes(Path("two"))
    assert two.keys() <= one.keys()
    assert all(one[name] == two[name] for name in two)
    given = grid(seeds=0, teachers={"resnet8": {"checkpoint": teacher}})
    assert run("sweep", given, "-o", "two", "--max-runs", 1, "-j", 1, "-q").code == 0, "nothing was left to begin"


def test_the_plan_counts_what_is_done_and_what_is_left(run: Command, grid: Write, here: Path) -> None:
    path = grid(score={"batches": 4, "batch_size": 16})
    said = run("sweep", path, "--dry-run", "-j", 1)
    assert said.code == 0, said.err
    assert {name.name for name in here.iterdir()} == {"grid.yaml"}, "a plan leaves nothing"
    rows = {line.split("  ")[0]: line.split()[-4:] for line in said.out.splitlines()[1:-1]}
    assert rows["teachers"] == ["0", "0", "1", "?"]
    assert rows["tiny: resnet8 -> resnet8"] == ["0", "0", "4", "?"]
    assert run("sweep", path, "--max-runs", 1, "-j", 1, "-q").code == 3
    (done,) = here.glob("runs/grid/resnet8-*")
    record = read_record(done / "record.json")
    record["timing"]["seconds"] = 30.0  # of two epochs
    (done / "record.json").write_text(json.dumps(record))
    lines = run("sweep", path, "--dry-run", "-j", 1).out.splitlines()
    assert lines[2].split()[-6:] == ["4", "1", "0", "3", "90", "s"]
    assert run("sweep", path, "--dry-run", "-j", 3).out.splitlines()[2].split()[-2:] == ["30", "s"]
    assert lines[1].split()[-5:] == ["1", "0", "0", "0", "s"]


def test_only_some_and_shards_make_the_whole(run: Command, grid: Write) -> None:
    path = grid()
    assert run("sweep", path, "--only", "aug=cut*", "-j", 1, "-q").code == 0
    assert students() == EVERYTHING[:2]
    for which in (1, 2, 3):
        assert run("sweep", path, "--shard", f"{which}/3", "-o", "shards", "-j", 1, "-q").code == 0
        assert len(students("shards")) == (2, 3, 4)[which - 1]
    assert run("sweep", path, "-j", 1, "-q").code == 0
    same(Path("runs/grid"), Path("shards"))


def test_other_training_options_have_a_folder_of_their_own(run: Command, grid: Write) -> None:
    path = grid(seeds=0, augmentations="identity", include=[{"epochs": 3}])
    assert run("sweep", path, "-j", 1, "-q").code == 0
    table = load_runs("runs/grid").query("kind == 'distill'")
    assert sorted(zip(table["epochs"], [Path(folder).parent.name for folder in table["folder"]], strict=True)) == [
        (2, "grid"),
        (3, "epochs=3"),
    ]


def test_tables_of_runs_and_scores(run: Command, grid: Write, untrained: Callable[[], None]) -> None:
    path = grid(score={"student": "identity", "batches": 4, "batch_size": 16})
    assert run("sweep", path, "-j", 1, "-q").code == 0
    untrained()
    assert run("sweep", path, "-j", 1, "--csv", "tables", "-q").code == 0
    runs, table = pd.read_csv("tables/runs.csv"), load_runs("runs/grid")
    assert runs["id"].astype(str).tolist() == table["id"].astype(str).tolist()
    assert runs["test_loss"].tolist() == table["test_loss"].tolist()
    scores = Scores.read("runs/grid/scores/tiny-resnet8-resnet8.json")
    written = pd.read_csv("tables/scores.csv")
    assert written["t_stddev"].tolist() == scores.table["t_stddev"].tolist()
    assert set(written["student"]) == set(written["teacher"]) == {"resnet8"}


def test_a_change_of_the_score_block_makes_the_file_anew(
    run: Command, grid: Write, untrained: Callable[[], None]
) -> None:
    assert run("sweep", grid(seeds=0, score={"batches": 4, "batch_size": 16}), "-j", 1, "-q").code == 0
    untrained()
    path = Path("runs/grid/scores/tiny-resnet8.json")
    assert Scores.read(path).config["batches"] == 4
    assert run("sweep", grid(seeds=0, score={"batches": 5, "batch_size": 16}), "-j", 1, "-q").code == 0
    assert Scores.read(path).config["batches"] == 5


def test_some_of_the_training_images(run: Command, grid: Write, pictures: Path) -> None:
    data = {"name": "tiny", "source": str(pictures), "train_images": 48}
    path = grid(data=data, seeds=0, augmentations="identity", score={"batches": 3, "batch_size": 16})
    assert run("sweep", path, "-j", 1, "-q").code == 0
    for record in map(read_record, Path("runs").rglob("record.json")):
        assert (record["about"]["data"]["train"], record["about"]["data"]["test"]) == (48, 40)
    assert Scores.read("runs/grid/scores/tiny-resnet8.json").config["data"]["images"] == 48


def test_everything_is_checked_before_anything_is_trained(
    run: Command, grid: Write, here: Path, untrained: Callable[[], None]
) -> None:
    untrained()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"augmentations": ["flip", "cutmx"]}, "cutmix"),
        ({"pairs": ["resnet8 -> resnet9"]}, "resnet8"),
        ({"teachers": {"resnet8": {"arch": "resnt20"}}}, "resnet20"),
        ({"teachers": {"resnet8": {"checkpoint": "none.pth"}}}, "none.pth"),
        ({"data": {"source": "none.npz"}}, "none.npz"),
        ({"training": {"schedule": "stepp"}}, "step"),
        ({"training": {"epochs": 0}}, "epochs"),
        ({"training": {"batch_size": 1000}}, "batch"),
        ({"training": {"views": "none"}}, "views"),
        ({"teachers": {"resnet8": {"batch_size": 1000}}}, "batch"),
        ({"teachers": {"resnet8": {"lr": -1}}}, "lr is a number above 0"),
        ({"training": {"dtype": "float31"}}, "float32"),
        ({"score": {"metrics": ["t_stdev"]}}, "t_stddev"),
        ({"score": {"rel_se": 2}}, "rel-se"),
        ({"score": {"student": "flip"}}, "flip"),
        ({"score": {"protocol": "refernce"}}, "reference"),
        ({"score": {"augmentations": ["x"]}}, "x"),
        ({"accuracy_images": "some"}, "from 1 up, or all"),
    ]
    for changes, words in wrong:
        said = run("sweep", grid(**changes), "-j", 1)
        assert said.code == 2, (changes, said.err)
        assert said.out == ""
        assert words in said.err
        assert said.err.count("\n") == 1, said.err
        assert {path.name for path in here.iterdir()} == {"grid.yaml"}, changes


def test_images_that_are_not_there_are_asked_for_as_a_grid_has_it(run: Command, grid: Write, here: Path) -> None:
    said = run("sweep", grid(data="cifar100"), "--set", f"data.root={here}")
    assert said.code == 2
    assert "with --set data.root=DIR, fetch them with --set data.download=true, or" in said.err
    assert "with --set data.source=DIR" in said.err
    assert said.err.count("\n") == 1, said.err


def test_a_name_is_replaced_by_a_folder(run: Command, grid: Write, pictures: Path) -> None:
    """As the heads of the grids in experiments/ say."""
    path = grid(data="cifar100", seeds=0, augmentations="identity")
    said = run("sweep", path, "--set", f"data.source={pictures}", "--set", "data.train_images=48", "-j", 1)
    assert said.code == 0, said.err
    records = [read_record(name) for name in Path("runs").rglob("record.json")]
    used = {(record["about"]["data"]["name"], record["about"]["data"]["train"]) for record in records}
    assert used == {(str(pictures), 48)}


def test_options_that_cannot_be(run: Command, grid: Write) -> None:
    wrong = [
        (["--shard", "0/3"], "1/4"),
        (["--shard", "4/3"], "1/4"),
        (["--shard", "2"], "1/4"),
        (["--time-budget", "soon"], "9m"),
        (["--time-budget", "0"], "9m"),
        (["--only", "sed=1"], "seed"),
        (["--set", "training.epoch=1"], "epochs"),
        (["--max-runs", "0"], "max-runs"),
        (["--jobs", "0"], "jobs"),
        (["--device", "tpu"], "cpu"),
    ]
    for options, words in wrong:
        said = run("sweep", grid(), *options)
        assert said.code == 2, options
        assert words in said.err
        assert said.err.count("\n") == 1, said.err


def test_another_teacher_of_that_name_is_left_alone(run: Command, grid: Write) -> None:
    assert run("sweep", grid(seeds=0, augmentations="identity"), "-j", 1, "-q").code == 0
    before = outcomes(Path("runs"))
    said = run("sweep", grid(teachers={"resnet8": {"epochs": 3, "batch_size": 16}}), "-j", 1)
    assert said.code == 2
    assert "epochs was 2, now 3" in said.err
    assert outcomes(Path("runs")) == before


def test_a_run_that_fails_does_not_stop_the_others(run: Command, grid: Write) -> None:
    path = grid(seeds=0, augmentations="identity", include=[{"lr": 1e30}, {"aug": "flip"}])
    said = run("sweep", path, "-j", 1)
    assert said.code == 1
    assert "not finite" in said.err.splitlines()[-1]
    assert students() == [("flip", 0), ("identity", 0)]


def test_a_teacher_that_learns_nothing_is_warned_of_where_it_ends(run: Command, grid: Write) -> None:
    poor = {"resnet8": {"lr": 1e-9, "batch_size": 16, "epochs": 1}}
    said = run("sweep", grid(teachers=poor, seeds=0, augmentations="identity"), "-j", 1)
    assert said.code == 0, said.err
    (line,) = [line for line in said.err.splitlines() if "WARNING" in line]
    assert line.startswith("[1/2] teacher resnet8: ")
    assert "that is near chance (25.00 %)" in line
    good = run(
        "sweep", grid(seeds=0, augmentations="identity"), "-o", "good", "-j", 1, "--set", "teachers.resnet8.epochs=30"
    )
    assert "WARNING" not in good.err


def test_what_needs_a_failed_teacher_is_not_begun(run: Command, grid: Write) -> None:
    teachers = {"resnet8": {"lr": 1e30, "batch_size": 16, "epochs": 2}}
    said = run("sweep", grid(teachers=teachers, score={"batches": 4, "batch_size": 16}), "-j", 1)
    assert said.code == 1
    assert said.err.count("it needs teacher resnet8") == 5
    assert len(list(Path("runs").rglob("record.json"))) == 1


def test_a_stale_lock_is_taken_over_and_said(run: Command, grid: Write, untrained: Callable[[], None]) -> None:
    path = grid(seeds=0, augmentations="identity")
    assert run("sweep", path, "-j", 1, "-q").code == 0
    (student,) = Path("runs/grid").glob("resnet8-*")
    whole = outcomes(Path("runs"))
    record = read_record(student / "record.json")
    for name in ("history.csv", "last.pt"):
        (student / name).unlink()
    (student / "record.json").write_text(json.dumps({**record, "status": "running"}))
    (student / ".lock-holder").write_text("process 12345 on elsewhere\n")
    said = run("sweep", path, "-j", 1)
    assert said.code == 0
    assert "taken over from process 12345 on elsewhere, which died" in said.err
    assert outcomes(Path("runs")) == whole
    assert not (student / ".lock-holder").exists()


def test_what_a_kill_left_half_written_is_taken_away(run: Command, grid: Write) -> None:
    path = grid(seeds=0, augmentations="identity", score={"batches": 4, "batch_size": 16})
    assert run("sweep", path, "-j", 1, "-q").code == 0
    root = Path("runs/grid")
    for name in ("teachers/tiny-resnet8.pth", "scores/tiny-resnet8.json"):
        (root / name).unlink()
        (root / name).with_name(f".{Path(name).name}.x1y2z3").write_text("half")
    assert run("sweep", path, "-j", 1, "-q").code == 0
    outcomes(root)
    assert (root / "teachers/tiny-resnet8.pth").exists()
    assert (root / "scores/tiny-resnet8.json").exists()


def test_what_another_process_holds_is_left_to_it(run: Command, grid: Write) -> None:
    path = grid()
    said = run("sweep", path, "--max-runs", 1, "-j", 1)
    assert said.code == 3
    assert "[2/2] resnet8 -> resnet8, identity, seed 0" in said.err, "a teacher and a student are all that is to come"
    assert run("sweep", path, "--dry-run").code == 0
    (first,) = Path("runs/grid").glob("resnet8-*")
    record = read_record(first / "record.json")
    (first / "record.json").write_text(json.dumps({**record, "status": "running"}))
    with Run(first).claimed():
        said = run("sweep", path, "-j", 1)
    assert said.code == 3
    assert "another process is running it" in said.err
    assert "1 runs are held by another process" in said.err
    assert len(students()) == 3
    assert run("sweep", path, "-j", 1, "-q").code == 0
    assert students() == EVERYTHING


def test_a_time_budget_saves_everything_before_it_is_over(
    run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is ours: every step of training takes a second of it."""
    clock = [0.0]
    step = trainer._one_step

    def slow(*args: Any) -> None:
        clock[0] += 1
        step(*args)

    path, ends = grid(), []
    with monkeypatch.context() as patch:
        patch.setattr("dametric.jobs.budget.time.monotonic", lambda: clock[0])
        patch.setattr(trainer, "_one_step", slow)
        code = 3
        while code == 3 and len(ends) < 10:
            clock[0] = 0.0
            said = run("sweep", path, "--time-budget", "20s", "-j", 1)
            code = said.code
            ends.append(clock[0])
            assert code == 0 or "the time budget is over" in said.err
    assert code == 0, said.err
    assert all(15 <= end <= 19 for end in ends[:-1]), ends
    assert len(ends) == 4, "12 steps of teacher and 48 of students, at most 18 of them in each budget"
    assert run("sweep", path, "-o", "smooth", "-j", 1, "-q").code == 0
    same(Path("runs/grid"), Path("smooth"))


# Disks and folders


def test_a_folder_that_cannot_be_written(run: Command, grid: Write, here: Path) -> None:
    (here / "plain").write_text("x")
    for place in ("plain", "plain/runs", "/proc/new"):
        said = run("sweep", grid(), "-o", place, "-j", 1)
        assert said.code == 2
        assert said.err.count("\n") == 1
        assert "plain" in said.err or "/proc" in said.err
    assert {path.name for path in here.iterdir()} == {"plain", "grid.yaml"}


@pytest.mark.parametrize("size", [500, 5_000])
def test_a_full_disk_is_one_line_and_leaves_earlier_records_intact(run: Command, grid: Write, size: int) -> None:
    path = grid()
    assert run("sweep", path, "--max-runs", 2, "-j", 1, "-q").code == 3
    before = outcomes(Path("runs"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        said = run("sweep", path, "-j", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("dametric: cannot write ")
    assert "Traceback" not in said.err
    after = {name: part for name, part in _whole(Path("runs")).items() if name in before}
    assert after == before
    assert run("sweep", path, "-j", 1, "-q").code == 0
    assert students() == EVERYTHING


def _whole(root: Path) -> dict[str, Any]:
    return {
        name.parent.relative_to(root).as_posix(): outcomes(name.parent)["."]
        for name in root.rglob("record.json")
        if (name.parent / "last.pt").exists()
    }


def test_a_run_s_folder_that_loses_its_permission_is_one_line(
    run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for somebody who is not root: the folder can no longer be written to in the midst of the sweep."""
    path = grid()
    assert run("sweep", path, "--max-runs", 1, "-j", 1, "-q").code == 3
    before = outcomes(Path("runs"))
    mkdir = Path.mkdir

    def refuse(self: Path, *args: Any, **kwargs: Any) -> None:
        if self.name.startswith("resnet8-resnet8-"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    said = run("sweep", path, "-j", 1)
    assert said.code == 2
    assert said.err.splitlines()[-1].startswith("dametric: cannot write runs/grid/resnet8-resnet8-")
    assert "Permission denied" in said.err
    assert outcomes(Path("runs")) == before


def test_ray_without_its_package(run: Command, grid: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    said = run("sweep", grid(), "--ray")
    assert said.code == 2
    assert "pip install 'dametric[ray]'" in said.err


def test_runs_that_are_trained_again_since_their_weights_are_gone_are_named(
    run: Command, grid: Write, here: Path
) -> None:
    path, root = grid(), here / "runs/grid"
    assert run("sweep", path, "-j", 1, "-q").code == 0
    before = outcomes(root)
    line = "finished before, but its weights are gone: it is trained again"
    students = sorted(root.glob("resnet8-*/last.pt"))
    students[0].unlink()
    for _ in range(2):  # a dry run changes nothing
        said = run("sweep", path, "-j", 1, "--dry-run")
        assert said.err.splitlines() == [f"resnet8 -> resnet8, cutmix, seed 0: {line}"]
    assert run("sweep", path, "-j", 1, "--dry-run", "-q").err == ""
    assert run("sweep", path, "-j", 1).err.count(line) == 1
    for weights in students[:3]:
        weights.unlink()
    said = run("sweep", path, "-j", 1)
    assert said.err.splitlines()[0] == (
        "3 runs finished before, but their weights are gone: they are trained again (resnet8 -> resnet8, identity, "
        "seed 0; resnet8 -> resnet8, cutmix, seed 0; and 1 more)"
    )
    for weights in (*root.glob("teachers/*.pth"), *root.rglob("last.pt")):
        weights.unlink()
    said = run("sweep", path, "-j", 1)
    assert said.err.splitlines()[0] == f"teacher resnet8: {line}"
    assert said.err.count("finished before, but its weights were gone; ") == 5, "students are known with their teacher"
    after = outcomes(root)
    assert after == before
