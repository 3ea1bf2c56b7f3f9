"""`dametric choose --replay`: the tables of a replay, and its page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dametric.choosing.replay import Replay
    from dametric.reports.page import Page

_PAGE = "replay.html"


def deliver_replay(
    folders: Sequence[str],
    scores: Sequence[str],
    output: str | None,
    json: bool,
    parameters: str | None,
    epsilon: float,
    metric: str,
    quiet: bool,
) -> None:
    """Replay, write the page or a folder of page, figures and tables, and print the tables."""
    from dametric.base.files import check_writable
    from dametric.choosing.replay import replay

    target = None if output is None else Path(output)
    if target is not None:
        check_writable(target if target.suffix else target / _PAGE)
    result = replay(folders, scores, parameters=parameters, epsilon=epsilon, metric=metric, quiet=quiet)
    if target is not None:
        _write(_page(result, folders, scores), target)
    if json:
        import json as json_

        print(json_.dumps(result.document(), indent=1))
    else:
        _print(result)


def _page(result: Replay, folders: Sequence[str], scores: Sequence[str]) -> Page:
    from dametric.reports import replay_page

    words = ["dametric", "choose", *(word for folder in folders for word in ("--replay", folder))]
    words += [word for file in scores for word in ("--scores", file)]
    provenance = [("Command", shlex.join(words)), ("Units", ", ".join(result.units))]
    provenance += [("Epsilon", f"{result.epsilon:g} nats"), ("Parameters", f"{result.parameters.source}")]
    return replay_page.build(result.frontier, result.calibration, result.sentences, provenance)


def _write(page: Page, target: Path) -> None:
    from dametric.base.files import write_atomic
    from dametric.reports.api import write_figures

    if target.suffix == ".html":
        write_atomic(target, page.html())
        return
    write_atomic(target / _PAGE, page.html())
    write_figures(page, target, ("png", "svg"))


def _print(result: Replay) -> None:
    from dametric.cli.console import print_table, wide_console
    from dametric.reports.replay_words import headline

    console = wide_console()
    for sentence in (*headline(result.frontier), *result.sentences):
        console.print(sentence, highlight=False)
    console.print()
    rows = [
        (
            *(str(row["rule"]), f"{row['budget']:g}", str(row["units"]), f"{row['spent']:.3g}", f"{row['regret']:.4f}"),
            *(_interval(row["low"], row["high"], ".4f"), _number(row["over_choose"])),
            _interval(row["over_low"], row["over_high"], ".4f"),
        )
        for row in result.frontier.to_dict("records")
    ]
    print_table(("rule", "budget", "units", "spent", "regret", "95 %", "over choose", "95 % paired"), rows)
    console.print()
    bins = [
        (
            *(str(row["stated"]), str(row["looks"]), str(row["units"]), f"{row['mean_stated']:.2f}"),
            *(f"{row['frequency']:.2f}", f"{row['gap']:+.2f}", _interval(row["low"], row["high"], "+.2f")),
        )
        for row in result.calibration.to_dict("records")
    ]
    print_table(("stated P", "looks", "units", "mean stated", "frequency", "difference", "95 %"), bins)


def _number(value: float) -> str:
    return f"{value:+.4f}" if value == value else "-"


def _interval(low: float, high: float, form: str) -> str:
    return f"[{low:{form}}, {high:{form}}]" if low == low else "-"
