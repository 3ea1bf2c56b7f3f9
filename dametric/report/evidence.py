"""The tables behind the verdict: all units together, noise, rivals, and what is left beyond simpler measures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dametric.report.cells import Cell, Table, made_of, number, word
from dametric.report.drawing import WORD
from dametric.report.material import Material

_WORDS = {**WORD, "weighted": "Weighted tau"}
ALL = "all units"


def pooled_table(material: Material) -> Table | None:
    """All units together, for the metric of the answer; None for one unit."""
    pooling = material.found["pooling"].get(material.metric)
    if pooling is None:
        return None
    caption = (
        f"All units together, {material.metric} and the {material.outcome.name}, turned so that a good metric is"
        " positive. p-values permute the labels of the augmentations jointly, unless the row says otherwise"
    )
    columns = ("What", "Value", "low", "high", "p", "More")
    return made_of("pooled", caption, columns, _pooled_rows(pooling, material.found["published_list"]))


def _pooled_rows(pooling: Mapping[str, Any], listed: Mapping[str, Any] | None) -> Iterator[Sequence[Cell]]:
    for name, found in pooling["coefficients"].items():
        yield _row(f"{_WORDS[name]}, mean over units", found)
    yield _row("Pearson, mean of Fisher's z", pooling["fisher"]["pearson"])
    for name, found in pooling["random_effects"].items():
        q = f"Q {found['q']:.1f}, p {found['q_pvalue']:.2g}" if found["q"] is not None else ""
        more = f"I² {100 * found['i2']:.0f} %, τ² {found['tau2']:.3g} (Fisher's z), {q}" if q else found["mean"]["note"]
        yield _row(f"{WORD[name]}, random-effects mean", found["mean"], more)
    for name, found in pooling["concordance"].items():
        yield _row(f"Kendall's W of the {name}", found, "agreement of the units; each unit permuted by itself")
    yield _row("Beyond a fixed list", pooling["incremental"], _beyond(pooling))
    baselines = pooling["baselines"]
    yield _row("One fixed list for all units, tau-b", baselines["fixed_order"], "mean rank of the loss elsewhere")
    yield _row("Lead of the score over that list, tau-b", baselines["lead_over_fixed_order"], "BCa interval")
    if listed is not None:
        more = f"fixed before this study; {listed['augs']} augmentations are on it, one-sided"
        yield _row("List of the published study, tau-b", listed["list"], more)
    yield _row("Score of another teacher, tau-b", baselines["other_unit"])
    for family, tau in pooling["leave_family_out"].items():
        yield _row(f"Without the {family} family, tau-b", {"statistic": tau})
    mixed = pooling["mixed_model"]
    if mixed["slope"] is not None:
        parts = f"variances: augmentations {mixed['aug']:.2g}, slopes {mixed['unit_slope']:.2g}, rest"
        more = f"± {mixed['slope_se']:.2g}; {parts} {mixed['residual']:.2g}" + (mixed["note"] and f"; {mixed['note']}")
        yield _row("Mixed model, standardised slope", {"statistic": mixed["slope"]}, more)
    yield _row("All points as if independent, Pearson", pooling["naive"], "not valid: shown as a warning")


def _beyond(pooling: Mapping[str, Any]) -> str:
    side = "two-sided" if pooling["incremental"]["alternative"] == "two-sided" else "one-sided"
    least = f"{pooling['incremental_floor']:.2g} is the least possible p"
    return f"Pearson's r after double centring; units permuted, {side}, {least}"


def _row(what: str, found: Mapping[str, Any], more: str = "") -> tuple[Cell, ...]:
    values = [number(found.get(name)) for name in ("statistic", "low", "high")]
    return (word(what), *values, number(found.get("pvalue"), ".2g"), word(more or found.get("note", "")))


def noise_table(material: Material) -> Table | None:
    """What the errors of both axes do to the correlation; None where no error is known."""
    names = ("Reliability of the score", "of the loss", "Pearson", "Disattenuated", "low", "high")
    ranks = ("tau-b", "Expected tau-b", "low", "high", "tau-b, noise as ties", "p")
    lines = ("York slope", "±", "Scatter", "Note")
    forms = {"slope": "#.4g", "slope_se": "#.2g", "scale": ".1f"}

    def rows() -> Iterator[Sequence[Cell]]:
        for unit, metrics in material.found["units"].items():
            if material.metric not in metrics:
                continue
            about = metrics[material.metric]
            noise, york = about["noise"], about["york"]
            found = {name: noise[name] or {} for name in noise}
            mine = about["coefficients"]["test_loss"]
            line = {**york, "slope": york["slope"]["statistic"]} if york else dict.fromkeys(forms)
            notes = (found[name].get("note", "") for name in ("disattenuated", "tied_tau"))
            yield (
                word(unit),
                *(number(found[f"reliability_{name}"].get("statistic"), ".2f") for name in ("score", "loss")),
                number(mine["pearson"]["statistic"], ".2f"),
                _within_one(found["disattenuated"].get("statistic")),
                *(number(found["disattenuated"].get(name), ".2f") for name in ("low", "high")),
                number(mine["kendall"]["statistic"], ".2f"),
                *(number(found["expected_tau"].get(name), ".2f") for name in ("statistic", "low", "high")),
                number(found["tied_tau"].get("statistic"), ".2f"),
                number(found["tied_tau"].get("pvalue"), ".2g"),
                *(number(line[name], form) for name, form in forms.items()),
                word("; ".join(filter(None, notes))),
            )

    table = made_of("noise", "The noise of both axes, and what it does", ("Unit", *names, *ranks, *lines), rows())
    return table if any(name.startswith(("Reliability", "of the")) for name in table.columns) else None


def _within_one(value: float | None) -> Cell:
    """A disattenuated correlation; no correlation is above 1 in size, and its interval ends there."""
    cell = number(value, ".2f")
    if value is None or abs(value) <= 1:
        return cell
    return cell._replace(text="above 1" if value > 1 else "below -1")


def williams_table(material: Material) -> Table | None:
    """Williams' test of the first metric against each other one, a row for each unit; None without rivals."""
    comparisons = material.found["comparisons"]
    if not comparisons:
        return None

    def rows() -> Iterator[Sequence[Cell]]:
        for entry in comparisons:
            for unit, found in entry["williams"].items():
                values = (number(found["statistic"], ".2f"), number(found["pvalue"], ".2g"), number(found["n"], "d"))
                yield word(entry["second"]), word(unit), *values, word(found["note"])

    first = comparisons[0]["first"]
    caption = (
        f"Williams' test of the Pearson correlations with the {material.outcome.name}, {first} against each"
        " other metric (t above 0: the first is better); two-sided, of each unit by itself and not adjusted"
    )
    return made_of("williams", caption, ("Against", "Unit", "t", "p", "n", "Note"), rows(), ("Unit",))


