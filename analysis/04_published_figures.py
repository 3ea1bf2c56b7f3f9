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
# # The published figures, with intervals, and what a list does
#
# Wang et al. ([arXiv 2012.02909](https://arxiv.org/abs/2012.02909)) distilled students of ten teacher-student-data
# units under nine augmentations, and drew the students' test loss over *T. stddev* of the teacher. The points are in
# this package (`dametric.load_published`, read off the vector figures). Here they are drawn again, with what the
# figures do not show: how wide the intervals of nine points are, and how a mere list of the nine does.
#
# `make notebooks` executes this file; it takes seconds and needs no network, no images, no GPU.

# %%
from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import dametric
from dametric import stats
from dametric.reports.drawing import COLOURS, GREY, finish, keys_of, marks_of

# %matplotlib inline
plt.rcParams.update({"font.size": 8, "figure.dpi": 110, "figure.constrained_layout.use": True})
points = dametric.load_published().rename(columns={"t_stddev": "x", "student_test_loss": "y"})
units = list(points.unit.unique())
losses = points.pivot(index="unit", columns="aug", values="y").loc[units]
scores = points.pivot(index="unit", columns="aug", values="x").loc[units]
print(f"{len(units)} units, {losses.shape[1]} augmentations")

# %% [markdown]
# ## Figure 1. Student loss over T. stddev, all ten units
#
# Line and band: least squares with a 95 % confidence band. In nearly every unit the points lie close to a line.

# %%
marks = marks_of(list(losses.columns))
figure, panels = plt.subplots(2, 5, figsize=(7.2, 3.4))
for axes, unit in zip(panels.ravel(), units, strict=True):
    x, y = 1000 * scores.loc[unit], losses.loc[unit]
    line = stats.ols(x, y)
    grid = np.linspace(x.min(), x.max(), 50)
    middle, low, high = line.band(grid)
    axes.fill_between(grid, low, high, color="#DDE6F0", linewidth=0)
    axes.plot(grid, middle, color=GREY, linewidth=0.8)
    for name in losses.columns:
        shape, colour = marks[name]
        axes.plot(x[name], y[name], shape, color=colour, markersize=3.5)
    dataset, teacher, student = unit.split("/")
    axes.set_title(f"{teacher} -> {student}\n{dataset}", fontsize=6)
    axes.tick_params(labelsize=6)
    finish(axes)
figure.supxlabel("T. stddev of the teacher (x 1000)", fontsize=8)
figure.supylabel("test loss of the student (nats)", fontsize=8)
figure.legend(handles=keys_of(marks), loc="outside upper center", ncols=5, frameon=False, fontsize=6)
plt.show()

# %% [markdown]
# ## Figure 2. The coefficients, with intervals, beside a list
#
# Kendall's tau-b of T. stddev and the loss, with its 95 % interval. Beside it the same coefficient of a *list*: the
# mean rank of each augmentation's loss in the other nine units. The list knows nothing of this unit's teacher.

# %%
of_list = stats.fixed_order(points)
rows = []
for unit in units:
    here = of_list[of_list.unit == unit]
    rows.append((stats.correlate(scores.loc[unit], losses.loc[unit]), stats.correlate(here.x, here.y)))
figure, axes = plt.subplots(figsize=(5.2, 3.2))
for place, pair in enumerate(rows):
    for found, shift, colour, shape in zip(pair, (-0.14, 0.14), COLOURS[:2], "os", strict=True):
        axes.plot([found.low, found.high], [place + shift] * 2, color=colour, linewidth=1.2)
        axes.plot(found.statistic, place + shift, shape, color=colour, markersize=4)
axes.set_yticks(range(len(units)), [unit.replace("/", "  ") for unit in units], fontsize=6.5)
axes.set_ylim(len(units) - 0.5, -0.5)
axes.set_xlim(-0.3, 1.02)
axes.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
axes.set_xlabel("Kendall's tau-b with the student's test loss (95 %)")
kinds = {"T. stddev of this teacher": ("o", COLOURS[0]), "list: mean rank in the other units": ("s", COLOURS[1])}
figure.legend(handles=keys_of(kinds), frameon=False, loc="outside lower center", ncols=2, fontsize=7)
finish(axes)
plt.show()
means = [float(np.mean([pair[side].statistic for pair in rows])) for side in (0, 1)]
ahead, behind = (sum(sign * (b.statistic - a.statistic) > 0 for a, b in rows) for sign in (1, -1))
print(
    f"mean tau-b: T. stddev {means[0]:.3f}, list {means[1]:.3f}; the list is ahead in {ahead} units, behind in {behind}"
)

