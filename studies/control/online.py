"""Control learnt online with a model: the loss of the model, the kind of critic, no model, and Stable-Baselines3's SAC.

    python -m studies.control.online --study pendulum [--arms mse vagram] [--seeds 20] [--minutes 60]
    python -m studies.control.online --study pendulum --tuning

Arms and settings are those of studies/control/NAME.json. `--tuning` runs the candidates of every tuned arm on seeds
that are set aside for it; what is chosen then stands in the settings, before any test seed is run. Arms of one group
learn side by side, a block of seeds at a time, and are recorded when the block is done. The key of a run holds a hash
of its settings, so that pages are made from runs with the present ones alone. The arm `sac`, Stable-Baselines3's, takes
minutes for every seed and is run if it is named in `--arms`; its seeds are run one by one.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch

from studies import figures, harness, report
from studies.harness import Key, Options, Records
from valuegym.agents import make
from valuegym.agents.control import diagnostics, losses
from valuegym.agents.control.actor_critic import Optimisation
from valuegym.agents.control.side_by_side import MAY_DIFFER, learn_together
from valuegym.agents.control.vagram import VaGraM
from valuegym.envs.control import cartpole_swingup, mujoco
from valuegym.leaderboards.stats.bootstrap import interquartile_mean

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


def settings_of(study: Row, run: Run) -> Row:
    """Return all settings of its agent."""
    return study["settings"] | study["candidates"].get(run.candidate, {}) | study["arms"][run.arm]


def fingerprint(study: Row, run: Run) -> str:
    """Return a hash of everything that decides a run besides its seed."""
    parts = [study[name] for name in SHARED] + [settings_of(study, run)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def key_of(study: Row, run: Run) -> Key:
    """Return the key of its record."""
    return (run.arm, run.candidate, fingerprint(study, run), run.seed)


def made(study: Row, seed: int) -> Row:
    """Return the arguments of its environment: another map of the distractors in every seed, if there are any."""
    return {"map_seed": seed} if study["distractors"] else {}


def evaluate(agent: Any, study: Row, seed: int) -> list[float]:
    """Return undiscounted returns of the deterministic policy from starts that no training sees, on the same map."""
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
    """Return diagnostics after a fit of the model, on the rows that it was not fitted to.

    Those that need distractors or a solution are left out where there are none.
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
    """The physical and the distracting dimensions of a simulator that is not of this suite."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        self.distracting = env.get_wrapper_attr("distracting") if env.has_wrapper_attr("distracting") else np.arange(0)
        assert env.observation_space.shape is not None
        self.physical = np.setdiff1d(np.arange(env.observation_space.shape[0]), self.distracting)


class Watch:
    """Evaluations and diagnostics of an agent while it learns, and their seconds; returns are printed at once."""

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


def train(study: Row, keys: Sequence[Key], options: Options) -> list[Row]:
    """Train agents side by side, and return their evaluations, diagnostics and seconds."""
    torch.set_num_threads(1)
    runs = [Run(arm, candidate, seed) for arm, candidate, _, seed in keys]
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
            settings = settings_of(study, run)
            optimisation = Optimisation(**{name: settings.pop(name) for name in names & settings.keys()})
            agents.append(
                make(
                    "vagram",
                    env,
                    seed=run.seed,
                    terminal=ENDS.get(study["env"]),
                    on_refresh=lambda agent, watch=watch: watch(agent, agent.steps),
                    optimisation=optimisation,
                    **settings,
                )
            )
        learn_together(agents, study["steps"])
    seconds = (time.process_time() - start - sum(watch.spent for watch in watches)) / len(runs)
    return [
        {
            "final": evaluate(agent, study, run.seed),
            "curve": watch.curve,
            "trace": watch.trace,
            "side_by_side": len(runs),
            "cpu_seconds": round(seconds, 1),
        }
        for run, agent, watch in zip(runs, agents, watches, strict=True)
    ]


def stable_baselines(study: Row, run: Run, env: gym.Env[Any, Any]) -> Any:
    """Return Stable-Baselines3's SAC with the sizes, rows and updates of the study, and the rate of its candidate."""
    settings = settings_of(study, run)
    return make(
        "sac",
        env,
        seed=run.seed,
        learning_rate=settings.get("critic_rate", Optimisation().critic_rate),
        batch_size=settings["batch"],
        gradient_steps=settings["updates_per_step"],
        learning_starts=settings["warmup_steps"],
        policy_kwargs={"net_arch": [settings["hidden"]] * 2, "optimizer_kwargs": {"fused": True}},
    )


