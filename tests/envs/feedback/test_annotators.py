"""Annotators: the teachers of B-Pref step by step, identities between annotators, their statistics, and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from valuegym.envs.feedback import annotators as a
from valuegym.envs.feedback import utilities as u
from valuegym.envs.feedback.answers import Answers, entropy
from valuegym.envs.feedback.segments import Segments

N, L = 2000, 6


def segments(seed: int, n: int = N, **info: np.ndarray) -> Segments:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, L + 1, n)
    return Segments(
        rng.normal(size=(n, L + 1, 2)), rng.normal(size=(n, L, 1)), rng.normal(size=(n, L)), lengths, info=info
    )


FIRST, SECOND = segments(1), segments(2)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def returned(value: float, other: float) -> tuple[Segments, Segments]:
    """Return one pair of segments of one step with these rewards."""
    return tuple(Segments(np.zeros((1, 2)), np.zeros((1, 1)), np.array([[r]])) for r in (value, other))  # type: ignore[return-value]


def column(part: Segments) -> dict[str, Any]:
    n, steps = len(part), part.steps
    draws = np.random.default_rng(n)
    chances = draws.random((n, 3))
    return {
        "advantages": -draws.random((n, steps)),
        "values": draws.random((n, steps + 1)),
        "recent_return": np.full(n, 2.0),
        "round": np.arange(n) % 3,
        "profile": draws.normal(size=(n, 2)),
        "outcomes": draws.normal(size=(n, 3)),
        "chances": chances / chances.sum(1, keepdims=True),
    }


ALL: dict[str, Callable[[], Any]] = {
    **{f"bpref-{name}": lambda name=name: a.bpref(name) for name in a.BPREF},  # type: ignore[misc]
    **{f"risky-{name}": lambda name=name: a.risky(name) for name in u.RISKY},  # type: ignore[misc]
    "boltzmann": a.Annotator,
    "thurstone": lambda: a.Annotator(choice=a.Thurstone(2.0)),
    "noiseless": lambda: a.Annotator(choice=a.Noiseless(0.5)),
    "perceived": lambda: a.Annotator(perception=u.Perceived(0.1)),
    "regret": lambda: a.Annotator(u.Regret(discount=0.9)),
    "end-state": lambda: a.Annotator(u.EndState()),
    "linear": lambda: a.Annotator(u.Linear([1.0, -1.0])),
    "value-conditioned": lambda: a.Annotator(u.Linear("profile")),
    "cyclic": lambda: a.Annotator(u.Cyclic()),
    "mixture": lambda: a.Mixture([a.bpref(), a.bpref("stochastic"), lambda first, second: np.ones(len(first))]),
    "ideal-points": lambda: a.ideal_points(np.eye(2)),
    "drifting": lambda: a.Drifting(np.eye(2), 2.0, 0.5),
    "implicit": lambda: a.Implicit(0.0, 0.8, 0.1, 2),
    "custom": lambda: a.as_annotator(lambda first, second, rng: rng.integers(0, 2, len(first))),
}


@pytest.mark.parametrize("name", ALL)
def test_every_annotator_answers_alike_under_the_same_seed(name: str) -> None:
    annotator = ALL[name]()
    first, second = (part.with_info(**column(part)) for part in (FIRST, SECOND))
    one, two = (annotator(first, second, rng(3)) for _ in range(2))
    for field in ("labels", "probability", "strength", "user"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    assert len(one) == N and isinstance(one, Answers) and not one.skipped.all()
    known = ~np.isnan(one.probability)
    if known.any():  # answers follow the probabilities: a binomial bound of five deviations
        p, y = one.probability[known & ~one.skipped], one.labels[known & ~one.skipped]
        assert abs((y - p).sum()) <= 5 * np.sqrt((p * (1 - p)).sum()) + 1e-9
        assert (one.skipped == np.isnan(one.labels)).all()
        assert 0 <= entropy(one) <= 1
    empty = annotator(first[:0], second[:0], rng())
    assert len(empty) == 0 and math.isnan(entropy(empty))
    if name not in ("custom", "mixture"):
        with pytest.raises(ValueError, match="expected as many"):
            annotator(first, second[:3], rng())


# --- the teachers of B-Pref ---


def by_loops(first: Segments, second: Segments, p: dict[str, float], draws: np.ndarray) -> np.ndarray:
    """B-Pref's answers in its own order of operations, one pair at a time; NaN where skipped."""
    labels = []
    for i in range(len(first)):
        r1, r2 = (list(part.rewards[i, : part.lengths[i]]) for part in (first, second))
        if p.get("skip", 0) > 0 and max(sum(r1), sum(r2)) <= p["skip"]:
            labels.append(np.nan)
            continue
        equal = abs(sum(r1) - sum(r2)) < p.get("equal", 0)
        g = p.get("discount", 1)
        w1, w2 = (sum(g ** (len(r) - 1 - t) * x for t, x in enumerate(r)) for r in (r1, r2))
        label = 1.0 * (w1 < w2)
        if "beta" in p:
            label = 1.0 * (draws[0, i] < 1 / (1 + math.exp(-p["beta"] * (w2 - w1))))
        if draws[1, i] < p.get("mistake", 0):
            label = 1 - label
        labels.append(0.5 if equal else label)
    return np.array(labels)


