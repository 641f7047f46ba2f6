"""Cancelling at every moment: the call is cancelled or answered, and nobody else's call is touched."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from support.clusters import T, poll


def outcome(ray, ref):
    """What became of a call that was cancelled: its value, or "cancelled"."""
    said = outcome_in_words(ray, ref)
    return "cancelled" if isinstance(said, str) else said


def outcome_in_words(ray, ref):
    """The value of a call, or what is said of how it was cancelled."""
    try:
        return ray.get(ref, timeout=T)
    except ray.exceptions.TaskCancelledError as error:
        return str(error)


def test_cancel_at_any_moment(ray):
    @ray.remote
    def work(x):
        deadline = time.monotonic() + 0.003
        while time.monotonic() < deadline:
            pass
        return x

    rng = random.Random(1)
    for i in range(150):
        ref = work.remote(i)
        time.sleep(rng.random() * 0.006)
        ray.cancel(ref)
        assert outcome(ray, ref) in (i, "cancelled")
        if i % 10 == 0:
            assert ray.get(work.remote(-i), timeout=T) == -i


def test_cancel_some_of_many(ray):
    @ray.remote
    def work(x):
        return x

    for _ in range(5):
        refs = [work.remote(i) for i in range(400)]
        chosen = random.Random(2).sample(range(400), 100)
        for i in chosen:
            ray.cancel(refs[i])
        for i, ref in enumerate(refs):
            got = outcome(ray, ref)
            assert got == i or (i in chosen and got == "cancelled"), i


def test_a_cancelled_call_that_was_given_back_stays_cancelled(ray, tmp_path):
    """Queued behind a call that turns out long, cancelled, given back: it must not run elsewhere."""
    log = str(tmp_path / "log")

    @ray.remote
    def work(seconds, mark):
        time.sleep(seconds)
        if mark:
            with open(log, "ab", buffering=0) as file:
                file.write(b".")

    ray.get([work.remote(0, False) for _ in range(600)], timeout=T)
    for _ in range(10):
        ray.get([work.remote(0, False) for _ in range(300)], timeout=T)
        before = os.path.getsize(log) if os.path.exists(log) else 0
        refs = [work.remote(0.03 if i < 4 else 0, i >= 4) for i in range(40)]
        for ref in refs[4:]:
            ray.cancel(ref)
        got = [outcome_in_words(ray, ref) for ref in refs][4:]
        ran = os.path.getsize(log) - before if os.path.exists(log) else 0
        never = sum("before it started" in said for said in got if said)
        midway = sum("while it ran" in said for said in got if said)  # before or after it wrote
        assert never + midway == sum(said is not None for said in got)
        assert 36 - never - midway <= ran <= 36 - never, (
            "a call that was reported as cancelled ran all the same"
        )


def test_cancelling_touches_only_the_callers_own_call(ray, tmp_path):
    """Calls of different callers carry the same numbers; an actor must not mix them up."""

    @ray.remote(num_cpus=0)
    class Slow:
        def work(self, seconds):
            time.sleep(seconds)
            return "done"

        def hold(self, path):
            open(path, "w").close()
            while not ray.get_runtime_context().is_canceled():
                time.sleep(0.005)

    @ray.remote(num_cpus=0)
    class Caller:
        """Each begins to count its calls at one."""

        def calls(self, target, n, cancel):
            refs = [target.work.remote(0.001) for _ in range(n)]
            if cancel:
                for ref in refs:
                    ray.cancel(ref)
                ray.cancel(self.held)  # ends only now: the target has read that the others are cancelled
            return [outcome_here(r) for r in refs]

        def connect(self, target):
            return ray.get(target.work.remote(0))

        def hold(self, target, path):
            self.held = target.hold.remote(path)

    def outcome_here(ref):
        try:
            return ray.get(ref, timeout=20)
        except ray.exceptions.TaskCancelledError:
            return "cancelled"

    target = Slow.remote()
    callers = [Caller.remote() for _ in range(4)]
    ray.get([c.connect.remote(target) for c in callers], timeout=T)
    ray.get(callers[3].hold.remote(target, str(tmp_path / "holds")), timeout=T)
    poll((tmp_path / "holds").exists)
    answers = [c.calls.remote(target, 40, i == 3) for i, c in enumerate(callers)]
    assert ray.get(answers, timeout=T) == [["done"] * 40] * 3 + [["cancelled"] * 40]


def test_a_cancelled_actor_call_that_waits_for_its_argument_blocks_nobody(ray, tmp_path):
    gate = str(tmp_path / "gate")

    @ray.remote
    def slow():
        while not os.path.exists(gate):
            time.sleep(0.005)

    @ray.remote(num_cpus=0)
    class Echo:
        def echo(self, x):
            return x

    echo = Echo.remote()
    assert ray.get(echo.echo.remote(0), timeout=T) == 0
    first = echo.echo.remote(slow.remote())
    second = echo.echo.remote(2)
    ray.cancel(first)
    assert outcome(ray, first) == "cancelled"
    assert ray.get(second, timeout=T) == 2
    open(gate, "w").close()


def test_cancelled_before_its_argument_is_there(ray, tmp_path):
    @ray.remote
    def slow():
        while not (tmp_path / "gate").exists():
            time.sleep(0.005)
        return 1

    @ray.remote
    def use(x):
        return x

    ref = slow.remote()
    used = use.remote(ref)
    ray.cancel(used)
    assert outcome(ray, used) == "cancelled"
    (tmp_path / "gate").touch()
    assert ray.get(ref, timeout=T) == 1


@pytest.mark.parametrize("kind", ["async", "threaded"])
def test_cancelling_queued_calls_of_concurrent_actors(ray, kind, tmp_path):
    gate = str(tmp_path / "gate")
    if kind == "async":

        @ray.remote(num_cpus=0, max_concurrency=2, concurrency_groups={"beside": 1})
        class Actor:
            async def work(self, x):
                import asyncio

                while not os.path.exists(gate):  # noqa: ASYNC110, ASYNC240 - another process makes it
                    await asyncio.sleep(0.01)
                return x

            @ray.method(concurrency_group="beside")
            async def hear(self):
                return True
    else:

        @ray.remote(num_cpus=0, max_concurrency=2, concurrency_groups={"beside": 1})
        class Actor:
            def work(self, x):
                while not os.path.exists(gate):
                    time.sleep(0.01)
                return x

            @ray.method(concurrency_group="beside")
            def hear(self):
                return True

    actor = Actor.remote()
    refs = [actor.work.remote(i) for i in range(8)]
    assert ray.get(actor.hear.remote(), timeout=T)  # they have been sent
    for ref in refs[4:]:
        ray.cancel(ref)
    assert ray.get(actor.hear.remote(), timeout=T)  # and this has been read
    open(gate, "w").close()
    assert [outcome(ray, ref) for ref in refs] == [0, 1, 2, 3, *["cancelled"] * 4]
    assert ray.get(actor.work.remote(9), timeout=T) == 9


def test_force_under_load(ray):
    @ray.remote(max_retries=0)
    def stubborn():
        while True:
            try:
                time.sleep(10)
            except KeyboardInterrupt:
                continue

    @ray.remote
    def fine(x):
        return x

    for _ in range(3):
        bad = [stubborn.remote() for _ in range(2)]
        time.sleep(0.1)
        good = [fine.remote(i) for i in range(200)]
        for ref in bad:
            ray.cancel(ref, force=True)
        assert ray.get(good, timeout=T) == list(range(200))
        for ref in bad:
            with pytest.raises((ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError)):
                ray.get(ref, timeout=T)
    poll(lambda: ray.available_resources().get("CPU") == 4)


def test_cancelling_a_call_of_an_actor_that_has_just_gone(ray):
    """Its connection has ended, but nobody has said yet whether it is dead or is made anew."""
    from rayjup.core import session

    @ray.remote(num_cpus=0, max_restarts=1, max_task_retries=1)
    class Actor:
        def pid(self):
            return os.getpid()

        def work(self):
            time.sleep(60)

    current = session.current()
    actor = Actor.remote()
    pid = ray.get(actor.pid.remote(), timeout=T)
    ref = actor.work.remote()
    (client,) = [c for c in current.runtime.actors.clients.values() if ref._task.seq in c.inflight]
    os.kill(current.cluster.head_pid, signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        poll(lambda: client.peer is None)
        ray.cancel(ref)
        assert outcome(ray, ref) == "cancelled"
    finally:
        os.kill(current.cluster.head_pid, signal.SIGCONT)
    assert ray.get(actor.pid.remote(), timeout=T) != pid


def test_cancelling_a_call_of_an_actor_while_its_answer_is_read(ray, monkeypatch):
    """Some other thread reads it: the call has its result."""
    from rayjup.core import session

    @ray.remote(num_cpus=0)
    class Actor:
        def echo(self, x):
            return x

    tasks = session.current().runtime.tasks
    finish = tasks._finish

    def cancelled_just_now(peer, task, message):
        ray.cancel(task.refs[0])
        finish(peer, task, message)

    monkeypatch.setattr(tasks, "_finish", cancelled_just_now)
    actor = Actor.remote()
    for i in range(3):
        assert ray.get(actor.echo.remote([i, {}]), timeout=T) == [i, {}]
