"""What a step does between its linear layers, by torch's own operations or by compiled ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.engine.attention import Rotation, TorchAttention, rotation
from inference.engine.families import DecoderSpec
from inference.engine.linear import Linear, linear
from inference.engine.lora import Slot
from inference.engine.lora_plan import arrange
from inference.engine.native.kernels import fits, kernels
from inference.engine.native.layers import NativeLayers
from inference.engine.native.operations import NativeOperations
from inference.engine.norm import Norm, rms_norm
from inference.engine.sampler import Choice, TorchChoice
from inference.engine.step import Attention, Placed, Plan

if TYPE_CHECKING:
    from inference.engine.weights import LayerWeights


class Operations(Protocol):
    """The operations of one model on one device.

    Attributes:
        rotations: of each of the model's `ropes`.
        choice: of tokens.
    """

    rotations: Sequence[Rotation]
    choice: Choice

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        """A linear layer in the model's dtype, of a weight [out, in] in any and a bias [out] in that one."""

    def head(self, weight: Tensor) -> Linear:
        """The layer that gives the logits, in the most precise dtype that it can be had in."""

    def residual(self, x: Tensor) -> Tensor:
        """The embeddings [T, hidden] in the dtype that the residual stream is kept in."""

    def norm(self, weight: Tensor) -> Norm:
        """The model's RMSNorm with a weight [n]."""

    def norm_heads(self, heads: Tensor, weight: Tensor) -> None:
        """RMSNorm of each head by itself, in place, of the first of heads [T, .., head_dim]: as many as weight
        [.., head_dim] has."""

    def gate(self, gate_up: Tensor) -> Tensor:
        """gate_up [T, 2 * intermediate] -> activation(gate) * up [T, intermediate]."""

    def at_once(self, layers: "Sequence[LayerWeights]") -> NativeLayers | None:
        """All layers in one call; None where they have parts that cannot be run so."""

    def arrange(self, slots: Sequence[Slot | None], counts: Sequence[int]) -> tuple[list[int], Plan]:
        """Order a step's rows, and plan the low-rank products of their tokens in that order.

        Args:
            slots: the adapter of each row.
            counts: how many tokens each row feeds.

        Returns:
            the order, as indices of rows, and the plan.
        """

    def attention(self, rows: Sequence[Placed], tokens: int) -> Attention:
        """The attention of a step's rows, in their order, with `tokens` tokens in all."""


class TorchOperations:
    """By torch's own operations, on every device and for every dtype."""

    def __init__(self, spec: DecoderSpec, dtype: torch.dtype, device: torch.device, max_len: int) -> None:
        if device.type == "cuda":  # cuDNN's attention makes a plan for every new length, which takes longer than a step
            torch.backends.cuda.enable_cudnn_sdp(False)
        self.spec, self.dtype = spec, dtype
        self.rotations: Sequence[Rotation] = [rotation(rope, max_len, dtype, device) for rope in spec.ropes]
        self.arrange = arrange
        self.choice: Choice = TorchChoice()

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return linear(weight.to(self.dtype), bias)

    def head(self, weight: Tensor) -> Linear:
        return self.linear(weight, None)

    def residual(self, x: Tensor) -> Tensor:
        return x

    def norm(self, weight: Tensor) -> Norm:
        return rms_norm(weight, self.spec.norm_eps)

    def norm_heads(self, heads: Tensor, weight: Tensor) -> None:
        changed = heads[:, : len(weight)]
        changed.copy_(F.rms_norm(changed, weight.shape[1:], None, self.spec.norm_eps) * weight)

    def gate(self, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=1)
        return (F.silu(gate) if self.spec.activation == "silu" else F.gelu(gate, approximate="tanh")) * up

    def at_once(self, layers: "Sequence[LayerWeights]") -> None:
        return None

    def attention(self, rows: Sequence[Placed], tokens: int) -> Attention:
        return TorchAttention(self.spec, self.rotations, rows, tokens)


def choose_operations(
    spec: DecoderSpec, dtype: torch.dtype, device: torch.device, max_len: int, compiled: bool
) -> Operations:
    """The compiled operations where they are wanted, can be had and fit the model, else torch's."""
    if compiled and device.type == "cpu" and fits(spec) and (library := kernels(dtype)):
        return NativeOperations(library, spec, dtype, max_len)
    return TorchOperations(spec, dtype, device, max_len)