@pytest.mark.parametrize(
    "p",
    [
        {},
        {"beta": 1.0},
        {"mistake": 0.3},
        {"skip": 0.5},
        {"equal": 1.0},
        {"discount": 0.5},
        {"beta": 2.0, "discount": 0.8, "mistake": 0.2, "skip": 0.3, "equal": 0.6},
        {"beta": 0.1, "mistake": 1.0, "equal": 0.2},
    ],
)
def test_bpref_is_the_published_order_of_operations(p: dict[str, float]) -> None:
    annotator = a.bpref(**p, adaptive=False)  # type: ignore[arg-type]
    draws = rng(5).random((1 + len(annotator.noise), N))
    at = [type(noise) for noise in annotator.noise].index(a.Mistake) + 1 if "mistake" in p else 0
    expected = by_loops(FIRST, SECOND, p, draws[[0, at]])
    np.testing.assert_array_equal(annotator(FIRST, SECOND, rng(5)).labels, expected)


def test_bpref_step_by_step() -> None:
    def label(pair: tuple[Segments, Segments], teacher: str = "oracle", **p: Any) -> float:
        return float(a.bpref(teacher, adaptive=False, **p)(*pair, rng()).labels[0])

    assert [label(returned(x, y)) for x, y in ((0, 1), (1, 0), (1, 1))] == [1, 0, 0]  # a tie goes to the first
    assert math.isnan(label(returned(0.5, 0.2), skip=0.5)) and label(returned(0.5, 0.6), skip=0.5) == 1
    assert label(returned(-9, -8), skip=0.0) == 1 and label(returned(-9, -8), skip=-1.0) == 1  # inactive
    assert label(returned(0, 1), equal=1.0) == 1 and label(returned(0, 1), equal=1.1) == 0.5  # strictly less
    assert label(returned(0, 1), mistake=1.0) == 0
    assert label(returned(0, 1), mistake=1.0, equal=2.0) == 0.5  # equal overrides mistakes
    assert math.isnan(label(returned(0, 0.1), skip=1.0, equal=2.0))  # skipped before all else
    # The myopic weight is g^(H-1-t): the last step counts in full.
    early, late = (Segments(np.zeros((1, 3)), np.zeros((1, 2)), np.array([r])) for r in ([1.0, 0.0], [0.0, 0.9]))
    assert label((early, late)) == 0 and label((early, late), "myopic", discount=0.5) == 1
    np.testing.assert_allclose(u.MyopicReturn(0.5)(early), 0.5)
    # The band is that of undiscounted returns, whatever the weights.
    assert label((early, late), "myopic", discount=0.5, equal=0.2) == 0.5


def test_thresholds_adapt_to_the_returns_of_recent_episodes() -> None:
    pair = [part.with_info(recent_return=np.array([10.0])) for part in returned(0.5, 0.9)]
    assert np.isnan(a.bpref("skip")(*pair, rng()).labels[0])  # 0.9 is not above 0.1 * 10
    assert a.bpref("equal")(*pair, rng()).labels[0] == 0.5
    sad = [part.with_info(recent_return=np.array([-10.0])) for part in returned(0.5, 0.9)]
    assert a.bpref("skip")(*sad, rng()).labels[0] == 1 == a.bpref("equal")(*sad, rng()).labels[0]
    for teacher in ("skip", "equal"):
        with pytest.raises(ValueError, match="adaptive threshold needs the column 'recent_return'"):
            a.bpref(teacher)(*returned(0, 1), rng())


