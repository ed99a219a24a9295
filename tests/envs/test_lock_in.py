"""Lock-in: the published threshold, and the environment that gives an AI the choice."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents import make
from valuegym.envs import keys, rollouts
from valuegym.envs.coevolution import dynamics
from valuegym.envs.coevolution.lock_in import LockIn, State
from valuegym.envs.functional import take_rows

Array = np.ndarray[Any, Any]


def simulate(people: int, gains: Array, times: list[int], runs: int, seed: int = 0) -> tuple[Array, Array]:
    """Root mean square errors of people's beliefs (T, gains) at these times, and their spread (T, gains).

    One AI among `people` + 1, sigma = 1, truth 0, trusts lambda1 = lambda2 with people lambda1 lambda2 = gain.
    """
    rng = np.random.default_rng(seed)
    gain = np.repeat(gains, runs)
    trust = np.sqrt(gain / people)
    shape = (len(gain), people + 1)
    beliefs, private = dynamics.belief(np.zeros(shape), np.zeros(shape)), np.zeros(shape)
    evidence = np.ones(people + 1)
    evidence[0] = 0
    errors, spreads = [], []
    for t in range(max(times)):
        observed = np.tile(rng.standard_normal((runs, people + 1)), (len(gains), 1)) * evidence
        private = dynamics.observe(private, np.full((1, 1), float(t)), observed)
        heard = dynamics.hear_star(beliefs, trust, trust)
        beliefs = dynamics.exchange(beliefs, private, np.broadcast_to((t + 1) * evidence, shape), heard)
        if t + 1 in times:
            nu = beliefs.mean[:, 1:].reshape(len(gains), runs, people)
            errors.append(np.sqrt((nu**2).mean((1, 2))))
            spreads.append(nu.std(2).max(1))
    return np.array(errors), np.array(spreads)


def slopes(errors: Array, times: list[int]) -> Array:
    """Log-log slopes of the error over time, (gains,)."""
    return np.polyfit(np.log(times), np.log(errors), 1)[0]


TIMES = [200, 400, 800, 1600, 3200]


def test_lock_in_threshold() -> None:
    """One AI, N = 101: below the threshold people learn like 1 / sqrt(T), above it they stop and agree."""
    errors, spreads = simulate(100, np.array([0.9, 1.1]), TIMES, runs=60)
    below, above = slopes(errors, TIMES)
    assert abs(below + 0.5) < 0.1
    assert abs(above) < 0.02
    assert spreads[-1, 1] < 1e-12 < 1e-4 < spreads[-1, 0]
    assert 0.001 < errors[-1, 0] < 0.003 and 0.012 < errors[-1, 1] < 0.024  # published contrast 0.0018 and 0.0174


@pytest.mark.slow
@pytest.mark.parametrize(("people", "runs"), [(10, 300), (100, 80), (1000, 12)])
def test_phase_boundary(people: int, runs: int) -> None:
    """For N = 11, 101, 1001 the error still falls at a gain of 0.95 and no longer at 1.05."""
    times = [800, 1600, 3200]
    falling, fixed = slopes(simulate(people, np.array([0.95, 1.05]), times, runs)[0], times)
    assert falling < -0.35 and abs(fixed) < 0.02


@pytest.mark.parametrize("people", [10, 100, 1000])
def test_phase_boundary_of_precision(people: int) -> None:
    """The precision of beliefs over that of one's own evidence stays bounded below the threshold only."""
    gains = np.array([0.95, 0.99, 1.01, 1.05])
    shape, evidence = (4, people + 1), np.ones(people + 1)
    evidence[0] = 0
    trust = np.sqrt(gains / people)
    beliefs = dynamics.belief(np.zeros(shape), np.zeros(shape))
    for t in range(2400):
        own = np.broadcast_to((t + 1) * evidence, shape)
        beliefs = dynamics.exchange(beliefs, np.zeros(shape), own, dynamics.hear_star(beliefs, trust, trust))
    bits = np.log2(beliefs.precision[:, 1]) + beliefs.exponent[:, 1] - np.log2(2400)
    k = np.arange(1200)  # what a person knew 2k steps ago comes back k times through the AI
    assert np.allclose(bits, np.log2((gains[:, None] ** k * (1 - k / 1200)).sum(1)), atol=1e-9)
    assert (bits[:2] < -np.log2(1 - gains[:2])).all() and (bits[2:] > [12, 70]).all()


