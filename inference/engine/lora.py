"""Adapter weights in stacked slots.

After S-LoRA (arXiv 2311.03285) and Punica (arXiv 2310.18547), with what a batched matrix product needs that reads
its factors where they lie: the slots that a step uses are side by side in the stack, so that no weight is gathered.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engine.adapter_file import AdapterWeights
from inference.engine.families import DecoderSpec
from inference.engine.memory import lazy_zeros
from inference.engine.projections import Group, chunk_width, projections

# The rank class, and which layers of which groups are adapted
Signature = tuple[int, tuple[tuple[Group, range], ...]]

# Per group and adapted layer: A^T [slots, in, projections * R] and B [slots * chunks, R, width] of slots side by side
Factors = dict[Group, list[tuple[Tensor, Tensor]]]

FIRST_SLOTS = 4
SPANS_KEPT = 8


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one adapter. Once it is filled, the position changes as slots are brought side by side."""

    stack: "LoraStack"
    position: int
    is_filled: bool = False

    def fill(self, weights: AdapterWeights) -> None:
        self.stack.fill(self, weights)


class LoraStack:
    """The slots of all adapters of one signature: a rank class R and the layers of projections they change.

    Slots that no request uses are taken, filled and given back on any thread, while steps run. What is held under the
    lock is only the places of the weights in memory, which must not change while they are written.

    Attributes:
        layers: per group, those that are adapted.
        a: per group [layers, slots, projections * R, in].
        b: per group [layers, slots, chunks, R, width]: the outputs of all projections cut into chunks of one width.
        source: per group, which projection each chunk is of; None where each is one chunk.
    """

    def __init__(self, signature: Signature, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        self.rank, layers = signature
        self.layers = dict(layers)
        self.device = device
        self.lock = threading.Lock()
        self.a: dict[Group, Tensor] = {}
        self.b: dict[Group, Tensor] = {}
        self.source: dict[Group, Tensor | None] = {}
        self.occupants: list[Slot | None] = [None] * FIRST_SLOTS
        self.kept: dict[range, Factors] = {}
        for group, adapted in layers:
            members, width = projections(group, spec), chunk_width(group, spec)
            source = [index for index, member in enumerate(members) for _ in range(member.outputs // width)]
            a_shape = (len(adapted), FIRST_SLOTS, len(members) * self.rank, members[0].inputs)
            b_shape = (len(adapted), FIRST_SLOTS, len(source), self.rank, width)
            self.a[group] = lazy_zeros(a_shape, dtype, device)
            self.b[group] = lazy_zeros(b_shape, dtype, device)
            self.source[group] = torch.tensor(source, device=device) if len(source) > len(members) else None

    @property
    def is_empty(self) -> bool:
        return not any(self.occupants)

    def take(self) -> Slot | None:
        """A free slot, to be filled; None where there is none."""
        with self.lock:
            if None not in self.occupants:
                return None
            slot = Slot(self, self.occupants.index(None))
            self.occupants[slot.position] = slot
            return slot

    def fill(self, slot: Slot, weights: AdapterWeights) -> None:
        with self.lock:
            for group in self.a:
                weights.write(group, self.a[group][:, slot.position], self.b[group][:, slot.position])
            slot.is_filled = True

    def give_back(self, slot: Slot) -> None:
        with self.lock:
            self.occupants[slot.position] = None

    def grow(self) -> None:
        """Double the slots, so that memory follows what is loaded. Between steps, as the weights move."""
        with self.lock:
            slots = len(self.occupants)
            for stacked in (self.a, self.b):
                for group, tensor in stacked.items():
                    grown = lazy_zeros((tensor.shape[0], 2 * slots, *tensor.shape[2:]), tensor.dtype, tensor.device)
                    grown[:, :slots].copy_(tensor)
                    stacked[group] = grown
            self.occupants += [None] * slots
            self.kept.clear()

    def factors(self, slots: range) -> Factors:
        """Views of the factors at `slots`, kept from step to step."""
        if slots not in self.kept:
            if len(self.kept) == SPANS_KEPT:
                self.kept.clear()
            here = slice(slots.start, slots.stop)
            self.kept[slots] = {
                group: [
                    (a.transpose(1, 2), b.flatten(0, 1))
                    for a, b in zip(self.a[group][:, here], self.b[group][:, here], strict=True)
                ]
                for group in self.a
            }
        return self.kept[slots]

    def draw_together(self, active: Collection[Slot]) -> range:
        """Bring one of the active slots closer to the others, if it lies apart.

        One at a time, so that no step waits for more than one copy.

        Returns:
            the positions that hold most of the active slots, as many as there are.
        """
        positions = {slot.position for slot in active}
        highest_low = len(self.occupants) - len(active)
        windows = [range(low, low + len(active)) for low in {min(low, highest_low) for low in positions}]
        window = max(windows, key=lambda window: len(positions.intersection(window)))
        with self.lock:
            holes = [position for position in window if position not in positions and self.can_move(position)]
            if holes:
                self.move(next(slot for slot in active if slot.position not in window), holes[0])
        return window

    def can_move(self, position: int) -> bool:
        """Whether what is there, if anything, is not being filled just now."""
        other = self.occupants[position]
        return other is None or other.is_filled

    def move(self, slot: Slot, position: int) -> None:
        """Move the slot; what is at the new position takes its old one. Under the lock."""
        other, old = self.occupants[position], slot.position
        for tensor in (*self.a.values(), *self.b.values()):
            kept = tensor[:, position].clone() if other else None
            tensor[:, position].copy_(tensor[:, old])
            if kept is not None:
                tensor[:, old].copy_(kept)
        self.occupants[position], self.occupants[old] = slot, other
        slot.position = position
        if other:
            other.position = old


class LoraSlots:
    """All stacks. The caller keeps to `max_slots` in all, and gives back no slot that a request uses."""

    def __init__(
        self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device, max_slots: int, max_rank: int
    ) -> None:
        self.spec, self.dtype, self.device = spec, dtype, device
        self.max_slots, self.max_rank = max_slots, max_rank
        self.lock = threading.Lock()
        self.stacks: dict[Signature, LoraStack] = {}

    def take(self, weights: AdapterWeights) -> Slot | None:
        """A free slot that such weights fit; None where there is none, and `make_room` has to be called first."""
        with self.lock:
            return self.stack_for(weights).take()

    def make_room(self, weights: AdapterWeights) -> Slot:
        """A slot that such weights fit. Between steps."""
        with self.lock:
            stack = self.stack_for(weights)
            while (slot := stack.take()) is None:
                stack.grow()
            return slot

    def stack_for(self, weights: AdapterWeights) -> LoraStack:
        layers = tuple((group, of_group.layers) for group, of_group in weights.layout.groups.items())
        signature = (weights.layout.rank_class, layers)
        if signature not in self.stacks:
            self.stacks[signature] = LoraStack(signature, self.spec, self.dtype, self.device)
        return self.stacks[signature]

    def remove(self, slot: Slot) -> None:
        with self.lock:
            slot.stack.give_back(slot)
            if slot.stack.is_empty:
                self.stacks = {key: stack for key, stack in self.stacks.items() if stack is not slot.stack}
