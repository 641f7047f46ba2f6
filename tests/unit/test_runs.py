"""What train, tune and rllib share: checkpoints, storage, settings, results, sessions, trainables."""

from __future__ import annotations

import json
import pickle
import threading
from pathlib import Path

import pytest

from rayjup.runs import registry, session, storage
from rayjup.runs.checkpoint import Checkpoint, persist
from rayjup.runs.checkpoints import CheckpointManager, flatten, look_up, unflatten
from rayjup.runs.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, SyncConfig
from rayjup.runs.errors import TuneError
from rayjup.runs.function_trainable import accepted_arguments, as_trainable_class, wrap_function
from rayjup.runs.placement import PlacementGroupFactory, resource_dict_to_pg_factory
from rayjup.runs.result import Result
from rayjup.runs.trainable import Trainable


def filled(directory: Path, text: str = "hello") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "a.txt").write_text(text)
    return directory


# ------------------------------------------------------------ checkpoints


def test_a_checkpoint_is_its_directory(tmp_path):
    checkpoint = Checkpoint.from_directory(filled(tmp_path / "c"))
    assert checkpoint.path == str(tmp_path / "c")
    assert checkpoint.filesystem.type_name == "local"
    with checkpoint.as_directory() as there:
        assert there == checkpoint.path
    copied = checkpoint.to_directory(tmp_path / "copy")
    assert Path(copied, "a.txt").read_text() == "hello"
    assert pickle.loads(pickle.dumps(checkpoint)) == checkpoint


def test_a_checkpoint_carries_metadata(tmp_path):
    checkpoint = Checkpoint(filled(tmp_path / "c"))
    assert checkpoint.get_metadata() == {}
    checkpoint.set_metadata({"a": 1, "b": 2})
    checkpoint.update_metadata({"b": 3})
    assert Checkpoint(tmp_path / "c").get_metadata() == {"a": 1, "b": 3}


def test_a_checkpoint_on_another_filesystem_is_downloaded(tmp_path):
    filesystem, path = storage.resolve("memory://runs-test/ck")
    storage.upload(str(filled(tmp_path / "c")), filesystem, path)
    checkpoint = Checkpoint("memory://runs-test/ck")
    with checkpoint.as_directory() as there:
        assert Path(there, "a.txt").read_text() == "hello"
    assert not Path(there).exists()
    checkpoint.set_metadata({"x": 1})
    assert checkpoint.get_metadata() == {"x": 1}
    storage.delete(filesystem, path)
    assert not storage.exists(filesystem, path)
    storage.delete(filesystem, path)  # nothing there is no error


def test_a_checkpoint_of_a_dictionary(tmp_path):
    checkpoint = Checkpoint.from_dict({"w": [1, 2]})
    again = pickle.loads(pickle.dumps(checkpoint))
    assert again.to_dict() == {"w": [1, 2]}
    there = again.to_directory(tmp_path / "d")
    assert Checkpoint.from_directory(there).to_dict() == {"w": [1, 2]}
    with checkpoint.as_directory() as local:
        assert Path(local, "dict_checkpoint.pkl").exists()
    del checkpoint
    assert not Path(local).exists()


def test_bytes_and_uris_of_the_older_api(tmp_path):
    checkpoint = Checkpoint(filled(tmp_path / "c"))
    assert Checkpoint.from_bytes(checkpoint.to_bytes()).to_dict() == {"a.txt": b"hello"}
    uri = f"file://{tmp_path}/up"
    assert checkpoint.to_uri(uri) == uri
    assert Checkpoint.from_uri(uri).uri == uri


def test_a_persisted_checkpoint_keeps_its_class(tmp_path):
    class Mine(Checkpoint):
        pass

    filesystem, _ = storage.resolve(tmp_path)
    kept = persist(Mine(filled(tmp_path / "c")), filesystem, str(tmp_path / "k"))
    assert type(kept) is Mine and kept.path == str(tmp_path / "k")
    assert (tmp_path / "c").exists()
    of_dict = persist(Checkpoint.from_dict({"a": 1}), filesystem, str(tmp_path / "d"))
    assert of_dict.path == str(tmp_path / "d") and of_dict.to_dict() == {"a": 1}


