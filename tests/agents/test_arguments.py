"""Arguments of all agents, and labels, pairs and weights at the door of all learners: refused by name, or they work."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.agents import AGENTS, make
from valuegym.agents.preference import (
    active_bayes_regret,
    comparisons,
    constant,
    cpl,
    descent,
    optimal_advantage,
    posterior,
    regret_library,
)
from valuegym.agents.preference.preference_learner import PreferenceLearner
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import mdp as tabular
from valuegym.envs.functional import load
from valuegym.envs.preference import segments
from valuegym.envs.preference.segments import Segment
from valuegym.leaderboards.experiments import EXPERIMENTS

ON_TRACKS = [name for name in AGENTS if name != "language"]  # which needs a model: test_language_agent.py
HAVE_SB3 = importlib.util.find_spec("stable_baselines3") is not None
SHORT: dict[str, dict[str, Any]] = {
    "valuegym/RewardInference-v0": {"evaluation_points": (1,), "split": "dev"},
    "valuegym/RewardInferencePolicy-v0": {"evaluation_points": (1,), "split": "dev"},
    "valuegym/RewardInferenceActive-v0": {"evaluation_points": (1,), "split": "dev"},
    "valuegym/LQRFromPreferences-v0": {"evaluation_points": (1,), "transitions": 30, "length": 2},
}
BAD: tuple[Any, ...] = (
    *(None, "x", b"x", True, [], [1, 2], {}, object(), np.array([1.0, 2.0]), 1j, float("nan"), float("inf")),
    *(-float("inf"), -1, 0, 1, 2, 0.5, 1.5, -0.5, 10**30, -(10**30), 1e308, 1e-308, np.float32(0.25), "1"),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two training tasks instead of all of them, and small samples of posteriors."""
    monkeypatch.setattr(constant, "TASKS", 2)
    monkeypatch.setattr(posterior, "DRAWS", 200)
    constant._search.cache_clear()
    yield
    constant._search.cache_clear()


def where(name: str) -> Any:
    """An environment for an agent."""
    if AGENTS[name].extra and not HAVE_SB3:
        pytest.skip(f"needs valuegym[{AGENTS[name].extra}]")
    if AGENTS[name].extra == "text":
        pytest.skip("language models are slow: tests/agents/language/test_lifelong.py holds them to the same")
    what = next(what for what in EXPERIMENTS.values() if name in what.agents and not what.data)
    return gym.make(what.env_id, **(what.kwargs | SHORT.get(what.env_id, {})))


def arguments(name: str) -> list[str]:
    """All arguments of an agent's constructor but the environment, with those that go on to a base or to settings."""
    constructor = load(AGENTS[name].entry)
    found = list(inspect.signature(constructor).parameters.values())
    if any(one.kind is one.VAR_KEYWORD for one in found):
        if name in ("vagram", "mbpo", "mpc"):
            from valuegym.agents.control.vagram import Settings, VaGraM

            further = [*inspect.signature(VaGraM).parameters.values(), *inspect.signature(Settings).parameters.values()]
        elif name in ("ppo", "sac"):
            further = []  # those of Stable-Baselines3 are its own
        elif name in ("preference_ppo", "preference_sac"):
            from valuegym.agents.feedback.asking import Asking

            further = list(inspect.signature(Asking).parameters.values())
        else:
            further = [p for p in inspect.signature(_base(constructor)).parameters.values() if p.name in OPEN[name]]
        found += further
    return sorted({one.name for one in found if one.kind is not one.VAR_KEYWORD} - {"env", "settings", "kwargs"})


OPEN = {
    "lifelong_independent": ("rate", "speaking_rate"),
    "extrapolative_2": ("shrinkage", "speaking_rate"),
    "extrapolative_shrunk": ("order", "steps", "shrinkage", "speaking_rate"),
}


def _base(constructor: Any) -> Any:
    """The class that a function makes an agent of."""
    return inspect.get_annotations(constructor, eval_str=True)["return"]


