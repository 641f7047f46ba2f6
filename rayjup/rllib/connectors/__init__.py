"""Connectors: the steps between environments, modules and learners.

====================  =====================================================
`connector_v2`        the base class; columns, items, episodes
`connector_pipeline_v2`  several behind each other
`env_to_module`       from episodes to what the module gets
`module_to_env`       from what the module says to actions
`learner`             from episodes to train batches
`common`              used by several of them
====================  =====================================================
"""
