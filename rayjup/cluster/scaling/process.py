"""The controller as a process of its own: ``python -m rayjup.cluster.scaling.process``, with JSON as input.

It ends with its cluster, however that ends, and gives back what it has started; a signal ends it alone. A
head that is being replaced is waited for.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from rayjup.base.exceptions import RaySystemError
from rayjup.cluster import launchers
from rayjup.cluster.descriptors import Descriptor, process_start_time
from rayjup.cluster.observer import Observer
from rayjup.cluster.scaling.controller import Controller
from rayjup.cluster.scaling.settings import ScalingSettings

logger = logging.getLogger(__name__)

_EVERY_S = 0.2
_PAUSES = 4  # times as long as it took, at least
_ANSWER_S = 10.0


def main() -> None:
    """Scale until the cluster has ended."""
    config = json.load(sys.stdin)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    cluster = Descriptor(**config["cluster"])
    try:
        launcher = launchers.make(cluster, config["launcher"])
    except (ValueError, TypeError, ImportError, OSError, RaySystemError) as error:
        _report(str(error))
        return
    observer = Observer(cluster, timeout_s=_ANSWER_S)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    settings = ScalingSettings.from_dict(config["settings"])
    controller = Controller(observer.request, settings, launcher)
    Path(cluster.session_dir, "monitor").write_text(
        f"{os.getpid()} {process_start_time(os.getpid())}", encoding="ascii"
    )
    _report("")
    try:
        while not ended.is_set() and cluster.is_alive():
            began = time.monotonic()
            try:
                controller.step()
            except ConnectionError as error:  # a head that is being replaced, or the end of the cluster
                logger.info("%s", error)
            except Exception:  # it may go better the next time, and a cluster that grows no more is no better
                logger.exception("the size of the cluster could not be decided")
            # The head of a cluster of thousands is busy a while answering: it is asked less often.
            ended.wait(max(_EVERY_S, _PAUSES * (time.monotonic() - began)))
    finally:
        observer.close()
        controller.close(end_nodes=not cluster.is_alive())


def _report(error: str) -> None:
    os.write(1, (json.dumps({"error": error}) + "\n").encode())
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # who waits for the end of the report is to see it
    os.close(null)


if __name__ == "__main__":
    main()
