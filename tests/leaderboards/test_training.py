"""Agents that are trained and saved by the command line play as those of runs, and can be watched."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import valuegym
from valuegym.agents import make, saved
from valuegym.agents.base import rules
from valuegym.leaderboards import experiments, training
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.cli.train import frames
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.run import play_record
from valuegym.leaderboards.tracking import curve
from valuegym.leaderboards.tracking.log import read_offline
from valuegym.leaderboards.verification.verify import verify

pytest.importorskip("stable_baselines3")

TRACK = Experiment(
    id="own/pendulum",
    about="A short one.",
    env_id="valuegym/Pendulum-v0",
    arguments="{}",
    agents=("sac",),
    timesteps=60,
    episodes=2,
    seeds=(0, 1),
    score="return",
)
SMALL = {"warmup_steps": 20, "refresh": 20, "model_steps": 3, "updates_per_step": 1, "hidden": 8, "width": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "vagram": SMALL,
    "mpc": SMALL | {"horizon": 1, "candidates": 4},
    "sac": {"learning_starts": 20, "gradient_steps": 1},
    "ppo": {"n_steps": 20, "batch_size": 20},
    "preference_sac": {"every": 20, "rounds": 2, "segment_length": 3, "fit_steps": 2, "learning_starts": 20},
}
QUICK = ("vagram", "ppo")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(experiments.EXPERIMENTS, TRACK.id, TRACK)
    yield tmp_path


def commanded(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(words)
    output = capsys.readouterr()
    return status, output.out, output.err


def options(name: str) -> list[str]:
    settings = SETTINGS[name].items()
    return [
        "--agent",
        name,
        *(word for key, value in settings for word in ("--set", f"{key}={json.dumps(value)}")),
    ]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SETTINGS]
)
def test_a_saved_agent_makes_the_record_of_a_run(capsys: pytest.CaptureFixture[str], name: str) -> None:
    where = ("--experiment", TRACK.id, "--seed", "1")
    status, out, err = commanded(capsys, "train", *options(name), *where)
    assert status == 0, err
    path, again = out.splitlines()
    assert path.startswith(f"models/{name}-") and "own-pendulum-seed-1" in path
    assert again == f"valuegym run --agent saved:{path} --experiment {TRACK.id} --seed 1"
    status, own, err = commanded(capsys, *again.split()[1:], "--executor", "serial")
    assert status == 0, err
    status, direct, err = commanded(capsys, "run", *options(name), *where, "--executor", "serial")
    assert status == 0, err
    records = [read_record(Path(text.strip())) for text in (own, direct)]
    assert records[0].episodes == records[1].episodes and records[0].scores == records[1].scores
    assert verify(Path(own.strip())).reason == ""
    about = records[0].provenance["agent"]
    assert about["reference"] == f"saved:{Path(path).name}" and about["trained"]["timesteps"] == 60
    assert about["trained"]["agent"] == name and about["trained"]["settings"] == SETTINGS[name]
    status, _, err = commanded(capsys, "train", *options(name), *where)
    assert status == 2 and "is there already; --overwrite replaces it" in err
    if name == "ppo":
        found = valuegym.evaluate(f"saved:{path}", TRACK.id, seeds=[1])
        np.testing.assert_array_equal(found.scores[0], records[1].scores)
        status, out, _ = commanded(capsys, "list", "--agent", f"saved:{path}", "--track", TRACK.id)
        assert out.split()[-1] == "plays"
        status, out, _ = commanded(capsys, "list", "--agent", f"saved:{path}", "--track", "control/lqr")
        assert "was trained with the observation space" in out


def test_more_steps_and_another_device(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train", *options("vagram"), "--experiment", TRACK.id, "--timesteps", "40", "--device", "cpu")
    status, _, err = commanded(capsys, *words, "--output", "a.safetensors")
    assert status == 0, err
    about = saved.read_about("saved:a.safetensors")
    assert about["timesteps"] == 40 and about["settings"] == SMALL and about["environment"]["id"] == TRACK.env_id
    assert about["versions"]["valuegym"] == valuegym.__version__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--agent", "vagrams", "--experiment", TRACK.id), "Did you mean vagram"),
        (("--agent", "vagram", "--experiment", "own/none"), "There is no experiment 'own/none'"),
        (("--agent", "vagram", "--experiment", "control/lqr-preferences"), "has no budget"),
        (("--agent", "vagram", "--experiment", TRACK.id, "--seed", "-1"), "seed is -1"),
        (("--agent", "vagram", "--experiment", TRACK.id, "--device", "warp"), "device is 'warp'"),
        (("--agent", "uniform", "--experiment", TRACK.id, "--device", "cpu"), "cannot be made by Uniform"),
        (("--agent", "vagram", "--experiment", TRACK.id, "--output", "a.zip"), "files that end with .safetensors"),
        (("--agent", "ppo", "--experiment", TRACK.id, "--output", "a.pt"), "files that end with .zip"),
        (("--agent", "vagram", "--experiment", TRACK.id, "--output", "file/there"), "Cannot write to file"),
        (("--agent", "own.py:Own", "--experiment", TRACK.id), "a file names no code"),
    ],
)
def test_what_is_wrong_is_said_before_any_training(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    (folder / "file").write_text("")
    (folder / "own.py").write_text("from valuegym.agents.uniform import Uniform as Own\n")
    status, out, err = commanded(capsys, "train", *words)
    assert status == 2 and out == "" and message in err and "Traceback" not in err
    assert not [*folder.rglob("*.zip"), *folder.rglob("*.safetensors")]


def test_an_interrupted_training_saves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from valuegym.agents.control.vagram import VaGraM

    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(VaGraM, "make_learner", interrupted)
    status, out, err = commanded(capsys, "train", *options("vagram"), "--experiment", TRACK.id)
    assert status == 130 and out == "" and not list(Path("models").iterdir())
    assert "nothing of the training is kept; the same command begins again." in err


@pytest.mark.parametrize("name", QUICK)
def test_checkpoints_play_and_change_nothing(capsys: pytest.CaptureFixture[str], name: str) -> None:
    states = []
    for output, more in (("plain", ()), ("kept", ("--checkpoint", "20"))):
        words = ("train", *options(name), "--experiment", TRACK.id, "--output", output, *more)
        status, out, err = commanded(capsys, *words)
        assert status == 0, err
        player: Any = make(f"saved:{out.splitlines()[0]}", gym.make(TRACK.env_id))
        states.append(play_record(player, "last", TRACK.id, 0).episodes)
    assert states[0] == states[1]
    files = sorted(path for path in Path("kept").iterdir() if "-step-" in path.name)
    assert [path.stem.rpartition("-")[2] for path in files] == ["20", "40"] and len(list(Path("kept").iterdir())) == 3
    for path, steps in zip(files, (20, 40), strict=True):
        assert saved.read_about(f"saved:{path}")["timesteps"] == steps
        make(f"saved:{path}", gym.make(TRACK.env_id)).predict(np.zeros((2, 3), np.float32))


# --- pictures ---


class Recorder:
    """An oracle whose actions are kept."""

    def __init__(self) -> None:
        self.player: Any = make("oracle", gym.make(TRACK.env_id))
        self.attach = self.player.attach
        self.actions: list[Any] = []

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        action, memory = self.player.predict(*args, **kwargs)
        self.actions.append(action.tolist())
        return action, memory


def test_the_episode_that_is_shown_is_that_of_the_record(capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    record = read_record(valuegym.record(make("oracle", gym.make(TRACK.env_id)), TRACK.id, "mine", seed=1))
    player = Recorder()
    pictures, per_second = frames(player, TRACK, 1, episode=1, steps=7)
    assert pictures.shape[0] == 8 and pictures.dtype == np.uint8 and per_second == 20
    assert player.actions == record.episodes[1].actions[:7]
    for ending in (".gif", ".png", ".webp"):
        words = ("render", "--agent", "oracle", "--experiment", TRACK.id, "--steps", "3", "--output", f"a{ending}")
        status, out, err = commanded(capsys, *words)
        assert status == 0 and out == f"a{ending}\n", err
        with Image.open(f"a{ending}") as image:
            assert image.n_frames == 4 and image.size == pictures.shape[2:0:-1]
    for words, message in (
        (("--output", "a.mpg"), "ending of output is '.mpg'"),
        (("--output", "a.gif", "--episode", "2"), "episode is 2; expected an integer from 0 to 1"),
    ):
        status, _, err = commanded(capsys, "render", "--agent", "oracle", "--experiment", TRACK.id, *words)
        assert status == 2 and message in err


# --- progress ---


def test_observers_see_every_step_and_change_nothing() -> None:
    seen: list[tuple[int, float | None]] = []
    records = []
    for observers in ((), [lambda steps, episode_return: seen.append((steps, episode_return))]):
        for name in QUICK:
            player, _ = training.prepare(name, TRACK, 1, settings=SETTINGS[name], observers=observers)
            training.learn(player, 40)
            records.append(play_record(player, name, TRACK.id, 1).episodes)
    assert records[:2] == records[2:]
    assert seen == 2 * [(steps, None) for steps in range(1, 41)], "no episode has ended"


def test_returns_are_sums_of_rewards() -> None:
    seen: list[tuple[int, float | None]] = []
    env = training.ObservedEnv(gym.make("valuegym/Delivery-v0"), [lambda *values: seen.append(values)])
    totals, total, ends = [], 0.0, 0
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(1_000):
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        total += float(reward)
        if terminated or truncated:
            totals.append(total)
            total, ends = 0.0, ends + 1
            env.reset()
    assert ends > 5 and [value for _, value in seen if value is not None] == totals and seen[-1][0] == 1_000
    assert rules(env).observation_space == rules(env.env).observation_space


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, in_files, shown in (
        (Terminal(), False, True),
        (io.StringIO(), False, False),
        (io.StringIO(), True, True),
    ):
        monkeypatch.setattr(sys, "stderr", stream)
        with training.progress(100, "sac on own/pendulum", in_files) as observer:
            assert stream.getvalue() == "", "nothing before the first step"
            for step in range(1, 101):
                observer(step, -step if step % 10 == 0 else None)
        text = stream.getvalue()
        assert ("sac on own/pendulum" in text and "100/100" in text and "return=-55" in text) is shown
    with training.progress(100, "silent") as observer:
        pass


def test_runs_in_this_process_show_their_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    where = ("--experiment", TRACK.id, "--seed", "1", "--executor", "serial")
    assert main(["run", *options("vagram"), *where]) == 0
    assert re.search(r"vagram-\w+ on own/pendulum, seed 1: .*60\b", stream.getvalue())


# --- learning curves ---


def test_a_learning_curve_is_in_wandb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    words = ("train", *options("ppo"), "--experiment", TRACK.id, "--timesteps", "440", "--track", "offline")
    status, out, err = commanded(capsys, *words)
    assert status == 0, err
    assert "Learning curve offline; to upload: valuegym sync" in err and out.startswith("models/ppo-")
    [log] = Path("models").rglob("run-*.wandb")
    run = read_offline(log.parent)
    rows = [{key: row[key] for key in ("timesteps", "length")} for row in run["history"]]
    assert rows == [{"timesteps": 200, "length": 200}, {"timesteps": 400, "length": 200}]
    assert all(-3_000 < row["return"] < 3_000 for row in run["history"])
    assert run["config"]["agent"] == "ppo" and run["config"]["timesteps"] == 440


@pytest.mark.slow
def test_without_a_key_the_curve_is_written_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("WANDB_BASE_URL", "http://127.0.0.1:9"), ("HOME", str(tmp_path)), ("NETRC", "none")):
        monkeypatch.setenv(name, value)
    with curve.log_curve("name", {"a": 1}, tmp_path, "online") as one:
        one.observe(7, 0.5)
    assert one.message.startswith("wandb has no API key") and "so it was written offline" in one.message
    [log] = tmp_path.rglob("offline-run-*/run-*.wandb")
    [row] = read_offline(log.parent)["history"]
    assert (row["timesteps"], row["return"], row["length"]) == (7, 0.5, 7)


def test_a_curve_that_fails_stops_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setattr(curve, "_child", None)
    monkeypatch.setattr(sys, "executable", "false")
    with curve.log_curve("name", {}, tmp_path) as one:
        for step in range(1, 2_000):
            one.observe(step, 1.0)
    assert one.message.startswith("wandb could not write the learning curve: exit status")
    with pytest.raises(ValueError, match="mode is 'on'"), curve.log_curve("name", {}, tmp_path, "on"):
        pass


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is not None, reason="TensorBoard is installed")
def test_tensorboard_is_for_those_that_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    for name, message in (("ppo", "tensorboard is not installed"), ("vagram", "does not take these settings")):
        words = ("train", *options(name), "--experiment", TRACK.id, "--tensorboard", "logs")
        status, out, err = commanded(capsys, *words)
        assert status == 2 and out == "" and message in err and "Traceback" not in err
