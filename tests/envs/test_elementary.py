"""Elementary functions: as accurate as the library's, and the same bits whatever the number of rows."""

from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym  # noqa: F401 - registers the ids
from valuegym.envs import elementary, keys


def test_sine_and_cosine_are_right() -> None:
    rng = np.random.default_rng(0)
    for reach in (1e-8, 1.0, math.pi, 100.0, 1e4, 1e6):
        x = rng.uniform(-reach, reach, 20_000)
        sine, cosine = elementary.sin_cos(x)
        assert np.abs(sine - np.sin(x)).max() < 3e-16 and np.abs(cosine - np.cos(x)).max() < 3e-16
    exact = np.array([0.0, -0.0, math.pi / 2, -math.pi / 2, math.pi, -math.pi, 0.75 * math.pi, 5 * math.pi])
    sine, cosine = elementary.sin_cos(exact)
    assert np.abs(sine - np.sin(exact)).max() < 3e-16 and np.abs(cosine - np.cos(exact)).max() < 3e-16
    assert cosine[0] == 1 and sine[0] == 0


@pytest.mark.parametrize("rows", [1, 3, 8, 1000])
def test_bits_do_not_depend_on_the_rows(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x, matrix = rng.uniform(-50, 50, (rows, 11)), rng.normal(size=(7, 11))
    together = elementary.sin_cos(x[:, 3])  # not contiguous
    product, inner = elementary.matvec(matrix, x), elementary.dot(x, matrix[:1])
    for i in range(rows):
        alone = elementary.sin_cos(x[i : i + 1, 3].copy())
        assert all(a[i : i + 1].tobytes() == b.tobytes() for a, b in zip(together, alone, strict=True))
        assert product[i].tobytes() == elementary.matvec(matrix, x[i]).tobytes()
        assert inner[i] == elementary.dot(x[i], matrix[0])
    np.testing.assert_allclose(product, x @ matrix.T, rtol=1e-12, atol=1e-12)


def test_the_last_answer_is_kept_by_value() -> None:
    kept, x = elementary.LastSinCos(), np.array([0.3, -1.2])
    first = kept(x)
    assert kept(x.copy())[0] is first[0]
    x[0] = 2.0  # in place, as when one row is reset
    assert all((a == b).all() for a, b in zip(kept(x), elementary.sin_cos(x), strict=True))
    assert kept(x[:1])[0].shape == (1,)


def test_wrapping() -> None:
    x = np.linspace(-100, 100, 4001)
    wrapped = elementary.wrap(x)
    assert np.abs(wrapped).max() <= math.pi
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * x), rtol=0, atol=1e-13)
    assert (elementary.wrap(wrapped) == wrapped).all()


@pytest.mark.parametrize("n", [1, 2, 5, 18])
def test_orthogonal_matrices(n: int) -> None:
    Q = elementary.orthogonal(keys.normal(keys.mix(3, np.arange(n))[:, None], np.arange(n)))
    np.testing.assert_allclose(Q @ Q.T, np.eye(n), rtol=0, atol=1e-14)


def test_a_chaotic_orbit_keeps_its_bits() -> None:
    x = np.array([0.1])
    for _ in range(1000):
        x = elementary.sin_cos(3.0 * x + 7.0)[0]
    assert x[0].hex() == "-0x1.839e38859a76ep-1"


def trace() -> str:
    """A digest of everything that some chaotic tasks do for a while."""
    digest = hashlib.sha256()
    for id, kwargs in (("Acrobot", {}), ("Pendulum-D8", {"kind": "published"}), ("Pendulum-D8", {"kind": "chaotic"})):
        envs: Any = gym.make_vec(f"valuegym/{id}-v0", num_envs=5, **kwargs)
        envs.reset(seed=1)
        for t in range(60):
            action = 2 * keys.uniform(keys.mix(0, np.arange(5), t))[:, None] - 1
            reward = envs.step(action.astype(np.float32))[1]
            digest.update(reward.tobytes() + b"".join(field.tobytes() for field in envs.unwrapped.state))
    return digest.hexdigest()


def test_bits_do_not_depend_on_the_processor() -> None:
    """Without the vector instructions that numpy chooses at run time, which it may on another processor."""
    try:
        from numpy._core import _multiarray_umath as umath
    except ImportError:  # numpy 1
        from numpy.core import _multiarray_umath as umath  # type: ignore[no-redef]
    used = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]
    if not used:
        pytest.skip("this numpy has chosen no instructions at run time")
    code = (
        f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r}); import test_elementary as t; print(t.trace())"
    )
    plain = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(used)}
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=plain)
    assert found.stdout.strip() == trace()
