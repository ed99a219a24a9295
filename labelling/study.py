"""Parameters and texts of a study, kept as `study.json` in its folder, where they may be edited.

Texts are plain: an empty line begins a paragraph, and nothing in them is HTML. `{keep_days}`, `{contact}` and
`{pairs}` stand for what the study says of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from valuegym.envs import checks
from valuegym.envs.feedback import data

__all__ = ["CONDITIONS", "CONSENT", "DELIVERY", "FILE", "LEARNERS", "SHOWS", "Condition", "Question", "Study"]

FILE = "study.json"
LEARNERS = ("auto", "bayes_regret", "ensemble", "none")
SHOWS = ("nothing", "partial_return", "regret")
LONGEST = 20_000  # characters of a text

CONSENT = """You are invited to take part in a study about what people prefer. You will see pairs of short films, \
and say for each pair which side you prefer. There are {pairs} pairs; you may stop at any time, without giving a \
reason and without any disadvantage.

What is stored: your answers, when a pair was shown and answered, your answers to the questions about the task, the \
number of moves that you tried, and the note that you may write at the end. Your name, your address and your browser \
are not stored; you are a number.

How long: at most {keep_days} days. As long as you can open this page, the button "Stop and delete my answers" deletes \
everything that is stored about you, at once. Later, write to the people who run the study and give them your number.

Who runs the study: {contact}."""

INSTRUCTIONS = """Each film shows a short stretch of behaviour, again and again. Watch both sides to the end, then say \
which one you prefer.

Where both are equally good, answer "the same". Where you cannot judge, answer "can't tell". There are no right \
answers; your first thought is what counts. Now and then a line above the films says which answer to give: follow it, \
it shows that somebody is reading."""


def _text(name: str, value: Any, empty: bool = False) -> None:
    if not isinstance(value, str) or len(value) > LONGEST or not (empty or value.strip()):
        raise checks.refusal(name, value, f"a text of at most {LONGEST} characters{'' if empty else ', not empty'}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise checks.refusal(name, value, "a text without halves of surrogate pairs, which no page can hold")


@dataclass(frozen=True)
class Condition:
    """The wording that a group of people sees, and the number that is shown beside each segment.

    Attributes:
        question: above the films.
        shows: "nothing", "partial_return" (what the moves earned) or "regret" (what better moves would have earned
            besides).
        words: a paragraph that the instructions end with.

    Raises:
        ValueError: a text is empty or too long, or `shows` is unknown.
    """

    question: str = "Which side do you prefer?"
    shows: str = "nothing"
    words: str = ""

    def __post_init__(self) -> None:
        """Check all fields."""
        _text("question", self.question)
        checks.choice("shows", self.shows, SHOWS)
        _text("words", self.words, empty=True)


# After the elicitation conditions of Hatgis-Kessell et al. (2025, arXiv 2501.06416), in words of this suite.
CONDITIONS = {
    "nothing": Condition(),
    "partial_return": Condition(
        "Which side has the better immediate outcome?",
        "partial_return",
        "Below each film stands the score that its moves earned.",
    ),
    "regret": Condition(
        "Which side shows better decisions?",
        "regret",
        "Below each film stands how much of the best possible final score its moves lost: 0 means that no better moves "
        "exist.",
    ),
}


@dataclass(frozen=True)
class Question:
    """A question of the quiz, which people have to answer before they begin.

    Raises:
        ValueError: a text is empty or too long, there are fewer than two choices, or `right` is no number of one.
    """

    question: str
    choices: tuple[str, ...]
    right: int

    def __post_init__(self) -> None:
        """Check all fields."""
        _text("question", self.question)
        if len(self.choices) < 2:
            raise checks.refusal("choices", self.choices, "two or more")
        for choice in self.choices:
            _text("choice", choice)
        checks.integer("right", self.right, 0, len(self.choices) - 1)


QUIZ = (
    Question("What do you compare?", ("The pictures' colours", "How good the behaviour in the two films is"), 1),
    Question("What do you answer where both are equally good?", ("The same", "Always left"), 0),
)

# Texts about the delivery task, in place of the general ones.
DELIVERY: dict[str, Any] = {
    "instructions": """A van drives across a town. Each move costs 1 point of gas, on brick 2. The destination gives \
50 points and ends the trip; a sheep costs 50 points and ends it, too. A coin gives 1 point and a roadblock costs 1, \
each time the van drives there. Houses and the edge of the town stop the van, and the gas is paid nevertheless.

Each film shows three moves, again and again, with numbered arrows; an arrow with a cross is a move that was stopped. \
Say on which side the van is driven better.

