"""Options with which a cluster was started from here, noted beside it: it can be restarted as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rayjup.cluster.descriptors import Descriptor
from rayjup_lab.services.clusters.options import StartOptions

_FILE = "panel-options.json"


def note(cluster: Descriptor, options: StartOptions) -> None:
    """Write down what was asked for."""
    said = {**options.given, "name": cluster.name}
    if options.profile:
        said["profile"] = options.profile
    if cluster.started_by == "panel":  # else it is somebody else's
        Path(cluster.session_dir, _FILE).write_text(json.dumps(said), encoding="utf-8")


def noted(cluster: Descriptor) -> dict[str, Any] | None:
    """What was asked for; None for a cluster that was started elsewhere."""
    try:
        said: dict[str, Any] = json.loads(Path(cluster.session_dir, _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return said
