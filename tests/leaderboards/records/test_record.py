"""Record files: written whole or not at all, read without trust."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from valuegym.leaderboards.records import record as records
from valuegym.leaderboards.records.record import (
    Episode,
    Record,
    RecordError,
    from_text,
    path_of,
    read_record,
    to_text,
    write_record,
)

BIG = 10**400  # an integer that JSON allows and no float holds


def make_record(**changes: Any) -> Record:
    episodes = [
        Episode(7, [2, 2, 2, 0, 0, 1], {"cell": [1, 2, 3, 4, 5, 6, 7], "move": [0] * 7}, True, False),
        Episode(8, [[0.5, -1.0], [0.5, -1.0], [0.1, 0.0]], {"x": [[0.1, 1 / 3]], "y": []}, False, True),
    ]
    record = {
        "agent": "some.agent-1_b",
        "experiment": "family/track",
        "seed": 3,
        "spec": {"id": "a/b-v0", "kwargs": {"core": "module:Class", "n": [1, 2]}, "max_episode_steps": None},
        "digest": "0" * 64,
        "provenance": {"source": "ab", "packages": {"numpy": "2"}},
        "episodes": episodes,
        "scores": [[0.25, 1.0], [1 / 3, -1]],
    }
    return Record(**(record | changes))


def seal(lines: list[Any]) -> str:
    """The text of a record with these lines (values, or text as it stands) and a fitting SHA-256, as a forger would."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    body = "".join(text + "\n" for text in texts[:-1])
    if isinstance(lines[-1], dict):
        texts[-1] = json.dumps(lines[-1] | {"sha256": hashlib.sha256(body.encode()).hexdigest()})
    return body + texts[-1] + "\n"


def parse(record: Record | None = None) -> list[Any]:
    return [json.loads(line) for line in to_text(record or make_record()).splitlines()]


def refused(text: str) -> str:
    """The sentence with which a text is refused."""
    with pytest.raises(RecordError) as error:
        from_text(text)
    sentence = str(error.value)
    assert sentence.endswith(".") and "\n" not in sentence and sentence.isprintable(), sentence
    assert len(sentence) < 1000
    return sentence


# --- writing ---


def test_a_record_survives_the_round_trip(tmp_path: Path) -> None:
    record = make_record()
    assert from_text(to_text(record)) == record
    write_record(tmp_path / "record.jsonl", record)
    assert read_record(tmp_path / "record.jsonl") == record
    assert (tmp_path / "record.jsonl").read_bytes() == to_text(record).encode()
    assert to_text(read_record(tmp_path / "record.jsonl")) == to_text(record)


def test_floats_survive_to_the_bit() -> None:
    values = [[0.1 + 0.2, 5e-324, 1.7976931348623157e308, -0.0]] * 2
    again = from_text(to_text(make_record(scores=values))).scores
    assert [[x.hex() for x in row] for row in again] == [[x.hex() for x in row] for row in values]


def test_the_seal_agrees_with_the_writer() -> None:
    assert from_text(seal(parse())) == make_record()


def test_runs_of_equal_actions_are_counted() -> None:
    lines = parse()
    assert lines[1]["actions"] == [[3, 2], [2, 0], [1, 1]]
    assert lines[2]["actions"] == [[2, [0.5, -1.0]], [1, [0.1, 0.0]]]
    long = make_record(episodes=[Episode(0, [1] * 1000, {}, True, False)], scores=[[0.0]])
    assert len(to_text(long)) < 1000
    assert from_text(to_text(long)).episodes[0].actions == [1] * 1000


