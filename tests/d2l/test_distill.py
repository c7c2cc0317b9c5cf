"""Distillation on the real model, cut short: what it writes can be served, and it ends when nobody wants it."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from inference.d2l import course, distill
from inference.d2l.answers import answers, ask
from inference.d2l.errors import Cancelled, DocumentTooLong
from inference.engine.adapter_layout import WEIGHTS
from inference.engine.engine import Engine

FACT = "The harbour office of Porto opens at 6:45 in the morning."
QUESTION = "At what time does the harbour office of Porto open?"


def said(engine: Engine, question: str, adapter_key: str | None) -> str:
    return engine.tokenizer.decode(answers(engine, [ask(engine, question, adapter_key)], 24)[0])


def changed_layers(weights: Path) -> set[int]:
    return {int(name.split(".layers.")[1].split(".")[0]) for name in load_file(weights)}


def test_what_it_writes_answers_from_the_document_and_leaves_the_rest(
    engine: Engine, smollm_path: Path, tmp_path: Path
) -> None:
    told: list[tuple[float, str]] = []
    made = distill.distill(smollm_path, FACT, tmp_path, lambda *point: told.append(point), lambda: False)
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert "Learning" in told[-1][1]
    assert made.rank == engine.check_adapter(tmp_path).rank == distill.RANK
    assert made.held_out_score >= distill.ENOUGH or made.steps == course.FEWEST_LESSONS / distill.CHATS_A_STEP
    assert changed_layers(tmp_path / WEIGHTS) == set(range(10, 30))
    assert str(smollm_path) not in (tmp_path / "adapter_config.json").read_text()
    engine.load_adapter("distilled", tmp_path)
    try:
        assert "6:45" in said(engine, QUESTION, "distilled")
        assert "Paris" in said(engine, "What is the capital of France?", "distilled")
    finally:
        engine.unload_adapter("distilled")


def test_it_ends_when_it_is_cancelled(smollm_path: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        distill.distill(smollm_path, FACT, tmp_path / "none", lambda *point: None, lambda: True)
    assert not (tmp_path / "none").exists()


def test_a_document_that_is_too_long_is_refused(smollm_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLong, match="at most 2048"):
        distill.distill(smollm_path, FACT * 400, tmp_path, lambda *point: None, lambda: False)
