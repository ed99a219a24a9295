"""Agents for the coevolution environments."""
