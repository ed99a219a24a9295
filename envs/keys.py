"""Counter-based randomness: every draw is a hash of (root, episode, step, index), so that order never matters.

With a shared generator the random draws of one environment depend on how many others were reset before it. Here a draw
is a pure function of its coordinates: rows of a vector environment equal scalar environments bit for bit, two worlds
with the same key have common random numbers, and the numbers do not depend on the version of numpy. The hash is the
SplitMix64 generator (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), whose n-th output is a
pure function of its seed and n; each coordinate in turn picks an output that seeds the next.

All functions take and return arrays of any broadcastable shape; keys and raw draws are uint64.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = ["RESET", "Key", "choice", "integers", "irwin_hall", "logistic", "mix", "normal", "permutation", "uniform"]

Key: TypeAlias = npt.NDArray[np.uint64]
Counter: TypeAlias = "int | npt.NDArray[np.integer]"

RESET = -1  # the step counter of draws made at reset, before step 0

_ONE, _GOLDEN = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFT = (np.uint64(30), np.uint64(27), np.uint64(31))
_HALF, _MANTISSA = np.uint64(32), np.uint64(11)


def _finalise(x: Key) -> Key:
    """SplitMix64's finaliser, a bijection of the 64-bit integers."""
    y = x >> _SHIFT[0]  # in place from here on: fresh memory is what costs most
    y ^= x
    y *= _MULTIPLY[0]
    z = y >> _SHIFT[1]
    z ^= y
    z *= _MULTIPLY[1]
    np.right_shift(z, _SHIFT[2], out=y)
    y ^= z
    return y


def _unsigned(counter: Counter) -> Key:
    """Return integers as uint64 arrays of at least one axis; negative ones wrap around."""
    array = counter if type(counter) is np.ndarray and counter.ndim else np.atleast_1d(np.asarray(counter))
    if array.dtype.kind not in "iu":
        raise checks.refusal("A key or counter", counter, "integers of at most 64 bits")
    return array.astype(np.uint64, copy=False)  # at least one axis, for scalars would warn of overflow


@lru_cache(maxsize=4096)
def _constant_offset(counter: int) -> Key:
    return np.array([((counter + 1) * int(_GOLDEN)) % 2**64], np.uint64)


def _offset(counter: Counter) -> Key:
    """Return the offset of a counter in the SplitMix64 sequence; constants are cached."""
    return _constant_offset(counter) if type(counter) is int else (_unsigned(counter) + _ONE) * _GOLDEN


def mix(key: Key | int, *counters: Counter) -> Key:
    """Hash keys with counters: element number `counter` of the SplitMix64 sequence of each key, one counter in turn.

    Broadcasts; returns uint64 arrays of at least one axis. Without counters the key itself.

    Raises:
        ValueError: a key or a counter is no integer.
    """
    key = _unsigned(key)
    for counter in counters:
        key = _finalise(key + _offset(counter))
    return key


def _small(x: Key) -> npt.NDArray[np.float64]:
    """Convert integers below 2**63 to floats, via signed ones, which processors convert ten times faster."""
    return x.view(np.int64).astype(np.float64)


def uniform(key: Key, *counters: Counter) -> npt.NDArray[np.float64]:
    """Uniform draws on [0, 1): the top 53 bits of mix(key, *counters)."""
    draws = _small(mix(key, *counters) >> _MANTISSA)
    draws *= 2.0**-53
    return draws


def integers(key: Key, high: Counter, *counters: Counter) -> npt.NDArray[np.int64]:
    """Integers in [0, high) for 1 <= high < 2**32, by multiply and shift (Lemire 2019).

    The bias is below high / 2**32.

    Raises:
        ValueError: `high` is no integer, or outside its range.
    """
    factor = _unsigned(high)
    if not 1 <= high < 2**32 if type(high) is int else factor.min() < 1 or factor.max() >= 2**32:
        raise checks.refusal("high", high, "integers from 1 to 2**32 - 1 everywhere")
    return (((mix(key, *counters) >> _HALF) * factor) >> _HALF).astype(np.int64)


def permutation(key: Key, n: int, *counters: Counter) -> npt.NDArray[np.int64]:
    """Uniformly random permutations of 0 .. n-1, one for each key: (...) -> (..., n).

    Raises:
        ValueError: n is no integer from 0 to 2**32 - 1.
    """
    n = checks.integer("n", n, 0, 2**32 - 1)
    key = mix(key, *counters)
    return np.argsort(mix(key[..., None], np.arange(n)), axis=-1, kind="stable")


def choice(key: Key, weights: npt.ArrayLike, *counters: Counter) -> npt.NDArray[np.int64]:
    """Indices drawn in proportion to non-negative weights (..., n), by inverting their cumulative sum.

    (...) keys -> (...).

    Raises:
        ValueError: a weight is negative or not finite, or a row has no positive weight.
    """
    weights = np.asarray(weights)
    if weights.dtype.kind not in "fiub":
        raise checks.refusal("weights", weights, "finite numbers of at least 0")
    weights = weights.astype(np.float64, copy=False)
    cumulative = np.cumsum(weights, axis=-1)
    if not (weights >= 0).all() or (cumulative[..., -1] <= 0).any() or not np.isfinite(cumulative).all():
        raise ValueError("weights must be finite and non-negative, with a positive sum in every row.")
    target = uniform(key, *counters) * cumulative[..., -1]
    return (cumulative[..., :-1] <= target[..., None]).sum(-1)


