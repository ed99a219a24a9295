"""Pluralist: broadcasts to clusters of people where the benefit outweighs the loss of diversity."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.agents.coevolution.trackers import Floats, Kalman, Memory, carried
from valuegym.envs import checks, keys
from valuegym.envs.coevolution import dynamics
from valuegym.envs.coevolution.coevolve import Coevolve
from valuegym.envs.coevolution.planning import plan

__all__ = ["Pluralist", "fitted_clusters", "initial_centres"]

KEPT = 12  # steps whose responses are kept
MOST = 12  # the largest number of clusters
HIGHEST = 1e6  # price; rewards are of the order of 1
CROWD = 60  # simulated people, who represent the population in the plan
ITERATIONS = 10  # of expectation and maximisation, for each number of clusters at each step


class Pluralist(Kalman):
    """Broadcast to one cluster of people at a time, where the benefit exceeds the price of the lost diversity.

    The estimate is the Kalman filter's. For the broadcast, the responses of the last steps, each minus the level of its
    step, are clustered: mixtures of one to `clusters` normals of given width are fitted by expectation-maximisation and
    compared by the Bayesian information criterion. Simulated people, drawn from the mixture with its uncertainty, go
    into the environment's planner, which returns the broadcast that benefits them most, or silence where the price of
    the lost diversity is higher. The shift of the mean by its own earlier broadcasts is subtracted before, so that the
    agent serves the counterfactual population. From choices, which say little about individuals, it infers a single
    cluster. Privileged information: the constants of the dynamics and of the responses, and the width of a cluster.

    Args:
        price: of diversity in the plan; None takes that of the environment's reward.
        at_end: whether the plan counts diversity at the end of the episode only, rather than at every step as the
            reward does.
        clusters: the largest number of clusters considered.

    Raises:
        ValueError: an argument is outside its range, or the environment is another one.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        price: float | None = None,
        clusters: int = 3,
        drift: float | None = None,
        at_end: bool = False,
    ) -> None:
        super().__init__(env, seed, drift=drift)
        if price is not None:
            price = checks.real("price", price, 0, HIGHEST)
        self.clusters, self.at_end = checks.integer("clusters", clusters, 1, MOST), checks.flag("at_end", at_end)
        self.dimensions = self.core.dimensions
        if isinstance(self.core, Coevolve):
            self.price = self.core.price if price is None else price
            self.cluster_std = self.core.cluster_std
        index = np.arange(CROWD * self.dimensions)
        self.crowd = keys.irwin_hall(keys.mix(self.seed), index).reshape(CROWD, self.dimensions)

    def decide(
        self, responses: Floats, reading: Floats, t: npt.NDArray[np.int64], memory: Memory
    ) -> tuple[Any, Memory]:
        """Estimate, then plan the broadcast."""
        level, after = self.update(reading, t, memory)
        if not isinstance(self.core, Coevolve):
            return self.say(level, level, t < 0), after
        B, m, D = responses.shape
        blank = np.full((B, KEPT, m, D), np.nan)
        kept = carried(memory, "responses", blank, t)
        kept = np.concatenate([kept[:, 1:], (responses - level[:, None])[:, None]], axis=1)
        shift = carried(memory, "shift", np.zeros((B, D)), t)
        width = np.hypot(self.cluster_std, self.core.channel.noise)
        if self.core.channel.kind == "values":
            share, centre, doubt = fitted_clusters(kept.reshape(B, -1, D), self.clusters, width)
        else:
            share, centre, doubt = np.ones((B, 1)), np.zeros((B, 1, D)), np.sqrt(after["variance"])
        member = (np.cumsum(share, -1)[:, :-1, None] <= (np.arange(CROWD) + 0.5) / CROWD).sum(1)
        around = np.sqrt(self.cluster_std**2 + doubt**2)
        offset = (
            np.take_along_axis(centre, member[..., None], 1)
            + np.take_along_axis(around, member, 1)[..., None] * self.crowd
        )
        people = level[:, None] + offset
        broadcast, worth = plan(
            people,
            people - shift[:, None],
            self.core.steps - t,
            self.core.bound,
            self.core.influence,
            self.core.attachment,
            self.price,
            self.at_end,
        )
        speaking = worth > 0
        pull = dynamics.mean(dynamics.bounded_pull(people, broadcast[:, None], self.core.bound))
        shift = (1 - self.core.attachment) * shift + self.core.influence * pull * speaking[:, None]
        return self.say(level, broadcast, speaking), after | {"responses": kept, "shift": shift}


def fitted_clusters(points: Floats, most: int, width: float) -> tuple[Floats, Floats, Floats]:
    """Fit mixtures of one to `most` normals of given width, and select by the Bayesian information criterion.

    Args:
        points: (B, n, D); rows of NaN are left out.
        most: the largest number of normals.
        width: standard deviation in every dimension.

    Returns:
        share (B, K) of each cluster, 0 for missing ones; centre (B, K, D); doubt (B, K), the standard error of a
        centre's coordinates.
    """
    B, _, D = points.shape
    valid = ~np.isnan(points[..., 0])
    x = np.where(valid[..., None], points, 0.0)
    count, size = valid.sum(-1), (x**2).sum(-1)
    best = np.full(B, -np.inf)
    share, centre = np.zeros((B, most)), np.zeros((B, most, D))
    for K in range(1, most + 1):
        weight, place = np.full((B, K), 1.0 / K), initial_centres(x, valid, K)
        fit = np.zeros(B)
        for _ in range(ITERATIONS):
            square = size[:, None] - 2.0 * np.matmul(place, x.swapaxes(1, 2)) + (place**2).sum(-1)[..., None]
            score = np.log(weight)[..., None] - 0.5 * square / width**2  # (B, K, n)
            peak = score.max(1)
            chance = np.exp(score - peak[:, None])
            total = chance.sum(1)
            fit = np.where(valid, np.log(total) + peak, 0.0).sum(-1)
            chance *= (valid / total)[:, None]
            mass = np.maximum(chance.sum(-1), 1e-9)
            weight = mass / mass.sum(-1, keepdims=True)
            place = np.matmul(chance, x) / mass[..., None]
        criterion = fit - 0.5 * (K * D + K - 1) * np.log(np.maximum(count, 1))
        better = criterion > best
        best = np.where(better, criterion, best)
        share[better], centre[better] = 0.0, 0.0
        share[better, :K], centre[better, :K] = weight[better], place[better]
    return share, centre, width / np.sqrt(np.maximum(share * count[:, None], 1.0))


def initial_centres(x: Floats, valid: npt.NDArray[np.bool_], K: int) -> Floats:
    """Choose K starting centres (B, K, D) along the widest direction of the points, from one end to the other."""
    count = np.maximum(valid.sum(-1), 1)
    mean = x.sum(1) / count[:, None]
    centred = (x - mean[:, None]) * valid[..., None]
    variance, direction = np.linalg.eigh(np.matmul(centred.swapaxes(1, 2), centred) / count[:, None, None])
    along = direction[..., -1] * np.sqrt(np.maximum(variance[:, -1:], 0.0))
    across = direction[..., -2] * np.sqrt(np.maximum(variance[:, -2:-1], 0.0)) if x.shape[-1] > 1 else 0.0 * along
    places = np.linspace(-1, 1, K) if K > 1 else np.zeros(1)
    bend = np.abs(places) - np.abs(places).mean()
    return mean[:, None] + places[:, None] * along[:, None] + bend[:, None] * across[:, None]
