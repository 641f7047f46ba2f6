"""Replicas by the length of a task queue (mirrors ``ray.serve.async_inference_autoscaling_policy``)."""

from __future__ import annotations

import importlib
import json
import threading
import time
import urllib.parse
import urllib.request
from typing import Any

from rayjup.serve._private.scaling import AutoscalingContext, wanted_by_load

__all__ = ["AsyncInferenceAutoscalingPolicy"]


class AsyncInferenceAutoscalingPolicy:
    """Counts the tasks that wait in a broker's queue as requests that wait.

    Parameters
    ----------
    broker_url
        ``redis://…`` (needs the package redis) or ``amqp://…``.
    queue_name
        The queue's name.
    rabbitmq_management_url
        For ``amqp``: where RabbitMQ's management answers, with user and password.
    poll_interval_s
        Pause between two looks.
    """

    def __init__(
        self,
        broker_url: str,
        queue_name: str,
        rabbitmq_management_url: str | None = None,
        poll_interval_s: float = 10.0,
    ) -> None:
        kind = broker_url.partition("://")[0]
        if kind in ("amqp", "amqps", "pyamqp") and not rabbitmq_management_url:
            raise ValueError("rabbitmq_management_url is needed to look at a queue of RabbitMQ.")
        self.broker_url = broker_url
        self.queue_name = queue_name
        self.management_url = rabbitmq_management_url
        self.poll_interval_s = poll_interval_s
        self._length = 0
        self._thread: threading.Thread | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_thread": None}

    def __call__(self, ctx: AutoscalingContext) -> tuple[float, dict[str, Any]]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="rayjup-serve-queue", daemon=True)
            self._thread.start()
        ctx._total_num_requests = ctx.total_num_requests + self._length
        ctx._total_queued_requests = ctx.total_queued_requests + self._length
        return wanted_by_load(ctx)

    def _watch(self) -> None:
        while True:
            try:
                self._length = self.queue_length()
            except (OSError, ValueError, KeyError):
                pass  # the broker does not answer: what was known is kept
            time.sleep(self.poll_interval_s)

    def queue_length(self) -> int:
        """How many tasks wait now."""
        if self.management_url:
            return self._rabbitmq()
        redis = importlib.import_module("redis")
        client = redis.Redis.from_url(self.broker_url)
        try:
            return int(client.llen(self.queue_name))
        except redis.RedisError as error:
            raise OSError(f"redis does not answer: {error}") from error
        finally:
            client.close()

    def _rabbitmq(self) -> int:
        parts = urllib.parse.urlsplit(str(self.management_url))
        host = parts.netloc.rpartition("@")[2]
        vhost = urllib.parse.quote(urllib.parse.urlsplit(self.broker_url).path[1:] or "/", safe="")
        url = f"{parts.scheme}://{host}/api/queues/{vhost}/{urllib.parse.quote(self.queue_name, safe='')}"
        request = urllib.request.Request(url)
        if parts.username:
            import base64

            pair = f"{parts.username}:{parts.password or ''}".encode()
            request.add_header("Authorization", "Basic " + base64.b64encode(pair).decode())
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(json.load(answer)["messages_ready"])
