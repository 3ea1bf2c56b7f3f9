"""Sweeps from Python: the same ledger as the command's, and values in place of words."""

from __future__ import annotations

import doctest
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import dametric
from dametric.errors import Interrupted, UsageError
from dametric.records.runs import Run
from dametric.sweeps import api
from dametric.sweeps import grid as grids
from tests.sweeps.conftest import Said, same


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_call_and_the_command_share_a_ledger(
    run: Callable[..., Said], grid: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = grid(score={"batches": 4, "batch_size": 16, "dtype": "float32"})
    assert run("sweep", path, "-o", "command", "-j", 1, "-q").code == 0
    document = yaml.safe_load(path.read_text())
    plan = dametric.plan(document, "called", jobs=2)
    assert plan.table.loc["all", ["runs", "finished", "left"]].tolist() == [6, 0, 6]
    assert not Path("called").exists(), "a plan leaves nothing"
    capsys.readouterr()
    first = dametric.sweep(document, "called", max_runs=1, jobs=1, quiet=True)
    assert (first.exit_status, len(first.left), first.failed) == (3, 3, {})
    rest = dametric.sweep(document, "called", jobs=1, quiet=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert all(line.startswith("WARNING: ") for line in err.splitlines())
    assert (rest.exit_status, rest.left, rest.students) == (0, (), 4)
    assert rest.scores == (Path("called/scores/tiny-resnet8.json"),)
    assert sorted(rest.table["kind"]) == ["distill"] * 4 + ["train"]
    same(Path("command"), Path("called"))
    assert dametric.plan(path, "called", only=["aug=cutmix"]).table.loc["all", "left"] == 0
    assert document == yaml.safe_load(path.read_text()), "what was given is left as it is"


def test_what_cannot_be_is_said_as_python_has_it(grid: Callable[..., Path]) -> None:
    document = yaml.safe_load(grid().read_text())
    for arguments, words in (
        ({}, "give output"),
        ({"output": "runs", "shard": "4/3"}, "shard is a share"),
        ({"output": "runs", "time_budget": "soon"}, "time_budget is a time such as"),
        ({"output": "runs", "time_budget": 0}, "time_budget is a time above 0"),
        ({"output": "runs", "whole_runs": True}, "give time_budget"),
        ({"output": "runs", "jobs": 0}, "jobs is a number from 1 up"),
        ({"output": "runs", "max_runs": True}, "max_runs is a whole number"),
        ({"output": "runs", "lockstep": 0}, "lockstep is a number from 1 up"),
        ({"output": "runs", "overrides": ["training.epoch=1"]}, "the grid: unknown key in training"),
        ({"output": "runs", "overrides": ["training"]}, "overrides is KEY=VALUE"),
        ({"output": "runs", "only": ["seed=7"]}, "no run of the grid matches only='seed=7'"),
    ):
        with pytest.raises(UsageError, match=words):
            dametric.sweep(document, **arguments)
    assert not Path("runs").exists()


def test_control_c_saves_and_the_same_call_goes_on(grid: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    write = Run.write_history

    def press(self: Run, rows: object) -> None:
        write(self, rows)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "write_history", press)
        with pytest.raises(Interrupted, match="everything is saved"):
            dametric.sweep(grid(seeds=0), "stopped", jobs=1, quiet=True)
    (begun,) = dametric.load_runs("stopped")["status"]
    assert begun == "interrupted"
    assert dametric.sweep(grid(seeds=0), "stopped", jobs=1, quiet=True).exit_status == 0
    assert dametric.sweep(grid(seeds=0), "smooth", jobs=1, quiet=True).exit_status == 0
    same(Path("stopped"), Path("smooth"))


def test_the_examples_of_the_docstrings_run() -> None:
    for module in (api, grids):
        tried = doctest.testmod(module)
        assert (tried.failed, tried.attempted > 0) == (0, True), module
