"""Over-optimisation of learned rewards: true against learned return over KL to the start policy, for each transform.

    python -m studies.preference.over_optimisation [--units 30] [--table]

A board is a random task of the split "test", an episode has 30 steps, the start policy is uniformly random, and the
reward is an ensemble fitted to noisy comparisons of its segments. Optima under a KL penalty, their returns and their KL
are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from studies import figures, harness, report
from studies.harness import Array, Key, Options, Records
from studies.preference import tasks
from studies.report import Estimate
from valuegym.agents import kl
from valuegym.envs import mdp as tabular
from valuegym.envs.feedback import transforms
from valuegym.envs.preference import models

STEPS, LENGTH, MEMBERS = 30, 10, 5
NUMBERS = (50, 200)  # comparisons
TEMPERATURE = 5.0  # of the answers, in units of true reward
EPISODES = 20  # of the start policy, whose learned rewards are the references of transforms
TARGETS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # nats per episode
COEFFICIENTS = (10.0, 3.0, 1.0, 0.3, 0.1)
HALVINGS = 16

GOLD = "true reward"
SHAPES = ("raw", "clip", "lsc", "par", "win_rate")
# Of members, each centred first, or transformed first where one of TRANSFORMS is named.
ENSEMBLES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "least member": ("centred", lambda r: r.min(0)),
    "mean - std": ("centred", lambda r: r.mean(0) - r.std(0)),
    "lsc of all members": ("lsc", lambda r: r.sum(0)),
}
REWARDS = (*SHAPES, *ENSEMBLES, GOLD)
ENDING = ("raw", "centred", "lsc", "par")
WAIT, END = "wait", "end"  # what an episode does after its end: stay until the last step, or stop

# --- a continuum of actions, exactly ---

ACTIONS = np.linspace(-6.0, 14.0, 20001)
TRUE = np.where(ACTIONS <= 2.5, ACTIONS, 2.5 - 1.2 * (ACTIONS - 2.5))  # the learned reward is the action itself
LOG_START = -(ACTIONS**2) / 2 - np.log(np.exp(-(ACTIONS**2) / 2).sum())
GRID: dict[str, Array] = {
    "raw, centred, z-score, min-max": ACTIONS,
    "clip": transforms.clip(ACTIONS, -1.0, 1.0),
    "lsc, quantile 0.85": transforms.lsc(ACTIONS, 1.0364),
    "lsc, median": transforms.lsc(ACTIONS, 0.0),
    "par, one reference at 0": transforms.par(ACTIONS, [0.0]),
}
GRID_COEFFICIENTS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.01)


def grid_optimum(utility: Array, coefficient: float) -> tuple[float, float, float]:
    """Return mean true and learned reward and the KL at the optimum of a utility of actions under a penalty."""
    policy = np.exp(kl.kl_optimum(utility, LOG_START, coefficient))
    return float(policy @ TRUE), float(policy @ ACTIONS), float(kl.kl_divergence(policy, np.exp(LOG_START)))


def grid_at(utility: Array, target: float) -> tuple[float, float, float]:
    """Return the optimum whose KL is `target`, or the nearest to it."""
    low, high = np.log(1e-3), np.log(1e2)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if grid_optimum(utility, float(np.exp(middle)))[2] > target else (low, middle)
    return grid_optimum(utility, float(np.exp(high)))


# --- boards ---


class Case(NamedTuple):
    """A board, its true rewards (S, A), rewards of members (E, S, A), and the steps of the start policy (M,) each."""

    mdp: tabular.TabularMDP
    gold: Array
    members: Array
    states: Array
    actions: Array


def start_steps(mdp: tabular.TabularMDP, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return states and actions of episodes of the start policy."""
    assert mdp.next_state is not None
    state, steps = rng.choice(mdp.start.shape[1], EPISODES, p=mdp.start[0]), []
    for _ in range(STEPS):
        action = rng.integers(mdp.features.shape[2], size=EPISODES)
        steps.append((state, action))
        state = mdp.next_state[0, state, action]
    states, actions = zip(*steps, strict=True)
    return np.concatenate(states), np.concatenate(actions)


