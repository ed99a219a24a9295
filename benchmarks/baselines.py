"""The baselines of the suite, published so that anyone can replay or make them again.

    python benchmarks/baselines.py --results FOLDER [--minutes M]   # run what is missing, replay all, write it down
    python benchmarks/baselines.py --table                          # only the page, from what is published
    python benchmarks/baselines.py --results FOLDER --check         # whether records made here are the published ones
    python benchmarks/baselines.py --results FOLDER --archive FILE  # all records as one tar archive

Records of a few tracks are small: they are in docs/results/baselines/ as one submission for each agent, and replayed
whenever the page is made. Records of the others are some hundred megabytes; docs/results/baselines/records.jsonl holds
a line for each: its size, its SHA-256 without the provenance (which names the machine), and its scores, written after
it was replayed. Whoever runs the same agent gets the same SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from valuegym.agents import AGENTS
from valuegym.leaderboards import experiments
from valuegym.leaderboards.board import REFERENCES, report_counts
from valuegym.leaderboards.entrants import enter, judge_all
from valuegym.leaderboards.records import Record, read, to_text, write_atomically
from valuegym.leaderboards.run import jobs, run_all
from valuegym.leaderboards.scores import Score
from valuegym.leaderboards.submission import Card, pack, write
from valuegym.leaderboards.table import render_markdown
from valuegym.leaderboards.trust import LIMITS
from valuegym.leaderboards.verify import parcels, verify_together

PAGE = Path(__file__).resolve().parents[1] / "docs" / "results" / "baselines.md"
RECORDS = "records.jsonl"
BOARDS = ("preference/boards-regret", "preference/boards-partial-return")
# Tracks whose records are small enough for a repository: a few kilobytes for each run.
BASELINES: Mapping[str, Sequence[str]] = {
    "uniform": ("preference/delivery",),
    "constant": BOARDS,
    "partial_return": BOARDS,
    "regret": BOARDS[:1],
    "oracle": ("preference/delivery", *BOARDS),
}
HARDWARE = "one core of a virtual machine (AMD EPYC)"
HOURS = {"uniform": 0.001, "constant": 0.01, "partial_return": 0.01, "regret": 0.03, "oracle": 0.01}


def card(agent: str) -> Card:
    """The card of a baseline."""
    about = AGENTS[agent].about
    return Card(
        name=agent,
        about=f"{about[:1].upper()}{about[1:]}.",
        authors=("The authors of valuegym",),
        code="",
        priors=f"As it says of itself: {about}.",
        data="nothing",
        compute={"hardware": HARDWARE, "hours": HOURS[agent]},
    )


def make(results: str, folder: Path, minutes: float) -> None:
    """Run what is missing, track by track, pack the small ones, replay the others and write their lines down.

    No track is begun after that many minutes. A track counts once all its seeds are there.
    """
    for agent, tracks in BASELINES.items():
        paths = run_all(jobs([agent], tracks, results))
        write(folder / f"{agent}.zip", pack(card(agent), (path.read_bytes() for path in paths)))
    began, lines = time.monotonic(), dict(published(folder))
    for what in experiments.EXPERIMENTS.values():
        paths: list[Path] = []
        for agent in what.agents if not what.data else ():
            work = jobs([agent], [what.id], results)
            there = all(job.path.is_file() for job in work)
            if what.id not in BASELINES.get(agent, ()) and (there or time.monotonic() - began < 60 * minutes):
                paths += run_all(work)
        for places in parcels([(what.id, path.name) for path in paths], [path.stat().st_size for path in paths], 1):
            for verdict in verify_together([str(paths[place]) for place in places]):
                if verdict.record is None:
                    raise ValueError(f"{verdict.path}: {verdict.reason}")
                lines[verdict.record.agent, what.id, verdict.record.seed] = line(verdict.record)
    order = {name: place for place, name in enumerate(experiments.EXPERIMENTS)}
    found = sorted(lines.items(), key=lambda item: (order[item[0][1]], item[0][0], item[0][2]))
    write_atomically(folder / RECORDS, "".join(f"{json.dumps(value)}\n" for _, value in found))


def line(record: Record) -> dict[str, object]:
    """What is published of a record: whose it is, its size, its SHA-256 without provenance, and its scores."""
    text = to_text(replace(record, provenance={}))
    scores = [[round(x, 9) for x in row] for row in record.scores]
    about = {"experiment": record.experiment, "agent": record.agent, "seed": record.seed}
    return about | {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest(), "scores": scores}


def published(folder: Path) -> dict[tuple[str, str, int], dict[str, object]]:
    """The published lines by agent, track and seed; those of tracks that are no more are left out."""
    path = folder / RECORDS
    values = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
    return {(v["agent"], v["experiment"], v["seed"]): v for v in values if v["experiment"] in experiments.EXPERIMENTS}


def published_scores(folder: Path) -> list[Score]:
    """Scores of the published lines, one for each agent and track with all its seeds."""
    runs: dict[tuple[str, str], dict[int, dict[str, object]]] = {}
    for (agent, name, seed), value in published(folder).items():
        runs.setdefault((name, agent), {})[seed] = value
    scores = []
    for (name, agent), found in runs.items():
        what = experiments.find(name)
        values = np.array([found[seed]["scores"] for seed in what.seeds], np.float64)
        role = "reference" if agent in REFERENCES else "agent"
        reports = report_counts(what, values.shape[-1])
        scores.append(Score(agent, name, reports, values, what.seeds, "replayed", what.ranked, role))
    return scores


def check(results: str, folder: Path) -> str:
    """Compare records in a results folder with the published lines; ValueError names those that differ."""
    lines, same, other = published(folder), 0, []
    for path in sorted(Path(results).rglob("seed-*.jsonl")):
        record = read(path)
        known = lines.get((record.agent, record.experiment, record.seed))
        if known is not None:
            same, other = (same + 1, other) if known == line(record) else (same, [*other, str(path)])
    if other:
        raise ValueError(f"{len(other)} records are not the published ones, the first is {other[0]}.")
    return f"{same} of {len(lines)} published records are here, and the same."


def archive(results: str, folder: Path, target: str) -> str:
    """All published records as one tar archive without times and owners; its SHA-256."""
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as file:
        for agent, name, seed in sorted(published(folder)):
            [job] = jobs([agent], [name], results, [seed])
            info = tarfile.TarInfo(job.path.relative_to(results).as_posix())
            info.size = job.path.stat().st_size
            with job.path.open("rb") as stream:
                file.addfile(info, stream)
    digest = hashlib.sha256()
    with open(target, "rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return f"{target}: SHA-256 {digest.hexdigest()}"


def page(folder: Path, workers: int = 2) -> str:
    """The page, from the submissions in a folder, every one replayed, and the lines of all other records.

    ValueError where a submission does not replay.
    """
    judgements = judge_all(sorted(folder.glob("*.zip")), None, workers)
    for judgement in judgements:
        if judgement.reason:
            raise ValueError(judgement.text)
    scores, known = enter([], judgements)
    files = "\n".join(
        f"| [{entrant.file}](baselines/{entrant.file}) | {entrant.card.about} | `{entrant.digest}` |"
        for [entrant] in map(known.get, sorted(known))
    )
    lines = published(folder)
    size = sum(int(str(value["bytes"])) for value in lines.values()) / 1e6
    return f"""# Baselines

