"""Sandbox for untrusted agents: in namespaces of its own, as a user of its own, with nothing but a pipe to the board.

The agent's process sees a root directory made for it: the system's libraries, the Python installation and the agent's
folder, read-only, and a scratch folder in memory. It has no network, sees no other process, belongs to a user that
nobody else is, holds no capability and cannot gain one, and runs under limits of memory, time and files. Environments,
seeds and the board's nonce stay in the board's process; observations go over the pipe and actions come back.

The kernel is shared: what breaks out of Linux's namespaces breaks out of this. Where Linux, root, or the programs
unshare, setpriv and prlimit (util-linux) are missing, there is no sandbox, and nothing is run without one.
"""

from __future__ import annotations

import os
import secrets
import selectors
import shutil
import site
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

import valuegym.agents
import valuegym.leaderboards
from valuegym.leaderboards.board import agent_host
from valuegym.leaderboards.board.agent_host import LENGTHS, MAX_HEADER, decode, describe, encode, observation_arrays
from valuegym.leaderboards.records.strict_json import printable

__all__ = ["AgentFailure", "Limits", "Remote", "missing"]

PROGRAMS = ("unshare", "setpriv", "prlimit", "mount", "chroot", "sh")
FIRST_USER, USERS = 1_900_000_000, 2**20  # ids that no system gives to anybody
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
# The shell stays, as root and as the first process: it dies with the board's process, and with it all that is inside.
# The agent itself would survive, for a change of user clears the wish to be killed with a parent.
SCRIPT = """
set -eu
root=$1 scratch=$2 agent=$3; shift 3
mount --make-rprivate /
# Memory that outlives the process that asked for it counts against no limit: there is none of it in here.
for name in kernel/shmmax kernel/shmall kernel/shmmni kernel/msgmni fs/mqueue/queues_max; do
  [ ! -e "/proc/sys/$name" ] || echo 0 > "/proc/sys/$name"
done
mount -t tmpfs -o mode=0755,size=16m sandbox "$root"
while [ "$1" != -- ]; do
  if [ -L "$1" ]; then
    mkdir -p "$root$(dirname "$1")"; cp -P "$1" "$root$1"
  else
    if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root$(dirname "$1")"; : > "$root$1"; fi
    mount --bind "$1" "$root$1"
    mount -o remount,bind,ro,nosuid,nodev "$root$1"
  fi
  shift
done
shift
mkdir -p "$root/agent" "$root/scratch" "$root/proc" "$root/dev"
mount --bind "$agent" "$root/agent"
mount -o remount,bind,ro,nosuid,nodev "$root/agent"
mount -t tmpfs -o "mode=1777,size=$scratch,nosuid,nodev" sandbox "$root/scratch"
mount -t proc -o nosuid,nodev,noexec,hidepid=2 proc "$root/proc"
for name in null zero urandom; do
  : > "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"
done
mount -o remount,ro "$root"
cd "$root"
chroot "$root" "$@"
"""


class AgentFailure(ValueError):
    """Raised when an agent crashes, is too slow, or breaks the protocol."""


class Limits(NamedTuple):
    """Limits of what an agent may use."""

    memory: int = 4 * 2**30  # bytes of address space, for each process
    answer: float = 60.0  # s for one answer; while it learns, only the whole run has a limit
    total: float = 3600.0  # s for a run, learning and waiting included
    processes: int = 1  # threads count, too
    scratch: int = 2**28  # bytes in its scratch folder
    log: int = 2**20  # bytes of any file that it writes, its standard error among them


@lru_cache
def missing() -> str:
    """Return why there is no sandbox here, in one sentence; "" where there is one: it was tried."""
    if not sys.platform.startswith("linux"):
        return f"A sandbox needs Linux; this is {sys.platform}."
    if os.geteuid() != 0:
        return "A sandbox needs root, to give the agent a user of its own; this process has none."
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"A sandbox needs the programs {', '.join(absent)}, which are not installed."
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        process, root = _start(Path(folder), Limits(), [sys.executable, "-I", "-c", "print('inside')"], log)
        output, _ = process.communicate(timeout=60)
        os.rmdir(root)
        log.seek(0)
        why = log.read().decode(errors="replace").strip().splitlines()
    if process.returncode or output.strip() != b"inside":
        return f"A sandbox cannot be made here: {printable(why[-1] if why else 'no reason given', 200)}."
    return ""


