"""The low-rank products of a whole step as a few batched products over stacked slots."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engine.lora import Factors, LoraStack, Slot
from inference.engine.projections import Group
from inference.engine.step import Plan

# What a slot costs in a batched product: to read its weights 1, each further place for a token more; and what a
# product of its own costs beyond that. Measured on a CPU.
PLACE_COST = 0.3
CALL_COST = 1.0


@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [start, stop) of the step, through `slots` adapters side by side, with `width` places for each.

    Attributes:
        layers, factors: the adapters'.
        source: the stack's, see there.
        gather: [slots * width], which token fills each place; None where they are the tokens in order.
        scatter: [stop - start], which place holds each token's result; None where gather is.
    """

    layers: dict[Group, range]
    factors: Factors
    source: dict[Group, Tensor | None]
    rank: int
    slots: int
    width: int
    start: int
    stop: int
    gather: Tensor | None = None
    scatter: Tensor | None = None

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """Add B (A x) to the span's rows of y, in place."""
        a, b = self.factors[group][self.layers[group].index(layer)]
        source = self.source[group]
        places = x[self.start : self.stop] if self.gather is None else x.index_select(0, self.gather)
        low_rank = torch.bmm(places.view(self.slots, self.width, -1), a)
        low_rank = low_rank.view(self.slots, self.width, -1, self.rank)
        if source is not None:
            low_rank = low_rank.index_select(2, source)
        if self.width == 1 and self.gather is None:
            y[self.start : self.stop].view(len(b), 1, -1).baddbmm_(low_rank.view(-1, 1, self.rank), b)
            return
        low_rank = low_rank.transpose(1, 2).reshape(-1, self.width, self.rank)
        delta = torch.bmm(low_rank, b).view(self.slots, -1, self.width, b.shape[2])
        delta = delta.transpose(1, 2).reshape(self.slots * self.width, -1)
        y[self.start : self.stop] += delta if self.scatter is None else delta.index_select(0, self.scatter)


@dataclass(frozen=True, slots=True)
class LoraPlan(Plan):
    """Which tokens of a step go through which adapters."""

    spans: tuple[Span, ...] = ()

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """Add each token's B (A x) to y, in place.

        Args:
            x: [tokens, in], the group's input.
            y: [tokens, out], the group's outputs on the base model, side by side.
        """
        for span in self.spans:
            if layer in span.layers.get(group, ()):
                span.apply(x, y, layer, group)


BASE_ONLY = LoraPlan()


def arrange(slots: Sequence[Slot | None], counts: Sequence[int]) -> tuple[list[int], LoraPlan]:
    """Order a step's rows so that each span's tokens lie together, and plan their products.

    Args:
        slots: the adapter of each row.
        counts: how many tokens each row feeds.

    Returns:
        the order, as indices of rows, and the plan for tokens laid out in that order.
    """
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
    spans: list[Span] = []
    start = 0
    for stack, of_slot in rows.items():
        tokens = {slot: sum(counts[index] for index in indices) for slot, indices in of_slot.items()}
        for together in divide(stack, tokens):
            spans.append(plan_span(stack, together, [tokens[slot] for slot in together], start))
            start = spans[-1].stop
            order += [index for slot in together for index in of_slot[slot]]
    return order + base, LoraPlan(tuple(spans))


def divide(stack: LoraStack, tokens: dict[Slot, int]) -> list[list[Slot]]:
    """The slots that share a product, by position: those side by side with few tokens; every other has its own."""
    if not tokens:
        return []
    window = stack.draw_together(tokens)
    slots = sorted(tokens, key=lambda slot: slot.position)
    width = best_width([tokens[slot] for slot in slots if slot.position in window])
    together = [slot for slot in slots if slot.position in window and tokens[slot] <= width]
    return [together, *([slot] for slot in slots if slot not in together)]


def best_width(tokens: list[int]) -> int:
    """The number of places for each slot in the shared product at which all products together cost least."""

    def cost(width: int) -> float:
        alone = sum(count > width for count in tokens)
        return len(tokens) * (1 + PLACE_COST * (width - 1)) + alone * (1 + CALL_COST)

    return min(set(tokens), key=cost)


def plan_span(stack: LoraStack, slots: list[Slot], tokens: list[int], start: int) -> Span:
    """The span of slots sorted by position, each with its number of tokens."""
    low, high = slots[0].position, slots[-1].position + 1
    width, stop = max(tokens), start + sum(tokens)
    gather = scatter = None
    if high - low > len(slots) or min(tokens) < width:
        gather, scatter = places_of_tokens([slot.position - low for slot in slots], tokens, width, start)
    return Span(
        layers=stack.layers,
        factors=stack.factors(range(low, high)),
        source=stack.source,
        rank=stack.rank,
        slots=high - low,
        width=width,
        start=start,
        stop=stop,
        gather=None if gather is None else torch.tensor(gather, device=stack.device),
        scatter=None if scatter is None else torch.tensor(scatter, device=stack.device),
    )


def places_of_tokens(positions: list[int], tokens: list[int], width: int, start: int) -> tuple[list[int], list[int]]:
    """`gather` and `scatter` of a `Span`; places that no token fills get the first one."""
    gather = [start] * ((positions[-1] + 1) * width)
    scatter: list[int] = []
    for position, count in zip(positions, tokens, strict=True):
        first = position * width
        gather[first : first + count] = range(start + len(scatter), start + len(scatter) + count)
        scatter += range(first, first + count)
    return gather, scatter
