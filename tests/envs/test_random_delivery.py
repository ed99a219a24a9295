"""Random boards, maps and stored boards: the rules read a second way, exact references, and nothing hidden shown."""

from __future__ import annotations

import itertools
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import functional, keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, maps, random_delivery
from valuegym.envs.preference.delivery import COIN, GOAL, OUTSIDE, ROADBLOCK, SHEEP, State
from valuegym.envs.preference.random_delivery import RandomDelivery, Task

close = np.testing.assert_allclose
ID = "valuegym/RandomDelivery-v0"
MAP = """
    ..$G
    .SX#
    #h%.
"""


def begin(core: RandomDelivery, n: int, seed: int = 0) -> tuple[Task, State]:
    return core.initial(keys.mix(seed, np.arange(n)))


def process(core: RandomDelivery, task: Task) -> tabular.TabularMDP:
    return delivery.board_mdp(task.board.reshape(-1, *core.shape).astype(np.int64))


def everywhere(core: RandomDelivery, task: Task) -> tuple[Task, State, np.ndarray, tuple[Any, Any, Any]]:
    """Every row's task in each of its states with each action, and where (row, state, action) that is."""
    S = task.board.shape[1]
    b, s, a = (grid.ravel() for grid in np.mgrid[: len(task.board), :S, :4])
    return Task(*(field[b] for field in task)), State(s, np.zeros_like(s)), a, (b, s, a)


# --- maps ---


