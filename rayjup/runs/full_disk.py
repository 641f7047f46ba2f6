"""A disk that is full: said once, and no reason to end what runs."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

_FULL = (errno.ENOSPC, errno.EDQUOT)


class FullDisk:
    """Lets a run go on while its own records cannot be written.

    Parameters
    ----------
    where
        The directory that is written to.

    Examples
    --------
    >>> import errno
    >>> from rayjup.runs.full_disk import FullDisk
    >>> disk = FullDisk("/results")
    >>> with disk.tolerated("the journal"):
    ...     raise OSError(errno.ENOSPC, "No space left on device")
    >>> disk.lacking
    {'the journal'}
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self.lacking: set[str] = set()
        """What could not be written, at least once."""

    @contextmanager
    def tolerated(self, what: str) -> Iterator[None]:
        """Whatever writes ``what``; other failures than a full disk are raised."""
        try:
            yield
        except OSError as error:
            self.accept(error, what)

    def accept(self, error: OSError, what: str) -> None:
        """Note that ``what`` could not be written; raises what has other reasons than a full disk."""
        if error.errno not in _FULL:
            raise error
        if not self.lacking:
            logger.warning(
                "no space is left for %s in %s: trials go on, and what cannot be written is missing there. "
                "Delete something, or choose another storage_path.",
                what,
                self.where,
            )
        self.lacking.add(what)
