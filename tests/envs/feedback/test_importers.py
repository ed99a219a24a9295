"""Pairs from the formats of other projects: labels by a pair made by hand, and files that are not what they say."""

from __future__ import annotations

import io
import os
import pickle
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from valuegym.envs import array_files
from valuegym.envs.feedback import data, importers
from valuegym.envs.feedback.answers import Feedback

L, D, A = 3, 2, 1

# The pair made by hand: in the good segment the first number of the observation goes up, in the bad one down.
GOOD = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
BAD = np.array([[0.0, 6.0], [-1.0, 6.0], [-2.0, 6.0]])
GO, BACK = np.ones((L, A)), -np.ones((L, A))
REWARD = {"good": np.ones(L), "bad": np.zeros(L)}

# One row for each pair: good against bad, bad against good, good against itself, as the numbers of one format.
PAIRS = [("good", "bad"), ("bad", "good"), ("good", "good")]
OBSERVATIONS, ACTIONS = {"good": GOOD, "bad": BAD}, {"good": GO, "bad": BACK}
EXPECTED = [0.0, 1.0, 0.5]


def stack(table: dict[str, np.ndarray], side: int) -> np.ndarray:
    return np.stack([table[pair[side]] for pair in PAIRS])


def sides(table: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return stack(table, 0), stack(table, 1)


def bpref() -> dict[str, np.ndarray]:
    (o1, o2), (a1, a2) = sides(OBSERVATIONS), sides(ACTIONS)
    return {
        "buffer_seg1": np.concatenate([o1, a1], -1).astype(np.float32),
        "buffer_seg2": np.concatenate([o2, a2], -1).astype(np.float32),
        "buffer_label": np.array([[0.0], [1.0], [-1.0]], np.float32),
    }


def d4rl() -> dict[str, np.ndarray]:
    """Four episodes of L steps and one step more each: good, bad, ended by a terminal state, unfinished."""
    extra = {"good": [3.0, 5.0], "bad": [-3.0, 6.0]}
    rows = [np.vstack([OBSERVATIONS[kind], extra[kind]]) for kind in ("good", "bad", "good", "good")]
    n = (L + 1) * 4
    timeouts, terminals = np.zeros(n, bool), np.zeros(n, bool)
    timeouts[[L, 2 * L + 1]] = True
    terminals[3 * L + 2] = True
    acts = [np.vstack([ACTIONS[kind], [[9.0]]]) for kind in ("good", "bad", "good", "good")]
    rewards = np.concatenate([[*REWARD[kind], 0.0] for kind in ("good", "bad", "good", "good")])
    return {
        "observations": np.concatenate(rows),
        "actions": np.concatenate(acts),
        "terminals": terminals,
        "timeouts": timeouts,
        "rewards": rewards,
    }


INDICES = (np.array([0, L, 0]), np.array([L, 0, 0]))  # over rows without the last ones of the first two episodes


def cpl() -> dict[str, np.ndarray]:
    (o1, o2), (a1, a2), (r1, r2) = sides(OBSERVATIONS), sides(ACTIONS), sides(REWARD)
    arrays = {"obs_1": o1, "obs_2": o2, "action_1": a1, "action_2": a2, "reward_1": r1, "reward_2": r2}
    return {**arrays, "label": np.array([0.0, 1.0, 0.5])}


def cpl_scores() -> dict[str, np.ndarray]:
    old = cpl()
    joined = {name: np.concatenate([old[f"{name}_1"], old[f"{name}_2"]]) for name in ("obs", "action", "reward")}
    return {**joined, "rl_sum": joined["reward"].sum(1)}


def vpl() -> dict[str, np.ndarray]:
    """Two sets, of the first two pairs; equal pairs have no label of their own there."""
    (o1, o2), (a1, a2) = sides(OBSERVATIONS), sides(ACTIONS)
    arrays = {"observations": o1, "observations_2": o2, "actions": a1, "actions_2": a2}
    labels = np.array([[1.0], [0.0]], np.float32)
    return {**{name: value[:2, None] for name, value in arrays.items()}, "labels": labels[..., None]}


def fragments() -> tuple[list[Any], list[Any], np.ndarray]:
    """Fragments have the observation after the last step; the bad one is a step shorter."""
    good = SimpleNamespace(obs=np.vstack([GOOD, [3.0, 5.0]]), acts=GO, rews=np.ones(L), terminal=False)
    bad = SimpleNamespace(obs=BAD, acts=BACK[1:], rews=np.zeros(L - 1), terminal=True)
    made = {"good": good, "bad": bad}
    first, second = ([made[pair[side]] for pair in PAIRS] for side in (0, 1))
    return first, second, np.array([1.0, 0.0, 0.5], np.float32)


def npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def indices(path: Path, labels: Any = (0, 1, -1)) -> Path:
    return npz(path, {"indices_1": INDICES[0], "indices_2": INDICES[1], "labels": np.array(labels)})


def archived(folder: Path) -> Path:
    """Imitation's older archives: infos hold Python objects."""
    first, second, preferences = fragments()
    for name, parts in (("fragments1", first), ("fragments2", second)):
        arrays = {
            "obs": np.concatenate([part.obs for part in parts]),
            "acts": np.concatenate([part.acts for part in parts]),
            "rews": np.concatenate([part.rews for part in parts]),
            "terminal": np.array([part.terminal for part in parts]),
            "indices": np.cumsum([len(part.acts) for part in parts[:-1]]),
            "infos": np.array([{"a": Bomb()}], object),
        }
        np.savez(folder / f"{name}.npz", **arrays)
    np.save(folder / "preferences.npy", preferences)
    return folder


class Bomb:
    """What sets the environment variable BOMB where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import os; os.environ['BOMB'] = '1'",)


def files(kind: str, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Write the pairs in a format, and return the path and the options to read them with."""
    match kind:
        case "bpref":
            return npz(folder / "a.npz", bpref()), {"observation_size": D}
        case "clean-offline-rlhf":
            return indices(folder / "a.npz"), {"trajectories": npz(folder / "d4rl.npz", d4rl()), "steps": L}
        case "preference-transformer":
            path = indices(folder / "a.npz", [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
            return path, {"trajectories": npz(folder / "d4rl.npz", d4rl()), "steps": L}
        case "cpl":
            return npz(folder / "a.npz", cpl()), {}
        case "ipl":
            return npz(folder / "a.npz", cpl_scores()), {"label_key": "rl_sum"}
        case "imitation":
            return archived(folder), {}
    return npz(folder / "a.npz", vpl()), {}


@pytest.fixture(autouse=True)
def _no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOMB", raising=False)


def test_the_bomb_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOMB", "0")
    pickle.loads(pickle.dumps(Bomb()))
    assert os.environ["BOMB"] == "1"


# --- signs ---


@pytest.mark.parametrize("kind", importers.FORMATS)
def test_the_good_segment_wins_in_every_format(kind: str, tmp_path: Path) -> None:
    path, options = files(kind, tmp_path)
    found = importers.read(kind, path, **options)
    assert found.answers.labels.tolist() == EXPECTED[: len(found)] and len(found) == (2 if kind == "vpl" else 3)
    assert np.isnan(found.answers.probability).all()
    for row, (first, second) in enumerate(PAIRS[: len(found)]):
        for segments, name in ((found.first, first), (found.second, second)):
            n = segments.lengths[row]
            assert segments.observations[row, :n].tolist() == OBSERVATIONS[name][:n].tolist()
            assert segments.actions[row, :n].tolist() == ACTIONS[name][:n].tolist()
    better = [segments.observations[:, 2, 0] > 0 for segments in (found.first, found.second)]
    for label, first, second in zip(found.answers.labels, *better, strict=True):
        assert label == 0.5 or (second if label else first)
    data.write(tmp_path / "out", found, source="by hand", licence="CC0")
    assert data.read(tmp_path / "out").feedback.answers.labels.tolist() == found.answers.labels.tolist()


def test_a_label_between_is_a_probability_of_the_second() -> None:
    """Imitation's 0.9 for the first and CPL's 0.1 for the second are the same answer."""
    first, second, _ = fragments()
    soft = importers.from_imitation(first, second, [0.9, 0.25, 0.5])
    assert soft.answers.probability == pytest.approx([0.1, 0.75, 0.5])
    assert soft.answers.labels.tolist() == [0, 1, 0.5]
    arrays = {**cpl(), "label": np.array([0.1, 0.75, 0.5])}
    assert importers.from_cpl(arrays).answers.probability == pytest.approx(soft.answers.probability)
    columns = [[0.9, 0.1], [0.25, 0.75], [0.5, 0.5]]
    indexed = importers.from_indices(*INDICES, columns, d4rl(), L)
    assert indexed.answers.probability == pytest.approx(soft.answers.probability)


def test_sets_of_vpl_are_people(tmp_path: Path) -> None:
    arrays = vpl()
    doubled = {name: np.concatenate([value, value[::-1]], 1) for name, value in arrays.items()}  # (2, 2, ...)
    found = importers.from_vpl(doubled)
    assert found.answers.user.tolist() == [0, 0, 1, 1]
    assert found.answers.labels.tolist() == [0, 1, 1, 0]


# --- what follows the last step ---


def test_the_last_observation_is_repeated_or_its_step_dropped() -> None:
    arrays = bpref()
    take = (arrays["buffer_seg1"], arrays["buffer_seg2"], arrays["buffer_label"], D)
    repeated, dropped = importers.from_bpref(*take), importers.from_bpref(*take, last="drop")
    assert repeated.first.observations[0].tolist() == [*GOOD.tolist(), GOOD[-1].tolist()]
    assert repeated.first.steps == L and dropped.first.steps == L - 1
    assert dropped.first.observations[0].tolist() == GOOD.tolist()
    assert dropped.first.actions[0].tolist() == GO[:-1].tolist()


def test_what_follows_is_taken_where_it_is_known() -> None:
    arrays = {**vpl(), "next_observations": vpl()["observations"] + 1, "next_observations_2": vpl()["observations_2"]}
    assert importers.from_vpl(arrays).first.observations[0, -1].tolist() == (GOOD[-1] + 1).tolist()
    first, second, preferences = fragments()
    found = importers.from_imitation(first, second, preferences)
    assert found.first.observations[0, -1].tolist() == [3.0, 5.0]
    assert found.first.lengths.tolist() == [3, 2, 3] and found.first.terminated.tolist() == [False, True, False]
    assert found.first.rewards[0].tolist() == [1, 1, 1]
    short = importers.from_imitation(first[:1], second[:1], preferences[:1])
    assert (short.first.steps, short.second.steps, short.second.lengths.tolist()) == (L, L, [L - 1])


def test_the_unwritten_rest_of_a_buffer_is_left_out(tmp_path: Path) -> None:
    arrays = {name: np.concatenate([value, value * np.nan]) for name, value in bpref().items()}
    path = npz(tmp_path / "a.npz", {**arrays, "buffer_index": np.array(3), "buffer_full": np.array(False)})
    assert importers.read("bpref", path, observation_size=D).answers.labels.tolist() == EXPECTED
    npz(path, {**arrays, "buffer_index": np.array(3), "buffer_full": np.array(True)})
    with pytest.raises(ValueError, match=r"a\.npz: labels\[3, 0\] is nan"):
        importers.read("bpref", path, observation_size=D)


def test_dictionaries_of_observations_come_by_name() -> None:
    arrays = cpl()
    for number in "12":
        seen = arrays.pop(f"obs_{number}")
        arrays |= {f"obs_{number}.state": seen, f"obs_{number}.goal": seen[..., :1]}
    found = importers.from_cpl(arrays)
    assert sorted(found.first.observations) == ["goal", "state"]
    assert found.second.observations["goal"].shape == (3, L + 1, 1)


# --- indices count the rows that D4RL's qlearning_dataset keeps ---


def reference_rows(terminals: Any, timeouts: Any, limit: int | None) -> list[int]:
    """Rows by the published loop, step by step."""
    kept, episode_step = [], 0
    for i in range(len(terminals) - 1):
        final_timestep = timeouts[i] if timeouts is not None else episode_step == limit - 1
        if final_timestep:
            episode_step = 0
            continue
        if terminals[i]:
            episode_step = 0
        kept.append(i)
        episode_step += 1
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_those_of_the_published_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    terminals, timeouts = rng.random(40) < 0.1, rng.random(40) < 0.1
    assert importers.qlearning_rows(terminals, timeouts).tolist() == reference_rows(terminals, timeouts, None)
    assert importers.qlearning_rows(terminals, None, 7).tolist() == reference_rows(terminals, None, 7)


def test_indices_skip_last_rows_and_see_ends() -> None:
    kept = importers.qlearning_rows(d4rl()["terminals"], d4rl()["timeouts"])
    assert kept.tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14]
    starts = np.array([0, 3, 6, 7, 1])
    found = importers.from_indices(starts, starts, np.zeros(5), d4rl(), L)
    after = found.first.observations[:, -1].tolist()
    assert after[:3] == [[3.0, 5.0], [-3.0, 6.0], [3.0, 5.0]]  # the next row, also where it is skipped as a step
    assert found.first.terminated.tolist() == [False, False, False, True, False]
    assert after[3] == [3.0, 5.0]  # a terminal state: nothing follows, and the next row is another episode's
    assert found.first.info["crosses_end"].tolist() == [False, False, False, False, True]
    assert found.first.rewards.sum(1).tolist() == [3, 0, 3, 2, 2]


def test_a_data_set_of_qlearning_is_taken_as_it_is() -> None:
    raw = d4rl()
    rows = importers.qlearning_rows(raw["terminals"], raw["timeouts"])
    kept = {name: raw[name][rows] for name in ("observations", "actions", "terminals", "rewards")}
    kept["next_observations"] = raw["observations"][rows + 1]
    whole = importers.from_indices(*INDICES, [0, 1, -1], kept, L)
    cut = importers.from_indices(*INDICES, [0, 1, -1], raw, L)
    np.testing.assert_array_equal(whole.first.observations, cut.first.observations)
    across = importers.from_indices([1], [0], [0], kept, L)
    assert across.first.info["crosses_end"].tolist() == [True]
    del kept["next_observations"]
    with pytest.raises(ValueError, match="no timeouts; expected episode_steps"):
        importers.from_indices(*INDICES, [0, 1, -1], kept, L)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terminals": d4rl()["terminals"] * np.nan}, r"terminals\[0\] is nan; expected finite numbers"),
        ({"terminals": np.full(16, 2)}, r"terminals of shape \(16,\): expected \(n,\) of True and False, or 1 and 0"),
        ({"timeouts": np.zeros((16, 1))}, r"timeouts of shape \(16, 1\): expected \(16,\) of True"),
        ({"timeouts": np.zeros(16), "terminals": np.array(["a"] * 16)}, "terminals is .*; expected finite numbers"),
        ({"observations": d4rl()["observations"] + np.inf}, r"of the first segments: observations.* expected finite"),
        ({"rewards": np.array(["a"] * 16)}, "rewards has the type <U1; expected numbers"),
        ({"rewards": np.zeros(3)}, "its arrays have the lengths .*'rewards': 3"),
        ({"actions": None}, "the array 'actions' is missing; expected observations, actions, terminals"),
    ],
)
def test_trajectories_that_do_not_fit_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    npz(tmp_path / "d4rl.npz", changed(d4rl(), **changes))
    with pytest.raises(ValueError, match=message):
        importers.read("clean-offline-rlhf", indices(tmp_path / "a.npz"), trajectories=tmp_path / "d4rl.npz", steps=L)


