"""Augmentations added to a score file: what one run with all of them gives."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import dametric
from dametric import ImageSet, UsageError
from dametric.metrics import METRICS
from dametric.records.scores import Scores
from dametric.scoring import engine, paired
from tests.loops import each

QUICK: dict[str, Any] = {"batch_size": 16, "chunk": 32, "device": "cpu", "dtype": "float32", "quiet": True}
OLD, NEW = ["identity", "crop+flip", "cutmixpick:by=teacher_entropy"], ["cutmix", "cutout"]


def rows(scores: Scores) -> dict[str, Any]:
    return json.loads(scores.to_json())["scores"]


@each(
    "settings",
    [
        {"rel_se": 0.04, "student": True},
        {"rel_se": 0.06, "per": "batch", "seed": 3, "metrics": ["t_entropy", "t_stddev"]},
        {"batches": 37, "temperature": 2.0, "base_aug": "flip", "metrics": ["t_conf"]},
        {"protocol": "reference", "batches": 40},
        {"batches": 12, "metrics": ["affinity_loss", "t_nll"], "held_out": 100},
    ],
)
def test_a_file_with_more_augmentations_is_what_one_run_with_all_writes(
    teacher, student, data, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """To the bit: values, errors, paired differences between old and new rows, and their order."""
    more = {**settings, **({"student": student} if settings.get("student") else {})}
    whole = dametric.score(teacher, data, OLD + NEW, **QUICK, **more)
    file = dametric.score(teacher, data, OLD, **QUICK, **more).write(tmp_path / "scores.json")
    again = {"device": "cpu", "quiet": True, "student": more.get("student")}
    both = dametric.score(teacher, data, [*NEW, OLD[0]], add=file, **again)
    assert rows(both) == rows(whole)
    ours, theirs = (json.loads(scores.to_json())["config"] for scores in (both, whole))
    differs = {"seconds", "rows_forwarded"}  # base views are forwarded a second time
    assert {name for name in theirs if ours[name] != theirs[name]} <= differs
    assert ours.keys() == theirs.keys()
    first = Scores.read(both.write(tmp_path / "both.json"))
    assert rows(dametric.score(teacher, data, ["mixup"], add=first, **again))


def test_old_augmentations_are_not_shown_again(teacher, data) -> None:
    settings = {**QUICK, "batches": 10, "metrics": ["t_conf"]}
    first = dametric.score(teacher, data, ["flip", "cutout"], **settings)
    both = dametric.score(teacher, data, ["flip", "cutmix"], add=first, quiet=True, device="cpu")
    batch, guard = 16, 4
    spent = both.config["rows_forwarded"]["teacher"] - first.config["rows_forwarded"]["teacher"]
    assert spent == batch * (10 + guard)
    assert dametric.score(teacher, data, ["flip"], add=both, quiet=True, device="cpu").scores == both.scores


def test_a_row_whose_pass_was_shorter_than_the_blocks_of_a_long_one_keeps_its_error(
    teacher, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours are added up in long passes; what is no longer shown would have one block left, and no error."""
    monkeypatch.setattr(engine, "MAX_BLOCKS", 20)
    settings = {**QUICK, "rel_se": 0.025, "metrics": ["t_stddev"]}
    whole = dametric.score(teacher, data, ["flip", "cutmix"], **settings)
    longest = max(whole.scores, key=lambda row: row["batches"])["aug"]
    kept = next(aug for aug in ("flip", "cutmix") if aug != longest)
    largest = {row.aug: int(paired.Paired.read(row, "t_stddev").units.max()) for row in whole.rows}
    assert largest[longest] > largest[kept] == 1
    both = dametric.score(teacher, data, longest, add=dametric.score(teacher, data, kept, **settings), quiet=True)
    assert rows(both) == rows(whole)
    gap = whole[kept]["differences"][longest]
    assert gap["value"] == pytest.approx(
        whole[kept]["metrics"]["t_stddev"]["value"] - whole[longest]["metrics"]["t_stddev"]["value"]
    )
    assert 0 < gap["se"] < 2 * whole[kept]["metrics"]["t_stddev"]["se"]


def test_what_contradicts_the_file_is_refused_in_one_line(teacher, student, data, images: Tensor) -> None:
    made = dametric.score(teacher, data, ["flip"], **QUICK, batches=6, seed=2, metrics=["t_conf"])

    def refused(message: str, *, of: Any = teacher, shown: Any = data, file: Scores = made, **more: Any) -> None:
        with pytest.raises(UsageError, match=message) as error:
            dametric.score(of, shown, ["cutmix"], add=file, quiet=True, **{"device": "cpu", **more})
        assert "\n" not in str(error.value)

    anew = "or score all augmentations anew"
    refused(f"was made with seed=2: leave seed=3 out, {anew}", seed=3)
    refused("was made with batches=6: leave batches=7 out", batches=7)
    refused("was made without it: leave rel_se=0.1 out", rel_se=0.1)
    refused("with dtype='float32': leave dtype='float64' out", dtype="float64")
    refused("has no t_gini: leave metrics out", metrics=["t_conf", "t_gini"])
    refused("the weights are not those", of=student)
    refused(
        "the images are not those",
        shown=ImageSet.from_tensors(images.flip(-1), data.labels, mean=data.mean, std=data.std),
    )
    refused("the base_aug are not those|was made without it: leave base_aug='none' out", base_aug="none")
    old = [replace(row, influence=None) for row in made.rows]
    refused("before scores could be added to", file=Scores.of(old, made.settings, made.versions))
    changed = replace(made.rows[0], aug="cutmix")
    refused("cutmix is not what it was", file=Scores.of([changed], made.settings, made.versions))
    damaged = replace(made.rows[0], influence=replace(made.rows[0].influence, total="AAAA"))
    refused("6 blocks of batches, and influences of 0.375", file=Scores.of([damaged], made.settings, made.versions))


def test_a_metric_of_ones_own_is_given_again(teacher, data) -> None:
    own = replace(METRICS["t_conf"], name="own")
    made = dametric.score(teacher, data, ["flip"], metrics=[own, "t_gini"], batches=5, **QUICK)
    with pytest.raises(UsageError, match="has own, a metric of your own: give it with metrics"):
        dametric.score(teacher, data, ["cutmix"], add=made, quiet=True)
    both = dametric.score(teacher, data, ["cutmix"], add=made, metrics=[own], quiet=True)
    whole = dametric.score(teacher, data, ["flip", "cutmix"], metrics=[own, "t_gini"], batches=5, **QUICK)
    assert rows(both) == rows(whole)
