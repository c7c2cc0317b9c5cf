"""Attention by torch's operations: all rows of a slab in one call, each chunk of a prompt in another."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.engine.families import DecoderSpec, Rope
from inference.engine.kv_cache import Slab
from inference.engine.step import Placed

Masks = dict[int | None, Tensor]
# Cosines and signed sines of every position: each [positions, 1, head_dim]
Rotation = tuple[Tensor, Tensor]


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

    def attend(self, queries: Tensor, layer: int, spec: DecoderSpec) -> Tensor:
        """The slab's rows at once; the query heads of one key head stand where other code has query positions."""
        asked = queries[: self.count] if self.queries is None else queries.index_select(0, self.queries)
        asked = asked.reshape(self.count, spec.kv_heads, -1, spec.head_dim)
        kv = self.slab.kv[layer, : self.count, :, : self.length]
        return attend_rows(asked, kv, self.masks, layer, spec).reshape(self.count, spec.q_size)


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """A row's tokens, those of the step from `placed.first` on.

    masks: per window [tokens * group, length], 0 or -inf, `group` queries per key head together.
    """

    placed: Placed
    masks: Masks

    @classmethod
    def of(cls, placed: Placed, spec: DecoderSpec, dtype: torch.dtype, device: torch.device) -> "PrefillChunk":
        keys = torch.arange(placed.length, device=device)
        last = keys[placed.row.start :].repeat_interleave(spec.heads // spec.kv_heads).view(-1, 1)
        return cls(placed, make_masks(last, keys, spec, dtype))

    def attend(self, queries: Tensor, layer: int, spec: DecoderSpec) -> Tensor:
        """queries [T, heads, head_dim] -> [the row's tokens, heads * head_dim]."""
        placed, kv_row = self.placed, self.placed.row.kv
        count = len(placed.row.tokens)
        asked = queries[placed.first : placed.stop].view(count, spec.kv_heads, -1, spec.head_dim)
        asked = asked.transpose(0, 1).reshape(1, spec.kv_heads, -1, spec.head_dim)
        kv = kv_row.slab.kv[layer, kv_row.index : kv_row.index + 1, :, : placed.length]
        answer = attend_rows(asked, kv, self.masks, layer, spec)
        return answer.view(spec.kv_heads, count, -1, spec.head_dim).transpose(0, 1).reshape(count, spec.q_size)


class TorchAttention:
    """See `step.Attention`."""

    def __init__(self, spec: DecoderSpec, rotations: Sequence[Rotation], rows: Sequence[Placed], tokens: int) -> None:
        self.spec = spec
        table = rotations[0][0]
        self.dtype, self.device = table.dtype, table.device
        positions = self.tensor([position for placed in rows for position in range(placed.row.start, placed.length)])
        self.turns = [(cosines[positions], sines[positions]) for cosines, sines in rotations]
        self.writes = self.make_writes(rows)
        decoding = [placed for placed in rows if len(placed.row.tokens) == 1]
        self.groups, pieces = self.make_groups(decoding)
        self.chunks = [
            PrefillChunk.of(placed, spec, self.dtype, self.device) for placed in rows if len(placed.row.tokens) > 1
        ]
        pieces += [token for chunk in self.chunks for token in range(chunk.placed.first, chunk.placed.stop)]
        self.answers = self.make_answers(pieces, tokens)

    def attend(self, qkv: Tensor, layer: int) -> Tensor:
        spec = self.spec
        heads = qkv.view(-1, spec.heads + 2 * spec.kv_heads, spec.head_dim)
        rotate(heads[:, : spec.heads + spec.kv_heads], *self.turns[spec.rope_of_layer[layer]])
        keys_and_values = heads[:, spec.heads :]
        for write in self.writes:
            new = keys_and_values if write.tokens is None else keys_and_values.index_select(0, write.tokens)
            write.slab.kv[layer][write.rows, :, write.positions] = new
        queries = heads[:, : spec.heads]
        pieces = [group.attend(queries, layer, spec) for group in self.groups]
        pieces += [chunk.attend(queries, layer, spec) for chunk in self.chunks]
        answers = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return answers if self.answers is None else answers.index_select(0, self.answers)

    def make_writes(self, rows: Sequence[Placed]) -> list[Write]:
        places: dict[Slab, tuple[list[int], list[int], list[int]]] = {}
        for placed in rows:
            row, count = placed.row, len(placed.row.tokens)
            in_rows, in_positions, in_tokens = places.setdefault(row.kv.slab, ([], [], []))
            in_rows += [row.kv.index] * count
            in_positions += range(row.start, placed.length)
            in_tokens += range(placed.first, placed.stop)
        only = len(places) == 1
        return [
            Write(
                slab,
                self.tensor(in_rows),
                self.tensor(in_positions),
                None if only and in_tokens == list(range(len(in_tokens))) else self.tensor(in_tokens),
            )
            for slab, (in_rows, in_positions, in_tokens) in places.items()
        ]

    def make_groups(self, decoding: Sequence[Placed]) -> tuple[list[DecodeGroup], list[int]]:
        """The groups, and for each of their rows end to end the token it answers (-1: none)."""
        of_slab: dict[Slab, dict[int, Placed]] = {}
        for placed in decoding:
            of_slab.setdefault(placed.row.kv.slab, {})[placed.row.kv.index] = placed
        groups: list[DecodeGroup] = []
        pieces: list[int] = []
        for slab, asking in of_slab.items():
            count = max(asking) + 1
            answered = [asking[index].first if index in asking else -1 for index in range(count)]
            lengths = [asking[index].length if index in asking else 1 for index in range(count)]
            in_order = answered == list(range(len(decoding)))
            queries = None if in_order else self.tensor([max(token, 0) for token in answered])
            length = max(lengths)
            last, keys = self.tensor(lengths).view(count, 1, 1, 1) - 1, torch.arange(length, device=self.device)
            groups.append(DecodeGroup(slab, count, queries, length, make_masks(last, keys, self.spec, self.dtype)))
            pieces += answered
        return groups, pieces

    def make_answers(self, pieces: list[int], tokens: int) -> Tensor | None:
        """[tokens], where each token's answer lies among the pieces laid end to end; None where that is in order."""
        if pieces == list(range(tokens)):
            return None
        place = {token: index for index, token in enumerate(pieces)}
        return self.tensor([place[token] for token in range(tokens)])

    def tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)


