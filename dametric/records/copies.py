"""Runs that lie in several folders, as of a ledger that was copied below itself: one id is one run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dametric.base.terminal import note_once

Entry = tuple[Path, Mapping[str, Any]]


def first_of_each(entries: Sequence[Entry]) -> list[int]:
    """Which folders count, where several hold the same run; what does not count is said on stderr.

    Parameters
    ----------
    entries : sequence of (folder, record)

    Returns
    -------
    list of int
        Positions, in order: for every id that of a finished run before others, then of the folder that is least deep,
        then of the first by name.
    """
    same: dict[str, list[int]] = {}
    for position, (_, record) in enumerate(entries):
        same.setdefault(str(record["id"]), []).append(position)
    chosen = {name: min(found, key=lambda position: _rank(entries[position])) for name, found in same.items()}
    copies = {name: found for name, found in same.items() if len({entries[one][0].resolve() for one in found}) > 1}
    if copies:
        name, found = next(iter(copies.items()))
        counted = entries[chosen[name]][0]
        other = next(entries[one][0] for one in found if one != chosen[name])
        many = "1 run lies" if len(copies) == 1 else f"{len(copies)} runs lie"
        note_once(f"{many} in several folders and count{'s' * (len(copies) == 1)} once: {counted}, not {other}")
    for name, found in copies.items():
        finished = [record for _, record in (entries[one] for one in found) if record["status"] == "finished"]
        if len({json.dumps(record["last"], sort_keys=True) for record in finished}) > 1:
            note_once(f"WARNING: copies of run {name} differ in their results: {entries[chosen[name]][0]} counts")
    return sorted(chosen.values())


def _rank(entry: Entry) -> tuple[bool, int, str]:
    folder, record = entry
    return record["status"] != "finished", len(folder.absolute().parts), str(folder)
