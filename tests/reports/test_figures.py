"""Figures: what is drawn is what was scored."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

from dametric.records.scores import Scores
from dametric.reports.figures import BEST, OTHER, TIED, grid_figure, render, score_chart, score_figure
from tests.loops import each

VALUES = {"cutmix": (0.10, 0.09, 0.12), "mixup": (0.11, 0.07, 0.14), "identity": (0.2, 0.195, 0.205)}
MARKERS = {BEST.lower(): "D", TIED.lower(): "o", OTHER.lower(): "s"}


def scores_of(names: dict[str, tuple[float, float, float]], tied: tuple[bool, ...]) -> Scores:
    rows: list[dict[str, Any]] = []
    for (name, (value, low, high)), same in zip(names.items(), tied, strict=True):
        first = {"value": value, "se": (high - low) / 4, "low": low, "high": high, "direction": "lower"}
        other = {"value": 1 + value, "se": 0.5, "low": value, "high": 3.0, "direction": "higher"}
        rows.append(
            {
                "aug": name,
                "metrics": {"t_stddev": first, "t_entropy": other, "ce_std": {**other, "direction": "open"}},
                "difference": {"to": "cutmix", "value": 0.0, "se": 0.0, "low": 0.0, "high": 0.0},
                "tied_with_best": same,
                "parameters": [],
                "rows": 1280,
            }
        )
    config = {"metrics": ["t_stddev", "t_entropy", "ce_std"], "batches": 20, "b": 64, "seed": 7}
    return Scores(rows, {**config, "data": {"name": "digits"}, "teacher": {"arch": "resnet8"}}, {})


@pytest.fixture
def scores() -> Scores:
    return scores_of(VALUES, (True, True, False))


@pytest.fixture
def axes() -> Axes:
    return Figure().subplots()


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_the_chart_is_drawn_on_the_axes_given_and_given_back(scores: Scores, axes: Axes) -> None:
    assert score_chart(scores, axes) is axes


def test_every_row_has_one_marker_at_its_value_with_its_interval(scores: Scores, axes: Axes) -> None:
    score_chart(scores, axes)
    assert len(axes.containers) == 3
    for place, (container, (value, low, high)) in enumerate(zip(axes.containers, VALUES.values(), strict=True)):
        marker, _, (bar,) = container.lines
        assert list(marker.get_xdata()) == [value]
        assert list(marker.get_ydata()) == [place]
        np.testing.assert_allclose(bar.get_segments(), [[[low, place], [high, place]]], rtol=1e-12)


def test_best_tied_and_worse_rows_differ_in_colour_and_in_form(scores: Scores, axes: Axes) -> None:
    score_chart(scores, axes)
    seen = [(to_hex(c.lines[0].get_color()), c.lines[0].get_marker()) for c in axes.containers]
    assert seen == [(colour.lower(), MARKERS[colour.lower()]) for colour in (BEST, TIED, OTHER)]


def test_names_stand_beside_their_rows_with_the_best_on_top(scores: Scores, axes: Axes) -> None:
    score_chart(scores, axes)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(VALUES)
    assert list(axes.get_yticks()) == [0, 1, 2]
    bottom, top = axes.get_ylim()
    assert bottom > top


@pytest.mark.parametrize(
    ("metric", "said"),
    [(None, "t_stddev (lower is better)"), ("t_entropy", "t_entropy (higher is better)"), ("ce_std", "ce_std")],
)
def test_the_axis_says_what_is_measured_and_what_is_better(
    scores: Scores, axes: Axes, metric: str | None, said: str
) -> None:
    score_chart(scores, axes, metric)
    assert axes.get_xlabel() == f"{said}, 95 % interval"
    name = metric or "t_stddev"
    drawn = [float(c.lines[0].get_xdata()[0]) for c in axes.containers]
    assert drawn == [row["metrics"][name]["value"] for row in scores.scores]


@pytest.mark.parametrize(
    ("tied", "expected"),
    [
        ((True, True, False), ["best", "not distinguishable from the best (95 %)", "worse"]),
        ((True, True, True), ["best", "not distinguishable from the best (95 %)"]),
        ((True, False, False), ["best", "worse"]),
        ((True,), ["best"]),
    ],
)
def test_the_legend_names_only_what_is_there(axes: Axes, tied: tuple[bool, ...], expected: list[str]) -> None:
    some = dict(list(VALUES.items())[: len(tied)])
    score_chart(scores_of(some, tied), axes)
    assert legend(axes) == expected


def test_a_value_that_is_not_known_is_left_out_and_the_rest_is_drawn(axes: Axes, tmp_path: Path) -> None:
    """From memory it is NaN, from a file it is None."""
    scores = scores_of({**VALUES, "broken": (math.nan, math.nan, math.nan)}, (True, True, False, False))
    drawn = score_chart(scores, axes)
    assert [label.get_text() for label in drawn.get_yticklabels()] == [*VALUES, "broken"]
    again = score_chart(Scores.read(scores.write(tmp_path / "s.json")), Figure().subplots())
    assert [label.get_text() for label in again.get_yticklabels()] == [*VALUES, "broken"]
    assert float(again.containers[0].lines[0].get_xdata()[0]) == 0.10


def test_the_title_says_what_was_scored(scores: Scores) -> None:
    (axes,) = score_figure(scores).axes
    assert axes.get_title(loc="left") == "resnet8 on digits: 20 batches of 64, seed 7"


@each("count", [1, 9, 30])
def test_nothing_is_cut_off_and_rows_do_not_overlap(count: int) -> None:
    names = {f"cutmixpick:by=student_entropy+own_{i:03d}": (0.1 + i, 0.05 + i, 0.15 + i) for i in range(count)}
    figure = score_figure(scores_of(names, (True,) * count))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    (axes,) = figure.axes
    boxes = [label.get_window_extent(renderer) for label in axes.get_yticklabels()]
    boxes += [text.get_window_extent(renderer) for text in axes.get_legend().get_texts()]
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    labels = sorted(boxes[:count], key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 + 1 for lower, upper in pairwise(labels))


@each("name", ["crop+flip", "./augs.py:größe", "cutmix:alpha=0.5±", "./my_augs.py:a_b", "./$a\\x$.py:f"])
@each("kind", ["png", "svg", "pdf"])
def test_any_name_can_be_drawn_as_it_is(name: str, kind: str) -> None:
    figure = score_figure(scores_of({name: (0.1, 0.05, 0.15)}, (True,)))
    assert render(figure, kind)
    assert figure.axes[0].get_yticklabels()[0].get_text() == name


def test_a_grid_has_a_labelled_row_each_with_exactly_these_pixels() -> None:
    draw = np.random.default_rng(0)
    rows = [(name, draw.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)) for name in ("raw", "cutmix", "flip")]
    figure = grid_figure(rows, "digits: raw and augmented")
    assert figure.get_suptitle() == "digits: raw and augmented"
    assert len(figure.axes) == 12
    for line, (name, images) in enumerate(rows):
        assert figure.axes[4 * line].get_ylabel() == name
        for column, image in enumerate(images):
            np.testing.assert_array_equal(figure.axes[4 * line + column].get_images()[0].get_array(), image)


def test_a_grid_of_grey_images_keeps_black_black() -> None:
    images = np.full((2, 8, 8, 1), 100, dtype=np.uint8)
    figure = grid_figure([("raw", images)], "grey")
    shown = figure.axes[0].get_images()[0]
    assert shown.get_clim() == (0, 255)
    assert shown.get_array().shape == (8, 8)


def test_a_grid_with_rows_of_unequal_length_leaves_cells_empty() -> None:
    images = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    figure = grid_figure([("raw", images), ("short", images[:1])], "unequal")
    assert [len(axes.get_images()) for axes in figure.axes] == [1, 1, 1, 1, 0, 0]


def test_pictures_are_what_their_ending_says(scores: Scores) -> None:
    png, svg, pdf = (render(score_figure(scores), kind) for kind in ("png", "svg", "pdf"))
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert png.endswith(b"IEND\xaeB`\x82")
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")


def test_no_window_is_asked_for(scores: Scores) -> None:
    """Figures are made without pyplot, so that they work without a display and leave nothing open."""
    import matplotlib.pyplot as plt

    score_figure(scores)
    grid_figure([("raw", np.zeros((1, 4, 4, 3), dtype=np.uint8))], "t")
    assert plt.get_fignums() == []


def test_one_wide_interval_does_not_compress_the_others() -> None:
    def limits(widest: float) -> tuple[float, float]:
        rows = []
        for place, half in enumerate((0.01, 0.012, 0.011, widest)):
            value = 1 + 0.02 * place
            metric = {"value": value, "se": half / 2, "low": value - half, "high": value + half, "direction": "lower"}
            rows.append({"aug": f"a{place}", "metrics": {"m": metric}, "tied_with_best": False, "rows": 1})
        axes = Figure().subplots()
        score_chart(Scores(rows, {"metrics": ["m"]}, {}), axes)
        return axes.get_xlim()

    low, high = limits(5.0)
    assert 0.97 < low < 0.99
    assert 1.06 < high < 1.1
    low, high = limits(0.02)
    assert low < 0.99
    assert high > 1.08, "an interval that is not much wider is shown whole"


def test_values_stand_beside_their_rows_and_families_together() -> None:
    names = ("cutmix", "mixup", "cutmix:alpha=2", "identity", "mixup:alpha=2")
    scores = scores_of({name: (0.1 + i, 0.05 + i, 0.15 + i) for i, name in enumerate(names)}, (True,) * 5)
    (axes,) = score_figure(scores).axes
    order = ["cutmix", "cutmix:alpha=2", "mixup", "mixup:alpha=2", "identity"]
    assert [label.get_text() for label in axes.get_yticklabels()] == order
    printed = {text.xy[1]: text.get_text() for text in axes.texts if isinstance(text, Annotation)}
    assert [printed[place] for place in range(5)] == [f"{0.1 + names.index(name):.3f} ± 0.025" for name in order]


@each("count", [2, 9, 22, 60, 80])
def test_no_words_of_the_score_figure_meet_and_it_fits_a_page(count: int) -> None:
    names = {
        f"perspective-{i}-by=teacher": (0.002 + i / 40000, 0.00198 + i / 40000, 0.00203 + i / 40000)
        for i in range(count)
    }
    figure = score_figure(scores_of(names, (True, True) + (False,) * (count - 2)))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    (width, height), renderer = canvas.get_width_height(), canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    shown = [text for text in texts if not text.get_text().startswith("0.") or _inside_axis(text, figure)]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in shown]
    for name, box in boxes:
        assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= -1, name
    for place, (name, box) in enumerate(boxes):
        for other, second in boxes[:place]:
            across = min(box.x1, second.x1) - max(box.x0, second.x0)
            assert across <= 1 or min(box.y1, second.y1) - max(box.y0, second.y0) <= 2, (name, other)
    assert figure.get_figwidth() == 7.0
    assert figure.get_figheight() < 9.0


def _inside_axis(text: Text, figure: Figure) -> bool:
    """Ticks beyond an axis' ends are not drawn."""
    for axes in figure.axes:
        low, high = axes.get_xlim()
        if text in axes.get_xticklabels():
            return bool(low <= text.get_position()[0] <= high)
    return True


