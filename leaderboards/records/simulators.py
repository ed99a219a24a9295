"""Simulators: environments that are no cores, such as anybody's `gymnasium.Env`, played and replayed as they are.

Their state cannot be written down, so a record holds the seed and the actions of an episode, and digests of the rewards
and of the observations, rounded to DECIMALS places. To replay it is to play the actions again. Where the environment
does not repeat itself, the record holds the rewards instead, and nobody can check them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import checks, keys
from valuegym.leaderboards.records.record import Episode, RecordError

__all__ = ["MAX_LENGTH", "Play", "absorb", "golden_trace", "make", "quantised", "read_action", "replayed_return"]

DECIMALS = 6
MAX_LENGTH = 100_000  # steps of an episode, where the environment is registered without a limit
STEPS = 24  # of the golden trace
NUMBERS = (gym.spaces.Box, gym.spaces.Discrete, gym.spaces.MultiDiscrete, gym.spaces.MultiBinary)


def quantised(value: Any) -> bytes:
    """Return the bytes of an array rounded to DECIMALS places: processors may differ in the last digits."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return (np.round(array.astype(np.float64), DECIMALS) + 0.0).tobytes()
    return array.astype(np.int64).tobytes()


def absorb(digest: Any, value: Any, name: str = "") -> None:
    """Add an array, or a dictionary or tuple of them, to a digest."""
    if isinstance(value, (dict, tuple)):
        parts = sorted(value.items()) if isinstance(value, dict) else enumerate(value)
        for part, inner in parts:
            absorb(digest, inner, f"{name}/{part}")
        return
    digest.update(name.encode() + quantised(value))


def _leaves(space: gym.Space[Any]) -> Iterator[gym.Space[Any]]:
    if isinstance(space, gym.spaces.Dict):
        inner = list(space.spaces.values())
    elif isinstance(space, gym.spaces.Tuple):
        inner = list(space.spaces)
    else:
        yield space
        return
    for part in inner:
        yield from _leaves(part)


