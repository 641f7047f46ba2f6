"""What two nodes say to each other: a request per chunk, an answer, and the bytes as they are.

Nothing here is pickled: who may ask is known, but what comes from another host is read as numbers only.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any

from rayjup.engine.lane.secure import receive_exactly

_REQUEST = struct.Struct("<HHQQ")  # length of the name, of the node, offset, length
_ANSWER = struct.Struct("<BQ")  # how, bytes that follow
NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{16}-[0-9]+\Z")
_NODE = re.compile(r"[0-9a-f]{12}\Z")
HERE, BUSY, GONE, LATER = range(4)
_LONGEST = 1 << 16  # of an answer that is no chunk


def request(name: str, node: str, offset: int, length: int) -> bytes:
    """Ask for a part of the object ``name``, as the node ``node``."""
    first, second = name.encode(), node.encode()
    return _REQUEST.pack(len(first), len(second), offset, length) + first + second


def read_request(sock: Any) -> tuple[str, str, int, int] | None:
    """Name, node, offset and length; None when the other side has ended the connection.

    Raises
    ------
    ValueError
        It is no request.
    """
    try:
        head = receive_exactly(sock, _REQUEST.size)
    except ConnectionError:
        return None
    first, second, offset, length = _REQUEST.unpack(head)
    if first > 100 or second > 100:
        raise ValueError("names are shorter")
    name = receive_exactly(sock, first).decode("ascii")
    node = receive_exactly(sock, second).decode("ascii")
    if not NAME.match(name) or not _NODE.match(node):
        raise ValueError("no name of an object or a node")
    return name, node, offset, length


def answer(how: int, nbytes: int) -> bytes:
    """What goes before the bytes of a chunk."""
    return _ANSWER.pack(how, nbytes)


def refusal(how: int, others: list[str]) -> bytes:
    """Why there are no bytes, and who may have them."""
    body = json.dumps(others).encode()
    return _ANSWER.pack(how, len(body)) + body


def read_answer(sock: Any, expected: int) -> tuple[int, list[str]]:
    """How a request is answered; with ``HERE``, ``expected`` bytes follow.

    Raises
    ------
    ValueError
        It is no answer to that request.
    """
    how, length = _ANSWER.unpack(receive_exactly(sock, _ANSWER.size))
    if how == HERE:
        if length != expected:
            raise ValueError(f"{length} bytes are sent where {expected} were asked for")
        return how, []
    if how not in (BUSY, GONE, LATER) or length > _LONGEST:
        raise ValueError("no answer")
    others = json.loads(receive_exactly(sock, length))
    return how, [node for node in others if isinstance(node, str) and _NODE.match(node)]
