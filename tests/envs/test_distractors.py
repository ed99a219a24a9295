"""Distractors: they leave the task underneath alone, keep to their map, and serve both training and evaluation."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from valuegym.envs import keys
from valuegym.envs.control import distractors
from valuegym.envs.control.distractors import KINDS, DistractingDimensions, Distractors, Map
from valuegym.envs.control.pendulum import Pendulum

PENDULUM = "valuegym.envs.control.pendulum:Pendulum"
DELIVERY = "valuegym.envs.preference.delivery:Delivery"


def same_map(a: Map, b: Map) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def orbit(m: Map, steps: int, B: int = 64, nudge: float = 0.0) -> np.ndarray:
    """States (T, B, H) under random actions and observations of unit size."""
    rng, key = np.random.default_rng(0), keys.mix(1, np.arange(B))
    state, out = distractors.start(m, key) + nudge, []
    for t in range(steps):
        seen, action = (
            rng.normal(size=(B, m.observation_coupling.shape[1])),
            rng.uniform(-1, 1, (B, m.action_coupling.shape[1])),
        )
        state = distractors.advance(m, state, seen, action, key, np.full(B, t))
        out.append(state)
    return np.array(out)


@pytest.mark.parametrize("kind", KINDS)
def test_the_task_underneath_is_untouched(kind: str) -> None:
    plain = gym.make_vec("valuegym/Pendulum-v0", num_envs=5)
    more = gym.make_vec("valuegym/Pendulum-D8-v0", num_envs=5, kind=kind, number=4)
    a, b = plain.reset(seed=3), more.reset(seed=3)
    rng = np.random.default_rng(0)
    core: Any = more.unwrapped.core  # type: ignore[attr-defined]
    assert core.physical.tolist() == [0, 1, 2] and core.distracting.tolist() == [3, 4, 5, 6]
    for _ in range(230):  # through a reset
        assert (a[0] == b[0][:, core.physical]).all() and b[1 if len(b) == 2 else 4] == {}
        action = rng.uniform(-1, 1, (5, 1)).astype(np.float32)
        a, b = plain.step(action), more.step(action)
        assert all((x == y).all() for x, y in zip(a[1:4], b[1:4], strict=True))
    assert more.observation_space.shape == (5, 7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("B", [1, 3, 8, 200])
def test_rows_equal_scalar_environments(kind: str, B: int) -> None:
    kwargs = {"kind": kind, "number": 5, "coupling": 0.5}
    envs = gym.make_vec("valuegym/Pendulum-D8-v0", num_envs=B, **kwargs)
    scalars = [gym.make("valuegym/Pendulum-D8-v0", **kwargs) for _ in range(min(B, 5))]
    together = envs.reset(seed=11)[0]
    for i, env in enumerate(scalars):
        assert env.reset(seed=11 + i)[0].tobytes() == together[i].tobytes()
    rng = np.random.default_rng(B)
    for _ in range(12):
        action = rng.uniform(-1, 1, (B, 1)).astype(np.float32)
        together = envs.step(action)[0]
        for i, env in enumerate(scalars):
            assert env.step(action[i])[0].tobytes() == together[i].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_training_and_evaluation_share_one_map(kind: str) -> None:
    kwargs = {"kind": kind, "number": 6, "coupling": 1.0}
    training, evaluation = (gym.make("valuegym/Pendulum-D8-v0", **kwargs) for _ in range(2))
    training.reset(seed=0)
    for _ in range(5):
        training.step(training.action_space.sample())
    np.random.default_rng(0)
    a, b = training.unwrapped.core, evaluation.unwrapped.core  # type: ignore[attr-defined]
    wide = gym.make_vec("valuegym/Pendulum-D8-v0", num_envs=3, **kwargs).unwrapped.core  # type: ignore[attr-defined]
    assert same_map(a.map, b.map) and same_map(a.map, wide.map)
    wrapped = DistractingDimensions(gym.make("valuegym/Pendulum-v0"), **kwargs)
    assert same_map(a.map, wrapped.map)
    other = Distractors(PENDULUM, map_seed=1, **kwargs)
    assert not same_map(a.map, other.map)
    # and so the same state is followed by the same one, whichever environment's seed brought it about
    if kind not in ("noise", "linear", "correlated"):
        d, o, u = np.ones((1, len(a.map.matrix))), np.ones((1, 3)), np.ones((1, 1))
        after = [distractors.advance(m, d, o, u, keys.mix(s, 0), np.array([s])) for s, m in ((1, a.map), (9, b.map))]
        assert (after[0] == after[1]).all()


@pytest.mark.parametrize("number", [1, 2, 5, 8, 15])
def test_how_each_kind_moves(number: int) -> None:
    maps = {kind: distractors.draw_map(kind, number, 2.0, None, 4, 3, 1) for kind in KINDS}
    orbits = {kind: orbit(m, 250) for kind, m in maps.items()}
    for kind, m in maps.items():
        seen = distractors.visible(m, orbits[kind][-1])
        assert seen.shape == (64, number) and (seen == 2 * orbits[kind][-1][:, :number]).all()
        assert np.isfinite(orbits[kind]).all()
    for kind in ("noise", "linear"):
        assert abs(orbits[kind][50:].std() - 1) < 0.1
    following = (orbits["linear"][50:-1] @ maps["linear"].matrix.T * orbits["linear"][51:]).mean()
    assert following == pytest.approx(0.95**2, abs=0.15)
    assert abs((orbits["noise"][50:-1] * orbits["noise"][51:]).mean()) < 0.05
    turning = orbits["rotation"].reshape(250, 64, -1, 2)
    radius = np.sqrt((turning**2).sum(-1))
    np.testing.assert_allclose(radius, np.broadcast_to(radius[:1], radius.shape), rtol=1e-12)
    m = maps["chaotic"]
    first, nudged = orbit(m, 60), orbit(m, 60, nudge=1e-9)
    assert np.median(np.abs(first - nudged)[-1].max(-1)) > 0.1  # nearby states part
    assert np.abs(first).max() <= 1
    assert np.abs(orbits["published"]).max() <= max(20.0, np.abs(maps["published"].restart_state).max())


def test_the_published_map() -> None:
    """One step written out as the paper's code has it."""
    m = distractors.draw_map("published", 5, 1.0, 1.0, 3, 2, 1)
    rng = np.random.default_rng(0)
    for scale in (0.1, 3.0, 15.0):
        d, o = scale * rng.normal(size=5), rng.normal(size=2)
        y = np.concatenate([m.observation_coupling, m.matrix], 1) @ np.concatenate([o, d])
        y = y + 0.1 * np.sum(np.sin(m.frequencies[None] @ y), 0)
        expected = np.where(np.abs(y) > 20, m.restart_state, y)
        got = distractors.advance(m, d[None], o[None], np.zeros((1, 1)), keys.mix(0, 0), np.zeros(1, np.int64))[0]
        np.testing.assert_allclose(got, expected, atol=1e-6)
    big = distractors.draw_map("published", 200, 1.0, None, 0, 200, 1)
    for entries, size in (
        (big.matrix, 1.0),
        (big.observation_coupling, 1.0),
        (np.sqrt(big.frequencies), 10.0),
        (big.restart_state[None], 1.0),
    ):
        assert np.sqrt((entries**2).mean()) == pytest.approx(size, rel=0.15)
    assert distractors.start(big, keys.mix(0, np.arange(50))).std() == pytest.approx(0.1, rel=0.05)


