"""The low-rank products of a step by a compiled function that takes each token's factors where they lie."""

import ctypes
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from inference.engine.linear import Linear
from inference.engine.lora import LoraStack, Slot
from inference.engine.lora_plan import BASE_ONLY
from inference.engine.native.kernels import fields
from inference.engine.native.products import PackedLinear
from inference.engine.projections import GROUPS, Group
from inference.engine.step import Plan

MOST_TOKENS = 64  # of a tile, as in lora.h
# `source` of groups whose projections are a chunk each
IN_ORDER = np.arange(8, dtype=np.int64)
NONE = range(0)


class Lora(ctypes.Structure):
    """`lora` in lora.h."""

    _fields_ = (
        *fields("a b", "a_layer b_layer"),
        *fields("source tiles low", "count inputs rows rank chunks width"),
    )


class OfGroup(ctypes.Structure):
    """Of one group in `stack` in layers.h."""

    _fields_ = fields("adapters", "first stop")


class Stack(ctypes.Structure):
    """`stack` in layers.h."""

    _fields_ = (("groups", OfGroup * len(GROUPS)),)


class Tiles:
    """Tokens on adapters of one stack.

    Attributes:
        tiles: [adapters, 3] int64, `tile` in lora.h: the first token, how many, and the slot.
        low: room for the products with A of all tokens before the last tile's end.
        groups: the address of each group's `Lora`.
    """

    def __init__(self, library: ctypes.CDLL, stack: LoraStack, tiles: list[tuple[int, int, int]]) -> None:
        self.add_lora = library.add_lora
        self.layers = stack.layers
        self.tiles = np.array(tiles, dtype=np.int64)
        tokens = tiles[-1][0] + tiles[-1][1]
        self.low = torch.empty(tokens * max(a.shape[2] for a in stack.a.values()))
        self.structures = {group: self.structure(stack, group) for group in stack.a}
        self.groups = {group: ctypes.addressof(structure) for group, structure in self.structures.items()}

    def structure(self, stack: LoraStack, group: Group) -> Lora:
        a, b, source = stack.a[group], stack.b[group], stack.source[group]
        return Lora(
            a.data_ptr(),
            b.data_ptr(),
            a.stride(0),
            b.stride(0),
            IN_ORDER.ctypes.data if source is None else source.data_ptr(),
            self.tiles.ctypes.data,
            self.low.data_ptr(),
            len(self.tiles),
            a.shape[3],
            a.shape[2],
            stack.rank,
            b.shape[2],
            b.shape[4],
        )

    def at(self, layer: int, group: Group) -> tuple[int | None, int]:
        """The address of the group's `Lora`, None where the layer is not adapted, and the layer's place in it."""
        layers = self.layers.get(group, NONE)
        return (self.groups[group], layer - layers.start) if layer in layers else (None, 0)

    @property
    def addresses(self) -> Stack:
        spans = [(group, self.layers.get(group, NONE)) for group in GROUPS]
        of_groups = (OfGroup(self.groups.get(group), layers.start, layers.stop) for group, layers in spans)
        return Stack((OfGroup * len(GROUPS))(*of_groups))

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """See `step.Plan`."""
        adapters, place = self.at(layer, group)
        if adapters:
            self.add_lora(x.data_ptr(), y.data_ptr(), place, adapters)


class NativePlan(Plan):
    """Adapters by compiled functions, those of each stack in one call."""

    def __init__(self, stacks: Sequence[Tiles]) -> None:
        self.stacks = stacks

    def product(self, linear: Linear, x: Tensor, layer: int, group: Group) -> Tensor:
        """See `step.Plan`. The first stack's products are made in one call with the layer's own, where that can."""
        if not isinstance(linear, PackedLinear):
            return super().product(linear, x, layer, group)
        y = linear(x, *self.stacks[0].at(layer, group))
        for tiles in self.stacks[1:]:
            tiles.apply(x, y, layer, group)
        return y

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """See `step.Plan`."""
        for tiles in self.stacks:
            tiles.apply(x, y, layer, group)


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
    stacks: list[Tiles] = []
    first = 0
    for stack, of_slot in rows.items():
        tiles = []
        for slot, indices in of_slot.items():
            last = first + sum(counts[index] for index in indices)
            starts = range(first, last, MOST_TOKENS)
            tiles += [(start, min(MOST_TOKENS, last - start), slot.position) for start in starts]
            first = last
            order += indices
        stacks.append(Tiles(library, stack, tiles))
    return order + base, NativePlan(stacks)
