"""KL of Stable-Baselines3 policies to their start: closed forms, estimates, and what is left untouched."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import torch
from stable_baselines3 import DQN, PPO, SAC

from valuegym.agents.kl import kl_divergence, kl_gaussian
from valuegym.agents.sb3_kl import KLCallback, KLToStart

SMALL = {"n_steps": 64, "batch_size": 64, "n_epochs": 10, "learning_rate": 0.003, "seed": 0, "device": "cpu"}


def observations(env: gym.Env, n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, (n, *env.observation_space.shape)).astype(np.float32)


def test_discrete_actions() -> None:
    env = gym.make("CartPole-v1", max_episode_steps=30)
    model = PPO("MlpPolicy", env, **SMALL)
    kl, x = KLToStart(model), observations(env)
    assert kl.exact(x).tolist() == [0.0] * 7
    callback = KLCallback(kl)
    model.learn(192, callback=callback)
    tensor = torch.as_tensor(x)
    p, q = (policy.get_distribution(tensor).distribution.probs.detach().double() for policy in (model.policy, kl.start))
    np.testing.assert_allclose(kl.exact(x), kl_divergence(p.numpy(), q.numpy()), atol=1e-6)
    assert kl.exact(x).min() > 0 and kl.exact(x[0]) == pytest.approx(kl.exact(x)[:1], abs=1e-6)
    assert callback.logger.name_to_value["rollout/kl_to_start"] >= 0

    state = torch.random.get_rng_state()
    one, two = (kl.play(env, 8, seed=5) for _ in range(2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert one.exact == two.exact and np.array_equal(one.returns, two.returns)
    gap = one.exact.nats - one.log_ratios.nats
    assert abs(gap) < 4 * np.hypot(one.exact.standard_error, one.log_ratios.standard_error)
    assert one.exact.standard_error < one.log_ratios.standard_error and one.exact.steps == one.returns.sum()
    assert "nats per episode" in str(one)


def test_gaussian_actions() -> None:
    env = gym.make("Pendulum-v1", max_episode_steps=20)
    start, model = (PPO("MlpPolicy", env, **SMALL | {"seed": seed}) for seed in (0, 1))
    with torch.no_grad():
        model.policy.log_std += 0.3
    kl, x = KLToStart(model, start), observations(env)
    d, d0 = (m.policy.get_distribution(torch.as_tensor(x)).distribution for m in (model, start))
    expected = kl_gaussian(*(v.detach().double().numpy() for v in (d.mean, d.stddev, d0.mean, d0.stddev)))
    np.testing.assert_allclose(kl.exact(x), expected, atol=1e-6)
    played = kl.play(env, 10)
    assert abs(played.exact.nats - played.log_ratios.nats) < 4 * played.log_ratios.standard_error


def test_squashed_actions_of_sac() -> None:
    env = gym.make("Pendulum-v1", max_episode_steps=20)
    start, model = (SAC("MlpPolicy", env, seed=seed, device="cpu", buffer_size=10) for seed in (0, 1))
    with torch.no_grad():
        model.actor.mu.bias += 0.4
    kl, x = KLToStart(model, start), observations(env)
    rows = [m.actor.get_action_dist_params(torch.as_tensor(x))[:2] for m in (model, start)]
    flat = [v.detach().double().numpy() for mean, log_std in rows for v in (mean, log_std.exp())]
    np.testing.assert_allclose(kl.exact(x), kl_gaussian(*flat), atol=1e-6)
    played = kl.play(env, 10)
    assert abs(played.exact.nats - played.log_ratios.nats) < 4 * played.log_ratios.standard_error


def test_what_does_not_fit_is_refused() -> None:
    env = gym.make("CartPole-v1")
    model = PPO("MlpPolicy", env, **SMALL)
    with pytest.raises(ValueError, match="DQNPolicy has no distribution"):
        KLToStart(DQN("MlpPolicy", env, device="cpu", buffer_size=10))
    with pytest.raises(ValueError, match="observation_space of start"):
        KLToStart(model, PPO("MlpPolicy", gym.make("Pendulum-v1"), device="cpu"))
    with pytest.raises(ValueError, match="kl is 3"):
        KLCallback(3)  # type: ignore[arg-type] - the point
    sac = SAC("MlpPolicy", gym.make("Pendulum-v1"), device="cpu", buffer_size=10)
    with pytest.raises(ValueError, match="SAC has no rollout buffer"):
        sac.learn(1, callback=KLCallback(KLToStart(sac)))
    for options in ({"episodes": 1}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(options))):
            KLToStart(model).play(env, **options)
