"""The account of a node's shared memory, without processes: room is never promised twice or lost."""

from __future__ import annotations

import heapq
import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rayjup.engine.node.room import ANSWER_S, SPILLING_TRIM_S, WAIT_S, Room, Stored

CAPACITY = 1000


class World:
    """Clients, files, messages and time, as the agent would see them."""

    def __init__(self, spill: bool = True) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, int, object]] = []
        self.numbers = itertools.count()
        self.files: dict[str, Stored] = {}
        self.clients = {"a", "b"}
        self.posted: list[tuple[str, tuple]] = []
        self.room = Room(
            CAPACITY,
            lambda client, message: self.posted.append((client, message)),
            lambda: list(self.clients),
            lambda seconds, function: heapq.heappush(
                self.timers, (self.now + seconds, next(self.numbers), function)
            ),
            lambda: (list(self.files.values()), sum(f.size for f in self.files.values())),
            ("store_spill", "n") if spill else None,
        )

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end:
            self.now, _, function = heapq.heappop(self.timers)
            function()
        self.now = end

    def take(self, kind: str) -> list[tuple[str, tuple]]:
        found = [(c, m) for c, m in self.posted if m[0] == kind]
        self.posted = [(c, m) for c, m in self.posted if m[0] != kind]
        return found

    def answers(self) -> list[tuple[str, int, int]]:
        return [(c, m[1], m[3]) for c, m in self.take("answer")]

    def write(self, name: str, size: int) -> None:
        """A file of ``size`` for which room has been reserved."""
        self.files[name] = Stored(name, size, self.now)
        self.now += 1e-3

    def trim(self, nbytes: int = 0, shown: tuple[str, ...] = ()) -> None:
        """All answer what the last trim asked."""
        for client, message in self.take("store_trim"):
            self.room.trimmed(client, message[1], nbytes, shown)


@pytest.fixture
def world() -> World:
    return World()


def fill(world: World, sizes: list[int]) -> None:
    for index, size in enumerate(sizes):
        world.room.reserve("a", 100 + index, size, False)
        world.write(f"a-a-{index}", size)
    assert [granted for _, _, granted in world.answers()] == sizes


def test_there_is_room(world):
    world.room.reserve("a", 1, 400, False)
    world.room.reserve("b", 2, 600, False)
    assert world.answers() == [("a", 1, 400), ("b", 2, 600)] and world.room.used == CAPACITY
    world.room.reserve("a", 3, 1, False)
    assert world.answers() == [("a", 3, 0)], "only an urgent request has others asked"


def test_what_can_never_fit_is_refused_at_once(world):
    world.room.reserve("a", 1, CAPACITY + 1, True)
    assert world.answers() == [("a", 1, 0)] and not world.posted


def test_spare_room_is_asked_for_before_anything_moves(world):
    world.room.reserve("b", 1, 700, False)
    world.write("b-b-1", 300)
    world.answers()
    world.room.reserve("a", 2, 500, True)
    assert not world.answers()
    (turn,) = {m[1] for _, m in world.take("store_trim")}
    world.room.trimmed("b", turn, 400, ())
    assert world.answers() == [("a", 2, 500)] and not world.take("store_spill")


def test_the_oldest_files_that_nobody_shows_are_moved(world):
    fill(world, [300, 300, 300])
    world.room.reserve("b", 1, 350, True)
    world.trim(shown=("a-a-0",))
    assert world.take("store_spill") == [("a", ("store_spill", "n", ["a-a-1"]))]
    del world.files["a-a-1"]
    world.room.moved("a-a-1", 300, 290)
    assert world.answers() == [("b", 1, 350)] and world.room.used == 950
    assert (world.room.counts.spilled_bytes, world.room.counts.spilled_objects) == (290, 1)


def test_others_are_tried_where_one_can_not_be_moved_and_then_the_disk_is_left(world):
    fill(world, [500, 500])
    world.room.reserve("b", 1, 400, True)
    world.trim()
    world.take("store_spill")
    world.room.moved("a-a-0", 0, 0)
    assert world.take("store_spill") == [("a", ("store_spill", "n", ["a-a-1"]))]
    world.room.moved("a-a-1", 0, 0)
    assert world.answers() == [("b", 1, 0)] and world.room.used == CAPACITY


