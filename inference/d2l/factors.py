"""The factors of an adapter that makes the opening of a chat hold other keys and values than its own.

At the slots of the opening, `k_proj` and `v_proj` shall say what is wanted of a document's tokens; everywhere else they
shall say what they always say. A low-rank change does it: row i of A answers to the flag of slot i (`flags.py`), and
column i of B is what is to be added there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.d2l.flags import Flags
from inference.d2l.reader import Reader
from inference.engine.projections import Group
from inference.engine.step import Plan


class Module(NamedTuple):
    """A linear layer by its name in the model, and its LoRA: a [r, in], b [out, r]."""

    name: str
    a: Tensor
    b: Tensor


@dataclass
class Writing(Plan):
    """A plan that finds the factors layer by layer, each on what the layers before it have changed.

    Attributes:
        slots: those that are written.
        flags: of as many slots.
        wanted: the keys and values for the slots, [layers, slots, 2 * kv_size], before norm and rotation.
        found: of each layer after the flags', the columns to be added, [slots, 2 * kv_size].
    """

    slots: list[int]
    flags: Flags
    wanted: Tensor
    found: dict[int, Tensor] = field(default_factory=dict)

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        if layer == self.flags.layer and group == "gate_up":
            self.flags.raise_gate_up(x, y)
        elif layer == self.flags.layer and group == "down":
            self.flags.raise_down(x, y)
        elif layer > self.flags.layer and group == "qkv":
            wanted = self.wanted[layer].float()
            kv = y[:, -wanted.shape[1] :]
            said = (x @ self.flags.readers[layer].T.to(x)).float()
            self.found[layer] = torch.linalg.solve(said[self.slots], wanted - kv[self.slots].float())
            kv += (said @ self.found[layer]).to(kv)

    def modules(self, intermediate: int) -> Iterator[Module]:
        """The adapter, of a model with so many neurons in a feed-forward."""
        flags = self.flags
        mlp = f"model.layers.{flags.layer}.mlp"
        neurons = F.one_hot(flags.neurons, intermediate).float()
        yield Module(f"{mlp}.gate_proj", flags.gate, neurons.T)
        yield Module(f"{mlp}.up_proj", flags.up, neurons.T)
        yield Module(f"{mlp}.down_proj", neurons, flags.down.T)
        for layer, columns in self.found.items():
            key, value = columns.T.chunk(2)
            attention = f"model.layers.{layer}.self_attn"
            yield Module(f"{attention}.k_proj", flags.readers[layer], key)
            yield Module(f"{attention}.v_proj", flags.readers[layer], value)


@torch.inference_mode()
def write(reader: Reader, flags: Flags, wanted: Tensor) -> list[Module]:
    """The adapter that writes [layers, n, 2 * kv_size] keys and values into the first n slots of the opening."""
    count = wanted.shape[1]
    writing = Writing(list(reader.opening.slots)[:count], flags.first(count), wanted)
    reader.read_opening(writing)
    return list(writing.modules(reader.spec.intermediate))
