"""What PPO has gained, on prompts that it never saw: the same prompts and seeds before and after, paired (L2 §3.2.3).

Before is the model that PPO started from, after is the model it leaves, both read from disk. The file pairs them by
prompt, and the gain is the mean difference of R_c with an interval from resampling the prompts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from data.tokenizer import Tokenizer
from model.gate import sigmoid
from model.generate import Sampling, logprobs
from model.ppo_config import PpoConfig
from model.ppo_judge import Judge
from model.ppo_samples import Answer
from model.sampling import Prompt, answer_text, answers
from model.transformer import Transformer

HELD_OUT = pa.schema(
    [("prompt_id", pa.string()), ("kind", pa.string())]
    + [(f"{when}_{what}", pa.float64()) for when in ("before", "after") for what in ("helpfulness", "safety")]
    + [("before", pa.float64()), ("after", pa.float64()), ("kl", pa.float64())]
    + [(f"{when}_text", pa.string()) for when in ("before", "after")]
)
RESAMPLES = 10_000


def sample_held_out(
    model: Transformer, prompts: Sequence[Prompt], tokenizer: Tokenizer, judge: Judge, config: PpoConfig, seed: int
) -> list[dict[str, Any]]:
    """One answer of the model to each prompt, judged; the same on every rank. `kl` of a row is there to be set."""
    mine = prompts[dist.get_rank() :: dist.get_world_size()]
    sampling = Sampling(config.max_new_tokens, config.temperature)
    names = [f"held out:{seed}:{prompt.id}" for prompt in mine]
    drawn = answers(model, tokenizer, mine, sampling, names, config.sampling_rows)
    found = [Answer(prompt, one.tokens, one.stopped, one.logprobs) for prompt, one in zip(mine, drawn, strict=True)]
    judge.judge(found)
    everyone: list[list[dict[str, Any]]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(everyone, [_row(answer, tokenizer) for answer in found])
    return [everyone[number % len(everyone)][number // len(everyone)] for number in range(len(prompts))]


def divergence(policy: Transformer, reference: Transformer, rows: list[dict[str, Any]], temperature: float) -> list[float]:
    """Estimate of KL(π‖π₀) in nats on each answer of the policy: Σ (log π − log π₀) over its tokens; every rank has all."""
    mine = rows[dist.get_rank() :: dist.get_world_size()]
    sequences = [row["prompt_ids"] + row["tokens"] for row in mine]
    found = [logprobs(model, sequences, temperature=temperature) for model in (policy, reference)]
    sums = torch.zeros(len(rows), dtype=torch.float64)
    for number, (row, ours, theirs) in enumerate(zip(mine, *found, strict=True)):
        count = len(row["tokens"])
        sums[dist.get_rank() + number * dist.get_world_size()] = (ours[-count:].double() - theirs[-count:].double()).sum()
    dist.all_reduce(sums)
    return sums.tolist()


def write_pairs(path: Path, before: list[dict[str, Any]], after: list[dict[str, Any]], kl: list[float]) -> None:
    """The paired file of HELD_OUT; scores are probabilities."""
    rows = []
    for was, now, drift in zip(before, after, kl, strict=True):
        row = {"prompt_id": was["prompt_id"], "kind": was["kind"], "kl": drift}
        for when, one in (("before", was), ("after", now)):
            row |= {f"{when}_{what}": one[what] for what in ("helpfulness", "safety", "text")} | {when: one["reward"]}
        rows.append(row)
    pq.write_table(pa.Table.from_pylist(rows, schema=HELD_OUT), path, compression="zstd")


def reward_gain(path: Path, seed: int = 0) -> dict[str, float]:
    """Mean gain of R_c over the prompts of a paired file, its 95 % interval by bootstrap, and the mean KL in nats."""
    table = pq.read_table(path)
    before, after = (table[name].to_numpy() for name in ("before", "after"))
    gains = after - before
    draws = np.random.default_rng(seed).integers(0, len(gains), (RESAMPLES, len(gains)), dtype=np.int32)
    low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
    return {
        "prompts": len(gains),
        "before": float(before.mean()),
        "after": float(after.mean()),
        "gain": float(gains.mean()),
        "low": float(low),
        "high": float(high),
        "kl": float(table["kl"].to_numpy().mean()),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over held-out answers, for the log."""
    means = {what: float(np.mean([row[what] for row in rows])) for what in ("reward", "helpfulness", "safety")}
    lengths = [len(row["tokens"]) for row in rows]
    return {
        **means,
        "response_tokens": float(np.mean(lengths)),
        "unfinished": float(np.mean([not row["finished"] for row in rows])),
    }


def _row(answer: Answer, tokenizer: Tokenizer) -> dict[str, Any]:
    helpful, safe = sigmoid([answer.helpfulness, answer.safety]).tolist()
    return {
        "prompt_id": answer.prompt.id,
        "kind": answer.prompt.kind,
        "helpfulness": helpful,
        "safety": safe,
        "reward": answer.reward,
        "text": answer_text(tokenizer, answer.tokens),
        "tokens": answer.tokens,
        "finished": answer.finished,
        "prompt_ids": answer.prompt.ids,
    }
