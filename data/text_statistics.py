"""What the quality rules look at: counts of words, lines, paragraphs and repetitions of every document, in one table.

Gopher (Rae et al. 2021, §A.1.1) and FineWeb (Penedo et al. 2024, §3.6) judge a page by ratios of such counts. The idea: the
counts are integers made once, by compiled passes over Arrow's UTF-8 buffer; rules (`data/gopher.py`, `data/fineweb.py`)
are thresholds over them, so that another threshold needs no text. Lengths are in characters; what stood before is known by
a 64-bit hash. Imported only where used: numba is slow to load.

Words: letters, digits and whatever is no blank, punctuation, symbol or control character make runs; every mark is a word of
its own, but dots in a row and hyphens in a row are one. A mark stays inside a run between two digits (`3.14`, `12:30`, of
`. , : /`) and between two others (`e.g`, `x@y.org`, of `. @`, unless a capital follows a small letter); an apostrophe
begins a new run (`it` `'s`). With `words: runs` marks only separate.
"""

import unicodedata
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from data import shingles, utf8_kernels
from data.quality_scores import ScoresConfig
from data.shingles import buffers, xxh64
from data.utf8_kernels import inner, kernel, skip_spaces, trim_spaces

STATISTICS = (
    "characters",
    "newlines",
    "words",
    "runs",  # words that are no mark
    "run_characters",
    "alphabetic_words",  # with a letter in them
    "stop_words",  # how many different ones
    "hash_signs",
    "ellipses",  # `...` or `…`
    "lines",  # between line breaks of any kind, empty ones too
    "bullet_lines",  # that begin with `•` or `-`
    "ellipsis_lines",  # that end with an ellipsis
    "parts",  # between newlines, several counting as one
    "repeated_parts",  # that stood before
    "repeated_part_characters",
    "paragraphs",  # between empty lines
    "repeated_paragraphs",
    "repeated_paragraph_characters",
    "filled_lines",  # between newlines, not blank
    "ended_lines",  # filled, ending in a sentence's mark
    "short_lines",  # filled, of few characters
    "repeated_line_characters",  # of filled lines that stood before
    *(f"top_{n}_gram_characters" for n in (2, 3, 4)),  # of the most frequent n words with their blanks, times how often
    *(f"repeated_{n}_gram_characters" for n in range(5, 11)),  # of n words that stood before, overlaps counted once
)

# Marks that end a sentence: Unicode's property Sentence_Terminal in the basic plane, code points in hexadecimal.
_SENTENCE_ENDS = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d5 1803 1809 "
    "1944-1945 1aa8-1aab 1b4e-1b4f 1b5a-1b5b 1b5e-1b5f 1b7d-1b7f 1c3b-1c3c 1c7e-1c7f 2024 203c-203d 2047-2049 2cf9-2cfb 2e2e "
    "2e3c 2e53-2e54 2e60-2e61 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe12 "
    "fe15-fe16 fe52 fe56-fe57 ff01 ff0e ff1f ff61"
)
_SPACE, _MARK, _LETTER, _DIGIT, _SMALL, _CAPITAL, _END = 1, 2, 4, 8, 16, 32, 64  # bits of a character's class
_MULTIPLIERS = np.array([xxhash.xxh64_intdigest(bytes([n])) | 1 for n in range(10)], np.uint64)
_NONE, _RUN, _DOTS, _HYPHENS, _SINGLE = 0, 1, 2, 3, 4  # what a word is
_PRIME, _MIX = np.uint64(0x100000001B3), np.uint64(0xFF51AFD7ED558CCD)


