"""Compared segments as tensors, checked once where they come in, and the same grouped by user.

Labels: 0 the first was preferred, 1 the second, 0.5 the same (in between: shares of answers), NaN no answer. Letters:
N pairs, L steps, D inputs of a step, E members of an ensemble, U users, n pairs of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from valuegym.envs import checks

__all__ = [
    "INPUTS",
    "Pairs",
    "UserSets",
    "by_user",
    "check_groups",
    "distinct_steps",
    "feedback_pairs",
    "join_pairs",
    "make_pairs",
    "masked_mean",
    "segment_pairs",
    "step_inputs",
]


@dataclass(frozen=True)
class Pairs:
    """N answered pairs of segments; the axis of size 2 holds the first and the second."""

    inputs: Tensor  # (N, 2, L, D)
    mask: Tensor  # (N, 2, L), 1 for a step and 0 for padding
    labels: Tensor  # (N,) from 0, the first, to 1, the second
    strength: Tensor | None = None  # (N,) of preference, at least 0
    ratings: Tensor | None = None  # (N, 2) of each segment alone
    group: Tensor | None = None  # (N,) numbers of users or sources, from 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> Pairs:
        """Return some pairs, of any shape of row numbers: (E, B) gives leading axes (E, B)."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: dict[str, Any] = {name: None if x is None else x[rows] for name, x in columns.items()}
        return Pairs(**taken)


@dataclass(frozen=True)
class UserSets:
    """The pairs of U users, padded to n each."""

    inputs: Tensor  # (U, n, 2, L, D)
    mask: Tensor  # (U, n, 2, L)
    labels: Tensor  # (U, n), 0.5 where there is no pair
    present: Tensor  # (U, n), 1 for a pair and 0 for padding

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Any) -> UserSets:
        """Return some users, of any shape of row numbers."""
        return UserSets(self.inputs[rows], self.mask[rows], self.labels[rows], self.present[rows])


def _mask(name: str, mask: Any, shape: tuple[int, int]) -> np.ndarray:
    if mask is None:
        return np.ones(shape)
    if isinstance(mask, Tensor):
        mask = mask.detach().cpu().numpy()
    found = checks.reals(name, np.asarray(mask) * 1.0, shape, 0.0, 1.0)
    if not np.isin(found, (0.0, 1.0)).all() or not found.any(-1).all():
        raise ValueError(f"{name} is not a mask; expected 0 or 1 everywhere and a step in every segment.")
    return found


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value