def works(agent: Any, env: Any, steps: int = 2) -> None:
    """Play a few steps; every action is one of the environment's."""
    observation, memory = env.reset(seed=0)[0], None
    if hasattr(agent, "attach"):
        agent.attach(env)
    for _ in range(steps):
        action, memory = agent.predict(observation, memory, np.zeros(1, np.bool_), deterministic=True)
        assert np.isfinite(action).all()
        observation, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            break


@pytest.mark.parametrize("name", ON_TRACKS)
def test_an_argument_is_refused_by_name_or_works(name: str) -> None:
    env = where(name)
    for argument in arguments(name):
        for value in BAD:
            try:
                agent = make(name, env, **{argument: value})
            except ValueError as error:
                assert argument in str(error) and str(error).endswith("."), (argument, value, error)
            else:
                if value is not None and (argument != "seed" or value == 1) and not name.startswith("lqr_"):
                    works(agent, env)


@pytest.mark.parametrize("name", ON_TRACKS)
def test_what_is_no_environment_is_refused(name: str) -> None:
    where(name)
    for env in (None, "valuegym/LQR-v0", 3, [], object(), gym.spaces.Discrete(2)):
        with pytest.raises(ValueError, match=r"\.$"):
            make(name, env)


@pytest.mark.parametrize("name", ON_TRACKS)
def test_another_environment_is_refused_or_played(name: str) -> None:
    where(name)
    for id in ("valuegym/Delivery-v0", "valuegym/LQR-v0", "valuegym/LockIn-v0", "valuegym/RewardInference-v0"):
        env = gym.make(id)
        try:
            agent = make(name, env)
        except ValueError as error:
            assert str(error).endswith(".")
        else:
            if not hasattr(agent, "plan"):
                works(agent, env, 1)


def test_settings_of_updates_are_refused_by_name_or_work() -> None:
    pytest.importorskip("torch")
    from valuegym.agents.control.actor_critic import Optimisation

    for field in dataclasses.fields(Optimisation):
        refused = 0
        for value in BAD:
            try:
                Optimisation(**{field.name: value})
            except ValueError as error:
                assert field.name in str(error)
                refused += 1
        assert refused > len(BAD) / 2


# --- labels, pairs and weights ---

PROCESS = tabular.TabularMDP(
    np.random.default_rng(0).standard_normal((1, 4, 2, 2)).round(2),
    np.array([[False, False, False, True]]),
    np.array([[0.5, 0.5, 0, 0]]),
    0.9,
    next_state=np.array([[[1, 2], [2, 3], [0, 3], [3, 3]]]),
)
N = 12


def some_pairs() -> Segment:
    """Pairs of two random segments of two steps."""
    rng = np.random.default_rng(1)
    found = segments.follow(PROCESS, rng.integers(0, 3, (1, N, 2)), rng.integers(0, 2, (1, N, 2, 2)))
    return Segment(*(field[0] for field in found))


PAIRS, LABEL = some_pairs(), np.random.default_rng(2).integers(0, 2, N).astype(float)
LEARNERS = [
    name
    for name, entry in AGENTS.items()
    if entry.entry.startswith("valuegym.agents.preference") and hasattr(load(entry.entry), "estimates")
]


def learner(name: str) -> Any:
    """A learner from preferences about finite processes."""
    agent = make(name, where(name), seed=0)
    assert isinstance(agent, PreferenceLearner)
    return agent


def rng() -> np.random.Generator:
    """A generator that is always the same."""
    return np.random.default_rng(3)


def likelihood(pairs: Segment, label: Any) -> Any:
    """The function, called."""
    process = condense(PROCESS)
    comparison = comparisons.regret(process.mdp, process.renumbered(pairs))
    return posterior.likelihood(OptimalValues(process.mdp), comparison, label)(np.ones((1, 2)), (0, N))


