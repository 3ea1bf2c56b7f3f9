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
# # Score augmentations for a teacher, in ten minutes
#
# You have a trained network, the *teacher*, and want to distil a smaller one from it under augmentation. This notebook
# scores augmentations from the teacher alone, reads the table, and says what the score can and cannot tell. It runs as
# it stands on the digits of scikit-learn; change the three lines of the next cell to score your own.
#
# The same from the command line: `dametric score --teacher teacher.pth --data cifar100/ --aug paper`.

# %%
from __future__ import annotations

import sys
import tempfile
from contextlib import redirect_stderr

import torch
from IPython.display import Image, display

import dametric

# %matplotlib inline
folder = tempfile.mkdtemp()
DATA = "digits"  # or "cifar100", a folder of images, of Parquet files, uint8 tensors, ...
TEACHER = f"{folder}/teacher.pth"  # or your checkpoint; any nn.Module that returns logits will do
WHERE = {"device": "cpu", "dtype": "float32", "quiet": True}

# %% [markdown]
# ## A teacher
#
# Skip this if you have one. Checkpoints of torchvision, timm, RepDistiller and others are read as they are.

# %%
recipe = {"epochs": 8, "schedule": "onecycle", "lr": 0.1, "eval_every": "last", "image_size": 8}
trained = dametric.train("resnet8", DATA, output=TEACHER, **recipe, **WHERE)
teacher = dametric.load_checkpoint(TEACHER)
images = dametric.load_data(DATA, "train", image_size=teacher.image_size, quiet=True)
print(f"{teacher.arch}, {teacher.num_classes} classes, {trained.record['last']['test_top1']:.1%} top-1; {images}")

# %% [markdown]
# ## What the augmentations do
#
# Base views on top, augmented views below. Look before you score.

# %%
augs = ["crop+flip", "cutout:length=3", "mixup", "cutmix", "randaugment:n=2,m=9"]
display(Image(dametric.show(augs, f"{folder}/views.png", images, columns=8, quiet=True).read_bytes(), width=520))

# %% [markdown]
# ## Scores
#
# Each augmentation is shown until the error of its score is 1 % of the score. All see the same images, so differences
# are known better than the values.

# %%
scores = dametric.score(teacher, images, ["identity", *augs], metrics=("t_stddev", "t_entropy"), batch_size=32, **WHERE)
table = scores.table.set_index("aug")
table[["t_stddev", "t_stddev_se", "t_entropy", "difference", "difference_se", "tied_with_best"]].round(5)

# %% [markdown]
# * `t_stddev`: how much the mean of the teacher's answers varies between draws of n images; lower is better. It is
#   corrected for the bias of few batches, and has a standard error.
# * `difference`: to the best row, paired. `tied_with_best`: the 95 % interval of the difference holds zero.
# * `t_entropy`: how unsure the teacher is of augmented images, a simple measure to compare with.

# %%
figure = scores.plot()
figure.set_dpi(80)
figure

# %% [markdown]
# ## How confident the teacher is
#
# One number of the teacher: kappa, from 0 (says the same of every image) to 1 (says one class of every image, without
# doubt). Differences of T. stddev between teachers of different kappa mean nothing; their orders can be compared.

# %%
kappa = scores.settings.t_confidence
print(f"kappa {kappa.value:.3f} [{kappa.low:.3f}, {kappa.high:.3f}]")

# %% [markdown]
# ## Strengths
#
# A range is a curve. T. stddev falls with strength to the end: it cannot say where to stop.

# %%
curve = dametric.score(teacher, images, "cutout:length=1..7/4", metrics=("t_stddev",), batch_size=32, **WHERE)
drawn = curve.plot()
drawn.set_dpi(80)
drawn

# %% [markdown]
# ## What the score cannot tell
#
# Images that show nothing have the best score. `information_kept` says how much the teacher still tells images apart;
# rows below a quarter are marked as destroyed, come last, and are never recommended.


# %%
def black(pixels: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(pixels)


with redirect_stderr(sys.stdout):  # the warning belongs here
    more = dametric.score(teacher, images, ["identity", "cutmix", black], metrics=("t_stddev",), batch_size=32, **WHERE)
for row in more.rows:
    values = {name: row.metrics[name].value for name in ("t_stddev", "information_kept")}
    print(
        f"{row.aug:10s} T. stddev {values['t_stddev']:.5f}   information kept {values['information_kept']:5.2f}", end=""
    )
    print("   destroyed" if row.destroyed else "")
print("recommended:", more.best["aug"])

# %% [markdown]
# `black` above is also how an augmentation of your own is scored: any function of uint8 images.
#
# ## What next
#
# * `scores.write("scores.json")` keeps everything the numbers depend on; `dametric report scores.json -o scores.html`
#   makes the page.
# * A score orders; short students decide: `02_choose`.
# * How far such an order can be trusted: `03_correlation_report` and `04_published_figures`. In short: about as far as
#   a fixed list of augmentations.
# * The winner as code of torchvision:

# %%
print(dametric.export("crop+flip+cutmix", library="torchvision")[:600])
