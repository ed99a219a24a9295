"""Control learnt online with a model: the loss of the model, the kind of critic, no model, and Stable-Baselines3's SAC.

    python benchmarks/online.py --study pendulum [--arms mse vagram] [--seeds 20] [--minutes 60]
    python benchmarks/online.py --study pendulum --tuning

Arms and settings are those of benchmarks/online_NAME.json, the page is docs/results/NAME-online.md. `--tuning` runs the
candidates of every tuned arm on seeds that are set aside for it, into docs/results/NAME-online-tuning.jsonl; what is
chosen then stands in the settings, before any test seed is run. Arms of one group learn side by side, a block of seeds
at a time.
Every run is one line of docs/results/NAME-online.jsonl, written when its block is done, so that an interrupted study
goes on where it stopped; a line holds a hash of the settings it was run with, and only lines with the present one are
read. `--minutes` stops before the next block, `--table` only writes the page. The arm `sac`, Stable-Baselines3's, takes
minutes for every seed and is run if it is named in `--arms`; its seeds are run one by one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import _study
import gymnasium as gym
import numpy as np
import torch

import valuegym  # noqa: F401 - registers the ids
from valuegym.agents import make
from valuegym.agents.control import diagnostics, losses
from valuegym.agents.control.actor_critic import Optimisation
from valuegym.agents.control.side_by_side import MAY_DIFFER, learn_together
from valuegym.agents.control.vagram import VaGraM
from valuegym.envs.control import cartpole_swingup, mujoco
from valuegym.leaderboards.stats.bootstrap import interquartile_mean, mean, stratified_bootstrap

ROOT = Path(__file__).resolve().parents[1]
SHARED = ("env", "steps", "evaluate_every", "episodes", "settings")
ENDS: dict[str, Callable[[Any], Any]] = {  # observations (B, D) -> whether the episode has ended there (B,)
    "valuegym/CartPoleSwingUp-v0": cartpole_swingup.off_track,
    "valuegym/Hopper-v0": mujoco.fallen,
    "valuegym/Hopper-D10-v0": mujoco.fallen,
}

Row = dict[str, Any]


class Run(NamedTuple):
    """One agent to be trained."""

    arm: str
    candidate: str  # of settings; "" where the arm has nothing to choose
    seed: int


Rows = dict[Run, Row]


def settings_of(study: Row, run: Run) -> Row:
    """Everything that its agent is told."""
    return study["settings"] | study["candidates"].get(run.candidate, {}) | study["arms"][run.arm]


def fingerprint(study: Row, run: Run) -> str:
    """What decides a run besides its seed, in short."""
    parts = [study[name] for name in SHARED] + [settings_of(study, run)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def made(study: Row, seed: int) -> Row:
    """Arguments of its environment: in every seed another map of the distractors, if there are any."""
    return {"map_seed": seed} if study["distractors"] else {}


def evaluate(agent: Any, study: Row, seed: int) -> list[float]:
    """Undiscounted returns of the deterministic policy from starts that no training sees; the map is the same."""
    envs = gym.make_vec(study["env"], num_envs=study["episodes"], **made(study, seed))
    observation, _ = envs.reset(seed=1_000_000 + 1000 * seed)
    total, playing = np.zeros(study["episodes"]), np.ones(study["episodes"], np.bool_)
    while playing.any():
        action, _ = agent.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = envs.step(action)
        total += np.where(playing, reward, 0.0)
        playing &= ~(terminated | truncated)
    envs.close()
    return [round(x, 2) for x in total.tolist()]


def look(agent: VaGraM) -> dict[str, float]:
    """Diagnostics after a fit of the model, on the rows that it was not fitted to.

    What asks for distractors or for a solution is left out where there are none.
    """
    core = getattr(agent.env.unwrapped, "core", None) or _Dimensions(agent.env)
    assert agent.data is not None
    data, gradient = agent.data, agent.statistics.gradient
    held = torch.arange(len(agent.training))[~agent.training]
    after = data.next_observation[held]
    with torch.no_grad():
        out = agent.model(data.observation[held], data.action[held]).observation
    found = {"step": agent.steps, "share_of_model_data": agent.model_fraction}
    found |= {f"{part}_seconds": seconds for part, seconds in agent.seconds.items()}
    found["physical"] = diagnostics.normalised_error(out, after, core.physical)
    if len(core.distracting):
        found["gradient_ratio"] = diagnostics.gradient_ratio(
            gradient[agent.statistics.included], core.physical, core.distracting
        )
        found["distracting"] = diagnostics.normalised_error(out, after, core.distracting)
    if hasattr(core, "value"):
        found["value_error"] = diagnostics.value_error(core.value, out, after)
    found["out_of_distribution"] = diagnostics.out_of_distribution(out, data.next_observation)
    found["effective_samples"] = diagnostics.effective_sample_size(losses.diagonal_weight(gradient))
    return {name: round(float(value), 5) for name, value in found.items()}


class _Dimensions:
    """Which dimensions of a simulator that is not of this suite are distracting."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.distracting = env.get_wrapper_attr("distracting") if env.has_wrapper_attr("distracting") else np.arange(0)
        assert env.observation_space.shape is not None
        self.physical = np.setdiff1d(np.arange(env.observation_space.shape[0]), self.distracting)


