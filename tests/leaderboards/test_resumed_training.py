"""Trainings that were killed go on from the state that is kept, and end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import checkpoints
from valuegym.leaderboards import experiments, training
from valuegym.leaderboards.cli import train as command
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.run import play_record

pytest.importorskip("stable_baselines3")
torch = pytest.importorskip("torch")

TRACK = Experiment(
    id="own/pendulum-again",
    about="A short one, whose episodes of 200 steps end while it is trained.",
    env_id="valuegym/Pendulum-v0",
    agents=("sac",),
    timesteps=260,
    episodes=2,
    seeds=(0, 1),
)
SMALL = {"warmup_steps": 40, "refresh": 40, "model_steps": 3, "updates_per_step": 1, "hidden": 8, "width": 8}
ASKING = {
    "every": 45,
    "rounds": 3,
    "budget": 9,
    "segment_length": 4,
    "horizon": 17,
    "candidates": 3,
    "fit_steps": 4,
    "width": 8,
    "memory": 130,
}
SETTINGS: dict[str, dict[str, Any]] = {
    "vagram": SMALL | {"model_buffer": 3000},
    "mpc": SMALL | {"horizon": 1, "candidates": 4},
    "mbpo": SMALL,
    "sac": {"learning_starts": 40, "gradient_steps": 1, "buffer_size": 150},
    "ppo": {"n_steps": 20, "batch_size": 20},
    "preference_sac": ASKING | {"learning_starts": 30, "gradient_steps": 1, "buffer_size": 150, "pretrain": True},
    "preference_ppo": ASKING | {"n_steps": 20, "batch_size": 20, "select": "disagreement_k_center"},
}


class Stopped(Exception):
    """The training ends here, as if it were killed."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(experiments.EXPERIMENTS, TRACK.id, TRACK)
    return tmp_path


def learnt(name: str, steps: int, stops: tuple[int, ...] = ()) -> Any:
    """Return an agent that was trained, stopped after so many steps and each time made again from the file."""
    for until in (*stops, 0):
        observers = [lambda *_: None]
        player, env = training.prepare(name, TRACK, 1, settings=SETTINGS[name], observers=observers, logged=True)
        kept = training.KeptTraining(Path("state.training"), player, env, {"agent": name}, 0.0)
        if kept.path.exists():
            draw_from_global_generators()
        kept.resume()

        def stop(agent: Any, until: int = until, kept: Any = kept, env: Any = env) -> None:
            if until and env.steps >= until:
                kept.keep()
                raise Stopped

        player.after_step = stop
        if until:
            with pytest.raises(Stopped):
                training.learn(player, steps)
        else:
            training.learn(player, steps)
    return player


def draw_from_global_generators() -> None:
    """Draw, as another process may have done, from the generators that Stable-Baselines3 draws from."""
    np.random.random(), random.random(), torch.rand(3)  # noqa: NPY002


def arrays(player: Any) -> dict[str, Any]:
    state = player.policy.state_dict() if hasattr(player, "policy") else player.state_dict()
    return {key: np.asarray(value) for key, value in state.items()}


QUICK = [pytest.param(name, 80, (20, 60), id=name) for name in ("vagram", "sac", "ppo")]
QUICK += [pytest.param(name, 160, (20, 100), id=name) for name in ("preference_sac", "preference_ppo")]
LONG = [pytest.param(name, 260, (20, 100, 230), id=f"{name}-long", marks=pytest.mark.slow) for name in SETTINGS]


@pytest.mark.parametrize(("name", "steps", "stops"), [*QUICK, *LONG])
def test_a_resumed_training_ends_with_the_same_bits(name: str, steps: int, stops: tuple[int, ...]) -> None:
    whole = learnt(name, steps)
    Path("state.training").unlink(missing_ok=True)
    parts = learnt(name, steps, stops)
    one, two = arrays(whole), arrays(parts)
    assert one.keys() == two.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], two[key], err_msg=key)
    assert play_record(whole, name, TRACK.id, 1).episodes == play_record(parts, name, TRACK.id, 1).episodes


# --- the command ---


def words(name: str, output: str, *more: str) -> list[str]:
    settings = [part for key, value in SETTINGS[name].items() for part in ("--set", f"{key}={json.dumps(value)}")]
    return ["train", "--agent", name, *settings, "--experiment", TRACK.id, "--output", output, *more]


