"""A model with its KV cache and adapter slots: rows in, logits out."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig

from inference.engine.decoder import Decoder
from inference.engine.errors import ModelUnsupported
from inference.engine.families import describe
from inference.engine.kv_cache import KVCache
from inference.engine.lora import LoraSlots
from inference.engine.memory import release_freed
from inference.engine.operations import choose_operations
from inference.engine.step import StepBuilder, StepRow
from inference.engine.weights import load_weights

__all__ = ["ModelRunner", "StepRow"]


class ModelRunner:
    """Runs steps. Everything on it belongs to the one thread that does."""

    def __init__(self, decoder: Decoder, kv: KVCache, lora: LoraSlots) -> None:
        self.spec = decoder.spec
        self.decoder = decoder
        self.kv = kv
        self.lora = lora
        self.builder = StepBuilder(decoder.operations, kv.device)
        self.choice = decoder.operations.choice

    @classmethod
    def load(
        cls,
        path: Path,
        dtype: torch.dtype,
        device: torch.device,
        max_slots: int,
        max_rank: int,
        kv_tokens: int,
        max_len: int,
        compiled: bool = True,
    ) -> "ModelRunner":
        """Load a model folder in the transformers layout.

        Args:
            kv_tokens: how many tokens the KV cache may hold in all.
            max_len: the most tokens of one sequence.
            compiled: whether to compile operations where that works.

        Raises:
            ModelUnsupported: the family, an option or the weights cannot be served.
        """
        try:
            config = AutoConfig.from_pretrained(path, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise ModelUnsupported(f"config.json cannot be read: {str(error).splitlines()[0]}") from error
        spec = describe(config)
        operations = choose_operations(spec, dtype, device, max_len, compiled)
        decoder = Decoder(spec, load_weights(path, spec, dtype, device, operations), operations)
        release_freed()
        kv = KVCache(spec, dtype, device, kv_tokens, max_len)
        return cls(decoder, kv, LoraSlots(spec, dtype, device, max_slots, max_rank))

    @torch.inference_mode()
    def step(self, rows: Sequence[StepRow]) -> Tensor:
        """Feed every row its tokens.

        Returns:
            [rows that sample, vocab] float32, in the order of `rows`.
        """
        return self.decoder.forward(self.builder.build(rows))
