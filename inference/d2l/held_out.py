"""The score of a hypernetwork on documents whose wording and facts its training never saw."""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass

from inference.d2l.data import Document, fact_document, needle_document
from inference.d2l.errors import Cancelled
from inference.d2l.evaluate import Answer, in_context, on_base, score, with_adapters
from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.internalize import Internalizer
from inference.engine.engine import Engine

DOCUMENTS = 24
NEEDLE_WORDS = (20, 160)
FACTS = (2, 4)


@dataclass(frozen=True)
class TrainingScore:
    """Shares of right answers, from 0 to 1: needle documents, and pages of facts on base, in context, with adapter."""

    needle: float
    facts: float
    facts_in_context: float
    facts_on_base: float
    documents: int

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def held_out_needles(seed: int, count: int, words: tuple[int, int]) -> list[Document]:
    draw = random.Random(f"held-out needles {seed}")
    return [needle_document(draw, True, draw.randint(*words)) for _ in range(count)]


def held_out_facts(seed: int, count: int) -> list[Document]:
    draw = random.Random(f"held-out facts {seed}")
    return [fact_document(draw, True, draw.randint(*FACTS)) for _ in range(count)]


def measure(engine: Engine, network: Hypernetwork, seed: int, cancelled: Callable[[], bool]) -> TrainingScore:
    """Raises Cancelled."""
    internalizer = Internalizer(network, engine.runner.decoder, engine.tokenizer, network.base_name)
    needles, facts = held_out_needles(seed, DOCUMENTS, NEEDLE_WORDS), held_out_facts(seed, DOCUMENTS)

    def share(found: Callable[[], list[Answer]]) -> float:
        if cancelled():
            raise Cancelled
        return round(score(found()), 3)

    return TrainingScore(
        needle=share(lambda: with_adapters(engine, needles, internalizer.internalize)),
        facts=share(lambda: with_adapters(engine, facts, internalizer.internalize)),
        facts_in_context=share(lambda: in_context(engine, facts)),
        facts_on_base=share(lambda: on_base(engine, facts)),
        documents=DOCUMENTS,
    )