def test_ctrl_c_keeps_the_training_and_the_same_command_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from valuegym.agents.control.vagram import VaGraM

    assert main(words("vagram", "whole.safetensors", "--timesteps", "120")) == 0
    real = VaGraM.sample_batches

    def interrupted(self: Any) -> Any:
        if self.steps == 90:
            signal.raise_signal(signal.SIGINT)
        return real(self)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(VaGraM, "sample_batches", interrupted)
        capsys.readouterr()
        assert main(words("vagram", "parts.safetensors", "--timesteps", "120")) == 130
    output = capsys.readouterr()
    assert "the training up to step 90 is kept in parts.training, the same command goes on from here." in output.err
    assert output.out == "" and not Path("parts.safetensors").exists() and signal.getsignal(signal.SIGINT) is before
    assert main(words("vagram", "parts.safetensors", "--timesteps", "120", "--set", "width=16")) == 2
    assert "parts.training is of a training with another settings; remove parts.training" in capsys.readouterr().err
    assert main(words("vagram", "parts.safetensors", "--timesteps", "120")) == 0
    assert "goes on from step 90" in capsys.readouterr().err
    assert Path("parts.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == ["parts.safetensors", "whole.safetensors"]


def test_agents_that_keep_no_state_say_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from valuegym.agents.control.lqr_model_based import LQRModelBased

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LQRModelBased, "learn", interrupted)
    assert main(["train", "--agent", "lqr_model_based", "--experiment", "control/lqr"]) == 130
    message = "nothing of the training is kept, because LQRModelBased keeps no state; the same command begins again."
    assert message in capsys.readouterr().err


def test_states_that_do_not_fit_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(self: Any, player: Any) -> None:
        self.keep()
        if self.env.steps == 60:
            raise OSError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(training.KeptTraining, "_after_step", stopped)
        assert main(words("ppo", "a.zip")) == 2 and "stopped" in capsys.readouterr().err
    content = Path("a.training").read_bytes()
    assert len(content) < 200_000 and b"pickle" not in content
    state, about = checkpoints.decode(Path("a.training"))
    spoilt = json.loads(json.dumps(state["agent"]["counters"]))
    for change, message in (
        (lambda: Path("a.training").write_bytes(content[:-9]), "a.training is no state of a training"),
        (lambda: Path("a.training").write_bytes(b"nonsense" * 9), "a.training is no state of a training"),
        (lambda: rewrite(state | {"environment": state["environment"] | {"digest": "0"}}, about), "something else"),
        (lambda: rewrite(state | {"agent": {"counters": spoilt}}, about), "the state does not fit this agent"),
        (lambda: rewrite(state | {"agent": state["agent"] | {"observation": []}}, about), "does not fit this agent"),
        (lambda: rewrite(state | {"agent": state["agent"] | {"starts": {}}}, about), "does not fit this agent"),
        (lambda: rewrite(state | {"environment": state["environment"] | {"resets": [[]]}}, about), "cannot go on"),
        (lambda: rewrite({}, about), "cannot go on"),
        (lambda: rewrite(state, about | {"seed": 7}), "of a training with another seed"),
    ):
        change()  # type: ignore[no-untyped-call]
        assert main(words("ppo", "a.zip")) == 2
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error, error
    rewrite(state, about | {"versions": {"numpy": "0.1"}})
    assert main(words("ppo", "a.zip")) == 0 and "written by other versions" in capsys.readouterr().err
    with zipfile.ZipFile("a.zip") as archive:
        assert "after_step" not in json.loads(archive.read("data"))


def rewrite(state: Any, about: dict[str, Any]) -> None:
    Path("a.training").write_bytes(checkpoints.encode(state, about))


