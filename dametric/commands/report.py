"""`dametric report`: the answer, the figures and the tables on one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dametric import stats
from dametric.commands.correlate import table_of
from dametric.errors import UsageError, unknown
from dametric.files import check_writable, sha256, write_atomic
from dametric.ledger import load_runs
from dametric.results import Scores

FORMATS = ("html", "md", "pdf")
ENDINGS = {".html": "html", ".htm": "html", ".md": "md", ".markdown": "md", ".pdf": "pdf"}


def run(
    paths: Sequence[str], output: str, *, published: bool, metrics: Sequence[str] | None, format: str | None
) -> None:
    """Analyse score files and ledgers, or the published points, and write a report.

    Parameters
    ----------
    paths : sequence of str
        Score files and folders of runs.
    output : str
        File to write.
    published : bool
        Take the published points instead.
    metrics : sequence of str, optional
        Fixed in advance; what orders the scores by default.
    format : {"html", "md", "pdf"}, optional
        By the ending of ``output`` by default.

    Raises
    ------
    UsageError
        If something cannot be read, joined or written, or the format is not known.
    """
    kind = format_of(output, format)
    check_writable(Path(output))
    frame = table_of(paths, published)
    found = stats.analyse(frame, confirmatory=metrics or [str(frame["metric"].iloc[0])])
    from dametric.report import formats, page  # matplotlib, after everything that can be refused
    from dametric.report.material import Material
    from dametric.report.pdf import pdf

    command = _command(paths, output, published, metrics, format)
    report = page.build(Material(frame, found, *_sources(paths), command=command))
    texts = {"html": formats.html, "md": formats.markdown}
    write_atomic(output, pdf(report) if kind == "pdf" else texts[kind](report))


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


def _sources(paths: Sequence[str]) -> tuple[tuple[Scores, ...], tuple[tuple[str, str], ...], pd.DataFrame | None]:
    """Score files, their hashes, and the ledger; nothing for the published points."""
    files = [path for path in paths if not Path(path).is_dir()]
    folders = [path for path in paths if Path(path).is_dir()]
    runs = pd.concat([load_runs(folder) for folder in folders], ignore_index=True) if folders else None
    digests = tuple((path, sha256(path)) for path in files)
    return tuple(Scores.read(path) for path in files), digests, None if runs is None else runs.drop_duplicates("id")


def _command(
    paths: Sequence[str], output: str, published: bool, metrics: Sequence[str] | None, format: str | None
) -> str:
    words = ["dametric", "report", *paths, *(["--published"] if published else [])]
    for metric in metrics or ():
        words += ["--metric", metric]
    words += ["-o", output, *(["--format", format] if format else [])]
    return shlex.join(words)
