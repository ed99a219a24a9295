"""People as annotators: at a console, or later, through files in a folder.

`ConsoleAnnotator` asks at once. `FileAnnotator` writes each pair to a file and goes on; whoever answers writes a file,
too, and the run, or a later one, fetches the answers:

    env = PreferenceFeedback(env, FileAnnotator("queries"), budget=100)     # one process: asks, and learns
    python -m valuegym.envs.feedback.human queries                          # another: answers at a console
    python -m valuegym.envs.feedback.human queries --http 8000              # or serves the pairs to programs (`http`)

A pair's name is the hash of what it holds, every file appears as a whole or not at all, and no answer is ever replaced
or deleted. So whatever is killed at whatever moment, no pair or answer is lost, and no answered pair is shown again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from valuegym.envs import checks
from valuegym.envs.feedback import data
from valuegym.envs.feedback.answers import MAX_STRENGTH, Answers, Feedback, check_labels, join
from valuegym.envs.feedback.segments import Segments

__all__ = ["ConsoleAnnotator", "FileAnnotator", "answer_pending", "describe", "main", "parse_answer"]

PROMPT = "1 first, 2 second, = the same, ? can't tell, q stop; 1+ to 1+++ for slightly to much better: "
_ID = re.compile(r"[0-9a-f]{32}")
_CODES = {"1": 0.0, "2": 1.0, "=": 0.5, "?": np.nan}


def describe(segment: Segments) -> str:
    """Return a segment (N = 1) as text, one line for each step; rewards are not shown."""
    seen = segment.observations if isinstance(segment.observations, dict) else {"": segment.observations}

    def at(t: int) -> str:
        parts = (f"{name} {_short(value[0, t])}".strip() for name, value in seen.items())
        return ", ".join(parts)

    steps = int(segment.lengths[0])
    lines = [f"  {t:>3}: {at(t)}; action {_short(segment.actions[0, t])}" for t in range(steps)]
    return "\n".join([*lines, f"  end: {at(steps)}"])


def _short(value: np.ndarray) -> str:
    return np.array2string(np.asarray(value), precision=3, threshold=20, max_line_width=200, separator=" ")


class ConsoleAnnotator:
    """A person at a text console.

    An empty or unknown line is asked about again. At "q", or at the end of the input, the pairs that are left get no
    answer.

    Args:
        describe: returns a segment (N = 1), without its rewards, as text.
        input: the stream that is read; None is standard input.
        output: the stream that is written; None is standard output.
    """

    def __init__(
        self,
        describe: Callable[[Segments], str] = describe,
        input: TextIO | None = None,
        output: TextIO | None = None,
    ) -> None:
        self.describe, self.input, self.output = describe, input, output
        self.stopped = False  # by "q", or the end of the input

    def __call__(self, first: Segments, second: Segments) -> Answers:
        """Compare N pairs of segments."""
        labels, strength = np.full(len(first), np.nan), np.full(len(first), np.nan)
        self.stopped = False
        for i in range(len(first)):
            found = self._one(first[i].without(), second[i].without(), f"pair {i + 1} of {len(first)}")
            if found is None:
                self.stopped = True
                break
            labels[i], strength[i] = found
        return Answers(labels, strength=strength)

    def _one(self, first: Segments, second: Segments, title: str) -> tuple[float, float] | None:
        """Return label and strength of one pair, None if the person stops."""
        output = self.output or sys.stdout
        output.write(f"\n{title}\nfirst:\n{self.describe(first)}\nsecond:\n{self.describe(second)}\n")
        while True:
            output.write(PROMPT)
            output.flush()
            line = (self.input or sys.stdin).readline()
            word = line.strip()
            sign = word.rstrip("+")
            plus = len(word) - len(sign)
            if not line or word == "q":
                output.write("\n")
                return None
            if sign in _CODES and plus <= (MAX_STRENGTH if sign in "12" else 0):
                return _CODES[sign], float(plus) if plus else np.nan


def parse_answer(record: dict[str, Any]) -> Answers:
    """Return the answer (N = 1) that a JSON object states: `label` and, where known, `strength` and `user`.

    Raises:
        ValueError: a name is unknown, or a value is not as `FileAnnotator` says.
    """
    if "label" not in record or not set(record) <= {"label", "strength", "user"}:
        raise ValueError(f"it has the names {sorted(record)}; expected label, and perhaps strength and user.")
    label, strength, user = (record.get(name) for name in ("label", "strength", "user"))
    if isinstance(label, bool):
        raise ValueError(f"label is {label}; expected 0, 1, 0.5 or null.")
    return Answers(
        check_labels("label", np.nan if label is None else label, 1),
        strength=None if strength is None else np.array([checks.real("strength", strength, 0, MAX_STRENGTH)]),
        user=None if user is None else np.array([checks.integer("user", user, 0)]),
    )


class FileAnnotator:
    """People who answer later: queries and answers are files in a folder.

    `pairs/ID.npz` holds a pair in the format of `data.pack`, without rewards; `answers/ID.json` holds its answer, a
    JSON object with `label` (0 first, 1 second, 0.5 the same, null can't tell) and, where known, `strength` (0 to 3)
    and `user` (an integer). Any program may write answers, by `answer` or by putting a whole file there. All runs that
    share a folder get all its answers.

    Args:
        folder: made where there is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._pairs, self._answers = self.folder / "pairs", self.folder / "answers"
        for part in (self._pairs, self._answers):
            part.mkdir(parents=True, exist_ok=True)
        self._fetched: set[str] = set()

    def submit(self, first: Segments, second: Segments) -> list[str]:
        """Ask about N pairs, and return their ids; a pair that was asked about before is not written again."""
        ids = []
        for i in range(len(first)):
            content = data.pack(first[i].without(), second[i].without())
            name = hashlib.sha256(content).hexdigest()[:32]
            if not self._pair(name).exists():
                data.write_atomically(self._pair(name), content)
            ids.append(name)
        return ids

    def _pair(self, name: str) -> Path:
        return self._pairs / f"{name}.npz"

    def _answer(self, name: str) -> Path:
        return self._answers / f"{name}.json"

    def pending(self) -> list[str]:
        """Return the ids of the pairs that have no answer."""
        answered = {path.stem for path in self._answers.glob("*.json")}
        return sorted(path.stem for path in self._pairs.glob("*.npz") if path.stem not in answered)

    def holds(self, name: str) -> bool:
        """Return whether there is a pair of this id."""
        return _ID.fullmatch(name) is not None and self._pair(name).is_file()

    def pair(self, name: str) -> tuple[Segments, Segments]:
        """Return a pair, N = 1.

        Raises:
            ValueError: there is none of this id, or its file is not as it was written.
        """
        path = self._pair(name)
        if not self.holds(name):
            raise ValueError(f"There is no pair {name!r} in {self._pairs}.")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:32] != name:
            raise ValueError(f"{path} does not hold the pair of its name; remove it, so that it is asked about again.")
        first, second, _ = data.unpack(content)
        return first, second

    def answer(self, name: str, label: float, strength: float | None = None, user: int | None = None) -> None:
        """Store the answer to a pair; NaN is "can't tell".

        Raises:
            ValueError: there is no such pair, it has an answer, or the answer is invalid.
        """
        self.pair(name)
        check_labels("label", label, 1)
        record = {"label": None if np.isnan(label) else float(label), "strength": strength, "user": user}
        if not self.put(name, parse_answer(record)):
            raise ValueError(f"The pair {name} has an answer already, in {self._answer(name)}.")

    def put(self, name: str, answer: Answers) -> bool:
        """Store the answer (N = 1) to a pair that is there; return False where it has one, which stays.

        When it returns, the answer is on the disk.
        """
        label, strength, user = answer.labels[0], answer.strength[0], answer.user[0]
        record = {"label": None if np.isnan(label) else float(label)}
        if not np.isnan(strength):
            record["strength"] = float(strength)
        if user >= 0:
            record["user"] = int(user)
        return data.write_atomically(self._answer(name), json.dumps(record).encode(), keep=True)

    def answered(self, name: str) -> Answers:
        """Return the answer (N = 1) to a pair.

        Raises:
            FileNotFoundError: it has none.
            ValueError: its file holds no answer; the message names it.
        """
        return self._read(self._answer(name))

    def count_answered(self) -> int:
        """Return how many pairs have an answer."""
        return sum(1 for _ in self._answers.glob("*.json"))

    def collect(self) -> Feedback | None:
        """Return the answered pairs that this object has not returned yet; a new object returns all again.

        Raises:
            ValueError: a file of an answer, or of its pair, is invalid; the message names it.
        """
        found = []
        for path in sorted(self._answers.glob("*.json")):
            if path.stem not in self._fetched:
                found.append((path.stem, Feedback(*self.pair(path.stem), self._read(path))))
        self._fetched.update(name for name, _ in found)
        return join([part for _, part in found]) if found else None

    @staticmethod
    def _read(path: Path) -> Answers:
        """Return the answer in a file, N = 1."""
        try:
            return parse_answer(data.parse_json(path.read_bytes()))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def answer_pending(files: FileAnnotator, console: ConsoleAnnotator, user: int | None = None) -> int:
    """Let a person at a console answer the pairs of a folder that have no answer; return how many they answered.

    Each answer is stored before the next pair is shown.
    """
    count = 0
    for name in files.pending():
        answers = console(*files.pair(name))
        if console.stopped:
            break
        strength = answers.strength[0]
        with contextlib.suppress(ValueError):  # somebody else was faster
            files.answer(name, answers.labels[0], None if np.isnan(strength) else float(strength), user)
            count += 1
    return count


