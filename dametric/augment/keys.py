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
from typing import Literal

import torch
from torch import Tensor

from dametric.errors import UsageError, shortened

Per = Literal["sample", "batch"]
MOST_SEED = 2**43 - 1  # so that a million times the seed plus an epoch's number is a valid seed of torch

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1))
_ROWS_PER_BATCH = 1 << 24  # counters of different batches never meet below this batch size
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
    first : int
        Number of the first of these batches, counted over the whole pass.
    per : {"sample", "batch"}
        Whether random parameters are drawn for each row or shared by the rows of a batch.
    device : torch.device
        Device of the numbers, which do not depend on it.
    path : tuple of str
        Names added by :meth:`sub`.
    view : int
        Number of the view of these rows, see :meth:`of_view`.
    """

    seed: int
    batches: int
    batch_size: int
    first: int = 0
    per: Per = "sample"
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    path: tuple[str, ...] = ()
    view: int = 0

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

    def on(self, device: torch.device | str) -> Keys:
        """The same keys on another device."""
        return replace(self, device=torch.device(device))

    def start(self, name: str) -> int:
        """64-bit start of the stream with this name under this seed and path."""
        words = "\x1f".join((str(self.seed), *self.path, name))
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "little")

    def _counter(self, by_row: bool) -> Tensor:
        batch = torch.arange(self.first, self.first + self.batches, device=self.device) * _ROWS_PER_BATCH
        row = torch.arange(self.batch_size, device=self.device) * int(by_row)
        return (batch[:, None] + row).flatten()

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
        return _fraction(splitmix64(self.start(name), self._counter(by_row)))

    def uniforms(self, names: Sequence[str], *, by_row: bool | None = None) -> Tensor:
        """:meth:`uniform` of several quantities, by one hash: Tensor of shape (rows, names), float64."""
        by_row = self.per == "sample" if by_row is None else by_row
        starts = torch.tensor([_signed(self.start(name)) for name in names], device=self.device)
        return _fraction(splitmix64(starts, self._counter(by_row)[:, None]))

    def bits(self, name: str) -> Tensor:
        """64 random bits a row, of which :func:`field_of` makes any number of values: Tensor (rows,), int64."""
        return splitmix64(self.start(name), self._counter(self.per == "sample"))

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
        b = self.batch_size
        base = torch.arange(self.batches, device=self.device)[:, None] * b
        if rule == "roll":
            shift = 1 + self.view % max(b - 1, 1)  # never a whole turn, after which rows are partners of their own
            within = torch.arange(b, device=self.device).roll(-shift).expand(self.batches, b)
        elif rule == "permutation":
            within = self._permutation("partner")
        else:
            within = self._derangement()
        return (base + within).flatten()

    def _permutation(self, name: str) -> Tensor:
        return self.uniform(name, by_row=True).view(self.batches, self.batch_size).argsort(1)

    def _derangement(self) -> Tensor:
        """The first of many random permutations that moves every row; a random cycle if none does."""
        identity = torch.arange(self.batch_size, device=self.device)
        order = self._permutation("partner.cycle")
        chosen = torch.empty_like(order).scatter_(1, order, order.roll(-1, 1))
        for attempt in reversed(range(_CANDIDATES)):
            candidate = self._permutation(f"partner.{attempt}")
            moves_all = (candidate != identity).all(1, keepdim=True)
            chosen = torch.where(moves_all, candidate, chosen)
        return chosen
