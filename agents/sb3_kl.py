"""KL divergence of a Stable-Baselines3 policy to the policy it started from, exact and estimated from episodes.

    kl = KLToStart(model)                      # before training: keeps a copy of the policy as it is
    model.learn(10_000, callback=KLCallback(kl))   # logs rollout/kl_to_start, nats per step
    print(kl.play(env, episodes=20, seed=0))   # nats per episode, with standard errors, and the mean return

Every policy with a distribution of actions is served: `ActorCriticPolicy` (PPO, A2C) of all action spaces, and SAC's.
The environment gets Gaussian actions clipped or squashed, by which the KL divergence can only become smaller.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import kl_divergence

from valuegym.agents.kl import KLEstimate, episode_kl, log_ratio_terms
from valuegym.envs import checks

__all__ = ["KLCallback", "KLToStart", "PlayedKL"]

Floats = npt.NDArray[np.float64]


class PlayedKL(NamedTuple):
    """KL divergence per episode of played episodes, by two estimates with the same mean, and their returns.

    exact: the exact KL divergence of each observation met, summed. log_ratios: from the actions taken, with the larger
    standard error. returns (episodes,) are sums of the environment's rewards.
    """

    exact: KLEstimate
    log_ratios: KLEstimate
    returns: Floats

    def __str__(self) -> str:
        """Return the exact estimate and the mean return as one phrase."""
        return f"KL {self.exact}, mean return {self.returns.mean():.4g}"


class KLToStart:
    """KL divergence of a model's policy to the policy that it has now, or to that of another model.

    Args:
        model: of Stable-Baselines3; it may train on, the copy of the start does not change.
        start: model whose policy is the start; None for a copy of the model's own.

    Raises:
        ValueError: the policy has no distribution of actions, or the spaces of the two models differ.
    """

    def __init__(self, model: Any, start: Any = None) -> None:
        self.model = model
        self.start = copy.deepcopy((model if start is None else start).policy)
        for name in ("observation_space", "action_space"):
            mine, theirs = getattr(model.policy, name), getattr(self.start, name)
            if mine != theirs:
                raise ValueError(f"{name} of start is {theirs}; expected {mine}, as of the model.")
        _check(model.policy)

    @torch.no_grad()
    def exact(self, observations: Any) -> Floats:
        """Return the exact KL divergence (N,) of the actions at observations (N, ...), as the model sees them.

        Raises:
            ValueError: a KL divergence is not finite.
        """
        found = kl_divergence(_distribution(self.model.policy, observations), _distribution(self.start, observations))
        return checks.reals("KL", _summed(found))

    @torch.no_grad()
    def play(self, env: gym.Env[Any, Any], episodes: int = 10, seed: int = 0) -> PlayedKL:
        """Play episodes with drawn actions, and return their KL divergence and returns; no random state is touched.

        Raises:
            ValueError: `episodes` is below 2, the seed is no integer of at least 0, or a number is not finite.
        """
        episodes, seed = checks.integer("episodes", episodes, 2), checks.integer("seed", seed, 0)
        policy, returns = self.model.policy, np.zeros(episodes)
        exact, ratios, number = [], [], []
        device = torch.device(policy.device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            for i in range(episodes):
                observation, done = env.reset(seed=seed if i == 0 else None)[0], False
                while not done:
                    here, before = _distribution(policy, observation), _distribution(self.start, observation)
                    action = here.get_actions()
                    exact.append(_summed(kl_divergence(here, before)))
                    ratios.append([float(_summed(d.log_prob(action))[0]) for d in (here, before)])
                    number.append(i)
                    observation, reward, terminated, truncated, _ = env.step(_to_env(policy, action))
                    returns[i] += checks.real("reward", reward)
                    done = terminated or truncated
        terms = log_ratio_terms(*np.transpose(ratios))
        return PlayedKL(episode_kl(np.concatenate(exact), number), episode_kl(terms, number), returns)


class KLCallback(BaseCallback):
    """Log the mean exact KL divergence of a rollout's observations as `rollout/kl_to_start`, in nats per step.

    For algorithms with a rollout buffer (PPO, A2C). The value is that of the policy that made the rollout.

    Raises:
        ValueError: `kl` is no `KLToStart`, or, when training begins, the algorithm has no rollout buffer.
    """

    def __init__(self, kl: KLToStart) -> None:
        super().__init__()
        if not isinstance(kl, KLToStart):
            raise ValueError(f"kl is {kl!r}; expected KLToStart(model).")
        self.kl = kl

    def _init_callback(self) -> None:
        if not hasattr(self.model, "rollout_buffer"):
            raise ValueError(
                f"{type(self.model).__name__} has no rollout buffer; expected PPO or A2C. KLToStart itself serves all."
            )

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        observations = self.locals["rollout_buffer"].observations
        if isinstance(observations, dict):
            flat: Any = {name: value.reshape(-1, *value.shape[2:]) for name, value in observations.items()}
        else:
            flat = observations.reshape(-1, *observations.shape[2:])
        self.logger.record("rollout/kl_to_start", float(self.kl.exact(flat).mean()))


def _check(policy: Any) -> None:
    actor = getattr(policy, "actor", None)
    if not hasattr(policy, "get_distribution") and not hasattr(actor, "get_action_dist_params"):
        raise ValueError(
            f"{type(policy).__name__} has no distribution of actions; expected a stochastic policy, such as PPO's or "
            "SAC's."
        )


def _distribution(policy: Any, observations: Any) -> Any:
    """Return the distribution of actions at observations, with or without a leading axis."""
    tensor, _ = policy.obs_to_tensor(observations)
    if hasattr(policy, "get_distribution"):
        return policy.get_distribution(tensor)
    mean, log_std, further = policy.actor.get_action_dist_params(tensor)
    return policy.actor.action_dist.proba_distribution(mean, log_std, **further)


def _summed(values: torch.Tensor) -> Floats:
    """Return values (N,) of (N,), or of (N, d) independent dimensions."""
    found = values.double().cpu().numpy()
    return np.asarray(found.sum(-1) if found.ndim == 2 else found)


def _to_env(policy: Any, action: torch.Tensor) -> Any:
    """Return one action as the environment takes it, as `predict` of the policy does."""
    found = action.cpu().numpy().reshape(-1, *policy.action_space.shape)[0]
    if isinstance(policy.action_space, gym.spaces.Box):
        if policy.squash_output:
            return policy.unscale_action(found)
        return np.clip(found, policy.action_space.low, policy.action_space.high)
    return found
