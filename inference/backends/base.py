"""The one interface that every place a request can run implements."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ChatParams:
    """Sampling parameters of one chat request, as in the OpenAI API reference; None: the backend's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: Sequence[str] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    ignore_eos: bool = False


@dataclass(frozen=True)
class ChatRequest:
    """What a backend is asked to answer.

    Attributes:
        request_id: names the request in logs and in the ledger.
        tenant: the workspace; backends share their capacity fairly between tenants.
        messages: OpenAI chat messages whose contents are plain strings.
        adapter_key: the adapter's name on the backend; None is the base model.
        n: how many choices.
        model: what the backend calls the model; the engine of this node has but one.
        prompt: the tokens of the prompt, where the caller has made them itself; `messages` says the same in words.
        whole: nothing is done with a piece before the last one is there, so a backend may keep them together.
    """

    request_id: str
    tenant: str
    messages: Sequence[dict[str, str]]
    params: ChatParams
    adapter_key: str | None = None
    n: int = 1
    model: str = ""
    prompt: Sequence[int] | None = None
    whole: bool = False

    @property
    def size(self) -> int:
        """Of its messages, in characters."""
        return sum(len(message["content"]) for message in self.messages)


@dataclass(frozen=True)
class TokenLogprob:
    """One token with its natural-log probability, and the likeliest alternatives."""

    token: str
    logprob: float
    bytes: list[int]
    top: Sequence["TokenLogprob"] = ()


@dataclass(frozen=True)
class ChatDelta:
    """A piece of one choice. The last piece of a choice carries its `finish_reason`.

    Attributes:
        tokens: the piece's, where the backend runs the model here.
        more: the next piece is there already, so that the two may leave together.
    """

    index: int
    text: str
    logprobs: Sequence[TokenLogprob] = ()
    finish_reason: str | None = None
    tokens: Sequence[int] = ()
    more: bool = False


@dataclass(frozen=True)
class Prepared:
    """A request that the backend has measured: at most so many tokens will come of it.

    Attributes:
        count_input: counts the prompt's tokens; called only once somebody needs to know.
        prompt: the prompt as the backend will feed it, if it tokenizes here.
    """

    request: ChatRequest
    count_input: Callable[[], int]
    output_tokens: int
    prompt: Sequence[int] = ()

    @cached_property
    def input_tokens(self) -> int:
        return self.count_input()


@dataclass
class ChatUsage:
    """Tokens so far, of all choices together, kept up to date by the backend while it streams.

    Attributes:
        on_change: told after each change.
        admitted: turns true once the backend has taken the request: from then on it is accounted for.
    """

    on_change: Callable[["ChatUsage"], None]
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    admitted: bool = False

    def update(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int) -> None:
        """Set the totals."""
        self.admitted = True
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens
        self.cached_tokens = cached_tokens
        self.on_change(self)


@dataclass(frozen=True)
class LoadedAdapter:
    """What a backend says of an adapter it holds."""

    key: str
    pinned: bool
    last_used_at: datetime | None


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter's files say of it, once checked against the base model."""

    base_model: str
    rank: int
    alpha: float
    target_modules: Sequence[str]


@dataclass(frozen=True)
class BackendStatus:
    """A backend's adapters and its room for more."""

    max_active_loras: int
    slots_used: int
    loaded: Sequence[LoadedAdapter] = field(default_factory=tuple)

    @property
    def slots_free(self) -> int:
        return self.max_active_loras - self.slots_used


class Backend(ABC):
    """A place where requests run. Methods raise `workspace.errors.ApiError` for what the client can act on."""

    name: str
    provider: str
    mode: str

    @abstractmethod
    def load(self, key: str, folder: Path, pinned: bool) -> None:
        """Make the adapter servable; on one that is loaded already, only apply `pinned`.

        `folder` holds the PEFT files and is named by their content's hash.
        """

    @abstractmethod
    def unload(self, key: str) -> None:
        """Refuse new requests at once, let those in flight finish, then free the slot. Blocks meanwhile."""

    @abstractmethod
    def status(self) -> BackendStatus:
        """The adapters held now."""

    @abstractmethod
    def prepare(self, request: ChatRequest) -> Prepared:
        """Measure the request. Blocks: call it from a thread."""

    @abstractmethod
    def chat(self, prepared: Prepared, usage: ChatUsage) -> AsyncGenerator[ChatDelta]:
        """Stream the answer, keeping `usage` up to date.

        Closing the generator cancels the request, and returns once `usage` counts all that was generated.
        """

    @abstractmethod
    def health(self) -> dict[str, Any]:
        """`{"healthy": bool, …}` with what there is to say."""
