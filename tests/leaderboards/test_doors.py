"""From an agent, a model or a track of one's own to a verified row on the local board, by the command line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym
from valuegym.leaderboards import experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.plan import agent_of_record
from valuegym.leaderboards.records.record import read_record, write_record
from valuegym.leaderboards.verification.verify import verify

AGENT = '''import numpy as np
from valuegym.agents.base import BatchAgent

class Still(BatchAgent):
    """Always the same action."""
    def __init__(self, env, seed=0, value=0.0):
        super().__init__(env)
        self.value = value

    def act(self, observation, memory, start):
        return np.full((len(start), *self.action_space.shape), self.value, np.float32), memory

class Single(Still):
    def predict(self, observation, state=None, episode_start=None, deterministic=True):
        return super().predict(observation, state, episode_start)[0]
'''
TRACK = """from valuegym import Experiment

TRACK = Experiment(
    id="own/lqr", about="A short regulator.", env_id="valuegym/LQR-v0", arguments="{}", agents=("uniform", "oracle"),
    timesteps=0, episodes=2, seeds=(0, 1), score="return",
)
OTHER = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder with one's own files; what is loaded from it is forgotten afterwards."""
    (tmp_path / "my_agent.py").write_text(AGENT)
    (tmp_path / "my_track.py").write_text(TRACK)
    monkeypatch.chdir(tmp_path)
    table, loaded = dict(experiments.EXPERIMENTS), list(experiments.loaded())
    yield tmp_path
    experiments.EXPERIMENTS.clear()
    experiments.EXPERIMENTS.update(table)
    experiments._LOADED[:] = loaded


def commanded(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(words)
    output = capsys.readouterr()
    return status, output.out, output.err


def forget() -> None:
    """Leave the process as one that has loaded nothing."""
    del experiments.EXPERIMENTS["own/lqr"]
    experiments._LOADED.clear()


def test_an_agent_and_a_track_of_ones_own_to_a_verified_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("run", "--agent", "my_agent.py:Still", "--experiment", "my_track.py:TRACK", "--workers", "2")
    status, out, _ = commanded(capsys, *words)
    assert status == 0 and out.split() == [f"results/own/lqr/my_agent.Still/seed-{seed}.jsonl" for seed in (0, 1)]
    assert agent_of_record(Path(out.split()[0]))["reference"] == "my_agent.py:Still"
    assert str(folder) not in Path(out.split()[0]).read_text()
    forget()
    status, out, _ = commanded(capsys, "verify", "results")  # in processes of their own
    assert status == 1 and out.count("there is no experiment 'own/lqr' here") == 2 and "--plugin" in out
    assert "own/lqr" not in experiments.EXPERIMENTS
    board = ("leaderboard", "results", "--track", "off", "--plugin", "my_track.py:TRACK")
    status, out, _ = commanded(capsys, *board)
    assert status == 0 and "verified  2 of 2 records" in out and re.search(r"1 +my_agent\.Still .*replayed", out)


def test_what_is_there_is_not_run_again_unless_asked_and_an_edited_agent_is_noticed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "--agent", "my_agent.py:Still", "--experiment", "my_track.py:TRACK", "--executor", "serial")
    first = Path("results/own/lqr/my_agent.Still/seed-0.jsonl")
    _, out, _ = commanded(capsys, *words, "--dry-run")
    todo = [f"to do  not measured  {path}" for path in (first, first.with_name("seed-1.jsonl"))]
    assert out.splitlines() == [*todo, "total  not measured"] and not first.exists()
    commanded(capsys, *words)
    status, out, err = commanded(capsys, *words)
    assert status == 0 and "2 of 2 runs already there" in err and out.split()[0] == str(first)
    assert "checking" not in err  # nothing is made where nothing is to do
    before = first.read_bytes()
    (folder / "my_agent.py").write_text(f"{AGENT}# edited\n")
    status, _, err = commanded(capsys, *words)
    assert status == 2 and "made by another version of my_agent.py:Still; --overwrite makes them again" in err
    assert commanded(capsys, *words, "--overwrite")[0] == 0 and first.read_bytes() != before
    changed = commanded(capsys, *words, "--set", "value=0.5")[1].split()
    assert len(changed) == 2 and re.search(r"my_agent\.Still-[0-9a-f]{8}", changed[0])
    assert agent_of_record(Path(changed[0]))["settings"] == {"value": 0.5}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--agent", "my_agent.py:Still", "--experiment", "own/lqr"), "There is no experiment 'own/lqr' here"),
        (("--agent", "my_agent.py:Still", "--experiment", "my_track.py:OTHER"), "holds a int; expected an Experiment"),
        (("--agent", "my_agent.py:Missing", "--experiment", "my_track.py:TRACK"), "my_agent.py has no Missing"),
        (("--agent", "regret", "--experiment", "my_track.py:TRACK"), "regret does not play on own/lqr: "),
        (("--agent", "my_agent.py:Still", "--set", "v=1", "--experiment", "my_track.py:TRACK"), "its settings are"),
        (("--agent", "my_agent.py:Single", "--experiment", "my_track.py:TRACK"), "expected a pair (actions, memory)"),
        (("--agent", "my_agent.py:Still", "--experiment", "control/lqrs"), "Did you mean control/lqr"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_starts(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    status, _, err = commanded(capsys, "run", *words, "--executor", "serial")
    assert status != 0 and message in err and "Traceback" not in err
    assert not list(folder.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "Own"}, "id is 'Own'; expected FAMILY/TRACK"),
        ({"id": "control/lqr"}, "another experiment is called 'control/lqr' already"),
        ({"id": "../x"}, "expected FAMILY/TRACK"),
        ({"id": "own/my_track"}, "in lower-case letters, digits and dashes"),
        ({"id": f"own/{'x' * 61}"}, "at most 40 and 60"),
        ({"env_id": "valuegym/No-v0"}, "not registered"),
        ({"arguments": "{"}, "arguments is no JSON"),
        ({"arguments": "[]"}, "expected a JSON object"),
        ({"seeds": ()}, "expected one or more different integers"),
        ({"seeds": (0, 0)}, "expected one or more different integers"),
        ({"seeds": (0.5,)}, "expected integers"),
        ({"episodes": 0}, "episodes is 0; expected an integer from 1"),
        ({"timesteps": float("nan")}, "timesteps is nan; expected an integer"),
        ({"score": "mine"}, "score is 'mine'; expected one of"),
    ],
)
def test_experiments_of_ones_own_are_checked(folder: Path, change: dict[str, Any], message: str) -> None:
    values = {"id": "own/x", "about": "", "env_id": "valuegym/LQR-v0", "arguments": "{}", "agents": (), "timesteps": 0}
    values |= {"episodes": 1, "seeds": (0,), "score": "return"} | change
    before = dict(experiments.EXPERIMENTS)
    with pytest.raises(ValueError, match=re.escape(message)):
        experiments.register(experiments.Experiment(**values))
    assert before == experiments.EXPERIMENTS


