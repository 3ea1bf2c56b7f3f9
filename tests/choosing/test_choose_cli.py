"""`dametric choose` as a user calls it, on digits with a handful of steps."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dametric import choose, cli
from dametric.base.arguments import speaking
from dametric.choosing.runs import Key, OwnTrainer
from dametric.data import load_data
from dametric.data.request import ImageRequest
from dametric.errors import UsageError
from dametric.models import build, save_checkpoint
from dametric.records.choices import Choice, read_choice
from tests.loops import each

ROOT = Path(__file__).parents[2]
TINY = "--image-size 8 --train-images 200 --steps 60 --batch-size 32 --device cpu --dtype float32 --fractions 0.5,1"
RUNNER = """
import zlib

def train(augment, steps, seed):
    with open({log!r}, "a") as log:
        print(augment.name, steps, seed, file=log)
    return {{"loss": 1 + zlib.crc32(f"{{augment.name}} {{seed}}".encode()) % 100 / 1000 + 1 / steps, "top1": 0.5}}

def text(augment, steps, seed):
    return "low"

def nothing(augment, steps, seed):
    return float("nan") if augment.name == "cutmix" else 1.0
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that knows nothing, of images of 8 x 8."""
    torch.manual_seed(0)
    data = load_data("digits", "train", quiet=True)
    about: dict[str, Any] = {"classes": data.classes, "mean": data.mean, "std": data.std, "data": data.name}
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    return save_checkpoint(path, build("resnet8", 10, 8), arch="resnet8", image_size=8, **about)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with speaking("command line"):
            code = cli._run([str(argument) for argument in arguments])
        return (code, *capsys.readouterr())

    return run


def usual(teacher: Path, folder: Path, *others: object, budget: str = "150steps", **replaced: str) -> list[str]:
    """The command; options given again take the place of the usual ones."""
    given = {"--teacher": str(teacher), "--student": "resnet8", "--data": "digits", "--output": str(folder)}
    given |= {"--candidates": "cutmix", "--budget": budget}
    parts = TINY.split()
    given |= dict(zip(parts[::2], parts[1::2], strict=True))
    given |= {"--" + name.replace("_", "-"): value for name, value in replaced.items()}
    if "runner" in replaced and "batch_size" not in replaced:
        del given["--batch-size"]  # of a recipe, which a trainer of one's own has itself
    return ["choose", *(word for pair in given.items() for word in pair), *map(str, others)]


def losses(choice: Choice) -> dict[tuple[str, int, int], float]:
    return {(run.aug, run.steps, run.seed): run.loss for run in choice.runs}


def test_the_answer(run: Run, teacher: Path, tmp_path: Path) -> None:
    code, out, err = run(*usual(teacher, tmp_path / "c"))
    assert code == 0, err
    choice = read_choice(tmp_path / "c")
    assert choice.status == "spent"
    assert 0 < sum(part.steps for part in choice.runs) <= 150
    assert {part.steps for part in choice.runs} <= {30, 60}
    assert "expected regret" in out.replace("\n", " ")
    assert "cutmix" in out
    assert "t_stddev has no weight" in out.replace("\n", " ")
    assert choice.config["images"]["held_out"] == 20
    (warning,) = [line for line in err.splitlines() if "WARNING: students" in line]
    for words in ("compared on 20 held-out images alone", "about 22 % of the losses' spread", "; give --held-out 100"):
        assert words in warning
    (spent,) = [sentence for sentence in choice.sentences if sentence.startswith("Time: ")]
    whole, *parts = [int(seconds) for seconds in re.findall(r"(\d+) s\b", spent)]
    assert "starting, reading and deciding" in spent
    assert abs(whole - sum(parts)) <= (1 + len(parts)) / 2, "each is rounded"

    for more in ([], ["--json"]):
        code, said, _ = run("choose", "--status", tmp_path / "c", *more)
        assert code == 0
        if more:
            document = json.loads(said, parse_constant=lambda token: pytest.fail(token))
            assert document["best"] == choice.best
            assert document["dametric_choice"] == 1
        else:
            assert said == out

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "runs").rglob("*.json")}
    again = ["cutmix:alpha=1", "rotate:degrees=0", "cutmix+blur:sigma=0"]
    code, _, err = run(*usual(teacher, tmp_path / "c", *(word for aug in again for word in ("--candidates", aug))))
    assert code == 0, err
    for line in ("cutmix:alpha=1 is cutmix", "rotate:degrees=0 is identity", "cutmix+blur:sigma=0 is cutmix"):
        assert err.splitlines().count(f"{line}: one candidate") == 1
    assert [arm.aug for arm in read_choice(tmp_path / "c").arms] == ["identity", "cutmix"]
    assert losses(read_choice(tmp_path / "c")) == losses(choice)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "c" / "runs").rglob("*.json")} == before
    code, _, err = run(*usual(teacher, tmp_path / "c", budget="270steps"))
    assert code == 0, err
    more_runs = losses(read_choice(tmp_path / "c"))
    assert len(more_runs) > len(choice.runs)
    assert losses(choice).items() <= more_runs.items()

    code, out, err = run(*usual(teacher, tmp_path / "c", steps="80"))
    assert (code, out) == (2, "")
    assert "holds another choice" in err
    code, out, err = run(*usual(teacher, tmp_path / "c", metric="h_t"))
    assert "Traceback" not in err


@each(
    ("change", "named"),
    [
        ({"candidates": "cutmux"}, "cutmix"),
        ({"candidates": "identity"}, "identity is always a candidate"),
        ({"epsilon": "0"}, "epsilon"),
        ({"epsilon": "-1"}, "epsilon"),
        ({"epsilon": "nan"}, "epsilon"),
        ({"budget": "soon"}, "soon"),
        ({"budget": "0steps"}, "budget"),
        ({"fractions": "2"}, "fractions"),
        ({"fractions": "0,1"}, "fractions"),
        ({"fractions": "half,1"}, "fractions"),
        ({"metric": "t_stdev"}, "t_stddev"),
        ({"student": "resnet9000"}, "resnet9000"),
        ({"data": "absent/"}, "absent"),
        ({"parameters": "absent.json"}, "absent.json"),
        ({"runner": "./absent.py:train"}, "absent.py"),
        ({"held_out": "0"}, "held-out"),
        ({"status": "absent"}, "--status prints the answer in a folder, so"),
        ({"replay": "absent"}, "--replay reads finished runs alone, so"),
        ({"runner": "./train.py:train", "lr": "0.3"}, "so --lr has no meaning"),
        ({"runner": "./train.py:train", "batch_size": "32"}, "so --batch-size has no meaning"),
        ({"runner": "./train.py:train", "lockstep": "2"}, "so --lockstep has no meaning"),
        ({"runner": "./train.py:train", "temperature": "2"}, "so --temperature has no meaning"),
        ({"ray": "local", "jobs": "2"}, "so --jobs has no meaning"),
        ({"cpus_per_run": "2"}, "--cpus-per-run has a meaning with --ray alone"),
        ({"gpus_per_run": "1"}, "--gpus-per-run has a meaning with --ray alone"),
    ],
)
def test_what_cannot_be_is_one_line(
    run: Run, teacher: Path, tmp_path: Path, change: dict[str, str], named: str
) -> None:
    code, out, err = run(*usual(teacher, tmp_path / "refused", **change))
    assert (code, out) == (2, ""), (code, err)
    assert err.count("dametric: ") == 1
    assert named in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not list((tmp_path / "refused").rglob("record.json"))


def test_a_file_of_parameters_is_what_is_assumed(run: Run, teacher: Path, tmp_path: Path) -> None:
    """Also where its slope is of another score; what is wrong in it is one line, which names it."""
    file = tmp_path / "own.json"
    good: dict[str, Any] = {"spread": {"0.05": 1}, "noise": {"0.01": 1, "0.03": 3}, "half": {"0.2": 1}}
    good |= {"growth": {"0.0": 1}, "metric": "h_t", "slope": 0.5, "steps": [10, 1000], "source": "our own runs"}
    file.write_text(json.dumps(good), encoding="utf-8")
    code, out, err = run(*usual(teacher, tmp_path / "c", budget="90steps", parameters=str(file)))
    assert code == 0, err
    assumed = read_choice(tmp_path / "c").parameters
    assert {key: assumed[key] for key in ("spread", "noise", "source")}.items() <= good.items()
    assert "t_stddev has no weight: these parameters know what h_t is worth." in " ".join(out.split())
    for wrong, named in (
        ({"spred": {"1": 1}}, "unknown key 'spred': did you mean spread"),
        ({"noise": None}, 'noise is a table of values and probabilities, as {"0.01": 1}, and is missing'),
        ({"half": {"often": 1}}, "half is a table of numbers and probabilities, not {'often': 1}"),
        ({"fractions": "all"}, "fractions are the smallest and the largest, above 0, not 'all'"),
    ):
        file.write_text(json.dumps({**good, **wrong}), encoding="utf-8")
        code, out, err = run(*usual(teacher, tmp_path / "refused", parameters=str(file)))
        assert (code, out) == (2, ""), wrong
        assert err.startswith(f"dametric: {file}: not parameters of a choice (")
        assert named in err
        assert err.count("\n") == 1
    assert not (tmp_path / "refused").exists()


def test_the_test_split_is_never_read(run: Run, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images in a file that has none, and a reader that refuses to look for it."""
    digits = load_data("digits", "train", quiet=True)
    path = tmp_path / "train.npz"
    images = digits.images[:300].permute(0, 2, 3, 1).numpy()
    np.savez(path, x_train=images, y_train=np.asarray(digits.labels)[:300])
    asked: list[str] = []
    find = ImageRequest.find

    def watched(self: ImageRequest, split: str, *others: Any, **named: Any) -> Any:
        asked.append(split)
        return find(self, split, *others, **named)

    monkeypatch.setattr(ImageRequest, "find", watched)
    code, _, err = run(*usual(teacher, tmp_path / "c", budget="60steps"))
    assert code == 0, err
    assert set(asked) == {"train"}
    code, _, err = run(*usual(teacher, tmp_path / "n", budget="60steps", data=str(path)))
    assert code == 0, err
    assert set(asked) == {"train"}


