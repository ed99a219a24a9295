"""Learn to swing up from answers by regret and by partial return, with each kind of learner for each kind of answers.

    python -m studies.preference.regret_pendulum [--seeds 10] [--minutes 60] [--table]

Regret is known from optimal values on a dense grid, and both annotators answer at the temperature at which their
answers have the same mean entropy. The policy for a learnt reward is planned on a grid, exactly, and not learnt by
reinforcement learning: what differs between cells are the labels, and what is made of them. A unit is a seed: of pairs,
answers and networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import torch

from studies import figures, harness, report
from studies.control import pendulum_segments as segments
from studies.control.pendulum_segments import CORE, observe
from studies.harness import Array, Key, Options, Records
from studies.preference import pendulum_features as featured
from valuegym.agents.reward_models.bradley_terry import RewardEnsemble, StepReward, fit_pairs, reward_ensemble
from valuegym.agents.reward_models.cpl import GaussianPolicy, fit_policy
from valuegym.agents.reward_models.fitting import FitSettings
from valuegym.agents.reward_models.pairs import segment_pairs
from valuegym.envs import keys, mdp, rollouts
from valuegym.envs.control import grid, pendulum
from valuegym.envs.feedback.annotators import Annotator
from valuegym.envs.feedback.calibration import calibrated
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import PartialReturn, Regret
from valuegym.envs.feedback.values import GridTask, GridValues

ANSWERS = ("regret", "partial return")
NUMBERS = {3: (100, 1000, 3000), 10: (3000,)}  # of answers, by the steps of a segment
PLANNED, GREEDY, CPL = "reward, planned", "advantage, greedy", "CPL"
LEARNERS = (PLANNED, GREEDY, CPL)
BY_RETURN, BY_REGRET = "partial return", "regret"
FEATURED = (BY_RETURN, BY_REGRET)  # learners that know the features of the reward and the dynamics
FEW = (100, 1000)  # answers of 3 steps that they learn from
BITS = 0.5  # mean entropy of an answer
CALIBRATION = 2000  # pairs that the temperature is found on
HELD = 1000  # pairs that fits are measured on
STARTS = 32  # of episodes that policies are scored on, the same for all
NODES, TORQUES = (100, 81), 21  # of planning
SETTINGS = FitSettings(steps=1500, batch=64, lr=3e-3)
DISCOUNT = CORE.discount
LIMIT = CORE.parameters.max_torque
Policy = Callable[[Any, int], Array]


@cache
def annotator(name: str, length: int) -> Annotator:
    """Return who answers about segments of so many steps, at the temperature that gives answers of BITS."""
    utility = Regret(segments.grid_values(), DISCOUNT) if name == "regret" else PartialReturn(DISCOUNT)
    rng = np.random.default_rng(12345)
    first, second = (segments.draw(CALIBRATION, rng, length) for _ in range(2))
    return calibrated(Annotator(utility), first, second, BITS)


@cache
def references() -> tuple[Any, float, float]:
    """Return the tasks of the episodes that are scored, and the mean returns of the naive reference and the oracle."""
    task, _ = CORE.initial(keys.mix(2026, np.arange(STARTS)))
    naive, best = CORE.references(task)
    return task, float(naive.mean()), float(best.mean())


def score(policy: Policy) -> float:
    """Return the normalised mean discounted return of a policy, states and steps -> actions (B, 1)."""
    task, naive, best = references()
    found = rollouts.returns(CORE, task, policy).mean()
    return float(mdp.between(found, np.array(naive), np.array(best)))


def plan(reward: Callable[[Array, Array, Array], Array]) -> Policy:
    """Return the optimal policy for a reward of angles, velocities and torques (...), planned on a grid."""
    p = CORE.parameters

    def step(points: grid.Points, torque: Any) -> grid.Step:
        angle, velocity = points
        paid = reward(angle, velocity, torque)
        return grid.Step(pendulum.move(p, angle, velocity, torque), paid, np.zeros(np.shape(paid), np.bool_))

    task = GridTask(
        pendulum.value_grid(p, NODES),
        step,
        lambda seen: (np.arctan2(seen[:, 1], seen[:, 0]), seen[:, 2]),
        lambda actions: LIMIT * actions[:, 0],
        np.linspace(-LIMIT, LIMIT, TORQUES),
        lambda points: np.zeros(np.shape(points[0]), np.bool_),
    )
    values = GridValues(task, DISCOUNT)
    return lambda state, t: values.best_control(observe(*state).astype(np.float64))[:, None] / LIMIT


def learnt_reward(model: RewardEnsemble) -> Callable[[Array, Array, Array], Array]:
    """Return the output of a network as a function of angles, velocities and torques of any common shape."""
    step = StepReward(model)

    def reward(angle: Array, velocity: Array, torque: Array) -> Array:
        angle, velocity, torque = np.broadcast_arrays(angle, velocity, torque)
        seen = observe(angle, velocity).reshape(-1, 3)
        found: Array = step(seen, torque.reshape(-1, 1) / LIMIT)[0].reshape(angle.shape)
        return found

    return reward


def greedy(advantage: Callable[[Array, Array, Array], Array]) -> Policy:
    """Return the policy that takes the torque with the highest output, of 41."""
    torques = np.linspace(-LIMIT, LIMIT, 41)

    def act(state: Any, t: int) -> Array:
        found = advantage(state.angle[:, None], state.velocity[:, None], torques)
        return torques[found.argmax(1)][:, None] / LIMIT

    return act


def learn_policy(first: Segments, second: Segments, labels: Array, generator: torch.Generator) -> GaussianPolicy:
    """Return the policy that contrastive preference learning finds, with the authors' alpha and bias."""
    policy = GaussianPolicy(3, 1, generator)
    both = (first, second)
    seen = torch.as_tensor(np.stack([part.observations[:, :-1] for part in both], 1))
    actions = torch.as_tensor(np.stack([part.actions for part in both], 1))
    answers = torch.as_tensor(labels, dtype=torch.float32)
    fit_policy(policy, seen, actions, torch.ones(seen.shape[:3]), answers, SETTINGS, generator, discount=DISCOUNT)
    return policy


