"""What augmented images were made of, as metrics are told it."""

from __future__ import annotations

import torch

from dametric.augment import Keys, parse
from dametric.scoring.cached_rows import Origin


def test_labels_partners_and_shares_are_those_of_the_mixed_images() -> None:
    values = torch.tensor([0, 50, 100, 150, 200, 250])
    images = values.to(torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    augmented = parse("mixup")(images, Keys(0, 1, 6))
    labels = torch.arange(6)
    origin = Origin.of(augmented, labels)
    assert origin.partner_labels is not None
    assert origin.lam is not None
    mixed = origin.lam * values[origin.labels] + (1 - origin.lam) * values[origin.partner_labels]
    assert torch.allclose(augmented.images[:, 0, 0, 0].double(), mixed, atol=1e-3)
    assert torch.equal(origin.take(torch.tensor([3, 1])).labels, torch.tensor([3, 1]))
    assert Origin.of(parse("flip")(images, Keys(0, 1, 6)), labels).partner_labels is None
