"""The opening of every chat: the tokens before the first words of the user, where an adapter has room to write."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

from inference.d2l.errors import BaseUnsupported
from inference.engine.errors import InvalidMessages
from inference.engine.tokenizer import Tokenizer

FEWEST_SLOTS = 8


@dataclass(frozen=True)
class Opening:
    """What the chat template writes before the user's text.

    Attributes:
        tokens: all of it, the default system message included.
        slots: the positions of the system turn, which an adapter may overwrite. The tokens after it begin the user's
            turn: without them the model would go on with the document instead of answering.
    """

    tokens: list[int]
    slots: range

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Opening":
        """Raises BaseUnsupported where there is no chat template or no default system message to overwrite."""
        try:
            first, second = (tokenizer.encode_chat([{"role": "user", "content": text}]) for text in ("a", "zebra"))
        except InvalidMessages as error:
            raise BaseUnsupported(f"The base model {error}") from error
        tokens = shared_start([first, second])
        marks = [place for place, token in enumerate(tokens) if token in tokenizer.special and place > 0]
        slots = range(1, marks[0] if marks else 1)
        if len(slots) < FEWEST_SLOTS:
            raise BaseUnsupported("The base model's chat template has no default system message to write over.")
        return cls(tokens, slots)


def shared_start(texts: Sequence[Sequence[int]]) -> list[int]:
    """The tokens that all texts begin with."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False))
    return [column[0] for column in same]
