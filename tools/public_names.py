"""List the public names of valuegym with the first lines of their docstrings, so that a change of them is seen.

Usage: python tools/public_names.py           writes docs/public_names.txt
       python tools/public_names.py --check   says what is missing or not current, and writes nothing
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "docs" / "public_names.txt"
FOLDERS = {
    "valuegym": "src/valuegym",
    "valuegym.envs": "envs",
    "valuegym.agents": "agents",
    "valuegym.labelling": "labelling",
    "valuegym.leaderboards": "leaderboards",
}
REMAKE = "python tools/public_names.py"


def public_modules() -> Iterator[tuple[str, Path]]:
    """Yield the name and the file of each module of the package in whose name nothing begins with an underscore."""
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            if not any(part.startswith("_") for part in parts):
                yield ".".join((package, *parts)), path


def bound_names(tree: ast.Module) -> dict[str, ast.stmt]:
    """Return the names that a module binds at its top level, each with the statement that binds it."""
    found: dict[str, ast.stmt] = {}

    def visit(statements: list[ast.stmt]) -> None:
        for node in statements:
            match node:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    found[name] = node
                case ast.Assign(targets=targets):
                    names = (inner for target in targets for inner in ast.walk(target))
                    found.update({inner.id: node for inner in names if isinstance(inner, ast.Name)})
                case ast.AnnAssign(target=ast.Name(id=name)):
                    found[name] = node
                case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                    found.update({alias.asname or alias.name.split(".")[0]: node for alias in aliases})
                case ast.If(body=body, orelse=orelse) | ast.Try(body=body, orelse=orelse):
                    visit(body)
                    visit(orelse)

    visit(tree.body)
    return found


def exported(bound: dict[str, ast.stmt]) -> list[str] | None:
    """Return the names in `__all__`, sorted, or None where a module has none."""
    match bound.get("__all__"):
        case ast.Assign(value=ast.List() | ast.Tuple() as value):
            return sorted(ast.literal_eval(value))
    return None


def first_line(name: str, node: ast.stmt, source: list[str]) -> str:
    """Return what the list says of a name: its docstring's first line, its comment, or where it comes from."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return (ast.get_docstring(node) or "").partition("\n")[0]
        case ast.ImportFrom(module=module):
            return f"(from {module})"
        case ast.Import():
            return "(module)"
    comment = source[node.lineno - 1].partition("  # ")[2]
    kind = "type" if name[:1].isupper() and not name.isupper() else "constant"
    return f"({kind}) {comment}".rstrip()


def listing() -> str:
    """Return the list: a line for each public module, and one for each of its names."""
    lines = []
    for module, path in public_modules():
        source = path.read_text(encoding="utf-8")
        tree = ast.parse(source)
        bound, split = bound_names(tree), source.splitlines()
        lines.append(f"{module}: {(ast.get_docstring(tree) or '').partition(chr(10))[0]}")
        names = (name for name in exported(bound) or () if name in bound)
        lines += [f"    {name}: {first_line(name, bound[name], split)}" for name in names]
    return "\n".join(lines) + "\n"


def complaints(tree: ast.Module) -> list[str]:
    """Return a sentence for each public name of a module that is not as intended."""
    bound = bound_names(tree)
    names = exported(bound)
    if names is None and all(name.startswith("_") for name in bound):  # a package of modules
        return []
    if names is None:
        return ["has no `__all__`; list the names in it that others may use."]
    found = [f"`__all__` holds {name}, which is not in the module." for name in names if name not in bound]
    for name, node in bound.items():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if name not in names and not name.startswith("_"):
                found.append(f"{name} is not in `__all__`; add it, or begin its name with an underscore.")
            if name in names and not ast.get_docstring(node):
                found.append(f"{name} is public and has no docstring.")
    return found


def stale(text: str) -> list[str]:
    """Return the lines by which a list differs from that of the checkout."""
    old, new = set(text.splitlines()), set(listing().splitlines())
    return [f"- {line}" for line in sorted(old - new)] + [f"+ {line}" for line in sorted(new - old)]


def main() -> int:
    """Write the list, or with --check print what is wrong; return 0 if nothing is."""
    modules = list(public_modules())
    found = [
        f"{path.relative_to(ROOT)}: {complaint}"
        for _, path in modules
        for complaint in complaints(ast.parse(path.read_text(encoding="utf-8")))
    ]
    if "--check" not in sys.argv[1:]:
        LIST.write_text(listing(), encoding="utf-8")
    elif changes := stale(LIST.read_text(encoding="utf-8") if LIST.exists() else ""):
        found += [f"{LIST.relative_to(ROOT)} is not current; run `{REMAKE}`", *changes]
    print("\n".join(found) if found else f"public names: {listing().count(chr(10) + '    ')} in {len(modules)} modules")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