# --- identities ---


def labels(annotator: Any, first: Segments = FIRST, second: Segments = SECOND, seed: int = 0) -> np.ndarray:
    return annotator(first, second, rng(seed)).labels


def test_limits_are_the_oracle() -> None:
    oracle = labels(a.bpref())
    for beta in (1e6, 1e300):
        np.testing.assert_array_equal(labels(a.bpref(beta=beta)), oracle)
    np.testing.assert_array_equal(labels(a.Annotator(choice=a.Boltzmann(5e-324))), oracle)
    np.testing.assert_array_equal(labels(a.Annotator(choice=a.Thurstone(1e-9))), oracle)
    np.testing.assert_array_equal(labels(a.Annotator(choice=a.Noiseless(0.0))), oracle)
    np.testing.assert_array_equal(labels(a.bpref("myopic", discount=1.0 - 1e-15)), oracle)
    np.testing.assert_array_equal(labels(a.Annotator(u.MyopicReturn(1.0), choice=a.Rational())), oracle)
    np.testing.assert_array_equal(labels(a.Annotator(perception=u.Perceived(0.3), choice=a.Rational())), oracle)
    assert a.Boltzmann(5e-324).probability(np.array([0.0, 1.0, -1.0])).tolist() == [0.5, 1.0, 0.0]


def test_noise_that_does_nothing_is_the_identity() -> None:
    plain = a.Annotator()(FIRST, SECOND, rng(4))
    for noise in (a.Mistake(0.0), a.Skip(0.0), a.Skip(-1.0), a.Equal(0.0), a.Equal(-1.0)):
        noisy = a.Annotator(noise=(noise,))(FIRST, SECOND, rng(4))
        for field in ("labels", "probability", "strength"):  # the first draw is the same: common random numbers
            np.testing.assert_array_equal(getattr(noisy, field), getattr(plain, field))
    np.testing.assert_array_equal(labels(a.bpref("mistake", mistake=0.0, beta=None)), labels(a.bpref("mistake")))


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_mistakes_flip_their_rate_of_answers_and_never_ties(rate: float) -> None:
    oracle = a.Annotator(choice=a.Noiseless(0.3), noise=(a.Mistake(rate),))(FIRST, SECOND, rng(1))
    true = labels(a.Annotator(choice=a.Noiseless(0.3)))
    sure = true != 0.5
    flips, n = int((oracle.labels != true)[sure].sum()), int(sure.sum())
    assert abs(flips - rate * n) <= 5 * math.sqrt(rate * (1 - rate) * n)
    assert (oracle.labels[~sure] == 0.5).all() and (~sure).sum() > 100
    assert set(np.abs(oracle.probability - true)[sure].round(12)) == {round(rate, 12)}


def test_the_entropy_of_answers_has_its_closed_form() -> None:
    def of(*p: float, labels: Any = None) -> float:
        return entropy(Answers(np.zeros(len(p)) if labels is None else labels, np.array(p)))

    assert of(0.5, 0.5) == 1.0 and of(0.0, 1.0) == 0.0 and of(0.5, 1.0) == 0.5
    assert of(0.9) == pytest.approx(-(0.9 * math.log2(0.9) + 0.1 * math.log2(0.1)))
    assert of(0.5, 1.0, labels=np.array([np.nan, 1.0])) == 0.0  # those skipped do not count
    assert math.isnan(of(np.nan)) and math.isnan(of())
    assert entropy(a.bpref()(FIRST, SECOND, rng())) == 0.0


def test_users_answer_their_shares() -> None:
    users = [lambda first, second, k=k: np.full(len(first), k / 2) for k in range(3)]
    shares = np.array([0.7, 0.0, 0.3])
    answers = a.Mixture(users, shares)(FIRST, SECOND, rng())
    counts = np.bincount(answers.user, minlength=3)
    assert (np.abs(counts - N * shares) <= 5 * np.sqrt(N * shares * (1 - shares))).all() and counts[1] == 0
    assert (answers.labels == answers.user / 2).all()
    known = FIRST.with_info(user=np.arange(N) % 3)
    assert (a.Mixture(users, shares)(known, SECOND, rng()).user == np.arange(N) % 3).all()
    np.testing.assert_array_equal(labels(a.Mixture([a.bpref()])), labels(a.bpref()))


