"""`dametric report`: the answer, the figures and the tables on one page, or the figures alone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dametric import stats
from dametric.base.files import check_writable, sha256, write_atomic
from dametric.base.progress import progress
from dametric.commands.correlate import judged_by, notes_of, runs_of, table_of, tables_of
from dametric.errors import UsageError, unknown
from dametric.records.scores import Scores

if TYPE_CHECKING:
    from dametric.report.page import Report

FORMATS = ("html", "md", "pdf")
KINDS = ("png", "svg", "pdf")
ENDINGS = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".pdf": "pdf"}


def run(
    paths: Sequence[str],
    output: str | None,
    *,
    published: bool,
    metrics: Sequence[str] | None,
    format: str | None,
    figures: str | None = None,
    only: Sequence[str] = (),
    drop: bool = False,
    better: Sequence[str] = (),
    quiet: bool = True,
) -> None:
    """Analyse score files and ledgers, or the published points, and write a report, or its figures alone.

    Parameters
    ----------
    paths : sequence of str
        Score files and folders of runs.
    output : str, optional
        File to write. Figures of a Markdown report go into a folder beside it: ``report-figures/`` of ``report.md``.
    published : bool
        Take the published points instead.
    metrics : sequence of str, optional
        Fixed in advance; what orders the scores by default.
    format : {"html", "md", "pdf"}, optional
        By the ending of ``output`` by default.
    figures : str, optional
        Folder for every figure as PNG, SVG and PDF in the size of a paper, with its data as CSV.
    only : sequence of str
        Only such runs, as in "temperature=4".
    drop : bool
        Leave out rows without a score or a loss.
    better : sequence of str
        Directions of a table's metrics, as in "my_score=lower".
    quiet : bool
        No progress bar.

    Raises
    ------
    UsageError
        If something cannot be read, joined or written, or the format is not known.
    """
    kind = _checked(output, format, figures)
    with progress("report", 3, quiet=quiet) as advance:
        frame = table_of(paths, published, only, drop, better)
        advance()
        notes = notes_of(frame)
        first = metrics or [str(frame["metric"].iloc[0])]
        found = stats.analyse(frame, confirmatory=first, notes=notes, outcome=judged_by(frame))
        advance()
        from dametric.report import page  # matplotlib, after everything that can be refused
        from dametric.report.material import Material

        command = _command(paths, output, published, metrics, only, format, figures, drop, better)
        report = page.build(Material(frame, found, *_sources(paths, only), command=command))
        if figures is not None:
            _write_figures(report, Path(figures), KINDS)
        if output is not None:
            _write(report, Path(output), str(kind))
        advance()


def _checked(output: str | None, format: str | None, figures: str | None) -> str | None:
    """The format; what cannot be written is refused before anything is computed."""
    if output is None and figures is None:
        raise UsageError("nothing to write: give a file with -o (report.html), or a folder for the figures with -f")
    if output is None and format is not None:
        raise UsageError("--format is of the report: give its file with -o; -f writes every figure in all formats")
    kind = None if output is None else format_of(output, format)
    if figures is not None:
        if figures.lower().lstrip(".") in KINDS:
            raise UsageError(f"-f takes a folder, not a format: {', '.join(KINDS)} are all written into it")
        if Path(figures).is_file():
            raise UsageError(f"{figures} is a file: -f takes a folder")
        check_writable(Path(figures) / "scatter.svg")
    if output is not None:
        check_writable(Path(output))
        if kind == "md":
            check_writable(beside(Path(output)) / "scatter.svg")
    return kind


def beside(output: Path) -> Path:
    """Where the figures of a Markdown report go."""
    return output.with_name(f"{output.stem}-figures")


def _write(report: Report, output: Path, kind: str) -> None:
    from dametric.report import formats
    from dametric.report.pdf import pdf

    if kind == "md":
        folder = beside(output)
        _write_figures(report, folder, ("svg",))  # first, so that the file never points at what is not there
        write_atomic(output, formats.markdown(report, folder.name))
    else:
        write_atomic(output, pdf(report) if kind == "pdf" else formats.html(report))


def _write_figures(report: Report, folder: Path, kinds: Sequence[str]) -> None:
    from dametric.report.sheets import rendered

    for chart in report.charts:
        for kind in kinds:
            write_atomic(folder / f"{chart.key}.{kind}", rendered(chart, kind))
        write_atomic(folder / f"{chart.key}.csv", chart.csv)


def format_of(output: str, format: str | None) -> str:
    """The format that was asked for, or that the ending says.

    Raises
    ------
    UsageError
        If it is none of html, md and pdf.
    """
    if format is not None:
        if format not in FORMATS:
            raise unknown("format", format, FORMATS)
        return format
    ending = Path(output).suffix.lower()
    if ending not in ENDINGS:
        raise UsageError(f"{output} does not say what to write: end it in .html, .md or .pdf, or give --format")
    return ENDINGS[ending]


def _sources(
    paths: Sequence[str], only: Sequence[str] = ()
) -> tuple[tuple[Scores, ...], tuple[tuple[str, str], ...], pd.DataFrame | None]:
    """Score files, their hashes, and the ledger; nothing for the published points."""
    files = [path for path in paths if not Path(path).is_dir()]
    folders = [path for path in paths if Path(path).is_dir()]
    digests = tuple((path, sha256(path)) for path in files)
    if tables_of(paths):
        return (), digests, None
    return tuple(Scores.read(path) for path in files), digests, runs_of(folders, only) if folders else None


def _command(
    paths: Sequence[str],
    output: str | None,
    published: bool,
    metrics: Sequence[str] | None,
    only: Sequence[str],
    format: str | None,
    figures: str | None,
    drop: bool,
    better: Sequence[str],
) -> str:
    words = ["dametric", "report", *paths, *(["--published"] if published else [])]
    for metric in metrics or ():
        words += ["--metric", metric]
    for choice in only:
        words += ["--only", choice]
    for choice in better:
        words += ["--better", choice]
    words += ["--drop"] if drop else []
    words += [*(["-o", output] if output else []), *(["--format", format] if format else [])]
    words += ["-f", figures] if figures else []
    return shlex.join(words)
