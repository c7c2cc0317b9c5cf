"""Writing a chat request for a server that speaks the OpenAI API."""

from collections.abc import Collection
from typing import Any

from inference.backends.base import ChatRequest
from workspace.errors import invalid

STANDARD = (
    *("temperature", "top_p", "max_tokens", "stop", "seed", "frequency_penalty", "presence_penalty"),
    *("logprobs", "top_logprobs"),
)
OWN_SERVER = (*STANDARD, "top_k", "min_tokens", "repetition_penalty", "ignore_eos")
# What turns a parameter off is what a server that does not know it does anyway
OFF = {"top_k": (-1, 0), "min_tokens": (0,), "repetition_penalty": (1.0,), "ignore_eos": ()}


def chat_body(request: ChatRequest, served: Collection[str]) -> dict[str, Any]:
    """The body without its stream options; only what the caller asked for is in it.

    Raises:
        ApiError: 400 for a parameter that the server does not take.
    """
    asked = {name: value for name, value in vars(request.params).items() if is_asked(value)}
    for name in sorted(set(asked) - set(served)):
        if asked.pop(name) not in OFF[name]:
            raise invalid(name, f"{name} is not served by the chosen backend; leave it out.", "unsupported_parameter")
    body = {"model": request.model, "messages": list(request.messages), **asked}
    if "stop" in body:
        body["stop"] = list(body["stop"])
    if request.n > 1:
        body["n"] = request.n
    return body


def is_asked(value: Any) -> bool:
    """Whether a parameter was given: 0 is, while None, no stop strings and a switch that is off are not."""
    return value is not None and value is not False and value != ()
