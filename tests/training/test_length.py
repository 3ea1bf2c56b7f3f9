"""How long a run lasts, how often it is looked at, on which images, and what is kept of it."""

from __future__ import annotations

import copy
import csv
import itertools
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.data import ImageSet
from dametric.errors import Interrupted, UsageError
from dametric.models.network import Network
from dametric.records.runs import MEASURED, Run, load_runs, read_record, run_id
from dametric.training import LABELS, Recipe, Teacher, Training, TrainingContext, TrainingRun
from dametric.training.recipe import learning_rate
from dametric.training.run import carry_out
from tests.oracles import training as oracle
from tests.training.conftest import CLASSES

CPU = torch.device("cpu")
Make = Callable[..., nn.Module]
Ask = Callable[..., Network]
RECIPE = Recipe(epochs=3, batch_size=5, schedule="onecycle", aug="cutmix", seed=4)  # 4 steps to an epoch
LOOKS: list[int] = []  # rows of every forward of a watched network in evaluation mode


@pytest.fixture
def context(data: ImageSet, network: Make) -> TrainingContext:
    """Distillation from a network that knows nothing."""
    return TrainingContext(
        data, replace(data.subset(range(0, 22, 2)), split="test"), CPU, Teacher.of(network("tiny", 5), data)
    )


@pytest.fixture
def held_out(data: ImageSet) -> ImageSet:
    """Images that are neither trained on nor tested on."""
    pixels = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(8))
    return ImageSet.from_tensors(pixels, torch.arange(9) % CLASSES, mean=data.mean, std=data.std, split="held-out")


class Watched(nn.Module):
    """A network that notes how many images it is shown in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(192, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            LOOKS.append(len(images))
        return self.last(images.flatten(1))


def after(calls: int) -> Callable[[], bool]:
    """A ``stop`` that says so from a call on."""
    count = itertools.count(1)
    return lambda: next(count) >= calls


def rows_of(work: TrainingRun) -> list[dict[str, float]]:
    """The history as any reader has it, without times."""
    with open(work.run.folder / "history.csv", encoding="utf-8", newline="") as file:
        return [{k: float(v or "nan") for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def weights(work: TrainingRun) -> dict[str, Tensor]:
    return torch.load(work.run.checkpoint, weights_only=True)["model"]


def assert_same_weights(one: TrainingRun, other: TrainingRun) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def assert_same_rows(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    assert [list(row) for row in ours] == [list(row) for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert all(a == other[k] or (math.isnan(a) and math.isnan(other[k])) for k, a in one.items()), (one, other)


def never(*args: object, **kwargs: object) -> None:
    raise AssertionError("trained again")


def plain_record(work: TrainingRun) -> dict[str, Any]:
    """The record as any reader of JSON sees it: numbers that are not finite are refused."""

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    return json.loads((work.run.folder / "record.json").read_text(encoding="utf-8"), parse_constant=refuse)


# Steps in place of epochs


def test_a_recipe_lasts_epochs_or_steps() -> None:
    assert (Recipe().epochs, Recipe().steps, Recipe().length(7)) == (240, None, 1680)
    assert (Recipe(epochs=3).steps, Recipe(epochs=3).length(7)) == (None, 21)
    by_steps = Recipe(steps=10)
    assert (by_steps.epochs, by_steps.steps, by_steps.length(7), by_steps.length(1000)) == (None, 10, 10, 10)
    with pytest.raises(UsageError) as caught:
        Recipe(epochs=3, steps=10)
    assert "\n" not in str(caught.value)
    wrong: tuple[Any, ...] = (0, -1, 2.5, "10", math.nan)
    for steps in wrong:
        with pytest.raises(UsageError, match="steps"):
            Recipe(steps=steps)


def test_schedules_run_over_the_steps() -> None:
    """Textbook forms and torch's own, for numbers of steps that fill no epoch."""
    for total, per_epoch in ((24, 4), (10, 4), (97, 10), (1, 4), (2, 1), (7, 100)):
        onecycle, cosine, step = (Recipe(steps=total, lr=0.1, schedule=s) for s in ("onecycle", "cosine", "step"))
        for i in range(total):
            assert learning_rate(cosine, i, per_epoch) == pytest.approx(0.1 * math.cos(math.pi * i / total / 2) ** 2)
            drops = sum(Fraction(i, total) >= Fraction(milestone, 240) for milestone in (150, 180, 210))
            assert learning_rate(step, i, per_epoch) == pytest.approx(0.1 / 10**drops, rel=1e-12), (total, i)
        if total > 3:
            optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1, momentum=0.9)
            theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=total, cycle_momentum=False)
            for i in range(total):
                assert learning_rate(onecycle, i, per_epoch) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
                optimizer.step()
                if i + 1 < total:
                    theirs.step()


