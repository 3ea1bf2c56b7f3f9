"""Sets of weights in a checkpoint file, and the choice among them: containers, prefixes, averages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import Tensor

from dametric.base.arguments import argument
from dametric.errors import UsageError

CONTAINERS = ("model", "state_dict", "model_state_dict", "net", "student")
DEEPEST = 4  # containers in containers; a hostile file may hold itself
PREFIXES = ("module.", "_orig_mod.", "model.")
Role = Literal["teacher", "student"]

_AVERAGE = re.compile(r"(^|[/._])(ema|swa|averaged?|moving|shadow)($|[/._])", re.IGNORECASE)
_NO_NETWORK = re.compile(r"optim|sched|scaler|(^|/)rng", re.IGNORECASE)
_MOST_NAMED = 8  # sets of weights in a message


@dataclass(frozen=True)
class WeightSet:
    """Tensors by name under one key of a file.

    Attributes
    ----------
    trail : tuple of str
        Keys from the top of the file.
    weights : dict of str to Tensor
    """

    trail: tuple[str, ...]
    weights: dict[str, Tensor]

    @property
    def key(self) -> str:
        """The key as a user writes it; empty for the top of the file."""
        return "/".join(self.trail)

    def __str__(self) -> str:
        about = "a moving average, " if _AVERAGE.search(self.key) else ""
        count = len(self.weights)
        place = f"'{self.key}'" if self.trail else "the top of the file"
        return f"{place} ({about}{count} tensor{'' if count == 1 else 's'})"


@dataclass(frozen=True)
class Choice:
    """The chosen set of weights.

    Attributes
    ----------
    taken : WeightSet
    rest : dict
        Other content of the containers that lead to it.
    others : tuple of WeightSet
        Other sets that could be meant.
    usual : bool
        Whether the customary names of containers alone led to it.
    prefix : str
        Prefix of the chosen names in the set, stripped from them.
    """

    taken: WeightSet
    rest: dict[str, Any]
    others: tuple[WeightSet, ...] = ()
    usual: bool = True
    prefix: str = ""

    @property
    def key(self) -> str:
        """Key of these weights in the file, with the prefix of their names."""
        return f"{self.taken.key}:{self.prefix}" if self.prefix else self.taken.key


@dataclass(frozen=True)
class Level:
    """Weights after prefixes are stripped from all names.

    Attributes
    ----------
    weights : dict of str to Tensor
    stripped : str
    left_out : tuple of str
        Names without the prefix, which are no part of the network.
    picked : bool
        Whether weights under another prefix fit as well.
    """

    weights: dict[str, Tensor]
    stripped: str = ""
    left_out: tuple[str, ...] = ()
    picked: bool = False


def weight_sets(content: Mapping[Any, Any]) -> list[WeightSet]:
    """All mappings of a file that hold tensors by name, nearest to the top first, each object once."""
    sets: list[WeightSet] = []
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    seen = {id(content)}
    while waiting:
        trail, mapping = waiting.pop(0)
        if weights := tensors_of(mapping):
            sets.append(WeightSet(trail, weights))
        for key, value in mapping.items():
            if isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen and len(trail) < DEEPEST:
                seen.add(id(value))
                waiting.append(((*trail, key), value))
    return sets


def tensors_of(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors of one mapping by name."""
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def choose(content: Mapping[Any, Any], key: str | None, role: Role | None, file: object) -> Choice | None:
    """Choose the requested network's weights.

    Parameters
    ----------
    content : mapping
        Content of the file.
    key : str, optional
        Key in the file, or prefix of names, that the user requests.
    role : {"teacher", "student"}, optional
        Which network of a file that holds both.
    file : object
        Name of the file, for errors.

    Returns
    -------
    Choice or None
        None where the file holds no weights.

    Raises
    ------
    UsageError
        If the key does not exist, or several sets could be meant; the message names all sets.
    """
    sets = weight_sets(content)
    if not sets:
        return None
    if key is not None:
        return _requested(content, sets, key, role, file)
    usual = _follow(content, None)
    trail = _follow(content, role)
    if role is None:
        _refuse_both(content, trail, sets, file)
    taken = _at(sets, trail)
    if taken is None or not trail:
        taken = _only(sets, taken, role, file)
    if taken is None:
        return None
    others = tuple(candidate for candidate in sets if candidate is not taken and _rivals(candidate, taken))
    return Choice(taken, _beside(content, taken), others, not usual or taken.trail == usual)


def listed(sets: Iterable[WeightSet]) -> str:
    """Sets of weights in words, with the number of tensors in each."""
    words = [str(weight_set) for weight_set in sets]
    return ", ".join(words[:_MOST_NAMED]) + (
        f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    )


def strip_levels(weights: dict[str, Tensor]) -> list[Level]:
    """Weights with no, one, two, ... prefixes stripped; a prefix is stripped only where all names have it."""
    levels = [Level(weights)]
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name[len(prefix) :]: weight for name, weight in weights.items()}
        levels.append(Level(weights, levels[-1].stripped + prefix))
    return levels


