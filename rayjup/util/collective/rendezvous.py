"""How the members of a group find each other: one small named actor per group.

Members join with what others need to reach them and get everybody's, once all are there. When all
have left and join again, that is a new round of the same actor. It belongs to the process that made
it first and ends with that.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

from rayjup.core import api, runtime_context
from rayjup.exceptions import GetTimeoutError, RayActorError


@dataclass
class Round:
    """One gathering of all members."""

    world_size: int
    backend: str
    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    cards: dict[int, Any] = field(default_factory=dict)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Rendezvous:
    """The actor's class."""

    def __init__(self) -> None:
        self.declared: dict[str, Any] | None = None
        self.rounds: list[Round] = []

    async def declare(self, declaration: dict[str, Any] | None) -> bool:
        """Say who is who before they come (None: not any more); False when somebody has done so."""
        if declaration is not None and self.declared is not None:
            return False
        self.declared = declaration
        return True

    async def declaration(self) -> dict[str, Any] | None:
        """What was declared."""
        return self.declared

    async def join(self, rank: int, world_size: int, backend: str, card: Any) -> tuple[bytes, dict[int, Any]]:
        """Take a place; a secret of all members, and everybody's card once all have come."""
        gathering = self.rounds[-1] if self.rounds else None
        if gathering is None or gathering.complete.is_set():
            gathering = Round(world_size, backend)
            self.rounds = [gathering]
        if (gathering.world_size, gathering.backend) != (world_size, backend):
            raise RuntimeError(
                f"rank {rank} joins with world_size={world_size} and backend {backend}, others with "
                f"world_size={gathering.world_size} and backend {gathering.backend}: all members must agree."
            )
        gathering.cards[rank] = card  # a member that was restarted comes a second time
        if len(gathering.cards) == world_size:
            gathering.complete.set()
        await gathering.complete.wait()
        return gathering.key, gathering.cards

    async def missing(self) -> list[int]:
        """The ranks that the others wait for."""
        if not self.rounds:
            return []
        return [rank for rank in range(self.rounds[-1].world_size) if rank not in self.rounds[-1].cards]


_handles: dict[tuple[str, str], Any] = {}
"""By job and group. Kept as long as the process lives: the actor ends with its maker's last handle."""


def _key(group_name: str) -> tuple[str, str]:
    return runtime_context.get_runtime_context().get_job_id(), group_name


def actor(group_name: str) -> Any:
    """The group's actor, made if there is none."""
    key = _key(group_name)
    if key not in _handles:
        remote = api.remote(num_cpus=0, max_concurrency=1000)(Rendezvous)
        _handles[key] = remote.options(name=_name(group_name), get_if_exists=True).remote()
    return _handles[key]


def existing(group_name: str) -> Any | None:
    """The group's actor, if there is one."""
    key = _key(group_name)
    if key in _handles:
        return _handles[key]
    try:
        return api.get_actor(_name(group_name))
    except ValueError:
        return None


def _name(group_name: str) -> str:
    return f"rayjup.util.collective:{group_name}"


def ask(group_name: str, method: str, *args: Any, timeout_s: float | None = None) -> Any:
    """Call the group's actor; a new one where the process that made it has ended."""
    for last in (False, True):
        try:
            return api.get(getattr(actor(group_name), method).remote(*args), timeout=timeout_s)
        except RayActorError:
            _handles.pop(_key(group_name), None)
            if last:
                raise
    raise AssertionError("the loop above returns or raises")


def gather(
    group_name: str, rank: int, world_size: int, backend: str, card: Any, timeout_ms: int
) -> tuple[bytes, dict[int, Any]]:
    """Join the group: the members' secret and their cards by rank.

    Raises
    ------
    TimeoutError
        Not all have come in time; the message names those that are missing.
    """
    try:
        return ask(  # type: ignore[no-any-return]
            group_name, "join", rank, world_size, backend, card, timeout_s=timeout_ms / 1000
        )
    except GetTimeoutError as error:
        missing = ", ".join(map(str, ask(group_name, "missing", timeout_s=10.0)))
        raise TimeoutError(
            f"rank {rank} of the collective group {group_name!r} waited {timeout_ms} ms for the others; "
            "missing: "
            f"rank {missing}. All members have to join at the same time: start their calls before "
            "getting the "
            "result of one; gloo_timeout=… (in ms) waits longer."
        ) from error
