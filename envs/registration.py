"""Registration with Gymnasium: cores, whoever wrote them, and environments that installed packages bring.

A core is registered as a scalar environment and a native vector environment. The environments of packages (entry
points of the group GROUP) are registered by name only, and imported when one is looked at or made.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from valuegym.envs import checks, plugins

__all__ = [
    "GROUP",
    "OWN",
    "Environment",
    "PluginSpec",
    "ThirdParty",
    "core_spec",
    "has_core",
    "plugin_id",
    "register_core",
    "register_plugins",
]

GROUP = "valuegym.environments"
ID = re.compile(r"(?:[\w:-]+/)?[\w:.-]+-v(?:0|[1-9]\d*)")
SCALAR = "valuegym.envs.functional:FunctionalEnv"
RESERVED = "valuegym"  # the namespace of this suite


class Environment(NamedTuple):
    """One environment with a core: the text that names the core, its default arguments, its step limit and its tags."""

    core: str
    kwargs: dict[str, Any]
    max_episode_steps: int | None
    tags: tuple[str, ...]


class ThirdParty(NamedTuple):
    """One environment that is no core: the function that makes it, and the extra that it needs."""

    entry_point: str
    kwargs: dict[str, Any]
    max_episode_steps: int
    extra: str


OWN: dict[str, Environment] = {}  # the cores that were registered in this process besides those of the suite


def core_spec(id: str, row: Environment) -> EnvSpec:
    """Return the spec of an environment with a core."""
    return EnvSpec(
        id,
        entry_point=SCALAR,
        vector_entry_point="valuegym.envs.functional:FunctionalVectorEnv",
        max_episode_steps=row.max_episode_steps,
        kwargs={"core": row.core, **row.kwargs},
    )


def has_core(env_id: str) -> bool:
    """Return whether a registered environment has a core, whose rules can be computed with; a plug-in is imported."""
    spec = gym.spec(env_id)
    return (spec.resolved() if isinstance(spec, PluginSpec) else spec).entry_point == SCALAR


def _text_of(core: Any) -> str:
    """Return the text that names a core, with the whole path of a file, so that it holds in any folder."""
    if isinstance(core, str):
        if not plugins.is_reference(core):
            raise ValueError(f"core is {core!r}; expected MODULE:CLASS, FILE.py:CLASS or a class.")
        where, _, name = core.rpartition(":")
        if not where.endswith(".py"):
            return core
        if not Path(where).expanduser().is_file():
            raise ValueError(f"core is {core!r}, but there is no file {where}.")
        return f"{Path(where).expanduser().resolve()}:{name}"
    if not isinstance(core, type):
        raise ValueError(f"core is {core!r}; expected MODULE:CLASS, FILE.py:CLASS or a class.")
    found: Any = sys.modules.get(core.__module__)
    for part in core.__qualname__.split("."):
        found = getattr(found, part, None)
    if found is not core:
        raise ValueError(
            f"core is {core.__qualname__} of {core.__module__}, which cannot be found there by its name; define it at "
            "the top of a module, so that other processes can import it."
        )
    file = getattr(sys.modules[core.__module__], "__file__", None)
    where = file if core.__module__.startswith(plugins.FILE) and file else core.__module__
    return f"{where}:{core.__qualname__}"


def _check_row(what: str, row: Environment) -> Environment:
    """Return a row with its fields in their plain types, if all are sensible."""
    try:
        kwargs = dict(row.kwargs)
        if json.loads(json.dumps(kwargs, allow_nan=False)).keys() != kwargs.keys():
            raise ValueError("names have to be texts")
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what}: kwargs is {row.kwargs!r}; expected arguments that JSON can hold ({error})."
        ) from None
    if "core" in kwargs:
        raise ValueError(f"{what}: kwargs holds 'core', which is the name of the core itself; rename the argument.")
    limit = row.max_episode_steps
    if limit is not None:
        limit = checks.integer(f"{what}: max_episode_steps", limit, 1)
    tags: Any = row.tags
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f"{what}: tags is {row.tags!r}; expected several texts.")
    return Environment(_text_of(row.core), kwargs, limit, tuple(tags))


def register_core(
    id: str,
    core: Any,
    kwargs: Mapping[str, Any] | None = None,
    max_episode_steps: int | None = None,
    tags: Iterable[str] = (),
) -> str:
    """Register a core of one's own with Gymnasium, as the cores of this suite are, and return its id.

    `gymnasium.make` and `make_vec`, `rules(env)`, tracks and `valuegym.testing.check` work with it. Repeated with the
    same arguments the call does nothing; other processes know the id once they import the module that registers it.

    Args:
        id: such as "own/Maze-v0".
        core: the class (see `valuegym.envs.functional.Core`), or a text that names it and is imported when the
            environment is made: MODULE:CLASS or FILE.py:CLASS.
        kwargs: default arguments of the core, as JSON can hold them.
        max_episode_steps: after which episodes are truncated, None for none.
        tags: for selection.

    Raises:
        ValueError: the id has another form, or belongs to another environment; the core or an argument is none.
    """
    if not ID.fullmatch(str(id)):
        raise ValueError(f"id is {id!r}; expected NAMESPACE/NAME-vN, such as 'own/Maze-v0'.")
    if id.partition("/")[0] == RESERVED:
        raise ValueError(f"id is {id!r}, but {RESERVED}/ is for environments of valuegym; choose another namespace.")
    row = _check_row(id, Environment(core, dict(kwargs or {}), max_episode_steps, tags))  # type: ignore[arg-type]
    spec, there = core_spec(id, row), gym.registry.get(id)
    if there is not None:
        if isinstance(there, PluginSpec) or there != spec or OWN.get(id, row) != row:
            raise ValueError(f"Another environment is registered as {id!r} already; choose another id.")
        return id
    OWN[id] = row
    gym.registry[id] = spec
    return id


def _spec_of(id: str, point_value: str, found: Any) -> EnvSpec:
    """Return the spec of what a plug-in is: a core, a row, a spec, or a class or function that makes an environment."""
    what = f"The plug-in {id} ({point_value})"
    if isinstance(found, Environment):
        return core_spec(id, _check_row(what, found))
    if isinstance(found, ThirdParty):
        return EnvSpec(id, found.entry_point, max_episode_steps=found.max_episode_steps, kwargs=dict(found.kwargs))
    if isinstance(found, EnvSpec):
        return EnvSpec(**{part.name: getattr(found, part.name) for part in fields(EnvSpec) if part.init} | {"id": id})
    if not callable(found):
        raise ValueError(
            f"{what} is a {type(found).__name__}; expected a core, an Environment, a gymnasium.Env, or a function that "
            "makes one."
        )
    reference, limit = point_value.partition(" ")[0], getattr(found, "max_episode_steps", None)
    if not isinstance(limit, int | float):  # none, or a property of what is made
        limit = None
    row = _check_row(what, Environment(reference, {}, limit, ()))  # type: ignore[arg-type]  # it is checked there
    if isinstance(found, type) and not issubclass(found, gym.Env):
        return core_spec(id, row)
    return EnvSpec(
        id,
        entry_point=found if "." in reference.rpartition(":")[2] else reference,
        max_episode_steps=row.max_episode_steps,
    )


class PluginSpec(EnvSpec):
    """Spec of a plug-in, which is imported when anything but id and entry point is read; then all is as it has it.

    Copies, as `gymnasium.make` takes them, are plain specs. The entry point is the one that the package declares until
    then: programs that list all ids read it, and import nothing by that.

    Attributes:
        plugin: its name, "my_package.Maze-v0".
        fault: why it cannot be used, "" if nothing is known against it.
    """

    def __init__(self, id: str, name: str, declared: str, fault: str = "") -> None:
        super().__init__(id, declared)
        self.plugin, self.fault = name, fault
        self._spec: EnvSpec | None = None

    def resolved(self) -> EnvSpec:
        """Return the plain spec, importing the plug-in the first time.

        Raises:
            ValueError: it cannot be imported, is no environment, or its name belongs to several.
        """
        if self.fault:
            raise ValueError(self.fault)
        if self._spec is None:
            found = plugins.load_plugin(GROUP, self.plugin)
            self._spec = _spec_of(self.id, plugins.installed(GROUP)[self.plugin].value, found)
            self.entry_point = self._spec.entry_point
        return self._spec

    def to_json(self) -> str:
        """Return the plain spec as JSON."""
        return self.resolved().to_json()

    def __deepcopy__(self, memo: dict[int, Any]) -> EnvSpec:
        return copy.deepcopy(self.resolved(), memo)

    def __reduce__(self) -> tuple[Any, ...]:
        return copy.copy, (self.resolved(),)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__


def _late(name: str) -> property:
    """Return an attribute that the plug-in has; what the constructor of EnvSpec sets by default is forgotten."""
    return property(lambda self: getattr(self.resolved(), name), lambda self, value: None)


for _field in fields(EnvSpec):
    if _field.init and _field.name not in ("id", "entry_point"):
        setattr(PluginSpec, _field.name, _late(_field.name))


def register_plugins() -> None:
    """Register the environments of installed packages; none of them is imported.

    `Maze-v0` of the distribution my-package becomes my_package/Maze-v0. One that has no version is refused when it is
    used, so that it breaks no other; an id that is registered already stays as it is.
    """
    for name, point in plugins.installed(GROUP).items():
        id = plugin_id(name, point)
        fault = "" if ID.fullmatch(id) else f"The plug-in {name} is called {point.name!r}; expected NAME-vN."
        if id not in gym.registry:
            with contextlib.suppress(gym.error.Error):  # no id at all, which nobody can ask for
                gym.registry[id] = PluginSpec(id, name, point.value, fault)


def plugin_id(name: str, point: EntryPoint) -> str:
    """Return the id of a plug-in: "my_package/Maze-v0" for "my_package.Maze-v0"."""
    return f"{name.removesuffix(f'.{point.name}')}/{point.name}"