def test_bad_checkpoints_say_what_is_wrong():
    with pytest.raises(TypeError, match="from_dict"):
        Checkpoint()
    with pytest.raises(TypeError, match="not dict"):
        Checkpoint({"a": 1})
    with pytest.raises(ValueError, match="no filesystem is known"):
        Checkpoint("nosuch://x/y")
    with pytest.raises(ValueError, match="without a scheme"):
        storage.resolve("memory://x", storage.resolve("/tmp")[0])


@pytest.mark.parametrize(
    ("order", "attribute", "kept"),
    [("max", "s", [3, 5]), ("min", "s", [0, 5]), ("max", None, [4, 5]), ("max", "none", [4, 5])],
)
def test_the_best_and_the_newest_checkpoints_stay(order, attribute, kept):
    config = CheckpointConfig(
        num_to_keep=2 if attribute is None or attribute == "none" else 1,
        checkpoint_score_attribute=attribute,
        checkpoint_score_order=order,
    )
    gone: list[Checkpoint] = []
    manager = CheckpointManager(config, delete=gone.append)
    for i, score in enumerate([0, 4, 6, 9, 2, 5]):
        manager.register(Checkpoint(f"/tmp/c{i}"), {"s": score, "i": i})
    assert sorted(one.metrics["i"] for one in manager.kept) == kept
    assert manager.latest.metrics["i"] == 5
    assert len(gone) == 4


def test_removed_checkpoints_are_gone_from_disk(tmp_path):
    manager = CheckpointManager(CheckpointConfig(num_to_keep=1))
    for i in range(3):
        manager.register(Checkpoint(filled(tmp_path / str(i))), {})
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


# ------------------------------------------------------------ settings


def test_settings_check_their_values():
    with pytest.raises(ValueError, match="num_to_keep"):
        CheckpointConfig(num_to_keep=0)
    with pytest.raises(ValueError, match="'max' or 'min'"):
        CheckpointConfig(checkpoint_score_order="up")
    with pytest.raises(ValueError, match="checkpoint_frequency"):
        CheckpointConfig(checkpoint_frequency=-1)
    with pytest.raises(ValueError, match="fail_fast"):
        FailureConfig(max_failures=1, fail_fast=True)
    with pytest.raises(ValueError, match="bool or 'raise'"):
        FailureConfig(fail_fast="later")
    with pytest.raises(ValueError, match="max_failures"):
        FailureConfig(max_failures=-2)
    with pytest.raises(ValueError, match="range"):
        ScalingConfig(num_workers=(3, 1))
    with pytest.raises(ValueError, match="use_gpu"):
        ScalingConfig(resources_per_worker={"GPU": 1})
    with pytest.raises(TypeError, match="FailureConfig"):
        RunConfig(failure_config=3)


def test_settings_accept_both_vocabularies(tmp_path):
    config = RunConfig(failure_config={"max_failures": 2}, stop="DEPRECATED", storage_path=tmp_path)
    assert config.failure_config.max_failures == 2
    assert config.stop is None and config.storage_path == str(tmp_path)
    assert isinstance(config.sync_config, SyncConfig)
    with pytest.warns(DeprecationWarning, match="storage_path"):
        assert RunConfig(local_dir="/tmp/x").storage_path == "/tmp/x"
    assert RunConfig(sync_config=SyncConfig(upload_dir="/tmp/u")).storage_path == "/tmp/u"


def test_scaling_as_bundles_and_back():
    scaling = ScalingConfig(
        trainer_resources={"CPU": 1}, num_workers=2, use_gpu=True, resources_per_worker={"CPU": 2, "x": 1}
    )
    assert scaling.total_resources == {"CPU": 5, "GPU": 2, "x": 2}
    assert scaling.additional_resources_per_worker == {"x": 1}
    factory = scaling.as_placement_group_factory()
    assert factory.bundles == [{"CPU": 1}, *[{"CPU": 2, "x": 1, "GPU": 1}] * 2]
    assert ScalingConfig.from_placement_group_factory(factory).total_resources == scaling.total_resources
    elastic = ScalingConfig(num_workers=(1, 4))
    assert (elastic.min_workers, elastic.max_workers, elastic.elasticity_enabled) == (1, 4, True)


