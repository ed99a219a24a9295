"""Executors: jobs run in this process, in fresh processes on this machine, or on a Ray cluster.

An executor takes a function, items and a number of workers, and yields (place of the item, result) as results come. The
function and the items must be picklable, and no result may depend on which process made it: then all executors agree
to the bit, because each computes with the same number of threads. An item that fails stops no other: when all are
through, `JobsFailed` names those that failed and why.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache, wraps
from multiprocessing import get_context
from typing import Any, NamedTuple

from valuegym.envs import extras

__all__ = [
    "EXECUTORS",
    "Failure",
    "JobsFailed",
    "fail_together",
    "find",
    "limited_threads",
    "parallel_map",
    "pool",
    "ray",
    "serial",
]

Executor = Callable[[Callable[[Any], Any], Sequence[Any], int], Iterator[tuple[int, Any]]]

RETRIES = 2  # of an item whose worker died, before its death is taken for the item's own doing
PLAIN = (ValueError, OSError, ImportError)  # errors whose message is a sentence for people


class Failure(NamedTuple):
    """Failure of an item, in words.

    Attributes:
        job: the item in words.
        reason: one sentence.
        traceback: of the error, "" where its process died.
    """

    job: str
    reason: str
    traceback: str = ""


class JobsFailed(Exception):
    """Raised when all jobs are through and some failed; the message names each of these with its reason.

    Attributes:
        failures: of the jobs that failed, in the order of the jobs.
        jobs: how many there were.
    """

    def __init__(self, failures: Sequence[Failure], jobs: int) -> None:
        """Word the message: one line for a single failure, else a line for each."""
        self.failures, self.jobs = tuple(failures), jobs
        kept = f" The other {jobs - len(failures)} are finished and kept." if len(failures) < jobs else ""
        lines = [f"{one.job} failed: {one.reason}" for one in failures]
        super().__init__(
            f"{lines[0]}{kept}"
            if len(lines) == 1
            else "\n  ".join((f"{len(lines)} of {jobs} jobs failed.{kept}", *lines))
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by what it was made of."""
        return type(self), (self.failures, self.jobs)


