"""C4's dedup against brute force over all pages in memory, for any sharding."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.c4_dedup import C4DedupConfig, duplicates, hash_spans, hash_urls, remove_spans, remove_urls
from data.documents import document, read_rows, write_documents

SENTENCES = [f"Sentence {letter} is here." for letter in "ABCDEFG"]
PIECE = st.tuples(st.sampled_from(SENTENCES), st.sampled_from([" ", "\n"]))
PAGES = st.lists(
    st.tuples(
        st.integers(0, 4), st.lists(st.tuples(st.sampled_from(SENTENCES), st.sampled_from([" ", "\n"])), min_size=1, max_size=9)
    ),
    max_size=6,
)


def _rows(pages):
    """Pages as documents, in the order of ids."""
    rows = [
        document(
            "c4",
            str(number),
            "".join(word + blank for word, blank in text).strip(),
            url=f"http://x.org/{page}/" if page else None,
        )
        for number, (page, text) in enumerate(pages)
    ]
    return sorted(rows, key=lambda row: row["id"])


def _run(tmp, rows, shards, config, mapped, removed):
    tmp.mkdir()
    paths = []
    for shard in range(shards):
        paths.append(tmp / f"in{shard}.parquet")
        write_documents(paths[-1], rows[shard::shards])
        mapped(paths[-1], tmp / f"keys{shard}", config)
    reduced = []
    for number in range(config.partitions):
        reduced.append(tmp / f"reduced{number}.npy")
        duplicates([tmp / f"keys{shard}" / f"{number:05d}.npy" for shard in reversed(range(shards))], reduced[-1], config)
    kept, funnels = [], []
    for shard, path in enumerate(paths):
        funnels.append(removed(path, reduced, tmp / f"out{shard}.parquet", config))
        kept += read_rows([tmp / f"out{shard}.parquet"])
    return {row["id"]: row["text"] for row in kept}, funnels


@settings(deadline=None)
@given(pages=PAGES, shards=st.integers(1, 3))
def test_one_page_is_kept_for_each_address(tmp_path_factory, pages, shards):
    rows, seen, expected = _rows(pages), set(), set()
    for row in rows:
        if row["url"] is None or row["url"] not in seen:
            expected.add(row["id"])
            seen.add(row["url"])
    config = C4DedupConfig(partitions=2)
    kept, funnels = _run(tmp_path_factory.mktemp("c4") / "x", rows, shards, config, hash_urls, remove_urls)
    assert set(kept) == expected
    assert sum(funnel.dropped["repeated address"] for funnel in funnels) == len(rows) - len(expected)


def _brute_spans(rows, config):
    """Every span of every page in one dictionary; sentences of all but the first of each go."""
    pages = {row["id"]: re.findall(r"Sentence . is here\.", row["text"]) for row in rows}
    first, kept = {}, {}
    for id, sentences in pages.items():
        width = min(3, len(sentences))
        gone = set()
        for start in range(len(sentences) - width + 1):
            span = tuple(sentences[start : start + width])
            if first.setdefault(span, (id, start)) != (id, start):
                gone |= set(range(start, start + width))
        left = [sentence for place, sentence in enumerate(sentences) if place not in gone]
        if not gone or len(left) >= config.min_sentences:
            kept[id] = left
    return kept


@settings(deadline=None)
@given(pages=PAGES, shards=st.integers(1, 3), partitions=st.sampled_from([1, 4]))
def test_spans_agree_with_brute_force(tmp_path_factory, pages, shards, partitions):
    rows, config = _rows(pages), C4DedupConfig(partitions=partitions)
    kept, _ = _run(tmp_path_factory.mktemp("c4") / "x", rows, shards, config, hash_spans, remove_spans)
    assert {id: re.findall(r"Sentence . is here\.", text) for id, text in kept.items()} == _brute_spans(rows, config)


@settings(deadline=None)
@given(pages=PAGES, shards=st.integers(1, 3))
def test_lines_agree_with_brute_force(tmp_path_factory, pages, shards):
    rows, seen, expected = _rows(pages), set(), {}
    for row in rows:
        lines = row["text"].split("\n")
        left = [line for line in lines if not (line.strip() in seen or seen.add(line.strip()))]
        if left == lines or len(re.findall(r"here\.", "\n".join(left))) >= 3:
            expected[row["id"]] = [line.strip() for line in left]
    config = C4DedupConfig(unit="line", partitions=2)
    kept, _ = _run(tmp_path_factory.mktemp("c4") / "x", rows, shards, config, hash_spans, remove_spans)
    assert {id: [line.strip() for line in text.split("\n")] for id, text in kept.items()} == expected


def test_case_and_blanks_do_not_make_a_span_another(tmp_path):
    text = "One thing is said. Another thing is said. A third thing is said."
    other = "ONE  thing is said.\nAnother thing is said.\nA third thing is said. But. This. Stays."
    rows = [document("c4", "a", text), document("c4", "b", other)]
    kept, (funnel,) = _run(tmp_path / "x", rows, 1, C4DedupConfig(), hash_spans, remove_spans)
    first = min(rows, key=lambda row: row["id"])
    assert kept[first["id"]] == first["text"]
    assert funnel.counts["sentences removed"] == 3


@pytest.mark.parametrize("unit", ["span", "line"])
def test_untouched_pages_stay_byte_for_byte(tmp_path, unit):
    rows = [document("c4", "a", "  One short page\n\n"), document("c4", "b", "Two.")]
    kept, (funnel,) = _run(tmp_path / "x", rows, 1, C4DedupConfig(unit=unit), hash_spans, remove_spans)
    assert kept == {row["id"]: row["text"] for row in rows}
    assert funnel.rows_out == 2
