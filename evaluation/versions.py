"""How a version of the chat model answers prompts that no stage has learnt from, as both reward models see it (L2 §3.2.3).

Every version answers the same prompts with the same seeds, one answer each. The prompts shown as samples are chosen by
their ids alone, so that versions, and the base model asked in plain text, can be read side by side.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from data.dialogue_lines import KINDS
from data.documents import CorpusError, ParquetWriter, read_rows
from data.section import Section
from model.gate import combined, sigmoid

if TYPE_CHECKING:
    from model.sampling import Prompt

ANSWERS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("kind", pa.string()),
        ("prompt", pa.string()),
        ("answer", pa.string()),
        ("tokens", pa.int32()),  # of the answer, `</s>` included
        ("finished", pa.bool_()),  # false: cut off
        ("helpfulness", pa.float64()),  # σ of what the reward model gives, as is safety
        ("safety", pa.float64()),
        ("combined", pa.float64()),  # R_c
        ("f1", pa.float64()),  # of the answer's words with those of the reference answer; null where there is none
    ]
)
RESAMPLES, AT_ONCE = 10_000, 500


class HeldOutConfig(Section):
    """How versions are asked. One answer to each prompt."""

    temperature: float = Field(0.0, ge=0)  # chosen: the most likely answer, so that versions differ and not their luck
    top_p: float = Field(1.0, gt=0, le=1)  # chosen
    max_new_tokens: int = Field(1024, gt=0)  # chosen
    prompts_per_kind: int = Field(1024, gt=0)  # chosen: at most so many, those with the lowest hashes of their ids
    samples_shown: int = Field(8, ge=0)  # chosen: prompts shown with their answers, of both kinds
    gate_threshold: float = Field(0.15, ge=0, le=1)  # L2 §3.2.3
    batch_size: int = Field(128, gt=0)  # chosen: answers drawn side by side
    batch_tokens: int = Field(16384, gt=0)  # chosen: tokens scored side by side


def answer_held_out(
    output: Path, *, model: Path, prompts: Path, helpfulness: Path, safety: Path, config: HeldOutConfig
) -> dict[str, Any]:
    """Answers of the model in folder `model` with their scores, as Parquet of ANSWERS. Runs on one core.

    Returns `held_out`, means over the prompts, and `samples`. Raises CorpusError if there is no prompt to ask.
    """
    import torch

    torch.set_num_threads(1)
    rows, left_out = _answered(model, prompts, config)
    references = _references(prompts)
    for row in rows:
        row["f1"] = _compared(row["answer"], references, row["prompt_id"])
    if not rows:
        raise CorpusError(prompts, "holds no prompt that fits into the model's context")
    for name, folder in (("helpfulness", helpfulness), ("safety", safety)):
        for row, logit in zip(rows, _scores(folder, rows, config), strict=True):
            row[name] = logit
    rewards = combined(
        [row["helpfulness"] for row in rows],
        [row["safety"] for row in rows],
        [row["kind"] == "safety" for row in rows],
        config.gate_threshold,
    )
    with ParquetWriter(output, ANSWERS) as writer:
        for row, reward in zip(rows, rewards, strict=True):
            row["helpfulness"], row["safety"] = sigmoid([row["helpfulness"], row["safety"]]).tolist()
            row["combined"] = float(reward)
            writer.append({name: row[name] for name in ANSWERS.names})
    shown = _shown(rows, config.samples_shown)
    samples = [{"id": row["prompt_id"], **{key: row[key] for key in ("kind", "prompt", "answer")}} for row in shown]
    return {"held_out": {**summary(rows), "too_long": left_out}, "samples": samples}


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean scores of rows of ANSWERS: by kind of prompt, and R_c over all with its 95 % interval."""
    record: dict[str, Any] = {}
    for kind in KINDS:
        own = [row for row in rows if row["kind"] == kind]
        means = {name: float(np.mean([row[name] for row in own])) if own else None for name in KINDS}
        record[kind] = {**means, "n": len(own)}
    rewards = np.array([row["combined"] for row in rows])
    return record | {
        "combined": float(rewards.mean()),
        "combined_ci95": list(bootstrap_mean(rewards)),
        "n": len(rows),
        "finished": float(np.mean([row["finished"] for row in rows])),
        "answer_tokens": float(np.mean([row["tokens"] for row in rows])),
        "answer_f1": mean_f1(row.get("f1") for row in rows),
    }


def mean_f1(values: Iterable[float | None]) -> dict[str, float] | None:
    """Mean word F1 of the answers that have a reference; None if no prompt has one."""
    found = [value for value in values if value is not None]
    return {"f1": float(np.mean(found)), "n": len(found)} if found else None


