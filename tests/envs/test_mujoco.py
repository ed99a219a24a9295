"""The MuJoCo tasks: Gymnasium's own, unchanged underneath, and not loaded before they are made."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import valuegym.envs
from valuegym.envs.control import mujoco

THIRD_PARTY = valuegym.envs.THIRD_PARTY


@pytest.fixture(autouse=True)
def _needs_mujoco(request: pytest.FixtureRequest) -> None:
    if "without" not in request.node.name:
        pytest.importorskip("mujoco")


def test_nothing_is_loaded_without_need() -> None:
    code = "import sys, valuegym, gymnasium; gymnasium.spec('valuegym/Hopper-v0'); sys.exit('mujoco' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mujoco" or "envs.mujoco" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ImportError, match=r"Hopper-v5 needs MuJoCo: pip install 'valuegym\[control\]'"):
        gym.make("valuegym/Hopper-v0")


@pytest.mark.parametrize("id", THIRD_PARTY)
def test_the_body_is_gymnasiums(id: str) -> None:
    row = THIRD_PARTY[id]
    ours, theirs = gym.make(id), gym.make(row.kwargs["task"])
    n, number = theirs.observation_space.shape[0], row.kwargs.get("number", 0)  # type: ignore[index]
    assert ours.observation_space.shape == (n + number,)
    assert (ours.action_space.low == -1).all() and (ours.action_space.high == 1).all()  # type: ignore[attr-defined]
    a, b = ours.reset(seed=3), theirs.reset(seed=3)
    rng, high = np.random.default_rng(0), theirs.action_space.high  # type: ignore[attr-defined]
    for _ in range(15):
        scaled = not (high == 1).all()  # which rounds the action
        np.testing.assert_allclose(a[0][:n], b[0], rtol=1e-4 * scaled, atol=1e-4 * scaled)
        assert a[0] in ours.observation_space
        action = rng.uniform(-1, 1, high.shape).astype(np.float32)
        x, y = ours.step(action), theirs.step((action * high).astype(np.float32))
        assert x[1:4] == pytest.approx(y[1:4])
        a, b = (x[0], {}), (y[0], {})
        if x[2]:
            break
    assert ours.spec is not None and ours.spec.max_episode_steps == theirs.spec.max_episode_steps == 1000  # type: ignore[union-attr]


def test_seeds_and_maps() -> None:
    def play(seed: int, **kwargs: Any) -> np.ndarray:
        env = gym.make("valuegym/Hopper-D5-v0", **kwargs)
        out = [env.reset(seed=seed)[0]]
        out += [env.step(np.full(3, 0.3, np.float32))[0] for _ in range(10)]
        return np.array(out)

    assert (play(1) == play(1)).all()
    assert (play(1)[:, 11:] != play(2)[:, 11:]).any(-1).all()
    assert (play(1)[0, 11:] == play(1, map_seed=4)[0, 11:]).all()  # the same start of the process
    assert (play(1)[1:, 11:] != play(1, map_seed=4)[1:, 11:]).any(-1).all()  # by another map
    assert (play(1)[:, :11] == play(1, map_seed=4)[:, :11]).all()
    assert play(1, number=3, kind="linear").shape == (11, 14)


def test_specs_survive_json() -> None:
    env = gym.make("valuegym/Hopper-D5-v0", kind="linear")
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.observation_space == env.observation_space
    assert (env.reset(seed=0)[0] == again.reset(seed=0)[0]).all()


def test_vector_environments_and_checkers() -> None:
    envs = gym.make_vec("valuegym/InvertedPendulum-D5-v0", num_envs=2)
    assert envs.reset(seed=0)[0].shape == (2, 9)
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checker.check_env(gym.make("valuegym/InvertedPendulum-D5-v0"))


def test_observations_tell_when_hopper_has_fallen() -> None:
    env = gym.make("valuegym/Hopper-D5-v0")
    rng, said, ended = np.random.default_rng(0), [], []
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        assert not mujoco.fallen(observation)
        terminated = False
        while not terminated:
            observation, _, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 3).astype(np.float32))
            said.append(bool(mujoco.fallen(observation[None])[0]))
            ended.append(terminated)
            assert not truncated
    assert said == ended and sum(ended) == 12
    body: Any = gym.make("valuegym/Hopper-v0").unwrapped
    body.reset(seed=0)
    for qpos, value in ((1, 0.69), (1, 0.71), (2, 0.19), (2, 0.21), (2, -0.19), (2, -0.21), (4, 99.0), (5, -101.0)):
        at = body.init_qpos.copy()
        at[qpos] = value
        body.set_state(at, body.init_qvel)
        assert mujoco.fallen(body._get_obs()) == (not body.is_healthy), (qpos, value)
