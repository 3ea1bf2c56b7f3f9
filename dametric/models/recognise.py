"""Which architecture a set of weights belongs to, from names and shapes alone."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import torch

from dametric.base.arguments import argument
from dametric.errors import UsageError
from dametric.models.library import LIBRARIES, trained_size
from dametric.models.registry import MODELS, build
from dametric.models.weight_sets import Level, Role, parts, pick_part

# A class count that no layer has as its width, so that the tensors that follow it can be told.
_MARK = 10007
_COUNTER = "num_batches_tracked"  # absent from checkpoints of torch before 0.4.1

_NAME = re.compile(r"\w[\w.-]*")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Shape of every tensor of an architecture, and the names of those whose first axis is the classes."""

    shapes: dict[str, Shape]
    head: frozenset[str]

    def difference(self, level: Level) -> str | None:
        """The first name or shape in which ``level`` differs, as words; None where all agree."""
        weights = level.weights
        for name, shape in self.shapes.items():
            if name not in weights:
                if not name.endswith(_COUNTER):
                    return f"'{name}' is missing"
            elif self._open(name, tuple(weights[name].shape)) != self._open(name, shape):
                return f"'{name}' has shape {tuple(weights[name].shape)} instead of {_words(self._open(name, shape))}"
        surplus = next((name for name in weights if name not in self.shapes), None)
        if surplus is not None:
            return f"'{surplus}' is unexpected"
        return None if self.head and self.classes(level) else "the tensors of the last layer disagree on the classes"

    @property
    def first(self) -> str:
        """The name of one tensor that is in every file."""
        return next(name for name in self.shapes if not name.endswith(_COUNTER))

    def classes(self, level: Level) -> int | None:
        """Number of classes according to the last layer; None where its tensors are missing or disagree."""
        counts = {w.shape[0] if w.dim() else 0 for name, w in level.weights.items() if name in self.head}
        return counts.pop() if len(counts) == 1 else None

    def overlap(self, level: Level) -> float:
        """Fraction of names and shapes in common (Jaccard), between 0 and 1."""
        mine = {(name, self._open(name, shape)) for name, shape in self.shapes.items()}
        theirs = {(name, self._open(name, tuple(w.shape))) for name, w in level.weights.items()}
        return len(mine & theirs) / len(mine | theirs)

    def _open(self, name: str, shape: Shape) -> Shape:
        return (-1, *shape[1:]) if name in self.head else shape


def _words(shape: Shape) -> str:
    return str(shape).replace("-1", "classes")


def signature(arch: str, image_size: int = 32) -> Signature:
    """Names and shapes of an architecture, found without allocating or drawing weights.

    Parameters
    ----------
    arch : str
        Anything that ``build`` takes.
    image_size : int
        Height and width of the images in pixels.

    Returns
    -------
    Signature
        Its ``head`` is empty where the architecture takes no notice of ``num_classes``.
    """
    with torch.device("meta"):
        network = build(arch, _MARK, image_size)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return Signature(shapes, frozenset(name for name, shape in shapes.items() if shape[:1] == (_MARK,)))


@functools.lru_cache(maxsize=1)
def _built_in() -> dict[str, Signature]:
    return {name: signature(name) for name in MODELS}


def best_level(levels: list[Level], names: set[str]) -> Level:
    """The weights whose names agree best with a network's; the least stripped where several do."""
    return max(levels, key=lambda level: len(level.weights.keys() & names))


def fitting_level(levels: list[Level], expected: Signature, role: Role | None, path: str) -> Level | None:
    """The weights that are exactly an architecture's: all of them, or those under one prefix.

    Parameters
    ----------
    levels : list of Level
        All weights, with ever more prefixes stripped.
    expected : Signature
    role : {"teacher", "student"}, optional
        Decides between prefixes that fit alike.
    path : str
        The file, for the error.

    Raises
    ------
    UsageError
        If several prefixes fit.
    """
    best = best_level(levels, set(expected.shapes))
    if not expected.shapes or not expected.head or expected.difference(best) is None:
        return None
    found = pick_part([part for part in parts(levels[0].weights, expected.first) if _fits(expected, part)], role)
    if len(found) > 1:
        raise UsageError(f"{path} holds several networks of this architecture {_prefixes(found)}")
    return found[0] if found else None


