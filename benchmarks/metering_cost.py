"""What metering costs the chat path: one server under a steady load that is metered and not in turn.

    python -m benchmarks.metering_cost

Slices with and without the meter alternate as A B B A, so that what drifts slowly weighs on both alike. A slice begins
once the requests of the one before have ended. Throughput and processor time are read at its two ends: on a machine
that others use too the throughput scatters by more than the meter costs, the processor time beside the model does not.
"""

import argparse
import asyncio
import itertools
import math
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from benchmarks.server import BenchServer, Node, body
from benchmarks.unmetered import PREFIX
from inference.model_files import resolve_model
from workspace.home import LabHome

AT_ONCE = 16
SLICE_S = 5.0
RESAMPLES = 5000
ORDER = (True, False, False, True)


class PartlyMeteredNode(Node):
    command = ("-m", "benchmarks.unmetered")


@dataclass(frozen=True)
class Reading:
    """Totals at a moment: seconds of the clock, seconds that each thread has run, completion tokens."""

    clock_s: float
    threads_s: dict[Path, float]
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


Quad = dict[bool, list[Slice]]  # the slices of one A B B A: with the meter (True) and without


class Load:
    """Clients that ask again as soon as they are answered; each request is metered or not as the slice wants it."""

    def __init__(self, node: Node, http: httpx.AsyncClient, new_tokens: tuple[int, int]) -> None:
        self.node = node
        self.http = http
        self.new_tokens = new_tokens
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
        return Reading(time.perf_counter(), threads_s(self.node), float(line.split()[1]))

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


def threads_s(node: Node) -> dict[Path, float]:
    """Seconds that each thread of the server, its workers and its Postgres has run, by its folder in Linux' /proc."""
    database = int((node.home / "postgres" / "postmaster.pid").read_text().split()[0])
    seconds = {}
    for root in (psutil.Process(node.process.pid), psutil.Process(database)):
        for process in (root, *root.children(recursive=True)):
            for thread in Path("/proc", str(process.pid), "task").glob("*"):
                with suppress(OSError):  # it has ended meanwhile
                    seconds[thread] = int((thread / "schedstat").read_text().split()[0]) / 1e9
    return seconds


async def measured(node: Node, seconds: float, new_tokens: tuple[int, int]) -> list[Quad]:
    async with BenchServer(node.url, node.key, node.process).client() as http:
        return await Load(node, http, new_tokens).quads(seconds)


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


def slices(quads: Sequence[Quad], metered: bool) -> Iterator[Slice]:
    return (one for quad in quads for one in quad[metered])


def ran_s(quads: Sequence[Quad], metered: bool) -> dict[Path, float]:
    """How long each thread ran in the slices."""
    seconds: dict[Path, float] = defaultdict(float)
    for one in slices(quads, metered):
        for thread, total in one.last.threads_s.items():
            seconds[thread] += total - one.first.threads_s.get(thread, 0.0)
    return seconds


def processor_time(quads: Sequence[Quad]) -> str:
    """What the meter adds of it, to all that runs beside the model, and what that is of all.

    The model is computed by the busiest threads, one for each processor.
    """
    ran = {metered: ran_s(quads, metered) for metered in (True, False)}
    tokens = {metered: sum(one.tokens for one in slices(quads, metered)) for metered in ran}
    model = sorted(ran[True], key=lambda thread: -ran[True][thread])[: psutil.cpu_count()]
    beside = {
        metered: 1e6 * sum(seconds for thread, seconds in threads.items() if thread not in model) / tokens[metered]
        for metered, threads in ran.items()
    }
    whole = 1e6 * sum(ran[False].values()) / tokens[False]
    added = beside[True] - beside[False]
    return (
        f"processor time beside the model: {beside[True]:.0f} µs/token metered, {beside[False]:.0f} not; "
        f"the meter adds {added:.0f} to {whole:.0f} in all, {100 * added / whole:.2f} %"
    )


def line(name: str, quads: Sequence[Quad], value: Callable[[Slice], float], unit: str) -> str:
    """One measure: its medians with the meter and without, and by how much the meter changes it."""
    medians = [statistics.median(value(one) for one in slices(quads, metered)) for metered in (True, False)]
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
        quads = asyncio.run(measured(node, chosen.seconds, (least, most)))
    print(f"{AT_ONCE} at once, {least} to {most} tokens each, {len(quads)} times {len(ORDER)} slices of {SLICE_S:g} s")
    print(line("throughput", quads, lambda one: one.tokens_per_second, "tokens/s"))
    print(processor_time(quads))


if __name__ == "__main__":
    main()
