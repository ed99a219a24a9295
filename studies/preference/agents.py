"""Agents that learn their reward from answers, against the same agents with the true, a constant or a random one.

    python -m studies.preference.agents [--tracks feedback/cartpole ...] [--arms answers ...] [--seeds 5] [--table]

Each run trains the agent of a track by its defaults, at most 500 answers among them, and plays the track's evaluation
episodes. Arms differ in the source of the reward alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from studies import figures, harness, report
from studies.harness import Key, Options, Records
from valuegym.agents import make
from valuegym.agents.base import BatchAgent, Mask
from valuegym.leaderboards import experiments
from valuegym.leaderboards.evaluation import evaluate

ENOUGH, LITTLE = 0.9, 0.5  # share of the score with the true reward that answers should reach; score of the controls
LEVELS = 21  # of each constant action that is tried, where actions are a box
ACTION = "best constant action"
AGENTS = {
    "feedback/cartpole": "preference_ppo",
    "feedback/pendulum": "preference_sac",
    "feedback/mountain-car": "preference_sac",
    "feedback/delivery": "preference_ppo",
}
ARMS: dict[str, dict[str, Any]] = {
    "answers": {},
    "true reward": {"reward": "true"},
    "random labels": {"annotator": "random"},
    "constant reward": {"reward": "constant"},
}


class Constant(BatchAgent):
    """An agent that always takes the same action."""

    def __init__(self, env: gym.Env[Any, Any], action: Any) -> None:
        super().__init__(env)
        self.action = action

    def act(self, observation: Any, memory: Any, start: Mask) -> tuple[Any, Any]:
        """Return the action for every environment."""
        return np.repeat(np.asarray(self.action)[None], len(start), 0), memory


def actions(space: Any) -> list[Any]:
    """Return the constant actions that are tried: all discrete ones, or a grid along the diagonal of a box."""
    if isinstance(space, gym.spaces.Discrete):
        return list(space.start + np.arange(space.n))
    return [(space.low + share * (space.high - space.low)).astype(space.dtype) for share in np.linspace(0, 1, LEVELS)]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield each run, the arms that matter most first."""
    for arm in (*ARMS, ACTION):
        for track in AGENTS:
            for seed in range(options.seeds):
                if track in options.tracks and (arm in options.arms or arm == ACTION):
                    yield [(track, arm, seed)]


def run(keys: Sequence[Key], options: Options) -> list[dict[str, Any]]:
    """Train one agent, and return its score, labels, steps and CPU-seconds."""
    [(track, arm, seed)] = keys
    what = experiments.find(track)
    env: gym.Env[Any, Any] = gym.make(what.env_id, **what.kwargs)

    def score(model: Any) -> float:
        return round(float(np.mean(evaluate(model, track, seeds=[seed]).scores)), 5)

    if arm == ACTION:
        return [{"score": max(score(Constant(env, action)) for action in actions(env.action_space))}]
    agent: Any = make(AGENTS[track], env, seed=seed, **ARMS[arm])
    began = time.process_time()
    agent.learn(what.timesteps)
    seconds = time.process_time() - began
    found = {"labels": agent.asking.answers, "steps": agent.num_timesteps, "cpu_seconds": round(seconds, 1)}
    return [{"score": score(agent)} | found]


# --- the page ---


def cells(records: Records) -> dict[str, dict[str, dict[int, Any]]]:
    """Return the records by track, arm and seed."""
    found: dict[str, dict[str, dict[int, Any]]] = {}
    for track in AGENTS:
        for arm in (*ARMS, ACTION):
            row = {seed: value for (t, a, seed), value in sorted(records.items()) if (t, a) == (track, arm)}
            if row:
                found.setdefault(track, {})[arm] = row
    return found


def shares(arms: Mapping[str, dict[int, Any]]) -> list[float]:
    """Return the scores with answers as shares of those with the true reward, of the seeds that have both."""
    mine, true = arms.get("answers", {}), arms.get("true reward", {})
    return [mine[seed]["score"] / true[seed]["score"] for seed in mine if seed in true]


def counted(values: Sequence[bool]) -> str:
    """Return how many of some are true."""
    return f"{sum(values)} of {len(values)}"


def verdict(track: str, arms: Mapping[str, dict[int, Any]]) -> list[object]:
    """Return the row of a track in the table of verdicts."""
    row: list[object] = [f"`{track}`", counted([share >= ENOUGH for share in shares(arms)])]
    for arm in ("random labels", "constant reward"):
        row.append(counted([value["score"] < LITTLE for value in arms.get(arm, {}).values()]))
    return row


def lines(track: str, arms: Mapping[str, dict[int, Any]]) -> Iterator[list[object]]:
    """Yield a row of the table for each arm of a track."""
    for arm, row in arms.items():
        scores = [value["score"] for value in row.values()]
        spent: list[object] = ["", "", ""]
        if arm != ACTION:
            columns = {name: [value[name] for value in row.values()] for name in ("labels", "steps", "cpu_seconds")}
            spent = [max(columns["labels"]), f"{max(columns['steps']):,}", f"{np.median(columns['cpu_seconds']):.0f}"]
        each = ", ".join(map(report.TWO_DECIMALS, scores))
        yield [f"`{track}`", arm, len(scores), report.estimate(scores), each, *spent]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    found = cells(records)
    head = ["track", "reward from", "seeds", "score", "of each seed", "labels", "steps", "CPU-s"]
    body = [line for track, arms in found.items() for line in lines(track, arms)]
    whose = ", ".join(f"`{AGENTS[track]}` on `{track}`" for track in found)
    text = report.page(
        "# Agents that learn their reward from answers",
        f"{whose}, by their defaults; means over the evaluation episodes of each seed. Score 0 is uniformly random "
        "actions, 1 the oracle. The annotator prefers the segment with the larger true return. Arms differ in the "
        "source of the reward alone; the best constant action is chosen on the very episodes that it is scored on. "
        "Intervals are 95% bootstrap intervals over seeds. Steps are those of the agent; CPU-seconds are medians of "
        "those of training, on a busy virtual machine. `python -m studies.preference.agents`.",
        report.table(head, body),
        f"Seeds in which answers reach {ENOUGH} of the score with the true reward, and in which controls stay below "
        f"{LITTLE}:",
        report.table(
            ["track", "answers", "random labels", "constant reward"],
            [verdict(track, arms) for track, arms in found.items()],
        ),
        "![Scores by the source of the reward](preference-agents.svg)",
    )
    return {".md": text, ".svg": figure(found)}


def figure(found: Mapping[str, Mapping[str, dict[int, Any]]]) -> str:
    """Return the scores of all arms, a panel for each track."""
    panels = []
    for track, arms in found.items():
        curves = []
        for style, (arm, row) in enumerate(arms.items()):
            point = report.estimate([value["score"] for value in row.values()])
            curves.append(figures.Curve(arm, [point], style, x=[style]))
        low = min(min(value["score"] for value in row.values()) for row in arms.values())
        panels.append(
            figures.Panel(
                track,
                "",
                "score" if not panels else "",
                curves,
                [""] * len(arms),
                (min(-0.1, 1.2 * low), 1.1),
                line=1.0,
            )
        )
    return figures.draw(panels, columns=2)


STUDY = harness.Study("preference-agents", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=5)
PARSER.add_argument("--tracks", nargs="+", default=list(AGENTS), choices=list(AGENTS), help="those to run")
PARSER.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), help="those to run")

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
