"""wandb runs of submissions: what is written, what arrives at a server, and what happens without one."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from valuegym._version import __version__
from valuegym.leaderboards import executors, experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.experiments import Experiment
from valuegym.leaderboards.records import submission
from valuegym.leaderboards.run import run
from valuegym.leaderboards.standings.gather import Score
from valuegym.leaderboards.stats.bootstrap import estimates
from valuegym.leaderboards.tracking import log, offline_run
from valuegym.leaderboards.tracking.log import TrackedRun, log_scores, read_offline, relocate
from valuegym.leaderboards.trust.judgement import Judgement, judge
from valuegym.leaderboards.trust.tiers import LIMITS, Standing

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="needs wandb: valuegym[tracking]")
KEY = "0" * 40
pytestmark = pytest.mark.usefixtures("nobody_logged_in")


def make_score(agent: str = "regret", experiment: str = "preference/boards-regret", **changes) -> Score:
    values = changes.pop("values", np.random.default_rng(0).random((3, 5, 2)))
    return Score(agent, experiment, (0, 10), values, (0, 1, 2), **{"standing": Standing("replayed")} | changes)


def make_scores() -> list[Score]:
    single = Score("regret", "control/distractors", (0,), np.array([[[0.25]]]), (7,))
    return [make_score(), single]


def make_files(folder: Path) -> list[Path]:
    files = [folder / "preference" / "seed-0.jsonl", folder / "control" / "seed-0.jsonl"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text(f'{{"of": "{file.parent.name}"}}\n', encoding="utf-8")
    return files


def expected_summary() -> dict[str, float]:
    expected = {"score/control/distractors/0": 0.25}  # one value has no interval
    for point, row in zip((0, 10), estimates(make_score().values), strict=True):
        for suffix, value in zip(("", "/low", "/high"), row, strict=True):
            expected[f"score/preference/boards-regret/{point}{suffix}"] = value
    return expected


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> TrackedRun:
    folder = tmp_path_factory.mktemp("offline")
    return log_scores(make_scores(), make_files(folder / "records"), folder, mode="offline", config={"digest": "1a2b"})


@needs_wandb
def test_offline_run_holds_everything(offline: TrackedRun) -> None:
    run = read_offline(offline.directory)
    assert (offline.mode, offline.url) == ("offline", None)
    assert str(offline.directory) in offline.message
    assert (run["name"], run["project"], run["job_type"], run["exit_code"]) == ("regret", "valuegym", "leaderboard", 0)
    assert set(run["tags"]) == {
        f"valuegym-{__version__}",
        "preference/boards-regret",
        "control/distractors",
        "claimed",
        "replayed",
    }
    assert run["config"] == {
        "agent": "regret",
        "suite_version": __version__,
        "experiments": ["preference/boards-regret", "control/distractors"],
        "status": {"preference/boards-regret": "replayed", "control/distractors": "claimed"},
        "seeds": {"preference/boards-regret": [0, 1, 2], "control/distractors": [7]},
        "digest": "1a2b",
    }
    assert run["summary"] == pytest.approx(expected_summary())


@needs_wandb
def test_offline_table_has_a_row_per_seed_and_report(offline: TrackedRun) -> None:
    table = read_offline(offline.directory)["tables"]["scores"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == 3 * 2 + 1
    values = make_score().values
    row = next(
        r for r in rows if (r["experiment"], r["seed"], r["evaluation_point"]) == ("preference/boards-regret", 1, 10)
    )
    assert row["mean"] == pytest.approx(values[1, :, 1].mean())
    assert row["interquartile_mean"] == pytest.approx(np.sort(values[1, :, 1])[1:-1].mean())
    assert (row["episodes"], row["status"]) == (5, "replayed")


@needs_wandb
def test_offline_artifact_keeps_the_record_files_within_the_run(offline: TrackedRun) -> None:
    artifact = read_offline(offline.directory)["artifacts"]["regret-records"]
    assert artifact["type"] == "records"
    assert set(artifact["files"]) == {"preference/seed-0.jsonl", "control/seed-0.jsonl"}
    for name, copy in artifact["files"].items():
        assert Path(copy).is_relative_to(offline.directory)
        assert json.loads(Path(copy).read_text(encoding="utf-8")) == {"of": name.partition("/")[0]}


@needs_wandb
def test_reader_agrees_with_wandb_itself(offline: TrackedRun, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(offline.directory)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if "No such command" in done.stderr:
        pytest.skip("this wandb has no `wandb leet inspect` to compare with")
    theirs, ours = json.loads(done.stdout), read_offline(offline.directory)
    assert ours["config"] == theirs["config"]
    assert ours["tags"] == theirs["tags"]
    assert ours["id"] == theirs["run_id"]
    numbers = {key: value for key, value in theirs["summary"].items() if key.startswith("score/")}
    assert ours["summary"] == numbers


@needs_wandb
def test_the_caller_notices_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "mine")  # of a run the caller has open
    monkeypatch.setenv("WANDB_TAGS", "mine")
    before = dict(os.environ)
    tracked = log_scores([make_score()], [], tmp_path / "out")
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == ["out"]
    run = read_offline(tracked.directory)
    assert run["id"] != "mine" and "mine" not in run["tags"]


@needs_wandb
def test_without_a_key_the_run_goes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    tracked = log_scores([make_score()], [], tmp_path)
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "no API key" in tracked.message and "written offline" in tracked.message
    assert read_offline(tracked.directory)["name"] == "regret"


@needs_wandb
def test_without_a_server_the_run_goes_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    tracked = log_scores(make_scores(), make_files(tmp_path / "records"), tmp_path, mode="online")
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "server" in tracked.message and "written offline" in tracked.message
    assert read_offline(tracked.directory)["summary"] == pytest.approx(expected_summary())
    assert not list((tmp_path / "wandb").glob("run-*"))  # nothing is left of the attempt


@needs_wandb
def test_online_run_arrives(tmp_path: Path, server) -> None:
    files = make_files(tmp_path / "records")
    tracked = log_scores(make_scores(), files, tmp_path, mode="online", entity="lab", config={"digest": "1a2b"})
    assert tracked.mode == "online"
    assert tracked.url is not None and tracked.url.startswith(server.url) and tracked.url in tracked.message
    ((key, run),) = server.runs.items()
    assert key[:2] == ("lab", "valuegym")
    assert (run["name"], run["job_type"], run["state"]) == ("regret", "leaderboard", "finished")
    assert {k: v for k, v in run["summary"].items() if k.startswith("score/")} == pytest.approx(expected_summary())
    assert run["config"]["agent"] == "regret" and run["config"]["digest"] == "1a2b"
    assert "preference/boards-regret" in run["tags"] and f"valuegym-{__version__}" in run["tags"]
    assert run.get("host", "") == ""  # machines and users are nobody's business
    assert_artifacts_arrived(server)
    assert not server.unknown


@needs_wandb
def test_offline_run_is_moved_mended_and_synced(offline: TrackedRun, tmp_path: Path, server) -> None:
    moved = tmp_path / "elsewhere" / offline.directory.name
    shutil.copytree(offline.directory, moved)
    before = read_offline(moved)
    assert relocate(moved) == 3  # two records and the table
    assert relocate(moved) == 0
    after = read_offline(moved)
    artifact = after["artifacts"]["regret-records"]
    assert all(Path(copy).is_relative_to(moved) for copy in artifact["files"].values())
    assert {**after, "artifacts": 0} == {**before, "artifacts": 0}
    command = [sys.executable, "-m", "wandb", "sync", str(moved)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # it logs where it stands
    assert done.returncode == 0, done.stderr
    ((key, run),) = server.runs.items()
    assert key == ("tester", "valuegym", before["id"])
    assert {k: v for k, v in run["summary"].items() if k.startswith("score/")} == before["summary"]
    assert {k: v for k, v in run["config"].items() if not k.startswith("_")} == before["config"]
    assert sorted(run["tags"]) == sorted(before["tags"])
    assert_artifacts_arrived(server)


@needs_wandb
def test_a_moved_run_is_synced_by_one_command(
    offline: TrackedRun, tmp_path: Path, server, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a results folder that was copied, with its artifacts; again changes nothing; and a broken copy is named."""
    moved = tmp_path / "elsewhere" / "wandb" / offline.directory.name
    shutil.copytree(offline.directory, moved)
    assert main(["sync", str(tmp_path / "elsewhere")]) == 0
    assert capsys.readouterr().out == f"uploaded  {moved}\n"
    ((key, run),) = server.runs.items()
    assert key == ("tester", "valuegym", read_offline(moved)["id"]) and run["state"] == "finished"
    assert_artifacts_arrived(server)
    shutil.rmtree(moved / "data")
    assert main(["sync", str(moved)]) == 1
    assert "copy the whole folder" in capsys.readouterr().out
    assert main(["sync", str(tmp_path / "nowhere")]) == 2
    assert "There are no offline runs in" in capsys.readouterr().err