def statistics(texts: pa.Array, config: ScoresConfig) -> pa.Table:
    """One row of STATISTICS (int32) a document; a null text is an empty one."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    data, offsets = buffers(pc.fill_null(texts, ""))
    stops = np.array([_hash_word(word) for word in config.stop_words], np.uint64)
    out = np.zeros((len(offsets) - 1, len(STATISTICS)), np.int32)
    words, seen = _rooms(int(np.diff(offsets).max(initial=0)) + 2)
    _count(data, offsets, character_classes(), config.words == "marks", stops, config.short_line, words, seen, out)
    return pa.table({name: np.ascontiguousarray(column) for name, column in zip(STATISTICS, out.T, strict=True)})


@lru_cache(maxsize=1)
def character_classes() -> np.ndarray:
    """The class of every code point, uint8 of bits: blank, mark, letter, digit, small, capital, end of a sentence."""
    points = np.arange(0x110000, dtype=np.uint32).view("U1")
    classes = np.zeros(len(points), np.uint8)
    tests = {_SPACE: np.strings.isspace, _LETTER: np.strings.isalpha, _DIGIT: np.strings.isdecimal}
    for bit, test in (tests | {_SMALL: np.strings.islower, _CAPITAL: np.strings.isupper}).items():
        classes[test(points)] |= bit
    categories = np.array([unicodedata.category(chr(point)) for point in range(0x20000)])
    marks = (np.strings.startswith(categories, "P") | np.strings.startswith(categories, "S") | (categories == "Cc")).nonzero()[0]
    classes[marks[(marks != ord("_")) & (classes[marks] & _SPACE == 0)]] |= _MARK
    for bounds in _SENTENCE_ENDS.split():
        first, _, last = bounds.partition("-")
        classes[int(first, 16) : int(last or first, 16) + 1] |= _END
    return classes


def _hash_word(word: str) -> int:
    """The hash that `_words` gives to a word."""
    h = 0
    for byte in word.encode():
        h = (h ^ byte) * int(_PRIME) & 0xFFFFFFFFFFFFFFFF
    h = (h ^ h >> 33) * int(_MIX) & 0xFFFFFFFFFFFFFFFF
    return h ^ h >> 33


def _rooms(size: int) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Room for a text of `size` bytes: of its words (hash, characters, window, place, number, times), and a table of hashes.

    A slot of the table holds a hash, and in one number the round that put it there and a number of 32 bits; the last one
    holds the round. What a text does not touch is never paged in.
    """
    words = tuple(np.empty(size, kind) for kind in (np.uint64, np.int32, np.uint64, np.int32, np.int32, np.int32))
    return words, np.zeros(((1 << (2 * size).bit_length()) + 1, 2), np.uint64)


@kernel(shingles, utf8_kernels)
def _count(data: Any, offsets: Any, classes: Any, marks: Any, stops: Any, short: Any, words: Any, seen: Any, out: Any) -> None:
    """Fill `out` row by row; its columns are STATISTICS."""
    for row in range(len(out)):
        start, stop, counts = offsets[row], offsets[row + 1], out[row]
        _signs(data, start, stop, counts)
        found = _words(data, start, stop, classes, marks, stops, words[0], words[1], counts)
        _lines(data, start, stop, counts)
        _parts(data, start, stop, classes, short, seen, counts)
        _paragraphs(data, start, stop, seen, counts)
        _repetitions(words, found, seen, counts)


@inner
def _signs(data: Any, start: Any, stop: Any, counts: Any) -> None:
    """Characters, newlines, hash signs and ellipses of a text."""
    characters = newlines = signs = ellipses = 0
    for at in range(start, stop):
        byte = data[at]
        characters += byte & 0xC0 != 0x80
        newlines += byte == 10
        signs += byte == 35
    at = start + 2
    while at < stop:
        byte, step = data[at], 1
        if byte == 46:
            if data[at - 1] == 46 and data[at - 2] == 46:
                ellipses, step = ellipses + 1, 3
        elif byte == 0xA6 and data[at - 1] == 0x80 and data[at - 2] == 0xE2:
            ellipses += 1
        at += step
    counts[0], counts[1], counts[7], counts[8] = characters, newlines, signs, ellipses


@inner
def _words(data: Any, start: Any, stop: Any, classes: Any, marks: Any, stops: Any, hashes: Any, sizes: Any, counts: Any) -> Any:
    """Hash and characters of every word, and how many words there are; fills the counts of words."""
    found, kind, before, at = 0, _NONE, _SPACE, start
    h, size, letters, stopped = np.uint64(0), 0, 0, np.uint64(0)  # letters: the classes of the word's characters
    while at <= stop:
        point, width = _decode(data, at, stop)
        group = classes[point] if at < stop else _SPACE
        following, opens = _RUN, kind != _RUN
        if group & _SPACE or (group & _MARK and not marks):
            following, opens = _NONE, True
        elif group & _MARK:
            after, _ = _decode(data, at + width, stop)
            following, opens = _mark(kind, point, before, classes[after] if at + width < stop else _SPACE)
        if opens:
            if kind != _NONE:
                hashes[found], sizes[found] = _finish(h), size
                if kind == _RUN:
                    stopped |= _stop_word(hashes[found], stops)
                    counts[3] += 1
                    counts[4] += size
                    counts[5] += letters & _LETTER != 0
                found += 1
            kind, h, size, letters = following, np.uint64(0), 0, 0
        if kind != _NONE:
            for byte in range(at, at + width):
                h = (h ^ np.uint64(data[byte])) * _PRIME
            size += 1
            letters |= group
        before = group
        at += width
        if kind == _RUN:
            while at < stop and data[at] < 0x80 and not classes[data[at]] & (_SPACE | _MARK):
                before = classes[data[at]]
                h = (h ^ np.uint64(data[at])) * _PRIME
                size += 1
                letters |= before
                at += 1
    counts[2] = found
    while stopped:
        counts[6] += 1
        stopped &= stopped - np.uint64(1)
    return found


