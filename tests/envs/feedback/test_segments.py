"""Segments: shapes, padding, selection and joining, for arrays and dictionaries, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from valuegym.envs.feedback.segments import Segments, concatenate

N, L = 4, 3
LENGTHS = np.array([3, 1, 2, 3])


def make(kind: str = "box", lengths: Any = LENGTHS, seed: int = 0) -> Segments:
    rng = np.random.default_rng(seed)
    box, discrete = rng.normal(size=(N, L + 1, 2)).astype(np.float32), rng.integers(5, size=(N, L + 1))
    observations: Any = {"box": box, "discrete": discrete, "dict": {"x": box, "n": discrete}}[kind]
    actions = rng.integers(1, 3, (N, L)) if kind != "box" else rng.normal(size=(N, L, 1))
    return Segments(observations, actions, rng.normal(size=(N, L)), lengths, info={"user": np.arange(N)})


def arrays(segments: Segments) -> list[np.ndarray]:
    seen = segments.observations
    return [*(seen.values() if isinstance(seen, dict) else [seen])]


@pytest.mark.parametrize("kind", ["box", "discrete", "dict"])
def test_padding_repeats_the_last_observation_and_is_zero_elsewhere(kind: str) -> None:
    segments, whole = make(kind), make(kind, None)
    assert (segments.mask == (np.arange(L) < LENGTHS[:, None])).all() and len(segments) == N and segments.steps == L
    assert not segments.actions[~segments.mask].any() and not segments.rewards[~segments.mask].any()
    for i, length in enumerate(LENGTHS):
        for padded, full in zip(arrays(segments), arrays(whole), strict=True):
            assert (padded[i, : length + 1] == full[i, : length + 1]).all()
            assert (padded[i, length:] == full[i, length]).all() and padded.dtype == full.dtype
        assert (segments.rewards[i, :length] == whole.rewards[i, :length]).all()


@pytest.mark.parametrize("kind", ["box", "discrete", "dict"])
def test_rows_are_selected_and_joined_back(kind: str) -> None:
    segments = make(kind)
    parts = [segments[:2], segments[2], segments[np.array([False, False, False, True])]]
    assert [len(part) for part in parts] == [2, 1, 1]
    joined = concatenate(parts)
    for a, b in zip(arrays(joined), arrays(segments), strict=True):
        assert (a == b).all()
    for name in ("actions", "rewards", "lengths", "terminated"):
        assert (getattr(joined, name) == getattr(segments, name)).all()
    assert (joined.info["user"] == np.arange(N)).all()


def test_shorter_parts_are_padded_when_joined() -> None:
    long = make()
    short = Segments(long.observations[:, :2], long.actions[:, :1], long.rewards[:, :1], info=dict(long.info))
    joined = concatenate([short, long])
    assert joined.steps == L and (joined.lengths == [1, 1, 1, 1, *LENGTHS]).all()
    assert (joined.observations[:N, 1:] == long.observations[:, 1:2]).all()
    assert not joined.rewards[:N, 1:].any()


def test_rewards_and_columns_can_be_taken_away() -> None:
    segments = make().with_info(secret=np.ones(N))
    bare = segments.without("secret")
    assert np.isnan(bare.rewards[bare.mask]).all() and set(bare.info) == {"user"}
    assert (segments.without(rewards=False).rewards == segments.rewards).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": np.zeros(3)}, "actions has shape"),
        ({"actions": np.full((N, L), np.nan)}, r"actions\[0, 0\] is nan; expected finite"),
        ({"actions": np.full((N, L), "a")}, "actions has type"),
        ({"observations": np.zeros((N, L, 2))}, "observations has shape"),
        ({"observations": np.full((N, L + 1), np.inf)}, "observations.* is inf; expected finite"),
        ({"observations": {}}, "observations is an empty"),
        ({"observations": {"x": np.zeros((N, L))}}, r"observations\['x'\] has shape"),
        ({"rewards": np.zeros(L)}, "rewards has shape"),
        ({"rewards": np.full((N, L), -np.inf)}, "none of them infinite"),
        ({"lengths": np.array([0, 1, 1, 1])}, r"lengths\[0\] is 0; expected an integer from 1 to 3"),
        ({"lengths": np.array([1, 1, 1, 4])}, r"lengths\[3\] is 4"),
        ({"lengths": np.ones(3, np.int64)}, "lengths has shape"),
        ({"terminated": np.zeros(N)}, "terminated has shape .* and type float64"),
        ({"info": {"user": np.zeros(3)}}, r"info\['user'\] has shape"),
        ({"info": {"user": np.zeros(())}}, r"info\['user'\] has shape"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"observations": np.zeros((N, L + 1)), "actions": np.zeros((N, L)), **change}
    with pytest.raises(ValueError, match=message):
        Segments(**given)


def test_parts_that_do_not_fit_are_not_joined() -> None:
    with pytest.raises(ValueError, match="parts is empty"):
        concatenate([])
    with pytest.raises(ValueError, match="different observations or columns"):
        concatenate([make("box"), make("dict")])
    with pytest.raises(ValueError, match="different observations or columns"):
        concatenate([make("box"), make("box").with_info(more=np.zeros(N))])
    with pytest.raises(ValueError, match="actions has shapes"):
        concatenate([make("box"), Segments(make("box").observations, np.zeros((N, L)), info={"user": np.arange(N)})])
