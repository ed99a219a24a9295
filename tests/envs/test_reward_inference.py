"""The query environments: honest scores, honest answers, and nothing that gives the reward away."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import annotators, datasets, delivery, random_delivery
from valuegym.envs.preference.random_delivery import SPLITS
from valuegym.envs.preference.reward_inference import EVALUATION_POINTS, Query, RewardInference, State, Task, read

close = np.testing.assert_allclose
WEIGHTS_ID, POLICY_ID = "valuegym/RewardInference-v0", "valuegym/RewardInferencePolicy-v0"
SIMULATED = ("regret", "regret-noiseless", "partial-return", "partial-return-noiseless")
SMALLEST = "Regret-Question"  # the condition with the fewest answers


def begin(core: RewardInference, n: int, seed: int = 0) -> tuple[Task, State]:
    return core.initial(keys.mix(seed, np.arange(n)))


def process(task: Task, core: RewardInference) -> tabular.TabularMDP:
    return tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)


def one(observation: dict[str, np.ndarray], i: int) -> dict[str, np.ndarray]:
    return {name: value[i] for name, value in observation.items()}


def at(state: State, number: int) -> State:
    return state._replace(num_queries=np.full_like(state.num_queries, number))


# --- scores ---


@pytest.mark.parametrize("action", ["weights", "policy"])
@pytest.mark.parametrize("annotator", SIMULATED)
def test_the_oracle_scores_one_at_every_report(annotator: str, action: str) -> None:
    envs = gym.make_vec(WEIGHTS_ID, num_envs=12, annotator=annotator, action=action, evaluation_points=(0, 2, 3))
    core: RewardInference = envs.unwrapped.core  # type: ignore[attr-defined]
    envs.reset(seed=3)
    for number in range(4):
        oracle = core.oracle_action(envs.unwrapped.task, envs.unwrapped.state)  # type: ignore[attr-defined]
        assert oracle in envs.action_space and (abs(oracle).max(-1) == 1).all()
        _, reward, terminated, truncated, info = envs.step(oracle)
        assert (terminated == (number == 3)).all() and not truncated.any() and info == {}
    close(envs.unwrapped.state.scores, 1, atol=1e-6)  # type: ignore[attr-defined]
    close(reward, 1, atol=1e-6)


@pytest.mark.parametrize("action", ["weights", "policy"])
@pytest.mark.parametrize("board", ["random", "published"])
def test_scores_of_oracle_ignorance_and_error(board: str, action: str) -> None:
    core = RewardInference(board=board, action=action)
    task, state = begin(core, 60 if board == "random" else 1)
    oracle = core.oracle_action(task, state)
    close(core.score(task, oracle), 1, atol=1e-6)
    assert (core.score(task, 0 * oracle) == 0).all()
    assert core.score(task, -oracle).mean() < 0
    assert core.score(task, -oracle).min() == -1


@pytest.mark.parametrize("action", ["weights", "policy"])
def test_scores_are_normalised_returns_under_the_true_reward(action: str) -> None:
    core = RewardInference(action=action)
    task, state = begin(core, 25)
    mdp, rng = process(task, core), np.random.default_rng(0)
    reward = np.einsum("bsad,bd->bsa", task.features, task.weights)
    estimate = rng.uniform(-1, 1, (25, *core.action_space.shape)).astype(np.float32)
    if action == "policy":  # the oracle's table, more or less disturbed
        estimate = (0.5 * core.oracle_action(task, state) + np.geomspace(1e-4, 0.5, 25)[:, None] * estimate).astype(
            np.float32
        )
        actions = estimate.reshape(25, 150, 4).argmax(-1)
    else:
        actions = tabular.optimal_actions(mdp, np.einsum("bsad,bd->bsa", task.features, estimate.astype(np.float64)))[0]
    expected = np.maximum(tabular.normalised_return(mdp, reward, actions), -1)
    close(core.score(task, estimate), expected, atol=1e-6)
    assert len(np.unique(expected)) > 3


@pytest.mark.parametrize("action", ["weights", "policy"])
def test_scores_do_not_depend_on_the_scale_of_the_estimate(action: str) -> None:
    core = RewardInference(action=action)
    task, state = begin(core, 20)
    estimate = np.random.default_rng(1).uniform(-1, 1, (20, *core.action_space.shape)).astype(np.float32)
    for scale in (0.5, 2.0**-10, 0.37):
        close(core.score(task, np.float32(scale) * estimate), core.score(task, estimate), atol=1e-6)
        close(core.score(task, np.float32(scale) * core.oracle_action(task, state)), 1, atol=1e-5)


def test_no_constant_estimate_is_good() -> None:
    """All of {-1, 0, 1}**6 on a few tasks; the best of them again on many others."""
    core = RewardInference(evaluation_points=(0,))
    everything = np.array(list(itertools.product((-1, 0, 1), repeat=6)), np.float32)

    def means(estimates: np.ndarray, n: int, seed: int) -> np.ndarray:
        task, _ = begin(core, n, seed)
        return np.array([core.score(task, np.tile(estimate, (n, 1))).mean() for estimate in estimates])

    best = everything[np.argsort(means(everything, 6, seed=1))[-12:]]
    again = means(best, 60, seed=2)
    print(f"best constant estimate over 60 test tasks: {best[again.argmax()]} scores {again.max():.3f}")
    assert again.max() < 0.5


def test_on_the_published_board_going_for_the_goal_is_nearly_optimal() -> None:
    """Why the published board alone would be no test."""
    core = RewardInference(board="published")
    task, _ = begin(core, 1)
    assert task.weights[0].tolist() == list(delivery.WEIGHTS)
    close(core.score(task, np.array([[0, 1, 0, 0, 0, 0]], np.float32)), 0.991, atol=1e-3)
    close([task.naive[0], task.best[0]], [-71.2574, 41.2079], atol=1e-4)


# --- reward and end ---


@pytest.mark.parametrize("evaluation_points", [(0,), (1,), (0, 1, 2), (2, 5)])
def test_the_reward_is_the_mean_score_at_the_end(evaluation_points: tuple[int, ...]) -> None:
    env = gym.make(WEIGHTS_ID, evaluation_points=evaluation_points)
    core, rng = env.unwrapped.core, np.random.default_rng(0)  # type: ignore[attr-defined]
    for episode in range(3):
        observation, info = env.reset(seed=4 if episode == 0 else None)
        expected: list[float] = []
        for number in range(evaluation_points[-1] + 1):
            assert observation["num_queries"].tolist() == [number] and info == {}
            assert observation["is_evaluation_point"] == (number in evaluation_points)
            action = rng.uniform(-1, 1, 6).astype(np.float32)
            if number in evaluation_points:
                expected.append(core.score(env.unwrapped.task, action[None]).item())  # type: ignore[attr-defined]
            observation, reward, terminated, truncated, info = env.step(action)
            scores = [*expected, *[0.0] * (len(evaluation_points) - len(expected))]
            assert env.unwrapped.state.scores[0].tolist() == scores  # type: ignore[attr-defined]
            assert (terminated, truncated) == (number == evaluation_points[-1], False)
            assert reward == (np.mean(expected) if terminated else 0.0)
        assert observation in env.observation_space
        _assert_blank(observation, evaluation_points[-1] + 1)


def test_only_reports_count() -> None:
    def play(others: float) -> tuple[float, list[Any]]:
        env = gym.make(WEIGHTS_ID, evaluation_points=(1, 3))
        seen = [env.reset(seed=1)[0]]
        for number in range(4):
            action = np.full(6, others) if number in (0, 2) else np.linspace(-1, 1, 6)
            observation, reward, *_ = env.step(action.astype(np.float32))
            seen.append(observation)
        return float(reward), seen

    (a, x), (b, y) = play(0.3), play(-1.0)
    assert a == b and all((p[name] == q[name]).all() for p, q in zip(x, y, strict=True) for name in p)


def test_a_finished_episode_stays_finished() -> None:
    core = RewardInference(evaluation_points=(0,))
    task, state = begin(core, 3)
    key, action, t = task.key, np.ones((3, 6), np.float32), np.zeros(3, np.int64)
    after = core.transition(task, state, action, key, t)
    again = core.transition(task, after, -action, key, t + 1)
    assert core.terminal(task, after).all() and not core.terminal(task, state).any()
    assert all((x == y).all() for x, y in zip(after, again, strict=True))
    assert (core.reward(task, after, -action, again) == 0).all()


@pytest.mark.parametrize("id", [WEIGHTS_ID, POLICY_ID])
def test_impossible_estimates_are_refused(id: str) -> None:
    env = gym.make(id, evaluation_points=(0,))
    env.reset(seed=0)
    size = {WEIGHTS_ID: 6, POLICY_ID: 600}[id]
    assert env.action_space == gym.spaces.Box(-1, 1, (size,), np.float32)
    for value, said in ((np.nan, "is nan"), (np.inf, "is inf"), (1.5, "from -1.0 to 1.0")):
        action = np.zeros(size, np.float32)
        action[-1] = value
        with pytest.raises(ValueError, match=said):
            env.unwrapped.step(action)
    with pytest.raises(ValueError, match="shape"):
        env.unwrapped.step(np.zeros(size + 1, np.float32))


# --- what is shown, and what is not ---


def _assert_blank(observation: dict[str, Any], number: int) -> None:
    query = read(observation)
    assert (query.num_queries, query.answer) == (number, annotators.CANNOT_TELL)
    assert not any(field.any() for field in query.pair)


@pytest.mark.parametrize("annotator", SIMULATED)
def test_the_first_observation_shows_no_pair(annotator: str) -> None:
    env = gym.make(WEIGHTS_ID, annotator=annotator)
    for _ in range(3):
        observation, info = env.reset()
        assert observation in env.observation_space and info == {}
        _assert_blank(observation, 0)
        assert read(observation).is_evaluation_point is False


def test_read_restores_the_process() -> None:
    core = RewardInference(length=5)
    task, state = begin(core, 4)
    seen = core.observation(task, at(state, 7))
    for i in range(4):
        query = read(one(seen, i))
        assert (query.next_states.shape, query.features.shape) == ((150, 4), (150, 4, 6))
        assert query.terminals.dtype == query.pair.mask.dtype == np.bool_
        assert (query.next_states == task.next_state[i]).all() and (query.features == task.features[i]).all()
        assert (query.terminals == task.terminal[i]).all() and (query.start == task.start[i]).all()
        assert (query.discount, query.num_queries) == (0.999, 7)
        assert query.pair.states.shape == (2, 6) and query.pair.features.shape == (2, 5, 6)
        mdp = query.mdp()
        assert mdp.discount == core.discount
        values = tabular.optimal_values(mdp, tabular.reward(mdp, task.weights[i]))[0][0]
        close(values, task.values[i], atol=1e-9)


def test_tasks_are_solved() -> None:
    """V* obeys Bellman's optimality equation under the true weights, read with plain sums."""
    core = RewardInference()
    task, _ = begin(core, 30)
    q = np.einsum("bsad,bd->bsa", task.features, task.weights)
    q += 0.999 * task.values[np.arange(30)[:, None, None], task.next_state]
    close(task.action_values, q, atol=1e-9)
    close(task.values, q.max(-1), atol=1e-9)
    mdp = process(task, core)
    uniform = tabular.evaluate(mdp, tabular.uniform_policy(mdp), tabular.reward(mdp, task.weights))
    close(task.naive, (task.start * uniform).sum(-1), atol=1e-9)
    close(task.best, (task.start * task.values).sum(-1), atol=1e-9)


