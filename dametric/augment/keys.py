"""Random numbers by name: every draw is a hash of (seed, names, row), so chunks, devices and restarts agree.

A generator's state makes a draw depend on everything drawn before it. Here the number for, say, row 17 of batch
3, operation "cutmix", quantity "lam" depends on these alone: it is the same whether 64 or 4,096 rows are made at
once, on a CPU or a GPU, and two augmentations that share an operation share its draws (common random numbers). The
hash is SplitMix64 (Steele, Lea & Flood 2014, doi 10.1145/2660193.2660195) in wrapping int64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from dametric.errors import UsageError, shortened

Per = Literal["sample", "batch"]
MOST_SEED = 2**43 - 1  # so that a million times the seed plus an epoch's number is a valid seed of torch

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_ROWS_PER_BATCH = 1 << 24  # counters of different batches never meet below this batch size
_SPARE = 64  # streams beyond twice those that were asked for last time, which are still hashed
_CANDIDATES = 32  # permutations tried for a derangement: all have a fixed point with probability (1-1/e)^32 = 4e-7


def _signed(value: int) -> int:
    """The int64 with the same bits as an unsigned 64-bit number."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def check_seed(seed: int) -> int:
    """Check that a seed is a whole number below 2^43 in size, which all generators accept, and return it.

    Raises
    ------
    UsageError
    """
    if not isinstance(seed, int) or abs(seed) > MOST_SEED:
        raise UsageError(f"a seed is a whole number up to {MOST_SEED}, not {shortened(seed)}")
    return seed


def splitmix64(start: int | Tensor, counter: Tensor) -> Tensor:
    """Output number ``counter`` of the SplitMix64 generator that starts at ``start``.

    Parameters
    ----------
    start : int or Tensor of int64
        The generator's seed, any 64-bit number; a tensor is broadcast with the counters.
    counter : Tensor of int64
        Number of the output, counted from 0.

    Returns
    -------
    Tensor of int64, same shape and device
        64 random bits each.
    """
    z = (counter + 1) * _signed(_GOLDEN) + (_signed(start) if isinstance(start, int) else start)
    for shift, factor in _MIX:
        z = z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))  # the mask makes torch's arithmetic shift a logical one
        if factor != 1:
            z = z * _signed(factor)
    return z


def _fraction(bits: Tensor) -> Tensor:
    """The upper 53 of 64 bits as a number on [0, 1), float64."""
    return ((bits >> 11) & ((1 << 53) - 1)).double() * 2.0**-53


def field_of(bits: Tensor, count: int) -> Tensor:
    """Uniform numbers on (0, 1), ``count`` for each row's bits.

    Parameters
    ----------
    bits : Tensor of shape (rows,), int64
        From :meth:`Keys.bits`: equal bits give equal numbers.
    count : int

    Returns
    -------
    Tensor of shape (rows, count), float64
    """
    numbers = splitmix64(bits[:, None], torch.arange(count, device=bits.device))
    return (((numbers >> 11) & ((1 << 53) - 1)).double() + 0.5) * 2.0**-53


