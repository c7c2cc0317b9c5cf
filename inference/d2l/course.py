"""What a distillation learns from: each sentence of a document as the answer to whatever may be asked about it."""

import math
import random
from dataclasses import dataclass

from inference.d2l.chats import PROMPTS, Chat, chats
from inference.d2l.opening import shared_start
from inference.d2l.self_questions import self_questions
from inference.engine.engine import Engine
from inference.engine.tokenizer import Tokenizer

QUESTIONS_EACH = 3  # that the model asks itself about a sentence; one of them is held out
CUES = 0.6  # of the lessons begin with a cue, the others with what the model asked itself
ROUNDS = 16  # lessons about each sentence
FEWEST_LESSONS = 144
MOST_HELD_OUT = 12
ORDINARY_TOKENS = 12  # of an answer
DRAWN = 8  # cues at most, for one that tells a sentence from all others


@dataclass(frozen=True)
class Course:
    """
    Attributes:
        lessons: in the order in which they are learned, about each sentence as many as about any other.
        held_out: what is learned is tried on these: of some sentences a question each that their lessons do not ask,
            or a cue where the model asked none.
        ordinary: chats that have nothing to do with the document, with the base model's answers.
        opening: the tokens that all chats begin with.
    """

    lessons: list[Chat]
    held_out: list[Chat]
    ordinary: list[Chat]
    opening: list[int]

    @classmethod
    def of(cls, engine: Engine, pieces: list[list[int]], seed: int) -> "Course":
        """
        Args:
            engine: a running one.
            pieces: the document's sentences.
        """
        tokenizer, draw = engine.tokenizer, random.Random(seed)
        statements = [tokenizer.decode(piece).strip() for piece in pieces]
        asked = self_questions(engine, statements, QUESTIONS_EACH, seed, share_examples=True)
        cues = Cues(statements, draw)
        lessons = [
            lesson(tokenizer, statements[index], cues.question(index, asked[index][:-1]))
            for _ in range(max(ROUNDS, math.ceil(FEWEST_LESSONS / len(pieces))))
            for index in draw.sample(range(len(pieces)), len(pieces))
        ]
        held_out = [
            lesson(tokenizer, statement, of_one[-1] if of_one else cues.cue(index))
            for index, (statement, of_one) in enumerate(zip(statements, asked, strict=True))
        ]
        held_out = draw.sample(held_out, min(MOST_HELD_OUT, len(held_out)))
        ordinary = chats(engine, PROMPTS, ORDINARY_TOKENS)
        prompts = [chat.question for chat in (*lessons, *held_out, *ordinary)]
        return cls(lessons, held_out, ordinary, shared_start(prompts)[: min(map(len, prompts)) - 1])


class Cues:
    """About half of a sentence's words, as a question: whatever else is asked will share some of them."""

    def __init__(self, statements: list[str], draw: random.Random) -> None:
        self.words = [statement.strip(".!?").split() for statement in statements]
        self.different = [set(words) for words in self.words]
        self.draw = draw

    def question(self, index: int, asked: list[str]) -> str:
        """A cue of a sentence, or one of the questions that the model asked itself about it."""
        return self.draw.choice(asked) if asked and self.draw.random() >= CUES else self.cue(index)

    def cue(self, index: int) -> str:
        """Of a few that are drawn the first one that no other sentence has all words of."""
        for _ in range(DRAWN):
            kept = [word for word in self.words[index] if self.draw.random() < 0.5] or self.words[index]
            if self.is_of_one(kept):
                break
        return " ".join(kept) + "?"

    def is_of_one(self, kept: list[str]) -> bool:
        return sum(words.issuperset(kept) for words in self.different) == 1


def lesson(tokenizer: Tokenizer, statement: str, question: str) -> Chat:
    answer = [*tokenizer.encode(statement), tokenizer.eos[-1]]
    return Chat(tokenizer.encode_chat([{"role": "user", "content": question}]), answer)
