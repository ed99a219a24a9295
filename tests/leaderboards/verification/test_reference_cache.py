"""References that a verifier keeps: they spare time, change no verdict, and nothing of a submission gets into them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from valuegym.envs.control.pendulum import Pendulum
from valuegym.envs.functional import episode_keys
from valuegym.leaderboards import experiments
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification import reference_cache
from valuegym.leaderboards.verification.verify import Candidate, verify, verify_candidates, verify_together

TRACK = Experiment("test/swing", "", "valuegym/Pendulum-v0", "{}", ("uniform", "oracle"), 0, 2, (0, 1), "return")


@pytest.fixture(autouse=True, scope="module")
def track() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(experiments.EXPERIMENTS, TRACK.id, TRACK)
        yield


@pytest.fixture(scope="module")
def results(track: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    for agent in TRACK.agents:
        for seed in TRACK.seeds:
            run(agent, TRACK.id, seed, folder)
    return folder


@pytest.fixture
def paths(results: Path) -> list[str]:
    return [str(path) for path in sorted(results.rglob("seed-*.jsonl"), reverse=True)]


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tasks references were computed for, one number for each time."""
    tasks: list[int] = []
    own = Pendulum.references

    def references(self: Any, task: Any) -> Any:
        tasks.append(len(task.key))
        return own(self, task)

    monkeypatch.setattr(Pendulum, "references", references)
    return tasks


def kept() -> Path:
    """The one file of references that there is."""
    place = reference_cache.folder()
    assert place is not None
    (file,) = place.iterdir()
    return file


def forged(path: str, to: Path, edit: Callable[[list[Any]], None]) -> str:
    """The record with its parsed lines edited, and the sum made right."""
    lines = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    edit(lines)
    body = "".join(json.dumps(line) + "\n" for line in lines[:-1])
    last = json.dumps(lines[-1] | {"sha256": hashlib.sha256(body.encode()).hexdigest()})
    to.write_text(body + last + "\n", encoding="utf-8")
    return str(to)


def test_references_are_computed_once_and_give_the_same_verdicts(paths: list[str], computed: list[int]) -> None:
    cold = verify_together(paths)
    assert computed == [4]  # two runs of two episodes, each for both agents
    file = kept().read_bytes()
    assert verify_together(paths) == cold and [verify(path) for path in paths] == cold
    assert computed == [4] and kept().read_bytes() == file
    assert not any(verdict.reason for verdict in cold)


def test_what_is_kept_is_what_the_core_computes(paths: list[str]) -> None:
    core = Pendulum()
    verify(paths[0])
    by_seed = reference_cache.load(read_record(Path(paths[0])).digest)
    task, _ = core.initial(episode_keys([seed for (seed,) in by_seed]))
    naive, best = core.references(task)
    assert list(by_seed.values()) == list(zip(naive.tolist(), best.tolist(), strict=True))  # to the bit


