"""Objects of one process on their way to disk, in directories of the test's own."""

from __future__ import annotations

import errno
import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from rayjup.base.exceptions import ObjectStoreFullError, OutOfDiskError
from rayjup.base.serialization import pack, unpack
from rayjup.engine.lane.messages import RECYCLE
from rayjup.engine.objects import spilling
from rayjup.engine.objects.spilling import Disk
from rayjup.engine.objects.store import Store

MB = 1 << 20


class Writer:
    """Stands for the connection to a process that wrote a segment for us."""

    def __init__(self) -> None:
        self.closed = False
        self.outbox: list[tuple] = []


@pytest.fixture
def disk(tmp_path) -> Disk:
    directory = tmp_path / f"{spilling.PREFIX}0-node"
    directory.mkdir()
    return Disk(str(directory), 1.0)


@pytest.fixture
def make_store(tmp_path, disk):
    memory = tmp_path / "memory-node"
    memory.mkdir()

    def make(name: str = "aa", room: bool = True, on_disk: bool = True) -> Store:
        return Store(
            str(memory),
            name,
            "here",
            lambda nbytes, urgent: nbytes if room else 0,
            lambda nbytes: None,
            disk=disk if on_disk else None,
        )

    return make


def move(store: Store, disk: Disk, paths: list[str]) -> list[tuple[str, int, int]]:
    reports: list[tuple[str, int, int]] = []
    done = threading.Event()

    def report(*fields) -> None:
        reports.append(fields)
        if len(reports) == len(paths):
            done.set()

    spilling.move_all(store, disk, paths, report)
    assert done.wait(10)
    return reports


def read(store: Store, descriptor):
    return unpack(*store.buffers(descriptor))


def files(disk: Disk) -> list[str]:
    return sorted(os.listdir(disk.directory))


def test_a_moved_object_is_read_under_its_name_and_freed_with_its_owner(make_store, disk):
    store, other = make_store(), make_store("bb")
    value = np.arange(MB)
    segment = store.write(pack(value))
    path, size = segment.path, segment.descriptor[1]
    before = read(other, segment.descriptor)
    assert move(store, disk, [path]) == [(path, segment.capacity, size)]
    assert os.path.islink(path) and segment.map is None
    for array in (before, read(other, segment.descriptor), unpack(*store.views_of(segment))):
        np.testing.assert_array_equal(array, value)
    del segment, array
    gc.collect()
    assert not os.path.lexists(path) and files(disk) == []
    np.testing.assert_array_equal(before, value)


def test_what_arrays_of_the_owner_show_is_not_moved(make_store, disk):
    store = make_store()
    segment = store.write(pack(np.ones(MB)))
    array = unpack(*store.views_of(segment))
    assert store.shown() == [segment.path]
    assert move(store, disk, [segment.path]) == [(segment.path, 0, 0)]
    assert files(disk) == [] and not segment.spilled
    del array
    assert store.shown() == [] and move(store, disk, [segment.path])[0][1] > 0


def test_what_is_not_there_or_not_ours_is_reported_as_not_moved(make_store, disk):
    store = make_store()
    gone = f"{store.directory}/aa-aa-99"
    assert move(store, disk, [gone]) == [(gone, 0, 0)]


def test_the_writer_of_a_moved_object_lets_go_of_it(make_store, disk):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    segment = owning.own(writing.forget(writing.write(pack(np.ones(MB)), "bb")), writer)
    path = segment.path
    assert move(owning, disk, [path])[0][1] > 0
    assert writer.outbox == [(RECYCLE, path, False)]
    # The writer dies: its files are looked through, and this one is ours.
    owning.writer_died([path, segment.spilled])
    assert int(unpack(*owning.views_of(segment)).sum()) == MB
    del segment
    assert files(disk) == [] and not os.path.lexists(path)


def test_what_finds_no_room_is_written_to_disk_at_once(make_store, disk):
    store, other = make_store(room=False), make_store("bb", room=False)
    value = {"a": np.arange(MB), "b": np.asfortranarray(np.ones((300, 500))), "c": b"x" * MB}
    segment = store.write(pack(value))
    assert spilling.is_spilled(segment.path) and Path(segment.path).stat().st_mode & 0o777 == 0o600
    got = read(other, segment.descriptor)
    np.testing.assert_array_equal(got["a"], value["a"])
    np.testing.assert_array_equal(got["b"], value["b"])
    assert got["c"] == value["c"]
    given = other.own(store.forget(segment), Writer())
    assert given.spilled and given.writer is None
    del given, got
    assert files(disk) == []


def test_without_a_disk_it_is_full(make_store):
    with pytest.raises(ObjectStoreFullError):
        make_store(room=False, on_disk=False).write(pack(np.ones(MB)))


def test_a_full_disk_is_an_error_that_leaves_nothing(make_store, disk, monkeypatch):
    def refuse(fd, data, position):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OutOfDiskError, match="No space left"):
        make_store(room=False).write(pack(np.ones(MB)))
    assert files(disk) == []


def test_a_disk_that_is_full_enough_is_left_alone(disk):
    with pytest.raises(OutOfDiskError, match="local_fs_capacity_threshold"):
        Disk(disk.directory, 0.0).check(1)
    disk.check(1)
