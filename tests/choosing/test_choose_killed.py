"""A choice that is killed at any moment comes to the same runs and the same answer; a budget of time is kept."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dametric.choosing.arms import arms_of
from dametric.choosing.parameters import read_parameters
from dametric.choosing.runs import Key, Outcome
from dametric.choosing.settle import Clock, Settling
from dametric.choosing.state import Question
from dametric.jobs.executor import Job, Stop
from dametric.jobs.inline import InlineExecutor
from dametric.records.choices import read_choice

CALL = """
import sys, torch, dametric
from dametric.models import build
torch.manual_seed(0)
torch.set_num_threads(1)
short = {"steps": 60, "batch_size": 20, "device": "cpu", "dtype": "float32", "quiet": True, "image_size": 8}
for choice in dametric.choose(build("resnet8", 10, 8), "resnet8", "digits", ["cutmix", "mixup:alpha=0.2..1/2"],
                              output=sys.argv[1], train_images=200, fractions=(0.5, 1), budget="400steps", **short):
    pass
"""
KILLS, LATEST = 20, 12.0


def start(folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", CALL, str(folder)], stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_at_twenty_moments_it_makes_the_same_runs_each_once(tmp_path: Path) -> None:
    began = time.monotonic()
    assert start(tmp_path / "calm").wait() == 0
    took = min(time.monotonic() - began, LATEST)
    rng = random.Random(0)
    for _ in range(KILLS):
        process = start(tmp_path / "killed")
        try:
            process.wait(rng.uniform(0.2, 1) * took)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert start(tmp_path / "killed").wait() == 0
    calm, killed = (read_choice(tmp_path / name) for name in ("calm", "killed"))

    def what(choice: Any) -> list[tuple[object, ...]]:
        return [(run.aug, run.steps, run.seed, run.loss, run.top1) for run in choice.runs]

    assert what(killed) == what(calm)
    assert len({run[:3] for run in what(killed)}) == len(killed.runs)
    assert (killed.best, killed.p_best, killed.regret, killed.status) == (
        calm.best,
        calm.p_best,
        calm.regret,
        calm.status,
    )
    records = [json.loads(path.read_text()) for path in (tmp_path / "killed").rglob("record.json")]
    assert sorted(record["status"] for record in records) == ["finished"] * len(killed.runs)


@dataclass
class Timed:
    """Runs that take their steps' time of a clock that nobody waits for."""

    now: list[float]
    pace: float

    def __post_init__(self) -> None:
        self.done: list[Outcome] = []

    def outcomes(self) -> list[Outcome]:
        return list(self.done)

    def job(self, keys: Any) -> Job:
        def carry_out(advance: Any, stop: Stop) -> None:
            for key in keys:
                self.now[0] += (seconds := key.steps / self.pace * (1 + 0.1 * (key.seed % 2)))
                self.done.append(Outcome(key, 1 + 0.001 * (hash_of(key) % 7), 0.7, seconds))

        return carry_out


def hash_of(key: Key) -> int:
    return sum(map(ord, key.aug)) + key.steps + 3 * key.seed


def test_a_budget_of_time_is_kept_within_five_percent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, budget = [0.0], 1000.0
    monkeypatch.setattr("dametric.choosing.settle.time.monotonic", lambda: now[0])
    question = Question(arms_of(["cutmix", "mixup:alpha=0.2", "cutout"]), (100, 400, 2000), 1e-6, read_parameters())
    for sitting in (0.0, 0.4):  # from the beginning, and going on where another one spent some
        clock, runs = Clock(sitting * budget, budget, 50.0, now[0]), Timed(now, 50.0)
        with InlineExecutor() as executor:
            *_, choice = Settling(question, runs, executor, clock, tmp_path)
        assert choice.status == "spent"
        assert choice.costs.seconds == clock.spent <= 1.05 * budget
        assert clock.left < 2000 / 50 * 1.1, "a whole schedule would have had its time"
