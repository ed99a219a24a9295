"""Studies of language: committed pages follow from committed records, and what the pages say holds in a small run."""

from __future__ import annotations

import importlib
import importlib.util
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import valuegym.envs.language.value_probes as probes
from valuegym.envs.language.coevolve_language import CoevolveLanguage

TRACKS = "language.people_tracks"


def study(name: str) -> Any:
    return importlib.import_module(f"studies.language.{name}")


@pytest.mark.parametrize(("module", "name", "suffixes"), [
    ("token_preferences", "token-preferences", (".md", ".svg")), ("tiny_people", "tiny-people", (".md",)),
    ("costs", "language-costs", (".md",)),
    ("people_tracks", "language-people", (".md", ".svg")), ("surrogate", "language-surrogate", (".md",)),
    ("live_coevolve", "language-live", (".md", ".svg")),
])  # fmt: skip
def test_the_committed_page_follows_from_the_committed_records(
    module: str, name: str, suffixes: tuple[str, ...]
) -> None:
    harness, found = importlib.import_module("studies.harness"), study(module)
    records = harness.load(harness.RESULTS / "data" / f"{name}.jsonl")
    pages = found.pages(records, Namespace(units=20, name=name, short=False, file=""))
    assert set(pages) == set(suffixes)
    for suffix in suffixes:
        if suffix == ".md":  # figures depend on the version of matplotlib
            assert (harness.RESULTS / f"{name}{suffix}").read_text(encoding="utf-8") == pages[suffix]


def test_records_of_a_world_are_found_again() -> None:
    harness, found = importlib.import_module("studies.harness"), study("token_preferences")
    records = harness.load(harness.RESULTS / "data" / "token-preferences.jsonl")
    keys = [("stretches of 2 tokens", "regret", learner, 100, 3) for learner in ("reward model", "CPL")]
    assert np.allclose(found.run(keys, Namespace()), [records[key] for key in keys], atol=2e-3)


def test_annotators_agree_on_responses_to_one_prompt_alone() -> None:
    found = study("token_preferences")
    world = found.make_world(found.VOCABULARY, found.LENGTH, found.PROMPTS, world=0)
    for kind in found.KINDS:
        labels = [found.answered(world, kind, annotator, found.EVERY, 0).labels for annotator in found.ANNOTATORS]
        gaps = [float((labels[0] - other).abs().max()) for other in labels[1:]]
        assert max(gaps) < 1e-12 if kind == "responses to one prompt" else min(gaps) > 0.01


def test_the_shipped_surrogate_is_that_of_the_committed_records() -> None:
    from valuegym.envs.language import surrogate

    harness, found = importlib.import_module("studies.harness"), study("surrogate")
    trained = found.collected(harness.load(harness.RESULTS / "data" / "language-surrogate.jsonl"))
    shipped = surrogate.load("tiny-llama")
    every = np.ones(2 + len(shipped.names), np.bool_)
    again = found.made(found.fitted(found.moments(trained), trained.share, shipped.half, every), shipped.half)
    assert np.allclose(again.transfer, shipped.transfer, atol=2e-4)
    assert np.allclose([again.direct, again.sharpness], [shipped.direct, shipped.sharpness], atol=2e-4)


def test_expected_values_are_those_of_people_read_by_their_choices() -> None:
    found = study("tiny_people")
    bank = found.balanced(found.generate(6))
    values = np.linspace(-1, 1, 19)
    utility = bank.loadings @ values

    class People:
        def score(self, context: str, continuations: Any) -> Any:
            item = next(i for i, text in enumerate(bank.contexts) if text == context and i not in asked)
            asked.add(item)
            return [np.array([utility[item, k] - 9]) for k in range(len(continuations))]

    asked: set[int] = set()
    vector = probes.value_vector(bank, probes.answer(bank, People()))
    assert np.allclose(vector.point, found.expected(bank, values), atol=1e-12)
    assert np.allclose(vector.point[:15], 2 * values[:15], atol=1e-12)


def test_parameters_of_large_models_are_the_published_ones() -> None:
    costs = study("costs")
    counts = {name: shape.parameters for name, shape in costs.LARGE.items()}
    assert counts == {"8B (Llama 3)": 8_030_261_248, "70B (Llama 3)": 70_553_706_496}
    assert costs.LARGE["8B (Llama 3)"].adapters(16) == 41_943_040  # as peft counts them


def test_exponents_of_costs() -> None:
    costs = study("costs")
    parameters = np.array([1e4, 1e5, 1e6])
    found = costs.exponent(parameters, np.array([[2.0], [3.0]]) * parameters**0.8)
    assert np.allclose(found, 0.8)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="needs transformers: valuegym[text]")
@pytest.mark.slow
def test_costs_are_measured() -> None:
    found = study("costs").measure("32x2", None)
    assert found["parameters"] == 30_016 and set(found) == {
        *("parameters", "tokens", "items", "century", "likelihood", "dpo")
    }
    assert all(value > 0 for value in found.values())


