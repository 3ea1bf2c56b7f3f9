"""Two score files beside each other: against plain numpy, and refused where the numbers mean different things."""

from __future__ import annotations

import base64
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

import dametric
from dametric.analysis.score_words import NOT_COMPARABLE
from dametric.errors import UsageError
from dametric.records.scores import Scores

AUGS = ("identity", "flip", "cutout", "mixup", "cutmix", "noise")
Batches = NDArray[np.float64]


def summary(batches: Batches) -> dict[str, float]:
    """Mean, standard error and 95 % interval of batches, in the plainest way."""
    n = len(batches)
    se = batches.std(ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.975, n - 1) * se
    return {"value": batches.mean(), "se": se, "low": batches.mean() - half, "high": batches.mean() + half}


def scores_of(
    batches: dict[str, Batches], teacher: str | dict[str, str] = "a", direction: str = "lower", **settings: Any
) -> Scores:
    rows: list[dict[str, Any]] = []
    sign = -1 if direction == "higher" else 1
    for name, values in sorted(batches.items(), key=lambda item: sign * item[1].mean()):
        n = len(values)
        metric = {**summary(values), "direction": direction, "blocks": n}
        shares = (values - values.mean()) / np.sqrt(n * (n - 1))
        total = base64.b64encode(shares.astype("<f8").tobytes()).decode()
        gaps = {other: summary(values - second) for other, second in batches.items()}
        row = {"aug": name, "metrics": {"t_stddev": metric, "t_conf": metric}, "differences": gaps, "rows": 1280}
        row |= {"difference": {"to": name, "value": 0.0, "se": 0.0}, "tied_with_best": False}
        rows.append({**row, "influence": {"total": total, "dof": n - 1, "blocks": [[0, 1, n]]}})
    config = {"metrics": ["t_stddev", "t_conf"], "protocol": "default", "n": 320, "b": 64, "G": 5, "seed": 0}
    by_name = {"arch": f"net_{teacher}", "sha256": f"{teacher}" * 64}
    config |= {"teacher": teacher if isinstance(teacher, dict) else by_name}
    config |= {"data": {"name": "digits", "split": "train", "images": 5000, "fingerprint": "f" * 64}, **settings}
    return Scores(rows, config, {})


@pytest.fixture(scope="module")
def batches() -> tuple[dict[str, Batches], dict[str, Batches]]:
    """Twenty batches of six augmentations for two teachers: what the images share is in all of them."""
    draw = np.random.default_rng(0)
    images = draw.normal(size=20)
    first = {aug: 2 + 0.5 * place + images + 0.3 * draw.normal(size=20) for place, aug in enumerate(AUGS)}
    levels = (0.0, 1.0, 0.5, 1.5, 2.05, 2.0)
    second = {aug: 3 + level + images + 0.3 * draw.normal(size=20) for aug, level in zip(AUGS, levels, strict=True)}
    return first, second


def test_differences_ranks_and_agreement_are_those_of_plain_numpy(
    batches: tuple[dict[str, Batches], dict[str, Batches]],
) -> None:
    first, second = batches
    comparison = dametric.compare(scores_of(first), scores_of(second, "b"))
    ranks = [stats.rankdata([values.mean() for values in each.values()]) for each in batches]
    for place, aug in enumerate(AUGS):
        pair = next(pair for pair in comparison.pairs if pair.aug == aug)
        assert pair.ranks == (ranks[0][place], ranks[1][place])
        expected = summary(second[aug] - first[aug])
        for name, value in expected.items():
            assert getattr(pair.difference, name) == pytest.approx(value, rel=1e-9), name
        assert pair.difference.se < 0.5 * np.hypot(*pair.errors), "what the images share cancels"
    assert comparison.tau.statistic == pytest.approx(stats.kendalltau(*ranks).statistic)
    assert comparison.tau.low < comparison.tau.statistic <= comparison.tau.high

    def order(each: dict[str, Batches], one: str, two: str) -> int:
        gap = summary(each[one] - each[two])
        return 1 if gap["low"] > 0 else -1 if gap["high"] < 0 else 0

    signs = [(order(first, *pair), order(second, *pair)) for pair in combinations(AUGS, 2)]
    assert len(comparison.orders.alike) == sum(a * b > 0 for a, b in signs)
    assert len(comparison.orders.reversed) == sum(a * b < 0 for a, b in signs)
    assert comparison.orders.unknown == sum(a * b == 0 for a, b in signs)
    assert ("flip", "cutout") in comparison.orders.reversed
    assert "1 reversed (flip before cutout in the first)" in " ".join(comparison.answer)
    assert NOT_COMPARABLE in comparison.answer
    assert NOT_COMPARABLE not in dametric.compare(scores_of(first), scores_of(second)).answer


def test_the_better_one_comes_first_where_high_values_are_good(
    batches: tuple[dict[str, Batches], dict[str, Batches]],
) -> None:
    down = dametric.compare(*(scores_of(each) for each in batches))
    turned = [{aug: -values for aug, values in each.items()} for each in batches]
    up = dametric.compare(*(scores_of(each, direction="higher") for each in turned))
    assert [(pair.aug, pair.ranks) for pair in up.pairs] == [(pair.aug, pair.ranks) for pair in down.pairs]
    assert (set(up.orders.alike), set(up.orders.reversed)) == (set(down.orders.alike), set(down.orders.reversed))


