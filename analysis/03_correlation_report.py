# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How far can a score be trusted?
#
# From score files and a ledger of students to the conclusions of `dametric correlate` and `dametric report`, by the
# Python API. Two studies are read: the digits demo of this repository, which is too small to answer, and the points
# that Wang et al. published ([arXiv 2012.02909](https://arxiv.org/abs/2012.02909)), which answer in part.
#
# `make notebooks` executes this file and fails on any error. To read a study of your own, change `STUDY`.

# %%
from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from IPython.display import Markdown, display

import dametric
from dametric import stats
from dametric.analysis import Analysis
from dametric.reports.sheets import paper
from dametric.stats import Result

# %matplotlib inline
pd.options.display.precision = 4
STUDY = Path("../experiments/results/digits/demo")  # scores.json and runs/, kept by python -m experiments.demo_record


def show_verdict(analysis: Analysis) -> None:
    display(Markdown("\n".join(f"* {sentence}" for sentence in analysis.verdict)))


def results(found: dict[str, Result]) -> pd.DataFrame:
    """Results as a table."""
    rows = {name: result.to_dict() for name, result in found.items()}
    return pd.DataFrame(rows).T[["statistic", "pvalue", "low", "high", "n"]].astype(float)


# %% [markdown]
# ## The digits demo
#
# A score file has every metric of every augmentation with its jackknife error; a ledger has one record a student.
# Joined, there is one row for each teacher-student pair, metric and augmentation, with standard errors on both axes.

# %%
digits = dametric.correlate(STUDY / "scores.json", STUDY / "runs")
frame = digits.study.frame
shown = ["aug", "score", "score_se", "difference", "test_loss", "test_loss_se", "test_top1", "test_top1_se", "seeds"]
frame[frame["metric"] == "t_stddev"][shown]

# %% [markdown]
# ### One coefficient
#
# The primary endpoint was fixed in advance: Kendall's tau-b of the metric and the students' test loss at the last
# epoch, one-sided in the metric's stated direction. With nine augmentations all 9! pairings are tried.

# %%
mine = frame[frame["metric"] == "t_stddev"]
primary = stats.correlate(mine["score"], mine["test_loss"], alternative="greater")
primary

# %%
results(
    {
        name: stats.correlate(mine["score"], mine["test_loss"], name)
        for name in ("pearson", "spearman", "kendall", "weighted")
    }
)

# %% [markdown]
# ### Noise
#
# How much of the spread between augmentations is not seed noise, and what tau-b would be if everything were measured
# once more:

# %%
points = mine["score"], mine["test_loss"], mine["score_se"], mine["test_loss_se"]
print("reliability of the scores", stats.reliability(mine["score"], mine["score_se"]))
print("reliability of the losses", stats.reliability(mine["test_loss"], mine["test_loss_se"]))
print("expected tau-b           ", stats.expected_tau(*points))
print("disattenuated Pearson    ", stats.disattenuated(*points))
print("tau-b with noise as ties ", stats.tied_tau(*points))
print("York's slope             ", stats.york(*points).slope)

# %% [markdown]
# ### Everything at once
#
# `dametric.correlate` is what the command prints: all metrics, both endpoints, and the answer in words.

# %%
assert digits.confirmatory[0].result.pvalue == primary.pvalue
digits

# %%
show_verdict(digits)

# %% [markdown]
# Two seeds of a student on 355 test images cannot order nine augmentations, and the analysis says so instead of
# printing a coefficient as if it meant something. The figures of the report:

# %%
report = dametric.report(digits, quiet=True)
charts = {chart.key: chart for chart in report.charts}
paper(charts["scatter"])

# %%
paper(charts["subpools"])

# %%
paper(charts["metrics"])

# %%
paper(charts["regret"])

# %% [markdown]
# What a study would need: with the noise and the spread of this one, how many seeds would bring the reliability of the
# mean losses to 0.9, and what could 18 augmentations with five seeds detect?

# %%
reliable = max(0.0, stats.reliability(mine["test_loss"], mine["test_loss_se"]).statistic)
seed_sd = float((mine["test_loss_se"] ** 2 * mine["seeds"]).mean() ** 0.5)
spread = float(mine["test_loss"].std())
print(f"seed noise {seed_sd:.4f}, spread of the mean losses {spread:.4f}, reliability {reliable:.2f}")
true_spread = spread * max(reliable, 0.05) ** 0.5
for augs, seeds in ((9, 2), (18, 5), (27, 10)):
    found = dametric.power(0.9, augs, seeds, seed_sd=seed_sd, spread=true_spread)
    print(f"{augs} augmentations, {seeds} seeds: power {found.power:.2f} for a true correlation of 0.9")
print(f"seeds for a reliability of 0.9: {found.seeds_needed}")

# %% [markdown]
# ## The published points
#
# Nine augmentations and the students of ten teacher-student-data units, read off the vector graphics of the paper and
# its project page. No standard errors were published with them.

# %%
published = dametric.correlate(published=True)
NAMES = ("pearson", "spearman", "kendall")
rows = {
    unit: {name: getattr(found.coefficients.loss, name).statistic for name in NAMES}
    for unit, found in published.of_metric.items()
}
coefficients = pd.DataFrame(rows).T
coefficients

# %% [markdown]
# Those that are printed in the paper come out to the digit:

# %%
PRINTED = {
    "cifar100/wrn_40_2/wrn_16_2": (0.9581, 0.9667, 0.8889),
    "cifar100/vgg13/vgg8": (0.9742, 1.0, 1.0),
    "cifar100/resnet56/resnet20": (0.9404, 0.9333, 0.8333),
    "cifar100/ResNet50/vgg8": (0.9697, 0.9833, 0.9444),
}
for unit, printed in PRINTED.items():
    assert tuple(coefficients.loc[unit].round(4)) == printed, unit

# %% [markdown]
# Units share augmentations, so they are no independent evidence. The pooled test permutes the labels of the
# augmentations once for all units; beside it, what treating all points as independent would claim:

# %%
pooling = published.pooling["t_stddev"]
results(
    {
        "Kendall, mean over units": pooling.coefficients.kendall,
        "Pearson, random-effects mean": pooling.random_effects.pearson.mean,
        "one fixed list for all units": pooling.baselines.fixed_order,
        "lead over that list": pooling.baselines.lead_over_fixed_order,
        "scores of another teacher": pooling.baselines.other_unit,
        "incremental value (r)": pooling.incremental,
        "all points as if independent": pooling.naive,
    }
)

# %%
print(f"I² = {pooling.random_effects.pearson.i2:.0%}")
print("without a family:", {name: round(tau, 2) for name, tau in pooling.leave_family_out.items()})
show_verdict(published)

# %%
charts = {chart.key: chart for chart in dametric.report(published, quiet=True).charts}
paper(charts["scatter"])

# %%
paper(charts["forest"])

# %%
paper(charts["influence"])

# %%
paper(charts["subpools"])

# %%
paper(charts["regret"])

# %% [markdown]
# ## What to conclude
#
# T. stddev orders the published augmentations well in nearly every unit. One list of augmentations for all units
# orders them as well, and on these points the score is not shown to know more of a teacher than that list does; a good
# part of the correlation is the CutMix family. Telling the score and the list apart needs augmentations that vary
# inside their families, on several teachers, with enough seeds: `dametric plan` says how many.

# %%
assert "torch" not in sys.modules, "statistics and report never import torch"
