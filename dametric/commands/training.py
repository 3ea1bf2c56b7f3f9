"""`dametric train`, `dametric distill` and `dametric runs`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dametric.augment import PAPER, Images, base_augmentation, default_base, parse
from dametric.base import limits
from dametric.base.files import check_writable
from dametric.base.interrupts import until_interrupted
from dametric.base.progress import Advance, progress
from dametric.commands.inputs import (
    ACCURACY_IMAGES,
    DataOptions,
    Splits,
    check_classes,
    chosen_device,
    chosen_dtype,
    network_errors,
    read_checkpoint,
    say,
    taken_by,
    warn_of_teacher,
)
from dametric.data import Found, ImageSet
from dametric.data.glance import accuracy_text
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.jobs.side_by_side import side_by_side
from dametric.models import build
from dametric.models.normalisation import described
from dametric.models.reading import read_weights
from dametric.models.registry import check_architecture
from dametric.records.runs import Row, Run, run_id
from dametric.sweeps.reading import whole_numbers
from dametric.training import Objective, Recipe, Setting, Teacher, Work, default_rate, watched_together
from dametric.training.run import Result, carry_out_together
from dametric.training.setting import EvalEvery, Keep

Group = tuple[tuple[str, int], ...]  # augmentations and seeds of runs that are carried out together


@dataclass(frozen=True)
class TrainingOptions:
    """What `train` and `distill` have in common; what is None is chosen by data, device and architecture."""

    data: DataOptions
    recipe: dict[str, Any]  # arguments of Recipe
    lr: float | None = None
    base_aug: str | None = None
    device: str | None = None
    dtype: str | None = None
    compile: bool = False
    tensorboard: bool = False
    json: bool = False
    eval_every: EvalEvery = 1
    keep: Keep = "last"

    @property
    def quiet(self) -> bool:
        """Whether to say nothing but errors."""
        return self.data.quiet

    @property
    def objective(self) -> Objective:
        """What is minimised."""
        return self.recipe["objective"]

    def check(self) -> None:
        """Refuse what no data set could make right, before any is read."""
        Recipe(**self.recipe, lr=0.05 if self.lr is None else self.lr, dtype=self._dtype())
        if self.base_aug is not None:
            base_augmentation(self.base_aug, Images(), mixes=not self.objective.needs_teacher)
        if self.tensorboard:
            _summary_writer()

    def resolved(self, arch: str, images: ImageSet, **more: Any) -> Recipe:
        """The recipe for an architecture on a data set."""
        return Recipe(
            **self.recipe,
            **more,
            lr=default_rate(arch) if self.lr is None else self.lr,
            base_aug=self.base_aug or default_base(images.image_size),
            dtype=self._dtype(),
        )

    def _dtype(self) -> str:
        return str(chosen_dtype(self.dtype, chosen_device(self.device))).removeprefix("torch.")

    def splits(self, options: DataOptions, training: Found | None = None) -> Splits:
        """Images for training and testing; those for training may be found already."""
        found = options.splits(training)
        for note in found.train.notes:
            say(f"data: {note}", self.quiet)
        if found.held_out is not None and options.train_images is None:
            say(f"data: {len(found.held_out)} images are held out, {len(found.train)} are trained on", self.quiet)
        return found

    def work(self, setting: Setting, network: str, recipe: Recipe, **where: Any) -> Work:
        """A run with these options."""
        return setting.work(network, recipe, **where, compile=self.compile, eval_every=self.eval_every, keep=self.keep)


@dataclass(frozen=True)
class DistillOptions:
    """Everything `dametric distill` was asked; one augmentation and seed of it are a run."""

    common: TrainingOptions
    teacher: str
    student: str
    augs: tuple[str, ...]
    seeds: tuple[int, ...]
    output: str
    arch: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    jobs: int = 1
    lockstep: int = 1
    weights: str | None = None
    accuracy_images: int = ACCURACY_IMAGES

    def setting(self) -> Setting:
        """Data and teacher, read once for all runs."""
        common = self.common
        file = read_weights(self.teacher, self.weights, "teacher")
        of = common.data.of(file)
        found = of.find("train")
        checkpoint = read_checkpoint(file, self.arch, found, common.data.image_size)
        check_classes(checkpoint, found)
        images, test, held_out = common.splits(of, found)
        if taken_by(checkpoint.model, "teacher", of, images.image_size).grey:
            images, test, held_out = images.grey(), test.grey(), held_out and held_out.grey()
        teacher = Teacher.of(checkpoint, images, self.mean, self.std)
        teacher.introduce("teacher", common.quiet)
        return Setting(images, test, chosen_device(common.device), teacher, held_out)

    def work(self, setting: Setting, aug: str, seed: int) -> Work:
        """One run."""
        recipe = self.common.resolved(self.student, setting.train, aug=aug, seed=seed)
        return self.common.work(setting, self.student, recipe, root=self.output)

    def groups(self) -> list[Group]:
        """All runs in groups that are carried out together: of one seed, in the order of augmentations."""
        if self.lockstep == 1:
            return [((aug, seed),) for aug in self.augs for seed in self.seeds]
        size = self.lockstep
        parts = [self.augs[start : start + size] for start in range(0, len(self.augs), size)]
        return [tuple((aug, seed) for aug in part) for part in parts for seed in self.seeds]


def train(arch: str, output: str, options: TrainingOptions) -> Run:
    """Train a network by labels; the ledger's folder is beside the checkpoint, with the ending ``.run``."""
    target = Path(output)
    if target.suffix == ".run":
        raise UsageError(f"{target} is the name of the run's folder: call the checkpoint {target.with_suffix('.pth')}")
    check_writable(target)
    options.check()
    check_architecture(arch)
    with network_errors():
        images, test, held_out = options.splits(options.data)
        # refused here, not after the data are moved
        network = build(arch, max(1, images.num_classes), images.image_size)
        if taken_by(network, "network", options.data, images.image_size).grey:
            images, test, held_out = images.grey(), test.grey(), held_out and held_out.grey()
        say(f"{arch}: {described(images.mean, images.std, images.normalised_by)}", options.quiet)
        setting = Setting(images, test, chosen_device(options.device), held_out=held_out)
        recipe = options.resolved(arch, images)
        work = options.work(setting, arch, recipe, folder=target.with_suffix(".run"), target=target)
        refuse_another(work)
        (result,) = _carry_out([work], options)
    if isinstance(result, RunFailed):
        raise result
    return work.run


