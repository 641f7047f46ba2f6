"""Algorithms learn, repeatably, and go on after a restore. `make learning` has the long runs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from libraries.rllib.environments import Corridor, OldCorridor, Pictures, PrisonersDilemma, Target

from rayjup.rllib.algorithms.appo import APPOConfig
from rayjup.rllib.algorithms.cql import CQLConfig
from rayjup.rllib.algorithms.dqn import DQNConfig
from rayjup.rllib.algorithms.dreamerv3 import DreamerV3Config
from rayjup.rllib.algorithms.impala import IMPALAConfig
from rayjup.rllib.algorithms.ppo import PPO, PPOConfig
from rayjup.rllib.algorithms.sac import SACConfig
from rayjup.rllib.algorithms.tqc import TQCConfig
from rayjup.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner


def tuned(env="CartPole-v1", seed=0, **training):
    return PPOConfig().environment(env).training(tuned=True, **training).debugging(seed=seed)


def learn(config, reward, steps):
    algo = config.build_algo()
    try:
        while True:
            result = algo.train()
            mean = result["env_runners"]["episode_return_mean"]
            if mean >= reward or result["num_env_steps_sampled_lifetime"] >= steps:
                return mean
    finally:
        algo.stop()


@pytest.mark.slow
def test_ppo_balances_the_pole():
    assert learn(tuned(), 195.0, 60_000) >= 195.0


def test_ppo_finds_the_optimum_of_the_corridor():
    config = tuned(Corridor).environment(env_config={"corridor_length": 6})
    config.env_runners(num_envs_per_env_runner=8)
    config.training(train_batch_size_per_learner=512, minibatch_size=128)
    algo = config.build_algo()
    for _ in range(15):
        algo.train()
    evaluation = algo.evaluate()["env_runners"]
    assert evaluation["episode_return_mean"] == pytest.approx(1.0 - 0.1 * 5)
    algo.stop()


def test_same_seed_same_returns():
    def returns():
        algo = tuned(seed=11, train_batch_size_per_learner=512).build_algo()
        found = [algo.train()["env_runners"]["episode_return_mean"] for _ in range(3)]
        algo.stop()
        return found

    assert returns() == returns()


@pytest.mark.parametrize("msgpack", [False, True])
def test_restored_algorithm_has_the_same_learner(tmp_path, msgpack):
    config = tuned(train_batch_size_per_learner=256, num_epochs=2)
    algo = config.experimental(_use_msgpack_checkpoints=msgpack).build_algo()
    algo.train()
    path = algo.save(str(tmp_path / "checkpoint")).checkpoint.path
    again = PPO.from_checkpoint(path)
    assert again.training_iteration == 1
    for key, value in algo.get_weights()["default_policy"].items():
        assert np.array_equal(value, again.get_weights()["default_policy"][key]), key
    episodes = algo.env_runner.sample(num_timesteps=256)
    results = []
    for a in (algo, again):
        a.learn(episodes=episodes, num_epochs=2, minibatch_size=64, shuffle_batch_per_epoch=True)
        results.append(a.get_weights()["default_policy"])
    assert all(np.array_equal(results[0][k], results[1][k]) for k in results[0])
    assert again.train()["training_iteration"] == 2
    algo.stop()
    again.stop()


def test_module_alone_from_an_algorithms_checkpoint(tmp_path):
    import torch

    from rayjup.rllib.core.rl_module import RLModule

    algo = tuned(train_batch_size_per_learner=256, num_epochs=1).build_algo()
    algo.train()
    path = algo.save_to_path(tmp_path / "checkpoint")
    module = RLModule.from_checkpoint(f"{path}/learner_group/learner/rl_module/default_policy")
    seen = torch.rand(5, 4)
    expected = algo.get_module().forward_inference({"obs": seen})["action_dist_inputs"]
    assert torch.equal(module.forward_inference({"obs": seen})["action_dist_inputs"], expected)
    algo.stop()


def test_two_modules_reach_the_equilibrium():
    config = tuned(PrisonersDilemma).multi_agent(
        policies={"p_row", "p_column"}, policy_mapping_fn=lambda agent, episode, **kw: f"p_{agent}"
    )
    config.env_runners(num_envs_per_env_runner=16)
    config.training(train_batch_size_per_learner=128, minibatch_size=64, num_epochs=10)
    algo = config.build_algo()
    for _ in range(12):
        result = algo.train()
    assert set(result["learners"]) == {"p_row", "p_column", "__all_modules__"}
    algo.stop()
    returns = result["env_runners"]["module_episode_returns_mean"]
    assert returns["p_row"] < 2.2 and returns["p_column"] < 2.2  # both defect, for 1 each
    evaluation = config.build_algo()
    evaluation.set_weights(algo.get_weights() if algo.learner_group.is_local else {})
    played = evaluation.evaluate()["env_runners"]
    assert played["episode_return_mean"] == pytest.approx(2.0)
    evaluation.stop()


def test_recurrent_modules_learn_and_keep_their_state():
    config = tuned(train_batch_size_per_learner=512, num_epochs=2, minibatch_size=128)
    config.rl_module(
        model_config={"use_lstm": True, "lstm_cell_size": 16, "max_seq_len": 8, "vf_share_layers": True}
    )
    algo = config.build_algo()
    for _ in range(2):
        result = algo.train()
    assert np.isfinite(result["learners"]["default_policy"]["total_loss"])
    chunks = algo.env_runner.sample(num_timesteps=320)
    later = [e for e in algo.env_runner.sample(num_timesteps=320) if e.t_started > 0]
    before = {e.id_: e for e in chunks}
    for e in later:
        known = before[e.id_].get_extra_model_outputs("state_out")["h"][-1]
        assert np.array_equal(
            e.extra_model_outputs["state_out"].get(-1, neg_index_as_lookback=True)["h"], known
        )
    assert later
    algo.stop()


def test_readme_program_in_its_older_spelling():
    from rayjup.rllib.agents.ppo import PPOTrainer

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trainer = PPOTrainer(
            config={
                "env": OldCorridor,
                "env_config": {"corridor_length": 4},
                "num_workers": 0,
                "num_sgd_iter": 2,
                "train_batch_size": 256,
            }
        )
        assert trainer.train()["episode_reward_mean"] < 1.0
        env = OldCorridor({"corridor_length": 4})
        assert trainer.compute_single_action(env.reset()) in (0, 1)
        trainer.stop()
    texts = [str(w.message) for w in seen if w.category is FutureWarning]
    assert sum("PPOTrainer" in t for t in texts) == 1
    assert sum("num_workers" in t for t in texts) == 1


def test_dqn_learns_the_corridor():
    config = DQNConfig().environment(Corridor, env_config={"corridor_length": 4}).debugging(seed=0)
    config.env_runners(num_envs_per_env_runner=4)
    config.training(
        epsilon=[[0, 1.0], [2000, 0.02]], num_steps_sampled_before_learning_starts=200,
        target_network_update_freq=200, lr=1e-3, n_step=3, model={"fcnet_hiddens": [32]},
    )  # fmt: skip
    algo = config.build_algo()
    for _ in range(3):
        algo.train()
    assert algo.evaluate()["env_runners"]["episode_return_mean"] == pytest.approx(1.0 - 0.1 * 3)
    algo.stop()


@pytest.mark.parametrize("kind", [IMPALAConfig, APPOConfig])
def test_asynchronous_algorithms_learn_the_corridor(kind):
    config = kind().environment(Corridor, env_config={"corridor_length": 4}).debugging(seed=0)
    config.training(tuned=True, lr=3e-3).env_runners(num_env_runners=0)
    config.reporting(min_time_s_per_iteration=0, min_sample_timesteps_per_iteration=6000)
    algo = config.build_algo()
    algo.train()
    assert algo.evaluate()["env_runners"]["episode_return_mean"] == pytest.approx(1.0 - 0.1 * 3)
    algo.stop()


@pytest.mark.parametrize("kind", [SACConfig, TQCConfig])
def test_actors_and_critics_find_the_target(kind):
    config = kind().environment(Target).debugging(seed=0).evaluation(evaluation_duration=50)
    config.training(
        tuned=True, num_steps_sampled_before_learning_starts=100, train_batch_size_per_learner=64,
        model={"fcnet_hiddens": [32, 32]}, actor_lr=5e-3, critic_lr=5e-3, alpha_lr=1e-2, initial_alpha=0.1,
    )  # fmt: skip
    config.reporting(min_sample_timesteps_per_iteration=400)
    algo = config.build_algo()
    algo.train()
    # Chance has -0.4 on average, the best constant -0.08.
    assert algo.evaluate()["env_runners"]["episode_return_mean"] > -0.01
    algo.stop()


def test_cql_finds_the_target_in_recorded_chance(tmp_path):
    config = PPOConfig().environment(Target).env_runners(num_env_runners=0).offline_data(output=str(tmp_path))
    runner = OfflineSingleAgentEnvRunner(config=config.debugging(seed=0))
    runner.sample(num_timesteps=2000, random_actions=True)
    runner.stop()
    config = CQLConfig().environment(Target).offline_data(input_=[str(tmp_path)]).debugging(seed=0)
    config.training(tuned=True, train_batch_size_per_learner=64, model={"fcnet_hiddens": [32, 32]})
    config.training(bc_iters=20, min_q_weight=0.1, initial_alpha=0.02, num_actions=2)
    config.training(actor_lr=5e-3, critic_lr=5e-3)
    config.offline_data(dataset_num_iters_per_learner=300).evaluation(evaluation_duration=50)
    algo = config.build_algo()
    algo.train()
    assert algo.evaluate()["env_runners"]["episode_return_mean"] > -0.03
    algo.stop()


def dreamer(env, **training):
    config = DreamerV3Config().environment(env).debugging(seed=0)
    config.training(
        tuned=True,
        **{
            "model_size": "nano", "batch_size_B": 8, "batch_length_T": 8, "horizon_H": 5,
            "training_ratio": 32, "actor_lr": 3e-3, "world_model_lr": 3e-3, "critic_lr": 3e-3, **training,
        },
    )  # fmt: skip
    return config.reporting(min_sample_timesteps_per_iteration=256)


def test_dreamer_learns_the_corridor_in_its_dreams():
    algo = dreamer(Corridor).environment(env_config={"corridor_length": 3}).build_algo()
    for _ in range(2):
        result = algo.train()
    assert 30 <= result["actual_training_ratio"] <= 40
    losses = result["learners"]["default_policy"]
    assert losses["WORLD_MODEL_L_decoder"] < 0.1 and losses["WORLD_MODEL_L_reward"] < 2.0
    assert algo.evaluate()["env_runners"]["episode_return_mean"] == pytest.approx(1.0 - 0.1 * 2)
    algo.stop()


@pytest.mark.parametrize("env", [Pictures, "Pendulum-v1"])
def test_dreamer_sees_images_and_acts_in_numbers(env):
    from rayjup.rllib.algorithms.dreamerv3.dreamerv3 import dreams_of

    def run():
        algo = dreamer(env, training_ratio=2).build_algo()
        losses = algo.train()["learners"]["default_policy"]
        algo.stop()
        return algo, {k: v for k, v in losses.items() if "_L_" in k}

    (algo, losses), (_, again) = run(), run()
    assert losses == again and all(np.isfinite(v) for v in losses.values())
    space = algo.get_module().observation_space
    dreams = dreams_of(algo.get_module(), np.stack([space.sample() for _ in range(3)]), steps=4)
    assert dreams.shape == (4, *space.shape)


def test_settings_that_do_not_exist_are_named():
    with pytest.raises(TypeError, match="did you mean 'gamma'"):
        PPOConfig().training(gama=0.9)
    with pytest.raises(ValueError, match="minibatch_size=128 is more"):
        PPOConfig().environment("CartPole-v1").training(train_batch_size_per_learner=64).build_algo()
