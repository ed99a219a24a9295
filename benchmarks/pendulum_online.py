"""Learning to swing up among distractors with a small model: loss x kind of critic, and SAC without a model.

    python benchmarks/pendulum_online.py [--arms mse vagram sac] [--seeds 20] [--minutes 60]
    python benchmarks/pendulum_online.py --tuning --arms vagram

Arms and settings are those of benchmarks/pendulum_online.json, the same for all arms but for what the arm is named
after. Every run is one line of docs/results/pendulum-online.jsonl, written when it is done, so that an interrupted
study goes on where it stopped; the page is docs/results/pendulum-online.md. A line holds a hash of the settings it was
run with, and only lines with the present one are read. `--tuning` takes the seeds that are set aside for choosing
settings; the page never shows them. `--minutes` stops before the next run, `--table` only writes the page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np
import torch

import valuegym  # noqa: F401 - registers the ids
from valuegym.agents import make
from valuegym.agents.control import diagnostics, losses
from valuegym.agents.control.vagram import VaGraM
from valuegym.leaderboards.aggregate import interquartile_mean, stratified_bootstrap

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 200


def fingerprint(study: dict[str, Any], arm: str) -> str:
    """What decides a run besides its seed, in short."""
    parts = [study[name] for name in ("env", "steps", "evaluate_every", "episodes", "settings")] + [study["arms"][arm]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def evaluate(agent: Any, study: dict[str, Any], seed: int) -> list[float]:
    """Undiscounted returns of the deterministic policy from starts that no training sees; the map is the same."""
    envs = gym.make_vec(study["env"], num_envs=study["episodes"], map_seed=seed)
    observation, _ = envs.reset(seed=1_000_000 + 1000 * seed)
    total = np.zeros(study["episodes"])
    for _ in range(LENGTH):
        action, _ = agent.predict(observation, deterministic=True)
        observation, reward, *_ = envs.step(action)
        total += reward
    return [round(x, 2) for x in total.tolist()]


def look(agent: VaGraM) -> dict[str, float]:
    """Diagnostics after a fit of the model, on the rows that it was not fitted to."""
    core = agent.env.unwrapped.core  # type: ignore[attr-defined]
    assert agent.data is not None
    data, gradient = agent.data, agent.evidence.gradient
    held = torch.arange(len(agent.training))[~agent.training]
    after = data.target.observation[held]
    with torch.no_grad():
        out = agent.model(data.observation[held], data.action[held]).observation
    found = {
        "step": agent.steps,
        "share": agent.share,
        "gradient_ratio": diagnostics.gradient_ratio(gradient[agent.evidence.fit], core.physical, core.distracting),
        "physical": diagnostics.normalised_error(out, after, core.physical),
        "distracting": diagnostics.normalised_error(out, after, core.distracting),
        "value_error": diagnostics.value_error(core.value, out, after),
        "out_of_distribution": diagnostics.out_of_distribution(out, data.target.observation),
        "error_alignment": diagnostics.error_alignment(gradient[held], (out - after) / agent.context.scale),
        "effective_samples": diagnostics.effective_sample_size(losses.diagonal_weight(gradient)),
    }
    return {name: round(float(value), 5) for name, value in found.items()}


def run(study: dict[str, Any], arm: str, seed: int) -> dict[str, Any]:
    """One agent trained, its evaluations, diagnostics and seconds."""
    env = gym.make(study["env"], map_seed=seed)
    curve: list[list[float]] = []
    trace: list[dict[str, float]] = []
    start = time.process_time()
    spent = 0.0  # on evaluation and diagnostics
    every = study["evaluate_every"]
    split: dict[str, float] = {}

    def pause(agent: Any, steps: int) -> None:
        nonlocal spent
        began = time.process_time()
        if steps % every == 0:
            curve.append(evaluate(agent, study, seed))
        if isinstance(agent, VaGraM) and agent.data is not None:
            trace.append(look(agent))
        spent += time.process_time() - began

    if arm == "sac":
        agent: Any = make("sac", env, seed=seed)
        for steps in range(every, study["steps"] + 1, every):
            agent.learn(every, reset_num_timesteps=False)
            pause(agent, steps)
    else:
        settings = study["settings"] | study["arms"][arm]
        agent = make("vagram", env, seed=seed, on_refresh=lambda a: pause(a, a.steps), **settings)
        agent.learn(study["steps"])
        if not settings.get("model_share", 1.0):
            curve.append(evaluate(agent, study, seed))
        split = {name: round(value, 2) for name, value in agent.seconds.items()}
    final = evaluate(agent, study, seed)
    return {
        "arm": arm,
        "seed": seed,
        "settings": fingerprint(study, arm),
        "final": final,
        "curve": curve,
        "trace": trace,
        "cpu_seconds": round(time.process_time() - start - spent, 1),
        "split": split,
    }


def recorded(path: Path, study: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """The runs under the present settings; a line that an interruption cut short is dropped."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            row = json.loads(line)
            if row["arm"] in study["arms"] and row["settings"] == fingerprint(study, row["arm"]):
                found[row["arm"], row["seed"]] = row
    return found


