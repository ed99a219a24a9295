"""Distracting dimensions: a process that is observed, and sometimes moved by the action, but never affects the reward.

One map, drawn from its own seed, serves both training and evaluation. `Distractors` adds it to a core of this suite,
`DistractingDimensions` to any environment whose observation is a vector.

Source: Voelcker, Liao, Garg, Farahmand (2022), "Value gradient weighted model-based reinforcement learning" (ICLR).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence
from functools import cache
from inspect import signature
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.utils import RecordConstructorArgs, seeding

from valuegym.envs import checks, elementary, keys
from valuegym.envs.functional import load, root
from valuegym.envs.rendering import control as rendering

__all__ = [
    "DistractingDimensions",
    "Distractors",
    "Map",
    "advance",
    "checked",
    "decorated",
    "draw_map",
    "planes",
    "start",
    "visible",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

KINDS = ("noise", "linear", "rotation", "chaotic", "published", "action_driven", "correlated")
MEMORY = 0.95  # share of a damped process that one step keeps
SLOWEST, FASTEST = 0.2, 1.2  # angular speeds, radians per step
GAIN, LEAST = 3.5, 4  # of the chaotic map, and its least number of dimensions: fewer may settle on a cycle
START = 0.1  # standard deviation of the published map at the start
LIMIT = 20.0  # size beyond which a component of the published map restarts
MOST = 256  # distracting dimensions
LARGEST = 1e3  # scale, and size of a coupling
CHECKPOINT = 25  # steps between two states of a record, which are long
_STREAM = 0x6469_7374_7261_6374  # the counter that separates the distractors' random draws from the core's
_MATRIX, _OBSERVATION_COUPLING, _ACTION_COUPLING, _FREQUENCIES, _RESTART_STATE = range(
    5
)  # streams of the map's own seed


class Map(NamedTuple):
    """Law of motion of distractors: H dimensions, of which the first `number` are observed.

    Attributes:
        kind: one of KINDS.
        number: observed dimensions, D.
        scale: factor of the observed dimensions.
        coupling: strength of the dependence on the action (`action_driven`) or on the physical observation.
        matrix: (H, H), by which the state is multiplied.
        observation_coupling: (H, O), of the physical observation.
        action_coupling: (H, A), of the action.
        frequencies: (H, H), frequencies of the published map.
        restart_state: (H,), at which its components restart.
    """

    kind: str
    number: int
    scale: float
    coupling: float
    matrix: Floats
    observation_coupling: Floats
    action_coupling: Floats
    frequencies: Floats
    restart_state: Floats


def _gaussian(seed: int, stream: int, rows: int, columns: int) -> Floats:
    return keys.normal(keys.mix(seed, stream, np.arange(rows))[:, None], np.arange(columns))


def planes(speeds: Floats) -> Floats:
    """Matrix (2 P, 2 P) that rotates P planes by these angles."""
    sine, cosine = elementary.sin_cos(speeds)
    matrix = np.zeros((2 * len(speeds), 2 * len(speeds)))
    for i in range(len(speeds)):
        matrix[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[cosine[i], -sine[i]], [sine[i], cosine[i]]]
    return matrix


def checked(
    kind: Any, number: Any, scale: Any, coupling: Any, map_seed: Any, least: int = 1
) -> tuple[str, int, float, float | None, int]:
    """Return the arguments of a map in their plain types, with at least so many dimensions.

    Raises:
        ValueError: an argument is outside its range or unknown.
    """
    return (
        checks.choice("kind", kind, KINDS),
        checks.integer("number", number, least, MOST),
        checks.real("scale", scale, 0.0, LARGEST),
        None if coupling is None else checks.real("coupling", coupling, -LARGEST, LARGEST),
        checks.integer("map_seed", map_seed, 0, 2**63 - 1),
    )


def draw_map(
    kind: str, number: int, scale: float, coupling: float | None, map_seed: int, observed: int, acting: int
) -> Map:
    """Draw the map that these arguments alone determine.

    `observed` and `acting` are the dimensions of the physical observation and of the action; a coupling of None is 1
    for `action_driven` and `correlated`, and 0 for the others.

    Raises:
        ValueError: an argument is outside its range or unknown.
    """
    kind, number, scale, coupling, map_seed = checked(kind, number, scale, coupling, map_seed)
    if coupling is None:
        coupling = 1.0 if kind in ("action_driven", "correlated") else 0.0
    H = {"rotation": number + number % 2, "chaotic": max(number, LEAST)}.get(kind, number)
    gaussian = _gaussian(map_seed, _MATRIX, H, H)
    if kind == "rotation":
        speeds = SLOWEST + (FASTEST - SLOWEST) * keys.uniform(keys.mix(map_seed, _MATRIX), np.arange(H // 2))
        matrix = planes(speeds) * (MEMORY if coupling else 1.0)
    elif kind == "published":
        matrix = gaussian
    elif kind == "noise":
        matrix = np.zeros((H, H))
    else:
        matrix = elementary.orthogonal(gaussian) * (GAIN if kind == "chaotic" else MEMORY)
    observation_coupling = _gaussian(map_seed, _OBSERVATION_COUPLING, H, observed)
    return Map(
        kind=kind,
        number=number,
        scale=float(scale),
        coupling=float(coupling),
        matrix=matrix,
        observation_coupling=observation_coupling if kind == "published" else observation_coupling / np.sqrt(observed),
        action_coupling=_gaussian(map_seed, _ACTION_COUPLING, H, acting) * np.sqrt(3 / acting),
        frequencies=(10.0 * _gaussian(map_seed, _FREQUENCIES, H, H)) ** 2,
        restart_state=_gaussian(map_seed, _RESTART_STATE, 1, H)[0],
    )


def start(m: Map, key: keys.Key) -> Floats:
    """Draw states (B, H) at the start of the episodes with these keys: standard normal, a tenth of it if published."""
    draws = keys.normal(keys.mix(key, _STREAM)[:, None], keys.RESET, np.arange(len(m.matrix)))
    return START * draws if m.kind == "published" else draws


def advance(m: Map, state: Floats, observation: Floats, action: Floats, key: keys.Key, t: Array) -> Floats:
    """Return the next states (B, H) d', with e standard normal, c the coupling, o' (B, O) the next observation.

    noise:          d' = e + c S o'
    linear:         d' = .95 M d + s (e + c S o'), M orthogonal, s = sqrt(1 - .95^2); correlated is this with c = 1
    rotation:       d' = M d, M turning planes; .95 M d + s c S o' where c is not 0
    chaotic:        d' = sin(3.5 M d + c S o'), M orthogonal
    published:      d' = y + .1 sin(W y), y = M d + c S o', entries of M normal, those of W 100 times their squares;
                    a component beyond 20 restarts at a fixed point
    action_driven:  d' = .95 M d + s c T a, for the action a (B, A)
    """
    after = elementary.matvec(m.matrix, state)
    fresh = np.sqrt(1 - MEMORY**2)
    if m.kind == "action_driven":
        return after + fresh * m.coupling * elementary.matvec(m.action_coupling, action)
    if m.coupling:
        pull = m.coupling * (1.0 if m.kind in ("noise", "chaotic", "published") else fresh)
        after = after + pull * elementary.matvec(m.observation_coupling, observation)
    if m.kind in ("noise", "linear", "correlated"):
        noise = keys.normal(keys.mix(key, _STREAM)[:, None], t[:, None], np.arange(len(m.matrix)))
        return after + (noise if m.kind == "noise" else fresh * noise)
    if m.kind == "chaotic":
        return elementary.sin_cos(after)[0]
    if m.kind == "published":
        after = after + 0.1 * elementary.sin_cos(elementary.matvec(m.frequencies, after))[0]
        return np.where(np.abs(after) > LIMIT, m.restart_state, after)
    return after


def visible(m: Map, state: Floats) -> Floats:
    """Return the observed part (B, D) of states (B, H): the first D dimensions times the scale."""
    return m.scale * state[:, : m.number]


def _load_core(base: Any) -> Any:
    """Return the class of a core by its name "module:Class".

    Raises:
        ValueError: there is none of this name.
    """
    found = None
    if isinstance(base, str):
        try:
            found = load(base)
        except (ImportError, AttributeError, TypeError, ValueError):
            found = None
    if not isinstance(found, type) or not all(
        hasattr(found, name) for name in ("initial", "transition", "observation")
    ):
        raise ValueError(f"base is {checks.printed(base)}; expected the name of a core, 'module:Class'.")
    return found


def _action_size(space: gym.Space[Any]) -> int:
    if isinstance(space, gym.spaces.Box | gym.spaces.Discrete):
        return int(gym.spaces.flatdim(space))
    raise TypeError(f"Distractors need a Box or Discrete action space; got {space}.")


def _action_vector(space: gym.Space[Any], action: Array) -> Floats:
    """Actions (B, ...) as vectors (B, A); discrete ones one-hot, others within their space."""
    if isinstance(space, gym.spaces.Discrete):
        return np.eye(int(space.n))[action - int(space.start)]
    assert isinstance(space, gym.spaces.Box)
    return np.clip(np.asarray(action, np.float64), space.low, space.high).reshape(len(action), -1)


def _length(space: gym.Space[Any]) -> int:
    """Return the length of observations; TypeError for anything but vectors of real numbers."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1 or space.dtype.kind != "f":
        raise TypeError(f"Distractors need a Box observation of shape (n,) and real numbers; got {space}.")
    return int(space.shape[0])


