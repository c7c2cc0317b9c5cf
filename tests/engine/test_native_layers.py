"""All layers in one call give what they give one by one."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inference.engine.linear import Linear
from inference.engine.projections import Group
from inference.engine.step import Plan, StepRow
from tests.engine.tiny_models import install, load_runner, make_adapter, make_model


@dataclass(frozen=True)
class OneByOne(Plan):
    """A plan that only Python knows, and that does what another does."""

    plan: Plan

    def product(self, linear: Linear, x: Tensor, layer: int, group: Group) -> Tensor:
        return self.plan.product(linear, x, layer, group)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("ranks", [[], [8, 8, 16]])
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "mistral", "gemma3"])
def test_all_layers_at_once_are_the_layers_one_by_one(
    name: str, ranks: list[int], dtype: torch.dtype, tmp_path: Path
) -> None:
    path = make_model(name, tmp_path, dtype=torch.float16)
    runner = load_runner(path, dtype=dtype)
    decoder = runner.decoder
    if decoder.at_once is None:
        pytest.skip("there are no compiled products for the dtype on this machine")
    slots = [install(runner, make_adapter(path, tmp_path / f"a{i}", i, r=rank)) for i, rank in enumerate(ranks)]
    rows = [
        StepRow(kv, list(range(100, 100 + length)), 0, slot, sample=True)
        for length, slot in zip((1, 17, 40, 5), [*slots, *[None] * 4], strict=False)
        if (kv := runner.kv.allocate(64))
    ]
    with torch.inference_mode():
        step = runner.builder.build(rows)
        one_by_one = replace(step, plan=OneByOne(step.plan))
        assert decoder.at_once.can_run(step)
        assert not decoder.at_once.can_run(one_by_one)
        for layers in (1, runner.spec.layers):
            torch.testing.assert_close(decoder.hidden(step, layers), decoder.hidden(one_by_one, layers))
