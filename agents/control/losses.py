"""Losses of dynamics models: what an error of a prediction costs, as tensors in and one number per sample out.

A model predicts the next observation s^ and the reward r^ of a transition (s, a, r, s'). Every loss has the signature
`loss(prediction, target, guide, context) -> (...)`. The guide is what the critics say of the targets: it is prepared
once per refresh of the critics, holds one row for each transition, and is a constant for the optimiser. Rows are read
by the number of their transition (`Guide.rows`), so that a sample of another bootstrap or of the validation set can
only ever meet its own weights.

Errors are measured in units: e = (s^ - s') / scale, e_r = (r^ - r) / reward_scale. Gradients are in the same units,
g_k = scale * dV_k/ds at s', so that g_k . e is the first-order error in the value of critic k. n is the number of
dimensions of s, K the number of critics. The squared error of a Bellman target is, to first order and without the
product of its two parts,

    (r^ - r)**2 + discount**2 * [not terminated] * (g . e)**2

which every value-aware loss bounds or averages in its own way; terminated transitions have no next value, those cut
off by a time limit do. All of them are divided by a constant unit that gives the states' part the scale of `mse`.

Sources: Farahmand, Barreto, Nikovski (2017), value-aware model learning; Farahmand (2018), iterative value-aware model
learning; Voelcker, Liao, Garg, Farahmand (2022, arXiv 2204.01464), value-gradient weighted model learning (VaGraM);
Voelcker et al. (2025, arXiv 2505.22772), calibrated value-aware losses. `vagram_matrix`, `vagram_shrunk` and
`vagram_agreed` are our own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Values: TypeAlias = Callable[[Tensor], Tensor]  # observations (..., D) -> values (..., K); rows do not mix

CLIP = 0.95  # quantile of the norm of the gradients above which they are shortened
SHRINKAGE = 0.5  # of `vagram_shrunk`
AGREED = 1e-3  # share of its weight that `agreed_moment` leaves to a direction on which critics do not agree at all


class Prediction(NamedTuple):
    """What a model says of transitions; leading axes such as (E, B) are free."""

    observation: Tensor  # (..., D) predicted next observation, its mean if the model is stochastic
    reward: Tensor  # (...)
    log_std: Tensor | None = None  # (..., D + 1) of a Gaussian model, in units of scale, the reward last
    samples: Tensor | None = None  # (M, ..., D) independent draws of the next observation


class Target(NamedTuple):
    """What happened."""

    observation: Tensor  # (..., D) next observation
    reward: Tensor  # (...)
    terminated: Tensor  # (...) bool: the episode ended there; False where only a time limit cut it off


class Context(NamedTuple):
    """Units and critics, the same for all samples."""

    scale: Tensor  # (D,) unit of the error in each dimension
    reward_scale: Tensor  # () unit of the error in the reward
    discount: float
    values: Values | None = None  # for the losses that ask for values at predictions


class Evidence(NamedTuple):
    """What K critics say of N transitions, for the guides of all losses; see `collect`."""

    value: Tensor  # (N, K) V_k(s')
    change: Tensor  # (N, K) V_k(s') - V_k(s)
    gradient: Tensor  # (N, K, D) scale * dV_k/ds at s', clipped
    fit: Tensor  # (N,) bool: rows that averages are taken over, those for training that have a next value
    hessian: Tensor | None = None  # (N, K, D, D) scale * scale * d2V_k/ds2 at s'


class Guide(NamedTuple):
    """What one loss keeps of the evidence: a unit, and rows of whatever it needs."""

    unit: Tensor  # () what errors in value are divided by
    value: Tensor | None = None  # (..., K)
    gradient: Tensor | None = None  # (..., K, D)
    weight: Tensor | None = None  # (..., D)
    matrix: Tensor | None = None  # (..., D, D)
    curvature: Tensor | None = None  # (..., K, D) eigenvalues of the Hessian
    axes: Tensor | None = None  # (..., K, D, D) its eigenvectors, in columns

    def rows(self, index: Tensor) -> Guide:
        """The guide of the transitions with these numbers, of any shape."""
        return Guide(self.unit, *(None if field is None else field[index] for field in self[1:]))


Loss: TypeAlias = Callable[[Prediction, Target, Guide, Context], Tensor]
Prepare: TypeAlias = Callable[[Evidence, Context, torch.Generator | None], Guide]


# --- what the critics say ---


def value_gradients(values: Values, observation: Tensor) -> tuple[Tensor, Tensor]:
    """Values V_k(s) (..., K) and their gradients dV_k/ds (..., K, D), one critic at a time and none accumulated.

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
    """Second derivatives d2V_k/ds2 (..., K, D, D). Zero almost everywhere for critics of rectified linear units."""
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
    """The quantile (K,) of the norms of each critic's gradients (N, K, D)."""
    return torch.quantile(gradient.norm(dim=-1), quantile, dim=0)