def test_one_ideal_point_is_one_person_and_opposite_ones_disagree() -> None:
    point = np.array([1.0, 0.0])
    one = a.ideal_points(point[None], temperature=1e-9)
    near = a.Annotator(u.IdealPoint(point), choice=a.Rational())
    np.testing.assert_array_equal(labels(one), labels(near))
    # In one dimension, with both items between the two points, they disagree about every pair.
    inside = [Segments(part.observations[..., :1] * 1e-2, part.actions, part.rewards) for part in (FIRST, SECOND)]
    low, high = (labels(a.ideal_points([[x]], temperature=1e-12), *inside) for x in (-9.0, 9.0))
    assert (low == 1 - high).all()


def test_a_disc_game_is_skew_symmetric_and_has_cycles() -> None:
    annotator = a.Annotator(u.Cyclic(), choice=a.Boltzmann(0.1))
    d = annotator.difference(FIRST, SECOND)
    np.testing.assert_array_equal(annotator.difference(SECOND, FIRST), -d)
    np.testing.assert_array_equal(annotator.difference(FIRST, FIRST), 0 * d)
    p, q = (annotator(*pair, rng()).probability for pair in ((FIRST, SECOND), (SECOND, FIRST)))
    np.testing.assert_allclose(p + q, 1.0, atol=1e-12)
    angle = 2 * np.pi * np.arange(3) / 3
    items = Segments(np.zeros((3, 2)), np.zeros((3, 1)), info={"v": np.stack([np.cos(angle), np.sin(angle)], 1)})
    cycle = a.Annotator(u.Cyclic("v"), choice=a.Rational())(items, items[[1, 2, 0]], rng())
    assert len(set(cycle.labels)) == 1  # each beats the next
    # The chances of .9 of a three-way cycle cost .325 nats per answer; no utilities do better than ln 2.
    nine = a.Annotator(u.Cyclic("v"), choice=a.Boltzmann(math.sqrt(3) / 2 / math.log(9)))(
        items, items[[1, 2, 0]], rng()
    )
    assert entropy(nine) * math.log(2) == pytest.approx(0.325, abs=1e-3)


