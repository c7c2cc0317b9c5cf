"""Documents to learn from: what is kept of each, and questions about it with the answers to be learned."""

import random
from dataclasses import dataclass

from inference.d2l.answers import answers, ask
from inference.d2l.chats import Chat
from inference.d2l.data import Document, Question, fact_document, needle_document
from inference.d2l.evaluate import plain
from inference.d2l.reader import Reader
from inference.d2l.reading import Reading, read
from inference.d2l.salience import Salience
from inference.d2l.sentences import sentences
from inference.engine.engine import Engine

FACTS_SHARE = 0.7  # of the documents; the others are needles
FACTS, NEEDLE_WORDS = (1, 4), (12, 90)
MOST_QUESTIONS = 3  # about a document
ANSWER_TOKENS = 28


@dataclass(frozen=True)
class Page:
    reading: Reading
    chats: list[Chat]


def drawn_pages(engine: Engine, reader: Reader, salience: Salience, draw: random.Random, count: int) -> list[Page]:
    """Documents of which something was kept that can be asked for.

    The answer to be learned is what the model says with the statement in its prompt if that is right, else the
    statement.
    """
    tokenizer = engine.tokenizer
    found: list[tuple[Reading, list[tuple[Question, list[int]]]]] = []
    while len(found) < count:
        document = drawn_document(draw)
        pieces = sentences(document.text, tokenizer)
        reading = read(reader, salience, pieces)
        kept = plain(tokenizer.decode(reading.tokens))
        asked = [
            (question, next(piece for piece in pieces if plain(question.value) in plain(tokenizer.decode(piece))))
            for question in document.questions
            if plain(question.value) in kept
        ]
        if asked:
            found.append((reading, draw.sample(asked, min(MOST_QUESTIONS, len(asked)))))
    taught = [
        ask(engine, f"{tokenizer.decode(statement).strip()}\n\n{question.text}")
        for _, asked in found
        for question, statement in asked
    ]
    said = iter(answers(engine, taught, ANSWER_TOKENS))
    return [
        Page(reading, [chat(engine, question, statement, next(said)) for question, statement in asked])
        for reading, asked in found
    ]


def drawn_document(draw: random.Random) -> Document:
    if draw.random() < FACTS_SHARE:
        return fact_document(draw, False, draw.randint(*FACTS))
    return needle_document(draw, False, draw.randint(*NEEDLE_WORDS))


def chat(engine: Engine, question: Question, statement: list[int], said: list[int]) -> Chat:
    is_right = plain(question.value) in plain(engine.tokenizer.decode(said))
    answer = said if is_right else statement
    end = [] if is_right and len(said) == ANSWER_TOKENS else [engine.tokenizer.eos[-1]]
    return Chat(ask(engine, question.text).prompt, answer + end)
