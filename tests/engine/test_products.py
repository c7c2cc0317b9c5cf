"""Products by tile registers are those of torch's bfloat16 layers, whatever a weight is kept in."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from inference.engine.model_runner import ModelRunner
from inference.engine.native.products import TileLinear, products, tile_linear
from tests.engine.tiny_models import install, make_adapter, make_model

pytestmark = pytest.mark.skipif(products() is None, reason="no compiler, or a processor without tile registers (AMX)")

Make = Callable[[int, int], Tensor]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def q4_1(outputs: int, inputs: int) -> Tensor:
    """A weight as llama.cpp quantises it to Q4_1, in float16: 32 inputs share a step and a least number."""
    blocks = random(outputs, inputs // 32, 32) * 0.1
    least, most = blocks.aminmax(dim=2, keepdim=True)
    step = ((most - least) / 15).half().float()
    return (((blocks - least) / step).round().clamp(0, 15) * step + least.half()).half().view(outputs, inputs)


def q8_0(outputs: int, inputs: int) -> Tensor:
    blocks = random(outputs, inputs // 32, 32) * 0.1
    step = blocks.abs().amax(dim=2, keepdim=True) / 127
    return ((blocks / step).round() * step.half()).half().view(outputs, inputs)


def dense(outputs: int, inputs: int) -> Tensor:
    return (random(outputs, inputs) * 0.1).bfloat16()


@pytest.mark.parametrize(("make", "bits"), [(q4_1, 4), (q8_0, 8), (dense, 16)])
@pytest.mark.parametrize(("outputs", "inputs"), [(960, 576), (32, 1536), (64, 32)])
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_torchs(make: Make, bits: int, outputs: int, inputs: int, biased: bool) -> None:
    weight = make(outputs, inputs)
    bias = random(outputs, seed=1).bfloat16() if biased else None
    linear = tile_linear(weight, bias)
    assert isinstance(linear, TileLinear)
    assert linear.bits == bits
    for tokens in (1, 2, 16, 17, 32, 33, 130):
        x = random(tokens, inputs, seed=tokens).bfloat16()
        exact = F.linear(x.float(), weight.bfloat16().float(), None if bias is None else bias.float())
        difference = (linear(x).float() - exact).norm() / exact.norm()
        assert difference < 2**-8


def test_no_number_of_a_quantised_weight_changes() -> None:
    weight = q4_1(64, 64)
    weight[40, 32:] = 0.25
    linear = tile_linear(weight, None)
    assert isinstance(linear, TileLinear)
    assert linear.bits == 4
    ones = torch.eye(64, dtype=torch.bfloat16)
    torch.testing.assert_close(linear(ones).float().T, weight.float(), atol=0, rtol=2**-8)


@pytest.mark.parametrize("number", [0.123, float("nan"), float("inf"), 1e6])
def test_one_number_between_the_steps_keeps_a_weight_wide(number: float) -> None:
    weight = q4_1(64, 64).float()
    weight[63, 63] = number
    linear = tile_linear(weight, None)
    assert isinstance(linear, TileLinear)
    assert linear.bits == 16
    assert torch.equal(linear(torch.eye(64, dtype=torch.bfloat16))[:, :60].T, weight[:60].bfloat16())


def test_logits_are_as_exact_as_the_sums() -> None:
    weight, x = dense(96, 576), random(33, 576, seed=7).bfloat16()
    logits = tile_linear(weight, None, torch.float32)
    assert logits is not None
    torch.testing.assert_close(logits(x), F.linear(x.float(), weight.float()), atol=1e-4, rtol=1e-4)


def test_a_weight_of_zeros() -> None:
    linear = tile_linear(torch.zeros(32, 32), None)
    assert linear is not None
    assert not linear(torch.ones(3, 32, dtype=torch.bfloat16)).any()


@pytest.mark.parametrize("counts", [[1], [1, 3, 2], [70, 1, 130]])
def test_with_adapters_the_products_are_the_same_in_one_call(counts: list[int], tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    runner = ModelRunner.load(path, torch.bfloat16, torch.device("cpu"), 8, 64, 4096, 1024)
    ranks = (8, 8, 16)
    slots = [install(runner, make_adapter(path, tmp_path / f"a{i}", i, r=rank)) for i, rank in enumerate(ranks)]
    _, plan = runner.decoder.operations.arrange(slots[: len(counts)], counts)
    linear = runner.decoder.weights.layers[1].qkv
    assert isinstance(linear, TileLinear)
    x = random(sum(counts) + 2, runner.spec.hidden).bfloat16()
    apart = linear(x)
    plan.apply(x, apart, 1, "qkv")
    together = plan.product(linear, x, 1, "qkv")
    assert torch.equal(together, apart)
    assert not torch.equal(together, linear(x))
    assert torch.equal(together[-2:], linear(x)[-2:])


@pytest.mark.parametrize("shape", [(48, 64), (64, 40)])
def test_other_sizes_are_left_to_torch(shape: tuple[int, int]) -> None:
    assert tile_linear(torch.zeros(shape), None) is None
