"""A checkpoint of ours as a `LanguageModel`, so that benchmarks see no difference to any other model.

A Hugging Face Llama's folder is one as well: our transformer computes it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.language_model import Likelihood, windows

if TYPE_CHECKING:
    from data.tokenizer import Tokenizer
    from model.transformer import Transformer


class LocalModel:
    """A transformer of ours and its tokenizer; `open` loads both from a checkpoint's folder."""

    def __init__(self, model: "Transformer", tokenizer: "Tokenizer", *, batch_tokens: int = 16384, batch_size: int = 32) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.batch_tokens, self.batch_size = batch_tokens, batch_size

    @classmethod
    def open(cls, folder: Path | str, *, device: str = "cpu") -> "LocalModel":
        """The model of a folder, ours or Hugging Face's, and the tokenizer in it; raises CorpusError if either is unfit."""
        from model.chat import open_model

        return cls(*open_model(Path(folder), device))

    def loglikelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """log P(completion | context); a context too long for the model loses its beginning, not its end."""
        from model.scoring import completion_logprobs

        scores = completion_logprobs(self.model, self.tokenizer, pairs, batch_tokens=self.batch_tokens)
        return [Likelihood(score.logprob, score.tokens) for score in scores]

    def token_losses(self, texts: Sequence[str]) -> list[list[float]]:
        """−log p of every token of each text, in disjoint windows of the model's context."""
        from model.scoring import token_losses

        context, begin = self.model.config.context_length, self.tokenizer.bos_id
        parts = [windows(ids, context, begin) for ids in self.tokenizer.encode_batch(list(texts))]
        losses = iter(token_losses(self.model, [window for part in parts for window in part], batch_tokens=self.batch_tokens))
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
        """One continuation for each prompt; prompt i draws from seed + i, whatever the batch."""
        from model.generate import Sampling, generate

        room = max(1, self.model.config.context_length - max_new_tokens - 1)
        ids = [[self.tokenizer.bos_id, *tokens[-room:]] for tokens in self.tokenizer.encode_batch(list(prompts))]
        found = generate(
            self.model,
            ids,
            Sampling(max_new_tokens, temperature, top_p),
            stop_ids=(self.tokenizer.eos_id,),
            stop=stop,
            tokenizer=self.tokenizer,
            seeds=range(seed, seed + len(ids)),
            batch_size=self.batch_size,
        )
        return [self._added(prompt, one.tokens) if one.text is None else one.text for prompt, one in zip(ids, found, strict=True)]

    def _added(self, prompt: list[int], tokens: list[int]) -> str:
        """What the tokens add to the text of the prompt: alone, the first piece would lose its space."""
        return self.tokenizer.decode([*prompt, *tokens])[len(self.tokenizer.decode(prompt)) :]
