"""How machines are had on which nodes run: one file per kind of back-end, one contract (``base``).

A launcher asks for a node, gives it back and says what has become of it; whether and which nodes there
should be is decided by ``rayjup.cluster.scaling``. A node joins by itself, with ``rayjup start``, and is
recognised by its name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.launchers.base import Instance, Launcher

__all__ = ["LAUNCHERS", "Instance", "Launcher", "make"]

LAUNCHERS = {
    "local": "local:LocalLauncher",
    "ssh": "ssh:SshLauncher",
    "external": "external:ExternalLauncher",
    "cloud": "cloud:CloudLauncher",
    "fargate": "fargate:FargateLauncher",
    "yarn": "yarn:YarnLauncher",
    "kubernetes": "kubernetes:KubernetesLauncher",
    "slurm": "slurm:SlurmLauncher",
    "pbs": "pbs:PbsLauncher",
    "lsf": "lsf:LsfLauncher",
    "sge": "sge:SgeLauncher",
    "htcondor": "htcondor:HtcondorLauncher",
}
"""Name → module below this package, and class."""


def make(cluster: Descriptor, options: Mapping[str, Any]) -> Launcher:
    """The launcher that ``options["launcher"]`` names, for a running cluster.

    Raises
    ------
    ValueError
        There is none of this name, or it does not take these options.
    ImportError
        It needs a package that is not installed; the message names the extra.
    """
    given = dict(options)
    name = given.pop("launcher", "local")
    if name == "gateway":
        raise ValueError(
            "a cluster of dask-gateway has its own head: start it with 'rayjup up', not with 'rayjup start'."
        )
    where = LAUNCHERS.get(name)
    if where is None:
        raise ValueError(f"there is no launcher {name!r}; there are {', '.join(sorted(LAUNCHERS))}.")
    module, _, attribute = where.partition(":")
    kind: Callable[..., Launcher] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return kind(cluster, **given)