def blocks(study: Row, tuning: bool, arms: Sequence[str] | None, seeds: int) -> Iterator[list[Run]]:
    """Yield runs that learn side by side: arms of one group with the same rates, and a block of seeds; `sac` alone."""
    arms = arms or (list(study["tuned"]) if tuning else [arm for arm in study["arms"] if arm != "sac"])
    pool = study["tuning_seeds" if tuning else "test_seeds"][:seeds]
    for first in range(0, len(pool), study["block"]):
        for group in study["side_by_side"]:
            together: dict[str, list[Run]] = {}
            for arm in (arm for arm in group if arm in arms):
                for candidate in study["tuned"][arm] if tuning else [study["chosen"].get(arm, "")]:
                    for seed in pool[first : first + study["block"]]:
                        run = Run(arm, candidate, seed)
                        same = {
                            name: value for name, value in settings_of(study, run).items() if name not in MAY_DIFFER
                        }
                        kind = [same, seed if arm == "sac" else None]
                        together.setdefault(json.dumps(kind, sort_keys=True), []).append(run)
            yield from together.values()


def jobs(study: Row, options: Options) -> Iterator[list[Key]]:
    """Yield the keys of every block."""
    for runs in blocks(study, options.tuning, options.arms, options.seeds):
        yield [key_of(study, run) for run in runs]


# --- the page ---

WHOLE = report.decimals(0)


def final(row: Row) -> float:
    """Return the mean over episodes of the return after the last step."""
    return float(np.mean(row["final"]))


def runs_of(study: Row, records: Records, arm: str, candidate: str, seeds: Sequence[int]) -> dict[int, Row]:
    """Return the records of an arm by seed."""
    found = {seed: records.get(key_of(study, Run(arm, candidate, seed))) for seed in seeds}
    return {seed: row for seed, row in found.items() if row}


def runs_by_arm(study: Row, records: Records) -> dict[str, dict[int, Row]]:
    """Return the records of the test seeds by arm, for the arms that have any."""
    chosen, seeds = study["chosen"], study["test_seeds"]
    found = {arm: runs_of(study, records, arm, chosen.get(arm, ""), seeds) for arm in study["arms"]}
    return {arm: rows for arm, rows in found.items() if rows}


def page(study: Row, records: Records) -> str:
    """Return the page, of the test seeds."""
    s, name, mine = study["settings"], study["name"], runs_by_arm(study, records)
    parts = [
        f"# {study['title']}",
        f"{study['steps']:,} steps on `{study['env']}`, {study['about']}{s['updates_per_step']} "
        f"updates of actor and critics in each step ({s['batch']} rows, hidden "
        f"layers of {s['hidden']} units), {s['members']} models with two hidden layers of {s['width']} units, whose "
        f"share of the rows grows from 0 to {s['model_fraction']:.0%} along the ramp. Arms are named after the loss of "
        "the model and the kind of critic (squared error unless the name says `hl_gauss`); `no model` is the same soft "
        "actor-critic without a model, `sac` is Stable-Baselines3's.",
        f"Written by `python -m studies.control.online --study {name}`, from [data/{name}-online.jsonl]"
        f"(data/{name}-online.jsonl). Intervals are 95% bootstrap intervals over seeds; {len(study['test_seeds'])} "
        "test seeds are set apart, and the tables say how many of them have been run.",
        "## Returns",
        f"Final undiscounted return, mean of {study['episodes']} episodes: its interquartile mean over seeds, the "
        f"share of seeds above {study['solved']}, and the mean over seeds of the "
        f"{study['steps'] // study['evaluate_every']} evaluations during learning. CPU-seconds are those of one run, "
        "on a machine that was busy with other work.",
    ]
    body = []
    for arm, found in mine.items():
        finals = np.array([final(row) for row in found.values()])
        body.append(
            [
                f"`{arm}`",
                len(found),
                report.show(report.estimate(finals, interquartile_mean), WHOLE),
                report.estimate(finals > study["solved"]),
                report.show(report.estimate([_mean_evaluation(row) for row in found.values()]), WHOLE),
                f"{np.median([row['cpu_seconds'] for row in found.values()]):.0f}",
            ]
        )
    parts += [
        report.table(["arm", "seeds", "final return", "solved", "mean evaluation", "CPU-s"], body),
        f"![Learning curves]({name}-online.svg)",
        "## Against squared error, seed by seed",
        "Mean differences of the same seeds to the arm with squared error in its model and the same critic and ramp.",
        _differences(mine, {arm: ", ".join(["mse", *arm.split(", ")[1:]]) for arm in mine}),
    ]
    for other in study["against"]:
        parts += [f"## Against `{other}`, seed by seed", "Mean differences of the same seeds."]
        parts += [_differences(mine, dict.fromkeys(mine, other))]
    if any(row["trace"] for found in mine.values() for row in found.values()):
        parts += ["## Diagnostics of models and critics", *_diagnostics(mine)]
    parts += ["## Settings", study["why"]]
    return report.page(*parts, *([_tuned(study, records)] if study["tuned"] else []))


