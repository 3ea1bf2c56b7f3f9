"""Every option there is, once: what flags, keywords of Python, keys of grids, columns of ledgers and docs come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dametric.base import limits
from dametric.base.options import check_options, option

Per = Literal["sample", "batch"]
Schedule = Literal["step", "cosine", "onecycle"]
Views = Literal["both", "augmented", "raw"]
Keep = Literal["last", "none"]
EvalEvery = int | Literal["last"]
AccuracyImages = int | Literal["all"]
ProtocolName = Literal["default", "reference"]
DtypeName = Literal["float32", "bfloat16", "float64"]

PUBLISHED = "Wang et al. 2022, arXiv 2012.02909"
SEEDS = 2**31 - 1
_BASE = "crop+flip; rrc+flip above 96 pixels"


@dataclass(frozen=True)
class ImageOptions:
    """Where images are, and how they are read."""

    root: str | None = option(None, "Folder where a named image set is.", flags=("--data-root",), metavar="DIR")
    download: bool = option(False, "Download a named image set that is not there.")
    cache_dir: str | None = option(
        None, "Folder where decoded images are kept.", metavar="DIR", without="the user's cache, see dametric cache"
    )
    image_size: int | None = option(
        None, "Resize and crop images to this height and width in pixels.", low=4, high=limits.IMAGE_SIZE
    )
    eval_resize: int | None = option(
        None,
        "Resize the shorter side to this many pixels before the centre is cropped, where crops are not drawn.",
        low=4,
        high=limits.IMAGE_SIZE,
        without="the network's own, else 8/7 of a size above 96 if files are larger",
    )
    lazy: bool | None = option(
        None, "Decode images when they are drawn, or all at once.", flags=("--lazy/--in-memory",), without="by size"
    )
    memory_limit: float | None = option(
        None,
        "Decode the images of a split all at once where they take no more than this many GB.",
        above=0,
        metavar="GB",
        without=f"{limits.MEMORY_GB}; never more than a quarter of the memory",
    )
    skip_broken: int = option(
        0,
        "Pass over at most this many images of a split that cannot be read: the next of the class takes the place.",
        low=0,
        high=limits.BROKEN_IMAGES,
    )
    label_column: str | None = option(
        None, "Column of the labels in Parquet or Arrow files.", metavar="NAME", without="fine_label, label, ..."
    )
    image_column: str | None = option(
        None, "Column of the images in Parquet or Arrow files.", metavar="NAME", without="img, image"
    )
    config: str | None = option(
        None, "Which configuration of a folder that holds several.", flags=("--data-config",), metavar="NAME"
    )
    train_images: int | None = option(
        None, "Use this many training images, the same number of each class.", low=1, high=limits.IMAGES, without="all"
    )


@dataclass(frozen=True)
class HeldOutOptions:
    """Images that training does not see."""

    held_out: int | None = option(
        None,
        "Set this many training images aside, as many of each class: evaluated once, at the end; where there is "
        "no evaluation split they take its place, a tenth by default.",
        low=1,
        high=limits.IMAGES,
    )


@dataclass(frozen=True)
class TeacherOptions:
    """How a teacher's checkpoint is read."""

    arch: str | None = option(None, "The teacher's architecture, where its file does not say it.")
    weights: str | None = option(
        None, "Which weights of a file with several: state_dict_ema, teacher, ...", metavar="KEY"
    )
    mean: tuple[float, ...] | str | None = option(
        None,
        "Mean of the teacher's normalisation, in 0..1, or by name: imagenet, cifar10, cifar100, ...",
        metavar="R,G,B|NAME",
        without="the checkpoint's, else the data set's",
    )
    std: tuple[float, ...] | str | None = option(
        None,
        "Standard deviation of the teacher's normalisation, in 0..1, or by name.",
        metavar="R,G,B|NAME",
        without="the checkpoint's, else the data set's",
    )