def _wider(space: Any, number: int) -> gym.spaces.Box:
    """Return the observation space, followed by the distractors."""
    reach = np.full(number, np.inf)
    low, high = np.concatenate([space.low, -reach]), np.concatenate([space.high, reach])
    return gym.spaces.Box(low.astype(space.dtype), high.astype(space.dtype), dtype=space.dtype.type)


@cache
def _state_type(fields: tuple[str, ...]) -> Any:
    """Return the type of states with these fields and the distractors' (B, H)."""
    return namedtuple("__".join(("State", *fields)), (*fields, "distractors"), module=__name__)


def __getattr__(name: str) -> Any:
    """Return state types by name, so that states can be pickled."""
    if name.startswith("State__"):
        return _state_type(tuple(name.split("__")[1:]))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Distractors:
    """Another task with dimensions in its observation that do not matter.

    ## Description
    A model that is trained to predict everything spends its capacity on these dimensions; one that knows the value
    function need not. They follow a process of their own, by random draws of their own: the wrapped task is the same to
    the bit, with or without them. The map is decided by `map_seed` alone, so training and evaluation share it.

    ## Observation
    The Box of the wrapped task, then `number` distracting dimensions, unbounded.

    ## Action
    The action of the wrapped task, clipped where it clips.

    ## Reward
    The reward of the wrapped task.

    ## Episode end
    The end of the wrapped task, whose reset options are accepted, too.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `base` | str | | | "module:Class" of the wrapped core |
    | `kind` | str | "rotation" | | process of the distractors, see below |
    | `number` | int | 8 | | distracting dimensions, at least 1 |
    | `scale` | float | 1.0 | | factor of the process, whose standard deviation is about 1 (chaotic 0.7, published 8) |
    | `coupling` | float or None | None | | strength of the dependence on the action or the physical observation |
    | `map_seed` | int | 0 | | seed of the map |
    | others | | | | arguments of the wrapped core |

    Kinds: `noise`; `linear`, noisy and damped; `rotation`, planes that rotate at 0.2 to 1.2 radians per step (of an odd
    number's last plane only one axis is observed); `chaotic`; `published`, an expanding random map whose components
    restart beyond 20; `action_driven`, moved by the action; `correlated`, linear and pulled by the physical
    observation. The coupling is to the action for `action_driven` and to the physical observation for all other kinds;
    by default it is 1 for `action_driven` and `correlated` and 0 for the others.

    Raises:
        ValueError: an argument is outside its range or unknown.
        TypeError: the wrapped task has no vector observation of real numbers, or no Box or Discrete action.

    ## Oracle and naive scores
    Those of the wrapped task.

    ## Source
    Voelcker, Liao, Garg, Farahmand (2022), "Value gradient weighted model-based reinforcement learning" (ICLR), whose
    map `published` is, except that there every environment object drew its own, and moved once before it was observed.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 20}

    def __init__(
        self,
        base: str,
        kind: str = "rotation",
        number: int = 8,
        scale: float = 1.0,
        coupling: float | None = None,
        map_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kind, number, scale, coupling, map_seed = checked(kind, number, scale, coupling, map_seed)
        self.base = core = _load_core(base)(**kwargs)
        self.action_space, length = core.action_space, _length(core.observation_space)
        self.map = draw_map(kind, number, scale, coupling, map_seed, length, _action_size(core.action_space))
        self.observation_space = _wider(core.observation_space, number)
        self.physical = getattr(core, "physical", np.arange(length))  # dimensions of the observation; for scoring only
        self.distracting = np.setdiff1d(np.arange(length + number), self.physical)
        self.metadata, self.discount = core.metadata, core.discount
        self.horizon = getattr(core, "horizon", None)
        self.resets_ahead, self.tolerance = getattr(core, "resets_ahead", 0), getattr(core, "tolerance", 0.0)
        self.clips_actions = getattr(core, "clips_actions", False)
        self.checkpoint = getattr(core, "checkpoint", CHECKPOINT)
        self._inner = type(core.initial(keys.mix(0, 0))[1])
        self._state: Any = _state_type(self._inner._fields)
        self.reset_options = getattr(core, "reset_options", list(signature(core.initial).parameters)[1:])

    def initial(self, key: keys.Key, **options: Array) -> tuple[Any, Any]:
        """Start the wrapped task, and the distractors."""
        task, state = self.base.initial(key, **options)
        return task, self._state(*state, start(self.map, key))

    def inner(self, state: Any) -> Any:
        """Return the state of the wrapped task."""
        return self._inner(*state[:-1])

    def transition(self, task: Any, state: Any, action: Array, key: keys.Key, t: Array) -> Any:
        """Move both one step; where the episode has ended neither moves."""
        before = self.inner(state)
        after = self.base.transition(task, before, action, key, t)
        m = self.map
        observed = self.base.observation(task, after).astype(np.float64) if m.coupling else state.distractors
        vector = _action_vector(self.action_space, action) if m.kind == "action_driven" else state.distractors
        moved = advance(m, state.distractors, observed, vector, key, t)
        over = self.base.terminal(task, before)
        return self._state(*after, np.where(over[:, None], state.distractors, moved))

    def reward(self, task: Any, state: Any, action: Array, next_state: Any) -> Array:
        """Return the wrapped task's reward."""
        return self.base.reward(task, self.inner(state), action, self.inner(next_state))

    def true_reward(self, task: Any, state: Any, action: Array, next_state: Any) -> Array:
        """Return the wrapped task's true reward."""
        paid = getattr(self.base, "true_reward", self.base.reward)
        return paid(task, self.inner(state), action, self.inner(next_state))

    def terminal(self, task: Any, state: Any) -> Array:
        """Return the wrapped task's end."""
        return self.base.terminal(task, self.inner(state))

    def observation(self, task: Any, state: Any) -> Array:
        """Return the wrapped task's observation, followed by the distractors."""
        physical = self.base.observation(task, self.inner(state))
        return np.concatenate([physical, visible(self.map, state.distractors).astype(physical.dtype)], -1)

    def references(self, task: Any) -> tuple[Any, Any]:
        """Return the references of the wrapped task, for scoring."""
        return self.base.references(task)

    def oracle_action(self, task: Any, state: Any) -> Array:
        """Return the wrapped task's oracle's action."""
        return self.base.oracle_action(task, self.inner(state))

    def oracle_value(self, task: Any, state: Any) -> Array:
        """Return the wrapped task's optimal value."""
        return self.base.oracle_value(task, self.inner(state))

    def value(self, observation: Array) -> Array:
        """Return the wrapped task's optimal value (...) at observations (..., n + D); for scoring only."""
        return self.base.value(observation[..., : self.base.observation_space.shape[0]])

    def render(self, mode: str, task: Any, states: Sequence[Any], actions: Sequence[Array]) -> Any:
        """Draw the wrapped task, with the distractors as bars below."""
        picture = self.base.render(mode, task, [self.inner(state) for state in states], actions)
        return decorated(mode, picture, self.map, states[-1].distractors)


