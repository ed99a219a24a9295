"""The baselines of the suite, published so that anyone can replay or make them again.

    python -m studies.baselines --results FOLDER --minutes M          # run what is missing, replay it, write it down
    python -m studies.baselines --results FOLDER --minutes M --again  # and make published records that are not here
    python -m studies.baselines --table                               # only the page, from what is published
    python -m studies.baselines --site FOLDER                         # the published baselines as a site
    python -m studies.baselines --results FOLDER --check              # whether records here are the published ones
    python -m studies.baselines --results FOLDER --archive FILE       # the records as one archive for a release

Records of a few tracks are small: they are in docs/results/baselines/ as one submission for each agent, and replayed
whenever the page is made. Records of the others are some hundred megabytes; docs/results/baselines/records.jsonl holds
a line for each: its size, its SHA-256 without the provenance (which names the machine), and its scores, written after
it was replayed. Whoever runs the same agent gets the same SHA-256; where an agent trains networks or solves a
regulator, with the same versions of torch and numpy on the same kind of processor.

Tracks of people's answers need `--data FOLDER`. Neither lines nor records hold the answers: a record has the agent's
estimates, how many answers it had seen, and scores.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from studies import harness
from valuegym.agents import AGENTS
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.record import Record, read_record, to_text, write_atomically
from valuegym.leaderboards.records.submission import Card, pack, write_submission
from valuegym.leaderboards.run import Job, jobs, run, run_all
from valuegym.leaderboards.site.pages import write_site
from valuegym.leaderboards.standings.entries import ListedSubmission, merge_submissions
from valuegym.leaderboards.standings.gather import Score, evaluation_points
from valuegym.leaderboards.standings.ranking import role_of
from valuegym.leaderboards.standings.text import render_markdown
from valuegym.leaderboards.trust.judgement import judge_all
from valuegym.leaderboards.trust.tiers import LIMITS, Standing
from valuegym.leaderboards.verification.verify import verify_together

PAGE = harness.RESULTS / "baselines.md"
RECORDS, COSTS, ARCHIVE = "records.jsonl", "costs.jsonl", "archive.json"
BOARDS = ("preference/boards-regret", "preference/boards-partial-return")
# Tracks whose records are small enough for a repository: a few kilobytes for each run.
BASELINES: Mapping[str, Sequence[str]] = {
    "uniform": ("preference/delivery",),
    "constant": BOARDS,
    "partial_return": BOARDS,
    "regret": BOARDS[:1],
    "oracle": ("preference/delivery", *BOARDS),
}
NOTE = (
    "These are the baselines that come with the suite. Submissions were replayed when this page was made; of all other "
    "records, scores and SHA-256 are in docs/results/baselines/records.jsonl, written after each was replayed."
)
HARDWARE = "one core of a virtual machine (AMD EPYC)"
HOURS = {"uniform": 0.001, "constant": 0.01, "partial_return": 0.01, "regret": 0.03, "oracle": 0.01}


def card(agent: str) -> Card:
    """Return the card of a baseline."""
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


def programme() -> list[tuple[str, str]]:
    """Return track and agent of every cell whose records are published as lines."""
    return [
        (what.id, agent)
        for what in experiments.EXPERIMENTS.values()
        for agent in what.agents
        if what.id not in BASELINES.get(agent, ())
    ]


def make(results: str, folder: Path, minutes: float, data: str | None, again: bool, workers: int) -> None:
    """Run what is missing, the cheapest cells first, replay it and write its lines down, cell by cell.

    No cell is begun after that many minutes; what is in the results folder already costs nothing. A cell counts once
    all its seeds are there. Where nobody knows what a cell costs, its first seed tells.
    """
    for agent, tracks in BASELINES.items():
        if not (folder / f"{agent}.zip").is_file():
            paths = run_all(jobs([agent], tracks, results), workers)
            write_submission(folder / f"{agent}.zip", pack(card(agent), (path.read_bytes() for path in paths)))
    end, known, lines = time.monotonic() + 60 * minutes, costs(folder), published(folder)
    cells = [cell for cell in programme() if data or not experiments.find(cell[0]).data]
    cells = [cell for cell in cells if again or not complete(*cell, lines)]
    for cell in cells:
        first = work(*cell, results, data)[0]
        if expected(*cell, known) is None and not first.path.is_file() and time.monotonic() < end:
            record_cost(folder, known, *cell, _timed(first))
    for track, agent in sorted(cells, key=lambda cell: hours(*cell, known) or 0.0):
        todo = work(track, agent, results, data)
        missing = [job for job in todo if not job.path.is_file()]
        if not missing or time.monotonic() < end:
            label, executor = f"{agent} on {track}", "pool" if workers > 1 else "serial"
            seconds = executors.parallel_map(_timed, missing, workers, label, executor)
            if len(missing) > 1:
                record_cost(folder, known, track, agent, float(np.mean(seconds)))
            publish(folder, todo)


def publish(folder: Path, done: Sequence[Job]) -> None:
    """Write down the lines of a cell whose runs are done, replayed unless they are published.

    Raises:
        ValueError: one does not replay.
    """
    lines = published(folder)
    found = {(job.agent, job.experiment, job.seed): line(read_record(job.path)) for job in done}
    if all(lines.get(key) == value for key, value in found.items()):
        return
    for verdict in verify_together([str(job.path) for job in done], done[0].data):
        if verdict.record is None:
            raise ValueError(f"{verdict.path}: {verdict.reason}")
    _write_lines(folder / RECORDS, lines | found)


def work(track: str, agent: str, results: str, data: str | None) -> list[Job]:
    """Return the runs of a cell."""
    return jobs([agent], [track], results, None, data if experiments.find(track).data else None)


def _timed(job: Job) -> float:
    """Run a job, and return its seconds of the processor."""
    began = time.process_time()
    run(*job)
    return time.process_time() - began


def complete(track: str, agent: str, lines: Mapping[tuple[str, str, int], Any]) -> bool:
    """Return whether all seeds of a cell have their lines."""
    return all((agent, track, seed) in lines for seed in experiments.find(track).seeds)


def costs(folder: Path) -> dict[tuple[str, str], float]:
    """Return measured seconds of the processor for one seed of each cell, by track and agent."""
    path = folder / COSTS
    values = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
    found = {(value["experiment"], value["agent"]): value["seconds"] for value in values}
    return {cell: seconds for cell, seconds in found.items() if cell[0] in experiments.EXPERIMENTS}


def expected(track: str, agent: str, known: Mapping[tuple[str, str], float]) -> float | None:
    """Return seconds for a seed of a cell, measured or from the agent's episodes in the same environment."""
    what = experiments.find(track)
    alike = [
        seconds / experiments.find(other).episodes
        for (other, name), seconds in known.items()
        if name == agent and experiments.find(other).env_id == what.env_id
    ]
    return known.get((track, agent), float(np.mean(alike)) * what.episodes if alike else None)


