"""One step's rows laid out as flat tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from inference.engine.kv_cache import KVRow
from inference.engine.linear import Linear
from inference.engine.lora import Slot
from inference.engine.projections import Group

if TYPE_CHECKING:
    from inference.engine.operations import Operations


class Plan(Protocol):
    """What changes the outputs of the linear layers of a step; for requests, their adapters."""

    def product(self, linear: Linear, x: Tensor, layer: int, group: Group) -> Tensor:
        """The group's outputs [T, out] for its inputs x [T, in]."""
        y = linear(x)
        self.apply(x, y, layer, group)
        return y

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        """Change y [T, out], the group's outputs for its inputs x [T, in], in place."""


class Attention(Protocol):
    """The attention of a step's tokens, each over its own row of the KV cache."""

    def attend(self, qkv: Tensor, layer: int) -> Tensor:
        """Rotate queries and keys, write keys and values to the cache, and attend.

        Args:
            qkv: [T, (heads + 2 * kv_heads) * head_dim]; changed in place.

        Returns:
            [T, heads * head_dim].
        """


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


class Placed(NamedTuple):
    """A row whose tokens are those of the step from `first` on."""

    row: StepRow
    first: int

    @property
    def stop(self) -> int:
        """The token of the step after its last one."""
        return self.first + len(self.row.tokens)

    @property
    def length(self) -> int:
        """How many tokens of the sequence are in the cache after the step."""
        return self.row.start + len(self.row.tokens)


@dataclass(frozen=True, slots=True)
class Step:
    """A step ready to run; T is the number of its tokens.

    Attributes:
        tokens: [T].
        sampled: [S], the tokens whose logits are wanted, in the order of the rows as they were given.
    """

    tokens: Tensor
    plan: Plan
    attention: Attention
    sampled: Tensor


class StepBuilder:
    """Lays out steps for one model."""

    def __init__(self, operations: "Operations", device: torch.device) -> None:
        self.operations, self.device = operations, device

    def build(self, rows: Sequence[StepRow]) -> Step:
        order, plan = self.operations.arrange([row.slot for row in rows], [len(row.tokens) for row in rows])
        tokens: list[int] = []
        placed: list[Placed] = []
        last_token = [0] * len(rows)
        for index in order:
            row = rows[index]
            placed.append(Placed(row, len(tokens)))
            tokens += row.tokens
            last_token[index] = len(tokens) - 1
            row.kv.length = row.start + len(row.tokens)
        return Step(
            tokens=self.tensor(tokens),
            plan=plan,
            attention=self.operations.attention(placed, len(tokens)),
            sampled=self.tensor([last for last, row in zip(last_token, rows, strict=True) if row.sample]),
        )

    def tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self.device)
