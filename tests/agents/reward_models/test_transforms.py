"""Transforms of rewards: order and bounds of all, closed forms, and the optimum under a KL penalty on an exact grid."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents.reward_models import transforms
from valuegym.agents.reward_models.transforms import TRANSFORMS, fit_transform

RNG = np.random.default_rng(0)
REFERENCES = RNG.normal(1.0, 2.0, 50)
REWARDS = np.concatenate([[-800.0, 800.0], RNG.normal(0.0, 4.0, (500))])
BOUNDS = {"par": (0, 1), "win_rate": (0, 1), "lsc": (-np.inf, 0)}
STRICT = set(TRANSFORMS) - {"clip", "win_rate"}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_order_bounds_and_shape(name: str) -> None:
    transform = fit_transform(name, REFERENCES)
    u = transform(np.sort(REWARDS))
    low, high = BOUNDS.get(name, (-np.inf, np.inf))
    assert np.isfinite(u).all() and u.min() >= low and u.max() <= high
    assert (np.diff(u) >= 0).all()
    if name in STRICT:
        assert (np.diff(transform(np.linspace(-4, 4, 50))) > 0).all()
    for shape in ((), (0,), (3,), (2, 5)):
        assert transform(np.zeros(shape)).shape == shape and transform(np.zeros(shape)).dtype == np.float64
    assert np.array_equal(transform(REWARDS.reshape(2, -1)).ravel(), transform(REWARDS))


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, "a", None])
def test_nothing_but_finite_numbers_goes_through(name: str, bad: object) -> None:
    with pytest.raises(ValueError, match="rewards"):
        fit_transform(name, REFERENCES)([1.0, bad])
    with pytest.raises(ValueError, match="references"):
        fit_transform(name, [1.0, bad])
    with pytest.raises(ValueError, match="references"):
        fit_transform(name, [])


@pytest.mark.parametrize("name", ["z_score", "clip", "min_max"])
def test_equal_references_have_no_scale(name: str) -> None:
    with pytest.raises(ValueError, match="differ"):
        fit_transform(name, [2.0, 2.0])


def test_options_belong_to_their_transform() -> None:
    assert fit_transform("clip", [0.0, 2.0], width=2.0)(9.0) == 3
    assert fit_transform("par", [0.0], slope=2.0)(1.0) == pytest.approx(1 / (1 + np.exp(-2)))
    assert fit_transform("lsc", [0.0, 1.0, 2.0], quantile=0.5)(1.0) == pytest.approx(-np.log(2))
    for name, option in (("raw", "width"), ("par", "quantile"), ("lsc", "slope"), ("clip", "slope")):
        with pytest.raises(ValueError, match="option of"):
            fit_transform(name, REFERENCES, **{option: 1.0})
    for name, options in (("clip", {"width": 0.0}), ("lsc", {"quantile": 1.5}), ("par", {"slope": -1.0})):
        with pytest.raises(ValueError, match=next(iter(options))):
            fit_transform(name, REFERENCES, **options)
    with pytest.raises(ValueError, match="name"):
        fit_transform("tanh", REFERENCES)


def test_closed_forms() -> None:
    assert transforms.par(0.0, [0.0]) == 0.5
    assert transforms.par(1.0, [0.0, 2.0]) == pytest.approx(0.5)
    assert transforms.win_rate([0.0, 1.0, 2.0, 3.0], [1.0, 2.0]).tolist() == [0, 0.25, 0.75, 1]
    assert transforms.min_max([1.0, 2.0, 5.0], 1.0, 3.0).tolist() == [0, 0.5, 2]
    r = RNG.standard_normal((7, 3))
    each = [transforms.lsc(r[:, k], level) for k, level in enumerate((0.0, 1.0, -1.0))]
    assert np.allclose(transforms.lsc_sum(r, [0.0, 1.0, -1.0]), np.sum(each, 0))
    with pytest.raises(ValueError, match="rewards has shape"):
        transforms.lsc_sum(r, [0.0])


def test_win_rate_puts_users_on_one_scale() -> None:
    for factor, shift in ((100.0, 5.0), (0.01, -3.0)):
        other = transforms.win_rate(factor * REWARDS + shift, factor * REFERENCES + shift)
        assert np.array_equal(other, transforms.win_rate(REWARDS, REFERENCES))


def test_diversity_bonus() -> None:
    counts = [[0, 0, 0], [4, 0, 0], [2, 2, 0], [3, 3, 3]]
    assert np.allclose(transforms.diversity_bonus(counts, 2.0), [0, 0, 2 * np.log(2) / np.log(3), 2])
    for bad in ([[-1, 2]], [[1]], 3.0):
        with pytest.raises(ValueError, match="counts"):
            transforms.diversity_bonus(bad)


def test_kl_of_discrete_and_gaussian_policies() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])
    assert transforms.kl_divergence(p, q) == pytest.approx(0.5 * np.log(2))
    assert transforms.kl_divergence(q, p) == np.inf
    assert transforms.kl_divergence(np.stack([p, q]), np.stack([p, q])).tolist() == [0, 0]
    assert transforms.kl_gaussian([1.0, 0.0], 1.0, 0.0, 1.0) == pytest.approx(0.5)
    assert transforms.kl_gaussian([0.0], [2.0], [0.0], [1.0]) == pytest.approx(1.5 - np.log(2))
    # A grid of a Gaussian agrees with its closed form.
    x = np.linspace(-12, 12, 4001)
    rows = [np.exp(-((x - m) ** 2) / (2 * s * s)) for m, s in ((0.7, 1.3), (0.0, 1.0))]
    rows = [row / row.sum() for row in rows]
    assert transforms.kl_divergence(*rows) == pytest.approx(float(transforms.kl_gaussian([0.7], [1.3], [0.0], [1.0])))
    for bad in ([0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0]):
        with pytest.raises(ValueError, match="policy"):
            transforms.kl_divergence(bad, [0.5, 0.5])
    with pytest.raises(ValueError, match="start"):
        transforms.kl_divergence([0.5, 0.5], [1.0])
    with pytest.raises(ValueError, match="broadcast"):
        transforms.kl_gaussian(np.ones(2), 1.0, np.ones(3), 1.0)
    with pytest.raises(ValueError, match="deviation"):
        transforms.kl_gaussian([0.0], [0.0], [0.0], [1.0])


ACTIONS = np.linspace(-6.0, 14.0, 20001)
LOG_START = -(ACTIONS**2) / 2 - np.log(np.exp(-(ACTIONS**2) / 2).sum())
GOLD = np.where(ACTIONS <= 2.5, ACTIONS, 2.5 - 1.2 * (ACTIONS - 2.5))  # the proxy is the action itself
COEFFICIENTS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.01)


def at_optimum(utility: np.ndarray, coefficient: float) -> tuple[float, float]:
    """Return expected gold reward and KL at the optimum under a penalty."""
    policy, start = np.exp(transforms.kl_optimum(utility, LOG_START, coefficient)), np.exp(LOG_START)
    return float(policy @ GOLD), float(transforms.kl_divergence(policy, start))


@pytest.mark.parametrize(
    ("utility", "gold", "kl"),
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
def test_bounded_transforms_resist_a_wrong_proxy(utility: np.ndarray, gold: tuple[float, ...], kl: float) -> None:
    """Exact: start N(0, 1), proxy x, gold x up to 2.5 and then falling; gold at the optimum for each coefficient."""
    found = [at_optimum(utility, coefficient) for coefficient in COEFFICIENTS]
    assert [value for value, _ in found] == pytest.approx(gold, abs=0.02)
    assert found[4][1] == pytest.approx(kl, abs=0.06)


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
    one, two = (transforms.kl_optimum(x, log_start, 0.3) for x in (u, transforms.centred(u, constant)))
    assert np.allclose(one, two, rtol=0, atol=1e-9)
    assert np.allclose(np.exp(one).sum(-1), 1)


def test_no_policy_is_better_than_the_optimum() -> None:
    u, start = RNG.standard_normal(6), RNG.dirichlet(np.ones(6))
    best = np.exp(transforms.kl_optimum(u, np.log(start), 0.4))
    others = RNG.dirichlet(np.ones(6), 500)
    value = [p @ u - 0.4 * transforms.kl_divergence(p, start) for p in (best, *others)]
    assert np.argmax(value) == 0
    assert value[0] == pytest.approx(0.4 * np.log(start @ np.exp(u / 0.4)))
    with pytest.raises(ValueError, match="coefficient"):
        transforms.kl_optimum(u, np.log(start), 0.0)
    with pytest.raises(ValueError, match="finite"):
        transforms.kl_optimum(u, np.log(start), 1e-320)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_environments_take_every_transform(name: str) -> None:
    transform = fit_transform(name, REFERENCES)
    env = transforms.TransformedReward(gym.make("CartPole-v1"), transform)
    plain = gym.make("CartPole-v1")
    assert env.reset(seed=3)[0].tolist() == plain.reset(seed=3)[0].tolist()
    for action in (0, 1, 1):
        one, two = env.step(action), plain.step(action)
        assert one[0].tolist() == two[0].tolist() and one[2:4] == two[2:4]
        assert one[1] == transform(two[1]) and one[4]["raw_reward"] == two[1]
        assert isinstance(one[1], float)
    vector = gym.wrappers.vector.TransformReward(gym.make_vec("CartPole-v1", 3), transform)
    vector.reset(seed=0)
    assert vector.step(np.zeros(3, int))[1].tolist() == transform(np.ones(3)).tolist()


def test_what_is_no_transform_is_refused() -> None:
    with pytest.raises(ValueError, match="transform"):
        transforms.TransformedReward(gym.make("CartPole-v1"), 1.0)  # type: ignore[arg-type] - the point
    env = transforms.TransformedReward(gym.make("CartPole-v1"), lambda r: np.float64(np.nan))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="transformed reward"):
        env.step(0)
