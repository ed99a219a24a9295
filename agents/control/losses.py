"""Losses of dynamics models: tensors in, one number for every transition out.

A model predicts the next observation s^ and the reward r^ of a transition (s, a, r, s'). Every loss has the signature
`loss(prediction, transitions, weights) -> (...)`. Loss weights are computed from the critics once per refresh, with one
row for every transition, and are constants for the optimiser. Rows are read by the number of their transition
(`LossWeights.take`), so that a sample of another bootstrap or of the validation set only ever meets its own weights.

Errors are measured in units: e = (s^ - s') / scale, e_r = (r^ - r) / reward_scale. Gradients are in the same units,
g_k = scale * dV_k/ds at s', so that g_k . e is the first-order error in the value of critic k. n is the number of
dimensions of s, K the number of critics. The squared error of a Bellman target is, to first order and without the
product of its two parts,

    (r^ - r)**2 + discount**2 * [not terminated] * (g . e)**2

which every value-aware loss bounds or averages in its own way; terminated transitions have no next value, those cut
off by a time limit do. All of them are divided by a constant that gives the states' part the scale of `mse`.

Sources: Farahmand, Barreto, Nikovski (2017), value-aware model learning; Farahmand (2018), iterative value-aware model
learning; Voelcker, Liao, Garg, Farahmand (2022, arXiv 2204.01464), value-gradient weighted model learning (VaGraM);
Voelcker et al. (2025, arXiv 2505.22772), calibrated value-aware losses. `vagram_matrix`, `vagram_shrunk` and
`vagram_agreed` are our own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from valuegym.agents.control.buffer import Transitions
from valuegym.agents.control.finite import all_finite
from valuegym.agents.divergence import DivergenceError
from valuegym.envs import checks

__all__ = [
    "LOSSES",
    "CriticStatistics",
    "LossWeights",
    "ModelLoss",
    "Prediction",
    "agreed_moment",
    "calibrated",
    "clip_norm",
    "critic_statistics",
    "diagonal_weight",
    "find",
    "itervaml",
    "mix",
    "mse",
    "nll",
    "norm_limit",
    "second_moment",
    "second_order",
    "vagram",
    "vagram_matrix",
    "vagram_shrunk",
    "vagram_taylor",
    "value_difference",
    "value_gradients",
    "value_hessians",
]

Values: TypeAlias = Callable[[Tensor], Tensor]  # observations (..., D) -> values (..., K), each row on its own

CLIP = 0.95  # quantile of the norms of the gradients to which longer ones are clipped
SHRINKAGE = 0.5  # of `vagram_shrunk`
AGREED = 1e-3  # share of its weight that `agreed_moment` leaves to a direction on which critics do not agree at all


class Prediction(NamedTuple):
    """Predictions of a model for transitions, with any leading axes such as (E, B)."""

    observation: Tensor  # (..., D) predicted next observation, its mean if the model is stochastic
    reward: Tensor  # (...)
    log_std: Tensor | None = None  # (..., D + 1) of a Gaussian model, in units of scale, the reward last
    samples: Tensor | None = None  # (M, ..., D) independent draws of the next observation

    def of_members(self, members: slice) -> Prediction:
        """Return the predictions of some members of an ensemble, the first axis."""
        log_std = None if self.log_std is None else self.log_std[members]
        samples = None if self.samples is None else self.samples[:, members]
        return Prediction(self.observation[members], self.reward[members], log_std, samples)


class CriticStatistics(NamedTuple):
    """Values and their derivatives of K critics at N transitions, from which all loss weights follow."""

    value: Tensor  # (N, K) V_k(s')
    change: Tensor  # (N, K) V_k(s') - V_k(s)
    gradient: Tensor  # (N, K, D) scale * dV_k/ds at s', clipped
    included: Tensor  # (N,) bool: transitions that averages are taken over, those for training that have a next value
    hessian: Tensor | None = None  # (N, K, D, D) scale * scale * d2V_k/ds2 at s'


class LossWeights(NamedTuple):
    """Units of errors, the same for all transitions, and weights, one row for each; a loss needs some of them."""

    scale: Tensor  # (D,) unit of the error in each dimension
    reward_scale: Tensor  # () unit of the error in the reward
    discount: float
    normaliser: Tensor  # () what squared errors in value are divided by
    values: Values | None = None  # the critics, for losses that evaluate them at predictions
    # one row for each transition
    target_value: Tensor | None = None  # (..., K)
    gradient: Tensor | None = None  # (..., K, D)
    diagonal: Tensor | None = None  # (..., D)
    matrix: Tensor | None = None  # (..., D, D)
    curvature: Tensor | None = None  # (..., K, D) eigenvalues of the Hessian
    axes: Tensor | None = None  # (..., K, D, D) its eigenvectors, in columns

    @property
    def rows(self) -> tuple[Tensor | None, ...]:
        """The fields with one row for each transition."""
        return self[5:]

    def take(self, index: Tensor) -> LossWeights:
        """Return the weights of the transitions with these numbers, of any shape."""
        return LossWeights(*self[:5], *(None if field is None else field[index] for field in self.rows))


Loss: TypeAlias = Callable[[Prediction, Transitions, LossWeights], Tensor]
Prepare: TypeAlias = Callable[[CriticStatistics, LossWeights, torch.Generator | None], LossWeights]


# --- statistics of the critics ---


def value_gradients(values: Values, observation: Tensor) -> tuple[Tensor, Tensor]:
    """Return values V_k(s) (..., K) and their gradients dV_k/ds (..., K, D), each critic's own.

    Nothing is written to the parameters of the critics.
    """
    with torch.enable_grad():
        s = observation.detach().requires_grad_()
        v = values(s)
        if not v.requires_grad:  # constant critics
            return v, torch.zeros(*v.shape, s.shape[-1], dtype=s.dtype, device=s.device)
        gradients = [
            torch.autograd.grad(v[..., k].sum(), s, retain_graph=True, materialize_grads=True)[0]
            for k in range(v.shape[-1])
        ]
    return v.detach(), torch.stack(gradients, -2)


def value_hessians(values: Values, observation: Tensor) -> Tensor:
    """Return second derivatives d2V_k/ds2 (..., K, D, D).

    They are zero almost everywhere for critics of rectified linear units.
    """
    with torch.enable_grad():
        s = observation.detach().requires_grad_()
        v = values(s)
        hessians = []
        for k in range(v.shape[-1]):
            (gradient,) = torch.autograd.grad(v[..., k].sum(), s, create_graph=True, materialize_grads=True)
            if gradient.requires_grad:
                rows = [
                    torch.autograd.grad(gradient[..., d].sum(), s, retain_graph=True, materialize_grads=True)[0]
                    for d in range(s.shape[-1])
                ]
            else:  # a linear critic
                rows = [torch.zeros_like(s) for _ in range(s.shape[-1])]
            hessians.append(torch.stack(rows, -2))
    return torch.stack(hessians, -3)


def norm_limit(gradient: Tensor, quantile: float = CLIP) -> Tensor:
    """Return the quantile (K,) of the norms of each critic's gradients (N, K, D)."""
    return torch.quantile(gradient.norm(dim=-1), quantile, dim=0)


