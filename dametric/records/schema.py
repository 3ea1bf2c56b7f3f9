"""The shapes of the JSON documents that are read, and the one place where a document is held against its shape.

Documents may have been written by other versions or edited by hand: what a reader uses must be there and be of the
right kind, everything else may be there too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from dametric.errors import UsageError

LARGEST = 1e300  # of any number in a document: beyond it JSON's numbers become infinite
MOST_WHOLE = 2**53  # of a count, which a float still tells from the next one

_WORD = {"type": "string"}
_MAYBE_WORD = {"type": ["string", "null"]}
_NUMBER = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
_MAYBE_NUMBER = {**_NUMBER, "type": ["number", "null"]}
_COUNT = {"type": "integer", "minimum": 0, "maximum": MOST_WHOLE}
_MAYBE_COUNT = {**_COUNT, "type": ["integer", "null"]}
_MAYBE_LENGTH = {**_MAYBE_COUNT, "minimum": 1}
_MAYBE_TRUTH = {"type": ["boolean", "null"]}
_SEED = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}


def _object(required: Mapping[str, Any] | None = None, optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    properties = {**(required or {}), **(optional or {})}
    return {"type": "object", "properties": properties, "required": list(required or {})}


def _or_null(shape: Mapping[str, Any]) -> dict[str, Any]:
    return {**shape, "type": [shape["type"], "null"]}


_ESTIMATE = {"value": _MAYBE_NUMBER, "se": {**_MAYBE_NUMBER, "minimum": 0}}
_INTERVAL = {"low": _MAYBE_NUMBER, "high": _MAYBE_NUMBER}
_OF_STUDENT = {"student": _MAYBE_WORD, "cost": _MAYBE_NUMBER, "reason": _MAYBE_WORD}
_METRIC = _object({**_ESTIMATE, **_INTERVAL, "direction": {"enum": ["lower", "higher", "open"]}}, _OF_STUDENT)
_DIFFERENCE = _object(_ESTIMATE, {**_INTERVAL, "to": _WORD})
_RUN_OF_BLOCKS = {"type": "array", "items": _COUNT, "minItems": 3, "maxItems": 3}
_INFLUENCE = _object(
    {"total": _WORD, "dof": {"type": "integer"}, "blocks": {"type": "array", "items": _RUN_OF_BLOCKS}},
    {"pairs": _WORD, "shape": _NUMBER, "complete": _COUNT},
)
_NETWORK = _or_null(_object(None, {"arch": _MAYBE_WORD, "sha256": _MAYBE_WORD, "file": _MAYBE_WORD}))
_SCORE = _object(
    {
        "aug": _WORD,
        "metrics": {"type": "object", "additionalProperties": _METRIC},
        "difference": _DIFFERENCE,
        "tied_with_best": {"type": "boolean"},
        "rows": _COUNT,
    },
    {
        "destroyed": {"type": "boolean"},
        "batches": _COUNT,
        "differences": {"type": "object", "additionalProperties": _DIFFERENCE},
        "influence": _INFLUENCE,
        "group": _WORD,
        "same_as": _MAYBE_WORD,
        "aug_spelling": _MAYBE_WORD,
        "cost": _object({"images_per_second": _MAYBE_NUMBER, "relative_step": _NUMBER, "clock": _WORD}),
    },
)
SCORES = _object(
    {
        "scores": {"type": "array", "items": _SCORE, "minItems": 1},
        "config": _object(
            {"metrics": {"type": "array", "items": _WORD, "minItems": 1}},
            {
                "teacher": _NETWORK,
                "student": _NETWORK,
                "warm_student": _or_null(_object(None, {"arch": _MAYBE_WORD, "sha256": _MAYBE_WORD, "steps": _COUNT})),
                "data": _object({"name": _WORD}, {"fingerprint": _MAYBE_WORD, "split": _MAYBE_WORD}),
                "batches": _COUNT,
                "b": _COUNT,
                "seed": {"type": "integer"},
                "request": {"type": "object"},
                "checksums": {"type": "object"},
                "resolution": _object(
                    {"level": _NUMBER, "pairs": _COUNT, "looks": _COUNT}, {"best": {"type": "array", "items": _WORD}}
                ),
            },
        ),
        "versions": {"type": "object"},
    }
)
"""A score file; see :mod:`dametric.records.scores`."""

_ROW = _or_null({"type": "object", "additionalProperties": _MAYBE_NUMBER, "properties": {"epoch": _COUNT}})
_RECIPE = _object(
    {"seed": _SEED},
    {
        **dict.fromkeys(("epochs", "steps", "batch_size"), _MAYBE_LENGTH),
        **dict.fromkeys(("lr", "momentum", "weight_decay", "label_smoothing"), _MAYBE_NUMBER),
        **dict.fromkeys(("schedule", "per", "base_aug", "aug", "dtype"), _MAYBE_WORD),
        **dict.fromkeys(("nesterov", "joint_batch"), _MAYBE_TRUTH),
        "objective": _or_null(_object(None, dict.fromkeys(("ce", "raw", "aug", "temperature"), _MAYBE_NUMBER))),
    },
)
RECORD = _object(
    {
        "id": _WORD,
        "status": {"enum": ["running", "interrupted", "failed", "finished"]},
        "config": {
            **_object({"kind": {"enum": ["train", "distill"]}, "recipe": _RECIPE}, {"operations": {"type": "object"}}),
            "if": {"properties": {"kind": {"const": "train"}}},
            "then": {"properties": {"recipe": _object({"base_aug": _WORD})}},
            "else": {"properties": {"recipe": _object({"aug": _WORD})}},
        },
        "about": _object(
            {
                "student": _object({"arch": _WORD}),
                "data": _object({"name": _WORD}, dict.fromkeys(("train", "image_size"), _MAYBE_COUNT)),
            },
            {"teacher": _NETWORK},
        ),
        "last": _ROW,
        "best": _ROW,
    },
    {
        "error": _MAYBE_WORD,
        "kept": {"enum": ["last", "none", None]},
        "timing": _or_null(
            _object(
                None,
                {"seconds": _MAYBE_NUMBER, "sessions": _COUNT, "lockstep": _COUNT, "same_bits": _MAYBE_TRUTH},
            )
        ),
        "code": _or_null(_object(None, {"version": _MAYBE_WORD, "sha256": _MAYBE_WORD})),
        "versions": _or_null(_object()),
    },
)
"""A run's record; see :mod:`dametric.records.runs`."""

