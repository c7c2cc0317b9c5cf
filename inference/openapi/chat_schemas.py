"""JSON Schemas of a chat request and its answers; `inference.openai` reads and writes them."""

from typing import Any

from inference.openai.chat_request import MAX_CHOICES, MAX_STOP_CHARACTERS, MAX_STOPS, NOT_SERVED, ROLES, WITHOUT_EFFECT

Schema = dict[str, Any]


def optional(kind: str, description: str = "", **bounds: Any) -> Schema:
    """A parameter that may be null, which is the same as absent."""
    return {"type": [kind, "null"], **({"description": description} if description else {}), **bounds}


def record(required: dict[str, Schema], **optional_ones: Schema) -> Schema:
    return {"type": "object", "properties": {**required, **optional_ones}, "required": list(required)}


TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
STOP: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARACTERS}
EMPTY: Schema = {"enum": [None, [], {}]}

TEXT_PART = record({"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}})
MESSAGE: Schema = {
    **record(
        {
            "role": {"type": "string", "enum": list(ROLES)},
            "content": {"oneOf": [TEXT, {"type": "array", "minItems": 1, "items": TEXT_PART}]},
        },
        name={},
        refusal={},
    ),
    "additionalProperties": EMPTY,
}

SAMPLING: Schema = {
    "temperature": optional("number", "0 takes the likeliest token each time.", minimum=0, maximum=2),
    "top_p": optional("number", exclusiveMinimum=0, maximum=1),
    "top_k": optional("integer", "-1 and 0: all tokens.", minimum=-1),
    "max_tokens": optional("integer", "At most what the context still holds, which is the default.", minimum=1),
    "max_completion_tokens": optional("integer", "The same; the smaller of both counts.", minimum=1),
    "min_tokens": optional("integer", minimum=0),
    "stop": {
        "oneOf": [STOP, {"type": "array", "maxItems": MAX_STOPS, "items": STOP}, {"type": "null"}],
        "description": "Ends the answer where one of these would appear.",
    },
    "seed": optional("integer", minimum=-(2**63), maximum=2**63 - 1),
    "frequency_penalty": optional("number", minimum=-2, maximum=2),
    "presence_penalty": optional("number", minimum=-2, maximum=2),
    "repetition_penalty": optional("number", exclusiveMinimum=0, maximum=10),
    "logprobs": optional("boolean"),
    "top_logprobs": optional("integer", "Needs `logprobs`.", minimum=0, maximum=20),
    "n": optional("integer", "Answers to one prompt.", minimum=1, maximum=MAX_CHOICES),
    "ignore_eos": optional("boolean", "Go on to `max_tokens` past the end of the answer."),
}

CHAT_REQUEST: Schema = {
    **record(
        {
            "model": {
                "type": "string",
                "minLength": 1,
                "description": "The served name, an alias, or an adapter's id.",
            },
            "messages": {"type": "array", "minItems": 1, "items": MESSAGE},
        },
        stream=optional("boolean", "Answer in server-sent events."),
        stream_options={
            "oneOf": [
                {
                    "type": "object",
                    "properties": {"include_usage": {"type": "boolean"}, "include_obfuscation": {}},
                    "additionalProperties": False,
                },
                {"type": "null"},
            ]
        },
        **SAMPLING,
        **{name: {"description": "Taken, and without effect."} for name in sorted(WITHOUT_EFFECT)},
        **{
            name: {"enum": [None, *values], "description": "Not served; only the value that asks for nothing."}
            for name, values in NOT_SERVED.items()
        },
    ),
    "additionalProperties": {"type": "null"},
    "if": {"properties": {"top_logprobs": {"type": "integer"}}, "required": ["top_logprobs"]},
    "then": {"properties": {"logprobs": {"const": True}}, "required": ["logprobs"]},
}

TOKEN = {"token": TEXT, "logprob": {"type": "number"}, "bytes": {"type": ["array", "null"], "items": COUNT}}
LOGPROBS: Schema = {
    "oneOf": [
        record(
            {
                "content": {
                    "type": "array",
                    "items": record({**TOKEN, "top_logprobs": {"type": "array", "items": record(TOKEN)}}),
                }
            }
        ),
        {"type": "null"},
    ]
}
FINISH_REASON: Schema = {"type": "string", "description": "`stop` or `length`; a provider may have others."}
USAGE = record(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": record({"cached_tokens": COUNT}),
    }
)
ANSWER_MESSAGE = record({"role": {"const": "assistant"}, "content": TEXT, "refusal": {"type": "null"}})
ENVELOPE = {"id": TEXT, "created": {"type": "integer", "description": "Unix time in seconds."}, "model": TEXT}

CHAT_COMPLETION = record(
    {
        **ENVELOPE,
        "object": {"const": "chat.completion"},
        "choices": {
            "type": "array",
            "items": record(
                {"index": COUNT, "message": ANSWER_MESSAGE, "logprobs": LOGPROBS, "finish_reason": FINISH_REASON}
            ),
        },
        "usage": USAGE,
    }
)
CHAT_COMPLETION_CHUNK = record(
    {
        **ENVELOPE,
        "object": {"const": "chat.completion.chunk"},
        "choices": {
            "type": "array",
            "items": record(
                {
                    "index": COUNT,
                    "delta": record({}, role={"const": "assistant"}, content=TEXT),
                    "logprobs": LOGPROBS,
                    "finish_reason": {"oneOf": [FINISH_REASON, {"type": "null"}]},
                }
            ),
        },
    },
    usage={"oneOf": [USAGE, {"type": "null"}]},
)

HEALTH = record(
    {
        "status": {"type": "string", "enum": ["ok", "unavailable"]},
        "model": TEXT,
        "max_active_loras": COUNT,
        "loaded_loras": COUNT,
        "lora_mode": TEXT,
        "version": TEXT,
    }
)
