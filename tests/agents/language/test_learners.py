"""Learners of policies over tokens: losses against each other and closed forms, and what each of them recovers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from valuegym.agents.language import cpl, dpo, reward_model
from valuegym.agents.language.pairs import Pairs, fit_table, logistic_loss, make_pairs
from valuegym.envs.language import prefixes
from valuegym.envs.language.prefixes import Stretches
from valuegym.envs.language.worlds import make_world
from valuegym.envs.preference.models import BradleyTerry

WORLD = make_world(3, 4, 2, world=1)
TREE, TEMPERATURE = WORLD.tree, 0.8
SOLVED = prefixes.soft_values(WORLD.rewards, WORLD.log_reference, TEMPERATURE)
BEST = prefixes.soft_policy(*SOLVED, WORLD.log_reference, TEMPERATURE)
WIDE = 1e3


def some_pairs(length: int, one_prompt: bool, answers: str) -> Pairs:
    """Return 4,000 of all pairs of stretches, with the exact shares of answers by partial return or regret."""
    one = prefixes.every(TREE, 2, length)
    sides = np.stack(np.triu_indices(len(one.prompt), 1), 1)
    if one_prompt:
        sides = sides[one.prompt[sides[:, 0]] == one.prompt[sides[:, 1]]]
    sides = np.random.default_rng(0).permutation(sides)[:4000]
    some = Stretches(*(field[sides] for field in one))
    if answers == "partial return":
        utility = prefixes.partial_return(WORLD.rewards, some)
    else:
        utility = -prefixes.regret(*SOLVED, some)
    return make_pairs(some, BradleyTerry().probability(utility[:, 1] - utility[:, 0]))


def gap(log_policy: Any) -> float:
    """Return the KL divergence of whole responses from the optimal policy, over both prompts.

    Prefixes that a policy hardly ever reaches hardly count, as in a policy gradient.
    """
    return float(prefixes.kl_divergence(log_policy, BEST).sum())


def loss_and_gradient(loss: Any) -> tuple[Any, Any]:
    logits = torch.tensor(np.random.default_rng(0).standard_normal(BEST.shape), requires_grad=True)
    found = loss(logits.log_softmax(-1), torch.as_tensor(WORLD.log_reference))
    found.sum().backward()
    assert logits.grad is not None
    return found.detach().numpy(), logits.grad.numpy()


def test_dpo_is_cpl_on_whole_responses() -> None:
    pairs = some_pairs(TREE.T, True, "partial return")
    contrastive = loss_and_gradient(lambda policy, reference: cpl.cpl_loss(policy, reference, pairs, TEMPERATURE))
    direct = loss_and_gradient(
        lambda policy, reference: dpo.dpo_loss(pairs.sums(policy), pairs.sums(reference), pairs.labels, TEMPERATURE)
    )
    for a, b in zip(contrastive, direct, strict=True):
        assert np.allclose(a, b, atol=1e-12)
    learned = [learn(pairs, WORLD.log_reference, TEMPERATURE) for learn in (cpl.learn, dpo.learn)]
    assert np.allclose(*learned, atol=1e-5)


def test_losses_in_closed_form() -> None:
    """At the reference policy every answer costs ln 2; at the optimum the loss is the entropy of regret answers."""
    pairs = some_pairs(2, False, "regret")
    reference, best = torch.as_tensor(WORLD.log_reference), torch.as_tensor(BEST)
    assert np.allclose(cpl.cpl_loss(reference, reference, pairs, TEMPERATURE), np.log(2))
    p = pairs.labels
    entropy = -(p * p.log() + (1 - p) * (1 - p).log())
    assert np.allclose(cpl.cpl_loss(best, reference, pairs, TEMPERATURE), entropy, atol=1e-12)
    scores = torch.tensor([[-800.0, 800.0]], dtype=torch.float64)
    assert logistic_loss(scores, torch.ones(1)).item() == 0.0 and logistic_loss(scores, torch.zeros(1)).item() == 1600


def test_answers_turned_around_with_their_sides_change_nothing() -> None:
    pairs = some_pairs(2, False, "regret")
    turned = Pairs(pairs.prompt.flip(1), pairs.prefix.flip(1), pairs.token.flip(1), 1 - pairs.labels)
    losses = [
        cpl.cpl_loss(torch.as_tensor(BEST), torch.as_tensor(WORLD.log_reference), x, TEMPERATURE)
        for x in (pairs, turned)
    ]
    assert torch.allclose(*losses, atol=1e-12)


def test_the_policy_gradient_reaches_the_closed_form() -> None:
    assert gap(reward_model.climb(WORLD.rewards, WORLD.log_reference, TEMPERATURE)) < 1e-5


@pytest.mark.parametrize(
    ("length", "one_prompt", "answers", "recovered"),
    [
        (4, True, "partial return", {"reward model", "CPL"}),
        (4, True, "regret", {"reward model", "CPL"}),
        (4, False, "partial return", {"reward model"}),
        (2, False, "partial return", {"reward model"}),
        (2, False, "regret", {"reward model", "CPL"}),
        (3, False, "regret", {"CPL"}),  # stretches of 3 tokens do not tile responses of 4
    ],
)
def test_what_recovers_the_optimum_from_exact_answers(
    length: int, one_prompt: bool, answers: str, recovered: set[str]
) -> None:
    pairs = some_pairs(length, one_prompt, answers)
    gaps = {
        name: gap(learn(pairs, WORLD.log_reference, TEMPERATURE, WIDE))
        for name, learn in {"reward model": reward_model.learn, "CPL": cpl.learn}.items()
    }
    assert {name for name, found in gaps.items() if found < 1e-3} == recovered, gaps
    assert all(gaps[name] > 0.01 for name in gaps.keys() - recovered), gaps


def test_a_part_of_the_reward_that_three_tokens_do_not_show() -> None:
    """Adding to a first token what its successors' third tokens lose changes no stretch of 3, but whole returns."""
    shift = np.array([1.0, -2.0, 0.5])
    other = WORLD.rewards.copy()
    for t, sign in ((0, 1.0), (1, -1.0), (3, 1.0)):
        rows = slice(TREE.starts[t], TREE.starts[t + 1])
        first = TREE.tokens(t)[:, 0] if t else None
        other[:, rows] += sign * (shift if first is None else shift[first][:, None])
    for length, same in ((3, True), (4, False), (2, False)):
        some = prefixes.every(TREE, 2, length)
        sums = [prefixes.partial_return(r, some) for r in (WORLD.rewards, other)]
        assert np.allclose(*sums) == same


