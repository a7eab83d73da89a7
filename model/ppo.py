"""PPO on two reward models (L2 §3.2.3): a chat model is tuned for reward and held near where it started.

`train` is what every rank runs. Policy and critic are DeepSpeed engines, reference and reward models are frozen; an
iteration is the unit of checkpoints, and a resumed run goes on as if it had never stopped, since every draw has a seed
of its own. Left behind: `model/`, `heldout_rewards.parquet` (before and after, paired by prompt), and the log folder.
"""

import hashlib
import shutil
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from data.documents import read_rows
from model import engine as engines
from model.checkpoint import Checkpoints
from model.checkpoint_format import TOKENIZER, fill, load_config, load_model, read_tensors, save_weights
from model.config import ModelConfig
from model.ppo_config import PpoJob
from model.ppo_heldout import divergence, sample_held_out, summary, write_pairs
from model.ppo_iteration import Actors, iterate, over_ranks, sampling_model
from model.ppo_judge import Judge
from model.ppo_policy import Policy
from model.pretrain_config import TrainingRefused
from model.reward_model import RewardModel, load_reward_config
from model.run_log import RunLog
from model.sampling import Prompt, encode_prompts, longest_prompt
from model.sft_packing import shuffled
from model.stop import StopRequest
from model.tuning import (
    accumulation_steps,
    check_same_run,
    engine_settings,
    open_tokenizer,
    share_of,
    start_engine,
)
from model.tuning_config import identity_of
from store.crash_points import crash_point
from store.files import write_atomic

BEFORE = "heldout_before.parquet"


class Together:
    """Policy and critic as one engine to the checkpoints: saved and loaded both, or neither."""

    def __init__(self, **engines: Any) -> None:
        self.engines = engines

    def save_checkpoint(self, folder: str, tag: str, save_latest: bool) -> None:
        """Each engine in a folder of its own inside the checkpoint."""
        for name, engine in self.engines.items():
            engine.save_checkpoint(str(Path(folder) / tag), tag=name, save_latest=save_latest)

    def load_checkpoint(self, folder: str, tag: str, load_module_strict: bool) -> None:
        """The inverse of `save_checkpoint`."""
        for name, engine in self.engines.items():
            engine.load_checkpoint(str(Path(folder) / tag), tag=name, load_module_strict=load_module_strict)


def train(job: PpoJob, log: RunLog, stop: StopRequest) -> bool:
    """Tune on this rank, from the newest checkpoint if there is one; False if the run was asked to stop before its end.

    Raises TrainingRefused, CorpusError, CheckpointMismatch, Diverged, BrokenInvariant.
    """
    run = Run(job)
    both = Together(policy=run.actors.policy, critic=run.actors.critic)
    identity = identity_of("ppo", job.ppo, seed=job.seed, prompts=run.digest)
    if job.ppo.patience is not None:
        identity["ppo.validate_every"] = job.ppo.validate_every  # each check may be the last
    fresh = {"step": 0, "best": None, "best_step": 0, "checked": 0, "checks_since": 0, "identity": identity}
    checkpoints = Checkpoints(job.checkpoints, keep_last=job.ppo.keep_last)
    state = checkpoints.resume(both) or fresh
    check_same_run(state, identity)
    log.start(int(state["step"]))
    if state["step"] == 0:
        run.before(log)
    log.beat(int(state["step"]), job.ppo.iterations, "starting", force=True)
    finished = _iterate(run, both, checkpoints, state, log, stop)
    if finished:
        run.finish(log, state)
    return finished


def _iterate(run: "Run", both: Together, checkpoints: Checkpoints, state: dict[str, Any], log: RunLog, stop: StopRequest) -> bool:
    """Iterations until the last, or until held-out prompts gain no more; False if asked to stop before."""
    config, saved = run.config, state["step"]
    while state["step"] < config.iterations and not run.out_of_patience(state):
        if over_ranks(torch.tensor([float(stop.asked)]))[0]:
            if saved != state["step"]:
                checkpoints.save(both, state)
            checkpoints.wait()
            log.interrupted(state["step"])
            return False
        step = state["step"] + 1
        figures = iterate(run.actors, run.batch(step), step)
        if dist.get_rank() == 0:
            crash_point("ppo-iteration")
        state["step"] = step
        log.write({"kind": "iteration", "step": step, **figures})
        if step % config.validate_every == 0 and step < config.iterations:
            run.check(log, state)
        if step % config.checkpoint_every == 0 and step < config.iterations:
            checkpoints.save(both, state)
            saved = step
        checkpoints.check()
        log.beat(step, config.iterations, f"reward {figures['reward']:.3f}")
    checkpoints.wait()
    log.beat(state["step"], config.iterations, "measuring on held-out prompts", force=True)
    return True