class Table:
    """V and Q of a two-dimensional toy: V = x, Q = x - |action|."""

    def value(self, observations: np.ndarray) -> np.ndarray:
        return observations[..., 0]

    def action_value(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
        return observations[..., 0] - np.abs(actions[..., 0])


def test_regret_is_what_decisions_cost() -> None:
    expected = -np.array([np.abs(x[:n, 0]).sum() for x, n in zip(FIRST.actions, FIRST.lengths, strict=True)])
    np.testing.assert_allclose(u.Regret(Table())(FIRST), expected)
    by_column = FIRST.with_info(advantages=-np.abs(FIRST.actions[..., 0]))
    np.testing.assert_allclose(u.Regret()(by_column), expected)
    np.testing.assert_allclose(u.Regret(Table(), 0.5)(FIRST[FIRST.lengths == 1]), expected[FIRST.lengths == 1])

    class Costly(Table):
        def action_value(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return observations[..., 0] - 1.0

    np.testing.assert_allclose(u.Regret(Costly())(FIRST), -1.0 * FIRST.lengths)  # padding costs nothing

    class Constant(Table):
        def value(self, observations: np.ndarray) -> np.ndarray:
            return np.full(len(observations), 3.0)

        def action_value(self, observations: np.ndarray, actions: np.ndarray) -> np.ndarray:
            return 3.0 + actions[..., 0]

    # Where V* is constant and there is nothing to come, regret orders segments by the same sums as partial return.
    earning = Segments(FIRST.observations, FIRST.actions, FIRST.actions[..., 0], FIRST.lengths)
    np.testing.assert_allclose(u.Regret(Constant())(earning), u.PartialReturn()(earning))
    end = FIRST.observations[np.arange(N), FIRST.lengths, 0]
    np.testing.assert_array_equal(u.EndState(Table())(FIRST), end)
    over = Segments(FIRST.observations, FIRST.actions, terminated=np.ones(N, bool))
    assert not u.EndState(Table())(over).any()


def test_perceived_differences_shrink_with_the_utilities() -> None:
    psi = u.Perceived(2.0)
    np.testing.assert_allclose(psi(np.array([-2.0, 0.0, 2.0])), [-math.log(2), 0, math.log(2)])
    assert psi(np.array([101.0]))[0] - psi(np.array([100.0]))[0] < psi(np.array([1.0]))[0] - psi(np.array([0.0]))[0]


def test_risky_choice_has_its_closed_form() -> None:
    def worth(utility: u.RiskyChoice, outcomes: list[float], chances: list[float]) -> float:
        return float(utility(Segments(np.zeros((1, 2)), np.zeros((1, 1)), info={
            "outcomes": np.array([outcomes]), "chances": np.array([chances])}))[0])  # fmt: skip

    assert worth(u.RiskyChoice(), [10.0, -4.0], [0.5, 0.5]) == 3.0
    assert worth(u.RiskyChoice(0.5, 0.5, 2.0), [4.0, -9.0], [0.5, 0.5]) == pytest.approx(1 - 3)
    w = 0.3**0.7 / (0.3**0.7 + 0.7**0.7) ** (1 / 0.7)
    assert worth(u.RiskyChoice(weighting=0.7), [1.0, 0.0], [0.3, 0.7]) == pytest.approx(w)
    assert isinstance(a.risky("expected-value").utility, u.RiskyChoice)
    with pytest.raises(ValueError, match="holds no probabilities"):
        worth(u.RiskyChoice(), [1.0], [0.5])


def test_people_who_drift_agree_in_the_end() -> None:
    points = np.array([[-1.0], [1.0]])
    still, moving = (a.Drifting(points, 3.0, rate, temperature=1e-9) for rate in (0.0, 1.0))
    pairs = [Segments(part.observations[..., :1], part.actions) for part in (FIRST, SECOND)]

    def shares(annotator: Any, n: int) -> float:
        timed = [part.with_info(round=np.full(N, n)) for part in pairs]
        middle = labels(a.Annotator(u.IdealPoint([0.0]), choice=a.Rational()), *pairs)
        return float((annotator(*timed, rng()).labels == middle).mean())

    assert shares(still, 0) == shares(moving, 0) == shares(still, 5) < 1 == shares(moving, 5)
    far = a.Drifting(points, 1.0, 1.0, temperature=1e-9)  # beyond the bound nobody moves
    assert shares(far, 5) == shares(still, 0)
    with pytest.raises(ValueError, match="needs the column 'round'"):
        still(*pairs, rng())


def test_signs_of_dissatisfaction_are_read_as_answers() -> None:
    true = a.Implicit(0.0)(FIRST, SECOND, rng())
    one, two = (u.PartialReturn()(part) for part in (FIRST, SECOND))
    sure = (one < 0) != (two < 0)
    assert (true.skipped == ~sure).all() and (true.labels[sure] == (one < 0)[sure]).all()
    late = a.Implicit(0.0, delay=7)(FIRST, SECOND, rng())
    np.testing.assert_array_equal(late.labels[7:], true.labels[:-7])
    assert late.skipped[:7].all() and a.Implicit(0.0, delay=N + 1)(FIRST, SECOND, rng()).skipped.all()
    assert a.Implicit(0.0, rate=0.0)(FIRST, SECOND, rng()).skipped.all()
    shown = (~a.Implicit(0.0, rate=0.5)(FIRST, SECOND, rng()).skipped).sum()
    assert abs(shown - sure.sum() / 4) <= 5 * math.sqrt(sure.sum() * 3 / 16)
    np.testing.assert_array_equal(a.Implicit(0.0, mistake=1.0)(FIRST, SECOND, rng()).labels, 1 - true.labels)


def test_strength_is_the_difference_in_temperatures() -> None:
    answers = a.Annotator(choice=a.Boltzmann(2.0), noise=(a.Equal(0.1),))
    strengths = [answers(*returned(0, x), rng()).strength[0] for x in (0.05, 0.9, 1.1, 3.9, 5.1, 1e9)]
    assert strengths == [0, 0, 1, 2, 3, 3]
    assert np.isnan(a.bpref()(*returned(0, 1), rng()).strength[0])


def test_profiles_may_be_in_the_observations() -> None:
    profile = np.repeat(np.random.default_rng(0).normal(size=(N, 1, 2)), L + 1, 1)
    seen = {"features": FIRST.observations, "profile": profile}
    part = Segments(seen, FIRST.actions, FIRST.rewards, FIRST.lengths)
    phi = u.features_of(part, "features")
    np.testing.assert_allclose(u.Linear("profile", "features")(part), (phi * profile[:, 0]).sum(1))
    last = [FIRST.observations[i, : FIRST.lengths[i]].mean(0) for i in range(N)]
    np.testing.assert_allclose(phi, last)


# --- refusals ---


@pytest.mark.parametrize("value", [-1, 0, np.nan, np.inf, "1", None, True, [1.0]])
@pytest.mark.parametrize(
    "make", [a.Boltzmann, a.Thurstone, u.Perceived, lambda x: a.bpref(beta=x) if x else a.Boltzmann(0)]
)
def test_scales_must_be_finite_and_above_0(make: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ValueError, match="expected a finite number above 0"):
        make(value)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, "x", None])