def test_what_is_not_finite_is_never_written(tmp_path: Path) -> None:
    for value in (float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            write_record(tmp_path / "record.jsonl", make_record(scores=[[value], [0.0]]))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_record(tmp_path / "record.jsonl", make_record(episodes=[Episode(0, [float("nan")], {}, True, False)]))
    assert not list(tmp_path.iterdir())


def test_an_undefined_score_is_null_in_strict_json() -> None:
    nothing = float("nan")
    text = to_text(make_record(scores=[[nothing], [0.25]]))
    assert '"scores":[[null],[0.25]]' in text and "NaN" not in text
    json.loads(text.splitlines()[-1], parse_constant=lambda name: pytest.fail(name))
    [[first], [second]] = from_text(text).scores
    assert first != first and second == 0.25
    assert to_text(from_text(text)) == text


def test_records_lie_where_their_names_say() -> None:
    expected = Path("results") / "family" / "track" / "agent" / "seed-4.jsonl"
    assert path_of(Path("results"), "agent", "family/track", 4) == expected


def test_writing_replaces_a_file_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "folder" / "record.jsonl"
    records.write_atomically(path, "old\n")
    moves, replace = [], os.replace

    def watch(source: Any, target: Any) -> None:
        moves.append((Path(source), Path(target)))
        assert Path(source).read_text(encoding="utf-8") == "neu: ü\n" and path.read_text(encoding="utf-8") == "old\n"
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    records.write_atomically(path, "neu: ü\n")
    [(source, target)] = moves
    assert target == path and source.parent == path.parent and source.name.startswith(".")
    assert path.read_bytes() == "neu: ü\n".encode()
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["record.jsonl"]


@pytest.mark.parametrize("step", ["replace", "chmod", "write"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("existing", [True, False])
def test_a_failing_write_leaves_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException, existing: bool
) -> None:
    path = tmp_path / "record.jsonl"
    if existing:
        path.write_text("old\n", encoding="utf-8")

    def fail(*arguments: Any, **kwargs: Any) -> None:
        raise error

    class Broken:
        def __init__(self, handle: int, *arguments: Any, **kwargs: Any) -> None:
            self.file = open(handle, "wb")
            self.write = fail

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *exception: object) -> None:
            self.file.close()

    monkeypatch.setattr(os, "fdopen" if step == "write" else step, Broken if step == "write" else fail)
    with pytest.raises(type(error)):
        write_record(path, make_record())
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == (["record.jsonl"] if existing else [])
    assert not existing or path.read_text(encoding="utf-8") == "old\n"


def test_a_file_in_the_way_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match="results"):
        write_record(tmp_path / "results" / "a" / "seed-0.jsonl", make_record())
    assert (tmp_path / "results").read_text(encoding="utf-8") == "in the way"


# --- reading ---


def test_a_record_cut_anywhere_is_refused() -> None:
    text = to_text(make_record())
    for end in range(len(text)):
        refused(text[:end])


def test_an_edit_without_a_new_sum_is_seen() -> None:
    text = to_text(make_record())
    for old, new in (('"seed":3', '"seed":4'), ("[3,2]", "[3,1]"), ('"cell":[1', '"cell":[2'), ("true", "false")):
        assert old in text
        assert "SHA-256" in refused(text.replace(old, new, 1))
    lines = text.splitlines(keepends=True)
    assert "SHA-256" in refused("".join([lines[0], lines[2], lines[1], lines[3]]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "truncated"),
        ("\n", "1 lines"),
        ("{}\n{}\n", "2 lines"),
        ("{}\n{}\n{}\n", "line 1 has the fields"),
        ("[]\n[]\n[]\n", "line 1 is not a JSON object"),
        ("null\n1\n2\n", "line 1 is not a JSON object"),
        ("\n\n\n\n", "line 1 is not valid JSON"),
        ("\ufeff{}\n{}\n{}\n", "line 1 is not valid JSON"),
        ("[" * 100_000 + "]" * 100_000 + "\n{}\n{}\n", "line 1 is not valid JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000 + "\n{}\n{}\n", "line 1 is not valid JSON"),
        ("1" * 5000 + "\n{}\n{}\n", "line 1 is not valid JSON"),
        ("__import__('os').system('false')\n{}\n{}\n", "line 1 is not valid JSON"),
    ],
)
def test_text_that_is_no_record_is_refused(text: str, reason: str) -> None:
    assert reason in refused(text)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(make_record()),
        pickle.dumps({"scores": [1]}, protocol=0),
        b"\x80\x04cos\nsystem\n(S'false'\ntR.",
        bytes(range(256)) * 10,
        b"\x00" * 1000,
        b"",
        b"\xff\xfe{\x00}\x00\n\x00" * 3,
        "{}\n".encode("utf-16") * 3,
    ],
)
def test_bytes_that_are_no_record_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "seed-0.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=r"\.$"):
        read_record(path)


def test_nothing_is_ever_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "touched",))

    path = tmp_path / "seed-0.jsonl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(Bomb(), protocol=protocol) + b"\n")
        with pytest.raises(RecordError):
            read_record(path)
    assert not (tmp_path / "touched").exists()


