"""Write the sources of the documentation: the pages in `docs/`, and those that come from code.

Usage: python tools/docs_site.py [FOLDER]    writes them to build/docs/source, from which Sphinx makes the site

Environments, agents and tracks are the rows of their tables, commands their `--help`, modules their docstrings: none
of these pages is in the repository. Links to files outside `docs/` become links to the pages made from them.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import io
import json
import posixpath
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import griffe
import gymnasium as gym
import numpy as np
import public_names

from valuegym import agents
from valuegym.agents import AGENTS
from valuegym.envs import ENVS, THIRD_PARTY
from valuegym.leaderboards.cli.main import parser
from valuegym.leaderboards.experiments import EXPERIMENTS

ROOT = public_names.ROOT
BUILD = ROOT / "build" / "docs"
FAMILIES = ("preference", "control", "coevolution", "language")
SEED, FRAMES, WIDTH = 0, 40, 320  # of moving pictures
EVERY = {"control": 3}  # steps between frames, by family
PLAYERS = (("uniform", "random actions"), ("oracle", "the reference for a score of 1"))

# The sidebar: a caption, and its pages or folders of pages.
CONTENTS: dict[str, list[str]] = {
    "Start": ["own", "running", "examples/index"],
    "Guides": [
        "preference-model",
        "feedback",
        "reward-models",
        "preference-agents",
        "control",
        "vagram",
        "coevolution",
        "language",
        "data",
    ],
    "What there is": ["environments/index", "agents", "tracks", "commands", "reference/index"],
    "Leaderboards": ["submitting", "threat-model", "site", "results/index", "speed"],
    "About": ["architecture", "changes"],
}


def write(folder: Path) -> None:
    """Write the sources of all pages to a folder, which is emptied first."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.txt", "*.jsonl", "*.zip", "conf.py"))
    (folder / "results" / "README.md").rename(folder / "results" / "index.md")
    for place in sorted(folder.rglob("*.md")):
        source = f"docs/{place.relative_to(folder)}".replace("results/index.md", "results/README.md")
        text = adapted((ROOT / source).read_text(encoding="utf-8"), source)
        if source == "docs/results/README.md":
            text += _toctree(sorted(page.stem for page in place.parent.glob("*.md") if page != place))
        elif source == "docs/agents.md":
            text += _toctree([f"agents/{name}" for name in AGENTS], hidden=True)
        place.write_text(text, encoding="utf-8")
    for name, content in pages_from_code():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content if isinstance(content, bytes) else content.encode())


# --- pages in the repository ---


def adapted(text: str, source: str) -> str:
    """Return the text of a page with its links changed to what the site has, and its blocks of code named.

    Args:
        text: Markdown.
        source: the file's path in the repository.
    """
    here = posixpath.dirname(page_of(source) or "")

    def link(found: re.Match[str]) -> str:
        target, _, anchor = found[1].partition("#")
        place = page_of(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
        if place is None:
            return f"]({REPOSITORY}{target})" if REPOSITORY else "]"
        return f"]({posixpath.relpath(place, here or '.')}{'#' * bool(anchor)}{anchor})"

    text = re.sub(r"\]\((?![a-z]+:|#)([^)\s]+)\)", link, text)
    return re.sub(r"^```(\w+) ([\w./-]+)\n", r"```{code-block} \1\n:caption: \2\n\n", text, flags=re.MULTILINE)


def page_of(source: str) -> str | None:
    """Return the page of the site that a file of the repository is, None where it is none."""
    special = {
        "README.md": "index.md",
        "CHANGELOG.md": "changes.md",
        "docs/results/README.md": "results/index.md",
        "examples/README.md": "examples/index.md",
        "examples/plugin_package": "examples/plugin_package.md",
    }
    if source in special:
        return special[source]
    if re.fullmatch(r"examples/\w+\.py", source):
        return f"{source[:-3]}.md"
    if source.startswith("docs/") and not source.endswith((".jsonl", ".zip", "/baselines")):
        return source.removeprefix("docs/")
    return None


# --- pages from code ---


def pages_from_code() -> Iterator[tuple[str, str | bytes]]:
    """Yield the path and the content of every page and picture that is made."""
    for source in ("README.md", "CHANGELOG.md", "examples/README.md"):
        text = adapted((ROOT / source).read_text(encoding="utf-8"), source)
        if source == "README.md":
            text += "".join(_toctree(pages, caption, hidden=True) for caption, pages in CONTENTS.items())
        elif source == "examples/README.md":
            scripts = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))
            text += _toctree([*scripts, "plugin_package"], hidden=True)
        yield page_of(source) or "", text
    yield "tracks.md", tracks()
    yield "commands.md", commands()
    yield from examples()
    yield from environments()
    yield from agent_pages()
    yield from reference()


