"""Stable-Baselines3's SAC on the pendulum, from training to a record on the board, in one file.

    python examples/sac_pendulum.py --seed 0

Trains for the budget of the track `control/pendulum`, 5,000 steps, saves the model, plays the track's evaluation
episodes, and writes their record. With the default budget the score is at least 0.9, where 0 is uniformly random
actions and 1 the best controller of a grid.

Source: Haarnoja et al. (2018), "Soft actor-critic algorithms and applications"; Raffin et al. (2021),
"Stable-Baselines3: reliable reinforcement learning implementations".
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

import valuegym

TRACK, NAME = "control/pendulum", "sac_pendulum"


class Log(BaseCallback):
    """Log the return of every episode to wandb."""

    def __init__(self, run: Any) -> None:
        super().__init__()
        self.run = run

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if "episode" in info:
                self.run.log({"steps": self.num_timesteps, "return": info["episode"]["r"]})
        return True


def train(seed: int, steps: int, run: Any = None) -> SAC:
    """Train SAC for this many steps."""
    env = gym.make("valuegym/Pendulum-v0")
    model = SAC(
        "MlpPolicy",
        env,
        seed=seed,
        learning_rate=1e-3,
        learning_starts=250,
        batch_size=128,
        policy_kwargs={"net_arch": [64, 64]},
        device="cpu",
    )
    return model.learn(steps, callback=None if run is None else Log(run), log_interval=10**9)


def main() -> None:
    """Train, save, score, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of everything random, one of the track's")
    parser.add_argument("--steps", type=int, default=5_000, help="of training")
    parser.add_argument("--results", default="results", help="folder of the record")
    parser.add_argument("--model", default="sac_pendulum.zip", help="file of the trained model")
    parser.add_argument("--track", action="store_true", help="log to wandb, offline unless WANDB_MODE says otherwise")
    args = parser.parse_args()
    run = None
    if args.track:
        import wandb

        run = wandb.init(project="valuegym", config=vars(args), mode=os.environ.get("WANDB_MODE", "offline"))
    model = train(args.seed, args.steps, run)
    model.save(args.model)
    score = valuegym.evaluate(model, TRACK, seeds=[args.seed])
    about = {"script": Path(__file__).name, "seed": args.seed, "timesteps": args.steps}
    path = valuegym.record(model, TRACK, NAME, args.seed, args.results, about=about, overwrite=True)
    if run is not None:
        run.summary["score"] = score.estimate[0]
        run.finish()
    print(score)
    print(f"record: {path}\non the board: valuegym leaderboard {args.results}")
    print(f"the model again: valuegym run --agent sac:{args.model} --experiment {TRACK} --seed {args.seed}")


if __name__ == "__main__":
    main()
