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
# # What T. stddev measures
#
# *T. stddev* is the standard deviation, over draws of n images, of the mean of the teacher's probabilities. Four things
# make it small or large: how the teacher tells images apart, what an augmentation adds, whether a batch shares its
# parameters, and how confident the teacher is. This notebook takes them one by one, with a small teacher of digits that
# is trained here, and with the teachers of the study on CIFAR-100 whose score files are committed.
#
# `make notebooks` executes it in about a minute on two cores; no network, no GPU.

# %%
from __future__ import annotations

import sys
import tempfile

sys.path.insert(0, "..")  # the study's code lies in the checkout, beside the package

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import dametric
from dametric.reports.drawing import COLOURS, GREY, finish
from experiments.study import figures
from experiments.study.results import Study

# %matplotlib inline
plt.rcParams.update({"font.size": 8, "figure.dpi": 110, "figure.constrained_layout.use": True})
where = {"device": "cpu", "dtype": "float32", "quiet": True}
images = dametric.load_data("digits", "train", image_size=8, quiet=True)
folder = tempfile.mkdtemp()
recipe = {"epochs": 8, "schedule": "onecycle", "lr": 0.1, "eval_every": "last", "image_size": 8}
trained = dametric.train("resnet8", "digits", output=f"{folder}/teacher.pth", **recipe, **where)
teacher = dametric.load_checkpoint(f"{folder}/teacher.pth")
print(f"a teacher of digits with {trained.record['last']['test_top1']:.0%} top-1")

# %% [markdown]
# ## Figure 1. What the variance is due to
#
# The variance of a draw is a sum: how far the *labels* are told apart, how far *images* of one label are, what the
# *augmentation* adds by chance to each image, and what parameters that a batch *shares* add. An augmentation lowers
# T. stddev by making the teacher tell labels apart less; the chance that it adds for each image goes the other way, and
# is smaller. Parameters that a batch shares add more, and can turn the order of augmentations round (note the scales).

# %%
augs = ["identity", "cutout:length=2", "cutout:length=4", "mixup", "cutmix", "noise", "randaugment:n=2,m=9"]
PARTS = {
    "t_var_label": "label",
    "t_var_image": "image",
    "t_var_aug": "augmentation",
    "t_var_shared": "shared by a batch",
}
settings = {"batches": 60, "batch_size": 32, "base_aug": "none", **where}
splits = {
    per: dametric.score(
        teacher, images, augs, metrics=("t_stddev_rms", "t_var_split"), per=per, **settings
    ).table.set_index("aug")
    for per in ("sample", "batch")
}
figure, panels = plt.subplots(1, 2, figsize=(7.2, 2.8), sharey=True)
for axes, (per, table) in zip(panels, splits.items(), strict=True):
    left, variance = np.zeros(len(augs)), (table.t_stddev_rms / table.t_stddev_rms["identity"])[augs] ** 2
    for (name, label), colour in zip(PARTS.items(), (COLOURS[0], COLOURS[5], COLOURS[1], COLOURS[4]), strict=True):
        share = table.loc[augs, name].clip(lower=0) * variance
        axes.barh(augs, share, left=left, color=colour, label=label, height=0.65)
        left += share.to_numpy()
    axes.invert_yaxis() if per == "sample" else None
    axes.set_title(f"parameters drawn for each {per}")
    axes.set_xlabel("variance of a draw (identity: 1)")
    finish(axes)
figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
plt.show()

# %% [markdown]
# ## Figure 2. Sharing: parameters once a batch
#
# The published code draws an augmentation's parameters once a batch. All images of a batch then move together, which
# adds to the variance whatever the number of images. The study's four teachers so far, twelve settings: the score drawn
# once a batch over that drawn for each sample.

# %%
study = Study.of_page()
figure, axes = plt.subplots(figsize=(4.6, 3.0))
for place, name in enumerate(study.teachers.sort_values("kappa").teacher):
    per_sample, per_batch = (
        {row.aug: row.metrics["t_stddev"].value for row in study.scores(f"{name}{ending}").rows}
        for ending in ("", "-per-batch")
    )
    order = sorted(per_sample)
    ratios = [per_batch[aug] / per_sample[aug] for aug in order]
    axes.plot(
        ratios,
        np.arange(len(order)) + 0.12 * (place - 1.5),
        "osD^"[place % 4],
        color=COLOURS[place],
        markersize=3.5,
        label=name,
    )
axes.set_yticks(range(len(order)), order, fontsize=6.5)
axes.axvline(1, color=GREY, linewidth=0.8, linestyle="--")
axes.set_xlabel("T. stddev per batch / per sample")
axes.legend(frameon=False)
finish(axes)
plt.show()

# %% [markdown]
# ## Figure 3. Confidence: the teacher sets the scale
#
# The same network, with its logits divided by a temperature: it knows the same, and says it more or less confidently.
# T. stddev of every augmentation moves with it. So *differences* of T. stddev are not comparable between teachers;
# kappa, how near to one-hot the teacher is on base views, is the number that is printed under every table for that.

# %%
temperatures, curves, kappas = (0.5, 1.0, 2.0, 4.0), {}, []
for temperature in temperatures:
    scores = dametric.score(
        teacher, images, ["identity", "cutout:length=4", "mixup", "cutmix"], temperature=temperature, **settings
    )
    kappas.append(scores.settings.t_confidence.value)
    for row in scores.rows:
        curves.setdefault(row.aug, []).append(row.metrics["t_stddev"].value)
figure, axes = plt.subplots(figsize=(4.2, 2.6))
for place, (name, values) in enumerate(curves.items()):
    axes.plot(kappas, values, color=COLOURS[place], marker="osD^"[place], markersize=4, label=name)
for kappa, temperature in zip(kappas, temperatures, strict=True):
    axes.annotate(
        f"T = {temperature:g}",
        (kappa, max(v[temperatures.index(temperature)] for v in curves.values())),
        xytext=(-4, 6),
        textcoords="offset points",
        fontsize=6.5,
        ha="right",
    )
axes.set_xlabel("kappa")
axes.set_ylabel("T. stddev (n = 160)")
axes.legend(frameon=False, fontsize=7)
finish(axes)
plt.show()

# %% [markdown]
# ## Figure 4. Images that show nothing
#
# Since T. stddev is small where the teacher says the same of all images, images that show nothing have the best score.
# Teacher T0 of the study on CIFAR-100: cutout with ever larger squares runs straight into black images.

# %%
display(figures.destroyed_images(study))
print("`dametric score` calls rows with less than 25 % of the information destroyed, and never recommends them")

# %% [markdown]
# ## What to keep in mind
#
# * T. stddev says how much an augmentation makes the teacher say the same of different images. That is not by itself
#   good: it is best for images without content, and monotone in strength.
# * It scales with the teacher's confidence; orders can be compared between teachers, differences cannot.
# * Parameters drawn once a batch add a part that does not shrink with the number of images.
