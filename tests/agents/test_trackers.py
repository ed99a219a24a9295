"""Agents that follow values: update rules against closed forms, one protocol, and the one that keeps diversity."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest

from valuegym.agents import AGENTS, make
from valuegym.agents.coevolution import pluralist, trackers
from valuegym.envs import keys, rollouts
from valuegym.envs.coevolution.coevolve import Coevolve
from valuegym.envs.coevolution.follow import Follow

Array = npt.NDArray[Any]
FOLLOW, PREDICT, COEVOLVE = (f"valuegym/{name}-v0" for name in ("Follow", "Predict", "Coevolve"))
NAMES = [
    name
    for name, entry in AGENTS.items()
    if entry.entry.startswith(("valuegym.agents.coevolution.trackers", "valuegym.agents.plu"))
]


def follow(agent: trackers.Tracker, readings: Array) -> Array:
    """Estimates (T, B, D) for readings (T, B, D)."""
    memory: dict[str, Any] = {}
    out = []
    for t, reading in enumerate(readings):
        estimate, memory = agent.update(reading, np.full(len(reading), t), memory)
        out.append(estimate)
    return np.array(out)


def env(id: str = FOLLOW, **kwargs: Any) -> gym.Env[Any, Any]:
    return gym.make(id, **kwargs)


RAMP = np.arange(6.0)[:, None, None] * np.array([[0.1, -0.2]]) + 0.3


def test_update_rules_on_a_ramp() -> None:
    step = RAMP[1] - RAMP[0]
    assert np.array_equal(follow(trackers.Persistence(env()), RAMP), RAMP)
    assert np.allclose(follow(trackers.Frozen(env()), RAMP), RAMP[0])
    average = follow(trackers.MovingAverage(env(), gain=0.5), RAMP)
    assert np.allclose(average[2], 0.25 * RAMP[0] + 0.25 * RAMP[1] + 0.5 * RAMP[2])
    assert np.allclose(follow(trackers.Lifelong(env(), rate=0.5), RAMP), average)
    independent = follow(trackers.lifelong_independent(env(), rate=0.5), RAMP)
    assert np.allclose(independent, RAMP[0] + 0.5 * (RAMP - RAMP[0]))
    linear = follow(trackers.Extrapolative(env(), order=1, steps=3), RAMP)
    assert np.allclose(linear[0], RAMP[0]) and np.allclose(linear[1:], RAMP[1:] + 3 * step)
    shrunk = follow(trackers.extrapolative_shrunk(env()), RAMP)
    assert np.allclose(shrunk[1:], RAMP[1:] + 0.25 * step)


def test_extrapolation_as_published() -> None:
    past = np.random.default_rng(0).normal(size=(4, trackers.KEPT, 2))
    a, b, c = past[:, -3], past[:, -2], past[:, -1]
    assert np.allclose(trackers.extrapolate(past, 0, 5), c)
    assert np.allclose(trackers.extrapolate(past, 1, 1), 2 * c - b)
    assert np.allclose(trackers.extrapolate(past, 2, 1), 3 * c - 3 * b + a)
    assert np.allclose(trackers.extrapolate(past, 1, 2), 3 * c - 2 * b)
    t = np.arange(trackers.KEPT)[None, :, None]
    parabola = 0.1 * t**2 - t + np.array([[[1.0, 2.0]]])
    later = trackers.KEPT + 3 - 1
    assert np.allclose(trackers.extrapolate(parabola, 2, 3), 0.1 * later**2 - later + np.array([1.0, 2.0]))
    votes = np.zeros((4, trackers.KEPT, 1))
    votes[:, -3:, 0] = [(1, 1, 1), (-1, 1, 1), (1, -1, 1), (-1, -1, 1)]
    assert trackers.extrapolate(votes, 2, 2)[:, 0].tolist() == [1, -5, 17, 11]  # two steps ahead
    noise = np.random.default_rng(1).normal(size=(200_000, trackers.KEPT, 1))
    for K, factor in enumerate((1, 5, 19)):  # C(2K+2, K+1) - 1
        assert trackers.extrapolate(noise, K, 1).var() == pytest.approx(factor, rel=0.02)


def test_the_order_is_cut_to_the_history() -> None:
    agent = trackers.Extrapolative(env(), order=2, steps=1)
    x = np.random.default_rng(0).normal(size=(4, 1, 2))
    found = follow(agent, x)
    assert np.allclose(found[0], x[0]) and np.allclose(found[1], 2 * x[1] - x[0])
    assert np.allclose(found[2], 3 * x[2] - 3 * x[1] + x[0])


def test_the_kalman_filter_is_the_posterior() -> None:
    agent = trackers.Kalman(env(noise=0.5, budget=10), drift=0.1, cluster_std=0.2)
    assert agent.noise == pytest.approx((0.25 + 0.04) / 10)
    T, r, q = 6, agent.noise, 0.01
    y = np.random.default_rng(0).normal(size=(T, 1, 1))
    found = follow(agent, y)[:, 0, 0]
    # Gaussian regression with a flat prior on the first level: cov(x_s, x_t) = q min(s, t).
    steps = np.arange(T)
    for n in range(1, T + 1):
        cov = q * np.minimum(steps[:n, None], steps[None, :n]) + r * np.eye(n)
        inverse, one = np.linalg.inv(cov), np.ones(n)
        data = y[:n, 0, 0]
        start = one @ inverse @ data / (one @ inverse @ one)
        expected = start + q * np.minimum(steps[:n], n - 1) @ inverse @ (data - start)
        assert found[n - 1] == pytest.approx(expected, abs=1e-12)


def test_theta_on_a_ramp_and_on_a_constant() -> None:
    agent = trackers.Theta(env(PREDICT, horizon=2), gain=0.5)
    assert np.allclose(follow(agent, np.full((5, 1, 2), 0.7)), 0.7)
    slope = RAMP[1] - RAMP[0]
    n = np.arange(1, 7)[:, None, None]
    level = RAMP - slope * (1 - 0.5 ** (n - 1))  # how far smoothing is behind a ramp, at gain 1/2
    expected = level + 0.5 * slope * (2 - 1 + 2 - 2 * 0.5**n) * (n > 1)
    assert np.allclose(follow(agent, RAMP), expected)


@pytest.mark.parametrize(("speaking_rate", "expected"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 9)])
def test_the_speaking_rate_is_the_share_of_steps_that_are_spoken_at(speaking_rate: float, expected: int) -> None:
    t = np.arange(9)
    found = trackers.speaks(speaking_rate, t)
    assert found.sum() == expected
    agent = trackers.Kalman(env(COEVOLVE), speaking_rate=speaking_rate)
    assert agent.say(np.zeros((9, 5)), np.zeros((9, 5)), found)[:, -1].tolist() == np.where(found, 1, -1).tolist()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("id", [FOLLOW, PREDICT, COEVOLVE])
def test_the_protocol(name: str, id: str) -> None:
    """Rows do not depend on each other, episodes not on those before, and nothing is changed in place."""
    kwargs: dict[str, Any] = {"people": 20, "dimensions": 2, "steps": 4}
    envs: Any = gym.make_vec(id, num_envs=3, **kwargs).unwrapped
    one = env(id, **kwargs)
    agent = make(name, one, seed=1)
    assert agent.learn(0) is agent
    observation, _ = envs.reset(seed=5)
    single, _ = one.reset(seed=6)
    memory, own, first = None, None, []
    for t in range(10):
        before = None if memory is None else {k: v.copy() for k, v in memory.items()}
        action, after = agent.predict(observation, memory, np.full(3, t == 0), deterministic=True)
        if before is not None and memory is not None:
            assert all(np.array_equal(before[k], memory[k], equal_nan=True) for k in before)
        assert action in envs.action_space
        if t < 4:
            mine, own = agent.predict(single, own, np.array([t == 0]), deterministic=True)
            assert mine in one.action_space and np.allclose(mine, action[1], atol=1e-6)
            single, *_ = one.step(mine)
            first.append(action)
        observation, *_ = envs.step(action)
        memory = after
    envs.reset(seed=5)
    again, _ = agent.predict(envs.core.observation(envs.task, envs.state), memory)
    assert np.array_equal(again, first[0])  # the memory of the last episode is forgotten


def test_agents_say_where_they_play() -> None:
    with pytest.raises(ValueError, match="Follow-v0"):
        make("kalman", gym.make("valuegym/Delivery-v0"))
    for name, kwargs, message in (
        ("kalman", {"speaking_rate": 2.0}, "speaking_rate is 2.0"),
        ("kalman", {"drift": -1.0}, "drift is -1.0"),
        ("moving_average", {"gain": 0.0}, "gain is 0.0"),
        ("theta", {"gain": 0.0}, "gain is 0.0"),
        ("extrapolative", {"order": 99}, "order is 99"),
        ("lifelong", {"start": "never"}, "never"),
        ("pluralist", {"price": -1.0}, "price is -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make(name, env(COEVOLVE), **kwargs)


def test_a_reading_of_choices_has_about_the_stated_variance() -> None:
    core = Follow(responses="choices", budget=100, noise=1.0, cluster_std=0.2)
    task, state = core.initial(keys.mix(0, np.arange(400)))
    error = core.channel.estimate(state.pending_responses[:, 0]) - core.truth(task, state)
    assert trackers.reading_variance(core.channel, 0.2) == pytest.approx(error.var(), rel=0.35)


# ---------------------------------------------------------------- pluralist


def test_clusters_are_found_where_they_are() -> None:
    draw = np.random.default_rng(0)
    places = np.array([[0.8, 0.0], [-0.8, 0.0], [0.0, 1.0]])
    points = np.concatenate(
        [place + 0.2 * draw.normal(size=(4, n, 2)) for place, n in zip(places, (30, 20, 10), strict=True)], 1
    )
    points[:, 5] = np.nan
    share, centre, doubt = pluralist.fitted_clusters(points, 3, 0.2)
    order = np.argsort(-share, -1)
    assert np.allclose(np.sort(share)[:, ::-1], np.array([29, 20, 10]) / 59, atol=0.02)
    assert np.allclose(np.take_along_axis(centre, order[..., None], 1), places, atol=0.25)
    assert np.allclose(np.take_along_axis(doubt, order, 1), 0.2 / np.sqrt([29, 20, 10]), atol=0.01)
    one, _, _ = pluralist.fitted_clusters(0.2 * draw.normal(size=(50, 60, 2)), 3, 0.2)
    assert ((one > 0).sum(-1) == 1).mean() > 0.9


def test_the_pluralist_serves_more_and_wears_less_than_the_kalman_filter() -> None:
    core = Coevolve()
    task, _ = core.initial(keys.mix(11, np.arange(100)))

    def measured(name: str, **kwargs: Any) -> dict[str, float]:
        agent, memory = make(name, env(COEVOLVE), **kwargs), [None]

        def policy(task: Any, state: Any) -> Array:
            action, memory[0] = agent.predict(core.observation(task, state), memory[0])
            return np.asarray(action)

        run = rollouts.play(core, task, policy)
        found = core.episode_metrics(task, run.states, run.actions)
        return {"return": run.returns.mean(), **{key: value.mean() for key, value in found.items()}}

    ours, kalman, silent = measured("pluralist"), measured("kalman", speaking_rate=0.5), measured("silent")
    assert ours["diversity_ratio"] > kalman["diversity_ratio"] and ours["service"] > kalman["service"] + 0.05
    assert ours["return"] > max(kalman["return"], silent["return"]) + 0.5


@pytest.mark.slow
def test_ppo_beats_persistence_where_values_revert_to_a_mean() -> None:
    pytest.importorskip("stable_baselines3")
    from valuegym.leaderboards.experiments import find

    what = find("coevolution/follow-few-responses")
    scalar = gym.make(what.env_id, **what.kwargs)
    core: Any = scalar.unwrapped.core  # type: ignore[attr-defined]
    agent = make("ppo", scalar, seed=0)
    agent.learn(what.timesteps)
    task, _ = core.initial(keys.mix(0, np.arange(400)))

    def policy(task: Any, state: Any) -> Array:
        return np.asarray(agent.predict(core.observation(task, state), deterministic=True)[0])

    returns = rollouts.play(core, task, policy).returns
    naive, _ = core.references(task)
    gain = returns - naive
    assert gain.mean() > 1.96 * gain.std() / np.sqrt(len(gain))  # the same answers for both
    assert 1 - returns.sum() / naive.sum() > 0.2
