"""Credentials as text: a certificate with its key, and the authorities whose certificates are believed."""

from __future__ import annotations

import os
import re
import tempfile

_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----.*?-----END \1-----\n?", re.DOTALL)


def parts(text: str) -> tuple[str, list[str]]:
    """What is shown (a certificate and its key), and the authorities.

    Raises
    ------
    ValueError
        One of them is missing.
    """
    own, authorities = "", []
    for found in _BLOCK.finditer(text):
        kind, block = found[1], found[0].rstrip("\n") + "\n"
        if kind == "CERTIFICATE" and own and "CERTIFICATE" in own:
            authorities.append(block)
        elif kind == "CERTIFICATE" or kind.endswith("PRIVATE KEY"):
            own += block
    if "CERTIFICATE" not in own or "PRIVATE KEY" not in own or not authorities:
        raise ValueError("credentials are a certificate, its key, and the certificate of an authority")
    return own, authorities


def combined(shown: str, also_believed: str) -> str:
    """Credentials that show the certificate of the first, and believe the authorities of both."""
    own, authorities = parts(shown)
    more = [each for each in parts(also_believed)[1] if each not in authorities]
    return own + "".join([*authorities, *more])


def write(path: str, text: str) -> None:
    """Write credentials so that only this user can read them, at once."""
    fd, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")  # mode 0600
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(text)
        os.replace(new, path)
    except OSError:
        os.unlink(new)
        raise
