"""Columns of the annotator matrix: what learns from the answers, and how a policy is made from it.

All learners see the features of every step, and all rewards are linear in them, with a constant, unless a learner
cannot be: `vpl` has a hidden layer, because a linear one would give all users the same reward, `bottleneck` is what it
always is, and `cpl` and `optimal_advantage` have a number for each state and action. Policies are planned exactly,
under the known dynamics. Networks learn from the answers of all annotators side by side, each its own member, all with
the same first weights and random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from studies.harness import Array
from studies.preference import tasks
from studies.preference.matrix_annotators import MINORITY, USERS
from valuegym.agents.preference.comparisons import sparse_visits
from valuegym.agents.preference.optimal_advantage import fit_table
from valuegym.agents.reward_models.bottleneck import monotone_reward
from valuegym.agents.reward_models.bradley_terry import (
    LOSSES,
    RewardEnsemble,
    bt_loss,
    reward_ensemble,
    segment_scores,
)
from valuegym.agents.reward_models.cpl import CategoricalPolicy, cpl_loss
from valuegym.agents.reward_models.fitting import FitSettings, fit
from valuegym.agents.reward_models.general_preference import GeneralPreference, skew_score
from valuegym.agents.reward_models.more import fit_sources
from valuegym.agents.reward_models.pairs import Pairs, UserSets, make_pairs, masked_mean
from valuegym.agents.reward_models.pal import IdealPoints
from valuegym.agents.reward_models.vpl import VariationalPreference, draw_context, negative_evidence_bound
from valuegym.envs import mdp as tabular
from valuegym.envs.preference.segments import Segment

MEMBERS, VECTORS, PROTOTYPES, LATENTS, WIDTH, ALPHA = 5, 8, 2, 4, 32, 0.1
FIT = FitSettings(steps=150, batch=None, lr=0.1)
SLOW = FitSettings(steps=150, batch=None, lr=0.02)  # of networks with a hidden layer
FLOAT = torch.float64  # so that rounding does not depend on how many annotators are fitted together
CERTAIN = 1e-12  # nearest to 0 and 1 that the mean probability of members may come


class Data(NamedTuple):
    """Answers of E annotators, each to be learnt from by itself, about the pairs of one task."""

    task: tasks.Task
    pairs: Segment  # (n, 2, ...)
    labels: Array  # (E, n), NaN where there is no answer
    strength: Array  # (E, n), NaN where there is none
    users: Array  # (n,), in turn
    held_out: Segment  # (m, 2, ...), m a multiple of the number of users
    held_out_users: Array  # (m,), in turn
    seed: int

    def generator(self) -> torch.Generator:
        """Return the random numbers of a fit, equal for all annotators."""
        return torch.Generator().manual_seed(self.seed)

    def answered(self, row: int) -> tuple[Segment, Array]:
        """Return the answered pairs of an annotator, and the labels."""
        kept = np.flatnonzero(~np.isnan(self.labels[row]))
        return Segment(*(field[kept] for field in self.pairs)), self.labels[row, kept]


class Learnt(NamedTuple):
    """A policy (1, S, A), logits (m,) of the second of held-out pairs or None, and each user's policy (U, S, A)."""

    policy: Array
    logits: Array | None = None
    by_user: Array | None = None


Learner = Callable[[Data], list[Learnt]]


def plan(task: tasks.Task, reward: Array) -> Array:
    """Return the optimal policies (K, S, A) of rewards (K, S, A) of the task's process; 0 in terminal states."""
    reward = np.where(task.mdp.terminal[..., None], 0.0, reward)
    return np.concatenate([tabular.optimal_policy(task.mdp, table[None]) for table in reward])


# --- fits of all annotators side by side ---


def _pairs(segments: Segment, **options: Any) -> Pairs:
    """Return pairs as tensors, without labels."""
    first, second = segments.features.swapaxes(0, 1)
    masks = dict(zip(("first_mask", "second_mask"), segments.mask.swapaxes(0, 1), strict=True))
    return make_pairs(first, second, np.full(len(first), 0.5), dtype=FLOAT, **masks, **options)


