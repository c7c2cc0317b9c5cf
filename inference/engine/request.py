"""What an engine is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from inference.engine.sampling import SamplingParams

if TYPE_CHECKING:
    from inference.engine.sampler import TokenLogprob

FinishReason = Literal["stop", "length", "cancelled", "error"]


@dataclass(frozen=True)
class GenerationRequest:
    """One prompt to continue.

    Attributes:
        request_id: names the request to `cancel`.
        adapter_key: a loaded adapter; None is the base model.
        tenant: the engine serves tenants fairly, and requests of one in order.
    """

    request_id: str
    prompt_tokens: Sequence[int]
    sampling: SamplingParams
    adapter_key: str | None = None
    tenant: str = ""


@dataclass(frozen=True)
class Usage:
    """Tokens of one request; `cached_tokens` are those of the prompt that did not have to be computed."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Output:
    """A piece of an answer. The last one has a `finish_reason`, and on "error" also `error`.

    Attributes:
        text: what is certain now; may be empty while tokens are held back.
        tokens: generated since the last piece, an end-of-sequence token included.
        logprobs: of these tokens, if asked for.
        usage: so far, this piece included.
    """

    text: str
    tokens: Sequence[int]
    logprobs: Sequence[TokenLogprob]
    usage: Usage
    finish_reason: FinishReason | None = None
    error: str | None = None


def merged(pieces: Sequence[Output]) -> Output:
    """Pieces that follow each other as one."""
    last = pieces[-1]
    if len(pieces) == 1:
        return last
    return Output(
        "".join(piece.text for piece in pieces),
        [token for piece in pieces for token in piece.tokens],
        [logprob for piece in pieces for logprob in piece.logprobs],
        last.usage,
        last.finish_reason,
        last.error,
    )
