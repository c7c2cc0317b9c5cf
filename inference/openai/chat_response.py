"""Writing chat answers in the OpenAI shape: one JSON object, or server-sent events."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from inference.backends.base import ChatDelta, ChatUsage, TokenLogprob

DONE = b"data: [DONE]\n\n"
compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # `json.dumps` makes one for each call


def usage_dict(usage: ChatUsage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def logprobs_dict(tokens: Iterable[TokenLogprob]) -> dict[str, Any]:
    return {"content": [{**token_dict(token), "top_logprobs": [token_dict(t) for t in token.top]} for token in tokens]}


def token_dict(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.token, "logprob": token.logprob, "bytes": token.bytes}


def event(data: dict[str, Any]) -> bytes:
    """One server-sent event (html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return b"data: " + compact(data).encode() + b"\n\n"


@dataclass
class ChatStream:
    """The chunks of one streamed answer."""

    id: str
    model: str
    with_logprobs: bool
    include_usage: bool
    created: int = field(default_factory=lambda: int(time.time()))

    def opening(self, n: int) -> bytes:
        """The role of each choice, before its first token."""
        return b"".join(
            self.chunk([self.choice(index, {"role": "assistant", "content": ""}, None)]) for index in range(n)
        )

    def delta(self, delta: ChatDelta) -> bytes:
        chunks = b""
        if delta.text or delta.logprobs:
            logprobs = logprobs_dict(delta.logprobs) if self.with_logprobs else None
            chunks += self.chunk([self.choice(delta.index, {"content": delta.text}, None, logprobs)])
        if delta.finish_reason:
            chunks += self.chunk([self.choice(delta.index, {}, delta.finish_reason)])
        return chunks

    def closing(self, usage: ChatUsage) -> bytes:
        last = event({**self.envelope([]), "usage": usage_dict(usage)}) if self.include_usage else b""
        return last + DONE

    def chunk(self, choices: list[dict[str, Any]]) -> bytes:
        return event(self.envelope(choices) | ({"usage": None} if self.include_usage else {}))

    def choice(
        self, index: int, delta: dict[str, Any], reason: str | None, logprobs: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    def envelope(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }


class ChatAnswer:
    """The choices of an answer that is sent whole."""

    def __init__(self, n: int) -> None:
        self.texts: list[list[str]] = [[] for _ in range(n)]
        self.logprobs: list[list[TokenLogprob]] = [[] for _ in range(n)]
        self.reasons: list[str | None] = [None] * n

    def add(self, delta: ChatDelta) -> None:
        self.texts[delta.index].append(delta.text)
        self.logprobs[delta.index].extend(delta.logprobs)
        self.reasons[delta.index] = delta.finish_reason or self.reasons[delta.index]

    def to_dict(self, identifier: str, model: str, with_logprobs: bool, usage: ChatUsage) -> dict[str, Any]:
        return {
            "id": identifier,
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
            "choices": [self.choice(index, with_logprobs) for index in range(len(self.texts))],
            "usage": usage_dict(usage),
        }

    def choice(self, index: int, with_logprobs: bool) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.texts[index]), "refusal": None}
        tokens: Sequence[TokenLogprob] = self.logprobs[index]
        return {
            "index": index,
            "message": message,
            "logprobs": logprobs_dict(tokens) if with_logprobs else None,
            "finish_reason": self.reasons[index],
        }