def parts(weights: dict[str, Tensor], first: str) -> Iterator[Level]:
    """Parts of the weights, by prefix, that could be a network whose first tensor is called ``first``.

    Networks are stored inside of others (``net.``, ``backbone.``, ``module.student.``), and beside counters
    (``n_averaged``), states of metrics and losses, which have no such prefix.
    """
    prefixes = {name.removesuffix(first) for name in weights if name.endswith(f".{first}")}
    for prefix in sorted(prefixes):
        part = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        left_out = tuple(name for name in weights if not name.startswith(prefix))
        yield Level(part, prefix, left_out)


def pick_part(levels: list[Level], role: Role | None) -> list[Level]:
    """Of parts that fit a network, the candidates for the requested one: those of the role, averages last."""
    named = [level for level in levels if role in level.stripped.split(".")]
    if not named and any(role in name.split(".") for level in levels for name in level.left_out):
        return []  # the role has weights in the file, which do not fit
    wanted = named or levels
    plain = [level for level in wanted if not _AVERAGE.search(level.stripped)] or wanted
    return [Level(level.weights, level.stripped, level.left_out, picked=len(levels) > 1) for level in plain]


def _follow(content: Mapping[Any, Any], role: Role | None) -> tuple[str, ...]:
    """Follow the customary names of containers down to the weights, the role first."""
    trail: tuple[str, ...] = ()
    names = CONTAINERS if role is None else (role, *CONTAINERS)
    while key := next((name for name in names if _holds_tensors(content.get(name), names, DEEPEST - len(trail))), None):
        trail, content = (*trail, key), content[key]
    return trail


def _holds_tensors(value: Any, names: tuple[str, ...], deep: int) -> bool:
    if not isinstance(value, Mapping) or deep <= 0:
        return False
    return any(isinstance(item, Tensor) for item in value.values()) or any(
        _holds_tensors(value.get(name), names, deep - 1) for name in names
    )


def _at(sets: list[WeightSet], trail: tuple[str, ...]) -> WeightSet | None:
    return next((weight_set for weight_set in sets if weight_set.trail == trail), None)


def _refuse_both(content: Mapping[Any, Any], trail: tuple[str, ...], sets: list[WeightSet], file: object) -> None:
    """Refuse a teacher beside a student, where the customary names alone are ambiguous."""
    for key in trail:
        if key == "student" and _holds_tensors(content.get("teacher"), CONTAINERS, DEEPEST):
            raise UsageError(f"{file} holds a teacher and a student: {_choices(sets)}")
        content = content[key]


def _only(sets: list[WeightSet], top: WeightSet | None, role: Role | None, file: object) -> WeightSet | None:
    """The only set that can be a network's, in a file without customary names; that of the role where keys name it."""
    able = [candidate for candidate in sets if not _NO_NETWORK.search(candidate.key)]
    of_role = {word: [candidate for candidate in able if word in candidate.key.lower()] for word in get_args(Role)}
    if all(of_role.values()):
        if role is None:
            raise UsageError(f"{file} holds a teacher and a student: {_choices(able)}")
        able, top = of_role[role], None
    most = max((len(candidate.weights) for candidate in able), default=0)
    large = [candidate for candidate in able if 2 * len(candidate.weights) >= most]
    if top is not None and top in large:
        return top
    plain = [candidate for candidate in large if not _AVERAGE.search(candidate.key)] or large
    if len(plain) > 1:
        raise UsageError(f"{file} holds several sets of weights: {_choices(plain)}")
    return plain[0] if plain else None


def _rivals(candidate: WeightSet, taken: WeightSet) -> bool:
    return 2 * len(candidate.weights) >= len(taken.weights) and not _NO_NETWORK.search(candidate.key)


def _beside(content: Mapping[Any, Any], taken: WeightSet) -> dict[str, Any]:
    """Other content of the file on all levels down to the weights."""
    rest: dict[str, Any] = {}
    for key in taken.trail:
        rest |= {str(name): value for name, value in content.items() if name != key}
        content = content[key]
    return rest | {str(name): value for name, value in content.items() if name not in taken.weights}


def _requested(content: Mapping[Any, Any], sets: list[WeightSet], key: str, role: Role | None, file: object) -> Choice:
    word = key.strip("/")
    usual = _follow(content, None)
    named = [s for s in sets if s.key == word] or [s for s in sets if s.trail and s.trail[-1] == word]
    if len(named) == 1:
        return Choice(named[0], _beside(content, named[0]), (), named[0].trail == usual)
    if named:
        raise UsageError(f"{file} holds several '{key}': {_choices(named)}")
    prefix = word.rstrip(".") + "."
    whole = _at(sets, _follow(content, role))
    weights = {} if whole is None else whole.weights
    part = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
    if whole is None or not part:
        raise UsageError(f"{file} holds no weights '{key}', only {listed(sets)}")
    return Choice(WeightSet(whole.trail, part), _beside(content, whole), (), False, prefix)


def _choices(sets: Iterable[WeightSet]) -> str:
    return f"{listed(sets)}; say which with {argument('weights', 'KEY')}"