def decorated(mode: str, picture: Any, m: Map, state: Floats) -> Any:
    """Add the distractors (1, H) to a picture of one environment."""
    values = visible(m, state)[0]
    if mode == "ansi":
        return picture + rendering.listed(values)
    full = m.scale * (LIMIT if m.kind == "published" else 3.0)
    return np.concatenate([picture, rendering.bars(values, full or 1.0, picture.shape[1])])


class DistractingDimensions(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Add distracting dimensions to any environment whose observation is a vector; arguments as for `Distractors`.

    The wrapper draws from a root of its own, made from the seed of `reset`, and takes nothing from the environment's
    generator.

    Raises:
        ValueError: an argument is outside its range or unknown.
        TypeError: the observation is not a Box of shape (n,), or the action is no Box and not Discrete.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        kind: str = "rotation",
        number: int = 8,
        scale: float = 1.0,
        coupling: float | None = None,
        map_seed: int = 0,
    ) -> None:
        kind, number, scale, coupling, map_seed = checked(kind, number, scale, coupling, map_seed)
        RecordConstructorArgs.__init__(
            self, kind=kind, number=number, scale=scale, coupling=coupling, map_seed=map_seed
        )
        gym.Wrapper.__init__(self, env)
        self._n = _length(env.observation_space)
        self.map = draw_map(kind, number, scale, coupling, map_seed, self._n, _action_size(env.action_space))
        self.observation_space = _wider(env.observation_space, number)
        self.physical, self.distracting = np.arange(self._n), np.arange(self._n, self._n + number)
        self._root: keys.Key | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode of the environment and of the distractors."""
        observation, info = self.env.reset(seed=seed, options=options)
        if seed is not None or self._root is None:
            self._root, self._episode = root(seed, seeding.np_random(seed)[0]), -1
        self._episode += 1
        self._key, self._t = keys.mix(self._root, self._episode), np.zeros(1, np.int64)
        self._state = start(self.map, self._key)
        return self._observation(observation), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Move both one step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        vector = _action_vector(self.env.action_space, np.asarray(action)[None])
        observed = np.asarray(observation, np.float64)[None]
        self._state = advance(self.map, self._state, observed, vector, self._key, self._t)
        self._t += 1
        return self._observation(observation), reward, terminated, truncated, info

    def render(self) -> Any:
        """Return the environment's picture or text, with the distractors added after the first reset."""
        picture = self.env.render()
        if self._root is None or not (
            isinstance(picture, str) or (isinstance(picture, np.ndarray) and picture.ndim == 3)
        ):
            return picture
        return decorated("ansi" if isinstance(picture, str) else "rgb_array", picture, self.map, self._state)

    def _observation(self, observation: Any) -> Any:
        return np.concatenate([observation, visible(self.map, self._state)[0].astype(np.asarray(observation).dtype)])
