"""Operating a board: periods, commitments, sandboxed agents and verdicts."""

__all__ = ()
