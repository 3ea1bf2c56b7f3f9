"""Students in lockstep: each comes to what it would have come to alone, whatever becomes of the others."""

from __future__ import annotations

import contextlib
import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dametric.data import ImageSet
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.models import build
from dametric.records.record import RunRecord
from dametric.records.runs import BusyError, Run, load_runs, read_record
from dametric.training import LABELS, Objective, Recipe, Teacher, Training, TrainingContext, TrainingRun
from dametric.training.run import carry_out, carry_out_together
from tests.training.conftest import CLASSES

CPU = torch.device("cpu")
Make = Callable[..., nn.Module]
RECIPE = Recipe(steps=9, batch_size=5, schedule="onecycle", aug="cutmix", seed=4)  # 4 steps to an epoch
AUGS = (
    *("identity", "mixup", "cutmixpick:by=student_entropy", "cutout:length=5", "cutmixpick:by=dissimilarity"),
    *("cutmixpick:by=kld:runs=3", "crop+flip", "randaugment", "cutmixpick", "cutmix"),
)
NETWORKS = ("tiny", "depthwise", "resnet8", "dropout")
ASKED: list[int] = []  # rows of every forward of a counting teacher
SHOWN: list[Tensor] = []  # what every forward of a noting student in training was shown


@pytest.fixture(scope="module")
def context(data: ImageSet) -> TrainingContext:
    """With a teacher that has residual blocks and all that convolutions do."""
    torch.manual_seed(7)
    test = replace(data.subset(range(0, 22, 2)), split="test")
    return TrainingContext(data, test, CPU, Teacher.of(build("resnet8", CLASSES, 8), data))


Student = Callable[[int], "str | nn.Module"]


@pytest.fixture(scope="session")
def student(network: Make) -> Student:
    """Architectures by turns: with names and without, one of which draws random numbers as it learns."""

    def choose(number: int) -> str | nn.Module:
        name = NETWORKS[number % len(NETWORKS)]
        return name if name.startswith("resnet") else network(name, 3)

    return choose


