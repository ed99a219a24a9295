"""The checks of `valuegym.testing` on environments of a user: correct ones, and one for every fault."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

import valuegym.envs.testing
from valuegym import testing
from valuegym.envs import keys


class Walk(gym.Env[Any, Any]):
    """A walk on a line, which ends at +-3."""

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}

    def __init__(self, start: float = 0.5, render_mode: str | None = None) -> None:
        self.start, self.render_mode = start, render_mode
        self.observation_space = gym.spaces.Box(-4, 4, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at = float(self.np_random.uniform(-self.start, self.start))
        return self.seen(), {}

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.at += 0.5 * (2 * int(action) - 1)
        return self.seen(), self.at, abs(self.at) >= 3, False, {}

    def seen(self) -> Any:
        return np.array([self.at], np.float32)

    def render(self) -> Any:
        cell = round(4 * (self.at + 4))
        if self.render_mode == "ansi":
            return "." * cell + "o"
        picture = np.zeros((4, 36, 3), np.uint8)
        picture[:, cell] = 255
        return picture


class OutOfItsSpace(Walk):
    def seen(self) -> Any:
        return np.array([9 + self.at], np.float32)


class WiderThanItsSpace(Walk):
    """Leaves its space only after some steps, when Gymnasium's checker has gone."""

    def seen(self) -> Any:
        return np.array([self.at * (8 if abs(self.at) > 1.5 else 1)], np.float32)


class WithItsOwnRandomness(Walk):
    count = itertools.count()

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, _, *rest = super().step(action)
        return seen, float(next(self.count)), *rest  # type: ignore[return-value]


class WithAMemory(Walk):
    steps = 0

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self.steps += 1
        seen, _, *rest = super().step(action)
        return seen, float(self.steps), *rest  # type: ignore[return-value]


class WithoutAnything(Walk):
    def seen(self) -> Any:
        return np.zeros(1, np.float32)

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return self.seen(), 0.0, False, False, {}


class PaidInWords(Walk):
    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, _, *rest = super().step(action)
        return seen, "much", *rest  # type: ignore[return-value]


class PaidNothingKnown(Walk):
    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, _, *rest = super().step(action)
        return seen, float("nan"), *rest  # type: ignore[return-value]


class EndsByNumber(Walk):
    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        seen, reward, end, cut, info = super().step(action)
        return seen, reward, int(end), cut, info


class TakesAKeyOfOthers(Walk):
    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        return *super().step(action)[:4], {"episode": 1}


class AlwaysTheSamePicture(Walk):
    def render(self) -> Any:
        return "o" if self.render_mode == "ansi" else np.eye(3, dtype=np.uint8)[..., None].repeat(3, -1)


class EmptyText(Walk):
    def render(self) -> Any:
        return "" if self.render_mode == "ansi" else super().render()


class PictureOfFloats(Walk):
    def render(self) -> Any:
        picture = super().render()
        return picture if self.render_mode == "ansi" else picture / 255.0


class BlankPicture(Walk):
    def render(self) -> Any:
        picture = super().render()
        return picture if self.render_mode == "ansi" else 0 * picture


class GrowingPicture(Walk):
    def render(self) -> Any:
        picture = super().render()
        return picture if self.render_mode == "ansi" else picture[:, : 18 + round(4 * self.at)]


class TakesEverything(Walk):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(render_mode=kwargs.get("render_mode"))


class ForgetsItsArgument(Walk):
    """Keeps an argument on the class, so that its spec does not say what it is."""

    def __init__(self, start: Any = 0.5, render_mode: str | None = None) -> None:
        super().__init__(float(start[0]) if isinstance(start, tuple) else 0.1, render_mode)


@pytest.mark.parametrize("check", [getattr(testing, name) for name in testing.__all__ if name.startswith("check")])
def test_correct_environments_pass(check: Any) -> None:
    if check is testing.check_stable_baselines3:
        pytest.importorskip("stable_baselines3")
    check(Walk)
    check(partial(gym.make, "Test/Walk-v0", start=0.25))
    check(partial(gym.make, "Test/Core-v0"))


