"""Annotators: who compares two segments, and how people's answers depart from the true reward.

An annotator is a callable `annotator(first, second, rng)` of two batches of N segments and a numpy generator, which
returns `Answers`. A plain function of two batches that returns N labels is one too (`as_annotator`). `Annotator`
computes an answer in this order: a *utility* of each segment, how it is *perceived*, a *choice* between the two
perceived utilities, and *noise*, one kind after another.

Labels are 0 (first), 1 (second), 0.5 (the same) and NaN (can't tell, or skipped). Probabilities are those of
preferring the second. All draws come from the generator, so that the same seed gives the same answers; every stage
draws as many numbers whether it uses them or not, so that annotators with the same seed have common random numbers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from valuegym.envs import checks
from valuegym.envs.coevolution import dynamics
from valuegym.envs.feedback.answers import MAX_STRENGTH, Answers, check_labels
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.utilities import (
    RISKY,
    Comparison,
    Features,
    IdealPoint,
    MyopicReturn,
    PartialReturn,
    RiskyChoice,
    Utility,
    info_column,
)
from valuegym.envs.preference import models

__all__ = [
    "BPREF",
    "Annotates",
    "Annotator",
    "Boltzmann",
    "Choice",
    "Custom",
    "Drifting",
    "Equal",
    "Implicit",
    "Mistake",
    "Mixture",
    "Noise",
    "Noiseless",
    "Rational",
    "Skip",
    "Thurstone",
    "answers_later",
    "as_annotator",
    "bpref",
    "ideal_points",
    "risky",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_EARNED = PartialReturn()


class Annotates(Protocol):
    """An annotator."""

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments."""


# --- choice ---


class Choice(Protocol):
    """A rule that turns a difference of perceived utilities into an answer."""

    def probability(self, difference: Any) -> Any:
        """Return the probability (N,) of preferring the second."""

    def label(self, difference: Any, uniform: Any) -> Any:
        """Return labels (N,), given uniform draws on [0, 1)."""


@dataclass(frozen=True)
class Boltzmann(models.BradleyTerry):
    """P(second) = 1 / (1 + exp(-difference / temperature)) (Bradley, Terry 1952); temperature in units of utility.

    Raises:
        ValueError: the temperature is not above 0.
    """

    def __post_init__(self) -> None:
        """Check the temperature."""
        checks.real("temperature", self.temperature, above=0)

    def probability(self, difference: Any) -> Any:
        """Return the logistic function, 1/2 at a difference of 0 however low the temperature is."""
        with np.errstate(over="ignore", under="ignore"):
            return _logistic(np.asarray(difference) / self.temperature)


