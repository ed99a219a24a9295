"""Count the preferences that learners need: on random tasks, on the published boards, and from people's answers.

    python -m studies.preference.learners near-optimal [--units 100] [--seeds 10] [--processes 2]
    python -m studies.preference.learners near-optimal --boards stored --data FOLDER
    python -m studies.preference.learners people --data FOLDER [--units 20]

near-optimal: units are random tasks of the split "test", each answered by every annotator, or the boards published with
Knox et al. (2024); seeds draw other pairs and other answers for the same task. people: units are shuffles of the
answers of one condition, cut into partitions of so many answers each, and every partition is learnt from on its own.
Fits of one task advance together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import stats

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from studies.report import NEAR_OPTIMAL
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, datasets, maps
from valuegym.envs.preference.reward_inference import EVALUATION_POINTS, RewardInference, Task
from valuegym.envs.preference.segments import Segment

VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "likelihood": {"prior_scale": 1000.0},  # as published: the prior is so wide that it is flat
    "nine-values": {"source": "nine-values", "prior_scale": 1000.0},
    "true-values": {"source": "true-values", "prior_scale": 1000.0},
}
SHORT = 300  # all seeds run up to this many preferences; more of them, and misspecified learners, with seed 0 only
PARTITIONS = (35, 89, 179, 358, 896, 1793)  # the published numbers of partitions, 50 to 1, of 1,793 answers
NAMES = {
    "partial_return": "partial return",
    "regret": "regret",
    "partial_return:likelihood": "partial return, maximum likelihood",
    "regret:likelihood": "regret, maximum likelihood",
    "bayes_partial_return": "Bayesian partial return",
    "bayes_regret": "Bayesian regret",
    "regret_library:nine-values": "regret, library of nine values",
    "regret_library:true-values": "regret, library of the true values",
}
TITLES = {
    "regret-noiseless": "answers by regret, noiseless",
    "regret": "answers by regret, Boltzmann",
    "partial-return-noiseless": "answers by partial return, noiseless",
    "partial-return": "answers by partial return, Boltzmann",
}
LEARNERS = tuple(name for name in NAMES if "library" not in name)
CONDITION = "Privileged-Control"

NEAR_OPTIMAL_PAGE = f"""# Near-optimal shares on random tasks

Written by `python -m studies.preference.learners near-optimal`; do not edit. Share of fits whose optimal policy scores
at least {NEAR_OPTIMAL} under the true reward (0 is uniformly random play, 1 is optimal), against the number of
preferences.
Tasks are of the split "test" of `RewardInference-v0`; seeds draw other pairs and other answers for the same task.
Seeds are fewer where fits are costly; a column says how many each figure rests on, in the order of the learners where
they differ. Brackets: 95% bootstrap intervals over tasks. All scores: [near-optimal.jsonl](data/near-optimal.jsonl).

![Near-optimal shares against preferences](near-optimal.svg)

Prior, particles and answer of the Bayesian learners were fixed on tasks of the split "dev" before the tasks here were
drawn.
"""
PUBLISHED_SETTING = """## Beside the published setting

Knox et al. (2024) test on 100 random tasks of their generator; 50 of them are public. An earlier reimplementation of
their learners on those 50 boards, one seed, gave for regret with exact values .96 to .98 near-optimal from 100
preferences on, and for partial return .84 to .92 at 1000, each on answers of its own kind. What differs here:

- Tasks: boards and weights come from the same generator, but which terminal item and which road item is the good one
  is drawn again, and features are permuted and flipped, so that no prior of a learner can know them.
- Pairs: start cells and actions are drawn uniformly for every pair. The published sets hold each distinct pair of
  segments once and are subsampled, so that frequent segments, such as bumps into the edge, are shown less often there.
- Sums are discounted in every statistic (the published code mixes undiscounted partial returns with values at discount
  .999), and transitions into terminal cells count in full.
- Learners: maximum likelihood there (Adam, one start), here a Gaussian prior of standard deviation 10 and several
  starts. With few preferences the prior is most of what a learner has, so the figures are hardly comparable there.
"""
STORED = """## The stored boards of the publication

The same learners on the 50 public boards with their published weights, features in their published order and with
their published signs, one seed. Pairs are drawn as above, not taken from the published sets.
"""
PEOPLE_PAGE = f"""# Rewards from people's answers

