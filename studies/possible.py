"""Compare the best agent with what is possible on tracks with hidden state, from what an agent may see.

    python -m studies.possible [--episodes 40] [--table]

Follow and Predict: Bayes filters under the track's own law of paths (`valuegym.agents.coevolution.filters`). Coevolve:
estimates only, of agents that never broadcast. Query environments: all weights that the generator of boards can draw,
each with its exact likelihood. Episodes are the experiments' own; scores of agents are the published ones
(docs/results/baselines/records.jsonl).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from studies import harness, report
from studies.coevolution import tracks
from studies.harness import Array, Key, Options, Records
from studies.preference import learners
from valuegym.agents import make
from valuegym.agents.coevolution import filters
from valuegym.agents.coevolution.filters import Law
from valuegym.agents.preference import comparisons, decisions
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import keys, rollouts
from valuegym.envs import mdp as tabular
from valuegym.envs.coevolution import dynamics, trajectories
from valuegym.envs.functional import episode_keys
from valuegym.envs.preference import models, random_delivery
from valuegym.leaderboards import experiments

PATHS = 4000  # simulated, where moments stand for a law
SCALES = (0, 1)  # keys of the simulations; the second one says how much the first one's moments err
QUERIES = tuple(f"preference/boards-{name}" for name in experiments.RANKED)
BOUNDS = tuple(id for id in tracks.IDS if id.startswith("coevolution/coevolve"))
SOLVED = 0.95
EXACT = ("linear", "logistic", "random-walk", "ornstein-uhlenbeck", "regime-switch")


# --- values that move ---


def law(name: str, n: int, key: int) -> Law:
    """Return the law of paths (n,) of a family, by simulated moments where there is no closed form."""
    family: Any = trajectories.FAMILIES[name]
    match name:
        case "linear":
            return filters.linear(n, family.start, family.pace)
        case "logistic":
            return filters.logistic(n, family.widths)
        case "random-walk":
            return filters.random_walk(n, family.start, family.sigma)
        case "ornstein-uhlenbeck":
            return filters.ornstein_uhlenbeck(n, family.start, family.theta, family.sigma)
        case "regime-switch":
            return filters.regimes(n, family.level, family.sigma, family.chance)
    return filters.moments(family.draw(keys.mix(key, keys.RESET, np.arange(PATHS)), n, 5))


def names_of(core: Any) -> tuple[str, ...]:
    """Return the families that a track's paths may belong to."""
    return tuple(trajectories.FAMILIES) if core.family == "mixed" else (core.family,)


def followed(core: Any, key: int) -> tuple[list[Law], list[Array]]:
    """Return the laws of the target and the variances (T,) of readings, in Follow and Predict."""
    T, n, m = core.steps, core.steps + core.horizon, core.channel.budget
    laws = [law(name, n, key) for name in names_of(core)]
    within = np.full(T, core.cluster_std**2 * (1 - 1 / core.people))
    if core.listens:  # the mean that is followed is a linear function of the path, and of who deviates
        one = np.zeros((n, n, core.people, 1))
        one[np.arange(n), np.arange(n)] = 1.0
        matrix = dynamics.mean(core.listen(one), 2)[..., 0].T
        noise = keys.irwin_hall(keys.mix(key, 1, np.arange(400))[:, None], np.arange(core.people))
        alone = core.cluster_std * (noise - noise.mean(1, keepdims=True))[..., None]
        people = core.listen(np.repeat(alone[:, None], n, 1))[..., 0]
        within, middle = people[:, :T].var(-1).mean(0), people.mean(-1)
        laws = [one.through(matrix, middle.T @ middle / len(middle)) for one in laws]
    return laws, [(within + core.channel.noise**2) / m] * len(laws)


def coevolved(id: str, core: Any, key: int) -> tuple[list[Law], list[Array]]:
    """Return the laws of the people's mean without broadcasts, and the variances of readings, by simulation."""
    laws, noise = [], []
    for i, (name, k) in enumerate(product(names_of(core), core.clusters)):
        arguments = experiments.find(id).kwargs | {"family": name, "clusters": (k,)}
        env: Any = gym.make("valuegym/Coevolve-v0", **arguments)
        alike = env.unwrapped.core
        task, start = alike.initial(keys.mix(key, 2 + i, np.arange(300)))
        people = np.stack([s.people for s in silent(alike, task, start)], 1)
        laws.append(filters.moments(people.mean(2)))
        noise.append((people.var(2).mean((0, 2)) + core.channel.noise**2) / core.channel.budget)
    return laws, noise


def silent(core: Any, task: Any, start: Any) -> list[Any]:
    """Return the states of episodes without broadcasts."""
    return rollouts.play(core, task, core.persistence, start).states[:-1]


