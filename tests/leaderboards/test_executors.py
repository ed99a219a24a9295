"""Executors agree to the bit, retry what died, and a run that is killed at any moment ends as if it had not been."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import itertools
import math
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from valuegym.leaderboards import executors
from valuegym.leaderboards.cli import main as cli
from valuegym.leaderboards.cli import play
from valuegym.leaderboards.executors import JobsFailed, limited_threads, parallel_map

has_ray = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not has_ray, reason="needs Ray: valuegym[ray]")
kills = pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
ALL = ["serial", "pool", pytest.param("ray", marks=[needs_ray, pytest.mark.slow])]  # Ray takes ten seconds to start


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all tests: Ray writes its token there once for each process."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[None]:
    """No cluster of whoever runs the tests is used, and Ray's token is not written to their home.

    Workers find this module, which pytest alone does not put on their path.
    """
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("HOME", str(home))
    yield


def fragile(item: tuple[str, int, str]) -> int:
    """Dies as often as told, counting its deaths in a file; then the square."""
    folder, number, kind = item
    times = {"dies once": 1, "dies twice": 2, "always dies": 99}.get(kind, 0)
    for i in range(times):
        mark = Path(folder) / f"{number}-{i}"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return number**2


@pytest.mark.parametrize("name", ALL)
def test_results_come_in_order(name: str) -> None:
    assert parallel_map(math.sqrt, [16, 9, 4, 1], 2, "roots", name) == [4, 3, 2, 1]
    assert parallel_map(math.sqrt, [], 2, "roots", name) == []


class Unspeakable(Exception):
    """An error that cannot be made again from its message, so that it does not survive a way between processes."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Unpicklable(Exception):
    """An error that holds what cannot be sent to another process."""

    def __init__(self) -> None:
        super().__init__("no way out")
        self.inside = lambda: None


class Mute(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


FAILURES: dict[str, str] = {  # what a job does, and what is said of it
    "value": "item is bad",
    "import": "pip install it",
    "type": "TypeError: item is odd (test_executors.py, line ",
    "two arguments": "Unspeakable: this and that (test_executors.py, line ",
    "unpicklable error": "Unpicklable: no way out (test_executors.py, line ",
    "unpicklable result": "pickle",
    "exit": "SystemExit: 3 (test_executors.py, line ",
    "silence": "AssertionError (test_executors.py, line ",
    "lines": "one two",
    "mute": "Mute (test_executors.py, line ",
    "cancelled": "CancelledError (test_executors.py, line ",
    "generator": "GeneratorExit (test_executors.py, line ",
    "half a character": "\\ud800 is no name",
}


RAISED: dict[str, BaseException | type[BaseException]] = {
    "value": ValueError("item is bad"),
    "import": ImportError("pip install it"),
    "type": TypeError("item is odd"),
    "two arguments": Unspeakable("this", "that"),
    "unpicklable error": Unpicklable,
    "exit": SystemExit(3),
    "silence": AssertionError,
    "lines": OSError("one\n   two"),
    "mute": Mute,
    "cancelled": asyncio.CancelledError,
    "generator": GeneratorExit,
    "half a character": ValueError("\ud800 is no name"),
}


def careless(item: str) -> Any:
    """Fails in the way that it names; else itself."""
    if item in RAISED:
        raise RAISED[item]
    return threading.Lock() if item == "unpicklable result" else item


@pytest.mark.parametrize("name", ALL)
def test_jobs_that_fail_are_named_and_all_others_finish(name: str) -> None:
    """In the order of the jobs, with one line each and the error's traceback."""
    kinds = [kind for kind in FAILURES if name != "serial" or kind != "unpicklable result"]
    items = [part for kind in kinds for part in (kind, f"after {kind}")]
    done = []
    with pytest.raises(JobsFailed) as caught:
        for place, result in executors.find(name)(careless, items, 2):
            done.append((place, result))
    assert sorted(done) == [(place, item) for place, item in enumerate(items) if item.startswith("after ")]
    assert [failure.job for failure in caught.value.failures] == kinds and caught.value.jobs == len(items)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(kinds)} of {len(items)} jobs failed. The other {len(kinds)} are finished and kept."
    for kind, line, failure in zip(kinds, lines, caught.value.failures, strict=True):
        assert line.startswith(f"  {kind} failed: ") and FAILURES[kind] in line and line.isprintable()
        assert failure.traceback
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value) and again.failures == caught.value.failures


