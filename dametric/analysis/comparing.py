"""Two score files beside each other: ranks, differences, and how far they agree. `dametric.compare`."""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from dametric.analysis.numbers import among, counted, interval, listed, number
from dametric.analysis.score_words import BETTER, NOT_COMPARABLE, subject
from dametric.analysis.study import named_files
from dametric.base.arguments import argument
from dametric.base.user_code import NUMBER
from dametric.errors import UsageError, unknown
from dametric.records.score_rows import Difference, ScoreConfig, ScoreRow
from dametric.records.scores import Scores, finite
from dametric.stats.correlation import correlate
from dametric.stats.result import Floats, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = 1
_SAME = {  # what a value depends on besides teacher and images: its name in a score file, and as an argument
    "protocol": "protocol",
    "n": "batch_size",
    "w": "raw_weight",
    "temperature": "temperature",
    "per": "per",
    "views": "views",
}
_SAME_PIXELS = 1e-3  # of normalisations: a quarter of a grey level
_VALUE = re.compile(rf"(?<==){NUMBER}")


@dataclass(frozen=True)
class Pair:
    """One augmentation in both files.

    Attributes
    ----------
    aug, other : str
        Its specification in the first and in the second file; they differ where strengths are compared.
    ranks : (int, int)
        Among the augmentations that both files have, 1 for the best.
    values, errors : (float, float)
        The metric and its standard error in each.
    difference : Difference
        Second minus first, with its 95 % interval.
    destroyed : bool
        Whether either file says that hardly any information is left.
    """

    aug: str
    other: str
    ranks: tuple[int, int]
    values: tuple[float, float]
    errors: tuple[float, float]
    difference: Difference
    destroyed: bool

    @property
    def change(self) -> int:
        """Ranks that it gains in the second file."""
        return self.ranks[0] - self.ranks[1]


@dataclass(frozen=True)
class Orders:
    """How many pairs of augmentations are in which order.

    Attributes
    ----------
    alike, reversed : tuple of (str, str)
        Pairs whose order is shown in both files (95 % each, paired differences); first the one that is better in the
        first file.
    unknown : int
        Pairs that one of the files does not tell apart.
    """

    alike: tuple[tuple[str, str], ...]
    reversed: tuple[tuple[str, str], ...]
    unknown: int


