"""Commands about records and submissions: `valuegym score`, `measures`, `submit`, `digest`, `verify` and `convert`."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from valuegym.leaderboards.cli.arguments import (
    add_board,
    add_command,
    add_commitment,
    add_data,
    add_format,
    add_plugin,
    add_results,
    add_workers,
    read_board,
    read_commitment,
)
from valuegym.leaderboards.cli.parsing import columns
from valuegym.leaderboards.records import submission
from valuegym.leaderboards.records.conversion import convert_folder
from valuegym.leaderboards.records.packing import pack_results
from valuegym.leaderboards.records.record import Record, RecordError, read_record
from valuegym.leaderboards.standings import export, text
from valuegym.leaderboards.standings.gather import Score, gather_scores
from valuegym.leaderboards.trust.commitment import agent_digest
from valuegym.leaderboards.trust.judgement import judge
from valuegym.leaderboards.verification.measures import collect_measures, measures_text
from valuegym.leaderboards.verification.verify import Verdict, record_files, verify_all

__all__ = ["add_commands", "claimed_scores", "render_verdicts", "submit"]

RECORDS = "results folder or record file"


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    help = "show the scores that records claim, without verifying them"
    sub = add_command(commands, "score", _score, help, "valuegym score results", "valuegym score results --format csv")
    add_results(sub, RECORDS)
    add_format(sub)
    add_plugin(sub)
    help = "show an environment's metrics of whole episodes, such as influence and diversity"
    sub = add_command(commands, "measures", _measures, help, "valuegym measures results")
    add_results(sub, RECORDS)
    add_plugin(sub)
    _add_submit(commands)
    help = "print the SHA-256 by which an agent is committed"
    sub = add_command(commands, "digest", _digest, help, "valuegym digest my-agent/")
    sub.add_argument("path", help="file or folder")
    _add_verify(commands)
    _add_convert(commands)


def _add_submit(commands: Any) -> None:
    sub = add_command(
        commands,
        "submit",
        _submit,
        "pack an agent's records and its card into one file that anyone can verify",
        "valuegym submit results --card card.json --experiment preference/boards-regret",
    )
    add_results(sub)
    sub.add_argument("--card", default="card.json", metavar="FILE", help="the agent's card (default: card.json)")
    sub.add_argument(
        "--experiment", action="append", metavar="ID", help="repeatable; default: all there are records of"
    )
    sub.add_argument("--evidence", action="append", metavar="FILE", help="npz or JSON to add; repeatable")
    sub.add_argument("--output", metavar="FILE", help="the submission (default: NAME.zip)")
    add_commitment(sub)
    add_plugin(sub)


def _add_verify(commands: Any) -> None:
    sub = add_command(
        commands,
        "verify",
        _verify,
        "replay records and check everything in them; exits with 1 if any is rejected",
        "valuegym verify results",
        "valuegym verify my-agent.zip --track online --project lab/inbox",
    )
    add_results(sub, "results folder, record or submission file")
    add_board(sub, "for submissions on its seeds")
    sub.add_argument("--track", choices=("offline", "online"), help="log an accepted submission to wandb (default: no)")
    sub.add_argument(
        "--project", default="valuegym", metavar="ENTITY/PROJECT", help="where it is logged, such as a board's inbox"
    )
    add_data(sub)
    add_workers(sub)
    add_plugin(sub)


def _add_convert(commands: Any) -> None:
    sub = add_command(
        commands,
        "convert",
        _convert,
        "write records and submissions of format 1 in the present format, or a GGUF language model as safetensors",
        "valuegym convert results --output converted",
        "valuegym convert my-agent.zip --output converted",
        "valuegym convert model.gguf --output my-model",
    )
    add_results(sub, "results folder, record or submission file, or GGUF file of a language model")
    sub.add_argument(
        "--output", required=True, metavar="FOLDER", help="where converted files go; sources are not changed"
    )


UNVERIFIED = "Not verified: as the records have it. `valuegym verify` replays them."


def claimed_scores(results: str) -> list[Score]:
    """Return what the records in a folder or file claim, unverified.

    Raises:
        ValueError: for a damaged record, which is named, or two records of one run.
        FileNotFoundError: where there is no record.
    """

    def named(path: Path) -> Record:
        try:
            return read_record(path)
        except RecordError as error:
            raise RecordError(f"{path}: {error}") from None

    return gather_scores((named(path) for path in record_files(results)), "claimed")


def render_verdicts(verdicts: Sequence[Verdict]) -> str:
    """Return verdicts for people: a line for every rejected record, one for each kind of warning, and a count."""
    lines = [f"rejected  {verdict.path}: {verdict.reason}" for verdict in verdicts if verdict.reason]
    warned = [verdict for verdict in verdicts if verdict.warnings]
    if warned:
        lines.append(f"note      {len(warned)} records were made with other sources; they replay all the same")
    claimed = sum(verdict.claimed for verdict in verdicts)
    if claimed:
        lines.append(f"note      {claimed} records hold claimed rewards: their environment does not repeat itself")
    good = sum(not verdict.reason for verdict in verdicts)
    rest = "" if good == len(verdicts) else f", {len(verdicts) - good} rejected"
    return "\n".join((*lines, f"verified  {good} of {len(verdicts)} records{rest}"))


def submit(
    results: str,
    card: str,
    names: Sequence[str] | None = None,
    evidence: Sequence[str] | None = None,
    output: str | None = None,
    seal: dict[str, object] | None = None,
) -> str:
    """Pack an agent's records and its card into one file; returns a line that says what was written.

    Raises:
        ValueError: for a card, an experiment, a record or evidence that cannot be submitted.
        OSError: where a file cannot be read or written, or there is no record.
    """
    about = submission.read_card(card)
    content, count = pack_results(results, about, names, evidence or (), seal)
    target = Path(output or f"{about.name}.zip")
    submission.write_submission(target, content)
    digest = submission.from_bytes(content).digest
    return f"{target}: {count} records of {about.name}, {len(content)} bytes, SHA-256 {digest}"


def _score(args: argparse.Namespace) -> None:
    scores = claimed_scores(args.results)
    if args.format:
        print(UNVERIFIED, file=sys.stderr)
        print(export.FORMATS[args.format](scores), end="")
        return
    print("\n".join((*textwrap.wrap(UNVERIFIED, columns()), text.render_text(scores, columns()))))


def _convert(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from valuegym.agents.language.model_files import looks_like_model
    from valuegym.leaderboards.cli.language import convert_model

    if looks_like_model(args.results):
        print(convert_model(args.results, args.output))
        return 0
    found = []
    for conversion in tqdm(convert_folder(Path(args.results), Path(args.output)), desc="converting", unit="file"):
        found.append(conversion)
        if conversion.reason:
            tqdm.write(f"left       {conversion.path}: {conversion.reason}")
    good = sum(conversion.target is not None for conversion in found)
    print(f"converted  {good} of {len(found)} files; `valuegym verify {args.output}` replays them")
    return int(good < len(found))


def _measures(args: argparse.Namespace) -> None:
    measures = collect_measures(read_record(path) for path in record_files(args.results))
    print("\n".join((*textwrap.wrap(UNVERIFIED, columns()), measures_text(measures, columns()))))


def _submit(args: argparse.Namespace) -> None:
    commitment = read_commitment(args)
    seal = commitment.seal if commitment else None
    print(submit(args.results, args.card, args.experiment, args.evidence, args.output, seal))


def _digest(args: argparse.Namespace) -> None:
    print(agent_digest(args.path))


def _verify(args: argparse.Namespace) -> int:
    if Path(args.results).suffix == ".zip":
        return _verify_submission(args)
    verdicts = verify_all(args.results, args.data, args.workers)
    print(render_verdicts(verdicts))
    return int(any(verdict.reason for verdict in verdicts))


def _verify_submission(args: argparse.Namespace) -> int:
    ledger = read_board(args.board, args.board_key)
    judgement = judge(args.results, args.data, args.workers, ledger)
    print(judgement.text)
    if ledger and judgement.commitment >= 0:
        known = "" if args.board_key else "; whether that key is the board's, --board-key would check"
        print(f"seeds     of {ledger.signer}{known}")
    if args.track and not judgement.reason:
        from valuegym.leaderboards.tracking.log import log_submission

        entity, _, project = args.project.rpartition("/")
        tracked = log_submission(judgement, Path(args.results).parent, args.track, project, entity or None)
        print(f"wandb     {tracked.message}")
    return int(bool(judgement.reason))
