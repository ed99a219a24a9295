"""Transforms of rewards: order and bounds of all, closed forms, shifts, and environments that use them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from valuegym.envs.feedback import transforms
from valuegym.envs.feedback.learned_reward import (
    LearnedReward,
    LearnedRewardVector,
    TransformedReward,
    TransformedRewardVector,
    reference_rewards,
)
from valuegym.envs.feedback.transforms import TRANSFORMS, fit_transform

RNG = np.random.default_rng(0)
REFERENCES = RNG.normal(1.0, 2.0, 50)
REWARDS = np.concatenate([[-800.0, 800.0], RNG.normal(0.0, 4.0, (500))])
BOUNDS = {"par": (0, 1), "win_rate": (0, 1), "lsc": (-np.inf, 0)}
STRICT = set(TRANSFORMS) - {"clip", "win_rate"}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_order_bounds_and_shape(name: str) -> None:
    transform = fit_transform(name, REFERENCES)
    u = transform(np.sort(REWARDS))
    low, high = BOUNDS.get(name, (-np.inf, np.inf))
    assert np.isfinite(u).all() and u.min() >= low and u.max() <= high
    assert (np.diff(u) >= 0).all()
    if name in STRICT:
        assert (np.diff(transform(np.linspace(-4, 4, 50))) > 0).all()
    for shape in ((), (0,), (3,), (2, 5)):
        assert transform(np.zeros(shape)).shape == shape and transform(np.zeros(shape)).dtype == np.float64
    assert np.array_equal(transform(REWARDS.reshape(2, -1)).ravel(), transform(REWARDS))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, "a", None])
def test_nothing_but_finite_numbers_goes_through(name: str, bad: object) -> None:
    with pytest.raises(ValueError, match="rewards"):
        fit_transform(name, REFERENCES)([1.0, bad])
    with pytest.raises(ValueError, match="references"):
        fit_transform(name, [1.0, bad])
    with pytest.raises(ValueError, match="references"):
        fit_transform(name, [])


@pytest.mark.parametrize("name", ["z_score", "clip", "min_max"])
def test_equal_references_have_no_scale(name: str) -> None:
    with pytest.raises(ValueError, match="differ"):
        fit_transform(name, [2.0, 2.0])


def test_options_belong_to_their_transform() -> None:
    assert fit_transform("clip", [0.0, 2.0], width=2.0)(9.0) == 3
    assert fit_transform("par", [0.0], slope=2.0)(1.0) == pytest.approx(1 / (1 + np.exp(-2)))
    assert fit_transform("lsc", [0.0, 1.0, 2.0], quantile=0.5)(1.0) == pytest.approx(-np.log(2))
    for name, option in (("raw", "width"), ("par", "quantile"), ("lsc", "slope"), ("clip", "slope")):
        with pytest.raises(ValueError, match="option of"):
            fit_transform(name, REFERENCES, **{option: 1.0})
    for name, options in (("clip", {"width": 0.0}), ("lsc", {"quantile": 1.5}), ("par", {"slope": -1.0})):
        with pytest.raises(ValueError, match=next(iter(options))):
            fit_transform(name, REFERENCES, **options)
    with pytest.raises(ValueError, match="name"):
        fit_transform("tanh", REFERENCES)


def test_closed_forms() -> None:
    assert transforms.par(0.0, [0.0]) == 0.5
    assert transforms.par(1.0, [0.0, 2.0]) == pytest.approx(0.5)
    assert transforms.win_rate([0.0, 1.0, 2.0, 3.0], [1.0, 2.0]).tolist() == [0, 0.25, 0.75, 1]
    assert transforms.min_max([1.0, 2.0, 5.0], 1.0, 3.0).tolist() == [0, 0.5, 2]
    r = RNG.standard_normal((7, 3))
    each = [transforms.lsc(r[:, k], level) for k, level in enumerate((0.0, 1.0, -1.0))]
    assert np.allclose(transforms.lsc_sum(r, [0.0, 1.0, -1.0]), np.sum(each, 0))
    with pytest.raises(ValueError, match="rewards has shape"):
        transforms.lsc_sum(r, [0.0])


def test_win_rate_puts_users_on_one_scale() -> None:
    for factor, shift in ((100.0, 5.0), (0.01, -3.0)):
        other = transforms.win_rate(factor * REWARDS + shift, factor * REFERENCES + shift)
        assert np.array_equal(other, transforms.win_rate(REWARDS, REFERENCES))


def test_diversity_bonus() -> None:
    counts = [[0, 0, 0], [4, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert np.allclose(transforms.diversity_bonus(counts, 2.0), [0, 0, 2 * np.log(2) / np.log(3), 2])
    for bad in ([[-1, 2]], [[1]], 3.0):
        with pytest.raises(ValueError, match="counts"):
            transforms.diversity_bonus(bad)


# --- fixed by references ---


@pytest.mark.parametrize("name", sorted(set(TRANSFORMS) - {"raw"}))
@pytest.mark.parametrize("constant", [-7.0, 0.1, 30.0])
def test_a_shift_of_rewards_and_references_changes_nothing(name: str, constant: float) -> None:
    """A reward learnt from comparisons is known up to a constant."""
    moved = fit_transform(name, REFERENCES + constant)(REWARDS[2:] + constant) - constant * (name == "clip")
    np.testing.assert_allclose(moved, fit_transform(name, REFERENCES)(REWARDS[2:]), rtol=0, atol=1e-9)


def test_the_sum_of_lsc_is_the_log_probability_that_all_are_good() -> None:
    r, levels = RNG.normal(size=(3, 4)), RNG.normal(size=3)
    good = 1 / (1 + np.exp(-(r - levels[:, None])))  # each of three properties, independently
    draws = RNG.random((200_000, 3, 1)) < good
    found = transforms.lsc_sum(r.T, levels)
    np.testing.assert_allclose(np.exp(found), good.prod(0), rtol=1e-12)
    np.testing.assert_allclose(np.exp(found), draws.all(1).mean(0), atol=0.005)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_rows_with_references_of_their_own(name: str) -> None:
    references, r = np.stack([REFERENCES, 5 - 2 * REFERENCES]), REWARDS.reshape(2, -1)
    both = fit_transform(name, references)
    for k in range(2):
        assert np.array_equal(both(r)[k], fit_transform(name, references[k])(r[k]))
    for bad in (REWARDS, r[:1], 1.0):
        with pytest.raises(ValueError, match="rewards has shape"):
            both(bad)
    with pytest.raises(ValueError, match="references has shape"):
        fit_transform(name, references[None])


def test_state_is_explicit_and_does_not_drift() -> None:
    own = np.array([0.0, 1.0, 2.0])
    transform = fit_transform("clip", own, width=2.0)
    before = transform(REWARDS)
    own += 100
    transform(REWARDS + 50)
    assert np.array_equal(transform(REWARDS), before)
    assert transform.statistics == ({"low": 1 - 2 * np.std([0, 1, 2]), "high": 1 + 2 * np.std([0, 1, 2])},)
    with pytest.raises(ValueError, match="read-only"):
        transform.references[0] = 1.0
    again = pickle.loads(pickle.dumps(transform))
    assert np.array_equal(again(REWARDS), before) and repr(again) == repr(transform)
    moved = transform.refit(own)
    assert moved.options == {"width": 2.0} and np.array_equal(moved(REWARDS + 100), before + 100)


# --- environments ---


@pytest.mark.parametrize("name", TRANSFORMS)
def test_environments_take_every_transform(name: str) -> None:
    transform = fit_transform(name, REFERENCES)
    env = TransformedReward(gym.make("CartPole-v1"), transform)
    plain = gym.make("CartPole-v1")
    assert env.reset(seed=3)[0].tolist() == plain.reset(seed=3)[0].tolist()
    for action in (0, 1, 1):
        one, two = env.step(action), plain.step(action)
        assert one[0].tolist() == two[0].tolist() and one[2:4] == two[2:4]
        assert one[1] == transform(two[1]) and one[4]["raw_reward"] == two[1]
        assert isinstance(one[1], float)


def members(observations: Any, actions: Any, following: Any) -> np.ndarray:
    """Return two members' rewards that differ in constant and scale."""
    return np.stack([following[:, 0], 40 + 10 * following[:, 2] + actions])