def mean_action(policy: GaussianPolicy) -> Policy:
    """Return the policy that plays the mean, clipped."""

    @torch.no_grad()
    def act(state: Any, t: int) -> Array:
        mean, _ = policy.moments(torch.as_tensor(observe(*state))[None])
        return mean[0].clamp(-1, 1).numpy()

    return act


def agreement(logits: Array, differences: Array) -> float:
    """Return the share of pairs that a model orders as the annotator would without noise."""
    return float((np.sign(logits) == np.sign(differences)).mean())


class Data(NamedTuple):
    """Answered pairs of one seed, other pairs, and how much better the second of these is to the annotator."""

    first: Segments
    second: Segments
    labels: Array
    other: tuple[Segments, Segments]
    differences: Array


def draw(name: str, length: int, number: int, seed: int) -> Data:
    """Return the first answers of a seed; its pairs are the same for both annotators."""
    rng = np.random.default_rng([seed, 1])
    first, second = (segments.draw(max(NUMBERS[length]), rng, length) for _ in range(2))
    first, second = first[:number], second[:number]
    who = annotator(name, length)
    labels = who(first, second, np.random.default_rng([seed, 2])).labels
    other, another = (segments.draw(HELD, np.random.default_rng([seed, 3, side]), length) for side in range(2))
    return Data(first, second, labels, (other, another), who.difference(other, another))


def learn_features(name: str, number: int, seed: int) -> dict[str, list[float]]:
    """Return score and agreement of the learners that know features and dynamics, from segments of 3 steps."""
    data, found = draw(name, 3, number, seed), {}
    pair = data.first, data.second, data.labels
    fits = {
        BY_RETURN: featured.by_partial_return(*pair),
        BY_REGRET: featured.by_regret(*pair, np.random.default_rng([seed, 4])),
    }
    for learner, weights in fits.items():
        sides = [featured.sums(part) for part in data.other]
        if learner == BY_REGRET:
            psi = featured.successor_features(weights, np.zeros((featured.table().where.size, len(weights))))
            sides = [side + featured.change(part, psi) for side, part in zip(sides, data.other, strict=True)]
        logits = (sides[1] - sides[0]) @ weights
        policy = plan(lambda x, v, u, w=weights: featured.features(x, v, u) @ w)  # type: ignore[misc]
        found[learner] = [score(policy), agreement(logits, data.differences)]
    return found


