"""A choice whose runs are carried out side by side in processes of their own, and together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dametric.choosing.api import choose
from dametric.data import load_data
from dametric.models import build, save_checkpoint

REAL_NETWORKS = True
ASKED: dict[str, Any] = {"steps": 60, "batch_size": 32, "device": "cpu", "dtype": "float32", "quiet": True}
ASKED |= {"image_size": 8, "train_images": 200, "fractions": (0.5, 1), "budget": "240steps"}


@pytest.mark.slow
def test_side_by_side_and_together_are_the_same_runs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = load_data("digits", "train", quiet=True)
    about: dict[str, Any] = {"classes": data.classes, "mean": data.mean, "std": data.std, "data": data.name}
    teacher = save_checkpoint(tmp_path / "teacher.pth", build("resnet8", 10, 8), arch="resnet8", image_size=8, **about)
    losses = {}
    for name, more in (("alone", {}), ("jobs", {"jobs": 2}), ("together", {"lockstep": 2})):
        *_, choice = choose(str(teacher), "resnet8", "digits", ["cutmix"], output=tmp_path / name, **{**ASKED, **more})
        losses[name] = {(run.aug, run.steps, run.seed): run.loss for run in choice.runs}
    for name in ("jobs", "together"):
        common = losses["alone"].keys() & losses[name].keys()
        assert common
        assert {key: losses["alone"][key] for key in common} == {key: losses[name][key] for key in common}
