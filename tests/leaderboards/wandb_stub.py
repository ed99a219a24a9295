"""A wandb server on the loopback interface: as much of its protocol as runs with artifacts and their readers need.

Four kinds of request arrive: GraphQL operations, a run's file stream (history, summary, end), and uploads to and
downloads from the addresses that the operations hand out. Whatever is not known here is answered with an error and
remembered.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
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
        artifacts: artifact id -> {"name", "type", "state", "run", "files": {name: bytes}, "manifest": bytes}.
        uploads: path -> bytes, the files of runs.
        operations: names of the GraphQL operations, in order.
        unknown: those that had no answer.
        key: the only API key that is let in, None for any.
        dies_at: name of the operation at which the server falls silent for good, None for never.
        busy: how many requests are still turned away with 429, "too many requests".
        downloads: paths of what was fetched.
        reports: what was sent to be one.
    """

    key: str | None = None
    dies_at: str | None = None
    dead: bool = False
    busy: int = 0

    def __init__(self) -> None:
        self.runs: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.operations: list[str] = []
        self.unknown: list[str] = []
        self.downloads: list[str] = []
        self.reports: list[dict[str, Any]] = []
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

    def on_GetDefaultEntity(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "user", "entity": "tester"}}

    def on_GetProjects(self, sent: dict[str, Any]) -> dict[str, Any]:
        names = sorted({project for _, project, _ in self.runs})
        times = {"createdAt": "2026-01-01T00:00:00Z", "entityName": sent["entity"], "isBenchmark": False, "user": None}
        edges = [
            {"cursor": name, "node": {"__typename": "Project", "id": name, "name": name, **times}} for name in names
        ]
        return {
            "models": {"edges": edges, "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}}
        }

    def on_ProjectInternalId(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"id": "project", "internalId": "project"}}

    def on_upsertView(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.reports.append(sent)
        told = {key: sent.get(key) for key in ("type", "name", "displayName", "description", "spec")}
        project = {"id": "project", "name": sent["projectName"], "entityName": sent["entityName"]}
        times = {name: "2026-01-01T00:00:00Z" for name in ("createdAt", "updatedAt")}
        return {"upsertView": {"view": {"id": "Vmlldzox", "project": project, **told, **times}, "inserted": True}}

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
        run = sent["entityName"], sent["projectName"], sent["runName"]
        self.artifacts[key] = {"name": name, "type": kind, "state": "PENDING", "files": {}, "run": run}
        artifact = {"id": key, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def on_ArtifactByID(self, sent: dict[str, Any]) -> dict[str, Any]:
        return {"artifact": self._artifact(sent["id"])}

    def _artifact(self, key: str) -> dict[str, Any]:
        held = self.artifacts[key]
        entity, name, _ = held["run"]
        project = {"id": "project", "internalId": "project", "name": name, "entity": {"id": "entity", "name": entity}}
        sequence = {"__typename": "ArtifactSequence", "id": "sequence", "name": held["name"], "project": project}
        numbers = {"versionIndex": 0, "ttlDurationSeconds": 0, "size": 1, "fileCount": len(held["files"])}
        texts = {"description": None, "metadata": None, "digest": "", "commitHash": None, "state": held["state"]}
        times = {"historyStep": None, "createdAt": "2026-01-01T00:00:00", "updatedAt": None, "ttlIsInherited": True}
        kind = {"artifactSequence": sequence, "artifactType": {"name": held["type"]}, "tags": [], "aliases": []}
        return {"__typename": "Artifact", "id": key, **numbers, **texts, **times, **kind, "digestAlgorithm": None}

    def _run(self, key: tuple[str, str, str]) -> dict[str, Any]:
        entity, project, name = key
        run = self.runs[key]
        where = {"id": "project", "name": project, "entity": {"id": "entity", "name": entity}}
        texts = {name: "" for name in ("description", "notes", "group", "sweepName", "commit", "host")}
        times = {name: "2026-01-01T00:00:00Z" for name in ("createdAt", "heartbeatAt", "updatedAt")}
        numbers = {name: 0 for name in ("historyLineCount", "eventsLineCount", "logLineCount")}
        user = {"id": "user", "name": "tester", "username": "tester"}
        config = json.dumps({key: {"value": value} for key, value in run["config"].items()})
        about = {"id": name, "name": name, "displayName": run.get("name", name), "jobType": run.get("job_type")}
        told = {"tags": run.get("tags", []), "state": run.get("state", "running"), "config": config}
        told |= {"summaryMetrics": json.dumps(run["summary"]), "systemMetrics": "{}", "readOnly": False}
        told |= {"historyKeys": {"sets": [], "keys": {}, "lastStep": 0}, "projectId": "1", "internalId": "1"}
        return {**texts, **times, **numbers, **about, **told, "user": user, "project": where}

    def on_Runs(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Those that are wanted, in pages of two whatever is asked for, so that there is always a next page."""
        wanted = {name: value for part in json.loads(sent["filters"])["$and"] for name, value in part.items()}
        found = [self._run(key) for key in self.runs if key[:2] == (sent["entity"], sent["project"])]
        found = [run for run in found if all(run[name] == value for name, value in wanted.items())]
        found = found[::-1] if str(sent.get("order", "")).startswith("-") else found
        start = int(sent.get("cursor") or 0)
        edges = [{"node": run, "cursor": str(start + i + 1)} for i, run in enumerate(found[start : start + 2])]
        page = {"endCursor": str(start + 2), "hasNextPage": start + 2 < len(found)}
        runs = {"totalCount": len(found), "edges": edges, "pageInfo": page}
        return {"project": {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}}

    def on_Run(self, sent: dict[str, Any]) -> dict[str, Any]:
        return {"project": {"run": self._run((sent["entity"], sent["project"], sent["name"]))}}

    def on_RunOutputArtifacts(self, sent: dict[str, Any]) -> dict[str, Any]:
        key = sent["entity"], sent["project"], sent["run"]
        mine = [{"node": self._artifact(id)} for id, held in self.artifacts.items() if held["run"] == key]
        page = {"endCursor": None, "hasNextPage": False, "__typename": "PageInfo"}
        return {"project": {"run": {"artifacts": {"totalCount": len(mine), "pageInfo": page, "edges": mine}}}}

    def on_FetchArtifactManifest(self, sent: dict[str, Any]) -> dict[str, Any]:
        file = {"directUrl": f"{self.url}/storage/manifest/{sent['id']}", "__typename": "File"}
        return {"artifact": {"currentManifest": {"id": "manifest", "file": file, "__typename": "ArtifactManifest"}}}

    def on_CreateArtifactManifest(self, sent: dict[str, Any]) -> dict[str, Any]:
        file = self._artifact_file(sent["artifactID"], sent["name"]) | {
            "uploadUrl": f"{self.url}/storage/manifest/{sent['artifactID']}"
        }
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
        if match := re.match(r"/storage/manifest/(\w+)", path):
            self.artifacts[match[1]]["manifest"] = body
        elif match := re.match(r"/storage/artifact/(\w+)/(.+)", path):
            self.artifacts[match[1]]["files"][match[2]] = body
        else:
            self.uploads[path] = body

    def held(self, path: str) -> bytes | None:
        """One download: a manifest, or a file of an artifact by its MD5 and name."""
        self.downloads.append(path)
        if match := re.match(r"/storage/manifest/(\w+)", path):
            return self.artifacts[match[1]].get("manifest")
        digest, name = path.split("/")[-2:]
        files = (artifact["files"].get(name) for artifact in self.artifacts.values())
        return next((body for body in files if body is not None and hashlib.md5(body).hexdigest() == digest), None)


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
        if self.stub.busy > 0:
            self.stub.busy -= 1
            self.send_response(429)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        reply: dict[str, Any] = {}
        found: bytes | None = None
        with self.stub.lock:
            if path == "/graphql":
                sent = json.loads(body)
                operation = re.search(r"(?:query|mutation)\s+(\w+)", sent["query"])
                name = sent.get("operationName") or (operation[1] if operation else "")
                data = self.stub.answer(name, sent.get("variables") or {})
                reply = {"data": data} if data else {"data": {}, "errors": [{"message": f"{name} is unknown here"}]}
            elif match := re.match(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
                self.stub.stream(match.groups(), json.loads(body))  # type: ignore[arg-type]
            elif self.command == "GET":
                found = self.stub.held(path)
            elif path.startswith("/storage/"):
                self.stub.store(path, body)
        content = json.dumps(reply).encode() if found is None else found
        self.send_response(404 if self.command == "GET" and found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass
