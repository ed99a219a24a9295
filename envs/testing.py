"""Checks that every environment of valuegym passes, to run on your own: `valuegym.testing.check(make_env)`.

`make_env` is a function that returns a new environment, such as `functools.partial(gymnasium.make, "mine/Walk-v0",
size=3)`, or a class; it accepts `render_mode` if the environment can be rendered. Each check returns None, or raises
AssertionError with one sentence that names the environment and the fault. A check that does not apply passes: one of
specs without an id, one of vector environments without a native one, one of documentation without a core. `check`
skips Stable-Baselines3's checker where that package is not installed.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, SupportsFloat

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from valuegym.envs import checks
from valuegym.envs.functional import FunctionalEnv, FunctionalVectorEnv
from valuegym.envs.keys import SECRET_SEEDS

__all__ = [
    "HEADINGS",
    "check",
    "check_arguments",
    "check_determinism",
    "check_documentation",
    "check_gymnasium",
    "check_rendering",
    "check_secret_seeds",
    "check_spec",
    "check_stable_baselines3",
    "check_vector",
]

MakeEnv = Callable[..., gym.Env[Any, Any]]

HEADINGS = (
    "Description",
    "Observation",
    "Action",
    "Reward",
    "Episode end",
    "Oracle and naive scores",
    "Source",
    "Version history",
)


def check(make_env: MakeEnv, allowed_warnings: Sequence[str] = ()) -> None:
    """Run every check on an environment; raise AssertionError at the first that fails.

    Args:
        make_env: makes the environment; called several times, also with `render_mode`.
        allowed_warnings: regular expressions of what Gymnasium's and Stable-Baselines3's checkers may warn of.
    """
    check_gymnasium(make_env, allowed_warnings)
    if find_spec("stable_baselines3") is not None:
        check_stable_baselines3(make_env, allowed_warnings)
    for single in (
        check_determinism,
        check_spec,
        check_vector,
        check_secret_seeds,
        check_rendering,
        check_arguments,
        check_documentation,
    ):
        single(make_env)


def check_gymnasium(make_env: MakeEnv, allowed_warnings: Sequence[str] = ()) -> None:
    """Run Gymnasium's checker; its warnings are faults unless they match one of `allowed_warnings`.

    Raises:
        AssertionError: the checker raises, or warns of something that is not allowed.
    """
    env = _made(make_env)
    _run_checker(
        env,
        "Gymnasium",
        lambda: check_env(env.unwrapped, skip_render_check=env.spec is None, skip_close_check=env.spec is None),
        allowed_warnings,
    )


def check_stable_baselines3(make_env: MakeEnv, allowed_warnings: Sequence[str] = ()) -> None:
    """Run Stable-Baselines3's checker, on the environment with and without its wrappers.

    Raises:
        AssertionError: the checker raises, or warns of something that is not allowed.
        ImportError: Stable-Baselines3 is not installed.
    """
    from stable_baselines3.common import env_checker

    env = _made(make_env)
    for checked in (env, env.unwrapped):
        _run_checker(env, "Stable-Baselines3", partial(env_checker.check_env, checked), allowed_warnings)


def check_determinism(make_env: MakeEnv) -> None:
    """Check that seed and actions determine all outputs, and that these have the right types and lie in their spaces.

    Raises:
        AssertionError: two environments with the same seed differ, a seeded reset depends on earlier episodes, two
            seeds give the same episodes, an observation lies outside its space, the reward is not a number, terminated
            or truncated is not a bool, or `info` has the key "episode" of Gymnasium's RecordEpisodeStatistics.
    """
    env = _made(make_env)
    name, has_core = _name(env), isinstance(env.unwrapped, FunctionalEnv)
    _require(make_env() is not env, f"{name}: make_env returns the same environment again; expected a new one.")
    first, second, other = _play(env, 7), _play(make_env(), 7), _play(make_env(), 8)
    _require(_same(first, second), f"{name}: two environments behave differently under the same seed and actions.")
    again = make_env()
    _play(again, 9)
    _require(
        _same(_play(again, 7), first),
        f"{name}: reset(seed) does not forget earlier episodes; the same seed gives something else after them.",
    )
    _require(
        not _same([out[0] for out in first], [out[0] for out in other]),
        f"{name}: two seeds and their different actions give the same observations; neither has an effect.",
    )
    for observation, *paid, info in first:
        _require(
            observation in env.observation_space,
            f"{name}: observation {observation!r} lies outside the observation space {env.observation_space}.",
        )
        _require("episode" not in info, f"{name}: info holds 'episode', a key that RecordEpisodeStatistics writes.")
        if not paid:
            continue
        reward: Any
        reward, *ends = paid
        _require(
            (type(reward) is float if has_core else isinstance(reward, SupportsFloat)) and not np.isnan(float(reward)),
            f"{name}: the reward is {reward!r} of type {type(reward).__name__}; expected a float.",
        )
        _require(
            all(type(end) is bool or (not has_core and isinstance(end, np.bool_)) for end in ends),
            f"{name}: terminated and truncated are {ends!r}; expected two bools.",
        )


def check_spec(make_env: MakeEnv) -> None:
    """Check that the spec of a registered environment survives JSON and makes the same environment again.

    Raises:
        AssertionError: the spec cannot be written as JSON or is different once read, or the environment made from it
            has other spaces or behaves differently.
    """
    env = _made(make_env)
    if env.spec is None:
        return
    name = _name(env)
    try:
        text = env.spec.to_json()
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{name}: its spec cannot be written as JSON: {error}") from error
    again = gym.make(EnvSpec.from_json(text))
    _require(
        again.spec is not None and again.spec.to_json() == text,
        f"{name}: the spec of an environment made from its spec in JSON is another one.",
    )
    for space in ("observation_space", "action_space"):
        before, after = getattr(env, space), getattr(again, space)
        _require(before == after, f"{name}: made from its spec its {space} is {after} and no longer {before}.")
    _require(
        _same(_play(env, 3, 10), _play(again, 3, 10)),
        f"{name}: made from its spec in JSON it behaves differently under the same seed and actions.",
    )


def check_vector(make_env: MakeEnv, num_envs: int = 3, steps: int = 5, seed: int = 0) -> None:
    """Check the native vector environment of a registered one: spaces, shapes, and each row against a scalar one.

    Raises:
        AssertionError: a space or shape is wrong, a core is registered without a native vector environment, or row i
            differs from the scalar environment with seed + i during its first episode.
        ValueError: `num_envs` or `steps` is no integer of at least 1, or `seed` none of at least 0.
    """
    num_envs, steps = checks.integer("num_envs", num_envs, 1), checks.integer("steps", steps, 1)
    seed = checks.integer("seed", seed, 0)
    env = _made(make_env)
    name, has_core = _name(env), isinstance(env.unwrapped, FunctionalEnv)
    if env.spec is None or env.spec.vector_entry_point is None:
        _require(
            not has_core or env.spec is None,
            f"{name}: a core is registered without vector_entry_point='valuegym.envs.functional:FunctionalVectorEnv'.",
        )
        return
    envs = gym.make_vec(env.spec, num_envs=num_envs)
    if has_core:
        _require(type(env.unwrapped) is FunctionalEnv, f"{name}: its environment is a subclass of FunctionalEnv.")
        _require(
            type(envs.unwrapped) is FunctionalVectorEnv,
            f"{name}: its vector environment is {type(envs.unwrapped).__name__}; expected FunctionalVectorEnv.",
        )
        mode = envs.metadata["autoreset_mode"]
        _require(mode is gym.vector.AutoresetMode.NEXT_STEP, f"{name}: autoreset_mode is {mode}; expected NEXT_STEP.")
    _require(envs.num_envs == num_envs, f"{name}: the vector environment has {envs.num_envs} rows of {num_envs}.")
    for space, single in (
        (env.observation_space, envs.single_observation_space),
        (env.action_space, envs.single_action_space),
    ):
        _require(space == single, f"{name}: a row of the vector environment has the space {single}, alone {space}.")
    scalars = [make_env() for _ in range(num_envs)]
    alone = [scalar.reset(seed=seed + i)[0] for i, scalar in enumerate(scalars)]
    observations, info = envs.reset(seed=seed)
    _require(not has_core or info == {}, f"{name}: info after reset is {info!r}; expected none.")
    running = list(range(num_envs))
    envs.action_space.seed(0)
    for t in range(steps + 1):
        _require(
            observations in envs.observation_space,
            f"{name}: observations of the vector environment lie outside its space {envs.observation_space}.",
        )
        for i in running:
            _require(
                _same(_row(observations, i), alone[i]),
                f"{name}: after {t} steps row {i} of the vector environment is not the scalar environment of its seed.",
            )
        if t == steps:
            return
        actions = envs.action_space.sample()
        observations, *paid, info = envs.step(actions)
        _require(not has_core or info == {}, f"{name}: info after a step is {info!r}; expected none.")
        for what, values in zip(("rewards", "terminated", "truncated"), paid, strict=True):
            _require(
                values.shape == (num_envs,),
                f"{name}: {what} of the vector environment have shape {values.shape}; expected ({num_envs},).",
            )
        for i in list(running):
            alone[i], reward, terminated, truncated, _ = scalars[i].step(_row(actions, i))
            _require(
                all(values[i] == alone for values, alone in zip(paid, (reward, terminated, truncated), strict=True)),
                f"{name}: in step {t} row {i} of the vector environment has another reward, terminated or truncated "
                "than the scalar environment of its seed.",
            )
            if terminated or truncated:
                running.remove(i)


def check_secret_seeds(make_env: MakeEnv) -> None:
    """Check that a core makes every draw with its key, also with the key of a secret seed, which cannot be inverted.

    Raises:
        AssertionError: a scalar and a vector environment with the same secret seeds differ, two secret seeds give the
            same episodes, a secret seed gives those of a public one, or Gymnasium's generator was drawn from.
    """
    env = _made(make_env)
    if not isinstance(env.unwrapped, FunctionalEnv):
        return
    name, seed = _name(env), SECRET_SEEDS + 7
    check_vector(make_env, seed=seed)
    first, again, other, public = (_play(env, one) for one in (seed, seed, seed + 1, 7))
    _require(_same(first, again), f"{name}: reset with a secret seed does not give the same episode again.")
    for what, played in (("another secret seed", other), ("a public seed", public)):
        _require(
            not _same([out[0] for out in first], [out[0] for out in played]),
            f"{name}: a secret seed gives the same observations as {what}.",
        )
    env.reset(seed=seed)
    before = env.unwrapped.np_random.bit_generator.state
    env.reset()
    for _ in range(3):
        if any(env.step(env.action_space.sample())[2:4]):
            break
    _require(
        env.unwrapped.np_random.bit_generator.state == before,
        f"{name}: it draws from np_random, whose draws give a secret seed away; draw with valuegym.envs.keys.",
    )


def check_rendering(make_env: MakeEnv) -> None:
    """Check texts ("ansi") and pictures ("rgb_array") of an environment that has such render modes; a core has both.

    Raises:
        AssertionError: a core lacks one of them, a text is empty, a picture is not uint8 (H, W, 3), changes its size or
            is blank, steps do not change it, or a core's vector environment renders something else.
    """
    env = _made(make_env)
    name, has_core = _name(env), isinstance(env.unwrapped, FunctionalEnv)
    modes = set(env.metadata.get("render_modes") or ())
    _require(
        not has_core or modes >= {"ansi", "rgb_array"},
        f"{name}: its render modes are {sorted(modes)}; expected 'ansi' and 'rgb_array' among them.",
    )
    for mode in sorted(modes & {"ansi", "rgb_array"}):
        env = make_env(render_mode=mode)
        envs = gym.make_vec(env.spec, num_envs=2) if has_core and env.spec is not None else None
        env.reset(seed=1)
        env.action_space.seed(0)
        pictures: list[Any] = [env.render()]
        if envs is not None:
            envs.reset(seed=1)
            _check_drawn(envs, pictures[-1], name)
        for _ in range(2):
            action = env.action_space.sample()
            _, _, terminated, truncated, _ = env.step(action)
            pictures.append(env.render())
            if envs is not None:
                envs.step(np.stack([action, action]))
                _check_drawn(envs, pictures[-1], name)
            if terminated or truncated:
                break
        for picture in pictures:
            if mode == "ansi":
                _require(
                    isinstance(picture, str) and bool(picture.strip()),
                    f"{name}: render_mode 'ansi' gives {picture!r}; expected a text that is not empty.",
                )
                continue
            _require(
                isinstance(picture, np.ndarray)
                and picture.dtype == np.uint8
                and picture.ndim == 3
                and picture.shape[2] == 3,
                f"{name}: render_mode 'rgb_array' gives {getattr(picture, 'dtype', type(picture).__name__)} of shape "
                f"{np.shape(picture)}; expected uint8 (height, width, 3).",
            )
            _require(
                picture.shape == pictures[0].shape,
                f"{name}: pictures change their size from {pictures[0].shape} to {picture.shape}.",
            )
            _require(picture.std() > (10 if has_core else 0), f"{name}: a picture is blank.")
        others = pictures[1:2] if has_core else pictures[1:]
        _require(
            not all(_same(pictures[0], other) for other in others),
            f"{name}: what render_mode {mode!r} shows does not change with a step.",
        )


def check_arguments(make_env: MakeEnv) -> None:
    """Check that a registered environment refuses an argument it does not know, scalar and as its native vector.

    Raises:
        AssertionError: the argument is accepted, or the TypeError does not name it.
    """
    env = _made(make_env)
    if env.spec is None:
        return
    makers: list[Callable[[], Any]] = [lambda: gym.make(env.spec, no_such_argument=1)]  # type: ignore[arg-type]
    if env.spec.vector_entry_point is not None:
        makers.append(lambda: gym.make_vec(env.spec, num_envs=2, no_such_argument=1))  # type: ignore[arg-type]
    for make in makers:
        try:
            make()
        except TypeError as error:
            _require(
                "no_such_argument" in str(error),
                f"{_name(env)}: the error for an unknown argument does not name it: {error}",
            )
        else:
            raise AssertionError(f"{_name(env)}: an argument that it does not know, no_such_argument=1, is accepted.")


def check_documentation(make_env: MakeEnv) -> None:
    """Check the docstring of a core: HEADINGS in this order, words under each, and the version of its id at the end.

    Raises:
        AssertionError: a heading is missing, unknown or out of order, a section is empty, or the version is missing.
    """
    env = _made(make_env)
    if not isinstance(env.unwrapped, FunctionalEnv):
        return
    name, documentation = _name(env), type(env.unwrapped.core).__doc__ or ""
    found = re.findall(r"^\s*## (.+)$", documentation, flags=re.MULTILINE)
    _require(
        [heading for heading in found if heading != "Arguments"] == list(HEADINGS),
        f"{name}: the docstring of {type(env.unwrapped.core).__name__} has the headings {found}; expected "
        f"{list(HEADINGS)}, in this order, and perhaps 'Arguments'.",
    )
    sections = re.split(r"^\s*## .+$", documentation, flags=re.MULTILINE)
    for heading, section in zip(["the first line", *found], sections, strict=True):
        _require(len(section.split()) >= 3, f"{name}: there is nothing to read under {heading!r} in the docstring.")
    if env.spec is not None:
        version = env.spec.id.rpartition("-")[2]
        _require(f"{version}:" in sections[-1], f"{name}: 'Version history' in the docstring lacks {version!r}.")


def _check_drawn(envs: gym.vector.VectorEnv[Any, Any, Any], picture: Any, name: str) -> None:
    """Check that a vector environment renders one picture for each row, the first of them this one."""
    drawn = envs.render()
    _require(
        isinstance(drawn, tuple) and len(drawn) == envs.num_envs and _same(drawn[0], picture),
        f"{name}: row 0 of the vector environment is rendered differently from the scalar environment.",
    )


def _made(make_env: MakeEnv) -> gym.Env[Any, Any]:
    """Return a new environment; raise AssertionError if something else is made, or none."""
    _require(
        callable(make_env), f"make_env is {make_env!r}; expected a function that returns a new environment, or a class."
    )
    env = make_env()
    _require(
        isinstance(env, gym.Env),
        f"make_env returns something of type {type(env).__name__}; expected a gymnasium.Env, for a vector environment "
        "is checked with the scalar one.",
    )
    return env


def _require(holds: bool, sentence: str) -> None:
    """Raise AssertionError with this sentence unless the condition holds; unlike `assert` also under -O."""
    if not holds:
        raise AssertionError(sentence)


def _name(env: gym.Env[Any, Any]) -> str:
    """Return the id of an environment, or the name of its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def _run_checker(env: gym.Env[Any, Any], checker: str, run: Callable[[], None], allowed: Sequence[str]) -> None:
    """Run a checker; raise AssertionError for every exception of it, and for warnings that are not allowed."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run()
        except Exception as error:
            raise AssertionError(f"{_name(env)}: {checker}'s checker fails: {error}") from error
    unexpected = [str(w.message) for w in caught if not any(re.search(text, str(w.message)) for text in allowed)]
    _require(not unexpected, f"{_name(env)}: {checker}'s checker warns: {' '.join(unexpected)}")


def _play(env: gym.Env[Any, Any], seed: int, steps: int = 25) -> list[Any]:
    """Return the outputs of a few episodes; the seed also determines the actions."""
    env.action_space.seed(seed)
    out: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        out.append(env.step(env.action_space.sample()))
        if out[-1][2] or out[-1][3]:
            out.append(env.reset())
    return out


def _row(batch: Any, i: int) -> Any:
    """Return row i of a batch of observations or actions, which may be nested."""
    if isinstance(batch, dict):
        return {name: _row(value, i) for name, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(_row(value, i) for value in batch)
    return batch[i]


def _same(a: Any, b: Any) -> bool:
    """Tell whether two results are equal to the bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, tuple | list) and isinstance(b, tuple | list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and (a == b if a.dtype == object else a.tobytes() == b.tobytes())
