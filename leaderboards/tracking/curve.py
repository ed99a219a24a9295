"""Learning curves in wandb, written while an agent trains, by a process of their own.

A curve is worth less than the training: where wandb fails, training goes on, and the message says what happened.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from valuegym._version import __version__
from valuegym.envs import extras
from valuegym.leaderboards.tracking.log import FINISH_TIMEOUT, INIT_TIMEOUT, child_environment, shortened, start_run

__all__ = ["Curve", "log_curve"]


class Curve:
    """A wandb run that gets a point for every episode; `observe` is an observer of training.

    Attributes:
        message: one sentence about where the run is, "" as long as it is being written.
    """

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.child, self.message = child, ""
        self._begin = 0

    def write(self, values: Mapping[str, Any]) -> None:
        """Send values to the process; if it has ended, nothing happens."""
        assert self.child.stdin is not None
        with suppress(OSError):
            self.child.stdin.write(json.dumps(values) + "\n")
            self.child.stdin.flush()

    def observe(self, steps: int, episode_return: float | None) -> None:
        """Log the return and the length of an episode that has ended."""
        if episode_return is not None:
            self.write({"timesteps": steps, "return": episode_return, "length": steps - self._begin})
            self._begin = steps


@contextmanager
def log_curve(
    name: str,
    config: Mapping[str, Any],
    directory: str | os.PathLike[str],
    mode: str = "offline",
    project: str = "valuegym",
    entity: str | None = None,
) -> Iterator[Curve]:
    """Open a wandb run for one training, and finish it at the end, however it ends.

    Args:
        name: of the run.
        config: what was trained, as JSON.
        directory: where wandb's folder is made.
        mode: "offline", or "online", which goes offline where there is no key or no server.
        project: wandb project.
        entity: wandb user or team; None for the key's own.

    Raises:
        ImportError: wandb is not installed.
        ValueError: the mode is another one.
    """
    if mode not in ("offline", "online"):
        raise ValueError(f"mode is {mode!r}, expected 'offline' or 'online'.")
    spec = importlib.util.find_spec("wandb")
    if spec is None or spec.origin is None:
        raise ImportError(f"Tracking needs wandb, which is not installed: {extras.hint('tracking')}.")
    folder = Path(directory).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    request: dict[str, Any] = {"name": name, "tags": [f"valuegym-{__version__}"], "config": dict(config), "mode": mode}
    request |= {"project": project, "entity": entity, "directory": str(folder), "id": secrets.token_hex(4)}
    request |= {"init_timeout": INIT_TIMEOUT, "finish_timeout": FINISH_TIMEOUT}
    command = [sys.executable, "-c", f"from {__name__} import _child; _child()"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    child = subprocess.Popen(
        command, env=child_environment(folder, mode), encoding="utf-8", start_new_session=True, **pipes
    )  # in a session of its own, so that an interruption of the training ends the run in order
    curve = Curve(child)
    curve.write(request)
    try:
        yield curve
    finally:
        with suppress(OSError):
            child.stdin.close()  # type: ignore[union-attr]
        child.stdin = None
        out, errors = child.communicate()
        words = (errors.strip() or f"exit status {child.returncode}").splitlines()[-1]
        curve.message = (
            f"wandb could not write the learning curve: {shortened(words, 500)}"
            if child.returncode
            else json.loads(out)["message"]
        )


def _child() -> None:
    """Write one run: a request on the first line of standard input, then values on each line; answer at the end."""
    import wandb

    answer, sys.stdout = sys.stdout, sys.stderr
    request = json.loads(sys.stdin.readline())
    run, reason = start_run(wandb, request)
    if run is None:
        run, _ = start_run(wandb, request | {"mode": "offline", "id": secrets.token_hex(4)})
    run.define_metric("*", step_metric="timesteps")
    for line in sys.stdin:
        run.log(json.loads(line))
    folder, url = Path(run.dir).resolve().parent, run.url
    run.finish()
    where = f"Learning curve online at {url}." if url else f"Learning curve offline; to upload: valuegym sync {folder}"
    answer.write(json.dumps({"message": f"{reason}, so it was written offline. {where}" if reason else where}))
    answer.flush()
