"""Running experiments: the same bits wherever, whenever and however often they are run, or nothing at all."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, AgentEntry
from valuegym.agents.uniform import Uniform
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.executors import JobsFailed
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.costs import FILE
from valuegym.leaderboards.records.record import path_of, read_record
from valuegym.leaderboards.run import Job, jobs, play, run, run_all
from valuegym.leaderboards.verification.verify import record_files, verify

TINY = Experiment(
    id="test/tiny",
    about="",
    env_id="valuegym/RewardInference-v0",
    arguments='{"annotator": "regret", "evaluation_points": [0, 3], "split": "dev"}',
    agents=("uniform", "partial_return"),
    timesteps=0,
    episodes=3,
    seeds=(0, 1),
    score="evaluation_points",
)
TRAINED = Experiment("test/trained", "", "valuegym/Delivery-v0", "{}", ("spy",), 77, 4, (0, 1), "return")


class Spy(Uniform):
    """Random actions; remembers how it was used, and fails where `fail` says so."""

    made: list[Spy] = []
    fail: str = ""

    def __init__(self, env: Any, seed: int = 0) -> None:
        super().__init__(env, seed)
        self.training, self.seed, self.calls, self.learnt = env, seed, [], []
        Spy.made.append(self)

    def learn(self, total_timesteps: int) -> Spy:
        self.learnt.append(total_timesteps)
        if Spy.fail == "learn":
            raise RuntimeError("crashed")
        return self

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> Any:
        if Spy.fail == "predict" and len(self.calls) == 2:
            raise RuntimeError("crashed")
        self.calls.append((state, episode_start.copy(), deterministic))
        return super().predict(observation)[0], len(self.calls)


@pytest.fixture(autouse=True)
def small_experiments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for row in (TINY, TRAINED):
        monkeypatch.setitem(experiments.EXPERIMENTS, row.id, row)
    monkeypatch.setitem(AGENTS, "spy", AgentEntry(f"{__name__}:Spy", "", ""))
    monkeypatch.setattr(Spy, "made", [])
    monkeypatch.setattr(Spy, "fail", "")
    yield


def files(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder but for the seconds that runs took."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != FILE}


# --- one run ---


@pytest.mark.parametrize(
    ("agent", "id"),
    [("uniform", "test/tiny"), ("partial_return", "test/tiny"), ("regret", "test/tiny"), ("oracle", "test/trained")],
)
def test_a_run_is_repeated_to_the_bit(tmp_path: Path, agent: str, id: str) -> None:
    first, second = (run(agent, id, 0, tmp_path / name) for name in ("a", "b"))
    assert first == path_of(tmp_path / "a", agent, id, 0)
    assert files(tmp_path / "a") == files(tmp_path / "b") != {}
    record = read_record(first)
    assert (record.agent, record.experiment, record.seed) == (agent, id, 0)
    assert record.spec == experiments.find(id).spec()
    assert [episode.seed for episode in record.episodes] == experiments.find(id).evaluation_seeds(0)
    assert second.read_bytes() == first.read_bytes()


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    first, second = (read_record(run("uniform", "test/tiny", seed, tmp_path)) for seed in (0, 1))
    assert first.episodes[0].actions != second.episodes[0].actions
    assert not {episode.seed for episode in first.episodes} & {episode.seed for episode in second.episodes}
    assert first.digest == second.digest


def test_a_record_that_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(tmp_path, "uniform", "test/tiny", 0)
    path.parent.mkdir(parents=True)
    path.write_text("what somebody left here", encoding="utf-8")
    os.utime(path, (1, 1))
    monkeypatch.setattr(gym, "make", lambda *arguments, **kwargs: pytest.fail("it was run again"))
    assert run("uniform", "test/tiny", 0, tmp_path) == path
    assert run_all(jobs(["uniform"], ["test/tiny"], tmp_path, [0]), workers=1) == [path]
    assert path.read_text(encoding="utf-8") == "what somebody left here" and path.stat().st_mtime == 1
    assert list(files(tmp_path)) == ["test/tiny/uniform/seed-0.jsonl"]


def test_what_a_killed_write_left_is_not_a_record(tmp_path: Path) -> None:
    run("uniform", "test/tiny", 0, tmp_path / "whole")
    code = (
        "import os, signal, sys\n"
        "from valuegym.leaderboards import experiments\n"
        "from valuegym.leaderboards.experiments import Experiment\n"
        f"experiments.EXPERIMENTS['test/tiny'] = {TINY!r}\n"
        "from valuegym.leaderboards.run import run\n"
        "os.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run('uniform', 'test/tiny', 0, sys.argv[1])\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "cut")], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [left] = files(tmp_path / "cut")
    assert Path(left).name.startswith(".seed-0.jsonl.")
    with pytest.raises(FileNotFoundError, match="no records"):
        record_files(tmp_path / "cut")
    path = run("uniform", "test/tiny", 0, tmp_path / "cut")
    assert record_files(tmp_path / "cut") == [path]
    assert path.read_bytes() == files(tmp_path / "whole")["test/tiny/uniform/seed-0.jsonl"]
    work = jobs(["uniform"], ["test/tiny"], tmp_path / "cut", [0])
    assert run_all(work, workers=1) == [path] and len(files(tmp_path / "cut")) == 2  # another may be writing it
    os.utime(tmp_path / "cut" / left, (1, 1))
    (path.parent / ".mine").touch()
    os.utime(path.parent / ".mine", (1, 1))
    assert run_all(work, workers=1) == [path]
    assert {Path(name).name for name in files(tmp_path / "cut")} == {"seed-0.jsonl", ".mine"}


@pytest.mark.parametrize("where", ["learn", "predict"])
def test_an_agent_that_crashes_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.setattr(Spy, "fail", where)
    with pytest.raises(RuntimeError, match="crashed"):
        run("spy", "test/trained", 0, tmp_path)
    assert files(tmp_path) == {}
    monkeypatch.setattr(Spy, "fail", "")
    assert verify(run("spy", "test/trained", 0, tmp_path)).reason == ""


@pytest.mark.parametrize(("agent", "id"), [("nobody", "test/tiny"), ("uniform", "test/none"), ("../x", "../../y")])
def test_unknown_names_leave_nothing(tmp_path: Path, agent: str, id: str) -> None:
    with pytest.raises(ValueError, match="There is no"):
        run(agent, id, 0, tmp_path / "results")
    assert list(tmp_path.iterdir()) == []


def test_a_seed_that_no_record_can_hold_is_refused(tmp_path: Path) -> None:
    for agent in ("oracle", "uniform"):
        with pytest.raises(ValueError, match="seed"):
            run(agent, "test/tiny", -1, tmp_path)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("place", [".", "test", "test/trained", "test/trained/spy"])
def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path: Path, place: str) -> None:
    blocked = tmp_path / "results" / place
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="results") as error:
        run("spy", "test/trained", 0, tmp_path / "results")
    assert "\n" not in str(error.value)
    assert [spy.learnt for spy in Spy.made] in ([], [[]])  # before the work, not after it
    assert files(tmp_path) == {str(blocked.relative_to(tmp_path)): b"in the way"}


# --- playing ---


def test_agents_train_in_one_environment_and_are_evaluated_in_others(tmp_path: Path) -> None:
    record = read_record(run("spy", "test/trained", 1, tmp_path))
    [spy] = Spy.made
    assert spy.learnt == [77] and spy.seed == 1
    assert isinstance(spy.training.action_space, gym.spaces.Discrete) and not hasattr(spy.training, "num_envs")
    assert all(deterministic for _, _, deterministic in spy.calls)
    lengths = [len(episode.actions) for episode in record.episodes]
    assert max(lengths) == len(spy.calls) and len(set(lengths)) > 1  # rows end on their own


def test_memory_and_episode_starts_are_handed_back() -> None:
    spy = Spy(gym.make("valuegym/Delivery-v0"))
    envs = gym.make_vec("valuegym/Delivery-v0", num_envs=3)
    episodes = play(spy, envs, [5, 6, 7], {})
    assert [state for state, _, _ in spy.calls] == [None, *range(1, len(spy.calls))]
    starts = np.array([start for _, start, _ in spy.calls])
    assert starts[0].all()
    for row, episode in enumerate(episodes):
        n = len(episode.actions)
        assert not starts[1:n, row].any()
        assert n == len(starts) or starts[n, row]
        assert (episode.seed, episode.terminated or episode.truncated) == (5 + row, True)
        assert [len(values) for values in episode.states.values()] == [n + 1, n + 1]


def test_records_hold_plain_json_values(tmp_path: Path) -> None:
    for id in ("test/tiny", "test/trained"):
        record = read_record(run("uniform", id, 0, tmp_path))
        for episode in record.episodes:
            for value in (episode.actions, episode.states):
                assert json.loads(json.dumps(value)) == value
            assert type(episode.terminated) is bool and type(episode.truncated) is bool


# --- many runs ---


def test_jobs_are_the_runs_asked_for(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert jobs(None, ["test/tiny"], tmp_path) == [
        Job(agent, "test/tiny", seed, folder) for agent in ("uniform", "partial_return") for seed in (0, 1)
    ]
    assert jobs(["oracle"], ["test/tiny", "test/trained"], tmp_path, [1], "data") == [
        Job("oracle", "test/tiny", 1, folder, "data"),
        Job("oracle", "test/trained", 1, folder, "data"),
    ]
    assert Job("a", "f/t", 3, folder).path == path_of(tmp_path, "a", "f/t", 3)
    with pytest.raises(ValueError, match=r"no agent 'nobody'; expected a name"):
        jobs(["oracle", "nobody"], ["test/tiny"], tmp_path)
    with pytest.raises(ValueError, match=r"no experiment 'test/none' here"):
        jobs(None, ["test/tiny", "test/none"], tmp_path)


def test_results_come_in_order_from_any_number_of_processes() -> None:
    assert executors.parallel_map(math.sqrt, [16, 9, 4, 1], 2, "roots") == [4, 3, 2, 1]
    assert executors.parallel_map(math.sqrt, [], 2, "roots") == []
    with pytest.raises(JobsFailed, match=r"math domain|nonnegative"):
        executors.parallel_map(math.sqrt, [4, -1], 1, "roots")


def test_records_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    for workers in (1, 3):
        chosen = jobs(["uniform", "oracle"], ["preference/delivery"], tmp_path / str(workers), [0, 1])
        paths = run_all(chosen, workers)
        assert paths == [job.path for job in chosen] and all(path.is_file() for path in paths)
    alone = [run(agent, "preference/delivery", 1, tmp_path / "0") for agent in ("uniform", "oracle")]
    assert files(tmp_path / "1") == files(tmp_path / "3")
    for path in alone:
        assert path.read_bytes() == (tmp_path / "1" / path.relative_to(tmp_path / "0")).read_bytes()


def test_what_finished_before_an_error_stays(tmp_path: Path) -> None:
    good, bad = (Job(agent, "preference/delivery", 0, str(tmp_path)) for agent in ("uniform", "nobody"))
    with pytest.raises(JobsFailed, match=r"^nobody on preference/delivery, seed 0 failed: There is no agent 'nobody'"):
        run_all([bad, good], workers=1)
    assert record_files(tmp_path) == [good.path] and list(files(tmp_path)) == [str(good.path.relative_to(tmp_path))]
    assert verify(good.path).reason == ""


def test_only_what_is_missing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, seen = jobs(["uniform"], ["test/tiny"], tmp_path), []
    monkeypatch.setattr(executors, "parallel_map", lambda function, items, *_: seen.extend(items))
    run("uniform", "test/tiny", 0, tmp_path)
    assert run_all(chosen) == [job.path for job in chosen]
    assert seen == [chosen[1]]


SCRIPT = """
import sys
import time

