"""Files of arrays from outside: numbers only, never unpickled, and what is wrong with a file in one sentence."""

from __future__ import annotations

import hashlib
import importlib
import io
import math
import os
import re
import shlex
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuegym.envs import extras

__all__ = [
    "MAX_BYTES",
    "VARIABLE",
    "check_size",
    "conversion",
    "escaped",
    "find_folder",
    "from_arrow",
    "naming",
    "optional_module",
    "parse_array",
    "read_array",
    "read_arrays",
    "read_contents",
    "read_hdf5",
    "sha256",
    "unlike",
]

Array = npt.NDArray[Any]

VARIABLE = "VALUEGYM_DATA"  # names the folder of people's data
MAX_BYTES = 2**32  # of the arrays that are read from one file
_CONVERSION = (
    "python -c \"import pickle, sys, numpy as np; x = pickle.load(open(sys.argv[1], 'rb')); "
    'np.savez(sys.argv[2], **x) if isinstance(x, dict) else np.save(sys.argv[2], x)"'
)

_SIGNS = {  # how files begin that are often taken for arrays
    b"PK": "a zip archive",
    b"\x1f\x8b": "compressed by gzip",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x89HDF": "an HDF5 file",
    b"version https://git-lfs": "a pointer of Git LFS instead of the file",
    b"\x93NUMPY": "a single array",
}


def unlike(content: bytes, expected: str = "") -> str:
    """Return what a content is instead of an "array", an "archive" or text (""), in words; "" where it may be that."""
    if not content.strip():
        return "it is empty"
    if content.lstrip()[:1] == b"<":
        return "it is a web page or another text in angle brackets, perhaps the answer of a server that did not find it"
    due = {"array": b"\x93NUMPY", "archive": b"PK"}.get(expected, b"")
    kind = next((kind for sign, kind in _SIGNS.items() if content.startswith(sign) and sign != due), "")
    if kind:
        return f"it is {kind}"
    return f"it is no {expected} of numpy's" if due and not content.startswith(due) else ""


def parse_array(content: bytes) -> Array:
    """Return the array of a file in numpy's format .npy: numbers only, and as many as its header says.

    Raises:
        ValueError: it is something else.
    """
    if said := unlike(content, "array"):
        raise ValueError(f"{said}; expected an array in the format .npy.")
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except Exception:  # of many kinds: the header is a text that is parsed
        raise ValueError("its header is damaged, or cut off.") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never read; expected an array of numbers.")
    wanted, found = math.prod(shape) * dtype.itemsize, len(content) - file.tell()
    if found != wanted:
        raise ValueError(
            f"it has {found} bytes of numbers where its header, of shape {shape} and type {dtype}, says {wanted}: "
            f"{'the file is cut off' if found < wanted else 'something follows the array'}."
        )
    try:
        array: Array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, OverflowError):  # a shape that no array can have
        raise ValueError(f"its header is damaged: no array has the shape {shape}.") from None
    return array


