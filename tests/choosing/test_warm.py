"""The warm student: its mixture, its schedule, the ledger's cache of it, killed and gone on with."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dametric.augment import Augmentation, ImageSpec, Keys, parse
from dametric.augment.branches import Mixture
from dametric.choosing import warm
from dametric.choosing.warm import WarmStudent, warm_recipe, warm_student
from dametric.errors import Interrupted, UsageError
from dametric.records.runs import find_runs
from dametric.training import Recipe, Training, TrainingContext, learning_rate
from dametric.training.context import weights_digest
from tests.choosing.conftest import CPU, tiny

SPECS = ("cutmix", "identity", "cutmixpick:by=kld", "cutout:length=4")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "LEAST", 24)


def augmentations(context: TrainingContext, *specs: str) -> list[Augmentation]:
    assert context.teacher is not None
    return [parse(spec, ImageSpec(8, context.teacher.mean)) for spec in specs]


def made(context: TrainingContext, recipe: Recipe, root: Path, *specs: str, stop_at: int | None = None) -> WarmStudent:
    steps = iter(range(10_000))
    stop = (lambda: next(steps) >= stop_at) if stop_at is not None else None
    augs = augmentations(context, *(specs or SPECS))
    return warm_student(tiny(3), context, recipe, augs, root=root, quiet=True, stop=stop)


def test_the_schedule_is_a_whole_one_cycle_of_five_percent_and_300_steps_at_least() -> None:
    mixture = Mixture.of([parse("cutmix"), parse("flip")])
    for epochs, images, steps in ((240, 50_000, 9_372), (40, 1_442, 300), (1, 64 * 8_001, 401)):
        recipe = warm_recipe(Recipe(epochs=epochs, lr=0.1), images, mixture)
        assert recipe.steps == steps
        rates = [learning_rate(recipe, step, images // 64) for step in range(steps)]
        assert max(rates) == pytest.approx(0.1, rel=1e-3)
        assert rates[0] == pytest.approx(0.1 / 25)
        assert rates[-1] < 1e-6
        assert recipe.aug == "per_batch(cutmix,flip)"


def test_every_batch_draws_one_candidate_uniformly_and_sees_what_it_would_see_alone() -> None:
    candidates = [parse(spec) for spec in ("identity", "flip", "cutmixpick", "mixup:alpha=0.2")]
    mixture = Mixture.of([*candidates, parse("mixup:alpha=0.2")])
    assert Mixture.of(candidates[::-1]) == mixture
    drawn = [mixture.of_batch(Keys(0, 1, 64, first=step)).name for step in range(4_000)]
    for candidate in candidates:
        assert abs(drawn.count(candidate.name) - 1_000) < 4 * (4_000 * 3 / 16) ** 0.5
    assert mixture.of_batch(Keys(0, 1, 64, first=7)) == mixture.of_batch(Keys(0, 1, 3, first=7, per="batch"))
    other = [mixture.of_batch(Keys(1, 1, 64, first=step)).name for step in range(100)]
    assert other != drawn[:100]


def test_a_step_on_a_mixture_is_the_step_on_what_was_drawn(context: TrainingContext, recipe: Recipe) -> None:
    """To the bit, picks by the student among them: one network learns from the mixture, one is told what was drawn."""
    candidates = augmentations(context, *SPECS)
    mixture = Mixture.of(candidates)

    def training(aug: Augmentation) -> Training:
        teacher = context.network("float64", 64)
        return Training(tiny(3), context.train, recipe, CPU, teacher=teacher, aug=aug)

    from dametric.training.trainer import advance_together

    one, other = training(mixture), training(candidates[0])
    seen = set()
    for step in range(1, 13):
        other.aug = mixture.of_batch(Keys(0, 1, 64, first=step - 1))
        seen.add(other.aug.name)
        for member in (one, other):
            advance_together([member], step)
    assert len(seen) > 2
    for name, weight in one.model.state_dict().items():
        assert torch.equal(weight, other.model.state_dict()[name]), name


@pytest.mark.usefixtures("short")
def test_it_is_made_once_and_its_candidates_and_cost_are_recorded(
    context: TrainingContext, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(context, recipe, tmp_path)
    (run,) = find_runs(tmp_path)
    record = run.record
    assert record is not None
    assert record["config"]["recipe"]["aug"] == f"per_batch({','.join(sorted(SPECS))})"
    assert (record["config"]["recipe"]["steps"], record["config"]["recipe"]["schedule"]) == (24, "onecycle")
    assert first.steps == 24
    assert first.candidates == tuple(sorted(SPECS))
    assert first.file == run.checkpoint
    assert record["config"]["data"]["test"] == context.test.fingerprint, "judged on held-out images alone"
    monkeypatch.setattr(Training, "learn", lambda *_: pytest.fail("trained again"))
    again = made(context, recipe, tmp_path, *SPECS[::-1])
    assert again.identity == first.identity == weights_digest(first.model)
    with pytest.raises(pytest.fail.Exception):
        made(context, recipe, tmp_path, *SPECS[:2])  # other candidates are another student


@pytest.mark.usefixtures("short")
def test_stopped_or_killed_it_goes_on_to_the_same_weights(
    context: TrainingContext, recipe: Recipe, tmp_path: Path
) -> None:
    whole = made(context, recipe, tmp_path / "whole")
    for stop_at in (0, 6, 9):
        with pytest.raises(Interrupted):
            made(context, recipe, tmp_path / "stopped", stop_at=stop_at)
    assert made(context, recipe, tmp_path / "stopped").identity == whole.identity
    # killed: what was being written lies beside, and the record says that it was running
    with pytest.raises(Interrupted):
        made(context, recipe, tmp_path / "killed", stop_at=5)
    (run,) = find_runs(tmp_path / "killed")
    half = run.folder / ".last.pt.half"
    half.write_bytes(run.checkpoint.read_bytes()[:100])
    text = (run.folder / "record.json").read_text(encoding="utf-8")
    (run.folder / "record.json").write_text(text.replace('"interrupted"', '"running"'), encoding="utf-8")
    assert made(context, recipe, tmp_path / "killed").identity == whole.identity
    assert not half.exists()
    # finished, and then its weights were lost
    os.unlink(run.checkpoint)
    assert made(context, recipe, tmp_path / "killed").identity == whole.identity


def test_what_cannot_be(context: TrainingContext, recipe: Recipe, tmp_path: Path) -> None:
    test = TrainingContext(context.train, replace(context.test, split="test"), CPU, context.teacher)
    with pytest.raises(UsageError, match="held_out"):
        made(test, recipe, tmp_path)
    with pytest.raises(UsageError, match="needs a teacher"):
        warm_student(tiny(3), TrainingContext(context.train, context.test, CPU), recipe, [parse("flip")], root=tmp_path)
    with pytest.raises(UsageError, match="one candidate"):
        warm_student(tiny(3), context, recipe, [], root=tmp_path)
