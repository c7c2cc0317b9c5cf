"""What an engine is told when it starts."""

from dataclasses import dataclass
from pathlib import Path

import torch

from inference.engine.errors import EngineError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEVICES = ("cuda", "mps", "cpu")


@dataclass(frozen=True)
class EngineConfig:
    """One engine: one model, one device, one thread.

    Attributes:
        model_path: a folder in Hugging Face's format.
        dtype: "auto", or a key of `DTYPES`. Auto is bfloat16 where the hardware computes in it, else float32.
        device: "auto" (the first of cuda, mps, cpu that is there), or a torch device such as "cuda:1".
        max_active_loras: adapter slots.
        max_lora_rank: the highest rank a slot holds.
        max_running: most requests in one step.
        max_queue: most requests that wait beyond those.
        max_model_len: most tokens of prompt and answer together; None: as many as the model was made for.
        kv_tokens: tokens that the KV cache holds for all running requests together; None: from free memory.
        prefix_cache_tokens: tokens whose keys and values are kept for requests that begin the same; None: an
            eighth of `kv_tokens`, at most 4096.
        prefill_chunk: most prompt tokens in one step; fewer while answers stream, see `prefill_pace`.
    """

    model_path: Path
    dtype: str = "auto"
    device: str = "auto"
    max_active_loras: int = 16
    max_lora_rank: int = 64
    max_running: int = 32
    max_queue: int = 256
    max_model_len: int | None = None
    kv_tokens: int | None = None
    prefix_cache_tokens: int | None = None
    prefill_chunk: int = 256

    def torch_device(self) -> torch.device:
        """The device to compute on.

        Raises:
            EngineError: the device is unknown or not there.
        """
        if self.device == "auto":
            return torch.device(next(name for name in DEVICES if available(name)))
        try:
            device = torch.device(self.device)
        except RuntimeError:
            raise EngineError(f"Device {self.device!r} is unknown; there are: auto, {', '.join(DEVICES)}.") from None
        if not available(device.type):
            raise EngineError(f"Device {self.device!r} is not available on this machine.")
        return device

    def torch_dtype(self) -> torch.dtype:
        """The dtype to compute in.

        Raises:
            EngineError: the dtype is unknown.
        """
        if self.dtype == "auto":
            return torch.bfloat16 if computes_in_bfloat16(self.torch_device()) else torch.float32
        if self.dtype not in DTYPES:
            raise EngineError(f"Dtype {self.dtype!r} is unknown; there are: auto, {', '.join(DTYPES)}.")
        return DTYPES[self.dtype]


def available(device_type: str) -> bool:
    if device_type == "cuda":
        return torch.cuda.is_available()
    if device_type == "mps":
        return torch.backends.mps.is_available()
    return device_type == "cpu"


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 products run in hardware; emulated, they are slower than float32."""
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return device.type == "mps" or torch.cuda.is_bf16_supported(including_emulation=False)
