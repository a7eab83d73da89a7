"""Dialogues given as JSON lines: the reader that instructions, preferences and prompts share (L2 §3.1, §3.2.1).

A kind says how one record becomes one row; this file reads the lines, says where a bad one stands, draws the held-out
records and writes `train.parquet` and `validation.parquet`. The main idea: the files are read twice, first to draw what
is held out, then to write, so that memory is bounded and no prompt that is held out is ever trained on.
"""

import gzip
import hashlib
import heapq
import io
import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from data.documents import CorpusError, ParquetWriter, valid_text
from data.funnel import Funnel
from data.section import Section

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
KINDS = ("helpfulness", "safety")
SPLITS = ("train", "validation")
RESERVED_TAGS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")  # L2, released code: what separates turns cannot be said in one
MOST_COUNTS = 200  # names in the funnel: a file may have a source of its own for every record
HELD_OUT_PROMPT = "prompt is held out"


class DialogueConfig(Section):
    """How lines are read and which records are held out, where a record does not say so itself."""

    validation: float = Field(0.05, ge=0, lt=1)  # chosen: share of the records that have no split of their own
    at_least: int = Field(1, ge=0)  # chosen: records, should the share give fewer; never more than half of them
    at_most: int = Field(1000, ge=0)  # chosen: records
    skip_bad_lines: bool = False  # chosen: a bad line stops the reading; if true it is dropped and counted
    max_line_bytes: int = Field(4 << 20, ge=1024)  # chosen: longest line


class BadLine(Exception):
    """A record that cannot be used: `rule` is counted, `detail` is for the person who reads the message."""

    def __init__(self, rule: str, detail: str = "") -> None:
        self.rule = rule
        super().__init__(f"{rule}: {detail}" if detail else rule)


class Unwanted(Exception):
    """A record that is well formed, but always dropped by a rule of the recipe."""

    def __init__(self, rule: str) -> None:
        self.rule = rule
        super().__init__(rule)


@dataclass(frozen=True)
class Record:
    """One line, read: the row to write, the messages that ask, and its place in the split."""

    row: dict[str, Any]
    prompt: list[dict[str, str]]
    group: str = ""  # each group has held-out records of its own: the annotation batch of a preference
    split: str | None = None
    counts: tuple[str, ...] = field(default=())  # what the funnel should count besides

    @property
    def id(self) -> str:
        return self.row["id"]


Parse = Callable[[dict[str, Any]], Record]


def read_dialogues(paths: Path | Sequence[Path], output: Path, schema: pa.Schema, parse: Parse, config: DialogueConfig) -> Funnel:
    """Write `train.parquet` and `validation.parquet` into the folder `output`, rows in the order of the lines.

    A record is held out by its own `split`, else by the hash of its prompt within its group, so that all answers to one
    prompt stay together. A training record whose prompt is held out elsewhere is dropped. Raises CorpusError for a file
    that cannot be read or holds no record, and for the first bad line.
    """
    paths = [paths] if isinstance(paths, Path) else list(paths)
    held_out = _draw(paths, parse, config)
    output.mkdir(parents=True, exist_ok=True)
    funnel = Funnel()
    with ParquetWriter(output / "train.parquet", schema) as train, ParquetWriter(output / "validation.parquet", schema) as held:
        for where, record in _records(paths, parse, config, funnel):
            text = record.prompt[-1]["content"]
            validation = held_out.holds(record)
            if not validation and _digest(record.prompt) in held_out.prompts:
                funnel.drop(HELD_OUT_PROMPT, where, text)
                continue
            funnel.keep(where, text)
            for name in ("validation records" if validation else "training records", *record.counts):
                funnel.count(name if name in funnel.counts or len(funnel.counts) < MOST_COUNTS else "others")
            (held if validation else train).append(record.row)
    if not funnel.rows_out:
        raise CorpusError(paths[0] if paths else output, "no usable record in it")
    return funnel


def text_of(record: dict[str, Any], name: str, optional: bool = False) -> str | None:
    """The field `name` as storable text that is not blank; raises BadLine. An optional one may be absent or null."""
    value = record.get(name)
    if value is None and optional:
        return None
    if not isinstance(value, str):
        raise BadLine(f"no text '{name}'", "absent" if value is None else f"found {_shown(value)}")
    value = valid_text(value)
    if not value.strip():
        raise BadLine(f"empty {name}")
    return value


def choice_of(record: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """The field `name`, one of `choices`; raises BadLine."""
    value = record.get(name)
    if not isinstance(value, str) or value not in choices:
        raise BadLine(f"unknown {name}", f"{_shown(value)} is not one of {', '.join(choices)}")
    return value


def flag_of(record: dict[str, Any], name: str) -> bool:
    """The field `name`, true or false; raises BadLine."""
    value = record.get(name)
    if not isinstance(value, bool):
        raise BadLine(f"no true or false in '{name}'", f"found {_shown(value)}")
    return value


def split_of(record: dict[str, Any]) -> str | None:
    """The record's own split, None if it has none; raises BadLine."""
    return None if record.get("split") is None else choice_of(record, "split", SPLITS)


def answer_of(record: dict[str, Any], name: str) -> str:
    """An answer that stands outside the messages; raises BadLine."""
    text = text_of(record, name)
    assert text is not None
    _check_tags(text)
    return text


def messages_of(record: dict[str, Any], last: str) -> list[dict[str, str]]:
    """The dialogue: perhaps a system message, then user and assistant in turn, `last` at the end; raises BadLine."""
    given = record.get("messages")
    if not isinstance(given, list) or not given:
        raise BadLine("no list 'messages'", f"found {_shown(given)}")
    messages = []
    for message in given:
        if not isinstance(message, dict):
            raise BadLine("a message is not an object", f"found {_shown(message)}")
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "user", "assistant"):
            raise BadLine("unknown role", f"{_shown(role)} is not one of system, user, assistant")
        if not isinstance(content, str):
            raise BadLine("a message has no text 'content'", f"found {_shown(content)}")
        content = valid_text(content)
        if not content.strip():
            raise BadLine("empty answer" if role == "assistant" else "empty message", f"of the {role}")
        _check_tags(content)
        messages.append({"role": role, "content": content})
    turns = [message["role"] for message in messages]
    turns = turns[1:] if turns[0] == "system" else turns
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"] * (len(turns) % 2):
        raise BadLine("roles do not alternate", ", ".join(message["role"] for message in messages[:8]))
    if not turns or turns[-1] != last:
        raise BadLine(f"the dialogue does not end with the {last}")
    return messages


