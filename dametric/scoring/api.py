"""`score`: from a teacher and a data set to a table of augmentations."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from dametric import __version__
from dametric.augment import NEEDS_STUDENT, PAPER, Augmentation, Images, parse
from dametric.augment.keys import Per
from dametric.data import ImageSet
from dametric.errors import UsageError, unknown
from dametric.metrics import METRICS, Metric
from dametric.models import inference_copy, preferred_dtype
from dametric.models.network import Network
from dametric.progress import Advance, progress
from dametric.results import Scores
from dametric.scoring.engine import Engine
from dametric.scoring.jackknife import Blocks, Estimate, difference, estimate
from dametric.scoring.protocol import Protocol

Data = ImageSet | Tensor | tuple[Tensor, Tensor]
AugSpec = str | Augmentation | Callable[..., Any]

TEACHER_METRICS = ("t_stddev", "t_stddev_rms", "t_stddev_aug", "t_entropy", "t_gini", "t_conf")
STUDENT_METRICS = ("ce_mean", "ce_std", "ce_cov")
_FIRST_CHECK, _GROWTH = 20, 1.5  # units before the first look at the errors, and between looks
_MAX_BATCHES = 1000
_REFERENCE_EPOCHS = 10
_CHUNK = {"cpu": 128, "cuda": 1024}  # on a CPU activations should stay in the cache


def score(
    teacher: nn.Module,
    data: Data,
    augs: AugSpec | Sequence[AugSpec] = "paper",
    *,
    student: nn.Module | None = None,
    metrics: Sequence[str] | None = None,
    protocol: Literal["default", "reference"] = "default",
    per: Per | None = None,
    batches: int | None = None,
    rel_se: float = 0.01,
    max_batches: int | None = None,
    batch_size: int = 64,
    draw_batches: int = 5,
    raw_weight: float = 0.5,
    temperature: float = 1.0,
    base_aug: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    chunk: int | None = None,
    compile: bool = False,
    quiet: bool = False,
    provenance: dict[str, Any] | None = None,
) -> Scores:
    """Score augmentations for distilling from a teacher.

    Parameters
    ----------
    teacher : nn.Module
        Takes normalised images (batch, channels, height, width), returns logits (batch, classes). It is copied,
        not changed.
    data : ImageSet, Tensor or tuple of Tensor
        Training images: an image set, or uint8 images (N, C, H, W), with or without labels (N,).
    augs : specification or sequence of them
        Names such as ``"cutmix:alpha=0.5"``, callables on uint8 batches, or ``"paper"`` for the paper's nine.
    student : nn.Module, optional
        For the ``ce_*`` metrics and for picks by the student.
    metrics : sequence of str, optional
        The first one orders the table. All that can be computed by default.
    protocol : {"default", "reference"}
        ``"reference"`` replays the published protocol, parameters shared by a batch, 10 epochs.
    per : {"sample", "batch"}, optional
        Draw random parameters for every image (default) or once a batch (default of the reference protocol).
    batches : int, optional
        Batches to show. By default as many as ``rel_se`` needs.
    rel_se : float
        An augmentation is shown until its standard error is below this fraction of its value, for 20 batches at least.
    max_batches : int, optional
        Stop here even if ``rel_se`` has not been reached; 1000 by default.
    batch_size, draw_batches : int
        ``b`` and ``G``: a draw has ``G b`` images.
    raw_weight : float
        Weight of the raw rows in T. stddev.
    temperature : float
        Of the softmax.
    base_aug : str, optional
        The loader's own augmentation: ``"crop+flip"``, above 96 pixels ``"rrc+flip"``; ``"identity"`` for none.
    mean, std : sequence of float, optional
        Normalisation that the teacher was trained with, in units of 0..1; the data set's by default.
    seed : int
        Of everything random.
    device : str or torch.device, optional
        CUDA where there is one.
    dtype : torch.dtype, optional
        Of the forward passes: bfloat16 where the device has it in hardware, else float32.
    chunk : int, optional
        Rows of a forward pass. Does not change the result.
    compile : bool
        Compile the networks first: pays for long passes.
    quiet : bool
        No progress on stderr.
    provenance : dict, optional
        Added to the result's ``config``.

    Returns
    -------
    Scores
        Augmentations best to worst; ``.table`` is a pandas table.

    Raises
    ------
    UsageError
        For anything that cannot be: unknown names, too few images, a missing student, NaN from the teacher.
    """
    data = _image_set(data)
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("there is no CUDA device here: use --device cpu")
    dtype = dtype or preferred_dtype(device)
    if protocol not in ("default", "reference"):
        raise unknown("protocol", protocol, ("default", "reference"))
    if chunk is not None and chunk < 1:
        raise UsageError(f"--chunk is a number of rows from 1 up, not {chunk}")
    reference = protocol == "reference"
    plan = Protocol(
        reference, per or ("batch" if reference else "sample"), batch_size, draw_batches, raw_weight, temperature, seed
    )
    mean, std = _normalisation(mean or data.mean, std or data.std, data.channels)
    of = Images(data.image_size, mean, "reference" if reference else "roll")
    chosen = _augmentations(augs, of, student is not None)
    measured = _metrics(metrics, student is not None)
    base_aug = base_aug or ("crop+flip" if data.image_size <= 96 else "rrc+flip")

    def network(module: nn.Module) -> Network:
        copy = inference_copy(module, dtype=dtype, device=device, compile=compile)
        return Network(
            copy, mean=mean, std=std, chunk=chunk or _CHUNK.get(device.type, 256), dtype=dtype, device=device
        )

    engine = Engine(
        teacher=network(teacher),
        student=None if student is None else network(student),
        data=data.to(device),
        augs=chosen,
        metrics=measured,
        protocol=plan,
        base=_base(base_aug, of),
        device=device,
    )
    if engine.needs_student and student is None:
        raise UsageError("this needs a student's output: give one with --student")
    compile_seconds = _warm_up(engine, quiet) if compile else None
    start = time.perf_counter()
    reached = _walk(engine, batches, rel_se, max_batches, quiet)
    config = {
        "metrics": [metric.name for metric in measured],
        "protocol": protocol,
        "per": plan.per,
        "n": plan.draw * plan.batch,
        "G": plan.draw,
        "b": plan.batch,
        "w": plan.raw_weight,
        "temperature": temperature,
        "partner": of.partner if not reference else "derangement (cutmix), permutation (mixup)",
        "base_aug": base_aug,
        "mean": list(mean),
        "std": list(std),
        "seed": seed,
        "batches": engine.done * (plan.draw if reference else 1),
        "epochs": engine.done / plan.units_per_epoch(len(data)),
        "rel_se": None if batches or reference else rel_se,
        "rel_se_reached": reached,
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "chunk": engine.teacher.chunk,
        "compile_seconds": compile_seconds,
        "seconds": time.perf_counter() - start,
        "rows_forwarded": {
            "teacher": engine.teacher.rows,
            "student": 0 if engine.student is None else engine.student.rows,
        },
        "data": {"name": data.name, "split": data.split, "images": len(data), "fingerprint": data.fingerprint},
        **(provenance or {}),
    }
    return Scores(_rank(engine), config, machine(device))


def check_request(
    augs: Sequence[AugSpec],
    metrics: Sequence[str] | None,
    student: bool,
    per: str | None = None,
    base_aug: str | None = None,
) -> None:
    """Refuse unknown names, impossible parameters and what needs a student, before any work is done.

    Raises
    ------
    UsageError
        With the nearest known name.
    """
    _augmentations(augs, Images(), student)
    _metrics(metrics, student)
    if per not in (None, "sample", "batch"):
        raise unknown("value of --per", str(per), ("sample", "batch"))
    if base_aug is not None:
        _base(base_aug, Images())


def _image_set(data: Data) -> ImageSet:
    if isinstance(data, ImageSet):
        return data
    images, labels = data if isinstance(data, tuple) else (data, None)
    return ImageSet.from_tensors(images, labels)


def _warm_up(engine: Engine, quiet: bool) -> float:
    """Compile both networks by showing them a chunk of the size they will see; seconds that it took."""
    start = time.perf_counter()
    with progress("compiling", None, quiet=quiet):
        for network in filter(None, (engine.teacher, engine.student if engine.needs_student else None)):
            blank = torch.zeros(network.chunk, *engine.data.images.shape[1:], dtype=torch.uint8, device=engine.device)
            network(blank)
            network.rows = 0
    return time.perf_counter() - start


def _base(spec: str, of: Images) -> Augmentation:
    base = parse(spec, of)
    if base.mixes:
        raise UsageError(f"--base-aug {spec}: the loader's own augmentation cannot mix images")
    return base


def _normalisation(
    mean: Sequence[float], std: Sequence[float], channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != channels or not all(math.isfinite(value) for value in values):
            raise UsageError(f"--{name} takes one finite number for each of {channels} channels, not {list(values)}")
    if min(std) <= 0:
        raise UsageError(f"--std takes positive numbers, not {list(std)}")
    return tuple(mean), tuple(std)


def _augmentations(augs: AugSpec | Sequence[AugSpec], of: Images, student: bool) -> list[Augmentation]:
    asked: list[AugSpec] = [augs] if isinstance(augs, (str, Augmentation)) or callable(augs) else list(augs)
    chosen: dict[str, Augmentation] = {}
    for spec in asked:
        if spec == "paper":  # without a student its picks cannot be made: leave them out instead of refusing all
            group = [parse(name, of) for name in PAPER]
            found = [aug for aug in group if student or aug.pick not in NEEDS_STUDENT]
        else:
            found = [parse(spec, of)]
            if found[0].pick in NEEDS_STUDENT and not student:
                raise UsageError(f"{found[0].name} asks the student which images to pick: give one with --student")
        for aug in found:
            if chosen.get(aug.name, aug) != aug:  # two functions of one name, for example two lambdas
                aug = replace(aug, name=f"{aug.name}#{len(chosen) + 1}")
            chosen[aug.name] = aug
    if not chosen:
        raise UsageError(
            "no augmentation to score: give at least one, for example cutmix, or paper for the paper's nine"
        )
    return list(chosen.values())


def _metrics(names: Sequence[str] | None, student: bool) -> list[Metric]:
    names = names or (*TEACHER_METRICS, *(STUDENT_METRICS if student else ()))
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if "student" in METRICS[name].needs and not student:
            raise UsageError(f"metric {name} needs a student's output: give one with --student")
    return [METRICS[name] for name in dict.fromkeys(names)]


def _walk(engine: Engine, batches: int | None, rel_se: float, max_batches: int | None, quiet: bool) -> bool:
    """Show batches until there are enough; say whether the wanted precision was reached."""
    plan = engine.protocol
    fixed = batches
    if fixed is None and plan.reference:
        fixed = -(-len(engine.data) // plan.batch) * _REFERENCE_EPOCHS
    if fixed is not None:
        total = fixed // plan.draw if plan.reference else fixed
        least = 2
        if total < least:
            raise UsageError(
                f"{fixed} batches make {total} replicate(s): an error needs at least {least}, raise --batches"
            )
        looks = iter([*range(50, total, 50), total])
    else:
        if not 0 < rel_se < 1:
            raise UsageError(f"--rel-se is a fraction between 0 and 1, for example 0.01, not {rel_se}")
        total = _MAX_BATCHES if max_batches is None else max_batches
        if total < _FIRST_CHECK:
            raise UsageError(f"--max-batches is at least {_FIRST_CHECK}, not {total}: fewer do not tell when to stop")
        looks = _growing(total)
    with progress("scoring", total, quiet=quiet) as advance:
        return _until_precise(engine, looks, None if fixed is not None else rel_se, advance)


def _growing(total: int) -> Iterator[int]:
    look = float(_FIRST_CHECK)
    while look < total:
        yield int(look)
        look *= _GROWTH
    yield total


def _until_precise(engine: Engine, looks: Iterator[int], rel_se: float | None, advance: Advance) -> bool:
    for _ in engine.run(looks, advance):
        if rel_se is not None:
            errors = {aug.name: _estimate(engine, aug, engine.metrics[0])[2].relative_se for aug in engine.active}
            engine.retired |= {name for name, error in errors.items() if error <= rel_se}
        advance(0, note=f"{len(engine.active)} augmentations to go" if rel_se else "")
        if rel_se is not None and not engine.active:
            return True
    return rel_se is None


def _estimate(engine: Engine, aug: Augmentation, metric: Metric) -> tuple[Blocks, Any, Estimate]:
    blocks, design = engine.blocks[aug.name, metric.observe].cpu(), engine.protocol.design(aug)
    return blocks, design, estimate(blocks, metric, design, plugin=engine.protocol.reference)


def _rank(engine: Engine) -> list[dict[str, Any]]:
    """The augmentations best to worst by the first metric, each with its difference to the best."""
    first = engine.metrics[0]
    sign = -1 if first.direction == "higher" else 1
    found = {aug.name: _estimate(engine, aug, first) for aug in engine.augs}
    order = sorted(engine.augs, key=lambda aug: _sortable(sign * found[aug.name][2].value))
    best = order[0]
    return [_row(engine, aug, best, found) for aug in order]


def _sortable(value: float) -> float:
    return math.inf if math.isnan(value) else value


def _row(
    engine: Engine, aug: Augmentation, best: Augmentation, found: dict[str, tuple[Blocks, Any, Estimate]]
) -> dict[str, Any]:
    values = {}
    for metric in engine.metrics:
        ours = found[aug.name] if metric is engine.metrics[0] else _estimate(engine, aug, metric)
        values[metric.name] = {**asdict(ours[2]), "direction": metric.direction, "estimator": ours[1].estimator}
    gap = difference(found[aug.name], found[best.name], engine.metrics[0])  # exactly zero for the best itself
    return {
        "aug": aug.name,
        "metrics": values,
        "difference": {"to": best.name, **dict(zip(("value", "se", "low", "high"), gap, strict=True))},
        "tied_with_best": gap[2] <= 0 <= gap[3],  # not where the error is not known
        "parameters": [
            {"operation": type(op).__name__, **({} if not is_dataclass(op) else _plain(asdict(op)))}
            for op in aug.operations
        ],
        "batches": int(found[aug.name][0].units.sum()) * (engine.protocol.draw if engine.protocol.reference else 1),
        "rows": engine.rows[aug.name],
    }


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: value if not callable(value) else repr(value) for name, value in parameters.items()}


def machine(device: torch.device) -> dict[str, Any]:
    """Versions of the libraries and the chip, as score files and benchmarks record them."""
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "dametric": __version__,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "chip": chip,
        "threads": torch.get_num_threads(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0]}, {torch.backends.cpu.get_cpu_capability()}" if names else platform.processor()
