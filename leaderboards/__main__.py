"""The command line: `valuegym list`, `run`, `score`, `measures`, `submit`, `verify`, `board`, `leaderboard` and others.

Every command is also a function.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from valuegym import __version__, envs
from valuegym.agents import AGENTS
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.records.submission import read_card
from valuegym.leaderboards.run import jobs, run_all
from valuegym.leaderboards.standings import gather as board
from valuegym.leaderboards.standings import text as table
from valuegym.leaderboards.standings.entries import enter, judge_all
from valuegym.leaderboards.tracking import log as tracking
from valuegym.leaderboards.trust import ledger
from valuegym.leaderboards.trust.commitment import agent_digest
from valuegym.leaderboards.trust.judgement import Judgement, commitment_seeds, judge
from valuegym.leaderboards.verification.scores import Score
from valuegym.leaderboards.verification.verify import Verdict, record_files, verify_all

DEMO = ("preference/boards-regret", "preference/boards-partial-return")
DEMO_AGENTS = ("uniform", "constant", "partial_return", "regret", "oracle")
DEMO_HUMAN = "preference/human-privileged-control"


class Sealed(NamedTuple):
    """A commitment in a board's book."""

    ledger: ledger.Ledger
    entry: ledger.Entry

    @classmethod
    def of(cls, args: argparse.Namespace) -> Sealed | None:
        """The commitment that a command was given, None for none; ValueError for half of one."""
        if args.board is None and args.commitment is None:
            return None
        if args.board is None or args.commitment is None:
            raise ValueError("Committed seeds need both: --board BOARD --commitment N.")
        found = ledger.read(args.board)
        return cls(found, found.commitment(args.commitment))

    @property
    def seal(self) -> dict[str, object]:
        """What a submission says about it."""
        return {"board": self.ledger.id, "commitment": self.entry.index, "agent": self.entry.body["digest"]}


def measures(results: str) -> str:
    """What environments report of whole episodes beyond the score, from the actions that records hold."""
    from valuegym.leaderboards.records.record import read
    from valuegym.leaderboards.verification import measures as reported

    return reported.render(reported.gather(read(path) for path in record_files(results)))


def list_all() -> str:
    """Environments, agents and experiments, a line each."""
    lines = ["environments"]
    lines += [f"  {id:<40} {', '.join(entry.tags)}" for id, entry in envs.ENVS.items()]
    lines += [f"  {id:<40} control  [extra: {row.extra}]" for id, row in envs.THIRD_PARTY.items()]
    lines += ["", "agents"]
    lines += [
        f"  {name:<40} {entry.about}{f'  [extra: {entry.extra}]' if entry.extra else ''}"
        for name, entry in AGENTS.items()
    ]
    lines += ["", "experiments"]
    for what in experiments.EXPERIMENTS.values():
        notes = [*([] if what.ranked else ["open book, not ranked"]), *([f"needs {what.data}"] if what.data else [])]
        lines.append(f"  {what.id:<40} {what.about}{f'  [{chr(44).join(notes)}]' if notes else ''}")
    return "\n".join(lines)


def run(
    agents: Sequence[str] | None,
    names: Sequence[str],
    results: str,
    seeds: Sequence[int] | None = None,
    data: str | None = None,
    workers: int = 2,
    sealed: Sealed | None = None,
    executor: str = "pool",
    shard: tuple[int, int] = (0, 1),
) -> list[Path]:
    """Run agents on experiments, on a board's committed seeds where it is given; returns the records' paths.

    Of n shards, shard i is every n-th run from the i-th on.
    """
    draw = None
    if sealed:
        committed = sealed.entry.body["agent"]
        if list(agents or ()) != [committed]:
            raise ValueError(f"Commitment {sealed.entry.index} is that of {committed!r}; run that agent alone.")
        draw = partial(commitment_seeds, sealed.ledger, sealed.entry.index)
    return run_all(jobs(agents, names, results, seeds, data, draw)[shard[0] :: shard[1]], workers, executor)


