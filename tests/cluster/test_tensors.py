"""Tensors of torch: read where they lie, kept on their device between calls of an actor, copied otherwise."""

from __future__ import annotations

import os
import time

import pytest
from support.clusters import T, poll

from rayjup.base import tensors

torch = pytest.importorskip("torch", reason="torch is not installed")

N = 400_000


def test_a_large_tensor_is_read_without_a_copy(ray, freed):
    ref = ray.put(torch.arange(N))
    first, second = ray.get(ref), ray.get(ref)
    assert first.data_ptr() == second.data_ptr()
    assert torch.equal(first, torch.arange(N))
    del ref, first, second
    freed()


def test_who_writes_to_a_tensor_changes_it_for_himself_alone(ray, freed):
    @ray.remote
    def spoil(t, small):
        t += 1
        small += 1
        return int(t.sum() + small.sum())

    ref, small = ray.put(torch.ones(N)), ray.put(torch.ones(10))
    assert ray.get(spoil.remote(ref, small), timeout=T) == 2 * N + 20
    mine = ray.get(ref)
    mine += 5
    mine_too = ray.get(small)
    mine_too += 5
    assert ray.get(spoil.remote(ref, small), timeout=T) == 2 * N + 20
    del ref, mine
    freed()


def test_the_result_of_a_task_can_be_written_to(ray, freed):
    @ray.remote
    def make():
        return {"x": torch.ones(N)}

    ref = make.remote()
    value = ray.get(ref, timeout=T)
    value["x"].zero_()
    del ref
    for _ in range(5):  # memory is used again, while the value is still there
        assert ray.get(make.remote(), timeout=T)["x"].sum() == N
        ray.put(torch.ones(N))
    assert value["x"].sum() == 0
    del value
    freed()


def test_tensors_that_share_memory_still_do(ray):
    base = torch.zeros(N)
    value = ray.get(ray.put({"base": base, "part": base[10:20], "again": base}))
    value["base"][12] = 7
    assert value["part"][2] == 7
    assert value["again"] is value["base"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.arange(12.0).reshape(3, 4).t(),
        lambda: torch.ones(5, dtype=torch.bfloat16),
        lambda: torch.tensor(3),
        lambda: torch.empty(0, 4),
        lambda: torch.ones(2, 3).to_sparse(),
        lambda: torch.ones(3, dtype=torch.complex64).conj(),
        lambda: torch.nn.Parameter(torch.ones(N)),
        lambda: torch.ones(N, requires_grad=True),
    ],
)
def test_all_kinds_of_tensors(ray, make):
    @ray.remote
    def same(x):
        return x

    tensor = make()
    for got in (ray.get(ray.put(tensor)), ray.get(same.remote(tensor), timeout=T)):
        assert type(got) is type(tensor) and got.dtype == tensor.dtype and got.layout == tensor.layout
        assert got.requires_grad == tensor.requires_grad and got.shape == tensor.shape
        assert torch.equal(*(t.to_dense() if t.is_sparse else t for t in (got, tensor)))


def test_modules_and_their_state(ray):
    @ray.remote
    def forward(model, x):
        model.eval()
        return model(x).detach()

    model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.BatchNorm1d(300), torch.nn.ReLU())
    x = torch.randn(8, 300)
    expected = model.eval()(x)
    assert torch.allclose(ray.get(forward.remote(model, x), timeout=T), expected, atol=1e-5)
    fresh = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.BatchNorm1d(300), torch.nn.ReLU())
    fresh.load_state_dict(ray.get(ray.put(model.state_dict())))
    assert torch.allclose(fresh.eval()(x), expected, atol=1e-5)


# -- tensors that stay with their actor