def test_silent_processes_hold_nobody_up(world):
    fill(world, [500, 500])
    world.room.reserve("b", 1, 400, True)
    world.pass_time(SPILLING_TRIM_S)
    assert world.take("store_spill") and not world.answers()
    world.pass_time(2 * (ANSWER_S + 1))
    assert world.answers() == [("b", 1, 0)]
    del world.files["a-a-0"]
    world.room.moved("a-a-0", 500, 500)  # late, but not lost
    assert world.room.used == 500


def test_nobody_passes_who_waits(world):
    fill(world, [600])
    world.room.reserve("b", 1, 500, True)
    world.room.reserve("a", 2, 100, False)
    assert world.answers() == [("a", 2, 0)]
    world.room.freed(600)
    assert world.answers() == [("b", 1, 500)]


def test_without_a_disk_it_is_full():
    world = World(spill=False)
    fill(world, [600])
    world.room.reserve("b", 1, 500, True)
    world.trim()
    assert world.answers() == [("b", 1, 0)] and not world.take("store_spill")


def test_a_killed_process_is_counted_anew(world):
    fill(world, [300])
    world.room.reserve("b", 1, 700, False)  # and it wrote nothing before it died
    world.answers()
    world.clients.discard("b")
    world.room.left("b", 0)
    world.room.reserve("a", 2, 500, True)
    world.trim()
    assert world.answers() == [("a", 2, 500)] and world.room.used == 800


def test_what_is_held_ends_with_its_holder(world):
    world.room.reserve("a", 1, 400, False)
    world.room.hold("a", 400)
    world.room.hold("a", -100)
    world.room.freed(100)
    assert world.room.used == 300
    world.room.left("a", 0)
    assert world.room.used == 0 and world.room.held == {}


class Machine(RuleBasedStateMachine):
    """Honest clients in any order: no room is given twice or lost, and no request waits for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.free = {"a": 0, "b": 0}  # reserved, and nothing lies there
        self.open: dict[int, tuple[str, int]] = {}
        self.numbers = itertools.count(1)
        self.moving: list[tuple[str, str]] = []
        self.trims: list[tuple[str, int]] = []

    def hear(self) -> None:
        for client, number, granted in self.world.answers():
            asked = self.open.pop(number)
            assert asked[0] == client and granted in (0, asked[1])
            self.free[client] += granted
        self.trims += [(c, m[1]) for c, m in self.world.take("store_trim")]
        self.moving += [(c, name) for c, m in self.world.take("store_spill") for name in m[-1]]

    @rule(client=st.sampled_from("ab"), nbytes=st.integers(1, 600), urgent=st.booleans())
    def reserve(self, client, nbytes, urgent):
        number = next(self.numbers)
        self.open[number] = (client, nbytes)
        self.world.room.reserve(client, number, nbytes, urgent)
        self.hear()

    @rule(client=st.sampled_from("ab"), share=st.floats(0.1, 1))
    def write(self, client, share):
        size = int(self.free[client] * share)
        if size:
            self.free[client] -= size
            self.world.write(f"{client}-{client}-{next(self.numbers)}", size)

    @precondition(lambda self: self.world.files)
    @rule(data=st.data())
    def free_one(self, data):
        name = data.draw(st.sampled_from(sorted(self.world.files)))
        size = self.world.files.pop(name).size
        self.world.room.freed(size)
        self.hear()

    @precondition(lambda self: self.trims)
    @rule()
    def answer_trim(self):
        client, turn = self.trims.pop(0)
        nbytes, self.free[client] = self.free[client], 0
        self.world.room.trimmed(client, turn, nbytes, ())
        self.hear()

    @precondition(lambda self: self.moving)
    @rule(works=st.booleans())
    def answer_move(self, works):
        _, name = self.moving.pop(0)
        file = self.world.files.pop(name, None) if works else None
        self.world.room.moved(name, file.size if file else 0, file.size if file else 0)
        self.hear()

    @rule(seconds=st.floats(0.01, 3))
    def wait(self, seconds):
        self.world.pass_time(seconds)
        self.hear()

    @invariant()
    def the_account_is_right(self):
        files = sum(f.size for f in self.world.files.values())
        assert self.world.room.used == files + sum(self.free.values()) <= CAPACITY

    def teardown(self):
        self.world.pass_time(WAIT_S + 1)
        self.hear()
        assert not self.open, "every request is answered"


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
