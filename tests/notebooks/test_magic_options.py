"""Options of the magics: profiles, values, ``$names``, completion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rayjup.cluster.descriptors import Descriptor

Clusters = Callable[[], list[Descriptor]]


@pytest.fixture
def profiled(start_kernel: Callable[..., Any], tmp_path: Path) -> Any:
    """A kernel whose Jupyter configuration has profiles."""
    profiles = {
        "tiny": {"num_cpus": 1, "resources": {"license": 2}, "linger_s": 3},
        "wrong": {"cpus": 3},
    }
    (tmp_path / "rayjup.json").write_text(json.dumps({"profiles": profiles}))
    kernel = start_kernel(JUPYTER_CONFIG_DIR=str(tmp_path))
    kernel.ok("%load_ext rayjup")
    return kernel


def complete(kernel: Any, code: str) -> list[str]:
    reply = kernel.client.complete(code, reply=True, timeout=60)["content"]
    return [code[: reply["cursor_start"]] + match for match in reply["matches"]]


def test_profiles(profiled: Any, clusters: Clusters) -> None:
    assert "Started" in profiled.ok("%ray_init --profile tiny --no-display").text
    assert clusters()[0].linger_s == 3
    text = profiled.ok("import rayjup as ray; print(ray.cluster_resources())").text
    assert "'license': 2" in text and "'CPU': 1" in text
    profiled.ok("%ray_shutdown")
    # What is given goes before the profile.
    profiled.ok("%ray_init --profile tiny --linger 7 --num-cpus 2 --no-display")
    assert clusters()[0].linger_s == 7
    assert "'CPU': 2" in profiled.ok("print(ray.cluster_resources())").text
    profiled.ok("%ray_shutdown")
    missing = profiled.run("%ray_init --profile huge")
    assert "there are: tiny, wrong" in missing.evalue and "rayjup.json" in missing.evalue
    assert "sets cpus, which %ray_init does not have" in profiled.run("%ray_init --profile wrong").evalue


def test_a_broken_profile_file_is_named(start_kernel: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "rayjup.json").write_text('{"profiles": [')
    kernel = start_kernel(JUPYTER_CONFIG_DIR=str(tmp_path))
    kernel.ok("%load_ext rayjup")
    assert "rayjup.json cannot be read" in kernel.run("%ray_init --profile a").evalue
    (tmp_path / "rayjup.json").write_text('{"big": {}}')
    assert 'must hold a table "profiles"' in kernel.run("%ray_init --profile a").evalue


def test_every_option_of_init(kernel: Any, clusters: Clusters) -> None:
    kernel.ok("env = {'env_vars': {'GREETING': 'hello'}}\ncpus = 1")
    kernel.ok(
        "%ray_init --num-cpus $cpus --resources license=2,special=0.5 --labels zone=a "
        "--object-store-memory 100MB --namespace mine --runtime-env env --set logging_level=debug "
        "--no-display"
    )
    kernel.ok("import rayjup as ray, os")
    resources = kernel.ok("print(ray.cluster_resources())").text
    assert "'license': 2" in resources and "'special': 0.5" in resources
    assert "'object_store_memory': 100000000" in resources
    assert kernel.ok("print(ray.nodes()[0]['Labels']['zone'])").text == "a\n"
    assert kernel.ok("print(ray.get_runtime_context().namespace)").text == "mine\n"
    code = "print(ray.get(ray.remote(lambda: os.environ['GREETING']).remote()))"
    assert kernel.ok(code).text == "hello\n"
    # The options outlive a shutdown by hand.
    kernel.ok("ray.shutdown()")
    kernel.ok("%ray_init --no-display")
    assert kernel.ok("print(ray.get_runtime_context().namespace)").text == "mine\n"
    kernel.ok("%ray_shutdown")


def test_json_in_the_line_stays_as_it_is(kernel: Any) -> None:
    kernel.ok("""%ray_init --num-cpus 1 --runtime-env '{"env_vars": {"GREETING": "hi"}}' --no-display""")
    kernel.ok("import rayjup as ray, os")
    assert kernel.ok("print(ray.get(ray.remote(lambda: os.environ['GREETING']).remote()))").text == "hi\n"
    kernel.ok("%ray_shutdown")


def test_as_ray(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 1 --as-ray --no-display")
    kernel.ok("import ray\ndef inside():\n    import ray\n    return ray.__name__")
    assert kernel.ok("print(ray.__name__, ray.get(ray.remote(inside).remote()))").text == "rayjup rayjup\n"
    kernel.ok("%ray_shutdown")


def test_as_ray_is_too_late_when_connected(kernel: Any) -> None:
    kernel.ok("%ray_init --num-cpus 1 --no-display")
    late = kernel.run("%ray_init --as-ray")
    assert late.ename == "RuntimeError" and "run %ray_shutdown, then %ray_init --as-ray" in late.evalue
    kernel.ok("%ray_shutdown")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--adaptive 1:8 --address nowhere", "address and adaptive exclude each other"),
        ("--adaptive 8:1", "write MIN:MAX"),
        ("--object-store-memory lots", "is no amount of memory"),
        ("--resources license", "neither a list such as license=2,special=1"),
        ("--set logging_level", "write OPTION=VALUE"),
        ("--set colour=red", "ray_init() has no option 'colour'"),
        ("--num-cpus $missing", "there is no variable 'missing'"),
        ("--name 'open", "cannot be split"),
    ],
)
def test_wrong_values(kernel: Any, clusters: Clusters, line: str, words: str) -> None:
    ran = kernel.run(f"%ray_init {line}")
    assert words in ran.evalue + ran.text
    assert clusters() == []


def test_completion(profiled: Any) -> None:
    profiled.ok("%ray_init --profile tiny --name alpha --no-display\nmodel = 1\nmore = 2")
    assert "%ray_init --num-cpus" in complete(profiled, "%ray_init --num")
    assert complete(profiled, "%ray_init --profile t") == ["%ray_init --profile tiny"]
    assert complete(profiled, "%ray_init --address al") == ["%ray_init --address alpha"]
    assert "%%ray_remote --out model" in complete(profiled, "%%ray_remote --out mo")
    assert "%%ray_remote --out model,more" in complete(profiled, "%%ray_remote --out model,mo")
    profiled.ok("from rayjup.notebook import keep\nkeep(1, 'features')")
    assert "%ray_attach features" in complete(profiled, "%ray_attach fea")
    profiled.ok("%ray_shutdown")


@pytest.mark.parametrize("magic", ["ray_remote", "ray_map", "ray_attach", "ray_dashboard"])
def test_help(kernel: Any, magic: str) -> None:
    kind = "%%" if magic in ("ray_remote", "ray_map") else "%"
    ran = kernel.ok(f"%{magic} --help")
    assert f"{kind}{magic}" in ran.text and "--help" in ran.text and ran.displays == []


def test_dashboard(kernel: Any, clusters: Clusters) -> None:
    assert "run %ray_init first" in kernel.run("%ray_dashboard").evalue
    kernel.ok("%ray_init --num-cpus 1 --name lab --no-display")
    data = kernel.ok("%ray_dashboard").displays[0]["data"]
    assert "rayjup:open-panel" in data["text/html"] and "Cluster lab" in data["text/plain"]
    kernel.ok("%ray_shutdown")


def test_the_panels_command_is_the_one_that_is_linked() -> None:
    source = Path(__file__).parents[2] / "extension" / "src" / "commandids.ts"
    from rayjup.notebook import dashboard

    assert f"'{dashboard._COMMAND}'" in source.read_text(encoding="utf-8")
