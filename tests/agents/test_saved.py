"""Saved agents play to the bit as those that were saved, and files are data: nothing in them is executed."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import AGENTS, make, references, saved, tensors
from valuegym.agents.preference import constant
from valuegym.leaderboards import experiments

torch = pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

SMALL_MODEL = {"warmup_steps": 20, "refresh": 20, "model_steps": 3, "members": 2, "width": 8, "hidden": 8}
SMALL_MODEL |= {"updates_per_step": 1, "rollouts": 2, "rollout_every": 10, "ramp": 10}
ASKING = {"budget": 4, "every": 12, "rounds": 2, "segment_length": 3, "members": 2, "width": 4, "fit_steps": 2}
SETTINGS: dict[str, dict[str, Any]] = {
    "vagram": SMALL_MODEL | {"critic": "hl_gauss"},
    "mbpo": SMALL_MODEL,
    "mpc": SMALL_MODEL | {"horizon": 2, "candidates": 6},
    "sac": {"learning_starts": 20, "gradient_steps": 1, "policy_kwargs": {"net_arch": [8]}},
    "ppo": {"n_steps": 16, "batch_size": 8, "device": "cpu"},
    "preference_sac": ASKING | {"learning_starts": 20, "policy_kwargs": {"net_arch": [8]}},
    "preference_ppo": ASKING | {"n_steps": 16, "batch_size": 8},
    **{name: {"updates": 1} for name, entry in AGENTS.items() if entry.extra == "text" and name != "language"},
}
ON_TRACKS = [name for name in AGENTS if name != "language"]  # which needs a model: test_language_agent.py
LEARN = {"preference_sac", "preference_ppo", "vagram", "mbpo", "mpc", "sac", "ppo", "lqr_model_based", "linear_search"}
SHORT = {"evaluation_points": [0, 1]}


@pytest.fixture(autouse=True)
def quick_search(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The constant agent looks at two training tasks instead of all of them."""
    monkeypatch.setattr(constant, "TASKS", 2)
    constant._search.cache_clear()
    yield
    constant._search.cache_clear()


def track_of(name: str) -> dict[str, Any]:
    """Arguments of `gym.make` for a track of this agent, with few queries where there are any."""
    tracks = [track for track in experiments.EXPERIMENTS.values() if name in track.agents and not track.data]
    preferred = [track for track in tracks if name == "ppo" and track.id == "control/pendulum"]
    track = (preferred or tracks)[0]
    kwargs = track.kwargs
    return {"id": track.env_id, **kwargs, **(SHORT if "evaluation_points" in kwargs else {})}


def trained(name: str) -> tuple[Any, Any, dict[str, Any]]:
    kwargs = track_of(name)
    env = gym.make(**kwargs)
    agent: Any = make(name, env, seed=5, **SETTINGS.get(name, {}))
    if name in LEARN:
        agent.learn(60)
    return agent, env, kwargs


def written(folder: Path, agent: Any, name: str, env: Any, **about: Any) -> str:
    path = folder / f"{name}{saved.suffix(agent)}"
    path.write_bytes(saved.encode(agent, name, env, 5, SETTINGS.get(name, {}), **about))
    return f"saved:{path}"


def actions(agent: Any, kwargs: dict[str, Any], deterministic: bool = True) -> list[Any]:
    # Gymnasium's own vector form of the cart and pole takes no seed for each row.
    mode = "sync" if kwargs["id"] == "CartPole-v1" else None
    envs: Any = gym.make_vec(num_envs=2, vectorization_mode=mode, **kwargs)
    if hasattr(agent, "attach"):
        agent.attach(envs)
    observation, _ = envs.reset(seed=[3, 4])
    torch.manual_seed(0)  # Stable-Baselines3 samples from torch's own generator
    memory, start, found = None, np.ones(2, np.bool_), []
    for _ in range(3):
        action, memory = agent.predict(observation, state=memory, episode_start=start, deterministic=deterministic)
        observation, _, terminated, truncated, _ = envs.step(action)
        start = terminated | truncated
        found.append(np.array(action))
    return found


