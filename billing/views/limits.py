"""A workspace's limits: how much is used, and what was warned of."""

from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import api_view, renderer_classes
from rest_framework.request import Request
from rest_framework.response import Response

from billing.credit import Credit
from billing.models import LimitWarning, WorkspaceLimit
from billing.models.events import plain
from billing.models.limits import moment_or_none
from billing.renderers import ExactJSONRenderer
from billing.serializers import LimitsSerializer, WorkspaceLimitSerializer
from billing.views.access import require_operator
from workspace.audit import audit
from workspace.models import ApiKey, Role, Workspace
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of, require

OPERATORS_OWN = ("requests_per_minute", "tokens_per_minute")
WARNINGS_SHOWN = 50


@extend_schema(methods=["GET"], operation_id="limits", tags=["billing"], responses=LimitsSerializer)
@extend_schema(
    methods=["PATCH"],
    operation_id="limits_change",
    tags=["billing"],
    request=WorkspaceLimitSerializer,
    responses={200: LimitsSerializer, **refusals("role_insufficient", "operator_required")},
    examples=[OpenApiExample("budget", value={"monthly_budget_pence": 100000}, request_only=True)],
)
@api_view(["GET", "PATCH"])
@renderer_classes([ExactJSONRenderer])
def limits(request: Request) -> Response:
    """Read the limits of the workspace; its owner sets the budget and the webhook, the operator the rates."""
    principal = principal_of(request)
    if request.method == "PATCH":
        require(principal, Role.OWNER)
        change = WorkspaceLimitSerializer.read(request.data, partial=True)
        if any(name in change for name in OPERATORS_OWN):
            require_operator(request)
        with transaction.atomic():
            limit, _ = WorkspaceLimit.objects.update_or_create(workspace=principal.workspace, defaults=change)
            audit(request, principal, "workspace_limit.update", limit, fields=sorted(change))
    return Response(limits_of(principal.workspace, show_secret=principal.role.covers(Role.OWNER)))


def limits_of(workspace: Workspace, show_secret: bool) -> dict[str, Any]:
    now = datetime.now(UTC)
    limit = WorkspaceLimit.objects.select_related("workspace").filter(workspace=workspace).first()
    keys = ApiKey.objects.filter(workspace=workspace, revoked_at=None).exclude(credit_limit_pence=None)
    credit_limits = [Credit.of_workspace(limit, now), *(Credit.of_key(key, now) for key in keys)]
    warnings = LimitWarning.objects.filter(workspace=workspace)[:WARNINGS_SHOWN]
    return {
        "monthly_budget_pence": limit.monthly_budget_pence if limit else None,
        "requests_per_minute": limit.requests_per_minute if limit else None,
        "tokens_per_minute": limit.tokens_per_minute if limit else None,
        "webhook_url": limit.webhook_url if limit else "",
        "webhook_secret": limit.webhook_secret if limit and show_secret else None,
        "credits": [standing(credit) for credit in credit_limits if credit is not None],
        "warnings": [warning.to_dict() for warning in warnings],
    }


def standing(credit: Credit) -> dict[str, Any]:
    return {
        "api_key_id": None if credit.api_key_id is None else str(credit.api_key_id),
        "limit_pence": credit.limit_pence,
        "spent_pence": plain(credit.spent() * 100),
        "reserved_pence": plain(credit.reserved() * 100),
        "period_start": moment_or_none(credit.start),
        "period_end": moment_or_none(credit.end),
    }