def clip_norm(gradient: Tensor, limit: Tensor) -> Tensor:
    """Gradients (..., K, D) none of which is longer than its critic's limit (K,); directions are kept."""
    norm = gradient.norm(dim=-1).clamp_min(torch.finfo(gradient.dtype).tiny)
    return gradient * (limit / norm).clamp(max=1.0)[..., None]


def collect(
    values: Values,
    observation: Tensor,
    target: Target,
    scale: Tensor,
    training: Tensor | None = None,
    quantile: float = CLIP,
    hessian: bool = False,
) -> Evidence:
    """The evidence on N transitions: observations (N, D) before the step, targets, units, rows for training (N,) bool.

    A row depends on its own transition and on K limits, the quantile of each critic's norms over the rows for training
    (1 clips nothing). All rows are for training unless told.

    Raises:
        ValueError: no row for training has a next value.
    """
    fit = ~target.terminated.bool() if training is None else training & ~target.terminated.bool()
    if not fit.any():
        raise ValueError("No transition for training is without termination; value gradients need at least one.")
    value, gradient = value_gradients(values, target.observation)
    gradient = gradient * scale
    gradient = clip_norm(gradient, norm_limit(gradient[fit], quantile))
    with torch.no_grad():
        change = value - values(observation)
    second = value_hessians(values, target.observation) * scale[:, None] * scale if hessian else None
    return Evidence(value, change, gradient, fit, second)


# --- weights: one tensor for all critics ---


def diagonal_weight(gradient: Tensor) -> Tensor:
    """mean_k g_kd**2, (..., K, D) -> (..., D).

    The mean over critics of their weighted losses is the loss with this weight.
    """
    return gradient.square().mean(-2)


def second_moment(gradient: Tensor) -> Tensor:
    """Mean over samples and critics of g g^T, (..., K, D) -> (D, D)."""
    g = gradient.reshape(-1, gradient.shape[-1])
    return g.T @ g / len(g)


def agreed_moment(gradient: Tensor) -> Tensor:
    """The part of the second moment (D, D) on which different critics agree, from gradients (N, K, D), K >= 2.

    The mean over samples and over pairs k != l of g_k g_l^T. Where critics are the truth plus independent errors of
    mean 0, its expectation is the second moment of the true gradients alone, while `second_moment` adds that of the
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


def _positive(unit: Tensor) -> Tensor:
    """A unit to divide by: 1 where the critics are flat and there is nothing to weigh."""
    return torch.where(unit > 0, unit, torch.ones_like(unit))


def _diagonal_unit(weight: Tensor, context: Context) -> Tensor:
    """discount**2 * n**2 * mean(weight): divided by it, the states' part of `vagram` has the mean weight 1 in `mse`."""
    return _positive(context.discount**2 * weight.shape[-1] ** 2 * weight.mean())


def _matrix_unit(matrix: Tensor, context: Context) -> Tensor:
    """discount**2 * trace: with a multiple of the identity, the states' part of `vagram_matrix` is that of `mse`."""
    return _positive(context.discount**2 * matrix.trace())


def _no_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    return Guide(torch.ones_like(context.scale[..., 0]))


def _value_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    unit = _diagonal_unit(diagonal_weight(evidence.gradient[evidence.fit]), context)
    return Guide(unit, value=evidence.value)


def _gradient_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    unit = _diagonal_unit(diagonal_weight(evidence.gradient[evidence.fit]), context)
    return Guide(unit, gradient=evidence.gradient)


def _diagonal_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    weight = diagonal_weight(evidence.gradient)
    return Guide(_diagonal_unit(weight[evidence.fit], context), weight=weight)


def _mean_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    weight = diagonal_weight(evidence.gradient)
    mean = weight[evidence.fit].mean(0)
    return Guide(_diagonal_unit(mean, context), weight=mean.expand_as(weight))


def _shuffled_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    weight = diagonal_weight(evidence.gradient)
    order = torch.rand(weight.shape, generator=generator).argsort(-1).to(weight.device)
    return Guide(_diagonal_unit(weight[evidence.fit], context), weight=weight.gather(-1, order))


def _change_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    weight = evidence.change.abs().mean(-1, keepdim=True)
    weight = weight / _positive(weight[evidence.fit].mean())
    return Guide(torch.ones_like(weight[0, 0]), weight=weight.expand_as(evidence.gradient[:, 0]))