def holder(ray):
    @ray.remote(num_cpus=0)
    class Holder:
        def __init__(self):
            self.kept = None

        @ray.method(tensor_transport="gloo")
        def make(self, n, value=1.0):
            self.kept = torch.full((n,), value)
            return {"tensor": self.kept, "name": "made"}

        def where(self, value):
            return value["tensor"].data_ptr() == self.kept.data_ptr(), os.getpid()

        def add(self, value):
            value["tensor"] += 1

        def total(self, value):
            return float(value["tensor"].sum())

        def plain(self, n):
            return {"tensor": torch.ones(n)}

        def forget(self):
            self.kept = None

        def wait_freed(self, timeout):
            from rayjup.experimental import wait_tensor_freed

            began = time.monotonic()
            wait_tensor_freed(self.kept, timeout)
            return time.monotonic() - began

        def living(self):
            from rayjup.engine.objects import on_device

            return len(on_device._living)

    return Holder


@pytest.fixture(scope="module")
def holders(ray_cluster):
    """Two actors for all tests: each process has to import torch, which takes long."""
    return holder(ray_cluster).remote(), holder(ray_cluster).remote()


def test_calls_of_the_actor_get_the_tensor_itself(ray, freed, holders):
    actor, _ = holders
    ref = actor.make.remote(N)
    assert ref.tensor_transport() == "GLOO"
    assert ray.get(actor.where.remote(ref), timeout=T)[0]
    ray.get(actor.add.remote(ref), timeout=T)
    assert ray.get(actor.total.remote(ref), timeout=T) == 2 * N
    assert ref.tensor_transport() == "GLOO"
    freed()  # nothing went through shared memory
    del ref
    poll(lambda: ray.get(actor.living.remote(), timeout=T) == 0)


@pytest.mark.parametrize("n", [10, N])
def test_others_get_a_copy_through_shared_memory(ray, freed, holders, n):
    @ray.remote
    def total(value):
        return float(value["tensor"].sum()), value["name"]

    first, second = holders
    ref = first.make.remote(n, 2.0)
    assert ray.get(second.total.remote(ref), timeout=T) == 2 * n
    assert ray.get(total.remote(ref), timeout=T) == (2.0 * n, "made")
    assert torch.equal(ray.get(ref, timeout=T)["tensor"], torch.full((n,), 2.0))
    del ref
    freed()
    poll(lambda: ray.get(first.living.remote(), timeout=T) == 0)


def test_inside_other_values_and_between_actors(ray, freed, holders):
    first, second = holders

    @ray.remote
    def deep(refs):
        return float(ray.get(refs[0])["tensor"].sum())

    ref = first.make.remote(N)
    outer = ray.put([ref])
    del ref
    assert ray.get(deep.remote(ray.get(outer)), timeout=T) == N
    assert ray.get(second.total.remote(ray.get(outer)[0]), timeout=T) == N
    del outer
    freed()
    poll(lambda: ray.get(first.living.remote(), timeout=T) == 0)


def test_waiting_until_a_tensor_may_be_changed(ray, holders):
    actor, _ = holders
    ref = actor.make.remote(N)
    ray.wait([ref], timeout=T)
    with pytest.raises(TimeoutError, match="still refs"):
        ray.get(actor.wait_freed.remote(0.2), timeout=T)
    waiting = actor.wait_freed.remote(90.0)
    del ref
    assert ray.get(waiting, timeout=80) < 80


def test_the_actor_dies_with_its_tensors(ray):
    actor = holder(ray).remote()
    ref = actor.make.remote(N)
    ray.wait([ref], timeout=T)
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(ref, timeout=T)


def test_a_put_with_a_transport(ray, freed):
    @ray.remote(num_cpus=0, enable_tensor_transport=True)
    class Puts:
        def put(self):
            self.tensor = torch.ones(N)
            self.ref = ray.put(self.tensor, _tensor_transport="nixl")
            return [self.ref]

        def same(self):
            return ray.get(self.ref).data_ptr() == self.tensor.data_ptr()

        def drop(self):
            self.ref = None

    actor = Puts.remote()
    (ref,) = ray.get(actor.put.remote(), timeout=T)
    assert ray.get(actor.same.remote(), timeout=T)
    assert ray.get(ref, timeout=T).sum() == N
    del ref
    ray.get(actor.drop.remote(), timeout=T)
    freed()