@pytest.mark.parametrize(
    ("name", "deterministic"), [(name, True) for name in ON_TRACKS] + [(name, False) for name in sorted(LEARN)]
)
def test_loaded_agents_play_the_same_actions(tmp_path: Path, name: str, deterministic: bool) -> None:
    agent, env, kwargs = trained(name)
    text = written(tmp_path, agent, name, env, experiment="a/b", timesteps=60)
    loaded: Any = make(text, gym.make(**kwargs))
    assert loaded.learn(10) is loaded and loaded.about["agent"] == name and loaded.about["timesteps"] == 60
    before = actions(agent, kwargs, deterministic)
    np.testing.assert_array_equal(actions(loaded, kwargs, deterministic), before)
    if name in LEARN and deterministic:
        fresh: Any = make(name, env, seed=5, **SETTINGS.get(name, {}))
        assert not np.array_equal(actions(fresh, kwargs), before), "what was learnt is what is saved"


def test_every_agent_that_learns_is_in_the_test() -> None:
    """Agents of tracks with a budget that are none of these learn nothing before they act."""
    from valuegym.agents.base import BatchAgent

    for name in set(ON_TRACKS) - LEARN:
        agent = make(name, gym.make(**track_of(name)))
        assert isinstance(agent, BatchAgent) and type(agent).learn is BatchAgent.learn


def test_names_and_headers_of_saved_agents(tmp_path: Path) -> None:
    agent, env, _ = trained("lqr_model_based")
    text = written(tmp_path, agent, "lqr_model_based", env, experiment="control/lqr", timesteps=60)
    assert references.record_name(text) == "saved.lqr_model_based"
    for stem in ("x-seed-0", "x-seed-12", "x"):
        assert references.record_name(f"saved:models/{stem}.safetensors") == "saved.x"
    origin = references.origin(text)
    assert origin["reference"] == "saved:lqr_model_based.safetensors" and len(origin["source"]) == 64
    assert origin["trained"] == {
        "agent": "lqr_model_based",
        "seed": 5,
        "settings": {},
        "experiment": "control/lqr",
        "timesteps": 60,
    }
    assert str(tmp_path) not in json.dumps(origin)
    with pytest.raises(ValueError, match="trained model and takes no settings"):
        make(text, env, rank=1)
    with pytest.raises(ValueError, match=r"was trained with the observation space Box.*choose the track"):
        make(text, gym.make("valuegym/LQR-D4-v0"))


def test_a_saved_zip_is_one_of_stable_baselines3(tmp_path: Path) -> None:
    import stable_baselines3 as sb3

    agent, env, kwargs = trained("ppo")
    path = written(tmp_path, agent, "ppo", env).removeprefix("saved:")
    before = actions(agent, kwargs)
    np.testing.assert_array_equal(actions(make(f"ppo:{path}", env), kwargs), before)
    np.testing.assert_array_equal(actions(sb3.PPO.load(path, device="cpu"), kwargs), before)


def test_the_device_is_no_part_of_a_file(tmp_path: Path) -> None:
    agent, env, _ = trained("lqr_model_based")
    content = saved.encode(agent, "lqr_model_based", env, 0, {"device": "cuda", "rank": 1})
    (tmp_path / "a").write_bytes(content)
    assert saved.read_about(f"saved:{tmp_path / 'a'}")["settings"] == {"rank": 1}


def test_what_cannot_be_saved_says_so() -> None:
    agent, env, _ = trained("lqr_model_based")

    class Own:
        def predict(self) -> None: ...

    for wrong, name, settings, message in (
        (agent, "my.py:Own", {}, "a file names no code"),
        (Own(), "my_package.own", {}, r"has no state_dict\(\)"),
        (agent, "lqr_model_based", {"rank": object()}, "cannot be written as JSON"),
        (agent, "lqr_model_based", {"rank": float("nan")}, "cannot be written as JSON"),
    ):
        with pytest.raises(ValueError, match=message):
            saved.encode(wrong, name, env, 0, settings)


# --- hostile and damaged files ---


