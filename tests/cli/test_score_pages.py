"""`score --csv`, and `report` of scores alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from tests.cli.conftest import Run


def test_scores_become_a_table_and_a_page(run: Run, score: Run, refused: Callable[..., str], tmp_path: Path) -> None:
    file, table = tmp_path / "scores.json", tmp_path / "scores.csv"
    assert score("-o", file, "--csv", table).code == 0
    written, read = json.loads(file.read_text(encoding="utf-8")), pd.read_csv(table)
    assert read["aug"].tolist() == [row["aug"] for row in written["scores"]]
    values = [row["metrics"]["t_stddev"] for row in written["scores"]]
    assert read["t_stddev"].tolist() == [value["value"] for value in values]
    assert run("report", file, "-o", tmp_path / "page.html", "-q").err == ""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"{read['aug'][0]} has the best t_stddev of {len(read)} augmentations" in page
    assert run("report", file, "-o", tmp_path / "again.csv", "-q").code == 0
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "again.csv"), read)
    line = refused("report", file, "-o", tmp_path / "no.html", "--only", "temperature=4")
    assert "--only: of scores with students" in line
    assert "there is no" in refused("score", "-t", "t.pth", "--aug", "flip", "--csv", tmp_path / "no" / "t.csv")
