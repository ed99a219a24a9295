"""Losses of dynamics models against closed forms, finite differences, bounds and invariances."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents.control import losses
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.losses import LOSSES, CriticStatistics, LossWeights, Prediction

D, K, N, M = 4, 3, 50, 2
DISCOUNT = 0.97
VALUE_AWARE = sorted(set(LOSSES) - {"mse", "nll", "value_difference"})
GRADIENT = [name for name in VALUE_AWARE if name not in ("itervaml", "calibrated")]


def draws(seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def smooth_values(seed: int = 1, k: int = K) -> Any:
    """K smooth nonlinear critics."""
    normal = draws(seed)
    first, second = normal(D, 16), normal(16, k)
    return lambda s: torch.tanh(s @ first) @ second


def linear_values(c: Any) -> Any:
    """V_k(s) = c_k . s + k, c (K, D)."""
    return lambda s: s @ c.T + torch.arange(len(c), dtype=s.dtype)


def quadratic_values(P: Any) -> Any:
    """V_k(s) = s^T P_k s / 2, P (K, D, D) symmetric."""
    return lambda s: 0.5 * torch.einsum("...i,kij,...j->...k", s, P, s)


class Case:
    """N transitions, predictions of them and critics."""

    def __init__(self, values: Any = None, seed: int = 2, terminated: bool = True, size: float = 0.3) -> None:
        normal = draws(seed)
        self.values = values or smooth_values()
        observation = normal(N, D)
        ends = torch.arange(N) % 7 == 3 if terminated else torch.zeros(N, dtype=torch.bool)
        after, reward = normal(N, D), normal(N)
        self.transitions = Transitions(observation, torch.zeros(N, 0), reward, after, ends)
        one = torch.ones((), dtype=torch.float64)
        self.units = LossWeights(normal(D).abs() + 0.5, 1.7 * one, DISCOUNT, one)
        mean = self.transitions.next_observation + size * normal(N, D)
        samples = mean + size * normal(M, N, D)
        self.prediction = Prediction(mean, self.transitions.reward + size * normal(N), 0.3 * normal(N, D + 1), samples)

    def statistics(self, **kwargs: Any) -> CriticStatistics:
        kwargs = {"hessian": True, **kwargs}
        return losses.critic_statistics(self.values, self.transitions, self.units.scale, **kwargs)

    def weights(self, name: str, **kwargs: Any) -> LossWeights:
        """The weights of a loss, with the critics, so that every loss can be evaluated under them."""
        weights = LOSSES[name].prepare(self.statistics(**kwargs), self.units, torch.Generator().manual_seed(5))
        return weights._replace(values=self.values)

    def loss(self, name: str, prediction: Prediction | None = None, weights: LossWeights | None = None) -> Any:
        """The loss of the mean prediction, or of its draws where the loss needs them."""
        prediction = self.prediction if prediction is None else prediction
        if name == "itervaml":
            prediction = prediction._replace(samples=None)
        return LOSSES[name].loss(prediction, self.transitions, self.weights(name) if weights is None else weights)

    def error(self) -> Any:
        return (self.prediction.observation - self.transitions.next_observation) / self.units.scale

    def reward_error(self) -> Any:
        return self.prediction.reward - self.transitions.reward


def close(a: Any, b: Any, rtol: float = 1e-10, atol: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


# --- derivatives ---


@pytest.mark.parametrize(
    "values", [smooth_values(), linear_values(draws(3)(K, D)), lambda s: torch.zeros(*s.shape[:-1], K, dtype=s.dtype)]
)
def test_value_gradients_and_hessians_equal_finite_differences(values: Any) -> None:
    s, h = draws(4)(6, D), 1e-5
    value, gradient = losses.value_gradients(values, s)
    close(value, values(s))
    assert gradient.shape == (6, K, D) and not gradient.requires_grad
    for d in range(D):
        step = h * torch.eye(D, dtype=torch.float64)[d]
        close(gradient[..., d], (values(s + step) - values(s - step)) / (2 * h), rtol=1e-7, atol=1e-8)
    if values(s).abs().sum() > 0:
        hessian = losses.value_hessians(values, s)
        for d in range(D):
            step = h * torch.eye(D, dtype=torch.float64)[d]
            ahead, behind = (losses.value_gradients(values, s + sign * step)[1] for sign in (1, -1))
            close(hessian[..., d], (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_the_gradient_of_every_loss_equals_finite_differences(name: str) -> None:
    case, h = Case(), 1e-6
    weights = case.weights(name)
    fields = {"nll": ("observation", "reward", "log_std"), "calibrated": ("samples", "reward")}
    for field in fields.get(name, ("observation", "reward")):
        start = getattr(case.prediction, field)
        leaf = start.clone().requires_grad_()
        case.loss(name, case.prediction._replace(**{field: leaf}), weights).sum().backward()
        direction = draws(6)(*start.shape)
        ahead, behind = (
            case.loss(name, case.prediction._replace(**{field: start + sign * h * direction}), weights).sum()
            for sign in (1, -1)
        )
        assert leaf.grad is not None
        close((leaf.grad * direction).sum(), (ahead - behind) / (2 * h), rtol=1e-6, atol=1e-6)


# --- closed forms ---


def test_a_linear_critic_in_closed_form() -> None:
    c = draws(3)(K, D)
    case = Case(linear_values(c), terminated=False)
    delta, g = case.prediction.observation - case.transitions.next_observation, c * case.units.scale
    norms = g.norm(dim=-1)
    statistics = case.statistics()
    close(statistics.gradient, g.expand(N, K, D))  # clipping changes nothing where all norms are equal
    close(statistics.gradient.norm(dim=-1), norms.expand(N, K))
    unit = DISCOUNT**2 * D**2 * g.square().mean()
    reward = case.reward_error().square()
    taylor = (reward + DISCOUNT**2 * (delta @ c.T).square().mean(-1)) / unit
    close(case.loss("vagram_taylor"), taylor)
    close(case.loss("itervaml"), taylor)  # the expansion is exact
    diagonal = (reward + DISCOUNT**2 * D * (c.square().mean(0) * delta.square()).sum(-1)) / unit
    close(case.loss("vagram"), diagonal)
    close(case.loss("vagram_mean"), diagonal)
    close(case.loss("second_order"), 2 * diagonal - reward / unit)
    for name in ("vagram_matrix", "vagram_shrunk"):
        trace = DISCOUNT**2 * g.square().mean(0).sum()
        close(case.loss(name), taylor * unit / trace)


def test_a_constant_gradient_of_ones_reduces_vagram_to_squared_error() -> None:
    case = Case(linear_values(torch.ones(K, D, dtype=torch.float64)), terminated=False)
    case.units = case.units._replace(scale=torch.ones(D, dtype=torch.float64))
    exact = case.prediction._replace(reward=case.transitions.reward)
    for name in ("vagram", "vagram_mean", "shuffled"):
        close(case.loss(name, exact), case.loss("mse", exact))
    close(
        case.loss("vagram") - case.loss("vagram", exact), case.reward_error().square() / (DISCOUNT**2 * D**2)
    )  # rewards weigh as in the Bellman target


def test_squared_error_and_likelihood_in_closed_form() -> None:
    case = Case()
    e, e_r = case.error(), case.reward_error() / case.units.reward_scale
    close(case.loss("mse"), e.square().mean(-1) + e_r.square())
    normal = torch.distributions.Normal(0.0, torch.exp(case.prediction.log_std))
    terms = -normal.log_prob(torch.cat([e, e_r[:, None]], -1)) - 0.5 * np.log(2 * np.pi)
    close(case.loss("nll"), terms[:, :-1].mean(-1) + terms[:, -1])


def test_a_quadratic_critic_is_within_the_bound_to_second_order() -> None:
    A = draws(8)(K, D, D)
    case = Case(quadratic_values(A + A.mT), terminated=False, size=1.0)
    statistics = case.statistics(quantile=1.0)
    close(statistics.hessian, ((A + A.mT) * case.units.scale[:, None] * case.units.scale).expand(N, K, D, D))
    weights = LOSSES["second_order"].prepare(statistics, case.units, None)
    exact = case.loss("itervaml", weights=weights._replace(target_value=statistics.value, values=case.values))
    assert (case.loss("second_order", weights=weights) >= exact).all()
    # where the gradient vanishes and the Hessian is c times the identity, the quartic is n/2 c**2 sum_j e_j**4
    c = 1.3
    flat = weights._replace(
        diagonal=torch.zeros(N, D).double(),
        curvature=torch.full((N, K, D), c, dtype=torch.float64),
        axes=torch.eye(D).double().expand(N, K, D, D),
    )
    expected = (
        case.reward_error().square() + DISCOUNT**2 * D / 2 * c**2 * case.error().pow(4).sum(-1)
    ) / weights.normaliser
    close(case.loss("second_order", weights=flat), expected)


def test_the_value_difference_weights_whole_samples() -> None:
    case = Case()
    alive = ~case.transitions.terminated
    change = (case.values(case.transitions.next_observation) - case.values(case.transitions.observation)).abs().mean(-1)
    weight = change / change[alive].mean()
    expected = weight * case.error().square().mean(-1) + (case.reward_error() / case.units.reward_scale).square()
    close(case.loss("value_difference"), expected)


# --- bounds and expectations ---


@pytest.mark.parametrize("seed", range(5))
def test_the_diagonal_form_bounds_the_taylor_form(seed: int) -> None:
    case = Case(smooth_values(seed), seed=seed)
    assert (case.loss("vagram") >= case.loss("vagram_taylor") - 1e-12).all()
    g = case.statistics().gradient
    e = 1 / g[:, 0]  # all g_d e_d alike: equality for one critic
    weights, one = case.weights("vagram"), g[:, :1]
    weights = weights._replace(diagonal=losses.diagonal_weight(one), gradient=one)
    tight = case.prediction._replace(observation=case.transitions.next_observation + e * case.units.scale)
    close(case.loss("vagram", tight, weights), case.loss("vagram_taylor", tight, weights))


def test_the_matrix_is_the_taylor_form_on_average() -> None:
    """Over all pairings of errors and gradients, that is where they are independent."""
    case = Case(terminated=False)
    g, e = case.statistics().gradient, case.error()
    taylor = torch.einsum("ikd,jd->ijk", g, e).square().mean()
    W = losses.second_moment(g)
    close(torch.einsum("jd,de,je->j", e, W, e).mean(), taylor)


def test_calibrated_is_unbiased_where_itervaml_adds_the_variance() -> None:
    case = Case(terminated=False)
    exact = case.prediction._replace(reward=case.transitions.reward)
    unit = case.weights("calibrated").normaliser
    error = case.values(case.prediction.samples) - case.values(case.transitions.next_observation)
    close(case.loss("calibrated", exact) * unit, DISCOUNT**2 * (error[0] * error[1]).mean(-1))  # two draws: product
    many = draws(9)(20_000, 1, D) * 0.5 + exact.observation[:1]
    one = case.transitions.take(slice(1))
    weights = case.weights("calibrated").take(torch.tensor([0]))
    prediction = Prediction(exact.observation[:1], exact.reward[:1], None, many)
    v = case.values(many)[:, 0] - case.values(one.next_observation)[0]
    close(
        losses.calibrated(prediction, one, weights)[0] * unit,
        DISCOUNT**2 * (v.mean(0).square() - v.var(0) / len(v)).mean(),
    )
    naive = losses.itervaml(prediction, one, weights)[0] * unit / DISCOUNT**2
    close(naive, (v.mean(0).square() + v.var(0, correction=0)).mean())


# --- weights ---


@pytest.mark.parametrize("name", GRADIENT)
def test_a_dimension_that_critics_ignore_has_weight_zero(name: str) -> None:
    blind = smooth_values()
    case = Case(lambda s: blind(s * torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=s.dtype)))
    moved = case.prediction.observation.clone()
    moved[:, 2] += 100.0
    before, after = case.loss(name), case.loss(name, case.prediction._replace(observation=moved))
    if name == "shuffled":  # the control moves the zeros elsewhere
        assert not torch.allclose(before, after)
    else:
        close(before, after, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_the_critics_does_not_matter(name: str) -> None:
    values = smooth_values()
    turned = Case(lambda s: values(s)[..., [2, 0, 1]])
    close(Case(values).loss(name), turned.loss(name))


@pytest.mark.parametrize("name", ["vagram", "vagram_taylor", "itervaml", "calibrated", "second_order"])
def test_changing_another_sample_never_changes_my_weight(name: str) -> None:
    case, other = Case(), Case()
    other.transitions.next_observation[1:] += draws(11)(N - 1, D)
    other.transitions.observation[1:] -= 1.0
    mine, theirs = (c.weights(name, quantile=1.0).take(torch.tensor([0])).rows for c in (case, other))
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        assert a is None or torch.equal(a, b)


def test_rows_are_read_by_the_number_of_their_transition() -> None:
    """Ensemble members with other bootstrap samples, and validation data, meet the weights of their own samples."""
    case = Case()
    members = torch.from_numpy(np.random.default_rng(0).integers(N, size=(5, 20)))
    for name in LOSSES:
        weights = case.weights(name)
        prediction = Prediction(
            case.prediction.observation[members],
            case.prediction.reward[members],
            case.prediction.log_std[members],
            case.prediction.samples[:, members],
        )
        if name == "itervaml":
            prediction = prediction._replace(samples=None)
        found = LOSSES[name].loss(prediction, case.transitions.take(members), weights.take(members))
        close(found, case.loss(name, weights=weights)[members])


def test_gradients_do_not_accumulate_over_critics_or_calls() -> None:
    c = draws(3)(K, D)
    parameter = torch.nn.Parameter(c.clone())
    values = lambda s: s @ parameter.T  # noqa: E731
    for _ in range(2):
        close(losses.value_gradients(values, draws(0)(7, D))[1], c.expand(7, K, D))
    assert parameter.grad is None


def test_clipping_clips() -> None:
    values = smooth_values()
    s = draws(12)(1000, D)
    transitions = Transitions(s, s[:, :0], s[:, 0], s, torch.zeros(1000, dtype=torch.bool))
    scale = torch.ones(D, dtype=torch.float64)
    free = losses.critic_statistics(values, transitions, scale, quantile=1.0).gradient
    clipped = losses.critic_statistics(values, transitions, scale).gradient
    changed = (free - clipped).norm(dim=-1) > 1e-9
    assert (changed.sum(0) == 50).all()  # five in a hundred, for each critic on its own
    close(clipped.norm(dim=-1).amax(0), losses.norm_limit(free))
    close(torch.nn.functional.cosine_similarity(free, clipped, dim=-1), torch.ones(1000, K, dtype=torch.float64))
    training = torch.arange(1000) < 100  # the limit is that of the rows for training
    both = losses.critic_statistics(values, transitions, scale, training).gradient
    close(both.norm(dim=-1).amax(0), torch.quantile(free[:100].norm(dim=-1), 0.95, dim=0))
    only = losses.critic_statistics(values, transitions.take(slice(100)), scale).gradient
    close(both[:100], only)


def test_averages_are_taken_over_training_rows_with_a_next_value() -> None:
    case = Case()
    training = torch.arange(N) < 30
    statistics = case.statistics(training=training)
    assert torch.equal(statistics.included, training & ~case.transitions.terminated)
    weight = losses.diagonal_weight(statistics.gradient)
    for name in ("vagram_mean", "vagram"):
        weights = LOSSES[name].prepare(statistics, case.units, None)
        close(weights.normaliser, DISCOUNT**2 * D**2 * weight[statistics.included].mean())
    close(LOSSES["vagram_mean"].prepare(statistics, case.units, None).diagonal[-1], weight[statistics.included].mean(0))
    with pytest.raises(ValueError, match="without termination"):
        case.statistics(training=case.transitions.terminated)


def test_normalised_weights_have_mean_one_on_the_scale_of_squared_error() -> None:
    case = Case(terminated=False)
    weights = case.weights("vagram")
    close((DISCOUNT**2 * D * weights.diagonal / weights.normaliser).mean() * D, torch.ones(()).double())
    for factor in (1e-3, 1e3):  # the unit of the reward drops out of the states' part
        scaled = Case(lambda s, f=factor: f * case.values(s), terminated=False)
        exact = case.prediction._replace(reward=case.transitions.reward)
        for name in GRADIENT:
            if name != "second_order":
                close(scaled.loss(name, exact), case.loss(name, exact), rtol=1e-8)


def test_shuffled_axes_keep_every_samples_weights_and_no_global_randomness() -> None:
    case = Case()
    before = torch.get_rng_state()
    shuffled, plain = case.weights("shuffled"), case.weights("vagram")
    close(shuffled.diagonal.sort(-1).values, plain.diagonal.sort(-1).values)
    assert (shuffled.diagonal != plain.diagonal).any(-1).double().mean() > 0.8
    close(shuffled.normaliser, plain.normaliser)
    assert torch.equal(shuffled.diagonal, case.weights("shuffled").diagonal)
    assert torch.equal(before, torch.get_rng_state())


# --- coordinates ---


def changed_coordinates(case: Case, T: Any) -> Case:
    """The same transitions, predictions and critics in coordinates s -> T s."""
    other = Case(lambda s: case.values(s @ torch.linalg.inv(T).T))
    other.transitions = case.transitions._replace(
        observation=case.transitions.observation @ T.T, next_observation=case.transitions.next_observation @ T.T
    )
    other.prediction = case.prediction._replace(
        observation=case.prediction.observation @ T.T, samples=case.prediction.samples @ T.T
    )
    other.units = case.units._replace(scale=torch.ones(D, dtype=torch.float64))
    return other


@pytest.mark.parametrize("kind", ["rotation", "any"])
def test_matrix_weights_survive_a_change_of_coordinates_and_diagonal_ones_do_not(kind: str) -> None:
    case = Case()
    case.units = case.units._replace(scale=torch.ones(D, dtype=torch.float64))
    T = draws(13)(D, D)
    if kind == "rotation":
        T = torch.linalg.qr(T).Q
    other = changed_coordinates(case, T)

    def states(c: Case, name: str) -> Any:  # unclipped: norms do depend on coordinates that are not rotated only
        loss = c.loss(name, c.prediction._replace(reward=c.transitions.reward), c.weights(name, quantile=1.0))
        return loss / loss.mean()

    for name in ("vagram_matrix", "vagram_shrunk", "vagram_agreed", "vagram_taylor", "itervaml"):
        close(states(case, name), states(other, name), rtol=1e-7)
    for name in ("vagram", "vagram_mean"):
        assert (states(case, name) / states(other, name) - 1)[~case.transitions.terminated].abs().median() > 0.05
    if kind == "rotation":  # which keeps norms, so that clipping does no harm either
        close(case.loss("vagram_matrix"), other.loss("vagram_matrix"))
        close(case.loss("mse"), other.loss("mse"))


def test_the_shrunk_form_lies_between_taylor_and_matrix() -> None:
    case = Case()
    weights, c = case.weights("vagram_shrunk"), losses.SHRINKAGE
    own, common = (LOSSES[name].loss(case.prediction, case.transitions, weights)
                   for name in ("vagram_taylor", "vagram_matrix"))  # fmt: skip
    close(case.loss("vagram_shrunk"), (1 - c) * own + c * common)


def test_what_critics_agree_on() -> None:
    normal = draws(14)
    truth = normal(200, 1, D) * torch.tensor([2.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    close(losses.agreed_moment(truth.expand(-1, 3, -1)), losses.second_moment(truth), atol=1e-9)
    noisy = truth + normal(200, 2, D)
    pairs = torch.einsum("nd,ne->de", noisy[:, 0], noisy[:, 1])
    crossed = (pairs + pairs.T) / 400
    agreed, own = losses.agreed_moment(noisy), losses.second_moment(noisy)
    assert torch.linalg.eigvalsh(agreed).min() > -1e-9
    assert torch.linalg.eigvalsh(own - agreed).min() > -1e-9  # a share of the whole in every direction
    negative = torch.linalg.eigh(crossed)[0][0]
    assert negative < 0 or torch.allclose(agreed, crossed)
    many = truth.repeat(200, 1, 1) + normal(40_000, 2, D)  # errors drop out, where the plain moment keeps them
    target = losses.second_moment(truth)
    assert (losses.agreed_moment(many) - target).abs().max() < 0.05
    close(losses.second_moment(many) - target, torch.eye(D).double(), rtol=0, atol=0.05)
    with pytest.raises(ValueError, match="at least two"):
        losses.agreed_moment(truth)


# --- masks, combinations, errors ---


@pytest.mark.parametrize("name", VALUE_AWARE)
def test_a_terminated_transition_has_no_next_value(name: str) -> None:
    case = Case()
    over = case.transitions.terminated
    assert over.any()
    weights = case.weights(name)
    close(case.loss(name, weights=weights)[over], case.reward_error()[over].square() / weights.normaliser)
    case.transitions = case.transitions._replace(terminated=torch.zeros(N, dtype=torch.bool))  # a time limit
    assert (case.loss(name, weights=weights)[over] != case.reward_error()[over].square() / weights.normaliser).all()


def test_mix_adds_weighted_squared_error() -> None:
    case = Case()
    weights = case.weights("vagram")
    mixed = losses.mix(losses.vagram, 0.1)(case.prediction, case.transitions, weights)
    close(mixed, case.loss("vagram") + 0.1 * case.loss("mse"))


def test_flat_critics_leave_the_rewards() -> None:
    case = Case(lambda s: torch.zeros(*s.shape[:-1], K, dtype=s.dtype))
    for name in VALUE_AWARE:
        if name != "second_order":
            weights = case.weights(name, hessian=False)
            close(case.loss(name, weights=weights), case.reward_error().square())


def test_missing_ingredients_are_named() -> None:
    case = Case()
    plain = Prediction(case.prediction.observation, case.prediction.reward)
    with pytest.raises(ValueError, match="Gaussian model; this one is deterministic"):
        case.loss("nll", plain)
    with pytest.raises(ValueError, match="at least two draws"):
        case.loss("calibrated", plain)
    with pytest.raises(ValueError, match="hessian=True"):
        case.weights("second_order", hessian=False)
    weights = case.weights("itervaml")._replace(values=None)
    with pytest.raises(ValueError, match="evaluates critics at predictions"):
        case.loss("itervaml", weights=weights)
    with pytest.raises(ValueError, match=r"no model loss 'vagrams'.*'vagram'"):
        losses.find("vagrams")
    assert losses.find("vagram").loss is losses.vagram
