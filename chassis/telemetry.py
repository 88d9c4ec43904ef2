"""OpenTelemetry traces across all processes; off unless a collector is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from structlog.typing import EventDict


@dataclass(frozen=True)
class Telemetry:
    """Interceptors that carry the trace from client to server; empty when off."""

    server: Sequence[Any] = ()
    client: Sequence[Any] = ()


def install_telemetry(service: str, otlp_endpoint: str) -> Telemetry:
    """Send traces to a collector. The packages are imported only then: they cost 0.3 s."""
    if not otlp_endpoint:
        return Telemetry()
    from opentelemetry import trace  # noqa: PLC0415  # see above, and below
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter,
    )
    from opentelemetry.instrumentation.grpc import (  # noqa: PLC0415
        aio_client_interceptors,
        aio_server_interceptor,
    )
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult  # noqa: PLC0415
    from opentelemetry.trace import Status  # noqa: PLC0415

    provider = TracerProvider(resource=Resource.create({"service.name": f"actionvm.{service}"}))

    class WordlessExporter(OTLPSpanExporter):
        """Sends what happened when, and no message of an error: it may quote what was sent."""

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return super().export([_wordless(span) for span in spans])

    def _wordless(span: ReadableSpan) -> ReadableSpan:
        return ReadableSpan(
            name=span.name,
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=span.attributes,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )

    exporter = WordlessExporter(endpoint=otlp_endpoint, insecure=True)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)

    def name_trace(_: object, __: str, event: EventDict) -> EventDict:
        context = trace.get_current_span().get_span_context()
        return {**event, "trace_id": f"{context.trace_id:032x}"} if context.is_valid else event

    structlog.configure(processors=[name_trace, *structlog.get_config()["processors"]])
    return Telemetry(
        server=(aio_server_interceptor(),),  # type: ignore[no-untyped-call]  # no annotations there
        client=tuple(aio_client_interceptors()),  # type: ignore[no-untyped-call]  # as above
    )
