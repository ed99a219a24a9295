"""Agents that are language models, and trackers of numbers, among people that are language models.

    python -m studies.language.people_tracks [--units 6] [--processes 2] [--table]

Needs the extra `text`. A unit is a seed: of the agent, of the items that are asked and of the answers; seeds 0 to 5
meet histories 0 to 5. What an agent answers at a step is scored against the people of this century (Follow) and of the
next one (Predict): none of them knows which is asked, but `theta`. In Coevolve agents play again, among people whom
they change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np

from studies import figures, harness, report
from studies.coevolution.tracks import policy
from studies.harness import Array, Key, Options, Records
from valuegym.agents import make
from valuegym.envs import rollouts
from valuegym.envs.functional import episode_keys
from valuegym.envs.language import people, readings
from valuegym.envs.language.item_bank import MOST
from valuegym.leaderboards import experiments

COEVOLVE = "Coevolve"
CHALLENGES = {name: f"valuegym/{name}Language-v0" for name in ("Follow", "Predict", COEVOLVE)}
NUMBERS = ("persistence", "frozen", "kalman", "theta", "extrapolative")
SILENT = "silent"  # in Coevolve alone
MODELS = experiments.LANGUAGE_MODELS
DRAWN = ("persistence", *MODELS)
SHORT = ("frozen_sft", "lifelong_sft", "lifelong_dpo", "extrapolative_dpo")  # of the demonstration
LAST = 3  # centuries, in which a frozen model is oldest
MEASURES = ("cosine", "distance", "norm ratio", "squared error")
INFLUENCE = 5  # of MEASURES and the score, in Coevolve alone


def task_of(core: Any, seed: int) -> tuple[Any, Any]:
    """Return task and first state of the episode of a seed."""
    found: tuple[Any, Any] = core.initial(episode_keys([10_000 + seed]), history=np.array([seed % core.histories]))
    return found


@lru_cache(maxsize=4)
def actions_of(name: str, challenge: str, seed: int) -> list[Array]:
    """Return what an agent answers in the episode of a seed."""
    env: Any = gym.make(CHALLENGES[challenge])
    core = env.unwrapped.core
    task, start = task_of(core, seed)
    return list(rollouts.play(core, task, policy(make(name, env, seed), core), start).actions)


def measure(name: str, challenge: str, seed: int) -> list[list[float]]:
    """Return the score, repeated, and what MEASURES names, at each of nine centuries (5, 9), in Coevolve influence too.

    Influence is the distance of the people's vector from that of the counterfactual people, after the step.
    """
    core: Any = gym.make(CHALLENGES[challenge]).unwrapped.core  # type: ignore[attr-defined]
    task, start = task_of(core, seed)
    asked_in = challenge if name == "theta" or challenge == COEVOLVE else "Follow"
    played = rollouts.play(core, task, rollouts.replayed(np.stack(actions_of(name, asked_in, seed), 1)), start)
    naive, best = core.references(task)
    score = float((played.returns[0] - naive[0]) / (best[0] - naive[0]))
    x = core.vector(np.concatenate([core.stated(action) for action in played.actions]))
    y = core.vector(np.concatenate([core.truth(task, state) for state in played.states[:-1]]))
    norms = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    steps = zip(played.states[:-1], played.actions, strict=True)
    error = [((core.stated(a) - core.truth(task, state)) ** 2).sum(-1).mean() for state, a in steps]
    rows = [(x * y).sum(1) / (norms[0] * norms[1]), np.linalg.norm(x - y, axis=1), norms[0] / norms[1], error]
    if challenge == COEVOLVE:
        sides = (np.concatenate([f(task, state) for state in played.states[1:]]) for f in (core.truth, core.natural))
        rows.append(np.linalg.norm(np.subtract(*map(core.vector, sides)), axis=1))
    return harness.rounded([[score] * len(x), *rows], 4)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each agent and seed."""
    for seed in range(options.units):
        for name in (*NUMBERS, SILENT, *(SHORT if options.short else MODELS)):
            own, others = [(name, COEVOLVE, seed)], [(name, challenge, seed) for challenge in ("Follow", "Predict")]
            yield from [own] if name == SILENT else [others, own]


def run(keys: Sequence[Key], options: Options) -> list[list[list[float]]]:
    """Return the measures of one agent in both challenges."""
    return [measure(*key) for key in keys]


