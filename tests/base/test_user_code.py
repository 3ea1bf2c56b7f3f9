"""User code by dotted path and by file, and what is said when it is wrong."""

from __future__ import annotations

import functools
import linecache
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric.base.user_code import load_object, one_line, source_digest, without_source
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


def plus(number: int) -> Callable[[int], int]:
    return lambda x: x + number


class Scale:
    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, x: int) -> int:
        return self.by * x


def test_what_is_hashed_is_text_and_what_is_captured_bound_and_set() -> None:
    pairs = [
        (lambda x: x, lambda x: -x),
        (lambda x: x, lambda x: x),  # in one line, by their place
        (plus(1), plus(2)),
        (Scale(1), Scale(2)),
        (Scale(1).__call__, Scale(2).__call__),
        (functools.partial(plus, 1), functools.partial(plus, 2)),
        (Scale, plus),
    ]
    digests = [source_digest(thing) for pair in pairs for thing in pair]
    assert len(set(digests)) == len(digests)
    assert source_digest(plus(1)) == source_digest(plus(1)) != source_digest(plus(True))
    assert all(without_source(thing) == [] for pair in pairs for thing in pair)


def test_the_digest_follows_the_text_and_not_the_bytecode(here: Path) -> None:
    (here / "augs.py").write_text("def snow(x):\n    return x + 1\n")
    first = load_object("./augs.py:snow", "augmentation")
    before = source_digest(first)
    first.__code__ = first.__code__.replace(co_consts=(None, 2), co_stacksize=50)  # as another Python might compile it
    assert source_digest(first) == before
    (here / "augs.py").write_text("def snow(x):\n    return x + 1  # the same\n")
    assert source_digest(load_object("./augs.py:snow", "augmentation")) != before


def test_source_that_cannot_be_read_is_known_to_be_missing() -> None:
    def typed(text: str, file: str) -> Any:
        names: dict[str, Any] = {"__name__": "typed"}
        exec(compile(text, file, "exec"), names)
        return names["fn"]

    texts = ["fn = lambda x: x + 1\n", "fn = lambda x: x - 1\n"]
    unknown = [typed(text, "<stdin>") for text in texts]
    assert source_digest(unknown[0]) == source_digest(unknown[1])
    assert [without_source(each) for each in unknown] == [["<lambda>"]] * 2
    assert without_source(functools.partial(unknown[0], 1)) == ["<lambda>"]
    for number, text in enumerate(texts):  # a notebook keeps the text of its cells
        linecache.cache[f"<cell-{number}>"] = (len(text), None, [text], f"<cell-{number}>")
    cells = [typed(text, f"<cell-{number}>") for number, text in enumerate(texts)]
    assert source_digest(cells[0]) != source_digest(cells[1])
    assert [without_source(each) for each in cells] == [[], []]
    assert without_source(len) == without_source(torch.flip) == without_source(dict) == []
