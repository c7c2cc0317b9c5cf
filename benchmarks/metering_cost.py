"""What metering costs the chat path: one server under a steady load that is metered and not in turn.

    python -m benchmarks.metering_cost

Slices with and without the meter alternate as A B B A, so that what drifts slowly weighs on both alike. A slice begins
once the requests of the one before have ended. Throughput and the server's processor time are read at its two ends.
"""

import argparse
import asyncio
import itertools
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.server import BenchServer, Node, body
from benchmarks.unmetered import PREFIX
from inference.model_files import resolve_model
from workspace.home import LabHome

AT_ONCE = 16
SLICE_S = 2.0
RESAMPLES = 5000
ORDER = (True, False, False, True)


class PartlyMeteredNode(Node):
    command = ("-m", "benchmarks.unmetered")


@dataclass(frozen=True)
class Reading:
    """Totals of the server at a moment: seconds of the clock and of its processors, completion tokens."""

    clock_s: float
    processor_s: float
    tokens: float


@dataclass(frozen=True)
class Slice:
    first: Reading
    last: Reading

    @property
    def tokens(self) -> float:
        return self.last.tokens - self.first.tokens

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / (self.last.clock_s - self.first.clock_s)

    @property
    def processor_s_per_token(self) -> float:
        return (self.last.processor_s - self.first.processor_s) / self.tokens


Quad = dict[bool, list[Slice]]  # the slices of one A B B A: with the meter (True) and without


class Load:
    """Clients that ask again as soon as they are answered; each request is metered or not as the slice wants it."""

    def __init__(self, server: BenchServer, http: httpx.AsyncClient, new_tokens: tuple[int, int]) -> None:
        self.server = server
        self.http = http
        self.new_tokens = new_tokens
        self.process = psutil.Process(server.process.pid)
        self.metered = True
        self.running = {True: 0, False: 0}
        self.numbers = itertools.count()

    async def client(self) -> None:
        while True:
            metered = self.metered
            self.running[metered] += 1
            headers = {"x-request-id": f"{'metered-' if metered else PREFIX}{next(self.numbers)}"}
            request = body(random.randint(*self.new_tokens))
            (await self.http.post("/v1/chat/completions", json=request, headers=headers)).raise_for_status()
            self.running[metered] -= 1

    async def read(self) -> Reading:
        text = (await self.http.get("/metrics")).raise_for_status().text
        line = next(line for line in text.splitlines() if line.startswith('lab_tokens_total{kind="completion"}'))
        used = self.process.cpu_times()
        return Reading(time.perf_counter(), used.user + used.system, float(line.split()[1]))

    async def slice(self, metered: bool) -> Slice:
        self.metered = metered
        while self.running[not metered]:
            await asyncio.sleep(0.01)
        first = await self.read()
        await asyncio.sleep(SLICE_S)
        return Slice(first, await self.read())

    async def quads(self, seconds: float) -> list[Quad]:
        """As many as fit; the first warms up and is left out."""
        clients = [asyncio.ensure_future(self.client()) for _ in range(AT_ONCE)]
        found: list[Quad] = []
        ends = time.perf_counter() + seconds
        while time.perf_counter() < ends:
            quad: Quad = {True: [], False: []}
            flip = random.random() < 0.5
            for metered in ORDER:
                quad[metered != flip].append(await self.slice(metered != flip))
            found.append(quad)
            for failed in (client for client in clients if client.done()):
                failed.result()
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
        return found[1:]


async def measured(server: BenchServer, seconds: float, new_tokens: tuple[int, int]) -> list[Quad]:
    async with server.client() as http:
        return await Load(server, http, new_tokens).quads(seconds)


def log_ratio(quad: Quad, value: Callable[[Slice], float]) -> float:
    """Of the value with the meter to that without, of one A B B A."""
    with_meter, without = (statistics.fmean(math.log(value(one)) for one in quad[metered]) for metered in (True, False))
    return with_meter - without


def interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """Their median and its 95 % confidence interval, by bootstrap, as what they add in a hundred."""
    medians = [statistics.median(random.choices(samples, k=len(samples))) for _ in range(RESAMPLES)]
    cuts = statistics.quantiles(medians, n=40)
    low, middle, high = (100 * math.expm1(value) for value in (cuts[0], statistics.median(samples), cuts[-1]))
    return low, middle, high


def line(name: str, quads: Sequence[Quad], value: Callable[[Slice], float], unit: str) -> str:
    """One measure: its medians with the meter and without, and by how much the meter changes it."""
    medians = [statistics.median(value(one) for quad in quads for one in quad[metered]) for metered in (True, False)]
    low, middle, high = interval([log_ratio(quad, value) for quad in quads])
    return (
        f"{name}: {medians[0]:.4g} {unit} metered, {medians[1]:.4g} not; "
        f"the meter changes it by {middle:+.2f} % (95 % interval {low:+.2f} to {high:+.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    # Answers that all end at once would make a load of waves
    parser.add_argument("--new-tokens", type=int, nargs=2, default=(32, 64), help="An answer's, at least and at most.")
    chosen = parser.parse_args()
    least, most = chosen.new_tokens
    model = resolve_model(None, LabHome.from_environment().root).path
    with tempfile.TemporaryDirectory() as folder, PartlyMeteredNode(model, Path(folder) / "home") as node:
        server = BenchServer(node.url, node.key, node.process)
        quads = asyncio.run(measured(server, chosen.seconds, (least, most)))
    print(f"{AT_ONCE} at once, {least} to {most} tokens each, {len(quads)} times {len(ORDER)} slices of {SLICE_S:g} s")
    print(line("throughput", quads, lambda one: one.tokens_per_second, "tokens/s"))
    print(line("processor time", quads, lambda one: 1e6 * one.processor_s_per_token, "µs/token"))


if __name__ == "__main__":
    main()
