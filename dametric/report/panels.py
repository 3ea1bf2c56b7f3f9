"""The figures of a report: each a few panels that draw themselves on an Axes, with words for who cannot see them."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import MarkerStyle
from matplotlib.path import Path as Outline
from matplotlib.ticker import MaxNLocator

from dametric import stats

# Okabe & Ito's palette without its yellow, which is too pale on white; shapes differ too, so colour never stands alone.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#333333")
SHAPES = "osD^vP*X<>"
LINE, GREY = "#0072B2", "#777777"
WORD = {"pearson": "Pearson", "spearman": "Spearman", "kendall": "Kendall"}

Mark = tuple[str, str]
Draw = Callable[[Axes], Axes]


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes
    ----------
    alt : str
        What it shows, for who cannot see it.
    draw : callable
        Takes an Axes, draws on it and returns it.
    size : tuple of float
        Width and height in inches.
    """

    alt: str
    draw: Draw
    size: tuple[float, float] = (4.2, 3.7)


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes
    ----------
    key : str
        Short name, for anchors and file names.
    title, note : str
        What it is, and how to read it.
    panels : tuple of Panel
    data : pandas.DataFrame
        What is drawn, as numbers.
    marks : mapping of str to (shape, colour)
        Legend that all panels share; empty where there is none.
    """

    key: str
    title: str
    note: str
    panels: tuple[Panel, ...]
    data: pd.DataFrame
    marks: Mapping[str, Mark]

    @property
    def csv(self) -> str:
        """The data as CSV text."""
        return str(self.data.to_csv(index=False, lineterminator="\n"))


@contextmanager
def style() -> Iterator[None]:
    """Settings for names that are not ours: dollar signs are no formulas, unknown letters are no warnings."""
    settings: dict[Any, Any] = {"text.parse_math": False, "svg.fonttype": "path", "font.size": 9.0}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def marks_of(augs: Sequence[str]) -> dict[str, Mark]:
    """A shape and a colour for every augmentation; no two are alike for the first seventy."""
    names = dict.fromkeys(augs)
    return {
        name: (SHAPES[(place + place // 70) % len(SHAPES)], COLOURS[place % len(COLOURS)])
        for place, name in enumerate(names)
    }


def inline_svg(panel: Panel, key: str) -> Markup:
    """The panel as an SVG element for a page that holds several.

    Parameters
    ----------
    panel : Panel
    key : str
        Stands before every id, so that no two figures of a page share one.

    Returns
    -------
    Markup
        Without prolog, metadata and style sheet; scales with its box; carries the alternative text.
    """
    with style(), matplotlib.rc_context({"svg.hashsalt": key}):
        figure = Figure(figsize=panel.size, layout="constrained")
        panel.draw(figure.subplots())
        buffer = BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    box = re.search(r'viewBox="([-0-9. ]+)"', text)
    assert box is not None
    body = text[text.index(">", text.index("<svg")) + 1 :]
    for part in (r"<!--.*?-->", r"<metadata>.*?</metadata>", r"<style.*?</style>"):
        body = re.sub(part, "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{key}-', body)
    body = re.sub(r'\b(?:xlink:)?href="#', f'href="#{key}-', body).replace("url(#", f"url(#{key}-")
    body = re.sub(r"\n\s*", "\n", body)
    opening = f'<svg class="chart" role="img" viewBox="{box[1]}" aria-label="{escape(panel.alt)}">'
    return Markup(opening + body)  # of matplotlib's own making: it escapes the text in it


def key_svg(mark: Mark) -> Markup:
    """The symbol of a legend as a small SVG element; the name beside it says what it stands for."""
    shape = MarkerStyle(mark[0])
    path = shape.get_path().transformed(shape.get_transform())
    steps = []
    for points, code in path.iter_segments():
        letter = {Outline.MOVETO: "M", Outline.LINETO: "L", Outline.CURVE3: "Q", Outline.CURVE4: "C"}.get(code, "Z")
        steps.append(letter + (" ".join(f"{value:.3f}" for value in points) if letter != "Z" else ""))
    size = 'viewBox="-0.7 -0.7 1.4 1.4" width="14" height="14" aria-hidden="true"'
    return Markup(f'<svg {size}><path transform="scale(1,-1)" fill="{mark[1]}" d="{"".join(steps)}"/></svg>')


def pages(chart: Chart, per_page: int = 6) -> Iterator[Figure]:
    """The chart as figures of a landscape A4 page each, at most ``per_page`` panels on one."""
    for start in range(0, len(chart.panels), per_page):
        part = chart.panels[start : start + per_page]
        columns = min(3, len(part))
        with style():
            figure = Figure(figsize=(11.69, 8.27), layout="constrained")
            grid = figure.subplots(math.ceil(len(part) / columns), columns, squeeze=False).ravel()
            for axes, panel in zip(grid, part, strict=False):
                panel.draw(axes)
            for axes in grid[len(part) :]:
                axes.set_axis_off()
            figure.suptitle(chart.title, x=0.02, ha="left", fontsize="large")
            if chart.marks:
                handles = [
                    Line2D([], [], linestyle="none", marker=shape, color=colour, label=name)
                    for name, (shape, colour) in chart.marks.items()
                ]
                figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize="small")
        yield figure


def _short(name: str, width: int = 46) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def _value(value: float | None, digits: int = 2) -> str:
    return "not defined" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def _finish(axes: Axes) -> Axes:
    axes.grid(color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def scatter(frame: pd.DataFrame, found: Mapping[str, Any], metric: str) -> Chart:
    """Score against the students' test loss, one panel a unit, with the line and its band.

    Parameters
    ----------
    frame : pandas.DataFrame
        From :func:`dametric.stats.joined.prepare`.
    found : mapping
        What :func:`dametric.stats.analyse` said of it.
    metric : str

    Returns
    -------
    Chart
    """
    rows = frame[frame["metric"] == metric]
    marks = marks_of(list(rows["aug"]))
    confidence = found["settings"]["confidence"]
    panels = []
    for unit, part in rows.groupby("unit", sort=False):
        results = found["units"][str(unit)][metric]["coefficients"]["test_loss"]
        panels.append(_scatter_panel(str(unit), part, results, marks, confidence))
    known = rows[["score_se", "test_loss_se"]].notna().any()
    bars = " and ".join(word for word, has in zip(("score", "loss"), known, strict=True) if has)
    errors = f"Bars: ± one standard error of the {bars}. " if bars else "No standard errors are known. "
    note = (
        f"{errors}Line: least squares, with its {confidence:.0%} confidence band (HC3). p-values are two-sided"
        " permutation p-values. A point that lies off the line was misjudged by the score."
    )
    columns = ["unit", "metric", "aug", "score", "score_se", "test_loss", "test_loss_se", "test_top1", "test_top1_se"]
    title = f"{metric} and the students' test loss"
    return Chart("scatter", title, note, tuple(panels), frame[[*columns, "seeds"]], marks)


def _scatter_panel(
    unit: str, rows: pd.DataFrame, results: Mapping[str, Any], marks: Mapping[str, Mark], confidence: float
) -> Panel:
    values = ", ".join(f"{word} {_value(results[name]['statistic'], 4)}" for name, word in WORD.items())
    chances = ", ".join(_p(results[name]["pvalue"]) for name in WORD)
    metric = str(rows["metric"].iloc[0])

    def draw(axes: Axes) -> Axes:
        for row in rows.to_dict("records"):
            shape, colour = marks[row["aug"]]
            x_error, y_error = (0.0 if math.isnan(row[name]) else row[name] for name in ("score_se", "test_loss_se"))
            axes.errorbar(
                row["score"],
                row["test_loss"],
                xerr=x_error or None,
                yerr=y_error or None,
                fmt=shape,
                color=colour,
                ecolor="#999999",
                elinewidth=1,
                markersize=6.5,
                zorder=3,
            )
        axes.margins(0.08)
        axes.set_ylim(axes.get_ylim())  # the band may be far wider than the points
        axes.set_xlim(axes.get_xlim())
        at = np.linspace(*axes.get_xlim(), 60)
        middle, low, high = stats.ols(rows["score"], rows["test_loss"], confidence=confidence).band(at, confidence)
        if np.isfinite(middle).all():
            axes.plot(at, middle, color=LINE, linewidth=1.4, zorder=2)
        if np.isfinite(low).all():
            axes.fill_between(at, low, high, color=LINE, alpha=0.13, linewidth=0, zorder=1)
        axes.set_title(f"{_short(unit)}\n{values}\np = {chances}", fontsize="small", loc="left")
        axes.set_xlabel(f"{metric} of the teacher")
        axes.set_ylabel("student's test loss (nats)")
        axes.locator_params(axis="x", nbins=5)
        return _finish(axes)

    order = list(rows.sort_values("test_loss")["aug"])
    alt = (
        f"Scatter plot for {unit}: {metric} against test loss of {len(rows)} augmentations. {values};"
        f" p = {chances}. Lowest loss: {order[0]}; highest: {order[-1]}."
    )
    return Panel(alt, draw)


def forest(found: Mapping[str, Any], metric: str) -> Chart:
    """Kendall's and Pearson's coefficient of every unit with its interval, and over all units.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.
    metric : str

    Returns
    -------
    Chart
    """
    data = pd.DataFrame(forest_rows(found, metric))
    panels = [
        _forest_panel(data[data["coefficient"] == name], f"{WORD[name]}, {metric} and test loss")
        for name in ("kendall", "pearson")
    ]
    note = (
        "Point and interval for each unit (Kendall: jackknife, rough; Pearson: Fisher's z). The diamond is over all"
        " units: for Kendall their mean, which is tested by permuting the labels of the augmentations jointly and has"
        " no interval; for Pearson the random-effects mean. Intervals that hold 0 say nothing about the direction."
    )
    return Chart("forest", "Correlation in each unit and over all", note, tuple(panels), data, {})


def forest_rows(found: Mapping[str, Any], metric: str) -> list[dict[str, Any]]:
    """Coefficient, interval and p-value of each unit and of all, with the signs that the measured values have."""
    rows: list[dict[str, Any]] = []
    sign = -1 if found["metrics"][metric] == "higher" else 1
    for name in ("kendall", "pearson"):
        for unit, metrics in found["units"].items():
            if metric in metrics:
                result = metrics[metric]["coefficients"]["test_loss"][name]
                rows.append({"coefficient": name, "unit": unit, "pooled": False, **_numbers(result)})
        if metric in found["pooling"]:
            pooled = found["pooling"][metric]
            test = pooled["coefficients"][name]
            shown = test if name == "kendall" else pooled["random_effects"]["pearson"]["mean"]
            values = _numbers(shown, sign) | {"p": test["pvalue"]}
            rows.append({"coefficient": name, "unit": "all units", "pooled": True, **values})
    return rows


def _numbers(result: Mapping[str, Any], sign: int = 1) -> dict[str, float | None]:
    low, high = result["low"], result["high"]
    if sign < 0:
        low, high = (None if value is None else -value for value in (high, low))
    value = result["statistic"]
    return {"value": value if value is None else sign * value, "low": low, "high": high, "p": result["pvalue"]}


def _forest_panel(rows: pd.DataFrame, title: str) -> Panel:
    table = rows.reset_index(drop=True)

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(table.to_dict("records")):
            shape, colour, size = ("D", COLOURS[1], 9) if row["pooled"] else ("o", LINE, 6)
            if pd.notna(row["low"]) and pd.notna(row["high"]):
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.6)
            if pd.notna(row["value"]):
                axes.plot(row["value"], place, marker=shape, color=colour, markersize=size, linestyle="none")
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
        _rows_on(axes, list(table["unit"]))
        axes.set_xlim(-1.05, 1.05)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_title(title, fontsize="small", loc="left")
        return _finish(axes)

    said = "; ".join(
        f"{row['unit']} {_plain(row['value'])}"
        + (f" ({_plain(row['low'])} to {_plain(row['high'])})" if pd.notna(row["low"]) else "")
        for row in table.to_dict("records")
    )
    return Panel(f"Forest plot, {title}: {said}.", draw, (4.6, 1.3 + 0.25 * len(table)))


def _plain(value: float | None) -> str:
    return "not defined" if pd.isna(value) or value is None else f"{value:.2f}"


def _rows_on(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [_short(name, 34) for name in names], fontsize="small")
    axes.set_ylim(len(names) - 0.4, -0.6)


def influence(found: Mapping[str, Any], metric: str) -> Chart:
    """How far tau-b moves when one augmentation, or one family of them, is left out.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.
    metric : str

    Returns
    -------
    Chart
    """
    rows = []
    for unit, metrics in found["units"].items():
        if metric not in metrics:
            continue
        for by, ranges in metrics[metric]["influence"]["kendall"].items():
            known = {name: value for name, value in ranges["values"].items() if value is not None}
            ends = {"lowest_without": min(known, key=known.__getitem__) if known else None}
            rows.append({"unit": unit, "left_out": by, **{k: ranges[k] for k in ("full", "low", "high")}, **ends})
    data = pd.DataFrame(rows)
    note = (
        "The bar spans the values that Kendall's tau-b takes when one part is left out; the dot is the value with"
        " everything. A bar that reaches 0 means that the correlation hangs on one part alone."
    )
    words = {"aug": "one augmentation left out", "family": "one family left out"}
    panels = tuple(_range_panel(data[data["left_out"] == by], f"tau-b, {word}") for by, word in words.items())
    return Chart("influence", "What the correlation hangs on", note, panels, data, {})


def _range_panel(rows: pd.DataFrame, title: str) -> Panel:
    table = rows.reset_index(drop=True)

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(table.to_dict("records")):
            if pd.notna(row["low"]):
                axes.plot([row["low"], row["high"]], [place, place], color=COLOURS[5], linewidth=6, alpha=0.7)
            if pd.notna(row["full"]):
                axes.plot(row["full"], place, marker="o", color=LINE, markersize=6)
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
        _rows_on(axes, list(table["unit"]))
        axes.set_xlim(-1.05, 1.05)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_title(title, fontsize="small", loc="left")
        return _finish(axes)

    said = "; ".join(
        f"{row['unit']} {_plain(row['full'])}, from {_plain(row['low'])} (without {row['lowest_without']})"
        f" to {_plain(row['high'])}"
        for row in table.to_dict("records")
    )
    return Panel(f"Ranges of {title}: {said}.", draw, (4.6, 1.3 + 0.25 * len(table)))


def metrics_rows(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every metric's tau-b with the test loss, best first in the direction that was stated for it.

    Returns
    -------
    list of dict
        ``metric, direction, confirmatory, tau_b`` (as measured), ``low, high, p, p_adjusted, turned`` (tau-b turned
        so that a good metric is positive; as measured where no direction was stated).
    """
    rows = []
    listed = [("confirmatory", entry) for entry in found["confirmatory"]]
    listed += [
        ("exploratory", entry)
        for entry in found["exploratory"]["rows"]
        if (entry["endpoint"], entry["coefficient"]) == ("test_loss", "kendall")
    ]
    for block, entry in listed:
        numbers, metric = _numbers(entry["result"]), entry["metric"]
        direction = found["metrics"][metric]
        about = {"metric": metric, "direction": direction, "confirmatory": block == "confirmatory"}
        about |= {"tau_b": numbers.pop("value")} | numbers
        tau = entry["result"]["statistic"]
        turned = tau if tau is None or direction != "higher" else -tau
        rows.append({**about, "p_adjusted": entry.get("p_holm", entry.get("p_bh")), "turned": turned})
    return sorted(rows, key=lambda row: -math.inf if row["turned"] is None else row["turned"], reverse=True)