def test_whole_epochs_are_the_same_by_either_name() -> None:
    for epochs, per_epoch in ((3, 4), (7, 11), (240, 2)):
        for schedule in ("onecycle", "cosine"):
            one = Recipe(epochs=epochs, schedule=schedule)
            other = Recipe(steps=epochs * per_epoch, schedule=schedule)
            for step in range(epochs * per_epoch):
                assert learning_rate(one, step, per_epoch) == learning_rate(other, step, per_epoch)
    by_epochs, by_steps = Recipe(epochs=3, schedule="step"), Recipe(steps=12, schedule="step")
    assert [learning_rate(by_epochs, i, 4) for i in (7, 8, 9, 11)] == [0.05, 0.005, 0.005, 0.005]  # 2/3 of 3 epochs
    assert [learning_rate(by_steps, i, 4) for i in (7, 8, 9, 11)] == [0.05, 0.005, 0.0005, 0.00005]


def test_steps_that_fill_epochs_give_the_same_network(context: TrainingContext, tmp_path: Path) -> None:
    by_epochs = context.work("resnet8", RECIPE, folder=tmp_path / "epochs")
    by_steps = context.work("resnet8", replace(RECIPE, epochs=None, steps=12), folder=tmp_path / "steps")
    for work in (by_epochs, by_steps):
        carry_out(work)
    assert_same_weights(by_epochs, by_steps)
    assert_same_rows(rows_of(by_epochs), rows_of(by_steps))
    assert [(row["epoch"], row["step"]) for row in rows_of(by_steps)] == [(1, 4), (2, 8), (3, 12)]
    recipe = plain_record(by_steps)["config"]["recipe"]
    assert (recipe["steps"], recipe.get("epochs")) == (12, None)
    assert run_id(by_steps.config) != run_id(by_epochs.config), "how long it lasts is part of what it is"


def test_a_partial_last_epoch_is_a_row(context: TrainingContext, tmp_path: Path) -> None:
    for steps, expected in ((10, [(1, 4), (2, 8), (3, 10)]), (3, [(1, 3)]), (5, [(1, 4), (2, 5)])):
        work = context.work("resnet8", replace(RECIPE, epochs=None, steps=steps), folder=tmp_path / str(steps))
        told: list[float] = []
        seen: list[dict[str, float]] = []
        record = carry_out(work, advance=lambda done=1, note="": told.append(done), on_epoch=seen.append).document()  # noqa: B023
        rows = rows_of(work)
        assert [(row["epoch"], row["step"]) for row in rows] == expected
        assert [(row["epoch"], row["step"]) for row in seen] == expected
        assert (record["last"]["epoch"], record["last"]["step"]) == expected[-1]
        assert all(isinstance(record["last"][name], int) for name in ("epoch", "step"))
        for row in rows:
            assert row["lr"] == learning_rate(work.recipe, int(row["step"]) - 1, 4)
        assert sum(told) == pytest.approx(steps / 4)
        table = load_runs(work.run.folder).loc[0]
        assert (table["status"], table["epoch"], table["test_loss"]) == (
            *("finished", len(expected)),
            rows[-1]["test_loss"],
        )


