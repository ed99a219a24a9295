"""The command line: every command, and one clear line for everything that goes wrong."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym import __version__, envs
from valuegym.agents import AGENTS, AgentEntry
from valuegym.envs import extras
from valuegym.envs.feedback import data, importers
from valuegym.envs.preference import annotators, datasets, delivery, human_data
from valuegym.envs.preference.reward_inference import RewardInference
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli import data as cli_data
from valuegym.leaderboards.cli import demo, leaderboard, play, records
from valuegym.leaderboards.cli.main import main, parser
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import path_of, read_record
from valuegym.leaderboards.run import Job, run

TINY = Experiment(
    id="test/tiny",
    about="A small one.",
    env_id="valuegym/RewardInference-v0",
    arguments='{"annotator": "regret-noiseless", "evaluation_points": [0, 3], "split": "dev"}',
    agents=("uniform", "partial_return", "oracle"),
    timesteps=0,
    episodes=3,
    seeds=(0, 1),
    score="evaluation_points",
)
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def small_experiment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(experiments.EXPERIMENTS, TINY.id, TINY)
    monkeypatch.setenv("COLUMNS", "110")  # whatever the terminal is
    monkeypatch.delenv(datasets.VARIABLE, raising=False)


@pytest.fixture
def valuegym(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in an empty folder, all work in this process: status, output, errors without progress bars."""

    def serial(function: Any, items: Sequence[Any], workers: int, label: str, executor: str = "pool") -> list[Any]:
        return [result for _, result in executors.serial(function, items, 1)]

    monkeypatch.setattr(executors, "parallel_map", serial)
    monkeypatch.chdir(tmp_path)

    def command(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return command


def failed(result: tuple[int, str, str], expected: int = 2) -> str:
    """The one line with which a command failed."""
    status, output, errors = result
    assert status == expected and output == ""
    [line] = errors.splitlines()
    assert line.startswith("valuegym: ") and line.isprintable() and len(line) < 2000
    return line


def forge(path: Path, edit: Callable[[list[Any]], Any]) -> None:
    """Edit a record in place and recompute its sum."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    edit(lines)
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    last = lines[-1] | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    path.write_text(body + json.dumps(last) + "\n", encoding="utf-8")


def raise_scores(lines: list[Any]) -> None:
    lines[-1]["scores"] = [[1.0] * len(row) for row in lines[-1]["scores"]]


# --- what there is ---


def test_list_shows_everything_there_is(valuegym: Command) -> None:
    status, output, errors = valuegym("list")
    assert (status, errors) == (0, "")
    lines = output.splitlines()
    for name in (*envs.ENVS, *AGENTS, *experiments.EXPERIMENTS):
        [line] = [line for line in lines if line.split()[:1] == [name]]
        assert len(line.split()) > 1, "each comes with a word about it"
    assert any("open book" in line for line in lines if "published-regret" in line)
    assert all(datasets.NAME in line for line in lines if "/human-" in line)


def commands_of(top: argparse.ArgumentParser) -> Iterator[tuple[str, ...]]:
    """Every command and every action of one, as the words that call it."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield (name,)
                yield from ((name, *rest) for rest in commands_of(sub))


COMMANDS = sorted(commands_of(parser()))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_teaches_by_an_example_that_parses(capsys: pytest.CaptureFixture[str], words: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    output, errors = capsys.readouterr()
    assert (stop.value.code, errors) == (0, "")
    assert output.startswith(f"usage: valuegym {' '.join(words)}")
    examples = re.findall(r"^  (valuegym .*)$", output.partition("\nexample")[2], re.M)
    assert examples
    for example in examples:
        assert parser().parse_args(shlex.split(example)[1:]).function
        assert example.startswith(f"valuegym {' '.join(words)}")


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    output, errors = capsys.readouterr()
    assert (stop.value.code, errors) == (0, "")
    assert output.startswith("usage: valuegym")
    assert all(re.search(rf"^    {words[0]}\b", output, re.M) for words in COMMANDS)
    assert len({words[0] for words in COMMANDS}) == 23


def test_a_start_loads_no_optional_package() -> None:
    """What `valuegym --help` and `valuegym list` import: the extras wait for the commands that need them."""
    code = (
        "import sys\nfrom valuegym.leaderboards.cli.main import main\nmain(['list'])\n"
        "extras = {'torch', 'wandb', 'matplotlib', 'PIL', 'jinja2', 'stable_baselines3', 'ray', 'optuna', 'scipy'}\n"
        "print(*sorted(extras & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == ""


def test_the_version_is_the_packages(valuegym: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        valuegym("--version")
    assert stop.value.code == 0 and capsys.readouterr().out == f"valuegym {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fly"],
        ["run"],
        ["run", "--experiment", "test/tiny", "--seed", "x"],
        ["run", "--experiment", "test/tiny", "--workers", "0"],
        ["verify", "--workers", "many"],
        ["leaderboard", "--track", "maybe"],
        ["data", "eat", "human-delivery"],
        ["list", "more"],
    ],
)
def test_commands_that_are_none_are_explained(
    valuegym: Command, capsys: pytest.CaptureFixture[str], arguments: Any
) -> None:
    with pytest.raises(SystemExit) as stop:
        valuegym(*arguments)
    output, errors = capsys.readouterr()
    assert stop.value.code == 2 and output == ""
    assert re.search(r"^valuegym.*: error: ", errors, re.M)


def test_the_module_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "valuegym.leaderboards"]
    found = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("usage: valuegym")
    found = subprocess.run([*command, "verify", "nowhere"], capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, "")
    assert re.fullmatch(r"valuegym: There are no records in nowhere.*\n", found.stderr)
    assert list(tmp_path.iterdir()) == []