_KINDS = {
    "string": "text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}


def check(document: Any, shape: dict[str, Any], kind: str, path: object) -> None:
    """Hold a document against its shape.

    Parameters
    ----------
    document : Any
        As :func:`json.loads` made it.
    shape : dict
        `SCORES` or `RECORD`.
    kind, path
        What it is and where it is from, for the error.

    Raises
    ------
    UsageError
        For the first field that is missing or of the wrong kind, by its name.
    """
    name = "scores" if shape is SCORES else "record"
    error = next(_validator(name).iter_errors(document), None)
    if error is None:
        return
    place = _place(error.absolute_path)
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        place = f"{place}.{missing}" if place else missing
        raise UsageError(f"{path} is not a whole {kind}: '{place}' is missing")
    raise UsageError(f"{path} is not a {kind} as it should be: '{place}' is {_shown(error.instance)}, {_wanted(error)}")


@lru_cache(maxsize=2)
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator({"scores": SCORES, "record": RECORD}[name])


def _place(path: Iterable[Any]) -> str:
    """Where a field is, as one would write it: ``scores[0].metrics.t_stddev.value``."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return ("an object" if isinstance(value, dict) else "a list") if value else "empty"
    text = f"'{value}'" if isinstance(value, str) else {None: "null", True: "true", False: "false"}.get(value, "")
    text = text or f"{value:.6g}" if not isinstance(value, int) or abs(value) < LARGEST else "a huge number"
    return text if len(text) < 60 else f"{text[:57]}..."


def _wanted(error: Any) -> str:
    if error.validator == "type":
        kinds = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        return "not " + " or ".join(_KINDS[kind] for kind in kinds)
    if error.validator == "enum":
        return "not one of " + ", ".join("null" if one is None else str(one) for one in error.validator_value)
    if error.validator == "minItems":
        return "and holds nothing"
    bound = {"minimum": "at least", "maximum": "at most"}.get(error.validator, "as in")
    return f"not {bound} {error.validator_value:g}"
