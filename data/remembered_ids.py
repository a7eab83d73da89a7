"""SentencePiece's ids, unit by unit, each distinct unit encoded once and remembered.

A BPE merge always makes a piece of the vocabulary. So where no piece holds two characters side by side, no merge can cross
between them, and the texts on either side have the ids they would have alone: a text may be cut there. Cut wherever that is
so (before every word, around digits and line breaks, …), text becomes units that repeat as words do; SentencePiece sees
those it has not seen, the rest is a lookup in compiled code. Exact, and proved against SentencePiece in the tests and in
`bench`. Only for models that leave text as it is: BPE, identity normalisation, bytes for unknown characters.
Imported only where used: numba is slow to load.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit

from data.shingles import buffers

_BREAK = b"\n"
_SPACE = "▁"
_MOST_UNITS = 1 << 19  # beyond, everything is forgotten: memory stays bounded, ids are the same
_TABLE = 1 << 16  # places of the hash table to begin with, a power of two
BATCH_BYTES = 1 << 20
_BPE, _IDENTITY = 2, "identity"


class RememberedIds:
    """The ids of many texts under one model that suits; `remembered` makes it."""

    def __init__(self, processor: Any, blank: bool) -> None:
        self._processor, self._blank = processor, blank
        self._apart = _may_stand_apart(processor)
        self._lead = len(processor.encode(_BREAK.decode()))  # ids of the break that is put before every unit
        self._bos, self._eos = processor.bos_id(), processor.eos_id()
        self._dtype = np.uint16 if processor.vocab_size() <= 1 << 16 else np.uint32
        self._forget()

    def encode(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """`<s>` text `</s>` of every text end to end (uint16, or uint32 of a large vocabulary), and int64 bounds.

        A text of no characters gives `<s>` `</s>`. Feed texts of some `BATCH_BYTES` together at most.
        """
        try:
            return self._encode(texts)
        except BaseException:  # a unit may be known without its ids
            self._forget()
            raise

    def cuts_after(self, character: bytes) -> bool:
        """Whether no piece goes on behind this character."""
        return bool(self._apart[character[-1]].all())

    def _encode(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        data, offsets = _with_blanks(*buffers(texts), self._blank)
        ends, hashes, bounds = np.empty(len(data), np.int64), np.empty(len(data), np.uint64), np.empty(len(offsets), np.int64)
        count = _cut_into_units(data, offsets, self._apart, ends, hashes, bounds)
        self._make_room(count, len(data))
        units, known = np.empty(count, np.int32), self._size
        self._size, self._used = _find_units(
            data, ends, hashes, units, self._hashes, self._slots, self._starts, self._arena, self._size, self._used
        )
        self._learn(known)
        lengths = np.empty(len(texts), np.int64)
        _count_ids(units, bounds, self._id_starts, lengths)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        ids = np.empty(ends[-1], self._dtype)
        _copy_ids(units, bounds, self._id_starts, self._ids, ends, ids, self._bos, self._eos)
        return ids, ends

    def _learn(self, known: int) -> None:
        """Ask SentencePiece for the units that are new, each behind a break, which keeps it from adding a space."""
        if self._size == known:
            return
        bounds = (self._starts[known : self._size + 1] - self._starts[known]).tolist()
        text = self._arena[self._starts[known] : self._used].tobytes()
        new = [_BREAK + text[start:stop] for start, stop in pairwise(bounds)]
        encoded = self._processor.encode(new, out_type=int, num_threads=1)
        lengths = np.fromiter((len(ids) - self._lead for ids in encoded), np.int64, len(encoded))
        at = int(self._id_starts[known])
        self._id_starts[known + 1 : self._size + 1] = at + np.cumsum(lengths)
        end = int(self._id_starts[self._size])
        self._ids = _longer(self._ids, end)
        self._ids[at:end] = np.fromiter((id for ids in encoded for id in ids[self._lead :]), np.uint32, end - at)

    def _make_room(self, units: int, size: int) -> None:
        """For a batch whose units are all new."""
        if self._size > _MOST_UNITS:
            self._forget()
        while self._size + units > len(self._hashes) // 2:
            self._hashes, self._slots = _rehashed(self._hashes, self._slots)
        self._starts = _longer(self._starts, self._size + units + 1)
        self._id_starts = _longer(self._id_starts, self._size + units + 1)
        self._arena = _longer(self._arena, self._used + size)

    def _forget(self) -> None:
        self._hashes, self._slots = np.zeros(_TABLE, np.uint64), np.full(_TABLE, -1, np.int32)
        self._starts, self._id_starts = np.zeros(1, np.int64), np.zeros(1, np.int64)  # bounds in the arena, in the ids
        self._arena, self._ids = np.empty(0, np.uint8), np.empty(0, np.uint32)
        self._size = self._used = 0


@lru_cache(maxsize=2)
def remembered(model: bytes) -> RememberedIds | None:
    """The ids under the model in a SentencePiece file, kept for the life of the process; None where the model does not suit."""
    from sentencepiece import SentencePieceProcessor

    processor, spec = SentencePieceProcessor(model_proto=model), _spec(model)
    plain = spec["model_type"] == _BPE and spec["name"] == _IDENTITY and not spec["charsmap"]
    whole = not spec["remove_extra_whitespaces"] and spec["escape_whitespaces"] and not spec["whitespace_as_suffix"]
    if not (plain and whole) or min(processor.bos_id(), processor.eos_id()) < 0:
        return None
    found, ids = RememberedIds(processor, bool(spec["add_dummy_prefix"])), processor.encode(_BREAK.decode())
    breaks_stand_alone = bool(ids) and processor.is_byte(ids[-1]) and found.cuts_after(_BREAK)
    return found if breaks_stand_alone else None


def batches(texts: pa.Array) -> Iterator[pa.Array]:
    """`texts` in slices of some BATCH_BYTES, at least one text each."""
    _, offsets = buffers(texts)
    start = 0
    while start < len(texts):
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + BATCH_BYTES, "right")) - 1)
        yield texts.slice(start, stop - start)
        start = stop


def _may_stand_apart(processor: Any) -> np.ndarray:
    """(256, 256) booleans: whether a text may be cut between a character that ends in one byte and one that begins with
    another; True where no piece holds two such characters side by side. A blank stands for itself and for U+2581."""
    apart, ids = np.ones((256, 256), np.bool_), list(range(processor.vocab_size()))
    kinds = zip(processor.is_byte(ids), processor.is_control(ids), processor.is_unknown(ids), strict=True)
    pairs: set[tuple[str, str]] = set()
    for piece, kind in zip(processor.id_to_piece(ids), kinds, strict=True):
        if not any(kind):
            pairs.update(pairwise(piece))
    for left, right in pairs:
        for last in _variants(left):
            for first in _variants(right):
                apart[last[-1], first[0]] = False
    return apart


def _variants(character: str) -> tuple[bytes, ...]:
    return (character.encode(), b" ") if character == _SPACE else (character.encode("utf-8", "surrogatepass"),)


def _longer(array: np.ndarray, size: int) -> np.ndarray:
    if size <= len(array):
        return array
    grown = np.empty(max(size, len(array) * 3 // 2), array.dtype)
    grown[: len(array)] = array
    return grown


def _rehashed(hashes: np.ndarray, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bigger, places = np.zeros(2 * len(hashes), np.uint64), np.full(2 * len(hashes), -1, np.int32)
    _move(hashes, slots, bigger, places)
    return bigger, places


def _spec(model: bytes) -> dict[str, Any]:
    """What the model's own file says of itself (sentencepiece_model.proto): kind of model and normalisation."""
    found = {
        "model_type": 1, "whitespace_as_suffix": False,
        "name": "", "charsmap": b"", "add_dummy_prefix": True, "remove_extra_whitespaces": True, "escape_whitespaces": True,
    }  # fmt: skip
    for number, value in _fields(model):
        if number == 2:  # trainer_spec
            names = {3: "model_type", 24: "whitespace_as_suffix"}
        elif number == 3:  # normalizer_spec
            names = {1: "name", 2: "charsmap", 3: "add_dummy_prefix", 4: "remove_extra_whitespaces", 5: "escape_whitespaces"}
        else:
            continue
        found |= {names[inner]: said for inner, said in _fields(value) if inner in names}
    found["name"] = found["name"].decode() if isinstance(found["name"], bytes) else found["name"]
    return found


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a protocol buffer: integers of varints, bytes of all else."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        size, at = (8, at) if kind == 1 else (4, at) if kind == 5 else _varint(message, at)
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


