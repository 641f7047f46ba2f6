"""The command by which a machine that a launcher has got becomes a node."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.descriptors import Descriptor
from rayjup.cluster.scaling.settings import NodeType


def join_command(
    cluster: Descriptor, kind: NodeType, name: str, credentials: str, python: str, *, block: bool = False
) -> str:
    """A line for a shell. It holds no secret: ``credentials`` is the path of a file on that machine.

    ``block``: the command lasts as long as the node.
    """
    resources = dict(kind.resources)
    words = [*shlex.split(python), "-m", "rayjup", "start", "--address", address(cluster), "--name", name]
    words += ["--labels", json.dumps(kind.all_labels)]
    for option, key in (("--num-cpus", "CPU"), ("--num-gpus", "GPU")):
        if key in resources:
            words += [option, f"{resources.pop(key):g}"]
    for option, key in (("--memory", "memory"), ("--object-store-memory", "object_store_memory")):
        if key in resources:
            words += [option, str(int(resources.pop(key)))]
    if resources:
        words += ["--resources", json.dumps(resources)]
    if block:
        words.append("--block")
    return f"{shlex.join(words)} --credentials {credentials}"


def address(cluster: Descriptor) -> str:
    """Where machines find the cluster.

    Raises
    ------
    RaySystemError
        It lets no other machines in.
    """
    if cluster.network is None:
        raise RaySystemError(
            f"the cluster {cluster.name} lets no other machines in: start it with "
            "'rayjup start --head --port …'."
        )
    return cluster.network


def secret(cluster: Descriptor) -> str:
    """The credentials of the cluster as text."""
    address(cluster)
    assert cluster.credentials is not None
    return Path(cluster.credentials).read_text(encoding="ascii")


def words_of(prologue: Sequence[str]) -> str:
    """Lines of a shell as the beginning of one, each of which has to succeed."""
    return "".join(f"{{ {line.rstrip(';')}; }} && " for line in prologue)
