"""Experiments, records, verification and leaderboards. The names below are all that scripts need."""

from __future__ import annotations

from valuegym.leaderboards.experiments import EXPERIMENTS, Experiment
from valuegym.leaderboards.run import jobs, run, run_all
from valuegym.leaderboards.standings.gather import Score, from_verdicts
from valuegym.leaderboards.verification.verify import Verdict, verify, verify_all

__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "Score",
    "Verdict",
    "from_verdicts",
    "jobs",
    "run",
    "run_all",
    "verify",
    "verify_all",
]
