"""Ids last: of every row of every grid, and of every record that is committed."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dametric.augment import AUGS, ImageSpec, parse, spec
from dametric.augment.mix import Mixup
from dametric.data import ImageSet
from dametric.records.identity import NEUTRAL, frozen, run_id
from dametric.records.runs import Run
from dametric.training import Recipe, Teacher, TrainingContext, recipe
from experiments.run_ids import ids
from tests.loops import each

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted((ROOT / "experiments" / "results").rglob("record.json"))


def test_rows_of_grids_have_the_ids_they_always_had() -> None:
    with open(ROOT / "tests" / "run_ids.csv", encoding="utf-8", newline="") as file:
        held = {(row["grid"], row["run"]): row["id"] for row in csv.DictReader(file)}
    now = {(grid, run): id_ for grid, run, id_ in ids()}
    changed = {run: (held[run], now.get(run)) for run in held if now.get(run) != held[run]}
    assert not changed, "runs that somebody has would be trained again: whatever changed their id, mend that"
    new = sorted(now.keys() - held.keys())
    assert not new, "append these rows, and no others, from what python -m experiments.run_ids prints"
    by_grid: dict[str, set[str]] = {}
    for (grid, _), id_ in held.items():
        by_grid.setdefault(grid, set()).add(id_)
    for grid, found in by_grid.items():  # rows of one grid are different runs
        assert len(found) == sum(name == grid for name, _ in held), grid


@each("path", RECORDS)
def test_committed_records_have_the_ids_they_say(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["id"] == run_id(record["config"])
    assert record["kept"] == "none"
    assert record["status"] == "finished"
    assert path.parent.name.endswith(record["id"]) or path.parent.name in ("student", "teacher") or ".run" in str(path)


@pytest.fixture
def context() -> TrainingContext:
    images = ImageSet.from_tensors(torch.zeros(64, 3, 32, 32, dtype=torch.uint8), torch.arange(64) % 2, std=(1, 1, 1))
    teacher = Teacher(torch.nn.Identity(), images.mean, images.std, "resnet20", "0" * 64)
    return TrainingContext(images, images, torch.device("cpu"), teacher)


def config(context: TrainingContext, **options: Any) -> dict[str, Any]:
    return context.work("resnet8", Recipe(**options)).config


def test_what_is_as_it_always_was_does_not_enter(context: TrainingContext) -> None:
    """The neutral values are today's defaults, and stay what they are when defaults change."""
    plain = config(context)
    assert "options" not in frozen(plain)
    flat = {**plain["recipe"], **{f"objective.{name}": value for name, value in plain["recipe"]["objective"].items()}}
    del flat["objective"]
    assert {**flat, "objective.term": None} == NEUTRAL  # which records leave out
    newer = {**plain, "recipe": {**plain["recipe"], "not yet thought of": None}, "law": 1}
    assert run_id(newer) == run_id(plain)
    assert run_id({**plain, "recipe": {**plain["recipe"], "not yet thought of": 3}}) != run_id(plain)


def test_one_augmentation_is_one_however_it_is_typed(context: TrainingContext) -> None:
    for same in (
        ("cutmix", "cutmix:alpha=1", "cutmix:partner=roll,alpha=1.0", "identity+cutmix"),
        ("randaugment", "randaugment:n=2,m=9", "randaugment:m=9:n=2"),
        ("cutout", "cutout:length=8"),
        ("crop+flip", "crop:padding=4+flip:p=0.5"),
        ("cutmixpick", "cutmixpick:by=teacher_entropy", "cutmixpick:runs=2"),
        ("mixup:alpha=0.2", "mixup:alpha=.2"),
    ):
        assert len({run_id(config(context, aug=aug)) for aug in same}) == 1, same
        assert len({parse(aug).canonical for aug in same}) == 1
    assert parse("cutout:length=8", ImageSpec(64)).canonical == "cutout:length=8"
    assert parse("crop:padding=4+autoaugment:policy=cifar10", ImageSpec(64)).canonical == (
        "crop:padding=4+autoaugment:policy=cifar10"
    )
    others = ("cutmix", "cutmix:alpha=0.2", "cutmixpick", "cutmixpick:runs=3", "flip+cutmix", "cutmix+flip", "identity")
    assert len({run_id(config(context, aug=aug)) for aug in others}) == len(others)
    assert run_id(config(context, base_aug="none")) == run_id(config(context, base_aug="identity"))


def test_parameters_are_neutral_as_long_as_defaults_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operation with a new default is another one: its way of writing says so."""
    assert all(parse(name).canonical == name for name in AUGS)
    monkeypatch.setitem(AUGS, "mixup", lambda of, alpha=0.4, partner=None: Mixup(alpha))
    assert parse("mixup").canonical == "mixup:alpha=0.4"


def test_a_version_changes_what_uses_it_and_nothing_else(
    context: TrainingContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {
        "cutmix": {"aug": "cutmix"},
        "pick": {"aug": "cutmixpick"},
        "mixup": {"aug": "flip+mixup"},
        "crop": {"aug": "identity", "schedule": "onecycle"},
    }
    before = {name: run_id(config(context, **options)) for name, options in recipes.items()}

    def changed() -> set[str]:
        return {name for name, options in recipes.items() if run_id(config(context, **options)) != before[name]}

    with monkeypatch.context() as patch:
        patch.setitem(spec.VERSIONS, "mixup", 2)
        assert changed() == {"mixup"}
    with monkeypatch.context() as patch:
        patch.setitem(spec.VERSIONS, "cutmix", 2)
        assert changed() == {"cutmix", "pick"}
    for name in ("order", "initial weights", "sgd", "resnet8"):
        with monkeypatch.context() as patch:
            patch.setitem(recipe.VERSIONS, name, 2)
            assert changed() == set(recipes)
    with monkeypatch.context() as patch:
        patch.setitem(recipe.VERSIONS, "onecycle", 2)
        assert changed() == {"crop"}
    with monkeypatch.context() as patch:
        patch.setitem(recipe.VERSIONS, "kd", 2)
        assert changed() == set(recipes)
    assert changed() == set()


def test_a_run_that_is_there_under_an_older_id_is_found(context: TrainingContext, tmp_path: Path) -> None:
    work = context.work("resnet8", Recipe(aug="cutmix"), tmp_path)
    other = context.work("resnet8", Recipe(aug="cutmix", lr=0.3), tmp_path)
    older = Run(work.run.folder.with_name(work.run.folder.name[:-16] + "0" * 16))
    about = {"student": {"arch": "resnet8"}, "data": {"name": "digits"}}
    record = {"id": "0" * 16, "status": "finished", "config": {**work.config, "law": 1}, "about": about}
    older.write_record({**record, "last": {}, "best": {}})
    assert context.work("resnet8", Recipe(aug="cutmix"), tmp_path).run == older
    assert context.work("resnet8", Recipe(aug="cutmix", lr=0.3), tmp_path).run == other.run


def test_what_is_looked_at_and_kept_does_not_enter_but_what_it_ends_with_does(context: TrainingContext) -> None:
    plain = context.work("resnet8", Recipe(steps=3))
    for options in ({"eval_every": 7}, {"eval_every": "last"}, {"keep": "none"}, {"compile": True}):
        assert run_id(context.work("resnet8", Recipe(steps=3), **options).config) == run_id(plain.config)  # type: ignore[arg-type]
    shown = replace(context.train, fingerprint="others")
    other = TrainingContext(context.train, context.test, context.device, context.teacher, shown)
    assert run_id(other.work("resnet8", Recipe(steps=3)).config) != run_id(plain.config)