@dataclass(frozen=True)
class AccuracyOptions:
    """How well the teacher's accuracy is known before the work."""

    accuracy_images: AccuracyImages = option(
        2_000,
        "Test images for the teacher's accuracy, measured before the work: a random sample of so many, or all.",
        metavar="N|all",
        low=1,
        high=limits.IMAGES,
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def most(self) -> int:
        """The largest number of images."""
        return limits.IMAGES if self.accuracy_images == "all" else int(self.accuracy_images)


@dataclass(frozen=True)
class OptimizerOptions:
    """How weights are learnt; the defaults are the published training."""

    epochs: int | None = option(
        None,
        "Passes over the training images; the last, incomplete batch of an epoch is dropped.",
        low=1,
        high=limits.EPOCHS,
        without="240, where steps are not given; milestones scale with them",
        source=PUBLISHED,
        neutral=240,
    )
    steps: int | None = option(
        None, "Number of training steps in place of epochs.", low=1, high=limits.STEPS, neutral=None
    )
    batch_size: int = option(
        64, "Images of a training step.", low=2, high=limits.BATCH_SIZE, source=PUBLISHED, neutral=64
    )
    lr: float | None = option(
        None,
        "Learning rate; the peak of the cosine and one-cycle schedules.",
        above=0,
        without="0.05; 0.01 for MobileNets and ShuffleNets",
        source=PUBLISHED,
        neutral=0.05,
    )
    schedule: Schedule = option(
        "step",
        "Learning rate over time; step: divided by ten at 150, 180 and 210 of 240 epochs.",
        source=PUBLISHED,
        neutral="step",
    )
    momentum: float = option(0.9, "Momentum of SGD.", low=0, below=1, source=PUBLISHED, neutral=0.9)
    nesterov: bool = option(False, "Use Nesterov's momentum.", neutral=False)
    weight_decay: float = option(5e-4, "Weight decay of all parameters.", low=0, source=PUBLISHED, neutral=5e-4)
    label_smoothing: float = option(
        0.0, "Probability that the labels' cross-entropy spreads over all classes.", low=0, below=1, neutral=0.0
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class LossOptions:
    """What a student minimises; the defaults are the published weights."""

    views: Views = option(
        "both",
        "Which images the student sees; raw is plain distillation.",
        in_ledger=False,
    )
    ce_weight: float | None = option(
        None, "Weight of the cross-entropy with labels, base view.", low=0, without="0.1", source=PUBLISHED, neutral=0.1
    )
    raw_weight: float | None = option(
        None,
        "Weight of the divergence from the teacher, base view.",
        low=0,
        without="0.9",
        source=PUBLISHED,
        neutral=0.9,
    )
    aug_weight: float | None = option(
        None,
        "Weight of the divergence from the teacher, augmented view.",
        low=0,
        without="0.9",
        source=PUBLISHED,
        neutral=0.9,
    )
    temperature: float = option(
        4.0, "Softmax temperature of teacher and student in the divergence.", above=0, source=PUBLISHED, neutral=4.0
    )
    loss_term: str | None = option(
        None,
        "A further term of the loss, by a function of your own; see examples/loss_term.py.",
        metavar="./FILE.py:NAME",
        neutral=None,
    )


@dataclass(frozen=True)
class ViewOptions:
    """How images are augmented in training."""

    per: Per = option("sample", "Draw random parameters for each image, or once a batch.", neutral="sample")
    base_aug: str | None = option(
        None, "The loader's own augmentation, or none.", metavar="SPEC", without=_BASE, neutral="crop+flip"
    )
    joint_batch: bool = option(
        False, "Forward base and augmented views in one batch; batch norm then sees their mixture.", neutral=False
    )


@dataclass(frozen=True)
class PrecisionOptions:
    """How forward passes are computed."""

    dtype: DtypeName | None = option(
        None,
        "Number format of the forward passes.",
        without="bfloat16 where the chip has it, else float32",
        neutral="float32",
    )
    compile: bool = option(False, "Compile the networks first; for a GPU.", in_ledger=False)


@dataclass(frozen=True)
class RunOptions:
    """How a training run is carried out, which is no part of what it is."""

    eval_every: EvalEvery = option(
        1, "Evaluate on the test images every N epochs and at the end, or only at the end.", metavar="N|last", low=1
    )
    keep: Keep = option(
        "last",
        "Which weights of a finished run its folder keeps.",
    )
    deterministic: bool = option(
        False,
        "On a GPU, compute the same bits each time, so that what was interrupted goes on to the same; slower.",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True)
class ScoringOptions:
    """How augmentations are scored."""

    metrics: tuple[str, ...] | None = option(
        None,
        "Metric; repeat for several, the first orders the table.",
        flags=("--metric", "-m"),
        without="all that can be computed",
    )
    protocol: ProtocolName = option(
        "default",
        "Best estimator, or a replay of the published protocol.",
    )
    per: Per | None = option(
        None,
        "Draw random parameters for each image, or once a batch.",
        without="sample; batch in the reference protocol",
    )
    rel_se: float | None = option(
        None, "Stop at this relative standard error.", above=0, below=1, without="0.01; 20 batches at least"
    )
    batches: int | None = option(
        None, "Use exactly this many batches.", low=2, high=limits.BATCHES, without="as many as rel_se needs"
    )
    max_batches: int = option(
        1000, "Stop after this many batches even if rel_se is not reached.", low=20, high=limits.BATCHES
    )
    resolve: bool = option(
        False,
        "Find what is best: show an augmentation until it is worse than another, and letter the groups.",
        in_grid=False,
    )
    cost: bool = option(
        False,
        "Measure what each augmentation costs: images a second, and a training step relative to identity.",
        in_grid=False,
    )
    batch_size: int = option(64, "Images of a batch, b.", low=4, high=limits.BATCH_SIZE)
    draw_batches: int = option(
        5, "Batches of a draw, G; scores are stated for n = G b images.", low=1, high=limits.DRAW_BATCHES
    )
    views: int | None = option(
        None,
        "Independent augmented views of each image, for metrics that need several.",
        low=2,
        high=100,
        without="as many as the metric asks for: 2 for ce_std_within and ce_std_between",
    )
    held_out: int | None = option(
        None,
        "Training images that metrics of clean images are computed on, the same number of each class.",
        low=4,
        high=limits.IMAGES,
        without="a tenth of the training split, 5,000 at most, where a metric needs them",
    )
    raw_weight: float = option(0.5, "Weight w of the rows of base views.", low=0, below=1)
    temperature: float = option(1.0, "Softmax temperature.", above=0)
    base_aug: str | None = option(None, "The loader's own augmentation, or none.", metavar="SPEC", without=_BASE)
    seed: int = option(0, "Random seed.", low=0, high=2**43 - 1)
    chunk: int | None = option(
        None, "Rows of a forward pass; does not change the result.", low=1, high=limits.ROWS, in_grid=False
    )

    def __post_init__(self) -> None:
        check_options(self)


GROUPS = (
    *(ScoringOptions, ImageOptions, HeldOutOptions, TeacherOptions, OptimizerOptions),
    *(LossOptions, ViewOptions, PrecisionOptions, RunOptions, AccuracyOptions),
)
"""All groups."""
