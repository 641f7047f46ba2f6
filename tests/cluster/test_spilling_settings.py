"""Where objects lie and where they spill to, as told and as found; and where that is full or wrong."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from support.clusters import T, poll

MB = 1 << 20


def array(megabytes: int, value: int = 1) -> np.ndarray:
    return np.full(megabytes * MB, value, np.uint8)


def test_a_full_disk_is_a_clear_error(own):
    own.init(num_cpus=1, object_store_memory=20 * MB, _system_config={"local_fs_capacity_threshold": 0.0})
    kept = own.put(array(15))
    with pytest.raises(own.exceptions.OutOfDiskError) as caught:
        own.put(array(10))
    text = str(caught.value)
    assert "10,4" in text and "local_fs_capacity_threshold" in text and "df" in text
    assert int(own.get(kept).sum()) == 15 * MB
    del kept
    assert own.get(own.put(array(15)))[0] == 1


def test_the_older_way_to_name_the_directory(own, tmp_path):
    where = {"type": "filesystem", "params": {"directory_path": str(tmp_path)}}
    config = {"object_spilling_config": json.dumps(where)}
    own.init(num_cpus=1, object_store_memory=20 * MB, _system_config=config)
    refs = [own.put(array(8, i)) for i in range(5)]
    assert any("-" in p.name for p in tmp_path.glob("*/*"))
    assert [int(own.get(r)[0]) for r in refs] == list(range(5))


def test_a_directory_that_cannot_be_used_is_named(own, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(own.exceptions.RaySystemError, match="object_spilling_directory"):
        own.init(num_cpus=1, _object_spilling_directory=str(tmp_path / "file" / "below"))


def test_settings_that_are_no_dict_are_refused(own):
    with pytest.raises(TypeError, match="_system_config"):
        own.init(_system_config="object_spilling_directory=/x")
    with pytest.raises(ValueError, match="object_spilling_config"):
        own.init(_system_config={"object_spilling_config": "{"})


def test_a_store_larger_than_shared_memory_lies_in_files(own, capfd):
    shm = os.statvfs("/dev/shm")
    own.init(num_cpus=1, object_store_memory=2 * shm.f_blocks * shm.f_frsize)
    assert "/dev/shm has" in capfd.readouterr().err
    ref = own.put(array(20, 3))
    assert not ref._data.descriptor[0].startswith("/dev/shm")

    @own.remote
    def add(x):
        return x + 1

    assert int(own.get(add.remote(ref), timeout=T).sum()) == 4 * 20 * MB


def test_the_store_lies_in_the_directory_that_is_named(own, tmp_path, capfd):
    own.init(num_cpus=1, object_store_memory=50 * MB, _plasma_directory=str(tmp_path))
    ref = own.put(array(20, 3))
    assert ref._data.descriptor[0].startswith(str(tmp_path))
    assert int(own.get(ref).sum()) == 3 * 20 * MB
    assert "/dev/shm" not in capfd.readouterr().err
    own.shutdown()
    poll(lambda: list(tmp_path.iterdir()) == [])


def test_channels_of_compiled_graphs_take_room_while_they_are_there(own):
    from rayjup.core import session
    from rayjup.dag import InputNode

    own.init(num_cpus=1, object_store_memory=100 * MB)
    link = session.current().runtime.link

    def used() -> int:
        return link.request("snapshot")["nodes"][0]["store_used"]

    @own.remote
    class Echo:
        def echo(self, x):
            return x

    actor = Echo.remote()
    with InputNode() as given:
        graph = actor.echo.bind(given)
    compiled = graph.experimental_compile(_buffer_size_bytes=MB, _max_inflight_executions=9)
    try:
        assert own.get(compiled.execute(7)) == 7
        assert own.get(compiled.execute(array(4))).size == 4 * MB  # larger than a slot
        poll(lambda: used() >= 28 * MB, 20.0)
    finally:
        compiled.teardown()
    kept = own.put(array(95))  # it all came back
    assert kept._data.spilled == ""
    del kept
    with InputNode() as given:
        graph = actor.echo.bind(given)
    with pytest.raises(own.exceptions.ObjectStoreFullError):
        graph.experimental_compile(_buffer_size_bytes=60 * MB)