def distill(options: DistillOptions) -> tuple[list[Run], list[str]]:
    """Distil a student for every augmentation and seed not yet in the ledger; its runs, and what went wrong."""
    common = options.common
    common.check()
    check_architecture(options.student)
    for aug in options.augs:
        parse(aug, Images())
    if not common.objective.needs_teacher:
        say("the loss asks no teacher: this is training by labels, and the augmentation plays no part", common.quiet)
    check_writable(Path(options.output) / "record.json")
    with network_errors():
        setting = options.setting()
        of = Images(setting.train.image_size, setting.train.mean)
        options = replace(options, augs=spelt_once(options.augs, of, common.quiet))
        for aug in options.augs:
            setting.looked_at(
                parse(aug, replace(of, mean=setting.teacher.mean) if setting.teacher else of), common.quiet
            )
        groups = options.groups()
        top1, shown = setting.accuracy(options.accuracy_images)
        warn_of_teacher(setting.teacher, top1, setting.train.num_classes, shown, "students")
        of_all = "" if shown == len(setting.test) else f" of {len(setting.test)}"
        say(f"teacher: {accuracy_text(top1, shown)} on {shown}{of_all} test images", common.quiet)
        found = [options.work(setting, aug, seed).run for aug in options.augs for seed in options.seeds]
        if options.jobs > 1:
            troubles = _side_by_side(options, setting, groups)
        else:
            troubles = _one_by_one(options, setting, groups)
    return [run for run in found if run.record is not None], troubles


def seeds(text: str) -> tuple[int, ...]:
    """Seeds as a user writes them: ``0-2``, ``0,3,7`` or both together.

    Raises
    ------
    UsageError
        For anything else.
    """
    return whole_numbers(text, "--seeds")


def eval_every(text: str) -> EvalEvery:
    """How often test images are looked at, as a user writes it.

    Raises
    ------
    UsageError
        For anything else than a number of epochs from 1 up, or ``last``.
    """
    if text == "last":
        return "last"
    every = limits.read_whole(text, limits.EPOCHS)
    if every is None:
        raise UsageError(f"--eval-every is a number of epochs from 1 up, or last, not '{text}'")
    return every


def keep_weights(text: str) -> Keep:
    """What is kept of finished runs, as a user writes it.

    Raises
    ------
    UsageError
        For anything else than ``last`` and ``none``.
    """
    if text not in ("last", "none"):
        raise UsageError(f"--keep is last or none, not '{text}'")
    return "last" if text == "last" else "none"


def augmentations(asked: Sequence[str]) -> tuple[str, ...]:
    """What ``--aug`` named, once each; ``paper`` stands for the paper's nine."""
    return tuple(dict.fromkeys(name for spec in asked for name in (PAPER if spec == "paper" else (spec,))))


def spelt_once(augs: Sequence[str], of: Images, quiet: bool) -> tuple[str, ...]:
    """Augmentations without those that are others spelt otherwise, which is said: they would be the same runs."""
    first: dict[str, str] = {}
    for aug in augs:
        same = first.setdefault(parse(aug, of).canonical, aug)
        if same != aug:
            say(f"{aug} is {same}: the same runs", quiet)
    return tuple(first.values())


