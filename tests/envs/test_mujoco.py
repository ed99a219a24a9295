"""The MuJoCo tasks: Gymnasium's own, unchanged underneath, and not loaded before they are made."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
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
    with pytest.raises(ImportError, match=r"Hopper-v5 needs MuJoCo: pip install .*(control|mujoco)"):
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


@pytest.mark.parametrize("id", THIRD_PARTY)
def test_specs_survive_json(id: str) -> None:
    kwargs: dict[str, Any] = {"reset_noise_scale": np.float32(0.01), "frame_skip": np.int64(3), "map_seed": np.int8(1)}
    for more in ({}, kwargs):
        env = gym.make(id, **more)
        assert env.spec is not None
        again = gym.make(EnvSpec.from_json(env.spec.to_json()))
        assert again.spec is not None and again.spec.to_json() == env.spec.to_json()
        assert again.observation_space == env.observation_space and again.action_space == env.action_space
        for _ in range(2):
            assert (env.reset(seed=0)[0] == again.reset(seed=0)[0]).all()
            action = env.action_space.sample()
            assert (env.step(action)[0] == again.step(action)[0]).all()


def _play(env: Any, actions: Any) -> list[Any]:
    out = []
    for action in actions:
        observation, *rest, info = env.step(action)
        out.append((observation.tobytes(), rest, {name: float(value) for name, value in info.items()}))
        if rest[1] or rest[2]:
            out.append(env.reset()[0].tobytes())  # the generators go on, too
    return out


@pytest.mark.parametrize("id", [id for id in THIRD_PARTY if id.startswith("valuegym/Inverted") or "-D5" in id])
def test_copies_continue_the_episode(id: str) -> None:
    env = gym.make(id, max_episode_steps=12, reset_noise_scale=0.02)
    env.reset(seed=5)
    env.action_space.seed(5)
    rng = np.random.default_rng(0)
    before, after = rng.uniform(-1, 1, (2, 20, *env.action_space.shape)).astype(np.float32)  # type: ignore[misc]
    _play(env, before[:7])
    copies = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), copy.deepcopy(copy.deepcopy(env))]
    expected, sample = _play(env, after), env.action_space.sample()
    for other in copies:  # each has a simulator of its own
        assert _play(other, after) == expected
        assert np.array_equal(other.action_space.sample(), sample)
        assert other.spec.to_json() == env.spec.to_json()  # type: ignore[union-attr]
    unused = copy.deepcopy(gym.make(id))
    with pytest.raises(gym.error.ResetNeeded):
        unused.step(before[0])
    assert unused.reset(seed=5)[0].tobytes() == gym.make(id).reset(seed=5)[0].tobytes()


def test_what_is_no_dictionary_of_options_is_refused() -> None:
    for id in ("valuegym/InvertedPendulum-v0", "valuegym/InvertedPendulum-D5-v0"):
        env = gym.make(id)
        env.reset(seed=0, options={})
        for options in (1, 0, "x", [], [("cell", 1)], (), True, np.nan, np.zeros(2), object()):
            with pytest.raises(ValueError, match=r"^options is .*; expected a dictionary of reset options or None"):
                env.reset(options=options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="'x' is unknown"):
            env.reset(options={"x": 1})


def test_a_changed_body_stays_changed_in_copies() -> None:
    env = gym.make("valuegym/Hopper-v0")
    env.unwrapped.model.opt.gravity[2] = -3.0  # type: ignore[attr-defined]
    env.reset(seed=0)
    other = copy.deepcopy(env)
    action = np.full(3, 0.2, np.float32)
    assert [other.step(action)[0].tobytes() for _ in range(5)] == [env.step(action)[0].tobytes() for _ in range(5)]
    assert other.unwrapped.model is not env.unwrapped.model  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        *(({"number": bad}, "number is") for bad in (-1, 1.5, True, "5", None, 10**6)),
        *(({"scale": bad}, "scale is") for bad in (-1.0, np.nan, np.inf, "1", True)),
        *(({"coupling": bad}, "coupling is") for bad in (np.nan, -np.inf, "1")),
        *(({"map_seed": bad}, "map_seed is") for bad in (-1, 0.5, 2**64)),
        *(({"kind": bad}, "kind is .* expected one of 'noise'") for bad in ("brown", 3, None)),
        *(({"task": bad}, "task is .* such as 'Hopper-v5'") for bad in ("CartPole-v1", "Nothing-v5", 3, None)),
        *(({"frame_skip": bad}, "frame_skip is") for bad in (0, 1.5, True, 10**9)),
        *(({"reset_noise_scale": bad}, "reset_noise_scale is") for bad in (-1e-3, np.nan, 1e9, None)),
        *(({"ctrl_cost_weight": bad}, "ctrl_cost_weight is") for bad in (np.nan, np.inf, "1", [1.0])),
        *(({"terminate_when_unhealthy": bad}, "terminate_when_unhealthy is") for bad in (1, "no", None)),
        *(
            ({"healthy_z_range": bad}, "healthy_z_range is .* the first below the second")
            for bad in (1.0, (1.0,), (2.0, 1.0), (np.nan, 1.0), (0.0, np.nan), "ab", (1, 2, 3), (True, 2))
        ),
        *(({"xml_file": bad}, "xml_file is") for bad in ("/nowhere.xml", Path("/nowhere.xml"), 3, None)),
        *(({"width": bad}, "width is") for bad in (0, 10**6, 1.5)),
        ({"default_camera_config": 3}, "default_camera_config is 3; expected a dictionary"),
    ],
)
@pytest.mark.parametrize("id", ["valuegym/Hopper-v0", "valuegym/Hopper-D5-v0"])
def test_arguments_are_refused_by_name(id: str, kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        gym.make(id, **kwargs)


def test_infinite_ends_of_ranges_and_paths_are_arguments() -> None:
    body: Any = gym.make("valuegym/Hopper-v0", healthy_z_range=[0.5, float("inf")])
    assert body.unwrapped._healthy_z_range == (0.5, float("inf"))
    file = Path(body.unwrapped.fullpath)
    env = gym.make("valuegym/Hopper-v0", xml_file=file)
    assert env.spec is not None and str(file) in env.spec.to_json()
    assert (env.reset(seed=0)[0] == gym.make("valuegym/Hopper-v0").reset(seed=0)[0]).all()
    with pytest.raises(ValueError, match=r"xml_file is .*expected the file of a MuJoCo model"):
        gym.make("valuegym/Hopper-v0", xml_file=str(Path(__file__).resolve()))


def test_reset_options_are_refused() -> None:
    with pytest.raises(ValueError, match="'height' is unknown"):
        gym.make("valuegym/Hopper-D5-v0").reset(seed=0, options={"height": 1.0})


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
