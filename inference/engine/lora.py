"""Adapter weights in stacked slots, and the low-rank products of a whole step as a few batched products.

After S-LoRA (arXiv 2311.03285) and Punica (arXiv 2310.18547), with what a CPU's batched matrix product needs: the
slots that a step uses are a contiguous span of the stack, so that no weight is gathered.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.engine.adapter_file import AdapterWeights
from inference.engine.families import DecoderSpec
from inference.engine.kv_cache import lazy_zeros
from inference.engine.projections import Group, projections

Signature = tuple[int, tuple[Group, ...]]

SEGMENT_TOKENS = 8  # from here on, one adapter's tokens are a plain product of their own
HOLES_PER_ACTIVE = 4  # compact when more than one slot in this many of the span is idle


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one adapter. The position changes when its stack is compacted."""

    stack: "LoraStack"
    position: int


class LoraStack:
    """The slots of all adapters of one signature: a rank class R and the groups of projections they change.

    Attributes:
        a: per group [slots, layers, projections * R, in].
        b: per group, for each projection [slots, layers, R, out].
        columns: per group, where each projection's outputs begin and end.
    """

    def __init__(
        self, signature: Signature, spec: DecoderSpec, slots: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.rank, groups = signature
        self.a: dict[Group, Tensor] = {}
        self.b: dict[Group, tuple[Tensor, ...]] = {}
        self.columns: dict[Group, list[tuple[int, int]]] = {}
        self.occupants: list[Slot | None] = [None] * slots
        for group in groups:
            members = projections(group, spec)
            shape = (slots, spec.layers, len(members) * self.rank, members[0].inputs)
            self.a[group] = lazy_zeros(shape, dtype, device)
            self.b[group] = tuple(
                lazy_zeros((slots, spec.layers, self.rank, member.outputs), dtype, device) for member in members
            )
            stops = torch.tensor([member.outputs for member in members]).cumsum(0).tolist()
            self.columns[group] = list(zip([0, *stops[:-1]], stops, strict=True))

    @property
    def is_empty(self) -> bool:
        return not any(self.occupants)

    def tensors(self) -> list[Tensor]:
        return [*self.a.values(), *(tensor for tensors in self.b.values() for tensor in tensors)]

    def install(self, weights: AdapterWeights) -> Slot:
        position = self.occupants.index(None)
        for group, factors in weights.factors.items():
            self.a[group][position].copy_(factors.a)
            for stacked, b in zip(self.b[group], factors.b, strict=True):
                stacked[position].copy_(b)
        slot = Slot(self, position)
        self.occupants[position] = slot
        return slot

    def compact(self, active: list[Slot]) -> None:
        """Bring the active slots together at the front, by as few swaps as that takes."""
        wanted = range(len(active))
        taken = {slot.position for slot in active}
        holes = [position for position in wanted if position not in taken]
        for slot in active:
            if slot.position not in wanted:
                self.swap(slot.position, holes.pop())

    def swap(self, one: int, other: int) -> None:
        for tensor in self.tensors():
            kept = tensor[one].clone()
            tensor[one].copy_(tensor[other])
            tensor[other].copy_(kept)
        self.occupants[one], self.occupants[other] = self.occupants[other], self.occupants[one]
        for position in (one, other):
            if (slot := self.occupants[position]) is not None:
                slot.position = position


class LoraSlots:
    """All stacks. Adapters are installed and removed between steps, on the thread that runs them."""

    def __init__(
        self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device, max_slots: int, max_rank: int
    ) -> None:
        self.spec, self.dtype, self.device = spec, dtype, device
        self.max_slots, self.max_rank = max_slots, max_rank
        self.stacks: dict[Signature, LoraStack] = {}

    def install(self, weights: AdapterWeights) -> Slot:
        """Copy an adapter into a free slot; the caller keeps to `max_slots` in all."""
        signature = (weights.rank_class, tuple(weights.factors))
        if signature not in self.stacks:
            self.stacks[signature] = LoraStack(signature, self.spec, self.max_slots, self.dtype, self.device)
        return self.stacks[signature].install(weights)

    def remove(self, slot: Slot) -> None:
        slot.stack.occupants[slot.position] = None
        if slot.stack.is_empty:
            self.stacks = {key: stack for key, stack in self.stacks.items() if stack is not slot.stack}


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens [start, stop) of the step, all through the adapter at `position`."""

    position: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [start, stop) of the step, through the adapters at positions [low, high), `width` places for each.

    Attributes:
        gather: [(high - low) * width], which token fills each place; None where they are the tokens in order.
        scatter: [stop - start], which place holds each token's result.
    """

    low: int
    high: int
    width: int
    start: int
    stop: int
    gather: Tensor | None
    scatter: Tensor | None


@dataclass(slots=True)
class StackPlan:
    stack: LoraStack
    span: Span | None = None
    segments: list[Segment] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LoraPlan:
    """Which tokens of a step go through which adapters."""

    parts: tuple[StackPlan, ...] = ()

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """Add each token's B (A x) to y, in place.

        Args:
            x: [tokens, in], the group's input.
            y: [tokens, out], the group's outputs on the base model, side by side.
        """
        for part in self.parts:
            if group not in part.stack.a:
                continue
            for segment in part.segments:
                apply_segment(part.stack, segment, x, y, layer, group)
            if part.span is not None:
                apply_span(part.stack, part.span, x, y, layer, group)


def apply_segment(stack: LoraStack, segment: Segment, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
    low_rank = x[segment.start : segment.stop] @ stack.a[group][segment.position, layer].T
    out = y[segment.start : segment.stop]
    for index, (first, last) in enumerate(stack.columns[group]):
        part = low_rank[:, index * stack.rank : (index + 1) * stack.rank]
        out[:, first:last].addmm_(part, stack.b[group][index][segment.position, layer])


def apply_span(stack: LoraStack, span: Span, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
    slots = slice(span.low, span.high)
    count, rank = span.high - span.low, stack.rank
    tokens = x[span.start : span.stop] if span.gather is None else x.index_select(0, span.gather)
    tokens = tokens.view(count, span.width, -1)
    low_rank = torch.bmm(stack.a[group][slots, layer], tokens.transpose(1, 2)).transpose(1, 2)
    parts = [
        (low_rank[:, :, index * rank : (index + 1) * rank], b[slots, layer]) for index, b in enumerate(stack.b[group])
    ]
    if span.scatter is None:
        out = y[span.start : span.stop].view(count, span.width, -1)
        if len(parts) == 1:
            out.baddbmm_(*parts[0])
        else:  # on columns of a wider output, baddbmm would fall back to a product for each slot
            for (first, last), (part, b) in zip(stack.columns[group], parts, strict=True):
                out[:, :, first:last] += torch.bmm(part, b)
    else:
        delta = torch.cat([torch.bmm(part, b) for part, b in parts], dim=2).flatten(0, 1)
        y[span.start : span.stop] += delta.index_select(0, span.scatter)


BASE_ONLY = LoraPlan()


def arrange(slots: Sequence[Slot | None], counts: Sequence[int]) -> tuple[list[int], LoraPlan]:
    """Order a step's rows so that each stack's tokens lie together, and plan their products.

    Args:
        slots: the adapter of each row.
        counts: how many tokens each row feeds.

    Returns:
        the order, as indices of rows, and the plan for tokens laid out in that order.
    """
    if not any(slots):
        return list(range(len(slots))), BASE_ONLY
    of_stack: dict[LoraStack, dict[Slot, list[int]]] = {}
    base: list[int] = []
    for index, slot in enumerate(slots):
        if slot is None:
            base.append(index)
        else:
            of_stack.setdefault(slot.stack, {}).setdefault(slot, []).append(index)
    order: list[int] = []
    parts = []
    start = 0
    for stack, rows in of_stack.items():
        part, start = plan_stack(stack, rows, counts, order, start)
        parts.append(part)
    return order + base, LoraPlan(tuple(parts))


def plan_stack(
    stack: LoraStack, rows: dict[Slot, list[int]], counts: Sequence[int], order: list[int], start: int
) -> tuple[StackPlan, int]:
    """Plan one stack's tokens from `start` on, appending its rows to `order`; also returns where they end."""
    tokens = {slot: sum(counts[index] for index in indices) for slot, indices in rows.items()}
    light = [slot for slot in rows if tokens[slot] < SEGMENT_TOKENS]
    plan = StackPlan(stack)
    if light:
        if span_is_loose(light):
            stack.compact(light)
        light.sort(key=lambda slot: slot.position)
        order += [index for slot in light for index in rows[slot]]
        plan.span = plan_span(light, [tokens[slot] for slot in light], start, stack.a)
        start = plan.span.stop
    for slot in rows:
        if tokens[slot] >= SEGMENT_TOKENS:
            order += rows[slot]
            plan.segments.append(Segment(slot.position, start, start + tokens[slot]))
            start += tokens[slot]
    return plan, start


def span_is_loose(active: list[Slot]) -> bool:
    positions = [slot.position for slot in active]
    holes = max(positions) - min(positions) + 1 - len(active)
    return holes * HOLES_PER_ACTIVE > len(active)


def plan_span(active: list[Slot], tokens: list[int], start: int, like: dict[Group, Tensor]) -> Span:
    """The span of slots sorted by position, each with its number of tokens."""
    low, high = active[0].position, active[-1].position + 1
    width, stop = max(tokens), start + sum(tokens)
    if high - low == len(active) and min(tokens) == width:
        return Span(low, high, width, start, stop, None, None)
    gather = [start] * ((high - low) * width)
    scatter = []
    token = start
    for slot, count in zip(active, tokens, strict=True):
        for place in range(count):
            scatter.append((slot.position - low) * width + place)
            gather[scatter[-1]] = token
            token += 1
    device = next(iter(like.values())).device
    return Span(
        low,
        high,
        width,
        start,
        stop,
        torch.tensor(gather, device=device),
        torch.tensor(scatter, device=device),
    )
