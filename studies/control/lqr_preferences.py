"""Value-gradient weights under a reward that was learnt from preferences: in the LQR, where regret is exact.

    python -m studies.control.lqr_preferences [--seeds 32] [--table]

For every seed: a mass with 4 distractors, pairs of segments with random forces, answers by regret or by partial return,
and rewards learnt from the first 10 to 300 of them by either statistic, which are recorded. For the page a linear model
of rank 2 is fitted under each loss, with the gradients of the learnt value, and the Riccati equation plans with the
model and the learnt reward; the result is paid at the true costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch

from studies import figures, harness, report
from studies.control import lqr_sweep
from studies.harness import Array, Key, Options, Records
from valuegym.agents.control import lqr_preferences as preferences
from valuegym.agents.control.lqr_preferences import Pairs, Segments
from valuegym.envs.control import lqr, riccati

DISTRACTORS, SCALE, LENGTH = 4, 1.0, 5  # LENGTH is steps in a segment
NUMBERS = (10, 30, 100, 300)  # preferences
STATISTICS = ("regret", "partial_return")
LOSSES = ("mse", "vagram", "vagram_matrix")
CLEAR = 2.0  # median difference between two segments, in temperatures
KNOWN = "known"  # instead of a loss: the true dynamics
OPEN = "regret, other prior"  # distractors are expected to cost as much as the position
LEARNERS = {"regret": (*STATISTICS, OPEN), "partial_return": STATISTICS}  # by what answered


def world(seed: int) -> riccati.LinearSystem:
    """Return the system of a seed in its own coordinates."""
    return lqr.system(lqr.Parameters(distractors=DISTRACTORS, distractor_scale=SCALE, map_seed=seed))


def play(system: riccati.LinearSystem, start: Any, n: int, rng: np.random.Generator) -> Segments:
    """Draw segments (n, 2, LENGTH, ...) from states spread as starts are, with random forces."""
    s = rng.standard_normal((n, 2, len(system.A))) * np.sqrt(np.diag(start))
    states, actions = [], []
    for _ in range(LENGTH):
        states.append(s)
        actions.append(lqr_sweep.FORCE * rng.standard_normal((n, 2, 1)))
        s = s @ system.A.T + actions[-1] @ system.B.T + rng.standard_normal(s.shape) * np.sqrt(np.diag(system.W))
    return Segments(np.stack(states, -2), np.stack(actions, -2))


def learnt(seed: int) -> dict[Key, list[float]]:
    """Return weights by key: what answered (regret or partial return), learner, number of preferences, seed."""
    system, rng = world(seed), np.random.default_rng([31, seed])
    start = lqr.start_covariance(lqr.Parameters(distractors=DISTRACTORS, distractor_scale=SCALE, map_seed=seed))
    segments = play(system, start, max(NUMBERS), rng)
    n = len(system.A)
    basis = preferences.axes(n, 1)
    costs = preferences.partial_costs(segments, basis, system.discount)
    weights = np.concatenate([np.diag(system.Q), np.diag(system.R)])
    units = (costs[:, 0] - costs[:, 1]).std(0)
    prior = np.where((np.arange(n + 1) >= lqr.PHYSICAL) & (np.arange(n + 1) < n), 1.0, 0.0)
    found: dict[Key, list[float]] = {}
    for answered, true in (("regret", preferences.regret(segments, system)), ("partial_return", costs @ weights)):
        temperature = float(np.median(np.abs(np.diff(true)))) / CLEAR
        preferred = preferences.sample_answers(true, temperature, rng)
        for number in NUMBERS:
            first = Pairs(Segments(*(part[:number] for part in segments)), preferred[:number])
            for statistic in STATISTICS:
                w = preferences.learn(first, basis, system, statistic, units)
                found[answered, statistic, number, seed] = (w * temperature).tolist()
            if answered == "regret":  # in units of temperatures, a distractor costs as much as the position truly does
                centre = prior * units * weights[0] / temperature
                w = preferences.learn(first, basis, system, "regret", units, centre)
                found[answered, OPEN, number, seed] = (w * temperature).tolist()
    return found


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield everything that is learnt from one seed."""
    for seed in range(options.seeds):
        yield [(who, learner, n, seed) for who in STATISTICS for n in NUMBERS for learner in LEARNERS[who]]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the learnt weights of each key."""
    torch.set_num_threads(1)
    found = learnt(keys[0][-1])
    return [found[key] for key in keys]


def costs_of(weights: Any, loss: str, turned: bool) -> Any:
    """Return true over optimal costs (seeds,) of plans with learnt weights (seeds, d), None for the true ones."""
    seeds = len(weights)
    cell = lqr_sweep.Cell(DISTRACTORS, SCALE, turned, 0.0)
    data = lqr_sweep.data_of(cell, seeds)
    system = data.system
    systems = []
    for i in range(seeds):
        turn = lqr.rotation(lqr.Parameters(distractors=DISTRACTORS, rotated=turned, map_seed=i))
        one = riccati.LinearSystem(*(part[i] for part in system[:5]), system.discount)
        basis = preferences.axes(len(turn), 1, turn)
        systems.append(one if weights[i] is None else preferences.priced(one, basis, weights[i]))
    joint = riccati.LinearSystem(*(np.stack([b[k] for b in systems]) for k in range(5)), system.discount)
    if loss == KNOWN:
        K = riccati.gain(joint, riccati.optimal(joint).P)
        return lqr_sweep.true_cost(system, K, data.start)[1] / data.best
    return lqr_sweep.relative_costs(cell, loss, seeds, joint)


# --- the page ---

Costs = dict[tuple[bool, str, str, int, str], Any]  # turned, answered, learner, number, loss -> costs (seeds,)


def all_costs(records: Records) -> Costs:
    """Return the costs of everything; the true reward has the number 0."""
    found: dict[Any, Any] = {}
    cells: dict[Key, Any] = {cell: list(map(np.array, weights)) for cell, weights in harness.columns(records).items()}
    seeds = max(map(len, cells.values()))
    cells["", "true", 0] = [None] * seeds
    for turned, loss, (cell, weights) in product(lqr_sweep.TURNS, (KNOWN, *LOSSES), cells.items()):
        found[(turned, *cell, loss)] = costs_of(weights, loss, turned)
    return found


def _median(values: Array, axis: int) -> Array:
    """Return the higher median, one of the values, which may be infinite."""
    return np.quantile(values, 0.5, axis=axis, method="higher")


def _estimate(values: Array) -> report.Estimate:
    return report.resampled(values, _median, method="higher")


def _number(value: float) -> str:
    return (
        "∞" if value == np.inf else f"{value:.3f}" if value < 2 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"
    )


def text(values: Array) -> str:
    """Return the median with its interval."""
    return report.show(_estimate(values), _number)


def _table(costs: Costs, turned: bool, answered: str) -> str:
    losses = (KNOWN, *LOSSES)
    head = ["reward learnt by", "preferences", *(f"{x} dynamics" if x == KNOWN else f"`{x}`" for x in losses)]
    body = [["the true one", "", *(text(costs[turned, "", "true", 0, loss]) for loss in losses)]]
    for learner in LEARNERS[answered]:
        for number in NUMBERS:
            cells = [text(costs[turned, answered, learner, number, loss]) for loss in losses]
            body.append([learner.replace("_", " "), str(number), *cells])
    return report.table(head, body)


def _paired(costs: Costs) -> str:
    """Return a table of regret against partial return, where the model is no obstacle and where it is."""
    head = ["answers by", "preferences", "known dynamics", "regret cheaper"]
    body = []
    for answered in STATISTICS:
        for number in NUMBERS:
            cells = []
            for turned, loss in ((False, KNOWN), (True, "vagram_matrix")):
                own, other = (costs[turned, answered, learner, number, loss] for learner in STATISTICS)
                ratio = np.divide(other, own, out=np.ones_like(own), where=np.isfinite(own) | np.isfinite(other))
                cells += [text(ratio), f"{(own < other).sum()} of {len(own)}"]
            body.append([answered.replace("_", " "), number, *cells])
    return report.table([*head, "`vagram_matrix`, rotated", "regret cheaper"], body)


def page(costs: Costs) -> str:
    """Return the page."""
    seeds = len(costs[False, "", "true", 0, KNOWN])
    parts = [
        "# Value-gradient weights under a reward learnt from preferences",
        f"A mass on a line with {DISTRACTORS} distractors of scale {SCALE:g}, {seeds} seeds. Rewards are learnt from "
        f"answers about pairs of segments of {LENGTH} steps with random forces; a linear model of rank 2 is fitted "
        "under each loss with the gradients of the learnt value, and the Riccati equation plans with model and learnt "
        "reward. The figures are the true cost of the planned controller over that of the optimal one, medians with "
        "95% bootstrap intervals; 1 is optimal, unstable controllers count as infinite. `known dynamics` plans with "
        "the learnt reward and without a model, so that only the reward can be wrong.",
        "Written by `python -m studies.control.lqr_preferences`, from "
        "[data/lqr-preferences.jsonl](data/lqr-preferences.jsonl).",
        "![True cost over the number of preferences](lqr-preferences.svg)",
        f"The median difference between two segments is {CLEAR:g} temperatures. The features of the reward are known, "
        "the squares of position, velocity, every distractor and the force; their weights, at least 0, are learnt "
        f"under a normal prior about 0. `{OPEN}` is regret with a prior by which every distractor costs as much as the "
        "position truly does.",
        "Regret is exact here. By its definition it says nothing of what no action influences, so that the weights of "
        "the distractors are those of the prior (a test holds this to the last digits). The controller does not "
        "depend on them, and known dynamics give the same cost; but the value function does, and with it what a model "
        "with value-gradient weights looks at.",
    ]
    for answered in STATISTICS:
        for turned, axes in ((False, "aligned axes"), (True, "rotated observation")):
            parts.append(f"## Answers by {answered.replace('_', ' ')}, {axes}")
            parts.append(_table(costs, turned, answered))
    parts += [
        "## The two learners, seed by seed",
        "Cost with the reward learnt by partial return over that with the reward learnt by regret.",
        _paired(costs),
    ]
    return report.page(*parts)


def figure(costs: Costs) -> str:
    """Return medians of the cost beyond the optimal one, over the number of preferences; the top is infinite cost."""
    bottom, top, panels = 5e-4, 1e4, []
    levels = {1e-3: "0.1%", 0.1: "10%", 1.0: "1 times", 10.0: "10 times", 100.0: "100 times", top: "∞"}
    for answered, turned in ((STATISTICS[0], False), (STATISTICS[0], True), (STATISTICS[1], True)):
        for learner in LEARNERS[answered]:
            curves = []
            for style, loss in enumerate((KNOWN, *LOSSES)):
                found = [_estimate(costs[turned, answered, learner, number, loss]) for number in NUMBERS]
                points = [report.Estimate(*np.clip(np.array(one) - 1, bottom, top)) for one in found]
                name = "known dynamics" if loss == KNOWN else loss
                curves.append(figures.Curve(name, points, style, loss == KNOWN))
            title = f"answers by {answered}, learnt by {learner}, {'rotated' if turned else 'aligned'}"
            labels = (title.replace("_", " "), "preferences", "cost beyond optimal")
            panels.append(figures.Panel(*labels, curves, NUMBERS, (bottom, 2 * top), levels))
    return figures.draw(panels)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Plan with the learnt rewards, and return the page and the figure."""
    torch.set_num_threads(1)
    costs = all_costs(records)
    return {".md": page(costs), ".svg": figure(costs)}


STUDY = harness.Study("lqr-preferences", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=32)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