@needs_wandb
@pytest.mark.slow
def test_a_server_that_refuses_a_moved_run_is_said_to(offline: TrackedRun, tmp_path: Path, server) -> None:
    server.key = "1" * 40
    shutil.copytree(offline.directory, moved := tmp_path / offline.directory.name)
    [(run, reason)] = log.sync_offline(moved)
    assert run == moved and "wandb sync did not take it: wandb: ERROR" in reason and not server.runs


@needs_wandb
@pytest.mark.slow
def test_another_call_updates_the_run(tmp_path: Path, server) -> None:
    """One run for each agent, kind and submission, offline and online; another folder has others."""
    files = make_files(tmp_path / "records")
    first, second = (
        log_scores([make_score(values=np.full((3, 5, 2), value))], files, tmp_path, "offline") for value in (0.25, 0.75)
    )
    assert [path.name for path in (tmp_path / "wandb").glob("offline-run-*")] == [second.directory.name]
    held = read_offline(second.directory)
    assert first.directory != second.directory and held["summary"]["score/preference/boards-regret/10"] == 0.75
    assert len(held["tables"]["scores"]["data"]) == 6 and set(held["artifacts"]) == {"regret-records"}
    other = log_scores([make_score("mle")], [], tmp_path, "offline")
    assert read_offline(other.directory)["id"] != held["id"] and second.directory.is_dir()
    for value in (0.5, 1.0):
        assert log_scores([make_score(values=np.full((3, 5, 2), value))], files, tmp_path, "online").mode == "online"
    ((key, run),) = server.runs.items()
    assert key[2] == held["id"] and run["summary"]["score/preference/boards-regret/10"] == 1.0
    assert not second.directory.exists() and not server.unknown


