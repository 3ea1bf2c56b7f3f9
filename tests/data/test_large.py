"""Sets of the shape of ImageNet, in small: what is decoded, how memory goes, how soon Ctrl-C ends it."""

from __future__ import annotations

import os
import resource
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dametric.data import load_data
from dametric.data.decoded import SAMPLE
from dametric.data.lazy import AHEAD
from dametric.data.listing import Listing

ROOT = Path(__file__).resolve().parents[2]
STATM = Path("/proc/self/statm")


def linked(root: Path, count: int, width: int, height: int) -> Path:
    """``train/{ant,bee}`` of hard links to one JPEG."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    root.mkdir()
    Image.fromarray(pixels).save(root / "photo.jpg", quality=90)
    for name in ("ant", "bee"):
        (root / "train" / name).mkdir(parents=True)
        for number in range(count // 2):
            os.link(root / "photo.jpg", root / "train" / name / f"{number:06d}.jpg")
    return root


def test_no_more_than_the_images_drawn_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = linked(tmp_path / "set", 5000, 20, 16)
    decoded: list[int] = []
    use = Listing.use
    monkeypatch.setattr(Listing, "use", lambda self, i, *rest: decoded.append(i) or use(self, i, *rest))
    images = load_data(folder, lazy=True, image_size=16, cache_dir=tmp_path / "cache", quiet=True)
    assert len(decoded) <= SAMPLE + 100  # for mean and standard deviation, of which the next reading knows
    decoded.clear()
    images = load_data(folder, lazy=True, image_size=16, cache_dir=tmp_path / "cache", quiet=True)
    assert len(decoded) <= 100
    decoded.clear()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    stream = images.stream(order.split(8), "cpu")
    next(stream)
    assert set(order[:8].tolist()) <= set(decoded) <= set(order[: 8 * (1 + AHEAD)].tolist())
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.skipif(not STATM.exists(), reason="no /proc to read the memory in use from")
def test_memory_is_flat_over_two_hundred_batches(tmp_path: Path) -> None:
    folder = linked(tmp_path / "set", 640, 72, 64)
    images = load_data(folder, lazy=True, image_size=64, cache_dir=tmp_path / "cache", quiet=True)
    rows = torch.arange(640).repeat(10).split(32)
    assert len(rows) == 200
    used = []
    for _ in images.stream(rows, "cpu"):
        used.append(int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
    # medians, since of the batches in waiting only the pages are in use that were written already
    growth = statistics.median(used[150:]) - statistics.median(used[20:70])
    assert growth < 15e6  # of 51 MB that were drawn in between


DECODING = """
from dametric.data import check_data, decode, load_data
plain, decoded = decode._torchvisions, []

def watched(encoded):
    decoded.append(len(encoded))
    if len(decoded) == 40:
        print("decoding", flush=True)
    return plain(encoded)

decode._torchvisions = watched
"""


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not STATM.exists(), reason="no /proc to read the time of the CPU from")
@pytest.mark.parametrize("task", [pytest.param("lazy=False", marks=pytest.mark.slow), "lazy=True", "check"])
def test_control_c_while_decoding_ends_within_a_second(tmp_path: Path, task: str) -> None:
    folder, cache = linked(tmp_path / "set", 4000, 1200, 900), tmp_path / "cache"  # half a minute's work and more
    reading = f"check_data({str(folder)!r}, quiet=True)"
    if task != "check":
        reading = f"load_data({str(folder)!r}, image_size=64, {task}, cache_dir={str(cache)!r}, quiet=True)"
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(
        [sys.executable, "-c", DECODING + reading],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "decoding\n"
            before = cpu_seconds(process.pid)
            process.send_signal(signal.SIGINT)
            told = "".join(iter(process.stderr.readline, "KeyboardInterrupt\n"))
            used = cpu_seconds(process.pid) - before  # other work on the machine does not make this longer
            assert not process.stderr.read()
        finally:
            process.kill()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "in_parallel" in told or "in stream" in told, "it was decoding"
    assert used < 1
    rest = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime - before - used
    assert rest < 2, "no thread goes on: the interpreter alone takes a second to end"
