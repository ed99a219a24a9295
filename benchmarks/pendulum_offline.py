"""Small models of the pendulum with distractors, fitted to one frozen buffer under each loss.

    python benchmarks/pendulum_offline.py [--seeds 20] [--kind rotation] [--critic mse] [--minutes 60]

For every seed: a map of 8 distractors, soft actor-critic trained without a model, its buffer and critics frozen, and
models of width 8 and 32 fitted under each loss. Every fit is one line of docs/results/pendulum-offline.jsonl, written
when it is done, so that an interrupted study goes on where it stopped; the page is docs/results/pendulum-offline.md.
`--minutes` stops before the next fit, `--table` only writes the page.

Value errors are taken under the value function that is computed on a grid, which knows nothing of the critics that
supply the weights. Planning searches 128 random action sequences of 8 steps with the critics at their end.
"""

from __future__ import annotations

import argparse
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
from valuegym.agents.control import diagnostics, losses
from valuegym.agents.control.ensemble import Architecture, Ensemble, Transitions, fit
from valuegym.agents.control.losses import LOSSES, Target
from valuegym.agents.control.mpc import plan
from valuegym.agents.control.vagram import VaGraM

ENV, NUMBER = "valuegym/Pendulum-D8-v0", 8
ARMS, WIDTHS = ("mse", "vagram", "vagram_mean", "itervaml", "vagram_matrix"), (8, 32)
STEPS, UPDATES = 4000, 2  # of the environment, and for each of them
MEMBERS, FIT_STEPS, FIT_RATE = 2, 1500, 3e-3
VALUES = (-800.0, 20.0)  # that an HL-Gauss critic covers
EPISODES, TEST = 3, 4  # that are planned; that errors are measured in besides
LENGTH, AHEAD = 200, 5
RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"

Key = tuple[str, str, int, int, str]  # kind, critic, seed, width, loss


def evaluate(policy: Any, kind: str, seed: int, episodes: int) -> Any:
    """Undiscounted returns (episodes,) of observations -> actions from starts that no training has seen."""
    envs = gym.make_vec(ENV, num_envs=episodes, kind=kind, number=NUMBER, map_seed=seed)
    observation, _ = envs.reset(seed=1_000_000 + 1000 * seed)
    total = np.zeros(episodes)
    for _ in range(LENGTH):
        observation, reward, *_ = envs.step(policy(observation))
        total += reward
    return total


def collect(agent: VaGraM, kind: str, seed: int) -> tuple[Any, Any]:
    """Observations (T + 1, B, D) and actions (T, B, A) of fresh episodes of the sampling actor, for testing."""
    envs = gym.make_vec(ENV, num_envs=TEST, kind=kind, number=NUMBER, map_seed=seed)
    observation, _ = envs.reset(seed=2_000_000 + 1000 * seed)
    seen, done = [observation], []
    for _ in range(LENGTH):
        action, _ = agent.predict(observation, deterministic=False)
        observation, *_ = envs.step(action)
        seen.append(observation)
        done.append(action)
    return torch.from_numpy(np.stack(seen)), torch.from_numpy(np.stack(done))


def trained(kind: str, critic: str, seed: int) -> VaGraM:
    """Soft actor-critic without a model, and its buffer."""
    env = gym.make(ENV, kind=kind, number=NUMBER, map_seed=seed)
    agent = VaGraM(env, seed, critic=critic, values=VALUES, model_share=0.0, update_ratio=UPDATES)
    return agent.learn(STEPS)


def policy_alignment(model: Ensemble, agent: VaGraM, observation: Any, discount: float) -> float:
    """Cosine of the policy's gradients under the model and under the critics."""
    assert agent.learner is not None
    learner = agent.learner
    action = learner.mode(observation)
    out = model(observation, action)
    after = out.observation.mean(0)
    imagined = out.reward.mean(0) + discount * learner.critics(after, learner.mode(after).detach()).amin(-1)
    return diagnostics.gradient_cosine(
        imagined.mean(), learner.critics(observation, action).amin(-1).mean(), learner.actor.parameters()
    )


