"""Replaying records on a pure core: every transition from the recorded state before it, all at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs.functional import Actions, Core, episode_keys, put_rows, take_rows
from valuegym.leaderboards.records.record import Episode, RecordError

__all__ = ["Replay", "checkpoints", "replay"]

Array = npt.NDArray[Any]

CACHE = 2**18  # bytes of states that are advanced at a time: what a processor's caches hold with all that is computed


class Replay(NamedTuple):
    """The result of replaying E episodes.

    Attributes:
        returns: (E,), discounted true returns.
        last: states after the last steps.
        task: the tasks that were played.
        episode_ids: seed and options with which each episode began: all that its task depends on.
        task_index: (E,), for each episode the first one with the same id, and so with the same task.
    """

    returns: Array
    last: Any
    task: Any
    episode_ids: list[tuple[Any, ...]]
    task_index: Array


def checkpoints(steps: int, every: int) -> list[int]:
    """Return the steps whose states a record holds: 0, every, 2 every, ... and the last."""
    return [*range(0, steps, every), steps]


def _states(core: Core, template: Any, episodes: list[Episode]) -> Any:
    """Return the recorded states of all episodes, one after another, as the core's own state type.

    Raises:
        RecordError: where a field is missing, or does not hold as many numbers of its shape as it should.
    """
    every = getattr(core, "checkpoint", 1)
    columns = []
    for name, field in zip(template._fields, template, strict=True):
        rows: list[Any] = []
        for episode in episodes:
            if set(episode.states) != set(template._fields):
                raise RecordError(
                    f"states have the fields {[name[:40] for name in sorted(episode.states)[:12]]}; "
                    f"expected {sorted(template._fields)}."
                )
            expected = len(checkpoints(len(episode.actions), every))
            if len(episode.states[name]) != expected:
                raise RecordError(
                    f"the episode of seed {episode.seed} holds {len(episode.states[name])} states for "
                    f"{len(episode.actions)} steps; expected {expected}, one every {every} steps and the last."
                )
            rows += episode.states[name]
        flat = _flat(rows, field.shape[1:])
        column = np.array(flat or (), object if flat is None else None)
        if flat is None or column.dtype.kind not in ("iub" if field.dtype.kind in "iub" else "iuf"):
            raise RecordError(
                f"the states' field {name!r} does not hold numbers of shape {field.shape[1:]} and the right type."
            )
        column = column.reshape(len(rows), *field.shape[1:])
        if not np.isfinite(column).all():
            raise RecordError(f"the states' field {name!r} holds a value that is not finite.")
        columns.append(column.astype(field.dtype))
    return type(template)(*columns)


def _flat(rows: list[Any], shape: tuple[int, ...]) -> list[Any] | None:
    """Return the numbers in nested lists of one shape, one after another; None where it is not that, or no numbers.

    It is looked at before any array is made: of a text and many numbers numpy would make as many long texts.
    """
    flat = rows
    for size in shape:
        if not set(map(type, flat)) <= {list} or not set(map(len, flat)) <= {size}:
            return None
        flat = list(itertools.chain.from_iterable(flat))
    return flat if set(map(type, flat)) <= {int, float, bool} else None


def _actions(space: Any, episodes: list[Episode]) -> Array:
    """Return all actions of all episodes, one after another.

    Raises:
        RecordError: where one is outside the action space, be it by one bit: a record holds what the core got.
    """
    flat = [action for episode in episodes for action in episode.actions]
    # The common case, without a look at each.
    n, lists = math.prod(space.shape), bool(space.shape) and set(map(type, flat)) <= {list}
    plain = set(map(len, flat)) <= {n} if lists else not space.shape
    plain = plain and set(map(type, itertools.chain.from_iterable(flat) if lists else flat)) <= {int, float}
    for action in () if plain else flat:  # before any array is made: a run of long lists may not fit into memory
        numbers = action if space.shape and isinstance(action, list) else [action]
        if len(numbers) != n or not all(type(x) in (int, float) for x in numbers):
            raise RecordError(f"an action is not in the action space: expected numbers of shape {space.shape}.")
    try:
        return Actions.of(space, 0.0).check(np.array(flat), (len(flat),))
    except (ValueError, OverflowError) as error:
        raise RecordError(f"an action is not in the action space: {' '.join(str(error).split())[:160]}") from None


def _agree(recorded: Any, replayed: Any, tolerance: float) -> Array:
    """Find the rows in which two states are equal, floats within the tolerance that the environment declares."""
    equal = np.ones(len(recorded[0]), np.bool_)
    for a, b in zip(recorded, replayed, strict=True):
        close = np.abs(a - b) <= tolerance * (1 + np.abs(b)) if a.dtype.kind == "f" and tolerance else a == b
        equal &= close.reshape(len(a), -1).all(-1)
    return equal


def _parts(length: Array, together: int) -> Iterator[tuple[int, Array]]:
    """Yield step i and which segments have one, at most `together` at a time, for all segments of these lengths."""
    for i in range(length.max()):
        going = np.flatnonzero(length > i)
        for rows in np.array_split(going, -(-len(going) // together)):
            yield i, rows


def replay(core: Core, episodes: list[Episode], limit: int | None, options: dict[str, Array]) -> Replay:
    """Check E recorded episodes against the core and compute their returns.

    Args:
        core: the environment's rules.
        episodes: as recorded.
        limit: of steps in an episode, None for none.
        options: of reset, name -> (E,).

    Raises:
        RecordError: with the first thing that is not as the environment would have it.
    """
    chosen = zip(*(value.tolist() for value in options.values()), strict=True) if options else [()] * len(episodes)
    episode_ids = [(episode.seed, *own) for episode, own in zip(episodes, chosen, strict=True)]
    firsts: dict[tuple[Any, ...], int] = {}
    task_index = [firsts.setdefault(id, e) for e, id in enumerate(episode_ids)]
    key = episode_keys([episode.seed for episode in episodes])
    task, start = core.initial(key, **options)
    every, tolerance = getattr(core, "checkpoint", 1), getattr(core, "tolerance", 0.0)
    states, actions = _states(core, start, episodes), _actions(core.action_space, episodes)

    # One segment per stretch between two recorded states: its episode, first step, length, and where its actions and
    # states lie.
    steps = np.array([len(episode.actions) for episode in episodes])
    points = [checkpoints(n, every) for n in steps]
    episode = np.concatenate([[e] * (len(p) - 1) for e, p in enumerate(points)])
    first = np.concatenate([p[:-1] for p in points])
    length = np.concatenate([np.diff(p) for p in points])
    action_at = first + (np.cumsum(steps) - steps)[episode]
    state_at = np.arange(len(episode)) + episode  # every episode has one state more than segments

    opening = np.concatenate([[0], np.cumsum([len(p) for p in points])[:-1]])
    wrong = np.flatnonzero(~_agree(take_rows(states, opening), start, tolerance))
    if wrong.size:
        raise RecordError(
            f"the episode of seed {episodes[wrong[0]].seed} does not start in the state that its seed gives."
        )

    task_rows, key_rows = take_rows(task, episode), key[episode]
    now = take_rows(states, state_at)
    returns = np.zeros(len(episodes))
    true_reward = getattr(core, "true_reward", core.reward)
    discount = getattr(core, "discount", 1.0)
    together = max(1, CACHE // sum(field[:1].nbytes for field in now))
    for i, rows in _parts(length, together):
        here, played, t = take_rows(now, rows), take_rows(task_rows, rows), first[rows] + i
        try:
            over = core.terminal(played, here)
        except IndexError:
            raise RecordError("a recorded state is not one of the environment's.") from None
        if over.any():
            bad = rows[over.argmax()]
            raise RecordError(
                f"the episode of seed {episodes[episode[bad]].seed} goes on after its end, at step {first[bad] + i}."
            )
        action = actions[action_at[rows] + i]
        after = core.transition(played, here, action, key_rows[rows], t)
        np.add.at(returns, episode[rows], discount**t * true_reward(played, here, action, after))
        put_rows(now, rows, after)
    wrong = np.flatnonzero(~_agree(take_rows(states, state_at + 1), now, tolerance))
    if wrong.size:
        bad = wrong[0]
        raise RecordError(
            f"the episode of seed {episodes[episode[bad]].seed} is not what the environment does: the state recorded "
            f"after step {first[bad] + length[bad]} does not follow from the one before and the actions."
        )
    last = take_rows(states, opening + np.array([len(p) - 1 for p in points]))
    terminated, truncated = core.terminal(task, last), steps >= (np.inf if limit is None else limit)
    for e, claim in enumerate(episodes):
        if (claim.terminated, claim.truncated) != (bool(terminated[e]), bool(truncated[e])):
            raise RecordError(
                f"the episode of seed {claim.seed} says terminated={claim.terminated}, truncated={claim.truncated}, "
                "which is not how the replay ends."
            )
        if not (claim.terminated or claim.truncated):
            raise RecordError(f"the episode of seed {claim.seed} stops after {steps[e]} steps, before its end.")
        if limit is not None and steps[e] > limit:
            raise RecordError(f"the episode of seed {claim.seed} has {steps[e]} steps; the limit is {limit}.")
    return Replay(returns, last, task, episode_ids, np.array(task_index))
