"""Run chosen tests on a private copy of the repository, in a child of a process that has imported the libraries.

The copy, never the checkout, gets the mutant, so that whatever is killed at whatever moment leaves the checkout clean.
Importing torch and its company takes longer than most tests, so a process that has done so is forked for every run.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from experiments.mutation.mutants import ROOT, Mutant

HEAVY: tuple[str, ...] = (
    "torch",
    "torchvision",
    "numpy",
    "scipy.stats",
    "pandas",
    "statsmodels.api",
    "matplotlib.pyplot",
    "sklearn",
)
HEAVY += (
    "PIL.Image",
    "pyarrow.parquet",
    "typer.testing",
    "rich.progress",
    "yaml",
    "jinja2",
    "jsonschema",
    "hypothesis",
)
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", "--hypothesis-profile=ci"]
OPTIONS += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # the libraries are imported before pytest begins
_OLD = 1_000_000_000
"""Time of the copy's files: what is compiled of them serves the next run, and never passes for a mutant written now."""


def preload() -> None:
    """Import what the tests need, except the package itself, and keep to one thread."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    for name in HEAVY:
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    assert not any(name.partition(".")[0] == "dametric" for name in sys.modules), "the package comes from the copy"


@dataclass
class Outcome:
    """What became of a run of tests.

    Attributes
    ----------
    word : str
        ``passed``, ``failed``, ``timeout``, or ``crashed`` when the interpreter ended.
    failures : list of str
        The tests that failed, and files that could not be imported, in order.
    ran : dict
        Tests that ran, with their seconds.
    seconds : float
    more : Any
        What the last of ``Tests.around`` returned.
    log : str
        The end of what was printed, after a crash.
    """

    word: str
    failures: list[str] = field(default_factory=list)
    ran: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    more: Any = None
    log: str = ""


class Copy:
    """A private copy of the tracked files, gone after the ``with``."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mutation-"))
        self.tree = self.home / "tree"
        for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0"):
            if name and (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.tree / name)
                os.utime(self.tree / name, (_OLD, _OLD))
        if (ROOT.parent / "shared").exists():
            (self.home / "shared").symlink_to((ROOT.parent / "shared").resolve())

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.home, ignore_errors=True)

    def mutate(self, mutant: Mutant) -> None:
        """Put the mutant in place of the original."""
        (self.tree / mutant.file).write_text(mutant.text(), encoding="utf-8")

    def restore(self, mutant: Mutant) -> None:
        """Put the original back."""
        shutil.copyfile(ROOT / mutant.file, self.tree / mutant.file)
        os.utime(self.tree / mutant.file, (_OLD, _OLD))


class Watch:
    """Plugin of pytest: keep the chosen tests in the chosen order, and note what ran and what failed first."""

    def __init__(self, wanted: list[str] | None, before: Callable[[str], None]) -> None:
        self.rank = None if wanted is None else {name: place for place, name in enumerate(wanted)}
        self.before = before
        self.failures, self.ran = list[str](), dict[str, float]()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what was not asked for."""
        if self.rank is not None:
            rank = self.rank
            items[:] = sorted((item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid])

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Tell that a test begins, its fixtures included."""
        self.before(item.nodeid)
        try:
            return (yield)
        finally:
            self.before("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A step of a test has ended."""
        self.ran[report.nodeid] = self.ran.get(report.nodeid, 0.0) + report.duration
        if report.failed and report.nodeid not in self.failures:
            self.failures.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file has been imported, or not."""
        if report.failed and report.nodeid not in self.failures:
            self.failures.append(report.nodeid)


@dataclass
class Tests:
    """What to run.

    Attributes
    ----------
    files : list of str
        Test files.
    wanted : list of str, optional
        Only these of their tests, in this order.
    timeout : float
        Seconds.
    around : tuple of callables
        Called in the child before anything of the package is imported; before each test with its name and after it
        with an empty one; and at the end, for ``Outcome.more``.
    extra : tuple of str
        Further options of pytest.
    """

    files: list[str]
    wanted: list[str] | None
    timeout: float
    around: tuple[Callable[[], None], Callable[[str], None], Callable[[], Any]] = (
        lambda: None,
        lambda name: None,
        lambda: None,
    )
    extra: tuple[str, ...] = ()


def run(tree: Path, tests: Tests) -> Outcome:
    """Run tests on a copy, in a child process; whatever they start ends with them."""
    begun = time.perf_counter()
    answer = tree.parent / "answer.json"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            _in_child(tree, tests, answer)
        except BaseException:
            traceback.print_exc()  # into the log of the copy
        finally:
            os._exit(99)  # nothing of the parent's is tidied up here
    word = _ended(child, begun + tests.timeout)
    found = Outcome(word)
    if word == "crashed" and answer.exists():
        found = Outcome(**json.loads(answer.read_text()))
    elif word == "crashed" and (tree.parent / "log.txt").exists():
        found.log = (tree.parent / "log.txt").read_text(errors="replace")[-1000:]
    found.seconds = time.perf_counter() - begun
    return found


def _ended(child: int, deadline: float) -> str:
    """Wait, and end the whole process group."""
    word = "crashed"
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.perf_counter() > deadline:
            word = "timeout"
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return word


def _in_child(tree: Path, tests: Tests, answer: Path) -> None:
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _settle(tree)
    before, each, afterwards = tests.around
    before()
    watch = Watch(tests.wanted, each)
    code = pytest.main([*OPTIONS, "--rootdir", str(tree), *tests.extra, *tests.files], plugins=[watch])
    loaded = sys.modules.get("dametric")
    if loaded is not None and not str(loaded.__file__).startswith(str(tree)):
        raise AssertionError(f"tested {loaded.__file__} instead of the copy")
    word = {0: "passed", 5: "passed"}.get(int(code), "failed")
    more = afterwards()
    answer.write_text(json.dumps({"word": word, "failures": watch.failures, "ran": watch.ran, "more": more}))
    sys.stdout.flush()
    os._exit(0)


def _settle(tree: Path) -> None:
    """Make the copy what everything here and below imports from, and let the tests write nowhere else."""
    log = os.open(tree.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(tree)
    for name in [name for name in sys.modules if name.partition(".")[0] == "experiments"]:
        del sys.modules[name]
    foreign = [place for place in sys.path if place and Path(place).resolve() != ROOT]
    sys.path[:] = [str(tree), *foreign]
    importlib.invalidate_caches()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tree), *foreign])
    os.environ["TMPDIR"] = tempfile.tempdir = str(tree.parent / "tmp")
    shutil.rmtree(tree.parent / "tmp", ignore_errors=True)
    (tree.parent / "tmp").mkdir()
    vars(importlib.import_module("multiprocessing.process"))["ORIGINAL_DIR"] = str(
        tree
    )  # where spawned processes begin
