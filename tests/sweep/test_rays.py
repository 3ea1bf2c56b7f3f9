"""The same grid on a Ray cluster of two local nodes, of which one is lost in the midst of the work."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dametric import cli
from dametric.ledger import read_record
from tests.sweep.conftest import Said, same, write_grid

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of ray's own making
ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'dametric[ray]'")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def smooth(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A grid, and what an undisturbed sweep made of it."""
    folder = tmp_path_factory.mktemp("smooth")
    path = write_grid(
        folder / "grid.yaml",
        pictures,
        training={"epochs": 30, "batch_size": 8, "dtype": "float32"},
        score={"student": "identity", "batches": 6, "batch_size": 16, "dtype": "float32"},
    )
    with contextlib.redirect_stdout(io.StringIO()):
        assert cli._run(["sweep", str(path), "-o", str(folder / "smooth"), "-j", "1", "-q"]) == 0
    return path, folder / "smooth"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without cores for us, so that it outlives the work, and two nodes of one core."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield cluster
        ray.shutdown()
        cluster.shutdown()


def test_a_cluster_comes_to_the_same(
    run: Callable[..., Said], cluster: Any, smooth: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=2)
    path, reference = smooth
    said = run("sweep", path, "-o", tmp_path / "ray", "--ray", cluster.address)
    assert said.code == 0, said.err
    assert "[6/6]" in said.err
    same(tmp_path / "ray", reference)
    assert not list((tmp_path / "ray").glob(".sweep-*"))
    assert len(list((tmp_path / "ray" / "scores").glob("*.json"))) == 1


@pytest.mark.parametrize("shared", [True, False])
def test_a_node_that_is_lost_costs_what_it_had_not_saved(
    run: Callable[..., Said],
    cluster: Any,
    smooth: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
) -> None:
    """With a folder that all see, and with one that only the driver sees."""
    from dametric.sweep import rays

    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    path, reference = smooth
    root = tmp_path / "ray"
    events, begin, removed = rays.Rays.events, rays.Rays.__init__, []

    def remove(self: Any, timeout: float) -> Any:
        found = events(self, timeout)
        written = list(root.glob("resnet8-*/history.csv"))
        if not removed and len(written) >= 2:
            removed.append(max(name.read_text().count("\n") for name in written))
            cluster.remove_node(nodes[0], allow_graceful=False)
        return found

    monkeypatch.setattr(rays.Rays, "events", remove)
    known = {} if shared else {"shared": False}
    monkeypatch.setattr(rays.Rays, "__init__", lambda self, *given, **more: begin(self, *given, **more, **known))
    said = run("sweep", path, "-o", root, "--ray", cluster.address)
    assert said.code == 0, said.err
    assert removed
    assert "its process was lost; it goes on from its last saved epoch" in said.err
    same(root, reference)
    records = [read_record(name) for name in root.rglob("record.json")]
    assert len(records) == 5
    assert max(record["timing"]["sessions"] for record in records) >= 2, "one went on from what it had saved"


def test_needs_that_no_node_has(
    run: Callable[..., Said], cluster: Any, smooth: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=1)
    said = run("sweep", smooth[0], "-o", tmp_path / "ray", "--ray", cluster.address, "--gpus-per-run", "0.25")
    assert said.code == 2
    assert "no node has 1 cores and 0.25 GPUs" in said.err


def test_no_cluster_is_one_line(run: Callable[..., Said], smooth: tuple[Path, Path], tmp_path: Path) -> None:
    os.environ.pop("RAY_ADDRESS", None)
    said = run("sweep", smooth[0], "-o", tmp_path / "ray", "--ray")
    assert said.code == 2
    assert "ray start --head" in said.err
    assert said.err.count("\n") == 1, said.err
