"""Do the statistics keep what they promise? `python -m experiments.calibration`.

Simulates studies of known truth (see experiments/calibration_cases.py) and counts how often each test rejects where
nothing is there, and how often each interval holds the truth. Study i of a case has its own seed, so that any part of
the table can be made again, by any number of processes.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import scipy
import statsmodels  # type: ignore[import-untyped]
import typer

from dametric import __version__
from dametric.base.files import write_atomic
from dametric.base.progress import progress
from experiments.calibration_cases import CASES, Case

FOLDER = Path(__file__).parent / "results" / "statistics"
LEVELS = (0.01, 0.05, 0.1)
_AT_ONCE = 50  # studies of a piece of work


def simulated(case: Case, seed: int, studies: range) -> list[float]:
    """p-values of a test; 1 and 0 for intervals that hold and do not, NaN where there is none.

    Parameters
    ----------
    case : Case
    seed : int
    studies : range
        Which studies of the case.
    """
    key = [seed, *case.name.encode()]
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for study in studies:
            value = case.study(np.random.default_rng([study, *key]))
            found.append(math.nan if value is None else float(value))
    return found


def row(case: Case, values: Sequence[float]) -> dict[str, Any]:
    """A line of the table.

    Parameters
    ----------
    case : Case
    values : sequence of float
        From :func:`simulated`.

    Returns
    -------
    dict
        ``case, kind, studies, undefined`` (without p-value or interval; they do not count), ``share`` (rejected at
        5 %, or covered), ``se``, ``claim_low, claim_high`` (empty where nothing is claimed), ``kept``, and for tests
        ``at_1, at_10`` (rejected at 1 % and 10 %) and ``farthest`` (largest distance of the distribution of p from
        the uniform one).
    """
    all_of_them = np.array(values)
    known = all_of_them[~np.isnan(all_of_them)]
    test = case.kind != "interval"
    share = float((known <= LEVELS[1] + 1e-12).mean() if test else known.mean())
    low, high = case.claim or (math.nan, math.nan)
    found = {"case": case.name, "kind": case.kind, "studies": len(all_of_them), "undefined": len(values) - len(known)}
    found |= {"share": share, "se": math.sqrt(share * (1 - share) / len(known)), "claim_low": low, "claim_high": high}
    found["kept"] = "" if case.claim is None else "yes" if low <= share <= high else "no"
    if test:
        found |= {"at_1": float((known <= 0.01 + 1e-12).mean()), "at_10": float((known <= 0.1 + 1e-12).mean())}
        found["farthest"] = float(scipy.stats.kstest(known, "uniform").statistic)
    return found


def _piece(work: tuple[int, int, range]) -> tuple[int, list[float]]:
    place, seed, studies = work
    return place, simulated(CASES[place], seed, studies)


def calibrate(cases: Sequence[Case], studies: int, seed: int, jobs: int, quiet: bool = False) -> pd.DataFrame:
    """The table.

    Parameters
    ----------
    cases : sequence of Case
        Of CASES.
    studies : int
        Of each case.
    seed, jobs : int
    quiet : bool
        No progress bar.

    Returns
    -------
    pandas.DataFrame
        One :func:`row` for each case.
    """
    places = [CASES.index(case) for case in cases]
    work = [
        (place, seed, range(start, min(start + _AT_ONCE, studies)))
        for place in places
        for start in range(0, studies, _AT_ONCE)
    ]
    values: dict[int, list[float]] = {place: [] for place in places}
    with progress("calibration", len(work), quiet=quiet) as advance:
        for place, found in _done(work, jobs):
            values[place] += found
            advance()
    return pd.DataFrame([row(CASES[place], values[place]) for place in places])


def _done(work: list[tuple[int, int, range]], jobs: int) -> Iterator[tuple[int, list[float]]]:
    if jobs == 1:
        yield from map(_piece, work)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_piece, work)


def main(
    studies: Annotated[int, typer.Option(help="Simulated studies of each case.")] = 2000,
    seed: int = 0,
    jobs: Annotated[int, typer.Option(help="Processes side by side.")] = 1,
    only: Annotated[str, typer.Option(help="Only cases whose name holds this.")] = "",
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Keep what PATH.csv has of other cases; simulate what it lacks."),
    ] = False,
    output: Annotated[str | None, typer.Option("--output", "-o", help="Write PATH.csv and PATH.json.")] = None,
) -> None:
    """Simulate, print, write."""
    kept, about = (_kept(output, studies, seed, only)) if keep else (pd.DataFrame({"case": []}), {})
    cases = [case for case in CASES if case.name not in set(kept["case"]) and (keep or only in case.name)]
    if not cases:
        raise typer.BadParameter(f"no case has '{only}' in its name" if only else "the table has all cases")
    table = calibrate(cases, studies, seed, jobs)
    for line in table.to_dict("records"):
        claim = "" if not line["kept"] else f"claimed {line['claim_low']:g} to {line['claim_high']:g}: {line['kept']}"
        word = "covered " if line["kind"] == "interval" else "rejected"
        print(f"{line['case']:96s} {word} {line['share']:.3f} ± {line['se']:.3f}  {claim}")
    if output is None:
        return
    places = {case.name: place for place, case in enumerate(CASES)}
    table = pd.concat([kept, table]) if len(kept) else table
    table = table.sort_values("case", key=lambda names: names.map(places))
    write_atomic(f"{output}.csv", table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    commands = [*about.get("commands", []), " ".join(["python -m experiments.calibration", *sys.argv[1:]])]
    versions = {"dametric": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    versions["statsmodels"] = statsmodels.__version__
    about = {"commands": commands, "studies": studies, "seed": seed, "versions": versions}
    write_atomic(f"{output}.json", json.dumps(about, indent=1) + "\n")


def _kept(output: str | None, studies: int, seed: int, only: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Lines of the table that is there, of the cases that still are, but for those to be made anew; and about it.

    Raises
    ------
    typer.BadParameter
        If there is no table, or one of other numbers.
    """
    if output is None or not Path(f"{output}.csv").is_file():
        raise typer.BadParameter("--keep needs a table: name it with -o PATH, without .csv")
    about: dict[str, Any] = json.loads(Path(f"{output}.json").read_text(encoding="utf-8"))
    if (about["studies"], about["seed"]) != (studies, seed):
        raise typer.BadParameter(f"the table has {about['studies']} studies and seed {about['seed']}: give the same")
    anew = {case.name for case in CASES if only and only in case.name}
    table = pd.read_csv(f"{output}.csv")
    return table[table["case"].isin({case.name for case in CASES} - anew)], about


if __name__ == "__main__":
    typer.run(main)