# --- run, score, verify ---


def test_run_writes_what_was_asked_for_and_says_where(valuegym: Command, tmp_path: Path) -> None:
    status, output, errors = valuegym("run", "--experiment", "test/tiny", "--results", "out")
    paths = [path_of(Path("out"), agent, "test/tiny", seed) for agent in TINY.agents for seed in TINY.seeds]
    assert (status, errors, output.splitlines()) == (0, "", [str(path) for path in paths])
    found = sorted(path for path in Path("out").rglob("*") if path.is_file())
    assert found == sorted([*paths, Path("out", "costs.txt")])
    stamps = [path.stat().st_mtime_ns for path in paths]
    again = valuegym("run", "--experiment", "test/tiny", "--results", "out", "--agent", "oracle", "--agent", "uniform")
    assert again[0] == 0
    assert again[1].splitlines() == [str(path) for path in (*paths[4:], *paths[:2])]
    assert [path.stat().st_mtime_ns for path in paths] == stamps


def test_results_go_to_the_folder_results(valuegym: Command) -> None:
    assert valuegym("run", "--experiment", "test/tiny", "--agent", "oracle", "--seed", 1)[0] == 0
    assert [path for path in Path().rglob("*.jsonl")] == [Path("results/test/tiny/oracle/seed-1.jsonl")]
    for command in ("score", "verify"):
        assert valuegym(command)[0] == 0


def test_score_shows_claims_and_verify_tests_them(valuegym: Command, tmp_path: Path) -> None:
    valuegym("run", "--experiment", "test/tiny")
    status, output, errors = valuegym("score")
    assert (status, errors) == (0, "")
    assert "test/tiny" in output and "partial_return" in output and "claimed" in output
    status, output, errors = valuegym("verify")
    assert (status, output, errors) == (0, "verified  6 of 6 records\n", "")
    liar = path_of(Path("results"), "partial_return", "test/tiny", 1)
    forge(liar, raise_scores)
    assert valuegym("score")[0] == 0  # a claim is a claim
    status, output, errors = valuegym("verify")
    assert (status, errors) == (1, "")
    assert output.splitlines() == [
        f"rejected  {liar}: the scores are not those that the actions earn.",
        "verified  5 of 6 records, 1 rejected",
    ]
    assert valuegym("verify", liar)[0] == 1
    assert valuegym("verify", liar.with_name("seed-0.jsonl"))[0] == 0