def test_observations_do_not_depend_on_the_true_weights_but_for_the_answers() -> None:
    core = RewardInference(annotator="regret-noiseless")
    task, state = begin(core, 40)
    weights = np.random.default_rng(0).permuted(task.weights, axis=-1)
    mdp = process(task, core)
    values, action_values = tabular.optimal_values(mdp, tabular.reward(mdp, weights))
    other = task._replace(
        weights=weights, values=values, action_values=action_values, naive=task.naive + 1, best=task.best + 2
    )
    differ = 0
    for number in range(30):
        a, b = (core.observation(t, at(state, number)) for t in (task, other))
        for name in a:
            if name == "label" and number:
                differ += (a[name] != b[name]).sum()
            else:
                assert a[name].tobytes() == b[name].tobytes()
    assert differ > 100


def test_nothing_shown_equals_the_true_weights() -> None:
    core = RewardInference()
    task, state = begin(core, 30)
    seen = core.observation(task, at(state, 1))
    for i in range(30):
        direction = task.weights[i] / np.linalg.norm(task.weights[i])
        for value in one(seen, i).values():
            flat = np.ravel(value).astype(np.float64)
            if flat.size >= 6:
                windows = np.lib.stride_tricks.sliding_window_view(flat, 6)
                norm = np.linalg.norm(windows, axis=-1)
                cosine = windows[norm > 0] @ direction / norm[norm > 0]
                assert cosine.size == 0 or (abs(cosine) < 0.9999).all()


