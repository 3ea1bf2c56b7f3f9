"""What `dametric correlate` and `dametric plan` print."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dametric.analysis import Analysis
    from dametric.stats import Power

FEW = 12  # rows of the exploratory table that are printed; the files have all
SIGNS = {1: "+", -1: "-", 0: "?"}


def print_answer(analysis: Analysis) -> None:
    """The answer, what speaks for and against it, and the regressions."""
    from dametric.cli.console import wide_console

    console = wide_console()
    for sentence in analysis.answer:
        console.print(sentence)
    for sentence in analysis.reasons:
        console.print(f"* {sentence}")
    console.print()
    _print_regressions(analysis)
    console.print(
        f"slope of the {analysis.outcome.name} ({analysis.outcome.unit}) and of the accuracy (fraction) on the score,"
        " ± HC3 standard error; p: tau-b, two-sided permutation; --all prints everything else"
    )


def _print_regressions(analysis: Analysis) -> None:
    from dametric.analysis.numbers import number, p_value, with_error
    from dametric.cli.console import print_table

    several = len(analysis.units) > 1
    outcomes = [(analysis.outcome.short, "loss"), ("accuracy", "top1")]
    table = analysis.table
    outcomes = [(name, key) for name, key in outcomes if table[f"slope_{key}"].notna().any()]
    heads = ["metric", *(["unit"] if several else []), "n"]
    for name, _ in outcomes:
        heads += [f"slope of {name}", "R²", "tau-b", "p"]
    rows = []
    for metric in analysis.metrics:
        for row in table[table["metric"] == metric].to_dict("records"):
            cells = [metric, *([row["unit"]] if several else []), str(row["n"])]
            for _, key in outcomes:
                values = (row[f"r_squared_{key}"], row[f"tau_b_{key}"])
                cells += [with_error(row[f"slope_{key}"], row[f"slope_{key}_se"]), *map(number, values)]
                cells.append(p_value(row[f"p_{key}"]))
            rows.append(cells)
    print_table(heads, rows, left=("unit",))


def print_all(analysis: Analysis) -> None:
    """The confirmatory table, every unit's coefficients, comparisons, and what is exploratory."""
    from dametric.cli.console import wide_console

    console = wide_console()
    console.print(f"\nprimary: {analysis.primary}")
    _print_confirmatory(analysis)
    for metric, endpoint in _pairs(analysis):
        console.print()
        _print_units(analysis, metric, endpoint)
    if analysis.comparisons:
        console.print()
        _print_comparisons(analysis)
    count = len(analysis.exploratory)
    if count:
        fixed = "nothing of this was fixed in advance"
        console.print(f"\nexploratory (two-sided, Benjamini-Hochberg over {count}): {fixed}")
        _print_exploratory(analysis)
        if count > FEW:
            console.print(f"the {FEW} smallest p-values; --csv and --json have all {count}")


def _print_confirmatory(analysis: Analysis) -> None:
    from dametric.analysis.numbers import number, p_value
    from dametric.cli.console import print_table

    heads = ("metric", "expected", "tau-b", "p", "p (Holm)", "p (families)", "least", "augmentations", "units")
    rows = []
    for entry in analysis.confirmatory:
        chances = (entry.result.pvalue, entry.p_holm, entry.families.p_holm, entry.families.floor)
        numbers = (number(entry.result.statistic), *map(p_value, chances))
        rows.append((entry.metric, SIGNS[entry.expected], *numbers, str(entry.result.n), str(entry.n_units)))
    print_table(heads, rows)


def _pairs(analysis: Analysis) -> Iterator[tuple[str, str]]:
    """Metrics and the endpoints that are known, losses first."""
    known = {
        (metric, endpoint)
        for metrics in analysis.units.values()
        for metric, about in metrics.items()
        for endpoint, _ in about.coefficients
    }
    pairs = ((metric, endpoint) for endpoint in ("test_loss", "test_top1") for metric in analysis.metrics)
    return (pair for pair in pairs if pair in known)


