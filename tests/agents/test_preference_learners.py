"""Learning weights from preferences: the statistics, the fits, the memory, and what people's answers say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("scipy")
from scipy.optimize import minimize_scalar

from valuegym.agents import make
from valuegym.agents.preference import descent
from valuegym.agents.preference.descent import PRIOR_SCALE, Fit, fit
from valuegym.agents.preference.preference_learner import Memory
from valuegym.envs import keys
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference import annotators, datasets, models
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment

ENV = "valuegym/RewardInference-v0"
LEARNERS = ("partial_return", "regret")
STATISTICS = {"partial_return": models.PartialReturn(), "regret": models.Regret()}


class Answers(NamedTuple):
    """One task and n answered pairs: true weights (d,), pairs (n, 2, ...), labels (n,)."""

    mdp: TabularMDP
    weights: Any
    pairs: Segment
    label: Any


def ask(annotator: str, n: int, seed: int) -> Answers:
    core = RewardInference(annotator=annotator, split="dev", evaluation_points=(n,))
    task, _ = core.initial(keys.mix(seed, 0))
    asked = [core.query(task, np.array([i])) for i in range(1, n + 1)]
    pairs = Segment(*(np.concatenate(field) for field in zip(*(pair for pair, _ in asked), strict=True)))
    mdp = TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    return Answers(mdp, task.weights[0], pairs, annotators.labels(np.concatenate([answer for _, answer in asked])))


def learner(name: str, seed: int = 0) -> Any:
    return make(name, gym.make(ENV, split="dev", evaluation_points=(1,)), seed=seed)


class Fitted(NamedTuple):
    """A fit with what it was given: the loss with its gradient, and the starting points."""

    result: Fit
    loss: Callable[[Any], tuple[float, Any]]
    starts: Any


def fitted(name: str, answers: Answers, seed: int = 0) -> Fitted:
    agent, d = learner(name), len(answers.weights)
    differences, label = agent.differences(answers.mdp, answers.pairs), answers.label

    def loss(weights: Any) -> tuple[float, Any]:
        at = descent.losses(differences, label, weights[None])
        return float(at.loss[0]), at.derivatives(np.array([0]), label, weights[None])[0][0]

    starts = descent.starting_points(differences, label, np.random.default_rng(seed), d, agent.starts)
    return Fitted(fit(differences, label, np.random.default_rng(seed), d, agent.starts), loss, starts)


def roll(agent: Any, envs: Any, steps: int, seed: int | list[int]) -> tuple[list[Any], list[Any]]:
    """Observations and answers of a few steps of a vector environment."""
    observation, _ = envs.reset(seed=seed)
    memory, start = None, np.ones(envs.num_envs, np.bool_)
    seen, answers = [], []
    for _ in range(steps):
        action, memory = agent.predict(observation, state=memory, episode_start=start)
        seen.append((observation, start))
        answers.append(action)
        observation, _, terminated, truncated, _ = envs.step(action)
        start = terminated | truncated
    return seen, answers


# --- statistics ---


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("seed", range(4))
def test_differences_are_those_of_the_preference_model(name: str, seed: int) -> None:
    answers = ask("regret", 40, seed)
    differences = learner(name).differences(answers.mdp, answers.pairs)
    rng = np.random.default_rng(seed)
    batch = Segment(*(field[None] for field in answers.pairs))
    for weights in (
        *rng.standard_normal((6, 6)),
        answers.weights,
        -answers.weights,
        *(50 * rng.standard_normal((2, 6))),
    ):
        utility = STATISTICS[name].utility(models.solve(answers.mdp, weights[None]), batch, answers.mdp.discount)[0]
        expected = utility[:, 1] - utility[:, 0]
        np.testing.assert_allclose(
            differences(weights[None])[0] @ weights, expected, rtol=0, atol=1e-8 * max(np.abs(expected).max(), 1)
        )


def test_regret_differences_do_not_depend_on_what_was_asked_before() -> None:
    answers = ask("regret", 30, 0)
    used = learner("regret").differences(answers.mdp, answers.pairs)
    for weights in np.random.default_rng(0).standard_normal((10, 6)):
        fresh = learner("regret").differences(answers.mdp, answers.pairs)
        np.testing.assert_allclose(used(weights[None]) @ weights, fresh(weights[None]) @ weights, atol=1e-9)


def test_noiseless_answers_follow_the_true_weights_statistic() -> None:
    for name, annotator in (("partial_return", "partial-return-noiseless"), ("regret", "regret-noiseless")):
        answers = ask(annotator, 60, 2)
        x = learner(name).differences(answers.mdp, answers.pairs)(answers.weights[None])[0] @ answers.weights
        clear = np.abs(x) > 1e-5
        assert clear.sum() > 20
        np.testing.assert_array_equal(answers.label[clear], x[clear] > 0)
        np.testing.assert_array_equal(answers.label[np.abs(x) < 1e-7], 0.5)


# --- fits ---


def newton(D: Any, label: Any) -> Any:
    """The minimum of the regularised logistic loss, solved by Newton's method with halved steps."""

    def loss(w: Any) -> float:
        return float((np.logaddexp(0, D @ w) - label * (D @ w)).sum() + 0.5 * w @ w / PRIOR_SCALE**2)

    w = np.zeros(D.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-(D @ w)))
        gradient = D.T @ (p - label) + w / PRIOR_SCALE**2
        step = np.linalg.solve(D.T @ (D * (p * (1 - p))[:, None]) + np.eye(len(w)) / PRIOR_SCALE**2, gradient)
        size = 1.0
        while loss(w - size * step) > loss(w) and size > 1e-8:
            size /= 2
        w = w - size * step
    assert np.abs(gradient).max() < 1e-9
    return w, loss(w)


