"""Verification: is a record true? Everything is rebuilt from this installation's own registry.

A record is compared, never obeyed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.fingerprint import environment_digest, provenance
from valuegym.leaderboards.records.record import Record, RecordError, read
from valuegym.leaderboards.verification import reference_cache as known
from valuegym.leaderboards.verification.replay import replay
from valuegym.leaderboards.verification.scores import SCORES, Known

MAX_PARCEL = 2**24  # bytes of records that are replayed together


class Verdict(NamedTuple):
    """What became of one record file: reason is "" if it is true.

    Warnings are differences that do not matter by themselves.
    """

    path: str
    reason: str
    warnings: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def status(self) -> str:
        """The trust tier that the verdict gives."""
        return f"rejected: {self.reason}" if self.reason else "replayed"


class Candidate(NamedTuple):
    """A record to be replayed: where it is, the record, and the seeds its episodes must have, None for public ones."""

    path: str
    record: Record
    seeds: Sequence[int] | None = None


def check(record: Record, data: str | None = None, seeds: Sequence[int] | None = None) -> np.ndarray[Any, Any]:
    """The scores (E, R) of a record, recomputed from its actions.

    Its episodes must have the experiment's own seeds, or these where they are given.

    Raises RecordError if anything in it is not as this installation has it.
    """
    _expected(record, data, seeds)
    return _replayed([record], data, {})[0]


def _expected(record: Record, data: str | None, seeds: Sequence[int] | None) -> None:
    """Raise RecordError unless the header and the seeds are as this installation has them."""
    try:
        what = experiments.find(record.experiment)
    except ValueError:
        raise RecordError(f"there is no experiment {record.experiment[:80]!r} here.") from None
    if record.seed not in what.seeds:
        raise RecordError(f"seed {record.seed} is not one of the experiment's seeds {what.seeds}.")
    if record.spec != what.spec():
        raise RecordError("the environment's spec is not the one registered here.")
    if record.digest != environment_digest(what.env_id, what.arguments, data if what.data else None):
        raise RecordError("the environment digest differs: the record was made with another environment or other data.")
    seeds = what.evaluation_seeds(record.seed) if seeds is None else list(seeds)
    played = [episode.seed for episode in record.episodes]
    if len(played) != len(seeds):
        raise RecordError(f"the record has {len(played)} episodes; expected {len(seeds)}.")
    if played != seeds:
        raise RecordError(f"the episodes' seeds are not those that were due, {seeds[0]} to {seeds[-1]}.")


def _replayed(records: Sequence[Record], data: str | None, references: Known) -> list[np.ndarray[Any, Any]]:
    """The scores (E, R) of records of one experiment, all played at once; RecordError if any of them is not true.

    References that are known are not computed again, and what is computed is added to them.
    """
    what, counts = experiments.find(records[0].experiment), [len(record.episodes) for record in records]
    env: Any = gym.make(what.env_id, **what.make_kwargs(data)).unwrapped
    options = {what.options[0]: np.tile(what.options[1], len(records))} if what.options else {}
    episodes = [episode for record in records for episode in record.episodes]
    found = replay(env.core, episodes, what.spec()["max_episode_steps"], options)
    scores = np.split(SCORES[what.score](env.core, found, references), np.cumsum(counts)[:-1])
    for record, own in zip(records, scores, strict=True):
        claimed = np.array(record.scores) if len({len(row) for row in record.scores}) == 1 else np.zeros(0)
        if claimed.shape != own.shape or not np.allclose(claimed, own, rtol=0, atol=1e-9):
            raise RecordError("the scores are not those that the actions earn.")
    return scores


def _reason(records: Sequence[Record], data: str | None, references: Known) -> str:
    """Why the records are not all true; "" where they are."""
    try:
        _replayed(records, data, references)
    except (ValueError, OSError) as error:
        return str(error) or type(error).__name__
    return ""


def decide(candidates: Sequence[Candidate], data: str | None = None) -> list[Verdict]:
    """Verdicts on records, in their order; those of one experiment are played together, which is what makes it fast.

    Where one of them is not true, each is played by itself, so that no record's verdict depends on another's.
    """
    reasons = [""] * len(candidates)
    groups: dict[tuple[str, bool], list[int]] = {}
    for place, candidate in enumerate(candidates):
        try:
            _expected(candidate.record, data, candidate.seeds)
            groups.setdefault((candidate.record.experiment, candidate.seeds is None), []).append(place)
        except (ValueError, OSError) as error:
            reasons[place] = str(error) or type(error).__name__
    for (_, public), places in groups.items():
        digest = candidates[places[0]].record.digest  # is this installation's own
        there = known.load(digest) if public else {}
        references = dict(there)
        untrue = _reason([candidates[place].record for place in places], data, references)
        for place in places if untrue else ():
            reasons[place] = _reason([candidates[place].record], data, references) if len(places) > 1 else untrue
        if public and len(references) > len(there):
            known.save(digest, references)
    return [
        Verdict(candidate.path, reason) if reason else found_true(candidate.path, candidate.record)
        for candidate, reason in zip(candidates, reasons, strict=True)
    ]


def verify(path: str | Path, data: str | None = None) -> Verdict:
    """Replay one record file. Damaged, edited and hostile files give a verdict with the reason, not an exception."""
    return verify_together([str(path)], data)[0]


def verify_together(paths: Sequence[str], data: str | None = None) -> list[Verdict]:
    """As `verify`, for several files."""
    found: dict[str, Verdict] = {}
    candidates = []
    for path in paths:
        try:
            candidates.append(Candidate(path, read(Path(path))))
        except (ValueError, OSError) as error:
            found[path] = Verdict(path, str(error) or type(error).__name__)
    found |= {verdict.path: verdict for verdict in decide(candidates, data)}
    return [found[path] for path in paths]


def found_true(path: str, record: Record) -> Verdict:
    """The verdict on a record that was checked, with the differences that do not matter by themselves."""
    here = provenance()
    differs = [name for name in ("source", "valuegym") if record.provenance.get(name) != here[name]]
    return Verdict(path, "", tuple(f"{name} differs from this installation's" for name in differs), record)


def _work(item: tuple[Sequence[str], str | None]) -> list[Verdict]:
    return verify_together(*item)


def parcels(runs: Sequence[tuple[str, str]], sizes: Sequence[int], workers: int) -> list[list[int]]:
    """Which records to replay together: places of runs (track, seed), of one track each, in the order of their seeds.

    Runs of one seed stay together, for their references are the same. Every worker gets a part of a track, and none
    gets more than MAX_PARCEL bytes at once, unless a single record has more.
    """
    grouped: dict[str, list[int]] = {}
    for place in sorted(range(len(runs)), key=lambda place: runs[place][1]):
        grouped.setdefault(runs[place][0], []).append(place)
    found: list[list[int]] = []
    for places in grouped.values():
        room, used = min(MAX_PARCEL, -(-sum(sizes[place] for place in places) // workers)), MAX_PARCEL + 1
        for place in places:
            if used + sizes[place] > room:
                found.append([])
                used = 0
            found[-1].append(place)
            used += sizes[place]
    return found


def record_files(folder: str | Path) -> list[Path]:
    """The record files in a results folder (or the file itself), sorted; FileNotFoundError if there is none."""
    folder = Path(folder)
    found = [folder] if folder.is_file() else sorted(folder.rglob("seed-*.jsonl"))
    if not found:
        raise FileNotFoundError(f"There are no records in {folder}; `valuegym run` writes them.")
    return found


def verify_all(folder: str | Path, data: str | None = None, workers: int = 2) -> list[Verdict]:
    """Replay every record of a folder in fresh processes."""
    paths = record_files(folder)
    runs = [(str(path.parent.parent), path.name) for path in paths]
    together = parcels(runs, [path.stat().st_size for path in paths], workers)
    work = [([str(paths[place]) for place in places], data) for places in together]
    found = {v.path: v for part in executors.parallel_map(_work, work, workers, "verifying") for v in part}
    return [found[str(path)] for path in paths]