def score(results: str) -> list[Score]:
    """What the records claim, unverified."""
    from valuegym.leaderboards.records.record import Record, RecordError, read

    def named(path: Path) -> Record:
        try:
            return read(path)
        except RecordError as error:
            raise RecordError(f"{path}: {error}") from None

    return board.gather((named(path) for path in record_files(results)), "claimed")


def verify(results: str, data: str | None = None, workers: int = 2) -> list[Verdict]:
    """Replay every record."""
    return verify_all(results, data, workers)


def submit(
    results: str,
    card: str,
    names: Sequence[str] | None = None,
    evidence: Sequence[str] | None = None,
    output: str | None = None,
    sealed: Sealed | None = None,
) -> str:
    """Pack an agent's records and its card into one file; returns what was written, for people."""
    from valuegym.leaderboards.records import submission

    about = read_card(card)
    found = sorted(Path(results).glob(f"*/*/{about.name}/seed-*.jsonl"))
    if names:
        for name in names:
            experiments.find(name)
        found = [path for path in found if "/".join(path.parts[-4:-2]) in names]
    if not found:
        raise FileNotFoundError(f"There are no records by {about.name} in {results}; `valuegym run` writes them.")
    extra = {Path(path).name: Path(path).read_bytes() for path in evidence or ()}
    content = submission.pack(about, (path.read_bytes() for path in found), extra, sealed.seal if sealed else None)
    target = Path(output or f"{about.name}.zip")
    submission.write(target, content)
    packed = submission.from_bytes(content)
    return f"{target}: {len(found)} records of {about.name}, {len(content)} bytes, SHA-256 {packed.digest}"


def report(verdicts: Sequence[Verdict]) -> str:
    """Verdicts for people: a line for every record that is not true or comes with a warning, and a count."""
    lines = [f"rejected  {verdict.path}: {verdict.reason}" for verdict in verdicts if verdict.reason]
    warned = [verdict for verdict in verdicts if verdict.warnings]
    if warned:
        lines.append(f"note      {len(warned)} records were made with other sources; they replay all the same")
    good = sum(not verdict.reason for verdict in verdicts)
    lines.append(
        f"verified  {good} of {len(verdicts)} records"
        + ("" if good == len(verdicts) else f", {len(verdicts) - good} rejected")
    )
    return "\n".join(lines)


def leaderboard(
    verdicts: Sequence[Verdict], results: str, track: str = "offline", judgements: Sequence[Judgement] = ()
) -> str:
    """Write the site of verified records and accepted submissions, and the wandb runs of the records.

    Returns the tables and where everything lies.
    """
    loose = board.from_verdicts(verdicts)
    scores, known = enter(loose, judgements)
    if not scores:
        raise ValueError(f"No record in {results} was found true, so there is nothing to put on a board.")
    lines = [table.render(scores)]
    try:
        from valuegym.leaderboards.site.pages import write_site

        lines.append(f"site   {write_site(scores, Path(results) / 'site', entrants=known).resolve()}")
    except ImportError:
        lines.append("site   not written: pip install 'valuegym[site]' for the plots")
    if track != "off":  # submissions are logged one by one, by `valuegym verify --track`
        lines += track_all(verdicts, loose, results, track)
    return "\n".join(lines)


def track_all(verdicts: Sequence[Verdict], scores: Sequence[Score], results: str, mode: str) -> list[str]:
    """One wandb run for each agent that is no reference, with its records as an artifact; returns a line each."""
    records = [(Path(verdict.path), verdict.record) for verdict in verdicts if verdict.record is not None]
    digests = {record.experiment: record.digest for _, record in records}
    lines = []
    for agent in dict.fromkeys(score.agent for score in scores if score.role == "agent"):
        files = [path for path, record in records if record.agent == agent]
        mine = [score for score in scores if score.agent == agent]
        try:
            tracked = tracking.log_scores(mine, files, Path(results), mode=mode, config={"digests": digests})
        except (ImportError, RuntimeError) as error:
            return [f"wandb  not logged: {error}"]
        lines.append(f"wandb  {agent}: {tracked.message}")
    return lines


