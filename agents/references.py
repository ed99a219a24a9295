"""Texts that name agents, the names they get in records, and how agents are made from them.

    regret                        an agent of valuegym (`valuegym list`)
    my_agent.py:MyAgent           a class, or a function make(env, seed), in a file; or a ready object with `predict`
    package.module:make           the same in a module that can be imported
    my_package.shy                the plug-in `shy` of the installed package my-package (group `valuegym.agents`)
    sac:model.zip                 a model saved by Stable-Baselines3 or sb3-contrib
    saved:vagram.safetensors      an agent that `valuegym train` saved

An agent of valuegym enters by the same call as anybody's: constructor(env, seed=seed, **settings).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from valuegym.agents import saved, sb3_zip
from valuegym.agents.base import Agent
from valuegym.agents.search_spaces import SPACES, Space, check_space
from valuegym.agents.table import AGENTS
from valuegym.envs import checks, extras, plugins
from valuegym.envs.functional import load

__all__ = ["GROUP", "KINDS", "check", "make", "origin", "record_name", "search_space", "settings_of", "settings_text"]

GROUP = "valuegym.agents"
KINDS = (
    "a name of `valuegym list`, FILE.py:NAME, PACKAGE.MODULE:NAME, PACKAGE.PLUGIN, ALGORITHM:MODEL.zip or saved:FILE"
)
LONGEST = 64  # characters of a name in a record


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings as canonical JSON, "" for none.

    Raises:
        ValueError: a value is no JSON, or not finite.
    """
    if not settings:
        return ""
    try:
        return json.dumps(dict(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"The settings {dict(settings)!r} cannot be written as JSON: {error}.") from None


def settings_of(text: str) -> dict[str, Any]:
    """Return the settings that a JSON text holds, none for "".

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        settings = json.loads(checks.text("settings", text) or "{}")
    except (ValueError, RecursionError):
        settings = None
    if not isinstance(settings, dict):
        raise checks.refusal("settings", text, 'a JSON object, or "" for none')
    return settings


def check(agent: str) -> None:
    """Refuse a text that names no agent, before anything is imported.

    Raises:
        ValueError: it names none, or is no text; the message suggests the nearest name.
    """
    if not isinstance(agent, str):
        raise ValueError(f"agent is {checks.printed(agent)}; expected {KINDS}.")
    if agent in AGENTS:
        return
    if saved.is_saved(agent):
        saved.read_about(agent)
    elif sb3_zip.is_zip(agent):
        path = agent.partition(":")[2]
        if not Path(path).is_file():
            raise ValueError(f"There is no file {path}; expected ALGORITHM:MODEL.zip.")
    elif plugins.is_reference(agent):
        plugins.source_digest(agent)
    else:
        names = [*AGENTS, *plugins.installed(GROUP)]
        if agent not in names:
            hint = checks.similar(agent, names)
            if agent.endswith(".py"):
                hint = f" Say what in the file it is, as in {agent}:MyAgent."
            raise ValueError(f"There is no agent {agent!r}; expected {KINDS}.{hint}")


def record_name(agent: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return the name under which records hold an agent.

    An agent of valuegym keeps its name; others get that of their file and object, `my_agent.MyAgent`, which always
    holds a dot. Saved agents get that of their file without `-seed-N`, so that the seeds of one agent are together.
    Settings add a dash and eight digits of their SHA-256, so that no two variants share a name. Whether there is such
    an agent is not looked at.

    Raises:
        ValueError: a setting is no JSON.
    """
    name = checks.text("agent", agent, KINDS)
    if saved.is_saved(agent):
        name = f"saved.{re.sub(r'-seed-[0-9]+$', '', saved.path_of(agent).stem)}"
    elif sb3_zip.is_zip(agent):
        algorithm, _, path = agent.partition(":")
        name = f"{algorithm}.{Path(path).stem}"
    elif plugins.is_reference(agent):
        name = plugins.short_name(agent)
    text = settings_text(settings or {})
    mark = f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}" if text else ""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-") or "agent"
    if len(name) + len(mark) > LONGEST:  # a name cut short could be that of another agent
        mark = f"-{hashlib.sha256(f'{agent} {text}'.encode()).hexdigest()[:8]}"
    return name[: LONGEST - len(mark)] + mark


