"""What a section of a report is made of: panels that draw themselves on an Axes, with words for who cannot see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd
from matplotlib.axes import Axes

from dametric.base.spreadsheet import csv_text
from dametric.reports.cells import Table
from dametric.reports.drawing import Mark

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
    """A section of a report: a figure with its data, the tables that belong to it, or both.

    Attributes
    ----------
    key : str
        Short name, for anchors and file names.
    title, note : str
        What it is, and how to read it.
    panels : tuple of Panel
        Empty where there are only tables.
    data : pandas.DataFrame
        What is drawn, as numbers.
    marks : mapping of str to (shape, colour)
        Legend that all panels share; empty where there is none.
    tables : tuple of Table
    """

    key: str
    title: str
    note: str
    panels: tuple[Panel, ...] = ()
    data: pd.DataFrame = field(default_factory=pd.DataFrame)
    marks: Mapping[str, Mark] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()

    @property
    def alt(self) -> str:
        """What all panels show, for who cannot see them."""
        return " ".join(panel.alt for panel in self.panels)

    @property
    def csv(self) -> str:
        """The data as CSV text."""
        return csv_text(self.data)
