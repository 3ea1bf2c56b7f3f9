"""`ts_useful` on the fixed batches: the ordinary metric, with the warm student's answers in evaluation mode."""

from __future__ import annotations

import torch
from torch import Tensor

from dametric.choosing.batches import FixedBatches
from dametric.choosing.result import ErrorPart, StudentScore
from dametric.metrics.base import Design, Observation
from dametric.metrics.ts_useful import TS_USEFUL
from dametric.training.trainer import StepInputs


class Useful:
    """Collects what the metric observes of every batch, for every augmentation.

    Parameters
    ----------
    batches : FixedBatches
    """

    name = TS_USEFUL.name

    def __init__(self, batches: FixedBatches) -> None:
        self.batches = batches
        self.sums = torch.zeros(len(batches.members), batches.batches, dtype=torch.float64)
        self.rows = torch.ones_like(self.sums)

    @torch.no_grad()
    def observe(self, member: int, number: int, inputs: StepInputs, labels: Tensor) -> None:
        """Take the answers to a batch under an augmentation."""
        del labels
        assert inputs.aug is not None
        assert inputs.aug_target is not None
        training = self.batches.members[member]
        training.model.eval()
        student = training.logits(inputs.aug).double().log_softmax(1)
        teacher = inputs.aug_target.double().softmax(1)
        seen = TS_USEFUL.observe(Observation(teacher[None], None, Design(), aug_student=student[None]))
        self.sums[member, number], self.rows[member, number] = seen["sum"].cpu(), seen["rows"].cpu()

    def score(self, augs: tuple[str, ...]) -> StudentScore:
        """The values, with the error of the batches."""

        def value(sums: Tensor, rows: Tensor) -> Tensor:
            return TS_USEFUL.reduce({"sum": sums, "rows": rows}, Design())

        values = value(self.sums.sum(1), self.rows.sum(1))
        left_out = value(
            self.sums.sum(1, keepdim=True) - self.sums, (self.rows.sum(1, keepdim=True) - self.rows).clamp(min=1)
        )
        finite = zip(augs, values.isfinite().tolist(), strict=True)
        reasons = {aug: "an answer is not finite" for aug, good in finite if not good}
        errors = (ErrorPart.jackknife("batches", left_out),)
        count = self.batches.batches
        return StudentScore(self.name, "higher", augs, values, errors, count / 6, parts=count, reasons=reasons)
