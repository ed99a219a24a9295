"""Agent side of the sandbox pipe: the script that runs the agent inside a sandbox, without the environment.

It reads messages from standard input and answers on standard output. A message is two lengths, a JSON header and the
bytes of the arrays that the header lists. What the agent prints goes to standard error.

The agent's folder holds `agent.py` with `make(env, seed)`, which returns anything with Stable-Baselines3's `predict`
and, for experiments with a training budget, `learn`. `env` has observation_space, action_space and spec, with the id
and the arguments of the environment, from which the agent can build the rules, never the state. While the agent learns,
it can reset and step `env` over the pipe; the environment itself stays with the board, which counts steps.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

__all__ = [
    "KINDS",
    "LENGTHS",
    "MAX_HEADER",
    "BudgetSpent",
    "PipedEnv",
    "decode",
    "describe",
    "encode",
    "main",
    "observation_arrays",
    "observed",
    "rebuild",
]

LENGTHS = struct.Struct(">IQ")  # lengths of header and arrays, in bytes
KINDS = "biuf"  # kinds of numbers that arrays may hold
MAX_HEADER = 2**24


class BudgetSpent(Exception):
    """Raised when the agent asks for a step beyond its training budget: its learning ends here."""


class PipedEnv(gym.Env[Any, Any]):
    """Environment proxy: spaces and spec are always available, `reset` and `step` only while the agent learns.

    The spec holds the arguments of the experiment, never the folder of human data.
    """

    def __init__(self, hello: dict[str, Any], exchange: Callable[..., tuple[dict[str, Any], dict[str, Any]]]) -> None:
        self.observation_space, self.action_space = rebuild(hello["observation"]), rebuild(hello["action"])
        self.spec = EnvSpec(hello["id"], kwargs=hello["kwargs"])
        self.learning, self._exchange = False, exchange

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a training episode; without a seed, the first one uses that of the run.

        Raises:
            ValueError: options are given.
        """
        if options:
            raise ValueError("options cannot be given over the pipe.")
        header, arrays = self._request({"op": "reset", "seed": None if seed is None else int(seed)})
        return observed(header, arrays), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one training step.

        Raises:
            BudgetSpent: no training steps are left.
        """
        header, arrays = self._request({"op": "step"}, action=action)
        if header["op"] == "spent":
            raise BudgetSpent("the training budget is spent.")
        return observed(header, arrays), header["reward"], header["terminated"], header["truncated"], {}

    def _request(self, header: dict[str, Any], **arrays: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if not self.learning:
            raise RuntimeError("This environment can be reset and stepped only while the board lets the agent learn.")
        return self._exchange(header, **arrays)


def observation_arrays(observation: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header fields and arrays that hold an observation in a message."""
    if isinstance(observation, dict):
        return {"single": False}, {f"o/{name}": value for name, value in observation.items()}
    return {"single": True}, {"observation": observation}


def observed(header: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """Return the observation in a message: the inverse of `observation_arrays`."""
    found = {name: value[()] for name, value in arrays.items()}  # [()] turns arrays without axes into numbers
    return found["observation"] if header["single"] else {name[2:]: value for name, value in found.items()}


def encode(header: dict[str, Any], arrays: dict[str, Any]) -> bytes:
    """Return the bytes of a message."""
    parts = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    listed = [[name, part.dtype.str, list(part.shape)] for name, part in parts.items()]
    head = json.dumps(header | {"arrays": listed}).encode()
    body = b"".join(part.tobytes() for part in parts.values())
    return LENGTHS.pack(len(head), len(body)) + head + body


def decode(head: bytes, body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and arrays of a message; arrays larger than `body` are never allocated.

    Raises:
        ValueError: the message is invalid.
    """
    try:
        header = json.loads(head)
        listed = header.pop("arrays")
        arrays, at = {}, 0
        for name, kind, shape in listed:
            dtype = np.dtype(kind)
            if dtype.kind not in KINDS or dtype.str != kind or not isinstance(name, str):
                raise ValueError("an array of a kind that is not numbers")
            if not all(type(n) is int and 0 <= n < 2**31 for n in shape) or len(shape) > 8:
                raise ValueError("an array of an impossible shape")
            size = dtype.itemsize
            for n in shape:
                size *= n
            if size > len(body) - at:
                raise ValueError("an array larger than its message")
            arrays[name] = np.frombuffer(body, dtype, size // dtype.itemsize, at).reshape(shape).copy()
            at += size
        if at != len(body):
            raise ValueError("bytes that do not belong to an array")
    except Exception as error:  # numpy raises a SyntaxError, too, for texts that are no type
        raise ValueError(f"an invalid message ({str(error)[:80]})") from None
    return header, arrays


def describe(space: Any) -> dict[str, Any]:
    """Return a space as JSON.

    Raises:
        TypeError: the kind of space is not supported.
    """
    if isinstance(space, gym.spaces.Dict):
        return {"kind": "dict", "spaces": {name: describe(part) for name, part in space.items()}}
    if isinstance(space, gym.spaces.Discrete):
        return {"kind": "discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, gym.spaces.MultiDiscrete):
        return {"kind": "multi", "nvec": space.nvec.tolist()}
    if isinstance(space, gym.spaces.Box):
        bounds = {name: getattr(space, name).tolist() for name in ("low", "high")}
        return {"kind": "box", "dtype": space.dtype.str, "shape": list(space.shape), **bounds}
    raise TypeError(f"Space {space} cannot be described to an agent in a sandbox.")


def rebuild(value: dict[str, Any]) -> Any:
    """Return the space for a description: the inverse of `describe`."""
    if value["kind"] == "dict":
        return gym.spaces.Dict({name: rebuild(part) for name, part in value["spaces"].items()})
    if value["kind"] == "discrete":
        return gym.spaces.Discrete(value["n"], start=value["start"])
    if value["kind"] == "multi":
        return gym.spaces.MultiDiscrete(value["nvec"])
    dtype = np.dtype(value["dtype"])
    low, high = (np.array(value[name], dtype).reshape(value["shape"]) for name in ("low", "high"))
    return gym.spaces.Box(low, high, tuple(value["shape"]), dtype.type)


def _read(stream: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        raise SystemExit(0)  # the board has hung up
    head, body = LENGTHS.unpack(lengths)
    return decode(stream.read(head), stream.read(body))


def main() -> None:
    """Make the agent and answer until the board hangs up."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the agent prints goes to standard error
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    def say(header: dict[str, Any], **arrays: Any) -> None:
        answer.write(encode(header, arrays))
        answer.flush()

    def exchange(header: dict[str, Any], **arrays: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        say(header, **arrays)
        return _read(questions)

    try:
        hello, _ = _read(questions)
        env = PipedEnv(hello, exchange)
        sys.path.insert(0, hello["folder"])
        import agent  # type: ignore[import-not-found]

        player = agent.make(env, hello["seed"])
        say({"op": "ready"})
        memory = None
        while True:
            header, arrays = _read(questions)
            if header["op"] == "learn":
                env.learning = True
                if hasattr(player, "learn"):
                    with contextlib.suppress(BudgetSpent):
                        player.learn(header["timesteps"])
                env.learning = False
                say({"op": "learnt"})
                continue
            start = arrays.pop("episode_start").astype(np.bool_)
            action, memory = player.predict(
                observed(header, arrays), state=memory, episode_start=start, deterministic=header["deterministic"]
            )
            say({"op": "action"}, action=action)
    except Exception:
        say({"op": "error", "message": traceback.format_exc()[-2000:]})


if __name__ == "__main__":
    main()
