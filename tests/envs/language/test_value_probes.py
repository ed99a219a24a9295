"""Vectors of values against answerers whose values are known, and against the evaluation that is blind to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from valuegym.envs.language import value_probes
from valuegym.envs.language.item_bank import ItemBank, balanced, generate, split
from valuegym.envs.language.value_probes import (
    Answers,
    ValueVector,
    answer,
    attribute,
    change,
    compare,
    first_place,
    order_flips,
    preferences,
    value_vector,
)

BANK = balanced(generate(20))
FORMS = list(value_probes.FORMS)


def hashed(*texts: Any) -> float:
    """Return a number from 0 to 1 that depends on nothing but these texts."""
    digest = hashlib.sha256("\n".join(map(str, texts)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56


class Answerer:
    """A model that scores by place and option: every token gets the same log-probability, three for an option."""

    def __init__(self, value: Callable[[int, str, str], float]) -> None:
        self.value = value

    def score(self, context: str, continuations: Sequence[str]) -> list[Any]:
        found = []
        for place, text in enumerate(continuations):
            option = text.strip()
            if len(option) == 1:  # a letter
                option = next(line[3:] for line in context.split("\n") if line.startswith(f"{option}. "))
            found.append(np.full(1 + len(option) % 4, self.value(place, context.split("\n")[0], option) - 9))
        return found


def served(bank: ItemBank, weights: Any) -> Callable[[int, str, str], float]:
    """Return the value of each option, its loadings times weights (D,)."""
    table = {
        (context, option): float(loading @ weights)
        for context, options, loadings in zip(bank.contexts, bank.options, bank.loadings, strict=True)
        for option, loading in zip(options, loadings, strict=False)
    }
    return lambda place, context, option: table[context, option]


def vector(
    model: Callable[[int, str, str], float], bank: ItemBank = BANK, form: str = "plain", **kwargs: Any
) -> ValueVector:
    return value_vector(bank, answer(bank, Answerer(model), form), **kwargs)


FOLLOWER = served(BANK, np.linspace(0.1, 1.0, 19))


def text_effect(place: int, context: str, option: str) -> float:
    """Return what a text is worth to every model, whatever its values: larger than any of these."""
    return 2 * hashed(context, option)


@pytest.mark.parametrize("form", FORMS)
def test_known_values_are_found(form: str) -> None:
    """With two options log-odds are twice the weight; with four weight times 4/3, minus the others' mean loading."""
    weights = np.linspace(0.1, 1.0, 19)
    found = vector(FOLLOWER, form=form).point
    assert np.allclose(found[:15], 2 * weights[:15], atol=1e-12)
    centred = weights[15:] - weights[15:].mean()
    assert np.allclose(found[15:], (4 / 3) ** 2 * centred, atol=1e-12)
    shares = vector(FOLLOWER, form=form, measure="probability").point
    assert np.allclose(shares[:15], np.tanh(weights[:15]), atol=1e-12)


@pytest.mark.parametrize("measure", value_probes.MEASURES)
@pytest.mark.parametrize("form", FORMS)
def test_who_takes_all_alike_or_always_the_first_scores_zero(form: str, measure: str) -> None:
    even = vector(lambda place, context, option: 0.0, form=form, measure=measure)
    assert np.abs(even.point).max() < 1e-12
    first = vector(lambda place, context, option: float(place == 0), form=form, measure=measure)
    tolerance = 1e-12 if form != "plain" else 0.12  # one order each: as balanced as the bank is, 2 of 20 items
    assert np.abs(first.point).max() <= tolerance
    unbalanced = vector(lambda place, context, option: float(place == 0), generate(20), form, measure=measure)
    assert (np.abs(unbalanced.point[:15]).min() > 0.4) == (form == "plain")


@pytest.mark.parametrize("form", FORMS)
def test_swapped_options_change_nothing(form: str) -> None:
    """Not even with a bias towards places, where a form has them."""

    def model(place: int, context: str, option: str) -> float:
        return text_effect(place, context, option) + FOLLOWER(place, context, option) + (form != "plain") * 0.7 * place

    turned = BANK.reordered([range(len(options))[::-1] for options in BANK.options])
    for measure in value_probes.MEASURES:
        # Four options in reverse have other neighbours, so that a softmax of biased places mixes them otherwise.
        columns = slice(15 if measure == "probability" and form != "plain" else 19)
        a, b = (vector(model, bank, form, measure=measure).point[columns] for bank in (BANK, turned))
        assert np.abs(a - b).max() < 1e-4


def test_opposite_answerers_change_in_opposite_ways() -> None:
    base = vector(text_effect)
    up, down = (
        change(vector(lambda p, c, o, sign=sign: text_effect(p, c, o) + sign * FOLLOWER(p, c, o)), base)
        for sign in (1, -1)
    )
    assert np.allclose(up.point, -down.point, atol=1e-12) and np.abs(up.point).min() > 0.04
    found = compare(up, down)
    assert found.cosine.point == pytest.approx(-1) and found.norm_ratio.point == pytest.approx(1)
    assert found.distance.point == pytest.approx(2 * np.linalg.norm(up.point))
    raw = vector(lambda p, c, o: text_effect(p, c, o) + 0.2 * FOLLOWER(p, c, o))
    paired, unpaired = change(raw, base).interval(), raw.interval()
    assert (paired.low[:15] > 0).all()  # the change is seen
    assert (unpaired.low[:15] < 0).any()  # behind the texts it is not
    assert (paired.high - paired.low < unpaired.high - unpaired.low).all()


