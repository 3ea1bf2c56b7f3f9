"""The metrics that the study's test names, and whether their code is the one that was fixed: `experiments/study.yaml`.

`python -m experiments.study.entries` prints each entry beside the code as it is now. A metric is refused where its
code, or that by which its scores were made, is not that of its entry, and where its entry was made after the first run
whose loss it is compared with.
"""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import yaml

from dametric.errors import UsageError
from experiments.study.plan import ROOT

ENTRIES = ROOT / "experiments" / "study.yaml"


@dataclass(frozen=True)
class Entry:
    """A metric of the test.

    Attributes
    ----------
    metric : str
    better : str
        "lower" or "higher", stated before any result.
    fixed : date
        The last day on which its code was changed.
    code : str
        Hash of its files, see :func:`code_of`.
    files : tuple of str
        Relative to the checkout.
    """

    metric: str
    better: str
    fixed: date
    code: str
    files: tuple[str, ...]

    def check(self, made_by: str | None, first_loss: date | None, root: Path = ROOT) -> None:
        """Refuse a metric that was changed after it was fixed.

        Parameters
        ----------
        made_by : str or None
            Hash of the code that its scores were made by; None where they are to be made by the code as it is.
        first_loss : date or None
            Day of the first loss that it is compared with.
        root : Path

        Raises
        ------
        UsageError
        """
        made_by = code_of(self.files, root) if made_by is None else made_by
        if made_by != self.code:
            raise UsageError(
                f"{self.metric}: its code ({made_by}) is newer than its entry in experiments/study.yaml ({self.code}, "
                f"{self.fixed}): what is changed after that day is exploratory"
            )
        if first_loss is not None and self.fixed > first_loss:
            raise UsageError(
                f"{self.metric}: its entry in experiments/study.yaml is of {self.fixed}, after the first loss that it "
                f"is compared with ({first_loss})"
            )


def entries(path: Path = ENTRIES) -> dict[str, Entry]:
    """The metrics of the test, in the order of the file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    shared = document["shared"]
    return {
        name: Entry(name, each["better"], each["fixed"], each["code"], (*each["files"], *shared))
        for name, each in document["test"].items()
    }


def controls(path: Path = ENTRIES) -> dict[str, str]:
    """Metrics that are shown without a claim, and which values of them are better."""
    found: dict[str, str] = yaml.safe_load(path.read_text(encoding="utf-8"))["controls"]
    return found


def code_of(files: tuple[str, ...], root: Path = ROOT) -> str:
    """Hash of what some files do: neither comments, docstrings nor layout are part of it."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\n{essence((root / name).read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()[:16]


def essence(source: str) -> str:
    """Python code without comments, docstrings and white space."""
    lines = source.splitlines()
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(source).readline))):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for row in range(node.lineno - 1, (node.end_lineno or node.lineno)):
                lines[row] = ""
    return "".join("".join(line.split()) for line in lines)


def main() -> None:
    """Print entries and code."""
    for entry in entries().values():
        now = code_of(entry.files)
        state = "as it was fixed" if now == entry.code else f"NEWER: {now}"
        print(f"{entry.metric:14s} {entry.better:6s} is better   fixed {entry.fixed}   {entry.code}   {state}")


if __name__ == "__main__":
    main()