def test_factories_compare_by_what_they_ask_for():
    assert PlacementGroupFactory([{"CPU": 1}]) == PlacementGroupFactory([{"CPU": 1.0, "GPU": 0}])
    empty_head = PlacementGroupFactory([{}, {"CPU": 2}])
    assert empty_head.head_bundle_is_empty and empty_head.bundles == [{"CPU": 2}]
    assert resource_dict_to_pg_factory({"cpu": 2, "gpu": 1, "custom_resources": {"a": 3}}).bundles == [
        {"CPU": 2, "GPU": 1, "a": 3}
    ]
    with pytest.raises(ValueError, match="at least one bundle"):
        PlacementGroupFactory([])
    with pytest.raises(ValueError, match="extra_cpu"):
        resource_dict_to_pg_factory({"cpu": 1, "extra_cpu": 2})


def test_the_storage_is_checked_before_work_begins(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    context = storage.StorageContext(blocked, "exp")
    with pytest.raises(RuntimeError, match="can't be written"):
        context.check()
    context = storage.StorageContext(tmp_path / "new", "exp")
    context.check()
    assert context.for_trial("t").checkpoint_fs_path(3) == str(tmp_path / "new/exp/t/checkpoint_000003")


def test_remote_storage_is_written_by_way_of_a_staging_directory():
    context = storage.StorageContext("memory://runs-staging", "exp")
    local = Path(context.experiment_local_path)
    filled(local / "trial")
    context.sync_up()
    assert (
        storage.read_bytes(context.storage_filesystem, context.experiment_fs_path + "/trial/a.txt")
        == b"hello"
    )
    context.discard_staging()
    assert not local.exists()


def test_nested_metrics():
    nested = {"a": {"b": 1, "c": {"d": 2}}, "e/f": 3}
    assert unflatten(flatten({"a": {"b": 1}})) == {"a": {"b": 1}}
    assert [look_up(nested, name) for name in ("a/b", "a/c/d", "e/f", "x", "a/x")] == [1, 2, 3, None, None]


# ------------------------------------------------------------ results


def test_a_result_is_read_back_from_its_directory(tmp_path):
    (tmp_path / "result.json").write_text(
        json.dumps({"s": 1, "checkpoint_dir_name": "checkpoint_000000"})
        + "\n"
        + json.dumps({"s": 3, "checkpoint_dir_name": "checkpoint_000001"})
        + '\n{"torn'
    )
    (tmp_path / "params.json").write_text('{"lr": 0.1}')
    (tmp_path / "error.txt").write_text("it broke")
    for i in range(2):
        filled(tmp_path / f"checkpoint_00000{i}")
    result = Result.from_path(tmp_path)
    assert result.metrics["s"] == 3 and result.config == {"lr": 0.1}
    assert result.checkpoint.path.endswith("checkpoint_000001")
    assert result.get_best_checkpoint("s", "min").path.endswith("checkpoint_000000")
    assert "it broke" in str(result.error)
    assert "error=RuntimeError" in repr(result)
    with pytest.raises(RuntimeError, match="metric 'nope'"):
        result.get_best_checkpoint("nope", "min")
    with pytest.raises(RuntimeError, match="does not exist"):
        Result.from_path(tmp_path / "missing")
    with pytest.raises(RuntimeError, match="directory of one trial"):
        Result.from_path(filled(tmp_path / "other"))


# ------------------------------------------------------------ sessions


class Recording(session.RunSession):
    def __init__(self):
        self.reports = []

    def report(self, metrics, checkpoint=None, **options):
        self.reports.append((metrics, checkpoint, options))


def test_all_spellings_of_report_arrive():
    mine = Recording()
    with session.use(mine):
        session.report({"a": 1})
        session.report(a=2)
        session.report({"a": 3}, checkpoint="c", options={"x": 1})
        session.report(4)
        with pytest.raises(TypeError, match="dictionary of metrics"):
            session.report("a")
    assert mine.reports == [
        ({"a": 1}, None, {}),
        ({"a": 2}, None, {}),
        ({"a": 3}, "c", {"x": 1}),
        ({"_metric": 4}, None, {}),
    ]


def test_what_belongs_to_a_run_ends_with_it():
    ended = []
    with session.use(Recording()) as mine:
        mine.at_end(lambda: ended.append(session.current() is mine))
        assert ended == []
    assert ended == [True]


def test_threads_of_the_user_find_the_session():
    mine = Recording()
    with session.use(mine):
        thread = threading.Thread(target=session.report, args=({"a": 1},))
        thread.start()
        thread.join()
    assert mine.reports == [({"a": 1}, None, {})]
    assert session.current() is None
    with pytest.raises(RuntimeError, match="only inside"):
        session.require("get_context()")


# ------------------------------------------------------------ trainables


class Counter(Trainable):
    def setup(self, config):
        self.at = config.get("start", 0)

    def step(self):
        self.at += 1
        return {"at": self.at, "timesteps_this_iter": 10, "done": self.at >= 5}

    def save_checkpoint(self, checkpoint_dir):
        return {"at": self.at}

    def load_checkpoint(self, checkpoint):
        self.at = checkpoint["at"]


def test_a_trainable_is_saved_and_goes_on(tmp_path):
    first = Counter({"start": 1})
    first.train()
    result = first.train()
    assert result["at"] == 3 and result["training_iteration"] == 2 and result["timesteps_total"] == 20
    saved = first.save(str(tmp_path / "c"))
    second = Counter({})
    second.restore(saved)
    result = second.train()
    assert result["at"] == 4 and result["training_iteration"] == 3
    assert result["iterations_since_restore"] == 1
    assert [r["at"] for r in second.train_buffered(10)] == [5]
    assert second.reset({"a": 1}) is False


def test_what_is_missing_in_a_trainable_is_named():
    with pytest.raises(NotImplementedError, match="must define step"):
        Trainable().train()
    with pytest.raises(NotImplementedError, match="save_checkpoint"):
        Trainable().save()


def test_a_function_is_stepped_from_report_to_report():
    def train(config):
        for i in range(config["n"]):
            session.report({"i": i})

    trainable = wrap_function(train)({"n": 2})
    assert [trainable.train()["i"] for _ in range(2)] == [0, 1]
    last = trainable.train()
    assert last["done"] and last["i"] == 1 and last["training_iteration"] == 2
    trainable.reset({"n": 5})
    assert trainable.train()["i"] == 0
    trainable.stop()


@pytest.mark.parametrize("style", ["return", "yield", "no argument"])
def test_other_styles_of_functions(style):
    def returns(config):
        return {"x": 1}

    def yields(config):
        yield {"x": 1}

    def nothing():
        session.report({"x": 1})

    function = {"return": returns, "yield": yields, "no argument": nothing}[style]
    trainable = wrap_function(function)({})
    assert trainable.train()["x"] == 1
    assert trainable.train()["done"]
    trainable.stop()


def test_errors_of_the_function_reach_the_caller():
    def breaks(config):
        raise KeyError("mine")

    trainable = wrap_function(breaks)({})
    with pytest.raises(KeyError, match="mine"):
        trainable.train()
    trainable.stop()


def test_what_can_not_be_a_trainable_is_refused():
    assert accepted_arguments(lambda config, checkpoint_dir=None: 1) == ("config", "checkpoint_dir")
    with pytest.raises(TuneError, match="with_parameters"):
        accepted_arguments(lambda config, data: 1)
    with pytest.raises(TuneError, match="derive from"):
        as_trainable_class(int)
    with pytest.raises(TuneError, match="can't be a trainable"):
        as_trainable_class(3)


def test_registered_names(monkeypatch):
    monkeypatch.setattr(registry, "_names", {})
    registry.register_trainable("square", lambda config: {"x": 1})
    assert registry.is_function_trainable("square")
    assert registry.get_trainable_cls("square").__mro__[1].__name__ == "FunctionTrainable"
    registry.register_env("corridor", lambda config: "env")
    data = registry.export(registry.ENVIRONMENT)
    registry._names.clear()
    registry.adopt(data)
    assert registry.find(registry.ENVIRONMENT, "corridor")({}) == "env"
    with pytest.raises(TuneError, match="register_trainable"):
        registry.validate_trainable("square")
    with pytest.raises(TypeError, match="needs a function"):
        registry.register_env("x", 3)
    registry.register_input("in", lambda: 1)
    assert registry.registry_contains_input("in") and registry.registry_get_input("in")() == 1
