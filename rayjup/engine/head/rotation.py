"""The exchange of the secrets of a cluster that runs: the token of its processes, and its certificates.

1. **Both count.** All nodes are told the new secrets, show the old ones and take either. Whoever comes with
   the old file or the new one is let in. This lasts as long as was asked for.
2. **The new ones are shown.** When all nodes do so, the old ones have no use any more,
3. and are forgotten: who shows them is refused.

Each step begins when all nodes have taken the one before. Connections that are there stay. What was begun
stands in the journal, so another head goes on with it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rayjup.engine.lane import credentials

if TYPE_CHECKING:
    from rayjup.engine.head.head import Head

SPACE, KEY = "rotation", b"state"
NONE, BOTH, NEW = "none", "both", "new"
_ANSWER_S = 10.0
_SETTLE_S = 0.5  # processes have heard by then what their agents have told them


class Rotation:
    """Belongs to one head.

    Attributes
    ----------
    token
        What processes of different hosts show each other now.
    """

    def __init__(self, head: Head) -> None:
        self._head = head
        self.token = secrets.token_hex(32)
        self._own: str | None = None
        self._published: str | None = None
        self._state: dict[str, Any] = {"step": NONE, "number": 0}
        self._serials = itertools.count(1)
        self._serial = 0  # of what was told last
        self._waiting: set[str] = set()
        self._then: Callable[[], None] = lambda: None
        self._problem = ""
        self._known = False
        self._timer: asyncio.TimerHandle | None = None
        self.ops: dict[str, Any] = {
            "credentials_rotate": self.rotate,
            "credentials_end": self.end_now,
            "credentials_state": self.state,
        }

    def begin(self, token: str, own: str | None, published: str | None) -> None:
        """Take over: where nothing else is written down, ``token`` counts.

        Parameters
        ----------
        own
            The head's file with credentials; None: it listens on this machine only.
        published
            The file that people copy to other machines.
        """
        self.token, self._own, self._published = token, own, published
        text = self._head.kv.get((SPACE, KEY))
        if text is None:
            return
        self._state = json.loads(text)
        self.token = self._state["token"]
        if self._state["step"] != NONE:
            self._known = True  # by nodes that come back
            self._write()
            self._at(max(_SETTLE_S, self._state["until"] - time.time()), self._end_of_grace)

    # -- requests

    def state(self, client: str) -> dict[str, Any]:
        """How far it is: the step, whether all nodes know, when the old secrets end, what went wrong."""
        known = self._state["step"] != BOTH or self._known
        own = {key: self._state.get(key) for key in ("step", "number", "until")}
        return {**own, "known": known, "problem": self._problem, "published": self._published}

    def rotate(self, client: str, text: str | None, grace_s: float) -> int:
        """Begin an exchange; its number.

        Parameters
        ----------
        text
            New credentials; None for a cluster that has none.

        Raises
        ------
        RuntimeError
            One is under way.
        """
        if self._state["step"] != NONE:
            left = max(0.0, self._state["until"] - time.time())
            raise RuntimeError(
                f"the credentials are being exchanged already: wait until the old ones end, in {left:.0f} s."
            )
        old = None
        if self._own is not None and text is not None:
            with open(self._own, encoding="ascii") as file:
                old = file.read()
            credentials.combined(text, old)  # raises what is wrong before anybody is told
        self._state = {
            "step": BOTH,
            "number": self._state["number"] + 1,
            "token": self.token,
            "older": self.token,
            "newer": secrets.token_hex(32),
            "old": old,
            "new": text if old is not None else None,
            "grace": grace_s,
            "until": time.time() + grace_s,
        }
        self._problem, self._known = "", False
        try:
            self._write()
        except OSError as error:
            self._give_up(f"the head cannot write {error.filename}: {error.strerror}")
        else:
            self._save()
            self._tell_all(self._is_known)
        return int(self._state["number"])

    def end_now(self, client: str) -> None:
        """Refuse the old secrets now, where all nodes know the new ones.

        Raises
        ------
        RuntimeError
            There are no old ones, or not all nodes know the new ones.
        """
        if self._state["step"] != BOTH or not self._known:
            raise RuntimeError("no exchange of credentials waits for its end.")
        self._state["until"] = time.time()
        self._end_of_grace()

    # -- steps

    def _is_known(self) -> None:
        self._known = True
        self._state["until"] = time.time() + self._state["grace"]
        self._save()
        self._at(max(_SETTLE_S, self._state["grace"]), self._end_of_grace)

    def _end_of_grace(self) -> None:
        self._state |= {"step": NEW, "token": self._state["newer"]}
        self._written()
        self._tell_all(lambda: self._at(_SETTLE_S, self._end))

    def _end(self) -> None:
        kept = {"step": NONE, "number": self._state["number"], "token": self._state["newer"]}
        self._state = {**kept, "text": self._state["new"]}
        self._written()
        self._tell_all(self._cancel)

    def _give_up(self, why: str) -> None:
        """As it was before."""
        self._problem = why
        state = self._state
        self._state = {"step": NONE, "number": state["number"], "token": state["older"], "text": state["old"]}
        self._written()
        self._tell_all(self._cancel)

    def _written(self) -> None:
        self.token = self._state["token"]
        try:
            self._write()
        except OSError as error:
            self._problem = f"the head cannot write {error.filename}: {error.strerror}"
        self._save()

    def _save(self) -> None:
        self._head.kv[(SPACE, KEY)] = json.dumps(self._state).encode()
        self._head.saved.kv(SPACE, KEY)

    # -- telling

    def secrets(self) -> tuple[bytes, bytes, str, str]:
        """For a node: the token, another one that is taken, its credentials, and those for its user."""
        state = self._state
        other = {BOTH: "newer", NEW: "older"}.get(state["step"])
        also = bytes.fromhex(state[other]) if other else b""
        return (bytes.fromhex(self.token), also, *self._texts())

    def _texts(self) -> tuple[str, str]:
        state = self._state
        if state["step"] == NONE:
            text = state.get("text") or ""
            return text, text
        if state["new"] is None:
            return "", ""
        old, new = state["old"], state["new"]
        published = credentials.combined(new, old)
        return (credentials.combined(old, new) if state["step"] == BOTH else published), published

    def _write(self) -> None:
        """The head's own files."""
        own, published = self._texts()
        for path, text in ((self._own, own), (self._published, published)):
            if path is not None and text:
                credentials.write(path, text)

    def _tell_all(self, then: Callable[[], None]) -> None:
        """Tell all nodes what counts now; ``then`` is called when all have taken it."""
        self._then = then
        self._serial = next(self._serials)
        self._waiting = set(self._head.nodes)
        message = ("credentials", self._serial, *self.secrets())
        for node_id in list(self._waiting):
            self._head.to_node(node_id, message)
        self._at(_ANSWER_S, self._late)
        self._maybe_on()

    def on_kept(self, node_id: str, serial: int, problem: str) -> None:
        """A node shows and takes what it was told."""
        if serial != self._serial or node_id not in self._waiting:
            return
        self._waiting.discard(node_id)
        if problem:
            name = self._head.nodes[node_id].info["name"]
            self._failed(f"the node {name} cannot take new credentials: {problem}")
        else:
            self._maybe_on()

    def node_left(self, node_id: str) -> None:
        """Nobody waits for it."""
        if node_id in self._waiting:
            self._waiting.discard(node_id)
            self._maybe_on()

    def _maybe_on(self) -> None:
        if not self._waiting:
            self._cancel()
            self._then()

    def _late(self) -> None:
        nodes = self._head.nodes
        names = ", ".join(nodes[node_id].info["name"] for node_id in self._waiting if node_id in nodes)
        self._waiting.clear()
        self._failed(f"no answer from {names} within {_ANSWER_S:g} s")

    def _failed(self, why: str) -> None:
        if self._state["step"] == BOTH:
            self._give_up(f"{why}. Nothing has changed.")
        else:  # too late to go back: those nodes are on their own
            self._problem = self._problem or why
            self._maybe_on()

    def _at(self, delay_s: float, what: Callable[[], None]) -> None:
        self._cancel()
        self._timer = asyncio.get_running_loop().call_later(delay_s, what)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
