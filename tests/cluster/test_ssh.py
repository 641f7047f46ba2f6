"""A cluster of machines that are reached by ssh: found in a cluster file, joined, scanned, given back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support import programs
from support.clusters import poll
from support.machines import Lab, lab, why_no_ssh

pytestmark = [
    pytest.mark.skipif(bool(why_no_ssh()), reason=why_no_ssh() or "machines can be made"),
    pytest.mark.leaks("the machines of a file run until its end; the check per file sees what is left then"),
]

FILE = """
cluster_name: grid
max_workers: 2
idle_timeout_minutes: 60
provider:
    type: local
    head_ip: {head}
    worker_ips: [{workers}]
    python: {python}
    directory: {tmp}/own
    environment: {environment}
auth:
    ssh_user: root
    ssh_private_key: {keys}/user
    ssh_known_hosts: {keys}/known
setup_commands: [echo set up]
file_mounts: {{"{tmp}/mounted/": "{near}/"}}
rsync_exclude: ["*.tmp"]
colour: blue
"""

PROBE = """
import json, socket, ssl, sys
got = {}
for host, port in json.loads(sys.argv[1]):
    heard = []
    for kind in ("http", "tls", "dask", "lane"):
        try:
            sock = socket.create_connection((host, port), 2)
            sock.settimeout(1.5)
            if kind == "tls":
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                sock = context.wrap_socket(sock)
                sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            elif kind == "http":
                sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            elif kind == "dask":
                sock.sendall((1).to_bytes(8, "little") + (9).to_bytes(8, "little") + b"\\x81\\xa2op\\xa4ping")
            else:
                sock.sendall(b"RJ1P" + bytes(8) + bytes(32))
            data = sock.recv(4096)
            # An alert of TLS says no, and nothing else.
            if data and data[:1] != b"\\x15":
                heard.append([kind, repr(data[:80])])
        except (OSError, ssl.SSLError):
            pass
    got[f"{host}:{port}"] = heard
print(json.dumps(got))
"""


def rayjup(grid: Lab, name: str, *arguments: str, timeout_s: float = 110.0) -> str:
    process = grid.machines[name].start(
        sys.executable, "-m", "rayjup", *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    said, _ = process.communicate(timeout=timeout_s)
    assert process.returncode == 0, said
    return str(said)


def file_of(grid: Lab) -> str:
    return str(grid.directory / "cluster.yaml")


@pytest.fixture(scope="module")
def grid() -> Iterator[Lab]:
    """Started from a machine that is none of the cluster's, as from somebody's laptop."""
    with lab("a b c e", cluster=False) as made:
        for name in "abc":
            made.start_sshd(name)
        a = made.machines["a"]
        variables = {"TMPDIR": a.tmp, "JUPYTER_RUNTIME_DIR": a.tmp}
        variables["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        near = made.directory / "near"
        near.mkdir()
        (near / "data.txt").write_text("first")
        (near / "scratch.tmp").write_text("not to be copied")
        text = FILE.format(
            near=near,
            head=a.address,
            workers=", ".join(made.machines[name].address for name in "bc"),
            python=sys.executable,
            tmp=a.tmp,
            keys=made.directory / "ssh",
            environment=json.dumps(variables),
        )
        (made.directory / "cluster.yaml").write_text(text)
        poll(lambda: all(("0.0.0.0", 22) in made.listening(name) for name in "abc"))
        said = rayjup(made, "e", "up", file_of(made), "--yes")
        assert "colour is unknown, and has no effect" in said
        assert "echo set up" in said
        yield made


def test_commands_of_the_file_work_on_its_head(grid):
    assert rayjup(grid, "e", "get-head-ip", file_of(grid)).strip() == grid.machines["a"].address
    assert rayjup(grid, "e", "exec", file_of(grid), "echo on $((40 + 2))").strip() == "on 42"
    (grid.directory / "notes").write_text("to and fro")
    far = f"{grid.machines['a'].tmp}/notes"
    rayjup(grid, "e", "rsync-up", file_of(grid), str(grid.directory / "notes"), far)
    rayjup(grid, "e", "rsync-down", file_of(grid), far, str(grid.directory / "back"))
    assert (grid.directory / "back").read_text() == "to and fro"
    rayjup(grid, "e", "exec", file_of(grid), f"rm {far}")
    assert "asking for the node" in rayjup(grid, "e", "monitor", file_of(grid))
    assert "has its new settings" in rayjup(grid, "e", "up", file_of(grid), "-y")


@pytest.mark.parametrize("old", [False, True])
def test_a_program_waits_for_the_nodes_and_uses_all(grid, old):
    path = grid.directory / "program.py"
    path.write_text(programs.wait_for_nodes("localhost:6379", 3, old=old))
    said = rayjup(grid, "e", "submit", file_of(grid), str(path), "--", "ignored")
    programs.check(said, 3)


SDK = """
import sys
from pathlib import Path
from rayjup.autoscaler import sdk
from rayjup.base.exceptions import RaySystemError

file, near, tmp, worker = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]
print(sdk.get_head_node_ip(file), *sdk.get_worker_node_ips(file))
heard = []
sdk.register_callback_handler("message", lambda event: heard.append(event["message"]))
sdk.create_or_update_cluster(file)
print("has its new settings" in heard[-1])

def there(command):
    return sdk.run_on_cluster(file, cmd=command, with_output=True)