@pytest.mark.parametrize(
    "make", [a.Mistake, u.PartialReturn, u.MyopicReturn, lambda x: u.Regret(discount=x), lambda x: a.Implicit(0.0, x)]
)
def test_rates_must_be_from_0_to_1(make: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ValueError, match="expected a finite number"):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: a.Skip(np.nan), "threshold is nan"),
        (lambda: a.Equal(0.1, 1), "adaptive is 1"),  # type: ignore[arg-type]
        (lambda: a.Noiseless(-1.0), "tie_band is -1.0"),
        (lambda: a.bpref("human"), "teacher is 'human'; expected one of 'oracle'"),
        (lambda: a.bpref(mistake=2.0), "rate is 2.0"),
        (lambda: a.risky("regret"), "kind is 'regret'"),
        (lambda: u.RiskyChoice(gain=0.0), "gain is 0.0"),
        (lambda: a.Mixture([]), "users is empty"),
        (lambda: a.Mixture([a.bpref()], [0.0]), "shares sum to 0"),
        (lambda: a.Mixture([a.bpref()], [1.0, 2.0]), "shares has shape"),
        (lambda: a.Mixture([3]), "annotator is 3; expected a function"),
        (lambda: a.ideal_points([1.0]), "points has shape"),
        (lambda: a.Drifting([[1.0]], -1.0), "bound is -1.0"),
        (lambda: a.Implicit(0.0, delay=-1), "delay is -1"),
        (lambda: a.Annotator(3), "utility is 3"),  # type: ignore[arg-type]
        (lambda: a.Annotator(u.Cyclic(), u.Perceived()), "perception is"),
        (lambda: a.Annotator(choice=1), "choice is 1"),  # type: ignore[arg-type]
        (lambda: a.Annotator(noise=(1,)), "noise is"),  # type: ignore[arg-type]
        (lambda: u.Linear([np.nan]), r"weights\[0\] is nan"),
        (lambda: u.Linear([1.0])(FIRST), "1 weights for 2 features"),
        (lambda: u.Linear([1.0], "none")(FIRST), "features = 'none'; expected a function"),
        (lambda: u.IdealPoint([1.0])(FIRST), "ideal point has 1 numbers for 2"),
        (lambda: u.Regret()(FIRST), "needs the column 'advantages'; the segments have none"),
        (lambda: u.PartialReturn()(FIRST.without()), "rewards of a segment are unknown"),
        (lambda: a.Annotator(lambda part: part.rewards)(FIRST, SECOND, rng()), r"utility\(segments\) has shape"),
        (lambda: Answers(np.array([2.0])), r"labels\[0\] is 2.0; expected 0 \(first\)"),
        (lambda: Answers(np.array([1.0]), np.array([1.5])), "probability has shape"),
        (lambda: Answers(np.array([1.0]), user=np.array([-2])), r"user\[0\] is -2"),
        (lambda: Answers(1.0), "labels has shape"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- functions of one's own ---


def better(first: Segments, second: Segments) -> Any:
    return u.PartialReturn()(second) > u.PartialReturn()(first)


class Person:
    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Any:
        return a.bpref()(first, second, rng)


@pytest.mark.parametrize(
    "function",
    [
        better,
        lambda first, second, rng: better(first, second),
        lambda first, second, margin=0.1: better(first, second) if margin == 0.1 else None,
        lambda first, second, rng=None: better(first, second) if rng is not None else None,
        lambda *pair: better(*pair),
        lambda first, second, *, offset=0.0: better(first, second),
        lambda first, second: better(first, second).tolist(),
        Person(),
        a.as_annotator(better),
        a.bpref(),
    ],
)
def test_functions_are_annotators(function: Any) -> None:
    answers = a.as_annotator(function)(FIRST, SECOND, rng())
    np.testing.assert_array_equal(answers.labels, labels(a.bpref()))


def test_a_single_label_will_do_for_a_single_pair_only() -> None:
    annotator = a.as_annotator(lambda first, second: 1, "yes")
    assert annotator(*returned(0, 1), rng()).labels.tolist() == [1.0]
    with pytest.raises(ValueError, match=r"The answer of the annotator yes has shape \(\); expected \(2000,\)"):
        annotator(FIRST, SECOND, rng())


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "first",
        np.full(N, 2.0),
        np.full(N, -1),
        np.full(N, np.inf),
        np.zeros(N - 1),
        np.zeros((N, 1)),
        ["a"] * N,
        [[1], [1, 2]],
        {"labels": 1},
        1j * np.ones(N),
        Answers(np.zeros(3)),
    ],
)
def test_answers_that_are_no_labels_are_refused_by_name(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"he (answer of the )?annotator odd.*; expected"):
        a.as_annotator(lambda first, second: answer, "odd")(FIRST, SECOND, rng())


