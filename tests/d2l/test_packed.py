"""Chats behind one opening are answered as if each were alone, with and without what is written over it."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch.nn.functional import kl_div
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, PreTrainedModel

from inference.d2l.answers import ask
from inference.d2l.chats import Chat
from inference.d2l.internalize import Internalizer
from inference.d2l.packed import Packed
from inference.d2l.reading import read
from inference.d2l.sentences import sentences
from inference.d2l.student import Student
from inference.engine.engine import Engine

TOWER = "The special magic number for Porto tower is 48213."
EXCHANGES = (
    ("What is the special magic number for Porto tower?", "It is 48213."),
    ("Hello, who are you?", "I am a model that likes to help."),
    ("What do bees make?", "Honey."),
)


@pytest.fixture(scope="module")
def model(smollm_path: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(smollm_path, dtype=torch.float32, attn_implementation="eager")


@pytest.fixture
def chats(engine: Engine) -> list[Chat]:
    return [Chat(ask(engine, question).prompt, engine.tokenizer.encode(answer)) for question, answer in EXCHANGES]


def alone(model: PreTrainedModel, chat: Chat) -> torch.Tensor:
    logits = model(torch.tensor([chat.question + chat.answer])).logits[0]
    return logits[len(chat.question) - 1 : -1]


@torch.no_grad()
def test_no_chat_sees_another(model: PreTrainedModel, internalizer: Internalizer, chats: list[Chat]) -> None:
    packed = Packed.of(internalizer.reader.opening.tokens, [chats[:2], chats[2:]])
    assert_close(packed.answer_logits(model), torch.cat([alone(model, chat) for chat in chats]), atol=1e-3, rtol=0)


@pytest.fixture
def served(internalizer: Internalizer, smollm_path: Path, tmp_path: Path) -> PeftModel:
    """The model with the adapter of a document."""
    internalizer.internalize(TOWER, tmp_path)
    return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(smollm_path, dtype=torch.float32), tmp_path)


@torch.no_grad()
def test_what_is_learned_on_is_what_is_served(
    model: PreTrainedModel, served: PeftModel, internalizer: Internalizer, engine: Engine, chats: list[Chat]
) -> None:
    network, reader = internalizer.hypernetwork, internalizer.reader
    reading = read(reader, network.salience, sentences(TOWER, engine.tokenizer))
    kept = len(reading.tokens)
    wanted = network.wanted(reading)
    student = Student(model, network.flags.first(kept), reader.opening.slots[:kept])
    with student.writing(lambda layer: wanted[layer].unsqueeze(0), torch.ones(1, kept, dtype=torch.bool)):
        learned_on = Packed.of(reader.opening.tokens, [chats]).answer_logits(model)

    of_adapter = torch.cat([alone(served, chat) for chat in chats])
    assert torch.equal(learned_on.argmax(dim=1), of_adapter.argmax(dim=1))
    assert float((learned_on - of_adapter).abs().mean()) < 0.1


@torch.no_grad()
def test_a_system_message_of_its_own_hides_the_document(
    model: PreTrainedModel, served: PeftModel, engine: Engine
) -> None:
    for question, answer in EXCHANGES:
        system = {"role": "system", "content": "Answer in one sentence."}
        prompt = engine.tokenizer.encode_chat([system, {"role": "user", "content": question}])
        chat = Chat(prompt, engine.tokenizer.encode(answer))
        said, without = (alone(each, chat).log_softmax(dim=1) for each in (served, model))
        assert float(kl_div(said, without, log_target=True, reduction="batchmean")) < 0.2
