"""Text as the perplexity model reads it: CCNet's normalisation, its oddities kept (Wenzek et al. 2020, §3.3).

Lower case, no accents, every digit `0`, Unicode punctuation mapped to ASCII, control characters deleted. Newlines are
control characters, so a document becomes one line with its lines glued: published cutoffs hold only for such text.
"""

import unicodedata

from data.line_dedup import CONTROL_CHARACTERS

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
