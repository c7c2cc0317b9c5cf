"""Compiled operations give what torch's give, and where they cannot be had the engine does without them.

Whole models are compared in `test_families.py` and `test_lora.py`.
"""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference.engine.families import DecoderSpec, describe
from inference.engine.kv_cache import KVCache
from inference.engine.native.compiler import compile_library
from inference.engine.native.kernels import SOURCE, fits
from inference.engine.native.operations import NativeOperations
from inference.engine.operations import Operations, TorchOperations, choose_operations
from inference.engine.step import Placed, StepRow
from tests.engine.tiny_models import CONFIGS

CPU = torch.device("cpu")
ROWS = (1, 5, 700)
MAX_LEN = 512


def both(spec: DecoderSpec, dtype: torch.dtype) -> tuple[Operations, Operations]:
    compiled = choose_operations(spec, dtype, CPU, MAX_LEN, compiled=True)
    assert isinstance(compiled, NativeOperations)
    return compiled, TorchOperations(spec, dtype, CPU, MAX_LEN)


def random(*shape: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * size).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 1e-3, 1e3, 0.0])
@pytest.mark.parametrize("rows", ROWS)
def test_the_norm_is_torchs(rows: int, size: float, dtype: torch.dtype) -> None:
    spec = describe(CONFIGS["llama"])
    x, change, weight = random(rows, 64, size=size, dtype=dtype), random(rows, 64, dtype=dtype), random(64, dtype=dtype)
    sums = []
    for operations in both(spec, dtype):
        norm, total = operations.norm(weight), operations.residual(x.clone())
        torch.testing.assert_close(norm(x), torch.nn.functional.rms_norm(x, (64,), weight, spec.norm_eps))
        normed = norm.add(total, change)
        sums.append((total.to(dtype), normed))
    torch.testing.assert_close(*sums)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "gemma3"])
@pytest.mark.parametrize("size", [1.0, 30.0])
@pytest.mark.parametrize("rows", ROWS)
def test_the_gate_is_torchs(rows: int, size: float, family: str, dtype: torch.dtype) -> None:
    spec = describe(CONFIGS[family])
    compiled, by_torch = both(spec, dtype)
    gate_up = random(rows, 2 * spec.intermediate, size=size, dtype=dtype)
    exact = by_torch.gate(gate_up.float()).to(dtype)
    torch.testing.assert_close(compiled.gate(gate_up), exact)


@pytest.mark.parametrize(
    "sizes", [{"head_dim": 16}, {"head_dim": 512}, {"hidden": 72}, {"intermediate": 100}, {"heads": 64, "kv_heads": 2}]
)
def test_a_model_of_sizes_they_were_not_written_for_is_left_to_torch(sizes: dict[str, int]) -> None:
    spec = replace(describe(CONFIGS["llama"]), **sizes)  # type: ignore[arg-type]
    assert not fits(spec)
    assert isinstance(choose_operations(spec, torch.float32, CPU, 64, compiled=True), TorchOperations)


def test_other_dtypes_are_left_to_torch() -> None:
    spec = describe(CONFIGS["llama"])
    assert isinstance(choose_operations(spec, torch.float16, CPU, 64, compiled=True), TorchOperations)


def test_without_a_compiler_there_is_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with caplog.at_level(logging.WARNING):
        assert compile_library(SOURCE, ["ELEMENT_F32"]) is None
    assert "no C compiler" in caplog.text


def test_what_does_not_compile_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("this is not C")
    with caplog.at_level(logging.WARNING):
        assert compile_library(broken, []) is None
    assert len(caplog.records) == 1
    assert "broken.c cannot be used" in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma3"])  # no window, one, and both in turn
def test_attention_is_torchs(name: str, dtype: torch.dtype) -> None:
    """Of single tokens, and of short and long pieces of prompts at a row's beginning and later."""
    spec = describe(CONFIGS[name])
    operations = both(spec, dtype)
    caches = [KVCache(spec, dtype, CPU, 2048, MAX_LEN) for _ in operations]
    kv_rows = [[kv for _ in range(4) if (kv := cache.allocate(400))] for cache in caches]
    starts = [0] * 4
    for counts in ((1, 3, 40, 200), (1, 130, 33, 1), (5, 1, 97, 64)):
        tokens = sum(counts)
        qkv = random(tokens, spec.q_size + 2 * spec.kv_size, dtype=dtype)
        answers = []
        for by, rows in zip(operations, kv_rows, strict=True):
            placed, first = [], 0
            for kv, start, count in zip(rows, starts, counts, strict=True):
                kv.length = start + count
                placed.append(Placed(StepRow(kv, [0] * count, start, None, False), first))
                first += count
            attention = by.attention(placed, tokens)
            answers.append([attention.attend(qkv.clone(), layer).view(tokens, -1) for layer in range(spec.layers)])
        for compiled, expected in zip(*answers, strict=True):
            torch.testing.assert_close(compiled, expected, atol=0.02 if dtype == torch.bfloat16 else 1e-5, rtol=0.02)
        starts = [start + count for start, count in zip(starts, counts, strict=True)]
