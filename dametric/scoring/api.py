"""`score`: from a teacher and a data set to a table of augmentations."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from dametric.augment import Images, base_augmentation, default_base
from dametric.augment.examine import check_base, looked_at, sample
from dametric.augment.keys import Per
from dametric.data import ImageSet
from dametric.errors import UsageError, unknown
from dametric.limits import ROWS, whole
from dametric.machine import machine
from dametric.models import Checkpoint, LoadedNetwork, inference_copy
from dametric.models.computing import chosen_device, chosen_dtype
from dametric.models.loaded import taken_on_trust
from dametric.models.network import Network
from dametric.models.normalisation import Given, Normalisation
from dametric.models.weight_sets import Role
from dametric.progress import progress
from dametric.results import Scores
from dametric.scoring.engine import Engine
from dametric.scoring.protocol import Protocol
from dametric.scoring.ranking import parameters, ranked
from dametric.scoring.ranks import Ranks, in_unison, own_device, same_everywhere, weights
from dametric.scoring.request import (
    AugSpec,
    augmentations,
    chosen_metrics,
    wanted_precision,
)
from dametric.scoring.stopping import Stop, walk

Data = ImageSet | Tensor | tuple[Tensor, Tensor]
AnyNetwork = nn.Module | Checkpoint | LoadedNetwork

_CHUNK = {"cpu": 128, "cuda": 1024}  # on a CPU activations should stay in the cache


@in_unison
def score(
    teacher: AnyNetwork,
    data: Data,
    augs: AugSpec | Sequence[AugSpec] = "paper",
    *,
    student: AnyNetwork | None = None,
    metrics: Sequence[str] | None = None,
    protocol: Literal["default", "reference"] = "default",
    per: Per | None = None,
    batches: int | None = None,
    rel_se: float | None = None,
    max_batches: int | None = None,
    batch_size: int = 64,
    draw_batches: int = 5,
    raw_weight: float = 0.5,
    temperature: float = 1.0,
    base_aug: str | None = None,
    mean: Given = None,
    std: Given = None,
    student_mean: Given = None,
    student_std: Given = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    chunk: int | None = None,
    compile: bool = False,
    quiet: bool = False,
    provenance: dict[str, Any] | None = None,
    stop: Stop | None = None,
) -> Scores:
    """Score augmentations for distilling from a teacher.

    Parameters
    ----------
    teacher : nn.Module, Checkpoint or LoadedNetwork
        Takes normalised images (batch, channels, height, width), returns logits (batch, classes). It is copied,
        not changed. A checkpoint's own normalisation is used where it says one, and its hash recorded; images of
        another size than it was trained on are refused. A loaded network is taken as it is.
    data : ImageSet, Tensor or tuple of Tensor
        Training images: an image set, or uint8 images (N, C, H, W), with or without labels (N,).
    augs : specification or sequence of them
        Names such as ``"cutmix:alpha=0.5"``, callables on uint8 batches, or ``"paper"`` for the paper's nine. A
        callable is given images one by one, batches if it mixes images or has an attribute ``mixes`` that is True; it
        returns pixels, values from 0 to 1, or images normalised by known constants. See
        :mod:`dametric.augment.examine`.
    student : nn.Module, Checkpoint or LoadedNetwork, optional
        For the ``ce_*`` metrics and for picks by the student.
    metrics : sequence of str, optional
        The first one orders the table. All that can be computed by default.
    protocol : {"default", "reference"}
        ``"reference"`` replays the published protocol, parameters shared by a batch, 10 epochs.
    per : {"sample", "batch"}, optional
        Draw random parameters for every image (default) or once a batch (default of the reference protocol).
    batches : int, optional
        Batches to show. By default as many as ``rel_se`` needs.
    rel_se : float, optional
        An augmentation is shown until its standard error is below this fraction of its value (0.01 by default), for
        20 batches at least. Not in the reference protocol.
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
    mean, std : sequence of float or str, optional
        Normalisation that the teacher was trained with, in units of 0..1 or by name (``"imagenet"``, ``"cifar100"``,
        ...); its checkpoint's by default, else that of the library its architecture is from, else the data set's.
    student_mean, student_std : sequence of float or str, optional
        Normalisation that the student was trained with; its checkpoint's by default, else the teacher's.
    seed : int
        Of everything random.
    device : str or torch.device, optional
        CUDA where there is one.
    dtype : torch.dtype or str, optional
        Of the forward passes: bfloat16 where the device has it in hardware, else float32.
    chunk : int, optional
        Rows of a forward pass. Does not change the result.
    compile : bool
        Compile the networks first: for long passes on a GPU. On a CPU they are fused without it.
    quiet : bool
        No progress on stderr.
    provenance : dict, optional
        Added to the result's ``config``.
    stop : callable, optional
        Asked after every batch whether to give up; :class:`~dametric.errors.Interrupted` is raised then.

    Returns
    -------
    Scores
        Augmentations best to worst; ``.table`` is a pandas table.

    Notes
    -----
    Where ``torch.distributed`` is initialised, every rank must make the same call. Each shows its share of the batches,
    and all return the same scores, those of a single process.

    Raises
    ------
    UsageError
        For anything that cannot be: unknown names, too few images, a missing student, NaN from the teacher.
    """
    data, ranks, known = _image_set(data), Ranks.current(), {}
    device = own_device(chosen_device(device))
    dtype = chosen_dtype(dtype, device)
    _check_networks(teacher, student)
    for who, given in (("teacher", teacher), ("student", student)):
        if isinstance(given, Checkpoint):
            known[who] = {"arch": given.arch, "sha256": given.sha256}
    teacher = _loaded(teacher, data, mean, std, "teacher", quiet)
    if student is not None:
        student = _loaded(student, data, student_mean, student_std, "student", quiet, teacher.normalisation)
    if protocol not in ("default", "reference"):
        raise unknown("protocol", protocol, ("default", "reference"))
    precision = wanted_precision(rel_se, protocol)
    if chunk is not None:
        whole("chunk", chunk, ROWS)
    if chunk is not None and chunk < 1:
        raise UsageError(f"--chunk is a number of rows from 1 up, not {chunk}")
    reference = protocol == "reference"
    plan = Protocol(
        reference, per or ("batch" if reference else "sample"), batch_size, draw_batches, raw_weight, temperature, seed
    )
    of = Images(data.image_size, teacher.mean, "reference" if reference else "roll")
    chosen = augmentations(augs, of, student is not None)
    measured = chosen_metrics(metrics, student is not None)
    base_aug = base_aug or default_base(data.image_size)

    data = data.to(device)
    shown = sample(data, device)
    base, *chosen = looked_at([base_augmentation(base_aug, of), *chosen], shown, quiet)
    guesses = [loaded.interface.guess for loaded in (teacher, student) if loaded and loaded.interface.guess]

    def network(loaded: LoadedNetwork) -> Network:
        copy = inference_copy(loaded.model, dtype=dtype, device=device, compile=compile, interface=loaded.interface)
        rows = chunk or _CHUNK.get(device.type, 256)
        return Network(copy, mean=loaded.mean, std=loaded.std, chunk=rows, dtype=dtype, device=device)

    engine = Engine(
        teacher=network(teacher),
        student=None if student is None else network(student),
        data=data,
        augs=chosen,
        metrics=measured,
        protocol=plan,
        base=check_base(base),
        device=device,
        ranks=ranks,
    )
    if engine.needs_student and student is None:
        raise UsageError("this needs a student's output: give one with --student")
    if ranks.world > 1:
        limits = {"--batches": batches, "--rel-se": precision, "--max-batches": max_batches}
        same_everywhere(
            ranks, {**_asked(engine), **limits, "the weights": [weights(m.model) for m in (teacher, student) if m]}
        )
        quiet = quiet or not ranks.first
    compile_seconds = _warm_up(engine, quiet) if compile else None
    start = time.perf_counter()
    reached = walk(engine, batches, precision, max_batches, quiet, stop)
    config = {
        "protocol": protocol,
        "partner": "derangement (cutmix), permutation (mixup)" if reference else of.partner,
        "base_aug": engine.base.name,
        "mean": list(teacher.mean),
        "std": list(teacher.std),
        "normalised_by": teacher.normalised_by,
        "student_mean": None if student is None else list(student.mean),
        "student_std": None if student is None else list(student.std),
        "max_batches": max_batches,
        "rel_se": None if batches or reference else precision,
        "rel_se_reached": reached,
        "dtype": str(dtype).removeprefix("torch."),
        "compile_seconds": compile_seconds,
        **({"guessed": guesses} if guesses else {}),
        "seconds": time.perf_counter() - start,
    }
    engine.total()
    return Scores(ranked(engine), {**known, **(provenance or {}), **_settings(engine), **config}, machine(device))


def _settings(engine: Engine) -> dict[str, Any]:
    """Everything of the pass itself that the numbers depend on."""
    plan, data = engine.protocol, engine.data
    return {
        "metrics": [metric.name for metric in engine.metrics],
        "per": plan.per,
        "n": plan.draw * plan.batch,
        "G": plan.draw,
        "b": plan.batch,
        "w": plan.raw_weight,
        "temperature": plan.temperature,
        "seed": plan.seed,
        "image_size": data.image_size,
        "base_parameters": [parameters(operation) for operation in engine.base.operations],
        "tf32": engine.device.type == "cuda" and torch.backends.cudnn.allow_tf32,
        "batches": engine.done * (plan.draw if plan.reference else 1),
        "epochs": engine.done / plan.units_per_epoch(len(data)),
        "device": str(engine.device),
        "ranks": engine.ranks.world,
        "chunk": engine.teacher.chunk,
        "rows_forwarded": {
            "teacher": engine.teacher.rows,
            "student": 0 if engine.student is None else engine.student.rows,
        },
        "data": {"name": data.name, "split": data.split, "images": len(data), "fingerprint": data.fingerprint},
    }


def _asked(engine: Engine) -> dict[str, Any]:
    """What must be the same on all ranks, whose contributions are added up."""
    return {
        "the image set": (len(engine.data), engine.data.fingerprint),
        "the list of augmentations": [aug.name for aug in engine.augs],
        "the list of metrics": [metric.name for metric in engine.metrics],
        "the protocol": engine.protocol,
        "the base augmentation": engine.base.name,
        "--chunk": engine.teacher.chunk,
        "--dtype": str(engine.teacher.dtype),
    }


def _loaded(
    network: AnyNetwork,
    data: ImageSet,
    mean: Given,
    std: Given,
    role: Role,
    quiet: bool,
    otherwise: Normalisation | None = None,
) -> LoadedNetwork:
    """A network with all that belongs to it, which is said, unless whoever loaded it has said so."""
    if isinstance(network, LoadedNetwork):
        return network
    loaded = LoadedNetwork.of(network, data, mean, std, role=role, otherwise=otherwise)
    loaded.introduce(role, quiet, taken_on_trust(network, data, role))
    return loaded


def _check_networks(teacher: object, student: object) -> None:
    for who, network in (("teacher", teacher), ("student", student)):
        if not isinstance(network, AnyNetwork) and (who == "teacher" or network is not None):
            raise UsageError(
                f"the {who} is a network (nn.Module) or a checkpoint (dametric.load_checkpoint), not "
                f"{type(network).__name__}"
            )


def _image_set(data: Data) -> ImageSet:
    if isinstance(data, ImageSet):
        return data
    if not isinstance(data, (Tensor, np.ndarray, tuple)):
        raise UsageError(
            f"data are an image set (dametric.load_data), uint8 images, or a tuple of images and labels, not "
            f"{type(data).__name__}"
        )
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
