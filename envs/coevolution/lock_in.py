"""Lock-in: people learn a truth, an AI learns from the people, and the people learn from the AI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys, rollouts
from valuegym.envs.coevolution import dynamics, metrics, population
from valuegym.envs.functional import put_rows, take_rows
from valuegym.envs.rendering import coevolution as rendering

__all__ = ["LockIn", "State", "Task"]

Array = npt.NDArray[Any]

SMALLEST, LARGEST = 1e-3, 1e3  # of deviations and distances, in units of the truth's standard deviation
TRUTH, EVIDENCE, REPORT = range(3)  # purposes of draws: the counter that follows the step's in a key
OBSERVED = ("belief", "response", "response_std", "last_message", "message_weight", "next_message_weight", "time")


class Task(NamedTuple):
    """Constants of B episodes: key (B,), from which references replay the episode; truth (B,), the hidden number."""

    key: Array
    truth: Array


class State(NamedTuple):
    """Beliefs of the AI (person 0) and n people, and the AI's observations of them.

    Attributes:
        t: (B,) steps so far.
        mean: (B, 1 + n) means of the beliefs N(mean, 1 / (precision 2^exponent)).
        precision: (B, 1 + n).
        exponent: (B, 1 + n).
        private: (B, 1 + n) mean of each person's own t + 1 observations, 0 for the AI.
        responses: (B, n) reported beliefs of the people.
        last_message: (B,) last message of the AI.
        message_weight: (B,) share of that message in the precision of people's present beliefs.
        trust: (B,) last trust of the AI in people.
    """

    t: Array
    mean: Array
    precision: Array
    exponent: Array
    private: Array
    responses: Array
    last_message: Array
    message_weight: Array
    trust: Array


class LockIn:
    """Help people to learn a truth faster than each can alone, without locking all of them in on an early error.

    ## Description
    Each of n people observes a hidden number with noise at every step and knows the mean of his or her own
    observations. People report their beliefs to an AI; the AI, which observes nothing itself, combines the reports and
    sends them a message. As only combined beliefs are exchanged, evidence returns and is counted again: with n people,
    trust lambda1 of the AI in each person and lambda2 of each person in the AI, everybody learns the truth if
    n lambda1 lambda2 < 1. Above 1 precision explodes: people ignore their own observations, and the first error is
    permanent (`dynamics.exchange`, `dynamics.hear_star`). More trust speeds up learning at first, so that over nine
    steps people who will lock in have smaller errors than those who will not. Hence the default of 1,000 steps.

    ## Observation
    Box (7,), in units of the hidden number or without unit: `belief`, the AI's mean; `response`, the mean of people's
    last reports, and `response_std`, their standard deviation; `last_message`, the AI's last message; `message_weight`,
    its share in the precision of people's present beliefs, and `next_message_weight`, the share of the next message in
    their next beliefs; `time`, the elapsed share of the episode. Means are clipped to +-10.

    ## Action
    Box(-1, 1, (2,)). The first entry a sets the trust in people, lambda1 = trust (a + 1) / 2: the factor on the
    reported precisions that the AI adds up, and so how certain its next message is. At a = -1 the AI ignores people,
    and its next message has no weight. The second entry b sets the message: the AI's belief plus `reach` times b.
    (-1, 0) throughout equals no AI; (a, 0) with a constant a is the model of the source.

    ## Reward
    Minus the mean squared error of people's beliefs, in units of sigma^2 / c, its expectation without an AI after c
    observations: about -1 at every step for people alone, -1/n for people who share all their evidence. Early errors
    and late errors, when little is left to learn, count equally.

    ## Episode end
    Terminates after `steps` steps. The first message has no weight, so that in one step every policy earns the same.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `people` | int | 100 | | n, at least 2 |
    | `steps` | int | 1000 | | length of an episode |
    | `trust` | float | 1.0 | | largest lambda1 |
    | `trust_in_ai` | float | 0.2 | | lambda2; the threshold of lambda1 is 1 / (n lambda2), 0.05 by default |
    | `sigma` | float | 1.0 | of the truth | standard deviation of an observation |
    | `noise` | float | 0.1 | of the truth | standard deviation of a report; 0 is the model of the source |
    | `reach` | float | 0.5 | of the truth | largest distance of a message from the AI's belief |

    Raises:
        ValueError: an argument is outside its range.

    ## Oracle and naive scores
    0 is the silent AI. 1 is an AI that observes the mean of everybody's own observations and sends it with full trust.
    Both play the same episode, with the same random draws.

    ## Source
    Qiu, He, Chugh, Kleiman-Weiner (2025), "The lock-in hypothesis: stagnation by algorithm" (ICML), with a policy in
    the place of a constant trust.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 10}
    player_view = True  # mode "human" draws what the agent may see
    discount = 1.0
    tolerance = 1e-9
    checkpoint = 100  # a record holds every 100th state

    def __init__(
        self,
        people: int = 100,
        steps: int = 1000,
        trust: float = 1.0,
        trust_in_ai: float = 0.2,
        sigma: float = 1.0,
        noise: float = 0.1,
        reach: float = 0.5,
    ) -> None:
        self.steps = checks.integer("steps", steps, 1, population.STEPS)
        self.people = checks.integer("people", people, 1, population.PEOPLE)
        if self.people == 1:
            raise population.undefined("people is 1, and one person has nobody to learn from", "expected at least 2")
        self.trust = checks.real("trust", trust, population.SMALLEST, population.LARGEST)
        self.trust_in_ai = checks.real("trust_in_ai", trust_in_ai, population.SMALLEST, population.LARGEST)
        self.sigma = checks.real("sigma", sigma, SMALLEST, LARGEST)
        self.reach = checks.real("reach", reach, SMALLEST, LARGEST)
        self.noise = checks.real("noise", noise, 0.0, LARGEST)
        low = np.array([-10, -10, 0, -10, 0, 0, 0], np.float32)
        high = np.array([10, 10, 10, 10, 1, 1, 1], np.float32)
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    @property
    def threshold(self) -> float:
        """Trust in people above which the model of the source locks in: 1 / (n lambda2)."""
        return 1.0 / (self.people * self.trust_in_ai)

    def _normals(self, key: keys.Key, t: int | Array) -> tuple[Array, Array]:
        """Return normal draws of a step, (B, n) each: for people's observations, and for their reports."""
        step, purpose = t if isinstance(t, int) else t[:, None, None], np.array([[EVIDENCE], [REPORT]])
        draws = keys.normal(key[:, None, None], step, purpose, np.arange(self.people))
        return draws[:, 0], draws[:, 1]

    def _private_precision(self, count: Array) -> Array:
        """Return the precision (B, 1 + n) of everyone's own evidence after `count` observations (B,), 0 for the AI."""
        own = np.repeat((count / self.sigma**2)[:, None], 1 + self.people, axis=1)
        own[:, 0] = 0.0
        return own

    def initial(self, key: keys.Key) -> tuple[Task, State]:
        """Draw a standard normal truth, and one observation for everybody but the AI."""
        task = Task(key.copy(), keys.normal(key, keys.RESET, TRUTH))
        return task, self.start(task)

    def start(self, task: Task) -> State:
        """Return the state in which every person has made one observation."""
        key = task.key
        private = np.zeros((len(key), 1 + self.people))
        evidence, noise = self._normals(key, keys.RESET)
        private[:, 1:] = task.truth[:, None] + self.sigma * evidence
        beliefs = dynamics.belief(private, self._private_precision(np.ones(len(key))))
        responses = private[:, 1:] + self.noise * noise
        nothing = [np.zeros(len(key)) for _ in range(3)]
        return State(np.zeros(len(key), np.int64), *beliefs, private, responses, *nothing)

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Exchange messages between the AI and people, observe, and combine all evidence."""
        trust, message = self.decode(state, action)
        count = state.t + 1.0
        observed = np.zeros_like(state.private)
        evidence, noise = self._normals(key, t)
        observed[:, 1:] = task.truth[:, None] + self.sigma * evidence
        private = dynamics.observe(state.private, count[:, None], observed)
        stated = np.concatenate([message[:, None], state.responses], axis=1)
        heard = dynamics.hear_star(dynamics.Belief(stated, state.precision, state.exponent), trust, self.trust_in_ai)
        beliefs = dynamics.Belief(state.mean, state.precision, state.exponent)
        after = dynamics.exchange(beliefs, private, self._private_precision(count + 1.0), heard)
        responses = after.mean[:, 1:] + self.noise * noise
        new = State(state.t + 1, *after, private, responses, message, self.next_message_weight(state), trust)
        over = self.terminal(task, state)
        if over.any():
            put_rows(new, over, take_rows(state, over))
        return new

    def decode(self, state: State, action: Array) -> tuple[Array, Array]:
        """Return the trust in people (B,) and the message (B,) that actions (B, 2) stand for."""
        a = action.astype(np.float64)
        return self.trust * (a[:, 0] + 1.0) / 2.0, state.mean[:, 0] + self.reach * a[:, 1]

    def encode(self, state: State, trust: Array, message: Array) -> Array:
        """Return the actions (B, 2) for this trust and message, (B,) each, clipped to the action space."""
        wanted = np.stack([2.0 * trust / self.trust - 1.0, (message - state.mean[:, 0]) / self.reach], axis=1)
        return np.clip(wanted, -1.0, 1.0).astype(np.float32)

    def next_message_weight(self, state: State) -> Array:
        """Return the share (B,) of the AI's next message in the precision of people's next beliefs."""
        own = (state.t + 2.0) / self.sigma**2
        # divide both by 2^exponent, so that the AI's precision stays finite after it has exploded
        ai = self.trust_in_ai * state.precision[:, 0]
        return ai / (ai + np.ldexp(own, -np.clip(state.exponent[:, 0], -900, 1000).astype(np.int32)))

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return minus people's mean squared error (B,), in units of its expectation without an AI."""
        return np.where(self.terminal(task, state), 0.0, self._reward(task, next_state.t, next_state.mean[:, 1:]))

    def _reward(self, task: Task, t: Array, mean: Array) -> Array:
        """Return the reward (B,) if people's beliefs have the means (B, n) after t steps."""
        error = mean - task.truth[:, None]
        alone = self.sigma**2 / (t + 1.0)
        return -dynamics.mean(error * error) / alone

    def terminal(self, task: Task, state: State) -> Array:
        """Return True (B,) for episodes that are over."""
        return state.t >= self.steps

    def observation(self, task: Task, state: State) -> Array:
        """Return the AI's information, (B, 7) in the order of OBSERVED."""
        share = state.t / self.steps
        response, response_std = _summary(state.responses)
        columns = [
            state.mean[:, 0],
            response,
            response_std,
            state.last_message,
            state.message_weight,
            self.next_message_weight(state),
            share,
        ]
        space: Any = self.observation_space
        return np.clip(np.stack(columns, axis=1), space.low, space.high).astype(np.float32)

    def references(self, task: Task) -> tuple[Array, Array]:
        """Return episode returns (B,) of the silent AI and of the AI that observes all evidence, on these tasks.

        Without messages people's beliefs are the means of their own observations. These do not depend on the AI, so
        that one rollout gives both returns.
        """
        state, silent, best = self.start(task), np.zeros(len(task.key)), np.zeros(len(task.key))
        for t in range(self.steps):
            action = self.oracle_action(task, state)
            after = self.transition(task, state, action, task.key, np.full(len(task.key), t))
            best += self.reward(task, state, action, after)
            precision = np.frexp((after.t + 1.0) / self.sigma**2)[0][:, None]
            silent += self._reward(task, after.t, after.private[:, 1:] * precision / precision)  # as `exchange` rounds
            state = after
        return silent, best

    def silence(self, task: Task, state: State) -> Array:
        """Return the actions that equal no AI: no trust in people, and a message without weight."""
        return np.tile(np.array([-1.0, 0.0], np.float32), (len(state.t), 1))

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the actions that send the mean of all observations, with full trust."""
        return self.encode(state, np.full(len(state.t), self.trust), dynamics.mean(state.private[:, 1:]))

    def episode_metrics(self, task: Task, states: Sequence[State], actions: Sequence[Array]) -> dict[str, Array]:
        """Return metrics of whole episodes, each (B,), from states at steps 0 .. T and the T actions."""
        alone = rollouts.play(self, task, self.silence).states  # the same random draws without the AI
        last, unit = states[-1], self.sigma / np.sqrt(self.steps + 1.0)
        people, counterfactual = last.mean[:, 1:, None], alone[-1].mean[:, 1:, None]
        truth = task.truth[:, None]
        error = np.stack([np.mean((s.mean[:, 1:] - truth) ** 2, -1) * (s.t + 1.0) for s in states[1:]], -1)
        paths = [np.stack([s.mean[:, 1:].mean(-1) for s in run], -1)[..., None] for run in (states, alone)]
        top = last.exponent[:, 1:].max(-1)
        claimed = np.ldexp(last.precision[:, 1:], (last.exponent[:, 1:] - top[:, None]).astype(np.int32))
        sure = metrics.overconfidence(last.mean[:, 1:] - truth, claimed)
        trust = np.stack([self.decode(s, a)[0] for s, a in zip(states[:-1], actions, strict=True)], -1)
        return {
            "error": error.mean(-1) / self.sigma**2,  # relative to people without an AI, as in the reward
            "final_error": np.sqrt(np.mean((last.mean[:, 1:] - truth) ** 2, -1)),
            "overconfidence_log10": np.log10(np.maximum(sure, np.finfo(float).tiny)) + top * np.log10(2.0),
            "gain": trust.mean(-1) / self.threshold,  # above 1, constant trust leads to lock-in
            "influence": metrics.influence(people, counterfactual),
            "diversity_ratio": metrics.diversity_ratio(people, counterfactual),
            "effective_opinions": metrics.effective_opinions(people, unit),
            "effective_opinions_of_counterfactual": metrics.effective_opinions(counterfactual, unit),
            "minority_survival": metrics.minority_survival(people, counterfactual, unit),
            "lock_in_index": metrics.lock_in_index(*paths),
            "martingale_slope": metrics.martingale_slope(paths[0][:, :-1, 0], paths[0][:, 1:, 0]),
        }

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the errors of people's beliefs in units of people without an AI, the message, and the trust.

        A player sees what the AI observes in place of the errors.
        """
        now = states[-1]
        unit = self.sigma / np.sqrt(now.t[0] + 1.0)
        errors = (now.mean[0, 1:] - task.truth[0]) / unit
        said = (now.last_message[0] - task.truth[0]) / unit if now.message_weight[0] > 0 else None
        gain = float(now.trust[0]) / self.threshold
        caption = f"step {now.t[0]} of {self.steps}: do people learn the truth?"
        if mode == "human":
            belief, response, spread, last, weight, *_ = (float(x) for x in self.observation(task, now)[0])
            told = None if said is None else last
            return rendering.reports_as_picture(belief, response, spread, told, gain, weight, caption)
        draw = rendering.errors_as_text if mode == "ansi" else rendering.errors_as_picture
        return draw(errors, said, gain, float(now.message_weight[0]), caption)


def _summary(responses: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation, (B,) each, of responses (B, n)."""
    middle = dynamics.mean(responses)
    deviation = responses - middle[:, None]
    return middle, np.sqrt(dynamics.mean(deviation * deviation))
