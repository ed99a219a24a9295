"""Linear dynamics models of low rank, fitted exactly under the weights of any value-gradient loss.

The model predicts y = B x from x = (s, u); its rank is its capacity. Under per-sample weights W_i the loss

    L(B) = sum_i (y_i - B x_i)^T W_i (y_i - B x_i) = <B, M B> - 2 <C, B> + constant

is a quadratic form of B whatever the number of samples: M_(ax)(by) = sum_i W_i,ab x_ix x_iy,
C_ax = sum_i (W_i y_i)_a x_ix. W_i is diag(w_i) for `vagram`, mean_k g_k g_k^T for `vagram_taylor` and one matrix for
`vagram_matrix` and squared error. Where values are quadratic, so that their gradients are linear in y, moments of the
data are all that this takes, once for all values and weights.

Source of the least-squares value: Lagoudakis, Parr (2003), "Least-squares policy iteration".
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from valuegym.agents.control.losses import LossWeights, agreed_moment, second_moment

__all__ = [
    "CONSTANT",
    "PER_SAMPLE",
    "Form",
    "Moments",
    "action_cost",
    "constant_form",
    "form",
    "full",
    "loss",
    "low_rank",
    "moments",
    "quadratic_features",
    "reduced_rank",
    "state_cost",
    "symmetric",
    "value_form",
]

RIDGE = 1e-10  # relative to the mean diagonal; matters only along directions that the loss leaves open
STEPS = 200
CONVERGED = 1e-6
CONSTANT = ("mse", "vagram_mean", "vagram_matrix", "vagram_agreed")  # the same weights for all samples
PER_SAMPLE = ("vagram", "vagram_taylor", "vagram_shrunk")  # other weights for each sample


class Form(NamedTuple):
    """The loss as a quadratic form, and its weights averaged over samples.

    M is (..., n, m, n, m), C (..., n, m), xx (..., m, m), W (..., n, n).
    """

    M: Tensor
    C: Tensor
    xx: Tensor
    W: Tensor


def form(weights: LossWeights, x: Tensor, y: Tensor) -> Form:
    """Return the loss of B for inputs x (N, m) and targets y (N, n) under N rows of weights, without its normaliser.

    Weights with a diagonal are those of `vagram`, with gradients those of `vagram_taylor`, with a matrix (the same for
    all rows) those of `vagram_matrix`.

    Raises:
        ValueError: there is none of the three.
    """
    (N, m), n = x.shape, y.shape[-1]
    xx = x.T @ x / N
    if weights.diagonal is not None:
        M = torch.zeros(n, m, n, m, dtype=x.dtype)
        for a in range(n):
            M[a, :, a] = (x * weights.diagonal[:, a : a + 1]).T @ x / N
        return Form(M, (weights.diagonal * y).T @ x / N, xx, torch.diag(weights.diagonal.mean(0)))
    if weights.gradient is not None:
        K = weights.gradient.shape[1]
        z = (weights.gradient[..., None] * x[:, None, None, :]).reshape(N * K, n * m)
        along = (weights.gradient * y[:, None]).sum(-1).reshape(-1)
        M, C = z.T @ z / (N * K), z.T @ along / (N * K)
        return Form(M.reshape(n, m, n, m), C.reshape(n, m), xx, second_moment(weights.gradient))
    if weights.matrix is not None:
        W = weights.matrix[0]
        return Form(W[:, None, :, None] * xx[None, :, None, :], W @ (y.T @ x / N), xx, W)
    raise ValueError(
        "These loss weights hold neither diagonal nor gradient nor matrix; expected those of a value-gradient loss."
    )


class Moments(NamedTuple):
    """Averages over the samples (x, y) of a system, with any leading axes for systems.

    xx is (..., m, m), yx (..., n, m), yy (..., n, n), yxyx (..., n, m, n, m) and yyyx (..., n, n, n, m).
    """

    xx: Tensor
    yx: Tensor
    yy: Tensor
    yxyx: Tensor
    yyyx: Tensor


def moments(x: Tensor, y: Tensor) -> Moments:
    """Return the moments of inputs x (..., N, m) and targets y (..., N, n)."""
    (N, m), n, lead = x.shape[-2:], y.shape[-1], x.shape[:-2]
    yx, yy = ((y[..., None] * z[..., None, :]).flatten(-2) for z in (x, y))
    return Moments(
        x.mT @ x / N,
        y.mT @ x / N,
        y.mT @ y / N,
        (yx.mT @ yx / N).reshape(*lead, n, m, n, m),
        (yy.mT @ yx / N).reshape(*lead, n, n, n, m),
    )


def constant_form(W: Tensor, moments: Moments) -> Form:
    """Return the loss under one weight matrix W (..., n, n) for all samples."""
    M = W[..., :, None, :, None] * moments.xx[..., None, :, None, :]
    return Form(M, W @ moments.yx, moments.xx, W)


def value_form(name: str, moments: Moments, P: Tensor) -> Form:
    """Return the loss of this name where the critics' values are s'P_k s, P (..., K, n, n) symmetric, up to signs.

    It is `form` of the weights that `losses` prepares from their gradients g_k = 2 P_k y, from moments alone:

        vagram_taylor   M = mean_k (G_k x 1) E[yx yx'] (G_k x 1),  C_ax = mean_k sum G_k,ac G_k,bd E[y_b y_d y_c x_x]
        vagram          M_(ax)(ay) = mean_k sum G_k,ac G_k,ad E[y_c x_x y_d x_y], and 0 between different a
        vagram_matrix   W = mean_k G_k E[yy'] G_k; its diagonal for `vagram_mean`

    with G_k = 2 P_k.

    Raises:
        ValueError: the loss has no such form.
    """
    if name not in (*CONSTANT[1:], *PER_SAMPLE):
        raise ValueError(
            f"loss {name!r} has no form for quadratic values; expected one of {(*CONSTANT[1:], *PER_SAMPLE)}."
        )
    G = 2 * P
    W = (G @ moments.yy[..., None, :, :] @ G).mean(-3)
    if name == "vagram_matrix":
        return constant_form(W, moments)
    if name == "vagram_mean":
        return constant_form(torch.diag_embed(W.diagonal(dim1=-2, dim2=-1)), moments)
    if name == "vagram_agreed":
        lead, n = G.shape[:-3], G.shape[-1]
        roots = n**0.5 * _root(moments.yy)[0]  # n samples with the same second moment
        gradients = (roots[..., None, :, :] @ G).movedim(-3, -2).reshape(-1, n, *G.shape[-3:-1])
        return constant_form(torch.stack([agreed_moment(g) for g in gradients]).reshape(*lead, n, n), moments)
    if name == "vagram":
        pairs = (G[..., :, None] * G[..., None, :]).mean(-4).flatten(-2)  # (..., a, c d)
        n, m = moments.yx.shape[-2:]
        blocks = pairs @ moments.yxyx.transpose(-3, -2).flatten(-4, -3).flatten(-2)
        M = torch.diag_embed(blocks.unflatten(-1, (m, m)).movedim(-3, -1)).movedim(-4, -2).movedim(-1, -4)
        cubic = pairs[..., None, :] @ moments.yyyx.flatten(-4, -3).movedim(-3, -2)
        return Form(M, cubic[..., 0, :], moments.xx, torch.diag_embed(W.diagonal(dim1=-2, dim2=-1)))
    M, C = torch.zeros_like(moments.yxyx), torch.zeros_like(moments.yx)
    size = M.shape[-1] * M.shape[-2]
    for g in G.unbind(-3):
        once = (g @ moments.yxyx.flatten(-3)).reshape(*M.shape[:-4], size, size)
        M += (g @ once.mT.reshape(M.shape).flatten(-3)).reshape(M.shape)  # both sides, because yxyx is symmetric
        C += g @ (g.flatten(-2)[..., None, :] @ moments.yyyx.flatten(-4, -3).flatten(-2)).reshape(C.shape)
    M, C = M / G.shape[-3], C / G.shape[-3]
    own = Form(M, C, moments.xx, W)
    if name == "vagram_taylor":
        return own
    return Form(*((a + b) / 2 for a, b in zip(own, constant_form(W, moments), strict=True)))


def loss(form: Form, B: Tensor) -> Tensor:
    """Return L(B) (...) without its constant."""
    return (torch.einsum("...axby,...by->...ax", form.M, B) * B).sum((-1, -2)) - 2 * (form.C * B).sum((-1, -2))


def _root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return symmetric roots of positive semidefinite matrices and of their pseudo-inverses."""
    length, axes = torch.linalg.eigh(matrix)
    kept = length > length[..., -1:] * 1e-12
    root = torch.where(kept, length, 0.0).sqrt()
    inverse = torch.where(kept, 1 / root.clamp_min(1e-300), 0.0)
    return (axes * root[..., None, :]) @ axes.mT, (axes * inverse[..., None, :]) @ axes.mT


def _solve(H: Tensor, c: Tensor) -> Tensor:
    """Return H^-1 c for H (..., p, q, p, q), c (..., p, q); 0 along directions that H leaves open."""
    size = c.shape[-1] * c.shape[-2]
    flat = H.reshape(*H.shape[:-4], size, size)
    mean = flat.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].clamp_min(1e-300)
    ridge = RIDGE * mean * torch.eye(size, dtype=H.dtype)
    return torch.linalg.solve(flat + ridge, c.reshape(*c.shape[:-2], size, 1)).reshape(c.shape)


def full(form: Form) -> Tensor:
    """Return the B (..., n, m) of least loss, of any rank."""
    return _solve(form.M, form.C)


def reduced_rank(form: Form, rank: int) -> Tensor:
    """Return the B (..., n, m) of this rank closest to `full` in the metric of the averaged weights and of the inputs.

    Where all samples have the same weights, this is reduced-rank regression, and exact.
    """
    left, left_inverse = _root(form.W)
    right, right_inverse = _root(form.xx)
    U, s, V = torch.linalg.svd(left @ full(form) @ right, full_matrices=False)
    return left_inverse @ (U[..., :rank] * s[..., None, :rank]) @ V[..., :rank, :] @ right_inverse


def low_rank(form: Form, rank: int, steps: int = STEPS) -> Tensor:
    """Return the B = U V (..., n, m) of this rank of least loss, by alternating least squares from `reduced_rank`.

    Every step solves for one factor exactly and so never raises the loss; a local minimum is found. Systems that no
    longer change by more than CONVERGED, relative to their largest entry, are left out of further steps.
    """
    found = reduced_rank(form, rank)
    n, m = found.shape[-2:]
    B = found.reshape(-1, n, m).clone()
    V = torch.linalg.svd(B, full_matrices=False)[2][:, :rank]
    M = form.M.reshape(len(B), n, m, n, m)
    parts = [M.flatten(1, 3), M.transpose(-1, -2).flatten(1, 3), form.C.reshape(B.shape), V]  # both axes of B last
    active, moving = torch.arange(len(B)), torch.ones(len(B), dtype=torch.bool)
    for _ in range(steps):
        if 4 * moving.sum() <= 3 * len(active):  # to leave them out takes a copy of the others
            active, parts = active[moving], [part[moving] for part in parts]
            moving = moving[moving]
            if not len(active):
                break
        by_x, by_y, C, V = parts
        half = (by_x @ V.mT).reshape(-1, n, m, n * rank)
        U = _solve((V[:, None] @ half).unflatten(-1, (n, rank)), C @ V.mT)
        U = torch.linalg.qr(U)[0]
        half = (by_y @ U).reshape(-1, n, m * m * rank)
        right = _solve((U.mT @ half).reshape(-1, rank, m, m, rank).transpose(-1, -2), U.mT @ C)
        parts[3] = torch.linalg.qr(right.mT)[0].mT
        before = B[active]
        after = torch.where(moving[:, None, None], U @ right, before)
        B[active] = after
        moving = (after - before).abs().amax((-1, -2)) > CONVERGED * before.abs().amax((-1, -2))
    return B.reshape(found.shape)


def quadratic_features(z: Tensor) -> Tensor:
    """Return all products z_i z_j, i <= j, and a constant: (..., p) -> (..., p (p + 1) / 2 + 1)."""
    i, j = torch.triu_indices(z.shape[-1], z.shape[-1])
    return torch.cat([z[..., i] * z[..., j], torch.ones_like(z[..., :1])], -1)


def action_cost(s: Tensor, u: Tensor, cost: Tensor, after: Tensor, K: Tensor, discount: float) -> Tensor:
    """Return the cost of u = -K s as a matrix H (p, p), p = n + m: z'H z plus a constant, z = (s, u), from data alone.

    Least-squares temporal differences with quadratic features from transitions (N, n), (N, m), (N,), (N, n); unbiased
    under noise, and without a model of the dynamics.
    """
    z = torch.cat([s, u], -1)
    f, next_f = quadratic_features(z), quadratic_features(torch.cat([after, -after @ K.T], -1))
    theta = torch.linalg.lstsq(f.T @ (f - discount * next_f), f.T @ cost[:, None], driver="gelsd").solution[:, 0]
    return symmetric(theta, z.shape[-1])


def symmetric(theta: Tensor, p: int) -> Tensor:
    """Return the symmetric H (p, p) for which z'H z is theta times `quadratic_features`, its constant left out."""
    i, j = torch.triu_indices(p, p)
    H = torch.zeros(p, p, dtype=theta.dtype)
    H[i, j] = theta[:-1] / 2
    return H + H.T


def state_cost(H: Tensor, K: Tensor) -> Tensor:
    """Return the cost of u = -K s as s'P s: P (n, n)."""
    n = K.shape[-1]
    lift = torch.cat([torch.eye(n, dtype=H.dtype), -K])
    return lift.T @ H @ lift
