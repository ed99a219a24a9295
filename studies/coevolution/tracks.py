"""Studies of the coevolution family: one command each, a page in docs/results for each.

    python benchmarks/coevolution_studies.py tracks    # track x agent tables with intervals, every metric
    python benchmarks/coevolution_studies.py front     # service against diversity: fronts and their hypervolumes
    python benchmarks/coevolution_studies.py centring  # what tells agents apart, on families and on recorded history
    python benchmarks/coevolution_studies.py ppo       # Stable-Baselines3's PPO against persistence
    python benchmarks/coevolution_studies.py pictures  # trajectories with bands, opinions over time
    python benchmarks/coevolution_studies.py drift     # the Kalman filter's default, on seeds that no experiment has

Episodes are those that `valuegym run` would play: the experiments' own evaluation seeds. The settings of agents were
chosen on other seeds (`--development` shows those).
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
import numpy.typing as npt

import valuegym  # noqa: F401 - registers the ids
from valuegym.agents import make
from valuegym.envs import keys
from valuegym.envs.coevolution import metrics, recorded, rollouts, trajectories
from valuegym.envs.functional import episode_keys
from valuegym.envs.mdp import between
from valuegym.leaderboards import experiments
from valuegym.leaderboards.stats.bootstrap import interquartile_mean, stratified_bootstrap
from valuegym.leaderboards.stats.pareto import hypervolume, pareto_front

Array = npt.NDArray[Any]

SEEDS, EPISODES = 30, 6  # of the front
DEVELOPMENT = 10  # seeds that settings are chosen on, before those of the front
DUTIES = tuple(i / 9 for i in (0, 1, 2, 3, 4, 6, 9))
GAINS = (0.2, 0.4, 0.7, 1.0)  # of the moving average
DRIFTS = (0.03, 0.1, 0.3)  # of the Kalman filter, which set its gain
PRICES = (0.0, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0)  # of the pluralist, at every step
END_PRICES = (2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0)  # at the last one
CAMPS = ((1, 2, 3), (1,), (2,), (3,))


def policy(agent: Any, core: Any) -> rollouts.Policy:
    """An agent as a policy of task and state, which sees the observation only."""
    memory: list[Any] = [None]
    if hasattr(agent, "attach"):
        return lambda task, state: np.asarray(core.oracle_action(task, state))

    def act(task: Any, state: Any) -> Array:
        action, memory[0] = agent.predict(core.observation(task, state), state=memory[0], deterministic=True)
        return np.asarray(action)

    return act


def interval(values: Array, statistic: Callable[..., Any] = np.mean) -> tuple[float, float, float]:
    """A statistic of values (runs, episodes) with its 95 % interval; whole runs are resampled."""
    low, high = stratified_bootstrap(values[:, None], statistic, np.random.default_rng(0))
    return float(statistic(values)), low, high


def cell(values: Array, statistic: Callable[..., Any] = np.mean, digits: int = 2) -> str:
    """The same as text."""
    point, low, high = (round(x, digits) + 0.0 for x in interval(values, statistic))
    return f"{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def number(value: float) -> str:
    """Three decimals, or two digits of what these would not show, down to rounding errors."""
    return f"{value:.1e}" if 1e-8 < abs(value) < 5e-4 else f"{value:.3f}"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# ---------------------------------------------------------------- tracks


class Track:
    """The evaluation episodes of a track, all seeds at once, and what the references earn on them."""

    def __init__(self, id: str, limit: int | None) -> None:
        what = experiments.find(id)
        self.env: Any = gym.make(what.env_id, **what.kwargs)
        self.core, self.seeds = self.env.unwrapped.core, what.seeds[:limit]
        episodes = [seed for run in self.seeds for seed in what.evaluation_seeds(run)]
        self.task, self.start = self.core.initial(episode_keys(episodes))
        self.references = self.core.references(self.task)

    def measured(self, name: str) -> tuple[Array, dict[str, Array]]:
        """Scores and every metric of an agent (with its own seed 0), all (seeds, episodes)."""
        run = rollouts.play(self.core, self.task, policy(make(name, self.env), self.core), self.start)
        found = self.core.episode_metrics(self.task, run.states, run.actions)
        shape = (len(self.seeds), -1)
        scores: Array = between(run.returns, *self.references)
        return scores.reshape(shape), {key: value.reshape(shape) for key, value in found.items()}


def tracks(out: Path, limit: int | None = None) -> None:
    """Scores of every agent on every track, and the metrics of the Coevolve tracks."""
    parts = [
        "# Coevolution: tracks and agents",
        "",
        "Scores: 0 persistence (in Coevolve in silence), 1 the reference that sees everything. Interquartile mean over "
        "seeds of 20 episodes (those of `valuegym run`), 95% bootstrap interval over seeds.",
        "`python benchmarks/coevolution_studies.py tracks`",
        "",
    ]
    table: dict[str, dict[str, str]] = {}
    details: dict[str, dict[str, dict[str, Array]]] = {}
    ids = [id for id, row in experiments.EXPERIMENTS.items() if id.startswith("coevolution/") and has_core(row)]
    for id in ids:
        track = Track(id, limit)
        for name in experiments.find(id).agents:
            if name in ("ppo", "uniform"):
                continue
            scores, found = track.measured(name)
            table.setdefault(name, {})[id] = cell(scores, interquartile_mean)
            details.setdefault(id, {})[name] = found
            print(id, name, table[name][id], flush=True)
    for kind in ("follow", "predict", "coevolve"):
        columns = [id for id in ids if id.startswith(f"coevolution/{kind}")]
        if columns:
            names = [name for name in table if any(id in table[name] for id in columns)]
            short = [id.removeprefix(f"coevolution/{kind}-") for id in columns]
            rows = [[f"`{name}`", *(table[name].get(id, "") for id in columns)] for name in names]
            parts += [f"## {kind.capitalize()}", "", markdown(["agent", *short], rows), ""]
    for id in ids:
        if id.startswith("coevolution/coevolve") or id == "coevolution/follow-linear":
            names = list(details[id])
            keys_ = list(details[id][names[0]])
            rows = [[key, *(number(details[id][n][key].mean()) for n in names)] for key in keys_]
            parts += [f"## Every metric, `{id}`", "", markdown(["metric", *(f"`{n}`" for n in names)], rows), ""]
    (out / "coevolution_tracks.md").write_text("\n".join(parts), encoding="utf-8")


def has_core(row: experiments.Experiment) -> bool:
    """Whether a track is of an environment that reports metrics."""
    return row.env_id.rpartition("/")[2] in ("Follow-v0", "Predict-v0", "Coevolve-v0")


# ---------------------------------------------------------------- front


SWEEPS: dict[str, list[dict[str, Any]]] = {
    "moving_average": [{"gain": gain, "speaking_rate": speaking_rate} for gain in GAINS for speaking_rate in DUTIES],
    "kalman": [{"drift": drift, "speaking_rate": speaking_rate} for drift in DRIFTS for speaking_rate in DUTIES],
    "pluralist": [
        *({"price": price} for price in PRICES),
        *({"price": price, "at_end": True} for price in END_PRICES),
    ],
}


def points(core: Any, env: Any, task: Any, name: str, settings: list[dict[str, Any]], seeds: int) -> Array:
    """Service, mean and final diversity ratio (settings, seeds, 3) of an agent under some settings."""
    out = []
    for kwargs in settings:
        run = rollouts.play(core, task, policy(make(name, env, **kwargs), core))
        service = np.mean([core.service(s, a) for s, a in zip(run.states[:-1], run.actions, strict=True)], 0)
        ratio = np.array([metrics.diversity_ratio(s.people, s.counterfactual) for s in run.states[1:]])
        out.append(np.stack([service, ratio.mean(0), ratio[-1]], -1).reshape(seeds, -1, 3).mean(1))
    return np.array(out)


def measured_fronts(path: Path, root: int, seeds: int) -> dict[tuple[int, ...], dict[str, Array]]:
    """The points of all settings (settings, seeds, 3) by camps and agent: those of the file, the others are added."""
    known = {}
    if path.exists():
        lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
        known = {(tuple(camps), name): (settings, values) for camps, name, settings, values in lines}
    found: dict[tuple[int, ...], dict[str, Array]] = {}
    for camps in CAMPS:
        env: Any = gym.make("valuegym/Coevolve-v0", clusters=camps)
        core = env.unwrapped.core
        task, _ = core.initial(keys.mix(root, np.arange(seeds * EPISODES)))
        for name, settings in SWEEPS.items():
            if known.get((camps, name), [None])[0] != settings:
                values = points(core, env, task, name, settings, seeds).round(4).tolist()
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([camps, name, settings, values]) + "\n")
                known[camps, name] = (settings, values)
            found.setdefault(camps, {})[name] = np.array(known[camps, name][1])
    return found


def front(out: Path, development: bool = False) -> None:
    """Hypervolumes of service against diversity, ours against swept baselines, paired by seed."""
    from matplotlib import pyplot as plt

    seeds, root, folder = (DEVELOPMENT, 1, out / "development") if development else (SEEDS, 3, out / "raw")
    rows: list[list[str]] = []
    figure, axes = plt.subplots(2, len(CAMPS), figsize=(12, 6.2), sharey=True, sharex="col")
    for column, (camps, found) in enumerate(measured_fronts(folder / "coevolution_front.jsonl", root, seeds).items()):
        found["both"] = np.concatenate([found["moving_average"], found["kalman"]])
        for row, label in enumerate(("mean", "final")):
            volume = {
                name: np.array([hypervolume(x[:, s][:, [0, 1 + row]], (0.0, 0.0)) for s in range(seeds)])[:, None]
                for name, x in found.items()
            }
            cells = [cell(volume[name], digits=3) for name in SWEEPS]
            ahead = [
                cell(volume["pluralist"] - volume[name], digits=3) for name in ("moving_average", "kalman", "both")
            ]
            rows.append([f"{' or '.join(map(str, camps))}", label, *cells, *ahead])
            print(rows[-1], flush=True)
            axis = axes[row, column]
            for name, colour in (("moving_average", "#457b9d"), ("kalman", "#e9a03b"), ("pluralist", "#e63946")):
                x = found[name].mean(1)[:, [0, 1 + row]]
                at_end = np.array(["at_end" in setting for setting in SWEEPS[name]])
                axis.scatter(*x[~at_end].T, s=14, color=colour, label=name)
                if at_end.any():
                    axis.scatter(
                        *x[at_end].T, s=14, facecolor="white", edgecolor=colour, label=f"{name}, at_end", zorder=3
                    )
                best = x[pareto_front(x)]
                axis.plot(*best[np.argsort(best[:, 0])].T, color=colour, lw=1)
            axes[0, column].set_title(f"camps: {' or '.join(map(str, camps))}", fontsize=10)
            axes[1, column].set_xlabel("service")
            axes[row, 0].set_ylabel(f"diversity ratio, {label}")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    if not development:
        save(figure, out / "coevolution_front.svg")
        (out / "coevolution_front.md").write_text(front_page(rows, seeds), encoding="utf-8")


def front_page(rows: list[list[str]], seeds: int) -> str:
    """The page of the fronts."""
    ours = "ahead of"
    header = ["camps", "diversity ratio", "`moving_average`", "`kalman`", "`pluralist`"]
    header += [f"{ours} `moving_average`", "of `kalman`", "of both"]
    return "\n".join(
        [
            "# Coevolution: service against diversity",
            "",
            "What people get from broadcasts, by the values that they would hold without the AI (mean over steps), "
            "against the diversity ratio to the twin (mean over steps, or at the end). Every point is a setting of an "
            f"agent: `moving_average` at {len(GAINS)} gains and `kalman` at {len(DRIFTS)} drifts, each at "
            f"{len(DUTIES)} shares of steps at which it speaks; `pluralist` at {len(PRICES)} prices of diversity at "
            f"every step, as the reward has it, and at {len(END_PRICES)} prices of diversity at the last step only. "
            f"Hypervolume above (0, 0), mean and 95% interval over {seeds} seeds of {EPISODES} episodes; differences "
            "are paired by seed.",
            "`python benchmarks/coevolution_studies.py front`; [points of every seed](raw/coevolution_front.jsonl).",
            "",
            markdown(header, rows),
            "",
            "![Fronts](coevolution_front.svg)",
            "",
        ]
    )


def save(figure: Any, path: Path) -> None:
    """Write a figure as SVG whose bytes do not depend on time or chance."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "valuegym"
    figure.savefig(path, metadata={"Date": None})