def test_who_fits_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = commanded(capsys, "list", "--agent", "my_agent.py:Still", "--track", "my_track.py:TRACK")
    assert out.split() == ["own/lqr", "plays"]
    _, out, _ = commanded(capsys, "list", "--agent", "goal_only", "--track", "my_track.py:TRACK")
    assert out.split()[:2] == ["own/lqr", "no:"]


class Still:
    """A model as a script of one's own holds it."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> Any:
        return np.zeros((len(observation), 1), np.float32), state


def test_a_model_in_a_script_gets_scores_and_a_record(folder: Path) -> None:
    found = valuegym.evaluate(Still(), "my_track.py:TRACK")
    assert found.scores.shape == (2, 2, 1) and found.seeds == (0, 1) and str(found).startswith("own/lqr: ")
    assert found.estimate[1] <= found.estimate[0] <= found.estimate[2]
    oracle = valuegym.evaluate("oracle", "own/lqr", seeds=[1])
    np.testing.assert_allclose(oracle.scores, 1.0)
    path = valuegym.record(Still(), "own/lqr", "still", seed=1, about={"steps": 3})
    assert verify(path).reason == "" and read_record(path).provenance["agent"] == {"steps": 3}
    np.testing.assert_array_equal(read_record(path).scores, found.scores[1])
    with pytest.raises(FileExistsError, match="overwrite=True"):
        valuegym.record(Still(), "own/lqr", "still", seed=1)
    valuegym.record(Still(), "own/lqr", "still", seed=1, overwrite=True)
    for name, seed, message in (("oracle", 0, "choose another"), ("a/b", 0, "expected 1 to 64"), ("x", 7, "seed is 7")):
        with pytest.raises(ValueError, match=message):
            valuegym.record(Still(), "own/lqr", name, seed=seed)
    with pytest.raises(ValueError, match="has no method predict"):
        valuegym.evaluate(object(), "own/lqr")
    with pytest.raises(ValueError, match="seeds is empty"):
        valuegym.evaluate(Still(), "own/lqr", seeds=[])


def test_what_a_record_names_is_never_imported(folder: Path) -> None:
    path = valuegym.record(Still(), "my_track.py:TRACK", "still")
    record = read_record(path)
    (folder / "trap.py").write_text(f"open({str(folder / 'mark')!r}, 'w')\n")
    for text in ("trap:TRACK", "trap.py:TRACK", "trap"):
        write_record(path, type(record)(**{**vars(record), "experiment": text}))
        assert "there is no experiment" in verify(path).reason and not (folder / "mark").exists()


def test_the_namespace_is_lazy_and_complete() -> None:
    code = (
        "import sys, valuegym\n"
        "assert not any(name.startswith('valuegym.leaderboards') for name in sys.modules)\n"
        "print(sorted(name for name in valuegym.__all__ if getattr(valuegym, name) is None))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
    assert set(valuegym.__all__) <= set(dir(valuegym))
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        valuegym.evaluat  # noqa: B018
    assert json.dumps(sorted(valuegym._LAZY)) == json.dumps(sorted(set(valuegym.__all__) - {"envs", "__version__"}))


def test_a_model_of_another_environment_is_refused_with_the_one_to_train_in(monkeypatch: pytest.MonkeyPatch) -> None:
    class Model:
        observation_space = gym.make("valuegym/Delivery-v0").observation_space
        action_space = gym.make("valuegym/Delivery-v0").action_space

        def predict(self, observation: Any, *_: Any, **__: Any) -> Any:
            raise AssertionError("it should not be asked")

    told = r"observation_space Discrete\(100\).*gymnasium.make\('valuegym/Delivery-v0', observation='onehot'\)"
    with pytest.raises(ValueError, match=told):
        valuegym.evaluate(Model(), "preference/delivery", seeds=[0])
    with pytest.raises(ValueError, match=told):
        valuegym.record(Model(), "preference/delivery", "other")