def test_a_submission_cannot_poison_it(paths: list[str], tmp_path: Path, computed: list[int]) -> None:
    verify(paths[0])
    honest = kept().read_bytes()
    kept().unlink()

    def score(lines: list[Any]) -> None:
        lines[-1]["scores"] = [[1.0]] * 2

    def state(lines: list[Any]) -> None:
        for values in lines[1]["states"].values():
            values[-1] = 0.0

    def action(lines: list[Any]) -> None:
        lines[1]["actions"] = [[200, [0.5]]]

    def seed(lines: list[Any]) -> None:
        lines[1]["seed"], lines[2]["seed"] = lines[2]["seed"], lines[1]["seed"]

    def references(lines: list[Any]) -> None:
        lines[1]["references"] = [-1.0, -2.0]

    for edit in (score, state, action, seed, references):
        assert verify(forged(paths[0], tmp_path / "forged.jsonl", edit)).reason, edit.__name__
        assert not verify(paths[0]).reason and kept().read_bytes() == honest
        kept().unlink()
        # both together, where the forged record is the first to ask for its references
        verdicts = verify_together([str(tmp_path / "forged.jsonl"), paths[0]])
        assert verdicts[0].reason and not verdicts[1].reason
        assert kept().read_bytes() == honest
        # and where they are cached, it is as untrue as before
        assert verify(str(tmp_path / "forged.jsonl")).reason == verdicts[0].reason
        kept().unlink()
    # a file of the right name among the records is no file of the verifier's
    assert verify(paths[0]).record is not None
    name = kept().name
    wrong = json.loads(reference_cache.checked(honest.decode()))
    for row in wrong:
        row[1:] = [-1e6, -1e6 + 1]
    kept().unlink()
    for place in (tmp_path, tmp_path / "valuegym" / "references"):
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(reference_cache.with_checksum(json.dumps(wrong)), encoding="ascii")
    before = len(computed)
    assert not verify(paths[0]).reason and len(computed) == before + 1 and kept().read_bytes() == honest


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of other kinds")
def test_what_others_could_write_is_neither_read_nor_written(
    paths: list[str], computed: list[int], tmp_path: Path
) -> None:
    verify(paths[0])
    file, honest = kept(), kept().read_bytes()
    wrong = honest.replace(b"[[", b"[[", 1).replace(b"-", b"-9")
    for spoil in ("file", "folder", "link"):
        file.write_bytes(wrong)
        if spoil == "file":
            file.chmod(0o666)
        elif spoil == "folder":
            file.parent.chmod(0o777)
        else:
            (tmp_path / "elsewhere.json").write_bytes(wrong)
            file.unlink()
            file.symlink_to(tmp_path / "elsewhere.json")
        before = len(computed)
        assert not verify(paths[0]).reason and len(computed) == before + 1
        if spoil == "folder":
            assert file.read_bytes() == wrong  # left alone
            file.parent.chmod(0o700)
        else:  # replaced by what was computed, as a file of one's own
            assert file.read_bytes() == honest and reference_cache.private(file)
    assert (tmp_path / "elsewhere.json").read_bytes() == wrong


@pytest.mark.parametrize(
    "content", ["", "[", "[[1]]", '{"a": 1}', "[[[1000000], 1.0]]", "[" * 100_000, "null", "[[3,1,2]]"]
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_damaged_file_is_computed_again(paths: list[str], content: str, whole: bool, computed: list[int]) -> None:
    verify(paths[0])
    honest = kept().read_bytes()
    kept().write_text(reference_cache.with_checksum(content) if whole else content, encoding="ascii")
    assert not verify(paths[0]).reason and computed == [2, 2] and kept().read_bytes() == honest


def test_one_flipped_digit_rejects_nobody(paths: list[str], computed: list[int]) -> None:
    verify(paths[0])
    honest = kept().read_bytes()
    digit = honest[-4:-3]
    assert digit.isdigit()
    kept().write_bytes(honest[:-4] + (b"1" if digit != b"1" else b"2") + honest[-3:])
    assert not verify(paths[0]).reason and computed == [2, 2] and kept().read_bytes() == honest


def test_other_sources_have_references_of_their_own(
    paths: list[str], computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    verify(paths[0])
    here = reference_cache.provenance()
    monkeypatch.setattr(reference_cache, "provenance", lambda: here | {"source": "0" * 64})
    assert not verify(paths[0]).reason
    assert computed == [2, 2]


def test_seeds_that_are_not_public_are_never_kept(paths: list[str], computed: list[int]) -> None:
    record = read_record(Path(paths[0]))
    seeds = tuple(episode.seed for episode in record.episodes)
    for _ in range(2):
        assert not verify_candidates([Candidate("x", record, seeds)])[0].reason
    place = reference_cache.folder()
    assert computed == [2, 2] and place is not None and not place.exists()


def test_it_can_be_elsewhere_or_off(
    results: Path, paths: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VALUEGYM_CACHE", "off")
    assert reference_cache.folder() is None and not verify(paths[0]).reason
    monkeypatch.setenv("VALUEGYM_CACHE", str(tmp_path / "cache"))
    assert not verify(paths[0]).reason and kept().is_relative_to(tmp_path / "cache")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VALUEGYM_CACHE", str(tmp_path / "file"))  # no folder can be made there
    assert not any(verdict.reason for verdict in verify_together(paths))
