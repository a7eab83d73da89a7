"""Files of buckets, hubs and every other file system that fsspec knows: `s3://`, `gs://`, `hf://`, `memory://`, …

Keys, endpoints and the like come from the driver's own environment (`AWS_…`, `HF_TOKEN`, `FSSPEC_S3_…`), never from an address.
A file is read in ranges, each of which can be asked for again; its version is looked at before and after.
"""

import threading
from collections.abc import Iterator
from typing import Any

from data.addresses import redacted
from data.transfer import Body, Mark, Pace, TransferError, same_version

BLOCK = 8 << 20
_VERSION = (
    "etag",
    "version_id",
    "generation",
    "md5hash",
    "blob_id",
    "mtime",
    "last_modified",
    "lastmodified",
    "created",
    "updated",
)
_GONE = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


class BucketFile:
    """One file of an fsspec file system."""

    def __init__(self, url: str, pace: Pace) -> None:
        self._url, self._pace = url, pace

    def __str__(self) -> str:
        return redacted(self._url)

    def open(self, offset: int, mark: Mark | None) -> Body:
        """The bytes from `offset` on if the file still is of that version, else from the start."""
        size, found = self.current()
        if size is None:
            raise TransferError(f"{self}: the file system does not say how large this is", passing=False)
        start = offset if mark and same_version(mark, found) and offset <= size else 0
        return Body(start, size, found, self._blocks(start, size, found))

    def current(self) -> tuple[int | None, Mark]:
        """Size and version, asked for anew."""
        system, path = file_system(self._url, self._pace)
        self._pace.request()
        info = asked(self, lambda: _fresh_info(system, path))
        if info.get("type") == "directory":
            raise TransferError(f"{self}: is a folder, not a file", passing=False)
        size = info.get("size")
        return (None if size is None else int(size)), version_of(info)

    def _blocks(self, start: int, size: int, mark: Mark) -> Iterator[bytes]:
        system, path = file_system(self._url, self._pace)
        rate = self._pace.config.bytes_per_second
        block = BLOCK if rate is None else min(BLOCK, max(1 << 16, rate))
        for position in range(start, size, block):
            end = min(size, position + block)
            part = bytes(asked(self, lambda p=position, e=end: system.cat_file(path, start=p, end=e)))
            if len(part) != end - position:
                raise TransferError(f"{self}: {len(part)} of {end - position} bytes came from byte {position} on", passing=True)
            yield part
        if not same_version(self.current()[1], mark):
            raise TransferError(f"{self}: was replaced while it was read", passing=True)


def list_bucket(url: str, pace: Pace) -> list[tuple[str, dict[str, Any]]]:
    """Every file that a glob, a prefix or a plain path means: its path in the file system, and what is said of it."""
    system, pattern = file_system(url, pace)
    if any(sign in pattern for sign in "*?["):
        found = asked(redacted(url), lambda: system.glob(pattern, detail=True))
    else:
        found = asked(redacted(url), lambda: system.find(pattern, detail=True))
    return sorted((path, info) for path, info in found.items() if info.get("type") != "directory" and not path.endswith("/"))


def path_of(url: str, pace: Pace) -> str:
    """The path of an address in its file system, wildcards and all."""
    return str(file_system(url, pace)[1])


def url_of(url: str, path: str) -> str:
    """The address of a path found under `url`."""
    return f"{url.partition('://')[0]}://{path.lstrip('/')}"


def version_of(info: dict[str, Any]) -> Mark:
    """What distinguishes this version of a file from the next, of all that a file system says."""
    said = {name.lower(): info[name] for name in info if name.lower() in _VERSION and info[name]}
    return {"size": str(info.get("size")), **{name: str(said[name]) for name in sorted(said)}}


def asked(what: object, ask: Any) -> Any:
    """The answer of a file system, its failures sorted into those that may pass and those that will not."""
    try:
        return ask()
    except _GONE as error:
        raise TransferError(f"{what}: {_said(error)}", passing=False, absent=isinstance(error, FileNotFoundError)) from None
    except (ImportError, NotImplementedError) as error:
        raise TransferError(f"{what}: {_said(error)}", passing=False) from None
    except Exception as error:  # drivers raise what they like: botocore's, aiohttp's, their own
        passing = isinstance(error, (OSError, TimeoutError)) or type(error).__module__.split(".")[0] not in ("builtins",)
        permanent = type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")
        raise TransferError(f"{what}: {_said(error)}", passing=passing and not permanent) from None


def file_system(url: str, pace: Pace) -> tuple[Any, str]:
    """fsspec's file system for an address, and the path in it."""
    scheme = url.partition("://")[0].lower()
    with _OPENING:
        system = _opened(scheme, pace.config.timeout_seconds, pace.config.agent())
    return system, str(system._strip_protocol(url))


_OPENING = threading.Lock()


def _opened(scheme: str, timeout: float, agent: str) -> Any:
    """fsspec keeps one for each thread."""
    import fsspec  # only where an input is remote

    options: dict[str, Any] = {}
    if scheme in ("s3", "s3a"):
        given = dict(fsspec.config.conf.get(scheme, {}).get("config_kwargs", {}))
        timeouts = {"read_timeout": timeout, "connect_timeout": timeout}
        once = {"retries": {"total_max_attempts": 1}}
        options["config_kwargs"] = {**timeouts, **once, "user_agent_extra": agent, **given}
    try:
        system = fsspec.filesystem(scheme, **options)
    except (ImportError, ValueError) as error:
        text = f"{scheme}://: cannot be opened ({error}); install the driver for it, for example s3fs for s3://"
        raise TransferError(text, passing=False) from None
    if scheme in ("s3", "s3a"):
        system.retries = 1  # the retries are ours: three kinds of them, one in the other, would wait for hours
    return system


def _fresh_info(system: Any, path: str) -> dict[str, Any]:
    system.invalidate_cache()
    return dict(system.info(path))


def _said(error: BaseException) -> str:
    text = redacted(str(error).strip().splitlines()[0] if str(error).strip() else "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
