"""A learner that is not told how people answer, against two that are: on people, and on simulated annotators.

    python -m studies.preference.mixture [--data FOLDER] [--blocks 12] [--shuffles 2] [--units 40] [--seeds 2] [--table]

people: the answers of every condition in the folder are shuffled and cut into disjoint blocks of 35 and 89; all
learners see the same blocks. boards: random tasks of the split "test", answered by annotators of four kinds; the
learner that was told knows the statistic (not the temperature, nor that there are lapses). Further seeds run the
mixture again with other random numbers, for the error of its sampler.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from studies import harness
from studies.harness import Key, Options, Records
from studies.preference import learners, tasks
from valuegym.agents.preference import comparisons, decisions, posterior
from valuegym.agents.preference.bayes_mixture import BayesMixture
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, datasets, models
from valuegym.envs.preference.annotators import Simulated
from valuegym.envs.preference.human_data import HumanPreferences
from valuegym.envs.preference.reward_inference import RewardInference, Task
from valuegym.envs.preference.segments import Segment

SIZES = (35, 89)
SINGLE = ("regret", "partial return")
LEARNERS = ("mixture", *SINGLE)
ANNOTATORS: dict[str, Simulated] = {
    "regret": annotators.ANNOTATORS["regret"],
    "partial return": annotators.ANNOTATORS["partial-return"],
    "regret, temperature 3": Simulated(models.Regret(), models.BradleyTerry(3.0)),
    "regret, 10% lapses": annotators.ANNOTATORS["regret-lapse"],
}
LARGE = 1000  # conditions with fewer answers are shuffled several times


@lru_cache(maxsize=16)
def answers(condition: str, data: str | None) -> HumanPreferences:
    """Return the answers of a condition."""
    return datasets.load(condition, data, unverified=True)


@lru_cache(maxsize=1)
def published() -> tuple[RewardInference, Task]:
    """Return the core and the task of the published board."""
    core = RewardInference(board="published", evaluation_points=(1,))
    return core, core.initial(keys.mix(0, np.array([0])))[0]


@lru_cache(maxsize=8)
def simulated(annotator: str) -> RewardInference:
    """Return the core whose tasks and pairs a simulated annotator answers."""
    core = RewardInference(evaluation_points=(max(SIZES),), split="test")
    core.source.annotator = ANNOTATORS[annotator]
    return core


def blocks(total: int, n: int, options: Options) -> list[tuple[int, int]]:
    """Return shuffles and parts of the blocks of n answers out of so many."""
    shuffles = 1 if total >= LARGE else options.shuffles
    return [(shuffle, part) for shuffle in range(shuffles) for part in range(min(total // n, options.blocks))]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one block each, the conditions in turn, further seeds after the first, then the simulated annotators."""
    found = sorted(datasets.present(options.data, unverified=True)) if options.data else []
    for seed in range(options.seeds):
        rows = []
        for condition in found:
            total = len(answers(condition, options.data).labels)
            each = [[[("people", condition, n, seed, *block)] for block in blocks(total, n, options)] for n in SIZES]
            row = list(chain.from_iterable(zip_longest(*each)))
            rows.append(row if seed == 0 else row[: options.again])
        yield from filter(None, chain.from_iterable(zip_longest(*rows)))
    for unit in range(options.units):
        for annotator in ANNOTATORS:
            yield [("boards", annotator, n, 0, 0, unit) for n in SIZES]


def run(wanted: Sequence[Key], options: Options) -> list[Any]:
    """Return the scores of learners by rule, and what the mixture believes, for each key."""
    return [_run(key, options) for key in wanted]


def _run(key: Key, options: Options) -> Any:
    kind, name, n, seed, shuffle, part = key
    if kind == "people":
        (core, task), human = published(), answers(name, options.data)
        chosen = np.random.default_rng(shuffle).permutation(len(human.labels))[part * n : (part + 1) * n]
        pairs, label = Segment(*(field[chosen] for field in human.segments)), human.labels[chosen]
        pairs, label = Segment(*(field[~np.isnan(label)] for field in pairs)), label[~np.isnan(label)]
    else:
        core = simulated(name)
        task, _ = core.initial(keys.mix(0, np.array([part])))
        pairs, label = learners.questions(core, task, 0, n)
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)

    def scores(choices: decisions.Choices) -> Any:
        weights = np.stack([decisions.pick(choices, rule).weights for rule in decisions.RULES])
        weights /= np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-12)
        return harness.rounded(core.score(learners.rows(task, len(weights)), weights.astype(np.float32)), 4)

    rng = np.random.default_rng([seed, n, part])
    agent: BayesMixture = tasks.learner("bayes_mixture")
    found = agent.posterior(mdp, pairs, label, rng)
    considered = agent.choices(found, rng)
    beliefs = agent.beliefs(found, considered)
    result: dict[str, Any] = {
        "mixture": scores(considered),
        "kinds": [harness.rounded(one, 4) for one in beliefs.kinds.values()],
        "lapse": harness.rounded(beliefs.lapse, 4),
        "score": harness.rounded(beliefs.score, 4),
    }
    if seed == 0:
        small = condense(mdp)
        values = OptimalValues(small.mdp)
        compared = {
            "regret": comparisons.regret(small.mdp, small.renumbered(pairs)),
            "partial return": comparisons.partial_return(pairs, mdp.discount),
        }
        wanted = SINGLE if kind == "people" else ("partial return",) if name == "partial return" else ("regret",)
        for single in wanted:
            likelihood = posterior.likelihood(values, compared[single], label)
            sample = next(posterior.samples(likelihood, [len(label)], int(rng.integers(2**63)), mdp.features.shape[-1]))
            result[single] = scores(decisions.choices(values, *sample, rng))
    return result


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    return {}


STUDY = harness.Study("mixture", jobs, run, pages)
PARSER = harness.parser(__doc__, units=40, seeds=2)
PARSER.add_argument("--blocks", type=int, default=12, help="at most, of each shuffle and size")
PARSER.add_argument("--again", type=int, default=8, help="blocks of each condition that further seeds repeat")
PARSER.add_argument("--shuffles", type=int, default=2, help=f"of conditions with fewer than {LARGE} answers")
PARSER.add_argument("--data", default=os.environ.get(datasets.VARIABLE), help="folder with people's answers")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