def partial_table(material: Material) -> Table | None:
    """Kendall's partial tau given simpler measures; None where none was scored."""
    entries = material.found["partial"]
    if not entries:
        return None

    def rows() -> Iterator[Sequence[Cell]]:
        for entry in entries:
            about = (word(entry["given"]), word(entry["what"]))
            for unit, tau in entry["units"].items():
                if len(entry["units"]) > 1:
                    yield *about, word(unit), number(tau), number(None), word(None)
            found = entry["result"]
            where = ALL if len(entry["units"]) > 1 else next(iter(entry["units"]))
            p = number(found["pvalue"], ".2g")
            yield *about, word(where), number(found["statistic"]), p, word(found["note"])

    caption = (
        "Kendall's partial tau, turned so that a good metric is positive (residuals of ranks permuted, approximate)"
    )
    once = ("Given", "Which is", "Unit")
    return made_of("partial", caption, ("Given", "Which is", "Unit", "Partial tau", "p", "Note"), rows(), once)


def subpools_table(material: Material) -> Table | None:
    """Quantiles of tau-b over sub-pools; None where there are too few augmentations."""
    found = material.found["subpools"]
    if not found:
        return None
    names = ("least", "low", "q1", "median", "q3", "high", "most")

    def rows() -> Iterator[Sequence[Cell]]:
        for row in found:
            if row["of"] == "units" and len(material.found["units"]) == 1:
                continue
            counts = (number(row["size"], "d"), number(row["pools"], "d"), word("yes" if row["all"] else "drawn"))
            values = (number(row[name], ".2f") for name in names)
            yield word(row["of"]), *counts, *values, number(100 * row["positive"], ".0f")

    shown = ("least", "5 %", "25 %", "median", "75 %", "95 %", "most", "above 0 (%)")
    caption = "Kendall's tau-b over sub-pools, mean over units, turned so that a good metric is positive"
    return made_of("subpools", caption, ("Pools of", "Size", "Pools", "All of them", *shown), rows())
