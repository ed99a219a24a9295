"""Plans for rewards that answers teach about Delivery: an exact planner in the place of a learner.

    python -m studies.preference.planned_answers [--seeds 3] [--table]

Queries, answers and reward models are those of `preference_ppo`; after every fit the next steps are taken by the best
policy for the learned reward, softened, so that what remains of a failure is a matter of answers and reward models, not
of policy optimisation. Each arm changes one thing more than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from studies import harness, report
from studies.harness import Key, Options, Records
from valuegym.agents.feedback.asking import Asking, AskingEnv
from valuegym.envs.preference.delivery import WEIGHTS, Delivery

Array = npt.NDArray[Any]

STEPS, BUDGET, DISCOUNT, LIMIT = 40_000, 500, 0.99, 200
TEMPERATURE, RANDOM = 0.3, 0.05  # of the policy: in units of reward, and the share of random actions
FIRST: dict[str, Any] = {"rounds": 5, "segment_length": 25, "fit_steps": 600, "inputs": "state_action"}
CHANGES: dict[str, dict[str, Any]] = {
    "state and action, 25 steps, 5 rounds": {},
    "action and where it led": {"inputs": "action_next"},
    "segments of 100 steps": {"segment_length": 100},
    "50 rounds": {"rounds": 50, "fit_steps": 60},
    "chosen by disagreement of 5 models": {"select": "disagreement", "members": 5},
}


def settings(arm: str) -> dict[str, Any]:
    """Return the settings of an arm: its change and those before it."""
    found = dict(FIRST)
    for name, change in CHANGES.items():
        found |= change
        if name == arm:
            break
    return found


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield each run, seed by seed."""
    for seed in range(options.seeds):
        for arm in CHANGES:
            yield [(arm, seed)]


def planned(core: Delivery, rewards: Array) -> tuple[Array, Array]:
    """Return the values (S, A) of actions for rewards (S, A), and the best actions (S,)."""
    next_state, terminal = core.mdp.next_state[0], core.mdp.terminal[0]  # type: ignore[index]
    q = np.zeros_like(rewards)
    for _ in range(1_000):
        q = rewards + DISCOUNT * np.where(terminal, 0.0, q.max(1))[next_state]
    return q, q.argmax(1)


def true_score(core: Delivery, actions: Array) -> float:
    """Return the normalised mean return of a policy (S,), within the step limit."""
    process, rewards = core.mdp, core.true_rewards[0]
    next_state, terminal = process.next_state[0], process.terminal[0]  # type: ignore[index]
    rows, values = np.arange(len(actions)), np.zeros(len(actions))
    for _ in range(LIMIT):
        values = np.where(terminal, 0.0, rewards[rows, actions] + values[next_state[rows, actions]])
    naive, best = core.references(None)  # type: ignore[arg-type]
    return float((process.start[0] @ values - naive) / (best - naive))


def run(keys: Sequence[Key], options: Options) -> list[dict[str, Any]]:
    """Ask, fit and plan in turns; return the score of the last plan and what is known of the reward."""
    [(arm, seed)] = keys
    chosen = settings(arm)
    core = Delivery(observation="onehot")
    env = AskingEnv(
        gym.make("valuegym/Delivery-v0", observation="onehot"),
        Asking(**chosen, budget=BUDGET, every=STEPS // chosen["rounds"], waits_count=False, fit_batch=32),
        seed,
    )
    S, A = core.true_rewards[0].shape
    cells, moves = np.repeat(np.arange(S), A), np.tile(np.arange(A), S)
    seen = np.eye(S, dtype=np.float32)
    after = core.mdp.next_state[0][cells, moves]  # type: ignore[index]
    policy, scores, fits = np.full((S, A), 1 / A), [], 0
    draws = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    for _ in range(STEPS):
        action = int(draws.choice(A, p=policy[observation.argmax()]))
        observation, _, terminated, truncated, _ = env.step(action)
        if env.fits > fits:
            fits = env.fits
            learned = env.rewards(seen[cells], moves, seen[after]).reshape(S, A)
            q, best = planned(core, learned)
            soft = np.exp((q - q.max(1, keepdims=True)) / TEMPERATURE)
            policy = (1 - RANDOM) * soft / soft.sum(1, keepdims=True) + RANDOM / A
            scores.append(true_score(core, best))
        if terminated or truncated:
            observation, _ = env.reset()
    feedback = env.preferences.true_feedback()
    assert feedback is not None
    rewards = np.concatenate([feedback.first.rewards, feedback.second.rewards])
    lives = ~core.mdp.terminal[0]
    return [
        {
            "score": harness.rounded(scores[-1]),
            "last_quarter": harness.rounded(float(np.mean(scores[-max(1, len(scores) // 4) :]))),
            "correlation": harness.rounded(
                float(np.corrcoef(learned[lives].ravel(), core.true_rewards[0][lives].ravel())[0, 1])
            ),
            "goal": harness.rounded(float((rewards > WEIGHTS[1] / 2).any(1).mean())),
            "labels": env.answers,
        }
    ]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    body: list[list[object]] = []
    for arm in CHANGES:
        row = [value for (name, _), value in sorted(records.items()) if name == arm]
        if row:
            columns = {name: [value[name] for value in row] for name in row[0]}
            means = [report.estimate(columns[name]) for name in ("correlation", "goal")]
            each = ", ".join(map(report.TWO_DECIMALS, columns["score"]))
            body.append([arm, max(columns["labels"]), *means, each, report.estimate(columns["last_quarter"])])
    head = ["each changes one thing more", "labels", "correlation", "goal in segments", "score of each seed"]
    text = report.page(
        "# Do answers tell enough about Delivery?",
        f"Queries, answers and reward models as those of `preference_ppo`, at most {BUDGET} labels in {STEPS:,} steps; "
        "after every fit the next steps are taken by the best policy for the learned reward (discount "
        f"{DISCOUNT}), softened at temperature {TEMPERATURE}, {RANDOM:.0%} of actions random. Correlation is that of "
        "learned and true rewards over all cells and moves; 'goal in segments' is the share of segments asked about in "
        "which the goal was reached. Scores are those of the last plan, without randomness: 0 is random play, 1 the "
        "optimal policy, about -1.15 driving back and forth for 200 steps. Intervals are 95% bootstrap intervals over "
        "seeds. `python -m studies.preference.planned_answers`.",
        report.table([*head, "mean score after the last quarter of rounds"], body),
    )
    return {".md": text}


STUDY = harness.Study("planned-answers", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=3)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
