"""What holds for a whole job: ``JobConfig``, ``LoggingConfig``, and arguments of ``init`` that are gone."""

import json
import logging
import os

import pytest
import ray
from ray.job_config import JobConfig


@pytest.fixture(autouse=True)
def disconnected():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    ray.shutdown()
    root.handlers[:], root.level = before


def test_namespace_and_environment_of_a_job():
    config = JobConfig(ray_namespace="mine", runtime_env={"env_vars": {"FROM_JOB_CONFIG": "yes"}})
    ray.init(num_cpus=1, job_config=config)
    assert ray.get_runtime_context().namespace == "mine"

    @ray.remote
    def variable(name):
        return os.environ.get(name)

    assert ray.get(variable.remote("FROM_JOB_CONFIG"), timeout=50) == "yes"


def test_what_is_given_to_init_itself_wins():
    ray.init(num_cpus=1, namespace="theirs", job_config=JobConfig(ray_namespace="mine"))
    assert ray.get_runtime_context().namespace == "theirs"


def test_actors_may_be_detached_by_default(eventually):
    @ray.remote(num_cpus=0)
    class Actor:
        def f(self):
            return 1

    ray.init(num_cpus=1, job_config=JobConfig(default_actor_lifetime="detached", ray_namespace="n"))
    kept = Actor.options(name="kept").remote()
    dropped = Actor.options(name="dropped", lifetime="non_detached").remote()
    assert ray.get([kept.f.remote(), dropped.f.remote()], timeout=50) == [1, 1]
    del kept, dropped

    def is_dropped():
        try:
            ray.get_actor("dropped")
        except ValueError:
            return True
        return False

    eventually(is_dropped)
    assert ray.get(ray.get_actor("kept").f.remote(), timeout=60) == 1


def test_a_job_config_step_by_step():
    config = JobConfig()
    config.set_metadata("owner", "me")
    config.set_metadata("owner", "you")
    config.set_ray_namespace("n")
    config.set_runtime_env({"env_vars": {"A": "1"}})
    config.set_default_actor_lifetime("detached")
    assert config.metadata == {"owner": "you"}
    assert config.ray_namespace == "n"
    assert config.runtime_env == {"env_vars": {"A": "1"}}
    again = JobConfig.from_json({"runtime_env": {"env_vars": {"A": "1"}}, "metadata": {"owner": "you"}})
    assert (again.runtime_env, again.metadata) == (config.runtime_env, config.metadata)


def test_unknown_lifetimes():
    with pytest.raises(ValueError, match="detached"):
        JobConfig(default_actor_lifetime="for ever")
    with pytest.raises(ValueError, match="detached"):
        JobConfig().set_default_actor_lifetime("for ever")


def test_logging_as_json(tmp_path):
    config = ray.LoggingConfig(encoding="JSON", additional_log_standard_attrs=["name", "funcName"])
    ray.init(num_cpus=1, logging_config=config, log_to_driver=False)
    root = logging.getLogger()

    def formatted():
        root = logging.getLogger()
        record = root.makeRecord(
            "my.logger", logging.INFO, __file__, 7, "value %d", (3,), None, "f", {"user": 5}
        )
        (handler,) = [h for h in root.handlers if type(h) is logging.StreamHandler]
        handler.filter(record)
        return json.loads(handler.format(record)), root.level

    @ray.remote
    def task():
        return formatted(), ray.get_runtime_context().get_task_id(), ray.get_runtime_context().get_worker_id()

    @ray.remote
    class Actor:
        def f(self):
            return formatted(), ray.get_runtime_context().get_actor_id()

    assert root.level == logging.INFO
    row, _ = formatted()
    assert (row["levelname"], row["message"], row["lineno"], row["user"]) == ("INFO", "value 3", 7, 5)
    assert (row["name"], row["funcName"]) == ("my.logger", "f")
    assert row["job_id"] == ray.get_runtime_context().get_job_id()
    assert "task_id" not in row
    (row, level), task_id, worker_id = ray.get(task.options(name="named").remote(), timeout=50)
    assert level == logging.INFO
    assert (row["message"], row["task_id"], row["worker_id"]) == ("value 3", task_id, worker_id)
    assert row["task_name"] == "named"
    assert "task" in row["task_func_name"]
    assert isinstance(row["timestamp_ns"], int)
    actor = Actor.options(name="an actor").remote()
    (row, _), actor_id = ray.get(actor.f.remote(), timeout=50)
    assert (row["actor_id"], row["actor_name"]) == (actor_id, "an actor")


def test_logging_as_text():
    ray.init(num_cpus=1, logging_config=ray.LoggingConfig(log_level="DEBUG"), log_to_driver=False)

    @ray.remote
    def task():
        root = logging.getLogger()
        record = root.makeRecord("my.logger", logging.DEBUG, __file__, 7, "value %d", (3,), None)
        (handler,) = [h for h in root.handlers if type(h) is logging.StreamHandler]
        handler.filter(record)
        return handler.format(record), root.isEnabledFor(logging.DEBUG)

    text, enabled = ray.get(task.remote(), timeout=50)
    assert enabled
    assert f"DEBUG {os.path.basename(__file__)}:7 -- value 3" in text
    assert "task_name=" in text


@pytest.mark.parametrize(
    "wrong",
    [{"encoding": "XML"}, {"encoding": "json"}, {"additional_log_standard_attrs": ["nothing"]}],
)
def test_wrong_logging_configurations(wrong):
    with pytest.raises(ValueError):
        ray.LoggingConfig(**wrong)


def test_local_mode_is_gone():
    with pytest.raises(RuntimeError, match="local_mode"):
        ray.init(local_mode=True)
    assert not ray.is_initialized()


def test_logging_configurations_as_dicts():
    config = ray.LoggingConfig(encoding="JSON", log_level="ERROR", additional_log_standard_attrs=["name"])
    assert ray.LoggingConfig.from_dict(config.to_dict()) == config
    job = JobConfig()
    job.ensure_logging_config(config.to_dict())
    job.ensure_logging_config(ray.LoggingConfig())
    assert job.py_logging_config == config
