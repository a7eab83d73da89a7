"""Talking to a model: an answer to a dialogue, piece by piece, as it is drawn (L2, released `generation.py`).

A conversation keeps the keys and values of what the model has read. The chat format tokenises every turn on its own, so
a longer dialogue begins with the ids of the shorter one, and only what is new is computed.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import torch
from pydantic import ValidationError

from data.documents import CorpusError, valid_text
from data.tokenizer import Tokenizer
from model.chat_format import Message, encode_prompt, shared_length
from model.checkpoint_format import CONFIG, TOKENIZER, load_model, read_json
from model.decoder import Decoder, Piece, open_decoder
from model.drawing import Draws, Sampling
from model.reward_model import FORMAT as REWARD_FORMAT
from model.sampling import answer_text
from model.stop_strings import first, held_back
from model.transformer import Transformer

UNFINISHED = "\ufffd"  # what the first bytes of a character decode to
LEAST_ROOM = 4  # an answer is left this part of the context, unless it may not be as long


class TooLong(ValueError):
    """A message that does not fit into the context even alone."""


class Reply(Iterator[str]):
    """An answer while it is written: its pieces, and what is known of it so far. Joined, the pieces are `text`."""

    def __init__(
        self,
        drawn: Iterator[int],
        say: Callable[[Sequence[int]], str],
        end: int,
        left_out: int = 0,
        stop: Sequence[str] = (),
    ) -> None:
        self.text = ""
        self.tokens: list[int] = []
        self.finished = False  # whether the model ended it, with `</s>` or a stop string
        self.left_out = left_out  # oldest turns that the model did not see, for want of room
        self._end = end
        self._stop = [string for string in stop if string]
        self._pieces = self._write(drawn, say)

    def __next__(self) -> str:
        return next(self._pieces)

    def _write(self, drawn: Iterator[int], say: Callable[[Sequence[int]], str]) -> Iterator[str]:
        for id in drawn:
            self.tokens.append(id)
            self.finished = id == self._end
            text = say(self.tokens)
            if (at := first(text, self._stop)) is not None:
                self.finished = True
                yield from self._added(text[:at])
                return
            text = text.rstrip(UNFINISHED)
            yield from self._added(text[: len(text) - held_back(text, self._stop)].rstrip())
        yield from self._added(say(self.tokens))

    def _added(self, text: str) -> Iterator[str]:
        piece = text[len(self.text) :]
        if piece:
            self.text += piece
            yield piece


class Conversation:
    """A model, its tokenizer, and what it has read last."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.context = model.config.context_length
        self._decoder: Decoder | None = None
        self._known: list[int] = []  # ids whose keys and values the decoder holds

    @classmethod
    def open(cls, folder: Path | str, device: torch.device | str = "cpu") -> "Conversation":
        """The model of a folder, ours or Hugging Face's, and the tokenizer in it; raises CorpusError."""
        return cls(*open_model(Path(folder), device))

    def reply(self, messages: Sequence[Message], sampling: Sampling, seed: int = 0, stop: Sequence[str] = ()) -> Reply:
        """An answer to a dialogue that ends with the user, up to a string of `stop`. The oldest turns make room for it.

        Raises ReservedTag, BadDialogue, TooLong before anything is drawn.
        """
        prompt, left_out = self._fitting(messages, sampling.max_new_tokens)
        drawn = self._draw(prompt, sampling, seed)
        return Reply(drawn, lambda ids: answer_text(self.tokenizer, ids), self.tokenizer.eos_id, left_out, stop)

    def continue_text(self, text: str, sampling: Sampling, seed: int = 0, stop: Sequence[str] = ()) -> Reply:
        """How a text goes on, without the chat format, up to a string of `stop`; raises TooLong."""
        prompt = self.tokenizer.encode(text, bos=True)
        if len(prompt) >= self.context:
            raise TooLong(f"the text takes {len(prompt)} tokens, and the context holds {self.context}: shorten it")
        before = len(valid_text(self.tokenizer.decode(prompt)))
        drawn = self._draw(prompt, sampling, seed)  # decoded alone, the first piece would lose its space
        say = lambda ids: valid_text(self.tokenizer.decode([*prompt, *ids]))[before:]  # noqa: E731
        return Reply(drawn, say, self.tokenizer.eos_id, stop=stop)

    def _fitting(self, messages: Sequence[Message], most: int) -> tuple[list[int], int]:
        """Ids of the dialogue with as many of its last turns as leave room for an answer; how many turns are left out."""
        kept, left_out = list(messages), 0
        system = 1 if kept and kept[0]["role"] == "system" else 0
        ids = encode_prompt(self.tokenizer, kept)
        room = min(most, self.context // LEAST_ROOM)
        while len(ids) + room > self.context and len(kept) - system > 1:
            del kept[system : system + 2]
            left_out += 1
            ids = encode_prompt(self.tokenizer, kept)
        if len(ids) >= self.context:
            what = "the message with the system message" if system else "the message"
            raise TooLong(f"{what} takes {len(ids)} tokens, and the context holds {self.context}: shorten it")
        return ids, left_out

    @torch.no_grad()
    def _draw(self, prompt: list[int], sampling: Sampling, seed: int) -> Generator[int, None, None]:
        """Token after token, as `model.generate` draws them with this seed."""
        draws, ids = Draws(seed), list(prompt)
        for _ in range(min(sampling.max_new_tokens, self.context - len(prompt))):
            ids.append(self._next(ids, sampling, draws.next() if sampling.temperature > 0 else 0.0))
            yield ids[-1]
            if ids[-1] == self.tokenizer.eos_id:
                return

    def _next(self, ids: list[int], sampling: Sampling, draw: float) -> int:
        """The id drawn after `ids`, of which only those are read that the decoder does not hold."""
        if self._decoder is None:
            self._decoder = open_decoder(self.model, 1, self.context)
        start = min(shared_length(self._known, ids), len(ids) - 1)
        del self._known[start:]  # before anything is overwritten: reading may be interrupted
        (chosen,), _ = self._decoder.step([Piece(0, ids[start:], start, draw)], sampling)
        self._known += ids[start:]
        return chosen


def open_model(folder: Path, device: torch.device | str = "cpu") -> tuple[Transformer, Tokenizer]:
    """Model and tokenizer of a folder, ours or Hugging Face's; raises CorpusError where one cannot talk with it."""
    from model.hf import load_hf

    record = read_json(folder / CONFIG)
    if record.get("format") == REWARD_FORMAT:
        raise CorpusError(folder, "is a reward model: it scores answers and writes none")
    if not (folder / TOKENIZER).is_file():
        raise CorpusError(folder, f"has no {TOKENIZER}; put the SentencePiece model that belongs to these weights there")
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    try:
        model = load_hf(folder, device) if "model_type" in record else load_model(folder, device)
    except ValidationError as error:
        raise CorpusError(folder / CONFIG, f"describes no model ({error.errors()[0]['msg']})") from error
    if tokenizer.vocab_size > model.config.vocab_size:
        sizes = f"{tokenizer.vocab_size} pieces, the model's vocabulary {model.config.vocab_size}"
        raise CorpusError(folder / TOKENIZER, f"does not belong to these weights: it has {sizes}")
    return model, tokenizer
