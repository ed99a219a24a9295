"""Actions at the bounds of their space, for every registered id: what is clipped, and what refused."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import ENVS, THIRD_PARTY
from valuegym.envs.functional import Actions, FunctionalEnv, FunctionalVectorEnv, action_rules, load

Array = np.ndarray[Any, Any]
LQR = "valuegym/LQR-v0"
CLIPPED = {id for id, row in ENVS.items() if "control" in row.tags and "query" not in row.tags} | set(THIRD_PARTY)
FAST = {  # so that a step of these is as cheap as one of the others
    "valuegym/LQRFromPreferences-v0": {"transitions": 4},
}


def make(id: str, **kwargs: Any) -> gym.Env[Any, Any]:
    if id in THIRD_PARTY:
        pytest.importorskip("mujoco")
    return gym.make(id, **FAST.get(id, {}), **kwargs)


def bounds(id: str) -> tuple[Array, Array]:
    space = make(id).action_space
    assert isinstance(space, gym.spaces.Box)
    return space.low, space.high


def is_box(id: str) -> bool:
    return id in THIRD_PARTY or "tabular" not in ENVS[id].tags


BOXES = [id for id in (*ENVS, *THIRD_PARTY) if is_box(id)]
DISCRETE = [id for id in ENVS if not is_box(id)]


def outputs(env: gym.Env[Any, Any], actions: list[Any]) -> list[Any]:
    out: list[Any] = [env.reset(seed=3)[0]]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        out.append((observation, reward, terminated, truncated))
        if isinstance(env.unwrapped, FunctionalEnv):
            out.append([np.array(field) for field in env.unwrapped.state])
        if terminated or truncated:
            break
    return out


def rows(id: str, actions: list[Any], num_envs: int = 2) -> list[Any]:
    envs = gym.make_vec(id, num_envs=num_envs, **FAST.get(id, {}))
    out: list[Any] = [envs.reset(seed=3)[0]]
    for action in actions:
        *moved, _ = envs.step(np.stack([action] * num_envs))
        out.append(copy.deepcopy(moved))
    envs.close()
    return out


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    return np.asarray(a).dtype == np.asarray(b).dtype and np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("id", [id for id in BOXES if id in CLIPPED])
def test_finite_actions_are_clipped(id: str) -> None:
    low, high = bounds(id)
    edge = [high, low, high, high]
    for beyond in ([3 * a for a in edge], [np.nextafter(a, 4 * a) for a in edge], [1e30 * a for a in edge]):
        assert same(outputs(make(id), edge), outputs(make(id), beyond))
        assert same(rows(id, edge), rows(id, beyond))


@pytest.mark.parametrize("id", [id for id in BOXES if id not in CLIPPED])
def test_rounding_is_clipped_and_more_is_refused_with_the_name_of_the_wrapper(id: str) -> None:
    low, high = bounds(id)
    edge = [high, low]
    for beyond in ([np.nextafter(a, 4 * a) for a in edge], [a * (1 + 1e-6) for a in edge]):
        assert same(outputs(make(id), edge), outputs(make(id), beyond))
        assert same(rows(id, edge), rows(id, beyond))
    env, envs = make(id), gym.make_vec(id, num_envs=2, **FAST.get(id, {}))
    env.reset(seed=0), envs.reset(seed=0)
    far = high.copy()
    far[-1] += 1e-3 * (high[-1] - low[-1])
    said = rf"{len(far) - 1}\] is 1\.00[12]\d*; expected a finite number from -1\.0 to 1\.0: gymnasium\.wrappers\."
    with pytest.raises(ValueError, match=rf"^Action\[{said}ClipAction.*RescaleAction"):
        env.step(far)
    with pytest.raises(ValueError, match=rf"^Action\[1, {said}"):
        envs.step(np.stack([high, far]))
    with pytest.raises(ValueError, match="RescaleAction"):
        env.step(1e30 * high)
    gym.wrappers.ClipAction(env).step(far)


@pytest.mark.parametrize("id", BOXES)
def test_actions_that_are_no_finite_numbers_are_refused(id: str) -> None:
    env, (_, high) = make(id), bounds(id)
    vector = id not in THIRD_PARTY or id.startswith("valuegym/InvertedPendulum-D5")
    envs = gym.make_vec(id, num_envs=2, **FAST.get(id, {})) if vector else None
    env.reset(seed=0)
    wrong: list[Any] = [high.astype(kind) for kind in (bool, str, complex, object)] + [None, "up", {}, high[:, None]]
    wrong += [np.ma.array(high, mask=[True] * len(high)), [np.ma.masked] * len(high)]
    wrong += [[True] * len(high), [*high.tolist(), 0.0], [[0.0], [0.0, 1.0]]]
    for value in (np.nan, np.inf, -np.inf):
        bad = high.astype(np.float64)
        bad[-1] = value
        wrong += [bad, bad.astype(np.float32), bad.tolist()]
    for action in wrong:
        with pytest.raises(ValueError, match=r"^Action.*; expected .*\."):
            env.step(action)
        if envs is not None:
            envs.reset(seed=0)
            with pytest.raises(ValueError, match=r"^Action.*; expected .*\."):
                envs.step([high, action])
    env.step(high)


@pytest.mark.parametrize("id", DISCRETE)
def test_discrete_actions_are_refused_alike(id: str) -> None:
    env, envs = make(id), gym.make_vec(id, num_envs=2)
    env.reset(seed=0), envs.reset(seed=0)
    n = int(env.action_space.n)  # type: ignore[attr-defined]
    for bad in (1.0, True, np.True_, "1", -1, n, 2**64, None, np.nan, np.float32(1), np.array(1.0), np.array(True)):
        for step, action in ((env.step, bad), (envs.step, [bad, 0]), (envs.step, [0, bad])):
            with pytest.raises(ValueError, match=rf"^Action.*; expected integers from 0 to {n - 1}"):
                step(action)
    kinds = (int, np.int64, np.uint8, np.int32, np.array, lambda i: np.array(i, np.int16))
    for kind in kinds:  # nothing has happened, and all kinds of integers are the same
        assert same(outputs(make(id), [0, 1, 3]), outputs(make(id), [kind(i) for i in (0, 1, 3)]))


def test_the_list_of_environments_that_clip_is_that_of_the_cores() -> None:
    for id, row in ENVS.items():
        assert (id in CLIPPED) == getattr(make(id).unwrapped.core, "clips_actions", False), id  # type: ignore[attr-defined]
        assert row.core and load(row.core)


def test_a_gaussian_policy_and_rescaled_actions_run() -> None:
    rng = np.random.default_rng(0)
    for id in CLIPPED - set(THIRD_PARTY):
        env = make(id)
        env.reset(seed=0)
        for _ in range(20):
            env.step(rng.normal(0, 3, 1))
    for id in [id for id in BOXES if id not in THIRD_PARTY]:
        env, one = make(id), 1.0
        for low, high in ((0.0, 1.0), (-0.1, 0.7), (-300.0, 21.3)):
            scaled = gym.wrappers.RescaleAction(env, np.float32(low), np.float32(high))
            for action in (scaled.action_space.low, scaled.action_space.high):  # type: ignore[attr-defined]
                scaled.reset(seed=0)
                scaled.step(action * one)


@pytest.mark.parametrize("shift", [0.0, 3.0, -1e4])
def test_tolerance_of_single_dimensions(shift: float) -> None:
    low = np.array([0, -1, 0.3, -np.inf, -np.inf, 2.0], np.float32) + np.float32(shift)
    high = np.array([0, 1, 0.3, np.inf, 0.0, 1e6], np.float32) + np.float32(shift)
    space = gym.spaces.Box(low, high)
    rules, exact = Actions.of(space), Actions.of(space, 0.0)
    inside = np.where(np.isfinite(low), low, np.where(np.isfinite(high), high, 7.0)).astype(np.float32)
    assert (rules.check(inside, ()) == inside).all() and (exact.check(inside, ()) == inside).all()
    for i, (a, b) in enumerate(zip(low, high, strict=True)):
        for bound, way in ((a, -np.inf), (b, np.inf)):
            if not np.isfinite(bound):
                continue
            beyond = inside.copy()
            beyond[i] = np.nextafter(bound, np.float32(way))
            assert rules.check(beyond, ())[i] == bound  # one bit further is rounding
            with pytest.raises(ValueError, match=rf"^Action\[{i}\]"):
                exact.check(beyond, ())
            reach = b - a if np.isfinite(b - a) else 1.0
            beyond[i] = bound + np.sign(way) * max(1e-3 * reach, 1e-2 * max(abs(bound), 1))
            for strict in (rules, exact):
                with pytest.raises(ValueError, match=rf"^Action\[{i}\]"):
                    strict.check(beyond, ())
            assert Actions.of(space, np.inf).check(beyond, ())[i] == bound
    wide = inside.astype(np.float64)  # a policy that computes in 64 bits means the same number
    wide[2] = 0.3 + shift
    assert rules.check(wide, ())[2] == low[2]


def test_spaces_of_integers() -> None:
    rules = Actions.of(gym.spaces.Box(0, 5, (2,), np.int64))
    assert (rules.check([0, 5], ()) == [0, 5]).all()
    for bad in ([0, 6], [-1, 0], [0.0, 1.0], [True, 1]):
        with pytest.raises(ValueError, match=r"^Action.*expected"):
            rules.check(bad, ())


def test_adapters_read_the_rules_of_their_core() -> None:
    env, envs = FunctionalEnv(ENVS[LQR].core), FunctionalVectorEnv(ENVS[LQR].core, num_envs=2)
    assert action_rules(env.core).clips and env._actions.clips and envs._actions.clips
