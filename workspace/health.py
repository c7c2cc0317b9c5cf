"""What this server stands on, and whether it is alive: the first page of the admin console."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from django.db import DatabaseError, connection
from django.http import HttpRequest
from kombu.exceptions import OperationalError

from workspace.celery import LONGEST_SILENCE_S, PULSE, app

WAIT_S = 1.0
MIB = 1 << 20
AWAY = (OperationalError, redis.RedisError)  # what Valkey's absence raises


@dataclass(frozen=True)
class Health:
    """What was measured of one part, just now."""

    part: str
    is_up: bool
    facts: str


Measure = Callable[[], Health]
parts: list[Measure] = []


def part(measure: Measure) -> Measure:
    """Have this measured for the page too. The apps' `admin` modules see to it that their parts are known."""
    parts.append(measure)
    return measure


def with_health(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the page, for `UNFOLD["DASHBOARD_CALLBACK"]`."""
    broker = valkey()
    return {**context, "health": [postgres(), broker, worker(broker), beat(broker), *(measure() for measure in parts)]}


def postgres() -> Health:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), pg_database_size(current_database()),"
                " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
            )
            version, size, connections = cursor.fetchone()
    except DatabaseError as error:
        return Health("Postgres", False, str(error).partition("\n")[0])
    return Health("Postgres", True, f"version {version}, {size / MIB:.0f} MiB, {connections} connections")


def broker_address() -> str | None:
    """As the environment says now: the embedded one is started after the settings are read."""
    return os.environ.get("CELERY_BROKER_URL") or None


def valkey() -> Health:
    address = broker_address()
    if address is None:
        return Health("Valkey", False, "no broker is set in this process")
    try:
        with app.connection_for_read(address) as link:
            link.ensure_connection(max_retries=1, timeout=WAIT_S)
            client = link.default_channel.client
            memory = client.info("memory")
            waiting = client.llen(app.conf.task_default_queue)
    except AWAY as error:
        return Health("Valkey", False, str(error))
    return Health("Valkey", True, f"{memory['used_memory'] / MIB:.1f} MiB used, {waiting} tasks waiting")


def worker(broker: Health) -> Health:
    """Whether a Celery worker answers within a second; without a broker nothing can be asked."""
    if not broker.is_up:
        return Health("Worker", False, "cannot be asked without the broker")
    try:
        with app.connection_for_write(broker_address()) as link:
            answers = app.control.ping(timeout=WAIT_S, connection=link)
    except AWAY as error:
        return Health("Worker", False, str(error))
    names = [name for answer in answers for name in answer]
    return Health("Worker", bool(names), ", ".join(names) or f"no answer in {WAIT_S:.0f} s")


def beat(broker: Health) -> Health:
    """Whether Celery beat has sent a task lately: it leaves the time of each with the broker."""
    if not broker.is_up:
        return Health("Beat", False, "cannot be asked without the broker")
    try:
        with app.connection_for_read(broker_address()) as link:
            sent_at = link.default_channel.client.get(PULSE)
    except AWAY as error:
        return Health("Beat", False, str(error))
    if sent_at is None:
        return Health("Beat", False, f"has sent nothing for {LONGEST_SILENCE_S} s")
    return Health("Beat", True, f"sent a task {max(0, time.time() - float(sent_at)):.0f} s ago")
