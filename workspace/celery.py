"""The Celery application: one broker, tasks found in each app's `tasks` module."""

import logging.config
import os
import signal
import threading
import time
from typing import Any

from celery import Celery
from celery.signals import beat_init, before_task_publish, setup_logging, task_prerun, worker_init
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
app = Celery("lab-workspace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.conf["CELERY_DB_REUSE_MAX"] = 1000  # uses of a worker's connection to the database

PULSE = "lab-workspace:beat"  # the broker's key for the time at which beat last sent a task
LONGEST_SILENCE_S = 60  # it sends several a minute


@setup_logging.connect
def log_as_the_server_does(**_: Any) -> None:
    """Celery leaves logging alone where this signal has a receiver."""
    logging.config.dictConfig(settings.LOGGING)


@worker_init.connect
@beat_init.connect
def follow_the_server(**_: Any) -> None:
    """End this worker when the `serve` process that started it is gone, so that a killed server leaves no orphan."""
    server = os.environ.get("LAB_SERVER_PID")
    if not server:
        return

    def watch() -> None:
        while os.getppid() == int(server):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="follow-the-server", daemon=True).start()


@worker_init.connect
def keep_connections(**_: Any) -> None:
    """Keep each worker's connection to the database, where it had a pool with threads made for every task: that took
    more than most tasks, and from the server's processors.
    """
    database = connections.settings[DEFAULT_DB_ALIAS]
    database["OPTIONS"].pop("pool", None)
    database["CONN_MAX_AGE"] = None
    task_prerun.connect(leave_dead_connections)


def leave_dead_connections(**_: Any) -> None:
    close_old_connections()


@beat_init.connect
def leave_a_pulse(**_: Any) -> None:
    """Have beat, and no other process, note with the broker when it sends a task."""
    before_task_publish.connect(note_pulse)


def note_pulse(**_: Any) -> None:
    with app.pool.acquire(block=True) as link:
        link.default_channel.client.set(PULSE, time.time(), ex=LONGEST_SILENCE_S)
