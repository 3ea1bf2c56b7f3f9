"""Scoring further augmentations as those of a score file were: same settings, same batches, one joined table."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from typing import Any, ParamSpec

import torch

from dametric.augment import Augmentation
from dametric.base.arguments import argument
from dametric.base.option_groups import ImageOptions, ScoringOptions, TeacherOptions
from dametric.base.options import options_of
from dametric.base.progress import say
from dametric.errors import UsageError
from dametric.metrics import METRICS, Metric
from dametric.metrics.information import INFORMATION_KEPT
from dametric.metrics.named import metric_of
from dametric.records.documents import plain
from dametric.records.score_rows import ScoreConfig, ScoreRow
from dametric.records.scores import Scores, finite
from dametric.scoring.paired import ordered
from dametric.scoring.ranking import parameters
from dametric.scoring.ranks import Ranks

P = ParamSpec("P")
_OF_SCORING = (*(each.name for each in options_of(ScoringOptions)), "dtype")
_OF_IMAGES = tuple(each.name for each in options_of(ImageOptions))
_OF_NETWORKS = (*(each.name for each in options_of(TeacherOptions)), "student", "student_arch", "student_weights")
RECORDED = (*_OF_SCORING, *_OF_IMAGES, *_OF_NETWORKS, "student_mean", "student_std", "data", "split")
"""Arguments of :func:`dametric.score` that a score file keeps where they were given."""
_SAME = (
    *("checksums", "data", "held_out", "image_size", "metrics", "views", "per", "n", "G", "b", "w", "temperature"),
    *("seed", "protocol", "partner", "base_aug", "base_parameters", "mean", "std", "student_mean", "student_std"),
    *("dtype", "rel_se", "max_batches"),
)
_IMAGES = ("fingerprint", "images", "split", "evaluation", "passed_over")
_WORDS = {
    "checksums": "weights",
    "data": "images",
    "held_out": "held-out images",
    "G": "draw_batches",
    "b": "batch_size",
}
ANEW = "or score all augmentations anew"


def with_request(function: Callable[P, Scores]) -> Callable[P, Scores]:
    """Keep in the result what was asked for; where a score file is added to, ask for what was asked for then.

    Where several processes make the call, it ends on all of them alike.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Scores:
        given = {**dict(zip(signature.parameters, args, strict=False)), **kwargs}
        add: Any = given.get("add")
        with Ranks.current().unison():
            if add is None:
                request = {name: given[name] for name in RECORDED if name in given}
                return _with(function(*args, **kwargs), _recorded(request, signature))
            file = add if isinstance(add, Scores) else Scores.read(add)
            path = "the scores" if isinstance(add, Scores) else os.fspath(add)
            more: Any = {**kwargs, **_settings(file, path, given, signature), "add": file}
            return _with(function(*args, **more), file.settings.request or {})

    return call


def _with(scores: Scores, request: dict[str, Any]) -> Scores:
    return Scores.of(scores.rows, replace(scores.settings, request=request), scores.versions)