def _check_tags(text: str) -> None:
    for tag in RESERVED_TAGS:
        if tag in text:
            raise BadLine("reserved tag in a text", tag)


@dataclass
class _HeldOut:
    """What is held out: the highest rank drawn in each group, and the prompts of all that is held out."""

    highest: dict[str, int]
    prompts: set[bytes]

    def holds(self, record: Record) -> bool:
        if record.split is not None:
            return record.split == "validation"
        return _rank(_digest(record.prompt)) <= self.highest.get(record.group, -1)


def _draw(paths: list[Path], parse: Parse, config: DialogueConfig) -> _HeldOut:
    """Read everything once; keeps no more than `at_most` ranks a group and the digests of the prompts held out."""
    lowest: dict[str, list[tuple[int, bytes]]] = defaultdict(list)  # a heap with the highest rank on top, negated
    sizes: dict[str, int] = defaultdict(int)
    prompts: set[bytes] = set()
    for _, record in _records(paths, parse, config, Funnel()):
        prompt = _digest(record.prompt)
        if record.split == "validation":
            prompts.add(prompt)
        elif record.split is None:
            heap = lowest[record.group]
            sizes[record.group] += 1
            heapq.heappush(heap, (-_rank(prompt), prompt))
            if len(heap) > max(config.at_most, config.at_least):
                heapq.heappop(heap)
    highest = {}
    for group, heap in lowest.items():
        drawn = sorted((-rank, prompt) for rank, prompt in heap)
        within = sum(rank < config.validation * 2**64 for rank, _ in drawn)
        count = min(max(min(within, config.at_most), config.at_least), sizes[group] // 2)
        if count and config.validation:
            highest[group] = drawn[count - 1][0]
            prompts |= {prompt for _, prompt in drawn[:count]}
    return _HeldOut(highest, prompts)


def _records(paths: list[Path], parse: Parse, config: DialogueConfig, funnel: Funnel) -> Iterator[tuple[str, Record]]:
    """(a name for the record, the record) of every good line; what a rule drops is counted in the funnel."""
    seen: set[bytes] = set()
    for path in paths:
        for number, line, too_long in _lines(path, config.max_line_bytes):
            where = f"{path.name} line {number}"
            try:
                if too_long:
                    raise BadLine("line too long", f"more than {config.max_line_bytes} bytes")
                record = parse(_object(line))
                key = hashlib.sha256(record.id.encode()).digest()[:8]
                if key in seen:
                    raise BadLine("id given twice", record.id[:80])
                seen.add(key)
            except BadLine as error:
                if not config.skip_bad_lines:
                    mend = "mend the line, or let read.skip_bad_lines drop and count such lines"
                    raise CorpusError(path, f"line {number}: {error}; {mend}") from error
                funnel.drop(error.rule, where, line[:400].decode("utf-8", "replace"))
                continue
            except Unwanted as unwanted:
                funnel.drop(unwanted.rule, where, line[:400].decode("utf-8", "replace"))
                continue
            yield record.id, record


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadLine("not UTF-8", f"byte {error.start + 1} of the line") from error
    except (ValueError, RecursionError) as error:
        raise BadLine("not JSON", str(error)[:120]) from error
    if not isinstance(value, dict):
        raise BadLine("not a JSON object", f"found {_shown(value)}")
    return value


def _lines(path: Path, most: int) -> Iterator[tuple[int, bytes, bool]]:
    """(number, line, whether it is too long and only its beginning) of the lines that are not blank; plain or gzip."""
    number = 0
    try:
        with _open(path) as file:
            while line := file.readline(most + 1):
                number += 1
                end, too_long = line[-1:], len(line) > most
                while too_long and end not in (b"\n", b""):
                    end = file.readline(most)[-1:]
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.strip():
                    yield number, line, too_long
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(path, f"cannot be read after line {number} ({error})") from error


def _open(path: Path) -> io.BufferedReader:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return io.BufferedReader(gzip.open(path, "rb") if compressed else path.open("rb", buffering=0))  # type: ignore[type-var]


def _rank(prompt: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"held out " + prompt).digest()[:8], "big")


def _digest(prompt: list[dict[str, str]]) -> bytes:
    """Equal for prompts that differ in spaces and case alone."""
    said = [[message["role"], " ".join(message["content"].lower().split())] for message in prompt]
    return hashlib.sha256(json.dumps(said).encode()).digest()[:12]


def _shown(value: Any) -> str:
    """A value as it should stand in a message: short."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = "nothing" if value is None else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