def _logistic(x: Any) -> Any:
    """Return 1 / (1 + exp(-x)), written with tanh so that nothing overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


@dataclass(frozen=True)
class Thurstone(models.Thurstone):
    """P(second) = Phi(difference / scale), scale the standard deviation of the difference (Thurstone 1927, case V).

    Raises:
        ValueError: the scale is not above 0.
    """

    def __post_init__(self) -> None:
        """Check the scale."""
        checks.real("scale", self.scale, above=0)


@dataclass(frozen=True)
class Noiseless(models.Noiseless):
    """The higher utility always wins; differences of at most `tie_band` are answered "the same".

    Raises:
        ValueError: the tie band is below 0.
    """

    def __post_init__(self) -> None:
        """Check the tie band."""
        checks.real("tie_band", self.tie_band, 0)


@dataclass(frozen=True)
class Rational:
    """The second is chosen if it is strictly better, else the first: the rational teacher of B-Pref."""

    def probability(self, difference: Any) -> Any:
        """Return 0 or 1."""
        return 1.0 * (np.asarray(difference) > 0)

    def label(self, difference: Any, uniform: Any) -> Any:
        """Return the probability itself: nothing is random."""
        return self.probability(difference)


# --- noise ---


class Noise(Protocol):
    """A change of answers that were chosen."""

    def __call__(self, answers: Answers, first: Segments, second: Segments, uniform: Array) -> Answers:
        """Return the changed answers, given uniform draws (N,) on [0, 1)."""


@dataclass(frozen=True)
class Mistake:
    """An answer is turned around with chance `rate`; "the same" stays so.

    Raises:
        ValueError: the rate is not from 0 to 1.
    """

    rate: float = 0.1

    def __post_init__(self) -> None:
        """Check the rate."""
        checks.real("rate", self.rate, 0, 1)

    def __call__(self, answers: Answers, first: Segments, second: Segments, uniform: Array) -> Answers:
        """Return the changed answers."""
        p, labels = answers.probability, answers.labels
        return replace(
            answers,
            labels=np.where(uniform < self.rate, 1 - labels, labels),
            probability=(1 - self.rate) * p + self.rate * (1 - p),
        )


def _threshold(threshold: float, adaptive: bool, segments: Segments, who: str) -> Any:
    """Return a threshold: fixed, or a share of the column `recent_return`."""
    if not adaptive:
        return threshold
    return threshold * info_column(segments, "recent_return", f"{who} with an adaptive threshold", ())


@dataclass(frozen=True)
class Skip:
    """A pair gets no answer if neither undiscounted partial return is above the threshold; only thresholds above 0 act.

    Args:
        threshold: in units of reward, or, if adaptive, a share of the mean return of recent episodes, scaled to the
            length of a segment, which the column `recent_return` (N,) holds.
        adaptive: whether the threshold follows the returns.

    Raises:
        ValueError: the threshold is not finite.
    """

    threshold: float
    adaptive: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.real("threshold", self.threshold)
        checks.flag("adaptive", self.adaptive)

    def __call__(self, answers: Answers, first: Segments, second: Segments, uniform: Array) -> Answers:
        """Return the changed answers."""
        threshold = _threshold(self.threshold, self.adaptive, first, "Skip")
        best = np.maximum(PartialReturn()(first), PartialReturn()(second))
        skipped = (threshold > 0) & ~(best > threshold)
        labels, p, strength = (
            np.where(skipped, np.nan, value) for value in (answers.labels, answers.probability, answers.strength)
        )
        return replace(answers, labels=labels, probability=p, strength=strength)


@dataclass(frozen=True)
class Equal:
    """A pair is answered "the same" if its undiscounted partial returns differ by less than the threshold.

    Arguments as in `Skip`. It overrides whatever was chosen, and leaves skipped pairs alone.

    Raises:
        ValueError: the threshold is not finite.
    """

    threshold: float
    adaptive: bool = False

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.real("threshold", self.threshold)
        checks.flag("adaptive", self.adaptive)

    def __call__(self, answers: Answers, first: Segments, second: Segments, uniform: Array) -> Answers:
        """Return the changed answers."""
        threshold = _threshold(self.threshold, self.adaptive, first, "Equal")
        equal = np.abs(PartialReturn()(first) - PartialReturn()(second)) < threshold
        equal &= ~answers.skipped
        known = ~np.isnan(answers.strength)
        return replace(
            answers,
            labels=np.where(equal, 0.5, answers.labels),
            probability=np.where(equal, 0.5, answers.probability),
            strength=np.where(equal & known, 0.0, answers.strength),
        )


# --- annotators ---


@dataclass(frozen=True)
class Annotator:
    """One person: a utility, how it is perceived, a choice, and noise, in this order.

    The strength of a preference is the difference in units of the choice's temperature, rounded, at most 3; choices
    without noise have no such unit, and so no strength.

    Args:
        utility: of a segment, or a comparison such as `Cyclic`, whose differences are chosen between as they are.
        perception: of utilities; None perceives them as they are.
        choice: between two utilities.
        noise: applied to the answers, one kind after another.

    Raises:
        ValueError: an argument is of another kind, or a comparison is to be perceived.
    """

    utility: Utility | Comparison = _EARNED
    perception: Callable[[Array], Array] | None = None
    choice: Choice = Boltzmann()
    noise: tuple[Noise, ...] = ()

    def __post_init__(self) -> None:
        """Check the parts."""
        object.__setattr__(self, "noise", tuple(self.noise))
        if not callable(self.utility) and not hasattr(self.utility, "difference"):
            raise ValueError(f"utility is {self.utility!r}; expected a function of segments, or a comparison.")
        if self.perception is not None and (hasattr(self.utility, "difference") or not callable(self.perception)):
            raise ValueError(f"perception is {self.perception!r}; expected a function of utilities, or None.")
        if not hasattr(self.choice, "probability") or not hasattr(self.choice, "label"):
            raise ValueError(f"choice is {self.choice!r}; expected a choice rule such as Boltzmann.")
        if not all(callable(noise) for noise in self.noise):
            raise ValueError(f"noise is {self.noise!r}; expected kinds of noise such as Mistake.")

    def difference(self, first: Segments, second: Segments) -> Floats:
        """Return the difference (N,) of perceived utilities, second minus first.

        Raises:
            ValueError: the utility is not finite or has another shape.
        """
        if hasattr(self.utility, "difference"):
            return checks.reals("difference(first, second)", self.utility.difference(first, second), (len(first),))
        sides = [self.utility(part) for part in (first, second)]
        if type(self.utility) in (PartialReturn, MyopicReturn) and self.perception is None:
            d: Floats = sides[1] - sides[0]  # the common case: sums of rewards are finite unless they overflow
            if np.logical_and.reduce(np.isfinite(d)):
                return d
        sides = [checks.vector("utility(segments)", side, len(first)) for side in sides]
        if self.perception is not None:
            sides = [checks.reals("perception(utility)", self.perception(side), side.shape) for side in sides]
        return sides[1] - sides[0]

    def _choose(self, d: Floats, uniform: Floats) -> Answers:
        """Return the choices between differing utilities, before any noise."""
        choice = self.choice
        if type(choice) is Boltzmann:  # the common case: nothing is computed twice, and what is computed here is valid
            with np.errstate(over="ignore", under="ignore"):
                x = d / choice.temperature
                p = _logistic(x)
                strength = np.minimum(np.rint(np.abs(x)), MAX_STRENGTH)
            return Answers.computed((uniform < p).astype(np.float64), p, strength)
        scale = getattr(choice, "temperature", getattr(choice, "scale", None))
        with np.errstate(over="ignore"):
            strengths = None if scale is None else np.minimum(np.rint(np.abs(d) / scale), MAX_STRENGTH)
        labels = check_labels("choice.label(difference, uniform)", choice.label(d, uniform), len(d))
        return Answers(labels, np.asarray(choice.probability(d), np.float64), strengths)

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments.

        Raises:
            ValueError: there are not as many first as second segments.
        """
        N = _pairs(first, second)
        uniform = rng.random((1 + len(self.noise), N))
        d = self.difference(first, second)
        answers = self._choose(d, uniform[0])
        for noise, draws in zip(self.noise, uniform[1:], strict=True):
            answers = noise(answers, first, second, draws)
        return answers


