"""Where else the objects of a process lie: copies on nodes of other hosts, and objects that were made there.

The owner hears of each copy. It frees them with the object, and turns to one when the first is lost.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rayjup.engine.objects.store import Descriptor, Segment, Store

Copy = tuple[str, str, str]
"""Node (12 digits), path there, host."""


def note(store: Store, path: str, copy: Copy) -> None:
    """A node has got a copy of the object at ``path``; it is freed at once if the object is."""
    segment = store.live(path)
    if segment is None:
        store.unlink_elsewhere(copy[0], copy[1])
    elif segment.copies is None:
        segment.copies = [copy]
    else:
        segment.copies = [c for c in segment.copies if c[0] != copy[0]] + [copy]


def forget(store: Store, path: str, node: str) -> None:
    """A node has given up its copy."""
    segment = store.live(path)
    if segment is not None and segment.copies:
        segment.copies = [copy for copy in segment.copies if copy[0] != node]


def free(store: Store, segment: Segment) -> None:
    """Free all copies of an object that ends."""
    copies, segment.copies = segment.copies, None
    for node, path, _ in copies or ():
        store.unlink_elsewhere(node, path)


def other(segment: Segment, lost: str) -> Descriptor | None:
    """Where to read an object that somebody cannot read at ``lost``."""
    descriptor = segment.descriptor
    for _, path, host in reversed(segment.copies or ()):
        if descriptor is not None and path != lost:
            return (path, *descriptor[1:4], host)
    return None


def turn_to_copy(store: Store, segment: Segment) -> bool:
    """Take a copy for the object, whose first place is lost; False where there is none."""
    descriptor = segment.descriptor
    if descriptor is None:
        return False
    while segment.copies:
        node, path, host = segment.copies.pop()
        if path == descriptor[0] or path in store.gone or (host == store.host and not os.path.exists(path)):
            continue
        store.rename(segment, (path, *descriptor[1:4], host))
        store.keep_elsewhere(node, path)
        return True
    return False
