"""Agents that learn models of dynamics, and the losses, networks and solvers that they share."""
