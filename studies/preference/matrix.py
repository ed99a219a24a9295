"""Answered by A, learnt by B: what every learner makes of every annotator's answers, by the true return.

    python -m studies.preference.matrix [--units 40] [--pairs 200] [--processes 2]
    python -m studies.preference.matrix --quick

Units are boards of the split "test". Of one board all annotators answer the same pairs, with the same random numbers.
`--quick` takes two boards and 40 pairs, and writes to build/annotator-matrix unless `--docs` names a folder.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from studies.preference.matrix_annotators import (
    BOARDS,
    HELD_OUT,
    LENGTH,
    MINORITY,
    ROUNDS,
    ROWS,
    USERS,
    Board,
    answers,
    board,
)
from studies.preference.matrix_learners import COLUMNS, FIT, MEMBERS, SLOW, Data, Learnt
from studies.report import Estimate
from valuegym.envs import mdp as tabular
from valuegym.envs.feedback.answers import Answers, entropy
from valuegym.envs.preference.segments import Segment

NAME = "annotator-matrix"
ANSWERS = "answers"  # stands for a learner in the keys of what is known of the answers themselves
PAIRS, UNITS = 200, 40
ROUNDING = 1e-6  # of logits, relative to the largest
QUICK = {"units": 2, "pairs": 40}
ROW_GROUPS, COLUMN_GROUPS = (tuple(dict.fromkeys(entry.group for entry in table.values())) for table in (ROWS, COLUMNS))
COMMON = [
    name for name, column in COLUMNS.items() if column.group != "control" and not (column.strengths or column.kinds)
]


# --- jobs ---


def applies(row: str, column: str) -> bool:
    """Return whether a learner can learn from an annotator: some need strengths, or two kinds of users."""
    who, what = ROWS[row], COLUMNS[column]
    return (who.strengths or not what.strengths) and (who.kinds or not what.kinds)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each board: all annotators, and all learners that can learn from them."""
    for unit in range(options.units):
        for kind in BOARDS:
            rows = [name for name in options.annotators if ROWS[name].board == kind]
            keys = [(options.pairs, row, ANSWERS, unit) for row in rows]
            for column in options.learners:
                keys += [(options.pairs, row, column, unit) for row in rows if applies(row, column)]
            if keys:
                yield keys


def some(pairs: Segment, rows: Any) -> Segment:
    """Return some of the pairs."""
    return Segment(*(field[rows] for field in pairs))


def run(keys: Sequence[Key], options: Options) -> list[list[float | None]]:
    """Return the values of one board: of answers as `facts`, of learners as `value`."""
    n, _, _, unit = keys[0]
    names = list(dict.fromkeys(key[1] for key in keys))
    on = board(unit, n, ROWS[names[0]].board)
    found = {name: answers(name, on, unit) for name in names}
    values: dict[tuple[str, str], list[float | None]] = {}
    for column in dict.fromkeys(key[2] for key in keys):
        wanted = [key[1] for key in keys if key[2] == column]
        if column == ANSWERS:
            values |= {(row, column): facts(found[row]) for row in wanted}
            continue
        needs = COLUMNS[column].group != "control"
        some_answer = [row for row in wanted if not (needs and found[row][:n].skipped.all())]
        learnt = dict.fromkeys(wanted, Learnt(tabular.uniform_policy(on.task.mdp), np.zeros(HELD_OUT)))
        if some_answer:
            users = on.first.info["user"]
            data = Data(
                on.task,
                some(on.pairs, slice(n)),
                np.array([found[row].labels[:n] for row in some_answer]),
                np.array([found[row].strength[:n] for row in some_answer]),
                users[:n],
                some(on.pairs, slice(n, None)),
                users[n:],
                unit,
            )
            learnt |= dict(zip(some_answer, COLUMNS[column].learn(data), strict=True))
        values |= {(row, column): value(on, learnt[row], found[row][n:], ROWS[row].kinds) for row in wanted}
    return [[None if x is None else harness.rounded(x) for x in values[key[1:3]]] for key in keys]


def finite(x: float) -> float | None:
    """Return a number, or None in place of NaN."""
    return float(x) if np.isfinite(x) else None


