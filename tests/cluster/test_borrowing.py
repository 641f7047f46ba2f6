"""References held by processes that do not own the object."""

from __future__ import annotations

import time

import numpy as np
import pytest
from support.clusters import T, poll

N = 200_000


@pytest.fixture
def keeper_class(ray):
    @ray.remote(num_cpus=0)
    class Keeper:
        def __init__(self):
            self.refs = []

        def keep(self, refs):
            self.refs += refs

        def give(self):
            return self.refs

        def make(self):
            return [ray.put(np.full(N, 5, np.uint8)), ray.put("small")]

        def ask(self, other):
            self.refs = ray.get(other.make.remote(), timeout=T)
            return self.refs

        def total(self):
            return [int(np.sum(ray.get(r, timeout=T))) for r in self.refs]

        def drop(self):
            self.refs = []

    return Keeper


def test_an_actor_uses_a_ref_after_its_caller_dropped_it(ray, freed, keeper_class):
    keeper = keeper_class.remote()
    ref = ray.put(np.ones(N, np.uint8))
    ray.get(keeper.keep.remote([ref]), timeout=T)
    del ref
    time.sleep(0.2)  # time in which the object would be freed, if it were
    assert ray.get(keeper.total.remote(), timeout=T) == [N]
    ray.get(keeper.drop.remote(), timeout=T)
    freed()


def test_a_ref_passed_through_two_processes(ray, freed, keeper_class):
    first, second = keeper_class.remote(), keeper_class.remote()
    ref = ray.put(np.ones(N, np.uint8))
    ray.get(first.keep.remote([ref]), timeout=T)
    del ref

    @ray.remote
    def relay(source, target):
        refs = ray.get(source.give.remote(), timeout=T)
        ray.get(target.keep.remote(refs), timeout=T)

    ray.get(relay.remote(first, second), timeout=T)
    ray.get(first.drop.remote(), timeout=T)
    time.sleep(0.2)
    assert ray.get(second.total.remote(), timeout=T) == [N]
    ray.get(second.drop.remote(), timeout=T)
    freed()


def test_a_ref_of_a_process_we_never_talked_to(ray, freed, keeper_class):
    """A makes it, B asks for it and gives it to us; we drop it without reading it."""

    @ray.remote(num_cpus=0)
    def start():
        return None

    ray.get(start.remote(), timeout=T)
    maker, middle = keeper_class.remote(), keeper_class.remote()
    refs = ray.get(middle.ask.remote(maker), timeout=T)
    ray.get(middle.drop.remote(), timeout=T)
    time.sleep(0.1)
    assert [int(np.sum(v)) if isinstance(v, np.ndarray) else v for v in ray.get(refs, timeout=T)] == [
        5 * N,
        "small",
    ]
    del refs
    freed()
    again = ray.get(middle.ask.remote(maker), timeout=T)
    ray.get(middle.drop.remote(), timeout=T)
    del again
    freed()


def test_the_same_ref_comes_back_home_as_itself(ray, freed, keeper_class):
    keeper = keeper_class.remote()
    ref = ray.put(np.ones(N, np.uint8))
    ray.get(keeper.keep.remote([ref]), timeout=T)
    (back,) = ray.get(keeper.give.remote(), timeout=T)
    assert back == ref and ray.get(back) is not None
    del ref
    assert ray.get(back, timeout=T).sum() == N
    ray.get(keeper.drop.remote(), timeout=T)
    del back
    freed()


def test_the_owner_dies(ray, freed, keeper_class):
    maker = keeper_class.remote()
    large, small = ray.get(maker.make.remote(), timeout=T)
    ray.kill(maker)

    def gone():
        try:
            ray.get(small, timeout=T)
        except ray.exceptions.OwnerDiedError:
            return True
        return False

    poll(gone)
    with pytest.raises(ray.exceptions.OwnerDiedError) as caught:
        ray.get(large, timeout=T)
    assert large.hex() in str(caught.value)
    large = small = caught = None
    freed()


def test_the_owner_dies_while_others_wait_for_its_value(ray, tmp_path):
    gate = str(tmp_path / "never")

    @ray.remote(num_cpus=0)
    class Owner:
        def start(self):
            import os

            @ray.remote
            def slow():
                while not os.path.exists(gate):
                    time.sleep(0.01)

            return [slow.remote()]

        def pid(self):
            import os

            return os.getpid()

    import os
    import signal

    owner = Owner.remote()
    (ref,) = ray.get(owner.start.remote(), timeout=T)
    pid = ray.get(owner.pid.remote(), timeout=T)
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(ref, timeout=T)
    # What the dead owner had started must not occupy a CPU for ever.
    poll(lambda: ray.available_resources().get("CPU") == 4)


def test_objects_of_executors_outlive_their_idleness(ray, freed):
    """Executors beyond those kept are ended after three seconds: not while others hold their objects."""

    @ray.remote(num_cpus=0)
    def make(i):
        time.sleep(0.3)  # eight at a time: more executors than are kept
        return [ray.put(np.full(N, i, np.uint8))]

    refs = [ray.get(outer, timeout=T)[0] for outer in [make.remote(i) for i in range(8)]]
    time.sleep(5.5)
    assert [int(ray.get(ref, timeout=T)[0]) for ref in refs] == list(range(8))
    del refs
    freed()


def test_pending_refs_may_be_passed_on(ray):
    @ray.remote
    def slow(x):
        time.sleep(0.1)
        return x

    @ray.remote
    def read(refs):
        return ray.get(refs[0], timeout=T)

    assert ray.get([read.remote([slow.remote(i)]) for i in range(8)], timeout=T) == list(range(8))


def test_a_borrower_waits_with_ray_wait(ray, tmp_path):
    @ray.remote
    def slow(name):
        while not (tmp_path / name).exists():
            time.sleep(0.01)
        return name

    @ray.remote(num_cpus=0)
    def first(refs):
        ready, _ = ray.wait(refs, timeout=T)
        return ray.get(ready[0])

    refs = [slow.remote("later"), slow.remote("now")]
    (tmp_path / "now").touch()
    assert ray.get(first.remote(refs), timeout=T) == "now"
    (tmp_path / "later").touch()
    assert ray.get(refs, timeout=T) == ["later", "now"]


def test_errors_reach_borrowers_under_their_own_type(ray):
    @ray.remote
    def fail():
        raise KeyError("k")

    @ray.remote
    def read(refs):
        try:
            ray.get(refs[0], timeout=T)
        except KeyError as error:
            return f"got {error.cause.args[0]}"

    assert ray.get(read.remote([fail.remote()]), timeout=T) == "got k"
