"""Stack Exchange: one document per question, with its answers, best first (L1 §2.1).

HTML is removed, code stays in fences, and answers are sorted by their score as a *number*. A site's dump lists questions
and answers in the order of their ids, so an answer may stand gigabytes after its question: posts are sorted on disk by
question (sorted runs, then one merge), and memory never holds more than a run and a question.
"""

import gzip
import heapq
import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedIOBase
from itertools import groupby
from pathlib import Path
from typing import Any

from data.documents import CorpusError, document, document_id, valid_text
from data.funnel import Funnel
from data.html_text import html_text
from data.section import Section
from data.xml_stream import chunks, open_compressed, records

SOURCE = "stackexchange"
QUESTION, ANSWER = "1", "2"  # PostTypeId
_RUN_CHARACTERS = 32 << 20  # posts held in memory while sorting
_MERGED_RUNS = 64  # runs read at the same time
_SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"

# A post on disk; lists compare, so this is also the order: question, its answers, best first
# [question id, 0 for a question or 1 for an answer, -score, id, title, body, date, licence]
_Post = list[Any]


class StackExchangeConfig(Section):
    """Which posts become documents."""

    sites: int = 28  # L1 §2.1: the 28 largest sites, by the size of their posts; fewer are all read
    min_answers: int = 0  # chosen: questions with fewer answers are dropped; L1 is silent, so unanswered ones stay
    min_answer_score: int | None = None  # chosen: answers below it are left out; None keeps all
    max_post_characters: int = 1_000_000  # chosen: a longer post is no post (the sites stop at 30,000)
    max_question_characters: int = 64_000_000  # chosen: a question's answers beyond it, the lowest scored, are left out
    max_unpacked_bytes: int = 256 << 30  # chosen: what may come out of one .7z; the largest Posts.xml is about 100 GB


def documents(path: Path, config: StackExchangeConfig, funnel: Funnel) -> Iterator[dict[str, Any]]:
    """Stream the questions of one `Posts.xml` (plain, compressed or inside a .7z), by question id."""
    site = site_of(path)
    with tempfile.TemporaryDirectory(prefix="stackexchange-") as scratch:
        with _open_posts(path, config.max_unpacked_bytes) as stream:
            rows = records(chunks(stream, path, funnel), _Rows(), "posts", "row", path, funnel)
            runs = _sorted_runs(_posts(rows, path, config, funnel), Path(scratch))
        for _, group in groupby(_merged(runs, Path(scratch)), key=lambda post: post[0]):
            row = _document(site, group, config, funnel)
            if row is not None:
                yield row


def site_of(path: Path) -> str:
    """`superuser.com` from `superuser.com/Posts.xml`, `superuser.com.7z` or `superuser.com-Posts.xml.gz`."""
    name = re.sub(r"(?i)(?:\.(?:7z|xml|gz|bz2|xz))+$", "", path.name)
    name = re.sub(r"(?i)[-_.]?posts$", "", name)
    return valid_text(name or path.resolve().parent.name)


def largest_sites(files: list[Path], n: int = 28) -> list[Path]:
    """Of the files that hold posts, those of the `n` largest sites, by the bytes of their posts, largest first (L1 §2.1).

    In a .7z they are counted unpacked; other compressed files by their bytes on disk.
    """
    sites: dict[str, list[Path]] = {}
    for file in files:
        if re.search(r"(?i)(?:^|[-_.])(?:badges|comments|posthistory|postlinks|tags|users|votes)\.", file.name):
            continue
        sites.setdefault(site_of(file), []).append(file)
    if len(sites) <= n:
        return [file for site in sorted(sites) for file in sorted(sites[site])]
    sizes = {site: sum(map(_size, members)) for site, members in sites.items()}
    largest = sorted(sites, key=lambda site: (-sizes[site], site))[:n]
    return [file for site in largest for file in sorted(sites[site])]


def _size(path: Path) -> int:
    if not _is_packed(path):
        return path.stat().st_size
    from data.seven_zip import unpacked_size

    try:
        return unpacked_size(path, "Posts.xml") or 0
    except CorpusError:  # said by the reader, if the site is large enough to be read
        return path.stat().st_size