def one_member(observations: Any, actions: Any, following: Any) -> np.ndarray:
    return members(observations, actions, following)[1]


def vector(mode: AutoresetMode) -> SyncVectorEnv:
    return SyncVectorEnv([lambda: gym.make("CartPole-v1", max_episode_steps=5)] * 3, autoreset_mode=mode)


def played(make: Callable[[Any], Any], steps: int = 14) -> list[float]:
    """Return the rewards of an environment whose episodes follow each other."""
    env = make(gym.make("CartPole-v1", max_episode_steps=5))
    rewards: list[float] = []
    env.reset(seed=2)
    for t in range(steps):
        _, reward, terminated, truncated, _ = env.step(t % 2)
        rewards.append(reward)
        if terminated or truncated:
            env.reset()
    return rewards


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", ["raw", "centred", "lsc", "par", "win_rate"])
def test_scalar_and_vector_environments_give_equal_numbers(name: str, mode: AutoresetMode) -> None:
    references = reference_rewards(gym.make("CartPole-v1"), members, steps=60, seed=1)
    both, single = fit_transform(name, references), fit_transform(name, references[1])
    for scalar, rows in (
        (lambda env: LearnedReward(env, members, "min", 1.0, both), LearnedRewardVector),
        (lambda env: TransformedReward(LearnedReward(env, one_member), single), TransformedRewardVector),
    ):
        if rows is LearnedRewardVector:
            many: Any = LearnedRewardVector(vector(mode), members, "min", transform=both)
        else:
            many = TransformedRewardVector(LearnedRewardVector(vector(mode), one_member), single)
        many.reset(seed=[0, 1, 2])
        found, fresh, t = [], False, 0
        while len(found) < 14:
            _, rewards, terminated, truncated, _ = many.step(np.full(3, t % 2))
            if fresh:
                assert rewards[2] == 0  # a step that only starts the next episode has no reward
            else:
                found.append(float(rewards[2]))
                t += 1
            fresh = bool((terminated | truncated)[2]) and mode is AutoresetMode.NEXT_STEP
        np.testing.assert_array_equal(found, played(scalar))


