"""Ranges of arguments and starts of control tasks: what is accepted stays finite, and leaves something to score."""

from __future__ import annotations

import inspect
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import ENVS, keys
from valuegym.envs.control.distractors import KINDS, Distractors
from valuegym.envs.functional import load

PLAIN = [id for id, row in ENVS.items() if "control" in row.tags and hasattr(load(row.core), "clips_actions")]
CLASSES = sorted({ENVS[id].core for id in PLAIN})


def module(entry: str) -> Any:
    return sys.modules[load(entry).__module__]


def run(core: Any, steps: int = 40, rows: int = 3) -> None:
    """Play random full forces; everything has to stay finite."""
    key, rng = keys.mix(np.arange(rows, dtype=np.uint64), 0), np.random.default_rng(0)
    task, state = core.initial(key)
    assert not core.terminal(task, state).any()
    low, high = core.observation_space.low, core.observation_space.high
    for t in range(steps):
        action = rng.choice(np.array([-1, 0, 1], np.float32), (rows, 1))
        after = core.transition(task, state, action, key, np.full(rows, t))
        reward, observation = core.reward(task, state, action, after), core.observation(task, after)
        for values in (reward, observation, *after):
            assert np.isfinite(values).all()
        going = ~core.terminal(task, after)
        slack = 1e-6 * np.abs(observation[going])
        assert ((observation[going] >= low - slack) & (observation[going] <= high + slack)).all()
        state = after
    if "grid" not in vars(sys.modules[type(core).__module__]):  # those take seconds to compute
        assert np.isfinite(core.oracle_action(task, state)).all()


