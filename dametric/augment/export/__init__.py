"""Code of other libraries that augments as a specification does: ``dametric export cutmix:alpha=1 --for timm``."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from dametric.augment.base import Augmentation, Operation
from dametric.augment.branches import OneOf, Sometimes
from dametric.augment.catalogue import ImageSpec
from dametric.augment.export.expressions import Inexpressible, Table
from dametric.augment.spec import parse
from dametric.errors import UsageError, unknown

LIBRARIES = ("torchvision", "timm", "albumentations", "kornia")


def export(spec: str, library: str, image_size: int = 32, mean: Sequence[float] = (0.5, 0.5, 0.5)) -> str:
    """Code that does in another library what an augmentation does.

    Parameters
    ----------
    spec : str
        Specification, such as ``crop+flip+cutmix``.
    library : {"torchvision", "timm", "albumentations", "kornia"}
    image_size : int
        Height and width of the images, in pixels.
    mean : sequence of float
        Mean colour of the data, from 0 to 1, with which some augmentations fill.

    Returns
    -------
    str
        A Python program that defines ``transform``, of single images or for kornia of batches; ``mix``, of batches and
        their labels, where images are mixed; and for timm's erasing ``after_normalisation``. Comments say what these
        take, and where draws differ. Only the library is needed to run it.

    Raises
    ------
    UsageError
        For what the library cannot do with the same law.

    Examples
    --------
    >>> print(export("flip", "torchvision"))
    # dametric export flip --for torchvision
    from torchvision.transforms import v2
    <BLANKLINE>
    # of one image: uint8, (channels, height, width)
    transform = v2.Compose([
        v2.RandomHorizontalFlip(0.5),
    ])
    """
    if len(mean) not in (1, 3) or not all(0 <= value <= 1 for value in mean):
        raise UsageError(f"a mean colour is one number from 0 to 1, or three, not {', '.join(map(str, mean))}")
    if library not in LIBRARIES:
        raise unknown("library", library, LIBRARIES)
    if image_size < 1:
        raise UsageError(f"an image size is a number of pixels from 1 up, not {image_size}")
    images = ImageSpec(image_size, tuple(float(value) for value in mean))
    aug, module = parse(spec, images), import_module(f"dametric.augment.export.{library}")
    try:
        code = _code(aug, images, module)
    except Inexpressible as error:
        raise UsageError(f"{aug.name} cannot be written for {library}: {error}") from None
    head = f"# dametric export {aug.name} --for {library}"
    imports = [line for word, line in module.IMPORTS.items() if word in code]
    return "\n".join([head, *imports, "", code])


def _code(aug: Augmentation, images: ImageSpec, module: ModuleType) -> str:
    operations = list(aug.operations)
    if any(operation.mixes for operation in operations[:-1]):
        raise Inexpressible("it mixes batches after all that is done to single images, so that mixing comes last")
    mix = operations.pop() if aug.mixes else None
    after = None
    if mix is None and operations and module.AFTER and isinstance(_inner(operations[-1]), tuple(module.AFTER)):
        after = operations.pop()
    parts = []
    if operations or (mix is None and after is None):
        expressions = [_expression(operation, images, module.IMAGES, module) for operation in operations]
        listed = "".join(f"\n    {line}," for line in expressions or [module.IDENTITY])
        parts.append(f"# {module.TAKES}\ntransform = {module.TOGETHER.format(listed + chr(10))}")
    if after is not None:
        expression = _expression(after, images, module.AFTER, module)
        parts.append(
            f"# of one image, after normalisation by mean and standard deviation\n{module.LATER} = {expression}"
        )
    if mix is not None:
        expression = _expression(mix, images, module.BATCHES, module)
        classes = "NUM_CLASSES = 10  # of your data\n" if "NUM_CLASSES" in expression else ""
        parts.append(f"{classes}# {module.MIXES}\nmix = {expression}")
    return "\n\n".join(parts)


def _inner(operation: Operation) -> Operation:
    return operation.operation if isinstance(operation, Sometimes) else operation


def _expression(operation: Operation, images: ImageSpec, known: Table, module: ModuleType) -> str:
    """The expression of one operation; ``{p}`` in it is the probability, where the library's class has one."""
    inner, p = _inner(operation), operation.p if isinstance(operation, Sometimes) else 1.0
    if isinstance(inner, OneOf):
        text = _one_of(inner, images, known, module)
    elif type(inner) in known:
        text = known[type(inner)](inner, images)
    else:
        name = inner.stream if isinstance(getattr(inner, "stream", None), str) else type(inner).__name__
        raise Inexpressible(module.WHY.get(type(inner), f"it has nothing that draws as {name} does"))
    if "{p}" in text:
        return str(text.replace("{p}", f"{p:g}"))
    if p == 1:
        return str(text)
    if operation.mixes or not module.SOMETIMES:
        raise Inexpressible("it has no probability of this")
    return str(module.SOMETIMES.format(text, f"{p:g}"))


def _one_of(group: OneOf, images: ImageSpec, known: Table, module: ModuleType) -> str:
    if not module.ONE_OF or known is module.BATCHES:
        raise Inexpressible("it has no choice of one of several, or not of those that mix")
    branches = [
        [_expression(operation, images, known, module) for operation in branch.operations] or [module.IDENTITY]
        for branch in group.branches
    ]
    return str(module.ONE_OF.format(", ".join(module.CHAIN.format(", ".join(branch)) for branch in branches)))
