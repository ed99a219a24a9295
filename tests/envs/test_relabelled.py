"""New labels on fixed boards: no answer, return or regret changes, and no constant is good.

Maps that nobody was asked about: scores there against a second derivation.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from valuegym.agents.preference.constant import candidates
from valuegym.envs import keys
from valuegym.envs import mdp as tabular
from valuegym.envs.preference import delivery, models, random_delivery
from valuegym.envs.preference.delivery_tasks import ROLES, draw_roles, swap_roles
from valuegym.envs.preference.reward_inference import RewardInference

N = 24
KEY = keys.mix(7, np.arange(N))
CONDITION = "Regret-Question"  # the smallest


def relabelled(**kwargs: Any) -> RewardInference:
    return RewardInference(board="published", relabel=True, evaluation_points=(1,), **kwargs)


def process(task: Any, core: RewardInference) -> tabular.TabularMDP:
    return tabular.TabularMDP(task.features, task.terminal, task.start, core.discount, next_state=task.next_state)


@pytest.mark.parametrize("swap", sorted(itertools.product((False, True), repeat=3)))
def test_swapped_roles_are_a_permutation_of_features(swap: tuple[bool, ...]) -> None:
    """On the published board and on random ones: the same process, features in another order."""
    random = random_delivery.boards("random").draw(keys.mix(3, np.arange(20))).boards
    for boards in (np.array([delivery.BOARD], np.int8), random):
        order = np.arange(6)
        for changed, (one, other) in zip(swap, ROLES, strict=True):
            order[[one, other]] = order[[other, one]] if changed else order[[one, other]]
        before = delivery.board_mdp(boards)
        after = delivery.board_mdp(swap_roles(boards, np.tile(swap, (len(boards), 1))))
        np.testing.assert_array_equal(after.features, before.features[..., order])
        for name in ("next_state", "terminal", "start"):
            np.testing.assert_array_equal(getattr(after, name), getattr(before, name))
        np.testing.assert_array_equal(
            swap_roles(swap_roles(boards, np.array([swap])), np.array([swap])), boards
        )  # twice is not at all


def test_all_roles_orders_and_signs_occur_and_are_pinned() -> None:
    key = keys.mix(0, np.arange(4000))
    order, swap = draw_roles(key)
    np.testing.assert_allclose(swap.mean(0), 0.5, atol=0.03)
    assert len(np.unique(order, axis=0)) == 8
    tasks: Any = relabelled().source.tasks
    weights = tasks.seen_features(key, np.tile(delivery.WEIGHTS, (4000, 1)))
    for column in weights.T:
        np.testing.assert_allclose([(column == 50).mean(), (column == -50).mean()], 1 / 6, atol=0.03)
    np.testing.assert_array_equal(weights[:3], PINNED)


PINNED = np.array([[1, -50, -1, 2, -50, -1], [-1, -1, 2, 1, -50, 50], [-1, -50, -50, -1, -1, -2]])


def test_returns_and_scores_are_those_of_the_published_labels() -> None:
    """A relabelled estimate of a relabelled task scores as the estimate of the published one, whatever it is."""
    core, plain = relabelled(), RewardInference(board="published", evaluation_points=(1,))
    task, published = core.initial(KEY)[0], plain.initial(KEY)[0]
    np.testing.assert_allclose(task.values, published.values, atol=1e-9)
    np.testing.assert_allclose(task.action_values, published.action_values, atol=1e-9)
    for name in ("naive", "best"):
        np.testing.assert_allclose(getattr(task, name), getattr(published, name), atol=1e-9)
    estimate = keys.uniform(KEY[:, None], np.arange(6)) * 2 - 1
    seen = core.source.tasks.seen_features(KEY, estimate)
    np.testing.assert_allclose(core.score(task, seen), plain.score(published, estimate), atol=1e-9)
    np.testing.assert_array_equal(seen @ np.zeros(6), 0)
    np.testing.assert_array_equal(core.source.tasks.seen_features(KEY, np.tile(delivery.WEIGHTS, (N, 1))), task.weights)
    np.testing.assert_array_equal(core.score(task, core.oracle_action(task, None)), 1)


def test_peoples_answers_are_carried_along(data_folder: Path) -> None:
    """The same segments, the same answers; partial return and regret, so every preference model's odds, as before."""
    about: Any = {"annotator": f"human:{CONDITION}", "data": str(data_folder), "evaluation_points": (30,)}
    core, plain = RewardInference(**about, relabel=True), RewardInference(**about)
    task, published = core.initial(KEY)[0], plain.initial(KEY)[0]
    for number in (1, 30):
        (pair, answer), (before, said) = (c.query(t, np.full(N, number)) for c, t in ((core, task), (plain, published)))
        np.testing.assert_array_equal(answer, said)
        for name in ("states", "actions", "mask"):
            np.testing.assert_array_equal(getattr(pair, name), getattr(before, name))
        for statistic in (models.PartialReturn(), models.Regret(), models.END_STATE):
            found, expected = (
                statistic.utility(models.solve(process(t, c), t.weights), models_pair(p), c.discount)
                for c, t, p in ((core, task, pair), (plain, published, before))
            )
            np.testing.assert_allclose(found, expected, atol=1e-9)
        pool, _ = core.pool(task, np.full(N, number), 1)
        here = task.features[np.arange(N)[:, None, None, None], pool.states[..., :-1], pool.actions]
        np.testing.assert_array_equal(pool.features, np.where(pool.mask[..., None], here, 0.0))