@pytest.mark.parametrize("name", ALL)
def test_a_single_failure_is_one_line(name: str) -> None:
    with pytest.raises(JobsFailed, match=r"^value failed: item is bad$"):
        parallel_map(careless, ["value"], 2, "x", name)
    with pytest.raises(JobsFailed, match=r"^value failed: item is bad The other 2 are finished and kept\.$"):
        parallel_map(careless, ["a", "value", "b"], 2, "x", name)


def interrupted(item: int) -> int:
    """Is stopped by whoever started it."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ALL[:2])
def test_an_interruption_is_no_failure(name: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        parallel_map(interrupted, [1, 2], 1, "x", name)


def test_processes_that_cannot_begin_are_not_tried_for_every_job(tmp_path: Path) -> None:
    """As those of a script without a guard: each would run the script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from valuegym.leaderboards.executors import parallel_map\n"
        "try:\n"
        "    parallel_map(abs, list(range(100)), 2, 'x')\n"
        "except OSError as error:\n"
        "    print(error)\n",
        encoding="utf-8",
    )
    found = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert "Worker processes die before they work on anything" in found.stdout


# --- threads ---


def product(size: int) -> tuple[str, int]:
    """Bits of sums that depend on the number of threads, by numpy and torch if there is any, and that number."""
    import numpy as np

    values = np.random.default_rng(0).normal(size=(size, size))
    found = hashlib.sha256((values @ values.T).tobytes() + np.linalg.solve(values, values).tobytes())
    threads = [get() for get, _ in executors._thread_knobs()]
    if importlib.util.find_spec("torch"):
        import torch

        found.update(torch.softmax(torch.from_numpy(values.astype(np.float32)), 0).sum(0).numpy().tobytes())
        threads.append(torch.get_num_threads())
    return found.hexdigest(), max(threads, default=1)


