"""Taskiq as the queue of a task consumer (mirrors ``ray.serve.taskiq_task_processor``)."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from rayjup.serve.schema import TaskProcessorAdapter, TaskProcessorConfig, TaskResult

__all__ = ["TaskiqAdapterConfig", "TaskiqTaskProcessorAdapter"]

_BROKERS = {
    "in_memory": "taskiq:InMemoryBroker",
    "redis_stream": "taskiq_redis:RedisStreamBroker",
    "redis_list": "taskiq_redis:ListQueueBroker",
    "rabbitmq": "taskiq_aio_pika:AioPikaBroker",
    "nats": "taskiq_nats:NatsBroker",
}


class TaskiqAdapterConfig(BaseModel):
    """Which of Taskiq's brokers, and how it is made."""

    broker_type: str
    broker_kwargs: dict[str, Any] | None = None
    result_backend_url: str | None = None


class TaskiqTaskProcessorAdapter(TaskProcessorAdapter):
    """Takes tasks from a broker of Taskiq's, on a loop in a thread of its own."""

    def __init__(self, config: TaskProcessorConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(config.adapter_config, TaskiqAdapterConfig):
            raise TypeError(
                "TaskProcessorConfig.adapter_config must be an instance of TaskiqAdapterConfig, got "
                f"{type(config.adapter_config).__name__}."
            )
        if config.adapter_config.broker_type not in _BROKERS:
            raise ValueError(
                f"unknown broker_type {config.adapter_config.broker_type!r}: choose one of "
                f"{', '.join(_BROKERS)}."
            )
        self.config = config
        self.broker: Any = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._concurrency = 5
        self._receiver: Any = None
        self._listening: Any = None
        self._done = 0

    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Connect."""
        self._concurrency = consumer_concurrency
        module, _, name = _BROKERS[self.config.adapter_config.broker_type].partition(":")
        try:
            class_ = getattr(importlib.import_module(module), name)
        except ImportError as error:
            package = module.replace("_", "-")
            raise ImportError(f"This broker needs the package {package}: pip install {package}.") from error
        settings = dict(self.config.adapter_config.broker_kwargs or {})
        if module != "taskiq":
            settings.setdefault("queue_name", self.config.queue_name)
        self.broker = class_(**settings)
        if self.config.adapter_config.result_backend_url:
            backend = importlib.import_module("taskiq_redis").RedisAsyncResultBackend
            self.broker = self.broker.with_result_backend(
                backend(self.config.adapter_config.result_backend_url)
            )
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="rayjup-serve-taskiq", daemon=True).start()
        self._run(self.broker.startup())

    def _run(self, work: Any, timeout_s: float | None = 30.0) -> Any:
        assert self.loop is not None, "initialize() first"
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Run ``func`` for tasks of that name; again when it raises, ``max_retries`` times."""
        limit = self.config.max_retries or 0

        async def run(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(limit + 1):
                try:
                    return await asyncio.to_thread(func, *args, **kwargs)
                except Exception:
                    if attempt == limit:
                        raise
                finally:
                    self._done += 1
            return None

        self.broker.register_task(run, task_name=name or func.__name__)

    def enqueue_task_sync(
        self, task_name: str, args: Any | None = None, kwargs: Any | None = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue."""
        kicker = importlib.import_module("taskiq.kicker").AsyncKicker(task_name, self.broker, dict(options))
        sent = self._run(kicker.kiq(*(args or ()), **(kwargs or {})))
        return TaskResult(id=sent.task_id, status="PENDING", result=None)

    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task."""
        backend = self.broker.result_backend
        if not self._run(backend.is_result_ready(task_id)):
            return TaskResult(id=task_id, status="PENDING", result=None)
        found = self._run(backend.get_result(task_id))
        return TaskResult(
            id=task_id,
            status="FAILURE" if found.is_err else "SUCCESS",
            result=repr(found.error) if found.is_err else found.return_value,
        )

    def start_consumer(self, **kwargs: Any) -> None:
        """Take tasks from now on (brokers in memory run them where they are put in)."""
        if self.config.adapter_config.broker_type == "in_memory" or self._listening is not None:
            return
        receiver = importlib.import_module("taskiq.receiver").Receiver
        self._receiver = receiver(self.broker, max_async_tasks=self._concurrency, run_startup=False)
        assert self.loop is not None
        self._finish = asyncio.Event()
        self._listening = asyncio.run_coroutine_threadsafe(self._receiver.listen(self._finish), self.loop)

    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Take no more."""
        if self.loop is None:
            return
        if self._listening is not None:
            self.loop.call_soon_threadsafe(self._finish.set)
            self._listening = None
        self._run(self.broker.shutdown(), timeout)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.loop = None

    def cancel_task_sync(self, task_id: str) -> bool:
        """Taskiq cannot take a task back: always False."""
        return False

    def get_metrics_sync(self) -> dict[str, Any]:
        """How many runs of tasks have ended here."""
        return {"runs": self._done}

    def health_check_sync(self) -> list[dict[str, Any]]:
        """Whether this process is connected."""
        return [{"status": "ok"}] if self.loop is not None else []