def _pairs(first: Segments, second: Segments) -> int:
    """Return how many pairs there are."""
    if len(first) != len(second):
        raise ValueError(f"There are {len(first)} first and {len(second)} second segments; expected as many.")
    return len(first)


# The six teachers of Lee et al. (2021), "B-Pref", with the parameters of the release.
BPREF: dict[str, dict[str, Any]] = {
    "oracle": {},
    "stochastic": {"beta": 1.0},
    "mistake": {"mistake": 0.1},
    "skip": {"skip": 0.1},
    "equal": {"equal": 0.1},
    "myopic": {"discount": 0.9},
}


def bpref(
    teacher: str = "oracle",
    *,
    beta: float | None = None,
    discount: float = 1.0,
    mistake: float = 0.0,
    skip: float = 0.0,
    equal: float = 0.0,
    adaptive: bool = True,
) -> Annotator:
    """Return a simulated teacher of B-Pref (Lee et al. 2021), in the release's order of operations.

    1. A pair is skipped if the larger undiscounted return is not above a threshold above 0.
    2. Step t of l steps is weighted by discount**(l-1-t), so that the end counts most.
    3. The second is preferred if its weighted return is strictly larger, so that the first wins a tie; with `beta`,
       by a draw from the logistic function of beta times the difference.
    4. That answer is turned around with chance `mistake`.
    5. Pairs whose undiscounted returns differ by less than a threshold are "the same", whatever came before.

    Args:
        teacher: a name in `BPREF`; arguments below that differ from their default replace the teacher's.
        beta: inverse temperature, above 0; None is rational.
        discount: g of step 2, above 0, at most 1.
        mistake: chance of a mistake.
        skip: threshold of step 1.
        equal: threshold of step 5.
        adaptive: whether thresholds are shares of the mean return of recent episodes, scaled to the length of a segment
            (the column `recent_return`, which the wrapper fills), as in the release, or fixed, in units of reward.

    Raises:
        ValueError: an argument is not as stated.
    """
    checks.choice("teacher", teacher, BPREF)
    given = {"beta": beta, "discount": discount, "mistake": mistake, "skip": skip, "equal": equal}
    default = {"beta": None, "discount": 1.0, "mistake": 0.0, "skip": 0.0, "equal": 0.0}
    p = default | BPREF[teacher] | {name: value for name, value in given.items() if value != default[name]}
    return Annotator(
        MyopicReturn(p["discount"]),
        choice=Rational() if p["beta"] is None else Boltzmann(1.0 / checks.real("beta", p["beta"], above=0)),
        noise=(
            *((Skip(p["skip"], adaptive),) if p["skip"] else ()),
            *((Mistake(p["mistake"]),) if p["mistake"] else ()),
            *((Equal(p["equal"], adaptive),) if p["equal"] else ()),
        ),
    )


