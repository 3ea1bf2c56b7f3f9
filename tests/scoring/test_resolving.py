"""Successive elimination: what is best, found with fewer forwards, and groups that cannot be told apart."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import dametric
from dametric import UsageError
from dametric.metrics import METRICS, Design
from dametric.scoring import stopping
from dametric.scoring.jackknife import Blocks, measured
from dametric.scoring.paired import Paired
from dametric.scoring.resolving import LEVEL, Elimination, compact_letters
from experiments.resolving import AUGS as OF_DIGITS
from experiments.resolving import lines
from tests.loops import each

LOOKS = list(stopping._growing(1000))


def known(values: torch.Tensor) -> Paired:
    """The mean of one number a batch, with its error."""
    ones = torch.ones(len(values), dtype=torch.int64)
    blocks = Blocks({"sum": values, "rows": ones.double()}, ones, 0 * ones)
    return Paired(*measured(blocks, METRICS["t_conf"], Design()), None, 0 * ones, ones)


def passes(means: list[float], seed: int) -> tuple[set[str], set[str], float, Elimination]:
    """What is best by elimination and by brute force, and the share of forwards that the first needs."""
    noise = np.random.default_rng(seed).standard_t(5, size=(len(means) + 1, LOOKS[-1]))
    names = [f"aug{number}" for number in range(len(means))]
    values = {
        name: torch.from_numpy(5 + mean + 0.05 * (noise[-1] + noise[k]))  # batches have images in common
        for k, (name, mean) in enumerate(zip(names, means, strict=True))
    }
    quick, whole, shown = Elimination(names, len(LOOKS)), Elimination(names, len(LOOKS)), dict.fromkeys(names, 0)
    for count in LOOKS:
        shown |= dict.fromkeys(quick.active, count)
        quick.look({name: known(values[name][:count]) for name in quick.active})
        if quick.settled:
            break
    whole.look({name: known(values[name]) for name in names})
    return set(quick.active), set(whole.active), sum(shown.values()) / len(names) / LOOKS[-1], quick


def test_it_finds_what_brute_force_finds_in_at_least_95_percent_of_200_repeats_at_half_of_the_forwards() -> None:
    """Two that are alike are best; others are behind by 0.4 to 6 deviations of a batch's difference, by chance."""
    same, forwards, wrong = [], [], []
    for seed in range(200):
        gaps = 0.03 * np.exp(np.random.default_rng(1000 + seed).uniform(0, 2.7, 4))
        means = [0.0, 0.0, *gaps.tolist()]
        quick, whole, share, compared = passes(means, seed)
        same.append(quick == whole)
        forwards.append(share)
        wrong.append(
            any(
                means[int(name[3:])] <= min(means[int(other[3:])] for other in pair)
                for pair, name in compared.worse.items()
            )
        )
    assert np.mean(same) >= 0.95
    assert np.mean(forwards) <= 0.5
    assert np.mean(wrong) <= LEVEL, "pairs in the wrong order, or alike and told apart"


def test_letters_are_shared_by_those_that_are_not_told_apart_and_no_others() -> None:
    draw = np.random.default_rng(0)
    for count in range(1, 8):
        for _ in range(30):
            names = [f"n{k}" for k in range(count)]
            pairs = [frozenset(pair) for pair in itertools.combinations(names, 2)]
            apart = [pair for pair in pairs if draw.random() < 0.4]
            letters = compact_letters(names, apart)
            for pair in pairs:
                one, other = (set(letters[name]) for name in pair)
                assert bool(one & other) == (pair not in apart), (letters, apart)
            groups = [{name for name in names if sign in letters[name]} for sign in set("".join(letters.values()))]
            assert not any(one < other for one, other in itertools.permutations(groups, 2)), "no letter says nothing"
            assert letters[names[0]].startswith("a")


def test_a_destroyed_augmentation_is_neither_best_nor_beats_another() -> None:
    flat = torch.linspace(0.9, 1.1, 40).double()
    compared = Elimination(["black", "flip", "noise"], 1)
    compared.look(
        {"black": known(flat - 0.9), "flip": known(flat), "noise": known(flat + 0.5 * flat.flip(0))}, ["black"]
    )
    assert compared.active == ["flip"]
    assert compared.settled
    doubtful = Elimination(["black", "flip"], 1)
    doubtful.look({"black": known(flat - 0.9), "flip": known(flat + 0.3 * flat.flip(0))}, doubtful=["black"])
    assert doubtful.active == ["black", "flip"]


QUICK: dict[str, Any] = {"batch_size": 16, "chunk": 32, "device": "cpu", "dtype": "float32", "quiet": True}
AUGS = ["identity", "flip", "cutmix", "cutout"]


def test_a_pass_shows_each_augmentation_until_it_is_worse_than_another(teacher, data) -> None:
    scores = dametric.score(teacher, data, AUGS, resolve=True, max_batches=200, **QUICK)
    assert scores.settings.resolution is not None
    assert scores.settings.resolution.best == [scores.rows[0].aug] == ["flip"]
    assert [row.tied_with_best for row in scores.rows] == [True, False, False, False]
    shown = {row.aug: row.batches for row in scores.rows}
    assert min(shown.values()) == LOOKS[0] < max(shown.values()) < 200, "it goes on although one is left"
    assert all(row.group for row in scores.rows)
    assert not set(scores.rows[0].group or "") & set("".join(row.group or "" for row in scores.rows[1:]))
    whole = dametric.score(teacher, data, AUGS, batches=shown["flip"], **QUICK)
    assert whole["flip"]["metrics"] == scores["flip"]["metrics"]
    alike = dametric.score(teacher, data, ["identity", "rotate:degrees=0"], resolve=True, **QUICK)
    assert alike.settings.batches == LOOKS[0], "what does the same is told apart by no batch"
    assert {row.group for row in alike.rows} == {"a"}


@each(
    ("more", "says"),
    [
        ({"batches": 30}, "resolve=True shows an augmentation until .* at most max_batches=1000: leave batches out"),
        ({"rel_se": 0.1}, "leave rel_se out"),
        ({"protocol": "reference"}, "the reference protocol has a length of its own"),
        ({"metrics": ["t_agree"]}, "t_agree has no direction"),
        ({"metrics": ["affinity_loss"], "held_out": 60}, "all images of affinity_loss are shown at once"),
    ],
)
def test_what_cannot_be_resolved_is_refused(teacher, data, more: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        dametric.score(teacher, data, AUGS, resolve=True, **QUICK, **more)


def test_scores_that_were_resolved_are_not_added_to(teacher, data) -> None:
    made = dametric.score(teacher, data, ["flip", "cutmix"], resolve=True, max_batches=30, **QUICK)
    with pytest.raises(UsageError, match="which compares all augmentations as it goes"):
        dametric.score(teacher, data, ["cutout"], add=made, quiet=True)


def test_on_digits_it_finds_what_brute_force_finds() -> None:
    (line,) = lines([0])
    assert line["same"]
    assert 0.1 < line["forwards"] <= 0.5
    assert set(line["best"].split()) < set(OF_DIGITS)


@pytest.mark.slow
def test_on_digits_it_finds_what_brute_force_finds_in_at_least_95_percent_of_200_seeds() -> None:
    table = pd.DataFrame(lines(range(200)))
    assert table.same.mean() >= 0.95
    assert table.forwards.mean() <= 0.5
