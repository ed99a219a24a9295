"""Reward models of compared segments: pairs per second, and against the package imitation on the same sizes.

    python benchmarks/preferences.py [--seconds 1] [--rounds 3]
    python -m venv FOLDER && FOLDER/bin/pip install imitation==1.0.1
    python benchmarks/preferences.py --python FOLDER/bin/python

512 pairs of segments of 64 steps, observations of 8 numbers and actions of 2, networks of 32 x 32, one thread, seconds
of the processor. imitation (Gleave et al. 2022, MIT) lives in an environment of its own and is run as a subprocess;
the two take turns, and medians over rounds are printed. Its activation is ReLU and ours SiLU.

    labels      of a Bradley-Terry annotator of temperature 1, from true rewards
    pairs       of random segments drawn from 200 episodes of 500 steps
    forward     probabilities of all 512 pairs, without gradients
    training    Adam in batches of 32, per pair seen
    ensemble    the same of 3 networks at once, a pair counted once; there, each network's own training, one by one
    selection   choice of 32 of 128 candidates by disagreement of 3 networks, per pair chosen, outputs included

Bare labels and pairs are the floor: lines of numpy that do the same on such arrays without a check, a strength or a
probability. Both sides sum rewards that are there already; imitation's segments are views of its episodes, ours copies.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from statistics import median
from typing import Any

import _timing
import numpy as np

PAIRS, STEPS, OBSERVATION, ACTION, WIDTH, BATCH, MEMBERS, POOL = 512, 64, 8, 2, 32, 32, 3, 128
EPISODES, LENGTH = 200, 500


def data() -> tuple[Any, Any, Any]:
    """Return observations (2 * PAIRS, STEPS + 1, OBSERVATION), actions and labels (PAIRS,)."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((2 * PAIRS, STEPS + 1, OBSERVATION)).astype(np.float32)
    actions = rng.uniform(-1, 1, (2 * PAIRS, STEPS, ACTION)).astype(np.float32)
    score = observations[:, :-1, 0].sum(-1).reshape(PAIRS, 2)
    return observations, actions, (score[:, 1] > score[:, 0]) * 1.0


def rates(arms: dict[str, tuple[Callable[[], object], int]], seconds: float) -> dict[str, float]:
    """Return pairs per second of functions that each handle so many pairs; the first call of each is not timed."""
    for work, _ in arms.values():
        work()
    return {name: count * _timing.rate(work, seconds) for name, (work, count) in arms.items()}


