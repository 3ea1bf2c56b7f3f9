"""Options that several commands have; those of the schema become typer's here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from dametric.base import limits
from dametric.base.arguments import argument
from dametric.base.option_groups import SEEDS
from dametric.base.options import OptionField, options_of
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
        help="YAML file with defaults for these options.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing on stderr but errors and warnings.")]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="[ADDRESS]", help="On a Ray cluster: auto (default), HOST:PORT, ray://..., local."),
]
OwnExecutor = Annotated[
    str | None,
    typer.Option("--executor", metavar="./FILE.py:NAME", help="On an executor of your own; see examples/executor.py."),
]
CpusPerRun = Annotated[float, typer.Option("--cpus-per-run", min=0, help="With --ray: CPU cores of a run.")]
GpusPerRun = Annotated[
    float, typer.Option("--gpus-per-run", min=0, help="With --ray: GPUs of a run, 0.25 for four on each.")
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=SEEDS, help="Random seed.")]
Data = Annotated[
    str | None, typer.Option("--data", metavar="NAME|PATH", help="Image set: a name (dametric ls data) or a path.")
]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. [default: cuda where there is one]")]
HeldOut = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=limits.IMAGES,
        help="Set this many training images aside, the same number of each class; evaluated once, at the end.",
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
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write event files into the run's folder.")]
OnlyRuns = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="KEY=PATTERN", help="Only such runs: temperature=4, student=resnet*; repeat."),
]
Records = Annotated[bool, typer.Option("--json", help="Records as JSON on stdout instead of the table.")]


Paths = Annotated[
    list[str] | None,
    typer.Argument(metavar="SCORES.json... RUNS/...", help="Score files and folders of runs, or one CSV/JSON table."),
]
Published = Annotated[bool, typer.Option("--published", help="The points of the paper instead.")]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", "-m", help="Fixed in advance; repeat for several. [default: what orders the scores]"),
]
Drop = Annotated[bool, typer.Option("--drop", help="Leave out rows without a score or a loss.")]
Better = Annotated[
    list[str] | None,
    typer.Option("--better", metavar="METRIC=lower|higher", help="Direction of a table's metric; repeat for several."),
]


def with_options(*groups: type, **other_defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of some groups of the schema, and ``-c``; it gets what was chosen as ``chosen``.

    Parameters
    ----------
    *groups : type
        Dataclasses of :mod:`dametric.base.option_groups`.
    **other_defaults
        Defaults that are other ones for this command.
    """
    known = [each for group in groups for each in options_of(group)]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = [each for name, each in inspect.signature(function, eval_str=True).parameters.items() if name != "chosen"]

        @wraps(function)
        def call(**given: Any) -> None:
            given.pop("config_file", None)
            chosen = {each.name: _value(each, given.pop(each.name)) for each in known}
            function(chosen, **given)

        flags = [_parameter(each, other_defaults.get(each.name, each.default)) for each in known]
        file = inspect.Parameter("config_file", _KEYWORD, default=None, annotation=Config)
        keyword = [each.replace(kind=_KEYWORD) for each in own]
        call.__signature__ = inspect.Signature([*keyword, *flags, file])  # type: ignore[attr-defined]
        call.__annotations__ = {each.name: each.annotation for each in (*keyword, *flags, file)}
        return call

    return decorate


_METAVARS = {int: "N", float: "X", str: "NAME"}
_KEYWORD = inspect.Parameter.KEYWORD_ONLY


def _parameter(each: OptionField, default: Any) -> inspect.Parameter:
    """An option of the schema as typer wants it."""
    about = each.about
    text = f"{about.help} [default: {about.without}]" if default is None and about.without else about.help
    flags = about.flags or (f"--{each.name.replace('_', '-')}",)
    more: dict[str, Any] = {
        "help": text,
        "metavar": about.metavar or "|".join(each.choices) or _METAVARS.get(each.kind),
    }
    kind: Any = each.kind
    if each.kind is int and each.choices:  # a number or a word
        kind, default = str, str(default)
    elif each.kind is int:
        more |= {"min": about.low, "max": about.high}
    elif str(each.kind).startswith("tuple"):
        kind = list[str] if "str" in str(each.kind) else str
    hint: Any = kind | None if each.optional else kind
    annotation = Annotated.__class_getitem__((hint, typer.Option(*flags, **more)))  # type: ignore[attr-defined]
    return inspect.Parameter(each.name, _KEYWORD, default=default, annotation=annotation)


def _value(each: OptionField, given: Any) -> Any:
    """What was typed, as the functions of the package take it."""
    if str(each.kind) == "tuple[float, ...]":
        return _numbers(argument(each.name), given)
    if str(each.kind) == "tuple[str, ...]":
        return tuple(given) if given else None
    if each.kind is int and each.choices and given not in each.choices:
        number = limits.read_whole(given, int(each.about.high or limits.EPOCHS))
        if number is None:
            words = ", ".join(each.choices)
            raise UsageError(f"{argument(each.name)} is a whole number from 1 up, or {words}, not '{given}'")
        return number
    return given


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
