"""Compare scores: which tell persistence from answerers that know nothing, on many paths and on recorded history.

python -m studies.coevolution.centring --data FOLDER
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from studies import harness, report
from studies.harness import Array, Options, Records
from valuegym.envs import keys
from valuegym.envs.coevolution import metrics, recorded, trajectories

HEAD = ("answer", "raw cosine", "centred similarity", "centred skill")


def raw_cosine(a: Array, b: Array) -> Array:
    """Return the cosine of uncentred vectors."""
    return metrics.centred_similarity(a, b, np.zeros_like(a))


def transitions(truth: Array) -> dict[str, dict[str, Array]]:
    """Return scores per transition (paths, T-1) of four answerers by three metrics; answers use the past only."""
    centre, now, last = metrics.running_centre(truth), truth[..., 1:, :], truth[..., :-1, :]
    answers = {
        "persistence": last,
        "frozen": np.broadcast_to(truth[..., :1, :], now.shape),
        "all ones": np.ones_like(now),
        "mean vector": centre,
    }
    size = np.sum((centre - now) ** 2, -1).mean(-1, keepdims=True)
    return {
        name: {
            "raw cosine": raw_cosine(answer, now),
            "centred similarity": metrics.centred_similarity(answer, now, centre),
            "centred skill": 1 - np.sum((answer - now) ** 2, -1) / size,
        }
        for name, answer in answers.items()
    }


def compared(truth: Array) -> tuple[str, str]:
    """Return tables of scores and of differences to persistence, over paths or the transitions of a single path."""
    scores, gaps = [], []
    found = transitions(truth)
    for name, by in found.items():
        scores.append([name, *(f"{x.mean():.3f}" for x in by.values())])
        if name != "persistence":
            unit = [found["persistence"][metric] - x for metric, x in by.items()]
            unit = [x.mean(-1) if len(x) > 1 else x[0] for x in unit]
            gaps.append([name, *(report.show(report.estimate(x), report.decimals(3)) for x in unit)])
    return report.table(HEAD, scores), report.table(HEAD, gaps)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page; nothing is recorded, for it takes seconds."""
    parts = [
        "# Coevolution: what tells agents apart",
        "Four answerers forecast the next step: persistence (the last value), frozen (the first), all ones, and the "
        "mean of all values so far. Raw cosine against two measures that are centred on the mean of the past, which "
        "uses no future data. Families: 500 paths of nine steps in five dimensions with a common level of 1 added, as "
        "value scores have one; intervals over paths.",
        "`python -m studies.coevolution.centring --data FOLDER`",
    ]
    for family in trajectories.FAMILIES:
        truth = 1.0 + trajectories.by_name(family).draw(keys.mix(3, np.arange(500)), 9, 5)
        scores, gaps = compared(truth)
        parts += [f"## {family}", scores, "Persistence less the other:", gaps]
    if options.data:
        truth = recorded.load("history", options.data).values[None]
        scores, gaps = compared(truth)
        orders = ", ".join(f"K = {K} {x:.3f}" for K, x in enumerate(extrapolated(truth[0])))
        parts += [
            "## Nine centuries of five value scores (digitised from ProgressGym)",
            scores,
            "Persistence less the other, intervals over the eight transitions:",
            gaps,
            f"Extrapolation of order K, raw cosine one step ahead (from the third century on): {orders}.",
        ]
    return {".md": report.page(*parts)}


def extrapolated(truth: Array) -> list[float]:
    """Return mean raw cosines of extrapolations of order 0, 1, 2 from the third value on, cut to the past's order."""
    return [
        float(np.mean([raw_cosine(trajectories.extrapolate(truth[:t], K), truth[t]) for t in range(2, len(truth))]))
        for K in range(3)
    ]


STUDY = harness.Study("coevolution-centring", lambda options: (), lambda keys, options: (), pages)
PARSER = harness.parser(__doc__)
PARSER.add_argument("--data", metavar="FOLDER", help="folder of recorded paths")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