def ours(seconds: float) -> dict[str, float]:
    """Return pairs per second."""
    import torch
    from gymnasium.spaces import Box

    from valuegym.agents.reward_models.bradley_terry import fit_pairs, reward_ensemble
    from valuegym.agents.reward_models.fitting import FitSettings
    from valuegym.agents.reward_models.pairs import make_pairs, step_inputs
    from valuegym.agents.reward_models.queries import select
    from valuegym.envs.feedback.annotators import Annotator, Boltzmann
    from valuegym.envs.feedback.queries import Experience
    from valuegym.envs.feedback.segments import Segments
    from valuegym.envs.feedback.utilities import PartialReturn

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    observations, actions, labels = data()
    inputs = step_inputs(observations, actions).reshape(PAIRS, 2, STEPS, -1)
    pairs = make_pairs(inputs[:, 0], inputs[:, 1], labels)
    pool = pairs[torch.arange(POOL)]
    single, several = (reward_ensemble(inputs.shape[-1], generator, k, WIDTH, 2) for k in (1, MEMBERS))
    settings = FitSettings(PAIRS // BATCH, BATCH, 1e-3)

    def forward() -> None:
        with torch.no_grad():
            single(pairs).sigmoid()

    def choose() -> None:
        with torch.no_grad():
            select("disagreement", BATCH, generator, several(pool))

    rewards = observations[:, :-1, 0].astype(float)
    first, second = (Segments(observations[k::2], actions[k::2], rewards[k::2]) for k in range(2))
    annotator, rng = Annotator(PartialReturn(), choice=Boltzmann(1.0)), np.random.default_rng(0)
    totals = [part.rewards for part in (first, second)]

    def bare_labels() -> Any:
        difference = np.add.reduce(totals[1], 1) - np.add.reduce(totals[0], 1)
        return rng.random(PAIRS) < 1 / (1 + np.exp(-difference))

    box, moves = (Box(-np.inf, np.inf, (size,), np.float32) for size in (OBSERVATION, ACTION))
    experience = Experience(box, moves, EPISODES, LENGTH + 1)
    every, window = np.arange(EPISODES), np.arange(STEPS + 1)
    flat = [np.zeros((EPISODES * (LENGTH + 1), *size), kind) for size, kind in (
        ((OBSERVATION,), np.float32), ((ACTION,), np.float32), ((), np.float64),
    )]  # fmt: skip

    def bare_pairs() -> Any:
        episode, start = rng.integers(EPISODES, size=2 * PAIRS), rng.integers(LENGTH - STEPS, size=2 * PAIRS)
        at = (episode * (LENGTH + 1) + start)[:, None] + window
        return [array.take(at if array is flat[0] else at[:, :-1], 0) for array in flat]

    experience.begin(np.zeros((EPISODES, OBSERVATION), np.float32), every)
    for _ in range(LENGTH):
        step = rng.standard_normal((EPISODES, OBSERVATION + ACTION)).astype(np.float32)
        nothing = np.zeros(EPISODES, np.bool_)
        experience.add(step[:, OBSERVATION:], step[:, 0].astype(float), step[:, :OBSERVATION], nothing, every)

    arms: dict[str, tuple[Callable[[], object], int]] = {
        "labels": (lambda: annotator(first, second, rng), PAIRS),
        "pairs": (lambda: experience.pairs(PAIRS, STEPS, rng), PAIRS),
        "forward": (forward, PAIRS),
        "training": (lambda: fit_pairs(single, pairs, settings, generator, standardise=False), PAIRS),
        "ensemble": (lambda: fit_pairs(several, pairs, settings, generator, standardise=False), PAIRS),
        "selection": (choose, BATCH),
        "bare labels": (bare_labels, PAIRS),
        "bare pairs": (bare_pairs, PAIRS),
    }
    return rates(arms, seconds)


def theirs(seconds: float) -> dict[str, float]:
    """Return pairs per second of imitation; runs where it is installed."""
    import torch
    from gymnasium.spaces import Box
    from imitation.algorithms import preference_comparisons as comparisons
    from imitation.data.types import TrajectoryWithRew
    from imitation.rewards.reward_nets import BasicRewardNet, RewardEnsemble

    torch.set_num_threads(1)
    observations, actions, labels = data()
    segments = [
        TrajectoryWithRew(obs=o, acts=a, infos=None, terminal=False, rews=o[:-1, 0])
        for o, a in zip(observations, actions, strict=True)
    ]
    fragments = [(segments[2 * k], segments[2 * k + 1]) for k in range(PAIRS)]
    spaces = Box(-np.inf, np.inf, (OBSERVATION,)), Box(-1, 1, (ACTION,))
    dataset = comparisons.PreferenceDataset()
    dataset.push(fragments, (1 - labels).astype(np.float32))  # there, 1 is the first

    def network() -> Any:
        return BasicRewardNet(*spaces, hid_sizes=(WIDTH, WIDTH))

    single = comparisons.PreferenceModel(network())
    several = comparisons.PreferenceModel(RewardEnsemble(*spaces, [network() for _ in range(MEMBERS)]))

    def trainer(kind: Any, model: Any) -> Any:
        rng = np.random.default_rng(0)
        return kind(model, comparisons.CrossEntropyRewardLoss(), rng=rng, batch_size=BATCH, epochs=1)

    one, three = trainer(comparisons.BasicRewardTrainer, single), trainer(comparisons.EnsembleTrainer, several)

    class Pool(comparisons.Fragmenter):
        """Source of the same candidates each time."""

        def __call__(self, trajectories: Any, fragment_length: int, num_pairs: int) -> Any:
            return fragments[:num_pairs]

    chooser = comparisons.ActiveSelectionFragmenter(several, Pool(), POOL // BATCH, "probability")

    def forward() -> None:
        with torch.no_grad():
            single(fragments)

    rng = np.random.default_rng(0)
    gatherer = comparisons.SyntheticGatherer(temperature=1, rng=rng)
    fragmenter = comparisons.RandomFragmenter(rng=rng, warning_threshold=0)
    episodes = [
        TrajectoryWithRew(
            obs=rng.standard_normal((LENGTH + 1, OBSERVATION)).astype(np.float32),
            acts=rng.standard_normal((LENGTH, ACTION)).astype(np.float32),
            infos=None,
            terminal=False,
            rews=rng.standard_normal(LENGTH).astype(np.float32),
        )
        for _ in range(EPISODES)
    ]

    arms: dict[str, tuple[Callable[[], object], int]] = {
        "labels": (lambda: gatherer(fragments), PAIRS),
        "pairs": (lambda: fragmenter(episodes, STEPS, PAIRS), PAIRS),
        "forward": (forward, PAIRS),
        "training": (lambda: one.train(dataset), PAIRS),
        "ensemble": (lambda: three.train(dataset), PAIRS),
        "selection": (lambda: chooser(segments, STEPS, BATCH), BATCH),
    }
    return rates(arms, seconds)


def main() -> None:
    """Print medians over rounds, and ratios to imitation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="least seconds of each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", help="interpreter of an environment that has imitation")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(theirs(options.seconds)))
        return
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        peer = {}
        if options.python:
            command = [options.python, __file__, "--child", "--seconds", str(options.seconds)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            peer = json.loads(answer.stdout.splitlines()[-1])
        for name, rate in ours(options.seconds).items():
            found.setdefault(name, []).append((rate, peer.get(name, np.nan)))
    for name, pairs in found.items():
        rate, other = (median(column) for column in zip(*pairs, strict=True))
        ratios = [a / b for a, b in pairs]
        against = "" if np.isnan(other) else f"; imitation {other:,.0f}: {min(ratios):.0f} to {max(ratios):.0f} times"
        print(f"{name:11} {rate:10,.0f} pairs per second{against}")


if __name__ == "__main__":
    main()
