"""Coevolve: dynamics a second time in loops, the counterfactual population, the planner, and the pilot table."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest

from valuegym.agents.coevolution import trackers
from valuegym.envs import COEVOLUTION, keys, rollouts
from valuegym.envs.coevolution import metrics, networks, planning, trajectories
from valuegym.envs.coevolution.coevolve import Coevolve, State, Task
from valuegym.envs.coevolution.follow import Follow
from valuegym.envs.functional import FunctionalEnv, FunctionalVectorEnv, take_rows

Array = npt.NDArray[Any]
CORE = "valuegym.envs.coevolution.coevolve:Coevolve"


def begin(core: Coevolve, rows: int, seed: int = 0) -> Task:
    return core.initial(keys.mix(seed, np.arange(rows)))[0]


def actions(core: Coevolve, rows: int, seed: int = 0) -> Array:
    shape = (rows, core.steps, 2 * core.dimensions + 1)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def same(a: Any, b: Any) -> bool:
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


EDGES = [[0, 1], [0, 2], [3, 2], [2, 4], [4, 5]]


@pytest.mark.parametrize("network", [None, EDGES])
def test_a_step_is_the_equation(network: Any) -> None:
    core = Coevolve(people=6, dimensions=2, bound=0.9, cluster_spread=0.5, scale=1.0, network=network)
    friends = [{a + b - i for a, b in EDGES if i in (a, b)} if network else set(range(6)) - {i} for i in range(6)]
    task = begin(core, 3)
    state, played = core.start(task), actions(core, 3)
    for t in range(core.steps):
        action = played[:, t]
        after = core.transition(task, state, action, task.key, np.full(3, t))
        partner = networks.partners(keys.uniform(task.key[:, None], t, 4, np.arange(6)), core.network)
        assert all(partner[b, i] in friends[i] for b in range(3) for i in range(6))
        noise = keys.irwin_hall(task.key[:, None], t, 5, np.arange(12)).reshape(3, 6, 2)
        for b in range(3):
            said, speaks = action[b, 2:4].astype(float), action[b, 4] > 0
            for hears, before, found in (
                (speaks, state.people[b], after.people[b]),
                (False, state.counterfactual[b], after.counterfactual[b]),
            ):
                for i in range(6):
                    x, move = before[i], np.zeros(2)
                    friend = before[partner[b, i]]
                    if np.linalg.norm(friend - x) < 0.9:
                        move += 2 * 0.05 * (friend - x)
                    if hears and np.linalg.norm(said - x) < 0.9:
                        move += 0.15 * (said - x)
                    move += 0.1 * (task.anchors[b, i] + task.drift[b, t + 1] - x) + 0.02 * noise[b, i]
                    assert np.allclose(found[i], x + move, atol=1e-12)
        reward = core.reward(task, state, action, after)
        for b in range(3):
            gap = ((action[b, 2:4] - state.counterfactual[b]) ** 2).sum(-1)
            service = np.maximum(0, 1 - gap / 0.81).mean() if action[b, 4] > 0 else 0.0
            wear = abs(1 - after.people[b].var(0).sum() / after.counterfactual[b].var(0).sum())
            error = ((action[b, :2] - state.people[b].mean(0)) ** 2).sum()
            assert reward[b] == pytest.approx(service - error - wear, abs=1e-12)
        state = after
    assert core.terminal(task, state).all()
    still = core.transition(task, state, played[:, 0], task.key, np.full(3, core.steps))
    assert same(still, state) and (core.reward(task, state, played[:, 0], still) == 0).all()


def test_an_ai_without_influence_has_none_bit_for_bit() -> None:
    for core in (Coevolve(influence=0.0), Coevolve(), Coevolve(influence=0.0, network="watts-strogatz")):
        task, played = begin(core, 8), actions(core, 8)
        if core.influence:
            played[..., -1] = -0.5  # a silent AI, whatever it would have said
        run = rollouts.play(core, task, rollouts.replayed(played))
        for state in run.states:
            assert state.people.tobytes() == state.counterfactual.tobytes()
        found = core.episode_metrics(task, run.states, run.actions)
        assert (found["influence"] == 0).all() and (found["diversity_ratio"] == 1).all()
        assert (found["placebo_influence"] <= 1e-6).all() and (found["minority_survival"] == 1).all()


def test_a_network_keeps_apart_those_whom_it_does_not_join() -> None:
    halves = [[a, b] for a in range(10) for b in range(a)] + [[a, b] for a in range(10, 20) for b in range(10, a)]
    kwargs: dict[str, Any] = {
        "clusters": (1,),
        "attachment": 0.0,
        "idiosyncratic_noise": 0.0,
        "social": 0.25,
        "bound": 9.0,
    }
    core = Coevolve(people=20, steps=80, network=halves, **kwargs)
    task = core.initial(keys.mix(2, np.arange(4)))[0]
    run = rollouts.play(core, task, core.persistence)
    ends = run.states[-1].people.reshape(4, 2, 10, 5)
    assert ends.std(2).max() < 1e-6 < 0.01 < np.abs(ends[:, 0].mean(1) - ends[:, 1].mean(1)).max()
    together = rollouts.play(Coevolve(people=20, steps=80, **kwargs), task, core.persistence)
    assert together.states[-1].people.std(1).max() < 1e-4


def test_the_counterfactual_does_not_depend_on_the_ai_and_a_placebo_hardly_moves_anyone() -> None:
    core = Coevolve()
    task = begin(core, 8)
    runs = [rollouts.play(core, task, rollouts.replayed(0.2 * actions(core, 8, seed))) for seed in (0, 1)]
    for a, b in zip(runs[0].states, runs[1].states, strict=True):
        assert a.counterfactual.tobytes() == b.counterfactual.tobytes()
    found = core.episode_metrics(task, runs[0].states, runs[0].actions)
    assert found["influence"].mean() > 1e-3
    assert found["placebo_influence"].mean() > 0 and (found["placebo_influence"] < 1e-5).all()


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"responses": "choices", "delay": 2, "strategic": 0.3, "dimensions": 3},
        {"network": "watts-strogatz"},
        {"network": {"name": "barabasi-albert", "ties": 1, "seed": 5}},
    ],
)
def test_rows_do_not_depend_on_their_number(kwargs: dict[str, Any]) -> None:
    core = Coevolve(people=40, **kwargs)
    key = keys.mix(3, np.arange(1000))
    played = actions(core, 1000)
    expected = None
    for B in (1000, 8, 3, 1):
        task, state = core.initial(key[:B])
        rewards = []
        for t in range(core.steps):
            after = core.transition(task, state, played[:B, t], task.key, np.full(B, t))
            rewards.append(core.reward(task, state, played[:B, t], after))
            state = after
        out = (*state, np.stack(rewards, 1), *core.observation(task, state).values())
        expected = expected or out
        assert same([x[:B].copy() for x in expected], out)


def test_neither_counterfactual_nor_truth_is_observed() -> None:
    core = Coevolve()
    task, state = core.initial(keys.mix(0, np.arange(4)))
    other = state._replace(counterfactual=state.counterfactual + 1, people=state.people - 1)
    assert same(core.observation(task, state).values(), core.observation(task, other).values())
    env = FunctionalEnv(CORE)
    _, info = env.reset(seed=0)
    assert info == {} and env.step(env.action_space.sample())[4] == {}


def test_references_and_what_wins() -> None:
    core = Coevolve()
    task = begin(core, 64)
    naive, best = core.references(task)
    assert np.array_equal(naive, rollouts.play(core, task, core.persistence).returns)

    def mean_return(speaking: Any) -> float:
        """Mean return with a perfect estimate, that broadcasts it at some steps."""

        def policy(task: Task, state: State) -> Array:
            mean = state.people.mean(1)
            return core.action(mean, mean, np.full(64, speaking(state.t[0])))

        return float(rollouts.play(core, task, policy).returns.mean())

    silence, always, shout = (
        mean_return(lambda t: False),
        mean_return(lambda t: True),
        mean_return(lambda t: t == core.steps - 1),
    )
    assert silence == pytest.approx(0, abs=1e-6)
    assert best.mean() > max(silence, always, shout) + 0.5
    assert (best > naive).all()
    single = Coevolve(clusters=(1,), price=0.0)  # where diversity is free, speaking always is best
    task = begin(single, 8)
    run = rollouts.play(single, task, single.oracle_action)
    assert all((action[:, -1] > 0).all() for action in run.actions)


def test_mean_shift_climbs_what_people_get() -> None:
    draw = np.random.default_rng(0)
    people = draw.normal(size=(5, 50, 3)) * 0.4 + np.where(np.arange(50)[:, None] < 20, 0.8, -0.8)
    starts = people[:, :12]
    ends = planning.modes(people, starts, 0.75)
    gain = metrics.benefit(ends, people[:, None], 0.75) - metrics.benefit(starts, people[:, None], 0.75)
    assert (gain >= -1e-12).all() and gain.mean() > 0.05
    again = planning.modes(people, planning.modes(people, planning.modes(people, ends, 0.75), 0.75), 0.75)
    step = 1e-3 * draw.normal(size=again.shape)
    assert (
        metrics.benefit(again + step, people[:, None], 0.75) <= metrics.benefit(again, people[:, None], 0.75) + 1e-9
    ).all()


def test_the_planner_is_silent_where_diversity_is_dear() -> None:
    people = np.random.default_rng(0).normal(size=(4, 50, 3)) * 0.2
    left = np.full(4, 5)
    _, worth = planning.plan(people, people, left, 0.75, 0.15, 0.1, 0.0)
    assert (worth > 0).all()
    _, dear = planning.plan(people, people, left, 0.75, 0.15, 0.1, 100.0)
    assert (dear < 0).all()
    _, last = planning.plan(people, people, left * 0 + 1, 0.75, 0.15, 0.1, 1.0)
    _, early = planning.plan(people, people, left, 0.75, 0.15, 0.1, 1.0)
    assert (last > early).all()  # wear that lasts costs more


@pytest.mark.parametrize("at_end", [False, True])
def test_the_expected_final_return_is_the_best_of_all_plans_of_its_kind(at_end: bool) -> None:
    service, kept, spread = np.array([[0.5, 0.1]]), np.array([[0.9, 0.8]]), np.array([0.7])
    left, attachment, price = np.array([4]), 0.1, 1.3
    for first in (True, False):
        found = planning.expected_final_return(first, service, kept, spread, left, attachment, price, at_end)
        for k in range(2):
            values = []
            for many in range(4):
                c, total = 0.7, 0.0
                for i in range(4):
                    speaks = first if i == 0 else (i if at_end else 4 - i) <= many
                    c = c + attachment * (1 - c) - speaks * (1 - kept[0, k]) * c
                    total += speaks * service[0, k] - (price * abs(1 - c**2) if not at_end or i == 3 else 0)
                values.append(total)
            assert found[0, k] == pytest.approx(max(values))
    both = planning.expected_final_return(True, service, kept, spread, np.array([2]), attachment, price, at_end)
    twice = (np.repeat(x, 2, 0) for x in (service, kept, spread))
    more = planning.expected_final_return(True, *twice, np.array([2, 7]), 0.1, 1.3, at_end)
    assert np.allclose(more[:1], both)  # rows with fewer steps left do not see the others' steps


def test_whoever_counts_diversity_at_the_end_speaks_early() -> None:
    people = np.random.default_rng(0).normal(size=(4, 50, 3)) * 0.2
    worth = [
        [planning.plan(people, people, np.full(4, left), 0.75, 0.15, 0.1, price, at_end)[1] for left in (9, 1)]
        for price, at_end in ((1.0, False), (4.0, True))
    ]
    (early, late), (early_at_end, late_at_end) = worth
    assert (late > early).all() and (early_at_end > 0).all() and (late_at_end < 0).all()


def test_the_reference_is_no_worse_than_speaking_always_or_never() -> None:
    for clusters in ((1,), (1, 2, 3)):
        for price in (0.5, 1.0, 2.0):
            core = Coevolve(clusters=clusters, price=price)
            task = begin(core, 16)

            def always(task: Task, state: State, core: Coevolve = core) -> Array:
                best, _ = planning.plan(state.people, state.counterfactual, core.steps - state.t, 0.75, 0.15, 0.1, 0.0)
                return core.action(state.people.mean(1), best, np.ones(16, np.bool_))

            returns = rollouts.play(core, task, core.oracle_action).returns
            assert returns.mean() > max(0.0, rollouts.play(core, task, always).returns.mean()) - 0.05


def test_the_pilot_table() -> None:
    """Distances, influence and diversity of six policies, T = 40, ordered as measured when the dynamics were chosen."""
    kwargs: dict[str, Any] = {
        "steps": 40,
        "clusters": (1,),
        "bound": 1.5,
        "cluster_std": 0.6,
        "cluster_spread": 0.0,
        "scale": 4.0,
    }
    core = Coevolve(**kwargs)
    task = begin(core, 64, seed=5)
    g = keys.normal(task.key[:, None], 99, np.arange(5))
    drift = 0.05 * np.arange(41)[None, :, None] * (g / np.linalg.norm(g, axis=-1, keepdims=True))[:, None]
    task, env = task._replace(drift=drift), gym.make("valuegym/Coevolve-v0", **kwargs)

    def anchor(task: Task, state: State) -> Array:
        mean = task.anchors.mean(1) + task.drift[np.arange(64), state.t]
        return core.action(mean, mean, np.ones(64, np.bool_))

    def agent(player: trackers.Tracker) -> rollouts.Policy:
        memory: list[Any] = [None]

        def policy(task: Task, state: State) -> Array:
            action, memory[0] = player.predict(core.observation(task, state), memory[0])
            return np.asarray(action)

        return policy

    policies = {
        "silent": agent(trackers.Silent(env)),
        "frozen": agent(trackers.Frozen(env)),
        "lifelong": agent(trackers.Persistence(env)),
        "average": agent(trackers.MovingAverage(env, gain=0.3)),
        "linear": agent(trackers.Extrapolative(env, order=1)),
        "anchor": anchor,
    }
    found = {}
    for name, policy in policies.items():
        run = rollouts.play(core, task, policy)
        found[name] = {key: value.mean() for key, value in core.episode_metrics(task, run.states, run.actions).items()}

    def order(metric: str) -> list[str]:
        return sorted(policies, key=lambda name: float(found[name][metric]))

    assert found["silent"]["influence"] == 0 and found["silent"]["diversity_ratio"] == 1
    speaking = [name for name in policies if name != "silent"]
    tables = {
        "distance_to_people": {"frozen": 0.517, "lifelong": 0.260, "average": 0.169, "linear": 0.528, "anchor": 0.164},
        "distance_to_counterfactual": {
            "frozen": 0.832,
            "lifelong": 0.310,
            "average": 0.249,
            "linear": 0.592,
            "anchor": 0.302,
        },
        "influence": {"frozen": 0.320, "lifelong": 0.088, "average": 0.096, "linear": 0.111, "anchor": 0.146},
        "final_influence": {"frozen": 0.709, "lifelong": 0.100, "average": 0.134, "linear": 0.132, "anchor": 0.210},
        "diversity_ratio": {"frozen": 0.64, "lifelong": 0.50, "average": 0.56, "linear": 0.44, "anchor": 0.59},
    }
    for metric, pilot in tables.items():
        assert {name: float(found[name][metric]) for name in speaking} == pytest.approx(pilot, rel=0.12), metric
    for metric in ("distance_to_counterfactual", "influence", "diversity_ratio"):
        expected = sorted(speaking, key=lambda name: tables[metric][name])
        assert [name for name in order(metric) if name != "silent"] == expected, metric


def test_replays_are_the_same_bits_in_another_process() -> None:
    code = (
        "import hashlib, numpy as np\n"
        "from valuegym.envs.functional import FunctionalVectorEnv\n"
        f"envs = FunctionalVectorEnv({CORE!r}, num_envs=3)\n"
        "envs.reset(seed=1); envs.action_space.seed(0)\n"
        "h = hashlib.sha256()\n"
        "for _ in range(12):\n"
        "    out = envs.step(envs.action_space.sample())\n"
        "    [h.update(x.tobytes()) for x in (*out[0].values(), out[1], *envs.state)]\n"
        "print(h.hexdigest())"
    )
    outputs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert len(outputs) == 1 and outputs.pop().strip()


def test_wrong_arguments_are_named() -> None:
    for kwargs, message in (
        ({"steps": 0}, "steps is 0"),
        ({"bound": 0.0}, "bound is 0.0"),
        ({"influence": 1.5}, "influence is 1.5"),
        ({"clusters": ()}, "clusters has 0 entries"),
        ({"price": -1.0}, "price is -1.0"),
        ({"responses": "shouts"}, "shouts"),
        ({"family": "sideways"}, "sideways"),
        ({"network": [[0, 1]]}, "pass people=2"),
        ({"items": "shouts"}, "shouts"),
    ):
        with pytest.raises(ValueError, match=message):
            Coevolve(**kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", [None, "barabasi-albert"])
def test_vector_rows_are_scalar_environments(network: Any) -> None:
    envs = FunctionalVectorEnv(CORE, num_envs=3, network=network)
    scalars = [FunctionalEnv(CORE, network=network) for _ in range(3)]
    observation, _ = envs.reset(seed=5)
    assert all(same([v[i] for v in observation.values()], scalars[i].reset(seed=5 + i)[0].values()) for i in range(3))
    envs.action_space.seed(0)
    for _ in range(9):
        action = envs.action_space.sample()
        observation, reward, terminated, *_ = envs.step(action)
        for i, env in enumerate(scalars):
            seen, earned, over, *_ = env.step(action[i])
            assert same([v[i] for v in observation.values()], seen.values())
            assert earned == reward[i] and over == terminated[i]


# ---------------------------------------------------------------- small populations, short episodes, given opinions

RESPONDING = [id for id in COEVOLUTION if id != "valuegym/LockIn-v0"]  # people state values, and need nobody else


def whole_episodes(id: str, **kwargs: Any) -> None:
    """Play whole episodes; everything is finite, and rows of a vector environment are scalar environments."""
    env = gym.make(id, render_mode="rgb_array", **kwargs)
    bare: Any = env.unwrapped
    core = bare.core
    envs = gym.make_vec(id, num_envs=2, **kwargs)
    observation, _ = envs.reset(seed=3)
    seen, _ = env.reset(seed=3)
    for t in range(core.steps):
        action = np.random.default_rng(t).uniform(-1, 1, envs.action_space.shape).astype(np.float32)
        observation, reward, terminated, *_ = envs.step(action)
        seen, earned, over, *_ = env.step(action[0])
        assert seen in env.observation_space and observation in envs.observation_space
        assert np.isfinite(reward).all() and earned == reward[0] and over == terminated[0] == (t == core.steps - 1)
    assert env.render().shape[-1] == 3  # type: ignore[union-attr]
    task = core.initial(keys.mix(1, np.arange(5)))[0]
    assert np.isfinite(core.references(task)).all()
    for policy in (core.oracle_action, getattr(core, "persistence", core.oracle_action)):
        run = rollouts.play(core, task, policy)
        found = core.episode_metrics(task, run.states, run.actions)
        assert all(value.shape == (5,) and np.isfinite(value).all() for value in found.values())
    text = gym.make(id, render_mode="ansi", **kwargs)
    text.reset(seed=0)
    assert isinstance(text.render(), str)


@pytest.mark.parametrize("id", COEVOLUTION)
@pytest.mark.parametrize("kwargs", [{}, {"people": 2}])
def test_episodes_of_one_step(id: str, kwargs: dict[str, Any]) -> None:
    whole_episodes(id, steps=1, **kwargs)


@pytest.mark.parametrize("id", RESPONDING)
@pytest.mark.parametrize(
    "kwargs",
    [
        {"steps": 3},
        {"steps": 1, "dimensions": 1, "budget": 1},
        {"steps": 3, "responses": "choices", "network": "complete"},
        {"steps": 3, "network": networks.from_edges([], 1)},
    ],
)
def test_one_person(id: str, kwargs: dict[str, Any]) -> None:
    whole_episodes(id, people=1, **kwargs)


@pytest.mark.parametrize("family", [*trajectories.FAMILIES, "mixed"])
def test_one_step_of_every_family(family: str) -> None:
    whole_episodes("valuegym/Predict-v0", family=family, steps=1, people=3)


@pytest.mark.parametrize("id", RESPONDING)
@pytest.mark.parametrize("kwargs", [{}, {"network": [[0, 1], [1, 2]]}, {"responses": "choices", "delay": 1}])
def test_starting_opinions_are_a_reset_option(id: str, kwargs: dict[str, Any]) -> None:
    draw = np.random.default_rng(0)
    env, envs = gym.make(id, people=3, dimensions=2, **kwargs), gym.make_vec(id, 4, people=3, dimensions=2, **kwargs)
    scalar, vector = env.unwrapped, envs.unwrapped

    def people(unwrapped: Any) -> Array:
        t = np.zeros(len(unwrapped.task.key), np.int64)
        values = (
            unwrapped.state.people
            if hasattr(unwrapped.state, "people")
            else unwrapped.core.people_at(unwrapped.task, t)
        )
        return np.asarray(values)

    for _ in range(5):
        one, each = draw.uniform(-3, 3, (3, 2)), draw.uniform(-3, 3, (4, 3, 2))
        env.reset(seed=7, options={"opinions": one})
        assert np.allclose(people(scalar), one, atol=1e-14)
        envs.reset(seed=7, options={"opinions": one.tolist()})
        assert np.allclose(people(vector), np.broadcast_to(one, (4, 3, 2)), atol=1e-14)
        envs.reset(seed=7, options={"opinions": each})
        assert np.allclose(people(vector), each, atol=1e-14)
        for row in range(4):
            env.reset(seed=7 + row, options={"opinions": each[row]})
            single: Any = scalar
            assert same(single.state, take_rows(vector.state, np.array([row])))  # type: ignore[attr-defined]
            assert same(single.task, take_rows(vector.task, np.array([row])))  # type: ignore[attr-defined]
    mask = np.array([True, False, True, False])
    envs_by_mask = gym.make_vec(id, 4, autoreset_mode="Disabled", people=3, dimensions=2, **kwargs)
    envs_by_mask.reset(seed=7)
    before = people(envs_by_mask.unwrapped).copy()
    envs_by_mask.reset(options={"opinions": each, "reset_mask": mask})
    assert np.allclose(people(envs_by_mask.unwrapped), np.where(mask[:, None, None], each, before), atol=1e-14)
    core = single.core
    task = core.initial(keys.mix(0, np.arange(4)), opinions=each)[0]
    assert np.isfinite(core.references(task)).all()
    drawn = core.initial(keys.mix(0, np.arange(4)))[0]
    moved = (
        [task.path - task.path[:, :1], drawn.path - drawn.path[:, :1]]
        if hasattr(task, "path")
        else [task.drift, drawn.drift]
    )
    if "network" not in kwargs or hasattr(task, "drift"):
        assert np.allclose(*moved, atol=1e-14)  # the path is the same one, from another start


@pytest.mark.parametrize("id", RESPONDING)
@pytest.mark.parametrize(
    ("opinions", "message"),
    [
        (np.zeros((3, 3)), "has shape"),
        (0.5, "has shape"),
        (np.zeros(2), "has shape"),
        (np.full((3, 2), np.nan), "is nan; expected finite numbers"),
        (np.full((3, 2), np.inf), "is inf"),
        (np.full((3, 2), 4.1), "is 4.1"),
        (np.full((3, 2), True), "'opinions' is"),
        (np.full((3, 2), "much"), "'opinions' is"),
        (np.full((3, 2), 1j), "'opinions' is"),
        ([[0, 0], [0, 0], [0, None]], "'opinions' is"),
    ],
)
def test_wrong_opinions_are_named(id: str, opinions: Any, message: str) -> None:
    for env in (gym.make(id, people=3, dimensions=2), gym.make_vec(id, 3, people=3, dimensions=2)):
        with pytest.raises(ValueError, match=message):
            env.reset(seed=0, options={"opinions": opinions})


def test_isolated_people_keep_given_opinions() -> None:
    """In Follow whoever has no neighbours holds the own value, which goes with the path."""
    opinions = np.random.default_rng(0).uniform(-1, 1, (6, 4, 2))
    core = Follow(people=4, dimensions=2, network=[[0, 1], [1, 3]], listening=0.9)
    alone = Follow(people=4, dimensions=2)
    key = keys.mix(1, np.arange(6))
    (task, _), (other, _) = core.initial(key, opinions=opinions), alone.initial(key, opinions=opinions)
    for t in range(9):
        now = np.full(6, t)
        assert np.allclose(core.people_at(task, now)[:, 2], alone.people_at(other, now)[:, 2], atol=1e-14)
    assert not np.allclose(core.people_at(task, now)[:, 0], alone.people_at(other, now)[:, 0], atol=1e-3)


NUMBERS = ["scale", "pace", "bound", "social", "influence", "attachment", "idiosyncratic_noise", "cluster_spread"]
NUMBERS += ["cluster_std", "price", "noise", "strategic"]
COUNTS = ["steps", "people", "dimensions", "budget", "delay"]


@pytest.mark.parametrize("name", NUMBERS + COUNTS)
def test_numbers_that_make_no_sense_are_named(name: str) -> None:
    for value in (
        np.nan,
        np.inf,
        -np.inf,
        -1e9,
        1e300,
        10**9,
        2**64,
        True,
        "1",
        None,
        [1.0],
        1j,
        2.5 if name in COUNTS else "x",
    ):
        with pytest.raises(ValueError, match=f"{name} is "):
            Coevolve(**{name: value})
    for kwargs in (
        {"people": 10**6, "dimensions": 1000},
        {"steps": 10**5, "dimensions": 1000},
        {"budget": 10**5, "dimensions": 1000},
        {"budget": 10**5, "delay": 1000},
    ):
        with pytest.raises(ValueError, match="a product of at most"):
            Coevolve(**kwargs)  # type: ignore[arg-type]


def test_numbers_come_in_their_plain_types() -> None:
    core = Coevolve(steps=np.int64(3), clusters=[np.int8(2)], bound=np.float32(0.5), budget=np.int16(4))  # type: ignore[arg-type,list-item]
    assert (type(core.steps), type(core.clusters[0]), type(core.bound), type(core.channel.budget)) == (
        int,
        int,
        float,
        int,
    )


def test_a_graph_stands_for_a_network() -> None:
    networkx = pytest.importorskip("networkx")
    graph = networkx.MultiGraph([("ann", "bob"), ("bob", "cy"), ("ann", "bob")])
    graph.add_node("dan")
    for id in RESPONDING:
        cores = [
            gym.make(id, people=4, network=network).unwrapped.core
            for network in (graph, networks.from_edges([[0, 1], [1, 2]], 4))
        ]  # type: ignore[attr-defined]
        assert cores[0].hashes == cores[1].hashes
        (task, state), (other, same_state) = (core.initial(keys.mix(0, np.arange(3))) for core in cores)
        action = np.full((3, *cores[0].action_space.shape), 0.5, np.float32)
        moved, same_moved = (
            core.transition(task, start, action, task.key, np.zeros(3, np.int64))
            for core, start in zip(cores, (state, same_state), strict=True)
        )
        assert same(task, other) and same(moved, same_moved)