def make_pairs(
    first: Any,
    second: Any,
    labels: Any,
    *,
    first_mask: Any = None,
    second_mask: Any = None,
    strength: Any = None,
    ratings: Any = None,
    group: Any = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Pairs:
    """Return pairs of segments (N, L, D), or of items (N, D) of one step, with labels (N,); those without are left out.

    Arrays and tensors are copied. Masks (N, L) are 1 for the steps of a segment; without, all are. `strength` (N,) is
    at least 0, `ratings` (N, 2) are of the segments alone, `group` (N,) are numbers of users or sources.

    Raises:
        ValueError: a shape does not match, a value is not finite, a label lies outside [0, 1], or no pair is answered.
    """
    first, second = _array(first), _array(second)
    if np.ndim(first) == 2 and np.ndim(second) == 2:
        first, second = np.asarray(first)[:, None], np.asarray(second)[:, None]
    one = checks.reals("first", first, (None, None, None))
    two = checks.reals("second", second, one.shape)
    if 0 in one.shape:
        raise ValueError(f"first has shape {one.shape}; expected at least one pair, one step and one input.")
    answers = np.asarray(_array(labels))
    if answers.shape != one.shape[:1] or answers.dtype.kind not in "fiu":
        raise ValueError(f"labels has shape {answers.shape}; expected one number for each of {len(one)} pairs.")
    answered = ~np.isnan(answers)
    if not answered.any():
        raise ValueError(f"labels are NaN for all of {len(one)} pairs; expected an answer to at least one.")
    answers = checks.reals("labels", np.where(answered, answers, 0.5), None, 0.0, 1.0)
    masks = np.stack(
        [_mask("first_mask", first_mask, one.shape[:2]), _mask("second_mask", second_mask, one.shape[:2])], 1
    )

    def tensor(array: np.ndarray, dtype: torch.dtype = dtype) -> Tensor:
        return torch.as_tensor(array[answered], dtype=dtype, device=device)

    inputs = tensor(np.stack([one, two], 1))
    if not inputs.isfinite().all():
        raise ValueError(f"first or second holds values that are not finite as {dtype}; expected smaller ones.")
    return Pairs(
        inputs,
        tensor(masks),
        tensor(answers),
        None if strength is None else tensor(_of_answered("strength", strength, answered, (len(one),), 0.0)),
        None if ratings is None else tensor(_of_answered("ratings", ratings, answered, (len(one), 2), None)),
        None if group is None else tensor(checks.integers("group", _array(group), (len(one),), 0), torch.int64),
    )


def _of_answered(name: str, value: Any, answered: np.ndarray, shape: tuple[int, ...], low: float | None) -> np.ndarray:
    """Return an array whose rows without an answer may hold NaN, and become 0."""
    array = np.asarray(_array(value))
    if array.shape == shape and array.dtype.kind == "f":
        array = np.where(answered.reshape(-1, *[1] * (len(shape) - 1)), array, 0.0)
    return checks.reals(name, array, shape, low)


def check_groups(pairs: Pairs, count: int, noun: str) -> Tensor:
    """Return the group of each pair.

    Raises:
        ValueError: the pairs have no groups, or a number is not below `count`.
    """
    if pairs.group is None:
        raise ValueError(f"group is None; expected the number of the {noun} of each pair.")
    if int(pairs.group.max()) >= count:
        raise ValueError(f"group holds {int(pairs.group.max())}; expected numbers of {count} {noun}s, from 0.")
    return pairs.group


def by_user(pairs: Pairs, users: int) -> UserSets:
    """Return the pairs of each user in the order in which they came, padded to the largest number of pairs.

    Raises:
        ValueError: the pairs have no groups, a number is not below `users`, or a user has no pair.
    """
    group = check_groups(pairs, users, "user")
    counts = torch.bincount(group, minlength=users)
    if not counts.all():
        raise ValueError(f"user {int((counts == 0).nonzero()[0])} has no pair; expected one of each of {users} users.")
    order = torch.argsort(group, stable=True)
    start = counts.cumsum(0) - counts
    place = torch.arange(len(pairs), device=group.device) - start[group[order]]
    row = torch.zeros(users, int(counts.max()), dtype=torch.int64, device=group.device)
    row[group[order], place] = order
    present = torch.zeros_like(row, dtype=pairs.mask.dtype)
    present[group[order], place] = 1
    labels = torch.where(present > 0, pairs.labels[row], 0.5)
    return UserSets(pairs.inputs[row], pairs.mask[row], labels, present)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over the steps that count: values (..., L, D), mask (..., L) -> (..., D)."""
    return (values * mask[..., None]).sum(-2) / mask.sum(-1, keepdim=True).clamp_min(1)


# What a model sees of a step: the observation before it, the action, and the observation that follows.
INPUTS: dict[str, tuple[str, ...]] = {
    "state_action": ("before", "action"),
    "action_next": ("action", "after"),
    "state_action_next": ("before", "action", "after"),
    "next": ("after",),
}


def distinct_steps(steps: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows (U, D) among steps (M, D), and of each step the number of its row (M,)."""
    numbers = torch.arange(1, steps.shape[1] + 1, device=steps.device, dtype=torch.float64)
    index = (steps.double() @ numbers.sqrt().sin()).unique(return_inverse=True)[1]
    rows = steps.new_empty(int(index.max()) + 1, steps.shape[1])
    rows[index] = steps
    if torch.equal(rows[index], steps):
        return rows, index
    found: tuple[Tensor, Tensor] = steps.unique(dim=0, return_inverse=True)  # two rows had one sum, which is rare
    return found


def join_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Return the pairs of several parts; columns that a part lacks are left out.

    Raises:
        RuntimeError: shapes do not match.
    """
    columns: dict[str, Any] = {}
    for field in fields(Pairs):
        values = [getattr(part, field.name) for part in parts]
        columns[field.name] = None if any(value is None for value in values) else torch.cat(values)
    return Pairs(**columns)


def step_inputs(
    observations: Any,
    actions: Any,
    num_actions: int | None = None,
    inputs: str = "state_action",
    following: Any = None,
) -> np.ndarray:
    """Return inputs (..., D) of steps: by default flat observations beside flat actions.

    `observations` (N, L, *shape) or (N, *shape), or a dictionary of such arrays, in its order; `actions` (N, L) or (N,)
    if discrete, else (N, L, size) or (N, size), one-hot if `num_actions` is given. `following` are the observations
    after the steps, in the form of `observations`; where these are (N, L + 1, ...), they hold them. `inputs` is a name
    in `INPUTS`.

    Raises:
        ValueError: shapes do not match, a value is not finite, an action is not one of `num_actions`, or there are no
            following observations and the inputs hold them.
    """
    parts = INPUTS[checks.choice("inputs", inputs, INPUTS)]
    if num_actions is None:
        moves = checks.reals("actions", _array(actions))
        if moves.ndim not in (2, 3):
            raise ValueError(
                f"actions has shape {moves.shape}; expected (N, size) or (N, L, size), or num_actions of discrete ones."
            )
    else:
        count = checks.integer("num_actions", num_actions, 1)
        moves = np.eye(count)[checks.integers("actions", _array(actions), None, 0, count - 1)]
    steps = moves.shape[:-1]
    before, after = _flat_states("observations", observations, steps)
    found = {"before": before, "action": [moves], "after": after}
    if following is not None:
        found["after"] = _flat_states("following", following, steps)[0]
    if "after" in parts and not found["after"]:
        raise ValueError(f"following is None; expected the observations after the steps for the inputs {inputs!r}.")
    return np.concatenate([array for part in parts for array in found[part]], -1)


def _flat_states(name: str, observations: Any, steps: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return flat observations (*steps, D), a list of those of a dictionary, and those that follow, if they do."""
    before, after = [], []
    for key, value in (observations if isinstance(observations, Mapping) else {"": observations}).items():
        states = checks.reals(f"{name}[{key!r}]" if key else name, _array(value))
        one_more = len(steps) == 2 and states.ndim >= 2 and states.shape[1] == steps[1] + 1
        first = states[:, :-1] if one_more else states
        if first.shape[: len(steps)] != steps:
            given = f"{name}[{key!r}]" if key else name
            raise ValueError(f"{given} has shape {np.shape(value)}; expected {steps} first, as of the actions.")
        size = int(np.prod(first.shape[len(steps) :]))
        before.append(first.reshape(*steps, size))
        after += [states[:, 1:].reshape(*steps, size)] if one_more else []
    return before, after


def feedback_pairs(feedback: Any, num_actions: int | None = None, **options: Any) -> Pairs:
    """Return the pairs of a preference wrapper's feedback: `first` and `second` with segments, `answers` to them.

    Strengths and users are left out unless all answered pairs have one. `options` go to `segment_pairs`.

    Raises:
        ValueError: as `step_inputs` and `make_pairs`.
    """
    answers = feedback.answers
    answered = ~np.isnan(answers.labels)
    known: dict[str, Any] = {}
    if np.isfinite(answers.strength[answered]).all():
        known["strength"] = np.where(answered, answers.strength, 0.0)
    if (answers.user[answered] >= 0).all():
        known["group"] = np.where(answered, answers.user, 0)
    return segment_pairs(feedback.first, feedback.second, answers.labels, num_actions, **(known | options))


def segment_pairs(
    first: Any,
    second: Any,
    labels: Any = None,
    num_actions: int | None = None,
    inputs: Callable[[Any, Any], np.ndarray] | None = None,
    **options: Any,
) -> Pairs:
    """Return pairs of segments that have `observations`, `actions` and `lengths`; without labels, all are 0.5.

    `inputs` is a function of observations (N, L + 1, ...) and actions (N, L, ...) that returns (N, L, D), in place of
    `step_inputs`. `options` go to `make_pairs`.

    Raises:
        ValueError: as `step_inputs` and `make_pairs`.
    """
    known: dict[str, Any] = {}
    of = partial(step_inputs, num_actions=num_actions) if inputs is None else inputs
    sides = [of(side.observations, side.actions) for side in (first, second)]
    for name, side in (("first_mask", first), ("second_mask", second)):
        known[name] = np.arange(sides[0].shape[1]) < np.asarray(side.lengths)[:, None]
    answers = np.full(len(sides[0]), 0.5) if labels is None else labels
    return make_pairs(sides[0], sides[1], answers, **(known | options))
