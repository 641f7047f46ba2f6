"""What dies, and what goes on being served."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from support.clusters import poll

pytest.importorskip("uvicorn")
T = 40.0


@pytest.fixture(scope="module")
def served(ray_cluster: ModuleType) -> Iterator[int]:
    """The port of a cluster that serves."""
    from rayjup import serve

    serve.start(http_options={"port": 0})
    from rayjup.serve._private import client

    yield int(client.ask("details")["http"]["port"])
    serve.shutdown()


@pytest.fixture
def port(ray_cluster: ModuleType, served: int) -> Iterator[int]:
    from rayjup import serve

    yield served
    for name in list(serve.status().applications):
        serve.delete(name)


def make(text: str, replicas: int = 1, sleep_s: float = 0.001) -> Any:
    from rayjup import serve

    @serve.deployment(
        name="Echo",
        num_replicas=replicas,
        max_ongoing_requests=100,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_wait_loop_s=1.0,
    )
    class Echo:
        async def __call__(self, request: Any = None) -> str:
            import asyncio

            await asyncio.sleep(sleep_s)
            return text

        def pid(self) -> int:
            return os.getpid()

    return Echo.bind()


class Clients:
    """Threads that ask all the time, on connections they keep, without trying anything twice."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.port = port
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self.last = time.monotonic()
        self.longest = 0.0
        self.stop = False
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        poll(lambda: sum(self.answers.values()) > 20, T)
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop = True
        for thread in self.threads:
            thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        while not self.stop:
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                text = answer.read().decode()
                if answer.status == 200:
                    now = time.monotonic()
                    self.longest = max(self.longest, now - self.last)
                    self.last = now
                    self.answers[text] = self.answers.get(text, 0) + 1
                else:
                    self.failures.append(f"{answer.status} {text}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.close()


def grows(clients: Clients, by: int = 20) -> Callable[[], bool]:
    before = sum(clients.answers.values())
    return lambda: sum(clients.answers.values()) > before + by


def test_a_new_version_under_load_fails_no_request(port: int) -> None:
    from rayjup import serve

    serve.run(make("one"))
    with Clients(port) as clients:
        for text in ("two", "three"):
            serve.run(make(text))
            poll(lambda text=text: clients.answers.get(text, 0) > 20, T)
        echo = lambda: serve.status().applications["default"].deployments["Echo"]  # noqa: E731
        poll(lambda: echo().replica_states == {"RUNNING": 1}, T)  # the old replicas have gone
        serve.run(make("four", replicas=2))
        poll(lambda: clients.answers.get("four", 0) > 20, T)
    assert clients.failures == []
    assert set(clients.answers) == {"one", "two", "three", "four"}


def test_a_killed_replica_is_replaced(port: int) -> None:
    from rayjup import serve

    handle = serve.run(make("x"))
    pid = handle.pid.remote().result()
    with Clients(port) as clients:
        os.kill(pid, signal.SIGKILL)
        poll(grows(clients), T)  # after two seconds on a quiet machine: benchmarks/serve.py measures it
    assert len(clients.failures) <= len(clients.threads)  # those that ran there
    poll(_settled, T)


def test_behind_the_proxy_nothing_fails(port: int) -> None:
    """It can ask again where a replica has gone, since what is asked for is safe to ask for twice."""
    from rayjup import serve

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    def other(request: Any) -> str:
        return "other"

    serve.run(other.bind(), name="other", route_prefix="/other")
    handle = serve.run(make("one"))
    with Clients(port) as clients:
        serve.run(make("two"))
        poll(lambda: clients.answers.get("two", 0) > 20, T)
        poll(_settled, T)  # the old replica has gone
        os.kill(handle.pid.remote().result(), signal.SIGKILL)
        poll(grows(clients), T)
    assert clients.failures == []
    assert set(clients.answers) == {"one", "two"}


def test_serving_goes_on_without_the_controller(port: int) -> None:
    import rayjup
    from rayjup import serve
    from rayjup.serve._private import client
    from rayjup.serve.api import controller_actor

    handle = serve.run(make("x"))
    pid = handle.pid.remote().result()
    controller = controller_actor()
    its_pid = rayjup.get(controller.__ray_call__.remote(lambda self: os.getpid()))
    with Clients(port) as clients:
        os.kill(its_pid, signal.SIGKILL)
        poll(grows(clients, 50), T)
        assert handle.remote().result() == "x"
    assert clients.failures == []
    found = lambda: client.ask("status")["applications"].get("default", {})  # noqa: E731
    poll(lambda: found().get("status") == "RUNNING", T)
    assert handle.pid.remote().result() == pid  # the replica was found again, not replaced
    serve.run(make("y"))
    assert handle.remote().result() == "y"


def test_serving_goes_on_without_the_proxy(port: int) -> None:
    import rayjup
    from rayjup import serve
    from rayjup.serve._private.common import NAMESPACE, PROXY

    serve.run(make("x"))

    def proxy_pid() -> int:
        actor = rayjup.get_actor(PROXY, namespace=NAMESPACE)
        return int(rayjup.get(actor.__ray_call__.remote(lambda self: os.getpid())))

    before = proxy_pid()
    with Clients(port) as clients:
        os.kill(before, signal.SIGKILL)
        poll(grows(clients, 50), T)
    assert clients.failures == []

    def again() -> bool:
        try:
            return proxy_pid() != before
        except (ValueError, rayjup.exceptions.RayActorError):
            return False

    poll(again, T)
    # Two applications need the proxy in front: it has the port again.
    serve.run(make("z"), name="other", route_prefix="/other")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/other")
    assert connection.getresponse().read() == b"z"
    connection.close()


def test_many_deploys_leave_nothing(port: int) -> None:
    from rayjup import serve

    serve.run(make("0"))
    poll(_settled, T)
    for number in range(5):
        serve.run(make(str(number)))
    poll(_settled, T)
    serve.delete("default")
    import rayjup

    def names() -> list[str]:
        return sorted(one["name"] for one in rayjup.util.list_named_actors(all_namespaces=True))

    poll(lambda: names() == ["SERVE_CONTROLLER_ACTOR", "SERVE_PROXY_ACTOR"], T)


def _settled() -> bool:
    from rayjup import serve

    app = serve.status().applications["default"]
    return app.deployments["Echo"].replica_states == {"RUNNING": 1}