def test_nothing_compared_leaves_the_reference() -> None:
    one = prefixes.every(TREE, 2, 1)
    same = Stretches(*(np.stack([field[:1], field[:1]], 1) for field in one))
    pairs = make_pairs(same, [1.0])
    for learn in (cpl.learn, reward_model.learn):
        assert np.allclose(learn(pairs, WORLD.log_reference, TEMPERATURE), WORLD.log_reference, atol=1e-9)


def test_bad_input_is_refused() -> None:
    one = prefixes.every(TREE, 2, 2)
    two = Stretches(*(np.stack([field[:3], field[3:6]], 1) for field in one))
    with pytest.raises(ValueError, match=r"stretches have shape \(144,\)|stretches have shape"):
        make_pairs(one, np.zeros(len(one.prompt)))
    for labels in ([0.0, 1.0], [0, 1, 2], [0, 1, np.nan]):
        with pytest.raises(ValueError, match="labels"):
            make_pairs(two, labels)
    pairs = make_pairs(two, [0, 1, 1])
    with pytest.raises(ValueError, match="no whole response"):
        dpo.learn(pairs, WORLD.log_reference, TEMPERATURE)
    with pytest.raises(ValueError, match="two prompts"):
        dpo.learn(some_pairs(4, False, "regret"), WORLD.log_reference, TEMPERATURE)
    for learn in (cpl.learn, dpo.learn, reward_model.learn):
        with pytest.raises(ValueError, match="temperature is 0"):
            learn(pairs, WORLD.log_reference, 0)
    with pytest.raises(ValueError, match="prior_scale"):
        fit_table(lambda table: table.sum(), (2,), np.inf)
