"""The documents do what they say: examples print it, commands are ones that there are, made pages are as made now."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

import dametric
from dametric import cli
from dametric.augment import AUGS, expand, parse
from dametric.base.user_code import is_user_code
from dametric.choosing.student_scores import DIRECTIONS
from dametric.metrics import ALL, GROUPS, METRICS
from dametric.models.registry import check_architecture
from tests.loops import each

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MADE = {"functions.md"}  # whose examples are those of docstrings
PAGES = [*sorted(DOCS.glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]


def test_every_example_in_the_documents_prints_what_it_says() -> None:
    pages = [path for path in sorted(DOCS.glob("*.md")) if path.name not in MADE]
    tried = {path.name: doctest.testfile(str(path), module_relative=False) for path in pages}
    assert not {name: result for name, result in tried.items() if result.failed}
    for name, least in (("python.md", 10), ("estimators.md", 1), ("export.md", 1)):
        assert tried[name].attempted >= least, name


def test_every_public_name_has_an_example_that_runs() -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    for name in dir(dametric):
        thing = getattr(dametric, name)
        if name == "__version__":
            continue
        module: Any = inspect.getmodule(inspect.unwrap(thing))
        (example,) = (
            doctest.DocTestParser().get_doctest(inspect.getdoc(thing) or "", dict(vars(module)), name, None, 0),
        )
        assert example.examples, f"{name} has no example"
        assert runner.run(example).failed == 0, name


def test_pages_of_the_reference_are_as_they_would_be_made_now() -> None:
    pytest.importorskip("griffe")
    from experiments.site.__main__ import PAGES as MADE_PAGES
    from experiments.site.augmentations import FOLDER
    from experiments.site.metrics import FORMULAS

    for name in MADE_PAGES:
        assert (DOCS / name).read_text(encoding="utf-8") == MADE_PAGES[name](), "run python -m experiments.site"
    assert set(FORMULAS) == set(METRICS)
    assert {path.stem for path in (DOCS / FOLDER).glob("*.png")} == set(AUGS), "run it with --pictures"
    assert sum(path.stat().st_size for path in DOCS.rglob("*") if path.suffix in (".png", ".svg")) < 1.5e6


def test_every_page_is_in_the_menu_and_links_lead_somewhere() -> None:
    """mkdocs, where it is installed, says more of this (`make docs`); links of the code host are held everywhere."""
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in PAGES:
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert path.parent == ROOT or f": {path.name}\n" in menu
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", text):
            to = path.parent / target if target else path
            assert to.exists(), f"{path.name} links to {target}"
            if anchor and to.suffix == ".md":
                assert anchor[1:] in anchors(to), f"{path.name} links to {target}{anchor}"


def test_every_command_in_the_documents_is_one_that_there_is() -> None:
    shown = [(path.name, words) for path in PAGES for words in commands(path.read_text(encoding="utf-8"))]
    assert len(shown) > 90
    for page, words in shown:
        check(words, f"{page}: dametric {' '.join(words)}")


@each(
    "words",
    [
        "score -t t.pth --augs flip",
        "score -t t.pth --aug flipp",
        "score -t t.pth --aug flip -m t_stdev",
        "scores",
        "choose -s resnet9",
        "sweep experiments/none.yaml",
        "score -t t.pth",
    ],
)
def test_a_command_that_is_wrong_is_noticed(words: str) -> None:
    with pytest.raises((AssertionError, ValueError, typer.BadParameter.__mro__[2])):  # type: ignore[arg-type]
        check(shlex.split(words), words)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[list[str]]:
    """Commands of dametric on a page: the words that follow ``dametric``. Between words they need not be whole."""
    blocks = re.findall(r"^```(?:sh|console|text)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    inline = re.findall(r"`((?:dametric|torchrun)\s[^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *(f"{' '.join(words.split())} ..." for words in inline)]:
        for part in line.split("&&"):
            words = (
                shlex.split(part.partition(" > ")[0], comments=True)
                if re.match(r"\s*(dametric|torchrun)\s", part)
                else []
            )
            if "dametric" in words and not (words[0] == "torchrun" and "-m" not in words):
                yield words[words.index("dametric") + 1 :]


@cache
def parser() -> Any:
    """The command line with all its options."""
    return typer.main.get_command(cli.app)


def check(words: list[str], shown: str) -> None:
    """Hold a command against the parser of the command line, and its words against what there is."""
    command: Any = parser()
    words = cli._with_address(words)
    name = words.pop(0)
    if name == "dametric:" or name.startswith("-") or "|" in name or name.isupper():
        return
    while hasattr(command, "commands"):
        assert name in command.commands, shown
        command = command.commands[name]
        name = words.pop(0) if hasattr(command, "commands") else name
    for value in words:
        if re.match(r"(\./)?(examples|experiments)/", value):
            assert (ROOT / value.partition(":")[0]).exists(), f"{shown}: no {value}"
    if "..." in words:
        known = {flag for option in command.params for flag in (*option.opts, *option.secondary_opts)}
        assert {word.partition("=")[0] for word in words if word.startswith("-")} <= known, shown
        return
    given = {key: value for key, value in command.make_context("dametric", list(words)).params.items() if value}
    augs = given.get("aug", ())
    for spec in expand([*([augs] if isinstance(augs, str) else augs), *given.get("candidates", ())]):
        parse(spec)
    for metric in {*given.get("metrics", ()), *given.get("metric", ())} if command.name in ("score", "choose") else ():
        assert metric in {*METRICS, *GROUPS, *DIRECTIONS, ALL} or is_user_code(metric), shown
    for arch in {given.get(key) for key in ("arch", "student")} - {None}:
        if not Path(arch).suffix and not arch.startswith("timm:"):
            check_architecture(arch)


def test_formulas_between_words_are_mathematics() -> None:
    """What stands as code on the pages that derive things is something to type, or a name of the program."""
    for name in ("estimators.md", "choosing-model.md"):
        text = re.sub(r"```.*?```", "", (DOCS / name).read_text(encoding="utf-8"), flags=re.DOTALL)
        code = re.findall(r"(?<!\$)`([^`]+)`(?!\$)", text)
        assert code
        assert not [words for words in code if re.fullmatch(r"\w('|_\w)?|[A-Z].*=.*|.*\^.*|.* [-+/] .*", words)], name


def test_the_site_is_built(tmp_path: Path) -> None:
    """What the hooks do: formulas without a network, and files of the repository by their paths."""
    if importlib.util.find_spec("latex2mathml") is None:
        pytest.skip("latex2mathml is not installed")
    from types import SimpleNamespace

    from experiments.site import hooks

    page = SimpleNamespace(file=SimpleNamespace(src_path="page.md"))
    text = "Of $`x^2`$, see [the script](../Makefile).\n```\n$`kept`$ [as it](../is)\n```\n"
    out = hooks.on_page_markdown(text, page)
    assert "<math" in out
    assert "the script (<code>Makefile</code>)" in out
    assert "$`kept`$ [as it](../is)" in out
    with pytest.raises(FileNotFoundError, match=r"links to \.\./nowhere"):
        hooks.on_page_markdown("[to](../nowhere)", page)
