"""Words, figures and tables as blocks that fill pages from top to bottom."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from dametric.report.cells import Table
from dametric.report.chart import Chart
from dametric.report.sheets import draw

A4 = (11.69, 8.27)  # inches, landscape
MARGIN = 0.5
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN
_WIDEST = 34  # letters of a cell before it is wrapped
_LETTER = 0.6  # of the type size: an average letter's width, with room to spare
_BOLD = 1.15  # how much wider bold type is
_LEADING = 1.35
_GAP = 2  # letters between columns
_BELOW = 0.2  # inches between blocks
_TYPE = 8.0  # points
_MANY = 3  # panels in a row


class Block(NamedTuple):
    """Something that needs ``height`` inches of a page, and whether the next one has to be on the same page."""

    height: float
    draw: Callable[[SubFigure], None]
    keep: bool = False


def flow(blocks: Iterable[Block]) -> Iterator[Figure]:
    """Pages with as many blocks on each as fit.

    Parameters
    ----------
    blocks : iterable of Block
        None higher than a page.

    Yields
    ------
    Figure
        Landscape A4.
    """
    page: list[Block] = []
    group: list[Block] = []
    for block in blocks:
        group.append(block)
        if block.keep:
            continue
        if page and _inches(page) + _inches(group) > HEIGHT + 1e-6:
            yield _page(page)
            page = []
        page, group = [*page, *group], []
    if page or group:
        yield _page([*page, *group])


def _inches(blocks: Sequence[Block]) -> float:
    return sum(block.height for block in blocks)


def _page(blocks: Sequence[Block]) -> Figure:
    figure = Figure(figsize=A4, layout="constrained")
    heights = [block.height for block in blocks]
    rest = max(HEIGHT - sum(heights), 0.0)
    ratios = [MARGIN, *heights, rest + MARGIN]
    parts = figure.subfigures(len(ratios), 3, height_ratios=ratios, width_ratios=[MARGIN, WIDTH, MARGIN], squeeze=False)
    for block, part in zip(blocks, parts[1:-1, 1], strict=True):
        block.draw(part)
    return figure


def _line(size: float) -> float:
    """Inches from one line to the next."""
    return size * _LEADING / 72


def words(text: str, size: float = 9.0, *, weight: str = "normal", keep: bool = False) -> Iterator[Block]:
    """A paragraph."""
    lines = textwrap.wrap(text, int(WIDTH * 72 / size / 0.52)) or [""]
    most = int(HEIGHT / _line(size)) - 1
    for start in range(0, len(lines), most):
        part = lines[start : start + most]

        def write(place: SubFigure, part: Sequence[str] = part) -> None:
            place.text(0, 1, "\n".join(part), va="top", fontsize=size, weight=weight, linespacing=_LEADING)

        yield Block(len(part) * _line(size) + 0.05, write, keep)


def figures(chart: Chart) -> Iterator[Block]:
    """The panels of a chart, a row of them a block, and its legend with the last."""
    columns = _MANY if len(chart.panels) > 2 else 2
    ratio = max(panel.size[1] / panel.size[0] for panel in chart.panels)
    for start in range(0, len(chart.panels), columns):
        row = chart.panels[start : start + columns]
        last = start + columns >= len(chart.panels)
        keys = 5 if last else 0
        legend = 0.22 * math.ceil(len(chart.marks) / 5) if last else 0.0
        height = min(WIDTH / (_MANY if columns == _MANY else 2.4) * ratio, HEIGHT - legend - 1)

        def show(place: SubFigure, row: Any = row, keys: int = keys) -> None:
            draw(chart, row, columns, place, keys=keys)

        yield Block(height + legend + _BELOW, show)


def tabular(table: Table) -> Iterator[Block]:
    """A table, cut into parts that fit a page, each with the head; type as small as its width needs."""
    rows = [[_wrapped(cell.text) for cell in row] for row in table.rows]
    head = [_wrapped(name, 14) for name in table.columns]
    widths = [
        max([_BOLD * max(map(len, name)), *(len(line) for row in rows for line in row[place])]) + _GAP
        for place, name in enumerate(head)
    ]
    size = min(_TYPE, WIDTH * 72 / (sum(widths) * _LETTER))
    caption = textwrap.wrap(table.caption, 150)
    above = len(caption) * _line(9) + (_tall(head) + 1.5) * _line(size)
    fit = int((HEIGHT - above - 2 * _BELOW) / _line(size)) - 1
    whole = sum(map(_tall, rows)) <= fit
    limit = fit if whole else max(12, fit // 2)  # so that a long table may begin on a page that has room
    part: list[list[list[str]]] = []
    for row in rows:
        if part and sum(map(_tall, [*part, row])) > limit:
            yield _part(table, caption, head, part, widths, size, above)
            part, limit, caption = [], fit, [f"{textwrap.shorten(table.caption, 130, placeholder=' …')} (continued)"]
        part.append(row)
    yield _part(table, caption, head, part, widths, size, above)


def _wrapped(text: str, width: int = _WIDEST) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), width) or [""]


def _tall(row: Sequence[Sequence[str]]) -> int:
    return max(map(len, row))


def _part(
    table: Table,
    caption: Sequence[str],
    head: Sequence[Sequence[str]],
    rows: Sequence[Sequence[Sequence[str]]],
    widths: Sequence[float],
    size: float,
    above: float,
) -> Block:
    """Each column is one text, whose lines all rows share."""
    height = above + (sum(map(_tall, rows)) + 1) * _line(size) + _BELOW

    def write(place: SubFigure) -> None:
        place.text(0, 1, "\n".join(caption), va="top", fontsize=9, weight="bold", linespacing=_LEADING)
        top = 1 - (len(caption) * _line(9) + 0.5 * _line(size)) / height
        rule = top - (_tall(head) + 0.3) * _line(size) / height
        below, left = rule - 0.35 * _line(size) / height, 0.0
        letter = _LETTER * size / 72 / WIDTH
        for number, width in enumerate(widths):
            side = "right" if table.numeric[number] else "left"
            at = left + (width - _GAP) * letter if table.numeric[number] else left
            name = "\n".join([*[""] * (_tall(head) - len(head[number])), *head[number]])
            lines = [line for row in rows for line in [*row[number], *[""] * (_tall(row) - len(row[number]))]]
            for where, text, weight in ((top, name, "bold"), (below, "\n".join(lines), "normal")):
                options: dict[str, Any] = {"va": "top", "ha": side, "multialignment": side, "weight": weight}
                place.text(at, where, text, fontsize=size, linespacing=_LEADING, **options)
            left += width * letter
        place.add_artist(Line2D([0, min(left, 1)], [rule, rule], color="#777777", transform=place.transSubfigure))

    return Block(height, write)