@inner
def _mark(kind: Any, point: Any, before: Any, after: Any) -> Any:
    """(what the mark is, whether a word begins with it), given the word so far and the classes of the neighbours."""
    runs_on = after & (_SPACE | _MARK) == 0
    if kind == _RUN and runs_on:
        if before & after & _DIGIT and (point == 46 or point == 44 or point == 58 or point == 47):
            return _RUN, False
        if point == 64 or (point == 46 and not (before & _SMALL and after & _CAPITAL)):
            return _RUN, False
        if point == 39 or point == 0x2019:
            return _RUN, True
    sort = _DOTS if point == 46 else (_HYPHENS if point == 45 else _SINGLE)
    return sort, sort == _SINGLE or kind != sort


@inner
def _finish(h: Any) -> Any:
    h = (h ^ (h >> np.uint64(33))) * _MIX
    return h ^ (h >> np.uint64(33))


@inner
def _stop_word(h: Any, stops: Any) -> Any:
    """The bit of the stop word with this hash, 0 if it is none."""
    for number in range(len(stops)):
        if stops[number] == h:
            return np.uint64(1) << np.uint64(number)
    return np.uint64(0)


@inner
def _lines(data: Any, start: Any, stop: Any, counts: Any) -> None:
    """Lines between breaks of any kind, and those with a bullet before or an ellipsis behind."""
    at = begin = start
    while at < stop:
        byte = data[at]
        width = 0 if 0x20 <= byte < 0xC2 else _break(data, at, stop)
        if width:
            _line(data, begin, at, counts)
            begin = at + width
        at += max(width, 1)
    if begin < stop:
        _line(data, begin, stop, counts)


@inner
def _line(data: Any, start: Any, stop: Any, counts: Any) -> None:
    counts[9] += 1
    start, stop = _strip(data, start, stop)
    if start < stop:
        point, _ = _decode(data, start, stop)
        counts[10] += point == 0x2022 or point == 45
    if stop - start >= 3:
        a, b, c = data[stop - 3], data[stop - 2], data[stop - 1]
        counts[11] += (a == 46 and b == 46 and c == 46) or (a == 0xE2 and b == 0x80 and c == 0xA6)


@inner
def _parts(data: Any, start: Any, stop: Any, classes: Any, short: Any, seen: Any, counts: Any) -> None:
    """Lines between newlines: Gopher's, of which several newlines separate two, and FineWeb's, of which none is blank."""
    shift = _clear(seen, counts[1] + 1)
    empty_ends = (stop > start and data[start] == 10) + (stop > start and data[stop - 1] == 10)
    counts[12], counts[13] = empty_ends, empty_ends == 2  # a newline at an end sets an empty part apart
    begin = start
    for at in range(start, stop + 1):
        if at < stop and data[at] != 10:
            continue
        if at > begin:
            first, last = _strip(data, begin, at)
            size = _characters(data, begin, at)
            filled, again = first < last, _put(seen, shift, xxh64(data, begin, at, np.uint64(0)), 0) >= 0
            counts[12] += 1
            counts[18] += filled
            counts[19] += filled and last == at and classes[_before(data, last)] & _END != 0
            counts[20] += filled and size <= short
            if again:
                counts[13] += 1
                counts[14] += size
                counts[21] += size if filled else 0
        begin = at + 1


@inner
def _paragraphs(data: Any, start: Any, stop: Any, seen: Any, counts: Any) -> None:
    """Paragraphs of the stripped text, between two newlines or more."""
    shift = _clear(seen, counts[1] + 1)
    start, stop = _strip(data, start, stop)
    begin = at = start
    while at <= stop:
        if at == stop or (data[at] == 10 and data[at + 1] == 10):  # the last character is no blank
            counts[15] += 1
            if _put(seen, shift, xxh64(data, begin, at, np.uint64(0)), 0) >= 0:
                counts[16] += 1
                counts[17] += _characters(data, begin, at)
            while at < stop and data[at] == 10:
                at += 1
            begin = at
        at += 1


