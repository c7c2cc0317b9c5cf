"""A document in pieces that can each be read alone."""

import re

from inference.d2l.errors import EmptyDocument
from inference.engine.tokenizer import Tokenizer

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\s*\n\s*")
LONGEST = 48  # tokens


def sentences(text: str, tokenizer: Tokenizer) -> list[list[int]]:
    """The tokens of each sentence or line; one of more than `LONGEST` tokens is cut between words.

    Raises:
        EmptyDocument: there is no text.
        InvalidRequest: the text holds lone surrogates.
    """
    pieces = [piece for part in SENTENCE_END.split(text) if part.strip() for piece in cut(part.strip(), tokenizer)]
    if not pieces:
        raise EmptyDocument
    return pieces


def cut(text: str, tokenizer: Tokenizer) -> list[list[int]]:
    tokens = tokenizer.encode(text)
    if len(tokens) <= LONGEST:
        return [tokens]
    words = text.split()
    if len(words) == 1:
        return [tokens[start : start + LONGEST] for start in range(0, len(tokens), LONGEST)]
    half = len(words) // 2
    return cut(" ".join(words[:half]), tokenizer) + cut(" ".join(words[half:]), tokenizer)
