"""Flags: a mark in the residual stream at each slot of the opening, by which later layers know the slot.

To write over the opening and nowhere else, a change of the keys and values has to tell the slots' tokens from all
others. By what those tokens hold of themselves a low-rank product cannot: it answers a little to every token. So one
early feed-forward raises flags: a neuron for each slot is taken, whose gate opens at that slot only, and which adds to
the residual stream a direction that chats do not use. All later layers read these directions, and little else.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Flags:
    """
    Attributes:
        layer: whose feed-forward raises the flags.
        neurons: [slots], int64: those that are taken, one for each slot.
        gate, up: [slots, hidden], added to the neurons' own weights.
        down: [slots, hidden], added to what the neurons add to the residual stream.
        readers: [layers, slots, hidden]: each answers about 1 to its flag in the inputs of a layer's attention, and
            about 0 to all else.
    """

    layer: int
    neurons: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    readers: Tensor

    def first(self, count: int) -> "Flags":
        """Those of the first slots only."""
        return Flags(
            self.layer,
            self.neurons[:count],
            self.gate[:count],
            self.up[:count],
            self.down[:count],
            self.readers[:, :count],
        )

    def raise_gate_up(self, x: Tensor, gate_up: Tensor) -> None:
        """Change gate_up [tokens, 2 * intermediate], made of x [tokens, hidden], in place."""
        gate, up = gate_up.chunk(2, dim=1)
        gate[:, self.neurons] += x @ self.gate.T.to(x)
        up[:, self.neurons] += x @ self.up.T.to(x)

    def raise_down(self, x: Tensor, out: Tensor) -> None:
        """Change out [tokens, hidden], made of x [tokens, intermediate], in place."""
        out += x[:, self.neurons] @ self.down.to(x)
