"""Runtime environments of jobs, tasks and actors."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

T = 60.0


@pytest.fixture
def ray(ray_cluster: ModuleType) -> ModuleType:
    return ray_cluster


@pytest.fixture
def own() -> Iterator[ModuleType]:
    """Not connected; what the test starts is ended."""
    import ray

    ray.shutdown()
    yield ray
    ray.shutdown()


@pytest.fixture
def read(ray: ModuleType) -> Any:
    """A remote function that returns environment variables."""

    @ray.remote
    def read(*names: str) -> dict[str, str | None]:
        import os

        return {name: os.environ.get(name) for name in names}

    return read


def archive(path: Path, files: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in files.items():
            file.writestr(name, text)
    return f"file://{path}"


# -- variables


def test_variables_of_a_task(ray: ModuleType, read: Any) -> None:
    with_one = read.options(runtime_env={"env_vars": {"RJT_ONE": "1"}})
    assert ray.get(with_one.remote("RJT_ONE"), timeout=T) == {"RJT_ONE": "1"}
    assert ray.get(read.remote("RJT_ONE"), timeout=T) == {"RJT_ONE": None}, "others do not see it"
    again = read.options(runtime_env={"env_vars": {"RJT_ONE": "2"}})
    assert ray.get(again.remote("RJT_ONE"), timeout=T) == {"RJT_ONE": "2"}


def test_variables_of_the_decorator_are_replaced_by_options(ray: ModuleType) -> None:
    @ray.remote(runtime_env={"env_vars": {"RJT_A": "a"}})
    def both() -> Any:
        return os.environ.get("RJT_A"), os.environ.get("RJT_B")

    assert ray.get(both.remote(), timeout=T) == ("a", None)
    assert ray.get(both.options(runtime_env={"env_vars": {"RJT_B": "b"}}).remote(), timeout=T) == (None, "b")


def test_variables_refer_to_others(ray: ModuleType, read: Any) -> None:
    env = {"env_vars": {"RJT_PATH": "/here:${PATH}", "RJT_NONE": "${RJT_NOT_THERE}z"}}
    found = ray.get(read.options(runtime_env=env).remote("RJT_PATH", "RJT_NONE", "PATH"), timeout=T)
    assert found["RJT_PATH"] == f"/here:{found['PATH']}"
    assert found["RJT_NONE"] == "z"


def test_variables_of_an_actor_and_its_children(ray: ModuleType, read: Any) -> None:
    @ray.remote(num_cpus=0)
    class Actor:
        def mine(self) -> Any:
            return os.environ.get("RJT_X"), os.environ.get("RJT_Y")

        def child(self, env: Any = None) -> Any:
            call = read if env is None else read.options(runtime_env=env)
            return ray.get(call.remote("RJT_X", "RJT_Y"))

    actor = Actor.options(runtime_env={"env_vars": {"RJT_X": "x"}}).remote()
    assert ray.get(actor.mine.remote(), timeout=T) == ("x", None)
    assert ray.get(actor.child.remote(), timeout=T) == {"RJT_X": "x", "RJT_Y": None}
    merged = ray.get(actor.child.remote({"env_vars": {"RJT_Y": "y"}}), timeout=T)
    assert merged == {"RJT_X": "x", "RJT_Y": "y"}
    replaced = ray.get(actor.child.remote({"env_vars": {"RJT_X": "z"}}), timeout=T)
    assert replaced == {"RJT_X": "z", "RJT_Y": None}


def test_many_calls_of_several_environments(ray: ModuleType, read: Any) -> None:
    refs = [
        read.options(num_cpus=0.5, runtime_env={"env_vars": {"RJT_N": str(i % 4)}}).remote("RJT_N")
        for i in range(40)
    ]
    assert [found["RJT_N"] for found in ray.get(refs, timeout=T)] == [str(i % 4) for i in range(40)]


def test_an_object_or_a_dict(ray: ModuleType, read: Any) -> None:
    from ray.runtime_env import RuntimeEnv, RuntimeEnvConfig

    env = RuntimeEnv(env_vars={"RJT_O": "o"}, config=RuntimeEnvConfig(setup_timeout_seconds=100))
    assert ray.get(read.options(runtime_env=env).remote("RJT_O"), timeout=T) == {"RJT_O": "o"}
    assert env["env_vars"] == {"RJT_O": "o"} == env.env_vars()
    assert json.loads(env.serialize())["config"]["setup_timeout_seconds"] == 100


def test_unknown_fields_mean_nothing(ray: ModuleType, read: Any) -> None:
    assert ray.get(read.options(runtime_env={"of_somebody_else": 1}).remote("RJT_U"), timeout=T) == {
        "RJT_U": None
    }


@pytest.mark.parametrize(
    ("env", "error"),
    [
        ({"env_vars": {"A": 1}}, TypeError),
        ({"env_vars": ["A"]}, TypeError),
        ({"pip": 3}, TypeError),
        ({"pip": {"nonsense": []}}, ValueError),
        ({"pip": ["a"], "conda": "b"}, ValueError),
        ({"working_dir": 3}, TypeError),
        ({"working_dir": "/nowhere/at/all"}, ValueError),
        ({"excludes": "a"}, TypeError),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError),
        ("text", TypeError),
    ],
)
def test_wrong_fields_are_refused_where_they_are_written(
    ray: ModuleType, env: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ray.remote(lambda: 1).options(runtime_env=env)


# -- the context


def test_the_context_shows_the_environment(ray: ModuleType) -> None:
    @ray.remote
    def context() -> Any:
        import ray

        here = ray.get_runtime_context()
        return dict(here.runtime_env), here.get_runtime_env_string()

    env, text = ray.get(context.options(runtime_env={"env_vars": {"RJT_C": "c"}}).remote(), timeout=T)
    assert env == {"env_vars": {"RJT_C": "c"}} == json.loads(text)


# -- archives


def test_a_working_dir_from_elsewhere(ray: ModuleType, tmp_path: Path) -> None:
    flat = archive(tmp_path / "flat.zip", {"rjt_flat.py": "VALUE = 7\n", "data.txt": "content"})
    nested = archive(tmp_path / "nested.zip", {"top/rjt_nested.py": "VALUE = 8\n", "top/other.txt": ""})

    @ray.remote
    def look(module: str) -> Any:
        import importlib
        import os

        return sorted(n for n in os.listdir() if n[0] not in "._"), importlib.import_module(module).VALUE

    here = look.options(runtime_env={"working_dir": flat})
    assert ray.get(here.remote("rjt_flat"), timeout=T) == (["data.txt", "rjt_flat.py"], 7)
    here = look.options(runtime_env={"working_dir": nested})
    assert ray.get(here.remote("rjt_nested"), timeout=T) == (["other.txt", "rjt_nested.py"], 8)


def test_modules_from_elsewhere(ray: ModuleType, tmp_path: Path) -> None:
    uri = archive(tmp_path / "modules.zip", {"top/rjt_module.py": "VALUE = 9\n"})

    @ray.remote(runtime_env={"py_modules": [uri]})
    def value() -> Any:
        import rjt_module

        return rjt_module.VALUE

    assert ray.get(value.remote(), timeout=T) == 9


def test_a_hook_in_a_module_of_the_environment(ray: ModuleType, tmp_path: Path) -> None:
    uri = archive(tmp_path / "hook.zip", {"rjt_hook.py": "VALUE = 1\n", "b.py": ""})

    @ray.remote(runtime_env={"py_modules": [uri], "env_vars": {"RJT_H": "1"}})
    class Actor:
        def value(self) -> Any:
            import rjt_hook

            return rjt_hook.VALUE, os.environ["RJT_H"]

    assert ray.get(Actor.remote().value.remote(), timeout=T) == (1, "1")


# -- what cannot be built


def test_a_task_whose_environment_cannot_be_built(ray: ModuleType, read: Any, tmp_path: Path) -> None:
    env = {"working_dir": f"file://{tmp_path}/missing.zip"}
    call = read.options(runtime_env=env, max_retries=0)
    for _ in range(2):
        refs = [call.remote("RJT_Z") for _ in range(3)]
        for ref in refs:
            with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=r"missing\.zip"):
                ray.get(ref, timeout=T)
    assert ray.get(read.remote("RJT_Z"), timeout=T) == {"RJT_Z": None}, "other calls run"


def test_an_actor_whose_environment_cannot_be_built(ray: ModuleType, tmp_path: Path) -> None:
    @ray.remote(max_restarts=-1)
    class Actor:
        def value(self) -> int:
            return 1

    env = {"py_modules": [f"file://{tmp_path}/missing.zip"]}
    actor = Actor.options(runtime_env=env).remote()
    for _ in range(2):
        with pytest.raises(ray.exceptions.RuntimeEnvSetupError, match=r"missing\.zip"):
            ray.get(actor.value.remote(), timeout=T)


@pytest.mark.parametrize("env", [{"conda": "no_such_environment"}, {"image_uri": "no/such:image"}])
def test_what_this_machine_does_not_have(ray: ModuleType, read: Any, env: Any) -> None:
    with pytest.raises(ray.exceptions.RuntimeEnvSetupError):
        ray.get(read.options(runtime_env=env).remote("A"), timeout=T)


def test_another_command_for_python(ray: ModuleType) -> None:
    @ray.remote(runtime_env={"py_executable": f"{sys.executable} -X dev"})
    def dev_mode() -> bool:
        return sys.flags.dev_mode

    assert ray.get(dev_mode.remote(), timeout=T) is True


# -- jobs


def test_the_environment_of_a_job(own: ModuleType, tmp_path: Path) -> None:
    ray = own
    root = tmp_path / "job"
    for name, text in {
        "rjt_job.py": "VALUE = 3\n\ndef hook():\n    import os\n    os.environ['RJT_HOOKED'] = 'yes'\n",
        "data/in.txt": "in",
        "data/out.log": "",
        "skipped/x.txt": "",
        ".gitignore": "*.log\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    package = tmp_path / "modules" / "rjt_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 4\n")
    ray.init(
        num_cpus=2,
        runtime_env={
            "env_vars": {"RJT_JOB": "job", "RJT_BOTH": "job"},
            "working_dir": str(root),
            "excludes": ["/skipped"],
            "py_modules": [str(package)],
        },
    )

    @ray.remote
    def look() -> Any:
        import rjt_job
        import rjt_package

        files = sorted(os.path.relpath(os.path.join(d, f)) for d, _, names in os.walk(".") for f in names)
        files = [name for name in files if not name.endswith(".pyc")]
        return files, rjt_job.VALUE, rjt_package.VALUE, variables_of("RJT_JOB", "RJT_BOTH")

    def variables_of(*names: str) -> Any:
        return [os.environ.get(name) for name in names]

    files = [".gitignore", "data/in.txt", "rjt_job.py"]
    assert ray.get(look.remote(), timeout=T) == (files, 3, 4, ["job", "job"])
    mine = {"env_vars": {"RJT_BOTH": "mine"}}
    assert ray.get(look.options(runtime_env=mine).remote(), timeout=T) == (files, 3, 4, ["job", "mine"])
    env = ray.get_runtime_context().runtime_env
    assert env["env_vars"] == {"RJT_JOB": "job", "RJT_BOTH": "job"}
    assert env["working_dir"].startswith("gcs://") and env["working_dir"].endswith(".zip")
    assert len(env["py_modules"]) == 1


def test_a_hook_of_a_job(own: ModuleType) -> None:
    ray = own

    def hook() -> None:
        os.environ["RJT_HOOK"] = f"{os.environ.get('RJT_HOOK', '')}once"

    ray.init(num_cpus=2, runtime_env={"worker_process_setup_hook": hook})

    @ray.remote
    def read() -> Any:
        return os.environ.get("RJT_HOOK")

    assert ray.get([read.remote() for _ in range(4)], timeout=T) == ["once"] * 4


def test_a_hook_that_fails(own: ModuleType) -> None:
    ray = own

    def hook() -> None:
        raise ValueError("no")

    ray.init(num_cpus=2, runtime_env={"worker_process_setup_hook": hook})
    with pytest.raises(ray.exceptions.RayError):
        ray.get(ray.remote(lambda: 1).options(max_retries=0).remote(), timeout=T)


def test_a_job_that_names_what_is_not_there(own: ModuleType) -> None:
    with pytest.raises(ValueError):
        own.init(num_cpus=1, runtime_env={"working_dir": "/nowhere/at/all"})
    own.shutdown()
    with pytest.raises(TypeError):
        own.init(num_cpus=1, runtime_env={"env_vars": {"A": 1}})


def test_an_archive_and_a_module_of_a_job(
    own: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = own
    job = archive(tmp_path / "job.zip", {"rjt_zipped.py": "VALUE = 5\n", "b.txt": ""}).removeprefix("file://")
    source = tmp_path / "source"
    (source / "rjt_imported").mkdir(parents=True)
    (source / "rjt_imported" / "__init__.py").write_text("VALUE = 6\n")
    monkeypatch.syspath_prepend(str(source))
    import rjt_imported

    ray.init(num_cpus=2, runtime_env={"working_dir": job, "py_modules": [rjt_imported]})

    @ray.remote
    def look() -> Any:
        import rjt_imported
        import rjt_zipped

        return rjt_zipped.VALUE, rjt_imported.VALUE

    assert ray.get(look.remote(), timeout=T) == (5, 6)
