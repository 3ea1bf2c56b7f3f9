"""Which of the tensors in a checkpoint file are the network's weights: containers, prefixes, copies of one network."""

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
    """Tensors by name that stand in one place of a file.

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
        """The place as a user names it; empty for the top of the file."""
        return "/".join(self.trail)

    def __str__(self) -> str:
        about = "a moving average, " if _AVERAGE.search(self.key) else ""
        count = len(self.weights)
        place = f"'{self.key}'" if self.trail else "the top of the file"
        return f"{place} ({about}{count} tensor{'' if count == 1 else 's'})"


@dataclass(frozen=True)
class Choice:
    """The set of weights that is taken.

    Attributes
    ----------
    taken : WeightSet
    rest : dict
        What else stands on the way to it.
    others : tuple of WeightSet
        Sets that could have been meant too.
    usual : bool
        Whether no other rule than the customary names of containers led there.
    prefix : str
        Of the names that were chosen among the set's, stripped from them.
    """

    taken: WeightSet
    rest: dict[str, Any]
    others: tuple[WeightSet, ...] = ()
    usual: bool = True
    prefix: str = ""

    @property
    def key(self) -> str:
        """What names these weights within the file."""
        return f"{self.taken.key}:{self.prefix}" if self.prefix else self.taken.key


@dataclass(frozen=True)
class Level:
    """The weights after some prefixes were stripped from all names.

    Attributes
    ----------
    weights : dict of str to Tensor
    stripped : str
    left_out : tuple of str
        Names without the prefix, which are no part of the network.
    picked : bool
        Whether weights under another prefix would have fitted as well.
    """

    weights: dict[str, Tensor]
    stripped: str = ""
    left_out: tuple[str, ...] = ()
    picked: bool = False


def weight_sets(content: Mapping[Any, Any]) -> list[WeightSet]:
    """Everything in a file that holds tensors by name, nearest to the top first; what stands twice comes once."""
    found: list[WeightSet] = []
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    seen = {id(content)}
    while waiting:
        trail, here = waiting.pop(0)
        if weights := tensors_of(here):
            found.append(WeightSet(trail, weights))
        for key, value in here.items():
            if isinstance(key, str) and isinstance(value, Mapping) and id(value) not in seen and len(trail) < DEEPEST:
                seen.add(id(value))
                waiting.append(((*trail, key), value))
    return found


def tensors_of(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    """The tensors that stand by name in one mapping."""
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}


def choose(content: Mapping[Any, Any], key: str | None, role: Role | None, file: object) -> Choice | None:
    """The weights of the network that is asked for.

    Parameters
    ----------
    content : mapping
        Of the file.
    key : str, optional
        The place, or a prefix of names, that the user asks for.
    role : {"teacher", "student"}, optional
        What the network is to be: of a file with both, that one's weights are taken.
    file : object
        For the error.

    Returns
    -------
    Choice or None
        None where nothing in the file is weights.

    Raises
    ------
    UsageError
        If the key is not there, or several sets could be meant; it names all that there are.
    """
    sets = weight_sets(content)
    if not sets:
        return None
    if key is not None:
        return _asked(content, sets, key, role, file)
    usual = _follow(content, None)
    trail = _follow(content, role)
    if role is None:
        _refuse_both(content, trail, sets, file)
    taken = _at(sets, trail)
    if taken is None or not trail:
        taken = _only(sets, taken, role, file)
    if taken is None:
        return None
    others = tuple(one for one in sets if one is not taken and _rivals(one, taken))
    return Choice(taken, _beside(content, taken), others, not usual or taken.trail == usual)


def listed(sets: Iterable[WeightSet]) -> str:
    """Sets of weights as words, with how many tensors each holds."""
    words = [str(one) for one in sets]
    return ", ".join(words[:_MOST_NAMED]) + (
        f" and {len(words) - _MOST_NAMED} more" if len(words) > _MOST_NAMED else ""
    )


def strip_levels(weights: dict[str, Tensor]) -> list[Level]:
    """Weights with no prefix stripped, one, two and so on; a prefix goes only where all names have it."""
    levels = [Level(weights)]
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name[len(prefix) :]: weight for name, weight in weights.items()}
        levels.append(Level(weights, levels[-1].stripped + prefix))
    return levels


def parts(weights: dict[str, Tensor], first: str) -> Iterator[Level]:
    """Parts of the weights that a network could be whose first tensor is called ``first``, by their prefix.

    Networks are kept inside of others: ``net.``, ``backbone.``, ``module.student.``; and beside counters
    (``n_averaged``), states of metrics and losses, which have no such prefix.
    """
    prefixes = {name.removesuffix(first) for name in weights if name.endswith(f".{first}")}
    for prefix in sorted(prefixes):
        own = {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}
        left_out = tuple(name for name in weights if not name.startswith(prefix))
        yield Level(own, prefix, left_out)


def pick_part(levels: list[Level], role: Role | None) -> list[Level]:
    """Of parts that fit a network, those that could be the one asked for: the role's own, averages after others."""
    named = [level for level in levels if role in level.stripped.split(".")]
    if not named and any(role in name.split(".") for level in levels for name in level.left_out):
        return []  # the role's own weights are there, and fit nothing
    wanted = named or levels
    plain = [level for level in wanted if not _AVERAGE.search(level.stripped)] or wanted
    return [Level(one.weights, one.stripped, one.left_out, picked=len(levels) > 1) for one in plain]


