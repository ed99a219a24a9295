"""Agents: those of valuegym by name, and anybody's by file, module, plug-in or trained model.

Nothing is imported before it is used. `valuegym.agents.references` says which texts name an agent.
"""

from __future__ import annotations

from valuegym.agents.base import Agent
from valuegym.agents.references import make
from valuegym.agents.table import AGENTS, AgentEntry

__all__ = ["AGENTS", "Agent", "AgentEntry", "make"]
