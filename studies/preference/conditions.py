"""Rewards from people's answers in every published condition, on their own board and on maps never seen.

    python -m studies.preference.conditions --data FOLDER

The answers of a condition are shuffled and dealt into disjoint sets of 35 and of 89; the two Bayesian learners learn
from each set on its own. A score is that of the optimal policy of the learnt reward, 0 for uniformly random actions and
1 for an optimal policy, on the published board, and its mean over 20 random maps with people's reward.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from valuegym.agents.preference.constant import Constant
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import datasets, delivery
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment

NUMBERS = (35, 89)
LEARNERS = ("bayes_regret", "bayes_partial_return")
MAPS = 20
LINES = ("goal_only", "constant")
PLACES = ("published board", "maps never seen")


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield the jobs: one set of answers, and both learners; the lines, once."""
    yield [(name, name, 0, 0) for name in LINES]
    for condition in datasets.present(options.data):
        total = len(datasets.load(condition, options.data).labels)
        for n in sorted(options.numbers, reverse=True):
            for part in range(total // n):
                yield [(condition, name, n, part) for name in LEARNERS]


@lru_cache(maxsize=2)
def places() -> tuple[RewardInference, RewardInference]:
    """Return the environments in which weights are scored: the board, and maps never seen."""
    return tuple(RewardInference(board="published", evaluation_points=(1,), unseen=n) for n in (0, MAPS))  # type: ignore[return-value]


def scored(weights: Array) -> list[list[float]]:
    """Return the scores of weights (k, d) in both places, (k, 2)."""
    found = []
    for core in places():
        task, _ = core.initial(keys.mix(np.zeros(len(weights), np.int64), 0))
        found.append(core.score(task, weights.astype(np.float32)))
    return harness.rounded(np.stack(found, 1))  # type: ignore[no-any-return]


def line(name: str) -> Array:
    """Return the weights (d,) of a line: the destination alone, or the constant that is best on training tasks."""
    if name == "goal_only":
        return np.sign(delivery.WEIGHTS) * (np.arange(6) == np.argmax(delivery.WEIGHTS))
    import gymnasium as gym

    env: Any = gym.make("valuegym/RewardInference-v0", board="published")
    observation, _ = env.reset(seed=0)
    return np.asarray(Constant(env).predict(observation)[0], np.float64)


def fit(wanted: Sequence[Key], options: Options) -> list[Any]:
    """Return scores on the board and on maps never seen, of keys that differ only in the learner."""
    condition, _, n, part = wanted[0]
    if condition in LINES:
        return scored(np.stack([line(key[0]) for key in wanted]))
    human = datasets.load(condition, options.data)
    chosen = np.random.default_rng(0).permutation(len(human.labels))[part * n : (part + 1) * n]
    pairs, label = Segment(*(field[chosen] for field in human.segments)), human.labels[chosen]
    core = places()[0]
    task, _ = core.initial(keys.mix(0, np.array([0])))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    weights = np.concatenate([tasks.learner(key[1]).estimates(mdp, pairs, label, [n]) for key in wanted])
    return scored(weights / np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-12))


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    lines = {name: np.array(records[name, name, 0, 0]) for name in LINES if (name, name, 0, 0) in records}
    cells = {key: np.array(values) for key, values in harness.columns(records).items() if key[0] not in LINES}
    whole = [key[0] for key in cells if key[1:] == (LEARNERS[0], NUMBERS[0])]
    parts = [
        "# Rewards from people's answers, condition by condition",
        "Written by `python -m studies.preference.conditions --data FOLDER`; do not edit. Every published condition at "
        "hand. Its answers are shuffled once and dealt into disjoint sets; both Bayesian learners learn from each set. "
        "Near-optimal: share of sets whose reward scores at least 0.9; above the line: share of sets that score higher "
        "than `goal_only`, the destination's weight alone, which a learner is not told. Brackets: 95% bootstrap "
        "intervals over sets, which share no answer. Posteriors have 256 particles, so that a second run moves a share "
        "by some hundredths. All scores: [people-conditions.jsonl](data/people-conditions.jsonl).",
        "The board's own weights are one constant, and the board has one destination: there "
        + ", ".join(f"`{name}` scores {value[0]:.3f}" for name, value in lines.items())
        + f"; on {MAPS} maps never seen "
        + ", ".join(f"{value[1]:.3f}" for value in lines.values())
        + ". So a score near 1 shows little more than that the destination was found; tracks `relabelled-...` and "
        "`unseen-...` redraw labels in every episode, where learners keep their scores and constants lose theirs.",
    ]
    for place, title in enumerate(PLACES):
        body = []
        for condition in dict.fromkeys(whole):
            for n in NUMBERS:
                values = [cells.get((condition, name, n)) for name in LEARNERS]
                if any(value is None for value in values):
                    continue
                own = [value[:, place] for value in values if value is not None]
                row: list[Any] = [condition, n, len(own[0])]
                row += [report.estimate(report.near_optimal(scores)) for scores in own]
                row += [f"{scores.mean():.3f}" for scores in own]
                row += [report.estimate((scores > lines["goal_only"][place]).astype(float)) for scores in own]
                body.append(row)
        head = ["condition", "answers", "sets"]
        for what in ("near-optimal", "mean", "above the line"):
            head += [f"{what}, {name.replace('bayes_', '').replace('_', ' ')}" for name in LEARNERS]
        parts += [f"## {title.capitalize()}", report.table(head, body)]
    return {".md": report.page(*parts)}


STUDY = harness.Study("people-conditions", jobs, fit, pages)
PARSER = harness.parser(__doc__)
PARSER.add_argument("--numbers", type=int, nargs="+", default=NUMBERS, help="answers in a set")
PARSER.add_argument("--data", metavar="FOLDER", help="folder with the human data")


def main() -> None:
    """Run the study."""
    harness.run(STUDY, PARSER.parse_args())


if __name__ == "__main__":
    main()
