"""Examination of a user's callable before its first use: how to call it, and the units of what it returns.

It is called with black, white and grey images and with a few images of the data, some of them twice. The findings are
kept with the operation (:class:`~dametric.augment.external.Findings`), so that every later call is made in the same
way. An attribute ``mixes`` of the callable, True or False, declares whether it must be called with batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dametric.augment.base import Augmentation
from dametric.augment.external import External, Findings
from dametric.augment.forms import BY_BATCH, FORMS, ONE_BY_ONE, CallFailed
from dametric.augment.keys import Keys
from dametric.augment.randomness import own_normalisations, parts
from dametric.augment.sameness import effective
from dametric.augment.units import Units, decide
from dametric.base.progress import say
from dametric.base.user_code import source_digest
from dametric.data import ImageSet
from dametric.errors import UsageError

_SHOWN, _SHOWN_LARGE, _LARGE = 32, 16, 64  # images of the data; fewer where their size is above the last number
_TRIED = 4  # images by which the form of calls is found
_SEEDS = 8  # of batches examined for mixing, which may be random
_COLOURS = (0, 255, 128)
_MIXERS = {"_BaseMixUpCutMix", "MixAugmentationBaseV2", "Mixup", "FastCollateMixup"}  # classes of libraries
_LIBRARIES = {"torchvision", "kornia", "timm"}


def sample(data: ImageSet, device: torch.device) -> Tensor:
    """A few images, spread evenly over a set: Tensor of shape (up to 32, channels, height, width), uint8."""
    count = min(len(data), _SHOWN if data.image_size <= _LARGE else _SHOWN_LARGE)
    index = (torch.arange(count, dtype=torch.int64) * len(data)) // count
    return next(iter(data.stream([index], device)))


def examined(aug: Augmentation, images: Tensor, known: dict[tuple[str, str], Findings] | None = None) -> Augmentation:
    """The augmentation with the findings on its user's callables.

    Parameters
    ----------
    aug : Augmentation
    images : Tensor of shape (rows, channels, height, width), uint8
        A few images of the data; see :func:`sample`.
    known : dict, optional
        Earlier findings, by name and hash of the code; new ones are added.

    Returns
    -------
    Augmentation
        The same augmentation where all operations are built in.

    Raises
    ------
    UsageError
        If a callable fails, returns images in unknown units, or mixes images besides another mixing operation.
    """
    known = {} if known is None else known
    operations = []
    for operation in aug.operations:
        if isinstance(operation, External) and operation.findings is None:
            key = (operation.name, source_digest(operation.function))
            if key not in known:
                known[key] = find(operation, images)
            operation = replace(operation, findings=known[key])
        operations.append(operation)
    result = replace(aug, operations=tuple(operations))
    if sum(operation.mixes for operation in operations) > 1:
        mixers = [getattr(operation, "name", operation.stream) for operation in operations if operation.mixes]
        raise UsageError(f"augmentation '{aug.name}': only one operation may mix images, and {' and '.join(mixers)} do")
    return result


def find(operation: External, images: Tensor) -> Findings:
    """Findings on one callable.

    Raises
    ------
    UsageError
        See :func:`examined`.
    """
    findings = _accepted_form(operation, images)
    undecided = not findings.mixes and _declares_mixing(operation.function) is None
    if undecided and _reaches_others(operation, findings, images):
        findings = replace(findings, mixes=True)
    shown = replace(operation, findings=findings)
    first, again = (_natural(shown, images) for _ in range(2))
    repeats = all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, again, strict=True))
    units = _units(shown, images, first)
    return replace(findings, repeats=repeats, units=units)


def _declares_mixing(function: Any) -> bool | None:
    """Whether a callable mixes images, by its attribute ``mixes`` or as a library's class; None where unknown."""
    declared = getattr(getattr(function, "func", function), "mixes", None)  # of a partial that of its function
    if isinstance(declared, bool):
        return declared
    for part in parts(function):
        classes = [kind for kind in type(part).__mro__ if kind.__module__.partition(".")[0] in _LIBRARIES]
        if any(kind.__name__ in _MIXERS for kind in classes):
            return True
    return None


def _accepted_form(operation: External, images: Tensor) -> Findings:
    """The first form of images that the callable accepts, single images before batches."""
    mixes, failed = _declares_mixing(operation.function), None
    candidates = [Findings(form) for form in ONE_BY_ONE] if mixes is not True else []
    candidates += [Findings(form, mixes=True) for form in BY_BATCH] if mixes is not False else []
    few = images[:_TRIED]
    for findings in candidates:
        calls = [few] if findings.mixes else list(few.split(1))
        try:
            replace(operation, findings=findings).outputs(calls, _seeds(len(few), findings))
        except CallFailed as error:
            failed = failed or error
        else:
            return findings
    assert failed is not None
    raise failed


def _seeds(count: int, findings: Findings) -> list[int]:
    return [1] if findings.mixes else list(range(1, count + 1))


def _natural(shown: External, images: Tensor) -> list[Tensor]:
    """Results for the images, one by one or as batches, for several seeds."""
    if shown.mixes:
        return shown.outputs([images] * _SEEDS, list(range(1, _SEEDS + 1)))
    return shown.outputs(list(images.split(1)), list(range(1, len(images) + 1)))


