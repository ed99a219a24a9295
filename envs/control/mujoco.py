"""MuJoCo's walkers with and without distracting dimensions: Gymnasium's own environments, version 5.

These are third-party simulators, not cores: vector environments are Gymnasium's, there is no oracle, and MuJoCo is
imported only when an environment is made.

Source: Voelcker, Liao, Garg, Farahmand (2022), "Value gradient weighted model-based reinforcement learning" (ICLR), for
the tasks; Todorov, Erez, Tassa (2012), "MuJoCo: a physics engine for model-based control"; Gymnasium (Towers et
al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils import RecordConstructorArgs
from gymnasium.wrappers.utils import rescale_box

from valuegym.envs import checks, extras
from valuegym.envs.control.distractors import DistractingDimensions, checked
from valuegym.envs.functional import Actions, load, reset_options

__all__ = ["Body", "fallen", "make"]

HOPPER = 11  # dimensions of Hopper's own observation, before the distracting ones
LARGEST = 1e6  # number that an argument of Gymnasium's environments may be
# Arguments that these environments share: the type of their value, and the range of integers.
_SHARED: dict[str, Any] = {
    "frame_skip": (1, 1000), "width": (1, 4096), "height": (1, 4096), "max_geom": (0, 100_000), "camera_id": (-1, 1000),
}  # fmt: skip


class Body(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """One of Gymnasium's MuJoCo environments with actions in [-1, 1], of which finite ones beyond are clipped.

    A copy, and a pickle, continues the episode: it holds the whole state of the simulator, where Gymnasium's own starts
    a new one.

    Args:
        env: Gymnasium's environment, without wrappers.
        arguments: with which it was made.
    """

    def __init__(self, env: gym.Env[Any, Any], arguments: dict[str, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        self._arguments = arguments
        self._prepare()

    def _prepare(self) -> None:
        """Read the action space, and how it is scaled."""
        space = self.env.action_space
        assert isinstance(space, gym.spaces.Box)
        self._scaled: Callable[[Any], Any] | None = None
        if not (np.all(space.low == -1) and np.all(space.high == 1)):
            one = np.ones(space.shape, np.float32)
            self.action_space, _, self._scaled = rescale_box(space, -one, one)
        self._actions = Actions.of(self.action_space, np.inf)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Raises:
            ValueError: an option is given, for there are none.
        """
        if options := reset_options(options):
            raise ValueError(f"Reset option {next(iter(options))!r} is unknown; this environment has none.")
        return self.env.reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Move one step.

        Raises:
            ValueError: the action has another shape or type, or is not finite.
        """
        inside = self._actions.clip(action, ())
        return self.env.step(inside if self._scaled is None else self._scaled(inside))

    @property
    def spec(self) -> EnvSpec | None:  # type: ignore[override]
        """The spec, with arguments of JSON's own types."""
        spec = super().spec
        if spec is not None:
            spec.kwargs = checks.plain(spec.kwargs)
        return spec

    def __getstate__(self) -> dict[str, Any]:
        """Return all that a copy needs: what is not of the simulator as it is, and the simulator's state."""
        own = {name: value for name, value in vars(self).items() if name not in ("env", "_scaled")}
        body = {name: value for name, value in vars(self.env).items() if name != "mujoco_renderer"}
        return {"own": own, "simulator": type(self.env), "body": body}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the same environment in the same state; only a window or a picture's buffers are new."""
        vars(self).update(state["own"])
        self.env: Any = state["simulator"](**self._arguments)
        vars(self.env).update(state["body"])
        self.env.mujoco_renderer.model, self.env.mujoco_renderer.data = self.env.model, self.env.data
        self._prepare()
        self._action_space = state["own"]["_action_space"]  # whose samples go on as well


def _simulator(task: Any) -> Any:
    """Return the class of one of Gymnasium's MuJoCo environments."""
    try:
        entry = str(gym.spec(checks.text("task", task)).entry_point)
    except (gym.error.Error, ValueError, AttributeError, ImportError):
        entry = ""
    if not entry.startswith("gymnasium.envs.mujoco."):
        raise ValueError(
            f"task is {checks.printed(task)}; expected the id of one of Gymnasium's MuJoCo environments, such as "
            "'Hopper-v5'."
        )
    try:
        return load(entry)
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        raise ImportError(f"{task} needs MuJoCo: {extras.hint('control')} ({error}).") from error


