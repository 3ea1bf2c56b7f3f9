"""`dametric train`, `dametric distill` and `dametric runs`."""

from __future__ import annotations

from typing import Annotated

import typer

from dametric.base import limits
from dametric.cli.options import (
    AccuracyImages,
    BaseAug,
    BatchSize,
    CacheDir,
    Compile,
    Config,
    Data,
    DataConfig,
    DataRoot,
    Device,
    Download,
    Epochs,
    EvalEvery,
    HeldOut,
    ImageColumn,
    ImageSize,
    KeepWeights,
    LabelColumn,
    Lazy,
    Lockstep,
    Momentum,
    Nesterov,
    Normalisation,
    Quiet,
    Rate,
    RateSchedule,
    Records,
    Seed,
    Steps,
    TeacherArch,
    TensorBoard,
    TrainDtype,
    TrainImages,
    WeightDecay,
    Weights,
    normalisation,
)
from dametric.errors import RunFailed


def train(
    arch: Annotated[str, typer.Option(help="Architecture (dametric ls models), torchvision:NAME, ./nets.py:fn, ...")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Checkpoint to write.")],
    data: Data = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: BatchSize = 64,
    lr: Rate = None,
    schedule: RateSchedule = "step",
    momentum: Momentum = 0.9,
    nesterov: Nesterov = False,
    weight_decay: WeightDecay = 5e-4,
    label_smoothing: Annotated[float, typer.Option(help="Probability spread over all classes.")] = 0.0,
    aug: Annotated[
        str | None,
        typer.Option("--aug", "-a", metavar="SPEC", help="Of all images. [default: crop+flip; rrc+flip above 96 px]"),
    ] = None,
    data_root: DataRoot = None,
    download: Download = False,
    cache_dir: CacheDir = None,
    image_size: ImageSize = None,
    lazy: Lazy = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    data_config: DataConfig = None,
    train_images: TrainImages = None,
    held_out: HeldOut = None,
    eval_every: EvalEvery = "1",
    keep: KeepWeights = "last",
    device: Device = None,
    dtype: TrainDtype = None,
    compile: Compile = False,
    tensorboard: TensorBoard = False,
    json: Records = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Train a teacher by labels; interrupted, the same command goes on."""
    from dametric.commands import training
    from dametric.commands.inputs import DataOptions
    from dametric.commands.runs import deliver
    from dametric.training import LABELS

    recipe = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "schedule": schedule,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "objective": LABELS,
        "seed": seed,
    }
    source = DataOptions(
        *(data, data_root, download, cache_dir, image_size, lazy, quiet, train_images, held_out),
        *(label_column, image_column, data_config),
    )
    looks = (training.eval_every(eval_every), training.keep_weights(keep))
    options = training.TrainingOptions(source, recipe, lr, aug, device, dtype, compile, tensorboard, json, *looks)
    run = training.train(arch, output, options)
    deliver([run], json)
    training.say(f"wrote {output}; to score augmentations: dametric score --aug paper --teacher {output}", quiet)


def distill(
    teacher: Annotated[str, typer.Option("--teacher", "-t", metavar="FILE", help="Checkpoint of the teacher.")],
    student: Annotated[str, typer.Option("--student", "-s", metavar="ARCH", help="Architecture of the student.")],
    aug: Annotated[
        list[str],
        typer.Option("--aug", "-a", metavar="SPEC", help="Augmentation; repeat for several, 'paper' for the nine."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="The ledger: a folder for runs.")],
    data: Data = None,
    arch: TeacherArch = None,
    weights: Weights = None,
    seeds: Annotated[str, typer.Option(metavar="0-2", help="One run for each: 0-2, or 0,3,7.")] = "0",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, max=limits.PROCESSES, help="Runs side by side, sharing the cores.")
    ] = 1,
    lockstep: Lockstep = None,
    epochs: Epochs = None,
    steps: Steps = None,
    batch_size: BatchSize = 64,
    lr: Rate = None,
    schedule: RateSchedule = "step",
    momentum: Momentum = 0.9,
    nesterov: Nesterov = False,
    weight_decay: WeightDecay = 5e-4,
    label_smoothing: Annotated[float, typer.Option(help="Of the labels' cross-entropy.")] = 0.0,
    views: Annotated[
        str, typer.Option(metavar="both|augmented|raw", help="What the student sees; raw is plain distillation.")
    ] = "both",
    ce_weight: Annotated[
        float | None, typer.Option(help="Of the cross-entropy with labels, raw images. [default: 0.1]")
    ] = None,
    raw_weight: Annotated[
        float | None, typer.Option(help="Of the divergence from the teacher, raw images. [default: 0.9]")
    ] = None,
    aug_weight: Annotated[
        float | None, typer.Option(help="Of the divergence from the teacher, augmented images. [default: 0.9]")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Of both softmaxes in the divergence.")] = 4.0,
    per: Annotated[
        str, typer.Option(metavar="sample|batch", help="Random parameters for each image or once a batch.")
    ] = "sample",
    base_aug: BaseAug = None,
    joint_batch: Annotated[
        bool, typer.Option("--joint-batch", help="Raw and augmented in one forward; changes batch norm's statistics.")
    ] = False,
    mean: Normalisation = None,
    std: Normalisation = None,
    data_root: DataRoot = None,
    download: Download = False,
    cache_dir: CacheDir = None,
    image_size: ImageSize = None,
    lazy: Lazy = None,
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    data_config: DataConfig = None,
    train_images: TrainImages = None,
    held_out: HeldOut = None,
    eval_every: EvalEvery = "1",
    keep: KeepWeights = "last",
    accuracy_images: AccuracyImages = 2_000,
    device: Device = None,
    dtype: TrainDtype = None,
    compile: Compile = False,
    tensorboard: TensorBoard = False,
    json: Records = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Distil students, one for each augmentation and seed, into a ledger; what is done there is not repeated."""
    from dametric.commands import training
    from dametric.commands.inputs import DataOptions
    from dametric.commands.runs import deliver
    from dametric.training import Objective

    objective = Objective.of(
        views,  # type: ignore[arg-type]
        ce=ce_weight,
        raw=raw_weight,
        aug=aug_weight,
        temperature=temperature,
    )
    recipe = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "schedule": schedule,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "per": per,
        "objective": objective,
        "joint_batch": joint_batch,
    }
    source = DataOptions(
        *(data, data_root, download, cache_dir, image_size, lazy, quiet, train_images, held_out),
        *(label_column, image_column, data_config),
    )
    looks = (training.eval_every(eval_every), training.keep_weights(keep))
    common = training.TrainingOptions(source, recipe, lr, base_aug, device, dtype, compile, tensorboard, json, *looks)
    asked = training.DistillOptions(
        common,
        teacher,
        student,
        training.augmentations(aug),
        training.seeds(seeds),
        output,
        arch,
        *normalisation(mean, std),
        jobs,
        lockstep or 1,
        weights,
        accuracy_images=accuracy_images,
    )
    found, troubles = training.distill(asked)
    deliver(found, json)
    if troubles:
        raise RunFailed("; ".join(troubles))


def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder with runs at any depth.")],
    json: Records = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write the table as CSV.")] = None,
) -> None:
    """Print the ledger of trained networks as a table."""
    from dametric.commands import runs as command

    command.runs(folder, json, csv)
