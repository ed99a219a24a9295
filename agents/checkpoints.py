"""States of trainings in files, so that a training which was killed goes on where it was, without pickle.

An agent can resume if it has

    training_state()              all that its learning depends on: a tree of dictionaries and lists of arrays, tensors,
                                  numbers and texts
    resume(state)                 makes the next call of `learn(total_timesteps)` go on from there, to the same total
    after_step                    None, or a function that `learn` calls with the agent wherever `training_state` holds:
                                  between two steps, or two rollouts

The environment is no part of the state: its actions are kept (`EnvLog`), and played again when the training resumes.
A digest of all observations and rewards says whether it did the same. Files are arrays and JSON in the format
safetensors (`valuegym.agents.tensors`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents import tensors

__all__ = ["EnvLog", "adam_state", "can_resume", "decode", "encode", "fitting", "load_adam_state", "replay"]

FORMAT = 1
_AS = {"bool": "uint8", "uint32": "int64", "int8": "int32", "int16": "int32", "uint16": "int32", "float16": "float32"}
_ARRAY = "array"  # the only name of a dictionary that stands for an array


def can_resume(agent: Any) -> bool:
    """Return whether a training of this agent can go on from a state."""
    return hasattr(agent, "after_step") and all(
        callable(getattr(agent, name, None)) for name in ("training_state", "resume")
    )


class EnvLog(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that keeps its resets and actions, and a digest of what it answered."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.resets: list[tuple[int, int | None]] = []  # after how many actions, and with which seed
        self.actions: list[npt.NDArray[Any]] = []
        self.unknown = ""  # what keeps this log from being played again
        self._digest = hashlib.sha256()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        if options:
            self.unknown = "it was reset with options"
        self.resets.append((len(self.actions), seed))
        self._note(observation)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take one step."""
        try:
            kept = np.array(action)
        except ValueError:  # parts of several shapes
            kept = np.array(None)
        if kept.dtype.hasobject:
            self.unknown = "its actions are no arrays"
        self.actions.append(kept)
        found = self.env.step(action)
        self._note(found[0], float(found[1]), bool(found[2]), bool(found[3]))
        return found

    def _note(self, observation: Any, *values: float) -> None:
        for part in _parts(observation):
            self._digest.update(np.ascontiguousarray(part).tobytes())
        self._digest.update(repr(values).encode())

    def state(self) -> dict[str, Any]:
        """Return what `replay` needs."""
        actions = np.stack(self.actions) if self.actions else np.zeros(0)
        return {"resets": [list(one) for one in self.resets], "actions": actions, "digest": self._digest.hexdigest()}

    def digest(self) -> str:
        """Return the digest of all observations and rewards so far."""
        return self._digest.hexdigest()


def _parts(observation: Any) -> Iterator[Any]:
    """Give the arrays of an observation, which may lie in dictionaries and tuples of any depth."""
    if isinstance(observation, Mapping):
        observation = tuple(observation.values())
    if isinstance(observation, tuple):
        for part in observation:
            yield from _parts(part)
    else:
        yield observation


def replay(env: gym.Env[Any, Any], log: EnvLog, state: Mapping[str, Any]) -> None:
    """Play the resets and actions of a log again, in an environment that stands around a fresh one.

    Raises:
        ValueError: the environment answers otherwise than it did.
    """
    actions, resets = state["actions"], [tuple(one) for one in state["resets"]]
    try:
        for step in range(len(actions) + 1):
            while resets and resets[0][0] == step:
                env.reset(seed=resets.pop(0)[1])
            if step < len(actions):
                env.step(actions[step])
        same = log.digest() == state["digest"]
    except gym.error.Error:  # an episode ended at another step
        same = False
    if not same:
        raise ValueError("the environment did something else when the same actions were played again")


