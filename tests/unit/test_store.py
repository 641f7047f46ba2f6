"""Shared-memory segments of one process, in a directory of the test's own."""

from __future__ import annotations

import errno
import gc
import mmap
import os
from pathlib import Path

import numpy as np
import pytest

from rayjup.base.exceptions import ObjectLostError, ObjectStoreFullError
from rayjup.base.serialization import pack, unpack
from rayjup.engine.lane.messages import RECYCLE
from rayjup.engine.objects.store import _KEEP_S, _QUOTA_STEP, Store

MB = 1 << 20


class Node:
    """The node's account of its shared memory, as an agent keeps it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0

    def reserve(self, nbytes: int, urgent: bool) -> int:
        if self.used + nbytes > self.capacity:
            return 0
        self.used += nbytes
        return nbytes

    def give_back(self, nbytes: int) -> None:
        self.used -= nbytes


class Writer:
    """Stands for the connection to a process that wrote a segment for us."""

    def __init__(self) -> None:
        self.closed = False
        self.outbox: list[tuple] = []


@pytest.fixture
def node() -> Node:
    return Node(1 << 30)


@pytest.fixture
def make_store(tmp_path, node):
    def make(name: str = "aa", host: str = "here") -> Store:
        return Store(str(tmp_path), name, host, node.reserve, node.give_back)

    return make


def files(store: Store) -> list[str]:
    return sorted(os.listdir(store.directory))


def read(store: Store, descriptor):
    head, buffers = store.buffers(descriptor)
    return unpack(head, buffers)


def test_write_and_read_in_another_process(make_store):
    value = {"a": np.arange(100_000), "b": b"text", "c": np.ones((3, 5), order="F"), "d": np.array([])}
    segment = make_store().write(pack(value))
    got = read(make_store("bb"), segment.descriptor)
    assert got["b"] == b"text" and got["d"].size == 0
    np.testing.assert_array_equal(got["a"], value["a"])
    np.testing.assert_array_equal(got["c"], value["c"])
    assert not got["a"].flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        got["a"][0] = 1


def test_buffers_are_aligned(make_store):
    store = make_store()
    segment = store.write(pack([np.arange(n, dtype=np.uint8) for n in (1, 7, 100, 5000)]))
    assert [offset % 64 for offset, _ in segment.descriptor[3]] == [0, 0, 0, 0]
    got = read(store, segment.descriptor)
    assert [a.size for a in got] == [1, 7, 100, 5000]


def test_files_are_private_and_named_after_their_owner(make_store):
    store = make_store("aabb")
    segment = store.write(pack(np.zeros(1000)))
    mine = segment.path
    other = store.write(pack(np.zeros(1000)), owner_name="ccdd")
    assert os.path.basename(mine).startswith("aabb-") and os.path.basename(other.path).startswith("ccdd-")
    assert os.stat(mine).st_mode & 0o777 == 0o600


def test_an_unseen_segment_is_used_again(make_store):
    store = make_store()
    first = store.write(pack(np.zeros(MB, np.uint8)))
    inode = os.stat(first.path).st_ino
    del first
    second = store.write(pack(np.ones(MB, np.uint8)))
    assert os.stat(second.path).st_ino == inode
    assert read(store, second.descriptor).min() == 1


def test_a_segment_used_again_gets_a_name_that_nobody_knows(make_store):
    store = make_store()
    first = store.write(pack(np.zeros(MB, np.uint8)))
    old = first.path
    del first
    second = store.write(pack(np.zeros(MB, np.uint8)), owner_name="zz")
    assert second.path != old and not os.path.exists(old)
    assert os.path.basename(second.path).startswith("zz-")


def test_a_segment_that_others_saw_is_not_used_again(make_store):
    store = make_store()
    segment = store.write(pack(np.zeros(MB, np.uint8)))
    segment.shared = True
    seen = read(make_store("bb"), segment.descriptor)
    del segment
    assert files(store) == []
    store.write(pack(np.ones(MB, np.uint8)))
    assert seen.max() == 0, "the reader's pages were written over"


def test_a_segment_that_arrays_here_still_show_is_not_used_again(make_store):
    store = make_store()
    segment = store.write(pack(np.zeros(MB, np.uint8)))
    head, buffers = store.views_of(segment)
    array = unpack(head, buffers)
    del head, buffers, segment
    again = store.write(pack(np.ones(MB, np.uint8)))
    assert array.max() == 0 and again.path
    del array


def test_a_much_larger_segment_is_not_used_for_a_small_object(make_store):
    store = make_store()
    segment = store.write(pack(np.zeros(8 * MB, np.uint8)))
    large = segment.path
    del segment
    small = store.write(pack(np.zeros(MB, np.uint8)))
    assert os.path.exists(large) and os.stat(small.path).st_size < 2 * MB


def test_kept_segments_go_after_a_while(make_store):
    store = make_store()
    now = [0.0]
    store._clock = lambda: now[0]
    segment = store.write(pack(np.zeros(MB, np.uint8)))
    del segment
    now[0] = _KEEP_S - 0.1
    store.tick()
    assert len(files(store)) == 1
    now[0] = _KEEP_S + 0.1
    store.tick()
    assert files(store) == []


def test_of_many_kept_segments_only_those_that_are_needed_stay(make_store):
    store = make_store()
    now = [0.0]
    store._clock = lambda: now[0]
    many = [store.write(pack(np.zeros(MB, np.uint8))) for _ in range(10)]
    del many
    for second in range(10):  # one at a time is in use
        now[0] = second / 2
        store.write(pack(np.zeros(MB, np.uint8)))
        store.tick()
    assert len(files(store)) == 1


def test_close_leaves_no_file_and_no_room(make_store, node):
    store = make_store()
    kept = store.write(pack(np.zeros(MB, np.uint8)))
    spare = store.write(pack(np.zeros(2 * MB, np.uint8)))
    del spare
    store.close()
    assert files(store) == [os.path.basename(kept.path)]  # its ref decides; the node removes the rest
    assert node.used == os.stat(kept.path).st_size
    del kept


def given_away(writer_store: Store, owner_store: Store, writer: Writer, value):
    """A segment written for another process, and its owner's part of it."""
    segment = writer_store.write(pack(value), owner_name=owner_store.name)
    return owner_store.own(writer_store.forget(segment), writer)