def _of_a_library(levels: list[Level], named: object) -> str | None:
    """A library's architecture that a file names, as training scripts write it, if its names and shapes fit."""
    if not isinstance(named, str) or not _NAME.fullmatch(named):
        return None
    size = trained_size(levels[0].weights) or 32
    for library in LIBRARIES:
        try:
            found = signature(f"{library}:{named}", size)
        except Exception:  # not known, not installed, or not to be made without storage
            continue
        if any(found.difference(level) is None for level in levels):
            return f"{library}:{named}"
    return None


def recognise(
    levels: list[Level], path: str, role: Role | None = None, named: object = None
) -> tuple[str, Level | None]:
    """Name the one built-in architecture whose names and shapes are exactly those of the weights.

    Where there is none, the one of torchvision or timm that the file names, if it fits as exactly.

    Parameters
    ----------
    levels : list of Level
        The weights with ever more prefixes stripped.
    path : str
        The file, for the error.
    role : {"teacher", "student"}, optional
        Decides between parts of the weights that are networks of their own.
    named : object
        What the file calls its architecture, if anything.

    Returns
    -------
    str
        A name in ``MODELS``, ``torchvision:NAME`` or ``timm:NAME``.
    Level or None
        The part of the weights that fits, where only a part of them does.

    Raises
    ------
    UsageError
        If none or several fit; it names the nearest and the first difference.
    """
    signatures = _built_in()
    fitting = [n for n, s in signatures.items() if any(s.difference(level) is None for level in levels)]
    if len(fitting) == 1:
        return fitting[0], None
    if named in fitting:
        return str(named), None
    if fitting:
        raise UsageError(f"the weights in {path} fit {' and '.join(fitting)}: say which with {argument('arch')}")
    theirs = _of_a_library(levels, named)
    if theirs is not None:
        return theirs, None
    part = _recognise_part(levels[0], path, role)
    if part is not None:
        return part
    raise UsageError(f"the weights in {path} {_nearest(levels[-1])}")


def _recognise_part(level: Level, path: str, role: Role | None) -> tuple[str, Level] | None:
    """The one built-in architecture, under the one prefix, that a part of the weights is exactly."""
    found = [
        (name, part)
        for name, expected in _built_in().items()
        for part in parts(level.weights, expected.first)
        if _fits(expected, part)
    ]
    picked = pick_part(list({part.stripped: part for _, part in found}.values()), role)
    if len(picked) > 1:
        raise UsageError(f"{path} holds several networks {_prefixes(picked)}")
    names = [name for name, part in found if picked and part.stripped == picked[0].stripped]
    if len(names) > 1:
        raise UsageError(f"the weights in {path} fit {' and '.join(names)}: say which with {argument('arch')}")
    return (names[0], picked[0]) if names else None


def _fits(expected: Signature, part: Level) -> bool:
    return len(part.weights) <= len(expected.shapes) and expected.difference(part) is None


def _prefixes(levels: list[Level]) -> str:
    names = ", ".join(f"'{level.stripped}'" for level in levels)
    return f"under the prefixes {names}; say which with {argument('weights', 'PREFIX')}"


def _nearest(level: Level) -> str:
    """What would have to be different."""
    signatures = _built_in()
    ways = f"{argument('arch')} with a name, torchvision:NAME, timm:NAME or ./file.py:fn"
    scores = {name: found.overlap(level) for name, found in signatures.items()}
    best = max(scores.values())
    if best == 0:
        return f"have no name in common with a known architecture: pass {ways}"
    nearest = [name for name, score in scores.items() if score == best][:3]
    first = signatures[nearest[0]].difference(level)
    return f"fit no known architecture exactly: nearest is {' or '.join(nearest)}, but {first}; pass {ways}"
