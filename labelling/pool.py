"""Segments and pairs of a study: from fresh rollouts, from a file of preferences, or from a run that asks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

import valuegym.agents
from valuegym.envs import checks
from valuegym.envs.control.optimal_values import values_of
from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import Feedback
from valuegym.envs.feedback.queries import check_space
from valuegym.envs.feedback.segments import Segments, concatenate, each
from valuegym.envs.feedback.utilities import PartialReturn, Regret
from valuegym.labelling.films import Draw, Film, Pixels, draw_segment, is_whole, make_film
from valuegym.labelling.store import DatabaseFile, NewPair, add_films, add_pairs
from valuegym.labelling.study import Study

__all__ = [
    "Numbers",
    "add_feedback",
    "add_rollouts",
    "check_conditions",
    "drawn_pairs",
    "make_env",
    "numbers_of",
    "rollouts",
]

Numbers = Callable[[Segments], np.ndarray]
MAX_STEPS = 10_000  # of an episode that has no limit


def make_env(environment: str, arguments: Mapping[str, Any]) -> gym.Env[Any, Any]:
    """Return an environment that draws itself.

    Raises:
        ValueError: there is none of this id, it does not take the arguments, or it draws no pictures.
    """
    try:
        env = gym.make(environment, render_mode="rgb_array", **arguments)
    except (gym.error.Error, TypeError) as error:
        raise ValueError(f"The environment {environment} cannot be made: {error}") from None
    if "rgb_array" not in env.metadata.get("render_modes", []):
        raise checks.refusal("environment", environment, "one that draws pictures (render mode rgb_array)")
    try:
        env.reset(seed=0)
        env.render()
    except gym.error.DependencyNotInstalled as error:
        raise ValueError(f"The environment {environment} cannot draw itself here: {error}") from None
    return env


def numbers_of(env: Any) -> tuple[Numbers, Numbers | None]:
    """Return functions of segments with known rewards: partial return, and regret where exact values are known.

    Regret is how much of the optimal value the moves lost, 0 at best. It is None where no values are known
    (`valuegym.envs.control.optimal_values`).
    """
    try:
        values = values_of(env)
    except ValueError:
        return PartialReturn(), None
    better = Regret(values, values.discount)
    return PartialReturn(), lambda segments: np.maximum(-better(segments), 0.0)


def rollouts(
    env: gym.Env[Any, Any],
    count: int,
    length: int,
    start_within: int = 0,
    agents: Sequence[str] = ("uniform",),
    seed: int = 0,
) -> Iterator[tuple[Segments, list[Pixels]]]:
    """Yield segments (N = 1) with their pictures, one from each episode, played by the agents in turn.

    A segment begins at a step drawn evenly from 0 to `start_within`, and is the last `length` steps of an episode that
    ends before it would.

    Raises:
        ValueError: a space holds no arrays, a number is too small, or an agent is unknown or does not play there.
        ImportError: an agent needs an extra that is not installed.
    """
    check_space("observation_space", env.observation_space)
    check_space("action_space", env.action_space, dictionary=False)
    count, length = checks.integer("count", count, 1), checks.integer("length", length, 1)
    start_within = checks.integer("start_within", start_within, 0)
    players = [valuegym.agents.make(name, env, seed=checks.integer("seed", seed, 0)) for name in agents]
    rng = np.random.default_rng(seed)
    for number in range(count):
        start = int(rng.integers(start_within + 1))
        yield _window(env, players[number % len(players)], start, length, int(rng.integers(2**31)))


def _window(env: Any, player: Any, start: int, length: int, seed: int) -> tuple[Segments, list[Pixels]]:
    """Return the steps of one episode from `start` on, or its last ones."""
    observation, _ = env.reset(seed=seed)
    seen, frames = [_copy(observation)], [np.array(env.render())]
    actions: list[Any] = []
    rewards: list[float] = []
    memory, first, over = None, np.ones(1, np.bool_), False
    for _ in range(min(start + length, MAX_STEPS)):
        action, memory = player.predict(observation, memory, first)
        first = np.zeros(1, np.bool_)
        action = np.asarray(action)
        observation, reward, over, truncated, _ = env.step(action if action.ndim else action.item())
        seen.append(_copy(observation))
        actions.append(action)
        rewards.append(float(reward))
        frames.append(np.array(env.render()))
        for kept in (seen, frames):
            del kept[: -length - 1]
        if over or truncated:
            break
    steps = min(length, len(actions))
    pad = length - steps
    observations: Any = (
        {name: np.stack([one[name] for one in seen] + [seen[-1][name]] * pad)[None] for name in seen[0]}
        if isinstance(seen[0], dict)
        else np.stack(seen + [seen[-1]] * pad)[None]
    )
    moves = np.stack(actions[-steps:] + [np.zeros_like(actions[-1])] * pad)[None]
    earned = np.array(rewards[-steps:] + [0.0] * pad)[None]
    return Segments(observations, moves, earned, [steps], np.array([bool(over)])), frames


def _copy(observation: Any) -> Any:
    return each(np.array, observation)


def add_rollouts(
    database: DatabaseFile,
    study: Study,
    segments: int,
    pairs: int,
    length: int,
    start_within: int = 0,
    agents: Sequence[str] = ("uniform",),
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> int:
    """Play episodes in the environment of a study, and store pairs of their segments; return how many.

    Args:
        database: of the study.
        study: whose environment is played.
        segments: how many, at least 2.
        pairs: how many at most, all different.
        length: steps of a segment.
        start_within: where segments begin, as in `rollouts`.
        agents: who plays.
        watch: shows progress.

    Raises:
        ValueError: an argument is not as stated, or a condition shows what is not known of the environment.
        ImportError: an extra is not installed.
    """
    if study.environment is None:
        raise ValueError("environment is None; expected the id of one to play in.")
    checks.integer("segments", segments, 2)
    checks.integer("pairs", pairs, 1)
    env = make_env(study.environment, study.arguments)
    earned, lost = numbers_of(env)
    check_conditions(study, True, lost is not None)
    found: list[Segments] = []
    films: list[Film] = []
    for segment, frames in watch(rollouts(env, segments, length, start_within, agents, study.seed)):
        film = make_film(frames, study.frame_ms, is_whole(study.environment))
        if film.id not in {one.id for one in films}:  # two that look the same need no comparison
            found.append(segment)
            films.append(film)
    env.close()
    if len(found) < 2:
        raise ValueError(f"All {segments} segments look the same; expected other agents, or a longer --start-within.")
    rng = np.random.default_rng([study.seed, 1])
    N = len(found)
    chosen = rng.choice(N * (N - 1) // 2, min(pairs, N * (N - 1) // 2), replace=False)
    upper = np.stack(np.triu_indices(N, 1), 1)[chosen]
    sides = np.where(rng.integers(2, size=len(upper))[:, None] == 1, upper[:, ::-1], upper)
    every = concatenate(found)
    numbers = [earned(every), None if lost is None else lost(every)]
    new = [_pair(found[i], found[j], (films[i].id, films[j].id), *_both(numbers, i, j)) for i, j in sides.tolist()]
    with database.change() as connection:
        add_films(connection, films)
        add_pairs(connection, new, rng)
    return len(new)


def _both(numbers: Sequence[Any], i: int, j: int) -> list[Any]:
    return [None if one is None else (float(one[i]), float(one[j])) for one in numbers]


def _pair(first: Segments, second: Segments, films: tuple[str, str], earned: Any = None, lost: Any = None) -> NewPair:
    content = data.pack(first, second)
    return NewPair(hashlib.sha256(content).hexdigest()[:32], content, films, earned, lost)


def check_conditions(study: Study, earned: bool, lost: bool) -> None:
    """Check that what the conditions show is known.

    Raises:
        ValueError: it is not.
    """
    for name, condition in study.conditions.items():
        known = {"nothing": True, "partial_return": earned, "regret": lost}[condition.shows]
        if not known:
            reason = "the rewards of the segments" if condition.shows == "partial_return" else "optimal values"
            raise ValueError(
                f"The condition {name!r} shows the {condition.shows.replace('_', ' ')}, for which {reason} would have "
                "to be known; expected one that shows nothing."
            )


def drawn_pairs(
    first: Segments,
    second: Segments,
    study: Study,
    draw: Draw | None = None,
    numbers: tuple[Numbers, Numbers | None] | None = None,
    keep_rewards: bool = True,
) -> tuple[list[Film], list[NewPair]]:
    """Return the films and the pairs of N pairs of segments.

    Args:
        first: N segments.
        second: N segments.
        study: whose environment draws them.
        draw: returns the pictures of a segment; None is `films.draw_segment`.
        numbers: of `numbers_of`, where rewards are known.
        keep_rewards: whether the pairs are stored with the true rewards of their steps.

    Raises:
        ValueError: nothing draws such segments, or a condition shows what is not known.
    """
    known = first.rewards_known and second.rewards_known and numbers is not None
    check_conditions(study, known, known and numbers is not None and numbers[1] is not None)
    films: dict[str, Film] = {}
    pairs = []
    for i in range(len(first)):
        both = (first[i], second[i])
        made = []
        for side in both:
            # A function of one's own gets no rewards, as in any other annotator that shows segments to people.
            frames = draw_segment(side, study.environment) if draw is None else draw(side.without())
            made.append(make_film(frames, study.frame_ms, draw is None and is_whole(study.environment)))
        films |= {film.id: film for film in made}
        values: list[Any] = [None, None]
        if known and numbers is not None:
            values = [None if one is None else (float(one(both[0])[0]), float(one(both[1])[0])) for one in numbers]
        stored = both if keep_rewards else tuple(side.without() for side in both)
        pairs.append(_pair(stored[0], stored[1], (made[0].id, made[1].id), *values))
    return list(films.values()), pairs


def add_feedback(database: DatabaseFile, study: Study, feedback: Feedback, draw: Draw | None = None) -> int:
    """Store the pairs of a file of preferences, without its answers; return how many.

    Raises:
        ValueError: nothing draws such segments, or a condition shows what is not known.
    """
    numbers = None
    if study.environment is not None and feedback.first.rewards_known and feedback.second.rewards_known:
        numbers = numbers_of(make_env(study.environment, study.arguments))
    films, pairs = drawn_pairs(feedback.first, feedback.second, study, draw, numbers)
    with database.change() as connection:
        add_films(connection, films)
        add_pairs(connection, pairs, np.random.default_rng([study.seed, 1]))
    return len(pairs)
