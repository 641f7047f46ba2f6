"""Segments in shared memory, without a cluster: what a process sees of objects that are gone."""

from __future__ import annotations

import pickle

import pytest

from rayjup.base.serialization import pack, unpack
from rayjup.engine.objects.store import Store
from rayjup.exceptions import ObjectLostError


@pytest.fixture
def make_store(tmp_path):
    stores = []

    def make(name: str, host: str = "here") -> Store:
        stores.append(Store(str(tmp_path), name, host, lambda nbytes, urgent: nbytes, lambda nbytes: None))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def test_another_process_reads_what_was_written(make_store):
    segment = make_store("writer").write(pack({"a": b"x" * 200_000}))
    head, buffers = make_store("reader").buffers(segment.descriptor)
    assert unpack(head, buffers) == {"a": b"x" * 200_000}


def test_a_segment_that_is_gone_is_a_lost_object(make_store, tmp_path):
    writer = make_store("writer")
    descriptor = writer.forget(writer.write(pack(b"x" * 200_000)))
    (tmp_path / descriptor[0]).unlink()
    with pytest.raises(ObjectLostError, match="its owner freed it or died") as caught:
        make_store("reader").buffers(descriptor)
    assert descriptor[0].rsplit("/", 1)[1] in str(caught.value)


def test_a_segment_of_another_machine_is_not_looked_for_here(make_store):
    segment = make_store("writer", host="there").write(pack(b"x" * 200_000))
    with pytest.raises(ObjectLostError, match="another machine"):
        make_store("reader", host="here").buffers(segment.descriptor)


def test_an_explained_loss_names_the_object_where_it_is_known():
    anonymous = ObjectLostError.from_text("It went.")
    assert str(anonymous) == "It went."
    named = pickle.loads(pickle.dumps(ObjectLostError.from_text("It went.", "ab")))
    assert str(named) == "Failed to retrieve object ab.\n\nIt went."
    assert named.object_ref_hex == "ab"
