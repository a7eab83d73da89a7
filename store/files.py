"""The few operations that the store needs of a disk or an object store, with the same meaning on both.

Names are relative to the store's root, with forward slashes. What matters: `write` is atomic and leaves nothing
half-written, `create` succeeds for exactly one of many that try, and both put content and name there in one step.
"""

import errno
import hashlib
import os
import secrets
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from store.crash_points import crash_point
from store.errors import StoreError, StoreUnreachable
from store.space import explained

TEMPORARY = ".tmp-"  # prefix of names that are being written; `gc` removes what a crash left of them
TRANSFERS = 8  # files of an artifact copied to or from a remote store at the same time (chosen)
_EXCLUSIVE = ("memory", "s3", "s3a")  # object stores whose exclusive create can be relied on


class Files(Protocol):
    """What the rest of the store may ask of the place it lives in."""

    @property
    def local(self) -> Path | None: ...
    @property
    def exclusive(self) -> bool: ...  # whether `create` can keep a second writer out

    def read(self, name: str) -> bytes: ...
    def write(self, name: str, data: bytes, *, durable: bool = True) -> None: ...
    def create(self, name: str, data: bytes) -> bool: ...
    def append(self, name: str, data: bytes) -> None: ...
    def touch(self, name: str) -> None: ...
    def names(self, directory: str) -> list[str]: ...
    def sizes(self, directory: str) -> dict[str, int]: ...
    def size(self, name: str) -> int | None: ...
    def stamp(self, name: str) -> tuple[Any, ...] | None: ...
    def stamps(self, directory: str, leaf: str) -> dict[str, tuple[Any, ...]]: ...
    def age(self, name: str) -> float | None: ...
    def remove(self, name: str) -> None: ...
    def remove_tree(self, directory: str) -> None: ...
    def remove_if_empty(self, directory: str) -> None: ...


def open_files(root: str | Path) -> Files:
    """The files under a path or any fsspec URL."""
    text = str(root)
    if text.startswith(("file://", "local://")):
        text = text.partition("://")[2]
    return RemoteFiles(text) if "://" in text else LocalFiles(Path(text).absolute())