def read_contents(folder: Path, names: list[str], hashes: tuple[str, ...] | None, meant: str) -> list[bytes]:
    """Return the contents of files, checked against their SHA-256 hashes, if given.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the SHA-256 of a file differs; `meant` says what it should have been, such as "the published file".
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing from {folder}.")
    contents = [(folder / name).read_bytes() for name in names]
    wrong = []
    for name, content, wanted in zip(names, contents, hashes or (), strict=False):
        if sha256(content) != wanted:
            said = unlike(content, "archive" if name.endswith(".npz") else "array")
            wrong.append(
                f"{folder / name} is not {meant}: its SHA-256 differs{f', for {said}' if said else ''}. Get it again."
            )
    if wrong:
        raise ValueError(" ".join(wrong))
    return contents


def find_folder(data: str | Path | None, name: str, example: str) -> Path:
    """Return the folder `name` in `data`, or `data` itself; without it, in the folder that VALUEGYM_DATA names.

    Raises:
        FileNotFoundError: neither is given, or it is not a folder; the sentence names a file that it should hold.
    """
    root = data or os.environ.get(VARIABLE)
    if not root:
        raise FileNotFoundError(f"Human preferences need the folder they lie in: pass data=FOLDER or set {VARIABLE}.")
    folder = Path(root) / name if (Path(root) / name).is_dir() else Path(root)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; expected one that holds files such as {example}.")
    return folder


def read_array(path: str | Path) -> Array:
    """Return the array of a file in numpy's format .npy.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no array of numbers or texts; the message begins with the path.
    """
    path = _file(path)
    with naming(path):
        content = path.read_bytes()
        _refuse_pickle(content, path, "npy")
        return parse_array(content)


def read_arrays(path: str | Path, wanted: Collection[str] = ()) -> dict[str, Array]:
    """Return arrays of an archive in numpy's format .npz, by name.

    No array is read whose header does not fit the size of its entry, nor more than MAX_BYTES in all.

    Args:
        path: of the file.
        wanted: the names that are read, of those that are there; others are not even opened, so that they may hold
            anything. Empty: all of them.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no archive, it is damaged, or an array holds Python objects; the message begins with the path.
    """
    path = _file(path)
    found = {}
    with naming(path):
        with path.open("rb") as file:
            content = file.read(64)
            _refuse_pickle(content, path, "npz")
            if said := unlike(content, "archive"):
                raise ValueError(f"{said}; expected an archive in the format .npz.")
        try:
            with zipfile.ZipFile(path) as archive:
                entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        except Exception:  # a damaged archive may raise anything, from zlib.error to OSError
            raise ValueError("it is no whole archive of arrays.") from None
        chosen = {name: info for name, info in entries.items() if not wanted or name in wanted}
        check_size(sum(info.file_size for info in chosen.values()))
        try:
            with zipfile.ZipFile(path) as archive:
                contents = {name: archive.read(info) for name, info in chosen.items()}
        except Exception:
            raise ValueError("it is no whole archive of arrays.") from None
        for name, content in contents.items():
            with naming(escaped(name)):
                found[name] = parse_array(content)
    return found


def read_hdf5(path: str | Path, wanted: Collection[str]) -> dict[str, Array]:
    """Return data sets at the root of an HDF5 file, those of `wanted` that are there.

    Links to other files, and data that lie in other files, are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: h5py is not installed.
        ValueError: it is no HDF5 file, or it is damaged; the message begins with the path.
    """
    path = _file(path)
    h5py = optional_module("h5py", "hdf5", "to read HDF5 files")
    found = {}
    with naming(path):
        try:
            with h5py.File(path, "r") as file:
                links = {name: file.get(name, getlink=True) for name in wanted}
                chosen = [name for name, link in links.items() if link is not None]
                for name in chosen:
                    hard = isinstance(links[name], h5py.HardLink)
                    if not (hard and file.get(name, getclass=True) is h5py.Dataset):
                        raise ValueError(f"{name} is no data set of this file itself.")
                    if file[name].external or file[name].is_virtual:
                        raise ValueError(f"the numbers of {name} lie in another file.")
                    if file[name].dtype.kind not in "fiub":
                        raise ValueError(f"{name} has the type {file[name].dtype}; expected numbers.")
                check_size(sum(file[name].nbytes for name in chosen))
                for name in chosen:
                    found[name] = file[name][()]
        except (OSError, KeyError, RuntimeError):
            raise ValueError("it is no whole HDF5 file.") from None
    return found


def optional_module(name: str, extra: str, purpose: str) -> Any:
    """Return a module of a library that valuegym does not require.

    Raises:
        ModuleNotFoundError: it is not installed; the sentence names the extra of valuegym that brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(f"{name} is needed {purpose}: {extras.hint(extra)}.", name=name) from None


def from_arrow(column: Any) -> Array:
    """Return an array (n, ...) from an array of Arrow, whose entries may be lists of lists of the same lengths.

    Args:
        column: an array of pyarrow with n entries, in one piece.

    Raises:
        ValueError: an entry is missing, or lists differ in length.
    """
    if column.null_count:
        raise ValueError("an entry is missing.")
    column = getattr(column, "storage", column)
    if not hasattr(column, "value_lengths"):  # no list
        if str(column.type) in ("string", "large_string", "string_view"):
            return np.array(column.to_pylist(), np.str_)
        return np.asarray(column.to_numpy(zero_copy_only=False))
    n, inner = len(column), column.flatten()
    size = len(inner) // max(n, 1)
    if any(length != size for length in column.value_lengths().to_pylist()) if n else False:
        raise ValueError("lists in it differ in length.")
    values = from_arrow(inner)
    return values.reshape(n, size, *values.shape[1:])


def conversion(pickled: Path, target: Path) -> str:
    """Return the command by which people who trust a pickle make an array of it, or an archive of a dictionary."""
    target = target if target != pickled else target.with_name(f"converted-{target.name}")
    return f"{_CONVERSION} {shlex.quote(str(pickled))} {shlex.quote(str(target))}"


def _file(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return path


def _refuse_pickle(content: bytes, path: Path, ending: str) -> None:
    if content[:1] == b"\x80":  # protocols 2 and later begin so
        raise ValueError(
            "it is a Python pickle, which could run any program while it is read, and so is never opened; if you trust "
            f"its maker, convert it yourself: {conversion(path, path.with_suffix(f'.{ending}'))}"
        )


def check_size(size: int) -> None:
    """Refuse more bytes of arrays than are read from one file.

    Raises:
        ValueError: there are more.
    """
    if size > MAX_BYTES:
        raise ValueError(f"its arrays would take {size} bytes; at most {MAX_BYTES} are read from one file.")


def escaped(name: str) -> str:
    """Return a name from a file as a message may hold it: as it is, or escaped and cut if it is long or strange."""
    return name if re.fullmatch(r"[\w./ -]{1,64}", name) else ascii(name[:64])


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Let errors begin with the path of the file at fault, or with the name of the array in it.

    Raises:
        ValueError: what the statements within raise.
    """
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
