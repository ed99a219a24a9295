"""The command `valuegym label`: a place where people give preferences."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from valuegym.leaderboards.cli.arguments import Function, add_command, parse_setting, positive

__all__ = [
    "add_commands",
    "delete_people",
    "describe_study",
    "export_answers",
    "invite_people",
    "make_study",
    "serve_study",
]

TO = ("preferences", "delivery")
SEGMENTS, PAIRS, LENGTH = 150, 1000, 25


def add_commands(commands: Any) -> None:
    """Add the command to the parser."""
    help = (
        "let people say which of two films they prefer, on pages that this machine serves: consent, instructions, "
        "play, quiz, pairs and breaks, while a learner chooses the pairs"
    )
    sub = add_command(
        commands,
        "label",
        None,
        help,
        "valuegym label new study --environment valuegym/Delivery-v0 --length 3 --contact 'A. Person, Lab'",
        "valuegym label invite study --people 5",
        "valuegym label serve study",
        "valuegym label status study",
        "valuegym label export study --output answers --licence 'CC BY 4.0'",
        "valuegym label delete study --person 3",
    )
    actions = sub.add_subparsers(dest="action", required=True, metavar="action")
    _add_new(actions)
    sub = _add_action(
        actions, "invite", _invite, "print the address and the code of a new person, or of several", "--people 5"
    )
    sub.add_argument("--people", type=positive, default=1, metavar="N", help="how many (1)")
    _add_port(sub, "that will be served")
    help = "serve the pages on this machine alone, with a learner beside them, until Ctrl-C"
    sub = _add_action(actions, "serve", _serve, help, "--port 8000")
    _add_port(sub, "0 is any free one")
    sub.add_argument(
        "--host",
        action="append",
        default=[],
        metavar="NAME",
        help="behind a proxy that speaks HTTPS, the name that people use; cookies are sent over HTTPS alone then",
    )
    _add_action(actions, "status", _status, "show how far people are, and what the learner has learnt", "")
    _add_export(actions)
    help = "delete people with all their answers, on the disk, too"
    sub = _add_action(actions, "delete", _delete, help, "--person 3", "--everybody")
    sub.add_argument("--person", type=int, action="append", metavar="N", help="the number; repeatable")
    sub.add_argument("--everybody", action="store_true", help="all people; pairs stay")


def _add_action(actions: Any, name: str, function: Function, help: str, *examples: str) -> argparse.ArgumentParser:
    sub = add_command(
        actions, name, function, help, *(f"valuegym label {name} study {one}".strip() for one in examples)
    )
    sub.add_argument("folder", help="of the study")
    return sub


def _add_port(sub: argparse.ArgumentParser, what: str) -> None:
    sub.add_argument("--port", type=int, default=8000, help=f"the port; {what} (8000)")


def _add_new(actions: Any) -> None:
    sub = _add_action(
        actions,
        "new",
        _new,
        "make a study: its texts and numbers in study.json, to be edited, and pairs of segments with their films",
        "--environment valuegym/Delivery-v0 --length 3 --contact 'A. Person, Lab'",
        "--environment valuegym/Delivery-v0 --length 3 --condition nothing --condition regret",
        "--environment Pendulum-v1 --start-within 50 --agent uniform --agent sac:model.zip",
        "--from preferences --draw my_pictures.py:draw",
    )
    sub.add_argument("--environment", metavar="ID", help="whose segments are compared, and which people try")
    sub.add_argument(
        "--argument",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        type=parse_setting,
        help="an argument of gymnasium.make; repeatable",
    )
    sub.add_argument("--from", dest="source_folder", metavar="FOLDER", help="pairs of a data set instead of rollouts")
    sub.add_argument("--draw", metavar="NAME", help="FILE.py:NAME, a function of a segment that returns its pictures")
    sub.add_argument("--agent", action="append", metavar="NAME", help="who plays; repeatable, in turn (uniform)")
    sub.add_argument("--segments", type=positive, default=SEGMENTS, metavar="N", help=f"segments ({SEGMENTS})")
    sub.add_argument("--pairs", type=positive, default=PAIRS, metavar="N", help=f"pairs of them at most ({PAIRS})")
    sub.add_argument("--length", type=positive, default=LENGTH, metavar="L", help=f"steps of a segment ({LENGTH})")
    sub.add_argument(
        "--start-within", type=int, default=0, metavar="N", help="segments begin after 0 to N steps of an episode (0)"
    )
    sub.add_argument(
        "--condition",
        action="append",
        metavar="NAME",
        help="nothing, partial_return or regret: what is shown beside each segment; repeatable, people are divided",
    )
    sub.add_argument("--per-person", type=positive, metavar="N", help="pairs for each person (50)")
    sub.add_argument("--title", help="of the pages")
    sub.add_argument("--contact", help="who runs the study, for the consent")
    sub.add_argument("--seed", type=int, default=0, help="of everything that is drawn (0)")


def _add_export(actions: Any) -> None:
    sub = _add_action(
        actions,
        "export",
        _export,
        "write the answers as a data set of preferences, or in the format of the published delivery preferences",
        "--output answers --source 'Our lab, 2026' --licence 'CC BY 4.0'",
        "--output answers --to delivery --least-passed 0.8",
    )
    sub.add_argument("--output", required=True, metavar="FOLDER", help="where to")
    sub.add_argument("--to", choices=TO, default="preferences", help="the format")
    sub.add_argument("--source", default="not stated", help="where the answers come from")
    sub.add_argument("--licence", default="not stated", help="their licence")
    sub.add_argument(
        "--least-passed",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="leave out people who passed a smaller share of attention checks (0)",
    )
    sub.add_argument("--rewards", action="store_true", help="with the true rewards, where they are known")


def make_study(args: argparse.Namespace) -> str:
    """Make a study with its pairs; returns a sentence.

    Raises:
        ValueError: there is a study already, an argument is invalid, or nothing draws the segments.
        ImportError: an extra is not installed.
        OSError: a file is missing, or the folder cannot be written.
    """
    from tqdm import tqdm

    from valuegym.envs import plugins
    from valuegym.envs.array_files import optional_module
    from valuegym.envs.feedback import data
    from valuegym.labelling import pool, study
    from valuegym.labelling.films import DELIVERY
    from valuegym.labelling.store import DatabaseFile

    optional_module("PIL", "label", "to draw films")
    folder = Path(args.folder)
    if (folder / study.FILE).exists():
        raise ValueError(f"There is a study in {folder} already; choose another folder, or edit its {study.FILE}.")
    if args.environment is None and args.source_folder is None:
        raise ValueError("Say whose segments are compared: --environment ID, or --from FOLDER.")
    stored = None if args.source_folder is None else data.read(args.source_folder)
    environment = args.environment or (stored.card["environment"] if stored is not None else None)
    values: dict[str, Any] = {"environment": environment, "arguments": dict(args.argument), "seed": args.seed}
    names = args.condition or ["nothing"]
    unknown = [name for name in names if name not in study.CONDITIONS]
    if unknown:
        raise ValueError(f"There is no condition {unknown[0]!r}; expected one of {', '.join(study.CONDITIONS)}.")
    values["conditions"] = {name: study.CONDITIONS[name] for name in names}
    if environment == DELIVERY:
        values |= study.DELIVERY
    for name, value in (("title", args.title), ("contact", args.contact), ("pairs_per_person", args.per_person)):
        values |= {} if value is None else {name: value}
    if environment is None:
        values["play_steps"] = 0
    if args.length > 5:
        values["frame_ms"] = 120
    made = study.Study(**values)
    draw = None if args.draw is None else plugins.load_reference(args.draw)
    database = DatabaseFile(folder, create=True)
    if stored is not None:
        count = pool.add_feedback(database, made, stored.feedback, draw)
    else:

        def watch(rollouts: Iterable[Any]) -> Iterable[Any]:
            return tqdm(rollouts, "segments", args.segments, leave=False)

        agents = tuple(args.agent or ("uniform",))
        count = pool.add_rollouts(
            database, made, args.segments, args.pairs, args.length, args.start_within, agents, watch
        )
    path = made.write(folder)
    return (
        f"{path} written, and {count} pairs stored. Read the consent and the instructions in it, and edit them; then:\n"
        f"  valuegym label invite {folder} --people N\n  valuegym label serve {folder}"
    )


def invite_people(folder: str, count: int, port: int) -> str:
    """Add people to a study; returns a line with the address for each.

    Raises:
        ValueError: a file of the study is not as it should be.
        OSError: there is no study in the folder.
    """
    from valuegym.labelling import store
    from valuegym.labelling.study import Study

    database, lines = store.DatabaseFile(folder), []
    made = Study.read(database.folder)
    with database.change() as connection:
        for _ in range(count):
            number, token = store.invite(connection, made)
            lines.append(f"person {number}  http://127.0.0.1:{port}/#{token}")
    return "\n".join([*lines, "Codes are shown only now; what is stored is their SHA-256."])


def serve_study(folder: str, port: int, hosts: Sequence[str] = ()) -> None:
    """Serve the pages until an interruption.

    Raises:
        ValueError: an argument or a file of the study is not as it should be.
        ImportError: an extra is not installed.
        OSError: there is no study in the folder, or the port is taken.
    """
    from valuegym.labelling import server
    from valuegym.labelling.study import Study

    def watch(found: Any) -> None:
        from valuegym.labelling.app import operator_token

        token = operator_token(Path(folder))
        print(
            f"People enter their codes at {found.url}; Ctrl-C ends this, and every answer is kept.\n"
            f"operator  {found.url}/#{token}",
            flush=True,
        )
        if Study.read(Path(folder)).contact == "not stated":
            print("The consent does not say who runs the study; write a contact into study.json.", flush=True)

    server.serve(folder, port, hosts=hosts, secure=bool(hosts), watch=watch)


def describe_study(folder: str) -> str:
    """Return a table of people and their progress, and what has been learnt.

    Raises:
        ValueError: a file of the study is not as it should be.
        OSError: there is no study in the folder.
    """
    import time

    from valuegym.labelling import store
    from valuegym.labelling.study import Study

    database = store.DatabaseFile(folder)
    made = Study.read(database.folder)
    lines = [f"{'person':>6}  {'condition':<16}{'stage':<14}{'answers':>8}{'checks':>8}{'days':>6}"]
    with database.look() as connection:
        pairs, unseen = store.count_pairs(connection)
        for one in store.people(connection):
            done = store.progress(connection, one.id)
            days = (time.time() - one.invited) / 86_400
            over = "  to be deleted" if days > made.keep_days else ""
            passed = f"{done.passed}/{done.checks}"
            lines.append(
                f"{one.id:>6}  {one.condition:<16.15}{one.stage:<14}{done.answers:>8}{passed:>8}{days:>6.0f}{over}"
            )
        fits = store.fits(connection)
        lines.append(f"{store.count_answers(connection)} answers to {pairs} pairs, {unseen} of which nobody has seen.")
    if fits:
        score = fits[-1][1].get("score")
        said = "" if score is None else f"; the policy that it would follow scores {score:.2f}"
        lines.append(f"The learner has read {fits[-1][0]} answers{said}.")
    return "\n".join(lines)


def delete_people(folder: str, people: Sequence[int], everybody: bool) -> str:
    """Delete people with all that is stored about them, on the disk, too; returns a sentence.

    Raises:
        ValueError: nobody is named, or there is no such person.
        OSError: there is no study in the folder.
    """
    from valuegym.labelling import store

    if bool(people) == everybody:
        raise ValueError("Say who is deleted: --person NUMBER, repeatable, or --everybody.")
    database = store.DatabaseFile(folder)
    with database.change() as connection:
        if everybody:
            count = store.delete_all(connection)
        else:
            missing = [one for one in people if not store.delete_person(connection, one)]
            if missing:
                raise ValueError(f"There is no person {missing[0]} in the study; nobody was deleted.")
            count = len(people)
    store.erase(database)
    people_or_person = "person" if count == 1 else "people"
    return f"{count} {people_or_person} deleted, with all answers. Copies elsewhere are yours to delete."


def export_answers(
    folder: str, output: str, to: str, source: str, licence: str, least_passed: float = 0.0, rewards: bool = False
) -> str:
    """Write the answers of a study; returns a sentence.

    Raises:
        ValueError: there is no answer, or the study does not suit the format.
        OSError: there is no study in the folder, or the output cannot be written.
    """
    from valuegym.envs import checks
    from valuegym.labelling import export
    from valuegym.labelling.store import DatabaseFile

    checks.real("--least-passed", least_passed, 0, 1)
    database = DatabaseFile(folder)
    if to == "delivery":
        return export.write_delivery(database, output, source, licence, least_passed)
    return export.write_preferences(database, output, source, licence, least_passed, rewards)


def _new(args: argparse.Namespace) -> None:
    print(make_study(args))


def _invite(args: argparse.Namespace) -> None:
    print(invite_people(args.folder, args.people, args.port))


def _serve(args: argparse.Namespace) -> None:
    serve_study(args.folder, args.port, args.host)


def _status(args: argparse.Namespace) -> None:
    print(describe_study(args.folder))


def _export(args: argparse.Namespace) -> None:
    print(export_answers(args.folder, args.output, args.to, args.source, args.licence, args.least_passed, args.rewards))


def _delete(args: argparse.Namespace) -> None:
    print(delete_people(args.folder, args.person or (), args.everybody))
