"""The bill: the month so far, what it is priced by, what limits it, and whether the books agree."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import messages
from django.core.validators import URLValidator
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from billing.credit import Credit
from billing.dashboard.breakdown import MODES, by, rollups, total
from billing.models import LimitWarning, RateCard, Reconciliation, StoredSnapshot, WorkspaceLimit
from billing.periods import Period
from billing.totals import percentage, sinks_of
from workspace.audit import audit
from workspace.identity import Principal
from workspace.models import ApiKey, Role, Workspace
from workspace.pages.door import page, show

SHOWN = 50
MOST_POUNDS = 10**10
LIMITS = ["monthly_budget_pence", "webhook_url"]


class LimitForm(forms.Form):
    monthly_budget = forms.DecimalField(min_value=0, max_value=MOST_POUNDS, decimal_places=2, required=False)
    webhook_url = forms.CharField(
        max_length=500, required=False, validators=[URLValidator(schemes=["http", "https"])], strip=True
    )


@require_http_methods(["GET", "HEAD", "POST"])
@page(writes=Role.OWNER)
def bill(request: HttpRequest, principal: Principal) -> HttpResponseBase:
    """Show the bill; POST sets the budget and the webhook."""
    if request.method != "POST":
        return statement(request, principal)
    form = LimitForm(request.POST)
    if not form.is_valid():
        return statement(request, principal, 400, errors=form.errors, typed=request.POST)
    pounds = form.cleaned_data["monthly_budget"]
    with transaction.atomic():
        limit, _ = WorkspaceLimit.objects.get_or_create(workspace=principal.workspace)
        limit.monthly_budget_pence = None if pounds is None else int(pounds * 100)
        limit.webhook_url = form.cleaned_data["webhook_url"]
        limit.save(update_fields=LIMITS)
        audit(request, principal, "workspace_limit.update", limit, fields=LIMITS)
    messages.success(request, "The limits are set.")
    return redirect("bill")


def statement(request: HttpRequest, principal: Principal, status: int = 200, **context: Any) -> HttpResponseBase:
    workspace, now = principal.workspace, datetime.now(UTC)
    month = Period.month_of(now)
    found = rollups(workspace, month)
    limit = WorkspaceLimit.objects.select_related("workspace").filter(workspace=workspace).first()
    return show(
        request,
        principal,
        "billing/bill.html",
        status,
        section="bill",
        month=month,
        totals=total(found),
        lines=[{**row, "mode": MODES[row["mode"]]} for row in by(found, "mode", "model", most=SHOWN)],
        adapters=by(found.exclude(adapter_id=""), "adapter", most=SHOWN),
        cards=cards_of(workspace, now),
        limit=limit,
        budget=pounds_of(limit),
        credits=credits_of(workspace, limit, now),
        warnings=LimitWarning.objects.filter(workspace=workspace)[:SHOWN],
        closed=StoredSnapshot.objects.filter(workspace=workspace)[:SHOWN],
        reconciled=Reconciliation.objects.first(),
        sinks=[sink.lag() for sink in sinks_of(workspace)],
        **context,
    )


def pounds_of(limit: WorkspaceLimit | None) -> Decimal | None:
    """The monthly budget, if there is one."""
    if limit is None or limit.monthly_budget_pence is None:
        return None
    return Decimal(limit.monthly_budget_pence) / 100


def cards_of(workspace: Workspace, now: datetime) -> list[dict[str, Any]]:
    """The rate cards that may apply to the workspace, with whether each is in effect."""
    cards = RateCard.objects.filter(Q(workspace=None) | Q(workspace=workspace))[:SHOWN]
    return [{"card": card, "state": "active" if card.holds_at(now) else state_of(card, now)} for card in cards]


def state_of(card: RateCard, now: datetime) -> str:
    return "to come" if card.effective_from > now else "ended"


def credits_of(workspace: Workspace, limit: WorkspaceLimit | None, now: datetime) -> list[dict[str, Any]]:
    """Each limit in money, with what is used of it."""
    keys = ApiKey.objects.filter(workspace=workspace, revoked_at=None).exclude(credit_limit_pence=None)[:SHOWN]
    named = [
        ("Monthly budget", Credit.of_workspace(limit, now)),
        *((key.name, Credit.of_key(key, now)) for key in keys),
    ]
    return [{"name": name, "credit": credit, **use_of(credit)} for name, credit in named if credit is not None]


def use_of(credit: Credit) -> dict[str, Any]:
    spent, reserved = credit.spent(), credit.reserved()
    used = percentage(int((spent + reserved) * 10_000), credit.limit_pence * 100)
    return {"spent": spent, "reserved": reserved, "used": 100.0 if used is None else used}