def test_annotators_share_tasks_and_pairs() -> None:
    envs = {name: gym.make_vec(WEIGHTS_ID, num_envs=8, annotator=name) for name in SIMULATED}
    seen = {name: [env.reset(seed=6)[0]] for name, env in envs.items()}
    for name, env in envs.items():
        seen[name] += [env.step(np.zeros((8, 6), np.float32))[0] for _ in range(2)]
    for name in SIMULATED[1:]:
        for t, (a, b) in enumerate(zip(seen["regret"], seen[name], strict=True)):
            assert all((a[k] == b[k]).all() for k in a if k != "label" or t == 0)


def test_every_episode_is_a_new_task() -> None:
    env = gym.make(WEIGHTS_ID)
    first = env.reset(seed=0)[0]
    boards = {env.reset()[0]["board"].tobytes() for _ in range(20)} | {first["board"].tobytes()}
    assert len(boards) > 19
    assert env.reset(seed=0)[0]["features"].tobytes() == first["features"].tobytes()


def test_signs_and_places_of_features_tell_nothing() -> None:
    """Over tasks, each weight is as often positive as negative, and each item is as often the good one."""
    core, n = RewardInference(), 600
    task, _ = begin(core, n)
    bound = 5 * np.sqrt(0.25 / n)
    assert (abs((task.weights > 0).sum(0) / (task.weights != 0).sum(0) - 0.5) < bound).all()
    at_largest = np.bincount(abs(task.weights).argmax(-1), minlength=6) / n
    assert (abs(at_largest - 1 / 6) < 5 * np.sqrt(1 / 6 * 5 / 6 / n)).all()
    # The reward of stepping onto an item, whichever feature stands for it.
    reward = np.einsum("bsad,bd->bsa", task.features, task.weights)
    good = {item: [] for item in (delivery.GOAL, delivery.SHEEP, delivery.COIN, delivery.ROADBLOCK)}  # type: ignore[var-annotated]
    for i in range(n):
        entered = task.layout[i][task.next_state[i]]
        moved = task.next_state[i] != np.arange(150)[:, None]
        plain = reward[i][moved & (entered == delivery.ROAD)]
        for item, found in good.items():
            paid = reward[i][moved & (entered == item)]
            if paid.size and plain.size:
                ends = item in (delivery.GOAL, delivery.SHEEP)
                found.append(paid[0] > (0 if ends else plain[0]))
    for item, found in good.items():
        assert len(found) > 100
        expected = 0.4 if item in (delivery.GOAL, delivery.SHEEP) else 0.5  # one in five good ends is worth 0
        assert abs(np.mean(found) - expected) < 5 * np.sqrt(0.25 / len(found)), item


