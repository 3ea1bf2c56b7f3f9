"""What a user asked to be scored, checked and resolved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dametric.augment import NEEDS_STUDENT, Augmentation, ImageSpec, base_augmentation, expand, parse
from dametric.augment.sameness import same_operations
from dametric.base.arguments import argument
from dametric.base.option_groups import ScoringOptions
from dametric.base.progress import say
from dametric.errors import UsageError
from dametric.metrics import ALL, GROUPS, METRICS, Metric
from dametric.metrics.information import INFORMATION_KEPT
from dametric.metrics.named import metric_of
from dametric.metrics.teacher_confidence import T_CONFIDENCE
from dametric.scoring.protocol import Protocol

AugSpec = str | Augmentation | Callable[..., Any]

TEACHER_METRICS = ("t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf", "information_kept")
AFFINITY = ("affinity_acc", "affinity_loss")
_GUARDING = 4  # batches: enough for an error too, and a small part of the work
STUDENT_METRICS = ("ce_mean", "ce_std", "ce_cov")


def check_request(
    augs: AugSpec | Sequence[AugSpec], student: bool, options: ScoringOptions, mixes: bool = False
) -> None:
    """Refuse unknown names, impossible numbers and what needs a student, before any work is done.

    Raises
    ------
    UsageError
        For an unknown name, with the nearest known one.
    """
    chosen = augmentations(augs, ImageSpec(), student)
    given = Given(student, augs=tuple(chosen), mixes=mixes, reference=options.protocol == "reference")
    _check_views(
        chosen_metrics(options.metrics, given, options.views, held_out=options.held_out is not None),
        chosen,
        options.batch_size,
    )
    if options.base_aug is not None:
        base_augmentation(options.base_aug, ImageSpec())
    Protocol.of(options)
    for name in ("batches", "rel_se"):
        if options.resolve and getattr(options, name) is not None:
            raise UsageError(
                f"{argument('resolve', True)} shows an augmentation until it is worse than another, at most "
                f"{argument('max_batches', options.max_batches)}: leave {argument(name)} out"
            )
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


def augmentations(
    augs: AugSpec | Sequence[AugSpec], images: ImageSpec, student: bool, quiet: bool = True
) -> list[Augmentation]:
    """Every augmentation that was asked for, once; groups, such as ``"paper"``, and ranges stand for their members.

    Those that are another one under a second name are left out, and that is printed.
    """
    if not isinstance(augs, (str, Augmentation, Iterable)) and not callable(augs):
        raise UsageError(f"augmentations are names, functions, or a list of them, not {augs!r}")
    specs: list[AugSpec] = [augs] if isinstance(augs, (str, Augmentation)) or callable(augs) else list(augs)
    chosen: dict[str, Augmentation] = {}
    typed: set[str] = set()
    for spec in specs:
        requested = [parse(member, images) for member in (expand([spec]) if isinstance(spec, str) else [spec])]
        without = [aug for aug in requested if aug.pick in NEEDS_STUDENT and not student]
        if without and spec != "paper":
            raise UsageError(
                f"{without[0].name} asks the student which images to pick: give one with {argument('student')}"
            )
        # without a student the paper's picks by it cannot be made: leave them out instead of refusing all
        for aug in (aug for aug in requested if aug not in without):
            same = next((each for each in chosen.values() if same_operations(aug.operations, each.operations)), None)
            if aug.name in typed or same is not None:
                if same is not None and same.name != aug.name and isinstance(spec, str):
                    say(f"{aug.name} is {same.name}: scored once", quiet)
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


def _check_views(metrics: list[Metric], augs: list[Augmentation], batch_size: int) -> None:
    """Refuse to compare views of images that are not the same, or cannot be independent."""
    for metric in metrics:
        if metric.views >= batch_size:
            raise UsageError(
                f"{argument('views', metric.views)} must be less than {argument('batch_size', batch_size)}"
            )
        picks = [aug.name for aug in augs if aug.pick is not None]
        if metric.views > 1 and picks:
            raise UsageError(
                f"metric {metric.name} compares {metric.views} views of each image, and {picks[0]} picks images: "
                "leave one of the two out"
            )


@dataclass(frozen=True)
class Given:
    """What there is to compute metrics of.

    Attributes
    ----------
    student, labels : bool
        Whether there is a student, and whether the images have labels.
    training : bool
        Whether the images are of a training split, of which some can be held out.
    augs : tuple of Augmentation
        What is scored.
    mixes : bool
        Whether it is scored beside augmentations that mix images.
    reference : bool
        Whether it is scored by the reference protocol.
    """

    student: bool
    labels: bool = True
    training: bool = True
    augs: tuple[Augmentation, ...] = ()
    mixes: bool = False
    reference: bool = False

    def lack(self, metric: Metric) -> str | None:
        """What a metric cannot be computed without, in words; None where nothing is missing."""
        if "student" in metric.needs and not self.student:
            return f"without a student's output, which {argument('student')} gives"
        if "labels" in metric.needs and not self.labels:
            return "without labels, which these images do not have"
        held_out = "held_out" in metric.needs or metric.less is not None
        if held_out and not self.training:
            return "on a test split: images are held out of training splits only"
        if "mixing" in metric.needs and not (self.mixes or any(aug.mixes for aug in self.augs)):
            return "without an augmentation that mixes images, such as cutmix"
        if "next_partner" in metric.needs and self.reference:
            return "by the reference protocol, whose partners are anywhere in a batch"
        elsewhere = [aug.name for aug in self.augs if aug.mixes and not aug.balanced and aug.pick is None]
        if "next_partner" in metric.needs and elsewhere:
            return f"beside {elsewhere[0]}, which mixes images with others than the next one of their batch"
        picks = [aug.name for aug in self.augs if aug.pick is not None]
        if metric.views > 1 and picks:
            return f"of several views of an image beside {picks[0]}, which picks images"
        return None


def chosen_metrics(
    names: Sequence[str | Metric] | str | Metric | None,
    given: Given,
    views: int | None = None,
    quiet: bool = True,
    held_out: bool = False,
) -> list[Metric]:
    """The metrics of these names, or all that can be computed from one view of each image by default.

    Where images are held out, the affinity is one of the usual ones.

    ``"all"`` stands for all that can be computed from what is given; what is left out is printed with the reason unless
    ``quiet``. Where ``views`` is given, metrics that need several views are shown as many.

    The guard against destroyed images and the teacher's confidence are among them; where raw images are forwarded for
    these alone, of the first batches.
    """
    if names is not None and not isinstance(names, (Iterable, Metric)):
        raise UsageError(f"metrics are a list of names, not {names!r}")
    requested = [names] if isinstance(names, (str, Metric)) else list(names or ())
    usual = [*TEACHER_METRICS, *(STUDENT_METRICS if given.student else ()), *(AFFINITY if held_out else ())]
    requested = requested or usual
    metrics: dict[str, Metric] = {}
    for spec in requested:
        group = (
            _available(given, quiet) if spec == ALL else GROUPS.get(spec, (spec,)) if isinstance(spec, str) else (spec,)
        )
        metrics |= {metric.name: metric for metric in map(metric_of, group)}
    if requested and all(metric.of_teacher for metric in metrics.values()):
        raise UsageError(
            f"{' and '.join(metrics)}: one number of the teacher, which is under every table; name a metric besides it"
        )
    metrics = {name: metric for name, metric in metrics.items() if not metric.of_teacher}
    if views is not None:
        several = {name: replace(metric, views=views) for name, metric in metrics.items() if metric.views > 1}
        if not several:
            raise UsageError(f"{argument('views', views)}: none of the metrics needs several views of an image")
        metrics |= several
    for name, metric in metrics.items():
        if "student" in metric.needs and not given.student:
            raise UsageError(f"metric {name} needs a student's output: give one with {argument('student')}")
        held_out = "held_out" in metric.needs or metric.less is not None
        to_check = metric.needs & {"mixing", "labels", "next_partner"} or (held_out and not given.training)
        if to_check and given.lack(metric):
            raise UsageError(f"metric {name} cannot be computed {given.lack(metric)}")
    of_batches = [metric.needs for metric in metrics.values() if "held_out" not in metric.needs]
    first = None if any("raw" in needs for needs in of_batches) else _GUARDING
    metrics.setdefault(INFORMATION_KEPT.name, replace(INFORMATION_KEPT, first=first))
    return [*metrics.values(), replace(T_CONFIDENCE, first=first)]


def _available(given: Given, quiet: bool) -> list[Metric]:
    """All metrics that can be computed; the others are printed, by reason."""
    left_out: dict[str, list[str]] = {}
    for metric in METRICS.values():
        reason = given.lack(metric)
        if reason is not None:
            left_out.setdefault(reason, []).append(metric.name)
    for reason, names in left_out.items():
        say(f"metrics left out, which cannot be computed {reason}: {', '.join(names)}", quiet)
    return [metric for metric in METRICS.values() if given.lack(metric) is None]
