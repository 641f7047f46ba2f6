"""``ray.util.collective``: operations between actors. On Ray, ``gloo`` needs PyTorch."""

from __future__ import annotations

import importlib.util
import os

import pytest
import ray
from ray.util import collective

ON_RAY = os.environ.get("RAYJUP_CONFORMANCE_ENGINE") == "ray"
TORCH = importlib.util.find_spec("torch") is not None
BACKENDS = ["gloo"] if ON_RAY else ["gloo", "numpy"]

if ON_RAY and not TORCH:
    pytest.skip(
        "Ray's collective groups without GPUs need PyTorch, which is not here", allow_module_level=True
    )


def make_members(count: int, **options):
    @ray.remote(num_cpus=0, **options)
    class Member:
        def init(self, world_size, rank, backend, name="default", timeout=30000):
            from ray.util import collective

            collective.init_collective_group(world_size, rank, backend, name, timeout)
            return collective.get_rank(name), collective.get_collective_group_size(name)

        def call(self, function, *args):
            return function(*args)

    return [Member.remote() for _ in range(count)]


def call(members, function, *args):
    """``function(rank, *args)`` in each member."""
    return ray.get([m.call.remote(function, rank, *args) for rank, m in enumerate(members)], timeout=60)


def init(members, backend, name="default"):
    count = len(members)
    done = ray.get([m.init.remote(count, rank, backend, name) for rank, m in enumerate(members)], timeout=60)
    assert done == [(rank, count) for rank in range(count)]


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request):
    return request.param


@pytest.fixture(scope="module", params=[2, 3])
def members(request, ray_cluster, backend):
    """A group that is used again and again: most of a test would go into importing PyTorch otherwise."""
    made = make_members(request.param)
    init(made, backend)
    yield made
    for member in made:
        ray.kill(member)


