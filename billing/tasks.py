"""What billing does on its own, by Celery beat. Each task may run twice or late without harm."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from celery import Celery, shared_task
from celery.schedules import crontab

from billing.outbox import deliver_outbox
from billing.partitions import ensure_months_ahead, month_start
from billing.periods import Period
from billing.reconcile import reconcile
from billing.snapshots import store_ended_months
from billing.warnings import deliver_warnings, notice_limits
from workspace.celery import app

logger = logging.getLogger(__name__)


@app.on_after_finalize.connect
def schedule(sender: Celery, **_: Any) -> None:
    sender.add_periodic_task(30, warn_of_limits.s(), name="warn-of-limits")
    sender.add_periodic_task(10, post_out.s(), name="post-out")
    sender.add_periodic_task(crontab(minute="5"), make_partitions.s(), name="make-partitions")
    sender.add_periodic_task(crontab(minute="10"), store_snapshots.s(), name="store-snapshots")
    sender.add_periodic_task(crontab(hour="3", minute="20"), reconcile_months.s(), name="reconcile-months")


@shared_task
def warn_of_limits() -> None:
    """Notice limits used to 80 % and 100 %, and send what is due."""
    notice_limits()
    deliver_warnings()


@shared_task
def post_out() -> None:
    """Deliver to other meters what waits for them."""
    deliver_outbox()


@shared_task
def make_partitions() -> None:
    """Have the ledger's next months ready."""
    ensure_months_ahead(datetime.now(UTC))


@shared_task
def store_snapshots() -> None:
    """Store the snapshots of the month that has ended, an hour after it has."""
    store_ended_months()


@shared_task
def reconcile_months() -> None:
    """Compare this month and the one before with the raw ledger."""
    this_month = Period.month_of(datetime.now(UTC))
    for period in (Period.month_of(month_start(this_month.start - timedelta(days=1))), this_month):
        outcome = reconcile(period)
        if outcome.differences:
            logger.error("%s: the ledger differs from what is kept of it", outcome)
