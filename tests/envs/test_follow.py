"""Follow and Predict: rewards, responses, and the score as the skill against persistence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from valuegym.envs import keys, rollouts
from valuegym.envs.coevolution import dynamics, metrics, responses
from valuegym.envs.coevolution.follow import Follow
from valuegym.envs.coevolution.predict import Predict
from valuegym.envs.coevolution.responses import Channel

Array = npt.NDArray[Any]
KEY = keys.mix(0, np.arange(2000))


def same(a: Any, b: Any) -> bool:
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def crowd(rows: int, people: int = 30, D: int = 3) -> Array:
    return np.random.default_rng(0).normal(size=(rows, people, D)) * 0.3 + np.linspace(-0.5, 0.5, D)


# ---------------------------------------------------------------- responses


def test_stated_values_are_people_and_noise() -> None:
    people, said = crowd(2000), np.zeros((2000, 3))
    drawn = Channel(budget=20, noise=0.5).draw(KEY, people, said)
    assert drawn.shape == (2000, 20, 3)
    error = drawn.mean(1) - people.mean(1)
    assert np.abs(error.mean(0)).max() < 5 * np.sqrt((0.09 + 0.25) / 20 / 2000)
    spread = (drawn - people.mean(1)[:, None]).var()
    assert spread == pytest.approx(people.var(1).mean() + 0.25, rel=0.02)
    exact = Channel(noise=0.0).draw(KEY[:50], people[:50], said[:50])
    assert ((exact[:, :, None] == people[:50, None]).all(-1).any(-1)).all()  # somebody's own values


def test_choices_follow_bradley_terry() -> None:
    x = np.array([0.6, -0.3, 0.1])
    people = np.broadcast_to(x, (2000, 4, 3)).copy()
    drawn = Channel("choices", budget=50, noise=0.4).draw(KEY, people, np.zeros((2000, 3)))
    utility = (drawn @ x) / 0.4  # of the chosen minus the other
    size = np.abs(utility)
    for low, high in ((0, 0.5), (0.5, 1), (1, 2), (2, 4)):
        rows = (size >= low) & (size < high)
        expected = (1 / (1 + np.exp(-size[rows]))).mean()
        assert (utility[rows] > 0).mean() == pytest.approx(expected, abs=5 * 0.5 / np.sqrt(rows.sum()))
    estimate = Channel("choices", budget=50, noise=0.4).estimate(drawn)
    assert np.abs(estimate.mean(0) - x).max() < 0.1 and metrics.distance(estimate, x).mean() < 0.8
    much = Channel("choices", budget=3000, noise=0.4)
    assert metrics.distance(much.estimate(much.draw(KEY[:4], people[:4], np.zeros((4, 3)))), x).max() < 0.12


def test_the_estimate_from_choices_is_where_the_slope_vanishes() -> None:
    channel = Channel("choices", budget=30, noise=0.5)
    drawn = channel.draw(KEY[:20], crowd(20), np.zeros((20, 3)))
    x = channel.estimate(drawn)
    z = drawn / 0.5
    slope = (z / (1 + np.exp((z * x[:, None]).sum(-1)))[..., None]).sum(1) - x
    assert np.abs(slope).max() < 1e-8


def test_strategic_people_overstate() -> None:
    people, said = crowd(50), np.full((50, 3), 0.2)
    honest, strategic = (Channel(noise=0.1, strategic=s).draw(KEY[:50], people, said) for s in (0.0, 0.5))
    respondents = keys.integers(KEY[:50, None], 30, 0, np.arange(20))
    x = np.take_along_axis(people, respondents[..., None], 1)
    assert np.allclose(strategic - honest, 0.5 * (x - 0.2))


def test_delayed_answers_arrive_in_order() -> None:
    late, prompt = (Follow(family="linear", delay=d) for d in (2, 0))
    (task, a), (_, b) = late.initial(KEY[:3]), prompt.initial(KEY[:3])
    shown = []
    for t in range(6):
        shown.append(b.pending_responses[:, 0])
        if t >= 2:
            assert same([a.pending_responses[:, 0]], [shown[t - 2]])
        action = np.zeros((3, 5), np.float32)
        a = late.transition(task, a, action, task.key, np.full(3, t))
        b = prompt.transition(task, b, action, task.key, np.full(3, t))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kind": "rumours"}, "rumours"),
        ({"budget": 0}, "budget is 0"),
        ({"delay": -1}, "delay is -1"),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"kind": "choices", "noise": 0.0}, "temperature"),
    ],
)
def test_wrong_channels_are_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Channel(**kwargs)


# ---------------------------------------------------------------- environments


@pytest.mark.parametrize("core", [Follow(), Predict(horizon=2), Follow(responses="choices", budget=40)])
def test_the_score_is_the_skill_against_persistence(core: Follow) -> None:
    task, _ = core.initial(KEY[:16])
    naive, best = core.references(task)
    assert np.abs(best).max() < 1e-10
    noise = np.random.default_rng(0).normal(size=(16, core.steps, core.dimensions)) * 0.2

    def policy(task: Any, state: Any) -> Array:
        return core.action(core.truth(task, state) + noise[:, state.t[0]])

    run = rollouts.play(core, task, policy)
    found = core.episode_metrics(task, run.states, run.actions)
    assert np.allclose((run.returns - naive) / (best - naive), found["skill"], atol=1e-6)
    again = rollouts.play(core, task, core.persistence)
    assert np.array_equal(again.returns, naive)
    assert (core.episode_metrics(task, again.states, again.actions)["skill"] == 0).all()


def test_follow_scores_what_is_and_predict_what_comes() -> None:
    for core in (Follow(), Predict(horizon=3)):
        task, state = core.initial(KEY[:4])
        assert task.path.shape == (4, 9 + core.horizon, 5)
        for t in range(9):
            action = core.action(task.path[:, t + core.horizon])
            after = core.transition(task, state, action, task.key, np.full(4, t))
            assert np.allclose(core.reward(task, state, action, after), 0, atol=1e-10)
            off = core.action(task.path[:, t + core.horizon] * 0.5)
            expected = -((0.5 * task.path[:, t + core.horizon]) ** 2).sum(-1)
            assert np.allclose(core.reward(task, state, off, after), expected, atol=1e-6)
            assert np.allclose(core.people_at(task, state.t).mean(1), task.path[:, t])
            state = after
        assert core.terminal(task, state).all()
        still = core.transition(task, state, action, task.key, np.full(4, 9))
        assert same(still, state) and (core.reward(task, state, action, still) == 0).all()


def test_the_future_is_not_observed() -> None:
    core = Predict(horizon=1)
    task, state = core.initial(KEY[:4])
    changed = task.path.copy()
    changed[:, 1:] += 0.3
    other = task._replace(path=changed)
    assert same(core.observation(task, state).values(), core.observation(other, core.start(other)).values())


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"responses": "choices", "strategic": 0.2, "delay": 1},
        {"network": "complete"},
        {"network": "barabasi-albert"},
    ],
)
def test_rows_do_not_depend_on_their_number(kwargs: dict[str, Any]) -> None:
    core = Follow(people=30, **kwargs)
    played = np.random.default_rng(0).uniform(-1, 1, (1000, 9, 5)).astype(np.float32)
    expected = None
    for B in (1000, 8, 3, 1):
        run_task, state = core.initial(KEY[:B])
        rewards = []
        for t in range(9):
            after = core.transition(run_task, state, played[:B, t], run_task.key, np.full(B, t))
            rewards.append(core.reward(run_task, state, played[:B, t], after))
            state = after
        out = (*run_task, *state, np.stack(rewards, 1), *core.observation(run_task, state).values())
        expected = expected or out
        assert same([x[:B].copy() for x in expected], out)


def test_people_stand_around_the_mean() -> None:
    task, _ = Follow(cluster_std=0.3, people=100).initial(KEY[:50])
    assert task.deviations.shape == (50, 1, 100, 5) and np.abs(dynamics.mean(task.deviations, 2)).max() < 1e-12
    assert task.deviations.std() == pytest.approx(0.3, rel=0.02)


EDGES = [[0, 1, 1.0], [0, 2, 3.0], [1, 0, 0.5], [3, 2, 1.0], [2, 4, 1.0]]  # 4 listens to nobody


@pytest.mark.parametrize("network", [EDGES, "complete"])
def test_people_on_a_network_listen_to_each_other(network: Any) -> None:
    core = Predict(family="linear", people=5, network=network, listening=0.3, horizon=2)
    alone = Predict(family="linear", people=5, horizon=2)
    (task, state), (plain, _) = core.initial(KEY[:3]), alone.initial(KEY[:3])
    assert task.path.shape == (3, 11, 5) and task.deviations.shape == (3, 9, 5, 5)
    weights = np.zeros((5, 5))
    if network == "complete":
        weights[:] = (1 - np.eye(5)) / 4
    else:
        for i, j, w in EDGES:
            weights[int(i), int(j)] = w
        weights[:4] /= weights[:4].sum(1, keepdims=True)
    would = plain.path[:, :, None] + plain.deviations
    for b in range(3):
        x = would[b, 0]
        for t in range(11):
            if t:
                x = np.array(
                    [
                        0.3 * weights[i] @ x + 0.7 * would[b, t, i] if weights[i].any() else would[b, t, i]
                        for i in range(5)
                    ]
                )
            assert np.allclose(task.path[b, t], x.mean(0), atol=1e-12)
            if t < 9:
                assert np.allclose(core.people_at(task, np.full(3, t))[b], x, atol=1e-12)
    assert np.allclose(core.truth(task, state), task.path[:, 2])
    deaf = Predict(family="linear", people=5, network=network, listening=0.0, horizon=2)
    assert np.allclose(deaf.initial(KEY[:3])[0].path, plain.path, atol=1e-12)


def test_the_mean_on_a_network_comes_after_the_path() -> None:
    """With everybody listening to everybody at a share s, a steady drift v leaves the mean v s / (1 - s) behind."""
    core, plain = Follow(family="linear", steps=60, network="complete"), Follow(family="linear", steps=60)
    (task, _), (alone, _) = core.initial(KEY[:20]), plain.initial(KEY[:20])
    drift = alone.path[:, -1] - alone.path[:, -2]
    assert np.allclose(alone.path[:, -1] - task.path[:, -1], drift, atol=1e-9)


def test_wrong_arguments_are_named() -> None:
    for cls, kwargs, message in (
        (Follow, {"steps": 0}, "steps is 0"),
        (Follow, {"scale": 0.0}, "scale is 0.0"),
        (Follow, {"cluster_std": -1.0}, "cluster_std is -1.0"),
        (Follow, {"family": "sideways"}, "sideways"),
        (Predict, {"horizon": 0}, "horizon is 0"),
        (Follow, {"listening": 1.5}, "listening is 1.5"),
        (Follow, {"network": "hexagons"}, "hexagons"),
        (Follow, {"items": "shouts", "responses": "choices"}, "shouts"),
    ):
        with pytest.raises(ValueError, match=message):
            cls(**kwargs)  # type: ignore[arg-type]


UNDEFINED: list[tuple[type[Follow], dict[str, Any]]] = [
    (Follow, {"noise": 0.0, "cluster_std": 0.0}),
    (Follow, {"noise": 0.0, "people": 1}),
    (Follow, {"noise": 0, "people": 1, "network": "complete"}),
    (Follow, {"noise": 0.0, "people": 1, "delay": 3, "steps": 1}),
]
DEFINED: list[tuple[type[Follow], dict[str, Any]]] = [
    (Follow, {"noise": 0.0, "people": 2}),
    (Follow, {"noise": 0.1, "people": 1}),
    (Follow, {"noise": 0.0, "people": 1, "delay": 1}),
    (Follow, {"noise": 0.0, "people": 1, "strategic": 0.1}),
    (Follow, {"people": 1, "responses": "choices"}),
    (Predict, {"noise": 0.0, "cluster_std": 0.0}),
    (Predict, {"noise": 0.0, "people": 1, "steps": 1}),
]


@pytest.mark.parametrize(("cls", "kwargs"), UNDEFINED)
def test_tasks_in_which_persistence_is_perfect_are_refused(cls: type[Follow], kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no score is defined; pass a noise above 0"):
        cls(**kwargs)


@pytest.mark.parametrize(("cls", "kwargs"), DEFINED)
def test_in_all_others_the_oracle_is_above_persistence(cls: type[Follow], kwargs: dict[str, Any]) -> None:
    core = cls(**kwargs)
    naive, best = core.references(core.initial(KEY[:20])[0])
    assert (best > naive + 1e-6 * np.abs(naive)).all()


def test_opinions_that_leave_no_score_are_refused_at_reset(tmp_path: Path) -> None:
    agreed, apart = np.full((2, 3, 2), 0.5), np.random.default_rng(0).uniform(-1, 1, (2, 3, 2))
    core = Follow(noise=0.0, people=3, dimensions=2)
    core.initial(KEY[:2], opinions=apart)
    Follow(noise=0.1, people=3, dimensions=2).initial(KEY[:2], opinions=agreed)
    Predict(noise=0.0, people=3, dimensions=2).initial(KEY[:2], opinions=agreed)
    with pytest.raises(ValueError, match="no score is defined"):
        core.initial(KEY[:2], opinions=np.stack([apart[0], agreed[0]]))
    path = tmp_path / "still.csv"
    path.write_text("year,a,b\n" + "".join(f"{year},0.25,-1\n" for year in range(20)))
    still: dict[str, Any] = {"family": path, "dimensions": 2, "people": 1}
    Predict(**still)
    with pytest.raises(ValueError, match="no score is defined"):
        Predict(noise=0.0, **still)


def test_recorded_paths_fit_when_an_environment_is_made(tmp_path: Path) -> None:
    path = tmp_path / "path.csv"
    path.write_text("year,a,b\n" + "".join(f"{year},{year % 3},-1\n" for year in range(10)))
    Predict(family=str(path), dimensions=2)
    for kwargs in ({"dimensions": 3}, {"dimensions": 2, "horizon": 2}, {"dimensions": 2, "steps": 10}):
        with pytest.raises(ValueError, match="10 times and 2 values"):
            Predict(family=str(path), **kwargs)


@pytest.mark.parametrize(
    "name",
    [
        "steps",
        "people",
        "dimensions",
        "scale",
        "cluster_std",
        "budget",
        "noise",
        "strategic",
        "delay",
        "listening",
        "horizon",
    ],
)
def test_numbers_that_make_no_sense_are_named(name: str) -> None:
    for value in (np.nan, np.inf, -1e9, 1e300, 10**9, 2**64, True, "1", None, [1.0], {}):
        with pytest.raises(ValueError, match=f"{name} is "):
            Predict(**{name: value})


@pytest.mark.parametrize("name", ["family", "items", "network", "responses", "data"])
def test_arguments_of_another_kind_are_named(name: str) -> None:
    values: list[Any] = [3, 2.5, True, b"mixed", ["mixed"], {"a": 1}, np.zeros(2), object(), "hexagons", "a\0b"]
    for value in values[:8] if name == "data" else values:
        others = {"family": "history"} if name == "data" else {"responses": "choices"} if name == "items" else {}
        with pytest.raises(ValueError, match=name):
            Follow(**(others | {name: value}))
    for value in ("nowhere.csv", "x" * 5000 + ".csv", "a\0b.csv", "/.csv"):
        if name in ("family", "items"):
            with pytest.raises(FileNotFoundError, match="cannot be read: there is no such file"):
                Follow(**({"responses": "choices"} | {name: value}))


def test_too_many_numbers_are_refused_before_they_are_made() -> None:
    for kwargs in ({"people": 10**6, "dimensions": 1000}, {"people": 10**5, "steps": 1000, "network": "complete"}):
        with pytest.raises(ValueError, match="a product of at most"):
            Follow(**kwargs)  # type: ignore[arg-type]


def test_only_what_has_content_is_hashed() -> None:
    assert Follow().hashes == ()
    core = Follow(network=EDGES, people=5)
    assert core.network is not None and core.hashes == (core.network.sha256,)


def test_a_report_holds_every_metric() -> None:
    core = Follow(family="linear")
    task, _ = core.initial(KEY[:8])
    run = rollouts.play(core, task, core.oracle_action)
    found = core.episode_metrics(task, run.states, run.actions)
    assert all(value.shape == (8,) and np.isfinite(value).all() for value in found.values())
    assert np.allclose(found["error"], 0, atol=1e-6) and np.allclose(found["centred_skill"], 1, atol=1e-6)
    assert (found["lag"] == 0).all() and (found["error_on_arrival"] > 0).all()
    assert responses.LIMIT == 4


@pytest.mark.parametrize("core", [Follow(), Predict(family="logistic", horizon=2, strategic=0.5, delay=1)])
def test_knowing_the_path_earns_what_it_does_in_an_episode(core: Any) -> None:
    task, _ = core.initial(KEY[:3])
    for reference, policy in zip(core.references(task), (core.persistence, core.oracle_action), strict=True):
        assert (reference == rollouts.play(core, task, policy).returns).all()  # to the bit
