"""Ideal points of users as mixtures of prototypes (PAL, Chen et al. 2025), after the model A of its authors.

A segment has a point f(x), the mean of its steps' points; K prototypes p_k are points too. User u has weights w_u on
the simplex and the ideal point sum_k w_uk p_k. Closer is better: the logit of the second being preferred is

    |f(first) - ideal| - |f(second) - ideal|.

A new user's weights are fitted with everything else fixed, so that a few pairs are enough. With K = 1 all users are
one, and the model is a single ideal point.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from valuegym.agents.reward_models.bradley_terry import bt_loss
from valuegym.agents.reward_models.fitting import MAX_LR, FitSettings, StepNetwork, fit
from valuegym.agents.reward_models.pairs import Pairs, check_groups, masked_mean
from valuegym.envs import checks

__all__ = ["IdealPoints", "distance_logit", "fit_ideal_points", "fit_new_users"]

_ROUNDING = 1e-12  # added under the root, so that the distance of equal points has a slope


def distance_logit(points: Tensor, ideal: Tensor) -> Tensor:
    """Return |first - ideal| - |second - ideal| of points (..., 2, d) and ideal points (..., d)."""
    distance = ((points - ideal[..., None, :]).square().sum(-1) + _ROUNDING).sqrt()
    return distance[..., 0] - distance[..., 1]


class IdealPoints(nn.Module):
    """E models of U users: a network from steps to points (..., d), prototypes (E, K, d), weights of users (E, U, K).

    Users start alike, with weights 1 / K. With depth 0 the network is linear.

    Raises:
        ValueError: a size is not a positive integer, or depth is negative.
    """

    def __init__(
        self,
        inputs: int,
        users: int,
        generator: torch.Generator,
        members: int = 1,
        prototypes: int = 2,
        dimensions: int = 8,
        width: int = 64,
        depth: int = 0,
    ) -> None:
        super().__init__()
        checks.integer("users", users, 1)
        checks.integer("prototypes", prototypes, 1)
        checks.integer("dimensions", dimensions, 1)
        self.network = StepNetwork(members, inputs, dimensions, width, depth, generator)
        self.members = members
        place = torch.randn(members, prototypes, dimensions, generator=generator)
        self.prototypes = nn.Parameter(0.5 * place)
        self.user_logits = nn.Parameter(torch.zeros(members, users, prototypes))

    def forward(self, pairs: Pairs, user_logits: Tensor | None = None) -> Tensor:
        """Return logits (E, N) of the second being preferred by the pair's user, for N pairs or (E, B) of them.

        `user_logits` (E, users, K), if given, stand in for those of the model's users.

        Raises:
            ValueError: the pairs have no users, or one that is not below the number of users.
        """
        logits = self.user_logits if user_logits is None else user_logits
        group = check_groups(pairs, logits.shape[1], "user")
        shared = pairs.labels.ndim == 1
        inputs, mask = (pairs.inputs[None], pairs.mask[None]) if shared else (pairs.inputs, pairs.mask)
        ideals = logits.softmax(-1) @ self.prototypes
        rows = (group[None] if shared else group).expand(self.members, -1)
        ideal = ideals.gather(1, rows[..., None].expand(-1, -1, ideals.shape[-1]))
        return distance_logit(masked_mean(self.network(inputs), mask), ideal)


def fit_ideal_points(
    model: IdealPoints, pairs: Pairs, settings: FitSettings, generator: torch.Generator, user_lr: float = 0.05
) -> Tensor:
    """Fit network, prototypes and users' weights to pairs, and return losses (steps, E).

    Weights of users learn at `user_lr`: each sees its own pairs only, so that they need longer steps than the rest.

    Raises:
        ValueError: the pairs have no users, or one the model has not, or `user_lr` is not above 0.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    checks.real("user_lr", user_lr, high=MAX_LR, above=0)
    check_groups(pairs, model.user_logits.shape[1], "user")
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    others = [p for p in model.parameters() if p is not model.user_logits]

    def losses(rows: Tensor, step: int) -> Tensor:
        return bt_loss(model(pairs[rows]), pairs.labels[rows]).mean(-1)

    return fit(
        "the ideal points",
        others,
        losses,
        len(pairs),
        settings,
        generator,
        model.members,
        other_rates=[(model.user_logits, user_lr)],
    )


def fit_new_users(model: IdealPoints, pairs: Pairs, users: int, steps: int = 200, lr: float = 0.1) -> Tensor:
    """Return the logits (E, users, K) of users' weights that fit their pairs, with everything else fixed.

    Users do not learn from each other: the loss of each is the mean over its own pairs. One without pairs keeps
    weights 1 / K. Pass the result to the model's forward.

    Raises:
        ValueError: the pairs have no users, a user is not below `users`, or a number is out of its range.
        DivergenceError: a loss or a weight became infinite or NaN.
    """
    count = checks.integer("users", users, 1)
    group = check_groups(pairs, count, "user")
    settings = FitSettings(steps, None, lr)
    K = model.user_logits.shape[-1]
    logits = torch.zeros(model.members, count, K, dtype=pairs.inputs.dtype, device=group.device, requires_grad=True)
    share = (1 / torch.bincount(group, minlength=count).clamp_min(1).to(pairs.inputs.dtype))[group]
    with torch.no_grad():
        points = masked_mean(model.network(pairs.inputs[None]), pairs.mask[None])
        prototypes = model.prototypes.detach()

    def losses(rows: Tensor, step: int) -> Tensor:
        ideal = (logits.softmax(-1) @ prototypes)[:, group]
        return (share * bt_loss(distance_logit(points, ideal), pairs.labels)).sum(-1)

    # One row for the loop: it always sees all pairs, and draws nothing.
    fit("new users' weights", [logits], losses, 1, settings, torch.Generator(group.device), model.members)
    return logits.detach()
