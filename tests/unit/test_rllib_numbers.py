"""Formulas of reinforcement learning against numbers computed by others, or written out."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rayjup.rllib.algorithms.dqn.dqn import project  # noqa: E402
from rayjup.rllib.algorithms.impala.impala import vtrace  # noqa: E402
from rayjup.rllib.algorithms.tqc.tqc import quantile_huber  # noqa: E402
from rayjup.rllib.connectors.learner.general_advantage_estimation import gae  # noqa: E402
from rayjup.rllib.core.distribution.torch import torch_distribution as td  # noqa: E402
from rayjup.rllib.env.single_agent_episode import SingleAgentEpisode  # noqa: E402
from rayjup.rllib.utils.metrics.metrics_logger import MetricsLogger  # noqa: E402
from rayjup.rllib.utils.replay_buffers import (  # noqa: E402
    EpisodeReplayBuffer,
    PrioritizedEpisodeReplayBuffer,
)
from rayjup.rllib.utils.replay_buffers._columns import SumTree  # noqa: E402

# What Stable-Baselines3 2.9's RolloutBuffer computes for two environments (γ = 0.95, λ = 0.9) with last
# values (0.3, -0.7); in the first an episode begins at step 3, the second ends with the last step.
REWARDS = [[0.13, -0.13], [0.64, 0.1], [-0.54, 0.36], [1.3, 0.95], [-0.7, -1.27], [-0.62, 0.04]]
VALUES = [[-2.33, -0.22], [-1.25, -0.73], [-0.54, -0.32], [0.41, 1.04], [-0.13, 1.37], [-0.67, 0.35]]
ADVANTAGES = [
    [2.449835, 0.448035], [1.376977, 1.229865], [0.0, 0.823234],
    [-0.020164, -0.98803], [-0.920075, -2.57255], [0.335, -0.31],
]  # fmt: skip


def test_advantages_are_those_of_stable_baselines():
    r, v, expected = np.array(REWARDS), np.array(VALUES), np.array(ADVANTAGES)
    first = gae(r[:3, 0], np.append(v[:3, 0], 9.9), True, 0.95, 0.9)  # the value behind an end does not count
    second = gae(r[3:, 0], np.append(v[3:, 0], 0.3), False, 0.95, 0.9)
    whole = gae(r[:, 1], np.append(v[:, 1], -0.7), True, 0.95, 0.9)
    assert np.allclose(np.concatenate([first, second]), expected[:, 0], atol=1e-5)
    assert np.allclose(whole, expected[:, 1], atol=1e-5)


def test_distributions_agree_with_torch():
    torch.manual_seed(0)
    logits, other = torch.randn(5, 3), torch.randn(5, 3)
    mine, theirs = td.TorchCategorical(logits), torch.distributions.Categorical(logits=logits)
    value = torch.tensor([0, 1, 2, 1, 0])
    assert torch.allclose(mine.logp(value), theirs.log_prob(value))
    assert torch.allclose(mine.entropy(), theirs.entropy())
    second = torch.distributions.Categorical(logits=other)
    assert torch.allclose(
        mine.kl(td.TorchCategorical(other)), torch.distributions.kl_divergence(theirs, second)
    )
    inputs = torch.randn(5, 4)
    mine = td.TorchDiagGaussian.from_logits(inputs)
    normal = torch.distributions.Independent(
        torch.distributions.Normal(inputs[:, :2], inputs[:, 2:].exp()), 1
    )
    value = torch.randn(5, 2)
    assert torch.allclose(mine.logp(value), normal.log_prob(value), atol=1e-5)
    assert torch.allclose(mine.entropy(), normal.entropy(), atol=1e-5)
    squashed = td.TorchSquashedGaussian.from_logits(inputs, low=-2.0, high=3.0)
    drawn, logp = squashed.rsample_and_logp()
    parts = [torch.distributions.TanhTransform(), torch.distributions.AffineTransform(0.5, 2.5)]
    base = torch.distributions.Normal(inputs[:, :2], inputs[:, 2:].clamp(-20, 2).exp())
    theirs = torch.distributions.Independent(torch.distributions.TransformedDistribution(base, parts), 1)
    assert torch.allclose(logp, theirs.log_prob(drawn), atol=1e-2)
    assert bool((drawn >= -2).all() and (drawn <= 3).all())


@pytest.mark.parametrize(
    "space",
    [
        gym.spaces.Discrete(3),
        gym.spaces.MultiDiscrete([2, 3]),
        gym.spaces.MultiBinary(2),
        gym.spaces.Box(-1, 1, (2,)),
        gym.spaces.Dict({"b": gym.spaces.Discrete(2), "a": gym.spaces.Box(-1, 1, (1,))}),
        gym.spaces.Tuple([gym.spaces.Discrete(2), gym.spaces.Tuple([gym.spaces.Discrete(3)])]),
    ],
    ids=str,
)
def test_every_action_space_has_a_distribution(space):
    kind, width = td.distribution_for(space)
    inputs = torch.randn(4, width)
    distribution = kind.from_logits(inputs)
    actions = distribution.sample()
    assert distribution.logp(actions).shape == (4,)
    assert distribution.entropy().shape == (4,)
    assert torch.allclose(distribution.kl(kind.from_logits(inputs)), torch.zeros(4), atol=1e-6)
    distribution.to_deterministic().sample()


def test_masked_logits_leave_a_finite_entropy():
    distribution = td.TorchCategorical(torch.tensor([[0.0, -math.inf, 0.0]]))
    assert distribution.entropy().item() == pytest.approx(math.log(2))
    assert set(distribution.sample(sample_shape=(50,)).flatten().tolist()) <= {0, 2}


def test_vtrace_is_the_papers_sum():
    rng = np.random.default_rng(1)
    steps, gamma = 5, 0.9
    ratios, r, v = rng.normal(size=(3, steps)) * 0.5
    bootstrap = 0.7
    rho, c = np.minimum(1.0, np.exp(ratios)), np.minimum(1.0, np.exp(ratios))
    following = np.append(v[1:], bootstrap)
    delta = rho * (r + gamma * following - v)
    expected = [
        v[s] + sum(gamma ** (t - s) * np.prod(c[s:t]) * delta[t] for t in range(s, steps))
        for s in range(steps)
    ]
    column = [torch.tensor(x)[:, None] for x in (ratios, np.full(steps, gamma), r, v)]
    vs, advantages = vtrace(*column, torch.tensor([bootstrap]))
    assert np.allclose(vs[:, 0], expected)
    assert np.allclose(advantages[:, 0], rho * (r + gamma * np.append(expected[1:], bootstrap) - v))


def test_projected_distributions_keep_mass_and_mean():
    z = torch.linspace(-1.0, 1.0, 5)
    p = torch.tensor([[0.1, 0.2, 0.3, 0.2, 0.2]])
    m = project(0.1 + 0.5 * z[None], p, z)
    assert m.sum().item() == pytest.approx(1.0)
    assert (m * z).sum().item() == pytest.approx(0.1 + 0.5 * (p * z).sum().item(), abs=1e-6)
    assert torch.allclose(project(z[None], p, z), p)  # nothing moves
    assert project(z[None] + 9, p, z)[0, -1].item() == pytest.approx(1.0)


def test_quantile_loss_is_least_at_the_quantiles():
    y = torch.arange(1.0, 101.0)[None]

    def loss(median):
        return quantile_huber(torch.tensor([[median]]), y).item()

    assert min(range(30, 71), key=lambda m: loss(float(m))) in (50, 51)


def episode(length, done=True, offset=0, t=0, id_=None):
    return SingleAgentEpisode(
        id_,
        observations=list(np.arange(length + 1, dtype=np.float32) + offset),
        actions=[0] * length,
        rewards=[float(offset + i + 1) for i in range(length)],
        terminated=done,
        t_started=t,
        len_lookback_buffer=0,
    )


def test_n_step_transitions_stop_at_ends_and_follow_chunks():
    buffer = EpisodeReplayBuffer(100, seed=0)
    buffer.add(episode(2, done=False, id_="a"))
    buffer.add(episode(3, offset=100, id_="b"))  # in between
    buffer.add(episode(2, offset=2, t=2, id_="a"))
    found = buffer.sample(400, n_step=3, gamma=0.5)
    rows = {
        float(o): (float(r), float(n), bool(e), int(k))
        for o, r, n, e, k in zip(
            found["obs"],
            found["rewards"],
            found["new_obs"],
            found["terminateds"],
            found["n_step"],
            strict=True,
        )
    }
    assert rows[0.0] == (1 + 0.5 * 2 + 0.25 * 3, 3.0, False, 3)
    assert rows[1.0] == (2 + 0.5 * 3 + 0.25 * 4, 4.0, True, 3)
    assert rows[3.0] == (4.0, 4.0, True, 1)
    assert rows[102.0] == (103.0, 103.0, True, 1)
    assert len(rows) == 7 and buffer.get_num_timesteps() == 7 and buffer.get_num_episodes() == 2


def test_arrivals_tell_what_led_to_an_observation():
    buffer = EpisodeReplayBuffer(100, seed=0)
    for offset in (0, 100, 200):
        buffer.add(episode(3, offset=offset))
    buffer.add(episode(2, done=False, offset=300))
    found = buffer.sample_arrivals(64, 9)
    obs, first, ended = found["obs"], found["is_first"], found["ended"]
    assert first[:, 0].all() and obs.shape == (64, 9)
    # A reward is as great as the observation it led to; the first of a piece comes with none.
    assert np.array_equal(found["rewards_before"], np.where(first, 0.0, obs))
    assert np.array_equal(ended, ~first & (obs % 100 == 3))
    goes_on = ~first[:, 1:]
    assert np.array_equal(obs[:, 1:][goes_on], obs[:, :-1][goes_on] + 1)
    # A piece ends with the last observation that is known.
    assert set(np.unique(obs[:, :-1][first[:, 1:]] % 100).tolist()) == {2.0, 3.0}
    assert 300.0 + 2 in obs and found["loss_mask"].all()


def test_a_full_buffer_forgets_the_oldest():
    buffer = EpisodeReplayBuffer(20, seed=0)
    for i in range(10):
        buffer.add(episode(4, offset=1000 * i))
    seen = set((buffer.sample(300, n_step=1)["obs"] // 1000).astype(int).tolist())
    assert seen == {6, 7, 8, 9} and buffer.get_num_timesteps() == 16
    again = EpisodeReplayBuffer(20, seed=5)
    again.set_state(buffer.get_state())
    assert np.array_equal(again.sample(8, n_step=1)["obs"], buffer.sample(8, n_step=1)["obs"])


def test_priorities_decide_how_often():
    buffer = PrioritizedEpisodeReplayBuffer(64, alpha=1.0, seed=0)
    buffer.add(episode(4))
    for _ in range(20):
        drawn = buffer.sample(64, n_step=1, beta=1.0)
        buffer.update_priorities(np.where(drawn["obs"] == 2.0, 3.0, 1.0))
    seen = np.concatenate([buffer.sample(64, n_step=1)["obs"] for _ in range(20)])
    assert (seen == 2.0).mean() == pytest.approx(0.5, abs=0.05)
    drawn = buffer.sample(64, n_step=1, beta=1.0)
    weights = {float(o): float(w) for o, w in zip(drawn["obs"], drawn["weights"], strict=True)}
    assert weights[0.0] == pytest.approx(1.0) and weights[2.0] == pytest.approx(1 / 3, rel=1e-3)


def test_sum_tree_finds_by_running_sums():
    tree = SumTree(5)
    tree.set(np.arange(5), np.array([1.0, 0.0, 2.0, 0.0, 3.0]))
    assert tree.total == 6.0
    assert tree.find(np.array([0.0, 0.99, 1.0, 2.9, 3.0, 5.99])).tolist() == [0, 0, 2, 2, 4, 4]


def test_metrics_of_runners_join():
    root = MetricsLogger(root=True)
    runners = [MetricsLogger(), MetricsLogger()]
    for _ in range(2):
        for place, logger in enumerate(runners):
            logger.log_value("steps", 10, reduce="lifetime_sum")
            logger.log_value("new", 5, reduce="sum")
            logger.log_value("return", float(place), window=3)
        root.aggregate([logger.reduce() for logger in runners])
        found = root.reduce(compile=True)
        assert found["new"] == 10
    assert found["steps"] == 40
    assert found["return"] == pytest.approx(2 / 3)  # of 0, 1, 0, 1 the newest three
    again = MetricsLogger(root=True)
    again.set_state(root.get_state())
    assert again.peek("steps") == 40


def test_episode_slices_look_back():
    whole = episode(5)
    part = whole[2:4]
    assert part.get_rewards() == [3.0, 4.0] and part.t_started == 2 and not part.is_done
    assert part.get_observations(-1) == 4.0
    assert part.get_rewards(-1, neg_index_as_lookback=True) == 2.0
    assert part.get_observations([-3, 0], neg_index_as_lookback=True, fill=0.0) == [0.0, 2.0]
    copy = SingleAgentEpisode.from_state(whole.get_state())
    assert copy.get_data_dict()["new_obs"] == whole.get_data_dict()["new_obs"]
    chunk = episode(2, done=False, id_="x")
    later = chunk.cut(len_lookback_buffer=1)
    later.add_env_step(9.0, 1, 7.0, terminated=True)
    chunk.concat_episode(later)
    assert chunk.get_rewards() == [1.0, 2.0, 7.0] and chunk.is_terminated