def clip_norm(gradient: Tensor, limit: Tensor) -> Tensor:
    """Return gradients (..., K, D) shortened to at most their critic's limit (K,), in the same directions."""
    norm = gradient.norm(dim=-1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient * (limit / norm).clamp(max=1.0)[..., None]


def critic_statistics(
    values: Values,
    transitions: Transitions,
    scale: Tensor,
    training: Tensor | None = None,
    quantile: float = CLIP,
    hessian: bool = False,
) -> CriticStatistics:
    """Return the statistics of the critics at N transitions.

    A row depends on its own transition and on K limits: the quantile of the norms of each critic's gradients over the
    transitions for training (1 clips nothing).

    Args:
        values: the critics.
        transitions: all N of them.
        scale: (D,) units of the errors.
        training: (N,) bool, the transitions that a model is fitted to; all by default.
        quantile: of the norms, to which longer gradients are clipped.
        hessian: whether second derivatives are computed.

    Raises:
        ValueError: every transition for training is terminated, so that none has a next value.
        DivergenceError: a value or a derivative of the critics is not finite.
    """
    alive = ~transitions.terminated.bool()
    included = alive if training is None else training & alive
    if not included.any():
        raise ValueError("No transition for training is without termination; value gradients need at least one.")
    value, gradient = value_gradients(values, transitions.next_observation)
    gradient = gradient * scale
    gradient = clip_norm(gradient, norm_limit(gradient[included], quantile))
    with torch.no_grad():
        change = value - values(transitions.observation)
    second = value_hessians(values, transitions.next_observation) * scale[:, None] * scale if hessian else None
    if not all_finite([value, gradient] if second is None else [value, gradient, second]):
        raise DivergenceError("Values or gradients of the critics are not finite.")
    return CriticStatistics(value, change, gradient, included, second)


# --- weights: one tensor for all critics ---


def diagonal_weight(gradient: Tensor) -> Tensor:
    """Return mean_k g_kd**2 (..., D) of gradients (..., K, D).

    The mean over critics of their weighted losses is the loss with this weight.
    """
    return gradient.square().mean(-2)


def second_moment(gradient: Tensor) -> Tensor:
    """Return the mean (D, D) of g g^T over samples and critics, from gradients (..., K, D)."""
    g = gradient.reshape(-1, gradient.shape[-1])
    return g.T @ g / len(g)


def agreed_moment(gradient: Tensor) -> Tensor:
    """Return the part of the second moment (D, D) on which different critics agree, from gradients (N, K, D), K >= 2.

    It is the mean over samples and over pairs k != l of g_k g_l^T. Where critics are the truth plus independent errors
    of mean 0, its expectation is the second moment of the true gradients alone, while `second_moment` adds that of the
    errors. As an estimate it may have negative eigenvalues; those relative to `second_moment` lie in [-1/(K-1), 1],
    the share of a direction's weight that is agreed upon. Those below AGREED are raised to it: a direction without any
    weight would be left open even where a model has capacity to spare. Equivariant to linear maps.

    Raises:
        ValueError: there is only one critic.
    """
    K = gradient.shape[-2]
    if K < 2:
        raise ValueError("agreed_moment compares critics and was given one; expected at least two.")
    total, own = second_moment(gradient.sum(-2, keepdim=True)), second_moment(gradient)
    crossed = (total - K * own) / (K * (K - 1))
    length, axes = torch.linalg.eigh(own)
    kept = length > length[-1] * len(own) * torch.finfo(own.dtype).eps
    root = axes[:, kept] * length[kept].sqrt()  # own = root root^T
    inverse = axes[:, kept] / length[kept].sqrt()
    share, directions = torch.linalg.eigh(inverse.T @ crossed @ inverse)
    whole = root @ directions
    return (whole * share.clamp(AGREED, 1.0)) @ whole.T


def _positive(divisor: Tensor) -> Tensor:
    """Return a divisor, with 1 for 0: where the critics are flat there is nothing to weigh."""
    return torch.where(divisor > 0, divisor, torch.ones_like(divisor))


def _diagonal_normaliser(diagonal: Tensor, units: LossWeights) -> Tensor:
    """Return discount**2 * n**2 * mean: divided by it, the states' part of `vagram` has the mean weight 1 in `mse`."""
    return _positive(units.discount**2 * diagonal.shape[-1] ** 2 * diagonal.mean())


def _matrix_normaliser(matrix: Tensor, units: LossWeights) -> Tensor:
    """Return discount**2 * trace: with a multiple of the identity, `vagram_matrix` is `mse` in the states' part."""
    return _positive(units.discount**2 * matrix.trace())


# Each of these adds to the units what one loss needs, from the statistics of the critics.


def _unweighted(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    return units


def _by_value(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    normaliser = _diagonal_normaliser(diagonal_weight(statistics.gradient[statistics.included]), units)
    return units._replace(normaliser=normaliser, target_value=statistics.value)


def _by_gradient(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    normaliser = _diagonal_normaliser(diagonal_weight(statistics.gradient[statistics.included]), units)
    return units._replace(normaliser=normaliser, gradient=statistics.gradient)


def _by_diagonal(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    diagonal = diagonal_weight(statistics.gradient)
    normaliser = _diagonal_normaliser(diagonal[statistics.included], units)
    return units._replace(normaliser=normaliser, diagonal=diagonal)


def _by_mean_diagonal(
    statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None
) -> LossWeights:
    diagonal = diagonal_weight(statistics.gradient)
    mean = diagonal[statistics.included].mean(0)
    return units._replace(normaliser=_diagonal_normaliser(mean, units), diagonal=mean.expand_as(diagonal))


def _by_shuffled_diagonal(
    statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None
) -> LossWeights:
    diagonal = diagonal_weight(statistics.gradient)
    order = torch.rand(diagonal.shape, generator=generator).argsort(-1).to(diagonal.device)
    normaliser = _diagonal_normaliser(diagonal[statistics.included], units)
    return units._replace(normaliser=normaliser, diagonal=diagonal.gather(-1, order))


def _by_change(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    weight = statistics.change.abs().mean(-1, keepdim=True)
    weight = weight / _positive(weight[statistics.included].mean())
    return units._replace(diagonal=weight.expand_as(statistics.gradient[:, 0]))


def _by_hessian(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    if statistics.hessian is None:
        raise ValueError("second_order needs the Hessians of the critics: critic_statistics(..., hessian=True).")
    curvature, axes = torch.linalg.eigh(statistics.hessian)
    return _by_diagonal(statistics, units, generator)._replace(curvature=curvature, axes=axes)


def _with_matrix(statistics: CriticStatistics, units: LossWeights, matrix: Tensor) -> LossWeights:
    """Return the weights with one matrix (D, D) for all transitions."""
    rows = matrix.expand(len(statistics.value), *matrix.shape)
    return units._replace(normaliser=_matrix_normaliser(matrix, units), matrix=rows)


def _by_matrix(statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None) -> LossWeights:
    return _with_matrix(statistics, units, second_moment(statistics.gradient[statistics.included]))


def _by_gradient_and_matrix(
    statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None
) -> LossWeights:
    return _by_matrix(statistics, units, generator)._replace(gradient=statistics.gradient)


def _by_agreed_matrix(
    statistics: CriticStatistics, units: LossWeights, generator: torch.Generator | None
) -> LossWeights:
    return _with_matrix(statistics, units, agreed_moment(statistics.gradient[statistics.included]))


# --- losses ---


def _errors(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> tuple[Tensor, Tensor]:
    """Return errors in units: e (..., D) and e_r (...)."""
    e = (prediction.observation - transitions.next_observation) / weights.scale
    return e, (prediction.reward - transitions.reward) / weights.reward_scale


def _bellman(prediction: Prediction, transitions: Transitions, squared: Tensor, weights: LossWeights) -> Tensor:
    """Return ((r^ - r)**2 + discount**2 [not terminated] * squared error in value) / normaliser."""
    reward = (prediction.reward - transitions.reward).square()
    future = torch.where(transitions.terminated.bool(), 0.0, squared)
    return (reward + weights.discount**2 * future) / weights.normaliser


def mse(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the squared error: mean_d e_d**2 + e_r**2."""
    e, e_r = _errors(prediction, transitions, weights)
    return e.square().mean(-1) + e_r.square()


def nll(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the Gaussian negative log-likelihood without constants: mean_d (e_d**2 / (2 sd_d**2) + log sd_d).

    The same term for the reward is added.

    Raises:
        ValueError: the model has no standard deviations.
    """
    if prediction.log_std is None:
        raise ValueError("nll needs a Gaussian model; this one is deterministic.")
    e, e_r = _errors(prediction, transitions, weights)
    terms = 0.5 * (torch.cat([e, e_r[..., None]], -1) * torch.exp(-prediction.log_std)).square() + prediction.log_std
    return terms[..., :-1].mean(-1) + terms[..., -1]


def _predicted_values(prediction: Prediction, weights: LossWeights) -> Tensor:
    """Return values (M, ..., K) of independent draws of the next observation, or of its mean (M = 1) without any."""
    if weights.values is None:
        raise ValueError("This loss evaluates critics at predictions: LossWeights(values=...) is missing.")
    draws = prediction.observation[None] if prediction.samples is None else prediction.samples
    return weights.values(draws)


def itervaml(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the value error at the prediction: mean_k (V_k(s^) - V_k(s'))**2.

    It is averaged over draws of a stochastic model, and then not calibrated: its expectation adds the model's own
    variance of the value.

    Raises:
        ValueError: the weights hold no critics.
    """
    assert weights.target_value is not None
    squared = (_predicted_values(prediction, weights) - weights.target_value).square().mean(-1).mean(0)
    return _bellman(prediction, transitions, squared, weights)


def calibrated(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the calibrated value error: mean_k of (mean_m V_k(s^_m) - V_k(s'))**2 - var_m V_k(s^_m) / M.

    M is the number of draws, at least 2. The loss is unbiased for (E V_k(s^) - V_k(s'))**2, so that too small a
    variance gains nothing; a sample can be negative. With two draws it is the product of their errors.

    Raises:
        ValueError: there are fewer than two draws, or the weights hold no critics.
    """
    if prediction.samples is None or len(prediction.samples) < 2:
        raise ValueError("calibrated needs at least two draws of a Gaussian model for every transition.")
    assert weights.target_value is not None
    error = _predicted_values(prediction, weights) - weights.target_value
    squared = (error.mean(0).square() - error.var(0) / len(error)).mean(-1)
    return _bellman(prediction, transitions, squared, weights)


def vagram_taylor(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the unbounded value-gradient loss: mean_k (g_k . e)**2. Errors orthogonal to the gradients are free."""
    assert weights.gradient is not None
    e, _ = _errors(prediction, transitions, weights)
    squared = (weights.gradient * e[..., None, :]).sum(-1).square().mean(-1)
    return _bellman(prediction, transitions, squared, weights)


def vagram(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the value-gradient weighted loss: n sum_d w_d e_d**2, w_d = mean_k g_kd**2.

    By Cauchy and Schwarz it is at least `vagram_taylor`; convex, its only minimum at the sample where no w_d is 0.
    """
    assert weights.diagonal is not None
    e, _ = _errors(prediction, transitions, weights)
    return _bellman(prediction, transitions, e.shape[-1] * (weights.diagonal * e.square()).sum(-1), weights)


def value_difference(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the squared error with one weight per sample: w mean_d e_d**2 + e_r**2.

    w is mean_k |V_k(s') - V_k(s)|, divided by its mean over samples.
    """
    assert weights.diagonal is not None
    e, e_r = _errors(prediction, transitions, weights)
    return (weights.diagonal * e.square()).mean(-1) + e_r.square()


def second_order(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return a bound of the expansion to second order: 2 n sum_d w_d e_d**2 + n / 2 mean_k sum_j h_kj**2 (q_kj . e)**4.

    h_kj and q_kj are eigenvalues and eigenvectors of the Hessian of V_k. It follows from (a + b)**2 <= 2 a**2 + 2 b**2
    with a = g . e, b = e^T H e / 2 = sum_j h_j (q_j . e)**2 / 2, and Cauchy and Schwarz for both sums.
    """
    assert weights.diagonal is not None and weights.curvature is not None and weights.axes is not None
    e, _ = _errors(prediction, transitions, weights)
    along = (weights.axes * e[..., None, :, None]).sum(-2)  # (..., K, D)
    quartic = (weights.curvature * along.square()).square().sum(-1).mean(-1)
    squared = 2 * (weights.diagonal * e.square()).sum(-1) + 0.5 * quartic
    return _bellman(prediction, transitions, e.shape[-1] * squared, weights)


def vagram_matrix(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the loss with a full matrix of weights: e^T W e, W = E[g g^T] over samples and critics.

    It is the mean of `vagram_taylor` where errors are independent of gradients. It does not depend on the coordinates
    (an invertible map s -> T s takes e to T e and W to T^-T W T^-1), is convex, and has its only minimum at the sample
    as soon as the gradients of all samples together span the space. `vagram_agreed` is the same loss with a W that
    leaves out the part on which critics do not agree.
    """
    assert weights.matrix is not None
    e, _ = _errors(prediction, transitions, weights)
    squared = ((weights.matrix @ e[..., None])[..., 0] * e).sum(-1)
    return _bellman(prediction, transitions, squared, weights)


def vagram_shrunk(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
    """Return the loss with weights shrunk towards their mean: (1 - c) mean_k (g_k . e)**2 + c e^T W e, c = SHRINKAGE.

    It lies between `vagram_taylor` (c = 0) and `vagram_matrix` (c = 1), and depends on the coordinates as little.
    """
    assert weights.gradient is not None and weights.matrix is not None
    e, _ = _errors(prediction, transitions, weights)
    own = (weights.gradient * e[..., None, :]).sum(-1).square().mean(-1)
    common = ((weights.matrix @ e[..., None])[..., 0] * e).sum(-1)
    return _bellman(prediction, transitions, (1 - SHRINKAGE) * own + SHRINKAGE * common, weights)


@functools.cache
def mix(loss: Loss, factor: float) -> Loss:
    """Return the loss plus `factor` times `mse`."""

    def mixed(prediction: Prediction, transitions: Transitions, weights: LossWeights) -> Tensor:
        return loss(prediction, transitions, weights) + factor * mse(prediction, transitions, weights)

    return mixed


Need: TypeAlias = Literal["gaussian", "hessian", "values"]


class ModelLoss(NamedTuple):
    """One loss of the table: its weights, the function, and what it needs besides a prediction.

    "gaussian" is a model with standard deviations, "hessian" the second derivatives of the critics, "values" the
    critics themselves, for their values at predictions.
    """

    prepare: Prepare
    loss: Loss
    needs: tuple[Need, ...] = ()

    def weigh(
        self,
        values: Values,
        transitions: Transitions,
        units: LossWeights,
        training: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> tuple[CriticStatistics, LossWeights]:
        """Return the statistics of the critics at N transitions, and the weights of this loss that follow from them.

        Args:
            values: the critics.
            transitions: all N of them.
            units: units of errors, without weights.
            training: (N,) bool, the transitions that the model is fitted to; all by default.
            generator: of random numbers, for `shuffled`.

        Raises:
            ValueError: every transition for training is terminated, so that none has a next value.
        """
        hessian = "hessian" in self.needs
        statistics = critic_statistics(values, transitions, units.scale, training, hessian=hessian)
        weights = self.prepare(statistics, units, generator)
        return statistics, weights._replace(values=values if "values" in self.needs else None)


LOSSES: dict[str, ModelLoss] = {
    "mse": ModelLoss(_unweighted, mse),
    "nll": ModelLoss(_unweighted, nll, needs=("gaussian",)),
    "itervaml": ModelLoss(_by_value, itervaml, needs=("values",)),
    "calibrated": ModelLoss(_by_value, calibrated, needs=("gaussian", "values")),
    "vagram_taylor": ModelLoss(_by_gradient, vagram_taylor),
    "vagram": ModelLoss(_by_diagonal, vagram),
    "vagram_mean": ModelLoss(_by_mean_diagonal, vagram),  # weights averaged over samples
    "shuffled": ModelLoss(_by_shuffled_diagonal, vagram),  # control: each sample's weights on shuffled axes
    "value_difference": ModelLoss(_by_change, value_difference),
    "second_order": ModelLoss(_by_hessian, second_order, needs=("hessian",)),
    "vagram_matrix": ModelLoss(_by_matrix, vagram_matrix),
    "vagram_shrunk": ModelLoss(_by_gradient_and_matrix, vagram_shrunk),
    "vagram_agreed": ModelLoss(_by_agreed_matrix, vagram_matrix),
}


def find(name: str) -> ModelLoss:
    """Return the loss of this name.

    Raises:
        ValueError: there is none; the message lists the names.
    """
    if name not in LOSSES:
        hint = checks.similar(name, LOSSES)
        raise ValueError(f"There is no model loss {name!r}; expected one of {sorted(LOSSES)}.{hint}")
    return LOSSES[name]
