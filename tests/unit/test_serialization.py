"""pack and unpack: buffers and references stay apart from the pickle and find back."""

from __future__ import annotations

import pickle
import socket
import threading

import numpy as np
import pytest

from rayjup.base import serialization as sz
from rayjup.engine.ownership.object_ref import ObjectRef


def again(value):
    packed = sz.pack(value)
    return sz.unpack(packed.data, [bytes(b) for b in packed.buffers], packed.refs)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(10**30),
        1.5,
        float("inf"),
        "ä\0\ud800",
        b"",
        (),
        [[], {}, set(), frozenset({1})],
        {"k": (1, [2, {3}])},
        range(3),
        slice(1, 2),
        complex(1, 2),
        bytearray(b"abc"),
    ],
    ids=repr,
)
def test_common_values_come_back_as_they_were(value):
    got = again(value)
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize("dtype", ["i1", "f8", "c16", "?", "U5", "S3", "M8[s]", [("a", "i4"), ("b", "f8")]])
def test_arrays_of_all_kinds(dtype):
    array = np.zeros((4, 3), dtype=dtype)
    got = again(array)
    assert got.dtype == array.dtype and got.shape == array.shape
    np.testing.assert_array_equal(got, array)


def test_array_layouts():
    base = np.arange(24).reshape(4, 6)
    for array in (base, np.asfortranarray(base), base[::2], base.T, base[:, 1:3], base[:0], np.array(5)):
        np.testing.assert_array_equal(again(array), array)


def test_object_arrays_and_arrays_in_objects():
    got = again(np.array([{"a": np.arange(3)}, None], dtype=object))
    np.testing.assert_array_equal(got[0]["a"], np.arange(3))


def test_large_buffers_are_not_copied_into_the_pickle():
    array = np.arange(100_000)
    packed = sz.pack([array, array])
    assert len(packed.data) < 1000
    assert all(np.shares_memory(np.frombuffer(b, np.uint8), array) for b in packed.buffers)
    assert packed.size >= sum(b.nbytes for b in packed.buffers)


def test_unpacked_arrays_use_the_buffers_given():
    packed = sz.pack(np.arange(1000))
    memory = bytes(packed.buffers[0])
    got = sz.unpack(packed.data, [memory])
    assert np.shares_memory(got, np.frombuffer(memory, np.int64)) and not got.flags.writeable


def test_identity_inside_a_value_is_kept():
    inner = [1]
    got = again([inner, inner])
    assert got[0] is got[1]
    loop = []
    loop.append(loop)
    got = again(loop)
    assert got[0] is got


def test_refs_are_found_and_put_back_in_their_places():
    a, b = ObjectRef(b"a" * 28), ObjectRef(b"b" * 28)
    packed = sz.pack({"x": [a, b, a], "y": b})
    assert {r.binary() for r in packed.refs} == {b"a" * 28, b"b" * 28}
    got = sz.unpack(packed.data, (), packed.refs)
    assert got["x"] == [a, b, a] and got["y"] is b and got["x"][0] is a


def test_packing_inside_packing_keeps_the_refs_apart():
    outer, inner = ObjectRef(b"o" * 28), ObjectRef(b"i" * 28)
    seen = []

    class Nested:
        def __reduce__(self):
            seen.append(sz.pack([inner]).refs)
            return list, ()

    packed = sz.pack([outer, Nested(), outer])
    assert packed.refs == [outer] or packed.refs == [outer, outer]
    assert seen == [[inner]]


def test_a_failed_pack_leaves_nothing_behind():
    with pytest.raises(TypeError):
        sz.pack([ObjectRef(b"a" * 28), threading.Lock()])
    assert sz.local.found is None


def test_a_failed_unpack_leaves_nothing_behind():
    packed = sz.pack([ObjectRef(b"a" * 28)])
    with pytest.raises(IndexError):
        sz.unpack(packed.data.replace(b"K\x00", b"K\x05"), (), packed.refs)
    assert sz.local.inner is None


def test_a_ref_restored_outside_of_rayjup_says_what_is_wrong():
    packed = sz.pack([ObjectRef(b"a" * 28)])
    with pytest.raises(pickle.UnpicklingError, match="can only be restored by rayjup"):
        pickle.loads(packed.data)


def test_threads_do_not_see_each_others_refs():
    barrier = threading.Barrier(4)
    wrong = []

    class Slow:
        def __reduce__(self):
            barrier.wait(5)
            return int, ()

    def run(letter: bytes) -> None:
        mine = ObjectRef(letter * 28)
        packed = sz.pack([mine, Slow(), mine])
        if {r.binary() for r in packed.refs} != {letter * 28}:
            wrong.append(letter)

    threads = [threading.Thread(target=run, args=(bytes([65 + i]),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_functions_and_classes_of_main_travel_by_value():
    namespace = {"__name__": "__main__", "np": np}
    exec("def f(x):\n    return np.sum(x) + g\ng = 5\nclass C:\n    pass\n", namespace)
    packed = sz.pack(namespace["f"])
    assert sz.unpack(packed.data)(np.ones(3)) == 8
    assert sz.unpack(sz.pack(namespace["C"]).data).__name__ == "C"


class Handle:
    """Cannot be pickled by itself."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()


class Special(Handle):
    pass


@pytest.fixture
def registered():
    sz.register_serializer(Handle, serializer=lambda h: h.name, deserializer=Handle)
    yield
    sz.deregister_serializer(Handle)


def test_custom_serializers(registered):
    got = again({"h": [Handle("a")]})
    assert got["h"][0].name == "a"


def test_custom_serializers_are_for_exactly_their_class(registered):
    with pytest.raises(TypeError):
        sz.pack(Special("b"))


def test_custom_serializers_leave_functions_alone(registered):
    assert again(lambda: 7)() == 7


def test_a_custom_serializer_may_return_refs_and_arrays():
    sz.register_serializer(
        Handle,
        serializer=lambda h: (h.name, np.arange(5), ObjectRef(b"r" * 28)),
        deserializer=lambda s: s,
    )
    try:
        name, array, ref = again(Handle("n"))
    finally:
        sz.deregister_serializer(Handle)
    assert (name, list(array), ref.binary()) == ("n", [0, 1, 2, 3, 4], b"r" * 28)


def test_after_deregistering_the_class_is_as_before(registered):
    sz.deregister_serializer(Handle)
    with pytest.raises(TypeError):
        sz.pack(Handle("a"))
    sz.deregister_serializer(Handle)  # once more does nothing


@pytest.mark.parametrize("value", [1, 1.5, "short", b"short", True, None])
def test_plain_values(value):
    assert sz.is_plain(value)


class Number(int):
    pass


@pytest.mark.parametrize(
    "value", ["x" * 20_000, b"x" * 20_000, [], (1,), Number(3), np.int64(1), bytearray()]
)
def test_values_that_are_not_plain(value):
    assert not sz.is_plain(value)


def test_open_sockets_cannot_be_packed():
    with socket.socket() as sock, pytest.raises(TypeError):
        sz.pack({"connection": sock})
