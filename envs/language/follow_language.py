"""Follow and predict people that are language models: answer for them the items that they were not asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys, rollouts
from valuegym.envs.coevolution import dynamics, metrics
from valuegym.envs.functional import put_rows, take_rows
from valuegym.envs.language import people as recorded
from valuegym.envs.language import readings
from valuegym.envs.language.item_bank import MOST
from valuegym.envs.rendering import language as rendering

__all__ = ["FollowLanguage", "State", "Task"]

Array = npt.NDArray[Any]

RESPONDENTS = 10_000  # at most


class Task(NamedTuple):
    """key (B,); history (B,) number of the history; panel (B, I) true for the items that are asked at every step."""

    key: Array
    history: Array
    panel: Array


class State(NamedTuple):
    """t (B,) steps so far; counts (B, I, 4): how many people chose each option of the items asked, 0 elsewhere."""

    t: Array
    counts: Array


class FollowLanguage:
    """Follow people that are language models: say how they answer items that they have not been asked.

    ## Description
    A language model stands for the people of each century. People of ten centuries, in six histories, are models of
    Llama's architecture (width 64, two layers), each a copy of one base that was fitted to the choice shares of a
    population whose nineteen values move; their answers to items that they were not fitted to were recorded. A step is
    a century. At every step the same `budget` items are asked, `respondents` draws from the people's probabilities
    for each. With `horizon` 0 (`FollowLanguage-v0`) the agent states how the people of this century answer the other
    items; with 1 (`PredictLanguage-v0`) how those of the next century will.

    No language model runs here: people are an array (`valuegym.envs.language.people`), checked by SHA-256, so that
    replays agree. Texts of the items are `bank_training` and `bank_evaluated` of the core, which agents get as
    `rules(env)`. `people` may also be the path of a file of one's own, with answers of any models.

    ## Observation
    A flat Dict. `answers` (I*4,): the share of respondents that chose each option of the I items that can be asked,
    zeros for those that are not. `time` (1,): elapsed share of the episode.

    ## Action
    Box(-1, 1, (J*4,)): how people answer the J items of the evaluation, as 2 p - 1 of the probability p of each option
    (`as_action` makes it of probabilities). What is given to options that are not there is dropped, and the rest
    divided by its sum; an item without any is answered evenly.

    ## Reward
    -(1/J) sum_j sum_k (p_jk - q_jk)^2, p what the agent says and q the people's probabilities: from -2 to 0.

    ## Episode end
    Terminates after `steps` steps. Histories are drawn uniformly, or given by `reset(options={"history": x})`.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `people` | str | "tiny-llama" | | recorded people: those that are shipped, or a file of one's own (.json) |
    | `horizon` | int | 0 | steps | distance of the target |
    | `steps` | int | 9 | | length of an episode |
    | `budget` | int | 80 | | items that are asked, drawn for each episode |
    | `respondents` | int | 20 | | people who answer each of them |

    Raises:
        ValueError: an argument is outside its range, or the file holds no recorded people.
        FileNotFoundError: there is no such file.

    ## Oracle and naive scores
    0 is persistence: the values most likely given the answers of this step (`readings.most_likely`), and the shares
    that they imply. 1 is to know the people's probabilities. The normalised return is the skill against persistence.

    ## Source
    The challenges of ProgressGym (Qiu et al. 2024, arXiv:2406.20087), with tiny models in the place of HistLlama.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}
    discount = 1.0
    tolerance = 1e-9

    def __init__(
        self,
        people: str = "tiny-llama",
        horizon: int = 0,
        steps: int = 9,
        budget: int = 80,
        respondents: int = 20,
    ) -> None:
        self.people = recorded.load(people)
        self.hashes = (self.people.sha256,)
        training, bank = self.people.training, self.people.bank
        self.bank_training, self.bank_evaluated = bank[training], bank[~training]
        self.histories, centuries = self.people.answers.shape[:2]
        self.horizon = checks.integer("horizon", horizon, 0, centuries - 1)
        self.steps = checks.integer("steps", steps, 1, centuries - self.horizon)
        self.budget = checks.integer("budget", budget, 1, len(self.bank_training))
        self.respondents = checks.integer("respondents", respondents, 1, RESPONDENTS)
        self.dimensions = len(bank.names)
        self._training, self._target = self.people.answers[:, :, training], self.people.answers[:, :, ~training]
        self._there = np.arange(MOST) < self.bank_training.counts[:, None]
        self._there_evaluated = np.arange(MOST) < self.bank_evaluated.counts[:, None]
        self.observation_space = gym.spaces.Dict(
            answers=gym.spaces.Box(0, 1, (len(self.bank_training) * MOST,), np.float32),
            time=gym.spaces.Box(0, 1, (1,), np.float32),
        )
        self.action_space = gym.spaces.Box(-1, 1, (len(self.bank_evaluated) * MOST,), np.float32)

    def initial(self, key: keys.Key, history: Array | None = None) -> tuple[Task, State]:
        """Draw a history, or take the given one, and the items to ask.

        Raises:
            ValueError: the history is no integer, or there is no such history.
        """
        if history is None:
            history = keys.integers(key, self.histories, keys.RESET, 0)
        elif history.dtype.kind not in "iu":
            raise checks.refusal("history", history.tolist(), f"integers from 0 to {self.histories - 1}")
        history = checks.integers("history", history, (None,), 0, self.histories - 1)
        chosen = keys.permutation(key, len(self.bank_training), keys.RESET, 1)[:, : self.budget]
        panel = np.zeros((len(key), len(self.bank_training)), np.bool_)
        np.put_along_axis(panel, chosen, True, -1)
        task = Task(key.copy(), history, panel)
        return task, self.start(task)

    def start(self, task: Task) -> State:
        """Return the first states, with the answers of the first century."""
        t = np.zeros(len(task.key), np.int64)
        return State(t, self.collect(task, t))

    def collect(self, task: Task, t: Array) -> Array:
        """Return how many people chose each option (B, I, 4) at steps t (B,), 0 for items that are not asked."""
        B, size = task.panel.shape
        probabilities = self._training[task.history, t]
        draws = keys.uniform(keys.mix(task.key, t)[:, None], 0, np.arange(size * self.respondents))
        limits = np.cumsum(probabilities, -1)[:, :, None, :-1]
        chosen = (draws.reshape(B, size, self.respondents)[..., None] >= limits).sum(-1)
        chosen = np.minimum(chosen, self.bank_training.counts[None, :, None] - 1)
        return (chosen[..., None] == np.arange(MOST)).sum(2) * task.panel[..., None]

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Go to the next century and ask its people; a finished episode stays as it is."""
        now = np.minimum(state.t + 1, self.steps)
        after = State(now, self.collect(task, np.minimum(now, self.steps - 1)))
        over = self.terminal(task, state)
        if over.any():
            put_rows(after, over, take_rows(state, over))
        return after

    def truth(self, task: Task, state: State) -> Array:
        """Return the people's answers (B, J, 4) to the items of the evaluation, `horizon` steps ahead."""
        return self._target[task.history, np.minimum(state.t, self.steps - 1) + self.horizon]

    def stated(self, action: Array) -> Array:
        """Return the shares (B, J, 4) that an action (B, J*4) states."""
        given = (1.0 + action.astype(np.float64).reshape(len(action), -1, MOST)) / 2.0
        return readings.normalised(given, self._there_evaluated)

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return minus the squared error of the answers (B,), mean over items."""
        squares = (self.stated(action) - self.truth(task, state)) ** 2
        error = dynamics.total(squares.reshape(len(action), -1), -1) / len(self.bank_evaluated)
        return np.where(self.terminal(task, state), 0.0, -error)

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which episodes have had their last step (B,)."""
        return state.t >= self.steps

    def observation(self, task: Task, state: State) -> dict[str, Array]:
        """Return the shares of respondents by option, and the time."""
        return {
            "answers": (state.counts / self.respondents).reshape(len(state.t), -1).astype(np.float32),
            "time": (state.t[:, None] / self.steps).astype(np.float32),
        }

    def read(self, answers: Array) -> Array:
        """Return the values (B, D) most likely given observed answers (B, I*4)."""
        counts = np.rint(self.respondents * answers.astype(np.float64)).reshape(len(answers), -1, MOST)
        return readings.most_likely(self.bank_training.loadings, self._there, counts)

    def read_variance(self) -> float:
        """Return the variance of a reading's error: the inverse of the information of indifferent people's choices."""
        bank = self.bank_training
        information = (bank.loadings**2).sum(1) / bank.counts[:, None]
        return float(1.0 / (1.0 + self.budget * self.respondents * information.mean()))

    def action(self, values: Array) -> Array:
        """Return the action (B, J*4) of people of these values (B, D)."""
        shares = readings.choice_shares(self.bank_evaluated.loadings, self._there_evaluated, values)
        return self.as_action(shares)

    def as_action(self, shares: Array) -> Array:
        """Return the action (B, J*4) that states probabilities (B, J, 4) of options."""
        return (2.0 * shares.reshape(len(shares), -1) - 1.0).astype(np.float32)

    def persistence(self, task: Task, state: State) -> Array:
        """Return the action of persistence: the reading of the last answers."""
        return self.action(readings.most_likely(self.bank_training.loadings, self._there, state.counts))

    def references(self, task: Task) -> tuple[Array, Array]:
        """Return the episode returns (B,) of persistence, and of knowing the people's answers."""
        naive = rollouts.play(self, task, self.persistence, keep=False).returns
        return naive, rollouts.play(self, task, self.oracle_action, keep=False).returns

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return the action that states the people's answers."""
        return self.as_action(self.truth(task, state))

    def vector(self, shares: Array) -> Array:
        """Return the vector of values (..., D) of answers (..., J, 4) to the items of the evaluation."""
        return readings.value_log_odds(self.bank_evaluated.loadings, self._there_evaluated, shares)

    def episode_metrics(self, task: Task, states: Sequence[State], actions: Sequence[Array]) -> dict[str, Array]:
        """Return metrics of whole episodes, each (B,), of vectors of values; means over steps.

        The shift of the agent's and of the people's vector from the people's of the first step are compared by cosine,
        distance and ratio of norms, for each alone hides something; the first step, without a shift, is left out of
        cosine and ratio. Others are those of `metrics.of_estimates`.
        """
        vectors = self.vector(np.stack([self.stated(action) for action in actions], 1))
        truth = self.vector(np.stack([self.truth(task, state) for state in states[:-1]], 1))
        now = self.vector(np.stack([self._target[task.history, state.t] for state in states[:-1]], 1))
        naive = self.vector(np.stack([self.stated(self.persistence(task, state)) for state in states[:-1]], 1))
        x, y = vectors - now[:, :1], truth - now[:, :1]
        norms = np.sqrt((x**2).sum(-1)), np.sqrt((y**2).sum(-1))
        moved = norms[1] > 0
        count, floor = np.maximum(moved.sum(-1), 1), 1e-12
        cosines = (x * y).sum(-1) / np.maximum(norms[0] * norms[1], floor)
        level = (vectors * truth).sum(-1) / np.maximum(np.sqrt((vectors**2).sum(-1) * (truth**2).sum(-1)), floor)
        return metrics.of_estimates(vectors, naive, truth, now, self.horizon > 0) | {
            "cosine": level.mean(-1),
            "shift_cosine": np.where(moved, cosines, 0.0).sum(-1) / count,
            "norm_ratio": (np.sqrt((vectors**2).sum(-1)) / np.maximum(np.sqrt((truth**2).sum(-1)), floor)).mean(-1),
            "shift_norm_ratio": np.where(moved, norms[0] / np.maximum(norms[1], floor), 0.0).sum(-1) / count,
        }

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the values read from this step's answers as bars, and those of the last action as marks."""
        read = self.vector(self.stated(self.persistence(task, states[-1])))[0]
        stated = self.vector(self.stated(actions[-1]))[0] if actions else None
        caption = f"step {int(states[-1].t[0])} of {self.steps}: what people value"
        return rendering.values(mode, self.people.bank.names, read, stated, caption)
