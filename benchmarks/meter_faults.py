"""The meter under faults: killed servers, a database that goes away, clients that leave, requests sent again.

    python -m benchmarks.meter_faults --requests 2000 --kills 30 --stops 10

Afterwards every request that was answered, or of which a client saw a token, must have exactly one event with the
tokens that the engine made; and events, summary, snapshot and reconcile must agree to the last digit.
"""

import argparse
import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import simplejson

from benchmarks.server import Node
from inference.model_files import resolve_model
from workspace.home import PROJECT_ROOT, LabHome

START_POSTGRES = """
import sys
from pathlib import Path
from workspace.embedded import start_postgres
start_postgres(Path(sys.argv[1]))
"""
CLIENTS, NEW_TOKENS, PATIENCE_S = 8, 8, 120
MEASURES = ("requests", "input_tokens", "output_tokens", "cached_tokens", "cost_gbp")


@dataclass
class Attempt:
    """One request as its client saw it.

    Attributes:
        outcome: `answered` (whole), `left` (by the client), `cut` (by a fault), `refused` (another status than 200).
        seen: pieces with text, each of at least one token.
        usage: what the server reported, of whole answers.
    """

    request_id: str
    outcome: str = "cut"
    status: int | None = None
    seen: int = 0
    usage: dict[str, int] | None = None


