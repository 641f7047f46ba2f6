"""Deployments that take their work from a queue of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.clusters import poll


def test_celery(base: str, tmp_path: Path) -> None:
    pytest.importorskip("celery")
    from rayjup import serve
    from rayjup.serve.schema import CeleryAdapterConfig, TaskProcessorConfig
    from rayjup.serve.task_consumer import instantiate_adapter_from_config, task_consumer, task_handler

    box, results = tmp_path / "box", tmp_path / "results"
    box.mkdir()
    results.mkdir()
    folders = {
        "data_folder_in": str(box),
        "data_folder_out": str(box),
        "control_folder": str(tmp_path / "control"),
    }
    config = TaskProcessorConfig(
        queue_name="work",
        adapter_config=CeleryAdapterConfig(
            broker_url="filesystem://",
            backend_url=f"file://{results}",
            broker_transport_options=folders,
        ),
    )

    @serve.deployment(ray_actor_options={"num_cpus": 0}, graceful_shutdown_wait_loop_s=0.1)
    @task_consumer(task_processor_config=config)
    class Consumer:
        def __init__(self) -> None:
            self.done: list[int] = []

        @task_handler(name="double")
        def double(self, x: int) -> int:
            self.done.append(x)
            return 2 * x

        def get_done(self) -> list[int]:
            return self.done

    handle: Any = serve.run(Consumer.bind(), route_prefix=None)
    sender = instantiate_adapter_from_config(config)
    sender.initialize()
    sent = sender.enqueue_task_sync("double", args=[21])
    poll(lambda: handle.get_done.remote().result() == [21], 40)
    poll(lambda: sender.get_task_status_sync(sent.id).status == "SUCCESS", 40)
    assert sender.get_task_status_sync(sent.id).result == 42


def test_taskiq_in_memory() -> None:
    pytest.importorskip("taskiq")
    from rayjup.serve.schema import TaskProcessorConfig
    from rayjup.serve.taskiq_task_processor import TaskiqAdapterConfig, TaskiqTaskProcessorAdapter

    config = TaskProcessorConfig(
        queue_name="work",
        adapter=TaskiqTaskProcessorAdapter,
        adapter_config=TaskiqAdapterConfig(broker_type="in_memory"),
        max_retries=1,
    )
    adapter = TaskiqTaskProcessorAdapter(config)
    adapter.initialize()
    tries = []

    def shaky(x: int) -> int:
        tries.append(x)
        if len(tries) == 1:
            raise ValueError("not yet")
        return x + 1

    adapter.register_task_handle(shaky, "shaky")
    sent = adapter.enqueue_task_sync("shaky", args=[1])
    poll(lambda: adapter.get_task_status_sync(sent.id).status == "SUCCESS")
    assert adapter.get_task_status_sync(sent.id).result == 2
    assert tries == [1, 1]
    adapter.stop_consumer()
