"""Spans of OpenTelemetry, where a program asks for them.

``RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH="module:function"`` in the environment of proxy and replicas names a
function that gives the span processors, as Ray's variable does; ``RAY_SERVE_TRACING_SAMPLING_RATIO`` (0.01)
says of how many requests. Without it nothing is imported, and a request costs one look at a variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

PATH = "RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH"
RATIO = "RAY_SERVE_TRACING_SAMPLING_RATIO"
_DEFAULT_RATIO = 0.01

tracer: Any = None
"""Makes spans; None: nobody wants any."""


def set_up(component: str) -> None:
    """Make spans in this process from now on, where its environment asks for them.

    Raises
    ------
    ImportError
        OpenTelemetry's SDK is not installed, or the exporter cannot be imported.
    TypeError
        The exporter does not give a list of span processors.
    """
    global tracer
    path = os.environ.get(PATH, "")
    if not path or tracer is not None:
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
    except ImportError as error:
        raise ImportError(
            f"{PATH} is set, but OpenTelemetry's SDK is not installed where replicas run: "
            "pip install opentelemetry-sdk"
        ) from error
    module, _, name = path.partition(":")
    processors = getattr(import_module(module), name)()
    if not isinstance(processors, list) or not all(isinstance(one, SpanProcessor) for one in processors):
        raise TypeError(f"the function {path!r} of {PATH} has to return a list of span processors.")
    ratio = float(os.environ.get(RATIO, _DEFAULT_RATIO))
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"rayjup.serve.{component}"}),
        sampler=ParentBasedTraceIdRatio(ratio),
    )
    for processor in processors:
        provider.add_span_processor(processor)
    tracer = provider.get_tracer("rayjup.serve")


@contextmanager
def span(name: str, parent: dict[str, str] | None, **attributes: str) -> Iterator[dict[str, str]]:
    """A span around a block.

    Parameters
    ----------
    parent
        Headers of the trace it belongs to (``traceparent``, ``tracestate``), if it does.

    Yields
    ------
    dict
        Such headers, for what is called from the block.
    """
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    context = propagator.extract(parent) if parent else None
    with tracer.start_as_current_span(name, context=context, attributes=attributes):
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        yield carrier


def fail(error: BaseException | str) -> None:
    """The present span's block has failed with this, and answers it itself."""
    from opentelemetry.trace import Status, StatusCode, get_current_span

    present = get_current_span()
    if isinstance(error, BaseException):
        present.record_exception(error)
    present.set_status(Status(StatusCode.ERROR, str(error)))


def end() -> None:
    """Hand over what has not been exported yet."""
    if tracer is not None:
        tracer.span_processor.force_flush(2000)
