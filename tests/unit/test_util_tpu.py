"""What TPU slices consist of."""

from __future__ import annotations

import pytest

from rayjup.util import tpu


@pytest.mark.parametrize(
    ("topology", "kind", "expected"),
    [
        ("4x4", "TPU-V6E", (4, {"CPU": 1, "TPU": 4})),
        ("2x4", "TPU-V6E", (1, {"CPU": 1, "TPU": 8})),
        ("1x1", "TPU-V6E", (1, {"CPU": 1, "TPU": 1})),
        ("4x4", "TPU-V5LITEPOD", (4, {"CPU": 1, "TPU": 4})),
        ("2x2x2", "TPU-V4", (2, {"CPU": 1, "TPU": 4})),
        ("2x2x4", "TPU-V5P", (4, {"CPU": 1, "TPU": 4})),
    ],
)
def test_workers_of_a_slice(topology, kind, expected):
    assert tpu.get_tpu_worker_resources(topology, kind) == expected


def test_workers_with_resources_of_their_own():
    wanted = {"TPU": 1, "CPU": 2}
    assert tpu.get_tpu_worker_resources("4x4", "TPU-V6E", wanted, num_slices=2) == (32, wanted)
    with pytest.raises(ValueError, match="no multiple"):
        tpu.get_tpu_worker_resources("4x4", "TPU-V6E", {"TPU": 3})


def test_slices_for_workers():
    assert [tpu.get_tpu_num_slices_for_workers("2x2x2", "TPU-V4", n) for n in (1, 2, 3, 8)] == [1, 1, 2, 4]
    assert tpu.get_tpu_num_slices_for_workers("nonsense", "TPU-V4", 8) == 1


def test_versions():
    assert tpu.get_tpu_version_from_type("TPU-V5LITEPOD") == "v5litepod"
    with pytest.raises(ValueError, match="Invalid accelerator_type"):
        tpu.get_tpu_version_from_type("A100")


def test_slices_by_label():
    nodes = [
        {"Alive": True, "Labels": {"ray.io/tpu-slice-name": "s"}},
        {"Alive": False, "Labels": {"ray.io/tpu-slice-name": "s"}},
        {"Alive": True, "Labels": {}},
    ]
    assert tpu.get_tpu_nodes_for_slice("s", nodes) == nodes[:1]
    assert tpu.get_tpu_slice_name_from_node(nodes[2]) is None


def test_coordinator():
    assert tpu.get_tpu_coordinator_env_vars("10.0.0.1", 2, 1) == {
        "MEGASCALE_COORDINATOR_ADDRESS": "10.0.0.1",
        "MEGASCALE_PORT": "8081",
        "MEGASCALE_NUM_SLICES": "2",
        "MEGASCALE_SLICE_ID": "1",
    }


def test_reserving_slices_is_refused_with_a_reason():
    with pytest.raises(AttributeError, match="reserves no TPU slices"):
        tpu.slice_placement_group
