"""Books inside other books, against counting all pairs with Python sets."""

import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data.books_dedup as books_dedup
from data.books_dedup import BooksDedupConfig, find_duplicates, remove_duplicates, shingle
from data.documents import document, read_rows, write_documents

CONFIG = BooksDedupConfig(shingle_words=3, probes=64)


def book(number: int | str, words: list[str]) -> dict[str, Any]:
    known = isinstance(number, int)
    return document("books", str(number), " ".join(words), meta={"number": str(number) if known else ""})


def deduplicate(folder: Path, files: list[list[dict[str, Any]]], config: BooksDedupConfig = CONFIG) -> list[list[dict[str, Any]]]:
    folder.mkdir(exist_ok=True)
    documents = [folder / f"documents-{index}" for index in range(len(files))]
    shingles = [folder / f"shingles-{index}" for index in range(len(files))]
    for rows, path, output in zip(files, documents, shingles, strict=True):
        write_documents(path, rows)
        shingle(path, output, config)
    find_duplicates(shingles, folder / "duplicates", config)
    kept = []
    for index, path in enumerate(documents):
        funnel = remove_duplicates(path, index, folder / "duplicates", folder / f"kept-{index}")
        kept.append(list(read_rows([folder / f"kept-{index}"])))
        assert (funnel.rows_in, funnel.rows_out) == (len(files[index]), len(kept[index]))
    return kept


def windows(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[at : at + n]) for at in range(max(1, len(words) - n + 1))}


def survivors_by_all_pairs(rows: list[dict[str, Any]], n: int, threshold: float) -> list[str]:
    """The rule, plainly: larger containers first, then of alike books the earliest."""
    ordered = sorted(rows, key=lambda row: int(re.sub(r"\D", "", row["meta"])))
    sets = [windows(row["text"], n) for row in ordered]
    inside = [[len(a & b) / len(a) > threshold for b in sets] for a in sets]
    gone: set[int] = set()
    everything = range(len(sets))
    for a in sorted(everything, key=lambda a: (-len(sets[a]), a)):
        if any(inside[a][b] and not inside[b][a] and b not in gone for b in everything if b != a):
            gone.add(a)
    for a in everything:
        if a not in gone and any(inside[a][b] and inside[b][a] and b not in gone for b in range(a)):
            gone.add(a)
    return [ordered[a]["id"] for a in everything if a not in gone]


def variant(rng: random.Random, words: list[str], changed: float) -> list[str]:
    return [f"z{rng.random()}"[:8].replace(".", "") if rng.random() < changed else word for word in words]


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6))
def test_all_pairs_counted_one_by_one_give_the_same(tmp_path_factory: Any, seed: int) -> None:
    rng = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(300)]
    originals = [[rng.choice(vocabulary) for _ in range(rng.choice([20, 120, 700]))] for _ in range(3)]
    texts = list(originals)
    for _ in range(9):
        words = rng.choice(texts)
        cut = rng.randint(0, len(words) // 3)
        texts.append(
            variant(
                rng,
                words[cut:] if rng.random() < 0.5 else words + rng.choice(originals)[: cut + 1],
                rng.choice([0, 0.02, 0.035, 0.06]),
            )
        )
    rows = [book(number, words) for number, words in zip(rng.sample(range(1, 999), len(texts)), texts, strict=True)]
    files = [rows[:5], rows[5:6], rows[6:]]
    kept = [row["id"] for part in deduplicate(tmp_path_factory.mktemp("d"), files) for row in part]
    assert sorted(kept) == sorted(survivors_by_all_pairs(rows, 3, 0.9))


def test_the_earlier_number_stays_of_two_editions_in_any_order(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(500)]
    edition = ["W0", "Café,", *(f"_{word}_" for word in words[1:])]
    other = ["x" + word for word in words]
    rows = [book(9, edition), book(10, words), book("unnumbered", words), book(2, other)]
    for name, order in (("a", rows), ("b", rows[::-1])):
        [kept] = deduplicate(tmp_path / name, [order])
        assert {row["id"] for row in kept} == {rows[0]["id"], rows[3]["id"]}


def test_a_part_goes_and_the_whole_stays_whatever_their_numbers(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(3000)]
    [kept] = deduplicate(tmp_path, [[book(1, words[100:200]), book(2, words), book(3, words[2000:2900])]])
    assert [row["id"] for row in kept] == [book(2, [])["id"]]


def test_exactly_the_threshold_is_not_more_than_it(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(102)]
    for shared, survives in ((90, True), (91, False)):
        part = words[: shared + 2] + [f"y{n}" for n in range(100 - shared)]
        assert len(windows(" ".join(part), 3)) == 100
        [kept] = deduplicate(tmp_path / str(shared), [[book(1, words + ["end"] * 50), book(2, part)]])
        assert (len(kept) == 2) is survives


def test_copies_and_different_texts_under_one_number(tmp_path: Path) -> None:
    words, other = [f"w{n}" for n in range(50)], [f"v{n}" for n in range(50)]
    first, second = deduplicate(tmp_path, [[book(7, words), book(7, words)], [book(7, other), book(7, words)]])
    rows = first + second
    assert sorted(row["text"] for row in rows) == sorted([" ".join(words), " ".join(other)])
    assert len({row["id"] for row in rows}) == 2 and book(7, [])["id"] in {row["id"] for row in rows}


def test_small_indexes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(5)
    texts = [[rng.choice("abcdefghij") + str(rng.randrange(40)) for _ in range(400)] for _ in range(6)]
    rows = [book(n, variant(rng, texts[n % 6], 0.01)) for n in range(1, 25)]
    whole = deduplicate(tmp_path / "a", [rows])
    monkeypatch.setattr(books_dedup, "_INDEXED", 100)
    monkeypatch.setattr(books_dedup, "_TOGETHER", 5)
    assert deduplicate(tmp_path / "b", [rows]) == whole
    assert (tmp_path / "a" / "duplicates").read_bytes() == (tmp_path / "b" / "duplicates").read_bytes()