@pytest.mark.parametrize(
    ("check", "fault", "said"),
    [
        (testing.check_gymnasium, OutOfItsSpace, "OutOfItsSpace: Gymnasium's checker fails: .*observation"),
        (testing.check_gymnasium, PaidInWords, "PaidInWords: Gymnasium's checker .*reward"),
        (testing.check_determinism, WiderThanItsSpace, "lies outside the observation space"),
        (testing.check_determinism, WithItsOwnRandomness, "two environments behave differently"),
        (testing.check_determinism, WithAMemory, "does not forget earlier episodes"),
        (testing.check_determinism, WithoutAnything, "two seeds and their different actions"),
        (testing.check_determinism, PaidInWords, "the reward is 'much' of type str"),
        (testing.check_determinism, PaidNothingKnown, "the reward is nan of type float"),
        (testing.check_determinism, EndsByNumber, r"terminated and truncated are \[0, False\]"),
        (testing.check_determinism, TakesAKeyOfOthers, "info holds 'episode'"),
        (testing.check_rendering, AlwaysTheSamePicture, "'ansi' shows does not change"),
        (testing.check_rendering, EmptyText, "gives ''; expected a text"),
        (testing.check_rendering, PictureOfFloats, r"gives float64 of shape \(4, 36, 3\); expected uint8"),
        (testing.check_rendering, BlankPicture, "a picture is blank"),
        (testing.check_rendering, GrowingPicture, "pictures change their size"),
    ],
)
def test_faults_of_a_class_are_named(check: Any, fault: type[Walk], said: str) -> None:
    for whole in (check, testing.check):
        with pytest.raises(AssertionError, match=said if whole is check else fault.__name__):
            whole(fault)


@pytest.mark.parametrize("check", [getattr(testing, name) for name in testing.__all__ if name.startswith("check")])
def test_what_makes_no_environment_is_named(check: Any) -> None:
    if check is testing.check_stable_baselines3:
        pytest.importorskip("stable_baselines3")
    for make, said in (
        (Walk(), "make_env is <.*Walk.*>; expected a function"),
        ("CartPole-v1", "make_env is 'CartPole-v1'"),
        (partial(gym.make_vec, "Test/Core-v0", num_envs=2), "of type FunctionalVectorEnv; expected a gymnasium.Env"),
    ):
        with pytest.raises(AssertionError, match=said):
            check(make)


def test_a_function_that_returns_one_environment_again_is_named() -> None:
    walk = Walk()
    with pytest.raises(AssertionError, match="Walk: make_env returns the same environment again"):
        testing.check_determinism(lambda: walk)


def test_warnings_of_a_checker_are_faults_unless_they_are_allowed() -> None:
    class Unbounded(Walk):
        def __init__(self, render_mode: str | None = None) -> None:
            super().__init__(render_mode=render_mode)
            self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    with pytest.raises(AssertionError, match=r"Unbounded: Gymnasium's checker warns: .*infinity"):
        testing.check_gymnasium(Unbounded)
    testing.check_gymnasium(Unbounded, ["(min|max)imum value is -?infinity"])


# --- registered environments and cores ---


class Task(NamedTuple):
    key: Any


class State(NamedTuple):
    at: Any


