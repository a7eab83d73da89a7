"""From base model to chat model: SFT, two reward models, rejection sampling, PPO (L2 §3)."""

import math
from pathlib import Path
from typing import Any

from tasks.stage import Shard, StageContext, StageFailed
from tasks.training import model_of, run_ranks, validation_losses

CHANCE_DEVIATIONS = 1.3  # what nine coins in ten stay below: a reward model that does not reach it has learnt nothing (chosen)


def read_instructions(context: StageContext) -> None:
    """Instruction files to dialogues, some held out."""
    from data.instructions import read_instructions as read

    _read(context, read, "instructions.read")


def read_preferences(context: StageContext) -> None:
    """Comparison files to pairs, a part of each batch held out."""
    from data.preferences import read_preferences as read

    _read(context, read, "preferences.read")


def read_prompts(context: StageContext) -> None:
    """Prompt files to prompts, some held out."""
    from data.prompts import read_prompts as read

    _read(context, read, "prompts.read")


def tune_on_instructions(context: StageContext) -> None:
    """`sft`: the base model learns to answer (L2 §3.1)."""
    _tune(context, "sft", [context.inputs["instructions-read"].path("data/train.parquet")])


def tune_on_selected(context: StageContext) -> None:
    """`round<N>-tune`: a new version from the base model, on the best answers of all rounds so far (L2 §3.2.3)."""
    section = context.stage.reads[0]
    (selected,) = [artifact for name, artifact in context.inputs.items() if name.endswith("-select")]
    files = [selected.path("selected.parquet")]
    if context.config[section.replace(".tune", ".with_instructions")]:
        files.append(context.inputs["instructions-read"].path("data/train.parquet"))
    _tune(context, section, files)


def train_helpfulness_reward(context: StageContext) -> None:
    """`reward-helpfulness` (L2 §3.2.2)."""
    _train_reward(context, "helpfulness")


def train_safety_reward(context: StageContext) -> None:
    """`reward-safety` (L2 §3.2.2)."""
    _train_reward(context, "safety")


def sample_answers(context: StageContext) -> None:
    """`round<N>-sample`: K answers to every prompt, scored by both reward models; held-out prompts only to measure."""
    from model.rejection import reward_by_number
    from model.rejection_config import RejectionConfig

    section = context.stage.reads[0]
    config, select = context.config[section], context.config[section.replace(".sample", ".select")]
    assert isinstance(select, RejectionConfig)
    prompts = context.inputs["prompts-read"]
    _sample(context, prompts.path("data/train.parquet"), "train", config, keep=True)
    held_out = prompts.path("data/validation.parquet")
    measured = _sample(context, held_out, "held-out", config, keep=False)
    figures = reward_by_number(measured, [held_out], select)
    context.metrics["reward_by_number"] = figures
    if figures["best_of_k_gain"] is not None:
        context.metrics["headline"] = (
            f"best of {figures['samples']} is {figures['best_of_k_gain']:+.3f} in reward on held-out prompts"
        )


def select_answers(context: StageContext) -> None:
    """`round<N>-select`: the best answer to every prompt, pooled with those of earlier rounds."""
    from model.rejection import select_best

    section = context.stage.reads[0]
    number = int(section.split(".")[1]) + 1
    scored = [
        path
        for name, artifact in context.inputs.items()
        if name.endswith("-sample")
        for path in artifact.paths("train/*.parquet")
    ]
    earlier = [artifact.path("selected.parquet") for name, artifact in context.inputs.items() if name.endswith("-select")]
    prompts = [context.inputs["prompts-read"].path("data/train.parquet")]
    kwargs = {"scored": scored, "prompts": prompts, "config": context.config[section], "round": number, "earlier": earlier}
    context.map(select_best, [Shard("selected.parquet", kwargs)])


def tune_by_ppo(context: StageContext) -> None:
    """`round<N>-ppo`: PPO on both reward models, measured on held-out prompts before and after (L2 §3.2.3)."""
    from model.ppo_config import PpoJob
    from model.ppo_heldout import reward_gain

    policy = next(name for name in context.inputs if name == "sft" or name.endswith(("-tune", "-ppo")))
    prompts = context.inputs["prompts-read"]
    metrics = run_ranks(
        context,
        "model.ppo_rank",
        PpoJob,
        prompts=prompts.path("data/train.parquet"),
        validation=prompts.path("data/validation.parquet"),
        policy=model_of(context, policy),
        helpfulness=model_of(context, "reward-helpfulness"),
        safety=model_of(context, "reward-safety"),
        ppo=context.config[context.stage.reads[0]],
    )
    gain = reward_gain(context.directory / "heldout_rewards.parquet")
    held_out = [row for row in metrics if row.get("kind") == "heldout"]
    first, last = held_out[0], held_out[-1]
    context.metrics.update(
        ppo_reward_gain=gain["gain"],
        ppo_reward_gain_ci95=[gain["low"], gain["high"]],
        ppo_kl=gain["kl"],
        helpfulness_gain=last["helpfulness"] - first["helpfulness"],
        safety_gain=last["safety"] - first["safety"],
        before=gain["before"],
        after=gain["after"],
        prompts=gain["prompts"],
        iterations=max((row["step"] for row in metrics if row.get("kind") == "iteration"), default=0),
        headline=f"held-out reward {gain['before']:.3f} → {gain['after']:.3f} "
        f"({gain['low']:+.3f} to {gain['high']:+.3f}), KL {gain['kl']:.2f}",
    )


