"""CCNet's line normalisation character by character, and the removal of lines against brute force over a whole dump."""

import hashlib
import itertools
import sys
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from data.documents import document, read_rows, write_documents
from data.line_dedup import (
    LineDedupConfig,
    duplicate_lines,
    hash_lines,
    line_hash,
    normalise_line,
    remove_lines,
)
from data.line_hashing import line_hashes

PUNCTUATION = "，。、„”“«»」「《》´∶：？！（）；–—．～’…━〈〉【】％►"
LINES = st.text(st.sampled_from("aB1 \t\x0b\x85\x00\x1f\x9f.,é«»—…１٣ΣΑσß\u3000İ"), max_size=8) | st.text(max_size=8)


def _slow(line):
    """The rules one character at a time: strip, lower, digits, then Unicode punctuation and control characters out."""
    out = ""
    for character in line.strip().lower():
        if unicodedata.category(character) == "Nd":
            character = "0"
        if character not in PUNCTUATION and not (ord(character) < 32 or 127 <= ord(character) < 160):
            out += character
    return out


@given(LINES)
@example("« Déjà vu: 12,5 % »")
@example("１２ full-width digits")
def test_normalisation_agrees_with_the_rules_one_by_one(line):
    assert normalise_line(line) == _slow(line)
    assert line_hash(line) == int.from_bytes(hashlib.sha1(_slow(line).encode("utf-8", "surrogatepass")).digest()[:8], "little")


def test_oddities_of_ccnet_are_kept():
    assert normalise_line("  Café, 42 €!  ") == "café, 00 €!"  # accents and ASCII punctuation stay
    assert normalise_line("« Bonjour »") == " bonjour "  # blanks laid bare by the deletion stay
    assert line_hash("") == int.from_bytes(hashlib.sha1(b"").digest()[:8], "little")


PAGE_LINES = st.lists(LINES.map(lambda line: line.replace("\n", " ").encode("utf-8", "replace").decode()), min_size=1, max_size=6)


@settings(deadline=None)  # the kernel may have to be compiled
@given(st.lists(PAGE_LINES, max_size=3))
@example([["ΟΔΟΣ", "ΟΔΟΣ ", "a\x85"], ["x" * length for length in (54, 55, 56, 63, 64, 65, 119, 120)], ["Ⱥİ" * 40]])
def test_lines_of_a_batch_hash_as_each_line_does(pages):
    pages = [[line.replace("\n", "") for line in lines] for lines in pages]
    hashes, starts = line_hashes(pa.array(["\n".join(lines) for lines in pages], pa.large_string()), normalise_line, line_hash)
    assert hashes.tolist() == [line_hash(line) for lines in pages for line in lines]
    assert starts.tolist() == list(itertools.accumulate(map(len, pages), initial=0))


def test_every_character_of_unicode_hashes_as_in_plain_python():
    codes = [code for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000 and code != 10]
    lines = ["x".join(map(chr, codes[at : at + 64])) for at in range(0, len(codes), 64)]
    hashes, _ = line_hashes(pa.array(["\n".join(lines)], pa.large_string()), normalise_line, line_hash)
    assert hashes.tolist() == [line_hash(line) for line in lines]


def _run(tmp, pages, shards, config):
    """The whole step over `pages` (id locator -> text) cut in `shards`; returns {id: text} left and the funnels."""
    tmp.mkdir()
    rows = [document("commoncrawl", locator, text) for locator, text in pages.items()]
    paths = []
    for shard in range(shards):
        paths.append(tmp / f"in{shard}.parquet")
        write_documents(paths[-1], rows[shard::shards])
        hash_lines(paths[-1], tmp / f"hashes{shard}", config)
    reduced = []
    for number in range(config.partitions):
        reduced.append(tmp / f"reduced{number}.npy")
        duplicate_lines([tmp / f"hashes{shard}" / f"{number:05d}.npy" for shard in reversed(range(shards))], reduced[-1], config)
    left, funnels = {}, []
    for shard, path in enumerate(paths):
        funnels.append(remove_lines(path, tmp / f"hashes{shard}", reduced, tmp / f"out{shard}.parquet", config))
        left |= {row["id"]: row["text"] for row in read_rows([tmp / f"out{shard}.parquet"])}
    return left, funnels