def examples() -> Iterator[tuple[str, str]]:
    """Yield the scripts of `examples/` and the files of its package."""
    for path in sorted((ROOT / "examples").glob("*.py")):
        yield f"examples/{path.stem}.md", f"# {path.name}\n\n{_code(path)}"
    package = ROOT / "examples" / "plugin_package"
    parts = [path for path in sorted(package.rglob("*")) if path.suffix in LANGUAGES and "egg" not in str(path)]
    blocks = "\n\n".join(f"## {path.relative_to(package)}\n\n{_code(path)}" for path in parts)
    yield "examples/plugin_package.md", f"# A package of one's own\n\n{blocks}\n"


def environments() -> Iterator[tuple[str, str | bytes]]:
    """Yield a page for each environment, from its class docstring, with pictures of how it is played."""
    index = ["# Environments", "", "All ids begin with `valuegym/`. Each page is the docstring of its class."]
    for family in FAMILIES:
        index += ["", f"## {family.capitalize()}", "", "| | id | task |", "| --- | --- | --- |"]
        for id in (id for id, row in ENVS.items() if row.tags[0] == family):
            short = id.removeprefix("valuegym/")
            page, pictures = environment(id)
            yield f"environments/{short}.md", page
            yield from ((f"environments/{name}", content) for name, content in pictures.items())
            index.append(f"| ![]({short}-oracle.gif){{width=96px}} | [`{short}`]({short}.md) | {_first(_core(id))} |")
    names = sorted({id.removeprefix("valuegym/").removesuffix("-v0").partition("-")[0] for id in THIRD_PARTY})
    index += ["", "## MuJoCo", "", f"{', '.join(names)}, each also with 5, 10 or 15 distractors (`-D5`, `-D10`,"]
    index += ["`-D15`); they need the extra `control` ([page](../control.md)).", ""]
    yield (
        "environments/index.md",
        "\n".join(index) + _toctree([id.removeprefix("valuegym/") for id in ENVS], hidden=True),
    )


def environment(id: str) -> tuple[str, dict[str, bytes]]:
    """Return the page of an environment, and its pictures by name."""
    env, short, row = gym.make(id), id.removeprefix("valuegym/"), ENVS[id]
    lines = [f"# {short}", "", "```python", f'env = gym.make("{id}", render_mode="rgb_array")']
    lines += [f'envs = gym.make_vec("{id}", num_envs=1024)  # native', "```", ""]
    players = PLAYERS[-1:] if "query" in row.tags else PLAYERS  # what it shows does not depend on estimates
    pictures = {f"{short}-{agent}.gif": moving_picture(id, agent) for agent, _ in players}
    cells = [f"![{short}, {about}]({short}-{agent}.gif)" for agent, about in players]
    lines += [_row(cells), _row(["---"] * len(cells)), _row(about for _, about in players), ""]
    lines += [_markdown(inspect.cleandoc(_core(id).__doc__ or "")), "", "## Registration", "", "| | |", "| --- | --- |"]
    fixed = ", ".join(f"{name}={value!r}" for name, value in row.kwargs.items())
    lines.append(_row(("arguments that this id fixes", f"`{fixed}`" if fixed else "none")))
    lines.append(_row(("time limit", f"{row.max_episode_steps} steps" if row.max_episode_steps else "none of its own")))
    lines.append(_row(("observation space", f"`{_space(env.observation_space)}`")))
    lines.append(_row(("action space", f"`{_space(env.action_space)}`")))
    lines.append(_row(("tracks", _tracks(name for name, track in EXPERIMENTS.items() if track.env_id == id))))
    env.close()
    return "\n".join(lines) + "\n", pictures


