"""Values of prefixes against enumeration of all responses, a general solver, closed forms and invariances."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from valuegym.envs import mdp as tabular
from valuegym.envs.language import prefixes
from valuegym.envs.language.prefixes import Stretches, Tree
from valuegym.envs.language.worlds import World, make_world

V, T, P = 3, 4, 2
WORLD = make_world(V, T, P, world=5)
RESPONSES = np.array(list(product(range(V), repeat=T)))
TEMPERATURE = 0.7


def along(table: Any, tokens: Any) -> Any:
    """Return the entries (P, responses, T) of a table (P, N, V) along whole responses."""
    shape = Tree(V, T)
    before = np.stack([shape.number(tokens[:, :t]) for t in range(T)], 1)
    return table[:, before, tokens]


RETURNS = along(WORLD.rewards, RESPONSES).sum(-1)
LOG_REFERENCE = along(WORLD.log_reference, RESPONSES).sum(-1)


def some_policy(seed: int) -> Any:
    return prefixes.log_softmax(np.random.default_rng(seed).standard_normal(WORLD.rewards.shape))


def pairs(world: World, n: int, length: int, start: Any = None, prompt: Any = None) -> Stretches:
    rng = np.random.default_rng(0)
    if start is None:
        start = rng.integers(0, world.tree.T - length + 1, (n, 2))
    if prompt is None:
        prompt = rng.integers(0, len(world.rewards), (n, 2))
    return prefixes.draw(world.tree, np.exp(world.log_reference), prompt, start, length, rng)


def test_numbers_of_prefixes() -> None:
    shape = Tree(V, T)
    assert (shape.N, shape.M) == (1 + 3 + 9 + 27, 1 + 3 + 9 + 27 + 81) and shape.starts == [0, 1, 4, 13, 40, 121]
    assert prefixes.tree(8, 5).M == 37_449
    for t in range(T + 1):
        numbers = shape.number(shape.tokens(t))
        assert numbers.tolist() == list(range(shape.starts[t], shape.starts[t + 1]))
        written = shape.written(numbers)
        assert (written[:, :t] == shape.tokens(t)).all() and (written[:, t:] == -1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((16, 8), r"4,581,298,449 prefixes, whose values take 34.1 GiB .* at most 0.25 GiB: choose fewer tokens"),
        ((8, 5, 4, 10**6), "0.00112 GiB for prompts = 4; expected at most 0.000931 GiB"),
        ((1, 5), "vocabulary is 1; expected an integer from 2"),
        ((8, 0), "length is 0"),
        ((8, 5, 0), "prompts is 0"),
    ],
)
def test_what_does_not_fit_is_refused_before_memory_is_used(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prefixes.tree(*arguments)


def test_plain_values_against_all_responses() -> None:
    values, action_values = prefixes.optimal_values(WORLD.rewards)
    assert np.allclose(values[:, 0], RETURNS.max(1), atol=1e-12)
    for token in range(V):
        assert np.allclose(action_values[:, 0, token], RETURNS[:, RESPONSES[:, 0] == token].max(1), atol=1e-12)
    best = prefixes.optimal_policy(action_values)
    assert np.allclose(prefixes.evaluate(WORLD.rewards, best)[0], values, atol=1e-12)
    assert (values[:, WORLD.tree.N :] == 0).all()


def test_soft_values_against_all_responses() -> None:
    """Under a KL penalty the best response distribution is reference * exp(return / temperature), normalised."""
    weights = np.exp(LOG_REFERENCE + RETURNS / TEMPERATURE)
    values, action_values = prefixes.soft_values(WORLD.rewards, WORLD.log_reference, TEMPERATURE)
    assert np.allclose(values[:, 0], TEMPERATURE * np.log(weights.sum(1)), atol=1e-12)
    logs = prefixes.soft_policy(values, action_values, WORLD.log_reference, TEMPERATURE)
    assert np.allclose(np.exp(along(logs, RESPONSES).sum(-1)), weights / weights.sum(1, keepdims=True), atol=1e-12)
    assert np.allclose(np.exp(logs).sum(-1), 1, atol=1e-12)
    assert np.allclose(prefixes.kl_objective(WORLD.rewards, logs, WORLD.log_reference, TEMPERATURE), values[:, 0])


def test_policies_against_all_responses() -> None:
    logs = some_policy(1)
    probability = np.exp(along(logs, RESPONSES).sum(-1))
    values, action_values = prefixes.evaluate(WORLD.rewards, np.exp(logs))
    assert np.allclose(values[:, 0], (probability * RETURNS).sum(1), atol=1e-12)
    assert np.allclose((np.exp(logs) * action_values).sum(-1), values[:, : WORLD.tree.N], atol=1e-12)
    reached = prefixes.reach(np.exp(logs))
    assert np.allclose(reached[:, WORLD.tree.number(RESPONSES)], probability, atol=1e-14)
    divergence = (probability * (along(logs, RESPONSES).sum(-1) - LOG_REFERENCE)).sum(1)
    assert np.allclose(prefixes.kl_divergence(logs, WORLD.log_reference), divergence, atol=1e-12)
    assert (divergence > 0).all()
    greedy = np.log(np.maximum(prefixes.optimal_policy(action_values), 1e-300))
    assert np.isfinite(prefixes.kl_divergence(greedy, WORLD.log_reference)).all()


def test_general_solvers_find_the_same_values() -> None:
    """The process as a table of states and actions, with the solvers of the other environments."""
    N, M = WORLD.tree.N, WORLD.tree.M
    states = np.arange(M)
    terminal = states >= N
    following = np.where(terminal[:, None], states[:, None], V * states[:, None] + 1 + np.arange(V))
    start = np.zeros((P, M))
    start[:, 0] = 1
    process = tabular.TabularMDP(
        np.zeros((P, M, V, 1)), np.broadcast_to(terminal, (P, M)), start, 1.0, np.broadcast_to(following, (P, M, V))
    )
    rewards = np.zeros((P, M, V))
    rewards[:, :N] = WORLD.rewards
    values, action_values = tabular.optimal_values(process, rewards)
    found, found_action_values = prefixes.optimal_values(WORLD.rewards)
    assert np.allclose(found, values, atol=1e-12) and np.allclose(found_action_values, action_values[:, :N], atol=1e-12)


def test_entropy_is_a_penalty_towards_uniform_tokens() -> None:
    """Maximum-entropy values are those under a KL penalty plus temperature log V for each token to come."""
    uniform = np.full(WORLD.rewards.shape, -np.log(V))
    values, _ = prefixes.soft_values(WORLD.rewards, uniform, TEMPERATURE)
    total = TEMPERATURE * np.log(np.exp(RETURNS / TEMPERATURE).sum(1))
    assert np.allclose(values[:, 0] + T * TEMPERATURE * np.log(V), total, atol=1e-12)


def test_limits_of_the_temperature() -> None:
    plain = prefixes.optimal_values(WORLD.rewards)
    zero, cold = (prefixes.soft_values(WORLD.rewards, WORLD.log_reference, x) for x in (0.0, 1e-4))
    assert (zero[0] == plain[0]).all() and np.allclose(cold[0], plain[0], atol=1e-2)
    hot = prefixes.soft_values(WORLD.rewards, WORLD.log_reference, 1e7)[0]
    assert np.allclose(hot, prefixes.evaluate(WORLD.rewards, np.exp(WORLD.log_reference))[0], atol=1e-5)
    for bad in (-1.0, np.nan):
        with pytest.raises(ValueError, match="temperature"):
            prefixes.soft_values(WORLD.rewards, WORLD.log_reference, bad)
    with pytest.raises(ValueError, match=r"temperature is 0\.0"):
        prefixes.soft_policy(*plain, WORLD.log_reference, 0.0)


def test_the_gradient_is_the_slope_and_vanishes_at_the_optimum() -> None:
    logits, reference = some_policy(2), WORLD.log_reference
    objective, gradient = prefixes.policy_gradient(WORLD.rewards, logits, reference, TEMPERATURE)
    assert np.allclose(objective, prefixes.kl_objective(WORLD.rewards, logits, reference, TEMPERATURE), atol=1e-12)
    step, rng = 1e-6, np.random.default_rng(0)
    for _ in range(5):
        along_it = rng.standard_normal(logits.shape)
        ends = [
            prefixes.kl_objective(
                WORLD.rewards, prefixes.log_softmax(logits + sign * step * along_it), reference, TEMPERATURE
            )
            for sign in (1, -1)
        ]
        assert np.allclose((ends[0] - ends[1]) / (2 * step), (gradient * along_it).sum((1, 2)), atol=1e-7)
    solved = prefixes.soft_values(WORLD.rewards, reference, TEMPERATURE)
    best = prefixes.soft_policy(*solved, reference, TEMPERATURE)
    assert np.abs(prefixes.policy_gradient(WORLD.rewards, best, reference, TEMPERATURE)[1]).max() < 1e-14


def test_shaping_leaves_the_optimum() -> None:
    """Rewards shaped by a potential, such as advantages in the place of rewards, have the same optimal policy."""
    N, rng = WORLD.tree.N, np.random.default_rng(0)
    potential = rng.standard_normal((P, WORLD.tree.M))
    potential[:, N:] = 0.0
    shaped = WORLD.rewards + potential[:, 1:].reshape(P, N, V) - potential[:, :N, None]
    solved, of_shaped = (prefixes.soft_values(r, WORLD.log_reference, TEMPERATURE) for r in (WORLD.rewards, shaped))
    policies = [prefixes.soft_policy(*x, WORLD.log_reference, TEMPERATURE) for x in (solved, of_shaped)]
    assert np.allclose(*policies, atol=1e-12)
    assert np.allclose(solved[0][:, 0] - of_shaped[0][:, 0], potential[:, 0], atol=1e-12)


@pytest.mark.parametrize("temperature", [0.0, TEMPERATURE])
def test_models_of_preference_coincide_on_responses_to_one_prompt_and_on_nothing_else(temperature: float) -> None:
    world = make_world(world=3)  # the default size
    solved = prefixes.soft_values(world.rewards, world.log_reference, temperature)
    n, length = 2000, world.tree.T

    def gap(stretches: Stretches) -> Any:
        partial, regret = prefixes.partial_return(world.rewards, stretches), prefixes.regret(*solved, stretches)
        return np.abs((partial[:, 1] - partial[:, 0]) + (regret[:, 1] - regret[:, 0]))

    whole, one = np.zeros((n, 2), np.int64), np.repeat(np.arange(n) % 4, 2).reshape(n, 2)
    assert gap(pairs(world, n, length, whole, one)).max() < 1e-13
    other = one + np.arange(2)
    assert gap(pairs(world, n, length, whole, other % 4)).min() > 1e-3
    assert np.median(gap(pairs(world, n, 2, prompt=one))) > 0.5


def test_the_gap_is_the_difference_of_the_values_at_both_ends() -> None:
    solved = prefixes.soft_values(WORLD.rewards, WORLD.log_reference, TEMPERATURE)
    some = pairs(WORLD, 500, 2)
    last = V * some.prefix[..., -1] + 1 + some.token[..., -1]
    ends = solved[0][some.prompt, last] - solved[0][some.prompt, some.prefix[..., 0]]
    advantage = -prefixes.regret(*solved, some)
    assert np.allclose(advantage, prefixes.partial_return(WORLD.rewards, some) + ends, atol=1e-12)
    logs = prefixes.soft_policy(*solved, WORLD.log_reference, TEMPERATURE)
    assert np.allclose(TEMPERATURE * some.read(logs - WORLD.log_reference).sum(-1), advantage, atol=1e-12)


def test_stretches_are_written_by_the_policy() -> None:
    n = 20_000
    some = pairs(WORLD, n, 2, np.full((n, 2), 1), np.zeros((n, 2), np.int64))
    shape, policy = WORLD.tree, np.exp(WORLD.log_reference)
    reached = prefixes.reach(policy)[0]
    assert (some.prefix[..., 0] >= 1).all() and (some.prefix[..., 0] <= V).all()
    assert (some.prefix[..., 1] == V * some.prefix[..., 0] + 1 + some.token[..., 0]).all()
    last = V * some.prefix[..., 1] + 1 + some.token[..., 1]
    share = np.bincount(last.ravel(), minlength=shape.M)[shape.starts[3] : shape.starts[4]] / (2 * n)
    expected = reached[shape.starts[3] : shape.starts[4]]
    assert np.abs(share - expected).max() < 5 * np.sqrt(expected.max() / (2 * n))
    with pytest.raises(ValueError, match="start"):
        pairs(WORLD, 3, 3, np.full((3, 2), 2))
    with pytest.raises(ValueError, match=r"start has shape \(3,\); expected \(3, 2\)"):
        pairs(WORLD, 3, 2, np.zeros(3, np.int64))
    with pytest.raises(ValueError, match="length is 5"):
        pairs(WORLD, 3, 5, np.zeros((3, 2), np.int64))


def test_worlds_are_not_markov_in_the_last_token_unless_they_say_so() -> None:
    def spread(world: World) -> float:
        """Return how far rewards after the same prompt and last token differ at most."""
        tokens = world.tree.tokens(3)
        rows = world.rewards[:, world.tree.starts[3] : world.tree.starts[4]]
        return float(max(np.ptp(rows[:, tokens[:, -1] == last], axis=1).max() for last in range(V)))

    assert spread(WORLD) > 0.5
    assert spread(make_world(V, T, P, pair=0.0)) == 0.0
    assert (make_world(V, T, P, world=5).rewards == WORLD.rewards).all()
    assert not (make_world(V, T, P, world=6).rewards == WORLD.rewards).any()
    pinned = make_world().log_reference
    assert np.allclose(pinned[0, 0, :3], [-3.061815, -1.335322, -2.156382], atol=1e-6)
    assert np.allclose(pinned[3, -1, :3], [-1.21712, -3.460698, -2.852242], atol=1e-6)
    for name, bad in {"world": -1, "taste": np.inf, "pair": -0.1}.items():
        with pytest.raises(ValueError, match=name):
            make_world(**{name: bad})  # type: ignore[arg-type]
