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
# # Choose an augmentation: score, then settle by short students
#
# A score orders augmentations. A decision needs students: `dametric.choose` trains short ones, each where it is worth
# most, until the answer is sure enough or the budget is spent, and says how sure it is. Here it runs live on the digits
# of scikit-learn, with a budget in student-steps, so that the same runs come out on every machine.
#
# From the command line: `dametric choose --teacher t.pth --student resnet8 --data cifar100/ --budget 30m -o choice`. It
# takes a minute or two on two cores.

# %%
from __future__ import annotations

import tempfile

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

import dametric
from dametric.reports.drawing import COLOURS, GREY, finish
from dametric.reports.sheets import paper

# %matplotlib inline
plt.rcParams.update({"font.size": 8, "figure.dpi": 110, "figure.constrained_layout.use": True})
where = {"device": "cpu", "dtype": "float32", "quiet": True}
folder = tempfile.mkdtemp()
recipe = {"epochs": 8, "schedule": "onecycle", "lr": 0.1, "eval_every": "last", "image_size": 8}
dametric.train("resnet8", "digits", output=f"{folder}/teacher.pth", **recipe, **where)
teacher = dametric.load_checkpoint(f"{folder}/teacher.pth")

# %% [markdown]
# ## The choice
#
# A whole schedule is meant to be 200 steps. Runs are whole schedules compressed to a tenth and to two fifths of that,
# or of full length. Students are compared on 300 images of the training split that none is trained on; the test split
# is never read. The budget is that of twelve whole students.

# %%
images = dametric.load_data("digits", "train", image_size=8, quiet=True)
parts = dametric.data.hold_out(images, 300)
candidates = ["cutout:length=2", "cutout:length=4", "mixup:alpha=0.2", "mixup", "cutmix", "randaugment:n=1,m=5"]
settings = {"steps": 200, "fractions": (0.1, 0.4, 1), "budget": "2400steps", "epsilon": 0.01, "lr": 0.1}
answers = list(dametric.choose(teacher, "resnet8", parts, candidates, output=f"{folder}/choice", **settings, **where))
choice = answers[-1]
print(f"{len(choice.runs)} runs, {sum(run.steps for run in choice.runs)} student-steps; status: {choice.status}")
for sentence in choice.sentences:
    print("*", sentence)

# %% [markdown]
# ## Figure 1. What the runs bought
#
# Student-steps against the expected regret (how much worse the present choice is expected to be than the best, in nats)
# and the stated probability that it lies within epsilon of the best.

# %%
looks = pd.DataFrame([vars(look) for look in choice.looks])
figure, (left, right) = plt.subplots(1, 2, figsize=(7.0, 2.5))
left.step(looks.steps, looks.regret, where="post", color=COLOURS[0])
left.set_ylabel("expected regret (nats)")
right.step(looks.steps, looks.p_within, where="post", color=COLOURS[1])
right.axhline(0.95, color=GREY, linewidth=0.8, linestyle="--")
right.set_ylabel("P(within epsilon of the best)")
right.set_ylim(0, 1.02)
for axes in (left, right):
    axes.set_xlabel("student-steps")
    finish(axes)
plt.show()

# %% [markdown]
# ## Figure 2. The candidates
#
# Expected loss of a whole schedule over that of the one chosen, with 95 % intervals; P(best) beside the names.

# %%
charts = {chart.key: chart for chart in dametric.report(f"{folder}/choice", quiet=True).charts}
display(paper(next(iter(charts.values()))))

# %% [markdown]
# ## Where the budget went

# %%
runs = pd.DataFrame([vars(run) for run in choice.runs])
runs.pivot_table(index="aug", columns="steps", values="loss", aggfunc="count").fillna(0).astype(int)

# %% [markdown]
# ## What it says, and what it does not
#
# * The probability is that of the model: priors over how effects in short runs agree with those in whole ones, and seed
#   noise. How often it was right in simulation is in [`docs/choosing.md`](../docs/choosing.md).
# * No score has shown that it orders students beyond a fixed list, so the score starts with no weight; what decides is
#   runs.
# * On digits at eight pixels most candidates are alike, and saying so is the right answer.
# * `dametric.choose` yields after every run: leave the loop whenever you like, and the same call goes on later.