class Watch:
    """What is seen of an agent while it learns, and the seconds that looking took; returns are printed at once."""

    def __init__(self, study: Row, run: Run) -> None:
        self.study, self.run = study, run
        self.curve: list[list[float]] = []
        self.trace: list[dict[str, float]] = []
        self.spent = 0.0

    def __call__(self, agent: Any, steps: int) -> None:
        """Evaluate every `evaluate_every` steps but the last, and look at the model twice as rarely and at the end."""
        began = time.process_time()
        if steps % self.study["evaluate_every"] == 0 and steps < self.study["steps"]:
            self.curve.append(evaluate(agent, self.study, self.run.seed))
            print(*self.run, steps, round(float(np.mean(self.curve[-1])), 1), sep="; ", flush=True)
        due = steps % (2 * self.study["evaluate_every"]) == 0 or steps == self.study["steps"]
        if due and isinstance(agent, VaGraM) and agent.data is not None:
            self.trace.append(look(agent))
        self.spent += time.process_time() - began


def train(study: Row, runs: Sequence[Run]) -> list[Row]:
    """Agents trained side by side, their evaluations, diagnostics and seconds."""
    start = time.process_time()
    watches = [Watch(study, run) for run in runs]
    envs = [gym.make(study["env"], **made(study, run.seed)) for run in runs]
    if runs[0].arm == "sac":
        agents = [stable_baselines(study, run, env) for run, env in zip(runs, envs, strict=True)]
        for agent, watch in zip(agents, watches, strict=True):
            for steps in range(study["evaluate_every"], study["steps"] + 1, study["evaluate_every"]):
                agent.learn(study["evaluate_every"], reset_num_timesteps=False)
                watch(agent, steps)
    else:
        names = {field.name for field in fields(Optimisation)}
        agents = []
        for env, run, watch in zip(envs, runs, watches, strict=True):
            told = settings_of(study, run)
            optimisation = Optimisation(**{name: told.pop(name) for name in names & told.keys()})
            agents.append(
                make(
                    "vagram",
                    env,
                    seed=run.seed,
                    terminal=ENDS.get(study["env"]),
                    on_refresh=lambda agent, watch=watch: watch(agent, agent.steps),
                    optimisation=optimisation,
                    **told,
                )
            )
        learn_together(agents, study["steps"])
    seconds = (time.process_time() - start - sum(watch.spent for watch in watches)) / len(runs)
    return [
        run._asdict()
        | {
            "settings": fingerprint(study, run),
            "final": evaluate(agent, study, run.seed),
            "curve": watch.curve,
            "trace": watch.trace,
            "side_by_side": len(runs),
            "cpu_seconds": round(seconds, 1),
        }
        for run, agent, watch in zip(runs, agents, watches, strict=True)
    ]


