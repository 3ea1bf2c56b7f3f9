"""What a figure is made of: panels that draw themselves on an Axes, with words for who cannot see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from dametric.base.spreadsheet import csv_text
from dametric.report.drawing import Mark

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
    def alt(self) -> str:
        """What all panels show, for who cannot see them."""
        return " ".join(panel.alt for panel in self.panels)

    @property
    def csv(self) -> str:
        """The data as CSV text."""
        return csv_text(self.data)