def test_coupling_ties_to_the_action_or_the_observation() -> None:
    key, t = keys.mix(0, np.arange(1)), np.zeros(1, np.int64)
    for kind in KINDS:
        for coupling in (None, 0.0, 1.0):
            m = distractors.draw_map(kind, 3, 1.0, coupling, 0, 2, 1)
            d = np.full((1, len(m.matrix)), 0.3)

            def after(o: float, u: float, m: Map = m, d: np.ndarray = d) -> np.ndarray:
                return distractors.advance(m, d, np.full((1, 2), o), np.full((1, 1), u), key, t)

            tied = coupling == 1.0 or (coupling is None and kind in ("action_driven", "correlated"))
            driven = kind == "action_driven"
            assert (after(0.1, 0.0) != after(0.2, 0.0)).any() == (tied and not driven), (kind, coupling)
            assert (after(0.1, 0.0) != after(0.1, 0.5)).any() == (tied and driven), (kind, coupling)


def test_oracles_are_those_of_the_task_underneath() -> None:
    plain, more = Pendulum(), Distractors(PENDULUM, number=3)
    key = keys.mix(2, np.arange(4))
    (task, state), (same, wide) = plain.initial(key), more.initial(key)
    assert all((a == b).all() for a, b in zip(plain.references(task), more.references(same), strict=True))
    assert (plain.oracle_action(task, state) == more.oracle_action(same, wide)).all()
    assert (plain.oracle_value(task, state) == more.oracle_value(same, wide)).all()
    assert (plain.value(plain.observation(task, state)) == more.value(more.observation(same, wide))).all()
    env = gym.make("valuegym/Pendulum-D8-v0")
    assert env.reset(seed=0, options={"angle": 0.0, "velocity": 0.0})[0][:3].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"angle.*velocity"):
        env.reset(options={"height": 1.0})