def test_strengths_are_drawn_as_a_curve_with_the_best_strength_and_its_interval() -> None:
    figure = score_figure(scores_of_strengths([(0.25, 5.0), (0.5, 2.1), (1, 2.0), (2, 3.0), (4, 6.0)]))
    rows, curve = figure.axes
    assert [label.get_text() for label in rows.get_yticklabels()] == ["mixup:alpha=1", "identity"]
    assert curve.get_xscale() == "log"
    line = next(line for line in curve.get_lines() if len(line.get_xdata()) == 5)
    np.testing.assert_allclose(line.get_xdata(), [0.25, 0.5, 1, 2, 4])
    np.testing.assert_allclose(line.get_ydata(), [5.0, 2.1, 2.0, 3.0, 6.0])
    assert curve.get_title(loc="left") == "mixup:alpha=…\nbest: 1 (0.5 to 1)"
    band = next(patch for patch in curve.patches)
    np.testing.assert_allclose([band.get_x(), band.get_x() + band.get_width()], [0.5, 1])


def scores_of_strengths(points: list[tuple[float, float]], direction: str = "lower") -> Scores:
    """Scores of mixup at these strengths, errors of 0.1, paired differences' of 0.2 with 19 degrees of freedom."""
    values = {f"mixup:alpha={strength}": value for strength, value in points} | {"identity": 9.0}
    rows = []
    for name, value in sorted(values.items(), key=lambda item: item[1] if direction == "lower" else -item[1]):
        metric = {"value": value, "se": 0.1, "low": value - 0.2, "high": value + 0.2, "direction": direction}
        gaps = {
            other: {"value": value - second, "se": 0.2, "low": value - second - 0.4186, "high": value - second + 0.4186}
            for other, second in values.items()
        }
        rows.append({"aug": name, "metrics": {"t_stddev": metric}, "differences": gaps, "rows": 1280})
    return Scores(rows, {"metrics": ["t_stddev"], "batches": 20, "b": 64, "seed": 0}, {})
