"""The pass: data -> augment -> teacher -> observe, once for all augmentations on the same batches and raw rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import merge
from itertools import accumulate, groupby, tee
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dametric.augment import NEEDS_STUDENT, Augmentation, Augmented, Keys, pick
from dametric.augment.base import Operation
from dametric.augment.base_view import BaseView
from dametric.augment.keys import Hashed
from dametric.base.arguments import argument
from dametric.base.devices import RowsAtOnce, drain, out_of_memory
from dametric.base.terminal import note_once
from dametric.data import ImageSet
from dametric.errors import UsageError
from dametric.metrics import METRICS, Contributor, Metric, Observation
from dametric.models.network import Network
from dametric.scoring.arrival import arrived, on_the_way_to_the_host
from dametric.scoring.cached_rows import CachedRows, Origin, Pool, Rows, compute_cross_entropies
from dametric.scoring.jackknife import MAX_BLOCKS, Blocks
from dametric.scoring.protocol import Protocol, Unit, units
from dametric.scoring.ranks import Ranks
from dametric.scoring.together import Task, contributions

_AUGMENTED = 512  # rows that are augmented together at least: their many small operations cost by the call
_AUGMENTED_BYTES = 16 << 20  # of these rows at most: memory of larger temporaries is fetched from the system every time
_NUMBERS, _FEWEST_BLOCKS = 1 << 24, 16  # kept of one metric of one augmentation; but blocks enough for an error
_MOST_APART = 512  # groups of batches that ranks keep to themselves; bounds the memory

OF_TEACHER = ""  # in the place of an augmentation's name
_IMAGES = "images"  # in the place of a network, among what may not be finite

Part = tuple[Rows, Rows | None, Origin | None]
ViewName = tuple[int, bool]  # number, and whether its base view is its own
Run = tuple[tuple[Operation, ...], int]  # what makes a run of a pool, and its number


class Segment(NamedTuple):
    """Consecutive batches of one size, to be augmented and forwarded together."""

    batches: int
    size: int
    first: int


class Shown(NamedTuple):
    """What one view of a segment was made into so far."""

    rows: dict[Run, CachedRows]
    pools: dict[tuple[Operation, ...], Augmented]  # the largest of a run, of which others are the beginning


@dataclass
class Engine:
    """Accumulates what every metric needs of every augmentation.

    Attributes
    ----------
    teacher, student : Network
        The student may be missing where nothing needs it.
    data : ImageSet
    augs : sequence of Augmentation
    metrics : sequence of Metric
    protocol : Protocol
    base : Augmentation
        The loader's own augmentation, drawn per image; its result is the raw image.
    device : torch.device
    retired : set of str
        Names of augmentations that are known precisely enough, and no longer shown. Changed between checkpoints only.
    ranks : Ranks
        The processes that show batches in turn; this one alone by default.
    held_out : Engine, optional
        The pass over held-out clean images, for metrics that need them.
    measured : dict
        What was last estimated of each metric of an augmentation, and of which blocks.
    """

    teacher: Network
    student: Network | None
    data: ImageSet
    augs: Sequence[Augmentation]
    metrics: Sequence[Metric]
    protocol: Protocol
    base: Augmentation
    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    held_out: Engine | None = None
    blocks: dict[tuple[str, Contributor], Blocks] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    done: int = 0
    retired: set[str] = field(default_factory=set)
    measured: dict[tuple[str, Metric], tuple[Blocks, Any]] = field(default_factory=dict)
    _classes: int = 0
    _growth: dict[Contributor, int] = field(default_factory=dict)
    _later: dict[tuple[str, Contributor], list[Blocks]] = field(default_factory=dict)
    _apart: list[tuple[int, int, list[Blocks]]] = field(default_factory=list)
    _finite: list[tuple[str, str, int, Tensor]] = field(default_factory=list)
    _logits: list[tuple[str, str, Segment, Tensor]] = field(default_factory=list)  # to be looked at together
    _at_once: RowsAtOnce | None = None  # rows that are augmented and forwarded together

    def __post_init__(self) -> None:
        self._streamed = [metric for metric in self.metrics if "held_out" not in metric.needs]
        needs = set().union(*(metric.needs for metric in self._streamed if metric.first is None))
        self._metric_raw = "raw" in needs or self.protocol.reference
        self._metric_student = "student" in needs
        self._metric_labels, self._metric_mixing = "labels" in needs, "mixing" in needs
        if self._metric_labels and not self.data.num_classes:
            raise UsageError("a metric needs labels, and these images have none")
        self._first = max((metric.first or 0 for metric in self.metrics), default=0)
        self.base_view = BaseView.of(self.base, self.data, self.augs)
        self._hashed = Hashed()

    @property
    def needs_student(self) -> bool:
        """Whether any metric or augmentation needs the student's output."""
        return self._metric_student or any(aug.pick in NEEDS_STUDENT for aug in self.augs)

    @property
    def of_augmentations(self) -> list[Metric]:
        """The metrics of single augmentations; the others are numbers of the teacher."""
        return [metric for metric in self.metrics if not metric.of_teacher]

    @property
    def leading(self) -> Metric | None:
        """The first metric that is shown all batches; None where there is none."""
        return next((metric for metric in self._streamed if metric.first is None), None)

    @property
    def active(self) -> list[Augmentation]:
        """The augmentations that are still shown."""
        return [aug for aug in self.augs if aug.name not in self.retired]

    def run(self, checkpoints: Iterator[int], tick: Callable[[int], None] = lambda units: None) -> Iterator[int]:
        """Walk over the data, and pause with the number of units done at every checkpoint.

        Parameters
        ----------
        checkpoints : iterator of int
            Increasing numbers of units; the walk ends with the last one.
        tick : callable
            Called with the number of units just shown, for a progress bar.

        Yields
        ------
        int
            Units done; all contributions up to here are in :attr:`blocks`.
        """
        streams = max(_views(self._streamed, own_base=True) if self.base_view.cut is not None else 1, 1)
        shown, *plans = tee(enumerate(self._groups(checkpoints)), 1 + streams)
        pixels = [
            iter(self.base_view.stream(self._wanted(plan, number), self.device)) for number, plan in enumerate(plans)
        ]
        for number, (group, pause) in shown:
            if self.ranks.shows(number):
                self._within_memory(group, [next(stream) for stream in pixels], self._labels(group))
            self.done += len(group)
            tick(len(group))
            if pause or (number + 1) % _MOST_APART == 0:
                self._check_finite()
                self._unite()
                self._join()
            if pause:
                yield self.done

    def _wanted(
        self, plan: Iterator[tuple[int, tuple[list[Unit], bool]]], view: int
    ) -> Iterator[tuple[Tensor, list[Keys]]]:
        """Images of the groups of this rank, with the keys of their base views."""
        for number, (group, _) in plan:
            if self.ranks.shows(number):
                index = torch.cat([index for unit in group for index in unit.batches])
                yield index, [of_base(self.keys(segment).of_draw(view)) for segment in _segments(group)]

    def _groups(self, checkpoints: Iterator[int]) -> Iterator[tuple[list[Unit], bool]]:
        """Units that are augmented together: never across a checkpoint, so that chunks do not move the stop."""
        most = min(_AUGMENTED, _AUGMENTED_BYTES // self.data.images.shape[1:].numel())
        rows = self.teacher.chunk if self.ranks.joined else max(self.teacher.chunk, most)  # fewer to deal out
        size = 1 if self.protocol.reference else max(1, rows // self.protocol.batch)
        source, done = units(self.protocol, len(self.data)), 0
        for checkpoint in checkpoints:
            while done < checkpoint:
                # units of metrics that are shown the first ones only are never augmented with later ones
                count = min(size, checkpoint - done, self._first - done if done < self._first else size)
                done += count
                yield [next(source) for _ in range(count)], done == checkpoint

    def keys(self, segment: Segment) -> Keys:
        """Names of the random numbers of some batches."""
        batches, size, first = segment
        return Keys(self.protocol.seed, batches, size, first, self.protocol.per, self.device)

    def _labels(self, group: list[Unit]) -> Tensor | None:
        """Classes of the images of some units, where a metric asks for them."""
        if not self._metric_labels:
            return None
        index = torch.cat([index for unit in group for index in unit.batches])
        return self.data.labels_of(index, self.device)

    def _within_memory(self, group: list[Unit], images: list[Tensor], labels: Tensor | None) -> None:
        """Observe some units together; where memory runs out, wherever that is, fewer at a time.

        The numbers are the same: draws go by names, and nothing is kept of what failed.

        Raises
        ------
        UsageError
            If there is not enough for one.
        """
        start, failure = self.done, None
        self._at_once = self._at_once or RowsAtOnce(max(len(images[0]), *(each.chunk for each in self._networks)))
        while group:
            rows = [sum(map(len, unit.batches)) for unit in group]
            count = max(1, sum(total <= self._at_once.now for total in accumulate(rows)))  # so many units
            first = sum(rows[:count])
            for network in self._networks:
                network.limit(self._at_once.now)
            before = len(self._finite), dict(self.rows), [network.rows for network in self._networks]
            try:
                part = None if labels is None else labels[:first]
                self._observe(group[:count], [stream[:first] for stream in images], part)
            except Exception as error:
                if not out_of_memory(error):
                    raise
                failure = error.with_traceback(None)  # which holds the memory of what failed
            else:
                self._at_once.went_well()
                self.done += count
                group, images = group[count:], [stream[first:] for stream in images]
                labels = None if labels is None else labels[first:]
                continue
            self._forget_since(*before)
            if not self._at_once.fewer(first):
                raise UsageError(
                    f"the GPU has too little memory for the network: use a smaller {argument('batch_size')}, or "
                    f"{argument('device', 'cpu')}; rows are shown one by one already, as with {argument('chunk', 1)}"
                ) from failure
            note_once(
                f"the GPU has too little memory: {self._at_once.now} images at a time from here on, as with "
                f"{argument('chunk', self._at_once.now)}"
            )
        self.done = start

    def _forget_since(self, flags: int, rows: dict[str, int], forwarded: list[int]) -> None:
        """Undo what an attempt that failed has counted."""
        del self._finite[flags:]
        self._logits.clear()
        self.rows = rows
        for network, count in zip(self._networks, forwarded, strict=True):
            network.rows = count

    @property
    def _networks(self) -> list[Network]:
        return [network for network in (self.teacher, self.student) if network is not None]

    @torch.inference_mode()
    def _observe(self, group: list[Unit], images: list[Tensor], labels: Tensor | None) -> None:
        segments, augs = _segments(group), self.active
        metrics = self._shown_at(self.done)
        always = self._metric_raw or any(not aug.operations or aug.pick == "dissimilarity" for aug in augs)
        raw_asked = always or any("raw" in metric.needs for metric in metrics)
        views = {own_base: _views(metrics, own_base) for own_base in (False, True)}
        numbers = {aug.name: self._numbers(aug, views) for aug in augs}
        parts: dict[tuple[str, ViewName], list[Part]] = {(name, n): [] for name, each in numbers.items() for n in each}
        raws = []
        sizes = [segment.batches * segment.size for segment in segments]
        labels_of = [None] * len(sizes) if labels is None else labels.split(sizes)
        pixels = [stream.split(sizes) for stream in images]
        for place, segment in enumerate(segments):
            keys = self._hashed.of(self.keys(segment))
            bases = [
                self.base_view(pixels[min(n, len(pixels) - 1)][place], of_base(keys.of_draw(n))).images
                for n in range(max(views[True], 1))
            ]
            for view in bases:
                self._note_finite(_IMAGES, view, self.base.name, segment)
            raw = self._ask(bases[0], "the raw images", segment, self._metric_student and always) if raw_asked else None
            raws.append(raw)
            shown: dict[ViewName, Shown] = {}  # cutmix is the first run of a pool
            for aug in sorted(augs, key=lambda aug: aug.pick == "student_entropy"):  # last what asks the teacher least
                for name in numbers[aug.name]:
                    n, own_base = name
                    named = keys.of_draw(n) if own_base else keys.of_view(n)
                    base, beside = (bases[n], None) if own_base else (bases[0], raw)
                    rows = self._rows(
                        aug, base, beside, named, segment, shown.setdefault(name, Shown({}, {})), labels_of[place]
                    )
                    parts[aug.name, name].append(rows)
        self._look_at_logits()
        if self.device.type != "cpu" and self._metric_student:
            compute_cross_entropies([rows for each in parts.values() for part in each for rows in part[:2] if rows])
        alone = len(self.data) < 2 * self.protocol.batch  # one batch an epoch: only over epochs has it a spread
        epoch = torch.tensor([0 if alone else unit.epoch for unit in group])
        tasks = []
        for aug in augs:
            observed = {n: self._observation(aug, n, len(group), raws, parts[aug.name, n]) for n in numbers[aug.name]}
            shown_rows = sum(each.aug.shape[:2].numel() for each in observed.values())
            self.rows[aug.name] = self.rows.get(aug.name, 0) + shown_rows
            for owner, (observe, wanted, own_base) in _kept(aug, augs, metrics):
                several = [each for (n, own), each in observed.items() if own == own_base or not n][:wanted]
                several = several * wanted if len(several) == 1 else several
                units = replace(observed[0, False], views=tuple(several)) if wanted > 1 else observed[0, False]
                tasks.append(Task((owner, (observe, wanted, own_base)), units))
        made = contributions(tasks, together=self.device.type != "cpu")
        new = {key: Blocks(contribution, torch.ones_like(epoch), epoch) for key, contribution in made.items()}
        if self.ranks.joined:
            self._apart.append((self.done, len(group), on_the_way_to_the_host(list(new.values()))))
        else:
            self._push(new, len(group))

    def _numbers(self, aug: Augmentation, views: dict[bool, int]) -> list[ViewName]:
        """The views of an augmentation: where nothing is drawn they are all the same."""
        drawn = aug.random or aug.mixes
        of_one_base = max(views[False], 1) if drawn else 1
        of_own_bases = views[True] if drawn or self.base.random else 1
        return [*((n, False) for n in range(of_one_base)), *((n, True) for n in range(1, of_own_bases))]

    def _unite(self) -> None:
        """Gather the contributions of all ranks since the last time, in the order of batches."""
        if not self.ranks.joined:
            return
        drain(self.device)
        own = [(done, count, arrived(blocks)) for done, count, blocks in self._apart]
        for done, count, blocks in merge(*self.ranks.gather(own), key=itemgetter(0)):
            augs, metrics = self.active, self._shown_at(done)
            keys = [key for aug in augs for key in _kept(aug, augs, metrics)]
            self._push(dict(zip(keys, blocks, strict=True)), count)
        self._apart = []

    def _shown_at(self, done: int) -> list[Metric]:
        """The metrics that observe the units after the first ``done``."""
        return [metric for metric in self._streamed if metric.first is None or done < metric.first]

    def total(self) -> None:
        """Add the numbers of rows that the other ranks have shown."""
        networks = [network for network in (self.teacher, self.student) if network is not None]
        everyone = self.ranks.gather((self.rows, [network.rows for network in networks]))
        self.rows = {name: sum(rows.get(name, 0) for rows, _ in everyone) for rows, _ in everyone for name in rows}
        for number, network in enumerate(networks):
            network.rows = sum(forwarded[number] for _, forwarded in everyone)

    def _push(self, new: dict[tuple[str, Contributor], Blocks], count: int) -> None:
        """Append blocks of one unit; when there are too many, merge all, always at the same number of units."""
        for contributor in dict.fromkeys(contributor for _, contributor in new):
            self._append(contributor, {key: blocks for key, blocks in new.items() if key[1] == contributor}, count)

    def _append(self, contributor: Contributor, new: dict[tuple[str, Contributor], Blocks], count: int) -> None:
        start = 0
        while start < count:
            held = max(map(self._held, new))
            most = self._growth.get(contributor, 1) * 2 * min(_most_blocks(blocks) for blocks in new.values())
            stop = min(count, start + most - held)
            for key, blocks in new.items():
                self._later.setdefault(key, []).append(blocks.part(start, stop))
            if held + stop - start == most:
                self._join()
                for key in new:  # not those of augmentations that are no longer shown, whose errors are final
                    self.blocks[key] = self.blocks[key].merged()
                if max(len(self.blocks[key].epoch) for key in new) > 0.75 * most:
                    # epochs of hardly a block each, which are not added up
                    self._growth[contributor] = 2 * self._growth.get(contributor, 1)
            start = stop

    def _held(self, key: tuple[str, Contributor]) -> int:
        """Number of blocks of a contribution."""
        joined = len(self.blocks[key].epoch) if key in self.blocks else 0
        return joined + sum(len(part.epoch) for part in self._later.get(key, ()))

    def _join(self) -> None:
        """Append the blocks since the last time, all at once: one by one they would be copied as often."""
        for key, parts in self._later.items():
            self.blocks[key] = Blocks.joined([self.blocks[key], *parts] if key in self.blocks else parts)
        self._later.clear()

    def _rows(
        self,
        aug: Augmentation,
        view: Tensor,
        raw: Rows | None,
        keys: Keys,
        segment: Segment,
        shown: Shown,
        labels: Tensor | None,
    ) -> Part:
        """Rows of the augmented images, the raw row of the same image for each, and what they were made of."""
        if not aug.operations and raw is not None:
            return raw, raw, None if labels is None else Origin(labels)
        teacher = partial(self._teacher, what=aug.name, segment=segment)
        student = partial(self._student_log, what=aug.name, segment=segment)
        if aug.run not in shown.pools:  # picks by several criteria are from one pool, which begins with its run alone
            largest = max((each for each in self.active if each.run == aug.run), key=lambda each: each.runs)
            shown.pools[aug.run] = largest(view, keys)
        augmented = shown.pools[aug.run].first(aug.runs * len(view))
        images = augmented.images
        origin = Origin.of(augmented, labels, len(view)) if self._metric_labels or self._metric_mixing else None
        self._note_finite(_IMAGES, images, aug.name, segment)
        parts = images.split(len(view))
        runs = [shown.rows.setdefault((aug.run, n), CachedRows(part, teacher, student)) for n, part in enumerate(parts)]
        if aug.pick is None:
            return runs[0].rows(self._metric_student), raw, origin
        pool = Pool(runs)
        values = pool.judge(aug.pick, None if raw is None else raw.teacher)
        chosen = pick(values, runs=aug.runs, batches=segment.batches, keep=self.protocol.batch)
        of_same_image = None if raw is None else raw.take(chosen % len(view))
        return pool.take(chosen, self._metric_student), of_same_image, None if origin is None else origin.take(chosen)

    def _ask(self, images: Tensor, what: str, segment: Segment, student: bool) -> Rows:
        return Rows(self._teacher(images, what, segment), self._student_log(images, what, segment) if student else None)

    def _teacher(self, images: Tensor, what: str, segment: Segment) -> Tensor:
        """Probabilities of the teacher; what is not finite is noted for the next checkpoint."""
        logits = self._softened(self.teacher(images))
        self._note_classes(logits)
        self._note_finite("teacher", logits, what, segment)
        return logits.softmax(-1)

    def _student_log(self, images: Tensor, what: str, segment: Segment) -> Tensor:
        assert self.student is not None
        logits = self._softened(self.student(images))
        self._note_classes(logits)
        self._note_finite("student", logits, what, segment)
        return logits.log_softmax(-1)

    def _softened(self, logits: Tensor) -> Tensor:
        return logits if self.protocol.temperature == 1 else logits / self.protocol.temperature

    def _note_classes(self, logits: Tensor) -> None:
        self._classes = self._classes or logits.shape[1]
        if logits.shape[1] != self._classes:
            raise UsageError(f"teacher and student have {self._classes} and {logits.shape[1]} classes: they must agree")
        indexed = [each.name for each in self.metrics if "labels" in each.needs and _is_built_in(each)]
        if indexed and self.data.num_classes > self._classes:
            raise UsageError(
                f"the images have {self.data.num_classes} classes and the teacher {self._classes}: leave out metrics"
                f" that need labels, such as {indexed[0]}"
            )

    def _note_finite(self, who: str, rows: Tensor, what: str, segment: Segment) -> None:
        """Keep a flag for each batch of images or logits on the device, to be read at the next checkpoint."""
        if not rows.is_floating_point():
            return
        if self.device.type != "cpu" and who != _IMAGES:
            self._logits.append((who, what, segment, rows))
        else:
            self._finite.append((who, what, segment.first, _finite_batches(rows[None], segment)[0]))

    def _look_at_logits(self) -> None:
        """Flags of the logits of a group by as many kernels as there are shapes, which cost a GPU by the call."""
        groups: dict[tuple[Segment, torch.Size], list[tuple[str, str, Tensor]]] = {}
        for who, what, segment, rows in self._logits:
            groups.setdefault((segment, rows.shape), []).append((who, what, rows))
        for (segment, _), alike in groups.items():
            flags = _finite_batches(torch.stack([rows for *_, rows in alike]), segment)
            self._finite += [(who, what, segment.first, flags[n]) for n, (who, what, _) in enumerate(alike)]
        self._logits.clear()

    def _observation(
        self, aug: Augmentation, view: ViewName, count: int, raws: list[Rows | None], parts: list[Part]
    ) -> Observation:
        number, own_base = view
        raws = [None] * len(raws) if own_base else raws  # those are of the first base view

        def stack(values: list[Tensor | None]) -> Tensor | None:
            present = [value for value in values if value is not None]
            whole = present[0] if len(present) == 1 else torch.cat(present) if present else None
            return None if whole is None else whole.unflatten(0, (count, -1))

        probabilities = stack([rows.teacher for rows, *_ in parts])
        assert probabilities is not None
        origins = [origin for *_, origin in parts]
        design = self.protocol.design(aug)
        mixed = zip(raws, origins, strict=True) if self._metric_mixing else ()
        partners = [
            raw.teacher[origin.partner]
            for raw, origin in mixed
            if raw is not None and origin is not None and origin.partner is not None
        ]
        return Observation(
            aug=probabilities,
            raw=stack([None if raw is None else raw.teacher for raw in raws]),
            design=replace(design, lag=design.lag * (1 if own_base else number + 1)),
            aug_ce=stack([rows.cross_entropy for rows, *_ in parts]),
            raw_ce=stack([None if raw is None else raw.cross_entropy for _, raw, _ in parts]),
            aug_student=stack([rows.student_log for rows, *_ in parts]),
            raw_student=stack([None if raw is None else raw.student_log for _, raw, _ in parts]),
            labels=stack([None if origin is None else origin.labels for origin in origins]),
            partner_labels=stack([None if origin is None else origin.partner_labels for origin in origins]),
            lam=stack([None if origin is None else origin.lam for origin in origins]),
            own_raw=stack([None if raw is None or aug.pick is None else raw.teacher for _, raw, _ in parts]),
            partner_raw=stack([*partners]),
        )

    def _check_finite(self) -> None:
        """Read the flags of all forwards since the last checkpoint, in one transfer."""
        if self._finite and bool(torch.cat([flags for *_, flags in self._finite]).all()):
            self._finite.clear()
        for who, what, first, flags in self._finite:
            bad = torch.nonzero(~flags).flatten()
            if len(bad) and who == _IMAGES:
                raise UsageError(f"augmentation {what} gave NaN or Inf on batch {first + int(bad[0])}")
            if len(bad):
                raise UsageError(
                    f"the {who} gave NaN or Inf on batch {first + int(bad[0])} under {what} in {self.teacher.dtype}: "
                    f"try {argument('dtype', 'float32')}, and check that the checkpoint and the normalisation are right"
                )
        self._finite.clear()


def _finite_batches(several: Tensor, segment: Segment) -> Tensor:
    """Whether images or logits are finite, batch by batch.

    Parameters
    ----------
    several : Tensor of shape (views, rows, ...)
    segment : Segment

    Returns
    -------
    Tensor of shape (views, batches), bool
    """
    # nothing times a number is zero, nothing times NaN or Inf is NaN, and so is a sum with that: three kernels
    flat = (several * 0).flatten(2)
    views, rows, numbers = flat.shape
    if rows % (segment.batches * segment.size) == 0:  # batch after batch, a pool run after run
        return flat.view(views, -1, segment.batches, segment.size * numbers).sum((1, 3)) == 0
    return flat.view(views, segment.batches, -1).sum(2) == 0  # picked rows, more of them than a short batch has


def _kept(aug: Augmentation, augs: Sequence[Augmentation], metrics: Sequence[Metric]) -> list[tuple[str, Contributor]]:
    """Keys of what an augmentation contributes; with the first of them, which sees the same base views as all, the
    teacher's own."""
    owners = {metric.contributor: OF_TEACHER if metric.of_teacher else aug.name for metric in metrics}
    return [(name, contributor) for contributor, name in owners.items() if name != OF_TEACHER or aug is augs[0]]


def _most_blocks(blocks: Blocks) -> int:
    """How many are kept singly: fewer of large contributions, which bounds the memory."""
    numbers = sum(values[0].numel() for values in blocks.contribution.values())
    return max(min(MAX_BLOCKS, _FEWEST_BLOCKS), min(MAX_BLOCKS, _NUMBERS // numbers))


def _is_built_in(metric: Metric) -> bool:
    return metric.name in METRICS and METRICS[metric.name].observe is metric.observe


def _views(metrics: Sequence[Metric], own_base: bool) -> int:
    """The most views that a metric of several is shown; 0 where there is none."""
    return max((metric.views for metric in metrics if metric.views > 1 and metric.own_base == own_base), default=0)


def of_base(keys: Keys) -> Keys:
    """Names of the base augmentation's random numbers, which are always drawn for each image."""
    return replace(keys, per="sample").sub("base")


def _segments(group: list[Unit]) -> list[Segment]:
    sizes = [len(batch) for unit in group for batch in unit.batches]
    segments, first = [], group[0].first
    for size, same in groupby(sizes):
        count = len(list(same))
        segments.append(Segment(count, size, first))
        first += count
    return segments
