"""KL to the start policy: closed forms, the optimum under a penalty on it, and estimates from episodes."""

from __future__ import annotations

import numpy as np
import pytest

from valuegym.agents import kl
from valuegym.envs import mdp as tabular
from valuegym.envs.feedback import transforms
from valuegym.envs.preference import delivery

RNG = np.random.default_rng(0)


def test_kl_of_discrete_and_gaussian_policies() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])
    assert kl.kl_divergence(p, q) == pytest.approx(0.5 * np.log(2))
    assert kl.kl_divergence(q, p) == np.inf
    assert kl.kl_divergence(np.stack([p, q]), np.stack([p, q])).tolist() == [0, 0]
    assert kl.kl_gaussian([1.0, 0.0], 1.0, 0.0, 1.0) == pytest.approx(0.5)
    assert kl.kl_gaussian([0.0], [2.0], [0.0], [1.0]) == pytest.approx(1.5 - np.log(2))
    # A grid of a Gaussian agrees with its closed form.
    x = np.linspace(-12, 12, 4001)
    rows = [np.exp(-((x - m) ** 2) / (2 * s * s)) for m, s in ((0.7, 1.3), (0.0, 1.0))]
    rows = [row / row.sum() for row in rows]
    assert kl.kl_divergence(*rows) == pytest.approx(float(kl.kl_gaussian([0.7], [1.3], [0.0], [1.0])))
    for bad in ([0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="policy"):
            kl.kl_divergence(bad, [0.5, 0.5])
    with pytest.raises(ValueError, match="start"):
        kl.kl_divergence([0.5, 0.5], [1.0])
    with pytest.raises(ValueError, match="broadcast"):
        kl.kl_gaussian(np.ones(2), 1.0, np.ones(3), 1.0)
    with pytest.raises(ValueError, match="deviation"):
        kl.kl_gaussian([0.0], [0.0], [0.0], [1.0])


ACTIONS = np.linspace(-6.0, 14.0, 20001)
LOG_START = -(ACTIONS**2) / 2 - np.log(np.exp(-(ACTIONS**2) / 2).sum())
GOLD = np.where(ACTIONS <= 2.5, ACTIONS, 2.5 - 1.2 * (ACTIONS - 2.5))  # the proxy is the action itself
COEFFICIENTS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.01)


def at_optimum(utility: np.ndarray, coefficient: float) -> tuple[float, float]:
    """Return expected gold reward and KL at the optimum under a penalty."""
    policy, start = np.exp(kl.kl_optimum(utility, LOG_START, coefficient)), np.exp(LOG_START)
    return float(policy @ GOLD), float(kl.kl_divergence(policy, start))


@pytest.mark.parametrize(
    ("utility", "gold", "nats"),
    [
        (ACTIONS, (0.94, 1.56, -0.50, -6.50, -11.1, -11.3), 97.6),
        (transforms.centred(ACTIONS, 3.0), (0.94, 1.56, -0.50, -6.50, -11.1, -11.3), 97.6),
        (transforms.clip(ACTIONS, -1.0, 1.0), (0.61, 0.97, 1.31, 1.41, 1.46, 1.49), 1.7),
        (transforms.lsc(ACTIONS, 1.0364), (0.58, 0.98, 1.62, 1.95, 1.86, 0.41), 4.5),
        (transforms.lsc(ACTIONS, 0.0), (0.40, 0.69, 1.20, 1.62, 1.94, 1.36), 2.7),
        (transforms.par(ACTIONS, [0.0]), (0.20, 0.39, 0.90, 1.43, 1.86, 1.40), 2.3),
    ],
    ids=["raw", "centred", "clip", "lsc, quantile 0.85", "lsc, median", "par"],
)
def test_bounded_transforms_resist_a_wrong_proxy(utility: np.ndarray, gold: tuple[float, ...], nats: float) -> None:
    """Exact: start N(0, 1), proxy x, gold x up to 2.5 and then falling; gold at the optimum for each coefficient."""
    found = [at_optimum(utility, coefficient) for coefficient in COEFFICIENTS]
    assert [value for value, _ in found] == pytest.approx(gold, abs=0.02)
    assert found[4][1] == pytest.approx(nats, abs=0.06)


