"""`dametric score` and `dametric show`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dametric.base import limits
from dametric.cli.options import (
    AccuracyImages,
    BaseAug,
    CacheDir,
    Config,
    Data,
    DataConfig,
    DataRoot,
    Device,
    Download,
    ImageColumn,
    ImageSize,
    LabelColumn,
    Lazy,
    Normalisation,
    Per,
    Quiet,
    Seed,
    TeacherArch,
    TrainImages,
    Weights,
    normalisation,
)
from dametric.errors import unknown


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
    weights: Weights = None,
    student: Annotated[
        str | None, typer.Option(metavar="FILE", help="Checkpoint of a student, for ce_* and student picks.")
    ] = None,
    student_arch: Annotated[str | None, typer.Option(help="The student's architecture.")] = None,
    student_weights: Annotated[str | None, typer.Option(metavar="KEY", help="The same of the student's file.")] = None,
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
    batches: Annotated[
        int | None, typer.Option(min=2, max=limits.BATCHES, help="Show exactly so many batches instead.")
    ] = None,
    max_batches: Annotated[
        int, typer.Option(min=20, max=limits.BATCHES, help="Give up on --rel-se after so many batches.")
    ] = 1000,
    batch_size: Annotated[int, typer.Option(min=4, max=limits.BATCH_SIZE, help="Images of a batch, b.")] = 64,
    draw_batches: Annotated[
        int,
        typer.Option(
            min=1, max=limits.DRAW_BATCHES, help="Batches of a draw, G; scores are stated for n = G b images."
        ),
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
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    data_config: DataConfig = None,
    train_images: TrainImages = None,
    accuracy: Annotated[
        bool, typer.Option("--accuracy/--no-accuracy", help="Measure the teacher's clean accuracy first.")
    ] = True,
    accuracy_images: AccuracyImages = 2_000,
    device: Device = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the forward passes. [default: bfloat16 where the chip has it, else float32]")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=1, max=limits.ROWS, help="Rows of a forward pass; does not change the result.")
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the networks first: for a GPU; on a CPU they are fused anyhow.")
    ] = False,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Score augmentations for distilling from a teacher: value, standard error, best first."""
    from dametric.commands.inputs import DataOptions
    from dametric.commands.score import ScoreOptions, run

    if protocol not in ("default", "reference"):
        raise unknown("protocol", protocol, ("default", "reference"))
    teachers_mean, teachers_std = normalisation(mean, std)
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
            data=DataOptions(
                *(data, data_root, download, cache_dir, image_size, lazy, quiet, train_images, None),
                *(label_column, image_column, data_config),
            ),
            arch=arch,
            student=student,
            student_arch=student_arch,
            split=split,
            mean=teachers_mean,
            std=teachers_std,
            accuracy=accuracy,
            accuracy_images=accuracy_images,
            device=device,
            dtype=dtype,
            output=output,
            picture=picture,
            json=json,
            passed_on=passed_on,
            weights=weights,
            student_weights=student_weights,
        )
    )


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
    label_column: LabelColumn = None,
    image_column: ImageColumn = None,
    data_config: DataConfig = None,
    seed: Seed = 0,
    quiet: Quiet = False,
    config: Config = None,
) -> None:
    """Draw raw and augmented images side by side, to look at what is scored."""
    from dametric.commands import show as command
    from dametric.commands.inputs import DataOptions

    if per not in ("sample", "batch"):
        raise unknown("value of --per", per, ("sample", "batch"))
    options = DataOptions(
        *(data, data_root, download, cache_dir, image_size, lazy, quiet, None, None),
        *(label_column, image_column, data_config),
    )
    command.run(aug, options, output, images=images, per=per, base_aug=base_aug, seed=seed)  # type: ignore[arg-type]