def facts(given: Answers) -> list[float | None]:
    """Return the shares of answers and of "the same" among them, their entropy in bits, and the best accuracy."""
    there = given[~given.skipped]
    decided = there[there.labels != 0.5]
    best = np.maximum(decided.probability, 1 - decided.probability)
    return [
        len(there) / len(given),
        finite(np.mean(there.labels == 0.5)) if len(there) else None,
        finite(entropy(there)),
        finite(best.mean()) if len(best) else None,
    ]


def value(on: Board, learnt: Learnt, given: Answers, kinds: bool) -> list[float | None]:
    """Return score, accuracy and cross-entropy in bits; and where there are two kinds of users, the score of each.

    A user's score is that of the policy for them, under what they want.
    """
    there, accuracy, bits = ~given.skipped, None, None
    if learnt.logits is not None and there.any():
        x, label = learnt.logits[there], given.labels[there]
        bits = float((np.logaddexp(0, x) - label * x).mean() / np.log(2))
        if (decided := label != 0.5).any():
            x = np.where(np.abs(x) > ROUNDING * np.abs(x).max(), x, 0.0)  # 0 counts one half
            accuracy = float((np.sign(x) * np.sign(label - 0.5) + 1)[decided].mean() / 2)
    scores = []
    if kinds:
        own = np.repeat(learnt.policy, USERS, 0) if learnt.by_user is None else learnt.by_user
        other = tasks.make_task(on.task.mdp, on.other)
        for task, policies in ((on.task, own[:-MINORITY]), (other, own[-MINORITY:])):
            scores.append(float(np.mean([tasks.score_policy(task, policy[None]) for policy in policies])))
    return [tasks.score_policy(on.task, learnt.policy), accuracy, bits, *scores]


# --- the page ---

Cells = dict[tuple[str, str], Array]  # (row, column) -> (units, values), NaN where there is none


def cells(records: Records, options: Options) -> Cells:
    """Return the values of all cells of which no unit is missing."""
    missing = {key[1:3] for keys in jobs(options) for key in keys if key not in records}
    wanted = {key[1:3] for keys in jobs(options) for key in keys} - missing
    found = harness.columns(
        {key: x for key, x in records.items() if key[0] == options.pairs and key[3] < options.units}
    )
    return {key[1:]: np.array(x, float) for key, x in found.items() if key[1:] in wanted}


def common(found: Cells, row: str) -> Array | None:
    """Return the mean score (units,) of the learners that learn from every annotator, or None if some are missing."""
    present = [found[row, column][:, 0] for column in COMMON if (row, column) in found]
    return np.mean(present, 0) if present else None


def text(found: Estimate | float | None) -> str:
    """Return an estimate or a number, or a dash."""
    return "-" if found is None else report.TWO_DECIMALS(found) if isinstance(found, float) else str(found)


def average(values: Array) -> float | None:
    """Return the mean over units where there is a value."""
    return None if np.isnan(values).all() else float(np.nanmean(values))


