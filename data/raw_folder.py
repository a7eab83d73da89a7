"""A folder of fetched files: which have come, what is in them, and the rest, brought by several connections at a time.

A journal remembers each file's SHA-256, so a file is hashed once, while it comes, and is known even when its bytes have been
removed. One process at a time fetches into a folder; a killed one is succeeded at once, and loses at most what was in memory.
"""

import fcntl
import hashlib
import json
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from data.addresses import Address, AddressError, unsigned
from data.download import Expected, Received, discard, download, read_whole
from data.listings import LARGEST, RemoteFile, files_of, read_listing, source
from data.transfer import DownloadConfig, Mark, Pace, Source, Stopped, TransferError, same_version
from store.canonical import sha256_file
from store.space import require_free

STATE = ".fetch"  # what is ours in the folder; every name in it begins with a dot
_PROCESS_BEGAN = time.time()  # what was asked since then is not asked again
_REPORT_SECONDS = 0.2
_STOP_SECONDS = 2.0  # for connections that are waiting for their server when all is to end
_SAMPLE = 8  # sizes that are asked for where a listing has none
_MANY_FAILURES = 20
_QUICK_SECONDS = 10.0  # for a size that only an estimate needs


@dataclass(frozen=True)
class Fetched:
    """One line of the journal: a file that has come. `origin`: 12 digits of its address."""

    name: str
    origin: str
    size: int
    sha256: str
    mtime_ns: int
    mark: Mark
    checksum: str | None = None
    asked: float = 0.0  # when its source last said that this is the version


@dataclass(frozen=True)
class Progress:
    """How far a fetch is. `bytes` and `of_bytes` are estimates where a listing has no sizes."""

    files: int
    of_files: int
    bytes: int
    of_bytes: int
    seconds: float

    def __str__(self) -> str:
        speed = self.bytes / self.seconds / 2**20 if self.seconds > 0 else 0.0
        return f"{self.files} of {self.of_files} files, {speed:.1f} MiB/s"