@njit(cache=True)
def _with_blanks(data: Any, offsets: Any, blank: Any) -> Any:
    """The texts end to end, a blank before each that has characters (if the model adds one), and their offsets."""
    out, bounds = np.empty(offsets[-1] - offsets[0] + len(offsets), np.uint8), np.zeros(len(offsets), np.int64)
    at = 0
    for row in range(len(offsets) - 1):
        if blank and offsets[row + 1] > offsets[row]:
            out[at] = 32
            at += 1
        for byte in range(offsets[row], offsets[row + 1]):
            out[at] = data[byte]
            at += 1
        bounds[row + 1] = at
    return out[:at], bounds


@njit(cache=True)
def _cut_into_units(data: Any, offsets: Any, apart: Any, ends: Any, hashes: Any, bounds: Any) -> Any:
    """End and hash of every unit, bounds of the texts in units; returns the number of units."""
    count = 0
    bounds[0] = 0
    for row in range(len(offsets) - 1):
        stop = offsets[row + 1]
        h, before = np.uint64(0xCBF29CE484222325), np.uint8(0)
        for at in range(offsets[row], stop):
            byte = data[at]
            if at > offsets[row] and (byte & 0xC0) != 0x80 and apart[before, byte]:
                ends[count], hashes[count] = at, h
                count += 1
                h = np.uint64(0xCBF29CE484222325)
            h = (h ^ np.uint64(byte)) * np.uint64(0x100000001B3)
            before = byte
        if stop > offsets[row]:
            ends[count], hashes[count] = stop, h
            count += 1
        bounds[row + 1] = count
    return count


