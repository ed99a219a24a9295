"""The published board to the letter, any board against a plain reading of the rules, and the law of random tasks."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, random_delivery
from valuegym.envs.preference.delivery import (
    BOARD,
    BRICK,
    COIN,
    GOAL,
    HOUSE,
    OUTSIDE,
    ROAD,
    ROADBLOCK,
    SHEEP,
    WEIGHTS,
    Delivery,
)
from valuegym.envs.rendering import delivery as rendering

close = np.testing.assert_allclose
ITEMS = (ROAD, GOAL, SHEEP, COIN, ROADBLOCK, BRICK)  # in the order of the weights
PUBLISHED = np.array(BOARD)
STEPS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}


@pytest.fixture(scope="module")
def core() -> Delivery:
    return Delivery()


# --- the published board ---


def test_the_board_is_the_published_one(core: Delivery) -> None:
    counts = np.bincount(PUBLISHED.ravel(), minlength=12)
    assert counts.tolist() == [67, 0, 3, 4, 5, 5, 14, 1, 0, 0, 1, 0]
    assert (core.mdp.start[0] > 0).sum() == 92 and core.mdp.terminal[0].sum() == 8
    assert WEIGHTS == (-1, 50, -50, 1, -1, -2) and delivery.DISCOUNT == 0.999
    assert delivery.FEATURES == ("gas", "goal", "sheep", "coin", "roadblock", "brick")
    assert delivery.ACTIONS == tuple(STEPS) and [tuple(move) for move in delivery.MOVES] == list(STEPS.values())


def test_published_returns(core: Delivery) -> None:
    naive, best = core.references(delivery.Task())
    assert best == pytest.approx(41.2079, abs=1e-4)
    assert naive == pytest.approx(-71.2574, abs=1e-4)
    assert tabular.between(np.array(30.0), np.array(naive), np.array(best)) == pytest.approx(0.90034, abs=1e-5)


def test_published_values_without_discount() -> None:
    mdp = delivery.board_mdp(PUBLISHED[None], discount=1.0)
    values = tabular.optimal_values(mdp, tabular.reward(mdp, np.array(WEIGHTS)))[0][0]
    starts = values[mdp.start[0] > 0]
    assert (starts.min(), starts.max()) == (34, 50) and starts.mean() == pytest.approx(41.5326, abs=1e-4)
    grid = values.reshape(10, 10)
    assert (grid[0, 0], grid[9, 0], grid[9, 9]) == (34, 41, 50)
    assert (values[mdp.terminal[0]] == 0).all()


def test_some_starts_have_two_best_moves(core: Delivery) -> None:
    best = (tabular.optimal_policy(core.mdp, core.true_rewards)[0] > 0).sum(-1)[core.mdp.start[0] > 0]
    assert np.bincount(best).tolist() == [0, 65, 27]


ROUTES: dict[str, tuple[tuple[int, int], str, list[int]]] = {
    "road": ((0, 0), "right", [-1]),
    "coin pays for its own gas": ((1, 3), "right", [0]),
    "roadblock": ((0, 1), "right", [-2]),
    "brick": ((3, 1), "down", [-2]),
    "brick to road": ((4, 1), "up", [-1]),
    "coin on brick": ((7, 6), "right", [-1]),
    "goal": ((8, 8), "right", [50]),
    "sheep": ((1, 2), "down", [-50]),
    "another sheep": ((5, 3), "down", [-50]),
    "edge on road": ((0, 0), "up left", [-1, -1]),
    "edge on brick": ((4, 0), "left", [-2]),
    "other edges on brick": ((1, 9), "right", [-2]),
    "edge from a coin": ((3, 0), "left", [-1]),
    "corner coin": ((9, 9), "right down", [-1, -1]),
    "edge from a roadblock": ((0, 2), "up", [-1]),
    "edge from a roadblock below": ((9, 6), "down", [-1]),
    "house from road": ((3, 3), "right", [-1]),
    "house from brick": ((6, 0), "right", [-2]),
    "house from a coin": ((7, 1), "up", [-1]),
    "coins are not used up": ((1, 3), "right left right left", [0, -1, 0, -1]),
    "roadblocks stay": ((0, 1), "right left right", [-2, -1, -2]),
    "blocked moves lead nowhere": ((3, 3), "right right left", [-1, -1, -2]),
    "a whole way": ((6, 8), "down left right down right", [-2, -1, -2, -2, 50]),
}


@pytest.mark.parametrize("name", ROUTES)
def test_rewards_along_routes(name: str) -> None:
    (r, c), moves, rewards = ROUTES[name]
    env = gym.make("valuegym/Delivery-v0")
    cell, _ = env.reset(seed=0, options={"cell": 10 * r + c})
    assert cell == 10 * r + c
    for move, expected in zip(moves.split(), rewards, strict=True):
        cell, reward, terminated, truncated, _ = env.step(delivery.ACTIONS.index(move))
        to = r + STEPS[move][0], c + STEPS[move][1]
        if 0 <= min(to) and max(to) < 10 and BOARD[to[0]][to[1]] != HOUSE:
            r, c = to
        assert (cell, reward, terminated, truncated) == (10 * r + c, expected, abs(expected) == 50, False)


def test_every_move_from_every_cell(core: Delivery) -> None:
    cells, actions = (x.ravel() for x in np.mgrid[:100, :4])
    state = delivery.State(cells, np.zeros(400, np.int64))
    key = keys.mix(0, np.arange(400))
    after = core.transition(delivery.Task(), state, actions, key, np.zeros(400, np.int64))
    rewards = core.reward(delivery.Task(), state, actions, after)
    for i, (cell, action) in enumerate(zip(cells, actions, strict=True)):
        to, features = _plain_step(PUBLISHED, divmod(int(cell), 10), delivery.MOVES[action])
        assert after.cell[i] == to[0] * 10 + to[1]
        assert rewards[i] == features @ WEIGHTS
    terminal = core.terminal(delivery.Task(), after)
    assert (terminal == np.isin(PUBLISHED.ravel()[after.cell] % BRICK, (GOAL, HOUSE, SHEEP))).all()


def test_ends_absorb(core: Delivery) -> None:
    ends = np.flatnonzero(np.isin(PUBLISHED.ravel() % BRICK, (GOAL, SHEEP)))
    assert len(ends) == 5
    for action in range(4):
        state, act = delivery.State(ends, np.full(5, 7)), np.full(5, action)
        after = core.transition(delivery.Task(), state, act, keys.mix(0, np.arange(5)), np.ones(5, np.int64))
        assert (after.cell == ends).all() and core.terminal(delivery.Task(), after).all()
        assert (core.reward(delivery.Task(), state, act, after) == 0).all()
        assert (core.true_reward(delivery.Task(), state, act, after) == 0).all()


def test_starts_are_uniform_over_open_cells(core: Delivery) -> None:
    n = 92_000
    cells = core.initial(keys.mix(3, np.arange(n)))[1].cell
    counts = np.bincount(cells, minlength=100)
    starts = core.mdp.start[0] > 0
    assert (counts[~starts] == 0).all()
    assert ((counts[starts] - 1000) ** 2 / 1000).sum() < 91 + 6 * np.sqrt(2 * 91)


def test_a_hidden_reward_is_known_to_the_scorer_only() -> None:
    hidden, true, rng = Delivery(reward="hidden"), Delivery(), np.random.default_rng(0)
    key, task = keys.mix(1, np.arange(500)), delivery.Task()
    state = true.initial(key)[1]
    earned = 0.0
    for t in range(20):
        action = rng.integers(4, size=500)
        after = hidden.transition(task, state, action, key, np.full(500, t))
        paid = hidden.reward(task, state, action, after)
        assert paid.dtype == np.float64 and (paid == 0).all()
        assert (hidden.true_reward(task, state, action, after) == true.reward(task, state, action, after)).all()
        assert (true.true_reward(task, state, action, after) == true.reward(task, state, action, after)).all()
        earned += true.reward(task, state, action, after).sum()
        state = after
    assert earned < -1000
    assert hidden.references(task) == true.references(task)


def test_the_oracle_earns_the_optimal_value_from_everywhere(core: Delivery) -> None:
    starts = np.flatnonzero(core.mdp.start[0] > 0)
    key = keys.mix(0, np.arange(92))
    task, state = core.initial(key, cell=starts)
    returns = np.zeros(92)
    for t in range(200):
        action = core.oracle_action(task, state)
        after = core.transition(task, state, action, key, np.full(92, t))
        returns += 0.999**t * core.reward(task, state, action, after)
        state = after
    assert (PUBLISHED.ravel()[state.cell] == GOAL + BRICK).all()
    close(returns, tabular.optimal_values(core.mdp, core.true_rewards)[0][0, starts], rtol=1e-12)
    assert returns.mean() == pytest.approx(core.references(task)[1], rel=1e-12)


def test_random_play_earns_the_naive_reference() -> None:
    core, n = Delivery(), 20_000
    key, rng = keys.mix(5, np.arange(n)), np.random.default_rng(0)
    task, state = core.initial(key)
    returns = np.zeros(n)
    for t in range(1500):
        action = rng.integers(4, size=n)
        after = core.transition(task, state, action, key, np.full(n, t))
        returns += 0.999**t * core.reward(task, state, action, after)
        state = after
        if core.terminal(task, state).all():
            break
    assert abs(returns.mean() - core.references(task)[0]) < 4 * returns.std() / np.sqrt(n)


# --- observations ---


@pytest.mark.parametrize("kind", ["cell", "onehot", "features", "image"])
def test_observations_lie_in_their_space(kind: str) -> None:
    core = Delivery(observation=kind)
    cells = np.arange(100)
    seen = core.observation(delivery.Task(), delivery.State(cells, cells))
    space = core.observation_space
    assert len(seen) == 100 and all(observation in space for observation in seen)
    assert seen.dtype == space.dtype and seen.shape[1:] == space.shape
    assert seen.tobytes() == b"".join(
        core.observation(delivery.Task(), delivery.State(c, c)).tobytes() for c in cells[:, None]
    )


def test_what_each_observation_shows() -> None:
    cells = np.arange(100)

    def see(kind: str) -> tuple[Any, np.ndarray]:
        core = Delivery(observation=kind)
        return core.observation_space, core.observation(delivery.Task(), delivery.State(cells, cells))

    space, seen = see("cell")
    assert space == gym.spaces.Discrete(100) and (seen == cells).all()
    space, seen = see("onehot")
    assert (seen == np.eye(100)).all() and space.dtype == np.float32
    space, seen = see("features")
    assert seen.shape == (100, 24)
    for cell in cells[Delivery().mdp.start[0] > 0]:
        expected = [_plain_step(PUBLISHED, divmod(int(cell), 10), move)[1] for move in delivery.MOVES]
        assert (seen[cell].reshape(4, 6) == expected).all()
    space, seen = see("image")
    assert space == gym.spaces.Box(0, 255, (80, 80, 3), np.uint8)
    assert all((seen[cell] == rendering.image(PUBLISHED, divmod(int(cell), 10))).all() for cell in cells)
    assert len({picture.tobytes() for picture in seen}) == 100  # every cell can be told from the others


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"'pixels'.*'cell'.*'image'"):
        Delivery(observation="pixels")
    with pytest.raises(ValueError, match=r"'none'.*'true'.*'hidden'"):
        Delivery(reward="none")


# --- any board ---


def _plain_step(board: np.ndarray, cell: tuple[int, int], move: np.ndarray) -> tuple[tuple[int, int], np.ndarray]:
    """Where a move leads and what it counts, read off the rules cell by cell."""

    def kind(r: int, c: int) -> int:
        inside = 0 <= r < board.shape[0] and 0 <= c < board.shape[1]
        return int(board[r, c]) if inside else OUTSIDE

    gas, goal, sheep, coin, roadblock, brick = np.eye(6)
    here, to = kind(*cell), (int(cell[0] + move[0]), int(cell[1] + move[1]))
    if here == OUTSIDE or here % BRICK in (GOAL, HOUSE, SHEEP):
        return cell, np.zeros(6)
    there = kind(*to)
    if there == OUTSIDE or there % BRICK == HOUSE:
        return cell, brick if here >= BRICK else gas
    item, surface = there % BRICK, brick if there >= BRICK else gas
    return to, {ROAD: surface, GOAL: goal, SHEEP: sheep, COIN: surface + coin, ROADBLOCK: surface + roadblock}[item]


def test_boards_follow_the_rules() -> None:
    rng = np.random.default_rng(0)
    boards = rng.integers(0, 12, size=(20, 5, 4))
    boards[10:, 4:], boards[15:, :, 3:] = OUTSIDE, OUTSIDE  # smaller boards, padded
    boards[:, 0, 0] = ROAD
    mdp = delivery.board_mdp(boards, discount=0.9)
    assert mdp.discount == 0.9 and mdp.next_state is not None and mdp.probability is None
    for b, r, c, a in itertools.product(range(20), range(5), range(4), range(4)):
        to, features = _plain_step(boards[b], (r, c), delivery.MOVES[a])
        assert mdp.next_state[b, 4 * r + c, a] == 4 * to[0] + to[1]
        assert (mdp.features[b, 4 * r + c, a] == features).all()
    flat = boards.reshape(20, -1)
    closed = (flat == OUTSIDE) | np.isin(flat % BRICK, (GOAL, HOUSE, SHEEP))
    assert (mdp.terminal == closed).all()
    close(mdp.start, ~closed / (~closed).sum(-1, keepdims=True), rtol=1e-15)


def test_impossible_boards() -> None:
    for boards, said in (
        (PUBLISHED, r"boards has shape \(10, 10\)"),
        (PUBLISHED[None] + 12, "from -1 to 11"),
        (PUBLISHED[None] - 2, "from -1 to 11"),
        (PUBLISHED[None] + 0.5, "boards is .*integers"),
    ):
        with pytest.raises(ValueError, match=said):
            delivery.board_mdp(boards)
    with pytest.raises(ValueError, match="no cell to start from"):
        delivery.board_mdp(np.full((1, 3, 3), GOAL))


# --- random tasks ---

N = 24_000


@pytest.fixture(scope="module")
def drawn() -> random_delivery.RandomTask:
    return random_delivery.draw(keys.mix(11, np.arange(N)))


def _sizes(boards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = boards != OUTSIDE
    return inside.any(2).sum(1), inside.any(1).sum(1)


def _chi_square(counts: np.ndarray, probabilities: np.ndarray) -> bool:
    expected, degrees = counts.sum() * probabilities, len(counts) - 1
    return bool(((counts - expected) ** 2 / expected).sum() < degrees + 6 * np.sqrt(2 * degrees))


def _share_law() -> dict[tuple[float, float, float], float]:
    """Shares of sheep, roadblocks and coins: each even among those that keep the total below 1."""
    law: dict[tuple[float, float, float], float] = {}
    for s in (0, 10, 30):
        bad = [r for r in (0, 10, 50, 80) if s + r < 100]
        for r in bad:
            good = [c for c in (0, 10, 20) if s + r + c < 100]
            law |= {(s / 100, r / 100, c / 100): 1 / 3 / len(bad) / len(good) for c in good}
    assert sum(law.values()) == pytest.approx(1) and len(law) == 29
    return law


def test_random_boards_are_rectangles_of_published_sizes(drawn: random_delivery.RandomTask) -> None:
    assert drawn.boards.shape == (N, 15, 10) and drawn.weights.shape == (N, 6)
    height, width = _sizes(drawn.boards)
    row, column = np.mgrid[:15, :10]
    inside = (row < height[:, None, None]) & (column < width[:, None, None])
    assert ((drawn.boards != OUTSIDE) == inside).all()
    for sizes, values in ((height, [3, 6, 10, 15]), (width, [5, 6, 10])):
        assert np.unique(sizes).tolist() == values
        assert _chi_square(np.bincount(sizes)[values], np.full(len(values), 1 / len(values)))


def test_random_weights_come_from_the_published_sets(drawn: random_delivery.RandomTask) -> None:
    sets = ([-1], [0, 1, 5, 10, 50], [-5, -10, -50, -100], [1], [-2, -5, -10], [-1, -2, -3])
    for column, values in zip(drawn.weights.T, sets, strict=True):
        counts = np.array([(column == value).sum() for value in values])
        assert counts.sum() == N
        assert len(values) == 1 or _chi_square(counts, np.full(len(values), 1 / len(values)))
    close(np.corrcoef(drawn.weights[:, [1, 2, 4, 5]].T), np.eye(4), atol=5 / np.sqrt(N))


def test_random_boards_hold_the_published_shares(drawn: random_delivery.RandomTask) -> None:
    height, width = _sizes(drawn.boards)
    items = {item: (drawn.boards == item).sum((1, 2)) for item in (ROAD, GOAL, SHEEP, ROADBLOCK, COIN)}
    assert (items[GOAL] == 1).all()
    assert (sum(items.values()) == height * width).all()  # no house and no brick
    law = _share_law()
    counted = np.stack([items[SHEEP], items[ROADBLOCK], items[COIN]], -1)
    for area in np.unique(height * width):
        here = counted[height * width == area]
        possible = [[int(share * area + 1e-9) for share in shares] for shares in law]
        missing = np.array(possible)[None] - here[:, None]  # the goal may take the place of one item
        fits = ((missing >= 0).all(-1) & (missing.sum(-1) <= 1)).any(-1)
        assert fits.all(), (area, here[~fits])
    large = counted[height * width == 150]  # where the counts tell the shares apart
    possible = np.array([[round(share * 150) for share in shares] for shares in law])
    kind = np.abs(possible[None] - large[:, None]).sum(-1).argmin(-1)
    assert _chi_square(np.bincount(kind, minlength=len(law)), np.array(list(law.values())))


def test_every_random_board_can_be_played(drawn: random_delivery.RandomTask) -> None:
    mdp = delivery.board_mdp(drawn.boards[:2000])
    assert ((mdp.start > 0).sum(-1) >= 1).all()


def test_random_items_lie_anywhere(drawn: random_delivery.RandomTask) -> None:
    height, width = _sizes(drawn.boards)
    large = drawn.boards[(height == 15) & (width == 10)].reshape(-1, 150)
    assert _chi_square((large == GOAL).sum(0), np.full(150, 1 / 150))
    for item in (
        SHEEP,
        ROADBLOCK,
        COIN,
    ):  # drawn without replacement: less than Poisson spread, the bound holds all the more
        assert _chi_square((large == item).sum(0), np.full(150, 1 / 150))


def test_a_random_task_is_a_function_of_its_key(drawn: random_delivery.RandomTask) -> None:
    key = keys.mix(11, np.arange(40))
    for i in range(40):
        alone = random_delivery.draw(key[i : i + 1])
        assert (alone.boards[0] == drawn.boards[i]).all() and (alone.weights[0] == drawn.weights[i]).all()
    backwards = random_delivery.draw(key[::-1])
    assert (backwards.boards[::-1] == drawn.boards[:40]).all() and (backwards.weights[::-1] == drawn.weights[:40]).all()


def test_digests_tell_content_apart(drawn: random_delivery.RandomTask) -> None:
    digests = random_delivery.digest(drawn)
    assert digests.shape == (N,) and digests.dtype == np.uint64

    def what_matters(board: Any, weights: Any) -> tuple[bytes, tuple[float, ...]]:
        return board.tobytes(), tuple(w * (item in board) for item, w in zip(ITEMS, weights, strict=True))

    content = {what_matters(b, w): int(d) for b, w, d in zip(*drawn, digests, strict=True)}
    assert all(content[what_matters(b, w)] == d for b, w, d in zip(*drawn, digests, strict=True))
    assert len(content) == len(set(content.values())) == len(np.unique(digests))
    full = next(i for i, board in enumerate(drawn.boards) if np.isin((SHEEP, COIN, ROADBLOCK), board).all())
    first = random_delivery.RandomTask(drawn.boards[full : full + 1].copy(), drawn.weights[full : full + 1].copy())
    assert random_delivery.digest(first) == digests[full]
    changed = []
    for cell in range(150):
        boards = first.boards.copy()
        boards.reshape(-1)[cell] = HOUSE
        changed.append(random_delivery.digest(random_delivery.RandomTask(boards, first.weights)).item())
    for i, by in itertools.product(range(6), (-1, 1)):  # brick comes last, and there is none on these boards
        weights = first.weights.copy()
        weights[0, i] += by
        changed.append(random_delivery.digest(random_delivery.RandomTask(first.boards, weights)).item())
    assert set(changed[-2:]) == {int(digests[full])} and len(set(changed)) == 150 + 10 + 1


def test_digests_split_tasks_into_even_quarters(drawn: random_delivery.RandomTask) -> None:
    quarter = np.unique(random_delivery.digest(drawn)) % np.uint64(4)
    assert _chi_square(np.bincount(quarter.astype(np.int64), minlength=4), np.full(4, 0.25))
