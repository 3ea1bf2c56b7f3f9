"""What `dametric correlate` prints."""

from __future__ import annotations

import math
from typing import Any

from rich.table import Table

from dametric.cli.console import wide_console
from dametric.stats.outcome import outcome_of

FEW = 12  # rows of the exploratory table that are printed; the files have all
UNKNOWN = "–"
WORDS = {"test_top1": "top-1", 1: "+", -1: "-", 0: "?"}


def print_analysis(found: dict[str, Any]) -> None:
    """The confirmatory table, the units, what is exploratory, and the answer in words."""
    console = wide_console()
    console.print(f"primary: {found['primary']}")
    console.print(_confirmatory(found))
    console.print()
    first = found["confirmatory"][0]["metric"]
    console.print(_units(found, first, "test_loss"))
    if found["comparisons"]:
        console.print()
        console.print(_comparisons(found))
    if found["exploratory"]["rows"]:
        console.print()
        console.print(
            "exploratory (two-sided, Benjamini-Hochberg over "
            f"{len(found['exploratory']['rows'])}): nothing of this was fixed in advance"
        )
        console.print(_exploratory(found))
        if len(found["exploratory"]["rows"]) > FEW:
            console.print(f"the {FEW} smallest p-values; --csv and --json have all {len(found['exploratory']['rows'])}")
    for metric, endpoint in _others(found):
        console.print()
        console.print(_units(found, metric, endpoint))
    console.print()
    for sentence in found["verdict"]:
        console.print(f"* {sentence}")


def _word(found: dict[str, Any], endpoint: str) -> str:
    return outcome_of(found).name if endpoint == "test_loss" else WORDS[endpoint]


def _plain_table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    return table


def _confirmatory(found: dict[str, Any]) -> Table:
    names = ("expected", "tau-b", "p", "p (Holm)", "p (families)", "least", "augmentations", "units")
    table = _plain_table(("metric", False), *((name, True) for name in names))
    for entry in found["confirmatory"]:
        result = entry["result"]
        families = (_p(entry["families"]["p_holm"]), _p(entry["families"]["floor"]))
        numbers = (_value(result["statistic"]), _p(result["pvalue"]), _p(entry["p_holm"]), *families)
        counts = (str(result["n"]), str(entry["n_units"]))
        table.add_row(entry["metric"], WORDS[entry["expected"]], *numbers, *counts)
    return table


def _others(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Metrics and endpoints, all but the one that is printed first."""
    first = (found["confirmatory"][0]["metric"], "test_loss")
    pairs = [(metric, endpoint) for endpoint in ("test_loss", "test_top1") for metric in found["metrics"]]
    known = {
        (metric, endpoint)
        for metrics in found["units"].values()
        for metric, about in metrics.items()
        for endpoint, results in about["coefficients"].items()
        if results
    }
    return [pair for pair in pairs if pair in known and pair != first]


def _units(found: dict[str, Any], metric: str, endpoint: str) -> Table:
    """One metric and one endpoint, a row for each unit."""
    names = ["Pearson", "95 %", "Spearman", "Kendall", "p (two-sided)", "weighted", "n"]
    if endpoint == "test_loss":
        names.insert(-1, "regret@1")
    table = _plain_table((f"{metric} and {_word(found, endpoint)}", False), *((name, True) for name in names))
    for unit, metrics in found["units"].items():
        results = metrics.get(metric, {"coefficients": {}})["coefficients"].get(endpoint)
        if not results:
            continue
        pearson, kendall = results["pearson"], results["kendall"]
        regret = [_value(metrics[metric]["regret"][0]["loss"], 4)] if endpoint == "test_loss" else []
        table.add_row(
            unit,
            _value(pearson["statistic"], 4),
            _interval(pearson),
            _value(results["spearman"]["statistic"], 4),
            _value(kendall["statistic"], 4),
            _p(kendall["pvalue"]),
            _value(results["weighted"]["statistic"], 4),
            *regret,
            str(metrics[metric]["n"]),
        )
    return table


def _comparisons(found: dict[str, Any]) -> Table:
    """The first metric against each other one: positive differences are in its favour."""
    entries = found["comparisons"]
    names = ("difference of tau-b", "95 % (BCa)", "p (rank swap)", "p (Holm)", "Williams' t", "p")
    table = _plain_table((f"{entries[0]['first']} against", False), *((name, True) for name in names))
    for entry in entries:
        swap, interval, tests = entry["swap"], entry["bootstrap"], list(entry["williams"].values())
        one = tests[0] if len(tests) == 1 else None  # of several units each has its own: the files have them
        table.add_row(
            entry["second"],
            _value(swap["statistic"]),
            _interval(interval),
            _p(swap["pvalue"]),
            _p(entry["p_holm"]),
            _value(one["statistic"]) if one else "",
            _p(one["pvalue"]) if one else "",
        )
    return table


def _exploratory(found: dict[str, Any]) -> Table:
    names = ("endpoint", "coefficient", "value", "p", "p (BH)")
    table = _plain_table(("metric", False), *((name, name in ("value", "p", "p (BH)")) for name in names))
    entries = sorted(found["exploratory"]["rows"], key=lambda entry: _last(entry["result"]["pvalue"]))
    for entry in entries[:FEW]:
        result = entry["result"]
        table.add_row(
            entry["metric"],
            _word(found, entry["endpoint"]),
            entry["coefficient"],
            _value(result["statistic"]),
            _p(result["pvalue"]),
            _p(entry["p_bh"]),
        )
    return table


def _last(pvalue: float | None) -> float:
    return math.inf if pvalue is None else pvalue


def _interval(result: dict[str, Any]) -> str:
    """An interval, or that there is none: the files say why."""
    if result["low"] is None or result["high"] is None:
        return "none"
    return f"[{result['low']:.2f}, {result['high']:.2f}]"


def _value(value: float | None, digits: int = 2) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.2g}"
