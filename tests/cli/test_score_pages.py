"""`score --csv`, and `report` of scores alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from dametric.analysis.comparing import _difference
from dametric.records.scores import Scores
from tests.cli.conftest import Run


def test_scores_become_a_table_and_a_page(run: Run, score: Run, refused: Callable[..., str], tmp_path: Path) -> None:
    file, table = tmp_path / "scores.json", tmp_path / "scores.csv"
    said = score("-o", file, "--csv", table)
    assert (said.code, said.err.splitlines()[-1]) == (0, f"wrote {file} and {table}")
    assert "wrote" not in said.out + score("-o", file, "--csv", table, "-q").err
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


def test_two_score_files_are_compared(run: Run, score: Run, refused: Callable[..., str], tmp_path: Path) -> None:
    first, second, picture = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "ranks.svg"
    assert score("-o", first).code == 0
    assert score("-o", second, "--seed", "1").code == 0
    said = run("compare", first, second, "-o", picture)
    assert said.code == 0
    head, *rows = said.out.splitlines()
    assert head.split() == ["augmentation", "rank", "a", "rank", "b", "a", "b", "b", "-", "a"]
    augs = [row["aug"] for row in json.loads(first.read_text(encoding="utf-8"))["scores"]]
    assert [row.split()[:2] for row in rows[: len(augs)]] == [[aug, str(rank)] for rank, aug in enumerate(augs, 1)]
    one, two = Scores.read(first).rows[:2]
    expected, found = one.differences[two.aug], _difference(two, one, "t_stddev", True)
    assert found.value == pytest.approx(expected.value)
    assert found.se == pytest.approx(expected.se, rel=1e-9)
    assert "not paired: they were scored on different batches of the same images" in said.out
    assert picture.read_bytes().startswith(b"<?xml")
    assert run("compare", first, second, "--json").document["metric"] == "t_stddev"
    assert run("compare", first, second, "-o", tmp_path / "t.csv").code == 0
    assert pd.read_csv(tmp_path / "t.csv")["rank_a"].tolist() == list(range(1, len(augs) + 1))
    shown = run("compare", first, second, "-o", tmp_path / "page.html")
    assert (shown.code, shown.out, shown.err) == (0, said.out, f"wrote {tmp_path / 'page.html'}\n")
    assert run("compare", first, second, "-o", tmp_path / "page.html", "-q").err == ""
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"dametric compare {first} {second} --metric t_stddev" in page
    assert run("compare", first, second, "-o", tmp_path / "page.md").code == 0
    assert said.out.splitlines()[-1].split(":")[0] in (tmp_path / "page.md").read_text(encoding="utf-8")
    assert "one of .csv" in refused("compare", first, second, "-o", "x.doc")
    assert "none.json: No such file" in refused("compare", first, tmp_path / "none.json")
