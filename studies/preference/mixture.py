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

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import learners, tasks
from valuegym.agents.preference import comparisons, decisions, posterior, response_models
from valuegym.agents.preference.bayes_mixture import BayesMixture
from valuegym.agents.preference.constant import candidates
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
PEOPLE, EACH = 12, 8  # of a simulated crowd, and answers of each
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
    """Yield one block each, the conditions in turn, further seeds after the first; then what is simulated."""
    found = sorted(datasets.present(options.data, unverified=True)) if options.data else []
    yield from ([("total", condition, 0, 0, 0, 0)] for condition in found)
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
    for unit in range(options.crowds):
        yield [("crowd", "simulated", PEOPLE * EACH, 0, 0, unit)]


def run(wanted: Sequence[Key], options: Options) -> list[Any]:
    """Return the scores of learners by rule, and what the mixture believes, for each key."""
    return [_run(key, options) for key in wanted]


def crowd(unit: int) -> dict[str, Any]:
    """Return scores from the answers of a simulated crowd, by rule, with and without knowing who answered.

    People of three kinds (all but the end state) share the weights of a random board; scales differ by a log-normal
    factor, and a quarter of them give three answers of five without looking.
    """
    core, rng = simulated("regret"), np.random.default_rng([5, unit])
    task, _ = core.initial(keys.mix(0, np.array([unit])))
    pairs, _ = learners.questions(core, task, 0, PEOPLE * EACH)
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    small = condense(mdp)
    about = response_models.terms(small.mdp, small.renumbered(pairs))
    found = response_models.differences(about, task.weights, OptimalValues(small.mdp)(task.weights))
    person, second = np.arange(PEOPLE * EACH) % PEOPLE, np.empty(PEOPLE * EACH)
    common = rng.random((response_models.LATENTS, 1))
    for j in range(PEOPLE):
        own, kind = common.copy(), rng.integers(3)
        own[: len(response_models.KINDS)] = np.clip(0.5 + 0.2 * rng.standard_normal(), 0, 1)
        own[len(response_models.KINDS)] = 0.0  # no lapses here; careless people have them below
        lapse = 0.6 if rng.random() < 0.25 else 0.02
        p = response_models.second(about, found, own)[kind, :, 0]
        second = np.where(person == j, lapse / 2 + (1 - lapse) * p, second)
    label = 1.0 * (rng.random(len(second)) < second)
    agent: BayesMixture = tasks.learner("bayes_mixture", particles=128)
    result = {}
    for name, who in (("people known", person), ("one annotator", None)):
        draws = agent.posterior(mdp, pairs, label, np.random.default_rng(unit), who)
        result[name] = scored(core, task, agent.choices(draws, np.random.default_rng(unit)))
    return result


def scored(core: RewardInference, task: Task, choices: decisions.Choices) -> Any:
    """Return the scores of the answer by each rule."""
    weights = np.stack([decisions.pick(choices, rule).weights for rule in decisions.RULES])
    weights /= np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-12)
    return harness.rounded(core.score(learners.rows(task, len(weights)), weights.astype(np.float32)), 4)


