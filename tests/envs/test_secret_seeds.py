"""Secret seeds: what an environment shows does not give away the seed, and nothing of 64 bits lies in between."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym
from valuegym.envs import ENVS, keys
from valuegym.envs.functional import FunctionalEnv, episode_keys, is_secret
from valuegym.envs.keys import SECRET_SEEDS

SECRET = keys.secret_key(bytes(range(16)))
SEED = SECRET_SEEDS + 2**90 + 5


def test_secret_keys_by_hand() -> None:
    """RFC 7693's hash, written out: a stranger's program must find the same."""
    own = hashlib.blake2b(b"valuegym" + bytes(range(16))).digest()[:32]
    assert SECRET.tobytes() == own
    counter = (2**64 - 1).to_bytes(8, "little")  # keys.RESET
    mixed = hashlib.blake2b(own + counter + b"k").digest()[:32]
    assert keys.mix(SECRET, keys.RESET).tobytes() == mixed
    block = hashlib.blake2b(mixed + (1).to_bytes(8, "little") + b"d").digest()  # draws 8 to 15
    assert keys.bits(SECRET, keys.RESET, 11)[0] == int.from_bytes(block[24:32], "little")
    alone = int.from_bytes(hashlib.blake2b(own + b"d").digest()[:8], "little")
    assert keys.bits(SECRET)[0] == alone and keys.uniform(SECRET)[0] == (alone >> 11) * 2.0**-53
    assert episode_keys([SEED]).tobytes() == keys.mix(keys.secret_key(SEED.to_bytes(17, "little")), 0).tobytes()


@pytest.mark.parametrize(
    ("shape", "counters"),
    [
        ((4,), (3,)),
        ((4, 1), (keys.RESET, np.arange(20))),
        ((4, 1), (np.arange(4)[:, None], 2, np.arange(9))),
        ((4,), (np.arange(4), np.arange(4)[::-1])),
        ((1, 4), (np.array([[0], [7], [8]]),)),
        ((4, 1, 1), (np.array([5, 30]), np.arange(6).reshape(3, 2))),
        ((4, 1), (np.array([9, 3, 3, 100]),)),
        ((4, 1), (np.array([2**63, 1], np.uint64),)),
    ],
)
def test_draws_are_those_of_each_element_alone(shape: tuple[int, ...], counters: tuple[Any, ...]) -> None:
    """However counters and keys broadcast, as for public keys."""
    key = keys.mix(SECRET, np.arange(4)).reshape(shape)
    for draw in (keys.bits, keys.uniform, keys.mix, lambda k, *c: keys.integers(k, 1000, *c)):
        found = draw(key, *counters)
        public = draw(np.arange(4).reshape(shape), *counters)
        assert found.shape == public.shape
        each = np.broadcast_arrays(key, *(np.asarray(counter) for counter in counters))
        for at in np.ndindex(found.shape):
            alone = draw(each[0][at].reshape(1).astype(keys.SECRET), *(int(one[at]) for one in each[1:]))
            assert found[at].tobytes() == alone[0].tobytes()
        found[...] = found[::-1]  # fresh memory that may be written to


def test_nothing_to_draw() -> None:
    none = SECRET[:0]
    assert keys.uniform(none, 0).shape == keys.normal(none, 1, 2).shape == keys.mix(none, 3).shape == (0,)
    assert keys.uniform(none[:, None], np.arange(5)).shape == (0, 5)


def test_draws_are_uniform_and_normal() -> None:
    """Moments within four standard errors, over counters and over keys."""
    many = keys.mix(SECRET, np.arange(20_000))
    for draws in (keys.uniform(SECRET, np.arange(20_000)), keys.uniform(many, 0), keys.uniform(many)):
        assert abs(draws.mean() - 0.5) < 4 * 0.289 / 141 and abs(draws.var() * 12 - 1) < 4 * 0.9 / 141
    for normal in (keys.normal(SECRET, np.arange(20_000)), keys.irwin_hall(many, 1)):
        assert abs(normal.mean()) < 4 / 141 and abs(normal.std() - 1) < 4 / 141 / 1.4
    order = keys.permutation(many[:6000], 3)
    counts = np.unique(order @ [9, 3, 1], return_counts=True)[1]
    assert len(counts) == 6 and abs(counts - 1000).max() < 4 * 29
    assert len(set(keys.generator_seeds(many[:9]))) == 9 and max(keys.generator_seeds(many[:9])) > 2**240


def test_public_seeds_keep_their_bits() -> None:
    """Every seed below 2**128, those that Gymnasium draws itself among them."""
    for seed in (0, 7, 2**32, 2**64 + 1, 2**128 - 1):
        assert not is_secret(seed) and episode_keys([seed]).dtype == np.uint64
    assert episode_keys([7])[0] == keys.mix(np.random.PCG64(7).random_raw(), 0)[0]
    key = keys.mix(5, np.arange(3))
    assert (keys.bits(key, 1, 2) == keys.mix(key, 1, 2)).all() and keys.generator_seeds(key) == key.tolist()


def test_a_public_draw_gives_its_key_away_and_a_secret_one_does_not() -> None:
    """SplitMix64 run backwards from one draw in full finds the key, and with it all other draws."""
    key = keys.mix(123456789, 1, 2)
    seen = int(keys.mix(key, 0)[0])
    assert _backwards(seen, 0) == int(key[0])  # whoever sees this draw knows the next ones
    secret = keys.mix(SECRET, 1, 2)
    guess = np.array([_backwards(int(keys.bits(secret, 0)[0]), 0)], np.uint64)
    assert keys.bits(guess, 1)[0] != keys.bits(secret, 1)[0]


def _backwards(draw: int, counter: int) -> int:
    """The key of mix(key, counter): the finaliser's inverse (Stafford's mix 13 with xorshifts undone)."""
    mask = 2**64 - 1
    x = draw ^ (draw >> 31) ^ (draw >> 62)
    x = x * pow(0x94D049BB133111EB, -1, 2**64) & mask
    x ^= (x >> 27) ^ (x >> 54)
    x = x * pow(0xBF58476D1CE4E5B9, -1, 2**64) & mask
    x ^= (x >> 30) ^ (x >> 60)
    return (x - (counter + 1) * 0x9E3779B97F4A7C15) & mask


@pytest.mark.parametrize("id", ENVS)
def test_no_64_bits_lie_between_a_secret_and_its_draws(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a secret seed SplitMix64 makes no draw; it may number tasks, for their split, once they are drawn."""
    env = gym.make(id)
    if not isinstance(env.unwrapped, FunctionalEnv):
        pytest.skip("Gymnasium's own generator, of 128 bits, makes the draws of this simulator, at the reset only")
    env.reset(seed=3)  # whatever is made once, such as maps and networks, is made now
    run = keys._finalise

    def watched(x: Any) -> Any:
        callers, frame = set(), sys._getframe(1)
        while frame is not None:
            callers.add(frame.f_code.co_name)
            frame = frame.f_back  # type: ignore[assignment]
        assert "digest" in callers, "a draw was made with a public key"
        return run(x)

    monkeypatch.setattr(keys, "_finalise", watched)
    env.reset(seed=SEED)
    env.action_space.seed(0)
    for _ in range(12):
        if any(env.step(env.action_space.sample())[2:4]):
            env.reset()


@pytest.mark.parametrize("seeds", [[3, SEED], [SEED, 3]])
def test_secret_and_public_seeds_do_not_mix(seeds: list[int]) -> None:
    envs = valuegym_vector(2)
    with pytest.raises(ValueError, match=r"Some seeds are secret \(2\*\*128 and more\) and others are not"):
        envs.reset(seed=seeds)
    with pytest.raises(ValueError, match="give seeds of one kind"):
        episode_keys(seeds)
    envs.reset(seed=3)
    public = envs.reset(seed=3)[0]
    with pytest.raises(ValueError, match="give seeds of one kind"):
        envs.reset(seed=SEED, options={"reset_mask": np.array([True, False])})
    envs.reset(seed=SEED)
    secret = envs.reset(seed=SEED)[0]
    assert (envs.reset(seed=3)[0]["board"] == public["board"]).all()  # and back
    assert (envs.reset(seed=SEED)[0]["board"] == secret["board"]).all()
    assert (secret["board"] != public["board"]).any()


def valuegym_vector(rows: int) -> Any:
    assert valuegym
    return gym.make_vec("valuegym/RandomDelivery-v0", num_envs=rows)
