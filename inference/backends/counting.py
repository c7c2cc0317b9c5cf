"""Tokens counted here, for servers that do not say how many there were."""

from collections.abc import Mapping, Sequence

from inference.engine.errors import EngineError
from inference.runtime import runtime

BYTES_PER_TOKEN = 4  # of English text in the usual vocabularies; only while this node has no tokenizer loaded


def count_text(text: str) -> int:
    """Tokens of an answer by this node's tokenizer, which is close to, but not, the other model's."""
    if runtime.engine is None:
        return by_length(text)
    return len(runtime.engine.tokenizer.encode(text)) if text else 0


def count_chat(messages: Sequence[Mapping[str, str]]) -> int:
    """Tokens of a prompt by this node's chat template and tokenizer."""
    if runtime.engine is not None:
        try:
            return len(runtime.engine.tokenizer.encode_chat(messages))
        except EngineError:  # the other model's template may well take what this one refuses
            pass
    return by_length_of(messages)


def by_length_of(messages: Sequence[Mapping[str, str]]) -> int:
    """About as many, in no time."""
    return sum(by_length(message["content"]) for message in messages)


def by_length(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
