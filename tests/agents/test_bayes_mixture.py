"""The posterior over weights and over how people answer: its models, sampler, rules, beliefs and learner."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("scipy")

from valuegym.agents import make
from valuegym.agents.preference import bayes_mixture, comparisons, decisions, posterior, response_models, tempering
from valuegym.agents.preference.bayes_mixture import BayesMixture
from valuegym.agents.preference.response_models import HABITS, KINDS, LATENTS
from valuegym.agents.preference.values import OptimalValues, condense
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models, segments, subjective_utility
from valuegym.envs.preference.segments import Segment

ENV = "valuegym/RewardInference-v0"
WEIGHTS = np.array(delivery.WEIGHTS)


@lru_cache(maxsize=1)
def board() -> tabular.TabularMDP:
    return delivery.board_mdp(np.array([delivery.BOARD]))


def drawn(n: int, seed: int = 0, mdp: Any = None) -> Segment:
    mdp = mdp or board()
    rng = np.random.default_rng(seed)
    cells = rng.choice(np.flatnonzero(mdp.start[0]), (1, n, 2))
    pairs = segments.follow(mdp, cells, rng.integers(0, 4, (1, n, 2, 3)))
    return Segment(*(field[0] for field in pairs))


def latent(n: int = 1, seed: int = 0) -> Any:
    return np.random.default_rng(seed).random((LATENTS, n))


def described(pairs: Segment, weights: Any) -> tuple[response_models.Terms, response_models.Quantities]:
    about = response_models.terms(board(), pairs)
    return about, response_models.differences(about, weights, OptimalValues(board())(weights))


def small_problem() -> tuple[Any, Segment, Any]:
    """A corridor with two features, 12 answers by regret."""
    mdp = delivery.board_mdp(np.array([[[0, 0, 0, 0, 1]]]), 0.95)
    mdp = tabular.TabularMDP(mdp.features[..., :2], mdp.terminal, mdp.start, 0.95, next_state=mdp.next_state)
    pairs = drawn(12, 3, mdp)
    utility = models.Regret().utility(
        models.solve(mdp, np.array([[-0.4, 3.0]])), Segment(*(f[None] for f in pairs)), mdp.discount
    )[0]
    label = models.BradleyTerry().label(utility[:, 1] - utility[:, 0], np.random.default_rng(1).random(12))
    return mdp, pairs, label


# --- how people may answer ---


@pytest.mark.parametrize(
    ("kind", "statistic"), [(0, models.Regret()), (1, models.PartialReturn()), (3, models.END_STATE)]
)
def test_kinds_are_the_suites_own_models_of_preference(kind: int, statistic: models.Statistic) -> None:
    pairs, u = drawn(40), latent(seed=2)
    about, found = described(pairs, WEIGHTS[None])
    known = response_models.habits(u)
    utility = statistic.utility(models.solve(board(), WEIGHTS[None]), Segment(*(f[None] for f in pairs)), 0.999)[0]
    choice = models.Lapse(models.BradleyTerry(1 / known.scale[kind, 0]), float(known.lapse[0]))
    expected = choice.probability(utility[:, 1] - utility[:, 0])
    np.testing.assert_allclose(response_models.second(about, found, u)[kind, :, 0], expected, atol=1e-5)
    label = np.resize([0.0, 1.0, 0.5], 40)
    loss = choice.cross_entropy(utility[:, 1] - utility[:, 0], label).sum()
    assert response_models.log_likelihood(about, found, label, u)[kind, 0] == pytest.approx(-loss, abs=1e-3)


def test_subjective_utility_is_the_suites_own_where_features_need_no_names() -> None:
    pairs = drawn(60, 4)
    about, found = described(pairs, WEIGHTS[None])
    each = subjective_utility.terms(
        models.solve(board(), WEIGHTS[None]), Segment(*(f[None] for f in pairs)), board().discount
    )[0]
    expected, start, _, change, _, root, detours = (each[:, 1] - each[:, 0]).T
    np.testing.assert_allclose(found.expected[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(found.start[:, 0], -start, atol=1e-4)
    np.testing.assert_allclose(found.small[:, 0], change, atol=1e-4)
    np.testing.assert_allclose(found.root[:, 0], -root, atol=1e-3)
    assert (about.detours == -detours).mean() > 0.9  # ways around houses are longer than city blocks
    np.testing.assert_allclose(about.steps, np.diff(pairs.mask.sum(-1))[:, 0])


def test_permuted_and_flipped_features_change_no_likelihood() -> None:
    pairs, u = drawn(20), latent(5)
    weights = posterior.draw(np.random.default_rng(0), 5, 6)
    order, sign = np.array([3, 0, 5, 1, 4, 2]), np.array([1, -1, -1, 1, -1, 1.0])
    mdp = board()
    turned = tabular.TabularMDP(
        mdp.features[..., order] * sign, mdp.terminal, mdp.start, mdp.discount, next_state=mdp.next_state
    )
    other = pairs._replace(features=pairs.features[..., order] * sign)
    label = np.resize([0.0, 1.0], 20)
    found = []
    for process, shown, w in ((mdp, pairs, weights), (turned, other, weights[:, order] * sign)):
        about = response_models.terms(process, shown)
        quantities = response_models.differences(about, w, OptimalValues(process)(w))
        found.append(response_models.log_likelihood(about, quantities, label, u))
    np.testing.assert_allclose(*found, atol=1e-3)


def test_a_person_is_summed_over_scales_and_lapses() -> None:
    pairs, u = drawn(6), np.random.default_rng(3).random((LATENTS + len(KINDS), 2))
    about, found = described(pairs, np.stack([WEIGHTS, -WEIGHTS]))
    label, person = np.array([0, 1, 1, 0, 0.5, 1]), np.array([0, 0, 1, 1, 1, 0])
    each = response_models.person_log_likelihood(about, found, label, u, person)
    known = response_models.habits(u)
    for j, mine in enumerate((person == 0, person == 1)):
        total = np.zeros(2)
        for factor in response_models.SPREAD:
            for lapse, chance in response_models.CROWD_LAPSES:
                x = factor * known.scale[0] * found.advantage[mine]
                loss = models.Lapse(models.BradleyTerry(), lapse).cross_entropy(x, label[mine, None]).sum(0)
                total += np.exp(-loss) * chance / len(response_models.SPREAD)
        np.testing.assert_allclose(each[j, 0], np.log(total), atol=1e-4)
    shares = response_models.kind_shares(np.random.default_rng(4).random((LATENTS + len(KINDS), 20_000)))
    np.testing.assert_allclose(shares.mean(1), 0.25, atol=0.01)
    np.testing.assert_allclose(shares.var(1), 3 / 16 / 5, atol=0.005)  # Dirichlet(1, 1, 1, 1)


def test_habits_stay_in_their_ranges() -> None:
    for u in (np.zeros((LATENTS, 1)), np.ones((LATENTS, 1))):
        known = response_models.habits(u)
        assert all(np.isfinite(habit).all() for habit in known)
        assert known.scale.min() >= response_models.SCALES[0] - 1e-9
        assert known.scale.max() <= response_models.SCALES[1] + 1e-9
    assert known._fields[1:] == HABITS


# --- the sampler ---


def normal_problem(data: float) -> tempering.Problem:
    """One weight and one latent number: y ~ N(w + u, 0.2)."""
    return tempering.Problem(
        1, 1, (0.1, 10.0), lambda w: comparisons.Comparison(w.T.copy(), w.T.copy()),
        lambda found, u: -0.5 * ((found.features[0] + u[0] - data) / 0.2) ** 2,
    )  # fmt: skip


def test_tempering_finds_evidence_and_mean_within_its_error() -> None:
    problem = normal_problem(4.0)
    islands = [tempering.run_island(problem, 256, 4, np.random.default_rng(i)) for i in range(8)]
    draws = tempering.pooled(islands)
    z, u = np.meshgrid(np.linspace(np.log(0.1), np.log(10), 2001), np.linspace(0, 1, 401))
    p = 0.5 * np.exp(-0.5 * ((np.exp(z) + u - 4.0) / 0.2) ** 2)
    log_evidence = np.log(np.mean([np.exp(island.log_evidence) for island in islands]))
    assert log_evidence == pytest.approx(np.log(p.mean()), abs=0.15)
    mean, error = tempering.island_mean(draws, draws.latent[0])
    assert 0 < error < 0.05
    assert abs(mean - (p * u).sum() / p.sum()) < 5 * error + 0.01
    assert draws.probability.sum() == pytest.approx(1.0)


def test_islands_that_agree_have_no_error() -> None:
    draws = tempering.Draws(np.ones((4, 1)), np.ones((1, 4)), np.array([0, 0, 1, 1]), np.full(4, 0.25))
    assert tempering.island_mean(draws, np.array([1.0, 3.0, 3.0, 1.0])) == (2.0, 0.0)
    assert tempering.island_mean(draws, np.array([1.0, 1.0, 3.0, 3.0])) == (2.0, 1.0)  # two islands: half their gap


def test_the_posterior_agrees_with_draws_from_the_prior() -> None:
    mdp, pairs, label = small_problem()
    found = bayes_mixture.sample(mdp, pairs, label, np.random.default_rng(0))
    n, rng = 40_000, np.random.default_rng(9)
    weights, u = posterior.draw(rng, n, 2), rng.random((LATENTS, n))
    process = condense(mdp)
    about = response_models.terms(process.mdp, process.renumbered(pairs))
    quantities = response_models.differences(about, weights, OptimalValues(process.mdp)(weights))
    log = np.log(response_models.KIND_PRIOR)[:, None] + response_models.log_likelihood(about, quantities, label, u)
    each = np.exp(log - log.max())
    p = each.sum(0) / each.sum()
    kinds, error = tempering.island_mean(found.draws, found.kinds)
    np.testing.assert_allclose(kinds, each.sum(1) / each.sum(), atol=0.03)
    assert error.max() < 0.03
    positive = (found.draws.weights > 0).T @ found.draws.probability
    np.testing.assert_allclose(positive, (weights > 0).T @ p, atol=0.05)


# --- the answer ---


def test_rules_agree_where_the_weights_are_known() -> None:
    values = OptimalValues(condense(board()).mdp)
    weights = np.tile(WEIGHTS, (8, 1)) * np.linspace(1, 2, 8)[:, None]
    found = decisions.choices(values, weights, np.full(8, 1 / 8), np.random.default_rng(0))
    for rule in decisions.RULES:
        chosen = decisions.pick(found, rule)
        assert chosen.expected == pytest.approx(1.0)
        np.testing.assert_allclose(chosen.weights / np.abs(chosen.weights).max(), WEIGHTS / 50, atol=1e-9)


def test_rules_weigh_what_may_go_wrong() -> None:
    """Road may be good or bad: by expected clipped score one stays out, by expected score one goes home."""
    values = OptimalValues(condense(board()).mdp)
    other = WEIGHTS * np.array([-1, 1, 1, 1, 1, 1])
    found = decisions.choices(values, np.stack([WEIGHTS, other]), np.array([0.25, 0.75]), np.random.default_rng(0))
    safe, bold = (decisions.pick(found, rule) for rule in ("score", "value"))
    assert found.scores[safe.place].min() > found.scores[bold.place].min()
    assert bold.expected >= max(decisions.pick(found, rule).expected for rule in decisions.RULES)
    sample = posterior.Sample(np.stack([WEIGHTS, other]), np.array([0.25, 0.75]))
    expected = posterior.bayes_weights(values, sample)
    np.testing.assert_allclose(safe.weights / np.abs(safe.weights).max(), expected / np.abs(expected).max(), atol=1e-9)


def test_draws_without_a_choice_are_left_out() -> None:
    values = OptimalValues(condense(board()).mdp)
    found = decisions.choices(values, np.zeros((3, 6)), np.full(3, 1 / 3), np.random.default_rng(0))
    assert not decisions.pick(found, "score").weights.any()
    with pytest.raises(ValueError, match="rule"):
        decisions.pick(found, "best")


# --- the learner ---


def test_it_says_what_it_believes_and_how_far_the_sampler_is_off() -> None:
    mdp, pairs, label = small_problem()
    agent = BayesMixture(gym.make(ENV, evaluation_points=(1,)), particles=128)
    found = agent.posterior(mdp, pairs, label, np.random.default_rng(0))
    beliefs = agent.beliefs(found, agent.choices(found, np.random.default_rng(0)))
    assert tuple(beliefs.kinds) == KINDS
    assert sum(kind.mean for kind in beliefs.kinds.values()) == pytest.approx(1.0)
    assert response_models.LAPSES[0] < beliefs.lapse.mean < response_models.LAPSES[1]
    assert beliefs.positive[0].mean < 0.5 < beliefs.positive[1].mean
    for one in (*beliefs.kinds.values(), beliefs.lapse, *beliefs.positive, beliefs.score):
        assert 0 <= one.error < 0.2
    crowd = agent.posterior(mdp, pairs, label, np.random.default_rng(0), person=np.arange(12) // 4)
    assert np.isnan(agent.beliefs(crowd, agent.choices(crowd, np.random.default_rng(0))).lapse.mean)
    np.testing.assert_allclose(crowd.kinds.sum(0), 1.0)


def test_the_same_seed_gives_the_same_answer() -> None:
    mdp, pairs, label = small_problem()
    agent: Any = make("bayes_mixture", gym.make(ENV, evaluation_points=(1,)), particles=64)
    first, second = (agent.estimates(mdp, pairs, label, [0, 5, 12]) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not first[0].any()
    assert np.isfinite(first).all()
    assert first[2, 1] > 0


@pytest.mark.parametrize(
    ("kwargs", "name"), [({"islands": 1}, "islands"), ({"particles": 2}, "particles"), ({"rule": "mode"}, "rule")]
)
def test_arguments_out_of_range_are_refused(kwargs: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BayesMixture(gym.make(ENV, evaluation_points=(1,)), **kwargs)


def test_people_are_integers_one_for_each_answer() -> None:
    mdp, pairs, label = small_problem()
    with pytest.raises(ValueError, match="person"):
        bayes_mixture.sample(mdp, pairs, label, np.random.default_rng(0), person=[0, 1])


@pytest.mark.parametrize("name", ["random_bayes_mixture", "value_bayes_mixture"])
def test_it_chooses_queries(name: str) -> None:
    env = gym.make("valuegym/RewardInferenceActive-v0", split="dev", evaluation_points=(1, 4), candidates=3)
    agent: Any = make(name, env, seed=1)
    observation, _ = env.reset(seed=2)
    memory, done = None, False
    while not done:
        action, memory = agent.predict(observation, memory)
        observation, reward, done, *_ = env.step(action)
    assert reward >= -1
    belief = memory[0]
    assert belief.draws.probability.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(belief.kinds.sum(0), 1.0)
    assert len(belief.labels) == 4
