"""The p-value that knows families, against all pairings written out by hand."""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dametric.analysis import analyse
from dametric.augment import AUGS
from dametric.augment.catalogue import NEUTRAL
from dametric.stats import by_families, family
from dametric.stats.families import _FAMILIES, DEFAULTS, by_strength, operations, setting, strength, strength_curves
from dametric.stats.family_permutation import Families

SIX = {
    "mixup": [f"mixup:alpha={a}" for a in (0.2, 0.5, 4)],
    "cutout": [f"cutout:length={a}" for a in (4, 8, 16)],
    "geometric": ["identity", "flip", "crop+flip"],
    "autoaugment": ["autoaugment"],
    "snow": ["./augs.py:snow"],
}
AUGS_OF_SIX = [aug for augs in SIX.values() for aug in augs]


def frame(x: Sequence[float], y: Sequence[float], augs: Sequence[str] = AUGS_OF_SIX, unit: str = "u") -> pd.DataFrame:
    return pd.DataFrame({"unit": unit, "aug": augs, "x": x, "y": y})


def by_hand(y: np.ndarray) -> list[list[float]]:
    """All outcomes that keep families whole, of families of sizes 3, 3, 3, 1, 1 one after the other."""
    found = []
    for order in itertools.permutations(range(3)):
        for turned in itertools.product((1, -1), repeat=3):
            threes = [y[3 * f : 3 * f + 3][::turn].tolist() for f, turn in zip(order, turned, strict=True)]
            found += [[*itertools.chain(*threes), y[9 + a], y[10 - a]] for a in (0, 1)]
    return found


def test_whole_families_are_exchanged_and_turned_round() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 11))
    taus = np.array([stats.kendalltau(x, other).statistic for other in by_hand(y)])
    assert len(taus) == 6 * 8 * 2
    seen = stats.kendalltau(x, y).statistic
    greater, less = (taus >= seen - 1e-9).mean(), (taus <= seen + 1e-9).mean()
    shuffled = frame(x, y).sample(frac=1, random_state=1)  # the order of rows says nothing
    for alternative, expected, least in (
        ("greater", greater, 1 / 96),
        ("less", less, 1 / 96),
        ("two-sided", min(1.0, 2 * min(greater, less)), 2 / 96),
    ):
        found, floor = by_families(shuffled, "kendall", alternative)
        assert (found.statistic, found.pvalue, floor) == pytest.approx((seen, expected, least))


def test_units_are_permuted_jointly() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 2, 11))
    both = pd.concat([frame(a, b, unit=name) for a, b, name in zip(x, y, "uv", strict=True)])
    taus = np.mean(
        [[stats.kendalltau(a, other).statistic for other in by_hand(b)] for a, b in zip(x, y, strict=True)], axis=0
    )
    assert by_families(both)[0].pvalue == pytest.approx((taus >= taus[0] - 1e-9).mean())


def test_more_pairings_than_are_listed_are_drawn() -> None:
    augs = [f"own{i}:s={j}" for i in range(7) for j in range(2)]
    assert Families.of(augs).count == math.factorial(7) * 2**7
    x = np.arange(14.0)
    found, floor = by_families(frame(x, x, augs), resamples=999)
    assert (found.pvalue, floor) == (1 / 1000, 1 / 1000)
    y = np.random.default_rng(0).permutation(14)
    assert by_families(frame(x, y, augs), resamples=999) == by_families(frame(x, y, augs), resamples=999)


def test_no_p_where_the_smallest_is_above_the_level() -> None:
    augs = ["identity", "flip", "crop+flip", "cutout", "mixup", "cutmix"]  # families of 3, 1, 1, 1: 2 * 3! pairings
    x = np.arange(6.0)
    found, floor = by_families(frame(x, x, augs))
    assert floor == pytest.approx(1 / 12)
    assert math.isnan(found.pvalue)
    assert "no p-value below 0.083" in found.note
    answer = analyse(pd.DataFrame({"aug": augs, "score": x, "test_loss": x, "seeds": 3}), resamples=99)
    assert answer.answerable is False
    assert math.isnan(answer.confirmatory[0].families.p_holm)
    (said,) = (line for line in answer.verdict if line.startswith("score: no answer"))
    assert "geometric 3, erase 1, mixup 1, cutmix 1" in said
    assert "p = 0.0014 if settings were independent" in said


