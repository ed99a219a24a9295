"""Variational preference learning (Poddar et al. 2024, arXiv 2408.10075): a latent vector for each user's taste.

An encoder reads a set of a user's answered pairs, its context, and gives a normal distribution q(z) = N(mu, diag v)
over latent vectors; the reward of a step x is r(x, z). With the logit of a pair as in Bradley-Terry, the loss of a user
is the negative evidence bound

    E_q[sum over pairs of cross-entropy] + beta KL(q || N(0, 1)),    KL = 1/2 sum(v + mu**2 - 1 - log v),

at beta 1 that of the model; the factor 1/2 is missing in the authors' code. With a large beta q becomes the prior, no
latent unit is active and the model is Bradley-Terry. `metrics.active_units` counts them.

A pair enters as (preferred, other), the share-weighted means of its two segments, so that the order in which a pair
was shown is nothing to the encoder; where the answer was "the same" both are equal. Contexts of random size are
drawn in training: users with few answers are predicted too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from valuegym.agents.control.batched_mlp import MLP
from valuegym.agents.reward_models.bradley_terry import bt_loss, segment_scores
from valuegym.agents.reward_models.fitting import FitSettings, Standardiser, fit
from valuegym.agents.reward_models.metrics import active_units
from valuegym.agents.reward_models.pairs import UserSets, masked_mean
from valuegym.envs import checks

__all__ = [
    "VariationalPreference",
    "draw_context",
    "fit_variational",
    "kl_to_standard_normal",
    "negative_evidence_bound",
    "user_active_units",
]

_LOG_VARIANCE = 8.0  # bound of |log v|, reached smoothly


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(mean, diag exp(log_variance)) || N(0, 1)) over the last axis, in nats."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum(-1)


def _apply(mlp: MLP, x: Tensor) -> Tensor:
    """Return outputs (E, ..., out) of inputs (E, ..., in)."""
    y: Tensor = mlp(x.reshape(len(x), -1, x.shape[-1]))
    return y.reshape(*x.shape[:-1], -1)


class VariationalPreference(nn.Module):
    """E models, each an encoder of sets of pairs and a reward of steps given a latent vector of `latents` entries.

    Raises:
        ValueError: a size is not a positive integer, or depth is negative.
    """

    def __init__(
        self,
        inputs: int,
        generator: torch.Generator,
        members: int = 1,
        latents: int = 4,
        width: int = 64,
        depth: int = 2,
    ) -> None:
        super().__init__()
        for name, value in (("inputs", inputs), ("members", members), ("latents", latents), ("width", width)):
            checks.integer(name, value, 1)
        checks.integer("depth", depth, 0)
        self.members, self.latents = members, latents
        self.standardise = Standardiser(inputs)
        self.of_pair = MLP(members, 2 * inputs + 1, width, width, depth - 1 if depth else 0, generator=generator)
        self.of_set = MLP(members, width + 1, 2 * latents, width, 1, generator=generator)
        self.reward = MLP(members, inputs + latents, 1, width, depth, generator=generator)

    def posterior(self, sets: UserSets, context: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance (E, U, Z) given the pairs where context (U, n) or (E, U, n) is 1.

        `sets` have leading axes (U, n), or (E, B, n).
        """
        inputs = self.standardise(sets.inputs)
        mask, labels = sets.mask, sets.labels
        if labels.ndim == 2:
            inputs, mask, labels, context = (
                x[None].expand(self.members, *x.shape) for x in (inputs, mask, labels, context)
            )
        context = context * (sets.present if sets.labels.ndim == 3 else sets.present[None])
        first, second = masked_mean(inputs, mask).unbind(-2)
        share = labels[..., None]
        pair = torch.cat([first.lerp(second, share), second.lerp(first, share), (2 * share - 1).abs()], -1)
        found = nn.functional.silu(_apply(self.of_pair, pair))
        count = context.sum(-1, keepdim=True)
        pooled = (found * context[..., None]).sum(-2) / count.clamp_min(1)
        mean, log_variance = _apply(self.of_set, torch.cat([pooled, count / (1 + count)], -1)).chunk(2, -1)
        return mean, _LOG_VARIANCE * (log_variance / _LOG_VARIANCE).tanh()

    def scores(self, inputs: Tensor, mask: Tensor, latents: Tensor) -> Tensor:
        """Return scores (E, U, n, 2) of segments (U, n, 2, L, D) or (E, B, n, 2, L, D), latents (E, U or B, Z)."""
        x = self.standardise(inputs)
        if x.ndim == 5:
            x, mask = x[None].expand(self.members, *x.shape), mask[None]
        z = latents[:, :, None, None, None].expand(*x.shape[:-1], -1)
        return segment_scores(_apply(self.reward, torch.cat([x, z], -1)).squeeze(-1), mask)

    def forward(self, sets: UserSets, latents: Tensor) -> Tensor:
        """Return logits (E, U, n) of the second being preferred by users with these latents (E, U, Z)."""
        scores = self.scores(sets.inputs, sets.mask, latents)
        return scores[..., 1] - scores[..., 0]


