"""User code by dotted path and by file, and what is said when it is wrong."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dametric.base.user_code import load_object, one_line
from dametric.errors import UsageError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def test_function_from_a_file_by_relative_absolute_and_home_path(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "augs.py").write_text(
        "def snow(x):\n    return x + 1\nclass Group:\n    @staticmethod\n    def rain(x):\n        return x\n"
    )
    monkeypatch.setenv("HOME", str(here))
    for spec in ("./augs.py:snow", "augs.py:snow", f"{here}/augs.py:snow", "~/augs.py:snow"):
        assert load_object(spec, "augmentation")(1) == 2
    assert load_object("./augs.py:Group.rain", "augmentation")(3) == 3


def test_function_from_a_dotted_path(here: Path) -> None:
    assert load_object("math:sqrt", "augmentation")(4) == 2
    assert load_object("os.path:join", "augmentation")("a", "b") == "a/b"
    (here / "pkg_of_mine").mkdir()
    (here / "pkg_of_mine" / "mod.py").write_text("def fn():\n    return 'here'\n")
    assert load_object("pkg_of_mine.mod:fn", "augmentation")() == "here"


def test_file_runs_once_until_it_changes(here: Path) -> None:
    file = here / "augs.py"
    file.write_text("class A: ...\n")
    assert load_object("./augs.py:A", "augmentation") is load_object("augs.py:A", "augmentation")
    file.write_text("class A:\n    edited = True\n")
    assert load_object("./augs.py:A", "augmentation").edited  # type: ignore[attr-defined]


def test_file_may_import_its_neighbours_hold_dataclasses_and_be_pickled(here: Path) -> None:
    folder = here / "elsewhere"
    folder.mkdir()
    (folder / "neighbour_of_nets.py").write_text("WORD = 'hello'\n")
    (folder / "nets.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom neighbour_of_nets import WORD\n"
        "@dataclass\nclass Net:\n    word: str = WORD\n"
    )
    net = load_object("./elsewhere/nets.py:Net", "architecture")()
    assert pickle.loads(pickle.dumps(net)).word == "hello"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("snow", "names no function"),
        ("augs:", "names no function"),
        (":snow", "names no function"),
        ("./absent.py:snow", "there is no file absent.py"),
        ("./augs.py:snw", "no augmentation 'snw': did you mean snow?"),
        ("./augs.py:zzzzzz", "no augmentation 'zzzzzz'"),
        ("./augs.py:number", "is a int, not a function"),
        ("./broken.py:fn", "failed with NameError: name 'oops' is not defined"),
        ("./syntax.py:fn", "failed with SyntaxError"),
        ("./leaves.py:fn", "failed with SystemExit: 3"),
        ("./needs.py:fn", "No module named 'no_such_module_at_all'"),
        ("./text.txt:fn", "must end in .py"),
        ("no_such_module_at_all:fn", "there is no module no_such_module_at_all"),
        ("os.no_such_part:fn", "there is no module os.no_such_part"),
        ("needs:fn", "importing needs failed with ModuleNotFoundError"),
        ("broken:fn", "importing broken failed with NameError"),
    ],
)
def test_errors_are_one_line(here: Path, spec: str, says: str) -> None:
    (here / "augs.py").write_text("number = 3\ndef snow(x):\n    return x\n")
    (here / "broken.py").write_text("oops\n")
    (here / "syntax.py").write_text("def (:\n")
    (here / "leaves.py").write_text("import sys\nsys.exit(3)\n")
    (here / "needs.py").write_text("import no_such_module_at_all\n")
    (here / "text.txt").write_text("hello")
    before = set(sys.modules)
    with pytest.raises(UsageError) as caught:
        load_object(spec, "augmentation")
    message = str(caught.value)
    assert says in message
    assert "\n" not in message
    assert not {name for name in set(sys.modules) - before if "broken" in name or "needs" in name}


def test_one_line_is_short() -> None:
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert len(one_line(ValueError("x" * 1000))) == 200