def _is_packed(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(6) == _SEVEN_ZIP
    except OSError as error:
        raise CorpusError(path, f"cannot be opened ({error.strerror})") from error


@contextmanager
def _open_posts(path: Path, limit: int) -> Iterator[BufferedIOBase]:
    if not _is_packed(path):
        with open_compressed(path) as stream:
            yield stream
        return
    from data.seven_zip import open_member

    with open_member(path, "Posts.xml", limit) as stream:
        yield stream


class _Rows:
    """Collects the attributes of `<row …/>` elements."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "row":
            self.rows.append(attributes)

    def end(self, name: str) -> None:
        """Rows are empty elements."""

    def text(self, data: str) -> None:
        """Rows have no text."""

    def take(self) -> list[dict[str, str]]:
        rows, self.rows = self.rows, []
        return rows

    def reset(self) -> None:
        """A row is complete when it starts: nothing to forget."""


def _posts(rows: Iterator[dict[str, str]], path: Path, config: StackExchangeConfig, funnel: Funnel) -> Iterator[_Post]:
    for row in rows:
        kind, named = row.get("PostTypeId"), f"{path}, row with Id {row.get('Id', '')[:20]!r}"
        id, score = _integer(row.get("Id")), _integer(row.get("Score", "0"))
        question = id if kind == QUESTION else _integer(row.get("ParentId"))
        title, body = row.get("Title", "") if kind == QUESTION else "", row.get("Body", "")
        if kind and kind not in (QUESTION, ANSWER):
            funnel.count("other posts")
        elif not kind or id is None or score is None or question is None:
            funnel.note("unreadable records", named)
        elif "DeletionDate" in row:
            funnel.count("deleted posts")
        elif len(title) + len(body) > config.max_post_characters:
            funnel.note("posts too long", named)
        elif kind == ANSWER and config.min_answer_score is not None and score < config.min_answer_score:
            funnel.count("answers below the score")
        else:
            date, license = row.get("CreationDate", "")[:40], row.get("ContentLicense", "")[:40]
            yield [question, int(kind == ANSWER), -score, id, title, body, date, license]


def _integer(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?[0-9]{1,18}", text) else None


def _sorted_runs(posts: Iterator[_Post], scratch: Path) -> list[Path]:
    """Write the posts as sorted runs of bounded size."""
    runs: list[Path] = []
    held: list[_Post] = []
    size = 0
    for post in posts:
        held.append(post)
        size += len(post[4]) + len(post[5]) + 200
        if size >= _RUN_CHARACTERS:
            held.sort()
            runs.append(_write_run(held, scratch / f"run-{len(runs)}"))
            held.clear()
            size = 0
    if held:
        runs.append(_write_run(sorted(held), scratch / f"run-{len(runs)}"))
    return runs


def _write_run(posts: Any, path: Path) -> Path:
    with gzip.open(path, "wt", encoding="ascii", compresslevel=1) as file:
        for post in posts:
            file.write(json.dumps(post) + "\n")
    return path


def _merged(runs: list[Path], scratch: Path) -> Iterator[_Post]:
    """All posts in order: question, then its answers by score, highest first, then by id."""
    merges = 0
    while len(runs) > _MERGED_RUNS:
        some, runs = runs[:_MERGED_RUNS], runs[_MERGED_RUNS:]
        runs.append(_write_run(_merged(some, scratch), scratch / f"merge-{merges}"))
        merges += 1
        for run in some:
            run.unlink()
    with ExitStack() as stack:
        files = [stack.enter_context(gzip.open(run, "rt", encoding="ascii")) for run in runs]
        yield from heapq.merge(*(map(json.loads, file) for file in files))


def _document(site: str, posts: Iterator[_Post], config: StackExchangeConfig, funnel: Funnel) -> dict[str, Any] | None:
    """The document of one question, or None; every question is counted as kept or dropped."""
    question, answers, seen = None, list[str](), set[int]()
    held = 0
    for post in posts:
        if post[3] in seen:
            funnel.count("repeated posts")
        elif post[1] == 0:
            question = post
        elif question is None:
            funnel.count("answers without a question")
        elif held >= config.max_question_characters:
            funnel.count("answers left out: question too long")
        elif text := html_text(post[5]):
            answers.append(text)
            held += len(text)
        seen.add(post[3])
    if question is None:
        return None
    number, title = question[0], " ".join(question[4].split())
    body = html_text(question[5])
    locator = f"{site}:{number}"
    text = valid_text("\n\n".join([f"Q: {title}\n\n{body}".strip(), *(f"A: {answer}" for answer in answers)]))
    rule = "empty" if not (title or body) else "too few answers" if len(answers) < config.min_answers else None
    if rule:
        funnel.drop(rule, document_id(SOURCE, locator), text)
        return None
    host = site if "." in site else f"{site}.stackexchange.com"
    row = document(
        SOURCE,
        locator,
        text,
        url=f"https://{host}/questions/{number}",
        date=question[6] or None,
        license=question[7] or "CC BY-SA",
        meta={"site": site, "title": valid_text(title), "answers": len(answers), "score": -question[2]},
    )
    funnel.keep(row["id"], text)
    return row
