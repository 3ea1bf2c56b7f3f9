"""The answer, the figures and the tables on one page, or the figures alone: `dametric.report`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dametric.analysis import Analysis
from dametric.analysis.api import Sources, correlate, several
from dametric.analysis.comparing import Comparison
from dametric.analysis.study import read_scores
from dametric.base.arguments import argument, voice
from dametric.base.files import check_writable, write_atomic
from dametric.base.progress import Advance, progress
from dametric.base.spreadsheet import csv_text
from dametric.errors import UsageError, unknown
from dametric.records.choices import NAME, Choice, read_choice

if TYPE_CHECKING:
    from dametric.records.scores import Scores
    from dametric.reports.page import Page

FORMATS = ("html", "md", "csv")
KINDS = ("png", "svg", "pdf")
ENDINGS = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".csv": "csv", ".pdf": "pdf"}
NO_CSV = "the table of scores alone is written as CSV; with students, dametric correlate writes every coefficient"
NO_PDF = "a report is no PDF: write it as .html and print that from a browser"


def report(
    source: Analysis | Choice | Comparison | Sources = (),
    output: str | os.PathLike[str] | None = None,
    *,
    runs: Sources = (),
    figures: str | os.PathLike[str] | None = None,
    format: str | None = None,
    charts: Sequence[str | Callable[[Analysis], Any]] | str = (),
    quiet: bool = False,
    **options: Any,
) -> Page:
    """Say on a page which augmentation to take, how sure that is, and why.

    Without students, a page of the scores alone.

    Parameters
    ----------
    source : Analysis, Choice, Comparison, or as for :func:`dametric.correlate`
        What the report is about; score files, or Scores, without runs make a page of these alone,
        a folder of :func:`dametric.choose` one of that choice, and what :func:`dametric.compare` returns one of both
        score files beside each other.
    output : path, optional
        File to write. Figures of a Markdown report go into a folder beside it: ``report-figures/`` of ``report.md``.
    runs
        As for :func:`dametric.correlate`.
    figures : path, optional
        Folder for every figure as PNG, SVG and PDF in the size of a paper, with its data as CSV.
    format : {"html", "md", "csv"}, optional
        By the ending of ``output`` by default. CSV is the table of scores alone.
    charts : str or callable, or several
        Charts of your own, after the others: ``./file.py:name``, or functions from an :class:`Analysis` to a
        :class:`dametric.reports.Chart`; from Scores where there are no students.
    quiet : bool
        No progress bar.
    **options
        ``published, metrics, only, drop, better, alpha, confidence, resamples, seed`` of :func:`dametric.correlate`.

    Returns
    -------
    Report or ScoreReport
        With ``html()`` and ``markdown()``; of scores alone with ``table`` too.

    Raises
    ------
    UsageError
        If something cannot be read, joined or written, or the format is not known.

    Examples
    --------
    >>> import dametric
    >>> analysis = dametric.correlate(published=True, resamples=99)
    >>> [chart.key for chart in dametric.report(analysis, quiet=True).charts][:3]
    ['scatter', 'forest', 'influence']
    """
    target, folder = (None if path is None else os.fspath(path) for path in (output, figures))
    kind = _checked(target, format, folder)
    own = [charts] if isinstance(charts, str) or callable(charts) else list(charts)
    given = {"output": target, "figures": folder, "format": format, "charts": own, **options}
    with progress("report", 3, quiet=quiet) as advance:
        built = _built(source, runs, own, given, options, kind, advance)
        advance()
        if folder is not None:
            write_figures(built, Path(folder), KINDS)
        if target is not None:
            _write(built, Path(target), str(kind))
        advance()
    return built


def _scores_page(
    scores: Sequence[Scores], files: Sequence[tuple[str, str]], own: list[Any], made_by: str, options: dict[str, Any]
) -> Page:
    """Of scores without students."""
    if options:
        names = ", ".join(argument(name) for name in options)
        raise UsageError(f"{names}: of scores with students; give a folder of runs, as dametric distill makes it, too")
    from dametric.reports import score_page

    return score_page.build(scores, files, own, made_by)


def _built(
    source: Analysis | Choice | Comparison | Sources,
    runs: Sources,
    own: list[Any],
    given: dict[str, Any],
    options: dict[str, Any],
    kind: str | None,
    advance: Advance,
) -> Page:
    """The page of what is given: a choice, a comparison, scores alone, or scores and students."""
    if isinstance(source, Comparison):
        return _comparison_page(source, runs, own, options)
    if isinstance(source, Choice):
        return _choice_page(source, runs, own, "", options)
    if not isinstance(source, Analysis) and (choice := _choice_in(source)) is not None:
        return _choice_page(choice, runs, own, _call(source, (), given), options)
    if not isinstance(source, Analysis) and not runs and not options.get("published"):
        alone = read_scores(several(source))
        if alone is not None:
            return _scores_page(*alone, own, _call(source, (), given), options)
    if kind == "csv":
        raise UsageError(NO_CSV)
    return _analysis_page(source, runs, own, given, options, advance)


def _choice_in(source: Sources) -> Choice | None:
    """The answer of `choose`, where its file or its folder is what is given."""
    named = several(source)
    if len(named) == 1 and isinstance(named[0], (str, os.PathLike)):
        path = Path(named[0])
        if path.name == NAME or (path / NAME).is_file():
            return read_choice(path)
    return None


def _choice_page(choice: Choice, runs: Sources, own: list[Any], made_by: str, options: dict[str, Any]) -> Page:
    """Of a choice."""
    if options or several(runs):
        names = ", ".join(argument(name) for name in options or ("runs",))
        raise UsageError(f"{names}: of scores with students, not of a choice")
    from dametric.reports import choice_page

    return choice_page.build(choice, own, made_by)


def _comparison_page(comparison: Comparison, runs: Sources, own: list[Any], options: dict[str, Any]) -> Page:
    """Of two score files."""
    if options or runs:
        names = ", ".join(argument(name) for name in options or ("runs",))
        raise UsageError(f"{names}: of scores with students, not of two score files")
    from dametric.reports import comparison_page

    return comparison_page.build(comparison, own)


def _analysis_page(
    source: Analysis | Sources,
    runs: Sources,
    own: list[Any],
    given: dict[str, Any],
    options: dict[str, Any],
    advance: Advance,
) -> Page:
    """Of scores and students."""
    if isinstance(source, Analysis):
        if options or runs:
            raise UsageError(f"an Analysis was made with its options: give {', '.join(options) or 'runs'} to correlate")
        analysis, made_by = source, ""
    else:
        made_by = _call(source, runs, given)
        analysis = correlate(source, runs, **options)
    advance()
    from dametric.reports import page  # matplotlib, after everything that can be refused

    return page.build(analysis, own, made_by)


def _checked(output: str | None, format: str | None, figures: str | None) -> str | None:
    """The format; what cannot be written is refused before anything is computed."""
    if output is None and format is not None:
        raise UsageError(f"{argument('format')} is of the report: give its file by {argument('output', 'report.html')}")
    if figures is not None:
        if figures.lower().lstrip(".") in KINDS:
            raise UsageError(f"{argument('figures')} takes a folder, no format: {', '.join(KINDS)} are all written")
        if Path(figures).is_file():
            raise UsageError(f"{figures} is a file: {argument('figures')} takes a folder")
        check_writable(Path(figures) / "scatter.svg")
    if output is None:
        return None
    kind = format or ENDINGS.get(Path(output).suffix.lower(), "")
    if kind == "pdf":
        raise UsageError(NO_PDF)
    if not kind:
        choice = argument("format")
        raise UsageError(f"{output} does not say what to write: end it in .html or .md, or give {choice}")
    if kind not in FORMATS:
        raise unknown("format", kind, FORMATS)
    check_writable(Path(output))
    if kind == "md":
        check_writable(beside(Path(output)) / "scatter.svg")
    return kind


def beside(output: Path) -> Path:
    """Where the figures of a Markdown report go."""
    return output.with_name(f"{output.stem}-figures")


def _write(built: Page, output: Path, kind: str) -> None:
    if kind == "csv":
        write_atomic(output, csv_text(built.table))
    elif kind == "md":
        folder = beside(output)
        write_figures(built, folder, ("svg",))  # first, so that the file never points at what is not there
        write_atomic(output, built.markdown(folder.name))
    else:
        write_atomic(output, built.html())


def write_figures(built: Page, folder: Path, kinds: Sequence[str] = KINDS) -> None:
    """Write every figure in the size of a paper, and its data as CSV."""
    from dametric.reports.sheets import rendered

    for chart in built.figures:
        for kind in kinds:
            write_atomic(folder / f"{chart.key}.{kind}", rendered(chart, kind))
        write_atomic(folder / f"{chart.key}.csv", chart.csv)


def _call(source: Sources, runs: Sources, options: dict[str, Any]) -> str:
    """What makes the report again, as whoever asked for it would write it."""
    sources = [*several(source), *several(runs)]
    given = {name: value for name, value in options.items() if value not in (None, False, (), [], "")}
    if voice() == "python":
        named = ", ".join(argument(name, value) for name, value in given.items())
        return (
            f"dametric.report({[item if isinstance(item, str) else type(item).__name__ for item in sources]}, {named})"
        )
    words = ["dametric", "report", *map(str, sources)]
    for name, value in given.items():
        for each in value if isinstance(value, (list, tuple)) else [value]:
            flag, _, text = argument(name, each).partition(" ")
            words += [flag, text] if text else [flag]
    return shlex.join(words)
