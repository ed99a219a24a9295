"""Agents that are language models: what their losses want, that memories can be gone on from, and what they reach."""

from __future__ import annotations

import copy
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("transformers") is None:
    pytest.skip("needs transformers: valuegym[text]", allow_module_level=True)

from valuegym.agents import make  # noqa: E402
from valuegym.agents.language import answers, causal_lm, lifelong  # noqa: E402
from valuegym.agents.language.causal_lm import CausalLM  # noqa: E402
from valuegym.agents.language.lifelong import METHODS, Lifelong  # noqa: E402
from valuegym.envs.language.item_bank import MOST  # noqa: E402

FOLLOW, COEVOLVE = "valuegym/FollowLanguage-v0", "valuegym/CoevolveLanguage-v0"


def env(**kwargs: Any) -> Any:
    return gym.make(FOLLOW, **({"budget": 20} | kwargs))


@cache
def untrained() -> CausalLM:
    """A small model that nobody has trained."""
    bank = env().unwrapped.core.people.bank
    texts = [f"{text} {option}" for text, some in zip(bank.contexts, bank.options, strict=True) for option in some]
    return causal_lm.tiny(texts, width=16, layers=1)


def agent(**settings: Any) -> Lifelong:
    return Lifelong(env(), **({"model": untrained(), "updates": 2, "batch": 10} | settings))


def begun(**settings: Any) -> Lifelong:
    found = agent(**settings)
    found.begin()
    return found


def seen(rows: int = 1, seed: int = 0) -> Any:
    envs = gym.make_vec(FOLLOW, num_envs=rows, budget=20)
    return envs, envs.reset(seed=seed)[0]


# ---------------------------------------------------------------- answers as tensors


def test_scores_are_those_of_the_probes() -> None:
    model, bank = untrained(), env().unwrapped.core.bank_training[:12]
    encoded = answers.encode(model, bank)
    items = torch.tensor([11, 3, 0])
    mean, total = (answers.option_scores(model, encoded, items, mean=m).detach().numpy() for m in (True, False))
    for row, i in enumerate(items.tolist()):
        logs = model.score(bank.contexts[i], [f" {option}" for option in bank.options[i]])
        for k, each in enumerate(logs):
            assert mean[row, k] == pytest.approx(each.mean(), abs=1e-5)
            assert total[row, k] == pytest.approx(each.sum(), abs=1e-4)
    shares = answers.choice_shares(model, encoded)
    assert np.allclose(shares.sum(-1), 1) and (shares[np.arange(MOST) >= bank.counts[:, None]] == 0).all()