@dataclass(frozen=True)
class Keys:
    """Names of all random numbers of consecutive rows.

    Parameters
    ----------
    seed : int
        The user's seed.
    batches : int
        Number of statistical batches in the tensor to be augmented.
    batch_size : int
        Rows of each batch, ``b``.
    first : int or Tensor of shape (), int64
        Number of the first of these batches, counted over the whole pass; a tensor where the device alone knows it.
    per : {"sample", "batch"}
        Whether random parameters are drawn for each row or shared by the rows of a batch.
    device : torch.device
        Device of the numbers, which do not depend on it.
    path : tuple of str
        Names added by :meth:`sub`.
    view : int
        Number of the view of these rows, see :meth:`of_view`.
    draw : int
        Number of the draw of everything but partners, see :meth:`of_draw`.
    table : Table, optional
        Numbers that are hashed already, see :class:`Hashed`.
    """

    seed: int
    batches: int
    batch_size: int
    first: int | Tensor = 0
    per: Per = "sample"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    path: tuple[str, ...] = ()
    view: int = 0
    draw: int = 0
    table: Table | None = field(default=None, compare=False, repr=False)

    @property
    def rows(self) -> int:
        """Number of rows, ``batches * batch_size``."""
        return self.batches * self.batch_size

    def sub(self, name: str) -> Keys:
        """Keys of a part of the work, independent of every part with another name."""
        return replace(self, path=(*self.path, name))

    def of_view(self, number: int) -> Keys:
        """Keys of another view of the same rows, independent of the others; view 0 has these keys."""
        return replace(self.sub(f"view{number}"), view=number) if number else self

    def of_draw(self, number: int) -> Keys:
        """Keys of another draw of everything but partners, independent of the others; draw 0 has these keys."""
        return replace(self, draw=number)

    def on(self, device: torch.device | str) -> Keys:
        """The same keys on another device."""
        return replace(self, device=torch.device(device))

    def start(self, name: str) -> int:
        """64-bit start of the stream with this name under this seed and path."""
        drawn = (f"redrawn{self.draw}",) if self.draw else ()
        words = "\x1f".join((str(self.seed), *drawn, *self.path, name))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little")

    def counters(self, by_row: Tensor | bool) -> Tensor:
        """Number of each row's output: Tensor of shape (..., rows), int64; ``by_row`` is of shape (..., 1, 1)."""
        batch = (torch.arange(self.batches, device=self.device) + self.first) * _ROWS_PER_BATCH
        row = torch.arange(self.batch_size, device=self.device) * by_row
        return (batch[:, None] + row).flatten(-2)

    def _hashed(self, names: Sequence[str], by_row: bool) -> tuple[Table, list[int]] | None:
        """Places in the table, if all numbers are there; they are noted to be asked for."""
        if self.table is None or not self.table.holds(self):
            return None
        return self.table.ask([(self.start(name), by_row) for name in names])

    def uniform(self, name: str, *, by_row: bool | None = None) -> Tensor:
        """Uniform numbers on [0, 1), one a row.

        Parameters
        ----------
        name : str
            Quantity that the number is for.
        by_row : bool, optional
            Draw for each row even where a batch shares parameters.

        Returns
        -------
        Tensor of shape (rows,), float64
        """
        by_row = self.per == "sample" if by_row is None else by_row
        if hashed := self._hashed([name], by_row):
            table, (place,) = hashed
            return table.uniform[place]
        return _fraction(splitmix64(self.start(name), self.counters(by_row)))

    def uniforms(self, names: Sequence[str], *, by_row: bool | None = None) -> Tensor:
        """:meth:`uniform` of several quantities, by one hash: Tensor of shape (rows, names), float64."""
        by_row = self.per == "sample" if by_row is None else by_row
        if hashed := self._hashed(names, by_row):
            table, places = hashed
            if places == [*range(places[0], places[-1] + 1)]:
                return table.uniform[places[0] : places[-1] + 1].mT.contiguous()
            return torch.stack([table.uniform[place] for place in places], 1)
        starts = _starts(tuple(self.start(name) for name in names), self.device)
        return _fraction(splitmix64(starts, self.counters(by_row)[:, None]))

    def bits(self, name: str) -> Tensor:
        """64 random bits a row, of which :func:`field_of` makes any number of values: Tensor (rows,), int64."""
        by_row = self.per == "sample"
        if hashed := self._hashed([name], by_row):
            table, (place,) = hashed
            return table.bits[place]
        return splitmix64(self.start(name), self.counters(by_row))

    def integer(self, name: str, high: int) -> Tensor:
        """Integers uniform on 0..high-1, one a row: Tensor of shape (rows,), int64."""
        return (self.uniform(name) * high).long()

    def beta(self, name: str, alpha: float) -> Tensor:
        """Beta(alpha, alpha) numbers in closed form from two uniforms, one a row.

        For ``t`` of Student's law with ``2 alpha`` degrees of freedom, ``1/2 + t / (2 sqrt(2 alpha + t^2))`` is
        Beta(alpha, alpha), and Bailey's polar method makes ``t`` from two uniforms without rejection (Devroye
        1996, "Random variate generation in one line of code", doi 10.1145/256562.256623).

        Returns
        -------
        Tensor of shape (rows,), float64, in [0, 1]
        """
        if alpha == 1:
            return self.uniform(name)
        u = 1 - self.uniform(name)  # (0, 1]: never the pole at 0
        cosine = torch.cos(2 * torch.pi * self.uniform(name + ".angle"))
        square = torch.expm1(-torch.log(u) / alpha) * cosine**2  # t^2 / (2 alpha)
        share = torch.where(torch.isinf(square), 1.0, torch.sqrt(square / (1 + square)))
        return 0.5 + 0.5 * torch.copysign(share, cosine)

    def partners(self, rule: str) -> Tensor:
        """Partner of each row in mixing, always of the same batch.

        Parameters
        ----------
        rule : {"roll", "permutation", "derangement"}
            The next row (cyclically; in view ``j`` the next but ``j``, so that views do not share partners); a
            uniformly random permutation; a uniformly random permutation without fixed points.

        Returns
        -------
        Tensor of shape (rows,), int64
        """
        if self.draw:
            return self.of_draw(0).partners(rule)
        b = self.batch_size
        if rule == "roll":
            shift = 1 + self.view % max(b - 1, 1)  # never a whole turn, after which rows are partners of their own
            return _rolled(self.batches, b, shift, self.device)
        within = self._permutation("partner") if rule == "permutation" else self._derangement()
        return (torch.arange(self.batches, device=self.device)[:, None] * b + within).flatten()

    def _permutation(self, name: str) -> Tensor:
        return self.uniform(name, by_row=True).view(self.batches, self.batch_size).argsort(1)

    def _derangement(self) -> Tensor:
        """The first of many random permutations that moves every row; a random cycle if none does."""
        names = ["partner.cycle", *(f"partner.{attempt}" for attempt in range(_CANDIDATES))]
        numbers = self.uniforms(names, by_row=True).view(self.batches, self.batch_size, -1)
        orders = numbers.transpose(1, 2).argsort(2)  # (batches, names, rows)
        cycle = orders[:, :1]
        candidates = torch.empty_like(orders).copy_(orders)
        candidates[:, :1].scatter_(2, cycle, cycle.roll(-1, 2))
        identity = torch.arange(self.batch_size, device=self.device)
        fixed = (candidates == identity).any(2)[:, 1:]
        # the first that moves all, which is as low as False is; the cycle, in place 0, if none does
        first = torch.where(fixed.all(1), 0, 1 + fixed.int().argmin(1))
        return candidates.gather(1, first[:, None, None].expand(-1, 1, self.batch_size))[:, 0]


