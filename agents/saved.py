"""Trained agents of valuegym in files: what they learnt, and what made them.

A file holds arrays alone (`valuegym.agents.tensors`) and, as JSON, the agent's name, settings, seed, and the
environment that it was trained in. Loading makes an agent of this name and gives it the arrays; no code and no pickle
is read from the file. Algorithms of Stable-Baselines3 are in their own zip, with the same JSON beside them, of which
`sb3_zip` reads what it can without unpickling.

An agent can be saved if it has `state_dict()`, which returns arrays or tensors by name, and `load_state_dict(state)`,
as PyTorch's modules have them. Those that learn while they act keep nothing, and settings and seed are enough.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from valuegym.agents import sb3_zip, tensors
from valuegym.agents.base import Agent, BatchAgent

__all__ = ["SavedAgent", "encode", "is_saved", "load", "path_of", "read_about", "suffix"]

PREFIX = "saved:"
MEMBER = "valuegym.json"  # in a zip; in other files the same text is metadata called "valuegym"
FORMAT = 1
MAX_BYTES = 2**31
MAX_JSON = 2**20


class SavedAgent:
    """A trained agent that only plays: `learn` returns at once, for what it learnt is in the file."""

    def __init__(self, agent: Any, about: dict[str, Any]) -> None:
        self.agent, self.about = agent, about

    def learn(self, total_timesteps: int) -> SavedAgent:
        """Return at once."""
        return self

    def attach(self, env: Any) -> None:
        """Play in another environment from now on, if the agent needs to know it."""
        if hasattr(self.agent, "attach"):
            self.agent.attach(env)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the agent's actions and its memory."""
        answer: tuple[Any, Any] = self.agent.predict(
            observation, state=state, episode_start=episode_start, deterministic=deterministic
        )
        return answer


def is_saved(text: str) -> bool:
    """Return whether a text names a saved agent: "saved:FILE"."""
    return text.startswith(PREFIX) and len(text) > len(PREFIX)


def path_of(text: str) -> Path:
    """Return the file that "saved:FILE" names."""
    return Path(text.removeprefix(PREFIX)).expanduser()


def _algorithm(agent: Any) -> str:
    """Return the name of the algorithm of Stable-Baselines3 or sb3-contrib that an agent is, "" for none."""
    for kind in type(agent).__mro__:
        if kind.__module__.split(".")[0] in sb3_zip.LIBRARIES and hasattr(agent, "policy_aliases"):
            return kind.__name__.lower()
    return ""


def suffix(agent: Any) -> str:
    """Return the suffix of the file for an agent: that of Stable-Baselines3's models, or of arrays."""
    return ".zip" if _algorithm(agent) else ".safetensors"


def _spaces(env: Any) -> dict[str, str]:
    observation = getattr(env, "single_observation_space", env.observation_space)
    return {"observation": str(observation), "action": str(getattr(env, "single_action_space", env.action_space))}


