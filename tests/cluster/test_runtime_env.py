"""Runtime environments on real clusters: building once, failing, cleaning up, and Pythons of their own."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from support import clusters
from support.clusters import T, poll

Eventually = Callable[..., None]


@pytest.fixture
def own() -> Iterator[ModuleType]:
    """rayjup, not connected: the cluster that the tests of this file share has ended."""
    import rayjup

    rayjup.shutdown()
    yield rayjup
    rayjup.shutdown()


class Site:
    """An HTTP server that can be made to wait; archives by name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.open = threading.Event()
        self.open.set()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.open.wait(30)
                content = site.files.get(self.path)
                self.send_response(200 if content is not None else 404)
                self.end_headers()
                try:
                    self.wfile.write(content or b"")
                except OSError:
                    pass  # it was ended while it waited

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def put(self, name: str, **files: str) -> str:
        """The URI of an archive with these files (double underscores stand for slashes)."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for file, text in files.items():
                archive.writestr(file.replace("__", "/") + ".py", text)
        self.files[f"/{name}.zip"] = buffer.getvalue()
        return f"http://127.0.0.1:{self.server.server_address[1]}/{name}.zip"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.open.set()
    site.server.shutdown()
    site.server.server_close()
    site.thread.join(5)


def wheel(directory: Path, name: str, code: str, requires: str = "") -> str:
    """A wheel with one module, made here so that nothing has to be fetched."""
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
    if requires:
        metadata += f"Requires-Dist: {requires}\n"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for file, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{file},sha256={digest},{len(text.encode())}\n"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return str(path)


def offline(*packages: str) -> dict[str, Any]:
    return {"pip": {"packages": list(packages), "pip_install_options": ["--no-index"]}}


def rows() -> list[dict[str, Any]]:
    """The environments that the head knows of."""
    from rayjup.core import session

    found: list[dict[str, Any]] = session.connected().runtime.link.request("runtime_envs")
    return found


def of(uri: str) -> dict[str, Any] | None:
    return next((row for row in rows() if row["runtime_env"].get("working_dir") == uri), None)


def setup_logs() -> str:
    from rayjup.core import session

    logs = Path(session.connected().runtime.session_dir, "logs")
    return "".join(path.read_text() for path in logs.glob("runtime_env_setup-*.log"))


# -- building


def test_several_calls_share_one_building(ray: ModuleType, site: Site, eventually: Eventually) -> None:
    uri = site.put("shared", shared_module="VALUE = 1")
    site.open.clear()

    @ray.remote(num_cpus=0.5, runtime_env={"working_dir": uri})
    def value(n: int) -> int:
        import shared_module

        return shared_module.VALUE + n

    @ray.remote(num_cpus=0, runtime_env={"working_dir": uri})
    class Actor:
        def cwd(self) -> str:
            return os.getcwd()

    refs = [value.remote(n) for n in range(6)]
    actors = [Actor.remote() for _ in range(2)]
    cwds = [actor.cwd.remote() for actor in actors]
    eventually(lambda: (of(uri) or {}).get("state") == "BUILDING")
    other = ray.remote(lambda: 5).options(num_cpus=0.1)
    assert ray.get(other.remote(), timeout=T) == 5, "calls of other environments go on meanwhile"
    site.open.set()
    assert ray.get(refs, timeout=T) == [1 + n for n in range(6)]
    assert len(set(ray.get(cwds, timeout=T))) == 1
    assert site.asked == ["/shared.zip"]
    eventually(lambda: (of(uri) or {}).get("success") is True)
    row = of(uri)
    assert row is not None and row["error"] is None
    assert row["creation_time_ms"] >= 0 and row["node_id"] == ray.nodes()[0]["NodeID"]
    eventually(lambda: (of(uri) or {"ref_cnt": 0})["ref_cnt"] >= 2)


def test_a_failed_building_is_tried_again_by_the_next_call(
    ray: ModuleType, site: Site, eventually: Eventually
) -> None:
    uri = site.put("late", late_module="VALUE = 2")
    content = site.files.pop("/late.zip")

    @ray.remote(runtime_env={"working_dir": uri})
    def value() -> int:
        import late_module

        return int(late_module.VALUE)

    refs = [value.remote() for _ in range(20)]
    for ref in refs:
        with pytest.raises(
            ray.exceptions.RuntimeEnvSetupError, match=r"late\.zip cannot be fetched on this node"
        ):
            ray.get(ref, timeout=T)
    eventually(lambda: "late.zip" in str((of(uri) or {}).get("error")))
    row = of(uri)
    assert row is not None and row["success"] is False
    site.files["/late.zip"] = content
    assert ray.get(value.remote(), timeout=T) == 2


def test_time_is_limited(ray: ModuleType, site: Site, tmp_path: Path, eventually: Eventually) -> None:
    """The deadline is looked at while a tool runs, and the tool is ended with all that it has started."""
    slow = tmp_path / "slow.sh"
    slow.write_text("#!/bin/sh\nsleep 60 & wait\n")
    slow.chmod(0o755)
    from rayjup.engine.node import environment_cache
    from rayjup.engine.node.environment_python import Tools

    began = time.monotonic()

    def check() -> None:
        if time.monotonic() - began > 0.3:
            raise environment_cache.SetupStopped("the time is over")

    with pytest.raises(environment_cache.SetupStopped):
        Tools(check, str(tmp_path / "log")).run([str(slow)])
    assert time.monotonic() - began < 40
    eventually(
        lambda: not [p for p in psutil.process_iter(["cmdline"]) if str(slow) in (p.info["cmdline"] or [])]
    )


def test_the_setup_timeout_of_the_environment(ray: ModuleType, site: Site) -> None:
    uri = site.put("slow", module="")
    site.open.clear()
    env = {"working_dir": uri, "config": {"setup_timeout_seconds": 1}}
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="not built within 1 s"):
        ray.get(ray.remote(lambda: 1).options(runtime_env=env).remote(), timeout=T)


def test_a_long_building_is_told(
    own: ModuleType, site: Site, eventually: Eventually, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = site.put("long", module="")
    site.open.clear()
    own.init(num_cpus=1)
    ref = own.remote(lambda: 1).options(runtime_env={"working_dir": uri}).remote()
    said: list[str] = []
    eventually(
        lambda: said.append(capsys.readouterr().err) or "runtime environment (working_dir)" in "".join(said)
    )
    site.open.set()
    assert own.get(ref, timeout=T) == 1
    assert "".join(said).count("calls wait for") == 1


def test_cancelling_while_it_is_built(ray: ModuleType, site: Site, eventually: Eventually) -> None:
    uri = site.put("cancelled", module="")
    site.open.clear()
    call = ray.remote(lambda: 1).options(runtime_env={"working_dir": uri})
    ref = call.remote()
    eventually(lambda: (of(uri) or {}).get("state") == "BUILDING")
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=T)

    @ray.remote(num_cpus=0, runtime_env={"working_dir": uri})
    class Actor:
        def value(self) -> int:
            return 3

    actor = Actor.remote()
    ref = actor.value.remote()
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(ref, timeout=T)
    site.open.set()
    assert ray.get(call.remote(), timeout=T) == 1
    eventually(lambda: ray.available_resources().get("CPU") == 4.0)


def test_a_cluster_that_ends_while_it_is_built(own: ModuleType, site: Site, eventually: Eventually) -> None:
    uri = site.put("ended", module="")
    site.open.clear()
    own.init(num_cpus=1)
    own.remote(lambda: 1).options(runtime_env={"working_dir": uri}).remote()
    eventually(lambda: site.asked)
    own.shutdown()  # the check for leaks sees whether anything stays


# -- directories


def test_local_directories_per_task(ray: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "my_local.py").write_text("VALUE = 1\n")
    (tmp_path / "tool.sh").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "tool.sh").chmod(0o755)

    def value() -> Any:
        import subprocess

        import my_local

        child = [sys.executable, "-c", "import my_local; print(my_local.VALUE)"]
        said = subprocess.check_output(child, cwd="/", text=True)
        return my_local.VALUE, said, subprocess.check_output("./tool.sh", text=True), os.getcwd()

    env = {"working_dir": str(tmp_path)}
    one, said, ran, cwd = ray.get(ray.remote(value).options(runtime_env=env).remote(), timeout=T)
    assert (one, said, ran) == (1, "1\n", "ran\n"), "programs started from a task see its modules"
    assert Path(cwd) != tmp_path
    (tmp_path / "my_local.py").write_text("VALUE = 22\n")
    assert ray.get(ray.remote(value).options(runtime_env=env).remote(), timeout=T)[0] == 22
    assert ray.get(ray.remote(os.getcwd).remote(), timeout=T) == os.getcwd(), (
        "other tasks run where the driver is"
    )


def test_the_drivers_directory_is_not_seen(
    ray: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"working_dir": str(tmp_path)}
    from rayjup import __file__ as ours  # in a checkout its root is on every path, and is often where we are

    @ray.remote(runtime_env=env)
    def paths() -> list[str]:
        return sys.path

    found = ray.get(paths.remote(), timeout=T)
    assert found[0].endswith("/working_dir")
    listed = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(Path(ours).parents[1])]
    assert os.getcwd() not in found or os.getcwd() in listed


def test_a_wheel_as_module(ray: ModuleType, tmp_path: Path) -> None:
    path = wheel(tmp_path, "wheeled", "VALUE = 11\n")

    @ray.remote(runtime_env={"py_modules": [path]})
    def value() -> Any:
        import importlib.metadata

        import wheeled

        return wheeled.VALUE, importlib.metadata.version("wheeled")

    assert ray.get(value.remote(), timeout=T) == (11, "1.0")


def test_archives_may_not_reach_outside(ray: ModuleType, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../../../rayjup_evil.py", "")
        archive.writestr("good.py", "VALUE = 1\n")

    @ray.remote(runtime_env={"working_dir": f"file://{tmp_path}/evil.zip"})
    def found() -> Any:
        return sorted(os.listdir())

    assert ray.get(found.remote(), timeout=T) == ["good.py", "rayjup_evil.py"], "it is unpacked inside"


# -- variables and hooks


def test_variables_that_are_read_when_a_process_starts(ray: ModuleType) -> None:
    @ray.remote
    def hashes() -> Any:
        return hash("a"), os.environ.get("PYTHONHASHSEED"), os.environ.get("OMP_NUM_THREADS")

    fixed = hashes.options(runtime_env={"env_vars": {"PYTHONHASHSEED": "7"}})
    first, seed, _ = ray.get(fixed.remote(), timeout=T)
    assert seed == "7" and ray.get(fixed.remote(), timeout=T)[0] == first
    threads = hashes.options(num_cpus=2, runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}})
    assert ray.get(threads.remote(), timeout=T)[2] == "1", "what the environment says is kept"
    assert ray.get(hashes.options(num_cpus=2).remote(), timeout=T)[2] == "2"


def test_a_hook_that_fails_says_how(ray: ModuleType) -> None:
    def hook() -> None:
        raise LookupError("the licence server is away")

    call = ray.remote(lambda: 1).options(runtime_env={"worker_process_setup_hook": hook})
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="the licence server is away"):
        ray.get(call.remote(), timeout=T)
    call = ray.remote(lambda: 1).options(runtime_env={"worker_process_setup_hook": "nowhere.hook"})
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="No module named 'nowhere'"):
        ray.get(call.remote(), timeout=T)


def test_a_hook_may_use_the_cluster(ray: ModuleType) -> None:
    one = ray.put(41)

    def hook() -> None:
        import rayjup

        os.environ["RJT_FROM_HOOK"] = str(rayjup.get(one) + 1)

    @ray.remote(runtime_env={"worker_process_setup_hook": hook})
    def read() -> Any:
        return os.environ["RJT_FROM_HOOK"]

    assert ray.get(read.remote(), timeout=T) == "42"


# -- executors that do not start


def test_an_executor_that_never_starts(ray: ModuleType) -> None:
    """It is tried a few times, more and more slowly, and then told."""
    env = {"env_vars": {"LD_PRELOAD": "", "PYTHONHOME": "/nowhere"}}
    call = ray.remote(lambda: 1).options(runtime_env=env)
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="its Python ended with code"):
        ray.get(call.remote(), timeout=T)
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="no program 'no-such-python'"):
        ray.get(
            ray.remote(lambda: 1).options(runtime_env={"py_executable": "no-such-python"}).remote(), timeout=T
        )
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=r"cannot be started|ended with code"):
        ray.get(ray.remote(lambda: 1).options(runtime_env={"py_executable": "false"}).remote(), timeout=T)


def test_an_executor_that_ends_before_it_is_ready(ray: ModuleType, tmp_path: Path) -> None:
    def hook() -> None:
        with open(tmp_path / "tries", "ab") as file:
            file.write(b".")
        os._exit(3)

    env = {"worker_process_setup_hook": hook}
    began = time.monotonic()
    with pytest.raises(
        ray.exceptions.RuntimeEnvSetupError, match="end with code 3 before they are ready, 4 times"
    ):
        ray.get(ray.remote(lambda: 1).options(runtime_env=env).remote(), timeout=T)
    assert (tmp_path / "tries").stat().st_size == 4
    assert time.monotonic() - began > 0.5, "with pauses in between"

    @ray.remote(num_cpus=0, runtime_env=env, max_restarts=-1)
    class Actor:
        def value(self) -> int:
            return 1

    with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="end with code 3"):
        ray.get(Actor.remote().value.remote(), timeout=T)


# -- Pythons of their own


def test_pip_without_a_network(ray: ModuleType, tmp_path: Path) -> None:
    inner = wheel(tmp_path, "rjt_inner", "VALUE = 1\n")
    outer = wheel(tmp_path, "rjt_outer", "import rjt_inner\nVALUE = rjt_inner.VALUE + 1\n", "rjt_inner")

    @ray.remote(runtime_env=offline(inner, outer))
    def value() -> Any:
        import cloudpickle
        import numpy
        import rjt_outer

        return rjt_outer.VALUE, sys.prefix, os.environ["VIRTUAL_ENV"], numpy.__file__, cloudpickle.__file__

    found, prefix, variable, numpy_file, _ = ray.get(value.remote(), timeout=100)
    assert found == 2
    assert prefix == variable and prefix.startswith(os.environ["RAYJUP_CACHE_DIR"])
    assert not numpy_file.startswith(prefix), "it sees the node's packages"

    @ray.remote(num_cpus=0, runtime_env={**offline(inner, outer), "env_vars": {"A": "1"}})
    class Actor:
        def prefix(self) -> Any:
            return sys.prefix, os.environ["A"]

    assert ray.get(Actor.remote().prefix.remote(), timeout=100) == (prefix, "1"), "built once for both"
    assert setup_logs().count(f"making {prefix}") == 1
    assert ray.get(ray.remote(lambda: sys.prefix).remote(), timeout=T) == sys.prefix


def test_a_requirement_in_the_working_dir(ray: ModuleType, tmp_path: Path) -> None:
    wheel(tmp_path / "job" / "wheels", "rjt_beside", "VALUE = 5\n")
    requirement = "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/wheels/rjt_beside-1.0-py3-none-any.whl"

    @ray.remote(runtime_env={"working_dir": str(tmp_path / "job"), **offline(requirement)})
    def value() -> Any:
        import rjt_beside

        return rjt_beside.VALUE

    assert ray.get(value.remote(), timeout=100) == 5


def test_pip_that_fails(ray: ModuleType) -> None:
    call = ray.remote(lambda: 1).options(runtime_env=offline("rjt-there-is-no-such-thing"))
    for _ in range(2):
        with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match="No matching distribution found"):
            ray.get(call.remote(), timeout=100)
    environments = Path(os.environ["RAYJUP_CACHE_DIR"], "environments")
    left = [p for p in environments.iterdir() if p.is_dir() and not (p / ".rayjup-complete").exists()]
    assert left == [], "nothing half built stays"


def test_a_second_cluster_finds_what_the_first_has_built(own: ModuleType, tmp_path: Path) -> None:
    path = wheel(tmp_path, "rjt_cached", "VALUE = 3\n")

    def value() -> Any:
        import rjt_cached

        return rjt_cached.VALUE, sys.prefix

    prefixes = []
    for expected in (1, 0):
        own.init(num_cpus=1, runtime_env=offline(path))
        found, prefix = own.get(own.remote(value).remote(), timeout=100)
        assert found == 3
        prefixes.append(prefix)
        assert setup_logs().count(f"making {prefix}") == expected
        own.shutdown()
    assert prefixes[0] == prefixes[1]


def test_two_nodes_build_it_once(own: ModuleType, tmp_path: Path) -> None:
    path = wheel(tmp_path, "rjt_nodes", "VALUE = 3\n")
    from rayjup.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        own.init(address=cluster.address)
        places = tmp_path / "places"
        places.mkdir()

        @own.remote(num_cpus=1, scheduling_strategy="SPREAD", runtime_env=offline(path))
        def where() -> Any:
            import time

            import rjt_nodes

            import rayjup

            node = rayjup.get_runtime_context().get_node_id()
            (places / node).touch()
            deadline = time.monotonic() + 40
            while len(os.listdir(places)) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            return rjt_nodes.VALUE, node

        found = own.get([where.remote() for _ in range(4)], timeout=100)
        assert {value for value, _ in found} == {3} and len({node for _, node in found}) == 2
        assert setup_logs().count("making ") == 1
        poll(lambda: {row["node_id"] for row in rows()} == {node for _, node in found})
    finally:
        own.shutdown()
        cluster.shutdown()


def test_a_zygote_of_an_environment_that_is_killed(ray: ModuleType, eventually: Eventually) -> None:
    env = {"env_vars": {"PYTHONHASHSEED": "3"}}

    @ray.remote(max_retries=3, runtime_env=env)
    def parent() -> int:
        return os.getppid()

    zygote = ray.get(parent.remote(), timeout=T)
    executors = psutil.Process(zygote).children()
    assert zygote != clusters.zygote_pid()
    psutil.Process(zygote).kill()
    eventually(lambda: not any(executor.is_running() for executor in executors))
    assert ray.get(parent.remote(), timeout=T) != zygote
    assert ray.get(ray.remote(lambda: 1).remote(), timeout=T) == 1


def test_an_eager_job_builds_before_the_first_call(
    own: ModuleType, site: Site, eventually: Eventually
) -> None:
    uri = site.put("eager", eager_module="VALUE = 1")
    own.init(num_cpus=1, runtime_env={"working_dir": uri})
    eventually(lambda: (of(uri) or {}).get("success"))
    own.shutdown()
    own.init(num_cpus=1, runtime_env={"working_dir": uri, "config": {"eager_install": False}})
    assert of(uri) is None
    assert own.get(own.remote(lambda: __import__("eager_module").VALUE).remote(), timeout=T) == 1
    eventually(lambda: of(uri) is not None)


def test_many_environments_do_not_leave_many_processes(ray: ModuleType, eventually: Eventually) -> None:
    def read() -> Any:
        return os.environ["RJT_MANY"]

    for number in range(40):
        call = ray.remote(read).options(runtime_env={"env_vars": {"RJT_MANY": str(number)}})
        assert ray.get(call.remote(), timeout=T) == str(number)
    eventually(lambda: ray.available_resources().get("CPU") == 4.0)
    eventually(lambda: len(clusters.executor_pids()) <= 30)
