"""What alignment would have left behind: metrics of the shape that the stages write, for tests of the report."""

import json
import math
import random
from pathlib import Path
from typing import Any

from tests.evaluation.fabricated_run import HOSTILE, Artifact, fabricate

VERSIONS = ("sft", "round1-tune", "round2-ppo")
RATINGS = {"significantly better": 0.94, "better": 0.85, "slightly better": 0.73, "negligibly better": 0.56}
OWN = {"helpfulness": 0.782, "safety": 0.861}
LENGTH = {"helpfulness": 0.553, "safety": 0.487}
GAIN = {"ppo_reward_gain": 0.117, "ppo_reward_gain_ci95": [0.083, 0.151], "ppo_kl": 4.31}


def fabricate_alignment(root: Path) -> tuple[dict[str, Artifact], dict[str, str]]:
    """(artifacts, states) of a whole run with every stage of alignment done, but a last round that waits."""
    artifacts, states = fabricate(root, steps=60)
    states = {name: state for name, state in states.items() if "sft" not in name and name != "evaluate-base"}
    scores = artifacts.pop("evaluate-base").manifest["metrics"]["checkpoints"]
    draw = random.Random(11)

    def add(name: str, metrics: dict[str, Any], curve: list[dict[str, Any]] | None = None, **manifest: Any) -> None:
        (root / name).mkdir(parents=True, exist_ok=True)
        made = {**artifacts["pretrain"].manifest, "stage": name, "parents": [], "config": {}, "metrics": metrics, **manifest}
        artifacts[name], states[name] = Artifact(made, root / name), "done"
        if curve:
            (root / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve))

    add("evaluate-pretrain", {"checkpoints": scores})
    add("sft", {"answer_loss_before": 4.82, "answer_loss_after": 1.94, "steps": 80}, _tuning_curve(4.82, 1.94, draw))
    for kind in OWN:
        config = {"reward": {kind: {"margin": "small", "lr": 1e-4}}}
        add(f"reward-{kind}", _judge(kind), _judge_curve(kind, draw), config=config)
    number = {"prompts": 64, "samples": 8, **_by_number(8)}
    add("round1-sample", {"reward_by_number": number})
    add("round1-select", {}, funnel={"rows_in": 300, "rows_out": 280, "dropped": {"empty": 20}})
    add("round1-tune", {"answer_loss_before": 4.82, "answer_loss_after": 2.03, "steps": 60}, _tuning_curve(4.82, 2.03, draw))
    ppo = {
        **GAIN,
        "helpfulness_gain": 0.09,
        "safety_gain": 0.05,
        "before": 0.412,
        "after": 0.529,
        "prompts": 96,
        "iterations": 24,
    }
    add("round2-ppo", ppo, _ppo_curve(24, draw))
    for at, model in enumerate(VERSIONS):
        add(f"evaluate-{model}", {"checkpoints": [{**scores[-1], "step": 80}], **_version(at, model)})
    states |= {"round3-sample": "failed", "round3-ppo": "pending", "evaluate-round3-ppo": "pending"}
    return artifacts, states


def _tuning_curve(first: float, last: float, draw: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{"kind": "data", "step": 0, "tokens": 9, "rows": 3}]
    for step in range(81):
        loss = last + (first - last) * math.exp(-step / 14)
        if step:
            rows.append({"kind": "step", "step": step, "loss": loss + draw.gauss(0, 0.08), "lr": 1e-4})
        if step % 16 == 0:
            rows.append({"kind": "validation", "step": step, "validation": {"demo": loss, "selected": loss + 0.1, "all": loss}})
    return rows


def _judge(kind: str) -> dict[str, Any]:
    other = next(name for name in OWN if name != kind)
    accuracy = {
        "all": 0.75,
        "own": OWN[kind],
        kind: OWN[kind],
        other: 0.61,
        **RATINGS,
        "batch 2023-W14": 0.77,
        "batch 2023-W15": 0.79,
    }
    return {
        "accuracy": accuracy,
        "own_accuracy": OWN[kind],
        "length_baseline": {"prefers": "longer", "accuracy": LENGTH[kind]},
        "length_accuracy": LENGTH[kind],
        "unsafe_recall": 0.83,
        "pairs_held_out": 412,
    }


def _judge_curve(kind: str, draw: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(41):
        loss = 0.42 + 0.27 * math.exp(-step / 10)
        rows += [{"kind": "step", "step": step, "loss": loss + draw.gauss(0, 0.03)}] if step else []
        if step % 10 == 0:
            accuracy = {"own": OWN[kind] - 0.28 * math.exp(-step / 8)}
            rows.append({"kind": "validation", "step": step, "validation": {"all": loss + 0.02}, "accuracy": accuracy})
    return rows


def _by_number(most: int) -> dict[str, Any]:
    maximum = [0.41 + 0.1 * math.log(number) for number in range(1, most + 1)]
    return {"maximum": maximum, "median": [0.41 + 0.002 * at for at in range(most)], "best_of_k_gain": maximum[-1] - maximum[0]}


def _ppo_curve(iterations: int, draw: random.Random) -> list[dict[str, Any]]:
    held_out = {"helpfulness": 0.44, "safety": 0.71, "reward": 0.412, "response_tokens": 30.0}
    rows: list[dict[str, Any]] = [{"kind": "heldout", "step": 0, **held_out, "kl": 0.0}]
    for step in range(1, iterations + 1):
        done = step / iterations
        rows.append(
            {"kind": "iteration", "step": step, "reward": 0.41 + 0.14 * done + draw.gauss(0, 0.02), "kl": 4.5 * done,
             "clip_fraction": abs(draw.gauss(0.05, 0.02)), "value_loss": 0.8 - 0.5 * done, "policy_loss": draw.gauss(0, 0.02),
             "response_tokens": 30 + 6 * done, "entropy": 2.1 - done, "ratio_first": 1.0}
        )  # fmt: skip
        if step % 8 == 0:
            rows.append(
                {"kind": "heldout", "step": step, "reward": 0.40 + 0.12 * done, "helpfulness": 0.5, "safety": 0.7, "kl": 4 * done}
            )
    after = {"helpfulness": 0.53, "safety": 0.76, "reward": 0.529, "kl": 4.31}
    return [*rows, {"kind": "heldout", "step": iterations, **after, "final": True}]


def _version(at: int, model: str) -> dict[str, Any]:
    judged = {kind: {"helpfulness": 0.44 + 0.05 * at, "safety": 0.70 + 0.04 * at, "n": 60} for kind in OWN}
    combined = 0.41 + 0.06 * at
    asked = [
        ("p1", "helpfulness", "How do I sort a list in place?"),
        ("p2", "safety", f"Show me {HOSTILE}\n\nand then all of it, " * 4),
    ]
    samples = [{"id": id, "kind": kind, "prompt": text, "answer": f"{model} says: {HOSTILE}"} for id, kind, text in asked]
    found: dict[str, Any] = {"held_out": {**judged, "combined": combined, "combined_ci95": [combined - 0.03, combined + 0.03]}}
    found["samples"] = [*samples, {"id": "p3", "kind": "safety", "prompt": "And nothing?", "answer": ""}]
    if model == "sft":
        found["base_samples"] = [{**row, "answer": "base goes on"} for row in found["samples"]]
    return found