def states(teacher: Path, folder: Path, **changes: Any) -> Iterator[Choice]:
    settings: dict[str, Any] = {"steps": 60, "batch_size": 32, "device": "cpu", "dtype": "float32", "quiet": True}
    settings |= {"image_size": 8, "train_images": 200, "fractions": (0.5, 1), "budget": "150steps", "output": folder}
    return choose(str(teacher), "resnet8", "digits", ["cutmix"], **{**settings, **changes})


def test_the_command_and_python_say_the_same(run: Run, teacher: Path, tmp_path: Path) -> None:
    code, _, err = run(*usual(teacher, tmp_path / "command", budget="90steps"))
    assert code == 0, err
    every = list(states(teacher, tmp_path / "python", budget="90steps"))
    assert losses(every[-1]) == losses(read_choice(tmp_path / "command"))
    assert [state.status for state in every[:-1]] == ["running"] * (len(every) - 1)
    assert [len(state.runs) for state in every] == sorted(len(state.runs) for state in every)


def test_a_trainer_of_ones_own(run: Run, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log = tmp_path / "log.txt"
    (tmp_path / "train.py").write_text(RUNNER.format(log=str(log)), encoding="utf-8")
    command = usual(teacher, tmp_path / "c", runner="./train.py:train", budget="300steps")
    command.remove("--student")
    command.remove("resnet8")
    code, _, err = run(*command)
    assert code == 0, err
    choice = read_choice(tmp_path / "c")
    calls = [line.split() for line in log.read_text().splitlines()]
    assert sorted((aug, int(steps), int(seed)) for aug, steps, seed in calls) == sorted(losses(choice))
    assert choice.status in ("spent", "sure")
    code, _, err = run(*command)
    assert code == 0, err
    assert len(log.read_text().splitlines()) == len(calls)

    for name in ("text", "missing"):
        code, _, err = run(*usual(teacher, tmp_path / name, runner=f"./train.py:{name}"))
        assert code == 2, err
        assert "Traceback" not in err
    code, out, err = run(*usual(teacher, tmp_path / "nothing", runner="./train.py:nothing", budget="300steps"))
    assert code == 0, err
    assert "cutmix (its loss is nan)" in out.replace("\n", " ")


@pytest.mark.slow
def test_killing_it_changes_nothing(run: Run, teacher: Path, tmp_path: Path) -> None:
    """kill -9 as soon as a run is finished, then the same command: the same runs, each once."""
    command = usual(teacher, tmp_path / "killed", budget="210steps")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    program = (
        "from tests.cli.small import use_small_networks; use_small_networks(); from dametric.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *command],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:  # a line says what is known after a run
        seen += line
        if "1 runs" in line or "2 runs" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL, seen
    code, _, err = run(*command)
    assert code == 0, err
    code, _, err = run(*usual(teacher, tmp_path / "whole", budget="210steps"))
    assert code == 0, err
    assert losses(read_choice(tmp_path / "killed")) == losses(read_choice(tmp_path / "whole"))
    assert len(read_choice(tmp_path / "killed").runs) == len(losses(read_choice(tmp_path / "killed")))


@each(
    ("answer", "named"),
    [
        ({"loss": 1.0, "top1": 57.3}, "top1 of 57.3: an accuracy is a share from 0 to 1"),
        ({"loss": 1.0, "top1": -0.1}, "top1 of -0.1"),
        ({"loss": "low"}, "returns the held-out loss"),
    ],
)
def test_what_a_trainer_of_ones_own_must_not_return(tmp_path: Path, answer: dict[str, Any], named: str) -> None:
    trainer = OwnTrainer(lambda augment, steps, seed: answer, str(tmp_path))
    with pytest.raises(UsageError, match=named):
        trainer.job([Key("cutmix", 10, 0)])(lambda steps=1, note="": None, lambda: False)
    assert not list(tmp_path.iterdir())


@each("loss", [2e6, -2e6, math.inf, -math.inf, math.nan])
def test_a_loss_that_is_none_is_a_failed_run(tmp_path: Path, loss: float) -> None:
    trainer = OwnTrainer(lambda augment, steps, seed: loss, str(tmp_path))
    trainer.job([Key("cutmix", 10, 0)])(lambda steps=1, note="": None, lambda: False)
    (outcome,) = trainer.outcomes()
    assert outcome.failed == f"its loss is {loss:g}"
    assert not outcome.finished
