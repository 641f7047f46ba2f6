"""A tracing hook that writes spans to files (mirrors ``ray.util.tracing.setup_local_tmp_tracing``)."""

from __future__ import annotations

import os
import tempfile


def setup_tracing() -> None:
    """Write the spans of this process to ``spans/<pid>.txt`` in the directory for temporary files.

    They are the spans that the program and its libraries make with OpenTelemetry.

    Raises
    ------
    ImportError
        OpenTelemetry's SDK is not installed.
    """
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
    except ImportError as error:
        raise ImportError(
            "setup_tracing() needs OpenTelemetry's SDK, which is not installed: pip install opentelemetry-sdk"
        ) from error
    directory = os.path.join(tempfile.gettempdir(), "spans")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    file = open(os.path.join(directory, f"{os.getpid()}.txt"), "a", encoding="utf-8")  # noqa: SIM115 - stays open
    provider = TracerProvider()
    provider.add_span_processor(
        SimpleSpanProcessor(
            ConsoleSpanExporter(out=file, formatter=lambda span: span.to_json(indent=None) + os.linesep)
        )
    )
    trace.set_tracer_provider(provider)
