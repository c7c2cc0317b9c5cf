"""Usage and billing, as the console plane serves them. Reading takes any role in the workspace."""

from datetime import UTC, datetime

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import api_view, renderer_classes
from rest_framework.request import Request
from rest_framework.response import Response

from billing import serializers, totals
from billing.models import Mode, Status
from billing.pages import DEFAULT_LIMIT, MAX_LIMIT, events_page
from billing.parameters import choice
from billing.periods import WINDOWS, Period
from billing.renderers import ExactJSONRenderer
from workspace.permissions import principal_of

window_parameter = OpenApiParameter("window", enum=WINDOWS, description="In UTC; today is the last day.")


@extend_schema(
    operation_id="usage_events",
    tags=["usage"],
    parameters=[
        window_parameter,
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}),
        OpenApiParameter("cursor", description="The next_cursor of the page before."),
        OpenApiParameter("provider"),
        OpenApiParameter("model"),
        OpenApiParameter("mode", enum=Mode.values),
        OpenApiParameter("adapter_id"),
        OpenApiParameter("session_key"),
        OpenApiParameter("status", enum=Status.values),
        OpenApiParameter("api_key_id", OpenApiTypes.UUID),
    ],
    responses=serializers.EventsPageSerializer,
)
@api_view(["GET"])
@renderer_classes([ExactJSONRenderer])
def usage_events(request: Request) -> Response:
    """Events of the workspace, newest first, by keyset cursor."""
    return Response(events_page(principal_of(request).workspace, request.query_params))


@extend_schema(
    operation_id="usage_summary",
    tags=["usage"],
    parameters=[window_parameter, OpenApiParameter("group_by", enum=list(totals.LABELS))],
    responses=serializers.SummarySerializer,
)
@api_view(["GET"])
@renderer_classes([ExactJSONRenderer])
def usage_summary(request: Request) -> Response:
    """Usage of the workspace in a window, by one label. Defaults: 7d, by day."""
    window = choice(request.query_params, "window", WINDOWS, "7d")
    group_by = choice(request.query_params, "group_by", totals.LABELS, "day")
    return Response(totals.summary(principal_of(request).workspace, window, group_by))


@extend_schema(operation_id="billing_snapshot", tags=["billing"], responses=serializers.SnapshotSerializer)
@api_view(["GET"])
@renderer_classes([ExactJSONRenderer])
def billing_snapshot(request: Request) -> Response:
    """The bill of this calendar month (UTC) so far, and how much of its traffic adapters served."""
    return Response(totals.snapshot(principal_of(request).workspace, Period.month_of(datetime.now(UTC))))
