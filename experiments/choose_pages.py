"""The tables of docs/choosing-model.md, from those of experiments/results/choose: `python -m experiments.choose_pages`.

A table of the page begins with the header that is written here; its rows are made anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from dametric.base.files import write_atomic
from dametric.errors import UsageError
from experiments.choose_calibration import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "choosing-model.md"
_GROUPS = {"prior": "the model itself", "all but prior": "eleven cases"}
_GROUPS |= {"effects below 0.01": "of all, effects below .01", "0.01 to 0.03": ".01 to .03", "above 0.03": "above .03"}
_SIMPLE = {"all at 0.05": "all at 1/20", "all at 0.2": "all at 1/5", "no score": "choose without the score"}


def tables(folder: Path = RESULTS) -> dict[str, list[str]]:
    """The rows of every table of the page in Markdown, by its header.

    Examples
    --------
    >>> [len(rows) for rows in tables().values()]
    [6, 6, 12]
    """
    calibration, regret, fine = (pd.read_csv(folder / f"{name}.csv") for name in ("calibration", "regret", "tables"))
    compared = [f"by the {name} tables|by fine ones|difference".split("|") for name in ("former", "shipped")]
    return {
        _line(["stated", *_GROUPS.values()]): [_line(row) for row in _by_size(calibration)],
        _line(["stated", *compared[0], *compared[1]]): [_line(row) for row in _by_tables(fine)],
        _line(["case", "stopped: stated", "true", "regret of choose", *_SIMPLE.values()]): [
            _line(row) for row in _by_case(calibration, regret)
        ],
    }


def page(text: str, folder: Path = RESULTS) -> str:
    """The page with the rows of its tables as they are now."""
    for header, rows in tables(folder).items():
        before, found, after = text.partition(f"{header}\n")
        if not found:
            raise UsageError(f"the page has no table with the header {header}")
        rule, *following = after.split("\n")
        end = next(place for place, line in enumerate(following) if not line.startswith("|"))
        text = before + "\n".join([header, rule, *rows, *following[end:]])
    return text


def _by_size(calibration: pd.DataFrame) -> Iterator[list[str]]:
    for stated in dict.fromkeys(calibration["stated P"].sort_values()):
        at = calibration[calibration["stated P"] == stated].set_index("case").reindex(list(_GROUPS))
        each = zip(at["mean stated"], at.frequency, at.error, strict=True)
        yield [str(stated), *(f"{said:.3f}: {_with_error(true, error)}" for said, true, error in each)]


def _by_tables(fine: pd.DataFrame) -> Iterator[list[str]]:
    for stated in dict.fromkeys(fine["stated P"]):
        row = [stated]
        for name in ("former", "shipped"):
            at = fine[(fine["stated P"] == stated) & (fine.tables == name)].iloc[0]
            row += [f"{at['mean stated']:.3f}", f"{at['by fine tables']:.3f}"]
            row += [f"{at.difference:+.3f} ± {at.error:.3f}"]
        yield row


def _by_case(calibration: pd.DataFrame, regret: pd.DataFrame) -> Iterator[list[str]]:
    stopped = calibration[calibration["stated P"] == "stopped"].set_index("case")
    each = regret.set_index(["case", "variant"])
    for case in dict.fromkeys(regret.case):
        row = [case, f"{stopped['mean stated'][case]:.3f}", _with_error(stopped.frequency[case], stopped.error[case])]
        for variant in ("choose", *_SIMPLE):
            known = (case, variant) in each.index
            row.append(_with_error(each["mean"][case, variant], each["sem"][case, variant], 4) if known else "")
        yield row


def _with_error(value: float, error: float, places: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:.{places}f} ± {error:.{places}f}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Write the page's tables anew."""
    write_atomic(PAGE, page(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
