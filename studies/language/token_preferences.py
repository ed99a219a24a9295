"""Recovery of the optimal policy over tokens, by learner, model of preference and what is compared: exact values.

    python -m studies.language.token_preferences [--units 20] [--table]

A unit is a world.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.agents.language import cpl, dpo, reward_model
from valuegym.agents.language.pairs import PRIOR_SCALE, Pairs, make_pairs
from valuegym.envs.language import prefixes
from valuegym.envs.language.prefixes import Stretches
from valuegym.envs.language.worlds import World, make_world
from valuegym.envs.preference.models import BradleyTerry

VOCABULARY, LENGTH, PROMPTS, TEMPERATURE = 3, 4, 2, 1.0
EVERY = 0  # in place of a number: every pair there is, each answered by infinitely many people
NUMBERS = (100, 1000, 10_000, EVERY)
WIDE = 1e3  # scale of the prior where nothing is uncertain
RECOVERED = 0.999


class Kind(NamedTuple):
    """Length in tokens of what is compared, and whether both sides answer one prompt."""

    length: int
    one_prompt: bool


KINDS = {
    "responses to one prompt": Kind(LENGTH, True),
    "responses to any prompts": Kind(LENGTH, False),
    "stretches of 2 tokens": Kind(2, False),
    "stretches of 3 tokens": Kind(3, False),
}
ANNOTATORS = ("partial return", "regret", "plain regret")
LEARNERS = {"reward model": reward_model.learn, "CPL": cpl.learn, "DPO": dpo.learn}


def fits(kind: str) -> list[tuple[str, str]]:
    """Return annotators and learners that a kind of pairs is for; DPO is for responses to one prompt."""
    learners = [name for name in LEARNERS if name != "DPO" or KINDS[kind].one_prompt]
    return list(product(ANNOTATORS, learners))


def compared(world: World, kind: Kind, n: int, rng: np.random.Generator) -> Stretches:
    """Return stretches (n, 2): drawn by the reference policy, or every unordered pair that differs."""
    shape = world.tree
    if n == EVERY:
        one = prefixes.every(shape, PROMPTS, kind.length)
        sides = np.stack(np.triu_indices(len(one.prompt), 1), 1)
        if kind.one_prompt:
            sides = sides[one.prompt[sides[:, 0]] == one.prompt[sides[:, 1]]]
        return Stretches(*(field[sides] for field in one))
    prompt = rng.integers(0, PROMPTS, (n, 2))
    if kind.one_prompt:
        prompt[:, 1] = prompt[:, 0]
    start = rng.integers(0, shape.T - kind.length + 1, (n, 2))
    return prefixes.draw(shape, np.exp(world.log_reference), prompt, start, kind.length, rng)


def utilities(world: World, annotator: str, stretches: Stretches) -> Array:
    """Return what an annotator compares: partial return, or minus regret at the optimum with or without a penalty."""
    if annotator == "partial return":
        return prefixes.partial_return(world.rewards, stretches)
    temperature = TEMPERATURE if annotator == "regret" else 0.0
    solved = prefixes.soft_values(world.rewards, world.log_reference, temperature)
    return -prefixes.regret(*solved, stretches)


def answered(world: World, kind: str, annotator: str, n: int, seed: int) -> Pairs:
    """Return pairs with Bradley-Terry answers, by the same draws for all annotators; shares of answers where EVERY."""
    rng = np.random.default_rng([seed, n, list(KINDS).index(kind)])
    stretches, choice = compared(world, KINDS[kind], n, rng), BradleyTerry()
    utility = utilities(world, annotator, stretches)
    difference = utility[:, 1] - utility[:, 0]
    answers = choice.probability(difference) if n == EVERY else choice.label(difference, rng.random(n))
    return make_pairs(stretches, answers)


def score(world: World, log_policy: Array) -> float:
    """Return the normalised objective, mean return less the KL penalty: 0 for the reference policy, 1 for the optimum.

    A policy may fall far below 0.
    """
    reference = world.log_reference
    found, naive = (
        prefixes.kl_objective(world.rewards, logs, reference, TEMPERATURE).sum() for logs in (log_policy, reference)
    )
    best = prefixes.soft_values(world.rewards, reference, TEMPERATURE)[0][:, 0].sum()
    return float((found - naive) / (best - naive))


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each kind of pairs, number of answers and world."""
    for unit, n, kind in product(range(options.units), NUMBERS, KINDS):
        yield [(kind, annotator, learner, n, unit) for annotator, learner in fits(kind)]