def stable_baselines(study: Row, run: Run, env: gym.Env[Any, Any]) -> Any:
    """Stable-Baselines3's SAC with the sizes, rows and updates of the study, and the rate of its candidate."""
    told = settings_of(study, run)
    return make(
        "sac",
        env,
        seed=run.seed,
        learning_rate=told.get("critic_rate", Optimisation().critic_rate),
        batch_size=told["batch"],
        gradient_steps=told["updates_per_step"],
        learning_starts=told["warmup_steps"],
        policy_kwargs={"net_arch": [told["hidden"]] * 2, "optimizer_kwargs": {"fused": True}},
    )


def wanted(study: Row, tuning: bool, arms: Sequence[str] | None, seeds: int) -> Iterator[list[Run]]:
    """Runs that learn side by side: arms of one group with the same rates, and a block of seeds; `sac` learns alone."""
    arms = arms or (list(study["tuned"]) if tuning else [arm for arm in study["arms"] if arm != "sac"])
    pool = study["tuning_seeds" if tuning else "test_seeds"][:seeds]
    for first in range(0, len(pool), study["block"]):
        for group in study["side_by_side"]:
            alike: dict[str, list[Run]] = {}
            for arm in (arm for arm in group if arm in arms):
                for candidate in study["tuned"][arm] if tuning else [chosen(study, arm)]:
                    for seed in pool[first : first + study["block"]]:
                        run = Run(arm, candidate, seed)
                        same = {name: told for name, told in settings_of(study, run).items() if name not in MAY_DIFFER}
                        kind = [same, seed if arm == "sac" else None]
                        alike.setdefault(json.dumps(kind, sort_keys=True), []).append(run)
            yield from alike.values()


def chosen(study: Row, arm: str) -> str:
    """The candidate of settings that an arm was given; "" where it has nothing to choose."""
    found: str = study["chosen"].get(arm, "")
    return found


def recorded(path: Path, study: Row) -> Rows:
    """The runs under the present settings; a line that an interruption cut short is dropped."""
    found: Rows = {}
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            row = json.loads(line)
            run = Run(row["arm"], row["candidate"], row["seed"])
            if run.arm in study["arms"] and row["settings"] == fingerprint(study, run):
                found[run] = row
    return found


# --- the page ---


def estimate(values: Sequence[float], statistic: Any = mean) -> _study.Estimate:
    """A statistic over seeds with its 95% bootstrap interval."""
    runs = np.array(values, float)[:, None]
    return _study.Estimate(float(statistic(runs)), *stratified_bootstrap(runs, statistic, np.random.default_rng(0)))


def shown(found: _study.Estimate, digits: int) -> str:
    """As tables show it."""
    point, low, high = (f"{x:.{digits}f}".replace("-0" + "." * (digits > 0) + "0" * digits, "0") for x in found)
    return f"{point} [{low}, {high}]"


def final(row: Row) -> float:
    """Mean over episodes of the return after the last step."""
    return float(np.mean(row["final"]))


def rival(arm: str) -> str:
    """The arm that differs from this one in the loss alone, and has squared error."""
    return ", ".join(["mse", *arm.split(", ")[1:]])