def outcome(work: TrainingRun) -> dict[str, Any]:
    """What must be the same: all but times, and the checkpoint to the byte."""
    folder = work.run.folder
    with open(folder / "history.csv", encoding="utf-8", newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    record = {key: value for key, value in read_record(folder / "record.json").items() if key != "timing"}
    kept = (folder / "last.pt").read_bytes() if (folder / "last.pt").exists() else None
    return {"record": record, "history": rows, "last.pt": kept}


def assert_same(one: TrainingRun, other: TrainingRun) -> None:
    first, second = outcome(one), outcome(other)
    for part in first:
        assert first[part] == second[part], (part, one.title)  # not all at once: pytest would print the bytes


def assert_all_same(ours: Sequence[TrainingRun], theirs: Sequence[TrainingRun], results: Sequence[Any]) -> None:
    for work, other, record in zip(ours, theirs, results, strict=True):
        assert isinstance(record, RunRecord), record
        assert record.status == "finished"
        written = read_record(work.run.folder / "record.json")
        assert {name: written[name] for name in ("id", "status", "last")} == {
            name: record.document()[name] for name in ("id", "status", "last")
        }
        assert_same(work, other)


class Group:
    """Works, and the same works each carried out alone; ``new`` gives them anew, as another process would."""

    def __init__(self, make: Callable[[Path], list[TrainingRun]], root: Path) -> None:
        self._make, self._root = make, root
        self.alone = make(root / "alone")
        for work in self.alone:
            carry_out(work)

    def new(self, name: str) -> list[TrainingRun]:
        return self._make(self._root / name)


def three(context: TrainingContext, student: Student) -> Callable[[Path], list[TrainingRun]]:
    """Three members of 9, 6 and 12 steps, one of which asks itself what to pick."""

    def make(root: Path) -> list[TrainingRun]:
        return [
            context.work(student(i), replace(RECIPE, aug=aug, steps=steps), folder=root / str(i), eval_every="last")
            for i, (aug, steps) in enumerate((("mixup", 9), ("cutmixpick:by=kld", 6), ("identity", 12)))
        ]

    return make


@pytest.fixture(scope="module")
def group(context: TrainingContext, student: Student, tmp_path_factory: pytest.TempPathFactory) -> Group:
    return Group(three(context, student), tmp_path_factory.mktemp("group"))


def after(calls: int) -> Callable[[], bool]:
    """A ``stop`` that says so from a call on."""
    count = itertools.count(1)
    return lambda: next(count) >= calls


def never(*args: object, **kwargs: object) -> None:
    raise AssertionError("trained again")


# What all students of a teacher and a seed have in common


class Noting(nn.Module):
    """A network that notes what it is shown in training."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(192, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            SHOWN.append(images.detach().clone())
        return self.last(images.flatten(1))


def test_initial_weights_are_the_same_for_all_settings(context: TrainingContext, tmp_path: Path) -> None:
    usual = context.work("resnet8", RECIPE, tmp_path)
    others: list[dict[str, Any]] = [{"aug": aug} for aug in AUGS]
    others += [{"steps": 100}, {"steps": None, "epochs": 7}, {"lr": 1.0}]
    others += [{"batch_size": 7}, {"objective": Objective.of("raw")}, {"schedule": "step"}]
    for options in others:
        work = context.work("resnet8", replace(RECIPE, **options), tmp_path, eval_every="last", keep="none")
        for name, weight in work.fresh().state_dict().items():
            assert torch.equal(weight, usual.fresh().state_dict()[name]), (options, name)
    elsewhere = replace(context, teacher=replace(context.teacher, sha256="0" * 64), held_out=context.test)
    assert torch.equal(elsewhere.work("resnet8", RECIPE).fresh().conv1.weight, usual.fresh().conv1.weight)
    other = context.work("resnet8", replace(RECIPE, seed=5), tmp_path).fresh()
    assert not torch.equal(other.conv1.weight, usual.fresh().conv1.weight)


def test_images_and_their_raw_view_come_in_the_same_order_for_all_settings(
    context: TrainingContext, tmp_path: Path
) -> None:
    def shown(**options: Any) -> list[Tensor]:
        """The raw images of every step, cropped and flipped."""
        SHOWN.clear()
        work = context.work(Noting(), replace(RECIPE, **options), folder=tmp_path / str(next(number)))
        carry_out(work)
        return SHOWN[1::2]  # after a first look at it; every other forward is of the augmented ones

    number = itertools.count()
    usual = shown(aug="identity")
    assert len(usual) == 9
    others = [{"aug": aug} for aug in AUGS] + [
        {"steps": 5},
        {"steps": None, "epochs": 3},
        {"lr": 0.5},
        {"per": "batch"},
    ]
    for options in others:
        raw = shown(**options)
        assert all(torch.equal(one, other) for one, other in zip(raw, usual, strict=False)), options
    assert not torch.equal(shown(seed=5)[0], usual[0])


# The same numbers as alone


def test_every_student_learns_what_it_learns_alone(context: TrainingContext, student: Student, tmp_path: Path) -> None:
    """All augmentations, beside one, two and four others, of several networks and lengths."""
    for size, companies in ((5, (2, 5)), (7, (3,))):  # of which the batches leave 2 and 1 of 22 images

        def make(root: Path, size: int = size) -> list[TrainingRun]:
            return [
                context.work(
                    student(number),
                    replace(RECIPE, aug=aug, batch_size=size, steps=(7, 4, 9)[number % 3]),
                    folder=root / str(number),
                    eval_every="last",
                )
                for number, aug in enumerate(AUGS)
            ]

        all_alone = Group(make, tmp_path / str(size))
        for together in companies:
            works = all_alone.new(f"{together}")
            for first in range(0, len(works), together):
                part = slice(first, first + together)
                assert_all_same(works[part], all_alone.alone[part], carry_out_together(works[part]))


def test_no_size_of_a_batch_makes_a_difference(data: ImageSet, network: Make, tmp_path: Path) -> None:
    """Nor the kind of teacher: it rounds otherwise where it is asked about three rows or fewer at once."""
    members: list[dict[str, Any]] = [
        {"aug": "mixup", "objective": Objective.of("augmented")},  # which alone asks about no more than a batch
        {"aug": "cutmixpick:by=student_entropy", "objective": Objective.of("augmented")},
        {"aug": "cutmixpick:by=kld:runs=4"},
    ]
    learner = network("tiny", 3)
    for kind, size in itertools.product(("plain", "tiny"), (2, 3, 22)):
        where = TrainingContext(data, data.subset(range(5)), CPU, Teacher.of(network(kind, 5), data))

        def make(root: Path, where: TrainingContext = where, size: int = size) -> list[TrainingRun]:
            options = [replace(RECIPE, **member, batch_size=size, steps=3) for member in members]
            return [where.work(learner, each, folder=root / each.aug, eval_every="last") for each in options]

        group = Group(make, tmp_path / f"{kind}-{size}")
        for first in (0, 1):
            works = group.new(f"together-{first}")[first:]
            assert_all_same(works, group.alone[first:], carry_out_together(works))


def test_large_batches_are_no_other_case(tmp_path: Path) -> None:
    """Of which a few would leave 1 to 3 rows of the 256 that networks are otherwise asked about at once."""
    pixels = torch.randint(0, 256, (514, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ImageSet.from_tensors(pixels, torch.arange(514) % CLASSES)
    where = TrainingContext(data, data.subset(range(5)), CPU, Teacher.of(build("resnet8", CLASSES, 8), data))
    for size in (129, 171, 257):  # alone 258, 342 and 514 rows in a step, two together 387, 513 and 771

        def make(root: Path, size: int = size) -> list[TrainingRun]:
            options = [replace(RECIPE, aug=aug, batch_size=size, steps=2) for aug in ("cutmix", "mixup")]
            return [where.work("resnet8", each, folder=root / each.aug, eval_every="last") for each in options]

        group = Group(make, tmp_path / str(size))
        works = group.new("together")
        assert_all_same(works, group.alone, carry_out_together(works))


def test_what_members_want_may_differ(context: TrainingContext, student: Student, tmp_path: Path) -> None:
    """Rates, schedules, objectives, draws and how they are looked at; some want no answer on the raw images."""
    options: list[dict[str, Any]] = [
        {"lr": 0.3, "schedule": "cosine", "nesterov": True},
        {"objective": Objective.of("augmented"), "aug": "cutmixpick:by=dissimilarity"},
        {"objective": Objective.of("raw")},
        {"per": "batch", "momentum": 0.0, "label_smoothing": 0.1, "aug": "randaugment"},
        {"objective": Objective(0.5, 0.0, 2.0, 2.0), "joint_batch": True, "weight_decay": 0.0, "aug": "identity"},
        {"steps": None, "epochs": 2, "schedule": "step"},
    ]
    looks: list[dict[str, Any]] = [{"eval_every": "last"}, {"keep": "none"}, {"eval_every": 2}, {}, {}, {}]
    where = replace(context, held_out=context.test)

    def make(root: Path) -> list[TrainingRun]:
        return [
            where.work(student(i), replace(RECIPE, **option), folder=root / str(i), **look)
            for i, (option, look) in enumerate(zip(options, looks, strict=True))
        ]

    group = Group(make, tmp_path)
    for first, last in ((0, 6), (0, 2), (1, 5), (1, 3)):
        works = group.new(f"{first}-{last}")[first:last]
        assert_all_same(works, group.alone[first:last], carry_out_together(works))
    assert not works[0].run.checkpoint.exists(), "it was not to be kept"


def test_students_that_share_no_step_are_refused_or_come_to_the_same(
    context: TrainingContext, data: ImageSet, network: Make, tmp_path: Path
) -> None:
    """But never to something else."""
    others: list[tuple[TrainingContext, dict[str, Any]]] = [
        *((context, option) for option in ({"seed": 5}, {"batch_size": 4}, {"base_aug": "flip"}, {"dtype": "float64"})),
        (context, {"objective": LABELS}),
        (replace(context, teacher=Teacher.of(network("tiny", 5), data)), {}),
        (replace(context, train=data.subset(range(1, 22)), held_out=None), {}),
    ]
    for number, (where, options) in enumerate(others):

        def make(root: Path, where: TrainingContext = where, options: dict[str, Any] = options) -> list[TrainingRun]:
            return [
                context.work(network(), RECIPE, folder=root / "usual"),
                where.work(network(), replace(RECIPE, **options), folder=root / "other"),
            ]

        group = Group(make, tmp_path / str(number))
        for works, alone in (
            (group.new("one"), group.alone),
            (group.new("two")[::-1], group.alone[::-1]),
        ):
            with contextlib.suppress(UsageError):
                results = carry_out_together(works)
                assert_all_same(works, alone, results)


def test_one_or_none_is_a_group_too(group: Group) -> None:
    assert carry_out_together([]) == []
    works = group.new("single")[:1]
    assert_all_same(works, group.alone[:1], carry_out_together(works))


# What is shared, and what is said


class Counted(nn.Module):
    """A teacher that counts the rows it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(192, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        ASKED.append(len(images))
        return self.last(images.flatten(1))


def test_the_teacher_is_asked_about_the_raw_images_once(
    context: TrainingContext, data: ImageSet, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    where = replace(context, teacher=Teacher.of(Counted(), data))
    assert where.teacher_logits is not None
    assert where.clean
    groups = (  # how many batches in a step
        (("cutmix",), 2),
        (("cutmix", "mixup"), 3),
        (("cutmix", "mixup", "crop+flip", "cutout", "randaugment"), 6),
        (("identity", "cutmix", "identity"), 2),
        (("identity", "identity"), 1),
        (("cutmixpick:by=student_entropy", "cutmix"), 3),  # which picks before the teacher is asked
        (("cutmixpick:by=kld", "cutmix"), 4),
        (("cutmixpick:runs=3", "cutmixpick:by=dissimilarity", "mixup"), 1 + 3 + 2 + 1),
    )
    for number, (augs, batches) in enumerate(groups):
        works = [
            where.work(Noting(), replace(RECIPE, aug=aug), folder=tmp_path / f"{number}-{i}", eval_every="last")
            for i, aug in enumerate(augs)
        ]
        ASKED.clear()
        results = carry_out_together(works)
        assert [result.status for result in results] == ["finished"] * len(augs)
        assert sum(ASKED) == batches * RECIPE.batch_size * 9, augs


def test_rows_and_progress_of_all_members_are_told(group: Group) -> None:
    works, told, rows = group.new("told"), [], []
    results = carry_out_together(
        works,
        advance=lambda steps=1, note="": told.append(steps),
        on_epoch=lambda work, row: rows.append((works.index(work), row)),
    )
    assert_all_same(works, group.alone, results)
    for number, work in enumerate(works):
        expected = [list(map(str, row.values())) for row in work.run.history()]  # of which NaN is equal to itself too
        assert [[str(float(v)) for v in row.values()] for which, row in rows if which == number] == expected
    assert sum(told) == pytest.approx((9 + 6 + 12) / 4)
    assert min(told) >= 0


# Finished, stopped, killed


def test_what_is_finished_is_not_trained_again(group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    works = group.new("some")
    carry_out(works[1])
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in works[1].run.folder.iterdir()}
    works, names = group.new("some"), []
    results = carry_out_together(works, on_epoch=lambda work, row: names.append(works.index(work)))
    assert 1 not in names
    assert_all_same(works, group.alone, results)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in works[1].run.folder.iterdir()} == before
    monkeypatch.setattr(Training, "__init__", never)
    again = group.new("some")
    assert_all_same(again, group.alone, carry_out_together(again, on_epoch=never))


def test_members_at_different_steps_go_on_to_the_same_bits(group: Group) -> None:
    """One or two are ahead, within the same epoch or another, one is done; then all are stopped again and again."""
    ahead: tuple[tuple[int | None, ...], ...] = (
        *((2, None, None), (None, 3, 1), (7, None, 2), (3, 10**9, 10), (4, 4, 8)),
    )
    for number, (started, calls) in enumerate(zip(ahead, (4, 5, 7, 2, 9), strict=True)):
        name = f"stopped-{number}"
        for work, steps in zip(group.new(name), started, strict=True):
            with contextlib.suppress(Interrupted):
                if steps is not None:
                    carry_out(work, stop=after(steps))
        for _ in range(40):
            works = group.new(name)
            results = carry_out_together(works, stop=after(calls))
            for work, result in zip(works, results, strict=True):
                status = load_runs(work.run.folder).loc[0, "status"]
                assert (status == "finished") == isinstance(result, RunRecord)
                assert status in ("finished", "interrupted")
                assert isinstance(result, RunRecord | Interrupted)
            if all(isinstance(result, RunRecord) for result in results):
                break
        assert_all_same(works, group.alone, results)


class Killed(BaseException):
    """In place of a kill, where nothing is cleaned up."""


def test_a_kill_at_any_step_changes_nothing(group: Group) -> None:
    for kills in ((1, 2, 3, 4), (6, 6), (11, 3, 8), (17,)):
        name = f"killed-{kills}"
        for steps in kills:
            count = itertools.count(1)

            def killed(done: float = 1, note: str = "", count: Iterator[int] = count, steps: int = steps) -> None:
                if next(count) >= steps:
                    raise Killed

            with contextlib.suppress(Killed):
                carry_out_together(group.new(name), advance=killed)
        works = group.new(name)
        assert not any(work.run.held for work in works)
        assert_all_same(works, group.alone, carry_out_together(works))


def test_a_member_goes_on_alone_and_a_lonely_one_in_company(group: Group) -> None:
    results = carry_out_together(group.new("apart"), stop=after(5))
    assert all(isinstance(result, Interrupted) for result in results)
    works = group.new("apart")
    carry_out(works[2])
    carry_out_together(works[:2])
    for work, alone in zip(works, group.alone, strict=True):
        assert_same(work, alone)


# Members that fail, or are someone else's


class Fails(nn.Module):
    """A network whose output is not finite the n-th time that it is trained, two times a step."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.last, self.at, self.count = nn.Linear(192, CLASSES), at, 0

    def forward(self, images: Tensor) -> Tensor:
        self.count += self.training
        return self.last(images.flatten(1)) * (float("nan") if self.training and self.count == self.at else 1)


def test_one_that_diverges_does_not_take_the_others_along(
    context: TrainingContext, group: Group, tmp_path: Path
) -> None:
    """It fails as it does alone; wherever it stands among them, and wherever that happens."""
    torch.manual_seed(0)
    bad: list[tuple[str | nn.Module, dict[str, Any]]] = [
        ("resnet8", {"lr": 1e30}),  # in the second step
        *((Fails(at), {}) for at in (6, 9, 18)),  # within an epoch, after one, in the last step
        ("resnet8", {"lr": 1e30, "steps": 1, "schedule": "step"}),  # whose last step ruins it
    ]
    for number, (network, options) in enumerate(bad):
        recipe = replace(RECIPE, **options)
        with pytest.raises(RunFailed) as caught:
            carry_out(context.work(network, recipe, folder=tmp_path / f"alone-{number}"))
        works = group.new(f"failing-{number}")
        place = number % 4
        works.insert(place, context.work(network, recipe, folder=tmp_path / f"together-{number}"))
        results = carry_out_together(works)
        failed = results.pop(place)
        assert isinstance(failed, RunFailed), (number, failed)
        assert str(failed) == str(caught.value)
        records = [
            dict(read_record(tmp_path / f"{name}-{number}" / "record.json"), timing=None)
            for name in ("alone", "together")
        ]
        assert records[0] == records[1]
        assert records[0]["status"] == "failed"
        del works[place]
        assert_all_same(works, group.alone, results)


def test_all_may_diverge(context: TrainingContext, tmp_path: Path) -> None:
    works = [context.work("resnet8", replace(RECIPE, lr=lr), folder=tmp_path / str(lr)) for lr in (1e30, 1e29)]
    results = carry_out_together(works)
    assert [type(result) for result in results] == [RunFailed] * 2
    assert [str(result).split()[-1] for result in results] == ["1e+30", "1e+29"]


def test_one_that_another_process_holds_does_not_keep_the_others(group: Group) -> None:
    for number in (0, 2):
        name = f"busy-{number}"
        carry_out_together(group.new(name), stop=after(3))
        works = group.new(name)
        folder = works[number].run.folder
        with Run(folder).claimed():
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            results = carry_out_together(works)
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert isinstance(results[number], BusyError)
        assert "another process is working on" in str(results[number])
        rest = [i for i in range(3) if i != number]
        assert_all_same([works[i] for i in rest], [group.alone[i] for i in rest], [results[i] for i in rest])
        again = group.new(name)
        assert_all_same(again, group.alone, carry_out_together(again))
    with contextlib.ExitStack() as stack:  # and where there is nothing but busy ones
        works = group.new("all-busy")
        for work in works:
            stack.enter_context(Run(work.run.folder).claimed())
        assert [type(result) for result in carry_out_together(works)] == [BusyError] * 3


def test_members_are_held_and_taken_over_each_by_itself(group: Group) -> None:
    works, holders, held = group.new("dead"), [], []
    works[1].run.folder.mkdir(parents=True)
    (works[1].run.folder / ".lock-holder").write_text("process 12345 on elsewhere\n")

    def on_epoch(work: TrainingRun, row: dict[str, float]) -> None:
        if row["epoch"] == 1:
            held.append([Run(each.run.folder).held for each in works])

    results = carry_out_together(works, on_epoch=on_epoch, on_taken_over=holders.append)
    assert_all_same(works, group.alone, results)
    assert holders == ["process 12345 on elsewhere"]
    assert held == [[True] * 3] * 3
    assert not any(work.run.held for work in works)


def test_a_group_that_is_stopped_says_so_of_every_member(group: Group) -> None:
    works = group.new("said")
    results = carry_out_together(works, stop=after(2))
    for work, result in zip(works, results, strict=True):
        assert isinstance(result, Interrupted)
        assert "stopped in epoch 1 of" in str(result)
        assert "\n" not in str(result)
        assert read_record(work.run.folder / "record.json")["status"] == "interrupted"
        assert work.run.checkpoint.exists()
