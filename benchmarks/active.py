"""What a question is worth: the same Bayesian learner asks for information, for gain, or at random.

    python benchmarks/active.py [--units 100] [--reports 1 2 3 5 10 30] [--candidates 10] [--data FOLDER]

Every strategy plays the same tasks of the split "test", with the same candidates before every answer. An episode is
one line in results/studies/active.jsonl, written when it is done, so that an interrupted study goes on where it
stopped; the table goes to docs/results/active.md. `--table` only writes the table. With --data people's own answers are
asked for, too: there a unit is a shuffle of the stored answers, which are dealt out ten at a time.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gymnasium as gym
import numpy as np

from valuegym.agents.active_bayes_regret import ActiveBayesRegret
from valuegym.leaderboards.aggregate import mean, stratified_bootstrap

CHOICES = ("random", "information", "value")
SETTINGS = (
    ("random", "regret"),
    ("random", "regret-noiseless"),
    ("random", "partial-return"),
    ("risky", "regret"),
)  # boards, annotator
HUMAN = ("published", "human:Privileged-Control")
NEAR_OPTIMAL = 0.9

Key = tuple[str, str, int, str, int]  # boards, annotator, candidates, choice, unit


def recorded(path: Path) -> dict[Key, list[float]]:
    """The scores so far; a line that an interruption cut short is left out."""
    scores: dict[Key, list[float]] = {}
    if path.is_file():
        text = path.read_text()
        for line in text[: text.rfind("\n") + 1].splitlines():
            *key, found = json.loads(line)
            scores[tuple(key)] = found  # type: ignore[index]
        if text and not text.endswith("\n"):
            path.write_text(text[: text.rfind("\n") + 1])
    return scores


def play(env: Any, agent: ActiveBayesRegret, seed: int) -> list[float]:
    """The scores of the reports of one episode."""
    observation, _ = env.reset(seed=seed)
    memory, terminated = None, False
    while not terminated:
        action, memory = agent.predict(observation, memory)
        observation, _, terminated, _, _ = env.step(action)
    found: list[float] = env.unwrapped.state.scores[0].tolist()
    return found


def fill(path: Path, options: argparse.Namespace) -> None:
    """Play what is not recorded yet, unit by unit."""
    done = recorded(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    envs = {
        (board, annotator): gym.make(
            "valuegym/RewardInferenceActive-v0",
            board=board,
            annotator=annotator,
            candidates=options.candidates,
            reports=tuple(options.reports),
            **({"data": options.data} if (board, annotator) == HUMAN else {}),
        )
        for board, annotator in (*SETTINGS, *([HUMAN] if options.data else []))
    }
    with path.open("a") as file:
        for unit in range(options.units):
            for setting, env in envs.items():
                for choice in CHOICES:
                    key: Key = (*setting, options.candidates, choice, unit)
                    if key not in done:
                        scores = play(env, ActiveBayesRegret(env, seed=unit, choice=choice), unit)
                        file.write(json.dumps([*key, dict(zip(map(str, options.reports), scores, strict=True))]) + "\n")
                        file.flush()


def _cell(by_unit: Any, digits: int = 2) -> str:
    """Mean over tasks with its 95% bootstrap interval."""
    interval = stratified_bootstrap(np.asarray(by_unit, float)[:, None], mean, np.random.default_rng(0))
    middle, low, high = (round(float(x), digits) + 0.0 for x in (np.mean(by_unit), *interval))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def table(scores: dict[Key, Any]) -> str:
    """Mean scores and near-optimal shares of the strategies, and paired differences to asking at random."""
    lines = [
        "# Does it pay to choose the question?",
        "",
        "`RewardInferenceActive-v0`: before every answer the learner sees candidates and chooses one. The learner is",
        "`bayes_regret` throughout; *information* asks what tells most about the weights, *value* what promises the",
        "largest rise of the return of the policy it will answer, *random* any (`active_bayes_regret`, `choice=`).",
        f"Score, and share of tasks with a score of at least {NEAR_OPTIMAL}; differences are paired by task. In",
        "brackets: 95% bootstrap intervals over tasks; where people answer, on one board, over shuffles of their",
        "answers. Written by `python benchmarks/active.py`.",
    ]
    for what, turn in (
        ("Score", lambda x: x),
        (f"Share of scores at least {NEAR_OPTIMAL}", lambda x: x >= NEAR_OPTIMAL),
    ):
        lines += [
            "",
            f"## {what}",
            "",
            "| boards | annotator | candidates | answers | tasks | "
            + " | ".join(CHOICES)
            + " | information - random | "
            "value - random |",
            "| --- " * (len(CHOICES) + 7) + "|",
        ]
        for setting in dict.fromkeys(key[:3] for key in scores):
            units = [
                unit
                for unit in sorted({key[4] for key in scores if key[:3] == setting})
                if all((*setting, choice, unit) in scores for choice in CHOICES)
            ]
            if not units:
                continue
            for report in scores[(*setting, CHOICES[0], units[0])]:
                found = {
                    choice: turn(np.array([scores[(*setting, choice, unit)][report] for unit in units])) * 1.0
                    for choice in CHOICES
                }
                gains = [found[choice] - found["random"] for choice in CHOICES[1:]]
                cells = [_cell(values) for values in (*found.values(), *gains)]
                board, annotator, candidates = setting
                lines.append(
                    f"| {board} | {annotator} | {candidates} | {report} | {len(units)} | {' | '.join(cells)} |"
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--reports", type=int, nargs="+", default=[1, 2, 3, 5, 10, 30])
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--data", metavar="FOLDER", help="folder with the human data")
    parser.add_argument("--results", type=Path, default=Path("results/studies"))
    parser.add_argument("--docs", type=Path, default=Path("docs/results"))
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    path = options.results / "active.jsonl"
    if not options.table:
        fill(path, options)
    options.docs.mkdir(parents=True, exist_ok=True)
    target = options.docs / "active.md"
    temporary = target.with_suffix(".part")
    temporary.write_text(table(recorded(path)))
    os.replace(temporary, target)
    print(target.read_text())


if __name__ == "__main__":
    main()
