"""`python -m benchmarks.d2l_expiry`: is anything ever served through an adapter whose time is up?

Internalizes 200 documents with 1 to 5 seconds to live, and asks each of them all the while and for half a second
beyond, first with the workers running, then with none. An answer to a request that was sent after `expires_at` is a
violation; client and database share this machine's clock. A server with a wrong clock is a test of its own
(`tests/d2l_service/test_expiry.py`).
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks.server import MODEL, Node, routing
from inference.model_files import resolve_model
from workspace.home import LabHome

AT_ONCE = 8
BEYOND_S = 0.5
FREED_WITHIN_S = 2
SLOTS = 64


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--adapters", type=int, default=200)
    chosen = options.parse_args()
    model = resolve_model(None, LabHome.from_environment().root).path
    for workers in ("1", "0"):
        with tempfile.TemporaryDirectory() as home:
            node = Node(model, Path(home), SLOTS)
            node.environment["LAB_RUN_WORKERS"] = workers
            with node:
                report("workers running" if workers == "1" else "no workers", node, chosen.adapters)


def report(title: str, node: Node, adapters: int) -> None:
    draw = random.Random(title)
    with (
        httpx.Client(base_url=node.url, headers=node.headers, timeout=120) as http,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        found = Counter[str]()
        for counts in pool.map(lambda index: live_and_die(http, index, draw.randint(1, 5)), range(adapters)):
            found += counts
        time.sleep(FREED_WITHIN_S)
        held = http.get("/v1/adapters/status").json()["slots_used"]
    print(
        f"{title:16} {adapters} adapters   served in time {found['served']}   refused after it {found['refused']}   "
        f"served after it {found['violations']}   other {found['other']}   slots still held {held}",
        flush=True,
    )


def live_and_die(http: httpx.Client, index: int, ttl_s: int) -> Counter[str]:
    document = f"The special magic number for house {index} is {7919 * (index + 1) % 100_000}."
    made = http.post("/v1/d2l/internalize", json={"document_text": document, "ttl_seconds": ttl_s})
    record = made.raise_for_status().json()
    end = datetime.fromisoformat(record["expires_at"]).timestamp()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Which number?"}], "max_tokens": 1}
    found = Counter[str]()
    while (sent := time.time()) < end + BEYOND_S:
        status = http.post("/v1/chat/completions", json=body, headers=routing(record["adapter_id"])).status_code
        if status == 200:
            found["violations" if sent >= end else "served"] += 1
        else:
            found["refused" if status == 410 else "other"] += 1
    return found


if __name__ == "__main__":
    main()
