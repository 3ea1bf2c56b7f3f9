"""Options that several commands have, and reading them."""

from __future__ import annotations

from typing import Annotated

import typer

from dametric.base import limits
from dametric.errors import UsageError, unknown


def _defaults(context: typer.Context, path: str | None) -> str | None:
    """Read defaults of the command's options from a YAML file; flags on the command line win."""
    if path is None or context.resilient_parsing:
        return path
    from dametric.base.yaml_files import read_yaml_file

    values = read_yaml_file(path)
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected lines of 'option: value', got {type(values).__name__}")
    known = {
        name.lstrip("-"): option for option in context.command.params for name in option.opts if name.startswith("--")
    }
    context.default_map = context.default_map or {}
    for key, value in values.items():
        if str(key) not in known:
            raise unknown(f"option in {path}", str(key), known)
        option = known[str(key)]
        if option.multiple:
            value = value if isinstance(value, list) else [value]
        elif isinstance(value, list):  # --mean, --std
            value = ",".join(str(item) for item in value)
        context.default_map[option.name or ""] = value
    return path


Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        callback=_defaults,
        is_eager=True,
        help="YAML with defaults for these options.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors and warnings.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of everything random.")]
Data = Annotated[
    str | None, typer.Option("--data", metavar="NAME|PATH", help="Image set: a name (dametric ls data) or a path.")
]
DataRoot = Annotated[str | None, typer.Option("--data-root", metavar="DIR", help="Where a named image set lies.")]
Download = Annotated[bool, typer.Option("--download", help="Fetch a named image set that is not there.")]
CacheDir = Annotated[
    str | None,
    typer.Option("--cache-dir", metavar="DIR", help="Where decoded images are kept. [default: dametric cache]"),
]
ImageSize = Annotated[
    int | None,
    typer.Option("--image-size", min=4, max=limits.IMAGE_SIZE, help="Resize and cut images to this many pixels."),
]
Lazy = Annotated[
    bool | None, typer.Option("--lazy/--in-memory", help="Decode images when drawn, or all at once. [default: by size]")
]
LabelColumn = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Column of labels, of Parquet or Arrow files. [default: fine_label, label, ...]"),
]
ImageColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of images, of Parquet or Arrow files. [default: img, image]")
]
DataConfig = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Which of several sets in a folder, that the hub calls configurations."),
]
TrainImages = Annotated[
    int | None,
    typer.Option(
        min=1, max=limits.IMAGES, help="Take so many of the training images, evenly from all classes. [default: all]"
    ),
]
Per = Annotated[
    str | None,
    typer.Option(
        "--per",
        metavar="sample|batch",
        help="Draw random parameters for each image or once a batch. [default: sample; reference: batch]",
    ),
]

TeacherArch = Annotated[str | None, typer.Option(help="The teacher's architecture, where the file does not tell.")]
BaseAug = Annotated[
    str | None, typer.Option(help="The loader's own augmentation, or none. [default: crop+flip; rrc+flip above 96 px]")
]
Normalisation = Annotated[
    str | None,
    typer.Option(metavar="R,G,B|NAME", help="Of the teacher, in 0..1, or by name: imagenet, cifar10, cifar100, ..."),
]
Weights = Annotated[
    str | None,
    typer.Option("--weights", metavar="KEY", help="Which weights of a file with several: state_dict_ema, teacher, ..."),
]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. [default: cuda where there is one]")]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1, max=limits.EPOCHS, help="Passes over the training images; milestones scale with them. [default: 240]"
    ),
]
Steps = Annotated[
    int | None, typer.Option(min=1, max=limits.STEPS, help="Number of training steps, in place of --epochs.")
]
EvalEvery = Annotated[
    str,
    typer.Option(metavar="N|last", help="Look at test images every N epochs and at the end, or only at the end."),
]
KeepWeights = Annotated[
    str, typer.Option("--keep", metavar="last|none", help="What to keep of a finished run's weights in its folder.")
]
HeldOut = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=limits.IMAGES,
        help="Set so many training images aside, evenly from all classes; shown once, at the end.",
    ),
]
Lockstep = Annotated[
    int | None,
    typer.Option(
        "--lockstep",
        min=1,
        max=limits.PROCESSES,
        help="Train up to N students of one teacher and seed together: the same numbers, sooner.",
    ),
]
BatchSize = Annotated[int, typer.Option(min=2, max=limits.BATCH_SIZE, help="Images of a training step.")]
Rate = Annotated[float | None, typer.Option(help="Learning rate. [default: 0.05; 0.01 for MobileNets and ShuffleNets]")]
RateSchedule = Annotated[
    str, typer.Option(metavar="step|cosine|onecycle", help="step: divided by ten at 150, 180, 210 of 240 epochs.")
]
Momentum = Annotated[float, typer.Option(help="Of SGD.")]
Nesterov = Annotated[bool, typer.Option("--nesterov", help="Nesterov's momentum.")]
WeightDecay = Annotated[float, typer.Option(help="Of all parameters.")]
TrainDtype = Annotated[
    str | None,
    typer.Option(
        metavar="float32|bfloat16|float64",
        help="Of the forward passes. [default: bfloat16 where the chip has it, else float32]",
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the student's step; on CUDA captured as a graph.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write event files into the run's folder.")]
AccuracyImages = Annotated[
    int,
    typer.Option(min=1, max=limits.IMAGES, help="Test images that tell how good the teacher is, before the work."),
]
OnlyRuns = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="KEY=PATTERN", help="Only such runs: temperature=4, student=resnet*; repeat."),
]
Records = Annotated[bool, typer.Option("--json", help="Records as JSON on stdout instead of the table.")]


def normalisation(mean: str | None, std: str | None) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """What ``--mean`` and ``--std`` say, in numbers; the name of a mean brings its standard deviation along."""
    from dametric.models.normalisation import by_name

    return by_name(_numbers("--mean", mean), _numbers("--std", std))


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | str | None:
    """The numbers of an option, with commas between; or a name."""
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        if text.isidentifier():
            return text
        said = f"{flag} is numbers with commas between, for example 0.5,0.5,0.5, or a name such as imagenet"
        raise UsageError(f"{said}, not '{text}'") from None