def test_a_run_has_the_same_id_at_each_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of its agent, kind, project and submission, in each folder another; a damaged list of ids is begun again."""
    asked: list[dict] = []

    def answer(function: str, request: dict, *_: object) -> dict:
        asked.append(request)
        if request["mode"] == "online":
            return {"reason": "The server sleeps"}
        return {"mode": "offline", "directory": "run", "url": None, "message": "Logged."}

    monkeypatch.setattr(log, "in_child", answer)

    def id_of(
        agent: str = "regret", folder: str = "a", mode: str = "offline", project: str = "p", **config: str
    ) -> str:
        tracked = log_scores([make_score(agent)], [], tmp_path / folder, mode, project, config=config)
        asleep = "The server sleeps, so the run was written offline. "
        assert tracked.message == f"{asleep if mode == 'online' else ''}Logged."
        return asked[-1]["id"]

    same = {id_of(), id_of(), id_of(mode="online"), *(request["id"] for request in asked)}
    assert len(same) == 1
    others = [id_of("mle"), id_of(folder="b"), id_of(project="q"), id_of(submission="1"), id_of(submission="2")]
    assert len({*same, *others}) == 6 and id_of(submission="2") == others[-1]
    ids = {log._id_of(folder, about) for folder in (tmp_path / "a", tmp_path / "b") for about in (["x"], ["y", None])}
    assert len(ids) == 4 and log._id_of(tmp_path / "a", ["x"]) in ids
    (tmp_path / "a" / "wandb" / "ids.json").write_text("[", encoding="utf-8")
    assert log._id_of(tmp_path / "a", ["x"]) not in ids


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), np.float64("nan"), np.float64("inf")])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [1.0, x], lambda x: {"a": (x,)}])
def test_numbers_that_are_not_finite_are_refused_alike(tmp_path: Path, number: float, wrap) -> None:
    with pytest.raises(TypeError, match=r"config cannot be written as JSON: config\['rate'\].* is -?(nan|inf); use"):
        log_scores([make_score()], [], tmp_path, config={"rate": wrap(number)})
    assert not list(tmp_path.iterdir())


def test_long_names_stay_apart_and_keep_their_reason() -> None:
    name = "n" * 3000
    error = f"Artifact {name} was refused: it is too long"
    assert log.shortened(error, 500).endswith("was refused: it is too long") and len(log.shortened(error, 500)) == 500
    assert log.shortened("short", 5) == "short"
    request = log._request(
        [make_score("a" * 300, "e/" + "x" * 90), make_score("a" * 300, "e/" + "x" * 91)], [], {}, "k"
    )
    assert len(set(request["tags"])) == 4 and max(map(len, request["tags"])) == 64
    other = log._request([make_score("a" * 301)], [], {}, "k")
    assert len(request["artifact"]) == len(other["artifact"]) == 128 and request["artifact"] != other["artifact"]


def assert_artifacts_arrived(server) -> None:
    assert {artifact["state"] for artifact in server.artifacts.values()} == {"COMMITTED"}
    (records,) = (artifact for artifact in server.artifacts.values() if artifact["type"] == "records")
    assert records["name"] == "regret-records"
    assert records["files"]["control/seed-0.jsonl"] == b'{"of": "control"}\n'
    assert set(records["files"]) >= {"preference/seed-0.jsonl", "control/seed-0.jsonl"}


@needs_wandb
def test_a_moved_run_without_its_copies_is_refused(offline: TrackedRun, tmp_path: Path) -> None:
    shutil.copytree(offline.directory, tmp_path / "run", ignore=shutil.ignore_patterns("data"))
    with pytest.raises(FileNotFoundError, match="copy the whole folder"):
        relocate(tmp_path / "run")


@needs_wandb
def test_damaged_logs_are_refused(offline: TrackedRun, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds 0 files"):
        read_offline(tmp_path)
    (log,) = offline.directory.glob("*.wandb")
    damaged = bytearray(log.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / log.name).write_bytes(damaged)
    with pytest.raises(ValueError, match="checksum"):
        read_offline(tmp_path)


def test_log_format_round_trip() -> None:
    block, header = offline_run.BLOCK, offline_run.FRAGMENT.size
    room = block - len(offline_run.HEADER) - header  # what the first block holds of the first record
    sizes = [0, 1, room, room - 1, room - header, room - header - 1, room + 1, 3 * block]
    rng = np.random.default_rng(0)
    for size in sizes:
        payloads = [rng.bytes(size), b"", rng.bytes(100), rng.bytes(2 * block)]
        assert list(offline_run.fragments(offline_run.framed(payloads))) == payloads


def test_log_format_of_one_record() -> None:
    """The bytes of the smallest log, written out."""
    expected = b":W&B\xe1\xbe\x00" + zlib.crc32(b"\x01hi").to_bytes(4, "little") + b"\x02\x00\x01hi"
    assert offline_run.framed([b"hi"]) == expected
    with pytest.raises(ValueError, match="not a wandb run log"):
        list(offline_run.fragments(b"SQLite format 3"))
    for cut in (3, 8):
        with pytest.raises(ValueError, match=r"breaks off|checksum"):
            list(offline_run.fragments(expected[:-cut]))


def test_bad_requests_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"0 agents"):
        log_scores([], [], tmp_path)
    with pytest.raises(ValueError, match=r"2 agents \['mle', 'regret'\]"):
        log_scores([make_score(), make_score("mle")], [], tmp_path)
    with pytest.raises(ValueError, match="each once"):
        log_scores([make_score(), make_score()], [], tmp_path)
    with pytest.raises(ValueError, match="mode is 'cloud'"):
        log_scores([make_score()], [], tmp_path, mode="cloud")
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl"):
        log_scores([make_score()], [tmp_path / "nothing.jsonl"], tmp_path)
    with pytest.raises(TypeError, match="config cannot be written as JSON"):
        log_scores([make_score()], [], tmp_path, config={"agent": object()})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install .*(tracking|wandb)"):
        log_scores([make_score()], [], tmp_path)


# --- submissions ---

WALK = Experiment("test/walk", "", "valuegym/Delivery-v0", "{}", ("uniform",), 0, 3, (0, 1), "return")


@pytest.fixture
def judgement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judgement:
    """An honest submission, judged."""
    monkeypatch.setitem(experiments.EXPERIMENTS, WALK.id, WALK)
    monkeypatch.setattr(executors, "parallel_map", lambda function, items, *_: [function(item) for item in items])
    contents = [run("uniform", WALK.id, seed, tmp_path / "results").read_bytes() for seed in WALK.seeds]
    path = tmp_path / "uniform.zip"
    submission.write_submission(
        path, submission.pack(submission.Card.of(submission.EXAMPLE | {"name": "uniform"}), contents)
    )
    return judge(path)


@needs_wandb
def test_a_submission_synced_later_is_the_one_logged_online(judgement: Judgement, tmp_path: Path, server) -> None:
    """Row for row: summary, config, tags, table and artifact are the same; only the run's id is another."""
    tracked = log.log_submission(judgement, tmp_path / "offline", "offline")
    assert tracked.mode == "offline" and not server.runs
    command = [sys.executable, "-m", "wandb", "sync", str(tracked.directory)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert log.log_submission(judgement, tmp_path / "online", "online").mode == "online"
    first, second = server.runs.values()

    def told(run: dict) -> dict:
        own = {key: {k: v for k, v in run[key].items() if not k.startswith("_")} for key in ("summary", "config")}
        for key in ("sha256", "artifact_path", "_latest_artifact_path", "path"):
            own["summary"]["scores"].pop(key, None)  # the table's own file, compared below
        return own | {key: run.get(key) for key in ("name", "job_type", "state")} | {"tags": sorted(run["tags"])}

    assert told(first) == told(second)
    config = told(first)["config"]
    assert config["tier"] == "replayed" and config["limit"] == LIMITS["replayed"]
    assert config["submission"] == judgement.digest and config["card"]["name"] == "uniform"
    assert "replayed" in first["tags"] and "test/walk" in first["tags"]
    zips = [artifact["files"] for artifact in server.artifacts.values() if artifact["type"] == "submission"]
    assert zips == [{"uniform.zip": Path(judgement.path).read_bytes()}] * 2
    tables = [
        json.loads(content)["data"]
        for artifact in server.artifacts.values()
        for name, content in artifact["files"].items()
        if name.endswith(".table.json")
    ]
    assert len(tables) == 2 and tables[0] == tables[1] and len(tables[0]) == 2


@needs_wandb
def test_a_wrong_key_leaves_a_complete_local_run(tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "1" * 40
    tracked = log_scores([make_score()], make_files(tmp_path / "records"), tmp_path, mode="online")
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "written offline" in tracked.message and not server.runs
    held = read_offline(tracked.directory)
    assert held["name"] == "regret" and set(held["artifacts"]) >= {"regret-records"}


@needs_wandb
def test_a_rejected_submission_is_not_logged(judgement: Judgement, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"was rejected \(no\), so there is nothing to log"):
        log.log_submission(judgement._replace(reason="no"), tmp_path)


@needs_wandb
@pytest.mark.slow
def test_a_server_that_dies_mid_run_leaves_a_complete_local_run(
    tmp_path: Path, server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run began online; a whole one lies in the folder, and syncs to a server that lives."""
    monkeypatch.setattr(log, "FINISH_TIMEOUT", 4.0)
    server.dies_at = "CreateArtifact"
    tracked = log_scores(make_scores(), make_files(tmp_path / "records"), tmp_path, mode="online")
    assert (tracked.mode, tracked.url) == ("offline", None)
    assert "did not take all of the run" in tracked.message and "valuegym sync" in tracked.message
    held = read_offline(tracked.directory)
    assert held["summary"] == pytest.approx(expected_summary()) and "regret-records" in held["artifacts"]
    server.dies_at, server.dead = None, False
    server.artifacts.clear()
    command = [sys.executable, "-m", "wandb", "sync", str(tracked.directory)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_artifacts_arrived(server)