def test_a_segment_given_away_comes_back_and_is_used_again(make_store):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    posted = []
    owning.on_posted = posted.append
    owned = given_away(writing, owning, writer, np.zeros(MB, np.uint8))
    path = owned.path
    del owned
    assert writer.outbox == [(RECYCLE, path, True)] and posted == [writer]
    inode = os.stat(path).st_ino
    writing.taken_back(path, True)
    again = writing.write(pack(np.ones(MB, np.uint8)))
    assert os.stat(again.path).st_ino == inode


def test_a_segment_given_away_comes_back_only_when_no_array_shows_it(make_store):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    owned = given_away(writing, owning, writer, np.zeros(MB, np.uint8))
    array = read(owning, owned.descriptor)
    part = array[10:20]
    del owned
    gc.collect()
    assert writer.outbox == []
    del array
    assert writer.outbox == [] and part.max() == 0
    del part
    assert [m[2] for m in writer.outbox] == [True]


def test_a_segment_passed_on_is_unlinked_and_its_writer_told_so(make_store):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    owned = given_away(writing, owning, writer, np.zeros(MB, np.uint8))
    owned.shared = True
    path = owned.path
    del owned
    assert writer.outbox == [(RECYCLE, path, False)] and files(owning) == []
    writing.taken_back(path, False)
    assert not writing._given and not writing._spare


def test_a_segment_whose_writer_has_ended_is_unlinked(make_store):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    owned = given_away(writing, owning, writer, np.zeros(MB, np.uint8))
    writer.closed = True
    del owned
    assert files(owning) == [] and writer.outbox == []


def test_a_segment_whose_writer_ends_while_an_array_shows_it_is_unlinked(make_store):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    owned = given_away(writing, owning, writer, np.zeros(MB, np.uint8))
    array = read(owning, owned.descriptor)
    del owned
    writer.closed = True
    del array
    assert files(owning) == []


def test_a_kept_segment_that_was_removed_meanwhile_does_no_harm(make_store):
    store = make_store()
    first = store.write(pack(np.zeros(MB, np.uint8)))
    os.unlink(first.path)  # as the node does for an owner that died
    del first
    second = store.write(pack(np.ones(MB, np.uint8)))
    assert read(store, second.descriptor).min() == 1


def test_a_file_that_is_gone_is_a_lost_object(make_store):
    store = make_store()
    segment = store.write(pack(np.zeros(MB, np.uint8)))
    os.unlink(segment.path)
    with pytest.raises(ObjectLostError, match=os.path.basename(segment.path)):
        make_store("bb").buffers(segment.descriptor)


def test_an_object_of_another_machine_is_not_looked_for_here(make_store):
    segment = make_store(host="there").write(pack(np.zeros(MB, np.uint8)))
    with pytest.raises(ObjectLostError, match=os.path.basename(segment.path)):
        make_store("bb", host="here").buffers(segment.descriptor)


