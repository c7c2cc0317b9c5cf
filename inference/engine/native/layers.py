"""All layers of a step in one call of a compiled function (layers.h), for models whose every part is compiled."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from inference.engine.attention import Rotation
from inference.engine.families import DecoderSpec
from inference.engine.lora_plan import BASE_ONLY
from inference.engine.native.attention import NativeAttention
from inference.engine.native.kernels import ALL, Function, apart, fields
from inference.engine.native.lora_plan import NativePlan, Stack
from inference.engine.native.norm import NativeNorm
from inference.engine.native.products import PackedLinear
from inference.engine.norm import Norm
from inference.engine.projections import GROUPS
from inference.engine.step import Step

if TYPE_CHECKING:
    from inference.engine.weights import LayerWeights


class Weight(ctypes.Structure):
    """`weight` in layers.h."""

    _fields_ = fields("packed bias", "inputs outputs bits")


class Layer(ctypes.Structure):
    """`layer` in layers.h."""

    _fields_ = (
        ("weights", Weight * len(GROUPS)),
        *fields("input_norm feed_forward_norm qk_norm post_attention_norm post_feed_forward_norm", ""),
        *fields("cosines sines", "window"),
    )


class Model(ctypes.Structure):
    """`model` in layers.h."""

    _fields_ = fields("multiply_part layers", "hidden heads kv_heads head_dim intermediate is_gelu", "eps scale")


class OfStep(ctypes.Structure):
    """`step` in layers.h."""

    _fields_ = fields("x change room places asking chunks stacks", "tokens asked chunk_count stack_count")


class NativeLayers:
    """The layers of a model."""

    def __init__(self, run_layers: Function, model: Model, structures: "ctypes.Array[Layer]", room: int) -> None:
        """
        Args:
            structures: what `model` refers to; kept.
            room: how many elements a token's values take on their way.
        """
        self.run_layers, self.model, self.structures, self.room = run_layers, model, structures, room

    @classmethod
    def of(
        cls,
        library: ctypes.CDLL,
        multiply_part: int,
        spec: DecoderSpec,
        layers: "Sequence[LayerWeights]",
        rotations: Sequence[Rotation],
    ) -> "NativeLayers | None":
        """None where a part of a layer is not compiled.

        Args:
            multiply_part: the address of the function.
        """
        described = zip(layers, spec.rope_of_layer, spec.windows, strict=True)
        found = [structure(layer, rotations[rope], window or ALL) for layer, rope, window in described]
        of_layers = [each for each in found if each]
        if len(of_layers) < len(layers):
            return None
        structures = (Layer * len(layers))(*of_layers)
        sizes = (spec.hidden, spec.heads, spec.kv_heads, spec.head_dim, spec.intermediate, spec.activation != "silu")
        numbers = (spec.norm_eps, spec.attention_scale)
        model = Model(multiply_part, ctypes.addressof(structures), *sizes, *numbers)
        room = spec.hidden + 2 * (spec.q_size + spec.kv_size) + 3 * spec.intermediate
        return cls(apart(library, "run_layers"), model, structures, room)

    def can_run(self, step: Step) -> bool:
        """Whether nothing in the step is Python's or torch's."""
        is_native = isinstance(step.plan, NativePlan) or step.plan is BASE_ONLY
        return is_native and isinstance(step.attention, NativeAttention) and not step.attention.of_torch

    def run(self, x: Tensor, change: Tensor, count: int, step: Step) -> None:
        """The first `count` layers.

        Args:
            x: the residual stream [T, hidden], float32.
            change: what is to be added to it, [T, hidden]; both are changed in place.
        """
        attention, plan = step.attention, step.plan
        assert isinstance(attention, NativeAttention), "or it cannot be run"
        tiles = plan.stacks if isinstance(plan, NativePlan) else ()
        stacks = (Stack * len(tiles))(*(each.addresses for each in tiles))
        room = change.new_empty(len(x), self.room)
        of_step = OfStep(
            x.data_ptr(),
            change.data_ptr(),
            room.data_ptr(),
            attention.places_at,
            attention.asking_at,
            attention.chunks_at,
            ctypes.addressof(stacks),
            len(x),
            len(attention.asking),
            len(attention.chunks),
            len(stacks),
        )
        self.run_layers(ctypes.addressof(self.model), ctypes.addressof(of_step), count)


def structure(layer: "LayerWeights", rotation: Rotation, window: int) -> Layer | None:
    linears = [part for part in (layer.qkv, layer.o, layer.gate_up, layer.down) if isinstance(part, PackedLinear)]
    if len(linears) < len(GROUPS):
        return None
    weights = (Weight(each.weight_at, each.bias_at, each.inputs, each.outputs, each.bits) for each in linears)
    qk_norm = None if layer.qk_norm is None else layer.qk_norm.data_ptr()
    return Layer(
        (Weight * len(GROUPS))(*weights),
        norm_at(layer.input_norm),
        norm_at(layer.feed_forward_norm),
        qk_norm,
        norm_at(layer.post_attention_norm),
        norm_at(layer.post_feed_forward_norm),
        *(each.data_ptr() for each in rotation),
        window,
    )


def norm_at(norm: Norm | None) -> int | None:
    assert norm is None or isinstance(norm, NativeNorm), "compiled operations make no other"
    return None if norm is None else norm.weight_at
