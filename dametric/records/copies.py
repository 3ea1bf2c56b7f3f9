"""Runs that lie in several folders, as of a ledger that was copied below itself: one id is one run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from dametric.base.terminal import note_once
from dametric.records.documents import plain
from dametric.records.record import RunRecord

Entry = tuple[Path, RunRecord]


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
        same.setdefault(record.id, []).append(position)
    chosen = {name: min(places, key=lambda position: _rank(entries[position])) for name, places in same.items()}
    copies = {name: places for name, places in same.items() if len({entries[at][0].resolve() for at in places}) > 1}
    if copies:
        name, places = next(iter(copies.items()))
        counted = entries[chosen[name]][0]
        other = next(entries[position][0] for position in places if position != chosen[name])
        many = "1 run lies" if len(copies) == 1 else f"{len(copies)} runs lie"
        note_once(f"{many} in several folders and count{'s' * (len(copies) == 1)} once: {counted}, not {other}")
    for name, places in copies.items():
        finished = [record for _, record in (entries[position] for position in places) if record.finished]
        if len({json.dumps(plain(record.last), sort_keys=True) for record in finished}) > 1:
            note_once(f"WARNING: copies of run {name} differ in their results: {entries[chosen[name]][0]} counts")
    return sorted(chosen.values())


def _rank(entry: Entry) -> tuple[bool, int, str]:
    folder, record = entry
    return not record.finished, len(folder.absolute().parts), str(folder)
