"""`dametric correlate` and `dametric plan`: how well scores predict students, and what a study could find out."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from dametric import stats
from dametric.errors import UsageError
from dametric.files import check_writable, write_atomic
from dametric.joining import study
from dametric.ledger import load_runs
from dametric.results import Scores

FEW = 12  # rows of the exploratory table that are printed; the files have all
WORDS = {"test_loss": "test loss", "test_top1": "top-1", 1: "+", -1: "-", 0: "?"}


def table_of(paths: Sequence[str], published: bool) -> pd.DataFrame:
    """What is to be analysed: score files joined with ledgers, or the published points.

    Raises
    ------
    UsageError
        If there is nothing of the one or of the other, or a path is neither.
    """
    if published:
        if paths:
            raise UsageError("--published brings its own points: give no files with it")
        return stats.published_frame()
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise UsageError(f"there is no {missing[0]}: give score files (dametric score -o) and folders of runs")
    folders = [path for path in paths if Path(path).is_dir()]
    files = [path for path in paths if path not in folders]
    if not folders or not files:
        what = "a folder of runs (dametric distill -o makes one)" if files else "a score file (dametric score -o)"
        raise UsageError(f"this needs {what} too, or --published for the published points")
    runs = pd.concat([load_runs(folder) for folder in folders], ignore_index=True)
    return study([Scores.read(path) for path in files], runs.drop_duplicates("id"))


def run(
    paths: Sequence[str], *, published: bool, metrics: Sequence[str] | None, as_json: bool, csv: str | None, latex: bool
) -> None:
    """Analyse, print, write."""
    if csv is not None:
        check_writable(Path(csv))
    if as_json and latex:
        raise UsageError("--json and --latex both want stdout: choose one")
    frame = table_of(paths, published)
    # the one that ordered the score file, unless several were fixed in advance
    found = stats.analyse(frame, confirmatory=metrics or [str(frame["metric"].iloc[0])])
    rows = pd.DataFrame(long_rows(found))
    if csv is not None:
        write_atomic(csv, rows.to_csv(index=False))
    if as_json:
        print(json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False))
    elif latex:
        print(latex_table(rows))
    else:
        print_analysis(found)


def long_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every coefficient as a row: which block it belongs to, and its adjusted p-value."""
    rows = []
    for entry in found["confirmatory"]:
        about = {"unit": "all", "metric": entry["metric"], "endpoint": "test_loss", "coefficient": "kendall"}
        rows.append({"block": "confirmatory", **about, **entry["result"], "p_adjusted": entry["p_holm"]})
    for entry in found["exploratory"]["rows"]:
        about = {"unit": "all", **{name: entry[name] for name in ("metric", "endpoint", "coefficient")}}
        rows.append({"block": "exploratory", **about, **entry["result"], "p_adjusted": entry["p_bh"]})
    for unit, metrics in found["units"].items():
        for metric, described in metrics.items():
            for endpoint, results in described["coefficients"].items():
                for name, result in results.items():
                    about = {"unit": unit, "metric": metric, "endpoint": endpoint, "coefficient": name}
                    rows.append({"block": "unit (exploratory)", **about, **result, "p_adjusted": None})
    return rows


def latex_table(rows: pd.DataFrame) -> str:
    """The units' coefficients with the test loss as a LaTeX table (booktabs)."""
    mine = rows[(rows["block"] == "unit (exploratory)") & (rows["endpoint"] == "test_loss")]
    wide = mine.pivot_table(index=["unit", "metric"], columns="coefficient", values="statistic", sort=False)
    names = {"pearson": "Pearson", "spearman": "Spearman", "kendall": "Kendall", "weighted": "weighted"}
    wide = wide[[name for name in names if name in wide]].rename(columns=names)
    p = mine[mine["coefficient"] == "kendall"].set_index(["unit", "metric"])["pvalue"]
    wide["p (Kendall)"] = [f"{value:.2g}" for value in p.reindex(wide.index)]
    table = wide.reset_index()
    for name in ("unit", "metric"):
        table[name] = table[name].str.replace("_", r"\_").str.replace("->", r"$\to$")
    table.columns.name = None
    return table.to_latex(index=False, escape=False, float_format="%.4f")


