"""A run on a GPU that is interrupted and gone on with: for tests on a pretended one, and on a real one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dametric.data import ImageSet
from dametric.errors import Interrupted
from dametric.models import load_state
from dametric.records.record import RunRecord
from dametric.training import Objective, Recipe, Teacher, TrainingContext
from dametric.training.context import TrainingRun
from dametric.training.run import carry_out
from tests.gpu_pretended.counts import BATCH, network

TERM = """
import torch

def put(inputs):
    places = torch.zeros(2, dtype=torch.int64, device=inputs.labels.device)
    return torch.zeros(3, device=places.device).put_(places, torch.zeros(2, device=places.device)).sum()
"""


@dataclass(frozen=True)
class Runs:
    """A run of six steps in one piece, and in two."""

    data: ImageSet
    folder: Path
    device: str = "cuda"
    dtype: str = "float64"
    term: bool = False

    def work(self, name: str, deterministic: bool) -> TrainingRun:
        """The run, in a folder of that name."""
        small = self.data.subset(range(6 * BATCH))
        teacher = Teacher(network(8, 1), self.data.mean, self.data.std, "own", "0")
        context = TrainingContext(small, small, torch.device(self.device), teacher)
        if self.term:
            (self.folder / "term.py").write_text(TERM)
        objective = Objective(term=f"{self.folder}/term.py:put" if self.term else None)
        recipe = Recipe(epochs=1, batch_size=BATCH, dtype=self.dtype, aug="cutmix", lr=0.05, objective=objective)
        return context.work(network(4, 2), recipe, folder=self.folder / name, deterministic=deterministic)

    def whole(self, deterministic: bool) -> RunRecord:
        """In one piece."""
        return carry_out(self.work("whole", deterministic))

    def interrupted(self, *deterministic: bool) -> RunRecord:
        """In two, each with the option or without."""
        asked: Iterator[int] = iter(range(100))
        with pytest.raises(Interrupted):
            carry_out(self.work("parts", deterministic[0]), stop=lambda: next(asked) >= 2)
        return carry_out(self.work("parts", deterministic[1]))

    def weights(self, name: str) -> dict[str, Tensor]:
        """What was learnt."""
        model = network(4, 2)
        load_state(self.folder / name / "last.pt", model)
        return model.state_dict()

    def equal(self) -> bool:
        """Whether one piece and two are equal to the bit."""
        one, two = self.weights("whole"), self.weights("parts")
        return all(torch.equal(one[name], two[name]) for name in one | two)
