"""Predict people's published answers: choices between gambles, a questionnaire about themselves, and clips of Hopper.

    python -m studies.preference.people_figures [--data FOLDER] [--table]

Whatever is fitted is fitted to other problems, or to other people, than those it predicts: five folds of problems, ten
folds of people. Units are 100 groups of problems, the 300 people, and the decided pairs of Hopper. Records
hold no answer of anybody.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import numpy as np
from scipy.optimize import least_squares
from scipy.special import expit

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.envs.array_files import VARIABLE
from valuegym.envs.feedback import people
from valuegym.envs.feedback.people import Choices, Questionnaire
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import RISKY, RiskyChoice

GROUPS, FOLDS, PEOPLE_FOLDS = 100, 5, 10
FREE = {  # what is fitted of each kind; where `loss` is not, it is `gain`
    "expected-value": ("t",),
    "expected-utility": ("t", "gain", "aversion"),
    "prospect": ("t", "gain", "loss", "aversion", "weighting"),
}
CONSTANT = "constant"
MODELS = (CONSTANT, *FREE)
SHIPPED = "as shipped: "
PREDICTORS = ("constant 3", "item mean", "own mean of the trait", "ridge")
RIDGES = (30.0, 100.0, 300.0, 1000.0)
FEATURES = ("always the second", "stands higher", "moves faster")


# --- choices between gambles ---


def chances(parameters: Mapping[str, float], first: Segments, second: Segments) -> Array:
    """Return the probability (N,) that the second gamble is taken, 1 / (1 + exp(-t d))."""
    rest = {name: value for name, value in parameters.items() if name != "t"}
    utility = RiskyChoice(**rest)
    return expit(parameters["t"] * (utility(second) - utility(first)))


def fit(kind: str, first: Segments, second: Segments, share: Array) -> dict[str, float]:
    """Return the parameters of a kind of utility with the least squared error of the shares (N,)."""

    def parameters(logs: Array) -> dict[str, float]:
        found = dict(zip(FREE[kind], np.exp(logs).tolist(), strict=True))
        return {"loss": found["gain"], **found} if "gain" in found else found

    start = np.log([0.1, *(1.0 for _ in FREE[kind][1:])])
    found = least_squares(lambda logs: chances(parameters(logs), first, second) - share, start)
    return parameters(found.x)


@cache
def choices(data: str) -> tuple[Choices, Array]:
    """Return the standard problems, and the group of each."""
    found = people.choices13k(data)
    return found, np.random.default_rng(0).permutation(len(found.share)) % GROUPS


@cache
def predicted_shares(model: str, fold: int, data: str) -> tuple[Array, list[float]]:
    """Return the predictions (N,) for all problems by what was fitted to the other folds, and the parameters."""
    found, group = choices(data)
    train = group % FOLDS != fold
    if model == CONSTANT:
        mean = float(found.share[train].mean())
        return np.full(len(found.share), mean), [mean]
    if model.startswith(SHIPPED):
        parameters: Mapping[str, float] = RISKY[model.removeprefix(SHIPPED)]
    else:
        parameters = fit(model, found.first[train], found.second[train], found.share[train])
    return chances(parameters, found.first, found.second), [parameters[name] for name in FREE.get(model, ())]


def gambles(model: str, unit: int, data: str) -> list[float]:
    """Return squared error and agreement with the majority of one group, means over its problems."""
    found, group = choices(data)
    p, share = predicted_shares(model, unit % FOLDS, data)[0][group == unit], found.share[group == unit]
    decided = share != 0.5
    return [float(np.mean((p - share) ** 2)), float(np.mean(((p > 0.5) == (share > 0.5))[decided]))]


# --- a questionnaire ---


def ridge(given: Array, wanted: Array, penalty: float) -> Array:
    """Return the weights (items given, items wanted) that minimise |wanted - given W|**2 + penalty |W|**2."""
    return np.linalg.solve(given.T @ given + penalty * np.eye(given.shape[1]), given.T @ wanted)


def predict(name: str, form: Questionnaire, train: Array, test: Array, penalty: float | None = None) -> Array:
    """Return predictions (people, items) for the rows `test` by those of `train`; what is given of `test` is used."""
    answers, given = form.answers, form.given
    if name == "constant 3":
        return np.full((len(test), answers.shape[1]), 3.0)
    mean = np.nanmean(answers[train], 0)
    if name == "item mean":
        return np.repeat(mean[None], len(test), 0)
    if name == "own mean of the trait":
        own = {trait: np.nanmean(answers[test][:, given & (form.trait == trait)], 1) for trait in people.TRAITS}
        return np.stack([own[trait] for trait in form.trait], 1)
    if penalty is None:
        penalty = min(RIDGES, key=lambda one: inner_score(form, train, one))
    centred = np.where(np.isnan(answers), 0.0, answers - mean)  # a missing answer is the mean
    return mean + centred[test][:, given] @ ridge(centred[train][:, given], centred[train], penalty)


def inner_score(form: Questionnaire, train: Array, penalty: float) -> float:
    """Return the score of a penalty in five folds of the people of `train`."""
    fold = np.arange(len(train)) % 5
    parts = [(train[fold != k], train[fold == k]) for k in range(5)]
    found = [score(form, rows, whole(predict("ridge", form, rest, rows, penalty))) for rest, rows in parts]
    return float(np.concatenate(found).mean())


def whole(predictions: Array) -> Array:
    """Return predictions rounded to an answer that can be given, 1 to 5."""
    return np.clip(np.rint(predictions), 1, 5)


def score(form: Questionnaire, rows: Array, predictions: Array) -> Array:
    """Return for each person (rows,) the mean absolute error on the items not given, summed over the five traits."""
    error = np.abs(predictions - form.answers[rows])
    parts = [np.nanmean(error[:, ~form.given & (form.trait == trait)], 1) for trait in people.TRAITS]
    return np.sum(parts, 0)


@cache
def questionnaire(data: str) -> Questionnaire:
    """Return the questionnaire."""
    return people.papi(data)


@cache
def scored_people(name: str, fold: int, data: str) -> dict[int, list[float]]:
    """Return for each person of a fold the scores of predictions rounded to answers, and of predictions as they are."""
    form = questionnaire(data)
    numbers = np.arange(len(form.answers))
    train, rows = numbers[numbers % PEOPLE_FOLDS != fold], numbers[numbers % PEOPLE_FOLDS == fold]
    found = predict(name, form, train, rows)
    scores = np.stack([score(form, rows, whole(found)), score(form, rows, found)], 1)
    return dict(zip(rows.tolist(), scores.tolist(), strict=True))


# --- Hopper ---


def clips(name: str, data: str) -> list[float]:
    """Return in how many decided pairs the segment is preferred that a feature says, and how many pairs there are."""
    pairs = people.hopper(data)
    decided = np.isin(pairs.answers.labels, (0.0, 1.0))
    column = {"stands higher": 0, "moves faster": 5}.get(name)
    second = np.ones(len(pairs), bool)
    if column is not None:
        means = [side.observations[:, :-1, column].mean(1) for side in (pairs.first, pairs.second)]
        second = means[1] > means[0]
    agrees = (second == (pairs.answers.labels == 1))[decided]
    return [float(agrees.sum()), float(len(agrees))]


# --- the study ---


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield one job for each model and fold."""
    for model in (*MODELS, *(SHIPPED + kind for kind in FREE)):
        for fold in range(FOLDS):
            yield [("gambles", model, 0, unit) for unit in range(fold, GROUPS, FOLDS)]
    for model in FREE:
        yield [("parameters", model, 0, fold) for fold in range(FOLDS)]
    for name in PREDICTORS:
        for fold in range(PEOPLE_FOLDS):
            yield [("questionnaire", name, 0, person) for person in range(fold, 300, PEOPLE_FOLDS)]
    for name in FEATURES:
        yield [("hopper", name, 0, 0)]


