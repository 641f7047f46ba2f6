"""Slurm on the machines of a laboratory: its controller on the first, a node of it on each of the others."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time

from support.machines import LONG, Lab, why_not

_PATH = "/usr/sbin:/sbin:/usr/local/sbin:" + os.environ.get("PATH", "")
_CONFIG = """
ClusterName=lab
SlurmctldHost={host}({controller})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=/run/munge/munge.socket
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=1000
MpiDefault=none
ReturnToService=2
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd-%n.pid
SlurmctldPort=6817
SlurmdPort=6818
StateSaveLocation=/run/state
SlurmdSpoolDir=/run/spool
SlurmctldLogFile={logs}/slurmctld.log
SlurmdLogFile={logs}/slurmd-%n.log
KillWait=5
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP
"""


def why_no_slurm() -> str:
    """Why there can be no Slurm here; empty where there can."""
    if os.environ.get(LONG) != "1":
        return f"it takes long: 'make clusters' runs it ({LONG}=1)"
    for program in ("slurmctld", "slurmd", "sbatch", "munged"):
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is not installed (packages slurmctld, slurmd, slurm-client, munge)"
    if getpass.getuser() != "root":
        return "Slurm's parts are started as root"
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError:
        return "dask-jobqueue is not installed (rayjup[hpc])"
    return why_not()


def start(lab: Lab, names: str) -> dict[str, str]:
    """Start it; the environment variables with which its commands work."""
    directory = lab.directory / "slurm"
    directory.mkdir()
    key = directory / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    first = next(iter(lab.machines.values()))
    nodes = [f"NodeName={n} NodeAddr={lab.machines[n].address} CPUs=2 RealMemory=4000" for n in names.split()]
    text = _CONFIG.format(
        host=socket.gethostname(),
        controller=first.address,
        logs=directory,
        nodes="\n".join(nodes),
        names=",".join(names.split()),
    )
    config = directory / "slurm.conf"
    config.write_text(text)
    environ = {"SLURM_CONF": str(config)}
    for name in [first.name, *names.split()]:
        machine = lab.machines[name]
        machine.own_run("munge", "state", "spool")
        munge = [
            *("munged", "--foreground", "--force", f"--key-file={key}", "--socket=/run/munge/munge.socket"),
            *(
                "--pid-file=/run/munge/pid",
                f"--log-file={directory}/munge-{name}.log",
                "--seed-file=/run/munge/seed",
            ),
        ]
        _daemon(lab, name, munge, environ)
        deadline = time.monotonic() + 40
        while machine_lacks(lab, name, "/run/munge/munge.socket"):
            assert time.monotonic() < deadline, "munged did not come up"
            time.sleep(0.05)
        program = ["slurmctld", "-D", "-i"] if name == first.name else ["slurmd", "-D", "-N", name]
        _daemon(lab, name, program, environ)
    return environ


def machine_lacks(lab: Lab, name: str, path: str) -> bool:
    """Whether there is no such file on a machine."""
    return bool(subprocess.run(lab.machines[name].inside("test", "-e", path), check=False).returncode)


def _daemon(lab: Lab, name: str, command: list[str], environ: dict[str, str]) -> None:
    log = open(lab.directory / f"{name}-{command[0]}.out", "w")  # noqa: SIM115
    lab._logs.append(log)
    program = shutil.which(command[0], path=_PATH) or command[0]
    process = lab.machines[name].start(
        program, *command[1:], stdout=log, stderr=log, stdin=subprocess.DEVNULL, environ=environ
    )
    lab._processes.append(process)
