"""The page of file formats, from the docstrings of what reads and writes them."""

from __future__ import annotations

import inspect
import re
import textwrap
from types import ModuleType

from dametric.models import save_checkpoint
from dametric.records import choices, runs, scores
from experiments.site.functions import HEAD, sections

OPENING = """# File formats

Everything that dametric writes is plain: JSON, CSV, and checkpoints that `torch.load(weights_only=True)` or safetensors
read. Shapes have a version, and files of version 1 will be read for ever. Reading them holds them against one schema
([`dametric/records/schema.py`](../dametric/records/schema.py)): a field that is missing, of another type or not finite
is refused by file and field. Keys that a version does not know are kept."""
_CHECKPOINT = """## Checkpoints

`train -o teacher.pth` writes one, and `last.pt` of a run is one. It is a dict of plain values and tensors, with the
weights under `model` and, while a training goes on, what is needed to go on under `state`. Files of
[other layouts](teacher.md) are read too."""
_CHOICE = """## choice.json

The answer of `dametric choose`, also while it runs. `dametric_choice` is the version of its shape, now 1. Beside it in
the folder: `runs/`, a ledger, `scores.json`, a score file, and `clock.json`, the seconds that were spent."""


def page() -> str:
    """The page, a section for each kind of file."""
    known = {each.__name__: each for each in (choices.ChoiceArm, choices.ChoiceRun, choices.ChoiceLook)}
    return (
        "\n\n".join(
            [
                OPENING,
                "## Score files\n\n" + _shape(scores),
                "## The ledger: record.json, history.csv, last.pt\n\n" + _shape(runs),
                _CHOICE,
                *_fields(choices.Choice),
                *(f"### {words}\n\n" + "\n\n".join(_fields(known[name])) for name, words in _PARTS.items()),
                "### costs\n\n" + "\n\n".join(_fields(choices.ChoiceCosts)),
                _CHECKPOINT,
                *[part for part in sections(inspect.getdoc(save_checkpoint) or "", {}) if "`model`" in part],
            ]
        )
        + "\n"
    )


_PARTS = {"ChoiceArm": "arms, the candidates", "ChoiceRun": "runs", "ChoiceLook": "looks, the state after each run"}


def _shape(module: ModuleType) -> str:
    """A module's docstring with the shape of its file as a block."""
    text = (inspect.getdoc(module) or "").partition("\n\n")[2].replace("``", "`")
    block = re.compile(r"::\n\n(.*?)\n(?=\n[^ ]|\Z)", re.DOTALL)
    return block.sub(lambda match: ":\n\n```text\n" + textwrap.dedent(match[1]).rstrip() + "\n```\n", text)


def _fields(kind: type) -> list[str]:
    """What a docstring says of a class's fields, or their names and types where it says nothing."""
    parts = [part for part in sections(inspect.getdoc(kind) or "", {}) if part.startswith(HEAD)]
    if parts:
        return [part.replace("| name |", "| key |", 1) for part in parts]
    rows = [f"| `{name}` | {kind_} |" for name, kind_ in inspect.get_annotations(kind).items()]
    return ["\n".join(["| key | kind |", "|---|---|", *rows])]
