"""The page of two score files: one file that loads nothing, every number as the comparison has it, any names."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dametric
from dametric.analysis.comparing import Comparison
from dametric.errors import UsageError
from tests.analysis.test_comparing import scores_of
from tests.reports.test_page import HOSTILE, Page

AUGS = ("identity", "flip", "cutmix:alpha=0.5", HOSTILE, "price$_{1}$|`b`")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Files of two teachers, the second with another strength of cutmix; hostile names of what was scored too."""
    folder, draw = tmp_path_factory.mktemp("scores"), np.random.default_rng(0)
    images, paths = draw.normal(size=20), []
    for teacher, levels in (("a", (0.0, 1.0, 2.0, 3.0, 4.0)), (HOSTILE, (0.0, 2.0, 1.0, 3.0, 4.0))):
        names = [aug.replace("0.5", "2") if teacher == HOSTILE else aug for aug in AUGS]
        batches = {aug: level + images + 0.1 * draw.normal(size=20) for aug, level in zip(names, levels, strict=True)}
        paths.append(str(scores_of(batches, teacher).write(folder / f"{len(paths)}.json")))
    return paths[0], paths[1]


@pytest.fixture(scope="module")
def comparison(files: tuple[str, str]) -> Comparison:
    return dametric.compare(*files)


def test_the_page_says_the_answer_and_every_number_and_loads_nothing(
    comparison: Comparison, files: tuple[str, str], tmp_path: Path
) -> None:
    dametric.report(comparison, tmp_path / "page.html", quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    places = [page.text.index(line) for line in (*comparison.answer, "Ranks in both", "How each number was made")]
    assert places == sorted(places)
    heads = next(row for row in page.rows if row and row[0][0] == "Augmentation")
    for pair in comparison.pairs:
        row = {head: cell for (head, _), cell in zip(heads, page.row(pair.aug), strict=True)}
        assert row["In b"][0] == ("–" if pair.aug == pair.other else "cutmix:alpha=2")
        assert (row["Rank in a"][0], row["Rank in b"][0]) == tuple(map(str, pair.ranks))
        shown = {"a": pair.values[0], "b": pair.values[1], "b - a": pair.difference.value}
        shown |= {"low": pair.difference.low, "high": pair.difference.high, "Gained": pair.change}
        for name, value in shown.items():
            assert float(row[name][1]) == value, name
    (picture,) = [tags for tag, tags in page.tags if tag == "img"]
    kind, _, content = picture["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(content)).tag.endswith("svg")
    assert "flip 2 and 3" in picture["alt"]
    assert not [tags for _, tags in page.tags if tags.get("src", "data:").partition(":")[0] != "data"]
    assert sum(tag == "script" for tag, _ in page.tags) == 1, "names are words, no markup"
    assert all(path in page.text for path in files)
    assert f"dametric.compare({files[0]!r}, {files[1]!r}, metric='t_stddev')" in page.text


def test_markdown_has_the_same_with_its_picture_beside_it(comparison: Comparison, tmp_path: Path) -> None:
    dametric.report(comparison, tmp_path / "page.md", quiet=True)
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "price$\\_\\{1\\}$\\|\\`b\\`" in text
    assert "](page-figures/ranks.svg)" in text
    data = pd.read_csv(tmp_path / "page-figures" / "ranks.csv")
    assert data["difference"].tolist() == pytest.approx([pair.difference.value for pair in comparison.pairs])
    assert (tmp_path / "page-figures" / "ranks.svg").read_bytes().startswith(b"<?xml")


def test_what_is_of_students_is_refused(comparison: Comparison) -> None:
    for given, name in (({"only": "temperature=4"}, "only"), ({"runs": "runs"}, "runs")):
        with pytest.raises(UsageError, match=f"{name}: of scores with students, not of two score files"):
            dametric.report(comparison, quiet=True, **given)
