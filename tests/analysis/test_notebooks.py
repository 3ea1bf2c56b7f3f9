"""The notebooks: in step with their scripts, executed without an error, and to the conclusions of the commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dametric

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "analysis").glob("*.py"))
FIGURES = {
    "01_score_a_teacher": 3,
    "02_choose": 2,
    "03_correlation_report": 9,
    "04_published_figures": 5,
    "05_what_the_metric_measures": 4,
    "06_study_cifar100": 3,
}
"""Notebooks, and how many figures each has at least."""
TRAINED = {"01_score_a_teacher", "02_choose", "05_what_the_metric_measures"}
"""Those that train networks, whose numbers differ between machines."""
MOST_BYTES = 200_000
DEMO = ROOT / "experiments" / "results" / "digits" / "demo"


def cells_of(script: str) -> list[tuple[str, str]]:
    """Kind and source of every cell of the percent format, by its plain rules."""
    _, _, body = script.partition("# ---\n")[2].partition("# ---\n")
    cells = []
    for part in ("\n" + body).split("\n# %%")[1:]:
        head, _, rest = part.partition("\n")
        lines = rest.strip("\n").split("\n")
        if "[markdown]" in head:
            cells.append(("markdown", "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)))
        else:
            cells.append(("code", "\n".join(line.removeprefix("# ") if "# %" in line else line for line in lines)))
    return cells


def book_of(source: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(source.with_suffix(".ipynb").read_text(encoding="utf-8"))
    return found


def said(cells: list[dict[str, Any]]) -> str:
    """All texts that the cells put out."""
    parts = []
    for cell in cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for text in (output.get("text"), data.get("text/markdown"), data.get("text/plain")):
                parts.append(text if isinstance(text, str) else "".join(text or []))
    return "\n".join(parts)


def test_there_are_notebooks() -> None:
    assert [source.stem for source in SOURCES] == list(FIGURES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebook_and_script_are_in_step(source: Path) -> None:
    book = [(cell["cell_type"], "".join(cell["source"])) for cell in book_of(source)["cells"]]
    assert book == cells_of(source.read_text(encoding="utf-8")), "run make notebooks"


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_every_cell_was_executed_in_order_without_an_error(source: Path) -> None:
    code = [cell for cell in book_of(source)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    kinds = [output["output_type"] for cell in code for output in cell["outputs"]]
    assert "error" not in kinds
    assert not any(output.get("name") == "stderr" for cell in code for output in cell["outputs"])
    drawn = sum("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"])
    assert drawn >= FIGURES[source.stem]
    assert source.with_suffix(".ipynb").stat().st_size < MOST_BYTES


def test_the_conclusions_are_those_of_the_commands() -> None:
    text = said(book_of(ROOT / "analysis" / "03_correlation_report.py")["cells"])
    for found in (dametric.correlate(DEMO / "scores.json", DEMO / "runs"), dametric.correlate(published=True)):
        assert found.verdict
        for sentence in found.verdict:
            assert f"* {sentence}" in text


@pytest.mark.parametrize(
    "source",
    [pytest.param(each, marks=[pytest.mark.slow] * (each.stem in TRAINED), id=each.stem) for each in SOURCES],
)
def test_executing_it_says_the_same(source: Path) -> None:
    for name in ("jupytext", "nbclient", "ipykernel"):
        pytest.importorskip(name, reason="needs the extra 'notebooks': pip install 'dametric[notebooks]'")
    from experiments.notebooks import executed, text_of

    again = json.loads(text_of(executed(source)))
    if source.stem not in TRAINED:
        assert said(again["cells"]) == said(book_of(source)["cells"])