def risky(kind: str = "prospect") -> Annotator:
    """Return an annotator of gambles, with parameters fitted to people's choices (`RISKY`).

    Raises:
        ValueError: there is no such kind.
    """
    p = dict(RISKY[checks.choice("kind", kind, RISKY)])
    return Annotator(choice=Boltzmann(1.0 / p.pop("t")), utility=RiskyChoice(**p))


@dataclass(frozen=True, eq=False)
class Mixture:
    """Several people, of whom one answers each query.

    Who answers is drawn in proportion to their shares, or stands in the column `user` (N,) where the segments have one.

    Args:
        users: annotators.
        shares: (K,) of the queries, at least 0; None is equal shares.

    Raises:
        ValueError: there are no users, or shares are below 0, sum to 0 or are not as many.
    """

    users: Sequence[Any]
    shares: Any = None

    def __post_init__(self) -> None:
        """Check users and shares."""
        users = tuple(as_annotator(user) for user in self.users)
        if not users:
            raise ValueError("users is empty; expected at least one annotator.")
        shares = np.ones(len(users)) if self.shares is None else checks.reals("shares", self.shares, (len(users),), 0)
        if shares.sum() <= 0:
            raise ValueError("shares sum to 0; expected at least one above 0.")
        object.__setattr__(self, "users", users)
        object.__setattr__(self, "shares", shares / shares.sum())

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments; `user` says who did."""
        N = _pairs(first, second)
        drawn = np.searchsorted(np.cumsum(self.shares)[:-1], rng.random(N), side="right")
        user = drawn
        if "user" in first.info:
            user = checks.integers("the column 'user'", first.info["user"], (N,), 0, len(self.users) - 1)
        streams = rng.spawn(len(self.users))
        return _gather(N, [(user == k, self.users[k], streams[k]) for k in range(len(self.users))], first, second, user)


def _gather(N: int, parts: Any, first: Segments, second: Segments, user: Array | None = None) -> Answers:
    """Return the answers of several annotators, each to some rows."""
    found = {"labels": np.full(N, np.nan), "probability": np.full(N, np.nan), "strength": np.full(N, np.nan)}
    who = np.full(N, -1, np.int64)
    for rows, annotator, rng in parts:
        if rows.any():
            answers = annotator(first[rows], second[rows], rng)
            for name, column in found.items():
                column[rows] = getattr(answers, name)
            who[rows] = answers.user
    return Answers(**found, user=who if user is None else user)


def ideal_points(points: Any, shares: Any = None, features: Features = None, temperature: float = 1.0) -> Mixture:
    """Return a population of people with ideal points (K, d), each of whom prefers what is nearer to their own.

    P(second) = 1 / (1 + exp(-(|phi_first - u| - |phi_second - u|) / temperature)). Source: Chen et al. (2025), PAL.

    Args:
        points: (K, d).
        shares: (K,) of the queries; None is equal shares.
        features: as in `features_of`.
        temperature: in units of distance.

    Raises:
        ValueError: an argument is not as stated.
    """
    where = checks.reals("points", points, (None, None))
    return Mixture([Annotator(IdealPoint(point, features), choice=Boltzmann(temperature)) for point in where], shares)


@dataclass(frozen=True, eq=False)
class Drifting:
    """A population whose ideal points move towards each other from round to round of queries.

    u_i' = u_i + rate (mean {u_j : |u_j - u_i| <= bound} - u_i), the bounded confidence of Hegselmann, Krause
    (2002), once per round. The column `round` (N,) of the segments says how often; the wrapper fills it.

    Args:
        points: (K, d), at round 0.
        bound: the confidence bound.
        rate: from 0 (nobody moves) to 1.
        shares, features, temperature: as in `ideal_points`.

    Raises:
        ValueError: an argument is not as stated.
    """

    points: Any
    bound: float
    rate: float = 1.0
    shares: Any = None
    features: Features = None
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the arguments."""
        object.__setattr__(self, "points", checks.reals("points", self.points, (None, None)))
        checks.real("bound", self.bound, 0)
        checks.real("rate", self.rate, 0, 1)
        self._at(0)

    def _at(self, rounds: int) -> Mixture:
        """Return the population after some rounds."""
        points = self.points[None]
        for _ in range(rounds):
            moved = points + self.rate * (dynamics.hegselmann_krause(points, self.bound) - points)
            if np.array_equal(moved, points):
                break
            points = moved
        return ideal_points(points[0], self.shares, self.features, self.temperature)

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments."""
        N = _pairs(first, second)
        if "round" not in first.info:
            raise ValueError("Drifting needs the column 'round', which says how often people have moved.")
        rounds = checks.integers("the column 'round'", first.info["round"], (N,), 0)
        parts = [(rounds == n, self._at(int(n)), rng) for n in np.unique(rounds)]
        return _gather(N, parts, first, second)


@dataclass(frozen=True)
class Implicit:
    """Answers read from signs of dissatisfaction, where nobody was asked to compare.

    A person shows each segment's quality: they are dissatisfied with a utility below the threshold. A sign shows with
    chance `rate`, is wrong with chance `mistake`, and arrives `delay` queries late, so that it is taken for one about a
    later pair. Where both segments have a sign and only one is of dissatisfaction, the other is preferred; there is no
    answer elsewhere. Source: the feedback in conversations of Shi et al. (2024), WildFeedback.

    Args:
        threshold: in units of utility.
        rate: chance that a sign shows.
        mistake: chance that it is wrong.
        delay: in queries, at least 0.
        utility: of a segment.

    Raises:
        ValueError: an argument is not as stated.
    """

    threshold: float
    rate: float = 1.0
    mistake: float = 0.0
    delay: int = 0
    utility: Utility = _EARNED

    def __post_init__(self) -> None:
        """Check the arguments."""
        checks.real("threshold", self.threshold)
        checks.real("rate", self.rate, 0, 1)
        checks.real("mistake", self.mistake, 0, 1)
        checks.integer("delay", self.delay, 0)

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments."""
        N = _pairs(first, second)
        shows, wrong = rng.random((2, 2, N))
        utility = [checks.reals("utility(segments)", self.utility(part), (N,)) for part in (first, second)]
        unhappy = (np.stack(utility) < self.threshold) ^ (wrong < self.mistake)
        answered = (shows < self.rate).all(0) & (unhappy[0] != unhappy[1])
        labels = np.full(N, np.nan)
        labels[self.delay :] = np.where(answered, 1.0 * unhappy[0], np.nan)[: max(N - self.delay, 0)]
        return Answers(labels)


