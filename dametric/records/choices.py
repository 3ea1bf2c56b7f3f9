"""The answer of `choose`: one JSON file with what to use, how sure that is, and everything that determined it.

``dametric_choice`` is the version of its shape, now 1. Losses are in nats, on held-out images of the training split;
accuracies are fractions.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dametric.base.files import read_text, write_atomic
from dametric.errors import UsageError
from dametric.records.documents import Document
from dametric.records.scores import finite

SCHEMA = 1
NAME = "choice.json"


@dataclass(frozen=True)
class ChoiceRun(Document):
    """A finished short run.

    Attributes
    ----------
    aug : str
    steps : int
    fraction : float
        Of the schedule meant.
    seed : int
    loss, top1 : float
        Held-out.
    seconds : float
    """

    aug: str
    steps: int
    fraction: float
    seed: int
    loss: float
    top1: float = math.nan
    seconds: float = math.nan


@dataclass(frozen=True)
class ChoiceArm(Document):
    """A candidate.

    Attributes
    ----------
    aug, family : str
    position : float
        On the axis of log strength.
    p_best : float
        Probability that it has the lowest loss of all.
    over_best, low, high : float
        Its expected loss over that of the arm that is chosen, and the 2.5 and 97.5 % quantiles.
    score, score_error : float
        By the metric of the choice, the first of several; NaN without one.
    scores : dict of str to float
        By every metric that was asked for.
    runs : int
    failed : str or None
        Why it is no candidate any more.
    """

    aug: str
    family: str = ""
    position: float = 0.0
    p_best: float = math.nan
    over_best: float = math.nan
    low: float = math.nan
    high: float = math.nan
    score: float = math.nan
    score_error: float = math.nan
    scores: dict[str, float] = field(default_factory=dict)
    runs: int = 0
    failed: str | None = None


@dataclass(frozen=True)
class ChoiceLook(Document):
    """What was known after so many runs."""

    runs: int
    steps: int
    seconds: float
    best: str
    p_best: float
    p_within: float
    regret: float


@dataclass(frozen=True)
class ChoiceCosts(Document):
    """Where the time went: seconds, and student-steps by fraction of the schedule.

    Attributes
    ----------
    seconds : float
        In all.
    scoring : float
        Of the teacher's scores.
    student, student_steps : float, int
        Of the warm student and the scores that are read with it: seconds, and student-steps.
    runs : float
        Of runs.
    steps : dict of str to int
        Student-steps of runs.
    """

    seconds: float = 0.0
    scoring: float = 0.0
    student: float = 0.0
    student_steps: int = 0
    runs: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Choice(Document):
    """The answer, or the present state of it.

    Attributes
    ----------
    status : {"running", "sure", "spent", "stopped"}
        Sure enough, the budget is spent, or stopped before either.
    best : str
    p_best, p_within, regret : float
        Probability that it is the best, and that its loss is less than ``epsilon`` above the best's; expected excess.
    gain, gain_low, gain_high, p_gain : float
        Loss of identity over that of ``best``: median, 2.5 and 97.5 % quantiles, probability that it is above 0.
    epsilon : float
    hour_more : float
        Expected regret after an hour more.
    points, points_low, points_high : float
        Points of accuracy that a nat of loss is worth in these runs, with a 95 % interval; NaN where they do not say.
    sentences : tuple of str
    arms : tuple of ChoiceArm
    runs : tuple of ChoiceRun
    looks : tuple of ChoiceLook
    costs : ChoiceCosts
    config : dict
        What was asked, and hashes of what it was asked of.
    parameters : dict
        What was assumed of short runs and scores.
    versions : dict
    """

    status: str
    best: str
    p_best: float = math.nan
    p_within: float = math.nan
    regret: float = math.nan
    gain: float = math.nan
    gain_low: float = math.nan
    gain_high: float = math.nan
    p_gain: float = math.nan
    epsilon: float = math.nan
    hour_more: float = math.nan
    points: float = math.nan
    points_low: float = math.nan
    points_high: float = math.nan
    sentences: tuple[str, ...] = ()
    arms: tuple[ChoiceArm, ...] = ()
    runs: tuple[ChoiceRun, ...] = ()
    looks: tuple[ChoiceLook, ...] = ()
    costs: ChoiceCosts = field(default_factory=ChoiceCosts)
    config: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Choice({self.best}: {self.status}, P(best) {self.p_best:.2f}, {len(self.runs)} runs)"

    def __str__(self) -> str:
        return "\n".join(self.sentences)

    @property
    def ranked(self) -> list[ChoiceArm]:
        """The candidates, the most probable first; those that failed last."""
        return sorted(self.arms, key=lambda arm: (arm.failed is not None, -arm.p_best, arm.over_best))

    @property
    def table(self) -> Any:
        """The candidates as a data frame, the most probable first."""
        import pandas as pd

        columns = ["aug", "p_best", "over_best", "low", "high", "score", "runs"]
        rows = [{name: getattr(arm, name) for name in columns} for arm in self.arms]
        return pd.DataFrame(rows, columns=columns).sort_values(
            ["p_best", "over_best"], ascending=[False, True], kind="stable", ignore_index=True
        )

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p>{'<br>'.join(map(escape, self.sentences))}</p>{self.table.to_html(index=False)}"

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the file; a crash leaves the one before."""
        return write_atomic(path, json.dumps(self.finite(), indent=1) + "\n")

    def finite(self) -> dict[str, Any]:
        """The answer as JSON has it: null for what is not known."""
        document: dict[str, Any] = finite({"dametric_choice": SCHEMA, **self.document()})
        return document


def read_choice(path: str | os.PathLike[str]) -> Choice:
    """The answer in a folder of `choose`, or in its file.

    Raises
    ------
    UsageError
        If there is none, or it is not one.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Choice("sure", "cutmix", p_within=0.96, arms=(ChoiceArm("cutmix"),)).write(f"{folder}/choice.json")
    ...     read_choice(folder).best
    'cutmix'
    """
    where = Path(path)
    file = where / NAME if where.is_dir() else where
    if not file.exists():
        raise UsageError(f"{file} is not there: nothing was chosen in that folder yet")
    try:
        document = json.loads(read_text(file))
        if document.pop("dametric_choice", None) != SCHEMA:
            raise UsageError(f"{file} is not the answer of dametric choose, or of another version of it")
        return Choice.of(document)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is not the answer of dametric choose ({error})") from error