def report(study: Row, rows: Rows, tuning: Rows) -> str:
    """The page, of the test seeds."""
    s, name = study["settings"], study["name"]
    mine = {
        arm: {seed: row for seed in study["test_seeds"] if (row := rows.get(Run(arm, chosen(study, arm), seed)))}
        for arm in study["arms"]
    }
    mine = {arm: found for arm, found in mine.items() if found}
    text = [
        f"# {study['title']}",
        "",
        f"{study['steps']:,} steps on `{study['env']}`, {study['about']}{s['updates_per_step']} "
        f"updates of actor and critics in each step ({s['batch']} rows, hidden "
        f"layers of {s['hidden']} units), {s['members']} models with two hidden layers of {s['width']} units, whose "
        f"share of the rows grows from 0 to {s['model_fraction']:.0%} along the ramp. Arms are named after the loss of "
        "the model and the kind of critic (squared error unless it says `hl_gauss`); `no model` is the same soft "
        "actor-critic without a model, `sac` is Stable-Baselines3's.",
        "",
        f"Written by `python benchmarks/online.py --study {name}`, from `{name}-online.jsonl`"
        f"{f' and `{name}-online-tuning.jsonl`' if study['tuned'] else ''}. Intervals are 95% bootstrap intervals over "
        f"seeds; {len(study['test_seeds'])} test seeds are set apart, and the tables say how many of them have been "
        "run.",
        "",
        "## Returns",
        "",
        f"Final undiscounted return, mean of {study['episodes']} episodes: its interquartile mean over seeds, the "
        f"share of seeds above {study['solved']}, and the mean over seeds of the "
        f"{study['steps'] // study['evaluate_every']} evaluations during learning. CPU-seconds are those of one run, "
        "on a machine that was busy with other work.",
        "",
    ]
    head = ["arm", "seeds", "final return", "solved", "mean evaluation", "CPU-s"]
    body = []
    for arm, found in mine.items():
        finals = [final(row) for row in found.values()]
        body.append(
            [
                f"`{arm}`",
                len(found),
                shown(estimate(finals, interquartile_mean), 0),
                shown(estimate([float(x > study["solved"]) for x in finals]), 2),
                shown(estimate([_mean_evaluation(row) for row in found.values()]), 0),
                f"{np.median([row['cpu_seconds'] for row in found.values()]):.0f}",
            ]
        )
    text += [_study.table(head, body), "", f"![Learning curves]({name}-online.svg)", ""]
    text += ["## Against squared error, seed by seed", ""]
    text += [
        "Mean differences of the same seeds to the arm with squared error in its model and the same critic and ramp.",
        "",
        _differences(mine, {arm: rival(arm) for arm in mine}),
        "",
    ]
    for other in study["against"]:
        text += [f"## Against `{other}`, seed by seed", "", "Mean differences of the same seeds.", ""]
        text += [_differences(mine, dict.fromkeys(mine, other)), ""]
    if any(row["trace"] for found in mine.values() for row in found.values()):
        text += ["## What was in the models and critics", "", _diagnostics(mine), ""]
    text += ["## Settings", "", study["why"], ""]
    return "\n".join([*text, _tuned(study, tuning), ""] if study["tuned"] else text)


def _differences(mine: dict[str, dict[int, Row]], others: dict[str, str]) -> str:
    """A table of arms minus others, of the seeds that both have."""
    body = []
    for arm, found in mine.items():
        other = mine.get(others[arm], {})
        both = [seed for seed in found if seed in other]
        if arm == others[arm] or not both:
            continue
        gains = [final(found[seed]) - final(other[seed]) for seed in both]
        curves = [_mean_evaluation(found[seed]) - _mean_evaluation(other[seed]) for seed in both]
        better = f"{sum(gain > 0 for gain in gains)} of {len(both)}"
        body.append([f"`{arm}`", shown(estimate(gains), 0), better, shown(estimate(curves), 0)])
    return _study.table(["arm", "final return", "better", "mean evaluation"], body)


def _mean_evaluation(row: Row) -> float:
    return float(np.mean([np.mean(x) for x in [*row["curve"], row["final"]]]))


MEASURED = {
    "gradient_ratio": "critic gradients, distracting / physical",
    "physical": "physical error",
    "distracting": "distractor error",
    "value_error": "value error",
    "out_of_distribution": "out of distribution",
    "effective_samples": "effective samples",
}


