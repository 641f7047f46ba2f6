"""What outlives a connection, and what does not."""

from __future__ import annotations

import threading
import time

import pytest
from support.clusters import T


def test_refs_of_an_earlier_session_say_so(own):
    ray = own
    ray.init(num_cpus=1)

    @ray.remote
    def slow():
        time.sleep(60)

    pending = slow.remote()
    done = ray.put(3)
    ray.shutdown()
    ray.init(num_cpus=1)
    with pytest.raises(ray.exceptions.RayError) as caught:
        ray.get(pending, timeout=T)
    assert not isinstance(caught.value, ray.exceptions.GetTimeoutError)
    assert "shutdown" in str(caught.value)
    assert ray.get(done, timeout=T) == 3


def test_a_thread_that_waits_when_the_driver_disconnects(own):
    ray = own
    ray.init(num_cpus=1)

    @ray.remote
    def slow():
        time.sleep(60)

    outcome = []

    def wait(ref):
        try:
            ray.get(ref)
        except BaseException as error:  # noqa: BLE001 - what it is, is looked at below
            outcome.append(error)

    thread = threading.Thread(target=wait, args=(slow.remote(),))
    thread.start()
    time.sleep(0.2)
    ray.shutdown()
    thread.join(T)
    assert not thread.is_alive() and isinstance(outcome[0], ray.exceptions.RayError)


def test_refs_of_an_ended_connection_are_not_listed(own):
    from rayjup._private.internal_api import memory_summary

    own.init(num_cpus=1)
    kept = [own.put(1), own.remote(lambda: 1).remote()]
    own.shutdown()
    own.init(num_cpus=1)
    assert "0 references" in memory_summary() and len(kept) == 2