def word_f1(answer: str, reference: str) -> float:
    """F1 of the words that two texts share, case and punctuation aside, each counted as often as both have it (SQuAD)."""
    ours, theirs = (Counter(re.findall(r"\w+", text.lower())) for text in (answer, reference))
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean by the percentiles of resampled means."""
    draw = np.random.default_rng(seed)
    shape = (AT_ONCE, len(values))
    means = [values[draw.integers(0, len(values), shape)].mean(axis=1) for _ in range(RESAMPLES // AT_ONCE)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def base_answers(model: Path, prompts: Path, ids: Sequence[str], config: HeldOutConfig) -> list[dict[str, str]]:
    """What the base model makes of the prompts with these ids when they stand in plain text, in the order of the ids."""
    from data.documents import valid_text
    from evaluation.local_model import LocalModel

    wanted = set(ids)
    texts = {row["id"]: plain_text(row["messages"]) for row in read_rows([prompts], ["id", "messages"]) if row["id"] in wanted}
    opened = LocalModel.open(model)
    room = opened.model.config.context_length // 2  # the other half is the prompt's
    found = opened.generate(
        [texts[id] for id in ids],
        max_new_tokens=min(config.max_new_tokens, room),
        temperature=config.temperature,
        top_p=config.top_p,
        stop=("\nQuestion:",),
    )
    return [{"id": id, "answer": valid_text(answer).strip()} for id, answer in zip(ids, found, strict=True)]


def base_f1(model: Path, prompts: Path, config: HeldOutConfig) -> dict[str, float] | None:
    """As `answer_f1` of `summary`, for the base model, asked in plain text."""
    references = _references(prompts)
    asked = [row["id"] for row in _asked(prompts, config.prompts_per_kind) if row["id"] in references]
    answers = base_answers(model, prompts, asked, config) if asked else []
    return mean_f1(_compared(row["answer"], references, row["id"]) for row in answers)


def plain_text(messages: Sequence[dict[str, str]]) -> str:
    """A dialogue as a text that a base model may have met: `Question: …`, `Answer: …`; it ends where the answer begins."""
    names = {"user": "Question: ", "assistant": "Answer: ", "system": ""}
    said = [names[message["role"]] + message["content"].strip() for message in messages]
    return "\n".join([*said, "Answer:"])


def prompt_text(messages: Sequence[dict[str, str]]) -> str:
    """What a person reads of a prompt: the message, or the whole dialogue with the names of its roles."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in messages)


def _answered(folder: Path, prompts: Path, config: HeldOutConfig) -> tuple[list[dict[str, Any]], int]:
    """The prompts with the model's answers, in the order of the file; how many prompts were too long."""
    from data.tokenizer import Tokenizer
    from model.checkpoint_format import TOKENIZER, load_model
    from model.generate import Sampling
    from model.sampling import answer_text, answers, encode_prompts

    network, tokenizer = load_model(folder), Tokenizer.load(folder / TOKENIZER)
    asked = _asked(prompts, config.prompts_per_kind)
    fitting = encode_prompts(asked, tokenizer, network.config.context_length - 1, prompts)
    sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p)
    names = [f"held out:{prompt.id}" for prompt in fitting]
    drawn = answers(network, tokenizer, fitting, sampling, names, config.batch_size)
    rows = [
        _row(prompt, answer_text(tokenizer, one.tokens), len(one.tokens), one.stopped)
        for prompt, one in zip(fitting, drawn, strict=True)
    ]
    return rows, len(asked) - len(fitting)


def _references(prompts: Path) -> dict[str, str]:
    """Reference answers of the prompts about helpfulness by id: to refuse well there are many ways."""
    rows = read_rows([prompts], ["id", "kind", "reference"])
    return {row["id"]: row["reference"] for row in rows if row["kind"] == "helpfulness" and row["reference"]}


def _compared(answer: str, references: Mapping[str, str], id: str) -> float | None:
    return word_f1(answer, references[id]) if id in references else None


def _row(prompt: "Prompt", answer: str, tokens: int, finished: bool) -> dict[str, Any]:
    said = {"prompt": prompt_text(prompt.messages), "answer": answer, "tokens": tokens, "finished": finished}
    return {"prompt_id": prompt.id, "kind": prompt.kind, "messages": prompt.messages, **said}


def _asked(prompts: Path, most: int) -> list[dict[str, Any]]:
    """At most so many rows of each kind, in the order of the file."""
    kinds: dict[str, list[str]] = {}
    for row in read_rows([prompts], ["id", "kind"]):
        kinds.setdefault(row["kind"], []).append(row["id"])
    chosen = {id for ids in kinds.values() for id in _lowest(ids, most)}
    return [row for row in read_rows([prompts], ["id", "messages", "kind"]) if row["id"] in chosen]


def _shown(rows: Sequence[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """So many rows, each kind's share as even as there are rows, helpfulness first."""
    by_kind = [_lowest([row["prompt_id"] for row in rows if row["kind"] == kind], most) for kind in KINDS]
    turns = [id for place in range(most) for ids in by_kind for id in ids[place : place + 1]]
    chosen = {id: kind for kind, ids in zip(KINDS, by_kind, strict=True) for id in ids if id in turns[:most]}
    by_id = {row["prompt_id"]: row for row in rows}
    return [by_id[id] for id in chosen]


def _lowest(ids: Iterable[str], most: int) -> list[str]:
    return sorted(ids, key=lambda id: hashlib.sha256(f"held out {id}".encode()).digest())[:most]


def _scores(folder: Path, rows: Sequence[dict[str, Any]], config: HeldOutConfig) -> list[float]:
    from data.tokenizer import Tokenizer
    from model.chat_format import encode_exchange
    from model.checkpoint_format import TOKENIZER
    from model.reward_model import load_reward_model, score

    tokenizer = Tokenizer.load(folder / TOKENIZER)
    dialogues = [encode_exchange(tokenizer, row["messages"], row["answer"]) for row in rows]
    return score(load_reward_model(folder), dialogues, batch_tokens=config.batch_tokens)
