"""Environments of one's own: cores registered by a call, and those that installed packages bring."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

import valuegym
from valuegym.envs import ENVS, plugins, registration, testing
from valuegym.envs.registration import Environment, ThirdParty, core_spec, register_core

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "corridor.py"


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """What a test registers is forgotten."""
    before, own = dict(gym.registry), dict(registration.OWN)
    yield
    gym.registry.clear()
    gym.registry.update(before)
    registration.OWN.clear()
    registration.OWN.update(own)


@pytest.fixture
def corridor() -> str:
    return register_core("own/Walk-v0", f"{EXAMPLE}:Corridor", {"size": 5}, max_episode_steps=20, tags=("tabular",))


def test_the_suite_is_registered_by_the_same_function() -> None:
    assert all(gym.registry[id] == core_spec(id, row) for id, row in ENVS.items())


def test_the_template_passes_every_check(corridor: str) -> None:
    testing.check(partial(gym.make, corridor))
    testing.check(partial(gym.make, corridor, size=2, steps=1))


def test_the_template_has_true_references(corridor: str) -> None:
    envs: Any = gym.make_vec(corridor, num_envs=64)
    envs.reset(seed=0)
    core, task = envs.unwrapped.core, envs.unwrapped.task
    total = {"naive": np.zeros(64), "best": np.zeros(64)}
    for name in total:
        envs.reset(seed=0)
        for _ in range(core.steps):
            action = core.oracle_action(task, envs.unwrapped.state) if name == "best" else np.ones(64, np.int64)
            total[name] += envs.step(action)[1]
    np.testing.assert_allclose(core.references(task), (total["naive"], total["best"]))
    assert (total["best"] > total["naive"]).all()


def test_a_core_is_named_by_a_file_a_module_or_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corridor: str
) -> None:
    (tmp_path / "corridor_module.py").write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    register_core("own/A-v0", "corridor_module:Corridor")
    assert "corridor_module" not in sys.modules  # imported when made
    register_core("own/B-v0", "corridor_module.py:Corridor")
    monkeypatch.chdir("/")  # a file is found from any folder
    played = {}
    for id in ("own/A-v0", "own/B-v0"):
        env = gym.make(id)
        played[id] = [env.reset(seed=3)[0].tolist(), *(env.step(2)[:2] for _ in range(3))]
    assert str(played["own/A-v0"]) == str(played["own/B-v0"])
    core = type(gym.make("own/A-v0").unwrapped.core)  # type: ignore[attr-defined]
    register_core("own/C-v0", core)
    assert gym.spec("own/C-v0").kwargs == {"core": "corridor_module:Corridor"}
    register_core("own/D-v0", plugins.load_reference(f"{EXAMPLE}:Corridor"))
    assert gym.spec("own/D-v0").kwargs == {"core": f"{EXAMPLE}:Corridor"}
    assert gym.spec(corridor).max_episode_steps == 20 and json.loads(gym.spec(corridor).to_json())


def test_rules_and_settings(corridor: str) -> None:
    base = pytest.importorskip("valuegym.agents.base")
    core = base.rules(gym.make(corridor, steps=3))
    assert (type(core).__name__, core.size, core.steps) == ("Corridor", 5, 3)
    assert valuegym.testing is testing or valuegym.testing.check is testing.check


class Empty:
    metadata: dict[str, Any] = {"render_modes": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "own/Walk"}, "id is 'own/Walk'; expected NAMESPACE/NAME-vN"),
        ({"id": "own/a/b-v0"}, "expected NAMESPACE/NAME-vN"),
        ({"id": "own/A-v01"}, "expected NAMESPACE/NAME-vN"),
        ({"id": None}, "expected NAMESPACE/NAME-vN"),
        ({"id": "valuegym/Mine-v0"}, "valuegym/ is for environments of valuegym"),
        ({"id": "valuegym/Delivery-v0"}, "valuegym/ is for environments of valuegym"),
        ({"id": "CartPole-v1"}, "Another environment is registered as 'CartPole-v1' already"),
        ({"id": "own/Walk-v0"}, "Another environment is registered as 'own/Walk-v0' already"),
        ({"core": "x"}, "core is 'x'; expected MODULE:CLASS, FILE.py:CLASS or a class"),
        ({"core": "no_file.py:X"}, "there is no file no_file.py"),
        ({"core": 3}, "core is 3; expected MODULE:CLASS"),
        ({"core": type("Local", (), {})}, "define it at the top of a module"),
        ({"kwargs": {"size": object()}}, "expected arguments that JSON can hold"),
        ({"kwargs": {"size": float("nan")}}, "expected arguments that JSON can hold"),
        ({"kwargs": {1: 2}}, "expected arguments that JSON can hold"),
        ({"kwargs": {"core": "x:y"}}, "kwargs holds 'core'"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0; expected an integer of at least 1"),
        ({"max_episode_steps": 2.0}, "max_episode_steps is 2.0; expected an integer"),
        ({"max_episode_steps": True}, "max_episode_steps is True; expected an integer"),
        ({"tags": "tabular"}, "tags is"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_a_sentence(
    corridor: str, change: dict[str, Any], message: str
) -> None:
    before = dict(gym.registry)
    with pytest.raises(ValueError, match=re.escape(message)):
        register_core(**{"id": "own/Other-v0", "core": f"{EXAMPLE}:Corridor", **change})
    assert dict(gym.registry) == before


def test_a_repeated_registration_does_nothing(corridor: str) -> None:
    spec = gym.spec(corridor)
    register_core(corridor, f"{EXAMPLE}:Corridor", {"size": 5}, max_episode_steps=20, tags=("tabular",))
    assert gym.spec(corridor) is spec
    with pytest.raises(ValueError, match="Another environment is registered"):
        register_core(corridor, f"{EXAMPLE}:Corridor", {"size": 5}, max_episode_steps=20)


def test_a_core_that_lacks_parts_is_refused_when_made() -> None:
    register_core("own/Empty-v0", Empty)
    for make in (gym.make, partial(gym.make_vec, num_envs=2)):
        with pytest.raises(
            ValueError,
            match=r"Empty.*; expected the class of a core .*it lacks observation_space, action_space, initial, tr",
        ):
            make("own/Empty-v0")


PACKAGE = f"""
import sys
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
from valuegym.envs.registration import Environment, ThirdParty
from valuegym.envs.plugins import load_reference

