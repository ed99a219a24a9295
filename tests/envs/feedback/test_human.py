"""People as annotators: the console's dialogue, and files of which nothing is lost or asked twice."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs.feedback import human
from valuegym.envs.feedback.annotators import as_annotator
from valuegym.envs.feedback.human import ConsoleAnnotator, FileAnnotator
from valuegym.envs.feedback.segments import Segments
from valuegym.envs.feedback.wrapper import PreferenceFeedback


def segments(n: int, seed: int = 0) -> Segments:
    rng = np.random.default_rng(seed)
    return Segments(rng.normal(size=(n, 4, 2)), rng.integers(3, size=(n, 3)), 7000.0 + rng.random((n, 3)))


FIRST, SECOND = segments(6, 1), segments(6, 2)


def dialogue(text: str, n: int = 6) -> tuple[Any, str, ConsoleAnnotator]:
    output = io.StringIO()
    console = ConsoleAnnotator(input=io.StringIO(text), output=output)
    return as_annotator(console)(FIRST[:n], SECOND[:n], np.random.default_rng(0)), output.getvalue(), console


def test_a_person_answers_at_the_console() -> None:
    answers, shown, console = dialogue("1\n2\n=\n?\n1+++\n2+\n")
    np.testing.assert_array_equal(answers.labels, [0, 1, 0.5, np.nan, 0, 1])
    np.testing.assert_array_equal(answers.strength, [np.nan, np.nan, np.nan, np.nan, 3, 1])
    assert shown.count(human.PROMPT) == 6 and "pair 6 of 6" in shown and "7000" not in shown and not console.stopped
    again, shown, _ = dialogue("\n3\n1++++\n=+\nfirst\n  2 \n", 1)
    assert again.labels.tolist() == [1] and shown.count(human.PROMPT) == 6


@pytest.mark.parametrize("text", ["1\nq\n2\n", "1\n", "1\n3\n"])
def test_pairs_that_are_left_get_no_answer(text: str) -> None:
    answers, _, console = dialogue(text)
    assert answers.labels[0] == 0 and answers.skipped[1:].all() and console.stopped


def test_a_description_sees_no_reward() -> None:
    def blind(segment: Segments) -> str:
        assert len(segment) == 1 and np.isnan(segment.rewards).all()
        return "?"

    console = ConsoleAnnotator(blind, io.StringIO("1\n2\n"), io.StringIO())
    assert console(FIRST[:2], SECOND[:2]).labels.tolist() == [0, 1]


def test_segments_are_described_step_by_step() -> None:
    part = Segments({"x": np.array([[[0.5, 1.25]] * 3]), "n": np.array([[1, 2, 3]])}, np.array([[4, 0]]), lengths=[1])
    assert human.describe(part) == "    0: x [0.5  1.25], n 1; action 4\n  end: x [0.5  1.25], n 2"


def test_pairs_wait_for_answers_in_files(tmp_path: Path) -> None:
    files = FileAnnotator(tmp_path)
    ids = files.submit(FIRST, SECOND)
    assert files.submit(FIRST, SECOND) == ids and sorted(ids) == files.pending() and files.collect() is None
    for name, i in zip(ids, range(6), strict=True):
        one, two = files.pair(name)
        np.testing.assert_array_equal(one.observations, FIRST[i].observations)
        np.testing.assert_array_equal(two.actions, SECOND[i].actions)
        assert np.isnan(one.rewards).all()
    files.answer(ids[0], 1, strength=2, user=5)
    files.answer(ids[3], np.nan)
    found = files.collect()
    assert found is not None and len(found) == 2 and files.collect() is None
    known = found[~found.answers.skipped]
    assert (known.answers.labels, known.answers.strength, known.answers.user) == ([1], [2], [5])
    np.testing.assert_array_equal(known.first.observations, FIRST[0].observations)
    files.answer(ids[1], 0.5)
    assert len(files.collect() or ()) == 1
    later = FileAnnotator(tmp_path)  # after a restart: all answers come, and nothing is asked again
    assert later.submit(FIRST, SECOND) == ids and len(later.collect() or ()) == 3 and len(later.pending()) == 3
    with pytest.raises(ValueError, match="has an answer already"):
        later.answer(ids[0], 0)
    assert json.loads((tmp_path / "answers" / f"{ids[0]}.json").read_text()) == {"label": 1, "strength": 2, "user": 5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "it is no JSON"),
        ("[]", "it holds list"),
        ("{}", r"it has the names \[\]; expected label"),
        ('{"label": 1, "labels": 0}', "it has the names"),
        ('{"label": 2}', r"label is 2.0; expected 0"),
        ('{"label": true}', "label is True"),
        ('{"label": "first"}', "label is 'first'"),
        ('{"label": [1, 0]}', r"label is \[1, 0\]"),
        ('{"label": [1]}', r"label is \[1\]"),
        ('{"label": 1, "strength": 4}', "strength is 4; expected a finite number from 0 to 3"),
        ('{"label": 1, "user": -1}', "user is -1"),
        ('{"label": NaN}', "NaN is no JSON"),
    ],
)
def test_files_that_hold_no_answer_are_named(content: str, message: str, tmp_path: Path) -> None:
    files = FileAnnotator(tmp_path)
    [name] = files.submit(FIRST[:1], SECOND[:1])
    path = tmp_path / "answers" / f"{name}.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"{name}\.json: {message}"):
        files.collect()
    path.write_text('{"label": 1}')
    assert len(files.collect() or ()) == 1


def test_pairs_that_are_not_there_are_named(tmp_path: Path) -> None:
    files = FileAnnotator(tmp_path)
    [name] = files.submit(FIRST[:1], SECOND[:1])
    for call in (lambda: files.pair("none"), lambda: files.answer("../x", 1), lambda: files.pair(f"../pairs/{name}")):
        with pytest.raises(ValueError, match="There is no pair"):
            call()  # type: ignore[no-untyped-call]
    for label in (2, None, "1"):
        with pytest.raises(ValueError, match="label"):
            files.answer(name, label)  # type: ignore[arg-type]
    (tmp_path / "answers" / "abc.json").write_text('{"label": 1}')
    with pytest.raises(ValueError, match="There is no pair 'abc'"):
        files.collect()
    (tmp_path / "pairs" / f"{name}.npz").write_bytes(b"spoilt")
    with pytest.raises(ValueError, match="does not hold the pair of its name"):
        files.pair(name)


def crashes(act: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """Call a function that is interrupted at its first, second, ... system call until it gets through."""
    number = 0
    while True:
        left, real = number, {name: getattr(os, name) for name in ("fdopen", "fsync", "replace", "link", "unlink")}

        def interrupt(*arguments: Any, name: str, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
            return real[name](*arguments, **options)  # noqa: B023

        with monkeypatch.context() as patch:
            for name in real:
                patch.setattr(os, name, lambda *a, name=name, **o: interrupt(*a, name=name, **o))
            try:
                act()
                return number
            except KeyboardInterrupt:
                number += 1


def test_nothing_is_lost_at_whatever_call_it_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids: list[str] = []
    assert crashes(lambda: ids.extend(FileAnnotator(tmp_path).submit(FIRST, SECOND)), monkeypatch) > 2
    assert sorted(set(ids)) == FileAnnotator(tmp_path).pending() and len(set(ids)) == 6

    def answer() -> None:
        files = FileAnnotator(tmp_path)
        for name in files.pending():
            files.answer(name, 1)

    assert crashes(answer, monkeypatch) > 2
    found = FileAnnotator(tmp_path).collect()
    assert found is not None and len(found) == 6 and not FileAnnotator(tmp_path).pending()


WRITER = """
import sys
import numpy as np
from valuegym.envs.feedback.human import FileAnnotator
from valuegym.envs.feedback.segments import Segments
files = FileAnnotator(sys.argv[1])
x = np.arange(60.0).reshape(60, 1, 1) + np.zeros((60, 4, 2))
first, second = Segments(x, x[:, :3]), Segments(-x, x[:, :3])
print("ready", flush=True)
if sys.argv[2] == "submit":
    for i in range(60):
        files.submit(first[i], second[i])
