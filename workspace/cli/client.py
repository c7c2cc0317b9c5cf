"""Calls to the server, and what it answers when it refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from workspace.cli.failure import EXIT_OF_STATUS, Exit, Failure
from workspace.cli.settings import Target

CONNECT_S = 5
ANSWER_S = 300


class Client:
    """Speaks to one server as one caller. Every method raises Failure where the answer is not a success."""

    def __init__(self, to: Target) -> None:
        self.to = to
        headers = {"Authorization": f"Bearer {to.secret}"} if to.secret else {}
        self.http = httpx.Client(
            base_url=to.server, headers=headers, timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S)
        )

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, params={name: value for name, value in query.items() if value is not None})

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self.call("POST", path, json={name: value for name, value in (body or {}).items() if value is not None})

    def delete(self, path: str, **query: Any) -> Any:
        return self.call("DELETE", path, params=query)

    def call(self, method: str, path: str, **options: Any) -> Any:
        with self.reached():
            answer = self.http.request(method, path, **options)
        return result_of(answer)

    @contextmanager
    def stream(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Iterator[httpx.Response]:
        """A streamed answer, once it has begun well."""
        with self.reached(), self.http.stream("POST", path, json=body, headers=headers) as answer:
            if answer.is_error:
                answer.read()
            result_of(answer, read=False)
            yield answer

    @contextmanager
    def reached(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise Failure(f"{self.to.server} did not answer in time.", Exit.UNREACHABLE) from error
        except (httpx.TransportError, httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            message = (
                f"{self.to.server} cannot be reached ({error}). Is it running (`lab serve`)? --server names another."
            )
            raise Failure(message, Exit.UNREACHABLE) from error


def result_of(answer: httpx.Response, read: bool = True) -> Any:
    """The answer's JSON, None where it has none. Raises Failure with what the server says."""
    if answer.is_error:
        raise refusal(answer)
    if answer.is_redirect:
        raise Failure(f"{answer.url} is not a Lab Workspace server: it redirects.", Exit.UNREACHABLE)
    if not read or not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as error:
        raise Failure(f"{answer.url} is not a Lab Workspace server: it answers no JSON.", Exit.UNREACHABLE) from error


def refusal(answer: httpx.Response) -> Failure:
    """The error envelope as one sentence."""
    kind = EXIT_OF_STATUS.get(answer.status_code, Exit.FAILED)
    try:
        error = answer.json()["error"]
        return Failure(str(error["message"]), kind, str(error["code"]), answer.status_code)
    except (ValueError, KeyError, TypeError):
        return Failure(f"{answer.url} answers {answer.status_code}.", kind, None, answer.status_code)
