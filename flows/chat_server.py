"""The chat page: a small server on the loopback address that streams a model's answers to a browser.

`GET /` is the page, `GET /model` its settings, `POST /reply` a dialogue in and lines of JSON out, one a piece of the answer.
Only this machine's own pages may ask: the name that a request was sent to must be the loopback's, which a foreign site that
points its name here does not have, and a reply takes JSON, which a foreign form cannot send.
"""

import json
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from model.chat import Conversation, Reply

LOOPBACK = "127.0.0.1"
PAGE = Path(__file__).with_name("chat_page.html")
MOST_BYTES = 1 << 20  # of a request


class Defaults(BaseModel):
    """What the page starts with."""

    name: str
    system: str | None
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    stop: list[str] = []


class Message(BaseModel):
    """One message of a dialogue."""

    model_config = ConfigDict(extra="forbid")

    role: str
    content: str


class Question(BaseModel):
    """A dialogue to answer, and how."""

    model_config = ConfigDict(extra="forbid")

    messages: list[Message] = Field(min_length=1)
    temperature: float = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    max_new_tokens: int = Field(ge=1)
    seed: int = Field(ge=0, le=2**32)
    stop: list[str] = Field(default=[], max_length=16)


class ChatServer(ThreadingHTTPServer):
    """Serves one model; answers are drawn one after another."""

    daemon_threads = True

    def __init__(self, conversation: "Conversation", defaults: Defaults, port: int) -> None:
        """Port 0 takes a free one. Raises OSError where the port is taken."""
        self.conversation, self.defaults, self.turn = conversation, defaults, threading.Lock()
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def own_names(self) -> set[str]:
        """Values of the Host header that a request meant for this server has."""
        return {f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")}


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        if self.path == "/":
            self._send(PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path == "/model":
            self._send(self.server.defaults.model_dump_json().encode(), "application/json")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        if not self._is_ours():
            return
        size = self.headers.get("Content-Length", "")
        if self.path != "/reply":
            self._refuse(HTTPStatus.NOT_FOUND, "no such page")
        elif self.headers.get_content_type() != "application/json":
            self._refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected application/json")
        elif not size.isdecimal() or int(size) > MOST_BYTES:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {MOST_BYTES} bytes, and their number")
        else:
            self._reply(self.rfile.read(int(size)))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: what is asked is nobody's business."""

    def _reply(self, body: bytes) -> None:
        try:
            question = Question.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            return self._refuse(HTTPStatus.BAD_REQUEST, f"{'.'.join(map(str, first['loc']))}: {first['msg']}")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for line in self._lines(question):
                text = json.dumps(line).encode() + b"\n"
                self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):  # the person pressed Stop
            self.close_connection = True
        return None

    def _lines(self, question: Question) -> Iterator[dict[str, Any]]:
        from data.documents import valid_text
        from model.generate import Sampling

        sampling = Sampling(question.max_new_tokens, question.temperature, question.top_p)
        messages: Any = [{"role": one.role, "content": valid_text(one.content)} for one in question.messages]
        with self.server.turn:
            try:
                reply: Reply = self.server.conversation.reply(messages, sampling, question.seed, question.stop)
            except ValueError as error:
                yield {"error": str(error)}
                return
            if reply.left_out:
                yield {"left_out": reply.left_out}
            for piece in reply:
                yield {"piece": piece}
        yield {"tokens": len(reply.tokens), "finished": reply.finished}

    def _is_ours(self) -> bool:
        if self.headers.get("Host") in self.server.own_names():
            return True
        self._refuse(HTTPStatus.FORBIDDEN, "this server answers its own machine only")
        return False

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # what may still come of the request is not read
        self._send(json.dumps({"error": reason}).encode() + b"\n", "application/json", status)

    def _send(self, body: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", "default-src 'self' 'unsafe-inline'; img-src data:; frame-ancestors 'none'")
        self.end_headers()
        self.wfile.write(body)
