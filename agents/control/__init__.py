"""Agents that learn models of dynamics, and what these are made of."""
