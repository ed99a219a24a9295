"""What holds for every test: no network but loopback, nothing written to the user's home, one thread for each process.

Only pytest and the standard library are imported here: tests/envs also runs where little else is installed.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Before numpy or torch is imported: they read it once.
os.environ.setdefault("OMP_NUM_THREADS", "1")


class NetworkBlockedError(RuntimeError):
    """A test tried to reach another machine."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _loopback_only(connect: Callable[[socket.socket, Any], Any]) -> Callable[[socket.socket, Any], Any]:
    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise NetworkBlockedError(f"a test tried to connect to {address!r}; only loopback is open to tests")
        return connect(self, address)

    return guarded


@pytest.fixture(scope="session")
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes the home of a test. pytest's own numbered folders look at all there are, thousands of times."""
    folder, numbers = tmp_path_factory.mktemp("homes"), itertools.count()

    def make() -> Path:
        home = folder / str(next(numbers))
        home.mkdir()
        return home

    return make


@pytest.fixture(autouse=True)
def _isolated(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, _homes: Callable[[], Path]
) -> None:
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, _loopback_only(getattr(socket.socket, name)))
    home = _homes()
    for variable in ("HOME", "USERPROFILE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, str(home))
    for name in list(os.environ):
        if name.startswith("WANDB_") or name == "VALUEGYM_CACHE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for variable in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(home))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    # matplotlib lists the fonts once and keeps the list here; a new folder for each test would list them each time.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real human data, which the package does not ship."""
    name = os.environ.get("VALUEGYM_DATA")
    if not name:
        pytest.skip("needs human data: set VALUEGYM_DATA to the folder that holds it")
    folder = Path(name)
    if not folder.is_dir():
        pytest.fail(f"VALUEGYM_DATA is {name!r}, which is not a folder")
    return folder
