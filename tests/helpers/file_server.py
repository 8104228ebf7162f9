"""A server on this machine for download tests: files under addresses, and what the client of the hub asks for.

Nothing is simulated on the client's side; what the server does wrong is chosen by the test.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FileServer:
    """Serves ``files`` (path -> content) while it is entered; ``address`` is its root."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path, ``/a/b.pth``; on the hub ``/OWNER/REPOSITORY/resolve/main/FILE``."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, path and Range of every request."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers break off, first one first."""
    status: dict[str, int] = field(default_factory=dict)
    """Path -> the error that it answers with."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of every answer, over its own; an empty value leaves a header out."""
    ranges: bool = True
    spoilt: bool = False
    """Send other bytes than the checksum in the headers says."""
    wait_s: float = 0.0
    """Seconds before the content is sent."""
    address: str = ""

    def __enter__(self) -> FileServer:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def bodies(self) -> list[tuple[str, str, str]]:
        """The requests for content; the client of the hub also asks its api for this and that."""
        return [request for request in self.asked if request[0] == "GET" and not request[1].startswith("/api/")]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                server._answer(self, body=False)

            def do_GET(self) -> None:
                server._answer(self, body=True)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def _answer(self, handler: Any, *, body: bool) -> None:
        path, asked_range = handler.path, handler.headers.get("Range", "")
        self.asked.append((handler.command, path, asked_range))
        if path.startswith("/api/models/") and "/tree/" in path:
            return self._list(handler, path)
        content = self.files.get(path.replace(f"/resolve/{COMMIT}/", "/resolve/main/"))
        code = self.status.get(path, 200 if content is not None else 404)
        if code != 200 or content is None:
            return self._refuse(handler, code)
        sha = hashlib.sha256(content).hexdigest()
        own = {"ETag": f'"{sha}"', "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"}
        if "/resolve/" in path:
            own |= {"X-Repo-Commit": COMMIT, "X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(len(content))}
        start = 0
        if asked_range and self.ranges and handler.headers.get("If-Range", own["ETag"]) == own["ETag"]:
            start = int(asked_range.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._refuse(handler, 416)
            own["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        sent = bytes(len(content)) if self.spoilt else content
        own["Content-Length"] = str(len(content) - start)
        handler.send_response(206 if start else 200)
        for name, value in (own | self.headers).items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        if body:
            time.sleep(self.wait_s)
            cut = self.cuts.pop(0) if self.cuts else None
            handler.wfile.write(sent[start : None if cut is None else start + cut])
            if cut is not None:
                handler.close_connection = True
                handler.connection.shutdown(2)

    def _refuse(self, handler: Any, code: int) -> None:
        handler.send_response(code)
        if "/resolve/" in handler.path:
            handler.send_header("X-Repo-Commit", COMMIT)
            handler.send_header(
                "X-Error-Code", {404: "EntryNotFound", 401: "RepoNotFound", 403: "GatedRepo"}.get(code, "")
            )
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def _list(self, handler: Any, path: str) -> None:
        repository = path.removeprefix("/api/models").partition("/tree/")[0]
        start = f"{repository}/resolve/main/"
        files = [
            {"type": "file", "path": name.removeprefix(start), "size": len(content), "oid": "0" * 40}
            for name, content in self.files.items()
            if name.startswith(start)
        ]
        text = json.dumps(files).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)
