"""Reading a chat request: the OpenAI shape (platform.openai.com/docs/api-reference/chat/create), nothing ignored."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inference.backends.base import ChatParams
from workspace.errors import ApiError, invalid

MAX_CHOICES = 16
MAX_STOPS = 4
MAX_STOP_CHARACTERS = 256
ROLES = ("system", "developer", "user", "assistant")

# Parameters that change nothing in an answer here, whatever their value
WITHOUT_EFFECT = {"user", "safety_identifier", "prompt_cache_key", "metadata"}
# Parameters of the API that are not served, each with the values that mean "not asked for"
NOT_SERVED: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none",),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),
    "prediction": (),
    "reasoning_effort": (),
    "response_format": ({"type": "text"},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "tool_choice": ("none",),
    "tools": ([],),
    "verbosity": (),
    "web_search_options": (),
}


@dataclass(frozen=True)
class ChatBody:
    model: str
    messages: list[dict[str, str]]
    params: ChatParams
    n: int
    stream: bool
    include_usage: bool
    prompt: Sequence[int] | None = None  # gRPC clients send tokens


def parse_chat_body(raw: bytes) -> ChatBody:
    """Check the JSON body of `POST /v1/chat/completions`.

    Raises:
        ApiError: 400 naming the parameter and what would be accepted.
    """
    fields = Fields(read_object(raw))
    model = fields.take("model", text)
    if model is None:
        raise invalid("model", "model is required: a served model's or a loaded adapter's name.", REQUIRED)
    messages = parse_messages(fields.take("messages", as_is))
    body = ChatBody(
        model=model,
        messages=messages,
        params=parse_params(fields),
        n=fields.take("n", integer(1, MAX_CHOICES)) or 1,
        stream=fields.take("stream", boolean) or False,
        include_usage=parse_stream_options(fields.take("stream_options", as_is)),
    )
    fields.refuse_the_rest()
    return body


REQUIRED = "missing_required_parameter"


def read_object(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise ApiError(400, "invalid_json", "The body is not valid UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise ApiError(400, "invalid_json", f"The body is not valid JSON: {str(error)[:200]}.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "invalid_json", "The body must be a JSON object.")
    return value


def refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


class Fields:
    """The body's fields, each taken once; null is the same as absent."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.left = {name: value for name, value in body.items() if value is not None}

    def take(self, name: str, check: Callable[[str, Any], Any]) -> Any:
        return check(name, self.left.pop(name)) if name in self.left else None

    def refuse_the_rest(self) -> None:
        for name, value in self.left.items():
            if name in WITHOUT_EFFECT or any(is_same(value, plain) for plain in NOT_SERVED.get(name, ())):
                continue
            if name in NOT_SERVED:
                raise invalid(name, f"{name} is not served here; leave it out.", "unsupported_parameter")
            raise invalid(name, f"{name} is not a parameter of chat completions.", "unknown_parameter")


def is_same(value: Any, other: Any) -> bool:
    """As JSON has it: 0 is not false."""
    return type(value) is type(other) and value == other


def parse_params(fields: Fields) -> ChatParams:
    logprobs = fields.take("logprobs", boolean) or False
    top_logprobs = fields.take("top_logprobs", integer(0, 20))
    if top_logprobs is not None and not logprobs:
        raise invalid("top_logprobs", "top_logprobs needs logprobs to be true.")
    max_tokens = fields.take("max_tokens", integer(1))
    max_completion_tokens = fields.take("max_completion_tokens", integer(1))
    if max_completion_tokens is not None:
        max_tokens = min(max_completion_tokens, max_tokens or max_completion_tokens)
    return ChatParams(
        temperature=fields.take("temperature", number(0, 2)),
        top_p=fields.take("top_p", number(0, 1, above=True)),
        top_k=fields.take("top_k", integer(-1)),
        max_tokens=max_tokens,
        min_tokens=fields.take("min_tokens", integer(0)),
        stop=fields.take("stop", stops) or (),
        seed=fields.take("seed", integer(-(2**63), 2**63 - 1)),
        frequency_penalty=fields.take("frequency_penalty", number(-2, 2)),
        presence_penalty=fields.take("presence_penalty", number(-2, 2)),
        repetition_penalty=fields.take("repetition_penalty", number(0, 10, above=True)),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        ignore_eos=fields.take("ignore_eos", boolean) or False,
    )


