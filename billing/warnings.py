"""Warnings at 80 % and 100 % of a limit: noticed by a beat task, sent by signed webhook, retried."""

import base64
import hashlib
import hmac
import json
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
from django.db import transaction

from billing.credit import every_credit
from billing.models import LimitWarning, WorkspaceLimit

logger = logging.getLogger(__name__)

PERCENTAGES = (80, 100)
TIMEOUT_S = 10
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=6)
MAX_ATTEMPTS = 14  # over about two days


def notice_limits(now: datetime | None = None) -> int:
    """Write down each limit that has come to a percentage since it was last looked at. Returns how many."""
    now = now or datetime.now(UTC)
    noticed = 0
    for credit in every_credit(now):
        spent = credit.spent()
        for percent in PERCENTAGES:
            if spent < credit.limit * percent / Decimal(100):
                continue
            limit = WorkspaceLimit.objects.filter(pk=credit.workspace.pk).first()
            _, is_new = LimitWarning.objects.get_or_create(
                workspace=credit.workspace,
                api_key_id=credit.api_key_id,
                percent=percent,
                period_start=credit.start,
                limit_pence=credit.limit_pence,
                defaults={
                    "spent_gbp": spent,
                    "next_attempt_at": now if limit and limit.webhook_url else None,
                },
            )
            noticed += is_new
    return noticed


def deliver_warnings(now: datetime | None = None) -> int:
    """Send what is due. Returns how many were taken."""
    now = now or datetime.now(UTC)
    delivered = 0
    while True:
        with transaction.atomic():
            due = LimitWarning.objects.select_for_update(skip_locked=True).filter(next_attempt_at__lte=now)
            warning = due.order_by("next_attempt_at").first()
            if warning is None:
                return delivered
            delivered += deliver(warning, now)


def deliver(warning: LimitWarning, now: datetime) -> bool:
    """Send one warning; on failure, put off the next attempt twice as long as the one before."""
    limit = WorkspaceLimit.objects.filter(pk=warning.workspace_id).first()
    warning.attempts += 1
    try:
        if limit is None or not limit.webhook_url:
            raise httpx.UnsupportedProtocol("the webhook was removed")
        post_signed(limit, warning, now)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        warning.last_error = str(error)
        wait = min(FIRST_RETRY * 2 ** (warning.attempts - 1), LONGEST_RETRY)
        warning.next_attempt_at = now + wait if warning.attempts < MAX_ATTEMPTS else None
        logger.warning("warning %s was not delivered: %s", warning.id, error)
    else:
        warning.delivered_at, warning.next_attempt_at, warning.last_error = now, None, ""
    warning.save()
    return warning.delivered_at is not None


def post_signed(limit: WorkspaceLimit, warning: LimitWarning, now: datetime) -> None:
    """POST as the Standard Webhooks specification (standardwebhooks.com) has it: its receivers can check it.

    Raises:
        httpx.HTTPError: it was not taken with a 2xx.
    """
    event = f"limit.{'reached' if warning.percent >= 100 else 'approaching'}"
    body = json.dumps({"type": event, "timestamp": now.isoformat(), "data": warning.to_dict()})
    identifier, timestamp = f"msg_{warning.id.hex}", str(int(now.timestamp()))
    headers = {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": timestamp,
        "webhook-signature": sign(limit.webhook_secret, identifier, timestamp, body),
    }
    httpx.post(limit.webhook_url, content=body, headers=headers, timeout=TIMEOUT_S).raise_for_status()


def sign(secret: str, identifier: str, timestamp: str, body: str) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{identifier}.{timestamp}.{body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
