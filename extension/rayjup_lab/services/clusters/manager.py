"""Listing, starting, stopping and reading clusters on behalf of the browser.

Everything that blocks runs in threads; the event loop of the Jupyter server is never held.
Nothing here owns a cluster: the list is read from the descriptor files each time, so clusters
started from a notebook or a shell show up too, and a restarted server sees them all again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rayjup.cluster import descriptors, manager
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.scaling import monitor as scaling
from rayjup.cluster.scaling.settings import alike
from rayjup.exceptions import RaySystemError
from rayjup.notebook import profiles
from rayjup.observe import ClusterView
from rayjup_lab.services.clusters import added, started
from rayjup_lab.services.clusters.observer import ClusterObserver
from rayjup_lab.services.clusters.options import NodeOptions, StartOptions
from rayjup_lab.services.clusters.profiles import Profile
from rayjup_lab.services.errors import BadRequest, Conflict, Failed, Forbidden, NotFound, Unreachable

T = TypeVar("T")

_FRESH_S = 5.0
"""A snapshot younger than this is good enough for the node count in a list of clusters."""
_QUICK_S, _SLOW_S = 2.0, 12.0
"""Seconds that a question to the head, or to all processes, may wait for the one before it."""


class ClustersManager:
    """Asynchronous facade over ``rayjup.cluster`` and ``rayjup.observe``.

    Parameters
    ----------
    max_clusters : int
        Clusters of this user beyond which `start` refuses.
    default_num_cpus : float or None
        CPUs of a cluster when the client names none (None: all of the machine).
    linger_s : float or None
        Handed to every cluster started here: seconds it outlives its last driver.
    start_timeout_s : float
        Seconds a cluster may take to become usable.
    profiles : mapping
        Configured for this server, by name; see ``profiles.Profile``.
    may_start : mapping
        Names of the users who may start a cluster with a profile, by its name; of those that are not named,
        everybody may. ``""``: without one of ``profiles``.
    log : logging.Logger or LoggerAdapter
    """

    def __init__(
        self,
        *,
        max_clusters: int,
        default_num_cpus: float | None,
        linger_s: float | None,
        start_timeout_s: float,
        profiles: Mapping[str, Mapping[str, Any]] | None = None,
        may_start: Mapping[str, Collection[str]] | None = None,
        log: logging.Logger | logging.LoggerAdapter[Any],
        read_timeout_s: float = 5.0,
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.max_clusters = max_clusters
        self._default_num_cpus = default_num_cpus
        self._linger_s = linger_s
        self._start_timeout_s = start_timeout_s
        self._profiles = dict(profiles or {})
        self._starters = {name: frozenset(users) for name, users in (may_start or {}).items()}
        self._read_timeout_s = read_timeout_s
        self._log = log
        self._starting: list[str | None] = []
        self._stopping: set[str] = set()
        self._observers: dict[str, ClusterObserver] = {}
        self._forgotten: set[ClusterObserver] = set()  # not closed yet
        # Questions to all processes go over lines of their own: a busy process holds up no snapshot.
        self._askers: dict[str, ClusterObserver] = {}
        # Starting and stopping take seconds; they must not keep the quick reads waiting.
        self._slow = ThreadPoolExecutor(max_workers=8, thread_name_prefix="rayjup-start-stop")
        self._quick = ThreadPoolExecutor(max_workers=4, thread_name_prefix="rayjup-read")

    @property
    def starting(self) -> list[str | None]:
        """Names (None: left to the cluster) of the clusters being started right now."""
        return list(self._starting)

    @property
    def profiles(self) -> dict[str, Mapping[str, Any]]:
        """What is configured for this server, and what the user's ``rayjup.json`` holds, by name."""
        try:
            return {**profiles.load_all(), **self._profiles}
        except ValueError as error:
            raise BadRequest(str(error), field="profile") from error

    def profile(self, name: str) -> Profile:
        """The profile of this name.

        Raises
        ------
        BadRequest
        """
        known = self.profiles
        if name not in known:
            has = ", ".join(sorted(known)) or "none"
            raise BadRequest(
                f"There is no profile {name!r} (there are: {has}); GET /rayjup/options lists them.",
                field="profile",
            )
        return Profile.of(name, known[name])

    def may_start(self, user: str, profile: str | None) -> bool:
        """Whether somebody may start a cluster with a profile (None: without one)."""
        starters = self._starters.get(profile if profile in self._profiles else "")
        return starters is None or user in starters

    def described_profiles(self, user: str) -> dict[str, dict[str, Any]]:
        """What a form says of the profiles that a user may start; of those that are wrong, why."""
        found = {}
        for name, data in self.profiles.items():
            if not self.may_start(user, name):
                continue
            try:
                profile = Profile.of(name, data)
                found[name] = {"kind": profile.kind, "summary": profile.summary, "problem": None}
            except BadRequest as error:
                found[name] = {"kind": None, "summary": "", "problem": error.message}
        return found

    async def live(self) -> list[Descriptor]:
        """The live clusters of this user, oldest first."""
        found = await self._in_thread(self._quick, descriptors.list_clusters)
        self._forget_all_but({d.cluster_id for d in found})
        return found

    async def list_clusters(self) -> list[dict[str, Any]]:
        """The live clusters as JSON-able summaries, each with its number of nodes."""
        found = await self.live()
        await asyncio.gather(*(self.refresh(d, max_age_s=_FRESH_S) for d in found))
        return [self.summary(d) for d in found]

    async def get(self, cluster_id: str) -> dict[str, Any]:
        descriptor = await self.find(cluster_id)
        await self.refresh(descriptor, max_age_s=_FRESH_S)
        return self.summary(descriptor)

    async def snapshot(self, cluster_id: str) -> dict[str, Any]:
        """A fresh snapshot of the whole cluster, as `rayjup.observe.ClusterView` gives it.

        Raises
        ------
        NotFound, Unreachable
        """
        descriptor = await self.find(cluster_id)
        snapshot = await self.refresh(descriptor)
        if snapshot is None:
            reason = self.error(cluster_id) or "it has just gone"
            raise Unreachable(f"Cluster {descriptor.name!r} does not answer: {reason}.")
        return snapshot

    async def ask(self, cluster_id: str, question: Callable[[ClusterView], T], *, slow: bool = False) -> T:
        """What a function of the cluster's view returns; it runs in a thread.

        Parameters
        ----------
        slow
            All processes are asked, so it may take seconds.

        Raises
        ------
        NotFound, Unreachable
        """
        return await self.ask_found(await self.find(cluster_id), question, slow=slow)

    async def ask_found(
        self, descriptor: Descriptor, question: Callable[[ClusterView], T], *, slow: bool = False
    ) -> T:
        """The same of a cluster that was found a moment ago."""
        observers = self._askers if slow else self._observers
        observer = observers.get(descriptor.cluster_id)
        if observer is None:
            observer = observers[descriptor.cluster_id] = ClusterObserver(
                descriptor, _SLOW_S if slow else _QUICK_S
            )
        pool = self._slow if slow else self._quick
        try:
            return await self._in_thread(pool, lambda: observer.ask(question))
        except ConnectionError as error:
            raise Unreachable(f"Cluster {descriptor.name!r} does not answer: {error}.") from error

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Something that may take seconds."""
        return await self._in_thread(self._slow, call)

    async def add_node(self, cluster_id: str, options: NodeOptions) -> dict[str, Any]:
        """Start one more node on this machine.

        Raises
        ------
        NotFound, Failed
        """
        descriptor = await self.find(cluster_id)
        try:
            made = await self.in_thread(lambda: added.add(descriptor, options, self._start_timeout_s))
        except (RaySystemError, OSError) as error:
            raise Failed(f"The node could not be started: {error}") from error
        self.on_change()
        return made

    async def remove_node(self, cluster_id: str, node_id: str) -> None:
        """End a node that was added.

        Raises
        ------
        NotFound
        """
        descriptor = await self.find(cluster_id)
        if not await self.in_thread(lambda: added.remove(descriptor, node_id)):
            raise NotFound(
                f"No node {node_id[:40]!r} was added to cluster {descriptor.name!r} from JupyterLab; "
                "its first node goes when the cluster is stopped."
            )
        self.on_change()

    async def adapt(self, cluster_id: str, nodes: tuple[int, int] | None) -> dict[str, Any]:
        """Have a cluster have so many nodes, at least and at most, as it needs them; None: those it has.

        Raises
        ------
        NotFound, Unreachable, Failed
        """
        descriptor = await self.find(cluster_id)
        if nodes is None:
            await self.in_thread(lambda: scaling.stop(descriptor))
        else:
            first = next(node for node in (await self.snapshot(cluster_id))["nodes"] if node["is_head"])
            settings = alike(nodes, added.offer(first), {})
            try:
                await self.in_thread(lambda: scaling.start(descriptor, settings, {"launcher": "local"}))
            except (RaySystemError, OSError) as error:
                raise Failed(f"Cluster {descriptor.name!r} cannot adapt: {error}") from error
        self.on_change()
        return self.summary(descriptor)

    async def start(self, options: StartOptions, user: str) -> dict[str, Any]:
        """Start a cluster and wait until it is usable, or join the one that the profile means.

        Raises
        ------
        Forbidden
            This user may not start it.
        BadRequest
            The profile cannot be used.
        Conflict
            When a cluster of that name runs already, or too many run.
        Failed
            When it does not come up; carries the reason.
        """
        if not self.may_start(user, options.profile):
            what = "without a profile" if options.profile is None else f"with the profile {options.profile!r}"
            raise Forbidden(
                f"The user {user!r} may not start a cluster {what}; RayjupExtension.may_start says who may.",
                field="profile",
            )
        profile = Profile("")
        if options.profile is not None:
            wanted = options.profile
            profile = await self._in_thread(self._quick, lambda: self.profile(wanted))
        options = profile.checked(options)
        found = await self.live()
        # No await between this check and the registration, or two requests could both pass it.
        taken = {d.name for d in found} | {name for name in self._starting if name}
        if options.name in taken:
            raise Conflict(
                f"A cluster named {options.name!r} is running already. "
                "Join it, stop it, or choose another name.",
                field="name",
            )
        running = len(found) + len(self._starting)
        if running >= self.max_clusters:
            raise Conflict(
                f"{running} clusters are running, and at most {self.max_clusters} may. "
                "Stop one first, or raise RayjupExtension.max_clusters."
            )
        self._starting.append(options.name)
        self.on_change()
        try:
            descriptor = await self._in_thread(self._slow, lambda: self._start(profile, options))
        except (RaySystemError, OSError, TimeoutError, ValueError, ImportError) as error:
            self._log.warning("rayjup: starting a cluster failed: %s", error)
            raise Failed(f"The cluster could not be started: {error}") from error
        finally:
            self._starting.remove(options.name)
            self.on_change()
        self._log.info("rayjup: started cluster %s (%s)", descriptor.name, descriptor.cluster_id)
        await self.refresh(descriptor)
        return self.summary(descriptor)

    async def stop(self, cluster_id: str) -> None:
        """Stop one cluster, by force if it does not go by itself.

        Raises
        ------
        NotFound, Failed
        """
        await self._stop(await self.find(cluster_id))

    async def stop_all(self, started_by: str | None = None) -> list[str]:
        """Stop this user's clusters (only those started by ``started_by`` if given); their ids."""
        found = [d for d in await self.live() if started_by in (None, d.started_by)]
        results = await asyncio.gather(*(self._stop(d) for d in found), return_exceptions=True)
        failures = [r for r in results if isinstance(r, BaseException)]
        if failures:
            raise Failed(f"{len(failures)} of {len(found)} clusters could not be stopped: {failures[0]}")
        return [d.cluster_id for d in found]

    async def refresh(self, descriptor: Descriptor, max_age_s: float = 0.0) -> dict[str, Any] | None:
        """The latest snapshot, read anew if older than ``max_age_s``; None when unreachable."""
        observer = self._observers.get(descriptor.cluster_id)
        if observer is None:
            observer = self._observers[descriptor.cluster_id] = ClusterObserver(descriptor)
        if observer.age_s() <= max_age_s:
            return observer.latest
        try:
            return await asyncio.wait_for(self._in_thread(self._quick, observer.read), self._read_timeout_s)
        except (TimeoutError, asyncio.TimeoutError):  # two classes before Python 3.11
            observer.error = f"no answer within {self._read_timeout_s:g} s"
        except ConnectionError:
            pass  # The observer keeps the reason.
        return None

    def error(self, cluster_id: str) -> str | None:
        """Why the last attempt to read the cluster failed; None when it did not."""
        observer = self._observers.get(cluster_id)
        return observer.error if observer is not None else None

    def summary(self, descriptor: Descriptor) -> dict[str, Any]:
        """A cluster as the list shows it; never with paths of sockets or secrets."""
        observer = self._observers.get(descriptor.cluster_id)
        latest = observer.latest if observer is not None else None
        reason = observer.error if observer is not None else None
        state = "unreachable" if reason else "running"
        if descriptor.cluster_id in self._stopping:
            state = "stopping"
        return {
            "cluster_id": descriptor.cluster_id,
            "name": descriptor.name,
            "address": descriptor.address,
            "created": descriptor.created,
            "started_by": descriptor.started_by,
            "linger_s": descriptor.linger_s,
            "state": state,
            "reason": reason,
            "log": observer.log if observer is not None and reason else None,
            "nodes": sum(1 for node in latest["nodes"] if node["alive"]) if latest else None,
            "resources": latest["resources_total"] if latest else None,
            "available": latest["resources_available"] if latest else None,
            "added": added.known(descriptor),
            "options": started.noted(descriptor),
            "adapts": scaling.running(descriptor.session_dir) is not None,
        }

    def close(self) -> None:
        """Release threads and connections; clusters stay."""
        self._slow.shutdown(wait=False, cancel_futures=True)
        self._quick.shutdown(wait=True, cancel_futures=True)
        self._forget_all_but(set())
        for observer in list(self._forgotten):  # whose turn to be closed by a thread was cancelled
            observer.close()
        self._forgotten.clear()

    def _start(self, profile: Profile, options: StartOptions) -> Descriptor:
        sizes = options.given
        # Of another place than this machine the profile knows more.
        if profile.kind == "here":
            sizes.setdefault("num_cpus", self._default_num_cpus)
        linger_s = sizes.pop("linger_s", self._linger_s)
        descriptor = profile.start(
            **sizes, linger_s=linger_s, started_by="panel", timeout_s=self._start_timeout_s
        )
        started.note(descriptor, options)
        return descriptor

    async def _stop(self, descriptor: Descriptor) -> None:
        self._stopping.add(descriptor.cluster_id)
        self.on_change()
        try:
            await self._in_thread(self._slow, lambda: manager.stop(descriptor.cluster_id))
        except (RaySystemError, OSError, TimeoutError) as error:
            raise Failed(f"Cluster {descriptor.name!r} could not be stopped: {error}") from error
        finally:
            self._stopping.discard(descriptor.cluster_id)
            self.on_change()
        self._log.info("rayjup: stopped cluster %s (%s)", descriptor.name, descriptor.cluster_id)

    async def find(self, cluster_id: str) -> Descriptor:
        """The descriptor of a running cluster.

        Raises
        ------
        NotFound
        """
        for descriptor in await self.live():
            if descriptor.cluster_id == cluster_id:
                return descriptor
        raise NotFound(
            f"No running cluster has the id {cluster_id!r}; GET /rayjup/clusters lists those that run."
        )

    def _forget_all_but(self, cluster_ids: set[str]) -> None:
        for observers in (self._observers, self._askers):
            for gone in [key for key in observers if key not in cluster_ids]:
                observer = observers.pop(gone)
                self._forgotten.add(observer)
                try:
                    # Closing waits for a read in progress, so it is not done on the event loop.
                    self._slow.submit(self._close_forgotten, observer)
                except RuntimeError:  # The pool is shut down: nobody reads any more, closing cannot wait.
                    self._close_forgotten(observer)

    def _close_forgotten(self, observer: ClusterObserver) -> None:
        observer.close()
        self._forgotten.discard(observer)

    async def _in_thread(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, call)
