"""Clouds of the tests: servers that speak as theirs do, and a hypervisor that runs what machines start with.

A machine is a process, which ends as a machine does that is switched off. The servers know what the
providers need, and refuse what the real ones refuse: unknown callers, quotas, names that are taken.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

OWN = "/var/lib/rayjup"


class Hypervisor:
    """Runs programs as machines of their own would: each in a session and directories of its own."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._directory, self._environ = directory, environ
        self._homes: list[str] = []

    def start(
        self, name: str, program: list[str] | str, files: dict[str, str] | None = None, **environ: str
    ) -> None:
        """Switch a machine on; a text is a script, ``files`` are put where it runs."""
        home = tempfile.mkdtemp(prefix="m-")  # short, for sockets lie there
        self._homes.append(home)
        if isinstance(program, str):
            program = program.replace(OWN, f"{home}/own")  # each machine has a disk of its own
            assert program.startswith("#!/bin/bash\n") and "shutdown" not in program, program
            path = Path(home, "script")
            path.write_text(program)
            path.chmod(0o700)
            program = [str(path)]
        for file, text in (files or {}).items():
            Path(home, file).parent.mkdir(exist_ok=True)
            Path(home, file).write_text(text)
        own = {"TMPDIR": home, "JUPYTER_RUNTIME_DIR": home}
        with (self._directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                program,
                env={**os.environ, **self._environ, **own, **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=home,
            )

    def console(self, name: str) -> str:
        """What a machine has written."""
        path = self._directory / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def is_on(self, name: str) -> bool:
        """Whether its first process runs."""
        return name in self.processes and self.processes[name].poll() is None

    def stop(self, name: str) -> None:
        """Switch a machine off, as ACPI does: it is told."""
        with contextlib.suppress(ProcessLookupError):  # it may end by itself just now
            if self.is_on(name):
                os.killpg(self.processes[name].pid, signal.SIGTERM)

    def credentials(self) -> list[Path]:
        """Those that lie on disks of machines."""
        return [path for home in self._homes for path in Path(home, "own").glob("*.pem")]

    def close(self) -> None:
        """End what is left."""
        for name, process in self.processes.items():
            self.stop(name)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Server:
    """Answers requests with JSON, on a free port of 127.0.0.1, until it is closed."""

    def __init__(self, certificate: Path | None = None) -> None:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                parts = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                try:
                    code, answer = fake.answer(self.command, parts.path, query, body, dict(self.headers))
                except Refused as refused:
                    code, answer = refused.code, fake.refusal(refused)
                data = json.dumps(answer).encode() if answer is not None else b""
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if code == 401 and isinstance(fake, FakeYarn):
                    self.send_header("WWW-Authenticate", "Negotiate")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_one

            def log_message(self, format: str, *args: Any) -> None:
                """Not said."""

        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        """Code and body."""
        raise NotImplementedError

    def refusal(self, refused: Refused) -> Any:
        """What is said where something is refused."""
        raise NotImplementedError

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class FakeGoogle(Server):
    """Compute Engine's instances and operations."""

    _PATH = re.compile(
        r"/compute/v1/projects/([^/]+)/zones/([^/]+)/(instances|operations)(?:/([^/]+))?(?:/(\w+))?"
    )

    def __init__(self, hypervisor: Hypervisor) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.hypervisor = hypervisor
        super().__init__()

    def refusal(self, refused: Refused) -> Any:
        return {"error": {"code": refused.code, "message": str(refused)}}

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        found = self._PATH.fullmatch(path)
        if found is None:
            raise Refused(404, f"no such resource: {path}")
        _, _, kind, name, verb = found.groups()
        with self.lock:
            self._look()
            if kind == "operations":
                return 200, _done()
            if name is None:
                if method == "POST":
                    return 200, self._insert(body)
                key, _, value = query.get("filter", "").partition(" = ")
                label = key.removeprefix("labels.")
                rows = [
                    m for m in self.machines.values() if m.get("labels", {}).get(label) == value.strip('"')
                ]
                return 200, {"kind": "compute#instanceList", "items": rows}
            if name not in self.machines:
                raise Refused(404, f"The resource '{path}' was not found")
            machine = self.machines[name]
            if verb == "serialPort":
                return 200, {"contents": self.hypervisor.console(name)}
            if verb == "setMetadata":
                machine["metadata"] = body
                return 200, _done()
            if method == "DELETE":
                machine["status"] = "STOPPING"
                self.hypervisor.stop(name)
                return 200, _done()
            return 200, machine

    def _insert(self, body: dict[str, Any]) -> Any:
        name = body["name"]
        if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) or not body["machineType"].startswith(
            "zones/"
        ):
            raise Refused(400, f"Invalid value for field 'resource': {name!r}")
        if name in self.machines:
            raise Refused(409, f"The resource '{name}' already exists")
        if not all(re.fullmatch(r"[-_a-z0-9]{0,63}", value) for value in body.get("labels", {}).values()):
            raise Refused(400, "Invalid value for field 'resource.labels'")
        if body["machineType"].endswith("/huge"):
            message = "Quota 'CPUS' exceeded. Limit: 8.0"
            return _done(error={"errors": [{"code": "QUOTA_EXCEEDED", "message": message}]})
        (interface,) = body["networkInterfaces"]
        interface["networkIP"] = "127.0.0.1"
        for config in interface.get("accessConfigs", ()):
            config["natIP"] = "192.0.2.7"
        body["status"] = "RUNNING"
        self.machines[name] = body
        items = {each["key"]: each["value"] for each in body["metadata"]["items"]}
        if "startup-script" in items:
            self.hypervisor.start(name, items["startup-script"])
        return _done()

    def _look(self) -> None:
        for name, machine in list(self.machines.items()):
            if machine["status"] == "STOPPING" and not self.hypervisor.is_on(name):
                del self.machines[name]