def measure(agent: VaGraM, kind: str, seed: int, width: int, arm: str, test: tuple[Any, Any]) -> dict[str, float]:
    """Fit one model and say how good it is."""
    core = agent.env.unwrapped.core  # type: ignore[attr-defined]
    learner, real = agent.learner, agent.real
    assert learner is not None
    observation, action, reward, after, terminated = (column[: real.rows] for column in real.fields)
    data = Transitions(observation, action, Target(after, reward, terminated > 0))
    rng = np.random.default_rng([seed, 7])
    training = torch.from_numpy(rng.random(real.rows) >= 0.1)
    held, rows = torch.arange(real.rows)[~training], torch.arange(real.rows)[training]
    generator = torch.Generator().manual_seed(seed)
    learner.generator.manual_seed(seed)  # so that a fit does not depend on those before it
    model = Ensemble(agent.D, agent.A, Architecture(MEMBERS, width, 2), generator)
    model.standardise(data)
    context = model.context(core.discount, learner.values)
    evidence = losses.collect(learner.values, observation, data.target, context.scale, training)
    entry = LOSSES[arm]
    start = time.process_time()
    guide = entry.prepare(evidence, context, generator)
    optimiser = torch.optim.Adam(model.parameters(), FIT_RATE, fused=True)
    fit(model, optimiser, data, rows, entry.loss, guide, context, FIT_STEPS, generator)
    seconds = time.process_time() - start
    with torch.no_grad():
        out = model(observation[held], action[held]).observation
        seen, done = test
        state, actions = seen[:-AHEAD].reshape(-1, agent.D), done.unfold(0, AHEAD, 1)  # windows (T - 4, B, A, 5)
        windows = actions.reshape(-1, agent.A, AHEAD)
        state = state.expand(MEMBERS, *state.shape)
        for i in range(AHEAD):
            state = model(state, windows[..., i].expand(MEMBERS, *windows.shape[:-1])).observation
        later = seen[AHEAD:].reshape(-1, agent.D)
    weight = losses.diagonal_weight(evidence.gradient[evidence.fit])
    unit = (out - after[held]) / context.scale

    def planned(at: Any) -> Any:
        return agent._scaled(plan(model, learner, torch.from_numpy(at), generator))

    returns = evaluate(planned, kind, seed, EPISODES)
    return {
        "physical": diagnostics.normalised_error(out, after[held], core.physical),
        "distracting": diagnostics.normalised_error(out, after[held], core.distracting),
        "value_error": diagnostics.value_error(core.value, out, after[held]),
        "value_error_5": diagnostics.value_error(core.value, state, later),
        "reward_error": float(
            (model(observation[held], action[held]).reward - reward[held]).square().mean().sqrt().detach()
            / reward[held].std(correction=0)
        ),
        "out_of_distribution": diagnostics.out_of_distribution(out, after),
        "error_alignment": diagnostics.error_alignment(evidence.gradient[held], unit),
        "policy_alignment": policy_alignment(model, agent, observation[held], core.discount),
        "gradient_ratio": diagnostics.gradient_ratio(evidence.gradient[evidence.fit], core.physical, core.distracting),
        "effective_samples": diagnostics.effective_sample_size(weight),
        "planned": float(returns.mean()),
        "seconds": seconds,
    }


def recorded(path: Path) -> dict[Key, dict[str, float]]:
    """What is there; a line that an interruption cut short is dropped."""
    found: dict[Key, dict[str, float]] = {}
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole, encoding="utf-8")
        for line in whole.splitlines():
            row = json.loads(line)
            found[row["kind"], row["critic"], row["seed"], row["width"], row["loss"]] = row
    return found


def fill(path: Path, options: argparse.Namespace) -> None:
    """Fit what is not recorded yet, until time is up."""
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    done = recorded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(options.first, options.first + options.seeds):
        wanted = [(width, arm) for width in WIDTHS for arm in ARMS]
        wanted = [pair for pair in wanted if (options.kind, options.critic, seed, *pair) not in done]
        if not wanted or time.monotonic() > end:
            continue
        agent = trained(options.kind, options.critic, seed)
        own = float(evaluate(lambda at, a=agent: a.predict(at, deterministic=True)[0], options.kind, seed, 8).mean())
        test = collect(agent, options.kind, seed)
        for width, arm in wanted:
            if time.monotonic() > end:
                break
            key = {"kind": options.kind, "critic": options.critic, "seed": seed, "width": width, "loss": arm}
            row = key | {"actor": own} | measure(agent, options.kind, seed, width, arm, test)
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")


# --- the page ---

