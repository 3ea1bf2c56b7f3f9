"""``dametric cache``: what is kept is named, listed, bounded and cleared."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dametric.cli import cache as command
from dametric.data import cache, load_data


def pictures(root: Path, seed: int) -> Path:
    for label in range(2):
        (root / f"class{label}").mkdir(parents=True)
        pixels = np.random.default_rng(seed + label).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"class{label}" / "0.png")
    return root


def test_it_is_named_listed_and_cleared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "cache"
    command.cache(cache_dir=str(kept))
    assert "0 entries, 0.0 MB of at most 34,360 MB" in capsys.readouterr().out
    source = pictures(tmp_path / "animals", 0)
    load_data(source, cache_dir=kept)
    assert f"are decoded at once, 0 MB, and kept in {kept / 'decoded'} (see dametric cache)" in capsys.readouterr().err
    load_data(source, cache_dir=kept)
    assert not capsys.readouterr().err
    command.cache(cache_dir=str(kept))
    (entry,) = cache.entries(kept / "decoded")
    said = capsys.readouterr().out
    assert f"{source}: pixels of train" in said
    assert f"1 entries, {entry.size / 1e6:,.1f} MB" in said
    (kept / "decoded" / ".x.npz.abc").write_bytes(b"left by a process that was killed")
    (kept / "decoded" / "mine.txt").write_text("not of the cache")
    command.cache(clear=True, cache_dir=str(kept))
    assert "removed 2 entries" in capsys.readouterr().out
    assert [path.name for path in (kept / "decoded").iterdir()] == ["mine.txt"]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, sources = tmp_path / "cache", [pictures(tmp_path / str(seed), seed) for seed in range(4)]
    for source in sources[:2]:
        load_data(source, cache_dir=kept, quiet=True)
    size = cache.entries(kept / "decoded")[0].size
    monkeypatch.setattr(cache, "LIMIT", 3 * size)
    for age, entry in enumerate(cache.entries(kept / "decoded")):
        os.utime(entry.path, (10**9 + age, 10**9 + age))
    oldest = cache.entries(kept / "decoded")[-1].what
    read = next(source for source in sources[:2] if str(source) in oldest)
    load_data(read, cache_dir=kept, quiet=True)  # it is the one used last now
    for source in sources[2:]:
        load_data(source, cache_dir=kept, quiet=True)
    left = [entry.what.split(":")[0] for entry in cache.entries(kept / "decoded")]
    assert sorted(left) == sorted(str(source) for source in (read, *sources[2:]))
    monkeypatch.setattr(cache, "LIMIT", 100)
    note = load_data(pictures(tmp_path / "more", 9), cache_dir=kept, quiet=True).notes[0]
    assert "the decoded images are not cached" in note