@contextmanager
def fitting() -> Iterator[None]:
    """Turn whatever goes wrong in the block with a state of other settings into one error.

    Raises:
        ValueError: something did.
    """
    wrong = (KeyError, IndexError, AttributeError, AssertionError, RuntimeError, TypeError, ValueError)
    try:
        yield
    except wrong as error:
        raise ValueError(f"the state does not fit this agent: {' '.join(str(error).split())[:300]}") from None


# --- optimisers of torch ---


def adam_state(optimiser: Any) -> list[dict[str, Any]]:
    """Return the moments of an optimiser of torch, by parameter; none before its first step."""
    state = optimiser.state_dict()["state"]
    return [state.get(i, {}) for i in range(sum(len(group["params"]) for group in optimiser.param_groups))]


def load_adam_state(optimiser: Any, state: list[dict[str, Any]]) -> None:
    """Give an optimiser of torch the moments that `adam_state` returned; its settings stay.

    Raises:
        ValueError: they are of other parameters.
    """
    import torch

    groups = optimiser.state_dict()["param_groups"]
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    if len(parameters) != len(state):
        raise ValueError(f"an optimiser has {len(parameters)} parameters, and the state {len(state)}")
    moments: dict[int, Any] = {}
    for i, (parameter, one) in enumerate(zip(parameters, state, strict=True)):
        if one:
            moments[i] = {name: torch.as_tensor(value) for name, value in one.items()}
            if any(value.ndim and value.shape != parameter.shape for value in moments[i].values()):
                raise ValueError("an optimiser has parameters of other shapes than the state")
    optimiser.load_state_dict({"state": moments, "param_groups": groups})


# --- files ---


def encode(state: Any, about: Mapping[str, Any]) -> bytes:
    """Return the file of a state.

    Args:
        state: a tree of dictionaries with names, lists, arrays, tensors, numbers and texts.
        about: whose training it is, as JSON.

    Raises:
        ValueError: the state holds anything else.
    """
    arrays: dict[str, npt.NDArray[Any]] = {}
    tree = _lay(state, "state", arrays)
    text = json.dumps({"format": FORMAT, "about": dict(about), "state": tree}, allow_nan=False)
    return tensors.encode(arrays, {"valuegym-training": text})


def _lay(value: Any, name: str, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """Return a tree as JSON, its arrays moved to `arrays`."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | np.generic):
        kind = value.dtype.name  # without the order of bytes
        arrays[name] = np.asarray(value).astype(_AS.get(kind, kind))
        return {_ARRAY: [name, kind]}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value) or list(value) == [_ARRAY]:
            raise ValueError(f"{name} has the keys {list(value)[:9]}; expected names.")
        return {key: _lay(inner, f"{name}.{key}", arrays) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_lay(inner, f"{name}.{i}", arrays) for i, inner in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{name} is a {type(value).__name__}; expected an array, a number or a text.")


def decode(path: Path) -> tuple[Any, dict[str, Any]]:
    """Return the state in a file, its arrays those of numpy and its tuples lists, and whose training it is.

    Raises:
        ValueError: it is no such file; the message begins with its path.
    """
    try:
        arrays, metadata = tensors.decode(path.read_bytes())
        found = json.loads(metadata["valuegym-training"])
        if found["format"] != FORMAT:
            raise ValueError(f"it has format {found['format']}; this version of valuegym reads format {FORMAT}")
        about = dict(found["about"])
        return _fetch(found["state"], arrays), about
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no state of a training: {str(error).rstrip('.')}.") from None


def _fetch(tree: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Return a tree with its arrays in their places."""
    if isinstance(tree, dict):
        if list(tree) == [_ARRAY]:
            name, kind = tree[_ARRAY]
            if kind not in _AS and kind != str(arrays[name].dtype):
                raise ValueError(f"{name[:80]!r} is said to hold {str(kind)[:20]}")
            return arrays[name].astype(kind)
        return {key: _fetch(inner, arrays) for key, inner in tree.items()}
    if isinstance(tree, list):
        return [_fetch(inner, arrays) for inner in tree]
    return tree
