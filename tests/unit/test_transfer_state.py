"""What is pulled from where: the pure machines, alone and under a model with failing and busy sources."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rayjup.engine.transfer._state import (
    BUSY,
    CHUNK,
    COMPLETE,
    FAILED,
    FINISHED,
    GONE,
    LATER,
    LONGEST_REST_S,
    LOST,
    MOST_STREAMS,
    REST_S,
    RUNNING,
    STREAMS,
    UNREACHABLE,
    Pull,
    Sends,
)


def pull(chunks: int = 4, *sources: str, **more: float) -> Pull:
    made = Pull(chunks * CHUNK - 1, 0.0, **more)
    made.add_sources(sources or ("a",))
    return made


def bring(pull: Pull, node: str, now: float = 0.0) -> int | None:
    index = pull.take(node)
    if index is not None:
        pull.received(index, now)
    return index


def test_chunks_are_equal_but_for_the_last_one():
    made = pull(3)
    assert [made.span(i) for i in range(3)] == [(0, CHUNK), (CHUNK, CHUNK), (2 * CHUNK, CHUNK - 1)]
    assert Pull(1, 0.0).span(0) == (0, 1)


def test_several_streams_share_the_chunks_of_one_source():
    made = pull(10)
    assert made.open_streams(0.0) == ["a"] * STREAMS
    assert made.open_streams(0.0) == []
    assert [bring(made, "a") for _ in range(11)] == [*range(10), None]
    assert made.state(0.0) == COMPLETE


def test_an_object_of_one_chunk_needs_one_stream():
    assert len(pull(1, "a", "b").open_streams(0.0)) == 1


def test_streams_are_spread_over_sources_and_bounded():
    made = pull(100, "a", "b", "c")
    opened = made.open_streams(0.0)
    assert len(opened) == MOST_STREAMS
    assert {opened.count(node) for node in "abc"} == {1, 2}


def test_what_a_broken_stream_had_taken_is_taken_by_another():
    made = pull(3, "a", "b")
    made.open_streams(0.0)
    assert made.take("a") == 0
    made.ended("a", FAILED, 1.0, 0)
    assert bring(made, "b") == 0
    assert made.state(1.0) == RUNNING


def test_a_source_that_fails_rests_longer_each_time():
    made = pull(3)
    now, rests = 0.0, []
    for _ in range(8):
        assert "a" in made.open_streams(now)
        while made.sources["a"].streams:
            made.ended("a", FAILED, now)
        rests.append(made.sources["a"].rests_until - now)
        now = made.sources["a"].rests_until
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_REST_S


def test_one_that_is_busy_names_others_and_is_asked_again():
    made = pull(3)
    made.open_streams(0.0)
    made.ended("a", BUSY, 0.0, None, ["b"])
    assert made.open_streams(0.0) == ["b", "b"]
    assert "a" in made.open_streams(REST_S + 0.01) or made.sources["a"].streams


def test_it_is_lost_when_no_source_has_it():
    made = pull(3, "a", "b")
    for node in made.open_streams(0.0):
        made.ended(node, GONE, 0.0)
    assert made.state(0.0) == LOST
    made.renew("a")
    assert made.state(0.0) == RUNNING


def test_it_is_unreachable_when_nothing_came_for_long():
    made = pull(3, patience_s=10.0)
    for node in made.open_streams(0.0):
        made.ended(node, FAILED, 0.0)
    assert made.state(9.9) == RUNNING
    assert made.state(10.0) == UNREACHABLE
    assert made.look_again_at(9.0) == 10.0


def test_parts_that_are_there_can_be_served():
    made = pull(3)
    made.open_streams(0.0)
    bring(made, "a")
    assert made.has(0, CHUNK)
    assert not made.has(0, CHUNK + 1)
    assert not made.has(5 * CHUNK, 1)


def test_a_source_serves_few_at_a_time_and_names_them_to_the_others():
    sends = Sends(per_object=2)
    assert sends.admit("x", "n1")
    assert sends.admit("x", "n1")  # its second stream
    assert sends.admit("x", "n2")
    assert not sends.admit("x", "n3")
    assert sends.others("x", "n3") == ["n2", "n1"]
    assert sends.others("x", "n2") == ["n1"]  # never those that came later: nobody waits in a circle
    assert sends.admit("y", "n3")
    sends.ended("x", "n1")
    assert not sends.admit("x", "n3")
    sends.ended("x", "n1")
    assert sends.admit("x", "n3")
    sends.forget("x")
    assert sends.others("x", "n4") == []


def test_a_source_has_so_many_streams_in_all():
    sends = Sends(per_object=5, most=2)
    assert sends.admit("x", "n1")
    assert sends.admit("y", "n1")
    assert not sends.admit("z", "n1")
    sends.ended("y", "n1")
    assert sends.admit("z", "n1")


class Network:
    """Nodes that all want one object that the first one has; a stream moves one chunk per turn."""

    def __init__(self, nodes: int, chunks: int) -> None:
        self.names = [f"n{i}" for i in range(nodes)]
        self.pulls = {name: pull(chunks, "n0") for name in self.names[1:]}
        self.sends = {name: Sends() for name in self.names}
        self.streams: list[tuple[str, str, bool]] = []  # to, from, admitted
        self.sent = dict.fromkeys(self.names, 0)
        self.now = 0.0
        self.dead: set[str] = set()

    def turn(self) -> None:
        self.now += 0.02
        for name, wanting in self.pulls.items():
            if name not in self.dead and wanting.state(self.now) == RUNNING:
                self.streams += [(name, source, False) for source in wanting.open_streams(self.now)]
        self.streams = [stream for stream in self.streams if self._move(*stream)]

    def _move(self, to: str, source: str, admitted: bool) -> bool:
        wanting, sends = self.pulls[to], self.sends[source]
        if to in self.dead:
            return self._end(to, source, admitted, None, FAILED)
        index = wanting.take(source)
        if index is None:
            return self._end(to, source, admitted, None, FINISHED)
        if source in self.dead:
            return self._end(to, source, admitted, index, FAILED)
        if not admitted and not sends.admit("x", to):
            return self._end(to, source, False, index, BUSY, sends.others("x", to))
        if source != "n0" and not self.pulls[source].has(*wanting.span(index)):
            return self._end(to, source, True, index, LATER)
        wanting.received(index, self.now)
        self.sent[source] += 1
        if not admitted:
            self.streams.append((to, source, True))
            return False
        return True

    def _end(
        self,
        to: str,
        source: str,
        admitted: bool,
        index: int | None,
        how: str,
        others: list[str] | None = None,
    ) -> bool:
        if admitted:
            self.sends[source].ended("x", to)
        if to not in self.dead:
            self.pulls[to].ended(source, how, self.now, index, others or [])
        return False

    def run(self, most_turns: int = 3000) -> int:
        for turns in range(most_turns):
            if all(p.state(self.now) == COMPLETE for n, p in self.pulls.items() if n not in self.dead):
                return turns
            self.turn()
        raise AssertionError("it does not end")


def test_a_broadcast_is_a_tree():
    network = Network(100, 20)
    network.run()
    assert sum(network.sent.values()) == 99 * 20  # nothing is sent twice
    assert max(network.sent.values()) <= 4 * 20  # whoever has it passes it on to a few
    assert sum(sent > 0 for sent in network.sent.values()) > 50


def test_a_broadcast_outlives_those_who_pass_it_on():
    network = Network(30, 20)
    for _ in range(10):
        network.turn()
    busiest = sorted(network.sent, key=network.sent.get, reverse=True)  # type: ignore[arg-type]
    network.dead |= {name for name in busiest[:4] if name != "n0"}
    network.run()


class Pulling(RuleBasedStateMachine):
    """Sources that serve, refuse, fail and go; in any order, with streams open to each."""

    @initialize(chunks=st.integers(1, 30), sources=st.sets(st.sampled_from("abcd"), min_size=1))
    def begin(self, chunks: int, sources: set[str]) -> None:
        self.now = 0.0
        self.pull = pull(chunks, *sorted(sources))
        self.open: list[tuple[str, int | None]] = []
        self.got: list[int] = []

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.advance()

    def advance(self) -> None:
        if self.pull.state(self.now) == RUNNING:
            self.open += [(node, None) for node in self.pull.open_streams(self.now)]

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def a_stream_takes_a_chunk(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.open) - 1))
        node, index = self.open[at]
        if index is None:
            taken = self.pull.take(node)
            if taken is None:
                del self.open[at]
                self.pull.ended(node, FINISHED, self.now)
                self.advance()
            else:
                assert taken not in self.got
                assert taken not in [other for _, other in self.open]
                self.open[at] = (node, taken)
        else:
            self.pull.received(index, self.now)
            self.got.append(index)
            self.open[at] = (node, None)

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        how=st.sampled_from([BUSY, GONE, FAILED, LATER]),
        others=st.sets(st.sampled_from("abcdef")),
    )
    def a_stream_ends(self, data: st.DataObject, how: str, others: set[str]) -> None:
        node, index = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        self.pull.ended(node, how, self.now, index, sorted(others))
        self.advance()

    @rule(node=st.sampled_from("abcd"))
    def somebody_knows_of_a_source(self, node: str) -> None:
        self.pull.renew(node)
        self.advance()

    @invariant()
    def every_chunk_is_in_one_place(self) -> None:
        under_way = [index for _, index in self.open if index is not None]
        assert sorted([*self.pull.missing, *under_way, *self.got]) == list(range(self.pull.count))
        assert self.pull.arrived == len(self.got)

    @invariant()
    def streams_are_counted_and_few(self) -> None:
        assert len(self.open) <= MOST_STREAMS
        for source in self.pull.sources.values():
            assert source.streams == sum(node == source.node for node, _ in self.open) <= STREAMS

    @invariant()
    def it_goes_on_or_has_ended(self) -> None:
        state = self.pull.state(self.now)
        if state == RUNNING and not self.open:
            again = self.pull.look_again_at(self.now)
            assert again is not None
            assert again >= self.now
        if state == COMPLETE:
            assert len(self.got) == self.pull.count
        if state == LOST:
            assert all(source.gone for source in self.pull.sources.values())

    def teardown(self) -> None:
        """With a source that serves, every pull completes."""
        if not hasattr(self, "pull") or self.pull.state(self.now) == COMPLETE:
            return
        while self.open:
            node, index = self.open.pop()
            self.pull.ended(node, FAILED, self.now, index)
        self.now += LONGEST_REST_S
        self.pull.progress_at = self.now
        self.pull.renew("a")
        for _ in range(10 * self.pull.count + 10):
            for node in self.pull.open_streams(self.now):
                while bring(self.pull, node, self.now) is not None:
                    pass
                self.pull.ended(node, FINISHED, self.now)
            if self.pull.state(self.now) == COMPLETE:
                return
        raise AssertionError("it does not complete")


TestPulling = Pulling.TestCase
TestPulling.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
