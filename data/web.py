"""Files of web servers, over the standard library's HTTP: one request at a time, resumed by Range, watched for stalls.

Only http and https are spoken, also when a server redirects; nobody is sent from https to http, and a login stays with the
host it was given for.
"""

import http.client
import netrc
import os
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPResponse
from pathlib import PurePosixPath
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from data.addresses import WEB, redacted
from data.transfer import LONGEST_ASKED, Body, Mark, Pace, TransferError, same_version

BLOCK = 1 << 18
SLOWEST = 64  # bytes a second; a connection that gives less over the whole timeout is as good as dead
_PASSING = (408, 425, 429, 500, 502, 503, 504, 509, 520, 521, 522, 523, 524)
_PACKED = {".gz": "gzip", ".bz2": "", ".xz": "", ".zst": "", ".7z": "", ".zip": "", ".tar": "", ".parquet": "", ".warc": ""}


class WebFile:
    """One file of a web server."""

    def __init__(self, url: str, pace: Pace, login: tuple[str, str] | None = None) -> None:
        self._url, self._pace = url, pace
        self._login = login or _from_netrc(url)

    def __str__(self) -> str:
        return redacted(self._url)

    def open(self, offset: int, mark: Mark | None) -> Body:
        """The body from `offset` on where the server still has that version and knows Range, else from the start."""
        headers = {}
        if offset and mark is not None:
            headers["Range"] = f"bytes={offset}-"
            if validator := _strong(mark):
                headers["If-Range"] = validator
        answer = self._request("GET", headers)
        found = _mark(answer)
        start, total = 0, _number(answer.headers.get("Content-Length"))
        if answer.status == 206:
            (start, whole), length = _content_range(answer.headers.get("Content-Range")), total
            total = whole if whole is not None or length is None else start + length
            if start != offset or not same_version(mark or {}, found):
                answer.close()  # another part, or a part of another version: the server took no notice of If-Range
                if not offset:
                    raise TransferError(f"{self}: the server sent a part that nobody asked for", passing=True)
                return self.open(0, None)
        self._require_plain(answer)
        return Body(start, total, found, self._blocks(answer))

    def current(self) -> tuple[int | None, Mark]:
        """By HEAD. The size is None where the server does not say."""
        answer = self._request("HEAD", {})
        answer.close()
        return _number(answer.headers.get("Content-Length")), _mark(answer)

    def _request(self, method: str, headers: dict[str, str]) -> HTTPResponse:
        config = self._pace.config
        headers = {"User-Agent": config.agent(), "Accept": "*/*", "Accept-Encoding": "identity", **headers}
        if self._login:
            headers["Authorization"] = "Basic " + b64encode(":".join(self._login).encode()).decode()
        self._pace.request()
        try:
            return _OPENER.open(Request(self._url, headers=headers, method=method), timeout=config.timeout_seconds)  # type: ignore[no-any-return]
        except HTTPError as error:
            with error:
                raise self._status(error) from None
        except (URLError, OSError, http.client.HTTPException, ValueError) as error:
            raise self._broken(error) from None

    def _blocks(self, answer: HTTPResponse) -> Iterator[bytes]:
        limit, waited, came = self._pace.config.timeout_seconds, 0.0, 0
        with answer:
            while True:
                asked = time.monotonic()
                try:
                    block = answer.read1(BLOCK)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise self._broken(error) from None
                if not block:
                    return
                waited += time.monotonic() - asked
                came += len(block)
                if waited > limit:
                    if came < SLOWEST * waited:
                        raise TransferError(f"{self}: stalled: {came} bytes in {waited:.0f} s", passing=True)
                    waited, came = 0.0, 0
                yield block

    def _require_plain(self, answer: HTTPResponse) -> None:
        """A web page in the place of an archive, or bytes packed for the way, are not the file."""
        suffix = PurePosixPath(urlsplit(self._url).path).suffix.lower()
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if suffix in _PACKED and answer.headers.get_content_type() == "text/html":
            answer.close()
            raise TransferError(f"{self}: the server answered with a web page; is a login or a licence needed?", passing=False)
        if encoding not in ("identity", "", _PACKED.get(suffix, "identity")):
            answer.close()
            raise TransferError(f"{self}: the server packs the file for the way ({encoding}) though asked not to", passing=False)

    def _status(self, error: HTTPError) -> TransferError:
        text = f"{self}: {error.code} {_shown(str(error.reason))}"
        if error.code == 416:  # what we have is not a beginning of what there is
            return TransferError(text, passing=True, afresh=True)
        wait = _retry_after(error.headers.get("Retry-After")) if error.code in _PASSING else None
        if wait is not None and wait > LONGEST_ASKED:
            return TransferError(f"{text}; the server asks to come back in {wait / 60:.0f} minutes", passing=False)
        hint = {401: "; give a login in ~/.netrc", 403: "; is a login needed?"}.get(error.code, "")
        return TransferError(text + hint, passing=error.code in _PASSING, wait=wait, absent=error.code in (404, 410))

    def _broken(self, error: BaseException) -> TransferError:
        """What a connection died of, in words."""
        reason = error.reason if isinstance(error, URLError) and isinstance(error.reason, BaseException) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return TransferError(f"{self}: the server's certificate is not trusted ({reason.verify_message})", passing=False)
        if isinstance(reason, (http.client.InvalidURL, ValueError)) and not isinstance(reason, ssl.SSLError):
            return TransferError(f"{self}: is no address that can be asked for ({type(reason).__name__})", passing=False)
        if isinstance(reason, TimeoutError):
            return TransferError(f"{self}: stalled: no byte in {self._pace.config.timeout_seconds:g} s", passing=True)
        if isinstance(reason, socket.gaierror):
            return TransferError(f"{self}: the host's name is not known here ({reason.strerror})", passing=True)
        if isinstance(reason, http.client.IncompleteRead):
            return TransferError(f"{self}: the connection ended in the middle", passing=True)
        text = _shown(str(reason)) or type(reason).__name__
        return TransferError(f"{self}: the connection failed ({text})", passing=True)