def test_at_equal_kl_transforms_are_close() -> None:
    """Much of the resistance is a smaller step: at KL 4, the raw reward reaches 1.54, the bounded ones 1.95 of 2.5."""
    reached = []
    for utility in (ACTIONS, transforms.lsc(ACTIONS, 1.0364), transforms.par(ACTIONS, [0.0])):
        low, high = 0.005, 5.0
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if at_optimum(utility, middle)[1] > 4 else (low, middle)
        reached.append(at_optimum(utility, low)[0])
    assert reached == pytest.approx([1.54, 1.94, 1.95], abs=0.01)


@pytest.mark.parametrize("constant", [-1e3, 0.1, 7.0])
def test_a_constant_changes_nothing_at_the_optimum(constant: float) -> None:
    u, log_start = RNG.standard_normal((4, 9)), np.log(RNG.dirichlet(np.ones(9), 4))
    one, two = (kl.kl_optimum(x, log_start, 0.3) for x in (u, transforms.centred(u, constant)))
    assert np.allclose(one, two, rtol=0, atol=1e-9)
    assert np.allclose(np.exp(one).sum(-1), 1)


def test_no_policy_is_better_than_the_optimum() -> None:
    u, start = RNG.standard_normal(6), RNG.dirichlet(np.ones(6))
    best = np.exp(kl.kl_optimum(u, np.log(start), 0.4))
    others = RNG.dirichlet(np.ones(6), 500)
    value = [p @ u - 0.4 * kl.kl_divergence(p, start) for p in (best, *others)]
    assert np.argmax(value) == 0
    assert value[0] == pytest.approx(0.4 * np.log(start @ np.exp(u / 0.4)))
    with pytest.raises(ValueError, match="coefficient"):
        kl.kl_optimum(u, np.log(start), 0.0)
    with pytest.raises(ValueError, match="finite"):
        kl.kl_optimum(u, np.log(start), 1e-320)


# --- whole episodes ---

BOARD = np.array([[[0, 0, 6, 0], [4, 3, 0, 0], [0, 0, 0, 1]]])
MDP = delivery.board_mdp(BOARD)
START = RNG.dirichlet(np.ones(4), 12)
REWARD = tabular.reward(MDP, np.array([[-1.0, 5.0, -5.0, 1.0, -1.0, -2.0]]))


def test_the_soft_optimum_of_one_step_is_that_of_the_grid() -> None:
    found = kl.soft_optimum(MDP, REWARD, START, [0.5], 1)
    np.testing.assert_allclose(found.policy[0, 0], np.exp(kl.kl_optimum(REWARD[0], np.log(START), 0.5)), atol=1e-12)
    np.testing.assert_allclose(found.kl, MDP.start @ kl.kl_divergence(found.policy[0, 0], START), atol=1e-12)


def test_value_is_return_less_the_penalty_and_no_policy_is_better() -> None:
    costs = np.array([0.3, 1.0, 30.0])
    found = kl.soft_optimum(MDP, np.repeat(REWARD, 3, 0), START, costs, 7)
    returns = kl.episode_returns(MDP, found.policy, REWARD)
    np.testing.assert_allclose(found.value, returns - costs * found.kl, atol=1e-9)
    terms = np.log(np.maximum(found.policy, 1e-300)) - np.log(START)
    np.testing.assert_allclose(found.kl, kl.episode_returns(MDP, found.policy, terms), atol=1e-9)
    assert (np.diff(found.kl) < 0).all() and found.kl[-1] < 0.1
    for _ in range(50):
        other = found.policy * RNG.gamma(20, size=found.policy.shape)
        other /= other.sum(-1, keepdims=True)
        terms = np.log(other) - np.log(START)
        value = kl.episode_returns(MDP, other, REWARD) - costs * kl.episode_returns(MDP, other, terms)
        assert (value < found.value).all()


def test_many_steps_approach_soft_values_of_the_process() -> None:
    """A second derivation: maximum-entropy values of r + c log start are the same, but for discount and horizon."""
    cost, ends = 2.0, np.where(MDP.terminal[..., None], 0.0, REWARD)
    inside = np.where(MDP.terminal[0, :, None], 0.25, START)
    values, _ = tabular.soft_values(MDP, np.where(MDP.terminal[..., None], 0.0, ends + cost * np.log(inside)), cost)
    found = kl.soft_optimum(MDP, ends, inside, [cost], 400)
    assert found.value[0] == pytest.approx(float(MDP.start[0] @ values[0]), abs=0.2)  # discount 0.999