def parse_messages(value: Any) -> list[dict[str, str]]:
    if value is None:
        raise invalid("messages", "messages is required: a list of at least one message.", REQUIRED)
    if not isinstance(value, list) or not value:
        raise invalid("messages", "messages must be a list of at least one message.")
    return [parse_message(f"messages[{index}]", message) for index, message in enumerate(value)]


def parse_message(name: str, message: Any) -> dict[str, str]:
    if not isinstance(message, dict):
        raise invalid(name, f"{name} must be an object with a role and a content.")
    role = message.get("role")
    if role not in ROLES:
        raise invalid(f"{name}.role", f"{name}.role must be one of {', '.join(ROLES)}.")
    for key, value in message.items():
        if key not in {"role", "content", "name", "refusal"} and value not in (None, [], {}):
            raise invalid(f"{name}.{key}", f"{name}.{key} is not served here.", "unsupported_parameter")
    return {
        "role": "system" if role == "developer" else role,
        "content": parse_content(f"{name}.content", message.get("content")),
    }


def parse_content(name: str, content: Any) -> str:
    """A string, or a list of text parts joined to one."""
    if isinstance(content, str):
        return valid_unicode(name, content)
    if not isinstance(content, list) or not content:
        raise invalid(name, f"{name} must be a string or a list of text parts.")
    texts = []
    for index, part in enumerate(content):
        where = f"{name}[{index}]"
        if not isinstance(part, dict) or part.get("type") != "text":
            raise invalid(where, f"{where} must be a part of type text; others are not served.", "unsupported_value")
        texts.append(text(f"{where}.text", part.get("text")))
    return "".join(texts)


def parse_stream_options(value: Any) -> bool:
    if value is None:
        return False
    if not isinstance(value, dict):
        raise invalid("stream_options", "stream_options must be an object.")
    for key in value:
        if key not in {"include_usage", "include_obfuscation"}:
            raise invalid(f"stream_options.{key}", f"stream_options.{key} is not served.", "unsupported_parameter")
    return boolean("stream_options.include_usage", value.get("include_usage", False))


def as_is(_: str, value: Any) -> Any:
    return value


def text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise invalid(name, f"{name} must be a string that is not empty.")
    return valid_unicode(name, value)


def valid_unicode(name: str, value: str) -> str:
    """JSON can spell half a surrogate pair, which no tokenizer can encode."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise invalid(name, f"{name} has an unpaired surrogate, which is not Unicode text.") from error
    return value


def boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid(name, f"{name} must be true or false.")
    return value


def integer(low: int, high: int | None = None) -> Callable[[str, Any], int]:
    accepted = f"at least {low}" if high is None else f"from {low} to {high}"

    def check(name: str, value: Any) -> int:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            raise invalid(name, f"{name} must be a whole number {accepted}.")
        return value

    return check


def number(low: float, high: float, above: bool = False) -> Callable[[str, Any], float]:
    """A number from `low` (or above it) to `high`."""
    accepted = f"above {low} and at most {high}" if above else f"from {low} to {high}"

    def check(name: str, value: Any) -> float:
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not (low < value if above else low <= value) or value > high:
            raise invalid(name, f"{name} must be a number {accepted}.")
        return float(value)

    return check


def stops(name: str, value: Any) -> tuple[str, ...]:
    """One stop string or up to four (the OpenAI limit)."""
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or len(values) > MAX_STOPS:
        raise invalid(name, f"{name} must be a string or a list of at most {MAX_STOPS} strings.")
    for stop in values:
        if len(text(name, stop)) > MAX_STOP_CHARACTERS:
            raise invalid(name, f"each string of {name} must have at most {MAX_STOP_CHARACTERS} characters.")
    return tuple(values)
