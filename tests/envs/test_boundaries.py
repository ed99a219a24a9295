"""Values that are no numbers, or no sensible ones, at the doors of every registered environment.

Each documented argument, reset option and seed of every id meets the same battery of values. An environment refuses a
value by one sentence that names it, as a `ValueError`, or makes a world whose outputs are all finite; the scalar and
the vector environment do the same. Nothing hangs, and nothing takes gigabytes. So it is for choice rules, labels and
sizes of pictures.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from valuegym.envs import ENVS, THIRD_PARTY, keys
from valuegym.envs.functional import MOST_ROWS, load
from valuegym.envs.preference import annotators, human_data, models, segments, subjective_utility
from valuegym.envs.rendering import delivery as rendering
from valuegym.envs.rendering import raster

SECONDS, GIGABYTES = 5, 3  # that one value may take

VALUES: dict[str, Any] = {
    "None": None,
    "nan": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "-1": -1,
    "0": 0,
    "0.5": 0.5,
    "-0.5": -0.5,
    "10**18": 10**18,
    "-10**18": -(10**18),
    "10**400": 10**400,
    "10**5000": 10**5000,
    "1e308": 1e308,
    "1e-308": 1e-308,
    "True": True,
    "text": "x",
    "empty text": "",
    "number as text": "1",
    "bytes": b"x",
    "complex": 1j,
    "object": object(),
    "function": len,
    "nothing": [],
    "ragged": [[1, 2], [3]],
    "dictionary": {"x": 1},
    "set": {1},
    "list of None": [None],
    "list with nan": [np.nan, 1.0],
    "pair": [-1, 10**18],
    "array of nan": np.array(np.nan),
    "matrix": np.ones((2, 3)),
    "date": np.datetime64("2020-01-01"),
    "masked": np.ma.masked,
    "beyond double": np.longdouble("1e4000"),
    "half": np.float16("inf"),
    "subnormal": 5e-324,
    "duration": np.timedelta64(1),
    "long text": "x" * 10_000,
}


@contextmanager
def guarded() -> Iterator[None]:
    """Let no value take long or much memory, where the system can say so, and turn numerical warnings into errors."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"More than {SECONDS} s.")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", RuntimeWarning)
        if sys.platform != "linux":
            yield
            return
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm", encoding="ascii") as text:
            size = int(text.read().split()[0]) * resource.getpagesize()
        before = signal.signal(signal.SIGALRM, stop)
        resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTES * 2**30, hard))
        signal.alarm(SECONDS)
        try:
            yield
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def arguments(core: str) -> list[str]:
    """Return the names of all arguments of a core, those that it hands on among them."""
    target = load(core)
    parameters = inspect.signature(target).parameters
    names = [name for name, one in parameters.items() if one.kind is not one.VAR_KEYWORD]
    if len(names) == len(parameters):
        return names
    table = (target.__doc__ or "").partition("## Arguments")[2].partition("\n    ## ")[0]
    if fields := getattr(sys.modules[target.__module__], "Parameters", None):
        return names + [field.name for field in dataclasses.fields(fields)]
    others = re.findall(r"as in `([A-Za-z]+-v\d+)`", table)
    return names + [name for id in others for name in arguments(ENVS[f"valuegym/{id}"].core) if name not in names]


def of_id(id: str) -> list[str]:
    """Return the names of all arguments of an id; what wraps another core hands arguments on to it."""
    row = ENVS[id]
    names = arguments(row.core)
    return names + (arguments(row.kwargs["base"]) if "base" in row.kwargs else [])


def leaves(value: Any) -> Iterator[Any]:
    """Yield the arrays and numbers of an observation."""
    if isinstance(value, dict):
        for one in value.values():
            yield from leaves(one)
    else:
        yield np.asarray(value)


def play(env: Any, **kwargs: Any) -> None:
    """Reset an environment, scalar or vector, take two steps, and check that all outputs are finite."""
    env.action_space.seed(0)
    outputs: list[Any] = [env.reset(seed=0, **kwargs)[0]]
    for _ in range(2):
        observation, reward, over, *_ = env.step(env.action_space.sample())
        outputs += [observation, reward]
        if np.any(over):
            break
    infinite = [leaf for output in outputs for leaf in leaves(output) if not np.isfinite(leaf).all()]
    assert not infinite, f"an output is not finite: {infinite[0]}"
    assert outputs[0] in env.observation_space, f"an observation lies outside its space: {outputs[0]}"