@dataclass
class Faults:
    """Clients and an operator on one server. `problems` says in words what the meter did wrong."""

    node: Node
    requests: int
    kills: int
    stops: int
    attempts: list[Attempt] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    served: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(0)

    async def run(self) -> None:
        faults: list[Callable[[], Awaitable[None]]] = [self.kill] * self.kills + [self.stop_postgres] * self.stops
        self.random.shuffle(faults)
        pending = iter(range(self.requests))
        clients = [asyncio.ensure_future(self.client(pending)) for _ in range(CLIENTS)]
        for number, fault in enumerate(faults, 1):
            while self.served < self.requests * number // (len(faults) + 1):
                await asyncio.sleep(0.02)
            await fault()
        await asyncio.gather(*clients)
        await self.check()

    async def kill(self) -> None:
        await asyncio.to_thread(self.node.kill)
        await asyncio.to_thread(self.node.start)

    async def stop_postgres(self) -> None:
        """As an operator would for a moment: what is under way is cut off."""
        folder = self.node.home / "postgres"
        os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
        await asyncio.sleep(2 * self.random.random())
        start = [sys.executable, "-c", START_POSTGRES, folder]
        await asyncio.to_thread(subprocess.run, start, cwd=PROJECT_ROOT, check=True)

    async def client(self, pending: Any) -> None:
        async with httpx.AsyncClient(base_url=self.node.url, headers=self.node.headers, timeout=60) as http:
            for number in pending:
                for again in range(1000):
                    attempt = Attempt(f"fault-{number}-{again}")
                    self.attempts.append(attempt)
                    await self.ask(http, attempt)
                    if attempt.outcome in ("answered", "left"):
                        break
                    await self.until_up(http)
                self.served += 1

    async def ask(self, http: httpx.AsyncClient, attempt: Attempt) -> None:
        """Stream or not, to the end or not."""
        stream, patience = self.random.random() < 0.7, self.random.choice((0, 1, 3, NEW_TOKENS, None, None, None))
        body = {
            "model": self.node.model,
            "messages": [{"role": "user", "content": f"Count to {self.random.randrange(1000)}."}],
            "max_tokens": NEW_TOKENS,
            "stream": stream,
            **({"stream_options": {"include_usage": True}} if stream else {}),
        }
        headers = {"x-request-id": attempt.request_id}
        try:
            async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
                attempt.status = answer.status_code
                if answer.status_code != 200:
                    attempt.outcome = "refused"
                elif stream:
                    await self.read(answer, attempt, patience)
                else:
                    attempt.usage = simplejson.loads(await answer.aread())["usage"]
                    attempt.outcome = "answered"
        except httpx.HTTPError:
            attempt.outcome = "cut"

    async def read(self, answer: httpx.Response, attempt: Attempt, patience: int | None) -> None:
        """Leave after `patience` pieces with text; with as many as there are, between the last token and [DONE]."""
        async for line in answer.aiter_lines():
            if patience is not None and attempt.seen >= patience:
                attempt.outcome = "left"
                return
            if line == "data: [DONE]":
                attempt.outcome = "answered" if attempt.usage else "cut"
            elif line.startswith("data: "):
                piece = simplejson.loads(line[6:])
                attempt.usage = piece.get("usage") or attempt.usage
                attempt.seen += any(choice["delta"].get("content") for choice in piece.get("choices", ()))

    async def until_up(self, http: httpx.AsyncClient) -> None:
        """Until the server takes requests and reaches its database."""
        for _ in range(PATIENCE_S * 10):
            try:
                answers = [await http.get(path) for path in ("/v1/health", "/api/v1/usage/summary")]
                if all(answer.status_code == 200 for answer in answers):
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
        raise SystemExit("The server did not come back.")

    async def check(self) -> None:
        """Compare what the clients saw with the ledger, and the ledger with everything summed from it."""
        async with httpx.AsyncClient(base_url=self.node.url, headers=self.node.headers, timeout=60) as http:
            await self.until_up(http)
            events = await self.settled(http)
            by_request: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for event in events:
                by_request[event["request_id"]].append(event)
                self.statuses[event["status"]] += 1
            for attempt in self.attempts:
                self.compare(attempt, by_request.pop(attempt.request_id, []))
            self.problems += [f"{name}: an event of no request" for name in by_request]
            summary = (await fetch(http, "usage/summary?window=30d"))["totals"]
            bill = (await fetch(http, "billing/hybrie/snapshot"))["mtd"]
        sums = {name: sum((exact(event[name]) for event in events), Decimal(0)) for name in MEASURES[1:]}
        sums["requests"] = Decimal(len(events))
        for name in MEASURES:
            if not sums[name] == exact(summary[name]) == exact(bill[name]):
                self.problems.append(f"{name}: events {sums[name]}, summary {summary[name]}, snapshot {bill[name]}")
        reconciled = await asyncio.to_thread(self.node.manage, "reconcile")
        if ", 0 differences" not in reconciled:
            self.problems.append(reconciled)

    async def settled(self, http: httpx.AsyncClient) -> list[dict[str, Any]]:
        """All events, once those of clients that left are in."""
        before = -1
        while True:
            events: list[dict[str, Any]] = []
            cursor = ""
            while cursor is not None:
                page = await fetch(http, f"usage/events?limit=500{cursor and '&cursor=' + cursor}")
                events += page["events"]
                cursor = page["next_cursor"]
            if len(events) == before:
                return events
            before = len(events)
            await asyncio.sleep(2)

    def compare(self, attempt: Attempt, events: list[dict[str, Any]]) -> None:
        must_have_one = attempt.outcome == "answered" or attempt.seen > 0
        if len(events) > 1 or (must_have_one and not events) or (events and attempt.outcome == "refused"):
            self.problems.append(f"{attempt}: {len(events)} events")
            return
        for event in events:
            made = (event["input_tokens"], event["output_tokens"])
            if attempt.outcome == "answered" and attempt.usage:
                if made != (attempt.usage["prompt_tokens"], attempt.usage["completion_tokens"]):
                    self.problems.append(f"{attempt}: the event has {made}")
            elif not attempt.seen <= event["output_tokens"] <= NEW_TOKENS:
                self.problems.append(f"{attempt}: the event has {made}")

    def report(self) -> None:
        print(f"{self.requests} requests in {len(self.attempts)} attempts, {self.kills} kills, {self.stops} stops")
        print("as clients saw them:", dict(Counter(attempt.outcome for attempt in self.attempts)))
        print("refusals:", dict(Counter(a.status for a in self.attempts if a.outcome == "refused")))
        print("events:", dict(self.statuses))
        print(f"problems: {len(self.problems)}", *self.problems[:20], sep="\n  ")


async def fetch(http: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = (await http.get(f"/api/v1/{path}")).raise_for_status()
    return simplejson.loads(answer.content, use_decimal=True)


def exact(number: Any) -> Decimal:
    return Decimal(number or 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--stops", type=int, default=10)
    options = parser.parse_args()
    model = resolve_model(None, LabHome.from_environment().root).path
    with tempfile.TemporaryDirectory() as folder, Node(model, Path(folder) / "home") as node:
        faults = Faults(node, options.requests, options.kills, options.stops)
        asyncio.run(faults.run())
        faults.report()
    if faults.problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
