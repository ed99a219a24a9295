"""Segments, preference models and annotators: the identities behind them, and choice rules against direct formulas."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.mdp import TabularMDP
from valuegym.envs.preference import annotators, models
from valuegym.envs.preference.models import (
    BradleyTerry,
    Choice,
    Lapse,
    Noiseless,
    Noisy,
    PartialReturn,
    Regret,
    ThreeWeights,
    Thurstone,
)
from valuegym.envs.preference.segments import Segment, follow

close = np.testing.assert_allclose
DISCOUNT = 0.97
B, S, A, D, PAIRS = 3, 9, 3, 4, 200


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def process(seed: int = 0, features: np.ndarray | None = None, discount: float = DISCOUNT) -> TabularMDP:
    rng = np.random.default_rng(seed)
    next_state, drawn = rng.integers(S, size=(B, S, A)), rng.normal(size=(B, S, A, D))
    terminal = np.zeros((B, S), bool)
    terminal[:, -2:] = True
    start = np.where(terminal, 0.0, 1 / (S - 2))
    return TabularMDP(drawn if features is None else features, terminal, start, discount, next_state=next_state)


def random_segments(mdp: TabularMDP, L: int, seed: int = 0) -> Segment:
    """Pairs (B, PAIRS, 2) that start anywhere, terminal states too."""
    rng = np.random.default_rng(seed)
    return follow(mdp, rng.integers(S, size=(B, PAIRS, 2)), rng.integers(A, size=(B, PAIRS, 2, L)))  # type: ignore[arg-type]


def weights(seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, 1]).normal(size=(B, D))


def at(table: np.ndarray, states: np.ndarray, *actions: np.ndarray) -> np.ndarray:
    return table[(np.arange(B).reshape(B, *(1,) * (states.ndim - 1)), states, *actions)]


# --- segments ---


def test_follow_walks_one_step_at_a_time() -> None:
    mdp, L = process(), 5
    rng = np.random.default_rng(3)
    starts, actions = rng.integers(S, size=(B, PAIRS)), rng.integers(A, size=(B, PAIRS, L))
    kept = starts.copy(), actions.copy()
    whole = follow(mdp, starts, actions)  # type: ignore[arg-type]
    assert (starts == kept[0]).all() and (actions == kept[1]).all()
    assert whole.states.shape == (B, PAIRS, L + 1) and whole.actions.shape == whole.mask.shape == (B, PAIRS, L)
    assert whole.features.shape == (B, PAIRS, L, D) and whole.mask.dtype == np.bool_
    assert mdp.next_state is not None
    for b in range(B):
        for n in range(PAIRS):
            state = starts[b, n]
            for t in range(L):
                running = state < S - 2
                action = actions[b, n, t] if running else 0
                assert (whole.states[b, n, t], whole.actions[b, n, t], whole.mask[b, n, t]) == (state, action, running)
                assert (whole.features[b, n, t] == (mdp.features[b, state, action] if running else 0)).all()
                state = mdp.next_state[b, state, action] if running else state
            assert whole.states[b, n, L] == state
    assert 0.2 < whole.mask.mean() < 0.9


# --- statistics ---


@pytest.mark.parametrize("L", [1, 3, 8])
def test_partial_return_is_the_discounted_sum_of_rewards(L: int) -> None:
    mdp, w = process(), weights()
    pairs = random_segments(mdp, L)
    rewards = np.einsum("bnkld,bd->bnkl", pairs.features, w)
    expected = (rewards * DISCOUNT ** np.arange(L)).sum(-1)
    close(models.partial_return(pairs.features, w[:, None, None], DISCOUNT), expected, atol=1e-12)
    close(PartialReturn().utility(models.solve(mdp, w), pairs, DISCOUNT), expected, atol=1e-12)
    close(models.discounted_sum(rewards, 1.0), rewards.sum(-1), atol=1e-12)
    first = np.zeros(L)
    first[-1] = 1
    assert models.discounted_sum(first, 0.5) == 0.5 ** (L - 1)


@pytest.mark.parametrize("discount", [0.5, 0.97, 0.999])
@pytest.mark.parametrize("L", [1, 3, 8])
def test_regret_telescopes_when_transitions_are_deterministic(L: int, discount: float) -> None:
    mdp, w = process(discount=discount), weights()
    solved, pairs = models.solve(mdp, w), random_segments(mdp, L)
    ends = [at(solved.values, pairs.states[..., t]) for t in (0, -1)]
    partial_return = PartialReturn().utility(solved, pairs, discount)
    close(-Regret().utility(solved, pairs, discount), ends[0] - (partial_return + discount**L * ends[1]), atol=1e-8)


def test_regret_is_the_discounted_loss_of_advantage() -> None:
    mdp = process()
    solved, pairs = models.solve(mdp, weights()), random_segments(mdp, 4)
    states = pairs.states[..., :-1]
    advantage = at(tabular.advantages(solved.values, solved.action_values), states, pairs.actions)
    expected = -(advantage * DISCOUNT ** np.arange(4)).sum(-1)
    close(
        models.regret(at(solved.values, states), at(solved.action_values, states, pairs.actions), DISCOUNT),
        expected,
        atol=1e-12,
    )
    close(Regret().utility(solved, pairs, DISCOUNT), -expected, atol=1e-12)
    assert Regret().utility(solved, pairs, DISCOUNT).shape == (B, PAIRS, 2)


def test_regret_is_never_negative_and_zero_for_optimal_segments() -> None:
    mdp = process()
    solved = models.solve(mdp, weights())
    assert (Regret().utility(solved, random_segments(mdp, 6), DISCOUNT) <= 1e-10).all()
    states = np.tile(np.arange(S), (B, 1))
    actions: list[np.ndarray] = []
    here = states
    for _ in range(6):
        actions.append(at(solved.action_values.argmax(-1), here))
        assert mdp.next_state is not None
        here = at(mdp.next_state, here, actions[-1])
    best = follow(mdp, states, np.stack(actions, -1))  # type: ignore[arg-type]
    close(Regret().utility(solved, best, DISCOUNT), 0, atol=1e-10)
    worst = follow(mdp, states[:, : S - 2], at(solved.action_values.argmin(-1), states)[:, : S - 2, None])  # type: ignore[arg-type]
    assert (Regret().utility(solved, worst, DISCOUNT) < -1e-3).all()


def test_regret_with_chance_depends_on_decisions_only() -> None:
    rng = np.random.default_rng(0)
    start = np.full((B, S), 1 / S)
    law = rng.dirichlet(np.full(S, 0.4), size=(B, S, A))
    mdp = TabularMDP(rng.normal(size=(B, S, A, D)), np.zeros((B, S), bool), start, 0.9, probability=law)
    solved = models.solve(mdp, weights())
    states, actions = rng.integers(S, size=(B, 50, 4)), rng.integers(A, size=(B, 50, 3))
    segments = Segment(states, actions, rng.normal(size=(B, 50, 3, D)), np.ones((B, 50, 3), bool))
    regret = -Regret().utility(solved, segments, 0.9)
    assert (regret >= -1e-10).all() and regret.max() > 1
    lucky = segments._replace(states=np.concatenate([states[..., :-1], rng.integers(S, size=(B, 50, 1))], -1))
    assert (-Regret().utility(solved, lucky, 0.9) == regret).all()


def test_regret_ignores_potential_shaping_and_partial_return_does_not() -> None:
    plain, w = process(), weights()
    potential = 5 * np.random.default_rng(9).normal(size=(B, S))
    potential[plain.terminal] = 0
    assert plain.next_state is not None
    shaping = DISCOUNT * tabular.expected_next(plain, potential) - potential[..., None]
    features = tabular.reward(plain, w)[..., None] + shaping[..., None]
    shaped, one = process(features=features), np.ones((B, 1))
    pairs, shaped_pairs = random_segments(plain, 3), random_segments(shaped, 3)
    assert (pairs.states == shaped_pairs.states).all() and (pairs.actions == shaped_pairs.actions).all()
    a, b = models.solve(plain, w), models.solve(shaped, one)
    close(b.values, a.values - potential, atol=1e-9)
    close(Regret().utility(b, shaped_pairs, DISCOUNT), Regret().utility(a, pairs, DISCOUNT), atol=1e-9)
    change = PartialReturn().utility(b, shaped_pairs, DISCOUNT) - PartialReturn().utility(a, pairs, DISCOUNT)
    expected = DISCOUNT**3 * at(potential, pairs.states[..., -1]) - at(potential, pairs.states[..., 0])
    close(change, expected, atol=1e-9)
    assert abs(change).max() > 1


@pytest.mark.parametrize("discount", [0.5, 0.97, 0.999])
@pytest.mark.parametrize("L", [1, 3, 8])
def test_three_weights_hold_the_published_models(L: int, discount: float) -> None:
    mdp, w = process(discount=discount), weights()
    solved, pairs = models.solve(mdp, w), random_segments(mdp, L)
    earned, start, end = (
        PartialReturn().utility(solved, pairs, discount),
        at(solved.values, pairs.states[..., 0]),
        discount**L * at(solved.values, pairs.states[..., -1]),
    )
    close(
        models.DETERMINISTIC_REGRET.utility(solved, pairs, discount),
        Regret().utility(solved, pairs, discount),
        atol=1e-8,
    )
    close(models.END_STATE.utility(solved, pairs, discount), end, atol=1e-12)
    close(models.PARTIAL_RETURN_AND_END_VALUE.utility(solved, pairs, discount), earned + end, atol=1e-12)
    close(ThreeWeights(1.0, 0.0, 0.0).utility(solved, pairs, discount), earned, atol=1e-12)
    general = ThreeWeights(0.3, 0.2, 0.5).utility(solved, pairs, discount)
    close(general, 0.3 * earned - 0.2 * start + 0.5 * end, atol=1e-12)


def test_deterministic_regret_sees_random_outcomes_where_regret_does_not() -> None:
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.full(S, 0.4), size=(B, S, A))
    mdp = TabularMDP(
        rng.normal(size=(B, S, A, D)), np.zeros((B, S), bool), np.full((B, S), 1 / S), 0.9, probability=law
    )
    solved = models.solve(mdp, weights())
    states, actions = rng.integers(S, size=(B, 50, 4)), rng.integers(A, size=(B, 50, 3))
    segments = Segment(states, actions, rng.normal(size=(B, 50, 3, D)), np.ones((B, 50, 3), bool))
    lucky = segments._replace(states=np.concatenate([states[..., :-1], rng.integers(S, size=(B, 50, 1))], -1))
    published = models.DETERMINISTIC_REGRET
    assert (published.utility(solved, lucky, 0.9) != published.utility(solved, segments, 0.9)).any()


@pytest.mark.parametrize("temperature", [0.2, 1.0, 4.0])
def test_soft_advantage_is_the_log_probability_of_the_soft_policy(temperature: float) -> None:
    mdp, w = process(), weights()
    solved, pairs = models.solve(mdp, w, temperature), random_segments(mdp, 4)
    log_policy = tabular.advantages(solved.values, solved.action_values) / temperature
    chance = np.exp(log_policy)[~mdp.terminal]
    close(chance.sum(-1), 1, rtol=1e-9)
    expected = temperature * np.where(pairs.mask, at(log_policy, pairs.states[..., :-1], pairs.actions), 0.0)
    close(Regret().utility(solved, pairs, DISCOUNT), (expected * DISCOUNT ** np.arange(4)).sum(-1), atol=1e-9)
    assert (Regret().utility(solved, pairs, DISCOUNT) <= 1e-9).all()


def test_soft_advantage_cools_down_to_regret() -> None:
    mdp, w = process(), weights()
    pairs = random_segments(mdp, 3)
    cold, exact = (Regret().utility(models.solve(mdp, w, t), pairs, DISCOUNT) for t in (1e-7, 0.0))
    close(cold, exact, atol=1e-4)


def test_padding_counts_for_nothing() -> None:
    mdp = process()
    solved, long = models.solve(mdp, weights()), random_segments(mdp, 9)
    over = ~long.mask[..., 4]  # ended within 4 steps
    assert over.any()
    short = Segment(long.states[..., :5], long.actions[..., :4], long.features[..., :4, :], long.mask[..., :4])
    for statistic in (PartialReturn(), Regret()):
        close(
            statistic.utility(solved, short, DISCOUNT)[over],
            statistic.utility(solved, long, DISCOUNT)[over],
            atol=1e-12,
        )


def test_utilities_do_not_depend_on_the_batch() -> None:
    mdp, w = process(), weights()
    solved, pairs = models.solve(mdp, w), random_segments(mdp, 3)
    for statistic in (PartialReturn(), Regret()):
        whole = statistic.utility(solved, pairs, DISCOUNT)
        for b in range(B):
            part = models.SolvedReward(*(field[b : b + 1] for field in solved))
            alone = statistic.utility(part, Segment(*(field[b : b + 1] for field in pairs)), DISCOUNT)
            assert alone.tobytes() == whole[b].tobytes()


# --- choice rules ---

DIFFERENCES = np.array([-3.0, -0.5, -1e-9, 0.0, 1e-9, 0.25, 2.0, 30.0])


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
def test_bradley_terry_is_the_logistic_model(temperature: float) -> None:
    model, x = BradleyTerry(temperature), DIFFERENCES / temperature
    close(model.probability(DIFFERENCES), 1 / (1 + np.exp(-x)), rtol=1e-9, atol=1e-15)
    close(model.probability(DIFFERENCES) + model.probability(-DIFFERENCES), 1, rtol=1e-15)
    assert (np.diff(model.probability(np.linspace(-3, 3, 50) * temperature)) > 0).all()
    assert model.probability(np.zeros(1)) == 0.5
    assert model.probability(np.array([temperature]))[0] == pytest.approx(0.7310585786300049)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 7.0])
@pytest.mark.parametrize("label", [0.0, 0.3, 0.5, 1.0])
def test_cross_entropy_is_that_of_the_probability(temperature: float, label: float) -> None:
    model, x = BradleyTerry(temperature), np.linspace(-2, 2, 41) * temperature
    p = 1 / (1 + np.exp(-x / temperature))
    close(model.cross_entropy(x, label), -(label * np.log(p) + (1 - label) * np.log(1 - p)), rtol=1e-12)
    close(model.cross_entropy(-x, 1 - label), model.cross_entropy(x, label), rtol=1e-12, atol=1e-15)
    assert (model.cross_entropy(x, label) >= -1e-15).all()


def test_the_best_constant_answer_is_the_mean_label() -> None:
    labels, x = np.array([1, 1, 0, 0.5, 1.0]), np.linspace(-3, 3, 6001)
    loss = BradleyTerry().cross_entropy(x[:, None], labels).mean(-1)
    assert BradleyTerry().probability(x[loss.argmin()]) == pytest.approx(labels.mean(), abs=1e-3)


def test_extreme_differences_stay_finite() -> None:
    model, extreme = BradleyTerry(), np.array([-1e300, -1e5, -745.0, -50.0, 50.0, 745.0, 1e5, 1e300])
    assert (model.probability(extreme)[[0, 1, -2, -1]] == [0, 0, 1, 1]).all()
    for label in (0.0, 0.5, 1.0):
        assert np.isfinite(model.cross_entropy(extreme, label)).all()
    close(model.cross_entropy(extreme, (extreme > 0).astype(float)), 0, atol=1e-20)
    close(model.cross_entropy(np.array([1e5, 1e300]), 0.0), [1e5, 1e300], rtol=1e-15)
    assert model.cross_entropy(np.array([-50.0]), 0.0)[0] == pytest.approx(np.exp(-50), rel=1e-6)  # not rounded to 0


def test_bradley_terry_answers_as_often_as_it_says() -> None:
    model, n = BradleyTerry(2.0), 100_000
    for difference in (-3.0, 0.0, 0.7, 5.0):
        answers = model.label(np.full(n, difference), keys.uniform(keys.mix(1, np.arange(n)), 0))
        assert answers.dtype == np.float64 and set(np.unique(answers)) <= {0.0, 1.0}
        p = 1 / (1 + np.exp(-difference / 2))
        assert abs(answers.mean() - p) < 5 * np.sqrt(p * (1 - p) / n)
    ends = np.array([0.0, 1 - 2.0**-53])
    assert model.label(np.full(2, 1e9), ends).tolist() == [1, 1]
    assert model.label(np.full(2, -1e9), ends).tolist() == [0, 0]


@pytest.mark.parametrize("band", [1e-6, 0.0, 2.0])
def test_noiseless_answers_same_within_its_band(band: float) -> None:
    model, step = Noiseless(band), max(band, 1e-6)
    differences = np.array([-5.0, -band - step, -band, -band / 2, 0.0, band / 2, band, band + step, 5.0])
    expected = [0, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
    assert model.probability(differences).tolist() == expected
    for draw in (0.0, 0.5, 0.999):
        assert model.label(differences, np.full(9, draw)).tolist() == expected
    assert Noiseless().tie_band == 1e-6


def test_normal_distribution_function_at_known_points() -> None:
    x = np.array([-40.0, -30.0, -29.999, -10.0, -1.959963984540054, 0.0, 1.0, 5.0, 9.0])
    expected = [-804.6084420137539, -454.32124395634327, -454.2912111961239, -53.23128515051248, np.log(0.025)]
    close(models.log_normal_cdf(x)[:5], expected, rtol=1e-8)
    close(
        models.log_normal_cdf(x)[5:],
        [np.log(0.5), -0.17275377902344988, -2.866516129637636e-07, -1.1285884059538324e-19],
    )
    fine = np.linspace(-31, -29, 2001)
    slope = np.diff(models.log_normal_cdf(fine)) / np.diff(fine)
    assert (np.abs(np.diff(slope)) < 2e-3).all() and (slope > 0).all()  # the two halves meet without a step
    assert np.isfinite(models.log_normal_cdf(np.array([-1e100, 1e100]))).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 7.0])
def test_thurstone_is_the_probit_model(scale: float) -> None:
    model, x = Thurstone(scale), np.linspace(-6, 6, 49)
    expected = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in x])
    close(model.probability(scale * x), expected, rtol=1e-12)
    close(model.probability(x) + model.probability(-x), 1, rtol=1e-12)
    close(model.probability(np.array([scale])), 0.8413447460685429, rtol=1e-12)  # one standard deviation
    for label in (0.0, 0.3, 0.5, 1.0):
        loss = model.cross_entropy(scale * x, label)
        close(loss, -(label * np.log(expected) + (1 - label) * np.log(expected[::-1])), rtol=1e-9, atol=1e-12)
        close(model.cross_entropy(-scale * x, 1 - label), loss, rtol=1e-12, atol=1e-15)
    assert np.isfinite(model.cross_entropy(np.array([-1e6, 1e6]), np.array([1.0, 0.0]))).all()


def test_thurstone_is_the_noise_of_two_segments() -> None:
    rng, n = np.random.default_rng(0), 200_000
    felt = rng.normal([0.0, 0.8], 1.0, (n, 2))
    assert (felt[:, 1] > felt[:, 0]).mean() == pytest.approx(Thurstone(2**0.5).probability(np.array(0.8)), abs=0.005)


@pytest.mark.parametrize("inner", [BradleyTerry(2.0), Thurstone(0.7)])
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.2, 1.0])
def test_lapse_mixes_with_a_uniform_answer(inner: Noisy, rate: float) -> None:
    model, x = Lapse(inner, rate), np.linspace(-4, 4, 33)
    p = (1 - rate) * inner.probability(x) + rate / 2
    close(model.probability(x), p, rtol=1e-13)
    for label in (0.0, 0.25, 0.5, 1.0):
        close(model.cross_entropy(x, label), -(label * np.log(p) + (1 - label) * np.log(1 - p)), rtol=1e-7, atol=1e-9)
    if rate:
        assert model.cross_entropy(np.array([-1e100]), 1.0)[0] == pytest.approx(-np.log(rate / 2))
    else:
        assert (model.cross_entropy(x, 1.0) == inner.cross_entropy(x, 1.0)).all()


@pytest.mark.parametrize("inner", [BradleyTerry(), Thurstone(), Noiseless(0.1)])
def test_lapse_answers_as_often_as_it_says(inner: Choice) -> None:
    model, n = Lapse(inner, 0.3), 100_000
    uniform = keys.uniform(keys.mix(1, np.arange(n)), 0)
    for difference in (-2.0, 0.7):
        answers = model.label(np.full(n, difference), uniform)
        assert set(np.unique(answers)) <= {0.0, 1.0}
        assert answers.mean() == pytest.approx(model.probability(np.array(difference)), abs=0.008)
    assert (Lapse(inner, 0.0).label(np.full(n, 0.3), uniform) == inner.label(np.full(n, 0.3), uniform)).all()


def test_lapse_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match=r"rate is 1\.5; expected a finite number from 0 to 1"):
        Lapse(BradleyTerry(), 1.5)
    with pytest.raises(ValueError, match="gives no likelihood"):
        Lapse(Noiseless(), 0.1).cross_entropy(np.zeros(1), 1.0)


# --- numpy and torch ---


def test_torch_gives_the_numbers_of_numpy() -> None:
    torch = pytest.importorskip("torch")
    mdp, w = process(), weights()
    solved, pairs = models.solve(mdp, w), random_segments(mdp, 3)
    difference = np.diff(PartialReturn().utility(solved, pairs, DISCOUNT))[..., 0]
    states = pairs.states[..., :-1]
    values, action_values = at(solved.values, states), at(solved.action_values, states, pairs.actions)
    uniform, label = np.random.default_rng(0).random((2, B, PAIRS))
    cases: list[tuple[Any, ...]] = [
        (lambda f, v: models.partial_return(f, v, DISCOUNT), pairs.features, w[:, None, None]),
        (lambda v, q: models.regret(v, q, DISCOUNT), values, action_values),
        (lambda x: models.discounted_sum(x, 0.5), values),
    ]
    for model in (
        BradleyTerry(),
        BradleyTerry(0.3),
        Noiseless(),
        Noiseless(1.0),
        Thurstone(2.0),
        Lapse(Thurstone(), 0.1),
    ):
        cases += [(model.probability, difference), (model.label, difference, uniform)]
    cases += [
        (BradleyTerry(3.0).cross_entropy, difference, label),
        (BradleyTerry().cross_entropy, 1e4 * difference, label),
        (Thurstone(0.1).cross_entropy, difference, label),
        (Lapse(BradleyTerry(0.1), 0.2).cross_entropy, difference, label),
        (lambda r, s, e: models.three_weights(r, s, e, (0.3, 0.2, 0.1)), *(values[..., i] for i in range(3))),
    ]
    for function, *arguments in cases:
        tensor = function(*map(torch.as_tensor, arguments))
        assert isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
        close(tensor.numpy(), function(*arguments), rtol=1e-12, atol=1e-12)


def test_gradients_flow_through_torch() -> None:
    torch = pytest.importorskip("torch")
    pairs, w = random_segments(process(), 3), weights()[0]
    features = torch.as_tensor(pairs.features[0])
    variable = torch.tensor(w, requires_grad=True)
    models.partial_return(features, variable, DISCOUNT).sum().backward()
    expected = (pairs.features[0] * (DISCOUNT ** np.arange(3))[:, None]).sum((0, 1, 2))
    close(variable.grad.numpy(), expected, rtol=1e-12)
    labels = np.random.default_rng(0).choice([0, 0.5, 1.0], PAIRS)

    def loss(w: np.ndarray) -> float:
        utility = models.partial_return(pairs.features[0], w, DISCOUNT)
        return float(BradleyTerry(2.0).cross_entropy(utility[:, 1] - utility[:, 0], labels).mean())

    variable = torch.tensor(w, requires_grad=True)
    utility = models.partial_return(features, variable, DISCOUNT)
    BradleyTerry(2.0).cross_entropy(utility[:, 1] - utility[:, 0], torch.as_tensor(labels)).mean().backward()
    finite = [(loss(w + h) - loss(w - h)) / 2e-6 for h in 1e-6 * np.eye(D)]
    close(variable.grad.numpy(), finite, rtol=1e-6, atol=1e-8)


def test_gradients_are_those_of_the_logistic_model_even_far_out() -> None:
    torch = pytest.importorskip("torch")
    x = torch.tensor([-800.0, -1.0, 0.0, 1.0, 800.0], dtype=torch.float64, requires_grad=True)
    label = torch.tensor([1.0, 0.0, 0.25, 0.5, 0.0], dtype=torch.float64)
    BradleyTerry().cross_entropy(x, label).sum().backward()
    close(x.grad.numpy(), BradleyTerry().probability(x.detach().numpy()) - label.numpy(), rtol=1e-12, atol=1e-15)


# --- annotators ---


def test_answer_codes_round_trip() -> None:
    labels = np.array([[0.0, 1.0], [0.5, np.nan]])
    codes = annotators.answer_codes(labels)
    assert (
        codes.tolist()
        == [[annotators.FIRST, annotators.SECOND], [annotators.SAME, annotators.CANNOT_TELL]]
        == [[0, 1], [2, 3]]
    )
    assert np.issubdtype(codes.dtype, np.integer)
    np.testing.assert_array_equal(annotators.labels(codes), labels)
    assert (annotators.answer_codes(annotators.labels(np.arange(4))) == np.arange(4)).all()


@pytest.mark.parametrize("label", [0.25, -1.0, 2.0, np.inf])
def test_labels_of_no_answer(label: float) -> None:
    with pytest.raises(ValueError, match=r"labels\[\d+\] is .*; expected 0 \(first\)"):
        annotators.answer_codes(np.array([0.0, label]))


def test_annotators_by_name() -> None:
    for name, simulated in annotators.ANNOTATORS.items():
        assert annotators.by_name(name) is simulated
        values = {"end-state", "partial-return-and-end-value", "three-weights"}
        assert isinstance(
            simulated.statistic, ThreeWeights if name in values else Regret if "regret" in name else PartialReturn
        )
        rules = {"noiseless": Noiseless, "thurstone": Thurstone, "lapse": Lapse}
        assert isinstance(simulated.choice, rules.get(name.rpartition("-")[2], BradleyTerry))
    with pytest.raises(ValueError, match=r"'oracle'.*partial-return.*regret"):
        annotators.by_name("oracle")


# --- temperatures ---


def answers(choice: models.Choice, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    difference = 5 * rng.standard_normal(n)
    return difference, np.asarray(choice.label(difference, rng.random(n)), np.float64)


RULES: dict[str, Callable[[float], models.Noisy]] = {
    "bradley-terry": models.BradleyTerry,
    "thurstone": models.Thurstone,
    "lapse": lambda temperature: models.Lapse(models.BradleyTerry(temperature), 0.1),
}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_the_temperature_of_simulated_answers_is_found(name: str, temperature: float) -> None:
    difference, label = answers(RULES[name](temperature), 20_000)
    found = models.fit_temperature(RULES[name], difference, label)
    assert found == pytest.approx(temperature, rel=0.06)
    # A minimum: the loss is higher on both sides.
    losses = [RULES[name](t).cross_entropy(difference, label).mean() for t in (0.99 * found, found, 1.01 * found)]
    assert losses[1] < min(losses[0], losses[2])
    assert models.fit_temperature(RULES[name], 7 * difference, label) == pytest.approx(7 * found, rel=1e-6)
    assert models.fit_temperature(RULES[name], -difference, 1 - label) == pytest.approx(found, rel=1e-6)


def test_one_answer_in_four_against_the_difference_has_a_closed_form() -> None:
    """All differences are x: the likeliest temperature has P(second) = the share of seconds, x / T = log(3)."""
    difference, label = np.full(8, 2.0), np.array([1.0, 1, 1, 0, 1, 1, 1, 0])
    assert models.fit_temperature(models.BradleyTerry, difference, label) == pytest.approx(2 / np.log(3), rel=1e-6)
    more = np.append(label, np.nan)
    assert models.fit_temperature(models.BradleyTerry, np.append(difference, 9), more) == pytest.approx(2 / np.log(3))
    fit = models.cross_validate_temperature(models.BradleyTerry, difference, label, np.arange(8) // 4)
    assert fit.folds == pytest.approx([2 / np.log(3)] * 2) and fit.temperature == pytest.approx(2 / np.log(3))
    assert fit.loss == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def test_answers_that_never_err_or_always_do() -> None:
    difference = np.linspace(-3, 3, 50)
    scale = np.sqrt((difference**2).mean())
    sure = models.fit_temperature(models.BradleyTerry, difference, (difference > 0) * 1.0)
    lost = models.fit_temperature(models.BradleyTerry, difference, (difference < 0) * 1.0)
    assert sure < 0.05 * scale and lost == pytest.approx(scale * models.RANGE, rel=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_no_answer_has_a_say_in_its_own_prediction(name: str) -> None:
    difference, label = answers(RULES[name](2.0), 300)
    fold = np.arange(300) % 5
    fit = models.cross_validate_temperature(RULES[name], difference, label, fold)
    other = models.cross_validate_temperature(RULES[name], difference, np.where(fold == 3, 1 - label, label), fold)
    assert fit.folds.shape == (5,) and fit.folds[3] == other.folds[3] and (fit.folds != other.folds).sum() == 4
    within = RULES[name](fit.temperature).cross_entropy(difference, label).mean()
    assert within < fit.loss < other.loss


def test_temperatures_need_answers() -> None:
    x, y = np.ones(4), np.array([0.0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"\(4,\) and labels \(3,\)"):
        models.fit_temperature(models.BradleyTerry, x, y[:3])
    with pytest.raises(ValueError, match=r"difference\[0\] is inf"):
        models.fit_temperature(models.BradleyTerry, np.inf * x, y)
    for difference, label in ((0 * x, y), (x, np.full(4, np.nan))):
        with pytest.raises(ValueError, match="no temperature fits"):
            models.fit_temperature(models.BradleyTerry, difference, label)
    with pytest.raises(ValueError, match="at least two folds"):
        models.cross_validate_temperature(models.BradleyTerry, x, y, np.zeros(4, int))
