"""The package in examples/plugin_package: installed by pip, run, submitted, and verified only where it is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import valuegym
from valuegym.envs import registration
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.plan import agent_of_record
from valuegym.leaderboards.records.submission import EXAMPLE

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "plugin_package"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed into."""
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE, folder / "source")
    words = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
    ]
    words += ["--no-build-isolation", "--target", str(folder / "target"), str(folder / "source")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "target"


@pytest.fixture
def forget(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder, the package on the path, all work in this process; nothing of it stays."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(target)
    monkeypatch.setitem(executors.EXECUTORS, "pool", executors.serial)
    monkeypatch.setattr("valuegym.leaderboards.site.pages.write_site", lambda scores, folder, **_: folder)
    before = dict(gym.registry)
    registration.register_plugins()
    yield
    gym.registry.clear()
    gym.registry.update(before)
    for name in [name for name in sys.modules if name.partition(".")[0] == "dial_pack"]:
        del sys.modules[name]


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command as a process of its own would: what it loads, the next one does not know."""
    table, loaded = dict(experiments.EXPERIMENTS), list(experiments.loaded())
    try:
        status = main(words)
    finally:
        experiments.EXPERIMENTS.clear()
        experiments.EXPERIMENTS.update(table)
        experiments._LOADED[:] = loaded
    output = capsys.readouterr()
    return status, output.out + output.err


@pytest.mark.usefixtures("forget")
def test_a_package_brings_an_agent_an_environment_and_a_track(capsys: pytest.CaptureFixture[str]) -> None:
    listed = command(capsys, "list")[1]
    for line in ("dial_pack/Dial-v0", "dial_pack.turner", "dial_pack.plain"):
        assert line in listed
    assert "dial_pack" not in sys.modules
    assert command(capsys, "run", "--experiment", "dial_pack.plain")[0] == 0
    strong = ("run", "--experiment", "dial_pack.plain", "--agent", "dial_pack.turner", "--set", "strength=2")
    assert command(capsys, *strong)[0] == 0
    path = Path("results/dial/plain/dial_pack.turner/seed-0.jsonl")
    assert (
        agent_of_record(path)["reference"] == "dial_pack.agents:Turner" and len(agent_of_record(path)["source"]) == 64
    )

    status, output = command(capsys, "verify", "results")
    assert status == 1 and output.count("there is no experiment 'dial/plain' here") == 9 and "--plugin" in output
    for plugin in ("dial_pack", "dial_pack.plain", "dial_pack.tracks:PLAIN"):
        status, output = command(capsys, "verify", "results", "--plugin", plugin)
        assert status == 0 and "verified  9 of 9 records" in output
    output = command(capsys, "leaderboard", "results", "--track", "off", "--plugin", "dial_pack")[1]
    assert "dial_pack.turner" in output and "replayed on public seeds" in output

    Path("card.json").write_text(json.dumps(EXAMPLE | {"name": "dial_pack.turner"}))
    assert command(capsys, "submit", "results")[0] == 2  # nobody said whose code the track is
    assert command(capsys, "submit", "results", "--plugin", "dial_pack")[0] == 0
    status, output = command(capsys, "verify", "dial_pack.turner.zip")
    assert status == 1 and "There is no experiment 'dial/plain' here; if it belongs to a file or package" in output
    status, output = command(capsys, "verify", "dial_pack.turner.zip", "--plugin", "dial_pack")
    assert status == 0 and "tier      replayed" in output

    assert command(capsys, "board", "begin", "board.jsonl", "--name", "Dials")[0] == 0
    judge = ("board", "judge", "board.jsonl", "dial_pack.turner.zip", "--plugin", "dial_pack")
    status, output = command(capsys, *judge)
    assert status == 0 and "entry     1 of board.jsonl" in output


@pytest.mark.usefixtures("forget")
def test_the_annotator_of_a_package_answers_on_its_track(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "run", "--experiment", "dial_pack.answers", "--seed", "0")[0] == 0
    assert command(capsys, "verify", "results")[0] == 1
    status, output = command(capsys, "verify", "results", "--plugin", "dial_pack.answers")
    assert status == 0 and "verified  2 of 2 records" in output


@pytest.mark.usefixtures("forget")
def test_the_declared_references_are_true() -> None:
    env = gym.make("dial_pack/Dial-v0")
    assert env.spec is not None and env.spec.max_episode_steps == 20
    core = env.unwrapped
    returns = []
    for start in np.linspace(-1, 1, 401):
        env.reset(seed=0)
        core.distance, total, over = float(start), 0.0, False  # type: ignore[attr-defined]
        while not over:
            _, reward, _, over, _ = env.step(np.clip([10 * core.distance], -1, 1))  # type: ignore[attr-defined]
            total += float(reward)
        returns.append(total)
    assert abs(np.mean(returns) + 1.425) < 0.01
    found = valuegym.evaluate("dial_pack.turner", "dial_pack.plain")
    assert 0.9 < found.estimate[0] < 1.2
    del experiments.EXPERIMENTS["dial/plain"]
    experiments._LOADED.remove("dial_pack.plain")


def test_the_package_is_what_its_files_say() -> None:
    text = (SOURCE / "pyproject.toml").read_text(encoding="utf-8")
    for group in ("agents", "environments", "experiments", "annotators"):
        assert f'[project.entry-points."valuegym.{group}"]' in text
