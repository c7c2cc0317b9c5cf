"""The operations of a step by compiled functions."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inference.engine.attention import Rotation, rotation
from inference.engine.families import DecoderSpec
from inference.engine.linear import Linear, linear
from inference.engine.lora import Slot
from inference.engine.native.attention import NativeAttention
from inference.engine.native.choice import NativeChoice
from inference.engine.native.kernels import address, apart
from inference.engine.native.layers import NativeLayers
from inference.engine.native.lora_plan import arrange
from inference.engine.native.norm import NativeNorm
from inference.engine.native.products import DEPTH, packed_linear, products
from inference.engine.norm import Norm
from inference.engine.sampler import Choice
from inference.engine.step import Attention, Placed, Plan

if TYPE_CHECKING:
    from inference.engine.weights import LayerWeights


class NativeOperations:
    """See `operations.Operations`; for models that the functions fit, on a CPU."""

    def __init__(self, library: ctypes.CDLL, spec: DecoderSpec, dtype: torch.dtype, max_len: int) -> None:
        self.library, self.spec, self.dtype = library, spec, dtype
        self.rotations: Sequence[Rotation] = [
            rotation(rope, max_len, dtype, torch.device("cpu")) for rope in spec.ropes
        ]
        self.attend = apart(library, "attend")
        # Compiled now, and not by each of the threads that then read the weights
        has_tiles = products(dtype) is not None and dtype == torch.bfloat16
        self.attend_chunks = apart(library, "attend_chunks") if has_tiles and spec.head_dim % DEPTH == 0 else None
        self.choice: Choice = NativeChoice(library)
        self.gate_function = library.silu_gate if spec.activation == "silu" else library.gelu_gate

    def linear(self, weight: Tensor, bias: Tensor | None) -> Linear:
        return packed_linear(weight, bias, self.dtype, self.dtype) or linear(weight.to(self.dtype), bias)

    def head(self, weight: Tensor) -> Linear:
        """Float32 where that can be: bfloat16's steps at usual logits are an eighth, so the best two often are one."""
        return packed_linear(weight, None, self.dtype, torch.float32) or self.linear(weight, None)

    def residual(self, x: Tensor) -> Tensor:
        return x.float()

    def norm(self, weight: Tensor) -> Norm:
        return NativeNorm(self.library, weight, self.spec.norm_eps)

    def norm_heads(self, heads: Tensor, weight: Tensor) -> None:
        tokens, all_heads, size = heads.shape
        sizes = (tokens, len(weight), all_heads, size)
        self.library.norm_heads(heads.data_ptr(), weight.data_ptr(), *sizes, self.spec.norm_eps)

    def gate(self, gate_up: Tensor) -> Tensor:
        out = gate_up.new_empty(len(gate_up), self.spec.intermediate)
        self.gate_function(gate_up.data_ptr(), out.data_ptr(), *out.shape)
        return out

    def at_once(self, layers: "Sequence[LayerWeights]") -> NativeLayers | None:
        if (by := products(self.dtype)) is None:
            return None
        return NativeLayers.of(self.library, address(by.multiply_part), self.spec, layers, self.rotations)

    def arrange(self, slots: Sequence[Slot | None], counts: Sequence[int]) -> tuple[list[int], Plan]:
        return arrange(self.library, slots, counts)

    def attention(self, rows: Sequence[Placed], tokens: int) -> Attention:
        return NativeAttention(self.library, self.attend, self.attend_chunks, self.spec, self.rotations, rows, tokens)
