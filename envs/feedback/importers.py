"""Answered pairs from the formats of other projects, whose labels mean four different things.

| format | label | what is read |
| --- | --- | --- |
| `bpref` | 1 = the second wins, 0 = the first, -1 = equal | the arrays `buffer_*` of its `RewardModel` |
| `clean-offline-rlhf` | the same, or two columns, one for the first, one for the second | indices into D4RL, labels |
| `preference-transformer` | as above | as above |
| `cpl`, `ipl` | 1 = the second wins, 0.5 = equal; or a score for every segment, of which the higher wins | `.npz` |
| `imitation` | probability that the FIRST wins | fragments, and an array of preferences |
| `vpl` | 1 = the FIRST wins, 0 = the second, or equal | arrays in sets, one for each person |

`from_...` takes arrays in memory, `read_...` the same arrays from files without pickle. Pickles, in which most of these
projects keep their answers, are never opened: `array_files.conversion` is a command for those who trust one.

Answers hold 0, 1 or 0.5. A label between those is a probability: it is stored as such, and the answer is the likelier
one. Sources: Lee et al. (2021, B-Pref), Yuan et al. (2024, Uni-RLHF), Kim et al. (2023, Preference Transformer), Hejna
et al. (2023, CPL), Hejna, Sadigh (2023, IPL), Gleave et al. (2022, imitation), Poddar et al. (2024, VPL).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from valuegym.envs import array_files, checks
from valuegym.envs.array_files import naming
from valuegym.envs.feedback.answers import Answers, Feedback
from valuegym.envs.feedback.segments import Segments, concatenate, each

__all__ = [
    "FORMATS",
    "Format",
    "from_bpref",
    "from_cpl",
    "from_imitation",
    "from_indices",
    "from_vpl",
    "qlearning_rows",
    "read",
    "read_bpref",
    "read_cpl",
    "read_imitation",
    "read_indices",
    "read_trajectories",
    "read_vpl",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

LAST = ("repeat", "drop")


# --- labels ---


def _chances(name: str, labels: Any, equal: float | None = None) -> Floats:
    """Return labels (N,) or (N, 1) as numbers from 0 to 1; those that are `equal` become 0.5."""
    found = checks.reals(name, labels)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(f"{name} has shape {found.shape}; expected (N,), a label for each pair.")
    if equal is not None:
        found[found == equal] = 0.5
    wrong = np.flatnonzero((found < 0) | (found > 1))
    if len(wrong):
        also = "" if equal is None else f", or {equal:g} for equal"
        raise ValueError(f"{name}[{wrong[0]}] is {found[wrong[0]]:g}; expected numbers from 0 to 1{also}.")
    return found


def _column_of_second(name: str, labels: Any) -> Floats:
    """Return the second of two columns (N, 2), which are the shares of the first and of the second."""
    columns = checks.reals(name, labels, (None, 2), 0, 1)
    wrong = np.flatnonzero(np.abs(columns.sum(1) - 1) > 1e-6)
    if len(wrong):
        raise ValueError(f"{name}[{wrong[0]}] is {columns[wrong[0]].tolist()}; expected two shares that sum to 1.")
    return columns[:, 1]


def _answers(second: Floats, user: Any = None) -> Answers:
    """Return answers from the probabilities (N,) that the second is preferred."""
    hard = np.isin(second, (0.0, 0.5, 1.0))
    labels = np.where(hard, second, (second > 0.5).astype(np.float64))
    return Answers(labels, probability=None if hard.all() else second, user=user)


# --- segments ---


def _segments(
    side: str,
    observations: Any,
    actions: Any,
    following: Any = None,
    rewards: Any = None,
    last: str = "repeat",
    **fields: Any,
) -> Segments:
    """Return segments from observations (N, L, ...) of the steps alone.

    `following` (N, ...) is what followed the last step. Where nobody kept it, `last` says whether the last observation
    is repeated, or the last step dropped.
    """
    checks.choice("last", last, LAST)
    with naming(f"of the {side} segments"):
        rows = each(np.asarray, observations)
        actions = np.asarray(actions)
        arrays = list(rows.values()) if isinstance(rows, Mapping) else [rows]
        if actions.ndim < 2 or not arrays or any(array.shape[:2] != actions.shape[:2] for array in arrays):
            shapes = ", ".join(str(array.shape) for array in arrays)
            raise ValueError(
                f"observations {shapes} and actions {actions.shape} do not fit; expected (N, L, ...) each."
            )
        if rewards is not None:
            rewards = np.asarray(rewards)
            rewards = rewards[..., 0] if rewards.ndim == 3 and rewards.shape[2] == 1 else rewards
        if following is not None:
            rows = _join(rows, following)
        elif last == "repeat":
            rows = each(lambda array: np.concatenate([array, array[:, -1:]], 1), rows)
        elif actions.shape[1] < 2:
            raise ValueError('a segment of one step is nothing without its last; expected last = "repeat".')
        else:
            actions, rewards = actions[:, :-1], None if rewards is None else rewards[:, :-1]
        return Segments(rows, actions, rewards, **fields)


def _join(rows: Any, following: Any) -> Any:
    if isinstance(rows, Mapping):
        return {name: np.concatenate([array, np.asarray(following[name])[:, None]], 1) for name, array in rows.items()}
    return np.concatenate([rows, np.asarray(following)[:, None]], 1)


def _take(arrays: Mapping[str, Any], *names: str) -> list[Any]:
    """Return arrays by name.

    Raises:
        ValueError: one is missing.
    """
    missing = [name for name in names if name not in arrays]
    if missing:
        there = ", ".join(sorted(arrays)) or "none"
        raise ValueError(f"the array {missing[0]!r} is missing; expected {', '.join(names)}, found {there}.")
    return [arrays[name] for name in names]


# --- B-Pref ---


def from_bpref(first: Any, second: Any, labels: Any, observation_size: int | None, last: str = "repeat") -> Feedback:
    """Return pairs from the arrays of B-Pref's `RewardModel`.

    Args:
        first: (N, L, size) observations and actions side by side, as in `buffer_seg1`.
        second: the same of the second segments, `buffer_seg2`.
        labels: (N,) or (N, 1), 1 the second wins, 0 the first, -1 equal.
        observation_size: how many of the numbers of a step are the observation; those after it are the action.
        last: what follows the last step is not kept; "repeat" the last observation, or "drop" the last step.

    Raises:
        ValueError: shapes do not fit, a label is another number, or a number is not finite.
    """
    p = _chances("labels", labels, equal=-1)
    if observation_size is None:
        raise ValueError("observation_size is None; expected how many of the numbers of a step are the observation.")
    sides = []
    for name, value in (("first", first), ("second", second)):
        steps = np.asarray(value)
        if steps.ndim != 3:
            raise ValueError(f"the {name} segments have shape {steps.shape}; expected (N, L, observation and action).")
        size = checks.integer("observation_size", observation_size, 1, max(steps.shape[2] - 1, 1))
        sides.append(_segments(name, steps[..., :size], steps[..., size:], last=last))
    return Feedback(sides[0], sides[1], _answers(p))


def read_bpref(path: str | Path, observation_size: int | None = None, last: str = "repeat") -> Feedback:
    """Read pairs from an archive of the arrays `buffer_seg1`, `buffer_seg2` and `buffer_label` of B-Pref.

    The archive may hold `buffer_index` and `buffer_full`: what lies behind the index of a buffer that is not full was
    never written. Arguments and errors are those of `from_bpref` and `array_files.read_arrays`.
    """
    names = ("buffer_seg1", "buffer_seg2", "buffer_label")
    arrays = array_files.read_arrays(path, (*names, "buffer_index", "buffer_full"))
    with naming(path):
        first, second, labels = _take(arrays, *names)
        if "buffer_index" in arrays and not np.any(arrays.get("buffer_full", False)):
            used = checks.integer("buffer_index", arrays["buffer_index"][()], 1, len(labels))
            first, second, labels = first[:used], second[:used], labels[:used]
        return from_bpref(first, second, labels, observation_size, last)


# --- D4RL data sets with indices: Clean-Offline-RLHF, Preference Transformer ---


def _flags(name: str, value: Any, n: int | None = None) -> npt.NDArray[np.bool_]:
    """Return (n,) True and False, also given as 1 and 0."""
    array = np.asarray(value)
    flags = array if array.dtype == bool else checks.reals(name, value)
    if flags.ndim != 1 or (n is not None and len(flags) != n) or not np.isin(flags, (0, 1)).all():
        raise ValueError(
            f"{name} of shape {flags.shape}: expected ({'n' if n is None else n},) of True and False, or 1 and 0."
        )
    return flags.astype(bool)


def qlearning_rows(terminals: Any, timeouts: Any = None, episode_steps: int | None = None) -> npt.NDArray[np.int64]:
    """Return which rows of a D4RL data set its function `qlearning_dataset` keeps, in order.

    Indices of Clean-Offline-RLHF and of Preference Transformer count these rows: the last row is left out, and so is
    the last row of every episode that ended by its step limit.

    Args:
        terminals: (n,) whether a step ended the episode in a terminal state.
        timeouts: (n,) whether a step was the last by the step limit; None where the data set does not say.
        episode_steps: the step limit, needed without timeouts. Steps are then counted as D4RL counts them, from 0 in
            the first episode and after a timeout, and from 1 after a terminal state.

    Raises:
        ValueError: there are not as many of each, or neither timeouts nor a step limit.
    """
    ends = _flags("terminals", terminals)
    n = len(ends)
    if timeouts is not None:
        return np.flatnonzero(~_flags("timeouts", timeouts, n)[: n - 1])
    if episode_steps is None:
        raise ValueError("the data set has no timeouts; expected episode_steps, the step limit of an episode.")
    limit = checks.integer("episode_steps", episode_steps, 1)
    kept, step = [], 0
    for row in range(n - 1):
        if step == limit - 1:
            step = 0
            continue
        step = 1 if ends[row] else step + 1
        kept.append(row)
    return np.array(kept, np.int64)


def read_trajectories(path: str | Path) -> dict[str, Array]:
    """Read the arrays of a D4RL data set, from HDF5 (needs h5py) or from an archive of numpy's.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: h5py is needed.
        ValueError: the file is damaged, or lacks observations, actions or terminals; the message begins with the path.
    """
    names = ("observations", "actions", "terminals", "rewards", "timeouts", "next_observations")
    path = Path(path)
    hdf5 = False
    if path.is_file():
        with path.open("rb") as file:
            hdf5 = file.read(4) == b"\x89HDF"
    arrays = array_files.read_hdf5(path, names) if hdf5 else array_files.read_arrays(path, names)
    with naming(path):
        _take(arrays, *names[:3])
        lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"its arrays have the lengths {lengths}; expected as many rows in each.")
    return arrays


def from_indices(
    first: Any,
    second: Any,
    labels: Any,
    trajectories: Mapping[str, Any],
    steps: int | None,
    episode_steps: int | None = None,
) -> Feedback:
    """Return pairs from indices into a D4RL data set, as Clean-Offline-RLHF and Preference Transformer keep them.

    The column `crosses_end` of the segments says whether one runs over the end of an episode.

    Args:
        first: (N,) where the first segments start, counted over `qlearning_rows`.
        second: (N,) where the second segments start.
        labels: (N,) 0 the first wins, 1 the second, -1 equal; or (N, 2) the shares of the first and of the second.
        trajectories: arrays of the data set by name: `observations`, `actions`, `terminals` (n, ...), and where there
            are any `rewards`, `timeouts` and `next_observations`. With the latter but without timeouts they are taken
            for what `qlearning_dataset` returned.
        steps: L, the length of a segment; the names of the published files say it.
        episode_steps: as in `qlearning_rows`.

    Raises:
        ValueError: shapes do not fit, an index is out of bounds, a label is another number, or one is not finite.
    """
    labels = np.asarray(labels)
    p = _column_of_second("labels", labels) if labels.ndim == 2 else _chances("labels", labels, equal=-1)
    if steps is None:
        raise ValueError("steps is None; expected the length of a segment, which the names of the files say.")
    L = checks.integer("steps", steps, 1)
    observations, actions = map(np.asarray, _take(trajectories, "observations", "actions"))
    terminals = _flags("terminals", *_take(trajectories, "terminals"))
    following, timeouts = trajectories.get("next_observations"), trajectories.get("timeouts")
    whole = timeouts is None and following is not None and episode_steps is None
    rows = np.arange(len(terminals)) if whole else qlearning_rows(terminals, timeouts, episode_steps)
    if len(rows) < L:
        raise ValueError(f"the data set has {len(rows)} rows; expected at least {L}, the length of a segment.")
    ends = terminals if timeouts is None else terminals | _flags("timeouts", timeouts, len(terminals))
    sides = []
    for name, start in (("first", first), ("second", second)):
        starts = checks.integers(f"the indices of the {name} segments", start, (len(p),), 0, len(rows) - L)
        index = rows[starts[:, None] + np.arange(L)]
        end = index[:, -1]
        crosses = (ends[index[:, :-1]] | (np.diff(index) != 1)).any(1)
        if following is not None:
            after = np.asarray(following)
            gap = np.abs(after[index[:, :-1]] - observations[index[:, 1:]]).reshape(len(p), -1)
            crosses = crosses | (gap > 1e-5).any(1)
            after = after[end]
        else:
            after = observations[np.where(ends[end] | (end == len(ends) - 1), end, end + 1)]
        rewards = None if "rewards" not in trajectories else np.asarray(trajectories["rewards"])[index]
        fields = {"terminated": terminals[end], "info": {"crosses_end": crosses}}
        sides.append(_segments(name, observations[index], actions[index], after, rewards, **fields))
    return Feedback(sides[0], sides[1], _answers(p))


_ROLES = {  # patterns of the names under which the two projects publish what is read here as .npy
    "indices_1": ("indices_1*", "indices_num*"),
    "indices_2": ("indices_2*",),
    "labels": ("human_label*", "label_human*", "fake_label*"),
}


def read_indices(
    path: str | Path, trajectories: str | Path | None = None, steps: int | None = None, episode_steps: int | None = None
) -> Feedback:
    """Read pairs from `indices_1`, `indices_2` and `labels`, in an archive or as three .npy files in a folder.

    Args:
        path: of the archive or the folder; the published files are pickles, and the error says how to convert them.
        trajectories: path of the D4RL data set, HDF5 or an archive (`read_trajectories`).
        steps: as in `from_indices`.
        episode_steps: as in `from_indices`.

    Raises:
        FileNotFoundError: a file is missing.
        ModuleNotFoundError: h5py is needed.
        ValueError: a file is not as it should be; the message begins with its path.
    """
    path = Path(path)
    if path.is_dir():
        found = [_role(path, role) for role in _ROLES]
    else:
        arrays = array_files.read_arrays(path, tuple(_ROLES))
        with naming(path):
            found = _take(arrays, *_ROLES)
    if trajectories is None:
        raise ValueError(f"{path}: it holds indices; expected trajectories, the D4RL data set that they count.")
    data = read_trajectories(trajectories)
    with naming(path):
        return from_indices(found[0], found[1], found[2], data, steps, episode_steps)


def _role(folder: Path, role: str) -> Array:
    """Return one of the three arrays in a folder; where there is only a pickle, say how to convert it."""
    path = folder / f"{role}.npy"
    if path.is_file():
        return array_files.read_array(path)
    published = sorted(file for pattern in _ROLES[role] for file in folder.glob(pattern) if file.suffix != ".npy")
    if not published:
        raise FileNotFoundError(
            f"There is no {role}.npy in {folder}; expected {', '.join(f'{r}.npy' for r in _ROLES)}."
        )
    raise ValueError(
        f"{published[0]}: it is published as a Python pickle, which could run any program while it is read, and so is "
        f"never opened; if you trust its maker, convert it yourself: {array_files.conversion(published[0], path)}"
    )


# --- CPL, IPL ---


def _observed(arrays: Mapping[str, Any], name: str) -> Any:
    """Return observations: an array, or a dictionary of those whose names begin with it and a full stop."""
    entries = {key.removeprefix(f"{name}."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
    return entries or _take(arrays, name)[0]


def from_cpl(arrays: Mapping[str, Any], label_key: str = "label", last: str = "repeat") -> Feedback:
    """Return pairs from the arrays of a data set of CPL or IPL.

    Args:
        arrays: by name, `obs_1`, `obs_2`, `action_1`, `action_2` (N, L, ...), `label` (N,), 1 the second wins, 0.5
            equal, and where known `reward_1`, `reward_2` (N, L); or, in the newer form, `obs`, `action` (2N, L, ...), a
            score (2N,) for each segment under `label_key`, and `reward`, where segments i and N + i are a pair. Entries
            of dictionaries of observations are `obs.NAME`, or `obs_1.NAME`.
        label_key: the name of the labels, or of the scores.
        last: what follows the last step is not kept; "repeat" the last observation, or "drop" the last step.

    Raises:
        ValueError: an array is missing, shapes do not fit, a label is out of range, or a number is not finite.
    """
    [labels] = _take(arrays, label_key)
    if "action_1" in arrays or "action_2" in arrays or "action" not in arrays:
        p = _chances(label_key, labels)
        parts = []
        for number, side in ((1, "first"), (2, "second")):
            [actions] = _take(arrays, f"action_{number}")
            rewards = arrays.get(f"reward_{number}")
            parts.append(_segments(side, _observed(arrays, f"obs_{number}"), actions, None, rewards, last))
        return Feedback(parts[0], parts[1], _answers(p))
    scores = np.asarray(labels)
    scores = checks.reals(label_key, scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores, (None,))
    if len(scores) % 2:
        raise ValueError(
            f"{label_key} has {len(scores)} scores; expected an even number, the halves of which are pairs."
        )
    N = len(scores) // 2
    both = _segments("", _observed(arrays, "obs"), arrays["action"], None, arrays.get("reward"), last)
    if len(both) != 2 * N:
        raise ValueError(f"there are {len(both)} segments and {2 * N} scores; expected as many.")
    p = 0.5 + 0.5 * np.sign(scores[N:] - scores[:N])
    return Feedback(both[:N], both[N:], _answers(p))


def read_cpl(path: str | Path, label_key: str = "label", last: str = "repeat") -> Feedback:
    """Read pairs from an archive of CPL or IPL; arguments and errors as in `from_cpl` and `array_files.read_arrays`."""
    arrays = array_files.read_arrays(path)
    with naming(path):
        return from_cpl(arrays, label_key, last)


# --- VPL ---


def from_vpl(arrays: Mapping[str, Any], last: str = "repeat") -> Feedback:
    """Return pairs from the arrays of a data set of VPL; the column `user` numbers the sets.

    Args:
        arrays: by name, `observations`, `observations_2`, `actions`, `actions_2` (Q, S, L, ...) and `labels` (Q, S) or
            (Q, S, 1), 1 the FIRST wins, for Q sets of S answers, each set by one person; and where there are any
            `next_observations` and `next_observations_2`.
        last: without those, "repeat" the last observation, or "drop" the last step.

    Raises:
        ValueError: an array is missing, shapes do not fit, a label is out of range, or a number is not finite.
    """
    [labels] = _take(arrays, "labels")
    labels = checks.reals("labels", labels)
    labels = labels[..., 0] if labels.ndim == 3 and labels.shape[2] == 1 else labels
    if labels.ndim != 2:
        raise ValueError(f"labels has shape {labels.shape}; expected (Q, S), S answers in each of Q sets.")
    Q, S = labels.shape
    p = 1.0 - _chances("labels", labels.reshape(-1))

    def flat(name: str) -> Array:
        array = np.asarray(_take(arrays, name)[0])
        if array.ndim < 3 or array.shape[:2] != (Q, S):
            raise ValueError(f"{name} has shape {array.shape}; expected ({Q}, {S}, L, ...).")
        return array.reshape(Q * S, *array.shape[2:])

    sides = []
    for side, end in (("first", ""), ("second", "_2")):
        next_name = f"next_observations{end}"
        following = flat(next_name)[:, -1] if next_name in arrays else None
        sides.append(_segments(side, flat(f"observations{end}"), flat(f"actions{end}"), following, None, last))
    return Feedback(sides[0], sides[1], _answers(p, user=np.repeat(np.arange(Q), S)))


def read_vpl(path: str | Path, last: str = "repeat") -> Feedback:
    """Read pairs of VPL from an archive of its arrays; arguments and errors as in `from_vpl` and `read_arrays`."""
    names = ("labels", "observations", "actions", "next_observations")
    arrays = array_files.read_arrays(path, (*names, *(f"{name}_2" for name in names[1:])))
    with naming(path):
        return from_vpl(arrays, last)


# --- imitation ---


def _fragment(fragment: Any) -> Segments:
    """Return a fragment of a trajectory, an object or a mapping with obs, acts and perhaps rews and terminal, N = 1."""

    def part(name: str) -> Any:
        return fragment.get(name) if isinstance(fragment, Mapping) else getattr(fragment, name, None)

    if part("obs") is None or part("acts") is None:
        raise ValueError(f"a fragment is {checks.printed(fragment)}; expected one with obs and acts.")
    seen = part("obs")
    seen = dict(seen.items()) if hasattr(seen, "items") else seen  # imitation's DictObs is no mapping
    rewards, terminal = part("rews"), part("terminal")
    return Segments(
        each(lambda array: np.asarray(array)[None], seen),
        np.asarray(part("acts"))[None],
        None if rewards is None else np.asarray(rewards)[None],
        terminated=None if terminal is None else np.array([bool(terminal)]),
    )


def from_imitation(first: Sequence[Any], second: Sequence[Any], preferences: Any) -> Feedback:
    """Return pairs from fragments of imitation, such as `fragments1`, `fragments2`, `preferences` of its data sets.

    Args:
        first: N fragments, objects or mappings with `obs` (l+1, ...), `acts` (l, ...) and perhaps `rews` (l,) and
            `terminal`. Lengths may differ. Nothing of imitation is imported, and infos are not read.
        second: N fragments.
        preferences: (N,) the probability that the FIRST is preferred.

    Raises:
        ValueError: there are not as many of each, shapes do not fit, or a number is out of range or not finite.
    """
    p = 1.0 - _chances("preferences", preferences)
    parts = []
    for name, fragments in (("first", first), ("second", second)):
        if len(fragments) != len(p):
            raise ValueError(f"there are {len(fragments)} {name} fragments and {len(p)} preferences; expected as many.")
        for i, fragment in enumerate(fragments):
            with naming(f"of the {name} fragments, number {i}"):
                parts.append(_fragment(fragment))
    both = concatenate(parts)  # of one length
    return Feedback(both[: len(p)], both[len(p) :], _answers(p))


def read_imitation(path: str | Path) -> Feedback:
    """Read pairs from a folder with `fragments1`, `fragments2` and `preferences.npy`.

    The fragments are what imitation's `serialize.save` writes, a data set of Hugging Face in a folder (needs datasets),
    or its older archives, `fragments1.npz`. Infos, which hold Python objects, are not read.

    Raises:
        FileNotFoundError: something is missing.
        ModuleNotFoundError: datasets is needed.
        ValueError: a file is not as it should be; the message begins with its path.
    """
    folder = Path(path)
    preferences = array_files.read_array(folder / "preferences.npy")
    sides = []
    for name in ("fragments1", "fragments2"):
        if (folder / name).is_dir():
            sides.append(_saved_fragments(folder / name))
        else:
            sides.append(_archived_fragments(folder / f"{name}.npz"))
    with naming(folder):
        return from_imitation(sides[0], sides[1], preferences)


def _archived_fragments(path: Path) -> list[dict[str, Any]]:
    arrays = array_files.read_arrays(path, ("obs", "acts", "rews", "terminal", "indices"))
    with naming(path):
        seen, acts, terminal, indices = _take(arrays, "obs", "acts", "terminal", "indices")
        n = len(terminal)
        if len(indices) not in (n - 1, n):
            raise ValueError(f"it has {len(indices)} indices for {n} fragments; expected as many, or one less.")
        ends = checks.integers("indices", indices, (None,), 0, len(acts))
        parts = {
            "obs": np.split(seen, ends + np.arange(len(ends)) + 1),
            "acts": np.split(acts, ends),
            **({"rews": np.split(arrays["rews"], ends)} if "rews" in arrays else {}),
            "terminal": list(terminal),
        }
    return [{name: values[i] for name, values in parts.items()} for i in range(n)]


def _saved_fragments(path: Path) -> list[dict[str, Any]]:
    datasets = array_files.optional_module("datasets", "datasets", "to read imitation's trajectories")
    with naming(path):
        try:
            table = datasets.load_from_disk(str(path), keep_in_memory=True)
            names = [name for name in ("obs", "acts", "rews", "terminal") if name in table.column_names]
            columns = table.select_columns(names).with_format("arrow")[:]
        except Exception as error:  # a damaged one may raise anything
            raise ValueError(f"it is no data set of Hugging Face ({type(error).__name__}).") from None
        _take(dict.fromkeys(names), "obs", "acts")
        return [{name: _entry(name, columns[name][i]) for name in names} for i in range(len(columns))]


def _entry(name: str, scalar: Any) -> Any:
    """Return an entry of a column of Arrow, a list or a flag."""
    if name == "terminal":
        return scalar.as_py()
    if getattr(scalar, "values", None) is None:
        raise ValueError(f"the column {name!r} holds {checks.printed(scalar.as_py())}; expected lists of numbers.")
    return array_files.from_arrow(scalar.values)


class Format(NamedTuple):
    """A format of another project.

    Attributes:
        reader: function of a path and options that returns the pairs.
        label: what its labels mean.
        options: the names of the options that the reader takes.
    """

    reader: Callable[..., Feedback]
    label: str
    options: tuple[str, ...]


_SECOND = "1 = the second wins, 0 = the first, -1 = equal"
_INDEXED = Format(read_indices, f"{_SECOND}; or two columns of shares", ("trajectories", "steps", "episode_steps"))
_CPL = Format(read_cpl, "1 = the second wins, 0.5 = equal; or scores, the higher wins", ("label_key", "last"))

FORMATS: dict[str, Format] = {
    "bpref": Format(read_bpref, _SECOND, ("observation_size", "last")),
    "clean-offline-rlhf": _INDEXED,
    "cpl": _CPL,
    "imitation": Format(read_imitation, "probability that the FIRST wins", ()),
    "ipl": _CPL,
    "preference-transformer": _INDEXED,
    "vpl": Format(read_vpl, "1 = the FIRST wins, 0 = the second", ("last",)),
}


def read(kind: str, path: str | Path, **options: Any) -> Feedback:
    """Read pairs in the format of another project (`FORMATS`), with the options of its reader.

    Raises:
        FileNotFoundError: a file is missing.
        ModuleNotFoundError: a library is needed that is not installed.
        ValueError: there is no such format or option, or a file is not as it should be.
    """
    found = FORMATS[checks.choice("kind", kind, FORMATS)]
    for name in options:
        if name not in found.options:
            raise ValueError(f"{kind} has no option {name}; expected one of {found.options or 'none'}.")
    return found.reader(path, **options)