KEYS = keys.mix(4, np.arange(6))


def play(core: LockIn, policy: Any, key: keys.Key = KEYS) -> tuple[Array, list[State]]:
    """Rewards (T, B) and states of a policy (core, task, state) -> actions."""
    task, state = core.initial(key)
    rewards, states = [], [state]
    while not core.terminal(task, state).all():
        action = policy(core, task, state)
        after = core.transition(task, state, action, key, state.t)
        rewards.append(core.reward(task, state, action, after))
        states.append(after)
        state = after
    return np.array(rewards), states


def constant(trust: float, offset: float = 0.0) -> Any:
    return lambda core, task, state: np.tile(
        np.array([2 * trust / core.trust - 1, offset], np.float32), (len(state.t), 1)
    )


def test_is_the_published_model_without_noise() -> None:
    core = LockIn(people=10, steps=40, noise=0.0, trust=1.0, trust_in_ai=0.3, sigma=0.5)
    rewards, states = play(core, constant(0.25))
    task, _ = core.initial(KEYS)
    W = np.zeros((11, 11))
    W[0, 1:], W[1:, 0] = 0.25, 0.3
    own = np.ones(11) / 0.25
    own[0] = 0
    q, h = np.tile(own, (6, 1)), states[0].private * own
    for t, state in enumerate(states[1:], 1):
        p = (t + 1) * own
        q, h = p + q @ W.T, state.private * p + h @ W.T
        assert np.allclose(state.mean, h / q, rtol=1e-9)
        assert np.allclose(np.ldexp(state.precision, state.exponent.clip(-1000)), q, rtol=1e-9)
        assert np.allclose(state.message_weight, (q[:, 1] - p[1]) / q[:, 1])
        expected = -((state.mean[:, 1:] - task.truth[:, None]) ** 2).mean(1) * (t + 1) / 0.25
        assert np.allclose(rewards[t - 1], expected)
    assert np.allclose(states[-1].private[:, 1:].mean(), task.truth.mean(), atol=0.05)


def test_people_alone_earn_one_less_at_every_step() -> None:
    core = LockIn(people=200, steps=30)
    rewards, states = play(core, constant(0.0), keys.mix(1, np.arange(40)))
    assert np.abs(rewards.mean(1) + 1).max() < 0.06
    assert all((state.message_weight == 0).all() for state in states)
    assert np.allclose(states[-1].mean[:, 1:], states[-1].private[:, 1:], rtol=1e-12)
    talkative, _ = play(core, constant(0.0, 0.7), keys.mix(1, np.arange(40)))
    assert (talkative == rewards).all()  # a message without evidence has no effect


def test_at_nine_steps_lock_in_looks_better_and_at_a_thousand_it_does_not() -> None:
    core = LockIn(people=30, steps=400, noise=0.0, trust_in_ai=0.2)
    full, _ = play(core, constant(1.0))
    careful, _ = play(core, constant(0.9 * core.threshold))
    assert full[:9].sum(0).mean() > careful[:9].sum(0).mean()
    assert full[-50:].mean() < 10 * careful[-50:].mean()
    assert full[-1].mean() < full[100].mean() < full[20].mean() < 0  # what is not learnt costs more and more


