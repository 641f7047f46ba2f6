"""What of the head's tables outlives the head: rows in an SQLite file of the session's directory.

Changes are gathered and written in one transaction per turn of the event loop, before any message
of that turn is sent. The file is in WAL mode and not synced: it has to survive the end of the
process, not that of the machine, with which everything else ends, too.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

Key = str | bytes
VERSION = 1


class Journal:
    """Rows by kind and key, each a pickled value.

    Parameters
    ----------
    path
        The file; made (mode 0600) if it is not there.

    Attributes
    ----------
    life
        0 for the first head that uses the file, 1 for the next, and so on.

    Raises
    ------
    ValueError
        The file was written by another version of rayjup.
    """

    def __init__(self, path: str) -> None:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS rows (kind TEXT, key BLOB, value BLOB, PRIMARY KEY (kind, key))"
            " WITHOUT ROWID"
        )
        self._changed: dict[tuple[str, Key], Callable[[], Any] | None] = {}
        self._scheduled = False
        found = self.get("meta", "head")
        if found is not None and found["version"] != VERSION:
            raise ValueError(
                f"the journal {path} has version {found['version']}, this rayjup writes version {VERSION}: "
                "stop the cluster and start it again with one version of rayjup."
            )
        self.life = 0 if found is None else found["life"] + 1
        self.note("meta", "head", lambda: {"version": VERSION, "life": self.life})
        self.flush()

    def note(self, kind: str, key: Key, value: Callable[[], Any] | None) -> None:
        """A row has changed: ``value()`` is what it is when it is written; None: it is gone."""
        self._changed[(kind, key)] = value
        if not self._scheduled:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # the caller flushes
            self._scheduled = True
            loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what has changed."""
        self._scheduled = False
        if not self._changed:
            return
        changed, self._changed = self._changed, {}
        gone = [row for row, value in changed.items() if value is None]
        rows = [(*row, pickle.dumps(value(), 5)) for row, value in changed.items() if value is not None]
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM rows WHERE kind=? AND key=?", gone)
        self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
        self._db.execute("COMMIT")

    def get(self, kind: str, key: Key) -> Any:
        """The value of a row; None where there is none."""
        row = self._db.execute("SELECT value FROM rows WHERE kind=? AND key=?", (kind, key)).fetchone()
        return None if row is None else pickle.loads(row[0])

    def rows(self, kind: str) -> Iterator[tuple[Key, Any]]:
        """All rows of a kind, by key."""
        for key, value in self._db.execute("SELECT key, value FROM rows WHERE kind=? ORDER BY key", (kind,)):
            yield key, pickle.loads(value)

    def close(self) -> None:
        """Write what has changed, and close the file."""
        self.flush()
        self._db.close()
