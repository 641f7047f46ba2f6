"""More objects than the store holds: they lie on disk, read as before, and are freed as before."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest
from support.clusters import T, poll

MB = 1 << 20


@pytest.fixture(scope="module")
def spill_base(tmp_path_factory):
    return tmp_path_factory.mktemp("spill")


@pytest.fixture(scope="module")
def ray_cluster(spill_base):
    """Four CPUs, an object store of 50 MB, and a directory for what does not fit."""
    import rayjup

    rayjup.init(num_cpus=4, object_store_memory=50 * MB, _object_spilling_directory=str(spill_base))
    yield rayjup
    rayjup.shutdown()
    poll(lambda: list(spill_base.iterdir()) == [])


@pytest.fixture(autouse=True)
def nothing_stays(ray, spill_base):
    yield
    poll(lambda: not on_disk(spill_base), 20.0)
    used = stored()[0]
    assert used <= 50 * MB


def on_disk(base: Path) -> list[Path]:
    return [p for p in base.glob("*/*") if "-" in p.name]


def array(megabytes: int, value: int = 1) -> np.ndarray:
    return np.full(megabytes * MB, value, np.uint8)


def stored() -> tuple[int, int, int]:
    """Bytes used, bytes on disk and number of objects there, as the node reports them."""
    from rayjup.core import session

    (node,) = session.current().runtime.link.request("snapshot")["nodes"]
    return node["store_used"], node["store_spilled"], node["store_spilled_objects"]


def test_puts_beyond_the_capacity_all_read_back(ray, spill_base):
    refs = [ray.put(array(4, i)) for i in range(50)]
    assert on_disk(spill_base)
    for i, ref in enumerate(refs):
        value = ray.get(ref)
        assert value.size == 4 * MB and (value == i).all()
    poll(lambda: stored()[1] > 100 * MB and stored()[2] > 25, 20.0)
    assert stored()[0] <= 50 * MB


def test_the_oldest_go_first(ray, spill_base):
    refs = [ray.put(array(10, i)) for i in range(8)]
    names = [os.path.basename(r._data.descriptor[0]) for r in refs]
    gone = {p.name for p in on_disk(spill_base)}
    assert gone == set(names[: len(gone)]) and 3 <= len(gone) <= 5


def test_only_their_user_can_read_the_files(ray, spill_base):
    refs = [ray.put(array(20)) for _ in range(4)]
    for path in on_disk(spill_base):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    del refs


def test_descriptors_that_others_hold_stay_good(ray):
    @ray.remote
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        def sums(self):
            return [int(ray.get(r).sum()) for r in self.refs]

    keeper = Keeper.remote()
    mine = [ray.put(array(8, i)) for i in range(4)]
    ray.get(keeper.keep.remote(mine), timeout=T)
    others = [ray.put(array(8, 9)) for _ in range(12)]
    assert ray.get(keeper.sums.remote(), timeout=T) == [i * 8 * MB for i in range(4)]
    del mine  # the actor holds them still
    assert ray.get(keeper.sums.remote(), timeout=T) == [i * 8 * MB for i in range(4)]
    ray.kill(keeper)
    del others


def test_arrays_that_are_shown_stay_where_they_are(ray):
    shown = [ray.get(ray.put(array(10, i))) for i in range(4)]
    others = [ray.put(array(10, 9)) for _ in range(12)]
    assert [int(a[-1]) for a in shown] == [0, 1, 2, 3]
    assert all(ray.get(o)[0] == 9 for o in others)


def test_arguments_and_results_beyond_the_capacity(ray):
    @ray.remote
    def make(i):
        return np.full(8 * MB, i, np.uint8)

    @ray.remote
    def total(*arrays):
        return sum(int(a.sum()) for a in arrays)

    made = [make.remote(i) for i in range(20)]
    assert ray.get(total.remote(*made), timeout=T) == sum(range(20)) * 8 * MB
    assert ray.get(total.remote(array(60), array(60)), timeout=T) == 120 * MB
    assert ray.get([make.remote(i) for i in range(20)], timeout=T)[7][0] == 7


def test_one_object_larger_than_the_store(ray, spill_base):
    ref = ray.put(array(80, 3))
    assert sum(p.stat().st_size for p in on_disk(spill_base)) >= 80 * MB
    assert int(ray.get(ref).sum()) == 3 * 80 * MB

    @ray.remote
    def make():
        return np.full(70 * MB, 2, np.uint8)

    made = make.remote()
    assert int(ray.get(made).sum()) == 2 * 70 * MB


def test_objects_of_dead_processes_leave_the_disk(ray, spill_base):
    @ray.remote
    class Hoarder:
        def hoard(self):
            self.refs = [ray.put(array(8, i)) for i in range(12)]
            return int(sum(ray.get(r)[0] for r in self.refs))

    hoarder = Hoarder.remote()
    assert ray.get(hoarder.hoard.remote(), timeout=T) == sum(range(12))
    assert on_disk(spill_base)
    ray.kill(hoarder)
    poll(lambda: not on_disk(spill_base), 20.0)


def test_refs_inside_objects_are_found_on_disk(ray):
    inner = [ray.put(array(8, i)) for i in range(4)]
    outer = ray.put({"refs": inner, "more": array(1)})
    del inner
    others = [ray.put(array(8)) for _ in range(12)]
    assert [int(ray.get(r)[0]) for r in ray.get(outer)["refs"]] == [0, 1, 2, 3]
    del others
