"""Modules that a node imports once, for all processes of an environment."""

from __future__ import annotations

from types import ModuleType


def test_processes_find_modules_imported_and_share_where_they_come_from(ray_cluster: ModuleType) -> None:
    @ray_cluster.remote
    def looks() -> tuple[bool, int]:
        import os
        import sys

        with open(f"/proc/{os.getpid()}/stat") as file:
            parent = int(file.read().rpartition(")")[2].split()[1])
        return "colorsys" in sys.modules, parent

    # One that does not exist is passed over: who needs it will say so.
    preloading = looks.options(runtime_env={"env_vars": {"RAYJUP_PRELOAD": "colorsys,no_such_module"}})
    found = ray_cluster.get([preloading.remote() for _ in range(4)])
    assert {loaded for loaded, _ in found} == {True}
    assert len({parent for _, parent in found}) == 1
    loaded, parent = ray_cluster.get(looks.remote())
    assert not loaded and parent != found[0][1]
