"""One step's rows laid out as flat tensors, with the attention calls that they need."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inference.engine.families import DecoderSpec
from inference.engine.kv_cache import KVRow, Slab
from inference.engine.lora import Slot
from inference.engine.lora_plan import arrange
from inference.engine.projections import Group

Masks = dict[int | None, Tensor]


class Plan(Protocol):
    """What changes the outputs of the linear layers of a step; for requests that is a `LoraPlan`."""

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """Change y [tokens, out], the group's outputs for its inputs x [tokens, in], in place."""


@dataclass(slots=True)
class StepRow:
    """What one sequence feeds into a step.

    Attributes:
        kv: where its keys and values lie, with room for `start + len(tokens)` tokens.
        tokens: one to decode, a chunk to prefill.
        start: the position of the first of them.
        slot: the adapter; None is the base model.
        sample: whether the logits after its last token are wanted.
    """

    kv: KVRow
    tokens: list[int]
    start: int
    slot: Slot | None
    sample: bool


@dataclass(frozen=True, slots=True)
class Write:
    """Where the new keys and values of one slab go: `kv[layer][rows, :, positions] = new[tokens]`."""

    slab: Slab
    rows: Tensor
    positions: Tensor
    tokens: Tensor | None


@dataclass(frozen=True, slots=True)
class DecodeGroup:
    """The running rows [0, count) of a slab, each with one query.

    Attributes:
        queries: [count], the token that asks for each row; None where they are the step's tokens in order. A row that
            asks nothing in this step gets another's query, and its answer is dropped.
        length: how many positions are read.
        masks: per window [count, 1, 1, length], 0 or -inf.
    """

    slab: Slab
    count: int
    queries: Tensor | None
    length: int
    masks: Masks


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """Tokens [first, last) of the step, of one row, reading `length` positions.

    masks: per window [(last - first) * group, length], 0 or -inf, `group` queries per key head together.
    """

    slab: Slab
    row: int
    first: int
    last: int
    length: int
    masks: Masks


@dataclass(frozen=True, slots=True)
class Step:
    """A step ready to run; T is the number of its tokens.

    Attributes:
        tokens, positions: [T].
        answers: [T], where each token's attention output lies among the pieces of all groups and chunks laid end to
            end; None where that is the tokens' order.
        sampled: [S], the tokens whose logits are wanted, in the order of the rows as they were given.
    """

    tokens: Tensor
    positions: Tensor
    plan: Plan
    writes: tuple[Write, ...]
    groups: tuple[DecodeGroup, ...]
    chunks: tuple[PrefillChunk, ...]
    answers: Tensor | None
    sampled: Tensor


class StepBuilder:
    """Lays out steps for one model."""

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> None:
        self.windows = tuple(dict.fromkeys(spec.windows))
        self.queries_per_key = spec.heads // spec.kv_heads
        self.dtype, self.device = dtype, device

    def build(self, rows: Sequence[StepRow]) -> Step:
        order, plan = arrange([row.slot for row in rows], [len(row.tokens) for row in rows])
        tokens: list[int] = []
        positions: list[int] = []
        first_token: dict[int, int] = {}
        for index in order:
            row = rows[index]
            first_token[index] = len(tokens)
            tokens += row.tokens
            positions += range(row.start, row.start + len(row.tokens))
        decoding = [index for index in order if len(rows[index].tokens) == 1]
        chunked = [index for index in order if len(rows[index].tokens) > 1]
        groups, pieces = self.decode_groups([(rows[index], first_token[index]) for index in decoding])
        chunks = []
        for index in chunked:
            chunks.append(self.prefill_chunk(rows[index], first_token[index]))
            pieces += range(chunks[-1].first, chunks[-1].last)
        return Step(
            tokens=self.tensor(tokens),
            positions=self.tensor(positions),
            plan=plan,
            writes=self.writes(rows, first_token),
            groups=tuple(groups),
            chunks=tuple(chunks),
            answers=self.answers(pieces, len(tokens)),
            sampled=self.tensor(
                [first_token[index] + len(row.tokens) - 1 for index, row in enumerate(rows) if row.sample]
            ),
        )

    def tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)

    def writes(self, rows: Sequence[StepRow], first_token: dict[int, int]) -> tuple[Write, ...]:
        places: dict[Slab, tuple[list[int], list[int], list[int]]] = {}
        for index, row in enumerate(rows):
            count = len(row.tokens)
            in_rows, in_positions, in_tokens = places.setdefault(row.kv.slab, ([], [], []))
            in_rows += [row.kv.index] * count
            in_positions += range(row.start, row.start + count)
            in_tokens += range(first_token[index], first_token[index] + count)
            row.kv.length = row.start + count
        only = len(places) == 1
        return tuple(
            Write(
                slab,
                self.tensor(in_rows),
                self.tensor(in_positions),
                None if only and in_tokens == list(range(len(in_tokens))) else self.tensor(in_tokens),
            )
            for slab, (in_rows, in_positions, in_tokens) in places.items()
        )

    def decode_groups(self, decoding: list[tuple[StepRow, int]]) -> tuple[list[DecodeGroup], list[int]]:
        """The groups, and for each of their rows end to end the token it answers (-1: none)."""
        of_slab: dict[Slab, dict[int, tuple[StepRow, int]]] = {}
        for row, token in decoding:
            of_slab.setdefault(row.kv.slab, {})[row.kv.index] = (row, token)
        groups, pieces = [], []
        for slab, asking in of_slab.items():
            count = max(asking) + 1
            answered = [asking[index][1] if index in asking else -1 for index in range(count)]
            lengths = [asking[index][0].start + 1 if index in asking else 1 for index in range(count)]
            in_order = answered == list(range(len(decoding)))
            queries = None if in_order else self.tensor([max(token, 0) for token in answered])
            length = max(lengths)
            last = self.tensor(lengths).view(count, 1, 1, 1) - 1
            groups.append(DecodeGroup(slab, count, queries, length, self.masks(last, length)))
            pieces += answered
        return groups, pieces

    def prefill_chunk(self, row: StepRow, first: int) -> PrefillChunk:
        count = len(row.tokens)
        length = row.start + count
        positions = torch.arange(row.start, length, device=self.device)
        last = positions.repeat_interleave(self.queries_per_key).view(-1, 1)
        return PrefillChunk(row.kv.slab, row.kv.index, first, first + count, length, self.masks(last, length))

    def masks(self, last: Tensor, length: int) -> Masks:
        """Per window: 0 where a query at position `last` sees a key position, else -inf; `last` is [..., 1]."""
        keys = torch.arange(length, device=self.device)
        masks: Masks = {}
        for window in self.windows:
            hidden = keys > last
            if window is not None:
                hidden |= keys <= last - window
            masks[window] = torch.zeros(hidden.shape, dtype=self.dtype, device=self.device).masked_fill_(
                hidden, float("-inf")
            )
        return masks

    def answers(self, pieces: list[int], tokens: int) -> Tensor | None:
        if pieces == list(range(tokens)):
            return None
        place = {token: index for index, token in enumerate(pieces)}
        return self.tensor([place[token] for token in range(tokens)])