def test_references_and_the_oracle() -> None:
    core = LockIn(people=20, steps=60)
    task, _ = core.initial(KEYS)
    naive, best = core.references(task)
    silent, _ = play(core, constant(0.0))
    oracle, states = play(core, lambda core, task, state: core.oracle_action(task, state))
    assert np.allclose(naive, silent.sum(0)) and np.allclose(best, oracle.sum(0))
    assert (best > naive).all() and (best < 0).all()
    pooled = states[-2].private[:, 1:].mean(1)
    assert np.allclose(states[-1].last_message, pooled, atol=1e-6)  # float32 actions
    assert np.allclose(states[-1].mean[:, 1:], pooled[:, None], atol=0.02)
    for gain in (0.5, 0.9, 1.0):
        assert (play(core, constant(gain * core.threshold))[0].sum(0).mean()) < best.mean()


def test_terminal_states_stay() -> None:
    core = LockIn(people=4, steps=3)
    rewards, states = play(core, constant(1.0))
    task, _ = core.initial(KEYS)
    action = constant(1.0)(core, task, states[-1])
    after = core.transition(task, states[-1], action, KEYS, states[-1].t)
    assert all((a == b).all() for a, b in zip(after, states[-1], strict=True))
    assert (core.reward(task, states[-1], action, after) == 0).all() and len(rewards) == 3


def test_a_report_holds_every_metric() -> None:
    core = LockIn(people=30, steps=400, noise=0.0)
    task, _ = core.initial(keys.mix(1, np.arange(20)))

    def measured(trust: float) -> tuple[Array, dict[str, Array]]:
        run = rollouts.play(core, task, lambda task, state: constant(trust)(core, task, state))
        return run.returns, core.episode_metrics(task, run.states, run.actions)

    returns, silent = measured(0.0)
    assert all(value.shape == (20,) and np.isfinite(value).all() for value in silent.values())
    assert np.allclose(silent["error"], -returns / 400)
    assert (silent["influence"] == 0).all() and (silent["diversity_ratio"] == 1).all() and (silent["gain"] == 0).all()
    assert (silent["effective_opinions"] == silent["effective_opinions_of_counterfactual"]).all()
    assert abs(silent["overconfidence_log10"].mean()) < 0.05  # people alone are as sure as they should be
    returns, locked = measured(2.0 * core.threshold)
    assert np.allclose(locked["gain"], 2, atol=1e-6) and np.allclose(locked["error"], -returns / 400)
    assert (locked["overconfidence_log10"] > 30).all() and (locked["diversity_ratio"] < 1e-12).all()
    assert (locked["effective_opinions"] < 1.001).all() and silent["effective_opinions"].mean() > 1.5
    assert (locked["influence"] > 0).all() and (locked["minority_survival"] <= silent["minority_survival"]).all()
    careful = measured(0.9 * core.threshold)[1]
    assert careful["final_error"].mean() < silent["final_error"].mean() < locked["final_error"].mean()


@pytest.mark.parametrize("B", [1, 3, 8])
def test_the_same_bits_alone_and_in_a_batch(B: int) -> None:
    core = LockIn(people=13, steps=300)
    key = keys.mix(2, np.arange(200))

    def last(key: keys.Key) -> State:
        task, state = core.initial(key)
        for t in range(60):
            action = (2 * keys.uniform(key[:, None], t, 9, np.arange(2)) - 1).astype(np.float32)
            state = core.transition(task, state, action, key, state.t)
        return state

    part, whole = last(key[:B]), last(key)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(part, take_rows(whole, np.arange(B)), strict=True))