# %% [markdown]
# ## Figure 3. Why a list does so well
#
# Ranks of the nine losses in the ten units (1: lowest loss). Lines that cross: pairs that two units order differently.

# %%
ranks = losses.rank(axis=1)
order = ranks.mean().sort_values().index
figure, axes = plt.subplots(figsize=(6.2, 2.8))
for place, unit in enumerate(units):
    jitter = 0.03 * (place - 4.5)
    axes.plot(range(9), ranks.loc[unit, order] + jitter, color=COLOURS[place % 7], linewidth=0.9, marker=".", alpha=0.8)
axes.set_xticks(range(9), [name.replace("_", " ") for name in order], rotation=20, ha="right")
axes.set_ylabel("rank of the loss")
axes.invert_yaxis()
finish(axes)
plt.show()
pairs = list(itertools.combinations(losses.columns, 2))
same = sum(abs(int(np.sign(losses[a] - losses[b]).sum())) == len(units) for a, b in pairs)
print(f"{same} of {len(pairs)} pairs are in the same order in all {len(units)} units")
print(f"Kendall's W of the losses {stats.kendalls_w(losses).statistic:.3f}", end=", ")
print(f"of T. stddev {stats.kendalls_w(scores).statistic:.3f}")

# %% [markdown]
# ## Figure 4. What is left beyond the list
#
# Scores and losses standardised in each unit, and the mean of each augmentation taken away from both. If T. stddev knew
# more of a unit than the list does, these points would rise.

# %%
beyond = stats.incremental(points)
standardised = [table.sub(table.mean(axis=1), axis=0).div(table.std(axis=1), axis=0) for table in (scores, losses)]
x, y = (table - table.mean() for table in standardised)
figure, axes = plt.subplots(figsize=(3.4, 2.9))
for name in losses.columns:
    shape, colour = marks[name]
    axes.plot(x[name], y[name], shape, color=colour, markersize=3.5)
axes.axhline(0, color=GREY, linewidth=0.8, linestyle="--")
axes.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
axes.set_xlabel("T. stddev beyond the list")
axes.set_ylabel("test loss beyond the list")
finish(axes)
plt.show()
left = float((x**2).to_numpy().sum() / (standardised[0] ** 2).to_numpy().sum())
print(
    f"{1 - left:.0%} of the variance of T. stddev within units is the same effect of the augmentation in all of them;"
)
print(f"what is left has a correlation of {beyond.statistic:.2f} with the loss (p {beyond.pvalue:.2f}, units permuted)")

# %% [markdown]
# ## Figure 5. Without one family
#
# Mean tau-b over the units when the augmentations of a family are left out. Much of the correlation is CutMix.

# %%
analysis = dametric.correlate(published=True)
without = analysis.pooling["t_stddev"].leave_family_out
pooled = analysis.pooling["t_stddev"].coefficients.kendall
table = pd.Series({"all nine": pooled.statistic, **{f"without {name}": tau for name, tau in without.items()}})
figure, axes = plt.subplots(figsize=(3.6, 2.2))
axes.plot(table, range(len(table)), "o", color=COLOURS[0], markersize=4)
axes.set_yticks(range(len(table)), table.index, fontsize=7)
axes.invert_yaxis()
axes.set_xlim(0, 1)
axes.set_xlabel("mean tau-b over ten units")
finish(axes)
plt.show()

# %% [markdown]
# ## What the figures show
#
# T. stddev orders nine augmentations well in nearly every unit. So does a list made of *other* teachers' students,
# since the losses are in nearly the same order everywhere. On these points T. stddev is not shown to know anything of a
# teacher that the list does not. Nine augmentations whose order hardly changes cannot show it for any score: that needs
# augmentations at several strengths, and teachers that differ, as in `06_study_cifar100`.

# %%
print(f"joint test of mean tau-b {pooled.statistic:.3f}: p {pooled.pvalue:.1e}")
