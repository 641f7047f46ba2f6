"""Things shown in a notebook cell that stay up to date: the base of all displays, and the cluster's.

One output carries up to three forms of the same thing. HTML and text are always there, so a saved,
exported or headless-run notebook reads well. A widget view is added while it can be live: the
front end reports through ``_view_count`` how many views of it are open, which is how a display
knows that somebody looks. A widget dies with its kernel, and a reopened notebook would then show
an error in its place; therefore a display ends, and rests after a quiet minute, as HTML and text
alone (`ClusterDisplay.freeze`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython

from rayjup.notebook.render import render_html, render_text

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from rayjup.notebook.feed import Feed

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"

# A front end draws a whole output anew when its saved form changes; while a widget shows the live
# numbers anyway, that happens at most this often.
_SAVE_INTERVAL_S = 5.0


class LiveDisplay:
    """Something shown in a cell, kept up to date by the kernel's `Feed` until the connection ends.

    Shown by being the last expression of a cell or through ``IPython.display.display``. It holds no
    objects of the cluster, so IPython's output cache may keep it. Subclasses say how it looks
    (`html`, `text`) and what a new snapshot of the cluster changes (`refresh`).
    """

    max_live = 5
    """So many of a class stay live; older ones are frozen."""

    def __init__(self, feed: Feed) -> None:
        self.display_id = uuid.uuid4().hex
        self._feed = feed
        self._status = ""
        self._saved_html = ""
        self._saved_at = 0.0
        self._live_html = ""
        self._parent: Any = None
        self._box: Any = None  # ipywidgets.VBox, from the first time it is shown
        self._html: Any = None  # the ipywidgets.HTML that shows the numbers
        self._live = False
        self._seen = False

    # ------------------------------------------------------------ for subclasses

    def html(self, *, status: str = "", stamp: bool = False) -> str:
        """The present state; ``stamp``: with its time, for an output that is no longer updated."""
        raise NotImplementedError

    def text(self, *, status: str = "", stamp: bool = False) -> str:
        """The same as text."""
        raise NotImplementedError

    def refresh(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what a snapshot of the cluster says."""
        raise NotImplementedError

    def live_html(self) -> str:
        """What the widget shows."""
        return self.html()

    def controls(self) -> list[Any]:
        """Widgets above the numbers."""
        return []

    def footer(self) -> list[Any]:
        """Widgets below the numbers."""
        return []

    # ------------------------------------------------------------ what is shown

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return self.bundle()

    def _ipython_display_(self) -> None:
        # Published by hand: an execute_result would carry no display id to update it by.
        shell = get_ipython()
        if shell is None:
            print(self)  # noqa: T201
        elif getattr(shell, "kernel", None) is None or not self._feed.watching:
            self._publish(shell, update=False)
        else:
            self._parent = shell.get_parent()
            self._make_widget()
            self._publish(shell, update=False)
            self._feed.add(self, shell)

    def __repr__(self) -> str:
        return self.text(status=self._status)

    def bundle(self) -> dict[str, Any]:
        """The MIME bundle of the present state; the widget view only while live."""
        data: dict[str, Any] = {
            "text/plain": self.text(status=self._status, stamp=True),
            "text/html": self.html(status=self._status, stamp=True),
        }
        if self._live:
            data[WIDGET_MIME] = {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}
        return data

    # ------------------------------------------------------------ whether anybody looks

    @property
    def live(self) -> bool:
        """True from being shown until frozen, and again when thawed."""
        return self._live

    @property
    def watched(self) -> bool:
        """True while a front end has a view of the widget open."""
        return self._live and bool(self._box._view_count)

    @property
    def wanted(self) -> bool:
        """True while updates are worth sending: a view is open, or none was reported yet.

        A busy kernel reads the front end's report only between two cells, so silence at first
        doesn't mean that nobody looks.
        """
        return self.live and (self.watched or not self._seen)

    def _on_views(self, change: Mapping[str, Any]) -> None:
        if change["new"]:
            self._seen = True
            self._feed.wake()

    # ------------------------------------------------------------ updates, called by the feed

    def update_live(self, snapshot: Mapping[str, Any]) -> bool:
        """Send the snapshot to the widget; False when nothing visible has changed."""
        self.refresh(snapshot)
        return self._send_live(self.live_html())

    def update_saved(self, shell: InteractiveShell, now: float) -> None:
        """Replace the form that is saved with the notebook, if it has changed."""
        if self.watched and now - self._saved_at < _SAVE_INTERVAL_S:
            return
        if self.html(status=self._status) != self._saved_html:
            self._publish(shell, update=True)

    def freeze(
        self, shell: InteractiveShell, snapshot: Mapping[str, Any] | None = None, status: str = ""
    ) -> None:
        """Leave HTML and text alone in the output."""
        self._status = status
        self._live = False
        if snapshot is not None:
            self.refresh(snapshot)
        # A page that was reloaded no longer knows the output by its display id; it shows the
        # widget, which therefore stays open and says the same.
        self._send_live(self.html(status=status, stamp=True))
        self._publish(shell, update=True)

    def thaw(self, shell: InteractiveShell) -> None:
        """Make a frozen display live again."""
        self._live = True
        self._send_live(self.live_html())
        self._publish(shell, update=True)

    def _send_live(self, html: str) -> bool:
        if self._html is None or html == self._live_html:
            return False
        self._live_html = html
        self._html.value = html
        return True

    def _make_widget(self) -> None:
        # Imported here: it takes longer than everything else %load_ext does together.
        import ipywidgets

        self._live = True
        self._live_html = self.live_html()
        self._html = ipywidgets.HTML(self._live_html)
        self._box = ipywidgets.VBox([*self.controls(), self._html, *self.footer()])
        self._box._view_count = 0  # asks the front end to keep count from now on
        self._box.observe(self._on_views, "_view_count")

    def _publish(self, shell: InteractiveShell, *, update: bool) -> None:
        self._saved_html = self.html(status=self._status)
        self._saved_at = time.monotonic()
        in_thread(shell, self._parent)(
            data=self.bundle(), metadata={}, transient={"display_id": self.display_id}, update=update
        )


class ClusterDisplay(LiveDisplay):
    """The live display of the cluster this notebook is connected to."""

    def __init__(self, feed: Feed, snapshot: Mapping[str, Any]) -> None:
        super().__init__(feed)
        self._snapshot = snapshot

    def html(self, *, status: str = "", stamp: bool = False) -> str:
        return render_html(self._snapshot, status=status, stamp=stamp)

    def text(self, *, status: str = "", stamp: bool = False) -> str:
        return render_text(self._snapshot, status=status, stamp=stamp)

    def refresh(self, snapshot: Mapping[str, Any]) -> None:
        self._snapshot = snapshot


def in_thread(shell: InteractiveShell, parent: Any) -> Callable[..., None]:
    """``display_pub.publish`` that also works in a thread which knows no cell.

    Output is bound to a cell by its parent header, which ipykernel keeps per thread; in the
    thread of a cell the present one is the right one, elsewhere the cell of the display is.
    """
    import threading

    publish: Callable[..., None] = shell.display_pub.publish
    set_parent = getattr(shell, "set_thread_parent", None)
    if threading.current_thread() is threading.main_thread() or set_parent is None or parent is None:
        return publish

    def bound(**message: Any) -> None:
        tokens = set_parent(parent)
        try:
            publish(**message)
        finally:
            shell.reset_thread_parent(tokens)  # type: ignore[attr-defined]

    return bound
