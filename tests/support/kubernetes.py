"""An API server of Kubernetes as far as pods and secrets go, and a kubelet that starts pods as processes.

Images are not pulled: the container's command runs here, with the Secret's files where it says. What a
real server refuses (names, a container without an image, an unknown token, a quota) is refused.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"/api/v1/namespaces/([^/]+)/(pods|secrets)(?:/([^/]+))?(/log)?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class FakeKubernetes:
    """Serves on a free port of 127.0.0.1 until it is closed; ``kubeconfig`` is for clients."""

    def __init__(self, directory: Path, environ: dict[str, str]) -> None:
        self.token = "letmein"
        self.most_cpus = 8.0
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.processes: dict[tuple[str, str], subprocess.Popen[bytes]] = {}
        self.lock = threading.RLock()
        self._directory, self._environ = directory, environ
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                try:
                    if self.headers.get("Authorization") != f"Bearer {fake.token}":
                        raise Refused(401, "Unauthorized")
                    answer: Any = fake.answer(self.command, self.path, body)
                    code = 201 if self.command == "POST" else 200
                except Refused as refused:
                    code = refused.code
                    answer = {"kind": "Status", "status": "Failure", "message": str(refused), "code": code}
                text = answer if isinstance(answer, str) else json.dumps(answer)
                data = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", "text/plain" if text is answer else "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_DELETE = handle_one

            def log_message(self, format: str, *args: Any) -> None:
                """Not said."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.kubeconfig = directory / "kubeconfig"
        named = {"name": "here"}
        server = {"server": f"http://127.0.0.1:{self._server.server_port}"}
        context = {"cluster": "here", "user": "here", "namespace": "team"}
        self.kubeconfig.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "clusters": [{**named, "cluster": server}],
                    "users": [{**named, "user": {"token": self.token}}],
                    "contexts": [{**named, "context": context}],
                }
            )
        )

    def close(self) -> None:
        """Kill what still runs, and serve no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):  # it may end by itself just now
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # -- the API server

    def answer(self, method: str, url: str, body: Any) -> Any:
        """What is said to a request."""
        parts = urlsplit(url)
        found = _PATH.fullmatch(parts.path)
        if found is None:
            raise Refused(404, f"the server could not find the requested resource: {parts.path}")
        namespace, kind, name, log = found.groups()
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        with self.lock:
            if method == "POST":
                return self._create(namespace, kind, body)
            if method == "GET" and name is None:
                return {
                    "kind": "List",
                    "items": self._listed(namespace, kind, query.get("labelSelector", "")),
                }
            known = self.objects.get((namespace, kind, name))
            if known is None:
                raise Refused(404, f'{kind} "{name}" not found')
            if log:
                path = self._log_of(namespace, name)
                lines = path.read_text().splitlines(keepends=True) if path.exists() else []
                return "".join(lines[-int(query.get("tailLines", len(lines) or 1)) :])
            if method == "PUT":
                self.objects[namespace, kind, name] = body
            elif method == "DELETE":
                self._delete(namespace, kind, name, known)
            return known

    def _create(self, namespace: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        name = body["metadata"]["name"]
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise Refused(422, f'{kind} "{name}" is invalid: metadata.name')
        for value in body["metadata"].get("labels", {}).values():
            if not _LABEL.fullmatch(value):
                raise Refused(422, f'{kind} "{name}" is invalid: metadata.labels: {value!r}')
        if (namespace, kind, name) in self.objects:
            raise Refused(409, f'{kind} "{name}" already exists')
        if kind == "pods":
            containers = body["spec"]["containers"]
            if not all(c.get("image") and c.get("name") for c in containers):
                raise Refused(422, f'Pod "{name}" is invalid: spec.containers[0].image: Required value')
            wanted = float(containers[0].get("resources", {}).get("requests", {}).get("cpu", 0))
            if wanted > self.most_cpus:
                raise Refused(
                    403, f'pods "{name}" is forbidden: exceeded quota: requested: requests.cpu={wanted:g}'
                )
            body["status"] = {"phase": "Pending"}
        self.objects[namespace, kind, name] = body
        if kind == "pods":
            self._start(namespace, name, body)
        return body

    def _listed(self, namespace: str, kind: str, selector: str) -> list[dict[str, Any]]:
        wanted = dict(pair.split("=", 1) for pair in selector.split(",") if pair)
        found = [o for (place, what, _), o in self.objects.items() if (place, what) == (namespace, kind)]
        return [o for o in found if wanted.items() <= o["metadata"].get("labels", {}).items()]

    def _delete(self, namespace: str, kind: str, name: str, known: dict[str, Any]) -> None:
        if kind == "secrets":
            del self.objects[namespace, kind, name]
            return
        known["metadata"]["deletionTimestamp"] = "now"
        process = self.processes.get((namespace, name))
        if process is not None and process.poll() is None:
            process.terminate()  # to the first process, as the kubelet does
        else:
            del self.objects[namespace, kind, name]

    # -- the kubelet

    def _log_of(self, namespace: str, name: str) -> Path:
        return self._directory / f"{namespace}-{name}.log"

    def _start(self, namespace: str, name: str, pod: dict[str, Any]) -> None:
        container = pod["spec"]["containers"][0]
        home = self._directory / name
        home.mkdir(mode=0o700)
        secrets = {v["name"]: v["secret"] for v in pod["spec"]["volumes"] if "secret" in v}
        command = list(container["command"])
        for mount in container["volumeMounts"]:
            if mount["name"] not in secrets:
                continue
            volume = secrets[mount["name"]]
            stored = self.objects.get((namespace, "secrets", volume["secretName"]))
            if stored is None:
                pod["status"] = _waiting(
                    "CreateContainerConfigError", f'secret "{volume["secretName"]}" not found'
                )
                return
            there = home / "secret"
            there.mkdir()
            for key, value in stored["data"].items():
                (there / key).touch(volume["defaultMode"] | 0o200)
                (there / key).write_bytes(base64.b64decode(value))
                (there / key).chmod(volume["defaultMode"])
            command = [word.replace(mount["mountPath"], str(there)) for word in command]
        environ = {**os.environ, **self._environ, "TMPDIR": str(home), "JUPYTER_RUNTIME_DIR": str(home)}
        with self._log_of(namespace, name).open("wb") as log:
            process = subprocess.Popen(
                command, env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.processes[namespace, name] = process
        pod["spec"]["nodeName"] = "worker-1"
        pod["status"] = {"phase": "Running", "podIP": "127.0.0.1"}
        threading.Thread(target=self._watch, args=(namespace, name, pod, process), daemon=True).start()

    def _watch(
        self, namespace: str, name: str, pod: dict[str, Any], process: subprocess.Popen[bytes]
    ) -> None:
        code = process.wait()
        with self.lock:
            if "deletionTimestamp" in pod["metadata"]:
                self.objects.pop((namespace, "pods", name), None)
                return
            ended = {"reason": "Completed" if code == 0 else "Error", "exitCode": code}
            phase = "Succeeded" if code == 0 else "Failed"
            pod["status"] = {"phase": phase, "containerStatuses": [{"state": {"terminated": ended}}]}


def _waiting(reason: str, message: str) -> dict[str, Any]:
    waiting = {"reason": reason, "message": message}
    return {"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}