def test_adapters_begin_at_nothing_and_are_all_that_is_trained() -> None:
    pytest.importorskip("peft")
    model, bank = untrained(), env().unwrapped.core.bank_training[:12]
    encoded, every = answers.encode(model, bank), torch.arange(12)
    before, weights = answers.choice_shares(model, encoded), copy.deepcopy(model.model.state_dict())
    state = torch.random.get_rng_state()
    adapted = answers.lora(model, rank=4, top=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.allclose(answers.choice_shares(adapted, encoded), before, atol=1e-6)
    target = torch.tensor([[0.9, 0.1, 0.0, 0.0]]).repeat(12, 1)
    trained = [(name, p) for name, p in adapted.model.named_parameters() if p.requires_grad]
    assert trained and all("lora" in name for name, _ in trained)

    def loss(items: Any) -> Any:
        return answers.share_loss(answers.option_scores(adapted, encoded, items), target[items])

    first = loss(every).item()
    answers.fit([p for _, p in trained], loss, every, 20, 1e-2, 12, 0)
    assert loss(every).item() < first
    assert all(torch.equal(model.model.state_dict()[name], value) for name, value in weights.items())
    one = agent(model=adapted)
    _, memory = one.predict(seen()[1])
    assert memory["weights"].shape == (1, sum(p.numel() for _, p in trained))
    with pytest.raises(ValueError, match="top is 9; expected an integer from 1 to 1"):
        answers.lora(model, top=9)


# ---------------------------------------------------------------- losses


def lesson_of(one: Lifelong) -> Any:
    shares = seen()[1]["answers"].astype(float).reshape(-1, MOST)
    votes = np.stack([np.sign(shares[:, j] - shares[:, k]) for j, k in lifelong.PAIRS], -1).reshape(1, -1)
    return one.lesson(shares, votes, 0)


@pytest.mark.parametrize("method", ["sft", "dpo", "rlhf"])
def test_every_loss_falls(method: str) -> None:
    one = begun(method=method, beta=1.0, updates=20)
    lesson = lesson_of(one)
    loss, every = METHODS[method](one, lesson, 0), torch.arange(len(lesson.items))
    before = loss(every).item()
    answers.fit(one.trained, loss, every, 10, 3e-3, 20, 0)
    assert loss(every).item() < before


def test_the_loss_on_shares_is_least_at_the_shares() -> None:
    shares = torch.tensor([[0.2, 0.8, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]])
    at = torch.where(shares > 0, shares.log(), answers.LEAST).requires_grad_()
    answers.share_loss(at, shares).backward()
    assert at.grad is not None and at.grad.abs().max() < 1e-6


def test_the_exact_policy_gradient_is_that_of_all_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """For two options d/ds of E[r] - beta KL is p q ((r1 - r2) - beta (log p / q - log p0 / q0))."""
    one = begun(method="rlhf", beta=0.7)
    lesson = lesson_of(one)
    reward = torch.randn(len(lesson.items), MOST, generator=torch.Generator().manual_seed(0))
    scores = torch.full((1, MOST), answers.LEAST)
    scores[0, :2] = torch.tensor([0.3, -0.9])
    before = torch.full((1, MOST), answers.LEAST)
    before[0, :2] = torch.tensor([-0.1, 0.4])
    before = before.log_softmax(-1)
    scores.requires_grad_()
    monkeypatch.setattr(lifelong, "_rewards", lambda *_: reward[:1])
    monkeypatch.setattr(one, "before", lambda _: before)
    monkeypatch.setattr(one, "scores", lambda _: scores)
    METHODS["rlhf"](one, lesson, 0)(torch.tensor([0])).backward()
    p = scores.detach().softmax(-1)[0]
    gap = (p[0] / p[1]).log() - (before[0, 0] - before[0, 1])
    expected = p[0] * p[1] * ((reward[0, 0] - reward[0, 1]) - 0.7 * gap)
    assert scores.grad is not None
    assert torch.allclose(-scores.grad[0, :2], torch.stack([expected, -expected]), atol=1e-6)


def test_votes_are_extrapolated_as_published() -> None:
    """With order 1 a vote that stays counts once, and one that has just changed three times."""
    one = begun(order=1)
    shares = np.zeros((96, MOST))
    shares[:2] = [0.9, 0.1, 0, 0]
    past = np.zeros((2, 96, len(lifelong.PAIRS)))
    past[0, :2, 0], past[1, :2, 0] = [1, -1], [1, 1]
    found = one.lesson(shares, past.reshape(2, -1), 1)
    assert found.votes[:, 0].tolist() == [1.0, 3.0] and found.items.tolist() == [0, 1]
    assert one.lesson(shares, past.reshape(2, -1), 0).votes[:, 0].tolist() == [1.0, 1.0]


# ---------------------------------------------------------------- memories


@pytest.mark.parametrize("settings", [{}, {"method": "dpo", "order": 2}, {"start": "independent"}])
def test_memories_are_values_to_go_on_from_and_rows_are_alone(settings: dict[str, Any]) -> None:
    envs, observation = seen(2)
    one, memory, start, played = agent(**settings), None, np.ones(2, np.bool_), []
    for _ in range(3):
        action, after = one.predict(observation, memory, start)
        played.append((copy.deepcopy(observation), copy.deepcopy(memory), start, action))
        observation, start, memory = envs.step(action)[0], np.zeros(2, np.bool_), after
    another = agent(**settings)  # as after a restart
    for observed, kept, begin, action in reversed(played):
        assert np.array_equal(another.predict(observed, kept, begin)[0], action)
        single = {name: value[1] for name, value in observed.items()}
        kept = kept and {name: value[1:] for name, value in kept.items()}
        assert np.allclose(another.predict(single, kept, begin[1:])[0], action[1], atol=1e-6)


def test_training_draws_from_no_global_state() -> None:
    state = torch.random.get_rng_state()
    first, second = (agent(seed=3).predict(seen()[1])[0] for _ in range(2))
    assert np.array_equal(first, second) and torch.equal(torch.random.get_rng_state(), state)


def test_a_frozen_model_stays_and_an_independent_one_begins_again() -> None:
    envs, observation = seen()
    one = agent(centuries=1)
    first, memory = one.predict(observation)
    second, after = one.predict(envs.step(first)[0], memory, np.zeros(1, np.bool_))
    assert np.array_equal(first, second) and np.array_equal(memory["weights"], after["weights"])
    assert (memory["weights"] != one.origin).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "ppo"}, "method is 'ppo'"),
        ({"start": "late"}, "start is 'late'"),
        ({"order": -1}, "order is -1"),
        ({"ahead": 0}, "ahead is 0"),
        ({"updates": 1.5}, "updates is 1.5"),
        ({"lr": 0}, "lr is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"beta": float("nan")}, "beta is nan"),
        ({"centuries": 0}, "centuries is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_arguments_are_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        agent(**settings)


def test_other_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="FollowLanguage-v0, PredictLanguage-v0 and CoevolveLanguage-v0 only"):
        make("lifelong_sft", gym.make("valuegym/Follow-v0"))


def test_in_coevolve_they_say_aloud_what_they_answer_in_follow() -> None:
    """As long as people answer the same: at the first step."""
    answered = {}
    for id in (FOLLOW, COEVOLVE):
        place = gym.make(id, budget=20)
        one = Lifelong(place, model=untrained(), updates=2, batch=10)
        answered[id], _ = one.predict(place.reset(seed=0)[0])
        assert place.action_space.contains(answered[id])
    assert np.array_equal(answered[FOLLOW], answered[COEVOLVE][:-1]) and answered[COEVOLVE][-1] == 1


def test_a_model_in_a_folder_gets_adapters(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    causal_lm.save(untrained(), tmp_path / "model")
    one = begun(model=str(tmp_path / "model"))
    size = sum(p.numel() for p in one.lm.model.parameters())
    assert 0 < len(one.weights()) < size / 2
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        agent(model=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="model is 3; expected a CausalLM, or the folder of a model"):
        agent(model=3)


# ---------------------------------------------------------------- what they reach


@pytest.mark.slow
def test_training_on_shares_is_ahead_of_a_frozen_model() -> None:
    distances = {}
    for name in ("frozen_sft", "lifelong_sft"):
        envs = gym.make_vec(FOLLOW, num_envs=2)
        core: Any = envs.unwrapped.core  # type: ignore[attr-defined]
        observation, _ = envs.reset(seed=0, options={"history": np.array([0, 1])})
        task, states = envs.unwrapped.task, [envs.unwrapped.state]  # type: ignore[attr-defined]
        one, memory, actions = make(name, gym.make(FOLLOW)), None, []
        for _ in range(core.steps):
            action, memory = one.predict(observation, memory)
            observation = envs.step(action)[0]
            actions.append(action)
            states.append(envs.unwrapped.state)  # type: ignore[attr-defined]
        distances[name] = core.episode_metrics(task, states, actions)["error"]
    assert (distances["lifelong_sft"] < distances["frozen_sft"]).all()
