"""From an environment to pairs, from answers to data sets, and what learners make of them in between."""

from __future__ import annotations

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.agents.preference.regret import Regret
from valuegym.envs import mdp
from valuegym.envs.feedback import data
from valuegym.envs.feedback.wrapper import PreferenceFeedback
from valuegym.envs.preference import datasets, delivery, human_data
from valuegym.labelling import export, films, learner, play, pool, store, worker
from valuegym.labelling.annotator import LabelAnnotator
from valuegym.labelling.store import DatabaseFile
from valuegym.labelling.study import CONDITIONS, Condition, Study
from valuegym.leaderboards.cli.main import main

from .conftest import ENVIRONMENT, PLAIN, Make, dots, invite, segments

pytest.importorskip("PIL")


def better(view: store.PairView, item: store.Item) -> str:
    """Choose the side of lower regret."""
    assert view.lost is not None
    difference = view.lost[0] - view.lost[1]
    if abs(difference) < 1e-9:
        return "same"
    return "right" if (difference > 0) != item.flipped else "left"


def label(database: DatabaseFile, count: int) -> None:
    """Let a person who compares regrets answer so many pairs."""
    study, (person, _) = Study.read(database.folder), invite(database)
    with database.look() as connection:
        for _ in range(count):
            with store.transaction(connection):
                item = store.assign(connection, study, person)
                assert item is not None
                store.answer(connection, study, person, item.n, better(store.pair_of(connection, item.pair), item))


# --- films ---


def test_a_film_holds_every_picture_and_its_still_the_last_or_four() -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    frames = [np.full((8, 12, 3), 20 * i, np.uint8) for i in range(6)]
    film = films.make_film(frames, 100)
    opened = image.open(io.BytesIO(film.film))
    shown = []
    for i in range(opened.n_frames):
        opened.seek(i)
        shown.append((int(np.asarray(opened.convert("RGB")).max()), opened.info["duration"]))
    assert shown == [(20 * i, 300.0 if i == 5 else 100.0) for i in range(6)] and opened.info["loop"] == 0
    still = np.asarray(image.open(io.BytesIO(film.still)).convert("RGB"))
    assert [still[2, 2, 0], still[2, 9, 0], still[6, 2, 0], still[6, 9, 0]] == [0, 40, 60, 100]
    whole = films.make_film(frames, 100, whole=True)
    assert np.asarray(image.open(io.BytesIO(whole.still)).convert("RGB")).min() == 100
    assert (film.id, film.steps) == (whole.id, 5) and films.make_film(frames[::-1]).id != film.id


def test_pictures_are_taken_from_observations_or_drawn() -> None:
    every = segments(2)
    assert len(films.draw_segment(every[0], ENVIRONMENT)) == int(every.lengths[0]) + 1
    pixels = np.zeros((1, 4, 5, 6, 3), np.uint8)
    images = replace(every[0], observations={"state": every[0].observations, "pixels": pixels})
    assert [frame.shape for frame in films.draw_segment(images)] == [(5, 6, 3)] * (int(every.lengths[0]) + 1)
    with pytest.raises(ValueError, match="AddRenderObservation"):
        films.draw_segment(every[0], "CartPole-v1")
    with pytest.raises(ValueError, match="expected uint8"):
        films.make_film([np.zeros((4, 4))])
    with pytest.raises(ValueError, match="no picture"):
        films.make_film([])


# --- pairs ---


def test_rollouts_are_reproducible_segments_with_their_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    env = pool.make_env(ENVIRONMENT, {})
    monkeypatch.setattr(env.unwrapped, "render", lambda: np.zeros((2, 2, 3), np.uint8))
    found = [list(pool.rollouts(env, 30, 4, start_within=9, seed=3)) for _ in range(2)]
    for (one, frames), (other, _) in zip(*found, strict=True):
        assert data.pack(one, one) == data.pack(other, other)
        assert len(frames) == int(one.lengths[0]) + 1 and one.rewards_known
    process = delivery.board_mdp(np.array(delivery.BOARD)[None])
    assert process.next_state is not None
    for one, _ in found[0]:
        steps = int(one.lengths[0])
        cells, moves = one.observations[0], one.actions[0]
        assert (process.next_state[0, cells[:steps], moves[:steps]] == cells[1 : steps + 1]).all()
        assert one.terminated[0] == process.terminal[0, cells[steps]]
    env.close()


def test_pairs_of_rollouts_differ_and_know_what_was_earned_and_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pool.make_env

    def quick(environment: str, arguments: Any) -> Any:
        env = made(environment, arguments)
        cells: Any = env.unwrapped
        monkeypatch.setattr(cells, "render", lambda: dots(replace(segments(1), observations=np.full((1, 4), 0)))[0])
        return env

    monkeypatch.setattr(pool, "make_env", quick)
    database = DatabaseFile(tmp_path, create=True)
    with pytest.raises(ValueError, match="look the same"):
        pool.add_rollouts(database, PLAIN, 4, 5, 1)
    with pytest.raises(ValueError, match="segments is 1"):
        pool.add_rollouts(database, PLAIN, 1, 5, 1)


