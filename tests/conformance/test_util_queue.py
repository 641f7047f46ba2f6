"""Queues between processes."""

import asyncio

import pytest


@pytest.fixture
def make_queue(ray_cluster):
    from ray.util.queue import Queue

    made = []

    def make(*args, **kwargs):
        made.append(Queue(*args, **kwargs))
        return made[-1]

    yield make
    for queue in made:
        if queue.actor is not None:
            queue.shutdown(force=True)


def test_first_in_first_out(make_queue):
    queue = make_queue()
    for n in range(5):
        queue.put(n)
    assert len(queue) == queue.size() == queue.qsize() == 5
    assert [queue.get() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert queue.empty()


def test_empty_and_full_raise(make_queue):
    from ray.util.queue import Empty, Full

    queue = make_queue(maxsize=1)
    with pytest.raises(Empty):
        queue.get_nowait()
    with pytest.raises(Empty):
        queue.get(timeout=0.05)
    queue.put("a")
    assert queue.full()
    with pytest.raises(Full):
        queue.put_nowait("b")
    with pytest.raises(Full):
        queue.put("b", timeout=0.05)
    with pytest.raises(Full):
        queue.put("b", block=False)
    assert queue.get(block=False) == "a"


def test_errors_are_those_of_the_standard_library(make_queue):
    import queue as standard

    with pytest.raises(standard.Empty):
        make_queue().get_nowait()


def test_negative_timeouts_are_refused(make_queue):
    queue = make_queue()
    with pytest.raises(ValueError, match="non-negative"):
        queue.get(timeout=-1)
    with pytest.raises(ValueError, match="non-negative"):
        queue.put(1, timeout=-1)


def test_batches_are_all_or_nothing(make_queue):
    from ray.util.queue import Empty, Full

    queue = make_queue(maxsize=3)
    queue.put_nowait_batch([1, 2])
    with pytest.raises(Full):
        queue.put_nowait_batch([3, 4])
    assert queue.size() == 2
    with pytest.raises(Empty):
        queue.get_nowait_batch(3)
    assert queue.get_nowait_batch(2) == [1, 2]
    with pytest.raises(TypeError):
        queue.put_nowait_batch(5)
    with pytest.raises(TypeError):
        queue.get_nowait_batch("x")
    with pytest.raises(ValueError):
        queue.get_nowait_batch(-1)


def test_tasks_share_a_queue(ray_cluster, make_queue):
    ray = ray_cluster
    queue = make_queue(maxsize=2)

    @ray.remote
    def produce(queue, n):
        for i in range(n):
            queue.put(i)

    @ray.remote
    def consume(queue, n):
        return [queue.get() for _ in range(n)]

    produced, consumed = produce.remote(queue, 20), consume.remote(queue, 20)
    assert ray.get(consumed) == list(range(20))
    ray.get(produced)


def test_a_blocked_get_ends_with_a_put(ray_cluster, make_queue):
    ray = ray_cluster
    queue = make_queue()

    @ray.remote
    def get(queue):
        return queue.get()

    ref = get.remote(queue)
    assert ray.wait([ref], timeout=0.1)[0] == []
    queue.put("there")
    assert ray.get(ref) == "there"


def test_awaiting(make_queue):
    from ray.util.queue import Empty

    queue = make_queue()

    async def use():
        await queue.put_async(1)
        assert await queue.get_async() == 1
        with pytest.raises(Empty):
            await queue.get_async(block=False)

    asyncio.run(use())


def test_shutdown_ends_the_actor(ray_cluster, make_queue):
    ray = ray_cluster
    queue = make_queue()
    actor = queue.actor
    queue.shutdown()
    assert queue.actor is None
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.qsize.remote())


def test_actor_options_are_used(ray_cluster, make_queue):
    ray = ray_cluster
    queue = make_queue(actor_options={"name": "shared queue"})
    queue.put(3)
    assert ray.get(ray.get_actor("shared queue").qsize.remote()) == 1