def _run(key: Key, options: Options) -> Any:
    kind, name, n, seed, shuffle, part = key
    if kind == "crowd":
        return crowd(part)
    if kind == "total":
        return len(answers(name, options.data).labels)
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

    rng = np.random.default_rng([seed, n, part])
    agent: BayesMixture = tasks.learner("bayes_mixture")
    found = agent.posterior(mdp, pairs, label, rng)
    considered = agent.choices(found, rng)
    beliefs = agent.beliefs(found, considered)
    result: dict[str, Any] = {
        "mixture": scored(core, task, considered),
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
            result[single] = scored(core, task, decisions.choices(values, *sample, rng))
    return result


# --- the page ---

NUMBER, SIGNED = report.decimals(3), report.decimals(3, "+")
RULE = decisions.RULES.index("score")
MARGIN = 0.03  # of non-inferiority
Blocks = dict[tuple[str, int], list[Mapping[str, Any]]]  # (condition, n) -> values


def near(values: Sequence[Mapping[str, Any]], learner: str, rule: int = RULE) -> Array:
    """Return 1.0 for each block that a learner makes near-optimal, else 0.0."""
    return report.near_optimal(np.array([value[learner][rule] for value in values]))


def resampled_mean(groups: Sequence[Array], sizes: Sequence[int]) -> report.Estimate:
    """Return the mean over groups of the mean of their blocks, with an interval that resamples blocks.

    Each replicate takes as many blocks of a group as one shuffle of its answers has, for these share no answer.
    """
    rng, draws = np.random.default_rng(0), np.zeros(4000)
    for values, size in zip(groups, sizes, strict=True):
        draws += values[rng.integers(len(values), size=(4000, size))].mean(1) / len(groups)
    low, high = np.quantile(draws, [0.025, 0.975])
    return report.Estimate(float(np.mean([values.mean() for values in groups])), float(low), float(high))


def sized(total: int, n: int, found: int) -> int:
    """Return how many of the blocks that were found share no answer."""
    return max(min(total // n, found), 1)


def people_parts(first: Blocks, totals: Mapping[str, int]) -> list[str]:
    """Return tables of people's answers."""
    head = ["answers", "condition", "blocks", *LEARNERS, "mixture - better"]
    rows, rules = [], []
    for n in SIZES:
        cells = {c: values for (c, m), values in first.items() if m == n}
        sizes = [sized(totals[c], n, len(values)) for c, values in cells.items()]
        means = {name: np.mean([near(values, name).mean() for values in cells.values()]) for name in LEARNERS}
        for (c, values), size in zip(cells.items(), sizes, strict=True):
            shares = {name: near(values, name) for name in LEARNERS}
            better = max(SINGLE, key=lambda name: shares[name].mean())
            gap = resampled_mean([shares["mixture"] - shares[better]], [size])
            each = [report.show(resampled_mean([share], [size]), NUMBER) for share in shares.values()]
            rows.append([n, c, len(values), *each, report.show(gap, SIGNED)])
        better = max(SINGLE, key=lambda name: means[name])
        groups = {name: [near(values, name) for values in cells.values()] for name in LEARNERS}
        gaps = [x - y for x, y in zip(groups["mixture"], groups[better], strict=True)]
        whole = [report.show(resampled_mean(group, sizes), NUMBER) for group in groups.values()]
        rows.append(
            [n, "**mean**", sum(map(len, cells.values())), *whole, report.show(resampled_mean(gaps, sizes), SIGNED)]
        )
        for rule, title in enumerate(decisions.RULES):
            by = [resampled_mean([near(v, name, rule) for v in cells.values()], sizes) for name in LEARNERS]
            rules.append([n, title, *(report.show(one, NUMBER) for one in by)])
    return [
        report.table(head, rows),
        "## The rule that turns a posterior into an answer",
        "The same posteriors, mean over conditions. Rules: `valuegym.agents.preference.decisions`. The learners are "
        'compared by "score" above, which was chosen on simulated people.',
        report.table(["answers", "rule", *LEARNERS], rules),
    ]


def sampler_parts(first: Blocks, again: Blocks) -> list[str]:
    """Return how far two runs of the sampler differ on the same answers."""
    rows = []
    for n in SIZES:
        pairs = [
            (x, y) for (c, m), old in first.items() if m == n for x, y in zip(old, again.get((c, n), []), strict=False)
        ]
        if not pairs:
            continue
        x, y = (near([pair[i] for pair in pairs], "mixture") for i in (0, 1))
        blocks = sum(len(values) for (_, m), values in first.items() if m == n)
        error = float(np.sqrt(((x - y) ** 2).mean() / 2 / blocks))
        beliefs = [
            np.mean([max(e for _, e in v["kinds"]) for v, _ in pairs]),
            np.mean([v["score"][1] for v, _ in pairs]),
        ]
        rows.append(
            [n, len(pairs), NUMBER(float((x != y).mean())), NUMBER(error), *(NUMBER(float(b)) for b in beliefs)]
        )
    head = [
        "answers", "blocks run twice", "near-optimal in one run only", "error of the mean share",
        "error of a kind's probability", "error of the expected score",
    ]  # fmt: skip
    return [report.table(head, rows)]


def belief_table(first: Blocks) -> str:
    """Return what the mixture believes of the people of each condition."""
    rows = []
    for (c, n), values in first.items():
        if n == max(SIZES):
            kinds = np.mean([[mean for mean, _ in value["kinds"]] for value in values], 0)
            lapse = np.mean([value["lapse"][0] for value in values])
            rows.append([c, len(values), *map(NUMBER, [*kinds.tolist(), float(lapse)])])
    return report.table(["condition", "blocks", *response_models.KINDS, "lapse"], rows)


def board_table(records: Records) -> str:
    """Return mixture against the learner that was told, on random boards."""
    rows = []
    for annotator in ANNOTATORS:
        told = "partial return" if annotator == "partial return" else "regret"
        for n in SIZES:
            values = [
                v for k, v in sorted(records.items(), key=lambda kv: kv[0][-1]) if k[:3] == ("boards", annotator, n)
            ]
            if not values:
                continue
            by = {name: np.array([value[name][RULE] for value in values]) for name in ("mixture", told)}
            gaps = [by["mixture"] - by[told], report.near_optimal(by["mixture"]) - report.near_optimal(by[told])]
            score, share = (report.estimate(gap) for gap in gaps)
            rows.append(
                [
                    *(annotator, n, len(values)),
                    *(NUMBER(float(report.near_optimal(x).mean())) for x in by.values()),
                    *(NUMBER(float(x.mean())) for x in by.values()),
                    *(report.show(share, SIGNED), report.show(score, SIGNED)),
                    "yes" if score.low > -MARGIN else "not shown",
                ]
            )
    head = ["answers by", "answers", "boards", "share", "share, told", "score", "score, told"]
    return report.table([*head, "share - told", "score - told", f"score not worse by {MARGIN}"], rows)


def crowd_table(records: Records) -> str:
    """Return what knowing who answered is worth."""
    values = [value for key, value in sorted(records.items(), key=lambda item: item[0][-1]) if key[0] == "crowd"]
    if not values:
        return ""
    names = ("people known", "one annotator")
    by = {name: np.array([value[name][RULE] for value in values]) for name in names}
    rows = [
        [len(values), what, *(report.show(report.estimate(x), NUMBER) for x in found), report.show(gap, SIGNED)]
        for what, turn in (("score", np.asarray), (f"share of at least {report.NEAR_OPTIMAL}", report.near_optimal))
        for found in [[turn(x) for x in by.values()]]
        for gap in [report.estimate(found[0] - found[1])]
    ]
    return report.table(["crowds", "of the mixture", *names, "difference"], rows)


def constants() -> tuple[float, float]:
    """Return the score of the best constant on the published board, and of the best where order and signs are drawn."""
    core, task = published()
    options = candidates(len(task.weights[0]))
    scores = core.score(learners.rows(task, len(options)), options)
    kind = np.count_nonzero(options, axis=1)
    return float(scores.max()), max(float(scores[kind == k].mean()) for k in (0, 1, 2))


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    first, again = Blocks(), Blocks()
    for key, value in sorted(records.items(), key=lambda item: (item[0][1], item[0][2], *item[0][3:])):
        if key[0] == "people":
            (again if key[3] else first).setdefault((key[1], key[2]), []).append(value)
    totals = {key[1]: value for key, value in records.items() if key[0] == "total"}
    best, drawn = constants()
    parts = [
        "# A learner that is not told how people answer",
        "Written by `python -m studies.preference.mixture --data FOLDER`; do not edit. `bayes_mixture` has a posterior "
        "over weights and over how people answer (regret, partial return, subjective utility, end state, with scales "
        "and lapses); `bayes_regret` and `bayes_partial_return` each take one for granted. Share of blocks of "
        f"answers from which the learnt policy scores at least {report.NEAR_OPTIMAL}. Prior, sampler and rule were "
        'fixed on simulated people and boards of the split "dev", and committed before any person\'s answer was '
        "learnt from. [Records](data/mixture.jsonl).",
        f"The best constant answer, known to fit this board, scores {NUMBER(best)}; where the order and the signs of "
        "features are drawn for every task, which changes nothing for the learners here, the best constant scores "
        f"{NUMBER(drawn)}.",
    ]
    if totals:
        parts += [
            "## People",
            "Answers are shuffled and cut into disjoint blocks, the same for all learners. Brackets: 95% bootstrap "
            "intervals that resample blocks, as many as one shuffle has, so that they are over answers and not over "
            "shuffles. Better: the single learner with the higher share, chosen afterwards, in each row.",
            *people_parts(first, totals),
            "## The sampler",
            "Blocks that were run a second time with other random numbers: how often near-optimality differs, and the "
            "Monte Carlo standard error that this gives the mean share over all blocks. Errors of beliefs come from "
            "the spread of four islands, averaged over blocks.",
            *sampler_parts(first, again),
            "## What it believes of people",
            f"Means over blocks of {max(SIZES)} answers. Prior: 0.3, 0.3, 0.3, 0.1.",
            belief_table(first),
        ]
    parts += [
        "## Random boards",
        'Tasks of the split "test". The learner that was told knows the statistic, not that the temperature is 3 or '
        "that a tenth of the answers are lapses. Differences are paired; 95% bootstrap intervals over boards.",
        board_table(records),
        "## Who answered",
        f"Simulated crowds of {PEOPLE} people with {EACH} answers each on random boards, who differ in kind and scale, "
        "and a quarter of whom give 0.6 of their answers without looking. The mixture with 128 particles an island, "
        "with and without a number for each person.",
        crowd_table(records),
    ]
    return {".md": report.page(*parts)}


STUDY = harness.Study("mixture", jobs, run, pages)
PARSER = harness.parser(__doc__, units=40, seeds=2)
PARSER.add_argument("--crowds", type=int, default=8, help="simulated crowds")
PARSER.add_argument("--blocks", type=int, default=12, help="at most, of each shuffle and size")
PARSER.add_argument("--again", type=int, default=8, help="blocks of each condition that further seeds repeat")
PARSER.add_argument("--shuffles", type=int, default=2, help=f"of conditions with fewer than {LARGE} answers")
PARSER.add_argument("--data", default=os.environ.get(datasets.VARIABLE), help="folder with people's answers")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