def test_serial_computes_with_as_many_threads_as_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One, whatever this process was started with, and so the same bits; and afterwards as many as before."""
    knobs = list(executors._thread_knobs())
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = [get() for get, _ in knobs]
    try:
        for _, set_threads in knobs:
            set_threads(2)
        [alone] = parallel_map(product, [300], 1, "x", "serial")
        assert [get() for get, _ in knobs] == [2] * len(knobs)
        [apart] = parallel_map(product, [300], 1, "x", "pool")
        assert alone == apart and alone[1] == 1
        assert "OMP_NUM_THREADS" not in os.environ
        monkeypatch.setenv("OMP_NUM_THREADS", "3,1")
        with limited_threads():
            assert all(get() == 3 for get, _ in knobs) and os.environ["OMP_NUM_THREADS"] == "3"
        assert os.environ["OMP_NUM_THREADS"] == "3,1"
    finally:
        for (_, set_threads), number in zip(knobs, before, strict=True):
            set_threads(number)


# --- workers that die ---


@kills
@pytest.mark.parametrize("name", ALL[1:])
def test_workers_that_die_are_replaced(name: str, tmp_path: Path) -> None:
    kinds = ["", "dies once", "", "dies twice", "", "dies once", ""]
    items = [(str(tmp_path), i, kind) for i, kind in enumerate(kinds)]
    assert parallel_map(fragile, items, 2, "x", name) == [i**2 for i in range(7)]
    assert len(list(tmp_path.glob("[0-9]-*"))) == 4


@kills
@pytest.mark.parametrize("name", ALL[1:])
def test_an_item_that_always_kills_its_worker_is_named(name: str, tmp_path: Path) -> None:
    """All others are finished before."""
    done = []
    items = [(str(tmp_path), i, "always dies" if i == 1 else "") for i in range(6)]
    with pytest.raises(JobsFailed, match=r"'always dies'\) failed: .*(ended from outside|Ray lost it) 3 times"):
        for place, _ in executors.find(name)(fragile, items, 2):
            done.append(place)
    assert sorted(done) == [0, 2, 3, 4, 5]


LOSSES = (
    "WorkerCrashedError",
    "NodeDiedError",
    "OutOfMemoryError",
    "ObjectLostError",
    "OwnerDiedError",
    "ObjectFetchTimedOutError",
    "ObjectReconstructionFailedError",
    "LocalRayletDiedError",
    "RuntimeEnvSetupError",
    "OutOfDiskError",
    "TaskUnschedulableError",
    "RaySystemError",
    "AnErrorOfALaterVersion",
)


class FakeRay(types.ModuleType):
    """What executors use of Ray, at once and in this process; `losses` has the errors by which it loses an item."""

    def __init__(self, losses: dict[Any, list[str]]) -> None:
        super().__init__("ray")
        self.exceptions = types.SimpleNamespace(RayError=type("RayError", (Exception,), {}))
        self.exceptions.RayTaskError = type("RayTaskError", (self.exceptions.RayError,), {"cause": None})
        self.lost_by = {name: type(name, (self.exceptions.RayError,), {}) for name in LOSSES}
        self.losses, self.started, self.waits = losses, False, 0

    def is_initialized(self) -> bool:
        return self.started

    def init(self, **arguments: Any) -> None:
        self.started = True

    def shutdown(self) -> None:
        self.started = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, **arguments: Any) -> Any:
        def wrap(function: Any) -> Any:
            return types.SimpleNamespace(remote=lambda *given: (next(self.counter), function, given))

        self.counter = itertools.count()
        return wrap

    def wait(self, running: list[Any], num_returns: int, timeout: float | None = None) -> tuple[list[Any], list[Any]]:
        if self.losses.get("cluster"):
            raise self.lost_by["RaySystemError"]("the head is gone")
        return running[:num_returns], running[num_returns:]

    def get(self, reference: Any) -> Any:
        _, function, (inner, item) = reference
        if self.losses.get(item):
            raise self.lost_by[self.losses[item].pop()]("lost\nwith more to read")
        return function(inner, item)

    def cancel(self, reference: Any, force: bool) -> None:
        return


def test_whatever_ray_loses_is_tried_again_and_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = list(FakeRay({}).lost_by)
    seldom = {i: kinds[i : i + 1] * 2 for i in range(len(kinds))}
    fake = FakeRay(seldom)
    monkeypatch.setitem(sys.modules, "ray", fake)
    assert parallel_map(math.sqrt, list(range(20)), 2, "x", "ray") == [math.sqrt(i) for i in range(20)]
    assert not fake.started and not any(seldom.values())
    fake = FakeRay({i: kinds[i : i + 1] * 3 for i in range(len(kinds))})
    monkeypatch.setitem(sys.modules, "ray", fake)
    done = []
    with pytest.raises(JobsFailed) as caught:
        for place, _ in executors.ray(math.sqrt, list(range(20)), 2):
            done.append(place)
    assert sorted(done) == list(range(len(kinds), 20)) and not fake.started
    assert [failure.reason for failure in caught.value.failures] == [
        f"Ray lost it 3 times, at last by {kind}: lost" for kind in kinds
    ]
    monkeypatch.setitem(sys.modules, "ray", FakeRay({"cluster": ["RaySystemError"]}))
    with pytest.raises(OSError, match=r"^The Ray cluster is gone \(the head is gone\); what is finished is kept"):
        parallel_map(math.sqrt, [1], 2, "x", "ray")


@needs_ray
def test_every_way_in_which_ray_loses_an_item_is_one_of_its_errors() -> None:
    from ray import exceptions

    lost = [found for found in exceptions.RAY_EXCEPTION_TYPES if found is not exceptions.RayTaskError]
    assert lost and all(issubclass(found, exceptions.RayError) for found in lost)


def test_unknown_executors_are_named() -> None:
    with pytest.raises(ValueError, match=r"no executor 'magic'; expected one of \['serial', 'pool', 'ray'\]"):
        parallel_map(math.sqrt, [1], 1, "x", "magic")
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["run", "--all", "--executor", "magic"])


@pytest.mark.skipif(has_ray, reason="Ray is installed")
def test_without_ray_the_message_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"pip install .*ray"):
        parallel_map(math.sqrt, [1], 1, "x", "ray")


def test_ray_is_imported_only_when_used() -> None:
    code = "import sys, valuegym.leaderboards.cli.main, valuegym.leaderboards.executors; print('ray' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_shards_are_a_partition(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(play, "run_all", lambda jobs, workers, executor: [job.path for job in jobs])

    def planned(*arguments: str) -> list[str]:
        assert cli.main(["run", "--experiment", "preference/delivery", *arguments]) == 0
        return capsys.readouterr().out.split()

    shards = [planned("--shard", f"{i}/4") for i in range(4)]
    assert (
        sorted(path for shard in shards for path in shard) == sorted(planned())
        and max(map(len, shards)) - min(map(len, shards)) <= 1
    )
    for bad in ("4/4", "-1/4", "1", "a/b", "0/0"):
        with pytest.raises(SystemExit):
            cli.main(["run", "--all", "--shard", bad])


# --- runs that are killed ---

SCRIPT = """
import sys

