"""Every score against a slow oracle in float64, its null cases and invariances."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special
from torch import Tensor, nn

from dametric.augment import Augmentation, ImageSpec, Keys, parse
from dametric.choosing import grad_align
from dametric.choosing.batches import SEED
from dametric.choosing.branch_loss import branch_errors
from dametric.choosing.result import ErrorPart, StudentScore
from dametric.choosing.ridge_student import generalised_cross_validation
from dametric.choosing.student_scores import warm_scores
from dametric.choosing.warm import WarmStudent
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.training import Objective, Recipe, Training, TrainingContext
from experiments.student_score_errors import coverage

BATCHES, SIZE = 5, 24
SPECS = ("identity", "cutmix", "mixup:alpha=0.5", "cutout:length=4", "cutmixpick:by=kld")
COLLECTED = ("grad_align", "ridge_student", "ts_useful")
TAU = 4.0


def augmentations(context: TrainingContext, *specs: str) -> list[Augmentation]:
    assert context.teacher is not None
    return [parse(spec, ImageSpec(8, context.teacher.mean)) for spec in specs]


def scores(context: TrainingContext, student: WarmStudent, recipe: Recipe, *specs: str) -> dict[str, StudentScore]:
    augs = augmentations(context, *specs)
    result = warm_scores(context, student, recipe, augs, COLLECTED, quiet=True, batches=BATCHES, size=SIZE)
    return {score.metric: score for score in result}


def normalised(images: Tensor, of: ImageSet) -> Tensor:
    mean, std = (torch.tensor(values).double().view(1, -1, 1, 1) for values in (of.mean, of.std))
    return (images.double() / 255 - mean) / std


class Shown:
    """One batch under one augmentation, made without the trainer."""

    def __init__(self, context: TrainingContext, student: nn.Module, recipe: Recipe, aug: Augmentation, n: int) -> None:
        data, per_epoch = context.train, len(context.train) // SIZE
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(SEED * 1_000_003 + n // per_epoch))
        index = order[n % per_epoch * SIZE :][:SIZE]
        assert context.teacher is not None
        base = parse(recipe.base_aug, ImageSpec(8, context.teacher.mean))
        self.base = base(data.images[index], Keys(SEED, 1, SIZE, n).sub("base")).images
        self.aug = aug(self.base, Keys(SEED, 1, SIZE, n)).images
        module = context.teacher.model.double()
        with torch.no_grad():
            self.base_target = module(normalised(self.base, data))
            target = module(normalised(self.aug, data))
            if aug.pick is not None:  # by the divergence of the student's answer at temperature 1
                t, s = target.log_softmax(1), student.eval()(normalised(self.aug, data)).log_softmax(1)
                best = (t.exp() * (t - s)).sum(1).topk(SIZE).indices
                self.aug, target = self.aug[best], target[best]
            self.aug_target = target
        self.number = n


def kl(teacher: Tensor, student: Tensor, tau: float) -> Tensor:
    """Divergence of each row, in nats."""
    t, s = (rows.div(tau).log_softmax(1) for rows in (teacher, student))
    return (t.exp() * (t - s)).sum(1)


def flat_gradient(loss: Tensor, model: nn.Module) -> np.ndarray:
    return np.concatenate([g.numpy().ravel() for g in torch.autograd.grad(loss, list(model.parameters()))])


def oracle(
    context: TrainingContext, student: WarmStudent, recipe: Recipe, aug: Augmentation, without: int | None = None
) -> dict[str, float]:
    """All three scores, one batch after the other, with gradients and regressions written out."""
    model, data, held = copy.deepcopy(student.model), context.train, context.test
    shown = [Shown(context, model, recipe, aug, n) for n in range(BATCHES)]
    penalty = gcv_by_hand(*base_rows(model, shown, data))
    shown = [batch for batch in shown if batch.number != without]
    teacher = context.teacher_logits
    assert teacher is not None

    order = torch.randperm(len(held), generator=torch.Generator().manual_seed(0))
    halves = order.tensor_split(grad_align.GROUPS)
    half = [torch.cat(halves[:8]), torch.cat(halves[8:])]
    clean = normalised(held.images, data)
    one, two = (
        flat_gradient(kl(teacher[rows], model.eval()(clean[rows]), recipe.objective.temperature).mean(), model)
        for rows in half
    )
    dots, squares = [], []
    for batch in shown:
        gradient = batch_gradient(student.model, batch, recipe, data)
        dots.append((one + two) / 2 @ gradient)
        squares.append(gradient @ gradient)
    align = np.mean(dots) / np.sqrt(one @ two * np.mean(squares))

    rows, targets = base_rows(model, shown, data)
    more = [(by_hand(model, normalised(batch.aug, data)), batch.aug_target.numpy()) for batch in shown]
    rows, targets = np.concatenate([rows, *(r for r, _ in more)]), np.concatenate([targets, *(z for _, z in more)])
    targets = targets - targets.mean(1, keepdims=True)
    design, mean = rows - rows.mean(0), targets.mean(0)
    fit = np.linalg.solve(
        design.T @ design / len(rows) + penalty * np.eye(rows.shape[1]), design.T @ targets / len(rows)
    )
    answer = (by_hand(model, clean) - rows.mean(0)) @ fit + mean
    ridge = float(kl(teacher, torch.from_numpy(answer), recipe.objective.temperature).mean())

    useful = []
    for batch in shown:
        with torch.no_grad():
            s = special.log_softmax(model.eval()(normalised(batch.aug, data)).numpy(), 1)
        t = special.softmax(batch.aug_target.numpy(), 1)
        sure = 1 - special.entr(t).sum(1) / np.log(10)
        useful.append(((t * (np.log(t) - s)).sum(1) * sure).mean())
    return {"grad_align": float(align), "ridge_student": ridge, "ts_useful": float(np.mean(useful))}


def batch_gradient(theta0: nn.Module, batch: Shown, recipe: Recipe, data: ImageSet) -> np.ndarray:
    """Of a fresh copy in training mode: base view, then augmented view, no labels."""
    model, weights = copy.deepcopy(theta0).train(), recipe.objective
    torch.manual_seed(Keys(SEED, 1, SIZE, batch.number).sub(str(batch.number)).start("network"))
    loss = (
        weights.raw
        * weights.temperature**2
        * kl(batch.base_target, model(normalised(batch.base, data)), weights.temperature).mean()
    )
    loss = (
        loss
        + weights.aug
        * weights.temperature**2
        * kl(batch.aug_target, model(normalised(batch.aug, data)), weights.temperature).mean()
    )
    return flat_gradient(loss, model)


def by_hand(model: nn.Module, images: Tensor) -> np.ndarray:
    """Features of the tiny network: averages of its two stages, and what the linear layer takes."""
    assert isinstance(model, nn.Sequential)
    with torch.no_grad():
        model.eval()
        first = model[0](images)
        second = model[1](first)
        return torch.cat([first.mean((2, 3)), second.mean((2, 3)), second.flatten(1)], 1).numpy()


def base_rows(model: nn.Module, shown: Sequence[Shown], data: ImageSet) -> tuple[np.ndarray, np.ndarray]:
    rows = [by_hand(model, normalised(batch.base, data)) for batch in shown]
    return np.concatenate(rows), np.concatenate([batch.base_target.numpy() for batch in shown])


def gcv_by_hand(rows: np.ndarray, targets: np.ndarray) -> float:
    """With the hat matrix written out."""
    targets = targets - targets.mean(1, keepdims=True)
    design, count = rows - rows.mean(0), len(rows)
    largest = np.linalg.eigvalsh(design.T @ design / count).max()
    errors = {}
    for penalty in np.logspace(-10, 2, 121) * largest:
        inverse = np.linalg.inv(design.T @ design / count + penalty * np.eye(rows.shape[1]))
        hat = np.ones((count, count)) / count + design @ inverse @ design.T / count
        rest = targets - hat @ targets
        errors[penalty] = (rest**2).sum() / (1 - np.trace(hat) / count) ** 2
    return min(errors, key=errors.__getitem__)


def test_every_score_and_every_deleted_value_equals_the_slow_oracle(
    context: TrainingContext, student: WarmStudent, recipe: Recipe
) -> None:
    before = copy.deepcopy(student.model.state_dict())
    results = scores(context, student, recipe, *SPECS)
    for place, aug in enumerate(augmentations(context, *SPECS)):
        for without in (None, *range(BATCHES)) if aug.name == "cutmix" else (None,):
            expected = oracle(context, student, recipe, aug, without)
            for name, score in results.items():
                left_out = score.errors[0].left_out
                assert left_out is not None
                ours = score.values[place] if without is None else left_out[place, without]
                assert float(ours) == pytest.approx(expected[name], rel=1e-6), (aug.name, name, without)
    for name, weight in student.model.state_dict().items():
        assert torch.equal(weight, before[name]), "theta0 is not changed"
    assert [results[name].cost for name in COLLECTED] == [
        BATCHES + 100 / (2 * SIZE) / 5,
        pytest.approx((BATCHES / 2 + (BATCHES / 2 + 100 / (2 * SIZE)) / 5) / 3),
        BATCHES / 6,
    ]


def test_single_precision_differs_by_rounding_alone(
    context: TrainingContext, student: WarmStudent, recipe: Recipe
) -> None:
    exact = scores(context, student, recipe, "identity", "cutmix")
    single = replace(student, model=copy.deepcopy(student.model).float())
    for dtype in ("float32", "bfloat16"):  # the gradients of a coarser format are another question
        rounded = scores(context, single, replace(recipe, dtype=dtype), "identity", "cutmix")
        for name in COLLECTED:
            assert rounded[name].values.tolist() == pytest.approx(exact[name].values.tolist(), rel=2e-3, abs=2e-5), name


def test_order_of_candidates_other_candidates_and_strength_zero_change_nothing(
    context: TrainingContext, student: WarmStudent, recipe: Recipe
) -> None:
    forward = scores(context, student, recipe, "identity", "cutmix", "rotate:degrees=0", "cutout:length=4")
    backward = scores(context, student, recipe, "cutout:length=4", "cutmix", "identity")
    for name in COLLECTED:
        ours, theirs = forward[name], backward[name]
        for aug in theirs.augs:
            one, other = (float(score.values[score.augs.index(aug)]) for score in (ours, theirs))
            assert one == other, (name, aug)
        gap = ours.difference("rotate:degrees=0", "identity")
        assert gap.value == pytest.approx(0, abs=1e-12)
        assert gap.se == pytest.approx(0, abs=1e-12)
        assert ours.difference("cutmix", "identity").se > 0
        there, back = ours.difference("cutmix", "identity"), ours.difference("identity", "cutmix")
        assert (there.value, there.se) == (-back.value, back.se)


def test_scaling(context: TrainingContext, student: WarmStudent, recipe: Recipe) -> None:
    """The cosine does not know the loss's weight, and no score knows what is added to all of the teacher's logits."""
    plain = scores(context, student, recipe, "cutmix")
    weights = Objective(ce=0.7, raw=1.8, aug=1.8)
    scaled = scores(context, student, replace(recipe, objective=weights), "cutmix")
    for name in COLLECTED:
        assert float(scaled[name].values) == pytest.approx(float(plain[name].values), rel=1e-9), name
    teacher = copy.deepcopy(context.teacher)
    assert teacher is not None
    with torch.no_grad():
        teacher.model[-1].bias.add_(3.0)  # type: ignore[index, union-attr]
    moved = TrainingContext(context.train, context.test, context.device, teacher)
    shifted = scores(moved, student, recipe, "cutmix")
    for name in COLLECTED:
        assert float(shifted[name].values) == pytest.approx(float(plain[name].values), rel=1e-4), (
            name
        )  # float32 targets


def test_views_that_the_loss_leaves_out(context: TrainingContext, student: WarmStudent, recipe: Recipe) -> None:
    augmented = scores(context, student, replace(recipe, objective=Objective.of("augmented")), "identity", "cutmix")
    both = scores(context, student, recipe, "identity", "cutmix")
    for name in ("ridge_student", "ts_useful"):  # which see both views whatever the loss
        assert augmented[name].values.tolist() == both[name].values.tolist()
    assert augmented["grad_align"].values.tolist() != both["grad_align"].values.tolist()
    with pytest.raises(UsageError, match="no augmented images"):
        scores(context, student, replace(recipe, objective=Objective.of("raw")), "cutmix")


def test_a_held_out_gradient_that_is_noise_gives_no_score_but_the_reason(
    context: TrainingContext, student: WarmStudent, recipe: Recipe
) -> None:
    """Where G1 and G2 point apart."""
    dots, squares = torch.ones(1, 4, 2).double(), torch.ones(1, 4).double()
    gram = torch.tensor([[1.0, -0.1], [-0.1, 1.0]]).double()
    values, errors, agreement = grad_align.aligned(dots, squares, gram, torch.tensor([5, 5]))
    assert agreement == pytest.approx(-0.1)
    assert bool(values.isnan().all())
    assert all(bool(part.covariance.isnan().all()) for part in errors)
    mute = copy.deepcopy(student.model)  # nothing comes through: both gradients are zero
    with torch.no_grad():
        for weight in mute.parameters():
            weight.zero_()
    for weight in mute.parameters():
        weight.requires_grad_(weight.ndim == 4)
    score = scores(context, replace(student, model=mute), recipe, "cutmix")["grad_align"]
    assert score.values.isnan().all()
    assert "not above 0" in score.reasons["cutmix"]


def test_branch_loss_is_what_the_trainer_comes_to_alone(
    context: TrainingContext, student: WarmStudent, recipe: Recipe, tmp_path: Path
) -> None:
    augs = augmentations(context, "cutmix", "cutout:length=4")
    options = {"root": tmp_path, "quiet": True}
    (score,) = warm_scores(context, student, recipe, augs, ["branch_loss"], **options)  # type: ignore[arg-type]
    data, held, network = context.train, context.test, context.network("float64", 64)
    for place, aug in enumerate(augs):
        losses = []
        for seed in (0, 1):
            short = replace(recipe, steps=12, schedule="cosine", lr=recipe.lr / 2, seed=seed, aug=aug.name)
            model = copy.deepcopy(student.model)
            training = Training(model, data, short, context.device, teacher=network, aug=aug)
            while not training.over:
                training.run_epoch()
            with torch.no_grad():
                log = model.eval()(normalised(held.images, data)).log_softmax(1)
            losses.append(-log[torch.arange(len(held)), held.labels].mean())
        assert float(score.values[place]) == pytest.approx(float(sum(losses) / 2), rel=1e-6)
    assert score.cost == 24
    assert score.student == student.identity
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.pt")}
    assert len(before) == 4
    (again,) = warm_scores(context, student, recipe, augs, ["branch_loss"], **options)  # type: ignore[arg-type]
    assert again.values.tolist() == score.values.tolist()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("last.pt")} == before, "nothing is trained twice"


def test_errors_of_branches_by_hand() -> None:
    """Two seeds of three augmentations: what is common to all leaves differences, what is not is pooled."""
    draw = torch.Generator().manual_seed(0)
    losses = torch.randn(2, 3, 50, generator=draw, dtype=torch.float64)
    of_images, of_seeds, common = branch_errors(losses)
    rows = losses.mean(0).numpy()
    np.testing.assert_allclose(of_images.covariance.numpy(), np.cov(rows) / 50, rtol=1e-10)
    means = losses.mean(2).numpy()
    gap = (means[0] - means[1]) / np.sqrt(2)  # of each augmentation, as a deviation
    own = np.var(gap, ddof=1)
    weights = np.array([1.0, -1.0, 0.0])
    assert weights @ of_seeds.covariance.numpy() @ weights == pytest.approx(own)
    assert of_seeds.dof == 2
    shifted = losses + torch.tensor([0.0, 5.0]).double().view(2, 1, 1)
    assert common.dof == 1
    _, alone, together = branch_errors(shifted)
    assert weights @ alone.covariance.numpy() @ weights == pytest.approx(own)
    assert weights @ together.covariance.numpy() @ weights == 0
    assert together.covariance[0, 0] > 1


def test_intervals_of_branches_hold_values_and_differences() -> None:
    """Values are no better known than two seeds allow; differences are pooled over augmentations."""
    draw, repeats, held = torch.Generator().manual_seed(0), 400, np.zeros(2)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    for _ in range(repeats):
        losses = normal(2, 1, 1) + 0.1 * normal(2, 9, 1) + 0.01 * normal(1, 1, 100)
        names = tuple(map(str, range(9)))
        score = StudentScore("b", "lower", names, losses.mean((0, 2)), branch_errors(losses), 1.0)
        intervals = score.interval("0"), score.difference("0", "1")
        held += [interval.low <= 0 <= interval.high for interval in intervals]
    assert (abs(held / repeats - 0.95) < 0.035).all(), held / repeats


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    rows = torch.randn(2, 40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    part = ErrorPart.jackknife("batches", (rows.sum(1, keepdim=True) - rows) / 39)
    np.testing.assert_allclose(part.covariance.numpy(), np.cov(rows.numpy()) / 40, rtol=1e-9)


def test_cross_validation_takes_no_penalty_for_a_line_and_the_largest_for_noise() -> None:
    draw = torch.Generator().manual_seed(1)
    rows = torch.randn(200, 6, generator=draw, dtype=torch.float64)
    line = rows @ torch.randn(6, 3, generator=draw, dtype=torch.float64) + 2
    noise = torch.randn(200, 3, generator=draw, dtype=torch.float64)
    largest = float(torch.linalg.eigvalsh(torch.cov(rows.T, correction=0))[-1])
    assert generalised_cross_validation(rows, line) < 1e-7 * largest
    assert generalised_cross_validation(rows, noise) > 0.3 * largest


@pytest.mark.slow
def test_intervals_of_differences_hold_the_value_of_infinitely_many_batches_and_images() -> None:
    """As experiments/results/student_score_errors.csv has it, of fewer repeats."""
    for row in coverage(200):
        assert 0.9 <= float(row["covered"]) <= 1, row
        assert 0.85 <= float(row["stated_over_true_se"]) <= 1.3, row
