"""Tokens of one answer to text, piece by piece."""

from collections.abc import Sequence

from inference.engine.tokenizer import Tokenizer

REPLACEMENT = "\ufffd"
LONGEST_CHARACTER = 4  # bytes of UTF-8, so at most as many tokens
WINDOW = 16


class Detokenizer:
    """Decodes incrementally: never half a character, never text that may be the start of a stop string.

    Text is decoded in a window of a few tokens: how a token decodes may depend on the one before it (some
    tokenizers drop the first space of a text), and characters may be spread over tokens.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], min_tokens: int) -> None:
        self.tokenizer = tokenizer
        self.stop = stop
        self.min_tokens = min_tokens
        self.seen = 0
        self.window: list[int] = []
        self.context = 0  # tokens of the window that are only there for those after them
        self.given = ""  # text of the window that was passed on
        self.held = ""  # text that may be the start of a stop string
        self.stopped = False

    def add(self, token: int) -> str:
        """Take one token; returns the text that is certain now. Sets `stopped` once a stop string is complete."""
        self.seen += 1
        if token in self.tokenizer.special:  # has no text
            return self.release("")
        self.window.append(token)
        text = self.tokenizer.decode(self.window)
        certain = text.rstrip(REPLACEMENT)
        fresh = certain[len(self.given) :]
        if certain == text:
            self.slide(text)
        else:
            self.given += fresh
            if len(self.window) - self.context > WINDOW:
                fresh += self.split(text)
        return self.release(fresh)

    def finish(self) -> str:
        """What is left at the end: held text, and U+FFFD for a character that was never completed."""
        text = self.release(self.tokenizer.decode(self.window)[len(self.given) :])
        held, self.held = self.held, ""
        return text + held

    def slide(self, text: str) -> None:
        """Start the next window behind the text that is certain, with the newest tokens as its context."""
        newest = self.window[self.context :]
        if given := self.tokenizer.decode(newest):
            self.window, self.context, self.given = newest, len(newest), given
        else:  # text only in this context, if at all, such as a lone space
            self.given = text

    def split(self, text: str) -> str:
        """Give up on a long run of bytes that are no UTF-8, except those that may yet become a character."""
        for at in range(1, LONGEST_CHARACTER):
            head, tail = self.window[:-at], self.window[-at:]
            decoded = self.tokenizer.decode(head)
            if decoded + self.tokenizer.decode(tail) == text:
                fresh = decoded[len(self.given) :]
                self.window, self.context, self.given = tail, 0, ""
                return fresh
        return ""

    def release(self, fresh: str) -> str:
        """Pass on what can be no part of a stop string, up to the first that is complete."""
        if not self.stop or self.seen < self.min_tokens:
            return fresh
        text, self.held = self.held + fresh, ""
        found = [(at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)[1]]
        safe = len(text) - max(overlap(text, stop) for stop in self.stop)
        self.held = text[safe:]
        return text[:safe]


def overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` with which `stop` begins."""
    at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while at >= 0 and not stop.startswith(text[at:]):
        at = text.find(stop[0], at + 1)
    return len(text) - at if at >= 0 else 0
