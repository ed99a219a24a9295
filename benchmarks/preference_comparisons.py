"""Reinforcement learning from comparisons, end to end: seconds and true returns, against the package imitation.

    python benchmarks/preference_comparisons.py --records FILE [--seeds 5] [--steps 5000]
    python -m venv FOLDER && FOLDER/bin/pip install imitation==1.0.1 'setuptools<81'
    python benchmarks/preference_comparisons.py --records FILE --python FOLDER/bin/python

CartPole of a fixed horizon, as in the package seals: 500 steps, reward 1 while the pole is upright and the cart on the
track, and nothing ends. PPO of Stable-Baselines3 makes 5,000 steps, or `--steps`, for a learned reward; 200 comparisons
of segments of 100 steps are answered by a Bradley-Terry annotator of temperature 1. Both sides have the same settings
of PPO, reward networks of 32 x 32, and one thread; arms are one network with random pairs, and 3 networks that choose
among 4 times as many. Each side and seed is a process, and sides take turns. Seconds are of the processor and count
from the first step to the last; imports and the 10 episodes that give the return do not count.

imitation plays further steps from which it draws segments, twice the length for each comparison; here segments are
drawn from PPO's own steps. `references` are PPO for the true reward, and its policy before the first step.
Records that are in the file are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import _timing  # sets the number of threads
import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

STEPS, HORIZON, COMPARISONS, LENGTH, ROUNDS, EPISODES = 5_000, 500, 200, 100, 5, 10
WIDTH, BATCH, POOL, FIRST_FIT, FIT = 32, 32, 4, 600, 100
PPO = {
    "n_steps": 250,
    "batch_size": 50,
    "n_epochs": 10,
    "learning_rate": 5e-3,
    "gamma": 0.97,
    "ent_coef": 0.01,
    "clip_range": 0.2,
    "gae_lambda": 0.8,
}
ARMS = {"one network": 1, "three, active": 3}


class Upright(CartPoleEnv):
    """CartPole that never terminates: the angle is kept within [-pi, pi], and the reward is 1 where all is well."""

    def __init__(self) -> None:
        super().__init__()
        high = np.array([np.inf, np.inf, np.pi, np.inf], np.float32)
        self.observation_space = gym.spaces.Box(-high, high, dtype=np.float32)
        self.played = 0

    def step(self, action: Any) -> Any:
        """Move one step."""
        self.steps_beyond_terminated = None  # what Gymnasium warns of is meant
        super().step(action)
        x, speed, angle, spin = self.state
        angle = (angle + np.pi) % (2 * np.pi) - np.pi
        self.state = x, speed, angle, spin
        well = abs(x) < self.x_threshold and abs(angle) < self.theta_threshold_radians
        self.played += 1
        return np.array(self.state, np.float32), float(well), False, False, {}


def make() -> Any:
    """Return the environment with its step limit."""
    return gym.wrappers.TimeLimit(Upright(), HORIZON)


def agent(env: Any, seed: int) -> Any:
    """Return PPO."""
    import torch
    from stable_baselines3 import PPO as Learner

    torch.set_num_threads(1)
    return Learner("MlpPolicy", env, seed=seed, device="cpu", **PPO)


def true_return(policy: Any) -> float:
    """Return the mean true return of a policy, as it draws actions, over the same first states."""
    env, total = make(), 0.0
    for episode in range(EPISODES):
        observation, _ = env.reset(seed=1000 + episode)
        for _ in range(HORIZON):
            observation, reward, *_ = env.step(policy.predict(observation, deterministic=False)[0])
            total += float(reward)
    return total / EPISODES


def ours(members: int, seed: int, total: int) -> tuple[Any, Any, float]:
    """Return the policy, the environment and the seconds."""
    import torch

    from valuegym.agents.reward_models.bradley_terry import StepReward, fit_pairs, reward_ensemble
    from valuegym.agents.reward_models.fitting import FitSettings
    from valuegym.agents.reward_models.pairs import feedback_pairs
    from valuegym.agents.reward_models.queries import Selector
    from valuegym.envs.feedback.annotators import Annotator
    from valuegym.envs.feedback.learned_reward import LearnedReward
    from valuegym.envs.feedback.wrapper import PreferenceFeedback

    generator = torch.Generator().manual_seed(seed)
    model = reward_ensemble(6, generator, members, WIDTH, 2)
    active = {} if members == 1 else {"select": Selector("disagreement", generator, model, 2), "candidates": POOL}
    asked = PreferenceFeedback(
        make(),
        Annotator(),
        COMPARISONS,
        segment_length=LENGTH,
        every=total // (ROUNDS + 2),
        rounds=ROUNDS + 1,
        schedule="hyperbolic",
        horizon=HORIZON,
        **active,  # type: ignore[arg-type]
    )

    class Fitted(gym.Wrapper[Any, Any, Any, Any]):
        """Fits the model after each round of answers."""

        fits = 0

        def step(self, action: Any) -> Any:
            moved = self.env.step(action)
            if "preferences" in moved[4]:
                settings = FitSettings(FIT if self.fits else FIRST_FIT, BATCH, 1e-3, bagging=members > 1)
                fit_pairs(model, feedback_pairs(asked.feedback(), 2), settings, generator)
                self.fits += 1
            return moved

    learner = agent(LearnedReward(Fitted(asked), StepReward(model, 2)), seed)
    [seconds] = _timing.seconds(lambda: learner.learn(total))
    return learner, asked, seconds


def theirs(members: int, seed: int, total: int) -> tuple[Any, Any, float]:
    """Return the policy, the environment and the seconds of imitation; runs where it is installed."""
    import torch
    from imitation.algorithms import preference_comparisons as comparisons
    from imitation.data.wrappers import RolloutInfoWrapper
    from imitation.rewards.reward_nets import BasicRewardNet, RewardEnsemble
    from imitation.util.networks import RunningNorm
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.manual_seed(seed)
    env, rng = make(), np.random.default_rng(seed)
    venv = DummyVecEnv([lambda: RolloutInfoWrapper(env)])
    spaces = venv.observation_space, venv.action_space

    def network() -> Any:
        return BasicRewardNet(*spaces, hid_sizes=(WIDTH, WIDTH), normalize_input_layer=RunningNorm)

    net = network() if members == 1 else RewardEnsemble(*spaces, [network() for _ in range(members)])
    model, loss = comparisons.PreferenceModel(net), comparisons.CrossEntropyRewardLoss()
    trainer = comparisons.BasicRewardTrainer if members == 1 else comparisons.EnsembleTrainer
    fragmenter: Any = comparisons.RandomFragmenter(rng=rng, warning_threshold=0)
    if members > 1:
        fragmenter = comparisons.ActiveSelectionFragmenter(model, fragmenter, POOL, "probability")
    learner = agent(venv, seed)
    algorithm = comparisons.PreferenceComparisons(
        comparisons.AgentTrainer(learner, net, venv, rng, exploration_frac=0.05),
        net,
        num_iterations=ROUNDS,
        fragmenter=fragmenter,
        preference_gatherer=comparisons.SyntheticGatherer(temperature=1, rng=rng),
        reward_trainer=trainer(model, loss, rng=rng, batch_size=BATCH, epochs=3),
        fragment_length=LENGTH,
    )
    [seconds] = _timing.seconds(lambda: algorithm.train(total, COMPARISONS))
    return learner, env, seconds


def reference(kind: str, seed: int, total: int) -> tuple[Any, Any, float]:
    """Return PPO's policy for the true reward, or before the first step."""
    env = make()
    learner = agent(env, seed)
    [seconds] = _timing.seconds(lambda: learner.learn(total if kind == "true reward" else 0))
    return learner, env, seconds


