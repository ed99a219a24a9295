"""What runs took, beside their records, and what a dry run says of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from valuegym.leaderboards import executors
from valuegym.leaderboards.cli.main import main
from valuegym.leaderboards.plan import make_plan
from valuegym.leaderboards.records.costs import FILE, add_cost, duration, mean_costs
from valuegym.leaderboards.run import Job, run


def test_costs_are_means_over_runs(tmp_path: Path) -> None:
    assert mean_costs(tmp_path) == {}
    for seed, seconds in enumerate((1.0, 2.0, 6.00049)):
        add_cost(tmp_path, "uniform", "control/lqr", seed, seconds, 9.0)
    add_cost(tmp_path, "oracle", "control/lqr", 0, 0.25, 9.0)
    assert mean_costs(tmp_path) == {("uniform", "control/lqr"): 3.0, ("oracle", "control/lqr"): 0.25}
    row = {"agent": "oracle", "experiment": "control/lqr", "seed": 0, "seconds": 0.25, "wall": 9.0}
    assert json.loads((tmp_path / FILE).read_text().splitlines()[-1]) == row


def test_lines_that_are_none_are_passed_over_and_a_full_disk_harms_no_run(tmp_path: Path) -> None:
    add_cost(tmp_path, "uniform", "control/lqr", 0, 2.0, 9.0)
    with (tmp_path / FILE).open("ab") as stream:
        for line in (b"", b"{", b"[1]", b"{}", b"\xff\xff", b'{"agent": 1, "experiment": 2, "seconds": NaN}'):
            stream.write(line + b"\n")
        stream.write(b'{"agent": "a", "experiment": "b", "seconds": -1}\n' + b'{"agent": "a", "experiment": "b", "sec')
    assert mean_costs(tmp_path) == {("uniform", "control/lqr"): 2.0}
    add_cost(tmp_path / "none", "uniform", "control/lqr", 0, 2.0, 9.0)
    assert not (tmp_path / "none").exists()


def test_lines_of_many_runs_do_not_mix(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as crew:
        list(crew.map(lambda seed: add_cost(tmp_path, "a" * (seed % 60), "control/lqr", seed, 1.0, 1.0), range(400)))
    rows = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert sorted(row["seed"] for row in rows) == list(range(400))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 s"), (0.0126, "0.013 s"), (9.94, "9.9 s"), (119.0, "119 s"), (150.0, "2.5 min"), (7200.0, "2 h")],
)
def test_durations_are_said_with_two_digits(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_dry_run_says_what_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(executors.EXECUTORS, "pool", executors.serial)
    words = ["run", "--agent", "uniform", "--agent", "oracle", "--experiment", "control/lqr", "--dry-run"]
    where = ["--results", str(tmp_path), "--seed", "0", "--seed", "1"]
    assert main([*words, *where]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "total  not measured"
    run("uniform", "control/lqr", 0, tmp_path)
    [row] = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert (row["agent"], row["experiment"], row["seed"]) == ("uniform", "control/lqr", 0) and row["seconds"] > 0
    run("uniform", "control/lqr", 0, tmp_path)  # it is there: nothing is run or measured again
    assert len((tmp_path / FILE).read_text().splitlines()) == 1
    (tmp_path / FILE).write_text(json.dumps(row | {"seconds": 90.0}) + "\n")
    assert main([*words, *where]) == 0
    first, *todo, total = capsys.readouterr().out.splitlines()
    assert first == "1 of 4 runs already there"
    assert [line.split("  ")[1].strip() for line in todo] == ["90 s", "not measured", "not measured"]
    assert total == "total  90 s of one processor; 2 not measured"
    assert len({line.index(str(tmp_path)) for line in todo}) == 1


def test_settings_are_other_agents(tmp_path: Path) -> None:
    jobs = [Job("kalman", "coevolution/follow-linear", 0, str(tmp_path), settings=text) for text in ("", '{"a":1}')]
    add_cost(tmp_path, jobs[1].name, jobs[1].experiment, 3, 200.0, 300.0)
    lines = make_plan(jobs).text().splitlines()
    assert (
        "not measured" in lines[0] and "3.3 min" in lines[1] and "3.3 min of one processor; 1 not measured" in lines[2]
    )
