"""A choice's panels over strengths: one for each augmentation whose arms differ in one number alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dametric.augment import expand
from dametric.choosing.arms import arms_of
from dametric.records.choices import Choice, ChoiceArm
from dametric.reports.choice_charts.strengths import chart
from dametric.reports.drawing import strength_ticks

AUGS = ("identity", "cutmix", "cutmix:alpha=0.1", "crop+flip+cutmix", "crop+flip+cutmix:alpha=0.1", "mixup")
AUGS += ("rand-m3-n2-mstd0.5", "rand-m9-n2-mstd0.5", "rand-m9-n3-mstd0.5")


def choice_of(*augs: str, size: int = 32) -> Choice:
    arms = tuple(ChoiceArm(aug, over_best=0.01 * place, low=0, high=0.1) for place, aug in enumerate(augs))
    return Choice("sure", best=augs[0], arms=arms, config={"images": {"size": size}})


def test_a_curve_that_is_drawn_is_one_of_the_prior() -> None:
    """Its arms are strengths of one thing, in the order of their places; what is placed apart is on no curve."""
    ranges = ["cutmix:alpha=0.1..2/3", "crop+flip+cutmix:alpha=0.1..2/3", "solarize:threshold=50..200/3", "cutout"]
    ranges += ["cutout:length=4..16/2", "rand-m3-n1-mstd0.5", "rand-m3-n2-mstd0.5", "rand-m3-n3-mstd0.5", "crop"]
    ranges += ["rand-m5-n2", "rand:m=9", "timm:rand-m14-n2", "rand-m9-p0.7", "oneof(rand-m1,flip)"]
    ranges += [
        "oneof(rand-m2,flip)",
        "crop:padding=2",
        "crop:padding=8",
        "cutout:length=4+mixup",
        "cutout:length=8+mixup",
    ]
    ranges += [
        "jpeg:quality=20",
        "randaugment:n=1,m=9",
        "randaugment:n=3,m=9",
        "pick(mixup:alpha=2)",
        "pick(mixup:alpha=4)",
        "jpeg",
    ]
    for size in (16, 32, 64):
        arms = arms_of(expand(ranges), size)
        built = chart(choice_of(*(arm.name for arm in arms), size=size))
        assert built is not None
        assert len(built.panels) > 9
        for name, curve in built.data.groupby("augmentation"):
            on_it = [arms[round(place * 100)] for place in curve.over_best]
            assert len({(arm.family, arm.operation) for arm in on_it}) == 1, name
            places = [arm.position for arm in on_it]
            assert places in (sorted(set(places)), sorted(set(places), reverse=True)), (name, size, places)


def test_a_composition_is_on_a_curve_of_its_own() -> None:
    built = chart(choice_of(*AUGS))
    assert built is not None
    data = built.data.set_index(["augmentation", "strength"]).over_best
    assert data.to_dict() == pytest.approx(
        {
            ("cutmix:alpha=…", 0.1): 0.02,
            ("cutmix:alpha=…", 1.0): 0.01,
            ("crop+flip+cutmix:alpha=…", 0.1): 0.04,
            ("crop+flip+cutmix:alpha=…", 1.0): 0.03,
            ("rand-m…-n2-mstd0.5", 3.0): 0.06,
            ("rand-m…-n2-mstd0.5", 9.0): 0.07,
        }
    )
    axes = built.panels[2].draw(Figure().subplots())
    assert (axes.get_title(), axes.get_xlabel()) == ("rand-m…-n2-mstd0.5", "m")
    assert "by m of rand-m…-n2-mstd0.5: 3: 0.0600 [0.0000, 0.1000]; 9: 0.0700" in built.panels[2].alt
    assert chart(choice_of("identity", "cutmix", "crop+cutmix:alpha=2")) is None


def test_labels_of_strengths_do_not_meet() -> None:
    """In linear and logarithmic axes, of the page and of the smallest panel of a figure; the ends stand there."""
    for places in ((0.2, 0.25, 0.3, 0.5, 1), (0.1, 0.12, 0.125, 2, 4.001, 4.25), (8, 9, 10, 12, 16), (0.25, 0.5)):
        for width, scale in ((3.4, "linear"), (3.4, "log"), (1.75, "log")):
            figure = Figure(figsize=(width, 2.0), layout="constrained")
            axes = figure.subplots()
            axes.plot(places, places)
            axes.set_xscale(scale)
            axes.set_ylabel("loss (nats)")
            strength_ticks(axes, places, width - 0.9)
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            labels = [label for label in axes.get_xticklabels() if label.get_text()]
            assert [labels[0].get_text(), labels[-1].get_text()] == [f"{places[0]:g}", f"{places[-1]:g}"]
            boxes = [label.get_window_extent(canvas.get_renderer()) for label in labels]
            assert all(one.x1 < other.x0 for one, other in pairwise(boxes)), (places, width, scale)
