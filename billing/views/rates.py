"""Rate cards: everyone in a workspace reads those that apply to it, the operator writes them."""

from typing import Any

from django.db import transaction
from django.db.models import Q
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import api_view, renderer_classes
from rest_framework.generics import get_object_or_404
from rest_framework.request import Request
from rest_framework.response import Response

from billing.models import RateCard
from billing.renderers import ExactJSONRenderer
from billing.serializers import RateCardEndSerializer, RateCardSerializer, RateCardsSerializer
from billing.views.access import require_operator
from workspace.audit import audit
from workspace.errors import ApiError, invalid
from workspace.openapi.refusals import refusals
from workspace.permissions import principal_of


def visible_cards(request: Request) -> Any:
    """The cards of every workspace and of this one; an operator sees all."""
    principal = principal_of(request)
    if principal.user is not None and principal.user.is_staff:
        return RateCard.objects.all()
    return RateCard.objects.filter(Q(workspace=None) | Q(workspace=principal.workspace))


@extend_schema(methods=["GET"], operation_id="rate_cards", tags=["billing"], responses=RateCardsSerializer)
@extend_schema(
    methods=["POST"],
    operation_id="rate_card_create",
    tags=["billing"],
    request=RateCardSerializer,
    responses={201: RateCardSerializer, **refusals("operator_required")},
    examples=[
        OpenApiExample(
            "own compute",
            value={
                "mode": "byoc",
                "input_rate": 0.10,
                "output_rate": 0.40,
                "effective_from": "2027-01-01T00:00:00Z",
                "note": "From the new year on.",
            },
            request_only=True,
        )
    ],
)
@api_view(["GET", "POST"])
@renderer_classes([ExactJSONRenderer])
def rate_cards(request: Request) -> Response:
    """List the rate cards, newest first, or add one: the way a price changes."""
    if request.method == "GET":
        return Response({"rate_cards": [card.to_dict() for card in visible_cards(request)]})
    user = require_operator(request)
    fields = RateCardSerializer.read(request.data)
    with transaction.atomic():
        card = RateCard.objects.create(**fields, created_by=user)
        audit(request, principal_of(request), "rate_card.create", card, card=str(card))
    return Response(card.to_dict(), status=201)


@extend_schema(methods=["GET"], operation_id="rate_card", tags=["billing"], responses=RateCardSerializer)
@extend_schema(
    methods=["PATCH"],
    operation_id="rate_card_end",
    tags=["billing"],
    request=RateCardEndSerializer,
    responses={200: RateCardSerializer, **refusals("operator_required")},
    examples=[OpenApiExample("end", value={"effective_until": "2028-01-01T00:00:00Z"}, request_only=True)],
)
@extend_schema(
    methods=["DELETE"],
    operation_id="rate_card_delete",
    tags=["billing"],
    responses={204: None, **refusals("operator_required", "rate_card_in_effect")},
)
@api_view(["GET", "PATCH", "DELETE"])
@renderer_classes([ExactJSONRenderer])
def rate_card(request: Request, card_id: str) -> Response:
    """Read one card, end it at a moment, or delete it before it takes effect."""
    card = get_object_or_404(visible_cards(request), pk=card_id)
    if request.method == "GET":
        return Response(card.to_dict())
    require_operator(request)
    if request.method == "DELETE":
        if card.is_in_effect:
            raise ApiError(409, "rate_card_in_effect", "This card is in effect; set its effective_until instead.")
        with transaction.atomic():
            audit(request, principal_of(request), "rate_card.delete", card, card=str(card))
            card.delete()
        return Response(status=204)
    change = RateCardEndSerializer.read(request.data, partial=True)
    card.effective_until = change.get("effective_until", card.effective_until)
    if card.effective_until is not None and card.effective_until <= card.effective_from:
        raise invalid("effective_until", "effective_until must be later than effective_from.")
    with transaction.atomic():
        card.save(update_fields=["effective_until"])
        audit(request, principal_of(request), "rate_card.end", card, card=str(card))
    return Response(card.to_dict())
