"""Rewards learned from an annotator's answers while an agent of Stable-Baselines3 trains.

`AskingEnv` hides the reward of an environment, asks an annotator about pairs of segments of what happened in it, and
fits an ensemble of reward models to all answers after every round. Agents train on `rewards`, and look at `fits` to see
whether the models have changed.

The moment when an episode ends must not tell about its reward. So all segments have the same number of steps: episodes
end in an absorbing state (`Absorbing`), whose reward is learned from the answers as that of any other state.

Sources: Christiano et al. (2017), "Deep reinforcement learning from human preferences"; Lee et al. (2021), "PEBBLE:
feedback-efficient interactive reinforcement learning via relabeling experience and unsupervised pre-training".
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from valuegym.agents.base import TrainingEnv
from valuegym.agents.reward_models.bradley_terry import LOSSES, StepReward, fit_pairs, reward_ensemble
from valuegym.agents.reward_models.fitting import MAX_LR, FitSettings
from valuegym.agents.reward_models.pairs import (
    INPUTS,
    Pairs,
    distinct_steps,
    feedback_pairs,
    join_pairs,
    step_inputs,
)
from valuegym.agents.reward_models.queries import SELECTIONS, Selector
from valuegym.envs import checks, plugins
from valuegym.envs.feedback.annotators import BPREF, Annotator, Noiseless, as_annotator, bpref
from valuegym.envs.feedback.answers import Feedback
from valuegym.envs.feedback.learned_reward import AGGREGATIONS
from valuegym.envs.feedback.queries import SCHEDULES
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.transforms import TRANSFORMS, fit_transform
from valuegym.envs.feedback.wrapper import PreferenceFeedback

__all__ = [
    "ANNOTATORS",
    "REWARDS",
    "Absorbing",
    "Asking",
    "AskingEnv",
    "OwnRandomness",
    "annotator_of",
    "at_random",
]

Array = npt.NDArray[Any]

GROUP = "valuegym.annotators"  # of plug-ins
REWARDS = ("learned", "true", "constant")
LARGEST_SCALE = 1e6
NEVER = 10**15  # steps, after which nobody asks
SMALLEST = 1e-6  # deviation of rewards below which a model is taken to be constant


def at_random(first: Segments, second: Segments, rng: np.random.Generator) -> Array:
    """Return labels (N,) that say nothing: 0 or 1 with equal chances."""
    return rng.integers(2, size=len(first)) * 1.0


ANNOTATORS: dict[str, Callable[[], Any]] = {
    "noiseless": lambda: Annotator(choice=Noiseless()),
    **{teacher: partial(bpref, teacher) for teacher in BPREF},
    "random": lambda: as_annotator(at_random),
}


def annotator_of(annotator: Any) -> Any:
    """Return the annotator that an argument means.

    Args:
        annotator: a name in `ANNOTATORS`; FILE.py:NAME, PACKAGE.MODULE:NAME or the plug-in PACKAGE.PLUGIN of a function
            of segments, or of an annotator of `valuegym.envs.feedback.annotators`; or one of these itself.

    Raises:
        ValueError: it is no annotator, and names none.
    """
    if not isinstance(annotator, str):
        return as_annotator(annotator)
    if annotator in ANNOTATORS:
        return ANNOTATORS[annotator]()
    if plugins.is_reference(annotator):
        return as_annotator(plugins.load_reference(annotator), annotator)
    if annotator in plugins.installed(GROUP):
        return as_annotator(plugins.load_plugin(GROUP, annotator), annotator)
    raise checks.refusal("annotator", annotator, f"one of {', '.join(ANNOTATORS)}, FILE.py:NAME, or a function")


@dataclass(frozen=True)
class Asking:
    """Settings of queries and of the reward models that are fitted to the answers.

    Attributes:
        annotator: who answers, as in `annotator_of`; it sees the true reward.
        budget: queries in all.
        every: steps between rounds of queries, the first of which comes after so many.
        waits_count: whether the steps of waiting after the end of an episode count in `every`.
        rounds: of queries.
        schedule: how the budget is spread over rounds, a name in `SCHEDULES`.
        segment_length: steps of a segment.
        horizon: steps after which episodes of training are truncated; None for the environment's own limit alone.
        select: which of the candidates are asked about, a name in `SELECTIONS`.
        candidates: pairs drawn for each that is asked about.
        memory: records of experience, a step each, of which the newest are kept to draw pairs from.
        inputs: what the models see of a step, a name in `INPUTS`; "action_next" is the action and where it led.
        members: reward models of the ensemble.
        width: units of their hidden layers.
        depth: number of their hidden layers.
        fit_steps: of gradient descent after each round.
        fit_batch: pairs in one of these steps.
        fit_rate: step size of Adam.
        weight_decay: of Adam.
        loss: of the models, a name in `LOSSES`.
        aggregation: of the members' rewards, a name in `AGGREGATIONS`.
        transform: of the aggregated reward, a name in `TRANSFORMS`, fixed by the rewards of the segments asked about.
        scale: factor of the reward.
        reward: "learned"; or, to compare with, "true", the environment's own, or "constant", 0. Neither asks.

    Raises:
        ValueError: a setting is not as stated.
    """

    annotator: Any = "noiseless"
    budget: int = 500
    every: int = 500
    waits_count: bool = True
    rounds: int = 10
    schedule: str = "constant"
    segment_length: int = 25
    horizon: int | None = None
    select: str = "uniform"
    candidates: int = 10
    memory: int = 100_000
    inputs: str = "state_action"
    members: int = 3
    width: int = 32
    depth: int = 2
    fit_steps: int = 200
    fit_batch: int = 64
    fit_rate: float = 3e-3
    weight_decay: float = 0.0
    loss: str = "bt"
    aggregation: str = "mean"
    transform: str = "raw"
    scale: float = 1.0
    reward: str = "learned"

    def __post_init__(self) -> None:
        for name in ("budget", "every", "rounds", "segment_length", "candidates", "members", "width"):
            checks.integer(name, getattr(self, name), 1, 2**31)
        for name in ("fit_steps", "fit_batch"):
            checks.integer(name, getattr(self, name), 1, 2**20)
        checks.integer("depth", self.depth, 0, 64)
        checks.integer("memory", self.memory, 2 * (self.segment_length + 1), 2**31)
        if self.horizon is not None:
            checks.integer("horizon", self.horizon, 1)
        checks.real("fit_rate", self.fit_rate, high=MAX_LR, above=0)
        checks.real("weight_decay", self.weight_decay, 0, MAX_LR)
        checks.real("scale", self.scale, high=LARGEST_SCALE, above=0)
        for name, known in (
            ("schedule", SCHEDULES),
            ("select", SELECTIONS),
            ("inputs", INPUTS),
            ("loss", LOSSES),
            ("aggregation", AGGREGATIONS),
            ("transform", TRANSFORMS),
            ("reward", REWARDS),
        ):
            checks.choice(name, getattr(self, name), known)
        checks.flag("waits_count", self.waits_count)
        annotator_of(self.annotator)

    @classmethod
    def among(cls, settings: Mapping[str, Any]) -> tuple[Asking, dict[str, Any]]:
        """Return the settings of this class among others, and the others.

        Raises:
            ValueError: a setting is not as stated.
        """
        names = {field.name for field in fields(cls)}
        own = {name: value for name, value in settings.items() if name in names}
        return cls(**own), {name: value for name, value in settings.items() if name not in names}


class OwnRandomness:
    """States of the global generators (random, numpy, torch) that belong to one agent, and hold within a block.

    Stable-Baselines3 seeds the global generators and draws from them; so nobody else's draws change.
    """

    def __init__(self) -> None:
        self._own: Any = None
        self._others: Any = None

    @staticmethod
    def _states() -> tuple[Any, ...]:
        return random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 - SB3 draws from it

    @staticmethod
    def _set(states: tuple[Any, ...]) -> None:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002 - SB3 draws from it
        torch.set_rng_state(states[2])

    def __enter__(self) -> OwnRandomness:
        self._others = self._states()
        if self._own is not None:
            self._set(self._own)
        return self

    def __exit__(self, *error: object) -> None:
        self._own = self._states()
        self._set(self._others)


class AskingEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose reward is learned from answers: `step` returns 0, and `rewards` what has been learned.

    With the setting `reward="true"` `step` returns the environment's own.

    Args:
        env: an environment with a box of observations, and actions that are discrete or a box.
        settings: of queries and models.
        seed: of queries, answers and models.

    Attributes:
        fits: rounds of answers that the models have been fitted to.
        answers: how many they were fitted to.

    Raises:
        ValueError: the spaces are others.
    """

    def __init__(self, env: gym.Env[Any, Any], settings: Asking, seed: int = 0) -> None:
        self.settings, self.fits, self.answers = settings, 0, 0
        s, space = settings, env.action_space
        known = isinstance(space, gym.spaces.Discrete) or (isinstance(space, gym.spaces.Box) and space.is_bounded())
        if not isinstance(env.observation_space, gym.spaces.Box) or not known:
            raise ValueError(
                "Agents that learn from answers need a box of observations, and discrete actions or a bounded box of "
                f"them, not {env.observation_space} and {space}; FlattenObservation makes a box of most observations."
            )
        self._inner = Absorbing(TrainingEnv(env), s.segment_length - 1, s.horizon)
        self._discrete = int(space.n) if isinstance(space, gym.spaces.Discrete) else None
        self._idle = np.zeros(space.shape or (), space.dtype)  # of waiting, where no action moves anything
        self._generator = torch.Generator().manual_seed(seed)
        state, action = self._inner.flag + 1, self._discrete or self._idle.size
        inputs = sum(action if part == "action" else state for part in INPUTS[s.inputs])
        self.model = reward_ensemble(inputs, self._generator, s.members, s.width, s.depth)
        self._flag = self._inner.flag if s.inputs == "state_action" else -1  # the number of the input that says "waits"
        self._step_reward = StepReward(self.model, self._discrete, s.inputs)
        self.followed: list[Any] | None = None  # observations after steps, of an agent that does not keep them
        self._zero, self._unit = np.zeros((s.members, 1)), np.ones((s.members, 1))
        self._transform: Callable[[Any], Array] = lambda rewards: rewards
        self._ground = 0.0  # the transform of the absorbing state's reward
        self._pairs: list[Pairs] = []  # one of all answers, none before the first
        uniform = s.select == "uniform"
        self._selector = None if uniform else Selector(s.select, self._generator, self.model, inputs=self._inputs)
        self.preferences = PreferenceFeedback(
            self._inner,
            annotator_of(s.annotator),
            s.budget,
            segment_length=s.segment_length,
            every=s.every if self.learns else NEVER,
            rounds=min(s.rounds, s.budget),
            schedule=s.schedule,
            fixed_horizon=False,  # nothing ends but in the absorbing state
            select=self._selector,
            candidates=s.candidates,
            memory=s.memory,
            seed=seed,
        )
        super().__init__(self.preferences)
        self.observation_space = env.observation_space

    @property
    def learns(self) -> bool:
        """Tell whether the reward is learned from answers."""
        return self.settings.reward == "learned"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        _, info = self.env.reset(seed=seed, options=options)
        return self._inner.observation, info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step; at the end of a round the models are fitted to all answers.

        Raises:
            DivergenceError: an observation, the reward, a loss or a model is not finite.
        """
        truncated, info = self._move(action)
        over = self._inner.over
        self.preferences.counts = self.settings.waits_count
        while over and not truncated:
            truncated, _ = self._move(self._idle)
        self.preferences.counts = True
        if self.followed is not None:
            self.followed.append(self._inner.observation)
        reward = self.settings.scale * self._inner.reward if self.settings.reward == "true" else 0.0
        return self._inner.observation, reward, over, truncated and not over, info

    def _move(self, action: Any) -> tuple[bool, dict[str, Any]]:
        """Take one step, also of waiting, and fit the models if it ends a round."""
        _, _, _, truncated, info = self.env.step(action)
        new = info.pop("preferences", None)
        if new is not None:
            self._fit(new)
        return truncated, info

    def _fit(self, new: Feedback) -> None:
        """Fit the models to all answers, new ones among them."""
        s = self.settings
        self._add(new)
        settings = FitSettings(s.fit_steps, s.fit_batch, s.fit_rate, s.weight_decay)
        fit_pairs(self.model, self._pairs[0], settings, self._generator, s.loss)
        self._measure(self._pairs[0])
        self.fits += 1

    def _add(self, new: Feedback) -> None:
        """Put new answers to those that models are fitted to."""
        self._pairs = [join_pairs([*self._pairs, feedback_pairs(new, inputs=self._inputs)])]
        self.answers += len(new)

    def _measure(self, pairs: Pairs) -> None:
        """Set zero, unit and transform of the rewards from those of answered pairs.

        Comparisons of segments of one length determine neither zero nor unit. The unit is the deviation over the steps
        asked about; the zero is the reward of the absorbing state, whose value then is 0, as that of a terminal state,
        or the mean where no episode has ended.
        """
        inputs, index = distinct_steps(pairs.inputs[pairs.mask > 0])
        with torch.no_grad():
            steps = self.model.rewards(inputs[None]).double()[:, index].numpy()
        waits = (inputs[:, self._flag] > 0)[index].numpy()
        self._unit = steps.std(1, keepdims=True)
        self._unit[self._unit < SMALLEST] = 1.0
        self._zero = (steps[:, waits] if waits.any() else steps).mean(1, keepdims=True)
        self._transform = fit_transform(self.settings.transform, self._aggregated(steps))
        self._ground = float(self._transform(np.zeros(1))[0]) if waits.any() else 0.0

    def state(self) -> dict[str, Any]:
        """Return all that queries and rewards depend on besides the environment: a tree of arrays and numbers.

        Raises:
            ValueError: the annotator answers later, so that answers may be on their way.
        """
        return {
            "preferences": self.preferences.state(),
            "episode": self._inner.state(),
            "model": self.model.state_dict(),
            "random": self._generator.get_state(),
            "chosen": [] if self._selector is None else self._selector.chosen,
            "fits": self.fits,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned; the environment has to be where it was.

        Raises:
            KeyError, RuntimeError, TypeError, ValueError: it is of other settings or another environment.
        """
        self.preferences.restore(state["preferences"])
        self._inner.restore(state["episode"])
        self.model.load_state_dict({name: torch.as_tensor(value) for name, value in state["model"].items()})
        self._generator.set_state(torch.as_tensor(state["random"]))
        if self._selector is not None:
            self._selector.chosen = [torch.as_tensor(part) for part in state["chosen"]]
        self.fits = int(state["fits"])
        self._pairs, self.answers = [], 0
        feedback = self.preferences.feedback()
        if feedback is not None:
            self._add(feedback)
            self._measure(self._pairs[0])

    def _inputs(self, observations: Array, actions: Array) -> Array:
        """Return the inputs (N, L, ...) of the models from segments; all steps of waiting are the same."""
        after = observations[:, 1:]
        waits = after[..., self._inner.flag, None] > 0
        before = np.where(waits, after, observations[:, :-1])
        return step_inputs(before, actions, self._discrete, self.settings.inputs, after)

    def _aggregated(self, rewards: Array) -> Array:
        """Return one reward (N,) of the members' (E, N), each in its own unit."""
        return AGGREGATIONS[self.settings.aggregation]((rewards - self._zero) / self._unit, 1.0)

    def rewards(self, observations: Array, actions: Array, following: Array) -> Array:
        """Return learned rewards (N,) of observations (N, ...), actions (N, ...) and the observations that followed.

        They are 0 before the first answers.
        """
        n = len(actions)
        if not self.fits or not n:
            return np.zeros(n)
        zero = np.zeros((n, 1))  # no step of an agent waits
        before, after = (np.concatenate([np.reshape(x, (n, -1)), zero], 1) for x in (observations, following))
        found = self._transform(self._aggregated(self._step_reward(before, actions, after))) - self._ground
        return self.settings.scale * found


