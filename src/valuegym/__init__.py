"""valuegym: Gymnasium environments about value. Importing this package registers their ids with Gymnasium."""

from __future__ import annotations

from valuegym import envs
from valuegym._version import __version__

__all__ = ["__version__", "envs"]
