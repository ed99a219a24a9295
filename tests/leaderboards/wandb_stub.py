"""A wandb server on the loopback interface: as much of its protocol as one run with artifacts needs.

Three kinds of request arrive: GraphQL operations, a run's file stream (history, summary, end), and uploads to the
addresses that the operations hand out. Whatever is not known here is answered with an error and remembered.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlparse


class Server:
    """Everything received, by kind; use as a context manager.

    Attributes:
        runs: (entity, project, run id) -> {"config", "summary", "history", "tags", "name", "job_type", "state"}.
        artifacts: artifact id -> {"name", "type", "state", "files": {name: bytes}}.
        uploads: path -> bytes, the files of runs.
        operations: names of the GraphQL operations, in order.
        unknown: those that had no answer.
        key: the only API key that is let in, None for any.
        dies_at: name of the operation at which the server falls silent for good, None for never.
    """

    key: str | None = None
    dies_at: str | None = None
    dead: bool = False

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"stub": self})
        self.http = _Quiet(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> Server:
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The data of one GraphQL operation."""
        self.operations.append(operation)
        method = getattr(self, f"on_{operation}", None)
        if method is None:
            self.unknown.append(operation)
            return None
        return method(variables.get("input", variables))

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "user", "entity": "tester", "username": "tester", "name": "tester", "flags": "{}"}
        return {"viewer": viewer | {"teams": {"edges": []}}}

    def on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def on_UpsertBucket(self, sent: dict[str, Any]) -> dict[str, Any]:
        entity, project, name = sent.get("entity") or "tester", sent["project"], sent["name"]
        inserted = (entity, project, name) not in self.runs
        run = self.runs.setdefault((entity, project, name), {"config": {}, "summary": {}, "history": []})
        config = json.loads(sent.get("config") or "{}")
        run["config"] |= {key: value["value"] for key, value in config.items()}
        run["summary"] |= json.loads(sent.get("summaryMetrics") or "{}")
        for ours, theirs in {"tags": "tags", "name": "displayName", "job_type": "jobType", "host": "host"}.items():
            if sent.get(theirs) is not None:
                run[ours] = sent[theirs]
        where = {"id": "project", "name": project, "entity": {"id": "entity", "name": entity}}
        bucket = {"id": name, "name": name, "displayName": run.get("name"), "config": "{}", "project": where}
        return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": inserted}}

    def on_CreateRunFiles(self, sent: dict[str, Any]) -> dict[str, Any]:
        address = f"{self.url}/storage/run/{sent['run']}"
        files = [{"name": name, "uploadUrl": f"{address}/{quote(name)}"} for name in sent["files"]]
        return {"createRunFiles": {"runID": sent["run"], "uploadHeaders": [], "files": files}}

    def on_ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"artifact": None}}  # no artifact of that name yet, so any type will do

    def on_CreateArtifact(self, sent: dict[str, Any]) -> dict[str, Any]:
        key = f"artifact{len(self.artifacts)}"
        name, kind = sent["artifactCollectionName"], sent["artifactTypeName"]
        self.artifacts[key] = {"name": name, "type": kind, "state": "PENDING", "files": {}}
        artifact = {"id": key, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def on_ArtifactByID(self, sent: dict[str, Any]) -> dict[str, Any]:
        held = self.artifacts[sent["id"]]
        project = {
            "id": "project",
            "internalId": "project",
            "name": "valuegym",
            "entity": {"id": "entity", "name": "tester"},
        }
        sequence = {"__typename": "ArtifactSequence", "id": "sequence", "name": held["name"], "project": project}
        numbers = {"versionIndex": 0, "ttlDurationSeconds": 0, "size": 1, "fileCount": len(held["files"])}
        texts = {"description": None, "metadata": None, "digest": "", "commitHash": None, "state": held["state"]}
        times = {"historyStep": None, "createdAt": "2026-01-01T00:00:00", "updatedAt": None, "ttlIsInherited": True}
        kind = {"artifactSequence": sequence, "artifactType": {"name": held["type"]}, "tags": [], "aliases": []}
        return {"artifact": {"__typename": "Artifact", "id": sent["id"], **numbers, **texts, **times, **kind}}

    def on_CreateArtifactManifest(self, sent: dict[str, Any]) -> dict[str, Any]:
        file = self._artifact_file(sent["artifactID"], sent["name"]) | {"uploadUrl": f"{self.url}/storage/manifest"}
        return {"createArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}

    def on_CreateArtifactFiles(self, sent: dict[str, Any]) -> dict[str, Any]:
        files = [self._artifact_file(file["artifactID"], file["name"]) for file in sent["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}

    def on_CommitArtifact(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.artifacts[sent["artifactID"]]["state"] = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": sent["artifactID"], "digest": ""}}}

    def _artifact_file(self, artifact: str, name: str) -> dict[str, Any]:
        file = {"id": name, "name": name, "displayName": name, "storagePath": name, "artifact": {"id": artifact}}
        url = f"{self.url}/storage/artifact/{artifact}/{quote(name)}"
        return file | {"uploadUrl": url, "uploadHeaders": [], "uploadMultipartUrls": None}

    def stream(self, run: tuple[str, str, str], sent: dict[str, Any]) -> None:
        """One piece of a run's file stream."""
        files = sent.get("files") or {}
        for line in files.get("wandb-history.jsonl", {}).get("content", []):
            self.runs[run]["history"].append(json.loads(line))
        for line in files.get("wandb-summary.json", {}).get("content", []):
            self.runs[run]["summary"] |= json.loads(line)
        if sent.get("complete"):
            self.runs[run]["state"] = "failed" if sent.get("exitcode") else "finished"

    def store(self, path: str, body: bytes) -> None:
        """One upload."""
        if match := re.match(r"/storage/artifact/(\w+)/(.+)", path):
            self.artifacts[match[1]]["files"][match[2]] = body
        else:
            self.uploads[path] = body


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients close their connections when they exit; that is no error."""


class _Handler(BaseHTTPRequestHandler):
    stub: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        path = unquote(urlparse(self.path).path)
        if self.stub.dead or (self.stub.dies_at and self.stub.dies_at.encode() in body):
            self.stub.dead = True
            self.close_connection = True
            return
        given = base64.b64decode(self.headers.get("Authorization", "").partition(" ")[2] or b"").decode()
        if self.stub.key is not None and given.partition(":")[2] != self.stub.key:
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        reply: dict[str, Any] = {}
        with self.stub.lock:
            if path == "/graphql":
                sent = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", sent["query"])
                name = sent.get("operationName") or (operation[1] if operation else "")
                data = self.stub.answer(name, sent.get("variables") or {})
                reply = {"data": data} if data else {"data": {}, "errors": [{"message": f"{name} is unknown here"}]}
            elif match := re.match(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
                self.stub.stream(match.groups(), json.loads(body))  # type: ignore[arg-type]
            elif path.startswith("/storage/"):
                self.stub.store(path, body)
        content = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass
