"""Groups and ranges of augmentations: what they stand for, and where they are understood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dametric import show
from dametric.augment import AUGS, PAPER, ImageSpec, expand, parse
from dametric.augment.catalogue import LINEAR, RANGES, SETS, WHOLE
from dametric.errors import UsageError
from dametric.scoring.request import augmentations
from dametric.stats import family
from dametric.sweeps.blocks import GROUPS
from dametric.sweeps.blocks import augmentations as of_a_grid
from dametric.training.api import named_augmentations
from tests.loops import each

FIVE = [f"mixup:alpha={value}" for value in ("0.1", "0.211", "0.447", "0.946", "2")]


@each(
    ("spec", "points"),
    [
        ("mixup:alpha=0.1..2/5", FIVE),
        ("mixup:alpha=0.1..2", FIVE),
        (
            "crop+mixup:partner=roll:alpha=.5..8/3+flip",
            [f"crop+mixup:partner=roll:alpha={a}+flip" for a in (".5", 2, "8")],
        ),
        ("rotate:degrees=0..90/4", [f"rotate:degrees={degrees}" for degrees in (0, 30, 60, 90)]),
        ("oneof(rotate:degrees=10..20/2,flip)", ["oneof(rotate:degrees=10,flip)", "oneof(rotate:degrees=20,flip)"]),
        ("randaugment:n=1,m=1..2/4", ["randaugment:n=1,m=1", "randaugment:n=1,m=2"]),
        ("cutout:length=2..32/5", [f"cutout:length={length}" for length in (2, 4, 8, 16, 32)]),
        ("./a..b.py:snow:depth=1e-2..1/3", [f"./a..b.py:snow:depth={depth}" for depth in ("1e-2", 0.1, 1)]),
        ("../x.py:snow", ["../x.py:snow"]),
        ("mixup:alpha=a..b/5", ["mixup:alpha=a..b/5"]),
    ],
)
def test_a_range_is_a_curve(spec: str, points: list[str]) -> None:
    assert expand([spec]) == points
    assert expand([spec, spec, points[0]]) == points


def test_steps_are_equal_ratios_or_equal_differences() -> None:
    for key, low, high, steps in (("alpha", 0.01, 3.0, 50), ("p", 0.0, 1.0, 21), ("strength", 0.05, 0.9, 2)):
        values = np.array([float(p.rpartition("=")[2]) for p in expand([f"x:{key}={low}..{high}/{steps}"])])
        assert len(values) == steps
        assert (values[0], values[-1]) == (low, high)
        expected = np.linspace(low, high, steps) if key in LINEAR else np.geomspace(low, high, steps)
        assert np.allclose(values, expected, rtol=5e-3)


@each(
    ("spec", "says"),
    [
        ("mixup:alpha=0.1..2/1", "from 2 to 50 steps"),
        ("mixup:alpha=0.1..2/51", "not 51"),
        ("mixup:alpha=0.1..2/" + "9" * 5000, "from 2 to 50 steps"),
        ("mixup:alpha=0.1..2/x", "as alpha=0.1..2/5, not x"),
        ("mixup:alpha=0.1..2/", "0.1"),
        ("mixup:alpha=2..0.1/5", "a range goes up"),
        ("mixup:alpha=1..1/5", "a range goes up"),
        ("mixup:alpha=1..1e999/5", "a range goes up"),
        ("mixup:alpha=0..2/5", "begin above 0"),
        ("randaugment:n=1..3/2:m=3..9/2", "one parameter at a time"),
        ("cutout:length=2..8/3+mixup:alpha=1..2/2", "one parameter at a time"),
    ],
)
def test_what_is_no_curve_is_refused_in_one_line(spec: str, says: str) -> None:
    if spec.endswith("/"):
        assert expand([spec]) == FIVE
        return
    with pytest.raises(UsageError) as caught:
        expand([spec])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_member_of_every_group_can_be_made_at_every_size() -> None:
    assert tuple(SETS) == GROUPS
    assert expand(["paper"]) == list(PAPER)
    assert expand(["all"]) == list(AUGS)
    assert 18 <= len(expand(["standard"])) <= 25
    curves = expand(["strengths"])
    assert len(curves) == sum(int(spec.partition("/")[2].partition(":")[0]) for spec in SETS["strengths"])
    for size in (8, 32, 224):
        for spec in expand(SETS):
            assert family(parse(spec, ImageSpec(size)).canonical) == family(spec)
    parameters = {key for known in RANGES.values() for key in known}
    assert parameters >= LINEAR
    assert parameters >= WHOLE
    with pytest.raises(UsageError, match="is a group of 23 augmentations: it stands alone"):
        parse("standard+flip")


def test_groups_and_ranges_are_understood_wherever_augmentations_are_listed(tmp_path: Path) -> None:
    listed = ["paper", "mixup:alpha=0.1..2/5", "flip"]
    members = [*PAPER, *FIVE]
    assert [aug.name for aug in augmentations(listed, ImageSpec(), student=True)] == members
    assert [aug.name for aug in augmentations("mixup:alpha=0.1..2/5", ImageSpec(), student=False)] == FIVE
    assert named_augmentations(listed) == tuple(members)
    assert of_a_grid(listed) == tuple(members)
    assert of_a_grid({"mixup": {"alpha": "0.1..2/5"}}) == tuple(FIVE)
    with pytest.raises(UsageError, match="asks the student"):
        augmentations(["cutmixpick:by=kld:alpha=1..2/2"], ImageSpec(), student=False)
    picture = show(["rotate:degrees=0..90/3", "oneof(invert,blur)"], tmp_path / "views.png", columns=2, quiet=True)
    assert picture.stat().st_size > 1000
