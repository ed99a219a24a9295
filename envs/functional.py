"""One scalar and one vector environment over a pure core: the only reset and step of the suite's own environments.

A core states an environment as pure functions of arrays with exactly one leading axis (B,). The scalar environment
is B = 1; the vector environment is B = num_envs; both make their random draws by `valuegym.envs.keys`, so row i of a
vector environment seeded with s equals the scalar environment seeded with s + i bit for bit, through any number of
resets.

Randomness: `reset(seed)` draws one root; episode e has the key mix(root, e), with e = 0 at the seeded reset. Seeds
below 2**128 are public: their root is a 64-bit number that Gymnasium's generator draws. Seeds from 2**128 on are
secret: the root is a secret key of `valuegym.envs.keys`, so that nobody can find the seed, or what the environment
hides, from what it shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from inspect import signature
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from valuegym.envs import checks, keys, plugins
from valuegym.envs.rendering.window import Window

__all__ = [
    "Actions",
    "Core",
    "FunctionalEnv",
    "FunctionalVectorEnv",
    "action_rules",
    "episode_keys",
    "is_secret",
    "load",
    "put_rows",
    "reset_options",
    "root",
    "take_rows",
]

Array = npt.NDArray[Any]
TRAIL = 3  # former states in a picture
REQUIRED = (  # parts without which a core cannot be played
    "observation_space",
    "action_space",
    "metadata",
    "initial",
    "transition",
    "reward",
    "terminal",
    "observation",
)
TOLERANCE = 1e-6  # share of a dimension's range by which an action may exceed it, and is clipped
MOST_ROWS = 2**20  # of a vector environment, far more than its arrays have memory for
_ENDLESS = np.iinfo(np.int64).max


class Core(Protocol):
    """An environment as pure functions.

    Every array has one leading axis (B,); task and state are NamedTuples of such arrays.

    The task is constant within an episode (board, weights, laws of motion); the state changes. Cores return fresh
    arrays, never views of the task, the state or their own tables; a terminal state maps to itself with reward 0. Draws
    inside `transition` come from (key, t, index), those inside `initial` from (key, keys.RESET, index).
    """

    observation_space: gym.Space[Any]
    action_space: gym.Space[Any]
    metadata: dict[str, Any]
    discount: float

    def initial(self, key: keys.Key, **options: Array) -> tuple[Any, Any]:
        """Return task and state at the start of the episodes with these keys (B,).

        Options are those of `reset`, one row each: numbers (B,), or (B, *shape) where the core has a dictionary
        `option_shapes` with the shape of that option.
        """

    def transition(self, task: Any, state: Any, action: Array, key: keys.Key, t: Array) -> Any:
        """Return the next state; t (B,) counts the steps of the episode from 0."""

    def reward(self, task: Any, state: Any, action: Array, next_state: Any) -> Array:
        """Reward (B,) float64 of the transition."""

    def terminal(self, task: Any, state: Any) -> Array:
        """Tell which episodes have ended (B,) bool."""

    def observation(self, task: Any, state: Any) -> Array | dict[str, Array]:
        """Return the observations: an array or a flat dictionary of arrays."""

    def references(self, task: Any) -> tuple[float, float] | tuple[Array, Array]:
        """Mean returns of the naive reference and of the oracle, computed; for scoring only.

        One for all rows, or one for each (B,) where every episode has its own task.
        """

    def oracle_action(self, task: Any, state: Any) -> Array:
        """Return a best action for every row, from the environment's own solver; for scoring only."""

    def render(self, mode: str, task: Any, states: Sequence[Any], actions: Sequence[Array]) -> Any:
        """Draw one environment (B = 1) from its last states, oldest first, and the actions between them.

        Pictures ("rgb_array") of an environment have one size. Those of a core with `player_view` show what is hidden
        from the agent, and are drawn without it in mode "human".
        """


