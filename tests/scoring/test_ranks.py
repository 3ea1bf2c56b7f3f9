"""Scoring by several processes: the same numbers as one, one voice, one end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn

import dametric
from dametric import UsageError, cli
from dametric.models import build, save_checkpoint
from dametric.models.network import Network
from dametric.scoring import api, engine, measure, ranks
from dametric.scoring.ranks import Ranks
from dametric.training import LABELS, Recipe, Training
from tests.loops import each

ROOT = Path(__file__).resolve().parents[2]
AUGS = ["identity", "crop+flip", "cutmix", "cutmixpick:by=teacher_entropy"]
OPTIONS: dict[str, Any] = {"batch_size": 16, "chunk": 32, "device": "cpu", "dtype": torch.float32, "quiet": True}
HELD_OUT = ("div_aff", "affinity_acc", "affinity_loss", "t_entropy")
DIFFERS = ("seconds", "ranks", "threads", "device")  # where processes may differ from one


def numbers(document: Any, place: str = "") -> dict[str, Any]:
    """Every value of a document by its place, but those that may differ."""
    if isinstance(document, dict):
        parts = [numbers(value, f"{place}/{key}") for key, value in document.items() if key not in DIFFERS]
    elif isinstance(document, (list, tuple)):
        parts = [numbers(value, f"{place}/{at}") for at, value in enumerate(document)]
    else:
        return {place: document}
    return {key: value for part in parts for key, value in part.items()}


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Equal to 1e-12 relative, and in everything that is not a number."""
    a, b = numbers(ours), numbers(theirs)
    assert a.keys() == b.keys()
    for place, value in b.items():
        assert a[place] == (pytest.approx(value, rel=1e-12, abs=0) if isinstance(value, float) else value), place


# ranks as threads of this process: what is said reaches all, as through a process group