def answer(attempt: Callable[[], Any], name: str) -> str | None:
    """Return the sentence with which a value is refused, or None; raise AssertionError for any other exception."""
    try:
        with guarded():
            attempt()
    except ValueError as error:
        said = str(error)
        assert re.search(rf"\b{name}\b", said), f"the error does not name {name}: {said!r}"
        assert said.endswith(".") and "\n" not in said and len(said) < 600, f"this is not one sentence: {said!r}"
        return said
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    return None


def faults(check: Callable[[Any], None], values: dict[str, Any]) -> list[str]:
    """Return what is wrong with the answers to values, by their names."""
    found = []
    for name, value in values.items():
        try:
            check(value)
        except AssertionError as error:
            found.append(f"{name}: {error}")
    return found


# What is needed besides an argument so that its value matters.
CONTEXTS: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("valuegym/RandomDelivery-v0", ("weights",), {"board": "..G\n.SX\n#h%"}),
    ("valuegym/RiskyDelivery-v0", ("weights",), {"board": "..G\n.S."}),
    ("valuegym/Follow-v0", ("budget", "delay", "strategic", "items"), {"responses": "choices", "steps": 3}),
    ("valuegym/Coevolve-v0", ("budget", "delay", "strategic", "items"), {"responses": "choices", "steps": 3}),
    ("valuegym/LQR-v0", ("distractor_scale", "distractor_memory", "map_seed"), {"distractors": 3, "rotated": True}),
    ("valuegym/Pendulum-D8-v0", ("coupling", "scale"), {"kind": "correlated", "number": 3}),
]
CASES = [
    *((id, name, {}) for id in ENVS for name in of_id(id)),
    *((id, name, context) for id, names, context in CONTEXTS for name in names if name in of_id(id)),
]


def test_every_documented_argument_is_tried() -> None:
    for id, row in ENVS.items():
        table = (load(row.core).__doc__ or "").partition("## Arguments")[2].partition("\n    ## ")[0]
        documented = set(re.findall(r"^\s*\| `(\w+)` \|", table, re.MULTILINE))
        assert documented <= set(of_id(id)), id
        assert set(row.kwargs) <= set(of_id(id)), id


@pytest.mark.parametrize(
    ("id", "name", "context"),
    [pytest.param(id, name, c, id=f"{id}-{name}{'-in-context' * bool(c)}") for id, name, c in CASES],
)
def test_arguments(id: str, name: str, context: dict[str, Any]) -> None:
    def check(value: Any) -> None:
        kwargs = {**context, name: value}
        scalar = answer(lambda: play(gym.make(id, **kwargs)), name)
        vector = answer(lambda: play(gym.make_vec(id, num_envs=2, **kwargs)), name)
        assert scalar == vector, f"the scalar environment says {scalar!r}, the vector environment {vector!r}"

    found = faults(check, VALUES)
    assert not found, "\n".join(found)


# --- reset options and seeds ---


def options(id: str) -> list[str]:
    core = gym.make(id).unwrapped.core  # type: ignore[attr-defined]
    return list(getattr(core, "reset_options", None) or list(inspect.signature(core.initial).parameters)[1:])


OPTIONS = [(id, name) for id in ENVS for name in options(id)]


@pytest.mark.parametrize(("id", "name"), [pytest.param(*one) for one in OPTIONS])
def test_reset_options(id: str, name: str) -> None:
    env, envs = gym.make(id), gym.make_vec(id, num_envs=3)
    play(env)  # Gymnasium's checker loses its thread where the first reset is refused
    play(envs)
    envs.reset(seed=0)
    core, world = envs.unwrapped.core, envs.unwrapped.task._asdict()  # type: ignore[attr-defined]
    world |= envs.unwrapped.state._asdict()  # type: ignore[attr-defined]
    shape = getattr(core, "option_shapes", {}).get(name, ())
    zero = np.random.default_rng(0).uniform(-0.1, 0.1, (3, *shape)) * bool(shape)
    good = world.get(name, zero).tolist() if not shape else zero.tolist()
    play(envs, options={name: good})
    play(env, options={name: good[0]})

    def check(value: Any) -> None:
        scalar = answer(lambda: play(env, options={name: value}), name)
        vector = answer(lambda: play(envs, options={name: value}), name)
        assert (scalar is None) == (vector is None), f"scalar: {scalar!r}, vector: {vector!r}"
        if np.ndim(np.asarray(value, object)) == 0 and value is not True:  # numpy reads [0.0, True] as two numbers
            row = answer(lambda: play(envs, options={name: [good[0], value, good[2]]}), name)
            assert (scalar is None) == (row is None), f"scalar: {scalar!r}, in row 1: {row!r}"

    found = faults(check, VALUES)
    assert not found, "\n".join(found)
    for bad in (np.nan, np.inf, -np.inf):
        row = np.array(good, np.float64)
        row[(1,) * row.ndim] = bad
        with pytest.raises(ValueError, match=rf"'{name}'\[1[,\]]"):
            envs.reset(options={name: row})
        if shape:
            with pytest.raises(ValueError, match=rf"'{name}'\[1[,\]]"):
                env.reset(options={name: row[1]})


