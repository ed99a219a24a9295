"""Each registered world against its pin: a hash of its behaviour, recomputed here, so that no change goes unnoticed.

`pins.json` holds one pin for each world below: every id as registered, and variants whose arguments select other random
draws. When a pin fails, older records of that world no longer verify. If the change is intended, list the id in
CHANGELOG under Breaking and regenerate the file: `python tests/envs/test_pins.py --write`.

A pin depends on values, not on the names or the order of fields, so it survives when a field, a key of the observation
or an argument is renamed. It is exact where a core promises the same bits on every machine (its tolerance is 0). It is
rounded to DECIMALS where the core allows its replays a tolerance, and for MuJoCo, where pins belong to one version.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest

import valuegym.envs
from valuegym.envs import ENVS, THIRD_PARTY, keys
from valuegym.envs.preference import annotators, human_data, maps
from valuegym.envs.preference.reward_inference import RewardInference

PINS = Path(__file__).with_name("pins.json")
COMMAND = "python tests/envs/test_pins.py --write"
SEEDS, EPISODES, STEPS = (0, 1), 3, 12
DECIMALS = 6
PARTS = ("task", "state", "observation", "reward")

Pin = dict[str, str]
Piece = tuple[str, bytes]


class World(NamedTuple):
    """One environment to pin: a registered id, arguments, and at most how many steps of each episode."""

    id: str
    kwargs: dict[str, Any] = {}
    steps: int = STEPS


# Their boards are larger than those of the variants below, and take long to solve.
LARGE = {f"valuegym/{name}-v0" for name in ("RewardInference", "RewardInferenceActive", "RewardInferencePolicy")}
FAMILIES = ("linear", "logistic", "random-walk", "ornstein-uhlenbeck", "regime-switch", "population")
DISTRACTORS = ("noise", "linear", "rotation", "chaotic", "published", "action_driven", "correlated")


def worlds(folder: Path) -> dict[str, World]:
    """Return every world by the name of its pin; `folder` is that of `write_data`.

    The ids as they are registered, and variants that exercise draws which those leave out.
    """
    delivery, random, risky = (f"valuegym/{name}-v0" for name in ("Delivery", "RandomDelivery", "RiskyDelivery"))
    inference, active, probe = (
        f"valuegym/{name}-v0" for name in ("RewardInference", "RewardInferenceActive", "ProbeInference")
    )
    follow, predict, coevolve, lock_in = (f"valuegym/{name}-v0" for name in ("Follow", "Predict", "Coevolve", "LockIn"))
    tokens = "valuegym/TokenProcess-v0"
    lqr, preferences, pendulum = (f"valuegym/{name}-v0" for name in ("LQR", "LQRFromPreferences", "Pendulum-D8"))
    short = {"evaluation_points": [0, 1, 3]}
    small = {"size": [4, 5], **short}
    variants = {
        "features": World(delivery, {"observation": "features"}),
        "image": World(delivery, {"observation": "image", "reward": "hidden"}, 2),
        "the published board": World(random, {"board": "published"}),
        "stored boards": World(random, {"board": "stored", "data": str(folder)}),
        "train": World(random, {"split": "train", "observation": "planes"}),
        "dev, of a size": World(random, {"split": "dev", "size": [4, 7], "observation": "features"}),
        "a map": World(risky, {"board": "..G\n.S.\nS.."}),
        "train, wide": World(risky, {"split": "train", "size": [4, 7]}),
        "to the end": World(inference, small),
        "risky": World(inference, {"board": "risky", "annotator": "regret-lapse", **short}),
        "a board, noiseless": World(inference, {"board": "published", "annotator": "regret-noiseless", **short}),
        "people": World(inference, {"annotator": "human:Lab", "data": str(folder), **short}),
        "relabelled": World(inference, {"annotator": "human:Lab", "relabel": True, "data": str(folder), **short}),
        "unseen maps": World(inference, {"board": "published", "relabel": True, "unseen": 2, **short}),
        "policies": World("valuegym/RewardInferencePolicy-v0", {"annotator": "end-state", "length": 5, **small}),
        "dev split": World(inference, {"split": "dev", "annotator": "partial-return", "size": [4, 4], **short}),
        "few candidates": World(active, {"candidates": 3, "board": "risky", **short}),
        **{
            f"{name}, {annotator}": World(
                probe, {"probe": name, "annotator": annotator, "evaluation_points": [0, 2, 6]}
            )
            for name in ("lottery", "variable-horizon", "single-step")
            for annotator in ("regret", "partial-return")
        },
        **{name: World(follow, {"family": name, "people": 20}) for name in FAMILIES},
        "choices": World(
            follow, {"responses": "choices", "delay": 2, "strategic": 0.2, "listening": 0.0, "people": 20}
        ),
        "given items": World(
            follow, {"responses": "choices", "items": str(folder / "items.csv"), "dimensions": 2, "people": 20}
        ),
        "recorded": World(
            follow, {"family": str(folder / "path.csv"), "dimensions": 2, "steps": 4, "people": 20, "delay": 1}
        ),
        "scale-free": World(follow, {"network": "barabasi-albert", "people": 20, "family": "linear"}),
        "ahead": World(predict, {"horizon": 2, "people": 20, "family": "random-walk"}),
        "small world": World(
            coevolve,
            {"network": {"name": "watts-strogatz", "neighbours": 4, "seed": 1}, "people": 20, "responses": "choices"},
        ),
        "three groups": World(coevolve, {"people": 12, "dimensions": 2, "delay": 2, "family": "logistic"}),
        "few people": World(lock_in, {"people": 5, "steps": 6}),
        "another world": World(tokens, {"vocabulary": 3, "length": 7, "prompts": 3, "world": 11, "pair": 2.0}),
        "few answers": World("valuegym/FollowLanguage-v0", {"budget": 7, "respondents": 3, "horizon": 2, "steps": 5}),
        "loud": World("valuegym/CoevolveLanguage-v0", {"budget": 7, "influence": 0.6, "retention": 0.8, "steps": 5}),
        "rotated": World(lqr, {"distractors": 3, "rotated": True, "noise": 0.1}),
        "rotated, by costs": World(
            preferences,
            {
                "annotator": "partial-return",
                "rotated": True,
                "transitions": 20,
                "length": 2,
                "evaluation_points": [0, 1, 3],
            },
        ),
        "train, noiseless": World(
            preferences,
            {"annotator": "regret-noiseless", "split": "train", "transitions": 20, "evaluation_points": [0, 1, 3]},
        ),
        **{
            f"{kind}, {'coupled' if coupling else 'alone'}": World(
                pendulum, {"kind": kind, "number": 5, "coupling": coupling, "map_seed": 3}
            )
            for kind in DISTRACTORS
            for coupling in ((1.0, 0.0) if kind not in ("action_driven", "correlated") else (1.0,))
        },
    }
    registered = {id: World(id, steps=4 if id in LARGE else STEPS) for id in ENVS}
    return registered | {f"{world.id} ({name})": world for name, world in variants.items()}


@contextmanager
def worlds_with_data() -> Iterator[dict[str, World]]:
    """Yield every world, with a folder of data for some of them; its boards are accepted as the published ones."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "DIGEST", write_data(Path(folder)))
        yield worlds(Path(folder))


def write_data(folder: Path) -> str:
    """Write what the worlds with data of one's own read: boards, answers, a path, items; return the boards' digest."""
    core = RewardInference(annotator="regret", board="published", length=3, evaluation_points=(20,))
    task, _ = core.initial(keys.mix(0, np.arange(1)))
    pairs, answer = core.query(type(task)(*(np.repeat(field, 20, 0) for field in task)), np.arange(1, 21))
    starts = np.stack(np.divmod(pairs.states[..., 0], 10), -1)
    actions = np.where(pairs.mask, pairs.actions, -1)
    with warnings.catch_warnings():  # twenty answers are too few to notice reversed labels
        warnings.simplefilter("ignore", UserWarning)
        human_data.write(folder, "Lab", starts, actions, annotators.labels(answer), source="simulated", licence="CC0")
    (folder / "items.csv").write_text("care,trust\n1,0\n-1,0.5\n0,1\n")
    (folder / "path.csv").write_text("year,trust,care\n" + "".join(f"{t},{t % 4 / 4},{t % 7 / 8}\n" for t in range(30)))
    boards = {f"{maps.MAIN}{n}": {"board": [[0, 0, 1], [2, 4, n]], "reward_weights": [-1, 9, -9, 3, -2, -n]}
              for n in range(2, 6)}  # fmt: skip
    (folder / maps.FILE).write_text(json.dumps(boards))
    return maps.content_digest(boards)


# --- how a pin is made ---


def leaves(value: Any) -> Iterator[Any]:
    """Yield the arrays, numbers and texts that a value is made of, whatever holds them."""
    if value is None:
        return
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            yield from leaves(part)
    else:
        yield value


def hashed(leaf: Any, exact: bool) -> bytes:
    """Return a hash of the kind, shape and values of a leaf, rounded unless exact; the width of a type is no part."""
    array = np.asarray(leaf)
    if array.dtype.kind == "f":
        array = array.astype("<f8") if exact else np.round(array.astype("<f8"), DECIMALS) + 0.0
    elif array.dtype.kind in "iu":
        array = array.astype(f"<{array.dtype.kind}8")
    elif array.dtype.kind == "U":
        array = array.astype("<U64")
    elif array.dtype.kind != "b":
        raise TypeError(f"A pin cannot hash {type(leaf).__name__}; say in `leaves` of which values it is made.")
    return hashlib.sha256(f"{array.dtype.kind}{array.shape}".encode() + array.tobytes()).digest()


def fingerprint(value: Any, exact: bool) -> bytes:
    """Return a hash of all leaves of a value, in no order and without their names."""
    return hashlib.sha256(b"".join(sorted(hashed(leaf, exact) for leaf in leaves(value)))).digest()