class Planted:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_planted_pickles_are_never_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    pickled = pickle.dumps(Planted(mark))
    agent, env, _ = trained("vagram")
    text = written(tmp_path, agent, "vagram", env)
    path = Path(text.removeprefix("saved:"))
    arrays, metadata = tensors.decode(path.read_bytes())
    stream = io.BytesIO()
    np.savez(stream, gain=np.array([Planted(mark)], object))
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("valuegym.json", metadata["valuegym"][:-1] + ', "algorithm": "ppo"}')
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", pickled)
    torch.save({"gain": Planted(mark)}, tmp_path / "torch")
    planted = arrays | {"actor.output.bias": np.frombuffer(pickled, np.uint8)}
    for content in (
        pickled,
        stream.getvalue(),
        zipped.getvalue(),
        (tmp_path / "torch").read_bytes(),
        tensors.encode(planted, metadata),
        tensors.encode(arrays, {"valuegym": pickled.decode("latin-1")}),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(path.name)) as refused:
            make(text, env)
        assert "\n" not in str(refused.value)
    assert not mark.exists()


ABOUT = {"format": 1, "agent": "lqr_model_based", "seed": 0, "settings": {}, "spaces": {}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2; this version of valuegym reads format 1"),
        ({"format": True}, "does not say which agent"),
        ({"agent": 3}, "does not say which agent"),
        ({"agent": "os:system"}, "names 'os:system', which is no agent"),
        ({"agent": "my.py:Agent"}, "which is no agent"),
        ({"agent": "saved:other"}, "which is no agent"),
        ({"agent": "ppo:model.zip"}, "which is no agent"),
        ({"agent": "nobody"}, "There is no agent 'nobody'"),
        ({"agent": "uniform"}, "holds arrays, and uniform learns none"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": "1"}, "does not say which agent"),
        ({"settings": []}, "does not say which agent"),
        ({"settings": {"width": 3}}, "its settings are"),
        ({"settings": {"env": 3}}, "does not take"),
        ({"settings": {"name": 3}}, "does not take"),
        ({"settings": {"rank": "x"}}, "rank is 'x'"),
        ({"algorithm": "ppo"}, "which is no agent"),
        ({"algorithm": None}, "which is no agent"),
    ],
)
def test_what_a_file_says_is_checked(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    env = gym.make("valuegym/LQR-v0")
    about = ABOUT | {"spaces": saved._spaces(env)} | change
    (tmp_path / "a").write_bytes(tensors.encode({"gain": np.zeros((1, 4))}, {"valuegym": json.dumps(about)}))
    with pytest.raises(ValueError, match=re.escape(message)):
        make(f"saved:{tmp_path / 'a'}", env)


def test_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    agent, env, _ = trained("vagram")
    text = written(tmp_path, agent, "vagram", env)
    path = Path(text.removeprefix("saved:"))
    arrays, metadata = tensors.decode(path.read_bytes())
    bias = "actor.output.bias"
    wrong = [{key: value for key, value in arrays.items() if key != name} for name in arrays]
    wrong += [arrays | {"more": np.zeros(2)}, arrays | {bias: np.zeros(3)}, arrays | {"counts": np.zeros(3)}]
    wrong += [arrays | {"generator": np.zeros(7, np.uint8)}, arrays | {"generator": np.zeros(5056, np.uint8)}]
    wrong += [arrays | {bias: np.full_like(arrays[bias], np.nan)}, arrays | {"values": np.array([1.0, -1.0])}, {}]
    assert len(wrong) > 20
    for case in wrong:
        path.write_bytes(tensors.encode(case, metadata))
        with pytest.raises(ValueError, match=r"does not fit|not finite"):
            make(text, env)


def test_damaged_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    agent, env, _ = trained("lqr_model_based")
    text = written(tmp_path, agent, "lqr_model_based", env)
    path = Path(text.removeprefix("saved:"))
    good = path.read_bytes()
    for content in (b"", b"<html>", b"PK", b"PK\3\4" + good, *(good[:n] for n in range(0, len(good), 31)), good + b"x"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no saved agent") as refused:
            make(text, env)
        assert "\n" not in str(refused.value)
    random = np.random.default_rng(0)
    for _ in range(100):  # a changed byte is noticed, or is in a number or a word
        content = bytearray(good)
        content[random.integers(len(good))] = random.integers(256)
        path.write_bytes(bytes(content))
        try:
            make(text, env)
        except (ValueError, ImportError) as error:
            assert str(error)
    for wrong in ("saved:missing", f"saved:{tmp_path}"):
        with pytest.raises(ValueError, match="There is no file"):
            make(wrong, env)