def test_records_of_other_sources_are_noted(valuegym: Command) -> None:
    valuegym("run", "--experiment", "test/tiny", "--agent", "oracle")
    forge(Path("results/test/tiny/oracle/seed-0.jsonl"), lambda lines: lines[0]["provenance"].update(source="other"))
    status, output, _ = valuegym("verify")
    assert status == 0 and output.splitlines()[-1] == "verified  2 of 2 records"
    assert output.startswith("note      1 record")


def test_runs_and_checks_are_spread_over_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "valuegym.leaderboards"]
    arguments = ["--agent", "uniform", "--experiment", "preference/delivery", "--seed", "0", "--seed", "1"]
    found = subprocess.run(
        [*command, "run", *arguments, "--workers", "2"], capture_output=True, text=True, cwd=tmp_path
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [f"results/preference/delivery/uniform/seed-{seed}.jsonl" for seed in (0, 1)]
    found = subprocess.run([*command, "verify", "--workers", "2"], capture_output=True, text=True, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, "verified  2 of 2 records\n")


# --- leaderboard ---


def test_leaderboard_prints_tables_and_writes_the_page(valuegym: Command, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    valuegym("run", "--experiment", "test/tiny")
    valuegym("run", "--experiment", "preference/delivery", "--agent", "uniform", "--seed", 0)
    forge(Path("results/test/tiny/partial_return/seed-0.jsonl"), raise_scores)
    status, output, errors = valuegym("leaderboard", "--track", "off")
    assert (status, errors) == (0, "")
    assert "rejected  results/test/tiny/partial_return/seed-0.jsonl" in output and "1 rejected" in output
    assert "test/tiny" in output and "preference/delivery" in output and "1 of 2 seeds missing" in output
    assert "wandb" not in output
    site = tmp_path / "results" / "site"
    assert str(site / "index.html") in output
    assert "1 of 2 seeds missing" in (site / "boards" / "test-tiny.html").read_text(encoding="utf-8")
    boards = {path.name for path in (site / "boards").glob("*.html")}
    assert boards == {"test-tiny.html", "preference-delivery.html"}
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"site", "test", "preference", "costs.txt"}


def test_a_board_without_plots_says_what_to_install(valuegym: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valuegym.leaderboards.site.pages", None)
    valuegym("run", "--experiment", "test/tiny", "--agent", "oracle")
    status, output, _ = valuegym("leaderboard", "--track", "off")
    assert status == 0 and extras.hint("site") in output


def test_a_board_of_lies_is_none(valuegym: Command) -> None:
    valuegym("run", "--experiment", "test/tiny", "--agent", "uniform")
    for seed in TINY.seeds:
        forge(path_of(Path("results"), "uniform", "test/tiny", seed), raise_scores)
    status, output, errors = valuegym("leaderboard", "--track", "off")
    assert status == 2 and errors.startswith("valuegym: No record in results was found true")
    reasons = [line for line in output.splitlines() if line.startswith("rejected")]
    assert len(reasons) == 2 and all("the scores are not those that the actions earn." in line for line in reasons)
    assert not Path("results/site").exists()


@pytest.mark.parametrize(
    ("asked", "variable", "mode"),
    [(None, None, "offline"), (None, "online", "online"), (None, "disabled", "off"), ("offline", "online", "offline")],
)
def test_tracking_is_offline_unless_asked(
    valuegym: Command, monkeypatch: pytest.MonkeyPatch, asked: str | None, variable: str | None, mode: str
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        leaderboard, "log_records", lambda verdicts, scores, results, mode: seen.append(mode) or ["tracked"]
    )
    monkeypatch.setitem(sys.modules, "valuegym.leaderboards.site.pages", None)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    valuegym("run", "--experiment", "test/tiny", "--agent", "uniform", "--seed", 0)
    status, output, _ = valuegym("leaderboard", *(["--track", asked] if asked else []))
    assert status == 0
    assert (seen, output.splitlines()[-1] == "tracked") == (([], False) if mode == "off" else ([mode], True))


def test_the_demo_goes_from_start_to_page(valuegym: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "EXPERIMENTS", ("test/tiny",))
    monkeypatch.setattr(demo, "AGENTS", TINY.agents)
    status, output, errors = valuegym("demo", "--results", "shown", "--track", "off")
    assert (status, errors) == (0, "")
    assert "verified  6 of 6 records" in output and "partial_return" in output
    assert Path("shown/site/index.html").is_file()


# --- data ---


def test_data_check_reproduces_what_was_published(
    valuegym: Command, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, output, errors = valuegym("data", "check", "human-delivery", "--data", data_folder)
    assert (status, errors) == (0, "")
    rows = [line.split() for line in output.splitlines()]
    assert rows[0][:3] == ["condition", "pairs", "wrong"] and rows[-1] == ["all", "8169", "0"]
    assert [row[0] for row in rows[1:-1]] == list(datasets.CONDITIONS) and all(row[2] == "0" for row in rows[1:])
    monkeypatch.setenv(datasets.VARIABLE, str(data_folder))
    assert valuegym("data", "check", "human-delivery") == (0, output, "")


def test_conditions_that_nobody_knows_are_accepted_by_name(
    valuegym: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files named as published ones: refused, read unverified, given a card, and then scored like any other."""
    pytest.importorskip("matplotlib")
    from valuegym.leaderboards.likelihood import model

    for table in ("ROWS", "ABLATIONS"):
        few = (
            {name: model.ROWS[name] for name in ("three free weights", "subjective utility")} if table == "ROWS" else ()
        )
        monkeypatch.setattr(model, table, few)
    core = RewardInference(annotator="regret", board="published", evaluation_points=(80,))
    task, _ = core.initial(np.zeros(1, np.uint64))
    pairs, said = core.query(type(task)(*(np.repeat(field, 80, 0) for field in task)), np.arange(1, 81))
    moves = np.where(pairs.mask[..., None], delivery.MOVES[pairs.actions], 0)
    starts = np.stack(np.divmod(pairs.states[..., :1], 10), -1)
    arrays = (np.concatenate([starts, moves], 2), annotators.labels(said), human_data.statistics(pairs))
    for name, array in zip(human_data.file_names("Some-Trained"), arrays, strict=True):
        np.save(tmp_path / name, array)
    score = ("likelihood", "--data", tmp_path, "--output", tmp_path / "page")
    assert "none of the published ones that are known by hash" in failed(
        valuegym(*score, "--condition", "Some-Trained")
    )
    assert "holds none of the conditions" in failed(valuegym(*score))
    status, output, errors = valuegym("data", "check", "human-delivery", "--data", tmp_path)
    assert (status, errors) == (0, "") and "nothing yet" in output
    status, page, errors = valuegym(*score, "--unverified")
    assert (status, errors) == (0, "") and "## Some-Trained" in page and "subjective utility" in page
    accept = ("data", "accept", "human-delivery", "--data", tmp_path, "--source", "a test")
    assert "expected the name of one" in failed(valuegym(*accept, "--condition", "Pr-Question"))
    status, output, errors = valuegym(*accept, "--condition", "Some-Trained")
    assert (status, errors) == (0, "") and "human:Some-Trained" in output
    assert "its card" in valuegym("data", "check", "human-delivery", "--data", tmp_path)[1]
    assert valuegym(*score) == valuegym(*score, "--condition", "Some-Trained") == (0, page, "")


def test_data_that_is_missing_or_unknown_is_one_line(valuegym: Command, tmp_path: Path) -> None:
    assert "There is no dataset 'mnist'; expected 'human-delivery'" in failed(valuegym("data", "check", "mnist"))
    assert "pass data=FOLDER or set VALUEGYM_DATA" in failed(valuegym("data", "check", "human-delivery"))
    (tmp_path / "empty").mkdir()
    assert "empty holds none of" in failed(valuegym("data", "check", "human-delivery", "--data", "empty"))
    assert "nowhere is not a folder" in failed(valuegym("data", "check", "human-delivery", "--data", "nowhere"))
    for name in datasets.file_names("Regret-Question"):
        (tmp_path / "empty" / name).write_bytes(b"\x80\x04K*.")
    for name in datasets.file_names("Pr-Question"):
        (tmp_path / "empty" / name).write_bytes(b"")
    status, output, errors = valuegym("data", "check", "human-delivery", "--data", "empty")
    assert (status, output) == (2, "") and errors.count("is not the published file") == 6  # all of them
    assert all(name in errors for c in ("Regret-Question", "Pr-Question") for name in datasets.file_names(c))
    human = ["run", "--experiment", "preference/human-regret-question", "--agent", "uniform", "--seed", "0"]
    assert "pass data=FOLDER or set VALUEGYM_DATA" in failed(valuegym(*human), 1)
    assert "is not the published file" in failed(valuegym(*human, "--data", "empty"), 1)
    assert not Path("results").exists()


# --- what goes wrong ---


def test_unknown_names_are_one_line_and_leave_nothing(valuegym: Command, tmp_path: Path) -> None:
    wrong = failed(valuegym("run", "--experiment", "test/tiny", "--experiment", "preference/nothing"))
    assert "There is no experiment 'preference/nothing' here; `valuegym list` shows" in wrong
    wrong = failed(valuegym("run", "--experiment", "test/tiny", "--agent", "oracle", "--agent", "nobody"))
    assert "There is no agent 'nobody'; expected a name of `valuegym list`" in wrong
    for seed in ("-1", "99"):
        wrong = failed(valuegym("run", "--experiment", "test/tiny", "--agent", "oracle", "--seed", seed))
        assert f"seed is {seed}; expected one of the experiment's, for test/tiny 0" in wrong
    assert list(tmp_path.iterdir()) == []


def test_an_agent_on_the_wrong_track_is_one_line(valuegym: Command) -> None:
    wrong = failed(valuegym("run", "--experiment", "preference/delivery", "--agent", "regret"))
    assert "plays in valuegym/RewardInference-v0 only" in wrong
    assert not Path("results").exists()


@pytest.mark.skipif(importlib.util.find_spec("stable_baselines3") is None, reason="needs valuegym[agents]")
def test_a_missing_extra_is_one_line(valuegym: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.delitem(sys.modules, "valuegym.agents.ppo", raising=False)
    wrong = failed(valuegym("run", "--experiment", "preference/delivery", "--agent", "ppo", "--seed", 0), 1)
    assert extras.hint("agents") in wrong
    assert not Path("results").exists()


@pytest.mark.parametrize("place", ["results", "results/test", "results/test/tiny/oracle"])
def test_a_folder_that_cannot_be_written_is_one_line(valuegym: Command, place: str) -> None:
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    Path(place).write_text("in the way", encoding="utf-8")
    assert "results" in failed(valuegym("run", "--experiment", "test/tiny", "--agent", "oracle", "--seed", 0), 1)
    assert [path for path in Path().rglob("*") if path.is_file()] == [Path(place)]


def test_a_page_that_cannot_be_written_is_one_line(valuegym: Command) -> None:
    pytest.importorskip("matplotlib")
    valuegym("run", "--experiment", "test/tiny", "--agent", "oracle")
    Path("results/site").write_text("in the way", encoding="utf-8")
    status, output, errors = valuegym("leaderboard", "--track", "off")
    assert (status, output) == (2, "verified  2 of 2 records\n")
    assert errors.startswith("valuegym: ") and "site" in errors and len(errors.splitlines()) == 1
    assert Path("results/site").read_text(encoding="utf-8") == "in the way"


@pytest.mark.parametrize("command", ["score", "verify", "leaderboard"])
def test_a_folder_without_records_is_one_line(valuegym: Command, command: str) -> None:
    Path("empty").mkdir()
    for folder in ("empty", "nowhere"):
        assert f"There are no records in {folder}; `valuegym run` writes them." in failed(valuegym(command, folder))


@pytest.mark.parametrize(
    "content",
    [b"", b"\x80\x04K*.", b"{}\n" * 3, b"[" * 100_000 + b"\n" * 3, b'{"actions": NaN}\n' * 3, b"\xff\xfe" * 100],
    ids=["empty", "pickle", "fields", "deep", "nan", "binary"],
)
def test_damaged_records_are_named(valuegym: Command, content: bytes) -> None:
    path = Path("results/test/tiny/oracle/seed-0.jsonl")
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    status, output, errors = valuegym("verify")
    assert (status, errors) == (1, "")
    assert output.startswith(f"rejected  {path}: ") and output.endswith("verified  0 of 1 records, 1 rejected\n")
    assert len(output.splitlines()) == 2
    assert str(path) in failed(valuegym("score"))


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines[0].update(experiment="test/unknown"),
        lambda lines: lines[0].update(seed=99),
        lambda lines: lines[-1]["scores"][0].append(1.0),
        lambda lines: lines[-1]["scores"][0].pop(),
        lambda lines: lines[-1].update(scores=[[1.0] * 9] * 3),
        lambda lines: lines[-1].update(scores=[[10**400] * 2] * 3),
        lambda lines: (lines.pop(1), lines[-1]["scores"].pop()),
    ],
)
def test_scores_of_forged_records_are_a_table_or_one_line(valuegym: Command, edit: Callable[[list[Any]], Any]) -> None:
    valuegym("run", "--experiment", "test/tiny", "--agent", "uniform")
    forge(Path("results/test/tiny/uniform/seed-0.jsonl"), edit)
    status, output, errors = result = valuegym("score")
    if status:
        failed(result)
    else:
        assert "test/tiny" in output and errors == ""


def test_an_interruption_says_how_to_go_on(valuegym: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(width: int) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(play, "list_all", interrupt)
    status, output, errors = valuegym("list")
    assert (status, output) == (130, "")
    assert errors == "valuegym: interrupted; what is finished is kept, the same command goes on from here.\n"


def test_an_interrupted_run_says_how_many_are_finished(valuegym: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(job: Job) -> Path:
        if job.seed == 1:
            raise KeyboardInterrupt
        return run(*job)

    monkeypatch.setattr(sys.modules["valuegym.leaderboards.run"], "_work", interrupted)
    status, output, errors = valuegym("run", "--experiment", "test/tiny", "--agent", "oracle")
    assert (status, output) == (130, "")
    assert errors == ("valuegym: interrupted; 1 of 2 runs are finished and kept, the same command goes on from here.\n")


def test_runs_that_fail_are_listed_and_the_others_finish(valuegym: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(AGENTS, "broken", AgentEntry(f"{__name__}:Broken", "", ""))
    arguments = ("run", "--experiment", "test/tiny", "--agent", "broken", "--agent", "uniform")
    status, output, errors = valuegym(*arguments)
    assert (status, output) == (1, "")
    first, *lines = errors.splitlines()
    assert first == "valuegym: 2 of 4 jobs failed. The other 2 are finished and kept."
    assert [line.partition(" (")[0] for line in lines] == [
        f"  broken on test/tiny, seed {seed} failed: ZeroDivisionError: of seed {seed}" for seed in (0, 1)
    ]
    assert all("(test_cli.py, line " in line for line in lines)
    assert sorted(Path("results").rglob("*.jsonl")) == [
        path_of(Path("results"), "uniform", "test/tiny", seed) for seed in (0, 1)
    ]


class Broken:
    """An agent that fails in its first step."""

    def __init__(self, env: Any, seed: int) -> None:
        self.seed = seed

    def predict(self, *arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError(f"of seed {self.seed}")


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process")
def test_a_worker_that_dies_is_one_line(tmp_path: Path) -> None:
    """As when the memory runs out and the system ends it."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, sys\n"
        "from valuegym.agents import AGENTS, AgentEntry\n"
        "from valuegym.leaderboards import executors\n"
        "from valuegym.leaderboards.cli.main import main\n"
        "executors.RETRIES = 0\n"  # test_executors.py counts them
        "AGENTS['dying'] = AgentEntry('dying:Dying', '', '')\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(main(['run', '--agent', 'dying', '--experiment', 'preference/delivery', '--seed', '0']))\n",
        encoding="utf-8",
    )
    (tmp_path / "dying.py").write_text(
        "import os, signal\n\n\ndef Dying(env, seed):\n    os.kill(os.getpid(), signal.SIGKILL)\n", encoding="utf-8"
    )
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, env=os.environ)
    lines = [line for line in found.stderr.splitlines() if line and not line.startswith(("checking:", "running:"))]
    assert found.returncode == 1, lines[-1]
    assert len(lines) == 1 and lines[0].startswith("valuegym: dying on preference/delivery, seed 0 failed: a worker")


def test_every_command_is_also_a_function(tmp_path: Path) -> None:
    run("oracle", TINY.id, 0, tmp_path)
    [score] = records.claimed_scores(str(tmp_path))
    assert (score.agent, score.experiment, score.status.partition(",")[0]) == ("oracle", "test/tiny", "claimed")
    assert score.values.shape == (1, 3, 2) and score.evaluation_points == (0, 3)
    record = read_record(path_of(tmp_path, "oracle", TINY.id, 0))
    assert score.values.tolist() == [record.scores]


def test_pairs_are_imported_and_exported(valuegym: Command, tmp_path: Path) -> None:
    steps = np.arange(12.0).reshape(2, 3, 2)
    arrays = {f"{name}_{n}": steps[..., :size] for name, size in (("obs", 2), ("action", 1)) for n in "12"}
    np.savez(tmp_path / "pairs.npz", **arrays, label=np.array([1.0, 0.5]))
    take = ("data", "import", tmp_path / "pairs.npz", "--from", "cpl", "--output", tmp_path / "set")
    status, output, errors = valuegym(*take, "--licence", "MIT", "--environment", "Hopper-v4", "--last", "drop")
    assert (status, errors) == (0, "")
    assert "2 pairs of segments of at most 2 steps; 0 first, 1 second, 1 equal" in output
    found = data.read(tmp_path / "set")
    assert found.card["licence"] == "MIT" and "1 = the second wins" in found.card["about"]
    assert found.feedback.answers.labels.tolist() == [1, 0.5]
    give = ("data", "export", tmp_path / "set", "--to", "text", "--output", tmp_path / "texts.jsonl")
    status, output, errors = valuegym(*give)
    assert (status, errors) == (0, "") and "1 pairs; 1 without a preferred side are left out" in output
    [row] = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    assert sorted(row) == ["chosen", "rejected"]
    assert "--from FORMAT --output FOLDER" in failed(valuegym(*take[:3]))
    assert "--to datasets, minari or text" in failed(valuegym(*give[:3]))
    assert "cpl has no option steps" in failed(valuegym(*take, "--steps", 3))
    assert "There is no card.json" in failed(valuegym("data", "export", tmp_path, *give[3:]))
    (tmp_path / "pairs.npz").write_bytes(b"\x80\x04K*.")
    assert "pairs.npz: it is a Python pickle" in failed(valuegym(*take))


@pytest.mark.parametrize(("to", "where"), [("datasets", "hf"), ("minari", "valuegym/pairs-v0")])
def test_pairs_are_exported_to_libraries(
    valuegym: Command, tmp_path: Path, to: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    rows = np.zeros((1, 3, 2))
    pairs = importers.from_cpl({"obs_1": rows, "obs_2": rows, "action_1": rows, "action_2": rows, "label": [1.0]})
    data.write(tmp_path / "set", pairs, source="a test", licence="CC0")
    give = ("data", "export", tmp_path / "set", "--to", to, "--output", where)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, to, None)
        assert extras.hint(to) in failed(valuegym(*give))
    pytest.importorskip(to, reason=f"{to} is not installed")
    status, output, _ = valuegym(*give)
    assert (status, output) == (0, f"{where} written: 1 pairs.\n") and len(list(tmp_path.iterdir())) == 2


def test_formats_of_the_command_are_those_of_the_importers() -> None:
    assert tuple(importers.FORMATS) == cli_data.FROM
    assert {name for one in importers.FORMATS.values() for name in one.options} == set(cli_data.READER_OPTIONS)


def test_errors_hold_nothing_that_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "no\x1b[31m\u202efile"]) == 2
    assert r"no\x1b[31m\u202efile" in capsys.readouterr().err
