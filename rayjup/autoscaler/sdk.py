"""What programs say to the autoscaler, as ``ray.autoscaler.sdk``."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

from rayjup.base import checks
from rayjup.base.exceptions import RaySystemError
from rayjup.cluster.operating import Operated
from rayjup.core import session as sessions

__all__ = [
    "bootstrap_config",
    "configure_logging",
    "create_or_update_cluster",
    "fillout_defaults",
    "get_docker_host_mount_location",
    "get_head_node_ip",
    "get_worker_node_ips",
    "register_callback_handler",
    "request_resources",
    "rsync",
    "run_on_cluster",
    "teardown_cluster",
]

logger = logging.getLogger(__name__)

_SPACE, _KEY = "autoscaler", b"requested"


def request_resources(
    num_cpus: int | None = None,
    bundles: list[dict[str, float]] | None = None,
    bundle_label_selectors: list[dict[str, str]] | None = None,
) -> None:
    """Have the cluster be able to hold this, whatever runs there: nodes are started now and kept.

    Each call replaces the one before; one that asks for nothing withdraws it.

    Parameters
    ----------
    num_cpus
        So many CPUs, on any nodes.
    bundles
        Resources that have to fit together on one node each.
    bundle_label_selectors
        For each bundle the labels its node has to have.

    Raises
    ------
    TypeError, ValueError
        Something is no amount, or there is not one selector per bundle.

    Examples
    --------
    >>> import rayjup as ray
    >>> from rayjup.autoscaler.sdk import request_resources
    >>> context = ray.init(num_cpus=1, ignore_reinit_error=True)
    >>> request_resources(bundles=[{"CPU": 1}, {"CPU": 1}])
    >>> request_resources(num_cpus=0)  # not any more
    """
    rows: list[dict[str, Any]] = []
    if num_cpus is not None:
        if isinstance(num_cpus, bool) or not isinstance(num_cpus, (int, float)):
            raise TypeError(f"request_resources(num_cpus=…) must be a number, not {type(num_cpus).__name__}.")
        if num_cpus < 0:
            raise ValueError(f"request_resources(num_cpus={num_cpus}): there is no such number of CPUs.")
        if num_cpus:
            rows.append({"resources": {"CPU": 1.0}, "count": int(num_cpus), "labels": []})
    if bundle_label_selectors is not None and len(bundle_label_selectors) != len(bundles or ()):
        raise ValueError(
            f"request_resources: {len(bundle_label_selectors)} bundle_label_selectors were given for "
            f"{len(bundles or ())} bundles; give one for each bundle."
        )
    for number, bundle in enumerate(bundles or ()):
        if not isinstance(bundle, dict):
            raise TypeError(f"request_resources(bundles=…): bundle {number} is no dict of resources.")
        for name, amount in bundle.items():
            if isinstance(amount, bool) or not isinstance(amount, (int, float)):
                raise TypeError(f"request_resources: {amount!r} of {name} in bundle {number} is no number.")
            if amount < 0:
                raise ValueError(
                    f"request_resources: {amount} of {name} in bundle {number} is less than none."
                )
        selector = bundle_label_selectors[number] if bundle_label_selectors is not None else {}
        labels = checks.label_selector("bundle_label_selectors", selector) if selector else {}
        if bundle:
            row = {"resources": bundle, "count": 1, "labels": sorted(map(list, labels.items()))}
            rows.append(row)
    link = sessions.require().runtime.link
    link.request("kv_put", _SPACE, _KEY, json.dumps(rows).encode(), True)


def create_or_update_cluster(
    cluster_config: dict[str, Any] | str,
    *,
    no_restart: bool = False,
    restart_only: bool = False,
    no_config_cache: bool = False,
) -> dict[str, Any]:
    """Start the cluster that a file (or its contents) describes, or give it new settings.

    Parameters
    ----------
    cluster_config
        Path of a cluster file, or what would be in it.
    no_restart, restart_only, no_config_cache
        Taken for compatibility: a running head is never restarted, and nothing is cached.

    Returns
    -------
    dict
        The configuration.
    """
    made = _operated(cluster_config)
    made.up(_tell)
    return made.text


def teardown_cluster(
    cluster_config: dict[str, Any] | str, workers_only: bool = False, keep_min_workers: bool = False
) -> None:
    """Stop the cluster that a file (or its contents) describes.

    Raises
    ------
    RaySystemError
        ``workers_only`` or ``keep_min_workers``: change ``max_workers`` and start it once more instead.
    """
    _operated(cluster_config).down(_tell, workers_only=workers_only or keep_min_workers)


def run_on_cluster(
    cluster_config: dict[str, Any] | str,
    *,
    cmd: str | None = None,
    run_env: str = "auto",
    tmux: bool = False,
    stop: bool = False,
    no_config_cache: bool = False,
    port_forward: tuple[int, int] | list[tuple[int, int]] | None = None,
    with_output: bool = False,
) -> str | None:
    """Run a shell command on the head's machine.

    Parameters
    ----------
    stop
        Stop the cluster afterwards.
    port_forward
        Pairs of a port here and a port there.
    with_output
        Return what the command writes.

    Raises
    ------
    RaySystemError
        The command fails.
    """
    made = _operated(cluster_config)
    pairs = [port_forward] if isinstance(port_forward, tuple) else port_forward or []
    forward = tuple(f"{here}:localhost:{there}" for here, there in pairs)
    done = made.run(cmd or "true", forward=forward, capture=True)
    if stop:
        made.down(_tell)
    if done.returncode:
        raise RaySystemError(
            f"a command on the head of {made.name} failed (exit code {done.returncode}): {cmd}\n"
            f"{(done.stderr or done.stdout).strip()[-1500:]}"
        )
    return done.stdout if with_output else None


def rsync(
    cluster_config: dict[str, Any] | str,
    *,
    source: str | None,
    target: str | None,
    down: bool,
    ip_address: str | None = None,
    use_internal_ip: bool = False,
    no_config_cache: bool = False,
    should_bootstrap: bool = True,
) -> None:
    """Copy files to the head's machine, or (``down``) from there; without both ends, the file's mounts.

    Raises
    ------
    ValueError
        One end is missing.
    """
    made = _operated(cluster_config)
    if source is None and target is None:
        for far, near in made.file.file_mounts.items():
            made.rsync(*((far, near) if down else (near, far)), down=down)
        return
    if source is None or target is None:
        raise ValueError("rsync needs both ends, source and target, or neither for the file's file_mounts.")
    if ip_address is not None:
        made.machine_at(ip_address).rsync(source, target, down=down)
    else:
        made.rsync(source, target, down=down)


def get_head_node_ip(cluster_config: dict[str, Any] | str) -> str:
    """The address of the head's machine."""
    return _operated(cluster_config).head_ip


