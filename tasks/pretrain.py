"""`pretrain`: the mixture's rows to a base model on training ranks (L1 §2.2-2.4)."""

from tasks.stage import StageContext
from tasks.training import run_ranks, validation_losses


def train_base(context: StageContext) -> None:
    """Train, and record how far the held-out loss fell."""
    from model.pretrain_config import PretrainJob

    mixture = context.inputs["mix"]
    metrics = run_ranks(
        context,
        "model.pretrain_rank",
        PretrainJob,
        rows=mixture.paths("rows-*.parquet"),
        validation=mixture.paths("validation-*.parquet"),
        tokenizer=context.inputs["tokenizer"].path("tokenizer.model"),
        model=context.config["model"],
        pretrain=context.config["pretrain"],
    )
    steps, checks = [row for row in metrics if "loss" in row], validation_losses(metrics)
    last = steps[-1]
    headline = f"held-out loss {checks[0]:.3f} → {checks[-1]:.3f} nats" if checks else f"loss {last['loss']:.3f}"
    context.metrics.update(steps=last["step"], tokens=last["tokens_seen"], training_loss=last["loss"], headline=headline)
    if checks:
        context.metrics.update(validation_loss_first=checks[0], validation_loss_last=checks[-1])
