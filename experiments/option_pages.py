"""The reference page of all options, from their one schema: ``python -m experiments.option_pages`` writes it anew."""

from __future__ import annotations

from pathlib import Path

from dametric.base.files import write_atomic
from dametric.base.option_groups import GROUPS
from dametric.base.options import OptionField, options_of, range_of

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"


def page() -> str:
    """The page, a table for each group."""
    parts = ["# Options", "Names are those of Python's keywords and of a grid's keys; flags are the same with dashes."]
    for group in GROUPS:
        parts += [f"## {(group.__doc__ or '').strip().rstrip('.')}", _table(options_of(group))]
    return "\n\n".join(parts) + "\n"


def _table(known: list[OptionField]) -> str:
    rows = ["| option | values | default | what it is |", "|---|---|---|---|"]
    for each in known:
        flag = each.about.flags[0] if each.about.flags else f"--{each.name.replace('_', '-')}"
        kind = getattr(each.kind, "__name__", "list") if not str(each.kind).startswith("tuple") else "list"
        values = " ".join(filter(None, (", ".join(each.choices) or kind, range_of(each.about))))
        usual = each.about.without or ("" if each.default is None else f"{each.default}")
        source = f" ({each.about.source})" if each.about.source else ""
        rows.append(f"| `{each.name}`, `{flag}` | {values} | {usual}{source} | {each.about.help} |")
    return "\n".join(rows)


if __name__ == "__main__":
    write_atomic(PAGE, page().encode())