def attend_rows(queries: Tensor, kv: Tensor, masks: Masks, layer: int, spec: DecoderSpec) -> Tensor:
    """queries [rows, kv_heads, n, head_dim], kv [rows, 2 * kv_heads, length, head_dim] -> like queries."""
    return F.scaled_dot_product_attention(
        queries,
        kv[:, : spec.kv_heads],
        kv[:, spec.kv_heads :],
        attn_mask=masks[spec.windows[layer]],
        scale=spec.attention_scale,
    )


def make_masks(last: Tensor, keys: Tensor, spec: DecoderSpec, dtype: torch.dtype) -> Masks:
    """Per window: 0 where a query at `last` [..., 1] sees a key at a position of `keys` [length], else -inf."""
    masks: Masks = {}
    for window in dict.fromkeys(spec.windows):
        hidden = keys > last
        if window is not None:
            hidden |= keys <= last - window
        masks[window] = torch.zeros(hidden.shape, dtype=dtype, device=last.device).masked_fill_(hidden, float("-inf"))
    return masks


def rotation(rope: Rope, positions: int, dtype: torch.dtype, device: torch.device) -> Rotation:
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), rope.inverse_frequencies)
    cosines, sines = angles.cos() * rope.scale, angles.sin() * rope.scale
    return (
        torch.cat((cosines, cosines), dim=1).unsqueeze(1).to(device, dtype),
        torch.cat((-sines, sines), dim=1).unsqueeze(1).to(device, dtype),
    )


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Turn heads [T, n, head_dim] in place: x cos + (second half, first half) sin, the sines carrying the sign."""
    swapped = heads.roll(heads.shape[-1] // 2, -1)
    heads.mul_(cosines).addcmul_(swapped, sines)
