"""The terms of the distillation objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from dametric.augment import Augmented
from dametric.base.user_code import load_object, one_line
from dametric.errors import UsageError


@dataclass(frozen=True)
class LossInputs:
    """What a term of the loss is a function of: a batch as student and teacher see it.

    Attributes
    ----------
    labels : Tensor of shape (rows,), int64
    student, student_aug : Tensor of shape (rows, classes), or None
        The student's logits on the base and on the augmented view; None of a view that it is not shown.
    teacher, teacher_aug : Tensor of shape (rows, classes), or None
        The teacher's; None where nothing of the loss asks for them.
    temperature : float
        Softmax temperature of the divergence.
    """

    labels: Tensor
    student: Tensor | None
    student_aug: Tensor | None
    teacher: Tensor | None
    teacher_aug: Tensor | None
    temperature: float


def own_term(spec: str) -> Callable[[LossInputs], Tensor]:
    """A term by a function of the user's own, which returns a scalar that is added to the loss as it is.

    Raises
    ------
    UsageError
        If it cannot be imported; when it is called, if it fails or returns anything else.
    """
    function = load_object(spec, "loss term")

    def term(inputs: LossInputs) -> Tensor:
        try:
            value = function(inputs)
        except Exception as error:
            raise UsageError(f"loss term {spec} failed: {one_line(error)}") from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"loss term {spec} returns {kind}, not a scalar tensor")
        return value.reshape(())

    return term


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
    student_log, teacher_log = (logits.div(temperature).log_softmax(1) for logits in (student, teacher))
    return F.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True) * temperature**2


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
