"""The low-rank products of a step by a compiled function that takes each token's factors where they lie."""

import ctypes
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from inference.engine.lora import LoraStack, Slot
from inference.engine.lora_plan import BASE_ONLY, LoraPlan, divide, plan_span
from inference.engine.projections import Group
from inference.engine.step import Plan

# From so many tokens on one adapter, torch's products of matrices are faster; measured with AVX-512
MANY_TOKENS = 64
# `source` of groups whose projections are a chunk each
IN_ORDER = np.arange(8, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Factors:
    """Where a stack's factors of one group lie: the addresses of the first layer's, and the bytes between layers.

    Attributes:
        source: the address of which projection each chunk is of.
        sizes: inputs, rows of A, rank, chunks, width.
    """

    a: int
    a_stride: int
    b: int
    b_stride: int
    source: int
    sizes: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, stack: LoraStack, group: Group) -> "Factors":
        a, b, source = stack.a[group], stack.b[group], stack.source[group]
        return cls(
            a.data_ptr(),
            a.stride(0) * a.element_size(),
            b.data_ptr(),
            b.stride(0) * b.element_size(),
            IN_ORDER.ctypes.data if source is None else source.data_ptr(),
            (a.shape[3], a.shape[2], stack.rank, b.shape[2], b.shape[4]),
        )


class Tiles:
    """Tokens on adapters of one stack.

    Attributes:
        tiles: [adapters, 3] int64, `tile` in kernels.c: the first token, how many, and the slot.
        low: room for the products with A of all tokens before the last tile's end.
    """

    def __init__(self, library: ctypes.CDLL, stack: LoraStack, tiles: list[tuple[int, int, int]]) -> None:
        self.add_lora = library.add_lora
        self.tiles = np.array(tiles, dtype=np.int64)
        self.factors = {group: Factors.of(stack, group) for group in stack.a}
        tokens = tiles[-1][0] + tiles[-1][1]
        self.low = torch.empty(tokens * max(factors.sizes[1] for factors in self.factors.values()))
        self.fixed = (self.tiles.ctypes.data, self.low.data_ptr(), len(tiles))

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """See `step.Plan`."""
        if factors := self.factors.get(group):
            a, b = factors.a + layer * factors.a_stride, factors.b + layer * factors.b_stride
            self.add_lora(x.data_ptr(), y.data_ptr(), a, b, factors.source, *self.fixed, *factors.sizes)


@dataclass(frozen=True, slots=True)
class NativePlan:
    """Adapters with few tokens each by the compiled function, those with many by torch."""

    few: Sequence[Tiles]
    many: LoraPlan

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """See `step.Plan`."""
        for tiles in self.few:
            tiles.apply(x, y, layer, group)
        self.many.apply(x, y, layer, group)


def arrange(library: ctypes.CDLL, slots: Sequence[Slot | None], counts: Sequence[int]) -> tuple[list[int], Plan]:
    """See `operations.Operations.arrange`."""
    if not any(slots):
        return list(range(len(slots))), BASE_ONLY
    rows: defaultdict[LoraStack, defaultdict[Slot, list[int]]] = defaultdict(lambda: defaultdict(list))
    base: list[int] = []
    for index, slot in enumerate(slots):
        if slot is None:
            base.append(index)
        else:
            rows[slot.stack][slot].append(index)
    order: list[int] = []
    few, many = [], []
    first = 0
    for stack, of_slot in rows.items():
        tokens = {slot: sum(counts[index] for index in indices) for slot, indices in of_slot.items()}
        shared = divide(stack, {slot: count for slot, count in tokens.items() if count >= MANY_TOKENS})
        tiles = []  # only now: to divide may move slots
        for slot, count in tokens.items():
            if count < MANY_TOKENS:
                tiles.append((first, count, slot.position))
                first += count
                order += of_slot[slot]
        if tiles:
            few.append(Tiles(library, stack, tiles))
        for together in shared:
            many.append(plan_span(stack, together, [tokens[slot] for slot in together], first))
            first = many[-1].stop
            order += [index for slot in together for index in of_slot[slot]]
    return order + base, NativePlan(few, LoraPlan(tuple(many)))