Written by `python -m studies.preference.learners people --data FOLDER`; do not edit. The answers of one condition are
shuffled and cut into disjoint partitions; every partition is learnt from on its own. Share of partitions whose optimal
policy scores at least {NEAR_OPTIMAL} on the delivery task; brackets: 95% bootstrap intervals over whole shuffles, where
there is more than one. Shuffles share the same answers, so intervals tell how far the figures depend on how the
answers were divided, not on which people were asked. All scores: [people.jsonl](data/people.jsonl).

![Near-optimal shares against answers in a partition](people.svg)

The Bayesian learners have the prior that they have everywhere: independent weights, fair signs, magnitudes log-uniform
from 0.1 to 100, the same for every feature. It is exchangeable over features and signs, and was fixed on simulated
tasks before any person's answer was seen. Of the libraries, that of the true values holds the delivery task's own
weights and with them the answer; it stands here to show what that is worth. "Maximum likelihood" and the libraries have
a prior so wide that it says nothing, as published; partial return and regret without these words have independent
normal weights of standard deviation 10 in units of the answers' noise. That is too narrow for people: no answer is in
favour of a sheep, so its weight should be far below all others, and the prior keeps it near.

**What the data guarantees.** The publishers' attention filter removed everyone who ever preferred a segment that hits
a sheep to one that does not, or called them equal: all 163 answers about such pairs in Privileged-Control avoid it,
none is a tie. So the answers are guaranteed to avoid the sheep, the costliest mistake on this board, and no learner
here has to find that out from people who disagree.
"""


# --- fits ---


def is_well_specified(learner: str, annotator: str) -> bool:
    """Return True if the learner assumes the statistic that the annotator compares."""
    return ("partial_return" in learner) == annotator.startswith("partial-return")


@lru_cache(maxsize=1)
def stored_boards(data: str) -> tuple[str, ...]:
    """Return the names of the published boards."""
    return tuple(sorted(name for name in maps.stored(data) if name.startswith(maps.MAIN)))


def synthetic(options: Options) -> Iterator[list[Key]]:
    """Yield the jobs of near-optimal: one task, one annotator, learners and numbers of preferences."""
    units = len(stored_boards(options.data)) if options.boards == "stored" else options.units
    short = [n for n in options.numbers if n <= SHORT]
    long = [n for n in options.numbers if n > SHORT]
    for seed in range(options.seeds):
        for well_specified, numbers in ((True, short), *(((True, long), (False, short)) if seed == 0 else ())):
            for unit in range(units):
                for annotator in options.annotators:
                    names = [name for name in options.learners if is_well_specified(name, annotator) == well_specified]
                    yield [(options.boards, annotator, name, n, seed, unit) for name in names for n in numbers]


def people(options: Options) -> Iterator[list[Key]]:
    """Yield the jobs of people: one partition of one shuffle of people's answers, and all learners."""
    total = len(datasets.load(CONDITION, options.data).labels)
    for unit in range(options.units):
        for n in options.numbers:
            for part in range(total // n):
                yield [(CONDITION, name, n, part, unit) for name in options.learners]


@lru_cache(maxsize=2)
def environment(annotator: str, board: str, data: str | None, longest: int) -> RewardInference:
    """Return the core of the environment, for queries and scores."""
    return RewardInference(annotator=annotator, split="test", board=board, data=data, evaluation_points=(longest,))


def learner(name: str) -> Any:
    """Return a learner by name, with the settings of the variant after the colon, if any."""
    agent, _, variant = name.partition(":")
    return tasks.learner(agent, **VARIANTS[variant])


def rows(task: Task, n: int) -> Task:
    """Return a task repeated n times along the leading axis, as views without copies."""
    return Task(*(np.broadcast_to(field, (n, *field.shape[1:])) for field in task))


def questions(core: RewardInference, task: Task, seed: int, n: int) -> tuple[Segment, Any]:
    """Return the first n pairs (n, 2, ...) and labels (n,); with seed 0, those of the environment's own episode."""
    if seed:
        task = task._replace(key=keys.mix(task.key, seed))
    blocks = [np.arange(first, min(first + 500, n + 1)) for first in range(1, n + 1, 500)]
    found = [core.query(rows(task, len(block)), block) for block in blocks]
    pairs = Segment(*(np.concatenate(fields) for fields in zip(*(pair for pair, _ in found), strict=True)))
    return pairs, annotators.labels(np.concatenate([answer for _, answer in found]))


def fit(wanted: Sequence[Key], options: Options) -> list[float]:
    """Return scores, truncated to three decimals, of keys that differ only in learner and number of preferences.

    Rounding up could turn a score just below the threshold into a near-optimal one.
    """
    *first, _, _, part, unit = wanted[0]
    names, numbers = (sorted({key[i] for key in wanted}, key=str if i == -4 else int) for i in (-4, -3))
    if len(first) == 1:
        core = environment(f"human:{first[0]}", "random", options.data, 1)
        human = core.source.human
        assert human is not None
        task, _ = core.initial(keys.mix(0, np.array([0])))
        chosen = np.random.default_rng(unit).permutation(len(human.labels))
        chosen = chosen[part * numbers[0] : (part + 1) * numbers[0]]
        pairs, label = Segment(*(field[chosen] for field in human.segments)), human.labels[chosen]
    else:
        boards, annotator = first
        board = f"stored:{stored_boards(options.data)[unit]}" if boards == "stored" else boards
        core = environment(annotator, board, options.data, max(numbers))
        task, _ = core.initial(keys.mix(0, np.array([0 if boards == "stored" else unit])))
        pairs, label = questions(core, task, part, max(numbers))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    weights = np.concatenate([learner(name).estimates(mdp, pairs, label, numbers) for name in names])
    weights /= np.maximum(np.abs(weights).max(-1, keepdims=True), 1e-12)
    scores = core.score(rows(task, len(weights)), weights.astype(np.float32)).tolist()
    found = dict(zip(((name, n) for name in names for n in numbers), scores, strict=True))
    return [math.floor(found[key[-4], key[-3]] * 1000 + 1e-9) / 1000 for key in wanted]


# --- the pages ---

Scores = dict[tuple[str, str, int], dict[tuple[int, int], float]]  # (annotator, learner, n) -> (unit, part) -> score
SHARE = report.decimals(3)
GAIN = report.decimals(3, "+")


def cells(records: Records, *start: str) -> Scores:
    """Return scores by cell, of the records whose keys begin with `start`."""
    found: Scores = {}
    for key, score in records.items():
        if key[: len(start)] == start:
            annotator, name, n, part, unit = key[len(start) :]
            found.setdefault((annotator, name, n), {})[unit, part] = score
    return found


def shares(scores: dict[tuple[int, int], float], only: Iterable[tuple[int, int]] | None = None) -> Any:
    """Return the near-optimal share (units,) among each unit's parts; `only` restricts it to some (unit, part)."""
    parts: dict[int, list[bool]] = {}
    for key in sorted(scores if only is None else only):
        parts.setdefault(key[0], []).append(scores[key] >= NEAR_OPTIMAL)
    return np.array([np.mean(near) for near in parts.values()])


def show(by_unit: Any, number: Any = SHARE) -> str:
    """Return an estimate as text; a single unit has no interval."""
    return report.show(report.estimate(by_unit), number) if len(by_unit) > 1 else number(float(by_unit[0]))


def paired(scores: Scores, first: tuple[str, str, int], second: tuple[str, str, int]) -> tuple[Any, Any] | None:
    """Return shares (units,) of two groups, over the units and parts that both have."""
    if first not in scores or second not in scores:
        return None
    both = scores[first].keys() & scores[second].keys()
    return (shares(scores[first], both), shares(scores[second], both)) if both else None


def difference(scores: Scores, first: tuple[str, str, int], second: tuple[str, str, int]) -> str:
    """Return the paired difference of two groups as text."""
    found = paired(scores, first, second)
    return show(found[0] - found[1], GAIN) if found else ""


def numbers_of(scores: Scores, annotator: str) -> list[int]:
    """Return the numbers of preferences of an annotator."""
    return sorted({n for name, _, n in scores if name == annotator})


def count(scores: Scores, annotator: str, learner: str, n: int) -> str:
    """Return units and their parts, as "100 x 10"."""
    keys = scores.get((annotator, learner, n), {})
    units = {unit for unit, _ in keys}
    return f"{len(units)} x {len(keys) / len(units):.3g}" if units else ""


def share_table(scores: Scores, annotator: str, learners: list[str], pairs: list[tuple[str, str]]) -> list[str]:
    """Return a section of near-optimal shares against preferences and of paired differences, if there are any."""
    learners = [name for name in learners if any(key[:2] == (annotator, name) for key in scores)]
    head = ["preferences", "tasks x seeds", *(NAMES[name] for name in learners)]
    head += [f"{NAMES[a]} - {NAMES[b]}" for a, b in pairs]
    body = []
    for n in numbers_of(scores, annotator):
        found = [scores.get((annotator, name, n)) for name in learners]
        counts = dict.fromkeys(filter(None, (count(scores, annotator, name, n) for name in learners)))
        if counts:
            body.append(
                [
                    *(n, " / ".join(counts)),
                    *(show(shares(group)) if group else "" for group in found),
                    *(difference(scores, (annotator, a, n), (annotator, b, n)) for a, b in pairs),
                ]
            )
    title = TITLES[annotator]
    return [f"### {title[0].upper()}{title[1:]}", report.table(head, body)] if body else []


def matching(annotator: str) -> list[str]:
    """Return the learners that assume the statistic that the annotator compares: point estimates, then Bayesian."""
    return [name for name in LEARNERS if is_well_specified(name, annotator)]


def near_optimal_pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page about random tasks and stored boards, and its figure."""
    scores, stored = cells(records, "random"), cells(records, "stored")
    parts = [NEAR_OPTIMAL_PAGE, "## Learners that assume the annotator's statistic"]
    for annotator in TITLES:
        point, _, bayes = matching(annotator)
        parts += share_table(scores, annotator, matching(annotator), [(bayes, point)])
    parts += [
        "## Regret against partial return, each on answers of its own kind",
        "Paired differences on the same tasks and pairs of segments; only what the annotator compares differs.",
    ]
    rivals = [("regret", "partial_return"), ("regret", "partial_return:likelihood")]
    rivals.append(("bayes_regret", "bayes_partial_return"))
    kinds = [(f"regret{x}", f"partial-return{x}", *pair) for x in ("-noiseless", "") for pair in rivals]
    head = [f"{NAMES[left]} - {NAMES[right]}, {TITLES[a].split(', ')[1]}" for a, _, left, right in kinds]
    body = [
        [n, *(difference(scores, (a, left, n), (b, right, n)) for a, b, left, right in kinds)]
        for n in sorted({n for _, _, n in scores})
    ]
    parts.append(report.table(["preferences", *head], body))
    other = []
    for annotator in TITLES:
        others = [name for name in LEARNERS if name not in matching(annotator)]
        other += share_table(scores, annotator, others, [])
    if other:
        parts += [
            "## Learners that assume another statistic",
            "The seeds are fewer: they show the cost of the wrong model, not the size of small differences.",
            *other,
        ]
    parts += ["## Claims", verdicts(scores), PUBLISHED_SETTING]
    if stored:
        parts.append(STORED)
        for annotator in TITLES:
            parts += share_table(stored, annotator, matching(annotator), [tuple(matching(annotator)[::-2])])  # type: ignore[list-item]
    return {".md": report.page(*parts), ".svg": figure(scores, TITLES, "preferences")}


def verdicts(scores: Scores) -> str:
    """Return the claims with their verdicts, computed from the scores."""
    lines = []
    for annotator in ("regret-noiseless", "regret"):
        if group := scores.get((annotator, "bayes_regret", 30)):
            found = report.estimate(shares(group))
            verdict = "holds" if found.point >= 0.95 else "fails"
            lines.append(
                f"- Bayesian regret is at least .95 near-optimal at 30 preferences, {TITLES[annotator]}: {verdict}, "
                f"{report.show(found, SHARE)}."
            )
    worse, compared = [], 0
    for annotator in ("regret-noiseless", "regret"):
        for n in numbers_of(scores, annotator):
            if pair := paired(scores, (annotator, "bayes_regret", n), (annotator, "regret", n)):
                compared += 1
                if report.estimate(pair[0] - pair[1]).high < 0:
                    worse.append(f"{TITLES[annotator]}, {n} preferences")
    lines.append(
        f"- Bayesian regret is significantly worse than regret (interval below 0) in {len(worse)} of {compared} "
        f"comparisons on answers by regret{': ' + '; '.join(worse) if worse else ''}."
    )
    return "\n".join(lines)


def people_pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page about people's answers and its figure."""
    scores = cells(records)
    titles = {name: name for name in sorted({key[0] for key in scores})}
    learners = [name for name in NAMES if any(key[1] == name for key in scores)]
    parts = [PEOPLE_PAGE]
    for annotator in titles:
        body, gains = [], []
        for n in numbers_of(scores, annotator):
            for name in learners:
                if group := scores.get((annotator, name, n)):
                    mean = SHARE(float(np.mean(list(group.values()))))
                    body.append([n, NAMES[name], count(scores, annotator, name, n), show(shares(group)), mean])
                found = paired(scores, (annotator, "bayes_regret", n), (annotator, name, n))
                if name != "bayes_regret" and found:
                    values = [show(gain := found[0] - found[1], GAIN), len(gain), wilcoxon(gain)]
                    gains.append([n, f"Bayesian regret - {NAMES[name]}", *values])
        parts += [
            f"## {annotator}",
            report.table(["answers", "learner", "shuffles x partitions", "near-optimal", "mean score"], body),
            "### Paired differences",
            "p: Wilcoxon's signed-rank test over shuffles, two-sided.",
            report.table(["answers", "difference", "near-optimal", "shuffles", "p"], gains),
        ]
    return {".md": report.page(*parts), ".svg": figure(scores, titles, "answers in a partition")}


def wilcoxon(differences: Array) -> str:
    """Return the p-value as text, empty with fewer than 5 differences or if all are 0."""
    if len(differences) < 5 or not np.any(differences):
        return ""
    return f"{stats.wilcoxon(differences, method='approx').pvalue:.2g}"


def figure(scores: Scores, titles: Mapping[str, str], x: str) -> str:
    """Return shares against numbers of preferences, one panel for each annotator."""
    panels = []
    for annotator, title in titles.items():
        numbers, curves = numbers_of(scores, annotator), []
        for style, (name, label) in enumerate(NAMES.items()):
            groups = [scores.get((annotator, name, n)) for n in numbers]
            dashed = annotator in TITLES and not is_well_specified(name, annotator)
            y = [report.estimate(shares(group)) if group else None for group in groups]
            curves.append(figures.Curve(label, y, style, dashed))
        if numbers:
            panels.append(figures.Panel(title, x, "near-optimal share", curves, numbers))
    return figures.draw(panels, columns=2)


STUDIES = {
    "near-optimal": harness.Study("near-optimal", synthetic, fit, near_optimal_pages),
    "people": harness.Study("people", people, fit, people_pages),
}
PARSER = harness.parser(__doc__)
PARSER.add_argument("study", choices=STUDIES)
PARSER.add_argument("--units", type=int, help="tasks or shuffles (default: 100 or 20)")
PARSER.add_argument("--seeds", type=int, default=10, help="of every random task")
PARSER.add_argument("--boards", default="random", choices=("random", "stored"))
PARSER.add_argument("--numbers", type=int, nargs="+", help="numbers of preferences")
PARSER.add_argument("--learners", nargs="+", choices=NAMES)
PARSER.add_argument("--annotators", nargs="+", default=list(TITLES), choices=sorted(annotators.ANNOTATORS))
PARSER.add_argument("--data", metavar="FOLDER", help="folder with the human data and the stored boards")


def options_of(arguments: Sequence[str] | None = None) -> Options:
    """Return parsed arguments, with the defaults of their study."""
    options = PARSER.parse_args(arguments)
    humans = options.study == "people"
    options.units = options.units or (20 if humans else 100)
    options.numbers = options.numbers or (PARTITIONS if humans else EVALUATION_POINTS)
    options.learners = options.learners or (tuple(NAMES) if humans else LEARNERS)
    return options


if __name__ == "__main__":
    OPTIONS = options_of()
    harness.run(STUDIES[OPTIONS.study], OPTIONS)