# -- the account of room


def test_room_is_taken_in_steps_and_returned(make_store, node):
    store = make_store()
    segments = [store.write(pack(np.zeros(MB, np.uint8))) for _ in range(10)]
    assert node.used == _QUOTA_STEP
    for segment in segments:
        segment.shared = True
    del segments, segment
    node.give_back(store.give_back_room())
    assert node.used == 0


def test_full_is_an_error_that_says_what_to_do_and_passes(make_store, node):
    node.capacity = 10 * MB
    store = make_store()
    kept = store.write(pack(np.zeros(6 * MB, np.uint8)))
    with pytest.raises(ObjectStoreFullError) as caught:
        store.write(pack(np.zeros(6 * MB, np.uint8)))
    for word in ("no room", "Drop references", "object_store_memory"):
        assert word in str(caught.value)
    kept.shared = True
    del kept
    assert store.write(pack(np.zeros(6 * MB, np.uint8))).path


def test_kept_segments_make_room_for_what_is_needed(make_store, node):
    node.capacity = 10 * MB
    store = make_store()
    kept = store.write(pack(np.zeros(6 * MB, np.uint8)))
    del kept  # kept for the next object of its size
    assert len(files(store)) == 1
    assert store.write(pack(np.zeros(9 * MB, np.uint8))).path


def test_a_directory_without_room_is_the_same_error_and_costs_no_room(make_store, node, monkeypatch):
    store = make_store()

    def refuse(fd, start, length):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    for _ in range(100):
        with pytest.raises(ObjectStoreFullError, match="No space left"):
            store.write(pack(np.zeros(MB, np.uint8)))
    assert files(store) == []
    assert node.used == _QUOTA_STEP


def test_a_directory_that_is_gone_is_a_clear_error(make_store, tmp_path):
    store = make_store()
    store.directory = str(tmp_path / "gone")
    with pytest.raises(ObjectStoreFullError, match="gone"):
        store.write(pack(np.zeros(MB, np.uint8)))


def test_no_room_is_lost_over_many_objects(make_store, node):
    node.capacity = 100 * MB
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    for round_ in range(60):  # of 6 MB each: 360 MB in all
        owned = given_away(writing, owning, writer, np.zeros(6 * MB, np.uint8))
        owned.shared = bool(round_ % 2)
        del owned
        for _, path, reusable in writer.outbox:
            writing.taken_back(path, reusable)
        writer.outbox.clear()
        node.give_back(owning.give_back_room())  # what the node asks for when another process finds no room
    node.give_back(writing.give_back_room())
    assert node.used == 0 and files(writing) == []


def test_mapping_is_shared_by_readers_of_one_process(make_store):
    segment = make_store().write(pack(np.zeros(MB, np.uint8)))
    reader = make_store("bb")
    first, second = read(reader, segment.descriptor), read(reader, segment.descriptor)
    assert np.shares_memory(first, second)
    assert isinstance(reader._maps[segment.path], mmap.mmap)
    del first, second
    assert not reader._maps
    assert Path(segment.path).exists()


def test_what_a_dead_writer_could_not_announce_is_removed_and_nothing_else(make_store):
    writing, owning, writer = make_store("aa"), make_store("bb"), Writer()
    known = given_away(writing, owning, writer, np.zeros(MB, np.uint8))
    lost = writing.forget(writing.write(pack(np.zeros(MB, np.uint8)), owner_name="bb"))[0]
    owning.writer_died([known.path, lost])
    assert files(owning) == [os.path.basename(known.path)]
    assert read(owning, known.descriptor).size == MB


def test_objects_take_no_file_descriptors(make_store):
    writer, reader = make_store("w"), make_store("r")
    before = len(os.listdir("/proc/self/fd"))
    segments = [writer.write(pack(np.full(20_000, i))) for i in range(50)]
    read = [unpack(*reader.buffers(segment.descriptor)) for segment in segments]
    assert len(os.listdir("/proc/self/fd")) == before
    assert [int(array[-1]) for array in read] == list(range(50))


def test_what_a_process_keeps_counts_for_it_also_while_the_node_asks_for_it(tmp_path):
    """An urgent request makes the node ask everybody for room, the one who asks included."""
    given_back = []

    def reserve(nbytes, urgent):
        if not urgent:
            return 0
        given_back.append(store.give_back_room())
        return nbytes

    store = Store(str(tmp_path), "me", "here", reserve, lambda nbytes: None)
    store._quota = 500_000
    segment = store.write(pack(b"x" * 900_000))
    assert segment.capacity > 900_000
    assert given_back == [0]
    store.close()