def fail_together(executor: Executor) -> Executor:
    """Let an executor that yields a `Failure` for an item without a result raise them all after the last item."""

    @wraps(executor)
    def results(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
        failures: dict[int, Failure] = {}
        for place, outcome in executor(function, items, workers):
            if isinstance(outcome, Failure):
                failures[place] = outcome
            else:
                yield place, outcome
        if failures:
            raise JobsFailed([failures[place] for place in sorted(failures)], len(items))

    return results


@fail_together
def serial(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Run items one after another in this process; the number of workers does not matter.

    Raises:
        JobsFailed: when all are through and some failed.
    """
    for place, item in enumerate(items):
        yield place, _attempt(function, item)


@fail_together
def pool(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Run items in fresh processes (spawned, never forked: threads and open files do not go with them).

    Where a process dies, what was being worked on is tried again when all else is done, one at a time, so that an item
    that kills its worker takes no other with it. An item that was alone when its workers died, more than RETRIES times,
    has failed.

    Raises:
        JobsFailed: when all are through and some failed.
        OSError: where processes die before they work on anything.
    """
    waiting, suspects, deaths = deque(range(len(items))), deque[int](), [0] * len(items)
    died = False
    while waiting or suspects:
        line, width = (waiting, workers) if waiting else (suspects, 1)
        running: dict[Future[Any], int] = {}
        with ProcessPoolExecutor(width, mp_context=get_context("spawn")) as crew:
            try:
                if died:
                    _begin(crew)
                yield from _keep_busy(crew, function, items, line, running, width)
            except BrokenProcessPool:
                died = True
                for future, place in running.items():
                    if future.done() and not isinstance(future.exception(), BrokenProcessPool):
                        yield place, _outcome(future, items[place])
                        continue
                    deaths[place] += width == 1  # among several nobody knows whose doing it was
                    if deaths[place] > RETRIES:
                        yield place, Failure(_words(items[place]), _died(deaths[place]))
                    else:
                        suspects.append(place)
            except BaseException:
                crew.shutdown(cancel_futures=True)
                raise


def _keep_busy(
    crew: ProcessPoolExecutor,
    function: Callable[[Any], Any],
    items: Sequence[Any],
    line: deque[int],
    running: dict[Future[Any], int],
    width: int,
) -> Iterator[tuple[int, Any]]:
    """Work through a line of places with so many at once; `line` and `running` hold at any time what is not done.

    Raises:
        BrokenProcessPool: a process died.
        KeyboardInterrupt: a process was interrupted.
    """
    while line or running:
        while line and len(running) < width:
            running[crew.submit(_attempt, function, items[line[0]])] = line[0]
            line.popleft()
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            outcome = _outcome(future, items[running[future]])
            yield running.pop(future), outcome


def _begin(crew: ProcessPoolExecutor) -> None:
    """Wait until a process is ready for work.

    Raises:
        OSError: it died before.
    """
    try:
        crew.submit(os.getpid).result()
    except BrokenProcessPool:
        raise OSError(
            "Worker processes die before they work on anything; perhaps the script that started them begins its work "
            'outside of `if __name__ == "__main__":`.'
        ) from None


def _outcome(future: Future[Any], item: Any) -> Any:
    """Return the result of an item, or the failure to hand over the item or its result.

    Raises:
        BrokenProcessPool: the process died.
        KeyboardInterrupt: the process was interrupted.
    """
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, BrokenProcessPool) or not isinstance(error, Exception):
        raise error
    return _failure(item, error)


@fail_together
def ray(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Run items on a Ray cluster: the one that RAY_ADDRESS names, else one of `workers` processors started here.

    Every node needs valuegym and the folder that the function writes to, under the same path. An item that Ray loses
    with its worker, its node, its memory or its result is tried again RETRIES times; after that it has failed.

    Raises:
        ImportError: where Ray is not installed.
        JobsFailed: when all are through and some failed.
        OSError: where the cluster itself is gone.
    """
    engine = _engine()
    started_here = not engine.is_initialized()
    if started_here:
        _start(engine, workers)
    remote = engine.remote(num_cpus=1, max_retries=0)(_attempt)  # they are counted here, whatever was lost
    width = 8 * max(workers, int(engine.cluster_resources().get("CPU", 1)))  # no worker waits for this process
    line, losses = deque(range(len(items))), [0] * len(items)
    running: dict[Any, int] = {}
    try:
        while line or running:
            while line and len(running) < width:
                place = line.popleft()
                running[remote.remote(function, items[place])] = place
            engine.wait(list(running), num_returns=1)
            for finished in engine.wait(list(running), num_returns=len(running), timeout=0)[0]:
                place = running.pop(finished)
                try:
                    yield place, _fetch(engine, finished, items[place])
                except engine.exceptions.RayError as error:
                    losses[place] += 1
                    if losses[place] <= RETRIES:
                        line.append(place)
                    else:
                        yield place, Failure(_words(items[place]), _lost(error, losses[place]))
    except engine.exceptions.RayError as error:
        raise OSError(f"The Ray cluster is gone ({_words(error)}); what is finished is kept.") from None
    finally:
        for unfinished in running:
            engine.cancel(unfinished, force=True)
        if started_here:
            engine.shutdown()


def _engine() -> Any:
    """Return the module of Ray.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ImportError(f"The executor ray needs Ray: {extras.hint('ray')} ({error}).") from error


def _start(engine: Any, workers: int) -> None:
    """Join the cluster that RAY_ADDRESS names, or start one of `workers` processors here."""
    alone = not os.environ.get("RAY_ADDRESS")
    local = {"address": "local", "num_cpus": workers, "include_dashboard": False} if alone else {}
    variables = {"OMP_NUM_THREADS": str(_threads())}
    engine.init(log_to_driver=False, logging_level="error", runtime_env={"env_vars": variables}, **local)


def _fetch(engine: Any, finished: Any, item: Any) -> Any:
    """Return the result of an item from Ray, or the failure to hand it over.

    Raises:
        RayError: it was lost.
    """
    try:
        return engine.get(finished)
    except engine.exceptions.RayTaskError as error:
        return _failure(item, error.cause if isinstance(error.cause, Exception) else error)


EXECUTORS: dict[str, Executor] = {"serial": serial, "pool": pool, "ray": ray}


def find(name: str) -> Executor:
    """Return the executor of this name.

    Raises:
        ValueError: for an unknown name; it lists the names there are.
    """
    if name not in EXECUTORS:
        raise ValueError(f"There is no executor {name!r}; expected one of {list(EXECUTORS)}.")
    return EXECUTORS[name]


def _attempt(function: Callable[[Any], Any], item: Any) -> Any:
    """Return a function's result, or how it failed: as text, because not every error survives a way between processes.

    Whatever it raises, `sys.exit` and cancellation among it, it has failed; an interruption ends everything.
    """
    try:
        with limited_threads():
            return function(item)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _failure(item, error)


def _failure(item: Any, error: BaseException) -> Failure:
    """Say how an item failed: by the sentence of an error that has one, else with its type and its place."""
    said, kind = _message(error), type(error).__name__
    lines = _encodable("".join(traceback.format_exception(error)))
    if isinstance(error, PLAIN) and said:
        return Failure(_words(item), said, lines)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return Failure(_words(item), f"{kind}{f': {said}' if said else ''}{where}", lines)


def _words(item: Any) -> str:
    return _encodable(" ".join(str(item).split())[:200])


def _message(error: BaseException) -> str:
    """Return what an error says, on one line; "" where it cannot say it."""
    try:
        return _encodable(" ".join(str(error).split())[:1000])
    except Exception:
        return ""


def _encodable(text: str) -> str:
    """Return a text that every file and terminal in UTF-8 takes: names of files may hold half of a character."""
    return text.encode("utf-8", "backslashreplace").decode()


def _died(times: int) -> str:
    return f"a worker process was ended from outside {times} times, perhaps for lack of memory."


def _lost(error: BaseException, times: int) -> str:
    """Say what Ray lost, by its kind and the first line of what Ray says."""
    said = next(iter(str(error).split("\n")), "").strip()[:300]
    return f"Ray lost it {times} times, at last by {type(error).__name__}{f': {said}' if said else ''}"


# --- threads ---


def _threads() -> int:
    """Return how many threads a job computes with: OMP_NUM_THREADS, 1 where that says nothing."""
    named = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(named) if named.isdigit() and int(named) else 1


@contextmanager
def limited_threads() -> Iterator[None]:
    """Compute with as many threads as OMP_NUM_THREADS says, by default one, whatever numpy was started with.

    Sums over several threads differ in their last bits from sums over one. Libraries that are loaded meanwhile read the
    variables; OpenBLAS, which numpy and scipy bring, and torch are set where they are loaded already. Other linear
    algebra keeps what it was started with.
    """
    threads, names = _threads(), ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    knobs = [(set_threads, get()) for get, set_threads in _thread_knobs()]
    try:
        os.environ.update({name: str(threads) for name in names})
        for set_threads, _ in knobs:
            set_threads(threads)
        yield
    finally:
        for set_threads, number in knobs:
            set_threads(number)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _thread_knobs() -> Iterator[tuple[Callable[[], int], Callable[[int], Any]]]:
    """Yield functions that get and set the number of threads of each library that is loaded."""
    for module in ("numpy.linalg._umath_linalg", "scipy.linalg._fblas"):
        file = getattr(sys.modules.get(module), "__file__", None)
        found = _openblas_knobs(file) if file else None
        if found:
            yield found
    if "torch" in sys.modules:
        torch = importlib.import_module("torch")
        yield torch.get_num_threads, torch.set_num_threads


@cache
def _openblas_knobs(file: str) -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """Return the two functions of the OpenBLAS that a loaded extension is linked to, None where it is to none."""
    library = ctypes.CDLL(file)
    for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
        get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
        if get is not None:
            return get, getattr(library, f"{prefix}openblas_set_num_threads{suffix}")
    return None


def parallel_map(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int, label: str, executor: str = "pool"
) -> list[Any]:
    """Return the results of a function over items, in order, by an executor, under a progress bar if it has a label.

    Raises:
        ValueError: for an unknown executor.
        ImportError: where Ray is asked for and not installed.
        OSError: where worker processes die before they work on anything, or a Ray cluster is gone.
        JobsFailed: when all items are through and some failed.
    """
    from tqdm import tqdm

    results: list[Any] = [None] * len(items)
    with tqdm(total=len(items), desc=label, unit="run", dynamic_ncols=True, disable=not items or not label) as bar:
        for place, result in find(executor)(function, items, workers) if items else ():
            results[place] = result
            bar.update()
    return results
