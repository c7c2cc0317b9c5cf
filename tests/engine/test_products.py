"""Compiled linear layers are torch's, whatever a weight is kept in: on tile registers in bfloat16, else in float32."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.engine.model_runner import ModelRunner
from inference.engine.native.products import PackedLinear, packed_linear, products
from tests.engine.tiny_models import install, make_adapter, make_model


@pytest.fixture(params=[torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """Of the inputs."""
    if products(request.param) is None:
        pytest.skip("no compiler, or a processor without tile registers (AMX) or float16 (F16C)")
    return request.param


def packed(weight: Tensor, dtype: torch.dtype, bias: Tensor | None = None) -> PackedLinear:
    linear = packed_linear(weight, bias, dtype, dtype)
    assert isinstance(linear, PackedLinear)
    return linear


Make = Callable[[int, int], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def q4_1(outputs: int, inputs: int) -> Tensor:
    """A weight as llama.cpp quantises it to Q4_1: 32 inputs share a step and a least number, both float16."""
    blocks = random(outputs, inputs // 32, 32) * 0.1
    least, most = blocks.aminmax(dim=2, keepdim=True)
    step = ((most - least) / 15).half().float()
    return (((blocks - least) / step).round().clamp(0, 15) * step + least.half().float()).view(outputs, inputs)


def q8_0(outputs: int, inputs: int) -> Tensor:
    blocks = random(outputs, inputs // 32, 32) * 0.1
    step = (blocks.abs().amax(dim=2, keepdim=True) / 127).half().float()
    return ((blocks / step).round().clamp(-127, 127) * step).view(outputs, inputs)


def dense(outputs: int, inputs: int) -> Tensor:
    """Of numbers that bfloat16 and float16 hold."""
    return (random(outputs, inputs) * 0.1).bfloat16().half()


@pytest.mark.parametrize(("make", "bits"), [(q4_1, 4), (q8_0, 8), (dense, 16)])
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (32, 1536), (64, 32)])
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_torchs(
    make: Make, bits: int, outputs: int, inputs: int, biased: bool, dtype: torch.dtype
) -> None:
    weight = make(outputs, inputs)
    bias = random(outputs, seed=1).to(dtype) if biased else None
    linear = packed(weight, dtype, bias)
    assert linear.bits == bits
    for tokens in (*range(1, 10), 16, 17, 32, 33, 130):
        x = random(tokens, inputs, seed=tokens).to(dtype)
        exact = F.linear(x.double(), weight.to(dtype).double(), None if bias is None else bias.double())
        difference = (linear(x) - exact).norm() / exact.norm()
        assert difference < (2**-8 if dtype == torch.bfloat16 else 2**-18)


@pytest.mark.parametrize("make", [q4_1, q8_0, dense])
def test_in_float32_a_token_gets_the_same_however_many_there_are(make: Make) -> None:
    if products(torch.float32) is None:
        pytest.skip("no compiler, or a processor without float16 (F16C)")
    linear, x = packed(make(64, 576), torch.float32), random(17, 576)
    for tokens in range(1, 17):
        assert torch.equal(linear(x[:tokens]), linear(x)[:tokens])


def test_no_number_of_a_quantised_weight_changes(dtype: torch.dtype) -> None:
    weight = q4_1(64, 64)
    weight[40, 32:] = 0.25
    linear = packed(weight, dtype)
    assert linear.bits == 4
    rounding = 2**-8 if dtype == torch.bfloat16 else 0
    torch.testing.assert_close(linear(torch.eye(64, dtype=dtype)).float().T, weight, atol=0, rtol=rounding)


@pytest.mark.parametrize(("make", "bits"), [(q4_1, 4), (q8_0, 8)])
def test_rounded_to_float16_a_weight_keeps_its_bits_where_products_round_more(
    make: Make, bits: int, dtype: torch.dtype
) -> None:
    weight = make(64, 64).half()
    linear = packed(weight, dtype)
    assert linear.bits == (bits if dtype == torch.bfloat16 else 16)
    rounding = 2**-8 if dtype == torch.bfloat16 else 0
    torch.testing.assert_close(linear(torch.eye(64, dtype=dtype)).float().T, weight.float(), atol=0, rtol=rounding)


@pytest.mark.parametrize("number", [0.125, 1e4])
def test_one_number_between_the_steps_keeps_a_weight_wide(number: float, dtype: torch.dtype) -> None:
    weight = with_number(number)
    linear = packed(weight, dtype)
    assert linear.bits == 16
    assert torch.equal(linear(torch.eye(64, dtype=dtype)).T, weight.to(dtype))


@pytest.mark.parametrize("number", [0.123, float("nan"), float("inf"), 1e6])
def test_a_weight_that_float16_does_not_hold_is_left_to_torch_in_float32(number: float, dtype: torch.dtype) -> None:
    linear = packed_linear(with_number(number), None, dtype, dtype)
    assert getattr(linear, "bits", None) == (16 if dtype == torch.bfloat16 else None)


def with_number(number: float) -> Tensor:
    """A quantised weight, rounded to float16, with one number that is not of its steps."""
    weight = q4_1(64, 64).half().float()
    weight[63, 63] = number
    return weight


def test_logits_are_as_exact_as_the_sums(dtype: torch.dtype) -> None:
    weight, x = dense(96, 576), random(33, 576, seed=7).to(dtype)
    logits = packed_linear(weight, None, dtype, torch.float32)
    assert logits is not None
    torch.testing.assert_close(logits(x), F.linear(x.float(), weight.float()), atol=1e-4, rtol=1e-4)


def test_a_weight_of_zeros(dtype: torch.dtype) -> None:
    assert not packed(torch.zeros(32, 32), dtype)(torch.ones(3, 32, dtype=dtype)).any()


@pytest.mark.parametrize("counts", [[1], [1, 3, 2], [70, 1, 130]])
def test_with_adapters_the_products_are_the_same_in_one_call(
    counts: list[int], dtype: torch.dtype, tmp_path: Path
) -> None:
    path = make_model("llama", tmp_path, dtype=torch.float16)
    runner = ModelRunner.load(path, dtype, torch.device("cpu"), 8, 64, 4096, 1024)
    ranks = (8, 8, 16)
    slots = [install(runner, make_adapter(path, tmp_path / f"a{i}", i, r=rank)) for i, rank in enumerate(ranks)]
    _, plan = runner.decoder.operations.arrange(slots[: len(counts)], counts)
    linear = runner.decoder.weights.layers[1].qkv
    assert isinstance(linear, PackedLinear)
    x = random(sum(counts) + 2, runner.spec.hidden).to(dtype)
    apart = linear(x)
    plan.apply(x, apart, 1, "qkv")
    together = plan.product(linear, x, 1, "qkv")
    assert torch.equal(together, apart)
    assert not torch.equal(together, linear(x))
    assert torch.equal(together[-2:], linear(x)[-2:])


@pytest.mark.parametrize("shape", [(48, 64), (64, 40)])
def test_other_sizes_are_left_to_torch(shape: tuple[int, int], dtype: torch.dtype) -> None:
    assert packed_linear(torch.zeros(shape), None, dtype, dtype) is None