def _diagnostics(mine: dict[str, dict[int, Row]]) -> str:
    found = {arm: [row["trace"][-1] for row in runs.values() if row["trace"]] for arm, runs in mine.items()}
    found = {arm: last for arm, last in found.items() if len(last) == len(mine[arm])}
    names = [name for name in MEASURED if all(name in last for runs in found.values() for last in runs)]
    body = [
        [f"`{arm}`", *(f"{np.median([last[name] for last in runs]):.3f}" for name in names)]
        for arm, runs in found.items()
    ]
    values = (
        "; value errors are root mean squares over standard deviations, under the value function computed on a grid"
    )
    about = (
        "After the last fit, on held-out rows of the run itself: medians over seeds. Errors of states are squared "
        f"errors over variances{values if 'value_error' in names else ''}. Every arm has data of its own policy, so "
        "that errors of arms with other returns are not those of one task."
    )
    return "\n".join([about, "", _study.table(["arm", *(MEASURED[name] for name in names)], body)])


def _tuned(study: Row, tuning: Rows) -> str:
    candidates = list(study["candidates"])
    body = []
    for arm in study["tuned"]:
        cells = [f"`{arm}`"]
        for candidate in candidates:
            found = [tuning.get(Run(arm, candidate, seed)) for seed in study["tuning_seeds"]]
            returns = [final(row) for row in found if row]
            cells.append(f"{np.mean(returns):.0f} ({len(returns)})" if returns else "")
        body.append([*cells, study["chosen"].get(arm, "")])
    return _study.table(["arm", *candidates, "chosen"], body)


def picture(study: Row, rows: Rows) -> str:
    """Learning curves: interquartile means over seeds."""
    panels = []
    every = study["evaluate_every"]
    styles = list(dict.fromkeys(arm.split(",")[0] for arms in study["panels"].values() for arm in arms))
    for title, arms in study["panels"].items():
        curves = []
        for arm in arms:
            found = [rows.get(Run(arm, chosen(study, arm), seed)) for seed in study["test_seeds"]]
            traces = np.array([[np.mean(x) for x in [*row["curve"], row["final"]]] for row in found if row])
            if len(traces):
                name = arm.split(",")[0]
                points = [estimate(column.tolist(), interquartile_mean) for column in traces.T]
                style = styles.index(name)
                x = [every * (i + 1 + 0.06 * (style - 2)) for i in range(len(points))]  # side by side
                curves.append(_study.Curve(name, x, points, style, dashed=name in ("no model", "sac")))
        if curves or not panels:
            limits = (float(study["limits"][0]), float(study["limits"][1]))
            panels.append(_study.Panel(title, "steps", "return" if not panels else "", curves, (), limits))
    return _study.picture(panels, line=float(study["solved"]))


def main() -> None:
    """Go on with the study and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, help="NAME of benchmarks/online_NAME.json, or a file")
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    own = ROOT / "benchmarks" / f"online_{options.study}.json"
    study = json.loads((own if own.is_file() else Path(options.study)).read_text(encoding="utf-8"))
    paths = [options.output / f"{study['name']}-online{suffix}.jsonl" for suffix in ("", "-tuning")]
    if not options.table:
        torch.set_num_threads(1)
        end = time.monotonic() + 60 * options.minutes
        for runs in wanted(study, options.tuning, options.arms, options.seeds):
            path = paths[options.tuning]
            left = [run for run in runs if run not in recorded(path, study)]
            if left and time.monotonic() < end:
                found = train(study, left)
                with path.open("a", encoding="utf-8") as file:
                    file.write("".join(json.dumps(row) + "\n" for row in found))
    rows, tuning = (recorded(path, study) for path in paths)
    _study.write(options.output / f"{study['name']}-online.md", report(study, rows, tuning))
    _study.write(options.output / f"{study['name']}-online.svg", picture(study, rows))


if __name__ == "__main__":
    main()