@lru_cache(maxsize=2)
def learnt(number: int, seed: int, unit: int) -> Case:
    """Return a board and the rewards of an ensemble that was fitted to answers about it."""
    import torch

    from valuegym.agents.reward_models import bradley_terry, pairs
    from valuegym.agents.reward_models.fitting import FitSettings

    task, rng = tasks.random_task(unit), np.random.default_rng([unit, seed, number])
    mdp, A = task.mdp, task.mdp.features.shape[2]
    observations = mdp.features[0].reshape(len(mdp.features[0]), -1)  # the rewards' features of the four moves
    drawn = tasks.draw_pairs(task, number, LENGTH, rng)
    actions = np.where(drawn.mask, drawn.actions, rng.integers(A, size=drawn.actions.shape))  # any, when waiting
    difference = np.diff(drawn.features @ task.weights @ np.ones(LENGTH), axis=1)[:, 0]
    labels = models.BradleyTerry(TEMPERATURE).label(difference, rng.random(number))
    sides = [pairs.step_inputs(observations[drawn.states[:, k, :-1]], actions[:, k], A) for k in (0, 1)]
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    model = bradley_terry.reward_ensemble(sides[0].shape[-1], generator, MEMBERS, width=32)
    settings = FitSettings(steps=300, lr=0.01, bagging=True)
    bradley_terry.fit_pairs(model, pairs.make_pairs(*sides, labels), settings, generator)
    rows = np.arange(len(observations))
    found = bradley_terry.StepReward(model, A)(np.repeat(observations, A, 0), np.tile(np.arange(A), len(rows)))
    gold = tabular.reward(mdp, task.weights[None])[0]
    return Case(mdp, gold, found.reshape(MEMBERS, len(rows), A), *start_steps(mdp, rng))


def shaped(case: Case, name: str) -> Array:
    """Return the reward (S, A) that is optimised."""
    if name == GOLD:
        return case.gold
    if name in ENSEMBLES:
        transform, aggregate = ENSEMBLES[name]
        known = case.members[:, case.states, case.actions]
        return aggregate(transforms.fit_transform(transform, known)(case.members))
    mean = case.members.mean(0)
    return transforms.fit_transform(name, mean[case.states, case.actions])(mean)


def optima(mdp: tabular.TabularMDP, reward: Array, coefficients: Array) -> kl.SoftOptimum:
    """Return the exact optima of a reward (S, A) for coefficients (N,)."""
    every = np.broadcast_to(reward, (len(coefficients), *reward.shape))
    return kl.soft_optimum(mdp, every, np.full(reward.shape, 1 / reward.shape[1]), coefficients, STEPS)


def at_targets(mdp: tabular.TabularMDP, reward: Array) -> kl.SoftOptimum:
    """Return the optima at each of TARGETS; where the optimum without penalty is nearer than that, nearly this one."""
    scale = np.log(np.ptp(reward))
    low, high = np.full(len(TARGETS), scale - np.log(1e4)), np.full(len(TARGETS), scale + np.log(1e3))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        far = optima(mdp, reward, np.exp(middle)).kl > TARGETS
        low, high = np.where(far, middle, low), np.where(far, high, middle)
    return optima(mdp, reward, np.exp(high))


def normalised(mdp: tabular.TabularMDP, reward: Array, policy: Array) -> Array:
    """Return the returns of policies, 0 that of the start policy and 1 the largest."""
    start = np.full((1, STEPS, *reward.shape), 1 / reward.shape[1])
    best = optima(mdp, reward, np.array([1e-6 * np.ptp(reward)])).policy
    found, naive, most = (kl.episode_returns(mdp, x, reward[None]) for x in (policy, start, best))
    return tabular.between(found, naive, most)


def curve(after: str, number: int, name: str, seed: int, unit: int) -> list[Array]:
    """Return true and learned scores and KL at TARGETS, then at COEFFICIENTS, one row each: (3, 13)."""
    case = learnt(number, seed, unit)
    proxy, reward = case.members.mean(0), shaped(case, name)
    if after == END:
        alive = ~case.mdp.terminal[0, :, None]
        proxy, reward = proxy * alive, reward * alive
    found = at_targets(case.mdp, reward), optima(case.mdp, reward, np.array(COEFFICIENTS))
    policy, nats = (np.concatenate(parts) for parts in zip(*((x.policy, x.kl) for x in found), strict=True))
    return [normalised(case.mdp, case.gold, policy), normalised(case.mdp, proxy, policy), nats]


