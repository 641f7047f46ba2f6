"""Options: Ray's names, defaults and rules; wrong ones fail where they are written."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from rayjup.base.options import ActorOptions, MethodOptions, TaskOptions

SHARED = {
    "label_selector",
    "fallback_strategy",
    "accelerator_type",
    "memory",
    "name",
    "num_cpus",
    "num_gpus",
    "object_store_memory",
    "placement_group",
    "placement_group_bundle_index",
    "placement_group_capture_child_tasks",
    "resources",
    "runtime_env",
    "scheduling_strategy",
    "enable_task_events",
    "_labels",
}
TASK = SHARED | {
    "max_calls",
    "max_retries",
    "num_returns",
    "retry_exceptions",
    "_generator_backpressure_num_objects",
    "_num_objects_per_yield",
}
ACTOR = SHARED | {
    "concurrency_groups",
    "enable_tensor_transport",
    "lifetime",
    "max_concurrency",
    "max_restarts",
    "max_task_retries",
    "max_pending_calls",
    "namespace",
    "get_if_exists",
    "allow_out_of_order_execution",
    "_actor_generator_backpressure_num_objects",
}
METHOD = {
    "num_returns",
    "concurrency_group",
    "max_task_retries",
    "retry_exceptions",
    "enable_task_events",
    "tensor_transport",
    "name",
    "_generator_backpressure_num_objects",
    "_num_objects_per_yield",
    "_labels",
}


class PlacementGroup:
    bundle_specs = ({"CPU": 1}, {"CPU": 2})


class SpreadishSchedulingStrategy:
    pass


@pytest.mark.parametrize(
    ("cls", "names"), [(TaskOptions, TASK), (ActorOptions, ACTOR), (MethodOptions, METHOD)]
)
def test_the_options_are_those_of_ray(cls, names):
    assert set(cls.CHECKS) == names == {field.name for field in dataclasses.fields(cls)}


def test_defaults():
    task, actor, method = TaskOptions.parse(), ActorOptions.parse(), MethodOptions.parse()
    assert (task.num_cpus, task.max_retries, task.retry_exceptions, task.num_returns) == (1, 3, False, None)
    assert (actor.num_cpus, actor.max_restarts, actor.max_task_retries, actor.max_pending_calls) == (
        None,
        0,
        0,
        -1,
    )
    assert (actor.concurrency(False), actor.concurrency(True)) == (1, 1000)
    assert ActorOptions.parse(max_concurrency=7).concurrency(True) == 7
    assert all(getattr(method, field.name) is None for field in dataclasses.fields(method))


def test_options_are_immutable_and_picklable():
    task = TaskOptions.parse(resources={"x": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.num_cpus = 2
    assert pickle.loads(pickle.dumps(task)) == task


@pytest.mark.parametrize(
    ("options", "held", "needed"),
    # What Ray's get_assigned_resources() says in such an actor, and what it needs to be placed.
    [
        ({}, {}, {"CPU": 1}),
        ({"num_cpus": 0}, {}, {}),
        ({"num_cpus": 1.5}, {"CPU": 1.5}, {"CPU": 1.5}),
        ({"num_gpus": 1}, {"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}),
        ({"num_gpus": 0}, {"CPU": 1}, {"CPU": 1}),
        ({"resources": {"x": 1}}, {"CPU": 1, "x": 1}, {"CPU": 1, "x": 1}),
        ({"resources": {}}, {}, {"CPU": 1}),
        ({"memory": 1000}, {"memory": 1000}, {"CPU": 1, "memory": 1000}),
    ],
)
def test_resources_of_actors(options, held, needed):
    actor = ActorOptions.parse(**options)
    assert actor.resource_request() == held
    assert actor.placement_request() == needed


def test_resources_of_tasks():
    task = TaskOptions.parse(num_gpus=0.5, memory=10.6, resources={"x": 2, "y": 0}, accelerator_type="A100")
    assert task.resource_request() == {
        "CPU": 1,
        "GPU": 0.5,
        "memory": 11,
        "x": 2,
        "accelerator_type:A100": 0.001,
    }
    assert TaskOptions.parse(num_cpus=0).resource_request() == {}
    assert TaskOptions.parse(num_gpus=True).resource_request() == {"CPU": 1, "GPU": 1}
    assert [
        TaskOptions.parse(**o).calls_per_process
        for o in ({}, {"num_gpus": 1}, {"num_gpus": 1, "max_calls": 0})
    ] == [
        0,
        1,
        0,
    ]


def test_merging_replaces_and_none_asks_for_the_default():
    task = TaskOptions.parse(num_cpus=4, max_retries=0, name="a")
    merged = task.merged(num_cpus=None, name=None, resources={"x": 1})
    assert (merged.num_cpus, merged.max_retries, merged.name, merged.resources) == (1, 0, None, {"x": 1})
    assert task.num_cpus == 4
    assert TaskOptions.parse(placement_group=None).placement_group is None
    assert MethodOptions.parse(num_returns=2).merged(name="m").num_returns == 2


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (TaskOptions, {"num_returns": "streaming", "max_retries": -1, "retry_exceptions": [ValueError]}),
        (TaskOptions, {"num_returns": 0, "scheduling_strategy": "SPREAD"}),
        (TaskOptions, {"scheduling_strategy": SpreadishSchedulingStrategy()}),
        (TaskOptions, {"placement_group": PlacementGroup(), "placement_group_bundle_index": 1}),
        (TaskOptions, {"label_selector": {"a/b": "!in(x, y)", "c": "!d"}}),
        (TaskOptions, {"fallback_strategy": [{"label_selector": {"a": "b"}}]}),
        (TaskOptions, {"num_gpus": 2.0, "num_cpus": 0.0001}),
        (ActorOptions, {"lifetime": "detached", "name": "a", "namespace": "n", "get_if_exists": True}),
        (ActorOptions, {"concurrency_groups": [{"name": "io", "max_concurrency": 2}]}),
        (ActorOptions, {"object_store_memory": 5, "max_restarts": -1, "max_concurrency": None}),
    ],
)
def test_right_options(cls, options):
    cls.parse(**options)


@pytest.mark.parametrize(
    ("cls", "options", "error", "text"),
    [
        (
            TaskOptions,
            {"num_cpu": 1},
            ValueError,
            "Invalid option keyword `num_cpu` for remote functions. Valid ones",
        ),
        (
            TaskOptions,
            {"max_restarts": 1},
            ValueError,
            "Invalid option keyword `max_restarts` for remote functions",
        ),
        (
            ActorOptions,
            {"max_retries": 1},
            ValueError,
            "Invalid option keyword `max_retries` for actors. Valid ones",
        ),
        (MethodOptions, {"name": "m"}, ValueError, "Invalid option keyword `name` for actor methods"),
        (
            TaskOptions,
            {"num_cpus": -1},
            ValueError,
            "Option `num_cpus` must be a number >= 0 (never negative), got -1",
        ),
        (
            TaskOptions,
            {"num_cpus": "1"},
            TypeError,
            "Option `num_cpus` must be a number >= 0, got '1' (str).",
        ),
        (TaskOptions, {"num_cpus": float("nan")}, ValueError, "Option `num_cpus` must be a number >= 0"),
        (TaskOptions, {"num_gpus": 1.5}, ValueError, "Option `num_gpus` must be whole when it is above 1"),
        (TaskOptions, {"num_gpus": 1e-5}, ValueError, "Option `num_gpus` must be 0 or at least 0.0001"),
        (TaskOptions, {"resources": {"CPU": 1}}, ValueError, "must not contain 'CPU': use option `num_cpus`"),
        (TaskOptions, {"resources": {"GPU": 1}}, ValueError, "must not contain 'GPU': use option `num_gpus`"),
        (TaskOptions, {"resources": {"x": -1}}, ValueError, "Option `resources['x']` must be a number >= 0"),
        (TaskOptions, {"resources": 3}, TypeError, "Option `resources` must be a dict, got 3 (int)."),
        (
            TaskOptions,
            {"num_returns": -1},
            ValueError,
            "must be a whole number >= 0, 'dynamic' or 'streaming', got -1",
        ),
        (
            TaskOptions,
            {"num_returns": "x"},
            ValueError,
            "must be a whole number >= 0, 'dynamic' or 'streaming', got 'x'",
        ),
        (
            TaskOptions,
            {"num_returns": 1.5},
            TypeError,
            "must be a whole number >= 0, 'dynamic' or 'streaming', got 1.5",
        ),
        (
            TaskOptions,
            {"max_retries": -2},
            ValueError,
            "must be a whole number >= -1 (-1: without limit), got -2",
        ),
        (
            TaskOptions,
            {"max_retries": 1.5},
            TypeError,
            "must be a whole number >= -1 (-1: without limit), got 1.5",
        ),
        (
            TaskOptions,
            {"retry_exceptions": 3},
            TypeError,
            "must be True, False or a list of exception classes, got 3",
        ),
        (
            TaskOptions,
            {"retry_exceptions": ["a"]},
            ValueError,
            "must be True, False or a list of exception classes",
        ),
        (TaskOptions, {"name": ""}, ValueError, "Option `name` must not be empty"),
        (TaskOptions, {"name": 3}, TypeError, "Option `name` must be a string, got 3 (int)."),
        (
            TaskOptions,
            {"runtime_env": 3},
            TypeError,
            "Option `runtime_env` must be a dict or a RuntimeEnv, got 3 (int).",
        ),
        (
            TaskOptions,
            {"label_selector": {"a": 3}},
            TypeError,
            "must map strings to strings; its value is not, got 3",
        ),
        (TaskOptions, {"label_selector": {"a": "!in(x"}}, ValueError, "has a value that is no label"),
        (TaskOptions, {"label_selector": {"-a": "x"}}, ValueError, "has a key that is no label"),
        (
            TaskOptions,
            {"fallback_strategy": [{"num_cpus": 1}]},
            ValueError,
            "a list of dicts with the key 'label_sel",
        ),
        (
            TaskOptions,
            {"scheduling_strategy": "x"},
            ValueError,
            "must be 'DEFAULT', 'SPREAD', a PlacementGroupSch",
        ),
        (
            TaskOptions,
            {"scheduling_strategy": 3},
            TypeError,
            "must be 'DEFAULT', 'SPREAD', a PlacementGroupSch",
        ),
        (
            TaskOptions,
            {"placement_group": 3},
            TypeError,
            "must be a PlacementGroup, None or 'default', got 3",
        ),
        (TaskOptions, {"placement_group_bundle_index": 0}, ValueError, "needs the option `placement_group`"),
        (
            TaskOptions,
            {"object_store_memory": 5},
            ValueError,
            "Option `object_store_memory` is for actors only",
        ),
        (
            TaskOptions,
            {"enable_task_events": 3},
            TypeError,
            "Option `enable_task_events` must be True or False, got 3",
        ),
        (ActorOptions, {"lifetime": "x"}, ValueError, "must be one of 'detached', 'non_detached', got 'x'"),
        (ActorOptions, {"max_concurrency": 0}, ValueError, "must be a whole number >= 1, got 0"),
        (ActorOptions, {"get_if_exists": True}, ValueError, "Option `get_if_exists` needs the option `name`"),
        (ActorOptions, {"namespace": ""}, ValueError, "Option `namespace` must not be empty"),
        (
            ActorOptions,
            {"concurrency_groups": {"io": 0}},
            ValueError,
            "`concurrency_groups['io']` must be a whole",
        ),
        (
            ActorOptions,
            {"concurrency_groups": [{"x": 1}]},
            ValueError,
            "or a list of dicts with 'name' and 'max_conc",
        ),
        (
            MethodOptions,
            {"num_returns": -1},
            ValueError,
            "must be a whole number >= 0, 'dynamic' or 'streaming'",
        ),
        (
            MethodOptions,
            {"concurrency_group": 3},
            TypeError,
            "Option `concurrency_group` must be a string, got 3",
        ),
        (
            TaskOptions,
            {"placement_group": PlacementGroup(), "placement_group_bundle_index": 2},
            ValueError,
            "must be below the number of bundles of the placement group (2), got 2",
        ),
        (
            TaskOptions,
            {"placement_group": PlacementGroup(), "scheduling_strategy": "SPREAD"},
            ValueError,
            "Options `scheduling_strategy` and `placement_group` exclude each other",
        ),
    ],
)
def test_wrong_options(cls, options, error, text):
    only_in_decorator = cls is MethodOptions or "concurrency_groups" in options
    for read in (cls.parse,) if only_in_decorator else (cls.parse, cls.parse().merged):
        with pytest.raises(error) as caught:
            read(**options)
        assert text in str(caught.value)


def test_every_unknown_option_lists_the_valid_ones():
    with pytest.raises(ValueError, match=r"Valid ones are: name, num_cpus, .*max_pending_calls") as caught:
        ActorOptions.parse(nonsense=1)
    assert "_labels" not in str(caught.value)


def test_concurrency_groups_belong_to_the_class():
    assert ActorOptions.parse(concurrency_groups={"io": 2}).concurrency_groups == {"io": 2}
    with pytest.raises(ValueError, match="`concurrency_groups` of actors is fixed by the decorator"):
        ActorOptions.parse().merged(concurrency_groups={"io": 2})
