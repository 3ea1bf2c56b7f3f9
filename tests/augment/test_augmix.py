"""AugMix: torchvision's pixels for the same parameters, and torchvision's law of these."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torchvision.transforms import v2

from dametric.augment import Keys, parse
from dametric.augment.augmix import AugMix
from dametric.augment.policy import OPERATIONS
from dametric.errors import UsageError
from tests.loops import each

ROWS = 8192
NAMES = tuple(OPERATIONS)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


class Given(v2.AugMix):
    """torchvision's AugMix of one image, with the parameters of one of our draws."""

    def __init__(self, operation: Tensor, strength: Tensor, weight: Tensor) -> None:
        super().__init__(mixture_width=len(operation), chain_depth=operation.shape[1])
        self.steps = iter(list(zip(operation.flatten().tolist(), strength.flatten().tolist(), strict=True)))
        # a weight of one for the chains together: their own are those drawn
        self.weights = iter([torch.tensor([[float(weight[0]), 1.0]]), weight[None, 1:].float()])

    def _sample_dirichlet(self, params: Tensor) -> Tensor:
        return next(self.weights)

    def _get_random_item(self, dct: dict[str, Any]) -> tuple[str, Any]:
        number, strength = next(self.steps)
        name = "Identity" if number < 0 else NAMES[number]
        value = torch.full((10,), strength / 255 if name == "Solarize" else strength, dtype=torch.float64)
        return name, (lambda bins, height, width: value, False)


@each("spec", ["augmix", "augmix:severity=10:mixture_width=2:chain_depth=4:alpha=0.5", "augmix:all_ops=false"])
@each("shape", [(64, 3, 32, 32), (32, 3, 31, 33), (16, 1, 17, 9)])
def test_images_are_torchvisions_for_the_same_parameters(spec: str, shape: tuple[int, ...]) -> None:
    images, aug = noise(*shape), parse(spec)
    (draw,) = aug.draw(Keys(0, 1, shape[0]), images.shape)
    out = aug.apply(images, (draw,)).images
    assert out.dtype == torch.uint8
    expected = torch.stack(
        [
            Given(*parameters)(image)
            for image, *parameters in zip(
                images, *(draw[name] for name in ("operation", "strength", "weight")), strict=True
            )
        ]
    )
    differ = (out.int() - expected.int()).abs()
    assert (differ > 1).double().mean() < 1e-3  # an equalised or solarised pixel that was rounded the other way
    assert (differ > 0).double().mean() < 0.01


def test_operations_levels_signs_and_depths_follow_torchvisions_law() -> None:
    for all_ops, count in ((True, 13), (False, 9)):
        draw = AugMix(severity=4, all_ops=all_ops).draw(Keys(0, 64, 128), torch.Size((ROWS, 3, 30, 60)))
        operation, strength = draw["operation"], draw["strength"]
        depths = (operation >= 0).sum(2)
        assert ((operation >= 0) == (torch.arange(3) < depths[..., None])).all()  # none after the last
        for chain in range(3):
            assert stats.chisquare(torch.bincount(depths[:, chain], minlength=4)[1:].numpy()).pvalue > 1e-4
        counts = torch.bincount(operation[operation >= 0], minlength=len(NAMES))
        assert stats.chisquare(counts[counts > 0].numpy()).pvalue > 1e-4
        assert {NAMES[n] for n in counts.nonzero()[:, 0].tolist()} == set(
            v2.AugMix._AUGMENTATION_SPACE if all_ops else v2.AugMix._PARTIAL_AUGMENTATION_SPACE
        )
        assert int((counts > 0).sum()) == count
        for name, (levels, signed) in v2.AugMix._PARTIAL_AUGMENTATION_SPACE.items():
            magnitudes = levels(10, 30, 60)
            if magnitudes is None:
                continue
            levels_of = magnitudes[:4].double() * (255 if name == "Solarize" else 1)
            allowed, often = levels_of.unique(return_counts=True)
            drawn = strength[operation == NAMES.index(name)]
            nearest = (drawn.abs()[:, None] - allowed).abs().min(1)
            assert nearest.values.max() < 1e-4, name
            seen = torch.bincount(nearest.indices, minlength=len(often)).numpy()
            assert stats.chisquare(seen, len(drawn) * often.numpy() / 4).pvalue > 1e-4, name
            moved = drawn[drawn != 0]
            share = float((moved < 0).double().mean())
            assert abs(share - 0.5) < 2.5 / len(moved) ** 0.5 if signed else share == 0, name


@each("alpha", [1.0, 0.3, 4.0])
def test_weights_are_beta_and_dirichlet(alpha: float) -> None:
    draw = AugMix(alpha=alpha, mixture_width=4).draw(Keys(1, 64, 128), torch.Size((ROWS, 3, 8, 8)))
    weight = draw["weight"]
    assert weight.shape == (ROWS, 5)
    assert torch.allclose(weight.sum(1), torch.ones(ROWS, dtype=torch.float64))
    assert stats.kstest(weight[:, 0].numpy(), stats.beta(alpha, alpha).cdf).pvalue > 1e-4
    shares = weight[:, 1:] / (1 - weight[:, :1]).clamp(min=1e-300)
    for chain in range(4):
        law = stats.beta(alpha, 3 * alpha)
        known = shares[weight[:, 0] < 1 - 1e-9, chain]  # where anything is left to share
        assert stats.kstest(known.numpy(), law.cdf).pvalue > 1e-4
    assert abs(np.corrcoef(weight[:, 0].numpy(), shares[:, 0].numpy())[0, 1]) < 4.5 / ROWS**0.5
    assert abs(np.corrcoef(weight[1:, 0].numpy(), weight[:-1, 0].numpy())[0, 1]) < 4.5 / ROWS**0.5


def test_parameters_out_of_range_are_refused_and_truth_is_spelt_either_way() -> None:
    assert parse("augmix:all_ops=False").canonical == parse("augmix:all_ops=0").canonical == "augmix:all_ops=False"
    assert parse("augmix:all_ops=TRUE").canonical == "augmix"
    for spec, message in {
        "augmix:severity=11": "severity is from 1 to 10",
        "augmix:alpha=0": "alpha is from 0.01",
        "augmix:mixture_width=0": "mixture_width is from 1",
        "augmix:chain_depth=99": "chain_depth is from -1",
        "augmix:all_ops=maybe": "all_ops is true or false, not 'maybe'",
    }.items():
        with pytest.raises(UsageError, match=message):
            parse(spec)
