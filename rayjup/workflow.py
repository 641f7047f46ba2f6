"""``ray.workflow``: no longer a part of Ray, and so of rayjup."""

raise RuntimeError(
    "workflows are no longer a part of Ray: 2.47 was the last release that had them, and rayjup follows "
    "2.60. Chain tasks with .remote() or .bind(), and keep what must survive a crash in files."
)