def make(env_id: str, kwargs: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Make an environment whose episodes a record can hold.

    Raises:
        ValueError: its action space is none of NUMBERS, or its observations are made of others.
    """
    env = gym.make(env_id, disable_env_checker=True, **kwargs)
    if not isinstance(env.action_space, NUMBERS):
        raise ValueError(f"{env_id} has the action space {env.action_space}; records hold Box and discrete actions.")
    for leaf in _leaves(env.observation_space):
        if not isinstance(leaf, NUMBERS):
            raise ValueError(f"{env_id} has {leaf} in its observation space; only numbers can be compared.")
    return env


def read_action(space: Any, value: Any) -> Any:
    """Return an action as the environment gets it, from an agent or a record.

    Raises:
        ValueError: it is not in the action space.
    """
    refusal = f"Action {checks.printed(value)} is not in the action space {space}."
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(refusal) from None
    kinds = "fiu" if isinstance(space, gym.spaces.Box) and space.dtype.kind == "f" else "iu"
    if isinstance(space, gym.spaces.MultiBinary):
        kinds += "b"
    if array.shape != space.shape or array.dtype.kind not in kinds:
        raise ValueError(refusal)
    with np.errstate(over="ignore"):
        action = np.array(array, space.dtype)
    if isinstance(space, gym.spaces.Discrete):
        action = action[()]
    if action.dtype.kind != "f":
        good = np.array_equal(action, array)
    else:
        good = bool(np.isfinite(action).all())
    if not good or not space.contains(action):
        raise ValueError(refusal)
    return action


@dataclass
class Play:
    """One episode of a simulator while it is played.

    Attributes:
        env: the simulator, which nothing else uses meanwhile.
        seed: of the reset.
        options: of the reset.
    """

    env: gym.Env[Any, Any]
    seed: int
    options: dict[str, Any]

    def __post_init__(self) -> None:
        """Reset the environment.

        Raises:
            RecordError: the environment fails.
        """
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.ends = (False, False)
        self._digest = hashlib.sha256()
        try:
            self.observation, _ = self.env.reset(seed=self.seed, options=self.options or None)
        except Exception as error:
            raise RecordError(f"the environment fails at its reset: {type(error).__name__}: {error}") from error
        absorb(self._digest, self.observation)

    @property
    def over(self) -> bool:
        """True once the episode has ended."""
        return any(self.ends)

    def step(self, value: Any) -> None:
        """Play an action.

        Raises:
            ValueError: the action is not in the action space.
            RecordError: the environment fails, gives a reward that is not finite, or does not end.
        """
        action = read_action(self.env.action_space, value)
        at = f"the episode of seed {self.seed}, step {len(self.actions)}"
        try:
            self.observation, reward, terminated, truncated, _ = self.env.step(action)
            self.rewards.append(float(reward))
        except Exception as error:
            raise RecordError(f"the environment fails in {at}: {type(error).__name__}: {error}") from error
        if not math.isfinite(self.rewards[-1]):
            raise RecordError(f"the environment gives the reward {self.rewards[-1]} in {at}; expected a finite number.")
        self.actions.append(action.tolist())
        self.ends = bool(terminated), bool(truncated)
        absorb(self._digest, self.observation)
        if len(self.actions) >= MAX_LENGTH and not self.over:
            raise RecordError(
                f"the episode of seed {self.seed} does not end within {MAX_LENGTH} steps; register the environment "
                "with max_episode_steps."
            )

    def episode(self, repeatable: bool) -> Episode:
        """Return what a record holds of the episode."""
        rewards = hashlib.sha256(quantised(np.array(self.rewards, np.float64))).hexdigest()
        states: dict[str, list[Any]] = {"rewards": list(self.rewards)}
        if repeatable:
            states = {"rewards": [rewards], "observations": [self._digest.hexdigest()]}
        return Episode(self.seed, self.actions, states, *self.ends)


def replayed_return(env: gym.Env[Any, Any], claim: Episode, options: dict[str, Any], repeatable: bool) -> float:
    """Return the sum of the rewards of a recorded episode: played again, or, where that is not possible, as claimed.

    Raises:
        RecordError: with the first thing that is not as the environment would have it.
    """
    what, limit = f"the episode of seed {claim.seed}", env.spec.max_episode_steps if env.spec else None
    if limit is not None and len(claim.actions) > limit:
        raise RecordError(f"{what} has {len(claim.actions)} steps; the limit is {limit}.")
    if not repeatable:
        return _claimed_return(env, claim, what, limit)
    play = Play(env, claim.seed, options)
    for action in claim.actions:
        if play.over:
            raise RecordError(f"{what} goes on after its end, at step {len(play.actions)}.")
        try:
            play.step(action)
        except RecordError:
            raise
        except ValueError as error:
            raise RecordError(f"an action is not in the action space: {error}") from None
    _compare(claim, play, what)
    return math.fsum(play.rewards)


def _compare(claim: Episode, play: Play, what: str) -> None:
    """Raise RecordError unless an episode that was played again is as it was recorded."""
    found = play.episode(True)
    if (claim.terminated, claim.truncated) != play.ends:
        raise RecordError(
            f"{what} says terminated={claim.terminated}, truncated={claim.truncated}, which is not how the replay ends."
        )
    if not play.over:
        raise RecordError(f"{what} stops after {len(claim.actions)} steps, before its end.")
    if claim.states.keys() != found.states.keys():
        raise RecordError(f"{what} holds {sorted(claim.states)[:12]}; expected {sorted(found.states)}.")
    for name, value in found.states.items():
        if claim.states[name] != value:
            raise RecordError(f"{what} is not what the environment does: its {name} are others when it is replayed.")


def _claimed_return(env: gym.Env[Any, Any], claim: Episode, what: str, limit: int | None) -> float:
    """Return the sum of the claimed rewards, after checks of what can be checked without playing."""
    if set(claim.states) != {"rewards"} or len(claim.states["rewards"]) != len(claim.actions):
        raise RecordError(f"{what} does not hold one reward for each of its {len(claim.actions)} steps.")
    rewards = claim.states["rewards"]
    if not all(type(reward) in (int, float) and abs(reward) <= 1e300 for reward in rewards):
        raise RecordError(f"{what} holds a reward that is no finite number.")
    for action in claim.actions:
        try:
            read_action(env.action_space, action)
        except ValueError as error:
            raise RecordError(f"an action is not in the action space: {error}") from None
    if not (claim.terminated or claim.truncated):
        raise RecordError(f"{what} stops after {len(claim.actions)} steps, before its end.")
    if limit == len(claim.actions) and not claim.truncated:
        raise RecordError(f"{what} says truncated=False at the limit of {limit} steps.")
    return math.fsum(rewards)


def golden_trace(digest: Any, env_id: str, kwargs: Mapping[str, Any], repeatable: bool) -> None:
    """Add the spaces of a simulator to a digest and, where it repeats itself, what it does under fixed actions."""
    env = make(env_id, kwargs)
    digest.update(f"{env.observation_space} {env.action_space}".encode())
    if not repeatable:
        return
    play = Play(env, 0, {})
    for t in range(STEPS):
        if play.over:
            break
        play.step(_fixed_action(env.action_space, t))
    digest.update("".join(value for values in play.episode(True).states.values() for value in values).encode())
    env.close()


def _fixed_action(space: Any, t: int) -> npt.NDArray[Any]:
    """Return an action of the golden trace, by hashing, for the generators of numpy may change."""
    draws = keys.uniform(keys.mix(0, t), np.arange(math.prod(space.shape))).reshape(space.shape)
    if isinstance(space, gym.spaces.Box):
        low, high = np.maximum(space.low, -1.0), np.minimum(space.high, 1.0)
        low, high = np.where(low > high, space.low, low), np.where(low > high, space.high, high)
        action: npt.NDArray[Any] = np.clip(low + draws * (high - low), space.low, space.high).astype(space.dtype)
        return action
    number = getattr(space, "nvec", getattr(space, "n", 2)) if not isinstance(space, gym.spaces.MultiBinary) else 2
    return np.asarray(getattr(space, "start", 0) + (draws * number).astype(np.int64))
