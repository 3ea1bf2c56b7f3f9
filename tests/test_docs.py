"""The examples in the documents do what the documents say."""

from __future__ import annotations

import doctest
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_every_example_in_the_documents_prints_what_it_says() -> None:
    tried = {path.name: doctest.testfile(str(path), module_relative=False) for path in sorted(DOCS.glob("*.md"))}
    assert not {name: result for name, result in tried.items() if result.failed}
    assert tried["python.md"].attempted > 10
    assert tried["estimators.md"].attempted > 0
