"""A Hugging Face cache and a hub of the tests' own.

Imports neither MLX nor what of huggingface_hub is slow: all unit tests load this.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import socket
import struct
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" + "0" * 34


@pytest.fixture(autouse=True)
def hub_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache in the place of the machine's own, here and in what the test starts.

    huggingface_hub has read the environment when it was imported.
    """
    home = tmp_path_factory.mktemp("hf-home")
    cache = home / "hub"
    cache.mkdir()
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    return cache


def cached(folder: Path, repo: str, cache: Path, leave_out: Collection[str] = ()) -> Path:
    """Put the files of `folder` into `cache`, and give the snapshot: blobs, refs and links.

    Files in `leave_out` are not there, as after a download that broke off.
    """
    storage = cache / f"models--{repo.replace('/', '--')}"
    snapshot = storage / "snapshots" / COMMIT
    blobs = storage / "blobs"
    for each in (snapshot, blobs, storage / "refs"):
        each.mkdir(parents=True, exist_ok=True)
    (storage / "refs" / "main").write_text(COMMIT)
    for file in folder.iterdir():
        if file.name not in leave_out:
            blob = hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copy(file, blobs / blob)
            (snapshot / file.name).symlink_to(Path("..", "..", "blobs", blob))
    return snapshot


def bare_model(folder: Path, config: Any, *, shards: int = 1) -> Path:
    """A folder that looks like a model: empty weights, with an index where there are several."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        (folder / "model.safetensors").write_bytes(b"")
        return folder
    names = [f"model-{number:05d}-of-{shards:05d}.safetensors" for number in range(1, shards + 1)]
    for name in names:
        (folder / name).write_bytes(name.encode())
    index = {"weight_map": {f"layer.{number}": name for number, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


SERVED_COMMIT = "decade" + "0" * 34


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None


@dataclass
class Hub:
    """What the server has, how it behaves, and what it was asked.

    The first file that is longer breaks off after `break_after` bytes, once: the connection is
    closed, as by a proxy, or reset. Until `answers` is set every request waits, until `sends` is
    set the content of every file.
    """

    repo: str
    folder: Path
    endpoint: str = ""
    gated_status: Literal[401, 403] | None = None
    sizes: dict[str, int] = field(default_factory=dict)
    break_after: int | None = None
    breaks_by: Literal["close", "reset"] = "close"
    answers: threading.Event = field(default_factory=threading.Event)
    sends: threading.Event = field(default_factory=threading.Event)
    requests: list[Request] = field(default_factory=list)

    def gets(self, name: str) -> list[Request]:
        """The requests for the content of the file `name`."""
        return [
            each
            for each in self.requests
            if each.method == "GET" and each.path.endswith(f"/{name}") and "/resolve/" in each.path
        ]

    def files(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": file.name, "size": self.size(file), "oid": _etag(file)}
            for file in sorted(self.folder.iterdir())
        ]

    def size(self, file: Path) -> int:
        return self.sizes.get(file.name, file.stat().st_size)


@contextmanager
def serve(repo: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub, for this process and for those it starts, while the context lasts."""
    hub = Hub(repo, folder)
    hub.answers.set()
    hub.sends.set()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    use_endpoint(hub.endpoint, monkeypatch)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.answers.set()
        hub.sends.set()
        server.shutdown()
        server.server_close()
        thread.join()


def use_endpoint(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub is, here and in what is started: huggingface_hub has read the environment."""
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def _etag(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.hub.answers.wait()
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(Request(self.command, path, self.headers.get("Range")))
        repo = re.escape(self.hub.repo)
        if re.fullmatch(rf"/api/models/{repo}(/revision/main)?", path):
            self._json({"id": self.hub.repo, "sha": SERVED_COMMIT, "siblings": self._siblings()})
        elif re.fullmatch(rf"/api/models/{repo}/tree/{SERVED_COMMIT}", path):
            self._json(self.hub.files())
        elif match := re.fullmatch(rf"/{repo}/resolve/(?:main|{SERVED_COMMIT})/([^/]+)", path):
            self._file(self.hub.folder / match[1])
        else:
            self._refuse(404, "RepoNotFound", "Repository not found")

    def _siblings(self) -> list[dict[str, Any]]:
        return [{"rfilename": file["path"], "size": file["size"]} for file in self.hub.files()]

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self._head(200, len(content), {"Content-Type": "application/json"})
        self.wfile.write(content)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._head(status, 0, {"X-Error-Code": code, "X-Error-Message": message})

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()

    def _file(self, file: Path) -> None:
        if self.hub.gated_status is not None:
            self._refuse(self.hub.gated_status, "GatedRepo", "Access to this model is restricted")
            return
        if not file.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        headers = {
            "ETag": f'"{_etag(file)}"',
            "X-Repo-Commit": SERVED_COMMIT,
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        size = self.hub.size(file)
        if asked:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        self._head(206 if asked else 200, size - start, headers)
        if self.command == "GET":
            self._content(file.read_bytes()[start:])

    def _content(self, content: bytes) -> None:
        self.hub.sends.wait()
        if self.hub.break_after is None or len(content) <= self.hub.break_after:
            self.wfile.write(content)
            return
        self.wfile.write(content[: self.hub.break_after])
        self.wfile.flush()
        self.hub.break_after = None
        self.close_connection = True
        if self.hub.breaks_by == "reset":
            linger_no_time = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_no_time)
            self.connection.close()
