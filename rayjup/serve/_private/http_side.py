"""The controller's view of HTTP: the proxy, the shared socket, and who accepts connections.

Replicas accept connections themselves where one application has all the traffic and nothing has to be
decided in front of it. In all other cases, and while no replica is up, the proxy does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from typing import TYPE_CHECKING, Any

import rayjup
from rayjup.serve._private.common import NAMESPACE, PROXY, DeploymentID
from rayjup.serve._private.router import GONE

if TYPE_CHECKING:
    from rayjup.serve._private.controller import Controller

_log = logging.getLogger("rayjup.serve")


class HttpSide:
    """Proxies and listening replicas."""

    def __init__(self, controller: Controller, options: dict[str, Any]) -> None:
        self.controller = controller
        self.options: dict[str, Any] = options["http"]
        self.grpc: dict[str, Any] | None = options.get("grpc")
        self.location: str = options.get("location") or "HeadOnly"
        session = rayjup.get_runtime_context().get_temp_dir()
        self.directory = os.path.join(session, "serve")
        self.logs_dir: str = (options.get("logging") or {}).get("logs_dir") or os.path.join(
            self.directory, "logs"
        )
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        self.proxy: Any = None
        self.info: dict[str, Any] = {}
        self.polls: dict[str, dict[str, Any]] = {}
        self.listening: set[str] = set()
        self.proxy_accepts: bool | None = None  # not known
        self.begun = False
        self.grpc_port = 0
        self._changed = True
        self._polling = False
        self._starting: asyncio.Lock = asyncio.Lock()

    async def start(self, options: dict[str, Any]) -> dict[str, Any]:
        """Have the proxy started, where it is not; the options that count.

        Raises
        ------
        OSError
            Another program has the port.
        """
        async with self._starting:
            if self.location == "Disabled" or self.begun:
                return {**self.options, "location": self.location, **self._port()}
            if options.get("http"):
                self.options = options["http"]
                self.grpc = options.get("grpc")
                self.location = options.get("location") or "HeadOnly"
                if self.location == "Disabled":
                    return {**self.options, "location": self.location}
            await self._start_proxy()
            self.begun = True
            self.controller._write_journal()
        return {**self.options, "location": self.location, **self._port()}

    def _port(self) -> dict[str, Any]:
        return {"port": self.info["port"]} if "port" in self.info else {}

    async def _start_proxy(self) -> None:
        from rayjup.serve._private.proxy import Proxy  # not needed where HTTP is off

        proxy = (
            rayjup.remote(Proxy)
            .options(
                name=PROXY,
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=self.options.get("num_cpus") or 0,
                max_concurrency=1_000_000,
                get_if_exists=True,
            )
            .remote({**self.options, **self._port()}, self.logs_dir)
        )
        try:
            self.info = await proxy.start.remote(self.directory, self.controller._table())
            if self.grpc and self.grpc.get("grpc_servicer_functions"):
                self.grpc_port = await proxy.start_grpc.remote(self.grpc)
        except Exception:
            rayjup.kill(proxy)
            raise
        self.proxy = proxy
        self.proxy_accepts = None
        self._changed = True
        await self._arrange()  # before the first application is there, the proxy answers

    def actors(self) -> list[Any]:
        """Those that have to know where replicas are."""
        return [self.proxy] if self.proxy is not None else []

    def wanted(self) -> None:
        """Something has changed that may change who listens."""
        self._changed = True

    def settled(self) -> bool:
        """Whether those listen that are to listen."""
        return not self._changed

    def direct_replicas(self) -> set[str]:
        """The replicas that are to accept connections themselves."""
        if self.options.get("middlewares") or self.proxy is None:
            return set()
        apps = [
            a for a in self.controller.state.apps.values() if a.route_prefix is not None and not a.deleting
        ]
        if len(apps) != 1:
            return set()
        deployment = self.controller.state.deployments.get(DeploymentID(apps[0].ingress, apps[0].name))
        if deployment is None or deployment.deleting:
            return set()
        config = deployment.config
        if config.get("multiplexed") or config.get("request_router") or config.get("behind_proxy"):
            return set()
        host = self.info.get("host") or socket.gethostname()
        return {
            r.id
            for r in deployment.running()
            if r.info.get("host") == host and r.id in self.controller.actors
        }

    async def tend(self) -> None:
        """One turn: restart the proxy where it has died, ask how it is, and see who has to listen."""
        if not self.begun or self.location == "Disabled":
            self._changed = False
            return
        if self.proxy is None:
            try:
                async with self._starting:
                    await self._start_proxy()
            except Exception as error:  # noqa: BLE001 - tried again with the next turn
                _log.warning("the proxy did not start: %r", error)
                await asyncio.sleep(0.2)
            return
        if not self._polling:
            self._polling = True
            self.controller.spawn(self._poll())
        if self._changed:
            self._changed = False
            await self._arrange()

    async def _poll(self) -> None:
        try:
            self.polls["proxy"] = await self.proxy.poll.remote()
        except GONE:
            self.proxy = None
            self.polls.clear()
        finally:
            self._polling = False

    async def _arrange(self) -> None:
        direct = self.direct_replicas()
        actors = self.controller.actors
        fresh = direct - self.listening
        failed = False
        for replica in fresh:
            try:
                if await actors[replica].listen.remote(self.directory, self.options):
                    self.listening.add(replica)
            except (KeyError, *GONE):
                failed = True
        gone = {r for r in self.listening if r not in direct}
        self.listening -= gone
        accepts = not self.listening
        if self.proxy is not None and accepts != self.proxy_accepts:
            try:
                await self.proxy.listen.remote(accepts)
                self.proxy_accepts = accepts
            except GONE:
                self.proxy = None
        for replica in gone:
            if replica in actors:
                actors[replica].unlisten.remote()
        if failed:
            self._changed = True

    async def close(self) -> None:
        """Nobody listens any more."""
        if self.proxy is not None:
            try:
                await asyncio.wait_for(_value(self.proxy.close.remote()), 5.0)
            except Exception as error:  # noqa: BLE001 - it is killed anyway
                _log.info("the proxy did not close: %r", error)
            rayjup.kill(self.proxy)
            self.proxy = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def saved(self) -> dict[str, Any]:
        """For the journal."""
        return {
            "options": self.options,
            "grpc": self.grpc,
            "location": self.location,
            "info": self.info,
            "begun": self.begun,
        }

    def recover(self, data: dict[str, Any]) -> None:
        """From the journal."""
        self.options, self.grpc, self.location = data["options"], data["grpc"], data["location"]
        self.info, self.begun = data["info"], data["begun"]
        try:
            self.proxy = rayjup.get_actor(PROXY, namespace=NAMESPACE)
        except ValueError:
            self.proxy = None  # started again with the first turn


async def _value(ref: Any) -> Any:
    return await ref