Where both are equally good, answer "the same". Where you cannot judge, answer "can't tell". Now and then a line above \
the films says which answer to give: follow it, it shows that somebody is reading.""",
    "quiz": (
        Question(
            "What happens when the van drives onto a sheep?", ("It loses 50 points and the trip ends", "Nothing"), 0
        ),
        Question("What does a move into a house cost?", ("Nothing", "Gas, although the van stays where it is"), 1),
        Question("How much does the destination give?", ("1 point", "10 points", "50 points"), 2),
    ),
}


@dataclass(frozen=True)
class Study:
    """A study: what is asked, of whom, and how.

    Attributes:
        title: of the pages.
        environment: id that people play; None where they play none.
        arguments: of `gymnasium.make`.
        conditions: by name; people are divided among them evenly.
        consent: what people agree to before anything is stored.
        instructions: what they read before they play.
        quiz: questions that they have to answer; none is asked where it is empty.
        thanks: what they read at the end.
        contact: who runs the study, for the consent.
        pairs_per_person: that each person answers, checks aside.
        answers_per_pair: people who see each pair.
        check_every: one attention check in so many pairs; 0 for none.
        break_every: pairs after which a break is suggested; 0 for none.
        play_steps: moves to try before the quiz; 0 skips that.
        play_repeat: steps of the environment for each move that is tried.
        frame_ms: milliseconds of a picture of a film.
        answers_per_second: that one person may send, on average.
        learner: "bayes_regret" (the delivery task), "ensemble" (any other), "none" (pairs in random order), or "auto".
        keep_days: after which answers are to be deleted.
        seed: of conditions, sides, checks and the order of pairs.

    Raises:
        ValueError: a field is not as stated.
    """

    title: str = "Which do you prefer?"
    environment: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Condition] = field(default_factory=lambda: {"nothing": CONDITIONS["nothing"]})
    consent: str = CONSENT
    instructions: str = INSTRUCTIONS
    quiz: tuple[Question, ...] = QUIZ
    thanks: str = "Thank you. Your answers are stored; you may close this page."
    contact: str = "not stated"
    pairs_per_person: int = 50
    answers_per_pair: int = 1
    check_every: int = 10
    break_every: int = 25
    play_steps: int = 20
    play_repeat: int = 1
    frame_ms: int = 500
    answers_per_second: float = 5.0
    learner: str = "auto"
    keep_days: int = 365
    seed: int = 0

    def __post_init__(self) -> None:
        """Check all fields."""
        for name in ("title", "consent", "instructions", "thanks", "contact"):
            _text(name, getattr(self, name))
        if self.environment is not None:
            _text("environment", self.environment)
        if not isinstance(self.arguments, Mapping):
            raise checks.refusal("arguments", self.arguments, "arguments of gymnasium.make by name")
        if not self.conditions or not all(isinstance(one, Condition) for one in self.conditions.values()):
            raise checks.refusal("conditions", self.conditions, "one or more conditions by name")
        for name in self.conditions:
            _text("the name of a condition", name)
        for name, low, high in (
            ("pairs_per_person", 1, 10**6),
            ("answers_per_pair", 1, 10**6),
            ("check_every", 0, 10**6),
            ("break_every", 0, 10**6),
            ("play_steps", 0, 10**4),
            ("play_repeat", 1, 1000),
            ("frame_ms", 20, 10_000),
            ("keep_days", 1, 36_500),
            ("seed", 0, 2**63 - 1),
        ):
            checks.integer(name, getattr(self, name), low, high)
        checks.real("answers_per_second", self.answers_per_second, high=1e6, above=0)
        checks.choice("learner", self.learner, LEARNERS)

    def filled(self, text: str) -> str:
        """Return a text in which `{pairs}`, `{keep_days}` and `{contact}` are filled in."""
        for name, value in (("pairs", self.pairs_per_person), ("keep_days", self.keep_days), ("contact", self.contact)):
            text = text.replace(f"{{{name}}}", str(value))
        return text

    def consent_hash(self) -> str:
        """Return the SHA-256 of the text that people agree to, which is stored with their agreement."""
        return hashlib.sha256(self.filled(self.consent).encode()).hexdigest()

    def write(self, folder: Path) -> Path:
        """Write the file of the study into its folder, and return its path."""
        path = folder / FILE
        content = json.dumps(checks.plain(asdict(self)), indent=2, ensure_ascii=False) + "\n"
        data.write_atomically(path, content.encode())
        return path

    @classmethod
    def read(cls, folder: Path) -> Study:
        """Read the study of a folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: its file is not as `write` makes it; the message begins with its path.
        """
        path = folder / FILE
        if not path.is_file():
            raise FileNotFoundError(f"There is no {FILE} in {folder}; `valuegym label new {folder}` makes a study.")
        try:
            found = data.parse_json(path.read_bytes())
            unknown = sorted(set(found) - {one.name for one in fields(cls)})
            if unknown:
                raise ValueError(f"{unknown[0]!r} is no field of a study.")
            if "conditions" in found:
                found["conditions"] = {name: Condition(**one) for name, one in dict(found["conditions"]).items()}
            if "quiz" in found:
                found["quiz"] = tuple(
                    Question(one["question"], tuple(one["choices"]), one["right"]) for one in found["quiz"]
                )
            return cls(**found)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from None