class Run:
    """The models and prompts of one rank, and what happens between iterations."""

    def __init__(self, job: PpoJob) -> None:
        self.job, self.config = job, job.ppo
        self.device = engines.prepare_process(job.seed, job.threads, self.config.deterministic)
        self.shape, self.tokenizer = load_config(job.policy), open_tokenizer(job, job.policy)
        self.too_long = 0
        self.prompts, self.held_out = self._prompts(job.prompts), self._prompts(job.validation)[: self.config.validate_prompts]
        self.digest = hashlib.sha256(repr([prompt.ids for prompt in self.prompts]).encode()).hexdigest()[:16]
        if (job.helpfulness / TOKENIZER).read_bytes() != self.tokenizer.path.read_bytes():
            raise TrainingRefused(
                "ppo: the critic starts from the helpfulness model, which has another tokenizer than the policy"
            )
        share = share_of("ppo.mini_batch", self.config.mini_batch)
        settings = partial(engine_settings, self.config, accumulation=accumulation_steps(share, self.config.micro_batch_rows))
        critic = partial(RewardModel, load_reward_config(job.helpfulness))
        start = partial(start_engine, config=self.config, device=self.device)
        policy = start(partial(Policy, self.shape), read_tensors(job.policy), settings(self.config.lr))
        self.dtype = next(policy.module.parameters()).dtype
        self.actors = Actors(
            policy=policy,
            critic=start(critic, read_tensors(job.helpfulness), settings(self.config.critic_lr)),
            reference=load_policy(job.policy, self.shape, self.device, self.dtype),
            judge=Judge(job, self.tokenizer, self.device, self.dtype),
            tokenizer=self.tokenizer,
            config=self.config,
            device=self.device,
            seed=job.seed,
        )
        # Prompts on which it is decided when to stop are not those on which the gain is reported.
        self.stopping, self.reported = self.held_out, self.held_out
        if self.config.patience is not None:
            self.stopping, self.reported = self.held_out[1::2], self.held_out[::2]

    def batch(self, step: int) -> list[Prompt]:
        """The prompts of iteration 1, 2, …, all ranks': the whole set in a new order each time it is used up."""
        found: list[Prompt] = []
        for number in range((step - 1) * self.config.batch_prompts, step * self.config.batch_prompts):
            epoch, at = divmod(number, len(self.prompts))
            found.append(self.prompts[_order(len(self.prompts), self.job.seed + epoch)[at]])
        return found

    def before(self, log: RunLog) -> None:
        """How the model does before PPO; kept beside the checkpoints for the end."""
        counts = {"prompts": len(self.prompts), "held_out": len(self.held_out), "too_long": self.too_long}
        log.write({"kind": "data", "step": 0, **counts})
        rows = self._sampled(self.actors.reference, self.reported)
        if dist.get_rank() == 0:
            write_atomic(self.job.checkpoints / BEFORE, _encode(rows))
        log.write({"kind": "heldout", "step": 0, **summary(rows), "kl": 0.0})

    def check(self, log: RunLog, state: dict[str, Any]) -> None:
        """How the policy does by now; the best so far is kept if patience is limited."""
        with sampling_model(self.actors.policy) as model:
            rows = self._sampled(model, self.stopping)
            kl = divergence(model, self.actors.reference, rows, self.config.temperature)
        found = summary(rows)
        log.write({"kind": "heldout", "step": state["step"], **found, "kl": sum(kl) / len(kl)})
        state["checked"] = state["step"]
        if self.config.patience is None:
            return
        if state["best"] is None or found["reward"] > state["best"]:
            state.update(best=found["reward"], best_step=state["step"], checks_since=0)
            self._publish(self.job.checkpoints / "best")
        else:
            state["checks_since"] += 1

    def out_of_patience(self, state: dict[str, Any]) -> bool:
        """Whether held-out prompts have not gained for long enough (L2 §3.2.3: early stopping)."""
        return self.config.patience is not None and state["checks_since"] >= self.config.patience

    def finish(self, log: RunLog, state: dict[str, Any]) -> None:
        """Leave the model, and what it has gained on prompts that it never saw."""
        if self.config.patience is not None and state["checked"] < state["step"]:
            self.check(log, state)
        folder = self.job.output / "model"
        if self.config.patience is not None and state["best_step"] < state["step"]:
            if dist.get_rank() == 0:
                shutil.rmtree(folder, ignore_errors=True)
                shutil.copytree(self.job.checkpoints / "best", folder)
            dist.barrier()
        else:
            self._publish(folder)
        tuned = load_model(folder, self.device, self.dtype)
        before, after = self._before(), self._sampled(tuned, self.reported)
        kl = divergence(tuned, self.actors.reference, after, self.config.temperature)
        if dist.get_rank() == 0:
            write_pairs(self.job.output / "heldout_rewards.parquet", before, after, kl)
        log.write({"kind": "heldout", "step": state["step"], **summary(after), "kl": sum(kl) / len(kl), "final": True})
        dist.barrier()

    def _before(self) -> list[dict[str, Any]]:
        """What `before` kept, or the same made anew."""
        kept = self.job.checkpoints / BEFORE
        if kept.exists():
            return list(read_rows([kept]))
        return self._sampled(self.actors.reference, self.reported)

    def _sampled(self, model: Any, prompts: list[Prompt]) -> list[dict[str, Any]]:
        return sample_held_out(model, prompts, self.tokenizer, self.actors.judge, self.config, self.job.seed)

    def _publish(self, folder: Path) -> None:
        save = partial(_save, self.shape, self.tokenizer.path)
        engines.publish(self.actors.policy, folder, save)

    def _prompts(self, path: Path) -> list[Prompt]:
        rows = list(read_rows([path], ["id", "messages", "kind"]))
        longest = longest_prompt(self.shape.context_length, self.config.max_new_tokens)
        found = encode_prompts(rows, self.tokenizer, longest, path)
        self.too_long += len(rows) - len(found)
        if not found:
            raise TrainingRefused(f"{path}: no prompt has at most {longest} tokens, which leaves room for an answer")
        return found


def load_policy(folder: Path, shape: ModelConfig, device: torch.device, dtype: torch.dtype) -> Policy:
    """A frozen policy from a model's folder."""
    with torch.device("meta"):
        policy = Policy(shape)
    fill(policy, read_tensors(folder), folder, device, dtype)
    return policy.eval().requires_grad_(False)


@lru_cache(maxsize=2)
def _order(count: int, seed: int) -> list[int]:
    return shuffled(count, seed)


def _save(shape: ModelConfig, tokenizer: Path, weights: dict[str, torch.Tensor], folder: Path) -> None:
    save_weights(weights, shape, folder, tokenizer)


def _encode(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()
