"""The algorithms, each in a folder of its own.

===================  ============================================================
`algorithm`          what they have in common: runners, learners, evaluation
`algorithm_config`   settings; their sections are in `_sections`
`_off_policy`        with replay buffers: `dqn`, `sac`, `tqc`
`dreamerv3`          with a model of the world
`_offline`           on recorded data: `bc`, `marwil`, `cql`, `iql`
`_legacy`            older spellings
===================  ============================================================
"""

from rayjup.rllib._lazy import exports

_NAMES = {
    "APPO": "rayjup.rllib.algorithms.appo",
    "APPOConfig": "rayjup.rllib.algorithms.appo",
    "BC": "rayjup.rllib.algorithms.bc",
    "BCConfig": "rayjup.rllib.algorithms.bc",
    "CQL": "rayjup.rllib.algorithms.cql",
    "CQLConfig": "rayjup.rllib.algorithms.cql",
    "DQN": "rayjup.rllib.algorithms.dqn",
    "DQNConfig": "rayjup.rllib.algorithms.dqn",
    "DreamerV3": "rayjup.rllib.algorithms.dreamerv3",
    "DreamerV3Config": "rayjup.rllib.algorithms.dreamerv3",
    "IMPALA": "rayjup.rllib.algorithms.impala",
    "IMPALAConfig": "rayjup.rllib.algorithms.impala",
    "IQL": "rayjup.rllib.algorithms.iql",
    "IQLConfig": "rayjup.rllib.algorithms.iql",
    "MARWIL": "rayjup.rllib.algorithms.marwil",
    "MARWILConfig": "rayjup.rllib.algorithms.marwil",
    "PPO": "rayjup.rllib.algorithms.ppo",
    "PPOConfig": "rayjup.rllib.algorithms.ppo",
    "SAC": "rayjup.rllib.algorithms.sac",
    "SACConfig": "rayjup.rllib.algorithms.sac",
    "TQC": "rayjup.rllib.algorithms.tqc",
    "TQCConfig": "rayjup.rllib.algorithms.tqc",
    "Impala": "rayjup.rllib.algorithms.impala",
    "ImpalaConfig": "rayjup.rllib.algorithms.impala",
    "Algorithm": "rayjup.rllib.algorithms.algorithm",
    "AlgorithmConfig": "rayjup.rllib.algorithms.algorithm_config",
}

__all__ = [
    "APPO",
    "APPOConfig",
    "Algorithm",
    "AlgorithmConfig",
    "BC",
    "BCConfig",
    "CQL",
    "CQLConfig",
    "DQN",
    "DQNConfig",
    "DreamerV3",
    "DreamerV3Config",
    "IMPALA",
    "IMPALAConfig",
    "IQL",
    "IQLConfig",
    "Impala",
    "ImpalaConfig",
    "MARWIL",
    "MARWILConfig",
    "PPO",
    "PPOConfig",
    "SAC",
    "SACConfig",
    "TQC",
    "TQCConfig",
]

__getattr__, __dir__ = exports(__name__, _NAMES)