def test_language_models_that_learn_from_shares_keep_up_with_people() -> None:
    """Trained at every century, on six seeds, they are ahead of those that are frozen, and iterated RLHF overshoots."""
    harness, report = (importlib.import_module(f"studies.{name}") for name in ("harness", "report"))
    records = harness.load(harness.RESULTS / "data" / "language-people.jsonl")
    cells = {key: np.array(values).mean(-1) for key, values in harness.columns(records).items()}
    for challenge in ("Follow", "Predict"):
        frozen = cells["frozen_sft", challenge]
        assert report.estimate(frozen[:, 2] - cells["lifelong_sft", challenge][:, 2]).low > 0
        over = cells["lifelong_rlhf", challenge] - frozen
        assert all(report.estimate(over[:, i]).low > 0 for i in (1, 2, 3))  # cosine, distance, ratio of norms


def test_one_who_keeps_up_changes_people_less() -> None:
    harness, found = importlib.import_module("studies.harness"), study("people_tracks")
    cells = found.cells_of(harness.load(harness.RESULTS / "data" / "language-people.jsonl"), "Coevolve")
    assert len(cells["frozen_sft"]) >= 5 and found.difference(cells, "frozen_sft", "lifelong_sft", 5).low > 0
    assert (cells["silent"][:, 5] == 0).all()


def test_where_agents_overshoot() -> None:
    """Iterated RLHF over all centuries, iterated DPO in the last ones alone, and training on shares nowhere."""
    harness, report, found = (importlib.import_module(f"studies.{name}") for name in ("harness", "report", TRACKS))
    cells = found.cells_of(harness.load(harness.RESULTS / "data" / "language-people.jsonl"), "Follow")

    def ratio(name: str, *which: int | None) -> Any:
        return report.estimate(cells[name][:, 3, slice(*which)].mean(-1))

    assert ratio("lifelong_rlhf", None).low > 1
    assert ratio("lifelong_dpo", 3).high < 1 < ratio("lifelong_dpo", -3, None).low
    assert ratio("lifelong_dpo", None).low < 1 < ratio("lifelong_dpo", None).high
    assert max(ratio("lifelong_sft", *part).high for part in ((3,), (None,), (-3, None))) < 1


@pytest.mark.slow
def test_people_are_made_of_any_causal_model_with_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers", "peft"):
        pytest.importorskip(name)
    found = study("recorded_people")
    small = found.causal_lm.tiny(["a b c", *(text for bank in found.banks() for text in bank.contexts)], width=16)
    monkeypatch.setattr(found.causal_lm, "load", lambda folder: small)
    monkeypatch.setattr(found, "STEPS", 3)
    answers = found.run([(0, 0)], Namespace(model="folder"))
    assert np.allclose(np.sum(answers, -1), 1, atol=1e-3) and np.shape(answers) == (1, len(found.banks()[1]), 4)


def test_live_people_are_trained_logged_and_gone_on_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who reads nothing is the recorded one; what was answered is not trained again; a line cut short is."""
    for name in ("torch", "transformers"):
        pytest.importorskip(name)
    live, made = study("live_people"), study("recorded_people")
    texts = [text for bank in made.banks() for text in bank.contexts]
    small = made.causal_lm.tiny(texts, width=16, layers=1)
    monkeypatch.setattr(made, "base", lambda: small)
    monkeypatch.setattr(made, "fitted", lambda values, seed: small)
    monkeypatch.setattr(live, "STEPS", 2)
    first = live.LivePeople(tmp_path / "folder")
    heard = first.recorded.answers[2, 5][~first.recorded.training]
    core = CoevolveLanguage()
    core.respond = first.respond
    task, state = core.initial(np.arange(2, dtype=np.uint64), history=np.array([2, 3]))
    silent = core.transition(task, state, core.persistence(task, state), task.key, state.t)
    assert np.array_equal(silent.people, first.recorded.answers[[2, 3], 1]) and not (tmp_path / "folder").exists()
    loud = core.transition(task, state, core.as_action(np.stack([heard, heard])), task.key, state.t)
    assert np.allclose(loud.people.sum(-1), 1, atol=1e-3) and (loud.people != silent.people).any((1, 2)).all()
    found = first.answers(2, 1, heard, 0.3)
    one, two = (first.trained(2, 1, heard, 0.3, order).round(4) for order in (0, 1))
    assert np.array_equal(one, found) and not np.array_equal(two, found)
    with (tmp_path / "folder" / "log.jsonl").open("a") as file:
        file.write('{"question": "cut sho')
    again = live.LivePeople(tmp_path / "folder")
    monkeypatch.setattr(again, "trained", lambda *_: pytest.fail("it is trained again"))
    assert np.array_equal(again.answers(2, 1, heard, 0.3), found)
    lines = (tmp_path / "folder" / "log.jsonl").read_text().splitlines()
    assert len(lines) == 3 and "cut sho" not in lines[-1]


def test_agreement_of_equal_and_of_opposite_trajectories() -> None:
    found = study("live_coevolve")
    rng = np.random.default_rng(0)
    natural, shift = rng.normal(size=(2, 10, 19))
    same = found.agreement(natural + shift, natural + shift, natural)
    size = np.linalg.norm(shift[1:], axis=1).mean()
    assert np.allclose(same, [1, 1, 1, 1, 1, 0, size, size])
    half = found.agreement(natural + shift, natural + shift / 2, natural)
    assert np.allclose(half[2:], [1, 0.5, 2, size / 2, size, size / 2])
    assert np.allclose(found.agreement(natural + shift, natural - shift, natural)[2:4], -1)
