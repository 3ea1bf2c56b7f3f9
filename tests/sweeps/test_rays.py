"""The same grid on a Ray cluster: nodes that are lost, drivers that are stopped or killed, two at once, GPUs."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric import cli
from dametric.base.files import write_atomic
from dametric.base.locks import is_held
from dametric.jobs.budget import Budget
from dametric.jobs.cluster import Cluster
from dametric.jobs.ray_executor import RayExecutor
from dametric.jobs.schedule import Outcome
from dametric.records.runs import load_runs, read_record
from tests.sweeps.conftest import PATIENCE, ROOT, USUAL, Said, Started, same, write_grid

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of ray's own making
ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'dametric[ray]'")


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
    from ray.cluster_utils import Cluster as Local

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster = Local(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
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


def test_a_node_that_is_lost_costs_what_it_had_not_saved(
    run: Callable[..., Said],
    cluster: Any,
    smooth: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    path, reference = smooth
    root = tmp_path / "ray"
    events = RayExecutor.events
    removed: list[list[Path]] = []

    def remove(self: RayExecutor, timeout: float) -> Any:
        ended = events(self, timeout)
        folders = [name.parent for name in root.glob("resnet8-*/last.pt")]
        begun = [folder for folder in folders if read_record(folder / "record.json")["status"] == "running"]
        if not removed and len(begun) >= 2:  # both nodes are in the midst of a run and have saved an epoch of it
            removed.append(begun)
            cluster.remove_node(nodes[0], allow_graceful=False)
        return ended

    monkeypatch.setattr(RayExecutor, "events", remove)
    said = run("sweep", path, "-o", root, "--ray", cluster.address)
    assert said.code == 0, said.err
    assert removed
    assert "its process was lost; it goes on from its last saved epoch" in said.err
    same(root, reference)
    records = [read_record(name) for name in root.rglob("record.json")]
    assert len(records) == 5
    assert max(record["timing"]["sessions"] for record in records) >= 2, "one went on from what it had saved"


def test_a_folder_that_nodes_do_not_share_is_refused_in_one_line(
    run: Callable[..., Said], cluster: Any, smooth: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All nodes of a test are on one machine: the driver's word that this is the folder goes astray."""
    cluster.add_node(num_cpus=2)
    monkeypatch.setattr("dametric.jobs.ray_executor.write_atomic", lambda path, content: None)
    said = run("sweep", smooth[0], "-o", tmp_path / "ray", "--ray", cluster.address)
    assert said.code == 2
    last = said.err.splitlines()[-1]
    assert "a node of the cluster, does not share" in last
    assert "give --output a folder on storage that all nodes share, or use --shard in place of --ray" in last
    assert not list((tmp_path / "ray").rglob("record.json"))


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


# A driver that is stopped or killed

LAST = "dametric: stopped; everything is saved, the same command goes on"


def begun(root: Path) -> int:
    return len(list(root.rglob("record.json")))


