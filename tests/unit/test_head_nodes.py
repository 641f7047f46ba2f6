"""Nodes as the head knows them: how often they say how they are."""

from __future__ import annotations

from typing import Any

from rayjup.engine.head.head import Head


def test_many_nodes_send_samples_less_often() -> None:
    head = Head({"cluster_id": "c", "name": "c", "address": "", "status": "running"})
    told: dict[str, list[float]] = {}

    def join(number: int) -> None:
        name = f"n{number}"
        told[name] = []

        def hear(message: tuple[Any, ...]) -> None:
            if message[0] == "pace":
                told[name].append(message[1])

        info = {"node_id": name, "name": name, "host": name, "agent_path": "", "resources": {"CPU": 1.0}}
        head.node_joined(info, hear)

    for number in range(250):
        join(number)
    assert not any(told.values())  # one a second, as they do by themselves
    for number in range(250, 1001):
        join(number)
    assert told["n0"] == told["n250"] == told["n400"] == [2.0, 4.0, 8.0]
    assert told["n600"] == [4.0, 8.0] and told["n1000"] == [8.0]
    for number in range(1000, 990, -1):
        head.node_left(f"n{number}")
    assert told["n0"][-1] == 4.0 and head.pace == 4.0