def encode(
    agent: Any, name: str, env: Any, seed: int = 0, settings: Mapping[str, Any] | None = None, **about: Any
) -> bytes:
    """Return the file of a trained agent, to be written under a name that ends with `suffix(agent)`.

    Args:
        agent: what is saved.
        name: by which `make` makes an agent like it: one of valuegym, or a plug-in PACKAGE.PLUGIN.
        env: the environment that it was trained in.
        seed: with which it was made.
        settings: with which it was made; "device" is left out, for a saved agent plays on the CPU.
        **about: what else the file should say of it, as JSON, such as the track and the steps of training.

    Raises:
        ValueError: the agent is named by a file or module, does not say what it has learnt, or a setting is no JSON.
    """
    if ":" in name:
        raise ValueError(
            f"{name} cannot be saved, for a file names no code; save the weights in your own way, and write a function "
            "make(env, seed) that loads them."
        )
    kept = {key: value for key, value in (settings or {}).items() if key != "device"}
    described = {"format": FORMAT, "agent": name, "seed": seed, "settings": kept, "spaces": _spaces(env), **about}
    algorithm = _algorithm(agent)
    try:
        text = json.dumps(described | ({"algorithm": algorithm} if algorithm else {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The settings of {name} cannot be written as JSON: {error}.") from None
    if algorithm:
        stream = io.BytesIO()
        agent.save(stream)
        with zipfile.ZipFile(stream, "a") as archive:
            archive.writestr(MEMBER, text)
        return stream.getvalue()
    return tensors.encode(_state(agent, name), {"valuegym": text})


def _state(agent: Any, name: str) -> dict[str, Any]:
    """Return the arrays that an agent has learnt, on the CPU."""
    if hasattr(agent, "state_dict"):
        return {
            key: np.array(value.detach().cpu().numpy() if hasattr(value, "detach") else value)
            for key, value in agent.state_dict().items()
        }
    if isinstance(agent, BatchAgent) and type(agent).learn is BatchAgent.learn:
        return {}
    raise ValueError(
        f"{name} cannot be saved: {type(agent).__name__} has no state_dict(), which returns what it has learnt as "
        "arrays by name, and load_state_dict(state)."
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a file says of its agent, and its arrays; of a zip the former alone."""
    if not path.is_file():
        raise ValueError(f"There is no file {path}; expected saved:FILE of an agent that `valuegym train` saved.")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; at most {MAX_BYTES} are read.")
    content = path.read_bytes()
    arrays: dict[str, Any] = {}
    try:
        if content[:2] == b"PK":
            [text] = sb3_zip.members(str(path), {MEMBER: MAX_JSON})
        else:
            arrays, metadata = tensors.decode(content)
            text = metadata.get("valuegym", "null").encode()
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no saved agent: {str(error).rstrip('.')}.") from None
    wanted = {"format": int, "agent": str, "seed": int, "settings": dict, "spaces": dict}
    if not isinstance(about, dict) or not all(type(about.get(name)) is kind for name, kind in wanted.items()):
        raise ValueError(f"{path} is no saved agent: it does not say which agent it is, or how it was made.")
    if about["format"] != FORMAT:
        raise ValueError(f"{path} has format {about['format']}; this version of valuegym reads format {FORMAT}.")
    algorithm = about.get("algorithm", "-")
    if ":" in about["agent"] or not isinstance(algorithm, str) or ("algorithm" in about) != (content[:2] == b"PK"):
        raise ValueError(f"{path} names {about['agent'][:80]!r}, which is no agent of valuegym or of a plug-in.")
    return about, arrays


def read_about(text: str) -> dict[str, Any]:
    """Return what the file of "saved:FILE" says of its agent; nothing of it is made.

    Raises:
        ValueError: there is no such file, or it is no saved agent.
    """
    return _read(path_of(text))[0]


def load(text: str, env: Any, make: Callable[..., Agent]) -> SavedAgent:
    """Return the agent that "saved:FILE" names, for an environment.

    Args:
        text: "saved:" and the file.
        env: the environment in which it will play.
        make: make(name, env, seed, **settings) makes an agent of this name (`references.make`).

    Raises:
        ValueError: there is no such file, it is no saved agent, or it does not fit the environment.
        ImportError: the agent needs an extra that is not installed.
    """
    path = path_of(text)
    about, arrays = _read(path)
    learnt = bool(arrays) or "algorithm" in about
    for what, here in _spaces(env).items() if learnt else ():
        if about["spaces"].get(what) != here:
            raise ValueError(
                f"{path} was trained with the {what} space {str(about['spaces'].get(what))[:120]}, not {here}; choose "
                "the track whose environment it was trained in."
            )
    if "algorithm" in about:
        return SavedAgent(sb3_zip.load(f"{about['algorithm']}:{path}", env), about)
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise ValueError(f"{path} holds numbers that are not finite; the training has diverged.")
    try:
        agent: Any = make(about["agent"], env, seed=about["seed"], **about["settings"])
    except (TypeError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} holds settings that {about['agent']} does not take: {reason}") from None
    if arrays and not hasattr(agent, "load_state_dict"):
        raise ValueError(f"{path} holds arrays, and {about['agent']} learns none.")
    if hasattr(agent, "load_state_dict"):
        try:
            agent.load_state_dict(arrays)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"{path} does not fit {about['agent']} as this version makes it: {reason}") from None
    return SavedAgent(agent, about)