def _one_by_one(options: DistillOptions, setting: Setting, groups: Sequence[Group]) -> list[str]:
    troubles = []
    with until_interrupted() as stop:
        for group in groups:
            if stop():  # in the last step of the run before
                raise Interrupted("stopped; everything is saved, the same command goes on")
            works = [options.work(setting, aug, seed) for aug, seed in group]
            results = _carry_out(works, options.common, stop)
            failed = [f"{work.title}: {result}" for work, result in zip(works, results, strict=True) if _failed(result)]
            for line in failed:
                say(line)
            troubles += failed
    return troubles


def _side_by_side(options: DistillOptions, setting: Setting, groups: Sequence[Group]) -> list[str]:
    tasks = [(options, group) for group in groups]
    total = sum(options.work(setting, aug, seed).epochs for group in groups for aug, seed in group)
    what = f"{sum(map(len, groups))} runs, {options.jobs} side by side"
    try:
        with progress(what, total, quiet=options.common.quiet) as advance:
            answers = [answer for part in side_by_side(in_a_process, tasks, options.jobs, advance) for answer in part]
    except Interrupted:
        raise Interrupted("stopped; everything is saved, the same command goes on") from None
    for answer, well in answers:
        say(answer, options.common.quiet and well)
    return [answer for answer, well in answers if not well]


_shared: list[Setting] = []  # of a worker process


def in_a_process(
    task: tuple[DistillOptions, Group], advance: Advance, stop: Callable[[], bool]
) -> list[tuple[str, bool]]:
    """A group of runs in a worker process, which reads data and teacher once for all its runs."""
    options, group = task
    with network_errors():
        if not _shared:
            quiet = replace(options.common, data=replace(options.common.data, quiet=True))
            _shared.append(replace(options, common=quiet).setting())
        works = [options.work(_shared[0], aug, seed) for aug, seed in group]
        results = carry_out_together(works, stop=stop, advance=advance, on_epoch=_on_epoch(works, options.common))
    return [
        (f"{work.title}: {_said(result)}", not _failed(result)) for work, result in zip(works, results, strict=True)
    ]


def _failed(result: Result) -> bool:
    return isinstance(result, RunFailed)


def _said(result: Result) -> str:
    if isinstance(result, dict):
        return outcome(result)
    return str(result) if _failed(result) else "saved"


def _carry_out(works: Sequence[Work], options: TrainingOptions, stop: Callable[[], bool] | None = None) -> list[Result]:
    """Carry out runs in lockstep with a bar, and a line for each; what came of them."""
    known = [work.finished for work in works]
    for work in works:
        if why := work.starts_over:
            say(f"{work.title}: finished before, {why}: training starts over", options.quiet)
    results = watched_together(works, quiet=options.quiet, on_epoch=_on_epoch(works, options), stop=stop)
    for work, result, before in zip(works, results, known, strict=True):
        if not _failed(result):
            say(f"{work.title}: {'done before: ' if before else ''}{_said(result)}", options.quiet)
    return results


def outcome(record: dict[str, Any]) -> str:
    """How a finished run came out, in a few words; "nan" for what its record does not say."""
    last, timing = record["last"] or {}, record.get("timing") or {}
    loss, top1, seconds = last.get("test_loss"), last.get("test_top1"), timing.get("seconds")
    loss, top1, seconds = (math.nan if value is None else value for value in (loss, top1, seconds))
    return f"test loss {loss:.4f}, {100 * top1:.2f} % ({seconds:.0f} s)"


def _on_epoch(works: Sequence[Work], options: TrainingOptions) -> Callable[[Work, Row], None]:
    """Write TensorBoard's event files as training goes on, if that was asked for."""
    if not options.tensorboard:
        return lambda work, row: None
    make = _summary_writer()
    writers = {work.run.folder: make(work.run.folder) for work in works}

    def write(work: Work, row: Row) -> None:
        writer = writers[work.run.folder]
        for name, value in row.items():
            if name not in ("epoch", "step") and math.isfinite(value):
                writer.add_scalar(name.replace("_", "/", 1), value, int(row["epoch"]))
        writer.flush()

    return write


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs the package tensorboard: pip install tensorboard") from None
    return SummaryWriter


def refuse_another(work: Work) -> None:
    """Refuse to go on in a folder that holds a run of another configuration."""
    record = work.run.record
    if record is None or run_id(record["config"]) == run_id(work.config):
        return
    theirs, ours = (_flat(config) for config in (record["config"], work.config))
    names = [name for name in {**ours, **theirs} if theirs.get(name) != ours.get(name)] or ["its configuration"]
    first = f"{names[0]} was {theirs.get(names[0])}, now {ours.get(names[0])}"
    if names[0].startswith("data."):  # hashes say nothing to a reader
        first = f"the {names[0].removeprefix('data.').replace('_', '-')} images were others"
    raise UsageError(f"{work.run.folder} holds another run ({first}): choose another -o, or remove that folder")


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