SIZES = [1, 7, 100_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", ["SUM", "PRODUCT", "MIN", "MAX"])
def test_allreduce(members, size, op):
    def body(rank):
        import numpy as np
        from ray.util import collective
        from ray.util.collective.types import ReduceOp

        array = np.arange(size, dtype=np.float64) % 5 + rank + 1
        collective.allreduce(array, op=getattr(ReduceOp, op))
        return array

    import numpy as np

    inputs = [np.arange(size, dtype=np.float64) % 5 + rank + 1 for rank in range(len(members))]
    function = {"SUM": np.sum, "PRODUCT": np.prod, "MIN": np.min, "MAX": np.max}[op]
    for got in call(members, body):
        np.testing.assert_array_equal(got, function(inputs, axis=0))


@pytest.mark.parametrize("size", SIZES)
def test_reduce_changes_the_root_only(members, size):
    def body(rank):
        import numpy as np
        from ray.util import collective

        array = np.full(size, rank + 1, dtype=np.float32)
        collective.reduce(array, dst_rank=1)
        return array[0], array[-1]

    world = len(members)
    total = world * (world + 1) / 2
    expected = [(total, total) if rank == 1 else (rank + 1, rank + 1) for rank in range(world)]
    assert call(members, body) == expected


@pytest.mark.parametrize("size", SIZES)
def test_broadcast(members, size):
    def body(rank):
        import numpy as np
        from ray.util import collective

        array = np.full((size, 2), rank, dtype=np.int64)
        collective.broadcast(array, src_rank=1)
        return int(array.sum())

    assert call(members, body) == [size * 2] * len(members)


@pytest.mark.parametrize("size", SIZES)
def test_allgather(members, size):
    def body(rank, world):
        import numpy as np
        from ray.util import collective

        outputs = [np.zeros(size, dtype=np.int64) for _ in range(world)]
        collective.allgather(outputs, np.full(size, rank, dtype=np.int64))
        return [int(out.sum()) for out in outputs]

    world = len(members)
    assert call(members, body, world) == [[size * rank for rank in range(world)]] * world


@pytest.mark.parametrize("size", SIZES)
def test_reducescatter(members, size):
    def body(rank, world):
        import numpy as np
        from ray.util import collective

        inputs = [np.full(size, (rank + 1) * (part + 1), dtype=np.float64) for part in range(world)]
        output = np.zeros(size)
        collective.reducescatter(output, inputs)
        return float(output.min()), float(output.max())

    world = len(members)
    total = world * (world + 1) / 2
    assert call(members, body, world) == [(total * (rank + 1),) * 2 for rank in range(world)]


@pytest.mark.parametrize("size", SIZES)
def test_send_and_recv(members, size):
    def body(rank):
        import numpy as np
        from ray.util import collective

        array = np.full(size, rank + 5, dtype=np.float32)
        if rank == 0:
            collective.send(array, dst_rank=1)
        elif rank == 1:
            collective.recv(array, src_rank=0)
        return float(array[0]), float(array[-1])

    assert call(members, body)[:2] == [(5, 5), (5, 5)]


def test_many_operations_in_a_row(members):
    def body(rank, world):
        import numpy as np
        from ray.util import collective

        total = 0.0
        for i in range(50):
            array = np.full(3, rank + i, dtype=np.float64)
            collective.allreduce(array)
            collective.barrier()
            total += array[0]
        return total

    world = len(members)
    expected = sum(world * i + sum(range(world)) for i in range(50))
    assert call(members, body, world) == [expected] * world


def test_a_barrier_waits_for_all(members, tmp_path):
    def body(rank, path):
        import time

        from ray.util import collective

        if rank == 1:
            time.sleep(0.3)
            path.touch()
        collective.barrier()
        return path.exists()

    assert call(members, body, tmp_path / "late") == [True] * len(members)


def test_a_process_is_in_several_groups_of_the_same_size(ray_cluster, backend):
    members = make_members(2)
    init(members, backend)
    init(members, backend, "other")

    def body(rank):
        import numpy as np
        from ray.util import collective

        first, second = np.ones(2), np.full(2, 3.0)
        collective.allreduce(first)
        collective.allreduce(second, group_name="other")
        return first[0], second[0]

    assert call(members, body) == [(2, 6), (2, 6)]


def test_a_group_is_left_and_joined_again(ray_cluster, backend):
    members = make_members(2)
    init(members, backend)

    def leave(rank):
        from ray.util import collective

        collective.destroy_collective_group()
        return collective.is_group_initialized("default"), collective.get_rank()

    assert call(members, leave) == [(False, -1)] * 2
    init(members, backend)

    def total(rank):
        import numpy as np
        from ray.util import collective

        array = np.ones(2)
        collective.allreduce(array)
        return array[0]

    assert call(members, total) == [2, 2]


def test_a_group_created_from_outside(ray_cluster, backend):
    members = make_members(3)
    name = f"declared-{backend}"
    collective.create_collective_group(members, 3, [2, 0, 1], backend=backend, group_name=name)

    def body(_):
        import numpy as np
        from ray.util import collective

        array = np.ones(4)
        collective.allreduce(array, name)
        return array[0], collective.get_rank(name)

    assert call(members, body) == [(3, 2), (3, 0), (3, 1)]
    with pytest.raises(RuntimeError, match="twice"):
        collective.create_collective_group(members, 3, [0, 1, 2], backend=backend, group_name=name)


def test_wrong_declarations(ray_cluster):
    members = make_members(2)

    def declare(world_size, ranks):
        collective.create_collective_group(members, world_size, ranks, backend="gloo", group_name="wrong")

    with pytest.raises(RuntimeError, match="one rank"):
        declare(2, [0])
    with pytest.raises(RuntimeError, match="permutation"):
        declare(2, [0, 2])
    with pytest.raises(RuntimeError):
        declare(0, [0, 1])


def test_wrong_arguments(members):
    def body(rank, world):
        import numpy as np
        from ray.util import collective

        array = np.ones(2)
        caught = []
        for function in (
            lambda: collective.init_collective_group(world, rank, "gloo"),
            lambda: collective.allreduce("text"),
            lambda: collective.allreduce(array, "nowhere"),
            lambda: collective.allgather([array], array),
            lambda: collective.allgather(array, array),
            lambda: collective.send(array, rank),
            lambda: collective.recv(array, rank),
            lambda: collective.broadcast(array, src_rank=world),
            lambda: collective.reduce(array, dst_rank=-1),
        ):
            try:
                function()
                caught.append(None)
            except (RuntimeError, ValueError) as error:
                caught.append(type(error).__name__)
        return caught

    expected = ["RuntimeError"] * 7 + ["ValueError"] * 2
    assert call(members, body, len(members)) == [expected] * len(members)


def test_the_driver_is_no_member(ray_cluster):
    import numpy as np

    with pytest.raises(RuntimeError, match="only used inside"):
        collective.allreduce(np.ones(2))


def test_backends_that_are_not_there(ray_cluster):
    assert collective.gloo_available()
    assert collective.is_backend_available("GLOO")
    assert not collective.is_backend_available("nonsense")
    from ray.util.collective.types import Backend

    assert Backend("gloo") == Backend.GLOO == "GLOO"
    with pytest.raises(ValueError, match="Unrecognized backend"):
        Backend("nonsense")


def test_a_backend_of_ones_own(ray_cluster):
    def body(rank):
        from ray.util import collective
        from ray.util.collective.backend_registry import register_collective_backend
        from ray.util.collective.collective_group.base_collective_group import BaseGroup

        class Mine(BaseGroup):
            @classmethod
            def backend(cls):
                return "MINE"

            @classmethod
            def check_backend_availability(cls):
                return True

            def allreduce(self, tensor, allreduce_options=None):
                tensor[0] *= 10

            def _nothing(self, *args, **kwargs):
                return None

            barrier = reduce = allgather = broadcast = reducescatter = send = recv = _nothing

        register_collective_backend("mine", Mine)
        collective.init_collective_group(2, rank, "mine")
        import numpy as np

        array = np.ones(2)
        collective.allreduce(array)
        try:
            register_collective_backend("MINE", Mine)
        except ValueError as error:
            return array.tolist(), "already registered" in str(error)

    assert call(make_members(2), body) == [([10.0, 10.0], True)] * 2
    with pytest.raises(TypeError, match="not a subclass of BaseGroup"):
        collective.register_collective_backend("other", int)


@pytest.mark.skipif(not TORCH, reason="PyTorch is not installed")
def test_tensors_of_torch(members):
    def body(rank, world):
        import torch
        from ray.util import collective

        tensor = torch.full((2, 3), float(rank + 1))
        collective.allreduce(tensor)
        outputs = [torch.zeros(4) for _ in range(world)]
        collective.allgather(outputs, torch.full((4,), float(rank)))
        return tensor.sum().item(), [out[0].item() for out in outputs]

    world = len(members)
    expected = (6 * world * (world + 1) / 2, [float(rank) for rank in range(world)])
    assert call(members, body, world) == [expected] * world