DIFFERENCES = comparisons.partial_return(PAIRS, 0.9).features
ENTRIES: dict[str, Callable[[Segment, Any], Any]] = {
    **{
        f"{name}.{method}": lambda pairs, label, name=name, method=method: getattr(learner(name), method)(
            PROCESS, pairs, label, *extra(method)
        )
        for name in LEARNERS
        for method in ("estimate", "growing", "estimates")
    },
    "fit_table": lambda pairs, label: optimal_advantage.fit_table(pairs, label, 4, 2, 0.9),
    "likelihood": likelihood,
    "descent.fit": lambda _, label: descent.fit(differences, label, rng(), 2),
    "descent.descend": lambda _, label: descent.descend(differences, label, np.ones((2, 2))),
    "descent.losses": lambda _, label: descent.losses(differences, label, np.ones((2, 2))),
    "descent.starting_points": lambda _, label: descent.starting_points(differences, label, rng(), 2, 3),
    "log_likelihood": lambda _, label: posterior.log_likelihood(np.ones((N, 3)), label, (0, N)),
}


def differences(weights: Any) -> Any:
    """The coefficients of partial returns."""
    return np.broadcast_to(DIFFERENCES, (len(weights), *DIFFERENCES.shape))


def extra(method: str) -> tuple[Any, ...]:
    """Further arguments of a method of learners."""
    return {"estimate": (rng(),), "growing": ((3, N), rng()), "estimates": ((0, N),)}[method]


def wrong_labels() -> Iterator[Any]:
    """Labels in other codings, of other shapes, and with one number that is not valid."""
    for value in (np.nan, np.inf, -np.inf, 2.0, -1.0, 1.001):
        label = LABEL.copy()
        label[5] = value
        yield label
    yield from (LABEL + 1, 2 * LABEL - 1, LABEL[:-1], np.append(LABEL, 1.0), LABEL[:, None], None, "labels")
    yield LABEL.astype(str)


def wrong_pairs() -> Iterator[Segment]:
    """Pairs with one entry that is out of range, or of another shape."""
    for name, values in (("states", (-1, 4)), ("actions", (-1, 2)), ("features", (np.nan, np.inf)), ("mask", (2, -1))):
        for value in values:
            field = getattr(PAIRS, name).astype(np.int64 if name == "mask" else getattr(PAIRS, name).dtype)
            field[3, 1, 0] = value
            yield PAIRS._replace(**{name: field})
        yield PAIRS._replace(**{name: getattr(PAIRS, name)[:-1]})
        yield PAIRS._replace(**{name: None})


@pytest.mark.parametrize("entry", ENTRIES)
def test_labels_in_another_coding_are_refused(entry: str) -> None:
    ENTRIES[entry](PAIRS, LABEL)
    for label in wrong_labels():
        with pytest.raises(ValueError, match=r"^label(\[|s? ).*; expected .*\.$"):
            ENTRIES[entry](PAIRS, label)


@pytest.mark.parametrize("entry", [name for name in ENTRIES if "." in name and "descent" not in name] + ["fit_table"])
def test_pairs_that_are_not_valid_are_refused(entry: str) -> None:
    for pairs in wrong_pairs():
        with pytest.raises(ValueError, match=r"^(states|actions|features|mask|label)(\[| ).*; expected .*\.$"):
            ENTRIES[entry](pairs, LABEL)