The cheap baselines on the tracks that need no human data, all seeds: {len(lines)} records of {size:.0f} MB, and those
in five submissions. Scores are 0 at the naive reference and 1 at the oracle: interquartile means over seeds and
episodes with 95% bootstrap intervals. All are *replayed*, which leaves open: {LIMITS["replayed"]}.

- The tracks whose records are small are [here as submissions](baselines/): their scores below are recomputed from the
  actions in these files by `python benchmarks/baselines.py --table`, and `valuegym verify` plays any of them again.
- Of every other record [records.jsonl](baselines/records.jsonl) holds the scores, found true by replay, and a SHA-256
  without the line that names the machine. `valuegym run --agent AGENT --experiment TRACK` makes the same record, and
  `python benchmarks/baselines.py --results results --check` says whether it is the same to the bit. With
  `--archive FILE` all of them become one archive.

{render_markdown([*scores, *published_scores(folder)])}

## Files

| submission | agent | SHA-256 |
| :-- | :-- | :-- |
{files}
"""


def main() -> None:
    """Run, pack, replay, write."""
    parser = argparse.ArgumentParser(description="Run, pack, replay and write down the baselines.")
    parser.add_argument("--results", default="baselines", help="where records go that are not there yet")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no track after that (default: what is there)")
    parser.add_argument("--table", action="store_true", help="only replay the submissions and write the page")
    parser.add_argument("--check", action="store_true", help="only compare records with what is published")
    parser.add_argument("--archive", metavar="FILE", help="only write all published records into one archive")
    args = parser.parse_args()
    folder = PAGE.with_suffix("")
    if args.check or args.archive:
        print(check(args.results, folder) if args.check else archive(args.results, folder, args.archive))
        return
    if not args.table:
        make(args.results, folder, args.minutes)
    write_atomically(PAGE, page(folder))
    print(PAGE)


if __name__ == "__main__":
    main()