class RawFolder:
    """Files of addresses under one folder, `FOLDER/<name>`."""

    def __init__(
        self, root: Path, config: DownloadConfig, free: int = 0, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.root, self.config, self.free, self.note = root, config, free, note
        self.pace = Pace(config)
        self._state = root / STATE
        self._journal: dict[str, Fetched] | None = None
        self._writing = threading.Lock()

    def files(self, address: Address) -> list[RemoteFile]:
        """What the address means: by the listing read before, else by asking. Raises AddressError, TransferError."""
        if address.listing and not address.scheme:
            return files_of(address, read_listing(address, self.pace, self._small))  # a list of one's own may be edited
        kept = self._state / f".{address.key}.listing"
        try:
            fresh = not self.config.check_again or kept.stat().st_mtime >= _PROCESS_BEGAN
            document = kept.read_bytes() if fresh else None
        except FileNotFoundError:
            document = None
        if document is None:
            document = read_listing(address, self.pace, self._small)
            files = files_of(address, document)  # before it is kept: a page of an error must not stay
            if files:
                _replace(kept, document)
            return files
        return files_of(address, document)

    def known(self, file: RemoteFile, login: tuple[str, str] | None = None) -> Fetched | None:
        """What has come of a file and still is what its source has; its bytes may be gone."""
        entry = self._entries().get(file.name)
        if entry is None or entry.origin != _origin(file):
            return None
        other = file.checksum is not None and entry.checksum is not None and file.checksum != entry.checksum
        if other or (file.size is not None and file.size != entry.size):
            return None
        if file.mark is not None and not same_version(file.mark, entry.mark):
            return None
        if self.config.check_again and not file.checksum and file.mark is None and entry.asked < _PROCESS_BEGAN:
            return self._asked_again(file, entry, login)
        return entry

    def path(self, file: RemoteFile) -> Path:
        """Where the file lies, or will."""
        return self.root / file.name

    def here(self, file: RemoteFile, entry: Fetched) -> bool:
        """Whether the bytes are there as they came."""
        return _mark_of(self.path(file)) == (entry.size, entry.mtime_ns)

    def expected_bytes(self, files: list[RemoteFile], login: tuple[str, str] | None = None, ask: bool = True) -> tuple[int, bool]:
        """Bytes of the files, and whether that is exact; where the listing has no sizes some files' are asked for."""
        sizes = _read_json(self._state / ".sizes.json")
        unknown = [file for file in files if file.size is None]
        step = max(1, len(unknown) // _SAMPLE)
        sample = [file for file in unknown[::step][:_SAMPLE] if ask and _origin(file) not in sizes]
        for file in sample:
            sizes[_origin(file)] = self._size_of(file, login)
            if sizes[_origin(file)] is None:
                break  # it will not tell of the others either
        if sample:
            _replace(self._state / ".sizes.json", json.dumps(sizes).encode())
        found = [size for file in unknown if (size := sizes.get(_origin(file))) is not None]
        guessed = int(sum(found) / len(found) * len(unknown)) if found else 0
        return sum(file.size or 0 for file in files) + guessed, len(found) == len(unknown)

    def fetch(
        self,
        files: list[RemoteFile],
        login: tuple[str, str] | None = None,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> list[Fetched]:
        """Bring every file here that is not; the files' entries, in their order. Raises TransferError, AddressError, NoSpace."""
        _require_room_for_names(files)
        with self._alone():
            self._journal = None  # another process may have fetched meanwhile
            wanted = [file for file in files if (entry := self.known(file, login)) is None or not self.here(file, entry)]
            if wanted:
                self._require_room(wanted)
                _Fetching(self, files, wanted, login, report).run()
            entries = self._entries()
            return [entries[file.name] for file in files]

    def bring(
        self,
        file: RemoteFile,
        login: tuple[str, str] | None,
        came: Callable[[int], None],
        note: Callable[[str], None],
        pace: Pace,
    ) -> None:
        """Fetch one file: journal first, then its name, so that a kill between the two costs nothing."""
        target, partial = self.path(file), self._partial(file)
        if self._claimed(file, target, came):
            return
        entry = self.known(file, login)
        if entry is None or _mark_of(partial) != (entry.size, entry.mtime_ns):
            remote, expected = source(file.url, pace, login), Expected(file.size, file.checksum)
            received = download(remote, partial, expected, pace, came, note, self.free)
            self._remember(file, received, partial.stat().st_mtime_ns)
        else:
            came(entry.size)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, target)
        discard(partial)

    def _require_room(self, wanted: list[RemoteFile]) -> None:
        """NoSpace before the first byte, as far as the listing has sizes."""
        drafts = sum(mark[0] for file in wanted if file.size is not None and (mark := _mark_of(self._partial(file))))
        require_free(self.root, self.free + max(0, sum(file.size or 0 for file in wanted) - drafts))

    def _partial(self, file: RemoteFile) -> Path:
        return self._state / f".{_digits(f'{_origin(file)}/{file.name}')}.partial"

    def _claimed(self, file: RemoteFile, target: Path, came: Callable[[int], None]) -> bool:
        """Whether what lies there already is the file, copied or brought by somebody else; AddressError when it is another's."""
        if not target.exists():
            return False
        entry, size, before = self.known(file), target.stat().st_size, self._entries().get(file.name)
        if entry is not None and target.is_file() and size == entry.size and sha256_file(target) == entry.sha256:
            self._write(replace(entry, mtime_ns=target.stat().st_mtime_ns))
        elif before is not None and before.origin in ("", _origin(file)):
            return False  # of another version, or damaged
        elif file.checksum and target.is_file() and _checksum(target, file.checksum.partition(":")[0]) == file.checksum:
            self._remember(file, Received(size, sha256_file(target), {}), target.stat().st_mtime_ns)
        else:
            raise AddressError(f"{target}: is in the way: it is not from this address; move it, or fetch into another folder")
        came(size)
        return True

    def _remember(self, file: RemoteFile, received: Received, mtime_ns: int) -> None:
        self._write(
            Fetched(file.name, _origin(file), received.size, received.sha256, mtime_ns, received.mark, file.checksum, time.time())
        )

    def _asked_again(self, file: RemoteFile, entry: Fetched, login: tuple[str, str] | None) -> Fetched | None:
        """The entry if the source still has that version; what it does not answer leaves things as they are."""
        try:
            size, mark = source(file.url, self.pace, login).current()
        except TransferError as error:
            self.note(f"{error}; what was fetched before stands")
            return entry
        same = size in (None, entry.size) and same_version(mark, entry.mark)
        self._write(replace(entry, asked=time.time(), origin=entry.origin if same else ""))  # of no source any more
        return entry if same else None

    def _size_of(self, file: RemoteFile, login: tuple[str, str] | None) -> int | None:
        quick = self.config.model_copy(update={"timeout_seconds": min(_QUICK_SECONDS, self.config.timeout_seconds)})
        try:
            return source(file.url, Pace(quick), login).current()[0]
        except TransferError as error:
            if error.absent:
                raise
            return None

    def _small(self, remote: Source) -> bytes:
        return read_whole(remote, self.pace, LARGEST, self._state)

    def _entries(self) -> dict[str, Fetched]:
        with self._writing:
            if self._journal is None:
                self._journal = _read_journal(self._state / ".journal.jsonl")
            return self._journal

    def _write(self, entry: Fetched) -> None:
        entries = self._entries()
        with self._writing:
            self._state.mkdir(parents=True, exist_ok=True)
            with open(self._state / ".journal.jsonl", "a+b") as journal:
                torn = journal.tell() > 0 and (journal.seek(-1, os.SEEK_END), journal.read(1))[1] != b"\n"
                journal.write(b"\n" * torn + json.dumps(asdict(entry)).encode() + b"\n")
                journal.flush()
                os.fsync(journal.fileno())
            entries[entry.name] = entry

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time; the kernel forgets the lock of one that dies."""
        self._state.mkdir(parents=True, exist_ok=True)
        with open(self._state / ".lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.note(f"{self.root}: another process fetches into it; waiting for that")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class _Fetching:
    """Some files through some connections, watched from the thread that asked."""

    def __init__(
        self,
        folder: RawFolder,
        files: list[RemoteFile],
        wanted: list[RemoteFile],
        login: tuple[str, str] | None,
        report: Callable[[Progress], None],
    ) -> None:
        self.folder, self.login, self.report, self.pace = folder, login, report, folder.pace
        self.of_files, self.of_bytes = len(files), folder.expected_bytes(wanted, login, ask=False)[0]
        self.done, self.bytes, self.began = len(files) - len(wanted), 0, time.monotonic()
        self.waiting: queue.SimpleQueue[RemoteFile] = queue.SimpleQueue()
        self.told: queue.SimpleQueue[BaseException | str | None] = queue.SimpleQueue()  # an end, or a note on the way
        self.counting = threading.Lock()
        for file in wanted:
            self.waiting.put(file)
        self.left = len(wanted)

    def run(self) -> None:
        """Until all have come, or it is of no use to go on."""
        count = min(self.folder.config.connections, self.left)
        threads = [threading.Thread(target=self._work, name=f"fetch-{i}", daemon=True) for i in range(count)]
        failures: list[BaseException] = []
        for thread in threads:
            thread.start()
        try:
            while self.left and not (failures and _is_of_no_use(failures)):
                failures += self._next()
                self.report(self._progress())
        finally:
            self.pace.stopped.set()
            until = time.monotonic() + _STOP_SECONDS
            for thread in threads:
                thread.join(timeout=max(0.0, until - time.monotonic()))
            self.folder.pace = Pace(self.folder.config)  # a thread that still waits for its server keeps the stopped one
        if failures:
            raise _together(failures)

    def _next(self) -> list[BaseException]:
        try:
            told = self.told.get(timeout=_REPORT_SECONDS)
        except queue.Empty:
            return []
        if isinstance(told, str):
            self.folder.note(told)  # from this thread: what takes notes may know no other
            return []
        self.left -= 1
        self.done += told is None
        return [] if told is None else [told]

    def _work(self) -> None:
        while not self.pace.stopped.is_set():
            try:
                file = self.waiting.get_nowait()
            except queue.Empty:
                return
            try:
                self.folder.bring(file, self.login, self._came, self.told.put, self.pace)
                self.told.put(None)
            except Stopped:
                return
            except BaseException as error:
                self.told.put(error)

    def _came(self, count: int) -> None:
        with self.counting:
            self.bytes += count

    def _progress(self) -> Progress:
        return Progress(self.done, self.of_files, self.bytes, max(self.of_bytes, self.bytes), time.monotonic() - self.began)


def _is_of_no_use(failures: list[BaseException]) -> bool:
    """A full disk or a host that is gone stops everything; files that are refused one by one do not, unless they are many."""
    one_by_one = all(
        isinstance(error, AddressError) or (isinstance(error, TransferError) and not error.passing) for error in failures
    )
    return not one_by_one or len(failures) >= _MANY_FAILURES


def _together(failures: list[BaseException]) -> BaseException:
    """One error for all of them."""
    for error in failures:
        if not isinstance(error, (TransferError, AddressError)):
            return error
    if len(failures) == 1:
        return failures[0]
    text = "\n".join(str(error) for error in failures[:5]) + ("\n…" if len(failures) > 5 else "")
    passing = any(isinstance(error, TransferError) and error.passing for error in failures)
    return TransferError(f"{len(failures)} files did not come; the others are kept\n{text}", passing=passing)


def _require_room_for_names(files: list[RemoteFile]) -> None:
    """AddressError when one file's name is a folder of another's, or two files have one name."""
    names: dict[str, str] = {}
    for file in files:
        if names.setdefault(file.name, file.url) != file.url:
            raise AddressError(f"two different files are called {file.name!r}; fetch them into different folders")
    for name in names:
        above = name.rpartition("/")[0]
        while above:
            if above in names:
                raise AddressError(f"{above!r} is listed as a file and as a folder: refused")
            above = above.rpartition("/")[0]


def _origin(file: RemoteFile) -> str:
    return _digits(unsigned(file.url))[:12]


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _mark_of(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size, status.st_mtime_ns


def _checksum(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _read_journal(path: Path) -> dict[str, Fetched]:
    """The last whole line about each file; a line that a power cut has torn is as if it were not there."""
    entries: dict[str, Fetched] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as journal:
            for line in journal:
                try:
                    entry = Fetched(**json.loads(line))
                except (ValueError, TypeError):
                    continue
                entries[entry.name] = entry
    except FileNotFoundError:
        pass
    return entries


def _read_json(path: Path) -> dict[str, int | None]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.write_bytes(content)
    os.replace(draft, path)