def grid(found: Cells, columns: Sequence[str], entry: int, statistic: Any, rows: Sequence[str]) -> str:
    """Return a table of a statistic of one of the values, one line for each annotator."""
    lines = []
    for row in rows:
        values = [found.get((row, column)) for column in columns]
        lines.append([ROWS[row].label, *(text(None if x is None else statistic(x[:, entry])) for x in values)])
    return report.table(["answered by", *(COLUMNS[column].label for column in columns)], lines)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the heat map."""
    found = cells(records, options)
    rows = [row for row in options.annotators if any(key[0] == row for key in found)]
    columns = [column for column in options.learners if any(key[1] == column for key in found)]
    learners = [column for column in columns if COLUMNS[column].group != "control"]
    means = {row: mean for row in rows if (mean := common(found, row)) is not None}
    ranked = sorted((row for row in means if ROWS[row].group != "control"), key=lambda row: means[row].mean())
    fill = {"units": options.units, "pairs": options.pairs}
    parts = [INTRODUCTION.format(**fill), worst_row(means, ranked), no_information(found, means), READING, METHOD]
    parts += ["## The annotators", FACTS.format(**fill), facts_table(found, rows, means), "## Return", RETURN]
    for group in COLUMN_GROUPS:
        names = [column for column in columns if COLUMNS[column].group == group]
        if names:
            body = controls_table(found, names) if group == "control" else grid(found, names, 0, report.estimate, rows)
            parts += [f"### {GROUP_TITLES[group]}", body]
    parts += ["## Near-optimal shares", NEAR, near_table(found, columns, rows)]
    parts += ["## Predictions of held-out answers", ACCURACY, grid(found, learners, 1, average, rows)]
    parts += [
        BITS,
        grid(found, learners, 2, average, rows),
        "## Two kinds of users",
        KINDS,
        kinds_table(found, columns),
    ]
    return {".md": report.page(*(part for part in parts if part)), ".svg": heat_map(found, rows, columns, ranked)}


def difference(a: Array, b: Array) -> str:
    """Return a paired difference of units."""
    return report.show(report.estimate(a - b), report.decimals(2, "+"))


def worst_row(means: Mapping[str, Array], ranked: Sequence[str]) -> str:
    """Return which annotator's answers teach least, and by how much."""
    if not ranked:
        return "No row is complete yet."
    worst = ranked[0]
    lines = [
        f"**Worst row: {ROWS[worst].label}.** The mean over the {len(COMMON)} learners that learn from every row is "
        f"{report.estimate(means[worst])}."
    ]
    others = [row for row in ranked[1:] if ROWS[row].board == ROWS[worst].board]
    for row, order in zip(others, ("next", "third"), strict=False):
        lines.append(
            f"The {order} is *{ROWS[row].label}*, {report.estimate(means[row])}, a paired difference of "
            f"{difference(means[worst], means[row])}."
        )
    return " ".join(lines)


def no_information(found: Cells, means: Mapping[str, Array]) -> str:
    """Return the level of answers that say nothing of the reward, beside a reward that was drawn at random."""
    rows = [row for row in means if ROWS[row].group == "control" and (row, "random") in found]
    lines = [
        f"*{ROWS[row].label}* {report.estimate(means[row])}, {difference(means[row], found[row, 'random'][:, 0])} "
        "against a random reward"
        for row in rows
    ]
    if not lines:
        return ""
    level = {name: float(found["coin", name][:, 0].mean()) for name in COMMON if ("coin", name) in found}
    ends = [
        f"{report.TWO_DECIMALS(score)} (`{COLUMNS[name].label}`)"
        for name, score in (pick(level.items(), key=lambda entry: entry[1]) for pick in (min, max) if level)
    ]
    of_each = (
        f" What a learner makes of nothing is its cell in the row *coin*, from {' to '.join(ends)}." if ends else ""
    )
    return f"Answers that say nothing of the reward, in the same mean: {'; '.join(lines)}.{of_each}"


def facts_table(found: Cells, rows: Sequence[str], means: Mapping[str, Array]) -> str:
    """Return what is known of the answers, and the mean over learners."""
    head = ["answered by", "answered", "the same", "entropy, bits", "best accuracy", "mean of learners"]
    lines = []
    for row in rows:
        known = found.get((row, ANSWERS))
        shares = [text(None if known is None else average(known[:, i])) for i in range(4)]
        mean, base = means.get(row), means.get(BOARDS[ROWS[row].board])
        against = "" if mean is None or base is None or base is mean else difference(mean, base)
        lines.append([ROWS[row].label, *shares, "-" if mean is None else report.estimate(mean), against])
    return report.table([*head, "against the first of its boards"], lines)


def controls_table(found: Cells, columns: Sequence[str]) -> str:
    """Return the scores of controls, which are the same for all annotators of one kind of boards."""
    values = {kind: [found.get((row, column)) for column in columns] for kind, row in BOARDS.items()}
    lines = [
        [kind, *(text(None if x is None else report.estimate(x[:, 0])) for x in each)]
        for kind, each in values.items()
        if any(x is not None for x in each)
    ]
    return report.table(["boards", *(COLUMNS[column].label for column in columns)], lines)


def near_table(found: Cells, columns: Sequence[str], rows: Sequence[str]) -> str:
    """Return shares of near-optimal policies."""
    near = {key: report.near_optimal(x[:, :1]) for key, x in found.items() if key[1] != ANSWERS}
    return grid(near, columns, 0, average, rows)


