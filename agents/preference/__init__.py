"""Agents that learn from preferences."""
