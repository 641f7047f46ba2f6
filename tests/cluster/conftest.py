"""Tests of the engine on real clusters. Remote functions are defined inside the tests, to travel by value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
from support import clusters


@pytest.fixture(scope="session")
def eventually() -> Callable[..., None]:
    """``eventually(condition, timeout_s=10)``: poll until true, fail when the time is over."""
    return clusters.poll


@pytest.fixture
def ray(ray_cluster: ModuleType) -> ModuleType:
    """rayjup, connected to a cluster of four CPUs that the tests of the file share."""
    return ray_cluster


@pytest.fixture
def own() -> Iterator[ModuleType]:
    """rayjup, not connected; what the test connects to is left at its end."""
    import rayjup

    assert not rayjup.is_initialized()
    yield rayjup
    rayjup.shutdown()


@pytest.fixture
def freed(ray: ModuleType) -> Callable[[], None]:
    """A function that fails unless, within two seconds, the store holds no more than it does now."""
    clusters.trim()
    before = frozenset(clusters.objects())
    return lambda: clusters.check_freed(before)