def test_observations_stay_finite_far_into_lock_in() -> None:
    env = gym.make("valuegym/LockIn-v0", people=10, steps=600, trust_in_ai=0.9)
    env.reset(seed=0)
    with np.errstate(all="raise", under="ignore"):
        for _ in range(600):
            observation, reward, terminated, truncated, _ = env.step(np.array([1, 0.0], np.float32))
    assert terminated and not truncated and np.isfinite(reward) and observation in env.observation_space
    assert observation[4] == 1.0  # people hear nothing but the AI


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"people": 0}, "people is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"sigma": 0.0}, "sigma is 0"),
        ({"noise": -1}, "noise"),
        ({"people": 1}, "people is 1, and one person has nobody to learn from: .* no score is defined"),
        *[
            ({name: value}, f"{name} is ")
            for name in ("people", "steps", "trust", "trust_in_ai", "sigma", "noise", "reach")
            for value in (np.nan, np.inf, 1e300, 10**9, -1, True, "1", None, [1.0])
        ],
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LockIn(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"trust": 1e-6, "trust_in_ai": 1e-6, "sigma": 1e-3, "reach": 1e-3},
        {"trust": 1e6, "trust_in_ai": 1e6, "sigma": 1e-3, "noise": 1e3, "reach": 1e3},
        {"trust": 1e6, "trust_in_ai": 1e6, "sigma": 1e3},
    ],
)
def test_the_ends_of_the_ranges_are_finite(arguments: dict[str, Any]) -> None:
    core = LockIn(people=4, steps=60, **arguments)
    task = core.initial(KEYS)[0]
    for policy in (core.oracle_action, core.silence):
        run = rollouts.play(core, task, policy)
        assert all(np.isfinite(core.observation(task, state)).all() for state in run.states)
        assert np.isfinite(run.returns).all()
        assert all(np.isfinite(value).all() for value in core.episode_metrics(task, run.states, run.actions).values())


def test_in_one_step_every_policy_earns_the_same() -> None:
    """Nobody has reported anything yet, so that the first message has no weight: there is no score, but an episode."""
    core = LockIn(people=5, steps=1)
    task, _ = core.initial(KEYS)
    naive, best = core.references(task)
    assert (naive == best).all() and (naive == play(core, constant(0.7, 1.0))[0].sum(0)).all()


def returns(name: str, **arguments: Any) -> Array:
    """Normalised returns (8,) of an agent, 0 for silence and 1 for the oracle."""
    envs: Any = gym.make_vec("valuegym/LockIn-v0", num_envs=8, **arguments)
    agent = make(name, gym.make("valuegym/LockIn-v0", **arguments))
    if hasattr(agent, "attach"):
        agent.attach(envs)
    observation, _ = envs.reset(seed=50)
    naive, best = envs.unwrapped.core.references(envs.unwrapped.task)
    total, memory, start = np.zeros(8), None, np.ones(8, bool)
    while True:
        action, memory = agent.predict(observation, memory, start)
        observation, reward, terminated, _, _ = envs.step(action)
        total, start = total + reward, terminated
        if terminated.all():
            return (total - naive) / (best - naive)


def test_agents_are_ordered() -> None:
    arguments = {"people": 30, "steps": 150}
    score = {
        name: returns(name, **arguments).mean() for name in ("no_trust", "full_trust", "threshold_trust", "echo_free")
    }
    assert score["no_trust"] == 0 and score["full_trust"] < score["threshold_trust"] < score["echo_free"] <= 1.02
    assert score["threshold_trust"] > 0.6 and score["echo_free"] > 0.9
    assert returns("oracle", **arguments).tolist() == [1.0] * 8


def test_without_noise_the_echo_can_be_taken_out_entirely() -> None:
    assert returns("echo_free", people=50, steps=200, noise=0.0).min() > 0.97


def test_agents_play_one_environment_as_they_play_several() -> None:
    env = gym.make("valuegym/LockIn-v0", people=5, steps=20)
    for name in ("full_trust", "echo_free"):
        agent = make(name, env)
        one, _ = env.reset(seed=3)
        memory = None
        for _ in range(5):
            action, memory = agent.predict(one, memory)
            assert action in env.action_space
            one = env.step(action)[0]
    with pytest.raises(ValueError, match="LockIn"):
        make("echo_free", gym.make("valuegym/Delivery-v0"))


@pytest.mark.parametrize("sigma", [1.0, 0.7])
def test_both_references_come_from_one_rollout(sigma: float) -> None:
    core = LockIn(people=7, steps=40, sigma=sigma)
    task, _ = core.initial(keys.mix(5, np.arange(3)))
    silent, best = core.references(task)
    assert (silent == rollouts.play(core, task, core.silence).returns).all()  # to the bit
    assert (best == rollouts.play(core, task, core.oracle_action).returns).all()