def moving_picture(id: str, agent: str) -> bytes:
    """Play the first steps of an episode and return them as a looping GIF."""
    from PIL import Image

    env: Any = gym.make(id, render_mode="rgb_array")
    observation, _ = env.reset(seed=SEED)
    player = agents.make(agent, env, seed=SEED)
    frames, state, start = [env.render()], None, np.ones(1, np.bool_)
    every = EVERY.get(ENVS[id].tags[0], 1)
    for step in range(1, every * (FRAMES - 1) + 1):
        action, state = player.predict(observation, state, start, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        start, over = np.zeros(1, np.bool_), terminated or truncated
        if step % every == 0 or over:
            frames.append(env.render())
        if over:
            break
    env.close()
    images = [Image.fromarray(np.asarray(frame, np.uint8)) for frame in frames]
    scale = min(1.0, WIDTH / images[0].width)
    size = (round(images[0].width * scale), round(images[0].height * scale))
    images = [image.resize(size).quantize(32) for image in images]
    out = io.BytesIO()
    images[0].save(out, "gif", save_all=True, append_images=images[1:], duration=150, loop=0, optimize=True)
    return out.getvalue()


def agent_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each agent of the table."""
    for name, entry in AGENTS.items():
        module, _, attribute = entry.entry.partition(":")
        about = f"{entry.about[:1].upper()}{entry.about[1:]}."
        played = [what for what, track in EXPERIMENTS.items() if name in track.agents]
        lines = [f"# {name}", "", about, ""]
        if played:
            lines += ["```sh", f"valuegym run --agent {name} --experiment {played[0]}", "```", ""]
        if entry.extra:
            lines += [f'It needs the extra `{entry.extra}`: `pip install -e ".[{entry.extra}]"` in a clone.', ""]
        lines += [f"Made by {{py:obj}}`{module}.{attribute}`.", "", "## Tracks", ""]
        lines.append(_tracks(played) if played else "None by default; `valuegym list --agent` shows where it plays.")
        yield f"agents/{name}.md", "\n".join(lines) + "\n"


def tracks() -> str:
    """Return the page of all tracks."""
    lines = ["# Tracks", "", "A track is an environment with its arguments, seeds and budget, and a leaderboard.", ""]
    for name, track in EXPERIMENTS.items():
        short = track.env_id.removeprefix("valuegym/")
        page = f"[`{short}`](environments/{short}.md)" if track.env_id in ENVS else f"`{short}`"
        lines += [f"({_anchor(name)})=", f"## {name}", "", track.about, "", "| | |", "| --- | --- |"]
        lines.append(_row(("environment", page)))
        if given := ", ".join(f"{key}={value!r}" for key, value in json.loads(track.arguments).items()):
            lines.append(_row(("arguments", f"`{given}`")))
        lines.append(_row(("seeds and episodes", f"{len(track.seeds)} seeds of {track.episodes}")))
        lines.append(_row(("training budget", f"{track.timesteps:,} steps" if track.timesteps else "none")))
        lines.append(_row(("ranked", "yes" if track.ranked else "no: the answer is public")))
        if track.data:
            lines.append(_row(("data", f"[{track.data}](data.md)")))
        lines.append(_row(("agents", ", ".join(f"[`{agent}`](agents/{agent}.md)" for agent in track.agents))))
        lines += ["", "```sh", f"valuegym run --experiment {name}{' --data FOLDER' * bool(track.data)}", "```", ""]
    return "\n".join(lines)


def commands() -> str:
    """Return the page of all commands: what `--help` prints."""
    lines = ["# Commands", "", "```text", _help(parser()), "```", ""]
    for name, sub in _subparsers(parser()):
        lines += [f"## valuegym {name}", "", "```text", _help(sub), "```", ""]
        for inner, action in _subparsers(sub):
            lines += [f"### valuegym {name} {inner}", "", "```text", _help(action), "```", ""]
    return "\n".join(lines)


# --- reference ---


def reference() -> Iterator[tuple[str, str]]:
    """Yield a page for each public module.

    Raises:
        SystemExit: a public name has no docstring.
    """
    packages = BUILD / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    for name, folder in public_names.FOLDERS.items():  # as they are imported
        place = packages.joinpath(*name.split("."))
        shutil.copytree(ROOT / folder, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    package = griffe.load("valuegym", search_paths=[packages], docstring_parser="google")
    boxes: dict[str, list[str]] = {}
    for name, path in public_names.public_modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if complaints := public_names.complaints(tree):
            raise SystemExit(f"{name}: {complaints[0]}")
        module: Any = package[name.partition(".")[2]] if "." in name else package
        boxes.setdefault(".".join(name.split(".")[:3]), []).append(module_section(module, tree, path))
    index = ["# Reference", "", "Every public module and name; what is not here may change at any time.", ""]
    for box, sections in boxes.items():
        yield f"reference/{box}.md", "\n".join(sections).removeprefix("#")  # the first one is the page's title
    entries = [f"{box.removeprefix('valuegym.')} <{box}>" for box in boxes]
    yield "reference/index.md", "\n".join(index) + _toctree(entries)


def module_section(module: griffe.Module, tree: ast.Module, path: Path) -> str:
    """Return the section of a module: its docstring and its public names, in the order of the file."""
    bound, source = public_names.bound_names(tree), path.read_text(encoding="utf-8").splitlines()
    lines = [f"## {module.path}", "", f"```{{py:module}} {module.path}", "```", "", _text(module), ""]
    others = []
    for name in sorted(public_names.exported(bound) or (), key=list(bound).index):
        member = module.members.get(name)
        if isinstance(member, griffe.Function):
            lines += [_function(member, "function"), ""]
        elif isinstance(member, griffe.Class):
            lines += [_class(member), ""]
        elif isinstance(member, griffe.Alias):
            target = member.target_path
            others.append(f"- `{name}`: from `{target.rpartition('.')[0] or target}`")
        else:
            what = public_names.first_line(name, bound[name], source)
            others.append(f"- `{name}`: {what.replace('(constant)', 'a constant.').replace('(type)', 'a type.')}")
    return "\n".join([*lines, *(["**Other names**", "", *others] if others else [])]) + "\n"


def _function(function: griffe.Function, kind: str) -> str:
    return _directive(f"py:{kind}", function.name + _signature(function), _text(function))


def _class(found: griffe.Class) -> str:
    text = _text(found)
    if found.docstring and "## Description" in found.docstring.value:
        text = (
            f"{_first(found.docstring.value)}\n\nThe [page of the environment](../environments/index.md) has all of it."
        )
    init = found.members.get("__init__")
    head = found.name
    if isinstance(init, griffe.Function):
        head += _signature(init).removesuffix(" -> None")
    parts = [text]
    for name, member in found.members.items():
        if isinstance(member, griffe.Function) and not name.startswith("_") and member.docstring:
            parts.append(_function(member, "method"))
        elif (
            isinstance(member, griffe.Attribute)
            and not name.startswith("_")
            and member.docstring
            and "property" in member.labels
        ):
            parts.append(_directive("py:property", name, _text(member)))
    return _directive("py:class", head, "\n\n".join(parts), fence=6)


def _directive(name: str, head: str, body: str, fence: int = 5) -> str:
    mark = "`" * fence
    return f"{mark}{{{name}}} {head}\n\n{body}\n{mark}"


def _signature(function: griffe.Function) -> str:
    parts, star = [], False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        kind = parameter.kind.value if parameter.kind else ""
        text = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "") + parameter.name
        if kind == "keyword-only" and not star:
            parts.append("*")
        star = star or kind in ("variadic positional", "keyword-only")
        if parameter.annotation is not None:
            text += f": {parameter.annotation}"
        if parameter.default is not None and not kind.startswith("variadic"):
            text += f" = {parameter.default}"
        parts.append(text)
    returns = f" -> {function.returns}" if function.returns is not None else ""
    return re.sub(r"\s+", " ", f"({', '.join(parts)}){returns}")


def _text(found: griffe.Object) -> str:
    """Return a docstring as Markdown."""
    parts = []
    for section in found.docstring.parse("google", warnings=False) if found.docstring else ():
        value: Any = section.value
        match section.kind.value:
            case "text":
                parts.append(_markdown(value))
            case "parameters" | "other parameters" | "attributes":
                parts.append("\n".join(f"- `{item.name}`: {_item(item)}" for item in value))
            case "raises" | "warns":
                parts.append("**Raises**\n\n" + "\n".join(f"- `{item.annotation}`: {_item(item)}" for item in value))
            case "returns" | "yields":
                parts.append(f"**{section.kind.value.capitalize()}**\n\n" + "\n".join(_item(item) for item in value))
            case "admonition":
                parts.append(f"**{section.title or value.kind.capitalize()}** {value.contents}")
            case "examples":
                parts += [f"```python\n{text}\n```" if kind.value == "examples" else text for kind, text in value]
            case other:
                raise SystemExit(f"{found.path}: its docstring has a section {other!r}, which the site does not show.")
    return "\n\n".join(parts)


def _item(item: Any) -> str:
    return re.sub(r"\s*\n\s*", " ", _markdown(item.description))


# --- parts of pages ---

LANGUAGES = {".py": "python", ".toml": "toml", ".cfg": "ini", ".md": "markdown"}
REPOSITORY = ""  # the address before paths of files that are no pages


def _markdown(docstring: str) -> str:
    """Return a docstring with the products in it, such as S*A*d, kept from being taken for emphasis."""
    parts = re.split(r"(`[^`]*`)", docstring)
    return "".join(part if part[:1] == "`" else re.sub(r"(?<=[\w)])\*(?=[\w(])", r"\\*", part) for part in parts)


def _core(id: str) -> Any:
    module, _, name = ENVS[id].core.partition(":")
    return getattr(import_module(module), name)


def _first(text: Any) -> str:
    return ((text if isinstance(text, str) else text.__doc__) or "").strip().partition("\n")[0]


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _anchor(track: str) -> str:
    return f"track-{re.sub(r'[^a-z0-9]+', '-', track.lower())}"


def _tracks(names: Any) -> str:
    return ", ".join(f"[{name}](../tracks.md#{_anchor(name)})" for name in names) or "none"


def _space(space: gym.Space[Any]) -> str:
    return re.sub(r"\s+", " ", str(space)).replace("|", "\\|")


def _code(path: Path) -> str:
    return f"````{LANGUAGES[path.suffix]}\n{path.read_text(encoding='utf-8')}````"


def _toctree(pages: list[str], caption: str = "", hidden: bool = False) -> str:
    options = [f":caption: {caption}"] * bool(caption) + [":hidden:"] * hidden + [":maxdepth: 1"]
    return "\n\n" + "\n".join(["```{toctree}", *options, "", *pages, "```"]) + "\n"


def _subparsers(top: argparse.ArgumentParser) -> list[tuple[str, argparse.ArgumentParser]]:
    found = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    return [item for action in found for item in action.choices.items()]


def _help(sub: argparse.ArgumentParser) -> str:
    return sub.format_help().rstrip()


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else BUILD / "source")
