"""Augmentations as timm has them; the rest, as in timm's own pipelines, by torchvision."""

from __future__ import annotations

from dametric.augment.catalogue import ImageSpec
from dametric.augment.chance import RandAugment
from dametric.augment.erase import Erasing
from dametric.augment.export import torchvision
from dametric.augment.export.expressions import Inexpressible, Table, rolls
from dametric.augment.mix import CutMix, Mixup
from dametric.augment.mixtures import MixupOrCutMix
from dametric.augment.rand import Rand

IMPORTS = {
    "rand_augment_transform": "from timm.data.auto_augment import rand_augment_transform",
    "Mixup(": "from timm.data.mixup import Mixup",
    "RandomErasing(prob": "from timm.data.random_erasing import RandomErasing",
    **torchvision.IMPORTS,
}
TAKES = torchvision.TAKES
MIXES = "of a batch of images and its labels, as mix(images, labels); images are partners in reverse order"
IDENTITY, TOGETHER, CHAIN = torchvision.IDENTITY, torchvision.TOGETHER, torchvision.CHAIN
SOMETIMES, ONE_OF, LATER = torchvision.SOMETIMES, torchvision.ONE_OF, "after_normalisation"


def _rand(operation: Rand, images: ImageSpec) -> str:
    increasing = "-inc1" if operation.inc else ""  # some versions take inc0 for true
    string = f"rand-m{operation.m}-n{operation.n}-p{operation.prob:g}{increasing}-mmax{operation.mmax}"
    string += f"-mstd{operation.mstd:g}" if operation.mstd else ""
    colour = tuple(min(255, round(value)) for value in operation.fill)
    hparams = f'{{"translate_pct": 0.45, "img_mean": {colour if len(colour) == 3 else colour * 3}}}'
    # of pictures, as everything of this kind in timm
    return f'v2.Compose([v2.ToPILImage(), rand_augment_transform("{string}", {hparams}), v2.PILToTensor()])'


def _erasing(operation: Erasing, images: ImageSpec) -> str:
    sizes = f"min_area={min(operation.area, 0.02)}, max_area={operation.area}, min_aspect=0.3, max_aspect=3.3"
    return f'RandomErasing(probability={{p}}, {sizes}, mode="{operation.mode}", device="cpu")'


def _mixing(operation: Mixup | CutMix | MixupOrCutMix, alphas: str) -> str:
    rolls(operation, "roll", "the image in the reversed order of the batch")
    return f'Mixup({alphas}, prob={{p}}, mode="elem", label_smoothing=0, num_classes=NUM_CLASSES)'


def _switch(operation: MixupOrCutMix, images: ImageSpec) -> str:
    alphas = f"mixup_alpha={operation.mixup}, cutmix_alpha={operation.cutmix}, switch_prob={operation.switch}"
    return _mixing(operation, alphas)


def _randaugment(operation: RandAugment, images: ImageSpec) -> str:
    raise Inexpressible("its RandAugment has other operations and magnitudes: export it for torchvision")


IMAGES: Table = {
    **{kind: make for kind, make in torchvision.IMAGES.items() if kind is not Erasing},
    Rand: _rand,
    RandAugment: _randaugment,
}
AFTER: Table = {Erasing: _erasing}
BATCHES: Table = {
    Mixup: lambda op, images: _mixing(op, f"mixup_alpha={op.alpha}, cutmix_alpha=0"),
    CutMix: lambda op, images: _mixing(op, f"mixup_alpha=0, cutmix_alpha={op.alpha}"),
    MixupOrCutMix: _switch,
}
WHY = {**torchvision.WHY, Erasing: "it erases after all else, when images are normalised"}
