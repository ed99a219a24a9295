"""Choice of the pairs to ask about among candidates, from the outputs of an ensemble and from features of pairs.

Letters: E members, N candidates, F features of a pair, p = sigmoid(logit) of the second being preferred, H binary
entropy in bits.

    uniform           every set of pairs alike
    disagreement      standard deviation of p over members
    entropy           mean over members of H(p) (as B-Pref does it, Lee et al. 2021), ambiguity included
    information_gain  H(mean p) - mean H(p): bits an answer says about which member is right, ambiguity left out
    k_center          farthest from those chosen or answered before, one after another (Sener, Savarese 2018)
    disagreement_k_center, entropy_k_center   k_center among the half of the candidates that scores highest (B-Pref)

Scores that differ by less than rounding are ties, and ties are drawn: members that are one and the same choose
uniformly under `disagreement` and `information_gain`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuegym.agents.reward_models.pairs import Pairs, masked_mean, segment_pairs
from valuegym.envs import checks

__all__ = [
    "SELECTIONS",
    "Selector",
    "binary_entropy",
    "disagreement",
    "expected_entropy",
    "information_gain",
    "k_center",
    "select",
]

_TIE = 1e-5  # of scores from 0 to 1, in single precision


def binary_entropy(probability: Tensor) -> Tensor:
    """Return H(p) in bits, 0 at p = 0 and 1."""
    q = 1 - probability
    return (torch.special.entr(probability) + torch.special.entr(q)) / math.log(2)


def _mean(values: Tensor) -> Tensor:
    """Return the mean over members, exactly the value of equal members."""
    return values[0] + (values - values[0]).mean(0)


def disagreement(logits: Tensor) -> Tensor:
    """Return the standard deviation over members of P(second), logits (E, N) -> (N,)."""
    p = logits.sigmoid()
    return (p - p[0]).std(0, correction=0)


def expected_entropy(logits: Tensor) -> Tensor:
    """Return the mean over members of the entropy of an answer, logits (E, N) -> (N,) in bits."""
    return _mean(binary_entropy(logits.sigmoid()))


def information_gain(logits: Tensor) -> Tensor:
    """Return the mutual information of an answer and the member, logits (E, N) -> (N,) in bits, at least 0."""
    p = logits.sigmoid()
    return (binary_entropy(_mean(p)) - _mean(binary_entropy(p))).clamp_min(0)


SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    "disagreement": disagreement,
    "entropy": expected_entropy,
    "information_gain": information_gain,
}
SELECTIONS = ("uniform", *SCORES, "k_center", "disagreement_k_center", "entropy_k_center")


def _highest(scores: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return the rows of the highest scores, those of ties at random."""
    order = torch.randperm(len(scores), generator=generator, device=generator.device).to(scores.device)
    rounded = (scores[order] / _TIE).round()
    return order[rounded.argsort(descending=True, stable=True)[:count]]


def _finite(name: str, values: Any) -> Tensor:
    found = torch.as_tensor(values).detach()
    if found.ndim != 2 or not found.numel() or not found.is_floating_point() or not found.isfinite().all():
        raise ValueError(f"{name} has shape {tuple(found.shape)}; expected two axes of finite numbers.")
    return found


def k_center(features: Any, count: int, generator: torch.Generator, answered: Any = None) -> Tensor:
    """Return `count` rows of features (N, F), each the farthest from `answered` (M, F) and the rows before it.

    Without `answered` the first row is drawn. Distances are Euclidean; of rows equally far the first is
    taken.

    Raises:
        ValueError: an array is not finite, shapes do not match, or `count` is not from 1 to N.
    """
    points = _finite("features", features)
    checks.integer("count", count, 1, len(points))
    rows: list[int] = []
    distance = torch.full((len(points),), float("inf"), dtype=points.dtype, device=points.device)
    if answered is not None and len(answered):
        before = _finite("answered", answered).to(points)
        if before.shape[1] != points.shape[1]:
            raise ValueError(f"answered has {before.shape[1]} features; expected {points.shape[1]}.")
        distance = torch.cdist(points, before).amin(1)
    else:
        rows.append(int(torch.randint(len(points), (), generator=generator, device=generator.device)))
    while True:
        if rows:
            distance = torch.minimum(distance, (points - points[rows[-1]]).norm(dim=1))
            distance[rows[-1]] = -1.0  # never again, though a duplicate of it may be
        if len(rows) == count:
            return torch.tensor(rows, device=points.device)
        rows.append(int(distance.argmax()))


