"""`python -m benchmarks.d2l_expiry`: is anything ever served through an adapter whose time is up?

Internalizes 200 documents with 1 to 5 seconds to live, and asks each of them all the while and for half a second
beyond: with the workers running, with none, and with a server whose own clock is an hour ahead and an hour behind
(Postgres and this process keep the machine's). An answer to a request that was sent after `expires_at` is a violation.
"""

import argparse
import random
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from benchmarks.server import MODEL, Node, routing
from benchmarks.shifted_clock import COMPILER, shifted_clock
from inference.model_files import resolve_model
from workspace.embedded import start_postgres
from workspace.home import LabHome

AT_ONCE = 8
BEYOND_S = 0.5
FREED_WITHIN_S = 2
SLOTS = 64
LATE, ANSWERED = "answered late", "answered"
HOUR_S = 3600
QUESTION = {"model": MODEL, "messages": [{"role": "user", "content": "Which number?"}], "max_tokens": 1}


@dataclass(frozen=True)
class Mode:
    """How the server runs: with workers or without, and by how many seconds its clock is ahead."""

    title: str
    workers: bool = False
    ahead_s: int = 0


MODES = (
    Mode("workers running", workers=True),
    Mode("no workers"),
    Mode("clock an hour ahead", ahead_s=HOUR_S),
    Mode("clock an hour behind", ahead_s=-HOUR_S),
)


@dataclass(frozen=True)
class Found:
    """How many requests were answered, of these after the end, and refused, by code; the slots held afterwards; and how
    many seconds the server's own clock was ahead.
    """

    answered: int
    late: int
    refused: dict[str, int]
    slots_held: int
    ahead_s: int


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--adapters", type=int, default=200)
    chosen = options.parse_args()
    model = resolve_model(None, LabHome.from_environment().root).path
    for mode in MODES:
        if mode.ahead_s and COMPILER is None:
            print(f"{mode.title:24} SKIPPED: there is no C compiler to shift a clock with", flush=True)
            continue
        found = measure(model, mode, chosen.adapters)
        refused = ", ".join(f"{code} {count}" for code, count in sorted(found.refused.items()))
        print(
            f"{mode.title:24} adapters {chosen.adapters}   answered {found.answered}   refused ({refused})   "
            f"answered after expires_at {found.late}   slots still held {found.slots_held}",
            flush=True,
        )


def measure(model: Path, mode: Mode, adapters: int) -> Found:
    with tempfile.TemporaryDirectory() as folder:
        node = Node(model, Path(folder, "home"), SLOTS)
        node.environment["LAB_RUN_WORKERS"] = str(int(mode.workers))
        if mode.ahead_s:
            node.environment["DATABASE_URL"] = start_postgres(Path(folder, "beside"))
            node.environment |= shifted_clock(mode.ahead_s, Path(folder))
        with node:
            return live(node, adapters, random.Random(mode.title))


def live(node: Node, adapters: int, draw: random.Random) -> Found:
    with (
        httpx.Client(base_url=node.url, headers=node.headers, timeout=120) as http,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        found = Counter[str]()
        for counts in pool.map(lambda index: live_and_die(http, index, draw.randint(1, 5)), range(adapters)):
            found += counts
        time.sleep(FREED_WITHIN_S)
        held = http.get("/v1/adapters/status").json()["slots_used"]
        ahead_s = http.post("/v1/chat/completions", json=QUESTION).json()["created"] - round(time.time())
    late = found.pop(LATE, 0)
    return Found(found.pop(ANSWERED, 0) + late, late, dict(found), held, ahead_s)


def live_and_die(http: httpx.Client, index: int, ttl_s: int) -> Counter[str]:
    document = f"The special magic number for house {index} is {7919 * (index + 1) % 100_000}."
    made = http.post("/v1/d2l/internalize", json={"document_text": document, "ttl_seconds": ttl_s})
    record = made.raise_for_status().json()
    end = datetime.fromisoformat(record["expires_at"]).timestamp()
    found = Counter[str]()
    while (sent := time.time()) < end + BEYOND_S:
        answer = http.post("/v1/chat/completions", json=QUESTION, headers=routing(record["adapter_id"]))
        if answer.status_code == 200:
            found[LATE if sent >= end else ANSWERED] += 1
        else:
            found[answer.json()["error"]["code"]] += 1
    return found


if __name__ == "__main__":
    main()