@torch.no_grad()
def user_active_units(model: VariationalPreference, sets: UserSets) -> Tensor:
    """Return the share of active latent units (E,) over users, given all their pairs."""
    return active_units(model.posterior(sets, sets.present)[0])


def draw_context(present: Tensor, order: Tensor, size: Tensor) -> Tensor:
    """Return which pairs (..., n) of users are context: 1 to all of those present, those of the lowest `order`.

    `order` (..., n) and `size` (...), the share of a user's pairs, are uniform draws on [0, 1).
    """
    rank = (order + 2 * (1 - present)).argsort(-1).argsort(-1)
    return (rank <= (size * present.sum(-1))[..., None]).to(present.dtype)


def negative_evidence_bound(
    model: VariationalPreference, sets: UserSets, context: Tensor, noise: Tensor, beta: float
) -> Tensor:
    """Return the loss (E, U) of users in nats: the context (E, U, n) is read, and all pairs are predicted.

    `noise` (E or 1, U, Z) is standard normal, of the latent vectors.
    """
    mean, log_variance = model.posterior(sets, context)
    logits = model(sets, mean + noise * (0.5 * log_variance).exp())
    answers = (sets.present * bt_loss(logits, sets.labels)).sum(-1)
    return answers + beta * kl_to_standard_normal(mean, log_variance)


def fit_variational(
    model: VariationalPreference,
    sets: UserSets,
    settings: FitSettings,
    generator: torch.Generator,
    beta: float = 1.0,
    warm_up: float = 0.25,
) -> Tensor:
    """Fit to users' sets, and return losses (steps, E) in nats a user; a batch counts users.

    The factor of the KL term rises linearly to `beta` over the share `warm_up` of the steps.

    Raises:
        ValueError: `beta` is negative, or `warm_up` lies outside [0, 1].
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    checks.real("beta", beta, 0)
    rise = checks.real("warm_up", warm_up, 0, 1) * settings.steps
    model.standardise.fit(sets.inputs, sets.mask * sets.present[..., None, None])
    place, device = generator.device, sets.labels.device

    def losses(rows: Tensor, step: int) -> Tensor:
        batch = sets[rows]
        order = torch.rand(batch.labels.shape, generator=generator, device=place).to(device)
        context = draw_context(
            batch.present, order, torch.rand(rows.shape, generator=generator, device=place).to(device)
        )
        noise = torch.randn((*rows.shape, model.latents), generator=generator, device=place).to(device)
        weight = beta * min(1.0, (step + 1) / rise) if rise else beta
        return negative_evidence_bound(model, batch, context, noise, weight).mean(-1)

    return fit("the variational model", model.parameters(), losses, len(sets), settings, generator, model.members)
