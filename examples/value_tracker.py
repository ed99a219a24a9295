"""A tracker of values that move, trained from rewards by the cross-entropy method, in one file of numpy.

    python examples/value_tracker.py --seed 0

The tracker predicts that values go back to their mean by a share, and corrects the prediction by a gain times what the
responses say differently: e <- decay e + gain (y - decay e). Both numbers are learnt from the rewards of training
episodes, with the budget of the track `coevolution/follow-few-responses`, 20,000 steps. With the default budget the
score is at least 0.45, where 0 is to repeat the last responses and 1 to know the values.

Source: Rubinstein and Kroese (2004), "The cross-entropy method"; Kalman (1960), whose filter has this form.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym
from valuegym.agents.base import BatchAgent

TRACK, NAME = "coevolution/follow-few-responses", "value_tracker"
ENVIRONMENT: dict[str, Any] = {"family": "ornstein-uhlenbeck", "dimensions": 1, "budget": 3, "noise": 1.0}
STEPS, SCALE = 9, 4.0  # of an episode, and the estimate that is an action of 1 (see the environment's arguments)
CANDIDATES, ELITE = 64, 8  # parameters tried at once, one in each row, and how many of them are kept


class Tracker(BatchAgent):
    """Agent with a decay and a gain, or one of each for every row; its memory is the last estimate (N, D)."""

    def __init__(self, env: Any, seed: int = 0, decay: Any = 1.0, gain: Any = 1.0) -> None:
        super().__init__(env, seed)
        self.decay, self.gain = np.reshape(decay, (-1, 1)), np.reshape(gain, (-1, 1))

    def act(self, observation: Any, memory: Any, start: Any) -> tuple[Any, Any]:
        """Return the next estimates; the first responses are taken as they are."""
        D = self.action_space.shape[0]
        reading = observation["responses"].reshape(len(start), -1, D).mean(1).astype(float)
        ahead = reading if memory is None else np.where(start[:, None], reading, self.decay * memory)
        estimate = ahead + self.gain * (reading - ahead)
        return np.clip(estimate / SCALE, -1, 1).astype(np.float32), estimate


def returns(parameters: Any, seed: int, episodes: int) -> Any:
    """Return the mean return (N,) of each row's parameters (N, 2) over some episodes."""
    envs: Any = gym.make_vec("valuegym/Follow-v0", num_envs=len(parameters), **ENVIRONMENT)
    agent = Tracker(envs, decay=parameters[:, 0], gain=parameters[:, 1])
    total = np.zeros(len(parameters))
    for episode in range(episodes):
        observation, _ = envs.reset(seed=[seed + episode] * len(parameters))  # the same episodes for all candidates
        memory, start = None, np.ones(len(parameters), bool)
        for _ in range(STEPS):
            action, memory = agent.predict(observation, memory, start)
            observation, reward, _, _, _ = envs.step(action)
            total, start = total + reward, np.zeros(len(parameters), bool)
    return total / episodes


def train(seed: int, steps: int, run: Any = None) -> Any:
    """Return decay and gain, learnt in about this many steps of all rows together."""
    rng = np.random.default_rng(seed)
    mean, std = np.array([0.5, 0.5]), np.array([0.3, 0.3])
    episodes = 4
    for i in range(max(steps // (CANDIDATES * STEPS * episodes), 1)):
        candidates = np.clip(rng.normal(mean, std, (CANDIDATES, 2)), 0, 1)
        found = returns(candidates, 1_000 * seed + episodes * i, episodes)
        elite = candidates[np.argsort(-found)[:ELITE]]
        mean, std = 0.5 * mean + 0.5 * elite.mean(0), 0.5 * std + 0.5 * elite.std(0)  # episodes differ: go halfway
        if run is not None:
            run.log({"return": found.mean(), "decay": mean[0], "gain": mean[1]})
    return mean


def main() -> None:
    """Train, score, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of everything random, one of the track's")
    parser.add_argument("--steps", type=int, default=20_000, help="of training")
    parser.add_argument("--results", default="results", help="folder of the record")
    parser.add_argument("--track", action="store_true", help="log to wandb, offline unless WANDB_MODE says otherwise")
    args = parser.parse_args()
    run = None
    if args.track:
        import wandb

        run = wandb.init(project="valuegym", config=vars(args), mode=os.environ.get("WANDB_MODE", "offline"))
    decay, gain = train(args.seed, args.steps, run)
    tracker = Tracker(gym.make("valuegym/Follow-v0", **ENVIRONMENT), args.seed, decay, gain)
    score = valuegym.evaluate(tracker, TRACK, seeds=[args.seed])
    about = {"script": os.path.basename(__file__), "seed": args.seed, "timesteps": args.steps}
    path = valuegym.record(tracker, TRACK, NAME, args.seed, args.results, about=about, overwrite=True)
    if run is not None:
        run.summary["score"] = score.estimate[0]
        run.finish()
    print(f"decay {decay:.3f}, gain {gain:.3f}")
    print(score)
    print(f"record: {path}\non the board: valuegym leaderboard {args.results}")


if __name__ == "__main__":
    main()
