"""Several augmented views of an image: who pays for them, that they are independent, and what cannot be asked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import dametric
from dametric.augment import Keys, parse
from dametric.errors import UsageError
from dametric.metrics import METRICS, Design, Metric, Observation
from dametric.metrics.base import Contribution
from dametric.scoring import engine
from dametric.scoring.jackknife import Blocks, estimate

QUICK: dict[str, Any] = {"device": "cpu", "dtype": "float64", "quiet": True, "batch_size": 12, "batches": 30}
SPREADS = ["ce_std_within", "ce_std_between"]


def rows_of(observation: Observation) -> Contribution:
    return {"views": torch.full_like(observation.aug[:, 0, 0], len(observation.views))}


COUNT = Metric("count", rows_of, lambda total, design: total["views"], "open", "views that it was shown", "a test")


def test_only_metrics_of_several_views_pay_for_them(teacher, student, data) -> None:
    def forwarded(augs: list[str], **options: Any) -> dict[str, int]:
        scores = dametric.score(teacher, data, augs, student=student, **{**QUICK, **options})
        assert scores.config.get("views", 1) == (options.get("views", 2) if options["metrics"][0] != "ce_std" else 1)
        return {name: rows // 12 for name, rows in scores.config["rows_forwarded"].items()}

    guard = 4  # batches of raw rows
    assert forwarded(["flip"], metrics=["ce_std"]) == {"teacher": 30 + guard, "student": 30}
    assert forwarded(["flip"], metrics=SPREADS) == {"teacher": 60 + guard, "student": 60}
    assert forwarded(["flip"], metrics=SPREADS, views=3) == {"teacher": 90 + guard, "student": 90}
    # views of the identity are one and the same, and so are its raw rows
    assert forwarded(["flip", "identity"], metrics=SPREADS) == {"teacher": 60 + 30, "student": 60 + 30}


def test_metrics_of_one_view_do_not_move_whatever_others_ask_for(teacher, student, data) -> None:
    names = ["t_stddev", "t_conf", "ce_std", "ce_cov"]
    alone, beside = (
        dametric.score(teacher, data, ["flip", "cutmix"], student=student, metrics=[*names, *more], **QUICK)
        for more in ([], SPREADS)
    )
    for row, same in zip(alone.scores, beside.scores, strict=True):
        assert [row["metrics"][name] for name in names] == [same["metrics"][name] for name in names]
        assert row["difference"] == same["difference"]


def test_every_metric_is_shown_as_many_views_as_it_asks_for(teacher, data, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[int, list[Observation]] = {}

    def watched(wanted: int) -> Metric:
        def observe(observation: Observation) -> Contribution:
            shown.setdefault(wanted, []).append(observation)
            return rows_of(observation)

        about = ("open", "views", "a test", frozenset({"raw", "labels"}))
        return Metric(f"views_{wanted}", observe, lambda total, design: total["views"], *about, views=wanted)

    labels = torch.arange(len(data)) % 3
    images = dametric.ImageSet.from_tensors(data.images, labels, mean=data.mean, std=data.std)
    dametric.score(teacher, images, "cutmix", metrics=[watched(1), watched(2), watched(4)], **QUICK)
    assert {wanted: {len(each.views) for each in seen} for wanted, seen in shown.items()} == {1: {0}, 2: {2}, 4: {4}}
    for few, many in zip(shown[2], shown[4], strict=True):
        assert [view.design.lag for view in many.views] == [1, 2, 3, 4]
        for number, view in enumerate(many.views):
            assert torch.equal(view.raw, many.raw)
            assert torch.equal(view.labels, many.labels)
            assert torch.equal(view.partner_labels, many.labels.roll(-1 - number, 1))
            assert number == 0 or not torch.equal(view.lam, many.lam)
        assert torch.equal(many.views[0].aug, many.aug)
        assert torch.equal(many.views[1].aug, few.views[1].aug)

    monkeypatch.setattr(engine, "_AUGMENTED", 12)
    before = shown.pop(4)
    dametric.score(teacher, images, "cutmix", metrics=[watched(4)], **QUICK, chunk=5)
    pieces = torch.cat([view.aug for each in shown[4] for view in [each.views[3]]])
    torch.testing.assert_close(pieces, torch.cat([each.views[3].aug for each in before]), rtol=1e-9, atol=1e-12)


def test_views_of_a_batch_share_no_partner_and_no_numbers() -> None:
    images = torch.randint(0, 256, (24, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    keys = Keys(0, 2, 12)
    assert keys.of_view(0) == keys
    for spec in ("mixup", "cutmix", "cutout", "flip"):
        views = [parse(spec)(images, keys.of_view(number)) for number in range(11)]
        assert len(torch.stack([each.images for each in views]).double().unique(dim=0)) == 11
        if views[0].partner is not None:
            partners = torch.stack([each.partner for each in views])
            assert all(len(set(column.tolist())) == 11 for column in partners.T)
            assert not bool((partners == torch.arange(24)).any())
    ones = [Keys(0, 1, 2).of_view(number).partners("roll").tolist() for number in range(3)]
    assert ones == [[1, 0]] * 3


def test_null_cases(teacher, student, data) -> None:
    """Nothing drawn: no spread within images. All images alike: none between them."""
    options = {**QUICK, "metrics": [*SPREADS, "ce_std"], "base_aug": "identity", "views": 3}
    row = dametric.score(teacher, data, "identity", student=student, **options)["identity"]["metrics"]
    assert row["ce_std_within"]["value"] == pytest.approx(0, abs=1e-12)
    assert row["ce_std_between"]["plugin"] == pytest.approx(row["ce_std"]["plugin"], rel=1e-9)
    alike = dametric.ImageSet.from_tensors(data.images[:1].expand(500, -1, -1, -1), mean=data.mean, std=data.std)
    row = dametric.score(teacher, alike, "cutout", student=student, **options)["cutout"]["metrics"]
    assert row["ce_std_within"]["plugin"] == pytest.approx(row["ce_std"]["plugin"], rel=0.1)
    assert row["ce_std_between"]["plugin"] < 0.25 * row["ce_std_within"]["plugin"]


def test_components_and_their_errors_are_those_of_repeated_data() -> None:
    """Unequal variances of images, views by 2 and 5: the mean over data sets is the truth, and so is the error."""
    design, rng = Design(), np.random.default_rng(0)
    for views in (2, 5):
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in SPREADS}
        for _ in range(200):
            own = rng.choice([0.2, 0.8], (40, 16, 1))
            q = 3 + 0.7 * rng.standard_normal((40, 16, 1)) + own * rng.standard_normal((40, 16, views))
            rows = torch.full((40, 16, 2), 0.5, dtype=torch.float64)
            several = tuple(Observation(rows, None, design, torch.tensor(q[..., j])) for j in range(views))
            for name in SPREADS:
                contribution = METRICS[name].observe(Observation(rows, None, design, views=several))
                blocks = Blocks(contribution, torch.ones(40).long(), torch.zeros(40).long())
                value = estimate(blocks, METRICS[name], design)
                found[name].append((value.value, value.se))
        for name, truth in (("ce_std_within", math.sqrt((0.04 + 0.64) / 2)), ("ce_std_between", 0.7)):
            values, errors = np.array(found[name]).T
            spread = values.std(ddof=1)
            assert values.mean() == pytest.approx(truth, abs=3.5 * spread / math.sqrt(200))
            assert np.sqrt((errors**2).mean()) == pytest.approx(spread, rel=0.2)


def test_what_cannot_be_is_refused(teacher, student, data) -> None:
    def refused(message: str, augs: Any = "flip", **options: Any) -> None:
        with pytest.raises(UsageError, match=message):
            dametric.score(teacher, data, augs, student=student, **{**QUICK, "metrics": SPREADS, **options})

    refused("metric ce_std_within compares 2 views of each image, and cutmixpick:by=kld picks", "cutmixpick:by=kld")
    refused("views=12 must be less than batch_size=12", views=12)
    refused("views=2: none of the metrics needs several views of an image", views=2, metrics=["t_conf"])
    refused("views is a whole number from 2 up, not 1", views=1)
    with pytest.raises(UsageError, match="metric count: views is a whole number from 1 up, not 0"):
        Metric("count", rows_of, COUNT.reduce, "open", "", "", views=0)
