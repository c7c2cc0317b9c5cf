"""A short run of `benchmarks/soak.py`: nobody gets a wrong adapter's answer, whatever comes and goes."""

from pathlib import Path

import httpx

from benchmarks.soak import Soak
from tests.http.conftest import MODEL, Tenant


async def test_it_works(tenant: Tenant, random_adapters: list[Path], base_url: str) -> None:
    names = [path.name for path in random_adapters]
    for path in random_adapters:
        tenant.register(path.name, path).raise_for_status()
    headers = {"Authorization": f"Bearer {tenant.key}"}
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60) as http:
        soak = Soak(http, MODEL, names)
        await soak.run(seconds=15, clients=6)
    assert soak.wrong == []
    assert soak.outcomes["chat 200"] > 5
    assert soak.outcomes["left early"] > 0
    assert tenant.http.get("/v1/adapters/status").json()["slots_used"] <= 4
