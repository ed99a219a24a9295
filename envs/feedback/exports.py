"""Answered pairs for other libraries: data sets of Hugging Face, texts for reward models of language, and Minari.

`to_datasets` makes one row of each pair, in columns named and shaped as the arrays of `data`: `first.observations`
(L+1, ...), or `first.observations.KEY`, `first.actions` (L, ...), `first.rewards` (L,), `first.lengths`,
`first.terminated`, `first.info.NAME`, the same of `second`, and `labels`, `probability`, `strength`, `user`.

`to_chosen_rejected` makes the rows of two texts that trl's reward and DPO trainers read. Segments are numbers, so that
somebody has to say how to put one into words; ties and unanswered pairs have no place there and are left out.

Minari keeps episodes, and knows no pairs. `to_minari` makes an episode of each segment, the N first ones and then the N
second ones, and puts the answers, with everything else that Minari has no place for, into `preferences.npz` beside
them, whose SHA-256 stands in the metadata.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import re
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from valuegym.envs import array_files, checks
from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import Feedback
from valuegym.envs.feedback.human import describe
from valuegym.envs.feedback.segments import Segments, each

__all__ = [
    "SIDE_FILE",
    "from_datasets",
    "from_minari",
    "to_chosen_rejected",
    "to_datasets",
    "to_minari",
]

Array = npt.NDArray[Any]

SIDE_FILE = "preferences.npz"
_DATASETS = ("datasets", "datasets", "for data sets of Hugging Face")
_ID = re.compile(r"(?:[\w-]+/)?[\w-]+-v\d+")
_MINARI = ("minari", "minari", "for data sets of Minari")


# --- Hugging Face ---


def to_datasets(feedback: Feedback, card: Mapping[str, Any] | None = None) -> Any:
    """Return pairs as a `datasets.Dataset`, without loss; `save_to_disk` and `push_to_hub` are methods of it.

    Args:
        feedback: the pairs; what should stay unknown, such as true rewards, has to be hidden before.
        card: of a data set (`data.Stored`); its texts become the description and the licence.

    Raises:
        ModuleNotFoundError: datasets is not installed.
        ValueError: there is no pair, or an array holds something else than numbers and texts.
    """
    datasets = array_files.optional_module(*_DATASETS)
    if not len(feedback):
        raise ValueError("feedback holds no pair; expected at least one.")
    arrays = data.arrays_of(feedback.first, feedback.second, feedback.answers)
    pyarrow = array_files.optional_module("pyarrow", *_DATASETS[1:])
    columns = {name: _column(pyarrow, name, array) for name, array in arrays.items()}
    texts = {name: (card or {}).get(name) for name in ("environment", "source", "about")}
    description = json.dumps({"kind": data.KIND, "labels": data.LABELS, **texts}, ensure_ascii=False)
    info = datasets.DatasetInfo(description=description, license=str((card or {}).get("licence", "")))
    table = datasets.table.InMemoryTable(pyarrow.table(columns))
    return datasets.Dataset(table, info=info)


def _column(pyarrow: Any, name: str, array: Array) -> Any:
    """Return an array (N, ...) as one of Arrow, lists of lists of fixed lengths."""
    if array.dtype.kind not in "fiubU":
        raise ValueError(f"{name} has the type {array.dtype}; expected numbers or texts.")
    column = pyarrow.array(array.reshape(-1).tolist() if array.dtype.kind == "U" else array.reshape(-1))
    for size in reversed(array.shape[1:]):
        if not size:
            raise ValueError(f"{name} has shape {array.shape}; expected no axis of length 0.")
        column = pyarrow.FixedSizeListArray.from_arrays(column, size)
    return column


def from_datasets(dataset: Any) -> Feedback:
    """Return the pairs of a `datasets.Dataset` that `to_datasets` made, or one with such columns.

    Raises:
        ValueError: a column is missing or unknown, or its entries are not as `Segments` and `Answers` say.
    """
    table = dataset.with_format("arrow")[:]
    arrays = {}
    for name in table.column_names:
        with array_files.naming(f"column {name!r}"):
            column = table[name].combine_chunks()
            parts = column.chunks if hasattr(column, "chunks") else [column]
            arrays[name] = np.concatenate([array_files.from_arrow(part) for part in parts])
    first, second, answers = data.from_arrays(arrays)
    if answers is None:
        raise ValueError("the column 'labels' is missing.")
    return Feedback(first, second, answers)


def to_chosen_rejected(
    feedback: Feedback, describe: Callable[[Segments], str] = describe, prompt: str | None = None
) -> list[dict[str, Any]]:
    """Return a row of texts for each pair with a preferred side: `chosen`, `rejected` and, if given, `prompt`.

    trl's reward trainer reads `chosen` and `rejected` alone; its DPO trainer needs a prompt, because without one it
    takes for it what both texts begin with. Where the strength of every one of these answers is known it is the column
    `margin`, by which the reward trainer wants the chosen to be better. `datasets.Dataset.from_list` makes a data set.

    Args:
        feedback: the pairs; ties and pairs without an answer are left out.
        describe: puts a segment (N = 1) into words; by default its numbers, a line for each step.
        prompt: the same for all rows, such as a sentence about the task.

    Raises:
        ValueError: the prompt is no text.
    """
    rows: list[dict[str, Any]] = []
    decided = np.flatnonzero(np.isin(feedback.answers.labels, (0.0, 1.0)))
    strengths = feedback.answers.strength[decided]
    common = {} if prompt is None else {"prompt": checks.text("prompt", prompt)}
    for i in decided:
        texts = [describe(side[int(i)].without()) for side in (feedback.first, feedback.second)]
        better = int(feedback.answers.labels[i])
        rows.append({**common, "chosen": texts[better], "rejected": texts[1 - better]})
    if len(decided) and not np.isnan(strengths).any():
        rows = [{**row, "margin": float(strength)} for row, strength in zip(rows, strengths, strict=True)]
    return rows


# --- Minari ---


def _space(name: str, values: Array) -> gym.Space[Any]:
    """Return the smallest plain space that holds values (n, ...)."""
    if values.dtype.kind == "b":
        raise ValueError(f"{name} holds True and False, for which Minari has no space; expected numbers.")
    if values.dtype.kind == "f":
        return gym.spaces.Box(-math.inf, math.inf, values.shape[1:], values.dtype.type)
    if values.ndim == 1 and values.dtype == np.int64:
        low = int(values.min())
        return gym.spaces.Discrete(int(values.max()) - low + 1, start=low)
    if values.dtype == np.uint8:
        return gym.spaces.Box(0, 255, values.shape[1:], np.uint8)
    low, high = values.min(), values.max()
    return gym.spaces.Box(low, high, values.shape[1:], values.dtype.type)


def _episodes(feedback: Feedback, buffer: Any) -> list[Any]:
    """Return an episode of each segment, the first ones before the second ones."""
    found = []
    for number, side in enumerate((feedback.first, feedback.second)):
        for i, length in enumerate(side.lengths):
            ends = np.arange(length) == length - 1
            found.append(
                buffer(
                    id=number * len(side) + i,
                    observations=each(lambda value, i=i, n=length: value[i, : n + 1], side.observations),  # type: ignore[misc]
                    actions=side.actions[i, :length],
                    rewards=side.rewards[i, :length],
                    terminations=ends & side.terminated[i],
                    truncations=ends & ~side.terminated[i],
                    infos={},
                )
            )
    return found


def _observation_space(feedback: Feedback) -> gym.Space[Any]:
    """Return the smallest plain space that holds all observations."""
    first, second = feedback.first.observations, feedback.second.observations
    if not isinstance(first, Mapping):
        return _space("observations", _flat(first, second))
    return gym.spaces.Dict({key: _space(key, _flat(first[key], second[key])) for key in first})


def to_minari(
    feedback: Feedback,
    dataset_id: str,
    *,
    observation_space: gym.Space[Any] | None = None,
    action_space: gym.Space[Any] | None = None,
    card: Mapping[str, Any] | None = None,
) -> Any:
    """Write pairs as a data set of Minari, and return it (`minari.MinariDataset`).

    It lies where Minari keeps its data sets: in the folder of the variable MINARI_DATASETS_PATH, or in the user's home.

    Args:
        feedback: the pairs; what should stay unknown has to be hidden before.
        dataset_id: such as "cartpole/pairs-v0".
        observation_space: of the environment; None is the smallest plain space that holds the observations.
        action_space: likewise.
        card: of a data set (`data.Stored`), for the description.

    Raises:
        ModuleNotFoundError: minari is not installed.
        ValueError: there is no pair, the id is malformed or there already, or an entry of the observations has a name
            or a type for which Minari has no place.
    """
    minari = array_files.optional_module(*_MINARI)
    if not _ID.fullmatch(checks.text("dataset_id", dataset_id)):
        raise checks.refusal("dataset_id", dataset_id, "such as 'cartpole/pairs-v0'")
    if not len(feedback):
        raise ValueError("feedback holds no pair; expected at least one.")
    if isinstance(feedback.first.observations, Mapping):
        for key in feedback.first.observations:
            if "/" in key:
                raise ValueError(f"the entry {key!r} of the observations has a slash, which HDF5 takes for a folder.")
    buffers = _episodes(feedback, minari.data_collector.EpisodeBuffer)
    if observation_space is None:
        observation_space = _observation_space(feedback)
    if action_space is None:
        action_space = _space("actions", _flat(feedback.first.actions, feedback.second.actions))
    side_file = _side_file(feedback)
    folder = array_files.optional_module("minari.storage.datasets_root_dir", *_MINARI[1:]).get_dataset_path(dataset_id)
    if Path(folder).exists():
        raise ValueError(f"There is a data set {dataset_id} already, in {folder}; expected another name or version.")
    with warnings.catch_warnings(), _whole(Path(folder)):
        warnings.simplefilter("ignore", UserWarning)  # recommendations for authors
        found = minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            observation_space=observation_space,
            action_space=action_space,
            description=json.dumps({"kind": data.KIND, "labels": data.LABELS, **dict(card or {})}, ensure_ascii=False),
            jpeg_encoding=False,  # which would change images
        )
        data.write_atomically(Path(found.storage.data_path) / SIDE_FILE, side_file)
        found.storage.update_metadata({"preferences_sha256": hashlib.sha256(side_file).hexdigest()})
    return found


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[None]:
    """Remove a folder that is not finished because of an error."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _flat(first: Array, second: Array) -> Array:
    """Return the entries of both sides at all steps as one batch."""
    return np.concatenate([part.reshape(-1, *part.shape[2:]) for part in (first, second)])


