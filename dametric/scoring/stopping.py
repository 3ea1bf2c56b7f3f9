"""How long to go on: a fixed number of batches, or until the errors are small enough."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.progress import Advance, progress
from dametric.errors import Interrupted, UsageError
from dametric.scoring.engine import Engine
from dametric.scoring.ranking import measure_of_stream
from dametric.scoring.resolving import Elimination, elimination, look

_FIRST_CHECK, _GROWTH = 20, 1.5  # units before the first look at the errors, and between looks
_MAX_BATCHES = 1000
_REFERENCE_EPOCHS = 10
Stop = Callable[[], bool]


def walk(
    engine: Engine,
    batches: int | None,
    rel_se: float,
    max_batches: int | None,
    quiet: bool,
    stop: Stop | None = None,
    resolve: bool = False,
) -> tuple[bool, Elimination | None]:
    """Show batches until there are enough.

    Parameters
    ----------
    engine : Engine
    batches : int or None
        Number of batches, whatever the errors; in the reference protocol 10 epochs by default.
    rel_se : float
        Without ``batches``: show every augmentation until its standard error is below this fraction of its value.
    max_batches : int or None
        Largest number of batches.
    quiet : bool
        No progress bar.
    stop : callable, optional
        Called after every batch; True stops the pass.
    resolve : bool
        In place of ``rel_se``: show every augmentation until it is worse than another.

    Returns
    -------
    reached : bool
        Whether the requested precision was reached; True where none was requested.
    resolved : Elimination or None
        What was told apart, where that was asked for.

    Raises
    ------
    Interrupted
        If ``stop`` said so.
    """
    plan = engine.protocol
    for name, number in (("batches", batches), ("max_batches", max_batches)):
        if number is not None:
            limits.whole(name, number, limits.BATCHES)
    fixed = batches
    if fixed is None and plan.reference:
        fixed = -(-len(engine.data) // plan.batch) * _REFERENCE_EPOCHS
    if fixed is None and engine.leading is None:
        fixed = max(metric.first or 0 for metric in engine.metrics)  # nothing but guards of the first batches
    if fixed is not None:
        total = fixed // plan.draw if plan.reference else fixed
        if total < 2:
            raise UsageError(
                f"{fixed} batches make {total} replicate(s): an error needs at least 2, raise {argument('batches')}"
            )
        looks = [*range(50, total, 50), total]
    else:
        total = _MAX_BATCHES if max_batches is None else max_batches
        if total < _FIRST_CHECK:
            raise UsageError(
                f"{argument('max_batches')} is at least {_FIRST_CHECK}, not {total}: errors are first read then"
            )
        looks = list(_growing(total))
    compared = elimination(engine, len(looks)) if resolve else None
    with progress("scoring", total, quiet=quiet) as show:
        advance = partial(_advance, show, stop)
        if compared is not None:
            return _until_resolved(engine, iter(looks), compared, advance), compared
        return _until_precise(engine, iter(looks), None if fixed is not None else rel_se, advance), None


def walk_once(engine: Engine, quiet: bool, stop: Stop | None = None) -> None:
    """Show every image once, but for the rest that does not fill a batch."""
    total = len(engine.data) // engine.protocol.batch
    with progress("scoring held-out images", total, quiet=quiet) as show:
        for _ in engine.run(iter([total]), partial(_advance, show, stop)):
            pass


def _advance(show: Advance, stop: Stop | None, steps: float = 1, note: str = "") -> None:
    show(steps, note=note)
    if stop is not None and stop():
        raise Interrupted("stopped; the same command scores again from the start")


def _growing(total: int) -> Iterator[int]:
    look = float(_FIRST_CHECK)
    while look < total:
        yield int(look)
        look *= _GROWTH
    yield total


def _until_precise(engine: Engine, looks: Iterator[int], rel_se: float | None, advance: Advance) -> bool:
    leading = engine.leading
    assert leading is not None or rel_se is None
    limited: set[str] = set()  # too few images: more passes over the same ones would not help
    for _ in engine.run(looks, advance):
        if rel_se is not None and leading is not None:
            known = {aug.name: measure_of_stream(engine, aug, leading) for aug in engine.active}
            precise = {name for name, measure in known.items() if measure.estimate.relative_se <= rel_se}
            out_of_reach = {name for name, measure in known.items() if measure.floor > rel_se}
            limited |= out_of_reach - precise
            enough = precise | out_of_reach
            engine.retired |= engine.ranks.agree(enough)  # ranks of different chips might differ in the last digit
        advance(0, note=f"{len(engine.active)} augmentations to go" if rel_se else "")
        if rel_se is not None and not engine.active:
            return not limited
    return rel_se is None


def _until_resolved(engine: Engine, looks: Iterator[int], compared: Elimination, advance: Advance) -> bool:
    for _ in engine.run(looks, advance):
        engine.retired = engine.ranks.agree(look(engine, compared))
        advance(0, note=f"{len(engine.active)} augmentations to go")
        if not engine.active:
            break
    return True