@dataclass(frozen=True)
class Threaded(Ranks):
    barrier: Any = None
    said: Any = None

    def _exchange(self, value: Any, trouble: str | None) -> list[Any]:
        self.said[self.rank] = (value, trouble)
        self.barrier.wait(60)
        heard = list(self.said)
        self.barrier.wait(60)
        for _, reason in heard:
            if reason is not None and trouble is None:
                raise ranks._know(UsageError(reason))
        return [value for value, _ in heard]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """Make a call on so many ranks; what each returned or raised."""
    here, one_at_a_time, copied = threading.local(), threading.Lock(), measure.inference_copy

    def copy(*arguments: Any, **settings: Any) -> nn.Module:
        with one_at_a_time:  # torch.fx patches modules of the whole process while it traces
            return copied(*arguments, **settings)

    monkeypatch.setattr(Ranks, "current", classmethod(lambda cls: getattr(here, "ranks", Ranks())))
    read = api.gathered

    def gathered(*arguments: Any) -> Any:
        with one_at_a_time:  # and networks are called while they are read
            return read(*arguments)

    monkeypatch.setattr(measure, "inference_copy", copy)
    monkeypatch.setattr(api, "gathered", gathered)

    def together(world: int, call: Callable[[int], Any]) -> list[Any]:
        barrier, said, found = threading.Barrier(world), [None] * world, [None] * world

        def work(rank: int) -> None:
            here.ranks = Threaded(rank, world, True, barrier, said)
            try:
                found[rank] = call(rank)
            except Exception as error:
                found[rank] = error

        threads = [threading.Thread(target=work, args=(rank,)) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        return found

    return together


@each(
    ("settings", "worlds"),
    [
        ({"rel_se": 0.04}, (2,)),
        ({"rel_se": 0.05, "per": "batch", "seed": 3}, (3,)),
        ({"batches": 37}, (1, 7)),
        ({"protocol": "reference", "batches": 40}, (3,)),
        ({"batches": 9, "metrics": ["affinity_loss", "t_conf", "affinity_acc"], "held_out": 60}, (2, 4)),
        ({"resolve": True, "max_batches": 60}, (2,)),
    ],
)
def test_any_number_of_ranks_finds_what_one_process_finds(
    together: Callable[..., list[Any]], teacher, student, data, settings: dict[str, Any], worlds: tuple[int, ...]
) -> None:
    def call(rank: int) -> Any:
        return dametric.score(teacher, data, AUGS, student=student, **OPTIONS, **settings)

    alone = call(0)
    for world in worlds:
        for scores in together(world, call):
            assert not isinstance(scores, Exception), scores
            assert_same(scores.to_dict(), alone.to_dict())
            assert scores.config["ranks"] == world
    if "rel_se" in settings:
        assert len({row["batches"] for row in alone.scores}) > 1, "all augmentations stop at the same checkpoint"


def test_ranks_show_held_out_images_once(together: Callable[..., list[Any]], teacher, data) -> None:
    """Two streams, the second in turns of its own: metrics of either, and of both."""

    def call(rank: int) -> Any:
        options = {**OPTIONS, "batches": 7, "held_out": 80, "metrics": list(HELD_OUT)}
        return dametric.score(teacher, data, ["flip", "cutmix"], **options)

    alone = call(0)
    for scores in together(2, call):
        assert not isinstance(scores, Exception), scores
        assert_same(scores.to_dict(), alone.to_dict())
        assert scores.config["ranks"] == 2
        # base views, two augmentations, and three further views of own base views; each held-out image three times
        assert scores.config["rows_forwarded"]["teacher"] == 16 * (4 + 7 * 2 * 4) + 80 * 3


def test_blocks_are_merged_as_in_one_process_and_memory_stays_bounded(
    together: Callable[..., list[Any]], teacher, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_BLOCKS", 8)
    monkeypatch.setattr(engine, "_MOST_APART", 5)
    most = []
    unite = engine.Engine._unite

    def watched(self: engine.Engine) -> None:
        most.append(len(self._apart))
        unite(self)

    monkeypatch.setattr(engine.Engine, "_unite", watched)

    for metrics in (["t_stddev"], ["t_conf"]):

        def call(rank: int, metrics: list[str] = metrics) -> Any:
            return dametric.score(teacher, data, ["flip", "mixup"], batches=101, **{**OPTIONS, "metrics": metrics})

        alone = call(0)
        assert alone.scores[0]["metrics"][metrics[0]]["blocks"] <= 16
        if metrics == ["t_conf"]:  # whose guard is of the first batches, which stay apart
            assert alone.scores[0]["metrics"]["information_kept"]["blocks"] == 4
        for scores in together(2, call):
            assert not isinstance(scores, Exception), scores
            assert_same(scores.to_dict(), alone.to_dict())
    assert max(most) <= 3


@each(
    ("calls", "error", "says"),
    [
        (1, UsageError("no such thing"), "no such thing"),
        (9, RuntimeError("broken"), "rank 1: RuntimeError: broken"),
        (9, None, "the teacher gave NaN or Inf on batch"),
    ],
)
def test_an_error_on_one_rank_is_an_error_on_all(
    together: Callable[..., list[Any]],
    teacher,
    data,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    error: Exception | None,
    says: str,
) -> None:
    done, ask = [], Network.__call__

    def failing(self: Network, images: torch.Tensor) -> torch.Tensor:
        if Ranks.current().rank == 1:
            done.append(1)
            if len(done) == calls:
                if error is not None:
                    raise error
                return ask(self, images) * torch.nan
        return ask(self, images)

    monkeypatch.setattr(Network, "__call__", failing)

    def call(rank: int) -> Any:
        with Ranks.current().unison():  # as the command line has it around it
            return dametric.score(teacher, data, AUGS, batches=30, **OPTIONS)

    zero, one, two = together(3, call)
    assert isinstance(zero, UsageError)
    assert says in str(zero)
    assert str(two) == str(zero)
    assert one is error or isinstance(one, UsageError)


def test_an_exchange_hands_on_values_or_the_reason_of_the_rank_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def exchanged(rank: int, *spoken: tuple[Any, str | None]) -> list[Any]:
        def gather(answers: list[Any], own: tuple[Any, str | None]) -> None:
            assert own == spoken[rank]
            answers[:] = spoken

        monkeypatch.setattr(dist, "all_gather_object", gather)
        return Ranks(rank, len(spoken), True)._exchange(*spoken[rank])

    assert exchanged(1, (3, None), (4, None)) == [3, 4]
    with pytest.raises(UsageError, match=r"^rank 1: out of memory$"):
        exchanged(0, (3, None), (None, "rank 1: out of memory"))
    exchanged(1, (3, None), (None, "rank 1: out of memory"))  # its own error goes on as it is


@each(
    ("settings", "says"),
    [
        ({"seed": 1}, "; the protocol: Protocol("),
        ({"augs": ["flip"]}, "; the list of augmentations: ["),
        ({"batches": 31}, "; batches: 30 on rank 0, 31 on rank 1"),
        ({"chunk": 64}, "; chunk: 32 on rank 0, 64 on rank 1"),
        ({"other": True}, "; the weights: ["),
    ],
)
def test_ranks_that_are_asked_differently_are_refused(
    together: Callable[..., list[Any]], teacher, student, data, settings: dict[str, Any], says: str
) -> None:
    def call(rank: int) -> Any:
        asked = {**OPTIONS, "augs": AUGS, "batches": 30, **(settings if rank == 1 else {})}
        network = student if asked.pop("other", False) else teacher
        return dametric.score(network, data, **asked)

    for error in together(2, call):
        assert isinstance(error, UsageError)
        assert "all ranks must score the same" in str(error)
        assert says in str(error)


def test_the_first_of_a_host_fills_the_cache_even_where_it_fails(
    together: Callable[..., list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[int, bool]] = []
    monkeypatch.setattr(ranks, "_local_rank", lambda: Ranks.current().rank)

    def call(rank: int) -> Any:
        def work(fails: bool) -> int:
            order.append((rank, fails))
            if fails:
                raise ValueError
            return rank

        assert Ranks.current().in_turn(lambda: work(False)) == rank
        try:
            return Ranks.current().in_turn(lambda: work(rank == 0))
        except ValueError:
            return "failed"

    assert together(3, call) == ["failed", 1, 2]
    assert order[0] == (0, False)
    assert len(order) == 6


# under torchrun, in environment variables


@pytest.fixture
def torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)


def test_every_process_of_a_host_has_a_device_of_its_own(torchrun: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert ranks.own_device(torch.device("cuda")) == torch.device("cuda:1")
    assert ranks.own_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UsageError, match="device='cuda:0' is one device for 2 processes: device='cuda' gives each"):
        ranks.own_device(torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UsageError, match="there are 1 CUDA devices here for 2 processes: torchrun --nproc-per-node 1"):
        ranks.own_device(torch.device("cuda"))
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert ranks.own_device(torch.device("cuda")) == torch.device("cuda")


def test_cores_are_shared_out_unless_the_user_has_said_how_many_threads(
    torchrun: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(12)), raising=False)
    monkeypatch.setattr(ranks, "_threads_were_chosen", lambda: False)
    ranks._share_cores()
    assert chosen == [6]
    monkeypatch.setattr(ranks, "_threads_were_chosen", lambda: True)
    ranks._share_cores()
    assert chosen == [6]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("given", [None, "1", "3"])
def test_what_torchrun_sets_is_told_from_what_the_user_sets(given: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"PATH": os.environ["PATH"], **({"OMP_NUM_THREADS": given} if given else {})}
    with subprocess.Popen(
        ["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, env=environment
    ) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        launcher.stdin.write(b"ready\n")
        assert launcher.stdout.readline() == b"ready\n"  # only now has it surely begun
        monkeypatch.setattr(os, "getppid", lambda: launcher.pid)
        monkeypatch.setenv("OMP_NUM_THREADS", given or "1")
        assert ranks._threads_were_chosen() == (given is not None)
        monkeypatch.delenv("OMP_NUM_THREADS")
        assert not ranks._threads_were_chosen()
        launcher.stdin.close()


# real processes


@contextmanager
def one_thread() -> Iterator[None]:
    """As many threads as the ranks have."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def launched(world: int, *command: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command under torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    return subprocess.run(
        [*launcher, *map(str, command)],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A resnet8 that knows the digits a little."""
    digits = dametric.load_data("digits", "train", image_size=16, quiet=True)
    torch.manual_seed(0)
    model = build("resnet8", 10, 16)
    recipe = Recipe(epochs=1, batch_size=16, lr=0.1, schedule="onecycle", base_aug="identity", objective=LABELS)
    Training(model, digits, recipe, torch.device("cpu")).run_epoch()
    about = {"classes": digits.classes, "mean": digits.mean, "std": digits.std, "data": digits.name}
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    return save_checkpoint(path, model, arch="resnet8", image_size=16, **about)


@pytest.fixture(scope="module")
def command(checkpoint: Path) -> list[object]:
    stop = ["--batch-size", 16, "--rel-se", 0.05, "--max-batches", 60]
    return ["score", "-a", "flip", "-a", "cutmix", "-t", checkpoint, "--dtype", "float32", *stop, "--json"]


@pytest.fixture
def alone(command: list[object], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What one process says."""
    with one_thread():
        assert cli._run([str(word) for word in command]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("world", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
def test_torchrun_prints_and_writes_once_what_one_process_does(
    world: int, command: list[object], alone: dict[str, Any], tmp_path: Path
) -> None:
    done = launched(world, "-m", "dametric", *command, "-o", "scores.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert_same(document, alone)
    assert document["config"]["ranks"] == world
    assert document["config"]["rel_se_reached"]
    assert json.loads((tmp_path / "scores.json").read_text()) == document
    assert os.listdir(tmp_path) == ["scores.json"]
    for line in ("teacher: resnet8", "top-1", "scoring ..."):
        assert done.stderr.count(line) == 1, line


GROUP = """
import sys, torch, dametric
from dametric.models import load_checkpoint
torch.distributed.init_process_group("gloo")
teacher = load_checkpoint(sys.argv[1]).model
digits = dametric.load_data("digits", "train", quiet=True)
options = {"device": "cpu", "dtype": torch.float32, "quiet": True}
scores = dametric.score(teacher, digits, ["flip", "cutmix"], protocol="reference", batches=40, **options)
scores.write(f"{scores.config['ranks']}-{torch.distributed.get_rank()}.json")
try:
    dametric.score(teacher, digits, ["flip"], batches=20 + torch.distributed.get_rank(), **options)
except dametric.UsageError as error:
    print(error, flush=True)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_a_process_group_of_the_callers_own_will_do(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(GROUP)
    done = launched(2, "own.py", checkpoint, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    teacher = dametric.load_checkpoint(checkpoint).model
    options: dict[str, Any] = {"device": "cpu", "dtype": torch.float32, "quiet": True}
    digits = dametric.load_data("digits", "train", quiet=True)
    with one_thread():
        own = dametric.score(teacher, digits, ["flip", "cutmix"], protocol="reference", batches=40, **options)
    for rank in (0, 1):
        assert_same(json.loads((tmp_path / f"2-{rank}.json").read_text()), json.loads(own.to_json()))
    assert done.stdout.count("batches: 20 on rank 0, 21 on rank 1") == 2


def test_one_rank_of_a_host_speaks(torchrun: None, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert cli._run(["ls", "agus"]) == 2
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert cli._run(["ls", "agus"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_bad_input_under_torchrun_is_one_line_and_ends_all_with_2(command: list[object], tmp_path: Path) -> None:
    """Found while the networks are asked, on all ranks; torchrun adds its own report and ends with 1."""
    broken = [*command, "--dtype", "float16", "--std", "1e-6,1e-6,1e-6", "--no-accuracy", "-o", "scores.json"]
    done = launched(2, "-m", "dametric", *broken, folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if line.startswith("dametric: ")]
    assert len(said) == 1
    assert "NaN or Inf" in said[0]
    codes = set(re.findall(r"exitcode *: (-?\d+)", done.stderr))
    assert codes in ({"2"}, {"2", "-15"}), "torchrun ends those that have not ended themselves when it looks"
    assert str(Path(dametric.__file__).parent) not in done.stderr, "a traceback of ours"
    assert os.listdir(tmp_path) == []
