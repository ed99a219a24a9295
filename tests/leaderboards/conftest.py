"""What tests of boards share."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.board import sandbox
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.tracking import log


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a sandbox where there is none."""
    if item.get_closest_marker("sandbox") and sandbox.missing():
        pytest.skip(sandbox.missing())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """Under VALUEGYM_REQUIRE_SANDBOX=1 a test of the sandbox that was skipped, for whatever reason, has failed."""
    report = yield
    if report.skipped and item.get_closest_marker("sandbox") and os.environ.get("VALUEGYM_REQUIRE_SANDBOX") == "1":
        report.outcome = "failed"
        report.longrepr = f"VALUEGYM_REQUIRE_SANDBOX=1, but this test was skipped: {report.longrepr[2]}"
    return report


@pytest.fixture(scope="module")
def enrol() -> Iterator[Callable[..., None]]:
    """Adds experiments to the table for the tests of a module, and lets replays and runs work in this process."""

    def serial(function: Any, items: Any, workers: int, label: str, executor: str = "pool") -> list[Any]:
        return [result for _, result in executors.serial(function, items, 1)]

    with pytest.MonkeyPatch.context() as patch:

        def add(*rows: Experiment) -> None:
            for row in rows:
                patch.setitem(experiments.EXPERIMENTS, row.id, row)

        patch.setattr(executors, "parallel_map", serial)
        yield add


@pytest.fixture
def make_key(tmp_path: Path) -> Callable[..., Path]:
    """Makes a private ssh key in the test's folder; its public half lies beside it."""
    if shutil.which("ssh-keygen") is None:
        pytest.skip("needs ssh-keygen, of OpenSSH")

    def make(name: str = "key") -> Path:
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True)
        return tmp_path / name

    return make


@pytest.fixture
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no settings and no wandb server are left over from whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(log, "INIT_TIMEOUT", 2.0)


@pytest.fixture
def server(nobody_logged_in: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A wandb server on the loopback interface, which whoever logs or reads is sent to."""
    spec = importlib.util.spec_from_file_location("wandb_stub", Path(__file__).with_name("wandb_stub.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.Server() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        yield server