else:
    for name in files.pending():
        files.answer(name, 1, user=int(sys.argv[3]))
        print(name, flush=True)
print("done", flush=True)
"""


def test_nothing_is_lost_or_asked_twice_when_the_process_is_killed(tmp_path: Path) -> None:
    def run(task: str, user: int, seconds: float | None) -> list[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), task, str(user)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        lines = [process.stdout.readline().strip()]
        if seconds is not None:
            time.sleep(seconds)
            os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.read().split()
        process.stdout.close()
        process.wait()
        return lines[1:]

    run("submit", 0, 0.01)
    assert run("submit", 0, None) == ["done"]
    files = FileAnnotator(tmp_path)
    ids = files.pending()
    assert len(ids) == 60 and all(len(files.pair(name)[0]) == 1 for name in ids)
    killed, rest = run("answer", 1, 0.01), run("answer", 2, None)
    assert not set(killed) & set(rest) and rest[-1] == "done"
    found = files.collect()
    assert found is not None and len(found) == 60 and not files.pending() and (found.answers.labels == 1).all()
    assert (found.answers.user == 1).sum() >= len(set(killed) - {"done"})  # those that were reported are stored


def test_a_run_learns_from_answers_that_come_later(tmp_path: Path) -> None:
    def make() -> PreferenceFeedback:
        env = gym.make("CartPole-v1")
        return PreferenceFeedback(env, FileAnnotator(tmp_path), 6, segment_length=4, every=20, rounds=3)

    def play(env: PreferenceFeedback, steps: int) -> list[int]:
        env.reset(seed=0)
        return [t for t in range(steps) if "preferences" in env.step(t % 2)[4]]

    env = make()
    assert play(env, 21) == [] and env.feedback() is None
    files = FileAnnotator(tmp_path)
    assert len(files.pending()) == 2
    text = io.StringIO("1\n2\n")
    assert human.answer_pending(files, ConsoleAnnotator(input=text, output=io.StringIO()), user=3) == 2
    found = env.feedback()
    assert found is not None and sorted(found.answers.labels) == [0, 1] and (found.answers.user == 3).all()
    again = make()  # killed and started again: the same pairs are not asked about, and their answers are there at once
    assert play(again, 25) == [19] and not files.pending() and len(again.feedback() or ()) == 2


def test_the_command_answers_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FileAnnotator(tmp_path).submit(FIRST[:3], SECOND[:3])
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n=\nq\n"))
    assert human.main([str(tmp_path), "--user", "4"]) == 0
    assert "2 answered, 1 to go." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        human.main([str(tmp_path / "none")])
    assert "there are no queries in" in capsys.readouterr().err


@pytest.mark.parametrize("user", [-1, 2**63, True, 1.5])
def test_no_answer_is_lost_to_an_invalid_user(user: Any, tmp_path: Path) -> None:
    files = FileAnnotator(tmp_path)
    one = Segments(np.zeros((1, 3, 1)), np.zeros((1, 2)))
    files.submit(one, one)
    with pytest.raises(ValueError, match="user is"):
        human.answer_pending(files, ConsoleAnnotator(input=io.StringIO("1\n"), output=io.StringIO()), user)
    with pytest.raises(SystemExit):
        human.main([str(tmp_path), "--user", "-1"])


@pytest.mark.parametrize("folder", [3, None, b"x", "a\0b"])
def test_folders_are_paths(folder: Any) -> None:
    with pytest.raises(ValueError, match="expected the path of a folder"):
        FileAnnotator(folder)
