"""A surrogate of people that are language models: how their answers move by what an assistant says, fitted beforehand.

    python -m studies.language.surrogate [--units 6] [--table] [--file FILE]

Needs the extra `text`. A unit is a history. Its people are trained further on answers of an assistant (`live_people`),
drawn as `sample` says; the surrogate is fitted to how their own answers move. `--file envs/language/surrogate.json`
writes it to where the environments read it. Its error is that on histories that it was not fitted to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from studies import harness, report
from studies.harness import Array, Key, Options, Records
from valuegym.envs.language import people, readings
from valuegym.envs.language.item_bank import MOST
from valuegym.envs.language.surrogate import Features, Surrogate, dump
from valuegym.leaderboards.records.record import write_atomically

SAMPLES = 60  # of each history
AGAIN = tuple(range(0, 36, 3))  # those that are trained once more, with items in another order
SHARES = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6)  # of the assistant in what people read
UNIT = 1000  # answers are kept as integers of this fraction
SEED = 4
HALVES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0)  # of which the best is taken
KINDS = ("another century", "sharper", "other values", "with noise", "one option each", "random")


class Sample(NamedTuple):
    """Answers (J, 4) that people of a century hear from an assistant that has a share of what they read."""

    kind: str
    century: int
    share: float
    heard: Array


@cache
def recorded() -> people.People:
    """Return the recorded people."""
    return people.load(people.TINY)


def sample(history: int, number: int) -> Sample:
    """Return what people hear in a sample; a function of its number alone."""
    found, rng = recorded(), np.random.default_rng([SEED, history, number])
    bank = found.bank[~found.training]
    there = np.arange(MOST) < bank.counts[:, None]
    kind = KINDS[number % len(KINDS)]
    century, other = int(rng.integers(1, found.answers.shape[1])), int(rng.integers(found.answers.shape[1]))
    share = SHARES[number // len(KINDS) % len(SHARES)]
    past, noise = found.answers[history, other][~found.training], rng.uniform(size=there.shape)
    values = rng.uniform(0.3, 1.5) * rng.normal(size=len(bank.names))
    heard = {
        "another century": past,
        "sharper": past ** rng.uniform(1.5, 4.0),
        "other values": readings.choice_shares(bank.loadings, there, values),
        "with noise": past + rng.uniform(0.2, 1.0) * noise,
        "one option each": np.where(there, noise, -1.0) == np.where(there, noise, -1.0).max(-1, keepdims=True),
        "random": noise,
    }[kind]
    return Sample(kind, century, share, readings.normalised(np.asarray(heard, np.float64), there))


def jobs(options: Options) -> Iterator[list[Key]]:
    """Yield jobs of a dozen samples of a history."""
    for first in range(0, SAMPLES, 12):
        for history in range(options.units):
            yield [(history, number) for number in range(first, first + 12)]
    for history in range(options.units):
        yield [(history, SAMPLES + i) for i in range(len(AGAIN))]


def run(keys: Sequence[Key], options: Options) -> list[list[int]]:
    """Return what people answer to the recorded items after they have heard a sample, but for last options."""
    from studies.language.live_people import LivePeople  # needs torch, which the page does not

    live, bank = LivePeople(options.folder), recorded().bank
    kept = np.arange(MOST) < bank.counts[:, None] - 1
    found = []
    for history, number in keys:
        order, place = divmod(number, SAMPLES)
        what = sample(history, AGAIN[place] if order else place)
        answers = live.trained(history, what.century, what.heard, what.share, order)
        found.append(np.round(UNIT * answers[kept]).astype(int).tolist())
    return found


class Trained(NamedTuple):
    """Trainings and their results.

    Attributes:
        history, share: (n,).
        kind: n names.
        before, after: (n, A, 4) answers.
        heard: (n, J, 4).
    """

    history: Array
    share: Array
    kind: Array
    before: Array
    heard: Array
    after: Array


def decoded(kept_answers: Sequence[Sequence[int]]) -> Array:
    """Return recorded answers as probabilities (n, A, 4)."""
    bank = recorded().bank
    kept = np.arange(MOST) < bank.counts[:, None] - 1
    answers = np.zeros((len(kept_answers), len(bank), MOST))
    answers[:, kept] = np.array(kept_answers) / UNIT
    answers[:, np.arange(len(bank)), bank.counts - 1] = np.maximum(1 - answers.sum(-1), 0)
    return answers


def collected(records: Records) -> Trained:
    """Return records as arrays, without the trainings in another order."""
    keys = sorted(key for key in records if key[1] < SAMPLES)
    samples = [sample(*key) for key in keys]
    return Trained(
        np.array([history for history, _ in keys]),
        np.array([each.share for each in samples]),
        np.array([each.kind for each in samples]),
        np.array([recorded().answers[h, each.century] for (h, _), each in zip(keys, samples, strict=True)]),
        np.array([each.heard for each in samples]),
        decoded([records[key] for key in keys]),
    )


def repeated(records: Records) -> tuple[Array, Array, Array]:
    """Return history (n,), share (n,) and variance (n, 2), heard and asked, of answers trained in two orders."""
    keys = sorted(key for key in records if key[1] >= SAMPLES)
    first = [(history, AGAIN[number - SAMPLES]) for history, number in keys]
    two = (decoded([records[key] for key in each]) for each in (keys, first))
    shares = [sample(*key).share for key in first]
    return np.array([history for history, _ in keys]), np.array(shares), squared(*two) / 2


@cache
def features() -> Features:
    """Return the features of the recorded items."""
    return Features(recorded())


def design(found: Trained) -> Array:
    """Return what the response is linear in (n, options, 2 + D): direct, sharpness, and each value."""
    there = features().there
    direct, values, sharpness = features()(found.before, found.heard)
    D = values.shape[1]
    columns = [direct, sharpness, *(features().by_option(values * np.eye(D)[d]) for d in range(D))]
    return np.stack([column[:, there] for column in columns], -1)


def moments(found: Trained) -> tuple[Array, Array]:
    """Return sums of squares (n, C, C) and products (n, C) of what the response is linear in, C = 2 + D.

    Options count by their variance p (1 - p), and 0.01 more.
    """
    there, X = features().there, design(found)
    shift = readings.centred_logs(there, found.after) - readings.centred_logs(there, found.before)
    p = found.before[:, there]
    weighted = X * (p * (1 - p) + 0.01)[..., None]
    return np.swapaxes(weighted, 1, 2) @ X, (weighted * shift[:, there, None]).sum(1)


def fitted(sums: tuple[Array, Array], share: Array, half: float, columns: Array) -> Array:
    """Return coefficients (C,) by least squares, 0 but for some columns."""
    gain, coefficients = share / (share + half), np.zeros(len(columns))
    squares, products = np.tensordot(gain**2, sums[0], 1), np.tensordot(gain, sums[1], 1)
    coefficients[columns] = np.linalg.solve(squares[np.ix_(columns, columns)], products[columns])
    return coefficients


def made(coefficients: Array, half: float, about: dict[str, Any] | None = None) -> Surrogate:
    """Return the surrogate of fitted coefficients."""
    direct, sharpness, *transfer = np.round(coefficients, 4).tolist()
    return Surrogate(recorded().bank.names, half, direct, np.array(transfer), sharpness, max(SHARES), about or {})


def held_out(sums: tuple[Array, Array], found: Trained, half: float, columns: Array) -> Array:
    """Return the answers (n, A, 4) by surrogates that were fitted to the other histories."""
    answers = np.empty_like(found.after)
    for history in np.unique(found.history):
        out = found.history == history
        rest = sums[0][~out], sums[1][~out]
        surrogate = made(fitted(rest, found.share[~out], half, columns), half)
        answers[out] = surrogate.answers(features(), found.before[out], found.heard[out], found.share[out])
    return answers


def squared(a: Array, b: Array) -> Array:
    """Return squared errors (n, 2): of items that were heard, and of those that are asked."""
    errors = ((a - b) ** 2).sum(-1)
    return np.stack([errors[:, part].mean(1) for part in (~recorded().training, recorded().training)], 1)


def rows_of(found: Trained, kind: str) -> list[Array]:
    """Return the trainings (n,) of a kind in each history."""
    return [(found.kind == kind) & (found.history == history) for history in np.unique(found.history)]


def explained(found: Trained, answers: Array, rows: Array) -> list[str]:
    """Return the share of the squared change of answers that is explained, heard and asked, over histories."""
    left, whole = (squared(found.after, other)[rows] for other in (answers, found.before))
    histories = [found.history[rows] == history for history in np.unique(found.history)]
    sums = np.array([[left[each].sum(0), whole[each].sum(0)] for each in histories])
    return [str(report.estimate(1 - sums[:, 0, i] / sums[:, 1, i])) for i in range(2)]


def pages(records: Records, options: Options) -> Mapping[str, str]:
    """Fit the surrogate, write it where `--file` says, and return the page."""
    found, D = collected(records), len(recorded().bank.names)
    sums, every = moments(found), np.ones(len(found.share), np.bool_)
    all_columns = np.ones(2 + D, np.bool_)
    errors = {half: squared(found.after, held_out(sums, found, half, all_columns)).mean() for half in HALVES}
    half = min(errors, key=lambda each: errors[each])
    about = {
        "trainings": len(every),
        "histories": len(np.unique(found.history)),
        "people": recorded().sha256,
        "held-out squared error": round(float(errors[half]), 5),
    }
    surrogate = made(fitted(sums, found.share, half, all_columns), half, about)
    if options.file:
        write_atomically(Path(options.file), dump(surrogate))
        print(options.file)
    answers = held_out(sums, found, half, all_columns)
    forms = {
        "the items heard alone": np.arange(2 + D) == 0,
        "values alone": np.arange(2 + D) >= 2,
        "both": np.arange(2 + D) != 1,
        "both and sharpness (this one)": all_columns,
    }
    table = [[name, *explained(found, held_out(sums, found, half, columns), every)] for name, columns in forms.items()]
    before, after = (squared(found.after, other) for other in (found.before, answers))
    history_again, share_again, noise = repeated(records)
    order = report.estimate([noise[history_again == h].mean() for h in np.unique(history_again)])
    cells = [
        [
            f"{share:g}",
            *(
                f"{values[which == share][:, i].mean():.4f}"
                for i in (0, 1)
                for values, which in ((before, found.share), (after, found.share), (noise, share_again))
            ),
            *explained(found, answers, found.share == share),
        ]
        for share in SHARES
    ]
    bank, part = recorded().bank[~recorded().training], ~recorded().training
    there = np.arange(MOST) < bank.counts[:, None]
    three = (answers, found.after, found.before)
    x, y, z = (readings.value_log_odds(bank.loadings, there, each[:, part]) for each in three)
    x, y = x - z, y - z
    pairs = [(x[found.history == h].ravel(), y[found.history == h].ravel()) for h in np.unique(found.history)]
    r, slope = [np.corrcoef(a, b)[0, 1] for a, b in pairs], [np.polyfit(b, a, 1)[0] for a, b in pairs]
    kinds = [
        [
            kind,
            *explained(found, answers, found.kind == kind),
            f"{np.abs(found.heard - found.before[:, part])[found.kind == kind].sum(-1).mean():.2f}",
            report.estimate([np.polyfit(x[each].ravel(), y[each].ravel(), 1)[0] for each in rows_of(found, kind)]),
        ]
        for kind in KINDS
    ]
    per_value = [np.corrcoef(x[:, d], y[:, d])[0, 1] for d in range(D)]
    worst = sorted(range(D), key=lambda d: per_value[d])[:3]
    texts = [
        "# A surrogate of people that are language models",
        f"How answers of tiny language models move when they are trained on an assistant's: {len(every)} trainings of "
        f"the recorded people of {about['histories']} histories, each on answers that were drawn as the table of kinds "
        "says, with a share of the assistant in what is read from "
        f"{min(SHARES):g} to {max(SHARES):g}. The surrogate of `CoevolveLanguage-v0` is a log-linear response of "
        f"{D + 3} numbers (`valuegym.envs.language.surrogate`), fitted by least squares. Everything on this page is "
        "about histories that it was not fitted to (six fits, each without one history); what is shipped is fitted to "
        "all of them. 95% bootstrap intervals are over histories.",
        "Written by `python -m studies.language.surrogate`, which needs the extra `text`.",
        f"A history's changes of values (nats) by surrogate and training: r {report.estimate(r)}, slope "
        f"{report.estimate(slope)}. Where no change at all is predicted, the explained share is 0.",
        "## Forms: explained share of the squared change of probabilities",
        report.table(("response to", "items heard", "items not heard"), table),
        "## By share of the assistant",
        report.table(
            (
                "share",
                *(f"{which}: {what}" for which in ("heard", "not heard") for what in ("change", "error", "order")),
                "explained, heard",
                "not heard",
            ),
            cells,
        ),
        "Changes and errors are squared, a sum over options and a mean over items. The order is the variance of "
        f"answers between trainings on the same, with items in another order ({len(AGAIN)} a history): the part of "
        f"the error that no surrogate can predict, {report.show(order, report.decimals(4))} in all, of an error of "
        f"{after.mean():.4f}.",
        "## By what is heard",
        report.table(("kind", "items heard", "items not heard", "mean gap", "slope of training on surrogate"), kinds),
        "The gap is that between the probabilities heard and the people's own, a sum over options; the slope is that "
        "of changes of values by training on those by the surrogate, 1 where these have the right size.",
        "## Where it fails",
        f"The smaller the share, the less is explained: at {min(SHARES):g} "
        f"{explained(found, answers, found.share == min(SHARES))[0]} of the change. Items that are not "
        "heard are predicted less well than those heard. Of the values, "
        + ", ".join(f"{bank.names[d].replace('_', ' ')} (r {per_value[d]:.2f})" for d in worst)
        + " are predicted worst. The response is linear in the gap, and people's seems not to be: the smaller the gap, "
        "the larger is the last slope above, although intervals overlap. It knows items by their loadings alone: what "
        "a model learns from words that items share, it cannot know. Half of the response is reached at a share of "
        f"{half:g}; beyond {max(SHARES):g}, other models and other settings of the training it has not seen anything.",
    ]
    return {".md": report.page(*texts)}


STUDY = harness.Study("language-surrogate", jobs, run, pages)

if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    arguments = harness.parser(__doc__, units=6)
    arguments.add_argument("--folder", default="build/live", help="where weights of people are kept")
    arguments.add_argument("--file", default="", help="where the surrogate is written; by default it is not")
    harness.run(STUDY, arguments.parse_args())
