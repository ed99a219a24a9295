"""CoevolveLanguage with people that are trained while it goes on, against the surrogate that stands for them.

    python -m studies.language.live_coevolve [--units 6] [--folder build/live] [--table]

Needs the extra `text`. A unit is a seed, of agent, items and answers, in another history. Each agent plays twice: among
people that are models and are trained for real (`live_people`), and among those of the surrogate. What people answered
is logged in the folder, so that a run that was killed goes on; nothing of it is ranked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from studies import figures, harness, report
from studies.coevolution.tracks import policy
from studies.harness import Array, Key, Options, Records
from studies.language.people_tracks import CHALLENGES, COEVOLVE, actions_of, task_of
from valuegym.agents import make
from valuegym.envs import rollouts

AGENTS = ("persistence", "frozen", "lifelong_sft", "oracle")
WORLDS = ("live", "surrogate", "counterfactual")
DIGITS = 3  # of vectors that are kept, in nats


def trajectories(name: str, seed: int, folder: str) -> tuple[list[Array], list[float]]:
    """Return vectors of the people (T+1, D) in each of WORLDS, and the returns in the first two."""
    from studies.language.live_people import LivePeople  # needs torch, which the page does not

    env: Any = gym.make(CHALLENGES[COEVOLVE])
    plain, core = env.unwrapped.core, gym.make(CHALLENGES[COEVOLVE]).unwrapped.core  # type: ignore[attr-defined]
    core.respond = LivePeople(folder).respond
    task, start = task_of(plain, seed)
    # The oracle plans by the surrogate, whoever the people are.
    acts = plain.oracle_action if name == "oracle" else policy(make(name, env, seed), core)
    live = rollouts.play(core, task, acts, start)
    stood_for = rollouts.play(plain, task, rollouts.replayed(np.stack(actions_of(name, COEVOLVE, seed), 1)), start)
    sides = [[core.truth(task, state) for state in each.states] for each in (live, stood_for)]
    sides.append([core.natural(task, state) for state in live.states])
    vectors = [core.vector(np.concatenate(each)) for each in sides]
    return vectors, [float(each.returns[0]) for each in (live, stood_for)]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each agent and seed."""
    for seed in range(options.units):
        for name in AGENTS:
            yield [(name, seed)]


def run(keys: Sequence[Key], options: Options) -> list[dict[str, Any]]:
    """Return the trajectories of one agent in one episode."""
    found = []
    for name, seed in keys:
        vectors, returns = trajectories(name, seed, options.folder)
        found.append(
            {
                **dict(zip(WORLDS, harness.rounded(vectors, DIGITS), strict=True)),
                "returns": np.round(returns, 4).tolist(),
            }
        )
    return found


def agreement(live: Array, surrogate: Array, natural: Array) -> list[float]:
    """Return r and slope of vectors (T+1, D), r and two slopes of their shifts, and three distances.

    Slopes are those of the surrogate on the live people, the second of shifts that of live people on the surrogate.
    Distances are means over steps after the first: between live and surrogate, and the influence of each, in nats.
    """
    x, y, z = (each[1:] for each in (live, surrogate, natural))
    pairs = [(x.ravel(), y.ravel()), ((x - z).ravel(), (y - z).ravel())]
    fits = [number for a, b in pairs for number in (np.corrcoef(a, b)[0, 1], np.polyfit(a, b, 1)[0])]
    fits.append(np.polyfit(*pairs[1][::-1], 1)[0])
    return [*fits, *(float(np.linalg.norm(d, axis=1).mean()) for d in (x - y, x - z, y - z))]


HEAD = (
    "agent",
    "r",
    "slope",
    "r of shifts",
    "slope of shifts",
    "the same, live on surrogate",
    "distance",
    "influence, live",
    "influence, surrogate",
)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and its figure."""
    cells = harness.columns(records)
    units = max(map(len, cells.values()))
    names = [name for name in AGENTS if len(cells.get((name,), ())) == units]
    worlds = {name: [[np.array(cell[world]) for world in WORLDS] for cell in cells[(name,)]] for name in names}
    found = {name: np.array([agreement(*three) for three in worlds[name]]) for name in names}
    rows = [[f"`{name}`", *(report.estimate(column) for column in found[name].T)] for name in names]
    every = np.mean([found[name] for name in names], 0)
    rows.append(["mean", *(report.estimate(column) for column in every.T)])
    returns = {name: np.array([cell["returns"] for cell in cells[(name,)]]) for name in names}
    scored = [
        [f"`{name}`", *map(report.estimate, (*values.T, values[:, 0] - values[:, 1]))]
        for name, values in returns.items()
    ]
    ranks = [np.argsort(np.argsort([returns[name][:, i].mean() for name in names])) for i in range(2)]
    panels = []
    for name in names:
        moved = {
            world: [
                report.estimate([np.linalg.norm(three[i][t] - three[2][t]) for three in worlds[name]])
                for t in range(1, len(worlds[name][0][0]))
            ]
            for i, world in enumerate(WORLDS[:2])
        }
        panels.append(figures.Panel(name, "century", "influence", figures.curves(moved), limits=None))
    texts = [
        "# People trained live, and the surrogate that stands for them",
        f"`CoevolveLanguage-v0` played twice by each agent over {units} seeds, each in another history: among people "
        "that are tiny models, trained further at every century on what the agent has said, and among those of the "
        "surrogate, by the same draws. Vectors of people's nineteen values (nats) are compared over nine centuries; "
        "shifts are those from the counterfactual people, whom no agent has spoken to. Slopes are those of the "
        "surrogate on the live people; the distance is between the two, to be compared with the influence, which is "
        "the distance of either from the counterfactual. 95% bootstrap intervals over seeds. "
        "The surrogate was fitted to people of the same histories, who had heard other things "
        "([its fit](language-surrogate.md), where histories are held out).",
        "Written by `python -m studies.language.live_coevolve`, which needs the extra `text`.",
        report.table(HEAD, rows),
        "## Returns",
        report.table(("agent", "live", "surrogate", "live less surrogate"), scored),
        f"Ranked by their returns, {sum(ranks[0] == ranks[1])} of {len(names)} agents have the same place in both. "
        "`oracle` plans by the surrogate in both.",
        *CONCLUSIONS,
        f"![Influence over nine centuries, live and by the surrogate]({STUDY.name}.svg)",
    ]
    return {".md": report.page(*texts), ".svg": figures.draw(panels, 2)}


CONCLUSIONS = (
    "**Where it agrees.** Trajectories of people are nearly the same, because the counterfactual history is in both; "
    "the shifts from it are the test. Their directions agree, and agents have the same order.",
    "**Where it does not.** Live people move further, and returns are lower. One part is size: what agents say differs "
    "little from what people answer, and to small gaps people respond by about a fifth more than the surrogate (the "
    "slope of live on surrogate). The other part is direction: every training also moves people in ways that no "
    "surrogate predicts, which adds to a distance whatever the agent has said. So the influence of an agent is "
    "smaller here than among live people, and its return larger; the order of agents is the same.",
)

STUDY = harness.Study("language-live", jobs, run, pages)

if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    arguments = harness.parser(__doc__, units=6)
    arguments.add_argument("--folder", default="build/live", help="where weights and the log of people are kept")
    harness.run(STUDY, arguments.parse_args())
