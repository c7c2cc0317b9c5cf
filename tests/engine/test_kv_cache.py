from pathlib import Path

import torch

from tests.engine.tiny_models import Running, load_runner, make_model, reference, reference_logits


def test_a_growing_sequence_moves_and_keeps_its_tokens(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    runner = load_runner(path)
    sequence = Running(runner, [index % 300 for index in range(600)])
    other = Running(runner, [7, 8, 9])
    runner.step([other.feed(2)])
    while sequence.fed < 600:
        logits = runner.step([sequence.feed(70)])
    assert sequence.kv.slab.capacity == 1024
    torch.testing.assert_close(logits[0], reference_logits(reference(path), sequence.tokens), atol=1e-4, rtol=0)
    logits = runner.step([other.feed()])
    torch.testing.assert_close(logits[0], reference_logits(reference(path), other.tokens), atol=1e-4, rtol=0)


def test_the_budget_is_never_exceeded_and_freed_rows_come_back(tmp_path: Path) -> None:
    runner = load_runner(make_model("llama", tmp_path), kv_tokens=8192)
    cache = runner.kv
    rows = []
    while (row := cache.allocate(128)) is not None:
        rows.append(row)
    assert len(rows) == 64
    assert cache.used_tokens == cache.allocated_tokens == cache.capacity_tokens == 8192
    assert not cache.extend(rows[0], 129)
    for row in rows:
        cache.free(row)
    assert cache.slabs == []
    assert cache.allocate(1024) is not None


def test_freeing_keeps_the_running_rows_side_by_side(tmp_path: Path) -> None:
    path = make_model("llama", tmp_path)
    runner = load_runner(path)
    sequences = [Running(runner, [index + 1, index + 2, index + 3]) for index in range(6)]
    runner.step([sequence.feed(2) for sequence in sequences])
    for gone in (0, 3):
        sequences[gone].end()
    left = [sequences[index] for index in (1, 2, 4, 5)]
    assert sorted(sequence.kv.index for sequence in left) == [0, 1, 2, 3]
    logits = runner.step([sequence.feed() for sequence in left])
    model = reference(path)
    for row, sequence in zip(logits, left, strict=True):
        torch.testing.assert_close(row, reference_logits(model, sequence.tokens), atol=1e-4, rtol=0)


def test_nothing_of_a_freed_sequence_stays_behind(tmp_path: Path) -> None:
    runner = load_runner(make_model("llama", tmp_path))
    keeper, leaver = Running(runner, [1, 2]), Running(runner, [3, 4, 5])
    runner.step([keeper.feed(), leaver.feed()])
    leaver.kv.slab.kv[:, leaver.kv.index, :, :3] = float("nan")
    slab = leaver.kv.slab
    leaver.end()
    assert torch.isfinite(slab.kv).all()
    assert slab.kv[:, 1:].abs().sum() == 0


def test_a_copied_prefix_continues_as_if_it_had_been_fed(tmp_path: Path) -> None:
    path = make_model("gemma3", tmp_path)
    runner = load_runner(path)
    first = Running(runner, [index % 300 for index in range(50)])
    runner.step([first.feed()])
    prefix = runner.kv.copy_out(first.kv, 0, 32)
    second = Running(runner, [*first.tokens[:32], 11, 12, 13])
    runner.kv.extend(second.kv, 35)
    runner.kv.copy_in(second.kv, 0, prefix)
    second.fed = 32
    logits = runner.step([second.feed()])
    torch.testing.assert_close(logits[0], reference_logits(reference(path), second.tokens), atol=1e-4, rtol=0)
