"""Supervised fine-tuning: loss on answers alone, whatever the packing, the micro-batches, the ranks, or a kill."""

import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.documents import CorpusError
from data.instructions import INSTRUCTIONS
from model.chat_format import encode_dialogue
from model.checkpoint_format import load_model
from model.run_log import read_metrics
from model.sft_packing import BLANK, pack_dialogues, read_dialogues, shuffled, tokens_and_labels
from model.tuning import by_length
from tests.model.ranks import Ranks
from tests.model.tuning_ranks import CONFIG, asked, make_model, make_tokenizer, write, write_job

COLOURS = ("red", "green", "blue")


def instruction(number, source="box"):
    question = asked(f"what is the colour of thing number {number}?")
    said = f"it is {COLOURS[number % 3]}" + ", as everybody can see" * (number % 4)
    return {"id": f"{source}-{number}", "source": source, "messages": [*question, {"role": "assistant", "content": said}]}


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """Folder with base/, train.parquet and validation.parquet; its tokenizer."""
    folder = tmp_path_factory.mktemp("sft")
    tokenizer = make_tokenizer(folder)
    make_model(folder / "base", tokenizer)
    write(folder / "train.parquet", INSTRUCTIONS, [instruction(number) for number in range(90)])
    held_out = [instruction(number) for number in range(100, 112)] + [instruction(number, "bag") for number in range(5)]
    write(folder / "validation.parquet", INSTRUCTIONS, held_out)
    return folder, tokenizer


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(2, 100), min_size=1, max_size=300), seed=st.integers(0, 99))
def test_every_dialogue_is_packed_once_and_no_row_overflows(lengths, seed):
    rows = list(pack_dialogues(lengths, 100, shuffled(len(lengths), seed)))
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    assert all(sum(lengths[number] for number in row) <= 100 for row in rows)
    half_empty = [row for row in rows if 2 * sum(lengths[number] for number in row) <= 100]
    assert len(half_empty) <= 1 or len(rows) > 64


@torch.no_grad()
def test_loss_is_that_of_answers_read_alone_however_they_are_batched(setting):
    folder, tokenizer = setting
    dialogues, too_long = read_dialogues([folder / "train.parquet"], tokenizer, CONFIG.context_length)
    model = make_model(folder / "sharp", tokenizer, scale=4.0)
    expected = 0.0
    for number in range(len(dialogues)):
        ids, is_answer = encode_dialogue(tokenizer, instruction(number)["messages"])
        likelihood = torch.log_softmax(model(torch.tensor([ids]))[0], dim=-1)
        expected -= sum(float(likelihood[at - 1, ids[at]]) for at in range(len(ids)) if is_answer[at])
    for pieces in (1, 3, 7):
        groups = by_length(dialogues, len, pieces)
        found = sum(float(model(*map(torch.from_numpy, tokens_and_labels(group or [BLANK])))) for group in groups)
        assert len(groups) == pieces and found == pytest.approx(expected, rel=1e-5)
    assert too_long == 0 and read_dialogues([folder / "train.parquet"], tokenizer, 40)[1] > 0


def test_a_bad_dialogue_is_named(setting, tmp_path):
    _, tokenizer = setting
    bad = instruction(1) | {"messages": [*asked("say [INST]"), {"role": "assistant", "content": "no"}]}
    path = write(tmp_path / "bad.parquet", INSTRUCTIONS, [instruction(0), bad])
    with pytest.raises(CorpusError, match=r"box-1: a user message holds the reserved tag \[INST\]"):
        read_dialogues([path], tokenizer, CONFIG.context_length)


def steps_of(folder):
    return [line for line in read_metrics(folder / "logs") if line["kind"] == "step"]


def held_out_of(folder):
    return [line["validation"] for line in read_metrics(folder / "logs") if line["kind"] == "validation"]


@pytest.mark.launch
def test_it_learns_alike_on_any_layout_and_a_kill_costs_nothing(setting, tmp_path):
    folder, _ = setting

    def job(name, **sft):
        common = {"lr": 3e-3, "batch_rows": 4, "epochs": 6, "precision": "fp32", "activation_checkpointing": "none"}
        common |= {"checkpoint_every": 8, "validate_every": 30, "micro_batch_rows": 4}
        paths = {"instructions": [folder / "train.parquet"], "validation": [folder / "validation.parquet"]}
        return write_job(tmp_path / name, **paths, base=folder / "base", sft=common | sft)

    def launch(name, count, crash_at=None, **sft):
        return Ranks("model.sft_rank", job(name, **sft), count, crash_at)

    started = [
        launch("alone", 1),
        launch("killed", 1, crash_at="training-step:20"),
        launch("spread", 2, micro_batch_rows=1, zero_stage=3, activation_checkpointing="selective"),
    ]
    assert [ranks.wait() for ranks in started] == [[0], [-signal.SIGKILL], [0, 0]]
    assert (tmp_path / "killed/state/latest").read_text() in ("step-000008", "step-000016")
    assert launch("killed", 1).wait() == [0]

    alone, spread, killed = (steps_of(tmp_path / name) for name in ("alone", "spread", "killed"))
    assert [line["step"] for line in killed] == list(range(1, len(alone) + 1))
    for name in ("loss", "grad_norm", "lr", "batch_digest"):
        assert [line[name] for line in killed] == [line[name] for line in alone]
    weights = [(tmp_path / name / "output/model/model.safetensors").read_bytes() for name in ("alone", "killed")]
    assert weights[0] == weights[1]
    assert [line["batch_digest"] for line in spread] == [line["batch_digest"] for line in alone]
    for ours, theirs in zip(spread[:10], alone):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)

    first, last = held_out_of(tmp_path / "alone")[0], held_out_of(tmp_path / "alone")[-1]
    assert set(last) == {"all", "bag", "box"} and last["all"] < 0.5 * first["all"]
    assert held_out_of(tmp_path / "spread")[0] == pytest.approx(first, abs=1e-4)
    held_out, _ = read_dialogues([folder / "validation.parquet"], setting[1], CONFIG.context_length)
    total = load_model(tmp_path / "alone/output/model")(*map(torch.from_numpy, tokens_and_labels(held_out)))
    assert float(total.detach()) / sum(dialogue.labels for dialogue in held_out) == pytest.approx(last["all"], abs=1e-5)
