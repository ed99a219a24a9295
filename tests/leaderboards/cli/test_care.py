"""Small things that a person meets every day at the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from valuegym.envs import checks, extras
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli import doctor
from valuegym.leaderboards.cli.main import main, parser
from valuegym.leaderboards.cli.parsing import HEADINGS, subparsers
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings import export
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.standings.text import render_text

COMMAND = (sys.executable, "-m", "valuegym.leaderboards")
LQR = "control/lqr"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    run("oracle", LQR, 0, folder)
    return folder


# --- what was meant ---


@pytest.mark.parametrize(
    ("words", "proposal"),
    [
        (["lst"], "Did you mean list"),
        (["board", "shw"], "Did you mean show"),
        (["data", "accxept", "human-delivery"], "Did you mean accept"),
        (["score", "--formt", "csv"], "Did you mean --format"),
        (["run", "--all", "--executor", "pol"], "Did you mean pool"),
    ],
)
def test_what_was_meant_is_proposed(words: list[str], proposal: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2 and proposal in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "proposal"),
    [
        (["run", "--agent", "regrets", "--experiment", LQR], "Did you mean regret"),
        (["run", "--agent", "oracle", "--experiment", "control/lqrs"], "Did you mean control/lqr"),
        (["render", "Pendulm", "--agent", "oracle", "--out", "a.gif"], "Did you mean Pendulum"),
        (["data", "check", "human-delivry"], "Did you mean human-delivery"),
        (["render", "Follow", "--agent", "kalman", "--set", "drft=3", "--out", "a.gif"], "Did you mean drift"),
    ],
)
def test_names_are_proposed(
    words: list[str], proposal: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2 and proposal in capsys.readouterr().err


def test_a_proposal_is_near_or_there_is_none() -> None:
    assert checks.similar("Regret", ["regret", "oracle"]) == " Did you mean regret?"
    assert checks.similar("zzz", ["regret"]) == checks.similar(3, ["regret"]) == checks.similar("x" * 99, ["x"]) == ""
    with pytest.raises(ValueError, match=r"split is 'tst'; expected one of 'a', 'test'. Did you mean test\?"):
        checks.choice("split", "tst", ("a", "test"))


# --- help ---


def test_valuegym_alone_lists_its_commands_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    output = capsys.readouterr().out
    assert "options:" not in output and "usage" not in output
    for heading, names in HEADINGS:
        there = [name for name in names if name in subparsers(parser())]
        block = output.partition(f"\n  {heading}\n")[2]
        assert [line.split()[0] for line in block.splitlines() if line[:5].strip()][: len(there)] == there
    assert "  more\n" not in output, "every command has a group"


def test_actions_of_data_have_their_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    for action, there, elsewhere in (("import", "--trajectories", "--to "), ("export", "--to ", "--from")):
        with pytest.raises(SystemExit):
            main(["data", action, "--help"])
        output = capsys.readouterr().out
        assert there in output and elsewhere not in output


# --- terminals ---


def test_tables_fit_sixty_columns(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for words in (["list"], ["score", str(results)]):
        assert main(words) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_wide_boards_fit_sixty_columns() -> None:
    import numpy as np

    name, points = "preference/boards-regret", experiments.EVALUATION_POINTS
    values = np.random.default_rng(0).uniform(-1, 1, (3, 5, len(points)))
    scores = [Score(agent, name, points, values, (0, 1, 2)) for agent in ("regret", "a_very_long_name_of_an_agent")]
    for width in (60, 80):
        assert max(map(len, render_text(scores, width).splitlines())) <= width
    assert "left out" in render_text(scores, 60) and "left out" not in render_text(scores)


def test_ascii_terminals_get_likenesses(results: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    found = subprocess.run([*COMMAND, "score", str(results)], capture_output=True, env=environment, check=True)
    assert found.stdout.isascii() and b"-----" in found.stdout and found.stderr == b""


def test_quiet_keeps_back_notes_and_progress(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["run", "--agent", "oracle", "--experiment", LQR, "--seed", "0", "--executor", "serial"]
    for place in (["--quiet", *words], [*words, "--quiet"]):
        assert main([*place, "--results", str(tmp_path)]) == 0
        output, errors = capfd.readouterr()
        assert errors == "" and output.endswith("seed-0.jsonl\n")
    assert main(["--quiet", "run", "--agent", "oracles", "--experiment", LQR]) == 2
    assert "no agent" in capfd.readouterr().err, "errors are no notes"


# --- formats ---


def test_standings_come_in_other_formats(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, str] = {}
    for format in export.FORMATS:
        assert main(["score", str(results), "--format", format]) == 0
        found[format], errors = capsys.readouterr()
        assert errors.startswith("Not verified")
    [row] = csv.DictReader(io.StringIO(found["csv"]))
    [same] = json.loads(found["json"])
    assert tuple(row) == tuple(same) == export.COLUMNS
    assert (same["track"], same["agent"], same["score"]) == (LQR, "oracle", pytest.approx(1))
    assert float(row["score"]) == same["score"]
    assert (same["rank"], row["rank"]) == (None, "") and (same["seeds"], same["episodes"]) == (1, 20)
    assert found["latex"].count("\\begin{tabular}") == 1 and "oracle & 1.00" in found["latex"]


def test_leaderboard_prints_the_format_alone(
    results: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valuegym.leaderboards.site.pages", None)  # the site takes seconds

    def serial(function: Any, items: Sequence[Any], *_: Any) -> list[Any]:
        return [result for _, result in executors.serial(function, items, 1)]

    monkeypatch.setattr(executors, "parallel_map", serial)
    assert main(["leaderboard", str(results), "--track", "off", "--workers", "1", "--format", "json"]) == 0
    output, errors = capsys.readouterr()
    assert json.loads(output)[0]["tier"] == "replayed" and "verified  1 of 1" in errors


def test_tex_reads_as_the_text() -> None:
    assert export._tex("a_b & 50% {x}") == "a\\_b \\& 50\\% \\{x\\}"


class Table(list):
    """What is asked of pandas."""

    def __init__(self, rows: list[dict[str, Any]], columns: list[str]) -> None:
        super().__init__(rows)
        self.columns = columns


def test_standings_become_a_data_frame(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="A DataFrame needs pandas: pip install pandas"):
        export.load_frame(results)
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=Table))  # type: ignore[arg-type]
    tables = [export.load_frame(results)]
    for format in ("csv", "json"):
        main(["score", str(results), "--format", format])
        (tmp_path / f"board.{format}").write_text(capsys.readouterr().out, encoding="utf-8")
        tables.append(export.load_frame(tmp_path / f"board.{format}"))
    assert tables[0] == tables[1] == tables[2] and tables[0].columns == list(export.COLUMNS)
    assert tables[0][0]["seeds"] == 1 and tables[0][0]["rank"] is None


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.csv", "track,agent\nx,y\n", "no table of standings; expected the columns track, agent"),
        ("a.json", "{}", "no table of standings"),
        ("a.json", "[", "Expecting value"),
        ("a.txt", "", "expected one of '.csv', '.json'"),
        ("a.csv", ",".join(export.COLUMNS) + "\n" + "x," * (len(export.COLUMNS) - 1) + "x\n", "could not convert"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, name: str, text: str, fault: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=fault):
        export.load_frame(tmp_path / name)


# --- this machine ---


def test_doctor_says_what_is_there_and_how_to_get_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret-of-somebody")
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    monkeypatch.setattr("valuegym.leaderboards.board.sandbox.missing", lambda: "A sandbox needs root.")
    assert main(["doctor"]) == 0
    output = capsys.readouterr().out
    for word in ("valuegym", "python", "gymnasium", "agents", "play", "sandbox     none: A sandbox needs root", "keys"):
        assert word in output
    assert "secret" not in output and "wandb       logged in" in output and "set VALUEGYM_DATA" in output
    assert "is not a folder" in doctor.report(str(tmp_path / "nowhere"))
    assert "0 conditions" in doctor.report(str(tmp_path))
    for extra in extras.names():
        lacking = [line for line in output.splitlines() if line.startswith(f"{extra} ") and "lacks" in line]
        assert not lacking or extras.hint(extra) in output


def test_completion_knows_the_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "shtab", None)
        assert main(["completion", "bash"]) == 2
        assert f"Completion needs shtab: {extras.hint('completion')}" in capsys.readouterr().err
    pytest.importorskip("shtab", reason="shtab is not installed: extra completion")
    for shell in ("bash", "zsh", "tcsh"):
        assert main(["completion", shell]) == 0
        output = capsys.readouterr().out
        assert all(name in output for name in ("leaderboard", "doctor", "executor"))
