"""Where the kernelspec lies, and how it is installed for a particular Python."""

from __future__ import annotations

import json
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

KERNEL_NAME = "rayjup"
CLUSTER_KERNEL_NAME = "rayjup-cluster"
_FOLDERS = {KERNEL_NAME: "kernelspec", CLUSTER_KERNEL_NAME: "clusterspec"}


def spec_dir(kernel_name: str = KERNEL_NAME) -> Path:
    """The directory of a kernelspec that came with this installation.

    Raises
    ------
    FileNotFoundError
        When it is at none of the two places it can be at.
    """
    installed = Path(sysconfig.get_path("data")) / "share" / "jupyter" / "kernels" / kernel_name
    checkout = Path(__file__).resolve().parent.parent / _FOLDERS[kernel_name]
    for directory in (checkout, installed):
        if (directory / "kernel.json").is_file():
            return directory
    raise FileNotFoundError(
        f"The kernelspec {kernel_name!r} is neither in {checkout} (a source checkout) nor in {installed} "
        "(an installed wheel). Install rayjup again."
    )


def kernel_json(
    executable: str | None = None,
    display_name: str | None = None,
    on_cluster: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The contents of ``kernel.json``, starting ``executable`` if one is given.

    ``on_cluster``: options of `rayjup_kernels.provisioner.ClusterProvisioner`, for a kernel on the cluster.

    As shipped, ``argv`` begins with ``python``, which jupyter_client replaces with the Python
    that runs the Jupyter server: right when rayjup is installed beside it, activated or not.
    A spec for another environment has to name its Python in full.
    """
    spec: dict[str, Any] = json.loads(
        (spec_dir(_kind(on_cluster)) / "kernel.json").read_text(encoding="utf-8")
    )
    if on_cluster is not None:
        spec["metadata"]["kernel_provisioner"]["config"].update(on_cluster)
    if executable is not None:
        spec["argv"][0] = executable
    if display_name is not None:
        spec["display_name"] = display_name
    return spec


def install(
    *,
    user: bool = False,
    prefix: str | None = None,
    kernel_name: str = KERNEL_NAME,
    display_name: str | None = None,
    executable: str | None = None,
    on_cluster: dict[str, Any] | None = None,
) -> str:
    """Install the kernelspec so that it starts ``executable``.

    Parameters
    ----------
    user : bool
        Install for the user, so that every Jupyter of that user offers the kernel.
    prefix : str, optional
        Install into this environment. Default, without ``user``: the running one.
    kernel_name : str
        Name of the kernelspec; several environments need several names.
    display_name : str, optional
        What the launcher shows.
    executable : str, optional
        The Python to start. Default: `sys.executable`.
    on_cluster : dict, optional
        Run the kernel on the cluster with these options: ``num_cpus``, ``num_gpus``, ``cluster``, ….

    Returns
    -------
    str
        The directory the kernelspec was installed in.
    """
    # Only needed here: a process that merely starts kernels has no use for it.
    from jupyter_client.kernelspec import KernelSpecManager

    if not user and prefix is None:
        prefix = sys.prefix
    with tempfile.TemporaryDirectory(prefix="rayjup-kernelspec-") as scratch:
        staged = Path(scratch) / kernel_name
        shutil.copytree(spec_dir(_kind(on_cluster)), staged)
        spec = kernel_json(executable or sys.executable, display_name, on_cluster)
        (staged / "kernel.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        return str(
            KernelSpecManager().install_kernel_spec(
                str(staged), kernel_name=kernel_name, user=user, prefix=prefix
            )
        )


def _kind(on_cluster: dict[str, Any] | None) -> str:
    return KERNEL_NAME if on_cluster is None else CLUSTER_KERNEL_NAME
