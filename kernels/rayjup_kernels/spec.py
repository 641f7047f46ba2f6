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


def spec_dir() -> Path:
    """The directory of the kernelspec that came with this installation.

    Raises
    ------
    FileNotFoundError
        When it is at none of the two places it can be at.
    """
    installed = Path(sysconfig.get_path("data")) / "share" / "jupyter" / "kernels" / KERNEL_NAME
    checkout = Path(__file__).resolve().parent.parent / "kernelspec"
    for directory in (checkout, installed):
        if (directory / "kernel.json").is_file():
            return directory
    raise FileNotFoundError(
        f"The kernelspec {KERNEL_NAME!r} is neither in {checkout} (a source checkout) nor in {installed} "
        "(an installed wheel). Install rayjup again."
    )


def kernel_json(executable: str | None = None, display_name: str | None = None) -> dict[str, Any]:
    """The contents of ``kernel.json``, starting ``executable`` if one is given.

    As shipped, ``argv`` begins with ``python``, which jupyter_client replaces with the Python
    that runs the Jupyter server: right when rayjup is installed beside it, activated or not.
    A spec for another environment has to name its Python in full.
    """
    spec: dict[str, Any] = json.loads((spec_dir() / "kernel.json").read_text(encoding="utf-8"))
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
        shutil.copytree(spec_dir(), staged)
        spec = kernel_json(executable or sys.executable, display_name)
        (staged / "kernel.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
        return str(
            KernelSpecManager().install_kernel_spec(
                str(staged), kernel_name=kernel_name, user=user, prefix=prefix
            )
        )
