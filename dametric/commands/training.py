"""`dametric train`, `dametric distill` and `dametric runs`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from dametric.augment import PAPER, Images, base_augmentation, default_base, parse
from dametric.commands.console import wide_console
from dametric.commands.inputs import (
    DataOptions,
    check_classes,
    chosen_device,
    chosen_dtype,
    network_errors,
    read_checkpoint,
    say,
    warn_near_chance,
)
from dametric.data import ImageSet
from dametric.distill import Objective, Recipe, Setting, Teacher, Work, default_rate, watched
from dametric.distill.interrupt import until_interrupted
from dametric.distill.jobs import side_by_side
from dametric.distill.run import OnEpoch, carry_out
from dametric.errors import Interrupted, RunFailed, UsageError
from dametric.files import check_writable, write_atomic
from dametric.ledger import Row, Run, find_runs, load_runs, run_id
from dametric.models import build, load_state, save_checkpoint
from dametric.progress import Advance, progress
from dametric.results import finite
from dametric.sweep.reading import whole_numbers


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

    def splits(self, options: DataOptions) -> tuple[ImageSet, ImageSet]:
        """Training and test images."""
        found = options.load("train"), options.load("test")
        for note in found[0].notes:
            say(f"data: {note}", self.quiet)
        return found


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

    def setting(self) -> Setting:
        """Data and teacher, read once for all runs."""
        common = self.common
        train_set = common.data.load("train") if common.data.source else None
        size = common.data.image_size if train_set is None else train_set.image_size
        checkpoint = read_checkpoint(self.teacher, self.arch, size, "teacher", common.quiet)
        images, test = common.splits(common.data.of(checkpoint))
        check_classes(checkpoint, images)
        teacher = Teacher.of(checkpoint, images, self.mean, self.std)
        return Setting(images, test, chosen_device(common.device), teacher)

    def work(self, setting: Setting, aug: str, seed: int) -> Work:
        """One run."""
        recipe = self.common.resolved(self.student, setting.train, aug=aug, seed=seed)
        return setting.work(self.student, recipe, self.output, compile=self.common.compile)


def train(arch: str, output: str, options: TrainingOptions) -> Run:
    """Train a network by labels; the ledger's folder is beside the checkpoint, with the ending ``.run``."""
    target = Path(output)
    if target.suffix == ".run":
        raise UsageError(f"{target} is the name of the run's folder: call the checkpoint {target.with_suffix('.pth')}")
    check_writable(target)
    options.check()
    with network_errors():
        images, test = options.splits(options.data)
        build(arch, max(1, images.num_classes), images.image_size)  # refused here, not after the data are moved
        setting = Setting(images, test, chosen_device(options.device))
        work = setting.work(
            arch, options.resolved(arch, images), folder=target.with_suffix(".run"), compile=options.compile
        )
        refuse_another(work)
        record = _carry_out(work, options)
    write_teacher(work, record, target)
    return work.run


def write_teacher(work: Work, record: dict[str, Any], target: Path) -> None:
    """Write the checkpoint of a finished run, for others to learn from."""
    images, model = work.setting.train, work.training.model
    load_state(work.run.checkpoint, model)
    save_checkpoint(
        target,
        model,
        arch=work.arch,
        classes=images.classes,
        mean=images.mean,
        std=images.std,
        data=images.name,
        image_size=images.image_size,
        extra={"run": record["id"], "test": record["last"]},
    )


def distill(options: DistillOptions) -> tuple[list[Run], list[str]]:
    """Distil a student for every augmentation and seed not yet in the ledger; its runs, and what went wrong."""
    common = options.common
    common.check()
    for aug in options.augs:
        parse(aug, Images())
    if not common.objective.needs_teacher:
        say("the loss asks no teacher: this is training by labels, and the augmentation plays no part", common.quiet)
    check_writable(Path(options.output) / "record.json")
    tasks = [(options, aug, seed) for aug in options.augs for seed in options.seeds]
    with network_errors():
        setting = options.setting()
        warn_near_chance(setting.clean["top1"], setting.train.num_classes, len(setting.test), "students")
        say(f"teacher: {100 * setting.clean['top1']:.2f} % top-1 on {len(setting.test)} test images", common.quiet)
        found = [options.work(setting, aug, seed).run for _, aug, seed in tasks]
        troubles = _side_by_side(options, tasks) if options.jobs > 1 else _one_by_one(options, setting, tasks)
    return [run for run in found if run.record is not None], troubles


def runs(folder: str, as_json: bool, csv: str | None) -> None:
    """Print the ledger."""
    found = find_runs(folder)
    if csv is not None:
        check_writable(Path(csv))
        write_atomic(csv, load_runs(folder).to_csv(index=False))
    deliver(found, as_json)


def seeds(text: str) -> tuple[int, ...]:
    """Seeds as a user writes them: ``0-2``, ``0,3,7`` or both together.

    Raises
    ------
    UsageError
        For anything else.
    """
    return whole_numbers(text, "--seeds")


