"""Any Gymnasium environment, scalar or vector, with preferences in its reward's place.

`PreferenceFeedback` hides the reward, keeps the experience, and asks an annotator about pairs of segments of it;
`LearnedReward` puts the reward of a model that was fitted to the answers where an agent expects a reward:

    env = LearnedReward(PreferenceFeedback(gym.make("CartPole-v1"), bpref("stochastic"), budget=200), model)
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from valuegym.envs import checks
from valuegym.envs.feedback import data
from valuegym.envs.feedback.annotators import answers_later, as_annotator
from valuegym.envs.feedback.answers import Answers, Feedback, join
from valuegym.envs.feedback.batches import Transitions, add_axis, put, take
from valuegym.envs.feedback.learned_reward import LearnedReward, LearnedRewardVector
from valuegym.envs.feedback.queries import Experience, queries_per_round
from valuegym.envs.feedback.segments import Segments, each

__all__ = ["PreferenceFeedback", "PreferenceFeedbackVector", "Select"]

Array = npt.NDArray[Any]
Select = Callable[[Segments, Segments, int], Array]

RECENT = 10  # latest episodes whose mean return scales adaptive thresholds, as in B-Pref
SECRET = ("recent_return",)  # columns that tell of the true reward


class _Queries:
    """Experience, rounds of queries and answers of B environments that move together."""

    def __init__(
        self,
        spaces: tuple[gym.Space[Any], gym.Space[Any]],
        rows: int,
        annotator: Any,
        budget: int,
        segment_length: int,
        every: int,
        rounds: int,
        schedule: str | Callable[[float], float],
        select: Select | None,
        candidates: int,
        memory: int,
        seed: int | None,
        fixed_horizon: bool,
    ) -> None:
        self.terminations = not fixed_horizon
        self.annotator = as_annotator(annotator)
        self.counts = queries_per_round(schedule, budget, rounds)
        self.length, self.every = checks.integer("segment_length", segment_length, 1), checks.integer("every", every, 1)
        self.select, self.candidates = select, checks.integer("candidates", candidates, 1)
        checks.integer("memory", memory, 2 * (self.length + 1))
        self.experience = Experience(*spaces, rows, memory)
        self.rng = None if seed is None else np.random.default_rng(checks.integer("seed", seed, 0))
        self.steps = self.round = self.pending = 0
        self.returns, self.lengths = np.zeros(rows), np.zeros(rows, np.int64)
        self.recent: deque[tuple[float, int]] = deque(maxlen=RECENT)
        self.parts: list[Feedback] = []

    def seed(self, seeds: Sequence[int | None]) -> None:
        """Seed the queries by the first reset, where they have no seed of their own."""
        if self.rng is None:
            known = [seed for seed in seeds if seed is not None]
            self.rng = np.random.default_rng(known or None)

    def begin(self, observations: Any, rows: Array) -> None:
        self.experience.begin(observations, rows)
        self.returns[rows], self.lengths[rows] = 0.0, 0

    def add(
        self, actions: Array, rewards: Array, observations: Any, terminated: Array, rows: Array, waits: Array
    ) -> None:
        self.experience.add(actions, rewards, observations, terminated, rows, waits)
        self.returns[rows] += rewards
        self.lengths[rows] += 1
        self.steps += len(rows)

    def add_one(
        self, action: Any, reward: float, observation: Any, terminated: bool, waits: bool, counts: bool
    ) -> None:
        self.experience.add_one(action, reward, observation, terminated, waits)
        self.returns[0] += reward
        self.lengths[0] += 1
        self.steps += counts

    def finish(self, rows: Array) -> None:
        self.experience.finish(rows)
        self.recent.extend(zip(self.returns[rows].tolist(), self.lengths[rows].tolist(), strict=True))

    def query(self) -> Feedback | None:
        """Ask the queries of all rounds that have come; return the new answered pairs."""
        before = self.round
        while self.round < len(self.counts) and self.steps >= self.every * (self.round + 1):
            self.pending += self.counts[self.round]
            self.round += 1
        if not self.pending:
            return self.collect() if self.round > before else None
        assert self.rng is not None  # seeded by the reset
        n = self.pending
        pairs = self.experience.pairs(n * (1 if self.select is None else self.candidates), self.length, self.rng)
        if pairs is None:
            return None
        self.pending = 0
        first, second = pairs
        if self.select is not None:
            answer = self.select(first.without(), second.without(), n)
            chosen = checks.integers("select(first, second, n)", answer, (n,), 0, len(first) - 1)
            if len(np.unique(chosen)) < n:
                raise ValueError("select(first, second, n) returned a pair twice; expected n different rows.")
            first, second = first[chosen], second[chosen]
        value = sum(r for r, _ in self.recent) * self.length / max(sum(t for _, t in self.recent), 1)
        columns = {"recent_return": np.full(n, value), "round": np.full(n, self.round - 1)}
        first, second = first.with_info(**columns), second.with_info(**columns)
        if answers_later(self.annotator):
            self.annotator.submit(*(part.without(*SECRET) for part in (first, second)))
            return self.collect()
        answers = self.annotator(first, second, self.rng)
        return self._keep(Feedback(first, second, answers)[~answers.skipped])

    def collect(self) -> Feedback | None:
        """Fetch answers that came later; return them."""
        if not answers_later(self.annotator):
            return None
        found = self.annotator.collect()
        return None if found is None else self._keep(found[~found.answers.skipped])

    def _keep(self, new: Feedback) -> Feedback | None:
        if not len(new):
            return None
        self.parts.append(new)
        return new.hidden(*SECRET, terminated=self.terminations)

    def feedback(self, true: bool) -> Feedback | None:
        """Return all answered pairs so far."""
        self.collect()
        if not self.parts:
            return None
        self.parts = [join(self.parts)]
        return self.parts[0] if true else self.parts[0].hidden(*SECRET, terminated=self.terminations)

    def state(self) -> dict[str, Any]:
        """Return experience, answers, and where the rounds stand.

        Raises:
            ValueError: the annotator answers later, so that answers may be on their way.
        """
        if answers_later(self.annotator):
            raise ValueError("an annotator that answers later keeps its queries elsewhere")
        found = self.feedback(True)
        return {
            "experience": self.experience.state(),
            "answered": None if found is None else data.arrays_of(found.first, found.second, found.answers),
            "counters": [self.steps, self.round, self.pending],
            "episode": [self.returns, self.lengths],
            "recent": list(self.recent),
            "random": None if self.rng is None else self.rng.bit_generator.state,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.experience.restore(state["experience"])
        self.parts = [] if state["answered"] is None else [Feedback(*_answered(state["answered"]))]
        self.steps, self.round, self.pending = state["counters"]
        self.returns, self.lengths = (np.array(part) for part in state["episode"])
        self.recent.clear()
        self.recent.extend((value, steps) for value, steps in state["recent"])
        if state["random"] is not None:
            self.rng = np.random.default_rng()
            self.rng.bit_generator.state = state["random"]


def _answered(arrays: Mapping[str, Array]) -> tuple[Segments, Segments, Answers]:
    first, second, answers = data.from_arrays(arrays)
    if answers is None:
        raise ValueError("the pairs have no answers")
    return first, second, answers


def _horizon(env: Any, fixed: bool, horizon: int | None, length: int) -> int:
    """Return the steps after which every episode ends; 0 where episodes end as they do."""
    if not checks.flag("fixed_horizon", fixed):
        if horizon is not None:
            raise ValueError(f"horizon is {horizon!r}; expected None where fixed_horizon is False.")
        return 0
    limit = None if env.spec is None else env.spec.max_episode_steps
    if horizon is None and limit is None:
        raise ValueError(
            "The environment has no step limit; expected horizon=STEPS, after which every episode ends, or "
            "fixed_horizon=False."
        )
    found = checks.integer("horizon", limit if horizon is None else horizon, 1, limit)
    if length > found:
        raise ValueError(f"segment_length is {length}; expected at most the horizon of {found} steps.")
    return found


def _refuse_wrapped(env: Any) -> None:
    """Refuse environments whose reward is not the true one, so that no annotator compares a learned reward."""
    for inner in (env, *getattr(env, "envs", ())):
        while inner is not None:
            if isinstance(inner, (LearnedReward, LearnedRewardVector, PreferenceFeedback, PreferenceFeedbackVector)):
                raise ValueError(
                    f"The environment is wrapped in {type(inner).__name__} already, which hides its true reward; "
                    "expected PreferenceFeedback below LearnedReward, once."
                )
            inner = getattr(inner, "env", None)


class PreferenceFeedback(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment with an annotator's preferences in place of its reward.

    `step` returns reward 0, and of the environment's info only the keys that are asked for, because info often holds
    the reward or its parts. In rounds, an annotator answers queries about pairs of segments of all experience so far,
    drawn evenly. New answered pairs are in `info["preferences"]`, a `Feedback`, after the step that ends a round, and
    all of them are returned by `feedback()`. Pairs that the annotator skips count towards the budget.

    When an episode ends tells about the reward, too. With `fixed_horizon` every episode has the same number of steps:
    one that has ended stays in its last observation, with true reward 0 and whatever the action, until the horizon, and
    is then truncated. Segments do not begin after that end, where there is nothing to compare. With
    `fixed_horizon=False` terminations pass through, and give away what they mean: in CartPole, that longer is better.

    Args:
        env: of any kind whose spaces hold arrays or, for observations, flat dictionaries of them.
        annotator: of `valuegym.envs.feedback.annotators`, or a function of two segments that returns labels; it sees
            the true rewards, and the columns `round` (from 0) and `recent_return`: the mean return of the 10 latest
            episodes, scaled to the length of a segment.
        budget: queries in all, at least 1.
        segment_length: steps of a segment, at least 1.
        every: steps between rounds, the first of which comes after so many.
        rounds: of queries, at least 1.
        schedule: how the budget is spread over rounds: "constant", "hyperbolic", "inverse_quadratic" or a function
            (`queries_per_round`).
        fixed_horizon: whether all episodes have the same number of steps.
        horizon: that number; None is the environment's own limit.
        select: a function of candidates, select(first, second, n), that returns the numbers (n,) of the pairs to ask
            about; None takes pairs as they are drawn.
        candidates: pairs drawn for each that is selected.
        memory: records kept of the experience, one for each step and one more for each episode.
        info_keys: of the environment's info that pass through.
        seed: of queries and answers; None takes that of the first reset.

    Raises:
        ValueError: an argument is not as stated, or the environment's reward is hidden or learned already.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        annotator: Any,
        budget: int,
        *,
        segment_length: int = 50,
        every: int = 1000,
        rounds: int = 10,
        schedule: str | Callable[[float], float] = "constant",
        fixed_horizon: bool = True,
        horizon: int | None = None,
        select: Select | None = None,
        candidates: int = 10,
        memory: int = 100_000,
        info_keys: Sequence[str] = (),
        seed: int | None = None,
    ) -> None:
        arguments = {name: value for name, value in locals().items() if name not in ("self", "env", "__class__")}
        gym.utils.RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **arguments)
        super().__init__(env)
        _refuse_wrapped(env)
        spaces = (env.observation_space, env.action_space)
        self._queries = _Queries(
            spaces,
            1,
            annotator,
            budget,
            segment_length,
            every,
            rounds,
            schedule,
            select,
            candidates,
            memory,
            seed,
            fixed_horizon,
        )
        self._horizon = _horizon(env, fixed_horizon, horizon, segment_length)
        self._info_keys = tuple(info_keys)
        self.counts = True  # whether steps count towards the next round
        self._last: Any = None
        self._absorbed, self._t = False, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._queries.seed([seed])
        self._queries.begin(add_axis(observation), _ROW)
        self._last, self._absorbed, self._t = observation, False, 0
        return observation, self._seen(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move one step; the reward is 0.

        Raises:
            ResetNeeded: there was no reset, or the episode has reached its horizon.
        """
        if self._last is None or 0 < self._horizon <= self._t:
            raise gym.error.ResetNeeded("There is no episode to step: call reset() first, and again at its end.")
        info: dict[str, Any] = {}
        if self._absorbed:
            observation, reward, terminated, truncated = copy.deepcopy(self._last), 0.0, False, False
        else:
            observation, given, terminated, truncated, info = self.env.step(action)
            reward = float(given)
        self._queries.add_one(action, reward, observation, terminated, self._absorbed, self.counts)
        self._last, self._t = observation, self._t + 1
        if self._horizon:
            self._absorbed |= terminated or truncated
            terminated, truncated = False, self._t >= self._horizon
        if terminated or truncated:
            self._queries.finish(_ROW)
        info = self._seen(info)
        new = self._queries.query()
        if new is not None:
            info["preferences"] = new
        return observation, 0.0, bool(terminated), bool(truncated), info

    def _seen(self, info: Mapping[str, Any]) -> dict[str, Any]:
        return {name: info[name] for name in self._info_keys if name in info}

    def feedback(self) -> Feedback | None:
        """Return all answered pairs so far, without true rewards and probabilities; None before any."""
        return self._queries.feedback(False)

    def true_feedback(self) -> Feedback | None:
        """Return all answered pairs so far with the true rewards and probabilities: for scoring, not for agents."""
        return self._queries.feedback(True)

    def state(self) -> dict[str, Any]:
        """Return all that further queries and answers depend on besides the environment: a tree of arrays and numbers.

        Raises:
            ValueError: the annotator answers later.
        """
        return {
            "queries": self._queries.state(),
            "last": self._last,
            "episode": [bool(self._absorbed), self._t],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned; the environment has to be where it was.

        Raises:
            KeyError, TypeError, ValueError: it is of another environment or other settings.
        """
        self._queries.restore(state["queries"])
        self._last = state["last"]
        self._absorbed, self._t = state["episode"]


_ROW = np.zeros(1, np.int64)


class PreferenceFeedbackVector(VectorWrapper):
    """A vector environment with an annotator's preferences in place of its rewards: `PreferenceFeedback` for many rows.

    Rounds are counted in steps of all rows together, and segments of all rows are compared. With one row its numbers
    are those of `PreferenceFeedback`.

    A fixed horizon where episodes terminate needs `autoreset_mode=DISABLED`: rows that have ended wait in their last
    observation, which no other mode allows. In the other modes the horizon must be the environments' own limit, and the
    first episode that ends before it is an error.

    Args:
        env: a vector environment.
        annotator, budget, segment_length, every, rounds, schedule, fixed_horizon, horizon, select, candidates, memory,
            info_keys, seed: as in `PreferenceFeedback`; memory is that of each row.

    Raises:
        ValueError: an argument is not as stated, or the environments' reward is hidden or learned already.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        annotator: Any,
        budget: int,
        *,
        segment_length: int = 50,
        every: int = 1000,
        rounds: int = 10,
        schedule: str | Callable[[float], float] = "constant",
        fixed_horizon: bool = True,
        horizon: int | None = None,
        select: Select | None = None,
        candidates: int = 10,
        memory: int = 100_000,
        info_keys: Sequence[str] = (),
        seed: int | None = None,
    ) -> None:
        super().__init__(env)
        _refuse_wrapped(env)
        B, spaces = env.num_envs, (env.single_observation_space, env.single_action_space)
        self._queries = _Queries(
            spaces,
            B,
            annotator,
            budget,
            segment_length,
            every,
            rounds,
            schedule,
            select,
            candidates,
            memory,
            seed,
            fixed_horizon,
        )
        self._transitions = Transitions(env)
        self._waits = self._transitions.mode is AutoresetMode.DISABLED
        self._horizon = _horizon(env, fixed_horizon, horizon, segment_length)
        limit = None if env.spec is None else env.spec.max_episode_steps
        if self._horizon and not self._waits and limit not in (None, self._horizon):
            raise ValueError(
                f"horizon is {self._horizon}; expected the environments' own limit of {limit} steps, or "
                "autoreset_mode=DISABLED."
            )
        self._info_keys = tuple(info_keys)
        self._last: Any = None
        self._t = np.zeros(B, np.int64)
        self._absorbed, self._done, self._ended = (np.zeros(B, np.bool_) for _ in range(3))

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start the next episodes of all rows, or of those in options["reset_mask"]."""
        rows = self._transitions.reset(options)
        # Gymnasium's own vector environments take the mask out of the dictionary that they are given.
        observations, info = self.env.reset(seed=seed, options=None if options is None else dict(options))  # type: ignore[arg-type]
        self._queries.seed(seed if isinstance(seed, Sequence) else [seed])
        if self._last is not None and len(rows) < self.num_envs:
            others = np.setdiff1d(np.arange(self.num_envs), rows)
            observations = put(observations, others, take(self._last, others))
        self._queries.begin(take(observations, rows), rows)
        self._last = each(np.array, observations)  # copies: environments may write into what they returned
        for flags in (self._absorbed, self._done, self._ended):
            flags[rows] = False
        self._t[rows] = 0
        return observations, self._seen(info)

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Move every row one step; all rewards are 0.

        Raises:
            ResetNeeded: there was no reset, or a row needs one in mode DISABLED.
            ValueError: an episode ended before the horizon, in a mode that starts the next one at once.
        """
        if self._last is None:
            raise gym.error.ResetNeeded("There are no episodes to step: call reset() first.")
        if self._waits and self._done.any():
            raise gym.error.ResetNeeded(
                f"Environments {np.flatnonzero(self._done).tolist()} have finished: reset them with "
                "options={'reset_mask': mask} first."
            )
        if self._absorbed.all():
            zero, info = np.zeros(self.num_envs), dict[str, Any]()
            observations, rewards = take(self._last, np.arange(self.num_envs)), zero
            terminated, truncated = zero.astype(np.bool_), zero.astype(np.bool_)
        else:
            if self._ended.any():  # they wait for the horizon, but have to be able to move with the others
                self.env.reset(options={"reset_mask": self._ended.copy()})
                self._ended[:] = False
            observations, rewards, terminated, truncated, info = self.env.step(actions)
        return self._next(actions, observations, np.array(rewards, np.float64), terminated, truncated, info)

    def _next(
        self, actions: Any, observations: Any, rewards: Array, terminated: Array, truncated: Array, info: dict[str, Any]
    ) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Keep a step of all rows, and return what the agent sees of it."""
        waiting = self._absorbed.copy()
        done = terminated | truncated
        self._ended |= done & self._waits
        if waiting.any():
            rows = np.flatnonzero(waiting)
            observations = put(observations, rows, take(self._last, rows))
            rewards[rows], terminated = 0.0, terminated & ~waiting
        moved, following, begun = self._transitions.step(observations, done, info)
        self._t[moved] += 1
        over = terminated
        if self._horizon:
            early = done & (self._t < self._horizon)
            if early.any() and not self._waits:
                raise ValueError(
                    f"Environments {np.flatnonzero(early).tolist()} ended after {self._t[early].tolist()} steps, "
                    f"before the horizon of {self._horizon}; expected autoreset_mode=DISABLED, where they can wait "
                    "for it, or fixed_horizon=False."
                )
            self._absorbed |= done & self._waits
            terminated, truncated = np.zeros_like(done), self._t >= self._horizon
        taken = np.asarray(actions)[moved]
        self._queries.add(taken, rewards[moved], take(following, moved), over[moved], moved, waiting[moved])
        live = np.zeros(self.num_envs, np.bool_)
        live[moved] = True
        ends = (terminated | truncated) & live
        self._queries.finish(np.flatnonzero(ends))
        if begun.size:
            self._queries.begin(take(observations, begun), begun)
            self._t[begun] = 0
        self._last, self._done = each(np.array, observations), ends & self._waits
        seen = self._seen(info)
        new = self._queries.query()
        if new is not None:
            seen["preferences"] = new
        return observations, np.zeros(self.num_envs), terminated & ends, truncated & ends, seen

    def _seen(self, info: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name for key in ("final_obs", *self._info_keys) for name in (key, f"_{key}")}
        return {name: value for name, value in info.items() if name in kept}

    def feedback(self) -> Feedback | None:
        """Return all answered pairs so far, without true rewards and probabilities; None before any."""
        return self._queries.feedback(False)

    def true_feedback(self) -> Feedback | None:
        """Return all answered pairs so far with the true rewards and probabilities: for scoring, not for agents."""
        return self._queries.feedback(True)
