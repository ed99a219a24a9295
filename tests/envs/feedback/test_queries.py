"""Queries: schedules that sum to the budget, and segments drawn evenly from experience that is overwritten."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.feedback.queries import SCHEDULES, Experience, check_space, queries_per_round

BOX = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)


@pytest.mark.parametrize(
    "schedule", [*SCHEDULES, lambda t: t, lambda t: 1.0 * (t > 0.5), lambda t: 1e-300, lambda t: 1e308]
)
def test_rounds_sum_to_the_budget_exactly(schedule: Any) -> None:
    for budget in (1, 2, 7, 100, 1399):
        for rounds in (2, 3, 10, 97):
            counts = queries_per_round(schedule, budget, rounds)
            assert len(counts) == rounds and sum(counts) == budget and min(counts) >= 0
            weight = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
            weights = np.array([weight(k / (rounds - 1)) for k in range(rounds)])
            weights /= weights.max()
            assert (np.abs(np.array(counts) - budget * weights / weights.sum()) < 1).all()
    assert queries_per_round("constant", 5, 1) == [5]
    assert queries_per_round("hyperbolic", 300, 2) == [200, 100]
    assert queries_per_round("constant", 10, 4) == [3, 3, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("linear", 1, 1), "schedule is 'linear'; expected one of 'constant', 'hyperbolic', 'inverse_quadratic'"),
        (("constant", 0, 1), "budget is 0"),
        (("constant", 1.0, 1), "budget is 1.0"),
        (("constant", 1, 0), "rounds is 0"),
        ((lambda t: 0.0, 1, 1), "weights of the schedule are 0"),
        ((lambda t: -1.0, 1, 1), "weight of the schedule is -1.0"),
        ((lambda t: np.nan, 1, 1), "weight of the schedule is nan"),
    ],
)
def test_schedules_that_cannot_be_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        queries_per_round(*arguments)


def play(experience: Experience, lengths: list[int], row: int = 0, last_ends: bool = True) -> None:
    """Play episodes whose observations are (episode, step), actions the step and rewards 10 episode + step."""
    rows = np.array([row])
    for episode, length in enumerate(lengths):
        experience.begin(np.array([[episode, 0.0]]), rows)
        for t in range(length):
            experience.add(np.array([t]), np.array([10.0 * episode + t]), np.array([[episode, t + 1.0]]),
                           np.array([t == length - 1 and last_ends]), rows)  # fmt: skip
        if episode < len(lengths) - 1 or last_ends:
            experience.finish(rows)


def starts(experience: Experience, length: int) -> set[tuple[int, int, int]]:
    """Return (episode, step, steps) of all segments that were drawn."""
    pairs = experience.pairs(500, length, np.random.default_rng(0))
    assert pairs is not None
    found = set()
    for part in pairs:
        for i in range(len(part)):
            episode, t = part.observations[i, 0].astype(int).tolist()
            n = int(part.lengths[i])
            steps = t + np.arange(n)
            assert (part.observations[i, : n + 1, 1] == t + np.arange(n + 1)).all()
            assert (part.observations[i, :, 0] == episode).all()
            assert (part.actions[i, :n] == steps).all() and (part.rewards[i, :n] == 10 * episode + steps).all()
            found.add((episode, t, n))
    return found


def test_segments_are_all_stretches_of_their_length_and_whole_shorter_episodes() -> None:
    experience = Experience(BOX, gym.spaces.Discrete(9), 1, 100)
    play(experience, [5, 2, 3])
    assert starts(experience, 3) == {(0, 0, 3), (0, 1, 3), (0, 2, 3), (1, 0, 2), (2, 0, 3)}
    running = Experience(BOX, gym.spaces.Discrete(9), 1, 100)
    play(running, [5, 2], last_ends=False)
    assert starts(running, 3) == {(0, 0, 3), (0, 1, 3), (0, 2, 3)}  # an episode that may go on is not short yet
    running.begin(np.zeros((1, 2)), np.zeros(1, np.int64))  # given up
    assert starts(running, 3) == {(0, 0, 3), (0, 1, 3), (0, 2, 3), (1, 0, 2)}


@pytest.mark.parametrize("memory", [4, 5, 7, 11, 12, 13])
def test_what_was_overwritten_is_never_drawn(memory: int) -> None:
    lengths = [4, 2, 6, 3, 5]
    for played in range(1, 6):
        experience = Experience(BOX, gym.spaces.Discrete(9), 1, memory)
        play(experience, lengths[:played])
        records = [(e, t) for e, n in enumerate(lengths[:played]) for t in range(n + 1)]
        kept = set(records[-memory:])
        possible = {(e, t, 2) for e, t in kept if (e, t + 2) in kept}
        if len(possible) > 1:
            assert starts(experience, 2) == possible


def test_pairs_are_drawn_evenly_and_are_two_different_segments() -> None:
    experience = Experience(BOX, gym.spaces.Discrete(9), 1, 100)
    play(experience, [4, 7])
    n, possible = 20_000, 3 + 6
    pairs = experience.pairs(n, 2, np.random.default_rng(1))
    assert pairs is not None
    numbers = [part.observations[:, 0] @ np.array([10, 1]) for part in pairs]
    assert (numbers[0] != numbers[1]).all()
    counts = np.unique(numbers[0] * 100 + numbers[1], return_counts=True)[1]
    each = 1 / (possible * (possible - 1))
    assert len(counts) == possible * (possible - 1)
    assert (np.abs(counts - n * each) < 5 * np.sqrt(n * each)).all()


def test_rows_have_episodes_of_their_own() -> None:
    experience = Experience(BOX, gym.spaces.Discrete(9), 3, 20)
    for row, lengths in ((2, [3]), (0, [4, 2]), (2, [5])):
        play(experience, lengths, row)
    assert starts(experience, 3) == {(0, 0, 3), (0, 1, 3), (0, 2, 3), (1, 0, 2)}


def test_there_are_no_pairs_of_nothing() -> None:
    experience = Experience(BOX, gym.spaces.Discrete(9), 1, 100)
    assert experience.pairs(1, 2, np.random.default_rng(0)) is None
    play(experience, [2], last_ends=False)
    assert experience.pairs(1, 2, np.random.default_rng(0)) is None  # one segment is no pair


@pytest.mark.parametrize(
    "space",
    [gym.spaces.Text(3), gym.spaces.Tuple((BOX, BOX)), gym.spaces.Dict({}), gym.spaces.Dict({"a": gym.spaces.Text(2)}),
     gym.spaces.Dict({"a": gym.spaces.Dict({"b": BOX})}), gym.spaces.Sequence(BOX)],
)  # fmt: skip
def test_spaces_that_hold_no_arrays_are_refused(space: gym.Space[Any]) -> None:
    with pytest.raises(ValueError, match=r"here is .*; expected a Box, Discrete, .* or a flat Dict of these"):
        check_space("here", space)
    with pytest.raises(ValueError, match=r"here is .*; expected a Box"):
        check_space("here", gym.spaces.Dict({"a": BOX}), dictionary=False)


def test_rewards_must_be_finite() -> None:
    experience = Experience(BOX, gym.spaces.Discrete(9), 1, 9)
    rows = np.zeros(1, np.int64)
    experience.begin(np.zeros((1, 2)), rows)
    with pytest.raises(ValueError, match=r"the reward of the environment\[0\] is nan"):
        experience.add(np.zeros(1), np.array([np.nan]), np.zeros((1, 2)), np.array([False]), rows)


Record = tuple[int, float, float, bool, bool]  # episode, observation, reward, whether it is a step, whether it waits


def listed(records: list[Record], over: list[bool], memory: int, length: int) -> list[list[Record]]:
    """Return all segments of a row, in the order of time, with the record that follows: the rule, record by record."""
    kept = records[-memory:]
    found = []
    for i, (episode, _, _, is_step, waits) in enumerate(kept):
        rest = [record for record in kept[i:] if record[0] == episode]
        begins = (i == 0 and len(records) <= memory) or (i > 0 and kept[i - 1][0] != episode)
        whole_episode = begins and over[episode] and is_step
        if (len(rest) > length and not waits) or whole_episode:
            found.append(rest[: length + 1])
    return found


@pytest.mark.parametrize("seed", range(12))
def test_pairs_are_those_of_a_list_of_all_records(seed: int) -> None:
    rng = np.random.default_rng(seed)
    B, memory, length = int(rng.integers(1, 4)), int(rng.integers(4, 40)), int(rng.integers(1, 6))
    experience = Experience(gym.spaces.Dict({"x": BOX}), gym.spaces.Discrete(9), B, memory)
    history: list[list[Record]] = [[] for _ in range(B)]
    over: list[list[bool]] = [[] for _ in range(B)]
    clock, compared = 0.0, 0
    for _ in range(150):
        clock += 1
        row = int(rng.integers(B))
        rows, seen = np.array([row]), {"x": np.full((1, 2), clock)}
        if not over[row] or over[row][-1] or rng.random() < 0.1:
            over[row][-1:] = [True] * len(over[row][-1:])  # one that goes on is given up
            experience.begin(seen, rows)
            over[row].append(False)
            history[row].append((len(over[row]) - 1, clock, np.nan, False, False))
        elif rng.random() < 0.15:
            experience.finish(rows)
            over[row][-1] = True
        else:
            episode, before, _, _, waited = history[row][-1]
            waits = waited or bool(rng.random() < 0.1)
            moved = np.array([clock % 9]), np.array([clock]), seen, np.array([clock % 2 > 0])
            experience.add(*moved, rows, np.array([waits]))
            history[row][-1] = (episode, before, clock, True, waits)
            history[row].append((episode, clock, np.nan, False, waits))
        known = [part for r, o in zip(history, over, strict=True) for part in listed(r, o, memory, length)]
        seed_of_pairs = int(rng.integers(1000))
        pairs = experience.pairs(7, length, np.random.default_rng(seed_of_pairs))
        if len(known) < 2:
            assert pairs is None
            continue
        assert pairs is not None
        draws = np.random.default_rng(seed_of_pairs)
        one = draws.integers(len(known), size=7)
        two = (one + 1 + draws.integers(len(known) - 1, size=7)) % len(known)
        for part, chosen in zip(pairs, (one, two), strict=True):
            for i, k in enumerate(chosen):
                states, steps = known[k], min(len(known[k]) - 1, length)
                assert part.lengths[i] == steps and part.terminated[i] == (states[steps - 1][2] % 2 > 0)
                assert part.observations["x"][i, : steps + 1, 0].tolist() == [state[1] for state in states]
                assert part.rewards[i, :steps].tolist() == [state[2] for state in states[:steps]]
                assert part.actions[i, :steps].tolist() == [state[2] % 9 for state in states[:steps]]
                compared += 1
    assert compared > 500
