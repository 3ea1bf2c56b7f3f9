"""Architecture of a set of weights, from names and shapes alone."""

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

# number of classes that is no layer's width, so that the tensors which depend on it can be identified
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
        """The first difference of ``level`` in names or shapes, in words; None where all agree."""
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
        """Name of the first tensor that every file has."""
        return next(name for name in self.shapes if not name.endswith(_COUNTER))

    def classes(self, level: Level) -> int | None:
        """Number of classes according to the last layer; None where its tensors are missing or disagree."""
        counts = {w.shape[0] if w.dim() else 0 for name, w in level.weights.items() if name in self.head}
        return counts.pop() if len(counts) == 1 else None

    def overlap(self, level: Level) -> float:
        """Fraction of names and shapes in common (Jaccard), between 0 and 1."""
        expected = {(name, self._open(name, shape)) for name, shape in self.shapes.items()}
        actual = {(name, self._open(name, tuple(w.shape))) for name, w in level.weights.items()}
        return len(expected & actual) / len(expected | actual)

    def _open(self, name: str, shape: Shape) -> Shape:
        return (-1, *shape[1:]) if name in self.head else shape


def _words(shape: Shape) -> str:
    return str(shape).replace("-1", "classes")


def signature(arch: str, image_size: int = 32) -> Signature:
    """Names and shapes of an architecture, without allocating or drawing weights.

    Parameters
    ----------
    arch : str
        Anything that ``build`` takes.
    image_size : int
        Height and width of the images in pixels.

    Returns
    -------
    Signature
        Its ``head`` is empty where the architecture ignores ``num_classes``.
    """
    with torch.device("meta"):
        network = build(arch, _MARK, image_size)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return Signature(shapes, frozenset(name for name, shape in shapes.items() if shape[:1] == (_MARK,)))


@functools.lru_cache(maxsize=1)
def _built_in() -> dict[str, Signature]:
    return {name: signature(name) for name in MODELS}


def best_level(levels: list[Level], names: set[str]) -> Level:
    """The weights whose names agree best with a network's; of several the least stripped."""
    return max(levels, key=lambda level: len(level.weights.keys() & names))


def fitting_level(levels: list[Level], expected: Signature, role: Role | None, path: str) -> Level | None:
    """The part of the weights, under one prefix, that fits an architecture exactly; None where no part or all do.

    Parameters
    ----------
    levels : list of Level
        All weights, with increasingly many prefixes stripped.
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
    fitting = pick_part([part for part in parts(levels[0].weights, expected.first) if _fits(expected, part)], role)
    if len(fitting) > 1:
        raise UsageError(f"{path} holds several networks of this architecture {_prefixes(fitting)}")
    return fitting[0] if fitting else None


def _library_arch(levels: list[Level], named: object) -> str | None:
    """Library architecture that a file names, as training scripts write it, if its names and shapes fit."""
    if not isinstance(named, str) or not _NAME.fullmatch(named):
        return None
    size = trained_size(levels[0].weights) or 32
    for library in LIBRARIES:
        try:
            candidate = signature(f"{library}:{named}", size)
        except Exception:  # unknown, not installed, or impossible to build without storage
            continue
        if any(candidate.difference(level) is None for level in levels):
            return f"{library}:{named}"
    return None


def recognise(
    levels: list[Level], path: str, role: Role | None = None, named: object = None
) -> tuple[str, Level | None]:
    """Find the one built-in architecture whose names and shapes are exactly those of the weights.

    Where there is none, find the one of torchvision or timm that the file names, if it fits exactly.

    Parameters
    ----------
    levels : list of Level
        The weights with increasingly many prefixes stripped.
    path : str
        The file, for the error.
    role : {"teacher", "student"}, optional
        Decides between parts of the weights that are complete networks.
    named : object
        Architecture that the file names, if any.

    Returns
    -------
    str
        A name in ``MODELS``, ``torchvision:NAME`` or ``timm:NAME``.
    Level or None
        The part of the weights that fits, where only a part of them does.

    Raises
    ------
    UsageError
        If none or several fit; the message names the nearest and the first difference.
    """
    signatures = _built_in()
    fitting = [n for n, s in signatures.items() if any(s.difference(level) is None for level in levels)]
    if len(fitting) == 1:
        return fitting[0], None
    if named in fitting:
        return str(named), None
    if fitting:
        raise UsageError(f"the weights in {path} fit {' and '.join(fitting)}: say which with {argument('arch')}")
    library_arch = _library_arch(levels, named)
    if library_arch is not None:
        return library_arch, None
    part = _recognise_part(levels[0], path, role)
    if part is not None:
        return part
    raise UsageError(f"the weights in {path} {_nearest(levels[-1])}")


def _recognise_part(level: Level, path: str, role: Role | None) -> tuple[str, Level] | None:
    """The one built-in architecture that a part of the weights, under one prefix, fits exactly."""
    fitting = [
        (name, part)
        for name, expected in _built_in().items()
        for part in parts(level.weights, expected.first)
        if _fits(expected, part)
    ]
    picked = pick_part(list({part.stripped: part for _, part in fitting}.values()), role)
    if len(picked) > 1:
        raise UsageError(f"{path} holds several networks {_prefixes(picked)}")
    names = [name for name, part in fitting if picked and part.stripped == picked[0].stripped]
    if len(names) > 1:
        raise UsageError(f"the weights in {path} fit {' and '.join(names)}: say which with {argument('arch')}")
    return (names[0], picked[0]) if names else None


def _fits(expected: Signature, part: Level) -> bool:
    return len(part.weights) <= len(expected.shapes) and expected.difference(part) is None


def _prefixes(levels: list[Level]) -> str:
    names = ", ".join(f"'{level.stripped}'" for level in levels)
    return f"under the prefixes {names}; say which with {argument('weights', 'PREFIX')}"


def _nearest(level: Level) -> str:
    """Nearest architecture and its first difference, for an error message."""
    signatures = _built_in()
    remedies = f"{argument('arch')} with a name, torchvision:NAME, timm:NAME or ./file.py:fn"
    scores = {name: expected.overlap(level) for name, expected in signatures.items()}
    best = max(scores.values())
    if best == 0:
        return f"have no name in common with a known architecture: pass {remedies}"
    nearest = [name for name, score in scores.items() if score == best][:3]
    first = signatures[nearest[0]].difference(level)
    return f"fit no known architecture exactly: nearest is {' or '.join(nearest)}, but {first}; pass {remedies}"
