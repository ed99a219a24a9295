"""Searches for settings: seeds of their own, trials that are kept, and spaces that agents declare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, make, references
from valuegym.agents.search_spaces import SPACES, Space, check_space
from valuegym.envs import extras
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli import search, tune
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.cli.search import Search, Trial, best
from valuegym.leaderboards.experiments import EVALUATION, SUITE, Experiment

TRACK = Experiment(
    id="own/follow",
    about="A short one.",
    env_id="valuegym/Follow-v0",
    arguments='{"family": "linear"}',
    agents=("moving_average",),
    episodes=3,
    seeds=(0, 1),
)
PLAN = "moving_average", TRACK.id


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(experiments.EXPERIMENTS, TRACK.id, TRACK)
    monkeypatch.setitem(executors.EXECUTORS, "pool", executors.serial)
    return tmp_path


def at_random(space: Space, trials: Sequence[Trial], number: int, seed: int) -> dict[str, Any]:
    """Propose settings that depend on the number and on all trials before, as Optuna's do."""
    rng = np.random.default_rng([seed, number, len(trials), int(1e6 * abs(trials[-1].score or 0))])
    return {"gain": round(float(rng.uniform(space["gain"]["low"], space["gain"]["high"])), 3)}


def without_seconds(trials: list[Trial]) -> list[Trial]:
    return [trial._replace(seconds=0.0) for trial in trials]


# --- seeds ---


@pytest.mark.parametrize("id", sorted(SUITE))
def test_no_seed_of_a_search_is_one_of_a_track(id: str) -> None:
    what = experiments.find(id)
    runs, episodes = search.seeds(what, search.MOST_RUNS)
    ours = [*runs, *(seed for row in episodes for seed in row)]
    assert len(set(ours)) == len(ours) == search.MOST_RUNS * (1 + what.episodes)
    assert max(ours) < EVALUATION and min(ours) > max(what.seeds)
    assert min(seed for run in what.seeds for seed in what.evaluation_seeds(run)) >= EVALUATION


def test_tracks_that_use_the_seeds_of_searches_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for changed, message in (
        ({"seeds": (0, search.SEARCH_RUNS + 1)}, "hold 500001"),
        ({"seeds": (search.SEARCH_EPISODES + 2,)}, "hold 600002"),
        ({"episodes": 300_000}, "at most 400000"),
    ):
        other = Experiment(**(vars(TRACK) | changed))  # type: ignore[arg-type]
        monkeypatch.setitem(experiments.EXPERIMENTS, TRACK.id, other)
        with pytest.raises(ValueError, match=message):
            search.search(Search(*PLAN), Path("a.jsonl"), 2, propose=at_random)
    assert not Path("a.jsonl").exists()


def test_the_seeds_that_are_played_are_those(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = search.play_record

    def recorded(player: Any, name: str, id: str, seed: int, data: Any, episodes: Any) -> Any:
        record = real(player, name, id, seed, data, episodes)
        seen.append((player.seed, seed, [episode.seed for episode in record.episodes]))
        return record

    monkeypatch.setattr(search, "play_record", recorded)
    trial = search.run_trial(Search(*PLAN), {"gain": 0.5}, executor="serial")
    assert seen == [(500_000, 500_000, [600_000, 600_001, 600_002]), (500_001, 500_001, [600_003, 600_004, 600_005])]
    assert trial.score is not None and len(trial.scores) == 2


# --- trials ---


def test_a_search_goes_on_to_the_same_trials(folder: Path) -> None:
    plan, reported = Search(*PLAN, seed=3), []
    whole = search.search(plan, Path("whole.jsonl"), 5, propose=at_random, report=lambda *one: reported.append(one))
    assert [number for number, _ in reported] == [0, 1, 2, 3, 4] and whole[0].settings == {}
    for trials in (1, 3, 5):
        parts = search.search(plan, Path("parts.jsonl"), trials, propose=at_random)
        assert without_seconds(parts) == without_seconds(whole[:trials])
    assert search.search(plan, Path("parts.jsonl"), 5, propose=at_random) == parts  # nothing is left to do
    header, *rows = map(json.loads, Path("parts.jsonl").read_text().splitlines())
    assert (header["agent"], header["space"], len(rows)) == ("moving_average", SPACES["moving_average"], 5)
    number = best(whole)
    assert number is not None and whole[number].score == max(trial.score or -9 for trial in whole)
    own = search.run_trial(plan, {"gain": 0.3}, executor="serial")  # the agent's own settings, by their values
    assert own.scores == whole[0].scores


def test_trials_that_fail_are_kept_with_their_reason() -> None:
    def half(space: Space, trials: Sequence[Trial], number: int, seed: int) -> dict[str, Any]:
        return {"gain": 0.5 if number % 2 else 7.0}

    trials = search.search(Search(*PLAN), Path("a.jsonl"), 3, propose=half)
    assert [trial.score is None for trial in trials] == [False, False, True] and "gain is 7.0" in trials[2].reason
    assert search.search(Search(*PLAN), Path("a.jsonl"), 3, propose=half) == trials
    assert best(trials) in (0, 1) and best(trials[2:]) is None
    assert best([Trial({}, 0.5, [], 1.0), Trial({}, 0.5, [], 1.0)]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no file of a search"),
        (b"{", "it is no JSON"),
        (b"\xff", "it is no JSON"),
        (b"HEADER\n[]", "it holds list"),
        (b'HEADER\n{"settings": {}}', "is no file of a search"),
        (b'HEADER\n{"settings": [], "score": 1.0, "scores": [], "seconds": 1.0}', "settings is []"),
        (b'HEADER\n{"settings": {}, "score": "1", "scores": [], "seconds": 1.0}', "score is '1'"),
        (b'HEADER\n{"settings": {}, "score": NaN, "scores": [], "seconds": 1.0}', "NaN is no JSON"),
        (b'{"agent": "moving_average"}', "is of a search with another experiment and format and runs"),
    ],
)
def test_files_of_other_searches_are_refused(content: bytes, message: str) -> None:
    plan = Search(*PLAN)
    content = content.replace(b"HEADER", json.dumps(plan.about()).encode())
    Path("a.jsonl").write_bytes(content)
    with pytest.raises(ValueError) as error:
        search.search(plan, Path("a.jsonl"), 2, propose=at_random)
    assert message in str(error.value) and "remove it to begin again" in str(error.value)
    assert Path("a.jsonl").read_bytes() == content


