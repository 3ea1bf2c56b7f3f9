"""The command line; heavy imports happen inside commands."""

from __future__ import annotations

import os
import re
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Any

import typer

from dametric.errors import Interrupted, RunFailed, UsageError, unknown

# click's base class for bad usage, by way of typer: newer versions of typer carry a click of their own
_BadUsage: type[Exception] = typer.BadParameter.__mro__[2]
_INTERRUPTED = 130  # exit code, as shells have it

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Which data augmentation to use for distilling from a teacher, with an honest error bar.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from dametric import __version__

        print(f"dametric {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and stop.")
    ] = False,
) -> None:
    pass


def _defaults(context: typer.Context, path: str | None) -> str | None:
    """Read defaults of the command's options from a YAML file; flags on the command line win."""
    if path is None or context.resilient_parsing:
        return path
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
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
CacheDir = Annotated[str | None, typer.Option("--cache-dir", metavar="DIR", help="Where decoded images are kept.")]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", min=4, help="Resize and cut images to this many pixels.")
]
Lazy = Annotated[
    bool | None, typer.Option("--lazy/--in-memory", help="Decode images when drawn, or all at once. [default: by size]")
]
TrainImages = Annotated[
    int | None,
    typer.Option(min=1, help="Take so many of the training images, evenly from all classes. [default: all]"),
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
Normalisation = Annotated[str | None, typer.Option(metavar="R,G,B", help="Normalisation of the teacher, in 0..1.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. [default: cuda where there is one]")]
Epochs = Annotated[int, typer.Option(min=1, help="Passes over the training images; milestones scale with them.")]
BatchSize = Annotated[int, typer.Option(min=2, help="Images of a training step.")]
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
OnlyRuns = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="KEY=PATTERN", help="Only such runs: temperature=4, student=resnet*; repeat."),
]
Records = Annotated[bool, typer.Option("--json", help="Records as JSON on stdout instead of the table.")]


@app.command()
def score(
    aug: Annotated[
        list[str],
        typer.Option(
            "--aug", "-a", metavar="SPEC", help="Augmentation; repeat for several. 'paper' means the paper's nine."
        ),
    ],
    teacher: Annotated[str, typer.Option("--teacher", "-t", metavar="FILE", help="Checkpoint of the teacher.")],
    data: Data = None,
    arch: TeacherArch = None,
    student: Annotated[
        str | None, typer.Option(metavar="FILE", help="Checkpoint of a student, for ce_* and student picks.")
    ] = None,
    student_arch: Annotated[str | None, typer.Option(help="The student's architecture.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", "-m", help="Metric; repeat for several, the first orders the table.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write the scores as JSON.")
    ] = None,
    picture: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the table: .png, .svg or .pdf.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")] = False,
    protocol: Annotated[
        str, typer.Option(metavar="default|reference", help="Best estimator, or a replay of the published protocol.")
    ] = "default",
    per: Per = None,
    rel_se: Annotated[float | None, typer.Option(help="Stop at this relative standard error. [default: 0.01]")] = None,
    batches: Annotated[int | None, typer.Option(min=2, help="Show exactly so many batches instead.")] = None,
    max_batches: Annotated[int, typer.Option(min=20, help="Give up on --rel-se after so many batches.")] = 1000,
    batch_size: Annotated[int, typer.Option(min=4, help="Images of a batch, b.")] = 64,
    draw_batches: Annotated[
        int, typer.Option(min=1, help="Batches of a draw, G; scores are stated for n = G b images.")
    ] = 5,
    raw_weight: Annotated[float, typer.Option(help="Weight w of the raw rows.")] = 0.5,
    temperature: Annotated[float, typer.Option(help="Of the softmax.")] = 1.0,
    base_aug: BaseAug = None,
    split: Annotated[str, typer.Option(metavar="train|test", help="Which images are scored.")] = "train",
    mean: Normalisation = None,
    std: Normalisation = None,
    data_root: DataRoot = None,
    download: Download = False,
    cache_dir: CacheDir = None,
    image_size: ImageSize = None,
    lazy: Lazy = None,
    train_images: TrainImages = None,
    accuracy: Annotated[
        bool, typer.Option("--accuracy/--no-accuracy", help="Measure the teacher's clean accuracy first.")
    ] = True,
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the forward passes. [default: bfloat16 where the chip has it, else float32]")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, help="Rows of a forward pass; does not change the result.")
    ] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the networks first.")] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Score augmentations for distilling from a teacher: value, standard error, best first."""
    from dametric.commands.inputs import DataOptions
    from dametric.commands.score import ScoreOptions, run

    if protocol not in ("default", "reference"):
        raise unknown("protocol", protocol, ("default", "reference"))
    passed_on: dict[str, Any] = {
        "metrics": metric or None,
        "protocol": protocol,
        "per": per,
        "rel_se": rel_se,
        "batches": batches,
        "max_batches": max_batches,
        "batch_size": batch_size,
        "draw_batches": draw_batches,
        "raw_weight": raw_weight,
        "temperature": temperature,
        "base_aug": base_aug,
        "chunk": chunk,
        "compile": compile,
        "seed": seed,
    }
    run(
        ScoreOptions(
            augs=aug,
            teacher=teacher,
            data=DataOptions(data, data_root, download, cache_dir, image_size, lazy, quiet, train_images),
            arch=arch,
            student=student,
            student_arch=student_arch,
            split=split,
            mean=_numbers("--mean", mean),
            std=_numbers("--std", std),
            accuracy=accuracy,
            device=device,
            dtype=dtype,
            output=output,
            picture=picture,
            json=json,
            passed_on=passed_on,
        )
    )