def _steps(task: tasks.Task) -> Tensor:
    """Return the features of all states and actions as segments of one step, (1, S * A, 1, d)."""
    d = task.mdp.features.shape[-1]
    return torch.as_tensor(task.mdp.features.reshape(1, -1, 1, d), dtype=FLOAT)


def _tables(task: tasks.Task, values: Tensor) -> Array:
    """Return values (K, S * A) or (K, S * A, 1) as float64 tables (K, S, A)."""
    table: Array = values.numpy().reshape(-1, *task.mdp.features.shape[1:3])
    return table


def _same_start(make: Callable[[int, torch.Generator], Any], data: Data, members: int = 1) -> Any:
    """Return a model with `members` for each annotator, which start alike for all annotators."""
    one, model = (make(count, data.generator()).to(FLOAT) for count in (members, members * len(data.labels)))
    with torch.no_grad():
        for parameter, first in zip(model.parameters(), one.parameters(), strict=True):
            parameter.copy_(first.repeat(len(data.labels), *[1] * (first.ndim - 1)))
    return model


def _tensor(array: Array) -> Tensor:
    return torch.as_tensor(array, dtype=FLOAT)


def _fit(
    name: str,
    parameters: Iterable[Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    data: Data,
    members: int = 1,
    bootstrap: Tensor | None = None,
    **options: Any,
) -> None:
    """Fit every annotator's members to its answers, by the mean of loss(labels, strength) (E * members, n)."""
    answered = np.repeat(~np.isnan(data.labels), members, 0)
    labels = _tensor(np.where(answered, np.repeat(data.labels, members, 0), 0.5))
    strength = _tensor(np.nan_to_num(np.repeat(data.strength, members, 0)))
    weight = _tensor(answered)
    if bootstrap is not None:
        weight = weight * bootstrap.repeat(len(data.labels), 1)
    weight = weight / weight.sum(-1, keepdim=True).clamp_min(1)

    def losses(rows: Tensor, step: int) -> Tensor:
        return (weight * loss(labels, strength)).sum(-1)

    fit(name, parameters, losses, 1, FIT, data.generator(), len(labels), **options)


# --- a reward of steps, from all answers alike ---


@torch.no_grad()
def _of_rewards(data: Data, model: RewardEnsemble, members: int = 1) -> list[Learnt]:
    """Plan for the mean reward of each annotator's members, and predict by their mean probability."""
    rewards = _tables(data.task, model.rewards(_steps(data.task)))
    policies = plan(data.task, rewards.reshape(-1, members, *rewards.shape[1:]).mean(1))
    chances = model(_pairs(data.held_out))
    if members > 1:
        chances = torch.logit(chances.sigmoid().reshape(len(policies), members, -1).mean(1), eps=CERTAIN)
    return [Learnt(policy[None], logits) for policy, logits in zip(policies, chances.numpy(), strict=True)]


def bradley_terry(loss: str, members: int = 1) -> Learner:
    """Return a learner by one of the losses of `bradley_terry`; of several members each has its bootstrap sample."""
    rule = LOSSES[loss]

    def learn(data: Data) -> list[Learnt]:
        d, discount, pairs = data.task.mdp.features.shape[-1], data.task.mdp.discount, _pairs(data.pairs)
        model = _same_start(lambda count, g: reward_ensemble(d, g, count, depth=0, discount=discount), data, members)
        model.network.standardise.fit(pairs.inputs, pairs.mask)
        bootstrap = None
        if members > 1:
            drawn = np.random.default_rng([data.seed, 3]).integers(len(pairs), size=(members, len(pairs)))
            bootstrap = _tensor(np.stack([np.bincount(rows, minlength=len(pairs)) for rows in drawn]))
        _fit(
            "the reward model",
            model.parameters(),
            lambda labels, strength: rule(model(pairs), labels, strength),
            data,
            members,
            bootstrap,
        )
        return _of_rewards(data, model, members)

    return learn


def bottleneck(data: Data) -> list[Learnt]:
    """Learn a monotone reward, given the true direction of every feature: privileged information."""
    signs, discount = np.sign(data.task.weights).astype(int).tolist(), data.task.mdp.discount
    directions = {f"feature {i}": sign for i, sign in enumerate(signs)}
    model = _same_start(lambda count, g: monotone_reward(directions, g, count, discount=discount), data)
    pairs = _pairs(data.pairs)
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    _fit("the monotone reward", model.parameters(), lambda labels, strength: bt_loss(model(pairs), labels), data)
    return _of_rewards(data, model)


def general_preference(data: Data) -> list[Learnt]:
    """Learn a general preference; a step's reward is its mean logit against the segments of all pairs."""
    d, pairs = data.task.mdp.features.shape[-1], _pairs(data.pairs)
    model = _same_start(
        lambda count, g: GeneralPreference(d, g, count, VECTORS, depth=0, normalise=False, temperature=1.0), data
    )
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    _fit("the preferences", model.parameters(), lambda labels, strength: bt_loss(model(pairs), labels), data)
    with torch.no_grad():
        pool = model.vectors(pairs.inputs[None], pairs.mask[None]).mean((1, 2))
        steps = _steps(data.task)
        vectors = model.vectors(steps, torch.ones(steps.shape[:-1], dtype=FLOAT))
        policies = plan(data.task, _tables(data.task, skew_score(vectors, pool[:, None].expand_as(vectors))))
        logits = model(_pairs(data.held_out)).numpy()
    return [Learnt(policy[None], row) for policy, row in zip(policies, logits, strict=True)]


# --- users ---


def sources(data: Data) -> list[Learnt]:
    """Learn one reward that is balanced between the two kinds of users, by gradients of least norm.

    Who is of which kind is privileged information.
    """
    d, discount = data.task.mdp.features.shape[-1], data.task.mdp.discount
    found = []
    for labels in data.labels:
        generator = data.generator()
        model = reward_ensemble(d, generator, members=1, depth=0, discount=discount).to(FLOAT)
        pairs = replace(_pairs(data.pairs, group=1 * (data.users >= USERS - MINORITY)), labels=_tensor(labels))
        fit_sources(model, pairs, 2, FIT, generator)
        found += _of_rewards(data, model)
    return found


def _of_users(data: Data, rewards: Array, logits: Tensor) -> list[Learnt]:
    """Plan for the mean of each annotator's users' rewards (E, U, S, A), and for each user."""
    means, rows = plan(data.task, rewards.mean(1)), logits.numpy()
    return [
        Learnt(policy[None], row, plan(data.task, own)) for policy, row, own in zip(means, rows, rewards, strict=True)
    ]


def ideal_points(data: Data) -> list[Learnt]:
    """Learn ideal points; a step's reward is how much nearer it is to the user's than segments are on average."""
    d, pairs = data.task.mdp.features.shape[-1], _pairs(data.pairs, group=data.users)
    model = _same_start(lambda count, g: IdealPoints(d, USERS, g, count, PROTOTYPES), data)
    model.network.standardise.fit(pairs.inputs, pairs.mask)
    others = [p for p in model.parameters() if p is not model.user_logits]
    _fit(
        "the ideal points",
        others,
        lambda labels, strength: bt_loss(model(pairs), labels),
        data,
        other_rates=[(model.user_logits, FIT.lr)],
    )
    with torch.no_grad():
        ideals = (model.user_logits.softmax(-1) @ model.prototypes)[:, :, None]
        pool = masked_mean(model.network(pairs.inputs[None]), pairs.mask[None]).flatten(1, 2)
        far = (pool[:, None] - ideals).norm(dim=-1).mean(-1, keepdim=True)
        near = (model.network(_steps(data.task)[:, :, 0])[:, None] - ideals).norm(dim=-1)
        logits = model(_pairs(data.held_out, group=data.held_out_users))
    rewards = _tables(data.task, (far - near).flatten(0, 1)).reshape(
        *near.shape[:2], *data.task.mdp.features.shape[1:3]
    )
    return _of_users(data, rewards, logits)


def _sets(segments: Segment, labels: Tensor, present: Tensor) -> UserSets:
    """Return the pairs (N,) of users in turn as sets of each user (E, U, n), with labels and presence (E, N)."""
    pairs, E = _pairs(segments), len(labels)

    def of_users(values: Tensor) -> Tensor:
        """(..., N, ...) of pairs -> (E, U, n, ...)."""
        return values.reshape(len(values), -1, USERS, *values.shape[2:]).transpose(1, 2).expand(E, *[-1] * values.ndim)

    return UserSets(*map(of_users, (pairs.inputs[None], pairs.mask[None], labels, present)))


def variational(data: Data) -> list[Learnt]:
    """Learn a reward of steps and users' latent vectors."""
    d, E = data.task.mdp.features.shape[-1], len(data.labels)
    answered = _tensor(~np.isnan(data.labels))
    sets = _sets(data.pairs, _tensor(np.nan_to_num(data.labels, nan=0.5)), answered)
    model = _same_start(lambda count, g: VariationalPreference(d, g, count, LATENTS, WIDTH, depth=1), data)
    model.standardise.fit(sets.inputs[:1], sets.mask[:1])
    generator, warm_up = data.generator(), SLOW.steps // 4

    def losses(rows: Tensor, step: int) -> Tensor:
        order = torch.rand(1, *sets.labels.shape[1:], generator=generator, dtype=FLOAT)
        context = draw_context(sets.present, order, torch.rand(1, USERS, generator=generator, dtype=FLOAT))
        noise = torch.randn(1, USERS, LATENTS, generator=generator, dtype=FLOAT)
        bound = negative_evidence_bound(model, sets, context, noise, min(1.0, (step + 1) / warm_up))
        return bound.mean(-1)

    fit("the variational model", model.parameters(), losses, 1, SLOW, data.generator(), E)
    with torch.no_grad():
        latents = model.posterior(sets, sets.present)[0]
        steps = _steps(data.task)[:, None, :, None].expand(E, USERS, -1, 2, -1, -1)
        rewards = model.scores(steps, torch.ones(steps.shape[:-1], dtype=FLOAT), latents)[..., 0]
        nothing = torch.full((E, len(data.held_out_users)), 0.5, dtype=FLOAT)
        logits = model(_sets(data.held_out, nothing, nothing), latents).transpose(1, 2).flatten(1)
    tables = _tables(data.task, rewards.flatten(0, 1))
    return _of_users(data, tables.reshape(E, USERS, *tables.shape[1:]), logits)


# --- policies and advantages ---


def _greedy(table: Array) -> Array:
    """Return the policy (1, S, A) that takes the highest entries of a table (S, A)."""
    return tabular.greedy_policy(table[None], tabular.reward_scale(table[None]))


def contrastive(data: Data) -> list[Learnt]:
    """Learn a policy of cells by contrastive preference learning, and take its likeliest action."""
    mdp = data.task.mdp
    S, A = mdp.features.shape[1:3]
    model = _same_start(lambda count, g: CategoricalPolicy(S, A, g, count, depth=0), data)
    cells = torch.eye(S, dtype=FLOAT)[None]

    def logs(segments: Segment) -> Tensor:
        """Return log probabilities (E, N, 2, L) of what was done, looked up in those of all cells."""
        table = model.network(cells).log_softmax(-1).flatten(1)
        return table[:, torch.as_tensor(segments.states[..., :-1] * A + segments.actions)]

    mask = _tensor(data.pairs.mask)
    _fit(
        "the policy",
        model.parameters(),
        lambda labels, strength: cpl_loss(logs(data.pairs), mask, labels, ALPHA, discount=mdp.discount),
        data,
    )
    with torch.no_grad():
        tables = _tables(data.task, model.network(cells))
        score = ALPHA * segment_scores(logs(data.held_out), _tensor(data.held_out.mask), mdp.discount)
        logits = (score[..., 1] - score[..., 0]).numpy()
    return [Learnt(_greedy(table), row) for table, row in zip(tables, logits, strict=True)]


def _one_by_one(learn: Callable[[Data, Segment, Array], Learnt]) -> Learner:
    """Return a learner from the answered pairs of each annotator."""
    return lambda data: [learn(data, *data.answered(row)) for row in range(len(data.labels))]


def _advantage(data: Data, pairs: Segment, labels: Array) -> Learnt:
    """Learn a number for each state and action by the partial-return model, and take the highest."""
    mdp = data.task.mdp
    S, A = mdp.features.shape[1:3]
    table = fit_table(pairs, labels, S, A, mdp.discount)
    logits = sparse_visits(data.held_out, S, A, mdp.discount) @ table
    return Learnt(_greedy(table.reshape(S, A)), logits)


# --- weights under a statistic ---


def weights_by(name: str, statistic: str) -> Learner:
    """Return a learner of `agents/preference`, which predicts by the statistic that it assumes, with its weights."""

    def learn(data: Data, pairs: Segment, labels: Array) -> Learnt:
        mdp, rng = data.task.mdp, np.random.default_rng(data.seed)
        weights = tasks.learner(name).estimate(mdp, pairs, labels, rng)
        logits = tasks.learner(statistic).differences(mdp, data.held_out)(weights[None])[0] @ weights
        return Learnt(plan(data.task, tabular.reward(mdp, weights[None])), logits)

    return _one_by_one(learn)


# --- controls, which see no answer ---


def _planned(weights: Callable[[Data], Array]) -> Learner:
    def learn(data: Data) -> list[Learnt]:
        return [Learnt(plan(data.task, tabular.reward(data.task.mdp, weights(data)[None])))] * len(data.labels)

    return learn


def _constant(data: Data) -> Array:
    weights: Array = tasks.learner("constant").act(None, None, np.ones(1, np.bool_))[0][0].astype(np.float64)
    return weights


def _random(data: Data) -> Array:
    return np.random.default_rng([data.seed, 2]).standard_normal(len(data.task.weights))


class Column(NamedTuple):
    """A learner: the name on pages, what learns, its group, and the rows that it can learn from."""

    label: str
    learn: Learner
    group: str
    strengths: bool = False  # only from annotators who give strengths
    kinds: bool = False  # only where there are two kinds of users


COLUMNS: dict[str, Column] = {
    "true-reward": Column("true reward", _planned(lambda data: data.task.weights), "control"),
    "constant": Column("best constant", _planned(_constant), "control"),
    "random": Column("random reward", _planned(_random), "control"),
    "partial-return": Column("partial_return", weights_by("partial_return", "partial_return"), "weights"),
    "bayes-partial-return": Column(
        "bayes_partial_return", weights_by("bayes_partial_return", "partial_return"), "weights"
    ),
    "regret": Column("regret", weights_by("regret", "regret"), "weights"),
    "bayes-regret": Column("bayes_regret", weights_by("bayes_regret", "regret"), "weights"),
    "bt": Column("bt", bradley_terry("bt"), "rewards"),
    "ensemble": Column("bt, ensemble", bradley_terry("bt", MEMBERS), "rewards"),
    "margin": Column("margin", bradley_terry("margin"), "rewards", strengths=True),
    "scaled": Column("scaled", bradley_terry("scaled"), "rewards", strengths=True),
    "dynamic": Column("dynamic", bradley_terry("dynamic"), "rewards", strengths=True),
    "bottleneck": Column("bottleneck", bottleneck, "rewards"),
    "general": Column("general preference", general_preference, "rewards"),
    "more": Column("more", sources, "users", kinds=True),
    "pal": Column("pal", ideal_points, "users"),
    "vpl": Column("vpl", variational, "users"),
    "optimal-advantage": Column("optimal_advantage", _one_by_one(_advantage), "policies"),
    "cpl": Column("cpl", contrastive, "policies"),
}
