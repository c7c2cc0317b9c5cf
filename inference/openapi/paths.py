"""Chat and health in the description: plain asynchronous views, which drf-spectacular does not see."""

from typing import Any

from inference.openapi import chat_schemas as schemas
from inference.routing import EXECUTION_MODES
from workspace.error_codes import ERROR_CODES
from workspace.errors import ApiError
from workspace.models.adapters import ADAPTER_ID

CHAT_PATHS = ("/v1/chat/completions", "/api/v1/hybrie/chat/completions", "/api/v1/inference/chat/completions")
HEALTH_PATHS = ("/v1/health", "/api/v1/hybrie/health")
JSON = "application/json"
Description = dict[str, Any]

CHAT_REFUSALS = (
    *("invalid_json", "invalid_value", "missing_required_parameter", "unknown_parameter", "unsupported_parameter"),
    *("unsupported_value", "context_length_exceeded", "provider_not_configured", "missing_api_key", "invalid_api_key"),
    *("credit_limit_exceeded", "role_insufficient", "workspace_forbidden", "csrf_failed", "model_not_found"),
    *("adapter_not_found", "peer_not_found", "adapter_not_loaded", "adapter_not_available_on_backend"),
    *("adapter_expired", "request_too_large", "rate_limit_exceeded", "queue_full", "upstream_busy"),
    *("generation_failed", "upstream_failed", "upstream_refused_key", "engine_not_ready", "peer_unreachable"),
    *("upstream_unavailable", "limits_unavailable", "upstream_timeout"),
)
ROUTING_HEADERS: dict[str, tuple[str, Description]] = {
    "x-hybrie-adapter-id": ("Serve through this loaded adapter; wins over `model`.", {"pattern": f"^({ADAPTER_ID})?$"}),
    "x-hybrie-execution-mode": ("Where it may run.", {"enum": list(EXECUTION_MODES)}),
    "x-hybrie-cloud-provider": ("The provider of the cloud part.", {}),
    "x-hybrie-preferred-peer-id": ("The registered compute peer to send it to.", {}),
}
ROUTE_HEADERS = {
    "x-hybrie-selected-mode": "Where it ran.",
    "x-hybrie-selected-backend": "The backend that answered.",
    "x-hybrie-adapter-id": "The adapter that served it, or `none`.",
}
MADE_ELSEWHERE = {  # where the record is that a call makes, and where the answer has its id
    "/d2l/internalize": ("/d2l/internalizations/{internalization_id}", "/id"),
    "/train/d2l": ("/train/jobs/{job_id}", "/job_id"),
}
EXAMPLE = {
    "model": "smollm2-135m-instruct",
    "messages": [{"role": "user", "content": "What is our refund policy?"}],
    "max_tokens": 16,
    "temperature": 0,
}


def describe_plain_views(result: Description, **_: Any) -> Description:
    """A drf-spectacular post-processing hook."""
    result["components"]["schemas"].update(
        ChatRequest=schemas.CHAT_REQUEST,
        ChatCompletion=schemas.CHAT_COMPLETION,
        ChatCompletionChunk=schemas.CHAT_COMPLETION_CHUNK,
        ChatEvent=chat_event(),
        Health=schemas.HEALTH,
    )
    for path in CHAT_PATHS:
        result["paths"][path] = {"post": chat(operation_id(path, "post"))}
    for path in HEALTH_PATHS:
        result["paths"][path] = {"get": health(operation_id(path, "get"))}
    for path, item in result["paths"].items():
        if path.endswith("/adapters/{adapter_id}/load"):
            link_to_chat(item["post"]["responses"]["200"])
        for making, (made, pointer) in MADE_ELSEWHERE.items():
            if path.endswith(making):
                plane = path.removesuffix(making).removesuffix("/compute")
                link_to_made(item["post"], result["paths"][f"{plane}{made}"], made, pointer)
    return result


def operation_id(path: str, method: str) -> str:
    return "_".join([*path.strip("/").split("/"), method])


def component(name: str) -> Description:
    return {"$ref": f"#/components/schemas/{name}"}


def chat(identifier: str) -> Description:
    return {
        "operationId": identifier,
        "summary": "Chat, in the OpenAI shape",
        "description": "Answers when the request is metered: its usage event is committed before the last byte.",
        "tags": ["chat"],
        "security": [{"bearer": []}],
        "parameters": [
            {"in": "header", "name": name, "description": text, "schema": {"type": "string", **bounds}}
            for name, (text, bounds) in ROUTING_HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": component("ChatRequest"),
                    "examples": {"whole": {"value": EXAMPLE}, "streamed": {"value": {**EXAMPLE, "stream": True}}},
                }
            },
        },
        "responses": {"200": chat_answer(), **refused(CHAT_REFUSALS), "default": refusal("Any other refusal.")},
    }


def chat_answer() -> Description:
    return {
        "description": "The answer: whole, or with `stream` as server-sent events.",
        "headers": {name: {"description": text, "schema": schemas.TEXT} for name, text in ROUTE_HEADERS.items()},
        "content": {
            JSON: {"schema": component("ChatCompletion")},
            "text/event-stream": {"schema": component("ChatEvent")},
        },
    }


def chat_event() -> Description:
    """One server-sent event, as OpenAPI 3.2 describes them and tools read 3.1."""
    return {
        "type": "object",
        "description": "Chunks, then `[DONE]`. An error after the first token is an event too; no `[DONE]` follows.",
        "required": ["data"],
        "properties": {
            "data": {
                "type": "string",
                "anyOf": [
                    {"const": "[DONE]"},
                    {
                        "contentMediaType": JSON,
                        "contentSchema": {"anyOf": [component("ChatCompletionChunk"), component("Error")]},
                    },
                ],
            }
        },
    }


def refused(codes: tuple[str, ...]) -> Description:
    responses: Description = {}
    for code in sorted(codes, key=lambda code: ERROR_CODES[code].status):
        status, meaning = ERROR_CODES[code]
        response = responses.setdefault(str(status), refusal(""))
        response["description"] = f"{response['description']}\n- `{code}`: {meaning}".strip()
        examples = response["content"][JSON].setdefault("examples", {})
        examples[code] = {"value": ApiError(status, code, meaning).to_dict()}
    return responses


def refusal(description: str) -> Description:
    return {"description": description, "content": {JSON: {"schema": component("Error")}}}


def health(identifier: str) -> Description:
    content = {JSON: {"schema": component("Health")}}
    return {
        "operationId": identifier,
        "summary": "Whether a chat request can be served now",
        "tags": ["health"],
        "security": [],
        "responses": {
            "200": {"description": "It can.", "content": content},
            "503": {"description": "The model is loading, or the server stops.", "content": content},
        },
    }


def link_to_made(making: Description, operations: Description, made: str, pointer: str) -> None:
    """From the answer that has made a record to what can be done with it."""
    parameter = made.rpartition("{")[2].rstrip("}")
    for status, response in making["responses"].items():
        for operation in operations.values() if status.startswith("2") else ():
            identifier = operation["operationId"]
            response.setdefault("links", {})[identifier] = {
                "operationId": identifier,
                "parameters": {f"path.{parameter}": f"$response.body#{pointer}"},
            }


def link_to_chat(response: Description) -> None:
    for path in CHAT_PATHS:
        identifier = operation_id(path, "post")
        response.setdefault("links", {})[identifier] = {
            "operationId": identifier,
            "parameters": {"header.x-hybrie-adapter-id": "$response.body#/spec/id"},
            "requestBody": EXAMPLE,
        }