from valuegym.agents import AGENTS, AgentEntry
from valuegym.agents.uniform import Uniform
from valuegym.leaderboards import experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment

experiments.EXPERIMENTS["test/tiny"] = {row}
AGENTS["slow"] = AgentEntry("slow_agent:Slow", "", "")
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
AGENT = """
import os
import time

from valuegym.agents.uniform import Uniform


class Slow(Uniform):
    def predict(self, *arguments, **kwargs):
        time.sleep(float(os.environ["PAUSE"]))
        return super().predict(*arguments, **kwargs)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
def test_a_killed_run_is_continued_to_the_same_bits(tmp_path: Path) -> None:
    row = TINY.__class__(**(vars(TINY) | {"seeds": (0, 1, 2, 3)}))
    (tmp_path / "script.py").write_text(SCRIPT.format(row=repr(row)), encoding="utf-8")
    (tmp_path / "slow_agent.py").write_text(AGENT, encoding="utf-8")

    def start(folder: str, pause: float) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(tmp_path / "script.py"), "run", "--agent", "slow", "--experiment", "test/tiny"]
        return subprocess.Popen(
            [*command, "--results", str(tmp_path / folder), "--workers", "1"],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PAUSE": str(pause)},
        )

    process = start("cut", 0.1)
    try:
        first = path_of(tmp_path / "cut", "slow", "test/tiny", 0)
        give_up = time.monotonic() + 60
        while not first.is_file() and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.002)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    left = record_files(tmp_path / "cut")
    assert first in left and len(left) < 4, "it was killed half-way"
    kept = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in left}
    for path in left:
        assert read_record(path).seed in row.seeds  # whole
    assert start("cut", 0).wait() == 0
    assert start("whole", 0).wait() == 0
    assert all((path.read_bytes(), path.stat().st_mtime_ns) == then for path, then in kept.items())
    assert len(record_files(tmp_path / "cut")) == 4
    whole = files(tmp_path / "whole")
    assert {name: content for name, content in files(tmp_path / "cut").items() if "/." not in name} == whole
