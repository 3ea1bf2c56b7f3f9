"""The tables of a report that belong to no figure: what to take, and every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from dametric.analysis import Analysis
from dametric.reports.cells import Cell, Table, error, number, table_of, word


def advice_table(analysis: Analysis) -> Table:
    """What to take, a row for each unit."""
    what = "Best score" if analysis.decision.refusal else "Take"
    outcome, unit = analysis.outcome.name, analysis.outcome.unit
    names = (what, analysis.metric, "±", "Not distinguishable (95 %)", f"Lowest {outcome}", f"Cost ({unit})")
    extra = ("Cost (seed s.e.)", "Cost (% points)", f"Worst not distinguishable ({unit})", f"At random ({unit})")

    def rows() -> Iterator[Sequence[Cell]]:
        for advice in analysis.advice:
            tied = None if advice.tied is None else ", ".join(advice.tied) or "none"
            costs = (number(advice.cost), number(advice.seed_errors, ".1f"), number(advice.points, ".2f"))
            score = (number(advice.score, "#.4g"), error(advice.score_se))
            missing = " (not distilled here)" if advice.choice and not advice.distilled else ""
            others = (number(advice.tied_cost), number(advice.random_cost))
            choice = word(f"{advice.choice}{missing}")
            yield word(advice.unit), choice, *score, word(tied), word(advice.best), *costs, *others

    caption = "What has the best score in each unit, and what taking it costs"
    return table_of("take", caption, ("Unit", *names, *extra), rows())


_RUNS = {  # column of the ledger: head, form of a number
    "id": ("Run", ""),
    "status": ("Status", ""),
    "kind": ("Kind", ""),
    "teacher": ("Teacher", ""),
    "student": ("Student", ""),
    "data": ("Data", ""),
    "aug": ("Aug", ""),
    "seed": ("Seed", ".0f"),
    "epoch": ("Epoch", ".0f"),
    "epochs": ("Of", ".0f"),
    "test_loss": ("Test loss", ".4f"),
    "test_top1": ("Top-1", ".4f"),
    "test_top5": ("Top-5", ".4f"),
    "test_ece": ("ECE", ".4f"),
    "test_agreement": ("Agreement", ".4f"),
    "best_test_top1": ("Best top-1", ".4f"),
    "seconds": ("Seconds", ".1f"),
}


def runs_table(runs: pd.DataFrame) -> Table:
    """Every run of the ledger."""
    shown = {name: about for name, about in _RUNS.items() if name in runs}
    rows = (
        [number(value, form) if form else word(value) for value, (_, form) in zip(row, shown.values(), strict=True)]
        for row in runs[list(shown)].itertuples(index=False)
    )
    heads = [head for head, _ in shown.values()]
    once = [head for head, form in shown.values() if not form and head != "Run"]
    caption = "Every run of the ledger: last epoch, losses in nats, accuracies as fractions"
    return table_of("runs", caption, heads, rows, once)
