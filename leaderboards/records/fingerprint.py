"""Fingerprints: the digest of an environment, and the versions that a record was made with."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import valuegym.envs
from valuegym.envs import ENVS, THIRD_PARTY, keys
from valuegym.envs.registration import has_core
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.simulators import golden_trace, quantised

__all__ = ["environment_digest", "provenance", "track_digest"]

Array = npt.NDArray[Any]

ROWS, STEPS = 4, 24


def _actions(space: Any, t: int) -> Array:
    """Return the actions of the golden trace, by hashing, for the generators of numpy may change."""
    key = keys.mix(0, np.arange(ROWS), t)
    if isinstance(space, gym.spaces.Discrete):
        return keys.integers(key, int(space.n))
    draws = keys.uniform(key[:, None], np.arange(int(np.prod(space.shape)))).reshape(ROWS, *space.shape)
    actions: Array = (space.low + draws * (space.high - space.low)).astype(space.dtype)
    return actions


@lru_cache
def environment_digest(env_id: str, arguments: str, data: str | None = None, repeatable: bool = True) -> str:
    """Return the SHA-256 by which two machines can tell whether they mean the same environment.

    It covers id, arguments (JSON), hashes of the data, and a quantised trace of ROWS environments, STEPS long; that of
    an environment without a core its spaces, and the trace of one environment where it is `repeatable`.
    """
    kwargs = json.loads(arguments)
    if not has_core(env_id):
        digest = hashlib.sha256(json.dumps([env_id, kwargs], sort_keys=True).encode())
        golden_trace(digest, env_id, kwargs, repeatable)
        return digest.hexdigest()
    folder: dict[str, Any] = {"data": data} if data else {}
    envs: Any = gym.make_vec(env_id, num_envs=ROWS, **kwargs, **folder)
    core = envs.unwrapped.core
    human = getattr(core, "human", None)
    content = [*(human.sha256 if human else ()), *getattr(core, "hashes", ())]
    digest = hashlib.sha256(json.dumps([env_id, kwargs, content], sort_keys=True).encode())

    def absorb(observation: Any) -> None:
        for name, value in sorted(observation.items()) if isinstance(observation, dict) else [("", observation)]:
            digest.update(name.encode() + quantised(value))

    absorb(envs.reset(seed=0)[0])
    for t in range(STEPS):
        observation, reward, terminated, truncated, _ = envs.step(_actions(core.action_space, t))
        absorb(observation)
        for value in (reward, terminated, truncated):
            digest.update(quantised(value))
    return digest.hexdigest()


def track_digest(what: Experiment, data: str | None = None) -> str:
    """Return the digest of a track's environment; that of anybody else's is made each time, for code may change."""
    known = what.env_id in ENVS or what.env_id in THIRD_PARTY
    digest = environment_digest if known else environment_digest.__wrapped__
    return digest(what.env_id, what.arguments, data if what.data else None, what.deterministic)


@lru_cache
def provenance() -> dict[str, Any]:
    """Return versions and a hash of the environments' source: they explain a difference, they never reject a record."""
    source = hashlib.sha256()
    folder = Path(valuegym.envs.__file__).parent
    for path in sorted(folder.rglob("*.py")):
        source.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    packages = {}
    for name in ("gymnasium", "numpy", "scipy", "stable-baselines3", "torch"):
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "valuegym": valuegym.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "packages": packages,
        "source": source.hexdigest(),
    }
