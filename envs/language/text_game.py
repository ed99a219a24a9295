"""Any environment with words as a game of texts: for TRL, OpenEnv, verifiers, or a person at a terminal.

    game = TextGame(gym.make("valuegym/Delivery-v0"))
    text = game.reset(seed=0)
    text = game.step("down")  # then game.reward, game.done

This is the protocol of `environment_factory` of TRL's `GRPOTrainer` (1.16): a model calls `step` as a tool, the reward
of the episode is `get_reward`, and `reset` gets the columns of the data set's row. OpenEnv's environments have the same
`reset`, `step`, `reward`, `done` and `state`. `game.gym` is the same game as verifiers' Gym-like adapter expects it:
`reset(seed)` returns (text, info), `step(text)` (text, reward, terminated, truncated, info).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.envs import checks
from valuegym.envs.language.words import Words, choices, words_for

__all__ = ["OVER", "GymView", "TextGame", "games"]

OVER = "The episode is over."


class TextGame:
    """An environment played by texts.

    `reset` returns what is seen, with the options; `step` takes the text of an option. Blanks around it, upper or lower
    case and a full stop do not matter. Any other text is answered by the options again: no step is made, but a turn is
    used, and `invalid` is earned. `reset`, `step` and `get_reward` are the only public methods, for TRL offers all
    others to the model.

    Args:
        env: of Gymnasium, not a vector environment; its core needs words, or `words` are given.
        words: as for `words_for`.
        turns: answers until the episode ends here; None for as many as the environment takes.
        invalid: reward for an answer that is no option.
        first_seed: of the first reset without a seed; later ones go on from there.

    Attributes:
        reward: of the last step.
        total: sum of the rewards of the episode.
        terminated, truncated: whether the episode has ended, or was cut short.

    Raises:
        ValueError: there are no words for the environment, or a number is out of its range.
    """

    def __init__(
        self,
        env: Any,
        words: Words | str | None = None,
        turns: int | None = None,
        invalid: float = 0.0,
        first_seed: int = 0,
    ) -> None:
        if not isinstance(env, gym.Env):
            raise ValueError(f"env is a {type(env).__name__}; expected a scalar environment of Gymnasium.")
        own = words is not None and words != ""
        self._words = words_for(None if own else getattr(env.unwrapped, "core", None), words)
        self._env = env
        self._turns = None if turns is None else checks.integer("turns", turns, 1)
        self._invalid = checks.real("invalid", invalid)
        self._next_seed: int | None = checks.integer("first_seed", first_seed, 0)
        self.reward = self.total = 0.0
        self.terminated, self.truncated, self.used = False, True, 0  # to be reset before the first step
        self._options: dict[str, Any] = {}
        self._text = ""

    def reset(self, seed: int | None = None, **columns: Any) -> str:
        """Start an episode and return what is seen.

        Args:
            seed: of the environment; equal seeds give equal starts, as GRPO needs within a group.
            columns: not used; TRL passes all columns of a row.
        """
        given = self._next_seed if seed is None else checks.integer("seed", int(seed), 0)
        observation, _ = self._env.reset(seed=given)
        self._next_seed = None
        self.reward = self.total = 0.0
        self.terminated = self.truncated = False
        self.used = 0
        return self._show(observation)

    def step(self, action: str) -> str:
        """Choose an option and see what follows.

        Args:
            action: the text of one of the options.

        Returns:
            What is seen next, with the options.
        """
        if self.done:
            return OVER
        self.used += 1
        self.reward, text = self._invalid, self._text
        taken = self._options.get(_plain(str(action)))
        if taken is not None:
            observation, reward, self.terminated, self.truncated, _ = self._env.step(taken)
            self.reward, text = float(reward), self._show(observation)
        self.total += self.reward
        self.truncated |= self._turns is not None and self.used >= self._turns and not self.terminated
        return OVER if self.terminated or self.truncated else text

    def get_reward(self) -> float:
        """Return the sum of the rewards of the episode so far; each turn that is left counts as an invalid answer.

        So nothing is gained by not answering: a model that ends no answer is cut off before its turns are used up.
        """
        left = 0 if self.done or self._turns is None else self._turns - self.used
        return self.total + left * self._invalid

    @property
    def done(self) -> bool:
        """Tell whether the episode is over."""
        return bool(self.terminated or self.truncated)

    @property
    def state(self) -> dict[str, Any]:
        """Text, turns used, reward, sum of rewards, and whether the episode is over."""
        return {
            "text": self._text,
            "step_count": self.used,
            "reward": self.reward,
            "total": self.total,
            "done": self.done,
        }

    @property
    def gym(self) -> GymView:
        """Return the same game by Gymnasium's signatures."""
        return GymView(self)

    def _show(self, observation: Any) -> str:
        context, texts, actions = choices(self._words, observation)
        given = [np.asarray(action) if np.ndim(action) else action for action in actions]
        self._options = {_plain(text): action for text, action in zip(texts, given, strict=True)}
        self._text = f"{context}\nOptions: {', '.join(text.strip() for text in texts)}."
        return self._text


class GymView:
    """A `TextGame` with Gymnasium's signatures, for adapters of Gym-like environments."""

    def __init__(self, game: TextGame) -> None:
        self.game = game

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode; options are not used."""
        return self.game.reset(seed), {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Choose an option.

        Raises:
            ValueError: the episode is over.
        """
        if self.game.done:
            raise ValueError("The episode is over; call reset first.")
        text = self.game.step(action)
        return text, self.game.reward, bool(self.game.terminated), bool(self.game.truncated), {}


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()


def games(
    env_id: str, words: Words | str | None = None, turns: int | None = None, invalid: float = 0.0, **kwargs: Any
) -> Callable[[], TextGame]:
    """Return a function that makes a new game at each call: an `environment_factory`.

    Games made one after another draw other starts where resets name no seed.

    Args:
        env_id: of the environment.
        words: as for `TextGame`.
        turns: as for `TextGame`.
        invalid: as for `TextGame`.
        kwargs: further arguments of the environment.
    """
    made = 0

    def factory() -> TextGame:
        nonlocal made
        made += 1
        return TextGame(gym.make(env_id, **kwargs), words, turns, invalid, first_seed=made - 1)

    return factory
