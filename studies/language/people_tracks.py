"""Agents that are language models, and trackers of numbers, among people that are language models.

    python -m studies.language.people_tracks [--units 6] [--processes 2] [--table]

Needs the extra `text`. A unit is a seed: of the agent, of the items that are asked and of the answers; seeds 0 to 5
meet histories 0 to 5. What an agent answers at a step is scored against the people of this century (Follow) and of the
next one (Predict): none of them knows which is asked, but `theta`.
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

CHALLENGES = {"Follow": "valuegym/FollowLanguage-v0", "Predict": "valuegym/PredictLanguage-v0"}
NUMBERS = ("persistence", "frozen", "kalman", "theta", "extrapolative")
MODELS = experiments.LANGUAGE_MODELS
SHORT = ("frozen_sft", "lifelong_sft", "lifelong_dpo", "extrapolative_dpo")  # of the demonstration
LAST = 3  # centuries, in which a frozen model is oldest
MEASURES = ("cosine", "distance", "norm ratio", "squared error")


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
    """Return the score, repeated, and what MEASURES names, at each of nine centuries (5, 9)."""
    core: Any = gym.make(CHALLENGES[challenge]).unwrapped.core  # type: ignore[attr-defined]
    task, start = task_of(core, seed)
    asked_in = challenge if name == "theta" else "Follow"
    played = rollouts.play(core, task, rollouts.replayed(np.stack(actions_of(name, asked_in, seed), 1)), start)
    naive, best = core.references(task)
    score = float((played.returns[0] - naive[0]) / (best[0] - naive[0]))
    x = core.vector(np.concatenate([core.stated(action) for action in played.actions]))
    y = core.vector(np.concatenate([core.truth(task, state) for state in played.states[:-1]]))
    norms = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    steps = zip(played.states[:-1], played.actions, strict=True)
    error = [-core.reward(task, state, action, state)[0] for state, action in steps]
    rows = [(x * y).sum(1) / (norms[0] * norms[1]), np.linalg.norm(x - y, axis=1), norms[0] / norms[1], error]
    return harness.rounded([[score] * len(x), *rows], 4)


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each agent and seed."""
    for seed in range(options.units):
        for name in (*NUMBERS, *(SHORT if options.short else MODELS)):
            yield [(name, challenge, seed) for challenge in CHALLENGES]


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


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and its figure."""
    cells = {key: np.array(values) for key, values in harness.columns(records).items()}
    names = [name for name in (*NUMBERS, *MODELS) if (name, "Follow") in cells]
    units = len(cells[names[0], "Follow"])
    parts, panels = [], []
    for challenge in CHALLENGES:
        rows = []
        for name in names:
            mean = cells[name, challenge].mean(-1)  # (units, 5)
            rows.append([f"`{name}`", *(report.estimate(mean[:, i]) for i in (1, 2, 3, 0))])
        parts += [f"## {challenge}", report.table(("agent", *MEASURES[:3], "score"), rows)]
        for i, title in ((1, "cosine"), (2, "distance")):
            lines = {
                name: [report.estimate(column) for column in cells[name, challenge][:, i].T]
                for name in names
                if name in ("persistence", *MODELS)
            }
            panels.append(figures.Panel(f"{challenge}: {title}", "century", title, figures.curves(lines), limits=None))
    ahead = cells["frozen_sft", "Follow"][:, 2].mean(-1) - cells["lifelong_sft", "Follow"][:, 2].mean(-1)
    behind = cells["lifelong_dpo", "Follow"][:, 2].mean(-1) - cells["frozen_sft", "Follow"][:, 2].mean(-1)
    frozen = cells["frozen_sft", "Follow"][..., -LAST:]
    late = {name: (cells[name, "Follow"][..., -LAST:] - frozen).mean(-1) for name in names if name in MODELS[1:]}
    differences = [[f"`{name}`", *(report.estimate(found[:, i]) for i in (1, 2, 3))] for name, found in late.items()]
    head = ("r", "least r of a century", "r of changes", "slope of changes", "mean error of probabilities")
    texts = [
        "# People and agents that are language models",
        "People of ten centuries in six histories are tiny models of Llama's architecture, fitted to the choice "
        "shares of populations whose nineteen values move; their answers to items that they were not fitted to are "
        "recorded. An agent is given, century by century, what twenty people answer to each of 80 items, and says "
        f"how they answer 95 others. Means over nine centuries and {units} seeds (each another history, agent, and "
        "draw of items and answers) with 95% bootstrap intervals over seeds. Cosine, distance (nats) and ratio of "
        "norms compare vectors of values (log-odds) of the agent's answers with those of the people's; the score is "
        "the skill in squared error of probabilities, 0 for persistence, 1 for the oracle.",
        "Written by `python -m studies.language.people_tracks`, which needs the extra `text`.",
        "## People against their populations",
        report.table(head, [fit_of_people()]),
        *parts,
        "`frozen_sft` is `lifelong_sft` that stops after the first century; `frozen` and the other trackers know the "
        "loadings of items on values, which language models do not. "
        f"In Follow, the distance of `lifelong_sft` is smaller than that of `frozen_sft` by {report.estimate(ahead)}; "
        f"that of `lifelong_dpo` is larger by {report.estimate(behind)}.",
        f"## Less `frozen_sft`, in the last {LAST} centuries of Follow",
        report.table(("agent", *MEASURES[:3]), differences),
        f"![Cosine and distance over nine centuries]({options.name}.svg)",
        *(() if options.short else CONCLUSIONS),
    ]
    return {".md": report.page(*texts), ".svg": figures.draw(panels, 2)}


CONCLUSIONS: tuple[str, ...] = (
    "**Cosine hides overshooting.** A vote says which option more people chose and not how many, and a reward model "
    "that is added to what the last century left counts it twice. `lifelong_rlhf` is ahead of the frozen model by "
    "cosine, and far behind it by distance, with vectors more than twice as long as the people's. `lifelong_dpo` "
    "points better than the frozen model in the last centuries only, is longer there, and no nearer. `lifelong_sft`, "
    "whose loss says how many, and those that start again at each century do not overshoot.",
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
