"""Every row of a mixed batch equals PEFT on its own adapter."""

from pathlib import Path

import pytest
import torch

from tests.engine.tiny_models import (
    CONFIGS,
    Running,
    install,
    load_runner,
    make_adapter,
    make_model,
    reference,
    reference_logits,
)

TOLERANCE = 1e-4
VARIANTS = [
    {},
    {"r": 8, "lora_alpha": 32, "target_modules": "all-linear", "use_rslora": True},
    {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    {"r": 16, "target_modules": ["down_proj"]},
    {"r": 2, "target_modules": ["k_proj", "up_proj"]},
    {"r": 12, "target_modules": ["o_proj", "gate_proj", "down_proj"], "layers_to_transform": [0, 2]},
    {
        "r": 8,
        "target_modules": ["q_proj", "o_proj", "up_proj"],
        "rank_pattern": {"q_proj": 3, r".*layers\.1\.mlp\.up_proj": 5},
        "alpha_pattern": {"o_proj": 40},
    },
    {"r": 8, "target_modules": r".*layers\.[12]\.self_attn\.(q|v)_proj"},
]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_mixed_batch_equals_peft_row_by_row(name: str, compiled: bool, tmp_path: Path) -> None:
    path = make_model(name, tmp_path)
    adapters = [make_adapter(path, tmp_path / f"a{i}", i, **options) for i, options in enumerate(VARIANTS)]
    runner = load_runner(path, compiled=compiled)
    slots = [install(runner, adapter) for adapter in adapters]
    models = [reference(path, adapter) for adapter in adapters] + [reference(path)] * 2
    generator = torch.Generator().manual_seed(2)
    lengths = (30, 9, 4, 17, 60, 5, 3, 11, 8, 25)
    sequences = [
        Running(runner, torch.randint(0, 300, (length,), generator=generator).tolist(), slot)
        for length, slot in zip(lengths, [*slots, None, None], strict=True)
    ]
    late = sequences[4]
    now = [sequence for sequence in sequences if sequence is not late]
    runner.step([sequence.feed() for sequence in now])
    for _ in range(3):
        for sequence in now:
            sequence.tokens.append(int(torch.randint(0, 300, (1,), generator=generator)))
        logits = runner.step([sequence.feed() for sequence in now] + [late.feed(20)])
        if late.fed == len(late.tokens):
            torch.testing.assert_close(logits[-1], reference_logits(models[4], late.tokens), atol=TOLERANCE, rtol=0)
        for row, sequence in zip(logits, now, strict=False):
            expected = reference_logits(models[sequences.index(sequence)], sequence.tokens)
            torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "uses",
    [
        [0, 1, 2],
        [0, 0, 1, 1, 2, 2],
        [0, 1, 0, 2, 0, 1],
        [2, 0, 1, *[2] * 9],
        [1, *[0] * 4, *[2] * 20],
    ],
)
def test_several_rows_share_an_adapter(uses: list[int], compiled: bool, tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    adapters = [make_adapter(path, tmp_path / f"a{i}", i) for i in range(3)]
    runner = load_runner(path, compiled=compiled)
    slots = [install(runner, adapter) for adapter in adapters]
    models = [reference(path, adapter) for adapter in adapters]
    sequences = [Running(runner, [3, index, 7], slots[use]) for index, use in enumerate(uses)]
    runner.step([sequence.feed(2) for sequence in sequences])
    logits = runner.step([sequence.feed() for sequence in sequences])
    for row, use, sequence in zip(logits, uses, sequences, strict=True):
        expected = reference_logits(models[use], sequence.tokens)
        torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("rank", [8, 24])
def test_a_long_prompt_on_an_adapter_beside_others(rank: int, compiled: bool, tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    adapters = [make_adapter(path, tmp_path / f"a{i}", i, r=rank, target_modules="all-linear") for i in range(2)]
    runner = load_runner(path, compiled=compiled)
    slots = [install(runner, adapter) for adapter in adapters]
    generator = torch.Generator().manual_seed(4)
    uses, lengths = (0, 1, 0, None), (150, 64, 65, 3)
    sequences = [
        Running(
            runner, torch.randint(0, 300, (length,), generator=generator).tolist(), None if use is None else slots[use]
        )
        for use, length in zip(uses, lengths, strict=True)
    ]
    logits = runner.step([sequence.feed() for sequence in sequences])
    for row, use, sequence in zip(logits, uses, sequences, strict=True):
        model = reference(path, None if use is None else adapters[use])
        torch.testing.assert_close(row, reference_logits(model, sequence.tokens), atol=TOLERANCE, rtol=0)


def test_slots_used_together_are_drawn_together_one_copy_a_step(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    adapters = [make_adapter(path, tmp_path / f"a{i}", i) for i in range(12)]
    runner = load_runner(path, max_slots=12, compiled=False)
    slots = [install(runner, adapter) for adapter in adapters]
    runner.lora.remove(slots[4])
    using = [0, 3, 7, 11]
    models = {index: reference(path, adapters[index]) for index in using}
    sequences = {index: Running(runner, [5, 9], slots[index]) for index in using}
    runner.step([sequence.feed(1) for sequence in sequences.values()])
    for step in range(4):
        before = [slot.position for slot in slots]
        logits = runner.step([sequence.feed() for sequence in sequences.values()])
        assert sum(slot.position != old for slot, old in zip(slots, before, strict=True)) <= 2
        for row, (index, sequence) in zip(logits, sequences.items(), strict=True):
            expected = reference_logits(models[index], sequence.tokens)
            torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)
            sequence.tokens.append(step)
    positions = sorted(slots[index].position for index in using)
    assert positions == list(range(positions[0], positions[0] + 4))
    held = [slot for index, slot in enumerate(slots) if index != 4]
    assert sorted(slot.position for slot in held) == sorted({slot.position for slot in held})
    for index in (1, 10):
        sequence = Running(runner, [5, 9], slots[index])
        expected = reference_logits(reference(path, adapters[index]), sequence.tokens)
        torch.testing.assert_close(runner.step([sequence.feed()])[0], expected, atol=TOLERANCE, rtol=0)


def test_removing_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    path = make_model("qwen3", tmp_path)
    adapters = [make_adapter(path, tmp_path / f"a{i}", i) for i in range(8)]
    runner = load_runner(path)
    slots = [install(runner, adapter) for adapter in adapters]
    for gone in (0, 2, 3, 5):
        runner.lora.remove(slots[gone])
    left = [1, 4, 6, 7]
    for using in (left, [7, 1], [6], [4, 6, 7]):
        sequences = [Running(runner, [5, 9, 11], slots[index]) for index in using]
        runner.step([sequence.feed(2) for sequence in sequences])
        logits = runner.step([sequence.feed() for sequence in sequences])
        for row, index in zip(logits, using, strict=True):
            expected = reference_logits(reference(path, adapters[index]), [5, 9, 11])
            torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)
        for sequence in sequences:
            sequence.end()
    for index in left:
        runner.lora.remove(slots[index])
    assert runner.lora.stacks == {}


def test_on_the_real_model_a_mixed_batch_equals_peft(smollm_path: Path, tmp_path: Path) -> None:
    options = [{"target_modules": "all-linear"}, {"r": 16, "target_modules": ["q_proj", "down_proj"]}]
    adapters = [make_adapter(smollm_path, tmp_path / f"a{i}", i, **extra) for i, extra in enumerate(options)]
    runner = load_runner(smollm_path)
    slots = [*(install(runner, adapter) for adapter in adapters), None]
    sequences = [Running(runner, list(range(50, 50 + 12 * (i + 1))), slot) for i, slot in enumerate(slots)]
    runner.step([sequence.feed(8) for sequence in sequences])
    logits = runner.step([sequence.feed() for sequence in sequences])
    for row, adapter, sequence in zip(logits, [*adapters, None], sequences, strict=True):
        expected = reference_logits(reference(smollm_path, adapter), sequence.tokens)
        torch.testing.assert_close(row, expected, atol=TOLERANCE, rtol=0)