def _follow(content: Mapping[Any, Any], role: Role | None) -> tuple[str, ...]:
    """Follow the customary names of containers down to the weights, the role's own first."""
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
    return next((one for one in sets if one.trail == trail), None)


def _refuse_both(content: Mapping[Any, Any], trail: tuple[str, ...], sets: list[WeightSet], file: object) -> None:
    """A teacher beside a student: the customary names alone do not say which is meant."""
    for key in trail:
        if key == "student" and _holds_tensors(content.get("teacher"), CONTAINERS, DEEPEST):
            raise UsageError(f"{file} holds a teacher and a student: {_ways(sets)}")
        content = content[key]


def _only(sets: list[WeightSet], top: WeightSet | None, role: Role | None, file: object) -> WeightSet | None:
    """The one set that can be a network's, in a file without any customary name; the role's own where names say it."""
    able = [one for one in sets if not _NO_NETWORK.search(one.key)]
    of_role = {word: [one for one in able if word in one.key.lower()] for word in get_args(Role)}
    if all(of_role.values()):
        if role is None:
            raise UsageError(f"{file} holds a teacher and a student: {_ways(able)}")
        able, top = of_role[role], None
    most = max((len(one.weights) for one in able), default=0)
    large = [one for one in able if 2 * len(one.weights) >= most]
    if top is not None and top in large:
        return top
    plain = [one for one in large if not _AVERAGE.search(one.key)] or large
    if len(plain) > 1:
        raise UsageError(f"{file} holds several sets of weights: {_ways(plain)}")
    return plain[0] if plain else None


def _rivals(one: WeightSet, taken: WeightSet) -> bool:
    return 2 * len(one.weights) >= len(taken.weights) and not _NO_NETWORK.search(one.key)


def _beside(content: Mapping[Any, Any], taken: WeightSet) -> dict[str, Any]:
    """What stands on all levels down to the weights, except them."""
    rest: dict[str, Any] = {}
    for key in taken.trail:
        rest |= {str(name): value for name, value in content.items() if name != key}
        content = content[key]
    return rest | {str(name): value for name, value in content.items() if name not in taken.weights}


def _asked(content: Mapping[Any, Any], sets: list[WeightSet], key: str, role: Role | None, file: object) -> Choice:
    word = key.strip("/")
    usual = _follow(content, None)
    named = [one for one in sets if one.key == word] or [one for one in sets if one.trail and one.trail[-1] == word]
    if len(named) == 1:
        return Choice(named[0], _beside(content, named[0]), (), named[0].trail == usual)
    if named:
        raise UsageError(f"{file} holds several '{key}': {_ways(named)}")
    prefix = word.rstrip(".") + "."
    whole = _at(sets, _follow(content, role))
    own = {} if whole is None else {n.removeprefix(prefix): w for n, w in whole.weights.items() if n.startswith(prefix)}
    if whole is None or not own:
        raise UsageError(f"{file} holds no weights '{key}', only {listed(sets)}")
    return Choice(WeightSet(whole.trail, own), _beside(content, whole), (), False, prefix)


def _ways(sets: Iterable[WeightSet]) -> str:
    return f"{listed(sets)}; say which with {argument('weights', 'KEY')}"