def test_regret_is_what_better_moves_would_have_earned() -> None:
    earned, lost = pool.numbers_of(gym.make(ENVIRONMENT))
    every = segments(50)
    assert lost is not None
    process = delivery.board_mdp(np.array(delivery.BOARD)[None])
    values = mdp.optimal_values(process, mdp.reward(process, np.array(delivery.WEIGHTS)))[0][0]
    values[process.terminal[0]] = 0.0
    g, rows = process.discount, np.arange(50)
    discounted = (every.rewards * g ** np.arange(3)).sum(1)
    start, end = values[every.observations[:, 0]], values[every.observations[rows, every.lengths]]
    np.testing.assert_allclose(lost(every), start - discounted - g**every.lengths * end, atol=1e-9)
    np.testing.assert_allclose(earned(every), every.rewards.sum(1))
    assert pool.numbers_of(gym.make("CartPole-v1"))[1] is None


def test_conditions_that_show_what_is_not_known_are_refused() -> None:
    regret = replace(PLAIN, conditions={"regret": CONDITIONS["regret"]})
    with pytest.raises(ValueError, match="shows the regret"):
        pool.check_conditions(regret, True, False)
    with pytest.raises(ValueError, match="shows the partial return"):
        pool.drawn_pairs(segments(2), segments(2), replace(PLAIN, conditions={"a": CONDITIONS["partial_return"]}), dots)


# --- the game ---


def test_a_game_counts_what_is_earned_and_begins_again() -> None:
    game = play.Game(PLAIN, seed=1)
    before = game.picture
    assert [control.name for control in game.controls] == list(delivery.ACTIONS)
    for _ in range(3):
        game.move(3)
    assert game.total <= -3.0 + 51 and game.picture != before and game.picture.startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="control is 4"):
        game.move(4)
    games = play.Games(PLAIN)
    assert games.of(1) is games.of(1) is not games.of(2)
    games.leave(1)
    assert len({id(games.of(n)) for n in (1, 2)}) == 2


def test_controls_of_boxes_and_of_spaces_that_nobody_can_play() -> None:
    box = play.controls("Pendulum-v1", gym.spaces.Box(-2, 2, (1,), np.float32))
    assert [(one.name, float(one.action[0])) for one in box] == [("nothing", 0.0), ("low", -2.0), ("high", 2.0)]
    keys = [key for one in box for key in one.keys.split()]
    assert len(keys) == len(set(keys))
    assert len(play.controls("x", gym.spaces.Box(0, 1, (2, 2)))) == 9
    for space in (gym.spaces.Discrete(50), gym.spaces.Box(0, 1, (9,)), gym.spaces.MultiBinary(3)):
        with pytest.raises(ValueError, match="play_steps=0"):
            play.controls("x", space)


# --- learners ---


def test_the_worker_learns_the_task_and_chooses_what_tells_most(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner.rendering, "rgb", lambda *_: np.zeros((4, 4, 3), np.uint8))
    database = make(pairs_per_person=100)
    fitting = worker.Fitting(str(database.folder))
    assert not fitting.step(), "there is nothing to learn from yet"
    label(database, 20)
    assert fitting.step() and not fitting.step()
    label(database, 9)
    assert fitting.step()
    with database.look() as connection:
        (first, _), (last, about) = store.fits(connection)
        rows = connection.execute("SELECT given, priority FROM pairs").fetchall()
        film = store.last_film(connection)
    assert (first, last) == (20, 29) and about["score"] > 0.9 and about["predicted"] > 0.5
    assert film is not None and film.startswith(b"\x89PNG")
    assert any(priority > 0 for given, priority in rows if given == 0) and len(rows) == 40


def test_the_ensemble_learns_from_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    N = 40
    monkeypatch.setattr(learner, "STEPS", 60)

    def side() -> Any:
        shades = rng.integers(0, 255, (N, 4))
        pixels = np.broadcast_to(shades[..., None, None, None], (N, 4, 20, 30, 3)).astype(np.uint8)
        return replace(segments(N), observations={"pixels": pixels})

    first, second = side(), side()
    bright = [one.observations["pixels"][:, :3].mean((1, 2, 3, 4)) for one in (first, second)]
    labels = (bright[1] > bright[0]) * 1.0
    found = learner.EnsembleLearner(replace(PLAIN, learner="ensemble"))
    assert found.predict(first, second) is None
    feedback = pool.Feedback(first, second, store.Answers(labels))
    fitted = found.fit(feedback, (first[:10], second[:10]))
    chances = found.predict(first, second)
    assert chances is not None and ((chances > 0.5) == (labels == 1)).mean() > 0.9
    assert fitted.priority.shape == (10,) and (fitted.priority >= 0).all() and math.isnan(fitted.score)