def _second_order_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    if evidence.hessian is None:
        raise ValueError("second_order needs the Hessians of the critics: collect(..., hessian=True).")
    curvature, axes = torch.linalg.eigh(evidence.hessian)
    guide = _diagonal_guide(evidence, context)
    return guide._replace(curvature=curvature, axes=axes)


def _matrix_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    matrix = second_moment(evidence.gradient[evidence.fit])
    return Guide(_matrix_unit(matrix, context), matrix=matrix.expand(len(evidence.value), *matrix.shape))


def _shrunk_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    return _matrix_guide(evidence, context)._replace(gradient=evidence.gradient)


def _agreed_guide(evidence: Evidence, context: Context, generator: torch.Generator | None = None) -> Guide:
    matrix = agreed_moment(evidence.gradient[evidence.fit])
    return Guide(_matrix_unit(matrix, context), matrix=matrix.expand(len(evidence.value), *matrix.shape))


# --- losses ---


def _errors(prediction: Prediction, target: Target, context: Context) -> tuple[Tensor, Tensor]:
    """Errors in units: e (..., D) and e_r (...)."""
    e = (prediction.observation - target.observation) / context.scale
    return e, (prediction.reward - target.reward) / context.reward_scale


def _bellman(prediction: Prediction, target: Target, squared: Tensor, guide: Guide, context: Context) -> Tensor:
    """((r^ - r)**2 + discount**2 [not terminated] * squared error in value) / unit."""
    reward = (prediction.reward - target.reward).square()
    return (reward + context.discount**2 * torch.where(target.terminated.bool(), 0.0, squared)) / guide.unit