from valuegym.leaderboards import experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment

experiments.EXPERIMENTS.clear()
experiments.EXPERIMENTS["test/walk"] = Experiment(
    "test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform", "oracle"), 0, 2, tuple(range(SEEDS)), "return"
)
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def files(folder: Path) -> dict[str, bytes]:
    """The records of a folder; what a killed write left is none."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("seed-*.jsonl")}


def killed_often(folder: Path, jobs: int, moments: int, seed: int, executor: str = "pool") -> None:
    """Kill a run of that many jobs that often, each time at a random moment, and compare what it ends with."""
    rng = random.Random(seed)
    (folder / "script.py").write_text(SCRIPT.replace("SEEDS", str(jobs // 2)), encoding="utf-8")

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(folder / "script.py"), "run", "--all", "--workers", "2", "--executor", executor]
        return subprocess.Popen(
            [*command, "--results", str(folder / name)],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    cut = 0
    for _ in range(3 * moments):
        before, process = len(files(folder / "cut")), start("cut")
        wanted = before + rng.randrange(max(1, jobs // (moments + 1)))  # so that records are left for every moment
        give_up = time.monotonic() + 120
        while len(files(folder / "cut")) < wanted and process.poll() is None and time.monotonic() < give_up:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.05 if wanted > before else rng.random() * 3)
        if process.poll() is None:
            cut += 1
            os.killpg(process.pid, signal.SIGKILL)
        elif cut < moments:  # it was through before it could be killed: that was no moment, so begin again
            shutil.rmtree(folder / "cut")
        process.wait()
        if cut == moments:
            break
    assert cut == moments
    assert start("cut").wait() == 0
    assert start("whole").wait() == 0
    assert files(folder / "cut") == files(folder / "whole") and len(files(folder / "whole")) == jobs


@kills
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(tmp_path: Path) -> None:
    killed_often(tmp_path, 12, 2, 0, "serial")


@kills
@pytest.mark.slow
def test_a_run_of_two_hundred_jobs_killed_fifty_times(tmp_path: Path) -> None:
    killed_often(tmp_path, 200, 50, 1)


@kills
@needs_ray
@pytest.mark.slow
def test_runs_on_ray_give_the_same_bits_and_resume(tmp_path: Path) -> None:
    def run(name: str, executor: str) -> dict[str, bytes]:
        command = [sys.executable, "-m", "valuegym.leaderboards", "run", "--experiment", "preference/delivery"]
        command += ["--agent", "uniform", "--agent", "oracle", "--workers", "2", "--executor", executor]
        subprocess.run([*command, "--results", str(tmp_path / name)], check=True, capture_output=True)
        return files(tmp_path / name)

    expected = run("pool", "pool")
    assert run("ray", "ray") == expected and len(expected) == 10
    kept = tmp_path / "ray" / "preference" / "delivery" / "oracle" / "seed-1.jsonl"
    stamp = kept.stat().st_mtime_ns
    (kept.parent / "seed-2.jsonl").unlink()
    assert run("ray", "ray") == expected and kept.stat().st_mtime_ns == stamp