def test_maps_are_boards_in_plain_text() -> None:
    assert maps.parse(MAP).tolist() == [[0, 0, 4, 1], [0, 3, 5, 6], [6, 8, 10, 0]]
    assert maps.parse(maps.text(np.array(delivery.BOARD))).tolist() == [list(row) for row in delivery.BOARD]
    assert len(set(maps.SYMBOLS)) == 12
    codes = np.arange(12).reshape(3, 4)
    assert maps.text(maps.pad([codes, np.zeros((5, 2), int)])[0]) == ".GHS\n$X#g\nhs%x"
    assert (maps.parse(maps.text(codes)) == codes).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("..G\n.?S", r"Row 1.*'\.\?S'.*'\?'.*expected the symbols"),
        ("..G\n.S", "Row 1.*2 cells.*expected 3"),
        (" \n ", "at least one"),
        ("." * 129, "128x128"),
        ("GHS", "no cell to start from"),
    ],
)
def test_maps_are_checked(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RandomDelivery(board=text)


def test_a_map_is_played_with_the_weights_asked_for() -> None:
    weights = (-1.0, 7.0, -9.0, 2.0, -3.0, -4.0)
    env = gym.make(ID, board=MAP, weights=weights)
    observation, _ = env.reset(seed=0, options={"cell": 4})
    assert observation["board"].tolist() == maps.parse(MAP).ravel().tolist()
    assert observation["weights"].tolist() == list(weights) and observation["cell"] == 4
    rewards = []
    for action in (0, 3, 3, 1, 1, 2, 0, 3, 0):  # the last but two bumps into the house, the last but one into the edge
        observation, reward, terminated, *_ = env.step(action)
        rewards.append((int(observation["cell"]), reward, terminated))
    assert [cell for cell, *_ in rewards] == [0, 1, 2, 6, 10, 10, 6, 7, 3]
    assert [reward for _, reward, _ in rewards] == [-1, -1, 1, -4, -2, -4, -4, -4, 7]
    assert [over for *_, over in rewards] == [False] * 8 + [True]


# --- the rules, against the tables of the process ---


@pytest.mark.parametrize("board", ["random", MAP, "published"])
def test_steps_follow_the_process(board: str) -> None:
    core = RandomDelivery(board=board)
    task, _ = begin(core, 12)
    mdp = process(core, task)
    assert mdp.next_state is not None
    tasks, state, action, at = everywhere(core, task)
    after = core.transition(tasks, state, action, keys.mix(0, action), np.zeros_like(action))
    known = ~mdp.terminal[at[:2]] | core.terminal(tasks, state)  # houses and the outside are never entered
    assert (after.cell == mdp.next_state[at])[known].all()
    expected = np.einsum("nd,nd->n", mdp.features[at], tasks.weights)
    assert (core.true_reward(tasks, state, action, after) == expected)[known].all()
    codes = task.board[at[:2]]
    assert (core.terminal(tasks, state) == ((codes != OUTSIDE) & np.isin(codes % 6, (GOAL, SHEEP)))).all()


def test_starts_are_uniform_over_the_open_cells() -> None:
    core, n = RandomDelivery(board=MAP), 7000
    starts = begin(core, n)[1].cell
    counts = np.bincount(starts, minlength=12)
    is_open = np.array([1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1], np.bool_)
    expected = n / is_open.sum()
    assert (counts[~is_open] == 0).all()
    assert ((counts[is_open] - expected) ** 2 / expected).sum() < 8 + 6 * np.sqrt(16)
    for cell in (3, 5, 9, 12, -1):
        with pytest.raises(ValueError, match=r"cell\[0\] is .*an open cell"):
            core.initial(keys.mix(0, np.zeros(1, int)), cell=np.array([cell]))


# --- episodes ---


def test_rows_of_a_vector_are_scalar_environments() -> None:
    envs = gym.make_vec(ID, num_envs=6, max_episode_steps=9)
    singles = [gym.make(ID, max_episode_steps=9) for _ in range(6)]
    rng, over, boards = np.random.default_rng(0), np.zeros(6, np.bool_), set()
    seen = envs.reset(seed=5)[0]
    alone = [env.reset(seed=5 + i)[0] for i, env in enumerate(singles)]
    for _ in range(80):
        assert all(
            seen[name][i].tobytes() == alone[i][name].tobytes() for i in range(6) for name in ("board", "weights")
        )
        assert seen["cell"].tolist() == [one["cell"] for one in alone]
        boards |= {one["board"].tobytes() for one in alone}
        action = rng.integers(4, size=6)
        seen, reward, terminated, truncated, _ = envs.step(action)
        for i, env in enumerate(singles):
            if over[i]:
                alone[i], paid, ended = env.reset()[0], 0.0, False
            else:
                alone[i], paid, end, cut, _ = env.step(action[i])
                ended = end or cut
            assert (reward[i], terminated[i] | truncated[i]) == (paid, ended)
        over = terminated | truncated
    assert len(boards) > 50  # a new task in every episode


def test_a_task_is_that_of_its_split() -> None:
    found = {}
    for split in ("train", "dev", "test"):
        task, _ = begin(RandomDelivery(split=split), 300)
        found[split] = {(b.tobytes(), w.tobytes()) for b, w in zip(task.board, task.weights, strict=True)}
        assert len(found[split]) > 290
    assert all(not a & b for a, b in itertools.combinations(found.values(), 2))


def test_a_hidden_reward_is_known_to_the_scorer_only() -> None:
    hidden, true = (RandomDelivery(reward=reward, observation="dict") for reward in ("hidden", "true"))
    task, _ = begin(true, 20)
    assert all((a == b).all() for a, b in zip(task, begin(hidden, 20)[0], strict=True))
    tasks, state, action, _ = everywhere(true, task)
    after = hidden.transition(tasks, state, action, keys.mix(0, action), np.zeros_like(action))
    paid = hidden.reward(tasks, state, action, after)
    assert (paid == 0).all() and paid.dtype == np.float64
    earned = true.reward(tasks, state, action, after)
    assert (hidden.true_reward(tasks, state, action, after) == earned).all() and (earned != 0).any()
    for kind in ("dict", "planes", "features"):
        core = RandomDelivery(reward="hidden", observation=kind)
        a, b = (core.observation(t, state) for t in (tasks, tasks._replace(weights=tasks.weights[::-1])))
        assert all((a[k] == b[k]).all() for k in b) if isinstance(b, dict) else (a == b).all()


# --- observations ---


def test_what_each_observation_shows() -> None:
    task, _ = begin(RandomDelivery(), 8)
    tasks, state, _, at = everywhere(RandomDelivery(), task)
    planes = RandomDelivery(observation="planes")
    seen = np.asarray(planes.observation(tasks, state))
    assert seen.shape[1:] == planes.observation_space.shape == (8 * 150 + 6,) and seen.dtype == np.float32
    assert all(row in planes.observation_space for row in seen[::97])
    goal, house, sheep, coin, roadblock, brick, inside, vehicle = seen[:, :-6].reshape(-1, 8, 150).swapaxes(0, 1)
    codes = goal + 2 * house + 3 * sheep + 4 * coin + 5 * roadblock + 6 * brick
    assert (np.where(inside == 1, codes, -1) == tasks.board).all()
    assert (vehicle.argmax(-1) == state.cell).all() and (vehicle.sum(-1) == 1).all()
    close(100 * seen[:, -6:], tasks.weights, rtol=1e-6)
    local = RandomDelivery(observation="features")
    seen = np.asarray(local.observation(tasks, state))
    mdp = process(local, task)
    where = mdp.start[at[:2]] > 0
    assert (seen[:, :-6].reshape(-1, 4, 6)[where] == mdp.features[at[:2]][where]).all()
    assert seen.shape[1:] == local.observation_space.shape and all(row in local.observation_space for row in seen[::97])


# --- references ---


def play(core: RandomDelivery, task: Task, state: State, steps: int, rng: np.random.Generator | None) -> np.ndarray:
    """Discounted returns of the oracle, or of random actions."""
    n = len(state.cell)
    returns, key = np.zeros(n), keys.mix(0, np.arange(n))
    for t in range(steps):
        action = core.oracle_action(task, state) if rng is None else rng.integers(4, size=n)
        after = core.transition(task, state, action, key, np.full(n, t))
        returns += 0.999**t * core.true_reward(task, state, action, after)
        state = after
    return returns


def test_the_oracle_scores_one_in_every_episode() -> None:
    core = RandomDelivery()
    task, state = begin(core, 60)
    naive, best = core.references(task)
    assert naive.shape == best.shape == (60,) and (naive <= best + 1e-9).all()
    returns = play(core, task, state, 200, None)
    close(returns, best, atol=1e-9)
    close(tabular.between(returns, naive, best), 1, atol=1e-9)


def test_random_actions_score_zero() -> None:
    core, n = RandomDelivery(), 2000
    task, state = begin(core, 4, seed=4)
    for i in range(4):
        one, start = (type(x)(*(np.repeat(field[i : i + 1], n, 0) for field in x)) for x in (task, state))
        returns = play(core, one, start, 1200, np.random.default_rng(i))
        naive = core.references(Task(*(field[:1] for field in one)))[0][0]
        assert abs(returns.mean() - naive) < 4.5 * returns.std() / np.sqrt(n) + 1e-9


def test_references_obey_bellmans_equations() -> None:
    core = RandomDelivery()
    task, _ = begin(core, 20)
    mdp, reward = process(core, task), tabular.reward(process(core, task), task.weights)
    for (actions, best, naive), row, terminal in zip(core._solve(task), range(20), mdp.terminal, strict=True):
        q, u = (reward[row] + 0.999 * v[mdp.next_state[row]] for v in (best, naive))  # type: ignore[index]
        close(best[~terminal], q.max(-1)[~terminal], atol=1e-8)
        close(naive[~terminal], u.mean(-1)[~terminal], atol=1e-8)
        close(np.take_along_axis(q, actions[:, None], -1)[~terminal, 0], q.max(-1)[~terminal], atol=1e-3)


# --- large maps ---


def test_large_maps_hold_the_same_shares() -> None:
    drawn = random_delivery.draw(keys.mix(2, np.arange(40)), (100, 80))
    assert drawn.boards.shape == (40, 100, 80) and drawn.boards.min() == 0
    shares = {item: (drawn.boards == item).sum((1, 2)) / 8000 for item in (SHEEP, ROADBLOCK, COIN)}
    for item, values in ((SHEEP, (0, 0.1, 0.3)), (ROADBLOCK, (0, 0.1, 0.5, 0.8)), (COIN, (0, 0.1, 0.2))):
        assert (np.abs(shares[item][:, None] - values).min(-1) <= 1 / 8000 + 1e-12).all()
    assert ((drawn.boards == GOAL).sum((1, 2)) == 1).all()


def test_large_maps_are_solved_exactly() -> None:
    env = gym.make(ID, size=(100, 100), max_episode_steps=1000)
    env.reset(seed=1)
    core, task = env.unwrapped.core, env.unwrapped.task  # type: ignore[attr-defined]
    _, best, naive = core._solve(task)[0]
    mdp = process(core, task)
    reward = tabular.reward(mdp, task.weights)[0]
    q, u = (reward + 0.999 * v[mdp.next_state[0]] for v in (best, naive))  # type: ignore[index]
    close(best, np.where(mdp.terminal[0], 0, q.max(-1)), atol=1e-8)
    close(naive, np.where(mdp.terminal[0], 0, u.mean(-1)), atol=1e-8)
    assert sum(np.asarray(value).nbytes for value in env.reset()[0].values()) < 11_000


# --- the stored boards ---


def test_counts_are_rounded_as_published() -> None:
    """int(share * height * width) in floating point equals the exact floor at every published size, and so do ours."""
    shares = {*random_delivery.SHEEP_SHARES, *random_delivery.ROADBLOCK_SHARES, *random_delivery.COIN_SHARES}
    for share, h, w in itertools.product(shares, random_delivery.HEIGHTS.tolist(), random_delivery.WIDTHS.tolist()):
        assert int(share * h * w) == Fraction(str(share)) * h * w // 1 == int(share * (h * w) + 1e-9)


def test_the_generator_could_have_drawn_every_stored_board(data_folder: Path) -> None:
    """Sizes, counts up to the one item under the goal, weights; unlikely shares would show in the likelihood."""
    stored = {name: task for name, task in maps.stored(str(data_folder)).items() if name.startswith(maps.MAIN)}
    assert len(stored) == 25
    kinds = []
    for board, weights in stored.values():
        h, w = board.shape
        assert h in random_delivery.HEIGHTS and w in random_delivery.WIDTHS and (board == GOAL).sum() == 1
        assert set(np.unique(board)) <= {0, GOAL, SHEEP, COIN, ROADBLOCK}
        assert all(weight in values for weight, values in zip(weights, random_delivery.VALUES, strict=True))
        counts = np.array([(board == item).sum() for item in (SHEEP, ROADBLOCK, COIN)])
        fitting = [
            (s, r, c)
            for s, r, c in itertools.product((0, 0.1, 0.3), (0, 0.1, 0.5, 0.8), (0, 0.1, 0.2))
            if s + r < 1
            and s + r + c < 1
            and sorted(np.array([int(x * h * w) for x in (s, r, c)]) - counts) in ([0, 0, 0], [0, 0, 1])
        ]
        assert fitting, (board, weights)
        kinds.append(fitting[0])
    for column, values in zip(
        zip(*kinds, strict=True), ((0, 0.1, 0.3), (0, 0.1, 0.5, 0.8), (0, 0.1, 0.2)), strict=True
    ):
        assert set(column) == set(values)  # every share occurs


def test_stored_boards_are_played(data_folder: Path) -> None:
    core = RandomDelivery(board="stored", data=str(data_folder))
    task, _ = begin(core, 400)
    assert len({board.tobytes() for board in task.board}) == 25
    one = RandomDelivery(board="stored:random_MDPs/MDP_100", data=str(data_folder))
    board, weights = maps.stored(str(data_folder))["random_MDPs/MDP_100"]
    task, _ = begin(one, 2)
    assert (task.board.reshape(2, *one.shape) == board).all() and (task.weights == weights).all()
    with pytest.raises(ValueError, match=r"'MDP_1'.*random_MDPs/MDP_100"):
        RandomDelivery(board="stored:MDP_1", data=str(data_folder))


def test_stored_boards_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="VALUEGYM_DATA"):
        RandomDelivery(board="stored")
    with pytest.raises(FileNotFoundError, match="missing"):
        RandomDelivery(board="stored", data=str(tmp_path))
    (tmp_path / maps.FILE).write_text(json.dumps({"a": {"board": [[0, 1]], "reward_weights": [0.0] * 6}}))
    with pytest.raises(ValueError, match="SHA-256"):
        RandomDelivery(board="stored", data=str(tmp_path))
    a, b = {"x": 1, "y": [0.5, 2]}, {"y": [0.5, 2], "x": 1}
    assert maps.content_digest(a) == maps.content_digest(b) != maps.content_digest({"x": 1, "y": [0.5, 3]})


