"""A `manage.py serve` for benchmarks, and the load put on it."""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from workspace.home import PROJECT_ROOT

MODEL = "bench"
QUESTION = "Tell a long story about a lighthouse."


@dataclass
class BenchServer:
    url: str
    key: str
    process: subprocess.Popen[bytes]

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=600,
            limits=httpx.Limits(max_connections=200),
        )

    def resident_bytes(self) -> int:
        return psutil.Process(self.process.pid).memory_info().rss

    async def register(self, adapters: Sequence[Path]) -> None:
        async with self.client() as http:
            for path in adapters:
                files = [
                    ("files", (name, (path / name).read_bytes()))
                    for name in ("adapter_config.json", "adapter_model.safetensors")
                ]
                (await http.post("/v1/adapters", data={"id": path.name}, files=files)).raise_for_status()

    async def load(self, http: httpx.AsyncClient, adapter: str) -> float:
        """Seconds that the load took."""
        started = time.perf_counter()
        (await http.post(f"/v1/adapters/{adapter}/load", json={})).raise_for_status()
        return time.perf_counter() - started

    async def tokens_per_second(self, adapters: Sequence[str | None], new_tokens: int) -> float:
        """Of as many concurrent requests as there are entries, each through its adapter."""
        async with self.client() as http:
            started = time.perf_counter()
            answers = await asyncio.gather(*(self.ask(http, adapter, new_tokens) for adapter in adapters))
            return sum(answers) / (time.perf_counter() - started)

    async def ask(self, http: httpx.AsyncClient, adapter: str | None, new_tokens: int) -> int:
        answer = await http.post("/v1/chat/completions", json=body(new_tokens), headers=routing(adapter))
        return answer.raise_for_status().json()["usage"]["completion_tokens"]

    async def gaps(self, http: httpx.AsyncClient, adapter: str | None, new_tokens: int) -> AsyncIterator[float]:
        """Seconds between the pieces of a streamed answer, of which each token is one.

        After its end an answer that is made to go on has tokens without a text, which no piece is sent for.
        """
        request = body(new_tokens) | {"stream": True, "ignore_eos": False, "min_tokens": new_tokens}
        async with http.stream("POST", "/v1/chat/completions", json=request, headers=routing(adapter)) as response:
            last: float | None = None
            async for line in response.aiter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"]:
                    now = time.perf_counter()
                    if last is not None:
                        yield now - last
                    last = now


def body(new_tokens: int) -> dict:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{random.randrange(100, 1000)} {QUESTION}"}],
        "max_tokens": new_tokens,
        "ignore_eos": True,
        "temperature": 0,
    }


def routing(adapter: str | None) -> dict[str, str]:
    return {"x-hybrie-adapter-id": adapter} if adapter else {}


def usual(gaps: Sequence[float]) -> float:
    return statistics.median(gaps)


class Node:
    """A `manage.py serve` on a home of its own, which can be killed and started again."""

    model = MODEL
    command: Sequence[str] = ("manage.py", "serve")

    def __init__(self, model: Path, home: Path, slots: int = 16) -> None:
        self.home = home
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"DATABASE_URL", "CELERY_BROKER_URL", "LAB_EMBEDDED"}
        }
        self.environment = inherited | {
            "LAB_HOME": str(home),
            "LAB_PORT": str(port),
            "LAB_GRPC_PORT": str(free_port()),
            "LAB_MODEL": str(model),
            "LAB_SERVED_MODEL_NAME": MODEL,
            "LAB_MAX_ACTIVE_LORAS": str(slots),
        }

    def __enter__(self) -> "Node":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    @property
    def key(self) -> str:
        return json.loads((self.home / "bootstrap.json").read_text())["api_key"]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def start(self) -> None:
        """Returns once it takes requests."""
        self.process = subprocess.Popen(
            [sys.executable, *self.command],
            cwd=PROJECT_ROOT,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not is_up(self.url):
            if self.process.poll() is not None:
                raise SystemExit("The server did not start.")
            time.sleep(0.2)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def manage(self, *arguments: str) -> str:
        """What a management command on this home prints."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=PROJECT_ROOT, env=self.environment, capture_output=True, text=True)
        return done.stdout + done.stderr


@contextmanager
def serving(model: Path, home: Path, slots: int) -> Iterator[BenchServer]:
    """The server as a process of its own, as users run it."""
    with Node(model, home, slots) as node:
        yield BenchServer(node.url, node.key, node.process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/health").status_code == 200
    except httpx.TransportError:
        return False
