"""A run that never happened: manifests of the shape that the store writes, for tests of the report."""

import json
import math
import random
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

SOURCES = {
    "commoncrawl": 0.67,
    "c4": 0.15,
    "github": 0.045,
    "wikipedia": 0.045,
    "books": 0.045,
    "arxiv": 0.025,
    "stackexchange": 0.02,
}
CHAINS = {
    "commoncrawl": [
        "lines",
        "language-scores",
        "language",
        "lm",
        "perplexity-scores",
        "perplexity",
        "reference-scores",
        "reference",
    ],
    "c4": ["dedup"],
    "github": ["dedup"],
    "books": ["dedup"],
}
WORDS = ("knotted", "cords", "of", "wool", "the", "keeper", "read", "aloud", "from", "mountain", "to", "coast")
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \u202egnp.exe\x00\x1b[31m </p></blockquote></section>"


@dataclass
class Artifact:
    manifest: dict[str, Any]
    directory: Path

    def path(self, name: str) -> Path:
        return self.directory / name


def fabricate(root: Path, steps: int = 400) -> tuple[dict[str, Artifact], dict[str, str]]:
    """(artifacts, states) of a whole pretraining run with one evaluation done and one pending."""
    draw = random.Random(7)
    artifacts: dict[str, Artifact] = {}

    def add(name: str, *parents: str, funnel=None, metrics=None, config=None) -> None:
        directory = root / name
        directory.mkdir(parents=True, exist_ok=True)
        artifacts[name] = Artifact(
            _manifest(name, parents, artifacts, funnel or {}, metrics or {}, config or {}, draw), directory
        )

    last = []
    for source in SOURCES:
        add(f"acquire-{source}")
        chain = [f"acquire-{source}", f"{source}-read", *(f"{source}-{step}" for step in CHAINS.get(source, []))]
        rows = draw.randint(20_000, 900_000)
        for parent, name in pairwise(chain):
            funnel = _funnel(name, rows, draw)
            add(
                name,
                parent,
                funnel=funnel,
                config={"sources": {source: {"min_sentences": 3, "languages": ["en", "fr"], "strict": True}}},
            )
            rows = funnel["rows_out"]
        last.append(chain[-1])
    add("near-dedup", *last, funnel=_funnel("near-dedup", 900_000, draw))
    add("eval-sets")
    add("decontaminate", "near-dedup", "eval-sets", funnel=_funnel("decontaminate", 800_000, draw))
    add("split", "decontaminate")
    add(
        "tokenizer",
        "split",
        metrics={
            "vocab_size": 32000,
            "sources": {
                source: {"documents": 900, "bytes": 1 << 20, "bytes_per_token": ratio, "tokens_per_word": 1.5}
                for source, ratio in zip(SOURCES, (3.87, 3.95, 3.33, 3.23, 3.01, 2.79, 2.87), strict=True)
            },
        },
    )
    mixture = {
        source: {
            "planned_share": share,
            "actual_share": share * draw.uniform(0.98, 1.02),
            "tokens": int(share * 9e8),
            "epochs": draw.uniform(0.6, 2.5),
        }
        for source, share in SOURCES.items()
    }
    add("mix", "split", "tokenizer", metrics={"mixture": mixture, "unigram_loss": 7.318})
    add("pretrain", "mix", "tokenizer", config={"pretrain": {"lr": 3e-4, "batch_tokens": 4194304, "warmup_steps": 2000}})
    write_curve(artifacts["pretrain"].directory / "metrics.jsonl", steps, draw)
    checkpoints = [_checkpoint(step, steps, draw) for step in range(0, steps + 1, max(1, steps // 8))]
    add("evaluate-base", "pretrain", "eval-sets", "split", metrics={"checkpoints": checkpoints})
    states = dict.fromkeys(artifacts, "done") | {"sft": "failed", "evaluate-sft": "pending"}
    return artifacts, states


def write_curve(path: Path, steps: int, draw: random.Random) -> None:
    """Training and validation rows as the training loop writes them."""
    with path.open("w") as out:
        for step in range(1, steps + 1):
            loss = 3.1 + 7.2 * math.exp(-step / steps * 6) + draw.gauss(0, 0.06)
            lr = 3e-4 * min(1.0, step / (steps * 0.05)) * (0.55 + 0.45 * math.cos(math.pi * step / steps))
            row = {"step": step, "loss": loss, "lr": lr, "grad_norm": abs(draw.gauss(0.9, 0.2)), "tokens_seen": step * 8192}
            out.write(json.dumps({**row, "tokens_per_second": draw.gauss(5200, 160), "mfu": draw.gauss(0.31, 0.01)}) + "\n")
            if step == 1 or step % max(1, steps // 20) == 0:
                base = 3.15 + 7.1 * math.exp(-step / steps * 6)
                values = {source: base + 0.12 * at - 0.3 for at, source in enumerate(SOURCES)}
                out.write(json.dumps({"step": step, "validation": {"all": base, **values}}) + "\n")


def _manifest(name: str, parents, artifacts, funnel, metrics, config, draw: random.Random) -> dict[str, Any]:
    fingerprint, digest = sha256(name.encode()).hexdigest()[:16], sha256(name.encode()).hexdigest()
    size, seconds = draw.randint(10**5, 10**9), math.exp(draw.uniform(0, 7))
    return {
        "stage": name, "version": 1, "fingerprint": fingerprint, "attempt": "a1", "digest": digest, "config": config,
        "files": [{"path": "part-00000.parquet", "size": size, "sha256": digest, "rows": 10}],
        "parents": [{key: artifacts[parent].manifest[key] for key in ("stage", "fingerprint", "digest")} for parent in parents],
        "funnel": funnel, "metrics": metrics, "code": {"digest": digest[:12]}, "packages": {"pyarrow": "26.0.1"},
        "seed": 42, "ranks": 1, "threads": 2, "wall_seconds": seconds, "cpu_seconds": seconds * 1.8,
        "peak_rss_mib": draw.uniform(100, 2000), "started": 1.76e9, "finished": 1.76e9 + 9000,
    }  # fmt: skip


def _funnel(name: str, rows: int, draw: random.Random) -> dict[str, Any]:
    rules = {"too few sentences": 0.13, "bad words": 0.02, "curly bracket": 0.04, "language below 0.5": 0.07}
    dropped = {rule: int(rows * share * draw.uniform(0.3, 1)) for rule, share in rules.items()}
    text = " ".join(draw.choice(WORDS) for _ in range(60)).capitalize() + "."
    samples = {
        rule: [[at, f"{name}:{at:016x}", f"{text}\n\n{HOSTILE if at == 1 else ''}"] for at in range(3)]
        for rule in ["kept", *dropped]
    }
    counts = {"lines removed": 81234, "unreadable records": 3}
    return {"rows_in": rows, "rows_out": rows - sum(dropped.values()), "dropped": dropped, "counts": counts, "samples": samples}


def _checkpoint(step: int, steps: int, draw: random.Random) -> dict[str, Any]:
    tasks = {}
    for task, chance in {"hellaswag": 0.25, "piqa": 0.5, "arc-easy": 0.25, "winogrande": 0.5}.items():
        accuracy = chance + 0.2 * step / steps + draw.uniform(-0.02, 0.02)
        tasks[task] = {"accuracy": accuracy, "ci95": [accuracy - 0.04, accuracy + 0.04], "chance": chance, "n": 600}
    perplexity = {
        source: {"loss": 3.2, "perplexity": 24.5, "bits_per_byte": 1.21, "tokens": 12345} for source in ["all", *SOURCES]
    }
    return {"step": step, "tasks": tasks, "perplexity": perplexity}