def metrics_chart(found: Mapping[str, Any]) -> Chart:
    """Kendall's tau-b of every metric, those that were fixed in advance marked.

    Parameters
    ----------
    found : mapping
        From :func:`dametric.stats.analyse`.

    Returns
    -------
    Chart
    """
    data = pd.DataFrame(metrics_rows(found))

    def draw(axes: Axes) -> Axes:
        for place, row in enumerate(data.to_dict("records")):
            ends = (row["low"], row["high"]) if row["direction"] != "higher" else (row["high"], row["low"])
            turn = -1 if row["direction"] == "higher" else 1
            colour = COLOURS[1] if row["confirmatory"] else LINE
            if pd.notna(row["low"]) and pd.notna(row["high"]):
                axes.plot([turn * end for end in ends], [place, place], color=colour, linewidth=1.6)
            if pd.notna(row["turned"]):
                shape = "D" if row["confirmatory"] else "o"
                face = colour if row["direction"] != "open" else "white"
                axes.plot(row["turned"], place, marker=shape, color=colour, markerfacecolor=face, markersize=7)
        axes.axvline(0, color=GREY, linewidth=1, linestyle="--")
        _rows_on(axes, list(data["metric"]))
        axes.set_xlim(-1.05, 1.05)
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_xlabel("Kendall's tau-b with the test loss, in the stated direction")
        return _finish(axes)

    said = "; ".join(
        f"{row['metric']} {_plain(row['turned'])}{' (fixed in advance)' if row['confirmatory'] else ''}"
        for row in data.to_dict("records")
    )
    note = (
        "Diamonds: metrics that were fixed in advance; circles: exploratory. Hollow: no direction was stated for the"
        " metric, so the sign is as measured. Everywhere else a positive value is as stated. The intervals of single"
        " units are rough (jackknife)."
    )
    panel = Panel(f"Kendall's tau-b of each metric: {said}.", draw, (4.6, 1.4 + 0.25 * len(data)))
    return Chart("metrics", "Metrics compared", note, (panel,), data, {})