class Core:
    """Walk, as a core.

    ## Description
    A walk on a line.
    ## Observation
    Where it is.
    ## Action
    Left or right.
    ## Reward
    Where it is.
    ## Episode end
    Beyond three steps.
    ## Arguments
    It has none.
    ## Oracle and naive scores
    There are none.
    ## Source
    Made for this test.
    ## Version history
    v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}
    discount = 1.0

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-4, 4, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)

    def initial(self, key: Any) -> tuple[Task, State]:
        return Task(key.copy()), State(keys.uniform(key, keys.RESET, 0))

    def transition(self, task: Task, state: State, action: Any, key: Any, t: Any) -> State:
        return State(np.where(self.terminal(task, state), state.at, state.at + 0.5 * (2 * action - 1)))

    def reward(self, task: Task, state: State, action: Any, next_state: State) -> Any:
        return next_state.at.copy()

    def terminal(self, task: Task, state: State) -> Any:
        return np.abs(state.at) >= 3

    def observation(self, task: Task, state: State) -> Any:
        return state.at[:, None].astype(np.float32)

    def render(self, mode: str, task: Task, states: Any, actions: Any) -> Any:
        cell = int(4 * (states[-1].at[0] + 4))
        if mode == "ansi":
            return "." * cell + "o"
        picture = np.zeros((4, 36, 3), np.uint8)
        picture[:, cell] = 255
        return picture


class MixesItsRows(Core):
    __doc__ = Core.__doc__

    def reward(self, task: Task, state: State, action: Any, next_state: State) -> Any:
        return next_state.at - next_state.at.mean() + 1


class StartsByRow(Core):
    __doc__ = Core.__doc__

    def initial(self, key: Any) -> tuple[Task, State]:
        task, state = super().initial(key)
        return task, State(state.at + 0.1 * np.arange(len(key)))


class Undocumented(Core):
    """Says nothing."""


class Undescribed(Core):
    __doc__ = (Core.__doc__ or "").replace("A walk on a line.", "")


class OfAnotherVersion(Core):
    __doc__ = (Core.__doc__ or "").replace("v0", "v1")


class SeenAsText(Core):
    __doc__ = Core.__doc__
    metadata = {"render_modes": ["ansi"], "render_fps": 4}


CORES = (Core, MixesItsRows, StartsByRow, Undocumented, Undescribed, OfAnotherVersion, SeenAsText)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    before = set(gym.registry)
    scalar, vector = (f"valuegym.envs.functional:Functional{kind}" for kind in ("Env", "VectorEnv"))
    for core in CORES:
        kwargs = {"core": f"{__name__}:{core.__name__}"}
        gym.register(f"Test/{core.__name__}-v0", scalar, vector_entry_point=vector, kwargs=kwargs, max_episode_steps=9)
    gym.register("Test/NotNative-v0", scalar, kwargs={"core": f"{__name__}:Core"})
    for env in (Walk, TakesEverything, ForgetsItsArgument):
        gym.register(f"Test/{env.__name__}-v0", entry_point=f"{__name__}:{env.__name__}")
    yield
    for id in set(gym.registry) - before:
        del gym.registry[id]


@pytest.mark.parametrize(
    ("check", "id", "said"),
    [
        (testing.check_vector, "MixesItsRows", "in step 0 row 0 .* has another reward"),
        (testing.check_vector, "StartsByRow", "after 0 steps row 1 .* is not the scalar environment"),
        (testing.check_vector, "NotNative", "registered without vector_entry_point"),
        (testing.check_documentation, "Undocumented", r"has the headings \[\]"),
        (testing.check_documentation, "Undescribed", "nothing to read under 'Description'"),
        (testing.check_documentation, "OfAnotherVersion", "lacks 'v0'"),
        (testing.check_rendering, "SeenAsText", r"render modes are \['ansi'\]"),
        (testing.check_arguments, "TakesEverything", "no_such_argument=1, is accepted"),
    ],
)
def test_faults_of_a_registered_environment_are_named(check: Any, id: str, said: str) -> None:
    for whole in (check, testing.check):
        with pytest.raises(AssertionError, match=f"Test/{id}-v0: .*{said}"):
            whole(partial(gym.make, f"Test/{id}-v0"))


def test_specs_that_do_not_survive_json_are_named() -> None:
    """JSON turns a tuple into a list, which this environment takes for something else."""
    make = partial(gym.make, "Test/ForgetsItsArgument-v0", start=(0.5,))
    for check in (testing.check_spec, testing.check):
        with pytest.raises(AssertionError, match="Test/ForgetsItsArgument-v0: made from its spec in JSON"):
            check(make)
    with pytest.raises(AssertionError, match="Test/Walk-v0: its spec cannot be written as JSON"):
        testing.check_spec(partial(gym.make, "Test/Walk-v0", start=np.float32(0.5)))


def test_the_short_name_holds_everything() -> None:
    assert testing.__all__ == valuegym.envs.testing.__all__
    assert all(getattr(testing, name) is getattr(valuegym.envs.testing, name) for name in testing.__all__)
    functions = [f for _, f in inspect.getmembers(testing, inspect.isfunction)]
    assert functions and all(f.__doc__ for f in functions)
