"""Starting points of one's own: each passes its own test, runs and is verified as it is written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path

import gymnasium as gym
import pytest

from valuegym.envs import registration
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.cli.new import KINDS, contents
from valuegym.leaderboards.records.submission import read_card

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
NAMES = {"agent": "shy_one", "annotator": "strict", "environment": "maze2d", "track": "heavy"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder; what is registered and imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(executors.EXECUTORS, "pool", executors.serial)
    before, own, known = dict(gym.registry), dict(registration.OWN), dict(experiments.EXPERIMENTS)
    loaded, modules = list(experiments.loaded()), set(sys.modules)
    yield tmp_path
    experiments._LOADED[:] = loaded
    for table, kept in ((gym.registry, before), (registration.OWN, own), (experiments.EXPERIMENTS, known)):
        table.clear()  # type: ignore[attr-defined]
        table.update(kept)  # type: ignore[attr-defined]
    for name in NAMES.values():
        for module in {name, f"test_{name}"} - modules:
            sys.modules.pop(module, None)


def test_a_name_for_every_kind() -> None:
    assert set(NAMES) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_starting_point_passes_its_test_runs_and_is_verified(
    kind: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = NAMES[kind]
    assert main(["new", kind, name]) == 0
    command = capsys.readouterr().out.splitlines()[-1].split()
    assert command[:2] == ["valuegym", "run"]
    spec = spec_from_file_location(f"test_{name}", folder / f"test_{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    tests = {name: value for name, value in vars(module).items() if name.startswith("test_")}
    assert len(tests) == 2
    for test in tests.values():
        test(*[folder / "records"] * len(signature(test).parameters))
    assert main(command[1:]) == 0
    plugin = [] if kind == "agent" else ["--plugin", f"{name}.py:TRACK"]
    assert main(["verify", "results", *plugin]) == 0 and ", " not in capsys.readouterr().out.splitlines()[-1]
    if kind == "agent":
        assert read_card("card.json").name == "shy_one.ShyOne"
        assert main(["submit", "results"]) == 0 and main(["verify", "shy_one.ShyOne.zip"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pytest_is_green_in_the_folder(kind: str, folder: Path) -> None:
    assert main(["new", kind, NAMES[kind]]) == 0
    words = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout + done.stderr
    convention = ["--config", "lint.pydocstyle.convention='google'", "--ignore", "D103,D107", "."]
    lint = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,D", "--line-length", "120"]
    done = subprocess.run([*lint, *convention], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_is_what_the_command_writes() -> None:
    assert (EXAMPLES / "corridor.py").read_text(encoding="utf-8") == contents("environment", "corridor")["corridor.py"]


@pytest.mark.parametrize(
    "name", ["", "Shy", "a-b", "1a", "a.b", "../a", "class", "a__b", "a" * 31, "numpy", "json", "é"]
)
def test_names_that_cannot_be_modules_are_refused(name: str, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for kind in KINDS:
        assert main(["new", kind, name]) == 2
        assert f"NAME is {name!r}" in capsys.readouterr().err
    assert not list(folder.iterdir())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_overwritten(kind: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = contents(kind, NAMES[kind])
    last = folder / list(files)[-1]
    last.write_text("mine")
    assert main(["new", kind, NAMES[kind]]) == 2
    assert f"{last.name} is there already; nothing was written" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == [last.name] and last.read_text() == "mine"


def test_cards_are_json() -> None:
    assert json.loads(contents("agent", "shy")["card.json"])["name"] == "shy.Shy"
