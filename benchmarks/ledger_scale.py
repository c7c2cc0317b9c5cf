# ruff: noqa: E402 (Django's settings need the database's address first)
"""How the ledger scales: ingest through the server's own writer, then the API's queries, at growing sizes.

    python benchmarks/ledger_scale.py --sizes 1000000,10000000

Makes a database of its own on the server of DATABASE_URL (by default the embedded one), and drops it.
The events lie in one month, over 4 models, 2 providers, 2 modes and 12 adapters, in one workspace. The last of them
at each size come through the writer: as a server admits them, at the present moment, and as a spool might hold them
after a month, at any moment. The console's pages are asked too, with 10,000 adapters registered.
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workspace.embedded import prepare_environment

prepare_environment()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")

import django

django.setup()

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections
from django.test import Client

from benchmarks.console_pages import Pages
from billing.ledger import COLUMNS
from billing.models import RateCard
from billing.partitions import month_start
from billing.spool import Spool
from billing.totals import LABELS
from billing.usage import Usage, now
from billing.writer import Writer
from workspace.models import ApiKey, Workspace

DATABASE = f"ledger_scale_{os.getpid()}"
ADAPTERS = [None, None, *(f"adapter-{number}" for number in range(12))]
SEED = 10_000
INGEST_MEASURED = 200_000  # as they come; the late ones are half as many
IN_FLIGHT = 4_000
COPIED = 200_000  # at once


class Database:
    """A database of this run's own."""

    def __enter__(self) -> None:
        self.url = os.environ["DATABASE_URL"]
        with psycopg.connect(self.url, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {DATABASE}")
        connection.settings_dict["NAME"] = DATABASE
        call_command("migrate", verbosity=0)

    def __exit__(self, *_: object) -> None:
        connections.close_all()
        connection.close_pool()
        with psycopg.connect(self.url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


class Traffic:
    """Made-up requests of one workspace, evenly spread over this month."""

    def __init__(self, workspace: Workspace, seed: int = 1) -> None:
        self.workspace = workspace
        self.random = random.Random(seed)
        self.start = month_start(now())
        self.keys = [uuid.UUID(int=self.random.getrandbits(128)) for _ in range(5)]

    def usage(self, ts: datetime) -> Usage:
        choose = self.random.choice
        return Usage(
            workspace_id=self.workspace.pk,
            provider=choose(("local", "openai")),
            model=choose(("smollm2", "qwen3-4b", "gemma3", "gpt-5")),
            mode=choose(("byoc", "byok")),
            status="ok" if self.random.random() < 0.98 else "client_disconnected",
            input_tokens=self.random.randrange(2000),
            output_tokens=self.random.randrange(500),
            latency_ms=self.random.randrange(5000),
            ttft_ms=self.random.randrange(300),
            adapter_id=choose(ADAPTERS),
            session_key=f"session-{self.random.randrange(1000)}" if self.random.random() < 0.1 else None,
            api_key_id=choose(self.keys),
            request_id=f"req_{self.random.getrandbits(128):032x}",
            route_decision={"asked": {"model": "qwen3-4b"}, "selected": {"backend": "local", "mode": "local"}},
            stream=True,
            ts=ts,
        )

    def moment(self) -> datetime:
        return self.start + timedelta(milliseconds=self.random.randrange(28 * 24 * 3600 * 1000))

    def as_they_come(self, count: int) -> Iterator[Usage]:
        return (self.usage(now()) for _ in range(count))

    def late(self, count: int) -> Iterator[Usage]:
        return (self.usage(self.moment()) for _ in range(count))


def ingest(usages: Sequence[Usage]) -> float:
    """Events per second through a `Writer` with its group commit, each future awaited."""
    with tempfile.TemporaryDirectory() as folder:
        writer = Writer(Spool(Path(folder) / "events"), Spool(Path(folder) / "rejected"))
        begun = time.perf_counter()
        stored: list[Future[uuid.UUID]] = []
        for number, usage in enumerate(usages):
            stored.append(writer.put(usage))
            if number >= IN_FLIGHT:
                stored[number - IN_FLIGHT].result()
        for future in stored:
            future.result()
        elapsed = time.perf_counter() - begun
        writer.stop()
    return len(usages) / elapsed


def fill(traffic: Traffic, count: int) -> None:
    """Copies of the events that are there, at other moments, written by Postgres itself; its triggers roll them up."""
    changed = {"id": "new_id", "ts": "uuid_extract_timestamp(new_id)", "request_id": "new_id::text"}
    values = ", ".join(changed.get(name, name) for name in COLUMNS.split(", "))
    copy = f"""
        WITH copied AS MATERIALIZED (
            SELECT *, uuidv7(%(start)s + random() * interval '28 days' - now()) AS new_id
            FROM billing_usageevent LIMIT %(count)s
        )
        INSERT INTO billing_usageevent ({COLUMNS}) SELECT {values} FROM copied
    """
    while count > 0:
        with connection.cursor() as cursor:
            cursor.execute(copy, {"start": traffic.start, "count": min(count, COPIED)})
            count -= cursor.rowcount


def latencies(ask: Callable[[], object], times: int) -> str:
    """Median and 95th percentile in milliseconds, after three to warm up."""
    for _ in range(3):
        ask()
    measured = []
    for _ in range(times):
        begun = time.perf_counter()
        ask()
        measured.append((time.perf_counter() - begun) * 1000)
    percentiles = statistics.quantiles(measured, n=20)
    return f"p50 {statistics.median(measured):6.1f} ms   p95 {percentiles[-1]:6.1f} ms"


class Questions:
    """What the API is asked, by HTTP through Django's whole stack."""

    def __init__(self, workspace: Workspace) -> None:
        secret = ApiKey(workspace=workspace, name="benchmark").issue()
        self.client = Client(headers={"authorization": f"Bearer {secret}"})
        self.random = random.Random(2)

    def get(self, path: str, **query: object) -> dict:
        answer = self.client.get(f"/api/v1/{path}", query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def cursors(self, pages: int = 12) -> list[str]:
        """Cursors at random depths: a cursor is the place of an event, so any event's will do."""
        from billing.pages import write_cursor

        with connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM billing_usageevent TABLESAMPLE SYSTEM (1) LIMIT {pages}")
            return [write_cursor(identifier) for (identifier,) in cursor.fetchall()]

    def ask_all(self, times: int) -> None:
        print(f"  snapshot               {latencies(lambda: self.get('billing/hybrie/snapshot'), times)}")
        for label in LABELS:
            took = latencies(lambda label=label: self.get("usage/summary", window="30d", group_by=label), times)
            print(f"  summary by {label:<11} {took}")
        cursors = self.cursors()
        pages: dict[str, dict[str, object]] = {
            "": {},
            " of an adapter": {"adapter_id": "adapter-3"},
            " of a session": {"session_key": "session-7"},
            " of a model": {"model": "gemma3"},
            " not ok": {"status": "client_disconnected"},
        }
        for name, query in pages.items():
            took = latencies(
                lambda query=query: self.get("usage/events", cursor=self.random.choice(cursors), **query), times
            )
            print(f"  page{name:<18} {took}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000000,10000000", help="numbers of events to measure at")
    parser.add_argument("--times", type=int, default=40, help="how often each question is asked")
    options = parser.parse_args()
    settings.ALLOWED_HOSTS.append("testserver")
    with Database():
        workspace = Workspace.objects.create(name="benchmark")
        RateCard.objects.create(input_rate="0.15", output_rate="0.6", effective_from=month_start(now()))
        traffic, questions, pages, there = Traffic(workspace), Questions(workspace), Pages(workspace), SEED
        ingest(list(traffic.late(SEED)))
        for size in map(int, options.sizes.split(",")):
            begun = time.perf_counter()
            fill(traffic, size - there - INGEST_MEASURED - INGEST_MEASURED // 2)
            filled = time.perf_counter() - begun
            live = ingest(list(traffic.as_they_come(INGEST_MEASURED)))
            late = ingest(list(traffic.late(INGEST_MEASURED // 2)))
            there = size
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE")
                cursor.execute("SELECT count(*) FROM billing_dailyusage")
                rollups = cursor.fetchone()[0]
            print(f"{size:,} events, {rollups:,} daily rollups (filled in {filled:.0f} s)")
            print(f"  ingest                 {live:,.0f} events/s as they come, {late:,.0f} late ones")
            questions.ask_all(options.times)
            pages.ask_all(options.times)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
