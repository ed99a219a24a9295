"""The posterior over weights: against enumeration, its symmetries, its answer, and the learners that play it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.agents import make
from valuegym.agents.preference import comparisons, posterior
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, delivery, models, segments
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.envs.preference.segments import Segment

ENV = "valuegym/RewardInference-v0"
MODELS: dict[str, tuple[Any, models.Statistic]] = {
    "bayes_regret": (comparisons.regret, models.Regret()),
    "bayes_partial_return": (
        lambda mdp, pairs: comparisons.partial_return(pairs, mdp.discount),
        models.PartialReturn(),
    ),
}
LEARNERS = tuple(MODELS)


class Answers(NamedTuple):
    mdp: tabular.TabularMDP
    weights: Any
    pairs: Segment
    label: Any


def answered(mdp: tabular.TabularMDP, weights: Any, n: int, seed: int = 0) -> Answers:
    """Pairs of random segments from the starts, answered by regret."""
    rng = np.random.default_rng(seed)
    cells = rng.choice(np.flatnonzero(mdp.start[0]), (1, n, 2))
    pairs = segments.follow(mdp, cells, rng.integers(0, 4, (1, n, 2, 3)))
    utility = models.Regret().utility(models.solve(mdp, weights[None]), pairs, mdp.discount)[0]
    label = models.BradleyTerry().label(utility[:, 1] - utility[:, 0], rng.random(n))
    return Answers(mdp, weights, Segment(*(field[0] for field in pairs)), label)


def corridor(n: int, seed: int = 0) -> Answers:
    """Two features, gas and goal: small enough to enumerate the weights."""
    mdp = delivery.board_mdp(np.array([[[0, 0, 0, 0, 1]]]), 0.95)
    pair = tabular.TabularMDP(mdp.features[..., :2], mdp.terminal, mdp.start, 0.95, next_state=mdp.next_state)
    return answered(pair, np.array([-0.4, 3.0]), n, seed)


def random_board(n: int, seed: int = 0) -> Answers:
    core = RewardInference(split="dev", evaluation_points=(1,))
    task, _ = core.initial(keys.mix(seed, 0))
    mdp = tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)
    return answered(mdp, task.weights[0], n, seed)


def likelihood(name: str, answers: Answers) -> posterior.Likelihood:
    comparison = MODELS[name][0](answers.mdp, answers.pairs)
    return posterior.likelihood(OptimalValues(answers.mdp), comparison, answers.label)


def sampled(name: str, answers: Answers, seed: int = 0) -> posterior.Sample:
    """The posterior after all answers."""
    d = answers.mdp.features.shape[-1]
    return next(posterior.samples(likelihood(name, answers), [len(answers.label)], seed, d))


def changed(mdp: tabular.TabularMDP, order: Any, sign: Any) -> tabular.TabularMDP:
    """The same process with its features permuted and some of their signs flipped."""
    features = mdp.features[..., order] * sign
    return tabular.TabularMDP(features, mdp.terminal, mdp.start, mdp.discount, next_state=mdp.next_state)


# --- prior and likelihood ---


def test_the_prior_is_log_uniform_with_fair_independent_signs() -> None:
    n = 40_000
    weights = posterior.draw(np.random.default_rng(0), n, 3)
    place = np.log(np.abs(weights) / 0.1) / np.log(100 / 0.1)
    assert 0 <= place.min() and place.max() <= 1
    for moment in (1, 2, 3):
        np.testing.assert_allclose((place**moment).mean(0), 1 / (moment + 1), atol=0.01)
    assert np.abs(np.sign(weights).mean(0)).max() < 0.03
    coordinates = np.hstack([place, np.sign(weights)])
    assert np.abs(np.corrcoef(coordinates.T) - np.eye(6)).max() < 0.03


@pytest.mark.parametrize("name", LEARNERS)
def test_the_likelihood_is_that_of_the_preference_model(name: str) -> None:
    answers = random_board(25)
    label = np.where(np.arange(25) % 5 == 0, 0.5, answers.label)
    weights = posterior.draw(np.random.default_rng(1), 7, 6)
    logs = likelihood(name, answers._replace(label=label))(weights, (0, 11, 25)).sum(0)
    for i, w in enumerate(weights):
        batch = Segment(*(field[None] for field in answers.pairs))
        utility = MODELS[name][1].utility(models.solve(answers.mdp, w[None]), batch, answers.mdp.discount)[0]
        p = models.BradleyTerry().probability(utility[:, 1] - utility[:, 0])
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = (
                np.where(label > 0, label * np.log(p), 0) + np.where(label < 1, (1 - label) * np.log1p(-p), 0)
            ).sum()
        if np.isfinite(expected):
            assert logs[i] == pytest.approx(expected, rel=1e-6)


# --- posterior ---


def test_without_data_the_posterior_is_the_prior() -> None:
    drawn = posterior.draw(np.random.default_rng(5), posterior.DRAWS, 4)
    nothing = posterior.samples(lambda weights, bounds: np.zeros((len(bounds) - 1, len(weights))), [7], 5, 4)
    sample = next(nothing)
    np.testing.assert_array_equal(sample.weights, drawn)
    np.testing.assert_allclose(sample.probability, 1 / posterior.DRAWS)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("n", [4, 100])
def test_the_posterior_is_that_of_enumeration(name: str, n: int) -> None:
    """With few answers by importance sampling, with many by annealing."""
    density = likelihood(name, corridor(n))
    grid = np.exp(np.linspace(*np.log(posterior.MAGNITUDES), 81)[:-1] + np.log(1000) / 160)
    signed = np.concatenate([-grid, grid])
    every = np.stack(np.meshgrid(signed, signed, indexing="ij"), -1).reshape(-1, 2)
    exact = posterior.normalise(density(every, (0, n))[0])
    sample = sampled(name, corridor(n))
    assert (len(sample.weights) == posterior.DRAWS) == (n == 4)

    def moments(weights: Any, p: Any) -> Any:
        logs = np.log(np.abs(weights))
        mean = p @ logs
        return mean, np.sqrt(p @ (logs - mean) ** 2), p @ (weights > 0)

    mean, deviation, positive = moments(every, exact)
    found = moments(*sample)
    np.testing.assert_allclose(found[0], mean, rtol=0, atol=0.25 * deviation.max())
    np.testing.assert_allclose(found[1], deviation, rtol=0.25)
    np.testing.assert_allclose(found[2], positive, rtol=0, atol=0.1)
    assert n == 4 or (deviation < 0.5 * np.log(1000) / np.sqrt(12)).any()  # the many answers did say something


@pytest.mark.parametrize("name", LEARNERS)
def test_no_feature_and_no_sign_is_special(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permuted and flipped features, with the draws permuted and flipped alike, give the same posterior."""
    answers, order, sign = random_board(3, seed=1), np.array([3, 0, 5, 1, 4, 2]), np.array([1, -1, -1, 1, -1, 1])
    pairs = answers.pairs._replace(features=answers.pairs.features[..., order] * sign)
    other = Answers(changed(answers.mdp, order, sign), answers.weights[order] * sign, pairs, answers.label)
    here = sampled(name, answers, 2)
    assert len(here.weights) == posterior.DRAWS
    draw = posterior.draw
    monkeypatch.setattr(posterior, "draw", lambda *args: draw(*args)[:, order] * sign)
    there = sampled(name, other, 2)
    np.testing.assert_array_equal(there.weights, here.weights[:, order] * sign)
    np.testing.assert_allclose(there.probability, here.probability, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(
        posterior.bayes_weights(OptimalValues(other.mdp), there),
        posterior.bayes_weights(OptimalValues(answers.mdp), here)[order] * sign,
        rtol=1e-6,
    )


def test_moves_keep_the_prior() -> None:
    """Both kinds of proposals, always accepted as they are without data, leave draws from the prior distributed so."""
    rng = np.random.default_rng(0)
    weights, root = posterior.draw(rng, 20_000, 2), np.array([[1.5, 0], [0.5, 1.0]])
    for _ in range(5):
        weights = posterior._redraw(posterior._wander(weights, root, rng), root, rng)
    place = np.log(np.abs(weights) / 0.1) / np.log(1000)
    assert 0 <= place.min() and place.max() <= 1
    for moment in (1, 2):
        np.testing.assert_allclose((place**moment).mean(0), 1 / (moment + 1), atol=0.015)


# --- the answer ---


def test_no_policy_is_expected_to_do_better_than_the_answer() -> None:
    answers = random_board(8, seed=2)
    mdp = condense(answers.mdp).mdp
    weights = posterior.draw(np.random.default_rng(0), 40, 6)
    sample = posterior.Sample(weights, np.random.default_rng(1).dirichlet(np.ones(40)))
    reward = tabular.reward(mdp, weights[:, None])

    def expected(policy: Any) -> float:
        policies = np.broadcast_to(policy, (len(weights), *policy.shape))
        return float(sample.probability @ tabular.normalised_return(mdp, reward, policies)[:, 0])

    best = expected(
        tabular.optimal_policy(mdp, tabular.reward(mdp, posterior.bayes_weights(OptimalValues(mdp), sample)))
    )
    rivals = [expected(policy[None]) for policy in OptimalValues(mdp).policies(weights)]
    rivals += [expected(tabular.optimal_policy(mdp, tabular.reward(mdp, sample.probability @ weights)))]
    assert best >= max(rivals) - 1e-9
    assert best > np.mean(rivals)


# --- the learners ---


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posterior, "DRAWS", 192)
    monkeypatch.setattr(posterior, "PARTICLES", 48)
    monkeypatch.setattr(posterior, "MOVES", 1)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", LEARNERS)