def test_a_constant_changes_nothing_where_all_episodes_are_as_long() -> None:
    one, two = (kl.soft_optimum(MDP, REWARD + c, START, [0.7], 9) for c in (0.0, 3.0))
    np.testing.assert_allclose(one.policy, two.policy, atol=1e-10)
    alive = ~MDP.terminal[0, :, None]  # a wage for each step before the end does
    three = kl.soft_optimum(MDP, REWARD + 3.0 * alive, START, [0.7], 9)
    assert abs(three.kl - one.kl) > 0.05


def test_affine_transforms_trace_one_curve() -> None:
    references = RNG.normal(1, 3, 40)
    for name in ("centred", "z_score", "min_max"):
        transform = transforms.fit_transform(name, references)
        slope = float(transform(1.0) - transform(0.0))
        one = kl.soft_optimum(MDP, REWARD, START, [0.7], 9)
        two = kl.soft_optimum(MDP, transform(REWARD), START, [0.7 * slope], 9)
        np.testing.assert_allclose(one.policy, two.policy, atol=1e-9)


@pytest.mark.parametrize("cost", [1.0, 30.0])
def test_estimates_from_episodes_agree_with_the_exact_kl(cost: float) -> None:
    rng, found = np.random.default_rng(1), kl.soft_optimum(MDP, REWARD, START, [cost], 6)
    policy, number = found.policy[0], np.repeat(np.arange(4000), 6)
    state, rows = rng.choice(12, 4000, p=MDP.start[0]), []
    assert MDP.next_state is not None
    for t in range(6):
        action = (policy[t, state].cumsum(-1) < rng.random((4000, 1))).sum(-1)
        exact = kl.kl_divergence(policy[t, state], START[state])
        rows.append((np.log(policy[t, state, action]), np.log(START[state, action]), exact))
        state = MDP.next_state[0, state, action]
    p, q, exact = (np.stack(column, -1).ravel() for column in zip(*rows, strict=True))
    terms = exact, kl.log_ratio_terms(p, q), kl.log_ratio_terms(p, q, positive=True)
    estimates = [kl.episode_kl(term, number) for term in terms]
    for estimate in estimates:
        assert abs(estimate.nats - found.kl[0]) < 4 * estimate.standard_error
        assert estimate.episodes == 4000 and estimate.steps == 24000
    exactly, plain, positive = (estimate.standard_error for estimate in estimates)
    assert exactly < min(plain, positive) and (terms[2] >= 0).all()
    assert (positive < plain) == (cost == 30.0)  # far from the start the ratio q / p has a heavy tail
    order = rng.permutation(len(number))
    assert kl.episode_kl(exact[order], number[order]).nats == pytest.approx(estimates[0].nats)


def test_a_known_estimate() -> None:
    found = kl.episode_kl([1.0, 2.0, 5.0], [7, 7, 9])
    assert found == (4.0, pytest.approx(1.0), 2, 3)
    assert str(found) == "4 nats per episode (standard error 1, 2 episodes)"


def test_what_does_not_fit_is_refused() -> None:
    for terms, episode, match in (
        ([1.0], [0], "1 episodes"),
        ([1.0, np.nan], [0, 1], "terms"),
        ([1.0, 2.0], [0, -1], "episode"),
        ([1.0, 2.0], [0], "episode"),
    ):
        with pytest.raises(ValueError, match=match):
            kl.episode_kl(terms, episode)
    with pytest.raises(ValueError, match="log_start"):
        kl.log_ratio_terms([0.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="log_policy"):
        kl.log_ratio_terms([-np.inf], [0.0])
    for changes, match in (
        ({"rewards": REWARD[0]}, "rewards"),
        ({"start": np.eye(12)[:, :4]}, "start"),
        ({"coefficients": [0.0]}, "coefficients"),
        ({"coefficients": [1e-320]}, "larger coefficients"),
        ({"steps": 0}, "steps"),
    ):
        known = {"rewards": REWARD, "start": START, "coefficients": [1.0], "steps": 3} | changes
        with pytest.raises(ValueError, match=match):
            kl.soft_optimum(MDP, **known)  # type: ignore[arg-type] - the point
