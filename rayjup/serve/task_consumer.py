"""Deployments that take their work from a queue of tasks (mirrors ``ray.serve.task_consumer``)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from rayjup.serve.config import imported
from rayjup.serve.schema import TaskProcessorAdapter, TaskProcessorConfig

__all__ = ["instantiate_adapter_from_config", "task_consumer", "task_handler"]

_TASK = "__serve_task__"


def instantiate_adapter_from_config(task_processor_config: TaskProcessorConfig) -> TaskProcessorAdapter:
    """The adapter that the configuration names.

    Raises
    ------
    TypeError
        What it names is no adapter.
    """
    class_ = imported(task_processor_config.adapter)
    adapter = class_(task_processor_config)
    if not isinstance(adapter, TaskProcessorAdapter):
        raise TypeError(
            f"{task_processor_config.adapter} must be a TaskProcessorAdapter, got {type(adapter).__name__}."
        )
    return adapter


def task_handler(_func: Callable[..., Any] | None = None, *, name: str | None = None) -> Any:
    """Run a method for tasks of a name (by default the method's)."""
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ValueError("Task name must be a non-empty string.")

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(function):
            raise NotImplementedError(
                f"{function.__name__} is a coroutine function: consumers of tasks run plain functions, in "
                "threads."
            )
        setattr(function, _TASK, name or function.__name__)
        return function

    return decorate if _func is None else decorate(_func)


def task_consumer(*, task_processor_config: TaskProcessorConfig) -> Callable[[type], type]:
    """Have a deployment's class take tasks from a queue, from when it is made.

    Parameters
    ----------
    task_processor_config
        The queue, the adapter to it, and what to do with tasks that fail.
    """

    def decorate(class_: type) -> type:
        methods = {
            name: getattr(member, _TASK)
            for name, member in inspect.getmembers(class_, inspect.isfunction)
            if hasattr(member, _TASK)
        }

        @wraps(class_, updated=())
        class Consumer(class_):  # type: ignore[misc, valid-type]
            _adapter: TaskProcessorAdapter

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self._adapter = instantiate_adapter_from_config(task_processor_config)
                self.initialize_callable(5)

            def initialize_callable(self, consumer_concurrency: int) -> None:
                """Connect to the queue, and take tasks from it."""
                self._adapter.initialize(consumer_concurrency)
                for name, task in methods.items():
                    self._adapter.register_task_handle(getattr(self, name), task)
                self._adapter.start_consumer()

            def __del__(self) -> None:
                adapter = self.__dict__.pop("_adapter", None)
                if adapter is not None:
                    adapter.stop_consumer()
                finish = getattr(class_, "__del__", None)
                if finish is not None:
                    finish(self)

        return Consumer

    return decorate