@pytest.mark.parametrize("id", ENVS)
def test_what_is_no_dictionary_of_options_is_refused(id: str) -> None:
    env, envs = gym.make(id), gym.make_vec(id, num_envs=2)

    def check(value: Any) -> None:
        said = [answer(partial(world.reset, options=value), "options?") for world in (env, envs)]
        assert said[0] == said[1] and (said[0] is None) == (value is None), said

    wrong = {name: value for name, value in VALUES.items() if not isinstance(value, dict)}
    assert not faults(check, {**wrong, "pairs": [("cell", 1)], "empty pair": ()})
    for world in (env, envs):
        with pytest.raises(ValueError, match="'no_such'"):
            world.reset(options={"no_such": 1})


@pytest.mark.parametrize("id", ENVS)
def test_seeds_are_those_of_gymnasium(id: str) -> None:
    env, envs = gym.make(id), gym.make_vec(id, num_envs=2)
    for value in VALUES.values():
        refused = not (value is None or (isinstance(value, int) and value >= 0))
        if isinstance(value, list):
            continue  # a seed for each row
        for reset in (
            lambda seed: env.reset(seed=seed),
            lambda seed: envs.reset(seed=seed),
            lambda seed: envs.reset(seed=[seed if isinstance(seed, int) and seed >= keys.SECRET_SEEDS else 0, seed]),
        ):
            if refused:
                with pytest.raises(gym.error.Error, match="Seed must be"):
                    reset(value)
            else:
                reset(value)
    for seeds in ([], [1], [1, 2, 3]):
        with pytest.raises(ValueError, match=f"{len(seeds)} seeds given for 2 environments"):
            envs.reset(seed=seeds)


@pytest.mark.parametrize("id", [pytest.param(id) for id in ENVS])
def test_a_refused_reset_changes_nothing(id: str) -> None:
    """The episodes afterwards are those of an environment that never refused anything."""
    bad: list[dict[str, Any]] = [{"seed": -1}, {"options": {"no_such": 1}, "seed": 5}, {"options": 1, "seed": 5}]
    names = options(id)
    bad += [{"options": {name: value}} for name in names for value in (np.nan, "x", -1e300)]
    for make in (lambda: gym.make(id), lambda: gym.make_vec(id, num_envs=2)):
        env, undisturbed = make(), make()
        for world in (env, undisturbed):
            world.reset(seed=3)
        refused = 0
        for kwargs in bad:
            try:
                env.reset(**kwargs)
            except (ValueError, gym.error.Error):
                refused += 1
            else:
                undisturbed.reset(**kwargs)
        assert refused >= 3 + 2 * len(names)
        for _ in range(2):
            seen, expected = (list(leaves(world.reset()[0])) for world in (env, undisturbed))
            assert all(np.array_equal(a, b) for a, b in zip(seen, expected, strict=True))


# --- what vector environments add ---


@pytest.mark.parametrize("id", ["valuegym/Delivery-v0", "valuegym/Pendulum-v0"])
@pytest.mark.parametrize("name", ["num_envs", "max_episode_steps", "autoreset_mode", "render_mode", "core"])
def test_arguments_of_vector_environments(id: str, name: str) -> None:
    accepted = {"max_episode_steps": ("None", "-1", "10**18"), "render_mode": ("None",)}.get(name, ())

    def check(value: Any) -> None:
        said = answer(lambda: play(gym.make_vec(id, **{"num_envs": 2, name: value})), name)
        assert (said is None) == any(value is VALUES[one] for one in accepted), said

    found = faults(check, VALUES)
    assert not found, "\n".join(found)


