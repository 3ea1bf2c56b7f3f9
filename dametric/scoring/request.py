"""What a user asked to be scored, checked and resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from dametric.augment import NEEDS_STUDENT, PAPER, Augmentation, Images, base_augmentation, parse
from dametric.base.arguments import argument
from dametric.base.option_groups import ScoringOptions
from dametric.errors import UsageError, unknown
from dametric.metrics import METRICS, Metric
from dametric.metrics.information import INFORMATION_KEPT
from dametric.scoring.protocol import Protocol

AugSpec = str | Augmentation | Callable[..., Any]

TEACHER_METRICS = ("t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf", "information_kept")
STUDENT_METRICS = ("ce_mean", "ce_std", "ce_cov")


def check_request(augs: AugSpec | Sequence[AugSpec], student: bool, options: ScoringOptions) -> None:
    """Refuse unknown names, impossible numbers and what needs a student, before any work is done.

    Raises
    ------
    UsageError
        With the nearest known name.
    """
    augmentations(augs, Images(), student)
    chosen_metrics(options.metrics, student)
    if options.base_aug is not None:
        base_augmentation(options.base_aug, Images())
    Protocol.of(options)
    wanted_precision(options.rel_se, options.protocol)


def wanted_precision(rel_se: float | None, protocol: str) -> float:
    """The relative standard error to stop at, 0.01 by default.

    Raises
    ------
    UsageError
        If the protocol has a length of its own.
    """
    if rel_se is None:
        return 0.01
    if protocol == "reference":
        raise UsageError(
            f"the reference protocol shows ten epochs, or as many batches as {argument('batches')} says, whatever "
            f"{argument('rel_se')}"
        )
    return rel_se


def augmentations(augs: AugSpec | Sequence[AugSpec], of: Images, student: bool) -> list[Augmentation]:
    """Every augmentation that was asked for, once; ``"paper"`` stands for the paper's nine."""
    if not isinstance(augs, (str, Augmentation, Iterable)) and not callable(augs):
        raise UsageError(f"augmentations are names, functions, or a list of them, not {augs!r}")
    asked: list[AugSpec] = [augs] if isinstance(augs, (str, Augmentation)) or callable(augs) else list(augs)
    chosen: dict[str, Augmentation] = {}
    for spec in asked:
        if spec == "paper":  # without a student its picks cannot be made: leave them out instead of refusing all
            group = [parse(name, of) for name in PAPER]
            found = [aug for aug in group if student or aug.pick not in NEEDS_STUDENT]
        else:
            found = [parse(spec, of)]
            if found[0].pick in NEEDS_STUDENT and not student:
                raise UsageError(
                    f"{found[0].name} asks the student which images to pick: give one with {argument('student')}"
                )
        for aug in found:
            if any(aug.operations == other.operations for other in chosen.values() if other.name.startswith(aug.name)):
                continue  # the same again
            if aug.name in chosen:  # two functions of one name, for example two lambdas
                aug = replace(aug, name=f"{aug.name}#{len(chosen) + 1}")
            chosen[aug.name] = aug
    if not chosen:
        raise UsageError(
            "no augmentation to score: give at least one, for example cutmix, or paper for the paper's nine"
        )
    return list(chosen.values())


def chosen_metrics(names: Sequence[str] | None, student: bool) -> list[Metric]:
    """The metrics of these names, or all that can be computed.

    The guard against destroyed images is among them wherever the raw images are forwarded anyway.
    """
    if names is not None and not isinstance(names, Iterable):
        raise UsageError(f"metrics are a list of names, not {names!r}")
    names = [names] if isinstance(names, str) else names or (*TEACHER_METRICS, *(STUDENT_METRICS if student else ()))
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if "student" in METRICS[name].needs and not student:
            raise UsageError(f"metric {name} needs a student's output: give one with {argument('student')}")
    if any("raw" in METRICS[name].needs for name in names):
        names = [*names, INFORMATION_KEPT.name]
    return [METRICS[name] for name in dict.fromkeys(names)]
