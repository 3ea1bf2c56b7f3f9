"""``--deterministic``: what is asked of torch, and what records say of runs that were interrupted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric.base import terminal
from dametric.data import ImageSet
from dametric.records.runs import run_id
from dametric.training.trainer import Training
from tests.gpu_pretended.counts import image_set
from tests.gpu_pretended.deterministic import Runs
from tests.pretended_device import pretended_cuda, with_tensors

pytestmark = with_tensors


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return image_set()


@pytest.fixture(autouse=True)
def _notes_anew() -> Iterator[None]:
    terminal.note_once.cache_clear()  # type: ignore[attr-defined]
    yield
    terminal.note_once.cache_clear()  # type: ignore[attr-defined]


def settings() -> tuple[Any, ...]:
    cudnn, filling = torch.backends.cudnn, torch.utils.deterministic.fill_uninitialized_memory
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, filling


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> set[tuple[Any, ...]]:
    """The settings under which steps are taken."""
    seen: set[tuple[Any, ...]] = set()
    learn = Training.learn

    def watched(self: Training, *args: Any) -> None:
        seen.add(settings())
        learn(self, *args)

    monkeypatch.setattr(Training, "learn", watched)
    return seen


def lines(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if all(word in line for word in words)]


def test_a_deterministic_run_goes_on_to_the_same_bits(
    data: ImageSet, tmp_path: Path, steps: set[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, before = Runs(data, tmp_path), settings()
    with pretended_cuda():
        whole, parts = runs.whole(True), runs.interrupted(True, True)
        assert runs.equal()
    assert steps == {(True, True, False, False)}
    assert settings() == before
    for record in (whole, parts):
        assert record.versions is not None
        assert record.versions["deterministic"] is True
        assert record.timing is not None
        assert record.timing.same_bits is None
    assert whole.id == parts.id == run_id(runs.work("whole", False).config), "bits are no part of what a run is"
    assert not lines(capsys, "same bits")


@pytest.mark.parametrize("sessions", [(False, False), (False, True), (True, False)])
def test_a_run_that_is_not_says_in_its_record_that_it_went_on_to_other_bits(
    sessions: tuple[bool, bool], data: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(data, tmp_path)
    with pretended_cuda():
        whole, parts = runs.whole(sessions[0]), runs.interrupted(*sessions)
    assert whole.timing is not None
    assert whole.timing.same_bits is None
    assert parts.document()["timing"]["same_bits"] is False
    assert len(lines(capsys, "does not go on to the same bits", "deterministic=True")) == 1


def test_what_has_no_deterministic_form_is_said_in_a_line_and_in_the_record(
    data: ImageSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = Runs(data, tmp_path, term=True)
    with pretended_cuda(), warnings.catch_warnings():
        warnings.simplefilter("error")
        whole, parts = runs.whole(True), runs.interrupted(True, True)
    assert len(lines(capsys, "no deterministic algorithm for put_")) == 1
    assert whole.versions is not None
    assert whole.versions["deterministic"] is False
    assert parts.timing is not None
    assert parts.timing.same_bits is False


def test_on_a_cpu_nothing_changes(
    data: ImageSet, tmp_path: Path, steps: set[tuple[Any, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    runs, before = Runs(data, tmp_path, device="cpu"), settings()
    runs.whole(False)
    parts = runs.interrupted(True, False)
    assert runs.equal()
    assert steps == {before}
    assert "same_bits" not in parts.document()["timing"]
    assert not lines(capsys, "bits")
