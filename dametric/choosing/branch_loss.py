"""`branch_loss`: the held-out loss after a short branch of training from the warm student, under each augmentation.

Each branch is 5 % of the schedule meant, by cosine from half the peak learning rate to 0, with the trainer's own loss;
seeds 0 and 1, the same batches for all augmentations. Branches are runs of the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from dametric.augment import Augmentation
from dametric.base.progress import say
from dametric.choosing.result import ErrorPart, StudentScore
from dametric.choosing.warm import WarmStudent, apart, schedule_share
from dametric.errors import RunFailed
from dametric.models import load_state
from dametric.training.context import TrainingContext, TrainingRun
from dametric.training.evaluate import held_out_logits
from dametric.training.recipe import Recipe
from dametric.training.run import carry_out_together
from dametric.training.watched import watching

SEEDS = (0, 1)
FOLDER = "branches"
"""Where branches lie below the ledger's folder."""
_TOGETHER = 8  # branches in lockstep, which share base views and the teacher's answers to them


def branch_recipe(recipe: Recipe, images: int, aug: Augmentation, seed: int) -> Recipe:
    """The recipe of a branch."""
    steps = schedule_share(recipe, images)
    short = replace(recipe, epochs=None, steps=steps, schedule="cosine", lr=recipe.lr / 2)
    return replace(short, seed=seed, aug=aug.canonical)


def branch_loss(
    context: TrainingContext,
    student: WarmStudent,
    recipe: Recipe,
    augs: Sequence[Augmentation],
    *,
    root: str | Path = "runs",
    quiet: bool = False,
    stop: Callable[[], bool] | None = None,
) -> StudentScore:
    """Train branches, or read them from the ledger, and evaluate them on the held-out images.

    Parameters
    ----------
    context, student, recipe, augs
        As of :func:`dametric.choosing.student_scores.warm_scores`.
    root : path-like
        The ledger's folder.
    quiet, stop
        See :func:`dametric.choosing.warm.warm_student`.

    Raises
    ------
    Interrupted
        If ``stop`` said so; the same call goes on.
    """
    here = apart(context, student)
    images, reasons, rows = len(here.train), dict[str, str](), []
    for seed in SEEDS:
        works = [
            here.work(
                student.model,
                branch_recipe(recipe, images, aug, seed),
                Path(root) / FOLDER,
                aug=aug,
                eval_every="last",
            )
            for aug in augs
        ]
        for start in range(0, len(works), _TOGETHER):
            group = works[start : start + _TOGETHER]
            with watching(group, quiet, stop) as watch:
                watch.results = carry_out_together(group, stop=watch.stop, advance=watch.advance)
            for place, result in enumerate(watch.results, start):
                if isinstance(result, RunFailed):
                    reasons[augs[place].name] = str(result)
                    say(f"{works[place].title}: {result}")
        rows.append(torch.stack([_losses(work, here) for work in works]))
    losses = torch.stack(rows)
    steps = schedule_share(recipe, images)
    names = tuple(aug.name for aug in augs)
    values = losses.mean((0, 2))
    return StudentScore(
        "branch_loss",
        "lower",
        names,
        values,
        branch_errors(losses),
        float(len(SEEDS) * steps),
        parts=len(SEEDS),
        reasons=reasons,
    )


def _losses(work: TrainingRun, context: TrainingContext) -> Tensor:
    """Cross-entropy of each held-out image with its label, in nats; without labels, divergence from the teacher.

    NaN where the branch failed.
    """
    held_out = context.test
    if not work.finished:
        return torch.full((len(held_out),), torch.nan, dtype=torch.float64)
    model = work.fresh()
    load_state(work.run.checkpoint, model)
    exact = torch.float64 if work.recipe.dtype == "float64" else torch.float32
    normalisation = {"mean": context.train.mean, "std": context.train.std}
    logits = held_out_logits(model, held_out, context.device, exact, work.interface, **normalisation)
    if not context.labelled:
        assert context.teacher_logits is not None
        tau = work.recipe.objective.temperature
        soft, asked = (each.double().cpu().div(tau).log_softmax(1) for each in (logits, context.teacher_logits))
        return F.kl_div(soft, asked, reduction="none", log_target=True).sum(1)
    return F.cross_entropy(logits.double(), held_out.labels.to(logits.device), reduction="none").cpu()


def branch_errors(losses: Tensor) -> tuple[ErrorPart, ErrorPart, ErrorPart]:
    """Errors of held-out images, of what a seed does to one augmentation alone, and of what it does to all of them.

    Seeds are few: the variance of the second is pooled over augmentations; the third leaves differences as they are,
    and is known by no more degrees of freedom than there are seeds less one.

    Parameters
    ----------
    losses : Tensor of shape (seeds, augmentations, images), float64
    """
    seeds, augs, count = losses.shape
    rows = losses.mean(0)
    others = (rows.sum(1, keepdim=True) - rows) / (count - 1)
    means = losses.mean(2)
    good = means.isfinite().all(0)
    own, shared, dof = 0.0, 0.0, (seeds - 1) * max(1, int(good.sum()) - 1)
    apart_of_mean = torch.eye(augs, dtype=torch.float64) - 1 / max(1, int(good.sum()))
    if bool(good.any()):
        known = means[:, good]
        common = known.mean(1)
        apart = known - known.mean(0) - (common - common.mean())[:, None]
        own = float(apart.square().sum()) / dof
        shared = float(common.var())
    covariances = [own * apart_of_mean, torch.full((augs, augs), shared, dtype=torch.float64)]
    for covariance in covariances:
        covariance /= seeds
        covariance[~good] = torch.nan
        covariance[:, ~good] = torch.nan
    return (
        ErrorPart.jackknife("held-out images", others),
        ErrorPart("seeds, own", covariances[0], dof),
        ErrorPart("seeds, common", covariances[1], seeds - 1),
    )