@pytest.mark.parametrize(
    "function",
    [3, None, "regret", better(FIRST, SECOND), lambda first: 1, lambda: 1, lambda a, b, c, d: 1, Person,
     lambda first, second, *, key: 1],
)  # fmt: skip
def test_what_is_no_annotator_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match=r"annotator .*expected a function f\(first, second\)"):
        a.as_annotator(function)


@pytest.mark.parametrize("discount", [1.0, 0.9, 0.0])
@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_returns_are_summed_step_by_step_to_the_bit(n: int, discount: float) -> None:
    draws = np.random.default_rng(n)
    rewards = draws.normal(size=(n, 40)) * 10.0 ** draws.integers(-6, 6, (n, 40))
    segments = Segments(np.zeros((n, 41)), np.zeros((n, 40)), rewards, draws.integers(1, 41, n))
    total, weights = np.zeros(n), discount ** np.arange(40)
    for t in range(40):
        total = total + weights[t] * segments.rewards[:, t]
    assert u.PartialReturn(discount)(segments).tobytes() == total.tobytes()
    alone = [u.PartialReturn(discount)(segments[i])[0] for i in range(n)]
    assert np.array(alone).tobytes() == total.tobytes()


@pytest.mark.parametrize("temperature", [1e-300, 0.5, 1.0, 100.0])
def test_an_answer_is_a_draw_from_the_choice(temperature: float) -> None:
    draws = np.random.default_rng(0)
    first, second = (Segments(np.zeros((99, 3)), np.zeros((99, 2)), draws.normal(size=(99, 2))) for _ in range(2))
    choice = a.Boltzmann(temperature)
    answers = a.Annotator(choice=choice)(first, second, rng(1))
    d = u.PartialReturn()(second) - u.PartialReturn()(first)
    expected = Answers(choice.label(d, rng(1).random(99)), choice.probability(d))
    assert (answers.labels == expected.labels).all() and (answers.probability == expected.probability).all()
    assert (answers.user == -1).all() and answers.strength.max() <= 3
    weak = np.abs(d) < 2 * temperature
    assert (answers.strength[weak] == np.rint(np.abs(d[weak]) / temperature)).all()


def test_unknown_rewards_are_refused_unless_they_are_padding() -> None:
    rewards = np.array([[1.0, np.nan], [2.0, 3.0]])
    padded = Segments(np.zeros((2, 3)), np.zeros((2, 2)), rewards, [1, 2])
    assert padded.rewards_known and u.PartialReturn()(padded).tolist() == [1.0, 5.0]
    unknown = Segments(np.zeros((2, 3)), np.zeros((2, 2)), rewards)
    assert not unknown.rewards_known and not padded.without().rewards_known and unknown[1].rewards_known
    with pytest.raises(ValueError, match="unknown"):
        a.Annotator()(padded, unknown, rng())