@pytest.mark.parametrize("kind", importers.FORMATS)
def test_damage_is_harmless_or_one_sentence_with_the_file(kind: str, tmp_path: Path) -> None:
    path, options = files(kind, tmp_path)
    rng = np.random.default_rng(len(kind))
    whole = {file: file.read_bytes() for file in tmp_path.iterdir()}
    refused = 0
    for _ in range(12):
        file = list(whole)[rng.integers(len(whole))]
        content = bytearray(whole[file])
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(len(content)))
            match rng.integers(3):
                case 0:
                    content[at] = int(rng.integers(256))
                case 1:
                    del content[at : at + int(rng.integers(1, 50))]
                case _:
                    content[at:at] = rng.bytes(int(rng.integers(1, 30)))
        file.write_bytes(bytes(content))
        try:
            importers.read(kind, path, **options)
        except ValueError as error:
            refused += 1
            assert str(tmp_path) in str(error) and len(str(error).splitlines()) == 1
        file.write_bytes(whole[file])
    assert refused > 4 and "BOMB" not in os.environ


def test_hdf5_is_read_without_following_links(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "d4rl.hdf5"
    with h5py.File(path, "w") as file:
        for name, value in d4rl().items():
            file[name] = value
    options = {"trajectories": path, "steps": L}
    found = importers.read("clean-offline-rlhf", indices(tmp_path / "a.npz"), **options)
    assert found.answers.labels.tolist() == EXPECTED
    with h5py.File(path, "a") as file:
        del file["rewards"]
        file["rewards"] = h5py.ExternalLink("other.hdf5", "/rewards")
    with pytest.raises(ValueError, match=r"d4rl\.hdf5: rewards is no data set of this file itself"):
        importers.read_trajectories(path)
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(ValueError, match=r"d4rl\.hdf5: it is no whole HDF5 file"):
        importers.read_trajectories(path)


def test_hdf5_without_h5py_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "d4rl.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ModuleNotFoundError, match=r"h5py is needed .*: pip install .*(hdf5|h5py)"):
        importers.read_trajectories(tmp_path / "d4rl.hdf5")


def test_trajectories_of_hugging_face_are_read_but_their_infos(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    first, second, preferences = fragments()
    for name, parts in (("fragments1", first), ("fragments2", second)):
        columns = {field: [getattr(part, field) for part in parts] for field in ("obs", "acts", "rews", "terminal")}
        infos = [['{"py/reduce": [{"py/function": "os.putenv"}]}'] * len(part.acts) for part in parts]
        datasets.Dataset.from_dict({**columns, "infos": infos}).save_to_disk(tmp_path / name)
    np.save(tmp_path / "preferences.npy", preferences)
    found = importers.read("imitation", tmp_path)
    expected = importers.from_imitation(first, second, preferences)
    np.testing.assert_array_equal(found.first.observations, expected.first.observations)
    np.testing.assert_array_equal(found.second.rewards, expected.second.rewards)
    assert found.answers.labels.tolist() == EXPECTED and found.first.terminated.tolist() == [False, True, False]


# --- files that are not what they say ---


def changed(arrays: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**arrays, **changes}.items() if value is not None}


def oversized(path: Path) -> None:
    """An entry whose header says a petabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**47,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("label.npy", header.getvalue() + bytes(64))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(pickle.dumps({"label": Bomb()})), "it is a Python pickle, which could run any"),
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "it is no whole archive"),
        (lambda path: path.write_bytes(b"<html>404</html>"), "it is a web page"),
        (lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"), "it is a pointer of Git LFS"),
        (lambda path: npz(path, changed(cpl(), label=np.array([Bomb()] * 3))), "label: it holds Python objects"),
        (lambda path: npz(path, changed(cpl(), label=None)), "the array 'label' is missing; expected label, found"),
        (lambda path: npz(path, changed(cpl(), label=np.zeros(2))), "There are 3 first .* and 2 answers"),
        (lambda path: npz(path, changed(cpl(), label=np.zeros((3, 2)))), r"label has shape \(3, 2\); expected \(N,\)"),
        (
            lambda path: npz(path, changed(cpl(), label=np.array([0, 1, 2.0]))),
            r"label\[2\] is 2; expected numbers from",
        ),
        (lambda path: npz(path, changed(cpl(), label=np.array([0, np.nan, 1]))), r"label\[1\] is nan; expected finite"),
        (
            lambda path: npz(path, changed(cpl(), label=np.array(["a", "b", "c"]))),
            "label is .*; expected finite numbers",
        ),
        (
            lambda path: npz(path, changed(cpl(), label=np.array([0, 1, -1]))),
            r"label\[2\] is -1; expected numbers from 0",
        ),
        (lambda path: npz(path, changed(cpl(), obs_2=None)), "the array 'obs_2' is missing"),
        (
            lambda path: npz(path, changed(cpl(), obs_1=cpl()["obs_1"] * np.nan)),
            "of the first segments: observations.*nan",
        ),
        (lambda path: npz(path, changed(cpl(), action_1=GO)), "of the first segments: observations .* do not fit"),
        (
            lambda path: npz(path, changed(cpl(), reward_2=np.zeros((3, 9)))),
            "of the second segments: rewards has shape",
        ),
        (oversized, "label: it has 64 bytes of numbers where its header.*the file is cut off"),
    ],
)
def test_faults_are_named_with_the_file(spoil: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", cpl())
    spoil(path)
    with pytest.raises(ValueError, match=rf"a\.npz: {message}") as error:
        importers.read("cpl", path)
    assert len(str(error.value).splitlines()) == 1
    assert "BOMB" not in os.environ


@pytest.mark.parametrize("limit", [100, 900])
def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **cpl())
    monkeypatch.setattr(array_files, "MAX_BYTES", limit)
    with pytest.raises(ValueError, match=rf"a\.npz: its arrays would take \d+ bytes; at most {limit} are read"):
        importers.read("cpl", path)


def test_published_pickles_are_never_opened(tmp_path: Path) -> None:
    """What is said instead is how to convert them; the command works."""
    np.save(tmp_path / "indices_1.npy", INDICES[0])
    np.save(tmp_path / "indices_2.npy", INDICES[1])
    options = {"trajectories": npz(tmp_path / "d4rl.npz", d4rl()), "steps": L}
    planted = tmp_path / "human_label_domain_x_num_3_len_3.pkl"
    planted.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"published as a Python pickle, .* convert it yourself") as error:
        importers.read("clean-offline-rlhf", tmp_path, **options)
    assert "BOMB" not in os.environ and str(planted) in str(error.value)
    planted.write_bytes(pickle.dumps([0, 1, -1]))
    python, *rest = shlex.split(str(error.value).partition("convert it yourself: ")[2])
    assert python == "python"
    subprocess.run([sys.executable, *rest], check=True, timeout=60)
    assert importers.read("clean-offline-rlhf", tmp_path, **options).answers.labels.tolist() == EXPECTED
    assert "BOMB" not in os.environ
    planted_array = tmp_path / "labels.npy"
    planted_array.write_bytes(pickle.dumps([Bomb()]))
    with pytest.raises(ValueError, match=r"labels\.npy: it is a Python pickle"):
        importers.read("clean-offline-rlhf", tmp_path, **options)
    planted_array.unlink()
    planted.unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no labels\.npy in .*; expected indices_1\.npy"):
        importers.read("clean-offline-rlhf", tmp_path, **options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("bpref", {"observation_size": None}, "observation_size is None; expected how many"),
        ("bpref", {"observation_size": 3}, "observation_size is 3"),
        ("bpref", {"last": "guess"}, "last is 'guess'; expected one of 'repeat', 'drop'"),
        ("clean-offline-rlhf", {"steps": None}, "steps is None; expected the length"),
        ("clean-offline-rlhf", {"steps": 20}, "the data set has 13 rows; expected at least 20"),
        ("clean-offline-rlhf", {"steps": 12}, r"the indices of the first segments\[1\] is 3"),
        ("clean-offline-rlhf", {"trajectories": None}, "it holds indices; expected trajectories"),
        ("cpl", {"label_key": "rl_dir"}, "the array 'rl_dir' is missing"),
        ("vpl", {"steps": 3}, "vpl has no option steps"),
    ],
)
def test_options_that_do_not_fit_are_named(kind: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path, given = files(kind, tmp_path)
    with pytest.raises(ValueError, match=message):
        importers.read(kind, path, **{**given, **options})


@pytest.mark.parametrize(
    ("kind", "arrays", "message"),
    [
        ("bpref", lambda: changed(bpref(), buffer_label=np.array([0, 1, 0.5]), buffer_seg1=np.zeros((3, 2))), "shape"),
        (
            "bpref",
            lambda: changed(bpref(), buffer_label=np.array([0, 1, -2.0])),
            r"labels\[2\] is -2; .* or -1 for equal",
        ),
        ("vpl", lambda: changed(vpl(), labels=np.zeros(2)), r"labels has shape \(2,\); expected \(Q, S\)"),
        (
            "vpl",
            lambda: changed(vpl(), actions_2=np.zeros((2, 2, 3, 1))),
            r"actions_2 has shape .*; expected \(2, 1, L",
        ),
        ("vpl", lambda: changed(vpl(), labels=np.array([[0], [-1]])), r"labels\[1\] is -1; expected numbers from 0"),
        ("ipl", lambda: changed(cpl_scores(), label=np.zeros(5)), "label has 5 scores; expected an even number"),
        ("ipl", lambda: changed(cpl_scores(), label=np.zeros(4)), "there are 6 segments and 4 scores"),
        ("imitation", None, "preferences.npy"),
    ],
)
def test_arrays_of_other_formats_that_do_not_fit(kind: str, arrays: Any, message: str, tmp_path: Path) -> None:
    if arrays is None:
        archived(tmp_path)
        np.save(tmp_path / "preferences.npy", np.array([1.0, 2.0, 0.5]))
        with pytest.raises(ValueError, match=r"preferences\[1\] is 2; expected numbers from 0 to 1"):
            importers.read(kind, tmp_path)
        (tmp_path / "preferences.npy").unlink()
        with pytest.raises(FileNotFoundError, match=message):
            importers.read(kind, tmp_path)
        return
    path = npz(tmp_path / "a.npz", arrays())
    options = {"observation_size": D} if kind == "bpref" else {}
    with pytest.raises(ValueError, match=message) as error:
        importers.read(kind, path, **options)
    assert str(error.value).startswith(f"{path}: ")


def test_fragments_that_do_not_fit_are_named_by_number() -> None:
    first, second, preferences = fragments()
    with pytest.raises(ValueError, match="there are 2 second fragments and 3 preferences"):
        importers.from_imitation(first, second[:2], preferences)
    with pytest.raises(ValueError, match=r"of the second fragments, number 1: a fragment is .*; expected one with obs"):
        importers.from_imitation(first, [second[0], {"obs": GOOD}, second[2]], preferences)
    with pytest.raises(ValueError, match="of the first fragments, number 0: observations has shape"):
        importers.from_imitation([{"obs": GOOD, "acts": GO}, *first[1:]], second, preferences)


def test_unknown_formats_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="kind is 'trl'; expected one of 'bpref', 'clean-offline-rlhf'"):
        importers.read("trl", tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        importers.read("cpl", tmp_path / "none.npz")


def test_pairs_are_a_whole(tmp_path: Path) -> None:
    assert isinstance(importers.read("cpl", npz(tmp_path / "a.npz", cpl())), Feedback)


def test_the_page_has_every_format() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    for kind, found in importers.FORMATS.items():
        name = f"from_{found.reader.__name__.removeprefix('read_')}"
        assert f"`{kind}`, `{name}`" in page and hasattr(importers, name)


def spoilt(array: np.ndarray) -> list[np.ndarray]:
    """Return what a file may hold in the place of an array: other shapes and types, and numbers that are none."""
    shapes = [np.zeros(()), np.zeros(0), array[:0], array[:1], array[None], array[..., None], array.reshape(-1)]
    if array.ndim > 1:
        shapes += [array[:, :0], array.swapaxes(0, 1)]
    if array.ndim > 2:
        shapes.append(array[:, :, :0])
    structure = np.zeros(array.shape, [("a", "f8"), ("b", "i4")])
    texts = [array.astype("U8"), array.astype("S8"), structure, np.zeros(array.shape, "V0")]
    times = [np.zeros(array.shape, "M8[s]"), np.zeros(array.shape, "m8[s]")]
    numbers = [np.full(array.shape, value) for value in (np.nan, np.inf, 1e308, 1j, 2**64 - 1)]
    return [*shapes, *texts, *times, *numbers, np.full(array.shape, np.longdouble("1e400"))]


@pytest.mark.parametrize("kind", importers.FORMATS)
def test_other_arrays_are_numbers_or_one_sentence_with_a_file(kind: str, tmp_path: Path) -> None:
    path, options = files(kind, tmp_path)
    for file in sorted(tmp_path.rglob("*.npz")):
        with np.load(file) as archive:
            arrays = {name: archive[name] for name in archive.files if name != "infos"}  # which are never read
        for name, array in arrays.items():
            for other in spoilt(array):
                npz(file, {**arrays, name: other})
                try:
                    found = importers.read(kind, path, **options)
                except ValueError as error:
                    assert str(error).startswith(str(tmp_path)) and str(error).isprintable()
                else:
                    for side in (found.first, found.second):
                        assert side.actions.dtype.kind in "fiub" and np.isfinite(side.actions.astype(float)).all()
        npz(file, arrays)


@pytest.mark.parametrize("name", ["\x1b[31mred", "\u202egnp", "a\nb", "a" * 5000])
def test_names_from_files_are_printed_in_plain_characters(name: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "a.npz", {name: np.zeros(1)})
    with pytest.raises(ValueError, match="the array 'label' is missing") as error:
        importers.read("cpl", path)
    assert str(error.value).isprintable() and len(str(error.value)) < len(str(tmp_path)) + 300