def test_weights_priors_and_counts_are_refused() -> None:
    values = OptimalValues(condense(PROCESS).mdp)
    sample = np.full(3, 1 / 3)
    for call in (
        lambda bad: values(np.full((3, 2), bad)),
        lambda bad: values.policies(np.full((3, 2), bad)),
        lambda bad: descent.fit(differences, LABEL, rng(), 2, scale=bad),
        lambda bad: descent.losses(differences, LABEL, np.full((1, 2), bad)),
        lambda bad: descent.descend(differences, LABEL, np.full((1, 2), bad)),
        lambda bad: active_bayes_regret.expected_information(np.full((2, 3), bad), sample),
        lambda bad: active_bayes_regret.expected_information(np.full((2, 3), 0.5), np.full(3, bad)),
        lambda bad: active_bayes_regret.expected_gain(np.full((2, 3), bad), np.ones((3, 2)), lambda w: w.sum(-1)),
        lambda bad: regret_library.best(np.full((2, 3, 2), bad), np.ones((1, 2))),
        lambda bad: regret_library.best(np.ones((2, 3, 2)), np.full((1, 2), bad)),
        lambda bad: regret_library.library(PROCESS, bad, rng()),
        lambda bad: optimal_advantage.as_reward(PROCESS, np.full(8, bad)),
        lambda bad: comparisons.partial_return(PAIRS, bad),
        lambda bad: comparisons.visits(PAIRS, 4, 2, bad),
        lambda bad: posterior.log_likelihood(np.full((N, 3), bad), LABEL, (0, N)),
        lambda bad: next(posterior.samples(lambda w, b: np.zeros((1, len(w))), [bad], 0, 2)),
        lambda bad: learner("cpl").estimates(PROCESS, PAIRS, LABEL, [bad]),
    ):
        for bad in (np.nan, np.inf, -np.inf):
            with pytest.raises(ValueError, match=r"expected .*\.$"):
                call(bad)  # type: ignore[no-untyped-call]
    assert cpl.TEMPERATURES[0] > 0


# --- the linear regulator ---


def test_preferences_about_linear_systems_are_refused_likewise() -> None:
    from valuegym.agents.control import lqr_preferences as preferences
    from valuegym.agents.control.lqr_preferences import Pairs, Segments
    from valuegym.envs.control import lqr

    system = lqr.system(lqr.Parameters(distractors=0, noise=0.1))
    features, draws = preferences.axes(2, 1), rng()
    own = Segments(draws.standard_normal((N, 2, 3, 2)), draws.standard_normal((N, 2, 3, 1)))
    units = preferences.units_of(Pairs(own, LABEL), features, 0.9)
    doors: tuple[Callable[[Any], Any], ...] = (
        lambda pairs: preferences.units_of(pairs, features, 0.9),
        lambda pairs: preferences.posterior(pairs, features, system, "regret", units),
        lambda pairs: preferences.learn(pairs, features, system, "partial_return", units),
    )
    for door in doors:
        door(Pairs(own, LABEL))
        for label in wrong_labels():
            with pytest.raises(ValueError, match=r"^(preferred|states)(\[| ).*; expected .*\.$"):
                door(Pairs(own, label))
        for field in (0, 1):
            broken = [part.copy() for part in own]
            broken[field][4, 1, 0, 0] = np.nan
            with pytest.raises(ValueError, match=r"^(states|actions)\[4, 1, 0, 0\] is nan"):
                door(Pairs(Segments(*broken), LABEL))
    pairs = Pairs(own, LABEL)
    for bad in (np.nan, np.inf, -np.inf):
        for call in (
            lambda bad: preferences.learn(pairs, features, system, "regret", np.full(3, bad)),
            lambda bad: preferences.learn(pairs, features, system, "regret", units, prior=np.full(3, bad)),
            lambda bad: preferences.learn(pairs, features, system, "regret", units, start=np.full(3, bad)),
            lambda bad: preferences.learn(pairs, features, system, bad, units),
            lambda bad: preferences.controller(system, features, np.full(3, bad)),
            lambda bad: preferences.priced(system, features, np.full(3, bad)),
            lambda bad: preferences.sample_answers(np.ones((3, 2)), bad, rng()),
            lambda bad: preferences.sample_answers(np.full((3, 2), bad), 1.0, rng()),
            lambda bad: preferences.loss(np.full(N, bad), LABEL),
            lambda bad: preferences.loss(np.zeros(N), np.full(N, bad)),
            lambda bad: preferences.partial_costs(own, features, bad),
            lambda bad: preferences.regret(Segments(own.states * bad, own.actions), system),
        ):
            with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=r"expected .*\.$"):
                call(bad)  # type: ignore[no-untyped-call]
    same = Pairs(Segments(*(np.repeat(part[:, :1], 2, 1) for part in own)), LABEL)
    alike = preferences.units_of(same, features, 0.9)  # no two segments differ: the prior alone decides
    assert np.isfinite(preferences.learn(same, features, system, "partial_return", alike)).all()
