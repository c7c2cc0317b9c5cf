"""How many questions about documents are answered right: base, in context, and with the document's adapter."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.d2l.answers import Asked, answers, ask
from inference.d2l.data import Document
from inference.engine.engine import Engine

MAX_TOKENS = 32


@dataclass(frozen=True)
class Answer:
    """One question with what was answered; right if the answer holds the value, whatever its case and punctuation."""

    question: str
    value: str
    text: str

    @property
    def is_right(self) -> bool:
        return plain(self.value) in plain(self.text)


def plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def score(found: Sequence[Answer]) -> float:
    """The share that is right, from 0 to 1."""
    return sum(answer.is_right for answer in found) / max(1, len(found))


def on_base(engine: Engine, documents: Sequence[Document]) -> list[Answer]:
    """Without any document: what the model knows or guesses."""
    return answered(
        engine, documents, [ask(engine, question.text) for each in documents for question in each.questions]
    )


def in_context(engine: Engine, documents: Sequence[Document]) -> list[Answer]:
    """With the whole document in the prompt."""
    return answered(
        engine,
        documents,
        [ask(engine, f"{each.text}\n\n{question.text}") for each in documents for question in each.questions],
    )


def with_adapters(engine: Engine, documents: Sequence[Document], make: Callable[[str, Path], object]) -> list[Answer]:
    """With an adapter of each document, which `make` writes into a folder."""
    found: list[Answer] = []
    together = engine.config.max_active_loras
    with tempfile.TemporaryDirectory() as home:
        for start in range(0, len(documents), together):
            batch = documents[start : start + together]
            keys = [f"evaluated-{start + index}" for index in range(len(batch))]
            for key, document in zip(keys, batch, strict=True):
                make(document.text, Path(home, key))
                engine.load_adapter(key, Path(home, key))
            pairs = zip(keys, batch, strict=True)
            asked = [ask(engine, question.text, key) for key, each in pairs for question in each.questions]
            found += answered(engine, batch, asked)
            for key in keys:
                engine.unload_adapter(key)
    return found


def answered(engine: Engine, documents: Sequence[Document], asked: Sequence[Asked]) -> list[Answer]:
    questions = [question for document in documents for question in document.questions]
    texts = [engine.tokenizer.decode(tokens) for tokens in answers(engine, asked, MAX_TOKENS)]
    return [
        Answer(question.text, question.value, text.strip()) for question, text in zip(questions, texts, strict=True)
    ]
