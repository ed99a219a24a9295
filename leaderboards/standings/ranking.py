"""Rule of ranking: which scores may be ranked, and among which others. This is the only place where it is decided.

Every tier of trust is a division of its own, strongest first, with its own places: no score of a weaker tier has a
place among those of a stronger one. Not ranked are references, which are drawn as lines; scores of experiments whose
answer is public (`ranked=False`, "open book"); scores that lack seeds ("incomplete"), so that leaving out the worst
does not pay and the places of the others do not depend on who is there with which seeds; and rejected scores. Within a
division the order is that of the ranked number (`stats.summary`).
"""

from __future__ import annotations

from valuegym.leaderboards.trust.tiers import Standing

__all__ = ["OPEN_BOOK", "REFERENCES", "division_of", "role_of"]

REFERENCES = ("uniform", "no_force", "constant", "goal_only", "oracle")
OPEN_BOOK = "open-book reference, not ranked"


def role_of(agent: str) -> str:
    """Return "reference" for an agent that is drawn as a line and never ranked, "agent" for any other."""
    return "reference" if agent in REFERENCES else "agent"


def division_of(standing: Standing, ranked: bool) -> str:
    """Return the key of `tiers.DIVISIONS` under which a score has its place, if it has one.

    Args:
        standing: of the score.
        ranked: whether its experiment is.
    """
    if standing.reason:
        return "rejected"
    if not ranked:
        return "open book"
    return "incomplete" if standing.missing else standing.tier