def run(keys: Sequence[Key], options: Options) -> list[list[float]]:
    """Return the values of keys of one job."""
    found: list[list[float]] = []
    for kind, name, _, unit in keys:
        if kind == "gambles":
            value = gambles(name, unit, options.data)
        elif kind == "parameters":
            value = predicted_shares(name, unit, options.data)[1]
        elif kind == "questionnaire":
            value = scored_people(name, unit % PEOPLE_FOLDS, options.data)[unit]
        else:
            value = clips(name, options.data)
        found.append(harness.rounded(value))
    return found


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Return the page."""
    raw = {cell: values[:, 0] for cell, values in harness.arrays(records, jobs(options)).items()}
    four, three = report.decimals(4), report.decimals(3)

    def differs(kind: str, name: str, against: str) -> str:
        if name == against:
            return ""
        signed = report.decimals(4 if kind == "gambles" else 3, "+")
        return report.show(report.estimate(raw[kind, name][:, 0] - raw[kind, against][:, 0]), signed)

    rows = []
    for model in (*MODELS, *(SHIPPED + kind for kind in FREE)):
        error, agreement = raw["gambles", model].T
        shown = [report.show(report.estimate(error), four), differs("gambles", model, CONSTANT)]
        rows.append([model, *shown, "" if model == CONSTANT else report.show(report.estimate(agreement), three)])
    fitted = []
    for model, free in FREE.items():
        spans = {
            name: f"{v.min():.3f} to {v.max():.3f}" for name, v in zip(free, raw["parameters", model].T, strict=True)
        }
        fitted.append([model, *(spans.get(name, "") for name in FREE["prospect"])])
    told = []
    for name in PREDICTORS:
        rounded, exact = (report.show(report.estimate(part), three) for part in raw["questionnaire", name].T)
        told.append([name, rounded, differs("questionnaire", name, PREDICTORS[0]), exact])
    compared = []
    for name in FEATURES:
        [[agree, n]] = raw["hopper", name].astype(int)
        compared.append([name, report.estimate(np.repeat([1.0, 0.0], [agree, n - agree]))])
    parts = [
        "# How well simple models predict people's published answers",
        "Written by `python -m studies.preference.people_figures --data FOLDER`; do not edit. Intervals: 95% "
        "bootstrap, over the units that each section names. No answer is part of the repository ([data](../data.md)).",
        "## Choices between gambles (choices13k)",
        "9,831 problems with feedback and without ambiguity, of Peterson et al. (2021). Predicted is the share of "
        "people who take the second gamble. Problems are shuffled once and dealt to 100 groups, and groups to five "
        "folds; a model is fitted by least squares to the problems of four folds and scored on the fifth. The best "
        "constant is the mean share of those four. *As shipped* are the parameters that `annotators.risky` has, which "
        "were fitted to all problems. Majority: share of the problems in which most people take the gamble that the "
        "model says, where one gamble has the majority. Units: the groups.",
        report.table(["model", "squared error", "against the constant", "majority"], rows),
        "Fitted, over the five folds; the loss of expected utility is its gain, and what is not named is 1:",
        report.table(["model", *FREE["prospect"]], fitted),
        "## Answers to a questionnaire (PAPI)",
        "300 people and the 300 items of the IPIP-NEO, answers from 1 to 5 as Zhu et al. (2024) publish them: items "
        "that speak against a trait are reversed already. A person's answers to 120 items are given, and those to the "
        "other 180 predicted; the score is the mean absolute error on them for each of the five traits, summed, so "
        "that 0 is best. Ten folds of people (every tenth); item means and ridge regression learn from the other nine, "
        "and the penalty of the ridge is the best of 30, 100, 300 and 1,000 in five folds of those. *Answers*: "
        "predictions rounded to the nearest answer, as people have to answer; *numbers*: as they are. Of the five "
        "answers, 3 is the best constant. Units: the people.",
        report.table(["predictor", "answers", "against the constant", "numbers"], told),
        "The mean of a person's own given answers on the trait needs nothing of other people, and is about as good as "
        "the items' means over other people. It is worse than the constant only if one reverses the items against a "
        "trait once more.",
        "## Clips of Hopper",
        "72 of the 100 answers of Kim et al. (2023) about pairs of 100 steps that prefer one clip: share of them that "
        "prefer the clip of which the mean of a feature is larger. The best constant is always to say the second. "
        "Units: the pairs.",
        report.table(["the preferred clip", "share of answers"], compared),
    ]
    return {".md": report.page(*parts)}


STUDY = harness.Study("people-figures", jobs, run, pages)


PARSER = harness.parser(__doc__)
PARSER.add_argument("--data", metavar="FOLDER", default=os.environ.get(VARIABLE))

if __name__ == "__main__":
    harness.run(STUDY, PARSER.parse_args())
