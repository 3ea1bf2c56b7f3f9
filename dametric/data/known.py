"""Normalisation constants of well-known data sets, and how to recognise those sets.

Teachers were trained with the constants in circulation, not with freshly computed ones, so these are used to the
digit. They were computed from the training split and rounded, as printed in the code bases that checkpoints come
from (CIFAR-100: RepDistiller, arXiv 1910.10699; ImageNet: torchvision).
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Statistics(NamedTuple):
    """Mean and standard deviation a channel, in units of pixel values from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


KNOWN = {
    "cifar10": Statistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": Statistics((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "svhn": Statistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "imagenet": Statistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}

# Names as the sets' authors wrote them, in label order.
_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_CIFAR100_COARSE = """
aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""


def recognise(classes: tuple[str, ...], image_size: int) -> str | None:
    """Name of the well-known data set that has these classes, or None.

    Parameters
    ----------
    classes : tuple of str
        Class names in order. File and folder names play no part.
    image_size : int
        Height of the images in pixels; CIFAR's constants are for 32.

    Returns
    -------
    str or None
        A key of `KNOWN`.
    """
    names = tuple("crab" if c == "cra" else c for c in classes)  # a misprint in a copy in wide circulation
    if image_size == 32 and names == tuple(_CIFAR10.split()):
        return "cifar10"
    if image_size == 32 and names in (tuple(_CIFAR100.split()), tuple(_CIFAR100_COARSE.split())):
        return "cifar100"
    if len(names) == 1000 and all(re.fullmatch(r"n\d{8}", name) for name in names):
        return "imagenet"
    return None