def test_numbers_of_rows_are_bounded_and_no_limit_is_as_in_gymnasium() -> None:
    with pytest.raises(ValueError, match="num_envs is 1048577; expected an integer from 1 to 1048576"):
        gym.make_vec("valuegym/Delivery-v0", num_envs=MOST_ROWS + 1)
    envs = gym.make_vec("valuegym/Pendulum-v0", num_envs=2, max_episode_steps=-1)
    assert envs.unwrapped.max_episode_steps is None  # type: ignore[attr-defined]
    envs.reset(seed=0)
    for _ in range(201):
        _, _, _, truncated, _ = envs.step(np.zeros((2, 1), np.float32))
    assert not truncated.any()


# --- environments that are no cores ---

FIRST_OF_THEM = "valuegym/InvertedPendulum-D5-v0"
NAMES = [name for name in inspect.signature(load("valuegym.envs.control.mujoco:make")).parameters if name != "kwargs"]


@pytest.mark.parametrize(
    "id",
    [pytest.param(id, marks=[pytest.mark.slow] * (id != FIRST_OF_THEM)) for id in THIRD_PARTY],
)
@pytest.mark.parametrize("name", NAMES)
def test_third_party_environments(id: str, name: str) -> None:
    pytest.importorskip("mujoco")

    def check(value: Any) -> None:
        scalar = answer(lambda: play(gym.make(id, **{name: value})), name)
        vector = answer(lambda: play(gym.make_vec(id, num_envs=1, **{name: value})), name)
        assert scalar == vector, f"the scalar environment says {scalar!r}, the vector environment {vector!r}"

    found = faults(check, VALUES)
    assert not found, "\n".join(found)


# --- choice rules, statistics, labels ---


def fields(module: Any) -> Iterator[tuple[type[Any], str]]:
    for name in module.__all__:
        found = getattr(module, name)
        if dataclasses.is_dataclass(found) and isinstance(found, type):
            yield from ((found, field.name) for field in dataclasses.fields(found))


RULES = [*fields(models), *fields(subjective_utility)]
DIFFERENCES = np.linspace(-3, 3, 61)


@pytest.mark.parametrize(("rule", "name"), RULES, ids=[f"{rule.__name__}-{name}" for rule, name in RULES])
def test_choice_rules_and_statistics(rule: Any, name: str) -> None:
    """What is accepted never turns preferences round, and gives probabilities."""
    needed: dict[str, Any] = {
        field.name: models.BradleyTerry() if field.name == "choice" else 0.5
        for field in dataclasses.fields(rule)
        if field.default is dataclasses.MISSING
    }

    def check(value: Any) -> None:
        made: list[Any] = []
        said = answer(lambda: made.append(rule(**{**needed, name: value})), name)
        if said is None and hasattr(made[0], "probability"):
            with np.errstate(all="ignore"):
                p = made[0].probability(DIFFERENCES)
            assert ((p >= 0) & (p <= 1)).all() and (np.diff(p) >= 0).all() and np.allclose(p + p[::-1], 1), p
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e308
        assert said is not None or is_number, "accepted"

    found = faults(check, VALUES)
    assert not found, "\n".join(found)


N = 60
GOOD = np.tile([0.0, 1.0, 1.0, 0.5, 1.0], N // 5)
PAIRS = human_data.segments(np.tile([[[4, 4], [5, 5]]], (N, 1, 1)), np.tile([[[0, 0], [2, 3]]], (N, 1, 1)))


def with_labels(labels: Any) -> dict[str, Callable[[], Any]]:
    """Return all public functions of labels, called with these."""
    x, rule = np.linspace(-1, 2, N), models.BradleyTerry
    return {
        "models.check_labels": lambda: models.check_labels("labels", labels),
        "models.fit_temperature": lambda: models.fit_temperature(rule, x, labels),
        "models.cross_validate_temperature": lambda: models.cross_validate_temperature(
            rule, x, labels, np.arange(N) % 3
        ),
        "annotators.answer_codes": lambda: annotators.answer_codes(labels),
        "human_data.agreement": lambda: human_data.agreement(PAIRS, labels),
        "human_data.agreement_text": lambda: human_data.agreement_text(PAIRS, labels),
        "human_data.noticed_reversal": lambda: human_data.noticed_reversal(PAIRS, labels),
        "human_data.check": lambda: human_data.check(PAIRS, labels, human_data.statistics(PAIRS)),
    }


def test_functions_of_labels_are_all_tried() -> None:
    public = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (models, annotators, human_data, segments, subjective_utility)
        for name in module.__all__
        if inspect.isfunction(getattr(module, name))
        and {"label", "labels"} & set(inspect.signature(getattr(module, name)).parameters)
    }
    assert public - {"human_data.write"} == set(with_labels(GOOD))  # it writes what `check` accepts


