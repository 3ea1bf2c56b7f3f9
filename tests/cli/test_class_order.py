"""Class names of checkpoints and image sets."""

from __future__ import annotations

import pytest

from dametric.data.checks import check_order
from dametric.errors import UsageError


def test_the_same_names_in_another_order_are_refused() -> None:
    with pytest.raises(UsageError, match="number 1 is 'dog' to the one and 'eel' to the other"):
        check_order("teacher", ("cat", "dog", "eel"), "the data", ("cat", "eel", "dog"))


@pytest.mark.parametrize("others", [("cat", "dog"), ("Katze", "Hund"), (), None])
def test_equal_names_other_words_and_no_names_are_fine(others: tuple[str, ...] | None) -> None:
    check_order("teacher", ("cat", "dog"), "the data", others)
