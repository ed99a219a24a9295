"""Scripts in examples/: each trains, prints its score and writes a record that verifies; wandb is offline."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.cli.main import main, parser
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.verification.verify import verify

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCRIPTS = {path.stem: path for path in sorted(EXAMPLES.glob("*.py")) if "valuegym.record(" in path.read_text()}


def needs_torch(path: Path) -> bool:
    return re.search(r"^(import|from) (torch|stable_baselines3)", path.read_text(), re.M) is not None


@pytest.fixture(autouse=True)
def installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"]
    if needs_torch(SCRIPTS[name]) and not importlib.util.find_spec("stable_baselines3"):
        pytest.skip("needs valuegym[agents]")


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A wandb that keeps what it is given."""

    class Run:
        def __init__(self, **kwargs: Any) -> None:
            self.kwargs, self.logged, self.summary, self.finished = kwargs, [], {}, 0

        def log(self, values: dict[str, Any]) -> None:
            assert not self.finished
            self.logged.append(json.loads(json.dumps(values, default=float)))

        def finish(self) -> None:
            self.finished += 1

    module = types.ModuleType("wandb")
    module.runs = []  # type: ignore[attr-defined]

    def init(**kwargs: Any) -> Run:
        module.runs.append(Run(**kwargs))  # type: ignore[attr-defined]
        return module.runs[-1]  # type: ignore[attr-defined]

    module.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    yield module


def track_of(name: str) -> str:
    found = re.search(r'^TRACK, NAME = "([^"]+)", "([^"]+)"$', SCRIPTS[name].read_text(), re.M)
    assert found is not None and found[2] == name
    return found[1]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_small_budget_gives_a_record_and_commands_that_parse(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wandb: Any
) -> None:
    track = experiments.EXPERIMENTS[track_of(name)]
    points = {"evaluation_points": [0, 10]} if track.score == "evaluation_points" else {}
    small = replace(track, episodes=1, options=None, arguments=json.dumps(track.kwargs | points))
    monkeypatch.setitem(experiments.EXPERIMENTS, track.id, small)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [name, "--steps", "260", "--seed", "1", "--track"])
    runpy.run_path(str(SCRIPTS[name]), run_name="__main__")
    out = capsys.readouterr().out
    assert f"{track.id}: " in out and "0 naive reference, 1 oracle" in out
    path = Path(re.search(r"^record: (.+)$", out, re.M)[1])  # type: ignore[index]
    assert path == Path(f"results/{track.id}/{name}/seed-1.jsonl") and verify(path).reason == ""
    about = read_record(path).provenance["agent"]
    assert about["script"] == f"{name}.py" and about["seed"] == 1 and str(tmp_path) not in path.read_text()
    commands = re.findall(r"\b(valuegym \w+ .+)$", out, re.M)
    assert "valuegym leaderboard results" in commands
    for command in commands:
        assert parser().parse_args(shlex.split(command)[1:]).function
    [run] = wandb.runs
    assert run.kwargs["mode"] == "offline" and run.kwargs["config"]["steps"] == 260
    assert run.finished == 1 and "score" in run.summary


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_short_and_say_what_they_reach(name: str) -> None:
    text = SCRIPTS[name].read_text()
    assert text.count("\n") < 200
    assert f"python examples/{name}.py" in text and "With the default budget" in text
    for option in ("--seed", "--steps", "--results", "--track"):
        assert f'"{option}"' in text
    assert "import wandb" not in re.sub(r"^        import wandb$", "", text, flags=re.M), "only where it is asked for"
    assert f"({name}.py)" in (EXAMPLES / "README.md").read_text()


def stated(name: str) -> float:
    found = re.search(r"at least (0\.\d+)", SCRIPTS[name].read_text())
    assert found is not None
    return float(found[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_default_budget_reaches_what_the_script_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPTS[name])]
    out = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True).stdout
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard", "results", "--track", "off"]) == 0
    assert f"{name} " in capsys.readouterr().out
    [path] = Path("results").rglob("seed-0.jsonl")
    assert verify(path).reason == ""
    score = re.search(rf"^{track_of(name)}: (-?[0-9.]+) ", out, re.M)
    assert score is not None and float(score[1]) >= stated(name)
