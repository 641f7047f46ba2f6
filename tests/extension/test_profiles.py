"""Profiles: what the form offers, and clusters that are joined, or have nodes by a launcher."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.auth.identity import IdentityProvider, User
from jupyter_server.utils import ensure_async
from rayjup_lab.services.clusters.options import StartOptions
from rayjup_lab.services.clusters.profiles import Profile
from rayjup_lab.services.errors import BadRequest
from support.clusters import poll

from rayjup.cluster import descriptors

Api = Callable[..., Awaitable[tuple[int, Any]]]
SSH = {"provider": {"type": "local", "worker_ips": ["far"]}, "auth": {"ssh_user": "me"}, "max_workers": 1}
SLURM = {
    "provider": {"type": "slurm", "queue": "short", "environment": {"KEY": "s3cret"}},
    "available_node_types": {"cpu": {"resources": {"CPU": 8}, "max_workers": 10}},
    "max_workers": 10,
    "cluster_name": "queue",
    "num_cpus": 1,
}
TASKS = """
import sys, rayjup
rayjup.init(address=sys.argv[1], log_to_driver=False)

@rayjup.remote(resources={"far": 1})
def where():
    import os
    return os.environ["TMPDIR"]

print(rayjup.get(where.remote()))
"""


@pytest.mark.parametrize(
    ("data", "kind", "summary"),
    [
        ({"num_cpus": 2, "num_gpus": 0.5}, "here", "2 CPU, 0.5 GPU"),
        ({}, "here", "on this machine"),
        ({"address": "tls://gate:8786"}, "joined", "joins tls://gate:8786"),
        (SSH, "local", "ssh, up to 1 node more"),
        (SLURM, "slurm", "1 CPU, slurm, up to 10 nodes more"),
        ({**SLURM, "provider": {"type": "kubernetes", "image": "x"}}, "kubernetes", "1 CPU, kubernetes, "),
    ],
)
def test_kinds_of_profiles(data: dict[str, Any], kind: str, summary: str) -> None:
    profile = Profile.of("p", data)
    assert profile.kind == kind and profile.summary.startswith(summary)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"num_cpus": -5}, "num_cpus must be between"),
        ({"cpus": 5}, "it sets cpus; a profile has linger_s, num_cpus"),
        ({"address": "tcp://a:1", "num_cpus": 1}, "so num_cpus means nothing beside it"),
        ({"provider": {"type": "local", "head_ip": "192.0.2.9"}}, "head would run on 192.0.2.9"),
        ({"provider": {"type": "moon"}, "available_node_types": {}}, "provider type 'moon' is not supported"),
        ({"provider": {"type": "slurm"}}, "needs available_node_types"),
        ({"cluster_file": "/nowhere.yaml"}, "No such file"),
        ({"cluster_file": "/nowhere.yaml", "max_workers": 2}, "drop max_workers"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(data: dict[str, Any], text: str) -> None:
    with pytest.raises(BadRequest, match="The profile 'p' is wrong") as caught:
        Profile.of("p", data)
    assert text in caught.value.message and caught.value.field == "profile"


def test_the_user_goes_before_the_profile_and_the_profile_before_the_file() -> None:
    profile = Profile.of("queue", SLURM)
    said = profile.checked(StartOptions(num_gpus=1, profile="queue"))
    assert said.given == {"name": "queue", "num_cpus": 1, "num_gpus": 1} and said.profile == "queue"
    assert profile.checked(StartOptions(name="mine", num_cpus=3)).given == {"name": "mine", "num_cpus": 3}


class TestProfiles:
    """Those of the server's configuration, and those of the user's file."""

    @pytest.fixture
    def lab_config(self) -> dict[str, Any]:
        return {
            "default_num_cpus": 1,
            "profiles": {"queue": SLURM, "small": {"num_cpus": 2}, "odd": {"adress": "tcp://somewhere"}},
        }

    @pytest.fixture(autouse=True)
    def _profiles(self, jp_config_dir: Any) -> None:
        (jp_config_dir / "rayjup.json").write_text(
            '{"profiles": {"mine": {"num_cpus": 1, "resources": {"license": 2}, "linger_s": 30},'
            ' "small": {"num_cpus": 64}}}'
        )

    async def test_the_form_offers_all_of_them(self, api: Api) -> None:
        _, options = await api("GET", "options")
        assert {"name", "num_cpus", "resources", "profile"} <= options["schema"]["properties"].keys()
        found = options["profiles"]
        assert sorted(found) == ["mine", "odd", "queue", "small"]
        assert found["small"] == {"kind": "here", "summary": "2 CPU", "problem": None}
        assert "it sets adress" in found["odd"]["problem"]
        assert "s3cret" not in json.dumps(options)

    async def test_a_profile_fills_in_what_is_not_given(self, api: Api) -> None:
        status, made = await api("POST", "clusters", body={"profile": "mine", "name": "one"})
        assert (status, made["linger_s"], made["name"]) == (201, 30.0, "one")
        assert (made["resources"]["CPU"], made["resources"]["license"]) == (1.0, 2.0)
        # With this it can be started as it was.
        assert made["options"] == {
            "name": "one",
            "profile": "mine",
            "num_cpus": 1,
            "resources": {"license": 2},
            "linger_s": 30.0,
        }

    @pytest.mark.parametrize(
        ("profile", "text"), [("none", "There is no profile 'none'"), ("odd", "it sets adress")]
    )
    async def test_one_that_cannot_be_used_is_named(self, api: Api, profile: str, text: str) -> None:
        status, reply = await api("POST", "clusters", body={"profile": profile})
        assert (status, reply["field"]) == (400, "profile") and text in reply["message"]


class Named(IdentityProvider):
    """Who has the server's token is who they say they are."""

    async def get_user(self, handler: Any) -> User | None:
        user = await ensure_async(super().get_user(handler))
        return user and User(handler.request.headers.get("X-User", "nobody"))


