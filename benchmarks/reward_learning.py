"""Seconds for a full regret fit on 1,793 pairs on one core, and what one evaluation costs the published way.

    python benchmarks/reward_learning.py --data FOLDER

With --data (or VALUEGYM_DATA) the pairs are people's answers, condition Privileged-Control; without, as many simulated
ones on the same board. The peer computes regret as the published code does, by a Python loop over segments with values
from a library of 69 policies: here random ones, and forward passes only, where the published code also differentiates.
"""

from __future__ import annotations

import argparse
import os
import time

import _timing
import gymnasium as gym
import numpy as np

from valuegym.agents.preference import descent
from valuegym.agents.preference.regret import Regret
from valuegym.envs import mdp as tabular
from valuegym.envs.functional import load
from valuegym.envs.preference import annotators, datasets, delivery
from valuegym.envs.preference.segments import Segment

PAIRS, LIBRARY = 1793, 69


def pairs_and_labels(data: str | None) -> tuple[str, Segment, np.ndarray]:
    """Return a name of the source of pairs, the pairs, and the answers."""
    if data or os.environ.get(datasets.VARIABLE):
        human = datasets.load("Privileged-Control", data)
        return "people's answers, Privileged-Control", human.segments, human.labels
    core = load("valuegym.envs.preference.reward_inference:RewardInference")(
        board="published", evaluation_points=(PAIRS,)
    )
    task, _ = core.initial(np.zeros(1, np.uint64))
    queries = [core.query(task, np.array([k])) for k in range(1, PAIRS + 1)]
    pairs = Segment(*(np.concatenate(fields) for fields in zip(*(pair for pair, _ in queries), strict=True)))
    return "simulated answers by regret", pairs, annotators.labels(np.concatenate([answer for _, answer in queries]))


def library_pass(psi: np.ndarray, pairs: Segment, weights: np.ndarray, temperature: float = 0.001) -> np.ndarray:
    """Regret differences by a loop over segments: values are soft maxima over a library of policies psi (K, S, d)."""

    def value(state: int) -> float:
        values = psi[:, state] @ weights
        chances = np.exp((values - values.max()) / temperature)
        return float(chances @ values / chances.sum())

    difference = np.zeros(len(pairs.states))
    for n, (states, features) in enumerate(zip(pairs.states, pairs.features, strict=True)):
        first, second = ((features[i] @ weights).sum() + value(states[i, -1]) - value(states[i, 0]) for i in range(2))
        difference[n] = second - first
    return difference


def main() -> None:
    """Print the fit's time and result, and the ratio to the peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", metavar="FOLDER", help="folder with the human data")
    source, pairs, labels = pairs_and_labels(parser.parse_args().data)
    mdp = delivery.board_mdp(np.array([delivery.BOARD]))
    learner = Regret(gym.make("valuegym/RewardInference-v0", board="published"))
    true = np.array(delivery.WEIGHTS)

    began = time.perf_counter()
    differences = learner.differences(mdp, pairs)
    result = descent.fit(differences, labels, np.random.default_rng(0), len(true))
    took = time.perf_counter() - began
    reward = tabular.reward(mdp, true)
    score = tabular.normalised_return(mdp, reward, tabular.optimal_policy(mdp, tabular.reward(mdp, result.weights)))[0]
    print(f"{len(labels)} pairs, {source}; full fit, {descent.STARTS} starts: {took:.2f} s")
    print(f"loss {result.loss / len(labels):.4f} a pair, score {score:.4f}")

    # One evaluation each, at weights that wander as an optimiser's do.
    rng = np.random.default_rng(1)
    wander = [result.weights * (1 + 0.05 * step) for step in rng.standard_normal((20, len(true)))]
    policies = rng.integers(0, mdp.features.shape[2], (LIBRARY, *mdp.terminal.shape))
    psi = tabular.successor_features(mdp, policies)[:, 0]
    clock = time.perf_counter
    ours = np.median(_timing.seconds(lambda: [differences(w[None])[0] @ w for w in wander], 5, clock)) / len(wander)
    theirs = np.median(_timing.seconds(lambda: library_pass(psi, pairs, result.weights), 3, clock))
    print(
        f"one evaluation, values exact: {ours * 1e3:.2f} ms; by the loop over a library of {LIBRARY} policies: "
        f"{theirs * 1e3:.0f} ms, {theirs / ours:,.0f} times as long"
    )


if __name__ == "__main__":
    main()
