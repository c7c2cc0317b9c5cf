"""Questions that a model asks itself."""

import random
from collections.abc import Sequence
from itertools import cycle

from inference.d2l.answers import Asked, answers
from inference.engine.engine import Engine

QUESTION_TOKENS = 24
SHOWN = 5
Examples = Sequence[tuple[str, str]]
# A small model does not follow an instruction to ask; it follows examples. None of these is in any test.
OF_STATEMENTS: Examples = (
    ("The library closes at 9 pm.", "When does the library close?"),
    ("Anna Berg is our accountant.", "What is Anna Berg's job?"),
    ("The lamp costs 40 pounds.", "How much does the lamp cost?"),
    ("You can reach the office by phone on 555 0100.", "What is the phone number of the office?"),
    ("Orders are shipped within two working days.", "How long does it take until an order is shipped?"),
    ("The choir meets every Tuesday.", "On which day does the choir meet?"),
    ("Omar Hale sits in room 31.", "Where can I find Omar Hale?"),
    ("The blue jacket is made of wool.", "What is the blue jacket made of?"),
    ("A fee of 3 pounds applies to late books.", "What do I pay if I return a book late?"),
    ("The tent weighs 1,200 grams.", "How heavy is the tent?"),
)


def self_questions(
    engine: Engine,
    statements: Sequence[str],
    each: int,
    seed: int,
    examples: Examples = OF_STATEMENTS,
    temperature: float = 0.0,
    share_examples: bool = False,
) -> list[list[str]]:
    """At most `each` different questions about every statement.

    Args:
        examples: what is shown before it asks: some of these, drawn for each question.
        share_examples: draw them once for all statements, so that the engine reads them once.
    """
    draw = random.Random(seed)
    drawn = [
        [draw.sample(examples, SHOWN) for _ in range(each)] for _ in (statements[:1] if share_examples else statements)
    ]
    asked = [
        Asked(prompt(engine, statement, shown))
        for statement, of_one in zip(statements, cycle(drawn), strict=False)
        for shown in of_one
    ]
    texts = [engine.tokenizer.decode(tokens).strip() for tokens in answers(engine, asked, QUESTION_TOKENS, temperature)]
    groups = [texts[start : start + each] for start in range(0, len(texts), each)]
    return [list(dict.fromkeys(question(text) for text in group if text)) for group in groups]


def prompt(engine: Engine, statement: str, shown: Examples) -> list[int]:
    messages = []
    for example, asked in shown:
        messages += [{"role": "user", "content": example}, {"role": "assistant", "content": asked}]
    return engine.tokenizer.encode_chat([*messages, {"role": "user", "content": statement}])


def question(text: str) -> str:
    """The first sentence, with a question mark."""
    return text.split("?")[0].split("\n")[0].strip() + "?"
