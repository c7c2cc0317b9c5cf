"""What metering costs the chat path: two servers, one of which meters nothing, measured in turn.

python -m benchmarks.metering_cost
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.server import BenchServer, Node
from inference.model_files import resolve_model
from workspace.home import LabHome

NEW_TOKENS = 48
AT_ONCE = 16


class UnmeteredNode(Node):
    command = ("-m", "benchmarks.unmetered")


async def speeds(servers: Sequence[BenchServer], rounds: int) -> list[list[float]]:
    """Tokens/s of each round, by server."""
    found: list[list[float]] = [[] for _ in servers]
    for number in range(rounds + 1):
        order = list(zip(servers, found, strict=True))
        for server, speeds in order if number % 2 else reversed(order):
            speed = await server.tokens_per_second([None] * AT_ONCE, NEW_TOKENS)
            if number:  # the first warms up
                speeds.append(speed)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    model = resolve_model(None, LabHome.from_environment().root).path
    with (
        tempfile.TemporaryDirectory() as folder,
        Node(model, Path(folder) / "metered") as metered,
        UnmeteredNode(model, Path(folder) / "unmetered") as unmetered,
    ):
        servers = [BenchServer(node.url, node.key, node.process) for node in (metered, unmetered)]
        with_meter, without = asyncio.run(speeds(servers, rounds))
    ratios = [one / other for one, other in zip(with_meter, without, strict=True)]
    print(
        f"{AT_ONCE} at once, {rounds} rounds: {statistics.median(with_meter):.1f} tokens/s metered, "
        f"{statistics.median(without):.1f} not; the meter costs {1 - statistics.median(ratios):.1%} "
        f"(quartiles of the rounds {statistics.quantiles(ratios)[0]:.3f} to {statistics.quantiles(ratios)[2]:.3f})"
    )


if __name__ == "__main__":
    main()
