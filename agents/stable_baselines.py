"""Algorithms of Stable-Baselines3 that stop when they diverge."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor

from valuegym.agents.base import TrainingEnv, check_seed, finite_action
from valuegym.agents.checkpoints import adam_state, fitting, load_adam_state
from valuegym.agents.control.finite import all_sound, diverged
from valuegym.envs import checks

__all__ = ["Watched"]


class Watched:
    """Mixin for algorithms of Stable-Baselines3: they stop when they diverge, and own their observations.

    Its place is before the algorithm: `class MyPPO(Watched, PPO)`.

    Raises:
        ValueError: the seed is no integer from 0 to 2**32 - 1, or another number is not finite.
    """

    policy: Any
    num_timesteps: int
    seed: Any
    env: Any
    use_sde: bool
    action_space: Any
    _last_obs: Any
    _last_episode_starts: Any
    _get_torch_save_params: Callable[[], tuple[list[str], list[str]]]

    def __init__(self, policy: Any, env: Any, *args: Any, seed: Any = None, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            if isinstance(value, float):
                checks.real(name, value)
        own = TrainingEnv(env) if isinstance(env, gym.Env) else env
        self.after_step: Callable[[Any], None] | None = None
        self._resumed = False
        super().__init__(policy, own, *args, seed=None if seed is None else check_seed(seed), **kwargs)  # type: ignore[call-arg]

    def learn(self, total_timesteps: int, *args: Any, **kwargs: Any) -> Any:
        """Train for this many steps; after `resume`, for those that are left of them.

        Raises:
            ValueError: the number of steps is no integer of at least 0.
            DivergenceError: a part of the policy, an observation or a reward is not finite.
        """
        left = checks.integer("total_timesteps", total_timesteps, 0)
        if self._resumed:
            left, self._resumed = left - self.num_timesteps, False
            kwargs["reset_num_timesteps"] = False
        if self.after_step is not None:
            kwargs["callback"] = [_AfterRollout(self), *([kwargs["callback"]] if kwargs.get("callback") else [])]
        try:
            found = super().learn(left, *args, **kwargs)  # type: ignore[misc]
        except ValueError:  # PyTorch refuses distributions with parameters that are not finite
            self.check_finite()
            raise
        self.check_finite()
        return found

    def train(self, *args: Any, **kwargs: Any) -> None:
        """Update the policy once.

        Raises:
            DivergenceError: a part of the policy is not finite.
        """
        super().train(*args, **kwargs)  # type: ignore[misc]
        self.check_finite()

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Return actions as the algorithm does.

        Raises:
            ValueError: no finite action follows from an observation that is not finite.
            DivergenceError: the action or a part of the policy is not finite.
        """
        try:
            action, state = super().predict(observation, *args, **kwargs)  # type: ignore[misc]
        except ValueError:
            self.check_finite()
            raise
        return finite_action(action, self, observation), state

    def check_finite(self) -> None:
        """Raise an error if the policy is not finite.

        Raises:
            DivergenceError: a part of it is not; the message names it.
        """
        parameters = dict(self.policy.named_parameters())
        entropy = getattr(self, "log_ent_coef", None)
        if entropy is not None:
            parameters["entropy coefficient"] = entropy
        if not all_sound(parameters.values()):
            wrong = {name.split(".")[0] for name, value in parameters.items() if not all_sound([value])}
            raise diverged(self, self.seed, self.num_timesteps, sorted(wrong))

    # --- states of trainings ---

    def training_state(self) -> dict[str, Any]:
        """Return all that learning depends on besides the environment, between two rollouts (`agents.checkpoints`).

        The random numbers of torch, numpy and Python are part of it, because Stable-Baselines3 draws from their global
        generators.

        Raises:
            ValueError: settings keep states elsewhere: noise of actions, or noise that depends on states (use_sde).
        """
        import torch

        if self.use_sde or getattr(self, "action_noise", None) is not None:
            raise ValueError("with noise of its own, use_sde or action_noise, a training cannot be resumed")
        modules, variables = self._get_torch_save_params()
        monitor = self._monitor()
        state: dict[str, Any] = {
            "modules": {name: _module_state(_find(self, name)) for name in modules},
            "variables": {name: _find(self, name) for name in variables},
            "counters": {name: getattr(self, name) for name in _COUNTERS},
            "observation": self._last_obs,
            "starts": self._last_episode_starts,
            "episode": monitor.rewards if monitor is not None else [],
            "random": {
                "torch": torch.get_rng_state(),
                "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 - that which Stable-Baselines3 draws from
                "python": random.getstate(),
                "actions": self.action_space.np_random.bit_generator.state,
            },
        }
        buffer = getattr(self, "replay_buffer", None)
        if buffer is not None:
            rows = buffer.buffer_size if buffer.full else buffer.pos
            state["buffer"] = {name: getattr(buffer, name)[:rows] for name in _COLUMNS}
            state["buffer"] |= {"pos": buffer.pos, "full": buffer.full}
        return state

    def resume(self, state: Mapping[str, Any]) -> None:
        """Let the next call of `learn` go on from a state, with the same total of steps.

        On the same machine, with the same versions, it ends with the same bits.

        Raises:
            ValueError: the state is one of other settings.
        """
        import torch

        modules, variables = self._get_torch_save_params()
        with fitting():
            for name in modules:
                _load_module_state(_find(self, name), state["modules"][name])
            for name in variables:
                _find(self, name).data.copy_(torch.as_tensor(state["variables"][name]))
            buffer = getattr(self, "replay_buffer", None)
            if buffer is not None:
                for name in _COLUMNS:
                    rows = state["buffer"][name]
                    getattr(buffer, name)[: len(rows)] = rows
                buffer.pos, buffer.full = state["buffer"]["pos"], state["buffer"]["full"]
            self.policy.obs_to_tensor(state["observation"])
            if np.shape(state["starts"]) != (1,):
                raise ValueError(f"starts has shape {np.shape(state['starts'])}")
        for name in _COUNTERS:
            setattr(self, name, state["counters"][name])
        self._last_obs, self._last_episode_starts = state["observation"], state["starts"]
        monitor = self._monitor()
        if monitor is not None:
            monitor.rewards, monitor.needs_reset = list(state["episode"]), False
        draws = state["random"]
        version, numbers, gauss = draws["python"]
        random.setstate((version, tuple(numbers), gauss))
        np.random.set_state(draws["numpy"])  # noqa: NPY002
        torch.set_rng_state(torch.as_tensor(draws["torch"]))
        self.action_space.np_random.bit_generator.state = draws["actions"]
        self._resumed = True

    def _monitor(self) -> Any:
        """Return Stable-Baselines3's monitor around the environment, None where there is none."""
        [env] = self.env.envs
        while isinstance(env, gym.Wrapper) and not isinstance(env, Monitor):
            env = env.env
        return env if isinstance(env, Monitor) else None

    def _excluded_save_params(self) -> list[str]:
        """Return what is no part of a saved model."""
        return [*super()._excluded_save_params(), "after_step", "_resumed"]  # type: ignore[misc]


_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")
_COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class _AfterRollout(BaseCallback):
    """Calls the function `after_step` of an agent before each rollout but the first, when nothing is half done."""

    def __init__(self, agent: Any) -> None:
        super().__init__()
        self.agent = agent

    def _on_rollout_start(self) -> None:
        if self.agent.num_timesteps:
            self.agent.after_step(self.agent)

    def _on_step(self) -> bool:
        return True


def _find(agent: Any, name: str) -> Any:
    return attrgetter(name)(agent)


def _module_state(module: Any) -> Any:
    """Return the state of a network or an optimiser."""
    return adam_state(module) if hasattr(module, "param_groups") else module.state_dict()


def _load_module_state(module: Any, state: Any) -> None:
    import torch

    if hasattr(module, "param_groups"):
        load_adam_state(module, state)
    else:
        module.load_state_dict({name: torch.as_tensor(value) for name, value in state.items()})
