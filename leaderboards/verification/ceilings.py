"""Ceilings of memory and processor time for what a stranger's file makes a process do."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["MEMORY", "SECONDS", "CeilingReached", "ceilings"]

MEMORY = 4 * 2**30  # bytes that a process may take besides what it has
SECONDS = 900.0  # of the processor's time


class CeilingReached(Exception):
    """Raised where verifying a file would take more memory or time than any honest file needs.

    It is no ValueError: whoever takes those for the fault of one record would go on with the next, without a limit.
    """


@contextlib.contextmanager
def ceilings(memory: int | None = None, seconds: float | None = None) -> Iterator[None]:
    """Limit the memory and the processor time of what is done inside, and restore the limits afterwards.

    Time is limited in the main thread of a process only; on systems without such limits there are none.

    Args:
        memory: bytes besides those that the process has; by default MEMORY.
        seconds: of the processor's time; by default SECONDS.

    Raises:
        CeilingReached: a ceiling was reached; the message says which.
    """
    memory, seconds = MEMORY if memory is None else memory, SECONDS if seconds is None else seconds

    def stop(number: int, frame: FrameType | None) -> None:
        raise CeilingReached(f"it takes more than {seconds:g} s of the processor's time to verify, which is the limit.")

    try:
        with _memory_limit(memory), _timer(stop, seconds):
            yield
    except MemoryError:
        raise CeilingReached(
            f"it takes more than {memory / 2**30:g} GiB of memory to verify, which is the limit."
        ) from None


@contextlib.contextmanager
def _memory_limit(memory: int) -> Iterator[None]:
    """Let this process take so many bytes of address space more than it has."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:
            taken = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = taken + memory
    if soft != resource.RLIM_INFINITY:
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _timer(stop: signal.Handlers | object, seconds: float) -> Iterator[None]:
    """Call a handler after so many seconds of the processor's time, in the main thread."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)  # and again, should something take the first for its own
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