def check_data(name: str, data: str | None) -> str:
    """Reproduce the stored statistics of every condition in the folder.

    Raises ValueError, with the whole table, if any row differs or any condition cannot be read.
    """
    from valuegym.envs.preference import answers, datasets

    _dataset(name)
    found = datasets.present(data, unverified=True)
    if not found:
        raise FileNotFoundError(
            f"{datasets.find(data)} holds none of the published conditions {sorted(datasets.CONDITIONS)}."
        )
    known, wrong, pairs = datasets.present(data), 0, 0
    unread: list[str] = []
    lines = [f"{'condition':<24}{'pairs':>7}{'mismatches':>12}{'agreement':>11}  known by"]
    for condition in found:
        try:
            human = datasets.load(condition, data, unverified=True)
        except (ValueError, OSError) as error:
            unread.append(f"{condition}: {error}")
            continue
        bad, agree = answers.mismatches(human), answers.agreement(human.segments, human.labels).share
        pairs, wrong = pairs + len(human.labels), wrong + bad
        by = "its hash" if condition in datasets.CONDITIONS else "its card" if condition in known else "nothing yet"
        lines.append(f"{condition:<24}{len(human.labels):>7}{bad:>12}{100 * agree:>10.0f}%  {by}")
    lines.append(f"{'all':<24}{pairs:>7}{wrong:>12}")
    faults = [*unread, *([f"{wrong} rows do not follow from the delivery task."] if wrong else [])]
    if faults:
        raise ValueError("\n".join((*lines, *faults)))
    return "\n".join(lines)


def accept_data(name: str, data: str | None, condition: str | None, source: str, licence: str) -> str:
    """Write a card for files that are named as published ones, so that they are used from now on."""
    from valuegym.envs.preference import answers, datasets

    _dataset(name)
    if not condition or condition in datasets.CONDITIONS:
        raise ValueError(f"--condition {condition or ''}: expected the name of one that is not known by its hash.")
    path = answers.accept(datasets.find(data), condition, source, licence)
    return f"{path} written: human:{condition} is known by this card from now on."


def _dataset(name: str) -> None:
    from valuegym.envs.preference import datasets

    if name != datasets.NAME:
        raise ValueError(f"There is no dataset {name!r}; expected {datasets.NAME!r}.")


def fetch_data(name: str, data: str | None) -> str:
    """Download a dataset from its publisher into a folder, checked against its hashes."""
    from valuegym.envs.preference import datasets

    _dataset(name)
    folder = data or os.environ.get(datasets.VARIABLE)
    if not folder:
        raise ValueError(f"Say where the data shall lie: --data FOLDER, or the variable {datasets.VARIABLE}.")
    fetched = datasets.fetch(folder)
    return f"{len(fetched)} files fetched into {folder}; their licence is not stated: do not redistribute them."


def demo(results: str, data: str | None = None, workers: int = 2, track: str = "offline") -> str:
    """The main job: three learners under two annotators on random boards, verified and put on a board.

    With data, people's answers, too.
    """
    names = [*DEMO, *([DEMO_HUMAN] if data else [])]
    run(DEMO_AGENTS, names, results, data=data, workers=workers)
    verdicts = verify(results, data, workers)
    return "\n".join((report(verdicts), "", leaderboard(verdicts, results, track)))


