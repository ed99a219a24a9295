"""Counter-based randomness: every draw is a hash of (root, episode, step, index), so that order never matters.

With a shared generator the random draws of one environment depend on how many others were reset before it. Here a draw
is a pure function of its coordinates: rows of a vector environment equal scalar environments bit for bit, two worlds
with the same key have common random numbers, and the numbers do not depend on the version of numpy. The hash is the
SplitMix64 generator (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), whose n-th output is a
pure function of its seed and n; each coordinate in turn picks an output that seeds the next.

A public key is a 64-bit number, and the hash can be run backwards: whoever sees a draw in full can find the key and
with it every other draw. Where draws must stay secret (`secret_key`), a key is 32 bytes instead and each counter picks
an output of BLAKE2b (RFC 7693), which cannot be run backwards; the functions below take both kinds of keys.

All functions take and return arrays of any broadcastable shape; public keys and raw draws are uint64, secret keys have
the type SECRET of numpy.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks

__all__ = [
    "RESET",
    "SECRET",
    "SECRET_SEEDS",
    "Key",
    "bits",
    "choice",
    "folded",
    "generator_seeds",
    "integers",
    "irwin_hall",
    "logistic",
    "mix",
    "normal",
    "permutation",
    "secret_key",
    "seed_key",
    "seeds",
    "uniform",
]

Key: TypeAlias = npt.NDArray[Any]  # uint64, or SECRET
Bits: TypeAlias = npt.NDArray[np.uint64]
Counter: TypeAlias = "int | npt.NDArray[np.integer]"

RESET = -1  # the step counter of draws made at reset, before step 0
SECRET = np.dtype("V32")  # type of secret keys: 256 bits
_FOLD = -3  # the number of a draw that no environment makes
SECRET_SEEDS = 2**128  # the first seed whose key is secret

_ONE, _GOLDEN = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFT = (np.uint64(30), np.uint64(27), np.uint64(31))
_HALF, _MANTISSA = np.uint64(32), np.uint64(11)
_REMEMBERED = 4096  # numbers of draws at most whose blocks are kept
_BLOCK, _WORD = np.uint64(3), np.uint64(7)  # one output of BLAKE2b holds 2**3 numbers of 64 bits


def _finalise(x: Bits) -> Bits:
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


def _unsigned(counter: Counter) -> Bits:
    """Return integers as uint64 arrays of at least one axis; negative ones wrap around."""
    array = counter if type(counter) is np.ndarray and counter.ndim else np.atleast_1d(np.asarray(counter))
    if array.dtype.kind not in "iu":
        raise checks.refusal("A key or counter", counter, "integers of at most 64 bits")
    return array.astype(np.uint64, copy=False)  # at least one axis, for scalars would warn of overflow


@lru_cache(maxsize=4096)
def _constant_offset(counter: int) -> Bits:
    return np.array([((counter + 1) * int(_GOLDEN)) % 2**64], np.uint64)


def _offset(counter: Counter) -> Bits:
    """Return the offset of a counter in the SplitMix64 sequence; constants are cached."""
    return _constant_offset(counter) if type(counter) is int else (_unsigned(counter) + _ONE) * _GOLDEN


def mix(key: Key | int, *counters: Counter) -> Key:
    """Hash keys with counters, one counter in turn; the keys that result are of the same kind.

    With public keys, element number `counter` of the SplitMix64 sequence of each key. Broadcasts; returns arrays of at
    least one axis. Without counters the key itself.

    Raises:
        ValueError: a key or a counter is no integer.
    """
    if isinstance(key, np.ndarray) and key.dtype.kind == "V":
        for counter in counters:
            key = _secret_mix(key, _unsigned(counter))
        return key
    mixed = _unsigned(key)
    for counter in counters:
        mixed = _finalise(mixed + _offset(counter))
    return mixed


def bits(key: Key | int, *counters: Counter) -> Bits:
    """Draw 64 random bits for each key and counter, uint64: of public keys mix(key, *counters).

    Raises:
        ValueError: a key or a counter is no integer.
    """
    if isinstance(key, np.ndarray) and key.dtype.kind == "V":  # not a call: draws of one number take microseconds
        return _secret_bits(mix(key, *counters[:-1]), *counters[-1:])
    return mix(key, *counters)


def generator_seeds(key: Key, *counters: Counter) -> list[int]:
    """Return a seed for a generator of numpy's for each key, of as many bits as a key has."""
    mixed = mix(key, *counters).reshape(-1)
    if _is_secret(mixed):
        return [int.from_bytes(one, "little") for one in _each(mixed)]
    public: list[int] = mixed.tolist()
    return public


def secret_key(secret: bytes) -> Key:
    """Return the secret key (1,) of some secret bytes; 16 of them or more leave nothing to search for.

    Its draws tell nothing about the bytes or about other draws to whoever cannot compute 2**128 hashes.

    Raises:
        ValueError: the secret is not of type bytes.
    """
    if not isinstance(secret, bytes):
        raise checks.refusal("secret", secret, "bytes")
    return np.frombuffer(bytearray(blake2b(b"valuegym" + secret).digest()[: SECRET.itemsize]), SECRET)