print(there(f"ls {tmp}/mounted").split())
(near / "data.txt").write_text("second")
sdk.rsync(file, source=None, target=None, down=False)
print(there(f"cat {tmp}/mounted/data.txt"), sdk.run_on_cluster(file, cmd="true"))
there(f"echo third > {tmp}/mounted/data.txt")
sdk.rsync(file, source=None, target=None, down=True)
print((near / "data.txt").read_text().strip())
(near / "alone").write_text("for one")
sdk.rsync(file, source=str(near / "alone"), target=f"{tmp}/alone", down=False, ip_address=worker)
sdk.rsync(file, source=f"{tmp}/alone", target=str(near / "again"), down=True, ip_address=worker)
print((near / "again").read_text(), there(f"test -e {tmp}/alone || echo not on the head").strip())
for wrong in (
    lambda: there("echo it is; echo broken >&2; exit 7"),
    lambda: sdk.rsync(file, source="x", target=None, down=False),
    lambda: sdk.rsync(file, source="/nowhere/at/all", target=tmp, down=False),
):
    try:
        wrong()
    except (RaySystemError, ValueError) as error:
        print(str(error).replace(chr(10), " "))
there(f"rm -r {tmp}/mounted")
"""


def test_programs_operate_the_cluster_as_the_commands_do(grid):
    a, b, c = (grid.machines[name] for name in "abc")
    arguments = [file_of(grid), str(grid.directory / "near"), a.tmp, b.address]
    process = grid.machines["e"].start(
        sys.executable, "-c", SDK, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, errors = process.communicate(timeout=110)
    lines = said.splitlines()
    assert lines[:5] == [
        f"{a.address} {b.address} {c.address}",
        "True",
        "['data.txt']",
        "second None",
        "third",
    ], errors
    assert lines[5] == "for one not on the head"
    assert "failed (exit code 7): echo it is; echo broken >&2; exit 7 broken" in lines[6]
    assert lines[7].startswith("rsync needs both ends")
    assert "rsync with" in lines[8] and "/nowhere/at" in lines[8]
    b.run("rm", f"{b.tmp}/alone")


def test_attach_opens_a_shell_on_the_head_and_brings_its_ports(grid):
    process = grid.machines["e"].start(
        *(sys.executable, "-m", "rayjup", "attach", file_of(grid), "-p", "6379"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        poll(lambda: ("127.0.0.1", 6379) in grid.listening("e"), 60)
        said, _ = process.communicate("hostname -I; echo it is $((6 * 7)); exit 3\n", timeout=60)
    finally:
        process.kill()
        process.wait()
    assert "it is 42" in said and grid.machines["a"].address in said
    assert process.returncode == 3
    poll(lambda: ("127.0.0.1", 6379) not in grid.listening("e"))


def test_credentials_are_exchanged_on_all_machines(grid):
    def on(name, *command):
        done = subprocess.run(
            grid.machines[name].inside(*command), capture_output=True, text=True, check=True
        )
        return done.stdout

    tmp = grid.machines["a"].tmp
    find = ("sh", "-c", f"cat {tmp}/rayjup-*/*/credentials.pem")
    before = on("a", *find)
    process = grid.machines["a"].start(
        *(sys.executable, "-m", "rayjup", "rotate-credentials", "--grace", "0", "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = process.communicate(timeout=100)
    assert process.returncode == 0 and "are refused now" in said, said
    after = on("a", *find)
    assert after != before
    for name in "bc":  # what the launcher has put there, and what the node has for itself
        found = on(name, "sh", "-c", f"cat {tmp}/own/*.pem"), on(name, *find)
        assert found == (after, after)
    path = grid.directory / "program.py"
    path.write_text(programs.wait_for_nodes("localhost:6379", 3))
    programs.check(rayjup(grid, "e", "submit", file_of(grid), str(path)), 3)


def monitor_log(grid: Lab) -> str:
    tmp = grid.machines["a"].tmp
    command = f"cat {tmp}/rayjup-*/*/logs/monitor.log"
    found = subprocess.run(
        grid.machines["a"].inside("sh", "-c", command), capture_output=True, text=True, check=False
    )
    return found.stdout


def test_every_open_port_says_nothing_to_who_has_no_credentials(grid):
    places = [
        (grid.machines[name].address, port)
        for name in "abc"
        for host, port in grid.listening(name)
        if not host.startswith("127.") and port != 22
    ]
    assert (grid.machines["a"].address, 6379) in places
    assert len(places) >= 4  # the head, and each node
    process = grid.machines["e"].start(
        sys.executable, "-c", PROBE, json.dumps(places), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, errors = process.communicate(timeout=110)
    heard = json.loads(said)
    assert heard == {f"{host}:{port}": [] for host, port in places}, errors


def test_a_machine_without_credentials_is_told_what_to_do(grid):
    process = grid.machines["e"].start(
        *(sys.executable, "-m", "rayjup", "start", "--address", f"{grid.machines['a'].address}:6379"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "lets nobody in without credentials" in said


def test_no_secret_stands_in_a_command_line(grid):
    (path,) = subprocess.run(
        grid.machines["a"].inside("sh", "-c", f"ls {grid.machines['a'].tmp}/rayjup-*/*/credentials.pem"),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    secret = (
        subprocess.run(grid.machines["a"].inside("cat", path), capture_output=True, text=True, check=True)
        .stdout.split("-----BEGIN PRIVATE KEY-----\n")[1]
        .splitlines()[0]
    )
    lines = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout
    assert "rayjup.cluster.boot" in lines
    assert secret not in lines
    assert secret not in monitor_log(grid)


def test_stopping_the_cluster_gives_all_machines_back(grid):
    assert "Stopped: grid" in rayjup(grid, "e", "down", file_of(grid))
    poll(lambda: not any(grid.programs(name, "rayjup.cluster") for name in "abc"), 60)
    for name in "bc":
        left = subprocess.run(
            grid.machines[name].inside("sh", "-c", f"find {grid.machines[name].tmp} /dev/shm -type f"),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        assert [path for path in left if not path.endswith("known_hosts")] == []
