"""Keys and values of the running sequences, in slabs of equal row capacity.

A slab is one tensor whose running rows lie side by side, so that the attention of all of them is one call over a
view: nothing is gathered. A row that outgrows its slab moves to one of twice the capacity. Whatever lies outside
the written part of a running row is zero: masked scores times what another sequence left there must not be NaN.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.engine.families import DecoderSpec
from inference.engine.memory import lazy_zeros

SMALLEST_CAPACITY = 128
SLAB_TOKENS = 4096


@dataclass(eq=False, slots=True)
class KVRow:
    """The place of one sequence. Slab and index change as rows move."""

    slab: "Slab"
    index: int
    length: int = 0  # tokens written


@dataclass(eq=False)
class Slab:
    """Rows of one capacity.

    Attributes:
        kv: [layers, rows, 2 * kv_heads, capacity, head_dim]; keys first, then values.
        rows: the running rows, at their indices.
    """

    kv: Tensor
    rows: list[KVRow] = field(default_factory=list)

    @property
    def capacity(self) -> int:
        return self.kv.shape[3]

    @property
    def tokens(self) -> int:
        return self.kv.shape[1] * self.kv.shape[3]

    @property
    def is_full(self) -> bool:
        return len(self.rows) == self.kv.shape[1]


class KVCache:
    """Bounded memory for keys and values.

    Args:
        budget_tokens: the most tokens that all slabs together may hold.
        max_len: the most tokens of one sequence.
    """

    def __init__(
        self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device, budget_tokens: int, max_len: int
    ) -> None:
        self.shape = (spec.layers, 2 * spec.kv_heads, spec.head_dim)
        self.dtype, self.device = dtype, device
        self.capacity_tokens = max(budget_tokens, slab_tokens(row_capacity(max_len)))
        self.slabs: list[Slab] = []

    @property
    def allocated_tokens(self) -> int:
        return sum(slab.tokens for slab in self.slabs)

    @property
    def used_tokens(self) -> int:
        """The capacity of all running rows, in tokens."""
        return sum(len(slab.rows) * slab.capacity for slab in self.slabs)

    def allocate(self, tokens: int) -> KVRow | None:
        """A row with room for `tokens`; None when the budget is spent."""
        slab = self.slab_with_room(row_capacity(tokens))
        if slab is None:
            return None
        row = KVRow(slab, len(slab.rows))
        slab.rows.append(row)
        return row

    def extend(self, row: KVRow, tokens: int) -> bool:
        """Give the row room for `tokens` in total, moving it if need be; False when the budget is spent."""
        if tokens <= row.slab.capacity:
            return True
        target = self.slab_with_room(row_capacity(tokens))
        if target is None:
            return False
        index = len(target.rows)
        source = row.slab.kv[:, row.index, :, : row.length]
        target.kv[:, index, :, : row.length].copy_(source)
        self.leave(row)
        row.slab, row.index = target, index
        target.rows.append(row)
        return True

    def free(self, row: KVRow) -> None:
        self.leave(row)

    def copy_out(self, row: KVRow, start: int, stop: int) -> Tensor:
        """A copy of the row's tokens [start, stop): [layers, 2 * kv_heads, stop - start, head_dim]."""
        return row.slab.kv[:, row.index, :, start:stop].clone()

    def copy_in(self, row: KVRow, start: int, tokens: Tensor) -> None:
        """Write what `copy_out` gave at `start`; the row must have room."""
        row.slab.kv[:, row.index, :, start : start + tokens.shape[2]].copy_(tokens)
        row.length = max(row.length, start + tokens.shape[2])

    def slab_with_room(self, capacity: int) -> Slab | None:
        for slab in self.slabs:
            if slab.capacity == capacity and not slab.is_full:
                return slab
        if self.allocated_tokens + slab_tokens(capacity) > self.capacity_tokens:
            return None
        rows = slab_tokens(capacity) // capacity
        layers, heads, head_dim = self.shape
        kv = lazy_zeros((layers, rows, heads, capacity, head_dim), self.dtype, self.device)
        self.slabs.append(Slab(kv))
        return self.slabs[-1]

    def leave(self, row: KVRow) -> None:
        """Take the row out of its slab; the slab's last row fills the gap, and an empty slab is given back."""
        slab, last = row.slab, row.slab.rows.pop()
        place = last.index
        if last is not row:
            slab.kv[:, row.index, :, : last.length].copy_(slab.kv[:, place, :, : last.length])
            slab.kv[:, row.index, :, last.length : row.length].zero_()
            last.index = row.index
            slab.rows[row.index] = last
        slab.kv[:, place, :, : last.length].zero_()
        if not slab.rows:
            self.slabs.remove(slab)


def row_capacity(tokens: int) -> int:
    """The least power of two that holds `tokens`, and no less than `SMALLEST_CAPACITY`."""
    return max(SMALLEST_CAPACITY, 1 << (tokens - 1).bit_length())


def slab_tokens(capacity: int) -> int:
    return max(SLAB_TOKENS, capacity)
