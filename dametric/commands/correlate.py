"""`dametric correlate`: how well scores predict students."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dametric import stats
from dametric.base.files import check_writable, write_atomic
from dametric.base.spreadsheet import csv_text
from dametric.base.terminal import note
from dametric.commands.foreign_table import is_table, read_table, without_null
from dametric.commands.tables import print_analysis
from dametric.errors import UsageError
from dametric.records.joining import study
from dametric.records.recipes import chosen, differences
from dametric.records.runs import find_runs, load_runs
from dametric.records.scores import Scores
from dametric.stats.outcome import TEST_LOSS, Outcome


def table_of(
    paths: Sequence[str], published: bool, only: Sequence[str] = (), drop: bool = False, better: Sequence[str] = ()
) -> pd.DataFrame:
    """What is to be analysed: score files joined with ledgers, one table from elsewhere, or the published points.

    Students of different recipes are kept apart, which is said on stderr.

    Raises
    ------
    UsageError
        If there is nothing of the one or of the other, or a path is neither.
    """
    if published:
        if paths:
            raise UsageError("--published brings its own points: give no files with it")
        if only:
            raise UsageError("--only chooses among runs, and the published points have none")
        return stats.published_frame()
    tables = tables_of(paths)
    if tables:
        if len(paths) > 1:
            raise UsageError(f"{tables[0]} is a table with everything in it: give no other files with it")
        if only:
            raise UsageError("--only chooses among runs, and a table has none")
        return without_null(read_table(tables[0], better), drop)
    if better:
        raise UsageError("--better is for metrics of a table: score files state the direction of theirs")
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        raise UsageError(f"there is no {missing[0]}: give score files (dametric score -o) and folders of runs")
    folders = [path for path in paths if Path(path).is_dir()]
    files = [path for path in paths if path not in folders]
    if not folders or not files:
        what = "a folder of runs (dametric distill -o makes one)" if files else "a score file (dametric score -o)"
        raise UsageError(f"this needs {what} too, or --published for the published points")
    runs = runs_of(folders, only)
    differ = differences(runs)
    if differ:
        said = ", ".join(f"{name} ({', '.join(values)})" for name, values in differ.items())
        choice = next(f"{name}={values[0]}" for name, values in differ.items())
        line = f"runs of one student differ in {said}: kept apart; to choose, for example: --only {choice}"
        note(line)
    return without_null(study([Scores.read(path) for path in files], runs), drop)


def tables_of(paths: Sequence[str]) -> list[str]:
    """Those of the paths that are tables from elsewhere."""
    return [path for path in paths if Path(path).is_file() and is_table(path)]


def runs_of(folders: Sequence[str], only: Sequence[str] = ()) -> pd.DataFrame:
    """The runs of all folders, each once, as far as they are chosen."""
    return chosen(load_runs(run for folder in folders for run in find_runs(folder)), only)


def run(
    paths: Sequence[str],
    *,
    published: bool,
    metrics: Sequence[str] | None,
    only: Sequence[str] = (),
    drop: bool = False,
    better: Sequence[str] = (),
    as_json: bool,
    csv: str | None,
    latex: bool,
) -> None:
    """Analyse, print, write."""
    if csv is not None:
        check_writable(Path(csv))
    if as_json and latex:
        raise UsageError("--json and --latex both want stdout: choose one")
    frame = table_of(paths, published, only, drop, better)
    # the one that ordered the score file, unless several were fixed in advance
    notes = notes_of(frame)
    found = stats.analyse(
        frame, confirmatory=metrics or [str(frame["metric"].iloc[0])], notes=notes, outcome=judged_by(frame)
    )
    rows = pd.DataFrame(long_rows(found))
    if csv is not None:
        write_atomic(csv, csv_text(rows))
    if as_json:
        print(json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False))
    elif latex:
        print(latex_table(rows))
    else:
        print_analysis(found)


def notes_of(frame: pd.DataFrame) -> list[str]:
    """What the reading of a table has to say in the verdict."""
    return [str(frame.attrs["note"])] if frame.attrs.get("note") else []


def judged_by(frame: pd.DataFrame) -> Outcome:
    """What tells of a table how good its students are."""
    outcome: Outcome = frame.attrs.get("outcome", TEST_LOSS)
    return outcome


def long_rows(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Every coefficient as a row: which block it belongs to, and its adjusted p-value."""
    rows = []
    for entry in found["confirmatory"]:
        about = {"unit": "all", "metric": entry["metric"], "endpoint": "test_loss", "coefficient": "kendall"}
        whole = {"p_families": entry["families"]["p_holm"], "p_families_least": entry["families"]["floor"]}
        rows.append({"block": "confirmatory", **about, **entry["result"], "p_adjusted": entry["p_holm"], **whole})
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


_LATEX = {letter: f"\\{letter}" for letter in "&%$#_{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _escaped(name: str) -> str:
    """A name as LaTeX prints it, with an arrow for "->"."""
    plain = ("".join(_LATEX.get(letter, letter) for letter in part) for part in name.split("->"))
    return r"$\to$".join(plain)


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
        table[name] = table[name].map(_escaped)
    table.columns.name = None
    return table.to_latex(index=False, escape=False, float_format="%.4f")