def seed_key(seed: int) -> Key:
    """Return the key (1,) of a seed: the seed itself below 2**64, the secret key of its bytes from SECRET_SEEDS on.

    Raises:
        ValueError: the seed is no integer of at least 0, or lies between.
    """
    seed = checks.integer("seed", seed, 0)
    if seed < SECRET_SEEDS:
        return np.array([checks.integer("seed", seed, 0, 2**64 - 1)], np.uint64)
    return secret_key(seed.to_bytes((seed.bit_length() + 7) // 8, "little"))


def folded(key: Key) -> Bits:
    """Return public keys, as they are, or 64 bits of each secret one, whose draws are ten times as fast.

    For draws that nobody is shown: 64 bits can be searched for. They tell nothing about the secret key.
    """
    return bits(key, _FOLD) if _is_secret(key) else key


def seeds(key: Key, high: int, *counters: Counter) -> list[int]:
    """Draw a seed for each key: an integer below `high` from a public key, a secret seed of 128 bits from a secret one.

    Raises:
        ValueError: `high` is not from 1 to 2**32 - 1.
    """
    if _is_secret(key):
        return [SECRET_SEEDS + seed % SECRET_SEEDS for seed in generator_seeds(key, *counters)]
    drawn: list[int] = integers(key, high, *counters).reshape(-1).tolist()
    return drawn


def _is_secret(key: Any) -> bool:
    return isinstance(key, np.ndarray) and key.dtype.kind == "V"


def _each(keys: Key | Bits) -> list[bytes]:
    """Return the bytes of every element, in order; integers as little-endian ones."""
    raw, size = keys.astype(keys.dtype.newbyteorder("<"), copy=False).tobytes(), keys.dtype.itemsize
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _secret_mix(key: Key, counter: Bits) -> Key:
    """Hash each key with its counter."""
    if counter.size == 1:
        one = counter.astype("<u8").tobytes() + b"k"
        shape = np.broadcast_shapes(key.shape, counter.shape)
        joined = b"".join([blake2b(own + one).digest()[:32] for own in _each(key)])
    else:
        key, counter = np.broadcast_arrays(key, counter)
        shape, pairs = key.shape, zip(_each(key), _each(counter), strict=True)
        joined = b"".join([blake2b(own + one + b"k").digest()[:32] for own, one in pairs])
    return np.frombuffer(bytearray(joined), SECRET).reshape(shape)


def _secret_bits(key: Key, counter: Counter | None = None) -> Bits:
    """Draw 64 bits for each key and counter: number `counter` of the key's stream, of which each hash makes eight."""
    if counter is None:
        words = b"".join([blake2b(own + b"d").digest()[:8] for own in _each(key)])
        return np.frombuffer(words, "<u8").astype(np.uint64).reshape(key.shape)
    places = _unsigned(counter)
    shape = np.broadcast_shapes(key.shape, places.shape)
    if key.size * places.size == math.prod(shape):  # the same numbers of every key: each hash is made once
        blocks, nth = _blocks(places)
        words = b"".join([blake2b(own + block).digest() for own in _each(key) for block in blocks])
        table = np.frombuffer(words, "<u8").reshape(key.size, 8 * len(blocks))
        return table[np.arange(key.size).reshape(key.shape), nth].astype(np.uint64, copy=False)
    key, places = np.broadcast_arrays(key, places)
    each = zip(_each(key), _each(places >> _BLOCK), (places & _WORD).reshape(-1).tolist(), strict=True)
    words = b"".join([blake2b(own + block + b"d").digest()[8 * word :][:8] for own, block, word in each])
    return np.frombuffer(words, "<u8").astype(np.uint64).reshape(shape)


def _blocks(places: Bits) -> tuple[list[bytes], npt.NDArray[np.integer]]:
    """Return what is hashed after a key for these numbers of its stream, and where each lies in what results."""
    if places.size == 1:
        return [(places >> _BLOCK).astype("<u8").tobytes() + b"d"], (places & _WORD).astype(np.int64)
    if places.size > _REMEMBERED:
        return _found_blocks(places)
    return _known_blocks(places.tobytes(), places.shape)


@lru_cache(maxsize=256)
def _known_blocks(places: bytes, shape: tuple[int, ...]) -> tuple[list[bytes], npt.NDArray[np.integer]]:
    """Find blocks once: steps draw the same numbers again and again."""
    return _found_blocks(np.frombuffer(places, np.uint64).reshape(shape))


def _found_blocks(places: Bits) -> tuple[list[bytes], npt.NDArray[np.integer]]:
    blocks, nth = np.unique((places >> _BLOCK).reshape(-1), return_inverse=True)
    at = (nth.reshape(places.shape) << 3) + (places & _WORD).astype(np.int64)
    return [block + b"d" for block in _each(blocks)], at


def _small(x: Bits) -> npt.NDArray[np.float64]:
    """Convert integers below 2**63 to floats, via signed ones, which processors convert ten times faster."""
    return x.view(np.int64).astype(np.float64)


def uniform(key: Key, *counters: Counter) -> npt.NDArray[np.float64]:
    """Uniform draws on [0, 1): the top 53 bits of bits(key, *counters)."""
    draws = _small(bits(key, *counters) >> _MANTISSA)
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
    return (((bits(key, *counters) >> _HALF) * factor) >> _HALF).astype(np.int64)


def permutation(key: Key, n: int, *counters: Counter) -> npt.NDArray[np.int64]:
    """Uniformly random permutations of 0 .. n-1, one for each key: (...) -> (..., n).

    Raises:
        ValueError: n is no integer from 0 to 2**32 - 1.
    """
    n = checks.integer("n", n, 0, 2**32 - 1)
    key = mix(key, *counters)
    return np.argsort(bits(key[..., None], np.arange(n)), axis=-1, kind="stable")


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
    low = bits(key, *counters)
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