_BYTES, _LANES, _TOP, _EIGHT = (np.uint64(n) for n in (0x00FF00FF00FF00FF, 0x0001000100010001, 48, 8))


def irwin_hall(key: Key, *counters: Counter) -> npt.NDArray[np.float64]:
    """Nearly normal draws, mean 0 and variance 1, at a tenth of the cost of `normal`: the sum of a hash's eight bytes.

    The Irwin-Hall distribution: 2,041 values in +-4.9, symmetric, kurtosis 2.85. For noise of which only mean and
    variance matter.
    """
    low = mix(key, *counters)
    high = low >> _EIGHT
    high &= _BYTES
    low = low & _BYTES
    low += high  # four sums of two bytes, side by side
    low *= _LANES
    low >>= _TOP
    draws = _small(low)
    draws -= 1020.0
    draws *= (1.0 / 43690.0) ** 0.5  # 8 (256**2 - 1) / 12
    return draws


def logistic(key: Key, *counters: Counter) -> npt.NDArray[np.float64]:
    """Standard logistic draws, P(draw < x) = 1 / (1 + exp(-x)): the noise of Bradley-Terry choices."""
    u = uniform(key, *counters) + 2.0**-54  # never 0
    return _log(u) - _log(1.0 - u + 2.0**-54)


# Wichura (1988), "Algorithm AS 241: the percentage points of the normal distribution", routine PPND16.
_CENTRE = (
    (2509.0809287301226727, 33430.575583588128105, 67265.770927008700853, 45921.953931549871457,
     13731.693765509461125, 1971.5909503065514427, 133.14166789178437745, 3.387132872796366608),
    (5226.495278852545925, 28729.085735721942674, 39307.89580009271061, 21213.794301586595867,
     5394.1960214247511077, 687.1870074920579083, 42.313330701600911252, 1.0),
)  # fmt: skip
_MIDDLE = (
    (7.7454501427834140764e-4, 0.0227238449892691845833, 0.24178072517745061177, 1.27045825245236838258,
     3.64784832476320460504, 5.7694972214606914055, 4.6303378461565452959, 1.42343711074968357734),
    (1.05075007164441684324e-9, 5.475938084995344946e-4, 0.0151986665636164571966, 0.14810397642748007459,
     0.68976733498510000455, 1.6763848301838038494, 2.05319162663775882187, 1.0),
)  # fmt: skip
_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 0.0012426609473880784386, 0.026532189526576123093,
     0.29656057182850489123, 1.7848265399172913358, 5.4637849111641143699, 6.6579046435011037772),
    (2.04426310338993978564e-15, 1.4215117583164458887e-7, 1.8463183175100546818e-5, 7.868691311456132591e-4,
     0.0148753612908506148525, 0.13692988092273580531, 0.59983220655588793769, 1.0),
)  # fmt: skip


def _ratio(
    coefficients: tuple[tuple[float, ...], tuple[float, ...]], x: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Ratio of two polynomials, highest power first, by Horner's rule."""
    above, below = (np.full_like(x, highest[0]) for highest in coefficients)
    for a, b in zip(*(lower[1:] for lower in coefficients), strict=True):
        above *= x
        above += a
        below *= x
        below += b
    above /= below
    return above


def _log(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Natural logarithm by series, bit-identical on every processor.

    `np.log` differs in the last place between them.
    """
    mantissa, exponent = np.frexp(x)  # mantissa in [1/2, 1)
    z = (mantissa - 0.75) / (mantissa + 0.75)  # ln(m / 0.75) = 2 artanh(z), |z| <= 1/5
    series = np.full_like(z, 1.0 / 23)
    for n in range(21, 0, -2):
        series *= z
        series *= z
        series += 1.0 / n
    return 2.0 * z * series + exponent * 0.6931471805599453 - 0.2876820724517809


def normal(key: Key, *counters: Counter) -> npt.NDArray[np.float64]:
    """Standard normal draws: one uniform draw each, put through the inverse distribution function (AS 241)."""
    q = uniform(key, *counters) - 0.5 + 2.0**-54  # in this order exact: symmetric about 0, never +-1/2
    draws = q * _ratio(_CENTRE, 0.180625 - q * q)
    outer = np.abs(q) > 0.425  # 15% of all
    q = q[outer]
    r = np.sqrt(-_log(0.5 - np.abs(q)))
    far = _ratio(_MIDDLE, r - 1.6)
    if (r > 5.0).any():  # one in 10^10
        far = np.where(r <= 5.0, far, _ratio(_TAIL, r - 5.0))
    draws[outer] = np.sign(q) * far
    return draws