# --- answers ---


def queries(core: RewardInference, task: Task, state: State, number: int) -> list[Query]:
    seen = core.observation(task, at(state, number))
    return [read(one(seen, i)) for i in range(len(state.num_queries))]


def utilities(query: Query, weights: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Partial return and minus the regret, in its telescoped form, of both segments."""
    L = query.pair.actions.shape[1]
    partial = (query.pair.features.astype(np.float64) @ weights * query.discount ** np.arange(L)).sum(-1)
    return partial, partial + query.discount**L * values[query.pair.states[:, -1]] - values[query.pair.states[:, 0]]


@pytest.mark.parametrize("length", [1, 3, 6])
def test_pairs_follow_the_shown_dynamics(length: int) -> None:
    core = RewardInference(length=length)
    task, state = begin(core, 20)
    masks = []
    for number in range(1, 30):
        for query in queries(core, task, state, number):
            pair = query.pair
            masks.append(pair.mask)
            assert (pair.mask == ~query.terminals[pair.states[:, :-1]]).all() and pair.mask[:, 0].all()
            assert (pair.actions[~pair.mask] == 0).all()
            assert (pair.states[:, 1:] == query.next_states[pair.states[:, :-1], pair.actions]).all()
            assert (pair.features == query.features[pair.states[:, :-1], pair.actions]).all()
            assert (query.start[pair.states[:, 0]] > 0).all()
    assert length == 1 or not np.all(masks)


def test_pairs_are_drawn_evenly() -> None:
    core, n = RewardInference(board="published"), 3000
    task, _ = begin(core, 1)
    many = Task(*(np.repeat(field, n, 0) for field in task))
    pair, answer = core.query(many, np.arange(1, n + 1))
    first = pair.states[..., 0]
    counts = np.bincount(first.ravel(), minlength=100)[task.start[0] > 0]
    assert counts.sum() == first.size
    assert ((counts - first.size / 92) ** 2 / (first.size / 92)).sum() < 91 + 6 * np.sqrt(182)
    actions = np.bincount(pair.actions[..., 0].ravel(), minlength=4) / first.size
    assert (abs(actions - 0.25) < 5 * np.sqrt(0.1875 / first.size)).all()
    assert abs(np.corrcoef(first.T)[0, 1]) < 5 / np.sqrt(n)  # the two segments are drawn apart
    for number in (1, 17, n):  # pair number 17 is the same whenever and with whomever one asks
        alone, said = core.query(task, np.array([number]))
        assert (said[0] == answer[number - 1]) and all(
            (x[0] == y[number - 1]).all() for x, y in zip(alone, pair, strict=True)
        )


@pytest.mark.parametrize("annotator", ["regret-noiseless", "partial-return-noiseless"])
def test_noiseless_answers_follow_from_the_true_weights(annotator: str) -> None:
    core = RewardInference(annotator=annotator)
    task, state = begin(core, 40)
    answers = []
    for number in range(1, 60):
        for i, query in enumerate(queries(core, task, state, number)):
            first, second = utilities(query, task.weights[i], task.values[i])["regret" in annotator]
            if abs(abs(second - first) - 1e-6) > 5e-7:  # else rounding decides
                same, better = abs(second - first) <= 1e-6, second > first
                assert query.answer == (annotators.SAME if same else annotators.SECOND if better else annotators.FIRST)
                answers.append(query.answer)
    assert len(answers) > 2300 and set(answers) == {0, 1, 2}


@pytest.mark.parametrize("annotator", ["regret", "partial-return"])
def test_answers_are_as_frequent_as_the_model_says(annotator: str) -> None:
    core = RewardInference(annotator=annotator)
    task, state = begin(core, 60)
    chances, chosen = [], []
    for number in range(1, 120):
        for i, query in enumerate(queries(core, task, state, number)):
            first, second = utilities(query, task.weights[i], task.values[i])["regret" in annotator]
            chances.append(0.5 + 0.5 * np.tanh((second - first) / 2))
            chosen.append(query.answer)
    p, y = np.array(chances), np.array(chosen)
    assert set(y) == {annotators.FIRST, annotators.SECOND}
    for low, high in ((0, 0.05), (0.05, 0.3), (0.3, 0.499), (0.499, 0.501), (0.501, 0.7), (0.7, 0.95), (0.95, 1.0001)):
        inside = (p >= low) & (p < high)
        assert inside.sum() > 50
        spread = np.sqrt((p[inside] * (1 - p[inside])).sum())
        assert abs(y[inside].sum() - p[inside].sum()) < 4.5 * spread + 1e-6, (low, high)


# --- splits ---


def content(split: str, n: int) -> list[tuple[bytes, bytes]]:
    """Boards and weights of n tasks, before the features are shuffled and signed."""
    core = RewardInference(split=split)
    boards, weights, _, _ = core.source.tasks.original(keys.mix(1, np.arange(n)))
    return [(b.tobytes(), w.tobytes()) for b, w in zip(boards, weights, strict=True)]


def test_splits_share_no_task() -> None:
    found = {split: set(content(split, 500)) for split in SPLITS}
    assert set(found) == {"train", "dev", "test"}
    for a, b in itertools.combinations(found.values(), 2):
        assert not a & b
    assert all(len(tasks) > 450 for tasks in found.values())


def test_splits_cover_all_tasks() -> None:
    quarters = [q for split in SPLITS.values() for q in split]
    assert sorted(quarters) == [0, 1, 2, 3] and {k: len(v) for k, v in SPLITS.items()} == {
        "train": 2,
        "dev": 1,
        "test": 1,
    }
    digests = random_delivery.digest(random_delivery.draw(keys.mix(0, np.arange(4000)))) % np.uint64(4)
    for split, share in (("train", 0.5), ("dev", 0.25), ("test", 0.25)):
        assert abs(np.isin(digests, SPLITS[split]).mean() - share) < 5 * np.sqrt(share * (1 - share) / 4000)


def test_test_is_the_default_split() -> None:
    core = RewardInference()
    source: Any = core.source
    assert (source.tasks.boards.split, source.length) == ("test", 3)
    assert (core.evaluation_points, core.random) == (EVALUATION_POINTS, True)
    assert EVALUATION_POINTS == (3, 10, 30, 100, 300, 1000, 3000)


# --- arguments ---


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"board": "empty"}, "'empty'.*'random', 'published'"),
        ({"split": "all"}, "'all'.*train.*dev.*test"),
        ({"action": "q"}, "'q'.*'weights', 'policy'"),
        ({"length": 0}, "length is 0; .*from 1 to 1000"),
        ({"evaluation_points": ()}, "evaluation_points.*at least one"),
        ({"evaluation_points": (3, 1)}, "evaluation_points.*increasing"),
        ({"evaluation_points": (1, 1)}, "evaluation_points.*increasing"),
        ({"evaluation_points": (-1, 2)}, r"evaluation_points\[0\] is -1; .*from 0"),
        ({"evaluation_points": (1.5,)}, "evaluation_points.*integer"),
        ({"annotator": "oracle"}, "'oracle'.*regret.*human:CONDITION"),
        ({"annotator": "human:Nobody"}, "'Nobody'.*Privileged-Control"),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RewardInference(**kwargs)


@pytest.mark.parametrize("board", ["random", "risky"])
@pytest.mark.parametrize("size", [(2, 3), (7, 4), (20, 31)])
def test_boards_of_any_size(board: str, size: tuple[int, int]) -> None:
    """Every cell of the array is a cell of the board, and the oracle is right on it."""
    core = RewardInference(board=board, size=size, evaluation_points=(0, 2))
    S = size[0] * size[1]
    assert core.observation_space["board"].shape == (S,) and core.source.tasks.boards.shape == size
    task, state = begin(core, 4)
    assert task.layout.shape == (4, S) and (task.layout != delivery.OUTSIDE).all()
    assert task.next_state.shape == (4, S, 4) and task.terminal.shape == (4, S)
    seen = core.observation(task, at(state, 1))
    assert all(one(seen, i) in core.observation_space for i in range(4))
    assert [read(one(seen, i)).terminals.shape for i in range(4)] == [(S,)] * 4
    close(core.score(task, core.oracle_action(task, state)), 1, atol=1e-6)


def test_a_board_of_ten_thousand_cells() -> None:
    envs = gym.make_vec(WEIGHTS_ID, num_envs=2, size=(100, 100), evaluation_points=(1,))
    observation, _ = envs.reset(seed=0)
    assert observation["board"].shape == (2, 10_000)
    for _ in range(2):
        task, state = envs.unwrapped.task, envs.unwrapped.state  # type: ignore[attr-defined]
        _, reward, terminated, *_ = envs.step(envs.unwrapped.core.oracle_action(task, state))  # type: ignore[attr-defined]
    assert terminated.all()
    close(reward, 1, atol=1e-6)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"board": "published"}, "only random boards"),
        ({"board": "..G"}, "only random boards"),
        ({"size": (1, 9)}, r"size\[0\] is 1; expected an integer from 2 to 128"),
        ({"size": (5, 129)}, r"size\[1\] is 129"),
        ({"size": (5, True, 3)}, "size is"),
        ({"size": 5}, "size has shape"),
        ({"size": "55"}, "size is '55'"),
    ],
)
def test_sizes_are_for_random_boards_and_bounded(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RewardInference(**{"size": (9, 9), **kwargs})


MAP = """
    ..#G
    .SX.
    $.h.
"""


@pytest.mark.parametrize("action", ["weights", "policy"])
def test_a_map_of_ones_own(action: str) -> None:
    """The board is what was written, its weights are the published ones, and pairs come from its open cells."""
    env = gym.make(WEIGHTS_ID, board=MAP, annotator="regret-noiseless", action=action, evaluation_points=(5,))
    core = env.unwrapped.core  # type: ignore[attr-defined]
    observation, _ = env.reset(seed=0)
    assert observation["board"].reshape(3, 4).tolist() == [[0, 0, 6, 1], [0, 3, 5, 0], [4, 0, 8, 0]]
    task, state = begin(core, 40)
    assert (task.weights == delivery.WEIGHTS).all() and not core.random
    starts = {cell for query in queries(core, task, state, 1) for cell in query.pair.states[:, 0].tolist()}
    assert starts == {0, 1, 2, 4, 6, 7, 8, 9, 11}
    terminated = False
    while not terminated:
        best = core.oracle_action(env.unwrapped.task, env.unwrapped.state)[0]  # type: ignore[attr-defined]
        observation, reward, terminated, *_ = env.step(best)
    assert reward == pytest.approx(1, abs=1e-6)


def test_reports_may_come_as_a_list() -> None:
    assert RewardInference(evaluation_points=[0, 4]).evaluation_points == (0, 4)


# --- people ---


def human(data_folder: Path, **kwargs: Any) -> RewardInference:
    return RewardInference(annotator=f"human:{SMALLEST}", data=str(data_folder), **kwargs)


def test_people_are_replayed_without_replacement(data_folder: Path) -> None:
    core, stored = human(data_folder), datasets.load(SMALLEST, str(data_folder))
    n = len(stored.labels)
    task, _ = begin(core, 2)
    assert (np.sort(task.order, -1) == np.arange(n)).all() and (task.order[0] != task.order[1]).any()
    for i in range(2):
        row = Task(*(np.repeat(field[i : i + 1], n, 0) for field in task))
        pair, answer = core.query(row, np.arange(1, n + 1))
        np.testing.assert_array_equal(annotators.labels(answer), stored.labels[task.order[i]])
        for field, published in zip(pair, stored.segments, strict=True):
            assert (field == published[task.order[i]]).all()


def test_people_stop_when_their_answers_are_used_up(data_folder: Path) -> None:
    n = len(datasets.load(SMALLEST, str(data_folder)).labels)
    assert human(data_folder).evaluation_points == (*(r for r in EVALUATION_POINTS if r < n), n)
    assert human(data_folder, evaluation_points=(5, n)).evaluation_points == (5, n)
    assert human(data_folder, evaluation_points=(5, 7)).evaluation_points == (5, 7)
    assert human(data_folder, evaluation_points=(10**6,)).evaluation_points == (n,)


def test_people_through_the_environment(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALUEGYM_DATA", str(data_folder))
    env = gym.make(WEIGHTS_ID, annotator=f"human:{SMALLEST}")
    stored = datasets.load(SMALLEST)
    observation, _ = env.reset(seed=0)
    seen, terminated, goal = [], False, np.array([0, 1, 0, 0, 0, 0], np.float32)
    while not terminated:
        observation, reward, terminated, _, _ = env.step(goal)
        assert observation in env.observation_space
        if not terminated:
            query = read(observation)
            seen.append((query.pair.states.tobytes(), query.pair.actions.tobytes(), query.answer))
            assert (query.pair.states[:, 1:] == query.next_states[query.pair.states[:, :-1], query.pair.actions]).all()
    assert reward == pytest.approx(0.991, abs=1e-3)
    _assert_blank(observation, len(stored.labels) + 1)
    assert (observation["board"] == np.ravel(delivery.BOARD)).all()
    answers = annotators.answer_codes(stored.labels)
    published = [
        (s.tobytes(), a.tobytes(), y)
        for s, a, y in zip(stored.segments.states, stored.segments.actions, answers, strict=True)
    ]
    assert sorted(seen) == sorted(published)


@pytest.mark.parametrize("action", ["weights", "policy"])
def test_the_oracle_scores_one_with_people(data_folder: Path, action: str) -> None:
    core = human(data_folder, action=action)
    task, state = begin(core, 1)
    close(core.score(task, core.oracle_action(task, state)), 1, atol=1e-6)


def test_people_need_their_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VALUEGYM_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="VALUEGYM_DATA"):
        RewardInference(annotator=f"human:{SMALLEST}")
