"""Replaying records on this installation's own environments, and the scores that they earn."""

__all__ = ()