def _brute(pages, keep):
    """All line pairs of the dump in memory: the definition of the step."""
    rows = sorted((document("commoncrawl", locator, text)["id"], text) for locator, text in pages.items())
    lines = [(id, place, line) for id, text in rows for place, line in enumerate(text.split("\n"))]
    groups = {}
    for id, place, line in lines:
        groups.setdefault(_slow(line), []).append((id, place))
    kept = {}
    for id, place, line in lines:
        group = groups[_slow(line)]
        if len(group) == 1 or (keep == "first" and min(group) == (id, place)):
            kept.setdefault(id, []).append(line)
    return {id: "\n".join(lines) for id, lines in kept.items() if "\n".join(lines).strip()}


PAGES = st.lists(st.lists(st.sampled_from(["a", "A ", "b", "c1", "c2", "é", "", "  ", "«»", "long"]), max_size=5), max_size=7)


@pytest.mark.parametrize("keep", ["none", "first"])
@settings(deadline=None, max_examples=50)
@given(pages=PAGES, shards=st.integers(1, 3), partitions=st.sampled_from([1, 4]))
def test_removal_agrees_with_brute_force_for_any_sharding(tmp_path_factory, keep, pages, shards, partitions):
    pages = {f"page {n}": "\n".join([*lines, f"own line of page {n % 5}"]) for n, lines in enumerate(pages)}
    config = LineDedupConfig(keep=keep, partitions=partitions)
    left, funnels = _run(tmp_path_factory.mktemp("dump") / "x", pages, shards, config)
    assert left == _brute(pages, keep)
    assert sum(funnel.rows_out for funnel in funnels) == len(left)
    assert sum(funnel.rows_in for funnel in funnels) == len(pages)


def test_counts_and_the_rule_that_drops_a_page(tmp_path):
    pages = {"a": "Menu\nA story.\nMenu", "b": "menu\nAnother story.", "c": "MENU"}
    left, (funnel,) = _run(tmp_path / "x", pages, 1, LineDedupConfig())
    assert sorted(left.values()) == ["A story.", "Another story."]
    assert funnel.dropped == {"no line left": 1}
    assert funnel.counts["lines in"] == 6
    assert funnel.counts["lines out"] == 2
    assert funnel.counts["lines dropped: repeated in the dump"] == 4


def test_running_the_step_again_removes_nothing(tmp_path):
    pages = {str(n): "\n".join(f"line {chr(97 + n * k % 23)}" for k in range(9)) for n in range(20)}
    left, _ = _run(tmp_path / "x", pages, 2, LineDedupConfig(keep="first"))
    by_locator = {locator: left[id] for locator in pages if (id := document("commoncrawl", locator, "")["id"]) in left}
    again, _ = _run(tmp_path / "y", by_locator, 3, LineDedupConfig(keep="first"))
    assert again == left


def test_repeats_inside_a_page_go_even_outside_the_scope(tmp_path):
    write_documents(tmp_path / "in.parquet", [document("commoncrawl", "x", "one\ntwo\nOne")])
    empty = tmp_path / "reduced.npy"
    duplicate_lines([], empty, LineDedupConfig(partitions=1))
    hash_lines(tmp_path / "in.parquet", tmp_path / "hashes", LineDedupConfig(partitions=1))
    funnel = remove_lines(
        tmp_path / "in.parquet", tmp_path / "hashes", [empty], tmp_path / "out.parquet", LineDedupConfig(partitions=1)
    )
    assert [row["text"] for row in read_rows([tmp_path / "out.parquet"])] == ["one\ntwo"]
    assert funnel.counts["lines dropped: repeated in the document"] == 1


def test_partitions_that_are_no_power_of_two_are_refused():
    with pytest.raises(ValidationError, match="power of two"):
        LineDedupConfig(partitions=12)


def test_order_of_partition_files_does_not_matter(tmp_path):
    config = LineDedupConfig(partitions=1, keep="first")
    for n in range(3):
        write_documents(tmp_path / f"{n}.parquet", [document("commoncrawl", str(n), "same\nx" + "yz"[n % 2])])
        hash_lines(tmp_path / f"{n}.parquet", tmp_path / f"h{n}", config)
    outputs = set()
    for order in itertools.permutations(range(3)):
        duplicate_lines([tmp_path / f"h{n}" / "00000.npy" for n in order], tmp_path / "out.npy", config)
        outputs.add((tmp_path / "out.npy").read_bytes())
    assert len(outputs) == 1