def test_each_study_has_the_learner_that_suits_it() -> None:
    assert isinstance(learner.learner_of(PLAIN), learner.BayesRegretLearner)
    assert learner.learner_of(replace(PLAIN, learner="none")) is None
    for changes in ({"environment": "CartPole-v1"}, {"arguments": {"observation": "image"}}):
        with pytest.raises(ValueError, match="learner is 'bayes_regret'"):
            learner.learner_of(replace(PLAIN, learner="bayes_regret", **changes))


# --- the suite's formats ---


def test_answers_go_out_in_both_formats_and_are_accepted(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = make(conditions={"a": Condition("Which?"), "b": Condition()}, pairs_per_person=15, check_every=6)
    for _ in range(2):
        label(database, 15)
    folder = str(database.folder)
    words = ["label", "export", folder, "--licence", "CC0", "--source", "a test", "--output"]
    assert main([*words, str(tmp_path / "out")]) == 0
    feedback, card = data.read(tmp_path / "out")
    assert card["environment"] == ENVIRONMENT and len(feedback) == card["pairs"]
    assert not feedback.first.rewards_known and set(feedback.answers.user.tolist()) == {1, 2}
    assert set(feedback.first.info["condition"].tolist()) == {"a", "b"}
    assert (feedback.first.info["on_left"] != feedback.second.info["on_left"]).all()
    assert (feedback.first.info["seconds"] >= 0).all()
    capsys.readouterr()
    assert main(["data", "check", str(tmp_path / "out")]) == 0
    assert f"{len(feedback)} answered pairs of 2 people from {ENVIRONMENT}" in capsys.readouterr().out
    assert main([*words, str(tmp_path / "rewards"), "--rewards"]) == 0
    assert data.read(tmp_path / "rewards").feedback.first.rewards_known
    with pytest.warns(UserWarning, match="reversed|noticed"):
        assert main([*words, str(tmp_path / "human"), "--to", "delivery"]) == 0
    assert datasets.present(tmp_path / "human") == ["label-a", "label-b"]
    human = human_data.read(tmp_path / "human", "label-a")
    assert human_data.mismatches(human) == 0
    ours = feedback.answers.labels[feedback.first.info["condition"] == "a"]
    np.testing.assert_array_equal(human.labels, ours)
    assert main(["data", "check", "human-delivery", "--data", str(tmp_path / "human")]) == 0


@pytest.mark.slow
def test_answers_of_500_pairs_teach_the_regret_learner_the_task(tmp_path: Path) -> None:
    every = replace(PLAIN, pairs_per_person=500, learner="none")
    first, second = segments(500, 5), segments(500, 6)
    made = pool.drawn_pairs(first, second, every, dots, pool.numbers_of(gym.make(ENVIRONMENT)))
    database = DatabaseFile(tmp_path / "study", create=True)
    every.write(database.folder)
    with database.change() as connection:
        store.add_films(connection, made[0])
        store.add_pairs(connection, made[1], np.random.default_rng(0))
    with database.look() as connection:
        connection.execute("PRAGMA synchronous=OFF").close()
    label(database, len(made[1]))
    assert regret_score(database, tmp_path / "out") >= 0.9


def regret_score(database: DatabaseFile, output: Path) -> float:
    """Return the normalised return of the policy that `regret` learns from the exported answers."""
    export.write_preferences(database, output, "a test", "CC0")
    feedback = data.read(output).feedback
    feedback = feedback[~feedback.answers.skipped]
    process = delivery.board_mdp(np.array(delivery.BOARD)[None])
    agent = Regret(gym.make("valuegym/RewardInference-v0"))
    pairs = learner.delivery_pairs(feedback.first, feedback.second)
    weights = agent.estimate(process, pairs, feedback.answers.labels, np.random.default_rng(0))
    true = mdp.reward(process, np.array(delivery.WEIGHTS))
    policy = mdp.optimal_policy(process, mdp.reward(process, weights))
    return float(mdp.normalised_return(process, true, policy)[0])


# --- a run that trains meanwhile ---


def test_people_answer_a_run_that_goes_on(tmp_path: Path) -> None:
    env = gym.make(ENVIRONMENT)
    annotator = LabelAnnotator(tmp_path / "study", replace(PLAIN, play_steps=0), draw=dots)
    asking = PreferenceFeedback(env, annotator, 6, segment_length=3, every=20, rounds=2, horizon=20, seed=0)
    collected = 0
    for episode in range(3):
        asking.reset(seed=episode)
        for _ in range(20):
            info = asking.step(env.action_space.sample())[-1]
            collected += len(info.get("preferences", ()))
        if episode == 0:
            with annotator.database.look() as connection:
                assert store.count_pairs(connection) == (3, 3)
            person, _ = invite(annotator.database)
            with annotator.database.change() as connection:
                for _ in range(2):
                    item = store.assign(connection, annotator.study, person)
                    assert item is not None
                    store.answer(connection, annotator.study, person, item.n, "left")
    assert collected == 2
    feedback = asking.feedback()
    assert feedback is not None and len(feedback) == 2 and not feedback.first.rewards_known
    again = LabelAnnotator(tmp_path / "study").collect()
    assert again is not None and len(again) == 2, "a new object returns all answers again"
    with annotator.database.look() as connection:
        assert not data.unpack(connection.execute("SELECT content FROM pairs").fetchone()[0])[0].rewards_known
    annotator.close()


def test_an_annotator_says_what_it_cannot_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="draw is 3"):
        LabelAnnotator(tmp_path, draw=3)  # type: ignore[arg-type]
    annotator = LabelAnnotator(tmp_path / "study")
    with pytest.raises(ValueError, match="AddRenderObservation"):
        annotator.submit(segments(1), segments(1, 1))
    own = LabelAnnotator(tmp_path / "study", draw=dots)
    assert own.submit(segments(2), segments(2, 1)) == own.submit(segments(2), segments(2, 1))


