"""What a user asked to be scored, checked and resolved."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from dametric import limits
from dametric.augment import NEEDS_STUDENT, PAPER, Augmentation, Images, base_augmentation, parse
from dametric.augment.base import Operation
from dametric.augment.external import External
from dametric.errors import UsageError, unknown
from dametric.metrics import METRICS, Metric
from dametric.metrics.information import INFORMATION_KEPT
from dametric.scoring.protocol import Protocol

AugSpec = str | Augmentation | Callable[..., Any]

TEACHER_METRICS = ("t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf", "information_kept")
_GUARDING = 4  # batches: enough for an error too, and a small part of the work
STUDENT_METRICS = ("ce_mean", "ce_std", "ce_cov")


def check_request(
    augs: Sequence[AugSpec],
    metrics: Sequence[str] | None,
    student: bool,
    per: str | None = None,
    base_aug: str | None = None,
    *,
    protocol: str = "default",
    rel_se: float | None = None,
    raw_weight: float = 0.5,
    temperature: float = 1.0,
) -> None:
    """Refuse unknown names, impossible numbers and what needs a student, before any work is done.

    Raises
    ------
    UsageError
        With the nearest known name.
    """
    augmentations(augs, Images(), student)
    chosen_metrics(metrics, student)
    if per not in (None, "sample", "batch"):
        raise unknown("value of --per", str(per), ("sample", "batch"))
    if base_aug is not None:
        base_augmentation(base_aug, Images())
    Protocol(reference=protocol == "reference", raw_weight=raw_weight, temperature=temperature)
    wanted_precision(rel_se, protocol)


def wanted_precision(rel_se: float | None, protocol: str) -> float:
    """The relative standard error to stop at, 0.01 by default.

    Raises
    ------
    UsageError
        If it is not between 0 and 1, or the protocol has a length of its own.
    """
    if rel_se is None:
        return 0.01
    if protocol == "reference":
        raise UsageError(
            "the reference protocol shows ten epochs, or as many batches as --batches says, whatever --rel-se"
        )
    limits.real("rel_se", rel_se)
    if not 0 < rel_se < 1:
        raise UsageError(f"--rel-se is a fraction between 0 and 1, for example 0.01, not {rel_se}")
    return rel_se


def augmentations(augs: AugSpec | Sequence[AugSpec], of: Images, student: bool) -> list[Augmentation]:
    """Every augmentation that was asked for, once; ``"paper"`` stands for the paper's nine."""
    if not isinstance(augs, (str, Augmentation, Iterable)) and not callable(augs):
        raise UsageError(f"augmentations are names, functions, or a list of them, not {augs!r}")
    asked: list[AugSpec] = [augs] if isinstance(augs, (str, Augmentation)) or callable(augs) else list(augs)
    chosen: dict[str, Augmentation] = {}
    typed: set[str] = set()
    for spec in asked:
        if spec == "paper":  # without a student its picks cannot be made: leave them out instead of refusing all
            group = [parse(name, of) for name in PAPER]
            found = [aug for aug in group if student or aug.pick not in NEEDS_STUDENT]
        else:
            found = [parse(spec, of)]
            if found[0].pick in NEEDS_STUDENT and not student:
                raise UsageError(f"{found[0].name} asks the student which images to pick: give one with --student")
        for aug in found:
            alike = [other for other in chosen.values() if other.name.startswith(aug.name)]
            if aug.name in typed or any(_same(aug, other) for other in alike):
                continue  # the same again
            if isinstance(spec, str):
                typed.add(aug.name)
            if aug.name in chosen:  # two functions of one name, for example two lambdas
                aug = replace(aug, name=f"{aug.name}#{len(chosen) + 1}")
            chosen[aug.name] = aug
    if not chosen:
        raise UsageError(
            "no augmentation to score: give at least one, for example cutmix, or paper for the paper's nine"
        )
    return list(chosen.values())


def _same(one: Augmentation, other: Augmentation) -> bool:
    """Whether two augmentations do the same; of functions of the user's own only the same object is sure to."""
    return [_known_by(operation) for operation in one.operations] == [_known_by(that) for that in other.operations]


def _known_by(operation: Operation) -> Any:
    if not isinstance(operation, External):
        return operation
    function = operation.function
    # every look at a method makes an object of its own, equal to others of the same method of the same object
    return operation.name, function if inspect.ismethod(function) else id(function)


def chosen_metrics(names: Sequence[str] | None, student: bool) -> list[Metric]:
    """The metrics of these names, or all that can be computed.

    The guard against destroyed images is among them; where raw images are forwarded for it alone, of the first batches.
    """
    if names is not None and not isinstance(names, Iterable):
        raise UsageError(f"metrics are a list of names, not {names!r}")
    names = [names] if isinstance(names, str) else names or (*TEACHER_METRICS, *(STUDENT_METRICS if student else ()))
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if "student" in METRICS[name].needs and not student:
            raise UsageError(f"metric {name} needs a student's output: give one with --student")
    if any("raw" in METRICS[name].needs for name in names):
        names = [*names, INFORMATION_KEPT.name]
    chosen = [METRICS[name] for name in dict.fromkeys(names)]
    return chosen if INFORMATION_KEPT in chosen else [*chosen, replace(INFORMATION_KEPT, first=_GUARDING)]
