"""Records of values that move: replayed, verified, and measured beyond the score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from valuegym.leaderboards import experiments
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.records.fingerprint import environment_digest
from valuegym.leaderboards.records.record import read_record
from valuegym.leaderboards.run import run
from valuegym.leaderboards.verification import measures
from valuegym.leaderboards.verification.verify import verify

TRACKS = [id for id, row in experiments.EXPERIMENTS.items() if row.env_id.endswith(("Follow-v0", "Coevolve-v0"))]


@pytest.mark.parametrize(
    ("agent", "id"),
    [
        ("kalman", "coevolution/follow-linear"),
        ("theta", "coevolution/follow-hubs"),
        ("pluralist", "coevolution/coevolve-mixed"),
        ("kalman", "coevolution/coevolve-small-world"),
    ],
)
def test_records_are_verified_and_measured(agent: str, id: str, tmp_path: Path) -> None:
    path = run(agent, id, 0, tmp_path)
    assert verify(path).reason == ""
    record = read_record(path)
    found = measures.measure(record)
    assert all(value.shape == (20,) and np.isfinite(value).all() for value in found.values())
    if "coevolve" in id:
        assert found["influence"].mean() > 0 and (found["speaking"] > 0).any()
        assert {"objective_natural_shift", "diversity_ratio", "placebo_influence", "lock_in_index"} <= set(found)
    else:  # the score is the skill
        assert np.allclose(np.array(record.scores)[:, 0], found["skill"], atol=1e-5)
    text = measures.measures_text(measures.collect_measures([record]))
    assert id in text and agent[:11] in text and all(name in text for name in found)


@pytest.mark.parametrize("challenge", ["follow", "coevolve"])
def test_records_among_people_that_are_language_models(challenge: str, tmp_path: Path) -> None:
    """They are verified, and measured in the very histories in which they were played."""
    path = run("persistence", f"language/{challenge}-people", 0, tmp_path)
    assert verify(path).reason == ""
    record = read_record(path)
    found = measures.measure(record)
    assert all(value.shape == (6,) and np.isfinite(value).all() for value in found.values())
    assert (found["cosine"] > 0.8).all()  # they answer for the people whose answers they have read
    if challenge == "coevolve":
        assert (found["influence"] > 0).all() and (found["speaking"] == 1).all()


def test_an_edited_record_of_coevolve_is_rejected(tmp_path: Path) -> None:
    path = run("kalman", "coevolution/coevolve-one-cluster", 1, tmp_path)
    lines = path.read_text().splitlines()
    episode = json.loads(lines[1])
    episode["states"]["people"][-1][0][0] += 0.01
    body = "".join(line + "\n" for line in [lines[0], json.dumps(episode), *lines[2:-1]])
    import hashlib

    last = json.loads(lines[-1]) | {"sha256": hashlib.sha256(body.encode()).hexdigest()}
    path.write_text(body + json.dumps(last) + "\n")
    assert "does not follow" in verify(path).reason


def test_the_digest_knows_the_content_of_files(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    arguments = json.dumps({"network": str(path), "people": 4, "budget": 1, "listening": 0.0})
    digests = []
    for text in ("0,1\n2,3\n", "0,1\n2,3\n", "0,2\n1,3\n"):  # nobody listens, so that only the file differs
        path.write_text(text)
        environment_digest.cache_clear()
        digests.append(environment_digest("valuegym/Follow-v0", arguments))
    assert digests[0] == digests[1] != digests[2]


def test_the_command_prints_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("persistence", "coevolution/coevolve-one-cluster", 0, tmp_path)
    assert main(["measures", str(tmp_path)]) == 0
    assert "diversity_ratio" in capsys.readouterr().out
    with pytest.raises(ValueError, match="has no measures"):
        measures.measure(read_record(run("uniform", "preference/delivery", 0, tmp_path)))
