"""The tables of docs/choosing-model.md are those of experiments/results/choose."""

from __future__ import annotations

import pytest

from dametric.errors import UsageError
from experiments.choose_pages import PAGE, page, tables


def test_the_page_of_what_choices_promise_has_the_numbers_of_the_simulations() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run python -m experiments.choose_pages"
    for header, rows in tables().items():
        assert header.count("|") == rows[0].count("|")
        assert page(text.replace(rows[1], rows[0]).replace(rows[2] + "\n", "")) == text
        with pytest.raises(UsageError, match="no table with the header"):
            page(text.replace(header, "| stated |"))
