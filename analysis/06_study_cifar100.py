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
# # The study on CIFAR-100: what is a score worth on real students?
#
# Everything was fixed before a student was trained: teachers, settings, endpoint (test loss, in nats, at the last
# step), and tests. 5,000 training images, students of 2,000 steps by the published objective, float32. Teachers T1 to
# T5 are resnet20s that have learnt these images for 8, 20, 50, 120 and 300 epochs, T0 one of all 50,000 images.
#
# Runs go on in the background, so this notebook says what there is. It reads the committed records and score files and
# takes seconds; the same tables and figures as a page:
# [`experiments/results/README.md`](../experiments/results/README.md) (`python -m experiments.study`).

# %%
from __future__ import annotations

import sys

sys.path.insert(0, "..")  # the study's code lies in the checkout, beside the package

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

from dametric.reports.drawing import COLOURS, GREY, finish
from experiments.study import figures
from experiments.study.page import Page
from experiments.study.results import Study

# %matplotlib inline
plt.rcParams.update({"font.size": 8, "figure.dpi": 110, "figure.constrained_layout.use": True})
pd.options.display.precision = 4
study = Study.of_page()
page = Page(study)
print(*study.missing()[:-1], sep="\n")

# %% [markdown]
# ## Figure 1. The ladder: does kappa say how much an augmentation is worth?
#
# Kappa is one number of a teacher: how near to one-hot it is on its own training images. The claim: the log gain of
# cutmix over identity rises with kappa, over six teachers. A teacher that has learnt its images by heart says nearly
# one-hot of them, and only changed images show what it knows. Kappa rises with the teacher's accuracy here, so both are
# shown. Bars are errors over two seeds.

# %%
display(figures.of_ladder(study))
page.tables["ladder"].round(4)

# %%
ladder = page.ladder
print(f"{len(ladder.table)} of {ladder.planned} teachers; smallest possible p {ladder.floor:.3f}")
print(f"kappa and gain:    Spearman {ladder.of_kappa.statistic:.2f}, exact one-sided p {ladder.of_kappa.pvalue:.3f}")
print(f"accuracy and gain: Spearman {ladder.of_accuracy.statistic:.2f}, p {ladder.of_accuracy.pvalue:.3f}")

# %% [markdown]
# The claim is judged over all six teachers and not before. With fewer, the smallest possible p is what it is, and
# teachers whose gains are within the noise of two seeds can change places.

# %% [markdown]
# ## Does a metric know more than a list?
#
# Eight units of twelve settings. In each unit metric and loss are standardised, and the mean of each setting over the
# units, the *list*, is taken away; what is left is correlated. p comes from permuting units within student (576 ways),
# one-sided, Holm over the three metrics that were named. With too few units the answer is "cannot answer".

# %%
answers = page.tables["beyond_list"]
display(answers[["metric", "units", "correlation", "p", "adjusted", "floor"]])
print(*(f"{each.metric}: {each.note}" for each in page.named if each.note), sep="\n")

# %% [markdown]
# ### Figure 2. What that test can see
#
# Simulated studies of the same shape: units of one student share half of what is beyond the list, and units differ in
# scale. Share of studies in which a metric is shown, by its true correlation beyond the list.

# %%
power = pd.read_csv(study.records / "tables" / "simulation.csv")
figure, axes = plt.subplots(figsize=(4.6, 2.6))
for units, style in ((8, "-"), (7, "--")):
    rows = power[power.units == units]
    for column, colour, label in (
        ("single", COLOURS[0], "one test at 5 %"),
        ("alone", COLOURS[1], "one of three, by Holm"),
    ):
        axes.plot(
            rows.truth, rows[column], style, color=colour, marker="o", markersize=3, label=f"{label}, {units} units"
        )
axes.axhline(0.05, color=GREY, linewidth=0.8, linestyle=":")
axes.set_xlabel("true correlation beyond the list")
axes.set_ylabel("share of studies")
figure.legend(loc="outside right center", frameon=False, fontsize=7)
finish(axes)
plt.show()

# %% [markdown]
# ## Figure 3. Why T. stddev cannot find a best strength
#
# T. stddev of teacher T0 for images that carry ever less. It falls with the information that is left, down to images
# that show nothing, which have the best score of all. `dametric score` marks such rows as destroyed.

# %%
display(figures.destroyed_images(study))
page.tables["destroyed"]

# %% [markdown]
# ## Drawn once a batch, or for each sample
#
# The published code draws an augmentation's parameters once a batch. For each teacher: the order of the twelve settings
# by both scores, and how much larger the score per batch is.

# %%
page.tables["drawing"]

# %% [markdown]
# ## Noise and cost
#
# Seed noise of the test loss from pairs of seeds (nats), and what answers about twelve settings cost, in whole runs of
# the student.

# %%
display(page.tables["seed_variance"])
page.tables["costs"]

# %% [markdown]
# ## Strengths and short runs
#
# Drawn as soon as a unit has all of its twelve settings.

# %%
for draw in (figures.of_strengths, figures.beyond_list, figures.short_runs):
    drawn = draw(study)
    print(f"{draw.__name__}: nothing to draw yet") if drawn is None else display(drawn)