def load(entry: str, argument: str = "entry") -> Any:
    """Import the object that "module:name" or "file.py:name" names.

    Registries hold such strings so that no module is imported before it is used. Errors call it `argument`.

    Raises:
        ValueError: the entry is no such text, or names a module or an object that does not exist.
        ImportError: the module lacks something that it needs.
    """
    module, _, name = checks.text(argument, entry, "the text 'module:name'").rpartition(":")
    if module.endswith(".py"):
        return plugins.load_reference(entry)
    if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise checks.refusal(argument, entry, "the text 'module:name'")
    try:
        return attrgetter(name)(import_module(module))
    except (ModuleNotFoundError, AttributeError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is None or f"{module}.".startswith(f"{missing}."):
            raise checks.refusal(argument, entry, "a module and an object in it that exist") from error
        raise


def take_rows(batch: Any, rows: Array) -> Any:
    """Copy rows (indices or a mask) of a NamedTuple of arrays."""
    return type(batch)(*(field[rows] for field in batch))


def put_rows(batch: Any, rows: Array, part: Any) -> None:
    """Overwrite rows of a NamedTuple of arrays in place."""
    for field, value in zip(batch, part, strict=True):
        field[rows] = value


def root(seed: int | None, generator: np.random.Generator) -> keys.Key:
    """Return the root (1,) of a seed: a secret key if it is secret, else 64 bits of the generator it gave."""
    if is_secret(seed):
        assert seed is not None
        return keys.seed_key(int(seed))
    return np.array([generator.bit_generator.random_raw()], np.uint64)


def is_secret(seed: int | None) -> bool:
    """Tell whether draws from a seed cannot be inverted: those of 2**128 and more."""
    return seed is not None and seed >= keys.SECRET_SEEDS


def episode_keys(seeds: Sequence[int], episode: int = 0) -> keys.Key:
    """Keys of episode number `episode` after reset(seed), for several seeds, from which replays start.

    Raises:
        ValueError: some seeds are secret and others are not.
    """
    _one_kind([is_secret(seed) for seed in seeds])
    roots = [root(seed, seeding.np_random(seed)[0]) for seed in seeds]
    return keys.mix(np.concatenate(roots) if roots else np.zeros(0, np.uint64), episode)


def _one_kind(secret: Sequence[bool]) -> None:
    if any(secret) and not all(secret):
        raise ValueError("Some seeds are secret (2**128 and more) and others are not: give seeds of one kind.")


class Actions(NamedTuple):
    """Requirements on actions, read once from their space.

    Discrete actions are integers from 0 to n - 1. Numbers of a Box have to be finite and, unless `clips`, from `lowest`
    to `highest`; they are clipped to the range from `low` to `high`.
    """

    n: int  # number of discrete actions; 0 for a Box
    shape: tuple[int, ...]
    dtype: Any
    low: Array
    high: Array
    lowest: Array
    highest: Array
    clips: bool  # whether every finite number is clipped
    kinds: str  # of numpy's types that are accepted

    @classmethod
    def of(cls, space: gym.Space[Any], tolerance: float = TOLERANCE) -> Actions:
        """Read a Discrete (from 0) or Box space.

        Args:
            space: of actions.
            tolerance: share of a dimension's range by which an action may exceed it, for rescaled actions are rounded;
                0 for none. It is at least one unit in the last place of the bounds, unless it is 0; with infinity
                every finite action is clipped.

        Raises:
            TypeError: the space is another one.
        """
        if isinstance(space, gym.spaces.Discrete) and space.start == 0:
            zero = np.zeros(())
            return cls(int(space.n), (), np.int64, zero, zero, zero, zero, False, "iu")
        if not isinstance(space, gym.spaces.Box):
            raise TypeError(f"Action space {space} is not supported; use Discrete (from 0) or Box.")
        low, high = space.low, space.high
        if space.dtype.kind != "f":
            return cls(0, space.shape, space.dtype, low, high, low, high, bool(np.isinf(tolerance)), "iu")
        edges, limit = np.array([low, high]), np.finfo(space.dtype).max
        low, high = np.clip(edges, -limit, limit)
        with np.errstate(over="ignore", invalid="ignore"):
            reach = edges[1].astype(np.float64) - edges[0]
            slack = np.where(np.isfinite(reach), min(tolerance, 1.0) * reach, 0.0)
        if tolerance:
            slack = np.maximum(slack, np.spacing(np.abs(np.where(np.isfinite(edges), edges, 0))).max(0))
        lowest = np.maximum(low - slack, -limit).astype(space.dtype)
        highest = np.minimum(high + slack, limit).astype(space.dtype)
        return cls(0, space.shape, space.dtype, low, high, lowest, highest, bool(np.isinf(tolerance)), "fiu")

    def check(self, actions: Any, rows: tuple[int, ...]) -> Array:
        """Return actions as an array (*rows, *shape) of the space's type, within the space.

        Raises:
            ValueError: the shape or type is not the space's, or a number is not finite or outside the space.
        """
        return self.clip(actions, rows).astype(self.dtype, copy=False)

    def clip(self, actions: Any, rows: tuple[int, ...]) -> Array:
        """Return actions as `check` does, but of the type they came in: what a record holds.

        Raises:
            ValueError: the shape or type is not the space's, or a number is not finite or outside the space.
        """
        array = self._array(actions, rows)
        if self.n:
            array = array.astype(np.int64, copy=False)
            if array.view(np.uint64).max() >= self.n:
                text, last = checks.printed(actions), self.n - 1
                raise ValueError(f"Action {text} is outside the action space; expected integers from 0 to {last}.")
            return array
        inside = np.isfinite(array) if self.clips else (array >= self.lowest) & (array <= self.highest)
        if not inside.all():
            raise self._refusal(array, inside)
        clipped: Array = np.minimum(np.maximum(array, self.low), self.high)
        return clipped

    def _array(self, actions: Any, rows: tuple[int, ...]) -> Array:
        """Return actions as an array of real numbers or, where the space holds integers, of integers."""
        kind = f"integers from 0 to {self.n - 1}" if self.n else "real numbers" if "f" in self.kinds else "integers"
        expected = f"expected {kind} of shape {rows + self.shape}"
        try:
            array = np.asarray(actions)
        except Exception:  # whatever an object raises that claims to be an array
            array = np.empty(rows + self.shape, object)
        if array.dtype.kind != "O" and array.shape != rows + self.shape:
            raise ValueError(f"Action {checks.printed(actions)} has shape {array.shape}; {expected}.")
        flag, masked = _holds_flag(actions), _is_masked(actions)
        if array.dtype.kind not in self.kinds or flag or masked:
            kind = "bool" if flag else "masked" if masked else str(array.dtype)
            raise ValueError(f"Action {checks.printed(actions)} has type {kind}; {expected}.")
        return array

    def _refusal(self, array: Array, inside: Array) -> ValueError:
        """Return the error that names the first number which is not finite or outside the space."""
        at = tuple(np.argwhere(~inside)[0].tolist())
        low, high = (np.broadcast_to(bound, array.shape)[at].item() for bound in (self.low, self.high))
        hint = ""
        if np.isfinite(array[at]) and (self.lowest != self.low).any():
            hint = ": gymnasium.wrappers.ClipAction clips actions, RescaleAction scales them"
        return ValueError(
            f"Action[{', '.join(map(str, at))}] is {array[at].item()!r}; expected a finite number from {low!r} to "
            f"{high!r}{hint}."
        )


def _holds_flag(actions: Any) -> bool:
    """Tell whether a list holds a bool, which numpy would take for a number among others."""
    if isinstance(actions, (list, tuple)):
        return any(map(_holds_flag, actions))
    return isinstance(actions, bool) or (isinstance(actions, (np.bool_, np.ndarray)) and actions.dtype.kind == "b")


def _is_masked(actions: Any) -> bool:
    """Tell whether an entry is masked, under which numpy would find whatever number is there."""
    if isinstance(actions, (list, tuple)):
        return any(map(_is_masked, actions))
    return isinstance(actions, np.ma.MaskedArray) and bool(np.ma.is_masked(actions))


def action_rules(core: Core) -> Actions:
    """Return what the environments of a core require of actions."""
    return Actions.of(core.action_space, np.inf if getattr(core, "clips_actions", False) else TOLERANCE)


def _core(entry: str, kwargs: dict[str, Any]) -> Core:
    """Make the core that "module:Class" names."""
    made = load(entry, "core")
    if callable(made):
        try:
            made = made(**kwargs)
        except TypeError as error:
            hint = checks.similar_argument(error, made)
            if hint:
                raise TypeError(f"{error}.{hint}") from error
            raise
    lacking = [name for name in REQUIRED if not hasattr(made, name)]
    if lacking:
        raise checks.refusal("core", entry, f"the class of a core (see `Core`; it lacks {', '.join(lacking)})")
    core: Core = made
    return core


def reset_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a copy of the options of `reset`, none by default.

    Raises:
        ValueError: they are no dictionary.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise checks.refusal("options", options, "a dictionary of reset options or None")
    return dict(options)


def _keep_memory() -> None:
    """Free a large block, so that glibc keeps what arrays of a step leave behind instead of giving it back every time.

    It returns memory beyond twice the largest block freed so far (mallopt(3), M_MMAP_THRESHOLD); page by page to get it
    again costs a tenth to a fifth of the time of steps of 64 rows with 500 numbers each.
    """
    np.empty(2**23, np.uint8)  # never touched, so that no page of it exists


class _Episodes:
    """Starts of episodes in rows with given roots.

    A reset is a pure function of its key, so that episodes may begin ahead of their turn, many together: those of a
    core with `resets_ahead` = n are kept until a row needs one that is not there; then each row's next n are made up.
    Episode e is kept in block e modulo n, of one place for each row.
    """

    def __init__(self, core: Core, rows: int) -> None:
        self.core, self.ahead = core, getattr(core, "resets_ahead", 0)
        self._names = getattr(core, "reset_options", None) or list(signature(core.initial).parameters)[1:]
        self.roots = np.zeros(rows, np.uint64)
        self.number = np.zeros(rows, np.int64)  # of each row's current episode
        self._stored = np.zeros(rows, np.int64)  # number of each row's next episode that is neither kept nor begun
        self._kept: Any = None  # keys, tasks and states

    def seed(self, row: int, seed: int | None, generator: np.random.Generator) -> None:
        """Set a row's root from its seed and the generator of it; its next episode is number 0."""
        own = root(seed, generator)
        if own.dtype != self.roots.dtype:  # all rows are seeded
            self.roots, self._kept = np.zeros(len(self.roots), own.dtype), None
        self.roots[row] = own[0]
        self.number[row] = -1
        self._stored[row] = 0

    def options(self, options: Mapping[str, Any], rows: Array, shape: tuple[int, ...]) -> dict[str, Array]:
        """Return reset options, finite numbers by name, as one value for each of these rows.

        Raises:
            ValueError: a name is unknown, a value is no finite number, or there is not one for all rows or for each.
        """
        values = {}
        for name, value in options.items():
            if name not in self._names:
                hint = checks.similar(name, self._names)
                raise ValueError(
                    f"Reset option {name!r} is unknown; this environment has {self._names or 'none'}.{hint}"
                )
            checks.reals(f"Reset option {name!r}", value)
            array = np.asarray(value)
            one = getattr(self.core, "option_shapes", {}).get(name, ())  # of a row's value, a number by default
            if array.shape not in (one, (*shape, *one)):
                raise ValueError(f"Reset option {name!r} has shape {array.shape}; expected {one} or {(*shape, *one)}.")
            values[name] = np.broadcast_to(array, (*(shape or (1,)), *one))[rows]
        return values

    def begin(self, rows: Array, options: dict[str, Array]) -> tuple[Array, Any, Any]:
        """Return keys, tasks and states of the next episodes of these rows; where a core refuses, none has begun."""
        number = self.number[rows] + 1
        if options or not self.ahead or not number.any():  # often no other episode follows the first
            key = keys.mix(self.roots[rows], number)
            task, state = self.core.initial(key, **options)
            self.number[rows] = number
            self._stored[rows] = np.maximum(self._stored[rows], number + 1)
            return key, task, state
        self.number[rows] = number
        if (number >= self._stored[rows]).any():
            self._begin_ahead()
        at = number % self.ahead * len(self.roots) + rows
        key, task, state = self._kept
        return key[at], take_rows(task, at), take_rows(state, at)

    def _begin_ahead(self) -> None:
        """Begin what is missing of each row's `ahead` episodes from its current one on."""
        number = self.number + np.arange(self.ahead)[:, None]
        missing = number >= self._stored
        rows, number = missing.nonzero()[1], number[missing]
        key = keys.mix(self.roots[rows], number)
        new = key, *self.core.initial(key)
        if self._kept is None:
            self._kept = tuple(map(self._room, new))
        at = number % self.ahead * len(self.roots) + rows
        self._kept[0][at] = key
        for kept, begun in zip(self._kept[1:], new[1:], strict=True):
            put_rows(kept, at, begun)
        self._stored = self.number + self.ahead

    def _room(self, field: Any) -> Any:
        """Return empty arrays like these, of a place for each kept episode."""
        if isinstance(field, tuple):
            return type(field)(*map(self._room, field))
        return np.empty((self.ahead * len(self.roots), *field.shape[1:]), field.dtype)


class _PlainSpec:
    """A spec whose arguments are JSON's own types, whatever `gym.make` got: so it can be written down."""

    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """The spec with which the environment was made, if it was registered."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = None if spec is None else replace(spec, kwargs=checks.plain(spec.kwargs))


class FunctionalEnv(_PlainSpec, gym.Env[Any, Any]):
    """Scalar environment of a core.

    Args:
        core: "module:Class" of the core, a string so that the spec is plain JSON.
        render_mode: one of the core's, "human" for a window (extra `play`) where the core has "rgb_array", or None.
        **kwargs: arguments of the core.

    Raises:
        ValueError: `core` names none, the render mode is unknown, or the core refuses an argument.
        ImportError: pygame is not installed, for a window.
    """

    metadata = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 4}

    def __init__(self, core: str, render_mode: str | None = None, **kwargs: Any) -> None:
        self.core = _core(core, kwargs)
        modes = [*self.core.metadata["render_modes"]]
        checks.choice("render_mode", render_mode, (*modes, *["human"] * ("rgb_array" in modes), None))
        self.render_mode = render_mode
        # Checkers make an environment in every mode that is listed here: a window only where one was asked for.
        self.metadata = {**self.core.metadata, "render_modes": modes + ["human"] * (render_mode == "human")}
        self._window = Window(core.rpartition(":")[2]) if render_mode == "human" else None
        self.observation_space, self.action_space = self.core.observation_space, self.core.action_space
        self._actions = action_rules(self.core)
        self._episodes = _Episodes(self.core, 1)
        self._row = np.zeros(1, np.int64)
        self._seeded, self._over = False, True
        self._history: deque[tuple[Any, Array]] = deque(maxlen=TRAIL)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode; options are those of the core's `initial`, finite numbers.

        Raises:
            ValueError: an option is unknown, or has a wrong shape or value.
            Error: Gymnasium's, where the seed is no integer of at least 0.
        """
        values = self._episodes.options(reset_options(options), self._row, ())
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._episodes.seed(0, seed, self.np_random)
            self._seeded = True
        self._key, self.task, self.state = self._episodes.begin(self._row, values)
        self._t = np.zeros(1, np.int64)
        self._over = False
        self._history.clear()
        if self._window is not None:
            self._show()
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move one step.

        Raises:
            ValueError: the action is outside the space.
            ResetNeeded: the episode has terminated, or has not begun.
        """
        if self._over:
            raise gym.error.ResetNeeded(
                "There is no episode to step: call reset() first, and again after an episode has terminated."
            )
        n, kind = self._actions.n, type(action)
        if n and (kind is np.int64 or (kind is np.ndarray and not action.ndim and action.dtype.kind in "iu")):
            action, kind = action.item(), int
        if n and kind is int and 0 <= action < n:  # the common case, without a detour over arrays
            actions = np.array((action,))
        else:
            actions = self._actions.check(action, ())[None]
        core, task, previous = self.core, self.task, self.state
        self.state = state = core.transition(task, previous, actions, self._key, self._t)
        self._t += 1
        self._over = terminated = core.terminal(task, state).item()
        if self.render_mode is not None:
            self._history.append((previous, actions))
            if self._window is not None:
                self._show()
        return self._observation(), core.reward(task, previous, actions, state).item(), terminated, False, {}

    def _observation(self) -> Any:
        observation = self.core.observation(self.task, self.state)
        if isinstance(observation, dict):
            return {name: value[0] for name, value in observation.items()}
        return observation[0]

    def render(self) -> Any:
        """Draw the current state with the last steps overlaid, in the render mode chosen at construction."""
        if self.render_mode is None:
            gym.logger.warn("render() needs a render_mode: choose it in gym.make(..., render_mode=...).")
            return None
        if self._window is not None:
            self._window.show(self.picture("human"))
            return None
        return self.picture(self.render_mode)

    def picture(self, mode: str) -> Any:
        """Draw the last states in a mode of the core's, or as a player sees them ("human")."""
        if mode == "human" and not getattr(self.core, "player_view", False):
            mode = "rgb_array"
        states = [*(state for state, _ in self._history), self.state]
        return self.core.render(mode, self.task, states, [action for _, action in self._history])

    def _show(self) -> None:
        """Show the state in the window, at the pace of the environment."""
        if self._window is not None:
            self._window.show(self.picture("human"), self.metadata.get("render_fps", 4))

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()


class FunctionalVectorEnv(_PlainSpec, VectorEnv[Any, Any, Any]):
    """Vector environment of a core: rows advanced by the same array expressions as the scalar environment.

    Args:
        core: "module:Class" of the core.
        num_envs: rows, from 1 to 2**20.
        max_episode_steps: steps after which episodes are truncated, at least 1; None or -1 for no limit.
        autoreset_mode: NEXT_STEP (default: the step after an episode's end ignores the action and returns the reset
            observation with reward 0), SAME_STEP (`final_obs` and `final_info` in info) or DISABLED (call
            `reset(options={"reset_mask": mask})`).
        render_mode: one of the core's, or None.
        **kwargs: arguments of the core.

    Raises:
        ValueError: an argument is not as stated, a mode is unknown, or the core refuses an argument.
    """

    def __init__(
        self,
        core: str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        num_envs = checks.integer("num_envs", num_envs, 1, MOST_ROWS)
        limit = (
            -1 if max_episode_steps is None else checks.integer("max_episode_steps", max_episode_steps, -1, _ENDLESS)
        )
        if limit == 0:
            raise checks.refusal("max_episode_steps", 0, "an integer of at least 1, or None or -1 for no limit")
        if not isinstance(autoreset_mode, AutoresetMode):
            autoreset_mode = AutoresetMode(
                checks.choice("autoreset_mode", autoreset_mode, [m.value for m in AutoresetMode])
            )
        self.core = _core(core, kwargs)
        checks.choice("render_mode", render_mode, (*self.core.metadata["render_modes"], None))
        self.num_envs, self.max_episode_steps, self.render_mode = num_envs, limit if limit > 0 else None, render_mode
        self.autoreset_mode = autoreset_mode
        self.metadata = {**self.core.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space, self.single_action_space = self.core.observation_space, self.core.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._actions = action_rules(self.core)
        self._rows = (num_envs,)
        self._limit = limit if limit > 0 else _ENDLESS
        self._episodes = _Episodes(self.core, num_envs)
        self._seeds = [-1] * num_envs
        self._keys = np.zeros(num_envs, np.uint64)
        self._t = np.zeros(num_envs, np.int64)
        self._done = np.zeros(num_envs, np.bool_)
        self._ready = False
        self._history: deque[tuple[Any, Array]] = deque(maxlen=TRAIL)
        _keep_memory()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of options["reset_mask"] (num_envs,) bool.

        An integer seed s seeds row i with s + i; a sequence gives one seed per row, None to keep a row's stream.
        Other options hold one value per row (or one for all) and go to the core.

        Raises:
            ValueError: the mask, an option or the number of seeds does not fit.
            ResetNeeded: a mask is given before the first reset.
            Error: Gymnasium's, where a seed is no integer of at least 0.
        """
        options = reset_options(options)
        mask = options.pop("reset_mask", None)
        if mask is None:
            mask = np.ones(self.num_envs, np.bool_)
        elif not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != self._rows or not mask.any():
            raise checks.refusal("reset_mask", mask, f"a bool array of shape {self._rows} with at least one True")
        elif not self._ready:
            raise gym.error.ResetNeeded(
                "reset_mask resets some rows of a running environment: call reset() without it first."
            )
        rows = np.flatnonzero(mask)
        values = self._episodes.options(options, rows, self._rows)
        seeds = self._row_seeds(seed)
        generators = {
            i: seeding.np_random(seeds[i]) for i in rows.tolist() if seeds[i] is not None or self._seeds[i] < 0
        }
        after = {**dict(enumerate(self._seeds)), **{i: own for i, (_, own) in generators.items()}}
        _one_kind([is_secret(own) for own in after.values()])
        for i, (generator, own) in generators.items():
            self._seeds[i] = own
            self._episodes.seed(i, own, generator)
        if len(rows) == self.num_envs:
            self._keys, self.task, self.state = self._episodes.begin(rows, values)
            self._t[:] = 0
            self._ready = True
        else:
            self._begin(rows, values)
        self._done[rows] = False
        return self.core.observation(self.task, self.state), {}

    def _row_seeds(self, seed: int | Sequence[int | None] | None) -> list[Any]:
        """Return one seed for each row; Gymnasium's `np_random` refuses what is none."""
        if isinstance(seed, int):
            return [seed + i for i in range(self.num_envs)]
        if not isinstance(seed, Sequence) or isinstance(seed, str | bytes):
            return [seed] * self.num_envs
        if len(seed) != self.num_envs:
            raise ValueError(f"{len(seed)} seeds given for {self.num_envs} environments; expected one per environment.")
        return list(seed)

    def _begin(self, rows: Array, options: dict[str, Array]) -> None:
        """Start the next episode of some rows, in place."""
        self._keys[rows], task, state = self._episodes.begin(rows, options)
        put_rows(self.task, rows, task)
        put_rows(self.state, rows, state)
        self._t[rows] = 0

    def step(self, actions: Any) -> tuple[Any, Array, Array, Array, dict[str, Any]]:
        """Move every row one step.

        Raises:
            ValueError: an action is outside the space.
            ResetNeeded: there was no reset, or a row needs one in mode DISABLED.
        """
        if not self._ready:
            raise gym.error.ResetNeeded("There are no episodes to step: call reset() first.")
        actions = self._actions.check(actions, self._rows)
        over = self._done.nonzero()[0]
        if over.size and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gym.error.ResetNeeded(
                f"Environments {over.tolist()} have finished: reset them with options={{'reset_mask': mask}} first."
            )
        core, task, previous = self.core, self.task, self.state
        if self.render_mode is not None:
            self._history.append((previous, actions.copy()))
        self.state = state = core.transition(task, previous, actions, self._keys, self._t)
        self._t += 1
        reward, terminated = core.reward(task, previous, actions, state), core.terminal(task, state)
        truncated = self._t >= self._limit
        info: dict[str, Any] = {}
        if over.size:  # NEXT_STEP: these rows' action was ignored
            self._begin(over, {})
            reward[over], terminated[over], truncated[over] = 0.0, False, False
        self._done = done = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and done.any():
            info = self._final(done)
            self._begin(done.nonzero()[0], {})
            self._done = np.zeros_like(done)
        return core.observation(task, self.state), reward, terminated, truncated, info

    def _final(self, done: Array) -> dict[str, Any]:
        """Return the last observations of finished rows, in the form of Gymnasium's own vector environments."""
        observation = self.core.observation(self.task, self.state)
        final = np.full(self.num_envs, None, dtype=object)
        for i in np.flatnonzero(done):
            final[i] = {k: v[i] for k, v in observation.items()} if isinstance(observation, Mapping) else observation[i]
        return {"final_obs": final, "_final_obs": done.copy(), "final_info": {}, "_final_info": done.copy()}

    def render(self) -> tuple[Any, ...] | None:
        """Draw one picture per environment."""
        if self.render_mode is None:
            return None
        pictures = []
        for i in range(self.num_envs):
            steps = list(self._history)[max(0, len(self._history) - int(self._t[i])) :]
            row = np.array([i])
            states = [*(take_rows(state, row) for state, _ in steps), take_rows(self.state, row)]
            task = take_rows(self.task, row)
            pictures.append(self.core.render(self.render_mode, task, states, [action[row] for _, action in steps]))
        return tuple(pictures)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of every row; -1 before its first reset."""
        return tuple(self._seeds)
