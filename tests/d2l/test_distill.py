"""Distillation on the real model, cut short: what it writes can be served, and it ends when nobody wants it."""

from pathlib import Path

import pytest

from inference.d2l import distill
from inference.d2l.answers import answers, ask
from inference.d2l.errors import Cancelled, DocumentTooLong
from inference.d2l.learners import RANK, PlainLora, WrittenOpening
from inference.engine.engine import Engine
from inference.hypernetworks import SHIPPED

FACT = "The harbour office of Porto opens at 6:45 in the morning."


def test_it_begins_with_the_hypernetwork_and_goes_on(
    engine: Engine, smollm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WrittenOpening, "epochs", 3)
    told: list[tuple[float, str]] = []
    files = [SHIPPED / "smollm2-135m-instruct.safetensors"]
    made = distill.distill(smollm_path, FACT, tmp_path, lambda *point: told.append(point), lambda: False, files)
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert "Learning" in told[-1][1]
    assert 0 <= made.held_out_score <= 1
    assert str(smollm_path) not in (tmp_path / "adapter_config.json").read_text()
    engine.load_adapter("distilled", tmp_path)
    said = answers(engine, [ask(engine, "When does the harbour office of Porto open?", "distilled")], 24)[0]
    engine.unload_adapter("distilled")
    assert "6:45" in engine.tokenizer.decode(said)


def test_a_model_without_hypernetwork_gets_a_plain_lora(
    engine: Engine, smollm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainLora, "least_steps", 8)
    made = distill.distill(smollm_path, FACT, tmp_path, lambda *point: None, lambda: False)
    assert made.rank == RANK
    assert engine.check_adapter(tmp_path).rank == RANK


def test_a_page_of_more_than_the_opening_holds_gets_a_plain_lora(
    engine: Engine, smollm_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainLora, "least_steps", 2)
    monkeypatch.setattr(PlainLora, "epochs", 1)
    page = " ".join(f"Berth {number} of the harbour is kept for ferries." for number in range(1, 6))
    files = [SHIPPED / "smollm2-135m-instruct.safetensors"]
    made = distill.distill(smollm_path, page, tmp_path, lambda *point: None, lambda: False, files)
    assert made.rank == RANK
    assert "down_proj" in (tmp_path / "adapter_config.json").read_text()
    assert engine.check_adapter(tmp_path).rank == RANK


def test_it_ends_when_it_is_cancelled(smollm_path: Path, tmp_path: Path) -> None:
    with pytest.raises(Cancelled):
        distill.distill(smollm_path, FACT, tmp_path / "none", lambda *point: None, lambda: True)
    assert not (tmp_path / "none").exists()


def test_a_document_that_is_too_long_is_refused(smollm_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DocumentTooLong, match="at most 2048"):
        distill.distill(smollm_path, FACT * 400, tmp_path, lambda *point: None, lambda: False)
