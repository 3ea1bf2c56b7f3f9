"""Executors: the one of examples/, what is not one, and where jobs are told of."""

from __future__ import annotations

import doctest
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

import dametric
from dametric.errors import UsageError
from dametric.jobs import executor as contract
from dametric.jobs.executor import Event, own_executor
from dametric.jobs.inline import InlineExecutor
from tests.sweeps.conftest import ROOT, Said, same

EXAMPLE = ROOT / "examples" / "executor.py"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_example_comes_to_the_same_from_the_command_line_and_from_python(
    run: Callable[..., Said], grid: Callable[..., Path], tmp_path: Path
) -> None:
    path = grid(score={"batches": 4, "batch_size": 16, "dtype": "float32"})
    assert run("sweep", path, "-o", "inline", "-j", 1, "-q").code == 0
    said = run("sweep", path, "-o", "typed", "--executor", f"{EXAMPLE}:Logged")
    assert said.code == 0, said.err
    lines = [line.partition(" ")[2] for line in (tmp_path / "jobs.log").read_text().splitlines()]
    assert lines == [f"job {number}{word}" for number in range(6) for word in (" begins", ": done")]
    logged = runpy.run_path(str(EXAMPLE))["Logged"]
    swept = dametric.sweep(path, "called", executor=logged("called.log"), quiet=True)
    assert (swept.exit_status, len(swept.runs), len(swept.scores)) == (0, 5, 1)
    assert len(swept.score_table) == 2
    assert len((tmp_path / "called.log").read_text().splitlines()) == 12
    for folder in ("typed", "called"):
        same(Path(folder), Path("inline"))


def test_what_is_no_executor_is_refused(run: Callable[..., Said], grid: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("class Half:\n    def give(self, *job): ...\n")
    for options, words in (
        (("--executor", "./own.py:Half"), "the executor Half has no '__enter__'"),
        (("--executor", "./own.py:Hlaf"), "did you mean Half"),
        (("--executor", "./nowhere.py:Half"), "there is no file"),
        (("--executor", "./own.py:Half", "-j", "2"), "--jobs has no meaning beside it"),
        (("--executor", "./own.py:Half", "--ray"), "--ray has no meaning beside it"),
    ):
        said = run("sweep", grid(), *options)
        assert said.code == 2
        assert words in said.err
        assert said.err.count("\n") == 1
    with pytest.raises(UsageError, match="3 is a int"):
        own_executor(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="executor says where runs are carried out, so jobs has no meaning"):
        dametric.sweep(grid(), executor=InlineExecutor, jobs=2)
    assert not (tmp_path / "runs").exists()


def test_a_mistake_of_an_executor_s_job_ends_the_sweep(grid: Callable[..., Path]) -> None:
    class Broken(InlineExecutor):
        def events(self, timeout: float) -> list[Event]:
            number, *_ = self._given or (0,)
            self._given = None
            return [Event(number, "raised", ZeroDivisionError("by zero"))]

    with pytest.raises(ZeroDivisionError, match="by zero"):
        dametric.sweep(grid(), executor=Broken, quiet=True)
    assert not list(Path("runs").rglob("record.json"))


def test_what_is_lost_again_and_again_has_failed(grid: Callable[..., Path]) -> None:
    class Losing(InlineExecutor):
        def events(self, timeout: float) -> list[Event]:
            number, *_ = self._given or (0,)
            self._given = None
            return [Event(number, "lost")]

    swept = dametric.sweep(grid(), executor=Losing(), quiet=True)
    assert swept.exit_status == 1
    assert swept.failed["teacher resnet8"] == "its process was lost 4 times"
    assert len(swept.failed) == 5


def test_the_contract_s_example_runs() -> None:
    tried = doctest.testmod(contract)
    assert (tried.failed, tried.attempted > 0) == (0, True)