def fixed_action(space: Any, seed: int, episode: int, t: int) -> Any:
    """Return an action that depends on nothing but these numbers; not by `keys`, which tests move."""
    n = int(np.prod(space.shape))
    draws = hashlib.shake_256(f"{seed} {episode} {t}".encode()).digest(8 * n)
    uniform = (np.frombuffer(draws, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
    if isinstance(space, gym.spaces.Discrete):
        return int(uniform[0] * space.n)
    return (space.low + uniform.reshape(space.shape) * (space.high - space.low)).astype(space.dtype)


def hidden(env: gym.Env[Any, Any]) -> dict[str, Any]:
    """Return what the agent is not given: task and state of a core, or positions and velocities of MuJoCo."""
    bare: Any = env.unwrapped
    if hasattr(bare, "core"):
        return {"task": bare.task, "state": bare.state}
    return {"state": (bare.data.qpos, bare.data.qvel)}


def trace(world: World) -> Iterator[Piece]:
    """Yield the part of the pin and a hash for everything that the world puts out."""
    env = gym.make(world.id, **world.kwargs)
    core = getattr(env.unwrapped, "core", None)
    exact = core is not None and getattr(core, "tolerance", 0.0) == 0.0
    for seed in SEEDS:
        for episode in range(EPISODES):
            observation, _ = env.reset(seed=seed if episode == 0 else None)
            seen: dict[str, Any] = {**hidden(env), "observation": observation}
            yield from ((part, fingerprint(value, exact)) for part, value in seen.items())
            for t in range(world.steps):
                action = fixed_action(env.action_space, seed, episode, t)
                observation, *paid, _ = env.step(action)
                seen = {"state": hidden(env)["state"], "observation": observation}
                yield from ((part, fingerprint(value, exact)) for part, value in seen.items())
                # Not by `fingerprint`, for the order of terminated and truncated matters.
                yield "reward", b"".join(hashed(value, exact) for value in paid)
                if paid[1] or paid[2]:
                    break


def pin_of(pieces: Iterable[Piece]) -> Pin:
    """Return the pin of a trace: one hash for each part."""
    parts: dict[str, Any] = {}
    for part, piece in pieces:
        parts.setdefault(part, hashlib.sha256()).update(piece)
    return {part: parts[part].hexdigest()[:32] for part in PARTS if part in parts}


def compare(name: str, found: Pin, pins: dict[str, Pin]) -> None:
    """Raise AssertionError if a world differs from its pin or has none."""
    if name not in pins:
        raise AssertionError(f"{name} has no pin. If the world is new, give it one: {COMMAND}")
    parts = [part for part in PARTS if found.get(part) != pins[name].get(part)]
    if parts:
        raise AssertionError(
            f"{name} has moved: its {', '.join(parts)} differ from the pin, so no older record of it verifies. Find "
            f"the change; if it is intended, run {COMMAND} and list the id in CHANGELOG under Breaking."
        )


def mujoco_version() -> str | None:
    """Return the version of MuJoCo; None where it is not installed."""
    if find_spec("mujoco") is None:
        return None
    from importlib.metadata import version

    return version("mujoco")


def stored() -> dict[str, Any]:
    """Return the pins of pins.json: of cores by world, of MuJoCo by version and id."""
    return json.loads(PINS.read_text(encoding="utf-8")) if PINS.exists() else {"cores": {}, "mujoco": {}}


def write() -> None:
    """Regenerate the pins; keep those of other versions of MuJoCo."""
    with worlds_with_data() as all_worlds:
        cores = {name: pin_of(trace(world)) for name, world in all_worlds.items()}
    mujoco = stored()["mujoco"]
    if (version := mujoco_version()) is not None:
        mujoco[version] = {id: pin_of(trace(World(id))) for id in THIRD_PARTY}
    content = {"cores": cores, "mujoco": mujoco}
    PINS.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{PINS}: {len(cores)} worlds of cores, {len(THIRD_PARTY)} of MuJoCo {version or '(not installed)'}")


# --- how draws are watched and moved ---

DRAWS = [
    name
    for name, f in vars(keys).items()
    if inspect.isfunction(f) and not name.startswith("_") and next(iter(inspect.signature(f).parameters)) == "key"
]
SALT = np.uint64(0x5EED_0F0D_D000_0001)


class Draw(NamedTuple):
    """One place at which a world draws, and the constants that tell its draws there apart."""

    file: str
    line: int
    function: str
    kind: str
    counters: tuple[int, ...]
    at_reset: bool

    @property
    def site(self) -> tuple[str, str, str]:
        """Module, function and kind of draw, without line and constants."""
        return Path(self.file).stem, self.function, self.kind


@contextmanager
def watched(move: Callable[[Draw], bool]) -> Iterator[set[Draw]]:
    """Collect all draws, and make those that `move` picks from another stream.

    Empty draws and choices among one are left out, for nothing depends on them.
    """
    made: set[Draw] = set()
    originals = {kind: getattr(keys, kind) for kind in DRAWS}

    def wrapped(kind: str) -> Callable[..., Any]:
        def draw(key: Any, *counters: Any) -> Any:
            frame = sys._getframe(1)
            module = frame.f_globals.get("__name__", "")
            if module == keys.__name__ or not module.startswith("valuegym.envs."):
                return originals[kind](key, *counters)
            at_reset, caller = False, frame
            while caller.f_back is not None and caller.f_code is not trace.__code__:
                at_reset |= caller.f_code.co_name == "initial" and "self" in caller.f_locals
                caller = caller.f_back
            fixed = tuple(c for c in counters if type(c) is int)
            site = Draw(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, kind, fixed, at_reset)
            out = originals[kind](key, *counters)
            if np.size(out) and not (kind == "integers" and np.all(np.equal(counters[0], 1))):
                made.add(site)
                if move(site):
                    return originals[kind](np.asarray(key).astype(np.uint64) ^ SALT, *counters)
            return out

        return draw

    for kind in DRAWS:
        setattr(keys, kind, wrapped(kind))
    try:
        yield made
    finally:
        for kind, original in originals.items():
            setattr(keys, kind, original)


class Played(NamedTuple):
    """The trace of a world, and the draws that it made."""

    pieces: list[Piece]
    draws: frozenset[Draw]


_PLAYED: dict[str, Played] = {}


def played(world: World, name: str) -> Played:
    """Return the trace of a world and its draws, played once."""
    if name not in _PLAYED:
        with watched(lambda draw: False) as made:
            pieces = list(trace(world))
        _PLAYED[name] = Played(pieces, frozenset(made))
    return _PLAYED[name]


def is_unchanged(world: World, before: list[Piece], move: Callable[[Draw], bool]) -> bool:
    """Tell whether the trace of a world stays the same when the draws that `move` picks are moved."""
    with watched(move):
        return all(a == b for a, b in zip_longest(trace(world), before))


# --- the pins hold ---

NAMES = list(worlds(Path()))


@pytest.fixture(scope="module")
def all_worlds() -> Iterator[dict[str, World]]:
    with worlds_with_data() as every:
        yield every


@pytest.mark.parametrize("name", NAMES)
def test_core_matches_its_pin(name: str, all_worlds: dict[str, World]) -> None:
    compare(name, pin_of(played(all_worlds[name], name).pieces), stored()["cores"])


@pytest.mark.parametrize("id", THIRD_PARTY)
def test_mujoco_matches_its_pin(id: str) -> None:
    version, pins = mujoco_version(), stored()["mujoco"]
    if version is None:
        pytest.skip("needs the extra `control`, which brings MuJoCo")
    if version not in pins:
        pytest.skip(f"there are no pins for MuJoCo {version}, only for {', '.join(sorted(pins))}")
    compare(id, pin_of(trace(World(id))), pins[version])


def test_every_pin_has_an_id_and_every_id_a_pin() -> None:
    pins = stored()
    assert set(ENVS) <= set(NAMES)
    assert pins["mujoco"], f"No MuJoCo id has a pin; install the extra `control` and run {COMMAND}"
    for kind, expected, found in (
        ("cores", set(NAMES), set(pins["cores"])),
        *((f"MuJoCo {version}", set(THIRD_PARTY), set(of)) for version, of in pins["mujoco"].items()),
    ):
        assert not expected - found, f"Without a pin ({kind}): {sorted(expected - found)}. Run {COMMAND}"
        assert not found - expected, f"Pins of no world ({kind}): {sorted(found - expected)}. Run {COMMAND}"


def test_missing_and_moved_pins_are_named() -> None:
    pin = dict.fromkeys(PARTS, "0")
    with pytest.raises(AssertionError, match=r"valuegym/New-v0 has no pin"):
        compare("valuegym/New-v0", pin, {})
    with pytest.raises(AssertionError, match="valuegym/Old-v0 has moved: its state, reward differ"):
        compare("valuegym/Old-v0", pin, {"valuegym/Old-v0": pin | {"state": "1", "reward": "1"}})
    compare("valuegym/Old-v0", pin, {"valuegym/Old-v0": pin})


def test_names_and_order_are_no_part_of_a_pin() -> None:
    class A(NamedTuple):
        x: Any
        y: Any

    class B(NamedTuple):
        v: Any
        u: Any
        nothing: Any

    x, y = np.arange(3), np.array([[0.5]])
    same = [A(x, y), B(y.astype(np.float32), x.astype(np.int32), None), {"y": y, "x": (x,)}, [y, [x]]]
    assert len({fingerprint(value, True) for value in same}) == 1
    other = [A(x, y), A(x, y[0]), A(x[::-1], y), A(x, y + 1e-9), A(x.astype(float), y), A(x, None), A(x, (y, y))]
    assert len({fingerprint(value, True) for value in other}) == len(other)
    assert fingerprint(A(x, y + 1e-9), False) == fingerprint(A(x, y), False) != fingerprint(A(x, y + 1e-5), False)


# --- no draw moves without its pin ---

# Draws at reset some of which may move unseen, and why; all draws of the place together may not.
EXCUSED = {
    ("random_delivery", "draw", "mix"): "a task of another split is refused, and its successor may be refused as well",
    ("trajectories", "draw", "mix"): "the last meeting of a population comes after the last mean that is kept",
    ("lqr_from_preferences", "play", "normal"): "noise moves the distractors alone, which no cost counts",
}
# Draws of one world that nothing depends on: where the good items are given, as on risky boards, none is exchanged.
_RISKY = {("delivery_tasks", "original", "uniform", (keys.RESET, 1))}
UNUSED: dict[str, set[tuple[str, str, str, tuple[int, ...]]]] = {
    "valuegym/RewardInference-v0 (risky)": _RISKY,
    "valuegym/RewardInferenceActive-v0 (few candidates)": _RISKY,
}
# Module and function of draws that belong to no world of a core.
NO_WORLD = {
    ("own_annotators", "_labels"): "answers of annotators of one's own, whose code is no part of a registered world",
    ("functional", "episode_keys"): "the first key of an episode, for replays",
    ("random_delivery", "_hashes"): "a table that is made once, for the digests; test_generators.py holds them",
    ("rollouts", "random_actions"): "actions of the naive reference, for scoring only",
    ("rollouts", "references"): "keys of the naive reference, for scoring only",
    ("item_bank", "generate"): "items for language models, which test_item_bank.py pins; no world asks them",
    ("statements", "choices"): "texts to train language models on, which test_statements.py pins",
    ("template", "initial"): "what `valuegym new environment` writes; it has no id here",
    ("distractors", "__init__"): "any state will do, for only its fields are read",
    ("distractors", "reset"): "the wrapper of environments that are no cores, which the pins of MuJoCo hold",
}


@pytest.mark.parametrize("id", ENVS)
def test_moved_resets_fail_the_pin(id: str, all_worlds: dict[str, World]) -> None:
    with watched(lambda draw: draw.at_reset) as made:
        moved = pin_of(trace(all_worlds[id]))
    assert any(draw.at_reset for draw in made), f"{id} draws nothing at reset; if that is intended, list it here"
    with pytest.raises(AssertionError, match=f"{id} has moved"):
        compare(id, moved, stored()["cores"])


@pytest.mark.parametrize("name", NAMES)
def test_no_reset_draw_moves_alone(name: str, all_worlds: dict[str, World]) -> None:
    world = all_worlds[name]
    pieces, draws = played(world, name)
    at_reset = {draw for draw in draws if draw.at_reset and draw.site[:2] not in NO_WORLD}
    alone = [draw for draw in sorted(at_reset) if draw.site not in EXCUSED]
    unused = {draw for draw in alone if (*draw.site, draw.counters) in UNUSED.get(name, ())}
    assert len(unused) == len(UNUSED.get(name, ())), f"{name} no longer makes a draw that UNUSED lists"
    unseen = [str(draw) for draw in alone if draw not in unused and is_unchanged(world, pieces, draw.__eq__)]
    for site in {draw.site for draw in at_reset} & set(EXCUSED):
        if is_unchanged(world, pieces, lambda draw, site=site: draw.at_reset and draw.site == site):  # type: ignore[misc]
            unseen.append(str(site))
    assert not unseen, f"{name} is the same when these draws move, so its pin does not hold them: {unseen}"


def places() -> Iterator[tuple[Path, int, int, str, str]]:
    """Yield every call of a drawing function in the environments: file, first and last line, caller, function."""
    for path in sorted(Path(valuegym.envs.__file__).parent.rglob("*.py")):
        if path.name == "keys.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        innermost = {node: function.name for function in functions for node in ast.walk(function)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and f"{node.module}".endswith("keys"):
                names = {alias.name for alias in node.names} & {*DRAWS, "*"}
                assert not names, f"{path.name} imports {names} from keys; call keys.NAME, so that a test can move it"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in DRAWS:
                if ast.unparse(node.func.value) == "keys":
                    assert node.end_lineno is not None
                    yield path, node.lineno, node.end_lineno, innermost.get(node, "the module"), node.func.attr


def test_every_draw_belongs_to_a_pin(all_worlds: dict[str, World]) -> None:
    """Every place of the sources that draws is reached by some world, and moves it."""
    at = [(path, first, last, kind) for path, first, last, caller, kind in places()
          if (path.stem, caller) not in NO_WORLD]  # fmt: skip
    gone = set(NO_WORLD) - {(path.stem, caller) for path, _, _, caller, _ in places()}
    assert not gone, f"NO_WORLD lists places that no longer draw: {sorted(gone)}"
    sites: set[tuple[str, str, str]] = set()
    reached = {place: False for place in at}
    for name, world in all_worlds.items():
        if name in LARGE:  # their variants draw the same
            continue
        pieces, draws = played(world, name)
        sites |= {draw.site for draw in draws if draw.at_reset}
        for path, first, last, kind in at:
            here = {d for d in draws if Path(d.file) == path and first <= d.line <= last and d.kind == kind}
            if here and not reached[path, first, last, kind]:
                reached[path, first, last, kind] = not is_unchanged(world, pieces, here.__contains__)
    assert set(EXCUSED) <= sites, f"EXCUSED lists places that no longer draw at reset: {sorted(set(EXCUSED) - sites)}"
    unseen = [f"{path.name}, line {first}: {kind}" for (path, first, _, kind), seen in reached.items() if not seen]
    assert not unseen, f"No pin holds these draws; add a variant that makes them and run {COMMAND}: {unseen}"


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"To regenerate {PINS}: {COMMAND}")
    write()