def kinds_table(found: Cells, columns: Sequence[str]) -> str:
    """Return the scores of both kinds of users, each under what they want."""
    rows = [row for row in ROWS if ROWS[row].kinds and any(key[0] == row for key in found)]
    head = ["learner", *(f"{ROWS[row].label}, {kind}" for row in rows for kind in ("majority", "minority"))]
    lines = []
    for column in columns:
        values = [found.get((row, column)) for row in rows]
        both = [text(None if x is None else report.estimate(x[:, entry])) for x in values for entry in (3, 4)]
        lines.append([COLUMNS[column].label, *both])
    return report.table(head, lines)


def heat_map(found: Cells, rows: Sequence[str], columns: Sequence[str], ranked: Sequence[str]) -> str:
    """Return the matrix as a figure: the best learner of each row is bold, the worst row marked."""
    labels = {row: ROWS[row].label for row in rows}
    values, bold = {}, set()
    for row, label in labels.items():
        own = {COLUMNS[c].label: float(found[row, c][:, 0].mean()) for c in columns if (row, c) in found}
        learnt = [COLUMNS[c].label for c in columns if (row, c) in found and COLUMNS[c].group != "control"]
        values |= {(label, name): score for name, score in own.items()}
        bold |= {(label, name) for name in learnt if own[name] == max(own[name] for name in learnt)}
        if (mean := common(found, row)) is not None:
            values[label, MEAN] = float(mean.mean())
    return figures.heat_map(
        figures.HeatMap(
            "True return by who answered (rows) and who learnt (columns): 1 is optimal, 0 uniformly random play",
            [[labels[row] for row in rows if ROWS[row].group == group] for group in ROW_GROUPS],
            [*([COLUMNS[c].label for c in columns if COLUMNS[c].group == group] for group in COLUMN_GROUPS), [MEAN]],
            values,
            bold,
            {labels[row]: "worst row" for row in ranked[:1]},
        )
    )


MEAN = "mean of learners"
GROUP_TITLES = {
    "control": "Controls, which see no answer",
    "weights": "Weights under a statistic",
    "rewards": "Rewards of steps",
    "users": "Users and sources",
    "policies": "Policies and advantages",
}
MEASURED = f"The {UNITS} boards of {PAIRS} pairs took 8.3 minutes of CPU time on one core."
INTRODUCTION = f"""# Answered by A, learnt by B

Written by `python -m studies.preference.matrix`; do not edit. Every cell is the mean true return, over {{units}}
boards, of the policy that a learner (column) makes from {{pairs}} pairs of segments of {LENGTH} steps compared by an
annotator (row): 1 is the optimal policy of the true reward, 0 uniformly random play, and what is below -1 counts as -1.
On one board all annotators answer the same pairs, from random cells with random actions, with the same seed. Brackets
are 95% bootstrap intervals over boards. All values: [{NAME}.jsonl](data/{NAME}.jsonl). {MEASURED}

![Mean true return of every learner from the answers of every annotator]({NAME}.svg)"""
READING = """Cells are to be read against the row *coin* of the same column: Bayesian learners answer what is good under
many rewards, and do well without information. The rows are no ranking of annotators for all uses: temperatures,
thresholds and shares are those stated here, one setting each. Returns on these boards are close to all or nothing,
because a policy that loops around a coin or avoids the goal loses more than any other mistake, so that intervals are
wide, and a learner can predict nearly all answers and still drive badly."""
METHOD = f"""## How a cell is made

- **Boards**: `random` ones of the split "test" of `RewardInference-v0` at discount 0.999, whose features are permuted
  and flipped. The rows *expected value* and *prospect theory* have `risky` boards, where a cell wins or loses by
  chance, and the true reward is the expected one: another task, so that they compare with each other only.
- **Learners know** the dynamics, the features of every step and the discount, and not the annotator. Policies are
  planned exactly. Without any answer the policy is uniformly random.
- **Prior**: `partial_return`, `regret`, `optimal_advantage` have normal weights of standard deviation 10, the Bayesian
  learners the log-uniform prior that they have everywhere. The learners of `agents/reward_models` have none besides
  {FIT.steps} steps of Adam (size {FIT.lr}, all pairs in a batch; `vpl` {SLOW.steps} of size {SLOW.lr}). Their rewards
  are linear in the features, with a constant, but for `vpl` and `bottleneck`. Nothing was tuned for a row.
- **Privileged information**: `bottleneck` is given the true direction of every feature, `more` which kind a user is of.
- **Policies without a scalar reward**: of `general preference`, a step's reward is its mean logit against all segments
  of the pairs; of `pal`, how much nearer the step is to the user's ideal point than segments are on average. `pal` and
  `vpl` plan for the mean of all users' rewards; the last table has a policy for each user. `cpl` and
  `optimal_advantage` take the highest entry of their table. `bt, ensemble` plans for the mean of {MEMBERS} members.
- **Users**: {USERS} answer in turn. In three rows {MINORITY} of them are a minority, for whom the most and the least
  valued feature change places; the score is that of what the majority wants. Only `pal`, `vpl` and `more` know who
  answered.
- **Controls**: the best constant is the one weight vector that is best on training boards; the random reward has
  normal weights. The rows *always the first* and *coin* say nothing about the reward.
- A dash: `margin`, `scaled` and `dynamic` need strengths of preferences, which some annotators do not give, and `more`
  needs two kinds of users."""