def test_a_random_answerer_is_zero_within_its_interval() -> None:
    inside = []
    for seed in range(20):
        found = vector(lambda p, c, o, seed=seed: 2 * hashed(seed, c, o) - 1, BANK).interval(draws=500)
        inside.append((found.low <= 0) & (found.high >= 0))
    assert 0.88 < np.mean(inside) < 0.98  # of 380; nominal 0.95, and 20 items are few for a bootstrap


def test_a_cosine_alone_hides_size() -> None:
    base = vector(text_effect)
    small, large = (
        change(vector(lambda p, c, o, size=size: text_effect(p, c, o) + size * FOLLOWER(p, c, o)), base)
        for size in (0.1, 1.0)
    )
    found = compare(large, small)
    assert found.cosine.point == pytest.approx(1) and found.norm_ratio.point == pytest.approx(10)
    assert found.distance.point == pytest.approx(9 * np.linalg.norm(small.point))
    for each in found:
        assert each.low <= each.point + 1e-9 and each.point - 1e-9 <= each.high


def test_summed_log_probabilities_would_measure_length() -> None:
    """A model that gives every token the same log-probability has no values, however long the options."""
    found = answer(BANK, Answerer(lambda place, context, option: 0.0))
    assert np.abs(preferences(found)).max() < 1e-12


def test_lists_show_position_bias_and_plain_options_cannot() -> None:
    for form in ("letter", "repeat"):
        biased = answer(BANK, Answerer(lambda p, c, o: text_effect(p, c, o) + 3.0 * (p == 0)), form)
        honest = answer(BANK, Answerer(text_effect), form)
        assert order_flips(biased) == 1 and order_flips(honest) == 0
        assert first_place(biased) > 0.3 and abs(first_place(honest)) < 1e-12
    assert np.isnan(order_flips(answer(BANK, Answerer(text_effect))))


def test_the_evaluation_that_credits_places_is_blind() -> None:
    """With the permutation of labels applied twice, as in a published evaluation, all these get one vector."""

    def blind(model: Callable[[int, str, str], float]) -> Any:
        displayed, orders = answer(TWO, Answerer(model), "letter")
        twice = np.where(orders >= 0, np.take_along_axis(orders, np.maximum(orders, 0), -1), -1)
        return value_vector(TWO, Answers(displayed, twice), "probability").point

    TWO = BANK[BANK.counts == 2]
    models = [
        FOLLOWER,
        lambda p, c, o: -FOLLOWER(p, c, o),
        lambda p, c, o: 0.0,
        lambda p, c, o: 2 * hashed(c, o),
    ]
    wrong = [blind(model)[:15] for model in models]
    right = [vector(model, TWO, "letter", measure="probability").point[:15] for model in models]
    assert np.abs(wrong).max() < 1e-12  # follower, breaker, even and random: all the same
    assert np.abs(right[0] - right[1]).min() > 0.1


def test_attribution_credits_the_option_that_stood_there() -> None:
    displayed, orders = np.array([[[0.1, 0.2, 0.3, np.nan]]]), np.array([[[2, 0, 1, -1]]])
    assert attribute(displayed, orders)[0, 0, :3].tolist() == [0.2, 0.3, 0.1]


def test_values_without_items_are_nan_and_left_out_of_comparisons() -> None:
    bank = BANK[BANK.bears[:, 0]]
    follower, base = vector(FOLLOWER, bank), vector(lambda p, c, o: 0.0, bank)
    assert np.isnan(follower.point[1:]).all() and follower.point[0] == pytest.approx(0.2)
    found = follower.interval()
    assert np.isnan(found.low[1:]).all() and found.low[0] == pytest.approx(0.2)
    against = compare(follower, base)
    assert np.isnan(against.cosine.point) and np.isnan(against.norm_ratio.point) and against.distance.point > 0


def test_training_on_one_side_leaves_the_other_to_evaluate() -> None:
    train, held_out = split(BANK)
    seen = set(train.contexts)
    memorised = vector(lambda p, c, o: FOLLOWER(p, c, o) if c in seen else 0.0, held_out)
    assert np.nanmax(np.abs(memorised.point)) < 1e-12


@pytest.mark.parametrize(
    "scores",
    [
        lambda n: [np.zeros(1)] * (n + 1),
        lambda n: [np.array([np.nan])] * n,
        lambda n: [np.ones(1)] * n,
        lambda n: [np.zeros(0)] * n,
    ],
)
def test_scores_that_are_no_log_probabilities_are_refused(scores: Any) -> None:
    class Broken:
        def score(self, context: str, continuations: Sequence[str]) -> Any:
            return scores(len(continuations))

    with pytest.raises(ValueError, match="The scores of item 'death_0' are"):
        answer(BANK, Broken())


def test_other_bad_input_is_refused() -> None:
    found = answer(BANK, Answerer(text_effect))
    with pytest.raises(ValueError, match="form is 'list'"):
        answer(BANK, Answerer(text_effect), "list")
    with pytest.raises(ValueError, match="bank is empty"):
        answer(BANK[:0], Answerer(text_effect))
    with pytest.raises(ValueError, match="measure is 'sum'"):
        preferences(found, "sum")
    with pytest.raises(ValueError, match="answers to 320 items; expected 10"):
        value_vector(BANK[:10], found)
    a, b = value_vector(BANK, found), vector(text_effect, BANK[:10])
    for function in (change, compare):
        with pytest.raises(ValueError, match="different items"):
            function(a, b)
    for bad in ({"level": 1.0}, {"draws": 0}, {"seed": -1}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            a.interval(**bad)  # type: ignore[arg-type]