@app.command()
def show(
    aug: Annotated[list[str], typer.Option("--aug", "-a", metavar="SPEC", help="Augmentation; repeat for several.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Picture to write: .png, .svg or .pdf.")
    ],
    data: Data = "digits",
    images: Annotated[int, typer.Option(help="Images in a row.")] = 10,
    per: Annotated[str, typer.Option(metavar="sample|batch")] = "sample",
    base_aug: BaseAug = None,
    data_root: DataRoot = None,
    download: Download = False,
    cache_dir: CacheDir = None,
    image_size: ImageSize = None,
    lazy: Lazy = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Draw raw and augmented images side by side, to look at what is scored."""
    from dametric.commands import show as command
    from dametric.commands.inputs import DataOptions

    if per not in ("sample", "batch"):
        raise unknown("value of --per", per, ("sample", "batch"))
    options = DataOptions(data, data_root, download, cache_dir, image_size, lazy, quiet)
    command.run(aug, options, output, images=images, per=per, base_aug=base_aug, seed=seed)  # type: ignore[arg-type]


@app.command()
def train(
    arch: Annotated[str, typer.Option(help="Architecture (dametric ls models), torchvision:NAME, ./nets.py:fn, ...")],
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="Checkpoint to write.")],
    data: Data = None,
    epochs: Epochs = 240,
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
    train_images: TrainImages = None,
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
    from dametric.distill import LABELS

    recipe = {
        "epochs": epochs,
        "batch_size": batch_size,
        "schedule": schedule,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
        "label_smoothing": label_smoothing,
        "objective": LABELS,
        "seed": seed,
    }
    source = DataOptions(data, data_root, download, cache_dir, image_size, lazy, quiet, train_images)
    options = training.TrainingOptions(source, recipe, lr, aug, device, dtype, compile, tensorboard, json)
    run = training.train(arch, output, options)
    deliver([run], json)
    training.say(f"wrote {output}; to score augmentations: dametric score --aug paper --teacher {output}", quiet)


@app.command()
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
    seeds: Annotated[str, typer.Option(metavar="0-2", help="One run for each: 0-2, or 0,3,7.")] = "0",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs side by side, sharing the cores.")] = 1,
    epochs: Epochs = 240,
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
    train_images: TrainImages = None,
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
    from dametric.distill import Objective

    objective = Objective.of(
        views,  # type: ignore[arg-type]
        ce=ce_weight,
        raw=raw_weight,
        aug=aug_weight,
        temperature=temperature,
    )
    recipe = {
        "epochs": epochs,
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
    source = DataOptions(data, data_root, download, cache_dir, image_size, lazy, quiet, train_images)
    common = training.TrainingOptions(source, recipe, lr, base_aug, device, dtype, compile, tensorboard, json)
    asked = training.DistillOptions(
        common,
        teacher,
        student,
        training.augmentations(aug),
        training.seeds(seeds),
        output,
        arch,
        _numbers("--mean", mean),
        _numbers("--std", std),
        jobs,
    )
    found, troubles = training.distill(asked)
    deliver(found, json)
    if troubles:
        raise RunFailed("; ".join(troubles))


@app.command()
def sweep(
    grid: Annotated[str, typer.Argument(metavar="GRID.yaml", help="What to run; see experiments/ for examples.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="DIR", help="Where all of it goes. [default: runs/NAME of the grid]"),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="In place of what the grid says: training.epochs=2; repeat."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the time left.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=PATTERN", help="Only such runs: student=resnet8, aug=cutmix*, seed=0; repeat."),
    ] = None,
    max_runs: Annotated[int | None, typer.Option(min=1, help="Begin no more students than so many.")] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help="Every N-th run from the I-th on.")] = None,
    time_budget: Annotated[
        str | None, typer.Option(metavar="9m", help="Save everything and stop before so much time has passed.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Runs side by side. [default: one a core; 1 on a GPU]")
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="[ADDRESS]", help="On a Ray cluster: auto (default), HOST:PORT, ray://..., local."
        ),
    ] = None,
    cpus_per_run: Annotated[float, typer.Option(min=0, help="With --ray: CPU cores of a run.")] = 1.0,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="With --ray: GPUs of a run, 0.25 for four on each.")] = 0.0,
    device: Device = None,
    csv: Annotated[str | None, typer.Option(metavar="DIR", help="Write runs.csv and scores.csv there.")] = None,
    json: Records = False,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Carry out a grid of runs: teachers, students, scores. Exit code 0: all done; 3: work is left; 1: a run failed."""
    start = time.monotonic()
    from dametric.commands import sweep as command

    asked = command.SweepOptions(
        grid=grid,
        output=output,
        overrides=set_ or (),
        only=only or (),
        shard=shard,
        max_runs=max_runs,
        time_budget=time_budget,
        jobs=jobs,
        ray=ray,
        cpus_per_run=cpus_per_run,
        gpus_per_run=gpus_per_run,
        device=device,
        csv=csv,
        dry_run=dry_run,
        json=json,
        quiet=quiet,
    )
    code = command.run(asked, start)
    if code:
        raise typer.Exit(code)


@app.command()
def runs(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder with runs at any depth.")],
    json: Records = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write the table as CSV.")] = None,
) -> None:
    """Print the ledger of trained networks as a table."""
    from dametric.commands import runs as command

    command.runs(folder, json, csv)


@app.command()
def correlate(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="SCORES.json... RUNS/...", help="Score files and folders of runs.")
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="The points of the paper instead.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Fixed in advance; repeat for several. [default: what orders the scores]"),
    ] = None,
    only: OnlyRuns = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the tables.")] = False,
    csv: Annotated[str | None, typer.Option(metavar="FILE", help="Write every coefficient as CSV.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="The units' coefficients as a LaTeX table.")] = False,
    config: Config = None,
) -> None:
    """Say how well scores predict students: coefficients, exact p-values, and the answer in words."""
    from dametric.commands import correlate as command

    asked = {"as_json": json, "csv": csv, "latex": latex}
    command.run(paths or [], published=published, metrics=metric or None, only=only or (), **asked)  # type: ignore[arg-type]


@app.command()
def report(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="SCORES.json... RUNS/...", help="Score files and folders of runs.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Page to write: .html, .md or .pdf.")
    ] = None,
    figures: Annotated[
        str | None,
        typer.Option("--figures", "-f", metavar="DIR", help="Figures alone: PNG, SVG, PDF for a paper, data as CSV."),
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="The points of the paper instead.")] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", "-m", help="Fixed in advance; repeat for several. [default: what orders the scores]"),
    ] = None,
    only: OnlyRuns = None,
    format: Annotated[
        str | None, typer.Option(metavar="html|md|pdf", help="What to write. [default: by the file's ending]")
    ] = None,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Write a page that says which augmentation to take, how sure that is, and why."""
    from dametric.commands import report as command

    asked = {"format": format, "figures": figures}
    command.run(paths or [], output, published=published, metrics=metric or None, only=only or (), quiet=quiet, **asked)


@app.command()
def plan(
    rho: Annotated[float, typer.Option(help="True correlation of score and loss.")],
    augs: Annotated[int, typer.Option(help="Augmentations.")],
    seeds: Annotated[int, typer.Option(help="Students for each augmentation.")] = 3,
    units: Annotated[int, typer.Option(help="Teacher-student pairs.")] = 1,
    seed_sd: Annotated[float, typer.Option(help="Standard deviation of the test loss over seeds.")] = 0.02,
    spread: Annotated[float, typer.Option(help="Standard deviation of the loss over augmentations.")] = 0.04,
    alpha: Annotated[float, typer.Option(help="Level of the test.")] = 0.05,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    seed: Seed = 0,
) -> None:
    """Say what a study of a given size can detect, by simulation."""
    from dametric.commands import plan as command

    command.plan(rho, augs, seeds, units, seed_sd, spread, alpha, seed, json)


@app.command()
def ls(what: Annotated[str, typer.Argument(metavar="augs|metrics|models|data|grid")]) -> None:
    """List what there is, a line each."""
    from dametric.commands.listing import lines

    found = lines(what)
    width = max(len(name) for name, _ in found)
    for name, line in found:
        print(f"{name:<{width}}  {line}")


@app.command()
def demo(
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is made.")] = "demo",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Train a small teacher on the bundled digits and score the paper's nine augmentations."""
    from dametric.commands import demo as command

    command.run(Path(output), seed, quiet)


