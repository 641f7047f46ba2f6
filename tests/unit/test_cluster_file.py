"""Cluster files, credentials, and the scripts that batch systems would get."""

from __future__ import annotations

import os
import shutil
import ssl
import stat
from pathlib import Path

import pytest

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import cluster_file, credentials, launchers, network
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.scaling.settings import NodeType
from rayjup.cluster.ssh import Machine, shell_path

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "clusters"
LOCAL = {"cluster_name": "c", "provider": {"type": "local", "head_ip": "h", "worker_ips": ["a", "b"]}}
TYPES = {
    "head": {"resources": {"CPU": 2}, "max_workers": 0},
    "w": {"resources": {"CPU": 4}, "min_workers": 1, "node_config": {"queue": "q"}},
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_say_nothing_in_vain(path):
    pytest.importorskip("yaml", reason="cluster files need pyyaml (rayjup[clusters])")
    file = cluster_file.read(str(path))
    where = "headGroupSpec.template has no effect beside its CPUs and GPUs"
    said = [remark for remark in file.remarks if not (path.name == "kuberay.yaml" and where in remark)]
    assert said == [] and file.scaling.types


def test_machines_are_all_started_unless_the_file_says_less():
    file = cluster_file.parse({**LOCAL, "auth": {"ssh_user": "me", "ssh_private_key": "~/k"}})
    (kind,) = file.scaling.types
    assert (kind.min_workers, kind.max_workers, file.scaling.max_workers) == (2, 2, 2)
    assert file.launcher == {"launcher": "ssh", "hosts": ["a", "b"], "user": "me", "key": "~/k", "setup": []}
    (kind,) = cluster_file.parse({**LOCAL, "min_workers": 0, "max_workers": 1}).scaling.types
    assert (kind.min_workers, kind.max_workers) == (0, 1)


def test_types_of_nodes_limits_and_commands_are_taken_over():
    data = {
        "max_workers": 7,
        "idle_timeout_minutes": 2,
        "upscaling_speed": 3,
        "provider": {"type": "slurm", "walltime": "01:00:00"},
        "available_node_types": TYPES,
        "head_node_type": "head",
        "setup_commands": ["one"],
        "worker_setup_commands": ["two"],
    }
    file = cluster_file.parse(data)
    (kind,) = file.scaling.types
    assert (kind.name, kind.min_workers, kind.max_workers, kind.node_config) == ("w", 1, 7, {"queue": "q"})
    assert (file.scaling.idle_timeout_s, file.scaling.upscaling_speed) == (120, 3)
    assert file.head is not None and file.head.resources == {"CPU": 2}
    assert file.launcher == {"launcher": "slurm", "walltime": "01:00:00", "prologue": ["one", "two"]}


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("aws", "rayjup.autoscaler.aws.Ec2NodeProvider"),
        ("gcp", "rayjup.autoscaler.gcp.GcpNodeProvider"),
        ("azure", "rayjup.autoscaler.azure.AzureNodeProvider"),
    ],
)
def test_machines_of_clouds_join_by_ssh_or_by_what_they_start_with(kind, module, tmp_path):
    key = tmp_path / "id.pub"
    key.write_text("ssh-ed25519 AAAA me\n")
    provider = {"type": kind, "region": "r", "cache_stopped_nodes": True}
    auth = {"ssh_user": "me", "ssh_private_key": "~/k", "ssh_public_key": str(key)}
    data = {"provider": provider, "auth": auth, "available_node_types": TYPES, "setup_commands": ["a"]}
    file = cluster_file.parse(data)
    assert file.remarks == ("provider: cache_stopped_nodes has no effect: machines are terminated.",)
    assert file.launcher["launcher"] == "external" and file.launcher["provider"]["module"] == module
    assert file.launcher["ssh"] == {"setup": ["a"], "user": "me", "key": "~/k"}
    assert file.launcher["provider"]["ssh_public_key"] == "ssh-ed25519 AAAA me"
    provider |= {"join": "startup_script", "python": "/opt/python", "at_end": ["true"]}
    launcher = cluster_file.parse(data).launcher
    assert launcher["launcher"] == "cloud" and launcher["provider"]["module"] == module
    assert (launcher["python"], launcher["at_end"], launcher["setup"]) == ("/opt/python", ["true"], ["a"])


def test_clusters_of_a_gateway_have_a_number_of_workers():
    data = {"provider": {"type": "gateway", "options": {"worker_cores": 2}}, "min_workers": 3}
    file = cluster_file.parse(data)
    assert (file.remarks, file.launcher) == ((), {"launcher": "gateway"})
    assert [(kind.min_workers, kind.max_workers) for kind in file.scaling.types] == [(3, 3)]
    assert cluster_file.parse({**data, "max_workers": 9}).remarks == (
        "max_workers has no effect: a gateway's cluster has min_workers nodes.",
    )
    with pytest.raises(ValueError, match="leave available_node_types out, and write min_workers"):
        cluster_file.parse({**data, "available_node_types": TYPES})


