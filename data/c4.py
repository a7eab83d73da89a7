"""C4: the cleaning rules of Raffel et al. (2020, §2.2) on the text of a crawl, in the order of the released code (L1 §2.1).

Input is raw WET (or WARC), to which the rules apply, or the released C4 as `json.gz`, which passes through. The order
matters: because lines without end punctuation go first, a `{` on such a line does not condemn its page. Two things
differ from the released code: sentences are counted by rule (`data/sentences.py`, not NLTK), and English is decided by
fastText's lid at the same threshold (not langdetect).
"""

import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data.commoncrawl import pages
from data.documents import CorpusError, document, document_id, valid_text
from data.funnel import Funnel
from data.language import LanguageConfig, identify, load_model, model_path
from data.section import FilePath, Section
from data.sentences import count_sentences

SOURCE = "c4"
LONGEST_WORD = 1000
_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_END_MARKS = (".", "?", "!", '"')
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# A short list of our own for the block-list rule; the published list (LDNOOBW) is given as `bad_words`.
_BAD_WORDS = (
    "porn",
    "pornography",
    "xxx",
    "blowjob",
    "cumshot",
    "gangbang",
    "hentai",
    "milf",
    "camgirl",
    "deepthroat",
    "fuck",
    "cunt",
)
_LINE_BYTES = 64 << 20  # longest line of a json.gz that is read


class C4Config(Section):
    """The rules of C4."""

    min_words: int = Field(5, ge=0)  # per line: Raffel et al. 2020, §2.2
    min_sentences: int = Field(3, ge=0)  # per page: Raffel et al. 2020, §2.2
    max_characters: int = Field(190_000, gt=0)  # per page as crawled: released code
    language: str = "en"  # C4 is English
    # Raffel et al. 2020, §2.2. That is langdetect's scale: the compressed lid seldom gives clean English more than 0.98,
    # so with it a recipe should set about 0.8.
    language_threshold: float = Field(0.99, ge=0, le=1)
    language_model: FilePath | None = None  # chosen: fastText lid.176; None: the installed compressed model
    bad_words: FilePath | None = (
        None  # file, one word a line; None: a short list of our own; the paper's is LDNOOBW's English list
    )
    extraction: Literal["main", "all"] = "all"  # chosen: text of HTML where a WARC is given; WET holds all text too
    max_record_bytes: int = Field(16 << 20, gt=0)  # chosen: as for CommonCrawl


def documents(path: Path, config: C4Config, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Pages of one raw WET/WARC file or one released `json.gz` (or `.json`, `.jsonl`) of C4."""
    return _released(path, funnel) if _is_json(path) else _crawled(path, config, funnel)


def clean_page(text: str, config: C4Config, bad_words: re.Pattern[str]) -> tuple[str, str | None]:
    """(kept lines, None or the rule that drops the page), all rules but the language. Never raises."""
    if len(text) > config.max_characters:
        return text, f"more than {config.max_characters} characters"
    kept = []
    for line in text.split("\n"):
        line = line.strip()
        if any(len(word) > LONGEST_WORD for word in line.split()):
            continue
        line = _CITATION.sub("", line).strip()
        if not line.endswith(_END_MARKS) or line.endswith("...") or len(line.split()) < config.min_words:
            continue
        lowered = line.lower()
        if "lorem ipsum" in lowered:
            return text, "lorem ipsum"
        if "javascript" in lowered:
            continue
        if "{" in line:
            return text, "curly bracket"
        if not any(policy in lowered for policy in _POLICIES):
            kept.append(line)
    cleaned = "\n".join(kept)
    if not kept or count_sentences(cleaned) < config.min_sentences:
        return text, f"fewer than {config.min_sentences} sentences"
    if bad_words.search(cleaned.lower()):
        return cleaned, "word of the block list"
    return cleaned, None


@lru_cache(maxsize=4)
def bad_words_pattern(path: str | None) -> re.Pattern[str]:
    """Matches a word of the list that stands alone in lower-cased text; raises CorpusError for an unreadable list."""
    words: list[str] = list(_BAD_WORDS)
    if path is not None:
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeError) as error:
            raise CorpusError(path, f"list of bad words cannot be read ({error})") from error
        words = sorted({line.strip().lower() for line in lines if line.strip()})
    if not words:
        return re.compile(r"(?!)")
    return re.compile(rf"(?:\W|^)(?:{'|'.join(map(re.escape, words))})(?:\W|$)")


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
    for line in _lines(path, funnel):
        try:
            row = json.loads(line)
            text, url, date = row["text"], row.get("url") or "", row.get("timestamp") or ""
            usable = all(isinstance(value, str) for value in (text, url, date))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            usable = False
        if not usable:
            funnel.count("unreadable records")
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
    try:
        with _open(path) as file:
            return file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")
    except (OSError, EOFError, zlib.error):
        return False  # the WARC reader says what is wrong with it


def _open(path: Path) -> io.BufferedReader:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return io.BufferedReader(gzip.open(path, "rb") if compressed else path.open("rb", buffering=0))  # type: ignore[type-var]


def _lines(path: Path, funnel: Funnel) -> Iterator[bytes]:
    """Lines of a JSON-lines file; damage at the end is counted, what came before is kept."""
    with _open(path) as file:
        while True:
            try:
                line = file.readline(_LINE_BYTES)
            except (OSError, EOFError, zlib.error):
                funnel.count("truncated records")
                return
            if not line:
                return
            if line.strip():
                yield line