class _Redirects(HTTPRedirectHandler):
    """To http and https only, never from https to http, and without the login when the host is another."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message) -> Any:
        target = urlsplit(urljoin(req.full_url, headers.get("Location") or headers.get("URI") or ""))
        if target.scheme not in WEB or (urlsplit(req.full_url).scheme == "https" and target.scheme == "http"):
            fp.close()
            raise _refused(req, target.scheme)
        return super().http_error_302(req, fp, code, msg, headers)  # type: ignore[arg-type]

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302  # type: ignore[assignment]

    def redirect_request(self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if new is not None and (before.scheme, before.netloc) != (after.scheme, after.netloc):
            new.remove_header("Authorization")
        return new


def _opener() -> OpenerDirector:
    """Without the handlers for files, FTP and data that urllib would bring."""
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor, _Redirects):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()


def _shown(said: str) -> str:
    """One line of what a server said, fit for a terminal and a log."""
    line = redacted(said.strip().partition("\n")[0])[:200]
    return "".join(sign if sign.isprintable() else "?" for sign in line)


def _refused(request: Request, scheme: str) -> TransferError:
    return TransferError(f"{redacted(request.full_url)}: redirects to {scheme or 'no'} address: refused", passing=False)


def _from_netrc(url: str) -> tuple[str, str] | None:
    """The login that ~/.netrc has for this very host; its `default` is for nobody."""
    try:
        known = netrc.netrc(os.environ.get("NETRC")).hosts.get(urlsplit(url).hostname or "")
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return None
    return (known[0], known[2]) if known else None


def _mark(answer: HTTPResponse) -> Mark:
    etag, modified = answer.headers.get("ETag"), answer.headers.get("Last-Modified")
    said = {"weak" if etag and etag.startswith("W/") else "etag": etag, "modified": modified}
    return {name: value for name, value in said.items() if value}


def _strong(mark: Mark) -> str | None:
    """What If-Range may name: a strong etag, else the date."""
    return mark.get("etag") or mark.get("modified")


def _content_range(said: str | None) -> tuple[int, int | None]:
    """`bytes 5-9/10` as (5, 10); (-1, None) for anything else."""
    unit, _, rest = (said or "").partition(" ")
    span, _, total = rest.partition("/")
    start = _number(span.partition("-")[0])
    return (-1, None) if unit != "bytes" or start is None else (start, _number(total))


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 24 else None


def _retry_after(said: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if not said:
        return None
    if (seconds := _number(said.strip())) is not None:
        return float(seconds)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
