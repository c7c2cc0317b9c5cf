"""The Celery application: one broker, tasks found in each app's `tasks` module."""

import logging.config
import os
import signal
import threading
import time
from typing import Any

from celery import Celery
from celery.signals import beat_init, setup_logging, worker_init
from django.conf import settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
app = Celery("lab-workspace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


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
