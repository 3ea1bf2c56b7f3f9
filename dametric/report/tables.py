"""The tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from dametric.report.advice import Advice, recommends
from dametric.report.cells import Cell, Table, error, made_of, number, word
from dametric.report.chart import Chart
from dametric.report.charts.metrics import metrics_rows
from dametric.report.drawing import WORD
from dametric.report.material import Material


def advice_table(material: Material, advice: Sequence[Advice]) -> Table:
    """What to take, a row for each unit."""
    what, unit = "Best score" if recommends(material) else "Take", material.outcome.unit
    names = (what, material.metric, "±", "Not told apart at 95 %", f"Lowest {material.outcome.name}", f"Cost ({unit})")
    extra = ("Cost (seed s.e.)", "Cost (% points)", f"Worst not told apart ({unit})", f"At random ({unit})")

    def rows() -> Iterator[Sequence[Cell]]:
        for one in advice:
            tied = None if one.tied is None else ", ".join(one.tied) or "none"
            costs = (number(one.cost), number(one.seed_errors, ".1f"), number(one.points, ".2f"))
            others = (number(one.tied_cost), number(one.random_cost))
            score = (number(one.score, "#.4g"), error(one.score_se))
            choice = one.choice if one.distilled or not one.choice else f"{one.choice} (not distilled here)"
            yield word(one.unit), word(choice), *score, word(tied), word(one.best), *costs, *others

    caption = "What has the best score in each unit, and what taking it costs"
    return made_of("take", caption, ("Unit", *names, *extra), rows())


def units_table(material: Material) -> Table:
    """Coefficients with the test loss, a row for each unit and metric."""
    names = ("Metric", "Pearson", "low", "high", "p", "Spearman", "p", "Kendall", "p", "Slope", "R²", "Regret@1", "n")

    def rows() -> Iterator[Sequence[Cell]]:
        for unit, metrics in material.found["units"].items():
            for metric, about in metrics.items():
                found, line = about["coefficients"]["test_loss"], about["ols"]
                pearson = (number(found["pearson"][name]) for name in ("statistic", "low", "high"))
                chance = {name: number(found[name]["pvalue"], ".2g") for name in WORD}
                yield (
                    word(unit),
                    word(metric),
                    *pearson,
                    chance["pearson"],
                    number(found["spearman"]["statistic"]),
                    chance["spearman"],
                    number(found["kendall"]["statistic"]),
                    chance["kendall"],
                    number(line["slope"]["statistic"], "#.4g"),
                    number(line["r_squared"], ".2f"),
                    number(about["regret"][0]["loss"]),
                    number(about["n"], "d"),
                )

    caption = (
        f"Correlation with the {material.outcome.name} (last epoch, mean over seeds), two-sided permutation p-values"
    )
    return made_of("units", caption, ("Unit", *names), rows(), ("Unit", "Metric"))


def points_table(material: Material) -> Table:
    """The points of the scatter plots."""
    rows = material.table[material.table["metric"] == material.metric]
    names = ("Unit", material.metric, "±", material.outcome.title, "±", "Top-1", "±", "Seeds", "Cook's distance")

    def cells() -> Iterator[Sequence[Cell]]:
        for row in rows.to_dict("records"):
            line = material.found["units"][row["unit"]][material.metric]["ols"]
            loss = (number(row["test_loss"]), error(row["test_loss_se"]))
            top1 = (number(row["test_top1"]), error(row["test_top1_se"]))
            score = (number(row["score"], "#.4g"), error(row["score_se"]))
            cook = number(line["cook"][row["aug"]], ".2f")
            cook = cook._replace(text=f"{cook.text} (above 4/n)") if row["aug"] in line["flagged"] else cook
            yield word(row["aug"]), word(row["unit"]), *score, *loss, *top1, number(row["seeds"], ".0f"), cook

    caption = "Scores and students, mean over seeds ± standard error"
    return made_of("points", caption, ("Augmentation", *names), cells(), ("Unit",))


def metrics_table(material: Material) -> Table:
    """Kendall's tau-b of each metric, with the tests of the first metric against the others."""
    against = {entry["second"]: entry for entry in material.found["comparisons"]}
    chance = ("p", "p adjusted", "p (families, Holm)")
    names = ("Direction", "Fixed in advance", "tau-b", "low", "high", *chance, "Difference", "p (swap, Holm)")

    def rows() -> Iterator[Sequence[Cell]]:
        for row in metrics_rows(material.found):
            test = against.get(row["metric"])
            gap = (number(test["bootstrap"]["statistic"]), number(test["p_holm"], ".2g")) if test else (word(None),) * 2
            numbers = (number(row[name]) for name in ("tau_b", "low", "high"))
            chances = (number(row[name], ".2g") for name in ("p", "p_adjusted", "p_families"))
            fixed = word("yes" if row["confirmatory"] else "no, exploratory")
            yield word(row["metric"]), word(row["direction"]), fixed, *numbers, *chances, *gap

    first = material.found["comparisons"][0]["first"] if against else material.metric
    caption = (
        f"Kendall's tau-b with the {material.outcome.name}. Metrics that were fixed in advance: one-sided where a"
        " direction was stated, Holm; others: two-sided, Benjamini-Hochberg; settings count as independent of their"
        f" family but in p (families), by which the verdict goes. Difference: tau-b of {first} minus that of the row's"
        " metric, in the stated directions"
    )
    return made_of("metrics", caption, ("Metric", *names), rows())


def influence_table(chart: Chart) -> Table:
    """The ranges of the leave-one-out figure."""

    def rows() -> Iterator[Sequence[Cell]]:
        for row in chart.data.to_dict("records"):
            values = (number(row[name]) for name in ("full", "low", "high"))
            what = {"aug": "one augmentation", "family": "one family"}[row["left_out"]]
            yield word(row["unit"]), word(what), *values, word(row["lowest_without"])

    names = ("Unit", "Left out", "tau-b", "lowest", "highest", "Lowest without")
    return made_of("influence", "Kendall's tau-b with everything, and with one part left out", names, rows())


def runs_table(runs: pd.DataFrame) -> Table:
    """Every run of the ledger."""
    words = ("status", "kind", "teacher", "student", "data", "aug")
    forms = {"test_loss": ".4f", "test_top1": ".4f", "test_top5": ".4f", "test_ece": ".4f", "test_agreement": ".4f"}
    forms |= {"best_test_top1": ".4f", "seconds": ".1f"}
    names = ("Seed", "Epoch", "Of", "Test loss", "Top-1", "Top-5", "ECE", "Agreement", "Best top-1", "Seconds")

    def rows() -> Iterator[Sequence[Cell]]:
        for row in runs.to_dict("records"):
            counts = (number(row[name], ".0f") for name in ("seed", "epoch", "epochs"))
            yield (
                word(row["id"]),
                *(word(row[name]) for name in words),
                *counts,
                *(number(row[name], form) for name, form in forms.items()),
            )

    heads = [name.capitalize() for name in words]
    caption = "Every run of the ledger: last epoch, losses in nats, accuracies as fractions"
    return made_of("runs", caption, ("Run", *heads, *names), rows(), heads)
