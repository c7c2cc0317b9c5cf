"""The linear layers that an adapter may change, grouped by the input they share."""

import math
from dataclasses import dataclass
from typing import Literal

from inference.engine.families import DecoderSpec

Group = Literal["qkv", "o", "gate_up", "down"]
GROUPS: tuple[Group, ...] = ("qkv", "o", "gate_up", "down")


@dataclass(frozen=True)
class Projection:
    """A linear layer by its name in the checkpoint, with its input and output sizes."""

    name: str
    inputs: int
    outputs: int


def projections(group: Group, spec: DecoderSpec) -> tuple[Projection, ...]:
    """The group's layers, in the order in which the decoder stacks their outputs."""
    if group == "qkv":
        return (
            Projection("q_proj", spec.hidden, spec.q_size),
            Projection("k_proj", spec.hidden, spec.kv_size),
            Projection("v_proj", spec.hidden, spec.kv_size),
        )
    if group == "o":
        return (Projection("o_proj", spec.q_size, spec.hidden),)
    if group == "gate_up":
        return (
            Projection("gate_proj", spec.hidden, spec.intermediate),
            Projection("up_proj", spec.hidden, spec.intermediate),
        )
    return (Projection("down_proj", spec.intermediate, spec.hidden),)


def chunk_width(group: Group, spec: DecoderSpec) -> int:
    """The widest chunk that all outputs of the group can be cut into; then one batched product makes them all."""
    return math.gcd(*(projection.outputs for projection in projections(group, spec)))