@pytest.mark.parametrize("annotator", ["partial-return", "regret", "partial-return-noiseless"])
@pytest.mark.parametrize("seed", range(3))
def test_partial_return_finds_the_convex_optimum(annotator: str, seed: int) -> None:
    answers = ask(annotator, 80, seed)
    differences = learner("partial_return").differences(answers.mdp, answers.pairs)
    found = fit(differences, answers.label, np.random.default_rng(0), 6)
    best, loss = newton(differences(np.zeros((1, 6)))[0], answers.label)
    assert found.loss == pytest.approx(loss, rel=1e-8, abs=1e-8)
    np.testing.assert_allclose(found.weights, best, rtol=0, atol=1e-5 * np.abs(best).max())


@pytest.mark.parametrize("name", LEARNERS)
def test_the_gradient_is_that_of_the_loss(name: str) -> None:
    smooth = 0
    for seed in range(3):
        loss = fitted(name, ask("regret", 40, seed)).loss
        for weights in np.random.default_rng(seed).standard_normal((6, 6)):
            gradient = loss(weights)[1]
            numeric = [
                np.array([(loss(weights + h * e)[0] - loss(weights - h * e)[0]) / (2 * h) for e in np.eye(6)])
                for h in (1e-4, 1e-5)
            ]
            scale = max(np.abs(gradient).max(), 1)
            if np.abs(numeric[0] - numeric[1]).max() > 1e-6 * scale:
                continue  # an optimal action changes here
            smooth += 1
            np.testing.assert_allclose(gradient, numeric[1], rtol=0, atol=1e-5 * scale)
    assert smooth >= 10


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("noise", ["", "-noiseless"])
@pytest.mark.parametrize("seed", range(3))
def test_no_start_and_no_scaled_truth_beats_the_fit(name: str, noise: str, seed: int) -> None:
    answers = ask(name.replace("_", "-") + noise, 100, seed)
    result, loss, starts = fitted(name, answers)
    assert result.loss == pytest.approx(loss(result.weights)[0], rel=1e-9)  # the weights are those of the loss
    for start in starts:
        assert result.loss <= loss(start)[0]
    truth = min(loss(scale * answers.weights)[0] for scale in np.geomspace(1e-3, 10, 41))
    assert result.loss <= truth + 1e-6 * abs(truth)


