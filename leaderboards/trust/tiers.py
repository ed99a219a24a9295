"""Tiers of trust, weakest first, what each leaves open, and the standing of one score."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DIVISIONS", "LIMITS", "TIERS", "Standing"]

LIMITS = {  # what each tier leaves open
    "claimed": "nothing was checked but the form",
    "replayed": "these actions on these public seeds earn this score; which policy chose them, what prior knowledge it "
    "had, and how often it tried before, replaying cannot see",
    "committed": "the seeds were drawn after the agent was fixed, so none was searched before; that this agent chose "
    "the actions, and did not search once the seeds were known, replaying cannot see",
    "executed": "the board ran the agent itself on secret seeds, apart from the simulator; what it learnt from is what "
    "its card says, which nobody checked",
}
TIERS = tuple(LIMITS)
DIVISIONS = {  # the heading above the agents that are ranked among each other
    "executed": "executed by the board on secret seeds",
    "committed": "replayed on seeds drawn after the agent was fixed",
    "replayed": "replayed on public seeds",
    "claimed": "claimed, not checked",
    "incomplete": "seeds are missing, so not ranked",
    "open book": "open book, not ranked",
    "rejected": "rejected",
}


@dataclass(frozen=True)
class Standing:
    """The standing of a score: its tier of trust, the seeds it lacks, and why it was rejected.

    Attributes:
        tier: one of TIERS.
        missing: how many of the experiment's seeds it lacks.
        reason: why it was rejected, "" if it was not.

    Raises:
        ValueError: for an unknown tier, or a negative number of missing seeds.
    """

    tier: str = "claimed"
    missing: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        """Check the tier and the number of missing seeds."""
        if self.tier not in TIERS:
            raise ValueError(f"tier is {self.tier!r}; expected one of {list(TIERS)}.")
        if self.missing < 0:
            raise ValueError(f"missing is {self.missing}; expected 0 or more seeds.")

    @property
    def word(self) -> str:
        """The tier, or "rejected"."""
        return "rejected" if self.reason else self.tier

    def missing_text(self, seeds: int) -> str:
        """Return how many seeds are missing besides those there are, in words; "" for none, or a rejected score."""
        return f"{self.missing} of {seeds + self.missing} seeds missing" if self.missing and not self.reason else ""

    def text(self, seeds: int) -> str:
        """Return the word and, where seeds are missing besides those there are, how many."""
        missing = self.missing_text(seeds)
        return f"{self.word}, {missing}" if missing else self.word