class TestWhoMayStart:
    """A server that several people use."""

    @pytest.fixture
    def lab_config(self) -> dict[str, Any]:
        return {
            "profiles": {"queue": SLURM, "small": {"num_cpus": 1}, "odd": {"num_cpus": 1}},
            "may_start": {"queue": ["ada", "grace"], "odd": [], "": ["ada"]},
        }

    @pytest.fixture
    def jp_server_config(self, jp_server_config: dict[str, Any]) -> dict[str, Any]:
        jp_server_config["ServerApp"]["identity_provider_class"] = Named
        return jp_server_config

    @pytest.fixture(autouse=True)
    def _profiles(self, jp_config_dir: Any) -> None:
        (jp_config_dir / "rayjup.json").write_text('{"profiles": {"mine": {"num_cpus": 1}}}')

    @pytest.mark.parametrize(
        ("user", "offered", "without"),
        [
            ("ada", ["mine", "queue", "small"], True),
            ("grace", ["queue", "small"], False),
            ("eve", ["small"], False),
        ],
    )
    async def test_the_form_offers_what_may_be_started(
        self, api: Api, user: str, offered: list[str], without: bool
    ) -> None:
        _, options = await api("GET", "options", headers={"X-User": user})
        assert sorted(options["profiles"]) == offered
        assert options["may_start_without_profile"] is without

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ({"profile": "queue"}, "'eve' may not start a cluster with the profile 'queue'"),
            ({"profile": "mine"}, "'eve' may not start a cluster with the profile 'mine'"),
            (
                {"num_cpus": 1},
                "'eve' may not start a cluster without a profile; RayjupExtension.may_start says",
            ),
        ],
    )
    async def test_what_may_not_is_refused(self, api: Api, body: dict[str, Any], text: str) -> None:
        status, reply = await api("POST", "clusters", body=body, headers={"X-User": "eve"})
        assert (status, reply["field"]) == (403, "profile") and text in reply["message"]
        assert descriptors.list_clusters() == []

    async def test_what_may_is_started(self, api: Api) -> None:
        status, made = await api("POST", "clusters", body={"profile": "small"}, headers={"X-User": "eve"})
        assert status == 201, made
        status, made = await api("POST", "clusters", body={"num_cpus": 1}, headers={"X-User": "ada"})
        assert status == 201, made