def learn(name: str, length: int, number: int, seed: int) -> dict[str, list[float]]:
    """Return the score of each learner and its agreement with the annotator on other pairs."""
    torch.set_num_threads(1)
    first, second, labels, (other, another), differences = draw(name, length, number, seed)
    model = reward_ensemble(4, torch.Generator().manual_seed(seed), members=1, discount=DISCOUNT)
    fit_pairs(model, segment_pairs(first, second, labels), SETTINGS, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        right = agreement(model(segment_pairs(other, another))[0].numpy(), differences)
    reward = learnt_reward(model)
    policy = learn_policy(first, second, labels, torch.Generator().manual_seed(seed))
    logs = [
        policy.log_probabilities(torch.as_tensor(part.observations[None, :, :-1]), torch.as_tensor(part.actions[None]))
        for part in (other, another)
    ]
    weights = DISCOUNT ** np.arange(length)
    sums = [(log[0].detach().numpy() * weights).sum(-1) for log in logs]
    return {
        PLANNED: [score(plan(reward)), right],
        GREEDY: [score(greedy(reward)), right],
        CPL: [score(mean_action(policy)), agreement(sums[1] - sums[0], differences)],
    }


def constants() -> list[float]:
    """Return the scores of 21 constant torques."""
    return [score(lambda state, t, a=a: np.full((len(state.angle), 1), a)) for a in np.linspace(-1, 1, 21)]  # type: ignore[misc]


def known_reward() -> list[float]:
    """Return the scores of the true reward planned as learnt ones are, and of acting greedily on the true advantage."""
    known = segments.grid_values()
    truth = score(plan(lambda angle, velocity, torque: -pendulum.cost(angle, velocity, torque)))
    return [truth, score(lambda state, t: known.best_control(observe(*state))[:, None] / LIMIT)]


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield the references, and one fit after the other: all learners of some answers of one seed."""
    yield [("constant", 0), ("known", 0)]
    for seed in range(options.seeds):
        for length, numbers in NUMBERS.items():
            for number, name in product(numbers, ANSWERS):
                yield [(name, length, number, learner, seed) for learner in LEARNERS]
        for number, name in product(FEW, ANSWERS):
            yield [(name, 3, number, learner, seed) for learner in FEATURED]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the values of one job."""
    if len(keys[0]) == 2:
        found = {"constant": constants, "known": known_reward}
        return [harness.rounded(found[key[0]]()) for key in keys]
    name, length, number, learner, seed = keys[0]
    values = learn_features(name, number, seed) if learner in FEATURED else learn(name, length, number, seed)
    return [harness.rounded(values[key[3]]) for key in keys]


# --- the page ---


def cells(records: Records) -> dict[Key, Array]:
    """Return scores and agreements (seeds, 2) of every cell."""
    return {cell: np.array(values) for cell, values in harness.columns(records).items() if len(cell) == 4}


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page and the figure."""
    found = cells(records)
    if not found:
        return {}
    parts = [
        "# Swing up from answers by regret and by partial return",
        "The pendulum, pairs of segments of 3 or 10 steps from uniformly drawn states with uniformly drawn "
        "torques. One annotator compares regret, from optimal values on a grid of 400 x 321 nodes, the other partial "
        f"return, both discounted by {DISCOUNT} and at the temperature at which an answer has {BITS} bits of entropy "
        "in the mean: answers are about as noisy, and the pairs of a seed are the same. Scores are true discounted "
        "returns "
        f"from {STARTS} starts, 0 for uniformly random torques and 1 for the oracle; means over seeds with 95% "
        "bootstrap intervals. Segments of 3 steps became the main condition after four lengths and ways to draw "
        "torques had been tried on regret answers, the score of the greedy policy in view, one seed each: the "
        "choice favours learners by regret.",
        "Written by `python -m studies.preference.regret_pendulum`, from "
        "[data/regret-pendulum.jsonl](data/regret-pendulum.jsonl).",
        "![Scores over the number of answers](regret-pendulum.svg)",
        "**Learners.** `reward, planned` fits a network of observation and torque to the answers, its discounted sums "
        "as the utility (Bradley-Terry), and takes it for a reward: the policy is planned exactly on a grid of "
        f"{NODES[0]} x {NODES[1]} nodes, so that no failure of reinforcement learning counts. `advantage, greedy` is "
        "the same fit taken for the optimal advantage, which is what sums of regret answers are: it acts greedily. "
        "`CPL` fits a normal policy by contrastive preference learning (alpha 0.1, bias 0.5) and plays its mean. The "
        "first is the learner of partial return, the other two of regret. The planner knows the dynamics, and the "
        "other two do not: what differs between columns is that, too, and within a column only the kind of answers.",
    ]
    if ("constant",) in harness.columns(records):
        best = max(records["constant", 0])
        planned, acted = records["known", 0]
        parts.append(
            f"For comparison: the best of 21 constant torques scores {best:.2f}, the true reward planned in the same "
            f"way {planned:.2f}, the true advantage used greedily {acted:.2f}."
        )
    panels = []
    for length, name in product(NUMBERS, ANSWERS):
        rows, lines = [], {}
        numbers = [n for n in NUMBERS[length] if all((name, length, n, learner) in found for learner in LEARNERS)]
        for learner in LEARNERS:
            lines[learner] = [report.estimate(found[name, length, n, learner][:, 0]) for n in numbers]
        for i, n in enumerate(numbers):
            columns = {learner: found[name, length, n, learner] for learner in LEARNERS}
            gap = report.estimate(columns[GREEDY][:, 0] - columns[PLANNED][:, 0])
            shares = [report.estimate(columns[learner][:, 1]) for learner in (GREEDY, CPL)]
            rows.append([n, len(columns[CPL]), *(lines[learner][i] for learner in LEARNERS), gap, *shares])
        head = ["answers", "seeds", *LEARNERS, "greedy - planned", "fit agrees", "CPL agrees"]
        title = f"Answers by {name}, segments of {length} steps"
        parts += [f"## {title}", report.table(head, rows)]
        panels.append(
            figures.Panel(
                f"{name} answers, {length} steps", "answers", "score", figures.curves(lines), numbers, (-0.6, 1.05)
            )
        )
    rows = []
    for name, n in product(ANSWERS, FEW):
        if all((name, 3, n, learner) in found for learner in FEATURED):
            columns = [found[name, 3, n, learner] for learner in FEATURED]
            gap = report.estimate(columns[1][:, 0] - columns[0][:, 0])
            scores, shares = ([report.estimate(column[:, i]) for column in columns] for i in range(2))
            rows.append([name, n, len(columns[0]), *scores, gap, *shares])
    if rows:
        head = ["answers by", "answers", "seeds", *(f"learnt by {learner}" for learner in FEATURED)]
        head += ["regret - partial return", "first agrees", "second agrees"]
        parts += [
            "## Both learners with known features and dynamics",
            "Rewards linear in five known features (squares of angle, velocity and torque, of which the true one is "
            "made; the height and the speed of falling), segments of 3 steps. Learnt by partial return, the weights "
            "are those of a logistic regression; by regret, those whose own optimal values, on a grid of "
            f"{featured.NODES[0]} x {featured.NODES[1]} nodes, make the answers likeliest. Both rewards are planned as "
            "above, so that the two learners know the same and differ only in what they believe people compare.",
            report.table(head, rows),
        ]
    parts.append(
        "`agrees` is the share of other pairs that the fit orders as its annotator would without noise; `reward, "
        "planned` and `advantage, greedy` are one fit. Differences are paired by seed."
    )
    return {".md": report.page(*parts), ".svg": figures.draw(panels, columns=2)}


STUDY = harness.Study("regret-pendulum", jobs, run, pages)
PARSER = harness.parser(__doc__, seeds=10)

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
