"""The two reward models as PPO asks them: answers in, R_c out (L2 §3.2.3)."""

from collections.abc import Sequence
from pathlib import Path

import torch

from data.tokenizer import Tokenizer
from model.chat_format import encode_exchange
from model.checkpoint_format import TOKENIZER
from model.gate import combined
from model.ppo_config import PpoJob
from model.ppo_samples import Answer
from model.reward_model import load_reward_model, score
from model.sampling import answer_text


class Judge:
    """Both reward models with their tokenizers. They read the text of an answer, as they did in training."""

    def __init__(self, job: PpoJob, policy_tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype) -> None:
        self.threshold, self.batch_tokens = job.ppo.gate_threshold, job.ppo.scoring_tokens
        self.tokenizer = policy_tokenizer
        self.models = {name: load_reward_model(folder, device, dtype) for name, folder in _folders(job).items()}
        self.tokenizers = {name: Tokenizer.load(folder / TOKENIZER) for name, folder in _folders(job).items()}

    def judge(self, answers: Sequence[Answer]) -> None:
        """Set `helpfulness`, `safety` and `reward` of each answer."""
        texts = [answer_text(self.tokenizer, answer.tokens) for answer in answers]
        for name, model in self.models.items():
            dialogues = [
                encode_exchange(self.tokenizers[name], answer.prompt.messages, text)
                for answer, text in zip(answers, texts, strict=True)
            ]
            for answer, value in zip(answers, score(model, dialogues, batch_tokens=self.batch_tokens), strict=True):
                setattr(answer, name, value)
        rewards = combined(
            [answer.helpfulness for answer in answers],
            [answer.safety for answer in answers],
            [answer.prompt.is_safety for answer in answers],
            self.threshold,
        )
        for answer, reward in zip(answers, rewards, strict=True):
            answer.reward = float(reward)


def _folders(job: PpoJob) -> dict[str, Path]:
    return {"helpfulness": job.helpfulness, "safety": job.safety}
