"""Executors agree to the bit, retry what died, and a run that is killed at any moment ends as if it had not been."""

from __future__ import annotations

import importlib.util
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from valuegym.leaderboards import executors
from valuegym.leaderboards.cli import main as cli
from valuegym.leaderboards.cli import play
from valuegym.leaderboards.executors import parallel_map

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
    if kind == "fails":
        raise ValueError(f"item {number} is bad")
    return number**2


@pytest.mark.parametrize("name", ALL)
def test_results_come_in_order(name: str) -> None:
    assert parallel_map(math.sqrt, [16, 9, 4, 1], 2, "roots", name) == [4, 3, 2, 1]
    assert parallel_map(math.sqrt, [], 2, "roots", name) == []


@pytest.mark.parametrize("name", ALL)
def test_the_first_error_is_raised_as_it_is(name: str, tmp_path: Path) -> None:
    kinds = ["", "fails", "", ""]
    with pytest.raises(ValueError, match=r"^item 1 is bad$"):
        parallel_map(fragile, [(str(tmp_path), i, kind) for i, kind in enumerate(kinds)], 1, "x", name)


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
    with pytest.raises(OSError, match=r"ended from outside 3 times at .*'always dies'"):
        for place, _ in executors.find(name)(fragile, items, 2):
            done.append(place)
    assert sorted(done) == [0, 2, 3, 4, 5]


def test_unknown_executors_are_named() -> None:
    with pytest.raises(ValueError, match=r"no executor 'magic'; expected one of \['serial', 'pool', 'ray'\]"):
        parallel_map(math.sqrt, [1], 1, "x", "magic")
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["run", "--all", "--executor", "magic"])


@pytest.mark.skipif(has_ray, reason="Ray is installed")
def test_without_ray_the_message_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"pip install 'valuegym\[ray\]'"):
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