class Absorbing(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose episodes end in an absorbing state, in which every step has reward 0.

    Observations are flat, (D + 1,), with a last number that is 0; in the absorbing state, all others are 0 and it is 1.
    It follows the last state of the episode, which is seen before. It is left after `waits` steps, so that segments of
    one step more, which begin before, are complete.

    Source: Kostrikov et al. (2019), "Discriminator-actor-critic".

    Args:
        env: an environment with a box of observations.
        waits: steps in the absorbing state, at least 0.
        horizon: steps after which an episode is truncated, besides the environment's own limit; None for no other.

    Attributes:
        observation: the environment's own last observation.
        reward: of the last step outside of the absorbing state.
        over: whether the episode has ended.
        flag: number of the entry of observations that is 1 in the absorbing state.
    """

    def __init__(self, env: gym.Env[Any, Any], waits: int, horizon: int | None = None) -> None:
        super().__init__(env)
        self.flag = math.prod(env.observation_space.shape or ())
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (self.flag + 1,), np.float32)
        self.observation: Any = None
        self.reward, self.over = 0.0, False
        self._waits, self._horizon, self._t, self._left = waits, horizon, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Start an episode."""
        self.observation, info = self.env.reset(seed=seed, options=options)
        self.over, self._left, self._t = False, self._waits, 0
        return self._flat(), info

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Take one step of the environment, or of waiting."""
        if self.over:
            self._left -= 1
            return self._flat(True), 0.0, False, self._left == 0, {}
        self.observation, reward, self.over, truncated, info = self.env.step(action)
        self.reward = float(reward)
        self._t += 1
        truncated |= self._t == self._horizon
        return self._flat(), self.reward, False, self._left == 0 if self.over else truncated, info

    def state(self) -> dict[str, Any]:
        """Return where the episode stands."""
        return {
            "observation": self.observation,
            "reward": self.reward,
            "counters": [bool(self.over), self._left, self._t],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.observation, self.reward = state["observation"], float(state["reward"])
        self.over, self._left, self._t = state["counters"]

    def _flat(self, absorbed: bool = False) -> Array:
        found = np.zeros(self.flag + 1, np.float32)
        if absorbed:
            found[-1] = 1.0
        else:
            found[:-1] = np.reshape(self.observation, -1)
        return found
