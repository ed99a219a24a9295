"""Commands about human data: `valuegym data` and `valuegym likelihood`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from valuegym.envs import checks
from valuegym.leaderboards.cli.arguments import add_command, add_data

__all__ = ["accept_data", "add_commands", "check_data", "export_data", "fetch_data", "import_data"]

FROM = ("bpref", "clean-offline-rlhf", "cpl", "imitation", "ipl", "preference-transformer", "vpl")
TO = ("datasets", "minari", "text")
READER_OPTIONS = ("observation_size", "trajectories", "steps", "episode_steps", "label_key", "last")


def add_commands(commands: Any) -> None:
    """Add the commands of this file to the parser."""
    sub = add_command(
        commands,
        "data",
        None,
        "human data: fetch, check and accept it, or exchange answered pairs with other projects",
        "valuegym data fetch human-delivery --data FOLDER",
    )
    actions = sub.add_subparsers(dest="action", required=True, metavar="action")
    _add_published(actions)
    _add_import(actions)
    _add_export(actions)
    sub = add_command(
        commands,
        "likelihood",
        _likelihood,
        "measure how well preference models predict people: table, intervals and figure",
        "valuegym likelihood --data FOLDER --condition Privileged-Control --output page",
    )
    add_data(sub)
    sub.add_argument("--condition", action="append", metavar="NAME", help="repeatable; default: all in the folder")
    sub.add_argument(
        "--unverified", action="store_true", help="also conditions that only the names of their files identify"
    )
    sub.add_argument("--output", default="docs/results", metavar="FOLDER", help="where the page goes (docs/results)")


def _add_published(actions: Any) -> None:
    """Add what is done with a published dataset."""
    for name, function, help in (
        ("fetch", _fetch, "download a dataset from its publisher, and check it against its hashes"),
        ("check", _check, "reproduce the published statistics of what is in a folder"),
        ("accept", _accept, "write a card for a condition that has no published hash, so that it is used from now on"),
    ):
        more = ' --condition NAME --source "URL or paper"' if name == "accept" else ""
        example = f"valuegym data {name} human-delivery --data FOLDER{more}"
        sub = add_command(actions, name, function, help, example)
        sub.add_argument("name", help="name of the dataset: human-delivery")
        add_data(sub)
        if name == "accept":
            sub.add_argument("--condition", metavar="NAME", help="which one gets a card")
            _add_source(sub)


def _add_source(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--source", default="not stated", help="where the answers come from (default: not stated)")
    sub.add_argument("--licence", default="not stated", help="their licence (default: not stated)")


def _add_import(actions: Any) -> None:
    sub = add_command(
        actions,
        "import",
        _import,
        "write answered pairs of another project's format as a data set",
        "valuegym data import pairs.npz --from cpl --output FOLDER --source URL --licence MIT",
        "valuegym data import LABELS --from clean-offline-rlhf --trajectories d4rl.hdf5 --steps 200 --output FOLDER",
    )
    sub.add_argument("path", help="a file or a folder")
    sub.add_argument("--from", dest="kind", choices=FROM, help="the format (docs/data.md)")
    sub.add_argument("--output", metavar="FOLDER", help="where the data set goes")
    _add_source(sub)
    sub.add_argument("--environment", metavar="ID", help="id of the environment that the segments are from")
    sub.add_argument(
        "--observation-size", type=int, metavar="N", help="from bpref: how many numbers of a step are seen"
    )
    sub.add_argument("--trajectories", metavar="FILE", help="from indices: the D4RL data set, HDF5 or .npz")
    sub.add_argument("--steps", type=int, metavar="L", help="from indices: length of a segment")
    sub.add_argument(
        "--episode-steps", type=int, metavar="N", help="from indices: step limit, where no timeouts are kept"
    )
    sub.add_argument("--label-key", metavar="NAME", help="from cpl, ipl: the name of the labels or scores (label)")
    sub.add_argument("--last", choices=("repeat", "drop"), help="the last observation, where nobody kept what follows")


def _add_export(actions: Any) -> None:
    sub = add_command(
        actions,
        "export",
        _export,
        "write a data set of answered pairs for another library",
        "valuegym data export FOLDER --to datasets --output OTHER",
    )
    sub.add_argument("folder", help="the data set")
    sub.add_argument("--to", choices=TO, help="Hugging Face's datasets, Minari, or texts as JSON lines for trl")
    sub.add_argument("--output", metavar="WHERE", help="to datasets: a folder; to minari: an id; to text: a file")


def check_data(name: str, data: str | None) -> str:
    """Reproduce the stored statistics of every condition in the folder; returns a table.

    Its column "noticed" is the probability that reversed labels of such people would be (`human_data.reversal_power`).

    Raises:
        FileNotFoundError: where the folder holds no condition.
        ValueError: with the whole table, if any row differs or any condition cannot be read.
    """
    from valuegym.envs.preference import datasets, human_data

    _check_name(name)
    found = datasets.present(data, unverified=True)
    if not found:
        raise FileNotFoundError(
            f"{datasets.find(data)} holds none of the published conditions {sorted(datasets.CONDITIONS)}."
        )
    accepted, wrong, pairs = datasets.present(data), 0, 0
    unread: list[str] = []
    lines = [f"{'condition':<20} {'pairs':>5} {'wrong':>5} {'agree':>5} {'noticed':>7}  known by"]
    for condition in found:
        try:
            human = datasets.load(condition, data, unverified=True)
        except (ValueError, OSError) as error:
            unread.append(f"{condition}: {error}")
            continue
        bad, agree = human_data.mismatches(human), human_data.agreement(human.segments, human.labels).share
        noticed = human_data.noticed_reversal(human.segments, human.labels)
        pairs, wrong = pairs + len(human.labels), wrong + bad
        by = "its hash" if condition in datasets.CONDITIONS else "its card" if condition in accepted else "nothing yet"
        lines.append(f"{condition:<20} {len(human.labels):>5} {bad:>5} {100 * agree:>4.0f}% {noticed:>7.2f}  {by}")
    lines.append(f"{'all':<20} {pairs:>5} {wrong:>5}")
    faults = [*unread, *([f"{wrong} rows do not follow from the delivery task."] if wrong else [])]
    if faults:
        raise ValueError("\n".join((*lines, *faults)))
    return "\n".join(lines)


def accept_data(name: str, data: str | None, condition: str | None, source: str, licence: str) -> str:
    """Write a card for a condition without a published hash, so that it is used from now on; returns a sentence.

    Raises:
        ValueError: for another dataset, or a condition that is known by its hash or cannot be read.
        OSError: where the files are missing or the card cannot be written.
    """
    from valuegym.envs.preference import datasets, human_data

    _check_name(name)
    if not condition or condition in datasets.CONDITIONS:
        raise ValueError(f"--condition {condition or ''}: expected the name of one that is not known by its hash.")
    path = human_data.accept(datasets.find(data), condition, source, licence)
    agreement = human_data.read_card(path.parent, condition)["agreement"]
    return f"{path} written: human:{condition} is known by this card from now on. {agreement}"


def fetch_data(name: str, data: str | None) -> str:
    """Download a dataset from its publisher into a folder and check it against its hashes; returns a sentence.

    Raises:
        ValueError: for another dataset, no folder, or files that are not the published ones.
        OSError: where the publisher does not answer or the folder cannot be written.
    """
    from valuegym.envs.preference import datasets

    _check_name(name)
    folder = data or os.environ.get(datasets.VARIABLE)
    if not folder:
        raise ValueError(f"No folder for the data; give --data FOLDER or set the variable {datasets.VARIABLE}.")
    fetched = datasets.fetch(folder)
    return f"{len(fetched)} files fetched into {folder}; their licence is not stated: do not redistribute them."


def import_data(
    path: str,
    kind: str | None,
    output: str | None,
    source: str,
    licence: str,
    environment: str | None = None,
    **options: Any,
) -> str:
    """Write a data set of answered pairs from a file or a folder in another project's format; returns a sentence.

    Raises:
        ValueError: there is no format or no folder, or a file is not as it should be.
        OSError: a file is missing, or the folder cannot be written.
    """
    from valuegym.envs.feedback import data, importers

    if kind is None or not output:
        raise ValueError("To import pairs, say from which format and where to: --from FORMAT --output FOLDER.")
    feedback = importers.read(kind, path, **options)
    said = ", ".join(f"{name.replace('_', ' ')} {Path(str(value)).name}" for name, value in options.items())
    label = importers.FORMATS[kind].label
    about = f"Imported from the format {kind}, whose labels mean: {label}.{said and f' With {said}.'}"
    card = data.write(output, feedback, source=source, licence=licence, environment=environment, about=about)
    labels = feedback.answers.labels
    shares = ", ".join(
        f"{(labels == label).sum()} {word}" for label, word in ((0, "first"), (1, "second"), (0.5, "equal"))
    )
    return f"{card} written: {len(feedback)} pairs of segments of at most {feedback.first.steps} steps; {shares}."


def export_data(folder: str, to: str | None, output: str | None) -> str:
    """Write a data set of answered pairs for another library; returns a sentence.

    Raises:
        ImportError: the library is not installed.
        ValueError: nothing says to what or where, or the data set is not as it should be.
        OSError: a file is missing or cannot be written.
    """
    from valuegym.envs.feedback import data, exports

    if to is None or not output:
        raise ValueError(
            "To export pairs, say to what and where to: --to datasets, minari or text, and --output WHERE."
        )
    feedback, card = data.read(folder)
    if to == "datasets":
        exports.to_datasets(feedback, card).save_to_disk(output)
    elif to == "minari":
        exports.to_minari(feedback, output, card={name: card[name] for name in ("source", "licence", "about")})
    else:
        rows = exports.to_chosen_rejected(feedback)
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        data.write_atomically(Path(output), lines.encode())
        return (
            f"{output} written: {len(rows)} pairs; {len(feedback) - len(rows)} without a preferred side are left out."
        )
    return f"{output} written: {len(feedback)} pairs."


def _check_name(name: str) -> None:
    from valuegym.envs.preference import datasets

    if name != datasets.NAME:
        hint = checks.similar(name, [datasets.NAME])
        raise ValueError(f"There is no dataset {name!r}; expected {datasets.NAME!r}.{hint}")


def _fetch(args: argparse.Namespace) -> None:
    print(fetch_data(args.name, args.data))


def _check(args: argparse.Namespace) -> None:
    print(check_data(args.name, args.data))


def _accept(args: argparse.Namespace) -> None:
    print(accept_data(args.name, args.data, args.condition, args.source, args.licence))


def _import(args: argparse.Namespace) -> None:
    options = {name: getattr(args, name) for name in READER_OPTIONS if getattr(args, name) is not None}
    kept = (args.path, args.kind, args.output, args.source, args.licence, args.environment)
    print(import_data(*kept, **options))


def _export(args: argparse.Namespace) -> None:
    print(export_data(args.folder, args.to, args.output))


def _likelihood(args: argparse.Namespace) -> None:
    from valuegym.leaderboards.likelihood import report

    print(report.run(args.data, args.condition, args.output, args.unverified))