# --- the command ---


def test_a_study_from_a_data_set_by_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    answers = store.Answers(np.zeros(3))
    pairs = pool.Feedback(segments(3), segments(3, 1), answers)
    data.write("pairs", pairs, source="a test", licence="CC0", environment=ENVIRONMENT)
    Path("pictures.py").write_text(
        "import numpy as np\n\ndef draw(segment):\n    assert not segment.rewards_known\n"
        "    cells = segment.observations[0, : int(segment.lengths[0]) + 1]\n"
        "    return [np.full((4, 4, 3), cell, np.uint8) for cell in cells]\n"
    )

    def command(*words: str) -> str:
        assert main(["label", *words]) == 0
        return capsys.readouterr().out

    out = command("new", "study", "--from", "pairs", "--draw", "pictures.py:draw", "--contact", "A. Person")
    assert "3 pairs stored" in out
    out = command("invite", "study", "--people", "2", "--port", "8123")
    assert out.count("http://127.0.0.1:8123/#") == 2
    label(DatabaseFile("study"), 2)
    out = command("status", "study")
    assert "2 answers to 3 pairs" in out and "bayes" not in out
    assert "1 person deleted" in command("delete", "study", "--person", "3")
    assert "0 answers" in command("status", "study")
    assert "2 people deleted" in command("delete", "study", "--everybody")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["new", "s"], "--environment ID, or --from"),
        (["new", "s", "--environment", "Nothing-v0"], "cannot be made"),
        (["new", "s", "--environment", ENVIRONMENT, "--condition", "all"], "There is no condition 'all'"),
        (["new", "s", "--environment", ENVIRONMENT, "--agent", "nobody"], "There is no agent 'nobody'"),
        (["new", "s", "--environment", "valuegym/RewardInference-v0", "--argument", "no=1"], "cannot be made"),
        (["invite", "s"], "valuegym label new s"),
        (["serve", "s"], "valuegym label new s"),
        (["status", "s"], "valuegym label new s"),
        (["delete", "s"], "--person NUMBER"),
        (["export", "s", "--output", "o", "--least-passed", "2"], "--least-passed is 2.0"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    fault: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["label", *words]) == 2
    assert fault in capsys.readouterr().err


def test_a_missing_extra_is_named(make: Make, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import sys

    database = make()
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["label", "serve", str(database.folder)]) == 2
    assert "valuegym[label]" in capsys.readouterr().err


# --- the page about it ---


@pytest.mark.slow
def test_the_commands_and_the_code_of_the_page_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All but `serve`, with fewer segments, and with a few answers before they are exported."""
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).resolve().parents[2] / "docs" / "labelling.md").read_text(encoding="utf-8")
    done = []
    for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[0] != "valuegym" or words[2] == "serve":
                continue
            if words[2] == "export":
                label(DatabaseFile("study"), 3)
            assert main(words[1:] + (["--segments", "6", "--pairs", "9"] if words[2] == "new" else [])) == 0, line
            done.append(words[2])
    assert done == ["new", "invite", "status", "export", "check"]
    assert "3 answered pairs of 1 person" in capsys.readouterr().out
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    found["env"].reset(seed=0)
    for _ in range(200):
        found["env"].step(found["env"].action_space.sample())
    with found["people"].database.look() as connection:
        assert store.count_pairs(connection)[0] == 10
