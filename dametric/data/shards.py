"""Sets and splits of the files of a folder, by their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dametric.base.arguments import argument
from dametric.data.listing import EVALUATION, TRAINING
from dametric.errors import UsageError

UNNAMED = "default"  # name of a set whose files are named by their splits alone
_COUNTED = re.compile(r"\d+-of-\d+(-[0-9a-f]{8,})?")  # 00000-of-00005, with the hash that the hub adds
_NUMBERING = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(-c\d+)?|\.snappy|\.zstd|\.gz"  # what Spark writes
    r"|(?<![A-Za-z0-9])(part|shard|chunk|batch|file|data)?[-_]?\d+(?![A-Za-z0-9])"
    r"|^(part|shard|chunk|batch|file|data|dataset)(?![A-Za-z0-9])"
)


@dataclass(frozen=True)
class Shards:
    """Files of one set by split, and notes on their choice."""

    splits: dict[str, list[Path]]
    notes: tuple[str, ...] = ()


def files(root: Path, ending: str) -> list[Path]:
    """Files with an ending in a folder and its subfolders; where there are none, in CONFIGURATION/SPLIT/."""
    if not root.is_dir():
        return [root]
    for depths in (("", "*/"), tuple(f"*/{word}/" for word in TRAINING + EVALUATION)):
        near = [path for depth in depths for path in root.glob(f"{depth}*{ending}")]
        kept = sorted(path for path in near if not path.name.startswith((".", "cache-")))  # datasets caches results so
        if kept:
            return kept
    return []


def shards(root: Path, ending: str, chosen: str | None, has_images: Callable[[Path], bool]) -> Shards:
    """Sort the files of a folder by set and split.

    The split is in a file's name (``train-00000-of-00005.parquet``), or in the name of a folder it is in; files without
    one are a training split, where no file has one. The rest of a name, without split and number, is the name of the
    set, which the Hugging Face hub calls a configuration.

    Parameters
    ----------
    root : Path
        A file, or a folder that holds some.
    ending : str
        Ending of the files: ".parquet".
    chosen : str, optional
        Name of the set to read.
    has_images : callable
        Whether a file holds images; called only where a folder holds several sets.

    Returns
    -------
    Shards

    Raises
    ------
    UsageError
        If there are several sets and none is chosen, or the chosen one does not exist.
    """
    paths = files(root, ending)
    if not root.is_dir():
        if chosen is not None:
            raise UsageError(
                f"{root} is one file, and configurations are of folders: leave {argument('config', chosen)} out"
            )
        return Shards(_by_split([(path, _split(path, root)) for path in paths]))
    placed = [(path, _split(path, root), _set(path, root)) for path in paths]
    names = _names(placed)
    if chosen is not None:
        if chosen not in names:
            raise UsageError(f"{root} holds no configuration '{chosen}': it holds {', '.join(names)}")
        return Shards(_by_split([(path, split) for path, split, name in placed if name == chosen]))
    if len(names) > 1:  # some folders also hold tables without images
        placed = [place for place in placed if has_images(place[0])] or placed
    with_split = [place for place in placed if place[1] != "unsplit"]
    notes: list[str] = []
    if with_split and len(with_split) < len(placed) and len(_names(placed)) > 1:
        passed = next(path for path, split, _ in placed if split == "unsplit")
        notes.append(f"{passed} is not read: its name tells no split, as others do")
        placed = with_split
    names = _names(placed)
    for split in sorted({split for _, split, _ in placed}):
        if len({name for _, at, name in placed if at == split}) > 1:
            raise UsageError(
                f"{root} holds several configurations, {', '.join(names)}: choose one with "
                f"{argument('config', names[0])}, "
                f"or give its files"
            )
    if len(names) > 1:
        pairs = ", ".join(sorted({f"{split} is {name}" for _, split, name in placed}))
        notes.append(f"the splits of {root} have names of their own: {pairs}")
    return Shards(_by_split([(path, split) for path, split, _ in placed]), tuple(notes))


def _names(placed: list[tuple[Path, str, str]]) -> list[str]:
    return sorted({name for _, _, name in placed})


def _by_split(placed: list[tuple[Path, str]]) -> dict[str, list[Path]]:
    splits: dict[str, list[Path]] = {}
    for path, split in placed:
        splits.setdefault(split, []).append(path)
    if "unsplit" in splits and len(splits) == 1:
        return {"train": splits["unsplit"]}
    return splits


def _parts(path: Path, root: Path) -> list[str]:
    """Names that may contain a split: the file's first, then the innermost folder's."""
    return [path.stem, *reversed(path.relative_to(root).parts[:-1])]


def _split(path: Path, root: Path) -> str:
    words = [word for name in _parts(path, root) for word in re.findall("[a-z]+", name.lower())]
    return next((word for word in words if word in TRAINING + EVALUATION), "unsplit")


def _set(path: Path, root: Path) -> str:
    """Name of a file's set: the names of the file and its folders without split and number."""
    split = re.compile(rf"(?<![a-z]){_split(path, root)}(?![a-z])", re.IGNORECASE)
    kept = []
    for place, name in enumerate(_parts(path, root)):
        rest = split.sub("", name, count=1)
        rest = _NUMBERING.sub("", _COUNTED.sub("", rest).strip("-_. ")) if place == 0 else rest
        kept.append(rest.strip("-_. "))
    return "/".join(reversed([name for name in kept if name])) or UNNAMED