def fit_of_people() -> list[str]:
    """Return how near recorded people are to their populations: r, least r, r and slope of changes, error."""
    found = people.load("tiny-llama")
    there = np.arange(MOST) < found.bank.counts[:, None]
    shares = readings.choice_shares(found.bank.loadings, there, found.values)
    x, y = (readings.value_log_odds(found.bank.loadings, there, each) for each in (found.answers, shares))
    D = x.shape[-1]
    least = min(np.corrcoef(a, b)[0, 1] for a, b in zip(x.reshape(-1, D), y.reshape(-1, D), strict=True))
    dx, dy = ((each[:, 1:] - each[:, :1]).ravel() for each in (x, y))
    numbers = (
        np.corrcoef(x.ravel(), y.ravel())[0, 1],
        least,
        np.corrcoef(dx, dy)[0, 1],
        np.polyfit(dy, dx, 1)[0],
        np.abs(found.answers - shares).max(-1).mean(),
    )
    return [f"{number:.3f}" for number in numbers]


def cells_of(records: Records, challenge: str) -> dict[str, Array]:
    """Return by agent the values (units, 5 or 6, 9) in a challenge, of the seeds that all of them have played."""
    every = {key: values for key, values in harness.columns(records).items() if key[1] == challenge}
    units = min(map(len, every.values()), default=0)
    return {
        name: np.array(every[name, challenge][:units])
        for name in (*NUMBERS, SILENT, *MODELS)
        if (name, challenge) in every
    }


def measures_of(challenge: str) -> dict[str, int]:
    """Return the columns of a challenge and where their values are."""
    columns = {name: i for i, name in enumerate(MEASURES[:3], 1)}
    return columns | ({"influence": INFLUENCE} if challenge == COEVOLVE else {})


def later(cells: Mapping[str, Array], challenge: str) -> list[str]:
    """Return what language models have less `frozen_sft` in the last centuries, as a heading and a table."""
    late = {name: (values - cells["frozen_sft"])[..., -LAST:].mean(-1) for name, values in cells.items()}
    rows = [
        [f"`{name}`", *(report.estimate(late[name][:, i]) for i in measures_of(challenge).values())]
        for name in MODELS[1:]
        if name in late
    ]
    heading = f"## Less `frozen_sft`, in the last {LAST} centuries of {challenge}"
    return [heading, report.table(("agent", *measures_of(challenge)), rows)]


def lengths(found: Mapping[str, Mapping[str, Array]]) -> list[str]:
    """Return ratios of norms of language models in parts of the history, and who is longer than the people there."""
    parts = {f"first {LAST}": slice(None, LAST), "all": slice(None), f"last {LAST}": slice(-LAST, None)}
    ratio = {
        (challenge, name): {part: report.estimate(values[:, 3, which].mean(-1)) for part, which in parts.items()}
        for challenge, cells in found.items()
        for name, values in cells.items()
        if name in MODELS
    }
    rows = [[challenge, f"`{name}`", *each.values()] for (challenge, name), each in ratio.items()]
    longer = []
    for part in ("all", f"last {LAST}"):
        names = [f"`{name}` ({challenge})" for (challenge, name), each in ratio.items() if each[part].low > 1]
        longer.append(f"{part} centuries: {', '.join(names) or 'none'}")
    return [
        "## Overshoot: ratio of norms",
        report.table(("challenge", "agent", *(f"{part} centuries" for part in parts)), rows),
        f"Longer than the people's, with the whole interval above 1, in {'; in the '.join(longer)}.",
    ]


