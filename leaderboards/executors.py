"""Executors: jobs run in this process, in fresh processes on this machine, or on a Ray cluster.

An executor takes a function, items and a number of workers, and yields (place of the item, result) as results come. The
function and the items must be picklable, and no result may depend on which process made it: then all executors agree
to the bit. The first error of the function is raised; what finished before stays finished.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

__all__ = ["EXECUTORS", "find", "parallel_map", "pool", "ray", "serial"]

Executor = Callable[[Callable[[Any], Any], Sequence[Any], int], Iterator[tuple[int, Any]]]

RETRIES = 2  # of an item whose worker died, before its death is taken for the item's own doing


def serial(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Run items one after another in this process; the number of workers does not matter."""
    for place, item in enumerate(items):
        yield place, function(item)


def pool(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Run items in fresh processes (spawned, never forked: threads and open files do not go with them).

    Where a process dies, what was being worked on is tried again when all else is done, one at a time, so that an item
    that kills its worker takes no other with it.

    Raises:
        OSError: for an item that was alone when its workers died, more than RETRIES times.
    """
    waiting, suspects, deaths = deque(range(len(items))), deque[int](), [0] * len(items)
    while waiting or suspects:
        line, width = (waiting, workers) if waiting else (suspects, 1)
        running: dict[Future[Any], int] = {}
        with ProcessPoolExecutor(width, mp_context=get_context("spawn")) as crew:
            try:
                while line or running:
                    while line and len(running) < width:
                        running[crew.submit(function, items[line[0]])] = line[0]
                        line.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future), result
            except BrokenProcessPool:
                for future, place in running.items():
                    if future.done() and future.exception() is None:
                        yield place, future.result()
                        continue
                    deaths[place] += width == 1  # among several nobody knows whose doing it was
                    if deaths[place] > RETRIES:
                        raise OSError(_died(items[place], deaths[place])) from None
                    suspects.append(place)
            except BaseException:
                crew.shutdown(cancel_futures=True)
                raise


def ray(function: Callable[[Any], Any], items: Sequence[Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Run items on a Ray cluster: the one that RAY_ADDRESS names, else one of `workers` processors started here.

    Every node needs valuegym and the folder that the function writes to, under the same path.

    Raises:
        ImportError: where Ray is not installed.
        OSError: for an item whose workers died more than RETRIES times.
    """
    try:
        import ray as engine
    except ImportError as error:
        raise ImportError(f"The executor ray needs Ray: pip install 'valuegym[ray]' ({error}).") from error
    started_here = not engine.is_initialized()
    if started_here:
        alone = not os.environ.get("RAY_ADDRESS")
        local = {"address": "local", "num_cpus": workers, "include_dashboard": False} if alone else {}
        variables = {"OMP_NUM_THREADS": "1"}
        engine.init(log_to_driver=False, logging_level="error", runtime_env={"env_vars": variables}, **local)
    remote = engine.remote(num_cpus=1, max_retries=RETRIES)(_call)
    width = 8 * max(workers, int(engine.cluster_resources().get("CPU", 1)))  # no worker waits for this process
    line = deque(range(len(items)))
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
                    yield place, engine.get(finished)
                except engine.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, Exception) else error from None
                except engine.exceptions.WorkerCrashedError:
                    raise OSError(_died(items[place], RETRIES + 1)) from None
    finally:
        for unfinished in running:
            engine.cancel(unfinished, force=True)
        if started_here:
            engine.shutdown()


EXECUTORS: dict[str, Executor] = {"serial": serial, "pool": pool, "ray": ray}


def find(name: str) -> Executor:
    """Return the executor of this name.

    Raises:
        ValueError: for an unknown name; it lists the names there are.
    """
    if name not in EXECUTORS:
        raise ValueError(f"There is no executor {name!r}; expected one of {list(EXECUTORS)}.")
    return EXECUTORS[name]


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _died(item: Any, times: int) -> str:
    return (
        f"A worker process was ended from outside {times} times at {str(item)[:200]}, perhaps for lack of memory; "
        "finished runs are kept."
    )


def parallel_map(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int, label: str, executor: str = "pool"
) -> list[Any]:
    """Return the results of a function over items, in order, by an executor, under a progress bar.

    The first error stops what has not begun and is raised; what finished before stays finished.

    Raises:
        ValueError: for an unknown executor.
        OSError: where worker processes die again and again.
    """
    from tqdm import tqdm

    results: list[Any] = [None] * len(items)
    with tqdm(total=len(items), desc=label, unit="run", dynamic_ncols=True, disable=not items) as bar:
        for place, result in find(executor)(function, items, workers) if items else ():
            results[place] = result
            bar.update()
    return results
