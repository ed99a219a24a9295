"""Token worlds: rewards of responses that depend on everything written before, and a reference policy.

    r(x, y, a) = taste[x, a] + sum over earlier tokens b, k tokens ago, of pair[k, b, a]

All numbers are normal draws of one key. Pairs at a distance of two tokens and more make the reward depend on more than
the last token, so that a token that pays now may cost later. The reference policy writes like a language model that
knows its language but not the reward: a softmax of normal draws, by prompt and last token.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from valuegym.envs import checks, keys
from valuegym.envs.language.prefixes import Floats, Tree, log_softmax, tree

__all__ = ["World", "make_world"]

_TASTE, _PAIR, _REFERENCE = range(3)  # streams of the draws


class World(NamedTuple):
    """One world: its tree, the rewards (P, N, V) of tokens, and log probabilities (P, N, V) of the reference policy."""

    tree: Tree
    rewards: Floats
    log_reference: Floats


def _normal(key: keys.Key, stream: int, *shape: int) -> Floats:
    """Return standard normal draws of this shape."""
    return keys.normal(keys.mix(key, stream), np.arange(int(np.prod(shape)))).reshape(shape)


def make_world(
    vocabulary: int = 8, length: int = 5, prompts: int = 4, world: int = 0, taste: float = 1.0, pair: float = 0.5
) -> World:
    """Return the world of this number.

    Args:
        vocabulary: V, tokens to choose from, at least 2.
        length: T, tokens of a response.
        prompts: P.
        world: number of the world, from 0.
        taste: standard deviation of what a prompt says of each token, in units of reward.
        pair: standard deviation of what each pair of tokens adds, in units of reward.

    Raises:
        ValueError: an argument is outside its range, or the values of all prefixes do not fit into memory.
    """
    shape = tree(vocabulary, length, prompts)
    world = checks.integer("world", world, 0, 2**32 - 1)
    taste, pair = checks.real("taste", taste, 0, 1e6), checks.real("pair", pair, 0, 1e6)
    V, T = shape
    key = keys.mix(np.array([world], np.uint64))
    tastes = taste * _normal(key, _TASTE, prompts, V)
    pairs = pair * _normal(key, _PAIR, T, V, V)  # [0] of tokens in succession
    first, following = _normal(key, _REFERENCE, prompts, V + 1, V)[:, V], _normal(key, _REFERENCE, prompts, V + 1, V)
    rewards, logits = np.empty((prompts, shape.N, V)), np.empty((prompts, shape.N, V))
    for t, start in enumerate(shape.starts[:T]):
        tokens, rows = shape.tokens(t), slice(start, start + V**t)
        earlier = np.zeros((V**t, V))
        for k in range(t):
            earlier += pairs[k][tokens[:, t - 1 - k]]
        rewards[:, rows] = tastes[:, None] + earlier
        logits[:, rows] = following[:, tokens[:, -1]] if t else first[:, None]
    return World(shape, rewards, log_softmax(logits))