@pytest.mark.parametrize("entry", CLASSES)
def test_numbers_stay_finite_at_the_ends_of_all_ranges(entry: str) -> None:
    ranges: dict[str, tuple[float, float]] = module(entry).RANGES
    assert set(ranges) <= set(inspect.signature(module(entry).Parameters).parameters)
    rng, made = np.random.default_rng(1), 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for trial in range(60):
            kwargs = {name: float(ends[rng.integers(2)]) for name, ends in ranges.items()}
            if trial < 2 * len(ranges):  # one argument at a time
                name = list(ranges)[trial // 2]
                kwargs = {name: float(ranges[name][trial % 2])}
            try:
                core = load(entry)(**kwargs)
            except ValueError:  # two arguments that do not fit each other
                continue
            made += 1
            run(core, 25)
    assert made >= 12


@pytest.mark.parametrize("entry", CLASSES)
def test_every_argument_is_checked(entry: str) -> None:
    for name in inspect.signature(module(entry).Parameters).parameters:
        low, high = module(entry).RANGES.get(name, (0, 256))
        beyond = (np.nan, np.inf, -np.inf, "1", None, [1.0], 1j, {}, np.nextafter(low, -np.inf), 10**400)
        more = (np.nextafter(high, np.inf), True) if name != "rotated" else (1,)
        for bad in (*beyond, *more):
            with pytest.raises(ValueError, match=rf"^{name}\b.*expected .*\.$"):
                load(entry)(**{name: bad})


@pytest.mark.parametrize("kind", KINDS)
def test_distractors_stay_finite_at_the_ends_of_their_ranges(kind: str) -> None:
    base = ENVS["valuegym/CartPoleSwingUp-v0"].core
    for number, scale, coupling in ((1, 0.0, -1e3), (33, 1e3, 1e3), (2, 1e3, None)):
        core = Distractors(base, kind=kind, number=number, scale=scale, coupling=coupling)
        run(core)


@pytest.mark.parametrize(
    "base", [5, None, "", "Pendulum", "no.such:Core", "os:getcwd", "os:nothing", "pathlib:Path", ":"]
)
def test_a_base_that_is_no_core_is_refused(base: Any) -> None:
    with pytest.raises(ValueError, match=r"^base is .*; expected the name of a core, 'module:Class'\.$"):
        Distractors(base)


OVER: list[tuple[str, dict[str, float], str]] = [
    *(("LQR", {"position": x, "velocity": v}, "at rest") for x, v in ((0.0, 0.0), (1e-9, -1e-7), (-1e-300, 0.0))),
    *(("MountainCarContinuous", o, "the episode is over") for o in ({"position": 0.45}, {"position": 0.6})),
    *(("Acrobot", o, "the episode is over") for o in ({"first": np.pi}, {"first": 2.0, "second": 1.1})),
    *(("CartPoleSwingUp", {"position": s * 2.4, "angle": s * 0.3}, "no score") for s in (-1, 1)),
    ("CartPoleSwingUp", {"position": 2.4, "angle": 0.0}, "no score"),
]
GOOD: list[tuple[str, dict[str, float]]] = [
    ("LQR", {"position": 1e-3, "velocity": 0.0}),
    ("LQR", {"position": 0.0}),
    ("LQR", {"velocity": 0.0}),
    ("MountainCarContinuous", {"position": 0.5, "velocity": -0.01}),
    ("Acrobot", {"first": 2.0, "second": -2.0}),
    ("CartPoleSwingUp", {"position": 2.4}),
    ("CartPoleSwingUp", {"position": -2.4, "angle": 3.0}),
    ("CartPoleSwingUp", {"angle": 0.0}),
    ("Pendulum", {"angle": 0.0, "velocity": 0.0}),
]


@pytest.mark.parametrize(("task", "options", "said"), OVER)
def test_starts_that_leave_nothing_to_score_are_refused(task: str, options: dict[str, float], said: str) -> None:
    for id in [id for id in PLAIN if id.startswith(f"valuegym/{task}-")] + [f"valuegym/{task}-D8-v0"] * (
        task == "CartPoleSwingUp"
    ):
        env, envs = gym.make(id), gym.make_vec(id, num_envs=2)
        match = rf"^{next(iter(options))} is .*expected .*{said}.*\.$"
        with pytest.raises(ValueError, match=match):
            env.reset(seed=0, options=options)
        with pytest.raises(ValueError, match=match):
            envs.reset(seed=0, options=options)
        env.reset(seed=0)  # drawn starts are not affected
        envs.reset(seed=0)


@pytest.mark.parametrize(
    ("task", "options"), [row for row in GOOD if row[0] not in ("Pendulum", "MountainCarContinuous")]
)
def test_other_starts_have_an_oracle_above_the_naive_reference(task: str, options: dict[str, float]) -> None:
    core = load(ENVS[f"valuegym/{task}-v0"].core)()
    key = keys.mix(np.arange(2, dtype=np.uint64), 0)
    start, _ = core.initial(key, **{name: np.full(2, value) for name, value in options.items()})
    naive, best = core.references(start)
    assert (best > naive).all()


@pytest.mark.parametrize(("task", "options"), GOOD)
def test_other_starts_are_accepted(task: str, options: dict[str, float]) -> None:
    gym.make(f"valuegym/{task}-v0").reset(seed=0, options=options)


def test_noise_gives_a_mass_at_rest_something_to_do() -> None:
    gym.make("valuegym/LQR-v0", noise=0.1).reset(seed=0, options={"position": 0.0, "velocity": 0.0})


def test_the_cart_poles_reference_that_soon_leaves_the_track_is_below_random_actions() -> None:
    core = load(ENVS["valuegym/CartPoleSwingUp-v0"].core)()
    rng, n = np.random.default_rng(0), 40
    key, kept, lost = keys.mix(np.arange(n, dtype=np.uint64), 0), 0, []
    at = np.where(rng.random(n) < 0.7, 2.4, rng.uniform(0, 2.4, n)), rng.uniform(-0.5, 0.9, n)
    for i in range(n):
        options = {"position": at[0][i : i + 1], "angle": at[1][i : i + 1]}
        try:
            core.initial(key[i : i + 1], **options)
            kept += 1
        except ValueError:
            lost.append(i)
    assert kept and len(lost) > 5
    task, _ = core.initial(key)
    task = task._replace(position=at[0], angle=at[1])
    naive, best = core.references(type(task)(*(field[lost] for field in task)))
    assert (best <= naive).all()
