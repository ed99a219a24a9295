"""Agents that learn from answers to queries about their own behaviour, in any environment."""