def test_a_file_that_is_too_large_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seed-0.jsonl"
    write_record(path, make_record())
    size = path.stat().st_size
    monkeypatch.setattr(records, "MAX_BYTES", size)
    assert read_record(path) == make_record()
    monkeypatch.setattr(records, "MAX_BYTES", size - 1)
    monkeypatch.setattr(Path, "read_bytes", lambda self: pytest.fail("it was read"))
    with pytest.raises(RecordError, match=rf"has {size} bytes; records have at most {size - 1}"):
        read_record(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.jsonl"):
        read_record(tmp_path / "none.jsonl")
    with pytest.raises((OSError, RecordError), match=tmp_path.name):
        read_record(tmp_path)


def setting(*path: Any) -> Callable[[list[Any], Any], None]:
    """An edit that sets the value at a path of a parsed record."""

    def edit(lines: list[Any], value: Any) -> None:
        at: Any = lines
        for key in path[:-1]:
            at = at[key]
        at[path[-1]] = value

    return edit


WRONG = [
    *[((0, "format"), value, "format") for value in (0, 1, 3, -1, True, 1.0, "1", None, BIG)],
    *[
        ((0, "agent"), value, "agent")
        for value in ("", "..", "../x", "a/b", "a\\b", "/etc", "~", "a b", "a\n", "ä", "x" * 65)
    ],
    *[((0, "agent"), value, "agent is a") for value in (1, None, ["regret"], {})],
    *[((0, "seed"), value, "seed") for value in (-1, 2**31, BIG, True, 1.0, "1", None, [1])],
    *[((0, name), value, name) for name in ("experiment", "digest") for value in (1, None, [], {}, True)],
    *[((0, name), value, name) for name in ("spec", "provenance") for value in (1, None, [], "x", True)],
    ((0, "extra"), 1, "line 1 has the fields"),
    ((0, "é" * 3), 1, "line 1 has the fields"),
    ((1, "extra"), 1, "line 2 has the fields"),
    *[((1, "seed"), value, "line 2: seed") for value in (True, 1.0, "1", None)],
    *[
        ((1, "actions"), value, "line 2: actions")
        for value in ({}, "x", 1, None, [1], [[1]], [[1, 2, 3]], ["ab"], [[]])
    ],
    *[((1, "actions", 0, 0), value, "line 2: actions") for value in (0, -1, True, 1.5, "2", None, [1])],
    *[((1, "actions", 0, 0), value, "at most") for value in (records.MAX_STEPS + 1, 2**63, BIG)],
    ((1, "actions"), [], "at least 1 step"),
    ((1, "actions"), [[records.MAX_STEPS // 2, 0], [records.MAX_STEPS // 2 + 1, 1]], "at most"),
    *[((1, "states"), value, "line 2: states") for value in ([], "x", None, 1)],
    *[((1, "states", "cell"), value, "'cell' is not a list") for value in ({}, "x", None, 1)],
    *[((1, name), value, f"line 2: {name}") for name in ("terminated", "truncated") for value in (0, 1, "true", None)],
    ((-1, "extra"), 1, "line 4 has the fields"),
    *[
        ((-1, "scores"), value, "scores")
        for value in ({}, "x", None, 1, [], [[0.0]], [[0.0]] * 3, [1.0, 2.0], [[], []])
    ],
    *[((-1, "scores", 0, 0), value, "scores must be") for value in (True, False, "1", [1.0], {}, BIG, -BIG)],
]


@pytest.mark.parametrize(("path", "value", "reason"), WRONG, ids=[f"{i}" for i in range(len(WRONG))])
def test_wrong_values_are_refused_with_their_place(path: tuple[Any, ...], value: Any, reason: str) -> None:
    lines = parse()
    setting(*path)(lines, value)
    assert reason in refused(seal(lines))


@pytest.mark.parametrize("line", range(4))
def test_every_field_is_needed(line: int) -> None:
    for name in parse()[line]:
        lines = parse()
        del lines[line][name]
        text = seal(lines) if name != "sha256" else "".join(json.dumps(part) + "\n" for part in lines)
        assert f"line {line + 1} has the fields" in refused(text)


@pytest.mark.parametrize("checksum", ["", "0" * 64, "x", "é"])
def test_a_wrong_sum_is_refused(checksum: str) -> None:
    lines = parse()
    lines[-1]["sha256"] = checksum
    assert "SHA-256" in refused("".join(json.dumps(line) + "\n" for line in lines))
    lines[-1]["sha256"] = 0
    assert "sha256 is a int" in refused("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(
    "number",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "1e999",
        "-1E+0999",
        "1" + "0" * 400 + ".0",
        "9" * 250 + "e99",
        "9" * 199 + "e110",
    ],
    ids=range(8),
)
@pytest.mark.parametrize(
    ("line", "old"),
    [(0, '"numpy":"2"'), (0, '"n":[1,2]'), (1, '"cell":[1,'), (2, "[0.1,0.0]"), (3, "0.25")],
    ids=["provenance", "spec", "states", "actions", "scores"],
)
def test_numbers_that_are_not_finite_are_refused_everywhere(number: str, line: int, old: str) -> None:
    texts: list[Any] = to_text(make_record()).splitlines()
    assert old in texts[line]
    key, colon, _ = old.rpartition(":")
    values = {'"n":[1,2]': f'"n":[1,{number}]', '"cell":[1,': f'"cell":[{number},', "[0.1,0.0]": f"[0.1,{number}]"}
    texts[line] = texts[line].replace(old, values.get(old, number if line == 3 else key + colon + number), 1)
    if line < 3:
        texts[-1] = {"scores": make_record().scores, "sha256": ""}
    assert f"line {line + 1}" in refused(seal(texts)) or line == 3


def test_messages_stay_short_whatever_the_file_holds() -> None:
    for line, name in ((0, "x" * 100_000), (1, "\x1b[31m\n" * 1000), (2, "\ud800" * 1000)):
        lines = parse()
        lines[line][name] = 1
        refused(seal(lines))
    lines = parse()
    lines[1]["states"]["\x1b[31m\n" * 1000] = 1
    refused(seal(lines))


def test_steps_are_limited_for_all_episodes_together(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = sum(len(episode.actions) for episode in make_record().episodes)
    monkeypatch.setattr(records, "MAX_STEPS", steps)
    assert from_text(to_text(make_record())) == make_record()
    monkeypatch.setattr(records, "MAX_STEPS", steps - 1)
    assert f"at most {steps - 1}" in refused(to_text(make_record()))


def test_there_are_at_most_so_many_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_EPISODES", 2)
    assert from_text(to_text(make_record())) == make_record()
    monkeypatch.setattr(records, "MAX_EPISODES", 1)
    assert "4 lines; expected a header, 1 to 1 episodes" in refused(to_text(make_record()))


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process")
def test_a_small_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    header, *_ = to_text(make_record()).splitlines()
    episode = '{"actions":[[100000,0]],"seed":0,"states":{},"terminated":true,"truncated":false}'
    path, n = tmp_path / "seed-0.jsonl", 2500  # 2.5e8 actions in 200 kB
    path.write_text(seal([header, *[episode] * n, {"scores": [[0.0]] * n}]), encoding="utf-8")
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from valuegym.leaderboards.records.record import RecordError, read_record\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "try:\n"
        "    read_record(Path(sys.argv[1]))\n"
        "except RecordError as error:\n"
        "    print('refused:', error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stderr[-500:]
    assert found.stdout.startswith("refused:")


# --- fuzz ---


def test_damaged_bytes_never_pass_and_never_surprise(tmp_path: Path) -> None:
    content, path, rng = to_text(make_record()).encode(), tmp_path / "seed-0.jsonl", random.Random(0)
    same = 0
    for _ in range(1500):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5))):
            at = rng.randrange(len(damaged))
            kind = rng.randrange(4)
            if kind == 0:
                damaged[at] = rng.randrange(256)
            elif kind == 1:
                damaged[at] ^= 1 << rng.randrange(8)
            elif kind == 2:
                del damaged[at : at + rng.randrange(1, 9)]
            else:
                damaged[at:at] = damaged[at : at + rng.randrange(1, 9)]
        path.write_bytes(damaged)
        try:
            record = read_record(path)
        except RecordError as error:
            assert str(error)
            continue
        changed_lines = bytes(damaged).splitlines()[:-1] != content.splitlines()[:-1]
        assert not changed_lines, "only the scores lie outside the sum; `verify` recomputes them"
        assert record == make_record(scores=record.scores)
        same += record == make_record()
    assert same < 1500


ODD: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, BIG, -BIG, 0.5, 1e308, -1e308, 5e-324, "", "x", "\ud800", "..",
    [], {}, [[]], [None], [1, [2]], {"a": 1}, [1] * 50, [0.5] * 6,
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything within a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def test_forged_values_never_surprise() -> None:
    rng, passed = random.Random(1), 0
    for _ in range(1500):
        lines = parse()
        *outer, last = rng.choice([place for place in places(lines) if place])
        at: Any = lines
        for key in outer:
            at = at[key]
        kind = rng.randrange(5)
        if kind == 0:
            del at[last]
        elif kind == 1 and isinstance(at, list):
            at.insert(last, at[last])
        else:
            at[last] = rng.choice(ODD)
        if not lines:
            continue
        lines = [line if isinstance(line, dict) else json.dumps(line) for line in lines]
        try:
            record = from_text(seal(lines))
        except RecordError as error:
            assert str(error)
            continue
        passed += 1
        assert from_text(to_text(record)) == record  # whatever passes is a record
    assert 100 < passed < 1400
