"""C4: the cleaning rules of Raffel et al. (2020, §2.2) on the text of a crawl, in the order of the released code (L1 §2.1).

Input is raw WET (or WARC), to which the rules apply, or the released C4 as `json.gz`, which passes through. The order
matters: because lines without end punctuation go first, a `{` on such a line does not condemn its page. Two things
differ from the released code: sentences are counted by rule (`data/sentences.py`, not NLTK), and English is decided by
fastText's lid at a threshold of its own scale (not langdetect).
"""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import Field

from data.archives import LIMITS, check_ratio
from data.c4_rules import C4Rules, bad_words_pattern, clean_page
from data.commoncrawl import pages
from data.documents import CorpusError, document, document_id, place, valid_text
from data.funnel import Funnel
from data.language import LanguageConfig, identify, load_model, model_path
from data.section import FilePath

SOURCE = "c4"
_JSON_NAME = re.compile(r"\.jsonl?(\.gz)?$", re.IGNORECASE)
_LINE_BYTES = 64 << 20  # longest line of a json.gz that is read


class C4Config(C4Rules):
    """The rules of C4."""

    language: str = "en"  # C4 is English
    # chosen: the released code asks langdetect for 0.99 (Raffel et al. 2020, §2.2), a scale on which fastText seldom gives
    # clean English more than 0.98: of 196 English pages that pass the rules 0.99 keeps 4 %, 0.9 92 %, 0.8 98 %
    language_threshold: float = Field(0.8, ge=0, le=1)
    language_model: FilePath | None = None  # chosen: fastText lid.176; None: the installed compressed model
    extraction: Literal["main", "all"] = "all"  # chosen: text of HTML where a WARC is given; WET holds all text too
    max_record_bytes: int = Field(16 << 20, gt=0)  # chosen: as for CommonCrawl


def documents(path: Path, config: C4Config, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Pages of one raw WET/WARC file or one released `json.gz` (or `.json`, `.jsonl`) of C4."""
    return _released(path, funnel) if _is_json(path) else _crawled(path, config, funnel)


def _crawled(path: Path, config: C4Config, funnel: Funnel) -> Iterator[dict[str, Any]]:
    model = load_model(model_path(LanguageConfig(model=config.language_model, threshold=config.language_threshold)))
    bad_words = bad_words_pattern(config.bad_words)
    for page in pages(path, SOURCE, config.extraction, config.max_record_bytes, funnel):
        record, id = page.record, document_id(SOURCE, page.record.id)
        text, rule = clean_page(page.text, config, bad_words)
        if rule is None:
            languages, scores = identify([text], model)
            if languages[0] != config.language or scores[0] < config.language_threshold:
                rule = f"not {config.language} with {config.language_threshold:g}"
        if rule is not None:
            funnel.drop(rule, id, text)
            continue
        funnel.keep(id, text)
        fields = {"url": record.url, "date": record.date, "lang": languages[0], "lang_score": float(scores[0])}
        yield document(SOURCE, record.id, text, **fields, meta={"digest": record.digest})


def _released(path: Path, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Rows of the released data: {"text", "url", "timestamp"}. The address names the page: C4 has one page for each."""
    found = False
    for offset, line in _lines(path, funnel):
        try:
            row = json.loads(line)
            text, url, date = row["text"], row.get("url") or "", row.get("timestamp") or ""
            usable = all(isinstance(value, str) for value in (text, url, date))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            usable = False
        if not usable:
            funnel.note("unreadable records", place(path, offset), valid_text(line[:200].strip().decode("utf-8", "replace")))
            continue
        found, text, url = True, valid_text(text), valid_text(url)
        locator = url or hashlib.sha256(text.encode()).hexdigest()
        if not text.strip():
            funnel.drop("empty", document_id(SOURCE, locator))
            continue
        funnel.keep(document_id(SOURCE, locator), text)
        yield document(SOURCE, locator, text, url=url, date=valid_text(date), lang="en")
    if not found:
        raise CorpusError(path, 'no record {"text", "url", "timestamp"} in it: not a file of the released C4')


def _is_json(path: Path) -> bool:
    if _JSON_NAME.search(path.name):
        return True  # whatever its first bytes have become
    try:
        with _open(path) as (file, _):
            return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except (OSError, EOFError, zlib.error):
        return False  # the WARC reader says what is wrong with it


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """(its content, the file itself), the content unpacked if it is gzip."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        yield (io.BufferedReader(gzip.GzipFile(fileobj=file)) if compressed else file), file  # type: ignore[misc,type-var]


def _lines(path: Path, funnel: Funnel) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of a JSON-lines file; a line too long and damage at the end are noted, all else is kept."""
    offset = 0
    too_long = False
    with _open(path) as (file, packed):
        while True:
            try:
                line = file.readline(_LINE_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # the disk, not the file
                funnel.note("truncated records", place(path, offset), str(error))
                return
            if not line:
                return
            whole = line.endswith(b"\n") or len(line) < _LINE_BYTES
            if not whole and not too_long:
                funnel.note("oversized records", place(path, offset), f"a line of more than {_LINE_BYTES} bytes")
            if whole and not too_long and line.strip():
                yield offset, line
            too_long = not whole
            offset += len(line)
            check_ratio(path, offset, packed.tell(), LIMITS)
