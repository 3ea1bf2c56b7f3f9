"""The reference facts about the architectures, and networks whose batch norm does something."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def facts(shared: Path) -> dict[str, Any]:
    """``architectures.json``: "NAME@SIZE" to its facts."""
    return json.loads((shared / "reference" / "architectures.json").read_text())


@pytest.fixture(scope="session")
def stir() -> Callable[[nn.Module], nn.Module]:
    """Give all batch norms statistics and affine maps other than the identity; returns the model in eval mode."""

    def stir(model: nn.Module) -> nn.Module:
        draw = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                    module.running_mean.normal_(0, 0.2, generator=draw)
                    module.running_var.uniform_(0.5, 1.5, generator=draw)
                if isinstance(module, nn.BatchNorm2d) and module.affine:
                    module.weight.uniform_(0.5, 1.5, generator=draw)
                    module.bias.normal_(0, 0.2, generator=draw)
        return model.eval()

    return stir
