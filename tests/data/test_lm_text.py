"""CCNet's normalisation for language models against the rules one character at a time."""

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from data.lm_text import normalise_for_lm

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