def _recorded(request: dict[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """What was given and is no default, as JSON has it; objects of the caller's own are left out."""
    values = {name: _plain(value) for name, value in request.items()}
    kept = {name: value for name, value in values.items() if value != _plain(signature.parameters[name].default)}
    return {name: value for name, value in kept.items() if value is not None}


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for what JSON does not have."""
    if isinstance(value, Metric):
        return value.name
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value if isinstance(value, (str, bool, int, float)) else None


def _settings(file: Scores, path: str, given: dict[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Arguments that are the file's.

    Raises
    ------
    UsageError
        If the file cannot be added to, or something was given that contradicts it.
    """
    student = file.settings.warm_student
    if student is not None:
        raise UsageError(
            f"{path} was made with a student whose weights are {(student.sha256 or '')[:12]}, and holds what was read "
            "with it: dametric score --add reads it again, with the same student"
        )
    stored = file.settings.request
    if stored is None or any(row.influence is None for row in file.rows):
        raise UsageError(
            f"{path} was written before scores could be added to, and does not have what differences are made of: "
            "score all augmentations anew"
        )
    if file.settings.resolution is not None:
        raise UsageError(
            f"{path} was made with {argument('resolve', True)}, which compares all augmentations as it goes: "
            "score all augmentations anew"
        )
    stored = {**stored, "dtype": file.settings.dtype}
    in_memory = given.get("data") is not None and _plain(given["data"]) is None
    settings = {}
    for name in RECORDED:
        value, kept = given.get(name), stored.get(name)
        if name == "metrics":
            settings[name] = _metrics(file, path, value)
        elif value is None or name not in given:
            settings |= {} if kept is None or (in_memory and name in _OF_IMAGES) else {name: kept}
        elif name in _OF_SCORING and name not in (
            "chunk",
            "cost",
        ):  # networks and images are compared when they are read
            _check_given(name, _plain(value), kept, _plain(signature.parameters[name].default), path)
    return settings


def _check_given(name: str, value: Any, kept: Any, default: Any, path: str) -> None:
    if value != (default if kept is None else kept):
        was = "without it" if kept is None else f"with {argument(name, kept)}"
        raise UsageError(f"{path} was made {was}: leave {argument(name, value)} out, {ANEW}")


def _metrics(file: Scores, path: str, given: Any) -> list[str | Metric]:
    """The file's metrics, as they would be asked for again."""
    asked = (file.settings.request or {}).get("metrics")
    asked = [asked] if isinstance(asked, str) else asked
    specs = [given] if isinstance(given, (str, Metric)) else list(given or asked or ())
    own = {metric_of(spec).name: spec for spec in specs if not isinstance(spec, str) or ":" in spec}
    own |= {spec: spec for spec in specs if spec in METRICS}
    named = asked is None or "all" in asked or INFORMATION_KEPT.name in asked
    wanted = [name for name in file.metrics if named or name != INFORMATION_KEPT.name]
    unknown = [name for name in wanted if name not in METRICS and name not in own]
    if unknown:
        raise UsageError(f"{path} has {unknown[0]}, a metric of your own: give it with {argument('metrics')}")
    surplus = [name for name in own if name not in file.metrics]
    if given and surplus:
        raise UsageError(f"{path} has no {surplus[0]}: leave {argument('metrics')} out, {ANEW}")
    return [own.get(name, METRICS.get(name, name)) for name in wanted]


def new_ones(chosen: Sequence[Augmentation], file: Scores | None, quiet: bool) -> list[Augmentation]:
    """The augmentations that a file does not have.

    Raises
    ------
    UsageError
        If one of the file's name is another one by now.
    """
    if file is None:
        return list(chosen)
    rows = {row.aug: row for row in file.rows}
    for aug in chosen:
        if aug.name in rows:
            now = [parameters(operation) for operation in aug.operations]
            if _as_read(now) != _as_read(rows[aug.name].parameters):
                raise UsageError(f"{aug.name} is not what it was when the file was made: {ANEW[3:]}")
            say(f"{aug.name} is in the file: it is not scored again", quiet)
    known = {aug.name: _same_row(aug, file) for aug in chosen if aug.name not in rows}
    for name, other in known.items():
        if other is not None:
            say(f"{name} is {other}, which is in the file: it is not scored again", quiet)
    return [aug for aug in chosen if aug.name in known and known[aug.name] is None]


def _same_row(aug: Augmentation, file: Scores) -> str | None:
    """The name that a file has an augmentation of the same operations by; functions of the user's own are not told."""
    now = _as_read([parameters(operation) for operation in aug.operations])
    return None if aug.own else next((row.aug for row in file.rows if _as_read(row.parameters) == now), None)


def _as_read(value: Any) -> Any:
    return json.loads(json.dumps(finite(plain(value)), default=str))


def check_same(now: ScoreConfig, file: Scores) -> None:
    """Refuse networks, images and settings that are not those of a file.

    Raises
    ------
    UsageError
        Naming the first difference.
    """
    ours, theirs = (_as_read(config) for config in (now, file.settings))
    for name in _SAME:
        values = [_identity(each.get(name)) for each in (ours, theirs)]
        if values[0] != values[1]:
            what = _WORDS.get(name, name)
            told = f": {values[0]}, not {values[1]}" if name not in ("checksums", "data", "held_out") else ""
            raise UsageError(f"the {what} are not those of the scores to add to{told}; give the same, {ANEW}")


def _identity(value: Any) -> Any:
    if isinstance(value, dict) and any(key in value for key in _IMAGES):
        return {key: value.get(key) for key in _IMAGES}
    return value


def joined(rows: Sequence[ScoreRow], config: ScoreConfig, file: Scores) -> tuple[list[ScoreRow], ScoreConfig]:
    """The rows of a file and new ones, compared with each other, and what they depend on."""
    before = file.settings
    both = ordered([*file.rows, *rows], file.metrics[0])
    later = config if (config.batches or 0) > (before.batches or 0) else before
    forwarded = [each.rows_forwarded or {} for each in (before, config)]
    return both, replace(
        before,
        batches=later.batches,
        epochs=later.epochs,
        t_confidence=later.t_confidence,
        rel_se_reached=before.rel_se_reached and config.rel_se_reached,
        rows_forwarded={name: sum(each.get(name, 0) for each in forwarded) for name in forwarded[1]},
        seconds=before.seconds + config.seconds,
        device=config.device,
        ranks=config.ranks,
        chunk=config.chunk,
        asked=None,  # what a sweep asked for is another file
    )