def test_environments_can_be_pickled() -> None:
    env = gym.make("valuegym/Pendulum-D8-v0")
    env.reset(seed=0)
    again = pickle.loads(pickle.dumps(env))
    action = np.full(1, 0.5, np.float32)
    assert (again.step(action)[0] == env.step(action)[0]).all()


def test_after_the_end_nothing_moves() -> None:
    core = Distractors(DELIVERY, observation="features", kind="linear", number=2)
    key = keys.mix(0, np.arange(1))
    task, state = core.initial(key)
    over = state._replace(cell=np.array([core.base.board.reshape(-1).tolist().index(7)]))
    assert core.terminal(task, over).all()
    after = core.transition(task, over, np.array([1]), key, np.array([3]))
    assert (after.distractors == over.distractors).all()


def test_the_wrapper_leaves_the_environment_alone() -> None:
    plain, wrapped = gym.make("Pendulum-v1"), DistractingDimensions(gym.make("Pendulum-v1"), "linear", 3)
    with warnings.catch_warnings():  # it warns of any wrapper, and of what has no bound
        warnings.simplefilter("ignore")
        check_env(DistractingDimensions(gym.make("Acrobot-v1"), "action_driven", 3), skip_render_check=True)
    a, b = plain.reset(seed=5), wrapped.reset(seed=5)
    orbits = []
    for _ in range(3):
        for _ in range(20):
            assert (a[0] == b[0][:3]).all() and b[0].dtype == np.float32 and b[0] in wrapped.observation_space
            action = plain.action_space.sample()
            a, b = plain.step(action), wrapped.step(action)
            orbits.append(b[0][3:])
        a, b = plain.reset(), wrapped.reset()
    again = DistractingDimensions(gym.make("Pendulum-v1"), "linear", 3)
    again.reset(seed=5)
    for episode in range(3):
        for t in range(20):
            assert (again.step(np.zeros(1, np.float32))[0][3:] == orbits[20 * episode + t]).all()
        again.reset()
    assert wrapped.physical.tolist() == [0, 1, 2] and wrapped.distracting.tolist() == [3, 4, 5]
    assert wrapped.spec is not None and "DistractingDimensions" in wrapped.spec.to_json()


def test_the_wrappers_picture() -> None:
    plain, wrapped = (gym.make("valuegym/Pendulum-v0", render_mode="rgb_array") for _ in range(2))
    wrapped = DistractingDimensions(wrapped, number=4)
    plain.reset(seed=0), wrapped.reset(seed=0)
    picture, more = np.asarray(plain.render()), np.asarray(wrapped.render())
    assert (more[: len(picture)] == picture).all() and len(more) > len(picture)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"kind": "brown"}, "kind is 'brown'"),
        ({"number": 0}, "number is 0"),
        ({"number": 1.5}, r"number is 1\.5"),
        ({"scale": -1.0}, "scale"),
        ({"map_seed": -1}, "map_seed"),
    ],
)
def test_bad_arguments_name_themselves(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Distractors(PENDULUM, **kwargs)


def test_what_cannot_be_widened_is_refused() -> None:
    with pytest.raises(TypeError, match="Discrete"):
        Distractors(DELIVERY)
    with pytest.raises(TypeError, match="Box observation"):
        DistractingDimensions(gym.make("valuegym/Delivery-v0"))
