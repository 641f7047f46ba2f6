"""Configurations of jobs and connections: what they do here, and wrong ones."""

from __future__ import annotations

import warnings

import pytest


def test_a_client_is_a_driver(own):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        builder = own.client("local")
    assert any("rayjup.init" in str(warning.message) for warning in seen)
    with builder.namespace("n").env({"env_vars": {"A": "1"}}).connect() as context:
        assert own.get_runtime_context().namespace == "n"
        assert context.ray_version
    assert not own.is_initialized()


@pytest.mark.parametrize(
    "wrong, error, text",
    [
        ({"job_config": 3}, TypeError, "must be a JobConfig, not int"),
        ({"logging_config": "JSON"}, TypeError, "must be a LoggingConfig, not str"),
        ({"local_mode": True}, RuntimeError, r"call it: write remote = ray\.remote\(function\)"),
    ],
)
def test_wrong_configurations_start_nothing(own, wrong, error, text):
    with pytest.raises(error, match=text):
        own.init(**wrong)
    assert not own.is_initialized()


def test_levels_that_do_not_exist(own):
    with pytest.raises(ValueError, match=r"log_level='LOUD'.*'DEBUG'"):
        own.init(logging_config=own.LoggingConfig(log_level="LOUD"))
    with pytest.raises(TypeError, match="must be a list of names, not 'name'"):
        own.LoggingConfig(additional_log_standard_attrs="name")
    assert not own.is_initialized()
