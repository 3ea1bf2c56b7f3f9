"""The pass itself: from networks and images that are ready to scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dametric.augment import ImageSpec, base_augmentation, default_base, repeated
from dametric.augment.examine import check_base, looked_at, sample
from dametric.base.arguments import argument
from dametric.base.devices import tf32
from dametric.base.environment import machine
from dametric.base.option_groups import ScoringOptions
from dametric.base.progress import progress, say
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.metrics import METRICS
from dametric.models import LoadedNetwork, inference_copy
from dametric.models.network import Network
from dametric.records.score_rows import ImagesName, ScoreConfig
from dametric.records.scores import Scores
from dametric.scoring.adding import check_same, joined, new_ones
from dametric.scoring.cost import with_costs
from dametric.scoring.engine import Engine
from dametric.scoring.held_out import held_out_engine
from dametric.scoring.protocol import Protocol
from dametric.scoring.ranking import parameters, ranked
from dametric.scoring.ranks import Ranks, same_everywhere, weights
from dametric.scoring.request import AugSpec, Given, augmentations, chosen_metrics, wanted_precision
from dametric.scoring.stopping import Stop, walk, walk_once
from dametric.scoring.teacher_confidence import teacher_confidence

_CHUNK = {"cpu": 128, "cuda": 1024}  # on a CPU activations should stay in the cache


def measure(
    teacher: LoadedNetwork,
    student: LoadedNetwork | None,
    data: ImageSet,
    augs: AugSpec | Sequence[AugSpec],
    options: ScoringOptions,
    *,
    device: torch.device,
    dtype: torch.dtype,
    compile: bool,
    quiet: bool,
    known: dict[str, Any],
    stop: Stop | None,
    add: Scores | None = None,
) -> Scores:
    """Show the images to the networks under every augmentation, and compute the table.

    Parameters
    ----------
    teacher, student : LoadedNetwork
    data : ImageSet
    augs, options, device, dtype, compile, quiet, stop
        As :func:`dametric.scoring.api.score` takes them.
    known : dict
        Origin of the networks, for the score file.
    add : Scores, optional
        Scores of other augmentations, which these are to be joined with.
    """
    ranks, plan = Ranks.current(), Protocol.of(options)
    precision = wanted_precision(options.rel_se, options.protocol)
    image_spec = ImageSpec(data.image_size, teacher.mean, "reference" if plan.reference else "roll")
    chosen = augmentations(augs, image_spec, student is not None, quiet)
    chosen = new_ones(chosen, add, quiet)
    same = repeated(chosen)
    for name, other in same.items():
        if other != "identity":  # of which there is a warning, when augmentations are looked at
            say(f"{name} is {other}: the same images", quiet)
    if add is not None and not chosen:
        return add
    mixes = add is not None and any("mixing" in METRICS[name].needs for name in add.metrics if name in METRICS)
    given = Given(
        student is not None, bool(data.num_classes), data.split != "test", tuple(chosen), mixes, plan.reference
    )
    metrics = chosen_metrics(options.metrics, given, options.views, quiet, options.held_out is not None)
    data = data.to(device)
    base, *chosen = looked_at(
        [base_augmentation(options.base_aug or default_base(data.image_size), image_spec), *chosen],
        sample(data, device),
        quiet,
    )

    def network(loaded: LoadedNetwork) -> Network:
        copy = inference_copy(loaded.model, dtype=dtype, device=device, compile=compile, interface=loaded.interface)
        rows = options.chunk or _CHUNK.get(device.type, 256)
        return Network(copy, mean=loaded.mean, std=loaded.std, chunk=rows, dtype=dtype, device=device)

    networks = [loaded for loaded in (teacher, student) if loaded is not None]
    ready = [network(loaded) for loaded in networks]
    engine = Engine(
        teacher=ready[0],
        student=ready[1] if student is not None else None,
        data=data,
        augs=chosen,
        metrics=metrics,
        protocol=plan,
        base=check_base(base),
        device=device,
        ranks=ranks,
    )
    engine.held_out = held_out_engine(engine, options.held_out)
    if engine.needs_student and student is None:
        raise UsageError(f"these metrics or augmentations need a student's output: give one with {argument('student')}")
    if ranks.world > 1:
        limits = {
            argument(name): getattr(options, name) for name in ("batches", "rel_se", "max_batches", "views", "held_out")
        }
        same_everywhere(
            ranks, {**_request_of(engine), **limits, "the weights": [weights(loaded.model) for loaded in networks]}
        )
        quiet = quiet or not ranks.first
    named = ScoreConfig.of(known)
    config = replace(
        _settings(engine),
        teacher=named.teacher,
        student=named.student,
        protocol=options.protocol,
        partner="derangement (cutmix), permutation (mixup)" if plan.reference else image_spec.partner,
        base_aug=engine.base.name,
        mean=list(teacher.mean),
        std=list(teacher.std),
        normalised_by=teacher.normalised_by,
        student_mean=None if student is None else list(student.mean),
        student_std=None if student is None else list(student.std),
        max_batches=options.max_batches,
        rel_se=None if options.batches or plan.reference or options.resolve else precision,
        dtype=str(dtype).removeprefix("torch."),
        held_out=None if engine.held_out is None else _images_name(engine.held_out.data),
        guessed=[loaded.interface.guess for loaded in networks if loaded.interface.guess] or None,
        checksums={name: weights(loaded.model) for name, loaded in zip(("teacher", "student"), networks, strict=False)},
        extra=named.extra,
    )
    if add is not None:
        check_same(config, add)
    compile_seconds = _warm_up(engine, quiet) if compile else None
    versions = machine(device)
    start = time.perf_counter()
    if engine.held_out is not None:
        walk_once(engine.held_out, quiet, stop)
    reached, resolved = walk(
        engine, options.batches, precision, options.max_batches, quiet, stop, resolve=options.resolve
    )
    spent = time.perf_counter() - start
    engine.total()
    config = replace(
        config,
        **_counts(engine),
        rel_se_reached=reached,
        compile_seconds=compile_seconds,
        seconds=spent,
        t_confidence=teacher_confidence(engine),
    )
    rows = [replace(row, same_as=same.get(row.aug)) for row in ranked(engine)]
    if resolved is not None:
        rows, config = resolved.marked(rows), replace(config, resolution=resolved.document)
    if add is not None:
        rows, config = joined(rows, config, add)
    if options.cost:
        rows = with_costs(rows, engine, student or teacher, quiet)
    return Scores.of(rows, config, versions)


def _settings(engine: Engine) -> ScoreConfig:
    """Everything of the pass itself that the numbers depend on."""
    plan, data = engine.protocol, engine.data
    return ScoreConfig(
        metrics=tuple(metric.name for metric in engine.of_augmentations),
        per=plan.per,
        n=plan.draw * plan.batch,
        G=plan.draw,
        b=plan.batch,
        w=plan.raw_weight,
        temperature=plan.temperature,
        seed=plan.seed,
        views=max(metric.views for metric in engine.metrics),
        image_size=data.image_size,
        base_parameters=[parameters(operation) for operation in engine.base.operations],
        tf32=engine.device.type == "cuda" and tf32()["conv"],
        device=str(engine.device),
        ranks=engine.ranks.world,
        chunk=engine.teacher.chunk,
        data=_images_name(data),
    )


def _counts(engine: Engine) -> dict[str, Any]:
    """What was shown, by names of fields of a `ScoreConfig`."""
    plan = engine.protocol
    return {
        "chunk": engine.teacher.chunk,  # as it was at the end: where memory is short it is halved
        "batches": engine.done * (plan.draw if plan.reference else 1),
        "epochs": engine.done / plan.units_per_epoch(len(engine.data)),
        "rows_forwarded": {
            "teacher": engine.teacher.rows,
            "student": 0 if engine.student is None else engine.student.rows,
        },
    }


def _images_name(data: ImageSet) -> ImagesName:
    return ImagesName(
        data.name,
        data.split,
        len(data),
        data.fingerprint,
        evaluation=data.evaluation,
        decoder=data.decoder,
        passed_over=list(data.passed_over) or None,
    )


def _request_of(engine: Engine) -> dict[str, Any]:
    """What must be the same on all ranks, whose contributions are added up."""
    return {
        "the image set": (len(engine.data), engine.data.fingerprint),
        "the list of augmentations": [aug.name for aug in engine.augs],
        "the list of metrics": [metric.name for metric in engine.metrics],
        "the protocol": engine.protocol,
        "the base augmentation": engine.base.name,
        argument("chunk"): engine.teacher.chunk,
        argument("dtype"): str(engine.teacher.dtype),
    }


def _warm_up(engine: Engine, quiet: bool) -> float:
    """Compile both networks by showing them a chunk of the size they will see; seconds that it took."""
    start = time.perf_counter()
    with progress("compiling", None, quiet=quiet):
        for network in filter(None, (engine.teacher, engine.student if engine.needs_student else None)):
            blank = torch.zeros(network.chunk, *engine.data.images.shape[1:], dtype=torch.uint8, device=engine.device)
            network(blank)
            network.rows = 0
    return time.perf_counter() - start
