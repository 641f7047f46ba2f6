"""An exporter of spans for the tests of tracing: a file with a line of JSON per span."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class Files(SpanExporter):
    """Appends to the file that the environment names."""

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        with open(os.environ["SPAN_FILE"], "a") as file:
            for span in spans:
                parent = format(span.parent.span_id, "016x") if span.parent else None
                fields = {
                    "name": span.name,
                    "trace": format(span.context.trace_id, "032x"),
                    "id": format(span.context.span_id, "016x"),
                    "parent": parent,
                    "app": span.attributes.get("app"),
                    "ok": span.status.is_unset,
                }
                file.write(json.dumps(fields) + "\n")
        return SpanExportResult.SUCCESS


def processors() -> list[Any]:
    """What the variable of Serve names."""
    return [SimpleSpanProcessor(Files())]
