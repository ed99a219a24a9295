"""Three pairs of tasks that partial return cannot tell apart and regret can: exact, from all comparisons there are.

    python -m studies.preference.identifiability

Takes a second. Nothing is sampled, so nothing has an interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from studies import harness, report
from studies.harness import Array, Options, Records
from studies.preference import tasks
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import probes


def scores(probe: probes.Probe, index: int, policy: Array) -> Array:
    """Return normalised mean returns (n,) of policies (n, S, A) in one of the paired tasks."""
    mdp = probe.process(index)
    reward = tabular.reward(mdp, probe.weights[index : index + 1])
    return tabular.normalised_return(mdp, np.broadcast_to(reward, (len(policy), *reward.shape)), policy[:, None])[:, 0]


def shared(allowed: Array) -> Array:
    """Return the policy (S, A) that shares each state evenly among its allowed actions, or all where there is none."""
    some = np.where(allowed.any(-1, keepdims=True), allowed, True).astype(float)
    policy: Array = some / some.sum(-1, keepdims=True)
    return policy


def best_worst(probe: probes.Probe) -> float:
    """Return the highest score that any policy reaches in both tasks, to a hundredth of each of its probabilities."""
    opens, S = np.flatnonzero(~probe.outcomes.terminal[0]), probe.outcomes.terminal.shape[1]
    grid = np.array(list(product(np.linspace(0, 1, 101), repeat=len(opens))))
    policy = np.full((len(grid), S, 2), 0.5)  # every probe has two actions
    policy[:, opens] = np.stack([grid, 1 - grid], -1)
    return float(np.minimum(*(scores(probe, index, policy) for index in range(2))).max())


def rows(name: str) -> list[list[str]]:
    """Return one line of the table per statistic."""
    probe, found = probes.by_name(name), []
    for what, statistic in tasks.STATISTICS.items():
        answers = [probe.preferences(index, statistic, probe.choice) for index in range(2)]
        difference = float(np.abs(answers[0] - answers[1]).max())
        policies = [shared(probe.unbeaten(preferences)) for preferences in answers]
        reached = [scores(probe, index, policy[None])[0] for index, policy in enumerate(policies)]
        right = [bool((probe.unbeaten(p) == probe.optimal(t)).all()) for t, p in enumerate(answers)]
        limit = "" if what == "regret" else f"{best_worst(probe):.2f}"
        line = [name, what, f"{difference:.3f}", " and ".join("yes" if r else "no" for r in right)]
        found.append([*line, " and ".join(f"{value:.2f}" for value in reached), limit])
    return found


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    head = [
        "paired tasks",
        "answers by",
        "largest difference of P(second) between the two",
        "unbeaten actions are the optimal ones",
        "their scores in the two",
        "best any one policy does in the worse one",
    ]
    found = {name: probes.by_name(name) for name in probes.PROBES}
    about = [f"- {name}: {probe.about} (answers: {type(probe.choice).__name__})" for name, probe in found.items()]
    parts = [
        "# Which models of preference identify the optimal policy",
        "Two paired tasks look the same to a learner; they want different policies. From all comparisons of "
        "whole segments, without any sampling noise: how far the answers in the two differ at most, and "
        "whether the actions of the segments that nothing is preferred to are exactly the optimal ones. Where the "
        "answers are the same, every learner says the same in both, and none does better in the worse one than "
        "the last column. Scores: 0 for uniformly random actions, 1 for optimal ones.",
        "\n".join(about),
        "Written by `python -m studies.preference.identifiability`.",
        report.table(head, (row for name in found for row in rows(name))),
    ]
    return {".md": report.page(*parts)}


STUDY = harness.Study("identifiability", lambda options: (), lambda keys, options: (), pages)

if __name__ == "__main__":
    harness.run(STUDY, harness.parser(__doc__).parse_args())
