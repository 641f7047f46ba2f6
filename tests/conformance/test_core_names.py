"""Names that programs of several years use: ids, refs by id, languages, types, tables."""

import typing

import pytest
import ray
import ray.types
from ray.widgets import Template, make_table_html_repr


def test_ids_have_a_hash_for_sharding():
    for kind in (ray.ActorID, ray.NodeID, ray.WorkerID, ray.UniqueID):
        id = kind.from_random()
        assert id.redis_shard_hash() == kind(id.binary()).redis_shard_hash()
        assert 0 <= id.redis_shard_hash() < 2**64
    job = ray.JobID.from_int(3)
    assert ray.TaskID.for_fake_task(job).job_id() == job if callable(ray.TaskID.job_id) else True


def test_refs_by_their_id():
    assert ray.ObjectID is ray.ObjectRef
    ref = ray.ObjectRef.from_random()
    assert ref != ray.ObjectRef.from_random()
    assert ray.ObjectRef.from_binary(ref.binary()) == ref
    assert hash(ray.ObjectRef.from_binary(ref.binary())) == hash(ref)
    assert ray.ObjectRef.nil().is_nil()
    assert len(ref.binary()) == ray.ObjectRef.size() == 28
    with pytest.raises(ValueError, match="28"):
        ray.ObjectRef.from_binary(b"short")


def test_languages():
    assert ray.Language.PYTHON == ray.Language.PYTHON
    assert ray.Language.PYTHON != ray.Language.JAVA != ray.Language.CPP


def test_types_for_annotations():
    def f(x: ray.types.ObjectRef[int]) -> "ray.types.ObjectRef[str]":
        """Nothing."""

    assert typing.get_origin(ray.types.ObjectRef[int]) is ray.types.ObjectRef
    assert typing.get_type_hints(f)["x"] == ray.types.ObjectRef[int]


def test_the_classes_behind_the_decorators():
    from ray.actor import ActorClass, method
    from ray.remote_function import RemoteFunction

    assert isinstance(ray.remote(lambda: None), RemoteFunction)
    assert isinstance(ray.remote(type("A", (), {})), ActorClass)
    assert method is ray.method


def test_dynamic_results_have_a_class(ray_cluster):
    @ray.remote(num_returns="dynamic")
    def items():
        yield 1
        yield 2

    refs = ray.get(items.remote(), timeout=50)
    assert isinstance(refs, ray.DynamicObjectRefGenerator)
    assert [ray.get(ref) for ref in refs] == [1, 2]


def test_tables_in_notebooks():
    class Config:
        def __init__(self):
            self.workers = 3
            self.name = "run 7"

    html = make_table_html_repr(Config(), title="Settings", max_height="100px")
    assert all(text in html for text in ("<table>", "workers", "3", "run 7", "Settings", "100px"))
    template = next(iter(Template.list_templates()))
    assert Template(template.name).render()


def test_workflows_are_gone():
    with pytest.raises(RuntimeError, match=r"2\.47"):
        import ray.workflow  # noqa: F401


def test_results_of_a_pool_by_hand(ray_cluster):
    from ray.util.multiprocessing.pool import ResultThread

    @ray.remote
    def batch(i):
        return [i]

    got = []
    thread = ResultThread([batch.remote(0), batch.remote(1)], callback=got.append, total_object_refs=3)
    thread.start()
    thread.add_object_ref(batch.remote(2))
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert [sorted(values) for values in got] == [[0, 1, 2]]
    assert not thread.got_error()
    assert sorted(thread.results()) == [[0], [1], [2]]
    assert sorted(thread.next_ready_index(timeout=60) for _ in range(3)) == [0, 1, 2]
