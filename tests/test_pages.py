"""The pages docs/own.md and README.md: their blocks are carried out in an empty folder, in their order."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
OWN, README = ROOT / "docs" / "own.md", ROOT / "README.md"
# What the table of each section's last `valuegym leaderboard` or `verify` has to say.
ROWS = {
    "An agent": r"own_agent\.Damped .* 10  replayed\n",
    "A trained model": r"own-sac .* 2  replayed[^$]*Seeds missing: own-sac 8 of 10, sac\.model 9 of 10\.",
    "A track": r"own_agent\.Damped on own/heavy, 3 records\ntier +replayed",
    "An annotator": r"own/strict[^$]*partial_return .* 3  replayed",
    "An environment": r"^4\n",
    "An environment of another suite": r"verified  3 of 3 records[^$]*uniform .* 3  ref\n",
}
BEGINNING = "What you can do with it"  # the section of README


class Block(NamedTuple):
    """A fenced block: its section, its language, the file that it is, "" for commands, and its text."""

    section: str
    language: str
    file: str
    text: str


def blocks(page: Path = OWN) -> list[Block]:
    found = []
    for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        for language, file, text in re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found.append(Block(section.partition("\n")[0], language, file, text))
    return found


def carry_out(page: Path, section: str, command: Callable[[list[str]], tuple[int, str]]) -> str:
    """Write the files of a section and run its commands; those marked as refused have to fail, all others to work.

    Return what the last one printed.
    """
    output = ""
    for block in (block for block in blocks(page) if block.section == section):
        if block.file:
            Path(block.file).write_text(block.text, encoding="utf-8")
            continue
        for line in block.text.splitlines():
            status, output = command(shlex.split(line, comments=True))
            refused = re.search(r"# refused: (.*)", line)
            assert status == int(bool(refused)), f"{line}\n{output}"
            assert not refused or refused[1] in output, output
    return output


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files; commands work in this process, and each forgets what it loaded.

    Sections may be carried out by different workers, so that none relies on what another one left.
    """
    for block in blocks():
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(executors.EXECUTORS, "pool", executors.serial)
    return tmp_path


def test_every_block_has_a_place() -> None:
    found = blocks()
    assert len(found) == OWN.read_text(encoding="utf-8").count("```") / 2
    assert {block.section for block in found} == set(ROWS)
    assert all(block.file or block.language == "sh" for block in found)
    code = [block for block in found if block.file.endswith(".py")]
    assert all(len([line for line in block.text.splitlines() if line.strip()]) < 10 for block in code)
    commands = [line for block in found if not block.file for line in block.text.splitlines()]
    assert all(re.match(r"(valuegym|python) ", line) for line in commands)


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], tuple[int, str]]:
    """Run a command in this process, and return its status and what it printed; what it loaded is forgotten."""

    def run(words: list[str]) -> tuple[int, str]:
        table, loaded = dict(experiments.EXPERIMENTS), list(experiments.loaded())
        try:
            if words[0] == "python":
                runpy.run_path(words[1], run_name="__main__")
                return 0, capsys.readouterr().out
            status = main(words[1:])
            output = capsys.readouterr()
            return status, output.out + (output.err if status else "")
        finally:
            experiments.EXPERIMENTS.clear()
            experiments.EXPERIMENTS.update(table)
            experiments._LOADED[:] = loaded

    return run


@pytest.mark.parametrize("section", ROWS)
def test_the_page_in_this_process(
    section: str,
    here: Path,
    command: Callable[[list[str]], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if section == "A trained model":
        pytest.importorskip("stable_baselines3")
    if section != "An environment of another suite":  # one site is enough here; the slow test writes them all
        monkeypatch.setattr("valuegym.leaderboards.site.pages.write_site", lambda scores, folder, **_: folder)
    output = carry_out(OWN, section, command)
    assert re.search(ROWS[section], output), output


def test_readme_in_this_process(
    here: Path, command: Callable[[list[str]], tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setattr("valuegym.leaderboards.site.pages.write_site", lambda scores, folder, **_: folder)
    output = carry_out(README, BEGINNING, command)
    assert re.search(r"my_agent\.Damped", output), output


@pytest.mark.slow
def test_the_page_with_the_installed_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By commands in processes of their own, from a wheel that is built here and unpacked beside the test."""
    source, target, place = (tmp_path / name for name in ("source", "target", "place"))
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
    for name in ("src", "envs", "agents", "labelling", "leaderboards"):
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    words = [*pip, "--no-build-isolation", "--target", str(target), str(source)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    place.mkdir()
    monkeypatch.chdir(place)
    environment = {**os.environ, "PYTHONPATH": str(target), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(words: list[str]) -> tuple[int, str]:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + (done.stderr if done.returncode else "")

    where = run([sys.executable, "-c", "import valuegym; print(valuegym.__file__, valuegym.envs.__file__)"])[1].split()
    assert all(path.startswith(str(target)) for path in where), where
    for section in ROWS:
        output = carry_out(
            OWN,
            section,
            lambda words: run(
                [sys.executable, *(words[1:] if words[0] == "python" else ["-m", "valuegym.leaderboards", *words[1:]])]
            ),
        )
        assert re.search(ROWS[section], output), output
