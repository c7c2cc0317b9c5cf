"""What the gateway adds: the same requests to a fast upstream, directly and through a node, in one run.

    python -m benchmarks.gateway

The upstream is an OpenAI-shaped server that answers at once, in a process of its own; the load comes from a third.
"""

import asyncio
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil
import uvicorn

from benchmarks.server import BenchServer, free_port, serving
from inference.model_files import resolve_model
from workspace.home import LabHome

MODEL = "fast"
WORDS = 8
CONCURRENT = 64
ONE_BY_ONE = 200
SECONDS = 10.0
QUESTION = {"model": f"custom/{MODEL}", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": WORDS}


def chunk(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def choice(delta: dict[str, str], reason: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "finish_reason": reason}]


FIRST = chunk(choices=choice({"role": "assistant", "content": "word"}))
REST = (
    b"".join(chunk(choices=choice({"content": " word"})) for _ in range(WORDS - 1))
    + chunk(choices=choice({}, "stop"))
    + chunk(choices=[], usage={"prompt_tokens": 9, "completion_tokens": WORDS})
    + b"data: [DONE]\n\n"
)


async def upstream(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, in two pieces."""
    while (await receive()).get("more_body"):
        pass
    start = {"type": "http.response.start", "status": 200}
    if scope["path"].endswith("/models"):
        await send({**start, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps({"data": [{"id": MODEL}]}).encode()})
        return
    await send({**start, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": FIRST, "more_body": True})
    await send({"type": "http.response.body", "body": REST})


def serve_upstream(port: int) -> None:
    uvicorn.run(upstream, port=port, lifespan="off", log_config=None, access_log=False, interface="asgi3")


@contextmanager
def fast_upstream() -> Iterator[str]:
    port = free_port()
    process = multiprocessing.get_context("spawn").Process(target=serve_upstream, args=(port,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port}/v1"
    try:
        while True:
            try:
                httpx.get(f"{url}/models")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.join()


class Load:
    """Requests to one address."""

    def __init__(self, http: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
        self.http = http
        self.url = url
        self.body = body

    async def first_byte_ms(self) -> float:
        """Of a streamed answer, read to its end."""
        started = time.perf_counter()
        async with self.http.post(self.url, json={**self.body, "stream": True}) as answer:
            await answer.content.readany()
            taken = time.perf_counter() - started
            text = await answer.read()
            assert b"[DONE]" in text or answer.status == 200
        return taken * 1000

    async def per_second(self, stream: bool) -> float:
        """Requests, with `CONCURRENT` at once."""
        ends = time.perf_counter() + SECONDS

        async def one_after_the_other() -> int:
            done = 0
            while time.perf_counter() < ends:
                async with self.http.post(self.url, json={**self.body, "stream": stream}) as answer:
                    await answer.read()
                    answer.raise_for_status()
                done += 1
            return done

        return sum(await asyncio.gather(*(one_after_the_other() for _ in range(CONCURRENT)))) / SECONDS


async def compare(node: BenchServer, upstream_url: str) -> None:
    connector = aiohttp.TCPConnector(limit=CONCURRENT)
    headers = {"Authorization": f"Bearer {node.key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
        direct = Load(http, f"{upstream_url}/chat/completions", {**QUESTION, "model": MODEL})
        through = Load(http, f"{node.url}/v1/chat/completions", QUESTION)
        for load in (direct, through):
            for _ in range(20):
                await load.first_byte_ms()
        pairs = [(await direct.first_byte_ms(), await through.first_byte_ms()) for _ in range(ONE_BY_ONE)]
        straight, gateway = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(f"first byte, p50: direct {straight:.2f} ms, through the gateway {gateway:.2f} ms", end="; ")
        print(f"added {gateway - straight:.2f} ms")
        for stream in (True, False):
            rate_direct = await direct.per_second(True)
            process = psutil.Process(node.process.pid)
            before = sum(process.cpu_times()[:2])
            rate = await through.per_second(stream)
            used = (sum(process.cpu_times()[:2]) - before) / (rate * SECONDS)
            kind = "streamed" if stream else "whole"
            print(f"{CONCURRENT} concurrent, {kind}: {rate:.0f} requests/s through the gateway,", end=" ")
            print(f"{rate_direct:.0f} direct (ratio {rate / rate_direct:.2f}); {used * 1000:.2f} ms of CPU each")


def main() -> None:
    model = resolve_model(None, LabHome.from_environment().root).path
    with (
        tempfile.TemporaryDirectory() as home,
        fast_upstream() as url,
        serving(model, Path(home), slots=1) as node,
    ):
        made = json.loads((Path(home) / "bootstrap.json").read_text())
        headers = {"Authorization": f"Bearer {made['cli_token']}"}
        key = {"provider": "custom", "label": "bench", "secret": "sk-benchmark", "base_url": url}
        httpx.post(f"{node.url}/api/v1/workspace/byok", json=key, headers=headers, timeout=30).raise_for_status()
        asyncio.run(compare(node, url))


if __name__ == "__main__":
    main()
