"""Normalisation of a network's images, and where it comes from."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from dametric.base.arguments import argument
from dametric.data.evaluation import Evaluation
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
_SMALLEST = 1e-3  # standard deviations of pixels are larger: bytes, divided by 255, have at least 1/255
_TORCHVISIONS = "resnet18"  # built-in name of a network of torchvision
_IMAGENET = 1000  # classes


class Normalisation(NamedTuple):
    """Mean and standard deviation of every channel in units of 0..1, and their source in words."""

    mean: Values | None
    std: Values | None
    source: str


NOTHING = Normalisation(None, None, "")


def _both() -> str:
    return f"{argument('mean')} and {argument('std')}"


def by_name(mean: Given, std: Given) -> tuple[Values | None, Values | None]:
    """Normalisation given by the user, as numbers; a named mean includes its standard deviation.

    Raises
    ------
    UsageError
        For an unknown name.
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
    mean: Given, std: Given, stored: Normalisation, data: Normalisation, channels: int
) -> tuple[Values, Values, str]:
    """Decide the normalisation of a network's images: the user's, else the network's own, else the image set's.

    Parameters
    ----------
    mean, std
        Values or names that the user gives.
    stored : Normalisation
        Normalisation of the network's file or library.
    data : Normalisation
        Fallback.
    channels : int
        Number of channels of the images.

    Returns
    -------
    mean, std : tuple of float
    source : str
        Source of both, in words.
    """
    given = by_name(mean, std)
    if stored.mean is not None and stored.std is not None and len(stored.mean) == len(stored.std) == 1 < channels:
        stored = Normalisation(stored.mean * channels, stored.std * channels, f"{stored.source}, for every channel")
    chosen, sources = [], []
    for candidates in zip(given, stored[:2], data[:2], strict=True):
        value, source = next(
            (value, source)
            for value, source in zip(candidates, (_GIVEN, stored.source, data.source), strict=True)
            if value is not None
        )
        chosen.append(tuple(value))
        sources.append(source)
    same = sources[0] == sources[1]
    return chosen[0], chosen[1], sources[0] if same else f"mean {sources[0]}, std {sources[1]}"


def described(mean: Values, std: Values, source: str) -> str:
    """Normalisation in one line."""
    first, second = (", ".join(f"{value:.4g}" for value in values) for values in (mean, std))
    return f"normalised by mean {first} and std {second} ({source})"


def of_library(arch: str, num_classes: int, model: nn.Module) -> Normalisation:
    """Normalisation of a library's published networks; `NOTHING` for other architectures."""
    library = arch.partition(":")[0]
    if library == "timm":
        config = _timms_config(model)
        mean, std = _numbers(config.get("mean")), _numbers(config.get("std"))
        if mean and std and len(mean) == len(std):
            return Normalisation(mean, std, f"timm's pretrained_cfg; {argument('mean')} if it was trained with others")
    if library == "torchvision" or (arch == _TORCHVISIONS and num_classes == _IMAGENET):
        others = f"{argument('mean')} if it was trained with others"
        if getattr(model, "transform_input", True) is False:  # of googlenet and inception_v3, which change images again
            others += f"; torchvision's own weights take {argument('arch', f'{arch},transform_input=True')}"
        return Normalisation(*KNOWN["imagenet"], f"ImageNet's, as torchvision's; {others}")
    return NOTHING


