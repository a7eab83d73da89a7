"""A 7-Zip archive of one file, LZMA2, with a fixed time: the dumps of Stack Exchange come so, and libraries write the clock in.

Layout after 7zFormat.txt of the 7-Zip sources: signature header, packed stream, header with streams and names.
"""

import lzma
import struct
import zlib

_DICTIONARY_PROPERTY = 22  # 8 MiB in LZMA2's coding: 2 << (22 // 2 + 11)
_TIME = 133_037_856_000_000_000  # 2022-08-01 in units of 100 ns since 1601
_FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2 << (_DICTIONARY_PROPERTY // 2 + 11)}]


def seven_zip(name: str, data: bytes) -> bytes:
    """The bytes of an archive that holds `data` as `name`."""
    packed = lzma.compress(data, format=lzma.FORMAT_RAW, filters=_FILTERS)
    encoded = b"\x00" + name.encode("utf-16-le") + b"\x00\x00"
    times = b"\x01\x00" + struct.pack("<Q", _TIME)
    header = b"".join(
        [
            b"\x01\x04",  # header, main streams
            b"\x06" + _number(0) + _number(1) + b"\x09" + _number(len(packed)) + b"\x00",  # one packed stream
            b"\x07\x0b" + _number(1) + b"\x00" + _number(1) + b"\x21\x21\x01" + bytes([_DICTIONARY_PROPERTY]),  # one LZMA2 coder
            b"\x0c" + _number(len(data)) + b"\x00",
            b"\x08\x0a\x01" + struct.pack("<I", zlib.crc32(data)) + b"\x00\x00",  # one file in it, its CRC
            b"\x05" + _number(1),  # files
            b"\x11" + _number(len(encoded)) + encoded,
            b"\x14" + _number(len(times)) + times,
            b"\x00\x00",
        ]
    )
    start = struct.pack("<QQI", len(packed), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(start)) + start + packed + header


def _number(value: int) -> bytes:
    """7-Zip's variable-length number: leading one-bits of the first byte say how many bytes follow."""
    for extra in range(8):
        if value < 1 << (7 * (extra + 1)):
            first = (0xFF << (8 - extra)) & 0xFF | value >> (8 * extra)
            return bytes([first]) + (value & ((1 << (8 * extra)) - 1)).to_bytes(extra, "little")
    return b"\xff" + value.to_bytes(8, "little")
