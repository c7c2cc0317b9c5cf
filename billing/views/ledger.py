"""The ledger as finance sees it: export, corrections, stored snapshots, reconciliation."""

from datetime import UTC, datetime

from django.db import transaction
from django.http import StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import api_view, renderer_classes
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from billing import serializers
from billing.corrections import COUNTS, correct
from billing.export import CONTENT_TYPES, exported
from billing.models import Reconciliation, Sink, StoredSnapshot, UsageEvent
from billing.pages import selected
from billing.parameters import choice, month
from billing.periods import Period
from billing.reconcile import reconcile
from billing.renderers import ExactJSONRenderer
from billing.views.access import require_operator
from workspace.audit import audit
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of

RECONCILIATIONS_SHOWN = 50
MONTH = {"type": "string", "pattern": r"^[1-9]\d{3}-(0[1-9]|1[0-2])$", "examples": ["2026-11"]}


@extend_schema(
    operation_id="usage_events_export",
    tags=["usage"],
    parameters=[OpenApiParameter("as", enum=list(CONTENT_TYPES), description="Default csv.")],
    responses={(200, content_type): OpenApiTypes.STR for content_type in CONTENT_TYPES.values()},
)
@api_view(["GET"])
@renderer_classes([ExactJSONRenderer])
def export(request: Request) -> StreamingHttpResponse:
    """All events that the filters of `/usage/events` select, newest first, as a stream of any size."""
    form = choice(request.query_params, "as", CONTENT_TYPES, "csv")
    events = selected(principal_of(request).workspace, request.query_params)
    return StreamingHttpResponse(
        exported(events, form),
        content_type=CONTENT_TYPES[form],
        headers={"Content-Disposition": f'attachment; filename="usage-events.{form}"'},
    )


@extend_schema(
    operation_id="usage_event_correct",
    tags=["usage"],
    request=serializers.CorrectionSerializer,
    responses={201: serializers.UsageEventSerializer, 204: None, **refusals("operator_required")},
    examples=[
        OpenApiExample(
            "recount",
            value={"output_tokens": 12, "reason": "The provider's invoice counts 12."},
            request_only=True,
        )
    ],
)
@api_view(["POST"])
@renderer_classes([ExactJSONRenderer])
def corrections(request: Request, event_id: str) -> Response:
    """Make an event right by a new one that holds the difference; 204 where it is right already."""
    user = require_operator(request)
    principal = principal_of(request)
    original = get_object_or_404(UsageEvent, id=event_id, workspace=principal.workspace)
    wanted = serializers.CorrectionSerializer.read(request.data)
    counts = {name: wanted[name] for name in COUNTS if name in wanted}
    with transaction.atomic():
        correction = correct(original, counts, wanted.get("cost_gbp"), wanted["reason"], user.email)
        if correction is None:
            return Response(status=204)
        audit(request, principal, "usage_event.correct", original, correction=str(correction.pk))
    return Response(correction.to_dict(), status=201)


@extend_schema(operation_id="snapshots", tags=["billing"], responses=serializers.StoredSnapshotsSerializer)
@api_view(["GET"])
@renderer_classes([ExactJSONRenderer])
def snapshots(request: Request) -> Response:
    """The stored snapshots of months that are over, newest first, every revision."""
    stored = StoredSnapshot.objects.filter(workspace=principal_of(request).workspace)
    return Response({"snapshots": [snapshot.to_dict() for snapshot in stored]})


@extend_schema(
    methods=["GET"],
    operation_id="reconciliations",
    tags=["billing"],
    responses={200: serializers.ReconciliationsSerializer, **refusals("operator_required")},
)
@extend_schema(
    methods=["POST"],
    operation_id="reconcile",
    tags=["billing"],
    parameters=[OpenApiParameter("month", MONTH, description="In UTC; default this month.")],
    request=None,
    responses={201: serializers.ReconciliationSerializer, **refusals("operator_required")},
)
@api_view(["GET", "POST"])
@renderer_classes([ExactJSONRenderer])
def reconciliations(request: Request) -> Response:
    """The last comparisons of the ledger with what is kept of it; POST makes one. For the operator."""
    require_operator(request)
    if request.method == "GET":
        last = Reconciliation.objects.all()[:RECONCILIATIONS_SHOWN]
        return Response({"reconciliations": [outcome.to_dict() for outcome in last]})
    moment = month(request.query_params, "month", datetime.now(UTC))
    outcome = reconcile(Period.month_of(moment))
    audit(request, principal_of(request), "reconciliation.create", outcome, month=f"{moment:%Y-%m}")
    return Response(outcome.to_dict(), status=201)


@extend_schema(
    operation_id="sinks",
    tags=["billing"],
    responses={200: serializers.SinksSerializer, **refusals("operator_required")},
)
@api_view(["GET"])
@renderer_classes([ExactJSONRenderer])
def sinks(request: Request) -> Response:
    """The other meters that events are delivered to, with how far behind each is. For the operator."""
    require_operator(request)
    return Response({"sinks": [sink.lag() for sink in Sink.objects.all()]})
