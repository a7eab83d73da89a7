"""Text as the perplexity model reads it: CCNet's normalisation, its oddities kept (Wenzek et al. 2020, §3.3).

Lower case, no accents, every digit `0`, Unicode punctuation mapped to ASCII, control characters deleted. Newlines are
control characters, so a document becomes one line with its lines glued: published cutoffs hold only for such text.
"""

import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

import pyarrow as pa

from data.line_dedup import CONTROL_CHARACTERS

if TYPE_CHECKING:
    from data.utf8_rewrite import Rewriting

_PUNCTUATION = dict(zip("，、„”“«»」「《》´’∶：–━►。？！（）；～％〈〉【】", ',,"""""""""\'\'::---.?!();~%<>[]', strict=True))
_PUNCTUATION |= {"—": " - ", "．": ". ", "…": "..."}
_ASCII_DIGITS = bytes(ord("0") if byte < 128 and chr(byte).isdigit() else byte for byte in range(256))
_ASCII_CONTROL = bytes(byte for byte in range(128) if chr(byte) in CONTROL_CHARACTERS)


def normalise_for_lm(text: str) -> str:
    """One line of normalised text, as the language models of CCNet were trained on it."""
    text = text.strip().lower()
    if text.isascii():
        return text.encode().translate(_ASCII_DIGITS, _ASCII_CONTROL).decode()
    return unicodedata.normalize("NFD", text).translate(_CHARACTERS)


def normalise_many_for_lm(texts: pa.Array) -> pa.Array:
    """`normalise_for_lm` of every text of a batch, by a compiled kernel."""
    from data.utf8_rewrite import rewrite

    return rewrite(texts, _table(), normalise_for_lm)


class _Characters(dict[int, str]):
    """What each character of decomposed text becomes; worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if category == "Mn" or character in CONTROL_CHARACTERS:
            mapped = ""
        else:
            mapped = "0" if category == "Nd" else _PUNCTUATION.get(character, character)
        self[code] = mapped
        return mapped


_CHARACTERS = _Characters()


@lru_cache(maxsize=1)
def _table() -> "Rewriting":
    """What one character becomes. On neighbours depend the final sigma, and marks that decomposing reorders and that stay."""
    from data.utf8_rewrite import rewriting

    reordered = "".join(
        character for character in map(chr, range(0x20000)) if unicodedata.combining(character) and normalise_for_lm(character)
    )
    return rewriting(lambda character: normalise_for_lm(f"a{character}a")[1:-1], contextual="Σ" + reordered)
