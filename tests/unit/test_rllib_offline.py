"""Recorded batches: files, mixed sources, buffers for training loops of one's own, estimates of policies."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rayjup.rllib import SampleBatch  # noqa: E402
from rayjup.rllib.core.rl_module.torch import TorchRLModule  # noqa: E402
from rayjup.rllib.offline import (  # noqa: E402
    FeatureImportance,
    IOContext,
    JsonReader,
    JsonWriter,
    MixedInput,
    NoopOutput,
    ShuffledInput,
)
from rayjup.rllib.offline.estimators import (  # noqa: E402
    DirectMethod,
    DoublyRobust,
    ImportanceSampling,
    WeightedImportanceSampling,
)
from rayjup.rllib.policy.sample_batch import MultiAgentBatch  # noqa: E402
from rayjup.rllib.utils import replay_buffers as rb  # noqa: E402


def steps(n, episode=0, done=True):
    ends = np.zeros(n, bool)
    ends[-1] = done
    return SampleBatch({
        "obs": np.arange(n, dtype=np.float32) + 100 * episode, "actions": np.zeros(n, int),
        "rewards": np.ones(n), "terminateds": ends, "truncateds": np.zeros(n, bool),
        "eps_id": np.full(n, episode), "t": np.arange(n),
    })  # fmt: skip


# ------------------------------------------------------------ files


def test_batches_come_back_from_files(tmp_path):
    writer = JsonWriter(str(tmp_path), max_file_size=600)
    both = MultiAgentBatch({"a": steps(2), "b": steps(3)}, 3)
    for batch in (steps(3, 0), steps(2, 1), both):
        writer.write(batch)
    assert len(list(tmp_path.glob("*.json"))) >= 2  # files end where they are full
    found = list(JsonReader(str(tmp_path)).read_all_files())
    plain = sorted((b for b in found if isinstance(b, SampleBatch)), key=len)
    assert [b["obs"].tolist() for b in plain] == [[100, 101], [0, 1, 2]]
    (joint,) = (b for b in found if isinstance(b, MultiAgentBatch))
    assert joint.count == 3 and joint["b"]["terminateds"].tolist() == [False, False, True]
    reader = JsonReader([str(tmp_path / "*.json")])
    seen = [reader.next().env_steps() for _ in range(9)]
    assert sorted(seen) == [2, 2, 2, 3, 3, 3, 3, 3, 3]  # goes on after the last file
    with pytest.raises(ValueError, match="no files of JSON"):
        JsonReader(str(tmp_path / "nowhere"))


def test_lines_that_are_broken_are_left_out(tmp_path):
    JsonWriter(str(tmp_path)).write(steps(2))
    (file,) = tmp_path.glob("*.json")
    file.write_text(file.read_text() + '{"type": "SampleBatch", "obs"')
    with pytest.warns(RuntimeWarning, match="line 2 is no JSON"):
        assert len(list(JsonReader(str(file)).read_all_files())) == 1


def test_sources_are_mixed_and_shuffled(tmp_path):
    for episode in (0, 1):
        JsonWriter(str(tmp_path / str(episode))).write(steps(1, episode))
    context = IOContext()
    context.config.debugging(seed=1)
    mixed = MixedInput({str(tmp_path / "0"): 0.25, str(tmp_path / "1"): 0.75}, context)
    seen = [float(mixed.next()["obs"][0]) for _ in range(400)]
    assert seen.count(100.0) / 400 == pytest.approx(0.75, abs=0.07)
    with pytest.raises(ValueError, match="add up to 1"):
        MixedInput({str(tmp_path / "0"): 0.5})
    shuffled = ShuffledInput(mixed, n=8, seed=0)
    assert {float(shuffled.next()["obs"][0]) for _ in range(50)} == {0.0, 100.0}
    assert NoopOutput().write(steps(1)) is None
    with pytest.raises(TypeError, match="call next"):
        mixed.tf_input_ops()


# ------------------------------------------------------------ buffers


def test_items_of_buffers():
    with pytest.raises(ValueError, match="empty"):
        rb.ReplayBuffer(10).sample(1)
    with pytest.raises(ValueError, match="storage_unit 'rows'"):
        rb.ReplayBuffer(10, storage_unit="rows")
    expected = {"timesteps": (7, 1), "episodes": (2, 3), "fragments": (1, 7)}
    batch = steps(4).concat(steps(3, 1))
    for unit, (items, least) in expected.items():
        buffer = rb.ReplayBuffer(100, storage_unit=unit, seed=0)
        buffer.add(batch)
        assert len(buffer) == items and len(buffer.sample(1)) >= least
        assert buffer.stats()["added_count"] == 7
    sequences = rb.ReplayBuffer(100, storage_unit="sequences", seed=0)
    batch["seq_lens"] = np.array([4, 3])
    sequences.add(batch)
    assert sorted({len(sequences.sample(1)) for _ in range(20)}) == [3, 4]
    unfinished = rb.ReplayBuffer(100, storage_unit="episodes")
    unfinished.add(steps(3, done=False))
    assert len(unfinished) == 0


def test_full_buffers_replace_the_oldest_and_keep_their_state():
    buffer = rb.ReplayBuffer(4, seed=0)
    for episode in range(3):
        buffer.add(steps(3, episode))
    assert len(buffer) == 4
    assert set(buffer.sample(100)["obs"].tolist()) == {102.0, 200.0, 201.0, 202.0}
    other = rb.ReplayBuffer(4, seed=9)
    other.set_state(buffer.get_state())
    assert other.sample(5)["obs"].tolist() == buffer.sample(5)["obs"].tolist()


def test_priorities_of_items_decide_how_often():
    buffer = rb.PrioritizedReplayBuffer(16, alpha=1.0, seed=0)
    buffer.add(steps(4))
    buffer.update_priorities(np.arange(4), np.array([1.0, 1.0, 1.0, 3.0]))
    drawn = buffer.sample(4000, beta=1.0)
    assert (drawn["obs"] == 3).mean() == pytest.approx(0.5, abs=0.03)
    assert drawn["weights"][drawn["obs"] == 3][0] == pytest.approx(1 / 3)
    assert (drawn["batch_indexes"] == drawn["obs"]).all()
    other = rb.PrioritizedReplayBuffer(16, alpha=1.0)
    other.set_state(buffer.get_state())
    assert other.sample(3)["obs"].tolist() == buffer.sample(3)["obs"].tolist()
    with pytest.raises(ValueError, match="one number above 0"):
        buffer.update_priorities([0], [0.0])


def test_queues_reservoirs_and_mixes():
    queue = rb.FifoReplayBuffer()
    queue.add(steps(4))
    queue.add(steps(3, 1))
    assert [len(queue.sample()) for _ in range(3)] == [4, 3, 0]
    reservoir = rb.ReservoirReplayBuffer(20, seed=0)
    for episode in range(50):
        reservoir.add(steps(4, episode))
    kept = np.unique(np.concatenate([reservoir.sample(20)["obs"] for _ in range(20)]) // 100)
    assert len(reservoir) == 20 and kept.max() > 30 and kept.min() < 20  # early and late ones
    assert reservoir.stats()["num_add_calls"] == 200 and reservoir.stats()["num_evicted"] == 180
    mix = rb.MultiAgentMixInReplayBuffer(100, replay_ratio=0.5)
    mix.add(steps(4))
    mix.add(steps(4, 1))
    assert len(mix.sample()["default_policy"]) == 16  # 8 new ones, 8 old ones
    assert len(mix.sample(2)["default_policy"]) == 2  # nothing new: old ones


def test_buffers_by_module():
    buffer = rb.MultiAgentPrioritizedReplayBuffer(100, seed=0)
    buffer.add(MultiAgentBatch({"a": steps(2), "b": steps(3)}, 3))
    drawn = buffer.sample(50)
    assert {len(drawn[m]) for m in "ab"} == {50}
    buffer.update_priorities({"b": (np.arange(3), np.array([0.0, 0.0, 100.0]))})
    assert (buffer.sample(100, policy_id="b")["b"]["obs"] == 2).mean() > 0.9
    lockstep = rb.MultiAgentReplayBuffer(100, storage_unit="fragments", replay_mode="lockstep")
    lockstep.add(MultiAgentBatch({"a": steps(2), "b": steps(3)}, 3))
    assert len(lockstep.sample(1)["b"]) == 3
    other = rb.MultiAgentPrioritizedReplayBuffer(100)
    other.set_state(buffer.get_state())
    assert len(other) == 5


# ------------------------------------------------------------ estimates


class Leaning(TorchRLModule):
    """Takes action 1 with probability 0.8, wherever it is."""

    def setup(self):
        pass

    def _forward(self, batch, **kwargs):
        logits = torch.log(torch.tensor([0.2, 0.8]))
        return {"action_dist_inputs": logits.expand(len(batch["obs"]), 2)}


@pytest.fixture(scope="module")
def coins():
    """Two tosses per episode by an even policy; action 1 earns 1, action 0 nothing."""
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 2, 4000)
    t = np.arange(4000) % 2
    return SampleBatch({
        "obs": t[:, None].astype(np.float32), "new_obs": (t[:, None] + 1).astype(np.float32),
        "actions": actions, "rewards": actions.astype(float), "action_prob": np.full(4000, 0.5),
        "terminateds": t == 1, "eps_id": np.arange(4000) // 2,
    })  # fmt: skip


@pytest.fixture(scope="module")
def leaning():
    return Leaning(
        observation_space=gym.spaces.Box(-9, 9, (1,), np.float32), action_space=gym.spaces.Discrete(2)
    )


@pytest.mark.parametrize("kind", [ImportanceSampling, WeightedImportanceSampling, DirectMethod, DoublyRobust])
def test_estimates_find_what_the_other_policy_earns(kind, coins, leaning):
    estimator = kind(leaning, gamma=0.9)
    estimator.train(coins)
    found = estimator.estimate(coins)
    assert found["v_behavior"] == pytest.approx(0.5 * 1.9, abs=0.05)
    assert found["v_target"] == pytest.approx(0.8 * 1.9, abs=0.08)
    assert found["v_gain"] == pytest.approx(1.6, abs=0.15)
    assert found["v_delta"] == pytest.approx(found["v_target"] - found["v_behavior"])
    if kind in (ImportanceSampling, WeightedImportanceSampling):
        single = estimator.estimate(coins, split_batch_by_episode=False)
        assert single["v_target"] == pytest.approx(0.8, abs=0.03)
        greedy = kind(leaning, gamma=0.9, epsilon_greedy=0.5).estimate(coins)
        assert greedy["v_target"] == pytest.approx((0.5 * 0.8 + 0.25) * 1.9, abs=0.08)


def test_estimates_say_what_is_missing(coins, leaning):
    without = SampleBatch({k: v for k, v in coins.items() if k != "action_prob"})
    with pytest.raises(ValueError, match="neither 'action_prob' nor 'action_logp'"):
        ImportanceSampling(leaning).estimate(without)
    with pytest.raises(ValueError, match=r"call train\(\)"):
        DirectMethod(leaning, gamma=1.0).estimate(coins)


def test_important_features_change_actions():
    class Looks(TorchRLModule):
        def setup(self):
            pass

        def _forward(self, batch, **kwargs):
            x = batch["obs"][:, 1]
            return {"action_dist_inputs": torch.stack([x, -x], -1)}

    space = gym.spaces.Box(-9, 9, (3,), np.float32)
    module = Looks(observation_space=space, action_space=gym.spaces.Discrete(2))
    obs = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    found = FeatureImportance(module, repeat=2).estimate(SampleBatch({"obs": obs}))
    assert found["feature_0"] == found["feature_2"] == 0.0
    assert found["feature_1"] == pytest.approx(0.5, abs=0.1)