def _endpoint(analysis: Analysis, endpoint: str) -> str:
    return analysis.outcome.name if endpoint == "test_loss" else "top-1"


def _print_units(analysis: Analysis, metric: str, endpoint: str) -> None:
    """One metric and one endpoint, a row for each unit."""
    from dametric.analysis.numbers import interval, number, p_value
    from dametric.cli.console import print_table

    heads = [f"{metric} and {_endpoint(analysis, endpoint)}", "Pearson", "95 %", "Spearman", "Kendall"]
    heads += ["p (two-sided)", "weighted", *(["regret@1"] if endpoint == "test_loss" else []), "n"]
    rows = []
    for unit, metrics in analysis.units.items():
        about = metrics.get(metric)
        for found in [found for name, found in about.coefficients if name == endpoint] if about else ():
            first, second = found.pearson, found.kendall
            pearson = (number(first.statistic, ".4f"), interval(first.low, first.high))
            kendall = (number(second.statistic, ".4f"), p_value(second.pvalue))
            ranks = (number(found.spearman.statistic, ".4f"), *kendall, number(found.weighted.statistic, ".4f"))
            regret = [number(about.regret[0].loss, ".4f")] if about and endpoint == "test_loss" else []
            rows.append((unit, *pearson, *ranks, *regret, str(about.n if about else 0)))
    print_table(heads, rows)


def _print_comparisons(analysis: Analysis) -> None:
    """The first metric against each other one: positive differences are in its favour."""
    from dametric.analysis.numbers import interval, number, p_value
    from dametric.cli.console import print_table

    heads = ("difference of tau-b", "95 % (BCa)", "p (rank swap)", "p (Holm)", "Williams' t", "p")
    rows = []
    for entry in analysis.comparisons:
        tests = list(entry.williams.values())
        # of several units each has its own: the files have them
        one = (number(tests[0].statistic), p_value(tests[0].pvalue)) if len(tests) == 1 else ("", "")
        ends = interval(entry.bootstrap.low, entry.bootstrap.high)
        swap = (number(entry.swap.statistic), ends, p_value(entry.swap.pvalue), p_value(entry.p_holm))
        rows.append((entry.second, *swap, *one))
    print_table((f"{analysis.metric} against", *heads), rows)


def _print_exploratory(analysis: Analysis) -> None:
    from dametric.analysis.numbers import number, p_value
    from dametric.cli.console import print_table

    tests = sorted(
        analysis.exploratory, key=lambda test: math.inf if math.isnan(test.result.pvalue) else test.result.pvalue
    )
    rows = []
    for test in tests[:FEW]:
        about = (test.metric, _endpoint(analysis, test.endpoint), test.coefficient)
        rows.append((*about, number(test.result.statistic), p_value(test.result.pvalue), p_value(test.p_bh)))
    left = ("endpoint", "coefficient")
    print_table(("metric", *left, "value", "p", "p (BH)"), rows, left=left)


def print_power(power: Power, detectable: float, at: float, study: str) -> None:
    """What a study of a given size can find out."""
    print(f"{study}; {power.method}, {power.alternative}")
    print(f"power          {power.power:.2f} ± {power.power_se:.2f} (standard error of the simulation)")
    if math.isfinite(detectable):
        print(f"detectable     true correlations from {detectable:.2f} on, with a power of {at:g}")
    print(f"Kendall's tau  {power.tau_mean:.2f} on average over such studies, standard deviation {power.tau_sd:.2f}")
    if math.isfinite(power.tau_critical):
        print(f"significant    from tau {power.tau_critical:.2f} on")
    print(f"reliability    {power.reliability:.2f} of the variance of the mean losses is not seed noise;")
    print(f"               at least 0.90 from {power.seeds_needed} seed{'s' * (power.seeds_needed != 1)} on")
    if power.note:
        print(power.note)
