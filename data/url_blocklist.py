"""Pages left out for their address: lists of domains, of whole addresses and of words, given as files.

Llama 2 removed "data from certain sites known to contain a high volume of personal information" (L2 §2.1): a list of domains.
Hosts are compared in one form: lower case, punycode, without user, port and final dot; a listed domain covers what lies
below it, and `www.` counts for nothing. Addresses are compared as `data/urls.py` spells them. A word counts where it stands
alone between characters that are no letters or digits. Lists are kept as sorted 64-bit hashes: millions of entries need
8 bytes each.
"""

import re
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import xxhash
from pydantic import Field

from data.documents import CorpusError
from data.given_file import lines_of, while_unchanged
from data.section import FilePath, Section
from data.urls import normalise_url

DOMAIN, ADDRESS, WORD, WORDS = "address: listed domain", "address: listed page", "address: listed word", "address: listed words"

_SCHEME = re.compile(r"^\s*(?:[a-z][a-z0-9+.-]*:)?[/\\]{2,}", re.IGNORECASE)
_AUTHORITY = re.compile(r"^[^/?#\\]*")
_PORT = re.compile(r":\d*$")
_WWW = re.compile(r"^www\.(?=[^.]+\.)")  # `www.com` keeps its name
_NO_WORD = re.compile(r"[\W_]+")
_DOTS = str.maketrans("。．｡", "...")  # what IDNA takes for a dot


class UrlBlocklistConfig(Section):
    """Addresses of pages that are left out; each list is a file, one entry a line, `#` begins a comment."""

    domains: FilePath | None = None  # L2 §2.1 (the list is not published): sites, with all that lies below them
    urls: FilePath | None = None  # chosen: whole addresses
    words: FilePath | None = None  # chosen: one is enough
    soft_words: FilePath | None = None  # chosen: several are
    soft_words_needed: int = Field(2, ge=1)  # chosen: FineWeb; different ones


def blocked_addresses(urls: pa.Array, config: UrlBlocklistConfig) -> list[str | None]:
    """For each address the rule that leaves its page out, or None; raises CorpusError for a list that cannot be used."""
    known = [url or "" for url in urls.to_pylist()]
    reasons: list[str | None] = [None] * len(known)

    def drop(rule: str, where: np.ndarray) -> None:
        for row in np.flatnonzero(where):
            reasons[row] = reasons[row] or rule

    if config.domains:
        drop(DOMAIN, _any_listed([_parents(host_name(url)) for url in known], domain_list(config.domains)))
    if config.urls:
        drop(ADDRESS, _any_listed([[normalise_url(url)] if url else [] for url in known], _url_list(config.urls)))
    if config.words or config.soft_words:
        words = [_words(url) for url in known]
        if config.words:
            hard = _word_list(config.words)
            drop(WORD, np.array([not hard.isdisjoint(found) for found in words], bool))
        if config.soft_words:
            soft = _word_list(config.soft_words)
            drop(WORDS, np.array([len(soft & found) >= config.soft_words_needed for found in words], bool))
    return reasons


def host_name(url: str) -> str:
    """The host of an address in the form that is compared; empty if it has none. Never raises."""
    rest = _SCHEME.sub("", url.strip(), count=1)
    host = _AUTHORITY.match(rest).group().rpartition("@")[2]  # type: ignore[union-attr]  # matches the empty string
    host = unquote(host).strip().translate(_DOTS)
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    host = _PORT.sub("", host).strip(".").lower()
    return _WWW.sub("", host if host.isascii() else _punycode(host))


@while_unchanged
def domain_list(path: str) -> np.ndarray:
    """Sorted hashes of the domains of a file; entries may be written as addresses or as `*.domain` too."""
    names = [host_name(entry.removeprefix("*.").removeprefix(".")) for entry in _entries(path)]
    return _hashes(name for name in names if name)


@while_unchanged
def _url_list(path: str) -> np.ndarray:
    return _hashes(normalise_url(entry) for entry in _entries(path))


@while_unchanged
def _word_list(path: str) -> frozenset[str]:
    words = frozenset(entry.lower() for entry in _entries(path))
    for word in words:
        if _words(word) != {word}:
            raise CorpusError(path, f"{word!r} is no single word: write one word a line, of letters and digits")
    return words


def _entries(path: str) -> list[str]:
    entries = [entry for line in lines_of(path, "block list") if (entry := re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip())]
    if not entries:
        raise CorpusError(path, "block list holds no entry: write one a line, or leave the list out of the recipe")
    return entries


def _punycode(host: str) -> str:
    labels = []
    for label in host.split("."):
        try:
            labels.append(label.encode("idna").decode("ascii").lower())
        except UnicodeError:
            labels.append(label)
    return ".".join(labels)


def _parents(host: str) -> list[str]:
    """The host and every domain above it."""
    parts = host.split(".") if host else []
    return [".".join(parts[start:]) for start in range(len(parts))]


def _words(url: str) -> set[str]:
    return set(_NO_WORD.split(unquote(url).lower())) - {""}


def _hashes(names) -> np.ndarray:  # type: ignore[no-untyped-def]
    return np.unique(np.array([_hash(name) for name in names], np.uint64))


def _hash(name: str) -> int:
    return xxhash.xxh64_intdigest(name.encode("utf-8", "surrogatepass"))


def _any_listed(names: list[list[str]], listed: np.ndarray) -> np.ndarray:
    """Whether one of a row's names is in the list."""
    hashes = np.array([_hash(name) for row in names for name in row], np.uint64)
    places = np.searchsorted(listed, hashes)
    found = listed[np.minimum(places, len(listed) - 1)] == hashes
    return np.bincount(np.repeat(np.arange(len(names)), [len(row) for row in names])[found], minlength=len(names)) > 0