def _reaches_others(operation: External, findings: Findings, images: Tensor) -> bool:
    """Whether an image's result changes when other images of its batch are turned upside down.

    Turning keeps every sum and histogram, so that a callable which depends on the brightness of a batch is no mixer.
    Where draws cannot be repeated, a callable mixes if it changes batches but not single images.
    """
    if len(images) < 2 or FORMS[findings.form].single:
        return False
    shown = replace(operation, findings=replace(findings, mixes=True))
    turned = [images.clone(), images.clone()]
    for start, batch in enumerate(turned):
        batch[start::2] = batch[start::2].flip(-1, -2)
    seeds = list(range(1, _SEEDS + 1))
    try:
        for seed in seeds:
            plain, again, *others = shown.outputs([images, images, *turned], [seed] * 4)
            if not torch.equal(plain.nan_to_num(), again.nan_to_num()):
                return _changes_batches_alone(operation, findings, images)
            for start, other in enumerate(others):
                if _differ(plain[1 - start :: 2], other[1 - start :: 2]):
                    return True
    except UsageError:  # the callable takes single images only
        return False
    return False


def _changes_batches_alone(operation: External, findings: Findings, images: Tensor) -> bool:
    single = replace(operation, findings=findings)
    batch = replace(operation, findings=replace(findings, mixes=True))
    alone = torch.cat(_natural(single, images))
    given = images.float() / 255 if findings.form == "shares" else images
    return not _differ(alone, given) and any(_differ(mixed, given) for mixed in _natural(batch, images))


def _differ(first: Tensor, second: Tensor) -> bool:
    """Whether images differ by more than rounding does."""
    first, second = first.float(), second.float()
    return bool(((first - second).abs() > 0.01 * (first.max() - first.min()).clamp_min(1e-6)).any())


def _units(shown: External, images: Tensor, natural: list[Tensor]) -> Units:
    flat = list(_flat(shown, images))
    units = decide(flat, natural, own_normalisations(shown.function))
    if units is None:
        values = torch.cat([image.flatten() for image in (*flat, *natural) if image.is_floating_point()])
        low, high = (float(end) for end in values[values.isfinite()].aminmax())
        raise UsageError(
            f"augmentation {shown.name} returns values from {low:.4g} to {high:.4g}, neither pixels (0 to 255) nor "
            "0 to 1 nor normalised by constants that are known: let it return uint8 images, or leave out its last, "
            "normalising step"
        )
    return units


def _flat(shown: External, images: Tensor) -> Iterator[Tensor]:
    """Results for images of one colour, except those on which the callable fails."""
    for colour in _COLOURS:
        plain, findings = torch.full_like(images[:_TRIED], colour), shown.findings or Findings()
        try:
            yield from shown.outputs([plain] if findings.mixes else list(plain.split(1)), _seeds(len(plain), findings))
        except CallFailed:
            continue


def remarks(aug: Augmentation, images: Tensor, seed: int = 0) -> list[str]:
    """Warnings on an augmentation from a few images, a line each: unseeded, without effect, or blank images.

    Parameters
    ----------
    aug : Augmentation
        From :func:`examined`.
    images : Tensor of shape (rows, channels, height, width), uint8
    seed : int
        Seed of the draws.
    """
    lines = [
        f"WARNING: augmentation {operation.name} draws random numbers that cannot be seeded: two calls with the same "
        "seed differ, so the same command gives other numbers each time"
        for operation in aug.operations
        if isinstance(operation, External) and operation.findings and not operation.findings.repeats
    ]
    if not aug.operations:
        return lines
    batches = _SEEDS if aug.own and aug.mixes else 1  # a user's mixing operation draws once a batch
    shown = images.repeat(batches, 1, 1, 1)
    result = aug(shown, Keys(seed, batches, len(images), device=images.device)).images.float()
    originals = shown.float().repeat(len(result) // len(shown), 1, 1, 1)
    changed = ~((result - originals).abs() <= 0.01).flatten(1).all(1)  # NaN is a change too
    blank = _one_colour(result) & ~_one_colour(originals)
    if not bool(changed.any()):
        what = "changed" if effective(aug) else "is identity: it changed"
        lines.append(f"WARNING: augmentation {aug.name} {what} none of {len(images)} images that it was tried on")
    elif int(blank.sum()) > len(blank) // 10:
        share = 100 * int(blank.sum()) / len(blank)
        lines.append(f"WARNING: augmentation {aug.name} left nothing but one colour of {share:.0f} % of images")
    return lines


def _one_colour(images: Tensor) -> Tensor:
    return (images.flatten(2).amax(2) - images.flatten(2).amin(2) < 0.5).all(1)


def looked_at(
    augs: Sequence[Augmentation],
    images: Tensor,
    quiet: bool = False,
    known: dict[tuple[str, str], Findings] | None = None,
) -> list[Augmentation]:
    """Examine augmentations; findings and warnings are printed on stderr, a line each.

    Parameters
    ----------
    augs : sequence of Augmentation
    images : Tensor
        See :func:`sample`.
    quiet : bool
        Print warnings only.
    known : dict, optional
        See :func:`examined`.
    """
    known = {} if known is None else known
    results = []
    for aug in augs:
        before = set(known)
        results.append(examined(aug, images, known))
        for name, digest in known:
            if (name, digest) not in before and known[name, digest].line:
                say(f"augmentation {name} {known[name, digest].line}", quiet)
        for line in remarks(results[-1], images):
            say(line)
    return results


def check_base(base: Augmentation) -> Augmentation:
    """Refuse a user's callable that mixes images as base augmentation, since the mixed images' labels are unknown."""
    for operation in base.operations:
        if isinstance(operation, External) and operation.mixes:
            raise UsageError(f"{operation.name} mixes images: score it, but the loader's own augmentation cannot mix")
    return base
