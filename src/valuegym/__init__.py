"""valuegym: Gymnasium environments about value. Importing this package registers their ids with Gymnasium.

The names below are all that scripts need. Those of agents, annotators and leaderboards are imported when they are first
used, so that environments need gymnasium and numpy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from valuegym import envs
from valuegym._version import __version__

if TYPE_CHECKING:
    from valuegym import testing
    from valuegym.agents import make as make_agent
    from valuegym.agents.base import rules
    from valuegym.agents.sb3_vec_env import make as sb3_vec_env
    from valuegym.envs.registration import register_core
    from valuegym.leaderboards.evaluation import Evaluation, evaluate, record
    from valuegym.leaderboards.experiments import Experiment
    from valuegym.leaderboards.run import run
    from valuegym.leaderboards.verification.verify import verify

__all__ = [
    "Evaluation",
    "Experiment",
    "__version__",
    "envs",
    "evaluate",
    "make_agent",
    "record",
    "register_core",
    "rules",
    "run",
    "sb3_vec_env",
    "testing",
    "verify",
]

_LAZY = {
    "Evaluation": "valuegym.leaderboards.evaluation:Evaluation",
    "Experiment": "valuegym.leaderboards.experiments:Experiment",
    "evaluate": "valuegym.leaderboards.evaluation:evaluate",
    "make_agent": "valuegym.agents:make",
    "record": "valuegym.leaderboards.evaluation:record",
    "register_core": "valuegym.envs.registration:register_core",
    "rules": "valuegym.agents.base:rules",
    "run": "valuegym.leaderboards.run:run",
    "sb3_vec_env": "valuegym.agents.sb3_vec_env:make",
    "testing": "valuegym.testing",
    "verify": "valuegym.leaderboards.verification.verify:verify",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _LAZY[name].partition(":")
    value = import_module(module)
    value = globals()[name] = getattr(value, attribute) if attribute else value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
