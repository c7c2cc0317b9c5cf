"""Reading the chunks of a streamed chat answer (platform.openai.com/docs/api-reference/chat-streaming)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from inference.backends.base import ChatDelta, TokenLogprob


class Garbage(Exception):
    """This is no chunk of a chat answer."""


class UpstreamSaidError(Exception):
    """The server reports in the stream that it failed; the text is the server's."""


@dataclass(frozen=True)
class Chunk:
    """Attributes:
    usage: prompt, completion and cached tokens, if the chunk reports them.
    """

    deltas: tuple[ChatDelta, ...]
    usage: tuple[int, int, int] | None = None


def read_chunk(value: Any, n: int) -> Chunk:
    """Check one chunk of an answer with `n` choices.

    Raises:
        Garbage: it is none.
        UpstreamSaidError: it reports a failure.
    """
    if not isinstance(value, Mapping):
        raise Garbage("not an object")
    if error := value.get("error"):
        raise UpstreamSaidError(str(error.get("message") if isinstance(error, Mapping) else error))
    choices = value.get("choices")
    if not isinstance(choices, list):
        raise Garbage("no choices")
    return Chunk(tuple(read_deltas(choices, n)), read_usage(value.get("usage")))


def read_deltas(choices: list[Any], n: int) -> Iterator[ChatDelta]:
    """Each says that there is more: which is the last to have come, only the reader of the chunks can tell."""
    for choice in choices:
        if not isinstance(choice, Mapping):
            raise Garbage("a choice is not an object")
        index, delta = choice.get("index", 0), choice.get("delta") or {}
        reason = choice.get("finish_reason")
        content = delta.get("content") if isinstance(delta, Mapping) else 0
        if not isinstance(index, int) or not 0 <= index < n:
            raise Garbage("a choice that was not asked for")
        if not isinstance(content, str | None) or not isinstance(reason, str | None):
            raise Garbage("content that is not text")
        if content or reason:
            logprobs = tuple(read_logprobs(choice.get("logprobs")))
            yield ChatDelta(index, content or "", logprobs, reason or None, more=True)


def read_logprobs(value: Any) -> Iterator[TokenLogprob]:
    if isinstance(value, Mapping):
        for token in value.get("content") or ():
            yield read_token(token)


def read_token(token: Any) -> TokenLogprob:
    try:
        spelled = token["token"]
        spelling = token.get("bytes")
        return TokenLogprob(
            token=str(spelled),
            logprob=float(token["logprob"]),
            bytes=list(spelled.encode()) if spelling is None else [int(byte) for byte in spelling],
            top=tuple(read_token(top) for top in token.get("top_logprobs") or ()),
        )
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise Garbage("a log probability that is none") from error


def read_usage(value: Any) -> tuple[int, int, int] | None:
    """Prompt, completion and cached tokens; a report of nothing but zeros is a report."""
    if not isinstance(value, Mapping):
        return None
    prompt, completion = value.get("prompt_tokens"), value.get("completion_tokens")
    details = value.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    counts = (prompt, completion, cached or 0)
    if not all(isinstance(count, int) and 0 <= count < 2**31 for count in counts):
        return None
    return counts  # type: ignore[return-value]  # checked above