def squared(estimates: Array, truth: Array) -> Array:
    """Return summed squared errors (B,) of estimates (B, T, D)."""
    return np.asarray(((estimates - truth) ** 2).sum((1, 2)))


def moving(id: str) -> dict[str, Any]:
    """Return the summed squared errors of all episodes of a track: of persistence, of what is possible, of agents."""
    env, task, start, _ = tracks.track(id)
    core = env.unwrapped.core
    states = silent(core, task, start)
    readings = np.stack([core.channel.estimate(s.pending_responses[:, 0]) for s in states], 1)
    found: dict[str, Any] = {}
    if id in BOUNDS:
        truth = np.stack([dynamics.mean(s.people) for s in states], 1)
        for name in experiments.find(id).agents:
            if name in ("oracle", "pluralist", "silent"):
                continue
            agent = make(name, env, speaking_rate=0.0)
            played = rollouts.play(core, task, tracks.policy(agent, core), start)
            estimates = core.scale * np.stack([a[:, : core.dimensions] for a in played.actions], 1).astype(np.float64)
            found[name] = squared(estimates, truth)
    else:
        truth = np.stack([core.truth(task, s) for s in states], 1)
    found["persistence"] = squared(readings, truth)
    for key in SCALES:
        if core.channel.kind == "choices":
            estimates = regressed(core, [s.pending_responses[:, 0] for s in states], key)
        else:
            laws, noise = coevolved(id, core, key) if id in BOUNDS else followed(core, key)
            shares = np.full(len(laws), 1 / len(laws))
            estimates = filters.posterior_mean(laws, shares, readings, noise, getattr(core, "horizon", 0))
        found["possible" if key == 0 else "possible again"] = squared(estimates, truth)
    return {name: harness.rounded(value, 6) for name, value in found.items()}


def pooled_readings(core: Any, responses: Sequence[Array]) -> list[Array]:
    """Return for every step t the readings (B, t + 1, D) of the last 1, 2, ..., t + 1 steps' responses together."""
    return [
        np.stack([core.channel.estimate(np.concatenate(responses[t - k : t + 1], 1)) for k in range(t + 1)], 1)
        for t in range(len(responses))
    ]


def regressed(core: Any, responses: Sequence[Array], key: int) -> Array:
    """Return the best linear estimates (B, T, D) from pooled readings, by regression on simulated silent episodes."""
    task, start = core.initial(keys.mix(key, 3, np.arange(PATHS)))
    states = silent(core, task, start)
    simulated = pooled_readings(core, [s.pending_responses[:, 0] for s in states])
    result = []
    for x, seen, state in zip(simulated, pooled_readings(core, responses), states, strict=True):
        flat = x.transpose(0, 2, 1).reshape(-1, x.shape[1])
        weights = np.linalg.lstsq(flat, dynamics.mean(state.people).reshape(-1), rcond=None)[0]
        result.append(np.einsum("bkd,k->bd", seen, weights))
    return np.stack(result, 1)


# --- query environments ---


@lru_cache(maxsize=1)
def hypotheses() -> Array:
    """Return all weights (H, d) that boards can have, in the published order, with items in either role."""
    drawn = np.array(list(product(*random_delivery.VALUES)))
    ends, items = drawn[:, [0, 2, 1, 3, 4, 5]], drawn[:, [0, 1, 2, 4, 3, 5]]
    return np.concatenate([drawn, ends, items, ends[:, [0, 1, 2, 4, 3, 5]]])


def queried(wanted: Sequence[Key], options: Options) -> list[Any]:
    """Return the scores of one episode at its evaluation points, by what is possible, for each annotator."""
    episode = wanted[0][-1]
    found: dict[str, Any] = {}
    for id in dict.fromkeys(key[0] for key in wanted):
        what = experiments.find(id)
        env: Any = gym.make(what.env_id, **what.kwargs)
        core = env.unwrapped.core
        run, place = divmod(episode, what.episodes)
        task, _ = core.initial(episode_keys([what.evaluation_seeds(what.seeds[run])[place]]))
        _, _, shuffle, sign = core.source.tasks.original(task.key)
        weights = np.take_along_axis(hypotheses(), np.tile(shuffle, (len(hypotheses()), 1)), -1) * sign
        found[id] = _possible_scores(core, task, weights)
    return [found[key[0]] for key in wanted]