def one(side: str, arm: str, seed: int, total: int) -> dict[str, Any]:
    """Return the record of a run."""
    began = time.monotonic()
    if side == "references":
        learner, env, seconds = reference(arm, seed, total)
    else:
        learner, env, seconds = (ours if side == "valuegym" else theirs)(ARMS[arm], seed, total)
    wall, played = time.monotonic() - began, env.unwrapped.played
    return {"side": side, "arm": arm, "seed": seed, "budget": total, "seconds": round(seconds, 2),
            "wall": round(wall, 2), "steps": played, "return": round(true_return(learner), 2)}  # fmt: skip


def main() -> None:
    """Make the records that are missing, and print seconds, ratios and returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, help="file of JSON lines")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS, help="of PPO")
    parser.add_argument("--python", help="interpreter of an environment that has imitation")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        side, arm, seed, total = options.child
        print(json.dumps(one(side, arm, int(seed), int(total))))
        return
    lines = options.records.read_text().splitlines() if options.records and options.records.exists() else []
    found = [r for r in map(json.loads, lines) if r.get("budget", STEPS) == options.steps]
    records = {(r["side"], r["arm"], r["seed"]): r for r in found}
    jobs = [("references", arm, seed) for seed in range(options.seeds) for arm in ("true reward", "untrained")]
    sides = ("valuegym", "imitation") if options.python else ("valuegym",)
    jobs += [(side, arm, seed) for arm in ARMS for seed in range(options.seeds) for side in sides]
    for side, arm, seed in jobs:
        if (side, arm, seed) in records:
            continue
        python = options.python if side == "imitation" else sys.executable
        command = [python, __file__, "--child", side, arm, str(seed), str(options.steps)]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        line = answer.stdout.splitlines()[-1]
        records[side, arm, seed] = json.loads(line)
        if options.records:
            with options.records.open("a") as file:
                file.write(line + "\n")
    show(records)


def show(records: dict[tuple[str, str, int], dict[str, Any]]) -> None:
    """Print a line for each side and arm, and the ratios."""
    from valuegym.studies.report import estimate

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for (side, arm, _), record in records.items():
        groups.setdefault((side, arm), []).append(record)
    for (side, arm), group in sorted(groups.items()):
        seconds, steps, found = (estimate([r[name] for r in group]) for name in ("seconds", "steps", "return"))
        print(f"{side:10} {arm:14} {len(group)} seeds: {seconds} s, {steps.point:,.0f} steps, true return {found}")
    for arm in ARMS:
        both = [s for s in range(len(records)) if all((side, arm, s) in records for side in ("valuegym", "imitation"))]
        if both:
            one, other = (
                np.array([[records[side, arm, s][name] for s in both] for name in ("seconds", "return")])
                for side in ("valuegym", "imitation")
            )
            print(f"{arm}: {estimate(other[0] / one[0])} times as fast, return higher by {estimate(one[1] - other[1])}")


if __name__ == "__main__":
    main()
