"""Likelihoods of people's answers under preference models, and their report."""

__all__ = ()
