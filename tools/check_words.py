"""Find words that the code and its documents avoid, and say which to use instead.

Comments, docstrings, messages, documents and names are checked for the words of EVERYWHERE (`felt_score` holds "felt
score"), and what a module shows to others, its arguments, fields, keys, functions and classes, for those of NAMES.
CHANGELOG.md says what was renamed; published data and records of the first format keep the words of their time.

Usage: python tools/check_words.py
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = (".py", ".md", ".html", ".js", ".mjs")
EXEMPT = (
    "CHANGELOG.md",
    "docs/results/data/",
    "leaderboards/records/conversion.py",
    "tests/leaderboards/format_1/",
    "tests/leaderboards/test_conversion.py",
    "tests/test_words.py",
    "tools/check_words.py",
)

# Avoided everywhere: in text, and as a word of a name.
EVERYWHERE = {
    "luck": "random draws",
    "twin": "counterfactual population, or paired task",
    "camp": "cluster",
    "whim": "idiosyncratic noise",
    "felt score": "subjective utility",
    "outlook": "expected final return",
    "waste": "non-progress steps",
    "prize": "terminal outcome, or goal reward",
    "entrant": "entry, or submission",
    "foreseen": "speculative",
    "referee": "board operator, or operations",
    "keeper": "board operator",
    "parcel": "batch",
    "foreign": "third-party",
    "anew": "again",
    "unless told": "by default",
    "is told": "is given, or prior knowledge",
    "are told": "are given, or prior knowledge",
    "cut at": "clipped to",
    "that is none": "not a valid ...",
    "board's book": "board's ledger",
    "the book": "the ledger",
}

# Avoided as a whole name outside the tests: of an argument, a field, a key, a function, a class or a module. Variables
# within a function may be called so: there the words stand beside what they mean.
NAMES = {
    "Evidence": "CriticStatistics",
    "Guide": "LossWeights",
    "alike": "task_index",
    "anew": "restart_state",
    "apart": "cluster_spread",
    "ask": "exchange, critic_statistics or q_values",
    "asked": "query_index",
    "asks": "active",
    "averaged": "target_critics",
    "begun": "episode_ids",
    "bell": "irwin_hall",
    "book": "ledger",
    "due": "is_evaluation_point",
    "for_value": "value_of_information",
    "model_share": "model_fraction",
    "random_steps": "warmup_steps",
    "said": "last_message",
    "shown": "num_queries",
    "sight": "observation_coupling",
    "spread": "parallel_map, dodge or unstack",
    "touch": "action_coupling",
    "update_ratio": "updates_per_step",
    "waiting": "pending_responses",
    "waves": "frequencies",
    "within": "cluster_std",
}

# American spellings, avoided in comments, docstrings and documents; names follow the libraries that they come from.
AMERICAN = (
    r"(?<![\"'])\b(?:behaviors?|behavioral|centers?|centered|centering|neighbor\w*|favor\w*|gray|catalogs?|modeled|"
    r"modeling|labeled|labeling|colors?|colored|(?:normal|optim|maxim|minim|general|standard|regular|initial|random|"
    r"organ|recogn|character|penal)iz(?:e[srd]?|ers|ing))\b"
)

_SPACE = r"[\s#]+"  # words of a phrase may stand on two lines of a comment
_EVERYWHERE = re.compile(rf"\b(?:{'|'.join(EVERYWHERE)})s?\b".replace(" ", _SPACE), re.IGNORECASE)
_AMERICAN = re.compile(AMERICAN, re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z_]\w*")
_CODE = re.compile(r"```.*?```|``[^`]+``|`[^`\n]+`", re.DOTALL)


def better(word: str) -> str:
    """Return what to write in place of a word of EVERYWHERE, in any case, in the plural or broken over lines."""
    plain = " ".join(re.split(_SPACE, word.lower()))
    return EVERYWHERE.get(plain) or EVERYWHERE[plain.removesuffix("s")]


def in_text(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the avoided words of a text: the line, from 0, the word and a better one."""
    for found in _EVERYWHERE.finditer(text):
        yield text.count("\n", 0, found.start()), " ".join(found[0].split()), better(found[0])


def in_spelling(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the American spellings of a text outside its code, with lines from 0."""
    for found in _AMERICAN.finditer(_CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)):
        yield text.count("\n", 0, found.start()), found[0], "the British spelling"


def in_tokens(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield the avoided words in the names, comments and strings of a module."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind, line = tokenize.tok_name[token.type], token.start[0] - 1
        content = re.sub(r"^[rbfuRBFU]*(['\"])", r"\1", token.string).strip("\"'")
        if kind == "NAME" or _NAME.fullmatch(content):
            words = re.sub(r"_+|(?<=[a-z0-9])(?=[A-Z])", " ", content)
            yield from ((line, content, better(found[0])) for found in _EVERYWHERE.finditer(words))
        elif kind == "COMMENT" or ("STRING" in kind and re.search(r"\s", content)):
            yield from ((line + below, *rest) for below, *rest in in_text(token.string))
            if kind == "COMMENT" or '"""' in token.string:
                yield from ((line + below, *rest) for below, *rest in in_spelling(token.string))


def shown_names(tree: ast.AST, inside: bool = False) -> Iterator[tuple[int, str]]:
    """Yield what a module shows to others, with lines: names of arguments, fields, keys, functions and classes."""
    for node in ast.iter_child_nodes(tree):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.keyword(arg=str(name)) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.Constant(value=str(name)) if _NAME.fullmatch(name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) if not inside:
                yield node.lineno, name
            case ast.ImportFrom(module=module, names=aliases):
                yield from ((node.lineno, name) for name in (module or "").split("."))
                yield from ((node.lineno, alias.asname or alias.name) for alias in aliases)
        yield from shown_names(node, inside or function)


def complaints(path: str, text: str) -> list[str]:
    """Return a sentence for each avoided word of a file."""
    if not path.endswith(".py"):
        found = {*in_text(text), *(in_spelling(text) if path.endswith(".md") else ())}
    else:
        found = set(in_tokens(text))
    if path.endswith(".py") and not path.startswith("tests/"):
        names = ((line - 1, name.strip("_")) for line, name in shown_names(ast.parse(text)))
        found |= {(line, name, NAMES[name]) for line, name in names if name in NAMES}
    return [f"{path}:{line + 1}: {word!r}; better: {other}" for line, word, other in sorted(found)]


def files() -> list[str]:
    """Return the files of the checkout that are checked, as git knows them."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [
        path
        for path in sorted(set(listed.stdout.splitlines()))
        if path.endswith(SUFFIXES) and not path.startswith(EXEMPT)
    ]
    return [path for path in paths if (ROOT / path).exists()]


def main() -> int:
    """Print the avoided words of the checkout; return 0 if there are none."""
    paths = files()
    found = [line for path in paths for line in complaints(path, (ROOT / path).read_text(encoding="utf-8"))]
    print("\n".join(found) if found else f"words: {len(paths)} files without a word that is avoided")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