Core = load_reference({f"{EXAMPLE}:Corridor"!r})
class Limited(Core):
    max_episode_steps = 7
row = Environment("many_pack:Core", {{"size": 4}}, 5, ("tabular",))

class Plain(gym.Env):
    observation_space, action_space, max_episode_steps = gym.spaces.Discrete(2), gym.spaces.Discrete(2), 3
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {{}}
    def step(self, action):
        return 1, 0.5, False, False, {{}}

class Shy(Plain):
    max_episode_steps = property(lambda self: 9)

def make(**kwargs):
    return Plain(**kwargs)

spec = EnvSpec("anything-v3", "many_pack:Plain", max_episode_steps=4)
third = ThirdParty("many_pack:make", {{}}, 6, "many")
number, bad = 3, Environment("many_pack:Core", {{}}, 0, ())
"""
LIMITS = {"Core": None, "Limited": 7, "row": 5, "Plain": 3, "Shy": None, "make": None, "spec": 4, "third": 6}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    names = [*LIMITS, "number", "bad", "missing"]
    points = "".join(f"{name}-v0 = many_pack:{name}\n" for name in names)
    points += "NoVersion = many_pack:Core\nno id = many_pack:Core\n"
    for pack, lines, source in (
        ("many_pack", points, PACKAGE),
        ("faulty_pack", "Maze-v0 = faulty_pack:X\n", "1 / 0\n"),
    ):
        (tmp_path / pack).mkdir()
        (tmp_path / pack / "__init__.py").write_text(source)
        about = tmp_path / f"{pack}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {pack.replace('_', '-')}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[valuegym.environments]\n{lines}")
    monkeypatch.syspath_prepend(tmp_path)
    registration.register_plugins()
    yield tmp_path
    sys.modules.pop("many_pack", None)


def test_plugins_are_registered_by_name_and_imported_when_used(package: Path) -> None:
    registration.register_plugins()  # once more changes nothing
    gym.pprint_registry(disable_print=True)
    assert all(spec.entry_point for spec in gym.registry.values())  # as programs read it that list all environments
    assert "many_pack" not in sys.modules
    for name, limit in LIMITS.items():
        id = f"many_pack/{name}-v0"
        text = gym.spec(id).to_json()  # also where nothing else was read before
        assert gym.spec(id).max_episode_steps == limit and text == gym.make(id).spec.to_json(), name
        env, envs = gym.make(id), gym.make_vec(id, num_envs=2)
        assert env.spec is not None and type(env.spec) is EnvSpec and env.spec.id == id
        assert env.spec.max_episode_steps == envs.spec.max_episode_steps == limit
        assert type(pickle.loads(pickle.dumps(gym.spec(id)))) is EnvSpec
        again = gym.make(EnvSpec.from_json(env.spec.to_json()))
        assert str(again.reset(seed=1)) == str(env.reset(seed=1))
        steps, ended = 0, False
        while not ended and steps < 15:
            _, _, terminated, truncated, _ = env.step(0)
            steps, ended = steps + 1, terminated or truncated
        assert steps == (limit or (12 if name == "Core" else 15)), name


@pytest.mark.parametrize("name", ["Core", "Limited", "row"])
def test_cores_of_plugins_pass_every_check(package: Path, name: str) -> None:
    testing.check_vector(partial(gym.make, f"many_pack/{name}-v0"))
    testing.check_spec(partial(gym.make, f"many_pack/{name}-v0"))
    testing.check_arguments(partial(gym.make, f"many_pack/{name}-v0"))


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("faulty_pack/Maze-v0", "faulty_pack.Maze-v0 (faulty_pack:X) cannot be imported: ZeroDivisionError"),
        ("many_pack/missing-v0", "many_pack.missing-v0 (many_pack:missing) cannot be imported: AttributeError"),
        ("many_pack/number-v0", "many_pack/number-v0 (many_pack:number) is a int; expected a core, an Environment"),
        ("many_pack/bad-v0", "many_pack/bad-v0 (many_pack:bad): max_episode_steps is 0; expected an integer"),
        ("many_pack/NoVersion", "many_pack.NoVersion is called 'NoVersion'; expected NAME-vN"),
    ],
)
def test_a_faulty_plugin_is_named_when_used_and_breaks_no_other(package: Path, id: str, message: str) -> None:
    for use in (gym.make, partial(gym.make_vec, num_envs=2), lambda id: gym.spec(id).max_episode_steps):
        with pytest.raises(ValueError, match=re.escape(message)):
            use(id)
    assert gym.make("many_pack/row-v0").reset(seed=0)


def test_clashes_of_plugins_are_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="Another environment is registered as 'many_pack/row-v0' already"):
        register_core("many_pack/row-v0", f"{EXAMPLE}:Corridor")
    about = package / "twice_pack-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: twice.pack\nVersion: 1.0\n")
    lines = "row-v0 = elsewhere:row\nrow-v0 = many_pack:row\nnew-v0 = many_pack:row\n"
    (about / "entry_points.txt").write_text(f"[valuegym.environments]\n{lines}")
    registration.register_plugins()
    with pytest.raises(ValueError, match=r"Two plug-ins of valuegym\.environments are called twice_pack\.row-v0: .*"):
        gym.make("twice_pack/row-v0")
    assert gym.make("many_pack/Core-v0").reset(seed=0) and gym.make("twice_pack/new-v0").reset(seed=0)


def test_an_id_that_is_taken_stays_as_it_is(package: Path) -> None:
    for id in ("many_pack/row-v0", "many_pack/Core-v0"):
        del gym.registry[id]
    register_core("many_pack/row-v0", f"{EXAMPLE}:Corridor", {"size": 3})
    registration.register_plugins()
    assert gym.spec("many_pack/row-v0").kwargs["size"] == 3 and "many_pack/Core-v0" in gym.registry


def test_an_import_reads_names_only(package: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(package)!r})\nimport valuegym, gymnasium\n"
        "print('many_pack' in sys.modules, 'many_pack/row-v0' in gymnasium.registry)\n"
        "print(gymnasium.spec('many_pack/row-v0').max_episode_steps, 'many_pack' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "5", "True"]


def test_rows_are_plain_data() -> None:
    assert Environment._fields == ("core", "kwargs", "max_episode_steps", "tags")
    assert ThirdParty._fields == ("entry_point", "kwargs", "max_episode_steps", "extra")