def get_worker_node_ips(cluster_config: dict[str, Any] | str) -> list[str]:
    """The addresses of the machines for nodes, as far as the configuration names them."""
    return _operated(cluster_config).worker_ips


def bootstrap_config(cluster_config: dict[str, Any], no_config_cache: bool = False) -> dict[str, Any]:
    """A checked configuration with defaults, as :func:`fillout_defaults`."""
    return fillout_defaults(cluster_config)


def fillout_defaults(config: dict[str, Any]) -> dict[str, Any]:
    """A checked configuration with what is used where it says nothing.

    Raises
    ------
    ValueError
        It is no configuration.

    Examples
    --------
    >>> from rayjup.autoscaler.sdk import fillout_defaults
    >>> filled = fillout_defaults({"provider": {"type": "local", "worker_ips": ["10.0.0.2"]}})
    >>> filled["cluster_name"], filled["idle_timeout_minutes"], filled["max_workers"]
    ('default', 5.0, 1)
    """
    file = Operated.of(config).file
    defaults: dict[str, Any] = {
        "cluster_name": file.name,
        "max_workers": file.scaling.max_workers,
        "upscaling_speed": file.scaling.upscaling_speed,
        "idle_timeout_minutes": file.scaling.idle_timeout_s / 60,
        "auth": {},
        "file_mounts": {},
        **{name: list(lines) for name, lines in file.commands.items()},
    }
    return {**defaults, **config}


def configure_logging(
    log_style: str | None = None, color_mode: str | None = None, verbosity: int | None = None
) -> None:
    """Say how much is told of what happens: with ``verbosity`` 0 only what goes wrong.

    Parameters
    ----------
    log_style, color_mode
        Taken for compatibility: one line of plain text per message.
    """
    if verbosity is not None:
        logger.setLevel(logging.WARNING if verbosity == 0 else logging.INFO)


def register_callback_handler(
    event_name: str, callback: Callable[[dict[str, Any]], None] | list[Callable[[dict[str, Any]], None]]
) -> None:
    """Have functions called with ``{"event_name": …, "message": …}`` for each line told about a cluster.

    Raises
    ------
    ValueError
        There is no such event: there is only ``"message"``.
    """
    if event_name not in _handlers:
        raise ValueError(f"there is no event {event_name!r}; there are {', '.join(sorted(_handlers))}.")
    _handlers[event_name] += callback if isinstance(callback, list) else [callback]


def get_docker_host_mount_location(cluster_name: str) -> str:
    """Where Ray keeps files that containers of a cluster share; rayjup's nodes run without containers."""
    return f"/tmp/ray_tmp_mount/{cluster_name}"


_handlers: dict[str, list[Callable[[dict[str, Any]], None]]] = {"message": []}


def _tell(text: str) -> None:
    logger.info("%s", text)
    for handler in _handlers["message"]:
        handler({"event_name": "message", "message": text})


def _operated(config: dict[str, Any] | str) -> Operated:
    return Operated.read(config) if isinstance(config, str) else Operated.of(config)
