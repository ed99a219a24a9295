"""Sine, cosine and sums, bit-identical for any number of rows, on every processor and with every version of numpy.

`np.sin` and BLAS are free to differ in the last place between processors, and products of matrices do between one row
and a thousand. Here everything is made of single additions, multiplications and rounding, which IEEE 754 leaves no
choice, in an order that does not depend on the number of rows. So trajectories of chaotic systems can be replayed to
the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["LastSinCos", "dot", "matvec", "orthogonal", "sin_cos", "wrap"]

Floats = npt.NDArray[np.float64]

TAU = 6.283185307179586

# The kernels of fdlibm (Sun Microsystems 1993, k_sin.c and k_cos.c): sin y = y + y z S(z) and
# cos y = 1 - z / 2 + z z C(z) with z = y * y and |y| <= pi / 4, highest power first.
_SINE = (
    1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06,
    -1.98412698298579493134e-04, 8.33333333332248946124e-03, -1.66666666666666324348e-01,
)  # fmt: skip
_COSINE = (
    -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07,
    2.48015872894767294178e-05, -1.38888888888741095749e-03, 4.16666666666666019037e-02,
)  # fmt: skip
_HALF_PI = (1.57079632673412561417, 6.07710050650619224932e-11)  # pi / 2: its first 33 bits, and the rest
_PER_QUARTER = 0.6366197723675814  # 2 / pi


def _horner(coefficients: tuple[float, ...], z: Any) -> Any:
    """Evaluate the polynomial times z, for an array or a number."""
    value = coefficients[0] * z
    for coefficient in coefficients[1:]:
        value += coefficient
        value *= z
    return value


def _reduced(x: Any, quarters: Any) -> tuple[Any, Any]:
    """Sine and cosine of x minus this many quarter turns, for arrays or numbers."""
    y = x - quarters * _HALF_PI[0]
    y -= quarters * _HALF_PI[1]
    z = y * y
    sine, cosine = _horner(_SINE, z), _horner(_COSINE, z)
    sine *= y  # in place where it can be: fresh memory is what costs most
    sine += y
    cosine = 0.5 - cosine
    cosine *= z
    return sine, 1.0 - cosine


def sin_cos(x: Floats) -> tuple[Floats, Floats]:
    """Sine and cosine of x (...), in radians.

    The error is below 3e-16 for |x| <= 1e6, beyond which the argument is no longer reduced exactly.
    """
    if x.size == 1:  # Python's own numbers do the same in a tenth of the time
        number = x.item()
        turn = round(number * _PER_QUARTER)
        pair = _reduced(number, float(turn))
        one, other = (pair[1], pair[0]) if turn & 1 else pair
        return np.full(x.shape, one * (1 - (turn & 2))), np.full(x.shape, other * (1 - ((turn + 1) & 2)))
    quarters = np.rint(x * _PER_QUARTER)
    turns = quarters.astype(np.int64)
    sine, cosine = _reduced(x, quarters)
    # An odd quarter exchanges the two, and their signs change with the second bit of turns and of turns + 1: done to
    # the bits of the numbers, for a choice between arrays takes as long as half of the polynomials.
    s, c = sine.view(np.int64), cosine.view(np.int64)
    swapped = s ^ c
    swapped &= -(turns & 1)
    s ^= swapped
    c ^= swapped
    s ^= (turns & 2) << 62
    c ^= ((turns + 1) & 2) << 62
    return sine, cosine


class LastSinCos:
    """Cache of the last call of `sin_cos`, for the observation of a step needs what the next step needs.

    The arrays it returns must not be written to.
    """

    def __init__(self) -> None:
        self._last: tuple[Floats, Floats, Floats] = (np.zeros(0),) * 3

    def __call__(self, x: Floats) -> tuple[Floats, Floats]:
        """Sine and cosine of x (...)."""
        if self._last[0].shape != x.shape or not (self._last[0] == x).all():
            self._last = x.copy(), *sin_cos(x)
        return self._last[1:]


def wrap(angle: Floats) -> Floats:
    """Wrap angles to [-pi, pi]."""
    return angle - TAU * np.rint(angle / TAU)


def matvec(matrix: Floats, vectors: Floats) -> Floats:
    """Products of a matrix (n, m) with vectors (..., m): (..., n), summed from the first column to the last."""
    total = matrix[:, 0] * vectors[..., :1]
    for j in range(1, matrix.shape[1]):
        total += matrix[:, j] * vectors[..., j : j + 1]
    return total


def dot(left: Floats, right: Floats) -> Floats:
    """Inner products over the last axis, (..., n) and (..., n) to (...), summed from first to last."""
    total = left[..., 0] * right[..., 0]
    for j in range(1, np.shape(right)[-1]):
        total = total + left[..., j] * right[..., j]
    return total


def orthogonal(gaussian: Floats) -> Floats:
    """Orthogonalise a Gaussian matrix (n, n) by modified Gram-Schmidt, twice against rounding.

    Uniformly distributed (Haar measure) if the entries of `gaussian` are independent standard normal.
    """
    rows = np.array(gaussian, np.float64)
    for _ in range(2):
        for i in range(len(rows)):
            for j in range(i):
                rows[i] -= _sum(rows[i] * rows[j]) * rows[j]
            rows[i] /= np.sqrt(_sum(rows[i] * rows[i]))
    return rows


def _sum(values: Floats) -> Any:
    """Sum of (n,) from first to last, as in `dot`, by one call of numpy."""
    return np.add.accumulate(values)[-1]