def hours(track: str, agent: str, known: Mapping[tuple[str, str], float]) -> float | None:
    """Return expected hours of the processor for all seeds of a cell."""
    seconds = expected(track, agent, known)
    return None if seconds is None else seconds * len(experiments.find(track).seeds) / 3600


def record_cost(folder: Path, known: dict[tuple[str, str], float], track: str, agent: str, seconds: float) -> None:
    """Write down the cost of one seed of a cell."""
    known[track, agent] = float(f"{seconds:.2g}")
    lines = {
        (agent, track, 0): {"experiment": track, "agent": agent, "seconds": known[track, agent]}
        for track, agent in known
    }
    _write_lines(folder / COSTS, lines)


def _write_lines(path: Path, lines: Mapping[tuple[str, str, int], Any]) -> None:
    """Write one JSON object a line, in the order of tracks, agents and seeds."""
    order = {name: place for place, name in enumerate(experiments.EXPERIMENTS)}
    found = sorted(lines.items(), key=lambda item: (order[item[0][1]], item[0][0], item[0][2]))
    write_atomically(path, "".join(f"{json.dumps(value)}\n" for _, value in found))


def line(record: Record) -> dict[str, object]:
    """Return the published line of a record: agent, track and seed, size, SHA-256 without provenance, scores."""
    text = bare(record)
    scores = [[None if x != x else round(x, 9) for x in row] for row in record.scores]
    about = {"experiment": record.experiment, "agent": record.agent, "seed": record.seed}
    return about | {"bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest(), "scores": scores}


def bare(record: Record) -> str:
    """Return the text of a record without its provenance, which names the machine."""
    return to_text(replace(record, provenance={}))


def published(folder: Path) -> dict[tuple[str, str, int], dict[str, object]]:
    """Return the published lines by agent, track and seed, but not those of tracks or seeds that no longer exist."""
    path, tracks = folder / RECORDS, experiments.EXPERIMENTS
    values = map(json.loads, path.read_text(encoding="utf-8").splitlines()) if path.is_file() else ()
    there = (v for v in values if v["experiment"] in tracks and v["seed"] in tracks[v["experiment"]].seeds)
    return {(v["agent"], v["experiment"], v["seed"]): v for v in there}


def published_scores(folder: Path) -> list[Score]:
    """Return scores of the published lines, one for each agent and track with all its seeds."""
    runs: dict[tuple[str, str], dict[int, dict[str, object]]] = {}
    for (agent, name, seed), value in published(folder).items():
        runs.setdefault((name, agent), {})[seed] = value
    scores = []
    for (name, agent), found in runs.items():
        what = experiments.find(name)
        values = np.array([found[seed]["scores"] for seed in what.seeds], np.float64)
        about = Standing("replayed"), what.ranked, role_of(agent), what.rank_units
        scores.append(Score(agent, name, evaluation_points(what, values.shape[-1]), values, what.seeds, *about))
    return scores


def check(results: str, folder: Path) -> str:
    """Compare records in a results folder with the published lines, and return what was found.

    Raises:
        ValueError: some differ; names the first.
    """
    lines, same, other = published(folder), 0, []
    for path in sorted(Path(results).rglob("seed-*.jsonl")):
        record = read_record(path)
        known = lines.get((record.agent, record.experiment, record.seed))
        if known is not None:
            same, other = (same + 1, other) if known == line(record) else (same, [*other, str(path)])
    if other:
        raise ValueError(
            f"{len(other)} records are not the published ones, the first is {other[0]}. What torch and LAPACK compute "
            "is the same to the bit on one type of processor only."
        )
    return f"{same} of {len(lines)} published records are here, and the same."


class _Hashed(io.RawIOBase):
    """A file that writes to another one and computes the SHA-256 of what went through."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self.file, self.digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return self.file.write(content)


def archive(results: str, folder: Path, target: str) -> str:
    """Write the published records that are in a results folder as one compressed tar archive, and its hashes.

    Its members are the records without provenance, so that the SHA-256 of each is the published one, and without times
    and owners: the tar archive is the same wherever it is made, its compressed form with the same version of zlib.

    Raises:
        ValueError: a record is not the published one.
    """
    count, lines = 0, published(folder)
    with open(target, "wb") as file:
        whole = _Hashed(file)
        with gzip.GzipFile("", "wb", 6, whole, mtime=0) as packed:
            inside = _Hashed(packed)
            with tarfile.open(fileobj=inside, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
                for (agent, name, seed), value in sorted(lines.items()):
                    [job] = jobs([agent], [name], results, [seed])
                    if not job.path.is_file():
                        continue
                    content = bare(read_record(job.path)).encode()
                    if hashlib.sha256(content).hexdigest() != value["sha256"]:
                        raise ValueError(f"{job.path} is not the published record.")
                    info = tarfile.TarInfo(job.path.relative_to(results).as_posix())
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                    count += 1
    about = {
        "file": Path(target).name,
        "records": count,
        "bytes": Path(target).stat().st_size,
        "sha256": whole.digest.hexdigest(),
        "tar_sha256": inside.digest.hexdigest(),
    }
    write_atomically(folder / ARCHIVE, f"{json.dumps(about)}\n")
    return f"{target}: {count} of {len(lines)} published records, SHA-256 {about['sha256']}"


def found_true(folder: Path, workers: int = 2) -> tuple[list[Score], dict[str, tuple[ListedSubmission, ...]]]:
    """Return scores of the submissions in a folder, every one replayed, and of the lines; and submissions by agent.

    Raises:
        ValueError: a submission does not replay.
    """
    judgements = judge_all(sorted(folder.glob("*.zip")), None, workers)
    for judgement in judgements:
        if judgement.reason:
            raise ValueError(judgement.text)
    return merge_submissions(published_scores(folder), judgements)


def page(folder: Path, workers: int = 2) -> str:
    """Return the page, from the submissions in a folder, every one replayed, and the lines of all other records."""
    scores, known = found_true(folder, workers)
    files = "\n".join(
        f"| [{entry.file}](baselines/{entry.file}) | {entry.card.about} | `{entry.digest}` |"
        for [entry] in map(known.get, sorted(known))
    )
    lines = published(folder)
    size = sum(int(str(value["bytes"])) for value in lines.values()) / 1e6
    there = sum(complete(track, agent, lines) for track, agent in programme())
    return f"""# Baselines

All baselines whose records are there with all seeds: {there} cells (an agent on a track) of {len(programme())}, with
{len(lines)} records of {size:.0f} MB, and those in five submissions. Scores are 0 at the naive reference and 1 at the
oracle. Agents are ranked by `score`, the mean over all evaluation points, where scores below -1 count as -1, with its
95% bootstrap interval; columns of evaluation points are means there, `near` is the share of episodes with at least 0.9
and `IQM` the interquartile mean, both at the last one; `raw` is the mean without clipping. Tests of ranks take tasks as
units where nothing is trained for a seed, else seeds. All are *replayed*, which leaves open: {LIMITS["replayed"]}.

- The tracks whose records are small are [here as submissions](baselines/): their scores below are recomputed from the
  actions in these files by `python -m studies.baselines --table`, and `valuegym verify` plays any of them again.
- Of every other record [records.jsonl](baselines/records.jsonl) holds the scores, found true by replay, and a SHA-256
  without the line that names the machine. `valuegym run --agent AGENT --experiment TRACK` makes the same record, and
  `python -m studies.baselines --results results --check` says whether it is the same to the bit. Agents that train
  networks (those that need the extra `agents`) or solve a regulator (`oracle` on `control/lqr...`) do so with the same
  version of torch and numpy on the same kind of processor; elsewhere the last bits differ, and after training the
  scores too (by up to 0.07 in an episode for `sac` on `control/pendulum`, seeds 0 to 4).
- On the tracks of people's answers (`human-...`) a record holds an agent's estimates and scores, and no answer.

{render_markdown(scores)}

{_about_archive(folder, len(lines))}
## Not here

{_missing(folder)}

## Files

| submission | agent | SHA-256 |
| :-- | :-- | :-- |
{files}
"""


def site(folder: Path, target: str, workers: int = 2) -> Path:
    """Write the published baselines as a site, and return the path of its first page."""
    scores, known = found_true(folder, workers)
    return write_site(scores, target, "valuegym baselines", [NOTE], known)


def _about_archive(folder: Path, records: int) -> str:
    """Return the part about the archive of the records, nothing where none was made."""
    path = folder / ARCHIVE
    if not path.is_file():
        return ""
    about = json.loads(path.read_text(encoding="utf-8"))
    return f"""## Archive

`{about["file"]}`, a file of releases, holds {about["records"]:,} of the {records:,} records, each without the line that
names the machine, so that its SHA-256 is the one in records.jsonl. `python -m studies.baselines --results FOLDER
--archive FILE` makes it again.

| file | MB | SHA-256 |
| :-- | --: | :-- |
| `{about["file"]}` | {about["bytes"] / 1e6:.1f} | `{about["sha256"]}` |
| the tar archive in it | | `{about["tar_sha256"]}` |
"""


def _missing(folder: Path) -> str:
    """Return the part about cells of the programme whose records are not published, and their cost."""
    lines, known = published(folder), costs(folder)
    rows, total, unknown = [], 0.0, 0
    for what in experiments.EXPERIMENTS.values():
        cells = [(t, agent) for t, agent in programme() if t == what.id and not complete(t, agent, lines)]
        words = []
        for cell in cells:
            cost = hours(*cell, known)
            total, unknown = total + (cost or 0.0), unknown + (cost is None)
            words.append(f"`{cell[1]}` {'not measured' if cost is None else f'{60 * cost:.2g}'}")
        rows += [f"| {what.id} | {len(what.seeds)} | {', '.join(words)} |"] if words else []
    if not rows:
        return "Nothing: every agent of every track is there."
    more = f", and {unknown} whose cost is not measured" if unknown else ""
    table = "\n".join(rows)
    return f"""Cells that take longer, with minutes of one core for all their seeds, as one of them took or the same
agent on another track of the environment: {total:.1f} hours together{more}.
`python -m studies.baselines --results FOLDER --minutes M` runs the cheapest first, and goes on where it stopped.

| track | seeds | agents, minutes |
| :-- | --: | :-- |
{table}"""


PARSER = harness.parser(__doc__)
PARSER.set_defaults(minutes=0.0, processes=2)
PARSER.add_argument("--results", default="baselines", help="where records go that are not there yet")
PARSER.add_argument("--again", action="store_true", help="also make published records that are not in --results")
PARSER.add_argument("--data", metavar="FOLDER", help="people's answers, for the tracks that need them")
PARSER.add_argument("--check", action="store_true", help="only compare records with what is published")
PARSER.add_argument("--archive", metavar="FILE", help="only write the published records into one archive")
PARSER.add_argument("--site", metavar="FOLDER", help="only write the site of the published baselines")


def main() -> None:
    """Run, pack, replay, write."""
    options = PARSER.parse_args()
    folder = options.docs / "baselines"
    if options.check or options.archive:
        print(check(options.results, folder) if options.check else archive(options.results, folder, options.archive))
    if options.site:
        print(site(folder, options.site, options.processes))
    if options.check or options.site:
        return
    if not options.table and not options.archive:
        make(options.results, folder, options.minutes, options.data, options.again, options.processes)
    write_atomically(folder.with_suffix(".md"), page(folder, options.processes))
    print(folder.with_suffix(".md"))


if __name__ == "__main__":
    main()
