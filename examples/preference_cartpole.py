"""A cart and pole balanced from 400 answers instead of a reward: PPO of Stable-Baselines3, reward model in torch.

    python examples/preference_cartpole.py --seed 0

The reward is hidden. Four times while PPO trains, an annotator says which of two stretches of 25 steps it prefers, 100
pairs at a time; a network r(s) is fitted to all answers by logistic regression, P(second) = logistic(r(second) -
r(first)) with r summed over the steps, and PPO goes on with it. A pole that has fallen waits in a state of its own, so
that the length of episodes tells nothing; its reward is the zero of r, which comparisons leave open.

The track is `feedback/cartpole`, with 20,480 steps. With the default budget the score is at least 0.5, where 0 is
uniformly random actions and 1 a pole that never falls.

Source: Christiano et al. (2017), "Deep reinforcement learning from human preferences".
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

import valuegym
from valuegym.envs.feedback.annotators import Annotator, Noiseless
from valuegym.envs.feedback.wrapper import PreferenceFeedback

TRACK, NAME = "feedback/cartpole", "preference_cartpole"
LENGTH, ANSWERS, ROUNDS, EVERY = 25, 400, 4, 1600  # of segments, and of rounds in steps, those of waiting among them
SCALE = 0.05  # of rewards: values of PPO are learnt faster if they are small


class Waiting(gym.Wrapper[Any, Any, Any, Any]):
    """After the fall, LENGTH - 1 steps of reward 0 in the state (0, 0, 0, 0, 1); before it the last number is 0."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (5,), np.float32)

    def reset(self, **kwargs: Any) -> Any:
        """Start an episode."""
        observation, info = self.env.reset(**kwargs)
        self.left = LENGTH
        return np.append(observation, np.float32(0)), info

    def step(self, action: Any) -> Any:
        """Take one step, or wait."""
        if self.left < LENGTH:
            reward, truncated, info = 0.0, False, {}
        else:
            observation, reward, fallen, truncated, info = self.env.step(action)
            if not fallen:
                return np.append(observation, np.float32(0)), reward, False, truncated, info
        self.left -= 1
        return np.eye(5, dtype=np.float32)[4], reward, False, self.left == 0, info


class Learned(gym.Wrapper[Any, Any, Any, Any]):
    """The environment as PPO sees it: its reward is r, and an episode ends with the fall."""

    def __init__(self, env: PreferenceFeedback) -> None:
        super().__init__(env)
        self.preferences = env
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.r = torch.nn.Sequential(torch.nn.Linear(5, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
        self.optimiser = torch.optim.Adam(self.r.parameters(), 1e-2)
        self.zero, self.unit = 0.0, float("inf")  # before the first answers the reward is 0

    def reset(self, **kwargs: Any) -> Any:
        """Start an episode."""
        observation, info = self.env.reset(**kwargs)
        self.state = observation
        return observation[:4], info

    def step(self, action: Any) -> Any:
        """Take one step; after the fall, wait until all segments that began before it are complete."""
        with torch.no_grad():
            reward = SCALE * (float(self.r(torch.from_numpy(self.state))) - self.zero) / self.unit
        observation, truncated = self._move(action)
        fallen = bool(observation[4])
        while fallen and not truncated:
            _, truncated = self._move(action)
        self.state = observation
        return observation[:4], reward, fallen, truncated and not fallen, {}

    def _move(self, action: Any) -> tuple[Any, bool]:
        observation, _, _, truncated, info = self.env.step(action)
        if "preferences" in info:
            self.fit()
        return observation, truncated

    def fit(self) -> None:
        """Fit r to all answers by gradient descent, and set its zero and unit."""
        pairs: Any = self.preferences.feedback()
        both = np.stack([pairs.first.observations, pairs.second.observations])[:, :, :-1]
        states, labels = torch.from_numpy(both), torch.from_numpy(pairs.answers.labels).float()
        for _ in range(200):
            first, second = self.r(states)[..., 0].sum(2)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(second - first, labels)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        with torch.no_grad():
            found = self.r(states)[..., 0]
            self.zero, self.unit = float(self.r(torch.eye(5)[4])), float(found.std())


class Log(BaseCallback):
    """Log the learned return of every episode to wandb."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.run.log({"steps": self.num_timesteps, "learned return": info["episode"]["r"]})
        return True


def falling(left: float) -> float:
    """Return the step size when this share of the training is left."""
    return 1e-3 * left


def train(seed: int, steps: int, run: Any = None) -> tuple[PPO, int]:
    """Train PPO for this many steps, and return it with the number of answers."""
    torch.manual_seed(seed)
    annotator = Annotator(choice=Noiseless())  # prefers the larger true return, which it alone sees
    preferences = PreferenceFeedback(
        Waiting(gym.make("CartPole-v1")),
        annotator,
        ANSWERS,
        segment_length=LENGTH,
        every=EVERY,
        rounds=ROUNDS,
        fixed_horizon=False,
        seed=seed,
    )
    env = Learned(preferences)
    model = PPO("MlpPolicy", env, seed=seed, n_steps=512, batch_size=128, learning_rate=falling, device="cpu")
    model.learn(steps, callback=None if run is None else Log(run))
    pairs = preferences.feedback()
    return model, 0 if pairs is None else len(pairs)


def main() -> None:
    """Train, score, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of everything random, one of the track's")
    parser.add_argument("--steps", type=int, default=20_480, help="of training")
    parser.add_argument("--results", default="results", help="folder of the record")
    parser.add_argument("--track", action="store_true", help="log to wandb, offline unless WANDB_MODE says otherwise")
    args = parser.parse_args()
    run = None
    if args.track:
        import wandb

        run = wandb.init(project="valuegym", config=vars(args), mode=os.environ.get("WANDB_MODE", "offline"))
    model, answers = train(args.seed, args.steps, run)
    score = valuegym.evaluate(model, TRACK, seeds=[args.seed])
    about = {"script": Path(__file__).name, "seed": args.seed, "timesteps": args.steps, "answers": answers}
    path = valuegym.record(model, TRACK, NAME, args.seed, args.results, about=about, overwrite=True)
    if run is not None:
        run.summary["score"] = score.estimate[0]
        run.finish()
    print(f"{score}, from {answers} answers")
    print(f"record: {path}\non the board: valuegym leaderboard {args.results}")


if __name__ == "__main__":
    main()
