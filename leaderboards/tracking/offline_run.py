"""Reading a wandb offline run from its folder, and making a moved one whole again, without a server.

A run folder holds `run-<id>.wandb`, the log of everything that was logged: a 7-byte header, then protobuf records in
LevelDB's log format (blocks of 32 KiB; fragments of checksum, length, kind, data; checksum = CRC-32 of kind and data).
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from valuegym.envs import extras

__all__ = ["fragments", "framed", "read_offline", "relocate"]

HEADER = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
FRAGMENT = struct.Struct("<IHB")  # checksum, length, kind
BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_offline(run_directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Read an offline run from its folder.

    Returns:
        id, name, project, entity, job_type, exit_code; tags (list); config, summary (dict, without wandb's own keys,
        which begin with an underscore); history (list of dict); tables (name -> {"columns": ..., "data": ...});
        artifacts (name -> {"type", "digest", "files": {name: path of the stored copy}}).

    Raises:
        FileNotFoundError: where the folder holds no run log.
        ImportError: if wandb is not installed.
        ValueError: where the log is damaged.
    """
    folder = Path(run_directory)
    run: dict[str, Any] = {"tags": [], "config": {}, "summary": {}, "history": [], "tables": {}, "artifacts": {}}
    for payload in fragments(_log(folder).read_bytes()):
        _apply(run, _parse(payload))
    for key in ("config", "summary"):
        run[key] = {name: value for name, value in run[key].items() if not name.startswith("_")}
    for name, value in list(run["summary"].items()):
        if isinstance(value, dict) and value.get("_type") == "table-file":
            del run["summary"][name]
            table = json.loads((folder / "files" / value["path"]).read_text(encoding="utf-8"))
            run["tables"][name] = {"columns": table["columns"], "data": table["data"]}
    return run


def relocate(run_directory: str | os.PathLike[str]) -> int:
    """Make a run that was moved or copied whole again, so that `wandb sync` finds its artifacts; returns paths changed.

    `log.sync_offline`, the command `valuegym sync`, does both.

    The log names the stored copies of artifact files by absolute path, and syncing skips those it cannot find without a
    word. `log_scores` keeps the copies in the run's own folder; this points the log back at them, wherever that is now.

    Raises:
        FileNotFoundError: where the folder holds no run log, or an artifact's copy is not in it.
        ValueError: where the log is damaged.
    """
    folder = Path(run_directory).resolve()
    log, payloads, changed = _log(folder), [], 0
    for payload in fragments(log.read_bytes()):
        record = _parse(payload)
        if record.WhichOneof("record_type") == "artifact":
            for entry in record.artifact.manifest.contents:
                here = folder / "data" / "artifacts" / "staging" / entry.local_path.replace("\\", "/").split("/")[-1]
                if not here.is_file():
                    raise FileNotFoundError(f"{here}, the copy of {entry.path}, is missing; copy the whole folder.")
                changed += entry.local_path != str(here)
                entry.local_path = str(here)
            payload = record.SerializeToString()
        payloads.append(payload)
    temporary = log.with_suffix(".tmp")
    temporary.write_bytes(framed(payloads))
    os.replace(temporary, log)
    return changed


def fragments(log: bytes) -> Iterator[bytes]:
    """Yield the payloads in a log, each checked against its checksum.

    Raises:
        ValueError: for a log that is not one of wandb's, breaks off, or fails a checksum.
    """
    if log[: len(HEADER)] != HEADER:
        raise ValueError(f"The log begins with {log[:7]!r}, expected {HEADER!r}: not a wandb run log.")
    at, payload = len(HEADER), b""
    while at < len(log):
        left = BLOCK - at % BLOCK
        if left < FRAGMENT.size:  # too little room for a fragment: the rest of the block is padding
            at += left
            continue
        if len(log) - at < FRAGMENT.size:
            raise ValueError(f"The log breaks off at byte {at}; copy the run again, or let it finish.")
        checksum, length, kind = FRAGMENT.unpack_from(log, at)
        data = log[at + FRAGMENT.size : at + FRAGMENT.size + length]
        if checksum != zlib.crc32(data, zlib.crc32(bytes([kind]))):
            raise ValueError(f"The log fails its checksum at byte {at}; copy the run again from where it was made.")
        at += FRAGMENT.size + length
        payload = data if kind in (FULL, FIRST) else payload + data
        if kind in (FULL, LAST):
            yield payload


def framed(payloads: list[bytes]) -> bytes:
    """Frame payloads as a log: the inverse of `fragments`."""
    log = bytearray(HEADER)
    for payload in payloads:
        first, rest = True, payload
        while first or rest:
            left = BLOCK - len(log) % BLOCK
            if left < FRAGMENT.size:
                log += bytes(left)
                continue
            data, rest = rest[: left - FRAGMENT.size], rest[left - FRAGMENT.size :]
            kind = (LAST if not rest else MIDDLE) if not first else (FULL if not rest else FIRST)
            log += FRAGMENT.pack(zlib.crc32(data, zlib.crc32(bytes([kind]))), len(data), kind) + data
            first = False
    return bytes(log)


def _log(folder: Path) -> Path:
    logs = sorted(folder.glob("run-*.wandb"))
    if len(logs) != 1:
        raise FileNotFoundError(f"{folder} holds {len(logs)} files run-*.wandb, expected one: the folder of a run.")
    return logs[0]


def _parse(payload: bytes) -> Any:
    try:
        messages = importlib.import_module("wandb.proto.wandb_internal_pb2")
    except ImportError as error:
        raise ImportError(f"Reading a wandb run needs wandb: {extras.hint('tracking')}.") from error
    record = messages.Record()
    record.ParseFromString(payload)
    return record


def _apply(run: dict[str, Any], record: Any) -> None:
    """Add what one record says to the run."""
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run |= {"id": record.run.run_id, "name": record.run.display_name, "tags": list(record.run.tags)}
        run |= {key: getattr(record.run, key) for key in ("project", "entity", "job_type")}
        _update(run["config"], record.run.config)
    elif kind in ("config", "summary"):
        _update(run[kind], getattr(record, kind))
    elif kind == "history":
        run["history"].append({})
        for item in record.history.item:
            _set(run["history"][-1], item)
    elif kind == "artifact" and record.artifact.type != "run_table":
        files = {entry.path: entry.local_path for entry in record.artifact.manifest.contents}
        about = {"type": record.artifact.type, "digest": record.artifact.digest, "files": files}
        run["artifacts"][record.artifact.name] = about
    elif kind == "exit":
        run["exit_code"] = record.exit.exit_code


def _update(target: dict[str, Any], change: Any) -> None:
    for item in change.update:
        _set(target, item)
    for item in change.remove:
        target.pop(item.key or item.nested_key[0], None)


def _set(target: dict[str, Any], item: Any) -> None:
    *path, last = list(item.nested_key) or [item.key]
    for key in path:
        target = target.setdefault(key, {})
    target[last] = json.loads(item.value_json)
