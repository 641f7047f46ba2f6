"""TPU slices: what they consist of (mirrors the computations of ``ray.util.tpu``)."""

from __future__ import annotations

import glob
import math
import os
from typing import Any

import rayjup as ray

VERSIONS = ("v2", "v3", "v4", "v5p", "v5litepod", "v6e", "v7x")
SLICE_LABEL = "ray.io/tpu-slice-name"
TOPOLOGY_LABEL = "ray.io/tpu-topology"
_ONE_HOST_MAX = {"v5litepod": 8, "v6e": 8}  # slices of these versions up to this size are one machine
_CHIPS_PER_VM = 4


def get_tpu_version_from_type(accelerator_type: str) -> str:
    """The generation in an accelerator type: ``"v6e"`` of ``"TPU-V6E"``.

    Raises
    ------
    ValueError
        It is no TPU.
    """
    version = accelerator_type.lower().removeprefix("tpu-")
    if version not in VERSIONS:
        raise ValueError(
            f"Invalid accelerator_type: {accelerator_type}. Must be one of {list(VERSIONS)} "
            "or start with 'TPU-' followed by a valid type."
        )
    return version


def get_tpu_worker_resources(
    topology: str,
    accelerator_type: str,
    resources_per_worker: dict[str, float] | None = None,
    num_slices: int = 1,
    chips_per_vm: int | None = None,
    tpu_resource_per_chip: int | None = None,
) -> tuple[int, dict[str, float]]:
    """How many workers TPU slices have room for, and the resources of each.

    Parameters
    ----------
    topology
        Chips along the axes of one slice, such as ``"4x4"``.
    accelerator_type
        Such as ``"TPU-V6E"``.
    resources_per_worker
        What a worker takes; all chips of its machine, and a CPU, where None.
    num_slices, chips_per_vm, tpu_resource_per_chip
        Slices, chips of a machine (None: as the topology says), TPU resources of a chip (1).

    Examples
    --------
    >>> from rayjup.util.tpu import get_tpu_worker_resources
    >>> get_tpu_worker_resources("4x4", "TPU-V6E")
    (4, {'CPU': 1, 'TPU': 4})
    """
    version = get_tpu_version_from_type(accelerator_type)
    scale = tpu_resource_per_chip or 1
    chips = _chips(topology)
    per_vm = chips_per_vm or _chips_per_vm(chips, version)
    resources: dict[str, float] = dict(resources_per_worker or {"CPU": 1})
    per_worker = resources.setdefault("TPU", per_vm * scale)
    total = chips * scale * num_slices
    if per_worker <= 0:
        raise ValueError(f"TPU resources must be positive, got {per_worker}")
    if total % per_worker:
        raise ValueError(
            f"Total TPUs ({total}) of {num_slices} slice(s) {topology} is no multiple of those "
            f"of one worker ({per_worker})."
        )
    return int(total // per_worker), resources


def get_tpu_num_slices_for_workers(
    topology: str,
    accelerator_type: str,
    num_workers: int,
    resources_per_worker: dict[str, float] | None = None,
    tpu_resource_per_chip: int | None = None,
) -> int:
    """How many slices ``num_workers`` workers need; 1 where that can't be told."""
    if not topology or not accelerator_type:
        return 1
    try:
        per_slice, _ = get_tpu_worker_resources(
            topology, accelerator_type, resources_per_worker, 1, None, tpu_resource_per_chip
        )
    except ValueError:
        return 1
    return max(1, math.ceil(num_workers / per_slice))


def get_tpu_coordinator_env_vars(
    coordinator_address: str, num_slices: int, slice_id: int, coordinator_port: str = "8081"
) -> dict[str, str]:
    """Environment variables by which several slices find each other."""
    return {
        "MEGASCALE_COORDINATOR_ADDRESS": coordinator_address,
        "MEGASCALE_PORT": coordinator_port,
        "MEGASCALE_NUM_SLICES": str(num_slices),
        "MEGASCALE_SLICE_ID": str(slice_id),
    }


def get_tpu_slice_name_from_node(node: dict[str, Any]) -> str | None:
    """The slice to which a row of :func:`rayjup.nodes` belongs, if any."""
    return (node.get("Labels") or {}).get(SLICE_LABEL)


def get_tpu_nodes_for_slice(
    slice_name: str, nodes: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The living nodes of a slice, out of ``nodes`` or of the cluster's."""
    rows = ray.nodes() if nodes is None else nodes
    return [n for n in rows if n.get("Alive") and get_tpu_slice_name_from_node(n) == slice_name]


def get_num_tpu_slices(topology: str, accelerator_type: str, tpu_resource_per_chip: int | None = None) -> int:
    """How many whole slices of a topology the cluster has."""
    get_tpu_version_from_type(accelerator_type)
    wanted = _chips(topology) * (tpu_resource_per_chip or 1)
    found: dict[str, float] = {}
    for node in ray.nodes():
        labels = node.get("Labels") or {}
        if node.get("Alive") and labels.get(TOPOLOGY_LABEL) == topology and SLICE_LABEL in labels:
            name = labels[SLICE_LABEL]
            found[name] = found.get(name, 0) + node.get("Resources", {}).get("TPU", 0)
    return sum(amount >= wanted for amount in found.values())


def get_num_tpu_chips_on_node() -> int:
    """How many TPU chips this machine has; 0 without any."""
    return len(glob.glob("/dev/accel[0-9]*")) or len(glob.glob("/dev/vfio/[0-9]*"))


def get_current_pod_name() -> str | None:
    """The slice this machine belongs to, from the environment variable TPU_NAME; None without one."""
    return os.environ.get("TPU_NAME") or None


def get_current_pod_worker_count() -> int | None:
    """Machines of the slice this one belongs to, from TPU_WORKER_HOSTNAMES; None outside of one."""
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES")
    return len(hosts.split(",")) if hosts else None


def init_jax_profiler(port: int | None = None) -> None:
    """Start JAX's profiler server in this process.

    Raises
    ------
    ImportError
        JAX is not installed.
    """
    try:
        import jax
    except ImportError as error:
        raise ImportError("init_jax_profiler() needs JAX, which is not installed: pip install jax") from error
    jax.profiler.start_server(port or int(os.environ.get("JAX_PROFILER_PORT", "9999")))


_SLICES = (
    "SlicePlacementGroup SubslicePlacementGroup slice_placement_group subslice_placement_group run_on_slice"
)


def __getattr__(name: str) -> Any:
    if name in _SLICES.split():
        raise AttributeError(
            f"rayjup.util.tpu has no {name}: rayjup reserves no TPU slices, which takes machines with TPUs. "
            "Use placement_group(bundles) with the number and resources from get_tpu_worker_resources()."
        )
    raise AttributeError(f"module 'rayjup.util.tpu' has no attribute {name!r}")


def _chips(topology: str) -> int:
    try:
        axes = [int(axis) for axis in topology.lower().split("x")]
    except ValueError:
        axes = []
    if not axes or min(axes) < 1:
        raise ValueError(f"Invalid topology {topology!r}: it must be numbers joined by 'x', such as '2x2x2'.")
    return math.prod(axes)


def _chips_per_vm(chips: int, version: str) -> int:
    return chips if chips <= _ONE_HOST_MAX.get(version, 0) else min(chips, _CHIPS_PER_VM)
