"""Keep what a demo found, without its weights: `python -m experiments.demo_record demo`.

Copies the score file and the record of every run that `dametric demo -o demo` left, so that the notebook and its test
read the same numbers everywhere.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from dametric.base.files import write_atomic
from dametric.errors import UsageError
from dametric.records.runs import find_runs
from dametric.records.scores import Scores

FOLDER = Path(__file__).parent / "results" / "digits" / "demo"


def keep(demo: Path, output: Path) -> int:
    """Copy scores and records; what was kept of another demo goes.

    Parameters
    ----------
    demo : Path
        What `dametric demo` wrote.
    output : Path

    Returns
    -------
    int
        How many runs were kept.

    Raises
    ------
    UsageError
        If a file is missing or broken, or a run is not finished or of another program than the others.
    """
    scores = Scores.read(demo / "scores.json")
    runs = find_runs(demo / "runs")
    records = {run.folder.name: run.record for run in runs}
    for name, record in records.items():
        if record is None or record["status"] != "finished":
            raise UsageError(f"{name} is not finished: run dametric demo -o {demo} again")
    sources = {str(record["code"]["sha256"]) for record in records.values() if record}
    if len(sources) != 1:
        raise UsageError("the runs were made by different versions of the program: delete them, run the demo again")
    for run in runs:
        write_atomic(output / "runs" / run.folder.name / "record.json", (run.folder / "record.json").read_bytes())
    scores.write(output / "scores.json")
    for old in (output / "runs").iterdir():
        if old.name not in records:
            shutil.rmtree(old)
    return len(runs)


def main(
    demo: Annotated[Path, typer.Argument(help="Folder that `dametric demo -o` wrote.")] = Path("demo"),
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to keep it.")] = FOLDER,
) -> None:
    """Copy and say what was copied."""
    try:
        print(f"kept scores and {keep(demo, output)} runs in {output}")
    except UsageError as error:
        typer.echo(f"demo_record: {error}", err=True)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