def run(keys: Sequence[Key], options: Options) -> list[float]:
    """Return the scores of one job."""
    found = []
    for kind, annotator, learner, n, unit in keys:
        world = make_world(VOCABULARY, LENGTH, PROMPTS, world=unit)
        pairs = answered(world, kind, annotator, n, unit)
        policy = LEARNERS[learner](pairs, world.log_reference, TEMPERATURE, WIDE if n == EVERY else PRIOR_SCALE)
        found.append(harness.rounded(score(world, policy)))
    return found


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and its figure."""
    cells = {cell: np.array(values) for cell, values in harness.columns(records).items()}
    rows, panels = [], []
    for kind in KINDS:
        curves: dict[str, list[report.Estimate | None]] = {}
        for annotator, learner in fits(kind):
            found = [cells.get((kind, annotator, learner, n)) for n in NUMBERS]
            shown = [None if values is None else report.estimate(values) for values in found]
            share = "" if found[-1] is None else f"{int((found[-1] >= RECOVERED).sum())} of {len(found[-1])}"
            rows.append([kind, annotator, learner, *("" if x is None else x for x in shown), share])
            if learner != "DPO":
                curves[f"{annotator}: {learner}"] = shown
        ticks = [f"{n:,}" if n else "every pair" for n in NUMBERS]
        panels.append(figures.Panel(kind, "answers", "score", figures.curves(curves), ticks, (-0.5, 1.05), line=1))
    units = max((len(values) for values in cells.values()), default=0)
    head = ["compared", "answers by", "learner", *(f"{n:,} answers" for n in NUMBERS[:-1]), "every pair", "recovered"]
    parts = [
        "# Regret and partial return in language",
        "Which learner recovers the optimal policy over tokens from which answers? Everything but the drawn answers is "
        f"exact: responses of {LENGTH} tokens out of {VOCABULARY} to {PROMPTS} prompts, rewards that depend on the "
        "whole response so far, the optimum under a KL penalty of temperature "
        f"{TEMPERATURE:g} towards a reference policy, and learned policies evaluated over all prefixes.",
        f"Score: mean return less the penalty, 0 for the reference policy and 1 for the optimum; means over {units} "
        "worlds, each with its own rewards and reference policy, with 95% bootstrap intervals over worlds. Answers "
        "follow Bradley-Terry at temperature 1. The reward model is fitted by partial return and then maximised with "
        "exact policy gradients; learners have a table entry for each prefix and token and the prior "
        f"N(0, {PRIOR_SCALE:g}), not tuned for any of them. *Every pair*: all pairs that can be made, each with the "
        f"exact share of answers, and the prior N(0, {WIDE:g}²): what can be learned at all. *Recovered*: worlds in "
        f"which that score is at least {RECOVERED}. *Plain regret* is that of the optimum without the penalty.",
        "Written by `python -m studies.language.token_preferences`.",
        "![Scores over numbers of answers](token-preferences.svg)",
        report.table(head, rows),
    ]
    return {".md": report.page(*parts, *differences(cells), WHY), ".svg": figures.draw(panels, columns=2)}


def differences(cells: Mapping[Key, Array]) -> list[str]:
    """Return the part about CPL against the reward model, by the same answers in the same worlds."""
    rows = []
    for kind, annotator in product(KINDS, ANNOTATORS):
        pairs = [[cells.get((kind, annotator, learner, n)) for learner in ("CPL", "reward model")] for n in NUMBERS]
        found = ["" if x is None or y is None else report.estimate(x[: len(y)] - y[: len(x)]) for x, y in pairs]
        rows.append([kind, annotator, *found])
    head = ["compared", "answers by", *(f"{n:,} answers" for n in NUMBERS[:-1]), "every pair"]
    about = "Score of CPL minus that of the reward model, by the same answers in the same world."
    return ["## CPL or a reward model", about, report.table(head, rows)]


WHY = """
## Why

- *Responses to one prompt.* Both models of preference compare returns, up to a number of the prompt that cancels, so
  that annotators of all three kinds give the same answers, and every learner is right about them.
- *Regret answers.* CPL fits the advantages of the optimum, which are log ratios of probabilities and so within what it
  can say, whatever stretches are compared. The regret of another optimum (here: without the penalty) is not, except
  on responses to one prompt.
- *Partial-return answers.* Sums of rewards are no log ratios of probabilities, for these are tied to each other at
  every prefix: CPL fails where stretches or prompts differ, and more answers do not help.
- *The reward model* recovers the optimum from answers of all three kinds where stretches of the compared length can be
  joined to whole responses (here 2 and 4 tokens, not 3). By regret it learns advantages in the place of rewards: these
  are the rewards shaped by a potential that is 0 at the end, with the same optimum. Equal stretches leave a number for
  each token open, which does nothing where all responses have one length; with other lengths, or with loops
  ([elsewhere](optimal-advantage.md)), it would. Stretches of 3 tokens leave a part of the return open: what a first
  token adds, the second may lose and the fourth add again, without any change in the sum of three tokens in a row.

What is not shown: learners that generalise over prefixes, longer responses, sampled policy gradients, people.
"""

STUDY = harness.Study("token-preferences", jobs, run, pages)

if __name__ == "__main__":
    harness.run(STUDY, harness.parser(__doc__, units=20).parse_args())
