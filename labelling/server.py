"""The server of a study: its pages at one port of this machine, and a learner beside them.

`python -m valuegym.labelling.server FOLDER PORT` serves until its standard input is closed.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from valuegym.envs import checks
from valuegym.envs.array_files import optional_module
from valuegym.labelling.learner import learner_of
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import Study
from valuegym.labelling.worker import end_with_input

__all__ = ["ADDRESS", "LabelServer", "child", "main", "serve"]

ADDRESS = "127.0.0.1"
PURPOSE = "to let people label"
SWITCH = 0.0005  # seconds after which a thread gives way: pages are short, and the writer waits for its turn ten times


@contextlib.contextmanager
def child(module: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a module in a process of its own, which ends at the end of the block, or with this process, however it ends.

    The module has to end when its standard input is closed (`worker.end_with_input`).
    """
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


class LabelServer:
    """A server of the pages of a study, in a thread or in this one.

    Args:
        folder: of the study.
        port: from 0 to 65535; 0 takes one that is free.
        address: to listen at; other than 127.0.0.1 only behind a proxy that speaks HTTPS, because tokens travel as they
            are.
        hosts: names by which the server may be reached besides those of the loopback address.
        secure: whether cookies are sent over HTTPS alone.

    Attributes:
        url: where it listens.
        pages: the application.

    Raises:
        ModuleNotFoundError: starlette, uvicorn or jinja2 is not installed.
        FileNotFoundError: there is no study in the folder.
        ValueError: an argument or a file of the study is not as it should be.
        OSError: the port is taken.
    """

    def __init__(
        self,
        folder: str | Path,
        port: int = 0,
        address: str = ADDRESS,
        hosts: Iterable[str] = (),
        secure: bool = False,
    ) -> None:
        for module in ("jinja2", "starlette", "uvicorn"):
            optional_module(module, "label", PURPOSE)
        import uvicorn

        from valuegym.labelling.app import Pages

        checks.integer("port", port, 0, 65535)
        DatabaseFile(folder)  # so that a missing study is named before the port
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        # With the protocol named, asyncio switches Nagle's algorithm off; else every page waits 40 ms for the client.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        if os.name == "posix":  # elsewhere it would let another program take the port
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((address, port))
        except OSError as error:
            self._socket.close()
            raise OSError(f"Cannot listen at {address}, port {port} ({error.strerror}); choose another port.") from None
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{f'[{address}]' if ':' in address else address}:{self.port}"
        try:
            self.pages = Pages(folder, self.port, hosts, secure)
        except BaseException:
            self._socket.close()
            raise
        config = uvicorn.Config(
            self.pages.asgi,
            access_log=False,
            server_header=False,
            log_level="warning",
            lifespan="off",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
            limit_concurrency=1000,
            h11_max_incomplete_event_size=16_384,
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Serve until `close`, or until an interruption."""
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Serve in a thread of this process, which ends with it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self.serve, name="valuegym-label", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop serving; what is stored stays."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._socket.close()
        self.pages.close()


def serve(
    folder: str | Path,
    port: int,
    address: str = ADDRESS,
    hosts: Iterable[str] = (),
    secure: bool = False,
    watch: Callable[[LabelServer], Any] = lambda server: None,
) -> None:
    """Serve a study with its learner until an interruption, in a process that does nothing else.

    `watch` is called with the server before the first request.

    Raises:
        ModuleNotFoundError: a package of the extra is not installed.
        ImportError: the learner needs torch, which is not installed.
        FileNotFoundError: there is no study in the folder.
        ValueError: an argument or a file of the study is not as it should be.
        OSError: the port is taken.
    """
    sys.setswitchinterval(SWITCH)
    server = LabelServer(folder, port, address, hosts, secure)
    learns = learner_of(Study.read(Path(folder))) is not None
    with contextlib.closing(server), contextlib.ExitStack() as stack:
        if learns:
            stack.enter_context(child("valuegym.labelling.worker", str(folder)))
        watch(server)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve()


def main(arguments: list[str] | None = None) -> int:
    """Serve the study in a folder at a port until the standard input is closed."""
    folder, port = sys.argv[1:] if arguments is None else arguments
    end_with_input()
    serve(folder, int(port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
