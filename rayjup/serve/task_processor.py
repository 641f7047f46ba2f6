"""Celery as the queue of a task consumer (mirrors ``ray.serve.task_processor``); needs the package celery."""

from __future__ import annotations

import importlib
import threading
import uuid
from collections.abc import Callable
from typing import Any

from rayjup.serve.schema import CeleryAdapterConfig, TaskProcessorAdapter, TaskProcessorConfig, TaskResult

__all__ = ["CeleryTaskProcessorAdapter"]

DEFAULT_QUEUE = "celery"


class CeleryTaskProcessorAdapter(TaskProcessorAdapter):
    """Takes tasks from Celery's broker, in a worker of Celery's that runs in a thread."""

    def __init__(self, config: TaskProcessorConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(config.adapter_config, CeleryAdapterConfig):
            raise TypeError(
                "TaskProcessorConfig.adapter_config must be an instance of CeleryAdapterConfig, got "
                f"{type(config.adapter_config).__name__}."
            )
        self.config = config
        self.app: Any = None
        self._worker: Any = None
        self._thread: threading.Thread | None = None
        self._concurrency = 5
        self._name = f"serve-{uuid.uuid4().hex[:12]}"

    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Connect."""
        try:
            celery = importlib.import_module("celery")
        except ImportError as error:
            raise ImportError(
                "CeleryTaskProcessorAdapter needs the package celery: pip install celery."
            ) from error
        settings: CeleryAdapterConfig = self.config.adapter_config
        self._concurrency = consumer_concurrency
        self.app = celery.Celery(
            self.config.queue_name, broker=settings.broker_url, backend=settings.backend_url
        )
        self.app.conf.update(
            worker_pool="threads",
            worker_concurrency=consumer_concurrency,
            worker_prefetch_multiplier=1,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_default_queue=self.config.queue_name,
            broker_connection_retry_on_startup=True,
            **(settings.app_custom_config or {}),
        )
        if settings.broker_transport_options:
            self.app.conf.broker_transport_options = settings.broker_transport_options

    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Run ``func`` for tasks of that name; again when it raises, ``max_retries`` times."""
        settings: CeleryAdapterConfig = self.config.adapter_config
        options: dict[str, Any] = {"autoretry_for": (Exception,), "retry_backoff": 1, "retry_jitter": False}
        if self.config.max_retries is not None:
            options["retry_kwargs"] = {"max_retries": self.config.max_retries}
        options.update(settings.task_custom_config or {})
        failed = self.config.failed_task_queue_name
        limit = self.config.max_retries

        def run(task: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(*args, **kwargs)
            except Exception as error:
                if failed and limit is not None and task.request.retries >= limit:
                    self.app.send_task(
                        task.name, args, {**kwargs}, queue=failed, headers={"error": repr(error)}
                    )
                raise

        self.app.task(run, bind=True, name=name or func.__name__, **options)

    def enqueue_task_sync(
        self, task_name: str, args: Any | None = None, kwargs: Any | None = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue."""
        sent = self.app.send_task(
            task_name, args=args, kwargs=kwargs, queue=self.config.queue_name, **options
        )
        return TaskResult(id=sent.id, status=sent.status, created_at=None, result=None)

    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task."""
        found = self.app.AsyncResult(task_id)
        return TaskResult(id=task_id, status=found.status, result=found.result)

    def start_consumer(self, **kwargs: Any) -> None:
        """Take tasks from now on."""
        if self._thread is not None:
            return
        ready = threading.Event()
        self._worker = self.app.Worker(
            hostname=f"{self._name}@%h",
            pool="threads",
            concurrency=self._concurrency,
            queues=[self.config.queue_name],
            without_gossip=True,
            without_mingle=True,
            loglevel="WARNING",
        )

        def run() -> None:
            ready.set()
            self._worker.start()

        self._thread = threading.Thread(target=run, name="rayjup-serve-celery", daemon=True)
        self._thread.start()
        ready.wait(5.0)

    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Take no more."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(timeout)

    def cancel_task_sync(self, task_id: str) -> None:
        """Have a task that has not begun not begin."""
        self.app.control.revoke(task_id)

    def get_metrics_sync(self) -> dict[str, Any]:
        """Celery's own statistics, by worker."""
        return self.app.control.inspect().stats() or {}

    def health_check_sync(self) -> list[dict[str, Any]]:
        """The workers that answer."""
        return self.app.control.ping() or []
