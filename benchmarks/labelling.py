"""Load on the pages of `valuegym label`: people who answer at the same time, on this machine.

    python -m benchmarks.labelling                       # 50 people for a minute, each a second over a pair
    python -m benchmarks.labelling --think 0             # as fast as the server goes

Every client keeps one connection, loads the page of its pair and both films, thinks, and sends its answer. What it
measures are the milliseconds from sending an answer to its reply, when the answer is on the disk, and from asking for
the page to its last byte; then it compares the answers that were acknowledged with those in the store.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np

from valuegym.envs.feedback.segments import Segments
from valuegym.envs.preference import delivery
from valuegym.envs.preference.segments import follow
from valuegym.labelling import store
from valuegym.labelling.pool import drawn_pairs
from valuegym.labelling.server import child
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import Study

__all__ = ["Client", "Load", "main", "measure"]

PAIRS, SIDE = 400, 96  # pairs of the study, and pixels along a side of a picture
CHOICES = ("left", "right", "same", "unsure")


class Load(NamedTuple):
    """Milliseconds of all answers and pages, and what became of the answers.

    Attributes:
        answers: milliseconds of each.
        pages: milliseconds of each.
        lost: answers that were acknowledged and are not in the store, or are there otherwise.
        doubled: pairs that one person has answered twice.
        refused: replies that were no redirection.
    """

    answers: np.ndarray
    pages: np.ndarray
    lost: int
    doubled: int
    refused: int


class Client:
    """A person: one connection, which is kept open."""

    def __init__(self, port: int, token: str, think: float, seed: int) -> None:
        self.port, self.token, self.think = port, token, think
        self.rng = np.random.default_rng(seed)
        self.acknowledged: dict[int, str] = {}
        self.answers: list[float] = []
        self.pages: list[float] = []
        self.refused = 0

    async def _request(self, method: str, path: str, fields: dict[str, str] | None = None) -> tuple[int, str, bytes]:
        """Return status, the header Location and the body of a reply."""
        body = urlencode(fields or {}).encode()
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: 127.0.0.1:{self.port}",
            f"Cookie: valuegym_label={self.token}",
            "Content-Type: application/x-www-form-urlencoded",
            f"Content-Length: {len(body)}",
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        [length] = re.findall(r"(?i)^content-length: (\d+)", head, re.M)
        where = re.findall(r"(?im)^location: (\S+)", head)
        return int(head.split()[1]), where[0] if where else "", await self.reader.readexactly(int(length))

    async def run(self, until: float) -> None:
        """Answer pairs until a moment of `time.monotonic`."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        await asyncio.sleep(self.think * self.rng.random())
        while time.monotonic() < until:
            start = time.perf_counter()
            _, _, body = await self._request("GET", "/label")
            self.pages.append(1000 * (time.perf_counter() - start))
            page = body.decode()
            found = re.search(r'name="mark" value="(\w+)"><input type="hidden" name="item" value="(\d+)"', page)
            if found is None:
                break  # no pair is left
            for film in re.findall(r'src="(/films/\w+)"', page):
                await self._request("GET", film)
            await asyncio.sleep(self.think)
            choice = str(self.rng.choice(CHOICES))
            fields = {"mark": found[1], "item": found[2], "choice": choice}
            start = time.perf_counter()
            status, _, _ = await self._request("POST", "/answer", fields)
            self.answers.append(1000 * (time.perf_counter() - start))
            if status == 303:
                self.acknowledged[int(found[2])] = choice
            else:
                self.refused += 1
        self.writer.close()
        await self.writer.wait_closed()


def _study(folder: Path, people: int) -> list[str]:
    """Make a study in a folder, with people who have come to the pairs; return their tokens."""
    process = delivery.board_mdp(np.array(delivery.BOARD)[None])
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(2):
        cells = rng.choice(np.flatnonzero(process.start[0]), PAIRS)
        states, actions, _, mask = follow(process, cells[None], rng.integers(4, size=(1, PAIRS, 3)))
        sides.append(Segments(states[0], actions[0], lengths=mask[0].sum(-1)))

    def draw(segment: Segments) -> list[np.ndarray]:
        frames = np.zeros((int(segment.lengths[0]) + 1, SIDE, SIDE, 3), np.uint8)
        for frame, cell in zip(frames, np.ravel(segment.observations), strict=False):
            row, column = divmod(int(cell), 10)
            frame[9 * row : 9 * row + 9, 9 * column : 9 * column + 9] = 200
        return list(frames)

    study = Study(
        environment="valuegym/Delivery-v0",
        play_steps=0,
        check_every=0,
        break_every=0,
        pairs_per_person=10**6,
        answers_per_pair=people,
        answers_per_second=1e6,
    )
    films, pairs = drawn_pairs(*sides, study, draw)
    database = DatabaseFile(folder, create=True)
    study.write(folder)
    with database.change() as connection:
        store.add_films(connection, films)
        store.add_pairs(connection, pairs, rng)
        tokens = [store.invite(connection, study)[1] for _ in range(people)]
        connection.execute("UPDATE people SET stage = 'label'")
    return tokens


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def measure(folder: Path, people: int = 50, seconds: float = 60.0, think: float = 1.0) -> Load:
    """Let people answer pairs of a new study in an empty folder for some seconds, each after some seconds of thinking.

    Raises:
        RuntimeError: the server does not start.
    """
    tokens = _study(folder, people)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with child("valuegym.labelling.server", str(folder), str(port)) as server:
        begun = time.monotonic()
        while not _listens(port):
            if time.monotonic() > begun + 60 or server.poll() is not None:
                raise RuntimeError("The server does not start.")
            time.sleep(0.1)

        async def everybody() -> list[Client]:
            clients = [Client(port, token, think, seed) for seed, token in enumerate(tokens)]
            until = time.monotonic() + seconds
            await asyncio.gather(*(client.run(until) for client in clients))
            return clients

        clients = asyncio.run(everybody())
        server.kill()
    return _compare(folder, clients)


def _compare(folder: Path, clients: list[Client]) -> Load:
    """Compare what was acknowledged with what is stored, after the server was killed."""
    lost = doubled = 0
    with DatabaseFile(folder).look() as connection:
        for person, client in zip(store.people(connection), clients, strict=True):
            rows = connection.execute(
                "SELECT n, pair, choice FROM items WHERE person = ? AND choice IS NOT NULL", (person.id,)
            ).fetchall()
            stored = {n: choice for n, _, choice in rows}
            lost += sum(stored.get(n) != choice for n, choice in client.acknowledged.items())
            doubled += sum(count > 1 for count in Counter(pair for _, pair, _ in rows).values())
            doubled += len(set(stored) - set(client.acknowledged)) > 1  # one may have been on its way
    return Load(
        np.concatenate([client.answers for client in clients]),
        np.concatenate([client.pages for client in clients]),
        lost,
        doubled,
        sum(client.refused for client in clients),
    )


def _times(name: str, milliseconds: np.ndarray) -> str:
    middle, high, highest = np.percentile(milliseconds, (50, 95, 100))
    return f"{name:<8}{len(milliseconds):>7}  median {middle:6.1f} ms  95% {high:6.1f} ms  most {highest:6.1f} ms"


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--think", type=float, default=1.0, help="seconds over each pair")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        load = measure(Path(folder), args.people, args.seconds, args.think)
    print(f"{args.people} people, {args.seconds:g} s, {args.think:g} s over each pair")
    print(_times("answers", load.answers))
    print(_times("pages", load.pages))
    print(f"lost {load.lost}, doubled {load.doubled}, refused {load.refused}")


if __name__ == "__main__":
    main()
