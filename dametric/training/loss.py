"""The terms of the distillation objective."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dametric.augment import Augmented


def divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence of the student from the teacher, softened, mean over rows.

    ``T^2 mean_i sum_c t_ic (log t_ic - log s_ic)`` with ``t = softmax(teacher / T)``, ``s = softmax(student / T)``
    (Hinton et al. 2015, arXiv 1503.02531).

    Parameters
    ----------
    student, teacher : Tensor of shape (rows, classes)
        Logits.
    temperature : float

    Returns
    -------
    Tensor, scalar
        In nats times the temperature squared, so that the size of its gradient does not depend on it.
    """
    ours, theirs = (logits.div(temperature).log_softmax(1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def label_loss(logits: Tensor, labels: Tensor, view: Augmented, smoothing: float) -> Tensor:
    """Cross-entropy with labels, mean over rows; of mixed images with both labels, weighted as they are mixed.

    Parameters
    ----------
    logits : Tensor of shape (rows, classes)
    labels : Tensor of shape (rows,), int64
    view : Augmented
        Says which rows the images were mixed with, if they were.
    smoothing : float
        Probability that is spread over all classes.

    Returns
    -------
    Tensor, scalar
        In nats.
    """
    if view.partner is None or view.lam is None:
        return F.cross_entropy(logits, labels, label_smoothing=smoothing)
    own, other = (
        F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="none")
        for target in (labels, labels[view.partner])
    )
    lam = view.lam.to(logits.dtype)
    return (lam * own + (1 - lam) * other).mean()