def regret(frame: pd.DataFrame, found: Mapping[str, Any], metric: str) -> Chart:
    """What is lost by training only the k augmentations with the best scores, beside k taken at random.

    Parameters
    ----------
    frame : pandas.DataFrame
        From :func:`dametric.stats.joined.prepare`.
    found : mapping
        From :func:`dametric.stats.analyse`.
    metric : str

    Returns
    -------
    Chart
    """
    parts = []
    for unit, rows in frame[frame["metric"] == metric].groupby("unit", sort=False):
        curve = pd.DataFrame(found["units"][str(unit)][metric]["regret"])
        top1 = rows["test_top1"] if rows["test_top1"].notna().all() else None
        chance = stats.regret_curve(np.zeros(len(rows)), rows["test_loss"], accuracy=top1)  # all orders are alike
        extra = {"random_loss": chance["loss"].to_numpy(), "random_points": chance["points"].to_numpy()}
        parts.append(curve.assign(unit=str(unit), **extra))
    data = pd.concat(parts, ignore_index=True)
    numbers = [name for name in data if name not in ("unit", "k")]
    data = data.astype(dict.fromkeys(numbers, float))[["unit", "k", *numbers]]
    panels = [_regret_panel(data, "loss", "test loss above the best (nats)")]
    if data["points"].notna().any():
        panels.append(_regret_panel(data.dropna(subset="points"), "points", "accuracy below the best (percent points)"))
    note = (
        "Train the k augmentations with the best scores and keep the best student: how far it is from the best of all."
        " Solid: by score; dashed: k taken at random. 0 is the best that can be had."
    )
    return Chart("regret", "What it costs to trust the score", note, tuple(panels), data, {})


def _regret_panel(data: pd.DataFrame, name: str, label: str) -> Panel:
    mean = data.groupby("k")[[name, f"random_{name}"]].mean()
    units = data["unit"].nunique()
    of = f"mean of {units} units" if units > 1 else "by score"

    def draw(axes: Axes) -> Axes:
        if units > 1:
            for _, part in data.groupby("unit", sort=False):
                axes.plot(part["k"], part[name], color="#AAAAAA", linewidth=0.8, zorder=1)
            axes.plot([], [], color="#AAAAAA", linewidth=0.8, label="each unit")
        axes.plot(mean.index, mean[name], color=LINE, marker="o", markersize=5, label=of, zorder=3)
        axes.plot(
            mean.index, mean[f"random_{name}"], color=COLOURS[1], marker="s", markersize=4, ls="--", label="at random"
        )
        axes.set_xlabel("k, augmentations that are trained")
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(frameon=False, fontsize="small")
        return _finish(axes)

    said = "; ".join(
        f"k = {k}: {row[name]:.3g} (at random {row[f'random_{name}']:.3g})" for k, row in mean.head(4).iterrows()
    )
    return Panel(f"Regret curve, {label}, {of}: {said}.", draw, (4.6, 3.4))