def difference(cells: Mapping[str, Array], first: str, second: str, measure: int) -> report.Estimate:
    """Return by how much a measure of the first agent is larger, mean over centuries."""
    return report.estimate((cells[first] - cells[second])[:, measure].mean(-1))


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and its figure."""
    found = {challenge: cells_of(records, challenge) for challenge in CHALLENGES}
    parts, panels = [], []
    for challenge, cells in found.items():
        rows = [
            [f"`{name}`", *(report.estimate(values[:, i].mean(-1)) for i in (*measures_of(challenge).values(), 0))]
            for name, values in cells.items()
        ]
        parts += [f"## {challenge}", report.table(("agent", *measures_of(challenge), "score"), rows)]
        for title in ("cosine", "distance", *(["influence"] if challenge == COEVOLVE else [])):
            lines = [
                figures.Curve(name, [report.estimate(column) for column in values.T], DRAWN.index(name))
                for name, values in (
                    (name, cells[name][:, measures_of(challenge)[title]]) for name in DRAWN if name in cells
                )
            ]
            panels.append(figures.Panel(f"{challenge}: {title}", "century", title, lines, limits=None))
    follow, coevolve = found["Follow"], found[COEVOLVE]
    ahead, behind = (
        difference(follow, "frozen_sft", "lifelong_sft", 2),
        difference(follow, "lifelong_dpo", "frozen_sft", 2),
    )
    parts.append(
        f"In Coevolve, over {len(coevolve['frozen_sft'])} seeds, cosine, distance and ratio of norms compare with the "
        "people whom the agent has changed; the influence is the distance (nats) of their vector from that of the "
        "counterfactual people, after each century. Score 0 is persistence in silence, 1 a reference that knows "
        f"people, counterfactual people and the surrogate. `{SILENT}` is `kalman` without a word. `frozen_sft` moves "
        f"people by {difference(coevolve, 'frozen_sft', 'lifelong_sft', INFLUENCE)} more than `lifelong_sft`. Not "
        f"played in Coevolve: {', '.join(f'`{name}`' for name in follow if name not in coevolve) or 'none'}."
    )
    units = len(follow["frozen_sft"])
    fit = ("r", "least r of a century", "r of changes", "slope of changes", "mean error of probabilities")
    texts = [
        "# People and agents that are language models",
        "People of ten centuries in six histories are tiny models of Llama's architecture, fitted to the choice "
        "shares of populations whose nineteen values move; their answers to items that they were not fitted to are "
        "recorded. An agent is given, century by century, what twenty people answer to each of 80 items, and says "
        "how they answer 95 others; in Coevolve people read these answers, and a surrogate of language models says how "
        "they change ([its fit](language-surrogate.md), [models trained live](language-live.md)). Means over nine "
        f"centuries and {units} seeds (each another history, agent, and draw of items and answers) with 95% bootstrap "
        "intervals over seeds. Cosine, distance (nats) and ratio of norms compare vectors of values (log-odds) of the "
        "agent's answers with those of the people's; the score is the skill in squared error of probabilities, 0 for "
        "persistence, 1 for the oracle.",
        "Written by `python -m studies.language.people_tracks`, which needs the extra `text`.",
        "## People against their populations",
        report.table(fit, [fit_of_people()]),
        *parts,
        "`frozen_sft` is `lifelong_sft` that stops after the first century; `frozen` and the other trackers know the "
        "loadings of items on values, which language models do not. "
        f"In Follow, the distance of `lifelong_sft` is smaller than that of `frozen_sft` by {ahead}; "
        f"that of `lifelong_dpo` is larger by {behind}.",
        *later(follow, "Follow"),
        *later(coevolve, COEVOLVE),
        *lengths({challenge: cells for challenge, cells in found.items() if challenge != "Predict"}),
        f"![Cosine, distance and influence over nine centuries]({options.name}.svg)",
        *(() if options.short else CONCLUSIONS),
    ]
    return {".md": report.page(*texts), ".svg": figures.draw(panels, 2)}


CONCLUSIONS: tuple[str, ...] = (
    "**Cosine hides overshooting.** A vote says which option more people chose and not how many, and a reward model "
    "that is added to what the last century left counts it twice. `lifelong_rlhf` is ahead of the frozen model by "
    "cosine, and far behind it by distance, with vectors more than twice as long as the people's over all centuries of "
    "Follow. Of `lifelong_dpo` overshoot holds for the last centuries alone: there its vectors are longer than the "
    "people's, and point better than those of the frozen model, but are no nearer; in the first centuries they are too "
    "short, and over all neither. In Coevolve, where people come to meet it, its vectors are longer over all "
    "centuries. `lifelong_sft`, whose loss says how many, and those that start again at each century do not overshoot.",
    "**Settings** were chosen in about ten runs of two or three episodes on the same six histories, with other "
    "draws of people and items: the budget (80 items, after 40), the weight of DPO (5, after 0.1, 0.5 and 1; kept "
    "because DPO was then ahead of the frozen model by cosine and behind it by distance) and those of the other "
    "losses. No history was held out, and why votes and repeated rewards overshoot is our reading, not a "
    "measurement.",
    "**No language model is as near as `persistence` or `kalman`**, which know the loadings of items: the values most "
    "likely given the answers of one century are nearer to the people than what a tiny model makes of 80 items.",
)


def study(options: Options) -> harness.Study:
    """Return the study, under the name that the options give it."""
    return harness.Study(options.name, jobs, run, pages)


if __name__ == "__main__":
    arguments = harness.parser(__doc__, units=6)
    arguments.add_argument("--short", action="store_true", help="without lifelong_rlhf, as `make demo-language` does")
    arguments.set_defaults(name="language-people")
    given = arguments.parse_args()
    harness.run(study(given), given)