def test_members_are_transformed_before_they_are_aggregated() -> None:
    """Members know their rewards up to constants, which a least member would else depend on."""
    for shift in (0.0, 1000.0):

        def model(*batch: Any, shift: float = shift) -> np.ndarray:
            return members(*batch) + np.array([[0.0], [shift]])

        references = reference_rewards(gym.make("CartPole-v1"), model, steps=60, seed=1)
        transform = fit_transform("centred", references)
        rewards = played(lambda env, t=transform, m=model: LearnedReward(env, m, "min", transform=t))
        if not shift:
            first = rewards
    np.testing.assert_allclose(rewards, first, atol=1e-9)
    lsc = fit_transform("lsc", references, quantile=0.5)
    total = played(lambda env: LearnedReward(env, model, "sum", transform=lsc))
    apart = [played(lambda env, k=k: LearnedReward(env, lambda *b: lsc(model(*b))[k])) for k in range(2)]
    np.testing.assert_allclose(total, np.sum(apart, 0))
    assert max(total) < 0


def test_references_are_rewards_of_a_policy_and_seeded() -> None:
    env = gym.make("CartPole-v1")
    one, two = (reference_rewards(env, members, steps=50, seed=3) for _ in range(2))
    assert one.shape == (2, 50) and np.array_equal(one, two)
    assert reference_rewards(env, one_member, lambda observation: 1, 9).shape == (9,)
    pushed = reference_rewards(env, lambda o, a, f: a, lambda observation: int(observation[2] > 0), 30)
    assert set(pushed) == {0.0, 1.0}
    for options in ({"steps": 0}, {"seed": -1}, {"steps": 2.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            reference_rewards(env, members, **options)  # type: ignore[arg-type] - the point


def test_another_transform_is_set_on_request_alone() -> None:
    env = LearnedReward(gym.make("CartPole-v1"), lambda o, a, f: a + 1.0, transform=fit_transform("raw", [0.0]))
    env.reset(seed=0)
    assert env.step(1)[1] == 2
    env.set_transform(fit_transform("centred", [5.0]))
    assert env.step(1)[1] == -3
    env.set_transform(None)
    assert env.step(1)[1] == 2
    for bad in (1.0, "par"):
        with pytest.raises(ValueError, match="transform is"):
            env.set_transform(bad)  # type: ignore[arg-type] - the point


def test_what_is_no_transform_is_refused() -> None:
    make = lambda: gym.make("CartPole-v1")  # noqa: E731
    for bad in (1.0, None):
        with pytest.raises(ValueError, match="transform"):
            TransformedReward(make(), bad)  # type: ignore[arg-type] - the point
        with pytest.raises(ValueError, match="transform"):
            TransformedRewardVector(vector(AutoresetMode.NEXT_STEP), bad)  # type: ignore[arg-type] - the point
    with pytest.raises(ValueError, match="transform"):
        LearnedReward(make(), one_member, transform=1.0)  # type: ignore[arg-type] - the point
    for result in (np.nan, np.zeros(2), "a"):
        for env in (
            TransformedReward(make(), lambda r, result=result: result),
            LearnedReward(make(), one_member, transform=lambda r, result=result: result),
        ):
            env.reset(seed=0)
            with pytest.raises(ValueError, match="transformed reward"):
                env.step(0)
