"""PPO from scratch on the delivery task, over the native vector environment, in one file.

    python examples/ppo_delivery.py --seed 0

Trains a softmax policy for the budget of the track `preference/delivery`, 100,000 steps, plays the track's evaluation
episodes, and writes their record. With the default budget the score is at least 0.95, where 0 is uniformly random
actions and 1 the optimal policy.

Source: Schulman et al. (2017), "Proximal policy optimization algorithms"; the manner of CleanRL (Huang et al. 2022).
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import nn

import valuegym

TRACK, NAME = "preference/delivery", "ppo_delivery"
GAMMA, LAMBDA, CLIP = 0.99, 0.95, 0.2  # discount, of the generalised advantage, and of the ratio
ROWS, LENGTH, EPOCHS, BATCH = 64, 32, 4, 256  # environments, steps of each between updates, passes, minibatch
RATE, ENTROPY, SCALE = 3e-3, 0.01, 50.0  # learning rate at the start, its bonus, and the reward that counts as 1


class Policy(nn.Module):
    """Actor and critic; `predict` is what valuegym and Stable-Baselines3 call."""

    def __init__(self, observations: int, actions: int) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(observations, 64), nn.Tanh(), nn.Linear(64, actions))
        self.critic = nn.Sequential(nn.Linear(observations, 64), nn.Tanh(), nn.Linear(64, 1))

    def distribution(self, observation: torch.Tensor) -> torch.distributions.Categorical:
        """Return the distribution of actions at observations (N, D)."""
        return torch.distributions.Categorical(logits=self.actor(observation))

    @torch.no_grad()
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the most probable actions, or random ones, for observations (N, D) or a single one (D,)."""
        found = self.distribution(torch.as_tensor(observation))
        return (found.probs.argmax(-1) if deterministic else found.sample()).numpy(), state


def collect(envs: Any, policy: Policy, observation: Any) -> tuple[dict[str, torch.Tensor], Any, list[float]]:
    """Play LENGTH steps in every row; return them flat, the last observation, and the rewards of a step on average."""
    kept: dict[str, list[Any]] = {name: [] for name in ("observation", "action", "log", "value", "reward", "done")}
    for _ in range(LENGTH):
        seen = torch.as_tensor(observation)
        with torch.no_grad():
            distribution, value = policy.distribution(seen), policy.critic(seen)[:, 0]
            action = distribution.sample()
            log = distribution.log_prob(action)
        observation, reward, terminated, truncated, info = envs.step(action.numpy())
        reward = reward / SCALE
        for row in np.flatnonzero(truncated & ~terminated):  # the episode was cut short, its value was not lost
            with torch.no_grad():
                reward[row] += GAMMA * policy.critic(torch.as_tensor(info["final_obs"][row])).item()
        step = (seen, action, log, value, torch.as_tensor(reward).float(), torch.as_tensor(terminated | truncated))
        for name, part in zip(kept, step, strict=True):
            kept[name].append(part)
    data = {name: torch.stack(parts) for name, parts in kept.items()}
    with torch.no_grad():
        ahead = policy.critic(torch.as_tensor(observation))[:, 0]
    advantage, later = torch.zeros_like(data["reward"]), torch.zeros(ROWS)
    for t in reversed(range(LENGTH)):
        goes_on = 1.0 - data["done"][t].float()
        error = data["reward"][t] + GAMMA * goes_on * ahead - data["value"][t]
        later = advantage[t] = error + GAMMA * LAMBDA * goes_on * later
        ahead = data["value"][t]
    data["advantage"], data["target"] = advantage, advantage + data["value"]
    rewards = (SCALE * data["reward"]).mean(1).tolist()
    return {name: part.flatten(0, 1) for name, part in data.items()}, observation, rewards


def update(policy: Policy, optimiser: torch.optim.Optimizer, data: dict[str, torch.Tensor]) -> float:
    """Fit actor and critic to the collected steps; return the last loss."""
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS * LENGTH).split(BATCH):
            part = {name: values[rows] for name, values in data.items()}
            advantage = (part["advantage"] - part["advantage"].mean()) / (part["advantage"].std() + 1e-8)
            distribution = policy.distribution(part["observation"])
            ratio = (distribution.log_prob(part["action"]) - part["log"]).exp()
            gain = torch.min(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage).mean()
            error = (policy.critic(part["observation"])[:, 0] - part["target"]).square().mean()
            loss = 0.5 * error - gain - ENTROPY * distribution.entropy().mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), 0.5)
            optimiser.step()
    return loss.item()


def train(seed: int, steps: int, run: Any = None) -> Policy:
    """Train a policy for about this many steps of all rows together."""
    torch.manual_seed(seed)
    envs: Any = gym.make_vec("valuegym/DeliveryOneHot-v0", num_envs=ROWS, autoreset_mode=AutoresetMode.SAME_STEP)
    policy = Policy(envs.single_observation_space.shape[0], envs.single_action_space.n)
    optimiser = torch.optim.Adam(policy.parameters(), RATE)
    observation, _ = envs.reset(seed=1_000 * seed)  # row i gets this seed plus i
    updates = max(steps // (ROWS * LENGTH), 1)
    for i in range(updates):
        optimiser.param_groups[0]["lr"] = RATE * (1 - i / updates)
        data, observation, rewards = collect(envs, policy, observation)
        loss = update(policy, optimiser, data)
        if run is not None:
            run.log({"steps": (i + 1) * ROWS * LENGTH, "reward_per_step": np.mean(rewards), "loss": loss})
    return policy


def main() -> None:
    """Train, score, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of everything random, one of the track's")
    parser.add_argument("--steps", type=int, default=100_000, help="of training")
    parser.add_argument("--results", default="results", help="folder of the record")
    parser.add_argument("--track", action="store_true", help="log to wandb, offline unless WANDB_MODE says otherwise")
    args = parser.parse_args()
    run = None
    if args.track:
        import wandb

        run = wandb.init(project="valuegym", config=vars(args), mode=os.environ.get("WANDB_MODE", "offline"))
    policy = train(args.seed, args.steps, run)
    score = valuegym.evaluate(policy, TRACK, seeds=[args.seed])
    about = {"script": os.path.basename(__file__), "seed": args.seed, "timesteps": args.steps}
    path = valuegym.record(policy, TRACK, NAME, args.seed, args.results, about=about, overwrite=True)
    if run is not None:
        run.summary["score"] = score.estimate[0]
        run.finish()
    print(score)
    print(f"record: {path}\non the board: valuegym leaderboard {args.results}")


if __name__ == "__main__":
    main()
