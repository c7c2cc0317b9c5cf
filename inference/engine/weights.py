"""A model's weights, read from safetensors and fused as the decoder wants them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference.engine.errors import ModelUnsupported
from inference.engine.families import DecoderSpec
from inference.engine.linear import Linear
from inference.engine.norm import Norm
from inference.engine.operations import Operations

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """One layer. `qkv` is the q, k and v projections stacked, `gate_up` gate and up."""

    qkv: Linear
    o: Linear
    gate_up: Linear
    down: Linear
    input_norm: Norm
    feed_forward_norm: Norm
    qk_norm: Tensor | None
    post_attention_norm: Norm | None
    post_feed_forward_norm: Norm | None


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """embedding: [vocab, hidden]."""

    embedding: Tensor
    lm_head: Linear
    final_norm: Norm
    layers: tuple[LayerWeights, ...]


class Checkpoint:
    """The tensors of a model folder, single or sharded, on the device asked for."""

    def __init__(self, folder: Path, dtype: torch.dtype, device: torch.device, operations: Operations) -> None:
        self.operations = operations
        self.dtype, self.device = dtype, device
        self.stack = ExitStack()
        self.place: dict[str, safe_open] = {}
        for shard in shards(folder):
            file = self.stack.enter_context(safe_open(shard, framework="pt"))
            self.place |= dict.fromkeys(file.keys(), file)

    def find(self, name: str, dtype: torch.dtype | None) -> Tensor | None:
        """In the dtype that it is stored in, where None is asked for."""
        file = self.place.get(name)
        # A copy, so that no view keeps the whole file mapped
        return None if file is None else file.get_tensor(name).to(self.device, dtype, copy=True)

    def stored(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        tensor = self.find(name, dtype)
        if tensor is None:
            raise ModelUnsupported(f"the checkpoint has no tensor {name}.")
        return tensor

    def take(self, name: str) -> Tensor:
        """In the model's dtype."""
        return self.stored(name, self.dtype)

    def norm_weight(self, name: str, spec: DecoderSpec) -> Tensor:
        return self.take(name) + spec.norm_offset if spec.norm_offset else self.take(name)

    def norm(self, name: str, spec: DecoderSpec) -> Norm:
        return self.operations.norm(self.norm_weight(name, spec))


def shards(folder: Path) -> Iterator[Path]:
    if (folder / INDEX).exists():
        names = set(json.loads((folder / INDEX).read_text())["weight_map"].values())
        yield from (folder / name for name in sorted(names))
    else:
        yield folder / SINGLE


def load_weights(
    folder: Path, spec: DecoderSpec, dtype: torch.dtype, device: torch.device, operations: Operations
) -> ModelWeights:
    """Read and fuse the weights of a model folder.

    Raises:
        ModelUnsupported: a tensor is missing or a file cannot be read.
    """
    try:
        checkpoint = Checkpoint(folder, dtype, device, operations)
        with checkpoint.stack:
            embedding = checkpoint.stored("model.embed_tokens.weight")
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # to pack a weight keeps one thread busy
                head = embedding if spec.tied_embeddings else checkpoint.stored("lm_head.weight")
                lm_head = pool.submit(operations.head, head)
                layers = pool.map(partial(load_layer, checkpoint, spec), range(spec.layers))
                return ModelWeights(
                    embedding=embedding.to(dtype),
                    lm_head=lm_head.result(),
                    final_norm=checkpoint.norm("model.norm.weight", spec),
                    layers=tuple(layers),
                )
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelUnsupported(f"the weights in {folder} cannot be read: {error}") from error


def load_layer(checkpoint: Checkpoint, spec: DecoderSpec, index: int) -> LayerWeights:
    prefix = f"model.layers.{index}"

    def stacked(*modules: str) -> Linear:
        weights = [checkpoint.stored(f"{prefix}.{module}.weight") for module in modules]
        biases = [checkpoint.find(f"{prefix}.{module}.bias", checkpoint.dtype) for module in modules]
        present = [bias for bias in biases if bias is not None]
        return checkpoint.operations.linear(
            torch.cat(weights), torch.cat(present) if len(present) == len(modules) else None
        )

    def norm(name: str) -> Norm:
        return checkpoint.norm(f"{prefix}.{name}.weight", spec)

    sandwich = spec.sandwich_norms
    return LayerWeights(
        qkv=stacked("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        o=stacked("self_attn.o_proj"),
        gate_up=stacked("mlp.gate_proj", "mlp.up_proj"),
        down=stacked("mlp.down_proj"),
        input_norm=norm("input_layernorm"),
        feed_forward_norm=norm("pre_feedforward_layernorm" if sandwich else "post_attention_layernorm"),
        qk_norm=qk_norm(checkpoint, spec, f"{prefix}.self_attn") if spec.qk_norm else None,
        post_attention_norm=norm("post_attention_layernorm") if sandwich else None,
        post_feed_forward_norm=norm("post_feedforward_layernorm") if sandwich else None,
    )


def qk_norm(checkpoint: Checkpoint, spec: DecoderSpec, prefix: str) -> Tensor:
    """The weights of both norms laid over the query and key heads: [heads + kv_heads, head_dim]."""
    q, k = (checkpoint.norm_weight(f"{prefix}.{name}.weight", spec) for name in ("q_norm", "k_norm"))
    return torch.cat([q.expand(spec.heads, -1), k.expand(spec.kv_heads, -1)])
