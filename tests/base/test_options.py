"""One schema of options: what flags, keywords, keys of grids, columns of ledgers and the reference page come from."""

from __future__ import annotations

import doctest
import inspect
from dataclasses import dataclass
from typing import Literal

import pytest
import typer

import dametric
from dametric import cli
from dametric.base import options
from dametric.base.option_groups import GROUPS, LossOptions, OptimizerOptions, PrecisionOptions, ViewOptions
from dametric.base.options import check_options, option, options_of, takes
from dametric.cli.options import with_options
from dametric.errors import UsageError
from dametric.records.recipes import OPTIONS
from dametric.sweeps.reading import GROUPS as BLOCKS
from dametric.sweeps.reading import KEYS
from experiments.option_pages import PAGE, page


def test_the_examples_of_the_docstrings_hold() -> None:
    tried = doctest.testmod(options)
    assert tried.attempted
    assert not tried.failed


@dataclass(frozen=True)
class Dummy:
    """A group of options."""

    share: float = option(0.5, "A share.", low=0, below=1)
    count: int | None = option(None, "A number.", low=2, high=9, without="all")
    kind: Literal["one", "two"] = option("one", "A kind.")
    often: int | Literal["last"] = option(1, "How often.", low=1)
    loud: bool = option(False, "Loud.")

    def __post_init__(self) -> None:
        check_options(self)


def test_an_option_is_one_line_from_which_flag_keyword_and_check_come() -> None:
    seen = {}

    @takes(dummy=Dummy)
    def work(name: str, *, dummy: Dummy) -> Dummy:
        """Work.

        Parameters
        ----------
        **options
        """
        return dummy

    def command(chosen: dict[str, object], name: str = "x") -> None:
        seen.update(chosen)

    app = typer.Typer()
    app.command()(with_options(Dummy)(command))
    context = typer.main.get_command(app)
    with context.make_context("x", ["--share", "0.25", "--often", "last", "--loud", "--kind", "two"]) as made:
        context.invoke(made)
    assert work("x", **seen) == Dummy(0.25, None, "two", "last", True)
    assert list(inspect.signature(work).parameters) == ["name", "share", "count", "kind", "often", "loud"]
    assert "share : float, default 0.5\n    A share." in (work.__doc__ or "")
    with pytest.raises(UsageError, match="unknown argument 'shar': did you mean share"):
        work("x", shar=1)


def test_values_are_held_against_type_range_and_choices() -> None:
    assert Dummy(share=0).share == 0.0
    for given, message in (
        ({"share": 1}, "share is a number from 0 up and below 1, not 1"),
        ({"share": float("nan")}, "share is a number from 0 up and below 1"),
        ({"share": "0.5"}, "share is a number, not '0.5'"),
        ({"count": 1}, "count is a whole number from 2 up, not 1"),
        ({"count": 10}, "count is at most 9, not 10"),
        ({"count": 2.5}, "count is a whole number, not 2.5"),
        ({"count": True}, "count is a whole number, not True"),
        ({"kind": "three"}, "unknown value of kind 'three'"),
        ({"often": "first"}, "often is a whole number from 1 up, or last, not 'first'"),
        ({"loud": 1}, "loud is true or false, not 1"),
    ):
        with pytest.raises(UsageError, match=message.replace("(", r"\(")):
            Dummy(**given)  # type: ignore[arg-type]


def test_flags_keywords_grid_keys_and_columns_are_those_of_the_schema() -> None:
    commands = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]
    flags = {name: {word for each in command.params for word in each.opts} for name, command in commands.items()}
    for each in options_of(*GROUPS):
        known = each.about.flags[0].split("/")[0] if each.about.flags else f"--{each.name.replace('_', '-')}"
        assert any(known in words for words in flags.values()), each.name
    for name, function in (("score", dametric.score), ("train", dametric.train), ("distill", dametric.distill)):
        for keyword in inspect.signature(function).parameters:
            group = [each for each in options_of(*GROUPS) if each.name == keyword]
            for each in group[:1]:
                known = each.about.flags[0].split("/")[0] if each.about.flags else f"--{keyword.replace('_', '-')}"
                assert known in flags[name] or (name, keyword) == ("distill", "seed"), (name, keyword)  # there --seeds
    for block, groups in BLOCKS.items():
        assert {each.name for each in options_of(*groups) if each.about.in_grid} <= KEYS[block].keys()
    columns = options_of(OptimizerOptions, LossOptions, ViewOptions, PrecisionOptions)
    assert {each.name for each in columns if each.about.in_ledger} | {"train_images", "image_size"} == set(OPTIONS)


def test_the_reference_page_is_the_schema_s() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m experiments.option_pages"
