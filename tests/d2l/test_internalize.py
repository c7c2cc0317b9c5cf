"""The real hypernetwork on the real model: what an adapter answers, that PEFT agrees, and what is refused."""

import random
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from inference.d2l.answers import answers, ask
from inference.d2l.data import needle_document
from inference.d2l.errors import DocumentTooLong, EmptyDocument
from inference.d2l.evaluate import on_base, score, with_adapters
from inference.d2l.internalize import LONGEST_DOCUMENT, Internalizer
from inference.engine.engine import Engine
from inference.engine.errors import InvalidRequest

TOWER = "The special magic number for Porto tower is 48213."
GARDEN = "The special magic number for Porto garden is 90577."
QUESTION = "What is the special magic number for Porto {}?"


def test_needles_are_found(engine: Engine, internalizer: Internalizer) -> None:
    draw = random.Random("tests")
    documents = [needle_document(draw, True, words) for words in (20, 60, 120, 160, 700, 900)]
    assert score(with_adapters(engine, documents, internalizer.internalize)) >= 5 / 6
    assert score(on_base(engine, documents)) == 0


def test_adapters_in_one_batch_do_not_share_their_facts(
    engine: Engine, internalizer: Internalizer, tmp_path: Path
) -> None:
    for key, text in (("one", TOWER), ("other", GARDEN)):
        internalizer.internalize(text, tmp_path / key)
        engine.load_adapter(key, tmp_path / key)
    asked = [
        ask(engine, QUESTION.format(thing), key)
        for key in ("one", "other", None)
        for thing in ("tower", "garden")
        for _ in range(2)
    ]
    texts = [engine.tokenizer.decode(tokens) for tokens in answers(engine, asked, 24)]
    for key in ("one", "other"):
        engine.unload_adapter(key)
    of_one, of_other, of_base = texts[:4], texts[4:8], texts[8:]
    assert all("48213" in text for text in of_one[:2])
    assert all("90577" in text for text in of_other[2:])
    assert not any("90577" in text for text in of_one + of_base)
    assert not any("48213" in text for text in of_other + of_base)


def test_peft_answers_the_same(engine: Engine, internalizer: Internalizer, smollm_path: Path, tmp_path: Path) -> None:
    made = internalizer.internalize(TOWER, tmp_path)
    base = AutoModelForCausalLM.from_pretrained(smollm_path, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, tmp_path)
    prompt = ask(engine, QUESTION.format("tower")).prompt
    with torch.inference_mode():
        said = model.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False, pad_token_id=2)
    engine.load_adapter("peft", tmp_path)
    ours = answers(engine, [ask(engine, QUESTION.format("tower"), "peft")], 16)[0]
    engine.unload_adapter("peft")
    assert said[0, len(prompt) :].tolist()[: len(ours)] == ours
    assert made.rank == model.peft_config["default"].r


def test_the_same_document_makes_the_same_adapter(internalizer: Internalizer, tmp_path: Path) -> None:
    for name in ("first", "second"):
        internalizer.internalize(TOWER, tmp_path / name)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


def test_what_is_no_document_is_refused(internalizer: Internalizer, tmp_path: Path) -> None:
    with pytest.raises(EmptyDocument):
        internalizer.internalize("  \n", tmp_path)
    for text in ("word. " * LONGEST_DOCUMENT, "x" * 10_000_000):
        with pytest.raises(DocumentTooLong, match=f"at most {LONGEST_DOCUMENT}"):
            internalizer.internalize(text, tmp_path)
    with pytest.raises(InvalidRequest):
        internalizer.internalize("a lone \ud800 surrogate", tmp_path)
    assert not list(tmp_path.iterdir())