# --- arguments ---


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"board": "empty"}, "'empty'.*'random', 'published'"),
        ({"split": "all"}, "'all'.*train.*dev.*test"),
        ({"observation": "image"}, "'image'.*'dict', 'planes', 'features'"),
        ({"reward": "none"}, "'none'.*'true', 'hidden'"),
        ({"size": (1, 5)}, "size.*2 to 128"),
        ({"size": (5, 129)}, "size.*2 to 128"),
        ({"size": (5, 5), "board": MAP}, "size is .*only random boards"),
        ({"weights": (1, 2), "board": MAP}, r"weights has shape \(2,\); .*\(6,\)"),
        ({"weights": (1, 2, 3, 4, 5, np.nan), "board": MAP}, r"weights\[5\] is nan"),
        ({"weights": (1, 2, 3, 4, 5, 6)}, "drawn for random boards"),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RandomDelivery(**kwargs)


def test_tasks_are_solved_together_as_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each once: what was solved is kept, up to a number."""
    core = gym.make("valuegym/RandomDelivery-v0").unwrapped.core
    task, _ = core.initial(functional.episode_keys(list(range(40))))
    monkeypatch.setattr(random_delivery, "_CACHE", {})
    together = core._solve(task)
    assert len(random_delivery._CACHE) == 40
    solved = [own.best for own in together]
    assert all(own.best is best for own, best in zip(core._solve(task), solved, strict=True))
    monkeypatch.setattr(random_delivery, "CACHE_SIZE", 5)
    for row in range(40):
        monkeypatch.setattr(random_delivery, "_CACHE", {})
        (alone,) = core._solve(functional.take_rows(task, np.array([row])))
        for one, other in zip(alone, together[row], strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
    core._solve(task)
    assert len(random_delivery._CACHE) == 5