def test_asynchronous_and_threaded_actors(ray):
    @ray.remote(num_cpus=0)
    class Async:
        @ray.method(tensor_transport="gloo")
        async def make(self):
            self.kept = torch.ones(N)
            return self.kept

        async def same(self, tensor):
            return tensor.data_ptr() == self.kept.data_ptr()

    @ray.remote(num_cpus=0, max_concurrency=3)
    class Threaded:
        @ray.method(tensor_transport="gloo")
        def make(self):
            self.kept = torch.ones(N)
            return self.kept

        def same(self, tensor):
            return tensor.data_ptr() == self.kept.data_ptr()

    for kind in (Async, Threaded):
        actor = kind.remote()
        ref = actor.make.remote()
        assert ray.get(actor.same.remote(ref), timeout=T)
        assert ray.get(ref, timeout=T).sum() == N


def test_a_call_can_be_given_a_transport(ray, holders):
    actor, _ = holders
    ref = actor.plain.options(tensor_transport="GLOO").remote(N)
    assert ref.tensor_transport() == "GLOO"
    assert ray.get(actor.total.remote(ref), timeout=T) == N
    assert actor.plain.remote(3).tensor_transport() is None


def test_what_is_refused(ray):
    @ray.remote
    class Plain:
        def make(self):
            return 1

    @ray.remote(enable_tensor_transport=True)
    class Open:
        def make(self):
            return torch.ones(3)

    plain, open_ = Plain.remote(), Open.remote()
    with pytest.raises(ValueError, match="enable_tensor_transport"):
        plain.make.options(tensor_transport="gloo")
    with pytest.raises(ValueError, match="Invalid tensor transport"):
        open_.make.options(tensor_transport="pigeon")
    with pytest.raises(ValueError, match="one return value"):
        open_.make.options(num_returns=2, tensor_transport="gloo")
    with pytest.raises(ValueError, match=r"'cpu' cannot be kept .* NCCL"):
        ray.get(open_.make.options(tensor_transport="nccl").remote(), timeout=T)

    @ray.remote(enable_tensor_transport=False)
    class Contradiction:
        @ray.method(tensor_transport="gloo")
        def make(self):
            return 1

    with pytest.raises(ValueError, match="enable_tensor_transport=False"):
        Contradiction.remote()


def on_a_device(ray, device, env):
    @ray.remote(num_cpus=0, runtime_env={"env_vars": env}, **({} if env else {"num_gpus": 0.4}))
    class OnDevice:
        @ray.method(tensor_transport="cuda_ipc")
        def make(self):
            self.kept = torch.arange(N, device=device)
            return [self.kept, self.kept[5:]]

        def same(self, value):
            return value[0].data_ptr() == self.kept.data_ptr() and value[1][0] == 5

        def total(self, value):
            return int(value[0].sum()), str(value[0].device.type)

    first, second = OnDevice.remote(), OnDevice.remote()
    ref = first.make.remote()
    assert ray.get(first.same.remote(ref), timeout=T)
    assert ray.get(second.total.remote(ref), timeout=T) == (N * (N - 1) // 2, device)
    value = ray.get(ref, timeout=T)
    assert int(value[0].sum()) == N * (N - 1) // 2


def test_tensors_on_a_declared_device(ray):
    on_a_device(ray, "cpu", {tensors.FAKE_DEVICE: "cuda"})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_tensors_on_a_real_device(own):
    own.init(num_cpus=2, num_gpus=1)
    on_a_device(own, "cuda", {})
    tensor = torch.arange(N, device="cuda")
    assert torch.equal(own.get(own.put(tensor)), tensor)
