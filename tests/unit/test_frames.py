"""The wire format: frames that arrive in any pieces give the messages that were sent, in order."""

from __future__ import annotations

import itertools
import pickle
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rayjup.engine.lane.frames import HEADER, MAX_FRAME, FrameError, FrameReader, encode

messages = st.tuples(st.integers(0, 20), st.binary(max_size=300), st.none() | st.text(max_size=20))
frames = st.lists(st.lists(messages, min_size=1, max_size=5), min_size=1, max_size=8)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({c % (len(data) + 1) for c in cuts}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


@settings(max_examples=60, deadline=None)
@given(frames, st.lists(st.integers(0, 10_000), max_size=30))
def test_pieces_of_any_size_give_the_same_messages(sent, cuts):
    data = b"".join(encode(frame) for frame in sent)
    reader = FrameReader()
    received = []
    for piece in in_pieces(data, cuts):
        received += reader.feed(memoryview(piece))
    assert received == [message for frame in sent for message in frame]


def test_byte_by_byte():
    data = encode([(1, b"x" * 10)]) + encode([(2,)])
    reader = FrameReader()
    seen = [reader.feed(memoryview(data[i : i + 1])) for i in range(len(data))]
    assert [s for s in seen if s] == [[(1, b"x" * 10)], [(2,)]]
    assert seen[-1] == [(2,)]


def test_merged_frames_and_a_rest():
    third = encode([(3,)])
    reader = FrameReader()
    merged = encode([(1,)]) + encode([(2,), (2, 2)]) + third[:5]
    assert reader.feed(memoryview(merged)) == [(1,), (2,), (2, 2)]
    assert reader.feed(memoryview(third[5:])) == [(3,)]


def test_the_caller_may_reuse_its_buffer():
    data = encode([(1, b"payload")])
    buffer = bytearray(data[:9])
    reader = FrameReader()
    assert reader.feed(memoryview(buffer)) == []
    buffer[:] = b"\xff" * len(buffer)
    assert reader.feed(memoryview(data[9:])) == [(1, b"payload")]


def test_an_oversized_frame_is_refused_by_its_header():
    with pytest.raises(FrameError, match=str(MAX_FRAME)):
        FrameReader().feed(memoryview(HEADER.pack(MAX_FRAME + 1)))


def test_a_frame_that_is_no_pickle_is_refused():
    with pytest.raises(FrameError, match="not a list of messages"):
        FrameReader().feed(memoryview(HEADER.pack(4) + b"\x00\x01\x02\x03"))


def test_a_frame_that_is_no_list_is_refused():
    body = pickle.dumps({"a": 1})
    with pytest.raises(FrameError, match="not a list of messages"):
        FrameReader().feed(memoryview(HEADER.pack(len(body)) + body))


def test_frame_errors_are_connection_errors():
    assert issubclass(FrameError, ConnectionError)


def test_a_large_frame_in_small_pieces_is_not_copied_for_each_piece():
    """A captured array may make a frame of many megabytes: its cost has to grow with its size."""
    data = encode([(1, b"x" * (16 << 20))])
    view = memoryview(data)
    reader = FrameReader()
    started = time.thread_time()
    received = []
    for start in range(0, len(data), 32 * 1024):
        received += reader.feed(view[start : start + 32 * 1024])
    assert len(received[0][1]) == 16 << 20
    assert time.thread_time() - started < 0.25  # copying each time: 4 GB