def _possible_scores(core: Any, task: Any, weights: Array) -> list[float]:
    points = core.evaluation_points
    pairs, label = learners.questions(core, task, 0, points[-1])
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    small = condense(mdp)
    values = OptimalValues(small.mdp)
    if isinstance(core.source.annotator.statistic, models.Regret):
        about = comparisons.regret(small.mdp, small.renumbered(pairs))
        x = about.features @ weights.T + about.values @ values(weights)
    else:
        x = comparisons.partial_return(pairs, mdp.discount).features @ weights.T
    choice = core.source.annotator.choice
    if isinstance(choice, models.Noiseless):
        each = -1e3 * (choice.probability(x) != label[:, None])
    else:
        each = -choice.cross_entropy(x, label[:, None])
    log = np.concatenate([np.zeros((1, len(weights))), np.cumsum(each, 0)])
    result = []
    for n in points:
        p = np.exp(log[n] - log[n].max())
        considered = decisions.choices(values, weights, p / p.sum(), np.random.default_rng(n))
        best = decisions.pick(considered, "value").weights
        best = best / max(np.abs(best).max(), 1e-12)
        result.append(float(core.score(task, best[None].astype(np.float32))[0]))
    return harness.rounded(result, 6)


# --- the study ---


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each track of moving values, then one for each episode of the query environments."""
    for id in tracks.IDS:
        yield [(id, 0)]
    for episode in range(0, 100, max(100 // options.episodes, 1)):
        yield [(id, "possible", episode) for id in QUERIES]


def run(wanted: Sequence[Key], options: Options) -> list[Any]:
    """Return errors of a track, or scores of an episode."""
    return queried(wanted, options) if wanted[0][0] in QUERIES else [moving(key[0]) for key in wanted]


def published_scores(id: str) -> dict[str, Array]:
    """Return the published scores (seeds, episodes, points) of each agent on a track."""
    found: dict[str, dict[int, Any]] = {}
    for record in published_records():
        if record["experiment"] == id:
            found.setdefault(record["agent"], {})[record["seed"]] = record["scores"]
    return {name: np.array([scores[seed] for seed in sorted(scores)], float) for name, scores in found.items()}


@lru_cache(maxsize=1)
def published_records() -> list[Any]:
    """Return the published records of agents."""
    text = (harness.RESULTS / "baselines" / "records.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def ratio(sums: Array) -> report.Estimate:
    """Return the ratio of sums (units, 2) with its interval over units."""

    def statistic(values: Array, axis: int) -> Array:
        total = values.sum(axis)
        return np.asarray(total[..., 0] / total[..., 1])

    return report.resampled(sums, statistic)


class Row(NamedTuple):
    """One track: losses (units,) of persistence, of the best agent, of what is possible, and by other simulations."""

    best: str
    naive: Array
    agent: Array
    possible: Array
    again: Array | None

    def skill(self, loss: Array) -> report.Estimate:
        """Return the pooled skill, 1 - sum of losses / sum of those of persistence."""
        return ratio(np.stack([self.naive - loss, self.naive], 1))

    def cells(self, number: Callable[[float], str]) -> list[object]:
        """Return the cells of a table."""
        reached = ratio(np.stack([self.naive - self.agent, self.naive - self.possible], 1))
        gap = ratio(np.stack([self.agent - self.possible, self.naive], 1))
        error = (
            "" if self.again is None else number(abs(self.skill(self.again).point - self.skill(self.possible).point))
        )
        solved = "yes" if reached.low >= SOLVED else "no" if reached.high < SOLVED else "open"
        shown = [report.show(one, number) for one in (self.skill(self.agent), self.skill(self.possible), gap, reached)]
        return [f"`{self.best}`", *shown[:2], error, *shown[2:], solved]


HEAD = (
    "track", "episodes", "best agent", "its skill", "possible", "error of simulation", "possible - best",
    "share reached", "solved",
)  # fmt: skip


def row(id: str, records: Records) -> Row | None:
    """Return what the records say of a track of moving values."""
    if (id, 0) not in records:
        return None
    found = {name: np.array(value) for name, value in records[id, 0].items()}
    naive, possible, again = found["persistence"], found.pop("possible"), found.pop("possible again")
    if id not in BOUNDS:
        for name, scores in published_scores(id).items():
            if name not in ("oracle", "uniform", "persistence") and scores.size % len(naive) == 0:
                found[name] = (1 - scores.reshape(-1)[: len(naive)]) * naive
            elif name not in ("oracle", "uniform", "persistence"):  # an agent with fewer seeds
                found[name] = (1 - scores.reshape(-1)) * naive[: scores.size]
    best = min(found, key=lambda name: found[name].sum() / naive[: len(found[name])].sum())
    n = len(found[best])
    exact = id not in BOUNDS and id.rpartition("-follow-")[2].split("/")[-1].partition("-")[2] in EXACT
    return Row(best, naive[:n], found[best], possible[:n], None if exact else again[:n])


def query_row(id: str, records: Records) -> Row | None:
    """Return what the records say of a query environment; losses are 1 - mean score, of uniform play 1."""
    scores = {key[2]: np.mean(value) for key, value in records.items() if key[:2] == (id, "possible")}
    if not scores:
        return None
    episodes = sorted(scores)
    found = {
        name: 1 - score.mean(-1).reshape(-1)[episodes]
        for name, score in published_scores(id).items()
        if name not in ("oracle", "uniform") and score.mean(-1).size > max(episodes)
    }
    best = min(found, key=lambda name: found[name].sum())
    possible = 1 - np.array([scores[episode] for episode in episodes])
    return Row(best, np.ones(len(episodes)), found[best], possible, None)


def point_table(records: Records) -> str:
    """Return the mean scores at every evaluation point of the query environments: best agent, and what is possible."""
    rows = []
    for id in QUERIES:
        found = {key[2]: value for key, value in records.items() if key[:2] == (id, "possible")}
        if not (whole := query_row(id, records)):
            continue
        episodes = sorted(found)
        scores = published_scores(id)[whole.best]
        agent = scores.reshape(-1, scores.shape[-1])[episodes]
        possible = np.array([found[episode] for episode in episodes])
        for i, n in enumerate(experiments.EVALUATION_POINTS):
            each = [report.estimate(x[:, i]) for x in (agent, possible, possible - agent)]
            rows.append([f"`{id}`", n, f"`{whole.best}`", *(report.show(one, report.decimals(3)) for one in each)])
    return report.table(["track", "answers", "best agent", "its score", "possible", "possible - best"], rows)


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""

    def tabled(ids: Sequence[str], make: Callable[[str, Records], Row | None]) -> str:
        rows = {id: found for id in ids if (found := make(id, records))}
        return report.table(
            HEAD, [[f"`{id}`", len(found.naive), *found.cells(report.decimals(3))] for id, found in rows.items()]
        )

    return {
        ".md": report.page(
            "# What is possible",
            "Written by `python -m studies.possible`; do not edit. An oracle that sees hidden states is out of "
            "reach. The line of what is possible is the score of the best estimate from what an agent may see, under "
            "the track's own generator. Skill is pooled over episodes, 1 - (sum of losses) / (sum of losses of "
            "persistence): 0 is persistence, 1 the oracle. Sums are what a posterior mean maximises; the mean of "
            "episodes' scores is not, so that figures differ from those of the boards. Share reached: (agent - "
            "persistence) / (possible - "
            f"persistence); a track is solved where it is at least {SOLVED} with its whole interval, and not where it "
            "is below with its whole interval. Brackets: 95% bootstrap intervals over episodes, the same for agent and "
            "line. Agents are the published ones ([baselines](baselines.md)), the best of them in these episodes. "
            "[Records](data/possible.jsonl).",
            "## Follow and Predict",
            "Bayes filters: exact for linear trends, random walks and the Ornstein-Uhlenbeck process (Gaussian), for "
            "switching regimes (all sets of switches are enumerated), and for logistic transitions up to a grid of "
            "225 midpoints and widths. The population's path is taken as Gaussian with the moments of 4,000 "
            "simulated paths; the people of `follow-hubs` follow any of the six families, heard through their "
            "network. Responses are read by their mean, whose error is taken as normal. Error of simulation: the "
            "difference that another 4,000 paths make.",
            tabled([id for id in tracks.IDS if id not in BOUNDS], row),
            "## Coevolve: estimates in silence",
            "Only the error of estimates, of agents that never broadcast: what broadcasts can be worth has no such "
            "line. Moments of simulated silent episodes for each family and number of clusters, which is not quite "
            "the best estimate: the line is a lower bound of what is possible. For choices it is the best linear "
            "estimate from the readings of the last 1, 2, ... steps' choices together, by regression on 4,000 "
            "simulated episodes.",
            tabled(BOUNDS, row),
            "## Query environments",
            "All 720 weights that the generator can draw for a board, with the exact likelihood of the answers so "
            "far, and of their optimal policies the one with the highest expected score at every evaluation point, "
            "the one without answers included; the order and the signs of features show on the board. Losses are 1 - "
            "score, and 0 is uniform play. A learner that keeps 0 before the first answer cannot reach the line. "
            "Tracks where an agent chooses the queries, those with a known answer and those of people have no such "
            "line.",
            tabled(QUERIES, query_row),
            point_table(records),
        )
    }


STUDY = harness.Study("possible", jobs, run, pages)
PARSER = harness.parser(__doc__)
PARSER.add_argument("--episodes", type=int, default=40, help="of each query environment, at most 100")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