def _numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{flag} is numbers with commas between, for example 0.5,0.5,0.5, not '{text}'") from None


def main() -> None:
    """Entry point: errors of the user's are one line on stderr and exit 2."""
    from dametric.interrupts import heard, pressed

    code = 0
    try:
        with heard():
            code = _run(sys.argv[1:])
    except (KeyboardInterrupt, Exception):
        if not pressed():
            raise
        if code != _INTERRUPTED:  # it came after the work, or broke an import off, which may end as any error
            code = _fail("interrupted; what was written is whole", _INTERRUPTED)
    if code == _INTERRUPTED:
        try:
            sys.stdout.flush()
        finally:  # libraries that were interrupted in mid-work, or half imported, may hang when Python ends
            os._exit(code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a plus-minus sign shows a question mark
    command = typer.main.get_command(app)
    try:
        # not command.main(), which has exits of its own for interrupts and closed pipes
        with command.make_context("dametric", _with_address(arguments) or ["--help"]) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        return _fail(str(error), 2)
    except _BadUsage as error:
        message: str = error.format_message()  # type: ignore[attr-defined]
        return _fail(message if "Did you mean" in message else f"{message} (see --help)", 2)
    except RunFailed as error:
        return _fail(str(error), 1)
    except Interrupted as error:
        return _fail(str(error), _INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; what was written is whole", _INTERRUPTED)
    except OSError as error:
        if error.filename:
            return _fail(f"{error.filename}: {error.strerror}", 2)
        # nothing more can be said on stdout: its reader has gone, for example `head`, or its disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python fails once more when it flushes at its end
        return 0 if isinstance(error, BrokenPipeError) else _fail(f"cannot write: {error.strerror or error}", 2)
    return 0


def _with_address(arguments: list[str]) -> list[str]:
    """Let ``--ray`` go without an address, which no option of typer's can."""
    spelt = []
    for word, following in zip(arguments, [*arguments, ""][1:], strict=True):
        alone = word == "--ray" and not re.fullmatch(r"auto|local|ray://.+|[^-][^/]*:\d+", following)
        spelt.append("--ray=auto" if alone else word)
    return spelt


def _fail(message: str, code: int) -> int:
    # of the processes that torchrun has started one a host speaks for all, which end alike
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"dametric: {' '.join(message.split())}", file=sys.stderr)
    return code