def select(
    name: str,
    count: int,
    generator: torch.Generator,
    logits: Any = None,
    features: Any = None,
    answered: Any = None,
) -> Tensor:
    """Return the rows of `count` different candidates by one of SELECTIONS.

    `logits` (E, N) are those of an ensemble, `features` (N, F) of pairs, `answered` (M, F) of those answered
    before. Each selection uses its own and needs no other; `uniform` takes the number of candidates from either.

    Raises:
        ValueError: the name is unknown, what the selection uses is missing or not finite, or `count` is not
            from 1 to N.
    """
    checks.choice("name", name, SELECTIONS)
    score = name.removesuffix("_k_center")
    for needed, value, by in (
        ("logits", logits, score in SCORES),
        ("features", features, name.endswith("k_center")),
        ("logits or features", features if logits is None else logits, True),
    ):
        if by and value is None:
            raise ValueError(f"{needed} is None; the selection {name!r} uses it.")
    if name == "k_center":
        return k_center(features, count, generator, answered)
    outputs = None if logits is None else _finite("logits", logits)
    points = None if features is None else _finite("features", features)
    candidates = outputs.shape[1] if outputs is not None else len(points) if points is not None else 0
    checks.integer("count", count, 1, candidates)
    if outputs is None or name == "uniform":
        return torch.randperm(candidates, generator=generator, device=generator.device)[:count]
    if points is None or name in SCORES:
        return _highest(SCORES[name](outputs), count, generator)
    if len(points) != candidates:
        raise ValueError(f"features has {len(points)} rows; expected {candidates}, one for each column of logits.")
    kept = _highest(SCORES[score](outputs), max(count, candidates // 2), generator)
    return kept[k_center(points[kept], count, generator, answered)]


class Selector:
    """Choice of pairs by one of SELECTIONS, as the argument `select` of a preference wrapper.

    `model` is an ensemble that returns logits (E, N) of pairs and may be fitted between rounds; features of a pair are
    the mean inputs of its two segments. `k_center` keeps its distance from all pairs that were chosen before. `inputs`
    is as in `segment_pairs`.

    Raises:
        ValueError: the name is unknown, the selection uses a model and there is none, or `num_actions` is not positive.
    """

    def __init__(
        self,
        name: str,
        generator: torch.Generator,
        model: Callable[[Pairs], Tensor] | None = None,
        num_actions: int | None = None,
        inputs: Callable[[Any, Any], np.ndarray] | None = None,
    ) -> None:
        self.name = checks.choice("name", name, SELECTIONS)
        if model is None and name.removesuffix("_k_center") in SCORES:
            raise ValueError(f"model is None; the selection {name!r} uses one.")
        self.generator, self.model = generator, model
        self.num_actions = None if num_actions is None else checks.integer("num_actions", num_actions, 1)
        self.inputs = inputs
        self.chosen: list[Tensor] = []  # features of the pairs that were chosen

    @torch.no_grad()
    def __call__(self, first: Any, second: Any, count: int) -> np.ndarray:
        """Return the rows (count,) of the candidates, segments `first` and `second`, to ask about.

        Raises:
            ValueError: as `select` and `segment_pairs`.
        """
        pairs = segment_pairs(first, second, None, self.num_actions, self.inputs)
        features = masked_mean(pairs.inputs, pairs.mask).flatten(1)
        logits = None if self.model is None else self.model(pairs)
        before = torch.cat(self.chosen) if self.chosen else None
        rows = select(self.name, count, self.generator, logits, features, before)
        self.chosen.append(features[rows])
        return rows.numpy()
