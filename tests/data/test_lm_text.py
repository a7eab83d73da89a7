"""CCNet's normalisation for language models against the rules one character at a time."""

import sys
import unicodedata

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.documents import valid_text
from data.lm_text import normalise_for_lm, normalise_many_for_lm

# What each mark becomes, written out from the description of CCNet; independent of the module's table.
MARKS = {
    **dict(zip("，。、„”“«»」「《》´∶：？！（）；–．～’━〈〉【】％►", ',.,""""""""' + "\"'::?!();-.~'-<>[]%-", strict=True)),
    "—": " - ",
    "．": ". ",
    "…": "...",
}


def _slow(text):
    text = unicodedata.normalize("NFD", text.strip().lower())
    text = "".join(character for character in text if unicodedata.category(character) != "Mn")
    text = "".join("0" if unicodedata.category(character) == "Nd" else MARKS.get(character, character) for character in text)
    return "".join(character for character in text if not (ord(character) < 32 or 127 <= ord(character) < 160))


@given(st.text(st.sampled_from("aBé«»—…１٣Σ\n\t\x85ñ한.,;İ " + "".join(MARKS))) | st.text())
@example("« Déjà vu — 12…\nOui »")
def test_agrees_with_the_rules_one_by_one(text):
    assert normalise_for_lm(text) == _slow(text)


def test_a_document_becomes_one_glued_line():
    assert normalise_for_lm(" Été 1999:\nL’an “neuf”…\n") == 'ete 0000:l\'an "neuf"...'
    assert normalise_for_lm("Plain ASCII 42\nNext") == "plain ascii 00next"


@settings(deadline=None)  # the kernel may have to be compiled
@given(st.lists(st.text(st.sampled_from("aBé«»—…１٣ΣσςÑ한\n\t\x85\u3000\u0301\u302eİΐﬃ𝔸𑄺丽.,; ")) | st.text(), max_size=5))
@example(["ΟΔΟΣ ΟΔΟΣ", "", " \u3000", "a\u302e\u0301b", "Été"])
def test_a_batch_is_each_text_alone(texts):
    texts = [valid_text(text) for text in texts]
    assert normalise_many_for_lm(pa.array(texts, pa.large_string())).to_pylist() == [normalise_for_lm(text) for text in texts]


def test_every_character_of_unicode_is_as_in_plain_python():
    texts = [f"x{chr(code)}x" for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    assert normalise_many_for_lm(pa.array(texts, pa.large_string())).to_pylist() == [normalise_for_lm(text) for text in texts]