def _differences(mine: dict[str, dict[int, Row]], others: dict[str, str]) -> str:
    """Return a table of arms minus others, of the seeds that both have."""
    body = []
    for arm, found in mine.items():
        other = mine.get(others[arm], {})
        both = [seed for seed in found if seed in other]
        if arm == others[arm] or not both:
            continue
        gains = [final(found[seed]) - final(other[seed]) for seed in both]
        curves = [_mean_evaluation(found[seed]) - _mean_evaluation(other[seed]) for seed in both]
        better = f"{sum(gain > 0 for gain in gains)} of {len(both)}"
        gain, curve = (report.show(report.estimate(values), WHOLE) for values in (gains, curves))
        body.append([f"`{arm}`", gain, better, curve])
    return report.table(["arm", "final return", "better", "mean evaluation"], body)


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


def _diagnostics(mine: dict[str, dict[int, Row]]) -> list[str]:
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
    return [about, report.table(["arm", *(MEASURED[name] for name in names)], body)]


def _tuned(study: Row, records: Records) -> str:
    candidates = list(study["candidates"])
    body = []
    for arm in study["tuned"]:
        cells = [f"`{arm}`"]
        for candidate in candidates:
            found = runs_of(study, records, arm, candidate, study["tuning_seeds"])
            returns = [final(row) for row in found.values()]
            cells.append(f"{np.mean(returns):.0f} ({len(returns)})" if returns else "")
        body.append([*cells, study["chosen"].get(arm, "")])
    return report.table(["arm", *candidates, "chosen"], body)


def figure(study: Row, records: Records) -> str:
    """Return learning curves: interquartile means over seeds."""
    panels: list[figures.Panel] = []
    every, mine = study["evaluate_every"], runs_by_arm(study, records)
    styles = list(dict.fromkeys(arm.split(",")[0] for arms in study["panels"].values() for arm in arms))
    for title, arms in study["panels"].items():
        curves = []
        for arm in (arm for arm in arms if arm in mine):
            name = arm.split(",")[0]
            traces = np.array([[np.mean(x) for x in [*row["curve"], row["final"]]] for row in mine[arm].values()])
            points = [report.estimate(column, interquartile_mean) for column in traces.T]
            style = styles.index(name)
            x = [every * (i + 1 + 0.06 * (style - 2)) for i in range(len(points))]  # side by side
            curves.append(figures.Curve(name, points, style, name in ("no model", "sac"), x))
        if curves or not panels:
            limits, line = tuple(map(float, study["limits"])), float(study["solved"])
            y = "return" if not panels else ""
            panels.append(figures.Panel(title, "steps", y, curves, limits=limits, line=line))  # type: ignore[arg-type]
    return figures.draw(panels)


def pages(study: Row, records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    return {".md": page(study, records), ".svg": figure(study, records)}


def study_of(settings: Row) -> harness.Study:
    """Return the study with these settings."""
    run, write = partial(train, settings), partial(pages, settings)
    return harness.Study(f"{settings['name']}-online", partial(jobs, settings), run, write)


PARSER = harness.parser(__doc__, seeds=20)
PARSER.add_argument("--study", required=True, help="NAME of studies/control/NAME.json, or a file")
PARSER.add_argument("--arms", nargs="+")
PARSER.add_argument("--tuning", action="store_true")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a study and write its page."""
    options = PARSER.parse_args(arguments)
    own = Path(__file__).parent / f"{options.study}.json"
    settings = json.loads((own if own.is_file() else Path(options.study)).read_text(encoding="utf-8"))
    harness.run(study_of(settings), options)


if __name__ == "__main__":
    main()