FACTS = f"""Of {{pairs}} pairs and the {HELD_OUT} held-out ones, mean over boards: shares answered, and answered "the
same"; the entropy of the answers, which no model can go below in cross-entropy; the accuracy of one that knows the
annotator's probabilities. The last column is the paired difference of the mean over learners against the row *partial
return*, or *expected value* on risky boards. Settings, one for each row:

- Temperatures are 1 in units of reward, for risky boards as fitted to people's choices between gambles, and 0.1 for
  *ideal points* and *cyclic*. Thurstone's scale is the square root of 2.
- An ideal point is the unit vector along the weights, compared with the mean features of a segment, so that neither its
  length nor features of small weight count. In {ROUNDS} rounds those that drift move by a fifth of the way to the mean.
- The two directions of features in which *cyclic* answers have nothing to do with the reward.
- Thresholds of B-Pref are fixed: *skip* answers where a segment earns more than 0.1, which on boards of costs is never,
  and *equal* calls returns within 1.5 the same. Boards without any answer count as uniform play.
- *implicit* is dissatisfied with what earns less than the median, shows it with chance 0.8 and mistakes 0.1. *One query
  late*, the sign is taken for one about the next pair, and tells nothing of it."""
RETURN = "As in the figure, with intervals."
NEAR = f"Share of boards on which the policy scores at least {report.NEAR_OPTIMAL}."
ACCURACY = f"""Of {HELD_OUT} other pairs of each board. Accuracy, where the answer is not "the same"; learners of
weights predict by the statistic that they assume, `pal` and `vpl` for the user who answers."""
BITS = """Cross-entropy in bits; 1 is a coin's, and the entropy above is the least that is possible. Learners without a
prior are sure of themselves where answers have no noise, and pay for each mistake."""
KINDS = f"""Scores of the majority and of the minority ({MINORITY} users of {USERS}), each under what they want, with
the policy for them where a learner has one for each user, else the one policy. The minority's optimum is 1, too."""

STUDY = harness.Study(NAME, jobs, run, pages)
PARSER = harness.parser(__doc__, units=UNITS)
PARSER.add_argument("--pairs", type=int, default=PAIRS, help=f"to learn from, a multiple of {USERS}")
PARSER.add_argument("--annotators", nargs="+", choices=ROWS, default=list(ROWS), help="rows (default: all)")
PARSER.add_argument("--learners", nargs="+", choices=COLUMNS, default=list(COLUMNS), help="columns (default: all)")
PARSER.add_argument("--quick", action="store_true", help="two boards and 40 pairs, in about a minute")


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """Return the options of a command line."""
    options = PARSER.parse_args(arguments)
    if options.quick:
        vars(options).update(QUICK)
        if options.docs == harness.RESULTS:
            options.docs = harness.RESULTS.parents[1] / "build" / NAME
    if options.pairs < USERS or options.pairs % USERS:
        PARSER.error(f"--pairs is {options.pairs}; expected a multiple of {USERS}, the number of users.")
    return options


if __name__ == "__main__":
    harness.run(STUDY, parse())
