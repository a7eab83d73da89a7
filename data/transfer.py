"""What a transfer from elsewhere is made of: its settings, its failures, its pace, and the body that a source opens.

A source (`data/web.py`, `data/buckets.py`) opens a file from some byte on and says which version of it that is; who keeps
the bytes (`data/download.py`) knows neither HTTP nor buckets.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol, TypeVar

from pydantic import Field, field_validator

from data.section import Section

LONGEST_WAIT = 60.0  # seconds between two tries, unless the server asks for more
LONGEST_ASKED = 900.0  # seconds; a server that asks for more is left for now
T = TypeVar("T")
Mark = dict[str, str]  # what names one version of a file: etag, modified, size


class DownloadConfig(Section):
    """How raw files are fetched from addresses. Their bytes count, the way they came does not."""

    connections: int = Field(default=4, ge=1, le=64)  # chosen: files at a time
    bytes_per_second: int | None = Field(default=None, ge=1)  # of all connections together; null: as fast as they come
    requests_per_second: float = Field(default=10.0, gt=0)  # chosen: of all connections together
    retries: int = Field(default=8, ge=0)  # chosen: of one file, in a row and without new bytes
    backoff_seconds: float = Field(default=1.0, gt=0)  # chosen: before the first retry; doubles up to a minute, with jitter
    timeout_seconds: float = Field(default=60.0, gt=0)  # chosen: without a byte, or with next to none, before a retry
    user_agent: str = "quipu"  # the name that servers are told, with the version behind it
    contact: str | None = None  # an address or page for them to write to, told to every server; Wikimedia asks for one
    check_again: bool = False  # ask for listings again, and whether files have changed; false: what was fetched stands

    @field_validator("user_agent", "contact")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ValueError("expected one line of ASCII text")
        return value

    def agent(self) -> str:
        """The header User-Agent: `quipu/0.1.0 (me@example.org)`."""
        try:
            name = f"{self.user_agent}/{version('quipu')}"
        except PackageNotFoundError:
            name = self.user_agent
        return f"{name} ({self.contact})" if self.contact else name


class TransferError(Exception):
    """A file did not come. `passing`: it may come when asked again, after `wait` seconds if the server has said so;
    `afresh`: what has come is no beginning of it; `absent`: there is no such file."""

    def __init__(
        self, text: str, *, passing: bool, wait: float | None = None, afresh: bool = False, absent: bool = False
    ) -> None:
        super().__init__(text)
        self.passing, self.wait, self.afresh, self.absent = passing, wait, afresh, absent


class Stopped(Exception):
    """The transfer was asked to end; what has come is kept."""


@dataclass(frozen=True)
class Body:
    """The bytes of a file from `start` on. `total`: of the whole file, if it is known; `mark`: its version."""

    start: int
    total: int | None
    mark: Mark
    blocks: Iterator[bytes]


class Source(Protocol):
    """One remote file. `str()` is safe to print."""

    def open(self, offset: int, mark: Mark | None) -> Body:
        """From `offset` on if the file still is the version `mark`, else from its start. Raises TransferError."""

    def current(self) -> tuple[int | None, Mark]:
        """Size and version as they are now, without the bytes. Raises TransferError."""


def same_version(before: Mark, now: Mark) -> bool:
    """Whether two marks are of one version of a file: by the etag where both have one, else by all that both say."""
    both = before.keys() & now.keys()
    decisive = both & {"etag", "size"} if "etag" in both else both
    return all(before[name] == now[name] for name in decisive)


class Pace:
    """Requests and bytes a second over all connections, the end that all of them watch, a pause a server has asked for."""

    def __init__(self, config: DownloadConfig) -> None:
        self.config = config
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._request_at = self._byte_at = 0.0

    def request(self) -> None:
        """Wait for the turn of one more request."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._request_at)
            self._request_at = turn + 1.0 / self.config.requests_per_second
        self.sleep(turn - now)

    def received(self, count: int) -> None:
        """Wait as long as `count` bytes may take."""
        if self.stopped.is_set():
            raise Stopped
        if self.config.bytes_per_second is None:
            return
        with self._lock:
            now = time.monotonic()
            self._byte_at = max(now, self._byte_at) + count / self.config.bytes_per_second
            due = self._byte_at
        self.sleep(due - now)

    def retry(self, tries: int, error: TransferError) -> None:
        """Wait before the next try: as long as the server has asked, for all connections, or a random part of a doubling span."""
        if error.wait is not None:
            with self._lock:
                self._request_at = max(self._request_at, time.monotonic() + error.wait)
            self.sleep(error.wait)
        else:
            span = min(LONGEST_WAIT, self.config.backoff_seconds * 2 ** min(tries - 1, 16))
            self.sleep(span * random.uniform(0.5, 1.0))

    def patiently(self, ask: Callable[[], T]) -> T:
        """The answer to something small, asked again while a failure may pass."""
        tries = 0
        while True:
            try:
                return ask()
            except TransferError as error:
                tries += 1
                if not error.passing or tries > self.config.retries:
                    raise
                self.retry(tries, error)

    def sleep(self, seconds: float) -> None:
        """Sleep, unless all is to end: then Stopped."""
        if self.stopped.wait(max(0.0, seconds)):
            raise Stopped
