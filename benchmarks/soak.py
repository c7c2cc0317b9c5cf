"""Random arrivals, disconnects, loads and unloads for a while: no wrong answer, no leak.

    python -m benchmarks.soak --seconds 600

Each adapter makes the model say a name of its own. What it answers alone is asked first; under load every finished
answer must be that one again.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console

from benchmarks.named_adapters import train_named_adapters
from benchmarks.server import MODEL, routing, serving
from inference.model_files import resolve_model
from workspace.home import LabHome

SLOTS, CLIENTS, NEW_TOKENS = 4, 8, 10
QUESTION = "Say a few words about yourself."
PER_MINUTE = 6  # readings of the memory
MOVED = {409}  # the adapter was unloaded or evicted meanwhile


@dataclass
class Soak:
    """One soak against a server that holds these adapters.

    Attributes:
        model: the served name.
        outcomes: how requests ended.
        wrong: answers that were not what their adapter says alone.
    """

    http: httpx.AsyncClient
    model: str
    adapters: list[str]
    seed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.alone: dict[str | None, str] = {}

    async def run(self, seconds: float, clients: int, watch: Callable[[], None] = lambda: None) -> None:
        """Learn what each adapter answers alone, then let the clients and one operator loose."""
        for adapter in (None, *self.adapters):
            if adapter:
                (await self.http.post(f"/v1/adapters/{adapter}/load", json={})).raise_for_status()
            answer = await self.ask(adapter)
            answer.raise_for_status()
            self.alone[adapter] = content(answer)
        if len(set(self.alone.values())) <= len(self.adapters):
            raise SystemExit("Two adapters answer alike, so a wrong one could not be told.")
        until = time.monotonic() + seconds
        await asyncio.gather(self.operate(until, watch), *(self.use(until) for _ in range(clients)))

    async def use(self, until: float) -> None:
        while time.monotonic() < until:
            adapter = self.random.choice([None, *self.adapters])
            if self.random.random() < 0.2:
                await self.leave_early(adapter)
            else:
                self.judge(adapter, await self.ask(adapter))

    async def operate(self, until: float, watch: Callable[[], None]) -> None:
        """Load and unload at random."""
        while time.monotonic() < until:
            adapter = self.random.choice(self.adapters)
            action = self.random.choice(("load", "load", "unload"))
            answer = await self.http.post(f"/v1/adapters/{adapter}/{action}", json={})
            self.outcomes[f"{action} {answer.status_code}"] += 1
            if answer.status_code >= 500:
                self.wrong.append(answer.text)
            watch()
            await asyncio.sleep(self.random.random())

    async def ask(self, adapter: str | None) -> httpx.Response:
        return await self.http.post("/v1/chat/completions", json=self.body(), headers=routing(adapter))

    def body(self) -> dict:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": NEW_TOKENS,
            "temperature": 0,
        }

    def judge(self, adapter: str | None, answer: httpx.Response) -> None:
        self.outcomes[f"chat {answer.status_code}"] += 1
        if answer.status_code in MOVED:
            return
        if answer.status_code != 200 or content(answer) != self.alone[adapter]:
            self.wrong.append(f"{adapter}: {answer.text}")

    async def leave_early(self, adapter: str | None) -> None:
        pieces = self.random.randrange(4)
        body = self.body() | {"stream": True}
        async with self.http.stream("POST", "/v1/chat/completions", json=body, headers=routing(adapter)) as answer:
            lines = answer.aiter_lines()
            for _ in range(pieces):
                if await anext(lines, None) is None:
                    break
        self.outcomes["left early"] += 1


def content(answer: httpx.Response) -> str:
    return answer.json()["choices"][0]["message"]["content"]


async def soak(server, names: list[str], seconds: float, console: Console) -> None:
    sizes: list[tuple[float, float]] = []
    started = time.monotonic()

    def watch() -> None:
        elapsed = time.monotonic() - started
        if not sizes or elapsed - sizes[-1][0] > 60 / PER_MINUTE:
            sizes.append((elapsed, server.resident_bytes() / 1e6))

    async with server.client() as http:
        soaking = Soak(http, MODEL, names)
        await soaking.run(seconds, CLIENTS, watch)
    if nameless := [name for name in names if name not in (soaking.alone[name] or "")]:
        raise SystemExit(f"These adapters do not say their names: {', '.join(nameless)}.")
    settled = [size for elapsed, size in sizes if elapsed > min(60, seconds / 2)]
    console.print(dict(soaking.outcomes))
    minutes = [*settled[:-1:PER_MINUTE], settled[-1]]
    console.print("resident after the first minute, and each later one:", *(f"{size:.0f}" for size in minutes), "MB")
    console.print(f"wrong answers: {len(soaking.wrong)}", *soaking.wrong[:5], sep="\n")
    if soaking.wrong:
        raise SystemExit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    seconds = parser.parse_args().seconds
    console = Console(width=120)
    model = resolve_model(None, LabHome.from_environment().root, console).path
    with tempfile.TemporaryDirectory() as folder:
        adapters = train_named_adapters(model, Path(folder), QUESTION)
        with serving(model, Path(folder) / "home", SLOTS) as server:
            asyncio.run(server.register(adapters))
            asyncio.run(soak(server, [path.name for path in adapters], seconds, console))


if __name__ == "__main__":
    main()
