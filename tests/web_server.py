"""A web server on the loopback address that keeps files and, when told to, does what servers do on bad days."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Day:
    """What happens to one GET. `stop_after`: bytes sent before the connection ends, or before it stalls."""

    status: int | None = None
    retry_after: str | None = None
    stop_after: int | None = None
    stall: bool = False
    drip_seconds: float = 0.0  # one byte each
    ignore_range: bool = False
    ignore_if_range: bool = False
    no_length: bool = False
    location: str | None = None
    content_type: str = "application/octet-stream"
    content_encoding: str | None = None
    promised: int | None = None  # a Content-Length that is not true


@dataclass
class Web:
    """Files by path, the days that the next requests for a path will have, and what was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    days: dict[str, list[Day]] = field(default_factory=lambda: defaultdict(list))
    always: dict[str, Day] = field(default_factory=dict)
    login: str | None = None
    validators: bool = True  # whether ETag is told
    asked: list[Asked] = field(default_factory=list)
    going_home: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return self.address + path

    def gets(self, path: str | None = None) -> list[Asked]:
        return [each for each in self.asked if each.method == "GET" and path in (None, each.path)]

    def etag(self, path: str) -> str:
        return f'"{sha256(self.files[path]).hexdigest()[:16]}"'


@contextmanager
def serving() -> Iterator[Web]:
    """Start the server."""
    web = Web()

    class Handler(_Handler):
        site = web

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.going_home.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    site: Web
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(Day())

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        days = self.site.days[path]
        self._answer(days.pop(0) if days else self.site.always.get(path, Day()))

    def _answer(self, day: Day) -> None:
        path = self.path.partition("?")[0]
        self.close_connection = True
        self.site.asked.append(Asked(self.command, path, dict(self.headers)))
        if self.site.login and self.headers.get("Authorization") != self.site.login:
            return self._bare(401)
        if day.location is not None:
            return self._bare(302, Location=day.location)
        if day.status is not None:
            return self._bare(day.status, **({"Retry-After": day.retry_after} if day.retry_after else {}))
        if path not in self.site.files:
            return self._bare(404)
        content, start = self.site.files[path], 0
        etag = self.site.etag(path)
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, etag) or day.ignore_if_range
        if wanted and same and not day.ignore_range:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                return self._bare(416)
        self.send_response(206 if start else 200)
        if self.site.validators:
            self.send_header("ETag", etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if not day.no_length:
            self.send_header("Content-Length", str(len(content) - start if day.promised is None else day.promised))
        self.send_header("Content-Type", day.content_type)
        if day.content_encoding:
            self.send_header("Content-Encoding", day.content_encoding)
        self.end_headers()
        if self.command == "GET":
            self._send(content[start:], day)
        return None

    def _send(self, content: bytes, day: Day) -> None:
        try:
            if day.drip_seconds:
                for at in range(len(content)):
                    self.wfile.write(content[at : at + 1])
                    self.wfile.flush()
                    if self.site.going_home.wait(day.drip_seconds):
                        return
                return
            self.wfile.write(content[: day.stop_after])
            self.wfile.flush()
            if day.stall:
                self.site.going_home.wait(30)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has had enough

    def _bare(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
