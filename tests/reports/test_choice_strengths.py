"""A choice's panels over strengths: one for each augmentation whose arms differ in one number alone."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from dametric.records.choices import Choice, ChoiceArm
from dametric.reports.choice_charts.strengths import chart

AUGS = ("identity", "cutmix", "cutmix:alpha=0.1", "crop+flip+cutmix", "crop+flip+cutmix:alpha=0.1", "mixup")
AUGS += ("rand-m3-n2-mstd0.5", "rand-m9-n2-mstd0.5", "rand-m9-n3-mstd0.5")


def choice_of(*augs: str) -> Choice:
    arms = tuple(ChoiceArm(aug, over_best=0.01 * place, low=0, high=0.1) for place, aug in enumerate(augs))
    return Choice("sure", best=augs[0], arms=arms)


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
