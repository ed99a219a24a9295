"""A reward learner of one's own, in numpy: logistic regression of the answers on differences of partial returns.

    python examples/reward_learner.py --seed 0
    valuegym run --agent examples/reward_learner.py:RewardLearner --experiment preference/boards-regret --seed 0

People who prefer a segment tell something about the reward weights w: P(second) = logistic(w . x), where x is the
difference of the two segments' summed features. The learner keeps all answers of an episode and fits w by Newton's
method with a Gaussian prior, whose precision the script chooses on training boards. With the default budget its score
after 1,000 preferences is at least 0.8 on the track `preference/boards-regret`, where 0 is the uniform policy and 1 the
policy that is optimal for the true reward.

Source: Christiano et al. (2017), "Deep reinforcement learning from human preferences", with a linear reward.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym
from valuegym.agents.base import BatchAgent

TRACK, NAME = "preference/boards-regret", "reward_learner"
TARGET = {0: 0.0, 1: 1.0, 2: 0.5}  # of labels: the first segment is preferred, the second, neither; 3 is no answer
PRECISIONS = (0.01, 0.1, 1.0, 10.0)  # of the prior, among which the script chooses
TRAINING = 300  # preferences in a training episode


def fit(x: Any, y: Any, precision: float) -> Any:
    """Return the weights (d,) with the highest posterior for differences x (n, d) and targets y (n,) in [0, 1]."""
    w = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x @ w, -30, 30)))
        gradient = x.T @ (p - y) + precision * w
        curvature = (x * (p * (1 - p))[:, None]).T @ x + precision * np.eye(len(w))
        step = np.linalg.solve(curvature, gradient)
        w -= step * min(1.0, 5.0 / max(np.abs(step).max(), 1e-12))  # a long step is shortened
        if np.abs(step).max() < 1e-8:
            break
    return w


class RewardLearner(BatchAgent):
    """Agent that answers at evaluation points with the weights fitted to all answers so far, 0 before any.

    The base turns single observations into batches; memories are tuples, one (x, y) for each environment.
    """

    def __init__(self, env: Any, seed: int = 0, precision: float = 1.0) -> None:
        super().__init__(env, seed)
        self.precision = float(precision)

    def act(self, observation: Any, memory: Any, start: Any) -> tuple[Any, Any]:
        """Return weights (N, d) and the answers of each environment so far."""
        n, d = len(start), self.action_space.shape[0]
        features = observation["segment_features"].reshape(n, 2, -1, d).astype(float)
        lived = observation["segment_mask"].reshape(n, 2, -1, 1)  # steps after the end of an episode do not count
        difference = np.diff((features * lived).sum(2), axis=1)[:, 0]
        action, kept = np.zeros((n, d), np.float32), []
        for row, label in enumerate(observation["label"]):
            x, y = (np.empty((0, d)), np.empty(0)) if start[row] else memory[row]
            if int(label) in TARGET:
                x, y = np.vstack([x, difference[row]]), np.append(y, TARGET[int(label)])
            if observation["is_evaluation_point"][row] and len(y):
                w = fit(x, y, self.precision)
                action[row] = w / max(np.abs(w).max(), 1e-12)  # only the direction of weights counts
            kept.append((x, y))
        return action, tuple(kept)


def mean_return(precision: float, seed: int, episodes: int) -> float:
    """Return the mean score of a precision on training boards, which no track has."""
    arguments: dict[str, Any] = {"annotator": "regret", "split": "train", "evaluation_points": (TRAINING,)}
    envs: Any = gym.make_vec("valuegym/RewardInference-v0", num_envs=episodes, **arguments)
    agent = RewardLearner(envs, precision=precision)
    observation, _ = envs.reset(seed=1_000 * seed)  # row i gets this seed plus i
    memory, total, start = None, np.zeros(episodes), np.ones(episodes, bool)
    for _ in range(TRAINING + 1):  # the first observation shows no answer
        action, memory = agent.predict(observation, memory, start)
        observation, reward, _, _, _ = envs.step(action)
        total, start = total + reward, np.zeros(episodes, bool)
    return float(total.mean())


def main() -> None:
    """Choose the precision, score, and write a record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of everything random, one of the track's")
    parser.add_argument("--steps", type=int, default=24_000, help="preferences on training boards, at least 1,200")
    parser.add_argument("--results", default="results", help="folder of the record")
    parser.add_argument("--track", action="store_true", help="log to wandb, offline unless WANDB_MODE says otherwise")
    args = parser.parse_args()
    run = None
    if args.track:
        import wandb

        run = wandb.init(project="valuegym", config=vars(args), mode=os.environ.get("WANDB_MODE", "offline"))
    episodes = max(args.steps // (TRAINING * len(PRECISIONS)), 1)
    found = {precision: mean_return(precision, args.seed, episodes) for precision in PRECISIONS}
    precision = max(found, key=lambda each: found[each])
    print(f"precision {precision:g} of {', '.join(f'{each:g}: {score:.3f}' for each, score in found.items())}")
    agent = RewardLearner(gym.make("valuegym/RewardInference-v0", annotator="regret"), args.seed, precision)
    score = valuegym.evaluate(agent, TRACK, seeds=[args.seed])
    about = {"script": os.path.basename(__file__), "seed": args.seed, "preferences": args.steps, "precision": precision}
    path = valuegym.record(agent, TRACK, NAME, args.seed, args.results, about=about, overwrite=True)
    if run is not None:
        for each, value in found.items():
            run.log({"precision": each, "training_score": value})
        run.summary["score"] = score.estimate[0]
        run.finish()
    print(score)
    print(f"record: {path}\non the board: valuegym leaderboard {args.results}")


if __name__ == "__main__":
    main()
