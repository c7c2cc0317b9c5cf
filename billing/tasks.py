"""What billing does on its own, by Celery beat. Each task may run twice or late without harm."""

from typing import Any

from celery import Celery, shared_task

from billing.warnings import deliver_warnings, notice_limits
from workspace.celery import app


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    sender.add_periodic_task(30, warn_of_limits.s(), name="warn-of-limits")


@shared_task
def warn_of_limits() -> None:
    """Notice limits used to 80 % and 100 %, and send what is due."""
    notice_limits()
    deliver_warnings()