def _done(**more: Any) -> dict[str, Any]:
    failed = {"httpErrorStatusCode": 403, "httpErrorMessage": "FORBIDDEN"} if more else {}
    return {"kind": "compute#operation", "name": "operation-1", "status": "DONE", **failed, **more}


class FakeAzure(Server):
    """Azure's virtual machines and interfaces, and who hands out tokens on machines of its own."""

    _PATH = re.compile(
        r"/subscriptions/[^/]+/resourceGroups/([^/]+)/providers/"
        r"Microsoft\.(Compute/virtualMachines|Network/networkInterfaces)(?:/([^/]+))?(/instanceView)?"
    )

    def __init__(self, hypervisor: Hypervisor, certificate: Path) -> None:
        self.machines: dict[str, dict[str, Any]] = {}
        self.hypervisor = hypervisor
        super().__init__(certificate)

    @property
    def environ(self) -> dict[str, str]:
        """By which its callers are known, as in Azure's own services."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/token", "IDENTITY_HEADER": "it is me"}

    def refusal(self, refused: Refused) -> Any:
        return {"error": {"code": refused.reason or "Refused", "message": str(refused)}}

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        if path == "/token":
            if headers.get("X-IDENTITY-HEADER") != "it is me":
                raise Refused(401, "who are you?")
            token = {"access_token": "letmein", "token_type": "Bearer", "expires_on": "4102444800"}
            return 200, {**token, "resource": query["resource"]}
        if headers.get("Authorization") != "Bearer letmein":
            raise Refused(401, "Authentication failed.", "AuthenticationFailed")
        found = self._PATH.fullmatch(path)
        if found is None or not query.get("api-version"):
            raise Refused(404, f"no such resource: {path}", "ResourceNotFound")
        _, kind, name, view = found.groups()
        with self.lock:
            self._look()
            if name is None:
                return 200, {"value": list(self.machines.values())}
            if kind.startswith("Network"):
                return 200, self._interface(name.removesuffix("-nic"))
            if method == "PUT":
                return 201, self._put(name, body)
            if name not in self.machines:
                raise Refused(404, f"The Resource '{name}' was not found.", "ResourceNotFound")
            machine = self.machines[name]
            if view:
                state = "running" if machine["properties"]["provisioningState"] == "Succeeded" else "stopped"
                return 200, {"statuses": [{"code": f"PowerState/{state}"}]}
            if method == "PATCH":
                machine |= body
            if method == "DELETE":
                machine["properties"]["provisioningState"] = "Deleting"
                self.hypervisor.stop(name)
                return 202, None
            return 200, machine

    def _interface(self, name: str) -> Any:
        asked = self.machines[name]["properties"]["networkProfile"]["networkInterfaceConfigurations"][0]
        (config,) = asked["properties"]["ipConfigurations"]
        properties = {"privateIPAddress": "127.0.0.1"}
        if "publicIPAddressConfiguration" in config["properties"]:
            properties["publicIPAddress"] = {"properties": {"ipAddress": "192.0.2.8"}}
        return {"properties": {"ipConfigurations": [{"properties": properties}]}}

    def _put(self, name: str, body: dict[str, Any]) -> Any:
        properties = body["properties"]
        if properties["hardwareProfile"]["vmSize"] == "Huge":
            raise Refused(
                409,
                "Operation could not be completed as it results in exceeding quota.",
                "OperationNotAllowed",
            )
        assert re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9]{0,63}", properties["osProfile"]["computerName"])
        assert properties["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"].startswith(
            "ssh-"
        )
        (interface,) = properties["networkProfile"]["networkInterfaceConfigurations"]
        properties["networkProfile"]["networkInterfaces"] = [
            {"id": f"/x/networkInterfaces/{interface['name']}"}
        ]
        properties["provisioningState"] = "Succeeded"
        machine = self.machines[name] = {**body, "name": name, "id": f"/x/virtualMachines/{name}"}
        if script := properties["osProfile"].get("customData"):
            self.hypervisor.start(name, base64.b64decode(script).decode())
        return machine

    def _look(self) -> None:
        for name, machine in list(self.machines.items()):
            gone = machine["properties"]["provisioningState"] == "Deleting"
            if gone and not self.hypervisor.is_on(name):
                del self.machines[name]


class FakeYarn(Server):
    """The services of a resource manager; containers are processes, with their files where YARN puts them."""

    _PATH = re.compile(r"/app/v1/services(?:/([^/]+))?")

    def __init__(self, hypervisor: Hypervisor) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.hypervisor = hypervisor
        self.kerberos = False  # whether callers have to show a ticket
        super().__init__()

    def refusal(self, refused: Refused) -> Any:
        return {"diagnostics": str(refused)}

    def answer(
        self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]
    ) -> tuple[int, Any]:
        if self.kerberos or "user.name" not in query:
            raise Refused(401, "Authentication required")
        with self.lock:
            for name, service in self.services.items():
                if service["state"] == "STABLE" and not self.hypervisor.is_on(name):
                    service["state"] = "SUCCEEDED"
            if path == "/ws/v1/cluster/apps":
                rows = [{"name": n} for n, s in self.services.items() if s["state"] == "STABLE"]
                return 200, {"apps": {"app": rows} if rows else None}
            found = self._PATH.fullmatch(path)
            if found is None:
                raise Refused(404, f"no such resource: {path}")
            name = found[1]
            if name is None:
                return 202, self._make(body)
            if name not in self.services:
                raise Refused(404, f"Service {name} not found")
            service = self.services[name]
            if method == "PUT":
                service["state"] = body["state"]
                self.hypervisor.stop(name)
            elif method == "DELETE":
                if service["state"] == "STABLE":
                    raise Refused(400, f"Service {name} is running")
                del self.services[name]
            return 200, service

    def _make(self, body: dict[str, Any]) -> Any:
        name = body["name"]
        if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or len(name) > 63:
            raise Refused(400, f"Invalid service name: {name}")
        if name in self.services:
            raise Refused(400, f"Service Instance dir already exists: {name}")
        if body.get("queue") == "nowhere":
            raise Refused(400, "Failed to submit application: queue nowhere does not exist")
        (component,) = body["components"]
        container = {"id": "container_1", "state": "READY", "bare_host": "worker-1"}
        self.services[name] = {
            **body,
            "state": "STABLE",
            "components": [{**component, "containers": [container]}],
        }
        configuration = component["configuration"]
        files = {
            f"conf/{each['dest_file']}": each["properties"]["content"] for each in configuration["files"]
        }
        self.hypervisor.start(
            name, ["/bin/bash", "-c", component["launch_command"]], files, **configuration["env"]
        )
        return {"uri": f"/v1/services/{name}", "state": "ACCEPTED"}


def certificate(directory: Path) -> Path:
    """A certificate for 127.0.0.1, which is its own authority, with its key."""
    path = directory / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", f"{path}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


class FakeAmazon:
    """moto's server, whose machines the hypervisor switches on and off."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        from moto.moto_api import state_manager
        from moto.server import ThreadedMotoServer

        # By themselves its tasks stop as soon as somebody looks at them.
        state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1 << 40})
        self._hypervisor = hypervisor
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def machines(self) -> list[Any]:
        """Instances as moto keeps them."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.ec2 import ec2_backends

        return list(ec2_backends[DEFAULT_ACCOUNT_ID]["us-west-2"].all_instances())

    def tasks(self) -> list[Any]:
        """Tasks of ECS as moto keeps them."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.ecs import ecs_backends

        known = ecs_backends[DEFAULT_ACCOUNT_ID]["us-west-2"].tasks
        return [task for tasks in list(known.values()) for task in list(tasks.values())]

    def secret_of(self, task: Any) -> dict[str, str]:
        """What the agent of ECS puts into the environment of a task."""
        from moto.core import DEFAULT_ACCOUNT_ID
        from moto.ecs import ecs_backends
        from moto.secretsmanager import secretsmanager_backends

        definition = ecs_backends[DEFAULT_ACCOUNT_ID]["us-west-2"].describe_task_definition(
            task.task_definition_arn
        )
        secrets = secretsmanager_backends[DEFAULT_ACCOUNT_ID]["us-west-2"]
        (container,) = definition.container_definitions
        return {
            each["name"]: secrets.get_secret_value(each["valueFrom"], "", "AWSCURRENT")["SecretString"]
            for each in container["secrets"]
        }

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            for task in self.tasks():
                name = task.task_arn.rpartition("/")[2]
                if task.last_status == "STOPPED":
                    self._hypervisor.stop(name)
                elif name not in self._hypervisor.processes:
                    (override,) = task.overrides["containerOverrides"]
                    # All tasks share one /tmp here, and rayjup itself may lie there.
                    command = [word.replace("/tmp/rayjup-", "disk/rayjup-") for word in override["command"]]
                    self._hypervisor.start(name, command, {"disk/here": ""}, **self.secret_of(task))
            for machine in self.machines():
                state = machine._state.name
                if state == "running" and machine.user_data and machine.id not in self._hypervisor.processes:
                    script = machine.user_data.decode()
                    self._hypervisor.start(machine.id, script)
                elif state == "terminated":
                    self._hypervisor.stop(machine.id)

    def close(self) -> None:
        """Serve no more."""
        self._ended.set()
        self._thread.join()
        self._server.stop()