def drift() -> None:
    """Print the skill of the Kalman filter against persistence by its drift, on seeds that settings are chosen on."""
    tried = (0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
    print(f"{'':24}" + "".join(f"{x:8}" for x in tried))
    follow = []
    for family in (*trajectories.FAMILIES, "mixed"):
        id = "Coevolve" if family == "mixed" else "Follow"
        env: Any = gym.make(f"valuegym/{id}-v0", family=family)
        core = env.unwrapped.core
        task, _ = core.initial(keys.mix(1, np.arange(400)))
        runs = [rollouts.play(core, task, policy(make("kalman", env, drift=x), core)) for x in tried]
        skills = [core.episode_metrics(task, run.states, run.actions)["skill"].mean() for run in runs]
        follow += [skills] if id == "Follow" else []
        print(f"{id}, {family}".ljust(24) + "".join(f"{x:8.3f}" for x in skills))
    print("Follow, mean".ljust(24) + "".join(f"{x:8.3f}" for x in np.mean(follow, 0)))


# ---------------------------------------------------------------- centring


def raw_cosine(a: Array, b: Array) -> Array:
    """Cosine of uncentred vectors."""
    return metrics.centred_similarity(a, b, np.zeros_like(a))


def transitions(truth: Array) -> dict[str, dict[str, Array]]:
    """Scores per transition (paths, T-1) of four answerers by three metrics; answers use what was before only."""
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


def compared(truth: Array) -> tuple[list[list[str]], list[list[str]]]:
    """Scores, and differences to persistence with intervals: over paths, or over transitions of a single path."""
    scores, gaps = [], []
    found = transitions(truth)
    for name, by in found.items():
        scores.append([name, *(f"{x.mean():.3f}" for x in by.values())])
        if name != "persistence":
            unit = [found["persistence"][metric] - x for metric, x in by.items()]
            unit = [x.mean(-1)[:, None] if len(x) > 1 else x[0][:, None] for x in unit]
            gaps.append([name, *(cell(x, digits=3) for x in unit)])
    return scores, gaps


def centring(out: Path, data: str | None) -> None:
    """Which metrics tell persistence from answerers that know nothing, on many paths and on eight transitions."""
    header = ["answer", "raw cosine", "centred similarity", "centred skill"]
    parts = [
        "# Coevolution: what tells agents apart",
        "",
        "Four answerers forecast the next step: persistence (the last value), frozen (the first), all ones, and the "
        "mean of all values so far. Raw cosine against two measures that are centred on the mean of the past, which "
        "uses no future data. Families: 500 paths of nine steps in five dimensions with a common level of 1 added, as "
        "value scores have one; intervals over paths.",
        "`python benchmarks/coevolution_studies.py centring --data FOLDER`",
        "",
    ]
    for family in trajectories.FAMILIES:
        truth = 1.0 + trajectories.by_name(family).draw(keys.mix(3, np.arange(500)), 9, 5)
        scores, gaps = compared(truth)
        parts += [f"## {family}", "", markdown(header, scores), "", "Persistence less the other:", ""]
        parts += [markdown(header, gaps), ""]
    if data:
        truth = recorded.load("history", data).values[None]
        scores, gaps = compared(truth)
        parts += [
            "## Nine centuries of five value scores (digitised from ProgressGym)",
            "",
            markdown(header, scores),
            "",
            "Persistence less the other, intervals over the eight transitions:",
            "",
            markdown(header, gaps),
            "",
        ]
        parts += [
            "Extrapolation of order K, raw cosine one step ahead (from the third century on): "
            + ", ".join(f"K = {K} {x:.3f}" for K, x in enumerate(extrapolated(truth[0])))
            + ".",
            "",
        ]
    (out / "coevolution_centring.md").write_text("\n".join(parts), encoding="utf-8")
    print("\n".join(parts))


def extrapolated(truth: Array) -> list[float]:
    """Mean raw cosine of extrapolations of order 0, 1, 2, from the third value on; the order is cut to the past."""
    return [
        float(np.mean([raw_cosine(trajectories.extrapolate(truth[:t], K), truth[t]) for t in range(2, len(truth))]))
        for K in range(3)
    ]


# ---------------------------------------------------------------- PPO


def ppo(out: Path, seeds: int = 5) -> None:
    """PPO on values that revert to a mean, of which few noisy reports tell, against persistence and the trackers."""
    id = "coevolution/follow-few-responses"
    what = experiments.find(id)
    env: Any = gym.make(what.env_id, **what.kwargs)
    core = env.unwrapped.core
    rows = []
    for name in ("persistence", "moving_average", "kalman", "ppo"):
        scores = []
        for seed in what.seeds[:seeds]:
            agent = make(name, env, seed=seed)
            agent.learn(what.timesteps)
            task, start = core.initial(episode_keys(what.evaluation_seeds(seed)))
            run = rollouts.play(core, task, policy(agent, core), start)
            scores.append(between(run.returns, *core.references(task)))
        rows.append([f"`{name}`", cell(np.array(scores), interquartile_mean)])
        print(rows[-1], flush=True)
    text = [
        "# Coevolution: PPO against persistence",
        "",
        f"Track `{id}`, {what.timesteps:,} training steps, {seeds} seeds of {what.episodes} evaluation episodes; "
        "score 0 is persistence. PPO sees the last reports and its last action, and keeps no other memory. "
        "`python benchmarks/coevolution_studies.py ppo`.",
        "",
        markdown(["agent", "score"], rows),
        "",
    ]
    (out / "coevolution_ppo.md").write_text("\n".join(text), encoding="utf-8")


# ---------------------------------------------------------------- pictures


def pictures(out: Path) -> None:
    """The people's mean with bands and what agents say of it, and histograms of opinions over time."""
    from matplotlib import pyplot as plt

    kwargs: dict[str, Any] = {"clusters": (2,), "family": "logistic", "steps": 18, "pace": 1.5}
    env: Any = gym.make("valuegym/Coevolve-v0", **kwargs)
    core = env.unwrapped.core
    task, _ = core.initial(keys.mix(11, np.arange(64)))
    shown = int(task.anchors[..., 0].var(1).argmax())  # the episode whose camps are furthest apart in the first value
    names = ("silent", "frozen", "kalman", "pluralist")
    figure, axes = plt.subplots(2, len(names), figsize=(13, 6), sharex=True, sharey="row")
    for column, name in enumerate(names):
        run = rollouts.play(core, task, policy(make(name, env), core))
        people, twin = (np.stack([getattr(s, one) for s in run.states], 1) for one in ("people", "counterfactual"))
        played = np.stack(run.actions, 1)[shown]
        gone = metrics.influence(people, twin)
        top, bottom = axes[0, column], axes[1, column]
        bins = np.linspace(-1.5, 1.5, 61)
        density = np.stack([np.histogram(people[shown, t, :, 0], bins=bins)[0] for t in range(core.steps + 1)])
        top.imshow(density.T, origin="lower", aspect="auto", extent=(-0.5, core.steps + 0.5, -1.5, 1.5), cmap="Blues")
        top.plot(np.arange(core.steps), core.scale * played[:, 0], color="#e9a03b", lw=1.5, label="estimate")
        speaks = np.flatnonzero(played[:, -1] > 0)
        said = core.scale * played[speaks, core.dimensions]
        top.scatter(speaks, said, s=14, color="#e63946", label="broadcast", zorder=3)
        top.set_title(name, fontsize=10)
        steps = np.arange(core.steps + 1)
        for values, colour, label in (
            (gone, "#457b9d", "influence"),
            (metrics.diversity_ratio(people, twin), "#1d3557", "diversity ratio"),
        ):
            low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
            bottom.fill_between(steps, low, high, color=colour, alpha=0.2)
            bottom.plot(steps, middle, color=colour, label=label)
        bottom.set_xlabel("step")
    axes[0, 0].set_ylabel("value 1 of the people")
    axes[0, 0].legend(fontsize=7)
    axes[1, 0].set_ylabel("64 episodes, 10 to 90%")
    axes[1, 0].legend(fontsize=7)
    figure.tight_layout()
    save(figure, out / "coevolution_opinions.svg")


def main() -> None:
    """Run a study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("tracks", "front", "centring", "ppo", "pictures", "drift"))
    parser.add_argument("--data", help="folder of recorded paths")
    parser.add_argument("--seeds", type=int, help="fewer seeds than a complete table has")
    parser.add_argument("--development", action="store_true", help="the front on the seeds that settings are chosen on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.study == "tracks":
        tracks(args.out, args.seeds)
    elif args.study == "front":
        front(args.out, args.development)
    elif args.study == "centring":
        centring(args.out, args.data)
    elif args.study == "ppo":
        ppo(args.out, args.seeds or 5)
    elif args.study == "drift":
        drift()
    else:
        pictures(args.out)


if __name__ == "__main__":
    main()
