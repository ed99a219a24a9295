"""Trained models of Stable-Baselines3 and sb3-contrib, read from their zip without unpickling anything.

A zip holds settings as JSON, among them objects as pickles, and tensors. Here the policy is built from the readable
settings and the spaces of the environment, and gets the tensors by `torch.load(weights_only=True)`; the pickles are
never touched. So policies of one's own, whose code is no part of these libraries, come in by `file.py:make` instead,
and so do models that need the statistics of a `VecNormalize`.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from valuegym.agents.base import finite_action
from valuegym.envs import checks, extras

__all__ = ["LIBRARIES", "ZippedPolicy", "is_zip", "load", "members"]

LIBRARIES = ("stable_baselines3", "sb3_contrib")
MAX_BYTES = 2**31  # of tensors, unpacked
MAX_JSON = 2**26
_LAYERS = "stable_baselines3.common.torch_layers"


class ZippedPolicy:
    """A trained policy that only plays: `learn` returns at once, for what it learnt is in the file."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        self.observation_space, self.action_space = policy.observation_space, policy.action_space

    def learn(self, total_timesteps: int) -> ZippedPolicy:
        """Return at once."""
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return actions and, for recurrent policies, their memory.

        Raises:
            ValueError: no finite action follows from an observation that is not finite.
            DivergenceError: the action is not finite.
        """
        action, memory = self.policy.predict(observation, state, episode_start, deterministic)
        return finite_action(action, self, observation), memory


def is_zip(text: str) -> bool:
    """Return whether a text names an algorithm and a model: "sac:model.zip"."""
    algorithm, colon, path = text.partition(":")
    return bool(colon) and algorithm.isidentifier() and path.endswith(".zip")


def _algorithm(name: str) -> Any:
    """Return the class of an algorithm by its name in any case, from one of LIBRARIES."""
    missing: list[str] = []
    names: list[str] = []
    for library in LIBRARIES:
        try:
            module = import_module(library)
        except ImportError:
            missing.append(library)
            continue
        known = {other.lower(): value for other, value in vars(module).items() if hasattr(value, "policy_aliases")}
        if name.lower() in known:
            return known[name.lower()]
        names += known
    rest = f" ({', '.join(missing)} not installed)" if missing else ""
    hint = checks.similar(name, names)
    raise ValueError(f"There is no algorithm {name!r}; expected one of {', '.join(names) or 'none'}{rest}.{hint}")


def members(path: str, most: Mapping[str, int]) -> list[bytes]:
    """Return the contents of members of a zip, each of at most so many bytes.

    Raises:
        ValueError: it is no zip, is damaged, lacks one of them, or one is larger.
    """
    found = []
    try:
        with zipfile.ZipFile(path) as archive:
            for name, limit in most.items():
                if name not in archive.namelist():
                    raise ValueError(f"{path} holds no {name!r}; expected a model saved by Stable-Baselines3's save().")
                with archive.open(name) as stream:
                    content = stream.read(limit + 1)
                if len(content) > limit:
                    raise ValueError(f"{path}: {name} has more than {limit} bytes; no more are read.")
                found.append(content)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no model saved by Stable-Baselines3: {error}") from None
    return found


def _class_name(text: Any) -> str:
    """Return "module.Class" from "<class 'module.Class'>", "" for any other text."""
    return text[8:-2] if isinstance(text, str) and text.startswith("<class '") and text.endswith("'>") else ""


def _policy_arguments(settings: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the arguments of the policy, with classes looked up where they are torch's or SB3's own."""
    import torch

    found: dict[str, Any] = {}
    for name, value in settings.items():
        if name in (":type:", ":serialized:", "optimizer_class", "optimizer_kwargs"):
            continue  # the optimiser does not play
        module, _, text = _class_name(value).rpartition(".")
        if name == "activation_fn" and module == "torch.nn.modules.activation" and hasattr(torch.nn, text):
            value = getattr(torch.nn, text)
        elif name == "features_extractor_class" and module == _LAYERS:
            value = getattr(import_module(_LAYERS), text)
        elif isinstance(value, str):
            raise ValueError(
                f"{path} was trained with {name}={value[:80]}, which cannot be read without unpickling; write a file "
                "with a function make(env, seed) that loads the model, and name it by FILE.py:make."
            )
        found[name] = value
    return found