def _side_file(feedback: Feedback) -> bytes:
    """Return what Minari has no place for: answers, columns, and the number of steps there is room for."""
    arrays = data.arrays_of(feedback.first, feedback.second, feedback.answers)
    kept = {name: array for name, array in arrays.items() if ".info." in name or "." not in name}
    content = io.BytesIO()
    np.savez_compressed(content, steps=np.array([feedback.first.steps, feedback.second.steps]), **kept)  # type: ignore[arg-type]
    return content.getvalue()


def from_minari(dataset: Any) -> Feedback:
    """Return the pairs of a data set that `to_minari` wrote.

    Args:
        dataset: a `minari.MinariDataset`, from `minari.load_dataset`.

    Raises:
        FileNotFoundError: it has no file of preferences.
        ValueError: that file is not the one that was written, or does not fit the episodes.
    """
    path = Path(dataset.storage.data_path) / SIDE_FILE
    if not path.is_file():
        raise FileNotFoundError(f"There is no {SIDE_FILE} in {path.parent}; expected a data set of `to_minari`.")
    with array_files.naming(path):
        if hashlib.sha256(path.read_bytes()).hexdigest() != dataset.storage.metadata.get("preferences_sha256"):
            raise ValueError("its SHA-256 is not that of the metadata; get the data set again.")
    arrays = array_files.read_arrays(path)
    episodes = sorted(dataset.iterate_episodes(), key=lambda episode: int(episode.id))
    with array_files.naming(path):
        steps, N = arrays.pop("steps"), len(arrays["labels"])
        if len(episodes) != 2 * N:
            raise ValueError(f"it has {N} answers and there are {len(episodes)} episodes; expected two for each.")
        for number, side in enumerate(("first", "second")):
            arrays |= _stacked(side, episodes[number * N : (number + 1) * N], int(steps[number]))
        first, second, answers = data.from_arrays(arrays)
    assert answers is not None
    return Feedback(first, second, answers)


def _stacked(side: str, episodes: list[Any], L: int) -> dict[str, Array]:
    """Return the arrays of a side from its episodes, padded to L steps."""

    def padded(values: list[Any], size: int) -> Array:
        arrays = [np.asarray(value) for value in values]
        return np.stack([np.pad(a, [(0, size - len(a)), *[(0, 0)] * (a.ndim - 1)]) for a in arrays])

    first = episodes[0].observations
    seen = (
        {f"{side}.observations.{key}": [e.observations[key] for e in episodes] for key in first}
        if isinstance(first, Mapping)
        else {f"{side}.observations": [e.observations for e in episodes]}
    )
    return {
        **{name: padded(values, L + 1) for name, values in seen.items()},
        f"{side}.actions": padded([e.actions for e in episodes], L),
        f"{side}.rewards": padded([e.rewards for e in episodes], L),
        f"{side}.lengths": np.array([len(e.rewards) for e in episodes], np.int64),
        f"{side}.terminated": np.array([bool(e.terminations[-1]) for e in episodes]),
    }