def _read(context: StageContext, read: Any, section: str) -> None:
    files = [file.path for file in context.raw]
    context.map(read, [Shard("data/", {"paths": files, "config": context.config[section]})])


def _tune(context: StageContext, section: str, files: list[Path]) -> None:
    from model.sft_config import SftJob

    metrics = run_ranks(
        context,
        "model.sft_rank",
        SftJob,
        instructions=files,
        validation=[context.inputs["instructions-read"].path("data/validation.parquet")],
        base=model_of(context, "pretrain"),
        sft=context.config[section],
    )
    checks, steps = validation_losses(metrics), [row["step"] for row in metrics if "loss" in row]
    context.metrics["steps"] = steps[-1]
    if checks:
        context.metrics.update(answer_loss_before=checks[0], answer_loss_after=checks[-1])
        context.metrics["headline"] = f"held-out answer loss {checks[0]:.3f} → {checks[-1]:.3f} nats"


def _train_reward(context: StageContext, kind: str) -> None:
    from model.reward_config import RewardJob

    comparisons = context.inputs["preferences-read"]
    metrics = run_ranks(
        context,
        "model.reward_rank",
        RewardJob,
        kind=kind,
        preferences=[comparisons.path("data/train.parquet")],
        validation=[comparisons.path("data/validation.parquet")],
        base=model_of(context, "sft"),
        reward=context.config[f"reward.{kind}"],
    )
    measured = [row for row in metrics if row.get("accuracy")]
    if not measured:
        raise StageFailed(f"{context.stage.name}: no comparison is held out; raise preferences.read.validation")
    last = measured[-1]
    own, length = last["accuracy"][kind], last["length_baseline"]["accuracy"]
    pairs = last["pairs_held_out"]
    chance = 0.5 + CHANCE_DEVIATIONS * 0.5 / math.sqrt(max(1, pairs))
    if own < chance:
        raise StageFailed(
            f"{context.stage.name}: accuracy on {pairs} held-out comparisons is {own:.3f}, and a coin may reach {chance:.3f}: "
            f"the reward model has learnt nothing, so the round stops here. Raise reward.{kind}.lr or epochs, or look at the "
            "comparisons: quipu show preferences-read"
        )
    context.metrics.update({key: last[key] for key in ("accuracy", "length_baseline", "unsafe_recall", "pairs_held_out")})
    context.metrics.update(own_accuracy=own, length_accuracy=length)
    context.metrics["headline"] = f"held-out accuracy {own:.1%} (by length alone {length:.1%})"


def _sample(context: StageContext, prompts: Path, side: str, config: Any, *, keep: bool) -> list[Path]:
    """Blocks of prompts, answered and scored; each block commits whole."""
    import pyarrow.parquet as pq

    from model.sampling import sample_block, score_block

    newest = next(name for name in context.inputs if name == "sft" or name.endswith(("-tune", "-ppo")))
    count = pq.read_metadata(str(prompts)).num_rows
    if config.max_prompts is not None:
        count = min(count, config.max_prompts)
    model = model_of(context, newest)
    blocks = [(start, min(start + config.block_prompts, count)) for start in range(0, count, config.block_prompts)]
    common = {"prompts": prompts, "config": config}
    sampling = [
        Shard(f"answers/{side}-{i:05d}.parquet", {"model": model, "start": start, "stop": stop, "seed": context.seed, **common})
        for i, (start, stop) in enumerate(blocks)
    ]
    sampled = context.map(sample_block, sampling, keep=False)
    answers = [result.path for result in sampled]
    too_long = sum(result.value["too_long"] for result in sampled)
    if too_long == count:
        raise StageFailed(
            f"{context.stage.name}: no {side} prompt is short enough to leave {config.max_new_tokens} tokens of the context for "
            f"an answer; shorten the prompts, lower {context.stage.reads[0]}.max_new_tokens or raise model.context_length"
        )
    if too_long:
        context.report(f"{too_long:,} of {count:,} {side} prompts are left out: too long to leave room for an answer")
    judges = {"helpfulness": model_of(context, "reward-helpfulness"), "safety": model_of(context, "reward-safety")}
    scoring = [Shard(f"{side}/block-{i:05d}.parquet", {"samples": path, **judges, **common}) for i, path in enumerate(answers)]
    return [result.path for result in context.map(score_block, scoring, keep=keep)]