def _policy_class(algorithm: Any, about: Any, path: str) -> Any:
    """Return the algorithm's own policy class that a description names."""
    about = about if isinstance(about, dict) else {}
    words = str(about.get("__init__", "")).removeprefix("<function ").split(".")
    for policy in algorithm.policy_aliases.values():
        if policy.__module__ == about.get("__module__") and policy.__init__.__qualname__.split(".")[0] == words[0]:
            return policy
    raise ValueError(
        f"{path} holds a policy of {about.get('__module__', 'an unknown module')}, which is none of "
        f"{algorithm.__name__}'s own ({', '.join(algorithm.policy_aliases)}); write a file with a function "
        "make(env, seed) that loads the model, and name it by FILE.py:make."
    )


def _check_space(what: str, saved: Any, space: Any, path: str) -> None:
    """Compare the printed parts of a saved space with the space of the environment."""
    saved = saved if isinstance(saved, dict) else {}
    for part, here in (
        (":type:", str(type(space))),
        ("_shape", list(space.shape) if space.shape is not None else None),
        ("spaces", str(getattr(space, "spaces", ""))),  # of a dictionary, in the order that the weights have
        ("nvec", str(getattr(space, "nvec", ""))),
        ("start", str(getattr(space, "start", ""))),
        ("n", str(getattr(space, "n", ""))),
        ("low", str(getattr(space, "low", ""))),
        ("high", str(getattr(space, "high", ""))),
    ):
        there = saved.get(part)
        if part == "spaces" and not str(there).startswith("{"):
            continue  # versions of Gymnasium print it in other ways
        if there is not None and here not in ("", None) and str(there) != str(here):
            raise ValueError(
                f"{path} was trained with another {what} space than {space}: its {part.strip(':_')} is "
                f"{str(there)[:120]}; choose the track whose environment it was trained in."
            )


def load(text: str, env: Any) -> ZippedPolicy:
    """Return the policy that "ALGORITHM:FILE.zip" names, for an environment.

    Args:
        text: an algorithm of Stable-Baselines3 or sb3-contrib in any case, a colon, and the file.
        env: the environment in which it will play; its spaces have to be those of the training.

    Raises:
        ValueError: the file is no model of this algorithm, does not fit the environment, or needs code of its own.
        ImportError: the extra `agents` is not installed.
    """
    name, _, path = text.partition(":")
    try:
        import torch
        from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
        from stable_baselines3.common.vec_env import VecTransposeImage
    except ImportError as error:
        raise ImportError(f"{text} needs an extra: {extras.hint('agents')} ({error}).") from error
    algorithm = _algorithm(name)
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}; expected ALGORITHM:FILE.zip.")
    try:
        data, content = members(path, {"data": MAX_JSON, "policy.pth": MAX_BYTES})
        settings = json.loads(data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no model saved by Stable-Baselines3: {error}") from None
    if not isinstance(settings, dict):
        raise ValueError(f"{path} is no model saved by Stable-Baselines3: its settings are no object.")
    policy_class = _policy_class(algorithm, settings.get("policy_class"), path)
    space = getattr(env, "single_observation_space", env.observation_space)
    actions = getattr(env, "single_action_space", env.action_space)

    def as_trained(space: Any) -> Any:  # images with channels first, in dictionaries too, as Stable-Baselines3 has them
        if isinstance(space, gym.spaces.Dict):
            space = deepcopy(space)  # a new one could have another order of names, and so have the weights
            space.spaces.update({name: as_trained(part) for name, part in space.spaces.items()})
            return space
        last = is_image_space(space) and not is_image_space_channels_first(space)
        return VecTransposeImage.transpose_space(space) if last else space

    space = as_trained(space)
    _check_space("observation", settings.get("observation_space"), space, path)
    _check_space("action", settings.get("action_space"), actions, path)
    kwargs = settings.get("policy_kwargs") or {}
    arguments = _policy_arguments(kwargs if isinstance(kwargs, dict) else {}, path)
    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        policy = policy_class(space, actions, lambda _: 0.0, **arguments)
        policy.load_state_dict(tensors)
    except Exception as error:  # torch and the policies have many
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} does not fit {algorithm.__name__} in this environment: {reason}") from error
    if not all(np.isfinite(value.numpy()).all() for value in policy.state_dict().values()):
        raise ValueError(f"{path} holds weights that are not finite; the training has diverged.")
    policy.set_training_mode(False)
    return ZippedPolicy(policy)