class LocalFiles:
    """A directory on a disk, local or shared (POSIX)."""

    exclusive = True

    def __init__(self, root: Path) -> None:
        self.local = root

    def read(self, name: str) -> bytes:
        """Content; FileNotFoundError."""
        return (self.local / name).read_bytes()

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        """Replace `name` atomically; `durable` survives a power cut once this has returned."""
        write_atomic(self.local / name, data, durable=durable)

    def create(self, name: str, data: bytes) -> bool:
        """Make `name` with this content unless it exists; False when it does."""
        path = self.local / name
        while True:
            with explained(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _create(path, data)
            except FileNotFoundError:
                continue  # the empty directory was swept between the two steps

    def append(self, name: str, data: bytes) -> None:
        """Add a line in one write."""
        with explained(name), open(self.local / name, "ab", buffering=0) as file:
            file.write(data)

    def touch(self, name: str) -> None:
        """Make `name` if need be, and let its age be zero."""
        (self.local / name).touch()

    def names(self, directory: str) -> list[str]:
        """Names in a directory, sorted; none when it does not exist."""
        try:
            return sorted(os.listdir(self.local / directory))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def sizes(self, directory: str) -> dict[str, int]:
        """Size of every file below a directory, by its path relative to it."""
        found: dict[str, int] = {}
        pending = [(str(self.local / directory), "")]
        while pending:
            place, prefix = pending.pop()
            for entry in _scan(place):
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
                else:
                    found[prefix + entry.name] = entry.stat(follow_symlinks=False).st_size
        return found

    def size(self, name: str) -> int | None:
        """Size of one file; None when there is none."""
        try:
            return (self.local / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stamp(self, name: str) -> tuple[Any, ...] | None:
        """Something that differs when the file has been replaced; None when there is none."""
        try:
            status = (self.local / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)

    def stamps(self, directory: str, leaf: str) -> dict[str, tuple[Any, ...]]:
        """Stamps of `<directory>/<each>/<leaf>`, by `each`."""
        found = {}
        for entry in _scan(str(self.local / directory)):
            stamp = self.stamp(f"{directory}/{entry.name}/{leaf}")
            if stamp is not None:
                found[entry.name] = stamp
        return found

    def age(self, name: str) -> float | None:
        """Seconds since `name` was last written, both ends on the file server's clock; None when it is gone."""
        path = self.local / name
        probe = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}")
        try:
            written = path.stat().st_mtime
            probe.touch()
            return max(0.0, probe.stat().st_mtime - written)
        except (FileNotFoundError, NotADirectoryError):
            return None
        finally:
            probe.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove one file; it may be gone already."""
        (self.local / name).unlink(missing_ok=True)

    def remove_tree(self, directory: str) -> None:
        """Remove a directory with all that is in it; it may be gone already."""
        path = self.local / directory
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=False)
        else:
            path.unlink(missing_ok=True)

    def remove_if_empty(self, directory: str) -> None:
        """Remove a directory that holds nothing; otherwise leave it."""
        with suppress(OSError):  # somebody uses it, or it is gone: both are fine
            (self.local / directory).rmdir()


class RemoteFiles:
    """A prefix in any fsspec file system. Single objects are replaced atomically, as object stores do."""

    local = None

    def __init__(self, url: str) -> None:
        import fsspec  # only where the store is remote: a local one starts faster without it

        self.url = url
        try:
            self._system, path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise StoreError(f"{url}: this store cannot be opened ({error}); install the fsspec driver for it") from None
        self._root = path.rstrip("/")
        protocol = self._system.protocol
        self._protocols = (protocol,) if isinstance(protocol, str) else tuple(protocol)

    @cached_property
    def exclusive(self) -> bool:
        """Whether `create` keeps a second writer out: asked of the server once, since some that speak S3 do not."""
        if not any(name in _EXCLUSIVE for name in self._protocols):
            return False
        probe = f"{TEMPORARY}{secrets.token_hex(6)}"
        try:
            return self._create(probe, b"first") and not self._create(probe, b"second")
        finally:
            self.remove(probe)

    def read(self, name: str) -> bytes:
        with self._answering():
            return bytes(self._system.cat_file(self._at(name)))

    def write(self, name: str, data: bytes, *, durable: bool = True) -> None:
        self._put(name, lambda: self._system.pipe_file(self._at(name), data))

    def create(self, name: str, data: bytes) -> bool:
        if self.exclusive:
            return self._create(name, data)
        if self.size(name) is not None:
            return False
        self.write(name, data)
        return True

    def append(self, name: str, data: bytes) -> None:
        before = b"" if self.size(name) is None else self.read(name)
        self.write(name, before + data)

    def touch(self, name: str) -> None:
        self.write(name, str(time.time()).encode())

    def names(self, directory: str) -> list[str]:
        return sorted(path.rsplit("/", 1)[-1] for path in self._listed(directory))

    def sizes(self, directory: str) -> dict[str, int]:
        return {name: int(info["size"]) for name, info in self._found(directory).items()}

    def size(self, name: str) -> int | None:
        info = self._info(name)
        return None if info is None else int(info["size"])

    def stamp(self, name: str) -> tuple[Any, ...] | None:
        info = self._info(name)
        return None if info is None else _remote_stamp(info)

    def stamps(self, directory: str, leaf: str) -> dict[str, tuple[Any, ...]]:
        found = {}
        for name, info in self._found(directory).items():
            parts = name.split("/")
            if len(parts) == 2 and parts[1] == leaf:
                found[parts[0]] = _remote_stamp(info)
        return found

    def age(self, name: str) -> float | None:
        probe = f"{name.rpartition('/')[0]}/{TEMPORARY}{secrets.token_hex(6)}"
        try:
            written = self._modified(name)
            self.touch(probe)
            return max(0.0, self._modified(probe) - written)
        except FileNotFoundError:
            return None
        finally:
            self.remove(probe)

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError), self._answering():
            self._system.rm_file(self._at(name))

    def remove_tree(self, directory: str) -> None:
        with suppress(FileNotFoundError), self._answering():
            self._system.rm(self._at(directory), recursive=True)

    def remove_if_empty(self, directory: str) -> None:
        """Object stores have no directories; those that pretend to are left alone."""

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file here."""
        self._put(name, lambda: self._system.put_file(str(source), self._at(name)))

    def download(self, name: str, target: Path, sha256: str) -> None:
        """Copy a file from here, checking its digest; nothing is left at `target` when it does not match."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f"{TEMPORARY}{secrets.token_hex(6)}")
        digest = hashlib.sha256()
        try:
            with (
                self._answering(),
                explained(target),
                self._system.open(self._at(name), "rb") as source,
                open(temporary, "wb") as copy,
            ):
                while block := source.read(1 << 22):
                    digest.update(block)
                    copy.write(block)
            if digest.hexdigest() != sha256:
                raise StoreError(f"{name}: its bytes are not those that were stored; run `quipu verify` on the artifact")
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _create(self, name: str, data: bytes) -> bool:
        with _CREATING:
            try:
                self._put(name, lambda: self._system.pipe_file(self._at(name), data, mode="create"))
            except OSError as error:  # drivers differ in what they raise for a precondition that failed
                if self.size(name) is None and error.errno != errno.EBUSY:
                    raise
                # a request that was answered late and sent again finds its own object
                return self.size(name) == len(data) and self.read(name) == data
        return True

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """What the driver raises of its own kind, and refusals, become one line; what says something of a file passes."""
        try:
            yield
        except PermissionError as error:
            raise StoreUnreachable(f"{self.url}: refused ({_line(error)}); check the credentials and what they may do") from error
        except (OSError, StoreError):
            raise
        except Exception as error:
            hint = "check its address, the credentials and the network, then run again"
            raise StoreUnreachable(f"{self.url}: does not answer ({_line(error)}); {hint}") from error

    def _put(self, name: str, put: Callable[[], None]) -> None:
        """Write; a file system with real directories gets the one of `name` first, a bucket is never made."""
        with self._answering():
            try:
                put()
            except FileNotFoundError as error:
                if any(protocol in _EXCLUSIVE for protocol in self._protocols):
                    raise StoreError(f"{self.url}: cannot be written to ({_line(error)}); create the bucket first") from error
                self._system.makedirs(self._at(name).rsplit("/", 1)[0], exist_ok=True)
                put()

    def _modified(self, name: str) -> float:
        with self._answering():
            self._system.invalidate_cache()
            return float(self._system.modified(self._at(name)).timestamp())

    def _listed(self, directory: str) -> list[str]:
        self._system.invalidate_cache()
        with suppress(FileNotFoundError, NotADirectoryError), self._answering():
            return [str(path).rstrip("/") for path in self._system.ls(self._at(directory), detail=False)]
        return []

    def _found(self, directory: str) -> dict[str, dict[str, Any]]:
        self._system.invalidate_cache()
        prefix = self._at(directory).rstrip("/") + "/"
        with suppress(FileNotFoundError, NotADirectoryError), self._answering():
            found = self._system.find(prefix, detail=True)
            return {path.removeprefix(prefix): info for path, info in found.items()}
        return {}

    def _info(self, name: str) -> dict[str, Any] | None:
        self._system.invalidate_cache()
        with suppress(FileNotFoundError, NotADirectoryError), self._answering():
            return dict(self._system.info(self._at(name)))
        return None


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


_CREATING = threading.Lock()  # memory:// looks first and writes then; one process has one such store


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace a local file so that a reader sees the old or the new content, also after a power cut if `durable`."""
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(path, data, durable) as temporary:
        crash_point(f"{path.name}-temporary")
        os.replace(temporary, path)
    if durable:
        sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk; a file system that cannot do so is taken at its word."""
    try:
        sync_file(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EACCES):
            raise


def warn_single_writer(url: str) -> None:
    """Say once that nothing keeps a second writer out of this store."""
    warnings.warn(f"{url}: this kind of store cannot lock; let only one Quipu write to it at a time", stacklevel=3)


@contextmanager
def _temporary(path: Path, data: bytes, durable: bool) -> Iterator[Path]:
    """A complete file beside `path`, gone afterwards unless it was renamed."""
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(6)}")
    try:
        with explained(path):
            with open(temporary, "wb") as file:
                file.write(data)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _create(path: Path, data: bytes) -> bool:
    with _temporary(path, data, durable=False) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except FileNotFoundError:
            raise
        except OSError:  # a file system without hard links
            return _create_without_links(path, data)
        return True


def _create_without_links(path: Path, data: bytes) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
    return True


def _scan(place: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(place) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _remote_stamp(info: dict[str, Any]) -> tuple[Any, ...]:
    when = next((info[key] for key in ("ETag", "etag", "LastModified", "mtime", "updated", "created") if key in info), "")
    return (str(when), int(info["size"]))
