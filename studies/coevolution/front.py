"""Service against diversity: fronts of agents under swept settings, and their hypervolumes paired by seed.

    python -m studies.coevolution.front [--seeds 30] [--processes 2] [--table]

The ranges of the settings were chosen on episodes of another key, `keys.mix(1, ...)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import gymnasium as gym
import numpy as np

from studies import figures, harness, report
from studies.coevolution.tracks import policy
from studies.harness import Array, Key, Options, Records
from valuegym.agents import make
from valuegym.envs import keys as random_keys
from valuegym.envs import rollouts
from valuegym.envs.coevolution import metrics
from valuegym.leaderboards.stats.pareto import hypervolume, pareto_front

EPISODES = 6  # of a seed
SPEAKING_RATES = tuple(i / 9 for i in (0, 1, 2, 3, 4, 6, 9))
GAINS = (0.2, 0.4, 0.7, 1.0)  # of the moving average
DRIFTS = (0.03, 0.1, 0.3)  # of the Kalman filter, which set its gain
PRICES = (0.0, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)  # of the pluralist, at every step
END_PRICES = (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0)  # at the last one
CLUSTERS = ((1, 2, 3), (1,), (2,), (3,))
PARAMETERS = {  # of the agents, whose values stand in the keys of records
    "moving_average": ("gain", "speaking_rate"),
    "kalman": ("drift", "speaking_rate"),
    "pluralist": ("price", "at_end"),
}
SWEEPS: dict[str, list[tuple[Any, Any]]] = {
    "moving_average": [(gain, rate) for gain in GAINS for rate in SPEAKING_RATES],
    "kalman": [(drift, rate) for drift in DRIFTS for rate in SPEAKING_RATES],
    "pluralist": [*((price, False) for price in PRICES), *((price, True) for price in END_PRICES)],
}
DECIMALS = report.decimals(3)


def label(clusters: Sequence[int]) -> str:
    """Return possible numbers of clusters in words, as keys and pages have them."""
    return " or ".join(map(str, clusters))


@lru_cache(maxsize=1)
def environment(clusters: str) -> Any:
    """Return the environment with these numbers of clusters."""
    return gym.make("valuegym/Coevolve-v0", clusters=tuple(map(int, clusters.split(" or "))))


def points(clusters: str, name: str, setting: Sequence[Any], root: int, seeds: int) -> Array:
    """Return service, mean and final diversity ratio (seeds, 3) of an agent under a setting."""
    env = environment(clusters)
    core = env.unwrapped.core
    task, _ = core.initial(random_keys.mix(root, np.arange(seeds * EPISODES)))
    agent = make(name, env, **dict(zip(PARAMETERS[name], setting, strict=True)))
    run = rollouts.play(core, task, policy(agent, core))
    service = np.mean([core.service(s, a) for s, a in zip(run.states[:-1], run.actions, strict=True)], 0)
    ratio = np.array([metrics.diversity_ratio(s.people, s.counterfactual) for s in run.states[1:]])
    return np.stack([service, ratio.mean(0), ratio[-1]], -1).reshape(seeds, -1, 3).mean(1)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield all seeds of one setting."""
    for clusters, (name, settings) in product(map(label, CLUSTERS), SWEEPS.items()):
        for setting in settings:
            yield [(clusters, name, *setting, seed) for seed in range(options.seeds)]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the points of keys that share a setting."""
    clusters, name, *setting, _ = keys[0]
    found = points(clusters, name, setting, 3, options.seeds)
    return [harness.rounded(found[key[-1]], 4) for key in keys]


def fronts(records: Records) -> dict[str, dict[str, Array]]:
    """Return points (settings, seeds, 3) by clusters and agent, of those that are complete."""
    cells, found = harness.columns(records), {}
    for clusters in map(label, CLUSTERS):
        wanted = {name: [(clusters, name, *setting) for setting in settings] for name, settings in SWEEPS.items()}
        if all(cell in cells for names in wanted.values() for cell in names):
            found[clusters] = {name: np.array([cells[cell] for cell in names]) for name, names in wanted.items()}
    return found


def volumes(found: Mapping[str, Array], column: int) -> dict[str, Array]:
    """Return hypervolumes (seeds,) above (0, 0) of service against a column of the points, by agent and of both."""
    both = np.concatenate([found["moving_average"], found["kalman"]])
    return {
        name: np.array([hypervolume(seed[:, [0, column]], (0.0, 0.0)) for seed in x.swapaxes(0, 1)])
        for name, x in {**found, "both": both}.items()
    }


def page(found: Mapping[str, Mapping[str, Array]]) -> str:
    """Return the page."""
    rows = []
    for clusters, by in found.items():
        for column, kind in ((1, "mean"), (2, "final")):
            volume = volumes(by, column)
            cells = [volume[name] for name in SWEEPS]
            cells += [volume["pluralist"] - volume[name] for name in ("moving_average", "kalman", "both")]
            rows.append([clusters, kind, *(report.show(report.estimate(cell), DECIMALS) for cell in cells)])
    head = ["clusters", "diversity ratio", "`moving_average`", "`kalman`", "`pluralist`"]
    head += ["ahead of `moving_average`", "of `kalman`", "of both"]
    seeds = next(iter(found.values()))["kalman"].shape[1]
    return report.page(
        "# Coevolution: service against diversity",
        "What people get from broadcasts, by the values that they would hold without the AI (mean over steps), "
        "against the diversity ratio to the counterfactual population (mean over steps, or at the end). Every point is "
        f"a setting of an agent: `moving_average` at {len(GAINS)} gains and `kalman` at {len(DRIFTS)} drifts, each at "
        f"{len(SPEAKING_RATES)} shares of steps at which it speaks; `pluralist` at {len(PRICES)} prices of diversity "
        f"at every step, as the reward has it, and at {len(END_PRICES)} prices of diversity at the last step only. "
        f"Hypervolume above (0, 0), mean and 95% interval over {seeds} seeds of {EPISODES} episodes; differences "
        "are paired by seed.",
        "`python -m studies.coevolution.front`; [points of every seed](data/coevolution-front.jsonl).",
        report.table(head, rows),
        "![Fronts](coevolution-front.svg)",
    )


def figure(found: Mapping[str, Mapping[str, Array]]) -> str:
    """Return the fronts: points of all settings, means over seeds."""
    with figures.new(len(found), 2, (12, 6.2), sharex="col", sharey=True) as (drawn, grid):
        for axes, (clusters, by) in zip(grid.T, found.items(), strict=True):
            for row, kind in enumerate(("mean", "final")):
                for (name, x), colour in zip(by.items(), figures.COLOURS, strict=False):
                    at = x.mean(1)[:, [0, 1 + row]]
                    end = np.array([setting[1] is True for setting in SWEEPS[name]])
                    axes[row].scatter(*at[~end].T, s=14, color=colour, label=name)
                    if end.any():
                        style = {"facecolor": "white", "edgecolor": colour, "label": f"{name}, at_end", "zorder": 3}
                        axes[row].scatter(*at[end].T, s=14, **style)
                    best = at[pareto_front(at)]
                    axes[row].plot(*best[np.argsort(best[:, 0])].T, color=colour, lw=1)
                grid[row, 0].set_ylabel(f"diversity ratio, {kind}")
            axes[0].set_title(f"clusters: {clusters}")
            axes[1].set_xlabel("service")
        grid[0, 0].legend(fontsize=8)
        return figures.svg(drawn)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    found = fronts(records)
    return {".md": page(found), ".svg": figure(found)} if found else {}


STUDY = harness.Study("coevolution-front", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=30)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
