"""Use the installed wheel as its first user will: outside of the checkout, by its own commands.

Usage: PYTHON -I tools/release_check.py    PYTHON of an environment with the wheel and the extra `site`; TAG=v1.2.3 in
                                           the environment has to name its version
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Each with a file that is there afterwards.
COMMANDS = (
    ("list", ""),
    ("new environment maze", "test_maze.py"),
    ("run --experiment maze.py:TRACK --results mazes", "mazes/own/maze/oracle/seed-0.jsonl"),
    ("verify mazes --plugin maze.py:TRACK", ""),
    ("leaderboard mazes --track off --plugin maze.py:TRACK", "mazes/site/index.html"),
    ("demo --results demo --track off", "demo/site/index.html"),
)


def run(words: list[str], folder: Path) -> str:
    """Run a command in a folder and return what it prints.

    Raises:
        SystemExit: it failed.
    """
    print("+", " ".join(words), flush=True)
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout


def main() -> None:
    """Run all commands in an empty folder.

    Raises:
        SystemExit: one failed, left no file, or the package or its version is not the wheel's.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        code = "import valuegym; print(valuegym.__version__, valuegym.__file__)"
        version, file = run([sys.executable, "-I", "-c", code], folder).split()
        if not Path(file).is_relative_to(sys.prefix) or Path(file).is_relative_to(ROOT / "src"):
            raise SystemExit(f"{file} is not in {sys.prefix}: this is not the installed wheel.")
        tag = os.environ.get("TAG", "")
        if tag and tag != f"v{version}":
            raise SystemExit(f"The tag is {tag!r}, the version {version}; expected 'v{version}'.")
        script = str(Path(sys.executable).with_name("valuegym"))
        for words, left in COMMANDS:
            run([script, *words.split()], folder)
            if left and not (folder / left).is_file():
                raise SystemExit(f"`valuegym {words}` left no {left}.")
    print(f"valuegym {version} works as installed.")


if __name__ == "__main__":
    main()
