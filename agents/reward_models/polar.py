"""Policy discrimination as pre-training of a reward (POLAR, Dou et al. 2025): first without labels, then with few.

r(reference, x) says how much a segment x looks as if the policy of the reference had made it. Checkpoints of one
training run are policies for free: with a reference and x+ of one of them, and x- of another, the loss is

    -log sigmoid(r(reference, x+) - r(reference, x-)).

Then the reference may be a demonstration, and pairs with labels continue with the same loss. A segment is the mean of
its steps after a network over steps; r is a second network of the two means, their product and squared difference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from valuegym.agents.control.batched_mlp import MLP
from valuegym.agents.reward_models.bradley_terry import bt_loss
from valuegym.agents.reward_models.fitting import FitSettings, StepNetwork, fit
from valuegym.agents.reward_models.pairs import Pairs, masked_mean
from valuegym.envs import checks

__all__ = ["PolicyDiscriminator", "fit_policies", "fit_with_references", "policy_accuracy"]


class PolicyDiscriminator(nn.Module):
    """E functions r(reference, x) of two segments.

    Raises:
        ValueError: a size is not a positive integer, or depth is negative.
    """

    def __init__(
        self,
        inputs: int,
        generator: torch.Generator,
        members: int = 1,
        width: int = 64,
        depth: int = 1,
        dimensions: int = 32,
    ) -> None:
        super().__init__()
        self.network = StepNetwork(members, inputs, dimensions, width, depth, generator)
        self.compare = MLP(members, 4 * dimensions, 1, width, 1, generator=generator)
        self.members = members

    def embed(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return vectors (E, ..., d) of segments (E or 1, ..., L, D) with masks (E or 1, ..., L)."""
        return masked_mean(F.silu(self.network(inputs)), mask)

    def forward(self, reference: Tensor, x: Tensor) -> Tensor:
        """Return r (E, ...) of embedded references and segments, (E, ..., d) each, of the same shape or broadcast."""
        reference, x = torch.broadcast_tensors(reference, x)
        both = torch.cat([reference, x, reference * x, (reference - x).square()], -1)
        y: Tensor = self.compare(both.reshape(len(both), -1, both.shape[-1]))
        return y.reshape(both.shape[:-1])

    @torch.no_grad()
    def rewards(self, references: Tensor, references_mask: Tensor, inputs: Tensor, mask: Tensor) -> Tensor:
        """Return rewards (E, N) of segments (N, L, D): the mean of r over references (M, L, D)."""
        seen, x = self.embed(references[None], references_mask[None]), self.embed(inputs[None], mask[None])
        return self(seen[:, :, None], x[:, None]).mean(1)


def _policies(segments: Any, mask: Any) -> tuple[Tensor, Tensor]:
    """Return checked segments (P, M, L, D) and their mask."""
    found = torch.as_tensor(segments, dtype=torch.float32)
    if found.ndim != 4 or found.shape[0] < 2 or found.shape[1] < 2 or not found.isfinite().all():
        raise ValueError(
            f"segments has shape {tuple(found.shape)}; expected finite (policies, segments, steps, inputs), "
            "two policies or more with two segments or more each."
        )
    there = torch.ones(found.shape[:3]) if mask is None else torch.as_tensor(mask, dtype=torch.float32)
    there = there.to(found.device)
    if there.shape != found.shape[:3] or not ((there == 0) | (there == 1)).all() or not there.any(-1).all():
        raise ValueError(f"mask has shape {tuple(there.shape)}; expected 0 or 1 of each step, one step a segment.")
    return found, there


def _triples(
    policies: int, segments: int, shape: tuple[int, ...], generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Draw the policies and segments (..., 3) of reference, x+ and x-: two segments of one policy, one of another."""

    def draw(count: int) -> Tensor:
        return torch.randint(count, shape, generator=generator, device=generator.device).to(device)

    one, two = draw(policies), draw(policies - 1)
    first, second, other = draw(segments), draw(segments - 1), draw(segments)
    return (
        torch.stack([one, one, two + (two >= one)], -1),
        torch.stack([first, second + (second >= first), other], -1),
    )


def _advantage(model: PolicyDiscriminator, segments: Tensor, mask: Tensor, rows: tuple[Tensor, Tensor]) -> Tensor:
    """Return r(reference, x+) - r(reference, x-) (E, ...) of triples (E, ..., 3)."""
    reference, same, other = model.embed(segments[rows], mask[rows]).unbind(-2)
    return model(reference, same) - model(reference, other)


def fit_policies(
    model: PolicyDiscriminator,
    segments: Any,
    settings: FitSettings,
    generator: torch.Generator,
    mask: Any = None,
) -> Tensor:
    """Fit to segments (P, M, L, D) of P policies, without labels, and return losses (steps, E).

    Raises:
        ValueError: a shape or value is not as said, or there are fewer than two policies or segments of each.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    found, there = _policies(segments, mask)
    model.network.standardise.fit(found, there)
    shape = (model.members, settings.batch or found.shape[0] * found.shape[1])

    def losses(rows: Tensor, step: int) -> Tensor:
        triples = _triples(found.shape[0], found.shape[1], shape, generator, found.device)
        return F.softplus(-_advantage(model, found, there, triples)).mean(-1)

    # One row for the loop: triples are drawn here.
    own = FitSettings(settings.steps, None, settings.lr, settings.weight_decay)
    return fit("the policy discriminator", model.parameters(), losses, 1, own, generator, model.members)


@torch.no_grad()
def policy_accuracy(
    model: PolicyDiscriminator, segments: Any, generator: torch.Generator, count: int = 1000, mask: Any = None
) -> Tensor:
    """Return the share (E,) of `count` random triples in which the segment of the reference's policy has more reward.

    Raises:
        ValueError: as `fit_policies`, or `count` is no positive integer.
    """
    checks.integer("count", count, 1)
    found, there = _policies(segments, mask)
    triples = _triples(found.shape[0], found.shape[1], (model.members, count), generator, found.device)
    return (_advantage(model, found, there, triples) > 0).to(found.dtype).mean(-1)


def fit_with_references(
    model: PolicyDiscriminator,
    pairs: Pairs,
    references: Any,
    settings: FitSettings,
    generator: torch.Generator,
    references_mask: Any = None,
) -> Tensor:
    """Continue with answered pairs, one reference segment (N, L, D) for each, and return losses (steps, E).

    Raises:
        ValueError: a reference is not finite, or there is not one for each pair.
        DivergenceError: a loss or a parameter became infinite or NaN.
    """
    found = torch.as_tensor(references, dtype=pairs.inputs.dtype, device=pairs.inputs.device)
    if found.ndim != 3 or len(found) != len(pairs) or not found.isfinite().all():
        raise ValueError(f"references has shape {tuple(found.shape)}; expected finite ({len(pairs)}, steps, inputs).")
    there = torch.ones(found.shape[:2]) if references_mask is None else torch.as_tensor(references_mask)
    there = there.to(found)
    if there.shape != found.shape[:2]:
        raise ValueError(f"references_mask has shape {tuple(there.shape)}; expected {tuple(found.shape[:2])}.")

    def losses(rows: Tensor, step: int) -> Tensor:
        reference = model.embed(found[rows], there[rows])[..., None, :]
        r = model(reference, model.embed(pairs.inputs[rows], pairs.mask[rows]))
        return bt_loss(r[..., 1] - r[..., 0], pairs.labels[rows]).mean(-1)

    return fit("the policy discriminator", model.parameters(), losses, len(pairs), settings, generator, model.members)
