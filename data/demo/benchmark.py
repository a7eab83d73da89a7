"""The held-out benchmark of the demonstration: which of four summaries is that of a function?

The wrong answers are summaries of other functions of the same package, of similar length. The corpora say what each
function does, but nowhere in the form of these questions.
"""

import json
from pathlib import Path
from random import Random

from data.demo.deal import Material
from data.demo.docstring import FunctionDoc

CHOICES = 4
NEIGHBOURS = 24  # the wrong answers are drawn from that many summaries nearest in length


def write(folder: Path, material: Material) -> dict[str, int]:
    """Write `functions.jsonl`: dev questions first, then validation and test."""
    random = material.random("benchmark")
    config = material.config
    known = random.sample(material.known, len(material.known))
    dev = min(config.dev_questions, max(4, len(known) // 10))
    splits = ["dev"] * dev + [("validation", "test")[index % 2] for index in range(len(known) - dev)]
    lines = []
    for split, doc in zip(splits, known, strict=True):
        others = [other for other in material.known if other.package == doc.package and other is not doc]
        if len(others) >= CHOICES - 1:
            lines.append(json.dumps(_question(doc, others, split, random), ensure_ascii=False) + "\n")
    (folder / "functions.jsonl").write_bytes("".join(lines).encode())
    return {"benchmark_questions": len(lines)}


def _question(doc: FunctionDoc, others: list[FunctionDoc], split: str, random: Random) -> dict[str, object]:
    near = sorted(others, key=lambda other: (abs(len(other.summary) - len(doc.summary)), other.qualified))[:NEIGHBOURS]
    choices = [doc.summary, *(other.summary for other in random.sample(near, CHOICES - 1))]
    random.shuffle(choices)
    return {
        "id": f"functions-{doc.qualified}",
        "question": f"What does {doc.qualified} do?",
        "cloze": f"{doc.name} from {doc.module}:",
        "choices": choices,
        "answer": choices.index(doc.summary),
        "function": doc.qualified,
        "split": split,
    }
