"""Items to choose between: reading them, what they stand for, and choices between them."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.coevolution import items, recorded, responses
from valuegym.envs.coevolution.coevolve import Coevolve
from valuegym.envs.coevolution.follow import Follow


def published() -> items.Items:
    try:
        return items.load("moralchoice")
    except FileNotFoundError:
        where = os.environ.get(recorded.VARIABLE)
        pytest.skip(
            f"needs the file {items.PUBLISHED['moralchoice'][0]}: "
            + (f"not in {where}" if where else "set VALUEGYM_DATA")
        )


def mine(folder: Path, text: str = "care,trust\n1,0\n-1,0.5\n0,1\n") -> str:
    path = folder / "items.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("No", "Yes", 1), ("Yes", "No", -1), ("No", "No", 0), ("No", "No Agreement", 1), ("Yes", "No Agreement", -1),
     ("No Agreement", "Yes", 1), ("No Agreement", "No", -1), ("No Agreement", "No Agreement", 0)],
)  # fmt: skip
def test_who_keeps_a_rule(first: str, second: str, expected: int) -> None:
    assert items.kept(first, second) == expected


def test_moralchoice_is_what_was_published() -> None:
    found = published()
    assert found.differences.shape == (672, 10) and found.names == items.RULES
    assert set(np.unique(found.differences)) == {-1, 0, 1} and found.differences.any(1).all()
    path, content, _ = recorded.published("moralchoice", *items.PUBLISHED["moralchoice"], None)
    rows = recorded.rows_of(content, path)
    assert len(rows) == 680 and len({(row["context"], row["action1"], row["action2"]) for row in rows}) == 680
    # ProgressGym keeps one of the dilemmas that share an id: 583, with these counts of rules kept by one action only.
    last = items.moralchoice(list({row["scenario_id"]: row for row in rows}.values()))
    counts = {rule: ((x > 0).sum(), (x < 0).sum()) for rule, x in zip(items.RULES, last.T, strict=True)}
    assert len(last) == 583 and counts == {
        "death": (70, 40), "pain": (252, 100), "disable": (116, 28), "freedom": (164, 42), "pleasure": (208, 68),
        "deceive": (208, 32), "cheat": (118, 3), "break_promise": (97, 10), "break_law": (204, 33), "duty": (279, 103),
    }  # fmt: skip


@pytest.mark.parametrize("core", [Follow, Coevolve])
def test_people_choose_between_published_items(core: Any) -> None:
    found = published()
    env = core(responses="choices", items="moralchoice", dimensions=10, budget=50)
    _, state = env.initial(keys.mix(0, np.arange(20)))
    known = {tuple(row) for row in np.concatenate([found.differences, -found.differences])}
    assert all(tuple(row) in known for row in state.pending_responses.reshape(-1, 10))
    assert found.sha256 in env.hashes
    with pytest.raises(ValueError, match="pass dimensions=10"):
        core(responses="choices", items="moralchoice")


def test_choices_between_given_items_follow_bradley_terry(tmp_path: Path) -> None:
    found = items.by_name(mine(tmp_path), 2)
    x = np.array([0.6, -0.3])
    key, people = keys.mix(0, np.arange(4000)), np.broadcast_to(x, (4000, 3, 2)).copy()
    drawn = responses.Channel("choices", 30, noise=0.4, items=found).draw(key, people, np.zeros((4000, 2)))
    flat = drawn.reshape(-1, 2)
    for item in found.differences:
        first, second = ((flat == sign * item).all(1).sum() for sign in (1, -1))
        assert first + second == pytest.approx(40_000, rel=0.03)  # items are equally likely
        assert first / (first + second) == pytest.approx(1 / (1 + np.exp(-item @ x / 0.4)), abs=0.01)


def test_environments_take_items_of_ones_own(tmp_path: Path) -> None:
    path = mine(tmp_path)
    core = Follow(responses="choices", items=path, dimensions=2, budget=8)
    played = np.random.default_rng(0).uniform(-1, 1, (30, 9, 2)).astype(np.float32)
    expected: Any = None
    for B in (30, 3, 1):
        task, state = core.initial(keys.mix(5, np.arange(B)))
        for t in range(9):
            state = core.transition(task, state, played[:B, t], task.key, np.full(B, t))
        out = core.observation(task, state)["responses"]
        expected = out if expected is None else expected
        assert expected[:B].tobytes() == out.tobytes()
    with open(path, encoding="utf-8") as file:
        assert next(csv.reader(file)) == list(items.read_csv(path).names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("care,trust\n", "no rows"),
        ("care,trust\n1,x\n", "'x'"),
        ("care,trust\n1,2,3\n", "longer"),
        ("care,trust\n1,2\n0,0\n", "line 3"),
        ("care,trust,duty\n1,2,3\n", "pass dimensions=3"),
    ],
)
def test_wrong_files_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        items.by_name(mine(tmp_path, text), 2)


def test_a_changed_file_is_not_the_published_one(tmp_path: Path) -> None:
    (tmp_path / "moralchoice").mkdir()
    (tmp_path / "moralchoice" / "final.csv").write_text("scenario_id\n1\n")
    with pytest.raises(ValueError, match="SHA-256 differs"):
        items.load("moralchoice", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="missing"):
        items.load("moralchoice", str(tmp_path / "moralchoice"))
    with pytest.raises(ValueError, match="virtues"):
        items.load("virtues")
