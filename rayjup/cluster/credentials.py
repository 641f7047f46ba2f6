"""What lets a machine into a cluster: one private file with certificate, key and the cluster's authority.

Both sides of every connection between machines show the certificate; who has none gets nothing. The
authority is made for one cluster, signs once, and its key is thrown away: nobody can make another one.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

from rayjup.base.exceptions import RaySystemError
from rayjup.engine.lane.credentials import write as write

VARIABLE = "RAYJUP_CREDENTIALS"
"""Names the file where no option does."""
_DAYS = "3650"
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_PARTS = ("-----BEGIN CERTIFICATE-----", "PRIVATE KEY-----")


def make(path: str) -> str:
    """Write new credentials to ``path`` (mode 0600), unless there are some; the absolute path.

    Raises
    ------
    RaySystemError
        There is no program ``openssl``, or the file cannot be written.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.exists(path):
        return check(path)
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        write(path, fresh(os.path.dirname(path)))
    except OSError as error:
        raise RaySystemError(f"the credentials {path} cannot be written: {error.strerror}") from error
    return path


def fresh(directory: str) -> str:
    """New credentials as text; keys lie in ``directory`` for a moment.

    Raises
    ------
    RaySystemError
        There is no program ``openssl``.
    """
    if shutil.which("openssl") is None:
        raise RaySystemError(
            "certificates for a cluster of several machines are made with the program openssl, which is not "
            "installed: install it, or pass credentials that were made elsewhere."
        )
    with tempfile.TemporaryDirectory(dir=directory) as work:
        # Each authority has a name of its own: while credentials are exchanged two are believed.
        name = ("-days", _DAYS, "-subj", f"/CN=rayjup {secrets.token_hex(4)}")
        _openssl(work, "req", "-x509", *_CURVE, "-keyout", "ca.key", "-out", "ca.pem", *name)
        _openssl(work, "req", *_CURVE, "-keyout", "node.key", "-out", "node.csr", "-subj", "/CN=rayjup node")
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", "2", "-days", _DAYS)
        _openssl(work, "x509", "-req", "-in", "node.csr", "-out", "node.pem", *signing)
        # The node's certificate first: that is the one which is shown.
        return "".join(Path(work, part).read_text() for part in ("node.pem", "node.key", "ca.pem"))


def _openssl(directory: str, *arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RaySystemError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-500:]}")


def check(path: str) -> str:
    """The absolute path of credentials that are there and nobody else's.

    Raises
    ------
    RaySystemError
        There are none, or others can read them.
    """
    path = os.path.abspath(os.path.expanduser(path))
    try:
        text = Path(path).read_text(encoding="ascii")
        mode = os.stat(path).st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        raise RaySystemError(
            f"the credentials {path} cannot be read ({error}): copy the file that "
            "'rayjup start --head --port …' named on the cluster's first machine."
        ) from error
    if mode & 0o077:
        raise RaySystemError(
            f"the credentials {path} can be read by others (mode {mode:o}): whoever has them can run "
            f"programs in the cluster. Run 'chmod 600 {path}'."
        )
    if not all(part in text for part in _PARTS):
        raise RaySystemError(
            f"{path} holds no credentials: a certificate, its key and an authority are needed."
        )
    return path


def given(path: str | None = None) -> str | None:
    """The credentials that an option or the environment names; None where neither does."""
    path = path or os.environ.get(VARIABLE)
    return check(path) if path else None


def for_dask(path: str) -> dict[str, str]:
    """Environment variables by which processes that use Dask show these credentials."""
    variables = {VARIABLE: path, "DASK_DISTRIBUTED__COMM__TLS__CA_FILE": path}
    for role in ("CLIENT", "WORKER", "SCHEDULER"):
        variables[f"DASK_DISTRIBUTED__COMM__TLS__{role}__CERT"] = path
        variables[f"DASK_DISTRIBUTED__COMM__TLS__{role}__KEY"] = path
    return variables
