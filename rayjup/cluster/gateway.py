"""Clusters of dask-gateway: made there, joined through its proxy, ended there.

Where the gateway is, and who one is for it, stands in Dask's configuration (``gateway``), as for all programs
that use it. Its client runs in a process of its own (``gateway_helper``): drivers do not import Dask.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import credentials
from rayjup.cluster.descriptors import runtime_dir

SCHEME = "gateway://"
_TIMEOUT_S = 300.0  # a gateway may have to find machines first
_KEYS = ("address", "proxy_address", "options")


def is_address(address: str) -> bool:
    """Whether an address is that of a scheduler behind a gateway's proxy."""
    return address.startswith(SCHEME)


def access(address: str) -> str:
    """Have the gateway hand out the credentials of the cluster at ``address``; the private file with them.

    Raises
    ------
    ConnectionError
        The gateway has no such cluster for this user, or does not answer.
    """
    name = address.rstrip("/").rpartition("/")[2]
    known = next((each for each in _records() if each["id"] == name), {})
    try:
        answer = _ask("connect", {**known, "id": name, "scheduler": address})
    except RaySystemError as error:
        raise ConnectionError(str(error)) from error
    return _keep(answer)


def address_of(name: str) -> str | None:
    """The address of the cluster that was made under this name; None where none was."""
    record = _read(name)
    return str(record["scheduler"]) if record is not None else None


def up(name: str, provider: Mapping[str, Any], workers: int) -> str:
    """Have the gateway make a cluster, or give the one of this name another number of workers.

    Returns
    -------
    str
        Its address, for ``rayjup.init``.

    Raises
    ------
    RaySystemError
        The gateway makes none, and why.
    """
    wanted = {key: provider[key] for key in _KEYS if provider.get(key) is not None}
    answer = _ask("up", {**wanted, **(_read(name) or {}), "workers": workers})
    _keep(answer)
    path = _path(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    record = {**wanted, "id": answer["id"], "scheduler": answer["scheduler"]}
    path.write_text(json.dumps(record), encoding="utf-8")
    return str(answer["scheduler"])


def runs(name: str) -> bool:
    """Whether the cluster that was made under this name runs."""
    record = _read(name)
    return record is not None and bool(_ask("runs", record)["runs"])


def down(name: str) -> bool:
    """Have the gateway end the cluster of this name; False where none was made."""
    record = _read(name)
    if record is None:
        return False
    _ask("down", record)
    _credentials(record["id"]).unlink(missing_ok=True)
    _path(name).unlink(missing_ok=True)
    return True


def _ask(what: str, about: Mapping[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "rayjup.cluster.gateway_helper", what],
        input=json.dumps(dict(about)),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    lines = done.stdout.splitlines()
    if not lines:
        raise RaySystemError(f"dask-gateway's client failed:\n{done.stderr.strip()[-1500:]}")
    answer: dict[str, Any] = json.loads(lines[-1])
    if "error" in answer:
        raise RaySystemError(answer["error"])
    return answer


def _keep(answer: Mapping[str, Any]) -> str:
    """Credentials as a file that Dask can read, too: the certificate is its own authority."""
    path = _credentials(answer["id"])
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials.write(str(path), f"{answer['certificate'].rstrip()}\n{answer['key'].rstrip()}\n")
    return str(path)


def _credentials(cluster: str) -> Path:
    return runtime_dir() / "gateways" / f"{cluster}.pem"


def _path(name: str) -> Path:
    return runtime_dir() / "gateways" / f"{name.replace(os.sep, '_')}.json"


def _read(name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(_path(name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _records() -> list[dict[str, Any]]:
    names = [path.stem for path in sorted((runtime_dir() / "gateways").glob("*.json"))]
    return [each for name in names if (each := _read(name)) is not None]