@njit(cache=True)
def _find_units(
    data: Any, ends: Any, hashes: Any, units: Any, table: Any, slots: Any, starts: Any, arena: Any, size: Any, used: Any
) -> Any:
    """The number of every unit; new ones get the next, and their bytes go to the arena. Returns units and bytes held."""
    mask, start = np.uint64(len(slots) - 1), 0
    for unit in range(len(units)):
        h = hashes[unit] ^ (hashes[unit] >> np.uint64(32))
        slot = np.int64(h & mask)
        while slots[slot] >= 0:
            number = slots[slot]
            if table[slot] == h and _same(data, start, ends[unit], arena, starts[number], starts[number + 1]):
                break
            slot = np.int64(np.uint64(slot + 1) & mask)
        if slots[slot] < 0:
            slots[slot], table[slot] = size, h
            for at in range(start, ends[unit]):
                arena[used] = data[at]
                used += 1
            size += 1
            starts[size] = used
        units[unit] = slots[slot]
        start = ends[unit]
    return size, used


@njit(cache=True, inline="always")
def _same(data: Any, start: Any, stop: Any, arena: Any, begin: Any, end: Any) -> Any:
    if stop - start != end - begin:
        return False
    same = True
    for byte in range(stop - start):
        same &= data[start + byte] == arena[begin + byte]
    return same


@njit(cache=True)
def _move(hashes: Any, slots: Any, bigger: Any, places: Any) -> None:
    mask = len(places) - 1
    for slot in range(len(slots)):
        if slots[slot] >= 0:
            to = np.int64(hashes[slot] & np.uint64(mask))
            while places[to] >= 0:
                to = (to + 1) & mask
            bigger[to], places[to] = hashes[slot], slots[slot]


@njit(cache=True)
def _count_ids(units: Any, bounds: Any, id_starts: Any, lengths: Any) -> None:
    for row in range(len(lengths)):
        length = 2
        for place in range(bounds[row], bounds[row + 1]):
            length += id_starts[units[place] + 1] - id_starts[units[place]]
        lengths[row] = length


@njit(cache=True)
def _copy_ids(units: Any, bounds: Any, id_starts: Any, ids: Any, ends: Any, out: Any, bos: Any, eos: Any) -> None:
    for row in range(len(ends) - 1):
        at = ends[row]
        out[at] = bos
        at += 1
        for place in range(bounds[row], bounds[row + 1]):
            for id in range(id_starts[units[place]], id_starts[units[place] + 1]):
                out[at] = ids[id]
                at += 1
        out[at] = eos