def _shown(values: list[float], statistic: Any, digits: int) -> str:
    runs = np.array(values)[:, None]
    low, high = stratified_bootstrap(runs, statistic, np.random.default_rng(0))
    return f"{statistic(runs):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def report(study: dict[str, Any], rows: dict[tuple[str, int], dict[str, Any]]) -> str:
    """The page, of the test seeds."""
    text = [
        "# Learning to swing up among 8 distractors with a small model",
        "",
        f"{study['steps']:,} steps, {study['settings']['update_ratio']} updates of actor and critics each, models of "
        f"width {study['settings']['width']}. Interquartile means over seeds of the final undiscounted return (mean of "
        f"{study['episodes']} episodes), and the share of seeds above {study['solved']}, with 95% bootstrap intervals. "
        "Settings were fixed before any of these seeds was run, and are the same for all arms.",
        "",
        "Written by `python benchmarks/pendulum_online.py`, from `pendulum-online.jsonl`. Where fewer than "
        f"{len(study['test_seeds'])} seeds are there, the study is unfinished and nothing is claimed.",
        "",
        "| arm | seeds | final return | solved | CPU-s |",
        "|---|---|---|---|---|",
    ]
    for arm in study["arms"]:
        mine = [rows[arm, seed] for seed in study["test_seeds"] if (arm, seed) in rows]
        if not mine:
            text.append(f"| {arm} | 0 | | | |")
            continue
        finals = [float(np.mean(row["final"])) for row in mine]
        solved = [float(final > study["solved"]) for final in finals]
        seconds = np.median([row["cpu_seconds"] for row in mine])
        mean = lambda x, axis=None: np.mean(x, axis=axis)  # noqa: E731
        text.append(
            f"| {arm} | {len(mine)} | {_shown(finals, interquartile_mean, 0)} | {_shown(solved, mean, 2)} "
            f"| {seconds:.0f} |"
        )
    return "\n".join([*text, ""])


def main() -> None:
    """Go on with the study and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--study", type=Path, default=ROOT / "benchmarks" / "pendulum_online.json")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results")
    options = parser.parse_args()
    study = json.loads(options.study.read_text(encoding="utf-8"))
    path = options.output / "pendulum-online.jsonl"
    if not options.table:
        torch.set_num_threads(1)
        end = time.monotonic() + 60 * options.minutes
        seeds = study["tuning_seeds" if options.tuning else "test_seeds"][: options.seeds]
        for seed in seeds:
            for arm in options.arms or study["arms"]:
                if (arm, seed) in recorded(path, study) or time.monotonic() > end:
                    continue
                row = run(study, arm, seed)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    (options.output / "pendulum-online.md").write_text(report(study, recorded(path, study)), encoding="utf-8")


if __name__ == "__main__":
    main()