def main(arguments: list[str] | None = None) -> int:
    """Answer the queries in a folder at the console, or serve them on this machine."""
    parser = argparse.ArgumentParser(
        prog="python -m valuegym.envs.feedback.human",
        description=main.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""examples:
  python -m valuegym.envs.feedback.human queries
  python -m valuegym.envs.feedback.human queries --user 3
  python -m valuegym.envs.feedback.human queries --http 8000

With --http the pairs are JSON at http://127.0.0.1:PORT/next, and answers go to /answer; the
commands that fetch and answer a pair are printed. Ctrl-C ends it, and every answer is kept.""",
    )
    parser.add_argument("folder", help="folder of a FileAnnotator")
    parser.add_argument("--user", type=int, metavar="N", help="number of the person who answers")
    parser.add_argument(
        "--http",
        type=int,
        metavar="PORT",
        help="serve the pairs on this machine alone; port 0 is any free one",
    )
    options = parser.parse_args(arguments)
    if not Path(options.folder, "pairs").is_dir():
        parser.error(f"there are no queries in {options.folder}; expected the folder of a FileAnnotator")
    files = FileAnnotator(options.folder)
    if options.http is None:
        count = answer_pending(files, ConsoleAnnotator(), options.user)
        print(f"{count} answered, {len(files.pending())} to go.")
        return 0
    from valuegym.envs.feedback.http import AnswerServer

    try:
        server = AnswerServer(files, options.http, user=options.user)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    header = f"-H 'Authorization: Bearer {server.token}'"
    print(
        f"{len(files.pending())} pairs wait at {server.url}; Ctrl-C ends this, and answers stay in {files.folder}.\n"
        f"  curl {header} {server.url}/next\n"
        f'  curl {header} -H \'Content-Type: application/json\' -d \'{{"id": "ID", "label": 1}}\' {server.url}/answer',
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(server):
        server.serve()
    print(f"\n{files.count_answered()} answered, {len(files.pending())} to go.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
