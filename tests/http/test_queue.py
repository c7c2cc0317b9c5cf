import asyncio

import httpx

from tests.http.conftest import MODEL, Tenant
from tests.routing.nodes import until

TAKEN = 32 + 64  # of the engine in tests/serving.py: running, and waiting


async def test_a_full_queue_is_429_with_retry_after_and_serves_on(tenant: Tenant, base_url: str) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": 1000,
        "ignore_eos": True,
    }
    headers = {"Authorization": f"Bearer {tenant.key}"}
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=120, limits=limits) as http:
        asked = [asyncio.ensure_future(http.post("/v1/chat/completions", json=body)) for _ in range(TAKEN + 10)]
        done, pending = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        refused = done.pop().result()
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "queue_full"
    assert int(refused.headers["retry-after"]) >= 1
    until(lambda: tenant.ask("Hello", max_tokens=2).status_code == 200)  # those who went away leave their places