def _plain(simulator: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments of a simulator in their plain types, by the types of its defaults; unknown names pass.

    Raises:
        ValueError: a value is of another type than the default, not finite, or out of bounds.
    """
    defaults = {name: parameter.default for name, parameter in signature(simulator).parameters.items()}
    return {name: _value(name, checks.plain(value), defaults.get(name)) for name, value in arguments.items()}


def _value(name: str, value: Any, default: Any) -> Any:
    """Return the value of one argument, checked."""
    if name in _SHARED:
        optional = name == "camera_id" and value is None
        return value if optional else checks.integer(name, value, *_SHARED[name])
    if name == "main_body":
        return value if isinstance(value, str) else checks.integer(name, value, 0, 1000)
    if isinstance(default, bool):
        return checks.flag(name, value)
    if isinstance(default, float | int):
        low = 0.0 if name == "reset_noise_scale" else -LARGEST
        return checks.real(name, value, low, 1.0 if name == "reset_noise_scale" else LARGEST)
    if isinstance(default, tuple):  # a range, of which an end may be infinite
        ends = tuple(value) if isinstance(value, list | tuple) else ()
        numbers = [end for end in ends if isinstance(end, float | int) and not isinstance(end, bool)]
        if len(numbers) != len(ends) or len(ends) != 2 or not ends[0] < ends[1]:
            raise ValueError(f"{name} is {checks.printed(value)}; expected two numbers, the first below the second.")
        return ends
    kind = "a path" if name == "xml_file" else "a text" if name == "camera_name" else "a dictionary"
    expected = str if name in ("xml_file", "camera_name") else dict
    known = name in ("xml_file", "camera_name", "default_camera_config", "visual_options")
    if known and not isinstance(value, expected) and (value is not None or name == "xml_file"):
        raise ValueError(f"{name} is {checks.printed(value)}; expected {kind}.")
    return value


def fallen(observation: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Tell where Hopper's episode ends, from observations (..., at least 11): (...) bool.

    It does unless the torso is higher than 0.7 m and leans by less than 0.2 rad, and angles and velocities are within
    100 of 0: Gymnasium's `is_healthy`, which gets velocities before they are clipped to 10 for the observation. Agents
    with a model need it, for their rollouts have no other sign of an episode's end.
    """
    body = np.asarray(observation)[..., :HOPPER]
    upright = (body[..., 0] > 0.7) & (np.abs(body[..., 1]) < 0.2)
    return np.asarray(~(upright & (np.abs(body[..., 1:]) < 100).all(-1)))


def make(
    task: str,
    number: int = 0,
    kind: str = "published",
    scale: float = 1.0,
    coupling: float | None = None,
    map_seed: int = 0,
    **kwargs: Any,
) -> gym.Env[Any, Any]:
    """Make one of Gymnasium's MuJoCo environments, with actions in [-1, 1] and `number` distracting dimensions.

    ## Description
    Hopper, Walker2d, HalfCheetah and InvertedPendulum: larger bodies, to test whether results on tasks with exact
    values hold on them.

    ## Observation
    Gymnasium's Box, followed by `number` distracting dimensions, unbounded.

    ## Action
    Gymnasium's, scaled to [-1, 1] where it is not (InvertedPendulum). Finite numbers beyond are clipped, so that they
    cost no more than they move.

    ## Reward
    Gymnasium's.

    ## Episode end
    Gymnasium's; truncated after 1,000 steps.

    ## Arguments
    | name | type | default | unit | meaning |
    | --- | --- | --- | --- | --- |
    | `task` | str | | | Gymnasium's id, such as "Hopper-v5" |
    | `number` | int | 0 | | distracting dimensions |
    | `kind` | str | "published" | | process of the distractors, as in `Distractors` |
    | `scale` | float | 1.0 | | factor of the process |
    | `coupling` | float or None | None | | strength of the dependence on the action or the physical observation |
    | `map_seed` | int | 0 | | seed of the map |
    | others | | | | arguments of Gymnasium's environment |

    Raises:
        ImportError: the extra `control` is not installed.
        TypeError: Gymnasium's environment has no argument of this name.
        ValueError: an argument is outside its range or unknown.

    ## Oracle and naive scores
    None can be computed: compare returns.

    ## Source
    Voelcker et al. (2022); Gymnasium's environments of version 5.

    ## Version history
    v0: first version.
    """
    simulator = _simulator(task)
    kind, number, scale, coupling, map_seed = checked(kind, number, scale, coupling, map_seed, 0)
    arguments = _plain(simulator, kwargs)
    try:
        body = simulator(**arguments)
    except (OSError, ValueError) as error:
        file = arguments.get("xml_file")
        if file is None:
            raise
        said = " ".join(str(error).split())[:160]
        raise ValueError(f"xml_file is {checks.printed(file)}; expected the file of a MuJoCo model: {said}.") from error
    env = Body(body, arguments)
    return DistractingDimensions(env, kind, number, scale, coupling, map_seed) if number else env