def test_many_at_once_equal_one_at_a_time(name: str) -> None:
    kwargs = {"split": "dev", "evaluation_points": (0, 2, 12)}
    envs = gym.make_vec(ENV, num_envs=2, **kwargs)
    agent, memory, start = make(name, gym.make(ENV, **kwargs)), None, np.ones(2, np.bool_)
    observation, _ = envs.reset(seed=[7, 8])
    together = []
    for _ in range(13):
        answer, memory = agent.predict(observation, state=memory, episode_start=start)
        together.append(answer)
        observation, _, start, _, _ = envs.step(answer)
    assert not together[1].any() and together[2].any() and (together[12] != together[2]).any()
    np.testing.assert_allclose(np.abs(together[12]).max(-1), 1)
    for row, seed in enumerate((7, 8)):
        env = gym.make(ENV, **kwargs)
        agent, memory, begin = make(name, env), None, np.array([True])
        observation, _ = env.reset(seed=seed)
        for step in range(13):
            answer, memory = agent.predict(observation, state=memory, episode_start=begin)
            np.testing.assert_array_equal(answer, together[step][row])
            observation, begin = env.step(answer)[0], np.array([False])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", LEARNERS)
def test_answers_follow_from_the_generator(name: str) -> None:
    answers = random_board(40)
    agent: Any = make(name, gym.make(ENV, split="dev", evaluation_points=(1,)))

    def estimate(seed: int) -> Any:
        return agent.estimate(answers.mdp, answers.pairs, answers.label, np.random.default_rng(seed))

    np.testing.assert_array_equal(estimate(0), estimate(0))
    assert not np.array_equal(estimate(0), estimate(1))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", LEARNERS)
