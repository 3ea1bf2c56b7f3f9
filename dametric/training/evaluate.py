"""How good a network is on held-out images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dametric.data import ImageSet
from dametric.models import inference_copy
from dametric.models.interface import Interface
from dametric.models.network import Network

BINS = 15
MEASURES = ("loss", "top1", "top5", "ece", "agreement")
_CHUNK = {"cpu": 256, "cuda": 1024}


def held_out_logits(
    model: nn.Module,
    data: ImageSet,
    device: torch.device,
    dtype: torch.dtype,
    interface: Interface | None = None,
    **of: object,
) -> Tensor:
    """Logits of every image of a set, unaugmented, in order.

    Parameters
    ----------
    model : nn.Module
        It is copied, not changed.
    data : ImageSet
    device : torch.device
    dtype : torch.dtype
        Of the forward passes.
    interface : Interface, optional
        How the network takes images and gives logits.
    **of
        ``mean`` and ``std`` to normalise by, the set's own by default.

    Returns
    -------
    Tensor of shape (images, classes), float64, on the CPU
    """
    settings = {"mean": data.mean, "std": data.std, "chunk": _CHUNK.get(device.type, 256), **of}
    copy = inference_copy(model, dtype=dtype, device=device, interface=interface or Interface())
    network = Network(copy, dtype=dtype, device=device, **settings)  # type: ignore[arg-type]
    parts = torch.arange(len(data)).split(network.chunk)
    return torch.cat([network(images) for images in data.stream(parts, device)]).cpu()


def evaluate(logits: Tensor, labels: Tensor, teacher: Tensor | None = None) -> dict[str, float]:
    """Loss, accuracy, calibration, and agreement with a teacher.

    Parameters
    ----------
    logits : Tensor of shape (images, classes)
    labels : Tensor of shape (images,), int64
    teacher : Tensor of shape (images, classes), optional
        The teacher's logits of the same images.

    Returns
    -------
    dict
        ``loss`` (mean cross-entropy, nats), ``top1``, ``top5`` (fractions; all classes count where there are
        fewer than five), ``ece`` (:func:`calibration_error`) and, with a teacher, ``agreement`` (share of images
        on which both name the same class).
    """
    logits, labels = logits.double(), labels.to(logits.device)
    best = _ranked(logits)[:, :5]
    found = {
        "loss": float(F.cross_entropy(logits, labels)),
        "top1": float((best[:, 0] == labels).double().mean()),
        "top5": float((best == labels[:, None]).any(1).double().mean()),
        "ece": calibration_error(logits.softmax(1), labels),
    }
    if teacher is not None:
        found["agreement"] = float((best[:, 0] == _ranked(teacher.to(best.device))[:, 0]).double().mean())
    return found


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error: mean over images of |accuracy - confidence| of the image's confidence bin.

    Bins are equally wide and closed on the right (Guo et al. 2017, arXiv 1706.04599).

    Parameters
    ----------
    probabilities : Tensor of shape (images, classes)
    labels : Tensor of shape (images,), int64
    bins : int

    Returns
    -------
    float
        A fraction, 0 for a network whose confidence is its accuracy.
    """
    named = _ranked(probabilities)[:, 0]
    confidence = probabilities.gather(1, named[:, None])[:, 0]
    bin_ = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap = (named == labels).double() - confidence
    return float(gap.new_zeros(bins).index_add_(0, bin_, gap).abs().sum() / len(labels))


def _ranked(rows: Tensor) -> Tensor:
    """Classes of each row from the likeliest on; of equals the first, here as everywhere."""
    return rows.argsort(dim=1, descending=True, stable=True)
