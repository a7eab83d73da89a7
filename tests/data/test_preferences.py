"""Preference pairs: the columns, the safety bins, and the pairs that the paper leaves out."""

import json
from itertools import product
from pathlib import Path

import pyarrow.parquet as pq

from data.preferences import PREFERENCES, RATINGS, UNSAFE_CHOSEN, PreferencesConfig, read_preferences


def pair(number: int, chosen_safe: bool, rejected_safe: bool, rating: str) -> dict[str, object]:
    return {
        "id": f"{number}",
        "messages": [{"role": "user", "content": f"question {number}"}],
        "chosen": "one",
        "rejected": "two",
        "rating": rating,
        "chosen_safe": chosen_safe,
        "rejected_safe": rejected_safe,
        "kind": "safety",
        "batch": "2023-W14",
        "split": "train",
    }


def test_pairs_with_an_unsafe_choice_are_dropped_whether_bad_lines_are_or_not(tmp_path: Path) -> None:
    cases = list(product((True, False), (True, False), RATINGS))
    records = [pair(number, *case) for number, case in enumerate(cases)]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, records)))
    for skip in (True, False):
        funnel = read_preferences(tmp_path / "p.jsonl", tmp_path / "out", PreferencesConfig(skip_bad_lines=skip))
        table = pq.read_table(tmp_path / "out" / "train.parquet")
        assert table.schema == PREFERENCES and funnel.dropped == {UNSAFE_CHOSEN: len(RATINGS)}
        kept = [record for record in records if record["chosen_safe"] or not record["rejected_safe"]]
        expected = [{name: record[name] for name in PREFERENCES.names} for record in kept]
        assert table.to_pylist() == expected
        counts = {name: n for name, n in funnel.counts.items() if name.startswith("safety: ") and "better" not in name}
        assert counts == dict.fromkeys(("safety: both safe", "safety: both unsafe", "safety: chosen safe, other not"), 4)
