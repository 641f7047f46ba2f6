"""Packages of runtime environments that lie on other machines: found and fetched through the head.

They have the names of their contents, so whichever node has one will do.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from concurrent import futures
from typing import TYPE_CHECKING, Any

from rayjup.engine.node import environment_cache as cache

if TYPE_CHECKING:
    from rayjup.engine.node.agent import NodeAgent

CLIENT = "packages"
"""Under this name nodes are asked."""
_PIECE = 1 << 20
_ANSWER_S = 5.0
_POLL_S = 0.1


class Packages:
    """Belongs to one agent."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """The agent's event loop runs."""
        self._loop = asyncio.get_running_loop()

    def place_of(self, job_id: bytes) -> str:
        """Where a job's driver has put packages, if it is on this host; else empty."""
        job = self._agent.executors.jobs.get(job_id, {})
        return str(job.get("packages", "")) if job.get("packages_host") == self._agent.host else ""

    # -- for others

    def answer(self, topic: str, options: dict[str, Any]) -> dict[str, Any]:
        """``package_size`` or ``package_read``: of a package that may lie here."""
        name = os.path.basename(options["name"])
        places = [cache.packages_dir(), *map(self.place_of, self._agent.executors.jobs)]
        for place in filter(None, places):
            try:
                with open(os.path.join(place, name), "rb") as file:
                    if topic == "package_size":
                        return {"size": os.fstat(file.fileno()).st_size}
                    file.seek(options["start"])
                    return {"data": file.read(_PIECE)}
            except OSError:
                continue
        return {}

    # -- for us

    def fetch(self, name: str, target: str, check: Callable[[], None]) -> bool:
        """Write a package that some node has to ``target``; False where none has it.

        Called in a thread; ``check`` raises to give up.
        """
        found = self._ask("package_size", {"name": name}, None, check)
        having = [row for row in found["nodes"] if "size" in row]
        for row in having:
            with open(target, "wb") as file:
                while file.tell() < row["size"]:
                    wanted = {"name": name, "start": file.tell()}
                    pieces = self._ask("package_read", wanted, row["node_id"], check)["nodes"]
                    data = pieces[0].get("data") if pieces else None
                    if not data:
                        break  # that node is gone, or has it no more
                    file.write(data)
                else:
                    return True
        return False

    def _ask(
        self, topic: str, options: dict[str, Any], only: str | None, check: Callable[[], None]
    ) -> dict[str, Any]:
        assert self._loop is not None
        asked = asyncio.run_coroutine_threadsafe(self._request(topic, options, only), self._loop)
        deadline = time.monotonic() + 4 * _ANSWER_S  # a head that ends is asked again
        while not futures.wait((asked,), _POLL_S).done:
            try:
                check()
                if time.monotonic() > deadline:
                    raise TimeoutError("the head does not answer")
            except BaseException:
                asked.cancel()
                raise
        return asked.result()

    async def _request(self, topic: str, options: dict[str, Any], only: str | None) -> dict[str, Any]:
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        try:
            payload = (topic, options, _ANSWER_S, only)
            self._agent.to_head(("request", CLIENT, number, "state_ask", payload))
            return await future
        finally:
            del self._asked[number]

    def on_answer(self, number: int, value: dict[str, Any]) -> None:
        """The head has gathered what nodes say."""
        future = self._asked.get(number)
        if future is not None and not future.done():
            future.set_result(value)