# --- spaces ---


def test_every_declared_setting_is_one_of_the_agent() -> None:
    assert set(SPACES) <= set(AGENTS)
    pytest.importorskip("torch")
    tracks = {"lqr_model_based": "control/lqr", "lqr_regret": "control/lqr-preferences"}
    tracks["moving_average"] = "coevolution/follow-linear"
    for agent, space in SPACES.items():
        what = experiments.find(tracks.get(agent, "control/pendulum"))
        check_space(space)
        ends = {name: value[-1] if isinstance(value, list) else value["high"] for name, value in space.items()}
        small = {"buffer_size": 10} if agent == "sac" else {}
        make(agent, gym.make(what.env_id, **what.kwargs), seed=0, **ends, **small)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "search_space is {}"),
        ([], "search_space is"),
        ({"a b": [1, 2]}, "holds 'a b'"),
        ({"a": [1]}, "expected a list of two or more different values"),
        ({"a": [1, 1]}, "different values"),
        ({"a": [1, [2]]}, "different values"),
        ({"a": [1, float("nan")]}, "different values"),
        ({"a": 3}, "different values"),
        ({"a": {"low": 1}}, r"has the names \['low'\]"),
        ({"a": {"low": 1, "high": 1}}, "reaches from 1 to 1"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "expected a low bound above 0 below"),
        ({"a": {"low": 0, "high": float("inf")}}, "'high'"),
        ({"a": {"low": 0, "high": 1, "log": "yes"}}, "'log'"),
    ],
)
def test_spaces_that_are_none_are_refused(space: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_space(space)


def test_agents_of_ones_own_declare_their_space(folder: Path) -> None:
    text = "from valuegym.agents.uniform import Uniform as Base\nclass Own(Base):\n    search_space = {'a': [1, 2]}\n"
    (folder / "own_space.py").write_text(text + "class Other(Base):\n    pass\n")
    assert references.search_space("own_space.py:Own") == {"a": [1, 2]}
    with pytest.raises(ValueError, match=r"Other declares no settings to search; .* attribute search_space"):
        references.search_space("own_space.py:Other")
    with pytest.raises(ValueError, match=r"oracle declares no settings to search; those that do are ppo, sac"):
        references.search_space("oracle")


# --- the command ---


def test_the_command_prints_the_best_as_flags(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def better(space: Space, trials: Sequence[Trial], number: int, seed: int) -> dict[str, Any]:
        return {"gain": 1.0 - 0.1 * number}

    monkeypatch.setattr(tune, "search", lambda *args: search.search(*args, propose=better))
    words = ["tune", "--agent", "moving_average", "--experiment", TRACK.id, "--output", "a/b.jsonl"]
    assert main([*words, "--trials", "3"]) == 0
    output = capsys.readouterr()
    trials = search.read_trials(Path("a/b.jsonl"), json.loads(json.dumps(Search(*PLAN).about())))
    number = best(trials)
    assert number is not None and output.err.count("trial ") >= 3 and "(its own settings)" in output.err
    first, _, last = output.out.splitlines()
    assert first.startswith(f"best    trial {number} of 3: {trials[number].score:.3f}; the agent's own settings: ")
    assert last.startswith(f"next    valuegym run --agent moving_average --experiment {TRACK.id}")
    assert last.endswith(tune.flags(trials[number].settings))
    command = last.split()[2:]
    assert main([*command, "--seed", "0", "--dry-run"]) == 0
    assert main([*words, "--trials", "2", "--seed", "1"]) == 2
    assert "is of a search with another seed" in capsys.readouterr().err
    assert tune.flags({"a": 0.5, "b": "vagram", "c": True}) == "--set a=0.5 --set b=vagram --set c=true"


def test_it_says_what_is_missing_or_wrong(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for words, message in (
        (("--agent", "oracle", "--experiment", TRACK.id), "oracle declares no settings"),
        (("--agent", "moving_averages", "--experiment", TRACK.id), "Did you mean moving_average"),
        (("--agent", "moving_average", "--experiment", "own/none"), "There is no experiment 'own/none'"),
        (("--agent", "moving_average", "--experiment", TRACK.id, "--runs", "101"), "runs is 101"),
    ):
        assert main(["tune", *words, "--output", "a.jsonl"]) == 2
        assert message in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", "--agent", "moving_average", "--experiment", TRACK.id, "--output", "a.jsonl"]) == 2
    assert f"A search needs Optuna: {extras.hint('search')}" in capsys.readouterr().err


# --- with Optuna ---


def test_optuna_proposes_within_the_space_and_by_number_alone() -> None:
    pytest.importorskip("optuna", reason="needs the extra search")
    space = {"x": {"low": 1e-4, "high": 1.0, "log": True}, "n": {"low": 1, "high": 9}, "c": ["a", "b"]}
    trials = [Trial({}, 0.0, [], 1.0)]
    for number in range(1, 30):
        settings = search.propose(space, trials, number, 5)
        assert settings == search.propose(space, trials, number, 5)
        assert 1e-4 <= settings["x"] <= 1 and settings["n"] in range(1, 10) and settings["c"] in "ab"
        score = -abs(np.log10(settings["x"]) + 2) - 0.1 * abs(settings["n"] - 7)
        trials.append(Trial(settings, None if number % 10 == 9 else float(score), [], 1.0))
    late = [trial.score for trial in trials[15:] if trial.score is not None]
    early = [trial.score for trial in trials[1:10] if trial.score is not None]
    assert np.mean(late) > np.mean(early)
    assert search.propose(space, trials[:1], 1, 5) != search.propose(space, trials[:1], 1, 6)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_search_goes_on_to_the_same_trials(folder: Path) -> None:
    pytest.importorskip("optuna", reason="needs the extra search")
    words = ["tune", "--agent", "moving_average", "--experiment", "coevolution/follow-linear", "--executor", "serial"]

    def start(output: str) -> subprocess.Popen[str]:
        line = [sys.executable, "-m", "valuegym.leaderboards", *words, "--trials", "14", "--output", output]
        return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    assert start("whole.jsonl").communicate(timeout=300)[0].startswith("best ")
    for lines in (3, 9):
        process = start("parts.jsonl")
        while not Path("parts.jsonl").exists() or len(Path("parts.jsonl").read_text().splitlines()) < lines:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    last = start("parts.jsonl")
    assert last.communicate(timeout=300)[0].startswith("best ")
    found = []
    for name in ("whole.jsonl", "parts.jsonl"):
        rows = [json.loads(line) for line in Path(name).read_text().splitlines()]
        found.append([row | {"seconds": 0} for row in rows])
    assert found[0] == found[1] and len(found[0]) == 15


def test_numbers_of_numpy_are_those_of_the_header() -> None:
    plain = search.Search("moving_average", "coevolution/follow-linear", 2, 5, 3)
    numpy = search.Search("moving_average", "coevolution/follow-linear", np.int64(2), np.int64(5), np.int64(3))  # type: ignore[arg-type]
    assert json.dumps(numpy.about()) == json.dumps(plain.about())


@pytest.mark.parametrize(
    "change", [{"scores": "ab"}, {"scores": [None]}, {"seconds": "x"}, {"seconds": -1}, {"reason": 3}, {"score": True}]
)
def test_every_field_of_a_trial_is_checked(change: dict[str, Any], tmp_path: Path) -> None:
    trial = {"settings": {}, "score": 0.5, "scores": [0.5], "seconds": 1.0, "reason": ""} | change
    path = tmp_path / "trials.jsonl"
    path.write_text(f"{{}}\n{json.dumps(trial)}\n")
    with pytest.raises(ValueError, match=f"is no file of a search: {next(iter(change))} is"):
        search.read_trials(path, {})