class TestMachinesBySsh:
    """The program ``ssh`` of this test runs commands here; sshd itself is in the tests of the launchers."""

    @pytest.fixture
    def lab_config(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        programs = tmp_path / "bin"
        programs.mkdir()
        (programs / "ssh").write_text('#!/bin/sh\nfor last; do :; done\nexec /bin/sh -c "$last"\n')
        (programs / "ssh").chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        far = tmp_path / "far"
        far.mkdir(mode=0o700)
        environment = {name: str(far) for name in ("TMPDIR", "JUPYTER_RUNTIME_DIR")}
        environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        provider = {**SSH["provider"], "directory": f"{far}/own", "environment": environment}
        types = {"far": {"resources": {"CPU": 1, "far": 1}, "min_workers": 1, "max_workers": 1}}
        grid = {**SSH, "provider": provider, "available_node_types": types, "num_cpus": 1}
        return {"profiles": {"grid": grid}, "start_timeout_s": 60}

    async def test_a_cluster_with_a_node_by_ssh(self, api: Api, tmp_path: Path) -> None:
        status, made = await api("POST", "clusters", body={"profile": "grid"})
        assert status == 201, made
        cluster = made["cluster_id"]
        assert (made["started_by"], made["adapts"], made["options"]["profile"]) == ("panel", True, "grid")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TASKS, cluster), stdout=asyncio.subprocess.PIPE
        )
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert said.decode().strip() == str(tmp_path / "far")
        _, found = await api("GET", "clusters", cluster, "nodes")
        assert len(found["nodes"]) == 2
        assert (await api("DELETE", "clusters", cluster))[0] == 204
        assert descriptors.list_clusters() == []
        # Its node has left, too, and the credentials are gone from its machine.
        poll(lambda: not list((tmp_path / "far" / "own").glob("*.pem")), 30)


DASK = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


class TestDask:
    """A cluster of somebody else's, started with Dask alone."""

    @pytest.fixture
    def dask(self, tmp_path: Path) -> Any:
        script = tmp_path / "cluster.py"
        script.write_text(DASK)
        process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdin is not None and process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()
        process.wait(30)
        process.stdout.close()

    @pytest.fixture
    def lab_config(self, dask: str) -> dict[str, Any]:
        return {"profiles": {"theirs": {"address": dask}}}

    async def test_a_dask_cluster_is_joined_and_left(self, api: Api, dask: str) -> None:
        status, reply = await api("POST", "clusters", body={"profile": "theirs", "num_cpus": 2})
        assert (status, reply["field"]) == (400, "num_cpus") and "as it is" in reply["message"]
        status, made = await api("POST", "clusters", body={"profile": "theirs"})
        assert status == 201, made
        assert (made["name"], made["started_by"], made["state"]) == (dask, "dask", "running")
        assert made["resources"]["CPU"] == 2.0 and made["options"] is None
        # Stopping it takes it off the list; it belongs to whoever started it.
        assert (await api("DELETE", "clusters", made["cluster_id"]))[0] == 204
        assert (await api("GET", "clusters"))[1]["clusters"] == []


class TestWhatDoesNotAnswer:
    start_timeout_s = 1

    @pytest.fixture
    def lab_config(self) -> dict[str, Any]:
        types = {"cpu": {"resources": {"CPU": 1}, "max_workers": 1}}
        broken = {"provider": {"type": "fake_multinode"}, "available_node_types": types}
        return {
            "profiles": {
                "gone": {"address": "tcp://127.0.0.1:9"},
                "broken": {**broken, "setup_commands": ["exit 3"]},
            },
            "start_timeout_s": self.start_timeout_s,
        }

    async def test_nobody_answers(self, api: Api) -> None:
        status, reply = await api("POST", "clusters", body={"profile": "gone"})
        assert status == 500 and "could not be started" in reply["message"], reply


class TestWhatCannotBeStarted(TestWhatDoesNotAnswer):
    start_timeout_s = 60
    test_nobody_answers = None  # type: ignore[assignment]  # it would be waited for

    async def test_a_command_of_the_file_that_fails_is_named(self, api: Api) -> None:
        status, reply = await api("POST", "clusters", body={"profile": "broken"})
        assert status == 500 and "failed here (exit code 3): exit 3" in reply["message"], reply
