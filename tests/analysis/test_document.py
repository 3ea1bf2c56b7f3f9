"""The document of ``--json`` keeps its keys and its numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dametric
from tests.analysis.documents import KEYS, SAMPLE, cases, keys_of


def document_of(paths: list[str], **options: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(dametric.correlate(paths, **options).to_json())
    return document


def same(found: Any, expected: Any, where: str = "") -> None:
    """Numbers to a rounding, sentences left out: they are free to be said better."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            if key not in ("verdict", "cost", "primary"):
                same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (one, other) in enumerate(zip(found, expected, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12), where
    else:
        assert found == expected, where


def test_keys_and_numbers_are_those_of_the_sample(tmp_path: Path) -> None:
    """Numbers of one kind of input, at the default settings; of the others the keys, from few resamples."""
    inputs = cases(tmp_path)
    for name, keys in json.loads(KEYS.read_text(encoding="utf-8")).items():
        paths, options = inputs[name]
        document = document_of(paths, **options, **({} if name == "table of one unit" else {"resamples": 99}))
        assert keys_of(document) == keys, name
        if name == "table of one unit":
            same(document, json.loads(SAMPLE.read_text(encoding="utf-8")))
