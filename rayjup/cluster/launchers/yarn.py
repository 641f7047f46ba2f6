"""Nodes as services of Hadoop YARN (3.1 or later), by the REST interface of its own framework for services.

Skein and dask-yarn, which others use for this, have not been kept since 2022, and today's Dask cannot be
imported with them. YARN's own framework keeps what runs for long, and needs nothing on this side but HTTP.
"""

from __future__ import annotations

import getpass
import json
import re
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher, State
from rayjup.cluster.launchers.joining import address, join_command, secret, words_of
from rayjup.cluster.scaling.settings import NodeType

_MIB = 1 << 20
_DEFAULT_MEMORY = 2048 * _MIB  # per CPU, where a type does not say
_TIMEOUT_S = 60.0
_NODE = "rayjup.node"
_STATES: dict[str, State] = {
    "ACCEPTED": "pending",
    "STARTED": "pending",
    "FLEXING": "pending",
    "UPGRADING": "pending",
    "STABLE": "running",
}
_READY = ("READY", "RUNNING_BUT_UNREADY")


class YarnLauncher(Launcher):
    """Makes one service of one container per node.

    Parameters
    ----------
    cluster
        A cluster that lets other machines in.
    address_of_rm
        Of the resource manager's web server, such as ``http://rm.example.com:8088``.
    user
        Who one says to be (``user.name``); by default as here.
    queue
        Of YARN.
    python
        The Python of the machines, which has rayjup.
    artifact
        As YARN's: ``{"id": "team/rayjup:1", "type": "DOCKER"}``, where containers are images.
    environment
        Environment variables of the node.
    setup
        Shell commands that run in the container before the node is started.

    Notes
    -----
    The cluster's credentials are a file of the service: YARN keeps it in the user's directory of HDFS until
    the service is removed. Each service has an application master of its own, of 1 GiB by default
    (``yarn.service.am-resource.memory``). Kerberos is not spoken.
    """

    def __init__(
        self,
        cluster: Descriptor,
        *,
        address_of_rm: str,
        user: str | None = None,
        queue: str | None = None,
        python: str = "python3",
        artifact: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        setup: Sequence[str] = (),
    ) -> None:
        address(cluster)
        self._cluster = cluster
        self._rm = address_of_rm.rstrip("/")
        self._user = user or getpass.getuser()
        self._queue, self._python = queue, python
        self._artifact = dict(artifact or {})
        self._environment = {str(key): str(value) for key, value in (environment or {}).items()}
        self._setup = list(setup)
        self._prefix = f"rayjup-{cluster.cluster_id}-".lower()
        self._services: dict[str, str] = {}  # name of a node → its service
        self._lock = threading.Lock()
        self._services.update(self._found())

    def _found(self) -> dict[str, str]:
        """The services of the launcher before this one."""
        states = "NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING"
        answer = self._ask("GET", "/ws/v1/cluster/apps", applicationTypes="yarn-service", states=states)
        found = {}
        for app in (answer.get("apps") or {}).get("app") or ():
            if str(app["name"]).startswith(self._prefix):
                about = self._service(app["name"]) or {}
                name = (about.get("configuration") or {}).get("properties", {}).get(_NODE)
                if name:
                    found[str(name)] = str(app["name"])
        return found

    def service(self, kind: NodeType, name: str) -> dict[str, Any]:
        """What YARN is told of a node."""
        resources = dict(kind.resources)
        cpus = max(1, round(resources.get("CPU", 1.0)))
        memory = resources.get("memory", 0) + resources.get("object_store_memory", 0)
        wanted: dict[str, Any] = {
            "cpus": cpus,
            "memory": str(-(-int(memory or cpus * _DEFAULT_MEMORY) // _MIB)),
        }
        if resources.get("GPU"):
            wanted["additional"] = {"yarn.io/gpu": {"value": int(-(-resources["GPU"] // 1))}}
        joins = join_command(self._cluster, kind, name, "own.pem", self._python, block=True)
        # Files of a service can be read by others of its group.
        keep = "umask 077 && cat conf/cluster.pem > own.pem && "
        component: dict[str, Any] = {
            "name": "node",
            "number_of_containers": 1,
            "restart_policy": "NEVER",
            "launch_command": f"{keep}{words_of(self._setup)}exec {joins}",
            "resource": wanted,
            "configuration": {
                "env": self._environment,
                "files": [
                    {
                        "type": "TEMPLATE",
                        "dest_file": "cluster.pem",
                        "properties": {"content": secret(self._cluster)},
                    }
                ],
            },
        }
        if self._artifact:
            component["artifact"] = self._artifact
        made: dict[str, Any] = {
            "name": _service_name(f"{self._prefix}{name}"),
            "version": "1",
            "lifetime": -1,
            "components": [component],
            "configuration": {"properties": {_NODE: name}},
        }
        queue = kind.node_config.get("queue", self._queue)
        if queue:
            made["queue"] = queue
        return made

    def start(self, kind: NodeType, name: str) -> None:
        """Make the service."""
        wanted = self.service(kind, name)
        try:
            self._ask("POST", "/app/v1/services", wanted)
        except RaySystemError as error:
            raise RaySystemError(f"YARN did not take the service of the node {name}: {error}") from error
        with self._lock:
            self._services[name] = wanted["name"]

    def stop(self, name: str) -> None:
        """Stop the service, and remove it."""
        with self._lock:
            service = self._services.get(name)
        if service is None:
            return
        path = f"/app/v1/services/{service}"
        if self._service(service) is not None:
            self._ask("PUT", path, {"name": service, "state": "STOPPED"})
            self._ask("DELETE", path)
        with self._lock:
            self._services.pop(name, None)

    def instances(self) -> dict[str, Instance]:
        """What YARN says of the services."""
        with self._lock:
            services = dict(self._services)
        found = {}
        for name, service in services.items():
            about = self._service(service)
            if about is None:
                found[name] = Instance(name, "ended", service, "its service is gone")
                continue
            state = _STATES.get(str(about.get("state")), "ended")
            containers = [
                each for part in about.get("components") or () for each in part.get("containers") or ()
            ]
            running = [each for each in containers if each.get("state") in _READY]
            if running and state == "pending":
                state = "running"
            place = str(running[0].get("bare_host") or running[0].get("id")) if running else service
            why = str(about.get("diagnostics") or "its service has ended") if state == "ended" else ""
            found[name] = Instance(name, state, place, why)
        return found

    def log(self, name: str) -> str:
        """What YARN says of the service: logs of its containers lie on their machines until they end."""
        with self._lock:
            service = self._services.get(name)
        about = self._service(service) if service is not None else None
        return str((about or {}).get("diagnostics") or "")

    def _service(self, service: str) -> dict[str, Any] | None:
        return self._ask("GET", f"/app/v1/services/{service}", missing=True)

    def _ask(self, method: str, path: str, body: Any = None, *, missing: bool = False, **query: str) -> Any:
        """An answer; None where ``missing`` and there is no such thing."""
        more = urllib.parse.urlencode({"user.name": self._user, **query})
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(f"{self._rm}{path}?{more}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404 and missing:
                    return None
                if error.code == 401 and "Negotiate" in error.headers.get("WWW-Authenticate", ""):
                    raise RaySystemError(
                        f"the YARN at {self._rm} wants Kerberos, which rayjup does not speak: start nodes "
                        "with YARN's own client ('rayjup start --address … --credentials …' as the command), "
                        "or reach its machines by ssh (type: local)."
                    ) from error
                raise RaySystemError(_said(error)) from error
        except OSError as error:
            raise RaySystemError(f"no resource manager answers at {self._rm}: {error}") from error


def _service_name(text: str) -> str:
    """Text as YARN allows it for names of services."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower()).strip("-")[:63].strip("-")


def _said(error: urllib.error.HTTPError) -> str:
    text = error.read().decode(errors="replace")
    try:
        return str(json.loads(text).get("diagnostics") or text)
    except ValueError:
        return f"{error.code} {error.reason}: {text[:500]}".strip(": ")
