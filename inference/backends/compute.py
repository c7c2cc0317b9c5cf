"""A workspace's own servers as backends: what compute peers and vLLM servers have in common."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import httpx

from inference.backends.base import Backend, ChatDelta, ChatRequest, ChatUsage, Prepared
from inference.backends.chat_body import OWN_SERVER, chat_body
from inference.backends.counting import count_chat
from inference.backends.refusals import SAID_LENGTH, Upstream, read_error, reason_of
from inference.backends.streams import Server
from inference.backends.transport import calls_to
from inference.backends.upstream import stream_chat
from inference.models import ComputeBackend
from inference.threads import in_thread
from workspace.encryption import SecretUnreadable
from workspace.errors import ApiError

PROBE_TIMEOUT_S = 5.0
LOAD_TIMEOUT_S = 300.0
MAX_ANSWER_TOKENS = 4096  # what a limit reserves for an answer whose length the request leaves open


class ComputeServer(Backend):
    """One registered server. What happens on it is told to its circuit breaker."""

    mode = "byoc"
    unreachable = "peer_unreachable"

    def __init__(self, row: ComputeBackend) -> None:
        self.row = row
        self.name = row.name
        self.provider = row.kind
        self.upstream = Upstream(f"{row.get_kind_display().capitalize()} {row.name!r}", self.unreachable)

    @abstractmethod
    def adapter_names(self, key: str | None) -> dict[str, str]:
        """How a request says which adapter it goes through: the header or the model's name."""

    @abstractmethod
    def forget(self, key: str) -> None:
        """Remove what the server keeps of an adapter that is deleted here."""

    def headers(self, request: ChatRequest) -> dict[str, str]:
        return {"x-request-id": request.request_id}

    @property
    def secret(self) -> str | None:
        try:
            return self.row.api_key
        except SecretUnreadable as error:
            raise ApiError(502, "upstream_refused_key", f"{self.upstream.name}: {error}") from error

    def prepare(self, request: ChatRequest) -> Prepared:
        most = (request.params.max_tokens or MAX_ANSWER_TOKENS) * request.n
        return Prepared(request, partial(count_chat, request.messages), most)

    async def chat(self, prepared: Prepared, usage: ChatUsage) -> AsyncGenerator[ChatDelta]:
        body = chat_body(prepared.request, OWN_SERVER) | self.adapter_names(prepared.request.adapter_key)
        server = Server(self.upstream, self.row.base_url, self.secret)
        try:
            async with aclosing(stream_chat(server, prepared, usage, body, self.headers(prepared.request))) as stream:
                async for delta in stream:
                    yield delta
        except ApiError as error:
            if error.status in (502, 503, 504):
                await in_thread(partial(self.row.note_failure, error.message))
            raise
        if self.row.failures:
            await in_thread(self.row.note_success)

    def health(self) -> dict[str, Any]:
        return {"healthy": self.row.reachable, "last_error": self.row.last_error or None}

    def probe(self) -> bool:
        """Ask what it serves, and tell the circuit breaker. False: it cannot be used now."""
        try:
            listed = self.ask_models()
        except ApiError as error:
            self.row.note_failure(error.message)
            return False
        self.row.note_success(self.base_models(listed))
        return True

    def ask_models(self) -> Any:
        return self.call("GET", "models", timeout_s=PROBE_TIMEOUT_S)

    @abstractmethod
    def base_models(self, listed: Any) -> list[str]:
        """The names of the base models in an answer of `GET /v1/models`."""

    def call(self, method: str, path: str, timeout_s: float = LOAD_TIMEOUT_S, **options: Any) -> Any:
        """One call of its API; the JSON it answers, or None if it answers none.

        Raises:
            ApiError: 503 `peer_unreachable`; else as the server refuses.
        """
        answer = self.send(method, path, timeout_s, **options)
        if not answer.is_success:
            raise self.refused(answer)
        if not answer.headers.get("content-type", "").startswith("application/json"):
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise self.upstream.broken("sent what is not JSON") from error

    def send(self, method: str, path: str, timeout_s: float = LOAD_TIMEOUT_S, **options: Any) -> httpx.Response:
        """One call of its API, whatever it answers.

        Raises:
            ApiError: 503 `peer_unreachable`.
        """
        secret = self.secret
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        try:
            with calls_to(self.row.base_url, headers, timeout_s) as http:
                return http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise self.upstream.unavailable("could not be reached", reason_of(error)) from error

    def refused(self, answer: httpx.Response) -> ApiError:
        """A refusal of a load or a probe, as the answer a client gets."""
        said = said_in(answer)
        code, message = said.get("code"), str(said.get("message") or f"HTTP {answer.status_code}")[:SAID_LENGTH]
        if answer.status_code in (401, 403):
            return ApiError(502, "upstream_refused_key", f"{self.upstream.name} refused the key it is called with.")
        if answer.status_code in (404, 409, 422) and isinstance(code, str):
            return ApiError(answer.status_code, code, f"{self.upstream.name}: {message}")
        return self.upstream.unavailable("refused", message.rstrip("."))


def said_in(answer: httpx.Response) -> Mapping[str, Any]:
    """The `error` object of an answer, empty if it holds none."""
    try:
        return read_error(answer.json())
    except ValueError:
        return {}


def rows_of(listed: Any) -> list[dict[str, Any]]:
    """The rows of an OpenAI list that are what they should be."""
    data = listed.get("data") if isinstance(listed, dict) else None
    return [row for row in data or () if isinstance(row, dict) and isinstance(row.get("id"), str)]
