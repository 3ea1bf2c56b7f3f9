"""How good a network is on held-out images."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dametric.data import ImageSet
from dametric.models import inference_copy
from dametric.models.interface import Interface
from dametric.models.network import Network
from dametric.training.loss import divergence

BINS = 15
MEASURES = ("loss", "top1", "top5", "ece", "agreement")
_CHUNK = {"cpu": 256, "cuda": 1024}
_PIECE = 1 << 21  # logits that are worked on at a time: 16 MiB, and a few times that for what is made of them
_ON_DEVICE = 1 << 30  # bytes of logits that may stay on a device, whose memory the networks need


def held_out_logits(
    model: nn.Module,
    data: ImageSet,
    device: torch.device,
    dtype: torch.dtype,
    interface: Interface | None = None,
    **normalisation: object,
) -> Tensor:
    """Logits of every image of a set, unaugmented, in order.

    Parameters
    ----------
    model : nn.Module
        It is copied, not changed.
    data : ImageSet
    device : torch.device
    dtype : torch.dtype
        Number format of the forward passes.
    interface : Interface, optional
        How the network takes images and gives logits.
    **normalisation
        ``mean`` and ``std`` to normalise by, the set's own by default.

    Returns
    -------
    Tensor of shape (images, classes), float64
        On the device; on the CPU where they would take more than 1 GiB.
    """
    settings = {"mean": data.mean, "std": data.std, "chunk": _CHUNK.get(device.type, 256), **normalisation}
    copy = inference_copy(model, dtype=dtype, device=device, interface=interface or Interface())
    network = Network(copy, dtype=dtype, device=device, **settings)  # type: ignore[arg-type]
    parts = torch.arange(len(data)).split(network.chunk)
    out, done = torch.empty(0), 0
    for images in data.stream(parts, device):
        logits = network(images)
        if not done:
            size = len(data) * logits.shape[1] * logits.element_size()
            out = logits.new_empty(len(data), logits.shape[1], device=device if size <= _ON_DEVICE else "cpu")
        out[done : done + len(logits)] = logits
        done += len(logits)
    return out


def all_finite(logits: Tensor) -> bool:
    """Whether there is no NaN and no infinity, without a temporary as large as the logits."""
    return bool(torch.stack(logits.aminmax()).isfinite().all())


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
    label_log, rank, named, confidence = (part.cpu() for part in _measured(logits, labels.to(logits.device)))
    labels = labels.cpu()
    measures = {
        "loss": float(F.nll_loss(label_log[:, None], torch.zeros_like(labels))),  # adds in the order of cross_entropy
        "top1": float((rank == 0).double().mean()),
        "top5": float((rank < 5).double().mean()),
        "ece": _calibration_error(named, confidence, labels, BINS),
    }
    if teacher is not None:
        classes, teacher_classes = (scores.argmax(1).cpu() for scores in (logits, teacher))
        measures["agreement"] = float((classes == teacher_classes).double().mean())
    return measures


def evaluate_unlabelled(logits: Tensor, teacher: Tensor, temperature: float) -> dict[str, float]:
    """What can be said of a network without labels.

    Parameters
    ----------
    logits, teacher : Tensor of shape (images, classes)
        Logits of the same images.
    temperature : float

    Returns
    -------
    dict
        ``loss``: the mean Kullback-Leibler divergence of the network from the teacher, both softened by the
        temperature, in nats; ``agreement``; NaN for the other measures of :func:`evaluate`.
    """
    student, teacher = logits.double().cpu(), teacher.double().cpu()
    measures = dict.fromkeys(MEASURES, math.nan)
    measures["loss"] = float(divergence(student, teacher, temperature)) / temperature**2
    measures["agreement"] = float((student.argmax(1) == teacher.argmax(1)).double().mean())
    return measures


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
    named = probabilities.argmax(1)
    confidence = probabilities.gather(1, named[:, None])[:, 0]
    return _calibration_error(named, confidence, labels, bins)


def _calibration_error(named: Tensor, confidence: Tensor, labels: Tensor, bins: int) -> float:
    bin_ = (confidence * bins).ceil().long().sub(1).clamp(0, bins - 1)
    gap = (named == labels).double() - confidence
    return float(gap.new_zeros(bins).index_add_(0, bin_, gap).abs().sum() / len(labels))


def _measured(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each row: log-probability and rank of the label, the likeliest class and its probability."""
    label_log, confidence = logits.new_empty(2, len(logits), dtype=torch.float64)
    rank, named = labels.new_empty(2, len(logits))
    rows = max(1, _PIECE // logits.shape[1])
    classes = torch.arange(logits.shape[1], device=logits.device)
    for start in range(0, len(logits), rows):
        piece, at = logits[start : start + rows].double(), slice(start, start + rows)
        column = labels[at, None]
        label_logit = piece.gather(1, column)
        # counted, not sorted; of equals the first class comes first, here as everywhere
        rank[at] = ((piece > label_logit) | ((piece == label_logit) & (classes < column))).sum(1)
        label_log[at] = piece.log_softmax(1).gather(1, column)[:, 0]
        probabilities = piece.softmax(1)
        named[at] = probabilities.argmax(1)  # the first of equals, which logits that differ by a rounding become
        confidence[at] = probabilities.gather(1, named[at, None])[:, 0]
    return label_log, rank, named, confidence
