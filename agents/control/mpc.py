"""Planning with the learned model: the best of random action sequences, with the critics' values at their end.

Source: Chua et al. (2018), "Deep reinforcement learning in a handful of trials using probabilistic dynamics models",
with a terminal value as in Lowrey et al. (2019), "Plan online, learn offline".
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from valuegym.agents.control.actor_critic import SoftActorCritic
from valuegym.agents.control.ensemble import Ensemble
from valuegym.agents.control.finite import all_finite
from valuegym.agents.control.model_env import Terminal, ended, never
from valuegym.agents.control.vagram import VaGraM
from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks

__all__ = ["CANDIDATES", "HORIZON", "MPC", "plan"]

HORIZON, CANDIDATES = 8, 128


@torch.no_grad()
def plan(
    model: Ensemble,
    learner: SoftActorCritic,
    observation: Tensor,
    generator: torch.Generator,
    horizon: int = HORIZON,
    candidates: int = CANDIDATES,
    terminal: Terminal = never,
) -> Tensor:
    """Return first actions (N, A) in [-1, 1] of the best of `candidates` sequences from observations (N, D).

    Half of the sequences are uniformly random, the others follow the actor. Every member of the ensemble predicts on
    its own, and returns are averaged over members; after `horizon` steps the least value of the target critics is
    added.

    Raises:
        DivergenceError: the return of the best sequence is not finite.
    """
    N, D = observation.shape
    E, gamma, half = model.architecture.members, learner.settings.discount, candidates // 2
    s = observation.repeat_interleave(candidates, 0).expand(E, N * candidates, D)
    total = torch.zeros(E, N * candidates, device=s.device)
    weight = torch.ones_like(total)
    first = torch.zeros(N * candidates, learner.A, device=s.device)
    for t in range(horizon):
        mean = s[0] if t == 0 else s.mean(0)
        policy, _ = learner.sample(mean.reshape(N, candidates, D)[:, half:].flatten(0, 1))
        uniform = 2 * torch.rand(N, half, learner.A, generator=generator).to(s.device) - 1
        action = torch.cat([uniform, policy.reshape(N, -1, learner.A)], 1).flatten(0, 1)
        if t == 0:
            first = action
        out = model(s, action.expand(E, *action.shape))
        total = total + weight * out.reward
        s = out.observation
        terminated = ended(terminal, s.reshape(-1, D)).reshape(weight.shape)
        weight = torch.where(terminated, 0.0, gamma * weight)
    total = total + weight * learner.target_critics(s, learner.mode(s)).amin(-1)
    returns = total.mean(0).reshape(N, candidates)
    if not all_finite([returns.amax(-1)]):
        raise DivergenceError("The best predicted return is not finite: the model or a critic has diverged.")
    best = returns.argmax(-1)
    return first.reshape(N, candidates, -1)[torch.arange(N, device=best.device), best]


class MPC(VaGraM):
    """Agent that learns as `vagram` does, and plans instead of following the actor.

    Arguments are those of `vagram`, the horizon in steps, and the number of candidate sequences.

    Raises:
        ValueError: spaces are not flat boxes, actions are unbounded, or a setting is not valid.
        TypeError: a setting is unknown.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        horizon: int = HORIZON,
        candidates: int = CANDIDATES,
        **settings: Any,
    ) -> None:
        super().__init__(env, seed, **settings)
        self.horizon = checks.integer("horizon", horizon, 1, 1000)
        self.candidates = checks.integer("candidates", candidates, 1, 10**5)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the first action of the best sequence; uniform before a model is learnt.

        Raises:
            ValueError: no finite action follows from an observation that is not finite.
            DivergenceError: the return of the best sequence is not finite.
        """
        if not np.isfinite(observation).all():
            raise ValueError("The observation holds a number that is not finite; no action follows from it.")
        if self.learner is None or not self.refreshes:
            return super().predict(observation, state)
        s = torch.as_tensor(np.asarray(observation, np.float32), device=self.settings.device)
        flat = s.reshape(-1, self.D)
        action = plan(
            self.model,
            self.learner,
            flat,
            self.generator,
            self.horizon,
            self.candidates,
            self.terminal or never,
        )
        return self._act(action, s, state)