@pytest.mark.parametrize("function", with_labels(GOOD))
def test_labels(function: str) -> None:
    for good in (GOOD, np.where(np.arange(N) == 7, np.nan, GOOD)):  # can't tell is a label
        with_labels(good)[function]()
    for bad in (2.0, -1.0, np.inf, -np.inf, 0.25, 1e-9, 1e308):
        with pytest.raises(ValueError, match=r"labels?\[17\] is .*; expected 0 \(first\), 1 \(second\)"):
            with_labels(np.where(np.arange(N) == 17, bad, GOOD))[function]()
    for coded, said in ((GOOD + 1, r"give labels? - 1"), (2 * GOOD - 1, r"give \(labels? \+ 1\) / 2")):
        with pytest.raises(ValueError, match=said):
            with_labels(coded)[function]()
    for no_numbers in (np.full(N, None), np.full(N, "1"), GOOD + 1j):
        with pytest.raises(ValueError, match=r"labels?"):
            with_labels(no_numbers)[function]()


def test_labels_without_an_answer_are_refused_by_their_row_where_none_is_expected() -> None:
    one = np.where(np.arange(N) == 7, np.nan, GOOD)
    assert np.isnan(models.check_labels("labels", one)).sum() == 1
    with pytest.raises(ValueError, match=r"labels\[7\] is nan; expected 0 \(first\), 1 \(second\) or 0.5 \(same\)\.$"):
        models.check_labels("labels", one, cannot_tell=False)
    for codes in ([0, 4], [-1], [0.5], [np.nan], [None]):
        with pytest.raises(ValueError, match="codes"):
            annotators.labels(np.array(codes))


# --- keys and pictures ---


WITH_COUNTERS = [
    name
    for name in keys.__all__
    if inspect.isfunction(getattr(keys, name)) and name not in ("folded", "secret_key", "seed_key")
]


@pytest.mark.parametrize("name", WITH_COUNTERS)
def test_keys_and_counters_are_integers(name: str) -> None:
    draw, key = getattr(keys, name), np.arange(3, dtype=np.uint64)
    extra = {"integers": (5,), "seeds": (5,), "permutation": (4,), "choice": ([0.5, 0.5],)}.get(name, ())
    for value in VALUES.values():
        if type(value) is int and abs(value) < 2**63:
            draw(key, *extra, np.array(value))
            continue
        if type(value) is int or (isinstance(value, list) and value == [-1, 10**18]):
            continue  # constants wrap around
        with pytest.raises(ValueError):
            draw(key, *extra, value)
        with pytest.raises(ValueError):
            draw(value, *extra, 1)
    for high in (0, -1, 2**32, 0.5, np.nan, None, "x", [1, 0], [1, 2**40], 10**400):
        with pytest.raises(ValueError):
            keys.integers(key, high)  # type: ignore[arg-type]


def test_secrets_are_bytes_and_seeds_integers() -> None:
    for value in VALUES.values():
        if not isinstance(value, bytes):
            with pytest.raises(ValueError, match="secret is"):
                keys.secret_key(value)
        good = type(value) is int and (0 <= value < 2**64 or value >= keys.SECRET_SEEDS)
        if good:
            assert keys.seed_key(value).shape == (1,)
        else:
            with pytest.raises(ValueError, match="seed is"):
                keys.seed_key(value)


def test_sizes_of_pictures() -> None:
    board, sizes = np.zeros((3, 4), int), {"cell_size": 8, "height": 9, "width": 9, "factor": 3}
    draws: dict[str, Callable[[Any], Any]] = {
        "cell_size": lambda value: rendering.rgb(board, (0, 0), cell_size=value),
        "height": lambda value: raster.blank(value, 9, "#ffffff"),
        "width": lambda value: raster.blank(9, value, "#ffffff"),
        "factor": lambda value: raster.shrink(raster.blank(9, 9, "#ffffff"), value),
    }
    for name, draw in draws.items():
        draw(sizes[name])

        def check(value: Any, draw: Any = draw, name: str = name) -> None:
            said = answer(lambda: draw(value), name)
            assert said is not None or (name == "cell_size" and value is None), "accepted"

        found = faults(check, VALUES)
        assert not found, "\n".join(found)
