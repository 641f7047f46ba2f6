"""OpenTelemetry tracing (mirrors ``ray.util.tracing``)."""