def test_errors_are_paired_only_where_batches_are_the_same(
    batches: tuple[dict[str, Batches], dict[str, Batches]],
) -> None:
    first, second = scores_of(batches[0]), batches[1]
    data = first.config["data"]
    for settings, why in (
        ({"seed": 1}, "different batches of the same images"),
        ({"b": 32, "G": 10}, "different batches of the same images"),
        ({"data": {**data, "fingerprint": "e" * 64}}, "different images"),
        ({"data": {**data, "split": "test"}}, "different images"),
    ):
        comparison = dametric.compare(first, scores_of(second, "b", **settings))
        assert why in comparison.unpaired
        assert f"not paired: {comparison.unpaired}" in " ".join(comparison.answer)
        for pair in comparison.pairs:
            assert pair.difference.se == pytest.approx(np.hypot(*pair.errors))
    bare = scores_of(second, "b")
    without = [{key: value for key, value in row.items() if key != "influence"} for row in bare.scores]
    assert "score again" in dametric.compare(first, Scores(without, bare.config, {})).unpaired
    assert "not of t_conf" in dametric.compare(first, bare, metric="t_conf").unpaired


def test_strengths_are_compared_where_it_is_clear_which_are_meant(
    batches: tuple[dict[str, Batches], dict[str, Batches]],
) -> None:
    def named(each: dict[str, Batches], *names: str) -> Scores:
        return scores_of(dict(zip(names, each.values(), strict=True)))

    weak = named(batches[0], "identity", "flip", "cutmix:alpha=0.5", "mixup:alpha=0.1", "mixup:alpha=0.2", "cutout")
    strong = named(batches[1], "identity", "noise", "cutmix:alpha=2", "mixup:alpha=1", "mixup:alpha=2", "cutout")
    comparison = dametric.compare(weak, strong)
    assert {(pair.aug, pair.other) for pair in comparison.pairs} == {
        ("identity", "identity"),
        ("cutmix:alpha=0.5", "cutmix:alpha=2"),
        ("cutout", "cutout"),
    }
    assert set(comparison.missing[0]) == {"flip", "mixup:alpha=0.1", "mixup:alpha=0.2"}


def test_what_means_different_things_is_refused_with_the_way_out(
    batches: tuple[dict[str, Batches], dict[str, Batches]], tmp_path: Path
) -> None:
    first = scores_of(batches[0])
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"metrics": ["t_conf", "t_stddev"]}, "give metric='t_stddev'"),
        ({"protocol": "reference"}, "protocol='default'"),
        ({"n": 640, "b": 128}, "batch_size=64 and draw_batches=5"),
        ({"temperature": 4.0}, "temperature"),
    ]
    ours = {**first.config, "temperature": 1.0}
    for settings, words in wrong:
        with pytest.raises(UsageError, match=words) as caught:
            dametric.compare(Scores(first.scores, ours, {}), scores_of(batches[1], "b", **settings))
        assert "\n" not in str(caught.value)
    for per in ("batch", "sample"):  # n is the same: only where a batch has one draw is its size part of the value
        sides = [scores_of(batches[k], per=per, **size) for k, size in enumerate(({}, {"b": 32, "G": 10}))]
        if per == "sample":
            assert dametric.compare(*sides).unpaired
            continue
        with pytest.raises(UsageError, match="batch_size=64 and draw_batches=5, or both with per='sample'"):
            dametric.compare(*sides)
    with pytest.raises(UsageError, match="0 augmentations in common"):
        dametric.compare(first, scores_of({"blur": batches[0]["flip"], "hue": batches[0]["cutout"]}))
    with pytest.raises(UsageError, match="t_stddev"):
        dametric.compare(first, first, metric="t_stdev")
    file = first.write(tmp_path / "a.json")
    assert dametric.compare(file, file).names == (f"net_a on digits ({file})",) * 2


def test_the_document_is_json_and_the_picture_shows_both_orders(
    batches: tuple[dict[str, Batches], dict[str, Batches]],
) -> None:
    comparison = dametric.compare(scores_of(batches[0]), scores_of(batches[1], "b"))
    document = json.loads(comparison.to_json())
    assert document["paired"] is True
    assert [row["rank_a"] for row in document["augmentations"]] == [1, 2, 3, 4, 5, 6]
    left, right = comparison.plot().axes
    words = [[label.get_text().split() for label in axes.get_yticklabels()] for axes in (left, right)]
    assert [label[0] for label in words[0]] == [pair.aug for pair in comparison.pairs]
    by_second = sorted(comparison.pairs, key=lambda pair: pair.ranks[1])
    assert [label[1] for label in words[1]] == [pair.other for pair in by_second]


def test_base_views_that_differ_are_not_paired_and_weights_in_memory_tell_teachers(
    batches: tuple[dict[str, Batches], dict[str, Batches]],
) -> None:
    first, second = batches
    paired = dametric.compare(scores_of(first, base_aug="none"), scores_of(second, "b", base_aug="none"))
    assert not paired.unpaired
    units = [{"mean": [0.5] * 3, "std": [scale] * 3} for scale in (0.2, 0.3)]
    for teacher, caution in (("a", True), ("b", False)):
        answer = " ".join(dametric.compare(scores_of(first, **units[0]), scores_of(second, teacher, **units[1])).answer)
        assert ("normalised otherwise for the same teacher" in answer) is caution
        assert "Take care" not in dametric.compare(scores_of(first, **units[0]), scores_of(second, **units[0])).answer
    other = dametric.compare(scores_of(first, base_aug="none"), scores_of(second, "b", base_aug="crop+flip"))
    assert "base views" in other.unpaired
    for same in (True, False):
        sides = [
            scores_of(each, teacher={"arch": "net"}, checksums={"teacher": 7 + number * (not same)})
            for number, each in enumerate(batches)
        ]
        comparison = dametric.compare(*sides)
        assert comparison.same_teacher is same
        assert (NOT_COMPARABLE in comparison.answer) is not same
    answers = dametric.compare(*(scores_of(each, direction="open") for each in batches)).answer
    assert answers[0] == "Nobody has said which values of t_stddev are good: of 6 augmentations in both, none is best."
