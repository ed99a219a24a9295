"""Folders and files that hold language models: which there are, what is refused, and by what hash they are known.

Weights are read from safetensors or GGUF, never from a pickle, which can run code when it is read; and a model that
brings code of its own (`auto_map`) is refused. Nothing here imports torch or reaches the network.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from valuegym.envs import extras

__all__ = ["Converted", "ModelFiles", "convert", "digest", "find", "looks_like_model"]

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
CONFIGS = ("config.json", "generation_config.json", "tokenizer_config.json", "processor_config.json")
MAX_CONFIG = 1 << 20  # bytes; the index of the largest models has a few hundred thousand
MAX_INDEX = 1 << 26
CHUNK = 1 << 20
CLOSE = 1e-4  # nats per token between a GGUF file and its conversion
CHECKED = (
    ("I am in the kitchen of a neighbour and see the money on the table.", " I leave it where it is."),
    ("I am in the kitchen of a neighbour and see the money on the table.", " I take it and say nothing."),
    ("The meeting begins at nine. My friend asks me to wait.", " I wait, because I have promised it."),
    ("1789, 1848, 1989:", " years in which much changed; 3.14 is none."),
)


class ModelFiles(NamedTuple):
    """Place of a model: its folder, and the name of the GGUF file in it, None for safetensors."""

    folder: Path
    gguf: str | None

    @property
    def name(self) -> str:
        """Name for people."""
        return self.gguf.removesuffix(".gguf") if self.gguf else self.folder.resolve().name


def looks_like_model(source: str | Path) -> bool:
    """Tell whether a path is a GGUF file, a file of pickled weights, or a folder with weights of any kind."""
    path = Path(source)
    if path.is_dir():
        return any(each.name.endswith((".gguf", ".safetensors", *PICKLES)) for each in path.iterdir())
    return path.suffix in (".gguf", ".safetensors", *PICKLES)


def find(source: str | Path) -> ModelFiles:
    """Return the files of a model, given its folder or GGUF file.

    Raises:
        FileNotFoundError: there is no such folder or file, or a shard is missing.
        ValueError: it holds no model, pickled weights only, several GGUF files, an adapter without its model, code of
            its own, or names files outside of its folder.
    """
    path = Path(source)
    if path.is_file():
        return _file(path)
    if not path.is_dir():
        raise FileNotFoundError(
            f"{source} is neither a folder nor a file; a model on the hub is asked for by --revision COMMIT."
        )
    names = sorted(each.name for each in path.iterdir())
    if not any(name.endswith(".safetensors") for name in names):
        return _without_safetensors(path, names)
    if "config.json" not in names:
        adapter = "adapter_config.json" in names
        raise ValueError(
            f"{path} holds an adapter without its model; merge them (merge_and_unload of peft) and save the model."
            if adapter
            else f"{path} holds safetensors without config.json; expected the folder of a whole model."
        )
    for name in CONFIGS:
        if name in names and "auto_map" in _object(path / name, MAX_CONFIG):
            raise ValueError(f"{path / name} names code of its own (auto_map), which is never run; use a plain model.")
    for name in names:
        if name.endswith(".safetensors.index.json"):
            _check_shards(path, name)
    return ModelFiles(path, None)


def _file(path: Path) -> ModelFiles:
    """Return the files of a model in one file, GGUF."""
    if path.suffix in PICKLES:
        raise _pickled(path)
    if path.suffix != ".gguf":
        raise ValueError(f"{path} is no model; expected a folder with config.json and safetensors, or a GGUF file.")
    _check_gguf(path)
    return ModelFiles(path.parent, path.name)


def _without_safetensors(path: Path, names: Sequence[str]) -> ModelFiles:
    """Return the files of a model in a folder that has no safetensors."""
    found = [name for name in names if name.endswith(".gguf")]
    pickled = [name for name in names if name.endswith(PICKLES)]
    if len(found) == 1:
        return _file(path / found[0])
    if found:
        raise ValueError(f"{path} holds {len(found)} GGUF files, {', '.join(found)}; name one of them.")
    if pickled:
        raise _pickled(path / pickled[0])
    raise ValueError(f"{path} holds no model; expected config.json and safetensors, or a GGUF file.")


def _pickled(path: Path) -> ValueError:
    return ValueError(
        f"{path} is not read: it is in a format of pickles, which can run code; expected safetensors or GGUF."
    )


def _object(path: Path, limit: int) -> dict[str, Any]:
    """Read a JSON object."""
    if path.stat().st_size > limit:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; expected at most {limit}.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is not JSON; expected the file that belongs to a model.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object; expected one.")
    return found


def _check_shards(folder: Path, name: str) -> None:
    shards = _object(folder / name, MAX_INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise ValueError(f"{folder / name} has no weight_map; expected the shard of each tensor.")
    for shard in sorted(set(map(str, shards.values()))):
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ValueError(f"{folder / name} names {shard!r}; expected safetensors in the same folder.")
        if not (folder / shard).is_file():
            raise FileNotFoundError(f"{folder / shard} is missing, a part of the model according to {name}.")


def _check_gguf(path: Path) -> None:
    """Check that a GGUF file is whole.

    Raises:
        ValueError: it is not.
        ImportError: gguf is not installed.
    """
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise ImportError(f"GGUF files need gguf: {extras.hint('text')} ({error}).") from error
    try:
        tensors = GGUFReader(path).tensors
        ends = [int(tensor.data_offset) + int(tensor.n_bytes) for tensor in tensors]
    except Exception as error:  # whatever is made of bytes that are not what they say
        raise ValueError(
            f"{path} is no whole GGUF file, it may be truncated ({type(error).__name__}: {error})."
        ) from None
    if not ends or max(ends) > path.stat().st_size:
        raise ValueError(f"{path} is no whole GGUF file: its tensors do not lie within it.")


def digest(files: ModelFiles) -> str:
    """Return the SHA-256 of a model: of its GGUF file, or of the names and contents of all its weights and JSON files.

    Files of other kinds, such as a description, do not matter.
    """
    if files.gguf:
        return _hash(files.folder / files.gguf)
    kinds = (".safetensors", ".json", ".model", ".txt", ".jinja")
    paths = sorted(path for path in files.folder.iterdir() if path.is_file() and path.name.endswith(kinds))
    return hashlib.sha256(json.dumps([[path.name, _hash(path)] for path in paths]).encode()).hexdigest()


def _hash(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            found.update(part)
    return found.hexdigest()


class Converted(NamedTuple):
    """A converted model: its folder, its number of parameters, and the largest difference of log-probabilities."""

    folder: Path
    parameters: int
    difference: float


def convert(
    source: str | Path, output: str | Path, checked: Sequence[tuple[str, str]] = CHECKED, close: float = CLOSE
) -> Converted:
    """Write a GGUF model as a folder of safetensors in single precision, and compare what the two say.

    What is written is loaded again, and must give the tokens of some texts the same log-probabilities. The folder
    appears whole or not at all; everyone may read its files.

    Args:
        source: a GGUF file, or a folder with one.
        output: folder to be made; an empty one may be there.
        checked: pairs of a context and its continuation that are compared.
        close: largest difference allowed, in nats per token.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the source is no whole GGUF model, the output is there already, or the two differ.
        ImportError: transformers or gguf is not installed.
    """
    import numpy as np
    import torch

    from valuegym.agents.language import causal_lm

    files, target = find(source), Path(output)
    if files.gguf is None:
        raise ValueError(f"{source} is a folder of safetensors already; expected a GGUF file.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is there already; choose another folder to write to.")
    try:
        model = causal_lm.load(files.folder, files.gguf)
    except (ImportError, OSError):
        raise
    except Exception as error:  # transformers meets whatever is in the file
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{files.folder / files.gguf} is not read ({type(error).__name__}: {reason}).") from None
    config = type(model.model.config).from_dict(
        {name: value for name, value in model.model.config.to_dict().items() if name != "quantization_config"}
    )
    with torch.random.fork_rng(devices=[]):  # it fills weights that are overwritten at once
        plain = type(model.model)(config)
    plain.load_state_dict(model.model.state_dict())
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        with causal_lm.quiet():
            plain.save_pretrained(temporary)
            model.encode.tokenizer.save_pretrained(temporary)  # type: ignore[attr-defined]
        again = causal_lm.load(temporary)
        first, second = (causal_lm.score_many(each, checked) for each in (model, again))
        if any(len(a) != len(b) for a, b in zip(first, second, strict=True)):
            raise ValueError(f"{files.name} and its conversion cut a text into different tokens; nothing is written.")
        difference = float(max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)))
        if not difference <= close:
            raise ValueError(
                f"{files.name} and its conversion differ by {difference:.2g} nats a token; expected at most {close:g}. "
                "Nothing is written."
            )
        for path in temporary.iterdir():
            path.chmod(0o644)
        temporary.chmod(0o755)
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Converted(target, sum(each.numel() for each in plain.parameters()), difference)