def test_families_of_one_setting_each_are_settings() -> None:
    augs = ["identity", "cutout", "autoaugment", "mixup", "cutmix", "./augs.py:snow"]
    x, y = np.random.default_rng(1).normal(size=(2, 6))
    answer = analyse(pd.DataFrame({"aug": augs, "score": x, "test_loss": y}), resamples=99).confirmatory[0]
    assert answer.families.result == answer.result
    assert answer.families.floor == pytest.approx(1 / 720)
    assert by_families(frame(x, y, augs))[0].pvalue == pytest.approx(answer.result.pvalue)


def test_the_verdict_is_by_families() -> None:
    """Two families low, two high in both, and inside each loss and score fall and rise together: four families cannot
    carry what sixteen independent settings would."""
    augs = [f"own{i}:s={j}" for i in range(4) for j in range(4)]
    own = np.repeat([0.0, 3.0, 1.0, 2.0], 4)
    x, y = own + np.tile([0.0, 0.1, 0.2, 0.3], 4), np.repeat([0.0, 3.0, 2.0, 1.0], 4) + np.tile([0.3, 0.1, 0.2, 0.0], 4)
    answer = analyse(pd.DataFrame({"aug": augs, "score": x, "test_loss": y, "seeds": 3}), resamples=999)
    entry = answer.confirmatory[0]
    assert entry.families.pairings == 24 * 16
    assert entry.p_holm <= 0.05 < entry.families.p_holm
    assert any(line.startswith("score is not shown") for line in answer.verdict)


def test_the_order_of_strengths() -> None:
    def order(*augs: str) -> list[str]:
        (places,) = by_strength(augs).values()
        return [augs[place] for place in places]

    for expected in (
        ("identity", "flip", "crop", "crop+flip"),
        ("cutout:length=4", "cutout", "cutout:length=16"),
        ("rrc:scale=0.75", "rrc:scale=0.5", "rrc:scale=0.08"),
        ("randaugment:n=1,m=5", "randaugment:n=1,m=14", "randaugment", "randaugment:m=14:n=3"),
        ("mixup:alpha=0.2", "crop+mixup:alpha=.5", "mixup", "mixup:alpha=4"),
        ("cutmix", "cutmix:alpha=4", "cutmix_pick_S", "cutmix_pick_T"),
        ("./a.py:snow:p=0.5", "./a.py:snow:p=0.7"),
        ("./a.py:snow:threshold=0.5", "./a.py:snow:threshold=0.7"),
        ("solarize:threshold=200", "solarize", "solarize:p=0.9", "solarize:threshold=50"),
        ("jpeg:quality=90", "jpeg", "jpeg:quality=10", "blur:sigma=1", "blur", "noise:std=0.01"),
        ("rotate:degrees=5", "crop+rotate", "rotate:degrees=90"),
        ("rand-m3-n3-mstd0.5", "rand:m=5:n=3", "timm:rand-m9-mstd0.5", "rand", "rand-n2-m15"),
    ):
        assert order(*reversed(expected)) == list(expected)
    assert family("rrc:scale=0.5") == family("flip+rrc") == "resize"
    assert family("mixup-or-cutmix:switch=0.3") == family("oneof(mixup, flip+cutmix:p=0.5)") == "cutmix+mixup"
    assert family("oneof(flip,oneof(crop,./a+b.py:snow))+invert:p=0.1") == "./a+b.py:snow+colour"


def test_what_a_name_stands_for_is_what_it_does() -> None:
    """But for the length of cutout, which is that of 32 pixels; and every augmentation has a family of several."""
    assert {family(name) for name in AUGS} == {*_FAMILIES, "cutmix+mixup"}
    for name, numbers in DEFAULTS.items():
        made: dict[str, Any] = {key: value.default for key, value in inspect.signature(AUGS[name]).parameters.items()}
        assert all(made[key] in (value, None) for key, value in numbers.items()), name
    for name, key in (("cutout", "length"), ("crop", "padding")):
        assert all(setting(name, size)[1] == NEUTRAL[name][key](size) for size in (8, 30, 32, 64, 224))