def parser() -> argparse.ArgumentParser:
    """The argument parser, with examples."""
    top = argparse.ArgumentParser(
        prog="valuegym",
        description="Environments about value, agents, and leaderboards that anyone can replay.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="examples:\n"
        "  valuegym list\n"
        "  valuegym run --agent regret --experiment preference/boards-regret\n"
        "  valuegym verify results\n"
        "  valuegym submit results --card card.json\n"
        "  valuegym verify my-agent.zip\n"
        "  valuegym leaderboard results\n"
        "  valuegym data check human-delivery --data FOLDER",
    )
    top.add_argument("--version", action="version", version=f"valuegym {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")

    def common(sub: argparse.ArgumentParser, data: bool = True) -> None:
        if data:
            sub.add_argument(
                "--data", metavar="FOLDER", help="folder with the human data (default: the variable VALUEGYM_DATA)"
            )
        sub.add_argument(
            "--workers", type=_positive, default=os.cpu_count() or 1, help="parallel processes (default: one per core)"
        )

    def tracked(sub: argparse.ArgumentParser) -> None:
        sub.add_argument(
            "--track",
            choices=("offline", "online", "off"),
            default=None,
            help="wandb (default: WANDB_MODE if set, else offline)",
        )

    def sealed(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--board", metavar="BOARD", help="a board's book, to play on the seeds of a commitment")
        sub.add_argument("--commitment", type=int, metavar="N", help="number of the commitment in the book")

    command("list", "list environments, agents and experiments")
    sub = command("run", "run agents on experiments and write replayable records; what is done already is skipped")
    sub.add_argument("--agent", action="append", metavar="NAME", help="repeatable; default: all agents of each track")
    sub.add_argument(
        "--shard", type=_shard, default=(0, 1), metavar="I/N", help="only every N-th run from the I-th on, from 0"
    )
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--experiment", action="append", metavar="ID", help="repeatable; see `valuegym list`")
    which.add_argument("--all", action="store_true", help="every experiment; those on human data where there are any")
    sub.add_argument(
        "--executor",
        choices=sorted(executors.EXECUTORS),
        default="pool",
        help="where runs are carried out: processes of this machine (pool), this process, or Ray (default: pool)",
    )
    sub.add_argument(
        "--seed", action="append", type=int, metavar="N", help="repeatable; default: all seeds of the experiment"
    )
    sub.add_argument("--results", default="results", metavar="FOLDER", help="where records go (default: results)")
    sealed(sub)
    common(sub)
    sub = command("score", "show the scores that records claim, without verifying them")
    sub.add_argument("results", nargs="?", default="results", help="results folder or record file (default: results)")
    sub = command("measures", "show what environments report of whole episodes, such as influence and diversity")
    sub.add_argument("results", nargs="?", default="results", help="results folder or record file (default: results)")
    sub = command("submit", "pack an agent's records and its card into one file that anyone can verify")
    sub.add_argument("results", nargs="?", default="results", help="results folder (default: results)")
    sub.add_argument("--card", default="card.json", metavar="FILE", help="the agent's card (default: card.json)")
    sub.add_argument(
        "--experiment", action="append", metavar="ID", help="repeatable; default: all there are records of"
    )
    sub.add_argument("--evidence", action="append", metavar="FILE", help="npz or JSON to add; repeatable")
    sub.add_argument("--output", metavar="FILE", help="the submission (default: NAME.zip)")
    sealed(sub)
    command("digest", "print the SHA-256 by which an agent is committed").add_argument("path", help="file or folder")
    sub = command("verify", "replay records and check everything in them; exits with 1 if any is rejected")
    sub.add_argument(
        "results", nargs="?", default="results", help="results folder, record or submission file (default: results)"
    )
    sub.add_argument("--board", metavar="BOARD", help="a board's book, for submissions on its seeds")
    sub.add_argument("--board-key", metavar="FILE", help="the public key that the board is known to have")
    sub.add_argument("--track", choices=("offline", "online"), help="log an accepted submission to wandb (default: no)")
    sub.add_argument(
        "--project", default="valuegym", metavar="ENTITY/PROJECT", help="where it is logged, such as a board's inbox"
    )
    common(sub)
    _board_parser(command("board", "keep a board: periods, commitments and signed verdicts in one book"), common)
    sub = command("leaderboard", "verify records and submissions, print the tables, write the site and the wandb runs")
    sub.add_argument("results", nargs="?", default="results", help="results folder (default: results)")
    sub.add_argument("--board", metavar="BOARD", help="a board's book, for submissions on its seeds or executed by it")
    sub.add_argument("--board-key", metavar="FILE", help="the public key that the board is known to have")
    common(sub)
    tracked(sub)
    sub.add_argument(
        "--report", metavar="ENTITY/PROJECT", help="also as a wandb report, where wandb-workspaces is installed"
    )
    sub = command("online", "show what a wandb project holds: an open inbox, or a public board")
    sub.add_argument("project", metavar="ENTITY/PROJECT", help="the project")
    sub.add_argument("--tag", action="append", metavar="TAG", help="only runs with this tag; repeatable")
    sub.add_argument("--results", default="results", metavar="FOLDER", help="where copies are kept (default: results)")
    sub.add_argument("--fresh", action="store_true", help="ask the server even if there is a copy of five minutes ago")
    sub = command("data", "fetch human data from its publisher, check what you have, or accept what nobody knows yet")
    sub.add_argument("action", choices=("check", "fetch", "accept"))
    sub.add_argument("name", help="name of the dataset: human-delivery")
    sub.add_argument(
        "--data", metavar="FOLDER", help="folder with the human data (default: the variable VALUEGYM_DATA)"
    )
    sub.add_argument("--condition", metavar="NAME", help="accept: which one gets a card")
    sub.add_argument("--source", default="not stated", help="accept: where the answers come from")
    sub.add_argument("--licence", default="not stated", help="accept: their licence")
    sub = command("likelihood", "how well preference models predict people: table, intervals and figure")
    sub.add_argument(
        "--data", metavar="FOLDER", help="folder with the human data (default: the variable VALUEGYM_DATA)"
    )
    sub.add_argument("--condition", action="append", metavar="NAME", help="repeatable; default: all in the folder")
    sub.add_argument(
        "--unverified", action="store_true", help="also files named as published ones of which nothing else is known"
    )
    sub.add_argument("--output", default="docs/results", metavar="FOLDER", help="where the page goes (docs/results)")
    sub = command("demo", "run the main comparison from start to page, in minutes")
    sub.add_argument("--results", default="results", metavar="FOLDER", help="where everything goes (default: results)")
    common(sub)
    tracked(sub)
    return top


def _board_parser(parser: argparse.ArgumentParser, common: Callable[[argparse.ArgumentParser], None]) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")

    def action(name: str, help: str, writes: bool = True) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
        sub.add_argument("board", help="the board's book")
        if writes:
            sub.add_argument("--key", metavar="FILE", help="private ssh key of the board, for boards that sign")
        return sub

    action("begin", "begin a book").add_argument("--name", required=True, help="what the board is called")
    for name, help in (("open", "open a period"), ("reveal", "close the period and reveal its nonce")):
        action(name, help).add_argument("--nonce", required=True, metavar="FILE", help="file of the secret nonce")
    sub = action("commit", "fix an agent by its digest while a period is open")
    sub.add_argument("--agent", required=True, metavar="NAME", help="the agent's name")
    sub.add_argument("--submitter", required=True, help="who submits; one commitment each in a period")
    sub.add_argument("--digest", required=True, help="SHA-256 of the agent: `valuegym digest FOLDER`")
    sub = action("judge", "replay a submission and write the verdict down")
    sub.add_argument("submission", help="the submission file")
    common(sub)
    sub = action("execute", "run a committed agent in a sandbox on secret seeds and write the verdict down")
    sub.add_argument("folder", help="the agent's folder, with agent.py and make(env, seed)")
    sub.add_argument("--card", default="card.json", metavar="FILE", help="the agent's card (default: card.json)")
    sub.add_argument("--commitment", type=int, required=True, metavar="N", help="number of the commitment in the book")
    sub.add_argument("--experiment", action="append", required=True, metavar="ID", help="repeatable")
    sub.add_argument("--nonce", required=True, metavar="FILE", help="file of the secret nonce")
    sub.add_argument("--output", metavar="FILE", help="where the submission goes (default: FOLDER.zip)")
    sub.add_argument(
        "--data", metavar="FOLDER", help="folder with the human data (default: the variable VALUEGYM_DATA)"
    )
    sub = action("collect", "judge what is new in an open wandb project, and publish what was accepted in another")
    sub.add_argument("--inbox", required=True, metavar="ENTITY/PROJECT", help="where anybody may log submissions")
    sub.add_argument("--publish", metavar="ENTITY/PROJECT", help="the public project (default: publish nothing)")
    sub.add_argument("--folder", default="inbox", metavar="FOLDER", help="where submissions go (default: inbox)")
    common(sub)
    sub = action("show", "check a book and print it", writes=False)
    sub.add_argument("--board-key", metavar="FILE", help="the public key that the board is known to have")


def _shard(text: str) -> tuple[int, int]:
    shard, _, shards = text.partition("/")
    if not (shard.isdigit() and shards.isdigit() and int(shard) < int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard; expected I/N with I from 0 to N - 1, as in 3/8")
    return int(shard), int(shards)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _track(args: argparse.Namespace) -> str:
    """What was asked for, else what WANDB_MODE says, else offline."""
    return args.track or {"online": "online", "disabled": "off"}.get(os.environ.get("WANDB_MODE", ""), "offline")


def data(args: argparse.Namespace) -> str:
    """What `valuegym data` was asked to do."""
    if args.action == "accept":
        return accept_data(args.name, args.data, args.condition, args.source, args.licence)
    return (check_data if args.action == "check" else fetch_data)(args.name, args.data)


def _run(args: argparse.Namespace) -> None:
    names = args.experiment
    if args.all:
        have = bool(args.data or os.environ.get("VALUEGYM_DATA"))
        names = [what.id for what in experiments.EXPERIMENTS.values() if have or not what.data]
    paths = run(
        args.agent, names, args.results, args.seed, args.data, args.workers, Sealed.of(args), args.executor, args.shard
    )
    print("\n".join(map(str, paths)))


def _verify(args: argparse.Namespace) -> int:
    if Path(args.results).suffix == ".zip":
        found = ledger.read(args.board, _key(args.board_key)) if args.board else None
        judgement = judge(args.results, args.data, args.workers, found)
        print(judgement.text)
        if args.track and not judgement.reason:
            entity, _, project = args.project.rpartition("/")
            folder = Path(args.results).parent
            tracked = tracking.log_submission(judgement, folder, args.track, project, entity or None)
            print(f"wandb     {tracked.message}")
        return int(bool(judgement.reason))
    verdicts = verify(args.results, args.data, args.workers)
    print(report(verdicts))
    return int(any(verdict.reason for verdict in verdicts))


def _key(path: str | None) -> str | None:
    return None if path is None else Path(path).read_text(encoding="utf-8")


def _board(args: argparse.Namespace) -> int:
    """Carry out `valuegym board`."""
    from valuegym.leaderboards.board import operations as referee

    if args.action == "judge":
        judgement, entry = referee.decide(args.board, args.submission, args.data, args.workers, args.key)
        print("\n".join([judgement.text, *([f"entry     {entry.index} of {args.board}"] if entry else [])]))
        return int(bool(judgement.reason))
    if args.action == "execute":
        card, output = read_card(args.card), args.output or f"{Path(args.folder).name}.zip"
        judgement, entry = referee.execute(
            args.board, args.commitment, args.folder, card, args.experiment, args.nonce, output, args.data, args.key
        )
        print(f"{judgement.text}\nentry     {entry.index} of {args.board}")
        return int(bool(judgement.reason))
    if args.action == "collect":
        for line in referee.collect(
            args.board, args.inbox, args.folder, args.publish, args.data, args.workers, args.key
        ):
            print(line, flush=True)
        return 0
    if args.action == "show":
        print(referee.show(ledger.read(args.board, _key(args.board_key))))
        return 0
    if args.action == "begin":
        entry = referee.begin(args.board, args.name, args.key)
    elif args.action == "open":
        entry = referee.open_period(args.board, args.nonce, args.key)
    elif args.action == "reveal":
        entry = referee.reveal(args.board, args.nonce, args.key)
    else:
        entry = referee.commit(args.board, args.agent, args.submitter, args.digest, args.key)
    print(f"entry {entry.index} of {args.board}: {referee.line(entry)}")
    return 0


def _leaderboard(args: argparse.Namespace) -> None:
    found = ledger.read(args.board, _key(args.board_key)) if args.board else None
    judgements = judge_all(sorted(Path(args.results).glob("*.zip")), args.data, args.workers, found)
    lines = [judgement.text for judgement in judgements]
    verdicts: Sequence[Verdict] = ()
    if not judgements or any(Path(args.results).rglob("seed-*.jsonl")):
        verdicts = verify(args.results, args.data, args.workers)
        lines.append(report(verdicts))
    print("\n".join((*lines, "", leaderboard(verdicts, args.results, _track(args), judgements))))
    if args.report:
        print(write_report(enter(board.from_verdicts(verdicts), judgements)[0], args.results, args.report))


def _online(args: argparse.Namespace) -> None:
    from valuegym.leaderboards.tracking import online

    age = 0.0 if args.fresh else online.MAX_AGE
    print(online.render(online.read_project(args.project, args.results, age, args.tag or ())))


def write_report(scores: Sequence[Score], results: str, project: str) -> str:
    """The tables as Markdown in results/report.md, and as a report in a wandb project where that can be had."""
    from valuegym.leaderboards.records.record import write_atomically
    from valuegym.leaderboards.tracking import online

    path, text = Path(results) / "report.md", table.render_markdown(scores)
    write_atomically(path, f"{text}\n")
    where = f"report {path}"
    try:
        return f"{where} and {online.publish_report(project, 'valuegym leaderboards', text, results)}"
    except (ImportError, OSError) as error:
        return f"{where}; {error}"


def _likelihood(args: argparse.Namespace) -> None:
    from valuegym.leaderboards.likelihood import report as likelihood_report

    print(likelihood_report.run(args.data, args.condition, args.output, args.unverified))


COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "list": lambda args: print(list_all()),
    "run": _run,
    "score": lambda args: print(table.render(score(args.results))),
    "measures": lambda args: print(measures(args.results)),
    "submit": lambda args: print(
        submit(args.results, args.card, args.experiment, args.evidence, args.output, Sealed.of(args))
    ),
    "board": _board,
    "digest": lambda args: print(agent_digest(args.path)),
    "verify": _verify,
    "leaderboard": _leaderboard,
    "online": _online,
    "data": lambda args: print(data(args)),
    "likelihood": _likelihood,
    "demo": lambda args: print(demo(args.results, args.data, args.workers, _track(args))),
}


def dispatch(args: argparse.Namespace) -> int:
    """Carry out a parsed command; returns the exit status."""
    return COMMANDS[args.command](args) or 0


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the command `valuegym`: 0 done, 1 a record was rejected, 2 bad input, 130 interrupted."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores by processes, not by threads
    try:
        return dispatch(parser().parse_args(argv))
    except (ValueError, OSError, ImportError) as error:
        print(f"valuegym: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("valuegym: interrupted; finished runs are kept, the same command goes on from here.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