def mse(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Squared error: mean_d e_d**2 + e_r**2."""
    e, e_r = _errors(prediction, target, context)
    return e.square().mean(-1) + e_r.square()


def nll(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Gaussian negative log-likelihood, constants dropped: mean_d (e_d**2 / (2 sd_d**2) + log sd_d), and the reward's.

    Raises:
        ValueError: the model has no standard deviations.
    """
    if prediction.log_std is None:
        raise ValueError("nll needs a Gaussian model; this one is deterministic.")
    e, e_r = _errors(prediction, target, context)
    terms = 0.5 * (torch.cat([e, e_r[..., None]], -1) * torch.exp(-prediction.log_std)).square() + prediction.log_std
    return terms[..., :-1].mean(-1) + terms[..., -1]


def _ask(prediction: Prediction, context: Context) -> Tensor:
    """Values (M, ..., K) of the predictions: of independent draws where there are some, else of the mean (M = 1)."""
    if context.values is None:
        raise ValueError("This loss asks for values at predictions: Context(values=...) is missing.")
    draws = prediction.observation[None] if prediction.samples is None else prediction.samples
    return context.values(draws)


def itervaml(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Value error at the prediction: mean_k (V_k(s^) - V_k(s'))**2, averaged over draws of a stochastic model.

    For a stochastic model this is not calibrated: its expectation adds the model's own variance of the value.
    """
    assert guide.value is not None
    squared = (_ask(prediction, context) - guide.value).square().mean(-1).mean(0)
    return _bellman(prediction, target, squared, guide, context)


def calibrated(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Calibrated value error: mean_k of (mean_m V_k(s^_m) - V_k(s'))**2 - var_m V_k(s^_m) / M, from M >= 2 draws.

    Unbiased for (E V_k(s^) - V_k(s'))**2 and so without a reward for too small a variance; a sample can be negative.
    With two draws it is the product of their errors.

    Raises:
        ValueError: there are fewer than two draws.
    """
    if prediction.samples is None or len(prediction.samples) < 2:
        raise ValueError("calibrated needs at least two draws of a Gaussian model for every transition.")
    assert guide.value is not None
    error = _ask(prediction, context) - guide.value
    squared = (error.mean(0).square() - error.var(0) / len(error)).mean(-1)
    return _bellman(prediction, target, squared, guide, context)


def vagram_taylor(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Unbounded value-gradient loss: mean_k (g_k . e)**2. Errors orthogonal to the gradients are free."""
    assert guide.gradient is not None
    e, _ = _errors(prediction, target, context)
    squared = (guide.gradient * e[..., None, :]).sum(-1).square().mean(-1)
    return _bellman(prediction, target, squared, guide, context)


def vagram(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Value-gradient weighted loss: n sum_d w_d e_d**2, w_d = mean_k g_kd**2.

    By Cauchy and Schwarz at least `vagram_taylor`; convex, with its only minimum at the sample where no w_d is 0.
    """
    assert guide.weight is not None
    e, _ = _errors(prediction, target, context)
    return _bellman(prediction, target, e.shape[-1] * (guide.weight * e.square()).sum(-1), guide, context)


def value_difference(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Squared error with one weight per sample: w mean_d e_d**2 + e_r**2, w = mean_k |V_k(s') - V_k(s)| / its mean."""
    assert guide.weight is not None
    e, e_r = _errors(prediction, target, context)
    return (guide.weight * e.square()).mean(-1) + e_r.square()


def second_order(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Bound of the expansion to second order: 2 n sum_d w_d e_d**2 + n / 2 mean_k sum_j h_kj**2 (q_kj . e)**4.

    h_kj and q_kj are eigenvalues and eigenvectors of the Hessian of V_k. It follows from (a + b)**2 <= 2 a**2 + 2 b**2
    with a = g . e, b = e^T H e / 2 = sum_j h_j (q_j . e)**2 / 2, and Cauchy and Schwarz for both sums.
    """
    assert guide.weight is not None and guide.curvature is not None and guide.axes is not None
    e, _ = _errors(prediction, target, context)
    along = (guide.axes * e[..., None, :, None]).sum(-2)  # (..., K, D)
    quartic = (guide.curvature * along.square()).square().sum(-1).mean(-1)
    squared = 2 * (guide.weight * e.square()).sum(-1) + 0.5 * quartic
    return _bellman(prediction, target, e.shape[-1] * squared, guide, context)


def vagram_matrix(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Full-matrix weights: e^T W e with W = E[g g^T], averaged over samples and critics.

    What `vagram_taylor` is on average where errors are independent of gradients. It does not depend on the coordinates
    (an invertible map s -> T s takes e to T e and W to T^-T W T^-1), is convex, and has its only minimum at the sample
    as soon as the gradients of all samples together span the space. `vagram_agreed` is the same loss with a W that
    leaves out what critics do not agree upon.
    """
    assert guide.matrix is not None
    e, _ = _errors(prediction, target, context)
    squared = ((guide.matrix @ e[..., None])[..., 0] * e).sum(-1)
    return _bellman(prediction, target, squared, guide, context)


def vagram_shrunk(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
    """Per-sample weights shrunk towards their mean: (1 - c) mean_k (g_k . e)**2 + c e^T W e, c = SHRINKAGE.

    Between `vagram_taylor` (c = 0) and `vagram_matrix` (c = 1), as independent of the coordinates as both.
    """
    assert guide.gradient is not None and guide.matrix is not None
    e, _ = _errors(prediction, target, context)
    own = (guide.gradient * e[..., None, :]).sum(-1).square().mean(-1)
    common = ((guide.matrix @ e[..., None])[..., 0] * e).sum(-1)
    return _bellman(prediction, target, (1 - SHRINKAGE) * own + SHRINKAGE * common, guide, context)


@functools.cache
def mix(loss: Loss, share: float) -> Loss:
    """The loss plus `share` times `mse`."""

    def mixed(prediction: Prediction, target: Target, guide: Guide, context: Context) -> Tensor:
        return loss(prediction, target, guide, context) + share * mse(prediction, target, guide, context)

    return mixed


class Entry(NamedTuple):
    """One loss of the table: how its guide is prepared and how it is evaluated."""

    prepare: Prepare
    loss: Loss
    needs: str = ""  # "gaussian" or "hessian"


LOSSES: dict[str, Entry] = {
    "mse": Entry(_no_guide, mse),
    "nll": Entry(_no_guide, nll, "gaussian"),
    "itervaml": Entry(_value_guide, itervaml),
    "calibrated": Entry(_value_guide, calibrated, "gaussian"),
    "vagram_taylor": Entry(_gradient_guide, vagram_taylor),
    "vagram": Entry(_diagonal_guide, vagram),
    "vagram_mean": Entry(_mean_guide, vagram),  # weights averaged over samples
    "shuffled": Entry(_shuffled_guide, vagram),  # control: the same weights, each sample's on shuffled axes
    "value_difference": Entry(_change_guide, value_difference),
    "second_order": Entry(_second_order_guide, second_order, "hessian"),
    "vagram_matrix": Entry(_matrix_guide, vagram_matrix),
    "vagram_shrunk": Entry(_shrunk_guide, vagram_shrunk),
    "vagram_agreed": Entry(_agreed_guide, vagram_matrix),
}


def find(name: str) -> Entry:
    """The loss of this name; ValueError lists the names there are."""
    if name not in LOSSES:
        raise ValueError(f"There is no model loss {name!r}; expected one of {sorted(LOSSES)}.")
    return LOSSES[name]
