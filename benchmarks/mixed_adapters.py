"""Mixed adapters against the base model, and both against transformers and PEFT, over HTTP, in one run.

    python -m benchmarks.mixed_adapters

Absolute speeds say little on a shared machine; the ratios, each of medians measured in turn, are what counts.
"""

import argparse
import asyncio
import itertools
import platform
import statistics
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.peers import PROMPT_TOKENS, Peer, best, make_adapters
from benchmarks.server import BenchServer, serving, usual
from inference.model_files import resolve_model
from workspace.home import LabHome

NEW_TOKENS = 48
LONG_PROMPT_WORDS = 900
UNDISTURBED_S = 1.0

console = Console(width=130)


async def alternate(server: BenchServer, one: list, other: list, rounds: int) -> tuple[float, float]:
    """Median tokens/s of two loads measured in turn."""
    speeds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for load, into in zip((one, other), speeds, strict=True):
            into.append(await server.tokens_per_second(load, NEW_TOKENS))
    return statistics.median(speeds[0]), statistics.median(speeds[1])


async def stalls(server: BenchServer, streams: int, disturb) -> tuple[float, list[float]]:
    """The longest wait of any stream while `disturb` runs, in usual steps, and what `disturb` returns."""
    async with server.client() as http:
        gaps: list[list[float]] = [[] for _ in range(streams)]

        async def read(index: int) -> None:
            async for gap in server.gaps(http, None, 3 * NEW_TOKENS):
                gaps[index].append(gap)

        readers = [asyncio.ensure_future(read(index)) for index in range(streams)]
        while not all(len(seen) > NEW_TOKENS // 2 for seen in gaps):
            await asyncio.sleep(0.01)
        step = usual([gap for seen in gaps for gap in seen[2:]])
        marks = [len(seen) for seen in gaps]
        result = await disturb(http)
        during = [gap for seen, mark in zip(gaps, marks, strict=True) for gap in seen[mark:]]
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        return max(during, default=0.0) / step, result


async def longest_wait(server: BenchServer, streams: int, disturb, rounds: int) -> tuple[float, list[float]]:
    """Of `stalls` the median of several rounds, and what `disturb` returned in all of them.

    A single longest wait says as much of what else the machine did.
    """
    waits, results = [], []
    for _ in range(rounds):
        wait, result = await stalls(server, streams, disturb)
        waits.append(wait)
        results += result
    return statistics.median(waits), results


async def measure(server: BenchServer, rounds: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    base16, mixed16 = [None] * 16, [f"adapter-{index}" for index in range(16)]
    async with server.client() as http:
        for adapter in mixed16:
            await server.load(http, adapter)
    await server.tokens_per_second(mixed16, 8)
    figures["base16"], figures["mixed16"] = await alternate(server, base16, mixed16, rounds)
    figures["base1"], figures["mixed1"] = await alternate(server, [None], ["adapter-0"], rounds)
    figures["resident_gb"] = server.resident_bytes() / 1e9
    async with server.client() as http:
        for index in range(16, 64):
            await server.load(http, f"adapter-{index}")
    spread = [f"adapter-{index * 2}" for index in range(32)]
    figures["one32"], figures["spread32"] = await alternate(server, ["adapter-0"] * 32, spread, rounds)

    async def loads(http) -> list[float]:
        times = []
        for index in range(10):
            (await http.post(f"/v1/adapters/adapter-{index}/unload", json={})).raise_for_status()
            times.append(await server.load(http, f"adapter-{index}"))
        return times

    beginnings = itertools.count()  # of prompts of which the prefix cache has none

    async def long_prompt(http) -> list[float]:
        body = {
            "model": "bench",
            "messages": [{"role": "user", "content": f"{next(beginnings)} {'word ' * LONG_PROMPT_WORDS}"}],
            "max_tokens": 1,
        }
        (await http.post("/v1/chat/completions", json=body)).raise_for_status()
        return []

    async def nothing(_) -> list[float]:
        await asyncio.sleep(UNDISTURBED_S)
        return []

    figures["stall_none"], _ = await longest_wait(server, 16, nothing, rounds)
    figures["stall_load"], times = await longest_wait(server, 16, loads, rounds)
    figures["load_ms"] = statistics.median(times) * 1000
    figures["stall_prompt"], _ = await longest_wait(server, 15, long_prompt, rounds)
    return figures


def measure_peers(model: Path, adapters: list[Path]) -> dict[str, tuple[str, float]]:
    dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16}
    figures = {}
    base = {name: Peer(model, dtype) for name, dtype in dtypes.items()}
    for rows in (1, 16):
        figures[f"transformers{rows}"] = best(
            {name: lambda p=peer, r=rows: p.tokens_per_second(r, NEW_TOKENS) for name, peer in base.items()}
        )
    del base
    figures["peft16"] = best(
        {
            name: lambda d=dtype: Peer(model, d, adapters[:16]).tokens_per_second(16, NEW_TOKENS)
            for name, dtype in dtypes.items()
        }
    )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    model = resolve_model(None, LabHome.from_environment().root, console).path
    with tempfile.TemporaryDirectory() as folder:
        adapters = make_adapters(model, Path(folder), 64)
        peers = measure_peers(model, adapters)
        with serving(model, Path(folder) / "home", slots=64) as server:
            asyncio.run(server.register(adapters))
            figures = asyncio.run(measure(server, rounds))
    report(figures, peers)


def report(figures: dict[str, float], peers: dict[str, tuple[str, float]]) -> None:
    console.print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    console.print(f"Prompts of {PROMPT_TOKENS} tokens, {NEW_TOKENS} new ones.")
    table = Table("what", "measured", "target", "tokens/s")
    t1, t16, p16 = peers["transformers1"], peers["transformers16"], peers["peft16"]
    rows = [
        ("16 adapters / base, 16 concurrent", figures["mixed16"] / figures["base16"], ">= 0.85", ("mixed16", "base16")),
        (f"16 adapters / PEFT mixed batch ({p16[0]})", figures["mixed16"] / p16[1], ">= 9", ("mixed16", p16[1])),
        (f"base 16 / transformers ({t16[0]})", figures["base16"] / t16[1], ">= 2", ("base16", t16[1])),
        (f"base alone / transformers ({t1[0]})", figures["base1"] / t1[1], ">= 3", ("base1", t1[1])),
        ("one adapter alone / base alone", figures["mixed1"] / figures["base1"], "", ("mixed1", "base1")),
        (
            "32 of 64 adapters / 1 for all, 32 concurrent",
            figures["spread32"] / figures["one32"],
            ">= 0.90",
            ("spread32", "one32"),
        ),
    ]
    for what, ratio, target, speeds in rows:
        shown = " / ".join(f"{figures[s] if isinstance(s, str) else s:.1f}" for s in speeds)
        table.add_row(what, f"{ratio:.2f}", target, shown)
    table.add_row("load during 16 streams, p50 ms", f"{figures['load_ms']:.0f}", "<= 50", "")
    table.add_row("longest wait undisturbed, steps", f"{figures['stall_none']:.1f}", "", "")
    table.add_row("longest wait during loads, steps", f"{figures['stall_load']:.1f}", "<= 2", "")
    table.add_row("longest wait during a long prompt, steps", f"{figures['stall_prompt']:.1f}", "<= 3", "")
    table.add_row("resident memory with 16 adapters, GB", f"{figures['resident_gb']:.2f}", "<= 1.5", "")
    console.print(table)


if __name__ == "__main__":
    main()
