"""Which augmentations can still be the best: successive elimination on paired differences.

An augmentation is shown no more once it is worse than another one. The difference of a pair is looked at with a level
of ``0.05 / (pairs * looks)``: by Bonferroni's inequality the probability that any pair is ever put into the wrong
order, at any look, is at most 0.05, as far as Student's t holds for the means of so many batches (successive
elimination: Even-Dar, Mannor & Mansour 2006, JMLR 7:1079-1105). So a best one is lost with a probability of 0.05 at
most, and pairs that were told apart at any look stay so.

Groups that are not told apart have a letter in common (a compact letter display: Piepho 2004, doi
10.1198/1061860043515).
"""

from __future__ import annotations

import string
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from dametric.base.arguments import argument
from dametric.base.guards import DESTROYED, KEPT
from dametric.errors import UsageError
from dametric.records.score_rows import Resolution, ScoreRow
from dametric.scoring.engine import Engine
from dametric.scoring.paired import Paired
from dametric.scoring.ranking import measure_of

LEVEL = 0.05


@dataclass
class Elimination:
    """Pairs that are told apart so far.

    Attributes
    ----------
    names : sequence of str
        What is compared.
    looks : int
        How often the differences are looked at, at most.
    sign : int
        1 where lower is better, -1 where higher is.
    """

    names: Sequence[str]
    looks: int
    sign: int = 1
    worse: dict[frozenset[str], str] = field(default_factory=dict)
    _open: set[frozenset[str]] = field(default_factory=set)
    _known: dict[str, Paired] = field(default_factory=dict)
    _lost: set[str] = field(default_factory=set)
    _out: set[str] = field(default_factory=set)

    @property
    def pairs(self) -> int:
        """How many differences there are."""
        return len(self.names) * (len(self.names) - 1) // 2

    @property
    def active(self) -> list[str]:
        """What can still be the best."""
        return [name for name in self.names if name not in self._out]

    @property
    def settled(self) -> bool:
        """Whether no further batch can change what is best: one is left, or such as do the same."""
        active = frozenset(self.active)
        return not any(pair <= active for pair in self._open)

    def look(
        self, known: Mapping[str, Paired], destroyed: Collection[str] = (), doubtful: Collection[str] = ()
    ) -> None:
        """Compare what is known by now.

        Parameters
        ----------
        known : mapping of Paired
            Of all that are active.
        destroyed : collection of str
            Those whose images are destroyed, which are never best.
        doubtful : collection of str
            Those that may be: they eliminate nothing.
        """
        self._known |= known
        self._lost |= set(destroyed) & set(self.active)
        level = LEVEL / (max(self.pairs, 1) * self.looks)
        before, self._open = set(self._out), set()
        for first, second in combinations(self.names, 2):
            pair = frozenset((first, second))
            if pair in self.worse or pair <= before:
                continue
            order = self.sign * self._known[first].order(self._known[second], level)
            if order:
                self.worse[pair] = first if order > 0 else second
            elif self._known[first].gap(self._known[second]).se != 0:
                self._open.add(pair)
        doubted = {*destroyed, *doubtful, *self._lost}
        self._out |= self._lost | {name for pair, name in self.worse.items() if not (pair - {name}) <= doubted}

    def marked(self, rows: Iterable[ScoreRow]) -> list[ScoreRow]:
        """Rows, best first, with letters of groups; tied with the best are those that can still be the best."""
        rows = list(rows)
        letters = compact_letters([row.aug for row in rows], self.worse)
        active = self.active
        return [replace(row, group=letters[row.aug], tied_with_best=row.aug in active) for row in rows]

    @property
    def document(self) -> Resolution:
        """For the score file."""
        return Resolution(level=LEVEL, pairs=self.pairs, looks=self.looks, best=self.active)


def compact_letters(names: Sequence[str], apart: Collection[frozenset[str]]) -> dict[str, str]:
    """Letters for names in order: two have one in common if and only if they are not told apart.

    Examples
    --------
    >>> compact_letters(["x", "y", "z"], [frozenset("xz")])
    {'x': 'a', 'y': 'ab', 'z': 'b'}
    """
    groups = [set(names)]
    for pair in apart:
        split = [part for group in groups for part in ([group - {one} for one in pair] if pair <= group else [group])]
        groups = []
        for group in sorted(split, key=len, reverse=True):  # what lies in another group says nothing
            if not any(group <= other for other in groups):
                groups.append(group)
    place = {name: number for number, name in enumerate(names)}
    groups.sort(key=lambda group: sorted(place[name] for name in group))
    signs = [*string.ascii_lowercase, *string.ascii_uppercase]
    signs += [f"{sign}{number}" for number in range(2, 2 + len(groups) // len(signs)) for sign in signs]
    return {name: "".join(sign for sign, group in zip(signs, groups, strict=False) if name in group) for name in names}


def elimination(engine: Engine, looks: int) -> Elimination:
    """What is to be compared by a pass.

    Raises
    ------
    UsageError
        If nothing is best by the first metric, or further batches do not tell more of it.
    """
    first, asked = engine.metrics[0], argument("resolve", True)
    if first.direction == "open":
        raise UsageError(f"{asked}: {first.name} has no direction, and no augmentation is best by it")
    if engine.protocol.reference:
        raise UsageError(f"{asked}: the reference protocol has a length of its own")
    if "held_out" in first.needs or first.first is not None:
        raise UsageError(f"{asked}: all images of {first.name} are shown at once, further batches do not tell more")
    return Elimination([aug.name for aug in engine.augs], looks, -1 if first.direction == "higher" else 1)


def look(engine: Engine, compared: Elimination) -> set[str]:
    """Compare what the pass has shown so far; names of what need not be shown any more."""
    active = set(compared.active)
    shown = [aug for aug in engine.augs if aug.name in active]
    known = {aug.name: measure_of(engine, aug, engine.metrics[0]).paired for aug in shown}
    guards = [metric for metric in engine.metrics if metric.name == KEPT]
    left = {aug.name: measure_of(engine, aug, guard).estimate for guard in guards for aug in shown}
    compared.look(
        known,
        [name for name, estimate in left.items() if estimate.high < DESTROYED],
        [name for name, estimate in left.items() if not estimate.low >= DESTROYED],
    )
    return set(compared.names if compared.settled else set(compared.names) - set(compared.active))
