"""One spelling for the many addresses of a page.

Used to match pages with the references of Wikipedia (L1 §2.1) and to keep one page per address in C4; beyond C4's
rules (scheme, `www.`, tracking query, trailing slash) the host's case, default port and the fragment are dropped.
"""

import hashlib
import re
from collections.abc import Collection

_PREFIX = re.compile(r"^(?:[a-z][a-z0-9+.\-]*:)?//", re.IGNORECASE)
_WWW = re.compile(r"^www\.(?=[^/?]*\.)")  # `www.com` keeps its name
_TRACKING = re.compile(r"\?(?:utm_|ref|feed).*", re.DOTALL)  # as in C4's released code
_HOST = re.compile(r"^[^/?]*")
_DEFAULT_PORT = re.compile(r"\.?(?::80|:443)?$")


def normalise_url(url: str) -> str:
    """The address without scheme, `www.`, default port, fragment, tracking query and trailing slash; never raises.

    Idempotent, and equal for the spellings that lead to one page: `HTTP://www.Example.org:80/a/#top` is `example.org/a`.
    """
    url = url.strip()
    while (shorter := _normalise_once(url)) != url:
        url = shorter
    return url


def url_hash(url: str) -> int:
    """64-bit hash of the normalised address."""
    return int.from_bytes(
        hashlib.sha1(normalise_url(url).encode("utf-8", "replace"), usedforsecurity=False).digest()[:8], "little"
    )


def host(url: str) -> str:
    """Host name of an address, normalised: lower case, no `www.`, no user, no port."""
    name = _HOST.match(normalise_url(url)).group()  # type: ignore[union-attr]  # matches the empty string
    return _WWW.sub("", name.rpartition("@")[2].partition(":")[0])


def in_domains(url: str, domains: Collection[str]) -> bool:
    """Whether the host is one of `domains` (written without `www.`) or lies below one."""
    if not domains:
        return False
    parts = host(url).split(".")
    return any(".".join(parts[start:]) in domains for start in range(len(parts)))


def _normalise_once(url: str) -> str:
    url = _PREFIX.sub("", url.partition("#")[0])
    end = _HOST.match(url).end()  # type: ignore[union-attr]
    name = _WWW.sub("", _DEFAULT_PORT.sub("", url[:end].lower()))
    return (name + _TRACKING.sub("", url[end:])).rstrip("/").strip()
