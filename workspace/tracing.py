"""OpenTelemetry traces, off unless `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector.

The exporter, the sampler and the service's name are set by the SDK's own environment variables
(opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

SWITCHES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
SERVICE = "lab-workspace"
NOTHING: AbstractContextManager[None] = nullcontext()

Attributes = Mapping[str, str | int | float | bool]


class Tracing:
    """This process's tracer, if there is one."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.tracer: Tracer | None = None

    def start(self) -> None:
        """Begin to export, if the environment asks for it.

        Raises:
            ImproperlyConfigured: it does, and the SDK is not installed.
        """
        if self.tracer is not None or not any(os.environ.get(name) for name in SWITCHES):
            return
        os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE)
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise ImproperlyConfigured(
                "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not installed: pip install '.[otel]'."
            ) from None
        self.provider = TracerProvider()
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self.tracer = self.provider.get_tracer(SERVICE)

    def stop(self) -> None:
        """Send what is left, and end."""
        if self.provider is not None:
            self.provider.shutdown()
        self.provider = self.tracer = None


tracing = Tracing()


@contextmanager
def request_span(name: str, headers: Mapping[str, str], attributes: Attributes) -> Iterator[Span | None]:
    """The span of a whole request, a child of the caller's if it sent a `traceparent`, and the parent of `span`s."""
    if tracing.tracer is None:
        yield None
        return
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    with tracing.tracer.start_as_current_span(
        name, context=extract(headers), kind=SpanKind.SERVER, attributes=dict(attributes)
    ) as request:
        yield request


def span(name: str, **attributes: str | int | float | bool) -> AbstractContextManager[Span | None]:
    """One part of a request. It is not made the current span, so that a generator may hold it across its pieces."""
    return NOTHING if tracing.tracer is None else timed(tracing.tracer, name, attributes)


@contextmanager
def timed(tracer: Tracer, name: str, attributes: Attributes) -> Iterator[Span]:
    from opentelemetry.trace import Status, StatusCode

    part = tracer.start_span(name, attributes=dict(attributes))
    try:
        yield part
    except Exception as error:
        part.record_exception(error)
        part.set_status(Status(StatusCode.ERROR, str(error)))
        raise
    finally:
        part.end()
