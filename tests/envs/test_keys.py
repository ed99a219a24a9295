"""Counter-based draws: the published hash, the laws of every distribution, and no side effects."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
import pytest

from valuegym.envs import keys

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
N = 200_000
EDGES = [0, 1, 2, 12345, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]


def finalise(x: int) -> int:
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def undo_shift(y: int, shift: int) -> int:
    x = y
    for _ in range(64 // shift + 1):
        x = y ^ (x >> shift)
    return x


def inverse(y: int) -> int:
    """The x with finalise(x) = y."""
    x = undo_shift(y, 31) * pow(0x94D049BB133111EB, -1, 2**64) & MASK
    x = undo_shift(x, 27) * pow(0xBF58476D1CE4E5B9, -1, 2**64) & MASK
    return undo_shift(x, 30)


def splitmix(seed: int, count: int) -> list[int]:
    """The generator as published: a counter that grows by the golden ratio, and its finalised value."""
    outputs, state = [], seed
    for _ in range(count):
        state = (state + GOLDEN) & MASK
        outputs.append(finalise(state))
    return outputs


def key_with(output: int) -> keys.Key:
    """A key whose element 0 is this 64-bit number."""
    return np.array([(inverse(output) - GOLDEN) & MASK], np.uint64)


def chi_square(index: np.ndarray, expected: np.ndarray) -> float:
    counts = np.bincount(index.ravel(), minlength=len(expected))
    return float(((counts - expected) ** 2 / expected).sum())


def bound(bins: int) -> float:
    """Far beyond chance for chi-square with bins - 1 degrees: mean + 6 standard deviations."""
    return bins - 1 + 6 * np.sqrt(2 * (bins - 1))


@pytest.fixture(autouse=True)
def _silent_and_stateless() -> Iterator[None]:
    """No function here may warn, or touch the global generator."""
    before = np.random.get_state()  # noqa: NPY002
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    after = np.random.get_state()  # noqa: NPY002
    assert before[2] == after[2] and (before[1] == after[1]).all()


def test_mix_gives_the_published_sequence() -> None:
    # The first outputs for seed 1234567 in Vigna's public-domain reference program.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert splitmix(1234567, 5) == published
    assert keys.mix(1234567, np.arange(5)).tolist() == published


@pytest.mark.parametrize("seed", EDGES)
def test_mix_equals_big_integer_arithmetic(seed: int) -> None:
    assert keys.mix(seed, np.arange(50)).tolist() == splitmix(seed, 50)
    assert [keys.mix(seed, n).item() for n in range(50)] == splitmix(seed, 50)


def test_counters_wrap_around() -> None:
    for counter in (-1, -2, -(2**63), 2**63 - 1):
        expected = [finalise((7 + (counter + 1) * GOLDEN) & MASK)]
        assert keys.mix(7, counter).tolist() == keys.mix(7, np.array([counter])).tolist() == expected
    assert keys.mix(7, np.array([2**64 - 1], np.uint64)).tolist() == keys.mix(7, keys.RESET).tolist()


def test_mix_is_a_fold_over_counters() -> None:
    k = keys.mix(3, np.arange(100))
    assert (keys.mix(k, 5, -1, 9) == keys.mix(keys.mix(keys.mix(k, 5), -1), 9)).all()
    assert keys.mix(k) is not None and (keys.mix(k) == k).all()
    assert (keys.mix(k, 5, 9) != keys.mix(k, 9, 5)).all()  # coordinates are not interchangeable


def test_any_integer_type_gives_the_same_bits() -> None:
    expected = keys.mix(11, 3, -1)
    assert expected.dtype == np.uint64
    for key in (11, np.uint64(11), np.int32(11), np.array(11), np.array([11], np.uint64), [11]):
        for counter in (3, np.int64(3), np.uint8(3), np.array(3), np.array([3])):
            assert (keys.mix(key, counter, -1) == expected).all()  # type: ignore[arg-type]


def test_broadcasting() -> None:
    k, i, j = keys.mix(1, np.arange(4))[:, None, None], np.arange(3)[:, None], np.arange(5)
    whole = keys.mix(k, i, j)
    assert whole.shape == (4, 3, 5)
    for a in range(4):
        for b in range(3):
            for c in range(5):
                assert whole[a, b, c] == keys.mix(int(k[a, 0, 0]), b, c).item()
    assert len(np.unique(whole)) == whole.size
    assert keys.mix(1, 2).shape == (1,)


def test_draws_do_not_depend_on_the_batch() -> None:
    k = keys.mix(5, np.arange(64))
    weights = np.array([0.1, 0.0, 2.0, 1.0])
    for draw in (
        lambda k: keys.uniform(k, 1, 2),
        lambda k: keys.integers(k, 7, 1, 2),
        lambda k: keys.permutation(k, 6, 1),
        lambda k: keys.choice(k, weights, 1),
        lambda k: keys.normal(k, 1),
    ):
        whole = draw(k)
        assert all((whole[i] == draw(k[i : i + 1])[0]).all() for i in range(64))
        assert whole.tobytes() == draw(k[::-1])[::-1].tobytes()


def test_inputs_are_left_alone() -> None:
    k, counter = keys.mix(5, np.arange(8)), np.arange(8)
    before = k.copy()
    keys.uniform(k, counter), keys.integers(k, 5, counter), keys.permutation(k, 3, counter), keys.normal(k, counter)
    assert (k == before).all() and (counter == np.arange(8)).all()


def test_uniform_is_the_top_53_bits() -> None:
    for output in EDGES:
        u = keys.uniform(key_with(output), 0).item()
        assert u == (output >> 11) / 2**53 and 0 <= u < 1


@pytest.mark.parametrize("axis", ["keys", "counters", "steps"])
def test_uniform_is_uniform(axis: str) -> None:
    n = np.arange(N)
    u = {
        "keys": keys.uniform(n.astype(np.uint64), 0),  # neighbouring keys
        "counters": keys.uniform(np.array([9], np.uint64), n),
        "steps": keys.uniform(keys.mix(9, n), n % 200, 1),
    }[axis]
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 / np.sqrt(12 * N)
    assert abs(u.var() - 1 / 12) < 5 / np.sqrt(180 * N)
    assert chi_square((u * 1000).astype(int), np.full(1000, N / 1000)) < bound(1000)
    assert chi_square((u * 2**20).astype(int) % 64, np.full(64, N / 64)) < bound(64)  # lower bits
    pairs = (u[:-1] * 16).astype(int) * 16 + (u[1:] * 16).astype(int)  # neighbours are independent
    assert chi_square(pairs, np.full(256, (N - 1) / 256)) < bound(256)


@pytest.mark.parametrize("high", [1, 2, 3, 6, 92, 1000])
def test_integers_cover_their_range_evenly(high: int) -> None:
    drawn = keys.integers(keys.mix(2, np.arange(N)), high, 0)
    assert drawn.dtype == np.int64 and drawn.min() == 0 and drawn.max() == high - 1
    assert chi_square(drawn, np.full(high, N / high)) <= bound(high)


def test_integers_scale_the_top_32_bits() -> None:
    for output in EDGES:
        for high in (1, 3, 10**9, 2**32 - 1):
            assert keys.integers(key_with(output), high, 0).item() == (output >> 32) * high >> 32


def test_integers_take_one_bound_for_each_key() -> None:
    k, high = keys.mix(1, np.arange(1000)), np.arange(1, 1001)
    drawn = keys.integers(k, high, 4)
    assert ((drawn >= 0) & (drawn < high)).all()
    assert drawn.tolist() == [keys.integers(k[i : i + 1], int(high[i]), 4).item() for i in range(1000)]


@pytest.mark.parametrize("high", [0, -1, 2**32, np.array([3, 0]), np.array([2**32, 3]), np.int64(0)])
def test_integers_refuse_impossible_bounds(high: keys.Counter) -> None:
    with pytest.raises(ValueError, match="high"):
        keys.integers(keys.mix(1, np.arange(2)), high, 0)


def test_permutations_are_uniform() -> None:
    orders = keys.permutation(keys.mix(8, np.arange(60_000)), 3, 2)
    number = 2 * orders[:, 0] + (orders[:, 1] > orders[:, 2])  # of the 3! = 6 orders
    assert chi_square(number, np.full(6, 10_000.0)) < bound(6)


@pytest.mark.parametrize("n", [0, 1, 2, 100])
def test_permutations_hold_every_number_once(n: int) -> None:
    orders = keys.permutation(keys.mix(8, np.arange(12)).reshape(3, 4), n, 1)
    assert orders.shape == (3, 4, n)
    assert (np.sort(orders, -1) == np.arange(n)).all()


def test_choice_follows_the_weights() -> None:
    weights = np.array([3.0, 0.0, 1.0, 0.5, 0.0])
    drawn = keys.choice(keys.mix(4, np.arange(N)), weights, 1)
    positive = weights > 0
    assert positive[np.unique(drawn)].all()
    assert chi_square(np.cumsum(positive)[drawn] - 1, N * weights[positive] / weights.sum()) < bound(3)


def test_choice_takes_one_row_of_weights_for_each_key() -> None:
    k, rows = keys.mix(4, np.arange(3)), np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert all(keys.choice(k, rows, i).tolist() == [1, 0, 2] for i in range(100))
    assert all(keys.choice(k, rows == 1, i).tolist() == [1, 0, 2] for i in range(10))


def test_choice_never_picks_an_impossible_end() -> None:
    lowest, highest = key_with(0), key_with(2**64 - 1)
    assert keys.choice(lowest, [0.0, 0.3, 0.7, 0.0], 0).item() == 1
    for total in (1.0, 0.7, 1e-300, 1.1, 3.0, 1e300):
        assert keys.choice(highest, np.array([0.25, 0.75, 0.0]) * total, 0).item() == 1


@pytest.mark.parametrize(
    "weights", [[0.0, 0.0], [-1.0, 0.5], [np.nan, 1.0], [np.inf, 1.0], [2.0, -1.0, 1.0], [[1.0, 1.0], [0.0, 0.0]]]
)
def test_choice_refuses_bad_weights(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        keys.choice(keys.mix(1, np.arange(2)), weights, 0)


def _inverted(u: float) -> float:
    """Standard normal quantile at the middle of the cell of width 2**-53 that begins at u, without rounding near 1."""
    return NormalDist().inv_cdf(u + 2.0**-54) if u < 0.5 else -NormalDist().inv_cdf((1 - u) - 2.0**-54)


def test_normal_inverts_the_uniform_draw() -> None:
    k = keys.mix(6, np.arange(20_000))
    expected = np.array([_inverted(u) for u in keys.uniform(k, 3).tolist()])
    np.testing.assert_allclose(keys.normal(k, 3), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", [0, 1, 2, 3, 10, 1000, 2**20, 2**40, 2**43, 2**47, 2**50, 2**51, 2**52 - 1])
def test_normal_is_exact_and_symmetric_in_the_tails(cell: int) -> None:
    lower = keys.normal(key_with(cell << 11), 0).item()
    upper = keys.normal(key_with((2**53 - 1 - cell) << 11), 0).item()
    assert lower == pytest.approx(_inverted(cell / 2**53), rel=1e-12, abs=1e-12)
    assert upper == -lower


def test_normal_moments() -> None:
    z = keys.normal(keys.mix(6, np.arange(N)), 0)
    assert abs(z.mean()) < 5 / np.sqrt(N)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / N)
    assert abs((z**3).mean()) < 5 * np.sqrt(15 / N)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / N)


def test_bell_has_the_moments_of_a_sum_of_eight_bytes() -> None:
    byte = np.arange(256) - 127.5
    variance, fourth = 8 * (byte**2).mean(), 8 * (byte**4).mean() + 3 * 8 * 7 * (byte**2).mean() ** 2
    assert variance == 43690
    k = keys.mix(6, np.arange(N))
    z = keys.irwin_hall(k, 0)
    total = np.frombuffer(keys.mix(k, 0).tobytes(), np.uint8).reshape(N, 8).astype(np.float64).sum(-1)
    assert np.allclose(z, (total - 1020) / np.sqrt(43690), rtol=1e-15)
    assert abs(z.mean()) < 5 / np.sqrt(N)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / N)
    assert abs((z**4).mean() - fourth / variance**2) < 5 * np.sqrt(96 / N)
    assert fourth / variance**2 == pytest.approx(2.85, abs=1e-4)
    assert np.array_equal(z[:7], keys.irwin_hall(k[:7], 0))


def test_logistic_inverts_the_uniform_draw() -> None:
    k = keys.mix(7, np.arange(N))
    u, z = keys.uniform(k, 0), keys.logistic(k, 0)
    np.testing.assert_allclose(1 / (1 + np.exp(-z)), u, rtol=1e-9, atol=1e-15)
    assert np.isfinite(keys.logistic(key_with(0), 0)).all() and np.isfinite(keys.logistic(key_with(2**64 - 1), 0)).all()
    for x in (-3.0, 0.0, 1.0):
        p = 1 / (1 + np.exp(-x))
        assert abs((z < x).mean() - p) < 5 * np.sqrt(p * (1 - p) / N)
