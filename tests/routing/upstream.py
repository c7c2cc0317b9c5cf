"""A small OpenAI-shaped server that answers as its model's name says, well or badly: what providers do in the wild."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import uvicorn

KEY = "sk-upstream-key-0042"
WORDS = ["Paris", " is", " the", " capital", "."]
MODELS = (
    *("fine", "no-usage", "zero-usage", "busy", "slow", "stuck", "garbage", "cut", "early", "says-error", "moved"),
    *("odd-choice", "endless", "broken", "whole"),
)

NOWHERE, TOO_LARGE = "/nowhere", "/too-large"  # folders of adapters that it does not load


class CutOff(Exception):
    """Ends the connection where it is."""


class Upstream:
    """Asked requests are kept in `asked`: path, headers and body of each. `is_fixed`: it takes no more adapters."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.adapters: dict[str, str] = {}
        self.is_fixed = False
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(self.app, interface="asgi3", lifespan="off", log_config=None, access_log=False)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def start(self) -> None:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.force_exit = self.server.should_exit = True
        self.thread.join()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        raw, more = b"", True
        while more:
            message = await receive()
            raw, more = raw + message.get("body", b""), message.get("more_body", False)
        body = json.loads(raw) if raw else {}
        self.asked.append((scope["path"], headers, body))
        if headers.get("authorization") != f"Bearer {KEY}":
            await answer(send, 401, {"error": {"message": "Incorrect API key", "code": "invalid_api_key"}})
        elif scope["path"] == "/v1/chat/completions":
            await self.chat(body["model"], send)
        else:
            await self.manage(scope["path"], body, send)

    async def manage(self, path: str, body: dict[str, Any], send: Any) -> None:
        """The adapters, with the answers of vLLM 0.32."""
        name, folder = body.get("lora_name"), body.get("lora_path")
        if path == "/v1/models":
            rows = [{"id": model, "parent": None} for model in MODELS]
            await answer(send, 200, {"data": rows + [{"id": held, "parent": "fine"} for held in self.adapters]})
        elif self.is_fixed:
            await answer(send, 404, {"detail": "Not Found"})
        elif path == "/v1/load_lora_adapter" and name in self.adapters:
            await answer(send, 400, vllm_error(400, f"The lora adapter '{name}' has already been loaded."))
        elif path == "/v1/load_lora_adapter" and folder.startswith(NOWHERE):
            await answer(send, 404, vllm_error(404, f"Loading lora {name} failed: No adapter found for {folder}"))
        elif path == "/v1/load_lora_adapter" and folder.startswith(TOO_LARGE):
            cause = "Worker failed with error 'LoRA rank 128 is greater than max_lora_rank 64.'"
            said = f"Call to add_lora method failed: {cause}, please check the stack trace above for the root cause"
            await answer(send, 500, vllm_error(500, said))
        elif path == "/v1/load_lora_adapter":
            self.adapters[name] = folder
            await send_text(send, f"Success: LoRA adapter '{name}' added successfully.")
        elif name not in self.adapters:
            await answer(send, 404, vllm_error(404, f"The lora adapter '{name}' cannot be found."))
        else:
            del self.adapters[name]
            await send_text(send, f"Success: LoRA adapter '{name}' removed successfully.")

    async def chat(self, model: str, send: Any) -> None:
        if model == "stuck":
            await asyncio.sleep(30)
        if model not in MODELS and model not in self.adapters:
            said = {"message": f"no model {model}", "code": "model_not_found", "param": "model"}
            await answer(send, 404, {"error": said})
        elif model in WHOLE_ANSWERS:
            await answer(send, *WHOLE_ANSWERS[model])
        else:
            await stream(model, send)


WHOLE_ANSWERS: dict[str, tuple[Any, ...]] = {
    "busy": (429, {"error": {"message": "Slow down"}}, (b"retry-after", b"17")),
    "moved": (302, {}, (b"location", b"http://169.254.169.254/")),
    "broken": (500, {"error": {"message": "boom"}}),
    "whole": (200, {"choices": [{"message": {"content": "not a stream"}}]}),
}


async def stream(model: str, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    try:
        async for line in lines(model):
            await send({"type": "http.response.body", "body": line, "more_body": True})
    except CutOff:
        await asyncio.sleep(0.05)  # let what was sent arrive
        raise
    await send({"type": "http.response.body", "body": b""})


async def lines(model: str) -> AsyncIterator[bytes]:
    yield event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
    if model == "slow":
        for _ in range(200):
            yield b": keep-alive\n\n"
            await asyncio.sleep(0.1)
    if model == "endless":
        for _ in range(64):
            yield b"data: " + b"x" * (1 << 16)
    for index, word in enumerate(WORDS):
        if index == 2:
            if model == "garbage":
                yield b"data: <html>Bad Gateway</html>\n\n"
            if model == "cut":
                raise CutOff
            if model == "early":
                return
            if model == "says-error":
                yield event({"error": {"message": "out of memory"}})
            if model == "odd-choice":
                yield event({"choices": [{"index": 7, "delta": {"content": "?"}}]})
        yield event({"choices": [{"index": 0, "delta": {"content": word}}]})
    yield event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if model not in ("no-usage",):
        counts = (0, 0) if model == "zero-usage" else (31, 7)
        details = {"prompt_tokens_details": {"cached_tokens": 0 if model == "zero-usage" else 5}}
        yield event({"choices": [], "usage": {"prompt_tokens": counts[0], "completion_tokens": counts[1], **details}})
    yield b"data: [DONE]\n\n"


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


async def answer(send: Any, status: int, body: Any, *headers: tuple[bytes, bytes]) -> None:
    json_type = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": status, "headers": [json_type, *headers]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def send_text(send: Any, text: str) -> None:
    """Without a content type, as vLLM does."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})


def vllm_error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