@pytest.mark.parametrize("seconds", ["-1", "nan", "soon"])
def test_seconds_are_numbers(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words("ppo", "a.zip", "--keep", seconds))
    assert f"{seconds!r} is no number of seconds" in capsys.readouterr().err
    assert command.KEEP == 60


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("name", ["vagram", "sac", "ppo", "preference_sac", "preference_ppo"])
def test_a_killed_training_goes_on_to_the_same_bits(name: str, folder: Path) -> None:
    text = "from valuegym import Experiment\nTRACK = Experiment(id='own/killed', about='Short.', env_id="
    Path("track.py").write_text(f"{text}'{TRACK.env_id}', timesteps=260, episodes=2)\n")
    suffix = ".safetensors" if name == "vagram" else ".zip"

    def start(output: str) -> subprocess.Popen[str]:
        command = words(name, output + suffix, "--keep", "0")
        command[command.index(TRACK.id)] = "track.py:TRACK"
        line = [sys.executable, "-m", "valuegym.leaderboards", *command]
        return subprocess.Popen(line, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    whole, kills, draws = start("whole"), 0, random.Random(name)
    assert whole.communicate(timeout=300) and whole.returncode == 0
    for _ in range(2):
        process = start("parts")
        before = Path("parts.training").stat().st_mtime_ns if Path("parts.training").exists() else 0
        while process.poll() is None:
            if Path("parts.training").exists() and Path("parts.training").stat().st_mtime_ns != before:
                time.sleep(draws.random() * 0.2)
                os.kill(process.pid, signal.SIGKILL)
                break
            time.sleep(0.001)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    last = start("parts")
    if kills == 2:
        assert "goes on from step" in last.communicate(timeout=300)[1] and last.returncode == 0
    else:
        last.communicate()
    assert kills >= 1 and not Path("parts.training").exists()
    one, two = (content(Path(output + suffix)) for output in ("whole", "parts"))
    assert one == two


def content(path: Path) -> bytes | list[Any]:
    """Return a model's bytes; of a zip those of its networks, for the rest holds times."""
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return [archive.read(name) for name in sorted(archive.namelist()) if name.endswith(".pth")]


# --- files and environments ---


def test_trees_come_back_as_they_were(folder: Path) -> None:
    rng = np.random.default_rng(3)
    tree = {
        "arrays": [rng.normal(size=(2, 3)), np.float32(0.1), np.array([], np.float32), np.array([True, False])],
        "kinds": [
            np.arange(3, dtype=kind) for kind in ("int8", "int32", "int64", "uint8", "uint16", "uint32", "float16")
        ],
        "tensor": torch.tensor([1.5, -0.0, float("nan")]),
        "texts": {"a": "b", "": None, "deep": [[1, 2.5, 2**100, True]]},
    }
    Path("t").write_bytes(checkpoints.encode(tree, {"agent": "x"}))
    again, about = checkpoints.decode(Path("t"))
    assert about == {"agent": "x"} and again["texts"] == tree["texts"]
    for one, two in zip(tree["arrays"] + tree["kinds"], again["arrays"] + again["kinds"], strict=True):  # type: ignore[operator]
        assert np.asarray(one).dtype == two.dtype and np.asarray(one).tobytes() == two.tobytes()
    assert tree["tensor"].numpy().tobytes() == again["tensor"].tobytes()  # type: ignore[attr-defined]
    for wrong in ({1: 2}, {"array": 1}, {"a": object()}, np.array([object()])):
        with pytest.raises(ValueError, match="state"):
            checkpoints.encode(wrong, {})


def test_a_log_is_played_again_to_the_bit() -> None:
    for id, options in (
        ("valuegym/Pendulum-v0", None),
        ("valuegym/Delivery-v0", None),
        ("CartPole-v1", {"low": -0.01}),
    ):
        log = checkpoints.EnvLog(gym.make(id))
        log.action_space.seed(0)
        log.reset(seed=3, options=options)
        for _ in range(300):
            if any(log.step(log.action_space.sample())[2:4]):
                log.reset()
        assert (log.unknown == "") == (options is None)
        if options is None:
            again = checkpoints.EnvLog(gym.make(id))
            checkpoints.replay(again, again, log.state())
            assert again.digest() == log.digest() and len(again.actions) == 300
            other = checkpoints.EnvLog(gym.make(id))
            with pytest.raises(ValueError, match="something else"):
                checkpoints.replay(other, other, log.state() | {"resets": [[0, 4], *log.state()["resets"][1:]]})


@pytest.mark.parametrize("ragged", [False, True])
def test_logs_take_observations_and_actions_of_any_form(ragged: bool) -> None:
    class Nested(gym.Env[Any, Any]):
        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return ({"a": {"b": np.zeros(2)}}, (np.zeros(3), 1)), {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            return self.reset()[0], 1.0, False, False, {}

    logs = [checkpoints.EnvLog(Nested()) for _ in range(2)]
    for log in logs:
        log.reset(seed=0)
        log.step((np.zeros(2), np.zeros(3)) if ragged else np.zeros(2))
    assert logs[0].digest() == logs[1].digest()
    assert bool(logs[0].unknown) == ragged


def test_arrays_of_the_other_order_of_bytes_come_back(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(checkpoints.encode({"a": np.arange(3, dtype=">f4")}, {}))
    assert checkpoints.decode(path)[0]["a"].tolist() == [0.0, 1.0, 2.0]
