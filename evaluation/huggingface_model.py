"""Any Hugging Face causal model as a `LanguageModel`: the baselines beside ours in the same run (L1 §3).

`transformers` is optional and imported when a baseline is opened. Only safetensors are read, and no code that comes
with a model is run. A completion's tokens are those that it adds to its context, encoded together.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.language_model import Likelihood, cut_at, windows

_MAX_CONTEXT = 4096  # where a model's own config names no context


class HuggingFaceModel:
    """A transformers model and tokenizer, already loaded; `open` loads them from a folder or the hub."""

    def __init__(self, model: Any, tokenizer: Any, *, batch_size: int = 8, context: int | None = None) -> None:
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size
        self.context = context or getattr(model.config, "max_position_embeddings", None) or _MAX_CONTEXT
        begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        if begin is None:
            raise ValueError(
                "the tokenizer has neither a beginning nor an end token: nothing to condition a text's first token on"
            )
        self.bos_id = int(begin)

    @classmethod
    def open(cls, name: str | Path, *, device: str = "cpu", batch_size: int = 8) -> "HuggingFaceModel":
        """Load `name`, a local folder or a name on the hub; ImportError says what to install."""
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError as error:
            raise ImportError(f"the baseline {name} needs transformers: pip install transformers") from error
        model: Any = AutoModelForCausalLM.from_pretrained(str(name), use_safetensors=True, trust_remote_code=False)
        return cls(model.to(device), AutoTokenizer.from_pretrained(str(name), trust_remote_code=False), batch_size=batch_size)

    def encode(self, text: str) -> list[int]:
        """Token ids without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """log P(completion | context); a context too long for the model loses its beginning, not its end."""
        from model.scoring import split_completion

        sequences, added = [], []
        for context, completion in pairs:
            before, after = split_completion(self, context, completion)
            if len(after) > self.context:
                raise ValueError(f"a completion of {len(after)} tokens does not fit into a context of {self.context}")
            sequences.append([self.bos_id, *before, *after][-(self.context + 1) :])
            added.append(len(after))
        losses = self._losses(sequences)
        return [Likelihood(-math.fsum(row[len(row) - n :]), n) for row, n in zip(losses, added, strict=True)]

    def token_losses(self, texts: Sequence[str]) -> list[list[float]]:
        """−log p of every token of each text, in disjoint windows of the model's context."""
        parts = [windows(self.encode(text), self.context, self.bos_id) for text in texts]
        losses = iter(self._losses([window for part in parts for window in part]))
        return [[loss for _ in part for loss in next(losses)] for part in parts]

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[str]:
        """One continuation for each prompt, one prompt at a time: no padding, so no effect of a batch."""
        import torch

        torch.manual_seed(seed)
        sampling: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            sampling |= {"temperature": temperature, "top_p": top_p, "top_k": 0}
        room = max(1, self.context - max_new_tokens - 1)
        answers = []
        for prompt in prompts:
            ids = [self.bos_id, *self.encode(prompt)[-room:]]
            inputs = torch.tensor([ids], device=self.model.device)
            out = self.model.generate(inputs, max_new_tokens=max_new_tokens, pad_token_id=self.bos_id, **sampling)[0].tolist()
            answers.append(cut_at(self._decode(out)[len(self._decode(ids)) :], stop))
        return answers

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _losses(self, sequences: list[list[int]]) -> list[list[float]]:
        """−log p of every id after the first; batches of like length, longest first, padded on the right."""
        import torch

        order = sorted(range(len(sequences)), key=lambda index: -len(sequences[index]))
        losses: list[list[float]] = [[] for _ in sequences]
        for at in range(0, len(order), self.batch_size):
            batch = order[at : at + self.batch_size]
            with torch.inference_mode():
                rows = self._batch_losses([sequences[index] for index in batch])
            for index, row in zip(batch, rows, strict=True):
                losses[index] = row
        return losses

    def _batch_losses(self, sequences: list[list[int]]) -> list[list[float]]:
        import torch

        longest = max(len(row) for row in sequences)
        tokens = torch.tensor([row + [0] * (longest - len(row)) for row in sequences], device=self.model.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in sequences], device=self.model.device)
        logits = self.model(input_ids=tokens[:, :-1], attention_mask=mask[:, :-1]).logits.float()  # (batch, time, vocabulary)
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")  # (batch, time)
        return [row[: len(sequence) - 1].tolist() for row, sequence in zip(losses, sequences, strict=True)]
