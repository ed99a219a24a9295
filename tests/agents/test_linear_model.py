"""Linear models of low rank: the loss as a quadratic form, its minimum, and what planning with it costs."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from valuegym.agents import make
from valuegym.agents.control import linear_model, losses
from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.losses import LOSSES, CriticStatistics, LossWeights, Prediction
from valuegym.envs.control import lqr, riccati

n, m, N, K = 4, 5, 300, 3
FORMS = ("vagram", "vagram_mean", "vagram_taylor", "vagram_matrix", "vagram_agreed")


def draws(seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def units_of_one() -> LossWeights:
    one = torch.ones((), dtype=torch.float64)
    return LossWeights(torch.ones(n, dtype=torch.float64), one, 0.9, one)


def statistics_of(gradient: Any) -> CriticStatistics:
    unused = torch.zeros(N, K, dtype=torch.float64)
    return CriticStatistics(unused, unused, gradient, torch.ones(N, dtype=torch.bool))


def problem(seed: int = 0) -> tuple[Any, Any, CriticStatistics, LossWeights]:
    """Inputs, noisy targets of a linear map, statistics of quadratic critics, and units of errors."""
    normal = draws(seed)
    x = normal(N, m)
    y = x @ normal(n, m).T + 0.5 * normal(N, n)
    P = normal(K, n, n)
    gradient = torch.stack([2 * y @ (p + p.T) for p in P], 1)
    return x, y, statistics_of(gradient), units_of_one()


def close(a: Any, b: Any, rtol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("name", FORMS)
def test_the_form_is_the_loss_itself(name: str) -> None:
    """Differences of the mean of the loss between maps, without the normaliser and the factor that it is bounded by."""
    x, y, statistics, units = problem()
    weights = LOSSES[name].prepare(statistics, units, None)
    form = linear_model.form(weights, x, y)
    reward = torch.zeros(N, dtype=torch.float64)
    transitions = Transitions(x[:, :n], x[:, n:], reward, y, torch.zeros(N, dtype=torch.bool))
    factor = weights.normaliser / units.discount**2 / (n if weights.diagonal is not None else 1)
    maps = draws(1)(2, n, m)
    direct = torch.stack(
        [LOSSES[name].loss(Prediction(x @ B.T, reward), transitions, weights).mean() * factor for B in maps]
    )
    found = linear_model.loss(form, maps)
    close(found[1] - found[0], direct[1] - direct[0])


@pytest.mark.parametrize("name", FORMS)
def test_the_unrestricted_minimum_has_no_slope(name: str) -> None:
    x, y, statistics, units = problem()
    form = linear_model.form(LOSSES[name].prepare(statistics, units, None), x, y)
    B = linear_model.full(form).requires_grad_()
    linear_model.loss(form, B).backward()
    assert B.grad.abs().max() < 1e-6 * form.C.abs().max()
    for rank in (n, n + 3):
        close(linear_model.reduced_rank(form, rank), B.detach(), rtol=1e-6)


def test_squared_error_of_low_rank_is_reduced_rank_regression() -> None:
    x, y, _, _ = problem()
    weights = units_of_one()._replace(diagonal=torch.ones(N, n, dtype=torch.float64))
    form = linear_model.form(weights, x, y)
    least = torch.linalg.lstsq(x, y).solution.T
    axes = torch.linalg.svd(x @ least.T, full_matrices=False)[2][:2]  # principal axes of the fitted values
    found = linear_model.reduced_rank(form, 2)
    close(found, axes.T @ axes @ least, rtol=1e-7)
    close(linear_model.low_rank(form, 2), found, rtol=1e-5)  # already the minimum


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("rank", [1, 2])
def test_low_rank_fits_are_minima(name: str, rank: int) -> None:
    x, y, statistics, units = problem()
    form = linear_model.form(LOSSES[name].prepare(statistics, units, None), x, y)
    start, B = linear_model.reduced_rank(form, rank), linear_model.low_rank(form, rank, steps=2000)
    assert torch.linalg.svdvals(B)[rank:].max() < 1e-8
    assert linear_model.loss(form, B) <= linear_model.loss(form, start) + 1e-9
    if name in ("vagram_mean", "vagram_matrix", "vagram_agreed"):
        close(linear_model.loss(form, B), linear_model.loss(form, start), rtol=1e-6)
    # no nearby factors do better
    U, s, V = torch.linalg.svd(B)
    left, right = (U[:, :rank] * s[:rank]).requires_grad_(), V[:rank].clone().requires_grad_()
    linear_model.loss(form, left @ right).backward()
    scale = float(linear_model.loss(form, B).abs())
    assert max(float(left.grad.abs().max()), float(right.grad.abs().max())) < 1e-3 * scale


def test_several_systems_are_fitted_as_one_by_one() -> None:
    forms = []
    for seed in range(3):
        x, y, statistics, units = problem(seed)
        forms.append(linear_model.form(LOSSES["vagram"].prepare(statistics, units, None), x, y))
    stacked = linear_model.Form(*(torch.stack(parts) for parts in zip(*forms, strict=True)))
    found = linear_model.low_rank(stacked, 2)
    for i, form in enumerate(forms):
        close(found[i], linear_model.low_rank(form, 2), rtol=1e-6)


@pytest.mark.parametrize("name", [*FORMS, "vagram_shrunk"])
def test_moments_give_the_form_of_quadratic_values(name: str) -> None:
    """The same as from the gradients of every sample, for several systems at once."""
    normal = draws(4)
    x = normal(2, N, m)
    y = x @ normal(2, m, n) + 0.5 * normal(2, N, n)
    P = normal(2, K, n, n)
    P = P + P.mT
    found = linear_model.value_form(name, linear_model.moments(x, y), P)
    for i in range(2):
        gradient = torch.stack([-2 * y[i] @ p for p in P[i]], 1)
        weights = LOSSES[name].prepare(statistics_of(gradient), units_of_one(), None)
        if name == "vagram_shrunk":
            parts = [
                linear_model.form(weights._replace(**{field: None}), x[i], y[i]) for field in ("matrix", "gradient")
            ]
            direct = linear_model.Form(*((a + b) / 2 for a, b in zip(*parts, strict=True)))
        else:
            direct = linear_model.form(weights, x[i], y[i])
        for a, b in zip(found, direct, strict=True):
            close(a[i], b)


def test_losses_without_a_quadratic_form_are_refused() -> None:
    with pytest.raises(ValueError, match="no form for quadratic values"):
        linear_model.value_form(
            "itervaml", linear_model.moments(torch.ones(2, m), torch.ones(2, n)), torch.ones(1, n, n)
        )


def test_loss_weights_without_weights_are_refused() -> None:
    x, y, _, _ = problem()
    with pytest.raises(ValueError, match="hold neither diagonal nor gradient nor matrix"):
        linear_model.form(units_of_one(), x, y)


# --- values ---


def test_the_value_from_data_is_that_of_the_lyapunov_equation() -> None:
    parameters = lqr.Parameters(distractors=2, noise=0.0, distractor_scale=0.0)
    system = lqr.system(parameters)
    rng = np.random.default_rng(0)
    s, u = rng.standard_normal((200, 4)), rng.standard_normal((200, 1))
    y = s @ system.A.T + u @ system.B.T
    cost = np.einsum("ni,ij,nj->n", s, system.Q, s) + np.einsum("ni,ij,nj->n", u, system.R, u)
    gain = np.array([[1.0, 1.5, 0.0, 0.0]])
    arrays = [torch.from_numpy(a) for a in (s, u, cost, y, gain)]
    H = linear_model.action_cost(*arrays, system.discount)
    P = linear_model.state_cost(H, arrays[4]).numpy()
    np.testing.assert_allclose(P, riccati.cost_of(system, gain).P, rtol=1e-7, atol=1e-7)
    assert riccati.optimal(system).P[0, 0] < P[0, 0]


def test_the_gradient_of_the_value_is_that_of_autograd() -> None:
    best = riccati.optimal(lqr.system(lqr.Parameters(distractors=3, rotated=True)))
    P = torch.from_numpy(best.P)
    s = draws(3)(20, 5)
    value, gradient = losses.value_gradients(lambda z: -(z @ P * z).sum(-1, keepdim=True), s)
    np.testing.assert_allclose(gradient[:, 0], -riccati.gradient(best, s.numpy()), rtol=1e-6)
    np.testing.assert_allclose(value[:, 0], -riccati.cost(best._replace(offset=np.zeros(())), s.numpy()), rtol=1e-9)


# --- the agent ---


@pytest.mark.parametrize("loss", ["vagram_matrix", "vagram_agreed", "vagram", "vagram_taylor", "mse"])
def test_the_agent_plays_like_the_oracle_without_distractors(loss: str) -> None:
    env = gym.make("valuegym/LQR-v0")
    agent: Any = make("lqr_model_based", env, seed=1, loss=loss).learn(400)
    gain = env.unwrapped.core.solve()[1] / env.unwrapped.core.parameters.max_force  # type: ignore[attr-defined]
    np.testing.assert_allclose(agent.gain, gain, rtol=0.02, atol=1e-3)
    observation, _ = env.reset(seed=3)
    action, _ = agent.predict(observation)
    assert env.action_space.contains(action)
    assert agent.predict(np.stack([observation, observation]))[0].shape == (2, 1)


def test_the_agent_says_what_it_can_play() -> None:
    with pytest.raises(ValueError, match="flat boxes"):
        make("lqr_model_based", gym.make("valuegym/Delivery-v0"))
    with pytest.raises(ValueError, match=r"loss is .nll.; expected one of"):
        make("lqr_model_based", gym.make("valuegym/LQR-v0"), loss="nll")
