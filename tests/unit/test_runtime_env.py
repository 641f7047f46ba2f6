"""Runtime environments: what is accepted, its canonical form, merging, and telling them apart."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest

from rayjup.base.runtime_env import RuntimeEnv, RuntimeEnvConfig, checked, expanded, key_of, merged


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"env_vars": [1]}, TypeError, "must be a dict of strings"),
        ({"env_vars": {"A": 1}}, TypeError, "'A': 1 (str: int). Write str(value)."),
        ({"env_vars": {1: "A"}}, TypeError, "1: 'A' (int: str)"),
        ({"env_vars": {"A=B": "1"}}, ValueError, "'A=B' cannot be the name"),
        ({"working_dir": 3}, TypeError, "runtime_env['working_dir'] must be a string, got 3 (int)."),
        ({"working_dir": "/nowhere/at/all"}, ValueError, "'/nowhere/at/all' is neither a directory nor"),
        ({"working_dir": "https://host/a"}, ValueError, "must end with .zip, .tar.gz, .tgz, .tar.xz"),
        ({"py_modules": "a"}, TypeError, "a list of paths, URIs and modules"),
        ({"py_modules": [1]}, TypeError, "a list of paths, URIs and modules"),
        ({"py_modules": ["/nowhere.py"]}, ValueError, "'/nowhere.py' is neither a directory, a module"),
        ({"py_modules": ["s3://b/a.rar"]}, ValueError, ".whl"),
        ({"py_modules": [types.ModuleType("made_up")]}, ValueError, "'made_up' lies in no directories"),
        ({"excludes": "a"}, TypeError, "runtime_env['excludes'] must be a list of strings"),
        ({"pip": 3}, TypeError, "a list of requirements, the path of a requirements file, or a dict"),
        ({"pip": {"package": []}}, ValueError, "runtime_env['pip'] has packages, pip_check"),
        ({"pip": {"pip_check": True}}, ValueError, "needs 'packages'"),
        ({"pip": {"packages": [1]}}, TypeError, "runtime_env['pip.packages'] must be a list of strings"),
        ({"pip": {"packages": ["a"], "pip_check": 1}}, TypeError, "runtime_env['pip.pip_check']"),
        ({"pip": {"packages": ["a"], "pip_version": 24}}, TypeError, "runtime_env['pip.pip_version']"),
        ({"pip": "/nowhere/requirements.txt"}, ValueError, "no requirements file"),
        ({"uv": {"packages": ["a"], "pip_check": True}}, ValueError, "not 'pip_check'"),
        ({"pip": ["a"], "uv": ["b"]}, ValueError, "pip and uv: there can be one of pip, uv and conda"),
        ({"conda": 3}, TypeError, "a name, the path of a YAML file, or a dict"),
        ({"conda": "/nowhere.yml"}, ValueError, "there is no YAML file"),
        ({"py_executable": 3}, TypeError, "runtime_env['py_executable'] must be a string"),
        ({"py_executable": " "}, ValueError, "must not be empty"),
        ({"worker_process_setup_hook": 3}, TypeError, "a function, or its import path"),
        ({"config": 3}, TypeError, "a dict or a RuntimeEnvConfig, got int"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "above 0, or -1 for no limit, got 0"),
        ({"config": {"setup_timeout_seconds": "1"}}, TypeError, "a whole number, got '1' (str)"),
        ({"config": {"eager_install": 1}}, TypeError, "eager_install must be True or False"),
        ({"config": {"log_files": "a"}}, TypeError, "log_files must be a list of strings"),
        ({"container": {"image": "a"}, "pip": ["b"]}, ValueError, "goes only with config and env_vars"),
        ({"image_uri": "a", "working_dir": "."}, ValueError, "but there is working_dir too"),
        ({"image_uri": 3}, TypeError, "runtime_env['image_uri'] must be a string"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        RuntimeEnv(**fields)
    assert said in str(raised.value)


def test_the_option_must_be_a_dict() -> None:
    with pytest.raises(TypeError, match="must be a dict or a RuntimeEnv, got 'x'"):
        checked("runtime_env", "x")
    env = RuntimeEnv(env_vars={"A": "1"})
    assert checked("runtime_env", env) is env
    assert checked("runtime_env", {"_nsight": "default"}).nsight() == "default"


def test_canonical_forms(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# comment\nnumpy\n\nrequests==2.0\n")
    (tmp_path / "env.yaml").write_text("dependencies:\n  - pip\n")
    package = {"packages": ["numpy", "requests==2.0"], "pip_check": False}
    assert RuntimeEnv(pip=str(file))["pip"] == package
    assert RuntimeEnv(pip={"packages": str(file)})["pip"] == package
    assert RuntimeEnv(pip=["numpy", "numpy", "requests==2.0"])["pip"] == package
    assert RuntimeEnv(uv=["a"])["uv"] == {"packages": ["a"], "uv_check": False}
    full = {"packages": ["a"], "pip_check": True, "pip_version": "==24.0", "pip_install_options": ["-U"]}
    assert RuntimeEnv(pip=full)["pip"] == full
    assert RuntimeEnv(conda=str(tmp_path / "env.yaml"))["conda"] == {"dependencies": ["pip"]}
    assert RuntimeEnv(working_dir=str(tmp_path / ".." / tmp_path.name))["working_dir"] == str(tmp_path)
    assert RuntimeEnv(py_modules=[json])["py_modules"] == [str(Path(json.__file__).parent)]
    assert RuntimeEnv(pip=[], env_vars={}) == {}


def test_a_field_that_is_set_later_is_checked_too() -> None:
    env = RuntimeEnv()
    env.set("pip", ["a"])
    assert env.pip_config()["packages"] == ["a"]
    with pytest.raises(TypeError, match="env_vars"):
        env["env_vars"] = {"A": 1}
    env["mine"] = 3
    assert env.plugins() == [("mine", 3)]
    assert RuntimeEnv(_validate=False, env_vars={"A": 1})["env_vars"] == {"A": 1}


def test_readers() -> None:
    env = RuntimeEnv(env_vars={"A": "1"}, pip=["a"], working_dir="https://host/a.zip", config={})
    assert (env.has_pip(), env.has_uv(), env.has_conda(), env.has_py_container()) == (
        True,
        False,
        False,
        False,
    )
    assert env.has_working_dir() and env.working_dir() == env.working_dir_uri() == "https://host/a.zip"
    assert env.env_vars() == {"A": "1"}
    assert str(env.pip_uri()).startswith("pip://") and env.uv_uri() is None and env.conda_uri() is None
    assert env.pip_uri() != RuntimeEnv(pip=["b"]).pip_uri()
    assert RuntimeEnv.deserialize(env.serialize()) == env
    assert env.to_dict()["config"]["setup_timeout_seconds"] == 600
    assert type(env.to_dict()["config"]) is dict
    image = RuntimeEnv(container={"image": "i", "run_options": ["-v"]})
    assert (image.py_container_image(), image.py_container_run_options()) == ("i", ["-v"])
    assert RuntimeEnv(conda="name").conda_env_name() == "name"
    assert json.loads(str(RuntimeEnv(conda={"channels": []}).conda_config())) == {"channels": []}


def test_unknown_settings_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    config = RuntimeEnvConfig.parse_and_validate_runtime_env_config({"eager_install": False, "other": 1})
    assert config == {"setup_timeout_seconds": 600, "eager_install": False, "log_files": []}
    assert "not other; that is left out" in caplog.text
    assert RuntimeEnvConfig.default_config().to_dict()["eager_install"] is True


def test_children_inherit() -> None:
    parent = {"env_vars": {"A": "1", "B": "2"}, "working_dir": "gcs://a.zip", "pip": {"packages": ["a"]}}
    child = {"env_vars": {"B": "3", "C": "4"}, "uv": {"packages": ["b"]}}
    assert merged(parent, child) == {
        "env_vars": {"A": "1", "B": "3", "C": "4"},
        "working_dir": "gcs://a.zip",
        "uv": {"packages": ["b"]},
    }
    assert merged(parent, None) == parent and merged(None, child) == child
    assert merged(None, None) == {}
    assert parent["env_vars"] == {"A": "1", "B": "2"}, "the parent's is not changed"


def test_keys_tell_environments_apart() -> None:
    assert key_of({}) == key_of(None) == key_of({"excludes": ["a"]}) == ""
    assert key_of({"config": RuntimeEnvConfig()}) == ""
    one = key_of({"env_vars": {"A": "1", "B": "2"}, "excludes": ["a"]})
    assert one == key_of({"env_vars": {"B": "2", "A": "1"}})
    assert one != key_of({"env_vars": {"A": "1"}})
    assert json.loads(one) == {"env_vars": {"A": "1", "B": "2"}}


def test_expansion() -> None:
    there = {"PATH": "/bin", "A": "1"}
    assert expanded("/x:${PATH}", there) == "/x:/bin"
    assert expanded("$A-${A}$", there) == "1-1$"
    assert expanded("${MISSING}z", there) == "z"
