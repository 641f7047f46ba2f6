"""Take Binder's steps without Docker: install, run postBuild, start JupyterLab, start a cluster.

    python binder/reproduce.py [--constraints constraints.txt] [--keep DIRECTORY]

The checkout's files are copied into a directory of their own, a virtual environment takes the place
of the image, and another home directory that of Binder's user. Then it is checked that JupyterLab
serves the workspace with the panel and the tour, that a cluster starts through the server extension,
that a kernel joins it, and how long all that took and how much memory it needs. Ends with exit code 1
when something is missing or exceeds what Binder gives.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
CLUSTER_S = 5.0
MEMORY_MIB = 1024.0
PROGRAM = """
import rayjup
rayjup.init("demo")
print(sum(rayjup.get([rayjup.remote(abs).remote(-i) for i in range(9)])))
"""
_T = TypeVar("_T")


class Reproduction:
    """Binder's steps in a directory, with what each of them took."""

    def __init__(self, place: Path, constraints: Path | None) -> None:
        self.place = place
        self.constraints = constraints
        self.repo = place / "repo"
        self.env = place / "env"
        self.home = place / "home"
        self.token = secrets.token_hex(16)
        self.took: dict[str, float] = {}

    def step(self, name: str, do: Callable[[], _T]) -> _T:
        """Do something and note how long it takes."""
        began = time.perf_counter()
        result = do()
        self.took[name] = time.perf_counter() - began
        print(f"{name}: {self.took[name]:.1f} s", flush=True)
        return result

    def environment(self) -> dict[str, str]:
        """Variables as in Binder's container: nothing of this machine's Jupyter."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON", "PYTHON"))}
        if self.constraints is not None:
            kept["PIP_CONSTRAINT"] = str(self.constraints)
        return {
            **kept,
            "HOME": str(self.home),
            "PATH": f"{self.env / 'bin'}{os.pathsep}{kept['PATH']}",
            "JUPYTER_RUNTIME_DIR": str(self.place / "run"),
            "TMPDIR": str(self.place / "tmp"),
        }

    def copy(self) -> None:
        """What git would clone, as it lies here."""
        names = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (self.repo / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.repo / name)
        for directory in ("home", "run", "tmp"):
            (self.place / directory).mkdir(mode=0o700)

    def run(self, *command: str) -> str:
        """Run a command of the image in the checkout."""
        done = subprocess.run(
            command, cwd=self.repo, env=self.environment(), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}")
        return done.stdout

    @contextlib.contextmanager
    def jupyterlab(self) -> Iterator[str]:
        """JupyterLab as Binder launches it; its address."""
        log = (self.place / "lab.log").open("wb")
        server = subprocess.Popen(
            [
                *("./binder/start", "jupyter", "lab", "--no-browser", "--allow-root"),
                *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--IdentityProvider.token={self.token}"),
            ],
            cwd=self.repo,
            env=self.environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield self._url(server)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
            log.close()

    def _url(self, server: subprocess.Popen[bytes]) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and server.poll() is None:
            for path in (self.place / "run").glob("jpserver-*.json"):
                with contextlib.suppress(json.JSONDecodeError):  # half written
                    info = json.loads(path.read_text())
                    return f"http://127.0.0.1:{info['port']}{info['base_url'].rstrip('/')}"
            time.sleep(0.05)
        raise SystemExit(f"JupyterLab did not come up:\n{(self.place / 'lab.log').read_text()[-4000:]}")

    def ask(self, url: str, method: str = "GET", body: Any = None) -> Any:
        """A request as the browser makes it."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"token {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def memory_mib(self) -> float:
        """Of all processes of this environment: each one's share of the pages it has."""
        total = 0
        for process in Path("/proc").iterdir():
            if not process.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if str(self.env).encode() in (process / "cmdline").read_bytes():
                    rollup = (process / "smaps_rollup").read_text()
                    total += next(
                        int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
                    )
        return total / 1024


def main() -> int:
    """Take the steps; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--constraints", type=Path, help="pins for pip")
    parser.add_argument("--keep", type=Path, help="work in this directory and leave it there")
    given = parser.parse_args()
    place = given.keep or Path(tempfile.mkdtemp(prefix="binder-", dir="/tmp"))
    place.mkdir(exist_ok=True)
    try:
        return check(Reproduction(place, given.constraints and given.constraints.resolve()))
    finally:
        if given.keep is None:
            shutil.rmtree(place, ignore_errors=True)


def check(binder: Reproduction) -> int:
    """All steps, and what they have to give."""
    wrong: list[str] = []

    def expect(what: str, holds: object) -> None:
        print(f"{'✓' if holds else '✗'} {what}", flush=True)
        if not holds:
            wrong.append(what)

    binder.step("copy of the checkout", binder.copy)
    binder.step(
        "virtual environment", lambda: subprocess.run([sys.executable, "-m", "venv", binder.env], check=True)
    )
    binder.step(
        "requirements.txt", lambda: binder.run("pip", "install", "-q", "-r", "binder/requirements.txt")
    )
    binder.step("postBuild", lambda: binder.run("./binder/postBuild"))
    installed = sum(f.stat().st_size for f in binder.env.rglob("*") if f.is_file()) / 2**20
    expect(f"the environment has {installed:.0f} MiB (at most 2048)", installed <= 2048)
    expect("the panel is enabled", "@rayjup/lab" in binder.run("jupyter", "labextension", "list"))
    expect(
        "the server extension is enabled",
        "rayjup_lab" in binder.run("jupyter", "server", "extension", "list"),
    )
    with contextlib.ExitStack() as stack:
        url = binder.step("JupyterLab", lambda: stack.enter_context(binder.jupyterlab()))
        workspace = binder.ask(f"{url}/lab/api/workspaces/rayjup")
        layout = workspace["data"]["layout-restorer:data"]
        expect("the workspace opens the panel", layout["left"]["current"] == "rayjup-panel")
        tour = workspace["data"]["notebook:notebooks/01_tour.ipynb"]["data"]["path"]
        expect("the tour is there", binder.ask(f"{url}/api/contents/{tour}?content=0")["type"] == "notebook")
        kernels = binder.ask(f"{url}/api/kernelspecs")["kernelspecs"]
        expect("the kernel is there", "rayjup" in kernels)
        clusters = f"{url}/rayjup/clusters"
        cluster = binder.step("a cluster", lambda: binder.ask(clusters, "POST", {"name": "demo"}))
        expect(f"a cluster starts within {CLUSTER_S:.0f} s", binder.took["a cluster"] <= CLUSTER_S)
        answer = binder.step("a program on it", lambda: binder.run("python", "-c", PROGRAM))
        expect("a program joins it", answer.split()[-1] == "36")
        memory = binder.memory_mib()
        expect(f"all of it needs {memory:.0f} MiB of memory (at most {MEMORY_MIB:.0f})", memory <= MEMORY_MIB)
        binder.ask(f"{clusters}/{cluster['cluster_id']}", "DELETE")
    print("Nothing is missing." if not wrong else f"Missing: {'; '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
