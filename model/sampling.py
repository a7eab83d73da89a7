"""A sampling round: K answers of the newest model to every prompt, and what the reward models think of them (L2 §3.2.3).

The unit is a block of prompts, whose two shard functions run in worker processes of one core each. Every answer has a
seed of its own, named by prompt and number, so blocks, batches and workers do not change what is drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from data.documents import CorpusError, ParquetWriter, read_rows, valid_text
from data.tokenizer import Tokenizer
from model.chat_format import BadDialogue, ReservedTag, encode_exchange, encode_prompt
from model.checkpoint_format import TOKENIZER
from model.sampling_config import SamplingConfig

if TYPE_CHECKING:
    from model.generate import Generated, Sampling
    from model.transformer import Transformer
    from model.vllm_backend import Backend

SAMPLES = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("sample", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.list_(pa.int32())),  # as drawn, `</s>` included
        ("finished", pa.bool_()),  # false: cut off at max_new_tokens or at the end of the context
    ]
)
SCORED = SAMPLES.append(pa.field("helpfulness", pa.float32())).append(pa.field("safety", pa.float32()))


@dataclass(frozen=True)
class Prompt:
    """A prompt and the token ids that a model continues."""

    id: str
    messages: list[dict[str, str]]
    kind: str
    ids: list[int]

    @property
    def is_safety(self) -> bool:
        """Whether the prompt belongs to the safety set (L2 §3.2.3, the gate)."""
        return self.kind == "safety"


def sample_block(
    output: Path, *, model: Path, prompts: Path, start: int, stop: int, config: SamplingConfig, seed: int
) -> dict[str, int]:
    """Answers of the model in folder `model` to prompts [start, stop) of a file, as Parquet of SAMPLES.

    Returns counts: prompts, samples, finished, tokens, and prompts too long for the context. Runs on one core.
    """
    import torch

    from model.checkpoint_format import load_model
    from model.generate import Sampling

    torch.set_num_threads(1)
    network, tokenizer = load_model(model), Tokenizer.load(model / TOKENIZER)
    rows = list(islice(read_rows([prompts], ["id", "messages", "kind"]), start, stop))
    fitting = encode_prompts(rows, tokenizer, longest_prompt(network.config.context_length, config.max_new_tokens), prompts)
    sampling = Sampling(config.max_new_tokens, config.temperature, config.top_p)
    backend = None
    if config.backend == "vllm":
        from model.vllm_backend import open_vllm

        backend = open_vllm(model, network)
    named = [(prompt, number) for prompt in fitting for number in range(config.samples)]
    drawn = answers(network, tokenizer, [prompt for prompt, _ in named], sampling, [
        f"{seed}:{prompt.id}:{number}" for prompt, number in named
    ], config.batch_size, backend=backend)  # fmt: skip
    counts = {"prompts": len(fitting), "samples": len(named), "finished": 0, "tokens": 0, "too_long": len(rows) - len(fitting)}
    with ParquetWriter(output, SAMPLES) as writer:
        for (prompt, number), answer in zip(named, drawn, strict=True):
            text = answer_text(tokenizer, answer.tokens)
            row = {"prompt_id": prompt.id, "sample": number, "text": text, "tokens": answer.tokens, "finished": answer.stopped}
            writer.append(row)
            counts["finished"] += answer.stopped
            counts["tokens"] += len(answer.tokens)
    return counts


def score_block(
    output: Path, *, samples: Path, prompts: Path, helpfulness: Path, safety: Path, config: SamplingConfig
) -> dict[str, int]:
    """The samples of a block with the scores (logits) of both reward models, as Parquet of SCORED. Runs on one core."""
    import torch

    from model.reward_model import load_reward_model, score

    torch.set_num_threads(1)
    messages = {row["id"]: row["messages"] for row in read_rows([prompts], ["id", "messages"])}
    rows = list(read_rows([samples]))
    tokenizer = Tokenizer.load(helpfulness / TOKENIZER)
    dialogues = [encode_exchange(tokenizer, messages[row["prompt_id"]], row["text"]) for row in rows]
    scores = [score(load_reward_model(folder), dialogues, batch_tokens=config.batch_tokens) for folder in (helpfulness, safety)]
    with ParquetWriter(output, SCORED) as writer:
        for row, helpful, safe in zip(rows, *scores, strict=True):
            writer.append({**row, "helpfulness": helpful, "safety": safe})
    return {"samples": len(rows)}


def encode_prompts(rows: Sequence[dict[str, Any]], tokenizer: Tokenizer, longest: int, path: Path) -> list[Prompt]:
    """Rows of a prompts file as token ids, without those of more than `longest` tokens; raises CorpusError for bad ones."""
    found = []
    for row in rows:
        try:
            ids = encode_prompt(tokenizer, row["messages"])
        except (ReservedTag, BadDialogue) as error:
            raise CorpusError(path, f"prompt {row['id']}: {error}") from error
        if len(ids) <= longest:
            found.append(Prompt(row["id"], row["messages"], row["kind"], ids))
    return found


def longest_prompt(context: int, max_new_tokens: int) -> int:
    """Tokens of a prompt that leaves room for the answer, or for half a context where answers may be longer."""
    return context - min(max_new_tokens, context // 2)


def answers(
    model: "Transformer",
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    sampling: "Sampling",
    names: Sequence[str],
    batch_size: int,
    stop: Sequence[str] = (),
    backend: "Backend | None" = None,
) -> "list[Generated]":
    """One answer to each prompt, drawn with the seed that its name gives, up to `</s>` or a string of `stop`.

    By a backend, where one is given, which knows no stop strings.
    """
    from model.generate import generate
    from model.tuning import seed_of

    ids, seeds = [prompt.ids for prompt in prompts], [seed_of("answer", name) for name in names]
    ends = (tokenizer.eos_id,)
    if backend is not None:
        assert not any(stop), "stop strings are ours alone"
        return backend(ids, sampling, ends, seeds)
    return generate(model, ids, sampling, stop_ids=ends, stop=stop, tokenizer=tokenizer, seeds=seeds, batch_size=batch_size)


def answer_text(tokenizer: Tokenizer, tokens: Sequence[int]) -> str:
    """What the tokens of an answer say, as it would stand in a message."""
    return valid_text(tokenizer.decode(tokens)).strip()
