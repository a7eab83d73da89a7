"""Languages by the real model, through the binding that NumPy 2 leaves usable."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError, document, read_rows, valid_text, write_documents
from data.language import LanguageConfig, filter_language, identify, load_model, model_path, score_language

TEXTS = {
    "en": "The weather was fine this morning, so we walked along the river\nand talked about the book she had just read.",
    "fr": "Il faisait beau ce matin, alors nous avons marché le long de la rivière\nen parlant du livre qu'elle venait de lire.",
    "de": "Heute Morgen war das Wetter schön, also gingen wir am Fluss entlang\nund sprachen über das neue Buch.",
    "ru": "Сегодня утром была хорошая погода, и мы гуляли вдоль реки\nи говорили о книге, которую она только что прочитала.",
}


def test_scores_are_those_of_predicting_one_by_one():
    model = load_model(model_path(LanguageConfig()))
    languages, scores = identify(list(TEXTS.values()), model)
    assert languages == list(TEXTS)
    for text, score in zip(TEXTS.values(), scores, strict=True):
        ((expected, _),) = model.f.predict(text.replace("\n", " ") + "\n", 1, 0.0, "strict")
        assert score == np.float32(min(expected, 1.0))


@pytest.fixture
def pages(tmp_path):
    rows = [document("commoncrawl", lang, text) for lang, text in TEXTS.items()] + [document("commoncrawl", "x", "7 4 x")]
    write_documents(tmp_path / "in.parquet", rows)
    score_language(tmp_path / "in.parquet", tmp_path / "scores.parquet", model_path(LanguageConfig()))
    return tmp_path / "in.parquet", tmp_path / "scores.parquet"


def test_filter_keeps_the_wanted_and_names_the_rest(pages, tmp_path):
    funnel = filter_language(*pages, tmp_path / "out.parquet", LanguageConfig(languages=("en", "fr")))
    kept = list(read_rows([tmp_path / "out.parquet"]))
    assert [row["lang"] for row in kept] == ["en", "fr"]
    assert all(0.5 <= row["lang_score"] <= 1 for row in kept)
    assert funnel.dropped == {"language not wanted: de": 1, "language not wanted: ru": 1, "language below threshold": 1}


def test_another_threshold_cuts_the_scores_that_are_there(pages, tmp_path):
    scores = list(read_rows([pages[1]]))
    for threshold in (0.0, *(row["lang_score"] for row in scores), 1.0):
        config = LanguageConfig(languages=tuple(TEXTS), threshold=threshold)
        filter_language(*pages, tmp_path / "out.parquet", config)
        kept = {row["id"] for row in read_rows([tmp_path / "out.parquet"])}
        assert kept == {row["id"] for row in scores if row["lang_score"] >= np.float32(threshold) and row["lang"] in TEXTS}


def test_scores_of_other_documents_are_refused(pages, tmp_path):
    write_documents(tmp_path / "other.parquet", [document("commoncrawl", str(n), "A text.") for n in range(5)])
    with pytest.raises(CorpusError, match=r"scores of other documents than other\.parquet"):
        filter_language(tmp_path / "other.parquet", pages[1], tmp_path / "out.parquet", LanguageConfig())


@settings(deadline=None)
@given(st.lists(st.text(), max_size=4))
def test_any_text_has_an_answer(texts):
    languages, scores = identify([valid_text(text) for text in texts], load_model(model_path(LanguageConfig())))
    assert len(languages) == len(scores) == len(texts)
    assert all(0 <= score <= 1 for score in scores)


def test_a_missing_or_foreign_model_is_the_users_error(tmp_path):
    with pytest.raises(CorpusError, match="not found"):
        model_path(LanguageConfig(model=str(tmp_path / "none.bin")))
    (tmp_path / "x.bin").write_bytes(b"no model")
    with pytest.raises(CorpusError, match="not a fastText model"):
        load_model(tmp_path / "x.bin")