# --- annotators of one's own ---


@dataclass(frozen=True)
class Custom:
    """A plain function as an annotator: f(first, second) or f(first, second, rng), which returns labels or `Answers`.

    Attributes:
        function: the function.
        name: what messages call it.
        takes_rng: whether it takes a third argument, a numpy generator.
    """

    function: Callable[..., Any]
    name: str
    takes_rng: bool

    def __call__(self, first: Segments, second: Segments, rng: np.random.Generator) -> Answers:
        """Compare N pairs of segments.

        Raises:
            ValueError: the function returns no labels; the message says what it returns.
        """
        N = _pairs(first, second)
        answers = self.function(first, second, *((rng,) if self.takes_rng else ()))
        if not isinstance(answers, Answers):
            return Answers(check_labels(f"The answer of the annotator {self.name}", answers, N))
        if len(answers) != N:
            raise ValueError(f"The annotator {self.name} returned {len(answers)} answers; expected {N}.")
        return answers


def answers_later(annotator: Any) -> bool:
    """Return whether an annotator is asynchronous: asked by `submit`, and its answers fetched by `collect`."""
    return not inspect.isclass(annotator) and all(
        callable(getattr(annotator, name, None)) for name in ("submit", "collect")
    )


def as_annotator(function: Any, name: str | None = None) -> Any:
    """Return an annotator: the object itself if it is one of this package, else its answers checked (`Custom`).

    Objects with methods `submit` and `collect` answer later, and are returned as they are.

    Raises:
        ValueError: it is not a function of two or three arguments.
    """
    if isinstance(function, (Annotator, Mixture, Drifting, Implicit, Custom)) or answers_later(function):
        return function
    title = str(name or getattr(function, "__name__", type(function).__name__))
    wanted = "a function f(first, second) or f(first, second, rng) that returns labels"
    expected = f"expected {wanted}"
    if not callable(function) or inspect.isclass(function):
        raise checks.refusal("annotator", function, wanted)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        raise ValueError(f"The annotator {title} has no signature that can be read; {expected}.") from None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    room = 3 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
    if room < 2 or len(required) > 3 or any(p.kind is p.KEYWORD_ONLY for p in required):
        names = ", ".join(map(str, parameters))
        raise ValueError(f"The annotator {title} takes the arguments ({names}); {expected}.")
    # A third argument with a default, such as a margin, is the function's own.
    takes_rng = len(required) == 3 or (len(positional) > 2 and positional[2].name == "rng")
    return Custom(function, title, takes_rng)
