"""The probes as queries: partial return looks the same in both tasks, regret is learnt from, scores are exact."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import keys
from valuegym.envs.preference import annotators
from valuegym.envs.preference.probe_inference import ProbeInference, Task
from valuegym.envs.preference.probes import PROBES
from valuegym.envs.preference.reward_inference import State, read

close = np.testing.assert_allclose
ID = "valuegym/ProbeInference-v0"
BLIND = [(name, "partial-return-noiseless") for name in PROBES]
BLIND += [(name, "partial-return") for name in ("variable-horizon", "single-step")]
TELLING = [(name, annotator) for name in PROBES for annotator in ("regret", "regret-noiseless")]


def stream(core: ProbeInference, index: int, n: int = 40, number: int = 60) -> list[dict[str, np.ndarray]]:
    """All observations of n episodes with common random numbers, had they been this task."""
    task = Task(keys.mix(3, np.arange(n)), np.full(n, index))
    return [core.observation(task, State(np.full(n, i), np.zeros((n, 1)))) for i in range(number)]


def same(a: list[dict[str, np.ndarray]], b: list[dict[str, np.ndarray]]) -> bool:
    return all(x[name].tobytes() == y[name].tobytes() for x, y in zip(a, b, strict=True) for name in x)


@pytest.mark.parametrize(("probe", "annotator"), BLIND)
def test_partial_return_shows_the_same_in_both_tasks(probe: str, annotator: str) -> None:
    core = ProbeInference(probe, annotator, evaluation_points=(100,))
    assert same(stream(core, 0), stream(core, 1))


@pytest.mark.parametrize(("probe", "annotator"), TELLING)
def test_regret_shows_which_task_it_is(probe: str, annotator: str) -> None:
    core = ProbeInference(probe, annotator, evaluation_points=(100,))
    a, b = stream(core, 0), stream(core, 1)
    assert not same(a, b)
    for x, y in zip(a, b, strict=True):  # by the answers alone
        assert all(x[name].tobytes() == y[name].tobytes() for name in x if name != "label")


def unbeaten_actions(core: ProbeInference, seen: list[dict[str, np.ndarray]]) -> np.ndarray:
    """A learner in ten lines: 1 for actions in segments that were never the worse one (B, S*A)."""
    B, S = seen[0]["terminals"].shape
    A = seen[0]["next_states"].shape[1] // S
    good, beaten = np.zeros((B, S, A), np.float32), [set[bytes]() for _ in range(B)]
    segments: list[dict[bytes, Any]] = [{} for _ in range(B)]
    for observation in seen[1:]:
        for b in range(B):
            query = read({name: value[b] for name, value in observation.items()})
            name = [query.pair.states[i].tobytes() + query.pair.actions[i].tobytes() for i in range(2)]
            for i in range(2):
                segments[b][name[i]] = (query.pair.states[i, :-1], query.pair.actions[i])
            if query.answer in (annotators.FIRST, annotators.SECOND):
                beaten[b].add(name[1 - query.answer])
    for b in range(B):
        for name_, at in segments[b].items():
            if name_ not in beaten[b]:
                good[b][at] = 1
    return good.reshape(B, -1)


@pytest.mark.parametrize("probe", PROBES)
def test_a_learner_is_right_from_regret_and_wrong_in_one_task_from_partial_return(probe: str) -> None:
    scores = {}
    for annotator in ("regret-noiseless", "partial-return-noiseless"):
        core = ProbeInference(probe, annotator, evaluation_points=(100,))
        for index in range(2):
            answer = unbeaten_actions(core, stream(core, index, n=8, number=100))
            scores[annotator, index] = core.score(Task(np.zeros(8, np.uint64), np.full(8, index)), answer)
    close([scores["regret-noiseless", index] for index in range(2)], 1, atol=1e-9)
    assert min(scores["partial-return-noiseless", index].max() for index in range(2)) < 0.9


@pytest.mark.parametrize("probe", PROBES)
def test_scores_of_oracle_ignorance_and_the_other_task(probe: str) -> None:
    core = ProbeInference(probe)
    task, state = core.initial(keys.mix(0, np.arange(200)))
    assert abs(task.paired_task.mean() - 0.5) < 5 * np.sqrt(0.25 / 200)
    oracle = core.oracle_action(task, state)
    assert all(action in core.action_space for action in oracle)
    close(core.score(task, oracle), 1, atol=1e-9)
    close(core.score(task, 0 * oracle), 0, atol=1e-9)
    other = core.oracle_action(task._replace(paired_task=1 - task.paired_task), state)
    assert (core.score(task, other) < 0.95).all()
    if probe != "single-step":
        weights = ProbeInference(probe, action="weights")
        close(weights.score(task, weights.oracle_action(task, state)), 1, atol=1e-9)
        other = weights.oracle_action(task._replace(paired_task=1 - task.paired_task), state)
        assert (weights.score(task, other) < 0.95).all()


def test_the_discount_is_shown_where_it_is_no_secret() -> None:
    discounts = {probe: gym.make(ID, probe=probe).reset(seed=0)[0]["discount"].item() for probe in PROBES}
    assert discounts == {"lottery": 0.999, "variable-horizon": 0.9, "single-step": 0.0}


def test_pairs_are_those_of_random_play() -> None:
    core, n = ProbeInference("lottery", evaluation_points=(10,)), 20_000
    task, _ = core.initial(keys.mix(1, np.arange(n)))
    pair, _ = core.query(task, np.full(n, 3))
    counts = pair.features.reshape(-1, 3).sum(0)
    assert (abs(counts / (2 * n) - (0.5, 0.25, 0.25)) < 5 * np.sqrt(0.25 / (2 * n))).all()
    first, second = pair.features[:, 0, 0, 0], pair.features[:, 1, 0, 0]
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(n)
    for number in (0, 11):
        blank, answer = core.query(task, np.full(n, number))
        assert not any(field.any() for field in blank) and (answer == annotators.CANNOT_TELL).all()


def test_an_episode_pays_the_mean_score_at_its_end() -> None:
    env = gym.make(ID, evaluation_points=(1, 3))
    for episode in range(10):
        env.reset(seed=0 if episode == 0 else None)
        core, task = env.unwrapped.core, env.unwrapped.task  # type: ignore[attr-defined]
        right = core.oracle_action(task, None)[0]
        paid = [env.step(action)[1:3] for action in (-right, right, -right, 0 * right)]
        assert paid[:3] == [(0.0, False)] * 3 and paid[3] == (pytest.approx(0.5), True)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"probe": "risk"}, "'risk'.*lottery"),
        ({"annotator": "human"}, "'human'.*regret"),
        ({"action": "q"}, "'q'.*one of 'policy', 'weights'"),
        ({"probe": "single-step", "action": "weights"}, "'weights'.*expected 'policy'"),
        ({"evaluation_points": (3, 1)}, "evaluation_points.*increasing"),
        ({"evaluation_points": ()}, "evaluation_points.*at least one"),
    ],
)
def test_arguments_are_checked(kwargs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ProbeInference(**kwargs)
