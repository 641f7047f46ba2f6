"""What is to run and what runs: the controller's state machine, by examples and by random histories."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rayjup.serve._private.common import DeploymentID, DeploymentStatus, ReplicaState
from rayjup.serve._private.records import Check, Forget, Kill, Reconfigure, Start, Stop
from rayjup.serve._private.state import State

ID = DeploymentID("d", "app")


def config(count: int = 1, **more: Any) -> dict[str, Any]:
    return {"num_replicas": count, "max_ongoing_requests": 5, "health_check_period_s": 10.0, **more}


def deploy(state: State, now: float, code: str, count: int = 1, **more: Any) -> list[Any]:
    return state.deploy(now, "app", "/", "d", [{"name": "d", "code": code, "config": config(count, **more)}])


def of(kind: type, actions: list[Any]) -> list[str]:
    return [a.replica for a in actions if isinstance(a, kind)]


def up(state: State, now: float, code: str = "1", count: int = 1, **more: Any) -> list[str]:
    started = of(Start, deploy(state, now, code, count, **more))
    for replica in started:
        state.started(now, ID, replica, {})
    return started


def test_replicas_start_and_the_application_runs() -> None:
    state = State()
    started = of(Start, deploy(state, 0.0, "1", 2))
    assert len(started) == 2
    assert state.apps["app"].status == "DEPLOYING"
    for replica in started:
        state.started(1.0, ID, replica, {"pid": 1})
    assert state.apps["app"].status == "RUNNING"
    assert state.deployments[ID].status is DeploymentStatus.HEALTHY


def test_a_new_version_starts_before_the_old_one_goes() -> None:
    state = State()
    (old,) = up(state, 0.0)
    actions = deploy(state, 1.0, "2")
    assert of(Stop, actions) == []
    (new,) = of(Start, actions)
    assert of(Stop, state.started(2.0, ID, new, {})) == [old]
    state.died(3.0, ID, old, "stopped")
    assert list(state.deployments[ID].replicas) == [new]


def test_an_old_replica_makes_room_where_there_is_none() -> None:
    state = State()
    old = up(state, 0.0, count=2)
    (new,) = of(Start, deploy(state, 1.0, "2", 2))
    (stopped,) = of(Stop, state.no_room(2.0, ID, new))
    assert stopped in old
    assert of(Stop, state.tick(3.0)) == []  # one at a time


def test_many_replicas_are_replaced_some_at_a_time() -> None:
    state = State()
    up(state, 0.0, count=10)
    assert len(of(Start, deploy(state, 1.0, "2", 10))) == 2  # a fifth
    state = State()
    up(state, 0.0, count=10)
    assert len(of(Start, deploy(state, 1.0, "2", 10, max_surge_percent=50))) == 5


def test_a_constructor_that_raises_is_tried_again_and_then_fails() -> None:
    state = State()
    actions = deploy(state, 0.0, "1")
    now = 0.0
    for _ in range(3):
        (replica,) = of(Start, actions)
        now += 0.1
        state.start_failed(now, ID, replica, "ValueError: no")
        now += 0.4
        actions = state.tick(now)
    assert of(Start, actions) == []
    assert state.apps["app"].status == "DEPLOY_FAILED"
    assert "ValueError: no" in state.apps["app"].message
    assert len(of(Start, deploy(state, now + 10, "2"))) == 1  # another version is tried


def test_a_constructor_that_goes_on_raising_is_not_waited_for() -> None:
    state = State()
    (first,) = of(Start, deploy(state, 0.0, "1"))
    state.start_failed(1.0, ID, first, "no model", took_s=0.1)
    (second,) = of(Start, state.tick(1.5))
    state.tick(1.9)
    assert state.apps["app"].status == "DEPLOYING"
    state.constructing(ID, second)
    state.tick(4.9)  # a second after the first failure is over, but something is being tried
    assert state.apps["app"].status == "DEPLOYING"
    state.tick(5.0)
    assert state.apps["app"].status == "DEPLOY_FAILED" and "no model" in state.apps["app"].message
    state.started(6.0, ID, second, {})  # the try that was under way
    assert state.apps["app"].status == "RUNNING"


def test_a_slow_constructor_gets_time_to_try_again() -> None:
    state = State()
    (first,) = of(Start, deploy(state, 0.0, "1"))
    state.start_failed(31.0, ID, first, "no download", took_s=30.0)
    assert len(of(Start, state.tick(32.0))) == 1
    state.tick(90.0)
    assert state.apps["app"].status == "DEPLOYING"
    state.tick(91.0)
    assert state.apps["app"].status == "DEPLOY_FAILED"


def test_what_is_waited_for_is_said_once() -> None:
    state = State()
    one, two = of(Start, deploy(state, 0.0, "1", 2))
    state.no_room(1.0, ID, one, "no CPU for one")
    state.no_room(1.0, ID, two, "no CPU for two")
    assert state.deployments[ID].message == "no CPU for one"
    state.not_placed(ID, two, "why is not known")
    assert state.deployments[ID].message == "no CPU for one"
    state.started(2.0, ID, one, {})
    state.started(2.0, ID, two, {})
    assert state.deployments[ID].message == ""


def test_what_served_before_a_broken_version_goes_on() -> None:
    state = State()
    (old,) = up(state, 0.0)
    actions = deploy(state, 1.0, "broken")
    for turn in range(3):
        for replica in of(Start, actions):
            state.start_failed(10.0 + turn * 20, ID, replica, "no")
        actions = state.tick(20.0 + turn * 20)
    assert state.deployments[ID].replicas[old].state is ReplicaState.RUNNING
    assert state.apps["app"].status == "DEPLOY_FAILED"


def test_a_dead_replica_is_replaced() -> None:
    state = State()
    (old,) = up(state, 0.0)
    (new,) = of(Start, state.died(100.0, ID, old, "killed"))
    assert new != old
    assert state.deployments[ID].status is DeploymentStatus.UNHEALTHY
    state.started(101.0, ID, new, {})
    assert state.deployments[ID].status is DeploymentStatus.HEALTHY


def test_health_checks() -> None:
    state = State()
    (replica,) = up(state, 0.0)
    assert of(Check, state.tick(5.0)) == []
    assert of(Check, state.tick(10.0)) == [replica]
    assert of(Check, state.tick(11.0)) == []  # one at a time
    for now in (12.0, 23.0):
        assert state.checked(now, ID, replica, "sick") == []
        state.tick(now + 10)
    actions = state.checked(34.0, ID, replica, "sick")
    assert of(Stop, actions) == [replica]
    assert len(of(Start, actions)) == 1


def test_settings_change_in_place() -> None:
    state = State()
    (replica,) = up(state, 0.0, user_config={"a": 1})
    actions = deploy(state, 1.0, "1", user_config={"a": 2})
    assert (of(Start, actions), of(Reconfigure, actions)) == ([], [replica])
    state.reconfigured(2.0, ID, replica, 1, None)
    assert state.deployments[ID].status is DeploymentStatus.HEALTHY
    actions = deploy(state, 3.0, "1", 3, user_config={"a": 2})
    assert len(of(Start, actions)) == 2


def test_scaling() -> None:
    state = State()
    up(state, 0.0, count=1)
    assert len(of(Start, state.scale(1.0, ID, 3))) == 2
    assert state.deployments[ID].status is DeploymentStatus.UPSCALING
    # those that are not up yet go first, without waiting for requests
    assert len(of(Kill, state.scale(2.0, ID, 1))) == 2


def test_deleting() -> None:
    state = State()
    (replica,) = up(state, 0.0)
    assert of(Stop, state.delete(1.0, "app")) == [replica]
    assert state.apps["app"].status == "DELETING"
    actions = state.died(2.0, ID, replica, "stopped")
    assert [a.deployment for a in actions if isinstance(a, Forget)] == [ID]
    assert (state.apps, state.deployments) == ({}, {})


def test_a_route_belongs_to_one_application() -> None:
    state = State()
    up(state, 0.0)
    with pytest.raises(ValueError, match="'/' belongs to the application 'app'"):
        state.deploy(1.0, "other", "/", "x", [{"name": "x", "code": "1", "config": config()}])


def test_gangs_start_and_fail_together() -> None:
    state = State()
    gang = {"gang_size": 2, "runtime_failure_policy": "RESTART_GANG"}
    started = up(state, 0.0, count=4, gang_scheduling_config=gang)
    records = state.deployments[ID].replicas
    gangs: dict[str, list[int]] = {}
    for replica in started:
        gangs.setdefault(records[replica].gang, []).append(records[replica].gang_rank)
    assert sorted(map(sorted, gangs.values())) == [[0, 1], [0, 1]]
    lost = started[0]
    mate = next(r for r in started[1:] if records[r].gang == records[lost].gang)
    assert mate in of(Stop, state.died(100.0, ID, lost, "killed"))


class Histories(RuleBasedStateMachine):
    """Random events; whatever happens, the state machine keeps its promises."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.now = 0.0
        self.starting: set[str] = set()
        self.stopping: set[str] = set()
        self.ever: set[str] = set()
        self.code = 0
        self.surge = 0

    def take(self, actions: list[Any]) -> None:
        for action in actions:
            if isinstance(action, Start):
                assert action.replica not in self.ever, "a replica is started twice"
                self.ever.add(action.replica)
                self.starting.add(action.replica)
            elif isinstance(action, Stop):
                assert action.replica not in self.stopping, "a replica is stopped twice"
                self.stopping.add(action.replica)
            elif isinstance(action, Kill):
                self.starting.discard(action.replica)
                self.stopping.add(action.replica)

    def pass_time(self) -> float:
        self.now += 1.0
        return self.now

    @rule(count=st.integers(1, 4), same=st.booleans())
    def deploys(self, count: int, same: bool) -> None:
        self.code += not same
        self.take(deploy(self.state, self.pass_time(), str(self.code), count))

    @rule()
    def deletes(self) -> None:
        self.take(self.state.delete(self.pass_time(), "app"))

    @rule(count=st.integers(0, 5))
    def scales(self, count: int) -> None:
        self.take(self.state.scale(self.pass_time(), ID, count))

    @precondition(lambda self: self.starting)
    @rule(data=st.data(), well=st.booleans())
    def comes_up(self, data: st.DataObject, well: bool) -> None:
        replica = data.draw(st.sampled_from(sorted(self.starting)))
        self.starting.discard(replica)
        if well:
            self.take(self.state.started(self.pass_time(), ID, replica, {}))
        else:
            self.take(self.state.start_failed(self.pass_time(), ID, replica, "no"))

    @precondition(lambda self: self.stopping)
    @rule(data=st.data())
    def is_gone(self, data: st.DataObject) -> None:
        replica = data.draw(st.sampled_from(sorted(self.stopping)))
        self.stopping.discard(replica)
        self.starting.discard(replica)
        self.take(self.state.died(self.pass_time(), ID, replica, "stopped"))

    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        deployment = self.state.deployments.get(ID)
        serving = sorted(r.id for r in deployment.running()) if deployment else []
        if serving:
            self.take(self.state.died(self.pass_time(), ID, data.draw(st.sampled_from(serving)), "killed"))

    @rule()
    def time_passes(self) -> None:
        self.now += 60.0
        self.take(self.state.tick(self.now))

    @invariant()
    def not_too_many(self) -> None:
        deployment = self.state.deployments.get(ID)
        if deployment is not None:
            live = [r for r in deployment.replicas.values() if r.live]
            current = [r for r in live if r.code == deployment.code]
            assert len(current) <= deployment.target
            ranks = [r.rank for r in live]
            assert len(set(ranks)) == len(ranks)

    @invariant()
    def stopped_ones_are_known_as_such(self) -> None:
        deployment = self.state.deployments.get(ID)
        if deployment is not None:
            for replica in deployment.replicas.values():
                assert replica.live or replica.id in self.stopping

    def teardown(self) -> None:
        """With a world that does as it is told, what is wanted comes about."""
        for _ in range(60):
            self.now += 60.0
            self.take(self.state.tick(self.now))
            for replica in sorted(self.starting):
                self.starting.discard(replica)
                self.take(self.state.started(self.now, ID, replica, {}))
            for replica in sorted(self.stopping):
                self.stopping.discard(replica)
                self.take(self.state.died(self.now, ID, replica, "stopped"))
        deployment = self.state.deployments.get(ID)
        if deployment is not None and not deployment.failed:
            assert {r.code for r in deployment.replicas.values()} <= {deployment.code}
            assert len(deployment.running()) == deployment.target
        app = self.state.apps.get("app")
        assert app is None or not app.deleting


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
