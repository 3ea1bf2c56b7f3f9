"""AugMix: a weighted mean of the image and several chains of policy operations on it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from dametric.augment import colour
from dametric.augment.base import Augmented, Draw, parameters, per_row, whole
from dametric.augment.keys import Keys
from dametric.augment.photometric import check_between
from dametric.augment.policy import OPERATIONS, grouped
from dametric.base.devices import queued

LEVELS = 10  # of severity
DEEPEST = 3  # operations of a chain whose length is drawn
_MOST = 20  # chains, and operations of each
_LEAST_ALPHA, _MOST_ALPHA = 0.01, 100.0
_ENHANCEMENTS = ("Brightness", "Color", "Contrast", "Sharpness")
_KERNELS = [
    colour.warping(name, "bilinear") if name in colour.MATRICES else operation.kernel
    for name, operation in OPERATIONS.items()
]


def _strength(name: str, level: int, height: int, width: int) -> float:
    """Strength at a level 0..9, as torchvision has it: moves are up to thirds of the side, bits from 4 down."""
    if name in ("TranslateX", "TranslateY"):
        return (width if name == "TranslateX" else height) * level / (3 * (LEVELS - 1))
    share = level / (LEVELS - 1)
    return 4 - round(share * 4) if name == "Posterize" else OPERATIONS[name].strength(share, height, width)


@cache
def _choices(all_ops: bool, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of the operations, whether they are signed, and strengths at all levels (choices, 10), float64."""
    names = [name for name in OPERATIONS if name != "Invert" and (all_ops or name not in _ENHANCEMENTS)]
    strengths = [[_strength(name, level, height, width) for level in range(LEVELS)] for name in names]
    return (
        torch.tensor([list(OPERATIONS).index(name) for name in names]),
        torch.tensor([OPERATIONS[name].signed for name in names]),
        torch.tensor(strengths, dtype=torch.float64),
    )


@dataclass(frozen=True)
class AugMix:
    """Chains of operations, mixed with each other and with the image (Hendrycks et al. 2020, arXiv 1912.02781).

    Attributes
    ----------
    severity : int
        Number of levels, 1 to 10, of which every operation draws its own.
    mixture_width : int
        Number of chains.
    chain_depth : int
        Operations of a chain; one to three, drawn for every chain, where this is not positive.
    alpha : float
        Weights are Dirichlet(alpha, ...) of the chains, and Beta(alpha, alpha) between these and the image.
    all_ops : bool
        Whether brightness, colour, contrast and sharpness are among the operations.

    Notes
    -----
    Operations, levels, interpolation (bilinear) and rounding are those of torchvision's ``AugMix``. Operations are
    drawn on the CPU, where rows are grouped by operation, so that nothing waits for a GPU.
    """

    severity: int = 3
    mixture_width: int = 3
    chain_depth: int = -1
    alpha: float = 1.0
    all_ops: bool = True
    stream = "augmix"
    mixes = False
    random = True

    def __post_init__(self) -> None:
        check_between("augmix: severity", self.severity, 1, LEVELS)
        check_between("augmix: mixture_width", self.mixture_width, 1, _MOST)
        check_between("augmix: chain_depth", self.chain_depth, -1, _MOST)
        check_between("augmix: alpha", self.alpha, _LEAST_ALPHA, _MOST_ALPHA)

    def draw(self, keys: Keys, shape: torch.Size) -> Draw:
        """Operation number (-1 for none) and strength, (rows, chains, stages), on the CPU; and "weight".

        Weights are (rows, 1 + chains), that of the image first.
        """
        on_cpu = keys.on("cpu")
        numbers, signed, strengths = _choices(self.all_ops, shape[-2], shape[-1])
        operation, strength = [], []
        for chain in range(self.mixture_width):
            depth = 1 + on_cpu.integer(f"depth.{chain}", DEEPEST) if self.chain_depth < 1 else self.chain_depth
            for stage in range(DEEPEST if self.chain_depth < 1 else self.chain_depth):
                chosen = on_cpu.integer(f"operation.{chain}.{stage}", len(numbers))
                level = on_cpu.integer(f"level.{chain}.{stage}", self.severity)
                negative = (on_cpu.uniform(f"sign.{chain}.{stage}") < 0.5) & signed[chosen]
                operation.append(torch.where(torch.as_tensor(depth > stage), numbers[chosen], -1))
                strength.append(strengths[chosen, level] * torch.where(negative, -1.0, 1.0))
        tables = (torch.stack(values, 1).unflatten(1, (self.mixture_width, -1)) for values in (operation, strength))
        own = keys.beta("own", self.alpha)[:, None]
        weight = torch.cat([own, (1 - own) * queued(self._shares(on_cpu), own.device)], 1)
        return dict(zip(("operation", "strength"), tables, strict=True)) | {"weight": weight}

    def _shares(self, keys: Keys) -> Tensor:
        """Dirichlet(alpha, ...) shares of the chains: Gamma numbers divided by their sum, (rows, chains)."""
        uniform = torch.stack([keys.uniform(f"weight.{chain}") for chain in range(self.mixture_width)], 1)
        if self.alpha == 1:
            gamma = -torch.log1p(-uniform)
        else:
            from scipy.special import gammaincinv

            gamma = torch.from_numpy(gammaincinv(self.alpha, uniform.numpy()))
        total = gamma.sum(1, keepdim=True)
        return torch.where(total > 0, gamma / total, 1 / self.mixture_width)

    def apply(self, images: Tensor, draw: Draw) -> Augmented:
        images = whole(images)
        operations, strengths, weight = parameters(draw, "operation", "strength", "weight")
        own, *shares = (per_row(share) for share in weight.float().unbind(1))
        mixed = own * images
        for operation, strength, share in zip(operations.unbind(1), strengths.unbind(1), shares, strict=True):
            chain = grouped("augmix", images, {"operation": operation, "strength": strength}, _KERNELS)
            mixed.add_(share * chain)  # a fused multiplication would give other pixels than torchvision's
        return Augmented(mixed.clamp_(0, 255).to(torch.uint8))
