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
    """Write `functions.jsonl` (questions) and `summaries.jsonl` (the same as sentences to go on with), dev items first."""
    random = material.random("benchmark")
    config = material.config
    known = random.sample(material.known, len(material.known))
    dev = min(config.dev_questions, max(4, len(known) // 10))
    splits = ["dev"] * dev + [("validation", "test")[index % 2] for index in range(len(known) - dev)]
    questions, openings = [], []
    side = {doc.qualified: split for split, doc in zip(splits, known, strict=True)}
    for split, doc in zip(splits, known, strict=True):
        others = [other for other in known if other.package == doc.package and other is not doc]
        # wrong answers of the same split: a model tuned on the other splits must not know them better than the right one
        alike = [other for other in others if side[other.qualified] == split]
        others = alike if len(alike) >= CHOICES - 1 else others
        if len(others) >= CHOICES - 1:
            item = _item(doc, others, split, random)
            questions.append(item | {"id": f"functions-{doc.qualified}", "question": f"What does {doc.qualified} do?"})
            openings.append(item | {"id": f"summaries-{doc.qualified}", "question": f"{doc.name} from {doc.module}:"})
    for name, items in (("functions", questions), ("summaries", openings)):
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in items]
        (folder / f"{name}.jsonl").write_bytes("".join(lines).encode())
    return {"benchmark_questions": len(questions)}


def _item(doc: FunctionDoc, others: list[FunctionDoc], split: str, random: Random) -> dict[str, object]:
    near = sorted(others, key=lambda other: (abs(len(other.summary) - len(doc.summary)), other.qualified))[:NEIGHBOURS]
    choices = [doc.summary, *(other.summary for other in random.sample(near, CHOICES - 1))]
    random.shuffle(choices)
    return {
        "choices": choices,
        "answer": choices.index(doc.summary),
        "function": doc.qualified,
        "split": split,
    }