def test_growing_answers_give_what_each_number_gives_alone(name: str) -> None:
    answers, counts = random_board(120), (0, 2, 3, 20, 100, 120)
    agent: Any = make(name, gym.make(ENV, split="dev", evaluation_points=(1,)), seed=5)
    found = agent.estimates(answers.mdp, answers.pairs, answers.label, counts)
    assert not found[0].any() and len(np.unique(found, axis=0)) == len(counts)
    for n, estimate in zip(counts[1:], found[1:], strict=True):
        first, rng = Segment(*(field[:n] for field in answers.pairs)), np.random.default_rng(5)
        np.testing.assert_array_equal(agent.estimate(answers.mdp, first, answers.label[:n], rng), estimate)


@pytest.mark.parametrize("bounds", [(0, 700, 1300), (0, 0, 1300), (0, 1300)])
def test_log_likelihoods_are_those_of_the_choice_rule(bounds: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, label = rng.standard_normal((1300, 4)) * (0.1, 1, 10, 1000), rng.choice([0.0, 0.5, 1.0], 1300)
    nats = models.BradleyTerry().cross_entropy(x, label[:, None])
    expected = [-nats[i:j].sum(0) for i, j in pairwise(bounds)]
    np.testing.assert_allclose(posterior.log_likelihood(x, label, bounds), expected, rtol=1e-12, atol=1e-9)


def test_thirty_answers_are_enough_for_regret() -> None:
    core = RewardInference(split="dev", evaluation_points=(30,))
    task, _ = core.initial(keys.mix(0, np.arange(4)))
    asked = [core.query(task, np.full(4, i)) for i in range(1, 31)]
    pairs = Segment(*(np.stack(field, 1) for field in zip(*(pair for pair, _ in asked), strict=True)))
    label = annotators.labels(np.stack([answer for _, answer in asked], 1))
    agent: Any = make("bayes_regret", gym.make(ENV, split="dev", evaluation_points=(1,)))
    estimates = []
    for i in range(4):
        fields = (field[i : i + 1] for field in (task.features, task.terminal, task.start))
        mdp = tabular.TabularMDP(*fields, core.discount, next_state=task.next_state[i : i + 1])
        rng = np.random.default_rng([0, 30])
        estimates.append(agent.estimate(mdp, Segment(*(field[i] for field in pairs)), label[i], rng))
    assert (core.score(task, np.array(estimates)) >= 0.9).mean() == 1
