"""How events look to other meters, and how they are handed over."""

from collections.abc import Sequence
from typing import Any

import httpx
import simplejson
import stripe

from billing.models import Sink, UsageEvent
from billing.models.sinks import STRIPE_MEASURES

TIMEOUT_S = 15
EVENT_TYPE = "lab.usage"
SOURCE = "lab-workspace"


class Unreachable(Exception):
    """The sink did not answer, or asked to come back later."""


class Refused(Exception):
    """The sink will never take this batch as it is."""


def deliver(sink: Sink, events: Sequence[UsageEvent]) -> None:
    """Hand the events to the sink.

    Raises:
        Unreachable: try again later.
        Refused: something in the batch is not acceptable to it.
    """
    {Sink.Kind.OPENMETER: to_openmeter, Sink.Kind.STRIPE: to_stripe}[Sink.Kind(sink.kind)](sink, events)


def to_openmeter(sink: Sink, events: Sequence[UsageEvent]) -> None:
    """A CloudEvents 1.0 batch (cloudevents.io; OpenMeter's `POST /api/v1/events`); it knows ids again."""
    body = simplejson.dumps([cloud_event(event) for event in events], use_decimal=True)
    headers = {"content-type": "application/cloudevents-batch+json"}
    if sink.token:
        headers["authorization"] = f"Bearer {sink.token}"
    try:
        answer = httpx.post(sink.url, content=body, headers=headers, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        raise Unreachable(str(error) or type(error).__name__) from error
    if answer.is_success:
        return
    reason = f"{answer.status_code} {answer.text[:200]}"
    if answer.status_code in (400, 413, 422):
        raise Refused(reason)
    raise Unreachable(reason)


def cloud_event(event: UsageEvent) -> dict[str, Any]:
    data = event.to_dict()
    return {
        "specversion": "1.0",
        "id": data.pop("id"),
        "source": SOURCE,
        "type": EVENT_TYPE,
        "subject": str(event.workspace_id),
        "time": data.pop("ts"),
        "datacontenttype": "application/json",
        "data": data,
    }


def to_stripe(sink: Sink, events: Sequence[UsageEvent]) -> None:
    """Meter events (docs.stripe.com/api/v2/billing-meter-stream): one for each meter that an event moves."""
    moves = [move for event in events for move in meter_events(sink, event)]
    addresses: Any = {"api": sink.url, "meter_events": sink.url} if sink.url else None
    try:
        client = stripe.StripeClient(sink.token, base_addresses=addresses, max_network_retries=0)
        session = client.v2.billing.meter_event_session.create()
        stream = stripe.StripeClient(session.authentication_token, base_addresses=addresses, max_network_retries=0)
        for start in range(0, len(moves), 100):
            stream.v2.billing.meter_event_stream.create({"events": moves[start : start + 100]})
    except stripe.InvalidRequestError as error:
        raise Refused(str(error)) from error
    except stripe.StripeError as error:
        raise Unreachable(str(error)) from error


def meter_events(sink: Sink, event: UsageEvent) -> list[Any]:
    """The identifier names the event and the meter, so that Stripe counts a repeated delivery once."""
    values = {name: getattr(event, name, None) for name in STRIPE_MEASURES}
    values["requests"] = int(event.corrects is None)
    return [
        {
            "event_name": meter,
            "identifier": f"{event.id}:{meter}"[:100],
            "timestamp": event.to_dict()["ts"],
            "payload": {"stripe_customer_id": sink.customer, "value": str(values[measure])},
        }
        for meter, measure in sink.meters.items()
        if values[measure]
    ]