@lru_cache(maxsize=64)
def _rolled(batches: int, batch_size: int, shift: int, device: torch.device) -> Tensor:
    """For every row the row of the same batch that is ``shift`` further, cyclically; not to be changed."""
    with torch.inference_mode(False):
        rows = torch.arange(batches * batch_size, device=device).view(batches, batch_size)
        return rows.roll(-shift, 1).flatten()


@lru_cache(maxsize=256)
def _starts(starts: tuple[int, ...], device: torch.device) -> Tensor:
    """Starts of streams on a device, to which the same ones are copied once."""
    with torch.inference_mode(False):
        return torch.tensor([_signed(start) for start in starts], dtype=torch.int64, device=device)


Stream = tuple[int, bool]  # start of a stream, and whether each row has a number of its own


@dataclass(frozen=True, eq=False)
class Table:
    """Random numbers of some rows: ``bits`` and ``uniform`` are of shape (streams, rows), int64 and float64."""

    keys: Keys
    places: dict[Stream, int]
    asked: dict[Stream, None]
    bits: Tensor
    uniform: Tensor

    def holds(self, keys: Keys) -> bool:
        """Whether the rows of some keys are these."""
        mine = self.keys
        same = (keys.batches, keys.batch_size, keys.device) == (mine.batches, mine.batch_size, mine.device)
        if isinstance(keys.first, int) and isinstance(mine.first, int):
            return same and keys.first == mine.first
        return same and keys.first is mine.first

    def ask(self, streams: Sequence[Stream]) -> tuple[Table, list[int]] | None:
        """Places of streams, which are noted to be asked for; None unless all are there."""
        self.asked.update(dict.fromkeys(streams))
        places = [self.places.get(stream) for stream in streams]
        return None if None in places else (self, places)  # type: ignore[return-value]


class Hashed:
    """Makes all random numbers of some rows by one hash: those that were asked for of the rows before them.

    What is asked for the first time is hashed by itself. The numbers do not depend on it.

    Examples
    --------
    >>> hashed, keys = Hashed(), Keys(0, batches=2, batch_size=64)
    >>> for first in range(3):
    ...     number = hashed.of(replace(keys, first=first)).uniform("shift")
    >>> bool((number == replace(keys, first=2).uniform("shift")).all())
    True
    """

    def __init__(self) -> None:
        self._known: list[Stream] = []
        self._asked: dict[Stream, None] = {}

    def of(self, keys: Keys) -> Keys:
        """The same keys, with the numbers that were asked for of earlier ones at hand."""
        if self._asked and len(self._known) > _SPARE + 2 * len(self._asked):  # most of them were for something else
            self._known = []
        known = {stream: place for place, stream in enumerate(dict.fromkeys([*self._known, *self._asked]))}
        self._known, self._asked = list(known), {}
        starts = _starts(tuple(start for start, _ in known), keys.device)
        by_row = _flags(tuple(by_row for _, by_row in known), keys.device)
        bits = splitmix64(starts[:, None], keys.counters(by_row[:, None, None]))
        return replace(keys, table=Table(keys, known, self._asked, bits, _fraction(bits)))


@lru_cache(maxsize=256)
def _flags(flags: tuple[bool, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(flags, dtype=torch.int64, device=device)