def origin(agent: str, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what a record's header says of an agent from outside: its reference, settings and SHA-256 of its source.

    For agents of valuegym it is empty but for settings: the version of valuegym stands in every header. The source is
    the named file alone, not what it imports.

    Raises:
        ValueError: the text names no agent.
    """
    check(agent)
    found: dict[str, Any] = {"settings": dict(settings)} if settings else {}
    if agent in AGENTS:
        return found
    if saved.is_saved(agent):
        about, path = saved.read_about(agent), saved.path_of(agent)
        made = {key: about[key] for key in ("agent", "seed", "settings", "experiment", "timesteps") if key in about}
        source = hashlib.sha256(path.read_bytes()).hexdigest()
        return found | {"reference": f"{saved.PREFIX}{path.name}", "source": source, "trained": made}
    if sb3_zip.is_zip(agent):
        name, source = agent, hashlib.sha256(Path(agent.partition(":")[2]).read_bytes()).hexdigest()
    elif plugins.is_reference(agent):
        name, source = agent, plugins.source_digest(agent)
    else:
        point = plugins.installed(GROUP)[agent]
        name, source = point.value, plugins.source_digest(point.value.partition(" ")[0])
    where, colon, rest = name.partition(":")  # no folder of this machine is written down
    parts = (where, Path(rest).name) if sb3_zip.is_zip(agent) else (Path(where).name, rest)
    return found | {"reference": colon.join(parts), "source": source}


def _constructor(agent: str) -> Any:
    """Return what makes the agent, or the agent itself where a reference names a ready object."""
    if agent in AGENTS:
        try:
            return load(AGENTS[agent].entry)
        except ImportError as error:
            if not AGENTS[agent].extra:
                raise
            raise ImportError(
                f"Agent {agent!r} needs an extra: {extras.hint(AGENTS[agent].extra)} ({error})."
            ) from error
    return plugins.load_reference(agent) if plugins.is_reference(agent) else plugins.load_plugin(GROUP, agent)


def search_space(agent: str) -> Space:
    """Return the settings of an agent that a search tries, as the agent declares them (`search_spaces`).

    Raises:
        ValueError: there is no such agent, or it declares none, or a space that is not valid.
        ImportError: the agent needs an extra that is not installed.
    """
    check(agent)
    if agent in SPACES:
        return check_space(SPACES[agent])
    known = agent in AGENTS or saved.is_saved(agent) or sb3_zip.is_zip(agent)
    found = None if known else getattr(_constructor(agent), "search_space", None)
    if found is None:
        how = "" if known else " Give the class or function that makes it an attribute search_space = {...}."
        raise ValueError(f"{agent} declares no settings to search; those that do are {', '.join(SPACES)}.{how}")
    return check_space(found)


def make(name: str, env: Any, seed: int = 0, **settings: Any) -> Agent:
    """Make an agent for a scalar environment.

    Args:
        name: a text that names it (see the module).
        env: the environment that it trains in, or one like that in which it will play.
        seed: of all its random draws.
        settings: further arguments of its constructor.

    Raises:
        ValueError: no agent has this name, it cannot be imported, it does not take these settings or `seed`, it has no
            method `predict`, or it does not play in this environment.
        ImportError: the agent needs an extra that is not installed; the message names it.
        TypeError: its settings are checked by the agent itself, which does not have one of them.
    """
    check(name)
    if saved.is_saved(name) or sb3_zip.is_zip(name):
        if settings:
            raise ValueError(f"{name} is a trained model and takes no settings; got {settings}.")
        return saved.load(name, env, make) if saved.is_saved(name) else sb3_zip.load(name, env)
    constructor = _constructor(name)
    if not isinstance(constructor, type) and hasattr(constructor, "predict"):  # ready, for example a trained model
        if settings:
            raise ValueError(f"{name} is an object and takes no settings; got {settings}.")
        ready: Agent = constructor
        return ready
    if not callable(constructor):
        raise ValueError(f"{name} is a {type(constructor).__name__}; expected a class or a function make(env, seed).")
    try:
        inspect.signature(constructor).bind(env, seed=seed, **settings)
    except TypeError as error:
        takes = [p for p in inspect.signature(constructor).parameters if p not in ("self", "env", "seed")]
        unknown = next((setting for setting in settings if setting not in takes), None)
        raise ValueError(
            f"{name} cannot be made by {getattr(constructor, '__name__', 'it')}(env, seed=..."
            f"{''.join(f', {setting}=...' for setting in settings)}): {error}; its settings are {takes or 'none'}."
            f"{checks.similar(unknown, takes)}"
        ) from None
    try:
        agent: Agent = constructor(env, seed=seed, **settings)
    except TypeError as error:  # many hand their settings to a dataclass of this name
        own = getattr(sys.modules.get(constructor.__module__), "Settings", constructor)
        hint = checks.similar_argument(error, own)
        if not hint:
            raise
        raise TypeError(f"{error}.{hint}") from error
    if not callable(getattr(agent, "predict", None)):
        raise ValueError(
            f"{name} made a {type(agent).__name__}, which has no method predict(observation, state, episode_start, "
            "deterministic); see the protocol of agents in valuegym.agents.base."
        )
    return agent
