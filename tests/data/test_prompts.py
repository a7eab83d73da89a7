"""Prompts: the columns, and what may be left out."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from data.prompts import CATEGORIES, PROMPTS, STYLES, PromptsConfig, read_prompts


def test_prompts_keep_category_style_and_reference(tmp_path: Path) -> None:
    plain = {"id": "a", "messages": [{"role": "user", "content": "one"}], "kind": "helpfulness", "split": "train"}
    unsafe = {"id": "b", "messages": [{"role": "user", "content": "two"}], "kind": "safety", "split": "validation"}
    unsafe |= {"category": CATEGORIES[0], "style": STYLES[0], "reference": "no"}
    (tmp_path / "p.jsonl").write_text(json.dumps(plain) + "\n" + json.dumps(unsafe))
    funnel = read_prompts(tmp_path / "p.jsonl", tmp_path / "out", PromptsConfig())
    train, held = (pq.read_table(tmp_path / "out" / f"{split}.parquet") for split in ("train", "validation"))
    assert train.schema == held.schema == PROMPTS
    assert [train.to_pylist()[0][name] for name in ("kind", "category", "style", "reference")] == [
        "helpfulness",
        None,
        None,
        None,
    ]
    assert held.to_pylist() == [{name: unsafe[name] for name in PROMPTS.names}]
    assert funnel.counts[f"safety: {CATEGORIES[0]}, {STYLES[0]}"] == 1