@inner
def _repetitions(words: Any, found: Any, seen: Any, counts: Any) -> None:
    """Characters of the most frequent 2, 3 and 4 words, and of 5 to 10 words that stood before.

    The hash of a window is a sum over its words, each times the odd number of its place; so that of a longer one adds to
    that of a shorter. Only where a window comes twice can a longer one do so: `places` are those that are left.
    """
    hashes, sizes, windows, places, numbers, times = words
    kept = found
    for place in range(found):
        windows[place], places[place] = hashes[place] * _MULTIPLIERS[0], place
    for length in range(2, min(10, found) + 1):
        while kept and places[kept - 1] + length > found:
            kept -= 1
        for i in range(kept):
            windows[places[i]] += hashes[places[i] + length - 1] * _MULTIPLIERS[length - 1]
        first, most, kept = _coming_twice(windows, places, kept, numbers, times, seen)
        if length <= 4:
            counts[20 + length] = (sizes[first : first + length].sum() + length - 1) * most
        else:
            counts[20 + length] = _repeated(windows, places, kept, length, sizes, seen)


@inner
def _coming_twice(windows: Any, places: Any, count: Any, numbers: Any, times: Any, seen: Any) -> Any:
    """(place of the most frequent window, how often it comes, how many `places` are kept: those of windows that come twice).

    Of several windows that come most often it is the one that comes first; if none comes twice, the text's first.
    """
    shift, different, most = _clear(seen, count), 0, 1
    for i in range(count):
        number = _put(seen, shift, windows[places[i]], different)
        if number < 0:
            number, times[different] = different, 0
            different += 1
        numbers[i] = number
        times[number] += 1
        most = max(most, times[number])
    first, kept = -1, 0
    for i in range(count):
        if times[numbers[i]] > 1:
            if first < 0 and times[numbers[i]] == most:
                first = places[i]
            places[kept] = places[i]
            kept += 1
    return max(first, 0), most, kept


@inner
def _repeated(windows: Any, places: Any, count: Any, length: Any, sizes: Any, seen: Any) -> Any:
    """Characters of windows that stood before, from left to right; the words of one begin no other."""
    shift, free, characters = _clear(seen, count), 0, 0
    for i in range(count):
        if places[i] >= free and _put(seen, shift, windows[places[i]], 0) >= 0:
            characters += sizes[places[i] : places[i] + length].sum()
            free = places[i] + length
    return characters


@inner
def _clear(seen: Any, most: Any) -> Any:
    """Begin a round of at most `most` hashes in the table; returns by how much a hash is shifted to its slot."""
    seen[-1, 0] += np.uint64(1 << 32)
    bits = 1
    while (1 << bits) < 2 * most:
        bits += 1
    return np.uint64(64 - bits)


@inner
def _put(seen: Any, shift: Any, h: Any, number: Any) -> Any:
    """The number of this hash in the round; a new one gets `number` and the answer is -1."""
    now, slot = seen[-1, 0], h >> shift
    last = (np.uint64(1) << (np.uint64(64) - shift)) - np.uint64(1)
    while seen[slot, 1] >= now:
        if seen[slot, 0] == h:
            return np.int64(seen[slot, 1] - now)
        slot = (slot + np.uint64(1)) & last
    seen[slot, 0], seen[slot, 1] = h, now | np.uint64(number)
    return np.int64(-1)


@inner
def _decode(data: Any, at: Any, stop: Any) -> Any:
    """(code point, bytes) of the character at `at`; a newline at the end."""
    if at >= stop:
        return 10, 1
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | np.int64(data[at + 1] & 0x3F), 2
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | np.int64(data[at + 1] & 0x3F) << 6 | np.int64(data[at + 2] & 0x3F), 3
    high = (byte & 0x07) << 18 | np.int64(data[at + 1] & 0x3F) << 12
    return high | np.int64(data[at + 2] & 0x3F) << 6 | np.int64(data[at + 3] & 0x3F), 4


@inner
def _before(data: Any, at: Any) -> Any:
    """Code point of the character that ends at `at`."""
    start = at - 1
    while data[start] & 0xC0 == 0x80:
        start -= 1
    return _decode(data, start, at)[0]


@inner
def _strip(data: Any, start: Any, stop: Any) -> Any:
    """The bounds without blanks at both ends."""
    start = skip_spaces(data, start, stop)
    return start, trim_spaces(data, start, stop)


@inner
def _characters(data: Any, start: Any, stop: Any) -> Any:
    count = 0
    for at in range(start, stop):
        count += data[at] & 0xC0 != 0x80
    return count


@inner
def _break(data: Any, at: Any, stop: Any) -> Any:
    """Bytes of the line break at `at`, 0 if there is none."""
    byte = data[at]
    if byte < 0x20:
        if byte == 13 and at + 1 < stop and data[at + 1] == 10:
            return 2
        return 1 if 10 <= byte <= 13 or 28 <= byte <= 30 else 0
    if byte == 0xC2 and data[at + 1] == 0x85:
        return 2
    return 3 if byte == 0xE2 and data[at + 1] == 0x80 and data[at + 2] & 0xFE == 0xA8 else 0
