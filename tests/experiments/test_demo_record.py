"""Keeping a demo's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from dametric.errors import UsageError
from experiments.demo_record import FOLDER, keep


def test_a_record_replaces_the_one_before(tmp_path: Path) -> None:
    old = tmp_path / "runs" / "of-another-program"
    old.mkdir(parents=True)
    (old / "record.json").write_text("{}")
    assert keep(FOLDER, tmp_path) == 18
    for kept in FOLDER.rglob("*.json"):
        assert (tmp_path / kept.relative_to(FOLDER)).read_bytes() == kept.read_bytes()
    assert len(list((tmp_path / "runs").iterdir())) == 18


def test_a_demo_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    keep(FOLDER, tmp_path)
    record = next((tmp_path / "runs").glob("*/record.json"))
    record.write_text(record.read_text().replace('"finished"', '"running"'))
    with pytest.raises(UsageError, match="not finished"):
        keep(tmp_path, tmp_path / "other")
    assert not (tmp_path / "other").exists()
