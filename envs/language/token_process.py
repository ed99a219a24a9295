"""Writing as a Gymnasium environment: token by token, with a reward that depends on the whole response so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.envs.language import prefixes, worlds
from valuegym.envs.rendering import language as rendering

__all__ = ["State", "Task", "TokenProcess"]

Array = npt.NDArray[Any]


class Task(NamedTuple):
    """prompt (B,): number of the prompt that the response answers."""

    prompt: npt.NDArray[np.int64]


class State(NamedTuple):
    """prefix (B,): number of what has been written (`prefixes.Tree`); last_reward (B,): of its last token."""

    prefix: npt.NDArray[np.int64]
    last_reward: npt.NDArray[np.float64]


class TokenProcess:
    """Write a response to a prompt, token by token, where every token is judged by all those before it.

    ## Description
    A language small enough to be solved exactly: by default eight tokens and responses of five, so that there are
    37,449 prefixes of the responses to each of four prompts. A token pays what the prompt says of it, and for each
    token before it an amount that depends on both and on the distance between them. So the reward is not Markov in the
    last token, and a token that pays now may cost later. The world is the same in all episodes; `world` numbers others.
    Optimal values, advantages and policies of all prefixes, plain and under a KL penalty towards a reference policy,
    are computed by `valuegym.envs.language.prefixes`; the core holds `rewards`, `log_reference` and `tree`.

    ## Observation
    Box (prompts + length * vocabulary,): the prompt, then the token at each place, one-hot; places that are not yet
    written are all zeros.

    ## Action
    Discrete(vocabulary): the next token.

    ## Reward
    taste[prompt, token] + sum over earlier tokens b, k tokens ago, of pair[k, b, token], with normal draws of the
    world. `reward="hidden"` pays 0 throughout: the reward is then to be learnt from preferences.

    ## Episode end
    Terminates after `length` tokens. Prompts are drawn uniformly, or given by `reset(options={"prompt": x})`.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `vocabulary` | int | 8 | tokens | tokens to choose from, at least 2 |
    | `length` | int | 5 | tokens | tokens of a response, at least 1 |
    | `prompts` | int | 4 | | number of prompts, at least 1 |
    | `world` | int | 0 | | number of the world, from 0 to 2**32 - 1 |
    | `taste` | float | 1.0 | reward | standard deviation of the rewards by prompt |
    | `pair` | float | 0.5 | reward | standard deviation of the rewards by pair of tokens |
    | `reward` | str | "true" | | "true" or "hidden" |

    Raises:
        ValueError: an argument is outside its range, or the values of all prefixes take more than 256 MiB.

    ## Oracle and naive scores
    Both exact, by prompt: the optimal policy (score 1), and uniformly random tokens (score 0). With the default
    arguments 8.112 and -0.134, mean of the four prompts.

    ## Source
    Own. Values of prefixes as in Rafailov et al. (2024, arXiv:2404.12358), regret and partial return of stretches as in
    Knox et al. (2024, TMLR).

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}
    player_view = True  # mode "human" draws what the agent may see
    discount = 1.0
    tolerance = 0.0  # rewards are sums in a fixed order: a replay must agree to the bit

    def __init__(
        self,
        vocabulary: int = 8,
        length: int = 5,
        prompts: int = 4,
        world: int = 0,
        taste: float = 1.0,
        pair: float = 0.5,
        reward: str = "true",
    ) -> None:
        checks.choice("reward", reward, ("true", "hidden"))
        self.tree, self.rewards, self.log_reference = worlds.make_world(vocabulary, length, prompts, world, taste, pair)
        self.hidden = reward == "hidden"
        self.prompts = len(self.rewards)
        self._solved: tuple[Array, Array] | None = None
        V, T = self.tree
        self.action_space = gym.spaces.Discrete(V)
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.prompts + T * V,), np.float32)

    def initial(self, key: keys.Key, prompt: Array | None = None) -> tuple[Task, State]:
        """Draw a prompt, or take the given one; nothing is written.

        Raises:
            ValueError: the prompt is no integer, or there is no such prompt.
        """
        if prompt is None:
            prompt = keys.integers(key, self.prompts, keys.RESET)
        elif prompt.dtype.kind not in "iu":
            raise checks.refusal("prompt", prompt.tolist(), f"integers from 0 to {self.prompts - 1}")
        prompt = checks.integers("prompt", prompt, (None,), 0, self.prompts - 1)
        return Task(prompt), State(np.zeros_like(prompt), np.zeros(len(prompt)))

    def transition(self, task: Task, state: State, action: Array, key: keys.Key, t: Array) -> State:
        """Write a token; a finished response stays as it is, and earns nothing more."""
        over = self.terminal(task, state)
        at = np.where(over, 0, state.prefix)
        earned = np.where(over, 0.0, self.rewards[task.prompt, at, action])
        return State(np.where(over, state.prefix, self.tree.V * at + 1 + action), earned)

    def reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the reward of the agent: the true reward, or 0 when it is hidden."""
        return np.zeros(len(state.prefix)) if self.hidden else next_state.last_reward.copy()

    def true_reward(self, task: Task, state: State, action: Array, next_state: State) -> Array:
        """Return the true reward, by which episodes are scored, hidden from the agent or not."""
        return next_state.last_reward.copy()

    def terminal(self, task: Task, state: State) -> Array:
        """Tell which responses are finished."""
        return state.prefix >= self.tree.N

    def observation(self, task: Task, state: State) -> Array:
        """Return prompt and tokens (B, P + T * V), one-hot."""
        V, T = self.tree
        written = (self.tree.written(state.prefix)[..., None] == np.arange(V)).reshape(-1, T * V)
        prompt = task.prompt[:, None] == np.arange(self.prompts)
        return np.concatenate([prompt, written], 1).astype(np.float32)

    def optimal(self) -> tuple[Array, Array]:
        """Return the optimal values V* (P, M) and Q* (P, N, V), computed once."""
        if self._solved is None:
            self._solved = prefixes.optimal_values(self.rewards)
        return self._solved

    def references(self, task: Task) -> tuple[Array, Array]:
        """Return the mean returns (B,) of uniformly random tokens and of the oracle, for scoring."""
        uniform = np.full_like(self.rewards, 1.0 / self.tree.V)
        naive, best = prefixes.evaluate(self.rewards, uniform)[0][:, 0], self.optimal()[0][:, 0]
        return naive[task.prompt], best[task.prompt]

    def oracle_action(self, task: Task, state: State) -> Array:
        """Return a best next token for every row, for the oracle agent."""
        at = np.minimum(state.prefix, self.tree.N - 1)
        return self.optimal()[1][task.prompt, at].argmax(-1)

    def render(self, mode: str, task: Task, states: Sequence[State], actions: Sequence[Array]) -> Any:
        """Draw the response so far and, unless rewards are hidden, what tokens earned and could earn at best.

        A player does not see the latter.
        """
        prompt, prefix = int(task.prompt[0]), states[-1].prefix
        tokens = [int(token) for token in self.tree.written(prefix)[0] if token >= 0]
        earned, advantages = None, None
        if not self.hidden:
            earned = [
                float(self.rewards[prompt, self.tree.number(tokens[:t]), token]) for t, token in enumerate(tokens)
            ]
        if prefix[0] < self.tree.N and not self.hidden and mode != "human":
            values, action_values = self.optimal()
            advantages = action_values[prompt, prefix[0]] - values[prompt, prefix[0]]
        draw = rendering.ansi if mode == "ansi" else rendering.rgb
        return draw(prompt, tokens, earned, self.tree.T, advantages)