COLUMNS = {
    "physical": "physical error",
    "distracting": "distractor error",
    "value_error": "value error",
    "value_error_5": "after 5 steps",
    "out_of_distribution": "out of distribution",
    "policy_alignment": "policy alignment",
    "planned": "planned return",
}


def interval(values: Any, statistic: Any = np.median) -> tuple[float, float, float]:
    """The median and its 95% percentile interval over 4,000 resamples of the seeds."""
    values = np.asarray(values)
    rng = np.random.default_rng(0)
    draws = statistic(values[rng.integers(len(values), size=(4000, len(values)))], axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(statistic(values)), float(low), float(high)


def _shown(numbers: tuple[float, float, float], digits: int) -> str:
    point, low, high = numbers
    return f"{point:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _section(rows: dict[Key, dict[str, float]], kind: str, critic: str) -> list[str]:
    complete = [
        seed
        for seed in sorted({key[2] for key in rows if key[:2] == (kind, critic)})
        if all((kind, critic, seed, width, arm) in rows for width in WIDTHS for arm in ARMS)
    ]
    if not complete:
        return []
    pick = [
        [rows[kind, critic, seed, WIDTHS[0], ARMS[0]][name] for seed in complete]
        for name in ("actor", "gradient_ratio")
    ]
    lines = [
        f"## {kind.capitalize()} distractors, {critic} critic, {len(complete)} seeds",
        "",
        f"The actor's own return: {_shown(interval(pick[0]), 0)}. Critic gradients, distracting / physical: "
        f"{_shown(interval(pick[1]), 2)}.",
        "",
        "| width | loss | " + " | ".join(COLUMNS.values()) + " |",
        "|" + "---|" * (len(COLUMNS) + 2),
    ]
    for width in WIDTHS:
        for arm in ARMS:
            cells = [
                _shown(
                    interval([rows[kind, critic, seed, width, arm][name] for seed in complete]),
                    0 if name == "planned" else 3,
                )
                for name in COLUMNS
            ]
            lines.append(f"| {width} | `{arm}` | " + " | ".join(cells) + " |")
    lines += ["", "Ratios to `mse` with the same seed, and paired differences of planned returns:", ""]
    lines += [
        "| width | loss | value error / that of `mse` | physical error / that of `mse` | planned return, less `mse`'s |"
    ]
    lines += ["|---|---|---|---|---|"]
    for width in WIDTHS:
        for arm in ARMS[1:]:
            pairs = [
                (rows[kind, critic, seed, width, arm], rows[kind, critic, seed, width, "mse"]) for seed in complete
            ]
            cells = [_shown(interval([a[name] / b[name] for a, b in pairs]), 2) for name in ("value_error", "physical")]
            cells.append(_shown(interval([a["planned"] - b["planned"] for a, b in pairs]), 0))
            lines.append(f"| {width} | `{arm}` | " + " | ".join(cells) + " |")
    return [*lines, ""]


def report(rows: dict[Key, dict[str, float]]) -> str:
    """The page, of the seeds for which every loss and width is there."""
    text = [
        "# Small models of the pendulum with 8 distractors, from one buffer",
        "",
        f"Soft actor-critic plays {STEPS:,} steps without a model ({UPDATES} updates each); its buffer and critics "
        f"are frozen, and {MEMBERS} models with two hidden layers are fitted to it in {FIT_STEPS:,} steps under each "
        "loss. Medians over seeds with 95% bootstrap intervals. Errors of states are squared errors over variances on "
        "held-out rows (1 is as good as the mean); value errors are root mean squares over standard deviations, under "
        f"the value function computed on a grid, on held-out rows and, after {AHEAD} steps, in fresh episodes. Planned "
        f"returns are undiscounted, over {EPISODES} episodes: differences of a hundred in single seeds are noise.",
        "",
        "Written by `python benchmarks/pendulum_offline.py`, from `pendulum-offline.jsonl`.",
        "",
    ]
    for kind, critic in sorted({key[:2] for key in rows}, key=lambda pair: (pair[0] != "rotation", pair)):
        text += _section(rows, kind, critic)
    return "\n".join(text)


def main() -> None:
    """Go on with the study and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--kind", default="rotation")
    parser.add_argument("--critic", default="mse", choices=("mse", "hl_gauss"))
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    path = options.output / "pendulum-offline.jsonl"
    if not options.table:
        fill(path, options)
    (options.output / "pendulum-offline.md").write_text(report(recorded(path)), encoding="utf-8")


if __name__ == "__main__":
    main()