def test_what_has_no_effect_is_named():
    data = {**LOCAL, "docker": {"image": "x"}, "max_worker": 1, "head_start_ray_commands": ["ray start"]}
    assert cluster_file.parse(data).remarks == (
        "docker has no effect: nodes run without containers.",
        "max_worker is unknown, and has no effect. Did you mean max_workers?",
        "head_start_ray_commands has no effect: nodes are started by 'rayjup start'.",
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "is no mapping"),
        ({}, "add provider"),
        ({"provider": {"type": "slurm"}}, "needs available_node_types"),
        ({"provider": {"type": "mainframe"}, "available_node_types": TYPES}, "'mainframe' is not supported"),
        (
            {"provider": {"type": "gcp", "join": "mail"}, "available_node_types": TYPES},
            "join 'mail': machines join by ssh, or by their startup_script",
        ),
        ({**LOCAL, "setup_commands": "one"}, "must be a list of commands"),
        (
            {**LOCAL, "available_node_types": TYPES, "head_node_type": "x"},
            "none of available_node_types: head, w",
        ),
        ({**LOCAL, "available_node_types": {"w": []}}, "'w' must be a mapping"),
    ],
)
def test_what_cannot_be_is_said(data, message):
    with pytest.raises(ValueError, match=message):
        cluster_file.parse(data, "f.yaml")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not installed")
def test_credentials_are_private_and_open_both_ends(tmp_path):
    path = credentials.make(str(tmp_path / "own" / "c.pem"))
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert credentials.make(path) == path  # those there are stay
    for side in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(side)
        context.load_verify_locations(path)
        context.load_cert_chain(path)
    assert "CA" not in "".join(os.listdir(tmp_path / "own"))
    assert os.listdir(tmp_path / "own") == ["c.pem"]  # the authority's key is gone
    os.chmod(path, 0o644)
    with pytest.raises(RaySystemError, match="chmod 600"):
        credentials.check(path)
    (tmp_path / "other").write_text("nothing")
    os.chmod(tmp_path / "other", 0o600)
    with pytest.raises(RaySystemError, match="holds no credentials"):
        credentials.check(str(tmp_path / "other"))
    with pytest.raises(RaySystemError, match="cannot be read"):
        credentials.check(str(tmp_path / "missing"))


def test_addresses():
    assert network.split("tls://[::1]:6379") == ("::1", 6379)
    assert network.is_own("127.0.0.1") and not network.is_own("192.0.2.77")
    with pytest.raises(ValueError, match="write host:port"):
        network.split("nowhere")
    port = network.free_port("127.0.0.1", None)
    assert network.free_port("127.0.0.1", port) == port
    with pytest.raises(RaySystemError, match=r"cannot listen on 192\.0\.2\.77:1"):
        network.free_port("192.0.2.77", 1)


def test_commands_by_ssh(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
    command = Machine("far", "me", 2222, "/k").command("ls", forward=("1:localhost:2",))
    assert command[0] == "/bin/ssh" and command[-2:] == ["me@far", "ls"]
    assert {"BatchMode=yes", "Port=2222", "IdentitiesOnly=yes", "1:localhost:2"} <= set(command)
    assert (shell_path("~/a b"), shell_path("/a b")) == ('~/"a b"', "'/a b'")


@pytest.mark.parametrize(
    ("system", "line", "options"),
    [
        ("slurm", "#SBATCH --cpus-per-task=3", {}),
        ("pbs", "#PBS -l select=1:ncpus=3:mem=2048MB", {}),
        ("lsf", "#BSUB -n 3", {"use_stdin": True, "lsf_units": "mb"}),
        ("sge", "#$ -N rayjup-rj-1-n", {}),
        ("htcondor", "MY.DaskWorkerCores = 3", {}),
    ],
)
def test_what_batch_systems_would_run(tmp_path, system, line, options):
    pytest.importorskip("dask_jobqueue", reason="jobs of batch systems need dask-jobqueue (rayjup[hpc])")
    secret = tmp_path / "c.pem"
    secret.write_text("the secret")
    extra = {"addresses": ["10.0.0.1:6379"], "credentials": str(secret)}
    cluster = Descriptor("rj-1", "c", "unix:///x", str(tmp_path), "", 1, extra=extra)
    given = {
        "launcher": system,
        "directory": str(tmp_path / "own"),
        "prologue": ["module load python"],
        **options,
    }
    launcher = launchers.make(cluster, given)
    kind = NodeType("w", {"CPU": 3, "memory": 2 << 30, "x": 1}, labels={"disk": "ssd"})
    script = launcher.job(kind, "n").job_script()
    assert line in script
    assert "module load python" in script
    assert "-m rayjup start --address 10.0.0.1:6379 --name n" in script
    assert f"--credentials {tmp_path}/own/rj-1.pem" in script
    assert "the secret" not in script
    assert stat.S_IMODE(os.stat(tmp_path / "own" / "rj-1.pem").st_mode) == 0o600


def test_launchers_that_are_not_there_are_named(tmp_path):
    cluster = Descriptor("rj-1", "c", "unix:///x", str(tmp_path), "", 1)
    with pytest.raises(ValueError, match="there is no launcher 'rocket'; there are cloud"):
        launchers.make(cluster, {"launcher": "rocket"})
    with pytest.raises(RaySystemError, match="lets no other machines in"):
        launchers.make(cluster, {"launcher": "ssh"})