def test_every_step_is_the_plain_loop_s(
    network: Make, data: ImageSet, teacher: oracle.Teacher, asked: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 steps of 4 to an epoch in float64, the rates told to the loop: networks, and means of the losses."""
    for schedule in ("onecycle", "step"):
        recipe = Recipe(steps=10, batch_size=5, schedule=schedule, aug="cutmixpick:by=kld", dtype="float64")
        training = Training(network(), data, recipe, CPU, teacher=asked())
        means = []
        while not training.over:
            assert training.run_epoch()
            means.append(training.losses()["loss"])
        monkeypatch.setattr(oracle, "rate", lambda recipe, step, per: learning_rate(recipe, step, per))
        plain, longer = network().double(), copy.copy(recipe)
        object.__setattr__(longer, "epochs", 3)  # the loop knows epochs only, and is stopped within the last
        terms = list(itertools.islice(oracle.training(plain, data, longer, teacher), 10))
        monkeypatch.undo()
        for name, value in plain.state_dict().items():
            assert (training.model.state_dict()[name] - value).abs().max() < 1e-10, name
        losses = [term[0] for term in terms]
        expected = [sum(part) / len(part) for part in (losses[:4], losses[4:8], losses[8:])]
        assert means == pytest.approx(expected, rel=1e-10)


def test_a_run_of_steps_can_be_stopped_anywhere(context: TrainingContext, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=None, steps=10, aug="cutmixpick:by=student_entropy")
    smooth = context.work("resnet8", recipe, folder=tmp_path / "smooth")
    carry_out(smooth)
    for calls in (1, 3, 4, 9):
        stops = 0
        while True:
            work = context.work("resnet8", recipe, folder=tmp_path / str(calls))
            try:
                carry_out(work, stop=after(calls))
                break
            except Interrupted:
                stops += 1
                assert load_runs(work.run.folder).loc[0, "status"] == "interrupted"
        assert stops >= 10 // calls - 1
        assert_same_weights(work, smooth)
        assert_same_rows(rows_of(work), rows_of(smooth))
        ours, theirs = (dict(plain_record(each), timing=None) for each in (work, smooth))
        assert ours == theirs
        assert work.run.checkpoint.read_bytes() == smooth.run.checkpoint.read_bytes()


# How often it is looked at


def test_how_often_it_is_looked_at_changes_nothing_else(context: TrainingContext, tmp_path: Path) -> None:
    """With 18 steps, of which the last two make an epoch of their own."""
    recipe = replace(RECIPE, epochs=None, steps=18)
    always = context.work("resnet8", recipe, folder=tmp_path / "1")
    carry_out(always)
    whole = rows_of(always)
    for every, looked in ((2, {2, 4, 5}), (3, {3, 5}), (5, {5}), (7, {5}), ("last", {5})):
        work = context.work("resnet8", recipe, folder=tmp_path / str(every), eval_every=every)  # type: ignore[arg-type]
        assert run_id(work.config) == run_id(always.config)
        record = carry_out(work).document()
        expected = [
            {k: math.nan if k.startswith("test_") and row["epoch"] not in looked else v for k, v in row.items()}
            for row in whole
        ]
        assert_same_rows(rows_of(work), expected)
        assert_same_weights(work, always)
        best = max((row for row in whole if row["epoch"] in looked), key=lambda row: row["test_top1"])
        assert record["last"] == plain_record(always)["last"]
        assert record["best"] == {k: v for k, v in best.items() if k in record["best"]}
        assert record["best"].keys() == record["last"].keys()
        assert record["best"] == record["last"] or every != "last"
        assert plain_record(work)["best"] == record["best"]
        table = load_runs(work.run.folder).loc[0]
        assert (table["best_epoch"], table["best_test_loss"]) == (best["epoch"], best["test_loss"])


def test_the_images_are_shown_only_when_it_is_looked_at(
    context: TrainingContext, held_out: ImageSet, tmp_path: Path
) -> None:
    for every, tested in ((1, [11, 11, 11]), (2, [11, 11]), ("last", [11])):
        for other, shown in ((None, []), (held_out, [9])):
            LOOKS.clear()
            where = tmp_path / f"{every}-{len(shown)}"
            work = replace(context, held_out=other).work(Watched(), RECIPE, folder=where, eval_every=every)  # type: ignore[arg-type]
            carry_out(work)
            assert [8, 8, *tested, *shown] == LOOKS  # after two first looks at how it answers


def test_a_run_goes_on_with_another_look(context: TrainingContext, tmp_path: Path) -> None:
    """It is the same run: what was not looked at stays so."""
    smooth = context.work("resnet8", RECIPE, folder=tmp_path / "smooth", eval_every="last")
    carry_out(smooth)
    work = context.work("resnet8", RECIPE, folder=tmp_path / "run", eval_every="last")
    with pytest.raises(Interrupted):
        carry_out(work, stop=after(7))
    record = plain_record(work)
    assert (record["status"], record["last"]["epoch"]) == ("interrupted", 1)
    assert load_runs(work.run.folder).loc[0, "status"] == "interrupted"
    again = context.work("resnet8", RECIPE, folder=tmp_path / "run", eval_every=1)
    carry_out(again)
    assert_same_weights(again, smooth)
    assert [math.isnan(row["test_loss"]) for row in rows_of(again)] == [True, False, False]
    assert plain_record(again)["last"] == plain_record(smooth)["last"]


def test_looks_and_keeps_that_cannot_be(context: TrainingContext, tmp_path: Path) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        *({"eval_every": value} for value in (0, -1, 1.5, "never", "2x")),
        *({"keep": value} for value in ("best", "")),
    )
    for options in wrong:
        with pytest.raises(UsageError) as caught:
            context.work("resnet8", RECIPE, tmp_path, **options)
        assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# What is kept


def test_a_run_without_its_weights_is_finished(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = context.work("resnet8", RECIPE, tmp_path / "kept")
    assert not kept.finished
    carry_out(kept)
    assert plain_record(kept)["kept"] == "last"
    work = context.work("resnet8", RECIPE, tmp_path / "bare", keep="none")
    assert work.run.folder.name == kept.run.folder.name, "the same run"
    with pytest.raises(Interrupted):
        carry_out(work, stop=after(6))
    assert work.run.checkpoint.exists(), "what it goes on from"
    assert not context.work("resnet8", RECIPE, tmp_path / "bare", keep="none").finished
    again = context.work("resnet8", RECIPE, tmp_path / "bare", keep="none")
    record = carry_out(again).document()
    assert {path.name for path in again.run.folder.iterdir()} - {".lock"} == {"record.json", "history.csv"}
    assert record["kept"] == plain_record(again)["kept"] == "none"
    differing = dict.fromkeys(("kept", "timing"))
    assert {**plain_record(again), **differing} == {**plain_record(kept), **differing}
    assert_same_rows(rows_of(again), rows_of(kept))
    monkeypatch.setattr(Training, "__init__", never)
    for keep in ("none", "last"):  # what was not kept is not asked for again
        once_more = context.work("resnet8", RECIPE, tmp_path / "bare", keep=keep)
        assert once_more.finished
        assert carry_out(once_more, on_epoch=never).document() == read_record(again.run.folder / "record.json")
    with_weights = context.work("resnet8", RECIPE, tmp_path / "kept", keep="none")
    assert with_weights.finished
    carry_out(with_weights, on_epoch=never)
    assert kept.run.checkpoint.exists(), "what somebody has kept is not taken away"


def test_a_run_whose_kept_weights_are_gone_is_trained_again(context: TrainingContext, tmp_path: Path) -> None:
    work = context.work("resnet8", RECIPE, tmp_path)
    carry_out(work)
    assert context.work("resnet8", RECIPE, tmp_path).finished
    before, rows, record = work.run.checkpoint.read_bytes(), rows_of(work), dict(plain_record(work), timing=None)
    work.run.checkpoint.unlink()
    again = context.work("resnet8", RECIPE, tmp_path)
    assert not again.finished
    seen: list[float] = []
    carry_out(again, on_epoch=lambda row: seen.append(row["epoch"]))
    assert seen == [1, 2, 3]
    assert again.run.checkpoint.read_bytes() == before
    assert_same_rows(rows_of(again), rows)
    assert dict(plain_record(again), timing=None) == record
    assert context.work("resnet8", RECIPE, tmp_path).finished


@pytest.mark.parametrize("target", [None, "trained.pth"])
def test_a_finished_run_whose_weights_are_gone_keeps_its_record_until_it_is_trained_again(
    context: TrainingContext, tmp_path: Path, target: str | None
) -> None:
    """However often training is stopped or killed in between, what it had come to stays known."""

    def again() -> TrainingRun:
        return context.work("resnet8", RECIPE, tmp_path, target=target and tmp_path / target)

    work = again()
    carry_out(work)
    kept = [work.run.folder / name for name in ("record.json", "history.csv")]
    before, files = [path.read_bytes() for path in kept], sorted(work.run.folder.iterdir())
    weights = work.run.checkpoint.read_bytes()
    for path in filter(None, (work.run.checkpoint, work.target)):
        path.unlink()
    for _ in range(3):  # less than an epoch each time
        with pytest.raises(Interrupted):
            carry_out(again(), stop=after(3))
        assert [path.read_bytes() for path in kept] == before
        assert not again().finished
        table = load_runs(tmp_path)
        assert (list(table["epoch"]), list(table["status"])) == ([RECIPE.epochs], ["finished"])
    seen: list[float] = []
    carry_out(again(), on_epoch=lambda row: seen.append(row["epoch"]))
    assert 0 < len(seen) < RECIPE.epochs
    assert again().finished
    assert sorted(work.run.folder.iterdir()) == files
    assert work.run.checkpoint.read_bytes() == weights
    first, second = json.loads(before[0]), plain_record(again())
    assert dict(first, timing=None) == dict(second, timing=None)
    assert first["timing"]["finished"] <= second["timing"]["finished"]  # to a second


@pytest.mark.parametrize("name", ["last.pt", "history.csv", "record.json"])
def test_a_kill_while_the_new_files_replace_the_old_ones_loses_nothing(
    context: TrainingContext, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = context.work("resnet8", RECIPE, tmp_path)
    carry_out(work)
    files = sorted(work.run.folder.iterdir())
    work.run.checkpoint.unlink()
    replace_ = os.replace

    def killed(source: Any, target: Any) -> None:
        if Path(target) == work.run.folder / name:
            raise KeyboardInterrupt
        replace_(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            carry_out(context.work("resnet8", RECIPE, tmp_path))
    assert list(load_runs(tmp_path)["status"]) == ["finished"]
    carry_out(context.work("resnet8", RECIPE, tmp_path))
    assert context.work("resnet8", RECIPE, tmp_path).finished
    assert sorted(work.run.folder.iterdir()) == files


def test_a_run_that_is_misread_and_starts_over_does_not_show_what_it_had_come_to(
    context: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = context.work("resnet8", RECIPE, tmp_path)
    carry_out(work)
    monkeypatch.setattr(
        TrainingRun, "misread", property(lambda work: (work.run.record or {}).get("status") == "finished")
    )
    seen = []

    def advance(steps: float = 1, note: str = "") -> None:
        now = Run(work.run.folder).now
        seen.append(None if now is None else (now["status"], now["last"]))

    with pytest.raises(Interrupted):
        carry_out(context.work("resnet8", RECIPE, tmp_path), stop=after(2), advance=advance)
    assert set(map(str, seen)) == {"('running', None)"}
    table = load_runs(tmp_path)
    assert (table["epoch"][0], table["status"][0]) == (0, "interrupted")
    assert math.isnan(table["test_loss"][0])


def test_weights_that_a_kill_left_go_when_nobody_holds_them(context: TrainingContext, tmp_path: Path) -> None:
    """A process can be killed after the record that says there are none, and before it takes them away."""
    work = context.work("resnet8", RECIPE, tmp_path, keep="none")
    carry_out(work)
    work.run.checkpoint.write_bytes(b"weights")
    with work.run.claimed():  # another process is about to
        carry_out(context.work("resnet8", RECIPE, tmp_path, keep="none"))
        assert work.run.checkpoint.exists()
    carry_out(context.work("resnet8", RECIPE, tmp_path, keep="none"))
    assert not work.run.checkpoint.exists()


# Held-out images


def test_held_out_images_are_looked_at_once(context: TrainingContext, held_out: ImageSet, tmp_path: Path) -> None:
    """Where they are the test images, they say what these say."""
    plain = context.work("resnet8", RECIPE, folder=tmp_path / "plain")
    carry_out(plain)
    assert not any(name.startswith("held_out") for name in rows_of(plain)[0])
    measured = [name.removeprefix("test_") for name in MEASURED]
    losses = set()
    for number, (images, every) in enumerate(itertools.product((context.test, held_out), (1, "last"))):
        where = replace(context, held_out=images)
        work = where.work("resnet8", RECIPE, folder=tmp_path / str(number), eval_every=every)  # type: ignore[arg-type]
        record = carry_out(work).document()
        rows = rows_of(work)
        for row in rows[:-1]:
            assert all(math.isnan(row[f"held_out_{name}"]) for name in measured)
        for name in measured:
            assert record["last"][f"held_out_{name}"] == rows[-1][f"held_out_{name}"]
            assert (rows[-1][f"held_out_{name}"] == rows[-1][f"test_{name}"]) or images is held_out
        assert plain_record(work)["last"] == record["last"]
        assert_same_weights(work, plain)
        losses.add(rows[-1]["held_out_loss"])
        assert {k: v for k, v in record["last"].items() if not k.startswith("held_out")} == plain_record(plain)["last"]
        assert record["best"].keys() == plain_record(plain)["best"].keys() | record["best"].keys()
    assert len(losses) == 2


def test_a_teacher_is_looked_at_on_held_out_images_too(context: TrainingContext, tmp_path: Path) -> None:
    """By labels, with nobody to agree with."""
    by_labels = replace(context, teacher=None, held_out=context.test)
    recipe = replace(RECIPE, objective=LABELS, epochs=2)
    record = carry_out(by_labels.work("resnet8", recipe, tmp_path)).document()
    for name in ("loss", "top1", "top5", "ece"):
        assert record["last"][f"held_out_{name}"] == record["last"][f"test_{name}"]
    assert "held_out_agreement" not in record["last"]


def test_held_out_images_must_fit(context: TrainingContext, data: ImageSet) -> None:
    wrong = (
        ImageSet.from_tensors(data.images),
        ImageSet.from_tensors(data.images, data.labels.clamp(max=5)),
        ImageSet.from_tensors(data.images[:, :, :6, :6].contiguous(), data.labels),
    )
    for images in wrong:
        with pytest.raises(UsageError):
            replace(context, held_out=images)


# Ids that last


def test_what_is_as_usual_does_not_enter_the_id(context: TrainingContext) -> None:
    def id_of(**options: Any) -> str:
        return run_id(context.work("resnet8", replace(RECIPE, **options)).config)

    assert id_of(aug="cutmix") == id_of(aug="cutmix:alpha=1") == id_of(aug="cutmix:alpha=1.0") != id_of(aug="mixup")
    assert id_of(aug="cutmix:alpha=0.5") != id_of(aug="cutmix")
    assert id_of(aug="randaugment") == id_of(aug="randaugment:n=2,m=9") == id_of(aug="randaugment:m=9,n=2")
    assert len({id_of(aug=f"randaugment{options}") for options in ("", ":n=1", ":m=8", ":n=9,m=2")}) == 4
    assert id_of(aug="crop+cutmix:alpha=1") == id_of(aug="crop+cutmix") != id_of(aug="cutmix+crop")
    assert id_of(aug="cutmixpick") == id_of(aug="cutmixpick:by=teacher_entropy:runs=2")
    assert len({id_of(aug=f"cutmixpick{options}") for options in ("", ":by=kld", ":runs=3")}) == 3

    config = context.work("resnet8", RECIPE).config
    more = {**config, "recipe": {**config["recipe"], "invented_later": None}}
    assert run_id(more) == run_id(config)
    more["recipe"]["invented_later"] = 1
    assert run_id(more) != run_id(config)
    read_back = json.loads(json.dumps(config))
    assert run_id(read_back) == run_id(dict(reversed(read_back.items()))) == run_id(config)