def until(reached: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < give_up, what
        time.sleep(0.05)


def nobody_works(root: Path) -> bool:
    """No process holds a run of the sweep."""
    return not any(is_held(lock) for lock in root.rglob(".lock"))


@pytest.mark.parametrize("where", ["cluster", "local"])
def test_control_c_saves_everything_and_leaves_nobody_at_work(
    start: Callable[..., Started],
    run: Callable[..., Said],
    cluster: Any,
    smooth: tuple[Path, Path],
    tmp_path: Path,
    where: str,
) -> None:
    """A terminal sends it to the whole group, to the processes of a cluster that the driver started too."""
    cluster.add_node(num_cpus=2)
    path, reference = smooth
    root = tmp_path / "stopped"
    command = start("sweep", path, "-o", root, "--ray", cluster.address if where == "cluster" else "local")
    command.until(lambda: begun(root) >= 3)
    os.killpg(command.pid, signal.SIGINT)
    assert command.wait() == 130, command.err
    assert command.err.splitlines()[-1] == LAST
    assert "Traceback" not in command.err
    assert nobody_works(root)
    table = load_runs(root)
    assert set(table["status"]) <= {"finished", "interrupted"}
    assert "interrupted" in set(table["status"]), "it was stopped in the midst of the work"
    assert not list(root.glob(".sweep-*"))
    if where == "cluster":
        ray.init(address=cluster.address, log_to_driver=False)
        until(lambda: ray.available_resources().get("CPU") == 2.0, "a task is left on the cluster")
        ray.shutdown()
    again = run("sweep", path, "-o", root, "-j", 1)
    assert again.code == 0, again.err
    same(root, reference)


def test_a_time_budget_that_ends_in_the_midst_of_the_work(
    run: Callable[..., Said],
    cluster: Any,
    smooth: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever the clock says, it is over once three runs have begun."""
    cluster.add_node(num_cpus=2)
    path, reference = smooth
    root = tmp_path / "ray"
    with monkeypatch.context() as patch:
        patch.setattr(Budget, "over", property(lambda self: begun(root) >= 3))
        said = run("sweep", path, "-o", root, "--ray", cluster.address, "--time-budget", "1h")
    assert said.code == 3, said.err
    assert "the time budget is over; everything is saved, the same command goes on" in said.err
    assert nobody_works(root)
    assert set(load_runs(root)["status"]) == {"finished", "interrupted"}
    again = run("sweep", path, "-o", root, "--ray", cluster.address)
    assert again.code == 0, again.err
    same(root, reference)


def test_a_time_budget_on_a_real_clock(start: Callable[..., Started], pictures: Path, tmp_path: Path) -> None:
    """The start of a cluster here, and its end, are within it."""
    path = write_grid(tmp_path / "grid.yaml", pictures, training={"epochs": 100_000, "batch_size": 8})
    began = time.monotonic()
    command = start("sweep", path, "-o", tmp_path / "runs", "--ray", "local", "--time-budget", "75s", program=USUAL)
    assert command.wait() == 3, command.err
    assert time.monotonic() - began < 75
    assert "the time budget is over" in command.err
    assert nobody_works(tmp_path / "runs")
    table = load_runs(tmp_path / "runs")
    assert set(table["status"]) == {"finished", "interrupted"}
    shutil.rmtree(tmp_path / "runs")


def test_a_driver_that_is_killed_takes_its_tasks_along(
    start: Callable[..., Started], run: Callable[..., Said], cluster: Any, smooth: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=2)
    path, reference = smooth
    root = tmp_path / "killed"
    command = start("sweep", path, "-o", root, "--ray", cluster.address)
    command.until(lambda: begun(root) >= 3)
    command.kill()
    until(lambda: nobody_works(root), "a task outlives its driver")
    again = run("sweep", path, "-o", root, "--ray", cluster.address)
    assert again.code == 0, again.err
    for left in root.glob(".sweep-*"):
        left.unlink()  # the word to nodes that this is the folder
    same(root, reference)


# The executor alone, with tasks that are a few lines


def wait_for(file: Path) -> None:
    until(file.exists, f"{file} is never there")


def waits(folder: Path, advance: Any, stop: Any) -> Outcome:
    """End once somebody says so."""
    wait_for(folder / "go")
    return Outcome("finished")


def meet(folder: Path, number: int, advance: Any, stop: Any) -> Outcome:
    """End when four are here at once."""
    write_atomic(folder / f"task{number}", "")
    for other in range(4):
        wait_for(folder / f"task{other}")
    return Outcome("finished", os.environ.get("CUDA_VISIBLE_DEVICES", ""))


def give(executor: RayExecutor, number: int, job: Any) -> None:
    executor.give(number, job, lambda steps=1, note="": None, lambda: False)


def endings(executor: RayExecutor, count: int) -> dict[int, Any]:
    """What became of so many tasks."""
    found: dict[int, Any] = {}
    give_up = time.monotonic() + PATIENCE
    while len(found) < count:
        assert time.monotonic() < give_up, found
        found |= {event.number: event.value for event in executor.events(0.1)}
    return found


def test_what_waits_for_a_place_that_others_hold_does_not_hold_up_the_end(cluster: Any, tmp_path: Path) -> None:
    cluster.add_node(num_cpus=1)
    with Cluster(cluster.address) as connected, RayExecutor(connected, tmp_path) as executor:
        others = ray.remote(num_cpus=1)(wait_for).remote(tmp_path / "go")
        until(lambda: not ray.available_resources().get("CPU"), "nobody takes the core")
        give(executor, 0, partial(waits, tmp_path))
        executor.halt()
        assert endings(executor, 1) == {0: None}
        write_atomic(tmp_path / "go", "")
        ray.get(others)


# GPUs


def test_a_quarter_of_a_gpu_each_is_four_at_once(cluster: Any, tmp_path: Path) -> None:
    """Eight cores and one GPU that the cluster is told of: the GPU is what runs out."""
    cluster.add_node(num_cpus=8, num_gpus=1)
    with Cluster(cluster.address, gpus=0.25) as connected, RayExecutor(connected, tmp_path) as executor:
        assert executor.free == 4
        for number in range(4):
            give(executor, number, partial(meet, tmp_path, number))
        assert executor.free == 0
        found = endings(executor, 4)
    assert [found[number].text for number in range(4)] == ["0"] * 4, "each sees the one GPU"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, which runs would use")
def test_gpus_that_torch_does_not_find(
    run: Callable[..., Said], cluster: Any, smooth: tuple[Path, Path], tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=4, num_gpus=1)
    path, reference = smooth
    options = ["--ray", cluster.address, "--gpus-per-run", "0.25"]
    said = run("sweep", path, "-o", tmp_path / "ray", *options)
    assert said.code == 0, said.err
    assert said.err.count("runs get 0.25 GPUs each, but torch finds no CUDA device there") == 1
    same(tmp_path / "ray", reference)
    said = run("sweep", path, "-o", tmp_path / "none", *options, "--device", "cuda")
    assert said.code == 2
    *_, last = said.err.splitlines()  # on a slow machine it says before that it waits
    assert last.startswith("dametric: torch finds no CUDA device at the nodes")
    assert said.err.count("dametric: ") == 1, said.err
    said = run("sweep", path, "-o", tmp_path / "ray", "--ray", cluster.address)
    assert said.code == 0
    assert "runs get none of the cluster's GPUs" in said.err
    said = run("sweep", path, "-o", tmp_path / "none", *options, "--device", "cuda:1")
    assert said.code == 2
    assert "--ray hands out the GPUs" in said.err
    assert not (tmp_path / "none").exists(), "nothing is left of what is refused"


def test_what_names_a_run_is_chosen_at_the_nodes(
    run: Callable[..., Said], cluster: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dtype of a run is that of the nodes' chips, though the driver's own would have it otherwise."""
    from dametric.models import computing, preferred_dtype

    cluster.add_node(num_cpus=1)
    usual = preferred_dtype("cpu")
    other = torch.float32 if usual == torch.bfloat16 else torch.bfloat16
    monkeypatch.setattr(computing, "preferred_dtype", lambda device: other)
    teachers = {"resnet8": {"epochs": 2, "batch_size": 16}}
    training = {"epochs": 2, "batch_size": 16}
    path = write_grid(tmp_path / "grid.yaml", pictures, teachers=teachers, training=training, seeds=0)
    said = run("sweep", path, "-o", tmp_path / "ray", "--ray", cluster.address)
    assert said.code == 0, said.err
    records = [read_record(name) for name in (tmp_path / "ray").rglob("record.json")]
    assert {record["config"]["recipe"]["dtype"] for record in records} == {str(usual).removeprefix("torch.")}
    plan = run("sweep", path, "-o", tmp_path / "ray", "--ray", cluster.address, "--dry-run")
    assert plan.out.splitlines()[-2].split()[1:5] == ["3", "3", "0", "0"], plan.out
