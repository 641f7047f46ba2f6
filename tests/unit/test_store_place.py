"""Where a node puts its objects, by what there is."""

from __future__ import annotations

import pytest

from rayjup.base.exceptions import RaySystemError
from rayjup.engine.node import store_place
from rayjup.engine.node.store_place import StorePlace, default_capacity

GB = 1 << 30
NODE = "0123456789abcdef"


@pytest.mark.parametrize(
    ("memory", "shm", "expected"),
    [
        (10 * GB, 20 * GB, 3 * GB),  # the usual share
        (10 * GB, 2 * GB, 1.8 * GB),  # what shared memory has
        (10 * GB, 64 << 20, 3 * GB),  # a container's 64 MB are not worth it: files
        (10 * GB, None, 3 * GB),
        (1 * GB, 0.4 * GB, 0.3 * GB),
    ],
)
def test_the_default_capacity(memory, shm, expected):
    assert default_capacity(memory, shm) == pytest.approx(expected)


def choose(tmp_path, monkeypatch, capacity, shm, **settings):
    monkeypatch.setattr(store_place, "shm_free", lambda: shm)
    return StorePlace.choose(NODE, str(tmp_path), capacity, settings)


def test_shared_memory_where_it_is_large_enough(tmp_path, monkeypatch):
    place = choose(tmp_path, monkeypatch, GB, 2 * GB)
    assert place.store.startswith("/dev/shm/rayjup-") and place.store.endswith("-0123456789ab")
    assert place.spill.startswith(f"{tmp_path}/rayjup-spill-") and place.spill.endswith("-0123456789ab")
    assert place.warnings == [] and place.disk == (place.spill, 0.95)


@pytest.mark.parametrize(("shm", "words"), [(64e6, "has 64 MB free"), (None, "there is no /dev/shm")])
def test_files_and_one_warning_where_it_is_not(tmp_path, monkeypatch, shm, words):
    place = choose(tmp_path, monkeypatch, GB, shm)
    assert place.store.startswith(f"{tmp_path}/rayjup-")
    (warning,) = place.warnings
    assert words in warning and "--shm-size" in warning and "object_store_memory" in warning


def test_settings_and_variables(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_object_spilling_directory", str(tmp_path / "variable"))
    monkeypatch.setenv("RAY_local_fs_capacity_threshold", "0.5")
    place = choose(tmp_path, monkeypatch, GB, 2 * GB)
    assert place.spill.startswith(str(tmp_path / "variable")) and place.threshold == 0.5
    place = choose(tmp_path, monkeypatch, GB, 2 * GB, object_spilling_directory=str(tmp_path / "setting"))
    assert place.spill.startswith(str(tmp_path / "setting"))
    for no in (False, "false", 0):
        place = choose(tmp_path, monkeypatch, GB, 2 * GB, automatic_object_spilling_enabled=no)
        assert place.spill is None and place.disk is None and place.directories() == [place.store]


def test_a_directory_that_can_not_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(RaySystemError, match=r"object_spilling_directory=.*file/x.*name a directory"):
        choose(tmp_path, monkeypatch, GB, 2 * GB, object_spilling_directory=str(tmp_path / "file" / "x"))


def test_what_lies_on_disk(tmp_path, monkeypatch):
    place = choose(tmp_path, monkeypatch, GB, 2 * GB)
    import os

    os.makedirs(place.spill)
    for name, size in (("owner", 5), ("a-b-1", 100), ("a-b-2", 11)):
        with open(f"{place.spill}/{name}", "wb") as file:
            file.write(b"x" * size)
    assert place.on_disk() == {"store_spilled": 111, "store_spilled_objects": 2}
