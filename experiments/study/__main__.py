"""Every table and figure of the study, from what is committed: `python -m experiments.study`.

Prints experiments/results/README.md and writes it, with tables (CSV) and figures (PNG) in experiments/results/study.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from dametric.base.files import write_atomic
from experiments.study.figures import FIGURES
from experiments.study.page import Page
from experiments.study.plan import RECORDS
from experiments.study.results import Study


def main(
    records: Annotated[Path, typer.Option(help="Folder of records and scores.")] = RECORDS,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder of page, tables and figures.")] = None,
) -> None:
    """Make page, tables and figures, and print the page."""
    study, target = Study(records), output or records.parent
    drawn = []
    for name, draw in FIGURES.items():
        figure = draw(study)
        if figure is not None:
            buffer = BytesIO()
            figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
            write_atomic(target / "study" / "figures" / f"{name}.png", buffer.getvalue())
            drawn.append(name)
    page = Page(study, tuple(drawn))
    for name, table in page.tables.items():
        text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_atomic(target / "study" / "tables" / f"{name}.csv", text)
    write_atomic(target / "README.md", page.text())
    print(page.text(), end="")


if __name__ == "__main__":
    typer.run(main)
