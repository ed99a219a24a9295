"""Native vector environments as Stable-Baselines3 takes them: one array expression steps all rows.

`DummyVecEnv` steps scalar environments one after another; here the rows of a native vector environment (of valuegym, or
any of Gymnasium's in mode SAME_STEP) go to Stable-Baselines3 as they are. Row i, seeded with s, is the scalar
environment seeded with s + i, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from valuegym.envs import checks

__all__ = ["NativeVecEnv", "make"]


class NativeVecEnv(VecEnv):
    """A Gymnasium vector environment as a `VecEnv`, with the returns and lengths of episodes as `VecMonitor` adds them.

    Args:
        envs: the vector environment; finished rows have to be reset in the same step (`AutoresetMode.SAME_STEP`), as
            Stable-Baselines3 expects it.

    Raises:
        ValueError: the environment resets finished rows in another mode.
    """

    def __init__(self, envs: VectorEnv[Any, Any, Any]) -> None:
        mode = envs.metadata.get("autoreset_mode", getattr(envs, "autoreset_mode", None))
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"The environment resets finished rows in mode {mode}; make it with "
                "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP."
            )
        self.envs = envs
        self.render_mode = envs.render_mode
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)
        self.metadata = {**envs.metadata, **self.metadata}  # films have the pace of the environment
        self._returns, self._lengths = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)

    def reset(self) -> Any:
        """Start an episode in every row, with the seeds and options given by `seed` and `set_options`."""
        seeds = self._seeds if any(seed is not None for seed in self._seeds) else None
        options: dict[str, Any] = {}
        for row in self._options:
            options.update(row)
        # Gymnasium annotates one seed only, and takes one for each row.
        observation, info = self.envs.reset(seed=seeds, options=options or None)  # type: ignore[arg-type]
        self.reset_infos = self._split(info)
        self._returns[:], self._lengths[:] = 0.0, 0
        self._reset_seeds()
        self._reset_options()
        return observation

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
        """Take one step in every row; finished rows give the first observation of their next episode.

        Their info holds "terminal_observation", "TimeLimit.truncated" and "episode", with return r and length l.
        """
        observation, reward, terminated, truncated, info = self.envs.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        finished = np.flatnonzero(done)
        infos = self._split(info)
        for i in finished.tolist():
            infos[i]["terminal_observation"] = info["final_obs"][i]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
            infos[i]["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i])}
        self._returns[finished], self._lengths[finished] = 0.0, 0
        return observation, np.asarray(reward, np.float32), done, infos

    def _split(self, info: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the information of each row; entries about finished rows are handled apart."""
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for name, values in info.items():
            if name.startswith(("final_", "_")):
                continue
            there = info.get(f"_{name}", np.ones(self.num_envs, np.bool_))
            for i in np.flatnonzero(there).tolist():
                infos[i][name] = values[i]
        return infos

    def close(self) -> None:
        """Close the environment."""
        self.envs.close()

    def get_images(self) -> Sequence[Any]:
        """Return one picture per row."""
        return self.envs.render() or []

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the vector environment, once for each row asked for."""
        return [getattr(self.envs, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the vector environment, which all rows share.

        Raises:
            ValueError: only some rows are named.
        """
        if len(list(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"{attr_name} belongs to all rows together; set it without indices.")
        setattr(self.envs, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method of the vector environment once, and return its result for each row asked for."""
        return [getattr(self.envs, method_name)(*args, **kwargs)] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return whether rows are wrapped: they are not, but episodes are monitored here as `Monitor` does it."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor] * len(list(self._get_indices(indices)))

    def _get_indices(self, indices: Any) -> Iterable[int]:
        if indices is None:
            return range(self.num_envs)
        return [indices] if isinstance(indices, int) else indices


def make(id: str, num_envs: int, seed: int | None = None, **kwargs: Any) -> NativeVecEnv:
    """Make a native vector environment for Stable-Baselines3.

    Args:
        id: of a registered environment with a native vector environment.
        num_envs: rows, at least 1.
        seed: of the first row at the first reset; row i gets seed + i. None for a random one.
        **kwargs: arguments of the environment.

    Raises:
        ValueError: `num_envs` or `seed` is no sensible number, or an argument is refused.
    """
    checks.integer("num_envs", num_envs, 1)
    envs: Any = gym.make_vec(
        id,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        autoreset_mode=AutoresetMode.SAME_STEP,
        **kwargs,
    )
    found = NativeVecEnv(envs)
    if seed is not None:
        found.seed(checks.integer("seed", seed, 0))
    return found
