"""Rejection sampling: of K answers to a prompt the one with the highest reward is learnt from (L2 §3.2.3).

What is selected is instruction data, and a new version is tuned on it from the base model, like SFT; selections of
earlier rounds are pooled with it (L2: using the last round's alone made the model regress). Reported are the expected
maximum and median reward of N of the K answers (L2 Fig. 7-8), exactly, over all subsets.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import comb
from pathlib import Path
from statistics import fmean
from typing import Any

from data.documents import ParquetWriter, read_rows
from data.funnel import Funnel
from data.instructions import INSTRUCTIONS
from model.chat_format import RESERVED
from model.gate import combined, sigmoid
from model.rejection_config import RejectionConfig


def select_best(
    output: Path,
    *,
    scored: Sequence[Path],
    prompts: Sequence[Path],
    config: RejectionConfig,
    round: int = 1,
    earlier: Sequence[Path] = (),
) -> Funnel:
    """Write instruction data: the best answer to every prompt, then the selections of earlier rounds, repeats left out.

    `scored` are files of SCORED, `prompts` the files of the prompts, `earlier` what this function wrote in earlier rounds.
    """
    funnel = Funnel()
    messages = {row["id"]: row["messages"] for row in read_rows(prompts, ["id", "messages"])}
    with ParquetWriter(output, INSTRUCTIONS) as writer:
        seen: set[tuple[str, str]] = set()
        for row in _chosen(scored, prompts, config, round, messages, funnel):
            seen.add(_said(row))
            writer.append(row)
            funnel.keep(row["id"], row["messages"][-1]["content"])
        for row in read_rows(earlier):
            if _said(row) in seen:
                funnel.drop("repeats a later round", row["id"], row["messages"][-1]["content"])
                continue
            seen.add(_said(row))
            writer.append(row)
            funnel.keep(row["id"], row["messages"][-1]["content"])
    return funnel


def reward_by_number(scored: Sequence[Path], prompts: Sequence[Path], config: RejectionConfig) -> dict[str, Any]:
    """Expected maximum and median reward (R_c, 0 to 1) of N answers, N = 1..K, mean over the prompts.

    `best_of_k_gain` is what the best of K has over one answer. Prompts with fewer than K answers are left out.
    """
    by_prompt = [[reward for reward, _ in found] for found in _rewards(scored, prompts, config).values()]
    most = max(map(len, by_prompt), default=0)
    whole = [sorted(rewards) for rewards in by_prompt if len(rewards) == most]
    maximum = [fmean(expected_maximum(rewards, number) for rewards in whole) for number in range(1, most + 1)]
    median = [fmean(expected_median(rewards, number) for rewards in whole) for number in range(1, most + 1)]
    gain = maximum[-1] - maximum[0] if maximum else None
    return {"prompts": len(whole), "samples": most, "maximum": maximum, "median": median, "best_of_k_gain": gain}


def expected_maximum(rewards: Sequence[float], number: int) -> float:
    """Mean over all subsets of `number` of their largest; `rewards` ascending."""
    subsets = comb(len(rewards), number)
    return sum(reward * comb(below, number - 1) / subsets for below, reward in enumerate(rewards))


def expected_median(rewards: Sequence[float], number: int) -> float:
    """Mean over all subsets of `number` of their median (of an even number: the mean of the middle two)."""
    subsets, total = comb(len(rewards), number), 0.0
    middles = {(number - 1) // 2, number // 2}  # how many of the subset lie below a middle value
    for lower in middles:
        for below, reward in enumerate(rewards):
            total += reward * comb(below, lower) * comb(len(rewards) - below - 1, number - lower - 1) / subsets
    return total / len(middles)


def _chosen(
    scored: Sequence[Path],
    prompts: Sequence[Path],
    config: RejectionConfig,
    round: int,
    messages: dict[str, list[dict[str, str]]],
    funnel: Funnel,
) -> Iterable[dict[str, Any]]:
    """The best answer to each prompt as a row of INSTRUCTIONS, in the order of the samples."""
    for prompt, found in _rewards(scored, prompts, config).items():
        funnel.count("samples", len(found))
        usable = [(reward, sample) for reward, sample in found if sample["finished"] or not config.finished_only]
        sayable = [(reward, sample) for reward, sample in usable if _sayable(sample["text"])]
        if not sayable:
            funnel.drop("no answer to learn from" if usable else "no finished answer", prompt)
            continue
        _, best = max(sayable, key=lambda pair: (pair[0], -pair[1]["sample"]))
        said = [*messages[prompt], {"role": "assistant", "content": best["text"]}]
        yield {"id": f"{prompt}/round-{round}", "source": f"round-{round}", "messages": said}


def _rewards(
    scored: Sequence[Path], prompts: Sequence[Path], config: RejectionConfig
) -> dict[str, list[tuple[float, dict[str, Any]]]]:
    """Every sample with its reward, by prompt."""
    is_safety = {row["id"]: row["kind"] == "safety" for row in read_rows(prompts, ["id", "kind"])}
    found = defaultdict(list)
    for row in read_rows(scored):
        safety = is_safety[row["prompt_id"]]
        if config.select_by == "gate":
            (reward,) = combined([row["helpfulness"]], [row["safety"]], [safety], config.gate_threshold)
        else:
            (reward,) = sigmoid([row["safety" if safety else "helpfulness"]])
        found[row["prompt_id"]].append((float(reward), row))
    return found


def _sayable(text: str) -> bool:
    """Whether a text can stand as an assistant's message."""
    return bool(text) and not any(tag in text for tag in RESERVED)


def _said(row: dict[str, Any]) -> tuple[str, str]:
    """Prompt and answer, whatever round they come from."""
    return str([(message["role"], message["content"]) for message in row["messages"][:-1]]), row["messages"][-1]["content"]