def models_pair(pair: Any) -> Any:
    """Return pairs (N, 2, ...) with an axis of one for the number of pairs."""
    return type(pair)(*(field[:, None] for field in pair))


def orbit_means(core: RewardInference) -> dict[int, float]:
    """Mean score of constants with n equal entries over all their orders and signs, on the published labels.

    A constant's mean over relabelled episodes, without drawing any: order and signs send it to each of these alike.
    """
    found = {}
    for n in (0, 1, 2):
        options = [v for v in itertools.product((-1.0, 0.0, 1.0), repeat=6) if np.count_nonzero(v) == n]
        task, _ = core.initial(keys.mix(0, np.arange(len(options))))
        found[n] = float(core.score(task, np.array(options, np.float32)).mean())
    return found


def test_no_constant_is_good_under_new_labels() -> None:
    """By enumeration of all labels: each constant of the agent `constant` at most .1, where one was above .99."""
    plain = RewardInference(board="published", evaluation_points=(1,))
    task, _ = plain.initial(keys.mix(0, np.zeros(73, np.int64)))
    scores = plain.score(task, candidates(6))
    assert scores.max() > 0.99
    exact = orbit_means(plain)
    assert exact[0] == pytest.approx(0) and max(exact.values()) <= 0.1
    core = relabelled()
    task, _ = core.initial(keys.mix(1, np.arange(250)))
    for vector in (candidates(6)[36], candidates(6)[3], candidates(6)[50]):
        drawn = core.score(task, np.tile(vector, (250, 1)))
        assert drawn.mean() == pytest.approx(exact[np.count_nonzero(vector)], abs=4 * drawn.std() / np.sqrt(250) + 1e-9)


def test_scores_on_unseen_maps_are_means_over_maps_solved_alone() -> None:
    core = relabelled(unseen=3)
    task, _ = core.initial(KEY[:4])
    estimate = (keys.uniform(KEY[:4, None], np.arange(6)) * 2 - 1).astype(np.float32)
    found = core.score(task, estimate)
    source: Any = core.source
    for row in range(4):
        scores = []
        for nth in range(3):
            drawn = source.maps.draw(keys.mix(KEY[row : row + 1, None], keys.RESET, 5, np.array([nth])).reshape(-1))
            plain = delivery.board_mdp(drawn.boards)
            seen = source.tasks.seen_features(KEY[row : row + 1], plain.features)
            mdp = tabular.TabularMDP(seen, plain.terminal, plain.start, core.discount, next_state=plain.next_state)
            true = tabular.reward(mdp, task.weights[row : row + 1])
            np.testing.assert_array_equal(true, tabular.reward(plain, np.array([delivery.WEIGHTS])))
            policy = tabular.optimal_policy(mdp, tabular.reward(mdp, estimate[row : row + 1].astype(np.float64)))
            values = [
                tabular.mean_return(mdp, tabular.evaluate(mdp, each, true))[0]
                for each in (tabular.uniform_policy(mdp), policy, tabular.optimal_policy(mdp, true))
            ]
            scores.append(max((values[1] - values[0]) / (values[2] - values[0]), -1.0))
        assert found[row] == pytest.approx(np.mean(scores), abs=1e-9)
    np.testing.assert_allclose(core.score(task, core.oracle_action(task, None)), 1)


def test_unseen_maps_are_of_the_split() -> None:
    boards = [
        relabelled(unseen=2, split=split).source.maps.draw(keys.mix(5, np.arange(40))).boards  # type: ignore[attr-defined]
        for split in ("train", "dev", "test")
    ]
    seen = [{board.tobytes() for board in part} for part in boards]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="unseen is -1"):
        relabelled(unseen=-1)
    with pytest.raises(ValueError, match=r"unseen is 2.*only weights learnt on a fixed board"):
        RewardInference(unseen=2)
    with pytest.raises(ValueError, match="unseen is 2"):
        relabelled(unseen=2, action="policy")
    with pytest.raises(ValueError, match="relabel is 'yes'"):
        RewardInference(board="published", relabel="yes")  # type: ignore[arg-type]