def test_a_curve_is_what_differs_in_one_number() -> None:
    augs = ["cutmix", "crop+flip+cutmix:alpha=0.5", "cutmix:alpha=0.5", "crop+flip+cutmix", "crop:padding=2+cutmix"]
    augs += ["rand-m9-n2-mstd0.5-inc1", "rand-m3-n2-mstd0.5-inc1", "rand-m5-n3-mstd0.5", "rand-n2-mstd0.5", "mixup"]
    augs += ["rand-m7-n2-mstd0.5", "./rand-m1.py:f", "./rand-m2.py:f", "oneof(rand-m1,flip)", "oneof(rand-m2,flip)"]
    found = {name: {value: augs[place] for value, place in each.items()} for name, _, each in strength_curves(augs, 2)}
    assert found == {
        "cutmix:alpha=…": {1.0: "cutmix", 0.5: "cutmix:alpha=0.5"},
        "crop+flip+cutmix:alpha=…": {0.5: augs[1], 1.0: "crop+flip+cutmix"},
        "rand-m…-n2-mstd0.5-inc1": {9.0: augs[5], 3.0: augs[6]},
        "rand-m…-n2-mstd0.5": {7.0: "rand-m7-n2-mstd0.5", 10.0: "rand-n2-mstd0.5"},
        "oneof(rand-m…,flip)": {1.0: augs[-2], 2.0: augs[-1]},
    }


def test_timms_strings_that_differ_in_the_magnitude_are_one_operation() -> None:
    for spellings in (
        (
            "rand-m9-n3-mstd0.5-inc1",
            "rand-m3-mstd0.50-n3-inc1",
            "timm:rand-n3-mstd0.5-inc1",
            "rand:m=9,n=3,mstd=.5,inc=true",
        ),
        ("rand-m9", "rand", "rand:m=4", "crop+rand-m9-p0.5"),
        ("rand-m9-p0.7", "rand:m=3:prob=0.7"),
        ("rand-m9:p=0.7", "rand:p=0.7:m=3"),
    ):
        assert len({operations(spec) for spec in spellings}) == 1, spellings
    different = (
        "rand-m9",
        "rand-m9-n3",
        "rand-m9-mstd0.5",
        "rand-m9-inc1",
        "rand-m9-p0.7",
        "rand-m9:p=0.7",
        "rand-mmax9",
    )
    assert len({operations(spec) for spec in different}) == len(different)
    assert [strength(spec) for spec in ("rand-m9-n3", "rand", "rand:m=4:n=9", "rand-m0")] == [9, 10, 4, 0]
    assert family("rand-m9-n3") == family("timm:rand-m9") == family("rand:m=3") == "policy"


def test_a_setting_is_all_but_its_numbers() -> None:
    for alike in (
        ("crop+flip+cutmix:alpha=0.2", "crop+flip+cutmix", "crop:padding=2+flip+identity+cutmix:p=0.5"),
        ("rand-m9-n3-mstd0.5", "rand", "timm:rand-m5-p0.7", "rand:m=4:p=0.7"),
        ("oneof(rand-m1,flip)", "oneof(rand-m2, flip:p=0.3):p=0.5"),
        ("pick:base=mixup,alpha=2,by=kld", "pick(mixup):by=kld,runs=3"),
        ("./a/augs.py:snow:p=0.5,mode=x", "./a/augs.py:snow:mode=x"),
    ):
        assert len({setting(spec)[0] for spec in alike}) == 1, alike
    apart = ("cutmix", "crop+cutmix", "flip+cutmix", "crop+flip+cutmix", "rand-inc1", "rand", "randaugment", "identity")
    apart += ("./a/augs.py:snow", "./b/augs.py:snow", "./a/augs.py:hail", "erasing:mode=pixel", "erasing")
    assert len({setting(spec)[0] for spec in apart}) == len(apart)
    assert [setting("cutout", size)[1] for size in (16, 32, 64)] == [4, 8, 16]
    assert setting("randaugment:n=1,m=5")[1] * 3 == setting("randaugment:n=3,m=5")[1]


def test_strengths_inside_groups_count_and_numbers_that_are_no_strength_do_not() -> None:
    rising = (
        ("pick(mixup:alpha=0.5)", "pick(mixup:alpha=2)", "pick(mixup:alpha=2):runs=4"),
        ("oneof(flip,mixup:alpha=0.5)", "oneof(flip,mixup:alpha=2)"),
        ("oneof(mixup:alpha=0.5,flip):p=0.5", "oneof(mixup:alpha=0.5,flip)", "oneof(mixup:alpha=2,flip)"),
        ("rand-m5-n2", "rand-m15-n2"),
        ("rrc:scale=0.7", "rrc:scale=0.3", "rrc"),
    )
    for specs in rising:
        strengths = [strength(spec) for spec in specs]
        assert all(low < high for low, high in itertools.pairwise(strengths)), (specs, strengths)
    for spec, other in (
        ("augmix:severity=5:chain_depth=-1", "augmix:severity=5"),
        ("rand:m=9:inc=0", "rand:m=9"),
        ("pick:base=mixup,alpha=2,runs=3", "pick(mixup:alpha=2):runs=3"),
    ):
        assert strength(spec) == strength(other) > 0, spec
