"""What a step kept and dropped, and why: counts by rule and a bounded sample of each.

Funnels of shards merge into the funnel of a stage; the sample is chosen by a hash of the document's id, so it is
the same for any sharding and any order.
"""

import zlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

SAMPLES_PER_RULE = 4
SAMPLE_CHARACTERS = 400
KEPT = "kept"


class Funnel:
    """Documents in and out of a step, drops by rule, other counts (lines, records), samples by rule."""

    def __init__(self) -> None:
        self.rows_in = 0
        self.rows_out = 0
        self.dropped: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.samples: dict[str, list[tuple[int, str, str]]] = {}

    def keep(self, id: str, text: str = "") -> None:
        """One document read and kept."""
        self.rows_in += 1
        self.rows_out += 1
        self._sample(KEPT, id, text)

    def drop(self, rule: str, id: str, text: str = "") -> None:
        """One document read and dropped by `rule`."""
        self.rows_in += 1
        self.dropped[rule] += 1
        self._sample(rule, id, text)

    def keep_many(self, ids: Iterable[str], texts: Iterable[str]) -> None:
        """As `keep`, for columns of a batch."""
        for id, text in zip(ids, texts, strict=True):
            self.keep(id, text)

    def drop_many(self, rule: str, ids: Iterable[str], texts: Iterable[str]) -> None:
        """As `drop`, for columns of a batch."""
        for id, text in zip(ids, texts, strict=True):
            self.drop(rule, id, text)

    def count(self, name: str, n: int = 1) -> None:
        """Something that is not a document: lines removed, bad records, bytes."""
        self.counts[name] += n

    def note(self, name: str, where: str, what: str = "") -> None:
        """As `count`, of something bad at a place (file and offset, or an id): a bounded sample of the places is kept."""
        self.counts[name] += 1
        self._sample(name, where, what)

    def merge(self, other: "Funnel") -> "Funnel":
        """Add the counts of another shard; returns self."""
        self.rows_in += other.rows_in
        self.rows_out += other.rows_out
        self.dropped.update(other.dropped)
        self.counts.update(other.counts)
        for rule, samples in other.samples.items():
            merged = sorted(set(self.samples.get(rule, [])) | set(samples))
            self.samples[rule] = merged[:SAMPLES_PER_RULE]
        return self

    def drops(self) -> "Funnel":
        """What was dropped alone: the share of the first of two steps in the funnel of both."""
        funnel = Funnel()
        funnel.dropped.update(self.dropped)
        funnel.rows_in = sum(self.dropped.values())
        funnel.samples = {rule: rows for rule, rows in self.samples.items() if rule in self.dropped}
        return funnel

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `from_json` reads it back."""
        return {
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "dropped": dict(sorted(self.dropped.items())),
            "counts": dict(sorted(self.counts.items())),
            "samples": {rule: [list(sample) for sample in rows] for rule, rows in sorted(self.samples.items())},
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Funnel":
        """The inverse of `to_json`."""
        funnel = cls()
        funnel.rows_in, funnel.rows_out = record["rows_in"], record["rows_out"]
        funnel.dropped.update(record["dropped"])
        funnel.counts.update(record["counts"])
        funnel.samples = {rule: [(key, id, text) for key, id, text in rows] for rule, rows in record["samples"].items()}
        return funnel

    def _sample(self, rule: str, id: str, text: str) -> None:
        key = zlib.crc32(id.encode("utf-8", "replace"))
        samples = self.samples.setdefault(rule, [])
        if len(samples) < SAMPLES_PER_RULE or key < samples[-1][0]:
            samples.append((key, id, text[:SAMPLE_CHARACTERS]))
            samples.sort()
            del samples[SAMPLES_PER_RULE:]
