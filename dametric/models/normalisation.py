"""Which mean and standard deviation a network is shown images with, and where they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from dametric.base.arguments import argument
from dametric.data.known import KNOWN, Statistics
from dametric.errors import unknown
from dametric.models.network import LARGEST

Values = tuple[float, ...]
Given = Sequence[float] | str | None
"""Numbers, one for each channel; or a name in `NAMED`."""

NAMED: dict[str, Statistics] = {
    **KNOWN,
    "inception": Statistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "none": Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Constants in circulation, as `--mean` takes them by name."""

WRITTEN = "written in the file"
_GIVEN = "as given"
_MOST_CHANNELS = 4
_SMALLEST = 1e-3  # below, no standard deviation is one of pixels: bytes, divided by 255, have at least 1/255
_TORCHVISIONS = "resnet18"  # the built-in name of a network of torchvision's
_IMAGENET = 1000  # classes


class Normalisation(NamedTuple):
    """Mean and standard deviation of every channel in units of 0..1, and where they come from, in words."""

    mean: Values | None
    std: Values | None
    source: str


NOTHING = Normalisation(None, None, "")


def _both() -> str:
    return f"{argument('mean')} and {argument('std')}"


def by_name(mean: Given, std: Given) -> tuple[Values | None, Values | None]:
    """What the user gave, as numbers; the name of a mean brings its standard deviation along.

    Raises
    ------
    UsageError
        For a name that is not known.
    """
    for given in (mean, std):
        if isinstance(given, str) and given.lower() not in NAMED:
            raise unknown(f"normalisation ({argument('mean')}, {argument('std')})", given, NAMED)
    if isinstance(mean, str) and std is None:
        std = mean
    first = NAMED[mean.lower()].mean if isinstance(mean, str) else mean
    second = NAMED[std.lower()].std if isinstance(std, str) else std
    return None if first is None else tuple(first), None if second is None else tuple(second)


def in_use(
    mean: Given, std: Given, own: Normalisation, data: Normalisation, channels: int
) -> tuple[Values, Values, str]:
    """Decide what a network is shown images with: what the user gives, else its own, else the image set's.

    Parameters
    ----------
    mean, std
        What the user gives.
    own : Normalisation
        What its file says, or its library.
    data : Normalisation
        What is used where nobody says anything.
    channels : int
        Of the images.

    Returns
    -------
    mean, std : tuple of float
    source : str
        In words.
    """
    given = by_name(mean, std)
    if own.mean is not None and own.std is not None and len(own.mean) == len(own.std) == 1 < channels:
        own = Normalisation(own.mean * channels, own.std * channels, f"{own.source}, for every channel")
    chosen, sources = [], []
    for asked, its, other in zip(given, own[:2], data[:2], strict=True):
        value, source = next(
            (value, source)
            for value, source in ((asked, _GIVEN), (its, own.source), (other, data.source))
            if value is not None
        )
        chosen.append(tuple(value))
        sources.append(source)
    same = sources[0] == sources[1]
    return chosen[0], chosen[1], sources[0] if same else f"mean {sources[0]}, std {sources[1]}"


def described(mean: Values, std: Values, source: str) -> str:
    """What is in use, in one line."""
    first, second = (", ".join(f"{value:.4g}" for value in values) for values in (mean, std))
    return f"normalised by mean {first} and std {second} ({source})"


def of_library(arch: str, num_classes: int, model: nn.Module) -> Normalisation:
    """What the networks of a library are trained with by those who publish them; nothing for others."""
    library = arch.partition(":")[0]
    if library == "timm":
        config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
        config = config if isinstance(config, Mapping) else vars(config)
        mean, std = _numbers(config.get("mean")), _numbers(config.get("std"))
        if mean and std and len(mean) == len(std):
            return Normalisation(mean, std, f"timm's pretrained_cfg; {argument('mean')} if it was trained with others")
    if library == "torchvision" or (arch == _TORCHVISIONS and num_classes == _IMAGENET):
        return Normalisation(
            *KNOWN["imagenet"], f"ImageNet's, as torchvision's; {argument('mean')} if it was trained with others"
        )
    return NOTHING


def of_file(rest: Mapping[str, Any], ours: bool) -> tuple[Normalisation, list[str]]:
    """What a checkpoint says of its normalisation, in units of 0..1, and what is to be said of that.

    Lists called mean and std in a file from elsewhere need not be a normalisation. They belong together: where one of
    them cannot be used, neither is.

    Parameters
    ----------
    rest : mapping
        What the file holds beside the weights.
    ours : bool
        Whether dametric wrote it.
    """
    given = {name: rest[name] for name in ("mean", "std") if rest.get(name) is not None}
    if not given:
        return NOTHING, []
    mean, std = _numbers(given.get("mean")), _numbers(given.get("std"))
    source = WRITTEN if ours else "lists called mean and std in the file"
    fault = _fault(given, mean, std, ours)
    if fault is not None:
        return NOTHING, [f"{fault}: mean and std in the file are not used; give {_both()} if they are known"]
    largest = max((*(mean or ()), *(std or ())))
    if largest > LARGEST:
        said = f"mean {list(mean or ())} and std {list(std or ())} in the file"
        bytes_ = mean is None or max(mean) > LARGEST or not any(mean)  # a mean of 0.5 beside an std of 58 is a riddle
        if not bytes_ or largest > 255:
            return NOTHING, [f"{said} are in units that cannot be told and are not used: give {_both()} in 0..1"]
        mean, std = (None if values is None else tuple(value / 255 for value in values) for values in (mean, std))
        notes = [f"{said} are taken for pixel values 0..255; if they are not, give {_both()}"]
    else:
        notes = []
    if std is not None and min(std) < _SMALLEST:
        return NOTHING, [f"std {list(std)} in the file is too small for pixels: neither it nor the mean is used"]
    return Normalisation(mean, std, source), notes


def _fault(given: Mapping[str, Any], mean: Values | None, std: Values | None, ours: bool) -> str | None:
    """Why lists of these names cannot be a normalisation."""
    for name, values in (("mean", mean), ("std", std)):
        if name not in given:
            if not ours:  # where dametric wrote one alone, somebody had it written
                return f"there is no {name} beside the {'std' if name == 'mean' else 'mean'}"
        elif values is None:
            return f"the {name} in the file is not 1 to {_MOST_CHANNELS} finite numbers"
        elif min(values) < 0 or (name == "std" and min(values) == 0):
            return f"the {name} in the file, {list(values)}, is not {'positive' if name == 'std' else 'one of pixels'}"
    if mean is not None and std is not None and len(mean) != len(std):
        return f"there are {len(mean)} means and {len(std)} standard deviations"
    return None


def _numbers(values: Any) -> Values | None:
    """One to four finite numbers, of a list, a tuple or a tensor of any shape."""
    if isinstance(values, Tensor):
        values = values.flatten().tolist() if values.numel() <= _MOST_CHANNELS and not values.is_complex() else None
    if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= _MOST_CHANNELS:
        return None
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    return tuple(float(value) for value in values)
