"""Stable-Baselines3's PPO as it is: it trains here, and finds the way from everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("torch")

from valuegym.agents import make
from valuegym.envs import mdp
from valuegym.envs.preference.delivery import Delivery
from valuegym.leaderboards import experiments
from valuegym.leaderboards.records.record import Record, read_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification.verify import verify

OPTIMAL = 41.2079


def small(env_id: str, **kwargs: Any) -> Any:
    """PPO with rollouts short enough for a test."""
    return make("ppo", gym.make(env_id, **kwargs), seed=0, n_steps=128, batch_size=64, n_epochs=1, device="cpu")


@pytest.mark.parametrize(
    ("env_id", "kwargs"),
    [
        ("valuegym/Delivery-v0", {"observation": "onehot"}),
        ("valuegym/RewardInference-v0", {"split": "dev", "evaluation_points": (3,)}),
    ],
)
def test_ppo_trains_and_predicts(env_id: str, kwargs: dict[str, Any]) -> None:
    agent = small(env_id, **kwargs)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    agent.learn(256)
    assert agent.num_timesteps == 256
    assert any((value != before[name]).any() for name, value in agent.policy.state_dict().items())
    env = gym.make(env_id, **kwargs)
    single, _ = agent.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(np.asarray(single, env.action_space.dtype))
    envs = gym.make_vec(env_id, num_envs=4, **kwargs)
    many, _ = agent.predict(envs.reset(seed=0)[0], deterministic=True)
    assert all(envs.single_action_space.contains(row) for row in many)
    envs.step(many)


def test_the_same_seed_trains_the_same_policy() -> None:
    agents = [small("valuegym/Delivery-v0", observation="onehot").learn(128) for _ in range(2)]
    for first, second in zip(*(agent.policy.state_dict().values() for agent in agents), strict=True):
        assert (first == second).all()


def recorded_policy(record: Record) -> Any:
    """The actions (1, S) of a deterministic policy that sees the cell, read off a record; unseen cells take 0."""
    policy, seen = np.zeros((1, 100), np.int64), np.zeros(100, np.bool_)
    for episode in record.episodes:
        for cell, action in zip(episode.states["cell"], episode.actions, strict=False):
            assert not seen[cell] or policy[0, cell] == action, "one policy acts alike wherever it comes from"
            policy[0, cell], seen[cell] = action, True
    core = Delivery()
    assert seen[core.mdp.start[0] > 0].all()
    return policy


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_ppo_learns_the_delivery_task(seed: int, tmp_path: Path) -> None:
    assert experiments.find("preference/delivery").seeds == tuple(range(5))
    path = run("ppo", "preference/delivery", seed, tmp_path)
    verdict = verify(path)
    assert verdict.reason == ""
    core, record = Delivery(), read_record(path)
    policy = recorded_policy(record)
    J = mdp.mean_return(core.mdp, mdp.evaluate(core.mdp, policy, core.true_rewards)).item()
    naive, best = core.references(None)  # type: ignore[arg-type]
    assert best == pytest.approx(OPTIMAL, abs=1e-4)
    assert J >= 0.95 * best
    assert np.mean(record.scores) == pytest.approx((J - naive) / (best - naive), abs=1e-9)  # every episode ends
