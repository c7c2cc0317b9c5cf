"""A short run of `benchmarks/meter_faults.py`: kill -9, a database stop and clients that leave, over real HTTP."""

from pathlib import Path

from benchmarks.meter_faults import Faults
from benchmarks.server import Node


async def test_every_request_has_its_event_whatever_dies(smollm_path: Path, tmp_path: Path) -> None:
    with Node(smollm_path, tmp_path / "home") as node:
        faults = Faults(node, requests=24, kills=1, stops=1)
        await faults.run()
    assert faults.problems == []
    assert faults.statuses["ok"] > 0
    assert sum(faults.statuses.values()) >= 24
