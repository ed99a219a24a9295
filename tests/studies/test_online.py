"""Online control studies: they go on where they stopped, settings follow from the rule, and pages are the records."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import rollouts

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs/results"
STUDIES = {
    name: json.loads((ROOT / f"studies/control/{name}.json").read_text(encoding="utf-8"))
    for name in ("cartpole", "hopper", "pendulum")
}
SMALL = {"hidden": 4, "batch": 4, "warmup_steps": 8, "refresh": 8, "model_steps": 1, "members": 2, "width": 4}
NAMES = pytest.mark.parametrize("name", STUDIES)


@pytest.fixture
def online() -> Any:
    return importlib.import_module("studies.control.online")


@NAMES
def test_it_goes_on_where_it_stopped(online: Any, tmp_path: Path, name: str) -> None:
    study = STUDIES[name]
    if name.startswith("hopper"):
        pytest.importorskip("mujoco")
    tiny = study | {"steps": 16, "evaluate_every": 8, "episodes": 1, "test_seeds": [100, 101], "block": 1}
    tiny["settings"] = study["settings"] | SMALL
    path = tmp_path / "study.json"
    path.write_text(json.dumps(tiny), encoding="utf-8")
    records, page = tmp_path / "data" / f"{name}-online.jsonl", tmp_path / f"{name}-online.md"

    def go(*arguments: str) -> list[str]:
        online.main(["--study", str(path), "--docs", str(tmp_path), *arguments])
        return records.read_text(encoding="utf-8").splitlines()

    loss = next(arm for arm in study["arms"] if arm.split(",")[0] == "mse")
    first = go("--arms", loss, "no model", "--seeds", "1")
    assert [(line[0], line[3]) for line in map(json.loads, first)] == [(loss, 100), ("no model", 100)]
    [one], [other] = (json.loads(line)[4] for line in first)
    assert len(one["curve"]) == 1 and len(one["final"]) == 1
    assert one["trace"][-1]["step"] == 16 and not other["trace"]
    with records.open("a", encoding="utf-8") as file:
        file.write('["mse", "se')  # cut short
    both = go("--arms", loss, "no model")
    assert set(first) < set(both) and len(both) == 4
    text = page.read_text(encoding="utf-8")
    assert f"| `{loss}` | 2 |" in text and "| `no model` | 2 |" in text and "`vagram" not in text.split("## Setti")[0]
    path.write_text(json.dumps(tiny | {"steps": 24}), encoding="utf-8")  # other settings: nothing counts any more
    assert go("--table") == both
    assert f"| `{loss}` | 2 |" not in page.read_text(encoding="utf-8")


def test_stable_baselines_gets_the_same_settings(online: Any) -> None:
    study = STUDIES["cartpole"]
    candidate = study["tuned"]["sac"][0]
    sac = online.stable_baselines(study, online.Run("sac", candidate, 3), gym.make(study["env"]))
    told = study["settings"]
    assert (sac.seed, sac.batch_size, sac.gradient_steps) == (3, told["batch"], told["updates_per_step"])
    assert (sac.learning_starts, sac.gamma, sac.tau) == (told["warmup_steps"], 0.99, 0.005)
    assert sac.learning_rate == study["candidates"][candidate]["critic_rate"]
    assert [p.shape[0] for p in sac.actor.latent_pi.parameters()] == [told["hidden"]] * 4


def test_returns_stop_where_episodes_end(online: Any) -> None:
    class Right:
        def predict(self, observation: Any, deterministic: bool) -> tuple[Any, None]:
            return np.ones((len(observation), 1), np.float32), None

    study = STUDIES["cartpole"] | {"episodes": 2}
    envs: Any = gym.make_vec(study["env"], num_envs=2).unwrapped
    envs.reset(seed=1_000_000 + 1000 * 7)
    envs.core.discount = 1.0
    expected = rollouts.returns(envs.core, envs.task, lambda state, t: np.ones((2, 1), np.float32), 500)
    assert online.evaluate(Right(), study, 7) == pytest.approx(expected.tolist(), abs=0.006)


@NAMES
def test_groups_learn_side_by_side_in_blocks_of_seeds(online: Any, name: str) -> None:
    study = STUDIES[name]
    seeds = len(study["test_seeds"])
    assert sorted(arm for group in study["side_by_side"] for arm in group) == sorted(study["arms"])
    blocks = [block for block in online.blocks(study, False, None, seeds) if block]
    runs = [run for block in blocks for run in block]
    assert len(set(runs)) == len(runs) == seeds * (len(study["arms"]) - 1)
    for block in blocks:
        assert len({study["arms"][run.arm].get("critic", "mse") for run in block}) == 1
        assert len({run.seed for run in block}) == study["block"]
    assert all(len(block) == 1 for block in online.blocks(study, False, ["sac"], seeds))


@NAMES
def test_settings_were_chosen_on_other_seeds_with_the_same_effort(online: Any, name: str) -> None:
    study = STUDIES[name]
    assert not set(study["tuning_seeds"]) & set(study["test_seeds"])
    records = online.harness.load(RESULTS / f"data/{name}-online.jsonl")
    for arm, candidates in study["tuned"].items():
        means = {
            candidate: np.mean(
                [
                    online.final(records[online.key_of(study, online.Run(arm, candidate, seed))])
                    for seed in study["tuning_seeds"]
                ]
            )
            for candidate in candidates
        }
        best = max(means, key=lambda candidate: means[candidate])
        followers = [other for other in study["chosen"] if other not in study["tuned"] and other.split(",")[0] == arm]
        assert {study["chosen"][other] for other in [arm, *followers]} == {best}


@NAMES
def test_the_committed_page_follows_from_the_committed_records(online: Any, name: str) -> None:
    study = STUDIES[name]
    records = online.harness.load(RESULTS / f"data/{name}-online.jsonl")
    assert records and online.runs_by_arm(study, records)
    assert (RESULTS / f"{name}-online.md").read_text(encoding="utf-8") == online.page(study, records)
    assert "nan" not in (RESULTS / f"{name}-online.md").read_text(encoding="utf-8")
    assert (RESULTS / f"{name}-online.svg").is_file()
