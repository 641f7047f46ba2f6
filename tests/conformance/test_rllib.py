"""RLlib: configs, results, checkpoints, modules, callbacks, several agents."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

np = pytest.importorskip("numpy")
gym = pytest.importorskip("gymnasium")
torch = pytest.importorskip("torch")
pytest.importorskip("ray.rllib", reason="ray[rllib] is not installed here")


def small() -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    return (
        PPOConfig()
        .environment("CartPole-v1")
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .training(train_batch_size_per_learner=256, minibatch_size=64, num_epochs=2, lr=1e-3)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[16]))
        .debugging(seed=0)
    )


def test_settings_are_attributes_and_items() -> None:
    config = small().training(gamma=0.9, clip_param=0.1).evaluation(evaluation_interval=3)
    assert (config.gamma, config["clip_param"], config.evaluation_interval) == (0.9, 0.1, 3)
    assert config.get("nothing", 7) == 7
    assert config.total_train_batch_size == 256 and not config.is_multi_agent and not config.is_offline
    twin = config.copy(copy_frozen=False)
    twin.training(gamma=0.5)
    assert (config.gamma, twin.gamma) == (0.9, 0.5)
    assert type(config).overrides(explore=False) == {"explore": False}
    other = type(config)().update_from_dict({"gamma": 0.7, "env": "CartPole-v1"})
    assert other.gamma == 0.7 and other.env == "CartPole-v1"


def test_frozen_and_wrong_settings_are_refused() -> None:
    config = small()
    config.freeze()
    with pytest.raises(AttributeError):
        config.lr = 1.0
    with pytest.raises(TypeError):
        small().training(no_such_setting=1)
    with pytest.raises(ValueError):
        small().training(train_batch_size_per_learner=32, minibatch_size=64).validate()


def test_results_of_iterations(ray_cluster: ModuleType) -> None:
    algo = small().build_algo()
    first, second = algo.train(), algo.train()
    assert (first["training_iteration"], second["training_iteration"]) == (1, 2)
    runners, steps = second["env_runners"], second["num_env_steps_sampled_lifetime"]
    assert 512 <= steps < 560 and not second["done"]  # steps that only reset may count, too
    assert runners["num_env_steps_sampled_lifetime"] == steps
    assert 256 <= runners["num_env_steps_sampled"] < 280
    assert runners["num_agent_steps_sampled_lifetime"] == {"default_agent": steps}
    assert runners["num_module_steps_sampled_lifetime"] == {"default_policy": steps}
    assert runners["agent_episode_return_mean"]["default_agent"] == runners["episode_return_mean"]
    assert runners["module_episode_return_mean"]["default_policy"] == runners["episode_return_mean"]
    for key in ("episode_return_mean", "episode_return_max", "episode_return_min", "episode_len_mean"):
        assert runners[key] > 0
    # A reward of 1 per step.
    assert runners["episode_return_mean"] == pytest.approx(runners["episode_len_mean"], rel=0.05)
    assert runners["num_episodes_lifetime"] >= runners["num_episodes"]
    learnt = second["learners"]["default_policy"]
    for key in ("policy_loss", "vf_loss", "vf_loss_unclipped", "entropy", "total_loss"):
        assert np.isfinite(learnt[key])
    assert second["learners"]["__all_modules__"]["num_env_steps_trained_lifetime"] > 0
    # Both are means over several iterations, not of the same ones.
    assert second["timers"]["training_iteration"] > 0 and second["timers"]["training_step"] > 0
    assert second["num_training_step_calls_per_iteration"] == 1
    assert {"config", "fault_tolerance", "time_total_s", "env_runners", "learners"} <= set(second)
    algo.stop()


def test_checkpoints_bring_everything_back(ray_cluster: ModuleType, tmp_path: Path) -> None:
    from ray.rllib.algorithms.algorithm import Algorithm
    from ray.rllib.core.rl_module import RLModule

    algo = small().build_algo()
    algo.train()
    path = algo.save_to_path(tmp_path / "checkpoint")
    again = Algorithm.from_checkpoint(path)
    assert type(again) is type(algo) and again.training_iteration == 1
    mine, other = (a.get_module().get_state() for a in (algo, again))
    assert set(mine) == set(other) and all(np.array_equal(mine[k], other[k]) for k in mine)
    assert again.train()["training_iteration"] == 2
    part = "learner_group/learner/rl_module"
    again.restore_from_path(f"{path}/{part}", component=part)
    assert again.training_iteration == 2
    module = RLModule.from_checkpoint(
        Path(path) / "learner_group" / "learner" / "rl_module" / "default_policy"
    )
    batch = {"obs": torch.rand(3, 4)}
    logits = module.forward_inference(batch)["action_dist_inputs"]
    assert torch.allclose(logits, algo.get_module().forward_inference(batch)["action_dist_inputs"], atol=1e-5)
    algo.stop()
    again.stop()


def test_modules_and_their_distributions() -> None:
    spaces = {"observation_space": gym.spaces.Box(-1, 1, (3,)), "action_space": gym.spaces.Discrete(2)}
    spec = small().environment(**spaces).get_rl_module_spec()
    module = spec.build()
    assert not module.is_stateful() and module.get_initial_state() == {}
    batch = {"obs": torch.rand(5, 3)}
    for forward in (module.forward_inference, module.forward_exploration, module.forward_train):
        assert forward(batch)["action_dist_inputs"].shape == (5, 2)
    assert module.compute_values(batch).shape == (5,)
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    distribution = module.get_inference_action_dist_cls().from_logits(logits)
    assert distribution.to_deterministic().sample().tolist() == [1, 0]
    expected = torch.distributions.Categorical(logits=logits)
    actions = torch.tensor([0, 0])
    assert torch.allclose(distribution.logp(actions), expected.log_prob(actions))
    assert torch.allclose(distribution.entropy(), expected.entropy())


def test_a_module_of_ones_own(ray_cluster: ModuleType) -> None:
    from ray.rllib.core.columns import Columns
    from ray.rllib.core.rl_module.apis import ValueFunctionAPI
    from ray.rllib.core.rl_module.rl_module import RLModuleSpec
    from ray.rllib.core.rl_module.torch import TorchRLModule

    class Linear(TorchRLModule, ValueFunctionAPI):
        def setup(self) -> None:
            width = self.model_config["width"]
            self.body = torch.nn.Linear(self.observation_space.shape[0], width)
            self.pi, self.v = torch.nn.Linear(width, self.action_space.n), torch.nn.Linear(width, 1)

        def _forward(self, batch: Any, **kwargs: Any) -> Any:
            return {Columns.ACTION_DIST_INPUTS: self.pi(self.body(batch[Columns.OBS]))}

        def compute_values(self, batch: Any, embeddings: Any = None) -> Any:
            return self.v(self.body(batch[Columns.OBS])).squeeze(-1)

    config = small().rl_module(rl_module_spec=RLModuleSpec(module_class=Linear, model_config={"width": 7}))
    algo = config.build_algo()
    before = algo.get_module().pi.weight.detach().clone()
    algo.train()
    assert algo.get_module().body.out_features == 7
    assert not torch.equal(algo.get_module().pi.weight, before)
    algo.stop()


def test_callbacks_see_episodes_and_results(ray_cluster: ModuleType) -> None:
    from ray.rllib.callbacks.callbacks import RLlibCallback

    class Watch(RLlibCallback):
        def on_algorithm_init(self, *, algorithm: Any, metrics_logger: Any = None, **kwargs: Any) -> None:
            algorithm.seen = []

        def on_episode_step(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
            episode.custom_data["largest"] = max(
                abs(float(episode.get_observations(-1)[2])), episode.custom_data.get("largest", 0.0)
            )

        def on_episode_end(self, *, episode: Any, metrics_logger: Any, **kwargs: Any) -> None:
            assert episode.is_done and len(episode) > 0
            metrics_logger.log_value(
                "largest_angle", episode.custom_data["largest"], reduce="max", window=100
            )

        def on_train_result(self, *, algorithm: Any, result: Any, **kwargs: Any) -> None:
            algorithm.seen.append(result["training_iteration"])
            result["mine"] = 42

    algo = small().callbacks(Watch).build_algo()
    result = algo.train()
    assert 0.2 < result["env_runners"]["largest_angle"] < 1.0
    assert result["mine"] == 42 and len(algo.seen) == 1
    algo.stop()


def test_agents_are_mapped_to_modules(ray_cluster: ModuleType) -> None:
    from ray.rllib.env.multi_agent_env import MultiAgentEnv

    class Two(MultiAgentEnv):
        def __init__(self, config: Any = None) -> None:
            super().__init__()
            self.agents = self.possible_agents = ["a", "b"]
            self.observation_spaces = dict.fromkeys(self.agents, gym.spaces.Box(0, 9, (1,), np.float32))
            self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))

        def _see(self) -> dict:
            return {agent: np.array([self.t], np.float32) for agent in self.agents}

        def reset(self, *, seed: Any = None, options: Any = None) -> tuple:
            self.t = 0
            return self._see(), {}

        def step(self, action_dict: dict) -> tuple:
            self.t += 1
            over = {"__all__": self.t == 4}
            return self._see(), {"a": 1.0, "b": 2.0}, over, {"__all__": False}, {}

    config = small().environment(Two)
    config.env_runners(num_envs_per_env_runner=1)
    config.multi_agent(
        policies={"even", "odd"},
        policy_mapping_fn=lambda agent_id, episode, **kwargs: "even" if agent_id == "a" else "odd",
        policies_to_train=["even"],
    )
    algo = config.build_algo()
    before = {m: algo.get_module(m).get_state() for m in ("even", "odd")}
    result = algo.train()
    runners = result["env_runners"]
    assert runners["episode_return_mean"] == pytest.approx(12.0)
    assert runners["agent_episode_returns_mean"] == pytest.approx({"a": 4.0, "b": 8.0})
    assert runners["module_episode_returns_mean"] == pytest.approx({"even": 4.0, "odd": 8.0})
    learnt = result["learners"]
    assert "policy_loss" in learnt["even"] and "policy_loss" not in learnt.get("odd", {})
    changed = {
        m: any(not np.array_equal(v, before[m][k]) for k, v in algo.get_module(m).get_state().items())
        for m in before
    }
    assert changed == {"even": True, "odd": False}
    algo.stop()


def test_evaluation_plays_whole_episodes(ray_cluster: ModuleType) -> None:
    config = small().evaluation(evaluation_duration=3, evaluation_interval=1)
    algo = config.build_algo()
    played = algo.train()["evaluation"]["env_runners"]
    assert played["num_episodes"] == 3 and played["episode_return_mean"] > 0
    algo.stop()


def test_episodes_look_back() -> None:
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode

    episode = SingleAgentEpisode()
    episode.add_env_reset(0.0)
    for t in range(1, 5):
        episode.add_env_step(float(t), t, 10.0 * t, terminated=t == 4)
    assert (len(episode), episode.get_return(), episode.is_done) == (4, 100.0, True)
    assert episode.get_observations(-1) == 4.0 and episode.get_actions([0, -1]) == [1, 4]
    assert episode.get_rewards(slice(1, 3)) == [20.0, 30.0]
    assert episode[1:3].get_observations() == [1.0, 2.0, 3.0]
