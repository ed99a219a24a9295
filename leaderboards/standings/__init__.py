"""Scores gathered from records and submissions, and the tables that show them."""

__all__ = ()
