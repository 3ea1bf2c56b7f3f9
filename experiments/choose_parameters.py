"""What `dametric choose` assumes of short runs, from complete ledgers.

Run it with ``python -m experiments.choose_parameters LEDGER... -o dametric/choosing/shipped.json``: the file is dated,
and names its ledgers and units. Where no unit is complete it says what is missing, and leaves the file as it is.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from dametric.base.files import check_writable, write_atomic
from dametric.choosing.fit import fitted_from
from dametric.errors import UsageError


def main(
    ledgers: Annotated[list[str], typer.Argument(metavar="LEDGER...", help="Folders of runs.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File of the parameters.")],
    scores: Annotated[list[str] | None, typer.Option(help="Of the teachers. [default: LEDGER/scores/*.json]")] = None,
    metric: Annotated[str, typer.Option(help="Of the scores.")] = "t_stddev",
) -> None:
    """Fit, write, and say from what."""
    try:
        check_writable(output)
        made_by = "python -m experiments.choose_parameters"
        today = datetime.now(timezone.utc).date().isoformat()
        parameters, notes = fitted_from(ledgers, scores or (), metric=metric, made_by=made_by, date=today)
    except UsageError as error:
        print(f"choose_parameters: {error}; {output} is left as it is", file=sys.stderr)
        raise typer.Exit(2) from None
    write_atomic(output, json.dumps(parameters.document(), indent=1) + "\n")
    for line in (parameters.source, *notes, f"written: {output}"):
        print(line)


if __name__ == "__main__":
    typer.run(main)
