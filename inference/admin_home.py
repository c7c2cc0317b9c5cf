"""The admin console's first page: is everything that this server stands on alive?"""

import os
from dataclasses import dataclass
from typing import Any

import redis
from django.db import DatabaseError, connection
from django.http import HttpRequest
from kombu.exceptions import OperationalError

from inference.runtime import runtime
from workspace.celery import app

WAIT_S = 1.0
MIB = 1 << 20


@dataclass(frozen=True)
class Health:
    """What was measured of one part, just now."""

    part: str
    is_up: bool
    facts: str


def with_health(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the page, for `UNFOLD["DASHBOARD_CALLBACK"]`."""
    broker = valkey()
    return {**context, "health": [engine(), postgres(), broker, worker(broker)]}


def engine() -> Health:
    running = runtime.engine
    if running is None:
        return Health("Engine", False, "no model is loaded in this process")
    stats = running.stats()
    return Health(
        "Engine",
        runtime.ready.is_set(),
        f"{runtime.model_name}: {stats.running} running, {stats.queue_depth} waiting;"
        f" {stats.slots_used} of {stats.max_active_loras} adapter slots;"
        f" {stats.kv_used_tokens} of {stats.kv_capacity_tokens} tokens cached",
    )


def postgres() -> Health:
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), pg_database_size(current_database()),"
                " (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database())"
            )
            version, size, connections = cursor.fetchone()
    except DatabaseError as error:
        return Health("Postgres", False, str(error).splitlines()[0])
    return Health("Postgres", True, f"version {version}, {size / MIB:.0f} MiB, {connections} connections")


def valkey() -> Health:
    address = os.environ.get("CELERY_BROKER_URL")
    if not address:
        return Health("Valkey", False, "no broker is set in this process")
    try:
        with app.connection_for_read(address) as link:
            link.ensure_connection(max_retries=1, timeout=WAIT_S)
            client = link.default_channel.client
            memory = client.info("memory")
            waiting = client.llen(app.conf.task_default_queue)
    except (OperationalError, redis.RedisError) as error:
        return Health("Valkey", False, str(error))
    return Health("Valkey", True, f"{memory['used_memory'] / MIB:.1f} MiB used, {waiting} tasks waiting")


def worker(broker: Health) -> Health:
    """Whether a Celery worker answers within a second; without a broker nothing can be asked."""
    if not broker.is_up:
        return Health("Worker", False, "cannot be asked without the broker")
    answers = app.control.ping(timeout=WAIT_S)
    names = [name for answer in answers for name in answer]
    return Health("Worker", bool(names), ", ".join(names) or f"no answer in {WAIT_S:.0f} s")
