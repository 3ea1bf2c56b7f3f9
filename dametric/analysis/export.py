"""Every coefficient of an analysis as rows, and as a LaTeX table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dametric.analysis.document import Analysis
from dametric.analysis.numbers import p_value

_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def coefficients(analysis: Analysis) -> pd.DataFrame:
    """Every coefficient as a row: which block it belongs to, and its adjusted p-value."""
    rows: list[dict[str, Any]] = []
    for entry in analysis.confirmatory:
        about = {"unit": "all", "metric": entry.metric, "endpoint": "test_loss", "coefficient": "kendall"}
        adjusted = {"p_adjusted": entry.p_holm, "p_families": entry.families.p_holm}
        least = {"p_families_least": entry.families.floor}
        rows.append({"block": "confirmatory", **about, **entry.result.to_dict(), **adjusted, **least})
    for test in analysis.exploratory:
        about = {"unit": "all", "metric": test.metric, "endpoint": test.endpoint, "coefficient": test.coefficient}
        rows.append({"block": "exploratory", **about, **test.result.to_dict(), "p_adjusted": test.p_bh})
    for unit, metrics in analysis.units.items():
        for metric, described in metrics.items():
            for endpoint, coefficients in described.coefficients:
                for name, result in coefficients:
                    about = {"unit": unit, "metric": metric, "endpoint": endpoint, "coefficient": name}
                    rows.append({"block": "unit (exploratory)", **about, **result.to_dict(), "p_adjusted": None})
    return pd.DataFrame(rows)


def latex(analysis: Analysis) -> str:
    """The units' coefficients with the test loss as a LaTeX table (booktabs)."""
    rows = []
    for unit, metrics in analysis.units.items():
        for metric, about in metrics.items():
            coefficients = about.coefficients.loss
            values = {name.title() if name != "weighted" else name: result.statistic for name, result in coefficients}
            names = {"unit": _escaped(unit), "metric": _escaped(metric)}
            rows.append({**names, **values, "p (Kendall)": p_value(coefficients.kendall.pvalue)})
    return pd.DataFrame(rows).to_latex(index=False, escape=False, float_format="%.4f")


def _escaped(name: str) -> str:
    """A name as LaTeX prints it, with an arrow for "->"."""
    plain = ("".join(_LATEX.get(letter, letter) for letter in part) for part in name.split("->"))
    return r"$\to$".join(plain)