class Remote:
    """An agent in a sandbox, with Stable-Baselines3's `learn` and `predict`; use it as a context manager.

    Args:
        folder: the agent's, with its `agent.py`.
        env: an environment whose spaces it is given, and in which it learns; never the one that it is evaluated in.
        about: (id, kwargs) of the environment, for its spec; the kwargs are JSON, without the folder of people's data.
        seed: handed to the agent's `make`.
        limits: what it may use.

    Raises:
        OSError: where there is no sandbox.
        FileNotFoundError: where the folder holds no agent.py.
        AgentFailure: whenever the agent fails; its process is ended.
    """

    def __init__(
        self, folder: str | Path, env: Any, about: tuple[str, dict[str, Any]], seed: int, limits: Limits | None = None
    ) -> None:
        reason = missing()
        if reason:
            raise OSError(f"{reason} Untrusted agents are not run without one.")
        folder = Path(folder).resolve()
        if not (folder / "agent.py").is_file():
            raise FileNotFoundError(f"{folder} holds no agent.py.")
        self.limits = limits or Limits()
        self.action_space, self._env, self._seed = env.action_space, env, seed
        self._hello = {
            "observation": describe(env.observation_space),
            "action": describe(env.action_space),
            "id": about[0],
            "kwargs": about[1],
            "seed": seed,
            "folder": "/agent",
        }
        self._folder = folder

    def __enter__(self) -> Remote:
        self._log = tempfile.TemporaryFile()
        host = str(Path(agent_host.__file__))
        self._process, self._root = _start(self._folder, self.limits, [sys.executable, "-I", "-B", host], self._log)
        self._until = time.monotonic() + self.limits.total
        assert self._process.stdin and self._process.stdout
        self._out, self._in = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        try:
            if self._exchange(self._hello, {}, 0)[0].get("op") != "ready":
                raise self._failure("did not say that it is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()
        os.rmdir(self._root)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        """Return the agent's actions for a batch of observations; its memory stays with it.

        Raises:
            AgentFailure: the agent crashed, was too slow, or did not answer with actions.
        """
        about, arrays = observation_arrays(observation)
        arrays["episode_start"] = np.asarray(episode_start, np.bool_)
        rows = len(arrays["episode_start"])
        header, found = self._exchange(
            about | {"op": "predict", "deterministic": bool(deterministic)}, arrays, self._room(rows)
        )
        if header.get("op") != "action":
            raise self._failure("did not answer with actions")
        return self._action(found, rows), None

    def learn(self, total_timesteps: int) -> Remote:
        """Let the agent train in the environment that it was given, over the pipe, for at most so many steps.

        The environment stays here. The agent chooses the seeds of its training episodes, as it does everywhere; what
        it sees is observations, rewards and ends. Nothing but the whole run's time limits how long it thinks.

        Raises:
            AgentFailure: the agent crashed, was too slow, or broke the protocol.
        """
        used, started = 0, False
        about: dict[str, Any] = {"op": "learn", "timesteps": total_timesteps}
        arrays: dict[str, Any] = {}
        while True:
            header, found = self._exchange(about, arrays, self._room(), self._until)
            op = header.get("op")
            if op == "learnt":
                return self
            about, arrays = {"op": "spent"}, {}
            if op == "reset":
                observation, _ = self._env.reset(seed=self._training_seed(header.get("seed"), started))
                started, (shape, arrays) = True, observation_arrays(observation)
                about = {"op": "observation", **shape}
            elif op != "step" or not started:
                raise self._failure("asked for something else than a reset or a step while it learnt")
            elif used < total_timesteps:
                used += 1
                try:
                    observation, reward, terminated, truncated, _ = self._env.step(self._action(found))
                except (ValueError, AssertionError) as error:  # not an action of the environment
                    raise self._failure(
                        f"trained with something that is not an action: {printable(error, 160)}"
                    ) from None
                shape, arrays = observation_arrays(observation)
                about = {"op": "step", "reward": float(reward), **shape}
                about |= {"terminated": bool(terminated), "truncated": bool(truncated)}

    def _training_seed(self, seed: Any, started: bool) -> int | None:
        if seed is None:
            return None if started else self._seed
        if type(seed) is not int or not 0 <= seed < 2**32:
            raise self._failure("asked for an invalid training seed")
        return seed

    def _room(self, *rows: int) -> int:
        """Return how many bytes an answer with actions for so many rows may have."""
        return 16 * int(np.prod((*rows, *self.action_space.shape), dtype=np.int64))

    def _action(self, found: dict[str, Any], *rows: int) -> Any:
        """Return the actions in an answer, for so many rows or, without any, for a single environment."""
        action, expected = found.get("action"), (*rows, *self.action_space.shape)
        if action is None or action.shape != expected:
            raise self._failure(f"did not answer with actions of shape {expected}")
        if isinstance(self.action_space, gym.spaces.Box) and action.dtype.kind != "f":
            return action.astype(self.action_space.dtype)
        return action if isinstance(self.action_space, gym.spaces.Box) else action[()]

    def _exchange(
        self, header: dict[str, Any], arrays: dict[str, Any], room: int, deadline: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send a message and read the answer, whose arrays have at most `room` bytes."""
        deadline = min(self._until, time.monotonic() + self.limits.answer) if deadline is None else deadline
        self._write(encode(header, arrays), deadline)
        head, body = LENGTHS.unpack(self._read(LENGTHS.size, deadline))
        if head > MAX_HEADER or body > room:
            raise self._failure("sent more than an answer can hold")
        try:
            answer, found = decode(self._read(head, deadline), self._read(body, deadline))
        except ValueError as error:
            raise self._failure(f"sent {error}") from None
        if answer.get("op") == "error":
            lines = str(answer.get("message")).strip().splitlines() or ["?"]
            raise self._failure(f"failed: {printable(lines[-1], 200)}")
        return answer, found

    def _write(self, content: bytes, deadline: float) -> None:
        view = memoryview(content)
        while view:
            self._wait(self._out, selectors.EVENT_WRITE, deadline)
            try:
                view = view[os.write(self._out, view[: 2**20]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._failure(self._ending()) from None

    def _read(self, size: int, deadline: float) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            self._wait(self._in, selectors.EVENT_READ, deadline)
            part = os.read(self._in, min(size - len(parts), 2**20))
            if not part:
                raise self._failure(self._ending())
            parts += part
        return bytes(parts)

    def _wait(self, handle: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                whole = self._until <= time.monotonic()
                what = (
                    f"used more than {self.limits.total:g} s"
                    if whole
                    else f"took over {self.limits.answer:g} s to answer"
                )
                raise self._failure(what)

    def _ending(self) -> str:
        """Return why an agent is gone: the last line that it left on standard error."""
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "closed its end of the pipe"
        self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, self._log.tell() - 4000))
        left = self._log.read().decode(errors="replace").strip().splitlines()
        return f"ended by itself{': ' + printable(left[-1], 200) if left else ', or a limit ended it'}"

    def _failure(self, what: str) -> AgentFailure:
        self._process.kill()
        return AgentFailure(f"The agent {what}.")


def _start(folder: Path, limits: Limits, command: list[str], log: Any) -> tuple[subprocess.Popen[bytes], str]:
    """Start a command in a fresh sandbox; returns its process and the empty folder that its root is mounted over."""
    root, user = tempfile.mkdtemp(prefix="sandbox-"), str(FIRST_USER + secrets.randbelow(USERS))
    new = ("--mount", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts")
    limited = [
        *("prlimit", f"--as={limits.memory}", f"--cpu={int(limits.total) + 1}", f"--nproc={limits.processes}"),
        *(f"--fsize={limits.log}", "--nofile=256", "--core=0"),
    ]
    alone = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
    alone += ["--inh-caps=-all", "--bounding-set=-all"]
    outer = ["unshare", *new, "sh", "-c", SCRIPT, "sandbox"]
    process = subprocess.Popen(
        [*outer, root, str(limits.scratch), str(folder), *_visible(), "--", *limited, *alone, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/scratch",
            "TMPDIR": "/scratch",
            "LANG": "C.UTF-8",
            **{f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")},
        },
        start_new_session=True,
        cwd="/",
    )
    return process, root


def _visible() -> list[str]:
    """Return what an agent sees of this machine, read-only: system libraries, Python, its packages, and valuegym."""
    packages = [valuegym, valuegym.envs, valuegym.agents, valuegym.leaderboards]
    ours = [
        path for package in packages for path in (Path(package.__file__ or ""), Path(package.__file__ or "").resolve())
    ]
    python = [sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()]
    python += [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    found = [*SYSTEM, *python, *(str(path.parent) for path in ours)]
    seen: list[str] = []
    for path in sorted({path for path in found if os.path.lexists(path)}):
        if not any(path == other or (path.startswith(f"{other}/") and not os.path.islink(other)) for other in seen):
            seen.append(path)
    return seen
