"""Main text of HTML pages, by resiliparse (for crawls that come as WARC instead of WET).

The character set is that of the HTTP header where it is a known one, else what resiliparse detects. The text comes as
lines, one per block of the page.
"""

import zlib
from dataclasses import dataclass

_HTML_TYPES = ("text/html", "application/xhtml+xml")
_HEADER_BYTES = 1 << 16


@dataclass(frozen=True)
class Response:
    """An HTTP response as stored in a WARC record, its body decoded as far as it could be."""

    status: int
    content_type: str  # lower case, without parameters
    charset: str
    body: bytes

    @property
    def is_html(self) -> bool:
        """Whether the server called it a web page."""
        return self.content_type in _HTML_TYPES


def parse_response(block: bytes, max_bytes: int) -> Response | None:
    """The HTTP response in a WARC block, or None if there is none; never raises. The body is cut at `max_bytes`."""
    end = min(
        (at for at in (block.find(b"\r\n\r\n", 0, _HEADER_BYTES), block.find(b"\n\n", 0, _HEADER_BYTES)) if at >= 0), default=-1
    )
    head = block[: end if end >= 0 else len(block)].decode("latin-1").splitlines()
    words = head[0].split(None, 2) if head else []
    if end < 0 or len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isascii() or not words[1].isdigit():
        return None
    body = block[end + (4 if block[end : end + 4] == b"\r\n\r\n" else 2) :]
    headers = {name.strip().lower(): value.strip() for name, colon, value in (line.partition(":") for line in head[1:]) if colon}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunk(body)
    body = _decompress(body, headers.get("content-encoding", "").lower(), max_bytes)
    kind, _, parameters = headers.get("content-type", "").partition(";")
    charset = parameters.lower().partition("charset=")[2].split(";")[0].strip(" \"'")
    return Response(int(words[1][:9]), kind.strip().lower(), charset, body[:max_bytes])


def decode(body: bytes, charset: str) -> str:
    """The page as text: charset of the server if there is such a one, else detected; broken bytes are replaced."""
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding, map_encoding_to_html5

    encoding = (charset if charset.isascii() and _known(charset) else detect_encoding(body, from_html_meta=True)) or "utf-8"
    try:
        return bytes_to_str(body, map_encoding_to_html5(encoding) or "utf-8")
    except (LookupError, UnicodeError):
        return body.decode("utf-8", "replace")


def main_text(html: str, main_content: bool = True) -> tuple[str, str]:
    """(title, text) of a page; text without navigation and footers if `main_content`, one block per line."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(html)
    text = extract_plain_text(tree, main_content=main_content, alt_texts=False, list_bullets=False)
    lines = (line.strip() for line in text.split("\n"))
    return " ".join((tree.title or "").split()), "\n".join(line for line in lines if line)


def _known(charset: str) -> bool:
    try:
        "".encode(charset)
    except (LookupError, ValueError):
        return False
    return True


def _unchunk(body: bytes) -> bytes:
    """The joined chunks; the body itself where it is not chunked after all, as many archives store it."""
    parts: list[bytes] = []
    at = 0
    while (end := body.find(b"\n", at, at + 1024)) >= 0:
        size = body[at:end].split(b";")[0].strip()
        if not size or size.strip(b"0123456789abcdefABCDEF"):
            break
        length = int(size, 16)
        if length == 0:
            return b"".join(parts)
        parts.append(body[end + 1 : end + 1 + length])
        at = end + 1 + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    return b"".join(parts) or body


def _decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """The body decompressed, no further than `max_bytes`; as it is where it is not compressed after all."""
    try:
        if encoding in ("gzip", "x-gzip"):
            return zlib.decompressobj(wbits=31).decompress(body, max_bytes) or body
        if encoding == "deflate":
            wrapped = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
            return zlib.decompressobj(wbits=15 if wrapped else -15).decompress(body, max_bytes) or body
        if encoding == "br":
            return _brotli(body, max_bytes)
    except (zlib.error, OSError):
        return body
    return body


def _brotli(body: bytes, max_bytes: int) -> bytes:
    import io

    from fastwarc.stream_io import BrotliReader

    return BrotliReader(io.BytesIO(body)).read(max_bytes) or body