def evaluation_of(arch: str, model: nn.Module | None) -> Evaluation | None:
    """How a library evaluates its published network: share of the resized image that is cropped, and interpolation.

    Parameters
    ----------
    arch : str
        As ``build`` takes it; empty for a network of the caller's.
    model : nn.Module, optional
        The network, where it is built: timm writes its configuration into it.

    Returns
    -------
    Evaluation or None
        None where nothing says it.
    """
    library, _, spec = arch.partition(":")
    name = spec.partition(",")[0]
    if library == "torchvision":
        import torchvision  # takes seconds to load

        try:
            transforms = torchvision.models.get_model_weights(name.lower()).DEFAULT.transforms()
            share, how = transforms.crop_size[0] / transforms.resize_size[0], transforms.interpolation.value
        except (ValueError, AttributeError):  # no such network, or none with weights
            return None
        return Evaluation(None, share, how, f"torchvision's default weights of {name.lower()}")
    config = _timms_config(model)
    if library == "timm" and not config:
        with contextlib.suppress(ImportError):
            from timm.models import get_pretrained_cfg

            pretrained = get_pretrained_cfg(name)
            config = {} if pretrained is None else vars(pretrained)
    share, how = config.get("crop_pct"), config.get("interpolation", "bicubic")
    if not isinstance(share, float) or not 0 < share <= 1 or config.get("crop_mode", "center") != "center":
        return None
    how = how if how in ("bilinear", "bicubic") else "bicubic"
    return Evaluation(None, share, how, "timm's pretrained_cfg")


def _timms_config(model: nn.Module | None) -> Mapping[str, Any]:
    config = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    return config if isinstance(config, Mapping) else vars(config)


def of_file(rest: Mapping[str, Any], written_by_us: bool) -> tuple[Normalisation, list[str]]:
    """Normalisation that a checkpoint records, in units of 0..1, and notes for the user.

    Lists called mean and std in other programs' files need not be a normalisation. Where one of the two cannot be
    used, neither is.

    Parameters
    ----------
    rest : mapping
        Content of the file beside the weights.
    written_by_us : bool
        Whether dametric wrote the file.
    """
    given = {name: rest[name] for name in ("mean", "std") if rest.get(name) is not None}
    if not given:
        return NOTHING, []
    mean, std = _numbers(given.get("mean")), _numbers(given.get("std"))
    source = WRITTEN if written_by_us else "lists called mean and std in the file"
    fault = _fault(given, mean, std, written_by_us)
    if fault is not None:
        return NOTHING, [f"{fault}: mean and std in the file are not used; give {_both()} if they are known"]
    largest = max((*(mean or ()), *(std or ())))
    if largest > LARGEST:
        values_text = f"mean {list(mean or ())} and std {list(std or ())} in the file"
        bytes_ = mean is None or max(mean) > LARGEST or not any(mean)  # a mean of 0.5 and an std of 58 have two units
        if not bytes_ or largest > 255:
            return NOTHING, [f"{values_text} are in units that cannot be told and are not used: give {_both()} in 0..1"]
        mean, std = (None if values is None else tuple(value / 255 for value in values) for values in (mean, std))
        notes = [f"{values_text} are taken for pixel values 0..255; if they are not, give {_both()}"]
    else:
        notes = []
    if std is not None and min(std) < _SMALLEST:
        return NOTHING, [f"std {list(std)} in the file is too small for pixels: neither it nor the mean is used"]
    return Normalisation(mean, std, source), notes


def _fault(given: Mapping[str, Any], mean: Values | None, std: Values | None, written_by_us: bool) -> str | None:
    """Reason why lists called mean and std cannot be a normalisation."""
    for name, values in (("mean", mean), ("std", std)):
        if name not in given:
            if not written_by_us:  # dametric writes one alone on request
                return f"there is no {name} beside the {'std' if name == 'mean' else 'mean'}"
        elif values is None:
            return f"the {name} in the file is not 1 to {_MOST_CHANNELS} finite numbers"
        elif min(values) < 0 or (name == "std" and min(values) == 0):
            return f"the {name} in the file, {list(values)}, is not {'positive' if name == 'std' else 'one of pixels'}"
    if mean is not None and std is not None and len(mean) != len(std):
        return f"there are {len(mean)} means and {len(std)} standard deviations"
    return None


def _numbers(values: Any) -> Values | None:
    """One to four finite numbers from a list, a tuple or a tensor of any shape."""
    if isinstance(values, Tensor):
        values = values.flatten().tolist() if values.numel() <= _MOST_CHANNELS and not values.is_complex() else None
    if not isinstance(values, (list, tuple)) or not 1 <= len(values) <= _MOST_CHANNELS:
        return None
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in values):
        return None
    return tuple(float(value) for value in values)