def test_starting_points_follow_from_the_generator() -> None:
    answers = ask("regret", 20, 0)
    first, again, other = (fitted("regret", answers, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.starts, again.starts)
    np.testing.assert_array_equal(first.result.weights, again.result.weights)
    np.testing.assert_array_equal(first.starts[:2], other.starts[:2])  # 0 and the linear guess
    assert not np.array_equal(first.starts[2:], other.starts[2:])


@pytest.mark.parametrize("name", [*LEARNERS, "regret_library"])
def test_growing_answers_give_what_each_number_gives_alone(name: str) -> None:
    answers, counts = ask("regret", 40, 1), (0, 1, 7, 40)
    agent = learner(name, seed=3)
    found = agent.estimates(answers.mdp, answers.pairs, answers.label, counts)
    assert not found[0].any()
    for n, estimate in zip(counts[1:], found[1:], strict=True):
        first, rng = Segment(*(field[:n] for field in answers.pairs)), np.random.default_rng(3)
        np.testing.assert_array_equal(agent.estimate(answers.mdp, first, answers.label[:n], rng), estimate)
    for wrong in ((7, 1), (1, 1), (41,), (-1, 2)):
        with pytest.raises(ValueError, match=r"^query_counts.*; expected (an integer from|integers that)"):
            agent.estimates(answers.mdp, answers.pairs, answers.label, wrong)


def test_the_prior_s_scale_bounds_what_answers_leave_open() -> None:
    answers = ask("partial-return-noiseless", 80, 1)
    found = []
    for scale in (1.0, 10.0, 1000.0):
        agent: Any = make("partial_return", gym.make(ENV, split="dev", evaluation_points=(1,)), prior_scale=scale)
        found.append(np.abs(agent.estimate(answers.mdp, answers.pairs, answers.label, np.random.default_rng(0))).max())
    assert found[0] < 10 < found[2] and found[0] < found[1] < found[2]
    for name in ("partial_return", "regret", "regret_library"):
        with pytest.raises(ValueError, match="prior_scale is 0"):
            make(name, gym.make(ENV, split="dev", evaluation_points=(1,)), prior_scale=0)


def test_a_descent_finds_its_way_along_a_kink() -> None:
    """Two answers cost more with |w_0|, two say how large w_1 is: the way down is along w_0 = 0."""
    label = np.array([0.0, 0.0, 1.0, 0.0])

    def differences(weights: Any) -> Any:
        sign = np.where(weights[:, 0] >= 0, 5.0, -5.0)
        D = np.zeros((len(weights), 4, 2))
        D[:, 0, 0] = D[:, 1, 0] = sign
        D[:, 2:, 1] = (3.0, 1.0)
        return D

    starts = np.array([[3.0, -2.0], [-1.0, 0.0], [0.5, 9.0]])
    weights, loss = descent.descend(differences, label, starts)
    smooth = minimize_scalar(lambda w: descent.losses(differences, label, np.array([[0.0, w]])).loss[0])
    np.testing.assert_allclose(weights, [[0, smooth.x]] * 3, atol=1e-3)
    np.testing.assert_allclose(loss, smooth.fun, atol=1e-4)


def test_the_shortest_combination_of_gradients() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        gradients, root = rng.standard_normal((4, 3)), rng.standard_normal((3, 3))
        metric = root @ root.T + np.eye(3)
        found = descent.shortest(gradients, metric)
        rivals = rng.dirichlet(np.full(4, 0.5), 2000) @ gradients
        lengths = np.einsum("ij,ij->i", rivals, np.linalg.solve(metric, rivals.T).T)
        assert found @ np.linalg.solve(metric, found) <= lengths.min() + 1e-9


def test_a_tie_pulls_a_difference_towards_nothing() -> None:
    D = np.array([[1.0, 0.0], [0.0, 1.0]])

    def answer(label: list[float], rows: list[int]) -> Any:
        differences = np.broadcast_to(D[rows], (descent.STARTS * 9, len(rows), 2))
        return fit(lambda weights: differences[: len(weights)], np.array(label), np.random.default_rng(0), 2).weights

    np.testing.assert_allclose(answer([1.0, 0.5], [0, 1])[1], 0, atol=1e-5)
    once, torn = answer([1.0], [0])[0], answer([1.0, 0.5], [0, 0])[0]
    assert once > torn > 0  # logit(3/4), nearly, instead of all that the prior allows
    np.testing.assert_allclose(torn, np.log(3), atol=0.03)


# --- the agents in their environment ---


@pytest.mark.parametrize("name", LEARNERS)
def test_without_preferences_the_estimate_is_exactly_nothing(name: str) -> None:
    env = gym.make(ENV, split="dev", evaluation_points=(0, 5))
    answer, _ = make(name, env).predict(env.reset(seed=0)[0], episode_start=np.array([True]))
    np.testing.assert_array_equal(answer, np.zeros(6))
    envs = gym.make_vec(ENV, num_envs=2, split="dev", evaluation_points=(0, 5))
    _, answers = roll(make(name, env), envs, 5, 0)
    np.testing.assert_array_equal(answers, np.zeros((5, 2, 6)))  # and is not refitted before the next report


@pytest.mark.parametrize("name", LEARNERS)
def test_answers_fill_the_action_space_and_stay_between_evaluation_points(name: str) -> None:
    envs = gym.make_vec(ENV, num_envs=3, annotator="partial-return", split="dev", evaluation_points=(4, 7))
    _, answers = roll(make(name, gym.make(ENV, split="dev", evaluation_points=(4, 7))), envs, 8, 1)
    assert answers[0].dtype == np.float32
    np.testing.assert_allclose(np.abs(answers[4]).max(-1), 1)
    np.testing.assert_array_equal(answers[5], answers[4])
    np.testing.assert_array_equal(answers[6], answers[4])
    assert not np.array_equal(answers[7], answers[4])


@pytest.mark.parametrize("name", LEARNERS)
def test_many_at_once_equal_one_at_a_time(name: str) -> None:
    kwargs = {"split": "dev", "evaluation_points": (2, 6), "annotator": "regret-noiseless"}
    _, together = roll(make(name, gym.make(ENV, **kwargs)), gym.make_vec(ENV, num_envs=3, **kwargs), 7, [7, 8, 9])
    for row, seed in enumerate((7, 8, 9)):
        env = gym.make(ENV, **kwargs)
        agent, memory, start = make(name, env), None, np.array([True])
        observation, _ = env.reset(seed=seed)
        for step in range(7):
            answer, memory = agent.predict(observation, state=memory, episode_start=start)
            assert answer.shape == (6,)
            np.testing.assert_array_equal(answer, together[step][row])
            observation, start = env.step(answer)[0], np.array([False])


@pytest.mark.parametrize("name", LEARNERS)
def test_a_new_episode_forgets_the_one_before(name: str) -> None:
    kwargs = {"split": "dev", "evaluation_points": (0, 6), "annotator": "partial-return-noiseless"}
    agent = make(name, gym.make(ENV, **kwargs))
    seen, answers = roll(agent, gym.make_vec(ENV, num_envs=2, **kwargs), 15, 4)
    begin = next(i for i, (_, start) in enumerate(seen) if i and start.all()) + 1  # the reset observation follows
    fresh, memory = [], None
    for i, (observation, _) in enumerate(seen[begin:]):
        answer, memory = agent.predict(observation, state=memory, episode_start=np.full(2, i == 0))
        fresh.append(answer)
    assert np.any(fresh[-1]) and not np.array_equal(fresh[-1], answers[begin - 2])
    np.testing.assert_array_equal(fresh, answers[begin:])


@pytest.mark.parametrize("name", LEARNERS)
def test_rows_are_reset_on_their_own(name: str) -> None:
    kwargs = {"split": "dev", "evaluation_points": (5,), "annotator": "regret-noiseless"}
    agent = make(name, gym.make(ENV, **kwargs))
    seen, _ = roll(agent, gym.make_vec(ENV, num_envs=2, **kwargs), 6, 4)

    def answer(restart: int | None) -> Any:
        memory = None
        for i, (observation, _) in enumerate(seen):
            start = np.array([i == 0, i == 0 or i == restart])
            result, memory = agent.predict(observation, state=memory, episode_start=start)
        return result

    whole, cut = answer(None), answer(4)
    np.testing.assert_array_equal(whole[0], cut[0])
    assert not np.array_equal(whole[1], cut[1])


def test_the_memory_keeps_ties_and_drops_what_nobody_could_tell() -> None:
    core = RewardInference(annotator="regret", split="dev", evaluation_points=(5,))
    task, state = core.initial(keys.mix(0, 0))
    memory = Memory.empty(1, 6)
    codes = (annotators.CANNOT_TELL, annotators.FIRST, annotators.SECOND, annotators.SAME, annotators.CANNOT_TELL)
    pairs = []
    for i, code in enumerate(codes):
        pairs.append(core.query(task, np.array([i]))[0])
        observation = core.observation(task, state._replace(num_queries=np.array([i]))) | {"label": np.array([code])}
        memory = memory.after(observation, np.array([i == 0]))
    kept, label = memory.pairs(0, (3, 6))
    np.testing.assert_array_equal(label, [0, 1, 0.5])
    for name in Segment._fields:
        expected = np.concatenate([getattr(pair, name) for pair in pairs[1:4]])
        np.testing.assert_array_equal(getattr(kept, name), expected)
        assert getattr(kept, name).shape[:2] == (3, 2)


@pytest.mark.parametrize("name", LEARNERS)
def test_an_annotator_who_cannot_tell_teaches_nothing(name: str) -> None:
    env = gym.make(ENV, split="dev", evaluation_points=(2,))
    agent = make(name, env)
    observation, _ = env.reset(seed=0)
    memory, start = None, np.array([True])
    for _ in range(3):
        silent = {**observation, "label": np.int64(annotators.CANNOT_TELL)}
        answer, memory = agent.predict(silent, state=memory, episode_start=start)
        np.testing.assert_array_equal(answer, np.zeros(6))
        observation, start = env.step(answer)[0], np.array([False])


def test_regret_recovers_near_optimal_policies() -> None:
    kwargs = {"split": "dev", "evaluation_points": (300,), "annotator": "regret-noiseless"}
    envs = gym.make_vec(ENV, num_envs=6, **kwargs)
    agent = make("regret", gym.make(ENV, **kwargs))
    observation, _ = envs.reset(seed=20)
    memory, start = None, np.ones(6, np.bool_)
    for _ in range(301):
        action, memory = agent.predict(observation, state=memory, episode_start=start)
        observation, reward, terminated, _, _ = envs.step(action)
        start = terminated
    assert terminated.all()
    assert reward.mean() >= 0.95, reward


# --- people ---


def cross_validated(x: Any, label: Any, folds: int = 10) -> float:
    """Mean held-out cross-entropy of a Bradley-Terry model of differences x (n,) with one fitted scale."""
    order, choice, losses = np.random.default_rng(0).permutation(len(x)), models.BradleyTerry(), []
    for held in np.array_split(order, folds):
        train = np.setdiff1d(order, held)

        def loss(scale: float, rows: Any = train) -> float:
            return float(choice.cross_entropy(scale * x[rows], label[rows]).mean())

        scale = minimize_scalar(loss, bounds=(0, 10), method="bounded").x
        losses.append(choice.cross_entropy(scale * x[held], label[held]))
    return float(np.concatenate(losses).mean())


def test_people_s_answers_are_better_described_by_regret(data_folder: Path) -> None:
    human = datasets.load("Privileged-Control", str(data_folder))
    assert len(human.labels) == 1793
    partial_return, before, after = human.published.T
    assert cross_validated(partial_return, human.labels) == pytest.approx(0.620, abs=0.002)
    assert cross_validated(partial_return + after - before, human.labels) == pytest.approx(0.573, abs=0.002)
    assert cross_validated(np.zeros(1793), human.labels) == pytest.approx(np.log(2), abs=1e-6)