def print_analysis(found: dict[str, Any]) -> None:
    """The confirmatory table, the units, what is exploratory, and the answer in words."""
    console = Console(width=None if sys.stdout.isatty() else 250, highlight=False, soft_wrap=True)
    console.print(f"primary: {found['primary']}")
    console.print(_confirmatory(found))
    console.print()
    console.print(_units(found, found["confirmatory"][0]["metric"]))
    if found["exploratory"]["rows"]:
        console.print()
        console.print(
            "exploratory (two-sided, Benjamini-Hochberg over "
            f"{len(found['exploratory']['rows'])}): nothing of this was fixed in advance"
        )
        console.print(_exploratory(found))
        if len(found["exploratory"]["rows"]) > FEW:
            console.print(f"the {FEW} smallest p-values; --csv and --json have all {len(found['exploratory']['rows'])}")
    console.print()
    for sentence in found["verdict"]:
        console.print(f"* {sentence}", markup=False)


def _plain_table(*columns: tuple[str, bool]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in columns:
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
    return table


def _confirmatory(found: dict[str, Any]) -> Table:
    names = ("expected", "tau-b", "p", "p (Holm)", "augmentations", "units")
    table = _plain_table(("metric", False), *((name, True) for name in names))
    for entry in found["confirmatory"]:
        result = entry["result"]
        numbers = (_value(result["statistic"]), _p(result["pvalue"]), _p(entry["p_holm"]))
        counts = (str(result["n"]), str(entry["n_units"]))
        table.add_row(entry["metric"], WORDS[entry["expected"]], *numbers, *counts)
    return table


def _units(found: dict[str, Any], metric: str) -> Table:
    names = ("Pearson", "95 %", "Spearman", "Kendall", "p (two-sided)", "regret@1", "n")
    table = _plain_table((f"{metric} and test loss", False), *((name, True) for name in names))
    for unit, metrics in found["units"].items():
        if metric not in metrics:
            continue
        described = metrics[metric]
        results = described["coefficients"]["test_loss"]
        pearson, kendall = results["pearson"], results["kendall"]
        table.add_row(
            unit,
            _value(pearson["statistic"], 4),
            f"[{_value(pearson['low'])}, {_value(pearson['high'])}]",
            _value(results["spearman"]["statistic"], 4),
            _value(kendall["statistic"], 4),
            _p(kendall["pvalue"]),
            _value(described["regret"][0]["loss"], 4),
            str(described["n"]),
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
            WORDS[entry["endpoint"]],
            entry["coefficient"],
            _value(result["statistic"]),
            _p(result["pvalue"]),
            _p(entry["p_bh"]),
        )
    return table


def _last(pvalue: float | None) -> float:
    return math.inf if pvalue is None else pvalue


def _value(value: float | None, digits: int = 2) -> str:
    return "nan" if value is None else f"{value:.{digits}f}"


def _p(value: float | None) -> str:
    return "nan" if value is None else f"{value:.2g}"


def plan(
    rho: float, augs: int, seeds: int, units: int, seed_sd: float, spread: float, alpha: float, seed: int, as_json: bool
) -> None:
    """Print what a study of this size can detect."""
    found = stats.plan(rho, augs, seeds, units, seed_sd, spread, alpha, seed=seed)
    if as_json:
        numbers = {name: getattr(found, name) for name in found.__dataclass_fields__}
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in numbers.items()}
        print(json.dumps(plain, indent=1))
        return
    pairs = "" if units == 1 else f" in {units} units"
    print(f"{augs} augmentations, {seeds} seeds each{pairs}; true correlation {rho:g}, seed noise {seed_sd:g},")
    print(f"spread of the losses {spread:g}; {found.method}, {found.alternative}, level {alpha:g}")
    print(f"power          {found.power:.2f} ± {found.power_se:.2f}")
    print(f"Kendall's tau  {found.tau_mean:.2f} ± {found.tau_sd:.2f} (mean and standard deviation over such studies)")
    if math.isfinite(found.tau_critical):
        print(f"significant    from tau {found.tau_critical:.2f} on")
    print(f"reliability    {found.reliability:.2f} of the variance of the mean losses is not seed noise;")
    print(f"               {found.seeds_needed} seeds would make it 0.90")
    if found.note:
        print(found.note)