@dataclass(frozen=True)
class Comparison:
    """Two score files beside each other.

    Attributes
    ----------
    names : (str, str)
        What was scored in each.
    metric, direction : str
    pairs : tuple of Pair
        The augmentations that both have, in the order of the first.
    missing : (tuple of str, tuple of str)
        Augmentations that only the first, or only the second has.
    tau : Result
        Kendall's tau-b of the two orders, with its 95 % interval; destroyed images left out.
    orders : Orders
    unpaired : str
        Why errors of the differences are not paired; empty where they are.
    same_teacher : bool
    scores : tuple of Scores
        Both.
    files : tuple of (str, str)
        Path and SHA-256 of both; "scores" in place of a path where there is no file.
    """

    names: tuple[str, str]
    metric: str
    direction: str
    pairs: tuple[Pair, ...]
    missing: tuple[tuple[str, ...], tuple[str, ...]]
    tau: Result
    orders: Orders
    unpaired: str
    same_teacher: bool
    scores: tuple[Scores, Scores]
    files: tuple[tuple[str, str], ...]

    @property
    def answer(self) -> list[str]:
        """What agrees and what does not, in sentences."""
        return list(_sentences(self))

    @property
    def table(self) -> pd.DataFrame:
        """One row an augmentation: ranks, values, and the difference with its interval."""
        return pd.DataFrame(
            {
                "aug": pair.aug,
                "other": pair.other,
                "rank_a": pair.ranks[0],
                "rank_b": pair.ranks[1],
                "change": pair.change,
                "value_a": pair.values[0],
                "se_a": pair.errors[0],
                "value_b": pair.values[1],
                "se_b": pair.errors[1],
                "difference": pair.difference.value,
                "difference_se": pair.difference.se,
                "difference_low": pair.difference.low,
                "difference_high": pair.difference.high,
                "destroyed": pair.destroyed,
            }
            for pair in self.pairs
        )

    def to_dict(self) -> dict[str, Any]:
        """The document as plain Python objects, with None for what is not a finite number."""
        table = self.table.astype(object).to_dict("records")
        document = {
            "dametric_comparison": SCHEMA,
            "answer": self.answer,
            "a": self.names[0],
            "b": self.names[1],
            "metric": self.metric,
            "direction": self.direction,
            "same_teacher": self.same_teacher,
            "paired": not self.unpaired,
            "unpaired_because": self.unpaired,
            "tau": self.tau.to_dict(),
            "orders": asdict(self.orders),
            "only_a": list(self.missing[0]),
            "only_b": list(self.missing[1]),
            "augmentations": table,
        }
        result: dict[str, Any] = finite(document)
        return result

    def to_json(self) -> str:
        """The document as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False, ensure_ascii=False)

    def plot(self) -> Figure:
        """The ranks in both files as a slope chart."""
        figures = import_module("dametric.reports.comparison")  # figures know analyses, which find them by name alone
        figure: Figure = figures.comparison_figure(self)
        return figure

    def __repr__(self) -> str:
        return f"<Comparison of {counted(len(self.pairs), 'augmentation')}: {self.answer[0]}>"

    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(line)}</p>" for line in self.answer) + self.table.to_html(index=False)


ScoreSource = str | os.PathLike[str] | Scores


def compare(a: ScoreSource, b: ScoreSource, *, metric: str | None = None) -> Comparison:
    """Compare two score files: two teachers, two sets of images, or two strengths of the same augmentations.

    Parameters
    ----------
    a, b : path or Scores
    metric : str, optional
        One that both have; by default the one that orders both tables.

    Returns
    -------
    Comparison
        With ``answer`` (sentences), ``table``, ``to_dict()`` and ``plot()``.

    Raises
    ------
    UsageError
        If a file cannot be read, they were scored by different protocols or have no metric in common, or fewer than two
        augmentations are in both.

    Examples
    --------
    >>> def scores(*values):
    ...     rows = [{"aug": aug, "metrics": {"m": {"value": v, "se": 0.1, "direction": "lower"}}}
    ...             for aug, v in zip(("flip", "cutout", "cutmix"), values)]
    ...     return Scores(sorted(rows, key=lambda row: row["metrics"]["m"]["value"]), {"metrics": ["m"]}, {})
    >>> compare(scores(3.0, 2.0, 1.0), scores(3.0, 1.0, 2.0)).table[["aug", "change"]].values.tolist()
    [['cutmix', -1], ['cutout', 1], ['flip', 0]]
    """
    first, second = both = _read(a), _read(b)
    names = _names((a, b), (first, second))
    metric = _metric(first, second, metric, names)
    _check_settings(first, second, names)
    matched = list(_matched(first, second))
    if len(matched) < 2:
        raise UsageError(
            f"{names[0]} and {names[1]} have {counted(len(matched), 'augmentation')} in common: two at least can be"
            f" compared; score the same with {argument('augs', 'SPEC')} in both"
        )
    why = _why_unpaired(first, second, metric, matched)
    pairs = _pairs(matched, metric, first.rows[0].metrics[metric].direction, not why)
    direction = first.rows[0].metrics[metric].direction
    intact = [pair for pair in pairs if not pair.destroyed and all(map(math.isfinite, pair.values))]
    tau = correlate([pair.values[0] for pair in intact], [pair.values[1] for pair in intact])
    first_matched, second_matched = {row.aug for row, _ in matched}, {row.aug for _, row in matched}
    missing = (
        tuple(row.aug for row in first.rows if row.aug not in first_matched),
        tuple(row.aug for row in second.rows if row.aug not in second_matched),
    )
    orders = _orders([pair for pair in matched if not (pair[0].destroyed or pair[1].destroyed)], metric, first, second)
    teachers = {_teacher(each) or name for each, name in zip((first, second), names, strict=True)}
    files = tuple(named_files([each if isinstance(each, Scores) else os.fspath(each) for each in (a, b)], both))
    return Comparison(names, metric, direction, pairs, missing, tau, orders, why, len(teachers) == 1, both, files)


def _read(source: ScoreSource) -> Scores:
    return source if isinstance(source, Scores) else Scores.read(source)


def _teacher(scores: Scores) -> str | int | None:
    """What tells one teacher from another: its file, or the weights of one in memory."""
    return scores.settings.scored.sha256 or (scores.settings.checksums or {}).get("teacher")


def _names(given: Sequence[ScoreSource], scores: Sequence[Scores]) -> tuple[str, str]:
    """What was scored in each; the files, or "a" and "b", where that is the same."""
    first, second = map(subject, scores)
    if first != second:
        return first, second
    paths = [letter if isinstance(each, Scores) else os.fspath(each) for letter, each in zip("ab", given, strict=True)]
    files = [Path(path).name for path in paths]
    files = paths if files[0] == files[1] else files
    return f"{first} ({files[0]})", f"{second} ({files[1]})"


def _metric(first: Scores, second: Scores, metric: str | None, names: tuple[str, str]) -> str:
    common = [name for name in first.metrics if name in second.metrics]
    if metric is not None:
        if metric not in common:
            raise unknown("metric of both files", metric, common)
        return metric
    if first.metrics[0] != second.metrics[0]:
        way = f"give {argument('metric', common[0])}" if common else f"score both with {argument('metrics', 'NAME')}"
        raise UsageError(
            f"{names[0]} is ordered by {first.metrics[0]}, {names[1]} by {second.metrics[0]}: {way} to compare by one"
        )
    return first.metrics[0]


def _check_settings(first: Scores, second: Scores, names: tuple[str, str]) -> None:
    """Refuse numbers that mean different things."""
    for key, option in _SAME.items():
        first_value, second_value = getattr(first.settings, key), getattr(second.settings, key)
        if first_value is not None and second_value is not None and first_value != second_value:
            example = argument(option, first_value if key != "n" else first.settings.b)
            raise UsageError(
                f"{names[0]} has {key} = {first_value}, {names[1]} {second_value}: "
                f"the values mean different things; score the second again with {example}"
                + (f" and {argument('draw_batches', first.settings.G)}" if key == "n" else "")
            )

    sizes = first.settings.b, second.settings.b
    if first.settings.per == "batch" and None not in sizes and sizes[0] != sizes[1]:
        raise UsageError(
            f"{names[0]} draws parameters for each batch of {sizes[0]} images, {names[1]} of {sizes[1]}: the values"
            f" mean different things; score the second again with {argument('batch_size', sizes[0])} and"
            f" {argument('draw_batches', first.settings.G)}, or both with {argument('per', 'sample')}"
        )


def _otherwise_normalised(first: ScoreConfig, second: ScoreConfig) -> bool:
    """Whether both are known to show a teacher the same images in other units."""
    pairs = ((first.mean, second.mean), (first.std, second.std))
    return any(one is not None and two is not None and not _close(one, two) for one, two in pairs)


def _close(one: Sequence[float], two: Sequence[float]) -> bool:
    return len(one) == len(two) and bool(np.allclose(one, two, rtol=0, atol=_SAME_PIXELS))


def _matched(first: Scores, second: Scores) -> Iterator[tuple[ScoreRow, ScoreRow]]:
    """Rows of both files: by their specification, else by it without its numbers where that is clear."""
    second_rows = {row.aug: row for row in second.rows}
    first_augs = {row.aug for row in first.rows}
    rest = [_VALUE.sub("", row.aug) for row in first.rows if row.aug not in second_rows]
    other = {_VALUE.sub("", row.aug): row for row in second.rows if row.aug not in first_augs}
    counts = [Counter(rest), Counter(_VALUE.sub("", row.aug) for row in second.rows if row.aug not in first_augs)]
    for row in first.rows:
        bare = _VALUE.sub("", row.aug)
        if row.aug in second_rows:
            yield row, second_rows[row.aug]
        elif all(count[bare] == 1 for count in counts):
            yield row, other[bare]


def _pairs(matched: Sequence[tuple[ScoreRow, ScoreRow]], metric: str, direction: str, paired: bool) -> tuple[Pair, ...]:
    sign = -1 if direction == "higher" else 1
    ranks = []
    for side in (0, 1):
        keys = [(pair[side].destroyed, _sortable(sign * pair[side].metrics[metric].value)) for pair in matched]
        order = sorted(range(len(matched)), key=keys.__getitem__)
        ranks.append({place: rank for rank, place in enumerate(order, 1)})
    pairs = []
    for place, (first_row, second_row) in enumerate(matched):
        values = [row.metrics[metric] for row in (first_row, second_row)]
        pairs.append(
            Pair(
                first_row.aug,
                second_row.aug,
                (ranks[0][place], ranks[1][place]),
                (values[0].value, values[1].value),
                (values[0].se, values[1].se),
                _difference(first_row, second_row, metric, paired),
                first_row.destroyed or second_row.destroyed,
            )
        )
    return tuple(sorted(pairs, key=lambda pair: pair.ranks[0]))


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value


# Differences


@dataclass(frozen=True)
class _Influence:
    """What every block of batches adds to the error of a row, as score files keep it."""

    total: Floats
    pairs: Floats
    dof: int
    shape: float
    blocks: tuple[tuple[int, ...], ...]
    passes: float

    @classmethod
    def of(cls, row: ScoreRow) -> _Influence | None:
        """Of a row of a score file; None where it has none."""
        kept = row.influence
        if kept is None:
            return None
        total = _decoded(kept.total)
        pairs = np.zeros_like(total) if kept.pairs is None else _decoded(kept.pairs)
        blocks = tuple((epoch, units) for epoch, units, count in kept.blocks for _ in range(count))
        passes = sum(units for _, units in blocks) / kept.complete if kept.complete else 1.0
        return cls(total, pairs, kept.dof, kept.shape, blocks, passes)


def _decoded(text: str) -> Floats:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(float)
    except ValueError as error:
        raise UsageError(f"the influences of batches in a score file are damaged: {error}") from error


def _difference(first_row: ScoreRow, second_row: ScoreRow, metric: str, paired: bool) -> Difference:
    """Second minus first: paired over their batches, or as if both were of different images."""
    a, b = first_row.metrics[metric], second_row.metrics[metric]
    value = b.value - a.value
    first, second = (_Influence.of(row) if paired else None for row in (first_row, second_row))
    if first is None or second is None:
        se, dof = math.hypot(a.se, b.se), min(a.blocks, b.blocks) - 1
    else:
        longest = max(len(first.total), len(second.total))
        total, pairs = (
            np.pad(getattr(second, name), (0, longest - len(second.total)))
            - np.pad(getattr(first, name), (0, longest - len(first.total)))
            for name in ("total", "pairs")
        )
        square = float(total @ total)
        once = max(square - float(pairs @ pairs) / 2, square / 2)
        # of images that were shown several times no more than the error for new ones is claimed, at its upper bound
        se = math.sqrt(once + (first.shape - second.shape) ** 2) * math.sqrt(max(first.passes, second.passes, 1.0))
        dof = min(first.dof, second.dof)
    half = float(scipy_stats.t.ppf(0.975, dof)) * se if dof >= 1 else math.nan
    return Difference(None, value, se if dof >= 1 else math.nan, value - half, value + half)


def _why_unpaired(first: Scores, second: Scores, metric: str, matched: Sequence[tuple[ScoreRow, ScoreRow]]) -> str:
    """Why the errors of both files cannot be paired; empty where they can."""
    left, right = first.settings, second.settings
    if left.data.fingerprint is None or left.data.fingerprint != right.data.fingerprint:
        return "they were scored on different images"
    if (left.data.split, left.data.images, left.held_out) != (right.data.split, right.data.images, right.held_out):
        return "they were scored on different images"
    if (left.base_aug, left.base_parameters) != (right.base_aug, right.base_parameters):
        return f"their base views are not made alike ({left.base_aug} and {right.base_aug})"
    if (left.seed, left.b) != (right.seed, right.b):
        return "they were scored on different batches of the same images"
    if metric != first.metrics[0] or metric != second.metrics[0]:
        return f"score files keep what batches add to the error of the metric that orders them, not of {metric}"
    for pair in matched:
        first_kept, second_kept = (_Influence.of(row) for row in pair)
        if first_kept is None or second_kept is None:
            return "the files do not keep what each batch adds to the error; score again to have that"
        shorter = min(len(first_kept.blocks), len(second_kept.blocks)) - 1
        if first_kept.blocks[:shorter] != second_kept.blocks[:shorter]:
            return "their batches were added up in different blocks"
    return ""


def _orders(matched: Sequence[tuple[ScoreRow, ScoreRow]], metric: str, first: Scores, second: Scores) -> Orders:
    """In which order pairs of augmentations are in both files, where both show one."""
    known = metric == first.metrics[0] and metric == second.metrics[0]
    alike, against, unclear = list[tuple[str, str]](), list[tuple[str, str]](), 0
    higher = first.rows[0].metrics[metric].direction == "higher"
    for one, two in combinations(matched, 2):
        signs = [_sign(one[side].differences.get(two[side].aug), higher) if known else 0 for side in (0, 1)]
        if 0 in signs:
            unclear += 1
            continue
        better, worse = (one, two) if signs[0] < 0 else (two, one)
        (alike if signs[0] == signs[1] else against).append((better[0].aug, worse[0].aug))
    return Orders(tuple(alike), tuple(against), unclear)


def _sign(gap: Difference | None, higher: bool) -> int:
    """-1 where the first is shown to be better, 1 where it is shown to be worse, 0 where neither is."""
    if gap is None or not (gap.low > 0 or gap.high < 0):
        return 0
    return 1 if (gap.low > 0) != higher else -1


# Words


def _sentences(comparison: Comparison) -> Iterator[str]:
    pairs, orders, names = comparison.pairs, comparison.orders, comparison.names
    best = [min(pairs, key=lambda pair: pair.ranks[side]) for side in (0, 1)]
    which = f"{comparison.metric} ({BETTER.get(comparison.direction, 'no direction stated')})"
    lost = 0 if all(pair.destroyed for pair in pairs) else sum(pair.destroyed for pair in pairs)
    count = among(len(pairs) - lost, lost)
    if comparison.direction not in BETTER:
        yield f"Nobody has said which values of {comparison.metric} are good: of {count} in both, none is best."
    elif best[0] is best[1]:
        yield f"Of {count} in both, {best[0].aug} has the best {which} in both: {names[0]}, and {names[1]}."
    else:
        both = f"{best[0].aug} for {names[0]}, {best[1].other} for {names[1]}"
        yield f"Of {count} in both, the best by {which}: {both}."
    tau = comparison.tau
    if math.isfinite(tau.statistic):
        ends = f", 95 % interval {interval(tau.low, tau.high)}" if math.isfinite(tau.low) else ""
        left_out = "; destroyed images are left out" if any(pair.destroyed for pair in pairs) else ""
        yield f"The two orders agree with Kendall's tau-b {number(tau.statistic)}{ends}{left_out}."
    else:
        yield f"How far the orders agree is not known: {tau.note or 'too few values'}."
    if orders.alike or orders.reversed:
        total = len(orders.alike) + len(orders.reversed) + orders.unknown
        told = [f"{better} before {worse}" for better, worse in orders.reversed]
        swapped = f"{len(told)} reversed ({listed(told, 3)} in the first)" if told else "none reversed"
        yield (
            f"Of {counted(total, 'pair')} of augmentations {len(orders.alike)} are in the same order in both (95 % in"
            f" each), {swapped}, {orders.unknown} not told apart in one of them."
        )
    if comparison.unpaired:
        yield f"Errors of the differences are not paired: {comparison.unpaired}."
    else:
        yield "Errors of the differences are paired: both were scored on the same batches."
    if not comparison.same_teacher and comparison.metric.startswith("t_stddev"):
        yield NOT_COMPARABLE
    settings = [scores.settings for scores in comparison.scores]
    if comparison.same_teacher and _otherwise_normalised(*settings):
        means = " and ".join(", ".join(f"{value:.3g}" for value in each.mean or ()) for each in settings)
        stds = " and ".join(", ".join(f"{value:.3g}" for value in each.std or ()) for each in settings)
        yield (
            f"Take care: the images were normalised otherwise for the same teacher (means {means}; stds {stds}), which"
            " changes its answers."
        )
    for name, rest in zip(names, comparison.missing, strict=True):
        if rest:
            yield f"Only for {name}: {listed(rest)}."