def price(name: str, unit: int) -> list[Array]:
    """Return true scores and KL at TARGETS of the true reward itself, transformed: what a shape costs, (2, 8)."""
    mdp, weights = tasks.random_task(unit)[:2]
    gold = tabular.reward(mdp, weights[None])[0]
    places = start_steps(mdp, np.random.default_rng(unit))
    reward = gold / TEMPERATURE  # the scale at which comparisons tell of it
    found = at_targets(mdp, transforms.fit_transform(name, reward[places])(reward))
    return [normalised(mdp, gold, found.policy), found.kl]


def constant(unit: int) -> list[float]:
    """Return the true score of the best policy that always takes one action, and its KL."""
    mdp, weights = tasks.random_task(unit)[:2]
    gold = tabular.reward(mdp, weights[None])[0]
    S, A = gold.shape
    policy = np.broadcast_to(np.eye(A)[:, None, None], (A, STEPS, S, A))
    score = normalised(mdp, gold, policy)
    alive = np.broadcast_to(~mdp.terminal[0, :, None] * 1.0, (1, S, A))
    best = int(score.argmax())
    return [float(score[best]), float(kl.episode_returns(mdp, policy, alive)[best] * np.log(A))]


# --- the study ---


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield all rewards of one fit together."""
    for seed, unit in product(range(options.seeds), range(options.units)):
        for number in NUMBERS:
            waiting = [(WAIT, number, name, seed, unit) for name in REWARDS]
            yield [*waiting, *((END, number, name, seed, unit) for name in ENDING)]
    for unit in range(options.units):
        yield [("constant", 0, unit)]
    for unit, name in product(range(options.units), SHAPES):
        yield [("price", name, 0, unit)]


def run(keys: Sequence[Key], options: Options) -> list[Any]:
    """Return the values of keys of one fit."""
    found = []
    for kind, *key in keys:
        if kind == "constant":
            found.append(constant(key[-1]))
        else:
            found.append(price(key[0], key[-1]) if kind == "price" else curve(kind, *key))
    return [harness.rounded(value, 4) for value in found]


FLOOR = -1.0  # scores are clipped to it, so that no board decides a mean
SHOWN = (1.0, 2.0, 4.0, 8.0)
COMPARED = ("raw", "clip", "lsc", "par", "least member", "lsc of all members", GOLD)  # in one panel
TITLES = {"raw": "raw, centred, z-score, min-max", "win_rate": "win rate"}
HEAD = [f"KL {target:g}" for target in SHOWN]
TICKS = [f"{target:g}" for target in TARGETS]
LIMITS = (-0.15, 1.03)
NATS = "KL to the start policy, nats per episode"


def column(values: Array, score: int, place: int) -> Array:
    """Return scores (units,) of values (units, seeds, 3, places), 0 true and 1 learned."""
    found: Array = np.maximum(values[:, :, score, place], FLOOR).mean(1)
    return found


def at(values: Array, targets: Sequence[float], score: int = 0) -> list[Estimate]:
    """Return the mean score at each of some TARGETS."""
    return [report.estimate(column(values, score, TARGETS.index(target))) for target in targets]


def panels_of(raw: harness.Arrays) -> list[figures.Panel]:
    """Return a panel for each reward, with true and learned scores."""
    ceiling = at(raw[WAIT, NUMBERS[0], GOLD], TARGETS)
    panels = []
    for name in REWARDS[:-1]:
        lines = [
            figures.Curve(
                f"{what}, {number} comparisons", at(raw[WAIT, number, name], TARGETS, score), style, score > 0
            )
            for style, number in enumerate(NUMBERS)
            for score, what in enumerate(("true", "learned"))
        ]
        lines.append(figures.Curve("true, optimised for the true reward", ceiling, 7))
        panels.append(figures.Panel(TITLES.get(name, name), NATS, "score", lines, TICKS, LIMITS))
    return panels


def panels_together(raw: harness.Arrays) -> list[figures.Panel]:
    """Return panels that compare true scores of rewards."""
    panels = []
    for number in NUMBERS:
        lines = [
            figures.Curve(TITLES.get(name, name), at(raw[WAIT, number, name], TARGETS), style, name == GOLD)
            for style, name in enumerate(COMPARED)
        ]
        panels.append(figures.Panel(f"boards, {number} comparisons", NATS, "true score", lines, TICKS, LIMITS))
    return panels


def grid_part() -> tuple[list[str], figures.Panel]:
    """Return the text about one continuous action, and its panel."""
    rows, lines = [], []
    for name, utility in GRID.items():
        optima_at = {target: grid_at(utility, target) for target in TARGETS}
        reached = {target: gold for target, (gold, _, nats) in optima_at.items() if nats > 0.99 * target}
        nearest, _, end = optima_at[max(TARGETS)]
        cells = [f"{reached[t]:.2f}" if t in reached else f"{nearest:.2f} at {end:.1f}" for t in SHOWN]
        fixed = [grid_optimum(utility, c) for c in GRID_COEFFICIENTS]
        rows.append([name, *cells, *(f"{gold:.2f} at {nats:.1f}" for gold, _, nats in fixed)])
        shown = name.partition(",")[0]
        if shown in COMPARED and "median" not in name:
            points = [Estimate(*(reached[target],) * 3) if target in reached else None for target in TARGETS]
            lines.append(figures.Curve(TITLES.get(shown, shown), points, COMPARED.index(shown)))
    text = [
        "## One continuous action, exactly",
        "Start policy N(0, 1), learned reward x, true reward x up to 2.5 and falling by 1.2 from there. True reward at "
        "the optimum with a KL of so many nats (the optimum without penalty, where it is nearer), then for each "
        "coefficient of the penalty, with its KL.",
        report.table(["transform", *HEAD, *(f"coefficient {c:g}" for c in GRID_COEFFICIENTS)], rows),
    ]
    return text, figures.Panel("one action, exact", "KL, nats", "true reward", lines, TICKS, (-4.0, 2.5))


def matched_kl(raw: harness.Arrays, after: str, names: Sequence[str]) -> Iterator[str]:
    """Yield a table for each number of comparisons, with paired differences to the raw reward."""
    for number in NUMBERS:
        plain, rows = raw[after, number, "raw"], []
        for name in names:
            values = raw[after, number, name]
            places = [TARGETS.index(target) for target in SHOWN[-2:]]
            gains = [report.estimate(column(values, 0, place) - column(plain, 0, place)) for place in places]
            title = TITLES.get(name, name) if after == WAIT else name
            rows.append([title, *at(values, SHOWN), *(gains if name != "raw" else ("", ""))])
        yield report.table([f"{number} comparisons", *HEAD, *(f"minus raw, {one}" for one in HEAD[-2:])], rows)


def matched_coefficient(raw: harness.Arrays) -> str:
    """Return the table at equal coefficients."""
    rows = []
    for number, name in product(NUMBERS, REWARDS):
        values, places = raw[WAIT, number, name], range(len(TARGETS), len(TARGETS) + len(COEFFICIENTS))
        cells = [f"{report.estimate(column(values, 0, p))} at {values[:, :, 2, p].mean():.2g}" for p in places]
        rows.append([number, name.replace("_", " "), *cells])
    return report.table(["comparisons", "reward", *(f"coefficient {c:g}" for c in COEFFICIENTS)], rows)


def prices(raw: harness.Arrays) -> str:
    """Return the table of transforms of the true reward."""
    rows = [[TITLES.get(name, name), *at(raw["price", name], SHOWN)] for name in SHAPES]
    return report.table(["true reward, transformed", *HEAD], rows)


def costs(raw: harness.Arrays) -> str:
    """Return how much lower the true score is with each transform of the true reward, in one phrase."""
    place, plain = TARGETS.index(SHOWN[-1]), raw["price", "raw"]
    lost = {
        name: report.estimate(column(plain, 0, place) - column(raw["price", name], 0, place)) for name in SHAPES[1:]
    }
    return f"at a KL of {SHOWN[-1]:g} " + ", ".join(f"{n.replace('_', ' ')} {found}" for n, found in lost.items())


def summary(raw: harness.Arrays) -> str:
    """Return what comes out, in sentences."""
    parts = []
    for number in NUMBERS:
        means = [one.point for one in at(raw[WAIT, number, "raw"], TARGETS)]
        best, last = int(np.argmax(means)), TARGETS.index(SHOWN[-1])
        ahead = {}
        for name in REWARDS[1:-1]:
            gain = column(raw[WAIT, number, name], 0, last) - column(raw[WAIT, number, "raw"], 0, last)
            ahead[name.replace("_", " ")] = report.estimate(gain)
        clear = [name for name, gain in ahead.items() if gain.low > 0]
        unclear = [name for name, gain in ahead.items() if gain.low <= 0 <= gain.high]
        worse = [name for name, gain in ahead.items() if gain.high < 0]
        parts.append(
            f"With {number} comparisons the true score of the raw reward is highest, {means[best]:.2f}, at a KL of "
            f"{TARGETS[best]:g} among those tried, and {means[-1]:.2f} at {TARGETS[-1]:g}, while its learned score "
            f"rises throughout. At a KL of {SHOWN[-1]:g}, better than raw with an interval clear of 0: "
            f"{', '.join(clear) or 'none'}; not clear of 0: {', '.join(unclear) or 'none'}; worse: "
            f"{', '.join(worse) or 'none'}."
        )
    return " ".join(parts)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and both figures, or nothing as long as values are missing."""
    if missing := sum(key not in records for keys in jobs(options) for key in keys):
        print(f"{missing} values are missing, and so no page is written")
        return {}
    raw = harness.arrays(records, jobs(options))
    grid_text, grid_panel = grid_part()
    units, seeds = raw[WAIT, NUMBERS[0], "raw"].shape[:2]
    best, far = (report.estimate(np.maximum(raw["constant",][:, 0, i], FLOOR)) for i in range(2))
    parts = [
        "# Over-optimisation of learned rewards",
        "Written by `python -m studies.preference.over_optimisation`. How the true return of a policy changes while it "
        "is optimised for a learned reward, over the distance from the policy it started with, and what transforms of "
        "the reward do about it. In brackets: 95% bootstrap intervals over boards.",
        summary(raw),
        "Centring, z-scores and min-max trace the curve of the raw reward exactly; they change how the coefficient is "
        f"to be read. Where the reward is right, shapes cost true score: {costs(raw)}. What a transform gains from a "
        "learned reward it gains in spite of that.",
        "![True and learned score over KL, a panel for each reward](over-optimisation.svg)",
        "![True score over KL of all rewards](over-optimisation-true.svg)",
        *grid_text,
        "## Boards",
        f'{units} random tasks of the split "test"; draws of pairs and answers for each: {seeds}. Episodes have '
        f"{STEPS} steps; one that has ended waits, as in `PreferenceFeedback`. The start policy is uniformly random. "
        f"People compare two of its segments of {LENGTH} steps by partial return, at temperature {TEMPERATURE:g} (on "
        "the published board a step costs 1 and the goal pays 50). The reward is an ensemble of "
        f'{MEMBERS} networks on the observation "features" and the action; its mean is transformed, step by step, by '
        f'references from {EPISODES} further episodes of the start policy. "least member" and "mean - std" centre '
        'each member first, by references of its own; "lsc of all members" is the sum of each member\'s lsc, the log '
        "probability that all find a step good enough. Optima under the KL penalty are exact, and so are returns and "
        "KL. Score 0 is the start policy, 1 the best policy for these steps; clipped to "
        f"{FLOOR:g}. The best policy of one constant action scores {best} at a KL of {far}.",
        "### At equal KL",
        "If the optimum without penalty is nearer than that, this optimum.",
        *matched_kl(raw, WAIT, REWARDS),
        "### What a transform costs",
        f"The same with the true reward, divided by {TEMPERATURE:g}, in the place of a learned one.",
        prices(raw),
        "### At equal coefficient",
        "Mean score, and the mean KL that it was reached at. Coefficients are in units of each transformed reward: "
        "where scores differ here, so does the KL.",
        matched_coefficient(raw),
        "### Where episodes stop at their end",
        "The same rewards, but no reward is paid after the end, as with `fixed_horizon=False`. A constant then is a "
        "wage for each step before the end: `par`, never negative, pays for staying, and `lsc`, never positive, for "
        "leaving; `raw` and `centred`, equal above, differ. KL as above.",
        *matched_kl(raw, END, ENDING),
    ]
    return {
        ".md": report.page(*parts),
        ".svg": figures.draw(panels_of(raw), columns=3),
        "-true.svg": figures.draw([*panels_together(raw), grid_panel], columns=3),
    }


STUDY = harness.Study("over-optimisation", jobs, run, pages)
PARSER = harness.parser(__doc__, units=30, seeds=1)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
