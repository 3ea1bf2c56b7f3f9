"""What augmentations cost, measured where it is asked for, and never part of what is measured of them."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import pytest
import torch
from torch import Tensor

import dametric

SECONDS = 0.02
QUICK: dict[str, Any] = {"batch_size": 16, "batches": 3, "device": "cpu", "dtype": "float32", "quiet": True}


def slow(images: Tensor) -> Tensor:
    """Keeps the CPU busy for a while, whoever else uses it."""
    start = time.process_time()
    while time.process_time() - start < SECONDS:
        pass
    return images


slow.mixes = True  # it is shown whole batches


def test_each_row_has_its_cost_in_cpu_seconds_where_that_is_asked_for(teacher, student, data) -> None:
    augs = ["identity", "flip", slow, "cutmixpick:by=teacher_entropy,runs=4"]
    before = torch.random.get_rng_state()
    plain, priced = (dametric.score(teacher, data, augs, cost=cost, **QUICK) for cost in (False, True))
    assert torch.equal(before, torch.random.get_rng_state())
    costs = {row.aug: row.cost for row in priced.rows}
    assert all(row.cost is None for row in plain.rows)
    idle, spun, pick = (costs[name] for name in ("identity", "slow", augs[-1]))
    assert (idle.relative_step, idle.clock) == (1, "cpu")
    assert 16 / SECONDS / 4 < spun.images_per_second <= 16 / SECONDS
    assert spun.relative_step > costs["flip"].relative_step > 1
    steps = [(each.relative_step - 1) * each.images_per_second for each in (spun, pick)]
    assert steps[0] == pytest.approx(steps[1]), "relative to one step of identity"
    assert pick.images_per_second < costs["flip"].images_per_second
    without = [{name: value for name, value in row.items() if name != "cost"} for row in priced.scores]
    assert json.dumps(without) == json.dumps(plain.scores)
    assert priced.config["rows_forwarded"] == plain.config["rows_forwarded"]
    both = dametric.score(teacher, data, ["cutout"], add=priced, device="cpu", quiet=True)
    assert all(row.cost is not None for row in both.rows), "settings are the file's"
    assert {row.aug: row.cost for row in both.rows if row.aug != "cutout"} == costs


def test_costs_of_networks_in_half_and_double_precision(teacher, data) -> None:
    for network in (copy.deepcopy(teacher).half(), copy.deepcopy(teacher).double()):
        scores = dametric.score(network, data, ["flip"], cost=True, **QUICK)
        assert scores.rows[0].cost is not None
        assert next(network.parameters()).dtype != torch.float32