def augmentations(asked: Sequence[str]) -> tuple[str, ...]:
    """What ``--aug`` named, once each; ``paper`` stands for the paper's nine."""
    return tuple(dict.fromkeys(name for spec in asked for name in (PAPER if spec == "paper" else (spec,))))


def _one_by_one(options: DistillOptions, setting: Setting, tasks: Sequence[tuple[Any, str, int]]) -> list[str]:
    troubles = []
    with until_interrupted() as stop:
        for _, aug, seed in tasks:
            if stop():  # in the last step of the run before
                raise Interrupted("stopped; everything is saved, the same command goes on")
            work = options.work(setting, aug, seed)
            try:
                _carry_out(work, options.common, stop)
            except RunFailed as error:
                say(f"{work.title}: {error}")
                troubles.append(f"{work.title}: {error}")
    return troubles


def _side_by_side(options: DistillOptions, tasks: Sequence[tuple[DistillOptions, str, int]]) -> list[str]:
    total = len(tasks) * options.common.recipe["epochs"]
    what = f"{len(tasks)} runs, {options.jobs} side by side"
    try:
        with progress(what, total, quiet=options.common.quiet) as advance:
            answers = side_by_side(in_a_process, tasks, options.jobs, advance)
    except Interrupted:
        raise Interrupted("stopped; everything is saved, the same command goes on") from None
    for answer, well in answers:
        say(answer, options.common.quiet and well)
    return [answer for answer, well in answers if not well]


_shared: list[Setting] = []  # of a worker process


def in_a_process(task: tuple[DistillOptions, str, int], advance: Advance, stop: Callable[[], bool]) -> tuple[str, bool]:
    """A run in a worker process, which reads data and teacher once for all its runs."""
    options, aug, seed = task
    with network_errors():
        if not _shared:
            quiet = replace(options.common, data=replace(options.common.data, quiet=True))
            _shared.append(replace(options, common=quiet).setting())
        work = options.work(_shared[0], aug, seed)
        try:
            record = carry_out(work, stop=stop, advance=advance, on_epoch=_on_epoch(work, options.common))
        except RunFailed as error:
            return f"{work.title}: {error}", False
        except Interrupted:
            return f"{work.title}: saved", True
    return f"{work.title}: {outcome(record)}", True


def _carry_out(work: Work, options: TrainingOptions, stop: Callable[[], bool] | None = None) -> dict[str, Any]:
    before = work.run.record
    record = watched(work, quiet=options.quiet, on_epoch=_on_epoch(work, options), stop=stop)
    known = before is not None and before["status"] == "finished"
    say(f"{work.title}: {'done before: ' if known else ''}{outcome(record)}", options.quiet)
    return record


def outcome(record: dict[str, Any]) -> str:
    last = record["last"]
    return f"test loss {last['test_loss']:.4f}, {100 * last['test_top1']:.2f} % ({record['timing']['seconds']:.0f} s)"


def _on_epoch(work: Work, options: TrainingOptions) -> OnEpoch:
    """Write TensorBoard's event file as training goes on, if that was asked for."""
    if not options.tensorboard:
        return lambda row: None
    writer = _summary_writer()(work.run.folder)

    def write(row: Row) -> None:
        for name, value in row.items():
            if name != "epoch":
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
    if record is None or record["id"] == run_id(work.config):
        return
    theirs, ours = (_flat(config) for config in (record["config"], work.config))
    names = [name for name in ours if theirs.get(name) != ours[name]] or ["its configuration"]
    first = f"{names[0]} was {theirs.get(names[0])}, now {ours.get(names[0])}"
    raise UsageError(f"{work.run.folder} holds another run ({first}): choose another -o, or remove that folder")


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def deliver(found: Sequence[Run], as_json: bool) -> None:
    """Print runs, as a table or as their records."""
    if as_json:
        print(json.dumps(finite([run.now for run in found]), indent=1, ensure_ascii=False))
        return
    if found:
        print_runs(found)


def print_runs(found: Sequence[Run]) -> None:
    """The ledger as a table on stdout."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("teacher", "student", "augmentation"):
        table.add_column(name, no_wrap=True)
    for name in ("seed", "epochs", "test loss", "top-1 %", "best %", "agree %", "ece %", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in load_runs(found).to_dict("records"):
        shares = ("test_top1", "best_test_top1", "test_agreement", "test_ece")
        table.add_row(
            row["teacher"] if isinstance(row["teacher"], str) else "labels",
            row["student"],
            row["aug"],
            str(row["seed"]),
            str(row["epochs"]) if row["status"] == "finished" else f"{row['epoch']}/{row['epochs']}",
            _number(row["test_loss"], "{:.4f}"),
            *(_number(100 * row[name], "{:.2f}") for name in shares),
            _number(row["seconds"], "{:.0f}"),
            "" if row["status"] == "finished" else row["status"],
        )
    wide_console().print(table)


def _number(value: float, form: str) -> str:
    return form.format(value) if math.isfinite(value) else ""
